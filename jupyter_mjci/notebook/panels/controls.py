"""A parameter of a picture rule as something to move: sliders, lists, switches, made from what the
engine says of it.

A parameter's `form` tells its shapes ("<W>x, x<H> or <W>x<H>"): a list chooses the shape, a slider
fills each slot. What no shape fits is still there to be written as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets as W

MOST = 1000  # the longest range that a slider is any good for
WRITTEN = "as written"


@dataclass(frozen=True, slots=True)
class Slot:
    """A number in a shape: what it is called, and where its slider begins, ends and stands at
    first.
    """

    label: str
    low: float = 1
    high: float = 2000
    start: float = 400


SLOTS = {
    "W": Slot("Width"),
    "H": Slot("Height"),
    "S": Slot("Percent", 1, 200, 50),
    "dx": Slot("From the left", 0, 2000, 0),
    "dy": Slot("From the top", 0, 2000, 0),
    "area": Slot("Pixels", 1, 4_000_000, 250_000),
    "radius": Slot("Radius", 1, 50, 8),
    "sigma": Slot("Sigma", 0.5, 50, 5),
    "n": Slot("At most", 1, 2000, 200),
}
NAMED = {
    "!<S>p": "percent",
    "!<S>px": "percent of the width",
    "!x<S>p": "percent of the height",
    "<W>x": "width",
    "x<H>": "height",
    "<W>x<H>": "width × height",
    "<W>x<H>>": "only smaller",
    "<W>x<H><": "only larger",
    "!<W>x<H>r": "covering",
    "<W>x<H>!": "exactly",
    "<area>@": "so many pixels",
    "<n>k": "kB",
    "<n>m": "MB",
    "!<W>x<H>a<dx>a<dy>": "at a place",
}
_SLOT = re.compile(r"<([A-Za-z]+)(?: [^<>]*)?>")
_FORCED = re.compile(r",? with ! .*")


@dataclass(frozen=True, slots=True)
class Shape:
    """One way to write a value: its text with a name in each slot, as "!<W>x<H>r"."""

    text: str

    @property
    def slots(self) -> tuple[Slot, ...]:
        return tuple(SLOTS.get(name, Slot(name.capitalize())) for name in _SLOT.findall(self.text))

    @property
    def name(self) -> str:
        return NAMED.get(self.text, self.text if len(self.slots) < 2 else "")

    def write(self, numbers: Sequence[float]) -> str:
        rest = iter(numbers)
        return (
            _SLOT.sub(lambda _: f"{next(rest):g}" if self.slots else "", self.text)
            if numbers
            else self.text
        )

    def read(self, value: str) -> list[float] | None:
        """The numbers in a value of this shape, None for one of another shape."""
        literal = [re.escape(part) for part in _SLOT.split(self.text)[::2]]
        found = re.fullmatch("([0-9]+(?:[.][0-9]+)?)".join(literal), value)
        return [float(number) for number in found.groups()] if found else None


def shapes(form: str) -> tuple[Shape, ...]:
    """The shapes that a parameter's form tells; none where it tells no slots."""
    told = re.split(r", | or ", _FORCED.sub("", form))
    return tuple(Shape(one) for one in told) if all(_SLOT.search(one) for one in told) else ()


class Control:
    """A parameter on the screen. `read` gives its value as a rule wants it, None for what need not
    be said.
    """

    def __init__(self, parameter: Any, key: bool) -> None:
        self.parameter, self.key = parameter, key
        self.heard: Callable[[], None] = lambda: None
        self.box = W.HBox(self.build()).add_class("mjci-control")

    def build(self) -> list[Any]:
        raise NotImplementedError

    def value(self) -> str:
        raise NotImplementedError

    def write(self, value: str) -> None:
        raise NotImplementedError

    def read(self) -> str | None:
        value = self.value()
        usual = self.parameter.default or ""
        return None if value == usual and not self.key and not self.parameter.required else value

    def show(self, value: str | None) -> None:
        """Shows a value; None is the usual one."""
        self.write(value if value is not None else self.parameter.default or "")

    def label(self) -> str:
        return str(self.parameter.name).replace("-", " ").replace("_", " ").capitalize()

    def listen(self, *widgets: Any) -> list[Any]:
        for widget in widgets:
            widget.observe(lambda _: self.heard(), "value")
        return list(widgets)


class Text(Control):
    """What has to be written."""

    def build(self) -> list[Any]:
        form = self.parameter.form.removesuffix(", in URL-safe base64")
        self.widget = W.Text(
            description=self.label(), placeholder=form, tooltip=self.parameter.help
        )
        return self.listen(self.widget)

    def value(self) -> str:
        return str(self.widget.value)

    def write(self, value: str) -> None:
        self.widget.value = value


class Number(Text):
    """A whole number in a range."""

    def build(self) -> list[Any]:
        low, high = self.parameter.minimum, self.parameter.maximum
        slides = high - low <= MOST
        kind = W.IntSlider if slides else W.BoundedIntText
        self.widget = kind(min=low, max=high, description=self.label(), tooltip=self.parameter.help)
        return self.listen(self.widget)

    def write(self, value: str) -> None:
        self.widget.value = int(value)


class Percent(Text):
    """From 1 to 100, and whether to insist on it: 85 or 85!."""

    def build(self) -> list[Any]:
        self.widget = W.IntSlider(
            85, min=1, max=100, description=self.label(), tooltip=self.parameter.help
        )
        self.force = W.Checkbox(
            description="whatever the original's is", indent=False, tooltip="Written with !"
        )
        return self.listen(self.widget, self.force)

    def value(self) -> str:
        return f"{self.widget.value}{'!' * self.force.value}"

    def write(self, value: str) -> None:
        self.widget.value, self.force.value = int(value.rstrip("!")), value.endswith("!")


