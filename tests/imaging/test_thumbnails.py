"""Thumbnails: small PNG or JPEG files of any image, and errors for what is not an image."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.imaging import thumbnails
from jupyter_mjci.imaging.picture_check import prepare_picture
from jupyter_mjci.imaging.thumbnails import (
    MAX_THUMBNAIL_BYTES,
    ImageHeader,
    encode_image,
    identify,
    make_thumbnail,
    split_grid,
)
from tests.imaging import huge_thumbnails


def make_noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """The image that compresses worst."""
    content = random.Random(1).randbytes(width * height * len(mode))
    return Image.frombytes(mode, (width, height), content)


def make_gradient(side: int) -> Image.Image:
    return Image.radial_gradient("L").resize((side, side)).convert("RGB")


def make_animation(format: str) -> bytes:
    frames = [Image.new("RGB", (40, 20), color) for color in ("red", "green", "blue")]
    return encode_image(frames[0], format, save_all=True, append_images=frames[1:])


FORMATS: tuple[tuple[str, bytes, str, tuple[int, int]], ...] = (
    ("big PNG", encode_image(make_noise(1024, 768), "PNG"), "image/jpeg", (512, 384)),
    ("small PNG", encode_image(make_noise(64, 48), "PNG"), "image/png", (64, 48)),
    ("small JPEG", encode_image(make_noise(64, 48), "JPEG"), "image/jpeg", (64, 48)),
    ("WebP", encode_image(make_noise(64, 48), "WEBP"), "image/jpeg", (64, 48)),
    (
        "transparent WebP",
        encode_image(make_noise(64, 48, "RGBA"), "WEBP"),
        "image/png",
        (64, 48),
    ),
    ("tall", encode_image(Image.new("RGB", (10, 4000), "red"), "PNG"), "image/jpeg", (1, 512)),
    ("GIF", make_animation("GIF"), "image/jpeg", (40, 20)),
    ("animated WebP", make_animation("WEBP"), "image/jpeg", (40, 20)),
    (
        "palette",
        encode_image(make_noise(600, 300).quantize(16), "PNG"),
        "image/jpeg",
        (512, 256),
    ),
    ("gray", encode_image(make_gradient(600).convert("L"), "TIFF"), "image/jpeg", (512, 512)),
    ("CMYK", encode_image(make_gradient(600).convert("CMYK"), "JPEG"), "image/jpeg", (512, 512)),
)


@pytest.mark.parametrize(
    ("content", "mime", "size"), [row[1:] for row in FORMATS], ids=[row[0] for row in FORMATS]
)
def test_thumbnail_of_any_format_is_a_small_png_or_jpeg(
    content: bytes, mime: str, size: tuple[int, int]
) -> None:
    """It keeps within the sides and the budget, and reports its true size."""
    thumbnail, reported_mime, width, height = make_thumbnail(content)
    image = Image.open(io.BytesIO(thumbnail))
    image.load()
    assert (reported_mime, image.size) == (mime, (width, height))
    assert Image.MIME[image.format or ""] == mime
    assert len(thumbnail) <= MAX_THUMBNAIL_BYTES
    assert (width, height) == size


@pytest.mark.parametrize(("mode", "mime"), [("RGB", "image/jpeg"), ("RGBA", "image/png")])
def test_thumbnail_of_incompressible_image_shrinks_to_the_byte_budget(mode: str, mime: str) -> None:
    """It becomes smaller instead, and keeps its transparency."""
    content = encode_image(make_noise(512, 512, mode), "PNG")
    thumbnail, reported_mime, width, height = make_thumbnail(content)
    assert len(thumbnail) <= MAX_THUMBNAIL_BYTES
    assert 32 <= width == height < 512
    assert reported_mime == mime


def test_thumbnail_of_small_png_keeps_its_bytes() -> None:
    content = encode_image(make_noise(64, 48), "PNG")
    assert make_thumbnail(content)[0] == content


def test_thumbnail_respects_exif_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encode_image(make_noise(800, 400), "JPEG", exif=exif)
    assert make_thumbnail(content)[2:] == (256, 512)


def make_bomb() -> bytes:
    """A PNG whose header claims 20000 x 20000 pixels."""
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    checksum = struct.pack(">I", zlib.crc32(chunk))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + checksum


NOT_IMAGES = {
    "empty": b"",
    "page": b"<html>",
    "stub": b"\x89PNG\r\n\x1a\n",
    "truncated": encode_image(make_noise(64, 64), "JPEG")[:900],
    "bomb": make_bomb(),
    "zeros": b"GIF89a" + b"\0" * 20,
}


@pytest.mark.parametrize("content", NOT_IMAGES.values(), ids=NOT_IMAGES)
def test_thumbnail_of_damaged_file_raises_value_error(content: bytes) -> None:
    """Decompression bombs too: never a crash or a warning."""
    with pytest.raises(ValueError, match="not an image"):
        make_thumbnail(content)


def test_identify_returns_format_size_and_frames() -> None:
    assert identify(make_animation("GIF")) == ImageHeader("gif", 40, 20, 3)
    assert identify(b"nothing") is None


def test_split_grid_returns_cells_in_the_order_of_u1_to_u4() -> None:
    grid = Image.new("RGB", (20, 10))
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)]
    for index, color in enumerate(colors):
        left, top = index % 2 * 10, index // 2 * 5
        grid.paste(color, (left, top, left + 10, top + 5))
    cells = [Image.open(io.BytesIO(cell)) for cell in split_grid(encode_image(grid, "PNG"))]
    assert [cell.size for cell in cells] == [(10, 5)] * 4
    assert [cell.getpixel((5, 2)) for cell in cells] == colors


def test_thumbnail_of_same_image_is_reproducible() -> None:
    content = encode_image(make_noise(1024, 768), "PNG")
    assert make_thumbnail(content) == make_thumbnail(content)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("kind", huge_thumbnails.KINDS)
def test_thumbnail_of_huge_picture_is_that_of_the_whole(
    kind: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mode, format, options = huge_thumbnails.KINDS[kind]
    content = huge_thumbnails.make_picture(mode, format, (2600, 2000), orientation, options)
    whole = make_thumbnail(content)
    monkeypatch.setattr(thumbnails, "MAX_WHOLE_PIXELS", 1_000_000)
    reduced = make_thumbnail(content)
    assert reduced[1:] == whole[1:]
    first, second = (
        np.asarray(Image.open(io.BytesIO(file)).convert("RGBA"), dtype="int16")
        for file in (whole[0], reduced[0])
    )
    assert np.abs(first - second).mean() < 2


@pytest.mark.parametrize("kind", huge_thumbnails.KINDS)
def test_thumbnail_of_huge_picture_takes_little_more_than_the_decoded(kind: str) -> None:
    command = [sys.executable, "-m", "tests.imaging.huge_thumbnails", kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    decoded, peak = map(int, done.stdout.split())
    assert peak < decoded + 80


def test_webp_that_takes_too_much_memory_is_refused() -> None:
    content = encode_image(Image.new("RGB", (8000, 6000)), "WEBP", method=0)
    with pytest.raises(ValueError, match="8000x6000 exceeds limit"):
        make_thumbnail(content)
    with pytest.raises(InvalidRequest, match="too many pixels"):
        prepare_picture(content)
