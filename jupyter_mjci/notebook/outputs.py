"""Where the outputs of a job's cell go: a live notebook, a headless run or a terminal.

A cell saves the same outputs live and headless. Live, one display
is updated while the job runs and ends as the final card;
headless, only that card is published.
"""

from __future__ import annotations

import os
import secrets
import sys
import time
import unicodedata
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING, ClassVar, Protocol

from jupyter_mjci.client.job import Job
from jupyter_mjci.client.settings import is_headless
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.images import MimeBundle

if TYPE_CHECKING:
    from IPython.core.displaypub import DisplayPublisher
    from IPython.core.interactiveshell import InteractiveShell

# seconds between two updates of a card
MIN_UPDATE_INTERVAL = 0.25


class OutputTarget(Protocol):
    """The outputs of one job: `show_progress` (or `update`)
    whenever `should_update`, `show_final` once, `add` for further
    outputs, `show_path` for where an image was archived.
    """

    description: ClassVar[str]
    live: bool
    note: str

    def should_update(self) -> bool: ...
    def show_progress(self, job: Job, preview: str, /) -> None: ...
    def update(self, line: str, bundle: MimeBundle, /) -> None: ...
    def show_final(self, bundle: MimeBundle) -> None: ...
    def add(self, bundle: MimeBundle) -> None: ...
    def show_path(self, path: Path, /) -> None: ...


def select_output(ip: InteractiveShell) -> OutputTarget:
    """Return the output target of the running cell.

    `MJCI_HEADLESS` decides. Without it, a kernel is headless when
    the request that runs the cell does not allow stdin (nbclient,
    nbval), and IPython without a kernel is a terminal.
    """
    headless = is_headless()
    if headless is None:
        if not hasattr(ip, "get_parent"):
            return TerminalOutput(ip.display_pub)
        headless = not ip.get_parent().get("content", {}).get("allow_stdin", False)
    return HeadlessOutput(ip.display_pub) if headless else LiveOutput(ip.display_pub)


@dataclass
class HeadlessOutput:
    """Publish only the final outputs."""

    description: ClassVar[str] = "headless: only final outputs"
    publisher: DisplayPublisher
    live: bool = False
    # What every card of the job says besides.
    note: str = ""

    def should_update(self) -> bool:
        return False

    def show_progress(self, job: Job, preview: str, /) -> None:
        moment = cards.describe_moment(datetime.now(), cards.follow_command(job))
        note = f"{self.note}\n{moment}".strip()
        data = {
            "text/html": cards.progress_html(job, preview, note),
            "text/plain": f"{cards.card_text(job)}\n{indent(note, '  ')}",
        }
        self.update(cards.progress_line(job), (data, {}))

    def update(self, line: str, bundle: MimeBundle, /) -> None:
        pass

    def show_final(self, bundle: MimeBundle) -> None:
        self.add(bundle)

    def add(self, bundle: MimeBundle) -> None:
        data, metadata = bundle
        self.publisher.publish(data, metadata)

    def show_path(self, path: Path, /) -> None:
        """Do nothing: a notebook holds the image itself and should hold no local paths."""


@dataclass
class TerminalOutput(HeadlessOutput):
    """IPython in a terminal: one line on stderr is overwritten, if stderr is a terminal."""

    description: ClassVar[str] = "terminal: progress on stderr"
    width: int = 0

    def should_update(self) -> bool:
        return sys.stderr.isatty()

    def update(self, line: str, _: MimeBundle, /) -> None:
        # Some terminals wrap after the last column.
        available = _terminal_width() - 1
        text, width = _truncate_to_width(line, available)
        if text != line:
            # A truncated bar would show a wrong percentage: omit
            # it.
            text, width = _truncate_to_width(line.rpartition(" [")[0], available)
        self._write(f"\r{text}{' ' * (self.width - width)}")
        self.width = width

    def show_final(self, bundle: MimeBundle) -> None:
        if self.width:
            blank = " " * min(self.width + len("^C"), _terminal_width() - 1)
            self._write(f"\r{blank}\r")
            self.width = 0
        self.add(bundle)

    def show_path(self, path: Path, /) -> None:
        self.add(({"text/plain": f"  saved to {path}"}, {}))

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def measure_width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _truncate_to_width(line: str, available: int) -> tuple[str, int]:
    """Return as much of a line as fits, and its width in columns:
    East Asian wide characters take two.
    """
    width = 0
    for end, character in enumerate(line):
        columns = measure_width(character)
        if width + columns > available:
            return line[:end], width
        width += columns
    return line, width


@dataclass
class LiveOutput(HeadlessOutput):
    """One display that is updated while the job runs, at most
    every `MIN_UPDATE_INTERVAL` seconds and only when it changed.
    """

    description: ClassVar[str] = "live: progress is shown"
    live: bool = True
    display_id: str = ""
    last_bundle: MimeBundle | None = None
    last_update: float = float("-inf")

    def should_update(self) -> bool:
        return time.monotonic() - self.last_update >= MIN_UPDATE_INTERVAL

    def update(self, _: str, bundle: MimeBundle, /) -> None:
        self.show_final(bundle)

    def show_final(self, bundle: MimeBundle) -> None:
        if bundle == self.last_bundle:
            return
        self.last_bundle = bundle
        self.last_update = time.monotonic()
        is_update = bool(self.display_id)
        if not is_update:
            self.display_id = secrets.token_hex(8)
        data, metadata = bundle
        transient = {"display_id": self.display_id}
        self.publisher.publish(data, metadata, transient=transient, update=is_update)
