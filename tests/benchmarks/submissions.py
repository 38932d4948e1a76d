"""A thousand signed submissions, 64 in flight, to a service that takes 50 ms for each.

Ours over httpx and over aiohttp, the official SDK with 64 threads, and a stock `httpx.AsyncClient`.

    python -m tests.benchmarks.submissions

The service is a process of its own on another core; it reads whole requests and always returns the
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
from jupyter_mjci.services import load_settings
from jupyter_mjci.session import Session
from tests.benchmarks.figures import Figure, faster, in_turns, main, pin, within

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from qcloud_cos import CosConfig, CosS3Client

JOBS = 1_000
MAX_IN_FLIGHT = 64
LATENCY = 0.05
ROUNDS = 3
BUCKET, REGION, KEYS = "demo-1250000000", "ap-chongqing", ("AKIDexample", "k" * 32)
RULE = "imageMogr2/rotate/90"
RESPONSE = (
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
    """Answers every signed request LATENCY seconds later, and a request without signature never."""

    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%b" % (
        len(RESPONSE),
        RESPONSE,
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


def build_session(address: str, use_aiohttp: bool, home: Path | None = None) -> Session:
    settings = {
        "ci_secret_id": KEYS[0],
        "ci_secret_key": KEYS[1],
        "ci_bucket": BUCKET,
        "ci_region": REGION,
        "ci_endpoint": f"http://{address}",
        "at_once": MAX_IN_FLIGHT,
    }
    session = Session(load_settings(settings, environ={}), home=home)
    session.client.transport.use_aiohttp = use_aiohttp
    return session


async def run_all(submit: Callable[[int], Any]) -> None:
    """Run JOBS submissions, MAX_IN_FLIGHT at a time."""
    numbers = iter(range(JOBS))

    async def work() -> None:
        for number in numbers:
            job = await submit(number)
            assert job.id.startswith("c")

    async with anyio.create_task_group() as group:
        for _ in range(MAX_IN_FLIGHT):
            group.start_soon(work)


def call(session: Session, number: int) -> Call[Job]:
    return session.ci.picture_job(input="in/a.jpg", output=f"out/{number}.jpg", rule=RULE)


def send_only(session: Session) -> None:
    """Build, sign, send and parse, without listeners and journal."""

    async def submit(number: int) -> Job:
        submission = call(session, number)
        return submission.parse(await session.client.transport.send(submission))

    event_loop.run(run_all(submit))


def submit_journaled(session: Session) -> None:
    """Submit as a user does: with a row in the journal before and after."""
    event_loop.run(run_all(lambda number: session.fetch(call(session, number))))


def run_stock_client(session: Session, limits: httpx.Limits) -> None:
    """Send the same calls, signed the same way, over an unmodified httpx client."""

    async def run() -> None:
        async with httpx.AsyncClient(timeout=60, limits=limits) as sender:

            async def submit(number: int) -> Job:
                submission = call(session, number)
                response = await sender.send(session.client.transport.build_request(submission))
                return submission.parse(Response(response.status_code, response.content))

            await run_all(submit)

    event_loop.run(run())


ALL_KEPT_ALIVE = httpx.Limits(
    max_connections=MAX_IN_FLIGHT, max_keepalive_connections=MAX_IN_FLIGHT
)
DEFAULT_LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20)


# ---------------------------------------------------------------- the official SDK


def build_sdk_client(address: str) -> CosS3Client:
    config = CosConfig(
        Region=REGION,
        SecretId=KEYS[0],
        SecretKey=KEYS[1],
        Scheme="http",
        Domain=address,
        PoolConnections=MAX_IN_FLIGHT,
        PoolMaxSize=MAX_IN_FLIGHT,
    )
    return CosS3Client(config)


def run_sdk_threads(sdk_client: CosS3Client) -> None:
    def submit(number: int) -> None:
        output = {"Region": REGION, "Bucket": BUCKET, "Object": f"out/{number}.jpg"}
        operation = {"PicProcess": {"ProcessRule": RULE}, "Output": output}
        jobs = {"Tag": "PicProcess", "Input": {"Object": "in/a.jpg"}, "Operation": operation}
        answer = sdk_client.ci_create_media_pic_jobs(
            Bucket=BUCKET, Jobs=jobs, Lst={}, ContentType="application/xml"
        )
        assert json.dumps(answer).count("c0123456789abcdef") == 1

    with ThreadPoolExecutor(MAX_IN_FLIGHT) as threads:
        list(threads.map(submit, range(JOBS)))


# ---------------------------------------------------------------- the figures


def measure_cpu_time(run: Callable[[], None]) -> float:
    """Return the processor seconds of this process per submission; waiting does not count."""
    cpu_times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        run()
        cpu_times.append((time.process_time() - started) / JOBS)
    return statistics.median(cpu_times)


def figures() -> Iterator[Figure]:
    pin(1)
    with service() as address, tempfile.TemporaryDirectory() as folder:
        httpx_session = build_session(address, False)
        aiohttp_session = build_session(address, True)
        journaling_session = build_session(address, True, Path(folder))
        sdk_client = build_sdk_client(address)
        elapsed = in_turns(
            {
                "plain": lambda: send_only(httpx_session),
                "fast": lambda: send_only(aiohttp_session),
                "journaled": lambda: submit_journaled(journaling_session),
                "sdk": lambda: run_sdk_threads(sdk_client),
                "stock": lambda: run_stock_client(httpx_session, ALL_KEPT_ALIVE),
                "as it comes": lambda: run_stock_client(httpx_session, DEFAULT_LIMITS),
            },
            ROUNDS,
        )
        cpu_times = {
            name: measure_cpu_time(run)
            for name, run in (
                ("plain", lambda: send_only(httpx_session)),
                ("fast", lambda: send_only(aiohttp_session)),
                ("journaled", lambda: submit_journaled(journaling_session)),
                ("sdk", lambda: run_sdk_threads(sdk_client)),
            )
        }
        for session in (httpx_session, aiohttp_session, journaling_session):
            session.close()
    name = f"{JOBS:,} signed creates, {LATENCY * 1000:.0f} ms, {MAX_IN_FLIGHT} in flight"
    yield faster(
        name, elapsed["plain"], elapsed["sdk"], f"the SDK, {MAX_IN_FLIGHT} threads", 1.45, "s"
    )
    yield faster(
        "  with the extra fast",
        elapsed["fast"],
        elapsed["sdk"],
        f"the SDK, {MAX_IN_FLIGHT} threads",
        2,
        "s",
    )
    yield faster(
        "  with the extra fast, and journaled",
        elapsed["journaled"],
        elapsed["sdk"],
        "the SDK",
        None,
        "s",
    )
    floor = LATENCY * JOBS / MAX_IN_FLIGHT
    yield within(
        "  against the latency alone, with the extra fast",
        elapsed["fast"],
        floor,
        "waiting",
        None,
        "s",
    )
    yield faster(
        "  processor time of each", cpu_times["plain"], cpu_times["sdk"], "the SDK", None, "us"
    )
    yield faster(
        "  processor time of each, with the extra fast",
        cpu_times["fast"],
        cpu_times["sdk"],
        "the SDK",
        None,
        "us",
    )
    yield within(
        "  processor time of each, with the extra fast, and journaled",
        cpu_times["journaled"],
        cpu_times["fast"],
        "without the journal",
        None,
        "us",
    )
    yield faster(
        "  against stock httpx",
        elapsed["plain"],
        elapsed["stock"],
        "one client, 64 kept alive",
        7,
        "s",
    )
    yield faster(
        "  against stock httpx, with the extra fast",
        elapsed["fast"],
        elapsed["stock"],
        "the same",
        7,
        "s",
    )
    yield faster(
        "  against stock httpx that keeps 20",
        elapsed["plain"],
        elapsed["as it comes"],
        "44 lines anew",
        None,
        "s",
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    else:
        sys.exit(main(figures))
