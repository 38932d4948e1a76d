"""One poller for everything that is followed: many jobs in one request, each asked after when it is
worth asking.

A job that tells its progress is asked again after half of the time that it still seems to need; one
that tells none, after half of what jobs of its action usually take. Batching saves far more
requests than any pacing, so jobs that are due within a tick are asked after together.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median
from typing import Protocol, TypeVar, cast

import anyio

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.transport import Clock
from jupyter_mjci.errors import MjciError, NoSuchEndpoint, WaitTooLong
from jupyter_mjci.jobs.submission import passing
from jupyter_mjci.services.midjourney import api as midjourney
from jupyter_mjci.services.midjourney.api import News, read_news
from jupyter_mjci.services.tencent_ci import api as tencent_ci

T = TypeVar("T")

CHUNK = {"mj": 500, "ci": 50}  # jobs in one request
TICK = 1.0  # seconds: jobs that are due within one are asked after together
SOONEST = {"mj": 4.0, "ci": 0.5}
LATEST = 15.0
USUAL = {"mj": 45.0, "ci": 2.0}  # seconds that a job takes, until the history knows better
FAILURES = 8  # polls in a row that may go wrong: about a minute
MISSES = 3  # looks in a row that do not find a job: then it is lost
FORGOTTEN = ("not_found", "NonExistJobIds")


class Desk(Protocol):
    """What a poller works at."""

    clock: Clock
    mj: midjourney.Midjourney
    ci: tencent_ci.TencentCI

    async def send_once(self, call: Call[T]) -> T: ...

    def note(self, jobs: Iterable[Job]) -> None: ...

    def durations(self, service: str, action: str) -> list[float]: ...


class Inbox:
    """What has moved since somebody looked last: each job once, as it is by then. Whoever is slow
    misses steps, never the end.
    """

    def __init__(self) -> None:
        self._moved: list[Followed] = []
        self._some = anyio.Event()

    def put(self, one: Followed) -> None:
        if not one.fresh:
            one.fresh = True
            self._moved.append(one)
            self._some.set()

    async def taken(self) -> Sequence[Followed]:
        """All that has moved; waits for the first."""
        await self._some.wait()
        moved, self._moved, self._some = self._moved, [], anyio.Event()
        for one in moved:
            one.fresh = False
        return moved


@dataclass(eq=False, slots=True)
class Followed:
    """One job under somebody's eyes, who wants to know of it at least every `longest` seconds.
    `place` tells it from those that are followed with it, `error` why it is followed no further.
    """

    job: Job
    since: float
    longest: float
    place: int = 0
    inbox: Inbox = field(default_factory=Inbox)
    due: float = 0.0
    deadline: float = math.inf
    misses: int = 0
    failures: int = 0
    overdue: int = 0
    fresh: bool = False  # whether there is news of it that nobody has taken yet
    error: Exception | None = None

    @property
    def going(self) -> bool:
        return self.error is None and self.job.status.moving


class Poller:
    """Asks after all followed jobs, from one task on the engine that ends when nobody follows any
    more.

    `steady` is for what is recorded and played back: each job is asked after by itself, and only
    when its last step has been taken, so that nothing depends on which jobs happen to be due
    together, or on how slow a reader is.
    """

    def __init__(self, desk: Desk, *, steady: bool = False) -> None:
        self.desk, self.steady = desk, steady
        self._followed: set[Followed] = set()
        self._turning: event_loop.Handle[None] | None = None
        self._woken = anyio.Event()
        self._listless = (
            {"mj", "ci"} if steady else set[str]()
        )  # services that cannot tell of several jobs at once
        self._listing = set[str]()  # those that have done so
        self._usual: dict[tuple[str, str], float] = {}

    async def sightings(
        self, jobs: Iterable[Job], patience: float, longest: float = LATEST
    ) -> AsyncIterator[Sequence[Followed]]:
        """Every change of the jobs from now on, in bunches, until none of them moves any more.

        A job's `error` is WaitTooLong after `patience` seconds, or what asking for it raises, again
        and again.
        """
        now, inbox = self.desk.clock.now(), Inbox()
        going = {
            Followed(job, now, longest, place, inbox, deadline=now + patience)
            for place, job in enumerate(jobs)
            if job.status.moving
        }
        for one in going:
            one.due = now + self._wait(one, now)
        self._followed |= going
        self._start()
        try:
            while going:
                moved = await inbox.taken()
                ended = {one for one in moved if not one.going}
                going -= ended
                self._followed -= ended
                self._took()
                yield moved
        finally:
            self._followed -= going
            self._took()

    def _took(self) -> None:
        if self.steady:
            self._woken.set()

    def told(self, job: Job) -> None:
        """A job that tells of itself, by a callback; whoever follows it need not ask first."""
        for one in self._followed:
            if (one.job.service, one.job.id) == (job.service, job.id) and one.job.status.moving:
                self._saw(one, job, self.desk.clock.now())

    def _start(self) -> None:
        self._woken.set()
        if self._turning is None or self._turning.done():
            self._turning = event_loop.spawn(self._turn())

    async def _turn(self) -> None:
        try:
            await self._ask_until_all_rest()
        except Exception as error:  # a bug of ours must not leave anybody waiting for ever
            self._fail(self._followed, error)

    async def _ask_until_all_rest(self) -> None:
        while True:
            moving = [one for one in self._followed if one.going]
            if not moving:
                return
            if self.steady and not (moving := [one for one in moving if not one.fresh]):
                self._woken = anyio.Event()
                await self._woken.wait()
                continue
            now = self.desk.clock.now()
            soonest = min(min(one.due, one.deadline) for one in moving)
            if soonest > now:
                await self._rest(soonest - now)
                continue
            for one in moving:
                if one.deadline <= now:
                    self._fail([one], WaitTooLong(one.job, one.deadline - one.since))
            due = [one for one in moving if one.due <= now + TICK / 4 and one.error is None]
            await self._ask(sorted(due, key=lambda one: (one.due, one.job.id)))

    async def _rest(self, seconds: float) -> None:
        """Until the next job is due, or somebody follows another one."""
        self._woken = anyio.Event()
        async with anyio.create_task_group() as group:

            async def wake() -> None:
                await self._woken.wait()
                group.cancel_scope.cancel()

            group.start_soon(wake)
            await self.desk.clock.sleep(seconds)
            group.cancel_scope.cancel()

    async def _ask(self, due: Sequence[Followed]) -> None:
        for service in ("mj", "ci"):
            here = [one for one in due if one.job.service == service]
            singly = service in self._listless or len(here) == 1
            together = [] if singly else [one for one in here if not _is_batch(one.job)]
            async with anyio.create_task_group() as group:
                for start in range(0, len(together), CHUNK[service]):
                    group.start_soon(self._ask_together, together[start : start + CHUNK[service]])
                for one in here:
                    if singly or _is_batch(one.job):
                        group.start_soon(self._ask_alone, one)

    async def _ask_together(self, some: Sequence[Followed]) -> None:
        service, asked = some[0].job.service, self.desk.clock.now()
        try:
            news = await (self._mj_news(some) if service == "mj" else self._ci_news(some))
        except MjciError as error:
            if isinstance(error, NoSuchEndpoint) and service not in self._listing:
                self._listless.add(service)
            else:
                self._stumble(some, error)
            return
        self._listing.add(service)
        moved = {job.id: job for job in news.items}
        for one in some:
            if one.job.id in news.ids:
                self._saw(one, moved.get(one.job.id), asked)
            else:
                self._missed(one)

    async def _mj_news(self, some: Iterable[Followed]) -> News:
        known = {one.job.id: one.job for one in some}
        call = cast(Call[News], self.desk.mj.tasks(list(known)))
        return await self.desk.send_once(replace(call, read=partial(read_news, known=known)))

    async def _ci_news(self, some: Iterable[Followed]) -> News:
        page = await self.desk.send_once(self.desk.ci.jobs(ids=[one.job.id for one in some]).first)
        return News(page.items, frozenset(job.id for job in page.items))

    async def _ask_alone(self, one: Followed) -> None:
        job = one.job
        call = self.desk.mj.task(job.id) if job.service == "mj" else self.desk.ci.job(job.id)
        asked = self.desk.clock.now()
        try:
            seen: Job = await self.desk.send_once(call)
            self._saw(one, seen, asked)
        except MjciError as error:
            if getattr(error, "code", "") in FORGOTTEN:
                self._missed(one)
            else:
                self._stumble([one], error)

    def _missed(self, one: Followed) -> None:
        """A listing may lag behind; a job that is left out again and again has been lost over
        there.
        """
        one.misses += 1
        one.due = self.desk.clock.now() + TICK
        if one.misses >= MISSES:
            lost = replace(
                one.job, status=Status.FAILED, reason="The service has lost it: submit it again."
            )
            self.desk.note([lost])
            self._saw(one, lost, self.desk.clock.now())

    def _saw(self, one: Followed, job: Job | None, asked: float) -> None:
        """How a job was when it was asked after; None where it has not moved."""
        if job is not None and (seen := kept(one.job, job)) != one.job:
            one.job = seen
            one.inbox.put(one)
        one.failures = one.misses = 0
        one.due = asked + self._wait(one, asked)

    def _stumble(self, some: Iterable[Followed], error: MjciError) -> None:
        """A service that is away for a while ends no wait at once: the job goes on over there. Nor
        does a page where an answer should be: what has been told of a job once can be told
        again.
        """
        for one in some:
            one.failures += 1
            one.due = self.desk.clock.now() + min(TICK * 1.5**one.failures, LATEST)
            if one.failures > FAILURES or not (passing(error) or isinstance(error, NoSuchEndpoint)):
                self._fail([one], error)

    def _fail(self, some: Iterable[Followed], error: Exception) -> None:
        for one in some:
            one.error = error
            one.inbox.put(one)

    def _wait(self, one: Followed, now: float) -> float:
        """Seconds until the job is worth asking after again."""
        soonest, needed = SOONEST[one.job.service], self._needed(one, now)
        one.overdue += needed <= 0
        wait = (
            max(needed / 2, soonest) if needed > 0 else min(soonest * 1.25**one.overdue, LATEST / 2)
        )
        return min(wait, LATEST, one.longest)

    def _needed(self, one: Followed, now: float) -> float:
        """Seconds that the job still seems to need: by its own progress, else by the history of its
        action.
        """
        job = one.job
        began = job.started or job.submitted or job.finished
        since = one.since if began is None else min(began.timestamp(), now)
        if job.progress and 0 < job.progress < 100 and now > since:
            return (now - since) * (100 - job.progress) / job.progress
        return since + self._usually(job) - now

    def _usually(self, job: Job) -> float:
        key = (job.service, job.action)
        if key not in self._usual:
            durations = self.desk.durations(*key)
            self._usual[key] = median(durations) if len(durations) >= 5 else USUAL[job.service]
        return self._usual[key]


def kept(before: Job, now: Job) -> Job:
    """What an answer does not tell again (some leave the parent or the prompt out) stays known."""
    told = {
        name: getattr(before, name)
        for name in ("subject", "state", "parent")
        if not getattr(now, name)
    }
    return replace(now, **told) if told else now


def _is_batch(job: Job) -> bool:
    return job.service == "ci" and job.id.startswith("b")
