"""The operations imageInfo, imageAve, exif, imageMogr2, imageView2 and imageSlim.

Each is one function from a `WorkingImage` to the next, registered
together with its parameters. Encoding happens once, after the
last operation. Where the service's documentation leaves something
open (rounding, the algorithms of blur and sharpen), the
operations do what Pillow does.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TypedDict, Unpack

from PIL import ExifTags, Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter

from jupyter_mjci.imaging.codecs import (
    DECODERS,
    ENCODERS,
    compute_average_color,
    decoding_errors,
    encode_image,
    normalize_exif,
    read_exif,
    read_image_info,
    read_orientation,
)
from jupyter_mjci.imaging.geometry import (
    crop_at,
    crop_box,
    fit_inside,
    fit_outside,
    map_frames,
    position_by_gravity,
    resize,
    resize_and_crop,
    round_size,
)
from jupyter_mjci.imaging.model import (
    MAX_OUTPUT_SIDE,
    Frame,
    RuleError,
    Size,
    WorkingImage,
    check_output_size,
    check_pixel_count,
)
from jupyter_mjci.imaging.registry import (
    OFFSET_PARAMETERS,
    choice_parameter,
    color_parameter,
    flag_parameter,
    gravity_parameter,
    integer_parameter,
    operation,
    pattern_parameter,
    switch_parameter,
)

FORMATS = ("jpg", "jpeg", "yjpeg", "png", "gif", "bmp", "webp", "avif", "heif", "tpg")
FORMAT_ALIASES = {"jpg": "jpeg", "yjpeg": "jpeg"}
INTEGER = "([0-9]{1,6})"
QUALITY_EXPECTED = "0 to 100, with ! to force it"
QUALITY_PATTERN = "(100|[1-9]?[0-9])!?"
IGNORE_ERROR = switch_parameter(
    "ignore-error", "1: answer with the original picture instead of an error"
)


# Operations that answer with JSON


def encode_current(picture: WorkingImage) -> bytes:
    """Return the encoded image as of this point of a rule."""
    if picture.modified:
        return encode_image(picture)[0]
    return picture.original


@operation("imageInfo", "format, size, md5 and mean colour of the picture, as JSON")
def image_info(picture: WorkingImage) -> WorkingImage:
    decoded = None if picture.modified else picture
    info = read_image_info(encode_current(picture), decoded)
    # The service writes every value as a string.
    values: dict[str, object] = {
        "format": info.format,
        "width": str(info.width),
        "height": str(info.height),
        "size": str(info.size),
        "md5": info.md5,
        "frame_count": str(info.frames),
        "photo_rgb": info.ave,
    }
    return replace(picture, info=values)


@operation("imageAve", "the mean colour of the picture, as JSON")
def image_ave(picture: WorkingImage) -> WorkingImage:
    return replace(picture, info={"RGB": compute_average_color(picture.frames[0])})


@operation("exif", "the EXIF tags of the picture, as JSON")
def exif(picture: WorkingImage) -> WorkingImage:
    tags = {}
    if not picture.strip:
        with decoding_errors():
            tags = _render_exif(read_exif(picture.exif))
    return replace(picture, info=tags or {"error": "no exif data"})


def _render_exif(exif_data: Image.Exif) -> dict[str, object]:
    pointers = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
    groups = (
        (exif_data, ExifTags.TAGS),
        (exif_data.get_ifd(ExifTags.IFD.Exif), ExifTags.TAGS),
        (exif_data.get_ifd(ExifTags.IFD.GPSInfo), ExifTags.GPSTAGS),
    )
    tags: dict[str, object] = {}
    for group, names in groups:
        for tag, value in group.items():
            if tag not in pointers:
                tags[names.get(tag, f"0x{tag:04X}")] = {"val": _format_exif_value(value)}
    return tags


def _format_exif_value(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_format_exif_value, value))
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return text.rstrip("\0")


# Geometry


def _fit_when(size: Size, width: int, height: int, condition: str) -> Size:
    """Fit inside width x height, only when that shrinks (">") or enlarges ("<") the image."""
    fitting = fit_inside(size, width, height)
    if condition == ">":
        return min(fitting, size)
    return max(fitting, size)


def _fit_area(size: Size, area: int) -> Size:
    """Shrink to at most that many pixels."""
    w, h = size
    if w * h <= area:
        return size
    return max(1, math.isqrt(area * w // h)), max(1, math.isqrt(area * h // w))


THUMBNAIL_FORMS: tuple[tuple[str, Callable[..., Size]], ...] = (
    (f"!{INTEGER}p", lambda size, s: round_size(size[0] * s / 100, size[1] * s / 100)),
    (f"!{INTEGER}px", lambda size, s: round_size(size[0] * s / 100, size[1])),
    (f"!x{INTEGER}p", lambda size, s: round_size(size[0], size[1] * s / 100)),
    (f"{INTEGER}x", lambda size, w: round_size(w, size[1] * w / size[0])),
    (f"x{INTEGER}", lambda size, h: round_size(size[0] * h / size[1], h)),
    (f"{INTEGER}x{INTEGER}", fit_inside),
    (f"{INTEGER}x{INTEGER}>", lambda size, w, h: _fit_when(size, w, h, ">")),
    (f"{INTEGER}x{INTEGER}<", lambda size, w, h: _fit_when(size, w, h, "<")),
    (f"!{INTEGER}x{INTEGER}r", fit_outside),
    (f"{INTEGER}x{INTEGER}!", lambda _, w, h: (w, h)),
    ("([0-9]{1,9})@", _fit_area),
)
PADDABLE_PATTERN = f"{INTEGER}x{INTEGER}[<>]?"


@operation(
    "imageMogr2/thumbnail",
    "scale the picture",
    pattern_parameter(
        "thumbnail",
        "!<S>p, !<S>px, !x<S>p, <W>x, x<H>, <W>x<H>, <W>x<H>>, <W>x<H><, !<W>x<H>r, <W>x<H>! "
        "or <area>@",
        "|".join(pattern.replace("(", "(?:") for pattern, _ in THUMBNAIL_FORMS),
        "the new size: percent, one side, a box to fit in or to cover, exactly, or an area",
        required=True,
    ),
    switch_parameter("pad", "1: fill up to exactly WxH, the picture in the middle"),
    color_parameter("color", "what to fill up with", "#FFFFFF"),
)
def thumbnail(picture: WorkingImage, *, thumbnail: str, pad: str, color: str) -> WorkingImage:
    size = _parse_thumbnail(thumbnail, picture.size)
    # the service never enlarges these
    if picture.source_format == "gif":
        size = min(size[0], picture.size[0]), min(size[1], picture.size[1])
    scaled = resize(picture, size)
    return _pad(scaled, thumbnail, color) if pad == "1" else scaled


def _parse_thumbnail(text: str, size: Size) -> Size:
    """Return the size that a value of thumbnail makes of an image's size."""
    for pattern, compute_size in THUMBNAIL_FORMS:
        match = re.fullmatch(pattern, text)
        if match:
            numbers = [int(number) for number in match.groups()]
            if 0 in numbers:
                raise RuleError("imageMogr2/thumbnail: sides, percents and areas start at 1; got 0")
            return compute_size(size, *numbers)
    raise RuleError(f"imageMogr2/thumbnail has no form {text!r}")


