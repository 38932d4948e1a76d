"""The sandbox in process and on loopback: routing, responses, faults, callbacks, saved state."""

from __future__ import annotations

import asyncio
import json
import math
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote, unquote

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from starlette.types import Message

from jupyter_mjci.emulator import asgi
from jupyter_mjci.emulator.__main__ import main
from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.clock import EPOCH, ScaledClock, VirtualClock
from jupyter_mjci.emulator.fault_injection import FaultedRequest, SocketConnection
from jupyter_mjci.emulator.faults import Fault, FaultError
from jupyter_mjci.emulator.http import Request, Response, WebhookDelivery
from jupyter_mjci.emulator.registry import SERVICES, select_service
from jupyter_mjci.emulator.storage import StateStore
from jupyter_mjci.emulator.webhooks import is_loopback
from jupyter_mjci.services.tencent_ci.signing import sign

pytestmark = pytest.mark.anyio


# ---------------------------------------------------------------- a fake service


class FakeService:
    """Runs a job of 5 s at `POST …/submit/start`, then calls back; echoes every other request."""

    def __init__(self, name: str, clock: Any) -> None:
        self.name, self.clock = name, clock
        self.request_count = 0
        self.frozen: list[str] = []
        self.outbox: list[WebhookDelivery] = []
        self.jobs: dict[str, dict[str, Any]] = {}

    def handle(self, request: Request) -> Response:
        self.advance()
        self.request_count += 1
        if request.path.endswith("/submit/start"):
            job = {"due": self.clock.now() + 5, "hook": request.body.decode(), "done": False}
            self.jobs[str(len(self.jobs) + 1)] = job
            return self._json({"code": 1, "result": str(len(self.jobs))})
        if "/task/" in request.path:
            return self._json(self.jobs.get(request.path.split("/")[-2]))
        if request.path.endswith("/nothing"):
            return Response(204)
        seen = {
            "service": self.name,
            "method": request.method,
            "host": request.host,
            "path": request.path,
        }
        return self._json(
            {**seen, "query": request.query, "body": len(request.body), "scheme": request.scheme}
        )

    def _json(self, value: object) -> Response:
        return Response(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def advance(self) -> None:
        for job_id, job in self.jobs.items():
            if not job["done"] and job["due"] <= self.clock.now() and job_id not in self.frozen:
                job["done"] = True
                if job["hook"]:
                    self.outbox.append(
                        WebhookDelivery(
                            job["hook"], job_id.encode(), {"Content-Type": "text/x-fake"}
                        )
                    )

    def next_event(self) -> float | None:
        return min(
            (
                job["due"]
                for i, job in self.jobs.items()
                if not job["done"] and i not in self.frozen
            ),
            default=None,
        )

    def freeze(self, job: str) -> None:
        self.frozen.append(job)

    def forget(self, job: str) -> None:
        self.jobs.pop(job, None)

    def snapshot(self) -> dict[str, Any]:
        return {"jobs": self.jobs, "steam": b"\x00\xff" * 3}

    def restore(self, snapshot: dict[str, Any]) -> None:
        assert snapshot["steam"] == b"\x00\xff" * 3
        self.jobs = snapshot["jobs"]


class FakeSandbox(Sandbox):
    """A sandbox with a fake for each service."""

    def _build_service(self, name: str) -> Any:
        return FakeService(name, self.clock)


@dataclass
class Endpoint:
    """A client of a sandbox, in process or on loopback."""

    name: str
    sandbox: FakeSandbox
    client: httpx.AsyncClient

    @property
    def request_count(self) -> int:
        return sum(
            service.request_count
            for service in (self.sandbox.services["mj"], self.sandbox.services["ci"])
        )


TRANSPORTS = ("process", "loopback")


@pytest.fixture(params=TRANSPORTS)
async def endpoint(request: pytest.FixtureRequest) -> AsyncIterator[Endpoint]:
    """A client of either kind. On loopback the time runs a thousand times as fast as real time."""
    async with AsyncExitStack() as stack:
        if request.param == "process":
            sandbox = FakeSandbox()
            settings, transport = sandbox.settings, sandbox.transport()
        else:
            sandbox = FakeSandbox(clock=ScaledClock(1000))
            server = stack.enter_context(sandbox.serve())
            settings, transport = server.settings, httpx.AsyncHTTPTransport()
        client = httpx.AsyncClient(
            transport=transport, base_url=settings["mj_url"], trust_env=False, timeout=20
        )
        yield Endpoint(request.param, sandbox, await stack.enter_async_context(client))


# ---------------------------------------------------------------- whom a request is for

SIGNED = {"authorization": "q-sign-algorithm=sha1&q-ak=x"}
ROUTING = [
    # host, path, query, headers, service
    ("demo-1250000000.ci.ap-chongqing.myqcloud.com", "/jobs", "", {}, "ci"),
    ("demo-1250000000.ci.ap-chongqing.myqcloud.com:8080", "/mj/task/list", "", {}, "ci"),
    ("demo-1250000000.cos.ap-chongqing.myqcloud.com", "/in/a.jpg", "", {}, "ci"),
    ("DEMO-1250000000.COS.ap-chongqing.MyQCloud.com", "/", "", {}, "ci"),
    ("demo-1250000000.ci.ap-chongqing.tencentci.cn", "/jobs", "", {}, "ci"),
    ("demo-1250000000.cos.ap-chongqing.tencentcos.cn", "/mj/a.png", "", {}, "ci"),
    ("demo-1250000000.pic.ap-chongqing.myqcloud.com", "/a.jpg", "", {}, "ci"),
    ("ci.ap-chongqing.myqcloud.com", "/picbucket", "", {}, "ci"),
    ("service.cos.myqcloud.com", "/", "", {}, "ci"),
    ("service.cos.ap-chongqing.myqcloud.com", "/", "", {}, "ci"),
    ("ci.sandbox.localhost", "/anything", "", {}, "ci"),
    ("cos.sandbox.localhost", "/anything", "", {}, "ci"),
    ("mj.sandbox.localhost", "/mj/submit/imagine", "", {}, "mj"),
    ("127.0.0.1:8123", "/mj/submit/imagine", "", {}, "mj"),
    ("127.0.0.1:8123", "/mj", "", {}, "mj"),
    ("127.0.0.1:8123", "/mj-fast/mj/submit/imagine", "", {}, "mj"),
    ("127.0.0.1:8123", "/anyword/mj/task/list", "", {}, "mj"),
    ("[::1]:8123", "/mj/image/1", "", {}, "mj"),
    ("localhost", "/attachments/1/2/a_b.png", "ex=1", {}, "mj"),
    ("cdn.discordapp.com", "/attachments/1/2/a_b.png", "", {}, "mj"),
    ("cdn.midjourney.com", "/6c0b/0_1.png", "", {}, "mj"),
    ("my.relay.example", "/mj/task/1/fetch", "", {}, "mj"),
    ("127.0.0.1", "/mj/picture.png", "", SIGNED, "ci"),
    ("127.0.0.1", "/in/a.jpg", "", SIGNED, "ci"),
    ("127.0.0.1", "/in/a.jpg", "imageMogr2/rotate/90&q-sign-algorithm=sha1&q-ak=x", {}, "ci"),
    ("127.0.0.1", "/in/a.jpg", "", {"authorization": "Bearer sk-1"}, "ci"),
    ("127.0.0.1:8123", "/in/a.jpg", "", {}, "ci"),
    ("localhost:8123", "/a/mj/b.png", "", {}, "ci"),
    ("localhost:8123", "/api/v1/mj/submit/imagine", "", {}, "mj"),
    ("127.0.0.1:8123", "//mj/task/list", "", {}, "mj"),
    ("127.0.0.1", "/jobs", "tag=PicProcess", {}, "ci"),
    ("127.0.0.1", "/jobs/c123", "", {}, "ci"),
    ("127.0.0.1", "/pic_jobs", "", {}, "ci"),
    ("127.0.0.1", "/inventorytriggerjob", "", {}, "ci"),
    ("127.0.0.1", "/picqueue/p1", "", {}, "ci"),
    ("127.0.0.1", "/picbucket", "", {}, "ci"),
    ("127.0.0.1", "/mediabucket", "", {}, "ci"),
    ("127.0.0.1", "/template", "", {}, "ci"),
    ("127.0.0.1", "/workflow/w1", "active", {}, "ci"),
    ("127.0.0.1", "/workflowexecution", "", {}, "ci"),
    ("127.0.0.1", "/triggerworkflow", "", {}, "ci"),
    ("127.0.0.1", "/jobsite", "", {}, "ci"),
    ("127.0.0.1", "/", "", {}, "ci"),
    ("127.0.0.1", "/submit/imagine", "", {}, "ci"),
    ("mj.sandbox.localhost", "/submit/imagine", "", {}, "mj"),
    ("", "/", "", {}, "mj"),
]


@pytest.mark.parametrize(("host", "path", "query", "headers", "service"), ROUTING)
def test_service_is_selected_by_host_signature_or_path(
    host: str, path: str, query: str, headers: dict[str, str], service: str
) -> None:
    """The cloud's host names decide; for other hosts the signature does, then the path; what is
    left at an address is an object.
    """
    assert select_service(Request("GET", host, path, query, headers)) == service


# ---------------------------------------------------------------- how a request arrives


async def test_service_receives_raw_path_and_query(endpoint: Endpoint) -> None:
    """A service sees path and query as they were on the wire, and the whole body."""
    url = "/mj/a%20b%2Fc%E4%BD%A0?x=%2B+&y="
    seen = (await endpoint.client.post(url, content=b"x" * 300_000)).json()
    assert (seen["path"], seen["query"]) == ("/mj/a%20b%2Fc%E4%BD%A0", "x=%2B+&y=")
    assert (seen["method"], seen["body"], seen["service"]) == ("POST", 300_000, "mj")


async def test_newline_in_path_is_passed_on(endpoint: Endpoint) -> None:
    """No path is too odd to reach a service."""
    seen = (await endpoint.client.get("/mj/a%0Ab")).json()
    assert seen["path"] == "/mj/a%0Ab"


async def test_head_has_length_and_no_body(endpoint: Endpoint) -> None:
    """HEAD answers have the length of GET's body, and no body."""
    received, head = await endpoint.client.get("/mj/xx"), await endpoint.client.head("/mj/x")
    assert head.content == b""
    assert head.headers["content-length"] == str(len(received.content))


async def test_204_has_neither_body_nor_length(endpoint: Endpoint) -> None:
    """204 has neither body nor length, and the connection stays open."""
    empty = await endpoint.client.get("/mj/nothing")
    assert (empty.status_code, "content-length" in empty.headers) == (204, False)
    assert (await endpoint.client.get("/mj/x")).status_code == 200


async def test_in_process_transport_accepts_any_host() -> None:
    """In process every host leads into the sandbox, so pictures' hosts need no network."""
    async with httpx.AsyncClient(transport=FakeSandbox().transport()) as client:
        seen = (await client.get("https://cdn.discordapp.com/attachments/1/2/a.png?ex=6")).json()
        assert (seen["service"], seen["host"], seen["scheme"]) == (
            "mj",
            "cdn.discordapp.com",
            "https",
        )
        seen = (
            await client.get("https://demo-1250000000.ci.ap-chongqing.myqcloud.com/jobs")
        ).json()
        assert seen["service"] == "ci"


async def test_date_header_is_sandbox_time() -> None:
    """The Date header has the sandbox's time."""
    sandbox = FakeSandbox()
    async with httpx.AsyncClient(transport=sandbox.transport()) as client:
        sandbox.clock.advance(3600)
        date = (await client.get("http://localhost/mj")).headers["date"]
    assert date == "Thu, 01 Jan 2026 01:00:00 GMT"
    assert sandbox.clock.now() == EPOCH + 3600


@pytest.mark.parametrize("chunked", [False, True])
async def test_too_large_body_is_refused(
    endpoint: Endpoint, chunked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body over the limit is refused in the service's own way, and no work is done."""
    monkeypatch.setattr(asgi, "MAX_BODY_BYTES", 1000)

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 100

    content: Any = pieces() if chunked else b"x" * 1100
    response = await endpoint.client.post(
        "/jobs" if chunked else "/mj/submit/start", content=content
    )
    assert response.status_code == (400 if chunked else 413)
    assert ("EntityTooLarge" in response.text) is chunked
    assert endpoint.request_count == 0


def exchange_bytes(url: str, request_bytes: bytes) -> bytes:
    """What a raw socket gets back until the other side hangs up."""
    parts = httpx.URL(url)
    with socket.create_connection((parts.host, parts.port), timeout=10) as line:
        line.sendall(request_bytes)
        received = b""
        while chunk := line.recv(65536):
            received += chunk
    return received


@pytest.fixture
def server() -> Iterator[Any]:
    """A loopback server whose time stands still until a test moves it."""
    sandbox = FakeSandbox()
    with sandbox.serve() as server:
        yield server


CLOUD = "demo-1250000000.ci.ap-chongqing.myqcloud.com"
ABSOLUTE = [
    # target, service, host, path, query
    (f"http://{CLOUD}/jobs?tag=a%20b", "ci", CLOUD, "/jobs", "tag=a%20b"),
    (
        "HTTP://user:word@cos.ap-chongqing.myqcloud.com:80/a//c",
        "ci",
        "cos.ap-chongqing.myqcloud.com:80",
        "/a//c",
        "",
    ),
    ("http://mj.example.com", "mj", "mj.example.com", "/", ""),
    ("http://mj.example.com?x=http://y/z", "mj", "mj.example.com", "/", "x=http://y/z"),
    ("/mj/get/http://x", "mj", "localhost", "/mj/get/http://x", ""),
    ("//mj/x", "mj", "localhost", "//mj/x", ""),
    ("*", "ci", "localhost", "/", ""),
]


@pytest.mark.parametrize(("target", "service", "host", "path", "query"), ABSOLUTE)
def test_absolute_form_is_split(
    server: Any, target: str, service: str, host: str, path: str, query: str
) -> None:
    """A forward proxy's request target is cut into host, path and query; the target's host beats
    Host.
    """
    raw = exchange_bytes(
        server.url,
        f"OPTIONS {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode(),
    )
    seen = json.loads(raw.partition(b"\r\n\r\n")[2])
    assert (seen["service"], seen["host"], seen["path"], seen["query"]) == (
        service,
        host,
        path,
        query,
    )


def test_sandbox_works_as_forward_proxy(server: Any) -> None:
    """A client that has the sandbox as its http proxy reaches the services by their own names."""
    with httpx.Client(proxy=server.url, trust_env=False) as client:
        seen = client.get(
            "http://demo-1250000000.cos.ap-chongqing.myqcloud.com/mj/a%20b?c=d"
        ).json()
    assert (seen["service"], seen["path"], seen["query"]) == ("ci", "/mj/a%20b", "c=d")
    assert seen["host"] == "demo-1250000000.cos.ap-chongqing.myqcloud.com"


def test_connect_is_refused(server: Any) -> None:
    """Tunnels are refused with a message on what to do instead."""
    with httpx.Client(proxy=server.url, trust_env=False) as client:
        with pytest.raises(httpx.ProxyError, match="405"):
            client.get("https://demo-1250000000.cos.ap-chongqing.myqcloud.com/")
    assert b"http:// endpoints" in exchange_bytes(
        server.url, b"CONNECT a.b:443 HTTP/1.1\r\nHost: a.b:443\r\n\r\n"
    )


def test_expect_continue_is_answered(server: Any) -> None:
    """A client that sends Expect: 100-continue gets 100 before its body."""
    parts = httpx.URL(server.url)
    with socket.create_connection((parts.host, parts.port), timeout=10) as line:
        head = (
            b"PUT /mj/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n"
            b"Expect: 100-continue\r\nConnection: close\r\n\r\n"
        )
        line.sendall(head)
        assert line.recv(1000).startswith(b"HTTP/1.1 100 ")
        line.sendall(b"hello")
        received = b"".join(iter(lambda: line.recv(65536), b""))
    assert received.startswith(b"HTTP/1.1 200 ")
    assert b'"body": 5' in received


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\r\n" * 9 + b"X" * 99,
    ],
)
def test_invalid_http_ends_only_its_connection(
    server: Any, garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """What is not HTTP ends its own connection and no other."""
    assert exchange_bytes(server.url, garbage + b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert httpx.get(server.url + "/mj", trust_env=False).status_code == 200


def test_disconnected_client_leaves_no_job(server: Any) -> None:
    """A client that hangs up in the middle of its body leaves no work behind, and others are
    served.
    """
    parts = httpx.URL(server.url)
    with socket.create_connection((parts.host, parts.port), timeout=10) as line:
        line.sendall(
            b"POST /mj/submit/start HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 50\r\n\r\nhalf"
        )
    assert httpx.get(server.url + "/mj/x", trust_env=False).status_code == 200
    assert server.sandbox.services["mj"].jobs == {}


def test_nagle_is_disabled(server: Any) -> None:
    """Answers leave at once: Nagle's algorithm would hold each back until the client's delayed
    acknowledgement.
    """
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        client.get("/mj/x")
        (connection,) = server._server.server_state.connections
        assert connection.transport.get_extra_info("socket").getsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY
        )


# ---------------------------------------------------------------- faults

BROKEN_CONNECTIONS = [
    # kind, settings, error in process, errors on loopback, works done
    ("refuse", {}, httpx.ConnectError, (httpx.ReadError, httpx.WriteError), 0),
    ("drop_before", {}, httpx.RemoteProtocolError, (httpx.RemoteProtocolError,), 0),
    ("drop_before", {"reset": True}, httpx.ReadError, (httpx.ReadError,), 0),
    ("drop_after", {}, httpx.RemoteProtocolError, (httpx.RemoteProtocolError,), 1),
    ("drop_after", {"reset": True}, httpx.ReadError, (httpx.ReadError,), 1),
    ("truncate", {}, httpx.RemoteProtocolError, (httpx.RemoteProtocolError,), 1),
    ("truncate", {"keep": 0.0}, httpx.RemoteProtocolError, (httpx.RemoteProtocolError,), 1),
    ("truncate", {"keep": 1.0}, httpx.RemoteProtocolError, (httpx.RemoteProtocolError,), 1),
    ("truncate", {"reset": True}, httpx.ReadError, (httpx.ReadError,), 1),
]


@pytest.mark.parametrize(("kind", "settings", "inside", "outside", "works"), BROKEN_CONNECTIONS)
async def test_fault_breaks_connection(
    endpoint: Endpoint, kind: str, settings: dict[str, Any], inside: Any, outside: Any, works: int
) -> None:
    """Connections break as real ones do, before or after the work; the next request is well
    again.
    """
    endpoint.sandbox.faults.add(kind, times=1, **settings)
    with pytest.raises(inside if endpoint.name == "process" else outside):
        await endpoint.client.post("/mj/submit/start", content=b"")
    assert endpoint.request_count == works
    assert (await endpoint.client.get("/mj/x")).status_code == 200


CHANGED_RESPONSES = [
    # kind, settings, status, content-type, body starts with, works done
    ("status", {"status": 502, "body": "bad"}, 502, "text/plain; charset=utf-8", b"bad", 0),
    ("status", {"status": 504, "done": True}, 504, "text/plain; charset=utf-8", b"", 1),
    ("status", {"status": 204}, 204, "text/plain; charset=utf-8", b"", 0),
    ("content_type", {}, 200, "text/plain", b'{"code": 1', 1),
    ("malformed", {}, 200, "application/json", b'{"code": 1, "\x00<', 1),
    ("html", {}, 200, "text/html; charset=utf-8", b"<!DOCTYPE html>", 0),
    ("html", {"done": True}, 200, "text/html; charset=utf-8", b"<!DOCTYPE html>", 1),
]


@pytest.mark.parametrize(
    ("kind", "settings", "status", "type_", "start", "works"), CHANGED_RESPONSES
)
async def test_fault_changes_response(
    endpoint: Endpoint,
    kind: str,
    settings: dict[str, Any],
    status: int,
    type_: str,
    start: bytes,
    works: int,
) -> None:
    """Answers go wrong while the connection stays whole."""
    endpoint.sandbox.faults.add(kind, times=1, **settings)
    response = await endpoint.client.post("/mj/submit/start", content=b"")
    assert (response.status_code, response.headers["content-type"]) == (status, type_)
    assert response.content.startswith(start)
    assert endpoint.request_count == works
    assert (await endpoint.client.get("/mj/x")).json()["service"] == "mj"


async def test_fault_adds_headers(endpoint: Endpoint) -> None:
    """A fault may bring headers."""
    endpoint.sandbox.faults.add("status", status=429, headers={"Retry-After": "7"})
    response = await endpoint.client.get("/mj/x")
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")


async def test_stalled_response_arrives_late(endpoint: Endpoint) -> None:
    """A stalled answer comes after its time on the sandbox's clock, with the work done."""
    endpoint.sandbox.faults.add("stall", times=1, seconds=20)
    before = endpoint.sandbox.clock.now()
    assert (await endpoint.client.post("/mj/submit/start")).status_code == 200
    assert endpoint.sandbox.clock.now() - before >= 20
    assert endpoint.request_count == 1


async def test_stall_longer_than_timeout_times_out(endpoint: Endpoint) -> None:
    """A client that waits less long sees its own timeout; the work was done all the same."""
    endpoint.sandbox.faults.add("stall", times=1, seconds=1e6)
    with pytest.raises(httpx.ReadTimeout):
        await endpoint.client.post("/mj/submit/start", timeout=0.2)
    assert endpoint.request_count == 1
    assert (await endpoint.client.get("/mj/x")).status_code == 200


async def test_slow_response_arrives_at_rate(endpoint: Endpoint) -> None:
    """Bytes arrive at the rate, all of them."""
    plain = (await endpoint.client.get("/mj/x")).content
    endpoint.sandbox.faults.add("slow", times=1, rate=8)
    before = endpoint.sandbox.clock.now()
    assert (await endpoint.client.get("/mj/x")).content == plain
    assert endpoint.sandbox.clock.now() - before >= len(plain) / 8 - 1


async def test_slow_response_ends_when_its_client_leaves() -> None:
    """The rest of a long body costs no time of the others: nothing is sent to nobody."""
    sandbox = FakeSandbox(clock=ScaledClock(1000))
    fault = Fault("slow", rate=8)
    arriving: list[Message] = [{"type": "http.disconnect"}, {"type": "http.request"}]
    parts: list[Message] = []

    async def receive() -> Message:
        return arriving.pop()

    async def send(message: Message) -> None:
        parts.append(message)

    request = Request("GET", "mj.sandbox.localhost", "/mj/x")
    connection = SocketConnection(cast(asyncio.Transport, None))
    await FaultedRequest(sandbox, "mj", request, connection, receive, send).apply(fault)
    assert [part["type"] for part in parts] == ["http.response.start"]


async def test_stuck_and_lost_jobs(endpoint: Endpoint) -> None:
    """The job that a request makes or names sticks, or vanishes."""
    endpoint.sandbox.faults.add("stuck", route="POST *", after=1, times=1)
    for _ in range(2):
        await endpoint.client.post("/mj/submit/start")
    with anyio.fail_after(10):
        while not (await endpoint.client.get("/mj/task/1/fetch")).json()["done"]:
            await endpoint.sandbox.clock.sleep(5)
    assert (await endpoint.client.get("/mj/task/2/fetch")).json()["done"] is False
    endpoint.sandbox.faults.add("lost", route="*/task/1/*", times=1)
    assert (await endpoint.client.get("/mj/task/1/fetch")).json() is not None
    assert (await endpoint.client.get("/mj/task/1/fetch")).json() is None


@pytest.mark.parametrize(
    ("settings", "left"), [({}, 0), ({"remember": True}, 1), ({"service": "ci"}, 1)]
)
async def test_restart_forgets_or_remembers_jobs(
    endpoint: Endpoint, settings: dict[str, Any], left: int
) -> None:
    """A restarted service has forgotten everything, or comes back with what a snapshot kept."""
    await endpoint.client.post("/mj/submit/start")
    endpoint.sandbox.faults.add(
        "restart", times=1, route="/jobs" if "service" in settings else "/mj/x", **settings
    )
    await endpoint.client.get("/jobs")
    await endpoint.client.get("/mj/x")
    assert len(endpoint.sandbox.services["mj"].jobs) == left


def test_close_aborts_stalled_requests(server: Any) -> None:
    """A request that is stalled when the server closes is aborted; closing does not wait."""
    server.sandbox.clock.speed = 1e-9
    server.sandbox.faults.add("stall", seconds=3600)
    begun = threading.Event()
    server.sandbox.clock.sleep, sleep = (
        (lambda seconds: (begun.set(), sleep(seconds))[1]),
        server.sandbox.clock.sleep,
    )
    outcome: queue.Queue[BaseException] = queue.Queue()

    def ask() -> None:
        try:
            httpx.get(server.url + "/mj/x", trust_env=False, timeout=60)
        except httpx.HTTPError as error:
            outcome.put(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert begun.wait(10)
    server.close()
    assert isinstance(outcome.get(timeout=10), httpx.HTTPError)
    asking.join()


JOB_IDS = [
    ("mj", "GET", "/mj/task/123/fetch", b"", ["123"]),
    ("mj", "POST", "/mj/submit/imagine", b'{"code":1,"result":"77"}', ["77"]),
    ("mj", "POST", "/mj/submit/action", b'{"code":1,"result":"7,8,9"}', ["7", "8", "9"]),
    ("mj", "POST", "/mj/submit/imagine", b'{"code":24}', []),
    ("mj", "POST", "/mj/task/list-by-condition", b'[{"id":"1","result":"2"}]', []),
    (
        "ci",
        "POST",
        "/jobs",
        b"<Response><JobsDetail><JobId>c1</JobId></JobsDetail></Response>",
        ["c1"],
    ),
    ("ci", "GET", "/jobs/c1,c2%2Cc3", b"", ["c1", "c2", "c3"]),
    ("ci", "PUT", "/inventorytriggerjob/b1", b"", ["b1"]),
    ("ci", "GET", "/jobs", b"<JobId>c1</JobId>", []),
    ("ci", "GET", "/in/a.jpg", b"\xff\xd8", []),
]


@pytest.mark.parametrize(("service", "method", "path", "body", "ids"), JOB_IDS)
def test_job_ids_are_found_in_path_or_response(
    service: str, method: str, path: str, body: bytes, ids: list[str]
) -> None:
    """The jobs a request is about: those in its path, else the one it made."""
    request = Request(method, "h", path)
    assert SERVICES[service].find_job_ids(request, Response(200, body)) == ids


# ---------------------------------------------------------------- callbacks


@dataclass
class Receiver:
    url: str
    received: queue.Queue[tuple[str, str, bytes]]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A loopback receiver of callbacks."""
    received: queue.Queue[tuple[str, str, bytes]] = queue.Queue()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.put((self.path, self.headers["Content-Type"], body))
            self.send_response(302)
            self.send_header("Location", "http://192.0.2.1/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Receiver(f"http://127.0.0.1:{server.server_port}", received)
        server.shutdown()
        thread.join()


async def test_callback_is_delivered_when_due(endpoint: Endpoint, receiver: Receiver) -> None:
    """A job's end is called back with the service's own bytes and headers, once the time has
    come.
    """
    await endpoint.client.post("/mj/submit/start", content=f"{receiver.url}/hook?t=1".encode())
    if endpoint.name == "process":
        assert receiver.received.empty()
        await endpoint.sandbox.clock.sleep(5)
        await endpoint.sandbox.drain_webhooks()
    received = await anyio.to_thread.run_sync(lambda: receiver.received.get(timeout=10))
    assert received == ("/hook?t=1", "text/x-fake", b"1")
    assert endpoint.sandbox.webhooks.dropped_count == 0


def test_callback_is_delivered_after_clock_advance(server: Any, receiver: Receiver) -> None:
    """On loopback, too, a test may move time by hand; the server's own thread delivers."""
    httpx.post(server.url + "/mj/submit/start", content=receiver.url + "/hook", trust_env=False)
    server.sandbox.clock.advance(5)
    assert receiver.received.get(timeout=10) == ("/hook", "text/x-fake", b"1")


async def test_callback_to_other_host_is_dropped(endpoint: Endpoint) -> None:
    """What is not for this machine never leaves it, and is listed."""
    await endpoint.client.post("/mj/submit/start", content=b"http://192.0.2.1/hook")
    await endpoint.sandbox.clock.sleep(6)
    await endpoint.client.get("/mj/x")
    stats = (await endpoint.client.get("/_sandbox/stats")).json()
    assert stats["callbacks"]["dropped"] == 1
    assert stats["callbacks"]["dropped_urls"] == ["http://192.0.2.1/hook"]


async def test_unreachable_receiver_counts_as_failed(endpoint: Endpoint) -> None:
    """Without a receiver the callback fails; requests are still served."""
    await endpoint.client.post("/mj/submit/start", content=b"http://127.0.0.1:9/hook")
    await endpoint.sandbox.clock.sleep(6)
    with anyio.fail_after(10):
        while not (await endpoint.client.get("/_sandbox/stats")).json()["callbacks"]["failed"]:
            await endpoint.client.get("/mj/x")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000/x", True),
        ("http://127.9.9.9/x", True),
        ("http://[::1]:80/x", True),
        ("https://localhost/x", True),
        ("http://hook.localhost:1/x", True),
        ("http://localhost.example.com/x", False),
        ("http://127.0.0.1.example.com/x", False),
        ("http://127.0.0.1@example.com/x", False),
        ("http://example.com#@127.0.0.1/", False),
        ("http://192.168.1.1/", False),
        ("http://0.0.0.0/", False),
        ("http://169.254.169.254/latest", False),
        ("ftp://127.0.0.1/", False),
        ("file:///etc/passwd", False),
        ("http://[::1/x", False),
        ("http://127.0.0.1:notaport/", False),
        ("", False),
        ("no", False),
    ],
)
def test_is_loopback(url: str, expected: bool) -> None:
    """Loopback is recognized by the text of a URL; names are not resolved."""
    assert is_loopback(url) is expected


