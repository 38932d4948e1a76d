"""Both stand-in services behind one ASGI app, with two doors: in process (`transport`) and on loopback (`serve`).

The services are pure: bytes in, bytes out. Everything that touches the outside is here: reading and answering
requests, deciding by host and path whom they are for, breaking things on demand (`faults.py` says what, this says
how), delivering callbacks to loopback addresses, keeping state on disk, and waking the services when the clock has
something for them.

    python -m jupyter_mjci.sandbox.app --port 0 --dialect plus --speed 20
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import math
import os
import re
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from .clock import Clock, ScaledClock, VirtualClock
from .faults import KINDS, Fault, FaultError, Faults, read_faults
from .midjourney import MidjourneyProxy
from .mj_dialects import DIALECTS
from .shelf import Shelf
from .tencent_ci import SECRET_ID, SECRET_KEY, TencentCI
from .wire import Answer, Delivery, Request

LIMIT = 128 * 1024 * 1024  # bytes of one request's body

MJ_SECRET = "sandbox-secret"
BUCKET = "demo-1250000000"
REGION = "ap-chongqing"


class Service(Protocol):
    """The shape that both stand-ins have."""

    outbox: list[Delivery]

    def handle(self, request: Request) -> Answer: ...
    def advance(self) -> None: ...
    def next_event(self) -> float | None: ...
    def snapshot(self) -> dict[str, Any]: ...
    def restore(self, snapshot: dict[str, Any]) -> None: ...


# ---------------------------------------------------------------- whom a request is for

_CLOUD_HOST = re.compile(r"(?:[^.]+\.)?(?:ci|cos|pic)\.|service\.cos\.")
_PROXY_PATH = re.compile(r"/mj(?:/|$)|/[^/]+/mj(?:/|$)|/attachments/")
_CLOUD_PATH = re.compile(
    r"/(?:jobs|\w+_jobs|inventorytriggerjob|\w*queue|\w+_queue|\w*bucket|\w+_bucket|cibuckets"
    r"|template|workflow|triggerworkflow|workflowexecution)(?:/|$)"
)


def service_for(request: Request) -> str:
    """ "mj" or "ci". The cloud's host names decide; for any other host (an address, localhost) what is asked does."""
    if _CLOUD_HOST.match(request.host.lower()):
        return "ci"
    if "q-sign-algorithm=" in request.headers.get("authorization", "") or "q-sign-algorithm=" in request.query:
        return "ci"
    if _PROXY_PATH.match(request.path):
        return "mj"
    return "ci" if _CLOUD_PATH.match(request.path) else "mj"


class AbsoluteForm:
    """Cuts `GET http://host/path`, what a client of a forward proxy sends, into Host and path; turns CONNECT down."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if scope["method"] == "CONNECT":
                return await answer_with(send, _NO_TUNNELS, "CONNECT")
            raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
            if not raw.startswith(b"/"):
                scope = _origin_form(scope, raw)
        await self.app(scope, receive, send)
        return None


_NO_TUNNELS = Answer(
    405,
    b"The sandbox opens no tunnels: it answers as both services itself. Use http:// endpoints through it.\n",
    {"content-type": "text/plain; charset=utf-8", "allow": "GET, HEAD, POST, PUT, DELETE", "connection": "close"},
)


def _origin_form(scope: Scope, raw: bytes) -> Scope:
    scheme, separator, rest = raw.partition(b"://")
    if not separator:  # "OPTIONS *"
        return {**scope, "raw_path": b"/", "path": "/"}
    authority, slash, path = rest.partition(b"/")
    host = authority.rpartition(b"@")[2]
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    path = slash + path or b"/"
    found = {"scheme": scheme.decode().lower(), "raw_path": path, "path": path.decode("latin-1")}
    return {**scope, **found, "headers": [(b"host", host), *headers]}


# ---------------------------------------------------------------- reading and answering


def _request(scope: Scope) -> Request:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    return Request(
        scope["method"],
        headers.get("host", ""),
        raw.decode("latin-1"),
        scope["query_string"].decode("latin-1"),
        headers,
        b"",
        scope["scheme"],
    )


class Gone(Exception):
    """The other side hung up."""


class TooLarge(Exception):
    """More body than the door takes in."""


async def _body(scope_headers: Mapping[str, str], receive: Receive) -> bytes:
    announced = scope_headers.get("content-length", "")
    if announced.isdigit() and int(announced) > LIMIT:
        raise TooLarge
    message = await receive()
    chunks: list[bytes] = []
    size = 0
    while message["type"] == "http.request":
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > LIMIT:
            raise TooLarge
        if not message.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        message = await receive()
    raise Gone


_TOO_LARGE = {
    "mj": Answer(413, b"Request Entity Too Large\n", {"content-type": "text/plain", "connection": "close"}),
    "ci": Answer(
        400,
        b"<Error><Code>EntityTooLarge</Code><Message>The body is larger than the sandbox takes in.</Message></Error>",
        {"content-type": "application/xml", "connection": "close"},
    ),
}


def _plain(text: str) -> bytes:
    """A header's bytes, whatever a service put into it."""
    try:
        raw = text.encode("latin-1")
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "replace")
    return raw.translate(None, b"\r\n\0").strip()