def _pad(picture: WorkingImage, form: str, color: str) -> WorkingImage:
    if not re.fullmatch(PADDABLE_PATTERN, form):
        raise RuleError(f"imageMogr2/pad goes with thumbnail/<W>x<H>; got thumbnail/{form}")
    width, height = map(int, re.findall("[0-9]+", form))
    canvas = (max(width, picture.size[0]), max(height, picture.size[1]))
    check_output_size(canvas, len(picture.frames))
    corner = position_by_gravity(canvas, picture.size, "center", 0, 0)

    def pad(frame: Frame) -> Frame:
        padded = Image.new(frame.mode, canvas, color)
        padded.paste(frame, corner)
        return padded

    return map_frames(picture, pad)


@operation(
    "imageMogr2/cut",
    "cut a rectangle, as much of it as lies in the picture",
    pattern_parameter(
        "cut",
        "<W>x<H>x<dx>x<dy>",
        f"{INTEGER}x{INTEGER}x{INTEGER}x{INTEGER}",
        "its size and its offset from the top left corner",
    ),
)
def cut(picture: WorkingImage, *, cut: str) -> WorkingImage:
    width, height, left, top = map(int, cut.split("x"))
    return _crop_clipped(picture, "cut", (width, height), (left, top))


def _crop_clipped(
    picture: WorkingImage, key: str, size: Size, corner: tuple[int, int]
) -> WorkingImage:
    """Cut the part of a box that lies inside the image."""
    left, top = max(0, corner[0]), max(0, corner[1])
    right = min(corner[0] + size[0], picture.size[0])
    bottom = min(corner[1] + size[1], picture.size[1])
    if left >= right or top >= bottom:
        raise RuleError(
            f"imageMogr2/{key}: {size[0]}x{size[1]} at {left},{top} lies outside of the picture of "
            f"{picture.size[0]}x{picture.size[1]}"
        )
    return crop_box(picture, left, top, (right - left, bottom - top))


