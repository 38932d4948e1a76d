"""The pictures that a notebook was saved with."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.notebook import images
from jupyter_mjci.notebook.gallery import SVG, GalleryItem, is_svg

MIME_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif", SVG)


def load_notebook_images(notebook: Path) -> list[GalleryItem]:
    """The pictures that a notebook was saved with, in its order: its outputs, and those inside
    cards and panels.

    Raises CallError for what is no notebook.
    """
    cells = _load_cells(notebook)
    return [
        shown for number, cell in enumerate(cells, 1) for shown in _iter_cell_items(number, cell)
    ]


def get_title(notebook: Path) -> str:
    """A notebook's first heading, else its name. Raises CallError for what is no notebook."""
    lines = [
        line
        for cell in _load_cells(notebook)
        for line in _join_text(cell.get("source", "")).splitlines()
    ]
    return next((line[2:].strip() for line in lines if line.startswith("# ")), notebook.stem)


def _load_cells(notebook: Path) -> list[dict[str, Any]]:
    try:
        document = json.loads(notebook.read_text("utf-8"))
    except OSError as error:
        raise InvalidRequest(
            f"Cannot read {notebook}.", detail=error.strerror or str(error)
        ) from None
    except ValueError as error:
        raise InvalidRequest(f"{notebook} is no notebook.", detail=str(error)) from None
    if not isinstance(document, dict) or document.get("nbformat") != 4:
        raise InvalidRequest(
            f"{notebook} is no notebook of format 4.", hint="JupyterLab saves it as one."
        )
    return list(document["cells"])


def _iter_cell_items(number: int, cell: Mapping[str, Any]) -> Iterator[GalleryItem]:
    last = (
        _join_text(cell.get("source", "")).strip().rpartition("\n")[2]
    )  # what a cell shows, its last line gives
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        text = _join_text(data.get("text/plain", ""))
        for content, alt in (
            *_iter_output_pictures(data, output.get("metadata", {})),
            *_iter_html_pictures(_join_text(data.get("text/html", ""))),
        ):
            told = alt or last.removeprefix("_ = ")
            caption = text if alt and text and not data.get("text/html") else _format_size(content)
            yield GalleryItem(
                content, f"cell {number}", "", told, caption, told or f"Output of cell {number}"
            )


def _iter_output_pictures(
    data: Mapping[str, Any], metadata: Mapping[str, Any]
) -> Iterator[tuple[bytes, str]]:
    """An output's picture and its alternative text; of several kinds of the same the first that can
    be shown.
    """
    for kind in MIME_TYPES:
        content = _join_text(data.get(kind, "")).encode()
        shown = content if kind == SVG else _decode_base64(content)
        if _is_displayable(shown):
            yield shown, metadata.get(kind, {}).get("alt", "")
            return


def _iter_html_pictures(html: str) -> Iterator[tuple[bytes, str]]:
    """The pictures that are part of a card or a panel, and their alternative texts."""
    found = _ImageUrlParser()
    found.feed(html)
    for url, alt in found.urls:
        head, _, body = url.partition(",")
        content = (
            _decode_base64(body.encode()) if head.endswith(";base64") else unquote_to_bytes(body)
        )
        if _is_displayable(content):
            yield content, alt


class _ImageUrlParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.urls: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        if tag == "img" and told.get("src", "").startswith("data:image/"):
            self.urls.append((told["src"], told.get("alt", "")))


def _decode_base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text)
    except ValueError:  # a damaged picture costs no other
        return b""


def _is_displayable(content: bytes) -> bool:
    return is_svg(content) or images.identify(content) is not None


def _format_size(content: bytes) -> str:
    seen = images.identify(content)
    return f"{seen.width}×{seen.height} {seen.format}" if seen else "svg"


def _join_text(text: str | list[str]) -> str:
    """Notebooks keep texts whole or as a list of their lines."""
    return text if isinstance(text, str) else "".join(text)
