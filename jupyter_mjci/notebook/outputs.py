"""Where a job's outputs go: a notebook, a headless run or a terminal."""

from __future__ import annotations

import os
import secrets
import sys
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jupyter_mjci.client.job import Job
from jupyter_mjci.client.settings import is_headless
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.images import MimeBundle

MIN_UPDATE_INTERVAL = 0.25  # seconds between two updates of a card


class OutputTarget(Protocol):
    """One job's place in a cell: `show_progress` (or `update`, for what is no job) whenever it is due,
    `show_final` once, `add` for what comes after, and `show_path` for where a picture's file is.
    """

    live: bool

    def should_update(self) -> bool: ...
    def show_progress(self, job: Job, preview: str, /) -> None: ...
    def update(self, line: str, bundle: MimeBundle, /) -> None: ...
    def show_final(self, bundle: MimeBundle) -> None: ...
    def add(self, bundle: MimeBundle) -> None: ...
    def show_path(self, path: Path, /) -> None: ...


def select_output(ip: Any) -> OutputTarget:
    """The screen of this shell: `MJCI_HEADLESS` decides, else whether a person can answer the
    running cell.
    """
    told = is_headless()
    kernel = hasattr(ip, "get_parent")
    if told is None:
        told = kernel and not ip.get_parent().get("content", {}).get("allow_stdin", False)
        if not kernel:
            return TerminalOutput(ip.display_pub)
    return HeadlessOutput(ip.display_pub) if told else LiveOutput(ip.display_pub)


@dataclass
class HeadlessOutput:
    """Headless: only what stays."""

    publisher: Any
    live: bool = False

    def should_update(self) -> bool:
        return False

    def show_progress(self, job: Job, preview: str, /) -> None:
        html = cards.progress_html(job, preview)
        self.update(
            cards.progress_line(job), ({"text/html": html, "text/plain": cards.card_text(job)}, {})
        )

    def update(self, line: str, bundle: MimeBundle, /) -> None:
        pass

    def show_final(self, bundle: MimeBundle) -> None:
        self.add(bundle)

    def add(self, bundle: MimeBundle) -> None:
        self.publisher.publish(*bundle)

    def show_path(self, path: Path, /) -> None:
        """A notebook holds the picture itself, and no paths of this computer."""


@dataclass
class TerminalOutput(HeadlessOutput):
    """IPython without a notebook: one line on stderr that is overwritten, where stderr is a
    terminal.
    """

    width: int = 0

    def should_update(self) -> bool:
        return sys.stderr.isatty()

    def update(self, line: str, _: MimeBundle, /) -> None:
        room = _terminal_width() - 1  # in the last column some terminals go on to the next line
        whole, wide = _truncate_to_width(line, room)
        if whole != line:  # half a bar would say something else
            line, wide = _truncate_to_width(line.rpartition(" [")[0], room)
        sys.stderr.write(f"\r{line}{' ' * (self.width - wide)}")
        sys.stderr.flush()
        self.width = wide

    def show_final(self, bundle: MimeBundle) -> None:
        if self.width:
            blank = " " * min(self.width + len("^C"), _terminal_width() - 1)
            sys.stderr.write(f"\r{blank}\r")
            sys.stderr.flush()
            self.width = 0
        self.add(bundle)

    def show_path(self, path: Path, /) -> None:
        self.add(({"text/plain": f"  kept as {path}"}, {}))


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _truncate_to_width(line: str, width: int) -> tuple[str, int]:
    """As much of a line as has room, and the columns that it takes: East Asian letters take two."""
    wide = 0
    for end, letter in enumerate(line):
        takes = 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if wide + takes > width:
            return line[:end], wide
        wide += takes
    return line, wide


@dataclass
class LiveOutput(HeadlessOutput):
    """A person looks on: one display, updated while the job goes on, not too often and only when
    something changed.
    """

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
        update, self.last_bundle, self.last_update = bool(self.display_id), bundle, time.monotonic()
        self.display_id = self.display_id or secrets.token_hex(8)
        self.publisher.publish(*bundle, transient={"display_id": self.display_id}, update=update)
