"""Poll every followed job from one task: many jobs in one request, each when it is worth polling.

A job that reports progress is polled after half of the time that
it still seems to need; one that reports none, after half of the
typical duration of its action. Bulk requests save far more than
any pacing, so jobs that are due within a short window are polled
together.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import anyio

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import LOST_REASON, Job, Status, is_older, keep_newest
from jupyter_mjci.client.outcomes import Outcome, get_outcome, get_retry_after
from jupyter_mjci.errors import (
    MjciError,
    ServiceError,
    SettingsError,
    Unsupported,
    WaitTimeout,
)
from jupyter_mjci.jobs.client import JobClient
from jupyter_mjci.services import Api, service

# seconds: jobs that are due within it are polled together
COALESCE_WINDOW = 1.0
# seconds between two polls of a job, at most
MAX_INTERVAL = 15.0
# journaled durations of an action before their median is used
MIN_DURATION_SAMPLES = 5
# failed polls in a row that are tolerated: about a minute
MAX_FAILURES = 8
# Polls in a row that do not find a job, and seconds since it is
# followed: then it is lost. Listings lag behind submissions.
MAX_MISSES = 4
LOST_AFTER = 10.0
# Bulk requests in a row that the server has no endpoint for.
MAX_UNSUPPORTED_BULK = 2
# Requests at a time for jobs that a bulk request did not answer.
MAX_CONCURRENT = 8


class ChangeQueue:
    """The subscriptions that changed since they were last read, each once and in its latest state.

    A slow reader misses intermediate states, never the final one.
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
        """Wait for the first change and return all of them."""
        await self._not_empty.wait()
        changed = self._changed
        self._changed = []
        self._not_empty = anyio.Event()
        for subscription in changed:
            subscription.has_update = False
        return changed


@dataclass(eq=False, slots=True)
class Subscription:
    """One followed job.

    Args:
        job: as it was last seen
        since: when following it began, in Unix seconds
        max_interval: seconds between two polls, at most
        moved_at: when it last changed while it was followed, in
            Unix seconds
        index: its position among the jobs that are followed with
            it
        changes: where its changes are reported
        next_poll_at: when it is polled next
        deadline: when following it ends with WaitTimeout
        misses: polls in a row that did not find it
        failures: polls in a row that failed
        late_polls: polls since its estimated end
        has_update: whether a change was not read yet
        error: why it is followed no further
    """

    job: Job
    since: float
    max_interval: float
    moved_at: float = 0.0
    index: int = 0
    changes: ChangeQueue = field(default_factory=ChangeQueue)
    next_poll_at: float = 0.0
    deadline: float = math.inf
    misses: int = 0
    failures: int = 0
    late_polls: int = 0
    has_update: bool = False
    error: Exception | None = None

    @property
    def is_active(self) -> bool:
        return self.error is None and self.job.status.is_active


