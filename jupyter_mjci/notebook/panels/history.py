"""The panels that show frames: the history, and what is in flight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import ipywidgets as W

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Status
from jupyter_mjci.errors import MjciError
from jupyter_mjci.notebook.panels import html
from jupyter_mjci.notebook.panels.base import Panel
from jupyter_mjci.notebook.panels.gallery import job_of
from jupyter_mjci.notebook.panels.job_card import show
from jupyter_mjci.session import Session

if TYPE_CHECKING:
    import pandas as pd

PAGE = 25  # rows of the plain table and of the record
MOST = 10_000  # rows that the grid is given: the newest; the fields find older ones
HIDDEN = ("buttons", "state", "outputs", "parent")
ANY = ("any", "")
SEEN = 6  # pictures of selected rows
SMALL = (300, 40_000)
PLOTS = (
    ("no plot", ""),
    ("jobs submitted", "timeline"),
    ("throughput", "throughput"),
    ("turnaround", "turnaround"),
    ("waiting in the queue", "queue_stats"),
    ("failures", "failures"),
    ("success rate", "success_rate"),
)


class TablePanel(Panel):
    """A frame with fields to find rows by. `panel.frame` is all of it, `panel.found` what the
    fields leave, and `panel.selected` the rows that are selected (as long as none is, all that were
    found).
    """

    empty = "Nothing yet."

    def __init__(self, session: Session) -> None:
        self.frame: Any = None
        self.found: Any = None
        self._shown: Any = None
        self._page = 0
        super().__init__(session)
        self.start(self._refresh())

    def form(self) -> Sequence[Any]:
        self.filter = W.Text(
            description="Find", placeholder="any text of a row", tooltip="Rows that hold this text"
        )
        self.service = W.Dropdown(
            description="Service", options=[ANY, ("Midjourney", "mj"), ("Tencent CI", "ci")]
        )
        self.action = W.Dropdown(
            description="Action", options=[ANY], tooltip="Only jobs of this action"
        )
        self.refresh = W.Button(description="Refresh", icon="refresh", tooltip="Ask again")
        self.on_press(self.refresh, self._refresh)
        self.note = W.HTML()
        self.grid = _grid()
        self.table = W.HTML()
        if self.grid is not None:
            self.grid.observe(self._selected, "selected_rows")
        for widget in (self.filter, self.service, self.action):
            widget.observe(lambda _: self._choose(), "value")
        row = W.HBox(
            [self.refresh, self.filter, self.service, self.action, *self.more_fields()]
        ).add_class("mjci-row")
        table = [self.table, self._turns()] if self.grid is None else [self.grid]
        return [W.VBox([row, *self.above(), self.note, *table]).add_class("mjci-form")]

    def more_fields(self) -> Sequence[Any]:
        return ()

    def above(self) -> Sequence[Any]:
        """The widgets between the fields and the table."""
        return ()

    def _turns(self) -> Any:
        """The plain table comes page by page."""
        self.back = W.Button(description="‹ Newer", tooltip="Page back", disabled=True)
        self.on = W.Button(description="Older ›", tooltip="Page on", disabled=True)
        self.back.on_click(lambda _: self._turn(-1))
        self.on.on_click(lambda _: self._turn(1))
        return W.HBox([self.back, self.on]).add_class("mjci-row")

    def fetch(self) -> pd.DataFrame:
        """The rows; called in a worker thread, so it may block."""
        raise NotImplementedError

    @property
    def selected(self) -> Any:
        """The rows that are selected, as a DataFrame; as long as none is, all that were found."""
        if self.grid is None or not self.grid.selected_rows or self._shown is None:
            return self.found
        return self._shown.iloc[list(self.grid.selected_rows)]

    # --- finding ----------------------------------------------------------------------------------

    async def _refresh(self) -> None:
        self.say()
        self.frame = await anyio.to_thread.run_sync(self.fetch)
        actions = sorted(self.frame["action"].dropna().unique())
        if (options := (ANY, *((one, one) for one in actions))) != self.action.options:
            self.action.options = options
        self._choose()

    def keep(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows that the fields leave."""
        for name, wanted in (("service", self.service.value), ("action", self.action.value)):
            if wanted:
                rows = rows[rows[name] == wanted]
        wanted = self.filter.value.strip().casefold()
        return rows[_holding(rows, wanted)] if wanted else rows

    def _choose(self) -> None:
        with self._lock:
            if self.frame is None:
                return
            self.found = self.keep(self.frame[::-1])  # newest first
            self._page = 0
            self._draw()

    def _turn(self, by: int) -> None:
        with self._lock:
            self._page = max(0, min(self._page + by, self._pages() - 1))
            self._draw()

    def _pages(self) -> int:
        return max(1, -(-len(self.found) // PAGE))

    def _selected(self, _: Mapping[str, Any]) -> None:
        """Rows were selected, or no longer."""

    # --- drawing ----------------------------------------------------------------------------------

    def _draw(self) -> None:
        if self.grid is None:
            self.back.disabled, self.on.disabled = self._page == 0, self._page >= self._pages() - 1
            self.table.value = self.static_html()
        else:
            self._fill()
        self.keep_record()

    def _fill(self) -> None:
        self._shown = self.found.head(MOST)
        many = len(self.found)
        told = self.empty if not many else f"{many:,} job{'s' * (many > 1)}"
        if many > MOST:
            told = f"the newest {MOST:,} of {many:,} jobs"
        self.note.value = f'<span class="mjci-faint" role="status">{escape(told)}</span>'
        self.grid.layout.display = "" if many else "none"
        self.grid.update(_words(self._shown), selected_rows=[], **GRID)

    def static_html(self) -> str:
        if self.found is None or not len(self.found):
            return f'<p class="mjci-faint">{escape(self.empty)}</p>'
        first = self._page * PAGE
        rows = self.found.iloc[first : first + PAGE]
        count = f"{first + 1}–{first + len(rows)} of {len(self.found)}"
        return f'<p class="mjci-faint">{count}</p><div class="mjci-table">{_table(rows)}</div>'

    def static_text(self) -> str:
        if self.found is None or not len(self.found):
            return f"{self.title}: {self.empty}"
        shown = self.found.head(PAGE)[["service", "id", "action", "status", "subject"]]
        return f"{self.title}\n{shown.to_string(index=False)}"


class HistoryPanel(TablePanel):
    """Every job that was seen: find them, plot them, select them; `panel.selected` is a
    DataFrame.
    """

    name, title = "history", "History"
    magics = "%mjci history"
    empty = "No job has been seen yet."

    def more_fields(self) -> Sequence[Any]:
        self.since = W.DatePicker(
            description="Since", tooltip="Submitted on this day (UTC) or later"
        )
        self.until = W.DatePicker(
            description="Until", tooltip="Submitted on this day (UTC) or before"
        )
        for widget in (self.since, self.until):
            widget.observe(lambda _: self._choose(), "value")
        return self.since, self.until

    def above(self) -> Sequence[Any]:
        self._drawing: event_loop.Handle[None] | None = None
        self._seeing: event_loop.Handle[None] | None = None
        self.analysis = W.Dropdown(
            description="Plot", options=PLOTS, value="timeline", tooltip="What to make of them"
        )
        self.every = W.Dropdown(
            description="Every", options=("hour", "day", "week", "month"), value="day"
        )
        self.plot = W.HTML()
        for widget in (self.analysis, self.every):
            widget.observe(lambda _: self._plot(), "value")
        return [W.HBox([self.analysis, self.every]).add_class("mjci-row"), self.plot]

    def foot(self) -> Sequence[Any]:
        self.pictures = W.HTML()
        return [self.pictures]

    def fetch(self) -> pd.DataFrame:
        return self.session.history()

    def keep(self, rows: pd.DataFrame) -> pd.DataFrame:
        days = rows["submitted"].dt.date
        if self.since.value:
            rows = rows[days >= self.since.value]
        if self.until.value:
            rows = rows[days <= self.until.value]
        return super().keep(rows)

    def _draw(self) -> None:
        super()._draw()
        self._plot()

    def _plot(self) -> None:
        if self._drawing is not None:
            self._drawing.cancel()
        self._drawing = self.start(self._plotted(self.analysis.value, self.every.value))

    async def _plotted(self, plot: str, every: str) -> None:
        if not plot or self.found is None or not len(self.found):
            self.plot.value = ""
            return
        content = await anyio.to_thread.run_sync(_drawn, self.found, plot, every)
        await anyio.lowlevel.checkpoint_if_cancelled()
        named = f"{self.analysis.label}, by {every}, of {len(self.found):,} jobs"
        self.plot.value = html.pictures([html.Shown(content, "image/png", named)])
        self.keep_record()

    def _selected(self, _: Mapping[str, Any]) -> None:
        if self._seeing is not None:
            self._seeing.cancel()
        self._seeing = self.start(self._see())

    async def _see(self) -> None:
        """The pictures of the selected rows."""
        rows = self.selected if self.grid.selected_rows else self.found.head(0)
        jobs = [job_of(row) for _, row in rows.iterrows() if isinstance(row["outputs"], str)][:SEEN]
        shown = []
        for job in (job for job in jobs if job.status is Status.SUCCEEDED):
            note = f"{job.action} · {job.subject}"
            try:
                content = await self.session.picture(job)
                shown.append(await anyio.to_thread.run_sync(show, content, SMALL, note, note))
            except MjciError as error:
                self.say(f"{job.id}: {error.what}", *error.lines()[1:])
        await anyio.lowlevel.checkpoint_if_cancelled()
        self.pictures.value = html.pictures(shown)

    def static_html(self) -> str:
        return f"{self.plot.value}{super().static_html()}{self.pictures.value}"


class StatusPanel(TablePanel):
    """What is in flight, whichever cell started it, and how the services answer. It keeps itself up
    to date.
    """

    name, title = "status", "In flight"
    magics = "%mj_queue, %ci_jobs"
    empty = "Nothing is in flight."

    def __init__(self, session: Session) -> None:
        self._answers: dict[str, str] = {}
        self._looking: event_loop.Handle[None] | None = None
        super().__init__(session)
        session.listeners.append(self._hear)

    def above(self) -> Sequence[Any]:
        self.glance = W.HTML()
        return [self.glance]

    def fetch(self) -> pd.DataFrame:
        frame = self.session.history()
        return frame[frame["status"].isin(MOVING)]

    async def _refresh(self) -> None:
        """Asks both services what they are doing, then shows what is known."""
        settings = self.session.settings
        if settings.has_mj:
            await self._ask("Midjourney", self.session.mj.queue())
        if settings.has_ci:
            await self._ask(
                "Tencent CI", self.session.ci.jobs(states=("Submitted", "Running"), limit=100)
            )
        await super()._refresh()

    async def _ask(self, service: str, question: Any) -> None:
        try:
            await question
            self._answers[service] = "answers"
        except MjciError as error:
            self._answers[service] = error.what

    def _draw(self) -> None:
        super()._draw()
        counts = self.frame["status"].value_counts()
        told = [(name, f"{html.WORDS[Status(name)]}: {counts.get(name, 0)}") for name in MOVING]
        pills = "".join(
            f'<span class="mjci-pill mjci-{name}">{escape(words)}</span> ' for name, words in told
        )
        lines = "".join(_answer(*one) for one in self._answers.items())
        self.glance.value = f'<div role="status">{pills}</div>{lines}'

    def _hear(self, event: str, _: Any) -> None:
        """A job was seen: look again, once for many."""
        if event in ("seen", "listed") and (self._looking is None or self._looking.done()):
            self._looking = self.start(self._soon())

    async def _soon(self) -> None:
        await anyio.sleep(SOON)
        await super()._refresh()

    def close(self) -> None:
        if self._hear in self.session.listeners:
            self.session.listeners.remove(self._hear)
        super().close()


MOVING = ("WAITING", "RUNNING", "ASKING")
SOON = 0.5  # seconds after which what was seen is shown


def _answer(service: str, told: str) -> str:
    tone = "SUCCEEDED" if told == "answers" else "FAILED"
    pill = f'<span class="mjci-pill mjci-{tone}">{escape(service)}</span>'
    return f'<div class="mjci-answers">{pill} <span class="mjci-faint">{escape(told)}</span></div>'


# All rows that it is given, in pages; our own fields find them; text is text.
GRID: Mapping[str, Any] = {
    "select": True,
    "maxBytes": 0,
    "allow_html": False,
    "showIndex": False,
    "pageLength": 10,
    "lengthMenu": [10, 25, 100],
    "classes": "display compact nowrap",
    "layout": {"topStart": None, "topEnd": None},
    "columnDefs": [{"className": "dt-left", "targets": "_all"}],
}


def _grid() -> Any:
    """A grid whose rows can be selected, or None where itables is not installed."""
    try:
        from itables.widget import ITable
    except ImportError:
        return None
    return ITable(**GRID)


def _drawn(frame: Any, plot: str, every: Any) -> bytes:
    from jupyter_mjci.history.analysis import drawn

    return drawn(frame, plot, every)


def _holding(rows: pd.DataFrame, wanted: str) -> pd.Series[bool]:
    """Which rows hold the text in any of their columns."""
    words = rows[["service", "id", "action", "status", "subject"]].astype("string").fillna("")
    held = words.apply(lambda column: column.str.casefold().str.contains(wanted, regex=False))
    found: pd.Series[bool] = held.any(axis=1)
    return found


def _words(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns worth showing, as texts."""
    shown = rows.drop(columns=list(HIDDEN), errors="ignore").copy()
    for name in shown.columns[[kind.startswith("datetime64") for kind in shown.dtypes.astype(str)]]:
        shown[name] = shown[name].dt.strftime("%Y-%m-%d %H:%M:%S")
    for name in ("waited", "took"):
        if name in shown:
            shown[name] = shown[name].dt.total_seconds().map("{:.1f} s".format, na_action="ignore")
    return shown.astype("string").fillna("–")


def _table(rows: pd.DataFrame) -> str:
    return str(_words(rows).to_html(index=False, border=0, escape=True))