# ---------------------------------------------------------------- time


async def test_virtual_clock_is_busy_while_jobs_run() -> None:
    """The virtual clock knows whether either service has something in flight."""
    sandbox = FakeSandbox()
    assert isinstance(sandbox.clock, VirtualClock)
    assert sandbox.clock.is_busy() is False
    async with httpx.AsyncClient(transport=sandbox.transport()) as client:
        await client.post("http://localhost/mj/submit/start")
    assert sandbox.clock.is_busy() is True
    await sandbox.clock.sleep(5)
    assert sandbox.clock.is_busy() is False
    assert sandbox.next_event() is None


# ---------------------------------------------------------------- the loopback server


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "example.com", ""])
def test_other_hosts_are_refused(host: str) -> None:
    """Whatever is asked, the sandbox listens on this machine only."""
    with pytest.raises(ValueError, match=r"127\.0\.0\.1 only"):
        FakeSandbox().serve(host=host)


def test_server_settings_have_its_address(server: Any) -> None:
    """The server's settings have its address; those in process have fixed names."""
    assert {server.settings[key] for key in ("mj_url", "ci_endpoint", "cos_endpoint")} == {
        server.url
    }
    assert server.url.startswith("http://127.0.0.1:")
    assert server.sandbox.settings["mj_url"] == "http://mj.sandbox.localhost"
    assert server.settings.keys() == server.sandbox.settings.keys()


