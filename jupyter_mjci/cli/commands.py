"""The commands of `jupyter mjci`: their help, handlers and arguments."""

from __future__ import annotations

import argparse
import math
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyter_mjci.cli import handlers

SANDBOX_HELP = "serve the sandbox, an emulator of both services, on a loopback port"


def _parse_count(text: str) -> int:
    """Parse a positive integer."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a positive integer, not {text!r}")
    return int(text)


def _parse_seconds(text: str) -> float:
    """Parse a positive, finite number of seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"must be a positive number of seconds, not {text!r}")
    return seconds


# Names and keyword arguments of `ArgumentParser.add_argument`.
Argument = tuple[tuple[str, ...], Mapping[str, Any]]


def _make_argument(*names: str, **options: Any) -> Argument:
    return names, options


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its help, its handler, and its arguments."""

    help: str
    run: Callable[[Namespace], int]
    arguments: tuple[Argument, ...] = ()


PROFILE = _make_argument("--profile", metavar="NAME", help="use this profile of profiles.toml")
SINCE = _make_argument(
    "--since", metavar="TIME", help="only jobs submitted since then, such as 2026-01-31"
)
JOB_IDS = _make_argument(
    "job_ids", metavar="JOB_ID", nargs="+", help="IDs of jobs of either service"
)

DEMO_ARGUMENTS = (
    _make_argument(
        "--execute",
        metavar="OUT.html",
        type=Path,
        help="execute it headlessly and write this page",
    ),
    _make_argument(
        "--timing",
        action="store_true",
        help="with --execute: say after how many seconds the first picture was there",
    ),
)
WATCH_ARGUMENTS = (
    _make_argument(
        "job_ids",
        metavar="JOB_ID",
        nargs="*",
        help="IDs of jobs of either service; default: the journal's unfinished jobs, also those "
        "that are submitted meanwhile",
    ),
    _make_argument(
        "--all", action="store_true", help="also the active jobs that the services list"
    ),
    _make_argument(
        "--plain", action="store_true", help="print lines instead of a table on a terminal, too"
    ),
    _make_argument(
        "--interval",
        metavar="SECONDS",
        type=_parse_seconds,
        default=3.0,
        help="maximum time between polls (default 3)",
    ),
    PROFILE,
)
HISTORY_ARGUMENTS = (
    _make_argument(
        "--out",
        metavar="FILE",
        type=Path,
        help="write a file that s.history.load() reads: .csv, .json (one job per line) or .parquet",
    ),
    SINCE,
    _make_argument(
        "--limit",
        metavar="N",
        type=_parse_count,
        help=f"only the latest N jobs (default {handlers.DEFAULT_HISTORY_LIMIT}; all with --out)",
    ),
    PROFILE,
)
REPORT_ARGUMENTS = (
    _make_argument(
        "out",
        metavar="OUT.html|OUT.ipynb",
        type=Path,
        help="the page to write, or a notebook that papermill executes",
    ),
    SINCE,
    _make_argument("--until", metavar="TIME", help="only jobs submitted until then"),
    _make_argument("--service", metavar="KEY", help="only jobs of this service: mj, ci, …"),
    _make_argument(
        "--tz", metavar="ZONE", default="UTC", help="time zone, such as Asia/Shanghai (default UTC)"
    ),
    _make_argument(
        "--every",
        metavar="PERIOD",
        help="hour, day, week, month or quarter of the plots (default: what fits)",
    ),
    PROFILE,
)
GALLERY_ARGUMENTS = (
    _make_argument(
        "source",
        metavar="NOTEBOOK.ipynb|TEXT",
        nargs="?",
        default="",
        help="a notebook with saved outputs (needs no kernel), or words of the jobs' subjects",
    ),
    _make_argument(
        "--out", metavar="FILE.html", type=Path, required=True, help="the page to write"
    ),
    _make_argument(
        "--limit",
        metavar="N",
        type=_parse_count,
        help="at most N pictures (default 24; all of a notebook)",
    ),
    PROFILE,
)
SCAN_ARGUMENTS = (
    _make_argument(
        "paths",
        metavar="PATH",
        type=Path,
        nargs="+",
        help="files, or folders with everything in them",
    ),
    _make_argument(
        "--baseline",
        metavar="FILE",
        type=Path,
        help="a file of known findings, which are not reported",
    ),
    _make_argument(
        "--update-baseline",
        action="store_true",
        help="write the findings to the baseline instead of reporting them",
    ),
    _make_argument(
        "--format",
        choices=("text", "sarif"),
        default="text",
        help="sarif: a report that code hosts and editors read",
    ),
    _make_argument(
        "--fix", action="store_true", help="clear the outputs of notebooks that hold a secret"
    ),
    _make_argument("--yes", action="store_true", help="clear them without asking"),
)

COMMANDS: Mapping[str, Command] = {
    "demo": Command(
        "open the quickstart notebook on the sandbox, or execute it into a page",
        handlers.run_demo,
        DEMO_ARGUMENTS,
    ),
    "watch": Command(
        "follow jobs until they end: a table on a terminal, else one line per change",
        handlers.run_watch,
        WATCH_ARGUMENTS,
    ),
    "cancel": Command(
        "cancel Midjourney tasks, or Tencent CI jobs and batches that have not started",
        handlers.run_cancel,
        (JOB_IDS, PROFILE),
    ),
    "history": Command(
        "print the journal's jobs as a table, or write them to a file",
        handlers.run_history,
        HISTORY_ARGUMENTS,
    ),
    "report": Command(
        "write the analyses of the journal as one page, with the slowest and failed jobs",
        handlers.run_report,
        REPORT_ARGUMENTS,
    ),
    "gallery": Command(
        "write a page of pictures: those of the journal and archive, or of a notebook",
        handlers.run_gallery,
        GALLERY_ARGUMENTS,
    ),
    "scan": Command(
        "find secrets in notebooks, recordings, journals and other files",
        handlers.run_scan,
        SCAN_ARGUMENTS,
    ),
    "doctor": Command(
        "check addresses, secrets and clocks of both services",
        handlers.run_doctor,
        (PROFILE,),
    ),
}
