"""Sample objects for an empty bucket: drawn images of several
formats, the same bytes in every run.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import cache
from typing import Any

from PIL import ExifTags, Image, ImageDraw

from jupyter_mjci.emulator.drawing.canvas import Size, center_view
from jupyter_mjci.emulator.drawing.palettes import NAMED_COLORS, mix_colors
from jupyter_mjci.emulator.drawing.scene import Scene
from jupyter_mjci.emulator.image_generator import encode_png, encode_webp


def _draw_scene(prompt: str, seed: int, size: Size) -> Image.Image:
    return Scene(prompt, ((seed, 1.0),), center_view(size[0] / size[1])).draw(size)


def _encode_image(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _draw_deer() -> bytes:
    image = _draw_scene("a deer in a misty forest --ar 3:2", 11, (1000, 667))
    return _encode_image(image, "JPEG", quality=88)


def _draw_lighthouse() -> bytes:
    return encode_png(_draw_scene("a lighthouse at dusk --ar 2:3", 5, (640, 960)))


def _draw_banner() -> bytes:
    return encode_webp(_draw_scene("snow pines in winter --ar 3:1", 3, (1200, 400)), 85)


def _draw_portrait() -> bytes:
    """Draw a photo as from a camera held upright: rotated pixels with EXIF orientation 6."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "Sandbox"
    exif[ExifTags.Base.Model] = "Drawn Camera"
    exif[ExifTags.Base.Software] = "jupyter_mjci"
    exif[ExifTags.Base.DateTime] = "2026:01:01 08:00:00"
    upright = _draw_scene("portrait of a woman at sunrise --ar 3:4", 8, (600, 800))
    rotated = upright.transpose(Image.Transpose.ROTATE_90)
    return _encode_image(rotated, "JPEG", quality=88, exif=exif.tobytes())


def _draw_spinner() -> bytes:
    """Draw an animation of twelve frames: a dot that runs around a circle."""
    frames = [_draw_spinner_frame(number).quantize(64) for number in range(12)]
    return _encode_image(
        frames[0], "GIF", save_all=True, append_images=frames[1:], duration=80, loop=0
    )


def _draw_spinner_frame(number: int) -> Image.Image:
    background = NAMED_COLORS["cream"]
    image = Image.new("RGB", (240, 240), background)
    pen = ImageDraw.Draw(image)
    for dot in range(12):
        angle = math.tau * dot / 12
        x, y = 120 + 76 * math.cos(angle), 120 + 76 * math.sin(angle)
        age = (dot - number) % 12
        radius = 8 + 12 * age / 12
        color = mix_colors(background, NAMED_COLORS["crimson"], age / 11)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    return image


def _draw_logo() -> bytes:
    """Draw a badge with transparent corners and a translucent shadow."""
    image = Image.new("RGBA", (1024, 1024))
    pen = ImageDraw.Draw(image)
    pen.ellipse((72, 92, 992, 1012), fill=(0, 0, 0, 60))
    pen.ellipse((52, 52, 972, 972), fill=(*NAMED_COLORS["navy"], 255))
    pen.ellipse((112, 112, 912, 912), fill=(*NAMED_COLORS["cream"], 255))
    mountains = ((200, 700), (440, 330), (620, 610), (720, 480), (830, 700))
    pen.polygon(mountains, fill=(*NAMED_COLORS["teal"], 255))
    hill = ((330, 700), (440, 530), (560, 700))
    pen.polygon(hill, fill=(*NAMED_COLORS["orange"], 255))
    pen.ellipse((610, 250, 750, 390), fill=(*NAMED_COLORS["gold"], 255))
    reduced = image.resize((512, 512), Image.Resampling.LANCZOS)
    return _encode_image(reduced, "PNG", compress_level=6)


SAMPLES: dict[str, Callable[[], bytes]] = {
    "input/deer.jpg": _draw_deer,
    "input/lighthouse.png": _draw_lighthouse,
    "input/banner.webp": _draw_banner,
    "input/portrait.jpg": _draw_portrait,
    "input/spinner.gif": _draw_spinner,
    "input/logo.png": _draw_logo,
}


@cache
def _get_sample(name: str) -> bytes:
    return SAMPLES[name]()


def build_samples() -> dict[str, bytes]:
    """Return the sample images by object key."""
    return {name: _get_sample(name) for name in SAMPLES}
