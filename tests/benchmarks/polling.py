"""Polling: ten thousand tasks at an interval of a second, the polls of a task of 45 s, callbacks.

python -m tests.benchmarks.polling
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import multiprocessing
import random
import sqlite3
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import httpx
import msgspec

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import MjciError
from jupyter_mjci.history.journal_rows import job_to_row
from jupyter_mjci.jobs.polling import Poller, Subscription
from jupyter_mjci.services import load_settings
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.midjourney.responses import parse_job
from jupyter_mjci.session import Session
from tests.benchmarks.figures import Figure, within

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


def _build_task_json(number: int, is_done: bool, at: float) -> bytes:
    task = {
        "id": str(10**15 + number),
        "status": "SUCCESS" if is_done else "IN_PROGRESS",
        "progress": "100%" if is_done else "46%",
        "finishTime": int(at * 1000) if is_done else None,
        **BODY,
    }
    return json.dumps(task, separators=(",", ":")).encode()


def _serve_proxy(pipe: Connection) -> None:
    """Serve a proxy whose tasks end evenly over some seconds, from bytes that are built before."""
    ends: list[float] = []
    running_tasks = [_build_task_json(number, False, 0) for number in range(TASKS)]
    done_tasks = [_build_task_json(number, True, 1) for number in range(TASKS)]
    request_count = 0
    # How many running and done tasks were sent.
    sent = [0, 0]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal request_count
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or 0)
            body = await reader.readexactly(length)
            request_count += 1
            if head.startswith(b"GET /stop"):
                pipe.send((request_count, *sent))
                writer.close()
                return
            now = time.time()
            task_ids = json.loads(body)["ids"] if body else []
            numbers = [int(task_id) - 10**15 for task_id in task_ids]
            are_done = [ends[number] <= now for number in numbers]
            sent[0] += are_done.count(False)
            sent[1] += are_done.count(True)
            tasks = [
                (done_tasks if is_done else running_tasks)[number]
                for number, is_done in zip(numbers, are_done, strict=True)
            ]
            content = b"[" + b",".join(tasks) + b"]"
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


def measure_batch() -> Iterator[Figure]:
    parent_pipe, child_pipe = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=_serve_proxy, args=(child_pipe,), daemon=True
    )
    server.start()
    port, ends = parent_pipe.recv()
    try:
        session = Session(
            load_settings({"mj_url": f"http://127.0.0.1:{port}", "wait": 60}, environ={})
        )
        jobs = [
            parse_job(json.loads(_build_task_json(number, False, 0))) for number in range(TASKS)
        ]
        # What the first request imports is no part of watching.
        _send(session, "/")
        started, cpu, delays = time.time(), time.process_time(), []
        for job in session.batch(jobs, at_once=TASKS, poll_interval=TICK):
            assert job.status is Status.SUCCEEDED, job
            delays.append(time.time() - ends[int(job.id) - 10**15])
        seconds, cpu_seconds = time.time() - started, time.process_time() - cpu
        with contextlib.suppress(MjciError):  # the server closes the connection
            _send(session, "/stop")
        requests, running, done = parent_pipe.recv()
        requests -= 2
        session.close()
    finally:
        server.kill()
        server.join()
    delays.sort()
    p95 = delays[int(len(delays) * 0.95)]
    description = f"{TASKS:,} tasks, one GET per task and tick: {TASKS:,} requests"
    per_tick = requests / (seconds / TICK)
    yield Figure(
        "watch: requests a tick",
        f"{per_tick:.1f}",
        description,
        TASKS / per_tick,
        "<= 21",
        per_tick <= 21,
    )
    share = cpu_seconds / seconds
    yield Figure(
        "watch: share of a core",
        f"{share:.1%}",
        "one whole core",
        1 / share,
        "<= 8 %",
        share <= 0.08,
    )
    bare_seconds = measure_bare_work(running, done)
    yield within(
        "watch: processor time",
        cpu_seconds,
        bare_seconds,
        "a bare decode of the same bytes and upsert of the same rows",
        2,
        "s",
    )
    yield Figure(
        "watch: notice, p95", f"{p95:.2f} s", "one tick of 1 s", p95 / TICK, "<= 1.2", p95 <= 1.2
    )


def measure_bare_work(running: int, done: int) -> float:
    """Return the processor seconds that decoding the tasks that were sent takes, and writing TASKS
    rows of the same columns into a table.
    """
    batch = 1000
    running_body = b"[" + b",".join([_build_task_json(1, False, 0)] * batch) + b"]"
    done_body = b"[" + b",".join([_build_task_json(1, True, 1)] * batch) + b"]"
    jobs = [parse_job(json.loads(_build_task_json(number, True, 1))) for number in range(TASKS)]
    rows = [job_to_row(job, "http://p", 0, number) for number, job in enumerate(jobs)]
    names = list(rows[0])
    values = ", ".join(f":{name}" for name in names)
    with tempfile.TemporaryDirectory() as folder, sqlite3.connect(f"{folder}/bare.db") as db:
        db.execute(f"CREATE TABLE jobs ({', '.join(names)}, PRIMARY KEY (service, origin, id))")
        started = time.process_time()
        for body, count in ((running_body, running), (done_body, done)):
            for _ in range(count // batch):
                msgspec.json.decode(body)
        db.executemany(f"INSERT OR REPLACE INTO jobs VALUES ({values})", rows)
        db.commit()
        return time.process_time() - started


def _send(session: Session, path: str) -> None:
    event_loop.run(session.client.transport.get(f"{session.settings.mj_url}{path}"))


PUSHED_TASKS, PUSH_INTERVAL = 1000, 0.004


def measure_webhooks() -> Iterator[Figure]:
    """How long after a proxy has begun to tell of an ended task its follower has it. Nobody answers
    a poll here.
    """
    settings = load_settings({"mj_url": "http://127.0.0.1:9", "wait": 60}, environ={})
    jobs = [
        parse_job(json.loads(_build_task_json(number, False, 0))) for number in range(PUSHED_TASKS)
    ]
    sent_at: dict[str, float] = {}
    with Session(settings) as session, session.receive() as receiver:
        posting = threading.Thread(target=_post, args=(receiver.url, sent_at))
        posting.start()
        delays = sorted(
            time.perf_counter() - sent_at[job.id]
            for job in session.batch(jobs, at_once=PUSHED_TASKS)
        )
        posting.join()
    p50, p95 = delays[len(delays) // 2], delays[int(len(delays) * 0.95)]
    reference = f"asked each tick of {TICK:g} s, p50 {TICK / 2:g} s"
    yield Figure(
        "push: notice, p50", f"{p50 * 1e3:.1f} ms", reference, TICK / 2 / p50, "no bar", None
    )
    yield Figure(
        "push: notice, p95",
        f"{p95 * 1e3:.1f} ms",
        reference,
        TICK * 0.95 / p95,
        "<= 20 ms",
        p95 <= 0.02,
    )


def _post(url: str, sent_at: dict[str, float]) -> None:
    time.sleep(1)  # until all are subscribed
    with httpx.Client() as client:
        for number in range(PUSHED_TASKS):
            body = _build_task_json(number, True, 1)
            sent_at[str(10**15 + number)] = time.perf_counter()
            client.post(url, content=body)
            time.sleep(PUSH_INTERVAL)


class ManualClock:
    """A clock that stands still until `time` is set."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time