# -<dx> takes as much from the size as lies outside.
_OFFSET = "([a-][0-9]{1,6})"
CROP_BY_OFFSET = re.compile(f"!([0-9]{{0,6}})x([0-9]{{0,6}}){_OFFSET}{_OFFSET}")


@operation(
    "imageMogr2/crop",
    "scale to cover WxH and cut to it; with one side given, cut that side only",
    pattern_parameter(
        "crop",
        "<W>x, x<H>, <W>x<H> or !<W>x<H>a<dx>a<dy>",
        f"{INTEGER}x|x{INTEGER}|{INTEGER}x{INTEGER}|{CROP_BY_OFFSET.pattern}",
        "the size of what stays",
        required=True,
    ),
    gravity_parameter(None),
    *OFFSET_PARAMETERS,
)
def crop(
    picture: WorkingImage, *, crop: str, gravity: str | None, dx: int, dy: int
) -> WorkingImage:
    offset = CROP_BY_OFFSET.fullmatch(crop)
    if offset:
        numbers = [text.lstrip("a") for text in offset.groups()]
        width, height, left, top = (int(text or 0) for text in numbers)
        size = _resolve_crop_size(picture, width, height)
        corner = position_by_gravity(picture.size, size, gravity or "northwest", left, top)
        return _crop_clipped(picture, "crop", size, corner)
    width, height = (int(side or 0) for side in crop.split("x"))
    if width and height:
        return resize_and_crop(picture, (width, height), gravity or "center", dx, dy)
    size = _resolve_crop_size(picture, width, height)
    return crop_at(picture, size, gravity or "center", dx, dy)


def _resolve_crop_size(picture: WorkingImage, width: int, height: int) -> Size:
    """Replace a side that is 0 (not given) or too long by the image's own."""
    if not width and not height:
        raise RuleError("imageMogr2/crop: at least one side must be 1 or more")
    whole_width, whole_height = picture.size
    return min(width or whole_width, whole_width), min(height or whole_height, whole_height)


@operation(
    "imageMogr2/scrop",
    "scale and cut around faces (here: around the middle)",
    pattern_parameter("scrop", "<W>x<H>", f"{INTEGER}x{INTEGER}", "the size of what stays"),
)
def scrop(picture: WorkingImage, *, scrop: str) -> WorkingImage:
    width, height = map(int, scrop.split("x"))
    if not width or not height:
        raise RuleError(f"imageMogr2/scrop must be <W>x<H> with sides of 1 or more; got {scrop!r}")
    return resize_and_crop(picture, (width, height))


@operation(
    "imageMogr2/iradius",
    "cut out the circle around the middle",
    integer_parameter("iradius", 1, 9_999, "its radius, at most half the short side"),
)
def iradius(picture: WorkingImage, *, iradius: int) -> WorkingImage:
    _check_radius(picture, "iradius", iradius)
    square = crop_at(picture, (2 * iradius, 2 * iradius), "center", 0, 0)
    return _apply_mask(square, lambda draw, box, _: draw.ellipse(box, fill=255))


