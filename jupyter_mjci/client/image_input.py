"""What people have for a picture: a path, bytes, a data URL, a Pillow image, an array. All become
bytes here.

No library is imported for it: a Pillow image can save itself, an array can lend its memory, and PNG
is simple to write.
"""

from __future__ import annotations

import base64
import binascii
import io
import struct
import zlib
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from jupyter_mjci.errors import InvalidRequest


class SupportsSave(Protocol):
    """What can write itself as a picture: a Pillow image."""

    def save(self, fp: Any, format: str | None = None) -> Any: ...


class SupportsArray(Protocol):
    """What can give itself as a numpy array: height × width (× channels), whole numbers from 0 to
    255.
    """

    def __array__(self) -> Any: ...


ImageInput = str | bytes | Path | SupportsSave | SupportsArray


def to_data_url(picture: ImageInput) -> str:
    """A picture as the data URL that every proxy family takes; a link or data URL stays as it is.

    Raises CallError for what is no picture.
    """
    if isinstance(picture, str) and picture.startswith(("data:image/", "http://", "https://")):
        return picture
    content = to_image_bytes(picture)
    return f"data:image/{detect_image_format(content)};base64,{base64.b64encode(content).decode()}"


def to_image_bytes(picture: ImageInput) -> bytes:
    """A picture as the bytes of a file. Raises CallError for what is no picture, and for a link."""
    content = _read_content(picture)
    if not detect_image_format(content):
        raise InvalidRequest(
            "This is no PNG, JPEG, GIF or WebP picture.", detail=f"It begins with {content[:8]!r}."
        )
    return content


def detect_image_format(content: bytes) -> str:
    """png, jpeg, gif or webp by the first bytes; "" for what is no picture. Content types cannot be
    trusted.
    """
    return next((kind for start, kind in _MAGIC_BYTES if content.startswith(start)), "")


_MAGIC_BYTES = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"))


def _read_content(picture: Any) -> bytes:
    if isinstance(picture, str) and picture.startswith("data:"):
        return _decode_data_url(picture)
    if isinstance(picture, str) and picture.startswith(("http://", "https://")):
        raise InvalidRequest(
            "A link is no picture yet.", hint="Fetch it first: session.picture(url).run()"
        )
    if isinstance(picture, (str, Path)):
        return _read_file(picture)
    if isinstance(picture, (bytes, bytearray)):
        return bytes(picture)
    if hasattr(picture, "save"):
        return _encode_saveable(picture)
    if hasattr(picture, "__array__"):
        return _encode_array(picture)
    raise InvalidRequest(f"A {type(picture).__name__} is no picture.", hint=_ACCEPTED_INPUTS)


_ACCEPTED_INPUTS = (
    "Give a path, bytes, a data URL, a Pillow image, or an array of height × width (× channels)."
)


def _read_file(path: str | Path) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise InvalidRequest(f"Cannot read the picture {str(path)[:200]}.", detail=why) from None


def _decode_data_url(url: str) -> bytes:
    head, _, data = url.partition(",")
    try:
        return (
            base64.b64decode(data, validate=True)
            if head.endswith(";base64")
            else unquote_to_bytes(data)
        )
    except binascii.Error as error:
        raise InvalidRequest("This data URL cannot be read.", detail=str(error)) from None


def _encode_saveable(picture: Any) -> bytes:
    """As PNG; as JPEG where PNG has no such colours (CMYK)."""
    why = ""
    for format in ("PNG", "JPEG"):
        file = io.BytesIO()
        try:
            picture.save(file, format)
        except Exception as error:  # it is somebody else's, and may raise what it likes
            why = why or str(error)
        else:
            return file.getvalue()
    raise InvalidRequest(
        f"This {type(picture).__name__} cannot be saved as a picture.",
        detail=why,
        hint=_ACCEPTED_INPUTS,
    )


# --- arrays ---------------------------------------------------------------------------------------

PNG_COLOR_TYPES = {
    1: 0,
    2: 4,
    3: 2,
    4: 6,
}  # channels -> PNG's colour type: grey, grey and alpha, RGB, RGBA
BOOL_TO_GRAY = bytes([0]) + bytes([255]) * 255  # what a yes and a no become


def _encode_array(picture: Any) -> bytes:
    """An array as PNG. Of yes and no, as masks often are, too."""
    lent = memoryview(picture.__array__())
    sides: tuple[int, ...] = lent.shape or ()
    shape = sides if len(sides) == 3 else (*sides, 1)
    if (
        lent.format not in ("B", "?")
        or len(shape) != 3
        or shape[2] not in PNG_COLOR_TYPES
        or 0 in shape
    ):
        raise InvalidRequest(
            f"An array of {' × '.join(map(str, sides)) or 'nothing'} ({lent.format}) is no picture.",
            detail="A picture is height × width, or height × width × 3 (RGB) or × 4 (RGBA), of uint8.",
            hint="Values from 0 to 1: (array * 255).astype('uint8')"
            if lent.format in "efd"
            else "",
        )
    content = lent.tobytes()
    return encode_png(
        content.translate(BOOL_TO_GRAY) if lent.format == "?" else content,
        shape[1],
        shape[0],
        shape[2],
    )


def encode_png(content: bytes, width: int, height: int, channels: int) -> bytes:
    """A PNG file of raw bytes, row by row, a byte for each channel."""
    stride = width * channels
    rows = b"".join(b"\0" + content[at : at + stride] for at in range(0, stride * height, stride))
    head = struct.pack(">IIBBBBB", width, height, 8, PNG_COLOR_TYPES[channels], 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _build_chunk(b"IHDR", head)
        + _build_chunk(b"IDAT", zlib.compress(rows, 6))
        + _build_chunk(b"IEND", b"")
    )


def _build_chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )
