"""A thousand signed submissions, 64 in flight, to a service that takes 50 ms for each: ours over
both ways, the official SDK with 64 threads, and one stock `httpx.AsyncClient`.

    python -m tests.benchmarks.submissions

The service is a process of its own on another core; it reads whole requests and answers always the
same bytes.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call, Response
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.settings import load
from jupyter_mjci.session import Session
from tests.benchmarks.figures import Figure, faster, in_turns, main, pin, within

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from qcloud_cos import CosConfig, CosS3Client

JOBS = 1_000
AT_ONCE = 64
LATENCY = 0.05
ROUNDS = 3
BUCKET, REGION, KEYS = "demo-1250000000", "ap-chongqing", ("AKIDexample", "k" * 32)
RULE = "imageMogr2/rotate/90"
ANSWER = (
    "<Response><JobsDetail><Code>Success</Code><Message/><JobId>c0123456789abcdef0123456789abcdef</JobId>"
    "<Tag>PicProcess</Tag><State>Submitted</State><CreationTime>2024-05-01T10:00:00+0800</CreationTime>"
    "<StartTime>-</StartTime><EndTime>-</EndTime><QueueId>p0123456789abcdef0123456789abcdef</QueueId>"
    f"<Input><BucketId>{BUCKET}</BucketId><Object>in/a.jpg</Object><Region>{REGION}</Region></Input><Operation>"
    f"<PicProcess><IsPicInfo>false</IsPicInfo><ProcessRule>{RULE}</ProcessRule></PicProcess><Output>"
    f"<Region>{REGION}</Region><Bucket>{BUCKET}</Bucket><Object>out/a.jpg</Object></Output></Operation>"
    "</JobsDetail></Response>"
).encode()


# ---------------------------------------------------------------- the service


class Service(asyncio.Protocol):
    """Answers every request, whole, signed and LATENCY later; a request without a signature
    never.
    """

    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%b" % (
        len(ANSWER),
        ANSWER,
    )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.read = b""

    def data_received(self, data: bytes) -> None:
        self.read += data
        while b"\r\n\r\n" in self.read:
            head, _, rest = self.read.partition(b"\r\n\r\n")
            length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
            size = int(length[1]) if length else 0
            if len(rest) < size or b"q-signature=" not in head:
                return
            self.read = rest[size:]
            asyncio.get_running_loop().call_later(LATENCY, self.transport.write, self.answer)


async def serve() -> None:
    pin(0)
    server = await asyncio.get_running_loop().create_server(Service, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


@contextmanager
def service() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.benchmarks.submissions", "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}"
        process.communicate()


# ---------------------------------------------------------------- ours, and a stock client


def desk(place: str, fast: bool, home: Path | None = None) -> Session:
    given = {
        "ci_secret_id": KEYS[0],
        "ci_secret_key": KEYS[1],
        "ci_bucket": BUCKET,
        "ci_region": REGION,
    }
    told = load({**given, "ci_endpoint": f"http://{place}", "at_once": AT_ONCE}, environ={})
    made = Session(told, home=home)
    made.transport.use_aiohttp = fast
    return made


async def all_of(one: Callable[[int], Any]) -> None:
    """JOBS calls, AT_ONCE at a time."""
    numbers = iter(range(JOBS))

    async def work() -> None:
        for number in numbers:
            job = await one(number)
            assert job.id.startswith("c")

    async with anyio.create_task_group() as group:
        for _ in range(AT_ONCE):
            group.start_soon(work)


def call(session: Session, number: int) -> Call[Job]:
    return session.ci.picture_job(input="in/a.jpg", output=f"out/{number}.jpg", rule=RULE)


def over(session: Session) -> None:
    """Built, signed, sent, read; neither heard nor journaled."""

    async def one(number: int) -> Job:
        made = call(session, number)
        return made.parse(await session.transport.send(made))

    event_loop.run(all_of(one))


def journaled(session: Session) -> None:
    """As a user submits: with a row in the journal before and after."""
    event_loop.run(all_of(lambda number: session.fetch(call(session, number))))


def stock(session: Session, limits: httpx.Limits) -> None:
    """The same calls, signed the same way, over one client as httpx offers it."""

    async def everything() -> None:
        async with httpx.AsyncClient(timeout=60, limits=limits) as sender:

            async def one(number: int) -> Job:
                made = call(session, number)
                response = await sender.send(session.transport.build_request(made))
                return made.parse(Response(response.status_code, response.content))

            await all_of(one)

    event_loop.run(everything())


KEPT = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
AS_IT_COMES = httpx.Limits(max_connections=100, max_keepalive_connections=20)


# ---------------------------------------------------------------- the official SDK


def sdk(place: str) -> CosS3Client:
    config = CosConfig(
        Region=REGION,
        SecretId=KEYS[0],
        SecretKey=KEYS[1],
        Scheme="http",
        Domain=place,
        PoolConnections=AT_ONCE,
        PoolMaxSize=AT_ONCE,
    )
    return CosS3Client(config)


def with_threads(official: CosS3Client) -> None:
    def one(number: int) -> None:
        output = {"Region": REGION, "Bucket": BUCKET, "Object": f"out/{number}.jpg"}
        operation = {"PicProcess": {"ProcessRule": RULE}, "Output": output}
        jobs = {"Tag": "PicProcess", "Input": {"Object": "in/a.jpg"}, "Operation": operation}
        answer = official.ci_create_media_pic_jobs(
            Bucket=BUCKET, Jobs=jobs, Lst={}, ContentType="application/xml"
        )
        assert json.dumps(answer).count("c0123456789abcdef") == 1

    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(one, range(JOBS)))


# ---------------------------------------------------------------- the figures


def processor(way: Callable[[], None]) -> float:
    """Seconds of our processor that one submission takes; waiting does not count, nor what others
    do meanwhile.
    """
    spent = []
    for _ in range(ROUNDS):
        started = time.process_time()
        way()
        spent.append((time.process_time() - started) / JOBS)
    return statistics.median(spent)


def figures() -> Iterator[Figure]:
    pin(1)
    with service() as place, tempfile.TemporaryDirectory() as folder:
        plain, fast, whole = desk(place, False), desk(place, True), desk(place, True, Path(folder))
        official = sdk(place)
        took = in_turns(
            {
                "plain": lambda: over(plain),
                "fast": lambda: over(fast),
                "journaled": lambda: journaled(whole),
                "sdk": lambda: with_threads(official),
                "stock": lambda: stock(plain, KEPT),
                "as it comes": lambda: stock(plain, AS_IT_COMES),
            },
            ROUNDS,
        )
        spent = {
            name: processor(way)
            for name, way in (
                ("plain", lambda: over(plain)),
                ("fast", lambda: over(fast)),
                ("sdk", lambda: with_threads(official)),
            )
        }
        for one in (plain, fast, whole):
            one.close()
    name = f"{JOBS:,} signed creates, {LATENCY * 1000:.0f} ms, {AT_ONCE} in flight"
    yield faster(name, took["plain"], took["sdk"], f"the SDK, {AT_ONCE} threads", 1.45, "s")
    yield faster(
        "  with the extra fast", took["fast"], took["sdk"], f"the SDK, {AT_ONCE} threads", 2, "s"
    )
    yield faster(
        "  with the extra fast, and journaled", took["journaled"], took["sdk"], "the SDK", None, "s"
    )
    floor = LATENCY * JOBS / AT_ONCE
    yield within(
        "  against the latency alone, with the extra fast",
        took["fast"],
        floor,
        "waiting",
        None,
        "s",
    )
    yield faster("  processor time of each", spent["plain"], spent["sdk"], "the SDK", None, "us")
    yield faster(
        "  processor time of each, with the extra fast",
        spent["fast"],
        spent["sdk"],
        "the SDK",
        None,
        "us",
    )
    yield faster(
        "  against stock httpx", took["plain"], took["stock"], "one client, 64 kept alive", 7, "s"
    )
    yield faster(
        "  against stock httpx, with the extra fast",
        took["fast"],
        took["stock"],
        "the same",
        7,
        "s",
    )
    yield faster(
        "  against stock httpx that keeps 20",
        took["plain"],
        took["as it comes"],
        "44 lines anew",
        None,
        "s",
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    else:
        sys.exit(main(figures))
