"""Submit exactly once: journal the call before it is sent, mark it, and search before repeating it.

Neither service has an idempotency key, and a lost response does
not tell whether the job was created. So a submission is never
repeated blindly. What the service did not accept for certain (no
connection, "busy") is sent again, after a look at its job list.
After any other loss the list is searched until the settling time
is over: gateways give up before the service does, and listings
lag. The marker that the call carries identifies its job; where
the caller's own text takes its place, everything that the call
says is compared, which is a guess. Only where the marker is exact
and the settling time over does absence prove anything. Else the
journal row stays "unknown", and the error says so.

`history/submissions.py` has the states of a row and its lease.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
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
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.outcomes import (
    Outcome,
    get_outcome,
    get_retry_after,
    may_have_been_accepted,
    may_pass,
    reason_may_pass,
)
from jupyter_mjci.client.transport import Clock
from jupyter_mjci.errors import (
    InvalidResponse,
    MjciError,
    QueueFull,
    TransportError,
    Unsupported,
)
from jupyter_mjci.history import submissions
from jupyter_mjci.history.submissions import Lease, Submission
from jupyter_mjci.jobs.client import JobClient
from jupyter_mjci.jobs.coalescing import RequestCoalescer
from jupyter_mjci.jobs.waiting_room import WaitingRoom
from jupyter_mjci.services import SubmissionTracking, service

T = TypeVar("T")

# Attempts at a submission that certainly was not accepted.
MAX_ATTEMPTS = 6
MAX_READ_ATTEMPTS = 4
# seconds before the second attempt; doubled for each further one
RETRY_DELAY = 0.2
# seconds before each look at a listing; the last one repeats
SEARCH_DELAYS = (0.0, 0.5, 1.0, 2.0, 4.0)
# looks at a listing that the server does not have: a single one
# may be a gateway that restarts
MAX_UNSUPPORTED_LOOKS = 3
# seconds between attempts while a queue is full: first, longest
QUEUE_FULL_BACKOFF = (2.0, 30.0)


def is_transient(error: BaseException) -> bool:
    """Return whether reading again may succeed."""
    return may_pass(error)


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


def _is_busy(error: MjciError) -> bool:
    return get_outcome(error) is Outcome.BUSY


@dataclass(slots=True)
class PendingSubmission:
    """A submission in progress.

    Args:
        call: the call as it is sent
        lease: the right to work on it
        recorded_at: when it was recorded, on the session's clock
        may_exist: whether an attempt may have created its job
        lost_at: when its response was lost, on the clock of the
            leases; None before that
    """

    call: Call[Any]
    lease: Lease
    recorded_at: float
    may_exist: bool = False
    lost_at: float | None = None

    @property
    def is_exact(self) -> bool:
        """Whether its job can be told from every other one."""
        tracking = _get_tracking(self.call.service)
        return tracking.is_exact_match(self.call, self.lease.marker)


class OutcomeUnknown(Exception):
    """It cannot be established whether the submission was received. Never leaves this module."""


class LeaseLost(Exception):
    """Another worker has taken the submission over. Never leaves this module."""


class NotAccepted(Exception):
    """The service certainly did not accept the submission. Never leaves this module."""

    def __init__(self, error: MjciError) -> None:
        super().__init__(error.message)
        self.error = error


class Retries:
    """When a submission that was not accepted is sent again, and for how long.

    While the service is busy, as long as the caller waits, and as
    late as the service asks for; anything else `MAX_ATTEMPTS`
    times.

    Args:
        clock: the time
        seconds: for which the caller waits for room in a queue
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self.clock = clock
        self.deadline = clock.now() + seconds
        self.attempts = 0
        self._delay = RETRY_DELAY

    async def wait(self, failure: MjciError) -> bool:
        """Wait before the next attempt; return False where there is none."""
        self.attempts += 1
        delay = self._get_delay(failure)
        is_in_time = _is_busy(failure) and self.clock.now() + delay <= self.deadline
        is_short = delay <= QUEUE_FULL_BACKOFF[1] and self.attempts < MAX_ATTEMPTS
        if not is_in_time and (isinstance(failure, QueueFull) or not is_short):
            return False
        await self.clock.sleep(delay)
        return True

    def _get_delay(self, failure: MjciError) -> float:
        """Return the seconds before the next attempt, and lengthen those before a later one."""
        shortest, longest = QUEUE_FULL_BACKOFF
        growth = 2.0
        if isinstance(failure, QueueFull):
            self._delay = max(self._delay, shortest)
            growth = 1.5
        delay = self._delay
        self._delay = min(delay * growth, longest)
        return max(delay, get_retry_after(failure) or 0.0)


