"""One conversation over ASGI: reading a request, sending an answer, and how it is made to fail.

`faults.py` says what goes wrong; a `Connection` does it to a connection: in process as the error that
httpx would raise, on the loopback door to the real socket.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import anyio
import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from jupyter_mjci.emulator.clock import Clock
from jupyter_mjci.emulator.faults import FAULT_KINDS, Fault
from jupyter_mjci.emulator.http import Request, Response

if TYPE_CHECKING:
    from jupyter_mjci.emulator.app import Sandbox

MAX_BODY_BYTES = 128 * 1024 * 1024  # bytes of one request's body

# ---------------------------------------------------------------- reading and answering


def parse_request(scope: Scope) -> Request:
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


class ClientDisconnected(Exception):
    """The other side hung up."""


class BodyTooLarge(Exception):
    """More body than the door takes in."""


async def read_body(headers: Mapping[str, str], receive: Receive) -> bytes:
    announced = headers.get("content-length", "")
    if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
        raise BodyTooLarge
    message = await receive()
    chunks: list[bytes] = []
    size = 0
    while message["type"] == "http.request":
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > MAX_BODY_BYTES:
            raise BodyTooLarge
        if not message.get("more_body"):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        message = await receive()
    raise ClientDisconnected


TOO_LARGE_RESPONSES = {
    "mj": Response(
        413, b"Request Entity Too Large\n", {"content-type": "text/plain", "connection": "close"}
    ),
    "ci": Response(
        400,
        b"<Error><Code>EntityTooLarge</Code><Message>The body is larger than the sandbox takes in.</Message></Error>",
        {"content-type": "application/xml", "connection": "close"},
    ),
}


def _encode_header(text: str) -> bytes:
    """A header's bytes, whatever a service put into it."""
    try:
        raw = text.encode("latin-1")
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "replace")
    return raw.translate(None, b"\r\n\0").strip()


def build_headers(response: Response, method: str) -> list[tuple[bytes, bytes]]:
    """The headers as the service spells them: some of its clients look them up by their exact
    letters.
    """
    headers = [
        (name.encode("latin-1", "replace"), _encode_header(text))
        for name, text in response.headers.items()
    ]
    names = {name.lower() for name, _ in headers}
    if response.status in (204, 304):
        return headers
    if method != "HEAD" or b"content-length" not in names:
        headers = [(name, value) for name, value in headers if name.lower() != b"content-length"]
        headers.append((b"Content-Length", str(len(response.body)).encode()))
    return headers


async def send_response(send: Send, response: Response, method: str, date: bytes = b"") -> None:
    """Send a whole answer."""
    headers = build_headers(response, method)
    if date:
        headers.append((b"date", date))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    bodiless = method == "HEAD" or response.status in (204, 304)
    await send({"type": "http.response.body", "body": b"" if bodiless else response.body})


# ---------------------------------------------------------------- how clients of a forward proxy
# ask


class AbsoluteFormMiddleware:
    """Cuts `GET http://host/path`, what a client of a forward proxy sends, into Host and path;
    turns CONNECT down.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if scope["method"] == "CONNECT":
                return await send_response(send, _CONNECT_REJECTED, "CONNECT")
            raw: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
            if not raw.startswith(b"/"):
                scope = _to_origin_form(scope, raw)
        await self.app(scope, receive, send)
        return None


_CONNECT_REJECTED = Response(
    405,
    b"The sandbox opens no tunnels: it answers as both services itself. Use http:// endpoints through it.\n",
    {
        "content-type": "text/plain; charset=utf-8",
        "allow": "GET, HEAD, POST, PUT, DELETE",
        "connection": "close",
    },
)


def _to_origin_form(scope: Scope, raw: bytes) -> Scope:
    scheme, separator, rest = raw.partition(b"://")
    if not separator:  # "OPTIONS *"
        return {**scope, "raw_path": b"/", "path": "/"}
    authority, slash, path = rest.partition(b"/")
    host = authority.rpartition(b"@")[2]
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    path = slash + path or b"/"
    found = {"scheme": scheme.decode().lower(), "raw_path": path, "path": path.decode("latin-1")}
    return {**scope, **found, "headers": [(b"host", host), *headers]}


# ---------------------------------------------------------------- the line: how a conversation is
# made to fail


class Connection:
    """In process: what would have happened to a connection is raised as the error that httpx would
    raise.
    """

    def __init__(self, timeout: float | None = None) -> None:
        self.timeout = timeout

    async def abort(
        self, error: type[httpx.TransportError], message: str, receive: Receive
    ) -> None:
        del receive  # nobody hangs up in process
        raise error(message)

    async def wait(self, clock: Clock, seconds: float, receive: Receive) -> None:
        """Let time pass on the sandbox's clock; a client that runs out of patience sees its
        timeout.
        """
        del receive
        if self.timeout is not None and seconds > self.timeout:
            await clock.sleep(self.timeout)
            raise httpx.ReadTimeout("The sandbox stalls.")
        await clock.sleep(seconds)


class SocketConnection(Connection):
    """On the loopback door the connection really breaks: reset, or closed early."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport

    async def abort(
        self, error: type[httpx.TransportError], message: str, receive: Receive
    ) -> None:
        del message  # the client's own socket will find them
        if error is httpx.RemoteProtocolError:
            self._transport.close()  # flushes what was sent, then an orderly end
        else:
            _reset_on_close(self._transport)
            self._transport.abort()
        while (await receive())["type"] != "http.disconnect":
            pass

    async def wait(self, clock: Clock, seconds: float, receive: Receive) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._cancel_on_disconnect, receive, group.cancel_scope)
            await clock.sleep(seconds)
            group.cancel_scope.cancel()

    async def _cancel_on_disconnect(self, receive: Receive, scope: anyio.CancelScope) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        scope.cancel()


