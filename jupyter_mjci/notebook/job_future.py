"""A job that is followed in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import wait
from dataclasses import replace
from functools import partial
from typing import Any

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import JobFailed, MjciError
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.cards import Extras
from jupyter_mjci.notebook.images import MimeBundle
from jupyter_mjci.notebook.job_results import (
    Previews,
    card_bundle,
    fetch_results_async,
)
from jupyter_mjci.notebook.outputs import OutputTarget
from jupyter_mjci.session import Session

LOG = logging.getLogger(__name__)


class JobFuture:
    """A job that is followed in the background. `await` it, or `.result()` waits for the finished
    job; `.job` is how it was last seen, `.cancel()` stops following (the job itself goes on).
    """

    def __init__(self, session: Session, job: Job, output: OutputTarget) -> None:
        self.job = job
        self._session, self._output, self._previews = session, output, Previews(session)
        if output.live:
            output.show_progress(job, "")
        else:  # nothing may come after the cell has ended, so what stays is what is known now
            output.show_final(card_bundle(job))
        self._handle = event_loop.start(
            self._follow()
        )  # in a copy of this context: updates find their cell

    def __repr__(self) -> str:
        return f"<following {cards.headline(self.job)}>"

    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._handle.done()

    def cancel(self) -> None:
        """Stops following. The job itself goes on at the service."""
        self._handle.cancel()

    def result(self) -> Job:
        """Waits for the finished job. Raises JobFailed if it failed. An interrupt ends only the
        waiting.
        """
        while not self._handle.done():
            wait([self._handle.future], event_loop.WAIT_SLICE)
        return self._handle.future.result()

    def __await__(self) -> Generator[Any, None, Job]:
        return self._await_result().__await__()

    async def _await_result(self) -> Job:
        wrapped = asyncio.wrap_future(self._handle.future)
        while (
            not wrapped.done()
        ):  # the heartbeat of every wait; one that is cancelled ends, the following goes on
            await asyncio.wait({wrapped}, timeout=event_loop.WAIT_SLICE)
        return wrapped.result()

    async def _follow(self) -> Job:
        extras = Extras(
            notes=[
                f"Nobody follows it any longer. Wait for it with {cards.follow_command(self.job)}"
            ]
        )
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
        if self.job.status in (Status.FAILED, Status.CANCELLED):
            raise JobFailed(self.job)
        return self.job

    async def _fetch_picture(self) -> Extras:
        """A background job may not make outputs, so its picture is inside its card."""
        bundles, extras = await fetch_results_async(self._session, self.job)
        return replace(extras, picture=next(_data_urls(bundles), ""))

    def _try_update(self, update: Callable[[], None]) -> None:
        """A front end that is gone must not cost the job."""
        try:
            update()
        except Exception:
            LOG.exception("the card of %s could not be updated", self.job.id)


def _data_urls(bundles: Iterable[MimeBundle]) -> Generator[str, None, None]:
    for data, _ in bundles:
        for mime, content in data.items():
            if mime.startswith("image/"):
                yield f"data:{mime};base64,{content}"
