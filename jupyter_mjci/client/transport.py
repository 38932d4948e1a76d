"""Send calls over HTTP, with the credentials of each host.

All requests run on the background loop (`event_loop`), never more
than `at_once` at a time: a request that is cancelled while it
waits inside an HTTP library's pool can break that pool, so the
waiting happens here. There is no `httpx.Client`, so nothing
writes URLs, which may be signed, into the log.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urljoin

import anyio
import httpx

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.address_guard import GUARD_EXTENSION, AddressGuard
from jupyter_mjci.client.addresses import (
    DEFAULT_PORTS,
    build_basic_auth,
    get_origin,
    move_url,
    replace_mirrored_host,
    strip_userinfo,
)
from jupyter_mjci.client.bodies import (
    BOUND_EXTENSION,
    MAX_ANSWER_SIZE,
    MAX_LISTING_SIZE,
    MIB,
    BodyTooLarge,
    choose_file_bound,
    get_bound,
)
from jupyter_mjci.client.calls import Call, Response, check_headers
from jupyter_mjci.client.http_pool import AiohttpTransport, ShardedTransport
from jupyter_mjci.client.outcomes import Outcome
from jupyter_mjci.client.redaction import Redactor, redact, strip_signature
from jupyter_mjci.client.settings import Secret
from jupyter_mjci.errors import (
    InvalidRequest,
    InvalidResponse,
    MjciError,
    ResponseTooLarge,
    SettingsError,
    TransportError,
)

USER_AGENT = f"jupyter_mjci/{version('jupyter_mjci')}"
NO_SECRET = Secret("")
T = TypeVar("T")
MAX_REDIRECTS = 5
REDIRECT_STATUSES = (301, 302, 303, 307, 308)
# How long a whole response, or an image, may take, in timeouts of
# one read.
TOTAL_TIMEOUT_FACTOR = 3
IMAGE_TIMEOUT_FACTOR = 10


class Clock(Protocol):
    """The time of the services: the system's, a sandbox's or a replay's."""

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    def now(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


# Adds the credentials to a request's headers. Takes the request
# and its decoded path.
AuthFunc = Callable[[httpx.Request, str], None]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host that calls are sent to.

    Args:
        url: the base URL that is connected to
        host: the service's own host, where `url` is another one
            in front of it; it is signed and sent as the Host
            header
        authorize: adds the credentials
        max_body_size: the bound of a response's body, in bytes,
            decompressed; that of a listing is MAX_LISTING_SIZE
        aliases: other names of the same host in links, which are
            fetched from `url`
        credentials: "user:password" for a gateway, sent as Basic
            authentication
        mirrors: the mirrors of picture hosts
        resolves_links: whether links of its jobs may lack the
            host, or name the localhost of its own machine
    """

    url: str
    host: str = ""
    authorize: AuthFunc | None = None
    max_body_size: int = MAX_ANSWER_SIZE
    resolves_links: bool = False
    aliases: tuple[str, ...] = ()
    credentials: Secret = NO_SECRET
    mirrors: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.host or httpx.URL(self.url).netloc.decode()


# --- transport --------------------------------------------


def _build_missing_error(service: str) -> SettingsError:
    return SettingsError(f"The service {service!r} is not configured.")


NO_SECRETS = Redactor()
# They log the headers of responses.
HEADER_LOGGERS = ("httpcore.http11", "httpcore.http2", "httpcore.proxy")
BINARY_TYPES = ("image/", "video/", "audio/", "font/", "application/octet-stream")


class Transport:
    """Sends calls over HTTP.

    Args:
        endpoints: the host of each kind of call, by the name in
            `Call.endpoint`
        clock: the time that signatures are valid from
        timeout: seconds until a connection is accepted, and until
            each part of a response arrives
        at_once: the maximum number of requests in flight
        ca_file: certificates (PEM) to trust beside the usual ones
        transport: replaces the network, as the in-process sandbox
            does
        use_aiohttp: whether aiohttp sends the requests; by
            default where it is installed
        build_missing_error: builds the error of a call whose
            endpoint is missing, from the key of its service
        redactor: removes the secrets that a server repeats, from
            documents and errors
        allow_private: whether links may lead to loopback and into
            private networks where no service is
    """

    def __init__(
        self,
        endpoints: Mapping[str, Endpoint],
        *,
        clock: Clock,
        timeout: float = 60.0,
        at_once: int = 16,
        ca_file: str = "",
        transport: httpx.AsyncBaseTransport | None = None,
        use_aiohttp: bool | None = None,
        build_missing_error: Callable[[str], SettingsError] = _build_missing_error,
        redactor: Redactor = NO_SECRETS,
        allow_private: bool = False,
    ) -> None:
        if use_aiohttp is None:
            use_aiohttp = find_spec("aiohttp") is not None
        self.endpoints = endpoints
        self.clock = clock
        self.timeout = timeout
        self.at_once = at_once
        self.ca_file = ca_file
        self.custom_transport = transport
        self.use_aiohttp = use_aiohttp
        self._build_missing_error = build_missing_error
        self.redactor = redactor
        self.allow_private = allow_private
        self._loop_thread: event_loop.LoopThread | None = None

    @property
    def in_flight(self) -> int:
        """Requests being sent, plus those in the pool below; 0 when idle."""
        if self._loop_thread is None:
            return 0
        sending = self.at_once - self._semaphore.value
        return sending + int(getattr(self._pool, "in_flight", 0))

    async def send(
        self, call: Call[Any], before_sending: Callable[[], Awaitable[None]] | None = None
    ) -> Response:
        """Send a call and return the response, whatever its status.

        Args:
            call: the call
            before_sending: is awaited when it is the call's turn;
                what it raises keeps the request from being sent

        Raises:
            TransportError: no response arrived
            ResponseTooLarge: its body is larger than any answer
        """
        request = self.build_request(call)
        bound = self.endpoints[call.endpoint].max_body_size
        if call.is_listing:
            bound = max(bound, MAX_LISTING_SIZE)
        request.extensions = {BOUND_EXTENSION: lambda _: bound}
        total_timeout = self.timeout * TOTAL_TIMEOUT_FACTOR
        return await self._send_request(request, total_timeout, before_sending)

    def parse(self, call: Call[T], response: Response) -> T:
        """Parse the response of a call; an error says nothing of the secrets."""
        try:
            return call.parse(response)
        except MjciError as error:
            self.redactor.redact_error(error)
            raise

    async def get(self, url: str) -> Response:
        """Download an image or a file. Credentials are sent only
        to the services' own hosts, on every hop of a redirect.

        Raises:
            TransportError: no response arrived, or there are too
                many redirects
            InvalidResponse: it is not a URL, or leads into a
                private network
            ResponseTooLarge: the file is larger than any picture
                or film
        """
        for _ in range(MAX_REDIRECTS):
            with _require_valid_url(url):
                url = self.resolve_url(url)
                _check_port(httpx.URL(url))
                request = self._build_download_request("GET", url)
                request.extensions |= {BOUND_EXTENSION: choose_file_bound(url)}
            response = await self._send_request(request, self.timeout * IMAGE_TIMEOUT_FACTOR)
            location = response.headers.get("location")
            if response.status not in REDIRECT_STATUSES or location is None:
                return response
            with _require_valid_url(location):
                url = urljoin(response.url, location)
        raise TransportError(f"Too many redirects from {httpx.URL(url).host}.")

    def build_request(self, call: Call[Any]) -> httpx.Request:
        """Build the request that `send` sends, signed at the current time."""
        endpoint = self.endpoints.get(call.endpoint)
        if endpoint is None:
            raise self._build_missing_error(call.service)
        url = f"{endpoint.url}{_quote_path(call.path)}"
        if call.params:
            pairs = [f"{_quote(name)}={_quote(value)}" for name, value in call.params.items()]
            url = f"{url}?{'&'.join(pairs)}"
        request = _build_request(call.method, url, endpoint, dict(call.headers), call.body)
        return _authorize(request, endpoint, call.path)

    def resolve_url(self, url: str) -> str:
        """Return an image's URL as an absolute one: some proxies
        report only its path, or the localhost of their own
        machine.
        """
        endpoint = self._find_resolving_endpoint()
        if endpoint is None:
            return url
        absolute = httpx.URL(urljoin(f"{endpoint.url}/", url))
        proxy = httpx.URL(endpoint.url)
        proxy_is_local = proxy.host in _LOCAL_HOSTS or proxy.host.endswith(".localhost")
        is_relative = "://" not in url and not url.startswith("//")
        is_elsewhere = absolute.host in _LOCAL_HOSTS and not proxy_is_local
        if is_elsewhere or (is_relative and absolute.scheme in DEFAULT_PORTS):
            # Below the path of a gateway, if there is one.
            absolute = move_url(absolute, proxy)
        return str(replace_mirrored_host(absolute, endpoint.mirrors))

    def _find_resolving_endpoint(self) -> Endpoint | None:
        for endpoint in self.endpoints.values():
            if endpoint.resolves_links:
                return endpoint
        return None

    async def close(self) -> None:
        if self._loop_thread is not None:
            await self._pool.aclose()
            self._loop_thread = None
            for name in HEADER_LOGGERS:
                logging.getLogger(name).removeFilter(self.redactor)

    def _build_download_request(self, method: str, url: str) -> httpx.Request:
        """Build the request for a URL: with credentials if it is on one of the endpoints, else
        with a guard.
        """
        parsed = httpx.URL(url)
        for endpoint in self.endpoints.values():
            if endpoint.host and _is_link_to(endpoint, parsed):
                target = str(_replace_origin(parsed, httpx.URL(endpoint.url)))
                request = _build_request(method, target, endpoint, {}, b"")
                if "q-signature" in parsed.params:
                    # COS rejects a request that is signed twice.
                    return request
                return _authorize(request, endpoint, parsed.path)
            if not endpoint.host and get_origin(parsed) == get_origin(httpx.URL(endpoint.url)):
                request = _build_request(method, url, endpoint, {}, b"")
                return _authorize(request, endpoint, parsed.path)
        request = _build_request(method, url, Endpoint(""), {}, b"")
        if not self.allow_private:
            request.extensions[GUARD_EXTENSION] = self._build_guard()
        return request

    def _build_guard(self) -> AddressGuard:
        endpoints = self.endpoints.values()
        mirrors = [mirror for endpoint in endpoints for mirror in endpoint.mirrors.values()]
        return AddressGuard((*(endpoint.url for endpoint in endpoints), *mirrors))

    async def _send_request(
        self,
        request: httpx.Request,
        total_timeout: float,
        before_sending: Callable[[], Awaitable[None]] | None = None,
    ) -> Response:
        """Send one request and read its whole response.

        The timeouts of the HTTP library apply to each read, so a
        response that trickles in for ever is only ended by the
        total timeout.
        """
        self._ensure_pool()
        timeouts = httpx.Timeout(self.timeout).as_dict()
        request.extensions = {**request.extensions, "timeout": timeouts}
        async with self._semaphore:
            if before_sending is not None:
                await before_sending()
            try:
                with anyio.move_on_after(total_timeout):
                    response = await self._pool.handle_async_request(request)
                    content = await response.aread()
                    await response.aclose()
                    return self._redact_response(_build_response(request, response, content))
            except BodyTooLarge as error:
                error.head = self.redactor.redact_body(error.head)
                return self._redact_response(_build_truncated_response(request, error))
            except MjciError:
                raise
            except Exception as error:  # whatever the libraries raise
                _forget_frames(error)
                raise _build_transport_error(request, error, self.timeout) from error
        timeout_error = httpx.ReadTimeout("the response did not end")
        raise _build_transport_error(request, timeout_error, total_timeout)

    def _redact_response(self, response: Response) -> Response:
        """Remove our own secrets from what a server repeats."""
        redact_body = self.redactor.redact_body
        headers, body = response.headers, response.body
        joined = "\n".join(headers.values()).encode()
        if redact_body(joined) != joined:
            headers = {name: redact_body(text.encode()).decode() for name, text in headers.items()}
        if not headers.get("content-type", "").startswith(BINARY_TYPES):
            body = redact_body(body)
        return replace(response, headers=headers, body=body)

    def make_transport(self) -> httpx.AsyncBaseTransport:
        """Return the transport that carries requests: the custom one, or a new one."""
        if self.custom_transport is not None:
            return self.custom_transport
        if self.use_aiohttp:
            return AiohttpTransport(self.ca_file)
        return ShardedTransport(self.at_once, self.ca_file)

    def _ensure_pool(self) -> None:
        """Create pool and semaphore on first use. They belong to
        one loop; after a fork there is a new one.
        """
        loop_thread = event_loop.get_loop_thread()
        if self._loop_thread is not loop_thread:
            self._pool = self.make_transport()
            for name in HEADER_LOGGERS:
                logging.getLogger(name).addFilter(self.redactor)
            self._semaphore = anyio.Semaphore(self.at_once, fast_acquire=True)
            self._loop_thread = loop_thread


def _build_response(request: httpx.Request, response: httpx.Response, content: bytes) -> Response:
    bound = get_bound(request, response.status_code, response.headers)
    if len(content) > bound:
        raise BodyTooLarge(response.status_code, response.headers, content, bound)
    return Response(
        response.status_code, content, _get_lower_headers(response.headers), str(request.url)
    )


def _build_truncated_response(request: httpx.Request, error: BodyTooLarge) -> Response:
    """Return the response with the first bytes of an endless error; they say enough.

    Raises:
        ResponseTooLarge: it is no error, so all of it would have
            been needed
    """
    if error.status >= 300:
        headers = _get_lower_headers(error.headers)
        return Response(error.status, error.head, headers, str(request.url))
    raise ResponseTooLarge(
        f"The response of {request.url.host} is larger than {error.bound // MIB} MB.",
        detail=f"HTTP {error.status}. Reading it was given up.",
        hint="No answer is so large: check the address, or what is in front of it.",
        body=error.head,
    )


def _get_lower_headers(headers: httpx.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _check_port(url: httpx.URL) -> None:
    if url.port is not None and not 0 < url.port < 65536:
        raise ValueError(f"the port {url.port} is not between 1 and 65535")


@contextmanager
def _require_valid_url(url: str) -> Iterator[None]:
    """Turn the errors of URL parsers into one of ours."""
    try:
        yield
    except (httpx.InvalidURL, ValueError) as error:
        shown = strip_signature(url[:200])
        invalid = InvalidResponse(f"{shown!r} is not a valid URL.", detail=str(error))
        invalid.outcome = Outcome.REFUSAL  # it does not become valid by waiting
        raise invalid from None


_DOT_SEGMENT = re.compile(r"(?<=/)\.{1,2}(?=/|$)")


def _quote_path(path: str) -> str:
    """Encode a path, dot segments too: HTTP libraries would resolve them after it was signed."""
    return _DOT_SEGMENT.sub(lambda dots: "%2E" * len(dots[0]), quote(path, safe="/-_.~"))


def _forget_frames(error: BaseException) -> None:
    """Remove the frames of an error and of its causes.

    Those of the HTTP libraries hold the request's headers, and a
    verbose traceback would show them with the secrets.
    """
    chain: list[BaseException | None] = [error]
    while chain:
        current = chain.pop()
        if current is not None and current.__traceback__ is not None:
            current.__traceback__ = None
            chain += [current.__cause__, current.__context__]


def _build_request(
    method: str, url: str, endpoint: Endpoint, headers: dict[str, str], body: bytes
) -> httpx.Request:
    headers.setdefault("User-Agent", USER_AGENT)
    if endpoint.host:
        headers["Host"] = endpoint.host
    check_headers(headers)
    try:
        # httpx's transport would ignore them, aiohttp send them.
        address, userinfo = strip_userinfo(httpx.URL(url))
        credentials = endpoint.credentials.reveal() or userinfo
        if credentials:
            headers.setdefault("Authorization", build_basic_auth(credentials))
        return httpx.Request(method, address, headers=headers, content=body or None)
    except httpx.InvalidURL as error:
        shown = strip_signature(url[:200])
        raise InvalidRequest(f"{shown!r} is not a valid URL.", detail=str(error)) from None


def _is_link_to(endpoint: Endpoint, url: httpx.URL) -> bool:
    """Return whether a link names the host of a service, on its usual port."""
    names = {endpoint.name.partition(":")[0], *endpoint.aliases}
    return url.host in names and url.port in (None, 443, httpx.URL(endpoint.url).port)


def _authorize(request: httpx.Request, endpoint: Endpoint, path: str) -> httpx.Request:
    if endpoint.authorize is not None:
        endpoint.authorize(request, path)
    return request


def _replace_origin(url: httpx.URL, origin: httpx.URL) -> httpx.URL:
    return url.copy_with(scheme=origin.scheme, host=origin.host, port=origin.port)


def _quote(text: str) -> str:
    return quote(str(text), safe="-_.~")


_LOCAL_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0", "::1", "host.docker.internal")

# --- errors -----------------------------------------------


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why no response arrived, and whether the request may have been processed."""

    error: type[Exception]
    detail: str
    hint: str
    may_have_been_sent: bool = False


_RECONCILE_HINT = "The job may have been created: check the listing before submitting it again."
_FAILURES = (
    _Failure(
        httpx.ConnectTimeout,
        "Nothing accepted the connection in {timeout:g} s.",
        "Check the address and your network, or raise `timeout`.",
    ),
    _Failure(
        httpx.PoolTimeout, "All connections are in use.", "Raise `at_once`, or try again later."
    ),
    _Failure(httpx.ConnectError, "{error}.", "Check that the service is running at this address."),
    _Failure(httpx.UnsupportedProtocol, "{error}.", "A base URL begins with http:// or https://."),
    _Failure(
        httpx.LocalProtocolError,
        "The request is not valid HTTP: a header holds a character that is not allowed.",
        "Check secrets and settings for line breaks.",
    ),
    _Failure(httpx.DecodingError, "The body is no use: {error}.", _RECONCILE_HINT, True),
    _Failure(
        httpx.ReadTimeout, "The response did not arrive in {timeout:g} s.", _RECONCILE_HINT, True
    ),
)
_OTHER_FAILURE = _Failure(Exception, "The connection broke: {error}.", _RECONCILE_HINT, True)


def _build_transport_error(
    request: httpx.Request, error: Exception, timeout: float
) -> TransportError:
    failure = _OTHER_FAILURE
    for candidate in _FAILURES:
        if isinstance(error, candidate.error):
            failure = candidate
            break
    if failure.may_have_been_sent and request.method in ("GET", "HEAD"):
        # Reading twice does no harm.
        failure = replace(failure, hint="Try again.", may_have_been_sent=False)
    host = request.headers.get("host", request.url.host)
    detail = failure.detail.format(error=error or type(error).__name__, timeout=timeout)
    return TransportError(
        f"No response from {request.url.scheme}://{host}.",
        detail=redact(detail[:1].upper() + detail[1:]),
        hint=failure.hint,
        may_have_been_sent=failure.may_have_been_sent,
        timed_out=isinstance(error, httpx.ReadTimeout),
    )
