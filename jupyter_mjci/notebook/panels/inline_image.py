"""Make pictures small enough to be embedded in a card or in a saved notebook."""

from __future__ import annotations

import anyio.to_thread

from jupyter_mjci.errors import InvalidResponse
from jupyter_mjci.notebook import images
from jupyter_mjci.notebook.panels.html import InlineImage, format_size

# The longer side in pixels, and the size in bytes: of a picture
# on a card, and of the same picture in the snapshot that the
# saved notebook keeps.
CARD_IMAGE_LIMITS = (720, 160_000)
SNAPSHOT_IMAGE_LIMITS = (256, 24_000)


def make_inline_image(
    content: bytes,
    limits: tuple[int, int],
    alt: str,
    caption: str,
    *,
    details: str = "",
    name: str = "",
) -> InlineImage:
    """Shrink a picture to the limits; its caption names the original's size.

    Args:
        content: the picture's bytes
        limits: the longer side in pixels, and the size in bytes
        alt: its alternative text
        caption: the first part of its caption
        details: the second part, instead of its size and format
        name: names it to the viewer, see `InlineImage`

    Raises:
        InvalidResponse: The bytes are not an image that can be
            shown.
    """
    info = images.identify(content)
    if info is None:
        raise InvalidResponse(
            "The result is not an image that can be shown here.",
            body=content,
            hint="session.picture(job).run() returns its bytes.",
        )
    small, mime, *_ = images.make_thumbnail(content, *limits)
    size = f"{info.width}×{info.height} {info.format} · {format_size(len(content))}"
    parts = (caption, details or size)
    return InlineImage(small, mime, alt, " · ".join(part for part in parts if part), name)


async def make_both_sizes(
    content: bytes, alt: str, caption: str, name: str = ""
) -> tuple[InlineImage, InlineImage]:
    """Make the card's and the snapshot's picture in a worker thread: decoding blocks."""

    def make_both() -> tuple[InlineImage, InlineImage]:
        return (
            make_inline_image(content, CARD_IMAGE_LIMITS, alt, caption, name=name),
            make_inline_image(content, SNAPSHOT_IMAGE_LIMITS, alt, caption),
        )

    return await anyio.to_thread.run_sync(make_both)
