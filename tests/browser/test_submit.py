"""Forms submit what the page shows, typed key by key, while a cell runs and while none does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.browser.test_panels import BUSY, CARD, IMAGINE, MOVE, PICTURE, PROMPT, SESSION

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


def test_ctrl_enter_submits_and_keeps_the_focus(open_panel: Callable[..., Any]) -> None:
    """Ctrl+Enter in the prompt submits it, and typing goes on in the same place; the same from a
    slider's number, which is taken over.
    """
    page = open_panel("mj", SUBJECTS)
    type_text(page, PROMPT, "a red fox", 0)
    page.press("Control+Enter")
    page.wait_for(f"{CARD} >> text=a red fox")
    page.shown.do(lambda: page.page.keyboard.type(" at night", delay=5))
    page.wait_for(f"{IMAGINE}:enabled")
    page.press("Control+Enter")
    page.wait_for(f"{CARD} >> text=a red fox at night")
    page.wait_for(f"{IMAGINE}:enabled")
    type_text(page, ".mjci-flags .widget-slider:has-text('Stylize') .widget-readout", "250", 5)
    page.press("Control+Enter")
    page.wait_for(f"{CARD} >> text=--stylize 250")
    go(page)
    page.run(2)
    page.run(3)
    assert page.outputs(3) == str(
        ["a red fox at night --stylize 250", "a red fox at night", "a red fox"]
    )


def test_number_typed_beside_a_slider_is_submitted(open_panel: Callable[..., Any]) -> None:
    """It is taken over when the field is left, by a click on the button as well."""
    page = open_panel("mj", SUBJECTS)
    type_text(page, PROMPT, "a red fox", 0)
    block(page)
    type_text(page, ".mjci-flags .widget-slider:has-text('Chaos') .widget-readout", "35", 20)
    page.click(IMAGINE)
    page.wait_for(QUEUED)
    go(page)
    page.wait_cell(2)
    page.wait_pictures(PICTURE)
    page.run(3)
    assert page.outputs(3) == "['a red fox --chaos 35']"


def test_dialog_is_answered_as_typed(open_panel: Callable[..., Any]) -> None:
    """The prompt of Custom Zoom, replaced while a cell runs, reaches the service whole."""
    page = open_panel("mj", "s.mj.tasks().run()[0].subject")
    type_text(page, PROMPT, "a red fox", 0)
    page.click(IMAGINE)
    page.click(MOVE.format("U1"))
    page.click(MOVE.format("Custom Zoom"))
    page.wait_for(ANSWER)
    block(page)
    type_text(page, f"{CARD} textarea", "a red fox on a hill --zoom 1.5", 20)
    page.press("Control+Enter")
    page.wait_for(QUEUED)
    assert page.js("() => document.activeElement.tagName") == "TEXTAREA"
    go(page)
    page.wait_cell(2)
    page.wait_for(ANSWER, state="hidden")
    page.wait_pictures(PICTURE)
    page.run(3)
    assert page.outputs(3) == "'a red fox on a hill --zoom 1.5'"


ANSWER = ".mjci-live button:has-text('Answer')"
RULE = ".mjci-live textarea[placeholder]"
LAST_RULE = """job = s.ci.jobs(limit=1).run()[0]
print(job.raw["Operation"]["PicProcess"]["ProcessRule"], job.subject)"""


def field(label: str) -> str:
    """Return the selector of a text field of the form."""
    return f".mjci-live .widget-text:has(label:text-is('{label}')) input"


def test_workbench_submits_the_last_change_of_text_and_sliders(
    open_panel: Callable[..., Any],
) -> None:
    """While a cell runs, text and sliders cannot follow each other; what was changed last wins,
    and every field is sent as shown.
    """
    page = open_panel("ci", LAST_RULE)
    page.wait_for(".mjci-live button:has-text('input/')")
    type_text(page, RULE, "imageMogr2/rotate/90", 0)
    page.wait_for(ROTATE)
    block(page)
    type_text(page, field("Input"), "input/deer.jpg", 10)
    type_text(page, RULE, "imageMogr2/rotate/120", 10)
    type_text(page, ROTATE, "45", 10)
    page.click(PROCESS)
    go(page)
    page.wait_cell(2)
    page.wait_pictures(f"{CARD} img")
    page.run(3)
    assert page.outputs(3) == "imageMogr2/rotate/45 input/deer.jpg"
    page.wait_for(f"{PROCESS}:enabled")
    block(page)
    type_text(page, ROTATE, "10", 10)
    type_text(page, RULE, "imageMogr2/rotate/200", 10)
    page.click(PROCESS)
    go(page)
    page.wait_cell(2)
    page.wait_for(f"{CARD} >> nth=1")
    page.wait_for(f"{PROCESS}:enabled")
    for _ in range(10):  # the list may show the job a moment after its card
        page.run(3)
        if "rotate/200" in page.outputs(3):
            break
    assert page.outputs(3) == "imageMogr2/rotate/200 input/deer.jpg"
    assert page.js("() => document.querySelector('.mjci-live textarea').value").endswith("200")


PROCESS = ".mjci-live button:has-text('Process')"
ROTATE = ".mjci-block .widget-slider:has-text('Rotate') .widget-readout"


def test_template_and_batch_are_submitted_as_typed(open_panel: Callable[..., Any]) -> None:
    """Their own fields and the rule above them, typed while a cell runs. Ctrl+Enter submits the
    innermost form.
    """
    page = open_panel("ci", RECEIVED)
    page.wait_for(".mjci-live button:has-text('input/')")
    page.click(".mjci-live button:has-text('Save as template…')")
    page.click(".mjci-live button:has-text('Run over a prefix…')")
    inset = ".mjci-inset:has(button:has-text('{}')) .widget-text:has(label:text-is('{}')) input"
    block(page)
    type_text(page, RULE, "imageMogr2/rotate/90", 10)
    type_text(page, inset.format("Save template", "Name"), "quarter_turn", 10)
    page.press("Control+Enter")
    page.wait_for(QUEUED)
    type_text(page, inset.format("Run over", "Name"), "nightly", 10)
    type_text(page, inset.format("Run over", "Prefix"), "input/", 10)
    page.click(".mjci-live button:has-text('Run over the prefix')")
    go(page)
    page.wait_cell(2)
    page.wait_for(f"{CARD} .mjci-succeeded")
    page.run(3)
    saved, batch = page.outputs(3).splitlines()
    assert saved == "quarter_turn imageMogr2/rotate/90"
    assert batch == "nightly input/ imageMogr2/rotate/90"


RECEIVED = """template = [t for t in s.ci.templates().run() if t["Name"] != "test"][0]
print(template["Name"], template["PicProcess"]["ProcessRule"])
batch, = s.ci.batches().run()
rule = batch.raw["Operation"]["JobParam"]["PicProcess"]["ProcessRule"]
print(batch.raw["Name"], batch.raw["Input"]["Prefix"], rule)"""


def test_uploads_chosen_while_a_cell_runs_are_submitted(
    open_panel: Callable[..., Any], tmp_path: Path
) -> None:
    """The pictures that the page counts are sent, not the one that was chosen before them."""
    page = open_panel("mj", "from PIL import Image; import io", SIZES)
    paths = [tmp_path / name for name in ("first.png", "second.png", "third.png")]
    for number, path in enumerate(paths, 1):
        Image.new("RGB", (100 * number, 200), "red").save(path)
    block(page)
    type_text(page, PROMPT, "a red fox", 0)
    for chosen in (paths[:1], paths[1:]):
        choose_files(page, UPLOAD, chosen)
        page.wait_for(f"{UPLOAD}:has-text('({len(chosen)})')")
    page.click(IMAGINE)
    go(page)
    page.wait_cell(2)
    page.wait_pictures(PICTURE)
    page.run(3)
    page.run(4)
    assert page.outputs(4) == "[200, 300]"


UPLOAD = ".mjci-form .widget-upload"
SIZES = """contents = panel.fields.fields['images'].read()
[Image.open(io.BytesIO(content)).width for content in contents]"""


def choose_files(page: Any, chooser: str, paths: list[Path]) -> None:
    def work() -> None:
        with page.page.expect_file_chooser() as opened:
            page.page.locator(chooser).first.click()
        opened.value.set_files(paths)

    page.shown.do(work)


def test_filters_typed_while_a_cell_runs_find_the_whole_text(
    open_panel: Callable[..., Any],
) -> None:
    """The gallery is listed with the filter that the page shows."""
    page = open_panel(
        "mj", "for subject in ('a red fox', 'a red barn'):\n    s.mj.imagine(subject).run()"
    )
    page.run(3)
    block(page)
    type_text(page, ".mjci-gallery input[type=text]", "barn", 20)
    page.press("Control+Enter")
    page.wait_for(f".mjci-gallery {QUEUED}")
    go(page)
    page.wait_cell(2)
    page.wait_for(".mjci-tile")
    assert page.texts(".mjci-tile button") == ["Imagine: a red barn"]


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_prompt_is_submitted_as_typed_without_anywidget(
    notebook: Callable[..., Any], busy: bool
) -> None:
    """A plain button waits until the page has sent all changes."""
    missing = "import sys\nsys.modules['jupyter_mjci.notebook.panels.browser_widgets'] = None\n"
    source = missing + "panel = mjci.panel('mj', session=s)\npanel"
    page = notebook(SESSION.format(speed=200), source, BLOCK, SUBJECTS)
    page.run(0)
    page.run(1)
    if busy:
        block(page)
    type_text(page, PROMPT, WORDS, 20)
    page.double_click(IMAGINE)
    if busy:
        go(page)
        page.wait_cell(2)
    page.wait_pictures(PICTURE)
    page.run(3)
    assert page.outputs(3) == str([WORDS])
