"""`language = "auto"`: a page shows labels in its browser's language, and saves English."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.browser.conftest import Chromium, Lab, Page

SESSION = "%load_ext jupyter_mjci\nimport jupyter_mjci as mjci\n%mjci sandbox --speed 1e6"
PROMPT = ".mjci-live textarea"
BUTTON = ".mjci-live .mjci-submit"
MORE = ("%mj_imagine a red fox", "history = mjci.panel('history')\nhistory")
CHINESE = re.compile("[\u4e00-\u9fff]")


@pytest.fixture
def open_page(
    chromium: str, lab: Lab, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Page]]:
    """`open_page(locale, source, …)`: a notebook in a browser of this locale."""
    browsers: list[Chromium] = []

    def open_one(locale: str, *sources: str) -> Page:
        browsers.append(Chromium(chromium, locale=locale))
        path = lab.write(re.sub(r"\W", "-", request.node.name), sources)
        return Page(browsers[-1], lab, path).open()

    yield open_one
    for browser in browsers:
        browser.close()
    lab.end_kernels()


def test_browser_set_to_chinese_shows_chinese_labels_and_saves_english(
    open_page: Callable[..., Page],
) -> None:
    """Also what is shown later; what a person has typed is sent as it is."""
    page = open_page("zh-CN", SESSION, "panel = mjci.panel('mj')\npanel", *MORE)
    page.run(0)
    page.run(1)
    page.wait_for(f"{BUTTON}:has-text('绘图')")
    page.fill(PROMPT, "failed")
    page.wait_for(".mjci-live .mjci-sent:has-text('将发送: failed')")
    page.click(".mjci-live button:has-text('更多选项')")
    options = page.texts(".mjci-fold option")
    assert [text for text in options if text[0].islower() and " " in text] == []
    page.click(BUTTON)
    page.wait_for(".mjci-live .mjci-card :has-text('成功')")
    page.wait_for(".mjci-live .mjci-job-subject:has-text('failed')")
    page.wait_for(".mjci-live .mjci-card button:has-text('下载')")
    page.run(2)
    page.wait_for(".mjci-job-buttons button:has-text('下载')")
    page.run(3)
    page.wait_for("td:has-text('成功')")
    assert page.count("td:has-text('failed')") > 0
    assert page.count("td:has-text('失败')") == 0
    saved = str([cell.get("outputs") for cell in page.save().cells])
    assert "succeeded" in saved
    assert not CHINESE.search(saved)


def test_browser_set_to_english_shows_english_labels(open_page: Callable[..., Page]) -> None:
    page = open_page("en-US", SESSION, "panel = mjci.panel('mj')\npanel", "%mj_imagine a red fox")
    page.run(0)
    page.run(1)
    page.run(2)
    page.wait_for(".mjci-job-buttons button:has-text('Download')")
    assert not CHINESE.search("".join(page.texts(".mjci-panel, .mjci-job")))


@pytest.mark.parametrize(("language", "label"), [("en", "Imagine"), ("zh", "绘图")])
def test_language_that_is_set_holds_whatever_the_browser(
    open_page: Callable[..., Page], language: str, label: str
) -> None:
    locale = {"en": "zh-CN", "zh": "en-US"}[language]
    source = f"{SESSION}\n%config MJCI.language = '{language}'"
    page = open_page(locale, source, "panel = mjci.panel('mj')\npanel", "1")
    page.run(0)
    page.run(1)
    page.wait_for(f"{BUTTON}:has-text('{label}')")
    page.run(2)
    assert page.count(f"{BUTTON}:has-text('{label}')") == 1