def _head(answer: Answer, method: str) -> list[tuple[bytes, bytes]]:
    """The headers as the service spells them: some of its clients look them up by their exact letters."""
    headers = [(name.encode("latin-1", "replace"), _plain(text)) for name, text in answer.headers.items()]
    names = {name.lower() for name, _ in headers}
    if answer.status in (204, 304):
        return headers
    if method != "HEAD" or b"content-length" not in names:
        headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
        headers.append((b"Content-Length", str(len(answer.body)).encode()))
    return headers


async def answer_with(send: Send, answer: Answer, method: str, date: bytes = b"") -> None:
    """Send a whole answer."""
    headers = _head(answer, method)
    if date:
        headers.append((b"date", date))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    bodiless = method == "HEAD" or answer.status in (204, 304)
    await send({"type": "http.response.body", "body": b"" if bodiless else answer.body})


# ---------------------------------------------------------------- the line: how a conversation is made to fail


class Line:
    """In process: what would have happened to a connection is raised as the error that httpx would raise."""

    def __init__(self, patience: float | None = None) -> None:
        self.patience = patience

    async def cut(self, error: type[httpx.TransportError], words: str, receive: Receive) -> None:
        del receive  # nobody hangs up in process
        raise error(words)

    async def wait(self, clock: Clock, seconds: float, receive: Receive) -> None:
        """Let time pass on the sandbox's clock; a client that runs out of patience sees its timeout."""
        del receive
        if self.patience is not None and seconds > self.patience:
            await clock.sleep(self.patience)
            raise httpx.ReadTimeout("The sandbox stalls.")
        await clock.sleep(seconds)


