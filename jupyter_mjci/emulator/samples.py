from __future__ import annotations

import io
import math
from collections.abc import Callable
from functools import cache

from PIL import Image, ImageDraw

from jupyter_mjci.emulator.drawing.canvas import Size, center_view
from jupyter_mjci.emulator.drawing.palettes import NAMED_COLORS, mix_colors
from jupyter_mjci.emulator.drawing.scene import Scene
from jupyter_mjci.emulator.image_generator import encode_png, encode_webp


def _draw_scene(prompt: str, seed: int, size: Size) -> Image.Image:
    return Scene(prompt, ((seed, 1.0),), center_view(size[0] / size[1])).draw(size)


def _encode_image(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _draw_deer() -> bytes:
    return _encode_image(
        _draw_scene("a deer in a misty forest --ar 3:2", 11, (1000, 667)), "JPEG", quality=88
    )


def _draw_lighthouse() -> bytes:
    return encode_png(_draw_scene("a lighthouse at dusk --ar 2:3", 5, (640, 960)))


def _draw_banner() -> bytes:
    return encode_webp(_draw_scene("snow pines in winter --ar 3:1", 3, (1200, 400)), 85)


def _draw_portrait() -> bytes:
    """As a camera held upright writes it: the pixels lie on their side, and orientation 6 says
    so.
    """
    exif = Image.Exif()
    tags = {
        0x0112: 6,
        0x010F: "Sandbox",
        0x0110: "Drawn Camera",
        0x0131: "jupyter_mjci",
        0x0132: "2026:01:01 08:00:00",
    }
    exif.update(tags)
    upright = _draw_scene("portrait of a woman at sunrise --ar 3:4", 8, (600, 800))
    return _encode_image(
        upright.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=88, exif=exif.tobytes()
    )


def _draw_spinner() -> bytes:
    """Twelve frames of a dot that runs round."""
    frames = []
    for number in range(12):
        image = Image.new("RGB", (240, 240), NAMED_COLORS["cream"])
        pen = ImageDraw.Draw(image)
        for dot in range(12):
            angle = math.tau * dot / 12
            x, y = 120 + 76 * math.cos(angle), 120 + 76 * math.sin(angle)
            radius = 8 + 12 * ((dot - number) % 12) / 12
            color = mix_colors(
                NAMED_COLORS["cream"], NAMED_COLORS["crimson"], ((dot - number) % 12) / 11
            )
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
        frames.append(image.quantize(64))
    return _encode_image(
        frames[0], "GIF", save_all=True, append_images=frames[1:], duration=80, loop=0
    )


def _draw_logo() -> bytes:
    """A badge on nothing: transparent corners, a half transparent shadow."""
    image = Image.new("RGBA", (1024, 1024))
    pen = ImageDraw.Draw(image)
    pen.ellipse((72, 92, 992, 1012), fill=(0, 0, 0, 60))
    pen.ellipse((52, 52, 972, 972), fill=(*NAMED_COLORS["navy"], 255))
    pen.ellipse((112, 112, 912, 912), fill=(*NAMED_COLORS["cream"], 255))
    for color, points in (
        ("teal", ((200, 700), (440, 330), (620, 610), (720, 480), (830, 700))),
        ("orange", ((330, 700), (440, 530), (560, 700))),
    ):
        pen.polygon(points, fill=(*NAMED_COLORS[color], 255))
    pen.ellipse((610, 250, 750, 390), fill=(*NAMED_COLORS["gold"], 255))
    return _encode_image(
        image.resize((512, 512), Image.Resampling.LANCZOS), "PNG", compress_level=6
    )


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
    """A few drawn pictures of several formats, by object key: the same bytes in every run."""
    return {name: _get_sample(name) for name in SAMPLES}
