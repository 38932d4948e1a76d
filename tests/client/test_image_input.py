"""What people have for a picture becomes the bytes of a file, and a data URL."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jupyter_mjci.client.image_input import to_data_url, to_image_bytes
from jupyter_mjci.errors import InvalidRequest


def image(mode: str = "RGB") -> Image.Image:
    return Image.linear_gradient("L").resize((7, 5)).convert(mode)


def saved(format: str = "PNG") -> bytes:
    file = io.BytesIO()
    image().save(file, format)
    return file.getvalue()


class Tensor:
    """Not a numpy array, but convertible to one, as tensors of other libraries are."""

    def __array__(self) -> Any:
        return np.full((3, 4, 3), 9, "uint8")


GREY, COLOUR = (
    np.arange(35, dtype="uint8").reshape(5, 7),
    np.arange(105, dtype="uint8").reshape(5, 7, 3),
)

# what is given -> the picture that arrives, as Pillow reads it
PICTURES: dict[str, tuple[Callable[[], Any], Any]] = {
    "bytes": (saved, image),
    "bytearray": (lambda: bytearray(saved()), image),
    "webp": (lambda: saved("WEBP"), None),
    "data URL": (lambda: "data:image/png;base64," + base64.b64encode(saved()).decode(), image),
    "Pillow": (image, image),
    "Pillow, transparent": (lambda: image("RGBA"), lambda: image("RGBA")),
    "Pillow, palette": (lambda: image("P"), None),
    "Pillow, CMYK": (lambda: image("CMYK"), None),
    "grey array": (lambda: GREY, lambda: Image.fromarray(GREY)),
    "array with one channel": (lambda: GREY[..., None], lambda: Image.fromarray(GREY)),
    "RGB array": (lambda: COLOUR, lambda: Image.fromarray(COLOUR)),
    "RGBA array": (
        lambda: np.dstack([COLOUR, GREY]),
        lambda: Image.fromarray(np.dstack([COLOUR, GREY])),
    ),
    "array seen in a mirror": (
        lambda: COLOUR[:, ::-1],
        lambda: Image.fromarray(COLOUR[:, ::-1].copy()),
    ),
    "array of yes and no": (
        lambda: GREY > 17,
        lambda: Image.fromarray((GREY > 17).astype("uint8") * 255),
    ),
    "tensor": (Tensor, lambda: Image.new("RGB", (4, 3), (9, 9, 9))),
}


@pytest.mark.parametrize("name", PICTURES)
def test_every_input_becomes_the_same_image(name: str) -> None:
    """As a file that Pillow reads, and as a data URL of it."""
    given, expected = PICTURES[name]
    content = to_image_bytes(given())
    read = Image.open(io.BytesIO(content))
    read.load()
    assert expected is None or (read.mode, read.size, read.tobytes()) == (
        expected().mode,
        expected().size,
        expected().tobytes(),
    )
    kind = (read.format or "").lower()
    assert to_data_url(given()) == f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def test_paths_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(saved())
    assert to_image_bytes(tmp_path / "a.png") == to_image_bytes(str(tmp_path / "a.png")) == saved()


def test_urls_are_passed_to_service_and_rejected_as_bytes() -> None:
    """It is sent as it is; where bytes are needed, it is said how to get them."""
    assert to_data_url("https://x.example/a.png") == "https://x.example/a.png"
    with pytest.raises(InvalidRequest, match=r"session\.picture"):
        to_image_bytes("https://x.example/a.png")


WRONG: tuple[tuple[Any, str], ...] = (
    ("/no/such.png", "Cannot read the picture"),
    ("data:image/png;base64,%%%", "This data URL cannot be decoded."),
    (b"GIFT", "This is text, not a PNG, JPEG, GIF or WebP image."),
    (np.zeros((5, 7)), "An array of 5 × 7 (d) is not an image."),
    (np.zeros((5, 7), "float32"), ".astype('uint8')"),
    (np.zeros((5, 7, 5), "uint8"), "An array of 5 × 7 × 5 (B) is not an image."),
    (np.zeros(5, "uint8"), "An array of 5 (B) is not an image."),
    (np.zeros((0, 7), "uint8"), "An array of 0 × 7 (B) is not an image."),
    (7, "Objects of type int cannot be used as an image."),
    (Image.new("F", (3, 3)), "This Image cannot be saved as an image."),
)


@pytest.mark.parametrize(("given", "said"), WRONG)
def test_invalid_images_raise_invalid_request(given: Any, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        to_image_bytes(given)
    assert said in str(caught.value)


def test_importing_api_loads_neither_pillow_nor_numpy() -> None:
    """Neither Pillow nor numpy is needed to send a picture."""
    code = (
        "import sys, jupyter_mjci.services.midjourney.api\n"
        "print({'PIL', 'numpy'} & set(sys.modules))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
        == "set()\n"
    )
