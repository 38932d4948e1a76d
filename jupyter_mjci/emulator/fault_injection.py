"""Makes one request go wrong. `faults.py` decides which fault; this module carries it out.

A `Connection` is where a fault meets the transport: in process it
raises the error that httpx would raise, on the loopback server it
breaks the real socket.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import anyio
import httpx
from starlette.types import Receive, Send

from jupyter_mjci.emulator.asgi import build_headers, select_body, send_response
from jupyter_mjci.emulator.clock import Clock
from jupyter_mjci.emulator.faults import FAULT_KINDS, Fault
from jupyter_mjci.emulator.http import Request, Response


class Connection:
    """A connection in process: what would have happened to it is raised as httpx's error.

    Args:
        timeout: the client's read timeout (real seconds), None
            for no limit
    """

    def __init__(self, timeout: float | None = None) -> None:
        self.timeout = timeout

    async def abort(
        self, error: type[httpx.TransportError], message: str, receive: Receive
    ) -> None:
        """End the connection without a (whole) response."""
        del receive  # there is no disconnect to wait for
        raise error(message)

    async def wait(self, clock: Clock, seconds: float, receive: Receive) -> bool:
        """Let time pass on the sandbox's clock; a client that waits less long times out.

        Returns whether the client is still there.
        """
        del receive
        if self.timeout is not None and seconds > self.timeout:
            await clock.sleep(self.timeout)
            raise httpx.ReadTimeout("The sandbox stalls.")
        await clock.sleep(seconds)
        return True


class SocketConnection(Connection):
    """A connection of the loopback server, which really breaks: reset, or closed early."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport

    async def abort(
        self, error: type[httpx.TransportError], message: str, receive: Receive
    ) -> None:
        """Close the socket (a protocol error) or reset it, then wait for the disconnect."""
        del message  # the client's own socket reports the error
        if error is httpx.RemoteProtocolError:
            # flushes what was sent, then FIN
            self._transport.close()
        else:
            _reset_on_close(self._transport)
            self._transport.abort()
        await _wait_for_disconnect(receive)

    async def wait(self, clock: Clock, seconds: float, receive: Receive) -> bool:
        """Let time pass on the sandbox's clock, until the client disconnects at the latest."""
        is_connected = False
        async with anyio.create_task_group() as group:
            group.start_soon(self._cancel_on_disconnect, receive, group.cancel_scope)
            await clock.sleep(seconds)
            is_connected = True
            group.cancel_scope.cancel()
        return is_connected

    async def _cancel_on_disconnect(self, receive: Receive, scope: anyio.CancelScope) -> None:
        await _wait_for_disconnect(receive)
        scope.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _reset_on_close(transport: asyncio.Transport) -> None:
    """Make the kernel send RST instead of FIN: SO_LINGER with a timeout of zero."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class FaultTarget(Protocol):
    """What a faulted request needs of the sandbox."""

    @property
    def clock(self) -> Clock:
        """The sandbox's time."""

    async def read_request_body(self, request: Request, receive: Receive) -> Request:
        """Return the request with its body."""

    def handle_request(self, service: str, request: Request) -> Response:
        """Let a service answer."""

    def forward_later(self, service: str, request: Request, seconds: float) -> None:
        """Let a service handle a request after so much time."""

    def restart(self, service: str | None = None, *, remember: bool = False) -> None:
        """Start the services anew."""

    def find_job_ids(self, service: str, request: Request, response: Response) -> list[str]:
        """Return the jobs that a request names or has made."""

    def alter_jobs(self, service: str, kind: str, job_ids: list[str]) -> None:
        """Freeze ("stuck") or forget ("lost") jobs."""

    def build_date_header(self) -> bytes:
        """Return the Date header."""


