"""The imagined pictures: drawn from a prompt and a seed, the same bytes in every run.

A picture is a small frozen recipe, drawn only when somebody asks for its pixels. A `Scene` is a
world without edges (sky, ridges, water, a motif) seen through a `view` box, so the moves of the
service fall out of it: an upscale is the same view with more pixels, zooming out and panning widen
the view, a variation rolls the same dice a little differently. What cannot be seen as a world (a
picture that somebody sent) is a `Photo`; `Outpainted` sets a picture into a larger one and `Inpainted`
repaints only the white part of a mask.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Protocol, TypeGuard, TypeVar

from PIL import Image, ImageDraw, ImageFilter, ImageOps

T = TypeVar("T")
Color = tuple[int, int, int]
Box = tuple[float, float, float, float]
Size = tuple[int, int]
Lineage = tuple[tuple[int, float], ...]  # who rolled the dice, and how much each roll changed

CELL_AREA = 512 * 512  # pixels of one cell of a grid; an upscale has four times as many
CELL_POSITIONS = ((0, 0), (1, 0), (0, 1), (1, 1))  # the four cells, row by row


class Drawable(Protocol):
    """Something that can be drawn at any size, varied, and seen through a wider window."""

    @property
    def view(self) -> Box: ...
    def draw(self, size: Size) -> Image.Image: ...
    def vary(self, seed: int, strength: float) -> Drawable: ...
    def expand(self, seed: int, view: Box) -> Drawable: ...


def get_aspect_ratio(picture: Drawable) -> float:
    """Width by height."""
    left, top, right, bottom = picture.view
    return (right - left) / (bottom - top)


def get_pixel_size(picture: Drawable, area: int = CELL_AREA) -> Size:
    """Pixels of a picture of about that area, both sides multiples of 16."""
    ratio = get_aspect_ratio(picture)
    height = math.sqrt(area / ratio)
    return max(16, round(height * ratio / 16) * 16), max(16, round(height / 16) * 16)


def center_view(ratio: float) -> Box:
    """The view of area 1 around the middle of the world."""
    width, height = math.sqrt(ratio), 1 / math.sqrt(ratio)
    return (-width / 2, -height / 2, width / 2, height / 2)


# ── dice
# ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def hash_to_unit(*parts: object) -> float:
    """A number from 0 to 1 that depends on nothing but the parts."""
    text = ":".join(map(str, parts)).encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "big") / 0xFFFFFFFF


def extend_lineage(lineage: Lineage, seed: int, strength: float) -> Lineage:
    """One roller more; of very many the root and the latest count."""
    return (lineage[0], *lineage[1:][-15:], (seed, strength)) if lineage else ((seed, strength),)


class SeededRandom:
    """Named rolls. The first of the lineage decides, each later one pulls every roll a little its
    own way.
    """

    def __init__(self, lineage: Lineage) -> None:
        self.lineage = lineage

    def __call__(self, name: object, low: float = 0.0, high: float = 1.0) -> float:
        value = 0.5
        for seed, strength in self.lineage:
            value += (hash_to_unit(seed, name) - value) * strength
        return low + (high - low) * value

    def get_fixed(self, name: object) -> float:
        """A roll that variations leave alone: what would otherwise jump from one thing to quite
        another.
        """
        return hash_to_unit(self.lineage[0][0], name)

    def choose(self, name: object, items: Sequence[T]) -> T:
        return items[min(int(self.get_fixed(name) * len(items)), len(items) - 1)]


# ── colours and words
# ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Palette:
    """From the top of the sky down to the ground under the feet."""

    top: Color
    middle: Color
    horizon: Color
    near: Color
    accent: Color
    light: Color


def parse_rgb(text: str) -> Color:
    return (int(text[0:2], 16), int(text[2:4], 16), int(text[4:6], 16))


def mix_colors(first: Color, second: Color, ratio: float) -> Color:
    a, b = first, second
    return (
        round(a[0] + (b[0] - a[0]) * ratio),
        round(a[1] + (b[1] - a[1]) * ratio),
        round(a[2] + (b[2] - a[2]) * ratio),
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
MOODS: tuple[tuple[str, str], ...] = (
    ("ember", "sunset dusk evening twilight"),
    ("night", "night moon moonlit dark midnight star starry owl galaxy space astronaut planet"),
    ("storm", "storm stormy rain rainy thunder"),
    ("frost", "snow snowy winter ice arctic frozen frost penguin wolf"),
    ("neon", "neon cyber cyberpunk purple violet robot synthwave future futuristic rocket"),
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
TIME_AND_WEATHER_MOODS = 5  # so many of the moods above are an hour or a weather
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
    "red=c8102e crimson=9b1b30 orange=f07818 amber=f5b335 yellow=f7e04b olive=7a7a2e green=2e8b57 "
    "emerald=138a5e teal=1b7f86 turquoise=48c9c0 blue=2a62c8 navy=14234f azure=8cc4ee purple=6b2fa0 "
    "violet=9a6ad6 pink=f08fb8 rose=e0567a brown=7a4a2a sand=e3c690 cream=fbf1d6 white=fafafa silver=c3c8cc "
    "grey=808488 charcoal=33373c black=0a0a0c gold=d6a32a"
)
NAMED_COLORS: dict[str, Color] = {
    pair.partition("=")[0]: parse_rgb(pair.partition("=")[2]) for pair in COLOR_WORDS.split()
}
_WORD = re.compile(r"[a-z]+")
_RATIO = re.compile(r"--(?:ar|aspect)\s+(\d{1,4}):(\d{1,4})(?!\S)")


def extract_words(prompt: str) -> tuple[str, ...]:
    """The lower-case words of a prompt, its --parameters left out; a plural also counts as its
    singular.
    """
    found = _WORD.findall(re.sub(r"https?://\S+|--\w+(?:\s+[\d:.]+)?", " ", prompt.lower()))
    return tuple(found) + tuple(word[:-1] for word in found if word.endswith("s") and len(word) > 3)


def parse_aspect_ratio(prompt: str) -> float:
    """What --ar asks for; 1 without it."""
    found = _RATIO.search(prompt)
    if not found or not int(found[1]) * int(found[2]):
        return 1.0
    return min(5.0, max(0.2, int(found[1]) / int(found[2])))


def choose_mood(words: Sequence[str], rng: SeededRandom) -> str:
    """The hour and the weather decide; else one of the moods that the words suggest; else any."""
    known = set(words)
    for mood, triggers in MOODS[:TIME_AND_WEATHER_MOODS]:
        if not known.isdisjoint(triggers.split()):
            return mood
    found = [
        mood
        for mood, triggers in MOODS[TIME_AND_WEATHER_MOODS:]
        if not known.isdisjoint(triggers.split())
    ]
    return rng.choose("mood", found or [*PALETTES])


def build_palette(mood: str, words: Sequence[str], rng: SeededRandom) -> Palette:
    """The palette of a mood, leaning towards a related one; a colour word tints the accent."""
    own, other, share = PALETTES[mood], PALETTES[RELATED_PALETTES[mood]], rng("lean", 0.0, 0.5)
    accent = next((NAMED_COLORS[word] for word in words if word in NAMED_COLORS), own.accent)
    return Palette(
        mix_colors(own.top, other.top, share),
        mix_colors(own.middle, other.middle, share),
        mix_colors(own.horizon, other.horizon, share),
        mix_colors(own.near, other.near, share * 0.5),
        accent,
        own.light,
    )


# ── the canvas: world coordinates on pixels
# ──────────────────────────────────────────────────────────────────────────


class Canvas:
    """An image and the window on the world that it shows."""

    def __init__(self, view: Box, size: Size) -> None:
        self.view, self.size = view, size
        self.scale = size[0] / (view[2] - view[0])
        self.image = Image.new("RGB", size)
        self.pen = ImageDraw.Draw(self.image)

    def to_pixel(self, x: float, y: float) -> tuple[float, float]:
        return ((x - self.view[0]) * self.scale, (y - self.view[1]) * self.scale)

    def to_pixels(self, path: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
        return [self.to_pixel(x, y) for x, y in path]

    def build_gradient(self, stops: Sequence[tuple[float, Color]], height: int) -> Image.Image:
        """Colours down a column of `height` pixels; stops are (share of the height, colour)."""
        strip = Image.new("RGB", (1, 128))
        strip.putdata([_interpolate(stops, row / 127) for row in range(128)])
        return strip.resize((1, max(1, height)), Image.Resampling.BICUBIC)

    def fill(
        self, box: tuple[int, int, int, int], column: Image.Image, mask: Image.Image | None
    ) -> None:
        wide = column.resize((box[2] - box[0], box[3] - box[1]), Image.Resampling.NEAREST)
        self.image.paste(wide, box[:2], mask)

    def draw_glow(self, x: float, y: float, radius: float, color: Color, strength: float) -> None:
        """A soft round light."""
        side = max(2, round(radius * 2 * self.scale))
        px, py = self.to_pixel(x, y)
        mask = _build_halo(strength).resize((side, side), Image.Resampling.BILINEAR)
        self.image.paste(color, (round(px) - side // 2, round(py) - side // 2), mask)

    def draw_disc(self, x: float, y: float, radius: float, color: Color) -> None:
        self.pen.ellipse(
            (*self.to_pixel(x - radius, y - radius), *self.to_pixel(x + radius, y + radius)),
            fill=color,
        )


def _interpolate(stops: Sequence[tuple[float, Color]], share: float) -> Color:
    for (low, first), (high, second) in pairwise(stops):
        if share <= high:
            return mix_colors(first, second, max(0.0, (share - low) / max(1e-9, high - low)))
    return stops[-1][1]


@cache
def _build_halo(strength: float) -> Image.Image:
    """Opaque in the middle, nothing at the rim, with a soft shoulder."""
    edge = Image.radial_gradient("L")
    return edge.point(
        [round(255 * strength * max(0.0, 1 - level / 180) ** 2.2) for level in range(256)]
    )


# ── the scene
# ────────────────────────────────────────────────────────────────────────────────────────────────────────

WATER_WORDS = {
    "sea",
    "ocean",
    "beach",
    "lighthouse",
    "boat",
    "ship",
    "sail",
    "island",
    "whale",
    "lake",
    "harbour",
    "wave",
}
TREE_WORDS = {
    "forest",
    "wood",
    "woods",
    "jungle",
    "fox",
    "deer",
    "wolf",
    "autumn",
    "snow",
    "winter",
    "pine",
    "bear",
}
STARRY_MOODS = {"night", "neon"}


@dataclass(frozen=True, slots=True)
class Scene:
    """A landscape that the words of a prompt set the mood of."""

    prompt: str
    lineage: Lineage
    view: Box
    color_prompt: str = ""  # another prompt that sets the colours

    def vary(self, seed: int, strength: float) -> Scene:
        return replace(self, lineage=extend_lineage(self.lineage, seed, strength))

    def expand(self, seed: int, view: Box) -> Scene:
        return replace(self, lineage=extend_lineage(self.lineage, seed, 0.05), view=view)

    def draw(self, size: Size) -> Image.Image:
        """Drawn at twice the size and reduced, so that edges are smooth; very large ones as they
        are.
        """
        twice = 2 if size[0] * size[1] <= 2_000_000 else 1
        canvas = Canvas(self.view, (size[0] * twice, size[1] * twice))
        _paint_scene(
            canvas, self.prompt, self.color_prompt or self.prompt, SeededRandom(self.lineage)
        )
        return canvas.image.reduce(2) if twice == 2 else canvas.image


@dataclass(frozen=True, slots=True)
class SceneContext:
    """What every layer of one scene needs to know."""

    words: tuple[str, ...]
    rng: SeededRandom
    mood: str
    colors: Palette
    horizon: float
    has_water: bool
    depth: float  # how deep the scene reaches: less for wide pictures


def _paint_scene(canvas: Canvas, prompt: str, color_prompt: str, rng: SeededRandom) -> None:
    words, mood = extract_words(prompt), choose_mood(extract_words(color_prompt), rng)
    low = min(1.1, parse_aspect_ratio(color_prompt) ** -0.5)
    water = not WATER_WORDS.isdisjoint(extract_words(color_prompt))
    colors = build_palette(mood, words, rng)
    land = SceneContext(words, rng, mood, colors, rng("horizon", 0.04, 0.2) * low, water, low)
    _draw_sky(canvas, land)
    if mood in STARRY_MOODS:
        _draw_stars(canvas, land)
    _draw_sun(canvas, land)
    _draw_clouds(canvas, land)
    (_draw_sea if water else _draw_hills)(canvas, land)
    _draw_figure(canvas, land)
    _draw_birds(canvas, land)


def _draw_sky(canvas: Canvas, land: SceneContext) -> None:
    top, bottom = canvas.view[1], canvas.view[3]
    colors, middle = land.colors, land.rng("middle", -0.3, -0.12)

    def share(y: float) -> float:
        return (y - top) / (bottom - top)

    stops = [
        (share(-1.2), mix_colors(colors.top, (0, 0, 0), 0.35)),
        (share(-0.55), colors.top),
        (share(middle), colors.middle),
        (share(land.horizon), colors.horizon),
        (share(land.horizon + 1), colors.horizon),
    ]
    canvas.fill((0, 0, *canvas.size), canvas.build_gradient(stops, canvas.size[1]), None)


def _iter_cells(low: float, high: float, step: float) -> range:
    """The squares of the world between two edges; none where they would be too many to tell
    apart.
    """
    if high - low > 250 * step:
        return range(0)
    return range(math.floor(low / step), math.ceil(high / step) + 1)


def _draw_stars(canvas: Canvas, land: SceneContext) -> None:
    """One star to a square of the world, so that a wider view has more of them."""
    step, root = 0.075, land.rng.lineage[0][0]
    left, top, right, _ = canvas.view
    for row in _iter_cells(top, land.horizon, step):
        for column in _iter_cells(left, right, step):
            x, y, size = (hash_to_unit(root, "star", row, column, axis) for axis in "xys")
            place = canvas.to_pixel((column + x) * step, (row + y) * step)
            radius = canvas.scale * (0.0008 + 0.0022 * size**4)
            color = mix_colors(land.colors.middle, land.colors.light, 0.35 + 0.65 * size)
            canvas.pen.ellipse(
                (place[0] - radius, place[1] - radius, place[0] + radius, place[1] + radius), color
            )


def _place_sun(land: SceneContext) -> tuple[float, float, float]:
    dice = land.rng
    return (
        dice("sun.x", -0.3, 0.3),
        dice("sun.y", -0.3, land.horizon - 0.07),
        dice("sun.r", 0.045, 0.1),
    )


def _draw_sun(canvas: Canvas, land: SceneContext) -> None:
    x, y, radius = _place_sun(land)
    light = land.colors.light
    canvas.draw_glow(x, y, radius * 7, mix_colors(light, land.colors.horizon, 0.4), 0.55)
    canvas.draw_glow(x, y, radius * 2.6, light, 0.6)
    canvas.draw_disc(x, y, radius, light)
    if land.mood == "night":
        for name in range(4):
            spot = radius * land.rng(("crater", name), 0.1, 0.24)
            angle, far = (
                land.rng(("angle", name), 0, 6.28),
                radius * land.rng(("far", name), 0.15, 0.65),
            )
            shade = mix_colors(light, land.colors.middle, 0.16)
            canvas.draw_disc(x + math.cos(angle) * far, y + math.sin(angle) * far, spot, shade)


def _draw_clouds(canvas: Canvas, land: SceneContext) -> None:
    """Long lens-shaped bands, softened: drawn small, blurred, laid over."""
    small = (max(1, canvas.size[0] // 8), max(1, canvas.size[1] // 8))
    mask = Image.new("L", small)
    pen, scale = ImageDraw.Draw(mask), canvas.scale / 8
    for band in range(int(land.rng("clouds", 3, 9))):
        x, y = (
            land.rng(("cx", band), -0.9, 0.9),
            land.rng(("cy", band), -0.5, land.horizon - 0.05),
        )
        long, thick = land.rng(("cl", band), 0.12, 0.45), land.rng(("ct", band), 0.006, 0.022)
        for puff in range(3):
            at, wide, high = (
                x + long * (puff - 1) * 0.35,
                long * (1 - 0.25 * puff),
                thick * (1 + 0.5 * puff),
            )
            low = y - thick * puff * 0.7
            box = (at - wide / 2, low - high, at + wide / 2, low + high)
            corners = [(box[i] - canvas.view[i % 2]) * scale for i in range(4)]
            pen.ellipse(corners, fill=120)
    soft = mask.filter(ImageFilter.GaussianBlur(max(0.6, scale * 0.006))).resize(
        canvas.size, Image.Resampling.BICUBIC
    )
    canvas.image.paste(mix_colors(land.colors.horizon, land.colors.light, 0.5), (0, 0), soft)


Ridge = Callable[[float], float]


def _build_ridge(rng: SeededRandom, name: int, base: float, height: float, peaks: bool) -> Ridge:
    """The height of the land at x: rolling for hills, folded waves for mountains."""
    tempo = rng(("tempo", name), 2.2, 4.2) * (1.35 if peaks else 1)
    phases = [rng(("phase", name, wave), 0, 6.28) for wave in range(4)]

    def rolling(x: float) -> float:
        swell = 0.6 * math.sin(tempo * x + phases[0]) + 0.3 * math.sin(2.3 * tempo * x + phases[1])
        return base - height * (swell + 0.1 * math.sin(5.1 * tempo * x + phases[2]))

    def folded(x: float) -> float:
        swell = 1.1 - 1.6 * abs(math.sin(tempo * x * 0.7 + phases[0]))
        rough = 0.45 * (1 - 2 * abs(math.sin(tempo * 1.9 * x + phases[1])))
        fine = 0.16 * (1 - 2 * abs(math.sin(tempo * 4.7 * x + phases[2])))
        return base - height * (swell + rough + fine + 0.06 * math.sin(tempo * 13 * x + phases[3]))

    return folded if peaks else rolling


def _fill_ridge(canvas: Canvas, ridge: Ridge, upper: Color, lower: Color) -> None:
    """The land below a ridge, lighter where the mist lies."""
    steps = 170
    left, _, right, bottom = canvas.view
    line = [
        (left + (right - left) * i / steps, ridge(left + (right - left) * i / steps))
        for i in range(steps + 1)
    ]
    top = max(0, math.floor(canvas.to_pixel(0, min(y for _, y in line))[1]))
    if top >= canvas.size[1]:
        return
    outline = [
        (x, y - top) for x, y in canvas.to_pixels([*line, (right, bottom + 1), (left, bottom + 1)])
    ]
    mask = Image.new("1", (canvas.size[0], canvas.size[1] - top))
    ImageDraw.Draw(mask).polygon(outline, fill=1)
    reach = max(1, round(0.34 * canvas.scale))
    stops = [(0.0, upper), (min(1.0, reach / mask.size[1]), lower), (1.0, lower)]
    canvas.fill((0, top, *canvas.size), canvas.build_gradient(stops, mask.size[1]), mask)


def _draw_hills(canvas: Canvas, land: SceneContext) -> None:
    """Four ridges, each nearer, darker and lower; trees on the last two where the words ask for
    them.
    """
    colors, dice = land.colors, land.rng
    leafy = not TREE_WORDS.isdisjoint(land.words) or (
        dice.get_fixed("leafy") > 0.55 and "desert" not in land.words
    )
    for number in range(4):
        depth = number / 3
        base = land.horizon + (0.02, 0.08, 0.17, 0.3)[number] * land.depth
        ridge = _build_ridge(
            dice,
            number,
            base,
            (0.1, 0.06, 0.045, 0.035)[number],
            peaks=number < 1 + (dice.get_fixed("alps") > 0.5),
        )
        color = mix_colors(
            mix_colors(colors.horizon, colors.middle, 0.45), colors.near, 0.22 + 0.7 * depth
        )
        _fill_ridge(
            canvas, ridge, color, mix_colors(color, colors.horizon, 0.3 * (1 - depth) + 0.04)
        )
        if leafy and number >= 2:
            _draw_trees(canvas, land, ridge, number, mix_colors(color, (0, 0, 0), 0.22))
    _draw_foreground(canvas, land)


def _draw_foreground(canvas: Canvas, land: SceneContext) -> None:
    """The ground between the scene and the viewer, which only a wider view shows."""
    for number, base in enumerate((0.66, 0.85, 1.1, 1.4, 1.8)):
        if base - 0.1 < canvas.view[3]:
            color = mix_colors(land.colors.near, (0, 0, 0), min(0.6, 0.18 + 0.14 * number))
            ridge = _build_ridge(land.rng, 10 + number, base, 0.06, peaks=False)
            _fill_ridge(canvas, ridge, color, mix_colors(color, (0, 0, 0), 0.15))


def _draw_trees(
    canvas: Canvas, land: SceneContext, ridge: Ridge, number: int, color: Color
) -> None:
    step, root = (0.05, 0.13)[number - 2], land.rng.lineage[0][0]
    for cell in _iter_cells(canvas.view[0], canvas.view[2], step):
        if hash_to_unit(root, "tree", number, cell) < (0.3, 0.5)[number - 2] or (
            number == 3 and abs(cell) < 3
        ):
            continue
        x = (cell + hash_to_unit(root, "at", number, cell)) * step
        tall = step * (1.1 + 0.9 * hash_to_unit(root, "tall", number, cell))
        canvas.pen.polygon(
            canvas.to_pixels(_build_pine(x, ridge(x) + tall * 0.06, tall)), fill=color
        )


def _build_pine(x: float, y: float, tall: float) -> list[tuple[float, float]]:
    """A fir: four skirts, each wider than the one above."""
    right = [(0.0, 1.0)]
    for skirt in range(4):
        low, wide = 0.74 - 0.2 * skirt, 0.11 + 0.065 * skirt
        right += [(wide, low), (wide * 0.5, low + 0.015)]
    right += [(0.035, 0.12), (0.035, 0.0)]
    both = right + [(-px, py) for px, py in reversed(right)]
    return [(x + px * tall, y - py * tall) for px, py in both]


def _draw_sea(canvas: Canvas, land: SceneContext) -> None:
    """Far headlands, water that mirrors the sky, the sun's path on it, a shore in front."""
    colors, dice, scale = land.colors, land.rng, canvas.scale
    for number in range(2):
        ridge = _build_ridge(
            dice, number, land.horizon + 0.02, 0.07 - 0.03 * number, peaks=number == 0
        )
        color = mix_colors(
            mix_colors(colors.horizon, colors.middle, 0.5), colors.near, 0.2 + 0.18 * number
        )
        _fill_ridge(canvas, ridge, color, mix_colors(color, colors.horizon, 0.35))
    top = max(0, round(canvas.to_pixel(0, land.horizon)[1]))
    if top < canvas.size[1]:
        below = canvas.size[1] - top
        deep = mix_colors(colors.near, colors.top, 0.35)
        stops = [
            (0.0, mix_colors(colors.horizon, colors.middle, 0.5)),
            (min(1.0, 0.2 * scale / below), colors.middle),
        ]
        column = canvas.build_gradient(
            [*stops, (max(stops[1][0], min(1.0, 0.6 * scale / below)), deep), (1.0, deep)], below
        )
        canvas.fill((0, top, *canvas.size), column, None)
        _draw_waves(canvas, land)
    shore = _build_ridge(dice, 7, land.horizon + 0.36 * land.depth, 0.06, peaks=False)
    _fill_ridge(canvas, shore, mix_colors(colors.near, colors.horizon, 0.12), colors.near)
    _draw_foreground(canvas, land)


