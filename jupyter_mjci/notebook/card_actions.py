"""Buttons under the cards of finished jobs, in a live notebook.

They are no output: the notebook saves the same with and without
them. One widget without a view finds the cards of this kernel's
jobs in the page, and puts buttons where their card only names
them (`panels/card_buttons.js`). What a button has done is shown
under the card as long as the page is open.

To add an action, add a function to `ACTION_SOURCES`.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, TypeAlias

import anyio.to_thread

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Button, Job
from jupyter_mjci.client.translation import translate
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.cards import Extras
from jupyter_mjci.notebook.job_results import load_card_picture
from jupyter_mjci.notebook.panels import downloads
from jupyter_mjci.notebook.panels.html import error_lines
from jupyter_mjci.notebook.panels.page_language import follow_browser
from jupyter_mjci.notebook.panels.picture_viewer import attach_pictures
from jupyter_mjci.notebook.panels.subshells import allow_subshell
from jupyter_mjci.services import find_service

if TYPE_CHECKING:
    from jupyter_mjci.session import Session

# jobs whose cards have buttons, the last ones
MAX_CARDS = 50

# Yields what the page shows under the card, as HTML, each text in
# place of the last. The card's buttons are disabled until the
# first.
Answer: TypeAlias = AsyncIterator[str]


@dataclass(frozen=True, slots=True)
class CardAction:
    """One button under a card.

    Args:
        key: its name among the actions of the card
        label: its text
        tooltip: what it does
        run: called with the session and the job when it is clicked
    """

    key: str
    label: str
    tooltip: str
    run: Callable[[Session, Job], Answer]


def list_actions(job: Job) -> list[CardAction]:
    """Return what can be done with a finished job."""
    return [action for source in ACTION_SOURCES for action in source(job)]


# --- the actions ------------------------------------------------


def _list_job_buttons(job: Job) -> Iterable[CardAction]:
    for button in job.buttons:
        label = cards.format_button(button)
        yield CardAction(
            f"button:{button.custom_id}",
            label,
            cards.button_command(job, button),
            partial(_press_button, button),
        )


async def _press_button(button: Button, session: Session, parent: Job) -> Answer:
    job = await getattr(session, parent.service).action(parent, button.custom_id)
    yield cards.progress_html(job)
    async for update in session.follow(job):
        job = update
        yield cards.progress_html(job)
    picture = await load_card_picture(session, job)
    note = f"Not saved in the notebook; it is shown again by {cards.follow_command(job)}"
    yield cards.card_html(job, Extras([note], picture=picture))
    attach_actions(session, job)


def _list_download(job: Job) -> Iterable[CardAction]:
    if job.outputs:
        yield CardAction("download", "Download", "Save the results", _download)


async def _download(session: Session, job: Job) -> Answer:
    files = await downloads.fetch_files(session, job)
    stem = downloads.build_file_stem(job)
    name, mime, content = await anyio.to_thread.run_sync(downloads.pack_files, stem, files)
    get_card_buttons().save(name, mime, content)
    yield cards.dim_html(f"Saved: {name}")


def _list_reuse(job: Job) -> Iterable[CardAction]:
    service = find_service(job.service)
    line = service.get_command(job) if service else ""
    if line:
        tooltip = translate("New cell: {line}").format(line=line)
        yield CardAction("reuse", "Use again", tooltip, partial(_insert_line, line))


async def _insert_line(line: str, _: Session, job: Job) -> Answer:
    get_card_buttons().insert_cell(job.id, line)
    yield cards.dim_html("It is in a new cell below.")


ACTION_SOURCES: tuple[Callable[[Job], Iterable[CardAction]], ...] = (
    _list_job_buttons,
    _list_download,
    _list_reuse,
)


# --- the buttons of this kernel ---------------------------------


class CardButtons:
    """The buttons under the cards of this kernel; each click acts once."""

    def __init__(self) -> None:
        from jupyter_mjci.notebook.panels.browser_widgets import CardButtonsWidget

        self._lock = threading.Lock()
        self._jobs: dict[str, tuple[Session, Job]] = {}
        self._busy: set[str] = set()
        self.widget = CardButtonsWidget(self._on_click)
        self.save = self.widget.save
        self.insert_cell = self.widget.insert_cell
        allow_subshell(self.widget)

    def attach(self, session: Session, job: Job) -> None:
        """Give the cards of a finished job their buttons."""
        with self._lock:
            self._jobs.pop(job.id, None)
            self._jobs[job.id] = session, job
            while len(self._jobs) > MAX_CARDS:
                self._jobs.pop(next(iter(self._jobs)))
            jobs = [job for _, job in self._jobs.values()]
        self.widget.cards = {job.id: _describe(list_actions(job)) for job in jobs}

    def _on_click(self, click: str, job_id: str, key: str) -> None:
        with self._lock:
            session_and_job = self._jobs.get(job_id)
            is_busy = job_id in self._busy
            self._busy.add(job_id)
        if session_and_job is None or is_busy:
            self.widget.answer(click, "")
            return
        event_loop.start(self._run(click, key, *session_and_job))

    async def _run(self, click: str, key: str, session: Session, job: Job) -> None:
        try:
            action = next(action for action in list_actions(job) if action.key == key)
            async for html in action.run(session, job):
                self._finish(click, job, html)
        except Exception as error:
            lines = "\n".join(error_lines(error))
            self._finish(click, job, cards.reason_html(lines))

    def _finish(self, click: str, job: Job, html: str) -> None:
        with self._lock:
            self._busy.discard(job.id)
        self.widget.answer(click, html)


def _describe(actions: Sequence[CardAction]) -> list[dict[str, str]]:
    return [
        {
            "key": action.key,
            "label": translate(action.label),
            "tooltip": translate(action.tooltip),
        }
        for action in actions
    ]


@cache
def get_card_buttons() -> CardButtons:
    """Return the buttons of this kernel; ImportError without anywidget."""
    return CardButtons()


def attach_actions(session: Session, job: Job) -> None:
    """Give a finished job's cards their buttons; without anywidget they stay text."""
    try:
        buttons = get_card_buttons()
    except ImportError:
        return
    buttons.attach(session, job)
    attach_pictures(session, [job])
    follow_browser(session.settings.language)
