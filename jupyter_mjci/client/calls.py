"""Requests as values, and results that can be run or awaited.

A `Call` holds what will be sent and how the response is parsed;
building one sends nothing. `.run()` sends it and blocks, `await`
sends it without blocking: there is one implementation of each. A
`Stream` does the same for a sequence of results, an `Operation`
for several requests.
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from jupyter_mjci.client import event_loop, jsonlib
from jupyter_mjci.client.response_text import decode_text, is_html, shorten
from jupyter_mjci.errors import InvalidRequest, InvalidResponse, SettingsError, sanitize

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP response, fully read.

    Args:
        status: the HTTP status code
        body: the bytes of the body, decompressed
        headers: the headers, with lower-case names
        url: the URL that was requested
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""

    def json(self) -> Any:
        """Parse the body as JSON, whatever its Content-Type (proxies get it wrong).

        Raises:
            InvalidResponse: the body is not JSON
        """
        try:
            return jsonlib.loads(self.body)
        except ValueError:
            raise InvalidResponse(
                f"The response of {self.url or 'the service'} is not JSON (HTTP {self.status}).",
                detail=shorten(decode_text(self.body[:1024]), 120),
                body=self.body,
            ) from None

    @property
    def is_html(self) -> bool:
        """Whether the body is an HTML page, which no API endpoint returns."""
        return is_html(self.body)


def check_text(text: str) -> str:
    """Return a text that can be encoded.

    Raises:
        InvalidRequest: it has half of a surrogate pair
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(
            f"{text[:80]!r} is not valid Unicode: character {error.start + 1} is half of a "
            "surrogate pair.",
            hint="Nothing was sent. Remove it, or read the text again from its source.",
        ) from None
    return text


def check_headers(headers: Mapping[str, str]) -> None:
    """Check that headers can be sent.

    Raises:
        InvalidRequest: one has other characters than printable
            ASCII
    """
    for name, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise InvalidRequest(
                f"The header {name} cannot hold {value[:80]!r}.",
                hint="Headers hold printable ASCII characters only.",
            )


class Sender(Protocol):
    """What sends a call, and knows the pictures that its builder was given: the session."""

    async def fetch(self, call: Call[T]) -> T: ...

    def picture(self, source: Any, /) -> Operation[Any]: ...

    def find_picture_size(self, job_id: str, /) -> tuple[int, int] | None: ...


# What a value that has not run says: forgetting to run it is the
# mistake that everybody makes once.
NOT_RUN = "not sent yet: .run() it, or await it"
MAX_SHOWN_BODY = 120  # characters of a body in a line


@dataclass(frozen=True, slots=True, repr=False)
class Call(Generic[T]):
    """One request that has not been sent yet.

    Args:
        service: the key of its service: mj, ci, …
        name: the builder's name: imagine, picture_job, …
        method: GET, POST, PUT or DELETE
        path: the path, decoded, with its leading slash
        parse: the pure function from the response to the value
        params: the query, decoded
        headers: headers of this request; credentials are added
            when it is sent
        body: the bytes of the body
        endpoint: the host it is sent to: mj, ci, cos, …; by
            default the service's key
        is_submission: it creates a job: sent once, never repeated
            blindly
        is_safe: it is a POST that only reads
        is_listing: its answer may have any number of jobs, and so
            be larger than any other
        job_count: how many jobs a submission creates, as far as
            that is known
        sender: the session that sends it
        key: identifies a submission to whoever builds it; of
            submissions with the same key only one is sent, also
            by other kernels, and all of them give its job

    Raises:
        TransportError: no response arrived
        ServiceError: the service responded with an error
        InvalidResponse: the response cannot be parsed
        SettingsError: the call has no sender, or its service is
            not configured
    """

    service: str
    name: str
    method: str
    path: str
    parse: Callable[[Response], T] = field(repr=False, compare=False)
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    endpoint: str = ""
    is_submission: bool = False
    is_safe: bool = False
    is_listing: bool = field(default=False, repr=False, compare=False)
    sender: Sender | None = field(default=None, repr=False, compare=False)
    job_count: int = field(default=1, repr=False, compare=False)
    key: str = field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check that every text can be sent.

        Raises:
            InvalidRequest: half a surrogate pair, or a header
                with other characters than printable ASCII
        """
        for text in (self.path, *self.params, *self.params.values()):
            check_text(text)
        check_headers(self.headers)
        if not self.endpoint:
            object.__setattr__(self, "endpoint", self.service)

    def __hash__(self) -> int:
        params = tuple(sorted(self.params.items()))
        headers = tuple(sorted(self.headers.items()))
        request = (self.method, self.endpoint, self.path, params, headers, self.body)
        return hash((self.service, self.name, *request))

    def __repr__(self) -> str:
        query = "&".join(f"{name}={value}" for name, value in self.params.items())
        line = f"{self.path}?{query}" if query else self.path
        words = (f"{self.service}.{self.name}: {self.method} {line}", _describe_body(self.body))
        return sanitize(f"<{' '.join(filter(None, words))}; {NOT_RUN}>")

    @property
    def is_retryable(self) -> bool:
        """Whether sending it twice does no harm."""
        return self.is_safe or (self.method != "POST" and not self.is_submission)

    def run(self) -> T:
        """Send the request, wait for the response and return the parsed value."""
        return event_loop.run(self._send())

    def __await__(self) -> Generator[object, None, T]:
        return event_loop.run_async(self._send()).__await__()

    async def _send(self) -> T:
        if self.sender is None:
            raise SettingsError(
                f"The call {self.name} has no session to send it.",
                hint=f"Build it from a session: session.{self.service}.",
            )
        return await self.sender.fetch(self)


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class FailedCall(Call[T]):
    """The call of a row whose builder failed: sending it raises the builder's error.

    So the row fails as any other may, and ends none of them.

    Args:
        error: what the builder raised
    """

    error: Exception

    async def _send(self) -> T:
        raise self.error


def build_failed_call(like: Call[T], error: Exception) -> FailedCall[T]:
    """Build the call of a row whose builder failed, beside one that was built."""
    return FailedCall(
        service=like.service,
        name=like.name,
        method="",
        path="",
        parse=like.parse,
        sender=like.sender,
        job_count=0,
        error=error,
    )


def _describe_body(body: bytes) -> str:
    """Return a text as it is sent, shortened; of anything else its size."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return f"{len(body)} bytes"
    return shorten(text, MAX_SHOWN_BODY)


