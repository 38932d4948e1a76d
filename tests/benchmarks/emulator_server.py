"""How much the sandbox's loopback door carries, on one core.

    python -m tests.benchmarks.emulator_server

A server process stays on one core and a light client on another: blocking sockets, a few of them
kept alive, no HTTP library. Every line says ours, the other, the ratio, the bar.
"""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

ALIVE = 10_000
FINISHED = 100_000
JOBS = 10_000
CONNECTIONS = 8
ROUNDS = 3
SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `good` tells whether ours keeps to the bar."""

    name: str
    ours: str
    other: str
    ratio: float
    bar: str
    good: bool

    def __str__(self) -> str:
        verdict = "ok" if self.good else "MISSED"
        return f"{self.name:<58} {self.ours:>14} {self.other:>26} {self.ratio:>8.2f}x  {self.bar:<22} {verdict}"


# ---------------------------------------------------------------- the server's process


def pin(core: int) -> None:
    """Stay on one core, where the system can do that and has as many."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[core % len(cores)]})


def imagine(sandbox: Any, number: int) -> str:
    """Submit one task as a client would, without the network."""
    from jupyter_mjci.emulator.http import Request

    body = json.dumps(
        {"prompt": f"a lighthouse at dusk, number {number} --ar 16:9", "state": f"n{number}"}
    ).encode()
    headers = {"mj-api-secret": sandbox.mj_secret, "content-type": "application/json"}
    answer = sandbox.mj.handle(
        Request("POST", "mj.sandbox.localhost", "/mj/submit/imagine", "", headers, body)
    )
    said = json.loads(answer.body)
    assert said["code"] == 1, said
    return str(said["result"])


def filled(tasks: int, clock: Any) -> tuple[Any, list[str]]:
    """A sandbox with so many tasks, all running."""
    from jupyter_mjci.emulator.app import Sandbox

    sandbox = Sandbox(
        clock=clock, mj_options={"max_running": tasks, "max_waiting": tasks, "failure_rate": 0.0}
    )
    return sandbox, [imagine(sandbox, number) for number in range(tasks)]


async def canned(scope: Any, receive: Any, send: Any) -> None:
    """What the door alone could do: the same bytes, and no service behind it."""
    await receive()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(canned.body)).encode()),
    ]  # type: ignore[attr-defined]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": canned.body})  # type: ignore[attr-defined]


def serve_tasks() -> None:
    """Serve ten thousand tasks that age under way, and next to them the same bytes canned."""
    from jupyter_mjci.emulator.clock import ScaledClock
    from jupyter_mjci.emulator.server import LoopbackServer

    pin(0)
    sandbox, ids = filled(ALIVE, ScaledClock(0.5))
    door = sandbox.serve()
    url, secret = f"/mj/task/{ids[0]}/fetch", sandbox.mj_secret
    canned.body = request_once(door.port, wire("GET", url, {"mj-api-secret": secret}))  # type: ignore[attr-defined]
    sandbox.app, app = canned, sandbox.app
    plain = LoopbackServer(sandbox)
    sandbox.app = app
    print(
        json.dumps({"port": door.port, "canned": plain.port, "secret": secret, "ids": ids}),
        flush=True,
    )
    sys.stdin.read()
    plain.close()
    door.close()


@contextmanager
def server() -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.benchmarks.emulator_server", "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.communicate()


# ---------------------------------------------------------------- a light client


