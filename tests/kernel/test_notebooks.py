"""The demo notebooks as files: executed again they are the same bytes, without network, whoever
looks on.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from jupyter_mjci.client.redaction import find_secrets
from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.clock import ScaledClock
from jupyter_mjci.notebook.images import identify
from jupyter_mjci.pytest_plugin import find_differences
from jupyter_mjci.secret_scan import scan
from tests.execute_notebooks import NOTEBOOKS, copy_notebook, execute

ALL = sorted(NOTEBOOKS.glob("*.ipynb"))
RECORDED = NOTEBOOKS / "06-record-and-replay.ipynb"
BUDGET = 60_000  # bytes of a picture in a notebook

# Comes into every Python that is started: whoever connects to anything is told off. The kernel's
# own connections are not Python's; those of a cluster stay on this computer.
GUARD = """
import socket

def guarded(name):
    usual = getattr(socket.socket, name)

    def connect(self, *said):
        if not (isinstance(said[-1], tuple) and said[-1][0] in ALLOWED):
            raise AssertionError("a notebook used the network")
        return usual(self, *said)

    setattr(socket.socket, name, connect)

for name in ("connect", "connect_ex", "sendto"):
    guarded(name)
"""
THIS_COMPUTER = ("127.0.0.1", "::1", "localhost")
CLUSTERED = {"03-job-history"}


def guard(folder: Path, monkeypatch: pytest.MonkeyPatch, allowed: tuple[str, ...] = ()) -> None:
    (folder / "sitecustomize.py").write_text(f"ALLOWED = {allowed!r}\n{GUARD}")
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)


@pytest.mark.kernel
@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_executed_again_it_is_the_same_file(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte by byte, in a kernel whose sockets are closed."""
    guard(tmp_path, monkeypatch, THIS_COMPUTER if path.stem in CLUSTERED else ())
    assert execute(path) == path.read_text("utf-8")


@pytest.mark.kernel
@pytest.mark.parametrize(("allowed", "address"), [((), "127.0.0.1"), (THIS_COMPUTER, "192.0.2.1")])
def test_the_guard_guards(
    allowed: tuple[str, ...], address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook that connects to anything does fail."""
    guard(tmp_path, monkeypatch, allowed)
    cell = nbformat.v4.new_code_cell(f"import urllib.request as r; r.urlopen('http://{address}:9')")  # type: ignore[no-untyped-call]
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "a.ipynb")  # type: ignore[no-untyped-call]
    with pytest.raises(CellExecutionError, match="a notebook used the network"):
        execute(tmp_path / "a.ipynb")


@pytest.mark.kernel
@pytest.mark.parametrize("name", ["01-quickstart", "06-record-and-replay"])
def test_nbconvert_executes_what_is_committed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the command that scripts use: cell by cell the same outputs."""
    path = copy_notebook(name, tmp_path)
    guard(tmp_path, monkeypatch)
    command = [
        sys.executable,
        "-m",
        "nbconvert",
        "--execute",
        "--to",
        "notebook",
        "--inplace",
        path.name,
    ]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    committed, executed = (nbformat.read(one, 4) for one in (NOTEBOOKS / path.name, path))  # type: ignore[no-untyped-call]
    for cell, other in zip(committed.cells, executed.cells, strict=True):
        assert (other.source, other.get("outputs")) == (cell.source, cell.get("outputs"))


@pytest.mark.kernel
def test_nbval_finds_the_same_again_without_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strictly, and for the second time: the first is a part of every run of these tests."""
    runs = []
    for clustered in (True, False):
        here = tmp_path / str(clustered)
        here.mkdir()
        with monkeypatch.context() as environment:
            guard(here, environment, THIS_COMPUTER if clustered else ())
            paths = [str(path) for path in ALL if (path.stem in CLUSTERED) is clustered]
            command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths]
            runs.append(
                subprocess.Popen(command, cwd=NOTEBOOKS.parent, stdout=subprocess.PIPE, text=True)
            )
    for run in runs:
        said, _ = run.communicate()
        assert run.returncode == 0, said
        assert re.search(r"^\d+ passed in", said, re.M), said


GIVEN = {
    "prompt": 'an "owl", {red, green} --ar 3:2',
    "angle": 45,
    "key": "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE",
}
WITH_PARAMETERS = (
    "%load_ext jupyter_mjci\n%mjci sandbox --speed inf",
    "%mj_imagine {{prompt}} -o owl",
    '%%ci_job -o deer\ninput = "input/deer.jpg"\nrule = "imageMogr2/rotate/{{angle}}"\noutput = "out.jpg"',  # noqa: E501
    "owl.subject, deer.raw['Operation']['PicProcess']['ProcessRule']",
)


@pytest.mark.kernel
def test_papermill_fills_in_parameters(tmp_path: Path) -> None:
    """The outputs are those for its parameters, as any other headless run saves them. A key among
    them stands in the metadata afterwards, too, where the scan finds it.
    """
    new = nbformat.v4
    first = new.new_code_cell(
        "prompt, angle, key = 'a red fox', 90, ''", metadata={"tags": ["parameters"]}
    )  # type: ignore[no-untyped-call]
    cells = [new.new_code_cell(source) for source in WITH_PARAMETERS]  # type: ignore[no-untyped-call]
    kernel = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(new.new_notebook(cells=[first, *cells], metadata=kernel), tmp_path / "a.ipynb")  # type: ignore[no-untyped-call]
    given = [part for name, value in GIVEN.items() for part in ("-p", name, str(value))]
    command = [sys.executable, "-m", "papermill", "a.ipynb", "made.ipynb", *given]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    text = "\n".join(f"{name} = {value!r}" for name, value in GIVEN.items())
    nbformat.write(new.new_notebook(cells=[new.new_code_cell(text), *cells]), tmp_path / "b.ipynb")  # type: ignore[no-untyped-call]
    (tmp_path / "b.ipynb").write_text(execute(tmp_path / "b.ipynb"), "utf-8")
    made, written = (read_outputs(tmp_path / name) for name in ("made.ipynb", "b.ipynb"))
    assert made == written
    assert GIVEN["prompt"] in made[-1]["text/plain"]
    assert "imageMogr2/rotate/45" in made[-1]["text/plain"]
    places = {leak.location for leak in scan([tmp_path / "made.ipynb"])}
    assert places == {"cell 2", "notebook metadata"}


def read_outputs(path: Path) -> list[dict[str, Any]]:
    """What the outputs of a notebook hold, one after another."""
    notebook: Any = nbformat.read(path, 4)  # type: ignore[no-untyped-call]
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    return [dict(output.get("data", {"text": output.get("text", "")})) for output in outputs]


PRIVATE = {
    "MJCI_MJ_SECRET": "Very/Secret+Proxy=Key",
    "MJCI_CI_SECRET_ID": "AKIDveryprivate0000000000000000000",
    "MJCI_CI_SECRET_KEY": "aVeryPrivateKey00000000000000000",
}
CELLS = (
    "%load_ext jupyter_mjci\n%mjci replay --folder mine.mjci",
    "%mj_imagine a red fox -o fox",
    "%mj_imagine --dry-run a red fox",
    '%%ci_job\ninput = "input/deer.jpg"\nrule = "imageMogr2/thumbnail/90x"\noutput = "out/deer.jpg"',  # noqa: E501
    "%mj_tasks",
    "fox.raw",
)


@pytest.mark.kernel
def test_a_notebook_with_keys_is_published_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded over a real socket with keys in its environment, then run without keys and without
    network: the same file, and neither it nor its recording holds a key or a signature.
    """
    path = tmp_path / "mine.ipynb"
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS]), path
    )  # type: ignore[no-untyped-call]
    keys = dict(zip(("mj_secret", "secret_id", "secret_key"), PRIVATE.values(), strict=True))
    with Sandbox(clock=ScaledClock(100), **keys) as sandbox, monkeypatch.context() as environment:
        text = sandbox.serve().settings
        for name, key in (
            ("MJ_URL", "mj_url"),
            ("CI_BUCKET", "bucket"),
            ("CI_REGION", "region"),
            ("CI_ENDPOINT", "ci_endpoint"),
            ("COS_ENDPOINT", "cos_endpoint"),
        ):
            environment.setenv(f"MJCI_{name}", text[key])
        for name, value in PRIVATE.items():
            environment.setenv(name, value)
        recorded = execute(path)
    for text in (
        recorded,
        *(file.read_text("latin-1") for file in tmp_path.rglob("*.mjci/**/*") if file.is_file()),
    ):
        assert [value for value in PRIVATE.values() if value in text] == []
        assert "q-sign" not in text
        assert find_secrets(text) == []
    path.write_text(recorded, "utf-8")
    guard(tmp_path, monkeypatch)
    assert execute(path) == path.read_text("utf-8")


