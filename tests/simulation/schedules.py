"""Schedules: which faults, which actors, which crash points; and what has to hold at their end."""

from __future__ import annotations

import contextlib
import itertools
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.outcomes import may_have_been_accepted
from jupyter_mjci.errors import JournalWarning, MjciError
from jupyter_mjci.history.submissions import Submission
from jupyter_mjci.jobs.client import JobClient
from jupyter_mjci.jobs.coalescing import RequestCoalescer
from jupyter_mjci.jobs.journal_writer import JournalWriter
from jupyter_mjci.jobs.submission import Submitter
from jupyter_mjci.services.midjourney.api import Midjourney
from tests.simulation.scheduler import (
    Actor,
    Killed,
    Process,
    Scheduler,
    SimulatedClock,
    SimulatedEvent,
    Sleep,
    Violation,
)
from tests.simulation.world import (
    DISKS,
    FAULTS,
    LISTINGS,
    Disk,
    Service,
    SimulatedJournal,
    SimulatedTransport,
    get_number,
)

MAX_ACTORS = 3
STALL = 40.0  # seconds for which a stalled process does nothing
# seconds after which a user looks again, at a time when nothing fails any more
LAST_LOOKS = (300.0, 600.0)


@dataclass(frozen=True)
class Schedule:
    """Everything that decides what happens.

    Args:
        fault: what happens to the first submission
        listing: how the listing behaves
        text: "marker", or the user's "own" text in its place
        actors: 1: a submitter; 2: and a resumer beside it; 3: and
            a second submitter of an equal call, and a poller
        disk: what happens to the journal's disk
        disk_at: at which write that begins
        victim: the actor that is killed or stalled
        how: kill or stall
        step: at which of its crash points; 0 for never
        seed: decides latencies and who comes first
    """

    fault: str = "none"
    listing: str = "prompt"
    text: str = "marker"
    actors: int = 1
    disk: str = "sound"
    disk_at: int = 1
    victim: int = 0
    how: str = "kill"
    step: int = 0
    seed: int = 0

    def __str__(self) -> str:
        return "/".join(str(getattr(self, field.name)) for field in fields(self))

    @classmethod
    def parse(cls, name: str) -> Schedule:
        """Return the schedule of a name that was printed."""
        values = name.split("/")
        kinds = [type(field.default) for field in fields(cls)]
        return cls(*(kind(value) for kind, value in zip(kinds, values, strict=True)))

    @property
    def is_lied_to(self) -> bool:
        """Whether the service says that it did not accept what it made, where no look can tell."""
        can_see = self.listing in ("prompt", "rewrites") and self.text == "marker"
        return self.fault == "busy though made" and not can_see


