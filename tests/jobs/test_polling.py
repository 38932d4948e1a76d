"""When jobs are polled, and what becomes of them: on virtual time, against scripted answers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import LOST_REASON, Job, Status
from jupyter_mjci.client.outcomes import Outcome
from jupyter_mjci.errors import (
    MidjourneyError,
    MjciError,
    SettingsError,
    TransportError,
    Unsupported,
    WaitTimeout,
)
from jupyter_mjci.jobs.polling import Poller, Subscription, merge_known
from jupyter_mjci.services import JobChanges, find_service
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.tencent_ci.api import TencentCI

START = 1_800_000_000.0
# durations of tasks that are so long that only the interval counts
LONG = [1000.0] * 5
# of an ID and the seconds since the start: a job, None where it is not found, or an error
Answer = Callable[[str, float], Job | Exception | None]


@dataclass(frozen=True)
class Seen:
    """A change that a follower read, and when."""

    at: float
    id: str
    status: Status
    progress: int | None
    error: Exception | None


class ScriptedClient:
    """Answers polls from a script, on a clock that jumps; what a poller needs of a client."""

    def __init__(self, answer: Answer, durations: Sequence[float] = ()) -> None:
        self.answer = answer
        self.bulk_error: Exception | None = None
        self.polls: list[tuple[float, tuple[str, ...]]] = []
        self.recorded: list[Job] = []
        self.followed: Counter[tuple[str, str]] = Counter()
        self.time = START
        self.clock = self
        self.journal = self
        self._durations = list(durations)

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        # Others run first, as they would in that time.
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        self.time += seconds

    def durations(self, *_: str) -> list[float]:
        return self._durations

    def record(self, jobs: Iterable[Job]) -> None:
        self.recorded += jobs

    def require_service(self, key: str) -> object:
        if find_service(key) is None:
            raise SettingsError(f"The service {key} is not installed.")
        return find_service(key)

    async def send_once(self, call: Call[Any]) -> Any:
        is_bulk = bool(call.body)
        ids = json.loads(call.body)["ids"] if is_bulk else [call.path.split("/")[3]]
        self.polls.append((round(self.time - START, 3), tuple(ids)))
        await anyio.lowlevel.checkpoint()
        if is_bulk and self.bulk_error is not None:
            raise self.bulk_error
        answers = [self.answer(job_id, self.time - START) for job_id in ids]
        for each in answers:
            if isinstance(each, Exception):
                raise each
        jobs = [job for job in answers if isinstance(job, Job)]
        if is_bulk:
            return JobChanges(jobs, frozenset(job.id for job in jobs))
        if not jobs:
            raise MidjourneyError("There is no such task.", code="not_found")
        return jobs[0]

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.polls]


def build_job(
    job_id: str = "1", status: Status = Status.QUEUED, progress: int | None = None
) -> Job:
    submitted = datetime.fromtimestamp(START, UTC)
    return Job("mj", job_id, "IMAGINE", status, progress, submitted=submitted, subject="a fox")


def end_at(moment: float, progress: Callable[[float], int | None] = lambda _: None) -> Answer:
    """Return a script of tasks that run, and succeed at a moment."""

    def answer(job_id: str, seconds: float) -> Job:
        if seconds >= moment:
            return build_job(job_id, Status.SUCCEEDED, 100)
        return build_job(job_id, Status.RUNNING, progress(seconds))

    return answer


async def end_soon(work: Awaitable[None]) -> None:
    """Wait for work that takes no real time, and raise where it hangs."""
    with anyio.fail_after(30):
        await work


def watch(
    client: ScriptedClient,
    *jobs: Job,
    timeout: float = 600,
    poll_interval: float = 15.0,
    poller: Poller | None = None,
    **options: Any,
) -> list[Seen]:
    """Follow jobs to their end, and return every change."""
    # the parts of a client that a poller uses
    poller = poller or Poller(client, {"mj": Midjourney()}, **options)  # type: ignore[arg-type]
    seen: list[Seen] = []

    async def follow() -> None:
        async for changed in poller.watch(jobs or [build_job()], timeout, poll_interval):
            for each in changed:
                job = each.job
                at = round(client.time - START, 3)
                seen.append(Seen(at, job.id, job.status, job.progress, each.error))

    event_loop.run(end_soon(follow()))
    assert not client.followed
    return seen


def refuse(error: MjciError) -> MjciError:
    error.outcome = Outcome.REFUSAL
    return error


# --- when -------------------------------------------------------


def test_task_with_progress_is_polled_after_half_of_what_it_still_needs() -> None:
    """At 50 % after t seconds it needs t more: the polls come at 1.5 times the last one."""
    client = ScriptedClient(end_at(60, lambda _: 50))
    watch(client, replace(build_job(), status=Status.RUNNING, progress=50))
    # It is followed from its beginning: the first one is late.
    assert client.times[0] == 15
    assert client.times[1:4] == [22.5, 33.75, 48.75]  # +7.5, +11.25, at most +15


def test_polls_near_the_end_keep_the_least_interval() -> None:
    """At 99 % half of the rest would be a tenth of a second."""
    client = ScriptedClient(end_at(40, lambda _: 99))
    watch(client)
    assert client.times[:2] == [15, 19]


def test_progress_of_the_first_moment_says_nothing() -> None:
    """A job whose start is now, or ahead of our clock, is taken by what such jobs need."""
    ahead = datetime.fromtimestamp(START + 1000, UTC)
    client = ScriptedClient(end_at(20))
    watch(client, replace(build_job(), status=Status.RUNNING, progress=50, started=ahead))
    assert client.times[0] == 15  # half of 45 s, at most 15 s


@pytest.mark.parametrize("progress", [0, 100, None])
def test_progress_without_meaning_is_not_extrapolated(progress: int | None) -> None:
    client = ScriptedClient(end_at(20))
    watch(client, replace(build_job(), status=Status.RUNNING, progress=progress))
    assert client.times[0] == 15


@pytest.mark.parametrize(
    ("durations", "first"),
    [([10.0] * 4, 15), ([20.0] * 5, 10), ([1.0, 2.0, 20.0, 90.0, 90.0], 10)],
    ids=["too few", "enough", "their median"],
)
def test_task_without_progress_is_polled_by_how_long_such_tasks_took(
    durations: list[float], first: float
) -> None:
    """Half of the median of five or more; of fewer, half of 45 s, at most 15 s."""
    client = ScriptedClient(end_at(first), durations)
    watch(client)
    assert client.times == [first]


def test_task_that_takes_longer_than_others_is_polled_less_and_less_often() -> None:
    """After the estimated end each pause is a quarter longer, up to 7.5 s."""
    client = ScriptedClient(end_at(60), [10.0] * 5)
    watch(client)
    pauses = [round(b - a, 3) for a, b in zip(client.times, client.times[1:], strict=False)]
    assert client.times[:3] == [5, 9, 13]
    assert pauses[2:] == [5.0, 6.25, 7.5, 7.5, 7.5, 7.5, 7.5]


def test_no_pause_is_longer_than_the_interval_asked_for() -> None:
    client = ScriptedClient(end_at(10))
    watch(client, poll_interval=3)
    assert client.times == [3, 6, 9, 12]


def test_time_since_the_start_counts_from_the_first_time_that_is_known() -> None:
    """Without any, from when following began."""
    client = ScriptedClient(end_at(10), [20.0] * 5)
    watch(client, replace(build_job(), submitted=None))
    assert client.times == [10]
    earlier = datetime.fromtimestamp(START - 10, UTC)
    client = ScriptedClient(end_at(5), [20.0] * 5)
    watch(client, replace(build_job(), started=earlier))
    assert client.times == [5]


def test_tasks_that_are_due_within_a_moment_share_a_request() -> None:
    """In the order in which they are due; one that is due later has a poll of its own."""
    moments = {"1": 0.0, "2": -0.4, "3": -2.0}  # half of it later
    jobs = [
        replace(build_job(name), submitted=datetime.fromtimestamp(START + moment, UTC))
        for name, moment in moments.items()
    ]
    client = ScriptedClient(end_at(0), [20.0] * 5)
    watch(client, *jobs)
    assert client.polls == [(9.0, ("3",)), (9.8, ("2", "1"))]


def test_no_request_has_more_tasks_than_the_service_takes() -> None:
    jobs = [build_job(str(number)) for number in range(1, 1202)]
    client = ScriptedClient(end_at(15))
    seen = watch(client, *jobs)
    assert sorted(len(ids) for _, ids in client.polls) == [201, 500, 500]
    assert len(seen) == 1201


# --- what is told -----------------------------------------------


def test_change_is_told_once_and_only_where_there_is_one() -> None:
    client = ScriptedClient(end_at(40, lambda seconds: 30 if seconds < 20 else 60))
    seen = watch(client, poll_interval=5)
    assert [(each.at, each.status, each.progress) for each in seen] == [
        (5, Status.RUNNING, 30), (20, Status.RUNNING, 60), (40, Status.SUCCEEDED, 100),
    ]  # fmt: skip


def test_older_news_is_ignored() -> None:
    """A listing that lags behind shows an earlier state."""
    client = ScriptedClient(end_at(30, lambda seconds: 60 if seconds < 11 else 30))
    seen = watch(client, poll_interval=5)
    assert [each.progress for each in seen] == [60, 100]


def test_what_a_poll_leaves_out_stays_known() -> None:
    known = Job("mj", "1", subject="a fox", user_data="mine", parent="0")
    merged = merge_known(known, Job("mj", "1", status=Status.RUNNING))
    assert (merged.subject, merged.user_data, merged.parent) == ("a fox", "mine", "0")
    changed = Job("mj", "1", subject="b", user_data="c", parent="d")
    assert merge_known(known, changed) is changed


def test_client_knows_who_is_followed_meanwhile() -> None:
    """What ends then is not unseen."""
    client = ScriptedClient(end_at(0))

    def answer(job_id: str, seconds: float) -> Job:
        assert client.followed == {("mj", "1"): 1, ("mj", "2"): 1}
        return build_job(job_id, Status.SUCCEEDED)

    client.answer = answer
    seen = watch(client, build_job("1"), build_job("2"))
    assert [each.error for each in seen] == [None, None]


def test_jobs_that_have_ended_are_not_polled() -> None:
    client = ScriptedClient(end_at(0))
    assert watch(client, build_job("1", Status.FAILED)) == []
    assert client.polls == []


def test_push_tells_a_change_without_a_poll() -> None:
    """Of the jobs that are followed only the one it is about changes, and the wait ends."""
    client = ScriptedClient(end_at(1000))
    poller = Poller(client, {"mj": Midjourney()})  # type: ignore[arg-type]

    def push_at_first_poll(job_id: str, seconds: float) -> Any:
        poller.push(build_job("2", Status.SUCCEEDED, 100))
        poller.push(replace(build_job("1", Status.FAILED), service="ci"))
        poller.push(build_job("3", Status.SUCCEEDED, 100))
        return end_at(20)(job_id, seconds)

    client.answer = push_at_first_poll
    seen = watch(client, build_job("1"), build_job("2"), poller=poller)
    assert [(each.at, each.id, each.status) for each in seen] == [
        (15, "2", Status.SUCCEEDED), (15, "1", Status.RUNNING), (30, "1", Status.SUCCEEDED),
    ]  # fmt: skip


def test_job_that_does_not_move_is_told_as_stalled_once() -> None:
    client = ScriptedClient(end_at(50), LONG)
    seen = watch(client, poll_interval=5, stalled_after=20)
    assert [each.at for each in seen] == [5, 25, 50]


def test_wait_ends_at_its_deadline_with_the_time_that_was_waited() -> None:
    client = ScriptedClient(end_at(1000), LONG)
    [first, last] = watch(client, timeout=40, poll_interval=15)
    assert (first.at, first.error) == (15, None)
    assert isinstance(last.error, WaitTimeout)
    assert last.at == 40
    assert "after 40 s" in str(last.error)
    assert client.times == [15, 30]


def test_job_of_a_service_that_is_missing_ends_no_other_wait() -> None:
    client = ScriptedClient(end_at(15))
    seen = watch(client, replace(build_job("9"), service="gone"), build_job("1"))
    assert isinstance(seen[0].error, SettingsError)
    assert (seen[-1].id, seen[-1].status) == ("1", Status.SUCCEEDED)


# --- polls that fail --------------------------------------------


def test_failed_polls_back_off_and_end_the_wait_after_nine() -> None:
    error = TransportError("The server is away.")
    client = ScriptedClient(lambda *_: error)
    [seen] = watch(client, poll_interval=4)
    assert seen.error is error
    pauses = [round(b - a, 2) for a, b in zip(client.times, client.times[1:], strict=False)]
    assert pauses == [1.5, 2.25, 3.38, 5.06, 7.59, 11.39, 15, 15]


def test_failed_poll_waits_as_long_as_the_server_asks() -> None:
    error = TransportError("Busy.")
    error.retry_after = 100.0
    client = ScriptedClient(lambda job_id, at: error if at < 50 else end_at(0)(job_id, at))
    seen = watch(client, poll_interval=4)
    assert client.times == [4, 104]
    assert [each.error for each in seen] == [None]


def test_failures_count_only_in_a_row() -> None:
    """A poll that succeeds in between begins the count anew."""
    error = TransportError("Gone for a moment.")
    numbers = iter(range(1000))

    def answer(job_id: str, seconds: float) -> Any:
        is_failing = next(numbers) % 8
        return error if is_failing else end_at(300)(job_id, seconds)

    client = ScriptedClient(answer)
    seen = watch(client, poll_interval=4)
    assert [each.error for each in seen] == [None, None]


def test_job_is_lost_after_four_polls_and_ten_seconds_without_it() -> None:
    """It is recorded as failed, with the reason; not the poller's end of time."""
    client = ScriptedClient(lambda *_: None)
    [seen] = watch(client, poll_interval=1)
    assert client.times == [1, 2, 3.5, 5.75, 9.125, 14.188]
    assert (seen.status, seen.error) == (Status.FAILED, None)
    assert [job.reason for job in client.recorded] == [LOST_REASON]


