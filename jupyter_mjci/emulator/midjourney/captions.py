"""Captions for images (describe) and shorter prompts (shorten), made from colors and hashes."""

from __future__ import annotations

import math
import re

from PIL import Image

from jupyter_mjci.emulator.drawing.palettes import NAMED_COLORS
from jupyter_mjci.emulator.drawing.seeding import hash_to_unit

LIGHT_PHRASES = ("at night", "at dusk", "in soft daylight", "in bright sunlight")
STOP_WORD_TEXT = (
    "a an the of in on at by to with and or for from very really so is are was it its this that "
    "as into over under highly beautiful amazing please make me some"
)
STOP_WORDS = frozenset(STOP_WORD_TEXT.split())
STOP_WORD_WEIGHT = 0.08
# below the first a word is struck out, from the second on it is
# bold
WEAK, STRONG = 0.2, 0.5


def find_main_colors(image: Image.Image) -> list[str]:
    """Return the names of the main colors, the most frequent first, each once."""
    small = image.convert("RGB").resize((48, 48), Image.Resampling.BOX)
    reduced = small.quantize(6, Image.Quantize.MEDIANCUT)
    palette = reduced.getpalette() or []
    counts = reduced.histogram()
    names: dict[str, None] = {}
    for index in sorted(range(6), key=lambda index: -counts[index]):
        if counts[index]:
            red, green, blue = palette[index * 3 : index * 3 + 3]
            names[_find_color_name(red, green, blue)] = None
    return list(names)


def _find_color_name(red: int, green: int, blue: int) -> str:
    def distance(name: str) -> int:
        other = NAMED_COLORS[name]
        return (other[0] - red) ** 2 + (other[1] - green) ** 2 + (other[2] - blue) ** 2

    return min(NAMED_COLORS, key=distance)


def caption_image(image: Image.Image) -> list[str]:
    """Return four descriptions made from an image's colors, light and shape, each with its --ar."""
    first, second, third = (find_main_colors(image) * 3)[:3]
    level = image.convert("L").resize((1, 1), Image.Resampling.BOX).tobytes()[0]
    light = LIGHT_PHRASES[level // 64]
    shape = "a scene"
    if image.width > image.height:
        shape = "a wide landscape"
    elif image.height > image.width:
        shape = "a tall view"
    divisor = math.gcd(image.width, image.height)
    captions = (
        f"{shape} in {first} and {second}, {light}, flat illustration",
        f"minimalist vector art, {first} background with {second} and {third} accents, {light}",
        f"{second} shapes over {first}, calm layered composition, screen print",
        f"poster of {shape}, {first}, {second} and {third} palette, {light}, clean lines",
    )
    ratio = f"--ar {image.width // divisor}:{image.height // divisor}"
    return [f"{caption} {ratio}" for caption in captions]


def weigh_tokens(prompt: str) -> list[tuple[str, float]]:
    """Return the words of a prompt and how much each matters, from 0 to 1."""
    words = re.findall(r"[^\s,.;]+", re.sub(r"--\w+(?:\s+[\w:.]+)?", " ", prompt))
    return [(word, _weigh_word(word.lower())) for word in words]


def _weigh_word(word: str) -> float:
    if word in STOP_WORDS:
        return STOP_WORD_WEIGHT
    return round(0.35 + 0.65 * hash_to_unit("token", word), 2)


def shorten_prompt(prompt: str) -> tuple[str, list[str]]:
    """Return the important tokens as Markdown, and five prompts,
    each shorter than the one before.
    """
    weighed = weigh_tokens(prompt)
    strong = []
    weak = []
    for word, weight in weighed:
        if weight < WEAK:
            weak.append(f"~~{word}~~")
        elif weight < STRONG:
            strong.append(word)
        else:
            strong.append(f"**{word}**")
    return " ".join(strong + weak), _shorten_stepwise(weighed)


def _shorten_stepwise(weighed: list[tuple[str, float]]) -> list[str]:
    words = [word for word, weight in weighed if weight >= WEAK]
    words = words or [word for word, _ in weighed] or ["picture"]
    weights = dict(weighed)
    by_weight = sorted(range(len(words)), key=lambda index: -weights.get(words[index], 0))
    prompts = []
    for dropped in range(5):
        remaining = sorted(by_weight[: max(1, len(words) - dropped)])
        separator = ", " if dropped % 2 == 0 else " "
        prompts.append(separator.join(words[index] for index in remaining))
    return prompts
