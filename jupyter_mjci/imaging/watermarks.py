"""The watermark operations: an image or a text, at one place or tiled over the whole image."""

from __future__ import annotations

import math
from typing import TypedDict, Unpack

from PIL import Image, ImageDraw, ImageFont

from jupyter_mjci.imaging.codecs import load_image
from jupyter_mjci.imaging.fonts import DEFAULT_FACE, draw_text
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
    OFFSET_PARAMETERS,
    choice_parameter,
    color_parameter,
    encoded_parameter,
    gravity_parameter,
    integer_parameter,
    operation,
    switch_parameter,
)

PLACEMENT_PARAMETERS = (
    gravity_parameter("southeast"),
    *OFFSET_PARAMETERS,
    integer_parameter("dissolve", 1, 100, "opacity in percent", "90"),
    switch_parameter("batch", "1: all over the picture"),
    integer_parameter("degree", 0, 360, "turn the mark clockwise, with batch", "0"),
)
SPACING_HELP = "pixels between marks, with batch"


class Placement(TypedDict):
    """The parameters that both kinds of watermarks share."""

    gravity: str
    dx: int
    dy: int
    dissolve: int
    batch: str
    degree: int
    spacing: int


@operation(
    "watermark/1",
    "a picture on the picture",
    encoded_parameter(
        "image",
        # https://cloud.tencent.com/document/product/436/44888
        "the mark: URL of an object in the same bucket, http only",
        "a http URL (not https)",
        "http://.+",
    ),
    encoded_parameter(
        "image_key", "the mark: key of an object in the same bucket", "an object's key"
    ),
    *PLACEMENT_PARAMETERS,
    integer_parameter("spacing", 0, 1_000, SPACING_HELP, "0"),
    choice_parameter(
        "blogo", ("1", "2"), "a mark larger than the picture is 1: scaled down, 2: cut", "1"
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
    blogo: str,
    scatype: str | None,
    spcent: int | None,
    **placement: Unpack[Placement],
) -> WorkingImage:
    watermark = _load_watermark(picture, image or image_key)
    watermark = _apply_opacity(watermark, placement["dissolve"])
    if scatype or spcent:
        size = _scale_watermark(picture.size, watermark.size, scatype, spcent)
        watermark = watermark.resize(size, Image.Resampling.LANCZOS)
    watermark = _limit_watermark(watermark, picture.size, blogo)
    return _place_watermark(picture, watermark, placement)


def _load_watermark(picture: WorkingImage, url: str | None) -> Frame:
    if not url:
        raise RuleError("watermark/1/image is missing; it must be a http URL, in URL-safe base64")
    content = picture.load_object(url)
    if content is None:
        raise RuleError(f"watermark/1/image: there is no picture at {url[:200]}", UNREADABLE_SOURCE)
    return load_image(content, picture.load_object).frames[0].convert("RGBA")


def _scale_watermark(base: Size, mark: Size, scatype: str | None, spcent: int | None) -> Size:
    """Return the watermark's size as a share of the image's width, height or area."""
    if not scatype or not spcent:
        raise RuleError("watermark/1/scatype and watermark/1/spcent go together")
    if scatype == "3" and spcent > 250:
        raise RuleError("watermark/1/spcent must be an integer from 1 to 250 with scatype/3")
    if scatype == "1":
        scale = base[0] * spcent / 1000 / mark[0]
    elif scatype == "2":
        scale = base[1] * spcent / 1000 / mark[1]
    else:
        scale = math.sqrt(base[0] * base[1] * spcent / 1000 / (mark[0] * mark[1]))
    size = round_size(mark[0] * scale, mark[1] * scale)
    check_output_size(size, 1)
    return size


def _limit_watermark(watermark: Frame, base: Size, blogo: str) -> Frame:
    """Scale (blogo 1) or crop (blogo 2) a watermark that is larger than the image."""
    width, height = watermark.size
    if width <= base[0] and height <= base[1]:
        return watermark
    if blogo == "1":
        return watermark.resize(fit_inside(watermark.size, *base), Image.Resampling.LANCZOS)
    return watermark.crop((0, 0, min(width, base[0]), min(height, base[1])))


@operation(
    "watermark/2",
    "text on the picture",
    encoded_parameter(
        "text", f"what to write, at most {MAX_TEXT_LENGTH} characters", required=True
    ),
    encoded_parameter(
        "font",
        "accepted and ignored: a font that has the characters is found",
        "a font's name",
        default="tahoma.ttf",
    ),
    integer_parameter("fontsize", 1, 500, "in points", "13"),
    color_parameter("fill", "its colour", "#3D3D3D"),
    *PLACEMENT_PARAMETERS,
    integer_parameter("spacing", 0, 1_000, SPACING_HELP, "10"),
    integer_parameter("shadow", 0, 100, "opacity of the text's shadow in percent", "0"),
)
def text_watermark(
    picture: WorkingImage,
    *,
    text: str,
    font: str,  # noqa: ARG001  (see its help)
    fontsize: int,
    fill: str,
    shadow: int,
    **placement: Unpack[Placement],
) -> WorkingImage:
    if len(text) > MAX_TEXT_LENGTH:
        raise RuleError(
            f"watermark/2/text must be at most {MAX_TEXT_LENGTH} characters; got {len(text)}"
        )
    watermark = _render_text(text, fontsize, fill, shadow, picture.size)
    watermark = _apply_opacity(watermark, placement["dissolve"])
    return _place_watermark(picture, watermark, placement)


def _render_letters(text: str, size: int, color: str, max_size: Size) -> Frame:
    """Draw a text on a transparent background, cut off where it exceeds the maximum size."""
    if not DEFAULT_FACE.has_all(text):
        return draw_text(text, size, color, max_size)
    font = ImageFont.load_default(size)
    measuring = ImageDraw.Draw(Image.new("L", (1, 1)))
    left, top, right, bottom = measuring.multiline_textbbox((0, 0), text, font)
    width = max(1, math.ceil(right - left))
    height = max(1, math.ceil(bottom - top))
    alpha = Image.new("L", (min(width, max_size[0]), min(height, max_size[1])), 0)
    ImageDraw.Draw(alpha).multiline_text((-left, -top), text, fill=255, font=font)
    letters = Image.new("RGBA", alpha.size, color)
    letters.putalpha(alpha)
    return letters


def _render_text(text: str, size: int, color: str, shadow: int, max_size: Size) -> Frame:
    """Draw a text on a transparent background, cut off where it exceeds the maximum size.

    Args:
        size: of the font, in points
        shadow: opacity in percent; 0 for none
    """
    letters = _render_letters(text, size, color, max_size)
    if not shadow:
        return letters
    offset = max(1, size // 12)
    width = min(letters.width + offset, max_size[0])
    height = min(letters.height + offset, max_size[1])
    background = Image.new("RGBA", (width, height), "#000000")
    shadow_alpha = Image.new("L", background.size, 0)
    faded = letters.getchannel("A").point(lambda value: value * shadow / 100)
    shadow_alpha.paste(faded, (offset, offset))
    background.putalpha(shadow_alpha)
    background.alpha_composite(letters)
    return background


def _apply_opacity(watermark: Frame, percent: int) -> Frame:
    faded = watermark.copy()
    faded.putalpha(watermark.getchannel("A").point(lambda value: value * percent / 100))
    return faded


def _place_watermark(picture: WorkingImage, watermark: Frame, placement: Placement) -> WorkingImage:
    if placement["batch"] == "1":
        layer = _tile_watermark(picture.size, watermark, placement["degree"], placement["spacing"])
        return _paste_watermark(picture, layer, (0, 0))
    gravity, dx, dy = placement["gravity"], placement["dx"], placement["dy"]
    corner = position_by_gravity(picture.size, watermark.size, gravity, dx, dy)
    return _paste_watermark(picture, watermark, corner)


def _tile_watermark(size: Size, watermark: Frame, degree: int, spacing: int) -> Frame:
    """Repeat the watermark over a layer, from the top left corner.

    A row is composed first and then repeated: otherwise a tiny
    watermark would be pasted millions of times.
    """
    tile = watermark
    if degree % 360:
        tile = watermark.rotate(-degree, Image.Resampling.BICUBIC, expand=True)
    width, height = size
    row = Image.new("RGBA", (width, tile.height))
    for left in range(0, width, tile.width + spacing):
        row.paste(tile, (left, 0))
    layer = Image.new("RGBA", size)
    for top in range(0, height, tile.height + spacing):
        layer.paste(row, (0, top))
    return layer


def _paste_watermark(
    picture: WorkingImage, watermark: Frame, corner: tuple[int, int]
) -> WorkingImage:
    def paste(frame: Frame) -> Frame:
        if frame.mode == "RGB":
            marked = frame.copy()
            marked.paste(watermark, corner, watermark)
            return marked
        layer = Image.new("RGBA", frame.size)
        layer.paste(watermark, corner)
        return Image.alpha_composite(frame, layer)

    return map_frames(picture, paste)
