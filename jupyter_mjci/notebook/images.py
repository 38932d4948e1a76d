"""Display result images: the output of one image, its caption and its alternative text.

What knows no job (thumbnails, contact sheets, masks) is in
`jupyter_mjci.imaging` and offered here too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from jupyter_mjci.client.job import Job
from jupyter_mjci.imaging.films import detect_film_format, render_player
from jupyter_mjci.imaging.masks import Stroke, mask_from_strokes
from jupyter_mjci.imaging.thumbnails import (
    MAX_THUMBNAIL_BYTES,
    THUMBNAIL_SIZE,
    ImageHeader,
    contact_sheet,
    data_url,
    digest,
    identify,
    make_thumbnail,
    split_grid,
    to_base64,
)
from jupyter_mjci.services import find_service

__all__ = [
    "MAX_THUMBNAIL_BYTES",
    "THUMBNAIL_SIZE",
    "ImageHeader",
    "MimeBundle",
    "Stroke",
    "contact_sheet",
    "data_url",
    "digest",
    "film_bundle",
    "format_alt_text",
    "format_caption",
    "identify",
    "make_thumbnail",
    "mask_from_strokes",
    "picture_bundle",
    "split_grid",
    "to_base64",
]


# Data and metadata by mime type, as IPython displays them.
MimeBundle: TypeAlias = tuple[Mapping[str, object], Mapping[str, object]]


def picture_bundle(job: Job, content: bytes, size: int = THUMBNAIL_SIZE) -> MimeBundle:
    """Return a result image as an output of its own: the thumbnail, and its caption as text.

    HTML is never part of it, because front ends would prefer it
    to the image.

    Args:
        size: the longest side in pixels

    Raises:
        ValueError: the bytes are not an image
    """
    scale = max(1, (size / THUMBNAIL_SIZE) ** 2)
    max_bytes = round(MAX_THUMBNAIL_BYTES * scale)
    thumbnail, mime, width, height = make_thumbnail(content, size, max_bytes)
    data: dict[str, object] = {
        mime: to_base64(thumbnail),
        "text/plain": format_caption(job, content),
    }
    return data, {mime: {"width": width, "height": height, "alt": format_alt_text(job)}}


def film_bundle(job: Job, content: bytes, url: str, poster: str = "") -> MimeBundle | None:
    """Return a film as an output that plays it; None where browsers cannot, or it is no film."""
    player = render_player(content, format_alt_text(job), url, poster)
    return (
        ({"text/html": player, "text/plain": format_caption(job, content)}, {}) if player else None
    )


def format_caption(job: Job, content: bytes) -> str:
    """Return a line that identifies an image: id, size, format, short hash.

    It is the same for the same bytes: nbval compares this text,
    as it never compares images.
    """
    header = identify(content)
    what = detect_film_format(content) or "unknown"
    if header is not None:
        frames = f" {header.frames} frames" if header.frames > 1 else ""
        what = f"{header.width}×{header.height} {header.format}{frames}"
    service = find_service(job.service)
    label = service.short_label or service.label if service else job.service
    return f"{label} {job.id} {what} sha {digest(content)[:12]}"


def format_alt_text(job: Job) -> str:
    """Return what the image shows, for screen readers."""
    action = job.action or "Result"
    subject = " ".join(job.subject.split())
    return f"{action}: {subject[:250]}" if subject else f"{action} of {job.id}"
