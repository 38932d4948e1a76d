"""Undo and redo the changes of a text field, also those that controls make."""

from __future__ import annotations

import time
from collections.abc import Callable

import ipywidgets as W

from jupyter_mjci.notebook.panels.widgets import build_button

# Seconds between two changes that are undone together: letters of
# a word, steps of a slider.
PAUSE = 1.0
MAX_TEXTS = 200


class TextHistory:
    """The last texts of a field, with a button for each direction.

    Args:
        text: the field
        clock: returns the time in seconds

    Attributes:
        is_typed: whether the next change is typed, not made by a
            control; the two are never undone together
    """

    def __init__(self, text: W.Widget, clock: Callable[[], float] = time.monotonic) -> None:
        self._text = text
        self._clock = clock
        self._texts = [str(text.value)]
        self._position = 0
        self._last_change = -PAUSE
        self._was_typed = True
        self.is_typed = True
        self.undo_button = build_button("Undo", "Take back the last change", icon="undo")
        self.redo_button = build_button("Redo", "Make the change again", icon="repeat")
        self.undo_button.on_click(lambda _: self._move(-1))
        self.redo_button.on_click(lambda _: self._move(1))
        text.observe(lambda change: self._record(str(change.new)), "value")
        self._render()

    def separate(self) -> None:
        """Undo the next change alone, however soon it follows the last one."""
        self._last_change = -PAUSE

    def _record(self, value: str) -> None:
        if value == self._texts[self._position]:
            return
        now = self._clock()
        is_late = now - self._last_change >= PAUSE
        is_new = is_late or self._position == 0 or self.is_typed != self._was_typed
        self._last_change = now
        self._was_typed = self.is_typed
        del self._texts[self._position + 1 :]
        if is_new:
            self._texts.append(value)
            del self._texts[:-MAX_TEXTS]
        else:
            self._texts[-1] = value
        self._position = len(self._texts) - 1
        self._render()

    def _move(self, step: int) -> None:
        target = self._position + step
        if 0 <= target < len(self._texts):
            self._position = target
            self.separate()
            # equal to the current entry, so not recorded again
            self._text.value = self._texts[target]
            self._render()

    def _render(self) -> None:
        self.undo_button.disabled = self._position == 0
        self.redo_button.disabled = self._position == len(self._texts) - 1
