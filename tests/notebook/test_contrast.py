"""Every text of cards and panels has a contrast of 4.5:1, computed from the style sheets.

By the formula of WCAG 2.1 (https://www.w3.org/TR/WCAG21/#dfn-contrast-ratio), in the light and the
dark theme of the JupyterLab that is installed, and in front ends without its variables. Plots
have their own test, in `tests/history/test_analysis.py`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest

from jupyter_mjci.notebook.card_style import load_rules

Color: TypeAlias = tuple[float, float, float]
NOTEBOOK = Path(__file__).parents[2] / "jupyter_mjci" / "notebook"
THEMES = Path(sys.prefix, "share", "jupyter", "lab", "themes", "@jupyterlab")
BAR = 4.5
NAMES = {"white": (255.0, 255.0, 255.0), "black": (0.0, 0.0, 0.0)}


def read_variables(css: str) -> dict[str, str]:
    return dict(re.findall(r"(--[\w-]+)\s*:\s*([^;}]+)", css))


def load_theme(name: str) -> dict[str, str]:
    """Return the variables of a theme of JupyterLab: what its notebooks are drawn with."""
    return read_variables((THEMES / f"theme-{name}-extension" / "index.css").read_text("utf-8"))


# A page's own colors, which elements inherit, and the variables
# that it defines.
PLAIN: Mapping[str, str] = {}
PAGES: dict[str, tuple[str, str, Mapping[str, str]]] = {
    "light": ("var(--jp-layout-color0)", "var(--jp-ui-font-color1)", load_theme("light")),
    "dark": ("var(--jp-layout-color0)", "var(--jp-ui-font-color1)", load_theme("dark")),
    "panel, light": ("var(--jp-layout-color1)", "var(--jp-ui-font-color1)", load_theme("light")),
    "panel, dark": ("var(--jp-layout-color1)", "var(--jp-ui-font-color1)", load_theme("dark")),
    "no theme": ("white", "black", PLAIN),
    "no theme, dark": ("#111", "white", PLAIN),
}
# The texts of a card, by the classes and elements around them.
CARD_TEXTS: tuple[tuple[str, ...], ...] = (
    ("mjci-job",),
    ("mjci-job", "mjci-job-badge"),
    ("mjci-job-badge",),
    ("mjci-job", "code"),
    ("mjci-job", "code", "mjci-job-id"),
    ("mjci-job", "mjci-job-dim"),
    ("mjci-job", "mjci-job-dim", "code"),
    ("mjci-job-dim",),
    ("mjci-job-notice",),
    ("mjci-job", "dt"),
    ("mjci-job", "dd"),
    ("mjci-job", "mjci-job-why"),
    ("mjci-job", "mjci-job-ask"),
    ("mjci-job", "mjci-job-note"),
    ("mjci-job", "a"),
    ("mjci-snapshot",),
    ("mjci-snapshot", "mjci-job", "dt"),
    ("mjci-snapshot", "mjci-alert"),
    ("mjci-alert",),
)
# Colors that no text stands on or is written in.
NO_TEXT = {"mjci-job-bar", "i", "mjci-job-unknown"}


def resolve(value: str, variables: Mapping[str, str]) -> str:
    """Return a value with its variables replaced, or their fallbacks."""
    while match := re.search(r"var\((--[\w-]+)(?:,\s*((?:[^()]|\([^()]*\))*))?\)", value):
        name, fallback = match[1], match[2]
        if name not in variables and fallback is None:
            raise ValueError(f"{name} is not defined, and has no fallback")
        value = value.replace(match[0], variables.get(name, fallback or ""))
    return value.strip()


def parse_color(text: str) -> tuple[Color, float] | None:
    """Return a color and its alpha; None where a value names none."""
    if match := re.search(r"#([0-9a-fA-F]{3,6})\b", text):
        digits = match[1] if len(match[1]) == 6 else "".join(digit * 2 for digit in match[1])
        red, green, blue = (float(int(digits[start : start + 2], 16)) for start in (0, 2, 4))
        return (red, green, blue), 1.0
    if match := re.search(r"rgba?\(([^)]*)\)", text):
        red, green, blue, *alpha = map(float, match[1].split(","))
        return (red, green, blue), alpha[0] if alpha else 1.0
    return (NAMES[text], 1.0) if text in NAMES else None


def mix(color: Color, alpha: float, ground: Color) -> Color:
    """Return a color with some transparency on its ground."""
    red, green, blue = (a * alpha + b * (1 - alpha) for a, b in zip(color, ground, strict=True))
    return red, green, blue


def compute_contrast(first: Color, second: Color) -> float:
    light, dark = sorted((compute_luminance(first), compute_luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def compute_luminance(color: Color) -> float:
    linear = []
    for part in color:
        part /= 255
        linear.append(part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4)
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def read_declarations(rule: str) -> dict[str, str]:
    pairs = re.findall(r"(?:^|;)\s*([\w-]+):\s*([^;]+)", rule)
    return {name: value.strip() for name, value in pairs}


class Text:
    """A text in a page, as it is drawn inside one element after another."""

    def __init__(self, page: str) -> None:
        ground, ink, self.variables = PAGES[page]
        self.ground = self._get_color(ground, (0.0, 0.0, 0.0))
        self.ink = self._get_color(ink, self.ground)

    def _get_color(self, value: str, ground: Color) -> Color:
        found = parse_color(resolve(value, self.variables))
        assert found is not None, value
        return mix(*found, ground)

    def enter(self, declarations: Mapping[str, str]) -> None:
        """Draw an element inside the last one."""
        behind = self.ground
        if "background" in declarations:
            value = resolve(declarations["background"], self.variables)
            # the last color is the one below a picture
            found = parse_color(re.sub(r"^[\w-]+-gradient\(.*\)\s", "", value))
            self.ground = mix(*found, behind) if found else behind
        color = resolve(declarations.get("color", "inherit"), self.variables)
        found = parse_color(color)
        if found:
            self.ink = mix(*found, self.ground)
        alpha = float(declarations.get("opacity", 1))
        self.ink = mix(self.ink, alpha, behind)
        self.ground = mix(self.ground, alpha, behind)

    def measure(self) -> float:
        return compute_contrast(self.ink, self.ground)


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("classes", CARD_TEXTS, ids=" ".join)
def test_text_of_a_card_has_contrast(classes: Sequence[str], page: str) -> None:
    text = Text(page)
    for name in classes:
        text.enter(read_declarations(load_rules()[name]))
    assert text.measure() >= BAR


def test_every_rule_of_cards_with_a_color_is_measured() -> None:
    colored = {
        name
        for name, rule in load_rules().items()
        if {"color", "background", "opacity"} & set(read_declarations(rule))
    }
    assert colored == {name for classes in CARD_TEXTS for name in classes if name in colored} | (
        NO_TEXT & colored
    )


# --- panels -----------------------------------------------------

SHEETS = ("panels/style.css", "panels/viewer.js", "panels/card_buttons.js", "cards.css")
# What shows no text, or what WCAG exempts: disabled buttons, the
# ground of a dialog, a canvas, a picture that is being replaced.
EXEMPT = re.compile(
    r":disabled|::backdrop|canvas|^\.mjci-preview img|mjci-stale|mjci-block|mjci-bar|hover"
    r"|slider|\.mjci-compare i$"
)
# Rules that a dark theme puts in place of others.
DARK_ONLY = re.compile(r"(\.jp-mod-dark|\[data-jp-theme-light=false\]) ")
DIALOG = "dialog.mjci-viewer"


def iter_rules() -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rules of panels that color a text: selector, and declarations."""
    for sheet in SHEETS[:-1]:
        text = (NOTEBOOK / sheet).read_text("utf-8")
        if sheet.endswith(".js"):
            text = "\n".join(re.findall(r"const STYLE = `([^`]*)`", text))
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
        for selector, rule in re.findall(r"([^{}]+)\{([^{}]*)\}", text):
            declarations = read_declarations(" ".join(rule.split()))
            if {"color", "opacity"} & set(declarations) and not EXEMPT.search(selector):
                yield " ".join(selector.split()), declarations


