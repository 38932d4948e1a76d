"""Panels are readable: axe-core finds no serious violation, and nothing overflows a narrow page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.test_panels import CARD, IMAGINE, PICTURE, PROMPT, SESSION

SERIOUS = ("serious", "critical")
WORK = """
s.follow(s.mj.imagine("a red fox")).run()
s.follow(s.mj.imagine("a blue whale, forbidden")).run()
call = s.ci.picture_job(input="input/deer.jpg", rule="imageMogr2/rotate/90", output="t.jpg")
s.follow(call).run()
slow = s.mj.imagine("a slow tortoise")
"""
RULE = (
    "imageMogr2/thumbnail/!60p/rotate/45|watermark/2/text/bWpjaQ/fill/I0ZGRkZGRg|imageView2/2/w/300"
)
# Elements that are wider than their box, or reach out of the panel.
OVERFLOWING = """() => {
  const panel = document.querySelector('.mjci-live');
  const right = panel.getBoundingClientRect().right;
  return [...panel.querySelectorAll('*')].filter(element => {
    if (element.closest('.dt-container, .mjci-table, .mjci-json')) return false;
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.right > right + 1;
  }).map(element => element.outerHTML.slice(0, 160));
}"""


# Where a field stands below its label, its width must not become its height.
STRETCHED = """() => [...document.querySelectorAll('.mjci-live :is(select, input)')]
  .filter(field => field.getBoundingClientRect().height > 60)
  .map(field => field.outerHTML.slice(0, 160))"""


def fill_midjourney(page: Any) -> None:
    page.fill(PROMPT, "a red fox in deep snow")
    page.click(IMAGINE)
    page.wait_pictures(PICTURE)
    page.click(".mjci-live button:has-text('Gallery')")
    page.wait_for(".mjci-tile")
    page.click(".mjci-live button:has-text('More options')")


def fill_workbench(page: Any) -> None:
    page.wait_for(".mjci-live button:has-text('input/')")
    page.click(".mjci-live button:has-text('input/')")
    page.click(".mjci-tile button:has-text('lighthouse.png')")
    page.fill(".mjci-live textarea", RULE)
    page.wait_pictures(".mjci-rule-preview .mjci-after img")
    page.click(".mjci-live button:has-text('Process')")
    page.wait_pictures(f"{CARD} img")
    for name in ("Save as template…", "Run over a prefix…", "More options", "List jobs"):
        page.click(f".mjci-live button:has-text('{name}')")
    page.wait_for(".mjci-job-row")


def wait_rows(page: Any) -> None:
    page.wait_for(".mjci-live table.dataTable tbody tr")


FILL: dict[str, Callable[[Any], None]] = {
    "mj": fill_midjourney,
    "ci": fill_workbench,
    "history": wait_rows,
    "status": wait_rows,
}


def find_violations(page: Any) -> list[str]:
    """Run axe-core over the panel; return serious violations as text."""

    def work() -> Any:
        return Axe().run(page.page, context=".mjci-live").response["violations"]

    return [
        f"{violation['id']}: {node['html'][:160]} {node['failureSummary']}"
        for violation in page.shown.do(work)
        if violation["impact"] in SERIOUS
        for node in violation["nodes"]
    ]


@pytest.mark.parametrize("kind", FILL)
def test_panel_has_no_serious_violation_and_fits_600_px(
    notebook: Callable[..., Any], shots: Path, kind: str
) -> None:
    """In the light and the dark theme, wide and narrow."""
    page = notebook(
        SESSION.format(speed=500),
        f"{WORK}\nif {kind!r} == 'status': slow.run()",
        f"panel = mjci.panel({kind!r}, session=s)\npanel",
    )
    for cell in range(3):
        page.run(cell)
    FILL[kind](page)
    problems = []
    for theme in ("Dark", "Light"):
        page.theme(theme)
        for width in (1280, 600):
            resize(page, width, 3600)
            name = f"access-{kind}-{theme.lower()}-{width}.png"
            (shots / name).write_bytes(page.screenshot(".mjci-live"))
            problems += [f"{theme} {text}" for text in find_violations(page)]
            if width == 600:
                problems += [f"overflow {text}" for text in page.js(OVERFLOWING)]
                problems += [f"stretched {text}" for text in page.js(STRETCHED)]
    resize(page, 1280, 1000)
    (shots / f"access-{kind}.txt").write_text("\n".join(problems))
    assert problems == []


def resize(page: Any, width: int, height: int) -> None:
    page.shown.do(lambda: page.page.set_viewport_size({"width": width, "height": height}))
    page.wait_js("width => document.querySelector('.mjci-live').clientWidth < width", width)
