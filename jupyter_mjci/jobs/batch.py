"""Follow jobs to their end: one, or many at once.

Submissions of a batch take turns. Jobs that run already need
none: they are followed together by a single task, because a task
for each of ten thousand would cost more than all their updates.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import anyio

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call, Stream
from jupyter_mjci.client.job import Job, Status, to_job_id
from jupyter_mjci.client.outcomes import may_have_been_accepted, may_pass, reason_may_pass
from jupyter_mjci.client.redaction import redact
from jupyter_mjci.errors import (
    JobFailed,
    MjciError,
    SettingsError,
    TransportError,
    WaitTimeout,
)
from jupyter_mjci.jobs.downloads import ResultFetcher
from jupyter_mjci.jobs.polling import Poller
from jupyter_mjci.services import guess_service

LOG = logging.getLogger(__name__)
# A call is submitted and followed; a job or an ID is followed.
JobLike = Call[Job] | Job | str


def to_target(target: JobLike) -> JobLike:
    """Return a call or a job as it is, an ID as text."""
    return target if isinstance(target, (Call, Job)) else to_job_id(target)


@dataclass(frozen=True, slots=True)
class BatchUpdate:
    """A change of one job of a batch.

    Args:
        index: its position in the batch, from 0
        job: as it was seen
        done: whether it is followed no further
    """

    index: int
    job: Job
    done: bool


class Follower:
    """Follows jobs to their end and archives their results.

    Args:
        start: submits a call or fetches a job by its ID; waits as
            many seconds for room in a full queue
        poller: polls the jobs
        results: archives what they produced
    """

    def __init__(
        self,
        start: Callable[[Call[Job] | str, float], Awaitable[Job]],
        poller: Poller,
        results: ResultFetcher,
    ) -> None:
        self._start = start
        self._poller = poller
        self._results = results

    async def watch(
        self, target: JobLike, timeout: float, poll_interval: float
    ) -> AsyncIterator[Job]:
        """Yield each change of one job, the last one when it has ended.

        Raises what polling it raises: WaitTimeout after `timeout`
        seconds.
        """
        job = target if isinstance(target, Job) else await self._start(target, timeout)
        error = None
        if job.status.is_active:
            yield job
            async for (subscription,) in self._poller.watch([job], timeout, poll_interval):
                job = subscription.job
                error = subscription.error
                if subscription.is_active:
                    yield job
        if error is not None:
            raise error
        await self._results.archive_results(job)
        yield job

    async def as_completed(
        self,
        jobs: Sequence[JobLike],
        at_once: int,
        timeout: float,
        poll_interval: float,
        emit: Callable[[Job], None],
        retry: int = 0,
    ) -> None:
        """Follow many jobs and emit each as it ends; parameters as in `run_batch`."""

        def emit_done(update: BatchUpdate) -> None:
            if update.done:
                emit(update.job)

        await self.run_batch(jobs, at_once, timeout, poll_interval, emit_done, retry)

    async def run_batch(
        self,
        jobs: Sequence[JobLike],
        at_once: int,
        timeout: float,
        poll_interval: float,
        emit: Callable[[BatchUpdate], None],
        retry: int = 0,
    ) -> None:
        """Follow many jobs and emit every change of each.

        Args:
            jobs: calls to submit, jobs and IDs
            at_once: how many calls and IDs are submitted and
                followed at a time
            timeout: seconds for which each is followed
            poll_interval: seconds between two polls of a job, at
                most
            emit: is called with each change
            retry: how often a call is submitted again whose job
                failed for a reason that may pass
        """
        slots = anyio.Semaphore(at_once)
        running = {index: job for index, job in enumerate(jobs) if isinstance(job, Job)}

        async def take_turn(index: int, target: Call[Job] | str) -> None:
            async with slots:
                follow = partial(self._follow_one, index, target, timeout, poll_interval)
                for _ in range(retry if isinstance(target, Call) else 0):
                    if not await follow(emit, may_retry=True):
                        return
                await follow(emit)

        async with anyio.create_task_group() as group:
            group.start_soon(self._follow_running, running, timeout, poll_interval, emit)
            for index, target in enumerate(jobs):
                if not isinstance(target, Job):
                    group.start_soon(take_turn, index, target)

    async def _follow_one(
        self,
        index: int,
        target: Call[Job] | str,
        timeout: float,
        poll_interval: float,
        emit: Callable[[BatchUpdate], None],
        *,
        may_retry: bool = False,
    ) -> bool:
        """Follow one job; return whether its call is to be submitted again."""
        try:
            async for job in self.watch(target, timeout, poll_interval):
                again = may_retry and job.status is Status.FAILED and reason_may_pass(job.reason)
                emit(BatchUpdate(index, job, not job.status.is_active and not again))
        except Exception as error:
            # A bug of ours, or of a library: that of this job.
            again = may_retry and may_pass(error) and not may_have_been_accepted(error)
            emit(BatchUpdate(index, build_failed_job(target, error), not again))
        return again

    async def _follow_running(
        self,
        running: Mapping[int, Job],
        timeout: float,
        poll_interval: float,
        emit: Callable[[BatchUpdate], None],
    ) -> None:
        indexes = list(running)
        async with anyio.create_task_group() as group:

            def emit_job(index: int, job: Job) -> None:
                if self._results.should_archive(job):
                    group.start_soon(self._archive_and_emit, index, job, emit)
                else:
                    emit(BatchUpdate(index, job, not job.status.is_active))

            for index, job in running.items():
                emit_job(index, job)
            async for changed in self._poller.watch(running.values(), timeout, poll_interval):
                for subscription in changed:
                    index = indexes[subscription.index]
                    if subscription.error is None:
                        emit_job(index, subscription.job)
                    else:
                        failed = build_failed_job(subscription.job, subscription.error)
                        emit(BatchUpdate(index, failed, True))

    async def _archive_and_emit(
        self, index: int, job: Job, emit: Callable[[BatchUpdate], None]
    ) -> None:
        try:
            await self._results.archive_results(job)
        except Exception as error:
            job = build_failed_job(job, error)
        emit(BatchUpdate(index, job, True))


def build_failed_job(target: JobLike, error: Exception) -> Job:
    """Build the FAILED job that reports why a call or a wait failed.

    A wait that timed out yields the job as it was last seen: it
    continues. So does a job whose service cannot be asked, with
    the reason. The traceback of an unforeseen error is in `raw`,
    and logged.
    """
    if isinstance(error, WaitTimeout):
        return error.job
    if isinstance(error, SettingsError) and isinstance(target, Job):
        return replace(target, reason=" ".join(filter(None, (error.message, error.hint))))
    if isinstance(target, Call):
        target = Job(target.service, "", target.name)
    elif isinstance(target, str):
        service = guess_service(target)
        target = Job(service.key if service else "", target)
    raw = {**target.raw, "error": redact(str(error))}
    reason = error.message if isinstance(error, MjciError) else f"{type(error).__name__}: {error}"
    if _is_unforeseen(error):
        raw["traceback"] = redact("".join(traceback.format_exception(error)))
        LOG.error("%s %s failed unexpectedly.\n%s", target.service, target.id, raw["traceback"])
    return replace(target, status=Status.FAILED, reason=redact(reason), raw=raw)


def _is_unforeseen(error: Exception) -> bool:
    """Return whether an error comes from a bug, not from a service, a network or its user."""
    if isinstance(error, TransportError):
        return False
    cause = error.__cause__ if isinstance(error, MjciError) else error
    return cause is not None and not isinstance(cause, MjciError)


class Watch(Stream[Job]):
    """A followed job. Iterating yields each change; `.run()` and `await` return the finished job.

    A job that failed or was cancelled raises JobFailed.
    """

    def __init__(self, source: Callable[[], AsyncIterator[Job]]) -> None:
        super().__init__(lambda: event_loop.one_per_chunk(source()), _require_success)


class Batch(Stream[Job]):
    """Many calls and jobs, submitted and followed together: yields each job as it ends.

    Args:
        follower: follows the jobs
        targets: calls, jobs and job IDs
        at_once: calls and IDs that are submitted at a time
        wait: seconds for which each is followed
        poll_interval: seconds between two polls of a job
        retry: how often a call is submitted again whose job
            failed for a reason that may pass
    """

    def __init__(
        self,
        follower: Follower,
        targets: Sequence[JobLike],
        at_once: int,
        wait: float,
        poll_interval: float,
        retry: int = 0,
    ) -> None:
        arguments = (targets, at_once, wait, poll_interval)
        follow = partial(follower.as_completed, *arguments, retry=retry)
        super().__init__(lambda: event_loop.stream_from_callback(follow))
        self._run = partial(follower.run_batch, *arguments, retry=retry)

    def updates(self) -> Stream[BatchUpdate]:
        """Run the batch and yield every change of every job, to display its progress."""
        return Stream(lambda: event_loop.stream_from_callback(self._run))


def _require_success(jobs: list[Job]) -> Job:
    job = jobs[-1]
    if job.status in (Status.FAILED, Status.CANCELLED):
        raise JobFailed(job)
    return job
