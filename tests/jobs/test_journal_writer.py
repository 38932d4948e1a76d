"""The writer of the journal: leases belong to the process that works on a submission."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client import event_loop
from jupyter_mjci.history import submissions
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.submissions import Lease
from jupyter_mjci.jobs.journal_writer import LEASE_DURATION, JournalWriter
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.session import Session

NOW = 1000.0
CALL = Midjourney().imagine("a red fox")


class EndlessTask:
    """Work in the background that goes on, in the process that started it."""

    def done(self) -> bool:
        return False


class TwoRoundClock:
    """Ends the second wait by a function."""

    def __init__(self) -> None:
        self.time = NOW
        self.waits = 0
        self.on_second_wait: Callable[[], None] = lambda: None

    def now(self) -> float:
        return self.time

    async def sleep(self, _: float) -> None:
        self.waits += 1
        if self.waits == 2:
            self.on_second_wait()


class CountingJournal(Journal):
    """A journal that counts its transactions."""

    transactions = 0

    def write(self, *writes: Any, **options: Any) -> list[Any]:
        self.transactions += 1
        return super().write(*writes, **options)


class Process:
    """A journal on disk, and its writer, whose work in the background is run by hand."""

    def __init__(self, path: Path) -> None:
        self.journal = CountingJournal(path)
        self.clock = TwoRoundClock()
        self.started: list[Any] = []
        self.writer = JournalWriter(self.journal, clock=self.clock, start=self.start)

    def start(self, work: Awaitable[None]) -> EndlessTask:
        self.started.append(work)
        return EndlessTask()

    def close(self) -> None:
        """Run none of the upkeep that is left."""
        for work in self.started:
            work.close()

    def submit(self, marker: str) -> Lease:
        """Record a submission whose lease ends soon if it is not renewed."""
        lease = self.writer.open_lease(marker)
        times = (NOW, NOW + 1)
        record = partial(
            submissions.record, call=CALL, lease=lease, times=times, origin="", has_marker=True
        )
        self.journal.write(record)
        return lease

    def keep_up(self, lease: Lease) -> dict[str, float]:
        """Run one round of the upkeep that was started last; return until when each lease is."""
        self.clock.on_second_wait = partial(self.writer.close_lease, lease)
        event_loop.run(self.started.pop())
        return {row.marker: row.lease_until for row in self.journal.submissions()}


def _work_in_child(process: Process, owner: str, queue: multiprocessing.Queue[Any]) -> None:
    lease = process.submit("child")
    queue.put((process.writer.is_open(owner), process.keep_up(lease)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_fork_renews_its_own_leases_and_none_of_its_parents(tmp_path: Path) -> None:
    """Else a submission whose worker died with the parent would stay leased for ever."""
    process = Process(tmp_path / "journal.db")
    parent_lease = process.submit("parent")
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[Any] = context.Queue()
    child = context.Process(target=_work_in_child, args=(process, parent_lease.owner, queue))
    child.start()
    is_open, deadlines = queue.get(timeout=20)
    child.join(20)
    assert not is_open
    assert deadlines == {"parent": NOW + 1, "child": NOW + LEASE_DURATION}
    assert process.writer.is_open(parent_lease.owner)
    assert process.keep_up(parent_lease)["parent"] == NOW + LEASE_DURATION
    process.journal.close()


def test_lease_of_a_process_that_was_stopped_is_held_unless_another_took_it_over(
    tmp_path: Path,
) -> None:
    stopped, other = Process(tmp_path / "journal.db"), Process(tmp_path / "journal.db")
    lease = stopped.submit("a")
    assert event_loop.run(stopped.writer.holds_lease(lease))
    stopped.clock.time += LEASE_DURATION + 1
    assert event_loop.run(stopped.writer.holds_lease(lease))
    (row,) = stopped.journal.submissions()
    assert row.lease_until == stopped.clock.time + LEASE_DURATION  # renewed

    stopped.clock.time += LEASE_DURATION + 1
    taken = other.writer.open_lease("a")
    until = stopped.clock.time + LEASE_DURATION
    take = partial(submissions.take, lease=taken, now=stopped.clock.time, until=until)
    assert other.journal.write(take) == [True]
    assert not event_loop.run(stopped.writer.holds_lease(lease))
    for process in (stopped, other):
        process.close()


def _submit_in_child(session: Session, queue: multiprocessing.Queue[str]) -> None:
    queue.put(session.mj.imagine("a fox").run().id)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_fork_beside_a_thread_that_writes_can_use_the_session(tmp_path: Path) -> None:
    """The child has the journal's lock as it was, and not the thread that would release it."""
    is_writing, may_end = threading.Event(), threading.Event()
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[str] = context.Queue()
    with mjci.sandbox(home=tmp_path) as session:
        session.mj.imagine("a hare").run()

        def write() -> None:
            with session.journal._lock:
                is_writing.set()
                may_end.wait(60)

        thread = threading.Thread(target=write)
        thread.start()
        assert is_writing.wait(20)
        child = context.Process(target=_submit_in_child, args=(session, queue))
        child.start()
        job_id = queue.get(timeout=60)
        child.join(20)
        may_end.set()
        thread.join()
        assert job_id in {row.job_id for row in session.journal.submissions()}


