"""Masks for Vary (Region): what is drawn anew, and that nothing else is."""

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


def opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def white(content: bytes) -> int:
    return opened(content).histogram()[255]


def test_boxes_ellipses_and_polygons_are_white() -> None:
    """To the pixel, in one channel, and nothing is grey."""
    made = opened(mjci.mask((100, 50), boxes=[(10, 5, 20, 15)]))
    assert (made.format, made.mode, made.size, made.getbbox()) == (
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
    assert sorted(set(opened(several).tobytes())) == [0, 255]
    assert 100 + 45 + 250 < white(several) < 100 + 75 + 400
    assert white(mjci.mask((100, 50), [(-10, -10, 500, 500)])) == 5000


PICTURE = Image.new("RGB", (32, 24))


@pytest.mark.parametrize(
    "picture", [PICTURE, np.zeros((24, 32, 3), "uint8"), mjci.mask(PICTURE, [(0, 0, 1, 1)])]
)
def test_it_gets_the_size_of_its_picture(picture: Any) -> None:
    assert opened(mjci.mask(picture, [(0, 0, 5, 5)])).size == (32, 24)


WRONG: tuple[tuple[tuple[Any, ...], dict[str, Any], str], ...] = (
    (((9, 9),), {}, "Nothing of this mask is white"),
    (((9, 9), [(20, 20, 30, 30)]), {}, "within 9×9"),
    (((9, 9), [(5, 5, 5, 9)]), {}, "(5, 5, 5, 9) is not a valid box."),
    (((9, 9),), {"polygons": [[(0, 0), (5, 5)]]}, "at least three points"),
    ((b"text", [(0, 0, 1, 1)]), {}, "This is not a PNG"),
    ((b"\x89PNG cut", [(0, 0, 1, 1)]), {}, "This picture cannot be opened."),
)


@pytest.mark.parametrize(("given", "more", "said"), WRONG)
def test_a_mask_that_makes_no_sense_is_refused(given: Any, more: Any, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        mjci.mask(*given, **more)
    assert said in str(caught.value)


@pytest.mark.parametrize("dialect", ["plus", "trueai"])
def test_only_the_white_part_is_drawn_anew(dialect: str) -> None:
    """From a picture to its four variations through the dialog; outside of the box every pixel
    stays.
    """
    with mjci.sandbox(speed=math.inf, dialect=dialect) as s:
        grid = s.follow(s.mj.imagine("a lighthouse")).run()
        large = s.follow(s.mj.action(grid, "U1")).run()
        before = s.picture(large).run()
        dialog = s.follow(s.mj.action(large, "Vary (Region)")).run()
        assert dialog.status is Status.NEEDS_INPUT
        width, height = opened(before).size
        box = (width // 4, height // 4, width // 2, height // 2)
        answered = s.mj.modal(dialog.id, "a red sail", mask=mjci.mask(before, [box])).run()
        done = s.follow(answered).run()
        takes = s.pictures(done).run()
    assert len(takes) == 4
    stays = opened(mjci.mask(before, [box])).point(lambda level: 255 - level)
    for take in takes:
        after = opened(take).convert("RGB")
        was = opened(before).convert("RGB").resize(after.size, Image.Resampling.LANCZOS)
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
