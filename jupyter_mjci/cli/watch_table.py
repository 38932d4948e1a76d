"""Watched jobs as a live table on the terminal. The only module that imports rich."""

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

from jupyter_mjci.cli.watch_row import PENDING_LABEL, UNKNOWN_LABEL, Row, Rows
from jupyter_mjci.client.job import Status
from jupyter_mjci.errors import sanitize

COLUMN_GAP = 2  # characters
BAR_WIDTH = 10  # characters
# characters, as long as optional columns can make room
MIN_SUBJECT_WIDTH = 14
LAST_SUBJECT_WIDTH = 8  # characters, without optional columns
# dropped in this order in a narrow window
OPTIONAL_COLUMNS = ("service", "elapsed", "progress")
RIGHT_ALIGNED = ("%", "elapsed")
# lines of the window for header, footer and cursor
OTHER_LINES = 3
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
STOP_HINT = "Ctrl-C stops watching; jobs keep running"


def supports_redraw() -> bool:
    """Return whether the terminal can move its cursor."""
    return not Console().is_dumb_terminal


@contextmanager
def show_table(rows: Rows, now: Callable[[], float]) -> Iterator[Callable[[Row], None]]:
    """Show a table, refreshed four times a second; results and errors are printed above it.

    Args:
        rows: the rows, which the caller updates
        now: returns the services' time, in seconds since 1970

    Yields:
        A function to call with each changed row.
    """
    console = Console(highlight=False)
    table = WatchTable(rows, now)

    def print_outcome(row: Row) -> None:
        if row.job.status.is_terminal:
            for url in row.job.outputs:
                console.print(Text(sanitize(f"{row.job.id}  {url}")), soft_wrap=True)
        if row.outcome_error is not None:
            lines = "\n".join(row.outcome_error.format_lines())
            console.print(Text(lines, style="red"), soft_wrap=True)

    with Live(table, console=console, redirect_stdout=False, redirect_stderr=False):
        try:
            yield print_outcome
        finally:
            table.show_all = True


@dataclass
class WatchTable:
    """A renderable of the current rows: as many as fit the window, or all of them."""

    rows: Rows
    now: Callable[[], float]
    show_all: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        rows = tuple(self.rows.values())
        if not rows:
            if not self.show_all:
                yield Text(PENDING_LABEL, style="dim")
            return
        visible: Sequence[Row] = rows
        if not self.show_all:
            visible = _select_rows(rows, options.max_height - OTHER_LINES)
        yield self._build_table(console, options, visible)
        footer = "   ".join(self._build_footer(rows, len(rows) - len(visible)))
        yield Text(footer, style="dim", no_wrap=True)

    def _build_footer(self, rows: Sequence[Row], hidden: int) -> Iterator[str]:
        if len(rows) > 1:
            counts = Counter(row.label for row in rows)
            yield ", ".join(
                f"{counts[label]:,} {label.lower()}" for label in STYLES if counts[label]
            )
        if hidden:
            yield f"({hidden:,} not shown)"
        if not self.show_all:
            yield STOP_HINT

    def _build_table(self, console: Console, options: ConsoleOptions, rows: Sequence[Row]) -> Table:
        now = self.now()
        cells: dict[str, list[RenderableType]] = {}
        widths: dict[str, int] = {}
        for name, render in COLUMNS.items():
            cells[name] = [render(row, now) for row in rows]
            cell_widths = [console.measure(cell).maximum for cell in cells[name]]
            widths[name] = max(len(name), *cell_widths)
        subject_width = _fit_columns(widths, options.max_width)
        table = Table(box=None, padding=(0, COLUMN_GAP, 0, 0), pad_edge=False, header_style="bold")
        for name, width in widths.items():
            table.add_column(name, width=width, no_wrap=True)
            if name in RIGHT_ALIGNED:
                table.columns[-1].justify = "right"
        table.add_column("subject", width=subject_width, no_wrap=True, overflow="ellipsis")
        for index, row in enumerate(rows):
            subject = " ".join(sanitize(row.job.subject).split())
            table.add_row(*(cells[name][index] for name in widths), Text(subject))
        return table


def _fit_columns(widths: dict[str, int], max_width: int) -> int:
    """Drop optional columns until the subject has room; return the subject's width."""
    for name in OPTIONAL_COLUMNS:
        if _get_rest(widths, max_width) < MIN_SUBJECT_WIDTH:
            del widths[name]
    return max(_get_rest(widths, max_width), LAST_SUBJECT_WIDTH)


def _get_rest(widths: Mapping[str, int], max_width: int) -> int:
    return max_width - sum(widths.values()) - COLUMN_GAP * (len(widths) + 1)


def _select_rows(rows: Sequence[Row], max_rows: int) -> Sequence[Row]:
    """Return the rows that fit, active ones first, in their original order."""
    indexes = range(len(rows))
    ranked = sorted(indexes, key=lambda index: not rows[index].is_active)  # stable
    return [rows[index] for index in sorted(ranked[: max(max_rows, 1)])]


# --- cells ---


def _render_progress(row: Row, _: float) -> ProgressBar:
    job = row.job
    completed = job.progress or 0
    if job.status is Status.SUCCEEDED:
        completed = 100
    total: int | None = 100
    if row.is_active and job.status is Status.RUNNING and job.progress is None:
        total = None  # a bar that pulses
    style = STYLES[row.label]
    return ProgressBar(
        total, completed, width=BAR_WIDTH, complete_style=style, finished_style=style
    )


def _render_status(row: Row) -> Text:
    stalled = " (stalled)" if row.is_active and row.job.is_stalled else ""
    return Text(f"{row.label}{stalled}", style=STYLES[row.label])


def _render_percent(row: Row, _: float) -> Text:
    progress = row.job.progress
    return Text("" if progress is None else str(progress))


def _render_elapsed(row: Row, now: float) -> Text:
    """Render the time from the submission to the end, or to now.

    The service's clock may be ahead of ours: an active job shows
    at least how long it was watched.
    """
    job = row.job
    seconds = 0.0
    end = 0.0
    if row.is_active:
        seconds = time.monotonic() - row.since
        end = now
    if job.finished:
        end = job.finished.timestamp()
    if job.submitted:
        seconds = max(seconds, end - job.submitted.timestamp())
    return Text(_format_duration(seconds) if seconds > 0 else "")


def _format_duration(seconds: float) -> str:
    """Format as 1:05, or 1:01:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}"


COLUMNS: Mapping[str, Callable[[Row, float], RenderableType]] = {
    "service": lambda row, _: Text(row.job.service),
    "id": lambda row, _: Text(sanitize(row.job.id)),
    "action": lambda row, _: Text(sanitize(row.job.action)),
    "status": lambda row, _: _render_status(row),
    "progress": _render_progress,
    "%": _render_percent,
    "elapsed": _render_elapsed,
}