def insert(name: str, db: sqlite3.Connection) -> str:
    db.execute("INSERT INTO metadata VALUES (?, '1')", (name,))
    return name


def fail(_: sqlite3.Connection) -> None:
    raise ZeroDivisionError


async def commit_together(writer: JournalWriter, *writes: Any) -> list[object]:
    """Commit each by itself at the same time; return the results, or the errors."""
    results: dict[int, object] = {}

    async def commit(number: int) -> None:
        try:
            results[number] = await writer.commit(writes[number])
        except ZeroDivisionError as error:
            results[number] = error

    async with anyio.create_task_group() as group:
        for number in range(len(writes)):
            group.start_soon(commit, number)
    return [results[number] for number in range(len(writes))]


@pytest.fixture
def counting_journal(tmp_path: Path) -> Iterator[CountingJournal]:
    journal = CountingJournal(tmp_path / "journal.db")
    journal.position()
    journal.transactions = 0
    yield journal
    journal.close()


@pytest.mark.anyio
async def test_writes_that_are_due_together_share_one_transaction(
    counting_journal: CountingJournal,
) -> None:
    """Each gets its own result, and the next ones are written, too."""
    writer = JournalWriter(counting_journal)
    for rounds in (1, 2):
        names = [f"{rounds}.{number}" for number in range(8)]
        results = await commit_together(writer, *(partial(insert, name) for name in names))
        assert results == [[name] for name in names]
        assert counting_journal.transactions == rounds


@pytest.mark.anyio
async def test_write_with_a_bug_leaves_those_of_the_same_transaction(
    counting_journal: CountingJournal,
) -> None:
    writer = JournalWriter(counting_journal)
    first, failed, last = await commit_together(
        writer, partial(insert, "first"), fail, partial(insert, "last")
    )
    assert isinstance(failed, ZeroDivisionError)
    assert (first, last) == (["first"], ["last"])
    assert [counting_journal.get_meta(name) for name in ("first", "last")] == ["1", "1"]


@pytest.mark.anyio
@pytest.mark.parametrize("interrupted", [0, 1])
async def test_interrupted_commit_leaves_out_no_other(
    counting_journal: CountingJournal, interrupted: int
) -> None:
    """The first one writes for all; one that waits for it is taken out."""
    scopes = [anyio.CancelScope() for _ in range(3)]

    async def pause() -> None:
        await anyio.lowlevel.checkpoint()
        scopes[interrupted].cancel()
        for _ in range(5):
            await anyio.lowlevel.checkpoint()

    writer = JournalWriter(counting_journal, pause=pause)

    async def commit(number: int) -> None:
        with scopes[number]:
            await writer.commit(partial(insert, str(number)))

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(commit, number)
    written = [number for number in range(3) if counting_journal.get_meta(str(number))]
    assert {0, 1, 2} - {interrupted} <= set(written)
    assert (1 in written) is (interrupted != 1)
    assert await writer.commit(partial(insert, "later")) == ["later"]


def test_lease_that_was_confirmed_is_not_asked_for_again_while_it_lasts(tmp_path: Path) -> None:
    process = Process(tmp_path / "journal.db")
    lease = process.submit("a")
    process.clock.time += LEASE_DURATION - 1
    assert event_loop.run(process.writer.confirm_lease(lease))
    count = process.journal.transactions
    process.clock.time += LEASE_DURATION - 1
    assert event_loop.run(process.writer.holds_lease(lease))
    assert process.journal.transactions == count
    process.clock.time += 1
    assert event_loop.run(process.writer.holds_lease(lease))
    assert process.journal.transactions == count + 1
    process.close()


def test_lease_that_was_closed_meanwhile_stays_closed(tmp_path: Path) -> None:
    """Its confirmation, which was under way, opens it no more."""
    process = Process(tmp_path / "journal.db")
    lease = process.submit("a")
    process.writer.close_lease(lease)
    assert event_loop.run(process.writer.confirm_lease(lease))
    assert not process.writer.is_open(lease.owner)
    process.close()


def test_lease_that_another_has_taken_over_is_not_valid_after_its_upkeep(tmp_path: Path) -> None:
    """The worker asks the journal before it goes on, and gives up."""
    process, other = Process(tmp_path / "journal.db"), Process(tmp_path / "journal.db")
    lease = process.submit("a")
    taken = other.writer.open_lease("a")
    now = NOW + LEASE_DURATION + 1
    take = partial(submissions.take, lease=taken, now=now, until=now + LEASE_DURATION)
    assert other.journal.write(take) == [True]
    process.clock.time = other.clock.time = now
    held: list[float] = []

    def look() -> None:
        held.append(process.writer._work.leases[lease])
        process.writer._work.leases.clear()

    process.clock.on_second_wait = look
    event_loop.run(process.started.pop())
    assert held == [NOW + LEASE_DURATION]
    for each in (process, other):
        each.close()
