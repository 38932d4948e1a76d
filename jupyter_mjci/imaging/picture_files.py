"""Write pictures to files: whole or not at all, and never over a file that is somebody else's."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.imaging.thumbnails import (
    DECODE_ERRORS,
    decode_upright,
    encode_image,
    identify,
    to_rgb,
)

if TYPE_CHECKING:
    from PIL import Image

# Pillow's names of the formats that an extension asks for.
FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".gif": "GIF",
    ".avif": "AVIF",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
}
# Formats without transparency, which is laid on white.
_OPAQUE = ("JPEG", "BMP")


def convert_for(path: Path, content: bytes) -> bytes:
    """Return a picture in the format of a path's extension.

    The bytes stay as they are where they have that format, or the
    extension or the content is none of a picture.

    Raises:
        InvalidRequest: the picture cannot be decoded or encoded
    """
    header = identify(content)
    format = FORMATS.get(path.suffix.lower())
    if header is None or format is None or header.format == format.lower():
        return content
    try:
        image = to_rgb(decode_upright(content))
        if format in _OPAQUE and image.mode == "RGBA":
            image = _lay_on_white(image)
        return encode_image(image, format)
    except DECODE_ERRORS as error:
        raise InvalidRequest(
            f"This {header.format} cannot be written as {format}.",
            detail=str(error),
            hint=f"Save it unchanged: {path.with_suffix('.' + header.format).name}",
        ) from None


def write_file(path: Path, content: bytes, *, overwrite: bool = False) -> None:
    """Write a file that appears only when all of it is written. Missing folders are made.

    A file with the same content is left alone.

    Args:
        path: the file
        content: its bytes
        overwrite: replace a file that is there

    Raises:
        InvalidRequest: a file with other content is there, or it
            cannot be written
    """
    write = _replace if overwrite else _create_or_keep
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, content)
    except (OSError, ValueError) as error:
        detail = error.strerror if isinstance(error, OSError) else None
        raise InvalidRequest(f"Cannot write {path}.", detail=detail or str(error)) from None


def _create_or_keep(path: Path, content: bytes) -> None:
    try:
        create_file(path, content)
    except FileExistsError:
        if not is_same_file(path, content):
            raise InvalidRequest(
                f"{path} is there already, and was not changed.",
                hint="Give another name, or overwrite=True.",
            ) from None


def create_file(path: Path, content: bytes) -> None:
    """Create a file, at once with all of its content.

    Raises:
        FileExistsError: there is something, also a symbolic link
            that leads nowhere
    """
    temporary = _write_temporary(path, content)
    try:
        # Unlike a rename, a link replaces nothing.
        path.hardlink_to(temporary)
    except FileExistsError:
        raise
    except (OSError, NotImplementedError):  # a file system without links
        _create_in_place(path, content)
    finally:
        temporary.unlink(missing_ok=True)


def is_same_file(path: Path, content: bytes) -> bool:
    """Return whether a file of our own making, no link, has this content."""
    return not path.is_symlink() and path.is_file() and path.read_bytes() == content


def _replace(path: Path, content: bytes) -> None:
    temporary = _write_temporary(path, content)
    try:
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _write_temporary(path: Path, content: bytes) -> Path:
    """Write a file of another name in the same folder, with the rights that new files have."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _create_in_place(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        try:
            file.write(content)
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink()
            raise


def _lay_on_white(image: Image.Image) -> Image.Image:
    from PIL import Image

    background = Image.new("RGB", image.size, "white")
    background.paste(image, mask=image.getchannel("A"))
    return background
