"""Many jobs at once: submissions take turns, and jobs that run already are followed all
together.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import anyio

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.settings import Settings
from jupyter_mjci.errors import MjciError, WaitTimeout
from jupyter_mjci.jobs.polling import Poller, Subscription

JobLike = Call[Job] | Job | str  # to be submitted; or followed, as it is or by its id


class BatchClient(Protocol):
    """What many jobs are worked off at."""

    settings: Settings
    poller: Poller

    def _watch(
        self, target: JobLike, timeout: float, poll_interval: float
    ) -> AsyncIterator[Job]: ...

    def _should_archive(self, job: Job) -> bool: ...

    async def _archive_images(self, job: Job) -> None: ...


@dataclass(frozen=True, slots=True)
class BatchUpdate:
    """One of many jobs: its `index` among them, from 0, the `job` as it was seen, and whether it is
    `done`: followed no further.
    """

    index: int
    job: Job
    done: bool


async def as_completed(
    client: BatchClient,
    jobs: Sequence[JobLike],
    at_once: int,
    poll_interval: float,
    emit: Callable[[Job], None],
) -> None:
    """Hands out each job as it ends."""
    await run_batch(
        client, jobs, at_once, poll_interval, lambda step: emit(step.job) if step.done else None
    )


async def run_batch(
    client: BatchClient,
    jobs: Sequence[JobLike],
    at_once: int,
    poll_interval: float,
    emit: Callable[[BatchUpdate], None],
) -> None:
    """Hands out every step of every job. Submissions wait for their turn; a job that runs already
    needs none.
    """
    slots, running = (
        anyio.Semaphore(at_once),
        {n: job for n, job in enumerate(jobs) if isinstance(job, Job)},
    )

    async def one(place: int, what: Call[Job] | str) -> None:
        async with slots:
            try:
                async for job in client._watch(what, client.settings.wait, poll_interval):
                    emit(BatchUpdate(place, job, not job.status.is_active))
            except MjciError as error:
                emit(BatchUpdate(place, build_failed_job(what, error), True))

    async with anyio.create_task_group() as group:
        group.start_soon(_follow_running, client, running, poll_interval, emit)
        for place, what in enumerate(jobs):
            if not isinstance(what, Job):
                group.start_soon(one, place, what)


async def _follow_running(
    client: BatchClient,
    running: Mapping[int, Job],
    poll_interval: float,
    emit: Callable[[BatchUpdate], None],
) -> None:
    """Jobs that run already: a task for each of ten thousand would cost more than all that they
    tell.
    """
    places = list(running)

    async def kept(place: int, job: Job) -> None:
        await client._archive_images(job)
        emit(BatchUpdate(place, job, True))

    async with anyio.create_task_group() as group:

        def tell(place: int, job: Job) -> None:
            if client._should_archive(job):
                group.start_soon(kept, place, job)
            else:
                emit(BatchUpdate(place, job, not job.status.is_active))

        for place, job in running.items():
            tell(place, job)
        async for moved in client.poller.watch(
            running.values(), client.settings.wait, poll_interval
        ):
            for one in moved:
                if one.error is None:
                    tell(places[one.index], one.job)
                else:
                    emit(BatchUpdate(places[one.index], _failed_from_error(one), True))


def _failed_from_error(subscription: Subscription) -> Job:
    if not isinstance(subscription.error, MjciError):  # a bug of ours
        raise subscription.error or AssertionError
    return build_failed_job(subscription.job, subscription.error)


def build_failed_job(target: JobLike, error: MjciError) -> Job:
    """A job that stands for what became of a call, or of a wait."""
    if isinstance(error, WaitTimeout):
        return error.job
    if isinstance(target, Call):
        target = Job(target.service, "", target.name)
    elif isinstance(target, str):
        target = Job(guess_service(target), target)
    return replace(target, status=Status.FAILED, reason=error.message, raw={"error": str(error)})


def guess_service(job_id: str) -> str:
    """Whose an id looks like; "" where it looks like nobody's."""
    return next(
        (service for service, shape in _ID_PATTERNS.items() if shape.fullmatch(job_id.strip())), ""
    )


_ID_PATTERNS = {"mj": re.compile(r"[0-9]+"), "ci": re.compile(r"[a-z][0-9a-z]{7,}")}
