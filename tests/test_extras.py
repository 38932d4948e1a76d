"""Without extras: the core works, and what needs an extra says which to install."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))[
    "project"
]
# What contributors install is no part of a user's session.
CONTRIBUTORS = {"test", "docs", "dev"}
USER_EXTRAS = set(PROJECT["optional-dependencies"]) - CONTRIBUTORS
# module -> the extra that installs it
LIBRARIES = {}
for extra, requirements in PROJECT["optional-dependencies"].items():
    if extra != "test":
        for requirement in requirements:
            if not requirement.startswith(PROJECT["name"]):
                library = re.split(r"[^\w-]", requirement)[0]
                LIBRARIES[library.replace("-", "_")] = extra
# Runs cells in an IPython shell whose import system finds none of these libraries.
RUN_CELLS = f"""
import json, sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in {list(LIBRARIES)}:
            return None
        return super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without

from traitlets.config import Config
from IPython.core.interactiveshell import InteractiveShell
config = Config()
config.HistoryManager.enabled = False
shell = InteractiveShell(config=config)
shell.showtraceback = lambda *_, **__: None
for cell in json.loads(sys.argv[1]):
    error = shell.run_cell(cell, silent=True).error_in_exec
    print(json.dumps([cell, error and [type(error).__name__, str(error)]]), file=sys.__stderr__)
"""
# Cells that work without extras.
CORE_CELLS = (
    "import jupyter_mjci as mjci\nfrom jupyter_mjci.cli.main import main",
    "%load_ext jupyter_mjci",
    "%mjci sandbox --speed 500 -o s",
    "%mj_imagine a red fox",
    '%%ci_job\ninput = "input/deer.jpg"\nrule = "imageMogr2/rotate/90"\noutput = "out.jpg"',
    "assert len(_tasks := s.tasks()) == 1 and str(_tasks.submitted.dtype) == 'datetime64[us, UTC]'",
    "assert len(s.jobs()) == 1 and len(s.history()) == 2",
    "s.history().mjci.queue_stats()",
    *(f"mjci.panel({kind!r}, session=s)" for kind in ("mj", "ci", "history", "status")),
    "%mjci doctor",
    "assert main(['history', '--out', 'jobs.csv']) == 0",
)
# extra -> a cell that does with less where it is not installed
FALLBACK_CELLS = {
    "compare": "from PIL import Image; s.compare('imageInfo', Image.new('L', (9, 9))).run()",
    "fast": "assert s.mj.queue().run() is not None",
    "film": "from jupyter_mjci.imaging.films import make_poster; assert make_poster(b'x') == ''",
    "fonts": "s.follow(s.ci.picture_job(input='input/deer.jpg', rule='watermark/2/text/Zm94',"
    " output='w.jpg')).run()",
    "terminal": "import jupyter_mjci.cli.watch",
}
# cell -> the library that it needs
EXTRA_CELLS = {
    "s.history().mjci.plot.timeline()": "matplotlib",
    "s.history.archive('lake')": "deltalake",
    "s.history.lake('lake').frame()": "deltalake",
    "import jupyter_mjci.history.lake.libraries as it; it.import_extra('dask.dataframe')": "dask",
    "from jupyter_mjci.cli.demo import run_demo; run_demo(None)": "jupyterlab",
    "import pathlib; run_demo(pathlib.Path('page.html'))": "nbconvert",
    "mjci.connect(mj_url='http://127.0.0.1:1', mj_secret='keyring:')": "keyring",
    "import jupyter_mjci.emulator.certificates as tls; tls.CertificateAuthority()": "trustme",
    "from jupyter_mjci.imaging.thumbnails import _open_heif; _open_heif(b'')": "pillow_heif",
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str] | None]:
    """Return how each cell ended: None, or the error's name and text."""
    cells = [*CORE_CELLS, *FALLBACK_CELLS.values(), *EXTRA_CELLS]
    command = [sys.executable, "-c", RUN_CELLS, json.dumps(cells)]
    home = tmp_path_factory.mktemp("bare")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MJCI_HOME", str(home))
        patch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=True)
    return dict(json.loads(line) for line in done.stderr.splitlines() if line.startswith("["))


def test_every_extra_is_missed_by_a_cell() -> None:
    named = {LIBRARIES[library] for library in EXTRA_CELLS.values()}
    assert named | set(FALLBACK_CELLS) == USER_EXTRAS


@pytest.mark.parametrize("cell", [*CORE_CELLS, *FALLBACK_CELLS.values()])
def test_core_works_without_extras(outcomes: dict[str, list[str] | None], cell: str) -> None:
    assert outcomes[cell] is None


@pytest.mark.parametrize(("cell", "library"), EXTRA_CELLS.items())
def test_missing_extra_is_named_with_its_install_command(
    outcomes: dict[str, list[str] | None], cell: str, library: str
) -> None:
    error = outcomes[cell]
    assert error is not None
    assert error[0] in ("SettingsError", "ValueError")
    assert f"pip install 'jupyter_mjci[{LIBRARIES[library]}]'" in error[1]
