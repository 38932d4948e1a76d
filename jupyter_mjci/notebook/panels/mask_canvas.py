"""Paint a mask on a picture.

The strokes are drawn in the page and sent to the kernel when they
are finished, so painting stays smooth while a cell runs.
(ipycanvas draws what the kernel says: a round trip for every
mouse move.)
"""

from __future__ import annotations

from typing import cast

import ipywidgets as W
import traitlets as T

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.imaging.masks import Stroke, mask_from_strokes
from jupyter_mjci.notebook.panels.browser_widgets import Canvas
from jupyter_mjci.notebook.panels.subshells import force_main_shell
from jupyter_mjci.notebook.panels.widgets import build_button, build_row

# A dot three times as wide as the picture.
FILL_STROKE = {"size": 3.0, "erase": False, "points": [[0.5, 0.5]]}


class MaskEditor:
    """A canvas with its tools.

    White areas of the mask are regenerated, black ones are kept.
    """

    def __init__(self) -> None:
        self.canvas = Canvas()
        self.size = (0, 0)
        self.brush = W.IntSlider(
            12, min=2, max=40, description="Brush", tooltip="Percent of the picture's width"
        )
        self.erase = W.ToggleButton(
            description="Erase", icon="eraser", tooltip="Switch between painting and erasing"
        )
        self.undo_button = build_button("Undo", "Remove the last stroke")
        self.clear_button = build_button("Clear", "Remove all strokes")
        self.fill_button = build_button("All of it", "Paint the whole picture")
        self._connect()
        buttons = (self.undo_button, self.clear_button, self.fill_button)
        tools = build_row(self.brush, self.erase, *buttons, css_class="mjci-tools")
        self.box = W.VBox([self.canvas, tools], layout={"display": "none", "overflow": "visible"})
        force_main_shell(self.box)

    def _connect(self) -> None:
        T.dlink((self.brush, "value"), (self.canvas, "brush"), lambda percent: percent / 100)
        T.dlink((self.erase, "value"), (self.canvas, "erase"))
        self.undo_button.on_click(lambda _: self._set_strokes(self.canvas.strokes[:-1]))
        self.clear_button.on_click(lambda _: self._set_strokes([]))
        self.fill_button.on_click(lambda _: self._set_strokes([*self.canvas.strokes, FILL_STROKE]))

    def _set_strokes(self, strokes: list[dict[str, object]]) -> None:
        self.canvas.strokes = strokes

    def show_picture(self, url: str, label: str, size: tuple[int, int]) -> None:
        """Show a picture without strokes.

        Args:
            url: a data URL of the picture
            label: its alternative text
            size: width and height of the mask in pixels
        """
        self.size = size
        self.canvas.label = label
        self._set_strokes([])
        self.canvas.picture = url

    def render_mask(self) -> bytes:
        """Render the mask as PNG.

        Raises:
            InvalidRequest: Nothing is painted.
        """
        strokes = cast(list[Stroke], self.canvas.strokes)
        content = mask_from_strokes(strokes, self.size)
        if content is None:
            raise InvalidRequest(
                "The mask is empty.", hint="Paint the area to regenerate; the rest is kept."
            )
        return content
