"""A canvas in world coordinates: x to the right, y downwards, the
initial view around the origin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

from PIL import Image, ImageDraw

from jupyter_mjci.emulator.drawing.palettes import Color, mix_colors

# left, top, right, bottom
Box = tuple[float, float, float, float]
Size = tuple[int, int]
Point = tuple[float, float]
GRADIENT_STEPS = 128


def center_view(ratio: float) -> Box:
    """Return the view of area 1 around the origin, for an aspect ratio (width by height)."""
    width, height = math.sqrt(ratio), 1 / math.sqrt(ratio)
    return (-width / 2, -height / 2, width / 2, height / 2)


class Canvas:
    """An image, and the part of the world that it shows."""

    def __init__(self, view: Box, size: Size) -> None:
        self.view = view
        self.size = size
        self.scale = size[0] / (view[2] - view[0])
        self.image = Image.new("RGB", size)
        self.pen = ImageDraw.Draw(self.image)

    def to_pixel(self, x: float, y: float) -> Point:
        return ((x - self.view[0]) * self.scale, (y - self.view[1]) * self.scale)

    def to_pixels(self, path: Sequence[Point]) -> list[Point]:
        return [self.to_pixel(x, y) for x, y in path]

    def build_gradient(self, stops: Sequence[tuple[float, Color]], height: int) -> Image.Image:
        """Return a column of pixels; stops are (share of the height, color)."""
        strip = Image.new("RGB", (1, GRADIENT_STEPS))
        last = GRADIENT_STEPS - 1
        strip.putdata([interpolate(stops, row / last) for row in range(GRADIENT_STEPS)])
        return strip.resize((1, max(1, height)), Image.Resampling.BICUBIC)

    def fill(
        self, box: tuple[int, int, int, int], column: Image.Image, mask: Image.Image | None
    ) -> None:
        """Stretch a column over a box of pixels, where the mask is white."""
        stretched = column.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.NEAREST)
        self.image.paste(stretched, box[:2], mask)

    def draw_glow(self, x: float, y: float, radius: float, color: Color, strength: float) -> None:
        """Draw a soft round light."""
        side = max(2, round(radius * 2 * self.scale))
        px, py = self.to_pixel(x, y)
        mask = _build_halo(strength).resize((side, side), Image.Resampling.BILINEAR)
        self.image.paste(color, (round(px) - side // 2, round(py) - side // 2), mask)

    def draw_disc(self, x: float, y: float, radius: float, color: Color) -> None:
        upper_left = self.to_pixel(x - radius, y - radius)
        lower_right = self.to_pixel(x + radius, y + radius)
        self.pen.ellipse((*upper_left, *lower_right), fill=color)


def interpolate(stops: Sequence[tuple[float, Color]], share: float) -> Color:
    """Return the color at a share of a gradient."""
    for (low, first), (high, second) in pairwise(stops):
        if share <= high:
            ratio = max(0.0, (share - low) / max(1e-9, high - low))
            return mix_colors(first, second, ratio)
    return stops[-1][1]


@cache
def _build_halo(strength: float) -> Image.Image:
    """Return a mask that is opaque in the middle and fades out smoothly towards the rim."""
    levels = [round(255 * strength * max(0.0, 1 - level / 180) ** 2.2) for level in range(256)]
    return Image.radial_gradient("L").point(levels)
