"""Captions of images, and shorter prompts."""

from __future__ import annotations

import pytest
from PIL import Image

from jupyter_mjci.emulator.drawing.palettes import NAMED_COLORS
from jupyter_mjci.emulator.midjourney.captions import caption_image, shorten_prompt


@pytest.mark.parametrize(
    ("color", "light"),
    [
        ("navy", "at night"),
        ("red", "at dusk"),
        ("white", "in bright sunlight"),
        ("green", "at dusk"),
    ],
)
def test_captions_name_colors_light_and_shape(color: str, light: str) -> None:
    texts = caption_image(Image.new("RGB", (160, 90), NAMED_COLORS[color]))
    assert len(set(texts)) == 4
    assert all(color in text and text.endswith("--ar 16:9") for text in texts)
    assert light in texts[0]


def test_shorten_prompt_drops_weak_words_first() -> None:
    important, shorter = shorten_prompt("a very big red fox in the snow --ar 3:2")
    assert "~~a~~ ~~very~~" in important
    assert "**" in important
    assert [len(text.replace(",", "").split()) for text in shorter] == [4, 3, 2, 1, 1]
    assert shorten_prompt("a")[1] == ["a"] * 5
