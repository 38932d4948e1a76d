"""A submission happens once: a row before it leaves, a mark to find it by, and looking before
repeating.

Neither service has an idempotency key, and a lost answer does not tell whether the work was begun.
So nothing is ever sent blindly a second time. The listing is searched for our own mark (or, where
the user's own stands in its place, for everything that the call says): a job that is there is
adopted, one that is surely not there is submitted again, and where nobody can know, the row stays
"unknown" and the error says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol, TypeVar, cast

from tenacity import (
    AsyncRetrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.transport import Clock
from jupyter_mjci.errors import (
    InvalidResponse,
    MjciError,
    QueueFull,
    ServiceError,
    TransportError,
    Unsupported,
)
from jupyter_mjci.history.journal import Journal, Submission
from jupyter_mjci.services.midjourney import reconciliation as midjourney
from jupyter_mjci.services.tencent_ci import reconciliation as tencent_ci

T = TypeVar("T")

SERVICES: dict[str, ModuleType] = {"mj": midjourney, "ci": tencent_ci}
MAX_ATTEMPTS = 6  # of a submission that surely did not arrive
MAX_READ_ATTEMPTS = 4
RECONCILE_DELAYS = (0.0, 0.5, 1.0, 2.0)  # seconds before each look: a listing may lag behind
FIRST_SEND_WINDOW = 0.3  # seconds after its row was written: sent for the first time
MAX_HTML_RESPONSES = 3  # web pages in a row instead of a listing: one may be a proxy's bad moment
# times the patience: so long after it left, a request that is in no listing has surely not arrived
SETTLE_FACTOR = 5
QUEUE_FULL_BACKOFF = (2.0, 30.0)  # seconds between tries while a queue is full: at first, at most

BUSY_CODES = frozenset({"30", "SlowDown"})  # nothing was accepted
BUSY_STATUS = 429
UNKNOWN_OUTCOME_CODES = frozenset({"5"})  # a relay that does not know itself
TRANSIENT_STATUSES = frozenset(
    {500, 502, 503, 504}
)  # HTTP statuses that may pass; the work may have been begun


def is_transient(error: BaseException) -> bool:
    """Whether reading again may help."""
    if isinstance(error, ServiceError):
        return (
            error.code in BUSY_CODES | UNKNOWN_OUTCOME_CODES
            or error.status in TRANSIENT_STATUSES | {BUSY_STATUS}
        )
    return isinstance(error, (TransportError, InvalidResponse))


def retrying(clock: Clock, *, deterministic: bool = False) -> AsyncRetrying:
    """Reads again after what may pass, later and later, on the given clock: three seconds in all.
    With jitter, unless it is to be `deterministic`: what is recorded and played back.
    """
    return AsyncRetrying(
        sleep=clock.sleep,
        retry=retry_if_exception(is_transient),
        stop=stop_after_attempt(MAX_READ_ATTEMPTS),
        wait=wait_exponential(0.3, max=3) + wait_random(0, 0.0 if deterministic else 0.3),
        reraise=True,
    )


class SubmissionClient(Protocol):
    """What a submitter works at: `send_once` sends and reads, `_fetch_without_fallback` also reads patiently. It
    never takes another way to a listing: what only looks like one would tell that a job is not
    there.
    """

    clock: Clock

    async def send_once(self, call: Call[T]) -> T: ...

    async def _fetch_without_fallback(self, call: Call[T]) -> T: ...


@dataclass(frozen=True, slots=True)
class PendingSubmission:
    """A submission under way: the call as it leaves, its mark, and when it first left."""

    call: Call[Any]
    marker: str
    sent_at: float


class OutcomeUnknown(Exception):
    """Nobody can tell whether the submission arrived. Never leaves this room."""


class Submitter:
    """Sends submissions once. `make_marker` makes their marks, `timeout` is how long an answer may be
    looked for.
    """

    def __init__(
        self,
        client: SubmissionClient,
        journal: Journal,
        make_marker: Callable[[], str],
        timeout: float = 60.0,
    ) -> None:
        self.client, self.journal, self.make_marker, self.timeout = (
            client,
            journal,
            make_marker,
            timeout,
        )

    async def submit(self, call: Call[T], queue_timeout: float = 0.0) -> T:
        """The accepted job. Waits up to `queue_timeout` seconds for room in a full queue; then QueueFull
        is raised.
        """
        mark, since = self.make_marker(), self.client.clock.now()
        carrying = SERVICES[call.service].with_marker(call, mark)
        sent = PendingSubmission(carrying or call, mark, since)
        self.journal.record_submission(sent.call, mark, since, has_marker=carrying is not None)
        return cast(T, await self._submit_and_resolve(sent, queue_timeout))

    async def resume(self, row: Submission, sender: Any) -> Job | None:
        """What became of a submission that nobody saw settled: adopted, or submitted again, or
        None: still unknown.
        """
        call = SERVICES[row.service].restore_call(sender, row.name, row.path, row.body)
        sent, clock = PendingSubmission(call, row.marker, row.at), self.client.clock
        try:
            found = await self._find_job(
                sent, max(0.0, row.at + SETTLE_FACTOR * self.timeout - clock.now())
            )
        except OutcomeUnknown as why:
            self.journal.resolve(row.marker, "unknown", reason=str(why))
            return None
        if found is not None:
            return self._adopt(sent, found)
        return await self._submit_and_resolve(sent, self.timeout)

    async def _submit_and_resolve(self, pending: PendingSubmission, queue_timeout: float) -> Job:
        """Submits, and writes down what came of it, whatever that is: an interrupt, too."""
        try:
            job = await self._send_until_accepted(pending, queue_timeout)
        except OutcomeUnknown as why:
            self.journal.resolve(pending.marker, "unknown", reason=str(why))
            raise TransportError(
                "Nobody knows whether this submission arrived.",
                detail=f"Its answer was lost, and looking for it did not help: {why}",
                hint="Nothing was sent twice. Look again later: %mjci resume.",
                may_have_been_sent=True,
            ) from why.__cause__
        except MjciError as error:
            self.journal.resolve(pending.marker, "rejected", reason=error.message)
            raise
        except BaseException as error:
            self.journal.resolve(
                pending.marker, "unknown", reason=f"interrupted ({type(error).__name__})"
            )
            raise
        return self._adopt(pending, job)

    def _adopt(self, pending: PendingSubmission, job: Job) -> Job:
        self.journal.resolve(pending.marker, "accepted", job_id=job.id)
        return job

    async def _send_until_accepted(self, pending: PendingSubmission, queue_timeout: float) -> Job:
        clock, deadline = self.client.clock, self.client.clock.now() + queue_timeout
        pauses = _iter_backoff()
        for left in reversed(range(MAX_ATTEMPTS)):
            try:
                return await self._send_when_queue_has_room(pending, deadline)
            except MjciError as error:
                if not (_is_outcome_unknown(error) or is_transient(error)):
                    raise
                if (
                    _is_outcome_unknown(error)
                    and (found := await self._reconcile(pending, error)) is not None
                ):
                    return found
                if left == 0:
                    raise
                await clock.sleep(next(pauses))
        raise AssertionError("unreachable")

    async def _reconcile(self, pending: PendingSubmission, error: MjciError) -> Job | None:
        """The job of a submission whose answer was lost. A server that was too slow may be at it
        yet: then only a found job is an answer.
        """
        slow = isinstance(error, TransportError) and error.timed_out
        found = await self._find_job(
            pending, self.timeout if slow else sum(RECONCILE_DELAYS), error
        )
        if found is None and slow:
            raise OutcomeUnknown("the service may still be at it.") from error
        return found

    async def _send_when_queue_has_room(self, pending: PendingSubmission, deadline: float) -> Job:
        wait, longest = QUEUE_FULL_BACKOFF
        while True:
            if self.client.clock.now() > pending.sent_at + FIRST_SEND_WINDOW:
                self.journal.touch_submission(pending.marker, self.client.clock.now())
            try:
                return await self.client.send_once(pending.call)
            except QueueFull:
                if self.client.clock.now() + wait > deadline:
                    raise
            await self.client.clock.sleep(wait)
            wait = min(wait * 1.5, longest)

    async def _find_job(
        self, pending: PendingSubmission, timeout: float, original_error: MjciError | None = None
    ) -> Job | None:
        """The job that the submission has made; None when it surely made none. Raises
        Unknowable.
        """
        service, clock = SERVICES[pending.call.service], self.client.clock
        made_by_it = service.build_matcher(pending.call, pending.marker, pending.sent_at)
        deadline, missing = clock.now() + timeout, 0
        pauses = iter(RECONCILE_DELAYS)
        while True:
            await clock.sleep(next(pauses, RECONCILE_DELAYS[-1]))
            try:
                jobs = await self._fetch_listing(
                    service.build_search_request(pending.call, pending.sent_at)
                )
            except Unsupported as error:
                missing += 1
                if missing < MAX_HTML_RESPONSES:
                    continue
                if isinstance(original_error, Unsupported):
                    raise original_error from None  # a wrong address, not a lost answer
                raise OutcomeUnknown("this server has no listing.") from error
            except MjciError as error:
                raise OutcomeUnknown(error.message) from error
            found = [job for job in jobs if made_by_it(job)]
            if found and not service.is_exact_match(pending.call, pending.marker):
                taken = self.journal.accepted_job_ids(pending.call.service)
                found = [job for job in found if job.id not in taken]
            if len(found) > 1:
                raise OutcomeUnknown(
                    f"{len(found)} jobs look like it: {', '.join(job.id for job in found[:4])}."
                )
            if found:
                return found[0]
            if clock.now() >= deadline:
                return None

    async def _fetch_listing(self, listing: Any) -> list[Job]:
        if isinstance(listing, Call):
            return cast(list[Job], await self.client._fetch_without_fallback(listing))
        return cast(list[Job], await listing.collect())


def _is_outcome_unknown(error: MjciError) -> bool:
    """Whether the work may have been begun although no good answer came."""
    if isinstance(error, TransportError):
        return error.may_have_been_sent
    if isinstance(error, ServiceError):
        lost = error.status in TRANSIENT_STATUSES and error.code not in BUSY_CODES
        return lost or error.code in UNKNOWN_OUTCOME_CODES or isinstance(error, Unsupported)
    return isinstance(error, InvalidResponse)


def _iter_backoff() -> Any:
    pause = 0.2
    while True:
        yield pause
        pause *= 2