class SocketLine(Line):
    """On the loopback door the connection really breaks: reset, or closed early."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport

    async def cut(self, error: type[httpx.TransportError], words: str, receive: Receive) -> None:
        del words  # the client's own socket will find them
        if error is httpx.RemoteProtocolError:
            self._transport.close()  # flushes what was sent, then an orderly end
        else:
            _reset_on_close(self._transport)
            self._transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass

    async def wait(self, clock: Clock, seconds: float, receive: Receive) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._stop_when_gone, receive, group.cancel_scope)
            await clock.sleep(seconds)
            group.cancel_scope.cancel()

    async def _stop_when_gone(self, receive: Receive, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()


def _reset_on_close(transport: asyncio.Transport) -> None:
    """Make the kernel send RST instead of FIN."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Conversation:
    """One request with a fault in it: each kind of fault is one method."""

    def __init__(self, sandbox: Sandbox, service: str, request: Request, line: Line, receive: Receive, send: Send):
        self.sandbox, self.service, self.request = sandbox, service, request
        self.line, self.receive, self.send = line, receive, send

    async def meet(self, fault: Fault) -> None:
        answer = Answer()
        if fault.kind != "refuse":
            request = await self.sandbox.with_body(self.request, self.receive)
            if fault.kind == "restart":
                self.sandbox.restart(fault.service, remember=fault.remember)
            works = KINDS[fault.kind].works
            if fault.done if works is None else works:
                answer = self.sandbox.work(self.service, request)
        answer = KINDS[fault.kind].twist(fault, answer)
        await self._ENDINGS.get(fault.kind, Conversation._whole)(self, fault, answer)

    async def _refuse(self, _: Fault, __: Answer) -> None:
        await self.line.cut(httpx.ConnectError, "Connection refused by the sandbox.", self.receive)

    async def _whole(self, _: Fault, answer: Answer) -> None:
        await answer_with(self.send, answer, self.request.method, self.sandbox.date())

    async def _drop(self, fault: Fault, _: Answer) -> None:
        await self._cut(fault, "Server disconnected without sending a response.")

    async def _cut(self, fault: Fault, words: str) -> None:
        if fault.reset:
            await self.line.cut(httpx.ReadError, "Connection reset by the sandbox.", self.receive)
        else:
            await self.line.cut(httpx.RemoteProtocolError, words, self.receive)

    async def _stall(self, fault: Fault, answer: Answer) -> None:
        await self.line.wait(self.sandbox.clock, fault.seconds, self.receive)
        await self._whole(fault, answer)

    async def _start(self, answer: Answer) -> bytes:
        headers = [*_head(answer, self.request.method), (b"date", self.sandbox.date())]
        await self.send({"type": "http.response.start", "status": answer.status, "headers": headers})
        return b"" if self.request.method == "HEAD" or answer.status in (204, 304) else answer.body

    async def _slow(self, fault: Fault, answer: Answer) -> None:
        body = await self._start(answer)
        size = max(1, int(fault.rate / 4))
        for start in range(0, len(body), size):
            await self.line.wait(self.sandbox.clock, size / fault.rate, self.receive)
            await self.send({"type": "http.response.body", "body": body[start : start + size], "more_body": True})
        await self.send({"type": "http.response.body"})

    async def _truncate(self, fault: Fault, answer: Answer) -> None:
        body = await self._start(answer)
        part = body[: min(int(len(body) * fault.keep), max(0, len(body) - 1))]
        if part:
            await self.send({"type": "http.response.body", "body": part, "more_body": True})
        await self._cut(
            fault, f"peer closed connection without sending complete message body (received {len(part)} bytes)"
        )

    async def _touch(self, fault: Fault, answer: Answer) -> None:
        """Do something to the jobs that the request names or has made."""
        self.sandbox.touch(self.service, fault.kind, named_jobs(self.service, self.request, answer))
        await self._whole(fault, answer)

    _ENDINGS: Mapping[str, Callable[[Conversation, Fault, Answer], Awaitable[None]]] = {
        "refuse": _refuse,
        "drop_before": _drop,
        "drop_after": _drop,
        "stall": _stall,
        "slow": _slow,
        "truncate": _truncate,
        "stuck": _touch,
        "lost": _touch,
    }


_JOB_IN_PATH = {
    "mj": re.compile(r"/task/([^/]+)/"),
    "ci": re.compile(r"/(?:\w+_)?(?:jobs|inventorytriggerjob)/([^/?]+)"),
}


def named_jobs(service: str, request: Request, answer: Answer) -> list[str]:
    """The ids of the jobs that a request is about: named in its path, or made by it."""
    found = _JOB_IN_PATH[service].search(request.path)
    if found:
        return re.split(r",|%2C", found[1])
    text = answer.body.decode("utf-8", "replace")
    if service == "ci":
        return re.findall(r"<JobId>([^<]+)</JobId>", text) if request.method == "POST" else []
    made = re.search(r'"result":\s*"([^"]+)"', text) if "/submit/" in request.path else None
    return made[1].split(",") if made else []


