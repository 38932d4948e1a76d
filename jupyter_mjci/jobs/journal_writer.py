"""Write to the journal from the event loop: grouped, without blocking it, and without losing any.

Writes that are due at the same time share one transaction, and so
one wait for the disk. What has to be on disk before a request
leaves is awaited; what a service answered is kept where the
journal cannot be written, and written later. The leases of the
submissions that are being worked on are renewed as long as the
work goes on.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol
from uuid import uuid4

import anyio
import anyio.lowlevel

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.transport import Clock, SystemClock
from jupyter_mjci.errors import HistoryError, MjciError
from jupyter_mjci.history import submissions
from jupyter_mjci.history.journal import (
    BUSY_TIMEOUT,
    SHORT_TIMEOUT,
    Journal,
    Write,
    is_locked,
)
from jupyter_mjci.history.submissions import Lease

# seconds for which a lease is valid: after so long, the work of a
# process that died is taken over
LEASE_DURATION = 15.0
# seconds between two renewals, and two attempts at kept writes
UPKEEP_INTERVAL = 4.0
# seconds between attempts while another kernel writes: first,
# longest
LOCKED_BACKOFF = (0.1, 2.0)


class Task(Protocol):
    """Work in the background."""

    def done(self) -> bool: ...


class _Entry:
    """Writes that wait for the next transaction, and what became of them."""

    def __init__(self, writes: tuple[Write, ...]) -> None:
        self.writes = writes
        self.results: list[Any] = []
        self.error: Exception | None = None
        self.done = False
        self.event: anyio.Event | None = None


@dataclass(slots=True)
class _Work:
    """What a process is doing: its writes that are due, and its leases."""

    pid: int = field(default_factory=os.getpid)
    entries: list[_Entry] = field(default_factory=list)
    is_leading: bool = False
    # until when each is certainly valid
    leases: dict[Lease, float] = field(default_factory=dict)
    upkeep: Task | None = None


class JournalWriter:
    """Writes to the journal of a session on its event loop.

    Args:
        journal: the journal
        clock: the time that leases are measured in: it is common
            to all who share the journal, so it is not the
            session's
        start: starts work in the background
        pause: lets others join a transaction before it begins
    """

    def __init__(
        self,
        journal: Journal,
        *,
        clock: Clock | None = None,
        start: Callable[[Awaitable[None]], Task] = event_loop.start,
        pause: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint,
    ) -> None:
        self.journal = journal
        self.clock: Clock = clock or SystemClock()
        self._start = start
        self._pause = pause
        self._last_work = _Work()

    @property
    def _work(self) -> _Work:
        """The work of this process: the child of a fork goes on with none of its parent's."""
        if self._last_work.pid != os.getpid():
            self._last_work = _Work()
        return self._last_work

    # --- writing ------------------------------------------------

    async def commit(self, *writes: Write) -> list[Any]:
        """Run writes in a transaction, and return their results once they are on disk.

        Raises:
            HistoryError: the journal cannot be written; nothing
                was
        """
        deadline = self.clock.now() + BUSY_TIMEOUT
        delay, longest = LOCKED_BACKOFF
        while True:
            try:
                return await self._join(writes)
            except HistoryError as error:
                if not is_locked(error) or self.clock.now() >= deadline:
                    raise
            await self.clock.sleep(delay)
            delay = min(1.5 * delay, longest)

    async def write_eventually(self, *writes: Write) -> None:
        """Run writes that must not be lost: with others that are due, or else later."""
        try:
            await self._join(writes)
        except MjciError as error:
            self.journal.defer(error, *writes)
            self._ensure_upkeep()
        except BaseException:
            # an interrupt; writing twice changes nothing
            self.write_or_defer(*writes)
            raise

    def write_or_defer(self, *writes: Write) -> None:
        """Run writes that must not be lost: now, or else later."""
        if not self.journal.write_or_defer(*writes):
            self._ensure_upkeep()

    async def _join(self, writes: tuple[Write, ...]) -> list[Any]:
        entry = _Entry(writes)
        self._work.entries.append(entry)
        try:
            if self._work.is_leading:
                entry.event = anyio.Event()
                await entry.event.wait()
            else:
                await self._lead()
        except BaseException:
            if entry in self._work.entries:
                self._work.entries.remove(entry)
            raise
        if entry.error is not None:
            raise entry.error
        return entry.results

    async def _lead(self) -> None:
        """Let others join, then write. An interrupt of the first writer leaves out no other."""
        self._work.is_leading = True
        try:
            await self._pause()
        finally:
            self._work.is_leading = False
            entries = self._work.entries
            self._work.entries = []
            self._write_together(entries)

    def _write_together(self, entries: list[_Entry]) -> None:
        writes = [write for entry in entries for write in entry.writes]
        try:
            results = iter(self.journal.write(*writes, timeout=SHORT_TIMEOUT))
            for entry in entries:
                entry.results = [next(results) for _ in entry.writes]
        except Exception as error:
            if len(entries) > 1 and not isinstance(error, MjciError):
                # a bug in one of them must not hit the others
                for entry in entries:
                    self._write_together([entry])
                return
            for entry in entries:
                entry.error = error
        for entry in entries:
            if entry.event is not None:
                entry.event.set()

    # --- leases -------------------------------------------------

    def open_lease(self, marker: str) -> Lease:
        """Begin a lease that is renewed until `close_lease`; its first write is the caller's."""
        lease = Lease(marker, uuid4().hex)
        self._work.leases[lease] = self.get_lease_deadline()
        self._ensure_upkeep()
        return lease

    def close_lease(self, lease: Lease) -> None:
        """Stop renewing a lease."""
        self._work.leases.pop(lease, None)

    def is_open(self, owner: str) -> bool:
        """Return whether this session works on a submission, by the owner of its lease."""
        return any(lease.owner == owner for lease in self._work.leases)

    def get_lease_deadline(self) -> float:
        """Return until when a lease is valid that is written now."""
        return self.clock.now() + LEASE_DURATION

    async def confirm_lease(self, lease: Lease) -> bool:
        """Return whether the submission is still this worker's: nobody has taken it over."""
        until = self.get_lease_deadline()
        (is_held,) = await self.commit(partial(submissions.renew, lease=lease, until=until))
        if is_held and lease in self._work.leases:
            self._work.leases[lease] = until
        return bool(is_held)

    async def holds_lease(self, lease: Lease) -> bool:
        """Return whether the submission is still this worker's; ask the journal only where time
        has passed unnoticed, as when the machine slept.
        """
        is_valid = self.clock.now() < self._work.leases.get(lease, 0.0)
        return is_valid or await self.confirm_lease(lease)

    # --- in the background --------------------------------------

    def _ensure_upkeep(self) -> None:
        if self._work.upkeep is None or self._work.upkeep.done():
            self._work.upkeep = self._start(self._keep_up())

    async def _keep_up(self) -> None:
        """Renew leases and write what was kept, while there are any."""
        while self._work.leases or self.journal.deferred_count:
            await self.clock.sleep(UPKEEP_INTERVAL)
            until = self.get_lease_deadline()
            leases = tuple(self._work.leases)
            renewals = [partial(submissions.renew, lease=lease, until=until) for lease in leases]
            try:
                renewed = self.journal.write(*renewals, timeout=SHORT_TIMEOUT)
            except MjciError:
                # the next round tries again
                continue
            for lease, is_held in zip(leases, renewed, strict=True):
                if is_held:
                    self._work.leases[lease] = until
