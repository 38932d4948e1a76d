from __future__ import annotations

import math
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from jupyter_mjci.imaging.codecs import load_image
from jupyter_mjci.imaging.geometry import fit_inside, map_frames, position_by_gravity, round_size
from jupyter_mjci.imaging.model import (
    MAX_TEXT_LENGTH,
    UNREADABLE_SOURCE,
    Frame,
    RuleError,
    Size,
    WorkingImage,
    check_output_size,
)
from jupyter_mjci.imaging.registry import (
    choice_parameter,
    color_parameter,
    encoded_parameter,
    gravity_parameter,
    integer_parameter,
    offset_parameters,
    operation,
)

WATERMARK_PARAMETERS = (
    gravity_parameter("southeast"),
    *offset_parameters(),
    integer_parameter("dissolve", 1, 100, "opacity in percent", default="90"),
    choice_parameter("batch", ("0", "1"), "1: all over the picture", default="0"),
    integer_parameter("degree", 0, 360, "turn the mark clockwise, with batch", default="0"),
)


@operation(
    "watermark/1",
    "a picture on the picture",
    encoded_parameter(
        "image",
        "the mark: URL of an object in the same bucket",
        "a http URL",
        pattern="https?://.+",
    ),
    encoded_parameter(
        "image_key", "the mark: key of an object in the same bucket", "an object's key"
    ),
    *WATERMARK_PARAMETERS,
    integer_parameter("spacing", 0, 1_000, "pixels between marks, with batch", default="0"),
    choice_parameter(
        "blogo", ("1", "2"), "a mark larger than the picture is 1: scaled down, 2: cut", default="1"
    ),
    choice_parameter(
        "scatype", ("1", "2", "3"), "size the mark by the picture's 1: width, 2: height, 3: area"
    ),
    integer_parameter("spcent", 1, 1_000, "how much of it, in thousandths (area: at most 250)"),
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
        picture, mark, position_by_gravity(picture.size, mark.size, gravity, dx, dy)
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
    size = round_size(mark[0] * scale, mark[1] * scale)
    check_output_size(size, 1)
    return size


def _limit_watermark(watermark: Frame, base: Size, blogo: str) -> Frame:
    if watermark.size[0] <= base[0] and watermark.size[1] <= base[1]:
        return watermark
    if blogo == "1":
        return watermark.resize(fit_inside(watermark.size, *base), Image.Resampling.LANCZOS)
    return watermark.crop((0, 0, min(watermark.size[0], base[0]), min(watermark.size[1], base[1])))


@operation(
    "watermark/2",
    "text on the picture",
    encoded_parameter(
        "text", f"what to write, at most {MAX_TEXT_LENGTH} characters", required=True
    ),
    encoded_parameter(
        "font",
        "accepted and ignored: there is one font here",
        "a font's name",
        default="tahoma.ttf",
    ),
    integer_parameter("fontsize", 1, 500, "in points", default="13"),
    color_parameter("fill", "its colour", "#3D3D3D"),
    *WATERMARK_PARAMETERS,
    integer_parameter("spacing", 0, 1_000, "pixels between marks, with batch", default="10"),
    integer_parameter("shadow", 0, 100, "opacity of the text's shadow in percent", default="0"),
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
        picture, mark, position_by_gravity(picture.size, mark.size, gravity, dx, dy)
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

    return map_frames(picture, stamp)
