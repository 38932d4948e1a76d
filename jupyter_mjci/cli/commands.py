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

from jupyter_mjci.cli.exit_codes import Exit, complain, exit_of, say, writing
from jupyter_mjci.client.job import Status
from jupyter_mjci.errors import CallError, MjciError, needing

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_mjci.session import Session


# --- what they do ---------------------------------------------------------------------------------


def _session(told: Namespace, **given: Any) -> Session:
    from jupyter_mjci.session import connect

    return connect(profile=told.profile, notice=partial(say, file=sys.stderr), **given)


def _demo(told: Namespace) -> int:
    from jupyter_mjci.cli.demo import demo

    return demo(told.execute)


def _watch(told: Namespace) -> int:
    from jupyter_mjci.cli.watch import watch

    with _session(told) as session:
        return watch(session, told)


def _cancel(told: Namespace) -> int:
    """Asks for each, whatever becomes of the others; a wrong id is told before anything is sent."""
    with _session(told) as session:
        for word in told.job_ids:
            session.cancel(word)
        return max(_cancelled(session, word) for word in told.job_ids)


def _cancelled(session: Session, job_id: str) -> Exit:
    try:
        session.cancel(job_id).run()
        job = session.describe(job_id).run()
        if job.status not in (Status.CANCELLED, Status.FAILED):  # some proxies know no CANCEL
            hint = f"Look again: jupyter mjci watch {job_id}"
            raise MjciError(f"{job_id} is not cancelled: it is {job.status}.", hint=hint)
    except MjciError as error:
        say("Not cancelled:", job_id, file=sys.stderr)
        complain(error)
        return exit_of(error)
    say("Cancelled:", job_id)
    return Exit.DONE


SHOWN = 20  # jobs of the history on a terminal
COLUMNS = ("service", "id", "action", "status", "submitted", "subject")
WRITERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    ".csv": ("to_csv", {"index": False}),
    ".json": ("to_json", {"orient": "records", "lines": True, "date_format": "iso"}),
    ".parquet": ("to_parquet", {"index": False}),
}


def _history(told: Namespace) -> int:
    out: Path | None = told.out
    if out and out.suffix not in WRITERS:
        raise CallError(f"{out} has no known ending.", hint=f"Use one of {', '.join(WRITERS)}.")
    with _session(told) as session:
        frame = session.history(since=told.since, limit=told.limit or (None if out else SHOWN))
    if out:
        _write(frame, out)
        return Exit.DONE
    frame["submitted"] = frame["submitted"].dt.strftime("%Y-%m-%d %H:%M:%S")
    cells = frame[list(COLUMNS)].astype("string").fillna("").to_numpy().tolist()
    _tell([COLUMNS, *([" ".join(cell.split()) for cell in row] for row in cells)])
    if "note" in frame.attrs:
        say(frame.attrs["note"], file=sys.stderr)
    return Exit.DONE


def _write(frame: pd.DataFrame, out: Path) -> None:
    name, options = WRITERS[out.suffix]
    if name == "to_json":  # where pandas 2 takes spans of microseconds for nanoseconds
        frame = frame.astype(
            dict.fromkeys(frame.select_dtypes("timedelta").columns, "timedelta64[ns]")
        )
    with needing("pyarrow", "lake"), writing(out):
        getattr(frame, name)(out, **options)
    say(f"{len(frame):,} jobs: {out}")


