"""Both stand-in services behind one ASGI app, with two doors: in process (`transport`) and on
loopback (`serve`).

The services are pure: bytes in, bytes out. What touches the outside is here and in the rooms
beside: deciding by host and path whom a request is for, keeping state on disk, and waking the
services when the clock has something for them; `conversation.py` reads and answers, `postman.py`
delivers callbacks, `server.py` listens.
"""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any, Protocol

import anyio.lowlevel
import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from jupyter_mjci.emulator.asgi import (
    TOO_LARGE_RESPONSES,
    AbsoluteFormMiddleware,
    BodyTooLarge,
    ClientDisconnected,
    Connection,
    FaultedRequest,
    parse_request,
    read_body,
    send_response,
)
from jupyter_mjci.emulator.clock import ScaledClock, VirtualClock
from jupyter_mjci.emulator.faults import Fault, Faults, load_faults
from jupyter_mjci.emulator.http import Request, Response, WebhookDelivery
from jupyter_mjci.emulator.midjourney.dialects import DIALECTS
from jupyter_mjci.emulator.midjourney.proxy import MidjourneyProxy
from jupyter_mjci.emulator.server import LoopbackServer, Ticker
from jupyter_mjci.emulator.storage import StateStore
from jupyter_mjci.emulator.tencent_ci.service import SECRET_ID, SECRET_KEY, TencentCI
from jupyter_mjci.emulator.webhooks import WebhookDispatcher

MJ_SECRET = "sandbox-secret"
BUCKET = "demo-1250000000"
REGION = "ap-chongqing"


class EmulatedService(Protocol):
    """The shape that both stand-ins have."""

    outbox: list[WebhookDelivery]

    def handle(self, request: Request) -> Response: ...
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


def select_service(request: Request) -> str:
    """ "mj" or "ci". The cloud's host names decide; for any other host (an address, localhost) what
    is asked does.
    """
    if _CLOUD_HOST.match(request.host.lower()):
        return "ci"
    if (
        "q-sign-algorithm=" in request.headers.get("authorization", "")
        or "q-sign-algorithm=" in request.query
    ):
        return "ci"
    if _PROXY_PATH.match(request.path):
        return "mj"
    return "ci" if _CLOUD_PATH.match(request.path) else "mj"


# ---------------------------------------------------------------- the sandbox


