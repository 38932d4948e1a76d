from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

from PIL import Image, ImageDraw

from jupyter_mjci.emulator.drawing.palettes import Color, mix_colors

Box = tuple[float, float, float, float]
Size = tuple[int, int]


def center_view(ratio: float) -> Box:
    """The view of area 1 around the middle of the world."""
    width, height = math.sqrt(ratio), 1 / math.sqrt(ratio)
    return (-width / 2, -height / 2, width / 2, height / 2)


class Canvas:
    """An image and the window on the world that it shows."""

    def __init__(self, view: Box, size: Size) -> None:
        self.view, self.size = view, size
        self.scale = size[0] / (view[2] - view[0])
        self.image = Image.new("RGB", size)
        self.pen = ImageDraw.Draw(self.image)

    def to_pixel(self, x: float, y: float) -> tuple[float, float]:
        return ((x - self.view[0]) * self.scale, (y - self.view[1]) * self.scale)

    def to_pixels(self, path: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [self.to_pixel(x, y) for x, y in path]

    def build_gradient(self, stops: Sequence[tuple[float, Color]], height: int) -> Image.Image:
        """Colours down a column of `height` pixels; stops are (share of the height, colour)."""
        strip = Image.new("RGB", (1, 128))
        strip.putdata([interpolate(stops, row / 127) for row in range(128)])
        return strip.resize((1, max(1, height)), Image.Resampling.BICUBIC)

    def fill(
        self, box: tuple[int, int, int, int], column: Image.Image, mask: Image.Image | None
    ) -> None:
        wide = column.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.NEAREST)
        self.image.paste(wide, box[:2], mask)

    def draw_glow(self, x: float, y: float, radius: float, color: Color, strength: float) -> None:
        """A soft round light."""
        side = max(2, round(radius * 2 * self.scale))
        px, py = self.to_pixel(x, y)
        mask = _build_halo(strength).resize((side, side), Image.Resampling.BILINEAR)
        self.image.paste(color, (round(px) - side // 2, round(py) - side // 2), mask)

    def draw_disc(self, x: float, y: float, radius: float, color: Color) -> None:
        self.pen.ellipse(
            (*self.to_pixel(x - radius, y - radius), *self.to_pixel(x + radius, y + radius)),
            fill=color,
        )


def interpolate(stops: Sequence[tuple[float, Color]], share: float) -> Color:
    for (low, first), (high, second) in pairwise(stops):
        if share <= high:
            return mix_colors(first, second, max(0.0, (share - low) / max(1e-9, high - low)))
    return stops[-1][1]


@cache
def _build_halo(strength: float) -> Image.Image:
    """Opaque in the middle, nothing at the rim, with a soft shoulder."""
    edge = Image.radial_gradient("L")
    return edge.point(
        [round(255 * strength * max(0.0, 1 - level / 180) ** 2.2) for level in range(256)]
    )
