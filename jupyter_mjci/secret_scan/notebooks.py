"""The texts of notebooks (nbformat 3 and 4) by cell, and outputs that are cleared."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jupyter_mjci.client.private_files import write_atomically

# Where a text or an image is, and what it is.
LocatedContent = tuple[str, str | bytes]
# Formats of images in outputs; nbformat 3 names them so.
_V3_IMAGES = frozenset({"png", "jpeg"})
_OUTPUT = re.compile(r"cell (\d+), output (\d+)\b")


def list_cells(notebook: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the cells of a notebook; those of nbformat 3 are in worksheets.

    Raises:
        KeyError: it has none
    """
    if "worksheets" in notebook:
        return [cell for sheet in notebook["worksheets"] for cell in sheet["cells"]]
    cells: list[dict[str, Any]] = notebook["cells"]
    return cells


def iter_notebook_content(notebook: Mapping[str, Any]) -> Iterator[LocatedContent]:
    """Yield the texts and images of a notebook; cells and outputs are counted from 1."""
    for number, cell in enumerate(list_cells(notebook), 1):
        rest = dict(cell)
        location = f"cell {number}"
        for name in ("source", "input"):
            yield location, "".join(rest.pop(name, ""))
        for count, output in enumerate(rest.pop("outputs", ()), 1):
            yield from _locate(f"{location}, output {count}", output)
        for name in ("metadata", "attachments"):
            yield from _locate(f"{location}, {name}", rest.pop(name, {}))
        yield from _locate(location, rest)
    for name, value in notebook.items():
        if name not in ("cells", "worksheets"):
            yield from _iter_metadata(name, value)


def _iter_metadata(name: str, value: object) -> Iterator[LocatedContent]:
    if name != "metadata" or not isinstance(value, Mapping):
        yield from _locate("notebook metadata", {name: value})
        return
    for key, item in value.items():
        location = "widget state" if key == "widgets" else "notebook metadata"
        yield from _locate(location, {key: item})


def iter_json_content(document: object) -> Iterator[LocatedContent]:
    """Yield the unescaped texts of a JSON document, without a location."""
    yield from _locate("", document)


def _locate(location: str, value: object) -> Iterator[LocatedContent]:
    """Yield all texts of a value as one, and its images."""
    texts = []
    for content in _iter_values(value):
        if isinstance(content, bytes):
            yield location, content
        else:
            texts.append(content)
    if texts:
        yield location, "\n".join(texts)


def _iter_values(value: object, name: str = "") -> Iterator[str | bytes]:
    """Yield every text inside parsed JSON.

    A text comes with its key, which may tell what it is; a list
    of lines, as notebooks have them, comes joined and line by
    line; an image comes as its bytes.
    """
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _iter_values(item, str(key))
    elif isinstance(value, list):
        if value and all(isinstance(item, str) for item in value):
            yield from _iter_values("".join(value), name)
        for item in value:
            yield from _iter_values(item, name)
    elif isinstance(value, str):
        is_image = name in _V3_IMAGES or (name.startswith("image/") and name != "image/svg+xml")
        yield _decode_image(value) if is_image else f'{name}: "{value}"'


def _decode_image(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=False)
    except (binascii.Error, ValueError):
        return text.encode("utf-8", "surrogatepass")


def is_output(path: Path, location: str) -> bool:
    """Return whether a location is an output of a notebook, which can be cleared."""
    return path.suffix == ".ipynb" and _OUTPUT.match(location) is not None


def clear_outputs(path: Path, locations: Iterable[str]) -> list[str]:
    """Remove the outputs at these locations from a notebook file.

    Args:
        path: the notebook; its mode stays
        locations: as `iter_notebook_content` names them; those
            that are no outputs are left alone

    Returns:
        The locations that were cleared.
    """
    matches = filter(None, map(_OUTPUT.match, locations))
    targets = {(int(match[1]), int(match[2])) for match in matches}
    path = path.resolve()
    notebook = json.loads(path.read_text("utf-8"))
    for number, cell in enumerate(list_cells(notebook), 1):
        if any(target[0] == number for target in targets):
            outputs = enumerate(cell["outputs"], 1)
            cell["outputs"] = [item for count, item in outputs if (number, count) not in targets]
    mode = path.stat().st_mode
    text = json.dumps(notebook, ensure_ascii=False, indent=1) + "\n"
    write_atomically(path, text.encode("utf-8", "surrogatepass"))
    path.chmod(mode)
    return [f"cell {number}, output {count}" for number, count in sorted(targets)]