def measure_pacing() -> Iterator[Figure]:
    """The pacing itself, over tasks of a lognormal length (median 40 s) whose progress moves as the
    proxies' does.
    """
    rng, counts, delays = random.Random(5), [], []
    for _ in range(2000):
        count, delay = _simulate_polling(min(max(rng.lognormvariate(math.log(40), 0.35), 8), 200))
        counts.append(count)
        delays.append(delay)
    mean, delay = statistics.mean(counts), statistics.mean(delays)
    fixed_interval_polls = statistics.mean([9.5])
    reference = "every 5 s: 9.5 polls at 2.5 s"
    yield Figure(
        "one task: polls", f"{mean:.1f}", reference, fixed_interval_polls / mean, "<= 5", mean <= 5
    )
    yield Figure(
        "one task: mean delay", f"{delay:.2f} s", reference, 2.5 / delay, "<= 2.5 s", delay <= 2.5
    )


STEPS = (0, 15, 31, 46, 62, 78, 93)  # percents that proxies report, about evenly in time


def _simulate_polling(length: float) -> tuple[int, float]:
    clock = ManualClock()
    started = clock.time
    poller = Poller(StubClient(clock), {"mj": Midjourney()})  # type: ignore[arg-type,dict-item]
    submitted = parse_job(
        {"id": "1", "status": "SUBMITTED", "action": "IMAGINE", "submitTime": started * 1000}
    )
    subscription, count = Subscription(submitted, started, max_interval=math.inf), 0
    while True:
        clock.time += poller._estimate_delay(subscription, clock.time)
        count += 1
        elapsed = clock.time - started
        if elapsed >= length:
            return count, elapsed - length
        step = STEPS[min(int(elapsed / length * len(STEPS)), len(STEPS) - 1)]
        subscription.job = Job(
            "mj", "1", "IMAGINE", Status.RUNNING, step, submitted=submitted.submitted
        )


class StubClient:
    """What a poller estimates by: a clock, and a journal that knows how long jobs take."""

    def __init__(self, clock: Any) -> None:
        self.clock = clock
        self.journal = self

    def durations(self, *_: str) -> list[float]:
        return [40.0] * 5


def figures() -> Iterator[Figure]:
    yield from measure_pacing()
    yield from measure_batch()
    yield from measure_webhooks()


if __name__ == "__main__":
    for figure in figures():
        print(figure)
