"""Landscapes: a world without edges (sky, ridges, water, a figure), seen through a view.

Everything is placed in world coordinates, so a wider view shows
more of the same world: that is how zooming out and panning work.
The order of drawing calls and the names of random numbers are
part of the result: a change of either changes every generated
image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw, ImageFilter

from jupyter_mjci.emulator.drawing.canvas import Box, Canvas, Point, Size
from jupyter_mjci.emulator.drawing.figures import (
    FIGURE_BY_WORD,
    FIGURE_PLACEMENT,
    Placement,
    draw_shape,
    load_shapes,
)
from jupyter_mjci.emulator.drawing.palettes import (
    BLACK,
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

WATER_TEXT = "sea ocean beach lighthouse boat ship sail island whale lake harbour wave"
WATER_WORDS = frozenset(WATER_TEXT.split())
TREE_TEXT = "forest wood woods jungle fox deer wolf autumn snow winter pine bear"
TREE_WORDS = frozenset(TREE_TEXT.split())
STARRY_MOODS = {"night", "neon"}
MAX_SMOOTHED_PIXELS = 2_000_000
MAX_GRID_CELLS = 250
GLOW_COLOR = (255, 226, 140)
TAU_ROUNDED = 6.28

Ridge = Callable[[float], float]  # the height of the land at x


@dataclass(frozen=True, slots=True)
class Scene:
    """A landscape in the mood of a prompt's words."""

    prompt: str
    lineage: Lineage
    view: Box
    color_prompt: str = ""  # another prompt that sets the colors

    def vary(self, seed: int, strength: float) -> Scene:
        return replace(self, lineage=extend_lineage(self.lineage, seed, strength))

    def expand(self, seed: int, view: Box) -> Scene:
        return replace(self, lineage=extend_lineage(self.lineage, seed, 0.05), view=view)

    def draw(self, size: Size) -> Image.Image:
        """Draw at twice the size and reduce, for smooth edges; very large images as they are."""
        factor = 2 if size[0] * size[1] <= MAX_SMOOTHED_PIXELS else 1
        canvas = Canvas(self.view, (size[0] * factor, size[1] * factor))
        color_prompt = self.color_prompt or self.prompt
        _paint_scene(canvas, self.prompt, color_prompt, SeededRandom(self.lineage))
        return canvas.image.reduce(2) if factor == 2 else canvas.image


@dataclass(frozen=True, slots=True)
class SceneContext:
    """What every layer of one scene needs to know."""

    words: tuple[str, ...]
    rng: SeededRandom
    mood: str
    colors: Palette
    horizon: float
    has_water: bool
    # how deep the scene reaches: less for wide images
    depth: float

    @property
    def root_seed(self) -> int:
        """The seed that all variations of the scene share."""
        return self.rng.lineage[0][0]


def _paint_scene(canvas: Canvas, prompt: str, color_prompt: str, rng: SeededRandom) -> None:
    words = extract_words(prompt)
    color_words = extract_words(color_prompt)
    mood = choose_mood(color_words, rng)
    depth = min(1.1, parse_aspect_ratio(color_prompt) ** -0.5)
    scene = SceneContext(
        words=words,
        rng=rng,
        mood=mood,
        colors=build_palette(mood, words, rng),
        horizon=rng("horizon", 0.04, 0.2) * depth,
        has_water=not WATER_WORDS.isdisjoint(color_words),
        depth=depth,
    )
    _draw_sky(canvas, scene)
    if mood in STARRY_MOODS:
        _draw_stars(canvas, scene)
    _draw_sun(canvas, scene)
    _draw_clouds(canvas, scene)
    if scene.has_water:
        _draw_sea(canvas, scene)
    else:
        _draw_hills(canvas, scene)
    _draw_figure(canvas, scene)
    _draw_birds(canvas, scene)


# Sky


