"""The viewer of pictures in a real JupyterLab: look, compare, rate, send on, use again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.test_accessibility import SERIOUS

SESSION = "import jupyter_mjci as mjci\ns = mjci.sandbox(speed=1000)"
MAGICS = "%load_ext jupyter_mjci\n%mjci sandbox --speed 1000 -o s"
PICTURE = ".mjci-live .mjci-card .mjci-pictures img[data-viewer]"
RESULT = ".jp-OutputArea-output.jp-RenderedImage img[data-viewer]"
TILE = ".mjci-live .mjci-tile img[data-viewer]"
DIALOG = "dialog.mjci-viewer"
STAGE = f"{DIALOG} .mjci-viewer-stage img"
SLIDER = "[role=slider][aria-label='Before and after']"
FOCUS = "selector => document.querySelector(selector).focus()"
FOCUSED = "selector => document.activeElement === document.querySelector(selector)"
CELLS = """() => jupyterapp.shell.currentWidget.content.widgets
  .map(cell => cell.model.sharedModel.source)"""
INSIDE = """() => document.activeElement === document.body
  || !!document.activeElement.closest('dialog')"""
TEXTS = """() => [...document.querySelectorAll('.mjci-live .mjci-form input[type=text]')]
  .map(field => field.value)"""
RIGHT = """() => [...document.querySelectorAll('dialog button')]
  .map(button => button.getBoundingClientRect().right)"""
NTH = "([selector, index]) => document.querySelectorAll(selector)[index].focus()"
IN_PLACE = ".mjci-rule-preview .mjci-compare"
PERCENT = """selector => document.querySelector(`${selector} [role=slider]`)
  ?.getAttribute('aria-valuenow')"""
IS_NEW = """([selector, before]) => {
  const after = document.querySelector(`${selector} img + img`);
  return after && after.src !== before;
}"""
RATINGS = "s.history.ratings()[['id', 'picture', 'stars', 'tags', 'note']].values.tolist()"


@pytest.fixture
def drawn(notebook: Callable[..., Any]) -> Callable[..., Any]:
    """A notebook whose second cell shows a Midjourney panel with the card of a red fox."""

    def open_one(*more: str) -> Any:
        prompt = "a red fox --no wolves --seed 7"
        fill = f"panel = mjci.panel('mj', session=s)\npanel.prompt.value = {prompt!r}"
        click = "panel.submit_button.click(); panel.wait()\npanel"
        page = notebook(SESSION, f"{fill}\n{click}", *more)
        page.run(0)
        page.run(1)
        page.wait_pictures(PICTURE)
        return page

    return open_one


def look(page: Any, selector: str, key: str = "Enter") -> None:
    """Open a picture by the keyboard, and wait until it has come in full size."""
    page.js(FOCUS, selector)
    page.press(key)
    wait_large(page)


def wait_large(page: Any) -> None:
    page.wait_js("selector => document.querySelector(selector)?.src.startsWith('blob:')", STAGE)
    page.wait_pictures(STAGE)


def shoot(page: Any, shots: Path, name: str) -> None:
    for theme in ("Dark", "Light"):
        page.theme(theme)
        (shots / f"viewer-{name}-{theme.lower()}.png").write_bytes(page.screenshot())


def wait_text(page: Any, selector: str, text: str) -> None:
    page.wait_js(
        "([selector, text]) => document.querySelector(selector)?.textContent.includes(text)",
        [selector, text],
    )


def test_lightbox_is_a_dialog_for_keys(drawn: Callable[..., Any], shots: Path) -> None:
    """Enter opens it, F shows full size, Tab stays inside, Esc closes it and the focus is back."""
    page = drawn()
    small = page.js("selector => document.querySelector(selector).naturalWidth", PICTURE)
    look(page, PICTURE)
    assert page.js("selector => document.querySelector(selector).naturalWidth", STAGE) > small
    assert page.js("() => document.querySelector('dialog').matches(':modal')")
    shoot(page, shots, "lightbox")
    page.shown.do(lambda: page.page.set_viewport_size({"width": 600, "height": 800}))
    shoot(page, shots, "lightbox-600")
    found = page.shown.do(lambda: Axe().run(page.page, context=DIALOG).response["violations"])
    assert [each["id"] for each in found if each["impact"] in SERIOUS] == []
    assert max(page.js(RIGHT)) <= 600
    page.shown.do(lambda: page.page.set_viewport_size({"width": 1280, "height": 1000}))
    page.press("f")
    page.wait_for(f"{DIALOG}.mjci-full")
    page.press("-")
    page.wait_js("() => !document.querySelector('dialog.mjci-full')")
    for _ in range(30):
        page.press("Tab")
        assert page.js(INSIDE)
    page.press("Escape")
    page.wait_js("() => !document.querySelector('dialog')")
    assert page.js(FOCUSED, PICTURE)
    page.click(PICTURE)
    page.wait_for(DIALOG)


def test_stars_by_keys_stay_and_are_shown_again(drawn: Callable[..., Any]) -> None:
    """In the page and in the dialog; the notebook's own shortcuts of these keys do nothing."""
    page = drawn(RATINGS)
    before = page.js(CELLS)
    page.js(FOCUS, PICTURE)
    page.press("4")
    wait_text(page, ".mjci-live .mjci-card .mjci-stars", "★★★★☆")
    look(page, PICTURE, "Space")
    page.press("3")
    wait_text(page, f"{DIALOG} .mjci-viewer-status", "3 of 5 stars")
    page.fill(f"{DIALOG} input[aria-label=Tags]", "keeper, warm")
    page.press("Enter")
    wait_text(page, f"{DIALOG} .mjci-viewer-status", "Saved")
    page.press("Escape")
    page.run(2)
    assert "0, 3, 'keeper, warm', ''" in page.outputs(2)
    page.save()
    page.reload()
    wait_text(page, ".mjci-live .mjci-card .mjci-stars", "★★★☆☆")
    page.js(FOCUS, PICTURE)
    page.press("0")
    page.wait_js("() => !document.querySelector('.mjci-card .mjci-stars')")
    page.run(2)
    assert "0, None, 'keeper, warm', ''" in page.outputs(2).replace("<NA>", "None")
    assert page.js(CELLS) == before


