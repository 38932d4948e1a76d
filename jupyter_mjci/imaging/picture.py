"""A picture as a value: the bytes of its file, shown as a picture, with where it comes from.

It is `bytes`, so whatever takes a file's content takes it. Pillow
and numpy are imported on first use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from jupyter_mjci.errors import InvalidRequest, sanitize
from jupyter_mjci.imaging.films import render_player
from jupyter_mjci.imaging.picture_files import convert_for, write_file
from jupyter_mjci.imaging.picture_metadata import MAX_TEXT, embed_text, extract_text
from jupyter_mjci.imaging.thumbnails import (
    DECODE_ERRORS,
    decode_upright,
    digest,
    identify,
    make_thumbnail,
    open_image,
    to_base64,
    to_rgb,
)

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from jupyter_mjci.imaging.model import RuleResult


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a picture comes from.

    Args:
        service: the key of the service; "" where it is not known
        job_id: the ID of the job that made it
        index: which of the job's results it is, from 0
        action: what the job did
        subject: the prompt, or the input object
        origin: the server or account where the job ran
        rule: the picture rule that was applied to it here
    """

    service: str = ""
    job_id: str = ""
    index: int = 0
    action: str = ""
    subject: str = ""
    origin: str = ""
    rule: str = ""

    def __str__(self) -> str:
        subject = " ".join(self.subject.split())
        number = f"[{self.index}]" if self.index else ""
        rule = f"| {self.rule[:60]}" if self.rule else ""
        words = (self.action, f"{self.job_id}{number}", subject[:60], rule)
        return sanitize(" ".join(word for word in words if word))

    def to_json(self) -> str:
        """Return it as JSON, as it is written into files."""
        known = {name: value for name, value in asdict(self).items() if value != ""}
        return json.dumps(known, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Provenance | None:
        """Read what `to_json` wrote; None for anything else."""
        try:
            values = json.loads(text)
            known = {
                field.name: values[field.name] for field in fields(cls) if field.name in values
            }
        except (ValueError, TypeError, RecursionError):
            return None
        index = known.get("index", 0)
        texts = [value for name, value in known.items() if name != "index"]
        is_valid = type(index) is int and all(isinstance(value, str) for value in texts)
        return cls(**known) if known and is_valid else None


class Picture(bytes):
    """The bytes of a picture's file.

    A cell shows it as a thumbnail, and plays a film; its `repr`
    is one line. Other content is kept and shown as a line.

    Args:
        content: the bytes of the file
        provenance: where it comes from
    """

    provenance: Provenance

    def __new__(cls, content: bytes, provenance: Provenance | None = None) -> Self:
        picture = super().__new__(cls, content)
        picture.provenance = provenance or Provenance()
        return picture

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Read a file, with the provenance that is in it or beside it.

        Raises:
            InvalidRequest: the file cannot be read
        """
        path = Path(path).expanduser()
        try:
            content = path.read_bytes()
        except (OSError, ValueError) as error:
            detail = error.strerror if isinstance(error, OSError) else None
            raise InvalidRequest(
                f"Cannot read the picture {str(path)[:200]}.", detail=detail or str(error)
            ) from None
        return cls(content, Provenance.from_json(extract_text(content) or _read_side_car(path)))

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

    @property
    def width(self) -> int:
        """Pixels from left to right; 0 for what is no picture."""
        return self.size[0]

    @property
    def height(self) -> int:
        """Pixels from top to bottom; 0 for what is no picture."""
        return self.size[1]

    def image(self) -> Image.Image:
        """Decode it with Pillow, turned as its EXIF says. Raises ValueError for no picture."""
        try:
            image = decode_upright(self)
        except DECODE_ERRORS as error:
            raise ValueError(f"This is not a picture: {error}") from None
        return image

    def array(self) -> np.ndarray:
        """Decode it as an array: height × width × channels, integers from 0 to 255.

        Gray pictures have no third dimension, those with
        transparency four channels.
        """
        import numpy as np

        image = self.image()
        return np.asarray(image if image.mode == "L" else to_rgb(image))

    def save(self, path: Path | str, *, overwrite: bool = False) -> Path:
        """Write it to a file, which appears only when all of it is written, and return its path.

        Missing folders are made.

        Args:
            path: the file; an extension of another format
                converts the picture, any other content is written
                as it is
            overwrite: replace a file that is there

        Raises:
            InvalidRequest: a file with other content is there, it
                cannot be written, or Pillow cannot convert it
        """
        path = Path(path).expanduser()
        write_file(path, convert_for(path, self), overwrite=overwrite)
        return path

    def __repr__(self) -> str:
        header = identify(self)
        kind = f"{header.format} {header.width}×{header.height}" if header else "bytes"
        text = f"{kind}, {len(self)} bytes, sha {digest(self)[:12]}"
        origin = str(self.provenance)
        return f"<{text}: {origin}>" if origin else f"<{text}>"

    __str__ = __repr__

    def __reduce__(self) -> tuple[type[Picture], tuple[Any, ...]]:
        return Picture, (bytes(self), self.provenance)

    def _repr_mimebundle_(self, **_: object) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        try:
            thumbnail, mime, width, height = make_thumbnail(self)
        except ValueError:
            player = render_player(self, self.alt_text)
            return {"text/plain": repr(self)} | ({"text/html": player} if player else {}), {}
        data = {mime: to_base64(thumbnail), "text/plain": repr(self)}
        return data, {mime: {"width": width, "height": height, "alt": self.alt_text}}


def sign_file(picture: Picture, provenance: Provenance) -> tuple[bytes, str]:
    """Return a file with its provenance in it; where it has no room, as JSON to write beside it."""
    text = provenance.to_json()
    signed = embed_text(picture, text, provenance.subject)
    return (picture, text) if signed is None else (signed, "")


def get_side_car(path: Path) -> Path:
    """Return the file beside a picture that tells its provenance."""
    return path.with_name(f"{path.name}.json")


def _read_side_car(path: Path) -> str:
    side_car = get_side_car(path)
    try:
        return side_car.read_text("utf-8") if side_car.stat().st_size <= MAX_TEXT else ""
    except (OSError, ValueError):
        return ""


class ProcessedPicture(Picture):
    """What a picture rule made of a picture here. For imageInfo, imageAve and exif it is JSON.

    Args:
        result: the outcome of the rule
        provenance: where the picture comes from, with the rule
    """

    result: RuleResult

    def __new__(cls, result: RuleResult, provenance: Provenance | None = None) -> Self:
        picture = super().__new__(cls, result.body, provenance)
        picture.result = result
        return picture

    @property
    def body(self) -> bytes:
        """The bytes alone."""
        return self.result.body

    @property
    def info(self) -> dict[str, object] | None:
        """What imageInfo, imageAve and exif say; None for a picture."""
        return self.result.info

    @property
    def quality(self) -> int | None:
        """The quality that it was encoded with, where its format has one."""
        return self.result.quality

    @property
    def frames(self) -> int:
        """How many frames it has; 1 for a still picture."""
        return self.result.frames

    def __reduce__(self) -> tuple[type[Picture], tuple[Any, ...]]:
        return ProcessedPicture, (self.result, self.provenance)


def trace_rule(content: bytes, rule: str) -> Provenance:
    """Return the provenance of what a rule makes of a picture."""
    before = content.provenance if isinstance(content, Picture) else Provenance()
    rules = f"{before.rule}|{rule}" if before.rule else rule
    return replace(before, rule=rules)


def is_whole_picture(content: bytes) -> bool:
    """Return whether the bytes decode to the end as a picture, which a truncated file does not."""
    try:
        open_image(content).load()
    except DECODE_ERRORS:
        return False
    return True


def picture(path: Path | str) -> Picture:
    """Read a picture's file, with the provenance that a download has written into it.

    Args:
        path: the file

    Raises:
        InvalidRequest: the file cannot be read
    """
    return Picture.open(path)