@operation(
    "imageMogr2/rradius",
    "round the corners",
    integer_parameter("rradius", 1, 9_999, "their radius, at most half the short side"),
)
def rradius(picture: WorkingImage, *, rradius: int) -> WorkingImage:
    _check_radius(picture, "rradius", rradius)
    return _apply_mask(
        picture, lambda draw, box, scale: draw.rounded_rectangle(box, rradius * scale, fill=255)
    )


def _check_radius(picture: WorkingImage, key: str, radius: int) -> None:
    if picture.source_format == "gif":
        raise RuleError(f"imageMogr2/{key} is not offered for gif")
    limit = min(picture.size) // 2
    if radius > limit:
        raise RuleError(
            f"imageMogr2/{key} must be at most half the short side ({limit}); got {radius}"
        )


MaskShape = Callable[[ImageDraw.ImageDraw, tuple[int, int, int, int], int], None]


def _apply_mask(picture: WorkingImage, shape: MaskShape) -> WorkingImage:
    """Make everything outside the shape transparent.

    For a smooth edge the mask is drawn at four times the size and
    reduced, unless that would be huge.
    """
    width, height = picture.size
    scale = 4 if max(picture.size) <= 2_500 else 1
    large = Image.new("L", (width * scale, height * scale), 0)
    shape(ImageDraw.Draw(large), (0, 0, width * scale - 1, height * scale - 1), scale)
    mask = large.reduce(scale) if scale > 1 else large

    def apply(frame: Frame) -> Frame:
        masked = frame.convert("RGBA")
        masked.putalpha(ImageChops.multiply(masked.getchannel("A"), mask))
        return masked

    return map_frames(picture, apply)


# Pillow turns counterclockwise, the service clockwise.
RIGHT_ANGLE_TRANSPOSES = {
    90: Image.Transpose.ROTATE_270,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_90,
}


@operation(
    "imageMogr2/rotate",
    "turn clockwise; the canvas grows, its corners stay transparent (white where the format can't)",
    integer_parameter("rotate", 0, 360, "degrees"),
)
def rotate(picture: WorkingImage, *, rotate: int) -> WorkingImage:
    if rotate % 360 == 0:
        return picture
    if rotate in RIGHT_ANGLE_TRANSPOSES:
        return map_frames(picture, lambda frame: frame.transpose(RIGHT_ANGLE_TRANSPOSES[rotate]))
    check_pixel_count(_get_rotated_size(picture.size, rotate), len(picture.frames))
    return map_frames(
        picture,
        lambda frame: frame.convert("RGBA").rotate(-rotate, Image.Resampling.BICUBIC, expand=True),
    )


def _get_rotated_size(size: Size, degrees: int) -> Size:
    """Return about how large the canvas gets."""
    sine = abs(math.sin(math.radians(degrees)))
    cosine = abs(math.cos(math.radians(degrees)))
    return round_size(size[0] * cosine + size[1] * sine, size[0] * sine + size[1] * cosine)


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
    flag_parameter("auto-orient", "first of all"),
)
def auto_orient(picture: WorkingImage, *, auto_orient: bool) -> WorkingImage:
    transpose = ORIENTATION_TRANSPOSES.get(read_orientation(picture.exif))
    if not auto_orient or transpose is None:
        return picture
    upright = map_frames(picture, lambda frame: frame.transpose(transpose))
    return replace(upright, exif=_reset_orientation(picture.exif))


def _reset_orientation(block: bytes) -> bytes:
    exif_data = read_exif(block)
    exif_data[ExifTags.Base.Orientation] = 1
    try:
        return normalize_exif(exif_data.tobytes())
    except Exception:
        # Some tags can be read but not written again. No EXIF is
        # better than a wrong orientation.
        return b""


FLIPS = {"vertical": Image.Transpose.FLIP_TOP_BOTTOM, "horizontal": Image.Transpose.FLIP_LEFT_RIGHT}


@operation(
    "imageMogr2/flip",
    "mirror the picture",
    choice_parameter("flip", tuple(FLIPS), "top to bottom or left to right"),
)
def flip(picture: WorkingImage, *, flip: str) -> WorkingImage:
    return map_frames(picture, lambda frame: frame.transpose(FLIPS[flip]))


