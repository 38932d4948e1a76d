"""Edit one parameter of a picture rule with widgets: sliders, lists and switches.

The control of a parameter is chosen by what the rule engine says
about it: its choices, its range, or the forms of its value (see
`value_template`). A value that no form fits can still be typed as
text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import ipywidgets as W
from traitlets import Bunch

from jupyter_mjci.client.translation import mark, translate
from jupyter_mjci.notebook.panels.value_template import (
    Slot,
    ValueTemplate,
    parse_templates,
    supports_force,
)
from jupyter_mjci.notebook.panels.widgets import label_parameter, replace_children, set_visible

if TYPE_CHECKING:
    from jupyter_mjci.imaging.model import Parameter

# a longer range has a number field instead of a slider
MAX_SLIDER_RANGE = 1000
FREE_TEXT_LABEL = mark("as text")
# what a field takes as plain text
BASE64_SUFFIX = ", in URL-safe base64"


class Control:
    """The widgets of one parameter.

    Args:
        parameter: the parameter
        is_key: whether its operation begins with it (thumbnail,
            in imageMogr2/thumbnail/300x)
        on_change: called after every change by the user
    """

    def __init__(self, parameter: Parameter, is_key: bool, on_change: Callable[[], None]) -> None:
        self.parameter = parameter
        self.is_key = is_key
        self.on_change = on_change
        self.box = W.HBox(self.build()).add_class("mjci-control")

    def build(self) -> Sequence[W.Widget]:
        """Build the widgets."""
        raise NotImplementedError

    def get_text(self) -> str:
        """Return the value as a rule spells it, also where it is the default."""
        raise NotImplementedError

    def set_text(self, value: str) -> None:
        """Show a value."""
        raise NotImplementedError

    @property
    def default(self) -> str:
        return self.parameter.default or ""

    def get_value(self) -> str | None:
        """Return the value for the rule, None where the rule may leave it out."""
        value = self.get_text()
        is_optional = not self.is_key and not self.parameter.required
        if is_optional and self.is_default(value):
            return None
        return value

    def is_default(self, value: str) -> bool:
        return value == self.default

    def set_value(self, value: str | None) -> None:
        """Show a value; None is the default."""
        self.set_text(self.default if value is None else value)

    def format_label(self) -> str:
        return translate(label_parameter(self.parameter.name))

    def describe(self) -> dict[str, str]:
        """Return the description and tooltip of the main widget."""
        return {"description": self.format_label(), "tooltip": translate(self.parameter.help)}

    def observe(self, *widgets: W.Widget) -> Sequence[W.Widget]:
        """Report changes of the widgets' values; returns the widgets."""
        for widget in widgets:
            widget.observe(lambda _: self.on_change(), "value")
        return widgets


class TextControl(Control):
    """Free text."""

    def build(self) -> Sequence[W.Widget]:
        self.widget = W.Text(**self.describe(), placeholder=describe_expected(self.parameter))
        return self.observe(self.widget)

    def get_text(self) -> str:
        return str(self.widget.value)

    def set_text(self, value: str) -> None:
        self.widget.value = value


def describe_expected(parameter: Parameter) -> str:
    """Return what a field for a parameter takes."""
    low, high = parameter.minimum, parameter.maximum
    if low is not None and high is not None:
        text = translate("an integer from {low} to {high}")
        return text.format(low=low, high=high)
    expected = parameter.expected
    return translate(expected.removesuffix(BASE64_SUFFIX))


class NumberControl(TextControl):
    """An integer in a range."""

    def build(self) -> Sequence[W.Widget]:
        low, high = self.parameter.minimum, self.parameter.maximum
        widget_type = W.BoundedIntText
        if low is not None and high is not None and high - low <= MAX_SLIDER_RANGE:
            widget_type = W.IntSlider
        self.widget = widget_type(**self.describe(), min=low, max=high)
        return self.observe(self.widget)

    def set_text(self, value: str) -> None:
        self.widget.value = int(value)


class PercentControl(TextControl):
    """An integer from 1 to 100, and whether it is forced: 85 or 85!."""

    def build(self) -> Sequence[W.Widget]:
        self.widget = W.IntSlider(85, **self.describe(), min=1, max=100)
        self.force = W.Checkbox(
            description="even above the original's", indent=False, tooltip="Adds ! to the value"
        )
        return self.observe(self.widget, self.force)

    def get_text(self) -> str:
        return _with_force(str(self.widget.value), self.force.value)

    def set_text(self, value: str) -> None:
        self.widget.value = int(value.rstrip("!"))
        self.force.value = value.endswith("!")


class SwitchControl(TextControl):
    """0 or 1."""

    def build(self) -> Sequence[W.Widget]:
        label = translate(self.parameter.help.removeprefix("1: "))
        self.widget = W.Checkbox(description=label, tooltip=label, indent=False)
        if self.is_key:
            self.widget.description = self.format_label()
        return self.observe(self.widget)

    def get_text(self) -> str:
        return str(int(self.widget.value))

    def set_text(self, value: str) -> None:
        self.widget.value = value == "1"


