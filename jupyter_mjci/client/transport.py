"""The home of httpx: sends calls, adds each host's own credentials, and says plainly when no answer
came.

One `httpx.AsyncClient` gets slower the more requests are in flight: its pool looks at every
connection at the begin and end of each. So there is none. Requests go through a transport of ours:
`ShardedTransport` (httpx transports of one connection each), or `AiohttpTransport` where aiohttp is installed (the
extra `fast`). Nothing then writes URLs, which may be signed, into the log either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote, urljoin

import anyio
import httpx

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call, Response
from jupyter_mjci.client.http_pool import AiohttpTransport, ShardedTransport
from jupyter_mjci.client.settings import Secret
from jupyter_mjci.errors import InvalidRequest, SettingsError, TransportError
from jupyter_mjci.services.tencent_ci import signing

if TYPE_CHECKING:
    pass

T = TypeVar("T")
MAX_REDIRECTS = 5
TOTAL_TIMEOUT_FACTOR, IMAGE_TIMEOUT_FACTOR = (
    3,
    10,
)  # times the timeout of one step: how long a whole answer, or a picture, may take


class Clock(Protocol):
    """Whose time it is: the system's, or a sandbox's."""

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


AuthFunc = Callable[
    [httpx.Request, str], None
]  # changes the request's headers; gets the decoded path


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a plane's calls go. `host` is the service's own name where `url` is a door in front of
    it.
    """

    url: str
    host: str = ""
    authorize: AuthFunc | None = None

    @property
    def name(self) -> str:
        return self.host or httpx.URL(self.url).netloc.decode()


def build_mj_auth(style: str, secret: Secret) -> AuthFunc | None:
    """The proxy families' three ways to hear a secret. Never two at once: the .NET family takes the
    first it sees.
    """
    header, form = {
        "secret": ("mj-api-secret", "{}"),
        "bearer": ("Authorization", "Bearer {}"),
        "raw": ("Authorization", "{}"),
    }[style]

    def authorize(request: httpx.Request, _: str) -> None:
        request.headers[header] = form.format(secret.reveal())

    return authorize if secret else None


def build_cos_auth(
    secret_id: str, secret_key: Secret, token: Secret, clock: Clock, token_header: str
) -> AuthFunc:
    """COS and CI signatures over Host, the content headers and every parameter."""

    def authorize(request: httpx.Request, path: str) -> None:
        if token:
            request.headers[token_header] = token.reveal()
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.startswith(_SIGNED_HEADERS) or name == "host"
        }
        request.headers["Authorization"] = signing.sign(
            request.method,
            path,
            params=dict(request.url.params),
            headers=headers,
            secret_id=secret_id,
            secret_key=secret_key.reveal(),
            key_time=signing.key_time(clock.now()),
        )

    return authorize


_SIGNED_HEADERS = ("content-", "x-cos-", "x-ci-", "pic-operations", "range")