def wire(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: 127.0.0.1",
        *(f"{name}: {text}" for name, text in headers.items()),
    ]
    return ("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])).encode() + body


def read_answer(line: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += line.recv(262_144)
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    assert head.startswith(b"HTTP/1.1 200"), head
    assert length is not None
    while len(body) < int(length[1]):
        body += line.recv(262_144)
    return body


def request_once(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as line:
        line.sendall(request)
        return read_answer(line)


def rate(port: int, requests: list[bytes], seconds: float) -> float:
    """Answers a second over a few connections that are kept alive."""
    lines = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for at, line in enumerate(lines):
            line.sendall(requests[(done + at) % len(requests)])
        for line in lines:
            read_answer(line)
        done += len(lines)
    took = time.perf_counter() - started
    for line in lines:
        line.close()
    return done / took


# ---------------------------------------------------------------- the figures


def fetches() -> Iterator[Figure]:
    with server() as told:
        headers = {"mj-api-secret": told["secret"]}
        requests = [
            wire("GET", f"/mj/task/{task}/fetch", headers) for task in told["ids"][:: ALIVE // 1000]
        ]
        pairs = [
            (rate(told["port"], requests, SECONDS), rate(told["canned"], requests, SECONDS))
            for _ in range(ROUNDS)
        ]
        ours, other = (statistics.median(column) for column in zip(*pairs, strict=True))
        name = f"task fetches a second, {ALIVE:,} tasks alive"
        yield Figure(
            name,
            f"{ours:,.0f}/s",
            f"canned bytes {other:,.0f}/s",
            ours / other,
            ">= 1,000/s",
            ours >= 1000,
        )
        by_ids = [many(told["ids"][at : at + 500], headers) for at in range(0, ALIVE, 500)]
        batched = rate(told["port"], by_ids, SECONDS) * 500
        name = "tasks a second, asked 500 at a time"
        yield Figure(
            name,
            f"{batched:,.0f}/s",
            f"one by one {ours:,.0f}/s",
            batched / ours,
            ">= one by one",
            batched >= ours,
        )


def many(ids: list[str], headers: dict[str, str]) -> bytes:
    body = json.dumps({"ids": ids}).encode()
    return wire(
        "POST", "/mj/task/list-by-condition", {**headers, "Content-Type": "application/json"}, body
    )


def listing() -> Iterator[Figure]:
    """Page by page through all jobs: the time per job may not grow with their number."""
    small, large = (best(lambda n=n: paged(n)) for n in (JOBS // 10, JOBS))  # type: ignore[misc]
    growth = (large / JOBS) / (small / (JOBS // 10))
    ours, other = (
        f"{large / JOBS * 1e6:.0f} us/job",
        f"{JOBS // 10:,}: {small / (JOBS // 10) * 1e6:.0f} us/job",
    )
    yield Figure(
        f"listing {JOBS:,} jobs in pages of 100",
        ours,
        other,
        growth,
        "<= 1.5x (linear)",
        growth <= 1.5,
    )


def best(measure: Callable[[], float]) -> float:
    return min(measure() for _ in range(ROUNDS))


def paged(jobs: int) -> float:
    """Seconds to list so many jobs, page by page, over HTTP."""
    from jupyter_mjci.emulator.app import Sandbox
    from jupyter_mjci.emulator.clock import VirtualClock

    with (
        Sandbox(clock=VirtualClock(), ci_options={"wall_clock": None}) as sandbox,
        sandbox.serve() as door,
    ):
        create(sandbox, jobs)
        seen, token = 0, ""
        with socket.create_connection(("127.0.0.1", door.port)) as line:
            started = time.perf_counter()
            while True:
                line.sendall(
                    signed(
                        sandbox,
                        "GET",
                        "/jobs",
                        {"tag": "PicProcess", "size": "100", "nextToken": token},
                    )
                )
                page = read_answer(line).decode()
                seen += page.count("<JobId>")
                found = re.search(r"<NextToken>([^<]+)</NextToken>", page)
                if not found:
                    break
                token = found[1]
            took = time.perf_counter() - started
    assert seen == jobs, (seen, jobs)
    return took


def create(sandbox: Any, jobs: int) -> None:
    """So many jobs, submitted as a client would, without the network."""
    from jupyter_mjci.emulator.http import Request

    key = next(iter(sandbox.ci.store.buckets[sandbox.bucket].objects))
    output = f"<Region>{sandbox.region}</Region><Bucket>{sandbox.bucket}</Bucket><Object>o</Object>"
    rule = "<PicProcess><ProcessRule>imageInfo</ProcessRule></PicProcess>"
    operation = f"<Operation>{rule}<Output>{output}</Output></Operation>"
    body = (
        f"<Request><Tag>PicProcess</Tag><Input><Object>{key}</Object></Input>{operation}</Request>"
    )
    host, authorization = authorized(sandbox, "POST", "/jobs", {})
    headers = {"host": host, "authorization": authorization, "content-type": "application/xml"}
    request = Request("POST", host, "/jobs", "", headers, body.encode())
    for _ in range(jobs):
        answer = sandbox.ci.handle(request)
        assert answer.status == 200, answer.body


def authorized(sandbox: Any, method: str, path: str, params: dict[str, str]) -> tuple[str, str]:
    from jupyter_mjci.services.tencent_ci.signing import sign

    host, now = f"{sandbox.bucket}.ci.{sandbox.region}.myqcloud.com", int(sandbox.clock.now())
    keys = {"secret_id": sandbox.secret_id, "secret_key": sandbox.secret_key}
    return host, sign(
        method, path, params=params, headers={"host": host}, key_time=f"{now};{now + 3600}", **keys
    )


def signed(sandbox: Any, method: str, path: str, params: dict[str, str]) -> bytes:
    host, authorization = authorized(sandbox, method, path, params)
    query = "&".join(f"{name}={value}" for name, value in params.items())
    return f"{method} {path}?{query} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\n\r\n".encode()


def memory() -> Iterator[Figure]:
    """What a hundred thousand finished tasks take, in a process of their own."""
    command = [sys.executable, "-m", "tests.benchmarks.emulator_server", "fill"]
    told = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    ours, other = told["grown"] / 1e6, told["answers"] / 1e6
    name = f"memory for {FINISHED:,} finished tasks"
    yield Figure(
        name, f"{ours:.0f} MB", f"their JSON {other:.0f} MB", ours / other, "< 500 MB", ours < 500
    )


def fill() -> None:
    """Finish a hundred thousand tasks and say what they weigh, at the peak."""
    from jupyter_mjci.emulator.clock import VirtualClock
    from jupyter_mjci.emulator.http import Request

    filled(10, VirtualClock())
    before = resident()
    clock = VirtualClock()
    sandbox, ids = filled(FINISHED, clock)
    clock.advance(86_400)
    sandbox.mj.advance()
    assert sandbox.next_event() is None
    headers = {"mj-api-secret": sandbox.mj_secret}
    one = sandbox.mj.handle(
        Request("GET", "mj.sandbox.localhost", f"/mj/task/{ids[-1]}/fetch", "", headers)
    ).body
    assert json.loads(one)["status"] == "SUCCESS", one
    gc.collect()
    print(json.dumps({"grown": resident() - before, "answers": len(one) * FINISHED}))


def resident() -> int:
    """The most memory this process has ever held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def figures() -> Iterator[Figure]:
    """All lines, in order."""
    pin(1)
    yield from fetches()
    yield from listing()
    yield from memory()


def main(argv: list[str]) -> int:
    roles: dict[str, Callable[[], None]] = {"serve": serve_tasks, "fill": fill}
    if argv:
        roles[argv[0]]()
        return 0
    good = True
    for figure in figures():
        print(figure, flush=True)
        good &= figure.good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