def _draw_waves(canvas: Canvas, land: SceneContext) -> None:
    """Short strokes, longer towards the viewer; bright under the sun."""
    root, colors = land.rng.lineage[0][0], land.colors
    sun = _place_sun(land)[0]
    for row in range(46):
        depth = (row / 46) ** 1.6
        y = land.horizon + 0.006 + depth * 0.85
        step = 0.06 + 0.22 * depth
        for cell in _iter_cells(canvas.view[0], canvas.view[2], step):
            x = (cell + hash_to_unit(root, "wave", row, cell)) * step
            near = max(0.0, 1 - abs(x - sun) / (0.06 + 0.22 * depth))
            long = step * (0.12 + 0.4 * hash_to_unit(root, "long", row, cell)) * (1 + near)
            shade = mix_colors(colors.middle, colors.light, 0.12 + 0.8 * near)
            thick = max(1, round(canvas.scale * (0.0014 + 0.0035 * depth)))
            canvas.pen.line(
                canvas.to_pixels([(x - long / 2, y), (x + long / 2, y)]), fill=shade, width=thick
            )


def _draw_birds(canvas: Canvas, land: SceneContext) -> None:
    """A few wings in the distance."""
    if land.rng.get_fixed("birds") < 0.35 or land.mood in STARRY_MOODS:
        return
    x, y = land.rng("flock.x", -0.35, 0.35), land.rng("flock.y", -0.36, -0.12)
    color = mix_colors(land.colors.near, land.colors.middle, 0.25)
    for bird in range(int(land.rng("flock", 3, 8))):
        bx, by = x + land.rng(("bx", bird), -0.14, 0.14), y + land.rng(("by", bird), -0.06, 0.06)
        wing = land.rng(("wing", bird), 0.009, 0.02)
        path = [(bx - wing, by - wing * 0.55), (bx - wing * 0.4, by - wing * 0.5), (bx, by)]
        path += [(bx + wing * 0.4, by - wing * 0.5), (bx + wing, by - wing * 0.55)]
        canvas.pen.line(
            canvas.to_pixels(path),
            fill=color,
            width=max(1, round(canvas.scale * 0.0028)),
            joint="curve",
        )