def test_job_that_listings_show_late_is_not_lost() -> None:
    """Misses count only in a row, and one that was missed is asked for by itself."""
    listing = end_at(60)
    client = ScriptedClient(
        lambda job_id, at: None if 1 < at % 14 < 5 else listing(job_id, at), LONG
    )
    seen = watch(client, build_job("1"), build_job("2"), poll_interval=1)
    assert [each.status for each in seen][-2:] == [Status.SUCCEEDED] * 2
    assert not client.recorded
    sizes = [(at, len(ids)) for at, ids in client.polls[:4]]
    assert sizes == [(1, 2), (2, 2), (3, 1), (3, 1)]


def test_missing_bulk_endpoint_is_tried_twice() -> None:
    client = ScriptedClient(end_at(40), LONG)
    client.bulk_error = Unsupported("There is no such endpoint.")
    watch(client, build_job("1"), build_job("2"), poll_interval=15)
    assert client.polls == [
        (15, ("1", "2")), (15, ("1",)), (15, ("2",)),
        (30, ("1", "2")), (30, ("1",)), (30, ("2",)),
        (45, ("1",)), (45, ("2",)),
    ]  # fmt: skip


def test_bulk_endpoint_that_has_answered_is_not_given_up() -> None:
    """One that fails between is away, not missing."""
    client = ScriptedClient(end_at(70), LONG)
    missing = Unsupported("There is no such endpoint.")
    answer = client.answer

    def break_after_first(job_id: str, seconds: float) -> Any:
        client.bulk_error = missing if seconds < 60 else None
        return answer(job_id, seconds)

    client.answer = break_after_first
    watch(client, build_job("1"), build_job("2"), poll_interval=15)
    bulk = [at for at, ids in client.polls if len(ids) == 2]
    assert bulk == [15, 30, 45, 60, 75]


