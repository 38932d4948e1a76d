"""Magics in a real JupyterLab: what a person sees while a cell waits, and what the saved file then
holds.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from PIL import Image, ImageChops, ImageStat

BEGIN = "%load_ext jupyter_mjci\n%mjci sandbox --speed {speed}"
CARD = ".jp-Cell .mjci-job"
BAR = f"{CARD} [role=progressbar]"
BADGE = f"{CARD} .mjci-job-badge"
PICTURE = ".jp-Cell .jp-RenderedImage img"


def outputs_of(notebook: nbformat.NotebookNode) -> list[list[dict[str, Any]]]:
    """What each cell saved, without the counts of executions."""
    return [
        [
            {name: value for name, value in output.items() if name != "execution_count"}
            for output in cell.outputs
        ]
        for cell in notebook.cells
    ]


def without_a_front_end(*sources: str) -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    return NotebookClient(
        nbformat.v4.new_notebook(cells=cells), timeout=60, kernel_name="python3"
    ).execute()


def test_progress_is_seen_then_the_picture(notebook: Callable[..., Any], shots: Path) -> None:
    """While the cell waits its card counts up; then the picture is there, in the colours that its
    bytes have; and the saved outputs are those of a run without a front end.
    """
    sources = (BEGIN.format(speed=12), "%mj_imagine a red fox", "%mj_tasks")
    page = notebook(*sources)
    page.watch_text(BADGE, "badges")
    page.run_all()
    page.wait_pictures(PICTURE)
    percents = [
        int(found[1]) for text in page.seen("badges") if (found := re.search(r"(\d+)%", text))
    ]
    assert len(set(percents)) >= 3
    assert percents == sorted(percents)
    assert page.count(BAR) == 0
    saved = page.save()
    for theme in ("Dark", "Light"):
        page.theme(theme)
        (shots / f"magic-{theme.lower()}.png").write_bytes(page.screenshot())
        assert difference(page.screenshot(PICTURE), picture_in(saved.cells[1])) < 8
    assert outputs_of(saved) == outputs_of(without_a_front_end(*sources))


def picture_in(cell: nbformat.NotebookNode) -> bytes:
    (found,) = (
        output.data[mime]
        for output in cell.outputs
        for mime in ("image/png", "image/jpeg")
        if mime in output.data
    )
    return base64.b64decode(found)


def difference(one: bytes, other: bytes) -> float:
    """How far apart two pictures' colours are on the whole, 0 to 255, whatever their sizes."""
    small = [
        Image.open(io.BytesIO(content)).convert("RGB").resize((48, 48)) for content in (one, other)
    ]
    return max(ImageStat.Stat(ImageChops.difference(*small)).mean)


def test_the_difference_tells_pictures_apart() -> None:
    """Two plain colours are far apart, the same one in two sizes is not."""

    def plain(colour: str, side: int) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (side, side), colour).save(file, "PNG")
        return file.getvalue()

    assert difference(plain("red", 50), plain("red", 200)) == 0
    assert difference(plain("red", 50), plain("blue", 50)) == 255


def test_run_all_keeps_every_queued_cell(notebook: Callable[..., Any]) -> None:
    """Cells that are queued behind one that waits all run, in their order, each once."""
    page = notebook(
        BEGIN.format(speed=20),
        "ran = []",
        "%mj_imagine -o job a red fox",
        "ran.append(job.status.value)",
        "%mj_action job U1",
        "ran.append('last'); print(*ran)",
    )
    page.run_all()
    assert page.prompts() == [f"[{n}]:" for n in range(1, 7)]
    assert page.outputs(5) == "SUCCEEDED last"


@pytest.mark.parametrize("by", ["toolbar", "keyboard"])
def test_an_interrupt_ends_the_wait_and_names_the_job(
    notebook: Callable[..., Any], by: str
) -> None:
    """The cell ends at once, tells the job's id and how to wait again; queued cells do not run; the
    job goes on.
    """
    page = notebook(
        BEGIN.format(speed=1), "%mj_imagine a red fox", "print('not reached')", "%mj_queue"
    )
    page.run(0)
    page.js("() => { jupyterapp.shell.currentWidget.content.activeCellIndex = 1; }")
    page.command("notebook:run-all-below")
    page.wait_for(CARD)
    if by == "toolbar":
        page.click("[data-command='notebook:interrupt-kernel']")
    else:
        page.click(".jp-Cell >> nth=1 >> .jp-InputArea-prompt")
        page.press("i")
        page.press("i")
    page.wait_for(".jp-Cell >> nth=1 >> text=Interrupted")
    page.wait_cell(1)
    page.run(3)
    assert page.prompts()[2] == "[ ]:"
    task = page.text(f"{CARD} code")
    assert f"%mj_task {task}" in page.outputs(1)
    assert task in page.outputs(3)


def test_buttons_under_a_card_submit_once_and_are_not_saved(
    notebook: Callable[..., Any], shots: Path
) -> None:
    """A card's names become buttons; a click is acknowledged at once, and disables them until it is
    answered; its job appears below, with buttons of its own.
    """
    sources = (BEGIN.format(speed=200), "%mj_imagine a red fox", "%mj_tasks")
    page = notebook(*sources)
    page.run_all()
    first = ".mjci-job-buttons button:text-is('U1')"
    page.wait_for(first)
    before = page.save()
    page.double_click(first)
    page.wait_for(".mjci-job-answers .mjci-job-buttons")
    for theme in ("Dark", "Light"):
        page.theme(theme)
        (shots / f"card-buttons-{theme.lower()}.png").write_bytes(page.screenshot())
    assert page.count(".mjci-job-answers > *") == 1
    assert page.download(".mjci-job-answers button:text-is('Download')")[:2] in (
        b"\xff\xd8",
        b"\x89P",
    )
    assert outputs_of(page.save()) == outputs_of(before)
    assert outputs_of(before) == outputs_of(without_a_front_end(*sources))