def _draw_sky(canvas: Canvas, scene: SceneContext) -> None:
    top, bottom = canvas.view[1], canvas.view[3]
    colors = scene.colors
    heights = (
        (-1.2, mix_colors(colors.top, BLACK, 0.35)),
        (-0.55, colors.top),
        (scene.rng("middle", -0.3, -0.12), colors.middle),
        (scene.horizon, colors.horizon),
        (scene.horizon + 1, colors.horizon),
    )
    stops = [((y - top) / (bottom - top), color) for y, color in heights]
    canvas.fill((0, 0, *canvas.size), canvas.build_gradient(stops, canvas.size[1]), None)


def _iter_cells(low: float, high: float, step: float) -> range:
    """Return the grid cells between two edges; none where they would be too many to tell apart."""
    if high - low > MAX_GRID_CELLS * step:
        return range(0)
    return range(math.floor(low / step), math.ceil(high / step) + 1)


def _draw_stars(canvas: Canvas, scene: SceneContext) -> None:
    """Draw one star in each cell of the world, so that a wider view has more of them."""
    step = 0.075
    left, top, right, _ = canvas.view
    for row in _iter_cells(top, scene.horizon, step):
        for column in _iter_cells(left, right, step):
            x, y, size = (
                hash_to_unit(scene.root_seed, "star", row, column, axis) for axis in "xys"
            )
            px, py = canvas.to_pixel((column + x) * step, (row + y) * step)
            radius = canvas.scale * (0.0008 + 0.0022 * size**4)
            color = mix_colors(scene.colors.middle, scene.colors.light, 0.35 + 0.65 * size)
            canvas.pen.ellipse((px - radius, py - radius, px + radius, py + radius), color)


def _place_sun(scene: SceneContext) -> tuple[float, float, float]:
    """Return the sun's x, y and radius."""
    rng = scene.rng
    return (
        rng("sun.x", -0.3, 0.3),
        rng("sun.y", -0.3, scene.horizon - 0.07),
        rng("sun.r", 0.045, 0.1),
    )


def _draw_sun(canvas: Canvas, scene: SceneContext) -> None:
    x, y, radius = _place_sun(scene)
    light = scene.colors.light
    canvas.draw_glow(x, y, radius * 7, mix_colors(light, scene.colors.horizon, 0.4), 0.55)
    canvas.draw_glow(x, y, radius * 2.6, light, 0.6)
    canvas.draw_disc(x, y, radius, light)
    if scene.mood == "night":
        _draw_craters(canvas, scene, x, y, radius)


def _draw_craters(canvas: Canvas, scene: SceneContext, x: float, y: float, radius: float) -> None:
    color = mix_colors(scene.colors.light, scene.colors.middle, 0.16)
    for number in range(4):
        crater_radius = radius * scene.rng(("crater", number), 0.1, 0.24)
        angle = scene.rng(("angle", number), 0, TAU_ROUNDED)
        distance = radius * scene.rng(("far", number), 0.15, 0.65)
        crater_x = x + math.cos(angle) * distance
        crater_y = y + math.sin(angle) * distance
        canvas.draw_disc(crater_x, crater_y, crater_radius, color)


