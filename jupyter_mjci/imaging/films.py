"""Films: what format they have, and how a cell plays them.

A short film is part of the notebook, so it is played after its
link has ended; of a longer one only its first frame is.
"""

from __future__ import annotations

import io
from html import escape
from typing import Any

from jupyter_mjci.imaging.thumbnails import DECODE_ERRORS, data_url, encode_image, to_base64

# Films by the bytes at an offset.
_FILM_MAGIC = (
    (4, b"ftypqt", "mov"),
    (4, b"ftyp", "mp4"),
    (0, b"\x1aE\xdf\xa3", "webm"),
    (8, b"AVI ", "avi"),
)
# Of the same container as MP4, but pictures.
_PICTURE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")
# What browsers play. The H.264 of a MOV is played as MP4.
_PLAYED = {"mp4": "video/mp4", "mov": "video/mp4", "webm": "video/webm"}
MAX_EMBEDDED = 4 * 2**20  # bytes of a film within a notebook
MAX_POSTER_BYTES = 20_000
POSTER_SIZE = 480  # pixels
MAX_FRAME_PIXELS = 8192 * 4320


def detect_film_format(content: bytes) -> str:
    """Return mp4, mov, webm or avi by the first bytes, or "" for anything else."""
    if content[8:12] in _PICTURE_BRANDS:
        return ""
    for start, magic, name in _FILM_MAGIC:
        if content.startswith(magic, start):
            return name
    return ""


def render_player(content: bytes, alt: str, link: str = "", poster: str = "") -> str:
    """Return a film as an HTML element that plays it; "" where browsers cannot.

    Args:
        content: the bytes of the film
        alt: what it shows
        link: where a film is played from that is too long to be
            part of a notebook; only while the link works
        poster: a data URL that is shown where no frame of the
            film can be decoded
    """
    mime = _PLAYED.get(detect_film_format(content))
    if mime is None:
        return ""
    source = link if link.lower().startswith(("http://", "https://")) else ""
    if len(content) <= MAX_EMBEDDED:
        source = f"data:{mime};base64,{to_base64(content)}"
    if not source:
        return ""
    poster = make_poster(content) or poster
    attributes = f' poster="{poster}"' if poster else ""
    # What stands inside is for readers without video.
    fallback = f'<img src="{poster}" alt="{escape(alt)}">' if poster else escape(alt)
    return (
        f'<video controls loop playsinline preload="metadata" aria-label="{escape(alt)}"'
        f' style="max-width:100%;max-height:{POSTER_SIZE}px"{attributes}'
        f' src="{escape(source)}">{fallback}</video>'
    )


def make_poster(content: bytes) -> str:
    """Return the first frame as a data URL; "" without the extra `film`, or where none decodes."""
    try:
        import av
    except ImportError:
        return ""
    try:
        with av.open(io.BytesIO(content), "r") as container:
            stream = container.streams.video[0]
            if stream.width * stream.height > MAX_FRAME_PIXELS:
                return ""
            frame: Any = next(container.decode(stream))
        return data_url(encode_image(frame.to_image(), "PNG"), POSTER_SIZE, MAX_POSTER_BYTES)
    except (av.FFmpegError, StopIteration, *DECODE_ERRORS):
        return ""
