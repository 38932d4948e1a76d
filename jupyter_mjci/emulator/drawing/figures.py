"""Figures: what a scene is about, as polygons, discs, lines and grids of windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from jupyter_mjci.emulator.drawing.canvas import Canvas, Point
from jupyter_mjci.emulator.drawing.palettes import Color
from jupyter_mjci.emulator.drawing.seeding import hash_to_unit

# One shape to a line: kind, tone, points ("x,y"; y points up from
# the ground, and 1 is the figure's height). blob: a smooth
# outline; poly: a straight one; disc: center and radii; line: a
# stroke with its width first; grid: two corners of rows of
# windows.
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
        poly shade .2,-.1 .2,.62 .38,.62 .38,.78 .44,.96 .5,.78 .56,.78 .56,.4 .74,.4 .74,.58 \
            .92,.58 .92,-.1
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
        blob dark -.1,.0 -.05,.2 -.06,.44 -.2,.62 -.16,.64 -.02,.5 .04,.66 .08,.66 .04,.46 \
            .2,.58 .22,.55 .06,.36 .1,.0
        disc shade -.24,.66 .2,.17
        disc shade .24,.64 .2,.16
        disc body -.14,.78 .22,.18
        disc body .14,.8 .22,.18
        disc body .0,.66 .2,.15
        disc light -.08,.88 .13,.1
        disc light .14,.88 .1,.07""",
    "whale": """
        blob light -.1,.52 -.22,.74 -.3,.72 -.2,.78 -.1,.62 .0,.78 .1,.72 .02,.74 -.08,.52
        blob body -.6,.1 -.58,.32 -.3,.52 .1,.44 .4,.24 .56,.36 .54,.56 .68,.5 .84,.58 .8,.36 \
            .64,.24 .44,.04 -.3,-.02
        blob light -.6,.1 -.4,.12 -.1,.06 .2,.03 .0,-.03 -.3,-.04
        disc dark -.42,.26 .024,.024""",
    "owl": """
        line dark .07 -.7,.06 .7,.02
        blob body -.28,.1 -.32,.5 -.24,.84 -.3,1.02 -.12,.94 .12,.94 .3,1.02 .24,.84 .32,.5 \
            .28,.1 .0,.0
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
        "person": "man woman girl boy portrait person knight wizard astronaut monk dancer queen "
        "king samurai",
    }.items()
    for word in words.split()
}
# Height in the world, and how far above its ground a figure
# floats; else 0.4 and 0.
FIGURE_PLACEMENT: dict[str, tuple[float, float]] = {
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


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape of a figure, in the figure's own coordinates."""

    kind: str
    tone: str
    points: tuple[Point, ...]
    width: float


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a figure stands in the world; direction -1 mirrors it."""

    x: float
    base: float
    height: float
    direction: int

    def to_world(self, point: Point) -> Point:
        x, y = point
        return self.x + self.direction * x * self.height, self.base - y * self.height


@cache
def load_shapes(figure: str) -> tuple[Shape, ...]:
    """Return the shapes of a figure, the rearmost first."""
    return tuple(_parse_shape(line.split()) for line in FIGURES[figure].strip().splitlines())


def _parse_shape(parts: list[str]) -> Shape:
    kind, tone, *rest = parts
    width = float(rest.pop(0)) if kind == "line" else 0.0
    points = []
    for pair in rest:
        x, y = pair.split(",")
        points.append((float(x), float(y)))
    if kind == "blob":
        points = _smooth(points)
    return Shape(kind, tone, tuple(points), width)


def _smooth(points: list[Point]) -> list[Point]:
    """Cut the corners of a closed outline three times (Chaikin's algorithm)."""
    for _ in range(3):
        smoothed = []
        for (ax, ay), (bx, by) in zip(points, points[1:] + points[:1], strict=True):
            smoothed.append((0.75 * ax + 0.25 * bx, 0.75 * ay + 0.25 * by))
            smoothed.append((0.25 * ax + 0.75 * bx, 0.25 * ay + 0.75 * by))
        points = smoothed
    return points


def draw_shape(canvas: Canvas, shape: Shape, placement: Placement, color: Color) -> None:
    """Draw one shape of a figure."""
    path = [placement.to_world(point) for point in shape.points]
    if shape.kind in ("blob", "poly"):
        canvas.pen.polygon(canvas.to_pixels(path), fill=color)
    elif shape.kind == "line":
        width = max(1, round(shape.width * placement.height * canvas.scale))
        canvas.pen.line(canvas.to_pixels(path), fill=color, width=width, joint="curve")
    elif shape.kind == "disc":
        _draw_disc(canvas, path[0], shape.points[1], placement.height, color)
    else:
        _draw_windows(canvas, path, shape.points, placement.height, color)


def _draw_disc(canvas: Canvas, center: Point, radii: Point, height: float, color: Color) -> None:
    x, y = center
    radius_x, radius_y = radii[0] * height, radii[1] * height
    upper_left = canvas.to_pixel(x - radius_x, y - radius_y)
    lower_right = canvas.to_pixel(x + radius_x, y + radius_y)
    canvas.pen.ellipse((*upper_left, *lower_right), fill=color)


def _draw_windows(
    canvas: Canvas,
    path: Sequence[Point],
    points: tuple[Point, ...],
    height: float,
    color: Color,
) -> None:
    """Draw rows of windows, about half of them lit."""
    left, right = sorted((path[0][0], path[1][0]))
    top, bottom = sorted((path[0][1], path[1][1]))
    step = 0.05 * height
    for row in range(int((bottom - top) / step)):
        for column in range(int((right - left) / step)):
            if hash_to_unit("window", points, row, column) > 0.5:
                x, y = left + column * step, top + row * step
                upper_left = canvas.to_pixel(x, y)
                lower_right = canvas.to_pixel(x + step * 0.5, y + step * 0.6)
                canvas.pen.rectangle((*upper_left, *lower_right), fill=color)
