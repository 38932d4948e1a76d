"""Bytes as images that a notebook can display and store."""

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
)

JOB = Job("mj", "1712345678901234", "IMAGINE", Status.SUCCEEDED, subject="a  red\nfox")


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Return an image that cannot be compressed."""
    return Image.frombytes(
        mode, (width, height), random.Random(1).randbytes(width * height * len(mode))
    )


def smooth(side: int) -> Image.Image:
    return Image.radial_gradient("L").resize((side, side)).convert("RGB")


def encode(picture: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def frames(format: str) -> bytes:
    pictures = [Image.new("RGB", (40, 20), colour) for colour in ("red", "green", "blue")]
    return encode(pictures[0], format, save_all=True, append_images=pictures[1:])


THUMBNAILS: tuple[tuple[str, bytes, str, tuple[int, int]], ...] = (
    ("big PNG", encode(noise(1024, 768), "PNG"), "image/jpeg", (512, 384)),
    ("small PNG", encode(noise(64, 48), "PNG"), "image/png", (64, 48)),
    ("small JPEG", encode(noise(64, 48), "JPEG"), "image/jpeg", (64, 48)),
    ("WebP", encode(noise(64, 48), "WEBP"), "image/jpeg", (64, 48)),
    ("transparent WebP", encode(noise(64, 48, "RGBA"), "WEBP"), "image/png", (64, 48)),
    ("tall", encode(Image.new("RGB", (10, 4000), "red"), "PNG"), "image/jpeg", (1, 512)),
    ("GIF", frames("GIF"), "image/jpeg", (40, 20)),
    ("moving WebP", frames("WEBP"), "image/jpeg", (40, 20)),
    ("palette", encode(noise(600, 300).quantize(16), "PNG"), "image/jpeg", (512, 256)),
    ("grey", encode(smooth(600).convert("L"), "TIFF"), "image/jpeg", (512, 512)),
    ("CMYK", encode(smooth(600).convert("CMYK"), "JPEG"), "image/jpeg", (512, 512)),
)


@pytest.mark.parametrize(
    ("content", "mime", "size"), [row[1:] for row in THUMBNAILS], ids=[row[0] for row in THUMBNAILS]
)
def test_thumbnail_is_png_or_jpeg_within_limits(
    content: bytes, mime: str, size: tuple[int, int]
) -> None:
    small, mime_type, width, height = make_thumbnail(content)
    shown = Image.open(io.BytesIO(small))
    shown.load()
    assert (mime_type, shown.size) == (mime, (width, height))
    assert Image.MIME[shown.format or ""] == mime
    assert len(small) <= MAX_THUMBNAIL_BYTES
    assert (width, height) == size


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_incompressible_image_is_scaled_down(mode: str) -> None:
    """Transparency is kept."""
    small, mime, width, height = make_thumbnail(encode(noise(512, 512, mode), "PNG"))
    assert len(small) <= MAX_THUMBNAIL_BYTES
    assert 32 <= width == height < 512
    assert mime == {"RGB": "image/jpeg", "RGBA": "image/png"}[mode]


def test_small_png_is_unchanged() -> None:
    content = encode(noise(64, 48), "PNG")
    assert make_thumbnail(content)[0] == content


def test_thumbnail_applies_exif_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encode(noise(800, 400), "JPEG", exif=exif)
    assert make_thumbnail(content)[2:] == (256, 512)


def bomb() -> bytes:
    """Return a PNG whose header declares 20000 × 20000 pixels."""
    header = struct.pack(">IIBBBBB", 20000, 20000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )


NO_PICTURES = (
    b"",
    b"<html>",
    b"\x89PNG\r\n\x1a\n",
    encode(noise(64, 64), "JPEG")[:900],
    bomb(),
    b"GIF89a" + b"\0" * 20,
)


@pytest.mark.parametrize(
    "content", NO_PICTURES, ids=["empty", "page", "stub", "truncated", "bomb", "zeros"]
)
def test_invalid_image_raises_value_error(content: bytes) -> None:
    """Also for decompression bombs, about which Pillow only warns."""
    with pytest.raises(ValueError, match="not an image"):
        make_thumbnail(content)


def test_identify_returns_format_size_and_frames() -> None:
    info = identify(frames("GIF"))
    assert info is not None
    assert (info.format, info.width, info.height, info.frames) == ("gif", 40, 20, 3)
    assert identify(b"nothing") is None


def test_picture_bundle_has_thumbnail_and_caption() -> None:
    content = encode(noise(64, 48), "PNG")
    data, metadata = picture_bundle(JOB, content)
    assert base64.b64decode(data["image/png"]) == content
    assert data["text/plain"] == f"MJ 1712345678901234 64×48 png sha {digest(content)[:12]}"
    assert set(data) == {"image/png", "text/plain"}
    assert metadata == {"image/png": {"width": 64, "height": 48, "alt": "IMAGINE: a red fox"}}


def test_thumbnail_is_deterministic() -> None:
    content = encode(noise(1024, 768), "PNG")
    assert make_thumbnail(content) == make_thumbnail(content)


def test_alt_text_without_subject_names_the_job() -> None:
    assert format_alt_text(Job("ci", "j1", "PicProcess")) == "PicProcess of j1"