class Sandbox:
    """Both services, their clock, and the doors to them.

    `settings` says how to reach them in process; `serve()` gives a second set for other programs.
    `faults` can be added to at any time. `data` is a folder that keeps objects and jobs from one
    sandbox to the next.
    """

    SAVE_INTERVAL = 1.0  # real seconds between saves, longer where one save takes long

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
        self.faults = _load_faults(faults, seed)
        self.webhooks = WebhookDispatcher()
        self._state_store = StateStore(Path(data)) if data is not None else None
        kept = self._state_store.load() if self._state_store else {}
        self.clock = clock or VirtualClock(speed, **({"start": kept["now"]} if kept else {}))
        self._lock = threading.RLock()  # both doors may be open at once, each on its own thread
        self._restarts = 0
        self._unsaved = False
        self._next_save = 0.0
        self._ticker: Ticker | None = None
        self._servers: list[LoopbackServer] = []
        self._cached_date = (0, b"")
        self._services: dict[str, EmulatedService] = {
            name: self._build_service(name) for name in ("mj", "ci")
        }
        for name, service in self._services.items():
            if name in kept:
                service.restore(kept[name])
        if isinstance(self.clock, VirtualClock):
            self.clock.is_busy = lambda: self.next_event() is not None
            self.clock.on_moved = self._on_clock_moved
        self.app = Starlette(
            routes=[Route("/_sandbox/books", self._get_stats), _CatchAllRoute(self)],
            middleware=[Middleware(AbsoluteFormMiddleware)],
        )

    # ------------------------------------------------ the services

    def _build_service(self, name: str) -> EmulatedService:
        """A new service that knows nothing yet."""
        build: Callable[[], EmulatedService] = {"mj": self._build_mj, "ci": self._build_ci}[name]
        return build()

    def _build_mj(self) -> EmulatedService:
        return MidjourneyProxy(
            self.clock,
            dialect=self.dialect,
            secret=self.mj_secret,
            seed=self._derive_seed(),
            **self._options["mj"],
        )

    def _build_ci(self) -> EmulatedService:
        return TencentCI(
            self.clock,
            bucket=self.bucket,
            region=self.region,
            secret_id=self.secret_id,
            secret_key=self.secret_key,
            seed=self._derive_seed(),
            **self._options["ci"],
        )

    def _derive_seed(self) -> int:
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

    def handle_request(self, service: str, request: Request) -> Response:
        """Let a service answer, and see to what comes of it."""
        with self._lock:
            answer = self._services[service].handle(request)
            changes = request.method not in ("GET", "HEAD")
            self._unsaved |= changes
            self._collect_webhooks()
        if changes and self._ticker:
            self._ticker.reschedule()
        elif changes and self._state_store:
            self.save_if_due()
        return answer

    def run_due(self) -> None:
        """Bring every job up to now, and hand the callbacks that fell due to the postman."""
        with self._lock:
            for service in self._services.values():
                service.advance()
            self._unsaved = True
            self._collect_webhooks()

    def _collect_webhooks(self) -> None:
        for service in self._services.values():
            if service.outbox:
                self.webhooks.enqueue(service.outbox)
                service.outbox.clear()
        if self._ticker is None or self._ticker.is_server_thread():
            self.webhooks.start()

    def _on_clock_moved(self) -> None:
        """Somebody slept on the virtual clock or pushed it."""
        if self._ticker is None or self._ticker.is_server_thread():
            self.run_due()
        else:
            self._ticker.call_threadsafe(self.run_due)

    async def drain_webhooks(self) -> None:
        """Until every callback handed out so far has been delivered or has failed."""
        self.run_due()
        await self.webhooks.drain()

    # ------------------------------------------------ trouble

    def restart(self, service: str | None = None, *, remember: bool = False) -> None:
        """Start the services (or one) anew: everything forgotten, or restored from a snapshot with
        `remember`.
        """
        with self._lock:
            self._restarts += 1
            for name in [service] if service else list(self._services):
                kept = (
                    json.dumps(self._services[name].snapshot(), default=_encode_bytes)
                    if remember
                    else None
                )
                self._services[name] = self._build_service(name)
                if kept is not None:
                    self._services[name].restore(json.loads(kept, object_hook=_decode_bytes))

    def alter_jobs(self, service: str, kind: str, job_ids: Iterable[str]) -> None:
        """ "stuck": the jobs change no more by themselves. "lost": the service knows them no
        more.
        """
        act = {"stuck": "freeze", "lost": "forget"}[kind]
        with self._lock:
            for job in job_ids:
                getattr(self._services[service], act)(job)

    # ------------------------------------------------ the disk

    def snapshot(self) -> dict[str, Any]:
        """Everything that `data` keeps."""
        with self._lock:
            kept = {name: service.snapshot() for name, service in self._services.items()}
            return {"version": 1, "now": self.clock.now(), **kept}

    def save(self) -> None:
        """Write `data` now."""
        if self._state_store is None:
            return
        started = time.monotonic()
        with self._lock:
            self._unsaved = False
            self._state_store.save(self.snapshot())
        ended = time.monotonic()
        self._next_save = ended + max(self.SAVE_INTERVAL, 10 * (ended - started))

    def save_if_due(self) -> None:
        if self._state_store and self._unsaved and time.monotonic() >= self._next_save:
            self.save()

    def close(self) -> None:
        """Close the loopback doors, and save what `data` keeps."""
        for door in self._servers:
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
        return self.build_settings(
            "http://mj.sandbox.localhost",
            "http://ci.sandbox.localhost",
            "http://cos.sandbox.localhost",
        )

    def build_settings(self, mj_url: str, ci_endpoint: str, cos_endpoint: str) -> dict[str, str]:
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
        return InProcessTransport(self.app)

    def serve(self, port: int = 0, host: str = "127.0.0.1") -> LoopbackServer:
        """The loopback door, ready when this returns: for other programs, and for clients in other
        languages.

        A `ScaledClock` runs by itself there. With a `VirtualClock` the jobs stand still until
        somebody moves it.
        """
        door = LoopbackServer(self, port, host)
        self._servers.append(door)
        return door

    def build_date_header(self) -> bytes:
        """The Date header: the sandbox's time, not ours."""
        now = int(self.clock.now())
        if now != self._cached_date[0]:
            self._cached_date = (now, formatdate(now, usegmt=True).encode())
        return self._cached_date[1]

    async def handle_asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request and its answer."""
        request = parse_request(scope)
        service = select_service(request)
        line = scope.get("state", {}).get("line") or _IN_PROCESS_CONNECTION
        fault = (
            self.faults.select(service, request.method, request.path) if len(self.faults) else None
        )
        try:
            if fault:
                return await FaultedRequest(self, service, request, line, receive, send).apply(
                    fault
                )
            answer = self.handle_request(service, await self.read_request_body(request, receive))
        except ClientDisconnected:
            return None
        except BodyTooLarge:
            answer = TOO_LARGE_RESPONSES[service]
        await send_response(send, answer, request.method, self.build_date_header())
        return None

    async def read_request_body(self, request: Request, receive: Receive) -> Request:
        body = await read_body(request.headers, receive)
        if not body:
            return request
        return Request(
            request.method,
            request.host,
            request.path,
            request.query,
            request.headers,
            body,
            request.scheme,
        )

    async def _get_stats(self, _: StarletteRequest) -> JSONResponse:
        """What a person who debugs callbacks or faults wants to know."""
        post = self.webhooks
        callbacks = {
            "delivered": post.delivered,
            "failed": post.failed,
            "dropped": post.dropped_count,
        }
        return JSONResponse(
            {
                "dialect": self.dialect,
                "now": self.clock.now(),
                "speed": self.clock.speed if self.clock.speed < math.inf else "inf",
                "callbacks": {**callbacks, "dropped_urls": list(post.dropped)},
                "faults": {"armed": len(self.faults), "struck": self.faults.count},
                "restarts": self._restarts,
                "unsaved": self._state_store is not None and self._unsaved,
            }
        )


_IN_PROCESS_CONNECTION = Connection()


def _load_faults(source: Faults | Iterable[Fault] | Path | None, seed: int) -> Faults:
    if isinstance(source, Faults):
        return source
    return (
        load_faults(source, seed=seed)
        if isinstance(source, Path)
        else Faults(source or (), seed=seed)
    )


def _encode_bytes(value: object) -> dict[str, str]:
    if isinstance(value, bytes | bytearray):
        return {"$bytes": value.hex()}
    raise TypeError(f"cannot keep {type(value).__name__}")


def _decode_bytes(value: dict[str, Any]) -> Any:
    return bytes.fromhex(value["$bytes"]) if value.keys() == {"$bytes"} else value


class _CatchAllRoute(BaseRoute):
    """Everything that is not the sandbox's own page belongs to a service, whatever its path looks
    like.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.FULL, {}) if scope["type"] == "http" else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._sandbox.handle_asgi(scope, receive, send)


class InProcessTransport(httpx.AsyncBaseTransport):
    """httpx's ASGI transport around the app, telling it how long this client would wait for an
    answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        patience = request.extensions.get("timeout", {}).get("read")
        # A real connection always gives the others a turn; without one, a polling loop would starve
        # its loop.
        await anyio.lowlevel.checkpoint()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await self._app({**scope, "state": {"line": Connection(patience)}}, receive, send)

        return await httpx.ASGITransport(app=app).handle_async_request(request)
