"""`jupyter mjci …`: the sandbox as a server, the demo, and jobs followed or cancelled while a kernel is busy."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from jupyter_mjci.errors import CallError, JobFailed, MjciError

QUICKSTART = "01-quickstart.ipynb"
QUIET = ["--IPKernelApp.log_level=ERROR"]  # no word about transport encryption: the kernel is on this machine


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0 when done, 1 when it failed (with the reason on stderr), 2 for a bad command line."""
    given = list(sys.argv[1:] if argv is None else argv)
    if given[:1] == ["sandbox"]:  # its flags, and their help, are its own
        from jupyter_mjci.sandbox.__main__ import main as serve

        return serve(given[1:])
    told = _parser().parse_args(given)
    try:
        return int(told.run(told) or 0)
    except MjciError as error:
        print("\n".join(error.lines()), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("jupyter mjci", description=__doc__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    commands.add_parser("sandbox", help="serve both services on a loopback port, without account", add_help=False)
    demo = commands.add_parser("demo", help="the quickstart notebook on the sandbox, in JupyterLab or as a page")
    demo.add_argument("--execute", metavar="OUT.html", type=Path, help="run it headlessly and write this page")
    demo.set_defaults(run=_demo)
    watch = commands.add_parser("watch", help="follow a job to its end")
    watch.add_argument("job_id", metavar="JOB_ID")
    watch.add_argument("--longest", type=float, default=3.0, help="look at least every so many seconds (3)")
    watch.set_defaults(run=_watch)
    history = commands.add_parser("history", help="what the journal knows, as a table or a file")
    history.add_argument("--out", metavar="FILE", type=Path, help="write it: .csv, .json or .parquet by the name")
    history.add_argument("--since", metavar="TIME", help="only jobs submitted from then on: 2026-01-31")
    history.add_argument("--limit", type=int, help="only the latest so many (20 on the terminal)")
    history.set_defaults(run=_history)
    cancel = commands.add_parser("cancel", help="cancel a Tencent CI job or batch that has not begun")
    cancel.add_argument("job_id", metavar="JOB_ID")
    cancel.set_defaults(run=_cancel)
    scan = commands.add_parser("scan", help="look for secrets in notebooks, recordings, journals and other files")
    scan.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="files, or folders with all that is in them")
    scan.set_defaults(run=_scan)
    doctor = commands.add_parser("doctor", help="ask both services whether addresses, secrets and clocks are right")
    doctor.set_defaults(run=_doctor)
    for command in (history, watch, cancel, doctor):
        command.add_argument("--profile", help="which profile of profiles.toml to use")
    return parser


def _demo(told: argparse.Namespace) -> int:
    source = notebooks() / QUICKSTART
    if told.execute:
        return execute(source, told.execute)
    folder = Path("mjci-demo")
    folder.mkdir(exist_ok=True)
    notebook = folder / QUICKSTART
    if not notebook.exists():  # a second demo goes on with the first one's notebook
        shutil.copyfile(source, notebook)
    return subprocess.call([sys.executable, "-m", "jupyterlab", str(notebook)])


def notebooks() -> Path:
    """The demo notebooks: inside an installed package, beside it in a checkout. Raises MjciError."""
    here = Path(__file__).parent
    for folder in (here / "notebooks", here.parent / "notebooks"):
        if (folder / QUICKSTART).is_file():
            return folder
    raise MjciError("The demo notebooks are not installed.", hint="Reinstall jupyter_mjci, or run from a checkout.")


def execute(notebook: Path, page: Path) -> int:
    """Runs a notebook headlessly and writes it as an HTML page. 0 when every cell succeeded, else 1."""
    try:
        import nbformat
        from nbclient import NotebookClient
        from nbclient.exceptions import CellExecutionError
        from nbconvert import HTMLExporter
    except ModuleNotFoundError as error:
        raise MjciError(f"{error.name} is not installed.", hint="pip install 'jupyter_mjci[lab]'") from None
    document = nbformat.read(notebook, as_version=4)  # type: ignore[no-untyped-call]
    resources = {"metadata": {"path": str(notebook.parent)}}
    client = NotebookClient(document, timeout=120, extra_arguments=QUIET, resources=resources)
    failure = ""
    try:
        client.execute()
    except CellExecutionError as error:
        failure = f"{error.ename}: {error.evalue}"
    html, _ = HTMLExporter().from_notebook_node(document)  # type: ignore[no-untyped-call]
    page.write_text(html, "utf-8")
    print(f"{failure or 'Every cell succeeded'}: {page}", file=sys.stderr if failure else sys.stdout)
    return 1 if failure else 0


def _watch(told: argparse.Namespace) -> int:
    from jupyter_mjci.session import connect

    with connect(profile=told.profile) as session:
        for job in session.follow(told.job_id, longest=told.longest):
            print(job.status, "" if job.progress is None else f"{job.progress} %", *job.outputs, flush=True)
        if job.status.final and job.status != "SUCCEEDED":
            raise JobFailed(job)
    return 0


def _history(told: argparse.Namespace) -> int:
    from jupyter_mjci.session import connect

    writers = {".csv": "to_csv", ".json": "to_json", ".parquet": "to_parquet"}
    if told.out and told.out.suffix not in writers:
        raise CallError(f"{told.out} has no known ending.", hint=f"Use one of {', '.join(writers)}.")
    with connect(profile=told.profile) as session:
        frame = session.history(since=told.since, limit=told.limit or (None if told.out else 20))
    if told.out is None:
        print(frame[["service", "id", "action", "status", "submitted", "subject"]].to_string(index=False))
        return 0
    options = {".json": {"orient": "records", "lines": True, "date_format": "iso"}}
    getattr(frame, writers[told.out.suffix])(told.out, **options.get(told.out.suffix, {"index": False}))
    print(f"{len(frame):,} jobs: {told.out}")
    return 0


def _cancel(told: argparse.Namespace) -> int:
    from jupyter_mjci.session import connect

    with connect(profile=told.profile) as session:
        session.ci.cancel(told.job_id).run()
    print(f"Cancelled: {told.job_id}")
    return 0


def _scan(told: argparse.Namespace) -> int:
    from jupyter_mjci.scanning import scan

    count = 0
    for count, leak in enumerate(scan(told.paths), 1):  # noqa: B007 - it is the count that stays
        print(leak)
    return 1 if count else 0


def _doctor(told: argparse.Namespace) -> int:
    from jupyter_mjci.probing import probed
    from jupyter_mjci.session import connect

    with connect(profile=told.profile, replay="off") as session:
        findings = probed(session)
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        print(f"{finding.what:<{width}}  {finding}")
    return int(any(finding.ok is False for finding in findings))


if __name__ == "__main__":
    sys.exit(main())
