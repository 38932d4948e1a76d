"""The base class of panels: a form, a message, cards, and background tasks.

A click only submits a task to the background event loop and
returns, so the kernel stays free and no click is lost. While a
cell runs, the buttons of cards work at once (where the kernel has
subshells); those of forms say so and wait until the cell has
ended, and then submit what the page showed at the click.
Everything that a task shows is changed by that task, in the event
loop's thread, one at a time.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
import weakref
from collections.abc import Awaitable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import anyio
import anyio.to_thread
import ipywidgets as W
from IPython.core.getipython import get_ipython
from IPython.display import display

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.translation import mark, set_language, translate
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.notebook.card_style import render_element
from jupyter_mjci.notebook.cards import dim_html, escape_text
from jupyter_mjci.notebook.panels import downloads, html
from jupyter_mjci.notebook.panels.async_button import AsyncButton, Handler, Work
from jupyter_mjci.notebook.panels.page_language import follow_browser
from jupyter_mjci.notebook.panels.picture_viewer import connect_panel
from jupyter_mjci.notebook.panels.submit import FormButton, SubmitButton
from jupyter_mjci.notebook.panels.subshells import (
    force_main_shell,
    restore_mimebundle,
    walk_widgets,
)
from jupyter_mjci.notebook.panels.widgets import build_button, translate_all
from jupyter_mjci.session import Session

if TYPE_CHECKING:
    from IPython.core.display_functions import DisplayHandle

    from jupyter_mjci.client.job import Job
    from jupyter_mjci.services import PictureTarget

# seconds without a response after which a panel says that it is
# waiting
SLOW_AFTER = 1.5
SLOW_NOTICE = (
    mark("No response yet."),
    mark("Retrying until the service responds or the wait times out."),
)
EMPTY_SNAPSHOT = mark("Nothing has been submitted here yet.")
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
T = TypeVar("T")
Task = event_loop.BackgroundTask[None]


class PanelCard(Protocol):
    """What a panel needs of a card."""

    box: W.Widget

    def static_html(self) -> str: ...

    def static_text(self) -> str: ...


class Panel(W.VBox):  # type: ignore[misc]
    """A panel. It can be displayed several times; `close()` stops its tasks.

    Closing it cancels no job: jobs keep running at the service.
    """

    title = ""
    # the builders whose forms take pictures from the viewer
    picture_builders: Collection[str] = ()
    # the magics that do the same where no widgets are shown
    magics = ""

    def __init__(self, session: Session) -> None:
        self.session = session
        set_language(session.settings.language)
        self._lock = threading.RLock()
        self._tasks: set[Task] = set()
        self._closed = False
        self._cards: list[PanelCard] = []
        self._snapshot_display: DisplayHandle | None = None
        self._message: Sequence[str] = ()
        self._message_level: html.AlertLevel = "error"
        self.message = W.HTML()
        self.cards = W.VBox(layout={"overflow": "visible"})
        self.page_script = downloads.create_page_script()
        head = W.HTML(f"<style>{html.STYLESHEET}</style>{self._render_title()}")
        children = [head, *self.build_form(), self.message, self.cards, *self.build_footer()]
        if self.page_script is not None:
            children.append(self.page_script)
        super().__init__(children)
        # the last one leads the viewer of pictures back to it
        for name in ("mjci-panel", "mjci-live", f"mjci-panel-{self.model_id}"):
            self.add_class(name)
        force_main_shell(self)
        translate_all(self)
        connect_panel(self)
        follow_browser(session.settings.language)
        _close_previous_run(self)

    def build_form(self) -> Sequence[W.Widget]:
        """Build the widgets above the cards."""
        return ()

    def build_footer(self) -> Sequence[W.Widget]:
        """Build the widgets below the cards."""
        return ()

    # --- pictures from the viewer ---

    async def receive_picture(self, target: PictureTarget, name: str) -> str:
        """Put a picture into the form of a call, and return a line that says so."""
        raise InvalidRequest(f"{self.title} has no form for {target.label} of {name}.")

    async def use_again(self, _: Job) -> str:
        """Fill in the form as a job was submitted, and say so; "" in a panel without a form."""
        return ""

    # --- tasks ---

    def start_task(self, coro: Work) -> Task | None:
        """Run a coroutine on the event loop and show its error, if any.

        Returns:
            The task; None where the panel is closed.
        """
        with self._lock:
            if self._closed:
                coro.close()
                return None
            task = event_loop.start(self._run_task(coro))
            self._tasks.add(task)
        task.future.add_done_callback(lambda _: self._discard_task(task))
        return task

    async def _run_task(self, coro: Work) -> None:
        try:
            await coro
        except Exception as error:
            self.show_error(error)

    def _discard_task(self, task: Task) -> None:
        with self._lock:
            self._tasks.discard(task)

    def build_button(
        self, label: str, tooltip: str, handler: Handler, *, icon: str = "", style: str = ""
    ) -> W.Button:
        """Build a button that runs a coroutine function when it is clicked.

        The button is disabled until the function has ended.
        """
        button = build_button(label, tooltip, icon=icon, style=style)
        AsyncButton(self, button, handler)
        return button

    def build_submit(
        self,
        label: str,
        tooltip: str,
        handler: Handler,
        *,
        icon: str = "",
        style: str = "",
        is_default: bool = True,
    ) -> SubmitButton:
        """Build the button of a form, which is submitted as the page shows it.

        Args:
            label: the button's text
            tooltip: what it does
            handler: reads the fields and returns a coroutine
            icon: a Font Awesome name
            style: "primary" for the main button of the panel
            is_default: whether Ctrl+Enter in the form presses it

        Returns:
            The button, to be bound to its form.
        """
        button = build_button(label, tooltip, icon=icon, style=style, button_type=FormButton)
        return SubmitButton(self, button, handler, is_default=is_default)

    def restart_task(self, task: Task | None, coro: Work) -> Task | None:
        """Cancel a task, if there is one, and run a coroutine in its place."""
        if task is not None:
            task.cancel()
        return self.start_task(coro)

    async def save(self, name: str, files: Mapping[str, bytes]) -> None:
        """Save pictures to the browser's downloads, several of them as a ZIP file.

        Args:
            name: the name of the ZIP file, without extension
            files: content by name without extension

        Raises:
            InvalidRequest: There are no files, or anywidget is
                not installed.
        """
        if self.page_script is None:
            raise InvalidRequest(
                "Downloads need anywidget.",
                detail="It is not installed.",
                hint=downloads.INSTALL_HINT,
            )
        self.page_script.save(*await anyio.to_thread.run_sync(downloads.pack_files, name, files))

    def count_pending(self) -> int:
        """Return the number of tasks under way: submissions and followed jobs."""
        with self._lock:
            return len(self._tasks)

    async def call_with_notice(self, call: Awaitable[T]) -> T:
        """Await a call, and show a notice while it takes long.

        An unreachable service is retried, so a call may take its
        whole timeout.
        """
        notice = self.start_task(self._show_slow_notice())
        try:
            return await call
        finally:
            if notice is not None:
                notice.cancel()
            if self._message == SLOW_NOTICE:
                self.clear_message()

    async def _show_slow_notice(self) -> None:
        await anyio.sleep(SLOW_AFTER)
        self.show_message(SLOW_NOTICE, level="note")

    def wait(self, timeout: float = 300.0) -> None:
        """Block until all tasks have ended: for a cell that fills in a panel from Python.

        An interrupt stops waiting, not the tasks.

        Args:
            timeout: seconds

        Raises:
            TimeoutError: Tasks are still running after that time.
        """
        deadline = time.monotonic() + timeout
        while tasks := list(self._tasks):
            if time.monotonic() > deadline:
                raise TimeoutError(f"Tasks still running: {len(tasks)}.")
            concurrent.futures.wait([task.future for task in tasks], event_loop.WAIT_SLICE)

    def close(self) -> None:
        """Stop all tasks and remove the widgets. The jobs keep running at the service."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        for widget in list(walk_widgets(self)):
            if widget is not self:
                widget.close()
        super().close()
        restore_mimebundle(self)

    # --- messages and cards ---

    def show_error(self, error: BaseException) -> None:
        """Show an error under the form."""
        self.show_message(html.error_lines(error))
        self.update_snapshot()

    def show_message(self, message: Sequence[str], *, level: html.AlertLevel = "error") -> None:
        """Show a message under the form."""
        self._message = message
        self._message_level = level
        self.message.value = html.render_alert(list(map(translate, message)), level=level)

    def clear_message(self) -> None:
        """Remove the message under the form."""
        self.show_message(())

    def clear_error(self) -> None:
        """Remove the message if it is an error: what caused it was changed."""
        if self._message and self._message_level == "error":
            self.clear_message()

    def add(self, card: PanelCard) -> None:
        """Add a card above the others."""
        with self._lock:
            self._set_cards([card, *self._cards])

    def remove(self, card: PanelCard) -> None:
        """Remove a card."""
        with self._lock:
            self._set_cards([other for other in self._cards if other is not card])

    def _set_cards(self, cards: list[PanelCard]) -> None:
        self._cards = cards
        self.cards.children = [card.box for card in cards]
        self.update_snapshot()

    # --- display ---

    def static_html(self) -> str:
        """Render the last state for a notebook that is read without a kernel."""
        cards = "".join(card.static_html() for card in self._cards)
        return html.render_alert(self._message) + cards

    def static_text(self) -> str:
        """Format the last state as text."""
        cards = [card.static_text() for card in self._cards]
        return "\n".join([f"{self.title} panel", *self._message, *cards])

    def update_snapshot(self) -> None:
        """Update the displayed snapshot.

        Call it when something has ended, not at every step.
        """
        if self._snapshot_display is not None and not self._closed:
            self._snapshot_display.update(self._build_snapshot(), raw=True)

    def _render_title(self) -> str:
        source = self.session.recording
        if not source and self.session.sandbox:
            source = "sandbox"
        name = f"<b>{escape_text(translate(self.title))}</b>"
        place = f'<span class="mjci-faint">{escape_text(source)}</span>'
        return f'<div class="mjci-title">{name} {place}</div>'

    def _build_view(self) -> dict[str, object]:
        return {"version_major": 2, "version_minor": 0, "model_id": self.model_id}

    def _build_snapshot(self) -> dict[str, object]:
        # Without the style sheet, whose text some readers of a
        # saved notebook would show.
        body = self._render_title() + (self.static_html() or dim_html(translate(EMPTY_SNAPSHOT)))
        return {
            "text/plain": self.static_text(),
            "text/html": render_element("div", body, "mjci-panel mjci-snapshot"),
        }

    def _repr_mimebundle_(self, **_: object) -> dict[str, object]:
        bundle = self._build_snapshot()
        if not self._closed:
            bundle[WIDGET_MIME] = self._build_view()
        return bundle

    def _ipython_display_(self) -> None:
        """Display the panel, and below it a snapshot of its last state.

        The snapshot is what a saved notebook shows without a
        kernel. The stylesheet hides it while the live panel is
        shown.
        """
        if not self._closed:
            hint = f"{self.title} panel. Its last state is below; run the cell to use it."
            hint += f" Without widgets: {self.magics}."
            fallback = {
                "text/plain": hint,
                "text/html": f'<p class="mjci-faint">{escape_text(hint)}</p>',
            }
            display({**fallback, WIDGET_MIME: self._build_view()}, raw=True)
        if self._snapshot_display is None:
            self._snapshot_display = display(self._build_snapshot(), raw=True, display_id=True)
        else:
            display(self._build_snapshot(), raw=True, display_id=self._snapshot_display.display_id)


# --- one run of a cell ---

# (cell ID, ID of its execute request, id of the panel) -> panel
_panels_by_cell: weakref.WeakValueDictionary[tuple[str, str, int], Panel] = (
    weakref.WeakValueDictionary()
)


def _close_previous_run(panel: Panel) -> None:
    """Close the panels of the cell's previous run.

    They are no longer displayed, but they would keep polling.
    """
    cell, request = _current_cell()
    if not cell:
        return
    for key, old_panel in list(_panels_by_cell.items()):
        if key[0] == cell and key[1] != request:
            old_panel.close()
    _panels_by_cell[cell, request, id(panel)] = panel


def _current_cell() -> tuple[str, str]:
    """Return the IDs of the running cell and of its execute request, "" if unknown.

    JupyterLab and Notebook 7 send `cellId` in the metadata of the
    execute request.
    """
    shell = get_ipython()
    if shell is None or not hasattr(shell, "get_parent"):
        return "", ""
    parent = shell.get_parent()
    cell = parent.get("metadata", {}).get("cellId", "")
    return str(cell), str(parent.get("header", {}).get("msg_id", ""))
