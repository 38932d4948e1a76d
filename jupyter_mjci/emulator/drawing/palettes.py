"""Palettes, moods, and the words of a prompt that choose them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jupyter_mjci.emulator.drawing.seeding import SeededRandom

Color = tuple[int, int, int]

BLACK: Color = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Palette:
    """The colors of a scene, from the top of the sky down to the nearest ground."""

    top: Color
    middle: Color
    horizon: Color
    near: Color
    accent: Color
    light: Color


def parse_rgb(text: str) -> Color:
    """Parse "rrggbb"."""
    red, green, blue = bytes.fromhex(text)
    return red, green, blue


def mix_colors(first: Color, second: Color, ratio: float) -> Color:
    """Return the color between the two; ratio 0 is the first."""
    return (
        round(first[0] + (second[0] - first[0]) * ratio),
        round(first[1] + (second[1] - first[1]) * ratio),
        round(first[2] + (second[2] - first[2]) * ratio),
    )


PALETTES: dict[str, Palette] = {
    name: Palette(*map(parse_rgb, colors.split()))
    for name, colors in {
        # name      top    middle horizon near   accent light
        "ember": "3b2a5a c8553d f9b26b 2a1626 d9481c fff0c9",
        "dawn": "5b7db1 f2a7a0 ffe3bf 2f3b52 e2725b fff6dc",
        "noon": "2f80c8 8cc7ee eaf6f7 2d5a3d e0a030 fffbe6",
        "sea": "1f5f8b 6fb7c8 f3e6c4 0e3a4f e4572e fff7d6",
        "night": "070b24 1b2a5e 5a6ea8 050814 f0c75e f4f1e0",
        "forest": "6fa8a0 b8d8b0 f4f1d0 10302a c2602e fff8d8",
        "desert": "4f86b5 f0c48a ffe6b8 6b3321 b5432a fff4cf",
        "frost": "5a86b8 b7d3e8 f6fbff 27476b c23b4e ffffff",
        "blossom": "8a7fc0 f0a8c6 ffe4e6 4a2b52 d6336c fff5ee",
        "neon": "120a3a 5a1a8a ff4fa3 0a0524 22d3ee ffe1ff",
        "storm": "232d3a 55667a b7c0c6 141a22 c9a227 eef2f3",
    }.items()
}
# Words that suggest a mood. An hour or a weather has precedence
# over a subject.
TIME_MOODS: tuple[tuple[str, str], ...] = (
    ("ember", "sunset dusk evening twilight"),
    ("night", "night moon moonlit dark midnight star starry owl galaxy space astronaut planet"),
    ("storm", "storm stormy rain rainy thunder"),
    ("frost", "snow snowy winter ice arctic frozen frost penguin wolf"),
    ("neon", "neon cyber cyberpunk purple violet robot synthwave future futuristic rocket"),
)
SUBJECT_MOODS: tuple[tuple[str, str], ...] = (
    (
        "sea",
        "sea ocean beach lighthouse boat ship sail island whale wave lake harbour harbor river",
    ),
    ("forest", "forest wood woods jungle green spring meadow garden deer misty bear"),
    ("desert", "desert sand dune canyon camel pyramid golden gold lion"),
    ("blossom", "cherry blossom pink rose flower love kawaii sakura magnolia tree"),
    ("storm", "grey gray fog castle dragon gothic battle knight"),
    ("dawn", "dawn morning sunrise pastel calm cat balloon mist kite portrait"),
    ("ember", "fox red autumn fire orange warm tiger city"),
    ("noon", "blue day summer sky mountain village house bird dog"),
)
RELATED_PALETTES = {
    "ember": "desert",
    "dawn": "blossom",
    "noon": "sea",
    "sea": "noon",
    "night": "neon",
    "forest": "noon",
    "desert": "ember",
    "frost": "dawn",
    "blossom": "dawn",
    "neon": "night",
    "storm": "frost",
}
COLOR_WORDS = (
    "red=c8102e crimson=9b1b30 orange=f07818 amber=f5b335 yellow=f7e04b olive=7a7a2e "
    "green=2e8b57 emerald=138a5e teal=1b7f86 turquoise=48c9c0 blue=2a62c8 "
    "navy=14234f azure=8cc4ee purple=6b2fa0 violet=9a6ad6 pink=f08fb8 rose=e0567a "
    "brown=7a4a2a sand=e3c690 cream=fbf1d6 white=fafafa silver=c3c8cc grey=808488 "
    "charcoal=33373c black=0a0a0c gold=d6a32a"
)
NAMED_COLORS: dict[str, Color] = {
    name: parse_rgb(value) for name, value in (pair.split("=") for pair in COLOR_WORDS.split())
}
_WORD_RE = re.compile(r"[a-z]+")
_URL_OR_PARAMETER_RE = re.compile(r"https?://\S+|--\w+(?:\s+[\d:.]+)?")
_RATIO_RE = re.compile(r"--(?:ar|aspect)\s+(\d{1,4}):(\d{1,4})(?!\S)")


def extract_words(prompt: str) -> tuple[str, ...]:
    """Return the lower-case words of a prompt without its
    --parameters, then the singulars of plurals.
    """
    words = _WORD_RE.findall(_URL_OR_PARAMETER_RE.sub(" ", prompt.lower()))
    singulars = [word[:-1] for word in words if word.endswith("s") and len(word) > 3]
    return tuple(words + singulars)


def parse_aspect_ratio(prompt: str) -> float:
    """Return the aspect ratio of --ar, from 0.2 to 5; 1 without it."""
    match = _RATIO_RE.search(prompt)
    if not match or not int(match[1]) * int(match[2]):
        return 1.0
    return clamp_ratio(int(match[1]) / int(match[2]))


def clamp_ratio(ratio: float) -> float:
    """Limit an aspect ratio to what can be drawn."""
    return min(5.0, max(0.2, ratio))


def choose_mood(words: Sequence[str], rng: SeededRandom) -> str:
    """Return the mood of the hour or weather, else one that the words suggest, else any."""
    for mood in _find_moods(TIME_MOODS, words):
        return mood
    return rng.choose("mood", _find_moods(SUBJECT_MOODS, words) or [*PALETTES])


def _find_moods(table: Sequence[tuple[str, str]], words: Sequence[str]) -> list[str]:
    known = set(words)
    return [mood for mood, triggers in table if not known.isdisjoint(triggers.split())]


def build_palette(mood: str, words: Sequence[str], rng: SeededRandom) -> Palette:
    """Return the palette of a mood, mixed with a related one; a color word sets the accent."""
    own = PALETTES[mood]
    related = PALETTES[RELATED_PALETTES[mood]]
    share = rng("lean", 0.0, 0.5)
    accent = own.accent
    for word in words:
        if word in NAMED_COLORS:
            accent = NAMED_COLORS[word]
            break
    return Palette(
        top=mix_colors(own.top, related.top, share),
        middle=mix_colors(own.middle, related.middle, share),
        horizon=mix_colors(own.horizon, related.horizon, share),
        near=mix_colors(own.near, related.near, share * 0.5),
        accent=accent,
        light=own.light,
    )
