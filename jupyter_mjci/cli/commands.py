"""The commands of `jupyter mjci`: what each does, what it is for, and its arguments."""

from __future__ import annotations

import argparse
import math
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_mjci.cli.exit_codes import Exit, echo, get_exit_code, print_error, report_write_errors
from jupyter_mjci.client.job import Status
from jupyter_mjci.errors import InvalidRequest, MjciError, requires_extra

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_mjci.session import Session


# --- what they do ---------------------------------------------------------------------------------


def _open_session(args: Namespace, **options: Any) -> Session:
    from jupyter_mjci.session import connect

    return connect(profile=args.profile, notice=partial(echo, file=sys.stderr), **options)


def _run_demo(args: Namespace) -> int:
    from jupyter_mjci.cli.demo import run_demo

    return run_demo(args.execute)


def _run_watch(args: Namespace) -> int:
    from jupyter_mjci.cli.watch import watch

    with _open_session(args) as session:
        return watch(session, args)


def _run_cancel(args: Namespace) -> int:
    """Asks for each, whatever becomes of the others; a wrong id is told before anything is sent."""
    with _open_session(args) as session:
        for word in args.job_ids:
            session.cancel(word)
        return max(_cancel_job(session, word) for word in args.job_ids)


def _cancel_job(session: Session, job_id: str) -> Exit:
    try:
        session.cancel(job_id).run()
        job = session.describe(job_id).run()
        if job.status not in (Status.CANCELLED, Status.FAILED):  # some proxies know no CANCEL
            hint = f"Look again: jupyter mjci watch {job_id}"
            raise MjciError(f"{job_id} is not cancelled: it is {job.status}.", hint=hint)
    except MjciError as error:
        echo("Not cancelled:", job_id, file=sys.stderr)
        print_error(error)
        return get_exit_code(error)
    echo("Cancelled:", job_id)
    return Exit.SUCCESS


DEFAULT_HISTORY_LIMIT = 20  # jobs of the history on a terminal
HISTORY_COLUMNS = ("service", "id", "action", "status", "submitted", "subject")
EXPORTERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    ".csv": ("to_csv", {"index": False}),
    ".json": ("to_json", {"orient": "records", "lines": True, "date_format": "iso"}),
    ".parquet": ("to_parquet", {"index": False}),
}


def _run_history(args: Namespace) -> int:
    out: Path | None = args.out
    if out and out.suffix not in EXPORTERS:
        raise InvalidRequest(
            f"{out} has no known ending.", hint=f"Use one of {', '.join(EXPORTERS)}."
        )
    with _open_session(args) as session:
        frame = session.history(
            since=args.since, limit=args.limit or (None if out else DEFAULT_HISTORY_LIMIT)
        )
    if out:
        _export_frame(frame, out)
        return Exit.SUCCESS
    frame["submitted"] = frame["submitted"].dt.strftime("%Y-%m-%d %H:%M:%S")
    cells = frame[list(HISTORY_COLUMNS)].astype("string").fillna("").to_numpy().tolist()
    _print_table([HISTORY_COLUMNS, *([" ".join(cell.split()) for cell in row] for row in cells)])
    if "note" in frame.attrs:
        echo(frame.attrs["note"], file=sys.stderr)
    return Exit.SUCCESS


def _export_frame(frame: pd.DataFrame, out: Path) -> None:
    name, options = EXPORTERS[out.suffix]
    if name == "to_json":  # where pandas 2 takes spans of microseconds for nanoseconds
        frame = frame.astype(
            dict.fromkeys(frame.select_dtypes("timedelta").columns, "timedelta64[ns]")
        )
    with requires_extra("pyarrow", "lake"), report_write_errors(out):
        getattr(frame, name)(out, **options)
    echo(f"{len(frame):,} jobs: {out}")


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """Rows as a table; the last column is as long as it likes."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        echo(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def _run_gallery(args: Namespace) -> int:
    from jupyter_mjci.notebook.gallery import DEFAULT_LIMIT, collect_items, write_page
    from jupyter_mjci.notebook.saved_notebook import get_title, load_notebook_images

    if args.what.endswith(".ipynb"):
        notebook = Path(args.what)
        shown, title = load_notebook_images(notebook)[: args.limit], get_title(notebook)
    else:
        with _open_session(args) as session:
            shown = collect_items(
                session, args.what, limit=DEFAULT_LIMIT if args.limit is None else args.limit
            )
        title = args.what or "Pictures"
    echo(write_page(shown, args.out, title))
    return Exit.SUCCESS


def _run_scan(args: Namespace) -> int:
    from jupyter_mjci.secret_scan import scan

    found = Exit.SUCCESS
    for leak in scan(args.paths):
        found = Exit.FAILED
        echo(str(leak))
    return found


def _run_doctor(args: Namespace) -> int:
    from jupyter_mjci.diagnostics import diagnose

    with _open_session(args, replay="off") as session:
        findings = diagnose(session)
    _print_table([(finding.name, str(finding)) for finding in findings])
    return Exit.FAILED if any(finding.ok is False for finding in findings) else Exit.SUCCESS


# --- how they are called --------------------------------------------------------------------------


def _parse_count(text: str) -> int:
    """A number of things. Raises ArgumentTypeError below one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"a number from 1 on, not {text!r}")
    return int(text)


