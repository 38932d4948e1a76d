"""Twenty thousand schedules hold, and the simulation notices when the code is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jupyter_mjci.client.outcomes import may_have_been_accepted
from jupyter_mjci.errors import HistoryError, MjciError
from jupyter_mjci.history import submissions
from jupyter_mjci.history.submissions import Transition
from jupyter_mjci.jobs import submission
from jupyter_mjci.jobs.journal_writer import JournalWriter
from jupyter_mjci.jobs.submission import Submitter
from tests.simulation.__main__ import find_violations, open_simulation
from tests.simulation.schedules import Schedule, Simulation, Violation

SHARDS = 8
SCHEDULES = 20_000
# Each shard takes a share of the schedules of two seeds, each of which has about 110,000. The
# stride divides none of the numbers of faults, listings, actors and disks: each meets each.
STRIDE = 7
# as many are run for each mutation, at most
MUTATION_SCHEDULES = 1_500
MUTATION_STRIDE = 13


@pytest.fixture(scope="module")
def simulation() -> Iterator[Simulation]:
    with open_simulation() as opened:
        yield opened


@pytest.mark.filterwarnings("ignore::jupyter_mjci.errors.JournalWarning")
@pytest.mark.parametrize("seed", range(0, 2 * SHARDS, 2))
def test_no_schedule_makes_a_job_twice_or_loses_one(simulation: Simulation, seed: int) -> None:
    """Made at most once, never untold, accepted rows exist, and every row settles or is named."""
    violations = find_violations(simulation, SCHEDULES // SHARDS, seed, STRIDE)
    assert next(violations, None) is None


@pytest.mark.filterwarnings("ignore::jupyter_mjci.errors.JournalWarning")
def test_schedule_is_replayed_by_its_name(simulation: Simulation) -> None:
    """The same steps and the same end, whatever ran before."""
    name = "gateway first/lags/own/3/locked/4/1/kill/9/5"
    schedule = Schedule.parse(name)
    assert str(schedule) == name
    ends = []
    for _ in range(2):
        run = simulation.run(schedule)
        ends.append([(actor.name, actor.steps) for actor in run.actors])
        simulation.run(Schedule("answer lost"))
    assert ends[0] == ends[1]


@pytest.mark.filterwarnings("ignore::jupyter_mjci.errors.JournalWarning")
@pytest.mark.parametrize(
    "name",
    [
        # A process stopped while it waited for a connection, and sent its request afterwards.
        "arrives late/lags/marker/2/sound/2/0/stall/3/11",
    ],
)
def test_schedule_that_failed_once_holds(simulation: Simulation, name: str) -> None:
    simulation.run(Schedule.parse(name))


# --- deliberate mistakes --------------------------------------------------------------------------

Patch = pytest.MonkeyPatch


def never_settle(patch: Patch) -> None:
    """Absence counts at once, as in the first edition."""
    patch.setattr(submission, "get_settling_time", lambda _: 2.0)


def trust_every_failure(patch: Patch) -> None:
    """Whatever fails was not accepted."""
    patch.setattr(submission, "may_have_been_accepted", lambda _: False)


def believe_in_guesses(patch: Patch) -> None:
    """Absence of a job that can only be guessed is proof."""
    patch.setattr(submission, "_conclude_absence", lambda _: None)


def ignore_leases(patch: Patch) -> None:
    """A row is taken over while another worker is on it."""
    take = submissions.take

    def take_any(db: Any, lease: Any, now: float, until: float) -> bool:
        return take(db, lease, now + 1_000.0, until)

    async def confirm(self: JournalWriter, lease: Any) -> bool:
        return True

    patch.setattr(submissions, "take", take_any)
    patch.setattr(JournalWriter, "confirm_lease", confirm)


def share_jobs(patch: Patch) -> None:
    """A guess takes whatever looks right, without a claim."""
    patch.setattr(submissions, "_claim", lambda *_: True)
    patch.setattr(submission, "_could_be", lambda *_: False)


def forget_what_cannot_be_written(patch: Patch) -> None:
    """An error of the journal is the submission's."""

    async def write(self: JournalWriter, *writes: Any) -> None:
        await self.commit(*writes)

    def may_be(error: MjciError) -> bool:
        return not isinstance(error, HistoryError) and may_have_been_accepted(error)

    patch.setattr(JournalWriter, "write_eventually", write)
    patch.setattr(submission, "may_have_been_accepted", may_be)


def reject_what_was_lost(patch: Patch) -> None:
    """A submission that could not be found is rejected."""
    lose = submissions.TRANSITIONS["lose"]
    wrong = Transition(lose.sources, submissions.REJECTED, lose.needs_lease)
    patch.setitem(submissions.TRANSITIONS, "lose", wrong)  # type: ignore[arg-type]


def send_before_recording(patch: Patch) -> None:
    """The row is written when the answer has come."""

    async def send(self: Submitter, pending: Any, *, has_marker: bool) -> None:
        await self.client.transport.send(pending.call)
        await record(self, pending, has_marker=has_marker)

    record = Submitter._record
    patch.setattr(Submitter, "_record", send)


def send_again_without_a_look(patch: Patch) -> None:
    """What the gateway called busy is sent again at once."""

    async def find(self: Submitter, pending: Any) -> None:
        return None

    patch.setattr(Submitter, "_find_exact", find)


def keep_dead_leases(patch: Patch) -> None:
    """A lease never expires, so nobody takes the work of a dead process over."""
    patch.setattr("jupyter_mjci.jobs.journal_writer.LEASE_DURATION", 10_000.0)


MUTATIONS: list[Callable[[Patch], None]] = [
    never_settle,
    trust_every_failure,
    believe_in_guesses,
    ignore_leases,
    share_jobs,
    forget_what_cannot_be_written,
    reject_what_was_lost,
    send_before_recording,
    send_again_without_a_look,
    keep_dead_leases,
]


@pytest.mark.filterwarnings("ignore::jupyter_mjci.errors.JournalWarning")
@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_mistake_is_noticed(
    simulation: Simulation, mutate: Callable[[Patch], None], monkeypatch: Patch
) -> None:
    """And what is printed fails again when it is replayed."""
    mutate(monkeypatch)
    violation = next(find_violations(simulation, MUTATION_SCHEDULES, 3, MUTATION_STRIDE), None)
    assert violation is not None
    name = violation.rpartition("'")[0].rpartition("'")[2]
    with pytest.raises(Violation):
        simulation.run(Schedule.parse(name))
