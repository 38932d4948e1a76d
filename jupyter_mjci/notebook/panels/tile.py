"""Show a picture as a tile: a thumbnail, and a button below it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import anyio
import anyio.to_thread
import ipywidgets as W

from jupyter_mjci.errors import MjciError
from jupyter_mjci.notebook import images
from jupyter_mjci.notebook.panels import html
from jupyter_mjci.notebook.panels.subshells import force_main_shell

# the longer side in pixels, and bytes
THUMBNAIL_LIMITS = (240, 24_000)


class Tile:
    """A thumbnail and its button.

    Args:
        placeholder: HTML that is shown until the thumbnail is
            loaded
        button: the button below
        fetch: fetches the picture; None if there is none
        name: names the picture to the viewer, see `InlineImage`
    """

    def __init__(
        self,
        placeholder: str,
        button: W.Button,
        fetch: Callable[[], Awaitable[bytes]] | None,
        name: str = "",
    ) -> None:
        self._fetch = fetch
        self._alt = button.description
        self._name = name
        self.picture = W.HTML(f'<div class="mjci-thumb">{placeholder}</div>')
        self.box = W.VBox([self.picture, button]).add_class("mjci-tile")
        force_main_shell(button)

    async def load(self) -> None:
        """Load the thumbnail.

        The placeholder stays if that fails: links of results
        expire.
        """
        if self._fetch is None:
            return
        try:
            content = await self._fetch()
            url = await anyio.to_thread.run_sync(images.data_url, content, *THUMBNAIL_LIMITS)
        except (MjciError, ValueError):
            return
        self.picture.value = html.render_thumbnail(url, self._alt, self._name)


async def load_thumbnails(tiles: Sequence[Tile]) -> None:
    """Load the thumbnails of all tiles at once."""
    async with anyio.create_task_group() as group:
        for tile in tiles:
            group.start_soon(tile.load)
