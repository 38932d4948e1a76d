"""Turn image bytes into what a notebook can show and keep: thumbnails, grid cells, contact sheets.

A thumbnail is PNG or JPEG, whatever the service sent, because
front ends and converters agree on no other format. It stays
within a size budget, so that a notebook with a hundred images can
still be opened. Pillow is imported on first use, which keeps
loading the extension fast.
"""

from __future__ import annotations

import base64
import hashlib
import io
import math
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from PIL import Image, ImageDraw, ImageFont

THUMBNAIL_SIZE = 512  # pixels, the longer side of a thumbnail
MAX_THUMBNAIL_BYTES = 60_000
MAX_SHEET_BYTES = 200_000
# pixels, the longer side of an image in a contact sheet
CELL_SIZE = 192
LABEL_HEIGHT = 16
GAP = 8
MAX_COLUMNS = 6
MAX_FRAMES = 1000
# pixels; images are not shrunk below this to fit a size budget
MIN_SIDE = 32
# A larger picture is reduced strip by strip: each step on the
# way to a thumbnail would copy it as a whole.
MAX_WHOLE_PIXELS = 4096**2
STRIP_PIXELS = 2**20
# Its decoder takes four times the memory of the others.
MAX_WEBP_PIXELS = 44_000_000

# Whatever a damaged file makes Pillow raise. A decompression bomb
# is a warning that counts as an error here.
DECODE_ERRORS = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    Warning,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image file says about itself; `format` is in lower case."""

    format: str
    width: int
    height: int
    frames: int = 1


def identify(content: bytes) -> ImageHeader | None:
    """Return the format, size and number of frames, or None if the bytes are not an image."""
    try:
        image = open_image(content)
    except DECODE_ERRORS:
        return None
    frames = count_frames(image, content)
    return ImageHeader((image.format or "").lower(), image.width, image.height, frames)


def count_frames(image: Image.Image, content: bytes) -> int:
    """Return how many frames an image has; of a GIF with too many about how many.

    Pillow walks through all frames of a GIF to count them.
    """
    extensions = content.count(b"!\xf9\x04") if image.format == "GIF" else 0
    if extensions > MAX_FRAMES:
        return extensions
    try:
        return int(getattr(image, "n_frames", 1))
    except DECODE_ERRORS:  # damaged behind the first frame
        return 1


def digest(content: bytes) -> str:
    """Return the SHA-256 of the bytes in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def to_base64(content: bytes) -> str:
    """Encode bytes as notebooks store them."""
    return base64.b64encode(content).decode("ascii")


def make_thumbnail(
    content: bytes, size: int = THUMBNAIL_SIZE, max_bytes: int = MAX_THUMBNAIL_BYTES
) -> tuple[bytes, str, int, int]:
    """Convert an image, or the first frame of an animation, to a small PNG or JPEG.

    Args:
        size: the longest side in pixels
        max_bytes: the size budget; a side may get shorter than
            `size` to keep it

    Returns:
        The bytes, their media type, width and height.

    Raises:
        ValueError: the bytes are not an image
    """
    try:
        image = open_image(content)
        if _can_embed_unchanged(image, content, size, max_bytes):
            return content, f"image/{(image.format or '').lower()}", *image.size
        return _shrink(load_upright(image, size), size, max_bytes)
    except DECODE_ERRORS as error:
        raise ValueError(f"The bytes are not an image: {error}") from None


def data_url(
    content: bytes, size: int = THUMBNAIL_SIZE, max_bytes: int = MAX_THUMBNAIL_BYTES
) -> str:
    """Return a thumbnail as a data URL. Takes and raises what `make_thumbnail` does."""
    thumbnail, mime, _, _ = make_thumbnail(content, size, max_bytes)
    return f"data:{mime};base64,{to_base64(thumbnail)}"


def split_grid(content: bytes, rows: int = 2, columns: int = 2) -> tuple[bytes, ...]:
    """Cut a grid into its images, left to right and top to
    bottom, as PNG (U1 to U4 of an imagined grid).
    """
    grid = open_image(content)
    width, height = grid.width // columns, grid.height // rows
    cells = []
    for row in range(rows):
        for column in range(columns):
            left, top = column * width, row * height
            cells.append(encode_image(grid.crop((left, top, left + width, top + height)), "PNG"))
    return tuple(cells)


