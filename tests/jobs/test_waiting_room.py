"""Submissions to a service that takes them only now and then, in virtual time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Status
from jupyter_mjci.errors import InvalidRequest, MjciError
from jupyter_mjci.jobs.waiting_room import (
    EASING,
    FORGET_AFTER,
    MAX_INTERVAL,
    PAUSE,
    WaitingRoom,
)
from jupyter_mjci.services import load_settings
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.session import Session
from tests.virtual_clock import VirtualClock

Refuse = Callable[[], httpx.Response]


class SlowProxy:
    """A proxy that takes one submission each `interval` seconds and refuses the rest.

    The tasks whose prompt is in `failures` fail as often as it says, for the reason given.
    """

    def __init__(self, clock: VirtualClock, interval: float, refuse: Refuse) -> None:
        self.clock = clock
        self.interval = interval
        self.refuse = refuse
        self.open_at = 0.0
        self.submissions = 0
        self.tasks: dict[str, dict[str, Any]] = {}
        self.failures: dict[str, list[str]] = {}

    def handle(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/mj/submit/imagine":
            return self.submit(json.loads(request.content))
        if request.url.path.endswith("/fetch"):
            return httpx.Response(200, json=self.tasks[request.url.path.split("/")[3]])
        if request.url.path == "/mj/task/list":
            return httpx.Response(200, json=list(self.tasks.values()))
        return httpx.Response(404)

    def submit(self, body: dict[str, Any]) -> httpx.Response:
        self.submissions += 1
        if self.clock.now() < self.open_at:
            return self.refuse()
        self.open_at = self.clock.now() + self.interval
        task_id = str(1_700_000_000_000_000 + len(self.tasks))
        reasons = self.failures.get(body["prompt"], [])
        end = {"status": "FAILURE", "failReason": reasons.pop(0)} if reasons else {}
        self.tasks[task_id] = {"id": task_id, "status": "SUCCESS", **body, **end}
        return httpx.Response(200, json={"code": 1, "result": task_id})

    def get_retry_after(self) -> str:
        return str(int(self.open_at - self.clock.now()) + 1)


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def connect(proxy: SlowProxy, clock: VirtualClock) -> Session:
    settings = load_settings({"mj_url": "http://proxy", "wait": 900}, environ={})
    return Session(settings, clock=clock, transport=httpx.MockTransport(proxy.handle))


REFUSALS = {
    "429 with nothing": httpx.Response(429),
    "429 page": httpx.Response(429, html="<html><title>Too Many Requests</title></html>"),
    "queue full": httpx.Response(200, json={"code": 23, "description": "队列已满"}),
    "no account": httpx.Response(200, json={"code": 3, "description": "可用的账号实例不存在"}),
    "relay": httpx.Response(429, json={"error": {"code": "rate_limit_exceeded", "message": "x"}}),
    "503 with Retry-After": httpx.Response(503, headers={"retry-after": "3"}),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_batch_waits_alike_in_every_waiting_room(clock: VirtualClock, name: str) -> None:
    """One submission each eleven seconds: all four are made, as with a full queue."""
    proxy = SlowProxy(clock, 11.0, lambda: REFUSALS[name])
    with connect(proxy, clock) as session:
        done = session.batch([session.mj.imagine(f"fox {number}") for number in range(4)]).run()
    assert [job.status for job in done] == [Status.SUCCEEDED] * 4
    assert len(proxy.tasks) == 4


def test_batch_learns_the_pace_of_the_service(clock: VirtualClock) -> None:
    """Of 40 submissions few are refused, once it is known how many the service takes."""
    proxy = SlowProxy(clock, 11.0, lambda: httpx.Response(429))
    started_at = clock.now()
    with connect(proxy, clock) as session:
        calls = [session.mj.imagine(f"fox {number}") for number in range(40)]
        done = session.batch(calls).run()
    assert [job.status for job in done] == [Status.SUCCEEDED] * 40
    assert proxy.submissions <= 3 * 40
    assert clock.now() - started_at < 1.5 * 11 * 40


def test_retry_after_is_waited_for(clock: VirtualClock) -> None:
    proxy = SlowProxy(clock, 50.0, lambda: httpx.Response(429))
    proxy.refuse = lambda: httpx.Response(429, headers={"retry-after": proxy.get_retry_after()})
    with connect(proxy, clock) as session:
        done = session.batch([session.mj.imagine(f"fox {number}") for number in range(3)]).run()
    assert [job.status for job in done] == [Status.SUCCEEDED] * 3
    assert proxy.submissions <= 3 + 2 + 1


# --- the pace -------------------------------------------------------------------------------------


async def measure_wait(room: WaitingRoom, clock: VirtualClock) -> float:
    started_at = clock.now()
    await room.wait()
    return clock.now() - started_at


@pytest.mark.parametrize(
    ("retry_after", "seconds"), [(None, PAUSE), (7.0, 7.0), (0.0, 0.0), (3600.0, MAX_INTERVAL)]
)
def test_room_is_closed_for_as_long_as_the_service_says(
    clock: VirtualClock, retry_after: float | None, seconds: float
) -> None:
    room = WaitingRoom(clock)
    assert event_loop.run(measure_wait(room, clock)) == 0
    room.record_refusal(retry_after)
    assert event_loop.run(measure_wait(room, clock)) == seconds
    # Who comes next follows at the pace that is kept after a refusal.
    assert event_loop.run(measure_wait(room, clock)) == PAUSE


def test_later_refusal_never_opens_the_room_earlier(clock: VirtualClock) -> None:
    room = WaitingRoom(clock)
    room.record_refusal(30.0)
    room.record_refusal(1.0)
    assert event_loop.run(measure_wait(room, clock)) == 30.0


def test_pace_is_the_time_between_acceptances_with_a_refusal_between_them(
    clock: VirtualClock,
) -> None:
    room = WaitingRoom(clock)
    room.record_acceptance()
    clock.time += 3
    room.record_refusal(None)
    clock.time += 5
    room.record_acceptance()
    assert room.interval == 8.0
    # The next one waits for it, from the acceptance on.
    assert event_loop.run(measure_wait(room, clock)) == 8
    room.record_acceptance()
    assert room.interval == pytest.approx(EASING * 8.0)
    clock.time += 1
    room.record_refusal(None)
    clock.time += 100
    room.record_acceptance()
    assert room.interval == MAX_INTERVAL


def test_first_acceptance_tells_no_pace(clock: VirtualClock) -> None:
    """Only from the second one on there is a time between two."""
    room = WaitingRoom(clock)
    room.record_refusal(None)
    room.record_acceptance()
    assert room.interval == PAUSE


def test_refusals_are_forgotten(clock: VirtualClock) -> None:
    room = WaitingRoom(clock)
    room.record_refusal(None)
    clock.time += FORGET_AFTER - 1
    assert room.is_crowded
    clock.time += 1
    assert not room.is_crowded
    assert event_loop.run(measure_wait(room, clock)) == 0


def test_submission_that_was_made_though_refused_is_found(clock: VirtualClock) -> None:
    """Some gateways say "busy" of what they have forwarded."""
    proxy = SlowProxy(clock, 0.0, lambda: httpx.Response(429))

    def forward_and_refuse(request: httpx.Request) -> httpx.Response:
        response = proxy.handle(request)
        return httpx.Response(429) if request.method == "POST" else response

    settings = load_settings({"mj_url": "http://proxy", "wait": 900}, environ={})
    transport = httpx.MockTransport(forward_and_refuse)
    with Session(settings, clock=clock, transport=transport) as session:
        job = session.mj.imagine("a fox").run()
    assert [job.id] == list(proxy.tasks)
    assert proxy.submissions == 1


@pytest.fixture
def proxy(clock: VirtualClock) -> SlowProxy:
    return SlowProxy(clock, 0.0, lambda: httpx.Response(429))


RETRIES = [
    ("timeout", ["timeout: 60 s"], 1, Status.SUCCEEDED, 2),
    ("twice", ["upstream timeout", "系统繁忙"], 2, Status.SUCCEEDED, 3),
    ("too often", ["timeout"] * 5, 2, Status.FAILED, 3),
    ("not asked for", ["timeout"], 0, Status.FAILED, 1),
    ("banned", ["Banned prompt detected"], 3, Status.FAILED, 1),
    ("no quota", ["余额不足，请稍后"], 3, Status.FAILED, 1),
]


@pytest.mark.parametrize(
    ("name", "reasons", "retry", "status", "submissions"),
    RETRIES,
    ids=[case[0] for case in RETRIES],
)
def test_failed_jobs_are_submitted_again_for_reasons_that_may_pass(
    proxy: SlowProxy,
    clock: VirtualClock,
    name: str,
    reasons: list[str],
    retry: int,
    status: Status,
    submissions: int,
) -> None:
    proxy.failures["a fox"] = list(reasons)
    with connect(proxy, clock) as session:
        calls = [session.mj.imagine("a fox"), session.mj.imagine("a wolf")]
        updates = session.batch(calls, retry=retry).updates().run()
    done = {update.index: update.job for update in updates if update.done}
    assert (done[0].status, done[1].status) == (status, Status.SUCCEEDED)
    assert proxy.submissions == submissions + 1
    assert sum(update.done for update in updates) == 2


def test_submission_of_unknown_outcome_is_never_submitted_again(clock: VirtualClock) -> None:
    proxy = SlowProxy(clock, 1e9, lambda: httpx.Response(504, html="<title>Time-out</title>"))
    proxy.open_at = clock.now() + 1e9
    with connect(proxy, clock) as session:
        job = session.batch([session.mj.imagine("a fox", state="mine")], retry=5).run()[0]
    assert job.status is Status.FAILED
    assert proxy.submissions == 1


def test_calls_are_hashable_and_equal_calls_hash_alike() -> None:
    calls = {Midjourney().imagine("a fox"), Midjourney().imagine("a fox"), Midjourney().tasks()}
    assert len(calls) == 2


def test_ids_are_text_and_whole_numbers_are_taken(proxy: SlowProxy, clock: VirtualClock) -> None:
    np = pytest.importorskip("numpy")
    with connect(proxy, clock) as session:
        job = session.mj.imagine("a fox").run()
        for task_id in (job.id, f" {job.id}\n", int(job.id), np.int64(job.id)):
            assert session.mj.task(task_id).run().id == job.id
            assert session.follow(task_id).run().id == job.id
            assert session.describe(task_id).path.split("/")[3] == job.id
        for task_id in (float(job.id), np.float64(job.id), 1.5, None, []):
            with pytest.raises(InvalidRequest, match="not a valid"):
                session.follow(task_id)
        with pytest.raises(MjciError, match="float"):
            session.mj.task(float(job.id))
