"""The loopback door: a uvicorn server on 127.0.0.1, and what wakes the services there when the
clock has something.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp

from jupyter_mjci.emulator.asgi import SocketConnection
from jupyter_mjci.emulator.clock import ScaledClock, VirtualClock

if TYPE_CHECKING:
    from jupyter_mjci.emulator.app import Sandbox


class Ticker:
    """Wakes the services on the server's loop when the next job is due."""

    MAX_INTERVAL = 0.25  # real seconds; a heartbeat, which also saves what is unsaved

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._timer = self._loop.call_later(self.MAX_INTERVAL, self._tick)

    def is_server_thread(self) -> bool:
        """Whether the caller is on the server's thread."""
        return threading.get_ident() == self._thread

    def call_threadsafe(self, function: Callable[[], None]) -> None:
        """Have the server's thread do it."""
        self._loop.call_soon_threadsafe(function)

    def reschedule(self) -> None:
        """Look again when the next job is due: a request may have made an earlier one."""
        if not self.is_server_thread():
            return self.call_threadsafe(self.reschedule)
        self._timer.cancel()
        self._timer = self._loop.call_later(self._compute_delay(), self._tick)
        return None

    def stop(self) -> None:
        self._timer.cancel()

    def _compute_delay(self) -> float:
        due = self._sandbox.next_event()
        clock = self._sandbox.clock
        if due is None or isinstance(clock, VirtualClock):
            return self.MAX_INTERVAL
        return min(self.MAX_INTERVAL, max(0.002, (due - clock.now()) / clock.speed))

    def _tick(self) -> None:
        due = self._sandbox.next_event()
        if (
            due is not None
            and isinstance(self._sandbox.clock, ScaledClock)
            and due <= self._sandbox.clock.now()
        ):
            self._sandbox.run_due()
        self._sandbox.save_if_due()
        self.reschedule()


class LoopbackServer:
    """A uvicorn server on 127.0.0.1, in a daemon thread. `close()` it, or use it in a `with`
    block.
    """

    def __init__(self, sandbox: Sandbox, port: int = 0, host: str = "127.0.0.1") -> None:
        if host not in ("127.0.0.1", "localhost"):
            raise ValueError(
                f"The sandbox listens on 127.0.0.1 only, never on {host!r}: anybody could use it there."
            )
        self._socket = _open_socket(port)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = sandbox.build_settings(self.url, self.url, self.url)
        self._ready = threading.Event()
        self._server: Any = None
        self._failure: Exception | None = None
        self.sandbox = sandbox
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
        except Exception as error:  # whoever opens the door hears of it
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._server = _build_server(self.sandbox.app, self._ready)
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
    """A listening socket. Its protocol is named because asyncio switches Nagle's algorithm off only
    where it is:

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


def _build_server(app: ASGIApp, ready: threading.Event) -> Any:
    """uvicorn, told apart from its signals, its logging and its manners at the end."""
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Connection(H11Protocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.app_state = {**self.app_state, "line": SocketConnection(transport)}

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
