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
from jupyter_mjci.errors import MjciError, Unsupported, WaitTimeout
from jupyter_mjci.jobs.submission import is_transient
from jupyter_mjci.services.midjourney import api as midjourney
from jupyter_mjci.services.midjourney.responses import ListingChanges, parse_changes
from jupyter_mjci.services.tencent_ci import api as tencent_ci

T = TypeVar("T")

BATCH_SIZE = {"mj": 500, "ci": 50}  # jobs in one request
COALESCE_WINDOW = 1.0  # seconds: jobs that are due within one are asked after together
MIN_INTERVAL = {"mj": 4.0, "ci": 0.5}
MAX_INTERVAL = 15.0
TYPICAL_DURATION = {
    "mj": 45.0,
    "ci": 2.0,
}  # seconds that a job takes, until the history knows better
MAX_FAILURES = 8  # polls in a row that may go wrong: about a minute
MAX_MISSES = 3  # looks in a row that do not find a job: then it is lost
NOT_FOUND_CODES = ("not_found", "NonExistJobIds")


class PollerClient(Protocol):
    """What a poller works at."""

    clock: Clock
    mj: midjourney.Midjourney
    ci: tencent_ci.TencentCI

    async def send_once(self, call: Call[T]) -> T: ...

    def _record(self, jobs: Iterable[Job]) -> None: ...

    def _durations(self, service: str, action: str) -> list[float]: ...


class ChangeQueue:
    """What has moved since somebody looked last: each job once, as it is by then. Whoever is slow
    misses steps, never the end.
    """

    def __init__(self) -> None:
        self._changed: list[Subscription] = []
        self._not_empty = anyio.Event()

    def put(self, subscription: Subscription) -> None:
        if not subscription.has_update:
            subscription.has_update = True
            self._changed.append(subscription)
            self._not_empty.set()

    async def get(self) -> Sequence[Subscription]:
        """All that has moved; waits for the first."""
        await self._not_empty.wait()
        moved, self._changed, self._not_empty = self._changed, [], anyio.Event()
        for one in moved:
            one.has_update = False
        return moved


@dataclass(eq=False, slots=True)
class Subscription:
    """One job under somebody's eyes, who wants to know of it at least every `max_interval` seconds.
    `index` tells it from those that are followed with it, `error` why it is followed no further.
    """

    job: Job
    since: float
    max_interval: float
    index: int = 0
    changes: ChangeQueue = field(default_factory=ChangeQueue)
    next_poll_at: float = 0.0
    deadline: float = math.inf
    misses: int = 0
    failures: int = 0
    late_polls: int = 0
    has_update: bool = False  # whether there is news of it that nobody has taken yet
    error: Exception | None = None

    @property
    def is_active(self) -> bool:
        return self.error is None and self.job.status.is_active


