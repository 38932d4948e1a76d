"""Draw a labelled sheet of pictures: a table with a label for every row and column.

The sheet has a white background of its own and dark text, so that
it reads the same in a light and in a dark notebook and on paper.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageDraw

from jupyter_mjci.imaging.fonts import draw_text
from jupyter_mjci.imaging.model import RuleError
from jupyter_mjci.imaging.picture import Picture, Provenance
from jupyter_mjci.imaging.thumbnails import (
    DECODE_ERRORS,
    encode_image,
    normalize_orientation,
    open_image,
    shrink_to_budget,
    to_base64,
)

BACKGROUND = "#ffffff"
TEXT_COLOR = "#1f1f1f"
FAINT_COLOR = "#595959"
EMPTY_COLOR = "#ececec"
FONT_SIZE = 14
LINE_HEIGHT = 20
GAP = 8
# pixels; a sheet's own size depends on how many pictures it has
MAX_WIDTH = 2000
MIN_TILE = 72
MAX_TILE = 256
MAX_ROW_LABEL = 180
# A sheet may take as much as so many thumbnails of the same
# size, but a notebook has to be opened.
BYTES_PER_PICTURE = 12_000
MAX_SHEET_BYTES = (120_000, 800_000)

# The content of a cell: pictures, or a text where there is none.
Cell = Sequence["bytes | str"]


@dataclass(frozen=True, slots=True)
class Sheet:
    """What a sheet shows.

    Args:
        cells: what stands in each cell, by row and column
        rows: the label of each row; "" for none
        columns: the label of each column
        title: above everything
        captions: a label below each cell, instead of those of
            rows and columns
    """

    cells: Mapping[tuple[int, int], Cell]
    rows: Sequence[str]
    columns: Sequence[str]
    title: str = ""
    captions: Mapping[tuple[int, int], str] = field(default_factory=dict)

    @property
    def tiling(self) -> tuple[int, int]:
        """How many pictures the fullest cell has across and down."""
        count = max(map(len, self.cells.values()), default=1)
        across = math.ceil(math.sqrt(count))
        return across, math.ceil(count / across)

    @property
    def aspect(self) -> float:
        """The height of the tallest picture, as a part of its width."""
        contents = [content for cell in self.cells.values() for content in cell]
        sizes = [_get_size(content) for content in contents if isinstance(content, bytes)]
        return max((height / width for width, height in sizes), default=0.75)


class ContactSheet(Picture):
    """A sheet as a picture; a cell shows it as it is, because its labels have to be read."""

    def _repr_mimebundle_(
        self,
        **_: object,
    ) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        width, height = self.size
        data = {"image/jpeg": to_base64(self), "text/plain": repr(self)}
        return data, {"image/jpeg": {"width": width, "height": height, "alt": self.alt_text}}


def fit_picture(
    content: bytes,
    size: int = MAX_TILE,
) -> bytes:
    """Scale a picture down to what a sheet shows of it; much cheaper to keep than the original.

    Raises:
        ValueError: the bytes are not a picture
    """
    try:
        image = open_image(content)
        # A JPEG is decoded at a fraction of its size.
        image.draft("RGB", (size, size))
        image = normalize_orientation(image)
        image.thumbnail((size, size))
    except DECODE_ERRORS as error:
        raise ValueError(f"The bytes are not an image: {error}") from None
    return encode_image(_flatten(image), "JPEG", quality=88)


def draw_sheet(sheet: Sheet) -> ContactSheet:
    """Draw a sheet as a JPEG.

    A cell with several pictures shows them side by side, in a
    square.
    """
    layout = _Layout.fit(sheet)
    image = Image.new("RGB", layout.size, BACKGROUND)
    _write(image, sheet.title, (GAP, GAP), layout.size[0] - 2 * GAP)
    for column, label in enumerate(sheet.columns):
        left, top = layout.get_corner(0, column)
        _write(image, label, (left, top - LINE_HEIGHT), layout.cell[0])
    for row, label in enumerate(sheet.rows):
        _, top = layout.get_corner(row, 0)
        middle = top + (layout.cell[1] - LINE_HEIGHT) // 2
        _write(image, label, (GAP, middle), layout.label_width - GAP)
    for (row, column), cell in sheet.cells.items():
        _draw_cell(image, cell, layout, layout.get_corner(row, column))
    for (row, column), caption in sheet.captions.items():
        left, top = layout.get_corner(row, column)
        _write(image, caption, (left, top + layout.cell[1] + 2), layout.cell[0])
    count = sum(map(len, sheet.cells.values()))
    smallest, largest = MAX_SHEET_BYTES
    content = shrink_to_budget(image, min(max(count * BYTES_PER_PICTURE, smallest), largest))
    subject = f"{count} pictures: {sheet.title}".removesuffix(": ")
    return ContactSheet(content, Provenance(action="Sheet", subject=subject))


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where everything stands, in pixels.

    Args:
        tile: width and height of a picture
        tiling: how many pictures a cell has across and down
        label_width: the width of the labels of rows
        top: where the first row begins
        step: from one cell to the next, across and down
        size: of the sheet
    """

    tile: tuple[int, int]
    tiling: tuple[int, int]
    label_width: int
    top: int
    step: tuple[int, int]
    size: tuple[int, int]

    @classmethod
    def fit(
        cls,
        sheet: Sheet,
    ) -> _Layout:
        """Choose the largest pictures with which the sheet is no wider than it may be."""
        columns = max(len(sheet.columns), 1)
        across, down = sheet.tiling
        label_width = GAP
        if any(sheet.rows):
            label_width += min(max(map(_measure, sheet.rows)), MAX_ROW_LABEL) + GAP
        available = ((MAX_WIDTH - label_width) // columns - GAP) // across
        width = max(MIN_TILE, min(available, MAX_TILE))
        tile = (width, round(width * min(sheet.aspect, 2)))
        caption = LINE_HEIGHT * bool(sheet.captions)
        step = (across * width + GAP, down * tile[1] + GAP + caption)
        top = GAP
        top += (LINE_HEIGHT + GAP) * bool(sheet.title) + LINE_HEIGHT * any(sheet.columns)
        size = (label_width + columns * step[0], top + len(sheet.rows) * step[1] + GAP)
        return cls(tile, sheet.tiling, label_width, top, step, size)

    @property
    def cell(self) -> tuple[int, int]:
        """Width and height of a cell."""
        return self.tile[0] * self.tiling[0], self.tile[1] * self.tiling[1]

    def get_corner(
        self,
        row: int,
        column: int,
    ) -> tuple[int, int]:
        """Return the upper left corner of a cell."""
        return self.label_width + column * self.step[0], self.top + row * self.step[1]


def _draw_cell(
    sheet: Image.Image,
    cell: Cell,
    layout: _Layout,
    corner: tuple[int, int],
) -> None:
    for position, content in enumerate(cell):
        row, column = divmod(position, layout.tiling[0])
        place = (corner[0] + column * layout.tile[0], corner[1] + row * layout.tile[1])
        if isinstance(content, str):
            _draw_empty(sheet, content, place, layout.tile)
        else:
            _paste_picture(sheet, content, place, layout.tile)


def _draw_empty(
    sheet: Image.Image, text: str, place: tuple[int, int], tile: tuple[int, int]
) -> None:
    left, top = place
    box = (left, top, left + tile[0] - 2, top + tile[1] - 2)
    ImageDraw.Draw(sheet).rectangle(box, fill=EMPTY_COLOR)
    lines = max(1, (tile[1] - 8) // LINE_HEIGHT)
    for number, line in enumerate(_wrap(text, tile[0] - 8)[:lines]):
        _write(sheet, line, (left + 4, top + 4 + number * LINE_HEIGHT), tile[0] - 8, FAINT_COLOR)


def _paste_picture(
    sheet: Image.Image, content: bytes, place: tuple[int, int], tile: tuple[int, int]
) -> None:
    image = Image.open(io.BytesIO(content))
    image.thumbnail((tile[0] - 2, tile[1] - 2))
    left = place[0] + (tile[0] - image.width) // 2
    top = place[1] + (tile[1] - image.height) // 2
    sheet.paste(_flatten(image), (left, top))


def _get_size(content: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(content)) as image:
        return image.size


def _flatten(image: Image.Image) -> Image.Image:
    """Lay a picture on white where it is transparent."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    page = Image.new("RGB", image.size, BACKGROUND)
    page.paste(image, mask=image)
    return page


# --- text -------------------------------------------------------


def _write(
    sheet: Image.Image,
    text: str,
    place: tuple[int, int],
    width: int,
    color: str = TEXT_COLOR,
) -> None:
    """Write a line; what is too long ends with an ellipsis."""
    text = _shorten(" ".join(text.split()), width)
    if not text:
        return
    letters = _draw_line(text, color, width)
    top = place[1] + (LINE_HEIGHT - letters.height) // 2
    sheet.paste(letters, (place[0], top), letters)


def _draw_line(
    text: str,
    color: str,
    width: int,
) -> Image.Image:
    try:
        return draw_text(text, FONT_SIZE, color, (width, LINE_HEIGHT))
    except RuleError:
        # No font has one of its characters: say the others.
        known = text.encode("latin-1", "replace").decode("latin-1")
        return draw_text(known, FONT_SIZE, color, (width, LINE_HEIGHT))


def _measure(text: str) -> int:
    """Return about how many pixels a line takes."""
    wide = sum(ord(character) > 0x2E7F for character in text)
    return math.ceil((len(text) + wide) * FONT_SIZE * 0.56)


def _shorten(
    text: str,
    width: int,
) -> str:
    if _measure(text) <= width:
        return text
    while text and _measure(text + "…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…" if text else ""


def _wrap(
    text: str,
    width: int,
) -> list[str]:
    """Split a text into lines that fit."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and _measure(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    return lines
