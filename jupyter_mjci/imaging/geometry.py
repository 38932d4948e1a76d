from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from PIL import Image

from jupyter_mjci.imaging.model import Frame, Size, WorkingImage, check_output_size

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
    return replace(picture, frames=tuple(change(frame) for frame in picture.frames))


def round_size(width: float, height: float) -> Size:
    return max(1, round(width)), max(1, round(height))


def resize(picture: WorkingImage, size: Size) -> WorkingImage:
    if size == picture.size:
        return picture
    check_output_size(size, len(picture.frames))
    return map_frames(
        picture, lambda frame: frame.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    )


def crop_box(picture: WorkingImage, left: int, top: int, size: Size) -> WorkingImage:
    """Cut a box that lies inside the picture. By `resize` and not by `crop`, which warns about
    large boxes.
    """
    box = (left, top, left + size[0], top + size[1])
    return map_frames(picture, lambda frame: frame.resize(size, Image.Resampling.NEAREST, box))


def position_by_gravity(
    outer: Size, inner: Size, gravity: str, dx: int, dy: int
) -> tuple[int, int]:
    """Where the inner rectangle's corner goes in the outer one."""
    column, row = GRAVITIES[gravity]
    return _offset_along_axis(outer[0] - inner[0], column, dx), _offset_along_axis(
        outer[1] - inner[1], row, dy
    )


def _offset_along_axis(room: int, third: int, offset: int) -> int:
    return (offset, room // 2, room - offset)[third]


def fit_inside(size: Size, width: float, height: float) -> Size:
    """The largest size of the same shape inside width x height."""
    w, h = size
    if width * h <= height * w:
        return round_size(width, h * width / w)
    return round_size(w * height / h, height)


def fit_outside(size: Size, width: int, height: int) -> Size:
    """The smallest size of the same shape around width x height."""
    w, h = size
    if width * h >= height * w:
        return round_size(width, max(height, h * width / w))
    return round_size(max(width, w * height / h), height)


def resize_and_crop(
    picture: WorkingImage, size: Size, gravity: str = "center", dx: int = 0, dy: int = 0
) -> WorkingImage:
    """Scaled to cover the size, then cut to it."""
    covering = resize(picture, fit_outside(picture.size, *size))
    left, top = position_by_gravity(covering.size, size, gravity, dx, dy)
    room = (covering.size[0] - size[0], covering.size[1] - size[1])
    return crop_box(covering, min(max(0, left), room[0]), min(max(0, top), room[1]), size)