# ---------------------------------------------------------------- callbacks


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine by its very text: nothing is looked up."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https"):
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Postman:
    """Delivers callbacks, several at once, each once; what is not for loopback is dropped and listed."""

    AT_ONCE = 16
    TIMEOUT = 5.0

    def __init__(self) -> None:
        self.delivered = 0
        self.failed = 0
        self.dropped_count = 0
        self.dropped: deque[str] = deque(maxlen=1000)
        self._waiting: deque[Delivery] = deque()
        self._carriers = 0
        self._rounds: set[asyncio.Task[None]] = set()

    def take(self, deliveries: Iterable[Delivery]) -> None:
        for delivery in deliveries:
            if is_loopback(delivery.url):
                self._waiting.append(delivery)
            else:
                self.dropped_count += 1
                self.dropped.append(delivery.url)

    def set_out(self) -> None:
        """Start carrying, on the running loop; does nothing where none runs, and the post waits."""
        carriers = min(self.AT_ONCE - self._carriers, len(self._waiting))
        if carriers <= 0:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._carriers += carriers
        task = loop.create_task(self._round(carriers))
        self._rounds.add(task)
        task.add_done_callback(self._rounds.discard)

    async def settle(self) -> None:
        """Until everything handed in so far has been carried."""
        while self._rounds:
            await asyncio.wait(set(self._rounds))

    async def _round(self, carriers: int) -> None:
        try:
            # trust_env=False: a proxy from the environment would carry it off this machine.
            limits = httpx.Limits(max_connections=self.AT_ONCE)
            async with httpx.AsyncClient(trust_env=False, verify=False, timeout=self.TIMEOUT, limits=limits) as client:
                await asyncio.gather(*(self._carry(client) for _ in range(carriers)))
        finally:
            self._carriers -= carriers

    async def _carry(self, client: httpx.AsyncClient) -> None:
        while self._waiting:
            delivery = self._waiting.popleft()
            try:
                answer = await client.post(
                    _numeric(delivery.url), content=delivery.body, headers=dict(delivery.headers)
                )
                self.delivered += answer.is_success
                self.failed += not answer.is_success
            except (httpx.HTTPError, httpx.InvalidURL, ValueError):
                self.failed += 1


def _numeric(url: str) -> str:
    """Names under .localhost stay on this machine even where the resolver does not know that."""
    parts = urlsplit(url)
    if not (parts.hostname or "").endswith(".localhost"):
        return url
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"127.0.0.1{port}").geturl()


# ---------------------------------------------------------------- the sandbox


