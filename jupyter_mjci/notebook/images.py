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

THUMBNAIL_SIZE = 512  # pixels, the longer side of a thumbnail
MAX_THUMBNAIL_BYTES = 60_000  # bytes
SERVICE_LABELS = {"mj": "MJ", "ci": "CI"}
MimeBundle = tuple[
    dict[str, Any], dict[str, Any]
]  # data and metadata by mime type, as IPython displays them


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What some bytes are, as a picture."""

    format: str
    width: int
    height: int
    frames: int = 1


def identify(content: bytes) -> ImageInfo | None:
    """What the bytes are, or None where they are no picture that can be opened."""
    try:
        picture = _open_image(content)
    except _DECODE_ERRORS:
        return None
    return ImageInfo(
        (picture.format or "").lower(), *picture.size, frames=getattr(picture, "n_frames", 1)
    )


def digest(content: bytes) -> str:
    """The SHA-256 of the bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def make_thumbnail(
    content: bytes, size: int = THUMBNAIL_SIZE, max_bytes: int = MAX_THUMBNAIL_BYTES
) -> tuple[bytes, str, int, int]:
    """The picture (of an animation the first frame) as PNG or JPEG: bytes, media type, width,
    height.

    Neither side is longer than `size`, and the bytes keep to the budget. Raises ValueError for what
    is no picture.
    """
    try:
        picture = _open_image(content)
        if _can_embed_unchanged(picture, content, size, max_bytes):
            return content, f"image/{(picture.format or '').lower()}", *picture.size
        return _shrink(_normalize_orientation(picture), size, max_bytes)
    except _DECODE_ERRORS as error:
        raise ValueError(f"This is no picture: {error}") from None


def split_grid(content: bytes, rows: int = 2, columns: int = 2) -> tuple[bytes, ...]:
    """The pictures of a grid, left to right and top to bottom, as PNG bytes: of an imagined grid U1
    to U4.
    """
    grid = _open_image(content)
    width, height = grid.width // columns, grid.height // rows
    corners = [(column * width, row * height) for row in range(rows) for column in range(columns)]
    return tuple(_encode(grid.crop((x, y, x + width, y + height)), "PNG") for x, y in corners)


def picture_bundle(job: Job, content: bytes, size: int = THUMBNAIL_SIZE) -> MimeBundle:
    """A result picture as an output of its own: the thumbnail, and a text that tells which picture
    it is.

    Never together with HTML, which front ends would prefer. Raises ValueError for what is no
    picture.
    """
    small, mime, width, height = make_thumbnail(
        content, size, round(MAX_THUMBNAIL_BYTES * max(1, (size / THUMBNAIL_SIZE) ** 2))
    )
    data = {mime: to_base64(small), "text/plain": format_caption(job, content)}
    return data, {mime: {"width": width, "height": height, "alt": format_alt_text(job)}}


def format_caption(job: Job, content: bytes) -> str:
    """Which picture it is, in a line that is the same for the same bytes: id, size, format, short
    hash.
    """
    seen = identify(content) or ImageInfo("unknown", 0, 0)
    frames = f" {seen.frames} frames" if seen.frames > 1 else ""
    name = SERVICE_LABELS.get(job.service, job.service)
    return f"{name} {job.id} {seen.width}×{seen.height} {seen.format}{frames} sha {digest(content)[:12]}"


def format_alt_text(job: Job) -> str:
    """What the picture shows, for those who cannot see it."""
    subject = " ".join(job.subject.split())
    return (
        f"{job.action or 'Result'}: {subject[:250]}"
        if subject
        else f"{job.action or 'Result'} of {job.id}"
    )


def mask_from_strokes(strokes: Iterable[Mapping[str, Any]], size: tuple[int, int]) -> bytes | None:
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
    return _encode(mask, "PNG") if mask.getextrema()[1] else None


def to_base64(content: bytes) -> str:
    """Bytes as notebooks keep them."""
    return base64.b64encode(content).decode("ascii")


def data_url(
    content: bytes, size: int = THUMBNAIL_SIZE, max_bytes: int = MAX_THUMBNAIL_BYTES
) -> str:
    """A thumbnail as a data URL, for a card that holds its picture. Raises ValueError for what is
    no picture.
    """
    small, mime, _, _ = make_thumbnail(content, size, max_bytes)
    return f"data:{mime};base64,{to_base64(small)}"


MAX_SHEET_BYTES = 200_000  # bytes of a contact sheet
CELL_SIZE, LABEL_HEIGHT, GAP = 192, 16, 8  # pixels


