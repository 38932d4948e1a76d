"""Run the commands of `jupyter mjci`. Each handler takes the parsed arguments.

Handlers import what they need when they run, so that `--help` and
small commands start quickly.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_mjci.cli.exit_codes import Exit, echo, get_exit_code, print_error
from jupyter_mjci.client.job import Status
from jupyter_mjci.client.outcomes import allow_unconfirmed
from jupyter_mjci.errors import MjciError

if TYPE_CHECKING:
    from jupyter_mjci.session import Session

DEFAULT_HISTORY_LIMIT = 20  # jobs of the table; a file has all


def open_session(args: Namespace, **settings: str) -> Session:
    """Open a session with the profile of the command line."""
    from jupyter_mjci.connection import connect

    return connect(profile=args.profile, notice=partial(echo, file=sys.stderr), **settings)


def run_demo(args: Namespace) -> int:
    from jupyter_mjci.cli import demo

    return demo.run_demo(args.execute, timing=args.timing)


def run_watch(args: Namespace) -> int:
    from jupyter_mjci.cli.watch import watch

    with open_session(args) as session:
        return watch(session, args)


def run_cancel(args: Namespace) -> int:
    """Cancel each job; one that cannot be cancelled does not stop the others."""
    with open_session(args) as session:
        for job_id in args.job_ids:
            # raises InvalidRequest before anything is sent
            session.cancel(job_id)
        return max(_cancel_job(session, job_id) for job_id in args.job_ids)


def _cancel_job(session: Session, job_id: str) -> Exit:
    try:
        with allow_unconfirmed():
            session.cancel(job_id).run()
        job = session.describe(job_id).run()
        # Some proxies have no status CANCEL: their cancelled
        # tasks fail.
        if job.status not in (Status.CANCELLED, Status.FAILED):
            raise MjciError(
                f"{job_id} is not cancelled: its status is {job.status}.",
                hint=f"Check again: jupyter mjci watch {job_id}",
            )
    except MjciError as error:
        echo("Not cancelled:", job_id, file=sys.stderr)
        print_error(error)
        return get_exit_code(error)
    echo("Cancelled:", job_id)
    return Exit.SUCCESS


def run_history(args: Namespace) -> int:
    from jupyter_mjci.cli.export import export_frame, print_history
    from jupyter_mjci.history.history_files import check_suffix

    path: Path | None = args.out
    limit: int | None = args.limit
    if path:
        check_suffix(path)
    elif limit is None:
        limit = DEFAULT_HISTORY_LIMIT
    with open_session(args) as session:
        frame = session.history(since=args.since, limit=limit)
    if path:
        export_frame(frame, path)
        return Exit.SUCCESS
    print_history(frame)
    if "note" in frame.attrs:
        echo(frame.attrs["note"], file=sys.stderr)
    return Exit.SUCCESS


def run_report(args: Namespace) -> int:
    """Write the report of the journal."""
    names = ("since", "until", "service", "tz", "every")
    with open_session(args) as session:
        path = session.history.report(args.out, **{name: getattr(args, name) for name in names})
    echo(f"Report: {path}")
    return Exit.SUCCESS


def run_gallery(args: Namespace) -> int:
    from jupyter_mjci.notebook import gallery, saved_notebook

    if args.source.endswith(".ipynb"):
        notebook = Path(args.source)
        items = saved_notebook.load_notebook_images(notebook)[: args.limit]
        title = saved_notebook.get_title(notebook)
    else:
        with open_session(args) as session:
            limit = args.limit or gallery.DEFAULT_LIMIT
            items = gallery.collect_items(session, args.source, limit=limit)
        title = args.source or "Pictures"
    echo(gallery.write_page(items, args.out, title))
    return Exit.SUCCESS


def run_scan(args: Namespace) -> int:
    from jupyter_mjci.cli import scan

    return scan.run_scan(args)


def run_doctor(args: Namespace) -> int:
    from jupyter_mjci.cli.export import print_table
    from jupyter_mjci.diagnostics import diagnose

    with open_session(args, replay="off") as session:
        findings = diagnose(session)
    print_table([(finding.name, str(finding)) for finding in findings])
    if any(finding.ok is False for finding in findings):
        return Exit.FAILED
    return Exit.SUCCESS
