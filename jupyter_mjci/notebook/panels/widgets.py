"""Small helpers for building and updating ipywidgets."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import ipywidgets as W
from traitlets import Bunch

from jupyter_mjci.client.translation import translate
from jupyter_mjci.notebook.panels.subshells import walk_widgets


def build_row(*children: W.Widget, css_class: str = "") -> W.HBox:
    """Build a row that wraps where the page is narrow."""
    row = W.HBox(children).add_class("mjci-row")
    if css_class:
        row.add_class(css_class)
    return row


def build_button(
    label: str,
    tooltip: str,
    *,
    icon: str = "",
    style: str = "",
    button_type: type[W.Button] = W.Button,
) -> W.Button:
    """Build a button.

    Args:
        label: its text
        tooltip: what it does
        icon: a Font Awesome name
        style: "primary" for the main button of a form
        button_type: a subclass of the button
    """
    return button_type(
        description=translate(label), tooltip=translate(tooltip), icon=icon, button_style=style
    )


def label_parameter(name: str) -> str:
    """Return the label of a parameter, of a call or of a rule, in English."""
    return name.replace("-", " ").replace("_", " ").capitalize()


def translate_labels(widget: W.Widget) -> None:
    """Show a widget's own texts in the language of the reader."""
    for name in ("description", "placeholder", "tooltip"):
        text = getattr(widget, name, None)
        if text and translate(text) != text:
            setattr(widget, name, translate(text))
    if isinstance(widget, W.Dropdown):
        # Setting the options would reset the selection, which
        # others observe.
        labels = tuple(map(translate, widget._options_labels))
        widget.set_trait("_options_labels", labels)


def translate_all(box: W.Widget) -> None:
    """Show the texts of a box and of all in it in the language of the reader."""
    for widget in walk_widgets(box):
        translate_labels(widget)


def build_heading(text: str) -> W.HTML:
    """Build the heading of a part of a panel."""
    return W.HTML(f'<h4 class="mjci-heading">{escape(translate(text))}</h4>')


def set_visible(widget: W.Widget, visible: bool) -> None:
    """Show or hide a widget."""
    widget.layout.display = "" if visible else "none"


def replace_children(box: W.Box, children: Sequence[W.Widget]) -> None:
    """Replace a box's children, and close the old ones.

    Widgets that are not closed stay in the kernel.
    """
    old = box.children
    box.children = children
    for child in old:
        child.close()


def link_toggle(button: W.ToggleButton, box: W.Widget) -> None:
    """Hide a box until its toggle button is pressed."""

    def toggle(change: Bunch) -> None:
        set_visible(box, change.new)

    set_visible(box, button.value)
    button.observe(toggle, "value")
