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
    AnswerError,
    MjciError,
    NoSuchEndpoint,
    QueueFull,
    ServiceError,
    TransportError,
)
from jupyter_mjci.history.journal import Journal, Submission
from jupyter_mjci.services.midjourney import api as midjourney
from jupyter_mjci.services.tencent_ci import api as tencent_ci

T = TypeVar("T")

SERVICES: dict[str, ModuleType] = {"mj": midjourney, "ci": tencent_ci}
ATTEMPTS = 6  # of a submission that surely did not arrive
READINGS = 4
LOOKS = (0.0, 0.5, 1.0, 2.0)  # seconds before each look: a listing may lag behind
SOON = 0.3  # seconds after its row was written: sent for the first time
PAGES = 3  # web pages in a row instead of a listing: one may be a proxy's bad moment
# times the patience: so long after it left, a request that is in no listing has surely not arrived
SETTLING = 5
FULL = (2.0, 30.0)  # seconds between tries while a queue is full: at first, at most

BUSY_CODES = frozenset({"30", "SlowDown"})  # nothing was accepted
BUSY_STATUS = 429
LOST_CODES = frozenset({"5"})  # a relay that does not know itself
PASSING = frozenset(
    {500, 502, 503, 504}
)  # HTTP statuses that may pass; the work may have been begun


def passing(error: BaseException) -> bool:
    """Whether reading again may help."""
    if isinstance(error, ServiceError):
        return error.code in BUSY_CODES | LOST_CODES or error.status in PASSING | {BUSY_STATUS}
    return isinstance(error, (TransportError, AnswerError))


def patiently(clock: Clock, *, steady: bool = False) -> AsyncRetrying:
    """Reads again after what may pass, later and later, on the given clock: three seconds in all.
    With jitter, unless it is to be `steady`: what is recorded and played back.
    """
    return AsyncRetrying(
        sleep=clock.sleep,
        retry=retry_if_exception(passing),
        stop=stop_after_attempt(READINGS),
        wait=wait_exponential(0.3, max=3) + wait_random(0, 0.0 if steady else 0.3),
        reraise=True,
    )


class Desk(Protocol):
    """What a submitter works at: `send_once` sends and reads, `directly` also reads patiently. It
    never takes another way to a listing: what only looks like one would tell that a job is not
    there.
    """

    clock: Clock

    async def send_once(self, call: Call[T]) -> T: ...

    async def directly(self, call: Call[T]) -> T: ...


@dataclass(frozen=True, slots=True)
class Sent:
    """A submission under way: the call as it leaves, its mark, and when it first left."""

    call: Call[Any]
    mark: str
    since: float


class Unknowable(Exception):
    """Nobody can tell whether the submission arrived. Never leaves this room."""


