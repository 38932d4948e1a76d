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

MAX_SLIDER_RANGE = 1000  # the longest range that a slider is any good for
FREE_TEXT_LABEL = "as written"


@dataclass(frozen=True, slots=True)
class Slot:
    """A number in a shape: what it is called, and where its slider begins, ends and stands at
    first.
    """

    label: str
    low: float = 1
    high: float = 2000
    initial: float = 400


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
TEMPLATE_LABELS = {
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
_SLOT_RE = re.compile(r"<([A-Za-z]+)(?: [^<>]*)?>")
_FORCE_SUFFIX_RE = re.compile(r",? with ! .*")


@dataclass(frozen=True, slots=True)
class ValueTemplate:
    """One way to write a value: its text with a name in each slot, as "!<W>x<H>r"."""

    text: str

    @property
    def slots(self) -> tuple[Slot, ...]:
        return tuple(
            SLOTS.get(name, Slot(name.capitalize())) for name in _SLOT_RE.findall(self.text)
        )

    @property
    def label(self) -> str:
        return TEMPLATE_LABELS.get(self.text, self.text if len(self.slots) < 2 else "")

    def format_value(self, numbers: Sequence[float]) -> str:
        rest = iter(numbers)
        return (
            _SLOT_RE.sub(lambda _: f"{next(rest):g}" if self.slots else "", self.text)
            if numbers
            else self.text
        )

    def parse_value(self, value: str) -> list[float] | None:
        """The numbers in a value of this shape, None for one of another shape."""
        literal = [re.escape(part) for part in _SLOT_RE.split(self.text)[::2]]
        found = re.fullmatch("([0-9]+(?:[.][0-9]+)?)".join(literal), value)
        return [float(number) for number in found.groups()] if found else None


def parse_templates(form: str) -> tuple[ValueTemplate, ...]:
    """The shapes that a parameter's form tells; none where it tells no slots."""
    told = re.split(r", | or ", _FORCE_SUFFIX_RE.sub("", form))
    return (
        tuple(ValueTemplate(one) for one in told)
        if all(_SLOT_RE.search(one) for one in told)
        else ()
    )


class Control:
    """A parameter on the screen. `get_value` gives its value as a rule wants it, None for what need not
    be said.
    """

    def __init__(self, parameter: Any, is_key: bool) -> None:
        self.parameter, self.is_key = parameter, is_key
        self.on_change: Callable[[], None] = lambda: None
        self.box = W.HBox(self.build()).add_class("mjci-control")

    def build(self) -> list[Any]:
        raise NotImplementedError

    def get_text(self) -> str:
        raise NotImplementedError

    def set_text(self, value: str) -> None:
        raise NotImplementedError

    def get_value(self) -> str | None:
        value = self.get_text()
        usual = self.parameter.default or ""
        return None if value == usual and not self.is_key and not self.parameter.required else value

    def set_value(self, value: str | None) -> None:
        """Shows a value; None is the usual one."""
        self.set_text(value if value is not None else self.parameter.default or "")

    def format_label(self) -> str:
        return str(self.parameter.name).replace("-", " ").replace("_", " ").capitalize()

    def observe(self, *widgets: Any) -> list[Any]:
        for widget in widgets:
            widget.observe(lambda _: self.on_change(), "value")
        return list(widgets)


class TextControl(Control):
    """What has to be written."""

    def build(self) -> list[Any]:
        form = self.parameter.expected.removesuffix(", in URL-safe base64")
        self.widget = W.Text(
            description=self.format_label(), placeholder=form, tooltip=self.parameter.help
        )
        return self.observe(self.widget)

    def get_text(self) -> str:
        return str(self.widget.value)

    def set_text(self, value: str) -> None:
        self.widget.value = value


class NumberControl(TextControl):
    """A whole number in a range."""

    def build(self) -> list[Any]:
        low, high = self.parameter.minimum, self.parameter.maximum
        slides = high - low <= MAX_SLIDER_RANGE
        kind = W.IntSlider if slides else W.BoundedIntText
        self.widget = kind(
            min=low, max=high, description=self.format_label(), tooltip=self.parameter.help
        )
        return self.observe(self.widget)

    def set_text(self, value: str) -> None:
        self.widget.value = int(value)


class PercentControl(TextControl):
    """From 1 to 100, and whether to insist on it: 85 or 85!."""

    def build(self) -> list[Any]:
        self.widget = W.IntSlider(
            85, min=1, max=100, description=self.format_label(), tooltip=self.parameter.help
        )
        self.force = W.Checkbox(
            description="whatever the original's is", indent=False, tooltip="Written with !"
        )
        return self.observe(self.widget, self.force)

    def get_text(self) -> str:
        return f"{self.widget.value}{'!' * self.force.value}"

    def set_text(self, value: str) -> None:
        self.widget.value, self.force.value = int(value.rstrip("!")), value.endswith("!")


class SwitchControl(TextControl):
    """0 or 1."""

    def build(self) -> list[Any]:
        help = self.parameter.help.removeprefix("1: ")
        self.widget = W.Checkbox(
            description=self.format_label() if self.is_key else help, indent=False, tooltip=help
        )
        return self.observe(self.widget)

    def get_text(self) -> str:
        return str(int(self.widget.value))

    def set_text(self, value: str) -> None:
        self.widget.value = value == "1"


class ChoiceControl(TextControl):
    """One of a few words."""

    def build(self) -> list[Any]:
        none = [] if self.is_key or self.parameter.default else [("–", "")]
        options = [*none, *((one, one) for one in self.parameter.choices)]
        self.widget = W.Dropdown(
            options=options, description=self.format_label(), tooltip=self.parameter.help
        )
        return self.observe(self.widget)

    def set_text(self, value: str) -> None:
        self.widget.value = value.lower()


class ColorControl(TextControl):
    """#RRGGBB."""

    def build(self) -> list[Any]:
        self.widget = W.ColorPicker(description=self.format_label(), tooltip=self.parameter.help)
        return self.observe(self.widget)

    def set_text(self, value: str) -> None:
        self.widget.value = value.lower()

    def get_value(self) -> str | None:
        value = self.get_text()
        return None if value.casefold() == (self.parameter.default or "").casefold() else value


class TemplatedValue(Control):
    """A value of several shapes: a list of them, and a slider for each number."""

    def build(self) -> list[Any]:
        self.templates = parse_templates(self.parameter.expected)
        options = [(one.label or self.format_label(), one) for one in self.templates] + [
            (FREE_TEXT_LABEL, None)
        ]
        self.template = W.Dropdown(
            options=options, description=self.format_label(), tooltip=self.parameter.help
        )
        self.sliders = W.HBox().add_class("mjci-slots")
        self.text = W.Text(
            description="Text", placeholder=self.parameter.expected, layout={"display": "none"}
        )
        self.force = W.Checkbox(
            description="or the original, if it is smaller", indent=False, tooltip="Written with !"
        )
        self._set_sliders([slot.initial for slot in self.template.value.slots])
        self.template.observe(self._on_template_change, "value")
        self.observe(self.text, self.force)
        return [
            self.template,
            self.sliders,
            self.text,
            *([self.force] if self._supports_force else []),
        ]

    @property
    def _supports_force(self) -> bool:
        return bool(_FORCE_SUFFIX_RE.search(self.parameter.expected))

    def get_text(self) -> str:
        if self.template.value is None:
            return str(self.text.value)
        written: str = self.template.value.format_value([one.value for one in self.sliders.children])
        return written + ("!" if self.force.value else "")

    def set_text(self, value: str) -> None:
        if self.get_text() == value:
            return
        bare = value.removesuffix("!").lower() if self._supports_force else value
        self.force.value = self._supports_force and value.endswith("!")
        found = next(
            (
                (one, numbers)
                for one in self.templates
                if (numbers := one.parse_value(bare)) is not None
            ),
            None,
        )
        self.template.unobserve(self._on_template_change, "value")
        self.template.value = found[0] if found else None
        self.template.observe(self._on_template_change, "value")
        self.text.value = value
        self._set_sliders(found[1] if found else [])

    def _on_template_change(self, change: Any) -> None:
        """Another shape: numbers that both have keep their values."""
        kept = {one.description: one.value for one in self.sliders.children}
        if change["new"] is None:
            self.text.value = (
                change["old"].format_value([one.value for one in self.sliders.children])
                if change["old"]
                else ""
            )
        slots = change["new"].slots if change["new"] else ()
        self._set_sliders([kept.get(slot.label, slot.initial) for slot in slots])
        self.on_change()

    def _set_sliders(self, values: Sequence[float]) -> None:
        slots = self.template.value.slots if self.template.value else ()
        self.text.layout.display = "none" if self.template.value else ""
        if [slot.label for slot in slots] == [one.description for one in self.sliders.children]:
            for one, value in zip(self.sliders.children, values, strict=True):
                one.max, one.min = max(one.max, value), min(one.min, value)
                one.value = value
            return
        old, self.sliders.children = (
            self.sliders.children,
            [_build_slider(*one) for one in zip(slots, values, strict=True)],
        )
        self.observe(*self.sliders.children)
        for one in old:
            one.close()


def _build_slider(slot: Slot, value: float) -> Any:
    whole = slot.low >= 1 or slot.low == 0
    kind, step = (W.IntSlider, 1) if whole and value == int(value) else (W.FloatSlider, 0.5)
    if whole:
        value = int(value)
    low, high = min(slot.low, value), max(slot.high, value)
    return kind(value, min=low, max=high, step=step, description=slot.label)


def build_control(parameter: Any, is_key: bool) -> Control:
    """The control of a parameter; `is_key` is the one that its operation begins with."""
    for fits, kind in _CONTROL_TYPES:
        if fits(parameter, is_key):
            return kind(parameter, is_key)
    return TextControl(parameter, is_key)


_CONTROL_TYPES: tuple[tuple[Callable[[Any, bool], bool], type[Control]], ...] = (
    (lambda one, _: tuple(one.choices) == ("0", "1"), SwitchControl),
    (lambda one, _: bool(one.choices), ChoiceControl),
    (lambda one, key: one.minimum is not None and (key or one.default is not None), NumberControl),
    (lambda one, _: one.expected.startswith("#RRGGBB"), ColorControl),
    (lambda one, key: key and one.expected.startswith("1 to 100"), PercentControl),
    (lambda one, _: bool(parse_templates(one.expected)), TemplatedValue),
)
