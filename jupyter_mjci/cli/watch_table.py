"""Watched jobs as a table in the terminal. The home of rich."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jupyter_mjci.cli.watch import ASKED, UNKNOWN, Row, Rows
from jupyter_mjci.client.job import Status
from jupyter_mjci.errors import clean

GAP = 2  # characters between two columns
BAR = 10  # characters
SUBJECT = (
    14  # characters that a subject has at least, as long as other columns can make room for it
)
SPARED = ("service", "elapsed", "progress")  # what a narrow window does without, first things first
RIGHT = ("%", "elapsed")
STYLES: Mapping[str, str] = {
    ASKED: "dim",
    Status.WAITING: "dim",
    Status.RUNNING: "cyan",
    Status.ASKING: "yellow",
    Status.SUCCEEDED: "green",
    Status.FAILED: "red",
    Status.CANCELLED: "magenta",
    UNKNOWN: "red",
}
STOP = "Ctrl-C ends the watching, no job"


def can_draw() -> bool:
    """Whether this terminal can be written upon twice."""
    return not Console().is_dumb_terminal


@contextmanager
def drawn(rows: Rows, now: Callable[[], float]) -> Iterator[Callable[[Row], None]]:
    """The table, drawn anew four times a second; at the end all of it stays. Results and reasons
    are told above it, as they come.
    """
    console = Console(highlight=False)
    board = Board(rows, now)

    def tell(row: Row) -> None:
        for url in row.job.outputs if row.job.status.final else ():
            console.print(Text(clean(f"{row.job.id}  {url}")), soft_wrap=True)
        if row.trouble is not None:
            console.print(Text("\n".join(row.trouble.lines()), style="red"), soft_wrap=True)

    with Live(board, console=console, redirect_stdout=False, redirect_stderr=False):
        try:
            yield tell
        finally:
            board.whole = True


@dataclass
class Board:
    """The rows as they are now: as many as the window has room for, what moves first; or the whole
    of them.
    """

    rows: Rows
    now: Callable[[], float]
    whole: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = tuple(self.rows.values())
        if not rows:
            if not self.whole:
                yield Text(ASKED, style="dim")
            return
        shown = (
            rows if self.whole else _most_telling(rows, options.max_height - 3)
        )  # the head, the foot, the cursor
        yield self._table(console, options, shown)
        yield Text("   ".join(self._below(rows, len(rows) - len(shown))), style="dim", no_wrap=True)

    def _below(self, rows: Sequence[Row], hidden: int) -> Iterator[str]:
        if len(rows) > 1:
            count = Counter(row.word for row in rows)
            yield ", ".join(f"{count[word]:,} {word.lower()}" for word in STYLES if count[word])
        if hidden:
            yield f"({hidden:,} not shown)"
        if not self.whole:
            yield STOP

    def _table(self, console: Console, options: ConsoleOptions, rows: Sequence[Row]) -> Table:
        now = self.now()
        cells = {name: [cell(row, now) for row in rows] for name, cell in COLUMNS.items()}
        widths = {
            name: max(len(name), *(console.measure(cell).maximum for cell in column))
            for name, column in cells.items()
        }

        def room() -> int:
            return options.max_width - sum(widths.values()) - GAP * (len(widths) + 1)

        for name in SPARED:
            if room() < SUBJECT:
                del widths[name]
        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, header_style="bold")
        for name, width in widths.items():
            table.add_column(
                name, width=width, no_wrap=True, justify="right" if name in RIGHT else "left"
            )
        table.add_column("subject", width=max(room(), 8), no_wrap=True, overflow="ellipsis")
        for number, row in enumerate(rows):
            table.add_row(
                *(cells[name][number] for name in widths),
                Text(" ".join(clean(row.job.subject).split())),
            )
        return table


def _most_telling(rows: Sequence[Row], room: int) -> Sequence[Row]:
    """As many rows as there are lines for: what moves, then what ended; each in its place."""
    ranked = sorted(range(len(rows)), key=lambda place: (not rows[place].moving, place))
    return [rows[place] for place in sorted(ranked[: max(room, 1)])]


# --- cells ----------------------------------------------------------------------------------------


def _bar(row: Row, _: float) -> ProgressBar:
    job = row.job
    done = 100 if job.status is Status.SUCCEEDED else job.progress or 0
    unknown = row.moving and job.status is Status.RUNNING and job.progress is None
    style = STYLES[row.word]
    return ProgressBar(
        None if unknown else 100, done, width=BAR, complete_style=style, finished_style=style
    )


def _elapsed(row: Row, now: float) -> Text:
    """From its submission to its end, or to now. Another machine's clock may be ahead of ours."""
    job = row.job
    watched = time.monotonic() - row.since if row.moving else 0.0
    end = job.finished.timestamp() if job.finished else now if row.moving else 0.0
    seconds = max(watched, end - job.submitted.timestamp() if job.submitted else 0.0)
    return Text(_clock(seconds) if seconds > 0 else "")


def _clock(seconds: float) -> str:
    """1:05, 1:01:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


COLUMNS: Mapping[str, Callable[[Row, float], RenderableType]] = {
    "service": lambda row, _: Text(row.job.service),
    "id": lambda row, _: Text(clean(row.job.id)),
    "action": lambda row, _: Text(clean(row.job.action)),
    "status": lambda row, _: Text(row.word, style=STYLES[row.word]),
    "progress": _bar,
    "%": lambda row, _: Text("" if row.job.progress is None else str(row.job.progress)),
    "elapsed": _elapsed,
}
