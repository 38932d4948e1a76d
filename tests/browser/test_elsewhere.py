"""Outside JupyterLab: the panels as an app of Voila and in Notebook 7, notebooks as pages of
nbconvert.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import _IDLE, Chromium, serving
from tests.execute_notebooks import copy_notebook

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
# what is typed, and the flag that the notebook has set in the form
SECOND_PROMPT = "a second fox in the rain --ar 3:2"
IMAGINE = ".mjci-live button:has-text('Imagine')"


@pytest.fixture
def page(browser: Chromium) -> Iterator[Any]:
    """A bare page; `page.asked` has the address of every request that it makes."""
    shown = browser.do(browser.context.new_page)
    shown.asked = []
    browser.do(lambda: shown.on("request", lambda asked: shown.asked.append(asked.url)))
    yield shown
    browser.do(shown.close)


def test_voila_serves_the_notebook_as_an_app(
    browser: Chromium, page: Any, tmp_path: Path, shots: Path
) -> None:
    """All panels are there without the code; a click on Imagine draws a second fox."""
    shutil.copy(NOTEBOOKS / "02-panels.ipynb", tmp_path)
    command = [
        "-m",
        "voila",
        str(tmp_path / "02-panels.ipynb"),
        "--no-browser",
        "--Voila.ip=127.0.0.1",
    ]
    with serving(tmp_path, command, "/voila/static/none") as url:

        def visit() -> None:
            page.route(
                "**/cdn.jsdelivr.net/**", lambda way: way.abort()
            )  # icons that Voila's own template asks for
            page.goto(url)
            page.locator(".mjci-live").nth(3).wait_for()
            page.wait_for_function(_LOADED, arg=".mjci-live .mjci-card img")
            page.locator(".mjci-live textarea").first.click()
            page.keyboard.press("Control+a")
            page.keyboard.type("a second fox in the rain", delay=0)
            page.keyboard.press("Control+Enter")
            page.wait_for_function(_TWICE)
            page.wait_for_function(_LOADED, arg=".mjci-live .mjci-card img")
            # The notebook used the first picture again, seed included.
            assert page.locator(".mjci-job-subject").first.inner_text().startswith(SECOND_PROMPT)

        browser.do(visit)
        (shots / "voila.png").write_bytes(browser.do(lambda: page.screenshot(full_page=True)))
        assert "draw.submit" not in browser.do(page.content)
    away = [asked for asked in page.asked if not asked.startswith((url, "data:", "blob:"))]
    assert [asked for asked in away if "fontawesome" not in asked] == []


def test_notebook_7_shows_and_runs_a_panel(
    browser: Chromium, page: Any, tmp_path: Path, shots: Path
) -> None:
    """Run All, a click, a picture."""
    command = [
        "-m",
        "notebook",
        "--no-browser",
        "--ip=127.0.0.1",
        f"--ServerApp.root_dir={tmp_path}",
        *OPEN,
    ]
    place = tmp_path
    shutil.copy(NOTEBOOKS / "02-panels.ipynb", place)
    with serving(tmp_path, command) as url:

        def visit() -> None:
            page.goto(f"{url}/notebooks/02-panels.ipynb")
            page.locator(".jp-Notebook .jp-Cell").first.wait_for()
            page.wait_for_function(_IDLE)
            page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
            page.locator(".mjci-live").first.wait_for()
            page.wait_for_function(_LOADED, arg=".mjci-live .mjci-card img")
            page.locator(IMAGINE).first.click()
            page.wait_for_function(_TWICE)
            page.wait_for_function(_LOADED, arg=".mjci-live .mjci-card img")

        browser.do(visit)
        (shots / "notebook-7.png").write_bytes(browser.do(page.screenshot))
    assert [asked for asked in page.asked if not asked.startswith((url, "data:", "blob:"))] == []


OPEN = (
    "--allow-root",
    "--IdentityProvider.token=",
    "--ServerApp.password=",
    "--ServerApp.disable_check_xsrf=True",
    "--ServerApp.terminals_enabled=False",
    "--JupyterNotebookApp.expose_app_in_browser=True",
)
_TWICE = """() => document.querySelector('.mjci-live')
  .querySelectorAll('.mjci-succeeded > .mjci-job-subject').length === 2"""
_LOADED = """selector => {
  const found = [...document.querySelectorAll(selector)];
  return found.length > 0 && found.every(img => img.complete && img.naturalWidth > 0);
}"""


@pytest.mark.parametrize(
    ("name", "how"),
    [("01-quickstart", []), ("06-record-and-replay", ["--execute"])],
    ids=["as saved", "executed"],
)
def test_nbconvert_makes_a_quiet_page(
    name: str, how: list[str], browser: Chromium, page: Any, tmp_path: Path
) -> None:
    """Every picture is in it, and the console has nothing to say; nothing is asked but nbconvert's
    own scripts.
    """
    path = copy_notebook(name, tmp_path)
    command = [sys.executable, "-m", "nbconvert", *how, "--to", "html", path.name]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    messages: list[str] = []

    def visit() -> int:
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.route(
            "https://cdnjs.cloudflare.com/**",
            lambda way: way.fulfill(body="", content_type="text/javascript"),
        )
        page.goto(path.with_suffix(".html").as_uri())
        page.wait_for_function(_LOADED, arg="img")
        return int(page.locator("img").count())

    cells = json.loads(path.read_text("utf-8"))["cells"]
    outputs = [output.get("data", {}) for cell in cells for output in cell.get("outputs", ())]
    pictures = [output for output in outputs if {"image/png", "image/jpeg"} & set(output)]
    assert browser.do(visit) >= len(pictures) > 3
    assert messages == []
    assert [url for url in page.asked if url.startswith("http") and "cdnjs" not in url] == []
