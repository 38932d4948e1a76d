"""Generated images: reproducible, and each action does what its button says."""

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
from jupyter_mjci.emulator.drawing.canvas import center_view
from jupyter_mjci.emulator.drawing.palettes import NAMED_COLORS
from jupyter_mjci.emulator.drawing.scene import Scene
from jupyter_mjci.emulator.image_generator import encode_png

FOX = image_generator.imagine("a red fox in the forest --ar 3:2", 42)


def compute_difference(first: Image.Image, second: Image.Image) -> float:
    """Return the mean difference of two images, 0 to 255."""
    stat = ImageStat.Stat(ImageChops.difference(first.convert("RGB"), second.convert("RGB")))
    return sum(stat.mean) / 3


def draw(picture: image_generator.Drawable, width: int = 240) -> Image.Image:
    return picture.draw((width, round(width / image_generator.get_aspect_ratio(picture))))


def test_same_prompt_and_seed_give_same_bytes_in_another_process() -> None:
    """Nothing depends on hash(), the wall clock or a global random state."""
    code = (
        "import hashlib; from jupyter_mjci.emulator import image_generator as g;"
        "image = g.compose_grid(g.imagine('a red fox', 7), 128 * 128);"
        "print(hashlib.sha256(image.tobytes()).hexdigest())"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()
    image = image_generator.compose_grid(image_generator.imagine("a red fox", 7), 128 * 128)
    assert output == hashlib.sha256(image.tobytes()).hexdigest()


def test_cells_of_a_grid_differ() -> None:
    cells = [draw(cell) for cell in FOX]
    assert min(compute_difference(a, b) for a, b in combinations(cells, 2)) > 3


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
def test_ar_parameter_sets_the_aspect_ratio(prompt: str, size: tuple[int, int]) -> None:
    assert image_generator.compose_grid(image_generator.imagine(prompt, 1)).size == size


@pytest.mark.parametrize(
    ("prompt", "lighter", "darker"),
    [("a fox in the snow", "snow", "night"), ("noon over the beach", "beach", "midnight")],
)
def test_words_of_prompt_set_the_brightness(prompt: str, lighter: str, darker: str) -> None:
    bright = ImageStat.Stat(draw(image_generator.imagine(prompt, 3)[0]).convert("L")).mean[0]
    dark = ImageStat.Stat(
        draw(image_generator.imagine(prompt.replace(lighter, darker), 3)[0]).convert("L")
    ).mean[0]
    assert bright > dark + 40


def test_color_word_tints_the_figure() -> None:
    count = {}
    for color in ("red", "blue"):
        image = draw(image_generator.imagine(f"a {color} cat on a hill at noon", 5)[0])
        count[color] = sum(
            number
            for number, value in image.getcolors(100_000) or []
            if value == NAMED_COLORS[color]
        )
    assert min(count.values()) > 500


@pytest.mark.parametrize("figure", figures.FIGURES)
def test_every_figure_is_visible(figure: str) -> None:
    """Its word makes a visible difference."""
    word = next(word for word, name in figures.FIGURE_BY_WORD.items() if name == figure)
    with_figure, without = (
        Scene(prompt, ((9, 1.0),), center_view(1), "noon") for prompt in (word, "nothing")
    )
    changed = (
        ImageChops.difference(draw(with_figure), draw(without))
        .convert("L")
        .point(lambda value: 255 if value > 40 else 0)
    )
    assert 0.01 < ImageStat.Stat(changed).mean[0] / 255 < 0.5


def test_variation_differs_more_with_strength() -> None:
    base = draw(FOX[0])
    differences = [
        sum(
            compute_difference(base, draw(cell))
            for cell in image_generator.vary(FOX[0], 5, strength)
        )
        for strength in (0.0, 0.15, 0.35, 1.0)
    ]
    assert differences[0] == 0
    assert differences == sorted(differences)
    assert differences[1] > 1


def test_upscale_is_drawn_not_enlarged() -> None:
    """Reduced again it is the same; enlarged from the small one it is blurrier."""
    small, large = draw(FOX[0], 240), draw(FOX[0], 960)
    assert compute_difference(large.resize(small.size, Image.Resampling.BOX), small) < 4
    enlarged = small.resize(large.size, Image.Resampling.BICUBIC)

    def sharpness(image: Image.Image) -> float:
        return ImageStat.Stat(
            ImageChops.difference(image, ImageChops.offset(image, 1, 0)).convert("L")
        ).stddev[0]

    assert sharpness(large) > 1.3 * sharpness(enlarged)


@pytest.mark.parametrize("factor", [1.5, 2.0])
def test_zoom_out_keeps_the_image_in_the_middle(factor: float) -> None:
    wide = draw(image_generator.zoom_out(FOX[0], 9, factor)[2], 480)
    inner = draw(FOX[0], round(480 / factor))
    left, top = (wide.width - inner.width) // 2, (wide.height - inner.height) // 2
    border = inner.width // 12
    box = (left + border, top + border, left + inner.width - border, top + inner.height - border)
    assert (
        compute_difference(
            wide.crop(box),
            inner.crop((border, border, inner.width - border, inner.height - border)),
        )
        < 5
    )
    assert image_generator.get_aspect_ratio(
        image_generator.zoom_out(FOX[0], 9, factor)[0]
    ) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("direction", "ratio", "corner"),
    [("left", 2.25, (1, 0)), ("right", 2.25, (0, 0)), ("up", 1.0, (0, 1)), ("down", 1.0, (0, 0))],
)
def test_pan_extends_one_side(direction: str, ratio: float, corner: tuple[int, int]) -> None:
    panned = image_generator.pan(FOX[0], 3, direction)[0]
    assert image_generator.get_aspect_ratio(panned) == pytest.approx(ratio)
    width = 360 if ratio > 2 else 240
    wide, inner = draw(panned, width), draw(FOX[0], 240)
    left, top = corner[0] * (wide.width - inner.width), corner[1] * (wide.height - inner.height)
    middle = (60, 40, 180, 120)
    part = wide.crop((left, top, left + inner.width, top + inner.height))
    assert compute_difference(part.crop(middle), inner.crop(middle)) < 5


