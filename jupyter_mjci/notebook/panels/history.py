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
from jupyter_mjci.notebook.panels.gallery import job_from_row
from jupyter_mjci.notebook.panels.job_card import make_inline_image
from jupyter_mjci.session import Session

if TYPE_CHECKING:
    import pandas as pd

PAGE_SIZE = 25  # rows of the plain table and of the record
MAX_GRID_ROWS = 10_000  # rows that the grid is given: the newest; the fields find older ones
HIDDEN_COLUMNS = ("buttons", "user_data", "outputs", "parent")
ANY_OPTION = ("any", "")
MAX_PICTURES = 6  # pictures of selected rows
IMAGE_LIMITS = (300, 40_000)
PLOT_OPTIONS = (
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

    empty_message = "Nothing yet."

    def __init__(self, session: Session) -> None:
        self.frame: Any = None
        self.filtered: Any = None
        self._visible: Any = None
        self._page = 0
        super().__init__(session)
        self.start_task(self._reload())

    def build_form(self) -> Sequence[Any]:
        self.filter = W.Text(
            description="Find", placeholder="any text of a row", tooltip="Rows that hold this text"
        )
        self.service = W.Dropdown(
            description="Service", options=[ANY_OPTION, ("Midjourney", "mj"), ("Tencent CI", "ci")]
        )
        self.action = W.Dropdown(
            description="Action", options=[ANY_OPTION], tooltip="Only jobs of this action"
        )
        self.refresh_button = W.Button(description="Refresh", icon="refresh", tooltip="Ask again")
        self.on_click(self.refresh_button, self._reload)
        self.note = W.HTML()
        self.grid = _create_grid()
        self.table = W.HTML()
        if self.grid is not None:
            self.grid.observe(self._on_selection_change, "selected_rows")
        for widget in (self.filter, self.service, self.action):
            widget.observe(lambda _: self._apply_filter(), "value")
        row = W.HBox(
            [
                self.refresh_button,
                self.filter,
                self.service,
                self.action,
                *self.build_extra_filters(),
            ]
        ).add_class("mjci-row")
        table = [self.table, self._build_page_buttons()] if self.grid is None else [self.grid]
        return [W.VBox([row, *self.build_toolbar(), self.note, *table]).add_class("mjci-form")]

    def build_extra_filters(self) -> Sequence[Any]:
        return ()

    def build_toolbar(self) -> Sequence[Any]:
        """The widgets between the fields and the table."""
        return ()

    def _build_page_buttons(self) -> Any:
        """The plain table comes page by page."""
        self.previous_button = W.Button(description="‹ Newer", tooltip="Page back", disabled=True)
        self.next_button = W.Button(description="Older ›", tooltip="Page on", disabled=True)
        self.previous_button.on_click(lambda _: self._change_page(-1))
        self.next_button.on_click(lambda _: self._change_page(1))
        return W.HBox([self.previous_button, self.next_button]).add_class("mjci-row")

    def fetch(self) -> pd.DataFrame:
        """The rows; called in a worker thread, so it may block."""
        raise NotImplementedError

    @property
    def selected(self) -> Any:
        """The rows that are selected, as a DataFrame; as long as none is, all that were found."""
        if self.grid is None or not self.grid.selected_rows or self._visible is None:
            return self.filtered
        return self._visible.iloc[list(self.grid.selected_rows)]

    # --- finding ----------------------------------------------------------------------------------

    async def _reload(self) -> None:
        self.show_message()
        self.frame = await anyio.to_thread.run_sync(self.fetch)
        actions = sorted(self.frame["action"].dropna().unique())
        if (options := (ANY_OPTION, *((one, one) for one in actions))) != self.action.options:
            self.action.options = options
        self._apply_filter()

    def filter_rows(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows that the fields leave."""
        for name, wanted in (("service", self.service.value), ("action", self.action.value)):
            if wanted:
                rows = rows[rows[name] == wanted]
        wanted = self.filter.value.strip().casefold()
        return rows[_match_text(rows, wanted)] if wanted else rows

    def _apply_filter(self) -> None:
        with self._lock:
            if self.frame is None:
                return
            self.filtered = self.filter_rows(self.frame[::-1])  # newest first
            self._page = 0
            self._render()

    def _change_page(self, step: int) -> None:
        with self._lock:
            self._page = max(0, min(self._page + step, self._count_pages() - 1))
            self._render()

    def _count_pages(self) -> int:
        return max(1, -(-len(self.filtered) // PAGE_SIZE))

    def _on_selection_change(self, _: Mapping[str, Any]) -> None:
        """Rows were selected, or no longer."""

    # --- drawing ----------------------------------------------------------------------------------

    def _render(self) -> None:
        if self.grid is None:
            self.previous_button.disabled, self.next_button.disabled = (
                self._page == 0,
                self._page >= self._count_pages() - 1,
            )
            self.table.value = self.static_html()
        else:
            self._fill_grid()
        self.update_snapshot()

    def _fill_grid(self) -> None:
        self._visible = self.filtered.head(MAX_GRID_ROWS)
        many = len(self.filtered)
        told = self.empty_message if not many else f"{many:,} job{'s' * (many > 1)}"
        if many > MAX_GRID_ROWS:
            told = f"the newest {MAX_GRID_ROWS:,} of {many:,} jobs"
        self.note.value = f'<span class="mjci-faint" role="status">{escape(told)}</span>'
        self.grid.layout.display = "" if many else "none"
        self.grid.update(_format_columns(self._visible), selected_rows=[], **GRID_OPTIONS)

    def static_html(self) -> str:
        if self.filtered is None or not len(self.filtered):
            return f'<p class="mjci-faint">{escape(self.empty_message)}</p>'
        first = self._page * PAGE_SIZE
        rows = self.filtered.iloc[first : first + PAGE_SIZE]
        count = f"{first + 1}–{first + len(rows)} of {len(self.filtered)}"
        return (
            f'<p class="mjci-faint">{count}</p><div class="mjci-table">{_render_table(rows)}</div>'
        )

    def static_text(self) -> str:
        if self.filtered is None or not len(self.filtered):
            return f"{self.title}: {self.empty_message}"
        shown = self.filtered.head(PAGE_SIZE)[["service", "id", "action", "status", "subject"]]
        return f"{self.title}\n{shown.to_string(index=False)}"


class HistoryPanel(TablePanel):
    """Every job that was seen: find them, plot them, select them; `panel.selected` is a
    DataFrame.
    """

    name, title = "history", "History"
    magics = "%mjci history"
    empty_message = "No job has been seen yet."

    def build_extra_filters(self) -> Sequence[Any]:
        self.since = W.DatePicker(
            description="Since", tooltip="Submitted on this day (UTC) or later"
        )
        self.until = W.DatePicker(
            description="Until", tooltip="Submitted on this day (UTC) or before"
        )
        for widget in (self.since, self.until):
            widget.observe(lambda _: self._apply_filter(), "value")
        return self.since, self.until

    def build_toolbar(self) -> Sequence[Any]:
        self._plot_task: event_loop.BackgroundTask[None] | None = None
        self._picture_task: event_loop.BackgroundTask[None] | None = None
        self.analysis = W.Dropdown(
            description="Plot",
            options=PLOT_OPTIONS,
            value="timeline",
            tooltip="What to make of them",
        )
        self.period = W.Dropdown(
            description="Every", options=("hour", "day", "week", "month"), value="day"
        )
        self.plot = W.HTML()
        for widget in (self.analysis, self.period):
            widget.observe(lambda _: self._update_plot(), "value")
        return [W.HBox([self.analysis, self.period]).add_class("mjci-row"), self.plot]

    def build_footer(self) -> Sequence[Any]:
        self.pictures = W.HTML()
        return [self.pictures]

    def fetch(self) -> pd.DataFrame:
        return self.session.history()

    def filter_rows(self, rows: pd.DataFrame) -> pd.DataFrame:
        days = rows["submitted"].dt.date
        if self.since.value:
            rows = rows[days >= self.since.value]
        if self.until.value:
            rows = rows[days <= self.until.value]
        return super().filter_rows(rows)

    def _render(self) -> None:
        super()._render()
        self._update_plot()

    def _update_plot(self) -> None:
        if self._plot_task is not None:
            self._plot_task.cancel()
        self._plot_task = self.start_task(self._render_plot(self.analysis.value, self.period.value))

    async def _render_plot(self, plot: str, period: str) -> None:
        if not plot or self.filtered is None or not len(self.filtered):
            self.plot.value = ""
            return
        content = await anyio.to_thread.run_sync(_plot_png, self.filtered, plot, period)
        await anyio.lowlevel.checkpoint_if_cancelled()
        named = f"{self.analysis.label}, by {period}, of {len(self.filtered):,} jobs"
        self.plot.value = html.render_images([html.InlineImage(content, "image/png", named)])
        self.update_snapshot()

    def _on_selection_change(self, _: Mapping[str, Any]) -> None:
        if self._picture_task is not None:
            self._picture_task.cancel()
        self._picture_task = self.start_task(self._load_pictures())

    async def _load_pictures(self) -> None:
        """The pictures of the selected rows."""
        rows = self.selected if self.grid.selected_rows else self.filtered.head(0)
        jobs = [job_from_row(row) for _, row in rows.iterrows() if isinstance(row["outputs"], str)][
            :MAX_PICTURES
        ]
        shown = []
        for job in (job for job in jobs if job.status is Status.SUCCEEDED):
            note = f"{job.action} · {job.subject}"
            try:
                content = await self.session.picture(job)
                shown.append(
                    await anyio.to_thread.run_sync(
                        make_inline_image, content, IMAGE_LIMITS, note, note
                    )
                )
            except MjciError as error:
                self.show_message(f"{job.id}: {error.message}", *error.format_lines()[1:])
        await anyio.lowlevel.checkpoint_if_cancelled()
        self.pictures.value = html.render_images(shown)

    def static_html(self) -> str:
        return f"{self.plot.value}{super().static_html()}{self.pictures.value}"


class StatusPanel(TablePanel):
    """What is in flight, whichever cell started it, and how the services answer. It keeps itself up
    to date.
    """

    name, title = "status", "In flight"
    magics = "%mj_queue, %ci_jobs"
    empty_message = "Nothing is in flight."

    def __init__(self, session: Session) -> None:
        self._service_states: dict[str, str] = {}
        self._reload_task: event_loop.BackgroundTask[None] | None = None
        super().__init__(session)
        session.listeners.append(self._on_event)

    def build_toolbar(self) -> Sequence[Any]:
        self.summary = W.HTML()
        return [self.summary]

    def fetch(self) -> pd.DataFrame:
        frame = self.session.history()
        return frame[frame["status"].isin(ACTIVE_STATUSES)]

    async def _reload(self) -> None:
        """Asks both services what they are doing, then shows what is known."""
        settings = self.session.settings
        if settings.has_mj:
            await self._check_service("Midjourney", self.session.mj.queue())
        if settings.has_ci:
            await self._check_service(
                "Tencent CI", self.session.ci.jobs(states=("Submitted", "Running"), limit=100)
            )
        await super()._reload()

    async def _check_service(self, service: str, call: Any) -> None:
        try:
            await call
            self._service_states[service] = "answers"
        except MjciError as error:
            self._service_states[service] = error.message

    def _render(self) -> None:
        super()._render()
        counts = self.frame["status"].value_counts()
        told = [
            (name, f"{html.STATUS_LABELS[Status(name)]}: {counts.get(name, 0)}")
            for name in ACTIVE_STATUSES
        ]
        pills = "".join(
            f'<span class="mjci-pill mjci-{name}">{escape(words)}</span> ' for name, words in told
        )
        lines = "".join(_render_service_state(*one) for one in self._service_states.items())
        self.summary.value = f'<div role="status">{pills}</div>{lines}'

    def _on_event(self, event: str, _: Any) -> None:
        """A job was seen: look again, once for many."""
        if event in ("job_updated", "listed") and (
            self._reload_task is None or self._reload_task.done()
        ):
            self._reload_task = self.start_task(self._reload_later())

    async def _reload_later(self) -> None:
        await anyio.sleep(RELOAD_DELAY)
        await super()._reload()

    def close(self) -> None:
        if self._on_event in self.session.listeners:
            self.session.listeners.remove(self._on_event)
        super().close()


ACTIVE_STATUSES = ("QUEUED", "RUNNING", "NEEDS_INPUT")
RELOAD_DELAY = 0.5  # seconds after which what was seen is shown


def _render_service_state(service: str, state: str) -> str:
    tone = "SUCCEEDED" if state == "answers" else "FAILED"
    pill = f'<span class="mjci-pill mjci-{tone}">{escape(service)}</span>'
    return f'<div class="mjci-answers">{pill} <span class="mjci-faint">{escape(state)}</span></div>'


# All rows that it is given, in pages; our own fields find them; text is text.
GRID_OPTIONS: Mapping[str, Any] = {
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


def _create_grid() -> Any:
    """A grid whose rows can be selected, or None where itables is not installed."""
    try:
        from itables.widget import ITable
    except ImportError:
        return None
    return ITable(**GRID_OPTIONS)


def _plot_png(frame: Any, plot: str, period: Any) -> bytes:
    from jupyter_mjci.history.plots import render_png

    return render_png(frame, plot, period)


def _match_text(rows: pd.DataFrame, text: str) -> pd.Series[bool]:
    """Which rows hold the text in any of their columns."""
    words = rows[["service", "id", "action", "status", "subject"]].astype("string").fillna("")
    held = words.apply(lambda column: column.str.casefold().str.contains(text, regex=False))
    found: pd.Series[bool] = held.any(axis=1)
    return found


def _format_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns worth showing, as texts."""
    shown = rows.drop(columns=list(HIDDEN_COLUMNS), errors="ignore").copy()
    for name in shown.columns[[kind.startswith("datetime64") for kind in shown.dtypes.astype(str)]]:
        shown[name] = shown[name].dt.strftime("%Y-%m-%d %H:%M:%S")
    for name in ("queue_time", "run_time"):
        if name in shown:
            shown[name] = shown[name].dt.total_seconds().map("{:.1f} s".format, na_action="ignore")
    return shown.astype("string").fillna("–")


def _render_table(rows: pd.DataFrame) -> str:
    return str(_format_columns(rows).to_html(index=False, border=0, escape=True))
