"""The sample objects of an empty bucket."""

from __future__ import annotations

import io

from PIL import Image

from jupyter_mjci.emulator.samples import build_samples


def test_samples_have_documented_formats_and_sizes() -> None:
    """And the frames, orientation and transparency that picture rules are tried on."""
    images = {name: Image.open(io.BytesIO(body)) for name, body in build_samples().items()}
    assert {name: (image.format, image.size) for name, image in images.items()} == {
        "input/deer.jpg": ("JPEG", (1000, 667)),
        "input/lighthouse.png": ("PNG", (640, 960)),
        "input/banner.webp": ("WEBP", (1200, 400)),
        "input/portrait.jpg": ("JPEG", (800, 600)),
        "input/spinner.gif": ("GIF", (240, 240)),
        "input/logo.png": ("PNG", (512, 512)),
    }
    assert images["input/portrait.jpg"].getexif()[0x0112] == 6
    assert images["input/spinner.gif"].n_frames == 12  # type: ignore[attr-defined]
    assert images["input/logo.png"].getpixel((0, 0)) == (0, 0, 0, 0)


def test_build_samples_returns_a_new_dict() -> None:
    samples = build_samples()
    samples.clear()
    assert build_samples()
