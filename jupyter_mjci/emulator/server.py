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

from jupyter_mjci.emulator.clock import ScaledClock, VirtualClock
from jupyter_mjci.emulator.fault_injection import SocketConnection

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
    """

    def __init__(self, sandbox: ServedSandbox, port: int = 0, host: str = "127.0.0.1") -> None:
        if host not in ("127.0.0.1", "localhost"):
            raise ValueError(
                f"The sandbox listens on 127.0.0.1 only, not on {host!r}: "
                "other machines could use it there."
            )
        self._socket = _open_socket(port)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = sandbox.build_settings(lambda _: self.url)
        self.sandbox = sandbox
        self._ready = threading.Event()
        self._server: uvicorn.Server | None = None
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
            asyncio.run(self._serve())
        except Exception as error:  # raised again by the constructor
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        server = _build_server(self.sandbox.app, self._ready)
        ticker = Ticker(self.sandbox)
        self._server = server
        self.sandbox.ticker = ticker
        try:
            await server.serve(sockets=[self._socket])
        finally:
            ticker.stop()
            self.sandbox.ticker = None

    def close(self) -> None:
        """Stop listening, end every connection, save the state."""
        if self._server and self._thread.is_alive():
            self._server.should_exit = True
            self._thread.join()
            self.sandbox.save()
        self._socket.close()

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


def _build_server(app: ASGIApp, ready: threading.Event) -> uvicorn.Server:
    """Build a uvicorn server that sets `ready` and installs neither logging nor signal handlers."""
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class LoopbackProtocol(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.app_state = {**self.app_state, "connection": SocketConnection(transport)}

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
