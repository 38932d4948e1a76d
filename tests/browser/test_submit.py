"""Forms submit what the page shows, typed key by key, while a cell runs and while none does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser.test_panels import BUSY, CARD, IMAGINE, PICTURE, PROMPT, SESSION

WORDS = "a red fox in deep snow, seen from far above"
QUEUED = ".mjci-submit-note:has-text('queued: the kernel is busy')"
# Blocks the kernel until the test has seen what it waits for.
BLOCK = """
import time, pathlib
while not pathlib.Path("go").exists():
    time.sleep(0.02)
pathlib.Path("go").unlink()
"""
SUBJECTS = "[task.subject for task in s.mj.tasks().run()]"


def type_text(page: Any, selector: str, text: str, delay: float) -> None:
    """Type key by key into a field that is empty or replaced."""
    page.click(selector)
    page.press("Control+a")
    page.shown.do(lambda: page.page.keyboard.type(text, delay=delay))


def is_disabled(page: Any, selector: str) -> bool:
    return bool(page.shown.do(page.page.locator(selector).first.is_disabled))


def go(page: Any) -> None:
    """End the blocking cell."""
    (page.lab.root / "go").touch()


@pytest.fixture
def open_panel(notebook: Callable[..., Any]) -> Callable[..., Any]:
    """`open_panel(kind, …)`: a panel in cell 1, a blocking cell 2, further cells."""

    def open_kind(kind: str, *more: str, speed: float = 200) -> Any:
        source = f"panel = mjci.panel({kind!r}, session=s)\npanel"
        page = notebook(SESSION.format(speed=speed), source, BLOCK, *more)
        page.run(0)
        page.run(1)
        return page

    return open_kind


def block(page: Any) -> None:
    page.run(2, wait=False)
    page.wait_js(BUSY)


@pytest.mark.parametrize("delay", [0, 20])
@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
@pytest.mark.parametrize("notebook", ["lab", "notebook 7"], indirect=True)
def test_prompt_is_submitted_as_typed(
    open_panel: Callable[..., Any], busy: bool, delay: float
) -> None:
    """The service receives the whole prompt once; a click while a cell runs is acknowledged at
    once, and its button is disabled until it is answered.
    """
    page = open_panel("mj", SUBJECTS)
    if busy:
        block(page)
    type_text(page, PROMPT, WORDS, delay)
    page.double_click(IMAGINE)
    if busy:
        page.wait_for(QUEUED)
        assert is_disabled(page, IMAGINE)
        assert page.count(CARD) == 0
        go(page)
        page.wait_cell(2)
    page.wait_pictures(PICTURE)
    page.wait_for(f"{IMAGINE}:enabled")
    assert page.count(QUEUED) == 0
    page.run(3)
    assert page.outputs(3) == str([WORDS])
