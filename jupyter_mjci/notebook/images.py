"""Bytes <-> pictures: what a notebook can show, small enough to be saved in it. The notebook's home
of Pillow.

A thumbnail is PNG or JPEG, whatever the service sent: front ends and converters agree on no other
format. It stays within a budget, so that a notebook with a hundred pictures can still be opened.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyter_mjci.client.job import Job

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

SIZE = 512  # pixels, the longer side of a thumbnail
BUDGET = 60_000  # bytes
NAMES = {"mj": "MJ", "ci": "CI"}
Bundle = tuple[
    dict[str, Any], dict[str, Any]
]  # data and metadata by mime type, as IPython displays them


@dataclass(frozen=True, slots=True)
class Look:
    """What some bytes are, as a picture."""

    format: str
    width: int
    height: int
    frames: int = 1


def look(content: bytes) -> Look | None:
    """What the bytes are, or None where they are no picture that can be opened."""
    try:
        picture = _opened(content)
    except _UNREADABLE:
        return None
    return Look(
        (picture.format or "").lower(), *picture.size, frames=getattr(picture, "n_frames", 1)
    )


def digest(content: bytes) -> str:
    """The SHA-256 of the bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def thumbnail(
    content: bytes, size: int = SIZE, budget: int = BUDGET
) -> tuple[bytes, str, int, int]:
    """The picture (of an animation the first frame) as PNG or JPEG: bytes, media type, width,
    height.

    Neither side is longer than `size`, and the bytes keep to the budget. Raises ValueError for what
    is no picture.
    """
    try:
        picture = _opened(content)
        if _may_stay(picture, content, size, budget):
            return content, f"image/{(picture.format or '').lower()}", *picture.size
        return _small(_upright(picture), size, budget)
    except _UNREADABLE as error:
        raise ValueError(f"This is no picture: {error}") from None


def cells(content: bytes, rows: int = 2, columns: int = 2) -> tuple[bytes, ...]:
    """The pictures of a grid, left to right and top to bottom, as PNG bytes: of an imagined grid U1
    to U4.
    """
    grid = _opened(content)
    width, height = grid.width // columns, grid.height // rows
    corners = [(column * width, row * height) for row in range(rows) for column in range(columns)]
    return tuple(_saved(grid.crop((x, y, x + width, y + height)), "PNG") for x, y in corners)


def picture_bundle(job: Job, content: bytes, size: int = SIZE) -> Bundle:
    """A result picture as an output of its own: the thumbnail, and a text that tells which picture
    it is.

    Never together with HTML, which front ends would prefer. Raises ValueError for what is no
    picture.
    """
    small, mime, width, height = thumbnail(
        content, size, round(BUDGET * max(1, (size / SIZE) ** 2))
    )
    data = {mime: encoded(small), "text/plain": caption(job, content)}
    return data, {mime: {"width": width, "height": height, "alt": alt(job)}}


def caption(job: Job, content: bytes) -> str:
    """Which picture it is, in a line that is the same for the same bytes: id, size, format, short
    hash.
    """
    seen = look(content) or Look("unknown", 0, 0)
    frames = f" {seen.frames} frames" if seen.frames > 1 else ""
    name = NAMES.get(job.service, job.service)
    return f"{name} {job.id} {seen.width}×{seen.height} {seen.format}{frames} sha {digest(content)[:12]}"


def alt(job: Job) -> str:
    """What the picture shows, for those who cannot see it."""
    subject = " ".join(job.subject.split())
    return (
        f"{job.action or 'Result'}: {subject[:250]}"
        if subject
        else f"{job.action or 'Result'} of {job.id}"
    )


def painted(strokes: Iterable[Mapping[str, Any]], size: tuple[int, int]) -> bytes | None:
    """Strokes as a mask of a size: white where they are, black elsewhere; as PNG, None where
    nothing is white.

    A stroke has `points`, `size` and `erase`; its numbers are parts of the picture's width (and
    height, for y).
    """
    from PIL import Image, ImageDraw

    mask = Image.new("L", size)
    pen = ImageDraw.Draw(mask)
    for one in strokes:
        points = [(x * size[0], y * size[1]) for x, y in one["points"]]
        radius, colour = one["size"] * size[0] / 2, 0 if one["erase"] else 255
        pen.line(points, fill=colour, width=max(1, round(radius * 2)), joint="curve")
        for x, y in points:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return _saved(mask, "PNG") if mask.getextrema()[1] else None


def encoded(content: bytes) -> str:
    """Bytes as notebooks keep them."""
    return base64.b64encode(content).decode("ascii")


