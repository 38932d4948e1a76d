"""Browse the Midjourney tasks of the journal: search, open, download."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import ipywidgets as W

from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.translation import mark, translate
from jupyter_mjci.errors import InvalidRequest, MjciError
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.panels import downloads, html
from jupyter_mjci.notebook.panels.base import Panel, Task
from jupyter_mjci.notebook.panels.picture_viewer import attach_pictures
from jupyter_mjci.notebook.panels.tile import Tile, load_thumbnails
from jupyter_mjci.notebook.panels.widgets import (
    build_button,
    build_heading,
    build_row,
    replace_children,
    set_visible,
    translate_labels,
)

if TYPE_CHECKING:
    import pandas as pd

PAGE_SIZE = 10  # tiles
MAX_DOWNLOAD = 100  # pictures in one download
ANY_OPTION = (mark("any"), "")
STATUS_OPTIONS = (ANY_OPTION, *((cards.STATUS_LABELS[status], status.value) for status in Status))


class Gallery:
    """Tiles of tasks in pages, newest first.

    Args:
        panel: the panel that it is part of
        on_open: called with a task whose tile was clicked
    """

    def __init__(self, panel: Panel, on_open: Callable[[Job], None]) -> None:
        self.panel = panel
        self._on_open = on_open
        self.frame: pd.DataFrame | None = None
        self.filtered: pd.DataFrame | None = None
        self._page = 0
        self._thumbnail_task: Task | None = None
        self._build_fields()
        self._build_buttons()
        self.tiles = W.HBox().add_class("mjci-tiles")
        self.status_line = W.HTML()
        refresh, download = self._submits
        fields = build_row(*refresh.widgets, self.text, self.action, self.status)
        buttons = build_row(self.previous_button, self.next_button, *download.widgets)
        heading = build_heading("Gallery")
        self.box = W.VBox([heading, fields, self.tiles, self.status_line, buttons])
        self.box.add_class("mjci-form").add_class("mjci-gallery")
        for submit in self._submits:
            submit.bind(fields, self.box)

    def _build_fields(self) -> None:
        self.text = W.Text(
            description="Find",
            placeholder="words of a prompt, a task ID",
            tooltip="Only tasks with this text",
        )
        self.action = W.Dropdown(
            description="Action", options=[ANY_OPTION], tooltip="Only tasks with this action"
        )
        self.status = W.Dropdown(
            description="Status", options=STATUS_OPTIONS, tooltip="Only tasks with this status"
        )
        for widget in (self.text, self.action, self.status):
            widget.observe(lambda _: self.apply_filter(), "value")

    def _build_buttons(self) -> None:
        refresh = self.panel.build_submit(
            "Gallery", "List the tasks of proxy and journal", self.reload, icon="picture-o"
        )
        download = self.panel.build_submit(
            "Download all",
            "Save all pictures found as a ZIP file",
            self._download,
            is_default=False,
        )
        self._submits = (refresh, download)
        self.refresh_button = refresh.button
        self.download_button = download.button
        self.previous_button = build_button("‹ Newer", "Previous page")
        self.next_button = build_button("Older ›", "Next page")
        for button in (self.previous_button, self.next_button, self.download_button):
            set_visible(button, False)
        self.previous_button.on_click(lambda _: self._change_page(-1))
        self.next_button.on_click(lambda _: self._change_page(1))

    async def reload(self) -> None:
        """List the proxy's tasks, and show them with the journal's."""
        session = self.panel.session
        self.panel.clear_message()
        try:
            await anyio.to_thread.run_sync(session.tasks)
        except MjciError as error:
            # the journal's tasks are shown all the same
            self.panel.show_error(error)
        self.frame = await anyio.to_thread.run_sync(partial(session.history, service="mj"))
        selected = self.action.value
        actions = sorted(self.frame["action"].dropna().unique())
        self.action.options = [ANY_OPTION, *zip(actions, actions, strict=True)]
        translate_labels(self.action)
        self.action.value = selected if selected in actions else ""
        self.apply_filter()

    def apply_filter(self) -> None:
        """Show the first page of the tasks that match the fields."""
        if self.frame is None:
            return
        self.filtered = _filter_rows(
            self.frame[::-1], self.text.value.strip(), self.action.value, self.status.value
        )
        self._page = 0
        self._render(self.filtered)

    def _change_page(self, step: int) -> None:
        if self.filtered is not None:
            last = (len(self.filtered) - 1) // PAGE_SIZE
            self._page = max(0, min(self._page + step, last))
            self._render(self.filtered)

    def _render(self, found: pd.DataFrame) -> None:
        first = self._page * PAGE_SIZE
        rows = found.iloc[first : first + PAGE_SIZE]
        count = len(found)
        set_visible(self.previous_button, first > 0)
        set_visible(self.next_button, first + PAGE_SIZE < count)
        set_visible(self.download_button, count > 0)
        text = translate("No tasks found.")
        if count:
            text = html.format_range(first, len(rows), count)
        self.status_line.value = html.render_status(text)
        jobs = jobs_from_rows(rows)
        attach_pictures(self.panel.session, jobs)
        tiles = [self._build_tile(job) for job in jobs]
        replace_children(self.tiles, [tile.box for tile in tiles])
        self._thumbnail_task = self.panel.restart_task(self._thumbnail_task, load_thumbnails(tiles))

    def _build_tile(self, job: Job) -> Tile:
        action = job.action.capitalize()
        label = f"{action}: {job.subject}" if job.subject else f"{action} {job.id}"
        tooltip = translate("Open {name}").format(name=f"{job.id}: {job.subject}")
        button = self.panel.build_button(label, tooltip, partial(self._open, job))
        fetch = partial(self.panel.session.picture, job) if job.outputs else None
        return Tile(cards.status_html(job), button, fetch, job.id)

    async def _open(self, job: Job) -> None:
        """Open a task as a card.

        It is fetched again: the journal has no buttons.
        """
        self._on_open(await self.panel.session.describe(job))

    async def _download(self) -> None:
        """Save the pictures of all tasks found as one ZIP file."""
        if self.filtered is None:
            return
        jobs = [job for job in jobs_from_rows(self.filtered) if _has_picture(job)]
        if len(jobs) > MAX_DOWNLOAD:
            raise InvalidRequest(
                f"{len(jobs)} pictures are too many for one download.",
                hint=f"Narrow the search to {MAX_DOWNLOAD}, or use session.archive in Python.",
            )
        files: dict[str, bytes] = {}

        async def fetch(job: Job) -> None:
            files[downloads.build_file_stem(job)] = await self.panel.session.picture(job)

        async with anyio.create_task_group() as group:
            for job in jobs:
                group.start_soon(fetch, job)
        await self.panel.save("midjourney", dict(sorted(files.items())))


def _has_picture(job: Job) -> bool:
    return bool(job.outputs) and job.status is Status.SUCCEEDED


def _filter_rows(rows: pd.DataFrame, text: str, action: str, status: str) -> pd.DataFrame:
    if action:
        rows = rows[rows["action"] == action]
    if status:
        rows = rows[rows["status"] == status]
    if text:
        texts = rows["subject"].fillna("") + " " + rows["id"]
        rows = rows[texts.str.casefold().str.contains(text.casefold(), regex=False)]
    return rows


def jobs_from_rows(rows: pd.DataFrame) -> list[Job]:
    """Return the jobs of a history frame's rows, as far as a tile shows them."""
    return [_job_from_row(row) for _, row in rows.iterrows()]


def _job_from_row(row: pd.Series) -> Job:
    return Job(
        row["service"],
        row["id"],
        _get_text(row, "action"),
        Status(row["status"]),
        subject=_get_text(row, "subject"),
        outputs=tuple(_get_text(row, "outputs").split()),
    )


def _get_text(row: pd.Series, name: str) -> str:
    """Return a cell's text, "" where it is missing."""
    value = row[name]
    return value if isinstance(value, str) else ""
