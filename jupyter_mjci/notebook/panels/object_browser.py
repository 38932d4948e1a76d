"""Browse the bucket by prefix: folders, and thumbnails of its pictures to choose from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import ipywidgets as W

from jupyter_mjci.client.translation import translate
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.panels import html
from jupyter_mjci.notebook.panels.base import Panel, Task
from jupyter_mjci.notebook.panels.subshells import force_main_shell
from jupyter_mjci.notebook.panels.tile import Tile, load_thumbnails
from jupyter_mjci.notebook.panels.widgets import (
    build_heading,
    build_row,
    replace_children,
    set_visible,
)
from jupyter_mjci.services.tencent_ci.objects import StoredObject

# keys of a listing; a longer prefix finds the others
MAX_KEYS = 500
MAX_FOLDERS = 24
PAGE_SIZE = 12  # tiles
THUMBNAIL_RULE = "imageMogr2/thumbnail/240x160"
IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "gif", "bmp", "webp", "avif", "heif", "heic", "tpg")


class ObjectBrowser:
    """The folders and objects under a prefix.

    Args:
        panel: the panel that it is part of
        on_choose: called with the key of an object whose tile was
            clicked
    """

    def __init__(self, panel: Panel, on_choose: Callable[[str], None]) -> None:
        self.panel = panel
        self._on_choose = on_choose
        self.objects: list[StoredObject] = []
        self._page = 0
        self._thumbnail_task: Task | None = None
        self.prefix = W.Text(
            description="Prefix",
            placeholder="the whole bucket",
            tooltip="Only keys that begin with this",
        )
        self.folders = build_row()
        self.tiles = W.HBox().add_class("mjci-tiles")
        self.status_line = W.HTML()
        self._build_buttons()
        buttons = (self.previous_button, self.next_button)
        row = build_row(self.prefix, *self._submit.widgets, *buttons)
        heading = build_heading("Pictures of the bucket")
        children = [heading, row, self.folders, self.tiles, self.status_line]
        self.box = W.VBox(children).add_class("mjci-form")
        self._submit.bind(row)

    def _build_buttons(self) -> None:
        build = self.panel.build_button
        self._submit = self.panel.build_submit(
            "Show", "List the bucket", self.reload, icon="folder-open"
        )
        self.list_button = self._submit.button
        self.previous_button = build("‹ Back", "Previous page", partial(self._change_page, -1))
        self.next_button = build("More ›", "Next page", partial(self._change_page, 1))
        set_visible(self.previous_button, False)
        set_visible(self.next_button, False)

    async def reload(self) -> None:
        """List the bucket."""
        prefix = self.prefix.value.strip()
        self.objects = await self.panel.session.ci.objects(prefix=prefix, limit=MAX_KEYS)
        self._page = 0
        self._render()

    async def _change_page(self, step: int) -> None:
        self._page = max(0, self._page + step)
        self._render()

    async def _open_folder(self, folder: str) -> None:
        self.prefix.value = folder
        await self.reload()

    def get_folder(self) -> str:
        """Return the current folder: the prefix up to its last slash."""
        folder, slash, _ = self.prefix.value.strip().rpartition("/")
        return str(folder + slash).removeprefix("/")

    def list_folder(self) -> tuple[Sequence[str], Sequence[StoredObject]]:
        """Return the subfolders of the current folder, and its objects."""
        current = self.get_folder()
        folders: dict[str, None] = {}
        objects = []
        for stored in self.objects:
            name = stored.key[len(current) :]
            folder, slash, _ = name.partition("/")
            if slash and folder + slash != name:
                folders[folder + slash] = None
            if not slash and stored.size:
                objects.append(stored)
        return list(folders), objects

    def _render(self) -> None:
        folders, objects = self.list_folder()
        first = self._page * PAGE_SIZE
        page = objects[first : first + PAGE_SIZE]
        set_visible(self.previous_button, self._page > 0)
        set_visible(self.next_button, first + PAGE_SIZE < len(objects))
        replace_children(self.folders, self._build_folder_buttons(folders[:MAX_FOLDERS]))
        tiles = [self._build_tile(stored) for stored in page]
        replace_children(self.tiles, [tile.box for tile in tiles])
        self.status_line.value = html.render_status(
            self._format_status(first, len(page), len(objects))
        )
        self._thumbnail_task = self.panel.restart_task(self._thumbnail_task, load_thumbnails(tiles))

    def _format_status(self, first: int, shown: int, total: int) -> str:
        text = html.format_range(first, shown, total)
        if not self.objects:
            text = translate("No objects under this prefix.")
            if not self.prefix.value.strip():
                text = translate("The bucket is empty.")
        elif not total:
            text = translate("No pictures in this folder; open another folder.")
        elif not shown:
            text = ""
        if len(self.objects) == MAX_KEYS:
            text += f" (of the first {MAX_KEYS} keys; type a longer prefix to see others)"
        return text

    def _build_folder_buttons(self, folders: Sequence[str]) -> Sequence[W.Widget]:
        current = self.get_folder()
        buttons = []
        if current:
            parent, slash, _ = current.rstrip("/").rpartition("/")
            buttons.append(self._build_folder_button("..", parent + slash, "level-up"))
        for name in folders:
            buttons.append(self._build_folder_button(name, current + name, "folder-o"))
        return buttons

    def _build_folder_button(self, name: str, path: str, icon: str) -> W.Widget:
        tooltip = translate("Open the whole bucket")
        if path:
            tooltip = translate("Open {name}").format(name=path)
        button = self.panel.build_button(name, tooltip, partial(self._open_folder, path), icon=icon)
        # It reads and sets the prefix: its click must not
        # overtake what was typed there.
        force_main_shell(button)
        return button

    def _build_tile(self, stored: StoredObject) -> Tile:
        name = stored.key.rpartition("/")[2]
        extension = name.rpartition(".")[2].lower() if "." in name else ""
        fetch = partial(self._fetch_thumbnail, stored.key)
        tooltip = f"Choose {stored.key}, {html.format_size(stored.size)}"
        button = self.panel.build_button(name, tooltip, partial(self._choose, stored.key))
        return Tile(
            cards.escape_text(extension[:5] or "–"),
            button,
            fetch if extension in IMAGE_EXTENSIONS else None,
        )

    async def _fetch_thumbnail(self, key: str) -> bytes:
        return await self.panel.session.ci.processed(key, rule=THUMBNAIL_RULE)

    async def _choose(self, key: str) -> None:
        self._on_choose(key)
