"""The pictures that a notebook was saved with: in its outputs, and inside cards and panels."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import TypedDict
from urllib.parse import unquote_to_bytes

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.notebook import images
from jupyter_mjci.notebook.gallery import SVG, GalleryItem, is_svg

MIME_TYPES = ("image/png", "image/jpeg", "image/webp", "image/gif", SVG)
# nbformat stores a text whole or as a list of its lines.
MultilineText = str | list[str]


class Output(TypedDict, total=False):
    """An output of a cell, as far as it is used here."""

    data: dict[str, MultilineText]
    metadata: dict[str, dict[str, str]]


class Cell(TypedDict, total=False):
    """A cell, as far as it is used here."""

    source: MultilineText
    outputs: list[Output]


def load_notebook_images(notebook: Path) -> list[GalleryItem]:
    """Return the pictures of a saved notebook, in its order.

    Raises:
        InvalidRequest: the file cannot be read or is not a
            notebook.
    """
    items: list[GalleryItem] = []
    for number, cell in enumerate(_load_cells(notebook), 1):
        items += _iter_cell_items(number, cell)
    return items


def get_title(notebook: Path) -> str:
    """Return a notebook's first heading, else its file name.

    Raises:
        InvalidRequest: the file cannot be read or is not a
            notebook.
    """
    for cell in _load_cells(notebook):
        for line in _join_text(cell.get("source", "")).splitlines():
            if line.startswith("# "):
                return line[2:].strip()
    return notebook.stem


def _load_cells(notebook: Path) -> list[Cell]:
    try:
        document = json.loads(notebook.read_text("utf-8"))
    except OSError as error:
        raise InvalidRequest(
            f"Cannot read {notebook}.", detail=error.strerror or str(error)
        ) from None
    except ValueError as error:
        raise InvalidRequest(f"{notebook} is not a notebook.", detail=str(error)) from None
    if not isinstance(document, dict) or document.get("nbformat") != 4:
        raise InvalidRequest(
            f"{notebook} is not a notebook in nbformat 4.",
            hint="Open and save it in JupyterLab to convert it.",
        )
    return list(document["cells"])


def _iter_cell_items(number: int, cell: Cell) -> Iterator[GalleryItem]:
    # An output without a text of its own is described by the
    # cell's last line.
    last_line = _join_text(cell.get("source", "")).strip().rpartition("\n")[2]
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        text = _join_text(data.get("text/plain", ""))
        html = _join_text(data.get("text/html", ""))
        for content, alt in (
            *_iter_output_pictures(output),
            *_iter_html_pictures(html),
        ):
            subject = alt or last_line.removeprefix("_ = ")
            is_ours = alt and text and not html
            yield GalleryItem(
                content,
                kind=f"cell {number}",
                name="",
                subject=subject,
                caption=text if is_ours else _format_size(content),
                alt=subject or f"Output of cell {number}",
            )


def _iter_output_pictures(output: Output) -> Iterator[tuple[bytes, str]]:
    """Yield an output's picture and its alt text: the first mime type that can be displayed."""
    data = output.get("data", {})
    for mime in MIME_TYPES:
        content = _join_text(data.get(mime, "")).encode()
        if mime != SVG:
            content = _decode_base64(content)
        if _is_displayable(content):
            yield content, output.get("metadata", {}).get(mime, {}).get("alt", "")
            return


def _iter_html_pictures(html: str) -> Iterator[tuple[bytes, str]]:
    """Yield the data URLs of img elements and their alt texts."""
    parser = _ImageUrlParser()
    parser.feed(html)
    for url, alt in parser.urls:
        head, _, body = url.partition(",")
        if head.endswith(";base64"):
            content = _decode_base64(body.encode())
        else:
            content = unquote_to_bytes(body)
        if _is_displayable(content):
            yield content, alt


class _ImageUrlParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.urls: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        url = attributes.get("src") or ""
        if tag == "img" and url.startswith("data:image/"):
            self.urls.append((url, attributes.get("alt") or ""))


def _decode_base64(text: bytes) -> bytes:
    """Decode base64; a damaged picture is b"", so that it does not prevent the others."""
    try:
        return base64.b64decode(text)
    except ValueError:
        return b""


def _is_displayable(content: bytes) -> bool:
    return is_svg(content) or images.identify(content) is not None


def _format_size(content: bytes) -> str:
    info = images.identify(content)
    return f"{info.width}×{info.height} {info.format}" if info else "svg"


def _join_text(text: MultilineText) -> str:
    return text if isinstance(text, str) else "".join(text)
