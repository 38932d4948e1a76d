"""Archive result pictures, because their links expire: originals by content hash, with provenance.

A picture is written once, whichever jobs it belongs to; a JSON
file per job and result says where it came from. Files are written
atomically.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict
from urllib.parse import parse_qs, urlsplit

from PIL import Image, UnidentifiedImageError

from jupyter_mjci.client.image_input import ImageInput, to_image_bytes
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.private_files import write_atomically
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.imaging.films import detect_film_format
from jupyter_mjci.imaging.masks import Box, Point, draw_mask
from jupyter_mjci.imaging.picture import Picture, Provenance
from jupyter_mjci.imaging.thumbnails import identify

LOG = logging.getLogger(__name__)
# What a damaged note raises.
UNREADABLE = (OSError, ValueError, KeyError, TypeError)


class ImageMetadata(TypedDict):
    """The JSON file beside a picture. Times are ISO 8601."""

    file: str
    sha256: str
    service: str
    job_id: str
    action: str
    subject: str
    url: str
    index: int
    fetched: str
    expires: str | None


@dataclass(frozen=True, slots=True)
class ArchivedImage:
    """A picture of the archive and where it came from.

    Args:
        path: its file
        sha256: the hash of its content, in hexadecimal
        service: mj or ci
        job_id: the job whose result it is
        action: what that job did: IMAGINE, …
        subject: the job's prompt
        url: where it was fetched from
        index: which of the job's results, from 0
        fetched: when it was fetched; aware, in UTC
        expires: when its link expires, where that is known
    """

    path: Path
    sha256: str
    service: str
    job_id: str
    action: str
    subject: str
    url: str
    index: int
    fetched: datetime
    expires: datetime | None

    def read_bytes(self) -> bytes:
        """Return the picture's bytes, as they were fetched."""
        return self.path.read_bytes()

    def picture(self) -> Picture:
        """Return it as a picture that shows itself and knows where it comes from."""
        provenance = Provenance(self.service, self.job_id, self.index, self.action, self.subject)
        return Picture(self.read_bytes(), provenance)


class ImageArchive:
    """A folder of archived pictures; iterating yields all, the latest first.

    Args:
        folder: the folder; it is created with the first picture
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(
        self, job: Job, url: str, content: bytes, index: int, fetched_at: float
    ) -> ArchivedImage:
        """Write a picture, or a film, and its provenance.

        Args:
            job: the job whose result it is
            url: where it was fetched from
            content: its bytes
            index: which of the job's results, from 0
            fetched_at: when it was fetched, in Unix seconds

        Raises:
            ValueError: the content is neither
        """
        header = identify(content)
        image_format = header.format if header else detect_film_format(content)
        if not image_format:
            raise ValueError(f"not a picture: it begins with {content[:16]!r}")
        sha256 = hashlib.sha256(content).hexdigest()
        path = self.folder / sha256[:2] / f"{sha256}.{image_format}"
        if not path.exists():
            write_atomically(path, content)
        expires = parse_expiry(url)
        metadata: ImageMetadata = {
            "file": f"{sha256[:2]}/{path.name}",
            "sha256": sha256,
            "service": job.service,
            "job_id": job.id,
            "action": job.action,
            "subject": job.subject,
            "url": url,
            "index": index,
            "fetched": datetime.fromtimestamp(fetched_at, UTC).isoformat(),
            "expires": expires.isoformat() if expires else None,
        }
        text = json.dumps(metadata, ensure_ascii=False, indent=1)
        write_atomically(self._get_metadata_path(job, index), text.encode())
        return self._build_image(metadata)

    def find(self, job: Job, index: int = 0) -> ArchivedImage | None:
        """Return the archived picture of a job's result, or None.

        Args:
            job: the job
            index: which of its results, from 0
        """
        try:
            return self._load(self._get_metadata_path(job, index))
        except UNREADABLE:
            return None

    def __iter__(self) -> Iterator[ArchivedImage]:
        paths = list(self.folder.glob("notes/*/*.json"))
        paths.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in paths:
            # one note that is damaged hides no other
            try:
                yield self._load(path)
            except UNREADABLE:
                LOG.exception("%s cannot be read.", path)

    def _get_metadata_path(self, job: Job, index: int) -> Path:
        name = re.sub(r"[^\w.-]", "_", job.id)
        if not name:
            # Results of a service that returns pictures without a
            # job id.
            name = hashlib.sha256(" ".join(job.outputs).encode()).hexdigest()[:16]
        return self.folder / "notes" / job.service / f"{name}-{index}.json"

    def _load(self, path: Path) -> ArchivedImage:
        return self._build_image(json.loads(path.read_text("utf-8")))

    def _build_image(self, metadata: ImageMetadata) -> ArchivedImage:
        expires = metadata["expires"]
        return ArchivedImage(
            path=self.folder / metadata["file"],
            sha256=metadata["sha256"],
            service=metadata["service"],
            job_id=metadata["job_id"],
            action=metadata["action"],
            subject=metadata["subject"],
            url=metadata["url"],
            index=metadata["index"],
            fetched=datetime.fromisoformat(metadata["fetched"]),
            expires=datetime.fromisoformat(expires) if expires else None,
        )


def parse_expiry(url: str) -> datetime | None:
    """Return when a Discord link expires: its `ex` is that time in hexadecimal Unix seconds."""
    value = parse_qs(urlsplit(url).query).get("ex", [""])[0]
    if not re.fullmatch(r"[0-9a-fA-F]{8}", value):
        return None
    return datetime.fromtimestamp(int(value, 16), UTC)


# The pictures of a grid: two rows of two.
GRID_SIZE = 4


def is_grid(job: Job) -> bool:
    """Return whether a job's single picture is a 2×2 grid: such a job offers U1 to U4."""
    custom_ids = [button.custom_id for button in job.buttons]
    return len(job.outputs) == 1 and any("::upsample::" in custom_id for custom_id in custom_ids)


