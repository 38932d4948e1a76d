"""Exit statuses of commands, and what commands print."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TextIO

from jupyter_mjci.errors import InvalidRequest, JobFailed, MjciError, SettingsError, sanitize


class Exit(IntEnum):
    """The exit status of a command.

    From 128 on it is 128 + the number of a signal, as in shells.
    """

    SUCCESS = 0
    FAILED = 1
    USAGE_ERROR = 2
    INCOMPLETE = 3
    INTERRUPTED = 130
    BROKEN_PIPE = 141


EXIT_CODE_HELP: Mapping[Exit, str] = {
    Exit.SUCCESS: "success: every job succeeded, no problems were found",
    Exit.FAILED: "failure: a job or a cell of the demo failed, or scan or doctor found a problem",
    Exit.USAGE_ERROR: "usage error: invalid arguments or settings; nothing was sent",
    Exit.INCOMPLETE: "incomplete: no response, a refusal, or an unfinished job; jobs may still "
    "run; or scan found nothing but could not read all",
    Exit.INTERRUPTED: "interrupted (Ctrl-C): jobs keep running",
    Exit.BROKEN_PIPE: "broken pipe: the reader of the output closed it (| head)",
}


def get_exit_code(error: MjciError) -> Exit:
    """Return the status of a command that ends with this error."""
    if isinstance(error, JobFailed):
        return Exit.FAILED
    if isinstance(error, (InvalidRequest, SettingsError)):
        return Exit.USAGE_ERROR
    return Exit.INCOMPLETE


def echo(*words: str, file: TextIO | None = None) -> None:
    """Print a line without control characters: a prompt must not command the terminal."""
    print(sanitize(" ".join(words)), file=file, flush=True)


def print_error(error: MjciError) -> None:
    """Print an error's message, detail and hint to stderr."""
    echo("\n".join(error.format_lines()), file=sys.stderr)


@contextmanager
def report_write_errors(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into InvalidRequest, around writing a file.

    Raises:
        InvalidRequest: The file cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise InvalidRequest(f"Cannot write {path}.", detail=error.strerror or str(error)) from None
