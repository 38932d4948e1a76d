"""How a command ends: the status that scripts see, and what a person reads of an error."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TextIO

from jupyter_mjci.errors import CallError, JobFailed, MjciError, SettingsError, clean


class Exit(IntEnum):
    """What a command's exit status says."""

    DONE = 0
    FAILED = 1
    WRONG = 2
    OPEN = 3
    INTERRUPTED = 130
    UNHEARD = 141


MEANINGS: Mapping[Exit, str] = {
    Exit.DONE: "done: every job succeeded, nothing is wrong",
    Exit.FAILED: "failed: a job, or a cell of the demo; or the scan or the doctor found something",
    Exit.WRONG: "a command line or a setting that cannot be: nothing was sent",
    Exit.OPEN: "open: no answer, a refusal, or no end yet; jobs may go on, so ask again",
    Exit.INTERRUPTED: "interrupted (Ctrl-C): jobs go on",
    Exit.UNHEARD: "whoever read the output has left (| head)",
}

_KINDS: tuple[tuple[type[MjciError], Exit], ...] = (
    (JobFailed, Exit.FAILED),
    (CallError, Exit.WRONG),
    (SettingsError, Exit.WRONG),
)


def exit_of(error: MjciError) -> Exit:
    """The status of a command that ends with this error."""
    return next((status for kind, status in _KINDS if isinstance(error, kind)), Exit.OPEN)


def say(*words: str, file: TextIO | None = None) -> None:
    """A line for the terminal, which nothing in it may command."""
    print(clean(" ".join(words)), file=file, flush=True)


def complain(error: MjciError) -> None:
    """What happened, why, and what to do next, on stderr."""
    say("\n".join(error.lines()), file=sys.stderr)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around what writes a file that was asked for. Raises CallError where that cannot be."""
    try:
        yield
    except OSError as error:
        raise CallError(f"Cannot write {path}.", why=error.strerror or str(error)) from None