def test_gallery_is_leafed_through_and_rated(drawn: Callable[..., Any], shots: Path) -> None:
    more = "s.mj.imagine('an owl').run()\nfor job in s.resume(): pass"
    page = drawn(more)
    page.run(2)
    page.click(".mjci-live .mjci-gallery button:has-text('Gallery')")
    page.wait_js("selector => document.querySelectorAll(selector).length === 2", TILE)
    page.js(FOCUS, TILE)
    page.press("5")
    wait_text(page, ".mjci-tile .mjci-stars", "★★★★★")
    page.scroll_to(TILE)
    shoot(page, shots, "gallery")
    look(page, TILE)
    first = page.text(f"{DIALOG} .mjci-viewer-title")
    page.press("ArrowRight")
    page.wait_js(
        "first => document.querySelector('.mjci-viewer-title').textContent !== first", first
    )
    page.press("ArrowLeft")
    wait_text(page, f"{DIALOG} .mjci-viewer-title", first)


def test_study_is_rated_by_keys(notebook: Callable[..., Any], shots: Path) -> None:
    """What wins is told at once, and the stars are there again after the page was loaded anew."""
    page = notebook(
        SESSION,
        "study = s.study('a {{animal}}', animal=['fox', 'owl']).run()\nmjci.panel(study)",
    )
    page.run(0)
    page.run(1)
    page.wait_js("selector => document.querySelectorAll(selector).length === 2", TILE)
    for index, key in enumerate(("2", "5")):
        page.js(NTH, [TILE, index])
        page.press(key)
    wait_text(page, ".mjci-tile:nth-child(2) .mjci-stars", "★★★★★")
    page.click(".mjci-live button:has-text('Which value wins')")
    wait_text(page, ".mjci-live .mjci-table", "owl")
    shoot(page, shots, "study")
    page.save()
    page.reload()
    wait_text(page, ".mjci-tile:nth-child(1) .mjci-stars", "★★☆☆☆")


def test_children_stand_beside_their_grid_and_are_compared_with_it(
    drawn: Callable[..., Any], shots: Path
) -> None:
    page = drawn()
    page.click(".mjci-live .mjci-actions button:has-text('U2')")
    page.wait_for(".mjci-breadcrumb button:has-text('› U2')")
    page.wait_for(".mjci-card .mjci-lineage figcaption:has-text('made of')")
    page.wait_pictures(PICTURE)
    look(page, PICTURE)
    wait_text(page, f"{DIALOG} .mjci-lineage", "made of")
    page.press("c")
    page.wait_for(f"{DIALOG} {SLIDER}")
    assert page.js(FOCUSED, f"{DIALOG} {SLIDER}")
    page.press("ArrowLeft")
    page.press("Home")
    page.press("ArrowRight")
    value = "() => document.querySelector('dialog [role=slider]').getAttribute('aria-valuetext')"
    assert page.js(value) == "2 % before, 98 % after"
    page.press("PageUp")
    shoot(page, shots, "compare")
    page.press("Escape")
    page.click(".mjci-breadcrumb button:has-text('Imagine')")
    page.wait_for(".mjci-card .mjci-lineage figcaption:has-text('U2')")
    page.click(".mjci-card .mjci-lineage img")
    wait_text(page, f"{DIALOG} .mjci-viewer-title", "UPSCALE")


