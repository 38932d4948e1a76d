"""Bytes as images that a notebook can display and store. Uses Pillow.

A thumbnail is PNG or JPEG, whatever the service sent: no other format is displayed by every front
end and converter. Its size in bytes is limited, so that a notebook with a hundred images can still
be opened.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypedDict

from jupyter_mjci.client.job import Job

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

THUMBNAIL_SIZE = 512  # pixels, the longer side
MAX_THUMBNAIL_BYTES = 60_000
MAX_SHEET_BYTES = 200_000
CELL_SIZE = 192  # pixels, a picture of a contact sheet
LABEL_HEIGHT = 16  # pixels
GAP = 8  # pixels
SERVICE_LABELS = {"mj": "MJ", "ci": "CI"}
# Data and metadata by mime type, as IPython displays them.
MimeBundle: TypeAlias = tuple[Mapping[str, object], Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Format and size of an image."""

    format: str
    width: int
    height: int
    frames: int = 1


class Stroke(TypedDict):
    """A stroke of a brush. `points` and `size` are fractions of the image's width (`y` of its
    height).
    """

    points: Sequence[tuple[float, float]]
    size: float
    erase: bool


def identify(content: bytes) -> ImageInfo | None:
    """Return the format and size of the bytes, or None if they are not a readable image."""
    try:
        image = _open_image(content)
    except _DECODE_ERRORS:
        return None
    frames: int = getattr(image, "n_frames", 1)
    return ImageInfo((image.format or "").lower(), image.width, image.height, frames)


def digest(content: bytes) -> str:
    """Return the SHA-256 of the bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def make_thumbnail(
    content: bytes, size: int = THUMBNAIL_SIZE, max_bytes: int = MAX_THUMBNAIL_BYTES
) -> tuple[bytes, str, int, int]:
    """Convert an image (of an animation the first frame) to a small PNG or JPEG.

    Args:
        content: the image's bytes, in any format that Pillow reads
        size: the longer side is at most so many pixels
        max_bytes: the result has at most so many bytes

    Returns:
        Bytes, media type, width, height. A small PNG or JPEG is returned unchanged.

    Raises:
        ValueError: the bytes are not an image.
    """
    try:
        image = _open_image(content)
        if _can_embed_unchanged(image, content, size, max_bytes):
            return content, f"image/{(image.format or '').lower()}", *image.size
        return _shrink(_normalize_orientation(image), size, max_bytes)
    except _DECODE_ERRORS as error:
        raise ValueError(f"This is not an image: {error}") from None


def picture_bundle(job: Job, content: bytes, size: int = THUMBNAIL_SIZE) -> MimeBundle:
    """Return a result as an output of its own: the thumbnail, and its caption as text.

    HTML is never part of it: front ends would prefer it to the image.

    Raises:
        ValueError: the bytes are not an image.
    """
    scale = max(1, (size / THUMBNAIL_SIZE) ** 2)
    max_bytes = round(MAX_THUMBNAIL_BYTES * scale)
    thumbnail, mime, width, height = make_thumbnail(content, size, max_bytes)
    data = {
        mime: to_base64(thumbnail),
        "text/plain": format_caption(job, content),
    }
    return data, {mime: {"width": width, "height": height, "alt": format_alt_text(job)}}


def format_caption(job: Job, content: bytes) -> str:
    """Return one line that is the same for the same bytes: ID, size, format, short hash.

    nbval compares this line, since it never compares the bytes of an image.
    """
    info = identify(content) or ImageInfo("unknown", 0, 0)
    name = SERVICE_LABELS.get(job.service, job.service)
    kind = f"{info.width}×{info.height} {info.format}"
    if info.frames > 1:
        kind += f" {info.frames} frames"
    return f"{name} {job.id} {kind} sha {digest(content)[:12]}"


def format_alt_text(job: Job) -> str:
    """Return what the image shows, for screen readers."""
    action = job.action or "Result"
    subject = " ".join(job.subject.split())
    return f"{action}: {subject[:250]}" if subject else f"{action} of {job.id}"


def mask_from_strokes(strokes: Iterable[Stroke], size: tuple[int, int]) -> bytes | None:
    """Draw strokes as a mask: white on black.

    Returns:
        PNG bytes, or None if nothing is white.
    """
    from PIL import Image, ImageDraw

    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for stroke in strokes:
        points = [(x * size[0], y * size[1]) for x, y in stroke["points"]]
        radius = stroke["size"] * size[0] / 2
        color = 0 if stroke["erase"] else 255
        draw.line(points, fill=color, width=max(1, round(radius * 2)), joint="curve")
        for x, y in points:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    return _encode(mask, "PNG") if mask.getextrema()[1] else None


def to_base64(content: bytes) -> str:
    """Return bytes as notebooks store them."""
    return base64.b64encode(content).decode("ascii")


def data_url(
    content: bytes, size: int = THUMBNAIL_SIZE, max_bytes: int = MAX_THUMBNAIL_BYTES
) -> str:
    """Return a thumbnail as a data URL.

    Raises:
        ValueError: the bytes are not an image.
    """
    thumbnail, mime, _, _ = make_thumbnail(content, size, max_bytes)
    return f"data:{mime};base64,{to_base64(thumbnail)}"


def contact_sheet(
    contents: Sequence[bytes], labels: Sequence[str], max_bytes: int = MAX_SHEET_BYTES
) -> tuple[bytes, int, int]:
    """Draw images on one JPEG, in rows, each with its label below it.

    Returns:
        Bytes, width, height.
    """
    from PIL import Image, ImageDraw, ImageFont

    columns = max(1, min(6, math.ceil(math.sqrt(len(contents)))))
    rows = math.ceil(len(contents) / columns)
    step = (CELL_SIZE + GAP, CELL_SIZE + LABEL_HEIGHT + GAP)
    sheet = Image.new("RGB", (columns * step[0] + GAP, rows * step[1] + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    for number, (content, label) in enumerate(zip(contents, labels, strict=True)):
        row, column = divmod(number, columns)
        left = GAP + column * step[0]
        top = GAP + row * step[1]
        _paste_centered(sheet, content, left, top)
        text = _truncate_label(label, draw, font)
        draw.text((left, top + CELL_SIZE + 2), text, fill="#444", font=font)
    encoded, encoded_image = _select_encoding(_iter_jpeg_encodings(sheet), max_bytes)
    return encoded, *encoded_image.size


def _paste_centered(sheet: Image.Image, content: bytes, left: int, top: int) -> None:
    image = _normalize_orientation(_open_image(content))
    image.thumbnail((CELL_SIZE, CELL_SIZE))
    left += (CELL_SIZE - image.width) // 2
    top += (CELL_SIZE - image.height) // 2
    sheet.paste(image, (left, top), image if image.mode == "RGBA" else None)


def _truncate_label(
    label: str,
    draw: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> str:
    """Return as much of a label as fits. Characters outside Latin-1 are dropped: Pillow's default
    font has no glyphs for them.
    """
    label = label.encode("latin-1", "ignore").decode("latin-1")
    while label and draw.textlength(label, font) > CELL_SIZE:
        label = label[:-1]
    return label


# --- Pillow ---------------------------------------------------------------------------------------

# What a damaged file makes Pillow raise. `_open_image` turns the warning about a decompression
# bomb into an error.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    Warning,
    MemoryError,
    OverflowError,
)
Encoding: TypeAlias = "tuple[bytes, Image.Image]"


def _open_image(content: bytes) -> Image.Image:
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            return Image.open(io.BytesIO(content))
        except Image.DecompressionBombError as error:
            raise ValueError(str(error)) from None


def _can_embed_unchanged(image: Image.Image, content: bytes, size: int, max_bytes: int) -> bool:
    """Return whether the service's own bytes can be embedded."""
    if max(image.size) > size or len(content) > max_bytes:
        return False
    if image.format not in ("PNG", "JPEG") or getattr(image, "n_frames", 1) > 1:
        return False
    image.load()  # a truncated file can be opened, but not loaded
    return True