def test_closed_server_refuses_connections(server: Any) -> None:
    """A closed server does not listen; closing it again does nothing."""
    server.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url, trust_env=False)
    server.close()


def test_closing_sandbox_closes_servers() -> None:
    """Closing a sandbox closes its servers."""
    with FakeSandbox() as sandbox:
        server = sandbox.serve()
        assert httpx.get(server.url + "/mj", trust_env=False).status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url, trust_env=False)


def test_taken_port_is_reported(server: Any) -> None:
    """A port in use is an error at once."""
    with pytest.raises(OSError, match="in use"):
        FakeSandbox().serve(port=server.port)


def test_unknown_dialect_is_refused() -> None:
    """The error for an unknown dialect names the known ones."""
    with pytest.raises(ValueError, match="java, plus, trueai"):
        Sandbox(dialect="perl")


# ---------------------------------------------------------------- on disk


async def test_data_folder_restores_state(tmp_path: Path) -> None:
    """A second sandbox on the same folder continues where the first ended."""
    with FakeSandbox(data=tmp_path) as first:
        async with httpx.AsyncClient(transport=first.transport()) as client:
            await client.post("http://localhost/mj/submit/start")
            await first.clock.sleep(3)
    second = FakeSandbox(data=tmp_path)
    assert second.clock.now() == EPOCH + 3
    assert second.next_event() == EPOCH + 5
    await second.clock.sleep(2)
    assert second.services["mj"].jobs["1"]["done"] is True


