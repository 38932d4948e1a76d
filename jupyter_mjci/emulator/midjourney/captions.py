from __future__ import annotations

import math
import re

from PIL import Image

from jupyter_mjci.emulator.drawing.palettes import NAMED_COLORS
from jupyter_mjci.emulator.drawing.seeding import hash_to_unit


def find_main_colors(image: Image.Image) -> list[str]:
    """The names of the main colours, the largest first, each once."""
    small = (
        image.convert("RGB")
        .resize((48, 48), Image.Resampling.BOX)
        .quantize(6, Image.Quantize.MEDIANCUT)
    )
    palette = small.getpalette() or []
    names: dict[str, None] = {}
    counts = small.histogram()
    for index in sorted(
        (index for index in range(6) if counts[index]), key=lambda index: -counts[index]
    ):
        r, g, b = palette[index * 3 : index * 3 + 3]
        names[
            min(
                NAMED_COLORS,
                key=lambda name: sum(
                    (x - y) ** 2 for x, y in zip(NAMED_COLORS[name], (r, g, b), strict=True)
                ),
            )
        ] = None
    return list(names)


LIGHT_PHRASES = ("at night", "at dusk", "in soft daylight", "in bright sunlight")


def caption_image(image: Image.Image) -> list[str]:
    """Four descriptions of a picture, made from its colours, light and shape, each ending in its
    --ar.
    """
    names = find_main_colors(image)
    names = (names * 3)[:3] if len(names) < 3 else names
    level = image.convert("L").resize((1, 1), Image.Resampling.BOX).tobytes()[0]
    light = LIGHT_PHRASES[level // 64]
    shape = (
        "a wide landscape"
        if image.width > image.height
        else "a tall view"
        if image.height > image.width
        else "a scene"
    )
    divisor = math.gcd(image.width, image.height)
    ratio = f"--ar {image.width // divisor}:{image.height // divisor}"
    return [
        f"{shape} in {names[0]} and {names[1]}, {light}, flat illustration {ratio}",
        f"minimalist vector art, {names[0]} background with {names[1]} and {names[2]} accents, {light} {ratio}",
        f"{names[1]} shapes over {names[0]}, calm layered composition, screen print {ratio}",
        f"poster of {shape}, {names[0]}, {names[1]} and {names[2]} palette, {light}, clean lines {ratio}",
    ]


STOP_WORD_TEXT = (
    "a an the of in on at by to with and or for from very really so is are was it its this that as into over under "
    "highly beautiful amazing please make me some"
)
STOP_WORDS = frozenset(STOP_WORD_TEXT.split())


def weigh_tokens(prompt: str) -> list[tuple[str, float]]:
    """The words of a prompt and how much each matters, from 0 to 1."""
    words = re.findall(r"[^\s,.;]+", re.sub(r"--\w+(?:\s+[\w:.]+)?", " ", prompt))
    return [
        (
            word,
            0.08
            if word.lower() in STOP_WORDS
            else round(0.35 + 0.65 * hash_to_unit("token", word.lower()), 2),
        )
        for word in words
    ]


def shorten_prompt(prompt: str) -> tuple[str, list[str]]:
    """The important tokens as Markdown, and five shorter prompts, each shorter than the one
    before.
    """
    weighed = weigh_tokens(prompt)
    strong = [word if weight < 0.5 else f"**{word}**" for word, weight in weighed if weight >= 0.2]
    weak = [f"~~{word}~~" for word, weight in weighed if weight < 0.2]
    keep = (
        [word for word, weight in weighed if weight >= 0.2]
        or [word for word, _ in weighed]
        or ["picture"]
    )
    order = sorted(range(len(keep)), key=lambda i: (-dict(weighed).get(keep[i], 0), i))
    shorter = []
    for drop in range(5):
        chosen = sorted(order[: max(1, len(keep) - drop)])
        shorter.append((", " if drop % 2 == 0 else " ").join(keep[i] for i in chosen))
    return " ".join([*strong, *weak]), shorter
