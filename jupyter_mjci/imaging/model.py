"""Values, limits and errors of picture rules.

The limits are those of Tencent Cloud Infinite, but for memory, and
are checked before pixels are decoded or allocated. Errors carry the service's
internal numbers, which it puts into `X-ErrNo` and its messages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image

ObjectLoader = Callable[[str], "bytes | None"]
Size = tuple[int, int]
Frame = Image.Image

MAX_BYTES = 32 * 1024 * 1024
MAX_SIDE = 30_000
MAX_PIXELS = 250_000_000  # width x height x frames
MAX_FRAMES = 300
# Ours: what a picture may take decoded, in bytes. The service
# has more memory, and takes MAX_PIXELS.
MAX_DECODED_BYTES = 200_000_000
MAX_OUTPUT_SIDE = 9_999
MAX_WATERMARKS = 10
# https://www.tencentcloud.com/document/product/1045/33425
MAX_PIPES = 10
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
    """A rule that cannot be applied.

    Attributes:
        message: which key is wrong and what it accepts
        number: the service's internal error number
        code: the service's error code, such as "InvalidArgument"
    """

    def __init__(self, message: str, number: int = BAD_PARAMETER) -> None:
        super().__init__(message)
        self.message = message
        self.number = number
        self.code = ERROR_CODES[number]

    def __str__(self) -> str:
        return f"{self.code} ({self.number}): {self.message}"


class UnknownRuleWord(RuleError):
    """A rule with an operation or a key that is not known here.

    The service may know it, unless it is a misspelt word: then
    `suggestion` is what was meant.
    """

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of a rule.

    Attributes:
        name: "imageMogr2", "imageView2/1", "watermark/2",
            "imageInfo", …
        parameters: keys and values as written; values that are
            base64 on the wire are plain text here, and a flag has
            the value ""
    """

    name: str
    parameters: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RuleResult:
    """The outcome of a rule. For imageInfo, imageAve and exif, `body` is the JSON of `info`."""

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
    """What the service reports about a stored image.

    Attributes:
        quality: estimated from the quantization table of a JPEG;
            100 for other formats
        ave: the mean color, as "0xRRGGBB"
        orientation: the EXIF orientation, 1 to 8
        size: bytes
        md5: hexadecimal digest of the bytes
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
    """One key of an operation: what it means and what it accepts.

    Parsing, error messages, panels and documentation are all
    derived from it.
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

    def parse(self, text: str) -> str | int | bool:
        """Return the value in the type that the operation's function takes.

        Raises:
            ValueError: the text is not accepted
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
    """A known operation: its help, its parameters, and the function that applies it."""

    name: str
    help: str
    parameters: tuple[Parameter, ...]
    function: Callable[..., WorkingImage]

    @property
    def key(self) -> str:
        """The key that starts the operation within imageMogr2, such as "thumbnail"."""
        return self.name.rpartition("/")[2]

    def find_parameter(self, name: str) -> Parameter | None:
        """Return the parameter of that name, or None."""
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        return None


@dataclass(frozen=True, slots=True)
class WorkingImage:
    """An image between two operations: RGB or RGBA frames, and how to encode them at the end."""

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


def check_output_size(size: Size, frames: int) -> None:
    """Raise RuleError if a result of that size exceeds the service's limits."""
    width, height = size
    if max(size) > MAX_OUTPUT_SIDE:
        raise RuleError(
            f"the result would be {width}x{height}; a side may have {MAX_OUTPUT_SIDE} pixels",
            TOO_WIDE if width > MAX_OUTPUT_SIDE else TOO_TALL,
        )
    check_pixel_count(size, frames)


def check_pixel_count(size: Size, frames: int) -> None:
    """Raise RuleError if all frames together would have too many pixels."""
    if size[0] * size[1] * frames > MAX_PIXELS:
        raise RuleError(f"the result would have more than {MAX_PIXELS} pixels", TOO_LARGE)


def _parse_integer(text: str, low: int, high: int) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", text) or not low <= int(text) <= high:
        raise ValueError(text)
    return int(text)


def _parse_choice(text: str, choices: Sequence[str]) -> str:
    if text.lower() not in choices:
        raise ValueError(text)
    return text.lower()