class Stream(Generic[T]):
    """Values that arrive one after another: `for` and `async for`
    yield each, `.run()` and `await` return the outcome. Every
    iteration starts from the beginning.

    Args:
        source: starts an iteration; yields values in chunks: a
            page, or what has arrived meanwhile
        finalize: makes the outcome of all values; by default
            their list
    """

    def __init__(
        self,
        source: Callable[[], AsyncIterator[Sequence[T]]],
        finalize: Callable[[list[T]], Any] = list,
    ) -> None:
        self._source = source
        self._finalize = finalize

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, not run yet: iterate over it, .run() it, or await it>"

    def __iter__(self) -> Iterator[T]:
        return event_loop.iterate_sync(self._source())

    def __aiter__(self) -> AsyncIterator[T]:
        return event_loop.iterate_async(self._source())

    def run(self) -> Any:
        """Iterate to the end and return the outcome."""
        return event_loop.run(self.collect())

    def __await__(self) -> Generator[object, None, Any]:
        return event_loop.run_async(self.collect()).__await__()

    async def collect(self) -> Any:
        """Return the outcome, for code that already runs on the background loop."""
        items: list[T] = []
        async for chunk in self._source():
            items.extend(chunk)
        return self._finalize(items)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing.

    Args:
        items: the values on this page
        next_token: the token of the next page, "" on the last
    """

    items: tuple[T, ...]
    next_token: str = ""


class Paginator(Stream[T]):
    """A listing, fetched page by page during iteration.

    Args:
        build_page_call: builds the call of the page with a token
            ("" for the first)
        limit: the maximum number of values; None for all
    """

    def __init__(
        self, build_page_call: Callable[[str], Call[Page[T]]], limit: int | None = None
    ) -> None:
        super().__init__(self._iter_pages)
        self.first_page = build_page_call("")
        self.limit = limit
        self._build_page_call = build_page_call

    def page(self, token: str) -> Call[Page[T]]:
        """Return the call of the page with a token ("" for the first)."""
        return self._build_page_call(token)

    async def _iter_pages(self) -> AsyncIterator[Sequence[T]]:
        token = ""
        remaining = self.limit
        seen_tokens: set[str] = set()
        while remaining != 0:
            page = await self._build_page_call(token)._send()
            yield page.items[:remaining]
            if remaining is not None:
                remaining = max(remaining - len(page.items), 0)
            token = page.next_token
            # A service that returns a token twice would never
            # reach the last page.
            if not token or token in seen_tokens:
                return
            seen_tokens.add(token)


class Operation(Generic[T]):
    """A result that may take several requests. Each run starts from the beginning."""

    def __init__(self, start: Callable[[], Awaitable[T]]) -> None:
        self._start = start

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, not run yet: .run() it, or await it>"

    def run(self) -> T:
        """Run the operation, wait for it and return its result."""
        return event_loop.run(self._start())

    def __await__(self) -> Generator[object, None, T]:
        return event_loop.run_async(self._start()).__await__()
