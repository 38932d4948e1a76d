"""The demo notebooks as files: executed again they are the same bytes, without network, whoever looks on."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from jupyter_mjci.pytest_plugin import differences
from tests.execute_notebooks import NOTEBOOKS, execute

ALL = sorted(NOTEBOOKS.glob("*.ipynb"))
RECORDED = NOTEBOOKS / "06-record-and-replay.ipynb"
BUDGET = 60_000  # bytes of a picture in a notebook

# Comes into every Python that is started: whoever connects to anything is told off. The kernel's own connections are
# not Python's.
GUARD = """
import socket

def refused(*_, **__):
    raise AssertionError("a notebook used the network")

for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refused)
socket.create_connection = refused
"""


@pytest.fixture
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(GUARD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))


@pytest.mark.kernel
@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_executed_again_it_is_the_same_file(path: Path, no_network: None) -> None:
    """Byte by byte, in a kernel whose sockets are closed."""
    assert execute(path) == path.read_text("utf-8")


@pytest.mark.kernel
def test_the_guard_guards(tmp_path: Path, no_network: None) -> None:
    """A notebook that connects to anything does fail."""
    import nbformat
    from nbclient.exceptions import CellExecutionError

    cell = nbformat.v4.new_code_cell("import urllib.request as r; r.urlopen('http://127.0.0.1:9')")  # type: ignore[no-untyped-call]
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "a.ipynb")  # type: ignore[no-untyped-call]
    with pytest.raises(CellExecutionError, match="a notebook used the network"):
        execute(tmp_path / "a.ipynb")


@pytest.mark.kernel
def test_the_recorded_notebook_is_the_same_live_and_headless() -> None:
    """By the plugin that users run on theirs."""
    assert list(differences(RECORDED)) == []


def pictures(path: Path) -> Iterator[tuple[str, int]]:
    for number, cell in enumerate(json.loads(path.read_text("utf-8"))["cells"], 1):
        for output in cell.get("outputs", ()):
            for mime, content in output.get("data", {}).items():
                if mime.startswith("image/"):
                    yield f"cell {number}", len(base64.b64decode("".join(content)))


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_notebooks_stay_small(path: Path) -> None:
    """A thumbnail or a plot has at most 60 kB; there is at least one picture."""
    found = list(pictures(path))
    assert found
    assert {place: size for place, size in found if size > BUDGET} == {}


def test_a_recording_beside_a_notebook_stays_small() -> None:
    folder = RECORDED.with_suffix(".mjci")
    assert sum(path.stat().st_size for path in folder.rglob("*")) < 400_000