def contact_sheet(
    contents: Sequence[bytes], labels: Sequence[str], max_bytes: int = MAX_SHEET_BYTES
) -> tuple[bytes, int, int]:
    """Pictures as one JPEG, in rows, each with its label beneath: bytes, width, height."""
    from PIL import Image, ImageDraw, ImageFont

    columns = max(1, min(6, math.ceil(math.sqrt(len(contents)))))
    rows = math.ceil(len(contents) / columns)
    size = (columns * (CELL_SIZE + GAP) + GAP, rows * (CELL_SIZE + LABEL_HEIGHT + GAP) + GAP)
    drawn = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(drawn), ImageFont.load_default(11)
    for number, (content, label) in enumerate(zip(contents, labels, strict=True)):
        x, y = (
            GAP + number % columns * (CELL_SIZE + GAP),
            GAP + number // columns * (CELL_SIZE + LABEL_HEIGHT + GAP),
        )
        picture = _normalize_orientation(_open_image(content))
        picture.thumbnail((CELL_SIZE, CELL_SIZE))
        over = picture if picture.mode == "RGBA" else None
        drawn.paste(
            picture,
            (x + (CELL_SIZE - picture.width) // 2, y + (CELL_SIZE - picture.height) // 2),
            over,
        )
        pen.text((x, y + CELL_SIZE + 2), _truncate_label(label, pen, font), fill="#444", font=font)
    attempts = _iter_jpeg_encodings(drawn)
    last = next(attempts)
    while len(last[0]) > max_bytes and (smaller := next(attempts, None)):
        last = smaller
    return last[0], *last[1].size


def _truncate_label(label: str, pen: ImageDraw.ImageDraw, font: Any) -> str:
    """As much of a label as has room; what the font has no letters for is left out."""
    label = label.encode("latin-1", "ignore").decode("latin-1")
    while label and pen.textlength(label, font) > CELL_SIZE:
        label = label[:-1]
    return label


# --- Pillow ---------------------------------------------------------------------------------------

# Whatever a damaged file makes Pillow raise. A decompression bomb is a warning that we take for an
# error.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Warning, MemoryError, OverflowError)


def _open_image(content: bytes) -> Image.Image:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return Image.open(io.BytesIO(content))
        except Image.DecompressionBombError as error:
            raise ValueError(str(error)) from None


def _can_embed_unchanged(picture: Image.Image, content: bytes, size: int, max_bytes: int) -> bool:
    """Whether the service's own bytes can be shown as they are."""
    small = max(picture.size) <= size and len(content) <= max_bytes
    if not small or picture.format not in ("PNG", "JPEG") or getattr(picture, "n_frames", 1) > 1:
        return False
    picture.load()  # a truncated file opens, but does not load
    return True


def _normalize_orientation(picture: Image.Image) -> Image.Image:
    """The first frame, turned as its EXIF says, in a mode that PNG and JPEG both know."""
    from PIL import ImageOps

    picture.seek(0)
    turned = ImageOps.exif_transpose(picture)
    return turned.convert("RGBA" if turned.has_transparency_data else "RGB")


def _shrink(picture: Image.Image, size: int, max_bytes: int) -> tuple[bytes, str, int, int]:
    picture.thumbnail((size, size))
    transparent = picture.mode == "RGBA" and picture.getchannel("A").getextrema() != (255, 255)
    kind, attempts = (
        ("png", _iter_png_encodings(picture))
        if transparent
        else ("jpeg", _iter_jpeg_encodings(picture))
    )
    last = next(attempts)
    while len(last[0]) > max_bytes and (smaller := next(attempts, None)):
        last = smaller
    return last[0], f"image/{kind}", *last[1].size


def _iter_jpeg_encodings(picture: Image.Image) -> Iterator[tuple[bytes, Image.Image]]:
    """Ever smaller files: first by quality, then by size."""
    plain = picture.convert("RGB")
    for quality in (85, 75, 60, 45):
        yield _encode(plain, "JPEG", quality=quality, optimize=True), plain
    while min(plain.size) > 32:
        plain = plain.resize((plain.width * 3 // 4, plain.height * 3 // 4))
        yield _encode(plain, "JPEG", quality=60, optimize=True), plain


def _iter_png_encodings(picture: Image.Image) -> Iterator[tuple[bytes, Image.Image]]:
    """Ever smaller files: first by colours, then by size."""
    yield _encode(picture, "PNG", optimize=True), picture
    while min(picture.size) > 32:
        yield _encode(picture.quantize(128), "PNG", optimize=True), picture
        picture = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4))
    yield _encode(picture.quantize(32), "PNG", optimize=True), picture


def _encode(picture: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()