class Sandbox:
    """Both services, their clock, and the doors to them.

    `settings` says how to reach them in process; `serve()` gives a second set for other programs. `faults` can be
    added to at any time. `data` is a folder that keeps objects and jobs from one sandbox to the next.
    """

    SAVE_EVERY = 1.0  # real seconds between saves, longer where one save takes long

    def __init__(
        self,
        *,
        speed: float = math.inf,
        dialect: str = "plus",
        clock: ScaledClock | VirtualClock | None = None,
        seed: int = 0,
        faults: Faults | Iterable[Fault] | Path | None = None,
        data: Path | str | None = None,
        bucket: str = BUCKET,
        region: str = REGION,
        mj_secret: str = MJ_SECRET,
        secret_id: str = SECRET_ID,
        secret_key: str = SECRET_KEY,
        mj_options: Mapping[str, Any] | None = None,
        ci_options: Mapping[str, Any] | None = None,
    ) -> None:
        if dialect not in DIALECTS:
            raise ValueError(f"unknown dialect {dialect!r}; known: {', '.join(DIALECTS)}")
        self.dialect, self.seed = dialect, seed
        self.bucket, self.region = bucket, region
        self.mj_secret, self.secret_id, self.secret_key = mj_secret, secret_id, secret_key
        self._options = {"mj": dict(mj_options or {}), "ci": dict(ci_options or {})}
        self.faults = _faults(faults, seed)
        self.postman = Postman()
        self._shelf = Shelf(Path(data)) if data is not None else None
        kept = self._shelf.load() if self._shelf else {}
        self.clock = clock or VirtualClock(speed, **({"start": kept["now"]} if kept else {}))
        self._lock = threading.RLock()  # both doors may be open at once, each on its own thread
        self._restarts = 0
        self._unsaved = False
        self._next_save = 0.0
        self._ticker: Ticker | None = None
        self._doors: list[LoopbackDoor] = []
        self._date = (0, b"")
        self._services: dict[str, Service] = {name: self._fresh(name) for name in ("mj", "ci")}
        for name, service in self._services.items():
            if name in kept:
                service.restore(kept[name])
        if isinstance(self.clock, VirtualClock):
            self.clock.busy = lambda: self.next_event() is not None
            self.clock.moved = self._clock_moved
        self.app = Starlette(
            routes=[Route("/_sandbox/books", self._books), _EveryPath(self)],
            middleware=[Middleware(AbsoluteForm)],
        )

    # ------------------------------------------------ the services

    def _fresh(self, name: str) -> Service:
        """A new service that knows nothing yet."""
        build: Callable[[], Service] = {"mj": self._fresh_mj, "ci": self._fresh_ci}[name]
        return build()

    def _fresh_mj(self) -> Service:
        return MidjourneyProxy(
            self.clock, dialect=self.dialect, secret=self.mj_secret, seed=self._seed(), **self._options["mj"]
        )

    def _fresh_ci(self) -> Service:
        return TencentCI(
            self.clock,
            bucket=self.bucket,
            region=self.region,
            secret_id=self.secret_id,
            secret_key=self.secret_key,
            seed=self._seed(),
            **self._options["ci"],
        )

    def _seed(self) -> int:
        """After a restart ids must not come again."""
        return self.seed + 1_000_003 * self._restarts

    @property
    def mj(self) -> Any:
        """The Midjourney proxy behind the doors."""
        return self._services["mj"]

    @property
    def ci(self) -> Any:
        """Tencent CI and COS behind the doors."""
        return self._services["ci"]

    def next_event(self) -> float | None:
        """When the next job of either service changes by itself."""
        with self._lock:
            moments = [service.next_event() for service in self._services.values()]
        return min((moment for moment in moments if moment is not None), default=None)

    def work(self, service: str, request: Request) -> Answer:
        """Let a service answer, and see to what comes of it."""
        with self._lock:
            answer = self._services[service].handle(request)
            changes = request.method not in ("GET", "HEAD")
            self._unsaved |= changes
            self._collect()
        if changes and self._ticker:
            self._ticker.set()
        elif changes and self._shelf:
            self.save_if_due()
        return answer

    def pump(self) -> None:
        """Bring every job up to now, and hand the callbacks that fell due to the postman."""
        with self._lock:
            for service in self._services.values():
                service.advance()
            self._unsaved = True
            self._collect()

    def _collect(self) -> None:
        for service in self._services.values():
            if service.outbox:
                self.postman.take(service.outbox)
                service.outbox.clear()
        if self._ticker is None or self._ticker.here():
            self.postman.set_out()

    def _clock_moved(self) -> None:
        """Somebody slept on the virtual clock or pushed it."""
        if self._ticker is None or self._ticker.here():
            self.pump()
        else:
            self._ticker.call(self.pump)

    async def settle(self) -> None:
        """Until every callback handed out so far has been delivered or has failed."""
        self.pump()
        await self.postman.settle()

    # ------------------------------------------------ trouble

    def restart(self, service: str | None = None, *, remember: bool = False) -> None:
        """Start the services (or one) anew: everything forgotten, or restored from a snapshot with `remember`."""
        with self._lock:
            self._restarts += 1
            for name in [service] if service else list(self._services):
                kept = json.dumps(self._services[name].snapshot(), default=_as_text) if remember else None
                self._services[name] = self._fresh(name)
                if kept is not None:
                    self._services[name].restore(json.loads(kept, object_hook=_as_bytes))

    def touch(self, service: str, kind: str, jobs: Iterable[str]) -> None:
        """ "stuck": the jobs change no more by themselves. "lost": the service knows them no more."""
        act = {"stuck": "freeze", "lost": "forget"}[kind]
        with self._lock:
            for job in jobs:
                getattr(self._services[service], act)(job)

    # ------------------------------------------------ the disk

    def state(self) -> dict[str, Any]:
        """Everything that `data` keeps."""
        with self._lock:
            kept = {name: service.snapshot() for name, service in self._services.items()}
            return {"version": 1, "now": self.clock.now(), **kept}

    def save(self) -> None:
        """Write `data` now."""
        if self._shelf is None:
            return
        started = time.monotonic()
        with self._lock:
            self._unsaved = False
            self._shelf.save(self.state())
        ended = time.monotonic()
        self._next_save = ended + max(self.SAVE_EVERY, 10 * (ended - started))

    def save_if_due(self) -> None:
        if self._shelf and self._unsaved and time.monotonic() >= self._next_save:
            self.save()

    def close(self) -> None:
        """Close the loopback doors, and save what `data` keeps."""
        for door in self._doors:
            door.close()
        self.save()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------ the doors

    @property
    def settings(self) -> dict[str, str]:
        """How to reach the services in process, through `transport()`."""
        return self.settings_at(
            "http://mj.sandbox.localhost", "http://ci.sandbox.localhost", "http://cos.sandbox.localhost"
        )

    def settings_at(self, mj_url: str, ci_endpoint: str, cos_endpoint: str) -> dict[str, str]:
        return {
            "mj_url": mj_url,
            "mj_secret": self.mj_secret,
            "ci_endpoint": ci_endpoint,
            "cos_endpoint": cos_endpoint,
            "secret_id": self.secret_id,
            "secret_key": self.secret_key,
            "bucket": self.bucket,
            "region": self.region,
        }

    def transport(self) -> httpx.AsyncBaseTransport:
        """The door in process: whatever host a client asks, the sandbox answers."""
        return InProcess(self.app)

    def serve(self, port: int = 0, host: str = "127.0.0.1") -> LoopbackDoor:
        """The loopback door, ready when this returns: for other programs, and for clients in other languages.

        A `ScaledClock` runs by itself there. With a `VirtualClock` the jobs stand still until somebody moves it.
        """
        door = LoopbackDoor(self, port, host)
        self._doors.append(door)
        return door

    def date(self) -> bytes:
        """The Date header: the sandbox's time, not ours."""
        now = int(self.clock.now())
        if now != self._date[0]:
            self._date = (now, formatdate(now, usegmt=True).encode())
        return self._date[1]

    async def converse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request and its answer."""
        request = _request(scope)
        service = service_for(request)
        line = scope.get("state", {}).get("line") or _IN_PROCESS
        fault = self.faults.choose(service, request.method, request.path) if len(self.faults) else None
        try:
            if fault:
                return await Conversation(self, service, request, line, receive, send).meet(fault)
            answer = self.work(service, await self.with_body(request, receive))
        except Gone:
            return None
        except TooLarge:
            answer = _TOO_LARGE[service]
        await answer_with(send, answer, request.method, self.date())
        return None

    async def with_body(self, request: Request, receive: Receive) -> Request:
        body = await _body(request.headers, receive)
        if not body:
            return request
        return Request(request.method, request.host, request.path, request.query, request.headers, body, request.scheme)

    async def _books(self, _: StarletteRequest) -> JSONResponse:
        """What a person who debugs callbacks or faults wants to know."""
        post = self.postman
        callbacks = {"delivered": post.delivered, "failed": post.failed, "dropped": post.dropped_count}
        return JSONResponse(
            {
                "dialect": self.dialect,
                "now": self.clock.now(),
                "speed": self.clock.speed if self.clock.speed < math.inf else "inf",
                "callbacks": {**callbacks, "dropped_urls": list(post.dropped)},
                "faults": {"armed": len(self.faults), "struck": self.faults.count},
                "restarts": self._restarts,
                "unsaved": self._shelf is not None and self._unsaved,
            }
        )


_IN_PROCESS = Line()


def _faults(given: Faults | Iterable[Fault] | Path | None, seed: int) -> Faults:
    if isinstance(given, Faults):
        return given
    return read_faults(given, seed=seed) if isinstance(given, Path) else Faults(given or (), seed=seed)


def _as_text(value: object) -> dict[str, str]:
    if isinstance(value, bytes | bytearray):
        return {"$bytes": value.hex()}
    raise TypeError(f"cannot keep {type(value).__name__}")


def _as_bytes(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value["$bytes"]) if value.keys() == {"$bytes"} else value


class _EveryPath(BaseRoute):
    """Everything that is not the sandbox's own page belongs to a service, whatever its path looks like."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.FULL, {}) if scope["type"] == "http" else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._sandbox.converse(scope, receive, send)


