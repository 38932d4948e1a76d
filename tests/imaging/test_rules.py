"""Picture rules: a table of rules with the size, the format and the pixels that each must give."""

from __future__ import annotations

import base64
import functools
import io
import json
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import pillow_heif
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageChops, ImageFilter, ImageStat, features

from jupyter_mjci.imaging import codecs, fonts
from jupyter_mjci.imaging.codecs import read_image_info
from jupyter_mjci.imaging.model import (
    MAX_DECODED_BYTES,
    MAX_TEXT_LENGTH,
    Operation,
    OperationSpec,
    Parameter,
    RuleError,
)
from jupyter_mjci.imaging.registry import OPERATIONS
from jupyter_mjci.imaging.rule_syntax import (
    apply_rule,
    format_rule,
    join_steps,
    parse_rule,
    split_steps,
)
from tests.imaging import largest_pictures

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 200, 30), (30, 30, 220), (230, 220, 30)
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
MARK_URL = "http://demo-1250000000.cos.ap-chongqing.myqcloud.com/mark.png"


def b64(plain: str) -> str:
    return base64.urlsafe_b64encode(plain.encode()).decode()


# ------------------------------------------------------------------------------------------------
# pictures to work on


def make_quadrants(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Red and green above blue and yellow: every turn and flip shows."""
    small = Image.new("RGB", (2, 2))
    for index, colour in enumerate((RED, GREEN, BLUE, YELLOW)):
        small.putpixel((index % 2, index // 2), colour)
    return small.resize((width, height), Image.Resampling.NEAREST).convert(mode)


def make_textured(width: int, height: int) -> Image.Image:
    """Quarters with a soft ripple in many colours: something to blur, sharpen and compress."""
    ripple = Image.effect_mandelbrot((width, height), (-2, -1.5, 1, 1.5), 40).filter(
        ImageFilter.GaussianBlur(2)
    )
    slope = Image.linear_gradient("L").resize((width, height))
    rings = Image.radial_gradient("L").resize((width, height))
    return Image.blend(
        make_quadrants(width, height), Image.merge("RGB", (ripple, rings, slope)), 0.3
    )


def encode(image: Image.Image, name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def make_half_transparent(width: int, height: int) -> Image.Image:
    """Left half transparent, right half opaque."""
    image = make_quadrants(width, height, "RGBA")
    image.paste((0, 0, 0, 0), (0, 0, width // 2, height))
    return image


def make_animation(name: str, count: int = 5, **options: object) -> bytes:
    """Frame n has a white bar at 10n on quadrants; frame n lasts 100 + 50n ms."""
    frames = [make_quadrants(60, 40) for _ in range(count)]
    for index, frame in enumerate(frames):
        frame.paste(WHITE, (index * 10 % 60, 15, index * 10 % 60 + 10, 25))
    durations = [100 + 50 * index for index in range(count)]
    more: dict[str, object] = {
        "save_all": True,
        "append_images": frames[1:],
        "duration": durations,
        "loop": 0,
    }
    return encode(frames[0], name, **more, **options)


def make_with_exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Model] = "Box"
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.ISOSpeedRatings] = 200
    upright = make_quadrants(120, 80)
    back = {
        2: 0,
        3: 3,
        4: 1,
        5: 5,
        6: 2,
        7: 6,
        8: 4,
    }  # Image.Transpose that undoes what the orientation asks for
    stored = upright.transpose(Image.Transpose(back[orientation])) if orientation > 1 else upright
    return encode(stored, "JPEG", quality=95, subsampling=0, exif=exif)


def make_transparent_gif() -> bytes:
    """A GIF with transparent parts."""
    frames = [
        make_half_transparent(60, 40),
        make_half_transparent(60, 40).transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    ]
    return encode(
        frames[0], "GIF", save_all=True, append_images=frames[1:], duration=120, loop=3, disposal=2
    )


def make_16bit() -> bytes:
    """Greys from 0 to 65535, left to right."""
    row = b"".join(struct.pack("<H", x * 65535 // 99) for x in range(100))
    return encode(Image.frombytes("I;16", (100, 50), row * 50), "PNG")


def make_transparent_palette() -> bytes:
    image = make_quadrants(80, 40).quantize(8)
    image.info.clear()
    hole = image.getpixel((0, 0))
    return encode(image, "PNG", transparency=hole)


MAKERS: dict[str, Callable[[], bytes]] = {
    "jpg": lambda: encode(make_textured(1000, 500), "JPEG", quality=88),
    "jpg60": lambda: encode(make_textured(400, 300), "JPEG", quality=60),
    "doc": lambda: encode(make_quadrants(1500, 1200), "JPEG", quality=90),
    "tall": lambda: encode(make_quadrants(500, 1000), "JPEG", quality=90),
    "small": lambda: encode(make_quadrants(100, 60), "PNG"),
    "png": lambda: encode(make_quadrants(300, 200), "PNG"),
    "rich": lambda: encode(make_textured(300, 200), "PNG"),
    "clear": lambda: encode(make_half_transparent(200, 100), "PNG"),
    "gif": lambda: make_animation("GIF"),
    "gif40": lambda: make_animation("GIF", 40),
    "blinking": make_transparent_gif,
    "webp": lambda: encode(make_quadrants(300, 200), "WEBP", quality=90),
    "moving_webp": lambda: make_animation("WEBP", quality=95),
    "bmp": lambda: encode(make_quadrants(300, 200), "BMP"),
    "cmyk": lambda: encode(make_quadrants(300, 200).convert("CMYK"), "JPEG", quality=95),
    "grey": lambda: encode(make_quadrants(300, 200, "L"), "JPEG", quality=95),
    "la": lambda: encode(make_half_transparent(200, 100).convert("LA"), "PNG"),
    "bilevel": lambda: encode(make_quadrants(200, 100).convert("1"), "PNG"),
    "deep": make_16bit,
    "hole": make_transparent_palette,
    **{f"turned{n}": functools.partial(make_with_exif, n) for n in range(1, 9)},
}


@functools.cache
def source(name: str) -> bytes:
    return MAKERS[name]()


@functools.cache
def load_watermark() -> bytes:
    """A watermark: opaque red, 40x20, with a transparent frame of 2 pixels."""
    image = Image.new("RGBA", (40, 20))
    image.paste((255, 0, 0, 255), (2, 2, 38, 18))
    return encode(image, "PNG")


def load_object(url: str) -> bytes | None:
    return {
        MARK_URL: load_watermark(),
        "mark.png": load_watermark(),
        MARK_URL + "?large": source("doc"),
    }.get(url)


# ------------------------------------------------------------------------------------------------
# checks of a result


@dataclass(frozen=True, slots=True)
class Outcome:
    """A result with its pixels, and the picture that it was made from."""

    body: bytes
    frames: list[Image.Image]
    durations: list[int]
    image: Image.Image
    before: Image.Image
    original: bytes

    @property
    def first(self) -> Image.Image:
        return self.frames[0]


Check = Callable[[Outcome], bool]


def decode_result(body: bytes, original: bytes) -> Outcome:
    image = Image.open(io.BytesIO(body))
    frames, durations = [], []
    for index in range(getattr(image, "n_frames", 1)):
        image.seek(index)
        frames.append(image.convert("RGBA"))
        durations.append(image.info.get("duration", 0))
    before = Image.open(io.BytesIO(original)).convert("RGBA")
    return Outcome(body, frames, durations, Image.open(io.BytesIO(body)), before, original)


def near(pixel: tuple[int, ...], colour: tuple[int, int, int], tolerance: int = 48) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(pixel[:3], colour, strict=True))


def at(x: float, y: float, colour: tuple[int, int, int], tolerance: int = 48) -> Check:
    """The colour at a place, given in fractions of width and height, in every frame."""

    def check(outcome: Outcome) -> bool:
        w, h = outcome.first.size
        place = (min(w - 1, int(x * w)), min(h - 1, int(y * h)))
        return all(
            near(frame.getpixel(place), colour, tolerance) and frame.getpixel(place)[3] == 255
            for frame in outcome.frames
        )

    return check


def clear_at(x: float, y: float) -> Check:
    def check(outcome: Outcome) -> bool:
        w, h = outcome.first.size
        return outcome.first.getpixel((min(w - 1, int(x * w)), min(h - 1, int(y * h))))[3] == 0

    return check


def corners(*colours: tuple[int, int, int], inset: float = 0.1) -> Check:
    """Top left, top right, bottom left, bottom right."""
    low, high = inset, 1 - inset
    places = ((low, low), (high, low), (low, high), (high, high))
    checks = [at(x, y, colour, 70) for (x, y), colour in zip(places, colours, strict=True)]
    return lambda outcome: all(check(outcome) for check in checks)


def frames(count: int, *durations: int) -> Check:
    return lambda outcome: (
        len(outcome.frames) == count and (not durations or outcome.durations == list(durations))
    )


def all_of(*checks: Check) -> Check:
    return lambda outcome: all(check(outcome) for check in checks)


def luminance(image: Image.Image) -> float:
    return float(ImageStat.Stat(image.convert("RGB").convert("L")).mean[0])


def contrast_of(image: Image.Image) -> float:
    return float(ImageStat.Stat(image.convert("RGB").convert("L")).stddev[0])


def edges(image: Image.Image) -> float:
    return luminance(image.convert("RGB").filter(ImageFilter.FIND_EDGES))


def is_grey(outcome: Outcome) -> bool:
    return all(
        high <= 3
        for band in ((0, 1), (1, 2))
        for high in (
            ImageChops.difference(*(outcome.first.getchannel(i) for i in band)).getextrema()[1],
        )
    )


def brighter(outcome: Outcome) -> bool:
    return luminance(outcome.first) > luminance(outcome.before) + 10


def darker(outcome: Outcome) -> bool:
    return luminance(outcome.first) < luminance(outcome.before) - 10


def more_contrast(outcome: Outcome) -> bool:
    return contrast_of(outcome.first) > contrast_of(outcome.before) + 5


def less_contrast(outcome: Outcome) -> bool:
    return contrast_of(outcome.first) < contrast_of(outcome.before) - 5


def sharper(outcome: Outcome) -> bool:
    return edges(outcome.first) > edges(outcome.before) * 1.05


def softer(outcome: Outcome) -> bool:
    return edges(outcome.first) < edges(outcome.before) * 0.9


def black(outcome: Outcome) -> bool:
    return luminance(outcome.first) < 2


def same_pixels(outcome: Outcome) -> bool:
    return difference(outcome.first, outcome.before) == 0


def difference(first: Image.Image, second: Image.Image) -> float:
    if first.size != second.size:
        return 255.0
    return luminance(ImageChops.difference(first.convert("RGB"), second.convert("RGB")))


def changed(outcome: Outcome) -> bool:
    return (
        outcome.first.size != outcome.before.size or difference(outcome.first, outcome.before) > 0
    )


def quality(number: int) -> Check:
    return lambda outcome: read_image_info(outcome.body).quality == number


def at_most(size: int) -> Check:
    return lambda outcome: len(outcome.body) <= size


def smaller(outcome: Outcome) -> bool:
    return len(outcome.body) < len(outcome.original)


def untouched(outcome: Outcome) -> bool:
    return outcome.body == outcome.original


def progressive(outcome: Outcome) -> bool:
    return bool(outcome.image.info.get("progressive"))


def baseline(outcome: Outcome) -> bool:
    return not outcome.image.info.get("progressive")


def has_exif(outcome: Outcome) -> bool:
    return outcome.image.getexif().get(ExifTags.Base.Model) == "Box"


def no_exif(outcome: Outcome) -> bool:
    return "exif" not in outcome.image.info and not outcome.image.getexif()


def orientation(number: int) -> Check:
    return lambda outcome: outcome.image.getexif().get(ExifTags.Base.Orientation) == number


def paletted(outcome: Outcome) -> bool:
    return outcome.image.mode == "P"


def bar_moves(outcome: Outcome) -> bool:
    """The white bar of frame n is where frame n had it."""
    width, height = outcome.first.size
    return all(
        near(frame.getpixel((int(((index * 10 % 60) + 5) / 60 * width), height // 2)), WHITE)
        for index, frame in enumerate(outcome.frames)
    )


def marked(x: float, y: float, w: float, h: float, within: bool = True) -> Check:
    """Pixels inside (or, elsewhere, outside) the box differ from the picture as it was."""

    def check(outcome: Outcome) -> bool:
        width, height = outcome.first.size
        changes = ImageChops.difference(
            outcome.first.convert("RGB"), outcome.before.convert("RGB")
        ).convert("L")
        changes = changes.point(lambda value: 255 if value > 24 else 0)
        box = changes.getbbox()
        room = (x * width - 1, y * height - 1, (x + w) * width + 1, (y + h) * height + 1)
        inside = (
            bool(box)
            and box[0] >= room[0]
            and box[1] >= room[1]
            and box[2] <= room[2]
            and box[3] <= room[3]
        )
        return inside is within

    return check


def marked_box(left: int, top: int, right: int, bottom: int, slack: int = 0) -> Check:
    """Exactly this box differs from the picture as it was."""

    def check(outcome: Outcome) -> bool:
        changes = ImageChops.difference(
            outcome.first.convert("RGB"), outcome.before.convert("RGB")
        ).convert("L")
        box = changes.point(lambda value: 255 if value > 24 else 0).getbbox()
        return box is not None and all(
            abs(a - b) <= slack for a, b in zip(box, (left, top, right, bottom), strict=True)
        )

    return check


def reddish(low: int, high: int) -> Check:
    """How many hundredths of the picture are the watermark's red."""

    def check(outcome: Outcome) -> bool:
        hits = sum(near(pixel, (255, 0, 0), 30) for pixel in pixels(outcome.first))
        return low <= 100 * hits / (outcome.first.width * outcome.first.height) <= high

    return check


def pixels(image: Image.Image) -> list[tuple[int, ...]]:
    raw = image.convert("RGB").tobytes()
    return [tuple(raw[i : i + 3]) for i in range(0, len(raw), 3)]


# ------------------------------------------------------------------------------------------------
# the table

ALL_QUADRANTS = corners(RED, GREEN, BLUE, YELLOW)
MARKED = f"watermark/1/image/{b64(MARK_URL)}"
HELLO = f"watermark/2/text/{b64('Hello')}"
PAD_BLUE = f"pad/1/color/{b64('#0000FF')}"

#        source, rule, size, format, property of the pixels
CASES: list[tuple[str, str, tuple[int, int], str, Check]] = [
    (
        "png",
        "imageView2/format/jpg/q/90/interlace/1/ignore-error/1",
        (300, 200),
        "jpeg",
        ALL_QUADRANTS,
    ),
    # thumbnail: the service's own examples
    ("jpg", "imageMogr2/thumbnail/400x400", (400, 200), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageMogr2/thumbnail/!400x400r", (800, 400), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageMogr2/thumbnail/400x400!", (400, 400), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageMogr2/thumbnail/20000@", (200, 100), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageMogr2/thumbnail/!50p", (500, 250), "jpeg", ALL_QUADRANTS),
    # thumbnail: the other forms
    ("jpg", "imageMogr2/thumbnail/!30px", (300, 500), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageMogr2/thumbnail/!x30p", (1000, 150), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageMogr2/thumbnail/200x", (200, 100), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageMogr2/thumbnail/x200", (400, 200), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageMogr2/thumbnail/333x", (333, 166), "jpeg", ALL_QUADRANTS),
    ("tall", "imageMogr2/thumbnail/400x400", (200, 400), "jpeg", ALL_QUADRANTS),
    ("tall", "imageMogr2/thumbnail/!400x400r", (400, 800), "jpeg", ALL_QUADRANTS),
    ("small", "imageMogr2/thumbnail/!200p", (200, 120), "png", ALL_QUADRANTS),
    ("small", "imageMogr2/thumbnail/400x400", (400, 240), "png", ALL_QUADRANTS),
    ("small", "imageMogr2/thumbnail/400x400>", (100, 60), "png", same_pixels),
    ("small", "imageMogr2/thumbnail/50x50>", (50, 30), "png", ALL_QUADRANTS),
    ("small", "imageMogr2/thumbnail/400x400<", (400, 240), "png", ALL_QUADRANTS),
    ("small", "imageMogr2/thumbnail/50x50<", (100, 60), "png", same_pixels),
    ("small", "imageMogr2/thumbnail/1000000@", (100, 60), "png", same_pixels),
    ("small", "imageMogr2/thumbnail/1x", (1, 1), "png", changed),
    ("small", "imageMogr2/thumbnail/!1p", (1, 1), "png", changed),
    (
        "clear",
        "imageMogr2/thumbnail/100x",
        (100, 50),
        "png",
        all_of(clear_at(0.2, 0.5), at(0.9, 0.2, GREEN)),
    ),
    # pad
    (
        "jpg",
        "imageMogr2/thumbnail/400x400/pad/1",
        (400, 400),
        "jpeg",
        all_of(at(0.5, 0, WHITE), at(0.1, 0.3, RED, 90)),
    ),
    (
        "jpg",
        f"imageMogr2/thumbnail/400x400/{PAD_BLUE}",
        (400, 400),
        "jpeg",
        corners(*[(0, 0, 255)] * 4),
    ),
    (
        "tall",
        f"imageMogr2/thumbnail/400x400/{PAD_BLUE}",
        (400, 400),
        "jpeg",
        at(0, 0.5, (0, 0, 255)),
    ),
    (
        "small",
        f"imageMogr2/thumbnail/200x200/{PAD_BLUE}",
        (200, 200),
        "png",
        all_of(at(0, 0.19, (0, 0, 255), 0), at(0, 0.21, RED)),
    ),
    (
        "small",
        "imageMogr2/thumbnail/200x200>/pad/1",
        (200, 200),
        "png",
        all_of(at(0.2, 0.5, WHITE), at(0.3, 0.4, RED)),
    ),
    ("jpg", "imageMogr2/thumbnail/400x400/pad/0", (400, 200), "jpeg", ALL_QUADRANTS),
    (
        "clear",
        "imageMogr2/thumbnail/100x100/pad/1",
        (100, 100),
        "png",
        all_of(at(0, 0, WHITE), clear_at(0.2, 0.5)),
    ),
    # cut
    ("png", "imageMogr2/cut/150x100x0x0", (150, 100), "png", corners(*[RED] * 4)),
    ("png", "imageMogr2/cut/150x100x150x100", (150, 100), "png", corners(*[YELLOW] * 4)),
    ("png", "imageMogr2/cut/100x100x100x50", (100, 100), "png", ALL_QUADRANTS),
    ("png", "imageMogr2/cut/200x200x200x150", (100, 50), "png", corners(*[YELLOW] * 4)),
    # crop
    ("doc", "imageMogr2/crop/600x600", (600, 600), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageMogr2/crop/300x", (300, 500), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageMogr2/crop/x300", (1000, 300), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageMogr2/crop/300x/gravity/west", (300, 500), "jpeg", corners(RED, RED, BLUE, BLUE)),
    (
        "jpg",
        "imageMogr2/crop/300x/gravity/east",
        (300, 500),
        "jpeg",
        corners(GREEN, GREEN, YELLOW, YELLOW),
    ),
    (
        "jpg",
        "imageMogr2/crop/x200/gravity/north",
        (1000, 200),
        "jpeg",
        corners(RED, GREEN, RED, GREEN),
    ),
    (
        "jpg",
        "imageMogr2/crop/x200/gravity/south",
        (1000, 200),
        "jpeg",
        corners(BLUE, YELLOW, BLUE, YELLOW),
    ),
    (
        "png",
        "imageMogr2/crop/100x/gravity/west/dx/150",
        (100, 200),
        "png",
        corners(GREEN, GREEN, YELLOW, YELLOW),
    ),
    (
        "png",
        "imageMogr2/crop/100x/gravity/east/dx/150",
        (100, 200),
        "png",
        corners(RED, RED, BLUE, BLUE),
    ),
    ("png", "imageMogr2/crop/100x/gravity/center/dx/150", (100, 200), "png", ALL_QUADRANTS),
    (
        "png",
        "imageMogr2/crop/x100/gravity/North/dy/100",
        (300, 100),
        "png",
        corners(BLUE, YELLOW, BLUE, YELLOW),
    ),
    ("png", "imageMogr2/gravity/west/crop/100x", (100, 200), "png", corners(RED, RED, BLUE, BLUE)),
    (
        "png",
        "imageMogr2/crop/100x200/gravity/northwest",
        (100, 200),
        "png",
        corners(RED, RED, BLUE, BLUE),
    ),
    (
        "png",
        "imageMogr2/crop/100x200/gravity/SouthEast",
        (100, 200),
        "png",
        corners(GREEN, GREEN, YELLOW, YELLOW),
    ),
    ("png", "imageMogr2/crop/!100x80a160a110", (100, 80), "png", corners(*[YELLOW] * 4)),
    ("png", "imageMogr2/crop/!100xa10a0", (100, 200), "png", corners(RED, RED, BLUE, BLUE)),
    (
        "png",
        "imageMogr2/crop/!100x80a160a10/gravity/southeast",
        (100, 80),
        "png",
        corners(*[BLUE] * 4),
    ),
    (
        "png",
        "imageMogr2/crop/!100x80a0a150/gravity/southwest",
        (100, 50),
        "png",
        corners(*[RED] * 4),
    ),
    ("png", "imageMogr2/crop/!170x100-20a100", (150, 100), "png", corners(*[BLUE] * 4)),
    ("png", "imageMogr2/crop/!150x120a150-20", (150, 100), "png", corners(*[GREEN] * 4)),
    ("png", "imageMogr2/crop/400x", (300, 200), "png", same_pixels),
    ("png", "imageMogr2/scrop/100x100", (100, 100), "png", ALL_QUADRANTS),
    # circles and corners
    (
        "png",
        "imageMogr2/iradius/80",
        (160, 160),
        "png",
        all_of(clear_at(0, 0), clear_at(1, 1), at(0.3, 0.3, RED)),
    ),
    (
        "png",
        "imageMogr2/iradius/100",
        (200, 200),
        "png",
        all_of(clear_at(1, 0), at(0.7, 0.7, YELLOW)),
    ),
    (
        "jpg",
        "imageMogr2/iradius/200",
        (400, 400),
        "jpeg",
        all_of(at(0, 0, WHITE), at(0.3, 0.3, RED, 90)),
    ),
    ("jpg", "imageMogr2/iradius/200/format/webp", (400, 400), "webp", clear_at(0, 0)),
    (
        "png",
        "imageMogr2/rradius/50",
        (300, 200),
        "png",
        all_of(clear_at(0, 0), at(0.2, 0, RED), at(0.1, 0.1, RED)),
    ),
    (
        "jpg",
        "imageMogr2/rradius/100",
        (1000, 500),
        "jpeg",
        all_of(at(0, 0, WHITE), at(0.2, 0.4, RED, 90)),
    ),
    # turning
    ("png", "imageMogr2/rotate/90", (200, 300), "png", corners(BLUE, RED, YELLOW, GREEN)),
    ("png", "imageMogr2/rotate/180", (300, 200), "png", corners(YELLOW, BLUE, GREEN, RED)),
    ("png", "imageMogr2/rotate/270", (200, 300), "png", corners(GREEN, YELLOW, RED, BLUE)),
    ("png", "imageMogr2/rotate/0", (300, 200), "png", same_pixels),
    ("png", "imageMogr2/rotate/360", (300, 200), "png", same_pixels),
    ("jpg", "imageMogr2/rotate/90", (500, 1000), "jpeg", corners(BLUE, RED, YELLOW, GREEN)),
    (
        "png",
        "imageMogr2/rotate/45",
        (354, 354),
        "png",
        all_of(clear_at(0, 0), at(0.5, 0.3, RED), at(0.7, 0.5, GREEN)),
    ),
    ("png", "imageMogr2/rotate/45/format/jpg", (354, 354), "jpeg", at(0, 0, WHITE)),
    ("png", "imageMogr2/flip/vertical", (300, 200), "png", corners(BLUE, YELLOW, RED, GREEN)),
    ("png", "imageMogr2/flip/horizontal", (300, 200), "png", corners(GREEN, RED, YELLOW, BLUE)),
    *[
        (f"turned{n}", "imageMogr2/auto-orient", (120, 80), "jpeg", all_of(ALL_QUADRANTS, has_exif))
        for n in range(1, 9)
    ],
    ("turned6", "imageMogr2/auto-orient", (120, 80), "jpeg", orientation(1)),
    (
        "turned6",
        "imageMogr2/thumbnail/40x",
        (40, 60),
        "jpeg",
        all_of(corners(GREEN, YELLOW, RED, BLUE), orientation(6)),
    ),
    ("turned6", "imageMogr2/thumbnail/60x/auto-orient", (60, 40), "jpeg", ALL_QUADRANTS),
    ("turned6", "imageMogr2/auto-orient/strip", (120, 80), "jpeg", all_of(ALL_QUADRANTS, no_exif)),
    # colours
    ("jpg", "imageMogr2/grayscale/1", (1000, 500), "jpeg", is_grey),
    ("clear", "imageMogr2/grayscale/1", (200, 100), "png", all_of(is_grey, clear_at(0.2, 0.5))),
    ("png", "imageMogr2/grayscale/0", (300, 200), "png", same_pixels),
    ("rich", "imageMogr2/bright/50", (300, 200), "png", brighter),
    ("rich", "imageMogr2/bright/-50", (300, 200), "png", darker),
    ("rich", "imageMogr2/bright/-100", (300, 200), "png", black),
    ("rich", "imageMogr2/bright/0", (300, 200), "png", same_pixels),
    ("rich", "imageMogr2/contrast/50", (300, 200), "png", more_contrast),
    ("rich", "imageMogr2/contrast/-50", (300, 200), "png", less_contrast),
    ("rich", "imageMogr2/contrast/-100", (300, 200), "png", is_grey),
    ("rich", "imageMogr2/sharpen/70", (300, 200), "png", sharper),
    ("rich", "imageMogr2/blur/8x5", (300, 200), "png", softer),
    ("rich", "imageMogr2/blur/50x0.5", (300, 200), "png", changed),
    (
        "clear",
        "imageMogr2/blur/8x5",
        (200, 100),
        "png",
        all_of(clear_at(0, 0), at(0.95, 0.1, GREEN)),
    ),
    # formats
    ("png", "imageMogr2/format/jpg", (300, 200), "jpeg", ALL_QUADRANTS),
    ("png", "imageMogr2/format/yjpeg", (300, 200), "jpeg", ALL_QUADRANTS),
    ("png", "imageMogr2/format/JPG", (300, 200), "jpeg", ALL_QUADRANTS),
    ("png", "imageMogr2/format/bmp", (300, 200), "bmp", same_pixels),
    ("png", "imageMogr2/format/gif", (300, 200), "gif", ALL_QUADRANTS),
    ("png", "imageMogr2/format/webp", (300, 200), "webp", ALL_QUADRANTS),
    ("jpg", "imageMogr2/format/png", (1000, 500), "png", same_pixels),
    (
        "clear",
        "imageMogr2/format/webp",
        (200, 100),
        "webp",
        all_of(clear_at(0.2, 0.5), at(0.9, 0.1, GREEN)),
    ),
    (
        "clear",
        "imageMogr2/format/gif",
        (200, 100),
        "gif",
        all_of(clear_at(0.2, 0.5), at(0.9, 0.1, GREEN)),
    ),
    (
        "clear",
        "imageMogr2/format/jpg",
        (200, 100),
        "jpeg",
        all_of(at(0.2, 0.5, WHITE), at(0.9, 0.1, GREEN)),
    ),
    (
        "clear",
        "imageMogr2/format/bmp",
        (200, 100),
        "bmp",
        all_of(at(0.2, 0.5, WHITE), at(0.9, 0.1, GREEN)),
    ),
    ("jpg", "imageMogr2/interlace/1", (1000, 500), "jpeg", progressive),
    ("jpg", "imageMogr2/interlace/0", (1000, 500), "jpeg", baseline),
    ("turned1", "imageMogr2/strip", (120, 80), "jpeg", no_exif),
    ("turned1", "imageMogr2/quality/50", (120, 80), "jpeg", has_exif),
    ("turned1", "imageMogr2/format/webp", (120, 80), "webp", has_exif),
    ("turned1", "imageMogr2/format/png/strip", (120, 80), "png", no_exif),
    # quality
    ("jpg", "imageMogr2/quality/50", (1000, 500), "jpeg", all_of(quality(50), smaller)),
    ("jpg60", "imageMogr2/quality/90", (400, 300), "jpeg", quality(60)),
    ("jpg60", "imageMogr2/quality/90!", (400, 300), "jpeg", quality(90)),
    ("jpg60", "imageMogr2/rquality/50", (400, 300), "jpeg", quality(30)),
    ("jpg60", "imageMogr2/lquality/80", (400, 300), "jpeg", quality(80)),
    ("jpg60", "imageMogr2/lquality/40", (400, 300), "jpeg", quality(60)),
    ("jpg60", "imageMogr2/rotate/90", (300, 400), "jpeg", quality(60)),
    ("rich", "imageMogr2/format/jpg/quality/35", (300, 200), "jpeg", quality(35)),
    ("jpg", "imageMogr2/size-limit/10k", (1000, 500), "jpeg", at_most(10 * 1024)),
    ("jpg", "imageMogr2/size-limit/2m", (1000, 500), "jpeg", quality(88)),
    ("rich", "imageMogr2/size-limit/10k", (300, 200), "png", all_of(at_most(10 * 1024), paletted)),
    ("jpg60", "imageMogr2/quality/100!/size-limit/900k!", (400, 300), "jpeg", untouched),
    ("jpg60", "imageMogr2/size-limit/5k!", (400, 300), "jpeg", at_most(5 * 1024)),
    # pictures that move
    (
        "gif",
        "imageMogr2/thumbnail/30x",
        (30, 20),
        "gif",
        all_of(frames(5, 100, 150, 200, 250, 300), bar_moves),
    ),
    ("gif", "imageMogr2/thumbnail/120x", (60, 40), "gif", all_of(frames(5), bar_moves)),
    ("gif", "imageMogr2/thumbnail/90x20!", (60, 20), "gif", frames(5)),
    (
        "gif",
        "imageMogr2/rotate/90",
        (40, 60),
        "gif",
        all_of(frames(5, 100, 150, 200, 250, 300), corners(BLUE, RED, YELLOW, GREEN)),
    ),
    (
        "gif",
        "imageMogr2/crop/30x/gravity/west",
        (30, 40),
        "gif",
        all_of(frames(5), corners(RED, RED, BLUE, BLUE)),
    ),
    (
        "gif",
        "imageMogr2/format/webp",
        (60, 40),
        "webp",
        all_of(frames(5, 100, 150, 200, 250, 300), bar_moves),
    ),
    ("gif", "imageMogr2/format/png", (60, 40), "png", all_of(frames(1), ALL_QUADRANTS)),
    ("gif", "imageMogr2/format/jpg", (60, 40), "jpeg", all_of(frames(1), ALL_QUADRANTS)),
    ("gif", "imageMogr2/grayscale/1", (60, 40), "gif", all_of(frames(5), is_grey)),
    ("gif", "imageView2/2/w/30", (30, 20), "gif", all_of(frames(5), bar_moves)),
    ("gif40", "imageMogr2/cgif/10", (60, 40), "gif", frames(10)),
    ("gif40", "imageMogr2/cgif/1", (60, 40), "gif", frames(30)),
    ("gif40", "imageMogr2/cgif/100", (60, 40), "gif", frames(40)),
    ("gif", "imageMogr2/cgif/2", (60, 40), "gif", frames(2, 250, 750)),
    (
        "blinking",
        "imageMogr2/thumbnail/30x",
        (30, 20),
        "gif",
        all_of(frames(2, 120, 120), clear_at(0.1, 0.5)),
    ),
    (
        "blinking",
        "imageMogr2/format/webp",
        (60, 40),
        "webp",
        all_of(frames(2, 120, 120), clear_at(0.1, 0.5)),
    ),
    (
        "moving_webp",
        "imageMogr2/crop/30x/gravity/west",
        (30, 40),
        "webp",
        all_of(frames(5), corners(RED, RED, BLUE, BLUE)),
    ),
    ("blinking", "imageMogr2/rotate/45", (72, 72), "gif", all_of(frames(2), clear_at(0, 0))),
    (
        "moving_webp",
        "imageMogr2/thumbnail/30x",
        (30, 20),
        "webp",
        all_of(frames(5, 100, 150, 200, 250, 300), bar_moves),
    ),
    (
        "moving_webp",
        "imageMogr2/format/gif",
        (60, 40),
        "gif",
        all_of(frames(5, 100, 150, 200, 250, 300), bar_moves),
    ),
    # unusual pictures
    ("webp", "imageMogr2/rotate/90", (200, 300), "webp", corners(BLUE, RED, YELLOW, GREEN)),
    ("bmp", "imageMogr2/rotate/90", (200, 300), "bmp", corners(BLUE, RED, YELLOW, GREEN)),
    ("cmyk", "imageMogr2/thumbnail/150x", (150, 100), "jpeg", ALL_QUADRANTS),
    ("cmyk", "imageMogr2/format/png", (300, 200), "png", ALL_QUADRANTS),
    ("grey", "imageMogr2/rotate/90", (200, 300), "jpeg", is_grey),
    ("la", "imageMogr2/thumbnail/100x", (100, 50), "png", all_of(is_grey, clear_at(0.2, 0.5))),
    ("bilevel", "imageMogr2/thumbnail/100x", (100, 50), "png", is_grey),
    (
        "deep",
        "imageMogr2/format/png",
        (100, 50),
        "png",
        all_of(at(0, 0.5, BLACK, 4), at(0.5, 0.5, (129,) * 3, 4), at(0.999, 0.5, WHITE, 4)),
    ),
    (
        "hole",
        "imageMogr2/rotate/180",
        (80, 40),
        "png",
        all_of(clear_at(0.9, 0.9), at(0.1, 0.9, GREEN)),
    ),
    # imageView2
    ("jpg", "imageView2/1/w/400/h/400", (400, 400), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageView2/1/w/500/h/400", (500, 400), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageView2/1/w/300", (300, 300), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageView2/1/h/300", (300, 300), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageView2/2/w/400/h/400", (400, 200), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageView2/2/w/500/h/400", (500, 250), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageView2/2/w/200", (200, 100), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageView2/2/h/200", (400, 200), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageView2/3/w/500/h/400", (800, 400), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageView2/3/w/400/h/400", (800, 400), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageView2/3/w/300", (600, 300), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageView2/4/w/400/h/400", (800, 400), "jpeg", ALL_QUADRANTS),
    ("tall", "imageView2/4/w/400/h/100", (200, 400), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageView2/5/w/400/h/300", (400, 300), "jpeg", ALL_QUADRANTS),
    ("tall", "imageView2/5/w/400/h/300", (300, 400), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageView2/0/w/400/h/400", (400, 200), "jpeg", ALL_QUADRANTS),
    ("tall", "imageView2/0/w/400/h/100", (100, 200), "jpeg", ALL_QUADRANTS),
    ("jpg", "imageView2/2/w/200/format/png", (200, 100), "png", ALL_QUADRANTS),
    ("jpg", "imageView2/2/w/200/q/40", (200, 100), "jpeg", quality(40)),
    ("jpg60", "imageView2/2/w/200/rq/50", (200, 150), "jpeg", quality(30)),
    (
        "jpg60",
        "imageView2/2/w/200/lq/70/interlace/1",
        (200, 150),
        "jpeg",
        all_of(quality(70), progressive),
    ),
    # picture watermarks
    ("rich", MARKED, (300, 200), "png", marked_box(262, 182, 298, 198)),
    ("rich", f"{MARKED}/gravity/northwest", (300, 200), "png", marked_box(2, 2, 38, 18)),
    (
        "rich",
        f"{MARKED}/gravity/northwest/dx/100/dy/50",
        (300, 200),
        "png",
        marked_box(102, 52, 138, 68),
    ),
    (
        "rich",
        f"{MARKED}/gravity/southeast/dx/100/dy/50",
        (300, 200),
        "png",
        marked_box(162, 132, 198, 148),
    ),
    (
        "rich",
        f"{MARKED}/gravity/center/dx/100/dy/50",
        (300, 200),
        "png",
        marked_box(132, 92, 168, 108),
    ),
    (
        "rich",
        f"{MARKED}/gravity/north/dx/100/dy/50",
        (300, 200),
        "png",
        marked_box(132, 52, 168, 68),
    ),
    (
        "rich",
        f"{MARKED}/gravity/west/dx/100/dy/50",
        (300, 200),
        "png",
        marked_box(102, 92, 138, 108),
    ),
    (
        "rich",
        f"{MARKED}/gravity/Northeast/dx/10/dy/5",
        (300, 200),
        "png",
        marked_box(252, 7, 288, 23),
    ),
    (
        "clear",
        f"{MARKED}/dissolve/100/gravity/northwest",
        (200, 100),
        "png",
        at(0.1, 0.1, (255, 0, 0), 0),
    ),
    (
        "small",
        f"{MARKED}/dissolve/50/gravity/southeast",
        (100, 60),
        "png",
        at(0.8, 0.8, (242, 110, 15), 12),
    ),
    (
        "rich",
        f"{MARKED}/scatype/1/spcent/500/gravity/northwest",
        (300, 200),
        "png",
        marked_box(7, 7, 143, 68, 3),
    ),
    (
        "rich",
        f"{MARKED}/scatype/2/spcent/500/gravity/northwest",
        (300, 200),
        "png",
        marked_box(10, 10, 190, 90, 4),
    ),
    (
        "small",
        f"{MARKED}/scatype/3/spcent/100/gravity/northwest/dissolve/100",
        (100, 60),
        "png",
        reddish(5, 12),
    ),
    (
        "small",
        f"watermark/1/image/{b64(MARK_URL + '?large')}/gravity/northwest/blogo/1/dissolve/100",
        (100, 60),
        "png",
        all_of(at(0.05, 0.05, RED), at(0.7, 0.9, YELLOW), at(0.95, 0.05, GREEN)),
    ),
    (
        "small",
        f"watermark/1/image/{b64(MARK_URL + '?large')}/blogo/2/dissolve/100",
        (100, 60),
        "png",
        corners(*[RED] * 4),
    ),
    ("rich", f"{MARKED}/batch/1/dissolve/100", (300, 200), "png", reddish(60, 80)),
    ("rich", f"{MARKED}/batch/1/spacing/40/dissolve/100", (300, 200), "png", reddish(10, 28)),
    (
        "rich",
        f"{MARKED}/batch/1/degree/90/dissolve/100/spacing/5",
        (300, 200),
        "png",
        reddish(40, 70),
    ),
    (
        "rich",
        f"watermark/1/image_key/{b64('mark.png')}/gravity/northwest",
        (300, 200),
        "png",
        marked_box(2, 2, 38, 18),
    ),
    ("jpg", f"{MARKED}/gravity/northwest", (1000, 500), "jpeg", marked(0, 0, 0.06, 0.06)),
    (
        "gif",
        f"{MARKED}/dissolve/100",
        (60, 40),
        "gif",
        all_of(frames(5), at(0.7, 0.8, (255, 0, 0))),
    ),
    # text watermarks
    ("rich", HELLO, (300, 200), "png", marked(0.8, 0.9, 0.2, 0.1)),
    ("rich", f"{HELLO}/gravity/northwest", (300, 200), "png", marked(0, 0, 0.2, 0.1)),
    ("rich", f"{HELLO}/gravity/center/fontsize/60", (300, 200), "png", marked(0.2, 0.3, 0.6, 0.4)),
    (
        "rich",
        f"{HELLO}/gravity/center/fontsize/60",
        (300, 200),
        "png",
        marked(0.4, 0.4, 0.2, 0.2, within=False),
    ),
    (
        "rich",
        f"{HELLO}/gravity/northwest/dx/150/dy/100",
        (300, 200),
        "png",
        marked(0.5, 0.5, 0.2, 0.1),
    ),
    (
        "rich",
        f"{HELLO}/fill/{b64('#FF0000')}/fontsize/80/gravity/center/dissolve/100",
        (300, 200),
        "png",
        reddish(3, 30),
    ),
    (
        "rich",
        f"{HELLO}/font/{b64('simhei黑体.ttf')}",
        (300, 200),
        "png",
        marked(0.8, 0.9, 0.2, 0.1),
    ),
    ("rich", f"{HELLO}/batch/1", (300, 200), "png", marked(0.8, 0.9, 0.2, 0.1, within=False)),
    (
        "rich",
        f"{HELLO}/batch/1/degree/45/spacing/30",
        (300, 200),
        "png",
        marked(0.8, 0.9, 0.2, 0.1, within=False),
    ),
    (
        "png",
        f"{HELLO}/shadow/100/fontsize/60/fill/{b64('#FFFFFF')}/gravity/center",
        (300, 200),
        "png",
        lambda outcome: any(near(pixel, BLACK, 30) for pixel in pixels(outcome.first)),
    ),
    (
        "rich",
        f"watermark/2/text/{b64('W' * 200)}/fontsize/50/gravity/northwest",
        (300, 200),
        "png",
        changed,
    ),
    ("small", f"watermark/2/text/{b64('水印')}/fontsize/40", (100, 60), "png", changed),
    (
        "clear",
        f"{HELLO}/gravity/west/fontsize/30",
        (200, 100),
        "png",
        all_of(clear_at(0, 0), changed),
    ),
    ("blinking", f"{HELLO}/gravity/center", (60, 40), "gif", all_of(frames(2, 120, 120), changed)),
    # several keys, several operations
    (
        "jpg",
        "imageMogr2/thumbnail/200x/rotate/90/format/webp/quality/80",
        (100, 200),
        "webp",
        corners(BLUE, RED, YELLOW, GREEN),
    ),
    (
        "jpg",
        "imageMogr2/thumbnail/200x|imageMogr2/rotate/90",
        (100, 200),
        "jpeg",
        corners(BLUE, RED, YELLOW, GREEN),
    ),
    (
        "jpg",
        "imageMogr2/rotate/90/thumbnail/200x",
        (200, 400),
        "jpeg",
        corners(BLUE, RED, YELLOW, GREEN),
    ),
    (
        "jpg",
        f"imageMogr2/thumbnail/200x|{MARKED}/gravity/northwest/dissolve/100",
        (200, 100),
        "jpeg",
        at(0.1, 0.1, (255, 0, 0)),
    ),
    (
        "jpg",
        f"imageMogr2/cut/300x300x0x0/format/png|{HELLO}|imageView2/1/w/50/h/20",
        (50, 20),
        "png",
        at(0.1, 0.1, RED, 90),
    ),
    ("small", "imageMogr2/thumbnail/20000x/ignore-error/1", (100, 60), "png", untouched),
    ("small", "imageView2/3/w/9999/h/9999/ignore-error/1", (100, 60), "png", untouched),
    ("gif", "imageMogr2/iradius/10/ignore-error/1", (60, 40), "gif", all_of(untouched, frames(5))),
    ("png", "imageMogr2", (300, 200), "png", same_pixels),
    ("png", "imageMogr2/rotate/180/", (300, 200), "png", corners(YELLOW, BLUE, GREEN, RED)),
    # imageSlim
    ("jpg", "imageSlim", (1000, 500), "jpeg", all_of(smaller, ALL_QUADRANTS)),
    ("rich", "imageSlim", (300, 200), "png", all_of(smaller, paletted)),
    ("jpg60", "imageSlim|imageMogr2/rotate/180", (400, 300), "jpeg", at_most(60_000)),
    ("gif", "imageSlim", (60, 40), "gif", frames(5)),
]


def label(case: tuple[object, ...]) -> str:
    return f"{case[0]} {case[1]}"


@pytest.mark.parametrize("case", CASES, ids=label)
def test_rule_result_has_documented_size_format_and_pixels(
    case: tuple[str, str, tuple[int, int], str, Check],
) -> None:
    """The size, the format and the pixels are those of the service's documentation."""
    name, rule, size, format_, check = case
    result = apply_rule(rule, source(name), load_object=load_object)
    assert (result.width, result.height) == size
    assert result.format == format_
    outcome = decode_result(result.body, source(name))
    assert outcome.image.size == size
    assert (outcome.image.format or "").lower() == format_
    assert (result.size, result.frames) == (len(result.body), len(outcome.frames))
    assert result.content_type == f"image/{format_}"
    assert check(outcome)


@pytest.mark.parametrize("case", CASES, ids=label)
def test_format_rule_is_the_inverse_of_parse_rule(
    case: tuple[str, str, tuple[int, int], str, Check],
) -> None:
    """Except for base64 padding and a trailing slash."""
    rule = case[1]
    assert parse_rule(format_rule(parse_rule(rule))) == parse_rule(rule)
    assert format_rule(parse_rule(rule)) == rule.replace("=", "").rstrip("/")


# Rules of the official documents and SDK samples: the product, the page, the rule, the size and
# the format.
OFFICIAL_SAMPLES = [
    ("436/50639", "imageView2/format/png", (300, 200), "png"),
    ("436/41068", "imageView2/q/70/format/webp", (300, 200), "webp"),
    ("436/41068", "imageView2/interlace/1/format/jpg", (300, 200), "jpeg"),
    ("436/44884", "imageMogr2/quality/0", (300, 200), "jpeg"),
    ("436/44884", "imageMogr2/quality/0!", (300, 200), "jpeg"),
    ("436/44884", "imageMogr2/rquality/0/format/webp", (300, 200), "webp"),
    ("436/44880", "imageMogr2/thumbnail/!50p", (150, 100), "jpeg"),
    ("436/44880", "imageMogr2/thumbnail/100x100>/format/png", (100, 67), "png"),
    ("436/44881", "imageMogr2/iradius/50|imageMogr2/format/png", (100, 100), "png"),
    ("436/44886", "imageMogr2/format/png/interlace/1", (300, 200), "png"),
    ("436/44890", "|".join(["imageMogr2/flip/vertical"] * 11), (300, 200), "jpeg"),
    ("436/44892", "imageView2/1/w/100/h/100/q/85", (100, 100), "jpeg"),
]


# Samples that the documents show with a photo of their own (here 1200x900): what the sample is for,
# the rule, the size and the format. The names in the comments are those of the pages.
DEER = b64("http://examples-1251000004.picsh.myqcloud.com/shuiyin.jpg")
PHOTO_SAMPLES = [
    # Scaling
    ("both sides", "imageMogr2/thumbnail/!50p", (600, 450), "jpeg"),
    ("width only", "imageMogr2/thumbnail/!50px", (600, 900), "jpeg"),
    ("height only", "imageMogr2/thumbnail/!x70p", (1200, 630), "jpeg"),
    ("to a width", "imageMogr2/thumbnail/640x", (640, 480), "jpeg"),
    ("to a height", "imageMogr2/thumbnail/x480", (640, 480), "jpeg"),
    ("at most", "imageMogr2/thumbnail/300x400", (300, 225), "jpeg"),
    ("at least", "imageMogr2/thumbnail/!300x400r", (533, 400), "jpeg"),
    ("forced", "imageMogr2/thumbnail/300x400!", (300, 400), "jpeg"),
    ("to an area", "imageMogr2/thumbnail/200000@", (516, 387), "jpeg"),
    ("padded", "imageMogr2/thumbnail/300x400/pad/1/color/IzNEM0QzRA", (300, 400), "jpeg"),
    ("or as it is", "imageMogr2/thumbnail/300x400>/ignore-error/1", (300, 225), "jpeg"),
    # Cropping
    ("regular", "imageMogr2/cut/600x600x100x10", (600, 600), "jpeg"),
    ("scaled", "imageMogr2/crop/300x400/gravity/center", (300, 400), "jpeg"),
    ("avatar", "imageMogr2/crop/180x180/gravity/center", (180, 180), "jpeg"),
    ("offset", "imageMogr2/crop/!600x600a20a20/quality/85", (600, 600), "jpeg"),
    ("less width", "imageMogr2/crop/!600x600-20a20/quality/85!", (580, 600), "jpeg"),
    ("less height", "imageMogr2/crop/!600x600a20-20", (600, 580), "jpeg"),
    ("less of both", "imageMogr2/crop/!600x600-30-20", (570, 580), "jpeg"),
    ("inscribed circle", "imageMogr2/iradius/200", (400, 400), "jpeg"),
    ("rounded corners", "imageMogr2/rradius/100", (1200, 900), "jpeg"),
    ("face", "imageMogr2/scrop/100x600", (100, 600), "jpeg"),
    ("face, or else", "imageMogr2/scrop/300x400/crop/300x400", (300, 400), "jpeg"),
    # Rotation, format conversion, quality, Gaussian blur, sharpening, colours
    ("turned", "imageMogr2/rotate/90", (900, 1200), "jpeg"),
    ("upright", "imageMogr2/auto-orient", (1200, 900), "jpeg"),
    ("to PNG", "imageMogr2/format/png", (1200, 900), "png"),
    ("progressive", "imageMogr2/format/jpg/interlace/1", (1200, 900), "jpeg"),
    ("light GIF", "imageMogr2/format/gif/cgif/5", (1200, 900), "gif"),
    ("relative quality", "imageMogr2/thumbnail/!50p/rquality/60", (600, 450), "jpeg"),
    ("blurred", "imageMogr2/thumbnail/100x/quality/10/blur/20x20", (100, 75), "jpeg"),
    ("sharpened", "imageMogr2/sharpen/70|imageMogr2/bright/70", (1200, 900), "jpeg"),
    ("less contrast", "imageMogr2/contrast/-50/grayscale/1/strip", (1200, 900), "jpeg"),
    ("limited", "imageMogr2/strip/size-limit/15k!", (1200, 900), "jpeg"),
    # Quick thumbnail template
    ("mode 1", "imageView2/1/w/400/h/600/q/85", (400, 600), "jpeg"),
    ("mode 1, exactly", "imageView2/1/w/400/h/600/q/85!", (400, 600), "jpeg"),
    ("mode 2", "imageView2/2/w/400/h/600/q/85", (400, 300), "jpeg"),
    ("mode 3", "imageView2/3/w/400/h/600/format/webp/rq/50/lq/20", (800, 600), "webp"),
    ("mode 4", "imageView2/4/w/400/h/600", (800, 600), "jpeg"),
    ("mode 5", "imageView2/5/w/400/h/600", (400, 600), "jpeg"),
    # Watermarks
    ("picture", f"watermark/1/image/{DEER}/gravity/southeast", (1200, 900), "jpeg"),
    ("by area", f"watermark/1/image/{DEER}/scatype/3/spcent/250", (1200, 900), "jpeg"),
    (
        "tiled text",
        "watermark/2/text/6IW-6K6v5LqRwrfkuIfosaHkvJjlm74/fill/IzNEM0QzRA/fontsize/20/dissolve/50"
        "/gravity/northeast/dx/20/dy/20/batch/1/degree/45",
        (1200, 900),
        "jpeg",
    ),
    # Pipeline operators
    (
        "scaled, then marked",
        "imageMogr2/thumbnail/!50p|watermark/2/text/5pWw5o2u5LiH6LGh/fill/I0ZGRkZGRg==/fontsize/30"
        "/dx/20/dy/20",
        (600, 450),
        "jpeg",
    ),
    (
        "marked with black",
        "imageMogr2/thumbnail/!50p|watermark/2/text/Q0xPVUQgSU1BR0U=/gravity/southeast/fontsize/30"
        "/fill/IzAwMDAwMA==",
        (600, 450),
        "jpeg",
    ),
    (
        "ten pipes",
        "|".join(f"imageMogr2/thumbnail/{side}x" for side in range(1100, 0, -100)),
        (100, 75),
        "jpeg",
    ),
]


@functools.cache
def make_photo() -> bytes:
    return encode(make_textured(1200, 900), "JPEG", quality=90)


@pytest.mark.parametrize("sample", PHOTO_SAMPLES, ids=lambda sample: sample[0])
def test_documented_sample_gives_documented_size(
    sample: tuple[str, str, tuple[int, int], str],
) -> None:
    purpose, rule, size, format_ = sample
    result = apply_rule(rule, make_photo(), load_object=lambda _: load_watermark())
    assert (result.width, result.height, result.format) == (*size, format_), purpose


@pytest.mark.parametrize(("page", "rule", "size", "format_"), OFFICIAL_SAMPLES)
def test_official_sample_is_applied(
    page: str, rule: str, size: tuple[int, int], format_: str
) -> None:
    result = apply_rule(rule, encode(make_textured(300, 200), "JPEG", quality=90))
    assert (result.width, result.height, result.format) == (*size, format_), page


def test_quality_zero_is_the_lowest() -> None:
    picture = encode(make_textured(300, 200), "JPEG", quality=90)
    zero, low = (apply_rule(f"imageMogr2/quality/{number}", picture) for number in ("0", "1"))
    assert zero.body == low.body
    assert zero.size < apply_rule("imageMogr2/quality/20", picture).size


def test_size_limit_ends_with_its_own_layer() -> None:
    """`!` compares the result of its layer with what that layer began with."""
    picture = encode(make_textured(300, 200), "PNG")
    limited = "imageMogr2/format/jpg/size-limit/1k!"
    first = apply_rule(limited, picture)
    result = apply_rule(f"{limited}|imageMogr2/thumbnail/10x10!", picture)
    assert (result.width, result.height, result.format) == (10, 10, first.format)
    # a layer that would be larger passes its own input on
    small = encode(Image.new("1", (8, 8)), "PNG", optimize=True)
    kept = apply_rule("imageMogr2/format/bmp/size-limit/9m!|imageMogr2/rotate/90", small)
    assert (kept.format, kept.width) == ("png", 8)
    # and a limit holds for the layer's picture, not for the final one
    final = apply_rule("imageMogr2/size-limit/4k|imageMogr2/thumbnail/!400p/format/bmp", picture)
    assert (final.width, final.size > 4096) == (1200, True)


# ------------------------------------------------------------------------------------------------
# text of any script


def draw(text: str, **more: str) -> Image.Image:
    rule = f"watermark/2/text/{b64(text)}/fontsize/40/gravity/center/dissolve/100"
    rule += f"/fill/{b64('#FF0000')}" + "".join(f"/{key}/{value}" for key, value in more.items())
    plain = encode(Image.new("RGB", (600, 100), WHITE), "PNG")
    with Image.open(io.BytesIO(apply_rule(rule, plain).body)) as image:
        return image.convert("RGB")


def find_ink(image: Image.Image) -> Image.Image:
    box = ImageChops.difference(image, Image.new("RGB", image.size, WHITE)).getbbox()
    return image.crop(box)


@pytest.mark.parametrize("text", ["数据万象", "日本語", "한국어", "мир", "שלום", "Ω数", "a\n文"])
def test_every_script_is_drawn_with_its_own_glyphs(text: str) -> None:
    """No two letters alike: a font that lacks them would draw equal boxes."""
    names = [letter for letter in dict.fromkeys(text) if not letter.isspace()]
    letters = [find_ink(draw(letter)) for letter in names]
    assert len({(letter.size, letter.tobytes()) for letter in letters}) == len(names)
    whole = find_ink(draw(text))
    assert whole.width >= max(letter.width for letter in letters)


def test_scripts_may_be_mixed_in_one_text() -> None:
    """Each in a font that has it, from left to right; the Latin part as it is alone."""
    mixed = find_ink(draw("Hi 数据"))
    assert mixed.width > find_ink(draw("数据")).width + find_ink(draw("Hi")).width
    assert find_ink(draw("数据", shadow="50")).size > find_ink(draw("数据")).size


def test_combining_marks_and_controls_need_no_glyph_of_their_own() -> None:
    assert find_ink(draw("e\u0301\u200d文\ufe0f")).width > 20


def test_long_text_in_another_script_is_cut_off() -> None:
    """256 huge letters on a small picture take no gigabytes."""
    plain = encode(Image.new("RGB", (60, 40), WHITE), "PNG")
    rule = f"watermark/2/text/{b64('万' * MAX_TEXT_LENGTH)}/fontsize/500"
    result = apply_rule(rule, plain)
    assert (result.width, result.height) == (60, 40)


@pytest.mark.parametrize(
    ("text", "script"),
    [("数据", "CJK"), ("안녕", "HANGUL"), ("ไทย", "THAI"), ("😀", "emoji"), ("a\ue000", "U+E000")],
)
def test_missing_script_is_named(text: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never silent boxes: on a machine without a font the error says which script lacks one."""
    monkeypatch.setattr(fonts, "_iter_faces", lambda _: [fonts.DEFAULT_FACE])
    fonts.find_face.cache_clear()
    try:
        with pytest.raises(RuleError, match="no font on this machine has") as caught:
            draw(text)
    finally:
        fonts.find_face.cache_clear()
    assert script in caught.value.message
    assert "jupyter_mjci[fonts]" in caught.value.message


@pytest.mark.parametrize(("text", "script"), [("مرحبا", "ARABIC"), ("שלום", "HEBREW")])
def test_script_that_needs_shaping_is_named_without_it(
    text: str, script: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Letters of Arabic that stand alone, from left to right, are no text."""
    monkeypatch.setattr(fonts.features, "check", lambda _: False)
    with pytest.raises(RuleError, match=f"{script} letters depend on their neighbours"):
        draw(text)
    assert find_ink(draw("fox")).width > 5


@pytest.mark.parametrize("text", ["สวัสดี", "नमस्ते", "مرحبا", "🦊", "👩‍🚀", "🇨🇳", "வணக்கம்", "ሰላም"])
def test_any_script_is_drawn_or_named(text: str) -> None:
    """Which one it is depends on the fonts of the machine."""
    names = re.compile("THAI|DEVANAGARI|ARABIC|emoji|TAMIL|ETHIOPIC")
    try:
        width = find_ink(draw(text)).width
    except RuleError as error:
        width = 100 if names.search(error.message) else 0
    assert width > 10


def test_fonts_are_found_without_fontconfig(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folders for fonts, or in the package that the extra installs."""
    monkeypatch.setenv("PATH", "")
    fonts.find_face.cache_clear()
    try:
        assert fonts.find_face("数")
        assert fonts._ask_fontconfig("数") == []
    finally:
        fonts.find_face.cache_clear()


# ------------------------------------------------------------------------------------------------
# HEIF


def test_heif_is_read() -> None:
    """As a source and for its information; it is written as another format."""
    buffer = io.BytesIO()
    pillow_heif.from_pillow(make_quadrants(60, 40)).save(buffer, quality=90)
    result = apply_rule("imageMogr2/rotate/90/format/png", buffer.getvalue())
    assert (result.width, result.height, result.format) == (40, 60, "png")
    info = read_image_info(buffer.getvalue())
    assert (info.format, info.width, info.height) == ("heif", 60, 40)


def test_missing_decoder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(codecs.DECODERS, "heif")
    with pytest.raises(RuleError, match=r"install jupyter_mjci\[heif\]"):
        apply_rule("imageMogr2/rotate/90", b"\0\0\0\x18ftypheic" + bytes(100))


def test_case_table_covers_every_key() -> None:
    """At least 120 rules, and every key of every known operation is used by one of them."""
    assert len(CASES) >= 120
    used = {
        (operation.name, key)
        for case in CASES + JSON_CASES
        for operation in parse_rule(case[1])
        for key, _ in operation.parameters
    }
    known = {
        (spec.name, parameter.name) for spec in OPERATIONS.values() for parameter in spec.parameters
    }
    mogr = {
        (name.rpartition("/")[0] if name.startswith("imageMogr2/") else name, key)
        for name, key in known
    }
    modes = {(name, key) for name, key in mogr if name.startswith("imageView2")}
    assert mogr - modes <= used
    assert {key for _, key in modes} <= {key for name, key in used if name.startswith("imageView2")}
    assert {name for name, _ in modes} <= {name for name, _ in used}


# ------------------------------------------------------------------------------------------------
# answers in JSON

JSON_CASES: list[tuple[str, str, dict[str, str]]] = [
    ("jpg", "imageInfo", {"format": "jpeg", "width": "1000", "height": "500", "frame_count": "1"}),
    ("gif", "imageInfo", {"format": "gif", "width": "60", "height": "40", "frame_count": "5"}),
    ("turned6", "imageInfo", {"format": "jpeg", "width": "80", "height": "120"}),
    (
        "jpg",
        "imageMogr2/thumbnail/200x/format/png|imageInfo",
        {"format": "png", "width": "200", "height": "100"},
    ),
    ("png", "imageAve", {"RGB": "0x80784e"}),
    ("clear", "imageAve", {"RGB": "0xc1e98f"}),
    ("png", "imageMogr2/crop/x100/gravity/north|imageAve", {"RGB": "0x7d731e"}),
    ("png", "exif", {"error": "no exif data"}),
    ("turned6", "imageMogr2/strip|exif", {"error": "no exif data"}),
]


@pytest.mark.parametrize("case", JSON_CASES, ids=label)
def test_json_operations_return_string_values(case: tuple[str, str, dict[str, str]]) -> None:
    """imageInfo, imageAve and exif answer with JSON whose values are strings."""
    name, rule, expected = case
    result = apply_rule(rule, source(name))
    assert result.content_type == "application/json"
    assert json.loads(result.body) == result.info
    assert result.quality is None
    assert {key: json.loads(result.body)[key] for key in expected} == expected


def test_image_info_operation_agrees_with_read_image_info() -> None:
    """Both describe the bytes as they were stored."""
    expected = read_image_info(source("jpg"))
    info = apply_rule("imageInfo", source("jpg")).info
    assert info is not None
    assert (info["md5"], info["size"], info["photo_rgb"]) == (
        expected.md5,
        str(expected.size),
        expected.ave,
    )
    assert expected.size == len(source("jpg"))
    assert expected.quality == 88


def test_exif_operation_returns_tags_by_name() -> None:
    """The tags of the picture and of its EXIF block, by name."""
    tags = apply_rule("exif", source("turned6")).info
    assert tags is not None
    assert tags["Orientation"] == {"val": "6"}
    assert tags["Model"] == {"val": "Box"}
    assert tags["ISOSpeedRatings"] == {"val": "200"}


@pytest.mark.parametrize("stored", [1, 10, 25, 50, 60, 75, 88, 95, 100])
def test_jpeg_quality_is_estimated_from_quantization_tables(stored: int) -> None:
    """The estimate is the quality that the encoder was given."""
    assert read_image_info(encode(make_textured(64, 48), "JPEG", quality=stored)).quality == stored


def test_read_image_info_returns_orientation_size_frames_and_quality() -> None:
    """Orientation and size are those of the stored pixels, and animations report their
    frames.
    """
    assert [read_image_info(source(f"turned{n}")).orientation for n in range(1, 9)] == list(
        range(1, 9)
    )
    assert (
        read_image_info(source("turned6")).width,
        read_image_info(source("turned6")).height,
    ) == (80, 120)
    assert [read_image_info(source(name)).frames for name in ("gif", "moving_webp", "png")] == [
        5,
        5,
        1,
    ]
    assert [read_image_info(source(name)).quality for name in ("gif", "webp", "png")] == [
        100,
        100,
        100,
    ]


# ------------------------------------------------------------------------------------------------
# errors

ERRORS: list[tuple[str, str, int, str]] = [
    ("png", "", -60998, "empty"),
    ("png", "imageMagic/rotate/90", -60998, "imageMogr2"),
    ("png", "imageMogr3/rotate/90", -60998, "did you mean imageMogr2"),
    ("png", "imageMogr2/rotat/90", -60998, "did you mean imageMogr2/rotate"),
    ("png", "imageMogr2/rotate", -60998, "imageMogr2/rotate must be an integer from 0 to 360"),
    (
        "png",
        "imageMogr2/rotate/361",
        -60998,
        "imageMogr2/rotate must be an integer from 0 to 360; got '361'",
    ),
    ("png", "imageMogr2/rotate/-1", -60998, "from 0 to 360"),
    ("png", "imageMogr2/rotate/ninety", -60998, "from 0 to 360"),
    ("png", "imageMogr2/rotate/٩٠", -60998, "from 0 to 360"),
    ("png", "imageMogr2/thumbnail/wide", -60998, "imageMogr2/thumbnail must be !<S>p"),
    ("png", "imageMogr2/thumbnail/0x0!", -60998, "start at 1"),
    ("png", "imageMogr2/thumbnail/0x", -60998, "start at 1"),
    ("png", "imageMogr2/thumbnail/!0p", -60998, "start at 1"),
    ("png", "imageMogr2/thumbnail/!50p/pad/1", -60998, "pad goes with thumbnail/<W>x<H>"),
    (
        "png",
        f"imageMogr2/thumbnail/9x9/pad/1/color/{b64('blue')}",
        -60998,
        "imageMogr2/color must be #RRGGBB",
    ),
    ("png", "imageMogr2/thumbnail/9x9/pad/1/color/!!", -60998, "imageMogr2/color must be #RRGGBB"),
    ("png", "imageMogr2/thumbnail/10000x", -441, "a side may have 9999"),
    ("png", "imageMogr2/thumbnail/x10000", -441, "a side may have 9999"),
    ("tall", "imageMogr2/thumbnail/x10000", -442, "a side may have 9999"),
    ("png", "imageMogr2/cut/10x10", -60998, "imageMogr2/cut must be <W>x<H>x<dx>x<dy>"),
    ("png", "imageMogr2/cut/10x10x300x0", -60998, "lies outside of the picture of 300x200"),
    ("png", "imageMogr2/cut/0x10x0x0", -60998, "imageMogr2/cut"),
    (
        "png",
        "imageMogr2/crop/!0x10a0a600/gravity/southwest",
        -60998,
        "lies outside of the picture of 300x200",
    ),
    ("png", "imageMogr2/crop/10", -60998, "imageMogr2/crop must be"),
    ("png", "imageMogr2/crop/0x0", -60998, "imageMogr2/crop"),
    (
        "png",
        "imageMogr2/crop/10x/gravity/middle",
        -60998,
        "imageMogr2/gravity must be one of northwest",
    ),
    ("png", "imageMogr2/gravity/center", -60998, "imageMogr2/gravity has no effect without crop"),
    ("png", "imageMogr2/scrop/0x5", -60998, "imageMogr2/scrop"),
    ("png", "imageMogr2/iradius/101", -60998, "at most half the short side (100)"),
    ("png", "imageMogr2/rradius/0", -60998, "imageMogr2/rradius must be an integer from 1"),
    ("gif", "imageMogr2/iradius/10", -60998, "not offered for gif"),
    ("gif", "imageMogr2/rradius/10", -60998, "not offered for gif"),
    (
        "png",
        "imageMogr2/flip/diagonal",
        -60998,
        "imageMogr2/flip must be one of vertical, horizontal",
    ),
    ("png", "imageMogr2/format/heif", -60998, "format/heif can't be written here"),
    ("png", "imageMogr2/format/tpg", -60998, "format/tpg can't be written here"),
    ("png", "imageMogr2/format/docx", -60998, "imageMogr2/format must be one of jpg"),
    ("png", "imageMogr2/quality/00", -60998, "imageMogr2/quality must be 0 to 100"),
    ("png", "imageMogr2/quality/101", -60998, "imageMogr2/quality must be 0 to 100"),
    ("png", "imageView2/w/200", -60998, "imageView2/w"),
    ("png", "|".join(["imageMogr2/flip/vertical"] * 12), -60998, "at most 10 pipes; got 11"),
    (
        "png",
        f"watermark/1/image/{b64(MARK_URL.replace('http', 'https'))}",
        -60998,
        "watermark/1/image must be a http URL (not https)",
    ),
    ("png", "imageMogr2/rquality/x", -60998, "imageMogr2/rquality"),
    ("png", "imageMogr2/lquality/x", -60998, "imageMogr2/lquality"),
    ("png", "imageMogr2/interlace/2", -60998, "imageMogr2/interlace must be one of 0, 1"),
    (
        "png",
        "imageMogr2/blur/51x5",
        -60998,
        "imageMogr2/blur must be <radius 1 to 50>x<sigma above 0>",
    ),
    ("png", "imageMogr2/blur/5x0", -60998, "imageMogr2/blur"),
    ("png", "imageMogr2/sharpen/9", -60998, "imageMogr2/sharpen must be an integer from 10 to 300"),
    (
        "png",
        "imageMogr2/bright/101",
        -60998,
        "imageMogr2/bright must be an integer from -100 to 100",
    ),
    (
        "png",
        "imageMogr2/contrast/-101",
        -60998,
        "imageMogr2/contrast must be an integer from -100 to 100",
    ),
    ("png", "imageMogr2/grayscale/yes", -60998, "imageMogr2/grayscale must be one of 0, 1"),
    ("png", "imageMogr2/cgif/101", -60998, "imageMogr2/cgif must be an integer from 1 to 100"),
    ("png", "imageMogr2/size-limit/12", -60998, "imageMogr2/size-limit must be <n>k or <n>m"),
    ("png", "imageView2", -60998, "imageView2"),
    ("png", "imageView2/6/w/10", -60998, "imageView2/6 is not a known operation"),
    ("png", "imageView2/1", -60998, "imageView2/1 needs w or h"),
    ("png", "imageView2/2", -60998, "imageView2/2 needs w or h"),
    ("png", "imageView2/0/w/10", -60998, "imageView2/0 needs both"),
    ("png", "imageView2/4/h/10", -60998, "imageView2/4 needs both"),
    ("png", "imageView2/1/w/10000", -60998, "imageView2/1/w must be an integer from 1 to 9999"),
    ("png", "watermark", -60998, "watermark"),
    ("png", "watermark/1", -60998, "watermark/1/image is missing"),
    ("png", f"watermark/1/image/{b64('ftp://x')}", -60998, "watermark/1/image must be a http URL"),
    (
        "png",
        f"watermark/1/image/{b64('http://nowhere/x.png')}",
        -60987,
        "there is no picture at http://nowhere",
    ),
    ("png", f"{MARKED}/spcent/100", -60998, "go together"),
    ("png", f"{MARKED}/scatype/3/spcent/251", -60998, "1 to 250 with scatype/3"),
    ("png", "|".join([MARKED] * 11), -60998, "at most 10"),
    (
        "png",
        f"{MARKED}/dissolve/0",
        -60998,
        "watermark/1/dissolve must be an integer from 1 to 100",
    ),
    ("png", f"{MARKED}/blogo/3", -60998, "watermark/1/blogo"),
    ("png", "watermark/2", -60998, "watermark/2/text is missing"),
    ("png", "watermark/2/text/", -60998, "watermark/2/text must be text"),
    (
        "png",
        f"watermark/2/text/{b64('x' * (MAX_TEXT_LENGTH + 1))}",
        -60998,
        f"at most {MAX_TEXT_LENGTH} characters",
    ),
    ("png", f"{HELLO}/degree/361", -60998, "watermark/2/degree"),
    ("png", f"{HELLO}/shadow/101", -60998, "watermark/2/shadow"),
    ("png", "watermark/3/type/1/text/eA", -60998, "blind watermarks are not supported"),
    ("png", "watermark/4/type/1", -60998, "blind watermarks are not supported"),
    (
        "png",
        "imageInfo|imageMogr2/rotate/90",
        -60998,
        "imageInfo answers with JSON and must stand alone or last",
    ),
    ("png", "imageAve|imageInfo", -60998, "imageAve answers with JSON"),
    ("png", "imageInfo/x/1", -60998, "imageInfo/x is not a known key"),
    ("png", "imageMogr2/rotate/90|", -60998, "is not a known operation"),
]


@pytest.mark.parametrize("case", ERRORS, ids=label)
def test_rule_error_names_the_key_and_what_it_accepts(case: tuple[str, str, int, str]) -> None:
    """A rule that can't be applied says which key is wrong and what it accepts, under the service's
    code.
    """
    name, rule, number, message = case
    with pytest.raises(RuleError) as caught:
        apply_rule(rule, source(name), load_object=load_object)
    assert caught.value.number == number
    assert caught.value.code == "InvalidArgument"
    assert message in caught.value.message
    assert str(number) in str(caught.value)


def make_png_header(width: int, height: int) -> bytes:
    """A PNG that claims to be this large."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = b"IDAT" + zlib.compress(b"")
    blocks = (chunk, rows, b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(block) - 4) + block + struct.pack(">I", zlib.crc32(block))
        for block in blocks
    )


def make_webp_header(width: int, height: int) -> bytes:
    body = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + (width - 1).to_bytes(3, "little")
    body += (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def make_gif_bomb(count: int, width: int = 1, height: int = 1) -> bytes:
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, width, height) + b"\0" + b"\x02\x02\x44\x01\0"
    return (
        b"GIF89a"
        + struct.pack("<HH", 1, 1)
        + b"\x80\0\0"
        + b"\0\0\0\xff\xff\xff"
        + frame * count
        + b"\x3b"
    )


def make_growing_gif() -> bytes:
    """A GIF whose second frame enlarges the canvas beyond the limit."""
    return make_gif_bomb(1)[:-1] + make_gif_bomb(1, 30_001, 10)[19:]


PICTURES: list[tuple[str, Callable[[], bytes], int]] = [
    ("nothing", lambda: b"", -62999),
    ("text", lambda: b"hello, this is not an image", -62999),
    ("tiff", lambda: encode(make_quadrants(4, 4), "TIFF"), -62999),
    ("half a JPEG", lambda: source("jpg")[: len(source("jpg")) // 2], -62999),
    ("the start of a PNG", lambda: source("png")[:20], -62999),
    ("half a PNG", lambda: source("rich")[: len(source("rich")) // 2], -62999),
    ("a WebP's header", lambda: source("webp")[:30], -62999),
    ("a JPEG's first bytes", lambda: b"\xff\xd8\xff\xe0", -62999),
    ("PNG of 30001 pixels", lambda: make_png_header(30_001, 10), -60996),
    ("PNG bomb", lambda: make_png_header(20_000, 20_000), -60996),
    ("WebP bomb", lambda: make_webp_header(16_000_000, 200), -60996),
    ("GIF bomb by size", lambda: make_gif_bomb(1, 60_000, 60_000), -60996),
    ("GIF bomb by frames", lambda: make_gif_bomb(301), -60996),
    ("GIF bomb by its second frame", make_growing_gif, -60996),
    ("GIF bomb by both", lambda: make_gif_bomb(299, 1000, 1000), -60996),
    ("33 MB", lambda: source("jpg") + bytes(33 * 1024 * 1024), -60996),
]


@pytest.mark.parametrize(("_name", "make", "number"), PICTURES, ids=[case[0] for case in PICTURES])
@pytest.mark.parametrize("rule", ["imageMogr2/thumbnail/10x", "imageInfo"])
def test_damaged_or_oversized_image_raises_rule_error(
    _name: str, make: Callable[[], bytes], number: int, rule: str
) -> None:
    """Bombs are refused before they are decoded."""
    with pytest.raises(RuleError) as caught:
        apply_rule(rule, make())
    assert caught.value.number == number
    assert caught.value.code == ("EntityTooLarge" if number == -60996 else "InvalidArgument")


def test_ignore_error_returns_oversized_original() -> None:
    """The original is described by its header, without decoding."""
    result = apply_rule("imageMogr2/thumbnail/10x/ignore-error/1", make_png_header(20_000, 20_000))
    assert (result.body, result.width, result.height) == (
        make_png_header(20_000, 20_000),
        20_000,
        20_000,
    )


def test_picture_that_would_fill_the_memory_is_refused() -> None:
    """The service takes it; the error says that the limit is ours."""
    large = make_png_header(7_100, 7_100)
    with pytest.raises(RuleError, match="takes 201 MB of memory here") as caught:
        apply_rule("imageMogr2/crop/10x10", large)
    assert caught.value.number == -60996
    assert "the service takes 250000000 pixels" in caught.value.message


def test_largest_pictures_take_the_memory_that_was_foreseen() -> None:
    """In a process of its own, whose peaks the kernel counts."""
    command = [sys.executable, "-m", "tests.imaging.largest_pictures"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    peaks = {line: int(line.split()[-1]) for line in done.stdout.splitlines()}
    assert len(peaks) == len(largest_pictures.LARGEST) * len(largest_pictures.RULES)
    bound = MAX_DECODED_BYTES / 2**20
    assert [line for line, peak in peaks.items() if not bound / 2 < peak < bound * 1.15] == []


# ------------------------------------------------------------------------------------------------
# metadata


@pytest.mark.parametrize("format_", ["jpg", "png", "webp"])
def test_color_profile_is_kept_unless_stripped(format_: str) -> None:
    """A picture keeps its colour profile from format to format; `strip` takes it out."""
    picture = encode(make_quadrants(30, 20), "JPEG", icc_profile=b"a profile")
    kept = apply_rule(f"imageMogr2/format/{format_}", picture).body
    stripped = apply_rule(f"imageMogr2/format/{format_}/strip", picture).body
    assert decode_result(kept, picture).image.info["icc_profile"] == b"a profile"
    assert "icc_profile" not in decode_result(stripped, picture).image.info


def test_color_profile_of_cmyk_source_is_dropped() -> None:
    """CMYK becomes RGB, so a CMYK profile would be wrong."""
    picture = encode(make_quadrants(30, 20).convert("CMYK"), "JPEG", icc_profile=b"a profile")
    assert (
        "icc_profile"
        not in decode_result(apply_rule("imageMogr2/rotate/90", picture).body, picture).image.info
    )


def test_animated_webp_keeps_exif_and_color_profile() -> None:
    """Pillow reads what the WebP muxer writes."""
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "Box"
    picture = make_animation("WEBP", exif=exif, icc_profile=b"a profile")
    outcome = decode_result(apply_rule("imageMogr2/thumbnail/30x", picture).body, picture)
    assert outcome.image.info["icc_profile"] == b"a profile"
    assert has_exif(outcome)
    assert outcome.image.info["loop"] == 0


@pytest.mark.parametrize(("format_", "loop"), [("gif", 3), ("webp", 3)])
def test_animation_keeps_its_loop_count(format_: str, loop: int) -> None:
    """A GIF that plays three times still does, also as WebP."""
    outcome = decode_result(
        apply_rule(f"imageMogr2/format/{format_}/thumbnail/30x", source("blinking")).body,
        source("blinking"),
    )
    assert outcome.image.info["loop"] == loop


@pytest.mark.parametrize("format_", ["gif", "webp"])
def test_animation_keeps_equal_frames(format_: str) -> None:
    """Pillow's own writers merge a frame that equals the one before it."""
    result = apply_rule(f"imageMogr2/bright/-100/format/{format_}", source("gif"))
    assert result.frames == 5
    assert len(decode_result(result.body, source("gif")).frames) == 5


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_avif_round_trips_where_pillow_supports_it() -> None:
    """AVIF goes both ways."""
    avif = apply_rule("imageMogr2/format/avif/thumbnail/100x", source("clear"))
    assert (avif.format, avif.content_type) == ("avif", "image/avif")
    back = apply_rule("imageMogr2/format/png", avif.body)
    assert (back.width, back.height) == (100, 50)
    assert all_of(clear_at(0.2, 0.5), at(0.9, 0.1, GREEN))(
        decode_result(back.body, source("clear"))
    )


# ------------------------------------------------------------------------------------------------
# reproducibility and values


@pytest.mark.parametrize(
    "rule", ["imageMogr2/rotate/30/format/webp", "imageMogr2/thumbnail/50x", f"{HELLO}/batch/1"]
)
@pytest.mark.parametrize("name", ["rich", "gif", "jpg"])
def test_apply_rule_is_reproducible(name: str, rule: str) -> None:
    """Images of a published notebook must not change from run to run."""
    assert apply_rule(rule, source(name)) == apply_rule(rule, source(name))


def test_parse_rule_returns_decoded_values() -> None:
    """A rule as values: names, ordered parameters, base64 undone, flags without a value."""
    rule = f"imageMogr2/auto-orient/thumbnail/200x|watermark/2/text/{b64('你好')}/dx/5"
    assert parse_rule(rule) == (
        Operation("imageMogr2", (("auto-orient", ""), ("thumbnail", "200x"))),
        Operation("watermark/2", (("text", "你好"), ("dx", "5"))),
    )
    assert format_rule(parse_rule(rule)) == rule.replace("=", "")


@pytest.mark.parametrize("spec", OPERATIONS.values(), ids=lambda spec: spec.name)
def test_every_operation_has_help_and_valid_defaults(spec: OperationSpec) -> None:
    """Panels and documentation are derived from them."""
    assert spec.help
    for parameter in spec.parameters:
        assert parameter.help
        assert parameter.expected
        if parameter.default is not None:
            parameter.parse(parameter.default)
        if parameter.minimum is not None:
            bounds = (parameter.minimum, parameter.maximum)
            assert bounds == tuple(parameter.parse(str(bound)) for bound in bounds)
        for choice in parameter.choices:
            assert parameter.parse(choice.upper()) == choice


# ------------------------------------------------------------------------------------------------
# random input

ODD = st.one_of(st.text(max_size=5), st.integers(-5, 10**7).map(str), st.just(""))
SIDE = st.integers(0, 90).map(str)
FORMS = {
    "thumbnail": [
        "{}x{}!",
        "!{}p",
        "!{}px",
        "!x{}p",
        "{}x",
        "x{}",
        "{}x{}",
        "{}x{}>",
        "{}x{}<",
        "!{}x{}r",
        "{}@",
    ],
    "cut": ["{}x{}x{}x{}"],
    "crop": ["{}x", "x{}", "{}x{}", "!{}x{}a{}a{}", "!x{}a{}a{}"],
    "scrop": ["{}x{}"],
    "blur": ["{}x{}", "{}x{}.5"],
    "size-limit": ["{}k", "{}k!", "{}m"],
    "image": [MARK_URL, MARK_URL + "?large", "http://nowhere/"],
    "image_key": ["mark.png"],
    "text": ["Hi\0\n{}", "水印 {}", " "],
    "font": ["simhei"],
    "color": ["#00ff7f"],
    "fill": ["#00ff7f"],
}


def generate_values(parameter: Parameter) -> st.SearchStrategy[str]:
    """Mostly what the parameter accepts (in sizes that don't take long), sometimes something
    else.
    """
    if parameter.minimum is not None and parameter.maximum is not None:
        good = st.integers(parameter.minimum, min(parameter.maximum, 120)).map(str)
    elif parameter.choices:
        good = st.sampled_from(parameter.choices)
    else:
        shapes = FORMS.get(parameter.name, ["{}", "{}!"])
        good = st.tuples(st.sampled_from(shapes), SIDE, SIDE, SIDE, SIDE).map(
            lambda all: all[0].format(*all[1:])
        )
    wire = good.map(b64) if parameter.encoded else good
    return st.integers(0, 19).flatmap(lambda roll: ODD if roll == 0 else wire)


def generate_pieces(parameter: Parameter) -> st.SearchStrategy[str]:
    if parameter.flag:
        return st.just(parameter.name)
    return generate_values(parameter).map(lambda value: f"{parameter.name}/{value}")


def generate_rules(spec: OperationSpec) -> st.SearchStrategy[str]:
    """The operation with a few of its parameters; what must be there is there."""
    must, may = (
        [spec.name],
        [generate_pieces(parameter) for parameter in spec.parameters if not parameter.required],
    )
    if spec.name.startswith("imageMogr2/"):
        must, may = (
            ["imageMogr2"],
            [
                generate_pieces(parameter)
                for parameter in spec.parameters
                if parameter.name != spec.key
            ],
        )
    first = [
        generate_pieces(parameter)
        for parameter in spec.parameters
        if parameter.required or parameter.name == spec.key
    ]
    optional = st.lists(st.one_of(may), max_size=5) if may else st.just([])
    return st.tuples(*map(st.just, must), *first, optional).map(
        lambda all: "/".join([*all[:-1], *all[-1]])
    )


RULES = st.lists(
    st.sampled_from(list(OPERATIONS.values())).flatmap(generate_rules), min_size=1, max_size=4
).map("|".join)
QUICK = settings(
    max_examples=250, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)


def check_result(rule: str, picture: bytes) -> None:
    """Expect a result that describes its bytes correctly, or a RuleError."""
    try:
        result = apply_rule(rule, picture, load_object=load_object)
    except RuleError:
        return
    assert result.size == len(result.body)
    if result.info is None:
        assert Image.open(io.BytesIO(result.body)).size == (result.width, result.height)


@QUICK
@given(rule=RULES, name=st.sampled_from(["small", "gif", "clear", "turned6", "deep", "hole"]))
def test_random_rule_gives_result_or_rule_error(rule: str, name: str) -> None:
    """Rules made of real keys and odd values never end in another exception."""
    check_result(rule, source(name))


@QUICK
@given(rule=st.text())
def test_random_text_parses_or_raises_rule_error(rule: str) -> None:
    """What can be parsed can be formatted and parsed again."""
    try:
        operations = parse_rule(rule)
    except RuleError:
        return
    assert parse_rule(format_rule(operations)) == operations


@QUICK
@given(
    name=st.sampled_from(
        [
            "small",
            "jpg60",
            "gif",
            "blinking",
            "webp",
            "moving_webp",
            "bmp",
            "turned6",
            "hole",
            "deep",
        ]
    ),
    cut=st.one_of(st.just(1.0), st.floats(0, 1)),
    edits=st.lists(
        st.tuples(st.one_of(st.integers(0, 60), st.integers(0, 2000)), st.integers(0, 255)),
        max_size=6,
    ),
    rule=st.sampled_from(
        ["imageMogr2/auto-orient/thumbnail/20x", "imageInfo", "exif", "imageMogr2/format/webp"]
    ),
)
def test_corrupted_image_gives_result_or_rule_error(
    name: str, cut: float, edits: list[tuple[int, int]], rule: str
) -> None:
    """Truncated and altered pictures never end in another exception."""
    damaged = bytearray(source(name)[: max(4, round(cut * len(source(name))))])
    for offset, value in edits:
        damaged[offset % len(damaged)] = value
    check_result(rule, bytes(damaged))


@QUICK
@given(
    picture=st.binary(max_size=200),
    head=st.sampled_from([b"", b"\xff\xd8\xff", b"GIF89a", b"BM", b"\x89PNG\r\n\x1a\n"]),
)
def test_random_bytes_give_result_or_rule_error(picture: bytes, head: bytes) -> None:
    """Noise behind a picture's first bytes never ends in another exception."""
    check_result("imageMogr2/thumbnail/20x", head + picture)


# ------------------------------------------------------------------------------------------------
# steps


@pytest.mark.parametrize(
    ("rule", "names"),
    [
        ("imageMogr2/rotate/90", ["rotate"]),
        ("imageMogr2/gravity/center/crop/20x20/format/webp", ["crop", "format"]),
        (
            "imageMogr2/thumbnail/!50p|watermark/2/text/aGk/dx/9|imageMogr2/quality/80",
            ["thumbnail", "2", "quality"],
        ),
        ("imageView2/1/w/30/q/85", ["1"]),
    ],
)
def test_join_steps_is_the_inverse_of_split_steps(rule: str, names: list[str]) -> None:
    """Each step comes with its own parameters, and together they make a rule that does the same."""
    steps = split_steps(rule)
    assert [step.name.rpartition("/")[2] for group in steps for step in group] == names
    assert split_steps(join_steps(steps)) == steps
    picture = encode(make_quadrants(40, 60), "PNG")
    assert apply_rule(join_steps(steps), picture) == apply_rule(rule, picture)
