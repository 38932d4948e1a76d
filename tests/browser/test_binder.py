"""What repo2docker makes of `binder/`: the notebooks in a JupyterLab for somebody who has installed
nothing.

It makes an environment with conda, copies the repository, and runs `binder/postBuild` there: with
NB_PYTHON_PREFIX set, that environment's programs first, as a user who owns both. A venv stands for
the conda environment here.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Chromium, Lab, Page, lab_command, serving
from tests.installing import ROOT, build_clean_environ, clone, run_install

pytestmark = pytest.mark.install
LINK = (
    r"\(https://mybinder\.org/v2/gh/jupyter-mjci/jupyter_mjci/HEAD\?urlpath=lab/tree/([\w/.-]+)\)"
)
(NOTEBOOK,) = {
    path for page in ROOT.glob("README*.md") for path in re.findall(LINK, page.read_text("utf-8"))
}


@dataclass(frozen=True)
class Image:
    """What Binder starts for everybody."""

    repository: Path
    prefix: Path

    @property
    def python(self) -> Path:
        return self.prefix / "bin" / "python"

    def say(self, *command: str) -> str:
        return subprocess.run(
            [self.python, "-m", *command],
            env=build_clean_environ(self.prefix / "bin"),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        ).stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    place = tmp_path_factory.mktemp("binder")
    made = Image(clone(place / "repository"), place / "notebook")
    subprocess.run([sys.executable, "-m", "venv", made.prefix], check=True)
    prefix = {
        name: str(made.prefix)
        for name in ("NB_PYTHON_PREFIX", "KERNEL_PYTHON_PREFIX", "CONDA_DEFAULT_ENV")
    }
    home = {"MPLCONFIGDIR": str(place / "matplotlib")}
    run_install(
        ["./binder/postBuild"],
        made.repository,
        {**build_clean_environ(made.prefix / "bin"), **prefix, **home},
    )
    return made


@pytest.fixture
def lab_of_the_image(image: Image, tmp_path: Path) -> Iterator[Lab]:
    with serving(tmp_path, lab_command(image.repository), python=image.python) as url:
        yield Lab(url, image.repository)


def test_the_repository_stays_clean_and_the_packages_fit(image: Image) -> None:
    """Who changes a notebook there sees only the own change; every requirement is met; the
    extensions are there.
    """
    status = ["git", "status", "--porcelain", "--ignored"]
    listing = subprocess.run(
        status, cwd=image.repository, capture_output=True, text=True, check=True
    ).stdout
    assert [line for line in listing.splitlines() if "__pycache__" not in line] == []
    assert image.say("pip", "check") == "No broken requirements found.\n"
    extensions = image.say("jupyter", "labextension", "list")
    for name in ("anywidget", "@jupyter-widgets/jupyterlab-manager"):
        assert [
            line
            for line in extensions.splitlines()
            if name in line and "enabled" in line and "OK" in line
        ]


def test_the_quickstart_runs_where_the_link_opens_it(
    lab_of_the_image: Lab, browser: Chromium
) -> None:
    """Run All without any key: every cell with its pictures, nothing asked of any other host, a
    quiet console; and the panels' widgets are shown.
    """
    lab = lab_of_the_image
    notification = "@jupyterlab/apputils-extension:notification"
    with urllib.request.urlopen(f"{lab.url}/lab/api/settings/{notification}", timeout=30) as answer:
        assert json.load(answer)["schema"]["properties"]["fetchNews"]["default"] == "false"
    page = Page(browser, lab, NOTEBOOK, "binder").open()
    page.run_all()
    saved = page.save()
    cells = [cell for cell in saved.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    committed = json.loads((ROOT / page.path).read_text("utf-8"))["cells"]
    assert [one.output_type for cell in cells for one in cell.outputs] == [
        one["output_type"] for cell in committed for one in cell.get("outputs", ())
    ]
    page.wait_pictures(".jp-OutputArea-output img")
    assert page.count(".jp-OutputArea-output img") >= 6
    quiet(page)
    panels = Page(browser, lab, "notebooks/02-panels.ipynb").open()  # in a workspace of its own
    for cell in (1, 3):
        panels.run(cell)
    panels.wait_for(".jp-OutputArea-output .jupyter-widgets button:has-text('Imagine')")
    quiet(panels)


def quiet(page: Any) -> None:
    assert page.foreign == []
    assert page.complaints() == []
    page.close()
