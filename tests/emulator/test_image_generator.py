"""The imagined pictures: the same for the same words and seed, and each move does what its button
says.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from itertools import combinations

import pytest
from PIL import Image, ImageChops, ImageStat

from jupyter_mjci.emulator import image_generator
from jupyter_mjci.emulator.drawing import figures
from jupyter_mjci.emulator.drawing.palettes import NAMED_COLORS
from jupyter_mjci.emulator.midjourney.captions import caption_image, shorten_prompt
from jupyter_mjci.emulator.samples import build_samples

FOX = image_generator.imagine("a red fox in the forest --ar 3:2", 42)


def gap(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures, 0 to 255."""
    stat = ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB")))
    return sum(stat.mean) / 3


def drawn(picture: image_generator.Drawable, width: int = 240) -> Image.Image:
    return picture.draw((width, round(width / image_generator.get_aspect_ratio(picture))))


def png(image: Image.Image) -> bytes:
    return image_generator.encode_png(image)


def test_the_same_words_and_seed_give_the_same_bytes_in_another_process() -> None:
    """Nothing depends on hash(), the wall clock or a global random state."""
    code = (
        "import hashlib; from jupyter_mjci.emulator import image_generator as p;"
        "print(hashlib.sha256(p.compose_grid(p.imagine('a red fox', 7), 128 * 128).tobytes()).hexdigest())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    here = image_generator.compose_grid(image_generator.imagine("a red fox", 7), 128 * 128)
    assert found == hashlib.sha256(here.tobytes()).hexdigest()


def test_the_four_of_a_grid_differ() -> None:
    cells = [drawn(cell) for cell in FOX]
    assert min(gap(a, b) for a, b in combinations(cells, 2)) > 3


@pytest.mark.parametrize(
    ("prompt", "size"),
    [
        ("fox", (1024, 1024)),
        ("fox --ar 1:1", (1024, 1024)),
        ("fox --ar 3:2", (1248, 832)),
        ("fox --aspect 16:9 --v 7", (1376, 768)),
        ("fox --ar 9:16", (768, 1376)),
        ("fox --ar 100:1", (2304, 448)),
        ("fox --ar 0:1", (1024, 1024)),
    ],
)
def test_ar_sets_the_shape(prompt: str, size: tuple[int, int]) -> None:
    assert image_generator.compose_grid(image_generator.imagine(prompt, 1)).size == size


@pytest.mark.parametrize(
    ("prompt", "lighter", "darker"),
    [("a fox in the snow", "snow", "night"), ("noon over the beach", "beach", "midnight")],
)
def test_the_words_set_the_light(prompt: str, lighter: str, darker: str) -> None:
    bright = ImageStat.Stat(drawn(image_generator.imagine(prompt, 3)[0]).convert("L")).mean[0]
    dark = ImageStat.Stat(
        drawn(image_generator.imagine(prompt.replace(lighter, darker), 3)[0]).convert("L")
    ).mean[0]
    assert bright > dark + 40


def test_a_colour_word_tints_what_the_picture_is_about() -> None:
    count = {}
    for color in ("red", "blue"):
        image = drawn(image_generator.imagine(f"a {color} cat on a hill at noon", 5)[0])
        count[color] = sum(n for n, c in image.getcolors(100_000) or [] if c == NAMED_COLORS[color])
    assert min(count.values()) > 500


@pytest.mark.parametrize("figure", figures.FIGURES)
def test_every_figure_shows(figure: str) -> None:
    """The word makes a visible difference."""
    word = next(word for word, name in figures.FIGURE_BY_WORD.items() if name == figure)
    with_it, without = (
        image_generator.Scene(p, ((9, 1.0),), image_generator.center_view(1), "noon")
        for p in (word, "nothing")
    )
    changed = (
        ImageChops.difference(drawn(with_it), drawn(without))
        .convert("L")
        .point(lambda v: 255 * (v > 40))
    )
    assert 0.01 < ImageStat.Stat(changed).mean[0] / 255 < 0.5


def test_a_variation_is_nearer_than_a_stranger_and_stronger_ones_are_farther() -> None:
    base = drawn(FOX[0])
    gaps = [
        sum(gap(base, drawn(cell)) for cell in image_generator.vary(FOX[0], 5, strength))
        for strength in (0.0, 0.15, 0.35, 1.0)
    ]
    assert gaps[0] == 0
    assert gaps == sorted(gaps)
    assert gaps[1] > 1


def test_a_larger_picture_is_drawn_not_enlarged() -> None:
    """Reduced again it is the same; enlarged from the small one it is blurrier."""
    small, large = drawn(FOX[0], 240), drawn(FOX[0], 960)
    assert gap(large.resize(small.size, Image.Resampling.BOX), small) < 4
    enlarged = small.resize(large.size, Image.Resampling.BICUBIC)

    def sharpness(image: Image.Image) -> float:
        return ImageStat.Stat(
            ImageChops.difference(image, ImageChops.offset(image, 1, 0)).convert("L")
        ).stddev[0]

    assert sharpness(large) > 1.3 * sharpness(enlarged)


@pytest.mark.parametrize("factor", [1.5, 2.0])
def test_zooming_out_keeps_the_picture_in_the_middle(factor: float) -> None:
    wide = drawn(image_generator.zoom_out(FOX[0], 9, factor)[2], 480)
    inner = drawn(FOX[0], round(480 / factor))
    left, top = (wide.width - inner.width) // 2, (wide.height - inner.height) // 2
    border = inner.width // 12
    box = (left + border, top + border, left + inner.width - border, top + inner.height - border)
    assert (
        gap(
            wide.crop(box),
            inner.crop((border, border, inner.width - border, inner.height - border)),
        )
        < 5
    )
    assert image_generator.get_aspect_ratio(
        image_generator.zoom_out(FOX[0], 9, factor)[0]
    ) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("way", "ratio", "corner"),
    [("left", 2.25, (1, 0)), ("right", 2.25, (0, 0)), ("up", 1.0, (0, 1)), ("down", 1.0, (0, 0))],
)
def test_panning_makes_room_on_one_side(way: str, ratio: float, corner: tuple[int, int]) -> None:
    panned = image_generator.pan(FOX[0], 3, way)[0]
    assert image_generator.get_aspect_ratio(panned) == pytest.approx(ratio)
    width = 360 if ratio > 2 else 240
    wide, inner = drawn(panned, width), drawn(FOX[0], 240)
    left, top = corner[0] * (wide.width - inner.width), corner[1] * (wide.height - inner.height)
    middle = (60, 40, 180, 120)
    part = wide.crop((left, top, left + inner.width, top + inner.height))
    assert gap(part.crop(middle), inner.crop(middle)) < 5


