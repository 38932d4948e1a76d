"""The home of httpx: sends calls, adds each host's own credentials, and says plainly when no answer
came.

One `httpx.AsyncClient` gets slower the more requests are in flight: its pool looks at every
connection at the begin and end of each. So there is none. Requests go through a transport of ours:
`Shards` (httpx transports of one connection each), or `OverAiohttp` where aiohttp is installed (the
extra `fast`). Nothing then writes URLs, which may be signed, into the log either.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import ssl
import time
import urllib.request
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import quote, urljoin

import anyio
import httpx

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call, Reply
from jupyter_mjci.client.settings import Secret
from jupyter_mjci.errors import CallError, SettingsError, TransportError
from jupyter_mjci.services.tencent_ci import signing

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")
REDIRECTS = 5
WHOLE, WHOLE_PICTURE = (
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


Authorize = Callable[
    [httpx.Request, str], None
]  # changes the request's headers; gets the decoded path


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a plane's calls go. `host` is the service's own name where `url` is a door in front of
    it.
    """

    url: str
    host: str = ""
    authorize: Authorize | None = None

    @property
    def name(self) -> str:
        return self.host or httpx.URL(self.url).netloc.decode()


def mj_auth(style: str, secret: Secret) -> Authorize | None:
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


def cos_auth(
    secret_id: str, secret_key: Secret, token: Secret, clock: Clock, token_header: str
) -> Authorize:
    """COS and CI signatures over Host, the content headers and every parameter."""

    def authorize(request: httpx.Request, path: str) -> None:
        if token:
            request.headers[token_header] = token.reveal()
        headers = {
            name: value
            for name, value in request.headers.items()
            if name.startswith(_SIGNED) or name == "host"
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


_SIGNED = ("content-", "x-cos-", "x-ci-", "pic-operations", "range")


class Transport:
    """Sends calls over HTTP. `origins` tells each plane's host, `door` replaces the network (the
    sandbox in process).

    All sending happens on the engine's loop. Never more than `at_once` requests are in flight:
    waiting inside the HTTP library's pool would break it when a wait is interrupted.
    """

    def __init__(
        self,
        origins: Mapping[str, Origin],
        *,
        clock: Clock,
        timeout: float = 60.0,
        at_once: int = 16,
        door: httpx.AsyncBaseTransport | None = None,
        fast: bool | None = None,
    ) -> None:
        self.origins, self.clock, self.timeout, self.at_once, self.door = (
            origins,
            clock,
            timeout,
            at_once,
            door,
        )
        self.fast = find_spec("aiohttp") is not None if fast is None else fast
        self._engine: event_loop.Engine | None = None

    @property
    def busy(self) -> int:
        """How many requests are in flight, and connections in use: 0 when nobody waits for
        anything.
        """
        return (
            0
            if self._engine is None
            else self.at_once - self._slots.value + getattr(self._way, "busy", 0)
        )

    async def send(self, call: Call[Any]) -> Reply:
        """The answer, whatever its status. Raises TransportError where none came."""
        return await self._exchange(self.prepare(call), self.timeout * WHOLE)

    async def get(self, url: str) -> Reply:
        """A picture or file by its URL. Only the services' own hosts see a credential, on every hop
        of a redirect.
        """
        for _ in range(REDIRECTS):
            reply = await self._exchange(
                self._plain("GET", self.resolve(url)), self.timeout * WHOLE_PICTURE
            )
            if reply.status not in (301, 302, 303, 307, 308) or "location" not in reply.headers:
                return reply
            url = urljoin(reply.url, reply.headers["location"])
        raise TransportError(f"{httpx.URL(url).host} redirects in circles.")

    def prepare(self, call: Call[Any]) -> httpx.Request:
        """The request that `send` would send, signed now."""
        origin = self.origins.get(call.plane)
        if origin is None:
            raise _not_configured(call.service)
        query = "&".join(f"{_quote(name)}={_quote(value)}" for name, value in call.params.items())
        url = f"{origin.url}{quote(call.path, safe='/-_.~')}{'?' if query else ''}{query}"
        return self._request(call.method, url, origin, call.path, dict(call.headers), call.body)

    def resolve(self, url: str) -> str:
        """A picture's URL made absolute: some proxies tell only its path, or their own idea of
        localhost.
        """
        origin = self.origins.get("mj")
        if origin is None:
            return url
        absolute = httpx.URL(urljoin(f"{origin.url}/", url))
        home = httpx.URL(origin.url)
        if (
            absolute.host in _LOCAL
            and home.host not in _LOCAL
            and not home.host.endswith(".localhost")
        ):
            absolute = absolute.copy_with(scheme=home.scheme, host=home.host, port=home.port)
        return str(absolute)

    async def close(self) -> None:
        if self._engine is not None:
            await self._way.aclose()
            self._engine = None

    def _plain(self, method: str, url: str) -> httpx.Request:
        parsed = httpx.URL(url)
        for plane, origin in self.origins.items():
            if (
                "q-signature" in parsed.params
            ):  # it is signed: a second signature would be one too many
                origin = replace(origin, authorize=None)
            if parsed.host == origin.name.partition(":")[0] and plane != "mj":
                door = httpx.URL(origin.url)
                at_door = parsed.copy_with(scheme=door.scheme, host=door.host, port=door.port)
                return self._request(method, str(at_door), origin, parsed.path, {}, b"")
        own = self.origins.get("mj")
        if own is not None and parsed.netloc == httpx.URL(own.url).netloc:
            return self._request(method, url, own, parsed.path, {}, b"")
        return httpx.Request(method, url)

    def _request(
        self, method: str, url: str, origin: Origin, path: str, headers: dict[str, str], body: bytes
    ) -> httpx.Request:
        if origin.host:
            headers["Host"] = origin.host
        try:
            request = httpx.Request(method, url, headers=headers, content=body or None)
        except httpx.InvalidURL as error:
            raise CallError(f"This cannot be a URL: {url[:200]}", why=str(error)) from None
        if origin.authorize is not None:
            origin.authorize(request, path)
        return request

    async def _exchange(self, request: httpx.Request, within: float) -> Reply:
        """One request and its whole answer. An answer that trickles for ever is none: each piece of
        it comes in time, so only the whole has a bound that it can break.
        """
        self._wake()
        request.extensions = {
            **request.extensions,
            "timeout": httpx.Timeout(self.timeout).as_dict(),
        }
        async with self._slots:
            try:
                with anyio.move_on_after(within):
                    response = await self._way.handle_async_request(request)
                    content = await response.aread()
                    await response.aclose()
                    headers = {name.lower(): value for name, value in response.headers.items()}
                    return Reply(response.status_code, content, headers, str(request.url))
            except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
                raise _no_answer(request, error, self.timeout) from error
        raise _no_answer(request, httpx.ReadTimeout("the answer did not end"), within)

    def way(self) -> httpx.AsyncBaseTransport:
        """What carries requests: the door, or a way of our own to the network."""
        return self.door or (OverAiohttp() if self.fast else Shards(self.at_once))

    def _wake(self) -> None:
        """The pool belongs to one loop; after a fork there is a new one."""
        engine = event_loop.engine()
        if self._engine is engine:
            return
        self._way = self.way()
        self._slots = anyio.Semaphore(self.at_once)
        self._engine = engine


@lru_cache(maxsize=1)
def tls() -> ssl.SSLContext:
    """One for all connections: to make one takes as long as many requests."""
    return httpx.create_ssl_context()


class Shards(httpx.AsyncBaseTransport):
    """httpx transports of one connection each, at most `keep` of them idle.

    A connection whose request did not come to its end is thrown away with its transport, so nothing
    can stay behind in a pool. How many are in flight is the caller's business. Proxies of the
    environment are used.
    """

    def __init__(self, keep: int = 16) -> None:
        self.keep, self.busy = keep, 0
        self._idle: dict[tuple[str, str, int | None], list[httpx.AsyncHTTPTransport]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        place = (request.url.scheme, request.url.host, request.url.port)
        idle = self._idle.get(place)
        shard = idle.pop() if idle else _one_connection(request.url)
        self.busy += 1
        try:
            response = await shard.handle_async_request(request)
            await response.aread()
            await response.aclose()
        except BaseException:
            with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
                await shard.aclose()
            raise
        finally:
            self.busy -= 1
        self._idle.setdefault(place, []).append(shard)
        await self._forget()
        return response

    async def _forget(self) -> None:
        """Of too many, the one that has been idle longest at its place."""
        if sum(map(len, self._idle.values())) > self.keep:
            place = next(place for place, idle in self._idle.items() if idle)
            spare = self._idle[place].pop(0)
            if not self._idle[place]:
                del self._idle[place]
            with anyio.CancelScope(shield=True):
                await spare.aclose()

    async def aclose(self) -> None:
        idle = [shard for shards in self._idle.values() for shard in shards]
        self._idle.clear()
        for shard in idle:
            await shard.aclose()


def _one_connection(url: httpx.URL) -> httpx.AsyncHTTPTransport:
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    return httpx.AsyncHTTPTransport(
        verify=tls(), trust_env=False, limits=limits, proxy=_proxy_for(url)
    )


def _proxy_for(url: httpx.URL) -> str | None:
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return None if proxy is None or urllib.request.proxy_bypass(url.host) else proxy


class OverAiohttp(httpx.AsyncBaseTransport):
    """httpx requests, carried by aiohttp: several times as many in a second.

    What goes wrong is told in httpx's own exceptions, and always so that "never arrived" is
    certain.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    @property
    def busy(self) -> int:
        connector: Any = None if self._session is None else self._session.connector
        return len(connector._acquired) if connector else 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        import aiohttp
        from yarl import URL

        if request.url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(
                "Request URL is missing an 'http://' or 'https://' protocol."
            )
        session = self._session or self._open()
        limits = request.extensions.get("timeout", {})
        timeout = aiohttp.ClientTimeout(
            sock_connect=limits.get("connect"), sock_read=limits.get("read")
        )
        body = await request.aread()
        try:
            async with session.request(
                request.method,
                URL(str(request.url), encoded=True),
                headers=request.headers.multi_items(),
                data=body or None,
                allow_redirects=False,
                timeout=timeout,
                proxy=_proxy_for(request.url),
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _in_httpx(error) from error
        return httpx.Response(answer.status, headers=list(answer.raw_headers), content=content)

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls()),
            cookie_jar=aiohttp.DummyCookieJar(),
            # it would send what ~/.netrc holds; proxies are told with each request
            trust_env=False,
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )
        self._close = partial(_close, self._session, asyncio.get_running_loop(), os.getpid())
        weakref.finalize(self, self._close).atexit = False
        _OPEN.add(self)
        return self._session

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _in_httpx(error: Exception) -> httpx.HTTPError:
    import aiohttp

    never_sent = (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return httpx.ConnectTimeout(str(error))
    if isinstance(error, never_sent):
        return httpx.ConnectError(str(error))
    if isinstance(error, aiohttp.InvalidURL):
        return httpx.UnsupportedProtocol(str(error))
    return (
        httpx.ReadTimeout(str(error))
        if isinstance(error, TimeoutError)
        else httpx.ReadError(str(error))
    )


# aiohttp complains aloud about a session that nobody closed; a notebook's user cannot be asked to.
_OPEN: weakref.WeakSet[OverAiohttp] = weakref.WeakSet()


def _close(
    session: aiohttp.ClientSession, loop: asyncio.AbstractEventLoop, pid: int, wait: float = 0
) -> None:
    if session.closed or pid != os.getpid() or not loop.is_running():
        return
    closing = asyncio.run_coroutine_threadsafe(session.close(), loop)
    if wait:
        with contextlib.suppress(Exception):
            closing.result(wait)


@atexit.register
def _close_all() -> None:
    for way in list(_OPEN):
        way._close(wait=1)


_LOCAL = ("localhost", "127.0.0.1", "0.0.0.0", "::1", "host.docker.internal")

_NEEDED = {
    "mj": ("No Midjourney proxy is configured.", "MJCI_MJ_URL (and MJCI_MJ_SECRET)"),
    "ci": (
        "No Tencent CI account is configured.",
        "MJCI_CI_SECRET_ID, MJCI_CI_SECRET_KEY, MJCI_CI_BUCKET and MJCI_CI_REGION",
    ),
}


def _not_configured(service: str) -> SettingsError:
    what, names = _NEEDED[service]
    return SettingsError(what, hint=f"Set {names}, or use mjci.sandbox(), which needs no account.")


# What went wrong, in a person's words, and whether the service may have acted on the request all
# the same.
_REASONS: tuple[tuple[type[Exception], str, str, bool], ...] = (
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


def _no_answer(request: httpx.Request, error: Exception, timeout: float) -> TransportError:
    reason = next((reason for reason in _REASONS if isinstance(error, reason[0])), _REASONS[-1])
    _, why, hint, maybe = reason
    if request.method in ("GET", "HEAD"):  # reading twice costs nothing
        maybe, hint = False, "Try again." if maybe else hint
    where = f"{request.url.scheme}://{request.headers.get('host', request.url.host)}"
    said = why.format(error=error or type(error).__name__, timeout=timeout)
    what = f"No answer from {where}."
    slow = isinstance(error, httpx.ReadTimeout)
    return TransportError(
        what, why=f"{said[:1].upper()}{said[1:]}.", hint=hint, maybe_arrived=maybe, slow=slow
    )


def _quote(text: str) -> str:
    return quote(str(text), safe="-_.~")