def _reset_on_close(transport: asyncio.Transport) -> None:
    """Make the kernel send RST instead of FIN."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class FaultedRequest:
    """One request with a fault in it: each kind of fault is one method."""

    def __init__(
        self,
        sandbox: Sandbox,
        service: str,
        request: Request,
        connection: Connection,
        receive: Receive,
        send: Send,
    ):
        self.sandbox, self.service, self.request = sandbox, service, request
        self.connection, self.receive, self.send = connection, receive, send

    async def apply(self, fault: Fault) -> None:
        answer = Response()
        if fault.kind != "refuse":
            request = await self.sandbox.read_request_body(self.request, self.receive)
            if fault.kind == "restart":
                self.sandbox.restart(fault.service, remember=fault.remember)
            works = FAULT_KINDS[fault.kind].executes
            if fault.done if works is None else works:
                answer = self.sandbox.handle_request(self.service, request)
        answer = FAULT_KINDS[fault.kind].transform(fault, answer)
        await self._HANDLERS.get(fault.kind, FaultedRequest._respond)(self, fault, answer)

    async def _refuse(self, _: Fault, __: Response) -> None:
        await self.connection.abort(
            httpx.ConnectError, "Connection refused by the sandbox.", self.receive
        )

    async def _respond(self, _: Fault, response: Response) -> None:
        await send_response(
            self.send, response, self.request.method, self.sandbox.build_date_header()
        )

    async def _drop(self, fault: Fault, _: Response) -> None:
        await self._abort(fault, "Server disconnected without sending a response.")

    async def _abort(self, fault: Fault, message: str) -> None:
        if fault.reset:
            await self.connection.abort(
                httpx.ReadError, "Connection reset by the sandbox.", self.receive
            )
        else:
            await self.connection.abort(httpx.RemoteProtocolError, message, self.receive)

    async def _stall(self, fault: Fault, response: Response) -> None:
        await self.connection.wait(self.sandbox.clock, fault.seconds, self.receive)
        await self._respond(fault, response)

    async def _start_response(self, response: Response) -> bytes:
        headers = [
            *build_headers(response, self.request.method),
            (b"date", self.sandbox.build_date_header()),
        ]
        await self.send(
            {"type": "http.response.start", "status": response.status, "headers": headers}
        )
        return (
            b"" if self.request.method == "HEAD" or response.status in (204, 304) else response.body
        )

    async def _slow(self, fault: Fault, response: Response) -> None:
        body = await self._start_response(response)
        size = max(1, int(fault.rate / 4))
        for start in range(0, len(body), size):
            await self.connection.wait(self.sandbox.clock, size / fault.rate, self.receive)
            await self.send(
                {
                    "type": "http.response.body",
                    "body": body[start : start + size],
                    "more_body": True,
                }
            )
        await self.send({"type": "http.response.body"})

    async def _truncate(self, fault: Fault, response: Response) -> None:
        body = await self._start_response(response)
        part = body[: min(int(len(body) * fault.keep), max(0, len(body) - 1))]
        if part:
            await self.send({"type": "http.response.body", "body": part, "more_body": True})
        await self._abort(
            fault,
            f"peer closed connection without sending complete message body (received {len(part)} bytes)",
        )

    async def _alter_jobs(self, fault: Fault, response: Response) -> None:
        """Do something to the jobs that the request names or has made."""
        self.sandbox.alter_jobs(
            self.service, fault.kind, find_job_ids(self.service, self.request, response)
        )
        await self._respond(fault, response)

    _HANDLERS: Mapping[str, Callable[[FaultedRequest, Fault, Response], Awaitable[None]]] = {
        "refuse": _refuse,
        "drop_before": _drop,
        "drop_after": _drop,
        "stall": _stall,
        "slow": _slow,
        "truncate": _truncate,
        "stuck": _alter_jobs,
        "lost": _alter_jobs,
    }


_JOB_ID_IN_PATH = {
    "mj": re.compile(r"/task/([^/]+)/"),
    "ci": re.compile(r"/(?:\w+_)?(?:jobs|inventorytriggerjob)/([^/?]+)"),
}


def find_job_ids(service: str, request: Request, response: Response) -> list[str]:
    """The ids of the jobs that a request is about: named in its path, or made by it."""
    found = _JOB_ID_IN_PATH[service].search(request.path)
    if found:
        return re.split(r",|%2C", found[1])
    text = response.body.decode("utf-8", "replace")
    if service == "ci":
        return re.findall(r"<JobId>([^<]+)</JobId>", text) if request.method == "POST" else []
    made = re.search(r'"result":\s*"([^"]+)"', text) if "/submit/" in request.path else None
    return made[1].split(",") if made else []