def test_state_store_replaces_state(tmp_path: Path) -> None:
    """A save leaves the latest state, its bytes, and nothing else."""
    store = StateStore(tmp_path)
    assert store.load() == {}
    store.save({"a": [b"one", {"b": b"two"}], "n": 1})
    store.save({"a": [b"one"], "n": 2})
    assert store.load() == {"a": [b"one"], "n": 2}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs", "sandbox.json"]
    assert len(list((tmp_path / "blobs").iterdir())) == 1


def test_state_store_survives_failed_save(tmp_path: Path) -> None:
    """A state that cannot be written leaves the old one whole."""
    store = StateStore(tmp_path)
    store.save({"n": 1, "b": b"x"})
    with pytest.raises(TypeError):
        store.save({"n": 2, "b": object()})
    assert store.load() == {"n": 1, "b": b"x"}


def test_state_is_saved_while_serving(tmp_path: Path) -> None:
    """The loopback server saves by itself, soon after a change."""
    with FakeSandbox(data=tmp_path, clock=ScaledClock(1)).serve() as server:
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            client.post("/mj/submit/start")
            while client.get("/_sandbox/stats").json()["unsaved"]:
                pass
            assert StateStore(tmp_path).load()["mj"]["jobs"].keys() == {"1"}


# ---------------------------------------------------------------- the real services behind both
# doors


