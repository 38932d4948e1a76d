"""pytest plugin: check that a notebook saves the same outputs live and headless.

With `pytest --mjci-notebooks` each notebook is run twice in a kernel of its own: as JupyterLab runs
it (input is allowed, displays are updated) and headless, as nbclient and nbval do. Then the outputs
are compared cell by cell: number, kinds, metadata, texts, and images byte by byte, which nbval
never does. Images must be readable.

A cell that raises fails the test, unless it is tagged `raises-exception`. Without the option
nothing is imported.
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
from typing import Any, NotRequired, TypedDict

import pytest

CELL_TIMEOUT = 120.0  # seconds that a cell may take
MAX_DIFF_LINES, MAX_LINE_LENGTH, MAX_TRACEBACK = 20, 200, 1000
RAISES_TAG = "raises-exception"
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
# The address in a default repr is different in every process.
_MEMORY_ADDRESS = re.compile(r"0x[0-9a-fA-F]{6,}")
_ANSI_ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mjci")
    group.addoption(
        "--mjci-notebooks",
        action="store_true",
        help="run each notebook live and headless, and compare the outputs cell by cell",
    )
    group.addoption(
        "--mjci-cell-timeout",
        type=float,
        default=CELL_TIMEOUT,
        metavar="SECONDS",
        help=f"maximum run time of a notebook cell (default {CELL_TIMEOUT:g})",
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    if file_path.suffix != ".ipynb" or not parent.config.getoption("mjci_notebooks"):
        return None
    return NotebookFile.from_parent(parent, path=file_path)


class OutputMismatch(Exception):
    """The two runs of a notebook saved different outputs."""


class NotebookFile(pytest.File):
    """A notebook."""

    def collect(self) -> Iterator[pytest.Item]:
        yield NotebookItem.from_parent(self, name="live and headless")


class NotebookItem(pytest.Item):
    """The two runs of a notebook."""

    def runtest(self) -> None:
        timeout = self.config.getoption("mjci_cell_timeout")
        differences = list(find_differences(self.path, timeout=timeout))
        if differences:
            raise OutputMismatch("\n\n".join(differences))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, OutputMismatch):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return self.path, None, f"{self.path.name}: {self.name}"


# --- running --------------------------------------------------------------------------------------


class Output(TypedDict):
    """A saved output: `name` and `text` of a stream or an error, else `data` and `metadata`."""

    type: str
    name: NotRequired[str]
    text: NotRequired[str]
    data: NotRequired[Mapping[str, object]]
    metadata: NotRequired[Mapping[str, object]]


@dataclass(slots=True)
class SavedOutputs:
    """The outputs of each cell as a front end saves them, built from the kernel's messages."""

    outputs: list[list[Output]] = field(default_factory=list)
    _displays: dict[str, list[Output]] = field(default_factory=dict)
    _clear_pending: bool = False

    def start_cell(self) -> None:
        self.outputs.append([])
        self._clear_pending = False

    def handle_message(self, message: Mapping[str, Any]) -> None:
        """Apply one message of the kernel."""
        kind, content = message["msg_type"], message["content"]
        if kind == "update_display_data":
            for output in self._displays.get(content["transient"]["display_id"], ()):
                output["data"] = content["data"]
                output["metadata"] = content["metadata"]
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
        outputs = self.outputs[-1]
        if kind == "stream":
            self._append_stream(content["name"], content["text"])
        elif kind == "error":
            text = "\n".join(content["traceback"])
            outputs.append({"type": kind, "name": content["ename"], "text": text})
        else:
            output: Output = {
                "type": kind,
                "data": content["data"],
                "metadata": content["metadata"],
            }
            outputs.append(output)
            display_id = content.get("transient", {}).get("display_id")
            if display_id:
                self._displays.setdefault(display_id, []).append(output)

    def _append_stream(self, name: str, text: str) -> None:
        outputs = self.outputs[-1]
        if outputs and outputs[-1].get("name") == name:
            outputs[-1]["text"] += text
        else:
            outputs.append({"type": "stream", "name": name, "text": text})


@dataclass(frozen=True, slots=True)
class Cell:
    """A code cell.

    Args:
        number: its number among all cells, from 1
        source: its code
        may_raise: whether it is tagged `raises-exception`
    """

    number: int
    source: str
    may_raise: bool