class InProcess(httpx.AsyncBaseTransport):
    """httpx's ASGI transport around the app, telling it how long this client would wait for an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        patience = request.extensions.get("timeout", {}).get("read")
        # A real connection always gives the others a turn; without one, a polling loop would starve its loop.
        await anyio.lowlevel.checkpoint()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await self._app({**scope, "state": {"line": Line(patience)}}, receive, send)

        return await httpx.ASGITransport(app=app).handle_async_request(request)


# ---------------------------------------------------------------- the loopback door


class Ticker:
    """Wakes the services on the server's loop when the next job is due."""

    LONGEST = 0.25  # real seconds; a heartbeat, which also saves what is unsaved

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._timer = self._loop.call_later(self.LONGEST, self._tick)

    def here(self) -> bool:
        """Whether the caller is on the server's thread."""
        return threading.get_ident() == self._thread

    def call(self, act: Callable[[], None]) -> None:
        """Have the server's thread do it."""
        self._loop.call_soon_threadsafe(act)

    def set(self) -> None:
        """Look again when the next job is due: a request may have made an earlier one."""
        if not self.here():
            return self.call(self.set)
        self._timer.cancel()
        self._timer = self._loop.call_later(self._delay(), self._tick)
        return None

    def stop(self) -> None:
        self._timer.cancel()

    def _delay(self) -> float:
        due = self._sandbox.next_event()
        clock = self._sandbox.clock
        if due is None or isinstance(clock, VirtualClock):
            return self.LONGEST
        return min(self.LONGEST, max(0.002, (due - clock.now()) / clock.speed))

    def _tick(self) -> None:
        due = self._sandbox.next_event()
        if due is not None and isinstance(self._sandbox.clock, ScaledClock) and due <= self._sandbox.clock.now():
            self._sandbox.pump()
        self._sandbox.save_if_due()
        self.set()