def test_pictures_are_sent_to_the_forms_of_their_panel(drawn: Callable[..., Any]) -> None:
    """Describe takes the picture, which is submitted; a reference goes to the prompt's form."""
    page = drawn("[task.action for task in s.mj.tasks().run()]")
    look(page, PICTURE)
    page.click(f"{DIALOG} button:text-is('Describe')")
    page.wait_js("() => !document.querySelector('dialog')")
    page.click(".mjci-live .mjci-form button:text-is('Describe')")
    page.wait_for(".mjci-live .mjci-job-head:has(b:has-text('DESCRIBE')):has-text('succeeded')")
    page.wait_pictures(PICTURE)
    page.run(2)
    assert "DESCRIBE" in page.outputs(2)
    # A cell that has run takes the focus to the next one a moment later.
    page.click(PICTURE)
    wait_large(page)
    page.click(f"{DIALOG} button:text-is('Reference')")
    page.wait_for(".mjci-live textarea")
    page.wait_js(f"() => ({TEXTS})().some(text => /^[0-9]{{10,}}/.test(text))")


def test_prompt_flags_and_seed_are_used_again(drawn: Callable[..., Any]) -> None:
    page = drawn("panel.build_prompt(), panel.flags['--no'].value")
    page.fill(".mjci-live textarea", "something else")
    look(page, PICTURE)
    page.click(f"{DIALOG} button:text-is('Use again')")
    page.wait_js("() => document.querySelector('.mjci-live textarea').value === 'a red fox'")
    page.run(2)
    assert page.outputs(2) == "('a red fox --seed 7 --no wolves', 'wolves')"


def test_result_of_a_magic_becomes_the_next_cell(notebook: Callable[..., Any], shots: Path) -> None:
    """The saved outputs are the same as before; the new cells stand below and run."""
    page = notebook(MAGICS, "%mj_imagine a red fox -o fox", "'last'")
    page.run(0)
    page.run(1)
    page.wait_pictures(RESULT)
    saved = page.save().cells[1].outputs
    look(page, RESULT)
    shoot(page, shots, "cell")
    page.press("2")
    wait_text(page, ".jp-RenderedImage .mjci-stars", "★★☆☆☆")
    page.click(f"{DIALOG} button:text-is('Describe')")
    page.wait_js("() => !document.querySelector('dialog')")
    job = page.text(".mjci-job-head code")
    assert page.js(CELLS)[1:] == ["%mj_imagine a red fox -o fox", f"%mj_describe {job}", "'last'"]
    page.run(2)
    page.wait_for(".jp-Cell >> nth=2 >> .mjci-job:has-text('DESCRIBE')")
    page.click(".mjci-job-buttons button:has-text('Use again')")
    page.wait_js(f"() => ({CELLS})()[2] === '%mj_imagine a red fox'")
    assert page.save().cells[1].outputs == saved


def test_rule_preview_is_compared_in_place(notebook: Callable[..., Any], shots: Path) -> None:
    """The slider stays where it is while the rule changes; what the rule costs is told."""
    page = notebook(
        SESSION,
        "panel = mjci.panel('ci', session=s)\npanel.input.value = 'input/deer.jpg'\n"
        "panel.rule.value = 'imageMogr2/quality/20'\npanel.wait()\npanel",
        "panel.rule.value = 'imageMogr2/quality/60'\npanel.wait()",
    )
    page.run(0)
    page.run(1)
    toggle = ".mjci-rule-preview button:has-text('Compare')"
    page.click(toggle)
    page.js(FOCUS, f".mjci-rule-preview {SLIDER}")
    page.press("PageDown")
    assert page.js(PERCENT, IN_PLACE) == "40"
    before = page.js("selector => document.querySelector(`${selector} img + img`).src", IN_PLACE)
    wait_text(page, ".mjci-rule-preview", "SSIM 0.")
    page.scroll_to(".mjci-rule-preview")
    shoot(page, shots, "rule")
    page.run(2)
    page.wait_js(IS_NEW, [IN_PLACE, before])
    assert page.js(PERCENT, IN_PLACE) == "40"
    page.click(toggle)
    assert page.count(f".mjci-rule-preview {SLIDER}") == 0
