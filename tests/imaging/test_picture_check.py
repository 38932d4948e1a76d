"""What is no picture, damaged or huge is refused with a reason; odd pictures are handled."""

from __future__ import annotations

import io
import struct
import sys
import zlib
from collections.abc import Callable

import pytest
from PIL import Image

from jupyter_mjci.client.image_input import to_data_url
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.imaging import picture_check
from jupyter_mjci.imaging.picture import Picture
from jupyter_mjci.imaging.picture_check import prepare_picture


def encode(
    format: str, mode: str = "RGB", size: tuple[int, int] = (60, 40), **options: object
) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(file, format, **options)
    return file.getvalue()


def animate(format: str, count: int) -> bytes:
    file = io.BytesIO()
    frames = [Image.new("L", (2, 2), number % 256) for number in range(count)]
    frames[0].save(file, format, save_all=True, append_images=frames[1:])
    return file.getvalue()


def claim_pixels(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes whose header claims a size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        crc = struct.pack(">I", zlib.crc32(kind + data))
        chunks.append(struct.pack(">I", len(data)) + kind + data + crc)
    return b"".join(chunks)


def cut(content: bytes) -> bytes:
    return content[: len(content) * 2 // 3]


WRONG: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "is empty"),
    "text": (lambda: b"no picture", "This is text"),
    "bytes": (lambda: bytes(range(256)), "This is something else"),
    "page": (lambda: b"\n<!DOCTYPE html><title>Login</title>", "This is a web page"),
    "JSON": (lambda: b'{"error": 1}', "This is JSON"),
    "XML": (lambda: b"<?xml version='1.0'?><Error/>", "This is XML"),
    "SVG": (lambda: b"<?xml version='1.0'?><svg xmlns='x'></svg>", "This is an SVG drawing"),
    "PDF": (lambda: b"%PDF-1.7\n", "This is a PDF document"),
    "ZIP": (lambda: b"PK\x03\x04abc", "This is a ZIP archive"),
    "film": (lambda: b"\0\0\0\x18ftypmp42" + bytes(99), r"This is a film \(mp4\)"),
    "PNG, truncated": (lambda: cut(encode("PNG")), "This png is damaged or truncated"),
    "JPEG, truncated": (lambda: cut(encode("JPEG")), "This jpeg is damaged or truncated"),
    "WebP, truncated": (lambda: cut(encode("WEBP")), "damaged or truncated|something else"),
    "GIF, truncated": (lambda: cut(encode("GIF")), "This gif is damaged or truncated"),
    "PNG, only its beginning": (lambda: encode("PNG")[:16], "This is something else"),
    "PNG without pixels": (lambda: claim_pixels(9, 9), "This png is damaged or truncated"),
    "PNG of a billion pixels": (lambda: claim_pixels(40_000, 40_000), "too many pixels"),
    "PNG of a hundred million pixels": (lambda: claim_pixels(10_000, 10_000), "too many pixels"),
    "GIF of many frames": (lambda: animate("GIF", 1100), "has 1... frames"),
    "PNG of many frames": (lambda: animate("PNG", 1100), "has 1100 frames"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_picture_is_refused_with_the_reason(name: str) -> None:
    build, message = WRONG[name]
    content = build()
    with pytest.raises(InvalidRequest, match=message) as caught:
        to_data_url(content)
    assert len(str(caught.value)) < 400
    assert len(repr(Picture(content))) < 100


ODD: dict[str, tuple[Callable[[], bytes], str]] = {
    "CMYK": (lambda: encode("JPEG", "CMYK"), "jpeg"),
    "gray of 16 bits": (lambda: encode("PNG", "I;16"), "png"),
    "palette": (lambda: encode("PNG", "P"), "png"),
    "one bit": (lambda: encode("PNG", "1"), "png"),
    "animated GIF": (lambda: animate("GIF", 5), "gif"),
    "animated WebP": (lambda: animate("WEBP", 5), "webp"),
    "BMP": (lambda: encode("BMP"), "png"),
    "TIFF": (lambda: encode("TIFF"), "png"),
    "CMYK TIFF": (lambda: encode("TIFF", "CMYK"), "png"),
    "float TIFF": (lambda: encode("TIFF", "F"), "png"),
    "AVIF": (lambda: encode("AVIF"), "png"),
    "TIFF on its side": (lambda: encode("TIFF", size=(40, 60), tiffinfo={0x0112: 6}), "png"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_picture_is_sent_in_a_format_that_services_take(name: str) -> None:
    """It has a thumbnail, too, and decodes as 8 bits a channel."""
    build, format = ODD[name]
    content = build()
    assert to_data_url(content).startswith(f"data:image/{format};base64,")
    sent = Picture(prepare_picture(content))
    assert (sent == content) is (format == Picture(content).format)
    assert sent.array().dtype == "uint8"
    assert sent.size in ((60, 40), (2, 2))
    assert len(Picture(content)._repr_mimebundle_()[0]) == 2


def test_too_many_bytes_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_check, "MAX_BYTES", 100)
    with pytest.raises(InvalidRequest, match="This picture has 0 MiB; at most"):
        prepare_picture(encode("PNG"))


def test_heic_is_read_with_its_extra_and_refused_without(monkeypatch: pytest.MonkeyPatch) -> None:
    heif = pytest.importorskip("pillow_heif")
    file = io.BytesIO()
    heif.from_pillow(Image.effect_noise((60, 40), 60).convert("RGB")).save(file)
    content = file.getvalue()
    assert Picture(prepare_picture(content)).size == (60, 40)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InvalidRequest, match="This HEIC picture") as caught:
        prepare_picture(content)
    assert "jupyter_mjci[heif]" in str(caught.value)


def test_damaged_metadata_prints_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    content = bytearray(encode("TIFF"))
    content[-40:] = bytes(40)
    Picture(bytes(content))._repr_mimebundle_()
    assert not recwarn.list
