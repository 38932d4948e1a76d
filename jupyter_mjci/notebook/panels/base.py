"""What every panel is: a form, a place for messages, a column of cards, and work on the engine.

A click only starts work on the engine and returns, so the kernel stays free and every click is
heard: while a cell blocks, a card's buttons at once (where the kernel can), a form's when the cell
has ended. All that a panel shows of its work is changed by that work, in the engine's thread, one
thing at a time.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from html import escape
from typing import Any, Protocol, TypeVar

import anyio
import anyio.to_thread
import ipywidgets as W
from IPython.core.getipython import get_ipython
from IPython.display import display

from jupyter_mjci.client import event_loop
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.notebook.panels import downloads, html
from jupyter_mjci.notebook.panels.style import CSS
from jupyter_mjci.session import Session

# seconds that a button stays shut after a click: the second click of a double click is not meant
DEBOUNCE = 0.5
SLOW_AFTER = 1.5  # seconds without an answer after which a panel says that it is still asking
SLOW_NOTICE = ("No answer yet.", "It is asked again until it answers or must be given up.")
T = TypeVar("T")
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


class PanelCard(Protocol):
    """What a panel needs of a card."""

    box: Any

    def static_html(self) -> str: ...

    def static_text(self) -> str: ...


class Panel(W.VBox):  # type: ignore[misc]
    """A panel. Show it as often as you like; `close()` ends its watching (the jobs go on at the
    service).
    """

    name = ""
    title = ""
    magics = ""  # that do the same where no widgets are shown

    def __init__(self, session: Session) -> None:
        self.session = session
        self._lock = threading.RLock()
        self._tasks: set[event_loop.BackgroundTask[Any]] = set()
        self._closed = False
        self._cards: list[PanelCard] = []
        self._snapshot_display: Any = None
        self._message: tuple[str, ...] = ()
        self.message = W.HTML()
        self.cards = W.VBox(layout={"overflow": "visible"})
        self.downloader = downloads.create_downloader()
        head = W.HTML(f"<style>{CSS}</style>{_render_title(self.title, session)}")
        hidden = [self.downloader] if self.downloader else []
        super().__init__(
            [head, *self.build_form(), self.message, self.cards, *self.build_footer(), *hidden]
        )
        self.add_class("mjci-panel").add_class("mjci-live")
        force_main_shell(self)
        _close_previous_run(self)

    def build_form(self) -> Sequence[Any]:
        """The widgets above the cards."""
        return ()

    def build_footer(self) -> Sequence[Any]:
        """The widgets below them."""
        return ()

    # --- work -------------------------------------------------------------------------------------

    def start_task(self, coro: Coroutine[Any, Any, None]) -> event_loop.BackgroundTask[None] | None:
        """Begins work on the engine. A closed panel begins nothing."""
        with self._lock:
            if self._closed:
                coro.close()
                return None
            handle = event_loop.start(self._run_task(coro))
            self._tasks.add(handle)
        handle.future.add_done_callback(lambda _: self._discard_task(handle))
        return handle

    async def _run_task(self, coro: Coroutine[Any, Any, None]) -> None:
        """No error of a panel's work gets lost: it is shown."""
        try:
            await coro
        except Exception as error:
            self.show_error(error)

    def _discard_task(self, handle: event_loop.BackgroundTask[Any]) -> None:
        with self._lock:
            self._tasks.discard(handle)

    def on_click(self, button: Any, handler: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A click on the button carries out the work, once at a time: until it is done the button
        is shut.
        """
        AsyncButton(self, button, handler)

    async def save(self, name: str, files: Mapping[str, bytes]) -> None:
        """Puts pictures (name without ending -> bytes) where the browser keeps its downloads;
        several in a zip.
        """
        if self.downloader is None:
            raise InvalidRequest(
                "Files cannot be saved from here.",
                detail="anywidget is not there.",
                hint=downloads.INSTALL_HINT,
            )
        self.downloader.save(*await anyio.to_thread.run_sync(downloads.pack_files, name, files))

    def count_pending(self) -> int:
        """How many pieces of work this panel has on the engine: submissions, and jobs that it
        watches.
        """
        with self._lock:
            return len(self._tasks)

    async def call_with_notice(self, call: Awaitable[T]) -> T:
        """The answer to a call. Where it takes its time, the panel says so: a service that is away
        is asked again.
        """
        late = self.start_task(self._show_slow_notice())
        try:
            return await call
        finally:
            if late is not None:
                late.cancel()
            if self._message == SLOW_NOTICE:
                self.show_message()

    async def _show_slow_notice(self) -> None:
        await anyio.sleep(SLOW_AFTER)
        self.show_message(*SLOW_NOTICE, note=True)

    def wait(self, timeout: float = 300.0) -> None:
        """Blocks until all that was begun here has ended, as a cell does that fills a panel in from
        Python. An interrupt ends the wait, not the work. Raises TimeoutError.
        """
        ends = time.monotonic() + timeout
        while rest := list(self._tasks):
            if time.monotonic() > ends:
                raise TimeoutError(f"{len(rest)} pieces of work go on.")
            concurrent.futures.wait([one.future for one in rest], event_loop.WAIT_SLICE)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            handles = list(self._tasks)
        for handle in handles:
            handle.cancel()
        for widget in walk_widgets(self):
            if widget is not self:
                widget.close()
        super().close()
        self.__dict__.pop(
            "_repr_mimebundle_", None
        )  # ipywidgets takes it away; ours still tells the last state

    # --- what it shows ----------------------------------------------------------------------------

    def show_error(self, error: BaseException) -> None:
        self.show_message(*html.error_lines(error))
        self.update_snapshot()

    def show_message(self, *lines: str, note: bool = False) -> None:
        """Shows a message under the form, an error or just a note; without words, takes it away."""
        self._message = lines
        self.message.value = html.render_alert(lines, note=note)

    def static_html(self) -> str:
        """The last state, for those who read the notebook without a kernel."""
        return f"{html.render_alert(self._message)}{''.join(card.static_html() for card in self._cards)}"

    def static_text(self) -> str:
        lines = [f"{self.title} panel", *self._message]
        return "\n".join([*lines, *(card.static_text() for card in self._cards)])

    def add(self, card: PanelCard) -> None:
        """Puts a card above the others."""
        with self._lock:
            self._cards.insert(0, card)
            self.cards.children = [one.box for one in self._cards]
        self.update_snapshot()

    def remove(self, card: PanelCard) -> None:
        with self._lock:
            self._cards.remove(card)
            self.cards.children = [one.box for one in self._cards]
        self.update_snapshot()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = self._build_snapshot()
        return bundle if self._closed else {**bundle, WIDGET_MIME: self._build_view()}

    def _build_view(self) -> dict[str, Any]:
        return {"version_major": 2, "version_minor": 0, "model_id": self.model_id}

    def _build_snapshot(self) -> dict[str, str]:
        body = (
            self.static_html() or '<p class="mjci-faint">Nothing has been submitted here yet.</p>'
        )
        head = f'<style>{CSS}</style><div class="mjci-panel mjci-record">{_render_title(self.title, self.session)}'
        return {"text/plain": self.static_text(), "text/html": f"{head}{body}</div>"}

    def _ipython_display_(self) -> None:
        """Shows the panel, and below it a record of its last state: that is what a saved notebook
        shows to those who open it without a kernel. A live panel hides its record (see the
        stylesheet).
        """
        if not self._closed:
            line = f"{self.title} panel. Its last state is below; run the cell to use it."
            line += f" Without widgets: {self.magics}."
            still = {"text/plain": line, "text/html": f'<p class="mjci-faint">{escape(line)}</p>'}
            display({**still, WIDGET_MIME: self._build_view()}, raw=True)
        if self._snapshot_display is None:
            self._snapshot_display = display(self._build_snapshot(), raw=True, display_id=True)
        else:
            display(self._build_snapshot(), raw=True, display_id=self._snapshot_display.display_id)

    def update_snapshot(self) -> None:
        """Brings the static record up to date; called when something has ended, not at every
        step.
        """
        if self._snapshot_display is not None and not self._closed:
            self._snapshot_display.update(self._build_snapshot(), raw=True)


class AsyncButton:
    """A button that starts work on the engine.

    A double click starts it once: what comes before the work is done, or sooner than HOLD, is not
    heard.
    """

    def __init__(
        self, panel: Panel, button: Any, handler: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        self._panel, self._button, self._handler = panel, button, handler
        self._busy = threading.Lock()
        button.on_click(self._on_click)
        allow_subshell(button)

    def _on_click(self, _: Any) -> None:
        if self._busy.acquire(blocking=False) and self._panel.start_task(self._run()) is None:
            self._busy.release()

    async def _run(self) -> None:
        clicked = time.monotonic()
        self._button.disabled = True
        try:
            await self._handler()
        except Exception as error:
            self._panel.show_error(error)
        try:
            await anyio.sleep(max(0.0, clicked + DEBOUNCE - time.monotonic()))
        finally:
            self._button.disabled = False
            self._busy.release()


def _render_title(title: str, session: Session) -> str:
    where = session.recording or ("sandbox" if session.sandbox else "")
    faint = f'<span class="mjci-faint">{escape(where)}</span>' if where else ""
    return f'<div class="mjci-title"><b>{escape(title)}</b>{faint}</div>'


def walk_widgets(widget: Any) -> list[Any]:
    """The widget and everything inside it."""
    return [
        widget,
        *(one for child in getattr(widget, "children", ()) for one in walk_widgets(child)),
    ]


def allow_subshell(widget: Any) -> None:
    """Lets a button be heard while a cell blocks: in the subshell that the front end chose, where
    there are any.

    Only for buttons that need no field: a click must never overtake what was typed before it.
    (ipykernel 7.4 answers a widget where it last published, mostly in the shell that a cell blocks;
    other versions do not have the attribute.)
    """
    _set_reply_subshell(widget, lambda _, chosen: chosen)


def force_main_shell(widget: Any) -> None:
    """Keeps a form's fields and buttons in one queue, the main shell's: while a cell blocks they
    wait, but together.
    """
    _set_reply_subshell(widget, lambda *_: None)


def _set_reply_subshell(widget: Any, hook: Callable[[Any, Any], Any]) -> None:
    for one in walk_widgets(widget):
        if hasattr(one.comm, "_reply_subshell_for"):
            one.comm._reply_subshell_for = hook


_panels_by_cell: weakref.WeakValueDictionary[str, Panel] = weakref.WeakValueDictionary()


def _close_previous_run(panel: Panel) -> None:
    """A cell that is run again closes the panels of its last run, so that nothing goes on watching
    unseen.
    """
    cell, run = _current_cell()
    if not cell:
        return
    for key, old in list(_panels_by_cell.items()):
        before, _, its_run = key.partition(" ")
        if before == cell and its_run.partition(" ")[0] != run:
            old.close()
    _panels_by_cell[f"{cell} {run} {id(panel)}"] = panel


def _current_cell() -> tuple[str, str]:
    """The id of the cell that runs, as the front end tells it, and of this run of it."""
    shell = get_ipython()
    parent = shell.get_parent() if shell is not None and hasattr(shell, "get_parent") else {}
    cell = str(parent.get("metadata", {}).get("cellId", ""))
    return cell, str(parent.get("header", {}).get("msg_id", ""))
