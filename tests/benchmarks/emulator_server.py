"""How much the sandbox's loopback server handles, on one core.

    python -m tests.benchmarks.emulator_server

The server's process stays on one core and a light client on another: a few blocking sockets, kept
alive, no HTTP library. Every line has our figure, the reference, the ratio and the bar.
"""

from __future__ import annotations

import base64
import gc
import hashlib
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
from unittest import mock
from urllib.parse import quote

ALIVE_TASKS = 10_000
FINISHED_TASKS = 100_000
JOBS = 10_000
OBJECTS = 100_000
UPLOAD_BYTES = 10_000_000
CONNECTIONS = 8
ROUNDS = 3
SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Figure:
    """A line of the table; `is_met` says whether ours meets the bar."""

    name: str
    ours: str
    reference: str
    ratio: float
    bar: str
    is_met: bool

    def __str__(self) -> str:
        verdict = "ok" if self.is_met else "MISSED"
        figures = f"{self.ours:>14} {self.reference:>26} {self.ratio:>8.2f}x"
        return f"{self.name:<58} {figures}  {self.bar:<22} {verdict}"


# ---------------------------------------------------------------- the server's process


def pin(core: int) -> None:
    """Pin the process to a core, where the system has more than one."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[core % len(cores)]})


def submit_task(sandbox: Any, number: int) -> str:
    """Submit a task as a client would, without the network."""
    from jupyter_mjci.emulator.http import Request

    body = json.dumps(
        {"prompt": f"a lighthouse at dusk, number {number} --ar 16:9", "state": f"n{number}"}
    ).encode()
    headers = {"mj-api-secret": sandbox.options["mj_secret"], "content-type": "application/json"}
    response = sandbox.services["mj"].handle(
        Request("POST", "mj.sandbox.localhost", "/mj/submit/imagine", "", headers, body)
    )
    submitted = json.loads(response.body)
    assert submitted["code"] == 1, submitted
    return str(submitted["result"])


def build_sandbox(tasks: int, clock: Any) -> tuple[Any, list[str]]:
    """Build a sandbox with a number of tasks, all running."""
    from jupyter_mjci.emulator.app import Sandbox

    sandbox = Sandbox(
        clock=clock, mj_options={"max_running": tasks, "max_waiting": tasks, "failure_rate": 0.0}
    )
    return sandbox, [submit_task(sandbox, number) for number in range(tasks)]


async def serve_canned(scope: Any, receive: Any, send: Any) -> None:
    """Serve the same bytes without a service: the most that the server could do."""
    await receive()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(serve_canned.body)).encode()),
    ]  # type: ignore[attr-defined]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": serve_canned.body})  # type: ignore[attr-defined]


def serve_tasks() -> None:
    """Serve ten thousand running tasks, and beside them the same bytes canned."""
    from jupyter_mjci.emulator.clock import ScaledClock
    from jupyter_mjci.emulator.server import LoopbackServer

    pin(0)
    sandbox, ids = build_sandbox(ALIVE_TASKS, ScaledClock(0.5))
    server = sandbox.serve()
    url, secret = f"/mj/task/{ids[0]}/fetch", sandbox.options["mj_secret"]
    serve_canned.body = request_once(
        server.port, build_request("GET", url, {"mj-api-secret": secret})
    )  # type: ignore[attr-defined]
    sandbox.app, app = serve_canned, sandbox.app
    plain = LoopbackServer(sandbox)
    sandbox.app = app
    print(
        json.dumps({"port": server.port, "canned": plain.port, "secret": secret, "ids": ids}),
        flush=True,
    )
    sys.stdin.read()
    plain.close()
    server.close()


@contextmanager
def start_server() -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "tests.benchmarks.emulator_server", "serve"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.communicate()


# ---------------------------------------------------------------- a light client


def build_request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    head += [f"{name}: {text}" for name, text in headers.items()]
    head += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(head).encode() + body


def read_response(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(262_144)
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    assert head.startswith(b"HTTP/1.1 200"), head
    assert length is not None
    while len(body) < int(length[1]):
        body += connection.recv(262_144)
    return body


def request_once(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(request)
        return read_response(connection)


def measure_rate(port: int, requests: list[bytes], seconds: float) -> float:
    """Return the responses a second over a few connections that are kept alive."""
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    count, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        for index, connection in enumerate(connections):
            connection.sendall(requests[(count + index) % len(requests)])
        for connection in connections:
            read_response(connection)
        count += len(connections)
    elapsed = time.perf_counter() - started
    for connection in connections:
        connection.close()
    return count / elapsed


# ---------------------------------------------------------------- the figures


def measure_fetches() -> Iterator[Figure]:
    with start_server() as info:
        headers = {"mj-api-secret": info["secret"]}
        requests = [
            build_request("GET", f"/mj/task/{task}/fetch", headers)
            for task in info["ids"][:: ALIVE_TASKS // 1000]
        ]
        pairs = [
            (
                measure_rate(info["port"], requests, SECONDS),
                measure_rate(info["canned"], requests, SECONDS),
            )
            for _ in range(ROUNDS)
        ]
        ours, reference = (statistics.median(column) for column in zip(*pairs, strict=True))
        name = f"task fetches a second, {ALIVE_TASKS:,} tasks alive"
        yield Figure(
            name,
            f"{ours:,.0f}/s",
            f"canned bytes {reference:,.0f}/s",
            ours / reference,
            ">= 1,000/s",
            ours >= 1000,
        )
        list_requests = [
            build_list_request(info["ids"][index : index + 500], headers)
            for index in range(0, ALIVE_TASKS, 500)
        ]
        batched = measure_rate(info["port"], list_requests, SECONDS) * 500
        name = "tasks a second, asked 500 at a time"
        yield Figure(
            name,
            f"{batched:,.0f}/s",
            f"one by one {ours:,.0f}/s",
            batched / ours,
            ">= one by one",
            batched >= ours,
        )


def build_list_request(ids: list[str], headers: dict[str, str]) -> bytes:
    body = json.dumps({"ids": ids}).encode()
    return build_request(
        "POST", "/mj/task/list-by-condition", {**headers, "Content-Type": "application/json"}, body
    )


def measure_listing() -> Iterator[Figure]:
    """List all jobs page by page: the time per job must not grow with their number."""
    small, large = (measure_best(lambda n=n: time_listing(n)) for n in (JOBS // 10, JOBS))  # type: ignore[misc]
    growth = (large / JOBS) / (small / (JOBS // 10))
    ours, reference = (
        f"{large / JOBS * 1e6:.0f} us/job",
        f"{JOBS // 10:,}: {small / (JOBS // 10) * 1e6:.0f} us/job",
    )
    yield Figure(
        f"listing {JOBS:,} jobs in pages of 100",
        ours,
        reference,
        growth,
        "<= 1.5x (linear)",
        growth <= 1.5,
    )


def measure_best(measure: Callable[[], float]) -> float:
    return min(measure() for _ in range(ROUNDS))


def time_listing(jobs: int) -> float:
    """Return the seconds to list a number of jobs, page by page, over HTTP."""
    from jupyter_mjci.emulator.app import Sandbox
    from jupyter_mjci.emulator.clock import VirtualClock

    with (
        Sandbox(clock=VirtualClock(), ci_options={"wall_clock": None}) as sandbox,
        sandbox.serve() as server,
    ):
        create_jobs(sandbox, jobs)
        listed, token = 0, ""
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            started = time.perf_counter()
            while True:
                connection.sendall(
                    build_signed_request(
                        sandbox,
                        "GET",
                        "/jobs",
                        {"tag": "PicProcess", "size": "100", "nextToken": token},
                    )
                )
                page = read_response(connection).decode()
                listed += page.count("<JobId>")
                next_token = re.search(r"<NextToken>([^<]+)</NextToken>", page)
                if not next_token:
                    break
                token = next_token[1]
            elapsed = time.perf_counter() - started
    assert listed == jobs, (listed, jobs)
    return elapsed


def create_jobs(sandbox: Any, jobs: int) -> None:
    """Submit a number of jobs as a client would, without the network."""
    from jupyter_mjci.emulator.http import Request

    key = next(iter(sandbox.services["ci"].store.buckets[sandbox.options["bucket"]].objects))
    options = sandbox.options
    output = f"<Region>{options.region}</Region><Bucket>{options.bucket}</Bucket><Object>o</Object>"
    rule = "<PicProcess><ProcessRule>imageInfo</ProcessRule></PicProcess>"
    operation = f"<Operation>{rule}<Output>{output}</Output></Operation>"
    body = (
        f"<Request><Tag>PicProcess</Tag><Input><Object>{key}</Object></Input>{operation}</Request>"
    )
    host, authorization = build_authorization(sandbox, "POST", "/jobs", {})
    headers = {"host": host, "authorization": authorization, "content-type": "application/xml"}
    request = Request("POST", host, "/jobs", "", headers, body.encode())
    for _ in range(jobs):
        response = sandbox.services["ci"].handle(request)
        assert response.status == 200, response.body


def build_authorization(
    sandbox: Any, method: str, path: str, params: dict[str, str], plane: str = "ci"
) -> tuple[str, str]:
    from jupyter_mjci.services.tencent_ci.signing import sign

    host, now = (
        f"{sandbox.options['bucket']}.{plane}.{sandbox.options['region']}.myqcloud.com",
        int(sandbox.clock.now()),
    )
    keys = {"secret_id": sandbox.options["secret_id"], "secret_key": sandbox.options["secret_key"]}
    return host, sign(
        method, path, params=params, headers={"host": host}, key_time=f"{now};{now + 3600}", **keys
    )


def build_signed_request(
    sandbox: Any, method: str, path: str, params: dict[str, str], plane: str = "ci"
) -> bytes:
    host, authorization = build_authorization(sandbox, method, path, params, plane)
    query = "&".join(f"{name}={quote(value)}" for name, value in params.items())
    lines = [f"{method} {path}?{query} HTTP/1.1", f"Host: {host}"]
    lines += [f"Authorization: {authorization}", "", ""]
    return "\r\n".join(lines).encode()


def measure_uploads() -> Iterator[Figure]:
    """Upload with MD5 and CRC64, and with the CRC64 replaced by nothing."""
    from jupyter_mjci.emulator.app import Sandbox
    from jupyter_mjci.emulator.cos import store

    with Sandbox() as sandbox, sandbox.serve() as server:
        ours = measure_best(lambda: time_upload(sandbox, server.port))
        with mock.patch.object(store.StoredObject, "crc64", 0):
            reference = measure_best(lambda: time_upload(sandbox, server.port))
    yield Figure(
        f"PUT of {UPLOAD_BYTES // 10**6} MB with MD5 and CRC64",
        f"{UPLOAD_BYTES / ours / 1e6:.0f} MB/s",
        f"without CRC64 {UPLOAD_BYTES / reference / 1e6:.0f} MB/s",
        reference / ours,
        ">= 150 MB/s or 0.5x",
        UPLOAD_BYTES / ours >= 150e6 or reference / ours >= 0.5,
    )


def time_upload(sandbox: Any, port: int) -> float:
    """Return the seconds of the fastest of a few uploads."""
    body = os.urandom(UPLOAD_BYTES)
    host, authorization = build_authorization(sandbox, "PUT", "/big", {}, plane="cos")
    digest = base64.b64encode(hashlib.md5(body).digest()).decode()
    lines = [f"PUT /big HTTP/1.1\r\nHost: {host}", f"Authorization: {authorization}"]
    lines += [f"Content-MD5: {digest}", f"Content-Length: {UPLOAD_BYTES}", "", ""]
    request = "\r\n".join(lines).encode() + body
    times = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(5):
            started = time.perf_counter()
            connection.sendall(request)
            read_response(connection)
            times.append(time.perf_counter() - started)
    return min(times)


def measure_objects() -> Iterator[Figure]:
    """List all objects page by page: the time per object must not grow with their number."""
    small, large = time_objects(OBJECTS // 10), time_objects(OBJECTS)
    growth = large / small
    yield Figure(
        f"listing {OBJECTS:,} objects in pages of 1,000",
        f"{large * 1e6:.0f} us/object",
        f"{OBJECTS // 10:,}: {small * 1e6:.0f} us/object",
        growth,
        "<= 1.5x (linear)",
        growth <= 1.5,
    )


def time_objects(count: int) -> float:
    """Return the seconds for each object of a listing, over HTTP."""
    from jupyter_mjci.emulator.app import Sandbox

    objects = {f"folder/{number:08d}": b"x" for number in range(count)}
    listed, marker, is_truncated = 0, "", True
    with Sandbox(ci_options={"objects": objects}) as sandbox, sandbox.serve() as server:
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            started = time.perf_counter()
            while is_truncated:
                params = {"marker": marker}
                connection.sendall(build_signed_request(sandbox, "GET", "/", params, plane="cos"))
                page = read_response(connection)
                listed += page.count(b"<Key>")
                following = re.search(rb"<NextMarker>([^<]+)</NextMarker>", page)
                is_truncated = following is not None
                marker = following[1].decode() if following else ""
            elapsed = time.perf_counter() - started
    assert listed == count, (listed, count)
    return elapsed / count


def measure_memory() -> Iterator[Figure]:
    """Measure the memory of a hundred thousand finished tasks, in a process of their own."""
    command = [sys.executable, "-m", "tests.benchmarks.emulator_server", "fill"]
    info = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    ours, reference = info["grown"] / 1e6, info["answers"] / 1e6
    name = f"memory for {FINISHED_TASKS:,} finished tasks"
    yield Figure(
        name,
        f"{ours:.0f} MB",
        f"their JSON {reference:.0f} MB",
        ours / reference,
        "< 500 MB",
        ours < 500,
    )


def measure_finished_tasks() -> None:
    """Finish a hundred thousand tasks and print the peak of their memory."""
    from jupyter_mjci.emulator.clock import VirtualClock
    from jupyter_mjci.emulator.http import Request

    build_sandbox(10, VirtualClock())
    before = get_peak_memory()
    clock = VirtualClock()
    sandbox, ids = build_sandbox(FINISHED_TASKS, clock)
    clock.advance(86_400)
    sandbox.services["mj"].advance()
    assert sandbox.next_event() is None
    headers = {"mj-api-secret": sandbox.options["mj_secret"]}
    task_json = (
        sandbox.services["mj"]
        .handle(Request("GET", "mj.sandbox.localhost", f"/mj/task/{ids[-1]}/fetch", "", headers))
        .body
    )
    assert json.loads(task_json)["status"] == "SUCCESS", task_json
    gc.collect()
    print(
        json.dumps(
            {"grown": get_peak_memory() - before, "answers": len(task_json) * FINISHED_TASKS}
        )
    )


def get_peak_memory() -> int:
    """Return the peak memory of this process in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def figures() -> Iterator[Figure]:
    """Yield all lines, in order."""
    pin(1)
    yield from measure_fetches()
    yield from measure_listing()
    yield from measure_uploads()
    yield from measure_objects()
    yield from measure_memory()


def main(argv: list[str]) -> int:
    roles: dict[str, Callable[[], None]] = {"serve": serve_tasks, "fill": measure_finished_tasks}
    if argv:
        roles[argv[0]]()
        return 0
    is_met = True
    for figure in figures():
        print(figure, flush=True)
        is_met &= figure.is_met
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
