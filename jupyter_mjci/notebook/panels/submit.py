"""Submit a form as the browser shows it.

A widget's changes wait in the page while the kernel is busy, and
a plain click overtakes them: of a prompt typed meanwhile only the
first letter has arrived. So a click brings the values of all
fields with it (`submit.js`). Where anywidget is missing, a click
waits until no more changes arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
import ipywidgets as W
from traitlets import TraitError

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.notebook.panels.async_button import AsyncButton, Handler, TaskRunner
from jupyter_mjci.notebook.panels.subshells import force_main_shell, walk_widgets

# the class of the box in which Ctrl+Enter submits
SCOPE_CLASS = "mjci-scope"
# the class of the button that Ctrl+Enter presses
DEFAULT_CLASS = "mjci-submit"
# Seconds without a change of the form after which all of them
# have arrived; only without anywidget.
SETTLE_TIME = 0.3
# What a person changes, the first that a widget has. The label
# and not the index says which option was chosen: the options may
# change meanwhile.
FIELD_TRAITS = ("label", "strokes", "selected_rows", "value")
# they show a value that only the kernel changes
DISPLAYS = (W.HTML, W.Label, W.HTMLMath, W.Image)


class FormButton(W.Button):  # type: ignore[misc]
    """A button that tells a click in the browser from one in Python."""

    on_browser_click: Callable[[], None] | None = None

    def _handle_button_msg(self, _: W.Widget, content: Mapping[str, object], __: object) -> None:
        if content.get("event") == "click" and self.on_browser_click is not None:
            self.on_browser_click()


class SubmitButton:
    """The button of a form; its handler sees the fields as the page shows them.

    Args:
        runner: the panel
        button: the button
        handler: called when the fields have these values; it
            reads them and returns a coroutine
        is_default: whether Ctrl+Enter in the form presses it

    Attributes:
        widgets: the button, and the note beside it
    """

    def __init__(
        self, runner: TaskRunner, button: FormButton, handler: Handler, *, is_default: bool = True
    ) -> None:
        self._runner = runner
        self._form: W.Widget | None = None
        self._is_settling = False
        self.button = button
        self._async_button = AsyncButton(runner, button, handler)
        button.on_browser_click = self._on_plain_click
        if is_default:
            button.add_class(DEFAULT_CLASS)
        self._sender = _create_sender(button, self._submit)
        self.widgets = [button] if self._sender is None else [button, self._sender]
        for widget in self.widgets:
            force_main_shell(widget)

    def bind(self, form: W.Widget, scope: W.Widget | None = None) -> None:
        """Set whose fields are submitted.

        Args:
            form: the box with all fields
            scope: the box in which Ctrl+Enter submits, by default
                the form
        """
        self._form = form
        (scope or form).add_class(SCOPE_CLASS)
        for widget, name in _list_fields(form):
            widget.observe(lambda _: self._runner.clear_error(), name)
        if self._sender is not None:
            self._sender.form = form.model_id

    def _submit(self, fields: Sequence[Mapping[str, Any]], on_end: Callable[[], None]) -> None:
        try:
            set_fields(self._get_form(), fields)
        except InvalidRequest as error:
            self._runner.show_error(error)
            on_end()
        else:
            self._async_button.start(on_end)

    def _get_form(self) -> W.Widget:
        assert self._form is not None, "bind() sets the form"
        return self._form

    # --- without anywidget ---

    def _on_plain_click(self) -> None:
        if not self._is_settling:
            self._is_settling = True
            self._runner.start_task(self._start_when_settled())

    async def _start_when_settled(self) -> None:
        self.button.disabled = True
        try:
            await _wait_settled(self._get_form())
        finally:
            self.button.disabled = False
            self._is_settling = False
        self._async_button.start()


async def _wait_settled(form: W.Widget) -> None:
    """Wait until the fields no longer change: the page sends waiting changes at once."""
    last = None
    while (values := _read_fields(form)) != last:
        last = values
        await anyio.sleep(SETTLE_TIME)


def _create_sender(button: W.Button, on_submit: Callable[..., None]) -> Any:
    """Create the widget that sends the fields; None without anywidget."""
    try:
        from jupyter_mjci.notebook.panels.browser_widgets import SubmitSender
    except ImportError:
        return None
    return SubmitSender(button, on_submit)


def _read_fields(form: W.Widget) -> list[object]:
    return [getattr(widget, name) for widget, name in _list_fields(form)]


def _list_fields(form: W.Widget) -> list[tuple[W.Widget, str]]:
    """Return the widgets that a person can change, each with its trait."""
    fields = []
    for widget in walk_widgets(form):
        name = next((name for name in FIELD_TRAITS if widget.has_trait(name)), None)
        if name is not None and not isinstance(widget, DISPLAYS):
            fields.append((widget, name))
    return fields


def set_fields(form: W.Widget, fields: Sequence[Mapping[str, Any]]) -> None:
    """Give the fields of a form the values that the page shows.

    Args:
        form: the box with all fields
        fields: dictionaries of a widget's model `id`, the `key`
            of its trait, the `value` and `touched`, above 0 where
            the person changed it; those changed last come last

    Raises:
        InvalidRequest: A field that the person changed is no
            longer part of the form, or a value does not fit.
    """
    widgets = {widget.model_id: widget for widget in walk_widgets(form)}
    for field in fields:
        widget = widgets.get(field["id"])
        if widget is not None:
            _set_field(widget, field["key"], field["value"])
        elif field["touched"]:
            raise InvalidRequest(
                "The form has changed since it was submitted.",
                hint="Look at its fields, and submit again.",
            )


def _set_field(widget: W.Widget, key: str, value: Any) -> None:
    if key not in FIELD_TRAITS or not widget.has_trait(key):
        return
    try:
        if key != "label":
            # equal values make no change, but would be echoed
            if widget.get_state(key)[key] != value:
                widget.set_state({key: value})
        elif value is not None:
            widget.label = value
    except (TraitError, ValueError, TypeError) as error:
        label = getattr(widget, "description", "") or "A field"
        raise InvalidRequest(
            f"{label}: {value!r} cannot be submitted.",
            detail=str(error).partition("\n")[0],
            hint="Choose another value.",
        ) from None