class Poller:
    """Asks after all followed jobs, from one task on the engine that ends when nobody follows any
    more.

    `deterministic` is for what is recorded and played back: each job is asked after by itself, and only
    when its last step has been taken, so that nothing depends on which jobs happen to be due
    together, or on how slow a reader is.
    """

    def __init__(self, client: PollerClient, *, deterministic: bool = False) -> None:
        self.client, self.deterministic = client, deterministic
        self._subscriptions: set[Subscription] = set()
        self._poll_loop: event_loop.BackgroundTask[None] | None = None
        self._wake_event = anyio.Event()
        self._no_bulk_fetch = (
            {"mj", "ci"} if deterministic else set[str]()
        )  # services that cannot tell of several jobs at once
        self._bulk_fetch_works = set[str]()  # those that have done so
        self._typical_durations: dict[tuple[str, str], float] = {}

    async def watch(
        self, jobs: Iterable[Job], timeout: float, poll_interval: float = MAX_INTERVAL
    ) -> AsyncIterator[Sequence[Subscription]]:
        """Every change of the jobs from now on, in bunches, until none of them moves any more.

        A job's `error` is WaitTooLong after `timeout` seconds, or what asking for it raises, again
        and again.
        """
        now, inbox = self.client.clock.now(), ChangeQueue()
        going = {
            Subscription(job, now, poll_interval, place, inbox, deadline=now + timeout)
            for place, job in enumerate(jobs)
            if job.status.is_active
        }
        for one in going:
            one.next_poll_at = now + self._estimate_delay(one, now)
        self._subscriptions |= going
        self._ensure_running()
        try:
            while going:
                moved = await inbox.get()
                ended = {one for one in moved if not one.is_active}
                going -= ended
                self._subscriptions -= ended
                self._on_taken()
                yield moved
        finally:
            self._subscriptions -= going
            self._on_taken()

    def _on_taken(self) -> None:
        if self.deterministic:
            self._wake_event.set()

    def push(self, job: Job) -> None:
        """A job that tells of itself, by a callback; whoever follows it need not ask first."""
        for one in self._subscriptions:
            if (one.job.service, one.job.id) == (job.service, job.id) and one.job.status.is_active:
                self._on_update(one, job, self.client.clock.now())

    def _ensure_running(self) -> None:
        self._wake_event.set()
        if self._poll_loop is None or self._poll_loop.done():
            self._poll_loop = event_loop.start(self._run())

    async def _run(self) -> None:
        try:
            await self._poll_until_idle()
        except Exception as error:  # a bug of ours must not leave anybody waiting for ever
            self._fail(self._subscriptions, error)

    async def _poll_until_idle(self) -> None:
        while True:
            moving = [one for one in self._subscriptions if one.is_active]
            if not moving:
                return
            if self.deterministic and not (moving := [one for one in moving if not one.has_update]):
                self._wake_event = anyio.Event()
                await self._wake_event.wait()
                continue
            now = self.client.clock.now()
            soonest = min(min(one.next_poll_at, one.deadline) for one in moving)
            if soonest > now:
                await self._sleep(soonest - now)
                continue
            for one in moving:
                if one.deadline <= now:
                    self._fail([one], WaitTimeout(one.job, one.deadline - one.since))
            due = [
                one
                for one in moving
                if one.next_poll_at <= now + COALESCE_WINDOW / 4 and one.error is None
            ]
            await self._poll(sorted(due, key=lambda one: (one.next_poll_at, one.job.id)))

    async def _sleep(self, seconds: float) -> None:
        """Until the next job is due, or somebody follows another one."""
        self._wake_event = anyio.Event()
        async with anyio.create_task_group() as group:

            async def wake() -> None:
                await self._wake_event.wait()
                group.cancel_scope.cancel()

            group.start_soon(wake)
            await self.client.clock.sleep(seconds)
            group.cancel_scope.cancel()

    async def _poll(self, due: Sequence[Subscription]) -> None:
        for service in ("mj", "ci"):
            here = [one for one in due if one.job.service == service]
            singly = service in self._no_bulk_fetch or len(here) == 1
            together = [] if singly else [one for one in here if not _is_batch(one.job)]
            async with anyio.create_task_group() as group:
                for start in range(0, len(together), BATCH_SIZE[service]):
                    group.start_soon(self._poll_bulk, together[start : start + BATCH_SIZE[service]])
                for one in here:
                    if singly or _is_batch(one.job):
                        group.start_soon(self._poll_single, one)

    async def _poll_bulk(self, subscriptions: Sequence[Subscription]) -> None:
        service, asked = subscriptions[0].job.service, self.client.clock.now()
        try:
            news = await (
                self._fetch_mj_changes(subscriptions)
                if service == "mj"
                else self._fetch_ci_changes(subscriptions)
            )
        except MjciError as error:
            if isinstance(error, Unsupported) and service not in self._bulk_fetch_works:
                self._no_bulk_fetch.add(service)
            else:
                self._on_error(subscriptions, error)
            return
        self._bulk_fetch_works.add(service)
        moved = {job.id: job for job in news.jobs}
        for one in subscriptions:
            if one.job.id in news.ids:
                self._on_update(one, moved.get(one.job.id), asked)
            else:
                self._on_missing(one)

    async def _fetch_mj_changes(self, subscriptions: Iterable[Subscription]) -> ListingChanges:
        known = {one.job.id: one.job for one in subscriptions}
        call = cast(Call[ListingChanges], self.client.mj.tasks(list(known)))
        return await self.client.send_once(replace(call, parse=partial(parse_changes, known=known)))

    async def _fetch_ci_changes(self, subscriptions: Iterable[Subscription]) -> ListingChanges:
        page = await self.client.send_once(
            self.client.ci.jobs(ids=[one.job.id for one in subscriptions]).first_page
        )
        return ListingChanges(page.items, frozenset(job.id for job in page.items))

    async def _poll_single(self, subscription: Subscription) -> None:
        job = subscription.job
        call = self.client.mj.task(job.id) if job.service == "mj" else self.client.ci.job(job.id)
        asked = self.client.clock.now()
        try:
            seen: Job = await self.client.send_once(call)
            self._on_update(subscription, seen, asked)
        except MjciError as error:
            if getattr(error, "code", "") in NOT_FOUND_CODES:
                self._on_missing(subscription)
            else:
                self._on_error([subscription], error)

    def _on_missing(self, subscription: Subscription) -> None:
        """A listing may lag behind; a job that is left out again and again has been lost over
        there.
        """
        subscription.misses += 1
        subscription.next_poll_at = self.client.clock.now() + COALESCE_WINDOW
        if subscription.misses >= MAX_MISSES:
            lost = replace(
                subscription.job,
                status=Status.FAILED,
                reason="The service has lost it: submit it again.",
            )
            self.client._record([lost])
            self._on_update(subscription, lost, self.client.clock.now())

    def _on_update(self, subscription: Subscription, job: Job | None, polled_at: float) -> None:
        """How a job was when it was asked after; None where it has not moved."""
        if job is not None and (seen := merge_known(subscription.job, job)) != subscription.job:
            subscription.job = seen
            subscription.changes.put(subscription)
        subscription.failures = subscription.misses = 0
        subscription.next_poll_at = polled_at + self._estimate_delay(subscription, polled_at)

    def _on_error(self, subscriptions: Iterable[Subscription], error: MjciError) -> None:
        """A service that is away for a while ends no wait at once: the job goes on over there. Nor
        does a page where an answer should be: what has been told of a job once can be told
        again.
        """
        for one in subscriptions:
            one.failures += 1
            one.next_poll_at = self.client.clock.now() + min(
                COALESCE_WINDOW * 1.5**one.failures, MAX_INTERVAL
            )
            if one.failures > MAX_FAILURES or not (
                is_transient(error) or isinstance(error, Unsupported)
            ):
                self._fail([one], error)

    def _fail(self, subscriptions: Iterable[Subscription], error: Exception) -> None:
        for one in subscriptions:
            one.error = error
            one.changes.put(one)

    def _estimate_delay(self, subscription: Subscription, now: float) -> float:
        """Seconds until the job is worth asking after again."""
        soonest, needed = (
            MIN_INTERVAL[subscription.job.service],
            self._estimate_remaining(subscription, now),
        )
        subscription.late_polls += needed <= 0
        wait = (
            max(needed / 2, soonest)
            if needed > 0
            else min(soonest * 1.25**subscription.late_polls, MAX_INTERVAL / 2)
        )
        return min(wait, MAX_INTERVAL, subscription.max_interval)

    def _estimate_remaining(self, subscription: Subscription, now: float) -> float:
        """Seconds that the job still seems to need: by its own progress, else by the history of its
        action.
        """
        job = subscription.job
        began = job.started or job.submitted or job.finished
        since = subscription.since if began is None else min(began.timestamp(), now)
        if job.progress and 0 < job.progress < 100 and now > since:
            return (now - since) * (100 - job.progress) / job.progress
        return since + self._typical_duration(job) - now

    def _typical_duration(self, job: Job) -> float:
        key = (job.service, job.action)
        if key not in self._typical_durations:
            durations = self.client._durations(*key)
            self._typical_durations[key] = (
                median(durations) if len(durations) >= 5 else TYPICAL_DURATION[job.service]
            )
        return self._typical_durations[key]


def merge_known(previous: Job, current: Job) -> Job:
    """What an answer does not tell again (some leave the parent or the prompt out) stays known."""
    told = {
        name: getattr(previous, name)
        for name in ("subject", "user_data", "parent")
        if not getattr(current, name)
    }
    return replace(current, **told) if told else current


def _is_batch(job: Job) -> bool:
    return job.service == "ci" and job.id.startswith("b")
