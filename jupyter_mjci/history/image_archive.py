"""Pictures that outlive their links: originals in a folder by content hash, with where they came
from.

A picture is written once, whatever it is called at the service; the note beside it tells each job
that it belongs to. Files appear whole or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image, ImageDraw, UnidentifiedImageError

from jupyter_mjci.client.image_input import ImageInput, detect_image_format, to_image_bytes
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import InvalidRequest


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
        expires: when its link ends, where that is known
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
        """The picture's bytes, as they were fetched."""
        return self.path.read_bytes()


class ImageArchive:
    """The folder of kept pictures. It is made when the first picture comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(
        self, job: Job, url: str, content: bytes, index: int, fetched_at: float
    ) -> ArchivedImage:
        """Writes a picture (its bytes as `content`) and its provenance: the job and which of its
        results it is, from 0 (`index`), its URL, and when it came, in Unix seconds (`fetched_at`). Raises
        ValueError for what is no picture.
        """
        kind = detect_image_format(content)
        if not kind:
            raise ValueError(f"not a picture: it begins with {content[:16]!r}")
        sha = hashlib.sha256(content).hexdigest()
        path = self.folder / sha[:2] / f"{sha}.{kind}"
        if not path.exists():
            _write_atomically(path, content)
        note = {
            "file": f"{sha[:2]}/{path.name}",
            "sha256": sha,
            "service": job.service,
            "job_id": job.id,
            "action": job.action,
            "subject": job.subject,
            "url": url,
            "index": index,
            "fetched": datetime.fromtimestamp(fetched_at, UTC).isoformat(),
            "expires": _format_time(parse_expiry(url)),
        }
        _write_atomically(
            self._get_metadata_path(job, index),
            json.dumps(note, ensure_ascii=False, indent=1).encode(),
        )
        return self._build_image(note)

    def find(self, job: Job, index: int = 0) -> ArchivedImage | None:
        """The kept picture of a job's result (the one at `index`, from 0), or None."""
        note = self._get_metadata_path(job, index)
        try:
            return self._build_image(json.loads(note.read_text("utf-8")))
        except (OSError, ValueError, KeyError):
            return None

    def __iter__(self) -> Iterator[ArchivedImage]:
        """Every kept picture, the latest first."""
        notes = sorted(
            self.folder.glob("notes/*/*.json"), key=lambda note: note.stat().st_mtime, reverse=True
        )
        for note in notes:
            yield self._build_image(json.loads(note.read_text("utf-8")))

    def _get_metadata_path(self, job: Job, index: int) -> Path:
        name = (
            re.sub(r"[^\w.-]", "_", job.id)
            or hashlib.sha256(" ".join(job.outputs).encode()).hexdigest()[:16]
        )
        return self.folder / "notes" / job.service / f"{name}-{index}.json"

    def _build_image(self, metadata: Mapping[str, Any]) -> ArchivedImage:
        expires = metadata["expires"]
        return ArchivedImage(
            self.folder / metadata["file"],
            metadata["sha256"],
            metadata["service"],
            metadata["job_id"],
            metadata["action"],
            metadata["subject"],
            metadata["url"],
            metadata["index"],
            datetime.fromisoformat(metadata["fetched"]),
            datetime.fromisoformat(expires) if expires else None,
        )


def parse_expiry(url: str) -> datetime | None:
    """When a Discord link ends: its `ex` is that moment in hexadecimal Unix seconds."""
    told = parse_qs(urlsplit(url).query).get("ex", [""])[0]
    return (
        datetime.fromtimestamp(int(told, 16), UTC)
        if re.fullmatch(r"[0-9a-fA-F]{8}", told)
        else None
    )


def split_grid(content: bytes) -> list[bytes]:
    """The four pictures of a 2×2 grid, row by row, as PNG."""
    with Image.open(io.BytesIO(content)) as grid:
        width, height = grid.width // 2, grid.height // 2
        boxes = [(x, y, x + width, y + height) for y in (0, height) for x in (0, width)]
        return [_encode_png(grid.crop(box)) for box in boxes]


def is_grid(job: Job) -> bool:
    """Whether the job's single picture is four in one: those offer U1 to U4."""
    return len(job.outputs) == 1 and any(
        "::upsample::" in button.custom_id for button in job.buttons
    )


Box = tuple[
    float, float, float, float
]  # left, top, right, bottom in pixels; right and bottom are outside
Point = tuple[float, float]


def mask(
    picture: ImageInput | tuple[int, int],
    boxes: Sequence[Box] = (),
    *,
    polygons: Sequence[Sequence[Point]] = (),
    ellipses: Sequence[Box] = (),
) -> bytes:
    """A mask for Vary (Region) and edits, as PNG: white where the picture is to be drawn anew,
    black where it stays.

    It gets the size of the picture (a path, bytes, a data URL, a Pillow image, an array), or the
    size that is given. Boxes are (left, top, right, bottom), polygons lists of (x, y), ellipses the
    boxes that they fill. Raises CallError.
    """
    size = picture if _is_size(picture) else _get_size(picture)  # type: ignore[arg-type]
    drawn = Image.new("L", size)  # type: ignore[arg-type]
    pen = ImageDraw.Draw(drawn)
    for left, top, right, bottom in map(_validate_box, boxes):
        pen.rectangle((left, top, right - 1, bottom - 1), fill=255)
    for left, top, right, bottom in map(_validate_box, ellipses):
        pen.ellipse((left, top, right - 1, bottom - 1), fill=255)
    for polygon in polygons:
        if len(polygon) < 3:
            raise InvalidRequest(f"A polygon has at least three points, not {len(polygon)}.")
        pen.polygon([tuple(point) for point in polygon], fill=255)
    if drawn.getbbox() is None:
        raise InvalidRequest(
            "Nothing of this mask is white, so nothing would be drawn anew.",
            hint=f"Give boxes, polygons or ellipses, in pixels, within {drawn.width}×{drawn.height}.",
        )
    return _encode_png(drawn)


def _is_size(picture: object) -> bool:
    return (
        isinstance(picture, tuple)
        and len(picture) == 2
        and all(isinstance(side, int) for side in picture)
    )


def _get_size(picture: ImageInput) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(to_image_bytes(picture))) as opened:
            return opened.size
    except (UnidentifiedImageError, OSError) as error:
        raise InvalidRequest("This picture cannot be opened.", detail=str(error)) from None


def _validate_box(box: Box) -> Box:
    left, top, right, bottom = box
    if right <= left or bottom <= top:
        raise InvalidRequest(
            f"{tuple(box)} is no box.", hint="A box is (left, top, right, bottom), in pixels."
        )
    return left, top, right, bottom


def _encode_png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return out.getvalue()


def _format_time(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _write_atomically(path: Path, content: bytes) -> None:
    """The file appears under its name when all of it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def resize_to_fit(content: bytes, max_size: int) -> bytes:
    """The picture with at most so many pixels on its longer side, in its own format; else as it
    is.
    """
    with Image.open(io.BytesIO(content)) as picture:
        kind = picture.format or "PNG"
        if max(picture.size) <= max_size or getattr(picture, "n_frames", 1) > 1:
            return content
        picture.thumbnail((max_size, max_size))
        out = io.BytesIO()
        picture.save(out, kind)
    return out.getvalue()