# Colors


def _map_colors(picture: WorkingImage, change: Callable[[Frame], Frame]) -> WorkingImage:
    """Change the colors of all frames and keep their transparency."""

    def recolor(frame: Frame) -> Frame:
        changed = change(frame.convert("RGB"))
        if frame.mode == "RGBA":
            changed.putalpha(frame.getchannel("A"))
        return changed

    return map_frames(picture, recolor)


@operation(
    "imageMogr2/blur",
    "blur",
    pattern_parameter(
        "blur",
        "<radius 1 to 50>x<sigma above 0>",
        "([1-9]|[1-4][0-9]|50)x(?=[0-9.]*[1-9])[0-9]{1,4}([.][0-9]{1,3})?",
        "radius in pixels and standard deviation",
    ),
)
def blur(picture: WorkingImage, *, blur: str) -> WorkingImage:
    radius, sigma = map(float, blur.split("x"))
    # Pixels farther away than the radius have no weight.
    gaussian = ImageFilter.GaussianBlur(min(radius, sigma))

    def smooth(frame: Frame) -> Frame:
        if frame.mode == "RGB":
            return frame.filter(gaussian)
        return frame.convert("RGBa").filter(gaussian).convert("RGBA")

    return map_frames(picture, smooth)


@operation(
    "imageMogr2/sharpen",
    "sharpen",
    integer_parameter("sharpen", 10, 300, "how much; 70 is a good start"),
)
def sharpen(picture: WorkingImage, *, sharpen: int) -> WorkingImage:
    unsharp = ImageFilter.UnsharpMask(radius=2, percent=sharpen, threshold=0)
    return _map_colors(picture, lambda frame: frame.filter(unsharp))


@operation(
    "imageMogr2/bright",
    "change the brightness",
    integer_parameter("bright", -100, 100, "-100 black, 100 twice as bright"),
)
def bright(picture: WorkingImage, *, bright: int) -> WorkingImage:
    factor = 1 + bright / 100
    return _map_colors(picture, lambda frame: ImageEnhance.Brightness(frame).enhance(factor))


@operation(
    "imageMogr2/contrast",
    "change the contrast",
    integer_parameter("contrast", -100, 100, "-100 plain grey, 100 twice"),
)
def contrast(picture: WorkingImage, *, contrast: int) -> WorkingImage:
    factor = 1 + contrast / 100
    return _map_colors(picture, lambda frame: ImageEnhance.Contrast(frame).enhance(factor))


@operation(
    "imageMogr2/grayscale",
    "to greys",
    switch_parameter("grayscale", "1: take the colours out", default=None),
)
def grayscale(picture: WorkingImage, *, grayscale: str) -> WorkingImage:
    if grayscale == "0":
        return picture
    return _map_colors(picture, lambda frame: frame.convert("L").convert("RGB"))


# Output options


@operation(
    "imageMogr2/format",
    "write in another format",
    choice_parameter("format", FORMATS, "heif and tpg are known but not written here"),
)
def format_(picture: WorkingImage, *, format: str) -> WorkingImage:
    target = FORMAT_ALIASES.get(format, format)
    if target not in ENCODERS or target not in DECODERS:
        available = ", ".join(name for name in DECODERS if name in ENCODERS)
        raise RuleError(f"format/{format} can't be written here; accepted: {available}")
    return replace(picture, format=target)


@operation(
    "imageMogr2/quality",
    "the quality of jpg and webp; never above the original's, unless forced with !",
    pattern_parameter("quality", QUALITY_EXPECTED, QUALITY_PATTERN, "0 to 100"),
)
def quality(picture: WorkingImage, *, quality: str) -> WorkingImage:
    # 0 means the lowest, which is 1 for the encoders
    number = max(1, int(quality.rstrip("!")))
    if not quality.endswith("!"):
        number = min(number, picture.source_quality)
    return replace(picture, quality=number)


@operation(
    "imageMogr2/rquality",
    "the quality of jpg and webp, in percent of the original's",
    pattern_parameter("rquality", QUALITY_EXPECTED, QUALITY_PATTERN, "percent"),
)
def rquality(picture: WorkingImage, *, rquality: str) -> WorkingImage:
    percent = int(rquality.rstrip("!"))
    return replace(picture, quality=max(1, round(picture.source_quality * percent / 100)))


