from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

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
    FORMATS,
    IGNORE_ERROR,
    INTEGER_PATTERN,
    QUALITY_EXPECTED,
    QUALITY_PATTERN,
    choice_parameter,
    color_parameter,
    flag_parameter,
    gravity_parameter,
    integer_parameter,
    offset_parameters,
    operation,
    pattern_parameter,
)


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


def _fit_when(size: Size, width: int, height: int, condition: str) -> Size:
    fitting = fit_inside(size, width, height)
    wanted = {"": True, ">": fitting < size, "<": fitting > size}
    return fitting if wanted[condition] else size


def _fit_area(size: Size, area: int) -> Size:
    w, h = size
    if w * h <= area:
        return size
    return max(1, math.isqrt(area * w // h)), max(1, math.isqrt(area * h // w))


THUMBNAIL_FORMS: tuple[tuple[str, Callable[..., Size]], ...] = (
    (f"!{INTEGER_PATTERN}p", lambda size, s: round_size(size[0] * s / 100, size[1] * s / 100)),
    (f"!{INTEGER_PATTERN}px", lambda size, s: round_size(size[0] * s / 100, size[1])),
    (f"!x{INTEGER_PATTERN}p", lambda size, s: round_size(size[0], size[1] * s / 100)),
    (f"{INTEGER_PATTERN}x", lambda size, w: round_size(w, size[1] * w / size[0])),
    (f"x{INTEGER_PATTERN}", lambda size, h: round_size(size[0] * h / size[1], h)),
    (f"{INTEGER_PATTERN}x{INTEGER_PATTERN}", lambda size, w, h: _fit_when(size, w, h, "")),
    (f"{INTEGER_PATTERN}x{INTEGER_PATTERN}>", lambda size, w, h: _fit_when(size, w, h, ">")),
    (f"{INTEGER_PATTERN}x{INTEGER_PATTERN}<", lambda size, w, h: _fit_when(size, w, h, "<")),
    (f"!{INTEGER_PATTERN}x{INTEGER_PATTERN}r", lambda size, w, h: fit_outside(size, w, h)),
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
    pattern_parameter(
        "thumbnail",
        "!<S>p, !<S>px, !x<S>p, <W>x, x<H>, <W>x<H>, <W>x<H>>, <W>x<H><, !<W>x<H>r, <W>x<H>! or <area>@",
        "|".join(pattern.replace("(", "(?:") for pattern, _ in THUMBNAIL_FORMS),
        "the new size: percent, one side, a box to fit in or to cover, exactly, or an area",
        required=True,
    ),
    choice_parameter(
        "pad", ("0", "1"), "1: fill up to exactly WxH, the picture in the middle", default="0"
    ),
    color_parameter("color", "what to fill up with", "#FFFFFF"),
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
    scaled = resize(picture, size)
    return _pad(scaled, thumbnail, color) if pad == "1" else scaled


def _pad(picture: WorkingImage, form: str, colour: str) -> WorkingImage:
    if not re.fullmatch(PADDABLE_PATTERN, form):
        raise RuleError(f"imageMogr2/pad goes with thumbnail/<W>x<H>; got thumbnail/{form}")
    sides = re.findall("[0-9]+", form)
    canvas = (max(int(sides[0]), picture.size[0]), max(int(sides[1]), picture.size[1]))
    check_output_size(canvas, len(picture.frames))
    place = position_by_gravity(canvas, picture.size, "center", 0, 0)

    def pad(frame: Frame) -> Frame:
        padded = Image.new(frame.mode, canvas, colour)
        padded.paste(frame, place)
        return padded

    return map_frames(picture, pad)


@operation(
    "imageMogr2/cut",
    "cut a rectangle, as much of it as lies in the picture",
    pattern_parameter(
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
    return crop_box(picture, left, top, (right - left, bottom - top))


CROP_BY_OFFSET = re.compile("!([0-9]{0,6})x([0-9]{0,6})a([0-9]{1,6})a([0-9]{1,6})")


@operation(
    "imageMogr2/crop",
    "scale to cover WxH and cut to it; with one side given, cut that side only",
    pattern_parameter(
        "crop",
        "<W>x, x<H>, <W>x<H> or !<W>x<H>a<dx>a<dy>",
        f"{INTEGER_PATTERN}x|x{INTEGER_PATTERN}|{INTEGER_PATTERN}x{INTEGER_PATTERN}|{CROP_BY_OFFSET.pattern}",
        "the size of what stays",
        required=True,
    ),
    gravity_parameter(None),
    *offset_parameters(),
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
            *position_by_gravity(picture.size, size, gravity or "northwest", left, top),
        )
    width, height = (int(side or 0) for side in crop.split("x"))
    if width and height:
        return resize_and_crop(picture, (width, height), gravity or "center", dx, dy)
    size = _resolve_crop_size(picture, width, height)
    left, top = position_by_gravity(picture.size, size, gravity or "center", dx, dy)
    room = (picture.size[0] - size[0], picture.size[1] - size[1])
    return crop_box(picture, min(max(0, left), room[0]), min(max(0, top), room[1]), size)


def _resolve_crop_size(picture: WorkingImage, width: int, height: int) -> Size:
    """A side that is 0 (not given), or longer than the picture's, is the picture's own."""
    if not width and not height:
        raise RuleError("imageMogr2/crop: at least one side must be 1 or more")
    whole = picture.size
    return min(width or whole[0], whole[0]), min(height or whole[1], whole[1])


@operation(
    "imageMogr2/scrop",
    "scale and cut around faces (here: around the middle)",
    pattern_parameter(
        "scrop", "<W>x<H>", f"{INTEGER_PATTERN}x{INTEGER_PATTERN}", "the size of what stays"
    ),
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
    side = 2 * iradius
    left, top = position_by_gravity(picture.size, (side, side), "center", 0, 0)
    square = crop_box(picture, left, top, (side, side))
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

    return map_frames(picture, cover)


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
    around = Image.Resampling.BICUBIC
    return map_frames(
        picture, lambda frame: frame.convert("RGBA").rotate(-rotate, around, expand=True)
    )


def _get_rotated_size(size: Size, degrees: int) -> Size:
    """About how large the canvas gets."""
    sine, cosine = abs(math.sin(math.radians(degrees))), abs(math.cos(math.radians(degrees)))
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
    turn = ORIENTATION_TRANSPOSES.get(read_orientation(picture.exif))
    if not auto_orient or turn is None:
        return picture
    upright = map_frames(picture, lambda frame: frame.transpose(turn))
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
    choice_parameter("flip", tuple(FLIPS), "top to bottom or left to right"),
)
def flip(picture: WorkingImage, *, flip: str) -> WorkingImage:
    return map_frames(picture, lambda frame: frame.transpose(FLIPS[flip]))


def _map_colors(picture: WorkingImage, change: Callable[[Frame], Frame]) -> WorkingImage:
    """Change the colours and leave the transparency as it is."""

    def recolour(frame: Frame) -> Frame:
        changed = change(frame.convert("RGB"))
        if frame.mode == "RGBA":
            changed.putalpha(frame.getchannel("A"))
        return changed

    return map_frames(picture, recolour)


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
    soft = ImageFilter.GaussianBlur(min(radius, sigma))  # nothing beyond the radius weighs in

    def smooth(frame: Frame) -> Frame:
        if frame.mode == "RGB":
            return frame.filter(soft)
        return frame.convert("RGBa").filter(soft).convert("RGBA")

    return map_frames(picture, smooth)


@operation(
    "imageMogr2/sharpen",
    "sharpen",
    integer_parameter("sharpen", 10, 300, "how much; 70 is a good start"),
)
def sharpen(picture: WorkingImage, *, sharpen: int) -> WorkingImage:
    edges = ImageFilter.UnsharpMask(radius=2, percent=sharpen, threshold=0)
    return _map_colors(picture, lambda frame: frame.filter(edges))


@operation(
    "imageMogr2/bright",
    "change the brightness",
    integer_parameter("bright", -100, 100, "-100 black, 100 twice as bright"),
)
def bright(picture: WorkingImage, *, bright: int) -> WorkingImage:
    return _map_colors(
        picture, lambda frame: ImageEnhance.Brightness(frame).enhance(1 + bright / 100)
    )


@operation(
    "imageMogr2/contrast",
    "change the contrast",
    integer_parameter("contrast", -100, 100, "-100 plain grey, 100 twice"),
)
def contrast(picture: WorkingImage, *, contrast: int) -> WorkingImage:
    return _map_colors(
        picture, lambda frame: ImageEnhance.Contrast(frame).enhance(1 + contrast / 100)
    )


@operation(
    "imageMogr2/grayscale",
    "to greys",
    choice_parameter("grayscale", ("0", "1"), "1: take the colours out"),
)
def grayscale(picture: WorkingImage, *, grayscale: str) -> WorkingImage:
    if grayscale == "0":
        return picture
    return _map_colors(picture, lambda frame: frame.convert("L").convert("RGB"))


FORMAT_ALIASES = {"jpg": "jpeg", "yjpeg": "jpeg"}


@operation(
    "imageMogr2/format",
    "write in another format",
    choice_parameter("format", FORMATS, "heif and tpg are known but not written here"),
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
    pattern_parameter("quality", QUALITY_EXPECTED, QUALITY_PATTERN, "1 to 100"),
)
def quality(picture: WorkingImage, *, quality: str) -> WorkingImage:
    wanted = int(quality.rstrip("!"))
    return replace(
        picture, quality=wanted if quality.endswith("!") else min(wanted, picture.source_quality)
    )


@operation(
    "imageMogr2/rquality",
    "the quality of jpg and webp, in percent of the original's",
    pattern_parameter("rquality", QUALITY_EXPECTED, QUALITY_PATTERN, "percent"),
)
def rquality(picture: WorkingImage, *, rquality: str) -> WorkingImage:
    return replace(
        picture, quality=max(1, round(picture.source_quality * int(rquality.rstrip("!")) / 100))
    )


@operation(
    "imageMogr2/lquality",
    "the lowest quality of jpg and webp",
    pattern_parameter("lquality", QUALITY_EXPECTED, QUALITY_PATTERN, "1 to 100"),
)
def lquality(picture: WorkingImage, *, lquality: str) -> WorkingImage:
    return replace(picture, quality=max(picture.source_quality, int(lquality.rstrip("!"))))


@operation(
    "imageMogr2/interlace",
    "progressive jpg",
    choice_parameter("interlace", ("0", "1"), "1: progressive"),
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
    pattern_parameter(
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


VIEW_PARAMETERS = (
    integer_parameter("w", 1, MAX_OUTPUT_SIDE, "width (modes 0, 4, 5: the long edge)"),
    integer_parameter("h", 1, MAX_OUTPUT_SIDE, "height (modes 0, 4, 5: the short edge)"),
    choice_parameter("format", FORMATS, "write in another format"),
    pattern_parameter("q", QUALITY_EXPECTED, QUALITY_PATTERN, "as imageMogr2/quality"),
    pattern_parameter("rq", QUALITY_EXPECTED, QUALITY_PATTERN, "as imageMogr2/rquality"),
    pattern_parameter("lq", QUALITY_EXPECTED, QUALITY_PATTERN, "as imageMogr2/lquality"),
    choice_parameter("interlace", ("0", "1"), "1: progressive jpg", default="0"),
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
    return _apply_output_options(resize(picture, fit_inside(picture.size, *box)), **written)


@operation(
    "imageView2/1",
    "cover w x h and cut the middle to it; one side alone means a square",
    *VIEW_PARAMETERS,
)
def view_1(picture: WorkingImage, *, w: int | None, h: int | None, **written: Any) -> WorkingImage:
    return _apply_output_options(resize_and_crop(picture, _default_to_square(1, w, h)), **written)


@operation(
    "imageView2/2", "fit inside w x h; one side alone leaves the other free", *VIEW_PARAMETERS
)
def view_2(picture: WorkingImage, *, w: int | None, h: int | None, **written: Any) -> WorkingImage:
    if not w and not h:
        raise RuleError("imageView2/2 needs w or h")
    size = fit_inside(picture.size, w or math.inf, h or math.inf)
    return _apply_output_options(resize(picture, size), **written)


@operation(
    "imageView2/3", "cover w x h without cutting; one side alone means a square", *VIEW_PARAMETERS
)
def view_3(picture: WorkingImage, *, w: int | None, h: int | None, **written: Any) -> WorkingImage:
    return _apply_output_options(
        resize(picture, fit_outside(picture.size, *_default_to_square(3, w, h))), **written
    )


@operation(
    "imageView2/4", "cover a long edge of w and a short edge of h without cutting", *VIEW_PARAMETERS
)
def view_4(picture: WorkingImage, *, w: int | None, h: int | None, **written: Any) -> WorkingImage:
    box = _orient_box(picture, 4, w, h)
    return _apply_output_options(resize(picture, fit_outside(picture.size, *box)), **written)


@operation(
    "imageView2/5",
    "cover a long edge of w and a short edge of h and cut the middle to it",
    *VIEW_PARAMETERS,
)
def view_5(picture: WorkingImage, *, w: int | None, h: int | None, **written: Any) -> WorkingImage:
    return _apply_output_options(resize_and_crop(picture, _orient_box(picture, 5, w, h)), **written)
