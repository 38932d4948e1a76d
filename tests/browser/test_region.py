"""Vary (Region) in a real JupyterLab and Notebook 7: a mask is painted on the picture, by mouse and
keyboard.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.browser.test_panels import IMAGINE, MOVE, PICTURE, PROMPT, SESSION, shoot

CANVAS = ".mjci-live .mjci-mask-editor canvas"
SHOW = "panel = mjci.panel('mj', session=s)\npanel"


def drag(page: Any, *points: tuple[float, float]) -> None:
    """Draws with the mouse from point to point; each a part of the canvas's width and height."""

    def work() -> None:
        box = page.page.locator(CANVAS).bounding_box()
        places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
        page.page.mouse.move(*places[0])
        page.page.mouse.down()
        for place in places[1:]:
            page.page.mouse.move(*place, steps=4)
        page.page.mouse.up()

    page.shown.do(work)


@pytest.mark.parametrize("notebook", ["lab", "notebook 7"], indirect=True)
def test_region_is_painted_and_varied(notebook: Callable[..., Any], shots: Path) -> None:
    """The whole way by clicks: imagine, choose a picture of the grid and download it, U2, zoom,
    Vary (Region) with a painted mask, and the picture that comes differs from its parent where it
    was painted and only there.
    """
    look = (
        "card = panel._cards[0]\n"
        "[[node.label, node.job.status.value] for node in card.current.get_path()]"
    )
    strokes = (
        "strokes = card.dialog.mask_editor.canvas.strokes\n"
        "len(strokes), strokes[0]['size'], strokes[0]['erase']"
    )
    differ = (
        "import io; from PIL import Image, ImageChops, ImageStat\n"
        "def load(node):\n"
        "    content = s.pictures(node.job).run()[0]\n"
        "    return Image.open(io.BytesIO(content)).convert('RGB').resize((400, 400))\n"
        "old, new = load(card.current.parent), load(card.current)\n"
        "def mean(*box):\n"
        "    difference = ImageChops.difference(old.crop(box), new.crop(box))\n"
        "    return max(ImageStat.Stat(difference).mean)\n"
        "outside, inside = mean(0, 320, 400, 400), mean(170, 190, 240, 280)\n"
        "print(outside < 3 < inside, '|', outside, inside)"
    )
    page = notebook(SESSION.format(speed=200), SHOW, look, strokes, differ)
    page.run(0)
    page.run(1)
    page.fill(PROMPT, "a red fox")
    page.click(IMAGINE)
    page.wait_pictures(PICTURE)
    page.click(".mjci-live button:has-text('Picture 2')")
    page.wait_for(".mjci-pictures figcaption:has-text('Picture 2')")
    assert (
        Image.open(io.BytesIO(page.download(".mjci-live button:has-text('Download')"))).format
        == "PNG"
    )
    page.click(".mjci-live button:has-text('Picture 3')")
    page.wait_for(".mjci-pictures figcaption:has-text('Picture 3')")
    shoot(page, shots, "panel-picked")
    both = page.download(".mjci-live .mjci-card button:has-text('Download')")
    assert len(zipfile.ZipFile(io.BytesIO(both)).namelist()) == 2
    page.click(MOVE.format("U2"))
    page.click(MOVE.format("Zoom Out 2x"))
    page.wait_for(".mjci-breadcrumb button:has-text('› Zoom Out 2x')")
    page.wait_for(MOVE.format("U1"))
    page.click(MOVE.format("U1"))
    page.click(MOVE.format("Vary (Region)"))
    page.wait_pictures(".mjci-mask-editor img")
    page.scroll_to(CANVAS)
    drag(page, (0.4, 0.45), (0.6, 0.45), (0.6, 0.7), (0.4, 0.7), (0.45, 0.55), (0.55, 0.6))
    page.js("selector => document.querySelector(selector).focus()", CANVAS)
    page.press("ArrowLeft")
    page.press("Shift+ArrowUp")
    shoot(page, shots, "panel-region")
    page.run(2)
    assert "['Vary (Region)', 'NEEDS_INPUT']" in page.outputs(2)
    page.run(3)
    assert page.outputs(3) == "(2, 0.12, False)"
    page.click(".mjci-live button:has-text('Answer')")
    page.wait_for(MOVE.format("U1"))
    page.wait_pictures(PICTURE)
    page.run(4)
    assert page.outputs(4).startswith("True")