def split_grid(content: bytes) -> list[bytes]:
    """Return the four pictures of a 2×2 grid as PNGs, row by row."""
    with Image.open(io.BytesIO(content)) as grid:
        width = grid.width // 2
        height = grid.height // 2
        corners = [(0, 0), (width, 0), (0, height), (width, height)]
        cells = [grid.crop((left, top, left + width, top + height)) for left, top in corners]
    return [_encode(cell, "PNG") for cell in cells]


def resize_to_fit(content: bytes, max_size: int) -> bytes:
    """Return a picture with at most `max_size` pixels on its longer side, in its own format.

    Smaller pictures and animations are returned unchanged.
    """
    with Image.open(io.BytesIO(content)) as image:
        if max(image.size) <= max_size or getattr(image, "n_frames", 1) > 1:
            return content
        image_format = image.format or "PNG"
        image.thumbnail((max_size, max_size))
        return _encode(image, image_format)


def mask(
    picture: ImageInput | tuple[int, int],
    boxes: Sequence[Box] = (),
    *,
    polygons: Sequence[Sequence[Point]] = (),
    ellipses: Sequence[Box] = (),
) -> bytes:
    """Draw a mask for Vary (Region) and edits, as PNG.

    White is drawn anew, black stays.

    Args:
        picture: the picture that it is for (a path, bytes, a data
            URL, a Pillow image, an array),
            or a size: (width, height) in pixels
        boxes: white rectangles (left, top, right, bottom), in
            pixels
        polygons: white polygons, each a list of (x, y)
        ellipses: white ellipses, by the boxes around them

    Raises:
        InvalidRequest: the picture or a shape is not valid, or
            nothing of the mask is white
    """
    # Reading the picture keeps this function above `imaging`,
    # which knows no inputs.
    size = _validate_size(picture) if isinstance(picture, tuple) else _get_size(picture)
    return draw_mask(size, boxes, polygons=polygons, ellipses=ellipses)


def _validate_size(size: tuple[int, int]) -> tuple[int, int]:
    if len(size) != 2 or not all(isinstance(side, int) for side in size):
        raise InvalidRequest(
            f"{size} is not a valid size.", hint="A size is (width, height), in pixels."
        )
    return size


def _get_size(picture: ImageInput) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(to_image_bytes(picture))) as image:
            return image.size
    except (UnidentifiedImageError, OSError) as error:
        raise InvalidRequest("This picture cannot be opened.", detail=str(error)) from None


def _encode(image: Image.Image, image_format: str) -> bytes:
    file = io.BytesIO()
    image.save(file, image_format)
    return file.getvalue()