def data_url(content: bytes, size: int = SIZE, budget: int = BUDGET) -> str:
    """A thumbnail as a data URL, for a card that holds its picture. Raises ValueError for what is
    no picture.
    """
    small, mime, _, _ = thumbnail(content, size, budget)
    return f"data:{mime};base64,{encoded(small)}"


SHEET = 200_000  # bytes of a contact sheet
CELL, LABEL, GAP = 192, 16, 8  # pixels


def contact_sheet(
    contents: Sequence[bytes], labels: Sequence[str], budget: int = SHEET
) -> tuple[bytes, int, int]:
    """Pictures as one JPEG, in rows, each with its label beneath: bytes, width, height."""
    from PIL import Image, ImageDraw, ImageFont

    columns = max(1, min(6, math.ceil(math.sqrt(len(contents)))))
    rows = math.ceil(len(contents) / columns)
    size = (columns * (CELL + GAP) + GAP, rows * (CELL + LABEL + GAP) + GAP)
    drawn = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(11)
    for number, (content, label) in enumerate(zip(contents, labels, strict=True)):
        x, y = GAP + number % columns * (CELL + GAP), GAP + number // columns * (CELL + LABEL + GAP)
        picture = _upright(_opened(content))
        picture.thumbnail((CELL, CELL))
        over = picture if picture.mode == "RGBA" else None
        drawn.paste(
            picture, (x + (CELL - picture.width) // 2, y + (CELL - picture.height) // 2), over
        )
        pen.text((x, y + CELL + 2), _fitting(label, pen, font), fill="#444", font=font)
    attempts = _as_jpeg(drawn)
    last = next(attempts)
    while len(last[0]) > budget and (smaller := next(attempts, None)):
        last = smaller
    return last[0], *last[1].size


def _fitting(label: str, pen: ImageDraw.ImageDraw, font: Any) -> str:
    """As much of a label as has room; what the font has no letters for is left out."""
    label = label.encode("latin-1", "ignore").decode("latin-1")
    while label and pen.textlength(label, font) > CELL:
        label = label[:-1]
    return label


# --- Pillow ---------------------------------------------------------------------------------------

# Whatever a damaged file makes Pillow raise. A decompression bomb is a warning that we take for an
# error.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Warning, MemoryError, OverflowError)


def _opened(content: bytes) -> Image.Image:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return Image.open(io.BytesIO(content))
        except Image.DecompressionBombError as error:
            raise ValueError(str(error)) from None


def _may_stay(picture: Image.Image, content: bytes, size: int, budget: int) -> bool:
    """Whether the service's own bytes can be shown as they are."""
    small = max(picture.size) <= size and len(content) <= budget
    if not small or picture.format not in ("PNG", "JPEG") or getattr(picture, "n_frames", 1) > 1:
        return False
    picture.load()  # a truncated file opens, but does not load
    return True


def _upright(picture: Image.Image) -> Image.Image:
    """The first frame, turned as its EXIF says, in a mode that PNG and JPEG both know."""
    from PIL import ImageOps

    picture.seek(0)
    turned = ImageOps.exif_transpose(picture)
    return turned.convert("RGBA" if turned.has_transparency_data else "RGB")


def _small(picture: Image.Image, size: int, budget: int) -> tuple[bytes, str, int, int]:
    picture.thumbnail((size, size))
    transparent = picture.mode == "RGBA" and picture.getchannel("A").getextrema() != (255, 255)
    kind, attempts = ("png", _as_png(picture)) if transparent else ("jpeg", _as_jpeg(picture))
    last = next(attempts)
    while len(last[0]) > budget and (smaller := next(attempts, None)):
        last = smaller
    return last[0], f"image/{kind}", *last[1].size


def _as_jpeg(picture: Image.Image) -> Iterator[tuple[bytes, Image.Image]]:
    """Ever smaller files: first by quality, then by size."""
    plain = picture.convert("RGB")
    for quality in (85, 75, 60, 45):
        yield _saved(plain, "JPEG", quality=quality, optimize=True), plain
    while min(plain.size) > 32:
        plain = plain.resize((plain.width * 3 // 4, plain.height * 3 // 4))
        yield _saved(plain, "JPEG", quality=60, optimize=True), plain


def _as_png(picture: Image.Image) -> Iterator[tuple[bytes, Image.Image]]:
    """Ever smaller files: first by colours, then by size."""
    yield _saved(picture, "PNG", optimize=True), picture
    while min(picture.size) > 32:
        yield _saved(picture.quantize(128), "PNG", optimize=True), picture
        picture = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4))
    yield _saved(picture.quantize(32), "PNG", optimize=True), picture


def _saved(picture: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()
