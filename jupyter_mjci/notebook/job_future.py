"""A job that is followed in the background: `--no-wait`.

Only its own card is updated. Outputs that arrive after the cell
has ended would not be saved with it, so the first result is
embedded in the card.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import wait
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.translation import set_language
from jupyter_mjci.errors import JobFailed, MjciError
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.cards import Extras
from jupyter_mjci.notebook.images import MimeBundle
from jupyter_mjci.notebook.job_results import Previews, card_bundle, fetch_results_async
from jupyter_mjci.notebook.outputs import OutputTarget

if TYPE_CHECKING:
    from jupyter_mjci.session import Session

LOG = logging.getLogger(__name__)


class JobFuture:
    """A job followed in the background. `await` it or call
    `.result()` for the finished job; `.job` is the job as last
    seen; `.cancel()` stops following (the job itself goes on).
    """

    def __init__(self, session: Session, job: Job, output: OutputTarget) -> None:
        self.job = job
        self._session = session
        self._output = output
        self._previews = Previews(session)
        set_language(session.settings.language)
        if output.live:
            # The widget of the buttons is made here, in the
            # thread of the cell.
            self._attach_actions()
            output.show_progress(job, "")
        else:
            # Nothing may be published after the cell has ended:
            # show what is known now.
            notes = [output.note] if output.note else []
            output.show_final(card_bundle(job, Extras(notes=notes)))
        # The task runs in a copy of this context, so its updates
        # are attributed to this cell.
        self._task = event_loop.start(self._follow())

    def __repr__(self) -> str:
        return f"<following {cards.headline(self.job)}>"

    def done(self) -> bool:
        """Return whether following has ended, successfully or not."""
        return self._task.done()

    def cancel(self) -> None:
        """Stop following. The job itself goes on at the service."""
        self._task.cancel()

    def result(self) -> Job:
        """Wait for the finished job and return it. An interrupt ends only the wait.

        Raises:
            JobFailed: the job failed or was cancelled.
        """
        while not self._task.done():
            wait([self._task.future], event_loop.WAIT_SLICE)
        return self._task.future.result()

    def __await__(self) -> Generator[object, None, Job]:
        return self._await_result().__await__()

    async def _await_result(self) -> Job:
        wrapped = asyncio.wrap_future(self._task.future)
        # Wake up regularly: an interrupt reaches an awaiting cell
        # only when its loop runs. Cancelling this wait does not
        # stop the following.
        while not wrapped.done():
            await asyncio.wait({wrapped}, timeout=event_loop.WAIT_SLICE)
        return wrapped.result()

    async def _follow(self) -> Job:
        command = cards.follow_command(self.job)
        extras = Extras(notes=[f"No longer followed. Wait for it with {command}"])
        try:
            async for job in self._session.follow(self.job):
                self.job = job
                if self._output.live and self._output.should_update():
                    preview = await self._previews.fetch(job)
                    self._try_update(partial(self._output.show_progress, job, preview))
            extras = await self._fetch_picture()
        except MjciError as error:
            extras = Extras(notes=error.format_lines()[:1])
            raise
        finally:
            if self._output.live:
                self._try_update(partial(self._output.show_final, card_bundle(self.job, extras)))
                self._try_update(self._attach_actions)
        if self.job.status in (Status.FAILED, Status.CANCELLED):
            raise JobFailed(self.job)
        return self.job

    async def _fetch_picture(self) -> Extras:
        bundles, extras = await fetch_results_async(self._session, self.job)
        return replace(extras, picture=_get_first_data_url(bundles))

    def _attach_actions(self) -> None:
        # imports ipywidgets
        from jupyter_mjci.notebook.card_actions import attach_actions

        attach_actions(self._session, self.job)

    def _try_update(self, update: Callable[[], None]) -> None:
        """Update the card. A front end that is gone must not end the job's following."""
        try:
            update()
        except Exception:
            LOG.exception("the card of %s could not be updated", self.job.id)


def _get_first_data_url(bundles: Iterable[MimeBundle]) -> str:
    for data, _ in bundles:
        for mime, content in data.items():
            if mime.startswith("image/"):
                return f"data:{mime};base64,{content}"
    return ""