def contact_sheet(
    contents: Sequence[bytes], labels: Sequence[str], max_bytes: int = MAX_SHEET_BYTES
) -> tuple[bytes, int, int]:
    """Lay out images in rows, each above its label.

    Returns:
        A JPEG, its width and its height.
    """
    from PIL import Image, ImageDraw, ImageFont

    columns = max(1, min(MAX_COLUMNS, math.ceil(math.sqrt(len(contents)))))
    rows = math.ceil(len(contents) / columns)
    step_x, step_y = CELL_SIZE + GAP, CELL_SIZE + LABEL_HEIGHT + GAP
    sheet = Image.new("RGB", (columns * step_x + GAP, rows * step_y + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(11)
    for index, (content, label) in enumerate(zip(contents, labels, strict=True)):
        row, column = divmod(index, columns)
        x, y = GAP + column * step_x, GAP + row * step_y
        _paste_centered(sheet, content, x, y)
        text = _truncate_label(label, draw, font)
        draw.text((x, y + CELL_SIZE + 2), text, fill="#444", font=font)
    encoded, image = _choose_encoding(_iter_jpeg_encodings(sheet), max_bytes)
    return encoded, *image.size


def shrink_to_budget(image: Image.Image, max_bytes: int) -> bytes:
    """Encode an image as a JPEG within a size budget, of fewer pixels where it has to be."""
    return _choose_encoding(_iter_jpeg_encodings(image), max_bytes)[0]


def _paste_centered(sheet: Image.Image, content: bytes, x: int, y: int) -> None:
    """Paste an image into the middle of the cell at x, y."""
    image = load_upright(open_image(content), CELL_SIZE)
    image.thumbnail((CELL_SIZE, CELL_SIZE))
    mask = image if image.mode == "RGBA" else None
    left, top = (CELL_SIZE - image.width) // 2, (CELL_SIZE - image.height) // 2
    sheet.paste(image, (x + left, y + top), mask)


def _truncate_label(
    label: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> str:
    """Cut a label to the width of a cell, without the characters that the font lacks."""
    label = label.encode("latin-1", "ignore").decode("latin-1")
    while label and draw.textlength(label, font) > CELL_SIZE:
        label = label[:-1]
    return label


def open_image(content: bytes) -> Image.Image:
    """Open an image lazily; a decompression bomb raises ValueError or a warning of Pillow."""
    from PIL import Image

    with _quiet_pillow():
        try:
            if is_heif(content):
                return _open_heif(content)
            image = Image.open(io.BytesIO(content))
        except Image.DecompressionBombError as error:
            raise ValueError(str(error)) from None
    if image.format == "WEBP" and image.width * image.height > MAX_WEBP_PIXELS:
        raise ValueError(f"WebP of {image.width}x{image.height} exceeds limit of its decoder")
    return image


@contextmanager
def _quiet_pillow() -> Iterator[None]:
    """Make a decompression bomb an error, and ignore what Pillow says of odd metadata."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def is_heif(content: bytes) -> bool:
    """Return whether the bytes are a HEIC or HEIF picture."""
    return content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS


_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")


def _open_heif(content: bytes) -> Image.Image:
    """Open a HEIC picture; ValueError where the extra `heif` is not installed."""
    try:
        import pillow_heif
    except ImportError:
        raise ValueError("pip install 'jupyter_mjci[heif]' reads HEIC pictures") from None
    image: Image.Image = pillow_heif.HeifImageFile(io.BytesIO(content))
    return image


def _can_embed_unchanged(image: Image.Image, content: bytes, size: int, max_bytes: int) -> bool:
    """Whether the service's own bytes can be shown as they are."""
    if max(image.size) > size or len(content) > max_bytes:
        return False
    if image.format not in ("PNG", "JPEG") or getattr(image, "n_frames", 1) > 1:
        return False
    # A truncated file opens, but does not load.
    image.load()
    return True


def load_upright(image: Image.Image, size: int) -> Image.Image:
    """Do what `normalize_orientation` does, and reduce what is huge for a thumbnail of a size."""
    from PIL import ExifTags, ImageOps

    if image.width * image.height <= MAX_WHOLE_PIXELS:
        return normalize_orientation(image)
    image.seek(0)
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    # A JPEG is decoded at a fraction of its size.
    image.draft(None, (4 * size, 4 * size))
    reduced = _reduce_in_strips(image, max(image.size) // (2 * size) or 1)
    reduced.getexif()[ExifTags.Base.Orientation] = orientation
    return ImageOps.exif_transpose(reduced)


def _reduce_in_strips(image: Image.Image, factor: int) -> Image.Image:
    """Return a picture as RGB or RGBA, each pixel the mean of a square of its pixels."""
    from PIL import Image

    rows = factor * (STRIP_PIXELS // (image.width * factor) or 1)
    tops = range(0, image.height, rows)
    boxes = [(0, top, image.width, min(top + rows, image.height)) for top in tops]
    highest = None
    if image.mode.startswith(("I", "F")):
        highest = max(_get_highest(image.crop(box)) for box in boxes)
    strips = (to_rgb(image.crop(box), highest).reduce(factor) for box in boxes)
    size = math.ceil(image.width / factor), math.ceil(image.height / factor)
    reduced = Image.new("RGBA" if image.has_transparency_data else "RGB", size)
    for top, strip in zip(tops, strips, strict=True):
        reduced.paste(strip, (0, top // factor))
    return reduced


def normalize_orientation(image: Image.Image) -> Image.Image:
    """Return the first frame, turned as its EXIF says, in a mode that PNG and JPEG both know."""
    from PIL import ImageOps

    image.seek(0)
    return to_rgb(ImageOps.exif_transpose(image))


def decode_upright(content: bytes) -> Image.Image:
    """Decode a picture, or the first frame of an animation, turned as its EXIF says.

    Raises one of DECODE_ERRORS for what is no picture.
    """
    from PIL import ImageOps

    image = open_image(content)
    with _quiet_pillow():
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
    return image


def to_rgb(image: Image.Image, highest: float | None = None) -> Image.Image:
    """Return a picture of 8 bits a channel: RGB, or RGBA where something is transparent.

    Args:
        image: the picture
        highest: the highest value of one of 16 or 32 bits, where
            this is a part of it
    """
    if image.mode.startswith(("I", "F")):
        image = _to_8_bits(image, _get_highest(image) if highest is None else highest)
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _get_highest(image: Image.Image) -> float:
    return cast("tuple[float, float]", image.convert("F").getextrema())[1]


def _to_8_bits(image: Image.Image, highest: float) -> Image.Image:
    """Return a gray picture of 16 or 32 bits as one of 8, which Pillow's `convert` cuts off."""
    # 16 bits where nothing is beyond them, else what is there.
    span = 65535 if 255 < highest <= 65535 else max(highest, 255)
    gray = image.convert("F").point(lambda value: value * (255 / span) + 0).convert("L")
    # It names a color in 16 bits.
    gray.info.pop("transparency", None)
    return gray


Encoding = tuple[bytes, "Image.Image"]


def _shrink(image: Image.Image, size: int, max_bytes: int) -> tuple[bytes, str, int, int]:
    image.thumbnail((size, size))
    if image.mode == "RGBA" and image.getchannel("A").getextrema() != (255, 255):
        mime, encodings = "image/png", _iter_png_encodings(image)
    else:
        mime, encodings = "image/jpeg", _iter_jpeg_encodings(image)
    encoded, image = _choose_encoding(encodings, max_bytes)
    return encoded, mime, *image.size


def _choose_encoding(encodings: Iterator[Encoding], max_bytes: int) -> Encoding:
    """Return the first encoding within the budget, or else the last."""
    for encoding in encodings:
        if len(encoding[0]) <= max_bytes:
            break
    return encoding


def _iter_jpeg_encodings(image: Image.Image) -> Iterator[Encoding]:
    """Yield ever smaller files: first of lower quality, then of fewer pixels."""
    image = image.convert("RGB")
    for quality in (85, 75, 60, 45):
        yield encode_image(image, "JPEG", quality=quality, optimize=True), image
    while min(image.size) > MIN_SIDE:
        image = image.resize((image.width * 3 // 4, image.height * 3 // 4))
        yield encode_image(image, "JPEG", quality=60, optimize=True), image


def _iter_png_encodings(image: Image.Image) -> Iterator[Encoding]:
    """Yield ever smaller files: first of fewer colors, then of fewer pixels."""
    yield encode_image(image, "PNG", optimize=True), image
    while min(image.size) > MIN_SIDE:
        yield encode_image(image.quantize(128), "PNG", optimize=True), image
        image = image.resize((image.width * 3 // 4, image.height * 3 // 4))
    yield encode_image(image.quantize(32), "PNG", optimize=True), image


def encode_image(image: Image.Image, format: str, **options: Any) -> bytes:
    """Encode an image as a file; the options are Pillow's."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()
