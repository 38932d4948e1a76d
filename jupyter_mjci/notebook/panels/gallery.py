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
from jupyter_mjci.errors import CallError, MjciError
from jupyter_mjci.notebook import images
from jupyter_mjci.notebook.panels import downloads, html
from jupyter_mjci.notebook.panels.base import Panel, in_order

if TYPE_CHECKING:
    import pandas as pd

TILES = 10  # a page
MOST = 100  # pictures in one download
ANY = ("any", "")
STATUSES = (ANY, *((html.WORDS[status], status.value) for status in Status))


class Gallery:
    """A page of tasks after the other, newest first. `open_card` is called with a task that was
    clicked.
    """

    def __init__(self, panel: Panel, open_card: Callable[[Job], None]) -> None:
        self.panel, self._open_card = panel, open_card
        self.frame: Any = None
        self.found: Any = None
        self._page = 0
        self._seeing: event_loop.Handle[None] | None = None
        self._fields()
        self._buttons()
        self.tiles, self.note = W.HBox().add_class("mjci-tiles"), W.HTML()
        row = W.HBox([self.refresh, self.text, self.action, self.status]).add_class("mjci-row")
        moves = W.HBox([self.back, self.on, self.download]).add_class("mjci-row")
        self.box = (
            W.VBox([row, self.tiles, self.note, moves])
            .add_class("mjci-form")
            .add_class("mjci-gallery")
        )

    def _fields(self) -> None:
        self.text = W.Text(
            description="Find",
            placeholder="words of a prompt, an id",
            tooltip="Tasks with this text",
        )
        self.action = W.Dropdown(
            description="Action", options=[ANY], tooltip="Only tasks of this action"
        )
        self.status = W.Dropdown(
            description="Status", options=STATUSES, tooltip="Only tasks that stand so"
        )
        for widget in (self.text, self.action, self.status):
            widget.observe(lambda _: self.choose(), "value")

    def _buttons(self) -> None:
        hidden = {"layout": {"display": "none"}}
        self.refresh = W.Button(
            description="Gallery", icon="picture-o", tooltip="Show what the proxy and we know"
        )
        self.back = W.Button(description="‹ Newer", tooltip="Page back", **hidden)
        self.on = W.Button(description="Older ›", tooltip="Page on", **hidden)
        self.download = W.Button(
            description="Download all", tooltip="A zip of all that was found", **hidden
        )
        works = ((self.refresh, self.look), (self.download, self._download))
        for button, work in works:
            self.panel.on_press(button, work)
            in_order(button)
        self.back.on_click(lambda _: self._turn(-1))
        self.on.on_click(lambda _: self._turn(1))

    async def look(self) -> None:
        """Asks the proxy for its tasks, where it can tell, and shows them with those of the
        journal.
        """
        self.panel.say()
        try:
            await anyio.to_thread.run_sync(self.panel.session.tasks)
        except MjciError as error:
            self.panel.complain(error)  # the journal knows them all the same
        self.frame = await anyio.to_thread.run_sync(
            partial(self.panel.session.history, service="mj")
        )
        actions = sorted(self.frame["action"].dropna().unique())
        kept = self.action.value
        self.action.options = [ANY, *((one, one) for one in actions)]
        self.action.value = kept if kept in actions else ""
        self.choose()

    def choose(self) -> None:
        """Leaves what the fields say."""
        if self.frame is None:
            return
        self.found = _found(
            self.frame[::-1], self.text.value.strip(), self.action.value, self.status.value
        )
        self._page = 0
        self._draw()

    def _turn(self, by: int) -> None:
        self._page = max(0, min(self._page + by, (len(self.found) - 1) // TILES))
        self._draw()

    def _draw(self) -> None:
        first = self._page * TILES
        rows = self.found.iloc[first : first + TILES]
        many = len(self.found)
        self.back.layout.display = "" if self._page else "none"
        self.on.layout.display = "" if first + TILES < many else "none"
        self.download.layout.display = "" if many else "none"
        told = f"{first + 1}–{first + len(rows)} of {many:,}" if many else "Nothing was found."
        self.note.value = f'<span class="mjci-faint" role="status">{told}</span>'
        tiles = [Piece(self.panel, job_of(row), self._opened) for _, row in rows.iterrows()]
        old, self.tiles.children = self.tiles.children, [tile.box for tile in tiles]
        for one in old:
            one.close()
        if self._seeing is not None:
            self._seeing.cancel()
        self._seeing = self.panel.start(_see_all(tiles))

    async def _opened(self, job: Job) -> None:
        """The task as it is now, with its buttons, as a card."""
        self._open_card(await self.panel.session.describe(job))

    async def _download(self) -> None:
        """The pictures of all that was found, in one zip."""
        jobs = [job_of(row) for _, row in self.found.iterrows()]
        wanted = [job for job in jobs if job.outputs and job.status is Status.SUCCEEDED]
        if len(wanted) > MOST:
            raise CallError(
                f"{len(wanted)} pictures are too many for one download.",
                hint=f"Find fewer than {MOST}, or use session.archive in Python.",
            )
        files: dict[str, bytes] = {}

        async def fetch(job: Job) -> None:
            files[downloads.name(job)] = await self.panel.session.picture(job)

        async with anyio.create_task_group() as group:
            for job in wanted:
                group.start_soon(fetch, job)
        await self.panel.save("midjourney", dict(sorted(files.items())))


class Piece:
    """A task: its picture, and a button with its prompt."""

    def __init__(self, panel: Panel, job: Job, opened: Callable[[Job], Any]) -> None:
        self.panel, self.job = panel, job
        self.picture = W.HTML(f'<div class="mjci-thumb">{html.pill(job)}</div>')
        words = (
            f"{job.action.capitalize()}: {job.subject}"
            if job.subject
            else f"{job.action.capitalize()} {job.id}"
        )
        self.button = W.Button(description=words, tooltip=f"Open {job.id}: {job.subject}")
        panel.on_press(self.button, partial(opened, job))
        in_order(self.button)
        self.box = W.VBox([self.picture, self.button]).add_class("mjci-tile")

    async def see(self) -> None:
        try:
            content = await self.panel.session.picture(self.job)
            url = await anyio.to_thread.run_sync(images.data_url, content, 240, 24_000)
        except (MjciError, ValueError):
            return  # the link may have ended; the pill stays
        self.picture.value = f'<div class="mjci-thumb"><img src="{url}" alt=""></div>'


async def _see_all(tiles: Sequence[Piece]) -> None:
    async with anyio.create_task_group() as group:
        for tile in tiles:
            if tile.job.outputs:
                group.start_soon(tile.see)


def _found(rows: pd.DataFrame, text: str, action: str, status: str) -> pd.DataFrame:
    if action:
        rows = rows[rows["action"] == action]
    if status:
        rows = rows[rows["status"] == status]
    if text:
        words = rows["subject"].fillna("") + " " + rows["id"]
        rows = rows[words.str.casefold().str.contains(text.casefold(), regex=False)]
    return rows


def job_of(row: Any) -> Job:
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
