"""The rule workbench in a real JupyterLab: a rule is put together with sliders, previewed,
submitted.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from tests.browser.test_panels import PICTURE, SESSION, shoot

RULE = ".mjci-live textarea"
AFTER = ".mjci-rule-preview .mjci-after img"
WHOLE = "() => document.querySelector('.mjci-rule-preview .mjci-after figcaption')?.innerText ?? ''"


def source(page: Any, selector: str) -> bytes:
    return bytes(page.fetch(page.js("selector => document.querySelector(selector).src", selector)))


def distance(one: bytes, other: bytes) -> float:
    """How far apart two pictures of one size are, 0 to 255, in the mean of their colours."""
    pictures = [Image.open(io.BytesIO(content)).convert("RGB") for content in (one, other)]
    assert pictures[0].size == pictures[1].size
    return max(ImageStat.Stat(ImageChops.difference(*pictures)).mean)


def slide(page: Any, label: str, value: str) -> None:
    """Moves a slider by the number beside it, as the keyboard does."""
    row = f".mjci-block .widget-slider:has(label:has-text('{label}')) .widget-readout"
    page.click(row)
    page.press("Control+a")
    page.shown.do(lambda: page.page.keyboard.type(value))
    page.press("Enter")


@pytest.mark.parametrize("notebook", ["lab", "notebook 7"], indirect=True)
def test_rule_from_sliders_is_previewed_and_processed_alike(
    notebook: Callable[..., Any], shots: Path
) -> None:
    """A picture is chosen by its thumbnail; sliders write the rule; the preview comes at once, and
    the job's picture is the preview; text typed moves the sliders; a wrong rule says what is
    wrong.
    """
    page = notebook(
        SESSION.format(speed=200),
        "panel = mjci.panel('ci', session=s)\npanel",
        "print(panel.preview.result)",
    )
    page.run(0)
    page.run(1)
    page.click(".mjci-live button:has-text('input/')")
    page.click(".mjci-tile button:has-text('lighthouse.png')")
    page.wait_pictures(".mjci-tile img")
    page.wait_pictures(".mjci-rule-preview figure img")
    add(page, "Thumbnail", "Percent")
    slide(page, "Percent", "40")
    add(page, "Rotate", "Rotate")
    slide(page, "Rotate", "180")
    page.wait_js(
        "text => document.querySelector('.mjci-live textarea').value === text",
        "imageMogr2/thumbnail/!40p/rotate/180",
    )
    page.wait_pictures(AFTER)
    page.scroll_to(RULE)
    shoot(page, shots, "workbench")
    page.click(".mjci-live button:has-text('Process')")
    page.wait_pictures(PICTURE.replace(".mjci-live", ".mjci-card"))
    preview, made = (
        source(page, AFTER),
        source(page, ".mjci-card .mjci-pictures figure:nth-child(2) img"),
    )
    assert distance(preview, made) < 3
    assert distance(preview, rotate(made)) > 10
    typed = "imageMogr2/thumbnail/!60p/rotate/45"
    page.fill(RULE, typed)
    page.wait_js(
        "() => [...document.querySelectorAll('.mjci-block .widget-readout')]"
        ".map(readout => readout.innerText).join() === '60,45'"
    )
    page.fill(RULE, "imageMogr2/rotat/45")
    page.wait_for(".mjci-editor [role=alert]:has-text('did you mean imageMogr2/rotate')")
    page.fill(RULE, "")
    page.click(".mjci-live button:has-text('List jobs')")
    page.wait_for(".mjci-job-row button:has-text('Retry')")
    page.scroll_to(".mjci-job-row")
    shoot(page, shots, "workbench-jobs")


def test_retry_that_comes_where_cancel_was_is_not_pressed(notebook: Callable[..., Any]) -> None:
    """The second click of a slow double click would submit the job again."""
    page = notebook(
        SESSION.format(speed=0.1),
        "s.ci.picture_job(input='input/deer.jpg', rule='imageInfo', output='a.json').run()",
        "panel = mjci.panel('ci', session=s)\npanel",
    )
    for cell in range(3):
        page.run(cell)
    page.click(".mjci-live button:has-text('List jobs')")
    page.wait_for(".mjci-job-row button:has-text('Cancel')")
    page.watch_appearance(".mjci-job-row button[title^='Submit ']")
    page.click(".mjci-job-row button:has-text('Cancel')")
    was_met, _ = page.appeared()
    assert not was_met


def rotate(content: bytes) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(content)).rotate(180).save(file, "PNG")
    return file.getvalue()


def add(page: Any, step: str, control: str) -> None:
    """Adds a step as a person does, and waits for its control."""
    option = f".mjci-editor select option:has-text('{step} ·')"
    value = page.shown.do(lambda: page.page.locator(option).first.get_attribute("value"))
    page.shown.do(
        lambda: page.page.locator(".mjci-editor .widget-dropdown select").last.select_option(value)
    )
    page.click(".mjci-live button:has-text('Add step')")
    page.wait_for(f".mjci-block label:has-text('{control}')")


PASTED = "imageMogr2/blur/8x5|watermark/2/text/bWpjaQ/fill/I0ZGRkZGRg"


def test_pasted_rule_stays_as_typed_until_a_control_is_touched(
    notebook: Callable[..., Any],
) -> None:
    """Its controls appear and leave the text alone; one that is moved rewrites its own number, and
    Undo brings the text back.
    """
    page = notebook(SESSION.format(speed=200), "panel = mjci.panel('ci', session=s)\npanel", "0")
    page.run(0)
    page.run(1)
    page.click(RULE)
    page.shown.do(lambda: page.page.keyboard.insert_text(PASTED))
    page.wait_for(".mjci-block .widget-colorpicker")
    page.wait_for(".mjci-block .widget-slider:has-text('Radius')")
    page.run(2)  # whatever the page sends has been handled
    assert page.js("selector => document.querySelector(selector).value", RULE) == PASTED
    slide(page, "Radius", "9")
    page.wait_js(
        "text => document.querySelector('.mjci-live textarea').value === text",
        PASTED.replace("8x5", "9x5"),
    )
    page.click(".mjci-live button:has-text('Undo')")
    page.wait_js("text => document.querySelector('.mjci-live textarea').value === text", PASTED)