def ci_headers(
    settings: Mapping[str, str], method: str, path: str, plane: str, now: float
) -> dict[str, str]:
    """Host and signature of a request to the cloud."""
    host = f"{settings['bucket']}.{plane}.{settings['region']}.myqcloud.com"
    keys = {"secret_id": settings["secret_id"], "secret_key": settings["secret_key"]}
    authorization = sign(
        method, path, headers={"host": host}, key_time=f"{int(now)};{int(now) + 600}", **keys
    )
    return {"host": host, "authorization": authorization}


def job_xml(settings: Mapping[str, str], source: str, output: str) -> bytes:
    location = (
        f"<Region>{settings['region']}</Region><Bucket>{settings['bucket']}</Bucket>"
        f"<Object>{output}</Object>"
    )
    rule = "<PicProcess><ProcessRule>imageMogr2/rotate/90</ProcessRule></PicProcess>"
    operation = f"<Operation>{rule}<Output>{location}</Output></Operation>"
    source = f"<Input><Object>{source}</Object></Input>"
    return f"<Request><Tag>PicProcess</Tag>{source}{operation}</Request>".encode()


class ServiceClient:
    """A client of both services, from the settings that a sandbox prints."""

    def __init__(
        self, client: httpx.Client, settings: Mapping[str, str], now: Callable[[], float]
    ) -> None:
        self.client, self.settings, self.now = client, settings, now
        self.secret = {"mj-api-secret": settings["mj_secret"]}

    def imagine(self, prompt: str, **more: str) -> str:
        url = self.settings["mj_url"] + "/mj/submit/imagine"
        response = self.client.post(
            url, json={"prompt": prompt, **more}, headers=self.secret
        ).json()
        assert response["code"] == 1, response
        return str(response["result"])

    def task(self, task_id: str) -> dict[str, Any] | None:
        response = self.client.get(
            f"{self.settings['mj_url']}/mj/task/{task_id}/fetch", headers=self.secret
        )
        return response.json() if response.content else None

    def cloud(self, method: str, path: str, plane: str, content: bytes = b"") -> httpx.Response:
        headers = ci_headers(self.settings, method, path, plane, self.now())
        endpoint = self.settings[f"{plane}_endpoint"]
        return self.client.request(method, endpoint + path, headers=headers, content=content)