def _tell(rows: Sequence[Sequence[str]]) -> None:
    """Rows as a table; the last column is as long as it likes."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        say("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def _gallery(told: Namespace) -> int:
    from jupyter_mjci.notebook.gallery import LIMIT, collected, saved, title_of, written

    if told.what.endswith(".ipynb"):
        notebook = Path(told.what)
        shown, title = saved(notebook)[: told.limit], title_of(notebook)
    else:
        with _session(told) as session:
            shown = collected(session, told.what, limit=LIMIT if told.limit is None else told.limit)
        title = told.what or "Pictures"
    say(written(shown, told.out, title))
    return Exit.DONE


def _scan(told: Namespace) -> int:
    from jupyter_mjci.secret_scan import scan

    found = Exit.DONE
    for leak in scan(told.paths):
        found = Exit.FAILED
        say(str(leak))
    return found


def _doctor(told: Namespace) -> int:
    from jupyter_mjci.diagnostics import probed

    with _session(told, replay="off") as session:
        findings = probed(session)
    _tell([(finding.what, str(finding)) for finding in findings])
    return Exit.FAILED if any(finding.ok is False for finding in findings) else Exit.DONE


# --- how they are called --------------------------------------------------------------------------


def _count(word: str) -> int:
    """A number of things. Raises ArgumentTypeError below one."""
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"a number from 1 on, not {word!r}")
    return int(word)


def _seconds(word: str) -> float:
    """A span of time. Raises ArgumentTypeError for none."""
    try:
        seconds = float(word)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"a number of seconds above 0, not {word!r}")
    return seconds


Argument = tuple[tuple[str, ...], Mapping[str, Any]]


def _argument(*names: str, **options: Any) -> Argument:
    return names, options


@dataclass(frozen=True, slots=True)
class Command:
    """A command: what it is for, what does it, and its arguments as argparse takes them."""

    help: str
    run: Callable[[Namespace], int]
    arguments: tuple[Argument, ...] = ()


SANDBOX = "serve both services on a loopback port, without account"
_PROFILE = _argument("--profile", metavar="NAME", help="use this profile of profiles.toml")

COMMANDS: Mapping[str, Command] = {
    "demo": Command(
        "the quickstart notebook on the sandbox, in JupyterLab or as a page",
        _demo,
        (
            _argument(
                "--execute",
                metavar="OUT.html",
                type=Path,
                help="run it headlessly and write this page",
            ),
        ),
    ),
    "watch": Command(
        "follow jobs to their ends: a table in the terminal, elsewhere a line for each change",
        _watch,
        (
            _argument(
                "job_ids",
                metavar="JOB_ID",
                nargs="*",
                help="jobs of either service; by default what the journal knows unfinished, and what comes meanwhile",
            ),
            _argument("--all", action="store_true", help="also what the services list as moving"),
            _argument("--plain", action="store_true", help="lines on a terminal, too"),
            _argument(
                "--longest",
                metavar="SECONDS",
                type=_seconds,
                default=3.0,
                help="look at least so often (3)",
            ),
            _PROFILE,
        ),
    ),
    "cancel": Command(
        "ask to cancel Midjourney tasks, or Tencent CI jobs or batches that have not begun",
        _cancel,
        (
            _argument("job_ids", metavar="JOB_ID", nargs="+", help="jobs of either service"),
            _PROFILE,
        ),
    ),
    "history": Command(
        "what the journal knows, as a table or a file",
        _history,
        (
            _argument(
                "--out",
                metavar="FILE",
                type=Path,
                help="write it: .csv, .json (a job a line) or .parquet",
            ),
            _argument(
                "--since", metavar="TIME", help="only jobs submitted from then on: 2026-01-31"
            ),
            _argument(
                "--limit",
                metavar="N",
                type=_count,
                help=f"only the latest so many ({SHOWN} on the terminal)",
            ),
            _PROFILE,
        ),
    ),
    "gallery": Command(
        "pictures on a page of its own: the journal's and the archive's, or a notebook's",
        _gallery,
        (
            _argument(
                "what",
                metavar="NOTEBOOK.ipynb|TEXT",
                nargs="?",
                default="",
                help="a notebook with saved outputs (no kernel is needed); or words that the pictures are about",
            ),
            _argument(
                "--out", metavar="FILE.html", type=Path, required=True, help="the page to write"
            ),
            _argument(
                "--limit",
                metavar="N",
                type=_count,
                help="at most so many (24; a notebook's are all shown)",
            ),
            _PROFILE,
        ),
    ),
    "scan": Command(
        "look for secrets in notebooks, recordings, journals and other files",
        _scan,
        (
            _argument(
                "paths",
                metavar="PATH",
                type=Path,
                nargs="+",
                help="files, or folders with all that is in them",
            ),
        ),
    ),
    "doctor": Command(
        "ask both services whether addresses, secrets and clocks are right", _doctor, (_PROFILE,)
    ),
}
