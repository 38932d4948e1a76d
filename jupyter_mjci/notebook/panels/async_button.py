"""Run a coroutine on the background event loop when a button is clicked.

A click only submits the coroutine and returns, so the kernel
stays free. The button is disabled until the coroutine has ended,
and for at least DEBOUNCE seconds, so that a double click counts
once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Coroutine
from typing import Protocol, TypeAlias

import anyio
import ipywidgets as W

from jupyter_mjci.client.event_loop import BackgroundTask
from jupyter_mjci.notebook.panels.subshells import allow_subshell

DEBOUNCE = 0.5  # seconds

Work: TypeAlias = Coroutine[object, object, None]
Handler: TypeAlias = Callable[[], Work]


class TaskRunner(Protocol):
    """What a button needs of its panel."""

    def start_task(self, coro: Work) -> BackgroundTask[None] | None: ...

    def show_error(self, error: BaseException) -> None: ...

    def clear_error(self) -> None: ...


class AsyncButton:
    """A button whose handler returns a coroutine.

    The handler is called at the click, so what it reads is what
    was there then; its coroutine runs on the event loop. Clicks
    are ignored while that runs.
    """

    def __init__(self, runner: TaskRunner, button: W.Button, handler: Handler) -> None:
        self._runner = runner
        self._button = button
        self._handler = handler
        self._busy = threading.Lock()
        button.on_click(lambda _: self.start())
        allow_subshell(button)

    def start(self, on_end: Callable[[], None] | None = None) -> None:
        """Run the handler, unless it is running.

        Args:
            on_end: called when the click has been answered, also
                where it is ignored
        """
        on_end = on_end or _do_nothing
        # Two clicks may arrive in different subshell threads:
        # only one acquires the lock.
        if not self._busy.acquire(blocking=False):
            on_end()
            return
        try:
            work = self._handler()
        except Exception as error:
            work = _fail(error)
        if self._runner.start_task(self._run(work, on_end)) is None:
            work.close()
            self._busy.release()

    async def _run(self, work: Work, on_end: Callable[[], None]) -> None:
        clicked = time.monotonic()
        self._button.disabled = True
        try:
            await work
        except Exception as error:
            self._runner.show_error(error)
        try:
            await anyio.sleep(max(0.0, clicked + DEBOUNCE - time.monotonic()))
        finally:
            self._button.disabled = False
            self._busy.release()
            on_end()


async def _fail(error: Exception) -> None:
    raise error


def _do_nothing() -> None:
    pass
