"""Masks for inpainting: white where the service repaints, black where it keeps the image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict

from jupyter_mjci.imaging.thumbnails import encode_image


class Stroke(TypedDict):
    """One stroke of a brush, as the canvas in the browser reports it.

    Attributes:
        points: x and y, as fractions of the image's width and height
        size: the brush's diameter, as a fraction of the image's width
        erase: whether the stroke paints black
    """

    points: list[tuple[float, float]]
    size: float
    erase: bool


def mask_from_strokes(strokes: Iterable[Stroke], size: tuple[int, int]) -> bytes | None:
    """Draw strokes as a mask.

    Args:
        size: width and height of the mask in pixels

    Returns:
        A PNG, or None if nothing is white.
    """
    from PIL import Image, ImageDraw

    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for stroke in strokes:
        points = [(x * size[0], y * size[1]) for x, y in stroke["points"]]
        radius = stroke["size"] * size[0] / 2
        color = 0 if stroke["erase"] else 255
        draw.line(points, fill=color, width=max(1, round(radius * 2)), joint="curve")
        # Round ends and joints.
        for x, y in points:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    return encode_image(mask, "PNG") if mask.getextrema()[1] else None