class Submitter:
    """Sends submissions once. `marks` makes their marks, `patience` is how long an answer may be
    looked for.
    """

    def __init__(
        self, desk: Desk, journal: Journal, marks: Callable[[], str], patience: float = 60.0
    ) -> None:
        self.desk, self.journal, self.marks, self.patience = desk, journal, marks, patience

    async def submit(self, call: Call[T], queueing: float = 0.0) -> T:
        """The accepted job. Waits up to `queueing` seconds for room in a full queue; then QueueFull
        is raised.
        """
        mark, since = self.marks(), self.desk.clock.now()
        carrying = SERVICES[call.service].marked(call, mark)
        sent = Sent(carrying or call, mark, since)
        self.journal.leaving(sent.call, mark, since, marked=carrying is not None)
        return cast(T, await self._settled(sent, queueing))

    async def resume(self, row: Submission, sender: Any) -> Job | None:
        """What became of a submission that nobody saw settled: adopted, or submitted again, or
        None: still unknown.
        """
        call = SERVICES[row.service].recalled(sender, row.name, row.path, row.body)
        sent, clock = Sent(call, row.mark, row.at), self.desk.clock
        try:
            found = await self._look(
                sent, max(0.0, row.at + SETTLING * self.patience - clock.now())
            )
        except Unknowable as why:
            self.journal.settle(row.mark, "unknown", reason=str(why))
            return None
        if found is not None:
            return self._adopt(sent, found)
        return await self._settled(sent, self.patience)

    async def _settled(self, sent: Sent, queueing: float) -> Job:
        """Submits, and writes down what came of it, whatever that is: an interrupt, too."""
        try:
            job = await self._accepted(sent, queueing)
        except Unknowable as why:
            self.journal.settle(sent.mark, "unknown", reason=str(why))
            raise TransportError(
                "Nobody knows whether this submission arrived.",
                why=f"Its answer was lost, and looking for it did not help: {why}",
                hint="Nothing was sent twice. Look again later: %mjci resume.",
                maybe_arrived=True,
            ) from why.__cause__
        except MjciError as error:
            self.journal.settle(sent.mark, "refused", reason=error.what)
            raise
        except BaseException as error:
            self.journal.settle(
                sent.mark, "unknown", reason=f"interrupted ({type(error).__name__})"
            )
            raise
        return self._adopt(sent, job)

    def _adopt(self, sent: Sent, job: Job) -> Job:
        self.journal.settle(sent.mark, "accepted", job_id=job.id)
        return job

    async def _accepted(self, sent: Sent, queueing: float) -> Job:
        clock, deadline = self.desk.clock, self.desk.clock.now() + queueing
        pauses = _pauses()
        for left in reversed(range(ATTEMPTS)):
            try:
                return await self._in_its_turn(sent, deadline)
            except MjciError as error:
                if not (_lost(error) or passing(error)):
                    raise
                if _lost(error) and (found := await self._look_for(sent, error)) is not None:
                    return found
                if left == 0:
                    raise
                await clock.sleep(next(pauses))
        raise AssertionError("unreachable")

    async def _look_for(self, sent: Sent, error: MjciError) -> Job | None:
        """The job of a submission whose answer was lost. A server that was too slow may be at it
        yet: then only a found job is an answer.
        """
        slow = isinstance(error, TransportError) and error.slow
        found = await self._look(sent, self.patience if slow else sum(LOOKS), error)
        if found is None and slow:
            raise Unknowable("the service may still be at it.") from error
        return found

    async def _in_its_turn(self, sent: Sent, deadline: float) -> Job:
        wait, longest = FULL
        while True:
            if self.desk.clock.now() > sent.since + SOON:
                self.journal.leaves_now(sent.mark, self.desk.clock.now())
            try:
                return await self.desk.send_once(sent.call)
            except QueueFull:
                if self.desk.clock.now() + wait > deadline:
                    raise
            await self.desk.clock.sleep(wait)
            wait = min(wait * 1.5, longest)

    async def _look(
        self, sent: Sent, lingering: float, lost: MjciError | None = None
    ) -> Job | None:
        """The job that the submission has made; None when it surely made none. Raises
        Unknowable.
        """
        service, clock = SERVICES[sent.call.service], self.desk.clock
        made_by_it = service.made_by(sent.call, sent.mark, sent.since)
        deadline, missing = clock.now() + lingering, 0
        pauses = iter(LOOKS)
        while True:
            await clock.sleep(next(pauses, LOOKS[-1]))
            try:
                jobs = await self._listed(service.listing(sent.call, sent.since))
            except NoSuchEndpoint as error:
                missing += 1
                if missing < PAGES:
                    continue
                if isinstance(lost, NoSuchEndpoint):
                    raise lost from None  # a wrong address, not a lost answer
                raise Unknowable("this server has no listing.") from error
            except MjciError as error:
                raise Unknowable(error.what) from error
            found = [job for job in jobs if made_by_it(job)]
            if found and not service.surely(sent.call, sent.mark):
                taken = self.journal.claimed(sent.call.service)
                found = [job for job in found if job.id not in taken]
            if len(found) > 1:
                raise Unknowable(
                    f"{len(found)} jobs look like it: {', '.join(job.id for job in found[:4])}."
                )
            if found:
                return found[0]
            if clock.now() >= deadline:
                return None

    async def _listed(self, listing: Any) -> list[Job]:
        if isinstance(listing, Call):
            return cast(list[Job], await self.desk.directly(listing))
        return cast(list[Job], await listing.gathered())


def _lost(error: MjciError) -> bool:
    """Whether the work may have been begun although no good answer came."""
    if isinstance(error, TransportError):
        return error.maybe_arrived
    if isinstance(error, ServiceError):
        lost = error.status in PASSING and error.code not in BUSY_CODES
        return lost or error.code in LOST_CODES or isinstance(error, NoSuchEndpoint)
    return isinstance(error, AnswerError)


def _pauses() -> Any:
    pause = 0.2
    while True:
        yield pause
        pause *= 2
