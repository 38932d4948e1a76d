"""Picture rules ("imageMogr2/thumbnail/200x|watermark/2/text/…") really applied.

How it works. A rule is read once into plain values (`parse_rule`); everything wrong with it is found
there, before any picture is looked at. Each operation is one function marked `@operation` beside
the table of its parameters; reading, writing (`format_rule`), defaults, error messages, and the panels and
docs made from `OPERATIONS` all use that one table. A picture is its frames plus how it is to be
written. Operations turn one `WorkingImage` into the next, in written order (auto-orient always first);
writing happens once, at the end, however many operations there were.

Sizes are checked in the header before a pixel is decoded, with our own limits: Pillow's are global,
and not ours to change. So pictures are opened by their plugin and not by `Image.open`, which would
warn about what the service allows.
"""

from __future__ import annotations

import base64
import difflib
import hashlib
import io
import json
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from PIL import (
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageChops,
    ImageDraw,
    ImageEnhance,
    ImageFile,
    ImageFilter,
    ImageFont,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

try:
    from PIL import AvifImagePlugin
except ImportError:  # Pillow before 11.3
    AvifImagePlugin = None  # type: ignore[assignment]

ObjectLoader = Callable[[str], "bytes | None"]
Size = tuple[int, int]
Frame = Image.Image

# ----------------------------------------------------------------------------------------------
# limits and errors

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


# ----------------------------------------------------------------------------------------------
# values


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


# ----------------------------------------------------------------------------------------------
# declaring

OPERATIONS: dict[str, OperationSpec] = {}


def operation(
    name: str, help: str, *parameters: Parameter
) -> Callable[[Callable[..., WorkingImage]], Callable[..., WorkingImage]]:
    """Enter a function into OPERATIONS. It is called with the picture and with every parameter by
    name.
    """

    def enter(function: Callable[..., WorkingImage]) -> Callable[..., WorkingImage]:
        OPERATIONS[name] = OperationSpec(name, help, parameters, function)
        return function

    return enter


def _integer_parameter(name: str, low: int, high: int, help: str, **more: Any) -> Parameter:
    return Parameter(
        name, help, f"an integer from {low} to {high}", minimum=low, maximum=high, **more
    )


def _choice_parameter(name: str, choices: Sequence[str], help: str, **more: Any) -> Parameter:
    return Parameter(name, help, "one of " + ", ".join(choices), choices=tuple(choices), **more)


def _pattern_parameter(name: str, expected: str, pattern: str, help: str, **more: Any) -> Parameter:
    return Parameter(name, help, expected, pattern=pattern, **more)


def _encoded_parameter(name: str, help: str, expected: str = "text", **more: Any) -> Parameter:
    return Parameter(name, help, f"{expected}, in URL-safe base64", encoded=True, **more)


def _color_parameter(name: str, help: str, default: str) -> Parameter:
    return _encoded_parameter(name, help, "#RRGGBB", pattern="#[0-9A-Fa-f]{6}", default=default)


def _flag_parameter(name: str, help: str) -> Parameter:
    return Parameter(name, help, "no value", flag=True)


GRAVITIES = {
    "northwest": (0, 0),
    "north": (1, 0),
    "northeast": (2, 0),
    "west": (0, 1),
    "center": (1, 1),
    "east": (2, 1),
    "southwest": (0, 2),
    "south": (1, 2),
    "southeast": (2, 2),
}
FORMATS = ("jpg", "jpeg", "yjpeg", "png", "gif", "bmp", "webp", "avif", "heif", "tpg")
INTEGER_PATTERN = "([0-9]{1,6})"


def _gravity_parameter(default: str | None) -> Parameter:
    return _choice_parameter(
        "gravity",
        tuple(GRAVITIES),
        "where in the picture; offsets point inward from there",
        default=default,
    )


def _offset_parameters() -> tuple[Parameter, Parameter]:
    return (
        _integer_parameter(
            "dx",
            0,
            99_999,
            "pixels from the left or right edge; ignored in the middle column",
            default="0",
        ),
        _integer_parameter(
            "dy",
            0,
            99_999,
            "pixels from the top or bottom edge; ignored in the middle row",
            default="0",
        ),
    )


IGNORE_ERROR = _choice_parameter(
    "ignore-error",
    ("0", "1"),
    "1: answer with the original picture instead of an error",
    default="0",
)
QUALITY_EXPECTED = "1 to 100, with ! to force it"
QUALITY_PATTERN = "(100|[1-9][0-9]?)!?"

# ----------------------------------------------------------------------------------------------
# rules as values

TWO_PART_OPERATIONS = ("imageView2", "watermark")  # their name has two parts
BLIND_WATERMARKS = ("watermark/3", "watermark/4")
JSON_OPERATIONS = ("imageInfo", "imageAve", "exif")


def parse_rule(rule: str) -> tuple[Operation, ...]:
    """The operations of a rule, checked. Raises RuleError, which names the key and the accepted
    form.
    """
    if not rule:
        raise RuleError("the rule is empty")
    operations = tuple(_parse_operation(part) for part in rule.split("|"))
    for each in operations[:-1]:
        if each.name in JSON_OPERATIONS:
            raise RuleError(f"{each.name} answers with JSON and must stand alone or last")
    if sum(each.name == "watermark/1" for each in operations) > MAX_WATERMARKS:
        raise RuleError(f"watermark/1: at most {MAX_WATERMARKS} picture watermarks in one rule")
    return operations


def format_rule(operations: Sequence[Operation]) -> str:
    """The rule as it goes over the wire; the inverse of `parse`."""
    return "|".join("/".join([each.name, *_iter_tokens(each)]) for each in operations)


def split_steps(rule: str) -> tuple[tuple[Operation, ...], ...]:
    """The steps that each operation of a rule comes to, in the order in which they are done; each
    with its own parameters, the one that starts it first: what a form shows as blocks. Raises
    RuleError.
    """
    return tuple(
        tuple(Operation(kind.name, tuple(values.items())) for kind, values in _plan_steps(each))
        for each in parse_rule(rule)
    )


def join_steps(steps: Sequence[Sequence[Operation]]) -> str:
    """The rule that comes to these steps; the inverse of `steps`."""
    return format_rule([_merge_steps(group) for group in steps if group])


def _merge_steps(steps: Sequence[Operation]) -> Operation:
    first = steps[0]
    if not first.name.startswith("imageMogr2/"):
        return first
    return Operation("imageMogr2", tuple(pair for step in steps for pair in step.parameters))


def _iter_tokens(operation: Operation) -> Iterator[str]:
    for name, value in operation.parameters:
        parameter = _get_parameter(operation.name, name)
        yield name
        if not parameter.flag:
            yield encode_base64(value) if parameter.encoded else value


def encode_base64(text: str) -> str:
    """URL-safe base64 without padding, as the rules want it."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_base64(encoded: str) -> str:
    """The text behind URL-safe base64, with or without padding; the standard alphabet is understood
    too. Raises ValueError.
    """
    bare = encoded.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True).decode()


def _parse_operation(part: str) -> Operation:
    name, *tokens = part.split("/")
    if name in TWO_PART_OPERATIONS and tokens:
        name = f"{name}/{tokens.pop(0)}"
    if name in BLIND_WATERMARKS:
        raise RuleError(
            f"{name}: blind watermarks are not offered here; accepted are watermark/1 and watermark/2"
        )
    if name != "imageMogr2" and name not in OPERATIONS:
        raise RuleError(_describe_unknown(name, [*OPERATIONS, "imageMogr2"], "operation"))
    if tokens and not tokens[-1]:
        tokens.pop()  # a slash at the end says nothing
    operation = Operation(name, tuple(_parse_parameters(name, tokens)))
    _plan_steps(operation)
    return operation


def _parse_parameters(name: str, tokens: Sequence[str]) -> Iterator[tuple[str, str]]:
    rest = iter(tokens)
    for key in rest:
        parameter = _get_parameter(name, key)
        if parameter.flag:
            yield key, ""
            continue
        wire = next(rest, "")
        try:
            plain = decode_base64(wire) if parameter.encoded else wire
            if not plain:
                raise ValueError(wire)
            parameter.parse(plain)
        except ValueError:
            raise RuleError(
                f"{name}/{key} must be {parameter.expected}; got {wire[:80]!r}"
            ) from None
        yield key, plain


def _get_parameter(name: str, key: str) -> Parameter:
    known = _get_parameters(name)
    if key not in known:
        raise RuleError(
            _describe_unknown(f"{name}/{key}", [f"{name}/{each}" for each in known], "key")
        )
    return known[key]


def _get_parameters(name: str) -> dict[str, Parameter]:
    kinds = _get_operation_specs(name)
    return {parameter.name: parameter for kind in kinds for parameter in kind.parameters}


def _get_operation_specs(name: str) -> list[OperationSpec]:
    if name in OPERATIONS:
        return [OPERATIONS[name]]
    return [kind for known, kind in OPERATIONS.items() if known.startswith(name + "/")]


def _describe_unknown(name: str, known: Sequence[str], label: str) -> str:
    close = difflib.get_close_matches(name[:80], known, 1)
    hint = f"did you mean {close[0]}?" if close else "accepted are " + ", ".join(known)
    return f"{name[:80]} is no known {label}; {hint}"


# ----------------------------------------------------------------------------------------------
# running

OperationStep = tuple[OperationSpec, dict[str, str]]


def apply_rule(
    rule: str, picture: bytes, *, load_object: ObjectLoader = lambda _: None
) -> RuleResult:
    """Apply a rule to a picture. `load_object` gives the bytes of a watermark picture by its URL.
    Raises RuleError and nothing else; the same arguments always give the same bytes."""
    operations = parse_rule(rule)
    try:
        return build_result(_run_operations(operations, load_image(picture, load_object)))
    except RuleError:
        if not any(("ignore-error", "1") in each.parameters for each in operations):
            raise
        return build_original_result(picture)


def _run_operations(operations: Sequence[Operation], picture: WorkingImage) -> WorkingImage:
    for each in operations:
        for kind, values in _plan_steps(each):
            picture = replace(kind.function(picture, **_parse_values(kind, values)), modified=True)
    return picture


def _parse_values(spec: OperationSpec, values: Mapping[str, str]) -> dict[str, Any]:
    """Every parameter of the operation under its Python name, read, or its default."""
    texts = {each.name: values.get(each.name, each.default) for each in spec.parameters}
    return {
        each.name.replace("-", "_"): None
        if (value := texts[each.name]) is None
        else each.parse(value)
        for each in spec.parameters
    }


def _plan_steps(operation: Operation) -> list[OperationStep]:
    """What to run, in order. An imageMogr2 is several steps; gravity, pad and their like belong to
    the step before them that knows them, or else to the next one.
    """
    kinds = _get_operation_specs(operation.name)
    if operation.name in OPERATIONS:
        return [_check_required(kinds[0], dict(operation.parameters))]
    starts = {kind.key: kind for kind in kinds}
    steps: list[OperationStep] = []
    waiting: dict[str, str] = {}
    for name, value in operation.parameters:
        if name in starts:
            kind = starts[name]
            early = {key: waiting.pop(key) for key in tuple(waiting) if kind.find_parameter(key)}
            steps.append((kind, {name: value, **early}))
            continue
        owner = next((step for step in reversed(steps) if step[0].find_parameter(name)), None)
        (owner[1] if owner else waiting)[name] = value
    if waiting:
        raise RuleError(
            f"imageMogr2/{next(iter(waiting))} says nothing without {_describe_owners(kinds, next(iter(waiting)))}"
        )
    return sorted(steps, key=lambda step: step[0].key != "auto-orient")


def _describe_owners(specs: Sequence[OperationSpec], name: str) -> str:
    return " or ".join(kind.key for kind in specs if kind.find_parameter(name))


def _check_required(spec: OperationSpec, values: dict[str, str]) -> OperationStep:
    for parameter in spec.parameters:
        if parameter.required and parameter.name not in values:
            raise RuleError(
                f"{spec.name}/{parameter.name} is missing; it must be {parameter.expected}"
            )
    return spec, values


# ----------------------------------------------------------------------------------------------
# opening pictures

SIGNATURES = (
    (re.compile(rb"\xff\xd8\xff"), "jpeg"),
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "png"),
    (re.compile(rb"GIF8[79]a"), "gif"),
    (re.compile(rb"BM"), "bmp"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "webp"),
    (re.compile(rb"....ftypavi[fs]", re.DOTALL), "avif"),
)
DECODERS: dict[str, Callable[[io.BytesIO], ImageFile.ImageFile]] = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
}
if AvifImagePlugin is not None and AvifImagePlugin.SUPPORTED:
    DECODERS["avif"] = AvifImagePlugin.AvifImageFile


@contextmanager
def decoding_errors() -> Iterator[None]:
    """Pillow's decoders raise whatever comes to hand on damaged input; for us it is all the
    same.
    """
    try:
        yield
    except RuleError:
        raise
    except Exception as problem:
        raise RuleError(f"the picture can't be read: {problem}", NOT_AN_IMAGE) from problem


def _detect_format(picture: bytes) -> str:
    found = next((name for signature, name in SIGNATURES if signature.match(picture)), "")
    if found not in DECODERS:
        raise RuleError("not a picture; accepted are " + ", ".join(DECODERS), NOT_AN_IMAGE)
    return found


def open_image(picture: bytes, limited: bool = True) -> tuple[str, ImageFile.ImageFile, int]:
    """The format, the opened but not yet decoded picture, and its number of frames. Refuses what is
    too large.
    """
    name = _detect_format(picture)
    check = _check_input if limited else lambda *_: None
    if limited and len(picture) > MAX_BYTES:
        raise RuleError(
            f"the picture has {len(picture)} bytes; at most {MAX_BYTES} are accepted", TOO_LARGE
        )
    with decoding_errors():
        frames = 1
        if name == "webp":
            check(_webp_size(picture), 1)  # the decoder takes memory for the canvas at once
        if name == "gif":
            size, frames = _scan_gif(picture)
            check(size, frames)
        image = DECODERS[name](io.BytesIO(picture))
        if name == "webp":
            frames = int(getattr(image, "n_frames", 1))
        check(image.size, frames)
    return name, image, max(1, frames)


def _check_input(size: Size, frames: int) -> None:
    width, height = size
    if max(size) > MAX_SIDE:
        raise RuleError(
            f"the picture is {width}x{height}; a side may have {MAX_SIDE} pixels", TOO_LARGE
        )
    if width * height * frames > MAX_PIXELS:
        raise RuleError(
            f"{width}x{height} in {frames} frames is more than {MAX_PIXELS} pixels", TOO_LARGE
        )
    if frames > MAX_FRAMES:
        raise RuleError(f"the picture has more than {MAX_FRAMES} frames", TOO_LARGE)


def _webp_size(picture: bytes) -> Size:
    """From the header of any of WebP's three kinds: lossy, lossless, extended."""
    kind, first = picture[12:16], picture[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        return 1 + int.from_bytes(first[4:7], "little"), 1 + int.from_bytes(first[7:10], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(first[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack("<HH", first[6:10])
    return width & 0x3FFF, height & 0x3FFF


def _scan_gif(picture: bytes) -> tuple[Size, int]:
    """The canvas that all frames of a GIF need, and their number, without decoding any (one past
    the limit is enough to know).
    """
    width, height = struct.unpack("<HH", picture[6:10])
    place = 13 + _get_gif_table_size(picture[10])
    frames = 0
    while place + 10 < len(picture) and frames <= MAX_FRAMES and picture[place] != 0x3B:
        if picture[place] == 0x2C:
            left, top, across, down = struct.unpack("<HHHH", picture[place + 1 : place + 9])
            width, height = max(width, left + across), max(height, top + down)
            frames += 1
            place = _skip_gif_blocks(picture, place + 11 + _get_gif_table_size(picture[place + 9]))
        elif picture[place] == 0x21:
            place = _skip_gif_blocks(picture, place + 2)
        else:
            place += 1
    return (width, height), frames


def _get_gif_table_size(flags: int) -> int:
    """How many bytes the colour table takes that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _skip_gif_blocks(picture: bytes, offset: int) -> int:
    """Where the chain of data blocks that starts here ends."""
    while offset < len(picture) and picture[offset]:
        offset += 1 + picture[offset]
    return offset + 1


def load_image(picture: bytes, load_object: ObjectLoader) -> WorkingImage:
    """A picture decoded, with all its frames if it moves."""
    name, image, count = open_image(picture)
    with decoding_errors():
        quality = estimate_quality(image)
        shown = list(_iter_frames(image, count))
        frames, durations = zip(*shown, strict=True)
        exif, icc = image.info.get("exif", b""), image.info.get("icc_profile") or b""
        loop = image.info.get("loop")
        usable = (
            icc if image.mode in ("RGB", "RGBA", "P", "PA") else b""
        )  # we work in RGB: no other profile fits
    return WorkingImage(
        picture,
        name,
        frames,
        durations,
        loop,
        quality,
        normalize_exif(exif),
        usable,
        load_object,
        name,
    )


def _iter_frames(image: ImageFile.ImageFile, count: int) -> Iterator[tuple[Frame, int]]:
    size = image.size
    for index in range(count):
        try:
            image.seek(index)
        except EOFError:
            return
        image.load()
        frame = _to_rgb(image)
        yield (
            frame if frame.size == size else frame.crop((0, 0, *size)),
            round(image.info.get("duration", 0)),
        )


def _to_rgb(image: Frame) -> Frame:
    """The same picture as RGB, or as RGBA if anything in it can be seen through."""
    if image.mode.startswith("I") or image.mode == "F":
        frame = _to_8bit(image)
    else:
        frame = image.convert("RGBA" if image.has_transparency_data else "RGB")
    frame.info.clear()  # writers would take profile, comment and more from there unasked
    return frame


def _to_8bit(image: Frame) -> Frame:
    """16-bit greys keep their upper byte (a plain conversion would clip them to white)."""
    return (
        image.convert("I").point(lambda value: value * (1 / 256), "I").convert("L").convert("RGB")
    )


def normalize_exif(raw: bytes) -> bytes:
    bare = raw.removeprefix(b"Exif\x00\x00")
    return b"Exif\x00\x00" + bare if bare else b""


def read_exif(block: bytes) -> Image.Exif:
    """Tags, or none if the block is damaged: cameras write all sorts of things, and the picture is
    still good.
    """
    exif = Image.Exif()
    try:
        exif.load(block)
        dict(exif)
    except Exception:
        return Image.Exif()
    return exif


def read_orientation(block: bytes) -> int:
    value = read_exif(block).get(ExifTags.Base.Orientation, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


# The luminance table of the JPEG standard (annex K), which nearly every encoder scales by its
# quality.
LUMINANCE = (
    16,
    11,
    10,
    16,
    24,
    40,
    51,
    61,
    12,
    12,
    14,
    19,
    26,
    58,
    60,
    55,
    14,
    13,
    16,
    24,
    40,
    57,
    69,
    56,
    14,
    17,
    22,
    29,
    51,
    87,
    80,
    62,
    18,
    22,
    37,
    56,
    68,
    109,
    103,
    77,
    24,
    35,
    55,
    64,
    81,
    104,
    113,
    92,
    49,
    64,
    78,
    87,
    103,
    121,
    120,
    101,
    72,
    92,
    95,
    98,
    112,
    100,
    103,
    99,
)


def _scale_table(quality: int) -> list[int]:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return [min(255, max(1, (value * scale + 50) // 100)) for value in LUMINANCE]


QUANTIZATION_TABLES = {quality: sorted(_scale_table(quality)) for quality in range(1, 101)}


def estimate_quality(image: ImageFile.ImageFile) -> int:
    """The quality from 1 to 100 whose quantisation table is nearest to this JPEG's (sorted, because
    Pillow's versions order the table differently); 100 for other formats.
    """
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return 100
    table = sorted(image.quantization.get(0, ()))
    return min(
        QUANTIZATION_TABLES, key=lambda q: (_compute_distance(QUANTIZATION_TABLES[q], table), -q)
    )


def _compute_distance(first: Sequence[int], second: Sequence[int]) -> int:
    return sum(abs(a - b) for a, b in zip(first, second, strict=False))


# ----------------------------------------------------------------------------------------------
# telling about pictures


def read_image_info(picture: bytes) -> ImageInfo:
    """What the service tells about a picture (IsPicInfo, imageInfo). Raises RuleError if it isn't
    one.
    """
    name, image, frames = open_image(picture)
    with decoding_errors():
        quality = estimate_quality(image)
        image.load()
        ave = compute_average_color(_to_rgb(image))
        orientation = read_orientation(normalize_exif(image.info.get("exif", b"")))
    width, height = image.size
    md5 = hashlib.md5(picture, usedforsecurity=False).hexdigest()
    return ImageInfo(name, width, height, quality, ave, orientation, len(picture), md5, frames)


def compute_average_color(frame: Frame) -> str:
    pixel = _flatten(frame).resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return "0x{:02x}{:02x}{:02x}".format(*pixel)


def encode_current(picture: WorkingImage) -> bytes:
    """The picture's bytes at this point of a rule."""
    return encode_image(picture)[0] if picture.modified else picture.original


@operation("imageInfo", "format, size, md5 and mean colour of the picture, as JSON")
def image_info(picture: WorkingImage) -> WorkingImage:
    told = read_image_info(encode_current(picture))
    facts = {
        "format": told.format,
        "width": told.width,
        "height": told.height,
        "size": told.size,
        "md5": told.md5,
        "frame_count": told.frames,
        "photo_rgb": told.ave,
    }
    return replace(picture, info={key: str(value) for key, value in facts.items()})


@operation("imageAve", "the mean colour of the picture, as JSON")
def image_ave(picture: WorkingImage) -> WorkingImage:
    return replace(picture, info={"RGB": compute_average_color(picture.frames[0])})


@operation("exif", "the EXIF tags of the picture, as JSON")
def exif(picture: WorkingImage) -> WorkingImage:
    with decoding_errors():
        tags = {} if picture.strip else _render_exif(read_exif(picture.exif))
    return replace(picture, info=tags or {"error": "no exif data"})


def _render_exif(exif_data: Image.Exif) -> dict[str, object]:
    groups = (
        (exif_data, ExifTags.TAGS),
        (exif_data.get_ifd(ExifTags.IFD.Exif), ExifTags.TAGS),
        (exif_data.get_ifd(ExifTags.IFD.GPSInfo), ExifTags.GPSTAGS),
    )
    pointers = {int(ExifTags.IFD.Exif), int(ExifTags.IFD.GPSInfo)}
    return {
        names.get(tag, f"0x{tag:04X}"): {"val": _format_exif_value(value)}
        for group, names in groups
        for tag, value in group.items()
        if tag not in pointers
    }


def _format_exif_value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(_format_exif_value(each) for each in value)
    return (
        value.decode("latin-1").rstrip("\0")
        if isinstance(value, bytes)
        else str(value).rstrip("\0")
    )


# ----------------------------------------------------------------------------------------------
# geometry


def _map_frames(picture: WorkingImage, change: Callable[[Frame], Frame]) -> WorkingImage:
    return replace(picture, frames=tuple(change(frame) for frame in picture.frames))


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


def _round_size(width: float, height: float) -> Size:
    return max(1, round(width)), max(1, round(height))


def _resize(picture: WorkingImage, size: Size) -> WorkingImage:
    if size == picture.size:
        return picture
    check_output_size(size, len(picture.frames))
    return _map_frames(
        picture, lambda frame: frame.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    )


def _crop_box(picture: WorkingImage, left: int, top: int, size: Size) -> WorkingImage:
    """Cut a box that lies inside the picture. By `resize` and not by `crop`, which warns about
    large boxes.
    """
    box = (left, top, left + size[0], top + size[1])
    return _map_frames(picture, lambda frame: frame.resize(size, Image.Resampling.NEAREST, box))


def _position_by_gravity(
    outer: Size, inner: Size, gravity: str, dx: int, dy: int
) -> tuple[int, int]:
    """Where the inner rectangle's corner goes in the outer one."""
    column, row = GRAVITIES[gravity]
    return _offset_along_axis(outer[0] - inner[0], column, dx), _offset_along_axis(
        outer[1] - inner[1], row, dy
    )


def _offset_along_axis(room: int, third: int, offset: int) -> int:
    return (offset, room // 2, room - offset)[third]


def _fit_inside(size: Size, width: float, height: float) -> Size:
    """The largest size of the same shape inside width x height."""
    w, h = size
    if width * h <= height * w:
        return _round_size(width, h * width / w)
    return _round_size(w * height / h, height)


def _fit_outside(size: Size, width: int, height: int) -> Size:
    """The smallest size of the same shape around width x height."""
    w, h = size
    if width * h >= height * w:
        return _round_size(width, max(height, h * width / w))
    return _round_size(max(width, w * height / h), height)


def _resize_and_crop(
    picture: WorkingImage, size: Size, gravity: str = "center", dx: int = 0, dy: int = 0
) -> WorkingImage:
    """Scaled to cover the size, then cut to it."""
    covering = _resize(picture, _fit_outside(picture.size, *size))
    left, top = _position_by_gravity(covering.size, size, gravity, dx, dy)
    room = (covering.size[0] - size[0], covering.size[1] - size[1])
    return _crop_box(covering, min(max(0, left), room[0]), min(max(0, top), room[1]), size)


def _fit_when(size: Size, width: int, height: int, condition: str) -> Size:
    fitting = _fit_inside(size, width, height)
    wanted = {"": True, ">": fitting < size, "<": fitting > size}
    return fitting if wanted[condition] else size


def _fit_area(size: Size, area: int) -> Size:
    w, h = size
    if w * h <= area:
        return size
    return max(1, math.isqrt(area * w // h)), max(1, math.isqrt(area * h // w))


THUMBNAIL_FORMS: tuple[tuple[str, Callable[..., Size]], ...] = (
    (f"!{INTEGER_PATTERN}p", lambda size, s: _round_size(size[0] * s / 100, size[1] * s / 100)),
    (f"!{INTEGER_PATTERN}px", lambda size, s: _round_size(size[0] * s / 100, size[1])),
    (f"!x{INTEGER_PATTERN}p", lambda size, s: _round_size(size[0], size[1] * s / 100)),
    (f"{INTEGER_PATTERN}x", lambda size, w: _round_size(w, size[1] * w / size[0])),
    (f"x{INTEGER_PATTERN}", lambda size, h: _round_size(size[0] * h / size[1], h)),
    (f"{INTEGER_PATTERN}x{INTEGER_PATTERN}", lambda size, w, h: _fit_when(size, w, h, "")),
    (f"{INTEGER_PATTERN}x{INTEGER_PATTERN}>", lambda size, w, h: _fit_when(size, w, h, ">")),
    (f"{INTEGER_PATTERN}x{INTEGER_PATTERN}<", lambda size, w, h: _fit_when(size, w, h, "<")),
    (f"!{INTEGER_PATTERN}x{INTEGER_PATTERN}r", lambda size, w, h: _fit_outside(size, w, h)),
    (f"{INTEGER_PATTERN}x{INTEGER_PATTERN}!", lambda _, w, h: (w, h)),
    ("([0-9]{1,9})@", _fit_area),
)
PADDABLE_PATTERN = f"{INTEGER_PATTERN}x{INTEGER_PATTERN}[<>]?"


def _parse_numbers(pattern: str, text: str) -> tuple[int, ...]:
    found = re.fullmatch(pattern, text)
    return tuple(int(number) for number in found.groups()) if found else ()


@operation(
    "imageMogr2/thumbnail",
    "scale the picture",
    _pattern_parameter(
        "thumbnail",
        "!<S>p, !<S>px, !x<S>p, <W>x, x<H>, <W>x<H>, <W>x<H>>, <W>x<H><, !<W>x<H>r, <W>x<H>! or <area>@",
        "|".join(pattern.replace("(", "(?:") for pattern, _ in THUMBNAIL_FORMS),
        "the new size: percent, one side, a box to fit in or to cover, exactly, or an area",
        required=True,
    ),
    _choice_parameter(
        "pad", ("0", "1"), "1: fill up to exactly WxH, the picture in the middle", default="0"
    ),
    _color_parameter("color", "what to fill up with", "#FFFFFF"),
)
def thumbnail(picture: WorkingImage, *, thumbnail: str, pad: str, color: str) -> WorkingImage:
    form, size_of = next(each for each in THUMBNAIL_FORMS if re.fullmatch(each[0], thumbnail))
    numbers = _parse_numbers(form, thumbnail)
    if 0 in numbers:
        raise RuleError(
            "imageMogr2/thumbnail: a size of 0 is no size; sides, percents and areas start at 1"
        )
    size = size_of(picture.size, *numbers)
    if picture.source_format == "gif":  # the service never enlarges these
        size = min(size[0], picture.size[0]), min(size[1], picture.size[1])
    scaled = _resize(picture, size)
    return _pad(scaled, thumbnail, color) if pad == "1" else scaled


def _pad(picture: WorkingImage, form: str, colour: str) -> WorkingImage:
    if not re.fullmatch(PADDABLE_PATTERN, form):
        raise RuleError(f"imageMogr2/pad goes with thumbnail/<W>x<H>; got thumbnail/{form}")
    sides = re.findall("[0-9]+", form)
    canvas = (max(int(sides[0]), picture.size[0]), max(int(sides[1]), picture.size[1]))
    check_output_size(canvas, len(picture.frames))
    place = _position_by_gravity(canvas, picture.size, "center", 0, 0)

    def pad(frame: Frame) -> Frame:
        padded = Image.new(frame.mode, canvas, colour)
        padded.paste(frame, place)
        return padded

    return _map_frames(picture, pad)


@operation(
    "imageMogr2/cut",
    "cut a rectangle, as much of it as lies in the picture",
    _pattern_parameter(
        "cut",
        "<W>x<H>x<dx>x<dy>",
        "x".join([INTEGER_PATTERN] * 4),
        "its size and its offset from the top left corner",
    ),
)
def cut(picture: WorkingImage, *, cut: str) -> WorkingImage:
    return _crop_clipped(picture, "cut", *map(int, cut.split("x")))


def _crop_clipped(
    picture: WorkingImage, key: str, width: int, height: int, left: int, top: int
) -> WorkingImage:
    right, bottom = min(left + width, picture.size[0]), min(top + height, picture.size[1])
    left, top = max(0, left), max(0, top)
    if left >= right or top >= bottom:
        shown = "{}x{}".format(*picture.size)
        raise RuleError(
            f"imageMogr2/{key}: {width}x{height} at {left},{top} has nothing of a picture of {shown}"
        )
    return _crop_box(picture, left, top, (right - left, bottom - top))


CROP_BY_OFFSET = re.compile("!([0-9]{0,6})x([0-9]{0,6})a([0-9]{1,6})a([0-9]{1,6})")


@operation(
    "imageMogr2/crop",
    "scale to cover WxH and cut to it; with one side given, cut that side only",
    _pattern_parameter(
        "crop",
        "<W>x, x<H>, <W>x<H> or !<W>x<H>a<dx>a<dy>",
        f"{INTEGER_PATTERN}x|x{INTEGER_PATTERN}|{INTEGER_PATTERN}x{INTEGER_PATTERN}|{CROP_BY_OFFSET.pattern}",
        "the size of what stays",
        required=True,
    ),
    _gravity_parameter(None),
    *_offset_parameters(),
)
def crop(
    picture: WorkingImage, *, crop: str, gravity: str | None, dx: int, dy: int
) -> WorkingImage:
    offset = CROP_BY_OFFSET.fullmatch(crop)
    if offset:
        width, height, left, top = (int(number or 0) for number in offset.groups())
        size = _resolve_crop_size(picture, width, height)
        return _crop_clipped(
            picture,
            "crop",
            *size,
            *_position_by_gravity(picture.size, size, gravity or "northwest", left, top),
        )
    width, height = (int(side or 0) for side in crop.split("x"))
    if width and height:
        return _resize_and_crop(picture, (width, height), gravity or "center", dx, dy)
    size = _resolve_crop_size(picture, width, height)
    left, top = _position_by_gravity(picture.size, size, gravity or "center", dx, dy)
    room = (picture.size[0] - size[0], picture.size[1] - size[1])
    return _crop_box(picture, min(max(0, left), room[0]), min(max(0, top), room[1]), size)


def _resolve_crop_size(picture: WorkingImage, width: int, height: int) -> Size:
    """A side that is 0 (not given), or longer than the picture's, is the picture's own."""
    if not width and not height:
        raise RuleError("imageMogr2/crop: at least one side must be 1 or more")
    whole = picture.size
    return min(width or whole[0], whole[0]), min(height or whole[1], whole[1])


@operation(
    "imageMogr2/scrop",
    "scale and cut around faces (here: around the middle)",
    _pattern_parameter(
        "scrop", "<W>x<H>", f"{INTEGER_PATTERN}x{INTEGER_PATTERN}", "the size of what stays"
    ),
)
def scrop(picture: WorkingImage, *, scrop: str) -> WorkingImage:
    width, height = map(int, scrop.split("x"))
    if not width or not height:
        raise RuleError(f"imageMogr2/scrop must be <W>x<H> with sides of 1 or more; got {scrop!r}")
    return _resize_and_crop(picture, (width, height))


@operation(
    "imageMogr2/iradius",
    "cut out the circle around the middle",
    _integer_parameter("iradius", 1, 9_999, "its radius, at most half the short side"),
)
def iradius(picture: WorkingImage, *, iradius: int) -> WorkingImage:
    _check_radius(picture, "iradius", iradius)
    side = 2 * iradius
    left, top = _position_by_gravity(picture.size, (side, side), "center", 0, 0)
    square = _crop_box(picture, left, top, (side, side))
    return _apply_mask(square, lambda draw, box, _: draw.ellipse(box, fill=255))


@operation(
    "imageMogr2/rradius",
    "round the corners",
    _integer_parameter("rradius", 1, 9_999, "their radius, at most half the short side"),
)
def rradius(picture: WorkingImage, *, rradius: int) -> WorkingImage:
    _check_radius(picture, "rradius", rradius)
    return _apply_mask(
        picture, lambda draw, box, scale: draw.rounded_rectangle(box, rradius * scale, fill=255)
    )


def _check_radius(picture: WorkingImage, key: str, radius: int) -> None:
    if picture.source_format == "gif":
        raise RuleError(f"imageMogr2/{key} is not offered for gif")
    if 2 * radius > min(picture.size):
        raise RuleError(
            f"imageMogr2/{key} must be at most half the short side ({min(picture.size) // 2}); got {radius}"
        )


MaskShape = Callable[[ImageDraw.ImageDraw, tuple[int, int, int, int], int], None]


def _apply_mask(picture: WorkingImage, shape: MaskShape) -> WorkingImage:
    """Transparent outside the shape, with a smooth edge (drawn large and reduced, unless that would
    be huge).
    """
    width, height = picture.size
    scale = 4 if max(picture.size) <= 2_500 else 1
    large = Image.new("L", (width * scale, height * scale), 0)
    shape(ImageDraw.Draw(large), (0, 0, width * scale - 1, height * scale - 1), scale)
    mask = large.reduce(scale) if scale > 1 else large

    def cover(frame: Frame) -> Frame:
        seen = frame.convert("RGBA")
        seen.putalpha(ImageChops.multiply(seen.getchannel("A"), mask))
        return seen

    return _map_frames(picture, cover)


RIGHT_ANGLE_TRANSPOSES = {
    90: Image.Transpose.ROTATE_270,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}


@operation(
    "imageMogr2/rotate",
    "turn clockwise; the canvas grows, its corners stay transparent (white where the format can't)",
    _integer_parameter("rotate", 0, 360, "degrees"),
)
def rotate(picture: WorkingImage, *, rotate: int) -> WorkingImage:
    if rotate % 360 == 0:
        return picture
    if rotate in RIGHT_ANGLE_TRANSPOSES:
        return _map_frames(picture, lambda frame: frame.transpose(RIGHT_ANGLE_TRANSPOSES[rotate]))
    check_pixel_count(_get_rotated_size(picture.size, rotate), len(picture.frames))
    around = Image.Resampling.BICUBIC
    return _map_frames(
        picture, lambda frame: frame.convert("RGBA").rotate(-rotate, around, expand=True)
    )


def _get_rotated_size(size: Size, degrees: int) -> Size:
    """About how large the canvas gets."""
    sine, cosine = abs(math.sin(math.radians(degrees))), abs(math.cos(math.radians(degrees)))
    return _round_size(size[0] * cosine + size[1] * sine, size[0] * sine + size[1] * cosine)


ORIENTATION_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@operation(
    "imageMogr2/auto-orient",
    "turn the picture upright as its EXIF says",
    _flag_parameter("auto-orient", "first of all"),
)
def auto_orient(picture: WorkingImage, *, auto_orient: bool) -> WorkingImage:
    turn = ORIENTATION_TRANSPOSES.get(read_orientation(picture.exif))
    if not auto_orient or turn is None:
        return picture
    upright = _map_frames(picture, lambda frame: frame.transpose(turn))
    return replace(upright, exif=_reset_orientation(picture.exif))


def _reset_orientation(block: bytes) -> bytes:
    found = read_exif(block)
    found[ExifTags.Base.Orientation] = 1
    try:
        return normalize_exif(found.tobytes())
    except (
        Exception
    ):  # tags that can be read but not written again: a wrong orientation would be worse than none
        return b""


FLIPS = {"vertical": Image.Transpose.FLIP_TOP_BOTTOM, "horizontal": Image.Transpose.FLIP_LEFT_RIGHT}


@operation(
    "imageMogr2/flip",
    "mirror the picture",
    _choice_parameter("flip", tuple(FLIPS), "top to bottom or left to right"),
)
def flip(picture: WorkingImage, *, flip: str) -> WorkingImage:
    return _map_frames(picture, lambda frame: frame.transpose(FLIPS[flip]))


# ----------------------------------------------------------------------------------------------
# colours


def _map_colors(picture: WorkingImage, change: Callable[[Frame], Frame]) -> WorkingImage:
    """Change the colours and leave the transparency as it is."""

    def recolour(frame: Frame) -> Frame:
        changed = change(frame.convert("RGB"))
        if frame.mode == "RGBA":
            changed.putalpha(frame.getchannel("A"))
        return changed

    return _map_frames(picture, recolour)


@operation(
    "imageMogr2/blur",
    "blur",
    _pattern_parameter(
        "blur",
        "<radius 1 to 50>x<sigma above 0>",
        "([1-9]|[1-4][0-9]|50)x(?=[0-9.]*[1-9])[0-9]{1,4}([.][0-9]{1,3})?",
        "radius in pixels and standard deviation",
    ),
)
def blur(picture: WorkingImage, *, blur: str) -> WorkingImage:
    radius, sigma = map(float, blur.split("x"))
    soft = ImageFilter.GaussianBlur(min(radius, sigma))  # nothing beyond the radius weighs in

    def smooth(frame: Frame) -> Frame:
        if frame.mode == "RGB":
            return frame.filter(soft)
        return frame.convert("RGBa").filter(soft).convert("RGBA")

    return _map_frames(picture, smooth)


@operation(
    "imageMogr2/sharpen",
    "sharpen",
    _integer_parameter("sharpen", 10, 300, "how much; 70 is a good start"),
)
def sharpen(picture: WorkingImage, *, sharpen: int) -> WorkingImage:
    edges = ImageFilter.UnsharpMask(radius=2, percent=sharpen, threshold=0)
    return _map_colors(picture, lambda frame: frame.filter(edges))


@operation(
    "imageMogr2/bright",
    "change the brightness",
    _integer_parameter("bright", -100, 100, "-100 black, 100 twice as bright"),
)
def bright(picture: WorkingImage, *, bright: int) -> WorkingImage:
    return _map_colors(
        picture, lambda frame: ImageEnhance.Brightness(frame).enhance(1 + bright / 100)
    )


@operation(
    "imageMogr2/contrast",
    "change the contrast",
    _integer_parameter("contrast", -100, 100, "-100 plain grey, 100 twice"),
)
def contrast(picture: WorkingImage, *, contrast: int) -> WorkingImage:
    return _map_colors(
        picture, lambda frame: ImageEnhance.Contrast(frame).enhance(1 + contrast / 100)
    )


@operation(
    "imageMogr2/grayscale",
    "to greys",
    _choice_parameter("grayscale", ("0", "1"), "1: take the colours out"),
)
def grayscale(picture: WorkingImage, *, grayscale: str) -> WorkingImage:
    if grayscale == "0":
        return picture
    return _map_colors(picture, lambda frame: frame.convert("L").convert("RGB"))


# ---------------------------------------------------------------------------------------------- how
# to write

FORMAT_ALIASES = {"jpg": "jpeg", "yjpeg": "jpeg"}


@operation(
    "imageMogr2/format",
    "write in another format",
    _choice_parameter("format", FORMATS, "heif and tpg are known but not written here"),
)
def format_(picture: WorkingImage, *, format: str) -> WorkingImage:
    target = FORMAT_ALIASES.get(format, format)
    if target not in ENCODERS or target not in DECODERS:
        raise RuleError(
            f"format/{format} can't be written here; accepted are " + ", ".join(DECODERS)
        )
    return replace(picture, format=target)


@operation(
    "imageMogr2/quality",
    "the quality of jpg and webp; never above the original's, unless forced with !",
    _pattern_parameter("quality", QUALITY_EXPECTED, QUALITY_PATTERN, "1 to 100"),
)
def quality(picture: WorkingImage, *, quality: str) -> WorkingImage:
    wanted = int(quality.rstrip("!"))
    return replace(
        picture, quality=wanted if quality.endswith("!") else min(wanted, picture.source_quality)
    )


@operation(
    "imageMogr2/rquality",
    "the quality of jpg and webp, in percent of the original's",
    _pattern_parameter("rquality", QUALITY_EXPECTED, QUALITY_PATTERN, "percent"),
)
def rquality(picture: WorkingImage, *, rquality: str) -> WorkingImage:
    return replace(
        picture, quality=max(1, round(picture.source_quality * int(rquality.rstrip("!")) / 100))
    )


@operation(
    "imageMogr2/lquality",
    "the lowest quality of jpg and webp",
    _pattern_parameter("lquality", QUALITY_EXPECTED, QUALITY_PATTERN, "1 to 100"),
)
def lquality(picture: WorkingImage, *, lquality: str) -> WorkingImage:
    return replace(picture, quality=max(picture.source_quality, int(lquality.rstrip("!"))))


@operation(
    "imageMogr2/interlace",
    "progressive jpg",
    _choice_parameter("interlace", ("0", "1"), "1: progressive"),
)
def interlace(picture: WorkingImage, *, interlace: str) -> WorkingImage:
    return replace(picture, progressive=interlace == "1")


@operation(
    "imageMogr2/strip",
    "leave EXIF and colour profile out",
    _flag_parameter("strip", "write the pixels only"),
)
def strip(picture: WorkingImage, *, strip: bool) -> WorkingImage:
    return replace(picture, strip=strip)


@operation(
    "imageMogr2/cgif",
    "fewer frames",
    _integer_parameter("cgif", 1, 100, "how many to keep, evenly chosen; 1 keeps the first 30"),
)
def cgif(picture: WorkingImage, *, cgif: int) -> WorkingImage:
    count = len(picture.frames)
    if cgif == 1:
        return replace(picture, frames=picture.frames[:30], durations=picture.durations[:30])
    if count <= cgif:
        return picture
    kept = [index * count // cgif for index in range(cgif)]
    spans = zip(kept, [*kept[1:], count], strict=True)
    return replace(
        picture,
        frames=tuple(picture.frames[index] for index in kept),
        durations=tuple(
            sum(picture.durations[start:end]) for start, end in spans
        ),  # it lasts as long as before
    )


@operation(
    "imageMogr2/size-limit",
    "make the file no larger than this, if the format allows",
    _pattern_parameter(
        "size-limit",
        "<n>k or <n>m, with ! to answer with the original if that is smaller",
        "[1-9][0-9]{0,5}[kKmM]!?",
        "kilobytes or megabytes",
    ),
)
def size_limit(picture: WorkingImage, *, size_limit: str) -> WorkingImage:
    bare = size_limit.rstrip("!").lower()
    limit = int(bare[:-1]) * {"k": 1024, "m": 1024 * 1024}[bare[-1]]
    return replace(picture, size_limit=limit, never_larger=size_limit.endswith("!"))


@operation("imageMogr2/ignore-error", "answer with the original instead of an error", IGNORE_ERROR)
def ignore_error(picture: WorkingImage, **_: Any) -> WorkingImage:
    return picture  # `apply` looks for it, because most errors happen elsewhere


@operation("imageSlim", "compress as far as nobody sees it; never larger than the original")
def image_slim(picture: WorkingImage) -> WorkingImage:
    """Half-way settings: JPEG and WebP at 75 or their own lower quality, PNG with a palette."""
    capped = min(75, picture.quality or picture.source_quality)
    return replace(
        picture, quality=capped, strip=True, palette_size=256, never_larger=not picture.modified
    )


# ----------------------------------------------------------------------------------------------
# imageView2

VIEW_PARAMETERS = (
    _integer_parameter("w", 1, MAX_OUTPUT_SIDE, "width (modes 0, 4, 5: the long edge)"),
    _integer_parameter("h", 1, MAX_OUTPUT_SIDE, "height (modes 0, 4, 5: the short edge)"),
    _choice_parameter("format", FORMATS, "write in another format"),
    _pattern_parameter("q", QUALITY_EXPECTED, QUALITY_PATTERN, "as imageMogr2/quality"),
    _pattern_parameter("rq", QUALITY_EXPECTED, QUALITY_PATTERN, "as imageMogr2/rquality"),
    _pattern_parameter("lq", QUALITY_EXPECTED, QUALITY_PATTERN, "as imageMogr2/lquality"),
    _choice_parameter("interlace", ("0", "1"), "1: progressive jpg", default="0"),
    IGNORE_ERROR,
)


def _apply_output_options(
    picture: WorkingImage,
    *,
    format: str | None,
    q: str | None,
    rq: str | None,
    lq: str | None,
    interlace: str,
    **_: Any,
) -> WorkingImage:
    """The part that all modes of imageView2 share: how the result is written."""
    picture = format_(picture, format=format) if format else picture
    picture = quality(picture, quality=q) if q else picture
    picture = rquality(picture, rquality=rq) if rq else picture
    picture = lquality(picture, lquality=lq) if lq else picture
    return replace(picture, progressive=interlace == "1")


def _default_to_square(mode: int, w: int | None, h: int | None) -> Size:
    if not w and not h:
        raise RuleError(f"imageView2/{mode} needs w or h")
    return w or h or 0, h or w or 0


def _orient_box(picture: WorkingImage, mode: int, w: int | None, h: int | None) -> Size:
    """Width and height for a long edge w and a short edge h."""
    if not w or not h:
        raise RuleError(f"imageView2/{mode} needs both w (the long edge) and h (the short edge)")
    return (w, h) if picture.size[0] >= picture.size[1] else (h, w)


@operation("imageView2/0", "fit inside a long edge of w and a short edge of h", *VIEW_PARAMETERS)
def view_0(picture: WorkingImage, *, w: int | None, h: int | None, **written: Any) -> WorkingImage:
    box = _orient_box(picture, 0, w, h)
    return _apply_output_options(_resize(picture, _fit_inside(picture.size, *box)), **written)


@operation(
    "imageView2/1",
    "cover w x h and cut the middle to it; one side alone means a square",
    *VIEW_PARAMETERS,
)
def view_1(picture: WorkingImage, *, w: int | None, h: int | None, **written: Any) -> WorkingImage:
    return _apply_output_options(_resize_and_crop(picture, _default_to_square(1, w, h)), **written)


@operation(
    "imageView2/2", "fit inside w x h; one side alone leaves the other free", *VIEW_PARAMETERS
)
def view_2(picture: WorkingImage, *, w: int | None, h: int | None, **written: Any) -> WorkingImage:
    if not w and not h:
        raise RuleError("imageView2/2 needs w or h")
    size = _fit_inside(picture.size, w or math.inf, h or math.inf)
    return _apply_output_options(_resize(picture, size), **written)


@operation(
    "imageView2/3", "cover w x h without cutting; one side alone means a square", *VIEW_PARAMETERS
)
def view_3(picture: WorkingImage, *, w: int | None, h: int | None, **written: Any) -> WorkingImage:
    return _apply_output_options(
        _resize(picture, _fit_outside(picture.size, *_default_to_square(3, w, h))), **written
    )


@operation(
    "imageView2/4", "cover a long edge of w and a short edge of h without cutting", *VIEW_PARAMETERS
)
def view_4(picture: WorkingImage, *, w: int | None, h: int | None, **written: Any) -> WorkingImage:
    box = _orient_box(picture, 4, w, h)
    return _apply_output_options(_resize(picture, _fit_outside(picture.size, *box)), **written)


@operation(
    "imageView2/5",
    "cover a long edge of w and a short edge of h and cut the middle to it",
    *VIEW_PARAMETERS,
)
def view_5(picture: WorkingImage, *, w: int | None, h: int | None, **written: Any) -> WorkingImage:
    return _apply_output_options(
        _resize_and_crop(picture, _orient_box(picture, 5, w, h)), **written
    )


# ----------------------------------------------------------------------------------------------
# watermarks

WATERMARK_PARAMETERS = (
    _gravity_parameter("southeast"),
    *_offset_parameters(),
    _integer_parameter("dissolve", 1, 100, "opacity in percent", default="90"),
    _choice_parameter("batch", ("0", "1"), "1: all over the picture", default="0"),
    _integer_parameter("degree", 0, 360, "turn the mark clockwise, with batch", default="0"),
)


@operation(
    "watermark/1",
    "a picture on the picture",
    _encoded_parameter(
        "image",
        "the mark: URL of an object in the same bucket",
        "a http URL",
        pattern="https?://.+",
    ),
    _encoded_parameter(
        "image_key", "the mark: key of an object in the same bucket", "an object's key"
    ),
    *WATERMARK_PARAMETERS,
    _integer_parameter("spacing", 0, 1_000, "pixels between marks, with batch", default="0"),
    _choice_parameter(
        "blogo", ("1", "2"), "a mark larger than the picture is 1: scaled down, 2: cut", default="1"
    ),
    _choice_parameter(
        "scatype", ("1", "2", "3"), "size the mark by the picture's 1: width, 2: height, 3: area"
    ),
    _integer_parameter("spcent", 1, 1_000, "how much of it, in thousandths (area: at most 250)"),
)
def image_watermark(
    picture: WorkingImage,
    *,
    image: str | None,
    image_key: str | None,
    gravity: str,
    dx: int,
    dy: int,
    dissolve: int,
    batch: str,
    degree: int,
    spacing: int,
    blogo: str,
    scatype: str | None,
    spcent: int | None,
) -> WorkingImage:
    mark = _apply_opacity(_load_watermark(picture, image or image_key), dissolve)
    if scatype or spcent:
        mark = mark.resize(
            _scale_watermark(picture.size, mark.size, scatype, spcent), Image.Resampling.LANCZOS
        )
    mark = _limit_watermark(mark, picture.size, blogo)
    if batch == "1":
        return _tile_watermark(picture, mark, degree, spacing)
    return _paste_watermark(
        picture, mark, _position_by_gravity(picture.size, mark.size, gravity, dx, dy)
    )


def _load_watermark(picture: WorkingImage, url: str | None) -> Frame:
    if not url:
        raise RuleError("watermark/1/image is missing; it must be a http URL, in URL-safe base64")
    found = picture.load_object(url)
    if found is None:
        raise RuleError(f"watermark/1/image: there is no picture at {url[:200]}", UNREADABLE_SOURCE)
    return load_image(found, picture.load_object).frames[0].convert("RGBA")


def _scale_watermark(base: Size, mark: Size, scatype: str | None, spcent: int | None) -> Size:
    if not scatype or not spcent:
        raise RuleError("watermark/1/scatype and watermark/1/spcent go together")
    if scatype == "3" and spcent > 250:
        raise RuleError("watermark/1/spcent must be an integer from 1 to 250 with scatype/3")
    scale = {
        "1": base[0] * spcent / 1000 / mark[0],
        "2": base[1] * spcent / 1000 / mark[1],
        "3": math.sqrt(base[0] * base[1] * spcent / 1000 / (mark[0] * mark[1])),
    }[scatype]
    size = _round_size(mark[0] * scale, mark[1] * scale)
    check_output_size(size, 1)
    return size


def _limit_watermark(watermark: Frame, base: Size, blogo: str) -> Frame:
    if watermark.size[0] <= base[0] and watermark.size[1] <= base[1]:
        return watermark
    if blogo == "1":
        return watermark.resize(_fit_inside(watermark.size, *base), Image.Resampling.LANCZOS)
    return watermark.crop((0, 0, min(watermark.size[0], base[0]), min(watermark.size[1], base[1])))


@operation(
    "watermark/2",
    "text on the picture",
    _encoded_parameter(
        "text", f"what to write, at most {MAX_TEXT_LENGTH} characters", required=True
    ),
    _encoded_parameter(
        "font",
        "accepted and ignored: there is one font here",
        "a font's name",
        default="tahoma.ttf",
    ),
    _integer_parameter("fontsize", 1, 500, "in points", default="13"),
    _color_parameter("fill", "its colour", "#3D3D3D"),
    *WATERMARK_PARAMETERS,
    _integer_parameter("spacing", 0, 1_000, "pixels between marks, with batch", default="10"),
    _integer_parameter("shadow", 0, 100, "opacity of the text's shadow in percent", default="0"),
)
def text_watermark(
    picture: WorkingImage,
    *,
    text: str,
    fontsize: int,
    fill: str,
    gravity: str,
    dx: int,
    dy: int,
    dissolve: int,
    batch: str,
    degree: int,
    spacing: int,
    shadow: int,
    **_: Any,
) -> WorkingImage:
    if len(text) > MAX_TEXT_LENGTH:
        raise RuleError(
            f"watermark/2/text must be at most {MAX_TEXT_LENGTH} characters; got {len(text)}"
        )
    mark = _apply_opacity(_render_text(text, fontsize, fill, shadow, picture.size), dissolve)
    if batch == "1":
        return _tile_watermark(picture, mark, degree, spacing)
    return _paste_watermark(
        picture, mark, _position_by_gravity(picture.size, mark.size, gravity, dx, dy)
    )


def _render_text(text: str, size: int, colour: str, shadow: int, max_size: Size) -> Frame:
    """The text on transparent ground, no larger than the room there is (its start stays)."""
    font = ImageFont.load_default(size)
    left, top, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox(
        (0, 0), text, font
    )
    throw = max(1, size // 12) if shadow else 0
    whole = max(1, math.ceil(right - left) + throw), max(1, math.ceil(bottom - top) + throw)
    box = min(whole[0], max_size[0]), min(whole[1], max_size[1])
    ink = Image.new("L", box, 0)
    ImageDraw.Draw(ink).multiline_text((-left, -top), text, fill=255, font=font)
    letters = Image.new("RGBA", box, colour)
    letters.putalpha(ink)
    if not shadow:
        return letters
    behind = Image.new("RGBA", box, "#000000")
    thrown = Image.new("L", box, 0)
    thrown.paste(ink, (throw, throw))
    behind.putalpha(thrown.point(lambda value: value * shadow / 100))
    return Image.alpha_composite(behind, letters)


def _apply_opacity(mark: Frame, dissolve: int) -> Frame:
    faded = mark.copy()
    faded.putalpha(mark.getchannel("A").point(lambda value: value * dissolve / 100))
    return faded


def _tile_watermark(picture: WorkingImage, mark: Frame, degree: int, spacing: int) -> WorkingImage:
    """The mark all over, from the top left corner on. A row first, then rows: a tiny mark on a
    large picture would otherwise be pasted millions of times.
    """
    tile = mark.rotate(-degree, Image.Resampling.BICUBIC, expand=True) if degree % 360 else mark
    width, height = picture.size
    row = Image.new("RGBA", (width, tile.size[1]))
    for left in range(0, width, tile.size[0] + spacing):
        row.paste(tile, (left, 0))
    layer = Image.new("RGBA", picture.size)
    for top in range(0, height, tile.size[1] + spacing):
        layer.paste(row, (0, top))
    return _paste_watermark(picture, layer, (0, 0))


def _paste_watermark(picture: WorkingImage, mark: Frame, place: tuple[int, int]) -> WorkingImage:
    def stamp(frame: Frame) -> Frame:
        if frame.mode == "RGB":
            stamped = frame.copy()
            stamped.paste(mark, place, mark)
            return stamped
        layer = Image.new("RGBA", frame.size)
        layer.paste(mark, place)
        return Image.alpha_composite(frame, layer)

    return _map_frames(picture, stamp)


# ----------------------------------------------------------------------------------------------
# writing pictures

CONTENT_TYPES = {
    "jpeg": "image/jpeg",
    "png": "image/png",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "webp": "image/webp",
    "avif": "image/avif",
}
LOSSY_FORMATS = ("jpeg", "webp", "avif")
ANIMATED_FORMATS = ("gif", "webp")
DEFAULT_QUALITY = 85


def build_result(picture: WorkingImage) -> RuleResult:
    if picture.info is not None:
        body = json.dumps(picture.info, ensure_ascii=False, separators=(",", ":")).encode()
        width, height = picture.size
        frames = len(picture.frames)
        return RuleResult(
            body,
            "application/json",
            picture.format,
            width,
            height,
            len(body),
            None,
            frames,
            picture.info,
        )
    body, quality = encode_image(picture)
    if picture.never_larger and len(body) >= len(picture.original):
        return build_original_result(picture.original)
    return _build_image_result(
        body,
        picture.format,
        picture.size,
        quality,
        len(picture.frames) if picture.format in ANIMATED_FORMATS else 1,
    )


def _build_image_result(
    body: bytes, name: str, size: Size, quality: int | None, frames: int
) -> RuleResult:
    return RuleResult(body, CONTENT_TYPES[name], name, *size, len(body), quality, frames)


def build_original_result(picture: bytes) -> RuleResult:
    """The picture as it came in, described by its header alone: it may be too large to decode."""
    name, image, frames = open_image(picture, limited=False)
    return _build_image_result(picture, name, image.size, estimate_quality(image), frames)


def encode_image(picture: WorkingImage) -> tuple[bytes, int]:
    """The bytes and the quality they were written with (100 where the format has none)."""
    check_output_size(
        picture.size, len(picture.frames) if picture.format in ANIMATED_FORMATS else 1
    )
    if picture.format not in ENCODERS:
        raise RuleError(f"format/{picture.format} can't be written here", BAD_PARAMETER)
    writer = ENCODERS[picture.format]
    quality = _choose_quality(picture)
    body = writer(picture, quality)
    if picture.size_limit is None or len(body) <= picture.size_limit:
        return body, quality
    return _fit_file_size(picture, writer, quality, picture.size_limit)


def _choose_quality(picture: WorkingImage) -> int:
    if picture.format not in LOSSY_FORMATS:
        return 100
    if picture.quality is not None:
        return picture.quality
    return picture.source_quality if picture.source_format == "jpeg" else DEFAULT_QUALITY


Encoder = Callable[[WorkingImage, int], bytes]


def _fit_file_size(
    picture: WorkingImage, writer: Encoder, quality: int, limit: int
) -> tuple[bytes, int]:
    """As good as the limit allows; if nothing is small enough, as small as can be."""
    if picture.format not in LOSSY_FORMATS:
        return _fit_palette(picture, writer, limit), 100
    low, high = 1, quality  # high is known to be too large
    best = writer(picture, low)
    while high - low > 1:
        middle = (low + high) // 2
        body = writer(picture, middle)
        if len(body) <= limit:
            low, best = middle, body
        else:
            high = middle
    return best, low


def _fit_palette(picture: WorkingImage, writer: Encoder, limit: int) -> bytes:
    body = b""
    for colours in (256, 64, 16, 4, 2):
        body = writer(replace(picture, palette_size=colours), 100)
        if len(body) <= limit:
            break
    return body


def _flatten(frame: Frame) -> Frame:
    """Without transparency, on white."""
    if frame.mode == "RGB":
        return frame
    ground = Image.new("RGB", frame.size, "#FFFFFF")
    ground.paste(frame, (0, 0), frame)
    return ground


def _save_frame(frame: Frame, name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    frame.save(buffer, name, **options)
    return buffer.getvalue()


def _build_metadata(picture: WorkingImage) -> dict[str, Any]:
    """EXIF and colour profile, if they are wanted and there are any."""
    if picture.strip:
        return {}
    found = {"exif": picture.exif, "icc_profile": picture.icc_profile}
    return {key: value for key, value in found.items() if value}


def _encode_jpeg(picture: WorkingImage, quality: int) -> bytes:
    attached = _build_metadata(picture)
    if len(attached.get("exif", b"")) > 65_533:  # more than a JPEG's segment holds
        del attached["exif"]
    frame = _flatten(picture.frames[0])
    small = picture.size_limit is not None or picture.never_larger  # else not worth the second pass
    return _save_frame(
        frame, "JPEG", quality=quality, progressive=picture.progressive, optimize=small, **attached
    )


def _encode_png(picture: WorkingImage, _quality: int) -> bytes:
    frame = picture.frames[0]
    if picture.palette_size:
        frame = frame.quantize(picture.palette_size, dither=Image.Dither.NONE)
    return _save_frame(frame, "PNG", **_build_metadata(picture))


def _encode_bmp(picture: WorkingImage, _quality: int) -> bytes:
    return _save_frame(_flatten(picture.frames[0]), "BMP")


# Moving pictures are put together here, from frames that Pillow wrote one by one: its own writers
# leave out a frame that equals the one before, and then a rule would change the number of frames.


def _encode_gif(picture: WorkingImage, _quality: int) -> bytes:
    frames = [_quantize(frame, picture.palette_size or 256) for frame in picture.frames]
    if len(frames) == 1:
        return _save_frame(frames[0], "GIF")
    header = b"GIF89a" + struct.pack("<HHBBB", *picture.size, 0x70, 0, 0)
    loop = (
        b""
        if picture.loop is None
        else b"!\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", picture.loop & 0xFFFF, 0)
    )
    moves = [
        _encode_gif_frame(frame, span)
        for frame, span in zip(frames, picture.durations, strict=True)
    ]
    return b"".join([header, loop, *moves, b";"])


def _encode_gif_frame(frame: Frame, milliseconds: int) -> bytes:
    """One frame with its own colour table, replaced as a whole by the next."""
    alone = _save_frame(frame, "GIF", optimize=False)  # optimizing would renumber the colours
    place = 13 + _get_gif_table_size(alone[10])
    table = alone[13:place]
    while alone[place] == 0x21:
        place = _skip_gif_blocks(alone, place + 2)
    absent = frame.info.get("transparency")
    shown = (
        0x04 if absent is None else 0x09
    )  # keep this frame; or clear it away, and one colour is "not there"
    delay = min(0xFFFF, round(milliseconds / 10))
    control = b"!\xf9\x04" + struct.pack("<BHBB", shown, delay, absent or 0, 0)
    descriptor = alone[place : place + 9] + bytes([alone[place + 9] | 0x80 | alone[10] & 7])
    return control + descriptor + table + alone[place + 10 : _skip_gif_blocks(alone, place + 11)]


def _quantize(frame: Frame, colours: int) -> Frame:
    """A GIF's pixel is there or not there; the colour after the last of the palette stands for "not
    there".
    """
    if frame.mode == "RGB":
        return frame.quantize(colours, dither=Image.Dither.NONE)
    absent = min(colours, 255)
    shown = frame.convert("RGB").quantize(absent, dither=Image.Dither.NONE)
    shown.putpalette(
        [*(shown.getpalette() or [])[: 3 * absent], *[255] * 3 * 256][: 3 * (absent + 1)]
    )
    shown.paste(
        absent, (0, 0), frame.getchannel("A").point(lambda value: 255 if value < 128 else 0)
    )
    shown.info["transparency"] = absent
    return shown


def _encode_webp(picture: WorkingImage, quality: int) -> bytes:
    options: dict[str, Any] = {"quality": quality, "method": 4}
    attached = _build_metadata(picture)
    if len(picture.frames) == 1:
        return _save_frame(picture.frames[0], "WEBP", **options, **attached)
    loop = 1 if picture.loop is None else picture.loop
    chunks = [_build_webp_chunk(b"ANIM", struct.pack("<IH", 0, loop & 0xFFFF))]
    for frame, span in zip(picture.frames, picture.durations, strict=True):
        chunks.append(_build_webp_frame(_save_frame(frame, "WEBP", **options), frame.size, span))
    flags = 0x02 | 0x10 * any(frame.mode == "RGBA" for frame in picture.frames)
    if "icc_profile" in attached:
        flags |= 0x20
        chunks.insert(0, _build_webp_chunk(b"ICCP", attached["icc_profile"]))
    if "exif" in attached:
        flags |= 0x08
        chunks.append(_build_webp_chunk(b"EXIF", attached["exif"]))
    canvas = _build_webp_chunk(b"VP8X", struct.pack("<I", flags) + _encode_webp_size(picture.size))
    return _build_webp_chunk(b"RIFF", b"".join([b"WEBP", canvas, *chunks]))


def _build_webp_chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) & 1)


def _encode_webp_size(size: Size) -> bytes:
    return b"".join((side - 1).to_bytes(3, "little") for side in size)


def _build_webp_frame(encoded: bytes, size: Size, milliseconds: int) -> bytes:
    """A picture's pixels as one frame of an animation, which replaces the frame before."""
    pixels = [
        _build_webp_chunk(name, content)
        for name, content in _iter_webp_chunks(encoded)
        if name in WEBP_PIXEL_CHUNKS
    ]
    place = (
        bytes(6)
        + _encode_webp_size(size)
        + min(0xFFFFFF, milliseconds).to_bytes(3, "little")
        + b"\x02"
    )
    return _build_webp_chunk(b"ANMF", place + b"".join(pixels))


WEBP_PIXEL_CHUNKS = (b"ALPH", b"VP8 ", b"VP8L")


def _iter_webp_chunks(picture: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 12
    while place + 8 <= len(picture):
        (length,) = struct.unpack("<I", picture[place + 4 : place + 8])
        yield picture[place : place + 4], picture[place + 8 : place + 8 + length]
        place += 8 + length + (length & 1)


def _encode_avif(picture: WorkingImage, quality: int) -> bytes:
    return _save_frame(
        picture.frames[0], "AVIF", quality=quality, max_threads=1, **_build_metadata(picture)
    )


ENCODERS: dict[str, Encoder] = {
    "jpeg": _encode_jpeg,
    "png": _encode_png,
    "bmp": _encode_bmp,
    "gif": _encode_gif,
    "webp": _encode_webp,
    "avif": _encode_avif,
}