def test_refused_bulk_poll_asks_for_each_job_by_itself() -> None:
    """One of them may be why; each of the others goes on."""
    refusal = refuse(MidjourneyError("No."))
    client = ScriptedClient(
        lambda job_id, at: refusal if job_id == "2" and at < 40 else end_at(40)(job_id, at)
    )
    seen = watch(client, build_job("1"), build_job("2"), poll_interval=15)
    assert {(each.id, each.status) for each in seen if each.status.is_terminal} == {
        ("1", Status.SUCCEEDED), ("2", Status.SUCCEEDED),
    }  # fmt: skip
    assert client.polls[:3] == [(15, ("1", "2")), (15, ("1",)), (15, ("2",))]


def test_failed_bulk_poll_is_not_repeated_for_each_job() -> None:
    """A server that is away would be asked a thousand times."""
    client = ScriptedClient(end_at(15))
    client.bulk_error = TransportError("Away.")
    seen = watch(client, build_job("1"), build_job("2"), poll_interval=15)
    assert all(len(ids) == 2 for _, ids in client.polls)
    assert [type(each.error) for each in seen] == [TransportError] * 2


def test_bug_ends_the_wait_of_the_job_that_met_it_and_no_other() -> None:
    bug = ZeroDivisionError()
    client = ScriptedClient(lambda job_id, at: bug if job_id == "2" else end_at(15)(job_id, at))
    seen = watch(client, build_job("1"), build_job("2"), poll_interval=15)
    assert {(each.id, each.error) for each in seen} == {("1", None), ("2", bug)}


