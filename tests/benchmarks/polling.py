"""Following: ten thousand tasks at a tick of one second, how often one task of 45 s is asked after,
and callbacks.

python -m tests.benchmarks.polling
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import multiprocessing
import random
import statistics
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import httpx

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.settings import load
from jupyter_mjci.errors import MjciError
from jupyter_mjci.jobs.polling import Poller, Subscription
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.midjourney.responses import parse_job
from jupyter_mjci.services.tencent_ci.api import TencentCI
from jupyter_mjci.session import Session
from tests.benchmarks.figures import Figure

TASKS, SPREAD, TICK = 10_000, 8.0, 1.0
BUTTONS = [
    {
        "customId": f"MJ::JOB::upsample::{n}::0123-4567",
        "emoji": "",
        "label": f"U{n}",
        "type": 2,
        "style": 2,
    }
    for n in range(1, 10)
]
BODY = {
    "action": "IMAGINE",
    "prompt": "a red fox in the snow --ar 3:2",
    "promptEn": "a red fox",
    "failReason": None,
    "description": "/imagine a red fox",
    "submitTime": 1,
    "startTime": 2,
    "imageUrl": "http://x/" + "a" * 200,
    "properties": {f"key{n}": "v" * 60 for n in range(9)},
    "buttons": BUTTONS,
}


def _task(number: int, done: bool, at: float) -> bytes:
    told = {
        "id": str(10**15 + number),
        "status": "SUCCESS" if done else "IN_PROGRESS",
        "progress": "100%" if done else "46%",
        "finishTime": int(at * 1000) if done else None,
        **BODY,
    }
    return json.dumps(told, separators=(",", ":")).encode()


def _serve(pipe: Connection) -> None:
    """A proxy whose tasks end evenly over some seconds; answers are cut from bytes that were made
    before.
    """
    ends: list[float] = []
    moving = [_task(number, False, 0) for number in range(TASKS)]
    done = [_task(number, True, 1) for number in range(TASKS)]
    asked = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
            body = await reader.readexactly(length)
            asked += 1
            if head.startswith(b"GET /stop"):
                pipe.send(asked)
                writer.close()
                return
            now = time.time()
            numbers = [int(one) - 10**15 for one in json.loads(body)["ids"]]
            content = (
                b"[" + b",".join(done[n] if ends[n] <= now else moving[n] for n in numbers) + b"]"
            )
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
            await writer.drain()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, limit=2**24)
        start = time.time() + 1.5
        ends.extend(
            start + SPREAD * n / TASKS for n in random.Random(1).sample(range(TASKS), TASKS)
        )
        pipe.send((server.sockets[0].getsockname()[1], ends))
        async with server:
            await server.serve_forever()

    asyncio.run(run())


def watch() -> Iterator[Figure]:
    near, far = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(far,), daemon=True)
    server.start()
    port, ends = near.recv()
    try:
        session = Session(load({"mj_url": f"http://127.0.0.1:{port}", "wait": 60}, environ={}))
        jobs = [parse_job(json.loads(_task(number, False, 0))) for number in range(TASKS)]
        began, cpu, late = time.time(), time.process_time(), []
        for job in session.batch(jobs, at_once=TASKS, poll_interval=TICK):
            assert job.status is Status.SUCCEEDED, job
            late.append(time.time() - ends[int(job.id) - 10**15])
        seconds, spent = time.time() - began, time.process_time() - cpu
        stop(session)
        requests = near.recv() - 1
        session.close()
    finally:
        server.kill()
        server.join()
    late.sort()
    p95 = late[int(len(late) * 0.95)]
    told = f"{TASKS:,} tasks, one GET per task and tick: {TASKS:,} requests"
    per_tick = requests / (seconds / TICK)
    yield Figure(
        "watch: requests a tick", f"{per_tick:.1f}", told, TASKS / per_tick, "<= 21", per_tick <= 21
    )
    share = spent / seconds
    yield Figure(
        "watch: share of a core",
        f"{share:.1%}",
        "one whole core",
        1 / share,
        "<= 8 %",
        share <= 0.08,
    )
    yield Figure(
        "watch: notice, p95", f"{p95:.2f} s", "one tick of 1 s", p95 / TICK, "<= 1.2", p95 <= 1.2
    )


def stop(session: Session) -> None:
    with contextlib.suppress(MjciError):  # it hangs up instead of answering
        event_loop.run(session.transport.get(f"{session.settings.mj_url}/stop"))


PUSHED, APART = 1000, 0.004


def push() -> Iterator[Figure]:
    """How long after a proxy has begun to tell of an ended task its follower has it. Nobody answers
    a poll here.
    """
    settings = load({"mj_url": "http://127.0.0.1:9", "wait": 60}, environ={})
    jobs = [parse_job(json.loads(_task(number, False, 0))) for number in range(PUSHED)]
    told: dict[str, float] = {}
    with Session(settings) as session, session.receive() as receiver:
        posting = threading.Thread(target=_post, args=(receiver.url, told))
        posting.start()
        late = sorted(
            time.perf_counter() - told[job.id] for job in session.batch(jobs, at_once=PUSHED)
        )
        posting.join()
    p50, p95 = late[len(late) // 2], late[int(len(late) * 0.95)]
    what = f"asked each tick of {TICK:g} s, p50 {TICK / 2:g} s"
    yield Figure("push: notice, p50", f"{p50 * 1e3:.1f} ms", what, TICK / 2 / p50, "no bar", None)
    yield Figure(
        "push: notice, p95", f"{p95 * 1e3:.1f} ms", what, TICK * 0.95 / p95, "<= 20 ms", p95 <= 0.02
    )


def _post(url: str, told: dict[str, float]) -> None:
    time.sleep(1)  # until all are followed
    with httpx.Client() as client:
        for number in range(PUSHED):
            body = _task(number, True, 1)
            told[str(10**15 + number)] = time.perf_counter()
            client.post(url, content=body)
            time.sleep(APART)


class _Still:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time


def polls() -> Iterator[Figure]:
    """The pacing itself, over tasks of a lognormal length (median 40 s) whose progress moves as the
    proxies' does.
    """
    chance, counts, delays = random.Random(5), [], []
    for _ in range(2000):
        count, delay = _followed(min(max(chance.lognormvariate(math.log(40), 0.35), 8), 200))
        counts.append(count)
        delays.append(delay)
    mean, delay = statistics.mean(counts), statistics.mean(delays)
    fixed = statistics.mean([9.5])
    what = "every 5 s: 9.5 polls at 2.5 s"
    yield Figure("one task: polls", f"{mean:.1f}", what, fixed / mean, "<= 5", mean <= 5)
    yield Figure(
        "one task: mean delay", f"{delay:.2f} s", what, 2.5 / delay, "<= 2.5 s", delay <= 2.5
    )


STEPS = (0, 15, 31, 46, 62, 78, 93)  # what proxies tell, about evenly in time


def _followed(length: float) -> tuple[int, float]:
    clock = _Still()
    began = clock.time
    poller = Poller(_Client(clock), Midjourney(), TencentCI())  # type: ignore[arg-type]
    submitted = parse_job(
        {"id": "1", "status": "SUBMITTED", "action": "IMAGINE", "submitTime": began * 1000}
    )
    one, count = Subscription(submitted, began, max_interval=math.inf), 0
    while True:
        clock.time += poller._estimate_delay(one, clock.time)
        count += 1
        past = clock.time - began
        if past >= length:
            return count, past - length
        step = STEPS[min(int(past / length * len(STEPS)), len(STEPS) - 1)]
        one.job = Job("mj", "1", "IMAGINE", Status.RUNNING, step, submitted=submitted.submitted)


class _Client:
    """What a poller estimates by: a clock, and a journal that knows how long jobs take."""

    def __init__(self, clock: _Still) -> None:
        self.clock = clock
        self.journal = self

    def durations(self, *_: str) -> list[float]:
        return [40.0] * 5


def figures() -> Iterator[Figure]:
    yield from polls()
    yield from watch()
    yield from push()


if __name__ == "__main__":
    for figure in figures():
        print(figure)