# ── motifs: what the scene is about
# ──────────────────────────────────────────────────────────────────────────────────

# One shape to a line: kind, tone, points ("x,y"; y upwards from the ground, 1 is the motif's
# height). blob: a smooth outline; poly: a straight one; disc: centre and radii; line: a stroke with
# its width first.
FIGURES: dict[str, str] = {
    "fox": """
        blob shade .12,.02 .4,.0 .62,.14 .66,.4 .56,.56 .5,.38 .4,.2 .2,.16
        blob light .56,.56 .5,.42 .53,.34 .6,.36 .64,.44
        blob body -.24,.0 -.26,.22 -.19,.5 -.04,.62 .12,.5 .24,.24 .24,.0
        blob light -.13,.05 -.15,.32 -.05,.52 .05,.32 .03,.05
        poly body -.3,.74 -.33,1.04 -.15,.9 .05,.9 .23,1.04 .2,.74 -.05,.5
        poly shade -.28,.8 -.3,.98 -.19,.89
        poly shade .18,.8 .2,.98 .09,.89
        poly light -.3,.74 -.05,.5 -.1,.7 -.2,.74
        poly light .2,.74 -.05,.5 .0,.7 .1,.74
        disc dark -.05,.53 .034,.028
        disc dark -.15,.755 .022,.028
        disc dark .05,.755 .022,.028
        poly dark -.2,.0 -.12,.0 -.11,.12 -.19,.12
        poly dark .0,.0 .08,.0 .07,.12 .01,.12""",
    "cat": """
        blob shade .14,.04 .42,.02 .56,.2 .5,.44 .42,.46 .44,.26 .36,.14 .16,.16
        blob body -.26,.0 -.26,.26 -.16,.52 .0,.6 .16,.52 .26,.26 .26,.0
        blob light -.1,.06 -.11,.3 .0,.46 .11,.3 .1,.06
        poly body -.24,.74 -.25,1.02 -.08,.9
        poly body .24,.74 .25,1.02 .08,.9
        disc body .0,.73 .26,.2
        disc glow -.1,.76 .048,.05
        disc glow .1,.76 .048,.05
        disc dark -.1,.76 .016,.046
        disc dark .1,.76 .016,.046
        disc dark .0,.68 .022,.016
        line dark .008 -.34,.7 -.08,.67
        line dark .008 .34,.7 .08,.67""",
    "deer": """
        line dark .03 -.26,.86 -.36,1.02 -.33,1.2
        line dark .022 -.36,1.02 -.46,1.1
        line dark .022 -.34,1.1 -.25,1.18
        line dark .03 -.2,.86 -.14,1.02 -.16,1.2
        line dark .022 -.14,1.02 -.03,1.1
        line dark .022 -.15,1.1 -.24,1.14
        poly shade -.14,.4 -.12,.0 -.08,.0 -.06,.4
        poly shade .26,.44 .3,.0 .34,.0 .38,.44
        blob body -.24,.5 -.1,.62 .2,.6 .42,.62 .44,.46 .36,.36 .1,.34 -.14,.34
        blob body -.22,.46 -.3,.7 -.28,.84 -.18,.84 -.08,.64 -.02,.44
        blob body -.3,.88 -.44,.76 -.48,.7 -.42,.67 -.26,.72 -.16,.8 -.18,.88
        poly body -.2,.42 -.22,.0 -.17,.0 -.1,.4
        poly body .3,.46 .38,.22 .37,.0 .42,.0 .46,.24 .44,.5
        blob shade -.17,.86 -.08,.94 -.05,.9 -.14,.82
        blob light .4,.6 .5,.62 .48,.5 .42,.48
        disc dark -.31,.82 .016,.018
        disc dark -.47,.7 .022,.016""",
    "lighthouse": """
        blob dark -.5,-.06 -.42,.08 -.2,.14 .1,.12 .36,.1 .54,-.06
        poly light -.13,.1 -.09,.76 .09,.76 .13,.1
        poly body -.124,.2 -.114,.36 .114,.36 .124,.2
        poly body -.106,.48 -.097,.62 .097,.62 .106,.48
        poly shade .03,.1 .026,.76 .09,.76 .13,.1
        poly dark -.13,.75 -.13,.79 .13,.79 .13,.75
        poly glow -.07,.79 -.07,.9 .07,.9 .07,.79
        poly dark -.1,.9 .0,1.02 .1,.9
        poly dark -.03,.1 -.03,.19 .03,.19 .03,.1""",
    "boat": """
        poly light -.05,.26 -.05,1.0 -.46,.26
        poly body .0,.24 .0,.94 .36,.24
        line dark .025 -.02,.18 -.02,1.04
        poly dark -.5,.2 .52,.2 .36,.0 -.38,.0
        poly shade -.5,.2 .52,.2 .49,.16 -.48,.16""",
    "house": """
        poly dark .16,.6 .16,.92 .27,.92 .27,.6
        poly light -.38,.0 -.38,.5 .38,.5 .38,.0
        poly body -.46,.48 -.02,.88 .46,.48
        poly glow -.26,.18 -.26,.36 -.08,.36 -.08,.18
        poly shade .08,.0 .08,.34 .24,.34 .24,.0
        line shade .016 -.17,.18 -.17,.36
        line shade .016 -.26,.27 -.08,.27""",
    "castle": """
        poly shade -.3,.0 -.3,.5 .3,.5 .3,.0
        poly shade -.1,.4 -.1,.86 .12,.86 .12,.4
        poly body -.15,.84 .01,1.14 .17,.84
        poly dark -.44,.0 -.44,.62 -.24,.62 -.24,.0
        poly dark .24,.0 .24,.66 .46,.66 .46,.0
        poly body -.49,.6 -.34,.9 -.19,.6
        poly body .19,.64 .35,.96 .51,.64
        disc glow -.34,.44 .025,.045
        disc glow .35,.46 .025,.045
        disc glow .01,.68 .025,.05
        blob dark -.09,.0 -.09,.18 .0,.27 .09,.18 .09,.0""",
    "city": """
        poly shade -.9,-.1 -.9,.5 -.72,.5 -.72,.7 -.56,.7 -.56,.42 -.4,.42 -.4,.86 -.3,.86 -.3,-.1
        poly shade .2,-.1 .2,.62 .38,.62 .38,.78 .44,.96 .5,.78 .56,.78 .56,.4 .74,.4 .74,.58 .92,.58 .92,-.1
        poly dark -.64,-.1 -.64,.34 -.46,.34 -.46,.58 -.24,.58 -.24,.3 -.1,.3 -.1,-.1
        poly dark -.16,-.1 -.16,.88 -.04,1.0 -.02,1.2 .0,1.0 .12,.88 .12,-.1
        poly dark .12,-.1 .12,.46 .32,.46 .32,.26 .5,.26 .5,.5 .68,.5 .68,-.1
        grid glow -.12,.1 .08,.84
        grid glow -.43,.06 -.27,.52
        grid glow .16,.06 .28,.4
        grid body .54,.06 .64,.44
        grid body -.6,.04 -.5,.28""",
    "balloon": """
        blob body -.34,.68 -.28,.92 .0,1.06 .28,.92 .34,.68 .2,.46 .07,.3 -.07,.3 -.2,.46
        blob light -.14,.68 -.12,.92 .0,1.06 .12,.92 .14,.68 .09,.46 .04,.3 -.04,.3 -.09,.46
        blob shade -.05,.68 -.04,.92 .0,1.06 .04,.92 .05,.68 .03,.46 .015,.3 -.015,.3 -.03,.46
        line dark .01 -.06,.3 -.05,.14
        line dark .01 .06,.3 .05,.14
        poly dark -.07,.14 -.055,.02 .055,.02 .07,.14""",
    "rocket": """
        blob glow -.08,.2 -.06,.04 .0,-.16 .06,.04 .08,.2
        poly shade -.1,.46 -.26,.2 -.24,.1 -.08,.22
        poly shade .1,.46 .26,.2 .24,.1 .08,.22
        blob light -.1,.18 -.15,.44 -.12,.72 .0,1.02 .12,.72 .15,.44 .1,.18
        blob body -.115,.74 -.07,.88 .0,1.02 .07,.88 .115,.74
        disc dark .0,.58 .07,.07
        disc glow .0,.58 .048,.048""",
    "robot": """
        line dark .02 .0,.9 .0,1.04
        disc body .0,1.05 .035,.035
        poly light -.2,.62 -.2,.92 .2,.92 .2,.62
        poly dark -.15,.69 -.15,.85 .15,.85 .15,.69
        disc glow -.07,.77 .032,.04
        disc glow .07,.77 .032,.04
        poly body -.24,.22 -.24,.6 .24,.6 .24,.22
        disc light .0,.42 .08,.08
        disc shade .0,.42 .05,.05
        poly shade -.36,.26 -.36,.56 -.27,.56 -.27,.26
        poly shade .27,.26 .27,.56 .36,.56 .36,.26
        poly shade -.17,.0 -.17,.22 -.04,.22 -.04,.0
        poly shade .04,.0 .04,.22 .17,.22 .17,.0""",
    "tree": """
        blob dark -.1,.0 -.05,.2 -.06,.44 -.2,.62 -.16,.64 -.02,.5 .04,.66 .08,.66 .04,.46 .2,.58 .22,.55 .06,.36 .1,.0
        disc shade -.24,.66 .2,.17
        disc shade .24,.64 .2,.16
        disc body -.14,.78 .22,.18
        disc body .14,.8 .22,.18
        disc body .0,.66 .2,.15
        disc light -.08,.88 .13,.1
        disc light .14,.88 .1,.07""",
    "whale": """
        blob light -.1,.52 -.22,.74 -.3,.72 -.2,.78 -.1,.62 .0,.78 .1,.72 .02,.74 -.08,.52
        blob body -.6,.1 -.58,.32 -.3,.52 .1,.44 .4,.24 .56,.36 .54,.56 .68,.5 .84,.58 .8,.36 .64,.24 .44,.04 -.3,-.02
        blob light -.6,.1 -.4,.12 -.1,.06 .2,.03 .0,-.03 -.3,-.04
        disc dark -.42,.26 .024,.024""",
    "owl": """
        line dark .07 -.7,.06 .7,.02
        blob body -.28,.1 -.32,.5 -.24,.84 -.3,1.02 -.12,.94 .12,.94 .3,1.02 .24,.84 .32,.5 .28,.1 .0,.0
        blob light -.16,.1 -.18,.36 .0,.52 .18,.36 .16,.1
        disc light -.12,.74 .12,.12
        disc light .12,.74 .12,.12
        disc dark -.12,.74 .06,.06
        disc dark .12,.74 .06,.06
        poly glow -.04,.68 .04,.68 .0,.58""",
    "person": """
        blob body -.2,.0 -.17,.4 -.11,.66 .11,.66 .17,.4 .22,.0
        blob shade .0,.0 .02,.4 .04,.66 .11,.66 .17,.4 .22,.0
        disc light .0,.77 .09,.1
        blob dark -.11,.76 -.1,.9 .0,.93 .1,.9 .11,.76 .06,.82 -.06,.82""",
}
FIGURE_BY_WORD: dict[str, str] = {
    word: figure
    for figure, words in {
        "fox": "fox wolf dog puppy",
        "cat": "cat kitten tiger lion panther",
        "deer": "deer stag elk horse reindeer moose camel",
        "lighthouse": "lighthouse beacon tower",
        "boat": "boat ship sail sailboat yacht pirate",
        "house": "house cottage cabin village home barn hut",
        "castle": "castle fortress palace gothic kingdom",
        "city": "city cityscape skyline street cyberpunk metropolis town",
        "balloon": "balloon kite airship",
        "rocket": "rocket spaceship spacecraft starship",
        "robot": "robot android mech cyborg",
        "tree": "tree oak sakura cherry blossom magnolia garden flower rose",
        "whale": "whale dolphin fish shark",
        "owl": "owl bird raven crow parrot eagle",
        "person": "man woman girl boy portrait person knight wizard astronaut monk dancer queen king samurai",
    }.items()
    for word in words.split()
}
FIGURE_PLACEMENT: dict[
    str, tuple[float, float]
] = {  # height in the world, and how far above its ground it hangs
    "balloon": (0.34, 0.3),
    "rocket": (0.4, 0.22),
    "boat": (0.26, 0.12),
    "whale": (0.2, 0.1),
    "city": (0.4, 0.12),
    "lighthouse": (0.56, 0.0),
    "castle": (0.38, 0.02),
    "tree": (0.5, -0.02),
    "owl": (0.36, 0.16),
}


