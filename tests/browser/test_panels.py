"""Panels in a real JupyterLab: a person's clicks, and what they then see."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbconvert import HTMLExporter

SESSION = "import jupyter_mjci as mjci\ns = mjci.sandbox(speed={speed})"
PROMPT = ".mjci-live textarea"
IMAGINE = ".mjci-live button:has-text('Imagine')"
PICTURE = ".mjci-live .mjci-pictures:not(.mjci-preview) img"
BAR = ".mjci-live [role=progressbar]"
MOVE = ".mjci-live .mjci-actions button:has-text('{}')"
CARD = ".mjci-live .mjci-card"


@pytest.fixture
def imagine(notebook: Callable[..., Any]) -> Callable[..., Any]:
    """`imagine(…)`: a notebook whose second cell shows a Midjourney panel, with a prompt typed
    in.
    """

    def open_one(*more: str, speed: float = 30) -> Any:
        page = notebook(
            SESSION.format(speed=speed), "panel = mjci.panel('mj', session=s)\npanel", *more
        )
        page.run(0)
        page.run(1)
        page.fill(PROMPT, "a red fox")
        return page

    return open_one


def source(page: Any) -> str:
    return str(page.js("selector => document.querySelector(selector).src", PICTURE))


def shoot(page: Any, shots: Path, name: str) -> None:
    for theme in ("Dark", "Light"):
        page.theme(theme)
        (shots / f"{name}-{theme.lower()}.png").write_bytes(page.screenshot())


def test_imagine_then_upscale_stays_in_one_card(imagine: Callable[..., Any], shots: Path) -> None:
    """The bar moves, the picture comes, U2 makes a second one in the same card; meanwhile the
    kernel runs cells.
    """
    page = imagine("6 * 7", speed=15)
    page.watch_text(BAR, "bars")
    page.click(IMAGINE)
    page.wait_for(BAR)
    page.run(2)
    assert page.outputs(2) == "42"
    assert page.count(PICTURE) == 0
    page.wait_pictures(PICTURE)
    assert len(set(page.seen("bars"))) >= 3
    shoot(page, shots, "panel-imagined")
    first = source(page)
    page.click(MOVE.format("U2"))
    page.wait_for(".mjci-breadcrumb button:has-text('› U2')")
    page.wait_for(MOVE.format("Zoom Out 2x"))
    page.wait_pictures(PICTURE)
    assert source(page) != first
    assert page.count(CARD) == 1
    page.scroll_to(".mjci-live .mjci-actions")
    shoot(page, shots, "panel-upscaled")


PLACE = """selector => {
  const button = document.querySelector(selector);
  return button.getBoundingClientRect().top
    - button.parentNode.parentNode.getBoundingClientRect().top;
}"""


def test_job_buttons_appear_in_their_place_and_not_under_a_click(
    imagine: Callable[..., Any],
) -> None:
    """They cost money: no picture that comes later moves them, and a click that was meant for what
    was there before they appeared presses none.
    """
    page = imagine("[task.action for task in s.mj.tasks().run()]", speed=60)
    first = MOVE.replace(":has-text('{}')", "")
    page.watch_appearance(first)
    page.click(IMAGINE)
    was_met, top = page.appeared()
    assert not was_met
    page.wait_pictures(PICTURE)
    assert page.js(PLACE, first) == top
    page.click(MOVE.format("U2"))  # a moment later, a click is a click
    page.wait_for(".mjci-breadcrumb button:has-text('› U2')")
    page.run(2)
    assert page.outputs(2) == "['UPSCALE', 'IMAGINE']"


def test_double_click_submits_once(imagine: Callable[..., Any]) -> None:
    """The second click of a double click is not heard; a later click is."""
    page = imagine("[task.subject for task in s.mj.tasks().run()]")
    page.double_click(IMAGINE)
    page.wait_pictures(PICTURE)
    page.run(2)
    assert page.outputs(2) == "['a red fox']"
    page.fill(PROMPT, "a blue whale")
    page.click(IMAGINE)
    page.wait_js("selector => document.querySelectorAll(selector).length === 2", PICTURE)
    page.run(2)
    assert page.outputs(2) == "['a blue whale', 'a red fox']"


BLOCK = """
import time
started = time.monotonic()
while {waiting} and time.monotonic() - started < {patience}:
    time.sleep(0.05)
