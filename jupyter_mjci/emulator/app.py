"""The sandbox: both emulated services behind one ASGI app, in process or on loopback.

The services are pure: bytes in, bytes out. This module is where
they meet the outside: it routes each request to a service, saves
their state, and wakes them when the clock reaches the next event.
`asgi.py` parses and sends, `fault_injection.py` makes requests
fail, `webhooks.py` delivers callbacks, `server.py` listens.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import anyio.lowlevel
import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jupyter_mjci.emulator.access import AccessPolicy
from jupyter_mjci.emulator.asgi import (
    AbsoluteFormMiddleware,
    BodyTooLarge,
    ClientDisconnected,
    parse_request,
    read_body,
    send_response,
)
from jupyter_mjci.emulator.clock import ScaledClock, VirtualClock
from jupyter_mjci.emulator.cos.cors import CorsRule, build_cors_headers
from jupyter_mjci.emulator.cos.store import HostInfo
from jupyter_mjci.emulator.fault_injection import Connection, FaultedRequest
from jupyter_mjci.emulator.faults import Fault, Faults, load_faults
from jupyter_mjci.emulator.http import Request, Response
from jupyter_mjci.emulator.registry import (
    SERVICES,
    get_default_options,
    load_services,
    select_service,
)
from jupyter_mjci.emulator.server import LoopbackServer, Ticker
from jupyter_mjci.emulator.service import EmulatedService, GetUrl, Options
from jupyter_mjci.emulator.storage import VERSION, StateStore
from jupyter_mjci.emulator.webhooks import WebhookDispatcher


class Sandbox:
    """Both services, their clock, and the ways to reach them.

    `settings` says how to reach the services in process, through
    `transport()`; `serve()` starts a loopback server for other
    programs. `faults` can be added to at any time.

    Args:
        speed: how fast the virtual clock passes what is slept on
            it (default: at once)
        clock: the clock instead of a virtual one
        seed: where IDs, durations and pictures come from
        faults: faults, or the path of a TOML file of them
        data: a folder that keeps objects and jobs from one
            sandbox to the next
        origins: the web origins whose pages may use the loopback
            server, beside those of this machine; "*" for any
        callback_ports: the ports on this machine that callbacks
            may be sent to (default: any)
        options: what the services are built from, by the names
            in `ServiceSpec.options`: dialect, mj_secret,
            secret_id, …

    Raises:
        TypeError: no service takes the option
        ValueError: the dialect is unknown, or the folder of
            `data` cannot be used
        FaultError: a fault is not valid
    """

    # real seconds between saves, more where a single save takes
    # long
    SAVE_INTERVAL = 1.0

    def __init__(
        self,
        *,
        speed: float = math.inf,
        clock: ScaledClock | VirtualClock | None = None,
        seed: int = 0,
        faults: Faults | Iterable[Fault] | Path | None = None,
        data: Path | str | None = None,
        origins: Iterable[str] = (),
        callback_ports: Iterable[int] | None = None,
        **options: Any,
    ) -> None:
        self.options = _merge_options(options)
        self.seed = seed
        self.access = AccessPolicy(origins)
        self.faults = _load_faults(faults, seed)
        self.webhooks = WebhookDispatcher(callback_ports)
        self.ticker: Ticker | None = None
        # in-process and loopback clients run on different threads
        self._lock = threading.RLock()
        self._restarts = 0
        self._servers: list[LoopbackServer] = []
        self._cached_date = (0, b"")
        self._state_store = StateStore(Path(data)) if data is not None else None
        self._unsaved = False
        self._next_save = 0.0
        state = self._state_store.load() if self._state_store else {}
        self.clock = clock or _build_virtual_clock(speed, state)
        self.services: dict[str, Any] = {
            name: self._build_service(name) for name in load_services()
        }
        self._restore(state)
        self.app = Starlette(
            routes=[_OwnRoute("/_sandbox/stats", self._get_stats), _CatchAllRoute(self)],
            middleware=[
                Middleware(AbsoluteFormMiddleware),
                Middleware(_AccessMiddleware, sandbox=self),
            ],
        )

    # ------------------------------------------------ the
    # services

    def _restore(self, state: Mapping[str, Any]) -> None:
        """Let the services go on from a saved state, and hear of the virtual clock."""
        for name, service in self.services.items():
            if name in state:
                self._restore_service(service, state[name])
        if isinstance(self.clock, VirtualClock):
            self.clock.is_busy = lambda: self.next_event() is not None
            self.clock.on_moved = self._on_clock_moved

    def _restore_service(self, service: EmulatedService, state: dict[str, Any]) -> None:
        try:
            service.restore(state)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            if self._state_store is None:
                raise
            reason = f"{type(error).__name__}: {error}"
            raise self._state_store.build_damage_error(reason) from error

    def _build_service(self, name: str) -> EmulatedService:
        """Build a service without any state.

        The seed differs after each restart, so that IDs do not
        repeat.
        """
        seed = self.seed + 1_000_003 * self._restarts
        return SERVICES[name].build(self.clock, seed, self.options)

    def next_event(self) -> float | None:
        """Return when the next job of any service changes by itself (epoch seconds)."""
        with self._lock:
            times = [service.next_event() for service in self.services.values()]
            times += [due_at for due_at, _, _ in self.faults.held]
        return min((moment for moment in times if moment is not None), default=None)

    def handle_request(self, service: str, request: Request) -> Response:
        """Let a service answer, then deliver its callbacks and save its state where that is due."""
        with self._lock:
            self._forward_due()
            response: Response = self.services[service].handle(request)
            changes = request.method not in ("GET", "HEAD")
            self._unsaved |= changes
            self._collect_webhooks()
        if changes and self.ticker:
            self.ticker.reschedule()
        elif changes and self._state_store:
            self.save_if_due()
        return response

    def run_due(self) -> None:
        """Bring every job up to now, and queue the callbacks that fell due."""
        with self._lock:
            self._forward_due()
            for service in self.services.values():
                service.advance()
            self._unsaved = True
            self._collect_webhooks()

    def forward_later(self, service: str, request: Request, seconds: float) -> None:
        """Let a service handle a request after so many seconds of the sandbox's time."""
        with self._lock:
            self.faults.held.append((self.clock.now() + seconds, service, request))
        if self.ticker:
            self.ticker.reschedule()

    def _forward_due(self) -> None:
        now = self.clock.now()
        due = [entry for entry in self.faults.held if entry[0] <= now]
        if due:
            self.faults.held = [entry for entry in self.faults.held if entry[0] > now]
            for _, service, request in due:
                self.services[service].handle(request)

    def _collect_webhooks(self) -> None:
        for service in self.services.values():
            if service.outbox:
                self.webhooks.enqueue(service.outbox)
                service.outbox.clear()
        # While a server runs, only its thread delivers.
        if self.ticker is None or self.ticker.is_server_thread():
            self.webhooks.start()

    def _on_clock_moved(self) -> None:
        """Run what fell due when the virtual clock was slept on or advanced."""
        if self.ticker is None or self.ticker.is_server_thread():
            self.run_due()
        else:
            self.ticker.call_threadsafe(self.run_due)

    async def drain_webhooks(self) -> None:
        """Wait until every callback that is due has been delivered or has failed."""
        self.run_due()
        await self.webhooks.drain()

    # ------------------------------------------------ faults of a
    # service

    def restart(self, service: str | None = None, *, remember: bool = False) -> None:
        """Start the services (or one) anew, without their jobs.

        Args:
            service: "mj" or "ci"; both by default
            remember: keep the jobs, as a server with a database
                does
        """
        with self._lock:
            self._restarts += 1
            for name in [service] if service else list(self.services):
                before = self.services[name]
                self.services[name] = self._build_service(name)
                # through JSON, as `data` would keep it
                if remember:
                    saved = json.dumps(before.snapshot(), default=_encode_bytes)
                    state = json.loads(saved, object_hook=_decode_bytes)
                    self.services[name].restore(state)

    def find_job_ids(self, service: str, request: Request, response: Response) -> list[str]:
        """Return the IDs of the jobs that a request names or has made."""
        return SERVICES[service].find_job_ids(request, response)

    def alter_jobs(self, service: str, kind: str, job_ids: Iterable[str]) -> None:
        """Freeze jobs ("stuck": they no longer change) or forget them ("lost")."""
        emulated = self.services[service]
        alter = {"stuck": emulated.freeze, "lost": emulated.forget}[kind]
        with self._lock:
            for job_id in job_ids:
                alter(job_id)

    # ------------------------------------------------ saving

    def snapshot(self) -> dict[str, Any]:
        """Return everything that `data` keeps."""
        with self._lock:
            states = {name: service.snapshot() for name, service in self.services.items()}
            return {"version": VERSION, "now": self.clock.now(), **states}

    def save(self) -> None:
        """Save the state to `data` now."""
        if self._state_store is None:
            return
        started = time.monotonic()
        with self._lock:
            self._unsaved = False
            self._state_store.save(self.snapshot())
        ended = time.monotonic()
        self._next_save = ended + max(self.SAVE_INTERVAL, 10 * (ended - started))

    def save_if_due(self) -> None:
        """Save the state if it changed and `SAVE_INTERVAL` has passed since the last save."""
        if self._state_store and self._unsaved and time.monotonic() >= self._next_save:
            self.save()

    def close(self) -> None:
        """Close the loopback servers, and save the state."""
        for server in self._servers:
            server.close()
        self.save()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------ in process
    # and on loopback

    @property
    def settings(self) -> dict[str, str]:
        """How to reach the services in process, through `transport()`."""
        return self.build_settings(_get_own_url)

    def build_settings(self, get_url: GetUrl) -> dict[str, str]:
        """Return the addresses and the credentials that a client needs."""
        connection: dict[str, str] = {}
        for name in self.services:
            build = SERVICES[name].build_connection or SERVICES[name].get_account
            connection.update(build(get_url, self.options))
        return connection

    def build_account(self) -> dict[str, str]:
        """Return the settings of a session that uses all services in process."""
        account: dict[str, str] = {}
        for name in self.services:
            account.update(SERVICES[name].get_account(_get_own_url, self.options))
        return account

    def transport(self) -> httpx.AsyncBaseTransport:
        """Return an httpx transport that sends every request, whatever its host, to the sandbox."""
        return InProcessTransport(self.app)

    def serve(self, port: int = 0, host: str = "127.0.0.1", *, tls: bool = False) -> LoopbackServer:
        """Start a loopback server, for other programs and for clients in other languages.

        With a `ScaledClock` jobs age by themselves there; with a
        `VirtualClock` only when it moves.

        Args:
            port: the port; 0 for a free one
            host: 127.0.0.1 or localhost
            tls: serve https with a certificate of its own, and a
                second port as a proxy for the services' names

        Returns:
            The server, ready.

        Raises:
            ValueError: another host, or the extra `tls` is not
                installed
            OSError: the port is taken
        """
        server = LoopbackServer(self, port, host, tls)
        self._servers.append(server)
        return server

    def build_date_header(self) -> bytes:
        """Return the Date header: the sandbox's time."""
        now = int(self.clock.now())
        if now != self._cached_date[0]:
            self._cached_date = (now, formatdate(now, usegmt=True).encode())
        return self._cached_date[1]

    async def handle_asgi(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request, with the fault that it meets, if any."""
        request: Request = scope["state"]["request"]
        service: str = scope["state"]["service"]
        fault = self.faults.select(service, request.method, request.path)
        try:
            if fault:
                connection = scope["state"].get("connection") or Connection()
                faulted = FaultedRequest(self, service, request, connection, receive, send)
                await faulted.apply(fault)
                return
            request = await self.read_request_body(request, receive)
            response = self.handle_request(service, request)
        except ClientDisconnected:
            return
        except BodyTooLarge:
            response = SERVICES[service].too_large_response
        await send_response(send, response, request.method, self.build_date_header())

    def find_cors_rule(self, service: str, request: Request) -> tuple[bool, CorsRule | None]:
        """Return whether the service has cross-origin rules for a request, and the one that
        allows it.
        """
        with self._lock:
            return SERVICES[service].find_cors_rule(self.services[service], request)

    async def read_request_body(self, request: Request, receive: Receive) -> Request:
        """Return the request with its body."""
        body = await read_body(request.headers, receive)
        if not body:
            return request
        return replace(request, body=body)

    async def _get_stats(self, _: StarletteRequest) -> JSONResponse:
        """Return what helps to debug callbacks and faults."""
        callbacks = {
            "delivered": self.webhooks.delivered,
            "failed": self.webhooks.failed,
            "dropped": self.webhooks.dropped_count,
            "dropped_urls": list(self.webhooks.dropped),
        }
        return JSONResponse(
            {
                "now": self.clock.now(),
                "speed": self.clock.speed if self.clock.speed < math.inf else "inf",
                "callbacks": callbacks,
                "faults": {"active": len(self.faults), "triggered": self.faults.count},
                "restarts": self._restarts,
                "unsaved": self._state_store is not None and self._unsaved,
            }
        )


def _merge_options(options: Options) -> Options:
    defaults = get_default_options()
    if unknown := options.keys() - defaults.keys():
        raise TypeError(f"No emulated service takes {', '.join(sorted(unknown))}.")
    return {**defaults, **options}


def _get_own_url(name: str) -> str:
    return f"http://{name}.sandbox.localhost"


def _build_virtual_clock(speed: float, state: Mapping[str, Any]) -> VirtualClock:
    """Build a clock that goes on where the saved one ended."""
    if "now" in state:
        return VirtualClock(speed, state["now"])
    return VirtualClock(speed)


def _load_faults(source: Faults | Iterable[Fault] | Path | None, seed: int) -> Faults:
    if isinstance(source, Faults):
        return source
    if isinstance(source, Path):
        return load_faults(source, seed=seed)
    return Faults(source or (), seed=seed)


def _encode_bytes(value: object) -> dict[str, str]:
    if isinstance(value, bytes | bytearray):
        return {"$bytes": value.hex()}
    raise TypeError(f"{type(value).__name__} is not serializable.")


def _decode_bytes(value: dict[str, Any]) -> object:
    return bytes.fromhex(value["$bytes"]) if value.keys() == {"$bytes"} else value


class _OwnRoute(Route):
    """A page of the sandbox itself; at the cloud's names the path is that of an object."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] == "http" and HostInfo.parse(scope["state"]["request"].host).plane:
            return Match.NONE, {}
        return super().matches(scope)


class _CatchAllRoute(BaseRoute):
    """Sends every path but the sandbox's own page to a service, even paths that are odd."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return (Match.FULL, {}) if scope["type"] == "http" else (Match.NONE, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._sandbox.handle_asgi(scope, receive, send)


class _AccessMiddleware:
    """Rejects strangers, and lets pages of known origins read every response.

    What comes from this process itself is not checked.
    """

    def __init__(self, app: ASGIApp, sandbox: Sandbox) -> None:
        self.app = app
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = parse_request(scope)
        service = select_service(request)
        state = {**scope.get("state", {}), "request": request, "service": service}
        has_rules, rule = False, None
        if "origin" in request.headers:
            has_rules, rule = self._sandbox.find_cors_rule(service, request)
        refusal = None
        if not state.get("is_in_process"):
            refusal = self._sandbox.access.check(
                request,
                is_proxied="is_proxied" in state,
                is_allowed=has_rules and rule is not None,
            )
        if refusal:
            date = self._sandbox.build_date_header()
            await send_response(send, refusal, request.method, date)
            return
        send = _allow_reading(request, rule, send)
        if _is_preflight(request) and rule is not None:
            date = self._sandbox.build_date_header()
            await send_response(send, Response(200), request.method, date)
            return
        await self.app({**scope, "state": state}, receive, send)


def _is_preflight(request: Request) -> bool:
    return (
        request.method == "OPTIONS"
        and "origin" in request.headers
        and "access-control-request-method" in request.headers
    )


def _allow_reading(request: Request, rule: CorsRule | None, send: Send) -> Send:
    """Return a `send` that adds the cross-origin headers where a response lacks them."""
    if rule is None:
        return send

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message["headers"])
            names = {name.decode("latin-1"): "" for name, _ in headers}
            if "access-control-allow-origin" not in map(str.lower, names):
                cors = build_cors_headers(request, rule, names)
                for name, value in cors.items():
                    headers.append((name.encode(), value.encode("latin-1", "replace")))
            message = {**message, "headers": headers}
        await send(message)

    return send_with_headers


class InProcessTransport(httpx.AsyncBaseTransport):
    """httpx's ASGI transport, which also tells the app how long the client waits for a response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request to the app."""
        timeout = request.extensions.get("timeout", {}).get("read")
        # A socket always yields to the event loop; without this a
        # polling loop would starve it.
        await anyio.lowlevel.checkpoint()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            state = {"connection": Connection(timeout), "is_in_process": True}
            await self._app({**scope, "state": state}, receive, send)

        return await httpx.ASGITransport(app=app).handle_async_request(request)