class Simulation:
    """Runs schedules; the journals' file is made once.

    Args:
        folder: a folder, in memory where there is one
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "journal.db"
        self.journals: list[SimulatedJournal] = []
        warnings.simplefilter("ignore", JournalWarning)

    def close(self) -> None:
        for journal in self.journals:
            journal._deferred.clear()
            journal.close()

    def run(self, schedule: Schedule) -> Run:
        """Run a schedule to its end, and check what has to hold."""
        run = Run(self, schedule)
        try:
            run.play()
            run.check()
        except Violation as violation:
            name = f"replay: python -m tests.simulation '{schedule}'"
            raise Violation(f"{violation}\n{name}") from None
        return run

    def count_steps(self, schedule: Schedule) -> list[int]:
        """Return how many crash points each of the actors of a schedule has."""
        run = Run(self, schedule)
        with contextlib.suppress(Violation):
            run.play()
        return [actor.steps for actor in run.actors[: -len(LAST_LOOKS)]]

    def get_journal(self, index: int, actor: Actor, disk: Disk) -> SimulatedJournal:
        while len(self.journals) <= index:
            self.journals.append(SimulatedJournal(self.path))
        return self.journals[index].attach(actor, disk)


class Run:
    """One run of a schedule."""

    def __init__(self, simulation: Simulation, schedule: Schedule) -> None:
        self.simulation = simulation
        self.schedule = schedule
        self.scheduler = Scheduler(schedule.seed)
        self.clock = SimulatedClock(self.scheduler)
        self.disk = Disk(self.scheduler, schedule.disk, schedule.disk_at)
        self.service = Service(self.scheduler, schedule.fault, schedule.listing)
        self.actors: list[Actor] = []
        # the work of each submitter, by the number of its submission
        self.sent: dict[int, Process] = {}

    def play(self) -> None:
        self.build_observer().wipe()
        self.start_submitter(1, 0.0)
        if self.schedule.actors > 1:
            self.start_resumer(self.scheduler.rng.uniform(0.0, 30.0))
        if self.schedule.actors > 2:
            self.start_submitter(2, self.scheduler.rng.uniform(0.0, 8.0))
            self.start_poller()
        victim = self.actors[self.schedule.victim % len(self.actors)]
        victim.fatal_step = self.schedule.step
        victim.stall = STALL if self.schedule.how == "stall" else 0.0
        for delay in LAST_LOOKS:
            self.start_resumer(delay)
        self.scheduler.run()

    # --- actors -------------------------------------------------

    def build_submitter(self) -> tuple[Actor, Submitter]:
        actor = Actor(self.scheduler, str(len(self.actors)))
        journal = self.simulation.get_journal(len(self.actors) + 1, actor, self.disk)
        self.actors.append(actor)
        writer = JournalWriter(journal, clock=self.clock, start=actor.spawn, pause=_go_on)
        transport = SimulatedTransport(actor, self.service)
        client = JobClient(transport, journal, self.clock, writer)
        markers = (f"mjci-{actor.name}-{number}" for number in itertools.count())
        submitter = Submitter(client, lambda: next(markers), deterministic=True)
        submitter.searches = RequestCoalescer(partial(SimulatedEvent, self.clock))
        return actor, submitter

    def build_observer(self) -> SimulatedJournal:
        """Return a journal of nobody, on a disk that never fails."""
        disk = Disk(self.scheduler, "sound", 0)
        return self.simulation.get_journal(0, Actor(self.scheduler, "observer"), disk)

    def start_submitter(self, number: int, delay: float) -> None:
        actor, submitter = self.build_submitter()
        call = build_call(number, self.schedule.text)
        self.sent[number] = actor.spawn(submitter.send(call, 100.0), delay)

    def start_resumer(self, delay: float) -> None:
        actor, submitter = self.build_submitter()

        async def resume() -> None:
            for row in submitter.journal.unresolved():
                if not submitter.writer.is_open(row.lease_owner):
                    actor.spawn(submitter.resume(row, _NO_SENDER))

        actor.spawn(resume(), delay)

    def start_poller(self) -> None:
        actor, submitter = self.build_submitter()

        async def poll() -> None:
            for _ in range(5):
                await Sleep(6.0)
                if submitter.journal.active_jobs():
                    await submitter.send(Midjourney().tasks())

        actor.spawn(poll())

    # --- what has to hold ---------------------------------------

    def check(self) -> None:
        rows = {get_number(row.body): row for row in self.build_observer().submissions()}
        made = self.service.made
        for number, times in made.items():
            self.demand(times <= 1 or self.schedule.is_lied_to, f"{number} was made {times} times")
        numbers = {task.id: task.number for task in self.service.tasks}
        for number, row in rows.items():
            self.check_row(number, row, made[number], numbers)
        for number in made:
            self.demand(number in rows, f"{number} was made, and nothing is known of it")
        for number, process in self.sent.items():
            self.check_answer(number, process, made[number], numbers)
        accepted = [row.job_id for row in rows.values() if row.state == "accepted"]
        self.demand(len(accepted) == len(set(accepted)), f"one job for two: {accepted}")

    def check_row(self, number: int, row: Submission, made: int, numbers: dict[str, int]) -> None:
        self.demand(row.state != "pending", f"{number} is neither settled nor named")
        if row.state == "accepted":
            self.demand(row.job_id in numbers, f"{number} has job {row.job_id}, which is nowhere")
            owner = numbers.get(row.job_id)
            is_own = owner == number or self.schedule.is_lied_to
            self.demand(is_own, f"{number} has the job of {owner}")
        if row.state == "rejected":
            is_told = not made or self.schedule.is_lied_to
            self.demand(is_told, f"{number} was made, and is rejected: {row.reason}")
        if row.state == "unknown":
            can_tell = self.schedule.text == "marker" and self.schedule.listing != "absent"
            self.demand(not can_tell, f"{number} stays unknown: {row.reason}")

    def check_answer(
        self, number: int, process: Process, made: int, numbers: dict[str, int]
    ) -> None:
        """Check what the submitter told its caller."""
        error = process.error
        if error is None and isinstance(process.value, Job):
            is_own = numbers.get(process.value.id) == number or self.schedule.is_lied_to
            self.demand(is_own, f"{number} got another's job")
        elif isinstance(error, MjciError):
            is_no = not may_have_been_accepted(error)
            is_told = not (is_no and made) or self.schedule.is_lied_to
            self.demand(is_told, f"{number} was made, its caller was told: {error}")
        elif error is not None and not isinstance(error, Killed):
            raise error

    def demand(self, holds: bool, message: str) -> None:
        if not holds:
            raise Violation(message)


_NO_SENDER: Any = None


async def _go_on() -> None:
    """Let nobody join a transaction: there is nobody else in the process."""


@cache
def build_call(number: int, text: str) -> Call[Job]:
    """Build a submission: equal ones differ by what no search compares."""
    state = "mine" if text == "own" else None
    return Midjourney().imagine("a fox", state=state, notify_hook=f"http://hook/{number}")


# --- enumeration ------------------------------------------------


def enumerate_situations(seed: int) -> Iterator[Schedule]:
    """Yield every combination of faults, listings, texts, actors and disks, without a crash."""
    for fault, listing, text, actors, disk in itertools.product(
        FAULTS, LISTINGS, ("marker", "own"), range(1, MAX_ACTORS + 1), DISKS
    ):
        yield Schedule(fault, listing, text, actors, disk, seed=seed)


def enumerate_schedules(simulation: Simulation, seed: int, stride: int) -> Iterator[Schedule]:
    """Yield each situation, with each of its actors killed or stalled at each crash point.

    The crash points are those of a run without a crash; with a stride only each so many-th
    situation needs one.
    """
    situations = enumerate(enumerate_situations(seed))
    for number, situation in itertools.islice(situations, seed % stride, None, stride):
        schedule = replace(situation, disk_at=1 + (number + seed) % 7)
        yield schedule
        for victim, steps in enumerate(simulation.count_steps(schedule)):
            for step in range(1, steps + 1):
                for how in ("kill", "stall"):
                    yield replace(schedule, victim=victim, how=how, step=step)