@operation(
    "imageMogr2/lquality",
    "the lowest quality of jpg and webp",
    pattern_parameter("lquality", QUALITY_EXPECTED, QUALITY_PATTERN, "0 to 100"),
)
def lquality(picture: WorkingImage, *, lquality: str) -> WorkingImage:
    return replace(picture, quality=max(picture.source_quality, int(lquality.rstrip("!"))))


@operation(
    "imageMogr2/interlace",
    "progressive jpg",
    switch_parameter("interlace", "1: progressive", default=None),
)
def interlace(picture: WorkingImage, *, interlace: str) -> WorkingImage:
    return replace(picture, progressive=interlace == "1")


@operation(
    "imageMogr2/strip",
    "leave EXIF and colour profile out",
    flag_parameter("strip", "write the pixels only"),
)
def strip(picture: WorkingImage, *, strip: bool) -> WorkingImage:
    return replace(picture, strip=strip)


@operation(
    "imageMogr2/cgif",
    "fewer frames",
    integer_parameter("cgif", 1, 100, "how many to keep, evenly chosen; 1 keeps the first 30"),
)
def cgif(picture: WorkingImage, *, cgif: int) -> WorkingImage:
    count = len(picture.frames)
    if cgif == 1:
        return replace(picture, frames=picture.frames[:30], durations=picture.durations[:30])
    if count <= cgif:
        return picture
    # A frame that stays lasts as long as itself and the frames
    # dropped after it.
    starts = [index * count // cgif for index in range(cgif)]
    ends = [*starts[1:], count]
    return replace(
        picture,
        frames=tuple(picture.frames[start] for start in starts),
        durations=tuple(
            sum(picture.durations[start:end]) for start, end in zip(starts, ends, strict=True)
        ),
    )


@operation(
    "imageMogr2/size-limit",
    "make the file no larger than this, if the format allows",
    pattern_parameter(
        "size-limit",
        "<n>k or <n>m, with ! to answer with the original if that is smaller",
        "[1-9][0-9]{0,5}[kKmM]!?",
        "kilobytes or megabytes",
    ),
)
def size_limit(picture: WorkingImage, *, size_limit: str) -> WorkingImage:
    text = size_limit.rstrip("!").lower()
    unit = {"k": 1024, "m": 1024 * 1024}[text[-1]]
    return replace(picture, size_limit=int(text[:-1]) * unit, never_larger=size_limit.endswith("!"))


@operation("imageMogr2/ignore-error", "answer with the original instead of an error", IGNORE_ERROR)
def ignore_error(picture: WorkingImage, **_: object) -> WorkingImage:
    """Do nothing: `apply_rule` looks for the key, because most errors happen elsewhere."""
    return picture


@operation("imageSlim", "compress as far as nobody sees it; never larger than the original")
def image_slim(picture: WorkingImage) -> WorkingImage:
    """Choose moderate settings: JPEG and WebP at 75 or their own
    lower quality, PNG with a palette.
    """
    return replace(
        picture,
        quality=min(75, picture.quality or picture.source_quality),
        strip=True,
        palette_size=256,
        never_larger=not picture.modified,
    )


# imageView2

VIEW_PARAMETERS = (
    integer_parameter("w", 1, MAX_OUTPUT_SIDE, "width (modes 0, 4, 5: the long edge)"),
    integer_parameter("h", 1, MAX_OUTPUT_SIDE, "height (modes 0, 4, 5: the short edge)"),
    choice_parameter("format", FORMATS, "write in another format"),
    pattern_parameter("q", QUALITY_EXPECTED, QUALITY_PATTERN, "as imageMogr2/quality"),
    pattern_parameter("rq", QUALITY_EXPECTED, QUALITY_PATTERN, "as imageMogr2/rquality"),
    pattern_parameter("lq", QUALITY_EXPECTED, QUALITY_PATTERN, "as imageMogr2/lquality"),
    switch_parameter("interlace", "1: progressive jpg"),
    IGNORE_ERROR,
)


class OutputOptions(TypedDict):
    """The parameters that all modes of imageView2 share, besides w and h."""

    format: str | None
    q: str | None
    rq: str | None
    lq: str | None
    interlace: str
    ignore_error: str


def _apply_output_options(picture: WorkingImage, options: OutputOptions) -> WorkingImage:
    if options["format"]:
        picture = format_(picture, format=options["format"])
    if options["q"]:
        picture = quality(picture, quality=options["q"])
    if options["rq"]:
        picture = rquality(picture, rquality=options["rq"])
    if options["lq"]:
        picture = lquality(picture, lquality=options["lq"])
    return interlace(picture, interlace=options["interlace"])


def _default_to_square(mode: int, w: int | None, h: int | None) -> Size:
    """Return width and height; a missing one is as long as the other."""
    if not w and not h:
        raise RuleError(f"imageView2/{mode} needs w or h")
    return w or h or 0, h or w or 0


def _orient_box(picture: WorkingImage, mode: int, w: int | None, h: int | None) -> Size:
    """Return width and height for a long edge w and a short edge h."""
    if not w or not h:
        raise RuleError(f"imageView2/{mode} needs both w (the long edge) and h (the short edge)")
    return (w, h) if picture.size[0] >= picture.size[1] else (h, w)


@operation(
    "imageView2",
    "write in another format or quality, the size as it is",
    *(parameter for parameter in VIEW_PARAMETERS if parameter.name not in ("w", "h")),
)
def view(picture: WorkingImage, **options: Unpack[OutputOptions]) -> WorkingImage:
    return _apply_output_options(picture, options)


@operation("imageView2/0", "fit inside a long edge of w and a short edge of h", *VIEW_PARAMETERS)
def view_0(
    picture: WorkingImage, *, w: int | None, h: int | None, **options: Unpack[OutputOptions]
) -> WorkingImage:
    box = _orient_box(picture, 0, w, h)
    return _apply_output_options(resize(picture, fit_inside(picture.size, *box)), options)


@operation(
    "imageView2/1",
    "cover w x h and cut the middle to it; one side alone means a square",
    *VIEW_PARAMETERS,
)
def view_1(
    picture: WorkingImage, *, w: int | None, h: int | None, **options: Unpack[OutputOptions]
) -> WorkingImage:
    box = _default_to_square(1, w, h)
    return _apply_output_options(resize_and_crop(picture, box), options)


@operation(
    "imageView2/2", "fit inside w x h; one side alone leaves the other free", *VIEW_PARAMETERS
)
def view_2(
    picture: WorkingImage, *, w: int | None, h: int | None, **options: Unpack[OutputOptions]
) -> WorkingImage:
    if not w and not h:
        raise RuleError("imageView2/2 needs w or h")
    size = fit_inside(picture.size, w or math.inf, h or math.inf)
    return _apply_output_options(resize(picture, size), options)


@operation(
    "imageView2/3", "cover w x h without cutting; one side alone means a square", *VIEW_PARAMETERS
)
def view_3(
    picture: WorkingImage, *, w: int | None, h: int | None, **options: Unpack[OutputOptions]
) -> WorkingImage:
    box = _default_to_square(3, w, h)
    return _apply_output_options(resize(picture, fit_outside(picture.size, *box)), options)


@operation(
    "imageView2/4", "cover a long edge of w and a short edge of h without cutting", *VIEW_PARAMETERS
)
def view_4(
    picture: WorkingImage, *, w: int | None, h: int | None, **options: Unpack[OutputOptions]
) -> WorkingImage:
    box = _orient_box(picture, 4, w, h)
    return _apply_output_options(resize(picture, fit_outside(picture.size, *box)), options)


@operation(
    "imageView2/5",
    "cover a long edge of w and a short edge of h and cut the middle to it",
    *VIEW_PARAMETERS,
)
def view_5(
    picture: WorkingImage, *, w: int | None, h: int | None, **options: Unpack[OutputOptions]
) -> WorkingImage:
    box = _orient_box(picture, 5, w, h)
    return _apply_output_options(resize_and_crop(picture, box), options)
