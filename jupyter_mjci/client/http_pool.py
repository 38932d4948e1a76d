"""Carry HTTP requests over the network: by httpx, or by aiohttp where it is installed.

Both are httpx transports and neither has a pool that can be
exhausted. A single `httpx.AsyncClient` gets slower the more
requests are in flight, because its pool scans every connection at
the start and end of each request; and a pool slot of a cancelled
request can be lost for good. Limiting the number of requests in
flight is the caller's business.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import ssl
import urllib.request
import weakref
from collections.abc import AsyncIterable
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import anyio
import httpx

from jupyter_mjci.client.address_guard import send_guarded
from jupyter_mjci.client.bodies import read_response
from jupyter_mjci.errors import SettingsError

if TYPE_CHECKING:
    import aiohttp


@lru_cache(maxsize=8)
def get_ssl_context(ca_file: str = "") -> ssl.SSLContext:
    """Return the context of all connections: creating one takes long.

    Args:
        ca_file: certificates (PEM) to trust beside the usual ones

    Raises:
        SettingsError: the file cannot be read, or holds none
    """
    context = httpx.create_ssl_context()
    if ca_file:
        try:
            context.load_verify_locations(Path(ca_file).expanduser())
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError(
                f"Cannot read certificates from {ca_file}.",
                detail=error.strerror or str(error),
                hint="MJCI_CA_FILE is a file of PEM certificates.",
            ) from None
    return context


PROXY_VARIABLES = (
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
)


def _find_proxy(request: httpx.Request) -> str | None:
    """Return the proxy of a request by http_proxy, all_proxy and no_proxy."""
    # getproxies() goes through the whole environment, which takes as long as signing a request.
    is_system_asked = urllib.request.getproxies is not urllib.request.getproxies_environment
    if not is_system_asked and not any(map(os.environ.get, PROXY_VARIABLES)):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(request.url.scheme) or proxies.get("all")
    if proxy is None or urllib.request.proxy_bypass(_get_host_name(request)):
        return None
    return proxy


def _is_proxied(request: httpx.Request) -> bool:
    return _find_proxy(request) is not None


def _get_host_name(request: httpx.Request) -> str:
    """Return the name of the host, also where its address was chosen already."""
    return str(request.extensions.get("sni_hostname") or request.url.host)


# --- httpx ------------------------------------------------


class ShardedTransport(httpx.AsyncBaseTransport):
    """httpx transports of one connection each, at most `max_idle` of them idle.

    A connection whose request did not complete is closed with its
    transport, so that no request can leave anything behind in a
    pool.
    """

    def __init__(self, max_idle: int = 16, ca_file: str = "") -> None:
        self.max_idle = max_idle
        self.ca_file = ca_file
        self.in_flight = 0
        self._idle: dict[tuple[str, str, str, int | None], list[httpx.AsyncHTTPTransport]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await send_guarded(request, self._send, _is_proxied)

    async def _send(self, request: httpx.Request) -> httpx.Response:
        # A connection is proven for the name that it was made for.
        url = request.url
        origin = (_get_host_name(request), url.scheme, url.host, url.port)
        idle = self._idle.get(origin)
        shard = idle.pop() if idle else _build_single_connection(request, self.ca_file)
        self.in_flight += 1
        try:
            raw = await shard.handle_async_request(request)
            response = await read_response(
                request, raw.status_code, raw.headers, cast(AsyncIterable[bytes], raw.stream)
            )
            await raw.aclose()
        except BaseException:
            with anyio.CancelScope(shield=True), contextlib.suppress(Exception):
                await shard.aclose()
            raise
        finally:
            self.in_flight -= 1
        self._idle.setdefault(origin, []).append(shard)
        await self._evict_idle()
        return response

    async def _evict_idle(self) -> None:
        """Close the longest idle connection of an origin if there are too many."""
        if sum(map(len, self._idle.values())) > self.max_idle:
            origin = next(origin for origin, idle in self._idle.items() if idle)
            shard = self._idle[origin].pop(0)
            if not self._idle[origin]:
                del self._idle[origin]
            with anyio.CancelScope(shield=True):
                await shard.aclose()

    async def aclose(self) -> None:
        shards = [shard for idle in self._idle.values() for shard in idle]
        self._idle.clear()
        for shard in shards:
            await shard.aclose()


def _build_single_connection(request: httpx.Request, ca_file: str) -> httpx.AsyncHTTPTransport:
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1)
    return httpx.AsyncHTTPTransport(
        verify=get_ssl_context(ca_file), trust_env=False, limits=limits, proxy=_find_proxy(request)
    )


# --- aiohttp ----------------------------------------------


class AiohttpTransport(httpx.AsyncBaseTransport):
    """httpx requests sent by aiohttp, which handles several times as many per second.

    Errors are raised as httpx's own, and a lost response never as
    an error to connect, which would mean that the request was not
    sent. That is why httpx-aiohttp (0.2) does not replace this
    class: it maps `ServerDisconnectedError` to `ConnectTimeout`,
    and so a submission would be sent twice. It also decodes
    escapes of the URL, which breaks signed ones.
    """

    def __init__(self, ca_file: str = "") -> None:
        self.ca_file = ca_file
        self.in_flight = 0
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(
                "Request URL is missing an 'http://' or 'https://' protocol."
            )
        self.in_flight += 1
        try:
            return await send_guarded(request, self._send, _is_proxied)
        finally:
            self.in_flight -= 1

    async def _send(self, request: httpx.Request) -> httpx.Response:
        import aiohttp
        from yarl import URL

        session = self._session or self._open_session()
        body = await request.aread()
        limits = request.extensions.get("timeout", {})
        timeout = aiohttp.ClientTimeout(
            sock_connect=limits.get("connect"), sock_read=limits.get("read")
        )
        try:
            async with session.request(
                request.method,
                # yarl would otherwise unquote parts of a signed
                # URL.
                URL(str(request.url), encoded=True),
                headers=request.headers.multi_items(),
                data=body or None,
                allow_redirects=False,
                timeout=timeout,
                proxy=_find_proxy(request),
                server_hostname=request.extensions.get("sni_hostname"),
            ) as response:
                return await read_response(
                    request,
                    response.status,
                    httpx.Headers(list(response.raw_headers)),
                    response.content.iter_any(),
                )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _to_httpx_error(error) from error
        except ValueError as error:
            # Its words would repeat the header, with the secret.
            raise httpx.LocalProtocolError("the request is not valid HTTP") from error

    def _open_session(self) -> aiohttp.ClientSession:
        import aiohttp

        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=get_ssl_context(self.ca_file)),
            cookie_jar=aiohttp.DummyCookieJar(),
            # It would send credentials of ~/.netrc. Proxies are
            # set for each request.
            trust_env=False,
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )
        self._session = session
        loop = asyncio.get_running_loop()
        self._close_session = partial(_close_session, session, loop, os.getpid())
        weakref.finalize(self, self._close_session).atexit = False
        _OPEN_TRANSPORTS.add(self)
        return session

    async def aclose(self) -> None:
        session = self._session
        self._session = None
        if session is not None:
            await session.close()


def _to_httpx_error(error: Exception) -> httpx.HTTPError:
    import aiohttp

    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return httpx.ConnectTimeout(str(error))
    # The only errors after which the request was certainly not
    # sent.
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ClientHttpProxyError)):
        return httpx.ConnectError(str(error))
    if isinstance(error, aiohttp.InvalidURL):
        return httpx.UnsupportedProtocol(str(error))
    if isinstance(error, TimeoutError):
        return httpx.ReadTimeout(str(error))
    return httpx.ReadError(str(error))


# aiohttp warns about unclosed sessions, and a notebook never
# closes one.
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
    for transport in list(_OPEN_TRANSPORTS):
        transport._close_session(wait=1)
