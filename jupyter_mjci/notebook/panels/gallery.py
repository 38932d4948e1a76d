"""Everything drawn so far, as the journal knows it: found by text, action and status; opened, or
downloaded at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import ipywidgets as W

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import InvalidRequest, MjciError
from jupyter_mjci.notebook import images
from jupyter_mjci.notebook.panels import downloads, html
from jupyter_mjci.notebook.panels.base import Panel, force_main_shell

if TYPE_CHECKING:
    import pandas as pd

PAGE_SIZE = 10  # a page
MAX_DOWNLOAD = 100  # pictures in one download
ANY_OPTION = ("any", "")
STATUS_OPTIONS = (ANY_OPTION, *((html.STATUS_LABELS[status], status.value) for status in Status))


class Gallery:
    """A page of tasks after the other, newest first. `on_open` is called with a task that was
    clicked.
    """

    def __init__(self, panel: Panel, on_open: Callable[[Job], None]) -> None:
        self.panel, self._on_open = panel, on_open
        self.frame: Any = None
        self.filtered: Any = None
        self._page = 0
        self._thumbnail_task: event_loop.BackgroundTask[None] | None = None
        self._build_fields()
        self._build_buttons()
        self.tiles, self.note = W.HBox().add_class("mjci-tiles"), W.HTML()
        row = W.HBox([self.refresh_button, self.text, self.action, self.status]).add_class(
            "mjci-row"
        )
        moves = W.HBox([self.previous_button, self.next_button, self.download_button]).add_class(
            "mjci-row"
        )
        self.box = (
            W.VBox([row, self.tiles, self.note, moves])
            .add_class("mjci-form")
            .add_class("mjci-gallery")
        )

    def _build_fields(self) -> None:
        self.text = W.Text(
            description="Find",
            placeholder="words of a prompt, an id",
            tooltip="Tasks with this text",
        )
        self.action = W.Dropdown(
            description="Action", options=[ANY_OPTION], tooltip="Only tasks of this action"
        )
        self.status = W.Dropdown(
            description="Status", options=STATUS_OPTIONS, tooltip="Only tasks that stand so"
        )
        for widget in (self.text, self.action, self.status):
            widget.observe(lambda _: self.apply_filter(), "value")

    def _build_buttons(self) -> None:
        hidden = {"layout": {"display": "none"}}
        self.refresh_button = W.Button(
            description="Gallery", icon="picture-o", tooltip="Show what the proxy and we know"
        )
        self.previous_button = W.Button(description="‹ Newer", tooltip="Page back", **hidden)
        self.next_button = W.Button(description="Older ›", tooltip="Page on", **hidden)
        self.download_button = W.Button(
            description="Download all", tooltip="A zip of all that was found", **hidden
        )
        works = ((self.refresh_button, self.reload), (self.download_button, self._download))
        for button, work in works:
            self.panel.on_click(button, work)
            force_main_shell(button)
        self.previous_button.on_click(lambda _: self._change_page(-1))
        self.next_button.on_click(lambda _: self._change_page(1))

    async def reload(self) -> None:
        """Asks the proxy for its tasks, where it can tell, and shows them with those of the
        journal.
        """
        self.panel.show_message()
        try:
            await anyio.to_thread.run_sync(self.panel.session.tasks)
        except MjciError as error:
            self.panel.show_error(error)  # the journal knows them all the same
        self.frame = await anyio.to_thread.run_sync(
            partial(self.panel.session.history, service="mj")
        )
        actions = sorted(self.frame["action"].dropna().unique())
        kept = self.action.value
        self.action.options = [ANY_OPTION, *((one, one) for one in actions)]
        self.action.value = kept if kept in actions else ""
        self.apply_filter()

    def apply_filter(self) -> None:
        """Leaves what the fields say."""
        if self.frame is None:
            return
        self.filtered = _filter_rows(
            self.frame[::-1], self.text.value.strip(), self.action.value, self.status.value
        )
        self._page = 0
        self._render()

    def _change_page(self, step: int) -> None:
        self._page = max(0, min(self._page + step, (len(self.filtered) - 1) // PAGE_SIZE))
        self._render()

    def _render(self) -> None:
        first = self._page * PAGE_SIZE
        rows = self.filtered.iloc[first : first + PAGE_SIZE]
        many = len(self.filtered)
        self.previous_button.layout.display = "" if self._page else "none"
        self.next_button.layout.display = "" if first + PAGE_SIZE < many else "none"
        self.download_button.layout.display = "" if many else "none"
        told = f"{first + 1}–{first + len(rows)} of {many:,}" if many else "Nothing was found."
        self.note.value = f'<span class="mjci-faint" role="status">{told}</span>'
        tiles = [
            GalleryTile(self.panel, job_from_row(row), self._open) for _, row in rows.iterrows()
        ]
        old, self.tiles.children = self.tiles.children, [tile.box for tile in tiles]
        for one in old:
            one.close()
        if self._thumbnail_task is not None:
            self._thumbnail_task.cancel()
        self._thumbnail_task = self.panel.start_task(_load_thumbnails(tiles))

    async def _open(self, job: Job) -> None:
        """The task as it is now, with its buttons, as a card."""
        self._on_open(await self.panel.session.describe(job))

    async def _download(self) -> None:
        """The pictures of all that was found, in one zip."""
        jobs = [job_from_row(row) for _, row in self.filtered.iterrows()]
        wanted = [job for job in jobs if job.outputs and job.status is Status.SUCCEEDED]
        if len(wanted) > MAX_DOWNLOAD:
            raise InvalidRequest(
                f"{len(wanted)} pictures are too many for one download.",
                hint=f"Find fewer than {MAX_DOWNLOAD}, or use session.archive in Python.",
            )
        files: dict[str, bytes] = {}

        async def fetch(job: Job) -> None:
            files[downloads.build_file_stem(job)] = await self.panel.session.picture(job)

        async with anyio.create_task_group() as group:
            for job in wanted:
                group.start_soon(fetch, job)
        await self.panel.save("midjourney", dict(sorted(files.items())))


class GalleryTile:
    """A task: its picture, and a button with its prompt."""

    def __init__(self, panel: Panel, job: Job, on_open: Callable[[Job], Any]) -> None:
        self.panel, self.job = panel, job
        self.picture = W.HTML(f'<div class="mjci-thumb">{html.render_badge(job)}</div>')
        words = (
            f"{job.action.capitalize()}: {job.subject}"
            if job.subject
            else f"{job.action.capitalize()} {job.id}"
        )
        self.button = W.Button(description=words, tooltip=f"Open {job.id}: {job.subject}")
        panel.on_click(self.button, partial(on_open, job))
        force_main_shell(self.button)
        self.box = W.VBox([self.picture, self.button]).add_class("mjci-tile")

    async def load_thumbnail(self) -> None:
        try:
            content = await self.panel.session.picture(self.job)
            url = await anyio.to_thread.run_sync(images.data_url, content, 240, 24_000)
        except (MjciError, ValueError):
            return  # the link may have ended; the pill stays
        self.picture.value = f'<div class="mjci-thumb"><img src="{url}" alt=""></div>'


async def _load_thumbnails(tiles: Sequence[GalleryTile]) -> None:
    async with anyio.create_task_group() as group:
        for tile in tiles:
            if tile.job.outputs:
                group.start_soon(tile.load_thumbnail)


def _filter_rows(rows: pd.DataFrame, text: str, action: str, status: str) -> pd.DataFrame:
    if action:
        rows = rows[rows["action"] == action]
    if status:
        rows = rows[rows["status"] == status]
    if text:
        words = rows["subject"].fillna("") + " " + rows["id"]
        rows = rows[words.str.casefold().str.contains(text.casefold(), regex=False)]
    return rows


def job_from_row(row: Any) -> Job:
    """A row of a history as far as a tile shows it."""
    outputs = row["outputs"] if isinstance(row["outputs"], str) else ""
    subject, action = (
        value if isinstance(value := row[name], str) else "" for name in ("subject", "action")
    )
    return Job(
        row["service"],
        row["id"],
        action,
        Status(row["status"]),
        subject=subject,
        outputs=tuple(outputs.split()),
    )