def test_making_square_keeps_the_picture() -> None:
    square = image_generator.make_square(FOX[0], 3)[0]
    assert image_generator.get_aspect_ratio(square) == 1
    wide, inner = drawn(square, 240), drawn(FOX[0], 240)
    assert gap(wide.crop((60, 80, 180, 160)), inner.crop((60, 40, 180, 120))) < 5


def test_repainting_changes_the_white_part_only() -> None:
    mask = Image.new("L", (30, 20))
    mask.paste(255, (0, 0, 15, 20))
    before, after = (
        drawn(FOX[0]),
        drawn(image_generator.inpaint(FOX[0], 4, "a castle", png(mask))[0]),
    )
    assert gap(before.crop((124, 0, 240, 160)), after.crop((124, 0, 240, 160))) == 0
    assert gap(before.crop((0, 0, 116, 160)), after.crop((0, 0, 116, 160))) > 2
    assert gap(before, drawn(image_generator.inpaint(FOX[0], 4, "a castle", None)[0])) > 2


def test_a_blend_has_something_of_each() -> None:
    red, blue = (
        image_generator.load_photo(png(Image.new("RGB", (60, 60), color)))
        for color in ("red", "blue")
    )
    cells = [drawn(cell, 60) for cell in image_generator.blend([red, blue], 3, 1.0)]
    for cell in cells:
        r, g, b = ImageStat.Stat(cell).mean
        assert r > 30
        assert b > 30
        assert g < 5
    assert gap(cells[0], cells[1]) > 1


