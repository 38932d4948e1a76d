"""A call builder's parameters as fields that a person fills in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets as W

from jupyter_mjci.notebook.argument_parser import convert
from jupyter_mjci.notebook.params import Param, parse_signature

FULL_WIDTH = {"width": "100%"}


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter and the widget it is filled in with. `read` gives the value, None while it is
    left alone.
    """

    param: Param
    widget: Any
    read: Callable[[], Any]


def format_label(param: Param) -> str:
    return param.name.replace("_", " ").capitalize()


def build_field(param: Param) -> Field | None:
    """The field of a parameter, None for one that cannot be written by hand."""
    make = _FIELD_BUILDERS.get(param.kind)
    return make(param) if make else None


def _build_text(param: Param) -> Field:
    widget = W.Text(
        description=format_label(param),
        placeholder=param.help,
        tooltip=param.help,
        layout=FULL_WIDTH,
    )
    return Field(
        param, widget, lambda: convert(param, text) if (text := widget.value.strip()) else None
    )


def build_text_area(param: Param, *, placeholder: str = "", tall: bool = False) -> Field:
    """A field of several lines, `tall` with its label above. Its text is taken as it stands: a
    prompt is sent byte for byte.
    """
    widget = W.Textarea(
        description=format_label(param),
        placeholder=placeholder or param.help,
        tooltip=param.help,
        rows=2,
        layout=FULL_WIDTH,
    )
    if tall:
        widget.add_class("mjci-tall")
    return Field(param, widget, lambda: widget.value or None)


def build_combobox(param: Param, options: Iterable[str]) -> Field:
    """A text field that offers what is known."""
    widget = W.Combobox(
        description=format_label(param),
        placeholder=param.help,
        tooltip=param.help,
        options=tuple(options),
        layout=FULL_WIDTH,
    )
    return Field(param, widget, lambda: widget.value.strip() or None)


def _build_choice(param: Param) -> Field:
    options = [("as the service likes", None), *((choice, choice) for choice in param.choices)]
    widget = W.Dropdown(description=format_label(param), options=options, tooltip=param.help)
    return Field(param, widget, lambda: widget.value)


def _build_switch(param: Param) -> Field:
    widget = W.Checkbox(description=format_label(param), tooltip=param.help, indent=True)
    return Field(param, widget, lambda: True if widget.value else None)


def _build_upload(param: Param) -> Field:
    widget = W.FileUpload(
        description=format_label(param),
        accept="image/*",
        multiple=param.kind == "pictures",
        tooltip=param.help,
    )

    def read() -> Any:
        sent = [bytes(one["content"]) for one in widget.value]
        if param.kind == "pictures":
            return sent or None
        return sent[0] if sent else None

    return Field(param, widget, read)


_FIELD_BUILDERS: dict[str, Callable[[Param], Field]] = {
    "text": _build_text,
    "integer": _build_text,
    "number": _build_text,
    "texts": _build_text,
    "pairs": _build_text,
    "choice": _build_choice,
    "switch": _build_switch,
    "picture": _build_upload,
    "pictures": _build_upload,
    "file": _build_upload,
}


class Form:
    """The fields of a builder: those named first in sight, the rest under "More options".

    `builders` makes the field of a parameter where the usual one does not do. `build_kwargs` gives what was
    filled in.
    """

    def __init__(
        self,
        builder: Callable[..., Any],
        primary: Sequence[str],
        builders: Mapping[str, Callable[[Param], Field]] | None = None,
    ) -> None:
        makers = builders or {}
        made = [makers.get(param.name, build_field)(param) for param in parse_signature(builder)]
        self.fields = {one.param.name: one for one in made if one is not None}
        self.primary_widgets = [self.fields[name].widget for name in primary]
        rest = [one.widget for name, one in self.fields.items() if name not in primary]
        self.more_button = W.ToggleButton(
            description="More options", icon="chevron-down", tooltip="Show or hide them"
        )
        self.more_box = W.VBox(rest, layout={"display": "none"}).add_class("mjci-fold")
        self.more_button.observe(self._toggle, "value")

    def __getitem__(self, name: str) -> Any:
        return self.fields[name].widget

    def build_kwargs(self) -> dict[str, Any]:
        """The keyword arguments for the builder. Raises CallError for a field that cannot be read.

        A required field that was left empty is given as "", so that the builder says what it needs.
        """
        read = {name: one.read() for name, one in self.fields.items()}
        return {
            name: "" if value is None else value
            for name, value in read.items()
            if value is not None or self.fields[name].param.required
        }

    def _toggle(self, change: Mapping[str, Any]) -> None:
        self.more_box.layout.display = "" if change["new"] else "none"
        self.more_button.icon = "chevron-up" if change["new"] else "chevron-down"