print("not yet" if {waiting} else "heard")
"""
BUSY = "() => jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'busy'"


def test_input_while_a_cell_runs_is_handled_in_order_afterwards(
    imagine: Callable[..., Any],
) -> None:
    """It happens when the cell has ended, and the click does not overtake what was typed."""
    page = imagine(BLOCK.format(waiting="not panel.cards.children", patience=2))
    page.run(2, wait=False)
    page.wait_js(BUSY)
    page.fill(PROMPT, "a fox in a hurry")
    page.click(IMAGINE)
    page.wait_cell(2)
    page.wait_pictures(PICTURE)
    assert page.texts(".mjci-live .mjci-job-subject") == ["a fox in a hurry"]


def test_card_button_works_while_a_cell_runs(imagine: Callable[..., Any]) -> None:
    """A card's buttons do not wait for the cell to end."""
    page = imagine(BLOCK.format(waiting="len(s.mj.tasks().run()) < 2", patience=20))
    page.click(IMAGINE)
    page.wait_pictures(PICTURE)
    page.run(2, wait=False)
    page.wait_js(BUSY)
    page.click(MOVE.format("U2"))
    page.wait_cell(2)
    assert page.outputs(2) == "heard"
    page.wait_for(".mjci-breadcrumb button:has-text('› U2')")


def test_panel_is_usable_by_keyboard(imagine: Callable[..., Any]) -> None:
    """From the prompt, Tab leads to Imagine and on to the card's buttons; Space presses them."""
    page = imagine()
    page.js("selector => document.querySelector(selector).focus()", PROMPT)
    tab_to(page, "Imagine")
    page.press("Space")
    page.wait_for(MOVE.format("U1"))
    page.wait_pictures(PICTURE)
    tab_to(page, "U1")
    page.press("Space")
    page.wait_for(".mjci-breadcrumb button:has-text('› U1')")


def tab_to(page: Any, name: str) -> None:
    for _ in range(40):
        page.press("Tab")
        if page.js("() => document.activeElement.textContent.trim()") == name:
            return
    raise AssertionError(f"Tab does not lead to {name}")


def test_fields_and_pictures_have_accessible_names(imagine: Callable[..., Any]) -> None:
    """Whatever a person can use or see has a label, a text or a description."""
    page = imagine()
    page.click(IMAGINE)
    page.wait_pictures(PICTURE)
    page.click(".mjci-live button:has-text('More options')")
    page.wait_for(".mjci-live label:has-text('Notify hook')")
    assert page.js(_NAMELESS) == []


_NAMELESS = """() => [...document.querySelectorAll(
    '.mjci-live :is(button, select, textarea, img, input:not([type=file]))')]
  .filter(field => !(field.labels && [...field.labels].some(label => label.textContent.trim()))
    && !field.textContent.trim() && !field.getAttribute('alt') && !field.getAttribute('aria-label'))
  .map(field => field.outerHTML.slice(0, 200))"""


def test_saved_notebook_shows_prompt_status_and_picture(
    imagine: Callable[..., Any], shots: Path
) -> None:
    """The saved file, converted to HTML without a kernel, shows prompt, state and picture; the live
    page hides that record. After a reload the panel lives on, with the picture it had.
    """
    page = imagine()
    page.click(IMAGINE)
    page.wait_pictures(PICTURE)
    task = page.text(".mjci-live .mjci-job-head code")
    assert (
        page.js(
            "() => getComputedStyle(document.querySelector('.mjci-snapshot')"
            ".closest('.jp-OutputArea-child')).display"
        )
        == "none"
    )
    page.wait_js(
        "() => !!document.querySelector('.mjci-snapshot img')"
    )  # it follows the live card by a message
    saved = page.save()
    converted, _ = HTMLExporter().from_notebook_node(nbformat.from_dict(saved))
    (shots / "panel-saved.html").write_text(converted)
    record = converted[converted.index("mjci-snapshot") :]
    for word in ("a red fox", task, "succeeded", 'src="data:image/jpeg;base64,'):
        assert word in record
    page.reload()
    page.wait_pictures(PICTURE)
    assert page.text(".mjci-live .mjci-job-subject") == "a red fox"
    page.click(MOVE.format("V3"))
    page.wait_for(".mjci-breadcrumb button:has-text('› V3')")


def test_cell_run_again_closes_its_previous_panel(imagine: Callable[..., Any]) -> None:
    """The panel of the cell's last run is closed, also when its job is still under way; the job
    goes on.
    """
    again = "old = panel"
    page = imagine(
        again,
        "print(old.count_pending(), old.comm, panel.count_pending(), len(s.mj.tasks().run()))",
        speed=0.1,
    )
    page.click(IMAGINE)
    page.wait_for(CARD)
    page.run(2)
    page.run(1)
    page.run(3)
    assert page.outputs(3) == "0 None 0 1"


def test_panel_shown_twice_stays_in_sync(imagine: Callable[..., Any]) -> None:
    """Two views of one panel show the same, and a click in the second is seen in the first."""
    page = imagine("panel")
    page.run(2)
    page.wait_js("() => document.querySelectorAll('.mjci-live textarea').length === 2")
    assert page.js("() => document.querySelectorAll('.mjci-live textarea')[1].value") == "a red fox"
    page.click(".jp-Cell >> nth=2 >> button:has-text('Imagine')")
    page.wait_js("selector => document.querySelectorAll(selector).length === 2", PICTURE)