class Switch(Text):
    """0 or 1."""

    def build(self) -> list[Any]:
        help = self.parameter.help.removeprefix("1: ")
        self.widget = W.Checkbox(
            description=self.label() if self.key else help, indent=False, tooltip=help
        )
        return self.listen(self.widget)

    def value(self) -> str:
        return str(int(self.widget.value))

    def write(self, value: str) -> None:
        self.widget.value = value == "1"


class Choice(Text):
    """One of a few words."""

    def build(self) -> list[Any]:
        none = [] if self.key or self.parameter.default else [("–", "")]
        options = [*none, *((one, one) for one in self.parameter.choices)]
        self.widget = W.Dropdown(
            options=options, description=self.label(), tooltip=self.parameter.help
        )
        return self.listen(self.widget)

    def write(self, value: str) -> None:
        self.widget.value = value.lower()


class Colour(Text):
    """#RRGGBB."""

    def build(self) -> list[Any]:
        self.widget = W.ColorPicker(description=self.label(), tooltip=self.parameter.help)
        return self.listen(self.widget)

    def write(self, value: str) -> None:
        self.widget.value = value.lower()

    def read(self) -> str | None:
        value = self.value()
        return None if value.casefold() == (self.parameter.default or "").casefold() else value


class Shaped(Control):
    """A value of several shapes: a list of them, and a slider for each number."""

    def build(self) -> list[Any]:
        self.shapes = shapes(self.parameter.form)
        options = [(one.name or self.label(), one) for one in self.shapes] + [(WRITTEN, None)]
        self.shape = W.Dropdown(
            options=options, description=self.label(), tooltip=self.parameter.help
        )
        self.numbers = W.HBox().add_class("mjci-slots")
        self.text = W.Text(
            description="Text", placeholder=self.parameter.form, layout={"display": "none"}
        )
        self.force = W.Checkbox(
            description="or the original, if it is smaller", indent=False, tooltip="Written with !"
        )
        self._slide([slot.start for slot in self.shape.value.slots])
        self.shape.observe(self._reshape, "value")
        self.listen(self.text, self.force)
        return [self.shape, self.numbers, self.text, *([self.force] if self._forcible else [])]

    @property
    def _forcible(self) -> bool:
        return bool(_FORCED.search(self.parameter.form))

    def value(self) -> str:
        if self.shape.value is None:
            return str(self.text.value)
        written: str = self.shape.value.write([one.value for one in self.numbers.children])
        return written + ("!" if self.force.value else "")

    def write(self, value: str) -> None:
        if self.value() == value:
            return
        bare = value.removesuffix("!").lower() if self._forcible else value
        self.force.value = self._forcible and value.endswith("!")
        found = next(
            ((one, numbers) for one in self.shapes if (numbers := one.read(bare)) is not None), None
        )
        self.shape.unobserve(self._reshape, "value")
        self.shape.value = found[0] if found else None
        self.shape.observe(self._reshape, "value")
        self.text.value = value
        self._slide(found[1] if found else [])

    def _reshape(self, change: Any) -> None:
        """Another shape: numbers that both have keep their values."""
        kept = {one.description: one.value for one in self.numbers.children}
        if change["new"] is None:
            self.text.value = (
                change["old"].write([one.value for one in self.numbers.children])
                if change["old"]
                else ""
            )
        slots = change["new"].slots if change["new"] else ()
        self._slide([kept.get(slot.label, slot.start) for slot in slots])
        self.heard()

    def _slide(self, values: Sequence[float]) -> None:
        slots = self.shape.value.slots if self.shape.value else ()
        self.text.layout.display = "none" if self.shape.value else ""
        if [slot.label for slot in slots] == [one.description for one in self.numbers.children]:
            for one, value in zip(self.numbers.children, values, strict=True):
                one.max, one.min = max(one.max, value), min(one.min, value)
                one.value = value
            return
        old, self.numbers.children = (
            self.numbers.children,
            [_slider(*one) for one in zip(slots, values, strict=True)],
        )
        self.listen(*self.numbers.children)
        for one in old:
            one.close()


def _slider(slot: Slot, value: float) -> Any:
    whole = slot.low >= 1 or slot.low == 0
    kind, step = (W.IntSlider, 1) if whole and value == int(value) else (W.FloatSlider, 0.5)
    if whole:
        value = int(value)
    low, high = min(slot.low, value), max(slot.high, value)
    return kind(value, min=low, max=high, step=step, description=slot.label)


def control(parameter: Any, key: bool) -> Control:
    """The control of a parameter; `key` is the one that its operation begins with."""
    for fits, kind in _KINDS:
        if fits(parameter, key):
            return kind(parameter, key)
    return Text(parameter, key)


_KINDS: tuple[tuple[Callable[[Any, bool], bool], type[Control]], ...] = (
    (lambda one, _: tuple(one.choices) == ("0", "1"), Switch),
    (lambda one, _: bool(one.choices), Choice),
    (lambda one, key: one.minimum is not None and (key or one.default is not None), Number),
    (lambda one, _: one.form.startswith("#RRGGBB"), Colour),
    (lambda one, key: key and one.form.startswith("1 to 100"), Percent),
    (lambda one, _: bool(shapes(one.form)), Shaped),
)