def test_make_square_keeps_the_image() -> None:
    square = image_generator.make_square(FOX[0], 3)[0]
    assert image_generator.get_aspect_ratio(square) == 1
    wide, inner = draw(square, 240), draw(FOX[0], 240)
    assert compute_difference(wide.crop((60, 80, 180, 160)), inner.crop((60, 40, 180, 120))) < 5


def test_inpaint_changes_only_the_white_part_of_the_mask() -> None:
    mask = Image.new("L", (30, 20))
    mask.paste(255, (0, 0, 15, 20))
    before, after = (
        draw(FOX[0]),
        draw(image_generator.inpaint(FOX[0], 4, "a castle", encode_png(mask))[0]),
    )
    assert compute_difference(before.crop((124, 0, 240, 160)), after.crop((124, 0, 240, 160))) == 0
    assert compute_difference(before.crop((0, 0, 116, 160)), after.crop((0, 0, 116, 160))) > 2
    assert (
        compute_difference(before, draw(image_generator.inpaint(FOX[0], 4, "a castle", None)[0]))
        > 2
    )


def test_blend_shows_every_image() -> None:
    red, blue = (
        image_generator.load_photo(encode_png(Image.new("RGB", (60, 60), color)))
        for color in ("red", "blue")
    )
    cells = [draw(cell, 60) for cell in image_generator.blend([red, blue], 3, 1.0)]
    for cell in cells:
        r, g, b = ImageStat.Stat(cell).mean
        assert r > 30
        assert b > 30
        assert g < 5
    assert compute_difference(cells[0], cells[1]) > 1


def test_edit_takes_the_colors_of_the_prompt() -> None:
    source = draw(image_generator.imagine("noon", 3)[0])
    for cell in image_generator.edit(
        image_generator.load_photo(encode_png(source)), 3, "midnight", None
    ):
        assert (
            ImageStat.Stat(draw(cell).convert("L")).mean[0]
            < ImageStat.Stat(source.convert("L")).mean[0] - 15
        )


def test_preview_gets_sharper_with_progress() -> None:
    final = image_generator.compose_grid(FOX)
    previews = [
        Image.open(io.BytesIO(image_generator.render_preview(FOX, percent)))
        for percent in (0, 46, 93)
    ]
    differences = [
        compute_difference(final.resize(preview.size, Image.Resampling.BOX), preview)
        for preview in previews
    ]
    assert differences == sorted(differences, reverse=True)
    assert {preview.format for preview in previews} == {"WEBP"}


@pytest.mark.parametrize("loop", [False, True])
def test_video_frames_differ(loop: bool) -> None:
    video = Image.open(io.BytesIO(image_generator.render_video(FOX[0], 1.0, 3, loop=loop)))
    frames = []
    for number in range(video.n_frames):  # type: ignore[attr-defined]
        video.seek(number)
        frames.append(video.convert("RGB"))
    assert len(frames) > 8
    assert compute_difference(frames[0], frames[len(frames) // 2]) > 2
    assert (
        compute_difference(frames[0], frames[-1])
        < compute_difference(frames[0], frames[len(frames) // 2])
    ) is loop


def test_video_can_end_in_another_image() -> None:
    end = image_generator.imagine("midnight --ar 3:2", 1)[0]
    video = Image.open(io.BytesIO(image_generator.render_video(FOX[0], 0.4, 3, end)))
    video.seek(video.n_frames - 1)  # type: ignore[attr-defined]
    assert compute_difference(video.convert("RGB"), end.draw(video.size)) < 8


@pytest.mark.parametrize("body", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + bytes(30), b"text"])
def test_unreadable_upload_is_a_gray_square(body: bytes) -> None:
    assert not image_generator.is_image(body)
    assert image_generator.open_image(body).getpixel((0, 0)) == (128, 128, 128)
