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
from jupyter_mjci.errors import CallError
from jupyter_mjci.notebook.panels import downloads, html
from jupyter_mjci.notebook.panels.style import CSS
from jupyter_mjci.session import Session

# seconds that a button stays shut after a click: the second click of a double click is not meant
HOLD = 0.5
SLOW = 1.5  # seconds without an answer after which a panel says that it is still asking
LATE = ("No answer yet.", "It is asked again until it answers or must be given up.")
T = TypeVar("T")
VIEW = "application/vnd.jupyter.widget-view+json"


class Shows(Protocol):
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
        self._under_way: set[event_loop.Handle[Any]] = set()
        self._closed = False
        self._cards: list[Shows] = []
        self._record: Any = None
        self._said: tuple[str, ...] = ()
        self.message = W.HTML()
        self.cards = W.VBox(layout={"overflow": "visible"})
        self.saver = downloads.saver()
        head = W.HTML(f"<style>{CSS}</style>{_title(self.title, session)}")
        hidden = [self.saver] if self.saver else []
        super().__init__([head, *self.form(), self.message, self.cards, *self.foot(), *hidden])
        self.add_class("mjci-panel").add_class("mjci-live")
        in_order(self)
        _one_per_cell(self)

    def form(self) -> Sequence[Any]:
        """The widgets above the cards."""
        return ()

    def foot(self) -> Sequence[Any]:
        """The widgets below them."""
        return ()

    # --- work -------------------------------------------------------------------------------------

    def start(self, work: Coroutine[Any, Any, None]) -> event_loop.Handle[None] | None:
        """Begins work on the engine. A closed panel begins nothing."""
        with self._lock:
            if self._closed:
                work.close()
                return None
            handle = event_loop.spawn(self._watched(work))
            self._under_way.add(handle)
        handle.future.add_done_callback(lambda _: self._forget(handle))
        return handle

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        """No error of a panel's work gets lost: it is shown."""
        try:
            await work
        except Exception as error:
            self.complain(error)

    def _forget(self, handle: event_loop.Handle[Any]) -> None:
        with self._lock:
            self._under_way.discard(handle)

    def on_press(self, button: Any, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """A click on the button carries out the work, once at a time: until it is done the button
        is shut.
        """
        Press(self, button, work)

    async def save(self, name: str, files: Mapping[str, bytes]) -> None:
        """Puts pictures (name without ending -> bytes) where the browser keeps its downloads;
        several in a zip.
        """
        if self.saver is None:
            raise CallError(
                "Files cannot be saved from here.",
                why="anywidget is not there.",
                hint=downloads.LACKING,
            )
        self.saver.save(*await anyio.to_thread.run_sync(downloads.file_of, name, files))

    def under_way(self) -> int:
        """How many pieces of work this panel has on the engine: submissions, and jobs that it
        watches.
        """
        with self._lock:
            return len(self._under_way)

    async def asked(self, call: Awaitable[T]) -> T:
        """The answer to a call. Where it takes its time, the panel says so: a service that is away
        is asked again.
        """
        late = self.start(self._tell_late())
        try:
            return await call
        finally:
            if late is not None:
                late.cancel()
            if self._said == LATE:
                self.say()

    async def _tell_late(self) -> None:
        await anyio.sleep(SLOW)
        self.say(*LATE, note=True)

    def wait(self, timeout: float = 300.0) -> None:
        """Blocks until all that was begun here has ended, as a cell does that fills a panel in from
        Python. An interrupt ends the wait, not the work. Raises TimeoutError.
        """
        ends = time.monotonic() + timeout
        while rest := list(self._under_way):
            if time.monotonic() > ends:
                raise TimeoutError(f"{len(rest)} pieces of work go on.")
            concurrent.futures.wait([one.future for one in rest], event_loop.SLICE)

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            handles = list(self._under_way)
        for handle in handles:
            handle.cancel()
        for widget in within(self):
            if widget is not self:
                widget.close()
        super().close()
        self.__dict__.pop(
            "_repr_mimebundle_", None
        )  # ipywidgets takes it away; ours still tells the last state

    # --- what it shows ----------------------------------------------------------------------------

    def complain(self, error: BaseException) -> None:
        self.say(*html.lines(error))
        self.keep_record()

    def say(self, *told: str, note: bool = False) -> None:
        """Shows a message under the form, an error or just a note; without words, takes it away."""
        self._said = told
        self.message.value = html.said(told, note=note)

    def static_html(self) -> str:
        """The last state, for those who read the notebook without a kernel."""
        return f"{html.said(self._said)}{''.join(card.static_html() for card in self._cards)}"

    def static_text(self) -> str:
        lines = [f"{self.title} panel", *self._said]
        return "\n".join([*lines, *(card.static_text() for card in self._cards)])

    def add(self, card: Shows) -> None:
        """Puts a card above the others."""
        with self._lock:
            self._cards.insert(0, card)
            self.cards.children = [one.box for one in self._cards]
        self.keep_record()

    def remove(self, card: Shows) -> None:
        with self._lock:
            self._cards.remove(card)
            self.cards.children = [one.box for one in self._cards]
        self.keep_record()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        bundle: dict[str, Any] = self._still()
        return bundle if self._closed else {**bundle, VIEW: self._view()}

    def _view(self) -> dict[str, Any]:
        return {"version_major": 2, "version_minor": 0, "model_id": self.model_id}

    def _still(self) -> dict[str, str]:
        body = (
            self.static_html() or '<p class="mjci-faint">Nothing has been submitted here yet.</p>'
        )
        head = f'<style>{CSS}</style><div class="mjci-panel mjci-record">{_title(self.title, self.session)}'
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
            display({**still, VIEW: self._view()}, raw=True)
        if self._record is None:
            self._record = display(self._still(), raw=True, display_id=True)
        else:
            display(self._still(), raw=True, display_id=self._record.display_id)

    def keep_record(self) -> None:
        """Brings the static record up to date; called when something has ended, not at every
        step.
        """
        if self._record is not None and not self._closed:
            self._record.update(self._still(), raw=True)


class Press:
    """A button that starts work on the engine.

    A double click starts it once: what comes before the work is done, or sooner than HOLD, is not
    heard.
    """

    def __init__(
        self, panel: Panel, button: Any, work: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        self._panel, self._button, self._work = panel, button, work
        self._busy = threading.Lock()
        button.on_click(self._clicked)
        at_once(button)

    def _clicked(self, _: Any) -> None:
        if self._busy.acquire(blocking=False) and self._panel.start(self._turn()) is None:
            self._busy.release()

    async def _turn(self) -> None:
        clicked = time.monotonic()
        self._button.disabled = True
        try:
            await self._work()
        except Exception as error:
            self._panel.complain(error)
        try:
            await anyio.sleep(max(0.0, clicked + HOLD - time.monotonic()))
        finally:
            self._button.disabled = False
            self._busy.release()


def _title(title: str, session: Session) -> str:
    where = session.recording or ("sandbox" if session.sandbox else "")
    faint = f'<span class="mjci-faint">{escape(where)}</span>' if where else ""
    return f'<div class="mjci-title"><b>{escape(title)}</b>{faint}</div>'


def within(widget: Any) -> list[Any]:
    """The widget and everything inside it."""
    return [widget, *(one for child in getattr(widget, "children", ()) for one in within(child))]


def at_once(widget: Any) -> None:
    """Lets a button be heard while a cell blocks: in the subshell that the front end chose, where
    there are any.

    Only for buttons that need no field: a click must never overtake what was typed before it.
    (ipykernel 7.4 answers a widget where it last published, mostly in the shell that a cell blocks;
    other versions do not have the attribute.)
    """
    _route(widget, lambda _, chosen: chosen)


def in_order(widget: Any) -> None:
    """Keeps a form's fields and buttons in one queue, the main shell's: while a cell blocks they
    wait, but together.
    """
    _route(widget, lambda *_: None)


def _route(widget: Any, hook: Callable[[Any, Any], Any]) -> None:
    for one in within(widget):
        if hasattr(one.comm, "_reply_subshell_for"):
            one.comm._reply_subshell_for = hook


_in_cells: weakref.WeakValueDictionary[str, Panel] = weakref.WeakValueDictionary()


def _one_per_cell(panel: Panel) -> None:
    """A cell that is run again closes the panels of its last run, so that nothing goes on watching
    unseen.
    """
    cell, run = _cell()
    if not cell:
        return
    for key, old in list(_in_cells.items()):
        before, _, its_run = key.partition(" ")
        if before == cell and its_run.partition(" ")[0] != run:
            old.close()
    _in_cells[f"{cell} {run} {id(panel)}"] = panel


def _cell() -> tuple[str, str]:
    """The id of the cell that runs, as the front end tells it, and of this run of it."""
    shell = get_ipython()
    parent = shell.get_parent() if shell is not None and hasattr(shell, "get_parent") else {}
    cell = str(parent.get("metadata", {}).get("cellId", ""))
    return cell, str(parent.get("header", {}).get("msg_id", ""))