class ChoiceControl(TextControl):
    """One of several words."""

    def build(self) -> Sequence[W.Widget]:
        options = [(choice, choice) for choice in self.parameter.choices]
        if not self.is_key and not self.parameter.default:
            options.insert(0, ("–", ""))
        self.widget = W.Dropdown(**self.describe(), options=options)
        return self.observe(self.widget)

    def set_text(self, value: str) -> None:
        self.widget.value = value.lower()


class ColorControl(TextControl):
    """A colour as #RRGGBB."""

    def build(self) -> Sequence[W.Widget]:
        self.widget = W.ColorPicker(**self.describe())
        return self.observe(self.widget)

    def set_text(self, value: str) -> None:
        self.widget.value = value.lower()

    def is_default(self, value: str) -> bool:
        return value.casefold() == self.default.casefold()


class TemplatedControl(Control):
    """A value of several forms, with a slider for each number of the chosen one."""

    def build(self) -> Sequence[W.Widget]:
        self.templates = parse_templates(self.parameter.expected)
        self.supports_force = supports_force(self.parameter.expected)
        self.template = W.Dropdown(**self.describe(), options=self._list_options())
        self.sliders = W.HBox().add_class("mjci-slots")
        self.text = W.Text(
            description="Text", placeholder=self.parameter.expected, layout={"display": "none"}
        )
        self.force = W.Checkbox(
            description="or the original, if smaller", indent=False, tooltip="Adds ! to the value"
        )
        set_visible(self.force, self.supports_force)
        self._set_sliders([slot.initial for slot in self.template.value.slots])
        self.template.observe(self._on_template_change, "value")
        self.observe(self.text, self.force)
        return [self.template, self.sliders, self.text, self.force]

    def _list_options(self) -> list[tuple[str, ValueTemplate | None]]:
        options: list[tuple[str, ValueTemplate | None]] = []
        for template in self.templates:
            label = translate(template.label) or self.format_label()
            options.append((label, template))
        options.append((translate(FREE_TEXT_LABEL), None))
        return options

    def get_text(self) -> str:
        if self.template.value is None:
            return str(self.text.value)
        return _with_force(self._format_numbers(self.template.value), self.force.value)

    def _format_numbers(self, template: ValueTemplate) -> str:
        return template.format_value([slider.value for slider in self.sliders.children])

    def set_text(self, value: str) -> None:
        if self.get_text() == value:
            return
        plain = value
        if self.supports_force:
            plain = value.removesuffix("!").lower()
            self.force.value = value.endswith("!")
        template, numbers = self._match_template(plain)
        # Without the observer: it would set the new template's
        # sliders to their initial values.
        self.template.unobserve(self._on_template_change, "value")
        self.template.value = template
        self.template.observe(self._on_template_change, "value")
        self.text.value = value
        self._set_sliders(numbers)

    def _match_template(self, value: str) -> tuple[ValueTemplate | None, list[float]]:
        for template in self.templates:
            numbers = template.parse_value(value)
            if numbers is not None:
                return template, numbers
        return None, []

    def _on_template_change(self, change: Bunch) -> None:
        """Show another form's sliders; numbers that both forms have keep their values."""
        values = {slider.description: slider.value for slider in self.sliders.children}
        slots: Sequence[Slot] = ()
        if change.new is not None:
            slots = change.new.slots
        elif change.old is not None:
            self.text.value = self._format_numbers(change.old)
        self._set_sliders([values.get(translate(slot.label), slot.initial) for slot in slots])
        self.on_change()

    def _set_sliders(self, values: Sequence[float]) -> None:
        template: ValueTemplate | None = self.template.value
        set_visible(self.text, template is None)
        slots = template.slots if template else ()
        sliders = self.sliders.children
        if [slider.description for slider in sliders] == [translate(slot.label) for slot in slots]:
            for slider, value in zip(sliders, values, strict=True):
                _move_slider(slider, value)
            return
        replace_children(self.sliders, list(map(_build_slider, slots, values)))
        self.observe(*self.sliders.children)


def _with_force(value: str, force: bool) -> str:
    return f"{value}!" if force else value


def _move_slider(slider: W.Widget, value: float) -> None:
    """Set a slider's value, and widen its range if need be."""
    slider.max = max(slider.max, value)
    slider.min = min(slider.min, value)
    slider.value = value


def _build_slider(slot: Slot, value: float) -> W.Widget:
    low, high = min(slot.low, value), max(slot.high, value)
    if float(slot.low).is_integer():
        return W.IntSlider(int(value), min=low, max=high, description=translate(slot.label))
    return W.FloatSlider(value, min=low, max=high, step=0.5, description=translate(slot.label))


def build_control(parameter: Parameter, is_key: bool, on_change: Callable[[], None]) -> Control:
    """Build the control of a parameter; the arguments are those of `Control`."""
    return _choose_control(parameter, is_key)(parameter, is_key, on_change)


def _choose_control(parameter: Parameter, is_key: bool) -> type[Control]:
    if parameter.choices == ("0", "1"):
        return SwitchControl
    if parameter.choices:
        return ChoiceControl
    # A number without a default may be left out, which a slider
    # cannot show.
    if parameter.minimum is not None and (is_key or parameter.default is not None):
        return NumberControl
    if parameter.expected.startswith("#RRGGBB"):
        return ColorControl
    if is_key and parameter.expected.startswith("1 to 100"):
        return PercentControl
    if parse_templates(parameter.expected):
        return TemplatedControl
    return TextControl
