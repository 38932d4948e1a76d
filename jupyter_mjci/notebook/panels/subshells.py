"""Hooks into private parts of ipykernel and ipywidgets, all in one place.

A widget message that arrives while a cell runs is handled in a
subshell, if the kernel has them. Which subshell answers decides
what a click may overtake: a form's fields and buttons must stay
in order, but "Stop waiting" on a card must work at once.
ipykernel offers no public setting for this.

`tests/notebook/panels/test_subshells.py` checks these names
against the installed versions. Where a name is missing, panels
still work; their buttons then wait until the running cell ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import ipywidgets as W

# ipykernel 7.4: `comm._reply_subshell_for(data, default)` returns
# the ID of the subshell that handles a message; None is the main
# shell. Other versions do not have it.
REPLY_HOOK = "_reply_subshell_for"
SubshellHook = Callable[[object, str | None], str | None]


def walk_widgets(widget: W.Widget) -> Iterator[W.Widget]:
    """Yield a widget and all its descendants, parents first."""
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk_widgets(child)


def allow_subshell(widget: W.Widget) -> None:
    """Handle a widget's messages in the subshell that the front end chose.

    They are then handled even while a cell runs.

    Only for buttons that read no field: otherwise a click could
    overtake what was typed before it.
    """
    _set_reply_hook(widget, lambda _, chosen: chosen)


def force_main_shell(widget: W.Widget) -> None:
    """Handle the messages of a widget and its descendants in the main shell, in order.

    While a cell runs, they all wait together.
    """
    _set_reply_hook(widget, lambda *_: None)


def _set_reply_hook(widget: W.Widget, hook: SubshellHook) -> None:
    for descendant in walk_widgets(widget):
        if hasattr(descendant.comm, REPLY_HOOK):
            setattr(descendant.comm, REPLY_HOOK, hook)


def restore_mimebundle(widget: W.Widget) -> None:
    """Let a closed widget use its own `_repr_mimebundle_` again.

    `Widget.close` of ipywidgets hides the method behind an
    instance attribute that is None.
    """
    vars(widget).pop("_repr_mimebundle_", None)
