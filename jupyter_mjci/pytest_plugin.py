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

CELL_TIMEOUT = 120.0  # seconds that a cell may take
RAISES_TAG = "raises-exception"
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
_MEMORY_ADDRESS = re.compile(
    r"0x[0-9a-fA-F]{6,}"
)  # where an object lies is different in every process


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
        default=CELL_TIMEOUT,
        metavar="SECONDS",
        help=f"how long a notebook's cell may take ({CELL_TIMEOUT:g})",
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix != ".ipynb" or not parent.config.getoption("mjci_notebooks"):
        return None
    return NotebookFile.from_parent(parent, path=file_path)


class OutputMismatch(Exception):
    """What a notebook's two runs saved differently."""


class NotebookFile(pytest.File):
    def collect(self) -> Iterator[pytest.Item]:
        yield NotebookItem.from_parent(self, name="live and headless")


class NotebookItem(pytest.Item):
    """A notebook's two runs."""

    def runtest(self) -> None:
        told = list(find_differences(self.path, timeout=self.config.getoption("mjci_cell_timeout")))
        if told:
            raise OutputMismatch("\n\n".join(told))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        return (
            str(excinfo.value)
            if isinstance(excinfo.value, OutputMismatch)
            else super().repr_failure(excinfo, style)
        )

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"{self.path.name}: {self.name}"


# --- running --------------------------------------------------------------------------------------


@dataclass(slots=True)
class SavedOutputs:
    """What a front end would save of a notebook's run: the outputs of each cell."""

    outputs: list[list[dict[str, Any]]] = field(default_factory=list)
    _displays: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    _clear_pending: bool = False

    def start_cell(self) -> None:
        self.outputs.append([])
        self._clear_pending = False

    def handle_message(self, message: Mapping[str, Any]) -> None:
        """One message of the kernel, as a front end takes it."""
        kind, content = message["msg_type"], message["content"]
        if kind == "update_display_data":
            for shown in self._displays.get(content["transient"]["display_id"], ()):
                shown.update(data=content["data"], metadata=content["metadata"])
        elif kind == "clear_output":
            self._clear_pending = True
            if not content["wait"]:
                self._apply_clear()
        elif kind in ("stream", "display_data", "execute_result", "error"):
            self._apply_clear()
            self._append_output(kind, content)

    def _apply_clear(self) -> None:
        if self._clear_pending:
            self.outputs[-1].clear()
        self._clear_pending = False

    def _append_output(self, kind: str, content: Mapping[str, Any]) -> None:
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
    may_raise: bool


def read_cells(path: Path) -> tuple[list[Cell], str]:
    """The code cells of a notebook, and the name of its kernel."""
    import nbformat

    notebook: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    found = [
        Cell(number, cell.source, RAISES_TAG in cell.metadata.get("tags", ()))
        for number, cell in enumerate(notebook.cells, 1)
        if cell.cell_type == "code"
    ]
    return found, notebook.metadata.get("kernelspec", {}).get("name", "python3")


def run_notebook(path: Path, *, live: bool, timeout: float = CELL_TIMEOUT) -> SavedOutputs:
    """Runs a notebook in its folder: `live` as JupyterLab does, else as nbclient does. Ends at a
    cell that raises.
    """
    from jupyter_client.manager import start_new_kernel

    wanted, kernel = read_cells(path)
    environ = {name: value for name, value in os.environ.items() if name != "MJCI_HEADLESS"}
    manager, client = start_new_kernel(kernel_name=kernel, cwd=str(path.parent), env=environ)
    saved = SavedOutputs()
    try:
        for cell in wanted:
            saved.start_cell()
            reply = client.execute_interactive(
                cell.source,
                allow_stdin=live,
                output_hook=saved.handle_message,
                timeout=timeout,
                stdin_hook=lambda _: client.input(""),
            )["content"]
            if reply["status"] != "ok" and not cell.may_raise:
                break
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return saved


# --- comparing ------------------------------------------------------------------------------------


def find_differences(path: Path, *, timeout: float = CELL_TIMEOUT) -> Iterator[str]:
    """What is wrong with a notebook, cell by cell; nothing, where both runs save the same."""
    known, _ = read_cells(path)
    headless, live = (run_notebook(path, live=mode, timeout=timeout) for mode in (False, True))
    for cell, one, other in zip(known, headless.outputs, live.outputs, strict=False):
        told = [
            *_compare_outputs(one, other),
            *_find_unreadable_images(one),
            *_find_errors(cell, one),
        ]
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


def _compare_outputs(headless: list[dict[str, Any]], live: list[dict[str, Any]]) -> Iterator[str]:
    if len(headless) != len(live):
        yield f"live, it saves {_describe_outputs(live)}; headless, {_describe_outputs(headless)}"
        return
    for number, (here, there) in enumerate(zip(headless, live, strict=True), 1):
        if _describe_output(here) != _describe_output(there):
            yield f"output {number} is {_describe_output(there)} live, {_describe_output(here)} headless"
            continue
        said, told = _extract_parts(here), _extract_parts(there)
        for name in said:
            if said[name] != told[name]:
                yield f"output {number}, {name}:\n{_format_diff(said[name], told[name])}"


def _describe_outputs(outputs: Iterable[dict[str, Any]]) -> str:
    return ", ".join(_describe_output(one) for one in outputs) or "nothing"


def _describe_output(output: Mapping[str, Any]) -> str:
    keys = "+".join(sorted(output["data"])) if "data" in output else output["name"]
    return f"{output['type']} {keys}"


def _extract_parts(output: Mapping[str, Any]) -> dict[str, str | bytes]:
    """What an output says, by mime type: texts, and pictures as bytes."""
    if "data" not in output:
        return {output["type"]: _MEMORY_ADDRESS.sub("0x", output["text"])}
    parts = {mime: _normalize_content(mime, value) for mime, value in output["data"].items()}
    return {**parts, "metadata": json.dumps(output["metadata"], sort_keys=True, indent=1)}


def _normalize_content(mime: str, value: Any) -> str | bytes:
    if mime == WIDGET_MIME:  # every widget has a name of its own in every run
        return json.dumps({**value, "model_id": ""}, sort_keys=True)
    if not isinstance(value, str):
        return json.dumps(value, sort_keys=True, indent=1)
    if mime.startswith("image/") and mime != "image/svg+xml":
        return base64.b64decode(value)
    return _MEMORY_ADDRESS.sub("0x", value)


def _format_diff(headless: str | bytes, live: str | bytes) -> str:
    if isinstance(headless, bytes) or isinstance(live, bytes):
        return f"two pictures, {len(headless)} bytes headless and {len(live)} live"
    lines = unified_diff(
        headless.splitlines(), live.splitlines(), "headless", "live", lineterm="", n=1
    )
    return "\n".join(line[:200] for line in list(lines)[:20])


def _find_unreadable_images(outputs: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Pictures that nobody can open."""
    from jupyter_mjci.notebook.images import identify

    for number, output in enumerate(outputs, 1):
        for mime, content in _extract_parts(output).items():
            if isinstance(content, bytes) and identify(content) is None:
                yield f"output {number}, {mime}: this is no picture"


def _find_errors(cell: Cell, outputs: Iterable[dict[str, Any]]) -> Iterator[str]:
    for output in outputs:
        if output["type"] == "error" and not cell.may_raise:
            yield f"it raises {output['name']}:\n{_strip_ansi(output['text'])}"


def _strip_ansi(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)[-1000:]