def test_bug_of_the_poller_itself_leaves_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    bug = ZeroDivisionError()
    client = ScriptedClient(end_at(15))

    def fail(*_: object) -> None:
        raise bug

    monkeypatch.setattr(Poller, "_expire", fail)
    seen = watch(client, build_job("1"), build_job("2"))
    assert [each.error for each in seen] == [bug, bug]


def test_not_more_than_eight_single_polls_run_at_a_time() -> None:
    """Of a bulk poll that failed, many may follow."""
    running = peak = 0
    client = ScriptedClient(end_at(15))
    client.bulk_error = Unsupported("There is no such endpoint.")
    send = client.send_once

    async def count(call: Call[Any]) -> Any:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        try:
            return await send(call)
        finally:
            running -= 1

    client.send_once = count  # type: ignore[method-assign]
    watch(client, *[build_job(str(number)) for number in range(1, 31)])
    assert peak == 8


# --- recordings -------------------------------------------------


def test_deterministic_poller_asks_for_each_job_by_itself() -> None:
    client = ScriptedClient(end_at(40), LONG)
    watch(client, build_job("1"), build_job("2"), deterministic=True)
    assert client.polls == [(at, (name,)) for at in (15, 30, 45) for name in ("1", "2")]


def test_deterministic_poller_waits_until_a_change_was_read() -> None:
    """A slow reader sees each state: nothing is polled meanwhile."""
    client = ScriptedClient(end_at(100, lambda seconds: int(seconds)))
    poller = Poller(client, {"mj": Midjourney()}, deterministic=True)  # type: ignore[arg-type]
    seen: list[int | None] = []

    async def follow_slowly() -> None:
        async for changed in poller.watch([build_job()], 600, 10):
            seen.extend(each.job.progress for each in changed)
            for _ in range(10):
                await client.sleep(3.5)

    event_loop.run(end_soon(follow_slowly()))
    assert seen == [min(int(at), 100) for at in client.times]


def test_services_are_polled_apart() -> None:
    """A bulk request has jobs of one service only, and no job that its listing cannot show."""
    client = ScriptedClient(end_at(15))
    apis = {"mj": Midjourney(), "ci": TencentCI()}
    poller = Poller(client, apis)  # type: ignore[arg-type]
    picture_job = Job("ci", "pic1", "PicProcess")
    due = [Subscription(job, START, 15) for job in (build_job("1"), picture_job, build_job("2"))]
    bulk, single = poller._split_by_request("mj", [due[0], due[2]])
    assert (bulk, single) == ([due[0], due[2]], [])
    due[2].misses = 1
    bulk, single = poller._split_by_request("mj", [due[0], due[2]])
    assert (bulk, single) == ([due[0]], [due[2]])
    assert poller._split_by_request("mj", [due[0]]) == ([], [due[0]])
