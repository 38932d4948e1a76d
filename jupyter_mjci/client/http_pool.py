"""The two transports that carry requests over the network."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import ssl
import urllib.request
import weakref
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import anyio
import httpx

if TYPE_CHECKING:
    import aiohttp


@lru_cache(maxsize=1)
def get_ssl_context() -> ssl.SSLContext:
    """One for all connections: to make one takes as long as many requests."""
    return httpx.create_ssl_context()


class ShardedTransport(httpx.AsyncBaseTransport):
    """httpx transports of one connection each, at most `max_idle` of them idle.

    A connection whose request did not come to its end is thrown away with its transport, so nothing
    can stay behind in a pool. How many are in flight is the caller's business. Proxies of the
    environment are used.
    """

    def __init__(self, max_idle: int = 16) -> None:
        self.max_idle, self.in_flight = max_idle, 0
        self._idle: dict[tuple[str, str, int | None], list[httpx.AsyncHTTPTransport]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        place = (request.url.scheme, request.url.host, request.url.port)
        idle = self._idle.get(place)
        shard = idle.pop() if idle else _build_single_connection(request.url)
        self.in_flight += 1
        try:
            response = await shard.handle_async_request(request)
            await response.aread()
            await response.aclose()
        except BaseException:
            with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
                await shard.aclose()
            raise
        finally:
            self.in_flight -= 1
        self._idle.setdefault(place, []).append(shard)
        await self._evict_idle()
        return response

    async def _evict_idle(self) -> None:
        """Of too many, the one that has been idle longest at its place."""
        if sum(map(len, self._idle.values())) > self.max_idle:
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


def _build_single_connection(url: httpx.URL) -> httpx.AsyncHTTPTransport:
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    return httpx.AsyncHTTPTransport(
        verify=get_ssl_context(), trust_env=False, limits=limits, proxy=_find_proxy(url)
    )


def _find_proxy(url: httpx.URL) -> str | None:
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return None if proxy is None or urllib.request.proxy_bypass(url.host) else proxy


class AiohttpTransport(httpx.AsyncBaseTransport):
    """httpx requests, carried by aiohttp: several times as many in a second.

    What goes wrong is told in httpx's own exceptions, and always so that "never arrived" is
    certain.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    @property
    def in_flight(self) -> int:
        connector: Any = None if self._session is None else self._session.connector
        return len(connector._acquired) if connector else 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        import aiohttp
        from yarl import URL

        if request.url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(
                "Request URL is missing an 'http://' or 'https://' protocol."
            )
        session = self._session or self._open_session()
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
                proxy=_find_proxy(request.url),
            ) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _to_httpx_error(error) from error
        return httpx.Response(answer.status, headers=list(answer.raw_headers), content=content)

    def _open_session(self) -> aiohttp.ClientSession:
        import aiohttp

        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=get_ssl_context()),
            cookie_jar=aiohttp.DummyCookieJar(),
            # it would send what ~/.netrc holds; proxies are told with each request
            trust_env=False,
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )
        self._close_session = partial(
            _close_session, self._session, asyncio.get_running_loop(), os.getpid()
        )
        weakref.finalize(self, self._close_session).atexit = False
        _OPEN_TRANSPORTS.add(self)
        return self._session

    async def aclose(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _to_httpx_error(error: Exception) -> httpx.HTTPError:
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
_OPEN_TRANSPORTS: weakref.WeakSet[AiohttpTransport] = weakref.WeakSet()


def _close_session(
    session: aiohttp.ClientSession, loop: asyncio.AbstractEventLoop, pid: int, wait: float = 0
) -> None:
    if session.closed or pid != os.getpid() or not loop.is_running():
        return
    closing = asyncio.run_coroutine_threadsafe(session.close(), loop)
    if wait:
        with contextlib.suppress(Exception):
            closing.result(wait)


@atexit.register
def _close_open_transports() -> None:
    for way in list(_OPEN_TRANSPORTS):
        way._close_session(wait=1)
