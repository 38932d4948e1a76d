"""The history panel: every job of the journal, to be searched, plotted and selected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import anyio.to_thread
import ipywidgets as W

from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.translation import mark
from jupyter_mjci.errors import MjciError
from jupyter_mjci.notebook.panels import html
from jupyter_mjci.notebook.panels.base import Task
from jupyter_mjci.notebook.panels.gallery import jobs_from_rows
from jupyter_mjci.notebook.panels.html import InlineImage
from jupyter_mjci.notebook.panels.inline_image import make_inline_image
from jupyter_mjci.notebook.panels.picture_viewer import attach_pictures
from jupyter_mjci.notebook.panels.shared_history import draw_plot, load_history
from jupyter_mjci.notebook.panels.table_panel import TablePanel
from jupyter_mjci.notebook.panels.widgets import build_row

if TYPE_CHECKING:
    import pandas as pd

MAX_PICTURES = 6  # pictures of selected rows
# the longer side in pixels, and bytes
IMAGE_LIMITS = (300, 40_000)
# Label and analysis of `frame.mjci.plot`.
PLOT_OPTIONS = (
    (mark("no plot"), ""),
    (mark("jobs submitted"), "timeline"),
    (mark("throughput"), "throughput"),
    (mark("turnaround"), "turnaround"),
    (mark("queue time"), "queue_stats"),
    (mark("failures"), "failures"),
    (mark("success rate"), "success_rate"),
    (mark("succeeded within a minute"), "sla"),
    (mark("durations, open jobs included"), "durations"),
    (mark("jobs at a time"), "concurrency"),
    (mark("retries"), "retries"),
    (mark("outliers"), "outliers"),
    (mark("cost"), "cost"),
    (mark("bytes in and out"), "savings"),
    (mark("what was made of what"), "lineage"),
    (mark("flags of prompts"), "prompts"),
    (mark("words of prompts"), "words"),
)
# What jobs can be grouped by; "" is what suits the plot.
KEY_OPTIONS = (
    (mark("default"), ""),
    *(
        (name, name)
        for name in ("action", "service", "origin", "account", "queue", "rule", "bucket", "reason")
    ),
)
ZONES = ("UTC", "Asia/Shanghai", "Asia/Tokyo", "Europe/Berlin", "America/New_York")
PERIODS = (mark("hour"), mark("day"), mark("week"), mark("month"), mark("quarter"))


class HistoryPanel(TablePanel):
    """Every job that was seen. `panel.selected` is a DataFrame of the selected rows."""

    title = mark("History")
    magics = "%mjci history"
    empty_message = mark("No job has been seen yet.")

    def build_extra_filters(self) -> Sequence[W.Widget]:
        self.since = W.DatePicker(
            description="Since", tooltip="Submitted on this day (UTC) or later"
        )
        self.until = W.DatePicker(
            description="Until", tooltip="Submitted on this day (UTC) or before"
        )
        for widget in (self.since, self.until):
            widget.observe(lambda _: self._apply_filter(), "value")
        return self.since, self.until

    def build_toolbar(self) -> Sequence[W.Widget]:
        self._plot_task: Task | None = None
        self._picture_task: Task | None = None
        self.analysis = W.Dropdown(
            description="Plot",
            options=PLOT_OPTIONS,
            value="timeline",
            tooltip="What to plot of the rows found",
        )
        self.period = W.Dropdown(description="Every", options=PERIODS, value="day")
        self.by = W.Dropdown(
            description="By", options=KEY_OPTIONS, tooltip="What the jobs are grouped by"
        )
        self.tz = W.Combobox(
            description="Time zone",
            options=ZONES,
            value="UTC",
            ensure_option=False,
            continuous_update=False,
            tooltip="IANA name of the zone in which days begin",
        )
        self.plot = W.HTML()
        pickers = (self.analysis, self.period, self.by, self.tz)
        for widget in pickers:
            widget.observe(lambda _: self._update_plot(), "value")
        return [build_row(*pickers), self.plot]

    def build_footer(self) -> Sequence[W.Widget]:
        self.pictures = W.HTML()
        return [self.pictures]

    def fetch(self) -> pd.DataFrame:
        return load_history(self.session)

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

    # --- the plot ---

    def _update_plot(self) -> None:
        self._plot_task = self.restart_task(self._plot_task, self._render_plot())

    async def _render_plot(self) -> None:
        with self._lock:
            frame, rows = self.frame, self.filtered
        analysis = self.analysis.value
        if not analysis or frame is None or rows is None or rows.empty:
            self.plot.value = ""
            return
        pickers = {"every": self.period, "by": self.by, "tz": self.tz}
        picked = {name: widget.value for name, widget in pickers.items() if widget.value}
        used = _select_arguments(analysis, picked)
        known = _select_arguments(analysis, pickers)
        for name, widget in pickers.items():
            widget.disabled = name not in known
        detail = "".join(f", by {used[name]}" for name in ("every", "by") if name in used)
        alt = f"{self.analysis.label}{detail}, of {len(rows):,} jobs"
        content = await anyio.to_thread.run_sync(
            draw_plot, self.session, frame, rows, analysis, used
        )
        # A worker thread cannot be cancelled: a plot that is no
        # longer wanted ends here.
        await anyio.lowlevel.checkpoint_if_cancelled()
        self.plot.value = html.render_images([InlineImage(content, "image/png", alt)])
        self.update_snapshot()

    # --- the pictures of selected rows ---

    def _on_selection_change(self) -> None:
        self._picture_task = self.restart_task(self._picture_task, self._load_pictures())

    async def _load_pictures(self) -> None:
        pictures = []
        for job in self._list_selected_jobs():
            try:
                pictures.append(await self._load_picture(job))
            except MjciError as error:
                first, *rest = error.format_lines()
                self.show_message([f"{job.id}: {first}", *rest])
        await anyio.lowlevel.checkpoint_if_cancelled()
        self.pictures.value = html.render_images(pictures)

    def _list_selected_jobs(self) -> list[Job]:
        """Return the first selected jobs with results; none if no row is selected."""
        if self.selected is None or not self._selected_rows():
            return []
        attach_pictures(self.session, jobs_from_rows(self.selected))
        jobs = [job for job in jobs_from_rows(self.selected) if job.outputs][:MAX_PICTURES]
        return [job for job in jobs if job.status is Status.SUCCEEDED]

    async def _load_picture(self, job: Job) -> InlineImage:
        caption = f"{job.action} · {job.subject}"
        content = await self.session.picture(job)
        return await anyio.to_thread.run_sync(
            partial(make_inline_image, content, IMAGE_LIMITS, caption, caption, name=job.id)
        )

    def static_html(self) -> str:
        return f"{self.plot.value}{super().static_html()}{self.pictures.value}"


def _select_arguments(analysis: str, offered: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that a plot takes."""
    from jupyter_mjci.history.plots import PlotAccessor, select_arguments

    return select_arguments(getattr(PlotAccessor, analysis), offered)
