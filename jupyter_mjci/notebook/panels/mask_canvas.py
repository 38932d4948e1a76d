"""What only a browser can do: paint on a picture, and save a file. The home of anywidget (extra
`lab`).

A canvas of our own, because a stroke must follow the hand: it is drawn in the page and told to the
kernel when it is done, also while a cell blocks. (ipycanvas draws what the kernel says, a journey
for each move of the mouse.)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import ipywidgets as W
import traitlets as T

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.notebook import images
from jupyter_mjci.notebook.panels.base import force_main_shell

HERE = Path(__file__).parent


class Canvas(anywidget.AnyWidget):
    """A picture (a data URL) with strokes over it. `brush` is the width of the next one, as a part
    of the picture's.
    """

    _esm = HERE / "mask_canvas.js"
    picture = T.Unicode().tag(sync=True)
    label = T.Unicode().tag(sync=True)
    strokes: Any = T.List().tag(sync=True)
    brush = T.Float(0.12).tag(sync=True)
    erase = T.Bool(False).tag(sync=True)


class Downloader(anywidget.AnyWidget):
    """Saves files in the browser."""

    _esm = HERE / "downloads.js"

    def save(self, name: str, mime: str, content: bytes) -> None:
        self.send({"name": name, "mime": mime}, buffers=[content])


class MaskEditor:
    """A canvas with its tools. `render_mask` is what was painted: white is drawn anew, black stays."""

    def __init__(self) -> None:
        self.canvas = Canvas()
        self.size = (0, 0)
        self.brush = W.IntSlider(
            12, min=2, max=40, description="Brush", tooltip="In hundredths of the picture"
        )
        self.erase = W.ToggleButton(
            description="Erase", icon="eraser", tooltip="Paint or take away"
        )
        tools = (
            ("Undo", "Take the last stroke back", self._undo),
            ("Clear", "Take all strokes back", self._clear),
            ("All of it", "Paint the whole picture", self._fill),
        )
        self.tools = [W.Button(description=name, tooltip=said) for name, said, _ in tools]
        for button, (_, _, work) in zip(self.tools, tools, strict=True):
            button.on_click(lambda _, work=work: work())
        self.brush.observe(
            lambda change: setattr(self.canvas, "brush", change["new"] / 100), "value"
        )
        self.erase.observe(lambda change: setattr(self.canvas, "erase", change["new"]), "value")
        row = (
            W.HBox([self.brush, self.erase, *self.tools])
            .add_class("mjci-row")
            .add_class("mjci-tools")
        )
        self.box = W.VBox([self.canvas, row], layout={"display": "none", "overflow": "visible"})
        force_main_shell(self.box)

    def show_picture(self, picture: str, label: str, size: tuple[int, int]) -> None:
        """A picture to paint on, and the size that its mask is to have."""
        self.canvas.label, self.size, self.canvas.strokes = label, size, []
        self.canvas.picture = picture

    def render_mask(self) -> bytes:
        """The mask as PNG. Raises CallError where nothing is painted."""
        content = images.mask_from_strokes(self.canvas.strokes, self.size)
        if content is None:
            raise InvalidRequest(
                "Nothing is painted yet.",
                hint="Paint what is to be drawn anew; the rest stays as it is.",
            )
        return content

    def _undo(self) -> None:
        self.canvas.strokes = self.canvas.strokes[:-1]

    def _clear(self) -> None:
        self.canvas.strokes = []

    def _fill(self) -> None:
        whole: Sequence[Any] = [{"size": 3.0, "erase": False, "points": [[0.5, 0.5]]}]
        self.canvas.strokes = [*self.canvas.strokes, *whole]
