"""Draw masks for Vary (Region) and edits: white is drawn anew, black stays."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw

from jupyter_mjci.errors import InvalidRequest

# left, top, right, bottom in pixels; right and bottom are exclusive
Box = tuple[float, float, float, float]
Point = tuple[float, float]


def draw_mask(
    size: tuple[int, int],
    boxes: Sequence[Box] = (),
    *,
    polygons: Sequence[Sequence[Point]] = (),
    ellipses: Sequence[Box] = (),
) -> bytes:
    """Draw a mask as a PNG of one channel, white on black without grey.

    Args:
        size: width and height, in pixels
        boxes: filled rectangles (left, top, right, bottom)
        polygons: filled polygons, each a list of (x, y)
        ellipses: filled ellipses, by the boxes around them

    Raises:
        InvalidRequest: a shape is not valid, or nothing of the mask is white
    """
    image = Image.new("L", size)
    draw = ImageDraw.Draw(image)
    for left, top, right, bottom in map(_validate_box, boxes):
        draw.rectangle((left, top, right - 1, bottom - 1), fill=255)
    for left, top, right, bottom in map(_validate_box, ellipses):
        draw.ellipse((left, top, right - 1, bottom - 1), fill=255)
    for polygon in polygons:
        if len(polygon) < 3:
            raise InvalidRequest(f"A polygon has at least three points, not {len(polygon)}.")
        draw.polygon([tuple(point) for point in polygon], fill=255)
    if image.getbbox() is None:
        raise InvalidRequest(
            "Nothing of this mask is white, so nothing would be drawn anew.",
            hint="Pass boxes, polygons or ellipses, in pixels,"
            f" within {image.width}×{image.height}.",
        )
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _validate_box(box: Box) -> Box:
    left, top, right, bottom = box
    if right <= left or bottom <= top:
        raise InvalidRequest(
            f"{tuple(box)} is not a valid box.",
            hint="A box is (left, top, right, bottom), in pixels.",
        )
    return left, top, right, bottom
