"""Submit exactly once: journal the call before it is sent, mark it, and search before repeating it.

Neither service has an idempotency key, and a lost response does
not tell whether the job was created. So a submission is never
repeated blindly. The job list is searched for the marker that the
call carries (or, where the caller's own text takes its place, for
everything the call says): a job that is found is adopted, one
that is certainly absent is submitted again, and where neither can
be established the journal row stays "unknown" and the error says
so.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from uuid import uuid4

from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from jupyter_mjci.client.calls import Call, Paginator, Sender
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.outcomes import get_outcome, may_have_been_accepted
from jupyter_mjci.client.transport import Clock
from jupyter_mjci.errors import (
    InvalidResponse,
    MjciError,
    QueueFull,
    ServiceError,
    TransportError,
    Unsupported,
)
from jupyter_mjci.history.journal import Submission
from jupyter_mjci.jobs.client import JobClient
from jupyter_mjci.services import SubmissionTracking, service

T = TypeVar("T")

# Attempts at a submission that certainly was not received.
MAX_ATTEMPTS = 6
MAX_READ_ATTEMPTS = 4
# seconds before the second attempt; doubled for each further one
RETRY_DELAY = 0.2
# seconds before each search: a listing may lag behind
RECONCILE_DELAYS = (0.0, 0.5, 1.0, 2.0)
# Within so many seconds of its journal row, a submission counts
# as sent for the first time.
FIRST_SEND_WINDOW = 0.3
# HTML pages in a row instead of a listing: a single one may be a
# gateway that restarts.
MAX_HTML_RESPONSES = 3
# Times the timeout: so long after it was sent, a request in no
# listing was certainly not received.
SETTLE_FACTOR = 5
# seconds between attempts while a queue is full: first, longest
QUEUE_FULL_BACKOFF = (2.0, 30.0)


def is_transient(error: BaseException) -> bool:
    """Return whether reading again may succeed."""
    if isinstance(error, (ServiceError, TransportError, InvalidResponse)):
        return get_outcome(error).may_pass
    return False


def retrying(clock: Clock, *, deterministic: bool = False) -> AsyncRetrying:
    """Build the retry policy of reads: exponential backoff on `clock`, three seconds in all.

    Args:
        clock: measures the pauses
        deterministic: leave the jitter out, for sessions that are
            recorded or replayed
    """
    jitter = 0.0 if deterministic else 0.3
    return AsyncRetrying(
        sleep=clock.sleep,
        retry=retry_if_exception(is_transient),
        stop=stop_after_attempt(MAX_READ_ATTEMPTS),
        wait=wait_exponential(0.3, max=3) + wait_random(0, jitter),
        reraise=True,
    )


def make_marker_factory(seed: str | None = None) -> Callable[[], str]:
    """Build the function that makes submission markers.

    Args:
        seed: makes the same markers in every run, for recordings
            and sandboxes; by default markers are globally unique
    """
    if seed is None:
        return lambda: f"mjci-{uuid4().hex}"
    count = itertools.count(1)
    return lambda: f"mjci-{hashlib.sha256(f'{seed} {next(count)}'.encode()).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class PendingSubmission:
    """A submission in progress: the call as it is sent, its marker, and when it was first sent."""

    call: Call[Any]
    marker: str
    sent_at: float


class OutcomeUnknown(Exception):
    """It cannot be established whether the submission was received. Never leaves this module."""


class Submitter:
    """Sends submissions exactly once, and retries reads.

    Args:
        client: sends the requests; its journal holds the
            submissions
        make_marker: makes the marker of each submission
        timeout: seconds for which a lost response is searched
        deterministic: retry without jitter, for sessions that are
            recorded or replayed
    """

    def __init__(
        self,
        client: JobClient,
        make_marker: Callable[[], str],
        *,
        timeout: float = 60.0,
        deterministic: bool = False,
    ) -> None:
        self.client = client
        self.journal = client.journal
        self.make_marker = make_marker
        self.timeout = timeout
        self._deterministic = deterministic

    async def send(self, call: Call[T], queue_timeout: float = 0.0) -> T:
        """Submit exactly once, or read with retries, whichever the call is.

        A submission waits up to `queue_timeout` seconds for room
        in a full queue; then QueueFull is raised.
        """
        tracking = service(call.service).tracking
        if tracking is not None and tracking.is_trackable(call):
            return await self._submit(call, queue_timeout)
        if not call.is_retryable:
            return await self.client.send_once(call)
        retry = retrying(self.client.clock, deterministic=self._deterministic)
        return await retry(self.client.send_once, call)

    async def _submit(self, call: Call[T], queue_timeout: float) -> T:
        marker = self.make_marker()
        sent_at = self.client.clock.now()
        marked = _get_tracking(call.service).with_marker(call, marker)
        pending = PendingSubmission(marked or call, marker, sent_at)
        self.journal.record_submission(pending.call, marker, sent_at, has_marker=marked is not None)
        return cast(T, await self._submit_and_resolve(pending, queue_timeout))

    async def resume(self, row: Submission, sender: Sender) -> Job | None:
        """Find out what became of a journaled submission.

        Returns the job, adopted or submitted again, or None where
        the outcome is still unknown.
        """
        tracking = _get_tracking(row.service)
        call = tracking.restore_call(sender, row.name, row.path, row.body)
        pending = PendingSubmission(call, row.marker, row.at)
        settled_at = row.at + SETTLE_FACTOR * self.timeout
        timeout = max(0.0, settled_at - self.client.clock.now())
        try:
            job = await self._find_job(pending, timeout)
        except OutcomeUnknown as reason:
            self.journal.resolve(row.marker, "unknown", reason=str(reason))
            return None
        if job is not None:
            return self._adopt(pending, job)
        return await self._submit_and_resolve(pending, self.timeout)

    async def _submit_and_resolve(self, pending: PendingSubmission, queue_timeout: float) -> Job:
        """Submit, and journal the outcome whatever it is, an interrupt included."""
        marker = pending.marker
        try:
            job = await self._send_until_accepted(pending, queue_timeout)
        except OutcomeUnknown as reason:
            self.journal.resolve(marker, "unknown", reason=str(reason))
            raise TransportError(
                "It is unknown whether this submission was received.",
                detail=f"Its response was lost, and searching for its job failed: {reason}",
                hint="It was not sent again. Search for it later with: %mjci resume",
                may_have_been_sent=True,
            ) from reason.__cause__
        except MjciError as error:
            self.journal.resolve(marker, "rejected", reason=error.message)
            raise
        except BaseException as error:
            interrupted = f"interrupted ({type(error).__name__})"
            self.journal.resolve(marker, "unknown", reason=interrupted)
            raise
        return self._adopt(pending, job)

    def _adopt(self, pending: PendingSubmission, job: Job) -> Job:
        self.journal.resolve(pending.marker, "accepted", job_id=job.id)
        return job

    async def _send_until_accepted(self, pending: PendingSubmission, queue_timeout: float) -> Job:
        clock = self.client.clock
        deadline = clock.now() + queue_timeout
        delay = RETRY_DELAY
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                return await self._send_when_queue_has_room(pending, deadline)
            except MjciError as error:
                outcome_unknown = _is_outcome_unknown(error)
                if not outcome_unknown and not is_transient(error):
                    raise
                if outcome_unknown:
                    job = await self._reconcile(pending, error)
                    if job is not None:
                        return job
                if attempt == MAX_ATTEMPTS:
                    raise
            await clock.sleep(delay)
            delay *= 2
        raise AssertionError("unreachable")

    async def _reconcile(self, pending: PendingSubmission, error: MjciError) -> Job | None:
        """Search for the job of a submission whose response was lost.

        A server that timed out may still be processing the
        request: an absent job proves nothing then.
        """
        timed_out = isinstance(error, TransportError) and error.timed_out
        timeout = self.timeout if timed_out else sum(RECONCILE_DELAYS)
        job = await self._find_job(pending, timeout, error)
        if job is None and timed_out:
            raise OutcomeUnknown("the service may still be processing it.") from error
        return job

    async def _send_when_queue_has_room(self, pending: PendingSubmission, deadline: float) -> Job:
        clock = self.client.clock
        delay, max_delay = QUEUE_FULL_BACKOFF
        while True:
            if clock.now() > pending.sent_at + FIRST_SEND_WINDOW:
                self.journal.touch_submission(pending.marker, clock.now())
            try:
                job: Job = await self.client.send_once(pending.call)
                return job
            except QueueFull:
                if clock.now() + delay > deadline:
                    raise
            await clock.sleep(delay)
            delay = min(delay * 1.5, max_delay)

    async def _find_job(
        self, pending: PendingSubmission, timeout: float, original_error: MjciError | None = None
    ) -> Job | None:
        """Search the listing for the job that the submission created, for `timeout` seconds.

        Returns None when it certainly created none. Raises
        OutcomeUnknown.
        """
        clock = self.client.clock
        deadline = clock.now() + timeout
        delays = iter(RECONCILE_DELAYS)
        unsupported = 0
        tracking = _get_tracking(pending.call.service)
        matches = tracking.build_matcher(pending.call, pending.marker, pending.sent_at)
        while True:
            await clock.sleep(next(delays, RECONCILE_DELAYS[-1]))
            try:
                jobs = await self._fetch_listing(pending)
            except Unsupported as error:
                unsupported += 1
                if unsupported < MAX_HTML_RESPONSES:
                    continue
                if isinstance(original_error, Unsupported):
                    # a wrong address, not a lost response
                    raise original_error from None
                raise OutcomeUnknown("this server has no listing.") from error
            except MjciError as error:
                raise OutcomeUnknown(error.message) from error
            job = self._select_job(pending, [job for job in jobs if matches(job)])
            if job is not None or clock.now() >= deadline:
                return job

    async def _fetch_listing(self, pending: PendingSubmission) -> list[Job]:
        """Fetch the listing itself, never a fallback: one from the journal would prove nothing."""
        tracking = _get_tracking(pending.call.service)
        request = tracking.build_search_request(pending.call, pending.sent_at)
        if isinstance(request, Paginator):
            return cast(list[Job], await request.collect())
        return cast(list[Job], await self.send(request))

    def _select_job(self, pending: PendingSubmission, candidates: list[Job]) -> Job | None:
        """Choose among the matching jobs, leaving out those of other submissions."""
        tracking = _get_tracking(pending.call.service)
        if candidates and not tracking.is_exact_match(pending.call, pending.marker):
            adopted = self.journal.accepted_job_ids(pending.call.service)
            candidates = [job for job in candidates if job.id not in adopted]
        if len(candidates) > 1:
            ids = ", ".join(job.id for job in candidates[:4])
            raise OutcomeUnknown(f"{len(candidates)} jobs match it: {ids}.")
        return candidates[0] if candidates else None


def _get_tracking(key: str) -> SubmissionTracking:
    tracking = service(key).tracking
    assert tracking is not None  # only trackable submissions are journaled
    return tracking


def _is_outcome_unknown(error: MjciError) -> bool:
    """Return whether the job may have been created although no usable response came."""
    return may_have_been_accepted(error)