def _normalize_orientation(image: Image.Image) -> Image.Image:
    """Return the first frame, rotated by its EXIF orientation, as RGB or RGBA."""
    from PIL import ImageOps

    image.seek(0)
    upright = ImageOps.exif_transpose(image)
    return upright.convert("RGBA" if upright.has_transparency_data else "RGB")


def _shrink(image: Image.Image, size: int, max_bytes: int) -> tuple[bytes, str, int, int]:
    image.thumbnail((size, size))
    mime = "image/jpeg"
    encodings = _iter_jpeg_encodings(image)
    if image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255):
        mime = "image/png"
        encodings = _iter_png_encodings(image)
    encoded, encoded_image = _select_encoding(encodings, max_bytes)
    return encoded, mime, *encoded_image.size


def _select_encoding(encodings: Iterator[Encoding], max_bytes: int) -> Encoding:
    """Return the first encoding that is small enough, else the last."""
    encoding = next(encodings)
    while len(encoding[0]) > max_bytes:
        smaller = next(encodings, None)
        if smaller is None:
            break
        encoding = smaller
    return encoding


def _iter_jpeg_encodings(image: Image.Image) -> Iterator[Encoding]:
    """Yield ever smaller encodings: first of lower quality, then of smaller size."""
    opaque = image.convert("RGB")
    for quality in (85, 75, 60, 45):
        yield _encode(opaque, "JPEG", quality=quality, optimize=True), opaque
    while min(opaque.size) > 32:
        opaque = _scale_down(opaque)
        yield _encode(opaque, "JPEG", quality=60, optimize=True), opaque


def _iter_png_encodings(image: Image.Image) -> Iterator[Encoding]:
    """Yield ever smaller encodings: first of fewer colors, then of smaller size."""
    yield _encode(image, "PNG", optimize=True), image
    while min(image.size) > 32:
        yield _encode(image.quantize(128), "PNG", optimize=True), image
        image = _scale_down(image)
    yield _encode(image.quantize(32), "PNG", optimize=True), image


def _scale_down(image: Image.Image) -> Image.Image:
    return image.resize((image.width * 3 // 4, image.height * 3 // 4))


def _encode(image: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()
