"""ASGI in and out: a request's scope becomes a `Request`, a `Response` becomes ASGI messages.

`AbsoluteFormMiddleware` lets clients use the sandbox as a forward
proxy. How a connection is made to fail is in
`fault_injection.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from jupyter_mjci.emulator.http import Request, Response

MAX_BODY_BYTES = 128 * 1024 * 1024  # of one request

# ----------------------------------------------------------------
# requests and responses


def parse_request(scope: Scope) -> Request:
    """Build a request without its body from an ASGI scope; repeated headers are joined by ","."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1")
        value = raw_value.decode("latin-1")
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
    """The client closed the connection."""


class BodyTooLarge(Exception):
    """The body exceeds `MAX_BODY_BYTES`."""


async def read_body(headers: Mapping[str, str], receive: Receive) -> bytes:
    """Receive a whole body.

    Raises:
        BodyTooLarge: it exceeds `MAX_BODY_BYTES`
        ClientDisconnected: the client closed the connection
            before its end
    """
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


def _encode_header(text: str) -> bytes:
    """Encode a header, dropping the bytes that would end it."""
    try:
        raw = text.encode("latin-1")
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "replace")
    return raw.translate(None, b"\r\n\0").strip()


def _spell_name(name: str) -> str:
    """Return a standard header's name with its capitals, others (`x-…`) as they are."""
    return name.title() if name.islower() and not name.startswith("x-") else name


def build_headers(response: Response, method: str) -> list[tuple[bytes, bytes]]:
    """Build the headers with the service's own capitals: some clients compare them exactly."""
    headers = [
        (_spell_name(name).encode("latin-1", "replace"), _encode_header(text))
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
    """Send a whole response."""
    headers = build_headers(response, method)
    if date:
        headers.append((b"Date", date))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": select_body(response, method)})


def select_body(response: Response, method: str) -> bytes:
    """Return the bytes that may follow the headers: none for HEAD, 204 and 304."""
    if method == "HEAD" or response.status in (204, 304):
        return b""
    return response.body


# ----------------------------------------------------------------
# as a forward proxy


class AbsoluteFormMiddleware:
    """Splits `GET http://host/path`, which a client of a forward proxy sends, into Host and path.

    CONNECT is refused: the sandbox answers as both services
    itself.
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
    b"The sandbox opens no tunnels: it answers as both services itself. "
    b"Use http:// endpoints through it, or start it with --tls.\n",
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
    path = slash + path or b"/"
    headers = [(name, value) for name, value in scope["headers"] if name != b"host"]
    return {
        **scope,
        "state": {**scope.get("state", {}), "is_proxied": True},
        "scheme": scheme.decode().lower(),
        "raw_path": path,
        "path": path.decode("latin-1"),
        "headers": [(b"host", host), *headers],
    }
