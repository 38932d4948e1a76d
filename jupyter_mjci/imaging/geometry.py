"""Sizes and positions, and resizing and cropping all frames of an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from PIL import Image

from jupyter_mjci.imaging.model import Frame, Size, WorkingImage, check_output_size

# The column and row of each gravity: 0 is left or top, 1 the
# middle, 2 right or bottom.
GRAVITIES = {
    "northwest": (0, 0),
    "north": (1, 0),
    "northeast": (2, 0),
    "west": (0, 1),
    "center": (1, 1),
    "east": (2, 1),
    "southwest": (0, 2),
    "south": (1, 2),
    "southeast": (2, 2),
}


def map_frames(picture: WorkingImage, change: Callable[[Frame], Frame]) -> WorkingImage:
    """Apply a function to every frame."""
    return replace(picture, frames=tuple(change(frame) for frame in picture.frames))


def round_size(width: float, height: float) -> Size:
    """Round to whole pixels, at least one on each side."""
    return max(1, round(width)), max(1, round(height))


def resize(picture: WorkingImage, size: Size) -> WorkingImage:
    """Resample all frames to a size. Raises RuleError if it is too large."""
    if size == picture.size:
        return picture
    check_output_size(size, len(picture.frames))
    return map_frames(
        picture, lambda frame: frame.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    )


def crop_box(picture: WorkingImage, left: int, top: int, size: Size) -> WorkingImage:
    """Cut a box that lies inside the image.

    By `Image.resize` rather than `Image.crop`, which warns about
    large boxes.
    """
    box = (left, top, left + size[0], top + size[1])
    return map_frames(picture, lambda frame: frame.resize(size, Image.Resampling.NEAREST, box))


def crop_at(picture: WorkingImage, size: Size, gravity: str, dx: int, dy: int) -> WorkingImage:
    """Cut a box at a gravity, moved back inside the image where the offsets push it out."""
    left, top = position_by_gravity(picture.size, size, gravity, dx, dy)
    left = min(max(0, left), picture.size[0] - size[0])
    top = min(max(0, top), picture.size[1] - size[1])
    return crop_box(picture, left, top, size)


def position_by_gravity(
    outer: Size, inner: Size, gravity: str, dx: int, dy: int
) -> tuple[int, int]:
    """Return where the inner rectangle's top left corner lies in the outer one.

    Offsets point inward from the edge that the gravity names; the
    middle ignores them.
    """
    column, row = GRAVITIES[gravity]
    left = _offset_along_axis(outer[0] - inner[0], column, dx)
    top = _offset_along_axis(outer[1] - inner[1], row, dy)
    return left, top


def _offset_along_axis(space: int, third: int, offset: int) -> int:
    return (offset, space // 2, space - offset)[third]


def fit_inside(size: Size, width: float, height: float) -> Size:
    """Return the largest size of the same aspect ratio inside width x height."""
    w, h = size
    if width * h <= height * w:
        return round_size(width, h * width / w)
    return round_size(w * height / h, height)


def fit_outside(size: Size, width: int, height: int) -> Size:
    """Return the smallest size of the same aspect ratio around width x height."""
    w, h = size
    if width * h >= height * w:
        return round_size(width, max(height, h * width / w))
    return round_size(max(width, w * height / h), height)


def resize_and_crop(
    picture: WorkingImage, size: Size, gravity: str = "center", dx: int = 0, dy: int = 0
) -> WorkingImage:
    """Scale to cover the size, then crop to it."""
    covering = resize(picture, fit_outside(picture.size, *size))
    return crop_at(covering, size, gravity, dx, dy)