class Submitter:
    """Sends submissions exactly once, and retries reads.

    Args:
        client: sends the requests; its journal holds the
            submissions
        make_marker: makes the marker of each submission
        timeout: seconds for which a resumed submission waits for
            room in a queue
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
        self.writer = client.writer
        self.make_marker = make_marker
        self.timeout = timeout
        self._deterministic = deterministic
        self._rooms = defaultdict[str, WaitingRoom](lambda: WaitingRoom(client.clock))
        self.searches = RequestCoalescer[list[Job]]()

    async def send(self, call: Call[T], queue_timeout: float = 0.0) -> T:
        """Submit exactly once, or read with retries, whichever the call is.

        A submission waits up to `queue_timeout` seconds for room
        in a full queue; then QueueFull is raised.
        """
        tracking = service(call.service).tracking
        if tracking is not None and tracking.is_trackable(call):
            submit = self._submit_once if call.key else self._submit
            return cast(T, await submit(call, queue_timeout))
        if not call.is_retryable:
            return await self.client.send_once(call)
        retry = retrying(self.client.clock, deterministic=self._deterministic)
        return await retry(self.client.send_once, call)

    # --- one submission -----------------------------------------

    async def _submit_once(self, call: Call[Any], queue_timeout: float) -> Job:
        """Submit a call with a key, unless that was done already: then return its job."""
        row = self.journal.find_by_key(call)
        if row is None:
            return await self._submit(call, queue_timeout)
        job = self.journal.find_job_by_key(call)
        if job is None:
            sender = cast(Sender, call.sender)
            job = await self.resume(row, sender)
        elif job.status is Status.FAILED and reason_may_pass(job.reason):
            await self.writer.commit(partial(submissions.release_key, marker=row.marker))
            return await self._submit(call, queue_timeout)
        if job is None:
            raise _build_unknown_error(OutcomeUnknown("an earlier attempt may have created it."))
        return job

    async def _submit(self, call: Call[Any], queue_timeout: float) -> Job:
        marker = self.make_marker()
        marked = _get_tracking(call.service).with_marker(call, marker)
        lease = self.writer.open_lease(marker)
        pending = PendingSubmission(marked or call, lease, self.client.clock.now())
        try:
            await self._record(pending, has_marker=marked is not None)
            return await self._finish(pending, self._send_until_accepted(pending, queue_timeout))
        except LeaseLost:
            raise _build_taken_over_error() from None
        except OutcomeUnknown as reason:
            raise _build_unknown_error(reason) from reason.__cause__
        finally:
            self.writer.close_lease(lease)

    async def _record(self, pending: PendingSubmission, *, has_marker: bool) -> None:
        """Commit the row: nothing is sent before it is on disk."""
        record = partial(
            submissions.record,
            call=pending.call,
            lease=pending.lease,
            times=(pending.recorded_at, self.writer.get_lease_deadline()),
            origin=self.journal.get_origin(pending.call.service),
            has_marker=has_marker,
        )
        try:
            (is_new,) = await self.writer.commit(record)
        except MjciError:
            raise  # nothing was written
        except BaseException as error:
            # An interrupt may come when the row is written.
            self._keep_failure(pending, f"not sent ({type(error).__name__}).")
            raise
        if not is_new:
            raise LeaseLost

    async def resume(self, row: Submission, sender: Sender) -> Job | None:
        """Find out what became of a journaled submission.

        Returns the job, adopted or submitted again, or None where
        the outcome is still unknown, or another worker is on it.
        A worker that does not renew its lease has died: its row
        is taken over.
        """
        if row.is_leased(self.writer.clock.now()):
            await self.writer.clock.sleep(row.lease_until - self.writer.clock.now())
        lease = self.writer.open_lease(row.marker)
        try:
            if not await self._take(lease):
                return None
            call = _get_tracking(row.service).restore_call(sender, row.name, row.path, row.body)
            pending = PendingSubmission(call, lease, row.at, True, row.lease_until)
            return await self._finish(pending, self._find_or_send(pending))
        except (LeaseLost, OutcomeUnknown):
            return None
        finally:
            self.writer.close_lease(lease)

    async def _take(self, lease: Lease) -> bool:
        now = self.writer.clock.now()
        until = self.writer.get_lease_deadline()
        (is_taken,) = await self.writer.commit(
            partial(submissions.take, lease=lease, now=now, until=until)
        )
        return bool(is_taken)

    async def _find_or_send(self, pending: PendingSubmission) -> Job:
        """Search for the job of an earlier attempt, then go on."""
        since_lost = self.writer.clock.now() - (pending.lost_at or 0.0)
        settling_time = get_settling_time(pending.call.service)
        remaining = min(max(0.0, settling_time - since_lost), settling_time)
        job = await self._search(pending, self.client.clock.now() + remaining)
        if job is not None:
            return job
        await self._confirm_lease(pending)
        return await self._send_until_accepted(pending, self.timeout)

    async def _finish(self, pending: PendingSubmission, work: Awaitable[Job]) -> Job:
        """Bring a submission to its end, and journal the outcome whatever it is."""
        try:
            return await work
        except NotAccepted as failure:
            pending.may_exist = False
            self._keep_failure(pending, failure.error.message)
            raise failure.error from failure.error.__cause__
        except LeaseLost:
            raise
        except (OutcomeUnknown, MjciError) as error:
            self._keep_failure(pending, str(error))
            raise
        except BaseException as error:
            self._keep_failure(pending, f"interrupted ({type(error).__name__}).")
            raise

    def _keep_failure(self, pending: PendingSubmission, reason: str) -> None:
        """Journal that there is no job, or that it is unknown whether there is one."""
        now = self.writer.clock.now()
        if pending.may_exist:
            since = now if pending.lost_at is None else pending.lost_at
            write = partial(submissions.lose, lease=pending.lease, reason=reason, now=since)
        else:
            write = partial(submissions.reject, lease=pending.lease, reason=reason, now=now)
        self.writer.write_or_defer(write)

    async def _confirm_lease(self, pending: PendingSubmission) -> None:
        """Go on only if nobody has taken the submission over meanwhile."""
        if not await self.writer.confirm_lease(pending.lease):
            raise LeaseLost

    async def _require_lease(self, pending: PendingSubmission) -> None:
        """Send nothing for a process that was stopped so long that another one took over."""
        if not await self.writer.holds_lease(pending.lease):
            raise LeaseLost

    # --- sending ------------------------------------------------

    async def _send_until_accepted(
        self,
        pending: PendingSubmission,
        queue_timeout: float,
    ) -> Job:
        """Send, and send again where the service certainly did not accept it."""
        retries = Retries(self.client.clock, queue_timeout)
        while True:
            try:
                return await self._exchange(pending)
            except MjciError as error:
                failure = error
            if may_have_been_accepted(failure):
                job = await self._reconcile(pending, failure, retries)
            elif _is_busy(failure) or is_transient(failure):
                job = await self._wait_for_turn(pending, failure, retries)
            else:
                raise NotAccepted(failure)
            if job is not None:
                return job
            await self._confirm_lease(pending)

    async def _exchange(self, pending: PendingSubmission) -> Job:
        """Send once, and journal the job that the service names."""
        before = pending.may_exist
        room = self._rooms[pending.call.service]
        await room.wait()
        self.client.notify("submitting", pending.call)
        pending.may_exist = True
        try:
            require_lease = partial(self._require_lease, pending)
            response = await self.client.transport.send(pending.call, require_lease)
            job: Job = self.client.transport.parse(pending.call, response)
        except MjciError as error:
            if _is_busy(error):
                room.record_refusal(get_retry_after(error))
            if not may_have_been_accepted(error) and not _is_busy(error):
                pending.may_exist = before
            raise
        except LeaseLost:
            raise
        except Exception as error:
            # Ours or a library's: the service has said nothing.
            raise InvalidResponse(
                "The response could not be read.", detail=f"{type(error).__name__}: {error}"
            ) from error
        room.record_acceptance()
        await self._accept(pending, job)
        self.client.announce([job])
        return job

    async def _accept(self, pending: PendingSubmission, job: Job) -> None:
        """Journal what the service said. No error of the journal changes that."""
        accept = partial(
            submissions.accept,
            marker=pending.lease.marker,
            job_id=job.id,
            now=self.writer.clock.now(),
        )
        await self.writer.write_eventually(accept, *self.client.prepare_writes([job]))

    async def _wait_for_turn(
        self, pending: PendingSubmission, failure: MjciError, retries: Retries
    ) -> Job | None:
        """Wait until a submission that was not accepted may be sent again.

        It is searched for first: some gateways say "busy" of what
        they have forwarded.
        """
        while await retries.wait(failure):
            try:
                return await self._find_exact(pending)
            except MjciError as error:
                if not is_transient(error):
                    return None
        job = None
        with contextlib.suppress(MjciError):
            job = await self._find_exact(pending)
        if job is None:
            raise NotAccepted(failure)
        return job

    async def _find_exact(self, pending: PendingSubmission) -> Job | None:
        if pending.may_exist and pending.is_exact:
            return await self._look(pending)
        return None

    async def _reconcile(
        self, pending: PendingSubmission, failure: MjciError, retries: Retries
    ) -> Job | None:
        """Search for the job of a lost response; None where it was certainly not received."""
        pending.lost_at = self.writer.clock.now()
        settled_at = self.client.clock.now() + get_settling_time(pending.call.service)
        job = await self._search(pending, settled_at, failure)
        if job is None and retries.attempts + 1 >= MAX_ATTEMPTS:
            raise NotAccepted(failure)
        retries.attempts += 1
        return job

    # --- searching ----------------------------------------------

    async def _search(
        self, pending: PendingSubmission, settled_at: float, failure: MjciError | None = None
    ) -> Job | None:
        """Search the listing for the job until the settling time is over.

        Returns None where the submission certainly created no
        job. Raises OutcomeUnknown.
        """
        clock = self.client.clock
        unsupported = 0
        delays = itertools.chain(SEARCH_DELAYS, itertools.repeat(SEARCH_DELAYS[-1]))
        for delay in delays:
            await clock.sleep(max(0.0, min(delay, settled_at - clock.now())))
            is_settled = clock.now() >= settled_at
            try:
                job = await self._look(pending)
            except Unsupported as error:
                unsupported += 1
                if unsupported >= MAX_UNSUPPORTED_LOOKS:
                    raise _build_no_listing_failure(failure) from error
                continue
            except (MjciError, OutcomeUnknown) as error:
                if is_settled:
                    raise OutcomeUnknown(str(error)) from error
                continue
            if job is not None:
                return job
            if is_settled:
                _conclude_absence(pending)
                return None
        raise AssertionError("unreachable")

    async def _look(self, pending: PendingSubmission) -> Job | None:
        """Look at the listing once, and claim the job of the submission if it is there.

        Raises OutcomeUnknown where another job may be meant.
        """
        tracking = _get_tracking(pending.call.service)
        marker = pending.lease.marker
        matches = tracking.build_matcher(pending.call, marker, pending.recorded_at)
        candidates = [job for job in await self._fetch_listing(pending) if matches(job)]
        if pending.is_exact:
            job = candidates[0] if candidates else None
            if job is not None:
                await self._accept(pending, job)
            return job
        return await self._claim_guess(pending, candidates)

    async def _fetch_listing(self, pending: PendingSubmission) -> list[Job]:
        """Fetch the listing itself, never a fallback: one from the journal would prove nothing."""
        tracking = _get_tracking(pending.call.service)
        request = tracking.build_search_request(pending.call, pending.recorded_at)
        if isinstance(request, Paginator):
            return cast(list[Job], await request.collect())
        send = partial(self.send, request)
        return await self.searches.send(request, send)

    async def _claim_guess(
        self, pending: PendingSubmission, candidates: Iterable[Job]
    ) -> Job | None:
        """Claim the only job that looks like the submission's, and like no other submission's."""
        key = pending.call.service
        free = [job for job in candidates if not self.journal.is_claimed(key, job.id)]
        if len(free) > 1:
            ids = ", ".join(job.id for job in free[:4])
            raise OutcomeUnknown(f"{len(free)} jobs match it: {ids}.")
        if not free:
            return None
        (job,) = free
        rivals = self.journal.find_rivals(key, pending.lease.marker)
        if any(_could_be(rival, job) for rival in rivals):
            raise OutcomeUnknown(f"job {job.id} may be that of another submission just like it.")
        accept = partial(
            submissions.accept,
            marker=pending.lease.marker,
            job_id=job.id,
            now=self.writer.clock.now(),
            is_guess=True,
        )
        (is_claimed,) = await self.writer.commit(accept)
        return job if is_claimed else None


def get_settling_time(key: str) -> float:
    """Return the settling time of a service, in seconds."""
    return service(key).poll.settling_time


def _get_tracking(key: str) -> SubmissionTracking:
    tracking = service(key).tracking
    assert tracking is not None  # only trackable submissions are journaled
    return tracking


def _could_be(row: Submission, job: Job) -> bool:
    """Return whether a job may be that of another submission."""
    tracking = _get_tracking(row.service)
    call = tracking.restore_call(None, row.name, row.path, row.body)
    return bool(tracking.build_matcher(call, row.marker, row.at)(job))


def _conclude_absence(pending: PendingSubmission) -> None:
    """Return if absence proves that there is no job; else raise OutcomeUnknown."""
    if not pending.is_exact:
        raise OutcomeUnknown(
            "no job looks like it, but the service may have changed what the request said."
        )
    pending.may_exist = False


def _build_no_listing_failure(failure: MjciError | None) -> Exception:
    """Build the failure of a search on a server without listing."""
    if isinstance(failure, Unsupported):
        # a wrong address, not a lost response
        return NotAccepted(failure)
    return OutcomeUnknown("this server has no listing.")


def _build_unknown_error(reason: OutcomeUnknown) -> TransportError:
    return TransportError(
        "It is unknown whether this submission was received.",
        detail=f"Its response was lost, and searching for its job failed: {reason}",
        hint="It was not sent again. Search for it later with: %mjci resume",
        may_have_been_sent=True,
    )


def _build_taken_over_error() -> TransportError:
    return TransportError(
        "Another kernel has taken this submission over.",
        detail="This one did not renew its lease in time, for example while the machine slept.",
        hint="See what became of it with: %mjci resume",
        may_have_been_sent=True,
    )
