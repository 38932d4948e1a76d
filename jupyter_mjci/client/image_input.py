"""Turn what callers have for an image into the bytes of a file: a
path, bytes, a data URL, a Pillow image or an array.

Pillow is imported only where an array is encoded: a Pillow image
saves itself, and everything else is bytes already.
"""

from __future__ import annotations

import base64
import binascii
import io
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from jupyter_mjci.errors import InvalidRequest


class SupportsSave(Protocol):
    """An object that writes itself as an image file, as Pillow images do."""

    def save(self, fp: Any, format: str | None = None) -> Any: ...


class SupportsArray(Protocol):
    """An object that converts to a numpy array: height × width (×
    channels), integers from 0 to 255.
    """

    def __array__(self) -> Any: ...


ImageInput = str | bytes | Path | SupportsSave | SupportsArray


def to_data_url(picture: ImageInput) -> str:
    """Return an image as a data URL. URLs are returned unchanged.

    Raises:
        InvalidRequest: it is not an image
    """
    if isinstance(picture, str) and picture.startswith(("data:image/", "http://", "https://")):
        return picture
    content = to_image_bytes(picture)
    return f"data:image/{detect_image_format(content)};base64,{base64.b64encode(content).decode()}"


def to_image_bytes(picture: ImageInput) -> bytes:
    """Return an image as the bytes of a PNG, JPEG, GIF or WebP file.

    Raises:
        InvalidRequest: it is not an image, or a URL that would
            have to be downloaded
    """
    content = _read_content(picture)
    if not detect_image_format(content):
        raise InvalidRequest(
            "This is not a PNG, JPEG, GIF or WebP image.", detail=f"It begins with {content[:8]!r}."
        )
    return content


def detect_image_format(content: bytes) -> str:
    """Return png, jpeg, gif or webp by the first bytes, or "" for
    anything else. Content types of responses cannot be trusted.
    """
    for prefix, name in _MAGIC_BYTES:
        if content.startswith(prefix):
            return name
    return ""


_MAGIC_BYTES = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"))


def _read_content(picture: object) -> bytes:
    if isinstance(picture, str) and picture.startswith("data:"):
        return _decode_data_url(picture)
    if isinstance(picture, str) and picture.startswith(("http://", "https://")):
        raise InvalidRequest(
            "A URL has to be downloaded before it can be used as an image.",
            hint="Download it first: session.picture(url).run()",
        )
    if isinstance(picture, (str, Path)):
        return _read_file(picture)
    if isinstance(picture, (bytes, bytearray)):
        return bytes(picture)
    if hasattr(picture, "save"):
        return _encode_saveable(picture)
    if hasattr(picture, "__array__"):
        return _encode_array(picture)
    raise InvalidRequest(
        f"Objects of type {type(picture).__name__} cannot be used as an image.",
        hint=_ACCEPTED_INPUTS,
    )


_ACCEPTED_INPUTS = (
    "Give a path, bytes, a data URL, a Pillow image, or an array of height × width (× channels)."
)


def _read_file(path: str | Path) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except (OSError, ValueError) as error:
        detail = error.strerror if isinstance(error, OSError) else None
        raise InvalidRequest(
            f"Cannot read the picture {str(path)[:200]}.", detail=detail or str(error)
        ) from None


def _decode_data_url(url: str) -> bytes:
    head, _, data = url.partition(",")
    if not head.endswith(";base64"):
        return unquote_to_bytes(data)
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise InvalidRequest("This data URL cannot be decoded.", detail=str(error)) from None


def _encode_saveable(picture: SupportsSave) -> bytes:
    """Return an image as PNG, or as JPEG where PNG lacks its mode (CMYK)."""
    detail = ""
    for format in ("PNG", "JPEG"):
        file = io.BytesIO()
        try:
            picture.save(file, format)
        except Exception as error:  # a third party's object may raise anything
            detail = detail or str(error)
        else:
            return file.getvalue()
    raise InvalidRequest(
        f"This {type(picture).__name__} cannot be saved as an image.",
        detail=detail,
        hint=_ACCEPTED_INPUTS,
    )


# Pillow's modes by the number of channels: gray, gray and alpha,
# RGB, RGBA.
_MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
# Masks are often boolean arrays: False and True as black and
# white.
_BOOL_TO_GRAY = bytes([0]) + bytes([255]) * 255


def _encode_array(picture: SupportsArray) -> bytes:
    """Return an array of uint8 or bool as PNG."""
    buffer = memoryview(picture.__array__())
    shape: tuple[int, ...] = buffer.shape or ()
    channels = shape[2] if len(shape) == 3 else 1
    is_image = len(shape) in (2, 3) and 0 not in shape and channels in _MODES
    if not is_image or buffer.format not in ("B", "?"):
        raise _build_array_error(shape, buffer.format)
    from PIL import Image

    content = buffer.tobytes()
    if buffer.format == "?":
        content = content.translate(_BOOL_TO_GRAY)
    file = io.BytesIO()
    Image.frombytes(_MODES[channels], (shape[1], shape[0]), content).save(file, "PNG")
    return file.getvalue()


def _build_array_error(shape: tuple[int, ...], format: str) -> InvalidRequest:
    size = " × ".join(map(str, shape)) or "no dimensions"
    is_float = format in ("e", "f", "d")
    return InvalidRequest(
        f"An array of {size} ({format}) is not an image.",
        detail="An image is height × width, or height × width × 3 (RGB) or × 4 (RGBA), of uint8.",
        hint="Values from 0 to 1: (array * 255).astype('uint8')" if is_float else "",
    )