class Transport:
    """Sends calls over HTTP. `endpoints` tells each plane's host, `transport` replaces the network (the
    sandbox in process).

    All sending happens on the engine's loop. Never more than `at_once` requests are in flight:
    waiting inside the HTTP library's pool would break it when a wait is interrupted.
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        *,
        clock: Clock,
        timeout: float = 60.0,
        at_once: int = 16,
        transport: httpx.AsyncBaseTransport | None = None,
        use_aiohttp: bool | None = None,
    ) -> None:
        self.endpoints, self.clock, self.timeout, self.at_once, self.custom_transport = (
            endpoints,
            clock,
            timeout,
            at_once,
            transport,
        )
        self.use_aiohttp = find_spec("aiohttp") is not None if use_aiohttp is None else use_aiohttp
        self._loop_thread: event_loop.LoopThread | None = None

    @property
    def in_flight(self) -> int:
        """How many requests are in flight, and connections in use: 0 when nobody waits for
        anything.
        """
        return (
            0
            if self._loop_thread is None
            else self.at_once - self._semaphore.value + getattr(self._pool, "in_flight", 0)
        )

    async def send(self, call: Call[Any]) -> Response:
        """The answer, whatever its status. Raises TransportError where none came."""
        return await self._send_request(
            self.build_request(call), self.timeout * TOTAL_TIMEOUT_FACTOR
        )

    async def get(self, url: str) -> Response:
        """A picture or file by its URL. Only the services' own hosts see a credential, on every hop
        of a redirect.
        """
        for _ in range(MAX_REDIRECTS):
            reply = await self._send_request(
                self._build_download_request("GET", self.resolve_url(url)),
                self.timeout * IMAGE_TIMEOUT_FACTOR,
            )
            if reply.status not in (301, 302, 303, 307, 308) or "location" not in reply.headers:
                return reply
            url = urljoin(reply.url, reply.headers["location"])
        raise TransportError(f"{httpx.URL(url).host} redirects in circles.")

    def build_request(self, call: Call[Any]) -> httpx.Request:
        """The request that `send` would send, signed now."""
        origin = self.endpoints.get(call.endpoint)
        if origin is None:
            raise _build_not_configured_error(call.service)
        query = "&".join(f"{_quote(name)}={_quote(value)}" for name, value in call.params.items())
        url = f"{origin.url}{quote(call.path, safe='/-_.~')}{'?' if query else ''}{query}"
        return self._build_authorized_request(
            call.method, url, origin, call.path, dict(call.headers), call.body
        )

    def resolve_url(self, url: str) -> str:
        """A picture's URL made absolute: some proxies tell only its path, or their own idea of
        localhost.
        """
        origin = self.endpoints.get("mj")
        if origin is None:
            return url
        absolute = httpx.URL(urljoin(f"{origin.url}/", url))
        home = httpx.URL(origin.url)
        if (
            absolute.host in _LOCAL_HOSTS
            and home.host not in _LOCAL_HOSTS
            and not home.host.endswith(".localhost")
        ):
            absolute = absolute.copy_with(scheme=home.scheme, host=home.host, port=home.port)
        return str(absolute)

    async def close(self) -> None:
        if self._loop_thread is not None:
            await self._pool.aclose()
            self._loop_thread = None

    def _build_download_request(self, method: str, url: str) -> httpx.Request:
        parsed = httpx.URL(url)
        for plane, origin in self.endpoints.items():
            if (
                "q-signature" in parsed.params
            ):  # it is signed: a second signature would be one too many
                origin = replace(origin, authorize=None)
            if parsed.host == origin.name.partition(":")[0] and plane != "mj":
                door = httpx.URL(origin.url)
                at_door = parsed.copy_with(scheme=door.scheme, host=door.host, port=door.port)
                return self._build_authorized_request(
                    method, str(at_door), origin, parsed.path, {}, b""
                )
        own = self.endpoints.get("mj")
        if own is not None and parsed.netloc == httpx.URL(own.url).netloc:
            return self._build_authorized_request(method, url, own, parsed.path, {}, b"")
        return httpx.Request(method, url)

    def _build_authorized_request(
        self,
        method: str,
        url: str,
        endpoint: Endpoint,
        path: str,
        headers: dict[str, str],
        body: bytes,
    ) -> httpx.Request:
        if endpoint.host:
            headers["Host"] = endpoint.host
        try:
            request = httpx.Request(method, url, headers=headers, content=body or None)
        except httpx.InvalidURL as error:
            raise InvalidRequest(f"This cannot be a URL: {url[:200]}", detail=str(error)) from None
        if endpoint.authorize is not None:
            endpoint.authorize(request, path)
        return request

    async def _send_request(self, request: httpx.Request, total_timeout: float) -> Response:
        """One request and its whole answer. An answer that trickles for ever is none: each piece of
        it comes in time, so only the whole has a bound that it can break.
        """
        self._ensure_pool()
        request.extensions = {
            **request.extensions,
            "timeout": httpx.Timeout(self.timeout).as_dict(),
        }
        async with self._semaphore:
            try:
                with anyio.move_on_after(total_timeout):
                    response = await self._pool.handle_async_request(request)
                    content = await response.aread()
                    await response.aclose()
                    headers = {name.lower(): value for name, value in response.headers.items()}
                    return Response(response.status_code, content, headers, str(request.url))
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                raise _build_transport_error(request, error, self.timeout) from error
        raise _build_transport_error(
            request, httpx.ReadTimeout("the answer did not end"), total_timeout
        )

    def make_transport(self) -> httpx.AsyncBaseTransport:
        """What carries requests: the door, or a way of our own to the network."""
        return self.custom_transport or (
            AiohttpTransport() if self.use_aiohttp else ShardedTransport(self.at_once)
        )

    def _ensure_pool(self) -> None:
        """The pool belongs to one loop; after a fork there is a new one."""
        engine = event_loop.get_loop_thread()
        if self._loop_thread is engine:
            return
        self._pool = self.make_transport()
        self._semaphore = anyio.Semaphore(self.at_once)
        self._loop_thread = engine


_LOCAL_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0", "::1", "host.docker.internal")

_REQUIRED_SETTINGS = {
    "mj": ("No Midjourney proxy is configured.", "MJCI_MJ_URL (and MJCI_MJ_SECRET)"),
    "ci": (
        "No Tencent CI account is configured.",
        "MJCI_CI_SECRET_ID, MJCI_CI_SECRET_KEY, MJCI_CI_BUCKET and MJCI_CI_REGION",
    ),
}


def _build_not_configured_error(service: str) -> SettingsError:
    what, names = _REQUIRED_SETTINGS[service]
    return SettingsError(what, hint=f"Set {names}, or use mjci.sandbox(), which needs no account.")


# What went wrong, in a person's words, and whether the service may have acted on the request all
# the same.
_FAILURE_REASONS: tuple[tuple[type[Exception], str, str, bool], ...] = (
    (
        httpx.ConnectTimeout,
        "nothing accepted the connection in {timeout:g} s",
        "Check the address and your network, or raise `timeout`.",
        False,
    ),
    (httpx.PoolTimeout, "all connections are busy", "Raise `at_once`, or wait.", False),
    (httpx.ConnectError, "{error}", "Is the service running, and is this its address?", False),
    (httpx.UnsupportedProtocol, "{error}", "A base URL begins with http:// or https://.", False),
    (
        httpx.ReadTimeout,
        "the answer did not come in {timeout:g} s",
        "It may have been carried out: look at the listing before sending it again.",
        True,
    ),
    (
        httpx.HTTPError,
        "the connection broke: {error}",
        "It may have been carried out: look at the listing before sending it again.",
        True,
    ),
)


def _build_transport_error(
    request: httpx.Request, error: Exception, timeout: float
) -> TransportError:
    reason = next(
        (reason for reason in _FAILURE_REASONS if isinstance(error, reason[0])),
        _FAILURE_REASONS[-1],
    )
    _, why, hint, maybe = reason
    if request.method in ("GET", "HEAD"):  # reading twice costs nothing
        maybe, hint = False, "Try again." if maybe else hint
    where = f"{request.url.scheme}://{request.headers.get('host', request.url.host)}"
    said = why.format(error=error or type(error).__name__, timeout=timeout)
    what = f"No answer from {where}."
    slow = isinstance(error, httpx.ReadTimeout)
    return TransportError(
        what,
        detail=f"{said[:1].upper()}{said[1:]}.",
        hint=hint,
        may_have_been_sent=maybe,
        timed_out=slow,
    )


def _quote(text: str) -> str:
    return quote(str(text), safe="-_.~")
