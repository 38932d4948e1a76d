"""Bytes as pictures that a notebook can show and keep."""

from __future__ import annotations

import base64
import io
import random
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.notebook.images import (
    MAX_THUMBNAIL_BYTES,
    digest,
    format_alt_text,
    identify,
    make_thumbnail,
    picture_bundle,
    split_grid,
)

JOB = Job("mj", "1712345678901234", "IMAGINE", Status.SUCCEEDED, subject="a  red\nfox")


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """The picture that compresses worst."""
    return Image.frombytes(
        mode, (width, height), random.Random(1).randbytes(width * height * len(mode))
    )


def smooth(side: int) -> Image.Image:
    return Image.radial_gradient("L").resize((side, side)).convert("RGB")


def saved(picture: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def frames(format: str) -> bytes:
    pictures = [Image.new("RGB", (40, 20), colour) for colour in ("red", "green", "blue")]
    return saved(pictures[0], format, save_all=True, append_images=pictures[1:])


SHOWN: tuple[tuple[str, bytes, str, tuple[int, int]], ...] = (
    ("big PNG", saved(noise(1024, 768), "PNG"), "image/jpeg", (512, 384)),
    ("small PNG", saved(noise(64, 48), "PNG"), "image/png", (64, 48)),
    ("small JPEG", saved(noise(64, 48), "JPEG"), "image/jpeg", (64, 48)),
    ("WebP", saved(noise(64, 48), "WEBP"), "image/jpeg", (64, 48)),
    ("transparent WebP", saved(noise(64, 48, "RGBA"), "WEBP"), "image/png", (64, 48)),
    ("tall", saved(Image.new("RGB", (10, 4000), "red"), "PNG"), "image/jpeg", (1, 512)),
    ("GIF", frames("GIF"), "image/jpeg", (40, 20)),
    ("moving WebP", frames("WEBP"), "image/jpeg", (40, 20)),
    ("palette", saved(noise(600, 300).quantize(16), "PNG"), "image/jpeg", (512, 256)),
    ("grey", saved(smooth(600).convert("L"), "TIFF"), "image/jpeg", (512, 512)),
    ("CMYK", saved(smooth(600).convert("CMYK"), "JPEG"), "image/jpeg", (512, 512)),
)


@pytest.mark.parametrize(
    ("content", "mime", "size"), [row[1:] for row in SHOWN], ids=[row[0] for row in SHOWN]
)
def test_a_thumbnail_is_small_and_widely_known(
    content: bytes, mime: str, size: tuple[int, int]
) -> None:
    """Every format becomes PNG or JPEG, within the sides and the budget, and says its true size."""
    small, told, width, height = make_thumbnail(content)
    shown = Image.open(io.BytesIO(small))
    shown.load()
    assert (told, shown.size) == (mime, (width, height))
    assert Image.MIME[shown.format or ""] == mime
    assert len(small) <= MAX_THUMBNAIL_BYTES
    assert (width, height) == size


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_the_budget_goes_before_the_size(mode: str) -> None:
    """A picture that nothing compresses becomes smaller instead, and keeps its transparency."""
    small, mime, width, height = make_thumbnail(saved(noise(512, 512, mode), "PNG"))
    assert len(small) <= MAX_THUMBNAIL_BYTES
    assert 32 <= width == height < 512
    assert mime == {"RGB": "image/jpeg", "RGBA": "image/png"}[mode]


def test_what_needs_no_change_keeps_its_bytes() -> None:
    """A small PNG is shown as the service sent it."""
    content = saved(noise(64, 48), "PNG")
    assert make_thumbnail(content)[0] == content


def test_exif_orientation_is_respected() -> None:
    """A picture taken with a turned camera stands upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    content = saved(noise(800, 400), "JPEG", exif=exif)
    assert make_thumbnail(content)[2:] == (256, 512)


def bomb() -> bytes:
    """A PNG whose header promises 20000 x 20000 pixels."""
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )


NO_PICTURES = (
    b"",
    b"<html>",
    b"\x89PNG\r\n\x1a\n",
    saved(noise(64, 64), "JPEG")[:900],
    bomb(),
    b"GIF89a" + b"\0" * 20,
)


@pytest.mark.parametrize(
    "content", NO_PICTURES, ids=["empty", "page", "stub", "truncated", "bomb", "zeros"]
)
def test_what_is_no_picture_is_said(content: bytes) -> None:
    """Damaged files and decompression bombs are a ValueError, never a crash or a warning."""
    with pytest.raises(ValueError, match="no picture"):
        make_thumbnail(content)


def test_a_look_tells_format_size_and_frames() -> None:
    """And None where there is nothing to see."""
    seen = identify(frames("GIF"))
    assert seen is not None
    assert (seen.format, seen.width, seen.height, seen.frames) == ("gif", 40, 20, 3)
    assert identify(b"nothing") is None


def test_a_grid_is_cut_into_its_pictures() -> None:
    """In the order of U1 to U4."""
    grid = Image.new("RGB", (20, 10))
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (9, 9, 9)]
    for place, colour in enumerate(colours):
        grid.paste(
            colour, (place % 2 * 10, place // 2 * 5, place % 2 * 10 + 10, place // 2 * 5 + 5)
        )
    found = [Image.open(io.BytesIO(one)) for one in split_grid(saved(grid, "PNG"))]
    assert [one.size for one in found] == [(10, 5)] * 4
    assert [one.getpixel((5, 2)) for one in found] == colours


def test_a_bundle_is_one_picture_and_its_caption() -> None:
    """The text is the same for the same bytes: id, size, format and hash, and nothing that
    changes.
    """
    content = saved(noise(64, 48), "PNG")
    data, metadata = picture_bundle(JOB, content)
    assert base64.b64decode(data["image/png"]) == content
    assert data["text/plain"] == f"MJ 1712345678901234 64×48 png sha {digest(content)[:12]}"
    assert set(data) == {"image/png", "text/plain"}
    assert metadata == {"image/png": {"width": 64, "height": 48, "alt": "IMAGINE: a red fox"}}


def test_thumbnails_are_reproducible() -> None:
    """The same picture gives the same bytes."""
    content = saved(noise(1024, 768), "PNG")
    assert make_thumbnail(content) == make_thumbnail(content)


def test_a_picture_without_a_subject_has_an_alt_text() -> None:
    """There is always something to read out."""
    assert format_alt_text(Job("ci", "j1", "PicProcess")) == "PicProcess of j1"