@pytest.mark.kernel
def test_the_recorded_notebook_is_the_same_live_and_headless() -> None:
    """By the plugin that users run on theirs."""
    assert list(find_differences(RECORDED)) == []


def test_nbval_overlooks_nothing_but_pictures() -> None:
    """Whatever its settings hide in any output is a picture that can be opened."""
    settings = ConfigParser(interpolation=None)
    settings.read(NOTEBOOKS.parent / "tests" / "nbval.cfg")
    texts = [
        output[mime]
        for path in ALL
        for output in read_outputs(path)
        for mime in output
        if not mime.startswith("image/")
    ]
    hidden = [
        found[0]
        for section in settings.sections()
        for text in texts
        for found in re.finditer(settings[section]["regex"], str(text))
    ]
    assert hidden
    assert [
        url[:40] for url in hidden if identify(base64.b64decode(url.partition(",")[2])) is None
    ] == []


def pictures(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the place and the bytes of each picture; those of a contact sheet for one of it."""
    for number, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"], 1):
        for output in cell.get("outputs", ()):
            for mime, content in output.get("data", {}).items():
                text = "".join(content) if isinstance(content, list) else str(content)
                found = (
                    [text]
                    if mime.startswith("image/")
                    else re.findall(r"data:image/\w+;base64,([\w+/=]+)", text)
                )
                alt = output.get("metadata", {}).get(mime, {}).get("alt", "")
                sheet = re.match(r"Sheet (\d+) pictures", alt)
                count = int(sheet[1]) if sheet else 1
                for picture in found:
                    yield f"cell {number}", len(base64.b64decode(picture)) // count


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_notebooks_stay_small(path: Path) -> None:
    """A thumbnail or a plot has at most 60 kB; there is at least one picture."""
    sizes = list(pictures(path))
    assert sizes
    assert {place: size for place, size in sizes if size > BUDGET} == {}


def test_a_recording_beside_a_notebook_stays_small() -> None:
    folder = RECORDED.with_suffix(".mjci")
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 400_000
