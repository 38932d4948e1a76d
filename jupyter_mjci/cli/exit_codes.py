"""How a command ends: the status that scripts see, and what a person reads of an error."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TextIO

from jupyter_mjci.errors import InvalidRequest, JobFailed, MjciError, SettingsError, sanitize


class Exit(IntEnum):
    """What a command's exit status says."""

    SUCCESS = 0
    FAILED = 1
    USAGE_ERROR = 2
    INCOMPLETE = 3
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EXIT_CODE_HELP: Mapping[Exit, str] = {
    Exit.SUCCESS: "done: every job succeeded, nothing is wrong",
    Exit.FAILED: "failed: a job, or a cell of the demo; or the scan or the doctor found something",
    Exit.USAGE_ERROR: "a command line or a setting that cannot be: nothing was sent",
    Exit.INCOMPLETE: "open: no answer, a refusal, or no end yet; jobs may go on, so ask again",
    Exit.INTERRUPTED: "interrupted (Ctrl-C): jobs go on",
    Exit.BROKEN_PIPE: "whoever read the output has left (| head)",
}

_EXIT_BY_ERROR: tuple[tuple[type[MjciError], Exit], ...] = (
    (JobFailed, Exit.FAILED),
    (InvalidRequest, Exit.USAGE_ERROR),
    (SettingsError, Exit.USAGE_ERROR),
)


def get_exit_code(error: MjciError) -> Exit:
    """The status of a command that ends with this error."""
    return next(
        (status for kind, status in _EXIT_BY_ERROR if isinstance(error, kind)), Exit.INCOMPLETE
    )


def echo(*words: str, file: TextIO | None = None) -> None:
    """A line for the terminal, which nothing in it may command."""
    print(sanitize(" ".join(words)), file=file, flush=True)


def print_error(error: MjciError) -> None:
    """What happened, why, and what to do next, on stderr."""
    echo("\n".join(error.format_lines()), file=sys.stderr)


@contextmanager
def report_write_errors(path: Path) -> Iterator[None]:
    """Around what writes a file that was asked for. Raises CallError where that cannot be."""
    try:
        yield
    except OSError as error:
        raise InvalidRequest(f"Cannot write {path}.", detail=error.strerror or str(error)) from None
