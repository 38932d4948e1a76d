"""A text is written into a picture's file, and nothing else in it changes."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from jupyter_mjci.imaging.picture import Picture, Provenance
from jupyter_mjci.imaging.picture_metadata import MAX_TEXT, embed_text, extract_text

TEXT = '{"subject": "<狐狸> & \\"\'"}'


def encode(format: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((61, 40), 60).convert(mode).save(file, format, **options)
    return file.getvalue()


def animate(format: str) -> bytes:
    file = io.BytesIO()
    frames = [Image.effect_noise((9, 7), 60) for _ in range(3)]
    frames[0].save(file, format, save_all=True, append_images=frames[1:])
    return file.getvalue()


EXIF = Image.Exif()
EXIF[0x010E] = "a description"
FILES = {
    "PNG": encode("PNG"),
    "PNG, animated": animate("PNG"),
    "JPEG": encode("JPEG"),
    "JPEG, CMYK": encode("JPEG", "CMYK"),
    "JPEG with EXIF": encode("JPEG", exif=EXIF),
    "WebP": encode("WEBP"),
    "WebP, lossless": encode("WEBP", lossless=True),
    "WebP, lossless with transparency": encode("WEBP", "RGBA", lossless=True),
    "WebP with transparency": encode("WEBP", "RGBA"),
    "WebP with EXIF": encode("WEBP", exif=EXIF),
    "WebP, animated": animate("WEBP"),
}


@pytest.mark.parametrize("name", FILES)
def test_text_is_found_again_and_every_frame_is_the_same(name: str) -> None:
    content = FILES[name]
    signed = embed_text(content, TEXT, "a fox")
    assert signed is not None
    assert extract_text(signed) == TEXT
    assert extract_text(content) == ""
    before, after = Image.open(io.BytesIO(content)), Image.open(io.BytesIO(signed))
    assert (after.size, after.mode) == (before.size, before.mode)
    assert dict(after.getexif()) == dict(before.getexif())
    for frame in range(getattr(before, "n_frames", 1)):
        before.seek(frame)
        after.seek(frame)
        assert after.tobytes() == before.tobytes()


def test_other_programs_find_the_description() -> None:
    png = Image.open(io.BytesIO(embed_text(FILES["PNG"], TEXT, "a fox") or b""))
    png.load()
    assert png.info["Description"] == "a fox"
    for name in ("JPEG", "WebP"):
        xmp = Image.open(io.BytesIO(embed_text(FILES[name], TEXT, "a fox") or b"")).info["xmp"]
        assert b"<dc:description>" in xmp
        assert b"a fox" in xmp


def test_where_there_is_no_room_nothing_is_written() -> None:
    assert embed_text(encode("GIF", "L"), TEXT) is None
    assert embed_text(b"text", TEXT) is None
    assert embed_text(FILES["PNG"], "a" * (MAX_TEXT + 1)) is None
    for name in ("JPEG", "WebP"):
        signed = embed_text(FILES[name], TEXT) or b""
        assert embed_text(signed, TEXT) is None  # somebody's XMP


@pytest.mark.parametrize("name", ["PNG", "JPEG", "WebP"])
def test_truncated_file_is_read_without_an_error(name: str) -> None:
    signed = embed_text(FILES[name], TEXT) or b""
    for end in range(0, len(signed), 7):
        assert extract_text(signed[:end]) in (TEXT, "") or name == "PNG"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"index": "a"}', '{"subject": 7}', '{"other": 1}', "[" * 10_000]
)
def test_foreign_provenance_is_ignored(tmp_path: Path, text: str) -> None:
    assert Provenance.from_json(text) is None
    (tmp_path / "a.gif").write_bytes(encode("GIF", "L"))
    (tmp_path / "a.gif.json").write_text(text)
    assert Picture.open(tmp_path / "a.gif").provenance == Provenance()


def test_provenance_is_the_same_after_json() -> None:
    provenance = Provenance(
        "mj", "17", 2, "IMAGINE", "a fox", "http://proxy", "imageMogr2/rotate/90"
    )
    assert Provenance.from_json(provenance.to_json()) == provenance
