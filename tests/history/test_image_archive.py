"""Masks for Vary (Region): the white part is drawn anew, and nothing else."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageChops

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Status
from jupyter_mjci.errors import InvalidRequest


def open_image(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def count_white(content: bytes) -> int:
    return open_image(content).histogram()[255]


def test_boxes_ellipses_and_polygons_are_white() -> None:
    """To the pixel, in one channel, without grey."""
    image = open_image(mjci.mask((100, 50), boxes=[(10, 5, 20, 15)]))
    assert (image.format, image.mode, image.size, image.getbbox()) == (
        "PNG",
        "L",
        (100, 50),
        (10, 5, 20, 15),
    )
    several = mjci.mask(
        (100, 50),
        [(0, 0, 10, 10)],
        polygons=[[(50, 0), (60, 0), (50, 9)]],
        ellipses=[(70, 0, 90, 20)],
    )
    assert sorted(set(open_image(several).tobytes())) == [0, 255]
    assert 100 + 45 + 250 < count_white(several) < 100 + 75 + 400
    assert count_white(mjci.mask((100, 50), [(-10, -10, 500, 500)])) == 5000


PICTURE = Image.new("RGB", (32, 24))


@pytest.mark.parametrize(
    "picture", [PICTURE, np.zeros((24, 32, 3), "uint8"), mjci.mask(PICTURE, [(0, 0, 1, 1)])]
)
def test_mask_has_the_size_of_its_picture(picture: Any) -> None:
    assert open_image(mjci.mask(picture, [(0, 0, 5, 5)])).size == (32, 24)


WRONG: tuple[tuple[tuple[Any, ...], dict[str, Any], str], ...] = (
    (((9, 9),), {}, "Nothing of this mask is white"),
    (((9, 9), [(20, 20, 30, 30)]), {}, "within 9×9"),
    (((9, 9), [(5, 5, 5, 9)]), {}, "(5, 5, 5, 9) is not a valid box."),
    (((9, 9),), {"polygons": [[(0, 0), (5, 5)]]}, "at least three points"),
    ((b"text", [(0, 0, 1, 1)]), {}, "This is text, not a PNG"),
    ((b"\x89PNG cut", [(0, 0, 1, 1)]), {}, "This PNG is damaged or truncated."),
)


@pytest.mark.parametrize(("arguments", "options", "message"), WRONG)
def test_invalid_mask_raises_invalid_request(arguments: Any, options: Any, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        mjci.mask(*arguments, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize("dialect", ["plus", "trueai"])
def test_only_the_white_part_is_drawn_anew(dialect: str) -> None:
    """A picture gets four variations through the dialog; outside of the box every pixel stays."""
    with mjci.sandbox(speed=math.inf, dialect=dialect) as session:
        grid = session.follow(session.mj.imagine("a lighthouse")).run()
        large = session.follow(session.mj.action(grid, "U1")).run()
        before = session.picture(large).run()
        dialog = session.follow(session.mj.action(large, "Vary (Region)")).run()
        assert dialog.status is Status.NEEDS_INPUT
        width, height = open_image(before).size
        box = (width // 4, height // 4, width // 2, height // 2)
        answered = session.mj.modal(dialog.id, "a red sail", mask=mjci.mask(before, [box])).run()
        done = session.follow(answered).run()
        takes = session.pictures(done).run()
    assert len(takes) == 4
    stays = open_image(mjci.mask(before, [box])).point(lambda level: 255 - level)
    for take in takes:
        after = open_image(take).convert("RGB")
        was = open_image(before).convert("RGB").resize(after.size, Image.Resampling.LANCZOS)
        changed = (
            ImageChops.difference(was, after)
            .convert("L")
            .point(lambda level: 255 if level > 24 else 0)
        )
        outside = ImageChops.multiply(changed, stays.resize(after.size, Image.Resampling.NEAREST))
        x, y, right, bottom = (round(edge * after.width / width) for edge in box)
        inside = changed.crop((x + 4, y + 4, right - 4, bottom - 4))
        assert inside.histogram()[255] > 0.05 * inside.width * inside.height
        assert outside.histogram()[255] < 0.002 * after.width * after.height
