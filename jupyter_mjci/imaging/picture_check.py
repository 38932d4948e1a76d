"""Check that bytes are a picture that can be used: whole, and within bounds.

A file of a few bytes can claim a billion pixels, so size and
frames are checked by the header, before anything is decoded.
"""

from __future__ import annotations

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.imaging.films import detect_film_format
from jupyter_mjci.imaging.thumbnails import (
    DECODE_ERRORS,
    MAX_FRAMES,
    count_frames,
    decode_upright,
    encode_image,
    is_heif,
    open_image,
    to_rgb,
)

# What services and browsers take as it is; any other picture
# becomes a PNG.
ACCEPTED_FORMATS = ("png", "jpeg", "gif", "webp")
MAX_BYTES = 64 * 2**20
# What a file is by its beginning in lower case, if it is no
# picture.
_DOCUMENTS = (
    (b"%pdf-", "a PDF document"),
    (b"pk\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%!ps", "a PostScript document"),
    (b"<!doctype html", "a web page"),
    (b"<html", "a web page"),
    (b"{", "JSON"),
    (b"[", "JSON"),
    (b"<?xml", "XML"),
)
_MAGIC_BYTES = ((b"\x89PNG", "png"), (b"\xff\xd8", "jpeg"), (b"GIF8", "gif"), (b"RIFF", "webp"))
_CONVERT = "Convert it to PNG or JPEG first."


def detect_image_format(content: bytes) -> str:
    """Return png, jpeg, gif or webp by the first bytes, or "" for
    anything else. Content types of responses cannot be trusted.
    """
    for prefix, name in _MAGIC_BYTES:
        if content.startswith(prefix):
            return name
    return ""


def prepare_picture(content: bytes) -> bytes:
    """Return a picture as PNG, JPEG, GIF or WebP; one of these formats is not changed.

    Raises:
        InvalidRequest: it is empty, too large, damaged, or
            something else; says what
    """
    if not content:
        raise InvalidRequest("This picture is empty: it has no bytes.")
    if len(content) > MAX_BYTES:
        size = f"{len(content) / 2**20:.0f} MiB"
        raise InvalidRequest(f"This picture has {size}; at most {MAX_BYTES // 2**20} are read.")
    try:
        image = open_image(content)
    except DECODE_ERRORS as error:
        raise _build_error(content, str(error)) from None
    format = (image.format or "").lower()
    frames = count_frames(image, content)
    if frames > MAX_FRAMES:
        raise InvalidRequest(
            f"This {format} has {frames} frames; at most {MAX_FRAMES} are read.", hint=_CONVERT
        )
    try:
        upright = decode_upright(content)
        return content if format in ACCEPTED_FORMATS else encode_image(to_rgb(upright), "PNG")
    except DECODE_ERRORS as error:
        raise _build_damaged_error(format.upper(), str(error)) from None


def _build_damaged_error(format: str, reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"This {format} is damaged or truncated.", detail=reason, hint="Fetch or export it again."
    )


def _build_error(content: bytes, reason: str) -> InvalidRequest:
    """Return an error that says what the bytes are, if no picture that can be opened."""
    if "exceeds limit" in reason:
        return InvalidRequest(
            "This picture claims to have too many pixels.", detail=reason, hint="Scale it down."
        )
    if is_heif(content):
        return InvalidRequest(
            "This HEIC picture cannot be read here.",
            detail=reason,
            hint=_CONVERT,
        )
    format = detect_image_format(content)
    if format not in ("", "webp"):  # sounds and films begin like WebP, too
        return _build_damaged_error(format.upper(), reason)
    return InvalidRequest(
        f"This is {_describe(content)}, not a PNG, JPEG, GIF or WebP image.",
        detail=f"It begins with {content[:16]!r}.",
        hint=_CONVERT,
    )


def _describe(content: bytes) -> str:
    film = detect_film_format(content)
    if film:
        return f"a film ({film})"
    start = content[:1000].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in start:
        return "an SVG drawing"
    for prefix, name in _DOCUMENTS:
        if start.startswith(prefix):
            return name
    return "text" if _is_text(content[:1000]) else "something else"


def _is_text(content: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\r\n" for byte in content)
