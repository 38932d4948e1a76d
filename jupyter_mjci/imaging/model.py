from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

ObjectLoader = Callable[[str], "bytes | None"]
Size = tuple[int, int]
Frame = Image.Image
MAX_BYTES = 32 * 1024 * 1024
MAX_SIDE = 30_000
MAX_PIXELS = 250_000_000  # width x height x frames
MAX_FRAMES = 300
MAX_OUTPUT_SIDE = 9_999
MAX_WATERMARKS = 10
MAX_TEXT_LENGTH = 256
BAD_PARAMETER = -60998
TOO_LARGE = -60996
UNREADABLE_SOURCE = -60987
NOT_AN_IMAGE = -62999
TOO_WIDE = -441
TOO_TALL = -442
ERROR_CODES = {
    BAD_PARAMETER: "InvalidArgument",
    NOT_AN_IMAGE: "InvalidArgument",
    UNREADABLE_SOURCE: "InvalidArgument",
    TOO_LARGE: "EntityTooLarge",
    TOO_WIDE: "InvalidArgument",
    TOO_TALL: "InvalidArgument",
}


class RuleError(Exception):
    """The rule can't be applied. `code` is the service's name, `number` its internal number,
    `message` tells which key is wrong and what it accepts.
    """

    def __init__(self, message: str, number: int = BAD_PARAMETER) -> None:
        super().__init__(message)
        self.message = message
        self.number = number
        self.code = ERROR_CODES[number]

    def __str__(self) -> str:
        return f"{self.code} ({self.number}): {self.message}"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a rule: its name ("imageMogr2", "imageView2/1", "watermark/2", "imageInfo",
    …) and its parameters as written, with what the wire has in base64 in plain text. A flag has the
    value "".
    """

    name: str
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What a rule made. For imageInfo, imageAve and exif, `info` is the answer and `body` its
    JSON.
    """

    body: bytes
    content_type: str
    format: str
    width: int
    height: int
    size: int
    quality: int | None
    frames: int
    info: dict[str, object] | None = None


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the service tells about a picture as it was stored. `quality` is estimated for JPEG, 100
    otherwise.
    """

    format: str
    width: int
    height: int
    quality: int
    ave: str
    orientation: int
    size: int
    md5: str
    frames: int


@dataclass(frozen=True, slots=True)
class Parameter:
    """One key of an operation: what it means and what it accepts, for reading, for panels and for
    docs.
    """

    name: str
    help: str
    expected: str
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    default: str | None = None
    encoded: bool = False
    flag: bool = False
    required: bool = False

    def parse(self, text: str) -> Any:
        """The value as the operation's function wants it. Raises ValueError on what is not
        accepted.
        """
        if self.flag:
            return True
        if self.minimum is not None and self.maximum is not None:
            return _parse_integer(text, self.minimum, self.maximum)
        if self.choices:
            return _parse_choice(text, self.choices)
        if self.pattern and not re.fullmatch(self.pattern, text):
            raise ValueError(text)
        return text


@dataclass(frozen=True, slots=True)
class OperationSpec:
    """One known operation: its help, its parameters, and the function that does it."""

    name: str
    help: str
    parameters: tuple[Parameter, ...]
    function: Callable[..., WorkingImage]

    @property
    def key(self) -> str:
        """What starts it inside imageMogr2 ("thumbnail"); elsewhere the last part of its name."""
        return self.name.rpartition("/")[2]

    def find_parameter(self, name: str) -> Parameter | None:
        return next((each for each in self.parameters if each.name == name), None)


@dataclass(frozen=True, slots=True)
class WorkingImage:
    """Frames being worked on, all RGB or RGBA, and how they are to be written."""

    original: bytes
    source_format: str
    frames: tuple[Frame, ...]
    durations: tuple[int, ...]
    loop: int | None
    source_quality: int
    exif: bytes
    icc_profile: bytes
    load_object: ObjectLoader
    format: str
    quality: int | None = None
    progressive: bool = False
    strip: bool = False
    palette_size: int | None = None
    size_limit: int | None = None
    never_larger: bool = False
    modified: bool = False
    info: dict[str, object] | None = None

    @property
    def size(self) -> Size:
        return self.frames[0].size


def _parse_integer(text: str, low: int, high: int) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise ValueError(text)
    return int(text)


def _parse_choice(text: str, choices: Sequence[str]) -> str:
    if text.lower() not in choices:
        raise ValueError(text)
    return text.lower()


def check_output_size(size: Size, frames: int) -> None:
    width, height = size
    if max(size) > MAX_OUTPUT_SIDE:
        number = TOO_WIDE if width > MAX_OUTPUT_SIDE else TOO_TALL
        raise RuleError(
            f"the result would be {width}x{height}; a side may have {MAX_OUTPUT_SIDE} pixels",
            number,
        )
    check_pixel_count(size, frames)


def check_pixel_count(size: Size, frames: int) -> None:
    if size[0] * size[1] * frames > MAX_PIXELS:
        raise RuleError(f"the result would have more than {MAX_PIXELS} pixels", TOO_LARGE)
