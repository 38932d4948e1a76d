"""`jupyter mjci scan`: report secrets, compare with a baseline, clear outputs that hold one."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter

from jupyter_mjci.cli.exit_codes import Exit, echo, report_write_errors
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.secret_scan import Leak, scan
from jupyter_mjci.secret_scan.notebooks import clear_outputs, is_output
from jupyter_mjci.secret_scan.reports import Baseline, build_sarif


def run_scan(args: Namespace) -> int:
    """Scan, and return the status: secrets found, files unread, or neither."""
    if args.update_baseline and not args.baseline:
        raise InvalidRequest("--update-baseline needs --baseline FILE.")
    leaks = list(scan(args.paths))
    if args.update_baseline:
        with report_write_errors(args.baseline):
            count = Baseline.write(args.baseline, leaks)
        echo(f"{args.baseline}: {count} findings")
        return Exit.SUCCESS
    if args.baseline:
        leaks = Baseline.load(args.baseline).filter_new(leaks)
    _report(leaks, args.format)
    if args.fix:
        leaks = _fix(leaks, args.yes)
    return _get_status(leaks)


def _report(leaks: list[Leak], format_name: str) -> None:
    if format_name == "sarif":
        echo(json.dumps(build_sarif(leaks)))
        return
    for leak in leaks:
        echo(str(leak))


def _get_status(leaks: Iterable[Leak]) -> Exit:
    found = {leak.is_secret for leak in leaks}
    if True in found:
        return Exit.FAILED
    if False in found:
        return Exit.INCOMPLETE
    return Exit.SUCCESS


def _fix(leaks: list[Leak], is_agreed: bool) -> list[Leak]:
    """Clear the outputs that hold a secret; return the leaks that are left."""
    fixable = [leak for leak in leaks if is_output(leak.path, leak.location)]
    if not fixable or not (is_agreed or _ask(fixable)):
        return leaks
    for path, group in groupby(fixable, attrgetter("path")):
        with report_write_errors(path):
            cleared = clear_outputs(path, [leak.location for leak in group])
        echo(f"{path}: cleared {', '.join(cleared)}", file=sys.stderr)
    return [leak for leak in leaks if leak not in fixable]


def _ask(leaks: list[Leak]) -> bool:
    outputs = {(leak.path, leak.location) for leak in leaks}
    if not sys.stdin.isatty():
        raise InvalidRequest("There is nobody to ask.", hint="--yes clears without asking.")
    echo(f"Clear {len(outputs)} outputs? [y/N]", file=sys.stderr)
    return sys.stdin.readline().strip().lower() in ("y", "yes")
