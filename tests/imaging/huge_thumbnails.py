"""Print what a picture of 24 megapixels has decoded, and what its thumbnail takes, in MB.

python -m tests.imaging.huge_thumbnails KIND
"""

from __future__ import annotations

import io
import sys
from typing import Any

from PIL import ExifTags, Image

from jupyter_mjci.imaging.thumbnails import make_thumbnail
from tests.hostile.readers import read_peak, reset_peak

SIZE = (6000, 4000)
PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "color PNG": ("RGB", "PNG", {}),
    "transparent PNG": ("RGBA", "PNG", {}),
    "PNG with a palette and transparency": ("P", "PNG", {"transparency": 3}),
    "black and white PNG": ("1", "PNG", {}),
    "PNG of 16 bits": ("I;16", "PNG", {}),
    "JPEG": ("RGB", "JPEG", {}),
    "progressive JPEG": ("RGB", "JPEG", {"progressive": True}),
    "JPEG for print": ("CMYK", "JPEG", {}),
    "GIF": ("P", "GIF", {}),
}


def make_picture(
    mode: str, format: str, size: tuple[int, int], orientation: int, options: dict[str, Any]
) -> bytes:
    """Draw a smooth picture that looks different upside down and mirrored."""
    shape = Image.linear_gradient("L").rotate(90).resize(size)
    shape.paste(230, (0, 0, size[0] // 3, size[1] // 4))
    image = draw_mode(shape, mode)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = io.BytesIO()
    image.save(file, format, exif=exif, **options)
    return file.getvalue()


def draw_mode(shape: Image.Image, mode: str) -> Image.Image:
    if mode == "I;16":
        # The highest value stands in one strip alone.
        return shape.convert("I").point(lambda value: value * 200 + 0).convert("I;16")
    if mode == "RGBA":
        return Image.merge("RGBA", (shape, shape, shape.rotate(180), shape))
    return shape.convert(mode)


def main(kind: str) -> None:
    mode, format, options = KINDS[kind]
    content = make_picture(mode, format, SIZE, 1, options)
    reset_peak()
    before = read_peak()
    make_thumbnail(content)
    decoded = SIZE[0] * SIZE[1] * PIXEL_BYTES.get(mode, 4) // 2**20
    print(decoded, read_peak() - before)


if __name__ == "__main__":
    main(sys.argv[1])