def read_cells(path: Path) -> tuple[list[Cell], str]:
    """Return the code cells of a notebook, and the name of its kernel."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    cells = [
        Cell(number, cell.source, RAISES_TAG in cell.metadata.get("tags", ()))
        for number, cell in enumerate(notebook.cells, 1)
        if cell.cell_type == "code"
    ]
    return cells, notebook.metadata.get("kernelspec", {}).get("name", "python3")


def run_notebook(path: Path, *, live: bool, timeout: float = CELL_TIMEOUT) -> SavedOutputs:
    """Run a notebook in its folder, up to a cell that raises.

    Args:
        path: the notebook
        live: run it as JupyterLab does, else headless
        timeout: seconds that a cell may take
    """
    from jupyter_client.manager import start_new_kernel

    cells, kernel = read_cells(path)
    environ = {name: value for name, value in os.environ.items() if name != "MJCI_HEADLESS"}
    manager, client = start_new_kernel(kernel_name=kernel, cwd=str(path.parent), env=environ)
    saved = SavedOutputs()
    try:
        for cell in cells:
            saved.start_cell()
            reply = client.execute_interactive(
                cell.source,
                allow_stdin=live,
                output_hook=saved.handle_message,
                timeout=timeout,
                stdin_hook=lambda _: client.input(""),
            )
            if reply["content"]["status"] != "ok" and not cell.may_raise:
                break
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return saved


# --- comparing ------------------------------------------------------------------------------------


def find_differences(path: Path, *, timeout: float = CELL_TIMEOUT) -> Iterator[str]:
    """Yield a message for each cell whose outputs differ, are unreadable or are errors."""
    cells, _ = read_cells(path)
    headless = run_notebook(path, live=False, timeout=timeout).outputs
    live = run_notebook(path, live=True, timeout=timeout).outputs
    for cell, headless_outputs, live_outputs in zip(cells, headless, live, strict=False):
        problems = [
            *_compare_outputs(headless_outputs, live_outputs),
            *_find_unreadable_images(headless_outputs),
            *_find_errors(cell, headless_outputs),
        ]
        if problems:
            first_line = cell.source.partition("\n")[0]
            lines = "\n".join(problems).splitlines()
            yield "\n  ".join([f"cell {cell.number}: {first_line}", *lines])
    if len(headless) != len(live):
        yield f"live, {len(live)} cells were run; headless, {len(headless)}"


def _compare_outputs(headless: list[Output], live: list[Output]) -> Iterator[str]:
    if len(headless) != len(live):
        yield f"live, it saves {_describe_outputs(live)}; headless, {_describe_outputs(headless)}"
        return
    for number, (headless_output, live_output) in enumerate(zip(headless, live, strict=True), 1):
        headless_kind, live_kind = _describe_output(headless_output), _describe_output(live_output)
        if headless_kind != live_kind:
            yield f"output {number} is {live_kind} live, {headless_kind} headless"
            continue
        live_parts = _extract_parts(live_output)
        for name, part in _extract_parts(headless_output).items():
            if part != live_parts[name]:
                yield f"output {number}, {name}:\n{_format_diff(part, live_parts[name])}"


def _describe_outputs(outputs: Iterable[Output]) -> str:
    return ", ".join(_describe_output(output) for output in outputs) or "nothing"


def _describe_output(output: Output) -> str:
    keys = "+".join(sorted(output["data"])) if "data" in output else output["name"]
    return f"{output['type']} {keys}"


def _extract_parts(output: Output) -> dict[str, str | bytes]:
    """Return the contents of an output by MIME type: texts, and images as bytes."""
    if "data" not in output:
        return {output["type"]: _MEMORY_ADDRESS.sub("0x", output["text"])}
    parts = {mime: _normalize_content(mime, value) for mime, value in output["data"].items()}
    metadata = json.dumps(output["metadata"], sort_keys=True, indent=1)
    return {**parts, "metadata": metadata}


def _normalize_content(mime: str, value: object) -> str | bytes:
    if mime == WIDGET_MIME and isinstance(value, dict):
        # The ID of a widget is different in every run.
        return json.dumps({**value, "model_id": ""}, sort_keys=True)
    if not isinstance(value, str):
        return json.dumps(value, sort_keys=True, indent=1)
    if mime.startswith("image/") and mime != "image/svg+xml":
        return base64.b64decode(value)
    return _MEMORY_ADDRESS.sub("0x", value)


def _format_diff(headless: str | bytes, live: str | bytes) -> str:
    if isinstance(headless, bytes) or isinstance(live, bytes):
        return f"different images, {len(headless)} bytes headless and {len(live)} live"
    lines = unified_diff(
        headless.splitlines(), live.splitlines(), "headless", "live", lineterm="", n=1
    )
    return "\n".join(line[:MAX_LINE_LENGTH] for line in list(lines)[:MAX_DIFF_LINES])


def _find_unreadable_images(outputs: Iterable[Output]) -> Iterator[str]:
    from jupyter_mjci.notebook.images import identify

    for number, output in enumerate(outputs, 1):
        for mime, content in _extract_parts(output).items():
            if isinstance(content, bytes) and identify(content) is None:
                yield f"output {number}, {mime}: not a readable image"


def _find_errors(cell: Cell, outputs: Iterable[Output]) -> Iterator[str]:
    for output in outputs:
        if output["type"] == "error" and not cell.may_raise:
            text = _ANSI_ESCAPE.sub("", output["text"])
            yield f"it raises {output['name']}:\n{text[-MAX_TRACEBACK:]}"