RULES = dict(iter_rules())


def list_cases() -> list[tuple[str, str]]:
    """Return which rule holds in which page. That a page without a theme is dark no rule can know:
    stars, which have a color for either, are there as in the light theme.
    """
    dark = [selector for selector in RULES if DARK_ONLY.search(selector)]
    replaced = {DARK_ONLY.sub("", part).strip() for each in dark for part in each.split(",")}
    only = dict.fromkeys(dark, ("dark", "panel, dark"))
    only |= dict.fromkeys(replaced, ("light", "panel, light", "no theme"))
    return [(selector, page) for selector in RULES for page in only.get(selector, tuple(PAGES))]


@pytest.mark.parametrize(("selector", "page"), list_cases())
def test_text_of_a_panel_has_contrast(selector: str, page: str) -> None:
    """On its own ground, else on that of the viewer, of a notebook or of a form."""
    text = Text(page)
    if ".mjci-viewer " in selector:
        text.enter(RULES[DIALOG])
    text.enter(RULES[selector])
    assert text.measure() >= BAR


def test_every_sheet_of_the_notebook_is_measured() -> None:
    """Those that color a text; a page of its own has its own colors."""
    found = {
        path.relative_to(NOTEBOOK).as_posix()
        for path in NOTEBOOK.rglob("*")
        if path.suffix in (".css", ".js") and re.search(r"[{;\s]color:", path.read_text("utf-8"))
    }
    assert found == {*SHEETS, "gallery.css"}
    assert len(RULES) > 20


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("sheet", ["notebook/gallery.css", "history/report.html"])
def test_text_of_a_page_has_contrast(sheet: str, scheme: str) -> None:
    """Each ink on each ground of a page of pictures, and of a report."""
    blocks = re.findall(r":root \{([^}]*)\}", (NOTEBOOK.parent / sheet).read_text("utf-8"))
    variables = read_variables(blocks[0])
    if scheme == "dark":
        variables |= read_variables(blocks[1])
    colors = {}
    for name, value in variables.items():
        found = parse_color(value)
        assert found is not None
        colors[name] = found[0]
    inks = [colors[name] for name in ("--ink", "--faint", "--bad") if name in colors]
    grounds = [colors[name] for name in ("--ground", "--card")]
    assert min(compute_contrast(ink, ground) for ink in inks for ground in grounds) >= BAR


def test_formula_gives_the_published_values() -> None:
    """Of WCAG's own examples: black on white, and #767676, the lightest gray that passes."""
    white = (255.0, 255.0, 255.0)
    assert compute_contrast((0.0, 0.0, 0.0), white) == pytest.approx(21)
    assert compute_contrast((0x76,) * 3, white) == pytest.approx(4.54, abs=0.01)
    assert compute_contrast((0x77,) * 3, white) < BAR
