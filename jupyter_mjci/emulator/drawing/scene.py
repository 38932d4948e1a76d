from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw, ImageFilter

from jupyter_mjci.emulator.drawing.canvas import Box, Canvas, Size
from jupyter_mjci.emulator.drawing.figures import (
    FIGURE_BY_WORD,
    FIGURE_PLACEMENT,
    SHAPE_DRAWERS,
    _load_shapes,
)
from jupyter_mjci.emulator.drawing.palettes import (
    Color,
    Palette,
    build_palette,
    choose_mood,
    extract_words,
    mix_colors,
    parse_aspect_ratio,
)
from jupyter_mjci.emulator.drawing.seeding import (
    Lineage,
    SeededRandom,
    extend_lineage,
    hash_to_unit,
)

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
    draw_figure(canvas, land)
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


def draw_figure(canvas: Canvas, land: SceneContext) -> None:
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
