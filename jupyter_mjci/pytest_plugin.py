"""`pytest --mjci-notebooks`: every notebook must save the same outputs whoever runs it.

Each notebook is run twice through a real kernel of its own: as JupyterLab runs it (a person can
answer, displays are updated on the way) and headlessly, as nbclient and nbval do. Then cell by cell
the outputs are compared: their number, kinds, metadata, texts, and pictures byte by byte, which
nbval never does; a picture must be one that can be opened.

A cell that raises fails the test, unless it is tagged `raises-exception`. Without the flag nothing
is loaded.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path
from typing import Any

import pytest

TIMEOUT = 120.0  # seconds that a cell may take
RAISES = "raises-exception"
WIDGET = "application/vnd.jupyter.widget-view+json"
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")  # where an object lies is different in every process


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mjci")
    group.addoption(
        "--mjci-notebooks",
        action="store_true",
        help="run each notebook live and headless, and compare what both save, cell by cell",
    )
    group.addoption(
        "--mjci-cell-timeout",
        type=float,
        default=TIMEOUT,
        metavar="SECONDS",
        help=f"how long a notebook's cell may take ({TIMEOUT:g})",
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix != ".ipynb" or not parent.config.getoption("mjci_notebooks"):
        return None
    return Notebook.from_parent(parent, path=file_path)


class Different(Exception):
    """What a notebook's two runs saved differently."""