class FaultedRequest:
    """One request with a fault in it: each kind of fault is one method."""

    def __init__(
        self,
        sandbox: FaultTarget,
        service: str,
        request: Request,
        connection: Connection,
        receive: Receive,
        send: Send,
    ) -> None:
        self.sandbox = sandbox
        self.service = service
        self.request = request
        self.connection = connection
        self.receive = receive
        self.send = send

    async def apply(self, fault: Fault) -> None:
        """Read the request, let the service work where this kind does, and respond or fail."""
        response = Response()
        if fault.kind != "refuse":
            response = await self._execute(fault)
        response = FAULT_KINDS[fault.kind].transform(fault, response)
        handler = self._HANDLERS.get(fault.kind, FaultedRequest._respond)
        await handler(self, fault, response)

    async def _execute(self, fault: Fault) -> Response:
        self.request = await self.sandbox.read_request_body(self.request, self.receive)
        if fault.kind == "restart":
            self.sandbox.restart(fault.service, remember=fault.remember)
        if not fault.executes:
            return Response()
        return self.sandbox.handle_request(self.service, self.request)

    async def _refuse(self, _: Fault, __: Response) -> None:
        message = "Connection refused by the sandbox."
        await self.connection.abort(httpx.ConnectError, message, self.receive)

    async def _respond(self, _: Fault, response: Response) -> None:
        date = self.sandbox.build_date_header()
        await send_response(self.send, response, self.request.method, date)

    async def _drop(self, fault: Fault, _: Response) -> None:
        await self._abort(fault, "Server disconnected without sending a response.")

    async def _abort(self, fault: Fault, message: str) -> None:
        if fault.reset:
            message = "Connection reset by the sandbox."
            await self.connection.abort(httpx.ReadError, message, self.receive)
        else:
            await self.connection.abort(httpx.RemoteProtocolError, message, self.receive)

    async def _stall(self, fault: Fault, response: Response) -> None:
        await self.connection.wait(self.sandbox.clock, fault.seconds, self.receive)
        await self._respond(fault, response)

    async def _forward_late(self, fault: Fault, response: Response) -> None:
        self.sandbox.forward_later(self.service, self.request, fault.seconds)
        await self._respond(fault, response)

    async def _start_response(self, response: Response) -> bytes:
        """Send the status and the headers; return the body that is to follow."""
        headers = build_headers(response, self.request.method)
        headers.append((b"Date", self.sandbox.build_date_header()))
        await self.send(
            {"type": "http.response.start", "status": response.status, "headers": headers}
        )
        return select_body(response, self.request.method)

    async def _send_part(self, part: bytes) -> None:
        await self.send({"type": "http.response.body", "body": part, "more_body": True})

    async def _slow(self, fault: Fault, response: Response) -> None:
        body = await self._start_response(response)
        size = max(1, int(fault.rate / 4))
        for start in range(0, len(body), size):
            if not await self.connection.wait(self.sandbox.clock, size / fault.rate, self.receive):
                return
            await self._send_part(body[start : start + size])
        await self.send({"type": "http.response.body"})

    async def _truncate(self, fault: Fault, response: Response) -> None:
        body = await self._start_response(response)
        part = body[: min(int(len(body) * fault.keep), max(0, len(body) - 1))]
        if part:
            await self._send_part(part)
        message = "peer closed connection without sending complete message body"
        await self._abort(fault, f"{message} (received {len(part)} bytes)")

    async def _alter_jobs(self, fault: Fault, response: Response) -> None:
        """Freeze or forget the jobs that the request names or has made."""
        job_ids = self.sandbox.find_job_ids(self.service, self.request, response)
        self.sandbox.alter_jobs(self.service, fault.kind, job_ids)
        await self._respond(fault, response)

    _HANDLERS: Mapping[str, Callable[[FaultedRequest, Fault, Response], Awaitable[None]]] = {
        "refuse": _refuse,
        "drop_before": _drop,
        "drop_after": _drop,
        "stall": _stall,
        "slow": _slow,
        "truncate": _truncate,
        "forward_late": _forward_late,
        "stuck": _alter_jobs,
        "lost": _alter_jobs,
    }