def test_an_edit_takes_the_colours_of_the_words() -> None:
    source = drawn(image_generator.imagine("noon", 3)[0])
    for cell in image_generator.edit(image_generator.load_photo(png(source)), 3, "midnight", None):
        assert (
            ImageStat.Stat(drawn(cell).convert("L")).mean[0]
            < ImageStat.Stat(source.convert("L")).mean[0] - 15
        )


def test_a_preview_gets_clearer() -> None:
    final = image_generator.compose_grid(FOX)
    previews = [
        Image.open(io.BytesIO(image_generator.render_preview(FOX, percent)))
        for percent in (0, 46, 93)
    ]
    gaps = [gap(final.resize(preview.size, Image.Resampling.BOX), preview) for preview in previews]
    assert gaps == sorted(gaps, reverse=True)
    assert {preview.format for preview in previews} == {"WEBP"}


@pytest.mark.parametrize("loop", [False, True])
def test_a_film_moves(loop: bool) -> None:
    film = Image.open(io.BytesIO(image_generator.render_video(FOX[0], 1.0, 3, loop=loop)))
    frames = []
    for number in range(film.n_frames):  # type: ignore[attr-defined]
        film.seek(number)
        frames.append(film.convert("RGB"))
    assert len(frames) > 8
    assert gap(frames[0], frames[len(frames) // 2]) > 2
    assert (gap(frames[0], frames[-1]) < gap(frames[0], frames[len(frames) // 2])) is loop


def test_a_film_can_end_in_another_picture() -> None:
    end = image_generator.imagine("midnight --ar 3:2", 1)[0]
    film = Image.open(io.BytesIO(image_generator.render_video(FOX[0], 0.4, 3, end)))
    film.seek(film.n_frames - 1)  # type: ignore[attr-defined]
    assert gap(film.convert("RGB"), end.draw(film.size)) < 8


@pytest.mark.parametrize(
    ("color", "light"),
    [
        ("navy", "at night"),
        ("red", "at dusk"),
        ("white", "in bright sunlight"),
        ("green", "at dusk"),
    ],
)
def test_captions_name_colours_light_and_shape(color: str, light: str) -> None:
    texts = caption_image(Image.new("RGB", (160, 90), NAMED_COLORS[color]))
    assert len(set(texts)) == 4
    assert all(color in text and text.endswith("--ar 16:9") for text in texts)
    assert light in texts[0]


def test_shortening_drops_the_weak_words_first() -> None:
    important, shorter = shorten_prompt("a very big red fox in the snow --ar 3:2")
    assert "~~a~~ ~~very~~" in important
    assert "**" in important
    assert [len(text.replace(",", "").split()) for text in shorter] == [4, 3, 2, 1, 1]
    assert shorten_prompt("a")[1] == ["a"] * 5


@pytest.mark.parametrize("body", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + bytes(30), b"text"])
def test_what_is_no_picture_is_grey(body: bytes) -> None:
    assert not image_generator.is_image(body)
    assert image_generator.open_image(body).getpixel((0, 0)) == (128, 128, 128)


def test_samples_are_what_their_names_say() -> None:
    """Formats, sizes, frames, orientation and transparency that picture rules can be tried on."""
    found = {name: Image.open(io.BytesIO(body)) for name, body in build_samples().items()}
    assert {name: (image.format, image.size) for name, image in found.items()} == {
        "input/deer.jpg": ("JPEG", (1000, 667)),
        "input/lighthouse.png": ("PNG", (640, 960)),
        "input/banner.webp": ("WEBP", (1200, 400)),
        "input/portrait.jpg": ("JPEG", (800, 600)),
        "input/spinner.gif": ("GIF", (240, 240)),
        "input/logo.png": ("PNG", (512, 512)),
    }
    assert found["input/portrait.jpg"].getexif()[0x0112] == 6
    assert found["input/spinner.gif"].n_frames == 12  # type: ignore[attr-defined]
    assert found["input/logo.png"].getpixel((0, 0)) == (0, 0, 0, 0)


def test_samples_are_the_callers_own() -> None:
    mine = build_samples()
    mine.clear()
    assert build_samples()
