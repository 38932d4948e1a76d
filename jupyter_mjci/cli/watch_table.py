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

from jupyter_mjci.cli.watch import PENDING_LABEL, UNKNOWN_LABEL, Row, Rows
from jupyter_mjci.client.job import Status
from jupyter_mjci.errors import sanitize

COLUMN_GAP = 2  # characters between two columns
BAR_WIDTH = 10  # characters
MIN_SUBJECT_WIDTH = (
    14  # characters that a subject has at least, as long as other columns can make room for it
)
OPTIONAL_COLUMNS = (
    "service",
    "elapsed",
    "progress",
)  # what a narrow window does without, first things first
RIGHT_ALIGNED = ("%", "elapsed")
STYLES: Mapping[str, str] = {
    PENDING_LABEL: "dim",
    Status.QUEUED: "dim",
    Status.RUNNING: "cyan",
    Status.NEEDS_INPUT: "yellow",
    Status.SUCCEEDED: "green",
    Status.FAILED: "red",
    Status.CANCELLED: "magenta",
    UNKNOWN_LABEL: "red",
}
STOP_HINT = "Ctrl-C ends the watching, no job"


def supports_redraw() -> bool:
    """Whether this terminal can be written upon twice."""
    return not Console().is_dumb_terminal


@contextmanager
def show_table(rows: Rows, now: Callable[[], float]) -> Iterator[Callable[[Row], None]]:
    """The table, drawn anew four times a second; at the end all of it stays. Results and reasons
    are told above it, as they come.
    """
    console = Console(highlight=False)
    board = WatchTable(rows, now)

    def tell(row: Row) -> None:
        for url in row.job.outputs if row.job.status.is_terminal else ():
            console.print(Text(sanitize(f"{row.job.id}  {url}")), soft_wrap=True)
        if row.outcome_error is not None:
            console.print(
                Text("\n".join(row.outcome_error.format_lines()), style="red"), soft_wrap=True
            )

    with Live(board, console=console, redirect_stdout=False, redirect_stderr=False):
        try:
            yield tell
        finally:
            board.show_all = True


@dataclass
class WatchTable:
    """The rows as they are now: as many as the window has room for, what moves first; or the whole
    of them.
    """

    rows: Rows
    now: Callable[[], float]
    show_all: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = tuple(self.rows.values())
        if not rows:
            if not self.show_all:
                yield Text(PENDING_LABEL, style="dim")
            return
        shown = (
            rows if self.show_all else _select_rows(rows, options.max_height - 3)
        )  # the head, the foot, the cursor
        yield self._build_table(console, options, shown)
        yield Text(
            "   ".join(self._build_footer(rows, len(rows) - len(shown))), style="dim", no_wrap=True
        )

    def _build_footer(self, rows: Sequence[Row], hidden: int) -> Iterator[str]:
        if len(rows) > 1:
            count = Counter(row.label for row in rows)
            yield ", ".join(f"{count[word]:,} {word.lower()}" for word in STYLES if count[word])
        if hidden:
            yield f"({hidden:,} not shown)"
        if not self.show_all:
            yield STOP_HINT

    def _build_table(self, console: Console, options: ConsoleOptions, rows: Sequence[Row]) -> Table:
        now = self.now()
        cells = {name: [cell(row, now) for row in rows] for name, cell in COLUMNS.items()}
        widths = {
            name: max(len(name), *(console.measure(cell).maximum for cell in column))
            for name, column in cells.items()
        }

        def room() -> int:
            return options.max_width - sum(widths.values()) - COLUMN_GAP * (len(widths) + 1)

        for name in OPTIONAL_COLUMNS:
            if room() < MIN_SUBJECT_WIDTH:
                del widths[name]
        table = Table(box=None, padding=(0, COLUMN_GAP, 0, 0), pad_edge=False, header_style="bold")
        for name, width in widths.items():
            table.add_column(
                name,
                width=width,
                no_wrap=True,
                justify="right" if name in RIGHT_ALIGNED else "left",
            )
        table.add_column("subject", width=max(room(), 8), no_wrap=True, overflow="ellipsis")
        for number, row in enumerate(rows):
            table.add_row(
                *(cells[name][number] for name in widths),
                Text(" ".join(sanitize(row.job.subject).split())),
            )
        return table


def _select_rows(rows: Sequence[Row], max_rows: int) -> Sequence[Row]:
    """As many rows as there are lines for: what moves, then what ended; each in its place."""
    ranked = sorted(range(len(rows)), key=lambda place: (not rows[place].is_active, place))
    return [rows[place] for place in sorted(ranked[: max(max_rows, 1)])]


# --- cells ----------------------------------------------------------------------------------------


def _render_progress(row: Row, _: float) -> ProgressBar:
    job = row.job
    done = 100 if job.status is Status.SUCCEEDED else job.progress or 0
    unknown = row.is_active and job.status is Status.RUNNING and job.progress is None
    style = STYLES[row.label]
    return ProgressBar(
        None if unknown else 100, done, width=BAR_WIDTH, complete_style=style, finished_style=style
    )


def _format_elapsed(row: Row, now: float) -> Text:
    """From its submission to its end, or to now. Another machine's clock may be ahead of ours."""
    job = row.job
    watched = time.monotonic() - row.since if row.is_active else 0.0
    end = job.finished.timestamp() if job.finished else now if row.is_active else 0.0
    seconds = max(watched, end - job.submitted.timestamp() if job.submitted else 0.0)
    return Text(_format_duration(seconds) if seconds > 0 else "")


def _format_duration(seconds: float) -> str:
    """1:05, 1:01:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


COLUMNS: Mapping[str, Callable[[Row, float], RenderableType]] = {
    "service": lambda row, _: Text(row.job.service),
    "id": lambda row, _: Text(sanitize(row.job.id)),
    "action": lambda row, _: Text(sanitize(row.job.action)),
    "status": lambda row, _: Text(row.label, style=STYLES[row.label]),
    "progress": _render_progress,
    "%": lambda row, _: Text("" if row.job.progress is None else str(row.job.progress)),
    "elapsed": _format_elapsed,
}
