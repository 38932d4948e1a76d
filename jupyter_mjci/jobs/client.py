"""Send calls one request at a time, journal the jobs in each response and notify listeners.

Submission, polling and listings all send through one `JobClient`,
so the journal and the listeners see every job while the HTTP
transport knows neither of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job, is_older, keep_newest
from jupyter_mjci.client.transport import Clock, Transport
from jupyter_mjci.history.journal import Journal, Write
from jupyter_mjci.jobs.journal_writer import JournalWriter
from jupyter_mjci.services import Service, build_not_installed_error, find_service

T = TypeVar("T")
Listener = Callable[[str, Any], None]


# Jobs kept in memory, beside those that are followed and those in
# the journal: a job takes about 6 KB.
MAX_KNOWN_JOBS = 1_000


class JobClient:
    """Sends calls and records the jobs in their responses.

    Args:
        transport: sends the requests
        journal: stores every job that changed
        clock: the time at which jobs are recorded
        writer: writes to the journal
    """

    def __init__(
        self,
        transport: Transport,
        journal: Journal,
        clock: Clock,
        writer: JournalWriter | None = None,
    ) -> None:
        self.transport = transport
        self.journal = journal
        self.clock = clock
        self.writer = writer or JournalWriter(journal)
        self.listeners: list[Listener] = []
        self._known_jobs: dict[tuple[str, str], Job] = {}
        # How many wait for a job to end, by service and ID.
        self.followed: Counter[tuple[str, str]] = Counter()

    def require_service(self, key: str) -> Service:
        """Return a service; raise SettingsError, which names its package, if it is missing."""
        found = find_service(key)
        if found is None:
            raise build_not_installed_error(key, self.journal.get_package(key))
        return found

    async def send_once(self, call: Call[T]) -> T:
        """Send one request, without retries, and return the parsed response.

        Listeners are notified before a submission leaves and of
        every job in the response.
        """
        if call.is_submission:
            self.notify("submitting", call)
        value = self.transport.parse(call, await self.transport.send(call))
        jobs = _extract_jobs(value)
        origin = self.journal.get_origin(call.service)
        for job in jobs:
            # Parsers know no server, and nobody else has seen the
            # job yet.
            object.__setattr__(job, "origin", origin)
        self.record(jobs, is_asked_for=isinstance(value, Job))
        return value

    def record(self, jobs: Iterable[Job], *, is_asked_for: bool = False) -> None:
        """Journal the jobs that changed, and notify the listeners of all of them.

        A state older than the one that is known, or than another
        of the same jobs, is ignored, wherever it comes from. Where
        the journal cannot be written, jobs are kept and written
        later.

        Args:
            jobs: the jobs, as they were observed
            is_asked_for: somebody asked for just this job, and
                sees how it ended
        """
        seen = [job for job in jobs if not is_older(job, self._known_jobs.get(_get_key(job)))]
        seen = keep_newest(seen)
        writes = self.prepare_writes(seen)
        unseen = [job for job in seen if job.status.is_terminal and not self.is_followed(job)]
        if writes and unseen and not is_asked_for:
            writes.insert(0, partial(self.journal.mark_unseen, unseen))
        if writes:
            self.writer.write_or_defer(*writes)
        self.announce(seen)

    def prepare_writes(self, seen: Iterable[Job]) -> list[Write]:
        """Remember jobs that were observed, and return what journals those that changed."""
        changed = [job for job in seen if job.id and self._known_jobs.get(_get_key(job)) != job]
        for job in changed:
            # Removed first, so that the dictionary stays ordered
            # by the latest change.
            self._known_jobs.pop(_get_key(job), None)
            self._known_jobs[_get_key(job)] = job
        self._forget_oldest()
        return [partial(self.journal.upsert_jobs, changed, self.clock.now())] if changed else []

    def _forget_oldest(self) -> None:
        excess = len(self._known_jobs) - MAX_KNOWN_JOBS - len(self.followed)
        for key in list(islice(self._known_jobs, max(excess, 0))):
            if key not in self.followed:
                del self._known_jobs[key]

    def mark_seen(self, jobs: Sequence[Job]) -> None:
        """Note that the end of jobs was shown, as soon as the journal can be written."""
        if jobs:
            self.writer.write_or_defer(partial(self.journal.mark_seen, jobs))

    def is_followed(self, job: Job) -> bool:
        """Return whether somebody waits for a job to end."""
        return self.followed[_get_key(job)] > 0

    def announce(self, jobs: Iterable[Job]) -> None:
        """Notify the listeners of jobs that were observed."""
        if self.listeners:
            for job in jobs:
                self.notify("job_updated", job)

    def notify(self, event: str, value: object) -> None:
        """Call every listener with the event's name and its value."""
        for listener in self.listeners:
            listener(event, value)

    def known_jobs(self, service: str | None = None) -> list[Job]:
        """Return the latest jobs (of a service) that were seen, the latest change last."""
        jobs = self._known_jobs.values()
        return [job for job in jobs if service is None or job.service == service]


def _get_key(job: Job) -> tuple[str, str]:
    return job.service, job.id


def _extract_jobs(value: object) -> Sequence[Job]:
    """Return the jobs of a parsed response: a job, a list of jobs, or a page of them."""
    if isinstance(value, Job):
        return (value,)
    items = getattr(value, "items", value)
    if not isinstance(items, (list, tuple)):
        return ()
    return [item for item in items if isinstance(item, Job)]
