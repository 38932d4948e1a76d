"""Turn what callers have for an image into the bytes of a file: a
path, bytes, a data URL, a Pillow image or an array.

Pillow is imported only where an array is encoded: a Pillow image
saves itself, and everything else is bytes already.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote_to_bytes

from jupyter_mjci.client.calls import Sender
from jupyter_mjci.client.job import Job, JobPicture
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.imaging.picture_check import detect_image_format, prepare_picture


class SupportsSave(Protocol):
    """An object that writes itself as an image file, as Pillow images do."""

    def save(self, fp: Any, format: str | None = None) -> Any: ...


class SupportsArray(Protocol):
    """An object that converts to a numpy array: height × width (×
    channels), integers from 0 to 255.
    """

    def __array__(self) -> Any: ...


# Text is a path, a data URL, a link, or the ID of a job.
ImageInput = str | bytes | Path | Job | JobPicture | SupportsSave | SupportsArray


def to_data_url(picture: ImageInput, sender: Sender | None = None) -> str:
    """Return a picture as a data URL. URLs are returned unchanged.

    Args:
        picture: the picture
        sender: the session, which fetches the pictures of jobs

    Raises:
        InvalidRequest: it is not a picture
    """
    if isinstance(picture, str) and (is_link(picture) or picture.startswith("data:image/")):
        return picture
    content = to_image_bytes(picture, sender)
    return f"data:image/{detect_image_format(content)};base64,{base64.b64encode(content).decode()}"


def to_image_bytes(picture: ImageInput, sender: Sender | None = None) -> bytes:
    """Return a picture as the bytes of a PNG, JPEG, GIF or WebP file that decodes whole.

    Args:
        picture: the picture
        sender: the session, which fetches the pictures of jobs
            and links

    Raises:
        InvalidRequest: it is not a picture, too large, or needs a
            session
    """
    return prepare_picture(read_content(picture, sender))


def is_link(picture: object) -> bool:
    """Return whether it is the address of something on the web."""
    return isinstance(picture, str) and picture.lower().startswith(("http://", "https://"))


def is_existing_path(text: str) -> bool:
    """Return whether a text is the path of something that is there."""
    try:
        return Path(text).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, or ~ of nobody
        return False


def find_job_source(picture: object) -> Job | JobPicture | None:
    """Return the job, or the picture of a job, that an object is or follows; None for others."""
    if isinstance(picture, (Job, JobPicture)):
        return picture
    job = getattr(picture, "job", None)
    return job if isinstance(job, Job) else None


def read_content(picture: object, sender: Sender | None = None) -> bytes:
    """Return the bytes of a file, or of what is to become one, whatever they are.

    Args:
        picture: a path, bytes, a data URL, a Pillow image, an
            array; with a session also a job, one of its pictures,
            a job's ID, or a link
        sender: the session

    Raises:
        InvalidRequest: it cannot be read, or needs a session
    """
    if isinstance(picture, str) and picture.startswith("data:"):
        return _decode_data_url(picture)
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return bytes(picture)
    if isinstance(picture, str) or find_job_source(picture) is not None:
        return _read_with_session(picture, sender)
    if hasattr(picture, "__await__"):
        raise InvalidRequest(
            f"This {type(picture).__name__} has not run, so it has no picture yet.",
            hint="Run it first: session.follow(call).run() returns the finished job.",
        )
    for attribute, read in _READERS:
        if hasattr(picture, attribute):
            return read(picture)
    raise InvalidRequest(
        f"Objects of type {type(picture).__name__} cannot be used as an image.",
        hint=_ACCEPTED_INPUTS,
    )


def _read_with_session(picture: Any, sender: Sender | None) -> bytes:
    if sender is not None:
        content: bytes = sender.picture(picture).run()
        return content
    if isinstance(picture, str) and not is_link(picture):
        return _read_file(Path(picture))
    raise InvalidRequest(
        "The pictures of jobs and links have to be fetched by a session.",
        hint="Fetch it first: session.picture(job_or_url).run()",
    )


_ACCEPTED_INPUTS = (
    "Give a path, bytes, a data URL, a link, a job or its ID, job[2], a Pillow image, or an array"
    " of height × width (× channels)."
)


def _read_file(path: Path) -> bytes:
    try:
        if isinstance(path, Path):
            path = path.expanduser()
        return bytes(path.read_bytes())
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


# How an object is read, by an attribute that it has.
_READERS: tuple[tuple[str, Callable[[Any], bytes]], ...] = (
    ("read_bytes", _read_file),
    ("save", _encode_saveable),
    ("__array__", _encode_array),
)