@cache
def _load_shapes(
    figure: str,
) -> tuple[tuple[str, str, tuple[tuple[float, float], ...], float], ...]:
    """(kind, tone, points, width) of each shape of a figure."""
    return tuple(_parse_shape(line.split()) for line in FIGURES[figure].strip().splitlines())


def _parse_shape(parts: list[str]) -> tuple[str, str, tuple[tuple[float, float], ...], float]:
    kind, tone, *rest = parts
    width = float(rest.pop(0)) if kind == "line" else 0.0
    points = [(float(x), float(y)) for x, y in (pair.split(",") for pair in rest)]
    return kind, tone, tuple(_smooth(points) if kind == "blob" else points), width


def _smooth(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Cut the corners of a closed outline, three times (Chaikin)."""
    for _ in range(3):
        pairs = list(zip(points, points[1:] + points[:1], strict=True))
        points = [
            spot
            for (ax, ay), (bx, by) in pairs
            for spot in (
                (0.75 * ax + 0.25 * bx, 0.75 * ay + 0.25 * by),
                (0.25 * ax + 0.75 * bx, 0.25 * ay + 0.75 * by),
            )
        ]
    return points


def _draw_figure(canvas: Canvas, land: SceneContext) -> None:
    figure = next((FIGURE_BY_WORD[word] for word in land.words if word in FIGURE_BY_WORD), None)
    if figure is None:
        return
    tall, above = FIGURE_PLACEMENT.get(figure, (0.4, 0.0))
    tall *= land.rng("motif.size", 0.88, 1.12) * (0.3 + 0.7 * land.depth)
    x = land.rng("motif.x", -0.2, 0.2)
    ground = (0.4 if not land.has_water else 0.46) * land.depth
    base = land.horizon + 0.12 * land.depth if figure in ("boat", "whale") else ground - above
    if above >= 0 and figure in ("lighthouse", "castle") and not land.has_water:
        base = 0.36 * land.depth
    tones = _build_tones(land)
    flip = -1 if land.rng.get_fixed("motif.flip") > 0.5 else 1
    if figure in ("lighthouse", "rocket"):
        canvas.draw_glow(
            x,
            base - tall * (0.85 if figure == "lighthouse" else 0.1),
            tall * 0.45,
            land.colors.light,
            0.6,
        )
    for kind, tone, points, width in _load_shapes(figure):
        path = [(x + flip * px * tall, base - py * tall) for px, py in points]
        SHAPE_DRAWERS[kind](canvas, path, points, tones[tone], width * tall, tall)


def _build_tones(land: SceneContext) -> dict[str, Color]:
    colors = land.colors
    return {
        "body": colors.accent,
        "shade": mix_colors(colors.accent, colors.near, 0.45),
        "dark": mix_colors(colors.near, (0, 0, 0), 0.35),
        "light": mix_colors(colors.light, colors.horizon, 0.15),
        "glow": (255, 226, 140),
    }


Path = Sequence[tuple[float, float]]


def _draw_poly(canvas: Canvas, path: Path, _: Path, color: Color, __: float, ___: float) -> None:
    canvas.pen.polygon(canvas.to_pixels(path), fill=color)


def _draw_disc(
    canvas: Canvas, path: Path, points: Path, color: Color, _: float, tall: float
) -> None:
    (x, y), (wide, high) = path[0], points[1]
    corners = (
        *canvas.to_pixel(x - wide * tall, y - high * tall),
        *canvas.to_pixel(x + wide * tall, y + high * tall),
    )
    canvas.pen.ellipse(corners, fill=color)


def _draw_line(canvas: Canvas, path: Path, _: Path, color: Color, width: float, __: float) -> None:
    canvas.pen.line(
        canvas.to_pixels(path), fill=color, width=max(1, round(width * canvas.scale)), joint="curve"
    )


def _draw_windows(
    canvas: Canvas, path: Path, points: Path, color: Color, _: float, tall: float
) -> None:
    """Lit windows in rows, about half of them dark."""
    left, right = sorted((path[0][0], path[1][0]))
    top, bottom = sorted((path[0][1], path[1][1]))
    step = 0.05 * tall
    for row in range(int((bottom - top) / step)):
        for column in range(int((right - left) / step)):
            if hash_to_unit("window", points, row, column) > 0.5:
                x, y = left + column * step, top + row * step
                box = (*canvas.to_pixel(x, y), *canvas.to_pixel(x + step * 0.5, y + step * 0.6))
                canvas.pen.rectangle(box, fill=color)


SHAPE_DRAWERS: dict[str, Callable[[Canvas, Path, Path, Color, float, float], None]] = {
    "blob": _draw_poly,
    "poly": _draw_poly,
    "disc": _draw_disc,
    "line": _draw_line,
    "grid": _draw_windows,
}


# ── pictures made of pictures
# ────────────────────────────────────────────────────────────────────────────────────────


def open_image(body: bytes) -> Image.Image:
    """The pixels of a picture that somebody sent, upright, RGB; a plain grey square if it is
    none.
    """
    try:
        with Image.open(io.BytesIO(body)) as image:
            if image.width * image.height > 40_000_000:
                return Image.new("RGB", (64, 64), (128, 128, 128))
            image.draft("RGB", (2048, 2048))
            return _flatten(ImageOps.exif_transpose(image))
    except Exception:  # whatever Pillow says about bytes that are no picture
        return Image.new("RGB", (64, 64), (128, 128, 128))


def _flatten(image: Image.Image) -> Image.Image:
    """Transparency on white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def is_image(body: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(body)) as image:
            return image.width > 0
    except Exception:
        return False


@dataclass(frozen=True, slots=True)
class Photo:
    """A picture that somebody sent; a variation leans its colours towards the palette of the
    words.
    """

    body: bytes
    prompt: str
    lineage: Lineage
    view: Box

    def vary(self, seed: int, strength: float) -> Photo:
        return replace(self, lineage=extend_lineage(self.lineage, seed, strength))

    def expand(self, seed: int, view: Box) -> Scene:
        return Scene(self.prompt, ((seed, 1.0),), view)

    def draw(self, size: Size) -> Image.Image:
        image = ImageOps.fit(open_image(self.body), size, Image.Resampling.LANCZOS)
        if not self.lineage:
            return image
        dice = SeededRandom(((self.lineage[0][0], 1.0), *self.lineage[1:]))
        words = extract_words(self.prompt)
        colors = build_palette(choose_mood(words, dice), words, dice)
        tinted = ImageOps.colorize(
            ImageOps.autocontrast(image.convert("L")),
            colors.near,
            colors.light,
            mid=mix_colors(colors.accent, colors.middle, 0.5),
        )
        strength = min(0.85, sum(share for _, share in self.lineage))
        return Image.blend(image, tinted, strength * dice("tint", 0.5, 0.95))


def load_photo(body: bytes, prompt: str = "", lineage: Lineage = ()) -> Photo:
    image = open_image(body)
    return Photo(body, prompt, lineage, center_view(min(5.0, max(0.2, image.width / image.height))))


@dataclass(frozen=True, slots=True)
class Outpainted:
    """`inner`, kept as it is, in the world that `outer` shows around it."""

    outer: Drawable
    inner: Drawable
    view: Box

    def vary(self, seed: int, strength: float) -> Outpainted:
        return replace(
            self, outer=self.outer.vary(seed, strength), inner=self.inner.vary(seed, strength)
        )

    def expand(self, seed: int, view: Box) -> Drawable:
        return self.outer.expand(seed, view)

    def draw(self, size: Size) -> Image.Image:
        image = self.outer.draw(size)
        scale = size[0] / (self.view[2] - self.view[0])
        left, top = (round((self.inner.view[i] - self.view[i]) * scale) for i in (0, 1))
        right, bottom = (round((self.inner.view[i + 2] - self.view[i]) * scale) for i in (0, 1))
        inner = self.inner.draw((max(1, right - left), max(1, bottom - top)))
        image.paste(
            inner, (left, top), _build_feather_mask(inner.size, (left, top, right, bottom), size)
        )
        return image


def _build_feather_mask(inner: Size, box: tuple[int, int, int, int], outer: Size) -> Image.Image:
    """Opaque, with soft edges wherever the inner picture does not reach the rim of the outer
    one.
    """
    soft = max(2, min(inner) // 24)
    solid = Image.new("L", inner)
    left, top = (soft if box[i] > 1 else -soft for i in (0, 1))
    right, bottom = (inner[i] - (soft if box[i + 2] < outer[i] - 1 else -soft) for i in (0, 1))
    ImageDraw.Draw(solid).rectangle((left, top, right, bottom), fill=255)
    grown = ImageOps.expand(solid, soft * 2, 0)
    ImageDraw.Draw(grown).rectangle(
        (left + soft * 2, top + soft * 2, right + soft * 2, bottom + soft * 2), fill=255
    )
    return grown.filter(ImageFilter.GaussianBlur(soft / 2)).crop(
        (soft * 2, soft * 2, inner[0] + soft * 2, inner[1] + soft * 2)
    )


@dataclass(frozen=True, slots=True)
class Inpainted:
    """`over` where the mask is white, `under` elsewhere, to the pixel."""

    under: Drawable
    over: Drawable
    mask: bytes

    @property
    def view(self) -> Box:
        return self.under.view

    def vary(self, seed: int, strength: float) -> Inpainted:
        return replace(
            self, under=self.under.vary(seed, strength), over=self.over.vary(seed, strength)
        )

    def expand(self, seed: int, view: Box) -> Drawable:
        return self.under.expand(seed, view)

    def draw(self, size: Size) -> Image.Image:
        mask = open_image(self.mask).convert("L").resize(size, Image.Resampling.BILINEAR)
        return Image.composite(
            self.over.draw(size),
            self.under.draw(size),
            mask.point(lambda level: level // 128 * 255),
        )


@dataclass(frozen=True, slots=True)
class Blended:
    """Several pictures in one: the last ones shine through the first along a soft wave."""

    parts: tuple[Drawable, ...]
    lineage: Lineage
    view: Box

    def vary(self, seed: int, strength: float) -> Blended:
        return replace(self, lineage=extend_lineage(self.lineage, seed, strength))

    def expand(self, seed: int, view: Box) -> Drawable:
        return self.parts[0].expand(seed, view)

    def draw(self, size: Size) -> Image.Image:
        dice = SeededRandom(self.lineage)
        image = self.parts[0].draw(size)
        for number, part in enumerate(self.parts[1:], 2):
            wave = (
                Image.linear_gradient("L")
                .rotate(360 * dice(("turn", number)))
                .crop((40, 40, 216, 216))
                .resize(size)
            )
            share = dice(("share", number), 1.1, 1.7) / number
            mask = wave.point([round(min(235, max(30, level * share))) for level in range(256)])
            image = Image.composite(part.draw(size), image, mask)
        return image


@dataclass(frozen=True, slots=True)
class FaceSwapped:
    """`target` with the middle of `source` as its face."""

    source: Drawable
    target: Drawable

    @property
    def view(self) -> Box:
        return self.target.view

    def vary(self, seed: int, strength: float) -> FaceSwapped:
        return replace(self, target=self.target.vary(seed, strength))

    def expand(self, seed: int, view: Box) -> Drawable:
        return self.target.expand(seed, view)

    def draw(self, size: Size) -> Image.Image:
        image = self.target.draw(size)
        side = min(size) // 2
        face = ImageOps.fit(
            self.source.draw((side * 2, side * 2)), (side, side), centering=(0.5, 0.4)
        )
        oval = (
            Image.radial_gradient("L")
            .resize((side, side))
            .point([255 if x < 150 else 0 for x in range(256)])
        )
        image.paste(
            face,
            ((size[0] - side) // 2, (size[1] - side) // 3),
            oval.filter(ImageFilter.GaussianBlur(side / 30)),
        )
        return image


Grid = tuple[Drawable, ...]


def imagine(prompt: str, seed: int) -> Grid:
    """The four pictures of a prompt: the same prompt and seed always give the same four."""
    view = center_view(parse_aspect_ratio(prompt))
    return tuple(Scene(prompt, ((_derive_seed(seed, cell), 1.0),), view) for cell in range(4))


def vary(picture: Drawable, seed: int, strength: float) -> Grid:
    """Four relatives; strength from 0 (the same) to 1 (nothing left of it)."""
    return tuple(picture.vary(_derive_seed(seed, cell), strength) for cell in range(4))


def zoom_out(picture: Drawable, seed: int, factor: float) -> Grid:
    """The picture in the middle of four wider ones."""
    left, top, right, bottom = picture.view
    x, y = (left + right) / 2, (top + bottom) / 2
    wide, high = (right - left) / 2 * factor, (bottom - top) / 2 * factor
    return _outpaint(picture, seed, (x - wide, y - high, x + wide, y + high))


def make_square(picture: Drawable, seed: int) -> Grid:
    """The picture, widened in its shorter direction until it is square."""
    left, top, right, bottom = picture.view
    half = max(right - left, bottom - top) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    return _outpaint(picture, seed, (x - half, y - half, x + half, y + half))


PAN_DIRECTIONS = {
    "left": (-1, 0, 0, 0),
    "up": (0, -1, 0, 0),
    "right": (0, 0, 1, 0),
    "down": (0, 0, 0, 1),
}


def pan(picture: Drawable, seed: int, direction: str) -> Grid:
    """The picture, longer by half in one direction."""
    left, top, right, bottom = picture.view
    a, b, c, d = PAN_DIRECTIONS[direction]
    wide, high = (right - left) / 2, (bottom - top) / 2
    return _outpaint(
        picture, seed, (left + a * wide, top + b * high, right + c * wide, bottom + d * high)
    )


MAX_PAN_RATIO = 6.0  # sides of a panned picture
MAX_VIEW_SIDE = 40.0  # how much of the world one can see
MAX_NESTING = 6  # pictures in pictures


def _get_nesting_depth(picture: Drawable) -> int:
    return (
        1 + _get_nesting_depth(picture.inner if isinstance(picture, Outpainted) else picture.under)
        if _is_nested(picture)
        else 0
    )


def _is_nested(picture: Drawable) -> TypeGuard[Outpainted | Inpainted]:
    return isinstance(picture, Outpainted | Inpainted)


def _limit_nesting(picture: Drawable) -> Drawable:
    """Of a picture in a picture in a picture … only the outermost world."""
    while _is_nested(picture) and _get_nesting_depth(picture) > MAX_NESTING:
        picture = picture.outer if isinstance(picture, Outpainted) else picture.under
    return picture


def _outpaint(picture: Drawable, seed: int, view: Box) -> Grid:
    left, top, right, bottom = view
    if (
        max(right - left, bottom - top) > MAX_VIEW_SIDE
        or not 1 / MAX_PAN_RATIO <= (right - left) / (bottom - top) <= MAX_PAN_RATIO
    ):
        view = picture.view
    picture = _limit_nesting(picture)
    return tuple(
        Outpainted(picture.expand(_derive_seed(seed, cell), view), picture, view)
        for cell in range(4)
    )


def inpaint(picture: Drawable, seed: int, prompt: str, mask: bytes | None) -> Grid:
    """Four takes on what could be in the white part of the mask (everywhere without one)."""
    picture = _limit_nesting(picture)
    fresh = [_replace_scene(picture, _derive_seed(seed, cell), prompt) for cell in range(4)]
    return tuple(Inpainted(picture, scene, mask) if mask else scene for scene in fresh)


def _replace_scene(picture: Drawable, seed: int, prompt: str) -> Scene:
    """Another story in the same land, so that the seam of a patch hardly shows."""
    if isinstance(picture, Scene):
        lineage = extend_lineage(picture.lineage, seed, 0.12)
        return Scene(prompt, lineage, picture.view, picture.color_prompt or picture.prompt)
    if isinstance(picture, Outpainted | Inpainted):
        return replace(
            _replace_scene(
                picture.outer if isinstance(picture, Outpainted) else picture.under, seed, prompt
            ),
            view=picture.view,
        )
    return Scene(prompt, ((seed, 1.0),), picture.view)


def edit(picture: Drawable, seed: int, prompt: str, mask: bytes | None) -> Grid:
    """Four takes on a sent picture in the colours of the prompt."""
    tinted = [picture.vary(_derive_seed(seed, cell), 0.8) for cell in range(4)]
    if isinstance(picture, Photo):
        tinted = [
            Photo(picture.body, prompt, ((_derive_seed(seed, cell), 0.8),), picture.view)
            for cell in range(4)
        ]
    return tuple(Inpainted(picture, take, mask) if mask else take for take in tinted)


def replace_prompt(picture: Drawable, prompt: str) -> Drawable:
    """The same picture for another prompt, where it was drawn from one."""
    if isinstance(picture, Scene):
        return replace(picture, prompt=prompt, color_prompt="")
    if isinstance(picture, Outpainted):
        return replace(
            picture,
            outer=replace_prompt(picture.outer, prompt),
            inner=replace_prompt(picture.inner, prompt),
        )
    return picture


def blend(parts: Sequence[Drawable], seed: int, ratio: float) -> Grid:
    return tuple(
        Blended(tuple(parts), ((_derive_seed(seed, cell), 1.0),), center_view(ratio))
        for cell in range(4)
    )


def _derive_seed(seed: int, part: object) -> int:
    return int.from_bytes(hashlib.blake2b(f"{seed}/{part}".encode(), digest_size=4).digest(), "big")


# ── bytes
# ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def compose_grid(pictures: Sequence[Drawable], area: int = CELL_AREA) -> Image.Image:
    """One picture as it is, four as a grid without gutters."""
    size = get_pixel_size(pictures[0], area)
    if len(pictures) == 1:
        return pictures[0].draw(size)
    sheet = Image.new("RGB", (size[0] * 2, size[1] * 2))
    for picture, (column, row) in zip(pictures, CELL_POSITIONS, strict=False):
        sheet.paste(picture.draw(size), (column * size[0], row * size[1]))
    return sheet


def encode_png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def encode_webp(image: Image.Image, quality: int = 80) -> bytes:
    out = io.BytesIO()
    image.save(out, "WEBP", quality=quality, method=0)
    return out.getvalue()


def render_preview(pictures: Sequence[Drawable], progress: int) -> bytes:
    """What is to be seen half way: small, and the blurrier the earlier."""
    image = compose_grid(pictures, CELL_AREA // 16 if len(pictures) > 1 else CELL_AREA // 4)
    radius = max(1.0, (100 - progress) / 100 * min(image.size) / 14)
    return encode_webp(image.filter(ImageFilter.GaussianBlur(radius)), 60)


VIDEO_FRAMES = 16


def render_video(
    start: Drawable, motion: float, seed: int, end: Drawable | None = None, loop: bool = False
) -> bytes:
    """A short moving picture (an animated WebP): a slow camera over the scene, or from one picture
    to another.
    """
    width, height = get_pixel_size(start, 320 * 320)
    reach = 1 + 0.5 * motion
    still = start.draw((round(width * reach), round(height * reach)))
    last = end.draw((width, height)) if end else None
    frames = list(_iter_video_frames(still, (width, height), last, seed, loop))
    out = io.BytesIO()
    frames[0].save(
        out,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=125,
        loop=0,
        quality=70,
        method=0,
    )
    return out.getvalue()


def _iter_video_frames(
    still: Image.Image, size: Size, last: Image.Image | None, seed: int, loop: bool
) -> Iterator[Image.Image]:
    room = (still.width - size[0], still.height - size[1])
    turn = hash_to_unit(seed, "way") * 6.28
    for number in range(VIDEO_FRAMES):
        share = number / (VIDEO_FRAMES - 1)
        path = math.sin(math.pi * share) if loop else share
        x = room[0] / 2 * (1 + math.cos(turn) * (path - 0.5) * 1.9)
        y = room[1] / 2 * (1 + math.sin(turn) * (path - 0.5) * 1.9)
        image = still.transform(
            size, Image.Transform.AFFINE, (1, 0, x, 0, 1, y), Image.Resampling.BILINEAR
        )
        yield Image.blend(image, last, path) if last else image


# ── reading pictures and prompts
# ─────────────────────────────────────────────────────────────────────────────────────


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


# ── sample pictures for an empty bucket
# ──────────────────────────────────────────────────────────────────────────────


def _draw_scene(prompt: str, seed: int, size: Size) -> Image.Image:
    return Scene(prompt, ((seed, 1.0),), center_view(size[0] / size[1])).draw(size)


def _encode_image(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _draw_deer() -> bytes:
    return _encode_image(
        _draw_scene("a deer in a misty forest --ar 3:2", 11, (1000, 667)), "JPEG", quality=88
    )


def _draw_lighthouse() -> bytes:
    return encode_png(_draw_scene("a lighthouse at dusk --ar 2:3", 5, (640, 960)))


def _draw_banner() -> bytes:
    return encode_webp(_draw_scene("snow pines in winter --ar 3:1", 3, (1200, 400)), 85)


def _draw_portrait() -> bytes:
    """As a camera held upright writes it: the pixels lie on their side, and orientation 6 says
    so.
    """
    exif = Image.Exif()
    tags = {
        0x0112: 6,
        0x010F: "Sandbox",
        0x0110: "Drawn Camera",
        0x0131: "jupyter_mjci",
        0x0132: "2026:01:01 08:00:00",
    }
    exif.update(tags)
    upright = _draw_scene("portrait of a woman at sunrise --ar 3:4", 8, (600, 800))
    return _encode_image(
        upright.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=88, exif=exif.tobytes()
    )


def _draw_spinner() -> bytes:
    """Twelve frames of a dot that runs round."""
    frames = []
    for number in range(12):
        image = Image.new("RGB", (240, 240), NAMED_COLORS["cream"])
        pen = ImageDraw.Draw(image)
        for dot in range(12):
            angle = math.tau * dot / 12
            x, y = 120 + 76 * math.cos(angle), 120 + 76 * math.sin(angle)
            radius = 8 + 12 * ((dot - number) % 12) / 12
            color = mix_colors(
                NAMED_COLORS["cream"], NAMED_COLORS["crimson"], ((dot - number) % 12) / 11
            )
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
        frames.append(image.quantize(64))
    return _encode_image(
        frames[0], "GIF", save_all=True, append_images=frames[1:], duration=80, loop=0
    )


def _draw_logo() -> bytes:
    """A badge on nothing: transparent corners, a half transparent shadow."""
    image = Image.new("RGBA", (1024, 1024))
    pen = ImageDraw.Draw(image)
    pen.ellipse((72, 92, 992, 1012), fill=(0, 0, 0, 60))
    pen.ellipse((52, 52, 972, 972), fill=(*NAMED_COLORS["navy"], 255))
    pen.ellipse((112, 112, 912, 912), fill=(*NAMED_COLORS["cream"], 255))
    for color, points in (
        ("teal", ((200, 700), (440, 330), (620, 610), (720, 480), (830, 700))),
        ("orange", ((330, 700), (440, 530), (560, 700))),
    ):
        pen.polygon(points, fill=(*NAMED_COLORS[color], 255))
    pen.ellipse((610, 250, 750, 390), fill=(*NAMED_COLORS["gold"], 255))
    return _encode_image(
        image.resize((512, 512), Image.Resampling.LANCZOS), "PNG", compress_level=6
    )


SAMPLES: dict[str, Callable[[], bytes]] = {
    "input/deer.jpg": _draw_deer,
    "input/lighthouse.png": _draw_lighthouse,
    "input/banner.webp": _draw_banner,
    "input/portrait.jpg": _draw_portrait,
    "input/spinner.gif": _draw_spinner,
    "input/logo.png": _draw_logo,
}


@cache
def _get_sample(name: str) -> bytes:
    return SAMPLES[name]()


def build_samples() -> dict[str, bytes]:
    """A few drawn pictures of several formats, by object key: the same bytes in every run."""
    return {name: _get_sample(name) for name in SAMPLES}
