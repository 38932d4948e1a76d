"""The history and status panels in a real JupyterLab."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.test_panels import BUSY, SESSION, shoot
from tests.browser.test_submit import BLOCK, QUEUED, go

WORK = """
for call in (s.mj.imagine("a red fox"), s.mj.imagine("a <b>blue</b> whale"),
             s.ci.picture_job(input="input/deer.jpg", rule="imageMogr2/rotate/90", output="t.jpg")):
    s.follow(call).run()
"""
ROW = ".mjci-live table.dataTable tbody tr"


@pytest.mark.parametrize("notebook", ["lab", "notebook 7"], indirect=True)
def test_selected_rows_arrive_in_python(notebook: Callable[..., Any], shots: Path) -> None:
    """A click on rows selects them: their pictures come, and `panel.selected` is their frame."""
    page = notebook(
        SESSION.format(speed=1000),
        WORK,
        "panel = mjci.panel('history', session=s)\npanel",
        "list(panel.selected['subject'])",
    )
    for cell in range(3):
        page.run(cell)
    page.wait_for(f"{ROW}:has-text('a <b>blue</b> whale')")
    page.wait_pictures(".mjci-live .mjci-pictures img")
    page.click(f"{ROW}:has-text('whale')")
    page.wait_js("() => document.querySelectorAll('.mjci-live .mjci-pictures img').length === 2")
    shoot(page, shots, "panel-history")
    page.run(3)
    assert page.outputs(3) == "['a <b>blue</b> whale']"
    page.fill(".mjci-live input[placeholder*='any text']", "fox")
    page.wait_js("selector => document.querySelectorAll(selector).length === 1", ROW)
    page.run(3)
    assert page.outputs(3) == "['a red fox']"


def test_status_panel_follows_a_job_of_another_cell(
    notebook: Callable[..., Any], shots: Path
) -> None:
    """The status panel shows a job of a later cell while it moves, and that it has ended, by
    itself.
    """
    page = notebook(
        SESSION.format(speed=10),
        "panel = mjci.panel('status', session=s)\npanel",
        "job = s.mj.imagine('a red fox').run()",
        "done = s.follow(job).run()",
    )
    page.run(0)
    page.run(1)
    page.wait_for(".mjci-live :text('Nothing is in flight.')")
    page.run(2)
    page.wait_for(f"{ROW}:has-text('a red fox')")
    shoot(page, shots, "panel-status")
    page.run(3)
    page.wait_for(".mjci-live :text('Nothing is in flight.')")


def test_selected_jobs_are_cancelled_while_a_cell_runs(notebook: Callable[..., Any]) -> None:
    """Two of three rows, selected and cancelled with clicks that the kernel hears later."""
    page = notebook(
        SESSION.format(speed=1),
        "panel = mjci.panel('status', session=s)\npanel",
        "for name in ('fox', 'whale', 'frog'):\n    s.mj.imagine(name).run()",
        BLOCK,
        "[task.subject for task in s.mj.tasks().run() if task.status.value == 'CANCELLED']",
    )
    for cell in range(3):
        page.run(cell)
    page.wait_js("selector => document.querySelectorAll(selector).length === 3", ROW)
    page.run(3, wait=False)
    page.wait_js(BUSY)
    page.click(f"{ROW}:has-text('frog')")
    page.shown.do(
        lambda: page.page.locator(f"{ROW}:has-text('fox')").first.click(modifiers=["Control"])
    )
    page.click(".mjci-live button:has-text('Cancel jobs')")
    page.wait_for(QUEUED)
    go(page)
    page.wait_cell(3)
    page.wait_for(".mjci-live .mjci-note:has-text('2 of 2 jobs')")
    page.run(4)
    assert sorted(ast.literal_eval(page.outputs(4))) == ["fox", "frog"]