@pytest.fixture(params=["own address", "as http proxy"])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The real services on loopback, addressed directly or with the sandbox as the client's http
    proxy.
    """
    sandbox = Sandbox()
    with sandbox.serve() as server:
        settings, proxy = server.settings, None
        if request.param == "as http proxy":
            cloud = {
                f"{plane}_endpoint": f"http://{settings['bucket']}.{plane}.{settings['region']}.myqcloud.com"
                for plane in ("ci", "cos")
            }
            settings, proxy = {**settings, **cloud, "mj_url": "http://proxy.example"}, server.url
        with httpx.Client(proxy=proxy, trust_env=False) as client:
            found = ServiceClient(client, settings, sandbox.clock.now)
            found.sandbox = sandbox
            yield found


def test_picture_job_end_to_end(client: Any) -> None:
    """An object is put, a job works on it, the output is there, by each way in."""
    (source,) = list(
        client.sandbox.services["ci"].store.buckets[client.sandbox.options["bucket"]].objects
    )[:1]
    created = client.cloud(
        "POST", "/jobs", "ci", job_xml(client.settings, source, "out/turned.jpg")
    )
    job = re.search("<JobId>([^<]+)<", created.text)
    assert job, created.text
    client.sandbox.clock.advance(60)
    assert "<State>Success</State>" in client.cloud("GET", f"/jobs/{job[1]}", "ci").text
    assert client.cloud("HEAD", "/out/turned.jpg", "cos").status_code == 200
    assert client.cloud("HEAD", "/out/other.jpg", "cos").status_code == 404


def test_task_end_to_end(client: Any, receiver: Receiver) -> None:
    """A task is imagined, ages with the clock, calls back at its end, and its picture can be
    fetched.
    """
    task = client.imagine("a red fox", notifyHook=f"{receiver.url}/hook")
    for _ in range(100):
        client.sandbox.clock.advance(10)
    done = client.task(task)
    assert (done["status"], done["progress"]) == ("SUCCESS", "100%")
    statuses = set()
    while "SUCCESS" not in statuses:
        path, kind, body = receiver.received.get(timeout=10)
        statuses.add(json.loads(body)["status"])
        assert (path, kind.partition(";")[0], json.loads(body)["id"]) == (
            "/hook",
            "application/json",
            task,
        )
    assert client.client.get(done["imageUrl"]).headers["content-type"].startswith("image/")


SERVICE_FAULTS = [
    ("mj", "stuck", {}, lambda task: task["status"] != "SUCCESS"),
    ("mj", "lost", {}, lambda task: task is None),
    ("mj", "restart", {"route": "GET /mj/*"}, lambda task: task is None),
    (
        "mj",
        "restart",
        {"route": "GET /mj/*", "remember": True},
        lambda task: task["status"] == "SUCCESS",
    ),
]


@pytest.mark.parametrize(("service", "kind", "settings", "holds"), SERVICE_FAULTS)
def test_task_with_service_fault(
    service: str, kind: str, settings: dict[str, Any], holds: Callable[[Any], bool]
) -> None:
    """A task sticks, vanishes, or is forgotten by a restart; a restart with memory is hardly
    noticed.
    """
    with (
        Sandbox() as sandbox,
        sandbox.serve() as server,
        httpx.Client(trust_env=False) as http_client,
    ):
        client = ServiceClient(http_client, server.settings, sandbox.clock.now)
        sandbox.faults.add(kind, service=service, times=1, **settings)
        task = client.imagine("a red fox")
        sandbox.clock.advance(3600)
        client.task(task)
        assert holds(client.task(task))
        sandbox.clock.advance(1)
        other = client.imagine("a blue fox")
        assert other != task
        sandbox.clock.advance(3600)
        assert client.task(other)["status"] == "SUCCESS"


@pytest.mark.parametrize(
    ("kind", "held"), [("stuck", "<State>Submitted<"), ("lost", "<NonExistJobIds>")]
)
def test_job_with_service_fault(kind: str, held: str) -> None:
    """A CI job is stuck or lost; the next one is fine."""
    with (
        Sandbox() as sandbox,
        sandbox.serve() as server,
        httpx.Client(trust_env=False) as http_client,
    ):
        client = ServiceClient(http_client, server.settings, sandbox.clock.now)
        sandbox.faults.add(kind, route="POST /jobs", times=1)
        (source,) = list(sandbox.services["ci"].store.buckets[sandbox.options["bucket"]].objects)[
            :1
        ]
        created = [
            client.cloud("POST", "/jobs", "ci", job_xml(server.settings, source, f"out/{n}")).text
            for n in (1, 2)
        ]
        first, second = (re.findall("<JobId>([^<]+)<", text)[0] for text in created)
        sandbox.clock.advance(3600)
        assert held in client.cloud("GET", f"/jobs/{first}", "ci").text
        assert "<State>Success<" in client.cloud("GET", f"/jobs/{second}", "ci").text
        third = client.cloud("POST", "/jobs", "ci", job_xml(server.settings, source, "out/3")).text
        assert re.findall("<JobId>([^<]+)<", third)[0] not in (first, second)


def test_runs_are_reproducible() -> None:
    """The same requests at the same virtual times give the same ids, times and pictures, byte for
    byte.
    """

    async def run() -> list[bytes]:
        sandbox, answers = Sandbox(seed=4), []
        async with httpx.AsyncClient(
            transport=sandbox.transport(), base_url=sandbox.settings["mj_url"]
        ) as client:
            client.headers["mj-api-secret"] = sandbox.options["mj_secret"]
            created = (await client.post("/mj/submit/imagine", json={"prompt": "a red fox"})).json()
            for _ in range(30):
                await sandbox.clock.sleep(5)
                answers.append((await client.get(f"/mj/task/{created['result']}/fetch")).content)
            answers.append((await client.get(json.loads(answers[-1])["imageUrl"])).content)
        return answers

    assert anyio.run(run) == anyio.run(run)


WORDS = """
    mj submit action task fetch jobs pic_jobs picqueue workflow attachments mj-fast .. %2e %00 %ff
    %F0%9F a.jpg c1 * ?
