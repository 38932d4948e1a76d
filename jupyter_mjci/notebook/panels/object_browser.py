"""The bucket, by prefix: its folders, and its pictures as thumbnails to choose from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import anyio
import anyio.to_thread
import ipywidgets as W

from jupyter_mjci.client import event_loop
from jupyter_mjci.errors import MjciError
from jupyter_mjci.notebook import images
from jupyter_mjci.notebook.panels import html
from jupyter_mjci.notebook.panels.base import Panel, force_main_shell
from jupyter_mjci.services.tencent_ci.objects import StoredObject

MAX_KEYS = 500  # keys that are looked through; a longer prefix finds the rest
PAGE_SIZE = 12  # a page of them
THUMBNAIL_RULE = "imageMogr2/thumbnail/240x160"
IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "gif", "bmp", "webp", "avif", "heif", "heic", "tpg")


class ObjectBrowser:
    """Shows what lies under a prefix. `on_choose` is called with the key of a picture that was
    clicked.
    """

    def __init__(self, panel: Panel, on_choose: Callable[[str], None]) -> None:
        self.panel, self._on_choose = panel, on_choose
        self.objects: list[StoredObject] = []
        self._page = 0
        self._thumbnail_task: event_loop.BackgroundTask[None] | None = None
        self.prefix = W.Text(
            description="Prefix", placeholder="all of the bucket", tooltip="Only keys that begin so"
        )
        self.list_button = W.Button(
            description="Show", icon="folder-open", tooltip="List the bucket"
        )
        self.previous_button = W.Button(
            description="‹ Back", tooltip="The page before", layout={"display": "none"}
        )
        self.next_button = W.Button(
            description="More ›", tooltip="The next page", layout={"display": "none"}
        )
        self.note = W.HTML()
        self.folders, self.tiles = W.HBox().add_class("mjci-row"), W.HBox().add_class("mjci-tiles")
        panel.on_click(self.list_button, self.reload)
        panel.on_click(self.previous_button, partial(self._change_page, -1))
        panel.on_click(self.next_button, partial(self._change_page, 1))
        for button in (self.list_button, self.previous_button, self.next_button):
            force_main_shell(button)
        row = W.HBox(
            [self.prefix, self.list_button, self.previous_button, self.next_button]
        ).add_class("mjci-row")
        self.box = W.VBox([row, self.folders, self.tiles, self.note]).add_class("mjci-form")

    async def reload(self) -> None:
        """Asks the service what there is."""
        wanted = self.prefix.value.strip()
        self.objects = await self.panel.session.ci.objects(prefix=wanted, limit=MAX_KEYS)
        self._page = 0
        self._render()

    async def _change_page(self, step: int) -> None:
        self._page = max(0, self._page + step)
        self._render()

    async def _open_folder(self, folder: str) -> None:
        self.prefix.value = folder
        await self.reload()

    # --- drawing ----------------------------------------------------------------------------------

    def get_folder(self) -> str:
        """The folder that is shown: the prefix up to its last slash."""
        return str(self.prefix.value.strip().rpartition("/")[0] + "/").removeprefix("/")

    def list_folder(self) -> tuple[Sequence[str], Sequence[StoredObject]]:
        """The folders below, and the objects that lie here."""
        here = self.get_folder()
        below = [one.key[len(here) :] for one in self.objects]
        folders = list(
            dict.fromkeys(rest.partition("/")[0] + "/" for rest in below if "/" in rest.rstrip("/"))
        )
        return folders, [
            one for one in self.objects if "/" not in one.key[len(here) :] and one.size
        ]

    def _render(self) -> None:
        folders, objects = self.list_folder()
        first = self._page * PAGE_SIZE
        shown = objects[first : first + PAGE_SIZE]
        self.previous_button.layout.display = "" if self._page else "none"
        self.next_button.layout.display = "" if first + PAGE_SIZE < len(objects) else "none"
        self._replace_children(
            self.folders,
            [
                *self._build_parent_button(),
                *(self._build_folder_button(name) for name in folders[:24]),
            ],
        )
        tiles = [Tile(self.panel, one, self._on_choose) for one in shown]
        self._replace_children(self.tiles, [tile.box for tile in tiles])
        self.note.value = self._format_status(first, len(shown), len(objects))
        if self._thumbnail_task is not None:
            self._thumbnail_task.cancel()
        self._thumbnail_task = self.panel.start_task(_load_thumbnails(tiles))

    def _format_status(self, first: int, shown: int, total: int) -> str:
        if not self.objects:
            words = (
                "Nothing lies under this prefix."
                if self.prefix.value.strip()
                else "The bucket is empty."
            )
        elif not shown:
            words = "No pictures lie right here; open a folder." if not total else ""
        else:
            words = f"{first + 1}–{first + shown} of {total}"
        if len(self.objects) == MAX_KEYS:
            words += f" (of the first {MAX_KEYS} keys: type more of the prefix to see others)"
        return f'<span class="mjci-faint" role="status">{html.escape(words)}</span>'

    def _build_parent_button(self) -> list[Any]:
        here = self.get_folder()
        return (
            [self._build_folder_button("..", here.rstrip("/").rpartition("/")[0])] if here else []
        )

    def _build_folder_button(self, name: str, path: str | None = None) -> Any:
        target = self.get_folder() + name if path is None else path and path + "/"
        icon = "level-up" if name == ".." else "folder-o"
        button = W.Button(
            description=name, icon=icon, tooltip=f"Open {target or 'the whole bucket'}"
        )
        self.panel.on_click(button, partial(self._open_folder, target))
        force_main_shell(button)
        return button

    @staticmethod
    def _replace_children(box: Any, children: Sequence[Any]) -> None:
        old, box.children = box.children, children
        for one in old:
            one.close()


class Tile:
    """An object: its thumbnail, and a button with its name."""

    def __init__(
        self, panel: Panel, stored_object: StoredObject, on_choose: Callable[[str], None]
    ) -> None:
        self.panel, self.stored_object = panel, stored_object
        name = stored_object.key.rpartition("/")[2]
        kind = name.rpartition(".")[2].lower()
        self.is_picture = kind in IMAGE_EXTENSIONS
        self.picture = W.HTML(
            f'<div class="mjci-thumb">{html.escape(kind[:5] if "." in name else "–")}</div>'
        )
        self.button = W.Button(
            description=name,
            tooltip=f"Choose {stored_object.key}, {html.format_size(stored_object.size)}",
        )

        async def chosen() -> None:
            on_choose(stored_object.key)

        panel.on_click(self.button, chosen)
        force_main_shell(self.button)
        self.box = W.VBox([self.picture, self.button]).add_class("mjci-tile")

    async def load_thumbnail(self) -> None:
        """Shows the thumbnail; without one the kind stays."""
        try:
            content = await self.panel.session.ci.processed(
                self.stored_object.key, rule=THUMBNAIL_RULE
            )
            url = await anyio.to_thread.run_sync(images.data_url, content, 240, 24_000)
        except (MjciError, ValueError):
            return
        self.picture.value = f'<div class="mjci-thumb"><img src="{url}" alt=""></div>'


async def _load_thumbnails(tiles: Sequence[Tile]) -> None:
    async with anyio.create_task_group() as group:
        for tile in tiles:
            if tile.is_picture:
                group.start_soon(tile.load_thumbnail)
