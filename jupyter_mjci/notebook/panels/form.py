"""Build form fields from the parameters of a call builder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ipywidgets as W
from IPython.core.getipython import get_ipython
from traitlets import Bunch

from jupyter_mjci.client.translation import mark, translate
from jupyter_mjci.notebook.argument_parser import convert
from jupyter_mjci.notebook.panels.widgets import label_parameter, link_toggle
from jupyter_mjci.notebook.params import Param, parse_signature
from jupyter_mjci.notebook.picture_names import find_picture

FULL_WIDTH = {"width": "100%"}
SERVICE_DEFAULT = (mark("service default"), None)


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter and its widget.

    `read` returns the value, None for a field left empty.
    """

    param: Param
    widget: W.Widget
    read: Callable[[], object]


FieldBuilder = Callable[[Param], Field | None]


def build_field(param: Param) -> Field | None:
    """Build the field of a parameter, None for one that cannot be typed in."""
    builder = _FIELD_BUILDERS.get(param.kind)
    return builder(param) if builder else None


def _describe(param: Param) -> dict[str, str]:
    label = label_parameter(param.name)
    return {"description": translate(label), "tooltip": translate(param.help)}


def _build_text(param: Param) -> Field:
    widget = W.Text(**_describe(param), placeholder=translate(param.help), layout=FULL_WIDTH)

    def read() -> object:
        text = widget.value.strip()
        return convert(param, text) if text else None

    return Field(param, widget, read)


def build_text_area(param: Param, *, placeholder: str = "", tall: bool = False) -> Field:
    """Build a field of several lines. Its text is sent as typed, not stripped.

    Args:
        param: the parameter
        placeholder: the text of an empty field, by default the
            parameter's help
        tall: put the label above the field
    """
    widget = W.Textarea(
        **_describe(param),
        placeholder=translate(placeholder or param.help),
        rows=2,
        layout=FULL_WIDTH,
    )
    if tall:
        widget.add_class("mjci-tall")
    return Field(param, widget, lambda: widget.value or None)


def build_combobox(param: Param, options: Iterable[str]) -> Field:
    """Build a text field that suggests values."""
    widget = W.Combobox(
        **_describe(param),
        placeholder=translate(param.help),
        options=tuple(options),
        layout=FULL_WIDTH,
    )
    return Field(param, widget, lambda: widget.value.strip() or None)


def _build_choice(param: Param) -> Field:
    options = [SERVICE_DEFAULT, *((choice, choice) for choice in param.choices)]
    widget = W.Dropdown(**_describe(param), options=options, index=0)
    return Field(param, widget, lambda: widget.value)


def _build_switch(param: Param) -> Field:
    widget = W.Checkbox(**_describe(param), indent=True)
    return Field(param, widget, lambda: widget.value or None)


def _build_upload(param: Param) -> Field:
    widget = W.FileUpload(**_describe(param))
    return Field(param, widget, lambda: next(iter(_read_files(widget)), None))


def _read_files(upload: W.FileUpload) -> list[bytes]:
    return [bytes(file["content"]) for file in upload.value]


class PictureField(W.HBox):  # type: ignore[misc]
    """A field for a picture, or several: their names, or files to upload."""

    def __init__(self, param: Param) -> None:
        self._takes_several = param.kind == "pictures"
        self.names = W.Text(
            **_describe(param),
            placeholder=PICTURE_HELP,
            layout={"flex": "1 1 18em", "width": "auto"},
        )
        self.upload = W.FileUpload(
            description="Upload",
            accept="image/*",
            multiple=self._takes_several,
            tooltip=translate(param.help),
        )
        super().__init__([self.names, self.upload])
        self.add_class("mjci-row")

    def add(self, name: str) -> None:
        """Put the name of a picture into the field; behind others, where it takes several."""
        others = self._split_names() if self._takes_several else []
        self.names.value = ", ".join(dict.fromkeys([*others, name]))

    def _split_names(self) -> list[str]:
        text = self.names.value.strip()
        return _WORDS.findall(text) if self._takes_several else [text] * bool(text)

    def read(self) -> object:
        """Return the pictures; None for none.

        Raises:
            InvalidRequest: a name is none of a picture
        """
        shell = get_ipython()
        namespace = shell.user_ns if shell else {}
        found = [find_picture(name, namespace) for name in self._split_names()]
        pictures = [*found, *_read_files(self.upload)]
        if not pictures:
            return None
        return pictures if self._takes_several else pictures[-1]


PICTURE_HELP = mark("a variable, job[2], a job's ID, a path or a link")
_WORDS = re.compile(r"[^\s,]+")


def _build_picture(param: Param) -> Field:
    widget = PictureField(param)
    return Field(param, widget, widget.read)


_FIELD_BUILDERS: dict[str, Callable[[Param], Field]] = {
    "text": _build_text,
    "integer": _build_text,
    "number": _build_text,
    "texts": _build_text,
    "pairs": _build_text,
    "choice": _build_choice,
    "switch": _build_switch,
    "picture": _build_picture,
    "pictures": _build_picture,
    "file": _build_upload,
}


class Form:
    """The fields of a call builder; all but the primary ones are folded away.

    Args:
        builder: the method whose parameters become fields
        primary: names of the parameters that are always visible
        builders: functions that build a parameter's field, by its
            name, instead of `build_field`
    """

    def __init__(
        self,
        builder: Callable[..., object],
        primary: Sequence[str],
        builders: Mapping[str, FieldBuilder] | None = None,
    ) -> None:
        field_builders = builders or {}
        self.fields: dict[str, Field] = {}
        for param in parse_signature(builder):
            field = field_builders.get(param.name, build_field)(param)
            if field is not None:
                self.fields[param.name] = field
        self.primary_widgets = [self[name] for name in primary]
        more = [field.widget for name, field in self.fields.items() if name not in primary]
        self.more_box = W.VBox(more).add_class("mjci-fold")
        self.more_button = W.ToggleButton(
            description="More options", icon="chevron-down", tooltip="Show or hide more options"
        )
        link_toggle(self.more_button, self.more_box)
        self.more_button.observe(self._update_icon, "value")

    def __getitem__(self, name: str) -> W.Widget:
        return self.fields[name].widget

    def build_kwargs(self) -> dict[str, Any]:
        """Return the keyword arguments for the builder.

        Fields left empty are not part of them. A required one is
        "", so that the builder's own error says what it needs.

        Raises:
            InvalidRequest: The text of a field cannot be
                converted to the parameter's type.
        """
        kwargs: dict[str, Any] = {}
        for name, field in self.fields.items():
            value = field.read()
            if value is not None:
                kwargs[name] = value
            elif field.param.required:
                kwargs[name] = ""
        return kwargs

    def _update_icon(self, change: Bunch) -> None:
        self.more_button.icon = "chevron-up" if change.new else "chevron-down"