"""
ENDPOINTS = """
    mj/submit/imagine mj/submit/change mj/submit/simple-change mj/submit/describe mj/submit/blend
    mj/submit/action mj/submit/modal mj/submit/shorten mj/submit/upload-discord-images
    mj/submit/edits mj/submit/video mj/insight-face/swap mj/task/list-by-condition
    mj/task/list-by-ids mj/task/list mj/task/queue mj/task/query mj/account/list mj/image/1 jobs
    pic_jobs inventorytriggerjob picqueue picbucket template workflow triggerworkflow
    workflowexecution jobs/c1,c2 picqueue/p1 template/t1 workflow/w1 inventorytriggerjob/b1 a.jpg
"""
PIECES = st.sampled_from(WORDS.split())
VALUES = st.one_of(PIECES, st.text(max_size=12).map(quote), st.integers().map(str))
QUERIES = st.lists(
    st.tuples(
        st.one_of(st.sampled_from(["tag", "size", "nextToken", "ids", "prefix", "acl"]), VALUES),
        VALUES,
    )
)
BODIES = st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=9)),
        lambda inner: (
            st.dictionaries(
                st.sampled_from(
                    [
                        "prompt",
                        "taskId",
                        "ids",
                        "base64Array",
                        "action",
                        "index",
                        "state",
                        "customId",
                    ]
                ),
                inner,
            )
            | st.lists(inner, max_size=3)
        ),
        max_leaves=6,
    ).map(lambda value: json.dumps(value).encode()),
    st.lists(
        st.tuples(
            st.sampled_from(["Tag", "Input", "Operation", "Object"]), st.text("a<&/>", max_size=5)
        ),
        max_size=4,
    )
    .map(
        lambda rows: (
            "<Request>" + "".join(f"<{tag}>{text}</{tag}>" for tag, text in rows) + "</Request>"
        )
    )
    .map(str.encode),
)
HOSTS = st.sampled_from(
    [
        "mj.sandbox.localhost",
        "demo-1250000000.ci.ap-chongqing.myqcloud.com",
        "ci.x",
        "cos.x",
        "",
        "b.cos.",
    ]
)
PATHS = st.one_of(st.sampled_from(ENDPOINTS.split()), st.lists(VALUES, max_size=5).map("/".join))
METHODS = st.sampled_from(
    ["GET", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"]
)


@with_settings(max_examples=500, deadline=None)
@given(METHODS, HOSTS, PATHS, QUERIES, BODIES, st.sampled_from(["java", "trueai", "new-api"]))
def test_random_requests_never_fail_with_500(
    method: str, host: str, path: str, query: list[tuple[str, str]], body: bytes, dialect: str
) -> None:
    """Whatever is asked, signed or not, a service answers, and never with 500."""
    sandbox = FUZZED.setdefault(dialect, Sandbox(dialect=dialect))
    target, params = "/" + path, "&".join(f"{name}={value}" for name, value in query)
    keys = {"secret_id": sandbox.options["secret_id"], "secret_key": sandbox.options["secret_key"]}
    now = int(sandbox.clock.now())
    names = {"host": host, "mj-api-secret": sandbox.options["mj_secret"]}
    if host.startswith(("demo", "ci", "cos", "b")):
        names["authorization"] = sign(
            method, unquote(target), headers={"host": host}, key_time=f"{now};{now + 9}", **keys
        )
    request = Request(method, host, target, params, names, body)
    response = sandbox.handle_request(select_service(request), request)
    assert response.status != 500, (request, response)
    sandbox.clock.advance(1)


FUZZED: dict[str, Sandbox] = {}


# ---------------------------------------------------------------- the command


@contextmanager
def run_command(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], ServiceClient]]:
    """The command running, and a caller of it."""
    request_bytes = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "jupyter_mjci.emulator",
        "--speed",
        "100",
        *arguments,
    ]
    with subprocess.Popen(
        request_bytes, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        line = process.stdout.readline()
        assert line, process.stderr.read()
        with httpx.Client(trust_env=False) as client:
            try:
                yield process, ServiceClient(client, json.loads(line), time.time)
            finally:
                process.kill()


def stop_command(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str, str]:
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_command_serves_and_ends_on_signal(number: signal.Signals) -> None:
    """The command prints one line of JSON, serves both services, and exits with 0 on a signal."""
    with run_command() as (process, client):
        assert list(client.settings) == [
            "url",
            "mj_url",
            "mj_secret",
            "ci_endpoint",
            "cos_endpoint",
            "secret_id",
            "secret_key",
            "bucket",
            "region",
        ]
        task = client.imagine("a red fox")
        while (client.task(task) or {}).get("status") != "SUCCESS":
            pass
        assert client.cloud("GET", "/", "cos").status_code == 200
        assert stop_command(process, number) == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_command_saves_data(tmp_path: Path, number: signal.Signals) -> None:
    """Objects and jobs are there again after an orderly end; a kill loses at most what the last
    second brought.
    """
    with run_command("--data", str(tmp_path)) as (process, client):
        task = client.imagine("a red fox")
        assert client.cloud("PUT", "/kept.bin", "cos", b"\x00\xffkept").status_code == 200
        while (
            number is signal.SIGKILL
            and client.client.get(client.settings["url"] + "/_sandbox/stats").json()["unsaved"]
        ):
            pass
        stop_command(process, number)
    with run_command("--data", str(tmp_path)) as (process, client):
        assert client.cloud("GET", "/kept.bin", "cos").content == b"\x00\xffkept"
        while (client.task(task) or {})["status"] != "SUCCESS":
            pass
        assert stop_command(process, signal.SIGTERM)[0] == 0


def test_command_accepts_faults_and_dialect(tmp_path: Path) -> None:
    """The command takes a file of faults and a dialect."""
    (tmp_path / "faults.toml").write_text(
        '[[fault]]\nkind = "status"\nstatus = 418\nroute = "GET /mj/task/*"\n'
    )
    with run_command("--faults", str(tmp_path / "faults.toml"), "--dialect", "new-api") as (
        process,
        client,
    ):
        response = client.client.get(client.settings["mj_url"] + "/mj/task/1/fetch")
        assert response.status_code == 418
        assert (
            "text/html"
            in client.client.get(client.settings["mj_url"] + "/mj/x").headers["content-type"]
        )
        assert stop_command(process, signal.SIGTERM)[0] == 0


# ---------------------------------------------------------------- the command's mistakes


@pytest.mark.parametrize(
    ("argv", "request_bytes"),
    [
        (["--speed", "0"], "--speed"),
        (["--speed", "inf"], "--speed"),
        (["--dialect", "perl"], "'perl'"),
        (["--port", "99999"], "0-65535"),
        (["--faults", "{tmp}/none.toml"], "none.toml"),
        (["--faults", "{tmp}/bad.toml"], "unknown kind"),
    ],
)
def test_command_refuses_invalid_options(
    argv: list[str], request_bytes: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong option ends the command with 2 and says which; nothing is printed on stdout."""
    (tmp_path / "bad.toml").write_text('[[fault]]\nkind = "bang"\n')
    with pytest.raises(SystemExit) as caught:
        main([word.replace("{tmp}", str(tmp_path)) for word in argv])
    output = capsys.readouterr()
    assert (caught.value.code, output.out) == (2, "")
    assert request_bytes in output.err


def test_sandbox_loads_faults_from_path(tmp_path: Path) -> None:
    """A sandbox takes faults from a file, too."""
    path = tmp_path / "f.toml"
    path.write_text('[[fault]]\nkind = "html"\n')
    assert [fault.kind for fault in FakeSandbox(faults=path).faults] == ["html"]
    path.write_text("fault = 1")
    with pytest.raises(FaultError):
        FakeSandbox(faults=path)
    assert math.isinf(FakeSandbox().clock.speed)