def _draw_clouds(canvas: Canvas, scene: SceneContext) -> None:
    """Draw long bands of ellipses: small, then blurred and enlarged."""
    mask = Image.new("L", (max(1, canvas.size[0] // 8), max(1, canvas.size[1] // 8)))
    pen = ImageDraw.Draw(mask)
    scale = canvas.scale / 8
    for band in range(int(scene.rng("clouds", 3, 9))):
        for box in _iter_puffs(scene, band):
            corners = [(box[i] - canvas.view[i % 2]) * scale for i in range(4)]
            pen.ellipse(corners, fill=120)
    blurred = mask.filter(ImageFilter.GaussianBlur(max(0.6, scale * 0.006)))
    soft = blurred.resize(canvas.size, Image.Resampling.BICUBIC)
    color = mix_colors(scene.colors.horizon, scene.colors.light, 0.5)
    canvas.image.paste(color, (0, 0), soft)


def _iter_puffs(scene: SceneContext, band: int) -> list[Box]:
    """Return the boxes of the three ellipses of a cloud."""
    x = scene.rng(("cx", band), -0.9, 0.9)
    y = scene.rng(("cy", band), -0.5, scene.horizon - 0.05)
    length = scene.rng(("cl", band), 0.12, 0.45)
    thickness = scene.rng(("ct", band), 0.006, 0.022)
    boxes = []
    for puff in range(3):
        center = x + length * (puff - 1) * 0.35
        width = length * (1 - 0.25 * puff)
        height = thickness * (1 + 0.5 * puff)
        low = y - thickness * puff * 0.7
        boxes.append((center - width / 2, low - height, center + width / 2, low + height))
    return boxes


# Land


def _build_ridge(rng: SeededRandom, name: int, base: float, height: float, peaks: bool) -> Ridge:
    """Return the outline of the land: sine waves for hills, folded ones for mountains."""
    tempo = rng(("tempo", name), 2.2, 4.2)
    if peaks:
        tempo *= 1.35
    phases = [rng(("phase", name, wave), 0, TAU_ROUNDED) for wave in range(4)]

    def hills(x: float) -> float:
        swell = 0.6 * math.sin(tempo * x + phases[0]) + 0.3 * math.sin(2.3 * tempo * x + phases[1])
        return base - height * (swell + 0.1 * math.sin(5.1 * tempo * x + phases[2]))

    def mountains(x: float) -> float:
        swell = 1.1 - 1.6 * abs(math.sin(tempo * x * 0.7 + phases[0]))
        rough = 0.45 * (1 - 2 * abs(math.sin(tempo * 1.9 * x + phases[1])))
        fine = 0.16 * (1 - 2 * abs(math.sin(tempo * 4.7 * x + phases[2])))
        return base - height * (swell + rough + fine + 0.06 * math.sin(tempo * 13 * x + phases[3]))

    return mountains if peaks else hills


def _fill_ridge(canvas: Canvas, ridge: Ridge, upper: Color, lower: Color) -> None:
    """Fill the land below a ridge with a gradient."""
    steps = 170
    left, _, right, bottom = canvas.view
    line = []
    for i in range(steps + 1):
        x = left + (right - left) * i / steps
        line.append((x, ridge(x)))
    top = max(0, math.floor(canvas.to_pixel(0, min(y for _, y in line))[1]))
    if top >= canvas.size[1]:
        return
    path = canvas.to_pixels([*line, (right, bottom + 1), (left, bottom + 1)])
    mask = Image.new("1", (canvas.size[0], canvas.size[1] - top))
    ImageDraw.Draw(mask).polygon([(x, y - top) for x, y in path], fill=1)
    reach = max(1, round(0.34 * canvas.scale))
    stops = [(0.0, upper), (min(1.0, reach / mask.size[1]), lower), (1.0, lower)]
    canvas.fill((0, top, *canvas.size), canvas.build_gradient(stops, mask.size[1]), mask)


# Base below the horizon and height of the four ridges, the
# farthest first.
RIDGES = ((0.02, 0.1), (0.08, 0.06), (0.17, 0.045), (0.3, 0.035))


def _draw_hills(canvas: Canvas, scene: SceneContext) -> None:
    """Draw four ridges, each nearer, darker and lower; the last
    two with trees if the words suggest any.
    """
    colors, rng = scene.colors, scene.rng
    haze = mix_colors(colors.horizon, colors.middle, 0.45)
    mountain_ridges = 2 if rng.get_fixed("alps") > 0.5 else 1
    has_trees = _has_trees(scene)
    for number, (below, height) in enumerate(RIDGES):
        nearness = number / 3
        base = scene.horizon + below * scene.depth
        ridge = _build_ridge(rng, number, base, height, peaks=number < mountain_ridges)
        color = mix_colors(haze, colors.near, 0.22 + 0.7 * nearness)
        lower = mix_colors(color, colors.horizon, 0.3 * (1 - nearness) + 0.04)
        _fill_ridge(canvas, ridge, color, lower)
        if has_trees and number >= 2:
            _draw_trees(canvas, scene, ridge, number, mix_colors(color, BLACK, 0.22))
    _draw_foreground(canvas, scene)


def _has_trees(scene: SceneContext) -> bool:
    if not TREE_WORDS.isdisjoint(scene.words):
        return True
    return scene.rng.get_fixed("leafy") > 0.55 and "desert" not in scene.words


def _draw_foreground(canvas: Canvas, scene: SceneContext) -> None:
    """Draw the ground in front of the scene, which only a wider view shows."""
    for number, base in enumerate((0.66, 0.85, 1.1, 1.4, 1.8)):
        if base - 0.1 < canvas.view[3]:
            color = mix_colors(scene.colors.near, BLACK, min(0.6, 0.18 + 0.14 * number))
            ridge = _build_ridge(scene.rng, 10 + number, base, 0.06, peaks=False)
            _fill_ridge(canvas, ridge, color, mix_colors(color, BLACK, 0.15))


def _draw_trees(
    canvas: Canvas, scene: SceneContext, ridge: Ridge, number: int, color: Color
) -> None:
    step, gaps = ((0.05, 0.3), (0.13, 0.5))[number - 2]
    seed = scene.root_seed
    for cell in _iter_cells(canvas.view[0], canvas.view[2], step):
        is_gap = hash_to_unit(seed, "tree", number, cell) < gaps
        hides_figure = number == 3 and abs(cell) < 3
        if is_gap or hides_figure:
            continue
        x = (cell + hash_to_unit(seed, "at", number, cell)) * step
        height = step * (1.1 + 0.9 * hash_to_unit(seed, "tall", number, cell))
        outline = _build_pine(x, ridge(x) + height * 0.06, height)
        canvas.pen.polygon(canvas.to_pixels(outline), fill=color)


def _build_pine(x: float, y: float, height: float) -> list[Point]:
    """Return the outline of a conifer: four tiers, each wider than the one above."""
    right = [(0.0, 1.0)]
    for tier in range(4):
        low = 0.74 - 0.2 * tier
        width = 0.11 + 0.065 * tier
        right += [(width, low), (width * 0.5, low + 0.015)]
    right += [(0.035, 0.12), (0.035, 0.0)]
    left = [(-px, py) for px, py in reversed(right)]
    return [(x + px * height, y - py * height) for px, py in right + left]


# Sea


def _draw_sea(canvas: Canvas, scene: SceneContext) -> None:
    """Draw far headlands, water that mirrors the sky and the sun, and a shore in front."""
    colors, rng = scene.colors, scene.rng
    haze = mix_colors(colors.horizon, colors.middle, 0.5)
    for number in range(2):
        height = 0.07 - 0.03 * number
        ridge = _build_ridge(rng, number, scene.horizon + 0.02, height, peaks=number == 0)
        color = mix_colors(haze, colors.near, 0.2 + 0.18 * number)
        _fill_ridge(canvas, ridge, color, mix_colors(color, colors.horizon, 0.35))
    _draw_water(canvas, scene)
    shore = _build_ridge(rng, 7, scene.horizon + 0.36 * scene.depth, 0.06, peaks=False)
    _fill_ridge(canvas, shore, mix_colors(colors.near, colors.horizon, 0.12), colors.near)
    _draw_foreground(canvas, scene)


def _draw_water(canvas: Canvas, scene: SceneContext) -> None:
    colors = scene.colors
    top = max(0, round(canvas.to_pixel(0, scene.horizon)[1]))
    height = canvas.size[1] - top
    if height <= 0:
        return
    deep = mix_colors(colors.near, colors.top, 0.35)
    shallow_end = min(1.0, 0.2 * canvas.scale / height)
    deep_start = max(shallow_end, min(1.0, 0.6 * canvas.scale / height))
    stops = [
        (0.0, mix_colors(colors.horizon, colors.middle, 0.5)),
        (shallow_end, colors.middle),
        (deep_start, deep),
        (1.0, deep),
    ]
    canvas.fill((0, top, *canvas.size), canvas.build_gradient(stops, height), None)
    _draw_waves(canvas, scene)


def _draw_waves(canvas: Canvas, scene: SceneContext) -> None:
    """Draw short strokes, longer towards the viewer and bright under the sun."""
    seed, colors = scene.root_seed, scene.colors
    sun_x = _place_sun(scene)[0]
    for row in range(46):
        depth = (row / 46) ** 1.6
        y = scene.horizon + 0.006 + depth * 0.85
        step = 0.06 + 0.22 * depth
        width = max(1, round(canvas.scale * (0.0014 + 0.0035 * depth)))
        for cell in _iter_cells(canvas.view[0], canvas.view[2], step):
            x = (cell + hash_to_unit(seed, "wave", row, cell)) * step
            shine = max(0.0, 1 - abs(x - sun_x) / (0.06 + 0.22 * depth))
            length = step * (0.12 + 0.4 * hash_to_unit(seed, "long", row, cell)) * (1 + shine)
            color = mix_colors(colors.middle, colors.light, 0.12 + 0.8 * shine)
            path = canvas.to_pixels([(x - length / 2, y), (x + length / 2, y)])
            canvas.pen.line(path, fill=color, width=width)


# Figure and birds


def _draw_figure(canvas: Canvas, scene: SceneContext) -> None:
    """Draw what the prompt is about, if there is a figure for one of its words."""
    for word in scene.words:
        if word in FIGURE_BY_WORD:
            break
    else:
        return
    figure = FIGURE_BY_WORD[word]
    placement = _place_figure(scene, figure)
    _draw_figure_glow(canvas, scene, figure, placement)
    colors = _build_figure_colors(scene)
    for shape in load_shapes(figure):
        draw_shape(canvas, shape, placement, colors[shape.tone])


def _place_figure(scene: SceneContext, figure: str) -> Placement:
    height, above = FIGURE_PLACEMENT.get(figure, (0.4, 0.0))
    height *= scene.rng("motif.size", 0.88, 1.12) * (0.3 + 0.7 * scene.depth)
    if figure in ("boat", "whale"):
        base = scene.horizon + 0.12 * scene.depth
    elif figure in ("lighthouse", "castle") and not scene.has_water:
        base = 0.36 * scene.depth
    else:
        ground = 0.46 if scene.has_water else 0.4
        base = ground * scene.depth - above
    return Placement(
        x=scene.rng("motif.x", -0.2, 0.2),
        base=base,
        height=height,
        direction=-1 if scene.rng.get_fixed("motif.flip") > 0.5 else 1,
    )


def _draw_figure_glow(
    canvas: Canvas, scene: SceneContext, figure: str, placement: Placement
) -> None:
    """Draw the light of a lighthouse's lamp or of a rocket's engine."""
    lights = {"lighthouse": 0.85, "rocket": 0.1}
    if figure in lights:
        height = placement.height
        y = placement.base - height * lights[figure]
        canvas.draw_glow(placement.x, y, height * 0.45, scene.colors.light, 0.6)


def _build_figure_colors(scene: SceneContext) -> dict[str, Color]:
    colors = scene.colors
    return {
        "body": colors.accent,
        "shade": mix_colors(colors.accent, colors.near, 0.45),
        "dark": mix_colors(colors.near, BLACK, 0.35),
        "light": mix_colors(colors.light, colors.horizon, 0.15),
        "glow": GLOW_COLOR,
    }


def _draw_birds(canvas: Canvas, scene: SceneContext) -> None:
    """Draw a flock in the distance."""
    rng = scene.rng
    if rng.get_fixed("birds") < 0.35 or scene.mood in STARRY_MOODS:
        return
    flock_x = rng("flock.x", -0.35, 0.35)
    flock_y = rng("flock.y", -0.36, -0.12)
    color = mix_colors(scene.colors.near, scene.colors.middle, 0.25)
    width = max(1, round(canvas.scale * 0.0028))
    for bird in range(int(rng("flock", 3, 8))):
        x = flock_x + rng(("bx", bird), -0.14, 0.14)
        y = flock_y + rng(("by", bird), -0.06, 0.06)
        wing = rng(("wing", bird), 0.009, 0.02)
        path = [
            (x - wing, y - wing * 0.55),
            (x - wing * 0.4, y - wing * 0.5),
            (x, y),
            (x + wing * 0.4, y - wing * 0.5),
            (x + wing, y - wing * 0.55),
        ]
        canvas.pen.line(canvas.to_pixels(path), fill=color, width=width, joint="curve")