class LoopbackDoor:
    """A uvicorn server on 127.0.0.1, in a daemon thread. `close()` it, or use it in a `with` block."""

    def __init__(self, sandbox: Sandbox, port: int = 0, host: str = "127.0.0.1") -> None:
        if host not in ("127.0.0.1", "localhost"):
            raise ValueError(f"The sandbox listens on 127.0.0.1 only, never on {host!r}: anybody could use it there.")
        self._socket = _listen(port)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = sandbox.settings_at(self.url, self.url, self.url)
        self._ready = threading.Event()
        self._server: Any = None
        self._failure: Exception | None = None
        self.sandbox = sandbox
        self._thread = threading.Thread(target=self._run, name=f"mjci-sandbox-{self.port}", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure:
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # whoever opens the door hears of it
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._server = _server(self.sandbox.app, self._ready)
        self.sandbox._ticker = ticker = Ticker(self.sandbox)
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            ticker.stop()
            self.sandbox._ticker = None

    def close(self) -> None:
        """Stop listening, end every connection, save what `data` keeps."""
        if self._thread.is_alive():
            self._server.should_exit = True
            self._thread.join()
            self.sandbox.save()
        self._socket.close()

    def __enter__(self) -> LoopbackDoor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _listen(port: int) -> socket.socket:
    """A listening socket. Its protocol is named because asyncio switches Nagle's algorithm off only where it is:

    otherwise every answer waits for the client's delayed acknowledgement, 40 ms each.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen(1024)
    except BaseException:
        listening.close()
        raise
    return listening


def _server(app: ASGIApp, ready: threading.Event) -> Any:
    """uvicorn, told apart from its signals, its logging and its manners at the end."""
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Connection(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.app_state = {**self.app_state, "line": SocketLine(transport)}

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready.set()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # Whoever still waits here waits for a fault to end.
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=256 * 1024,
    )
    return Server(config)


# ---------------------------------------------------------------- the command


def _arguments(argv: Sequence[str] | None) -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    parser = argparse.ArgumentParser(
        prog="jupyter mjci sandbox", description="Serve stand-ins for both picture services on this machine."
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--dialect", choices=DIALECTS, default="plus", help="family of the Midjourney proxy")
    parser.add_argument("--speed", type=float, default=1.0, help="how many times as fast as real (default 1)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other ids and pictures")
    parser.add_argument("--faults", type=Path, metavar="FILE", help="a TOML file of [[fault]] tables")
    parser.add_argument("--data", type=Path, metavar="DIR", help="keep objects and jobs in this folder")
    return parser, parser.parse_args(argv)


def _served_clock(speed: float, data: Path | None) -> ScaledClock:
    """Now, or where the kept jobs' time has got to, whichever is later: time never runs backwards for them."""
    kept = Shelf(data).load() if data else {}
    return ScaledClock(speed, start=max(time.time(), float(kept.get("now", 0.0))))


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; prints one line of JSON when ready."""
    parser, asked = _arguments(argv)
    if not 0 < asked.speed < math.inf:
        parser.error("--speed must be a number above 0")
    try:
        clock = _served_clock(asked.speed, asked.data)
        sandbox = Sandbox(clock=clock, dialect=asked.dialect, seed=asked.seed, faults=asked.faults, data=asked.data)
        door = sandbox.serve(asked.port)
    except (FaultError, OSError, OverflowError) as error:
        parser.error(str(error))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    print(json.dumps({"url": door.url, **door.settings}), flush=True)
    stop.wait()
    door.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