def _parse_seconds(text: str) -> float:
    """A span of time. Raises ArgumentTypeError for none."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"a number of seconds above 0, not {text!r}")
    return seconds


Argument = tuple[tuple[str, ...], Mapping[str, Any]]


def _make_argument(*names: str, **options: Any) -> Argument:
    return names, options


@dataclass(frozen=True, slots=True)
class Command:
    """A command: what it is for, what does it, and its arguments as argparse takes them."""

    help: str
    run: Callable[[Namespace], int]
    arguments: tuple[Argument, ...] = ()


SANDBOX_HELP = "serve both services on a loopback port, without account"
_PROFILE = _make_argument("--profile", metavar="NAME", help="use this profile of profiles.toml")

COMMANDS: Mapping[str, Command] = {
    "demo": Command(
        "the quickstart notebook on the sandbox, in JupyterLab or as a page",
        _run_demo,
        (
            _make_argument(
                "--execute",
                metavar="OUT.html",
                type=Path,
                help="run it headlessly and write this page",
            ),
        ),
    ),
    "watch": Command(
        "follow jobs to their ends: a table in the terminal, elsewhere a line for each change",
        _run_watch,
        (
            _make_argument(
                "job_ids",
                metavar="JOB_ID",
                nargs="*",
                help="jobs of either service; by default what the journal knows unfinished, and what comes meanwhile",
            ),
            _make_argument(
                "--all", action="store_true", help="also what the services list as moving"
            ),
            _make_argument("--plain", action="store_true", help="lines on a terminal, too"),
            _make_argument(
                "--longest",
                metavar="SECONDS",
                type=_parse_seconds,
                default=3.0,
                help="look at least so often (3)",
            ),
            _PROFILE,
        ),
    ),
    "cancel": Command(
        "ask to cancel Midjourney tasks, or Tencent CI jobs or batches that have not begun",
        _run_cancel,
        (
            _make_argument("job_ids", metavar="JOB_ID", nargs="+", help="jobs of either service"),
            _PROFILE,
        ),
    ),
    "history": Command(
        "what the journal knows, as a table or a file",
        _run_history,
        (
            _make_argument(
                "--out",
                metavar="FILE",
                type=Path,
                help="write it: .csv, .json (a job a line) or .parquet",
            ),
            _make_argument(
                "--since", metavar="TIME", help="only jobs submitted from then on: 2026-01-31"
            ),
            _make_argument(
                "--limit",
                metavar="N",
                type=_parse_count,
                help=f"only the latest so many ({DEFAULT_HISTORY_LIMIT} on the terminal)",
            ),
            _PROFILE,
        ),
    ),
    "gallery": Command(
        "pictures on a page of its own: the journal's and the archive's, or a notebook's",
        _run_gallery,
        (
            _make_argument(
                "what",
                metavar="NOTEBOOK.ipynb|TEXT",
                nargs="?",
                default="",
                help="a notebook with saved outputs (no kernel is needed); or words that the pictures are about",
            ),
            _make_argument(
                "--out", metavar="FILE.html", type=Path, required=True, help="the page to write"
            ),
            _make_argument(
                "--limit",
                metavar="N",
                type=_parse_count,
                help="at most so many (24; a notebook's are all shown)",
            ),
            _PROFILE,
        ),
    ),
    "scan": Command(
        "look for secrets in notebooks, recordings, journals and other files",
        _run_scan,
        (
            _make_argument(
                "paths",
                metavar="PATH",
                type=Path,
                nargs="+",
                help="files, or folders with all that is in them",
            ),
        ),
    ),
    "doctor": Command(
        "ask both services whether addresses, secrets and clocks are right",
        _run_doctor,
        (_PROFILE,),
    ),
}
