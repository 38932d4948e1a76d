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

from jupyter_mjci.errors import CallError


class Saves(Protocol):
    """What can write itself as a picture: a Pillow image."""

    def save(self, fp: Any, format: str | None = None) -> Any: ...


class Array(Protocol):
    """What can give itself as a numpy array: height × width (× channels), whole numbers from 0 to
    255.
    """

    def __array__(self) -> Any: ...


Picture = str | bytes | Path | Saves | Array


def data_url(picture: Picture) -> str:
    """A picture as the data URL that every proxy family takes; a link or data URL stays as it is.

    Raises CallError for what is no picture.
    """
    if isinstance(picture, str) and picture.startswith(("data:image/", "http://", "https://")):
        return picture
    content = content_of(picture)
    return f"data:image/{kind_of(content)};base64,{base64.b64encode(content).decode()}"


def content_of(picture: Picture) -> bytes:
    """A picture as the bytes of a file. Raises CallError for what is no picture, and for a link."""
    content = _content(picture)
    if not kind_of(content):
        raise CallError(
            "This is no PNG, JPEG, GIF or WebP picture.", why=f"It begins with {content[:8]!r}."
        )
    return content


def kind_of(content: bytes) -> str:
    """png, jpeg, gif or webp by the first bytes; "" for what is no picture. Content types cannot be
    trusted.
    """
    return next((kind for start, kind in _MAGIC_BYTES if content.startswith(start)), "")


_MAGIC_BYTES = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"))


def _content(picture: Any) -> bytes:
    if isinstance(picture, str) and picture.startswith("data:"):
        return _decoded(picture)
    if isinstance(picture, str) and picture.startswith(("http://", "https://")):
        raise CallError(
            "A link is no picture yet.", hint="Fetch it first: session.picture(url).run()"
        )
    if isinstance(picture, (str, Path)):
        return _read(picture)
    if isinstance(picture, (bytes, bytearray)):
        return bytes(picture)
    if hasattr(picture, "save"):
        return _saved(picture)
    if hasattr(picture, "__array__"):
        return _drawn(picture)
    raise CallError(f"A {type(picture).__name__} is no picture.", hint=_FORMS)


_FORMS = (
    "Give a path, bytes, a data URL, a Pillow image, or an array of height × width (× channels)."
)


def _read(path: str | Path) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise CallError(f"Cannot read the picture {str(path)[:200]}.", why=why) from None


def _decoded(url: str) -> bytes:
    head, _, data = url.partition(",")
    try:
        return (
            base64.b64decode(data, validate=True)
            if head.endswith(";base64")
            else unquote_to_bytes(data)
        )
    except binascii.Error as error:
        raise CallError("This data URL cannot be read.", why=str(error)) from None


def _saved(picture: Any) -> bytes:
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
    raise CallError(
        f"This {type(picture).__name__} cannot be saved as a picture.", why=why, hint=_FORMS
    )


# --- arrays ---------------------------------------------------------------------------------------

COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> PNG's colour type: grey, grey and alpha, RGB, RGBA
WHITE = bytes([0]) + bytes([255]) * 255  # what a yes and a no become


def _drawn(picture: Any) -> bytes:
    """An array as PNG. Of yes and no, as masks often are, too."""
    lent = memoryview(picture.__array__())
    sides: tuple[int, ...] = lent.shape or ()
    shape = sides if len(sides) == 3 else (*sides, 1)
    if lent.format not in ("B", "?") or len(shape) != 3 or shape[2] not in COLOURS or 0 in shape:
        raise CallError(
            f"An array of {' × '.join(map(str, sides)) or 'nothing'} ({lent.format}) is no picture.",
            why="A picture is height × width, or height × width × 3 (RGB) or × 4 (RGBA), of uint8.",
            hint="Values from 0 to 1: (array * 255).astype('uint8')"
            if lent.format in "efd"
            else "",
        )
    content = lent.tobytes()
    return png(
        content.translate(WHITE) if lent.format == "?" else content, shape[1], shape[0], shape[2]
    )


def png(content: bytes, width: int, height: int, channels: int) -> bytes:
    """A PNG file of raw bytes, row by row, a byte for each channel."""
    stride = width * channels
    rows = b"".join(b"\0" + content[at : at + stride] for at in range(0, stride * height, stride))
    head = struct.pack(">IIBBBBB", width, height, 8, COLOURS[channels], 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + _chunk(b"IDAT", zlib.compress(rows, 6))
        + _chunk(b"IEND", b"")
    )


def _chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )
