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
from jupyter_mjci.notebook.panels.base import Panel, in_order
from jupyter_mjci.services.tencent_ci.api import StoredObject

LISTED = 500  # keys that are looked through; a longer prefix finds the rest
TILES = 12  # a page of them
THUMBNAIL = "imageMogr2/thumbnail/240x160"
PICTURES = ("jpg", "jpeg", "png", "gif", "bmp", "webp", "avif", "heif", "heic", "tpg")


class Bucket:
    """Shows what lies under a prefix. `choose` is called with the key of a picture that was
    clicked.
    """

    def __init__(self, panel: Panel, choose: Callable[[str], None]) -> None:
        self.panel, self._choose = panel, choose
        self.objects: list[StoredObject] = []
        self._page = 0
        self._thumbnails: event_loop.Handle[None] | None = None
        self.prefix = W.Text(
            description="Prefix", placeholder="all of the bucket", tooltip="Only keys that begin so"
        )
        self.show = W.Button(description="Show", icon="folder-open", tooltip="List the bucket")
        self.back = W.Button(
            description="‹ Back", tooltip="The page before", layout={"display": "none"}
        )
        self.on = W.Button(
            description="More ›", tooltip="The next page", layout={"display": "none"}
        )
        self.note = W.HTML()
        self.folders, self.tiles = W.HBox().add_class("mjci-row"), W.HBox().add_class("mjci-tiles")
        panel.on_press(self.show, self.look)
        panel.on_press(self.back, partial(self._turn, -1))
        panel.on_press(self.on, partial(self._turn, 1))
        for button in (self.show, self.back, self.on):
            in_order(button)
        row = W.HBox([self.prefix, self.show, self.back, self.on]).add_class("mjci-row")
        self.box = W.VBox([row, self.folders, self.tiles, self.note]).add_class("mjci-form")

    async def look(self) -> None:
        """Asks the service what there is."""
        wanted = self.prefix.value.strip()
        self.objects = await self.panel.session.ci.objects(prefix=wanted, limit=LISTED)
        self._page = 0
        self._draw()

    async def _turn(self, by: int) -> None:
        self._page = max(0, self._page + by)
        self._draw()

    async def _open(self, folder: str) -> None:
        self.prefix.value = folder
        await self.look()

    # --- drawing ----------------------------------------------------------------------------------

    def here(self) -> str:
        """The folder that is shown: the prefix up to its last slash."""
        return str(self.prefix.value.strip().rpartition("/")[0] + "/").removeprefix("/")

    def inside(self) -> tuple[Sequence[str], Sequence[StoredObject]]:
        """The folders below, and the objects that lie here."""
        here = self.here()
        below = [one.key[len(here) :] for one in self.objects]
        folders = list(
            dict.fromkeys(rest.partition("/")[0] + "/" for rest in below if "/" in rest.rstrip("/"))
        )
        return folders, [
            one for one in self.objects if "/" not in one.key[len(here) :] and one.size
        ]

    def _draw(self) -> None:
        folders, objects = self.inside()
        first = self._page * TILES
        shown = objects[first : first + TILES]
        self.back.layout.display = "" if self._page else "none"
        self.on.layout.display = "" if first + TILES < len(objects) else "none"
        self._replace(self.folders, [*self._up(), *(self._folder(name) for name in folders[:24])])
        tiles = [Tile(self.panel, one, self._choose) for one in shown]
        self._replace(self.tiles, [tile.box for tile in tiles])
        self.note.value = self._told(first, len(shown), len(objects))
        if self._thumbnails is not None:
            self._thumbnails.cancel()
        self._thumbnails = self.panel.start(_see_all(tiles))

    def _told(self, first: int, shown: int, there: int) -> str:
        if not self.objects:
            words = (
                "Nothing lies under this prefix."
                if self.prefix.value.strip()
                else "The bucket is empty."
            )
        elif not shown:
            words = "No pictures lie right here; open a folder." if not there else ""
        else:
            words = f"{first + 1}–{first + shown} of {there}"
        if len(self.objects) == LISTED:
            words += f" (of the first {LISTED} keys: type more of the prefix to see others)"
        return f'<span class="mjci-faint" role="status">{html.escape(words)}</span>'

    def _up(self) -> list[Any]:
        here = self.here()
        return [self._folder("..", here.rstrip("/").rpartition("/")[0])] if here else []

    def _folder(self, name: str, path: str | None = None) -> Any:
        target = self.here() + name if path is None else path and path + "/"
        icon = "level-up" if name == ".." else "folder-o"
        button = W.Button(
            description=name, icon=icon, tooltip=f"Open {target or 'the whole bucket'}"
        )
        self.panel.on_press(button, partial(self._open, target))
        in_order(button)
        return button

    @staticmethod
    def _replace(box: Any, children: Sequence[Any]) -> None:
        old, box.children = box.children, children
        for one in old:
            one.close()


class Tile:
    """An object: its thumbnail, and a button with its name."""

    def __init__(self, panel: Panel, given: StoredObject, choose: Callable[[str], None]) -> None:
        self.panel, self.given = panel, given
        name = given.key.rpartition("/")[2]
        kind = name.rpartition(".")[2].lower()
        self.is_picture = kind in PICTURES
        self.picture = W.HTML(
            f'<div class="mjci-thumb">{html.escape(kind[:5] if "." in name else "–")}</div>'
        )
        self.button = W.Button(
            description=name, tooltip=f"Choose {given.key}, {html.weight(given.size)}"
        )

        async def chosen() -> None:
            choose(given.key)

        panel.on_press(self.button, chosen)
        in_order(self.button)
        self.box = W.VBox([self.picture, self.button]).add_class("mjci-tile")

    async def see(self) -> None:
        """Shows the thumbnail; without one the kind stays."""
        try:
            content = await self.panel.session.ci.processed(self.given.key, rule=THUMBNAIL)
            url = await anyio.to_thread.run_sync(images.data_url, content, 240, 24_000)
        except (MjciError, ValueError):
            return
        self.picture.value = f'<div class="mjci-thumb"><img src="{url}" alt=""></div>'


async def _see_all(tiles: Sequence[Tile]) -> None:
    async with anyio.create_task_group() as group:
        for tile in tiles:
            if tile.is_picture:
                group.start_soon(tile.see)
