"""A picture as a value: the bytes of its file, shown as a picture, with where it comes from.

It is `bytes`, so whatever takes a file's content takes it. Pillow
and numpy are imported on first use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from jupyter_mjci.errors import sanitize
from jupyter_mjci.imaging.thumbnails import (
    DECODE_ERRORS,
    digest,
    identify,
    make_thumbnail,
    open_image,
    to_base64,
)

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

# Films by the bytes at an offset.
_FILM_MAGIC = (
    (4, b"ftypqt", "mov"),
    (4, b"ftyp", "mp4"),
    (0, b"\x1aE\xdf\xa3", "webm"),
    (8, b"AVI ", "avi"),
)
# Of the same container as MP4, but pictures.
_PICTURE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a picture comes from.

    Args:
        service: the key of the service; "" where it is not known
        job_id: the ID of the job that made it
        index: which of the job's results it is, from 0
        action: what the job did
        subject: the prompt, or the input object
    """

    service: str = ""
    job_id: str = ""
    index: int = 0
    action: str = ""
    subject: str = ""

    def __str__(self) -> str:
        subject = " ".join(self.subject.split())
        words = (self.action, self.job_id, subject[:60])
        return sanitize(" ".join(word for word in words if word))


class Picture(bytes):
    """The bytes of a picture's file.

    A cell shows it as a thumbnail; its `repr` is one line. What
    is no picture (a film, other content) is kept and shown as a
    line.

    Args:
        content: the bytes of the file
        provenance: where it comes from
    """

    provenance: Provenance

    def __new__(cls, content: bytes, provenance: Provenance | None = None) -> Self:
        picture = super().__new__(cls, content)
        picture.provenance = provenance or Provenance()
        return picture

    @property
    def format(self) -> str:
        """The format in lower case: png, jpeg, webp, …; "" for what is no picture."""
        header = identify(self)
        return header.format if header else ""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels; (0, 0) for what is no picture."""
        header = identify(self)
        return (header.width, header.height) if header else (0, 0)

    @property
    def alt_text(self) -> str:
        """What it shows, for screen readers."""
        return str(self.provenance) or "Picture"

    def image(self) -> Image.Image:
        """Decode it with Pillow. Raises ValueError for what is no picture."""
        try:
            image = open_image(self)
            image.load()
        except DECODE_ERRORS as error:
            raise ValueError(f"This is not a picture: {error}") from None
        return image

    def array(self) -> np.ndarray:
        """Decode it as an array: height × width × channels, integers from 0 to 255."""
        import numpy as np

        image = self.image()
        return np.asarray(image if image.mode in ("L", "RGB", "RGBA") else image.convert("RGBA"))

    def save(self, path: Path | str) -> Path:
        """Write the file as it is, replacing an existing one, and return its path."""
        path = Path(path)
        path.write_bytes(self)
        return path

    def __repr__(self) -> str:
        header = identify(self)
        kind = f"{header.format} {header.width}×{header.height}" if header else "bytes"
        text = f"{kind}, {len(self)} bytes, sha {digest(self)[:12]}"
        origin = str(self.provenance)
        return f"<{text}: {origin}>" if origin else f"<{text}>"

    __str__ = __repr__

    def __reduce__(self) -> tuple[type[Picture], tuple[bytes, Provenance]]:
        return Picture, (bytes(self), self.provenance)

    def _repr_mimebundle_(self, **_: object) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        try:
            thumbnail, mime, width, height = make_thumbnail(self)
        except ValueError:
            return {"text/plain": repr(self)}, {}
        data = {mime: to_base64(thumbnail), "text/plain": repr(self)}
        return data, {mime: {"width": width, "height": height, "alt": self.alt_text}}


def detect_film_format(content: bytes) -> str:
    """Return mp4, mov, webm or avi by the first bytes, or "" for anything else."""
    if content[8:12] in _PICTURE_BRANDS:
        return ""
    for start, magic, name in _FILM_MAGIC:
        if content.startswith(magic, start):
            return name
    return ""


def is_whole_picture(content: bytes) -> bool:
    """Return whether the bytes decode to the end as a picture, which a truncated file does not."""
    try:
        open_image(content).load()
    except DECODE_ERRORS:
        return False
    return True