class Notebook(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        yield BothWays.from_parent(self, name="live and headless")


class BothWays(pytest.Item):
    """A notebook's two runs."""

    def runtest(self) -> None:
        told = list(differences(self.path, timeout=self.config.getoption("mjci_cell_timeout")))
        if told:
            raise Different("\n\n".join(told))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return (
            str(excinfo.value)
            if isinstance(excinfo.value, Different)
            else super().repr_failure(excinfo, style)
        )

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"{self.path.name}: {self.name}"


# --- running --------------------------------------------------------------------------------------


@dataclass(slots=True)
class Saved:
    """What a front end would save of a notebook's run: the outputs of each cell."""

    outputs: list[list[dict[str, Any]]] = field(default_factory=list)
    _displays: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _clearing: bool = False

    def begin(self) -> None:
        self.outputs.append([])
        self._clearing = False

    def hear(self, message: Mapping[str, Any]) -> None:
        """One message of the kernel, as a front end takes it."""
        kind, content = message["msg_type"], message["content"]
        if kind == "update_display_data":
            for shown in self._displays.get(content["transient"]["display_id"], ()):
                shown.update(data=content["data"], metadata=content["metadata"])
        elif kind == "clear_output":
            self._clearing = True
            if not content["wait"]:
                self._clear()
        elif kind in ("stream", "display_data", "execute_result", "error"):
            self._clear()
            self._add(kind, content)

    def _clear(self) -> None:
        if self._clearing:
            self.outputs[-1].clear()
        self._clearing = False

    def _add(self, kind: str, content: Mapping[str, Any]) -> None:
        here = self.outputs[-1]
        if kind == "stream":
            if here and here[-1].get("name") == content["name"]:
                here[-1]["text"] += content["text"]
            else:
                here.append({"type": kind, "name": content["name"], "text": content["text"]})
        elif kind == "error":
            here.append(
                {"type": kind, "name": content["ename"], "text": "\n".join(content["traceback"])}
            )
        else:
            output = {"type": kind, "data": content["data"], "metadata": content["metadata"]}
            here.append(output)
            name = content.get("transient", {}).get("display_id")
            if name:
                self._displays.setdefault(name, []).append(output)


@dataclass(frozen=True, slots=True)
class Cell:
    """A code cell: its number among all cells, as a person counts; its source; whether it may
    raise.
    """

    number: int
    source: str
    raises: bool


def cells(path: Path) -> tuple[list[Cell], str]:
    """The code cells of a notebook, and the name of its kernel."""
    import nbformat

    notebook: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    found = [
        Cell(number, cell.source, RAISES in cell.metadata.get("tags", ()))
        for number, cell in enumerate(notebook.cells, 1)
        if cell.cell_type == "code"
    ]
    return found, notebook.metadata.get("kernelspec", {}).get("name", "python3")


def run(path: Path, *, live: bool, timeout: float = TIMEOUT) -> Saved:
    """Runs a notebook in its folder: `live` as JupyterLab does, else as nbclient does. Ends at a
    cell that raises.
    """
    from jupyter_client.manager import start_new_kernel

    wanted, kernel = cells(path)
    environ = {name: value for name, value in os.environ.items() if name != "MJCI_HEADLESS"}
    manager, client = start_new_kernel(kernel_name=kernel, cwd=str(path.parent), env=environ)
    saved = Saved()
    try:
        for cell in wanted:
            saved.begin()
            reply = client.execute_interactive(
                cell.source,
                allow_stdin=live,
                output_hook=saved.hear,
                timeout=timeout,
                stdin_hook=lambda _: client.input(""),
            )["content"]
            if reply["status"] != "ok" and not cell.raises:
                break
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return saved


# --- comparing ------------------------------------------------------------------------------------


def differences(path: Path, *, timeout: float = TIMEOUT) -> Iterator[str]:
    """What is wrong with a notebook, cell by cell; nothing, where both runs save the same."""
    known, _ = cells(path)
    headless, live = (run(path, live=mode, timeout=timeout) for mode in (False, True))
    for cell, one, other in zip(known, headless.outputs, live.outputs, strict=False):
        told = [*_unlike(one, other), *_broken(one), *_raised(cell, one)]
        if told:
            first = next(iter(cell.source.splitlines()), "")
            yield "\n".join(
                [
                    f"cell {cell.number}: {first}",
                    *(f"  {line}" for part in told for line in part.splitlines()),
                ]
            )
    if len(headless.outputs) != len(live.outputs):
        yield f"live, {len(live.outputs)} cells were run; headless, {len(headless.outputs)}"


def _unlike(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> Iterator[str]:
    if len(one) != len(other):
        yield f"live, it saves {_listed(other)}; headless, {_listed(one)}"
        return
    for number, (here, there) in enumerate(zip(one, other, strict=True), 1):
        if _kind(here) != _kind(there):
            yield f"output {number} is {_kind(there)} live, {_kind(here)} headless"
            continue
        said, told = _parts(here), _parts(there)
        for name in said:
            if said[name] != told[name]:
                yield f"output {number}, {name}:\n{_difference(said[name], told[name])}"


def _listed(outputs: Iterable[dict[str, Any]]) -> str:
    return ", ".join(_kind(one) for one in outputs) or "nothing"


def _kind(output: Mapping[str, Any]) -> str:
    keys = "+".join(sorted(output["data"])) if "data" in output else output["name"]
    return f"{output['type']} {keys}"


def _parts(output: Mapping[str, Any]) -> dict[str, str | bytes]:
    """What an output says, by mime type: texts, and pictures as bytes."""
    if "data" not in output:
        return {output["type"]: _ADDRESS.sub("0x", output["text"])}
    parts = {mime: _content(mime, value) for mime, value in output["data"].items()}
    return {**parts, "metadata": json.dumps(output["metadata"], sort_keys=True, indent=1)}


def _content(mime: str, value: Any) -> str | bytes:
    if mime == WIDGET:  # every widget has a name of its own in every run
        return json.dumps({**value, "model_id": ""}, sort_keys=True)
    if not isinstance(value, str):
        return json.dumps(value, sort_keys=True, indent=1)
    if mime.startswith("image/") and mime != "image/svg+xml":
        return base64.b64decode(value)
    return _ADDRESS.sub("0x", value)


def _difference(headless: str | bytes, live: str | bytes) -> str:
    if isinstance(headless, bytes) or isinstance(live, bytes):
        return f"two pictures, {len(headless)} bytes headless and {len(live)} live"
    lines = unified_diff(
        headless.splitlines(), live.splitlines(), "headless", "live", lineterm="", n=1
    )
    return "\n".join(line[:200] for line in list(lines)[:20])


def _broken(outputs: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Pictures that nobody can open."""
    from jupyter_mjci.notebook.images import look

    for number, output in enumerate(outputs, 1):
        for mime, content in _parts(output).items():
            if isinstance(content, bytes) and look(content) is None:
                yield f"output {number}, {mime}: this is no picture"


def _raised(cell: Cell, outputs: Iterable[dict[str, Any]]) -> Iterator[str]:
    for output in outputs:
        if output["type"] == "error" and not cell.raises:
            yield f"it raises {output['name']}:\n{_plain(output['text'])}"


def _plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)[-1000:]
