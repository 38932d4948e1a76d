"""A picture is its file's bytes, and shows itself."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path

import pytest
from PIL import Image

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.imaging.films import detect_film_format
from jupyter_mjci.imaging.model import RuleResult
from jupyter_mjci.imaging.picture import (
    Picture,
    ProcessedPicture,
    Provenance,
    is_whole_picture,
    trace_rule,
)

ORIGIN = Provenance("mj", "17", 2, "IMAGINE", "a red fox\x1b[31m in the snow")


def encode(format: str, size: tuple[int, int] = (40, 30), **options: object) -> bytes:
    file = io.BytesIO()
    image = Image.radial_gradient("L").resize(size).convert("RGB")
    image.save(file, format, **options)
    return file.getvalue()


def test_picture_is_its_bytes_with_size_format_and_origin(tmp_path: Path) -> None:
    content = encode("PNG")
    picture = Picture(content, ORIGIN)
    assert picture == content
    assert (picture.format, picture.size) == ("png", (40, 30))
    assert picture.image().size == (40, 30)
    assert picture.array().shape == (30, 40, 3)
    assert picture.save(tmp_path / "a.png").read_bytes() == content


def test_repr_is_one_line_without_the_bytes() -> None:
    for text in (repr(Picture(encode("PNG"), ORIGIN)), str(Picture(encode("PNG"), ORIGIN))):
        assert text.startswith("<png 40×30, ")
        assert text.endswith(": IMAGINE 17[2] a red fox�[31m in the snow>")
    assert repr(Picture(b"abc")) == "<bytes, 3 bytes, sha ba7816bf8f01>"


def test_cell_shows_a_thumbnail_with_alternative_text() -> None:
    data, metadata = Picture(encode("WEBP", (2000, 1000)), ORIGIN)._repr_mimebundle_()
    assert set(data) - {"text/plain"} <= {"image/png", "image/jpeg"}
    (shown,) = metadata.values()
    assert (shown["width"], shown["height"]) == (512, 256)
    assert shown["alt"] == "IMAGINE 17[2] a red fox�[31m in the snow"


def test_content_that_is_no_picture_is_kept_and_described() -> None:
    picture = Picture(b"{}")
    assert (picture.format, picture.size) == ("", (0, 0))
    assert set(picture._repr_mimebundle_()[0]) == {"text/plain"}
    with pytest.raises(ValueError, match="not a picture"):
        picture.image()


def test_copies_keep_the_origin() -> None:
    picture = Picture(encode("PNG"), ORIGIN)
    for other in (copy.copy(picture), copy.deepcopy(picture), pickle.loads(pickle.dumps(picture))):
        assert other == picture
        assert other.provenance == ORIGIN


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "AVIF"])
def test_truncated_file_is_no_whole_picture(format: str) -> None:
    content = encode(format, (200, 200))
    assert is_whole_picture(content)
    assert not is_whole_picture(content[: len(content) // 2])
    assert not detect_film_format(content)


@pytest.mark.parametrize("content", [b"", b"<html></html>", b'{"error": 1}', b"\x89PNG\r\n\x1a\n"])
def test_other_content_is_no_whole_picture(content: bytes) -> None:
    assert not is_whole_picture(content)
    assert not detect_film_format(content)


@pytest.mark.parametrize(
    ("start", "name"),
    [
        (b"\0\0\0\x18ftypmp42", "mp4"),
        (b"\0\0\0\x14ftypqt  ", "mov"),
        (b"\x1aE\xdf\xa3", "webm"),
        (b"RIFF\0\0\0\0AVI ", "avi"),
    ],
)
def test_films_are_recognized_by_their_first_bytes(start: bytes, name: str) -> None:
    assert detect_film_format(start + bytes(100)) == name


def test_slice_is_plain_bytes() -> None:
    assert type(Picture(encode("PNG"), ORIGIN)[:8]) is bytes


def test_processed_picture_keeps_the_result_and_the_origin() -> None:
    result = RuleResult(encode("PNG"), "image/png", "png", 40, 30, 1, None, 1, {"a": 1})
    provenance = trace_rule(Picture(b"", trace_rule(Picture(b"", ORIGIN), "a")), "b")
    picture = pickle.loads(pickle.dumps(ProcessedPicture(result, provenance)))
    assert (picture, picture.body, picture.width) == (result.body, result.body, 40)
    assert (picture.info, picture.quality, picture.frames) == ({"a": 1}, None, 1)
    assert (picture.provenance.job_id, picture.provenance.rule) == ("17", "a|b")
    assert repr(picture).endswith(" | a|b>")


@pytest.mark.parametrize(
    ("name", "format"),
    [("a.png", "png"), ("a.bin", "png"), ("a", "png"), ("a.JPG", "jpeg"), ("a.webp", "webp")],
)
def test_saved_file_has_the_format_of_its_extension(tmp_path: Path, name: str, format: str) -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    file = io.BytesIO()
    image.save(file, "PNG")
    saved = Picture(file.getvalue()).save(tmp_path / "new" / name)
    picture = Picture(saved.read_bytes())
    assert picture.format == format
    if format == "jpeg":  # what is transparent becomes white
        assert picture.array().min() > 250
    assert [path.name for path in saved.parent.iterdir()] == [name]


def test_save_replaces_other_files_only_when_asked(tmp_path: Path) -> None:
    picture = Picture(encode("PNG"))
    mine = tmp_path / "a.png"
    mine.write_text("mine")
    (tmp_path / "link.png").symlink_to(tmp_path / "gone")
    for name in ("a.png", "link.png"):
        with pytest.raises(InvalidRequest, match="is there already"):
            picture.save(tmp_path / name)
    assert mine.read_text() == "mine"
    assert not (tmp_path / "gone").exists()
    picture.save(mine, overwrite=True)
    picture.save(mine)
    assert mine.read_bytes() == picture
    with pytest.raises(InvalidRequest, match="Cannot write"):
        picture.save(mine / "below.png")


def test_picture_is_decoded_upright_and_in_eight_bits() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert Picture(encode("JPEG", (40, 30), exif=exif)).image().size == (30, 40)
    file = io.BytesIO()
    Image.linear_gradient("L").convert("I").point(lambda value: value * 257).convert("I;16").save(
        file, "PNG"
    )
    deep = Picture(file.getvalue()).array()
    assert (deep.dtype, deep.min(), deep.max()) == ("uint8", 0, 255)
    assert 120 < deep.mean() < 135
