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
from jupyter_mjci.errors import MjciError, WaitTooLong
from jupyter_mjci.jobs.polling import Followed, Poller

What = Call[Job] | Job | str  # to be submitted; or followed, as it is or by its id


class Desk(Protocol):
    """What many jobs are worked off at."""

    settings: Settings
    poller: Poller

    def sightings(self, what: What, patience: float, longest: float) -> AsyncIterator[Job]: ...

    def keeps(self, job: Job) -> bool: ...

    async def keep(self, job: Job) -> None: ...


@dataclass(frozen=True, slots=True)
class Step:
    """One of many jobs: its `place` among them, from 0, the `job` as it was seen, and whether it is
    `ended`: followed no further.
    """

    place: int
    job: Job
    ended: bool


async def ends(
    desk: Desk, jobs: Sequence[What], at_once: int, longest: float, hand_out: Callable[[Job], None]
) -> None:
    """Hands out each job as it ends."""
    await work_off(
        desk, jobs, at_once, longest, lambda step: hand_out(step.job) if step.ended else None
    )


async def work_off(
    desk: Desk, jobs: Sequence[What], at_once: int, longest: float, hand_out: Callable[[Step], None]
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
                async for job in desk.sightings(what, desk.settings.wait, longest):
                    hand_out(Step(place, job, not job.status.moving))
            except MjciError as error:
                hand_out(Step(place, unfinished(what, error), True))

    async with anyio.create_task_group() as group:
        group.start_soon(_together, desk, running, longest, hand_out)
        for place, what in enumerate(jobs):
            if not isinstance(what, Job):
                group.start_soon(one, place, what)


async def _together(
    desk: Desk, running: Mapping[int, Job], longest: float, hand_out: Callable[[Step], None]
) -> None:
    """Jobs that run already: a task for each of ten thousand would cost more than all that they
    tell.
    """
    places = list(running)

    async def kept(place: int, job: Job) -> None:
        await desk.keep(job)
        hand_out(Step(place, job, True))

    async with anyio.create_task_group() as group:

        def tell(place: int, job: Job) -> None:
            if desk.keeps(job):
                group.start_soon(kept, place, job)
            else:
                hand_out(Step(place, job, not job.status.moving))

        for place, job in running.items():
            tell(place, job)
        async for moved in desk.poller.sightings(running.values(), desk.settings.wait, longest):
            for one in moved:
                if one.error is None:
                    tell(places[one.place], one.job)
                else:
                    hand_out(Step(places[one.place], _given_up(one), True))


def _given_up(one: Followed) -> Job:
    if not isinstance(one.error, MjciError):  # a bug of ours
        raise one.error or AssertionError
    return unfinished(one.job, one.error)


def unfinished(what: What, error: MjciError) -> Job:
    """A job that stands for what became of a call, or of a wait."""
    if isinstance(error, WaitTooLong):
        return error.job
    if isinstance(what, Call):
        what = Job(what.service, "", what.name)
    elif isinstance(what, str):
        what = Job(service_of(what), what)
    return replace(what, status=Status.FAILED, reason=error.what, raw={"error": str(error)})


def service_of(job_id: str) -> str:
    """Whose an id looks like; "" where it looks like nobody's."""
    return next(
        (service for service, shape in _SHAPES.items() if shape.fullmatch(job_id.strip())), ""
    )


_SHAPES = {"mj": re.compile(r"[0-9]+"), "ci": re.compile(r"[a-z][0-9a-z]{7,}")}
