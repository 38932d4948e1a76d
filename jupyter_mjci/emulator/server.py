"""The loopback server: uvicorn on 127.0.0.1 in a thread, and the
timer that wakes the services there.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from starlette.types import ASGIApp

from jupyter_mjci.emulator.certificates import CertificateAuthority
from jupyter_mjci.emulator.clock import ScaledClock, VirtualClock
from jupyter_mjci.emulator.fault_injection import SocketConnection
from jupyter_mjci.emulator.tunnel import find_target, open_tunnel

if TYPE_CHECKING:
    import uvicorn


class ServedSandbox(Protocol):
    """What the loopback server needs of the sandbox."""

    clock: ScaledClock | VirtualClock
    ticker: Ticker | None

    @property
    def app(self) -> ASGIApp:
        """The ASGI app of both services."""

    def build_settings(self, get_url: Callable[[str], str]) -> dict[str, str]:
        """Return how to reach the services, given the address of each."""

    def next_event(self) -> float | None:
        """Return when the next job changes by itself."""

    def run_due(self) -> None:
        """Let everything happen that is due by now."""

    def save(self) -> None:
        """Save the state."""

    def save_if_due(self) -> None:
        """Save the state if it changed and was not saved a moment ago."""


class Ticker:
    """A timer on the server's event loop that wakes the services when the next job is due."""

    # real seconds; also how often unsaved state is looked for
    MAX_INTERVAL = 0.25

    def __init__(self, sandbox: ServedSandbox) -> None:
        self._sandbox = sandbox
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._timer = self._loop.call_later(self.MAX_INTERVAL, self._tick)

    def is_server_thread(self) -> bool:
        """Return whether the caller runs on the server's thread."""
        return threading.get_ident() == self._thread

    def call_threadsafe(self, function: Callable[[], None]) -> None:
        """Call a function on the server's thread, soon."""
        self._loop.call_soon_threadsafe(function)

    def reschedule(self) -> None:
        """Set the timer again: a request may have made a job that is due earlier."""
        if not self.is_server_thread():
            self.call_threadsafe(self.reschedule)
            return
        self._timer.cancel()
        self._timer = self._loop.call_later(self._compute_delay(), self._tick)

    def stop(self) -> None:
        """Cancel the timer."""
        self._timer.cancel()

    def _compute_delay(self) -> float:
        due = self._sandbox.next_event()
        clock = self._sandbox.clock
        if due is None or isinstance(clock, VirtualClock):
            return self.MAX_INTERVAL
        return min(self.MAX_INTERVAL, max(0.002, (due - clock.now()) / clock.speed))

    def _tick(self) -> None:
        due = self._sandbox.next_event()
        clock = self._sandbox.clock
        # A virtual clock runs due jobs itself when it is moved.
        if due is not None and isinstance(clock, ScaledClock) and due <= clock.now():
            self._sandbox.run_due()
        self._sandbox.save_if_due()
        self.reschedule()


class LoopbackServer:
    """A uvicorn server on 127.0.0.1, in a daemon thread.

    Ready when the constructor returns. `close()` it, or use it in
    a `with` block. `url` is its address, `settings` how to reach
    the services there.

    With TLS there are two ports: `url` is https, and `proxy_url`
    of the settings takes plain requests of proxy clients and
    CONNECT for the services' names; `ca_file` is what they have
    to trust.
    """

    def __init__(
        self,
        sandbox: ServedSandbox,
        port: int = 0,
        host: str = "127.0.0.1",
        tls: bool = False,
    ) -> None:
        if host not in ("127.0.0.1", "localhost"):
            raise ValueError(
                f"The sandbox listens on 127.0.0.1 only, not on {host!r}: "
                "other machines could use it there."
            )
        self._authority = CertificateAuthority() if tls else None
        self._socket = _open_socket(port)
        self._proxy_socket: socket.socket | None = None
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.settings = sandbox.build_settings(lambda _: self.url)
        if self._authority:
            self._proxy_socket = _open_socket(0)
            proxy_port = self._proxy_socket.getsockname()[1]
            self.settings["proxy_url"] = f"http://127.0.0.1:{proxy_port}"
            self.settings["ca_file"] = str(self._authority.ca_file)
        self.sandbox = sandbox
        self._ready = threading.Event()
        self._server: uvicorn.Server | None = None
        self._proxy: uvicorn.Server | None = None
        self._failure: Exception | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"mjci-sandbox-{self.port}", daemon=True
        )
        self._thread.start()
        self._ready.wait()
        if self._failure:
            raise self._failure

    def _run(self) -> None:
        try:
            # `asyncio.run` as nest_asyncio patches it leaves the loop open.
            with asyncio.Runner() as runner:
                runner.run(self._serve())
        except Exception as error:  # raised again by the constructor
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        app = self.sandbox.app
        self._server = _build_server(app, self._ready, None)
        serving = [self._server.serve(sockets=[self._socket])]
        if self._authority and self._proxy_socket:
            self._server.config.load()
            self._server.config.ssl = self._authority.local_context
            self._proxy = _build_server(app, threading.Event(), self._authority)
            serving.append(self._proxy.serve(sockets=[self._proxy_socket]))
        ticker = Ticker(self.sandbox)
        self.sandbox.ticker = ticker
        try:
            await asyncio.gather(*serving)
        finally:
            ticker.stop()
            self.sandbox.ticker = None

    def close(self) -> None:
        """Stop listening, end every connection, save the state."""
        if self._server and self._thread.is_alive():
            self._server.should_exit = True
            if self._proxy:
                self._proxy.should_exit = True
            self._thread.join()
            self.sandbox.save()
        self._socket.close()
        if self._proxy_socket:
            self._proxy_socket.close()
        if self._authority:
            self._authority.close()

    def __enter__(self) -> LoopbackServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _open_socket(port: int) -> socket.socket:
    """Open a listening socket.

    IPPROTO_TCP is named because asyncio switches Nagle's
    algorithm off only for sockets that name it: otherwise every
    response waits 40 ms for the client's delayed acknowledgement.
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


def _build_server(
    app: ASGIApp, ready: threading.Event, authority: CertificateAuthority | None
) -> uvicorn.Server:
    """Build a uvicorn server that sets `ready` and installs neither logging nor signal handlers.

    With an authority it opens tunnels to the services' names.
    """
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    tunnels: set[asyncio.Task[None]] = set()

    class LoopbackProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.app_state = {**self.app_state, "connection": SocketConnection(transport)}

        def data_received(self, data: bytes) -> None:
            target = find_target(data) if authority else ""
            if authority is None or not target:
                super().data_received(data)
                return
            self._unset_keepalive_if_required()
            self.connections.discard(self)
            tunnel = open_tunnel(self.transport, authority, target, self._build_inner)
            task = asyncio.get_running_loop().create_task(tunnel)
            tunnels.add(task)
            task.add_done_callback(tunnels.discard)

        def _build_inner(self) -> LoopbackProtocol:
            return LoopbackProtocol(self.config, self.server_state, self.app_state, self.loop)

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            ready.set()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            # Requests that are still open wait for a fault to
            # end: closing does not wait for them.
            for connection in list(self.server_state.connections):
                connection.transport.abort()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app,
        http=LoopbackProtocol,
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
