"""Masks for inpainting: white where the service repaints, black where it keeps the image."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TypedDict

from PIL import Image, ImageDraw

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.imaging.thumbnails import encode_image

# left, top, right, bottom in pixels; right and bottom are
# exclusive
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
        InvalidRequest: a shape is not valid, or nothing of the
            mask is white
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
    return encode_image(image, "PNG")


def _validate_box(box: Box) -> Box:
    left, top, right, bottom = box
    if right <= left or bottom <= top:
        raise InvalidRequest(
            f"{tuple(box)} is not a valid box.",
            hint="A box is (left, top, right, bottom), in pixels.",
        )
    return left, top, right, bottom


class Stroke(TypedDict):
    """One stroke of a brush, as the canvas in the browser reports it.

    Attributes:
        points: x and y, as fractions of the image's width and
            height
        size: the brush's diameter, as a fraction of the image's
            width
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


def find_mask_mistake(
    mask: bytes, picture: bytes | None = None, picture_size: tuple[int, int] | None = None
) -> str:
    """Return what is wrong with a mask; "" for a right one, and for bytes that cannot be read.

    Args:
        mask: the bytes of an image file
        picture: the bytes of the picture that it is for
        picture_size: its width and height, where it is not here
    """
    try:
        with Image.open(io.BytesIO(mask)) as image:
            mask_size = image.size
            is_black = image.convert("L").getextrema()[1] == 0
            # Editors of pictures erase what is to be drawn anew.
            is_opaque = image.convert("RGBA").getchannel("A").getextrema()[0] != 0
        if is_black and is_opaque:
            return "Nothing of the mask is white, so nothing would be drawn anew."
        if picture is not None:
            with Image.open(io.BytesIO(picture)) as image:
                picture_size = image.size
    except (OSError, ValueError, SyntaxError):
        return ""
    if picture_size is None or picture_size == mask_size:
        return ""
    return (
        f"The mask has {_format_size(mask_size)} pixels, and the picture "
        f"{_format_size(picture_size)}."
    )


def _format_size(size: tuple[int, int]) -> str:
    return f"{size[0]}×{size[1]}"