class Poller:
    """Polls all followed jobs from one background task, which ends when none is followed any more.

    Args:
        client: sends the requests
        apis: build the calls of each service, by its key
        deterministic: poll each job by itself and only after its
            last change was read, so that a recording depends
            neither on which jobs are due together nor on how slow
            a reader is
        stalled_after: seconds without a change after which a job
            is reported as stalled; it is polled on
    """

    def __init__(
        self,
        client: JobClient,
        apis: Mapping[str, Api],
        *,
        deterministic: bool = False,
        stalled_after: float = math.inf,
    ) -> None:
        self.client = client
        self.apis = apis
        self.deterministic = deterministic
        self.stalled_after = stalled_after
        self._subscriptions: set[Subscription] = set()
        self._poll_loop: event_loop.BackgroundTask[None] | None = None
        self._wake_event = anyio.Event()
        # Services whose jobs are polled one by one, and those
        # that answered a bulk request.
        self._no_bulk_fetch = set(apis) if deterministic else set[str]()
        self._bulk_fetch_works = set[str]()
        self._unsupported_bulk: Counter[str] = Counter()
        self._typical_durations: dict[tuple[str, str], float] = {}

    async def watch(
        self, jobs: Iterable[Job], timeout: float, poll_interval: float = MAX_INTERVAL
    ) -> AsyncIterator[Sequence[Subscription]]:
        """Yield the changed subscriptions in chunks until every job has stopped changing.

        A subscription's `error` is WaitTimeout after `timeout`
        seconds, or what polling the job raised again and again.
        """
        now = self.client.clock.now()
        changes = ChangeQueue()
        active = {
            Subscription(job, now, poll_interval, now, index, changes, deadline=now + timeout)
            for index, job in enumerate(jobs)
            if job.status.is_active
        }
        for subscription in active:
            self._schedule_first_poll(subscription, now)
        followed = Counter((each.job.service, each.job.id) for each in active)
        self.client.followed.update(followed)
        self._subscriptions |= active
        self._ensure_running()
        try:
            while active:
                changed = await changes.get()
                ended = {subscription for subscription in changed if not subscription.is_active}
                active -= ended
                self._subscriptions -= ended
                self._on_taken()
                yield changed
        finally:
            self._subscriptions -= active
            self.client.followed -= followed
            self._on_taken()

    def _schedule_first_poll(self, subscription: Subscription, now: float) -> None:
        """Plan the first poll; a job whose service is not installed ends no other job's wait."""
        try:
            self.client.require_service(subscription.job.service)
            subscription.next_poll_at = now + self._estimate_delay(subscription, now)
        except SettingsError as error:
            self._fail([subscription], error)

    def _on_taken(self) -> None:
        if self.deterministic:
            self._wake_event.set()

    def push(self, job: Job) -> None:
        """Report a job that a webhook delivered, without waiting for the next poll."""
        for subscription in self._subscriptions:
            known = subscription.job
            is_same = (known.service, known.id) == (job.service, job.id)
            if is_same and known.status.is_active:
                self._on_update(subscription, job, self.client.clock.now())

    def _ensure_running(self) -> None:
        self._wake_event.set()
        if self._poll_loop is None or self._poll_loop.done():
            self._poll_loop = event_loop.start(self._run())

    async def _run(self) -> None:
        try:
            await self._poll_until_idle()
        except Exception as error:  # a bug of ours must not leave a reader waiting forever
            self._fail(self._subscriptions, error)

    async def _poll_until_idle(self) -> None:
        while True:
            active = [
                subscription for subscription in self._subscriptions if subscription.is_active
            ]
            if not active:
                return
            if self.deterministic:
                active = [subscription for subscription in active if not subscription.has_update]
                if not active:
                    self._wake_event = anyio.Event()
                    await self._wake_event.wait()
                    continue
            now = self.client.clock.now()
            soonest = min(
                min(subscription.next_poll_at, subscription.deadline) for subscription in active
            )
            if soonest > now:
                await self._sleep(soonest - now)
                continue
            self._expire(active, now)
            await self._poll(_select_due(active, now))

    def _expire(self, subscriptions: Iterable[Subscription], now: float) -> None:
        for subscription in subscriptions:
            if subscription.deadline <= now:
                waited = subscription.deadline - subscription.since
                self._fail([subscription], WaitTimeout(subscription.job, waited))

    async def _sleep(self, seconds: float) -> None:
        """Sleep until the next job is due, or another one is followed."""
        self._wake_event = anyio.Event()
        async with anyio.create_task_group() as group:

            async def wake() -> None:
                await self._wake_event.wait()
                group.cancel_scope.cancel()

            group.start_soon(wake)
            await self.client.clock.sleep(seconds)
            group.cancel_scope.cancel()

    async def _poll(self, due: Sequence[Subscription]) -> None:
        for key in dict.fromkeys(each.job.service for each in due):
            size = service(key).poll.batch_size
            subscriptions = [each for each in due if each.job.service == key]
            bulk, single = self._split_by_request(key, subscriptions)
            async with anyio.create_task_group() as group:
                for start in range(0, len(bulk), size):
                    group.start_soon(self._poll_bulk, bulk[start : start + size])
                for subscription in single:
                    group.start_soon(self._poll_single, subscription)

    def _split_by_request(
        self, key: str, subscriptions: list[Subscription]
    ) -> tuple[list[Subscription], list[Subscription]]:
        """Split subscriptions into those of bulk requests and those of requests of their own."""
        job_service = service(key)
        has_bulk = job_service.fetch_changes is not None and key not in self._no_bulk_fetch
        if not has_bulk or len(subscriptions) == 1:
            return [], subscriptions
        bulk: list[Subscription] = []
        single: list[Subscription] = []
        for each in subscriptions:
            # A listing without a job proves little: it is asked for.
            in_bulk = job_service.can_poll_in_bulk(each.job) and not each.misses
            (bulk if in_bulk else single).append(each)
        return bulk, single

    async def _poll_bulk(self, subscriptions: Sequence[Subscription]) -> None:
        key = subscriptions[0].job.service
        fetch_changes = service(key).fetch_changes
        assert fetch_changes is not None  # _split_by_request asked
        known = {subscription.job.id: subscription.job for subscription in subscriptions}
        polled_at = self.client.clock.now()
        try:
            changes = await self.client.send_once(fetch_changes(self.apis[key], known))
        except MjciError as error:
            if isinstance(error, Unsupported) or get_outcome(error) is Outcome.REFUSAL:
                await self._poll_each(key, subscriptions, error)
            else:
                self._on_error(subscriptions, error)
            return
        except Exception as error:
            # a bug of ours, which one of the jobs may have met:
            # asked for one by one, it ends that wait, and no other
            await self._poll_each(key, subscriptions, error)
            return
        self._bulk_fetch_works.add(key)
        self._unsupported_bulk[key] = 0
        changed = {job.id: job for job in keep_newest(changes.items)}
        for subscription in subscriptions:
            job_id = subscription.job.id
            if job_id in changes.ids:
                self._on_update(subscription, changed.get(job_id), polled_at)
            else:
                self._on_missing(subscription)

    async def _poll_each(
        self, key: str, subscriptions: Sequence[Subscription], error: Exception
    ) -> None:
        """Poll jobs one by one that a bulk request failed for, perhaps because of one."""
        if isinstance(error, Unsupported):
            self._unsupported_bulk[key] += 1
        is_missing = self._unsupported_bulk[key] >= MAX_UNSUPPORTED_BULK
        if is_missing and key not in self._bulk_fetch_works:
            self._no_bulk_fetch.add(key)
        limiter = anyio.Semaphore(MAX_CONCURRENT)

        async def poll(subscription: Subscription) -> None:
            async with limiter:
                await self._poll_single(subscription)

        async with anyio.create_task_group() as group:
            for subscription in subscriptions:
                group.start_soon(poll, subscription)

    async def _poll_single(self, subscription: Subscription) -> None:
        job = subscription.job
        job_service = service(job.service)
        call = job_service.get_job(self.apis[job.service], job.id)
        polled_at = self.client.clock.now()
        try:
            current = await self.client.send_once(call)
            self._on_update(subscription, current, polled_at)
        except MjciError as error:
            if isinstance(error, ServiceError) and error.code in job_service.not_found_codes:
                self._on_missing(subscription)
            else:
                self._on_error([subscription], error)
        except Exception as error:  # a bug of ours ends this wait, and no other
            self._fail([subscription], error)

    def _on_missing(self, subscription: Subscription) -> None:
        """Count a poll without the job: listings lag behind, until they have done so too long."""
        now = self.client.clock.now()
        delay = min(COALESCE_WINDOW * 1.5**subscription.misses, MAX_INTERVAL)
        subscription.misses += 1
        subscription.next_poll_at = now + delay
        is_settled = now - subscription.since >= LOST_AFTER
        if subscription.misses >= MAX_MISSES and is_settled:
            lost = replace(subscription.job, status=Status.FAILED, reason=LOST_REASON)
            self.client.record([lost])
            self._on_update(subscription, lost, self.client.clock.now())

    def _on_update(
        self,
        subscription: Subscription,
        job: Job | None,
        polled_at: float,
    ) -> None:
        """Take over the job of a successful poll; None where it has not changed."""
        if job is not None and not is_older(job, subscription.job):
            merged = merge_known(subscription.job, job)
            if merged != subscription.job:
                subscription.job = merged
                subscription.moved_at = polled_at
                subscription.changes.put(subscription)
        self._check_stalled(subscription, polled_at)
        subscription.failures = 0
        subscription.misses = 0
        subscription.next_poll_at = polled_at + self._estimate_delay(subscription, polled_at)

    def _check_stalled(self, subscription: Subscription, now: float) -> None:
        """Report once that a job has not moved for long; the next change takes it back."""
        is_late = now - subscription.moved_at >= self.stalled_after
        if is_late and subscription.is_active and not subscription.job.is_stalled:
            subscription.job = replace(subscription.job, is_stalled=True)
            subscription.changes.put(subscription)

    def _on_error(
        self,
        subscriptions: Iterable[Subscription],
        error: MjciError,
    ) -> None:
        """Back off after a failed poll, and give up after too many in a row.

        A service that is away for a while, a gateway's page, a
        refusal in between: none ends a wait, because a job that
        could be polled once can be polled again.
        """
        retry_after = get_retry_after(error) or 0.0
        for subscription in subscriptions:
            subscription.failures += 1
            delay = min(COALESCE_WINDOW * 1.5**subscription.failures, MAX_INTERVAL)
            subscription.next_poll_at = self.client.clock.now() + max(delay, retry_after)
            if subscription.failures > MAX_FAILURES:
                self._fail([subscription], error)

    def _fail(self, subscriptions: Iterable[Subscription], error: Exception) -> None:
        for subscription in subscriptions:
            subscription.error = error
            subscription.changes.put(subscription)

    def _estimate_delay(self, subscription: Subscription, now: float) -> float:
        """Return the seconds until polling the job again is worth a request."""
        min_interval = service(subscription.job.service).poll.min_interval
        remaining = self._estimate_remaining(subscription, now)
        if remaining > 0:
            delay = max(remaining / 2, min_interval)
        else:
            subscription.late_polls += 1
            delay = min(min_interval * 1.25**subscription.late_polls, MAX_INTERVAL / 2)
        return min(delay, MAX_INTERVAL, subscription.max_interval)

    def _estimate_remaining(self, subscription: Subscription, now: float) -> float:
        """Estimate the seconds a job still needs, by its progress, else by its action's history."""
        job = subscription.job
        started = job.started or job.submitted or job.finished
        # A service's clock may be ahead of ours.
        since = subscription.since if started is None else min(started.timestamp(), now)
        if job.progress and 0 < job.progress < 100 and now > since:
            return (now - since) * (100 - job.progress) / job.progress
        return since + self._typical_duration(job) - now

    def _typical_duration(self, job: Job) -> float:
        key = (job.service, job.action)
        if key not in self._typical_durations:
            durations = self.client.journal.durations(job.service, job.action)
            typical = service(job.service).poll.typical_duration
            if len(durations) >= MIN_DURATION_SAMPLES:
                typical = median(durations)
            self._typical_durations[key] = typical
        return self._typical_durations[key]


def _select_due(subscriptions: Iterable[Subscription], now: float) -> list[Subscription]:
    """Return those to poll now, in an order that does not depend on the set they come from."""
    latest = now + COALESCE_WINDOW / 4
    due = [each for each in subscriptions if each.next_poll_at <= latest and each.error is None]
    return sorted(due, key=lambda each: (each.next_poll_at, each.job.id))


def merge_known(previous: Job, current: Job) -> Job:
    """Return `current` with what the response left out (some omit the parent or the prompt)."""
    known = {
        name: getattr(previous, name)
        for name in ("subject", "user_data", "parent")
        if not getattr(current, name)
    }
    return replace(current, **known) if known else current
