"""A request as a value, and a sequence with two doors.

A `Call` says what will be sent and how its answer is read; building one sends nothing. `.run()`
sends it and blocks, `await` sends it without blocking. A `Stream` is the same for what comes one
after another.
"""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from jupyter_mjci.client import event_loop, jsonlib
from jupyter_mjci.errors import InvalidResponse, SettingsError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Response:
    """An answer as it came: HTTP `status`, `body`, `headers` (names in lower case), and the `url`
    that was asked.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""

    def json(self) -> Any:
        """The body as JSON, whatever Content-Type says (proxies get it wrong). Raises
        AnswerError.
        """
        try:
            return jsonlib.loads(self.body)
        except ValueError:
            raise InvalidResponse(
                f"The answer of {self.url or 'the service'} is not JSON (HTTP {self.status}).",
                detail=self.body[:120].decode("utf-8", "replace"),
                body=self.body,
            ) from None

    @property
    def is_html(self) -> bool:
        """Whether it is an HTML page, which no API call answers with."""
        return self.body.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html"))


class Sender(Protocol):
    """What a call needs to be sent: the session."""

    async def fetch(self, call: Call[T]) -> T: ...


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, not yet sent, to be run or awaited; whoever sends it may raise TransportError,
    ServiceError or AnswerError, and SettingsError where nobody is there to send it.

    Args:
        service: mj or ci
        name: the builder's name: imagine, picture_job, …
        method: GET, POST, PUT or DELETE
        path: the path, decoded, with its leading slash
        parse: the pure function from the answer to the value
        params: the query, decoded
        headers: those of this request; credentials are added when it is sent
        body: the bytes of the body
        endpoint: which host it goes to: mj, ci, cos or account
        is_submission: it is a submission: sent once, never blindly repeated
        is_safe: it only reads, although it is a POST
        sender: who sends it: the session
    """

    service: str
    name: str
    method: str
    path: str
    parse: Callable[[Response], T] = field(repr=False, compare=False)
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    endpoint: str = "mj"
    is_submission: bool = False
    is_safe: bool = False
    sender: Sender | None = field(default=None, repr=False, compare=False)

    @property
    def is_retryable(self) -> bool:
        """Whether sending it twice does no harm."""
        return self.is_safe or (self.method != "POST" and not self.is_submission)

    def run(self) -> T:
        """Sends it and waits for the answer."""
        return event_loop.run(self._send())

    def __await__(self) -> Generator[Any, None, T]:
        return event_loop.run_async(self._send()).__await__()

    async def _send(self) -> T:
        if self.sender is None:
            raise SettingsError(
                f"{self.name} has nobody to send it.",
                hint="Build it from a session: session.mj or session.ci.",
            )
        return await self.sender.fetch(self)


class Stream(Generic[T]):
    """Values that come one after another: `for` and `async for` give each, `.run()` and `await` the
    outcome.

    `finalize` makes the outcome of all that came; by default it is their list. Every walk starts
    anew. A `source` gives them in bunches: a page, or what has come meanwhile.
    """

    def __init__(
        self,
        source: Callable[[], AsyncIterator[Sequence[T]]],
        finalize: Callable[[list[T]], Any] = list,
    ) -> None:
        self._source, self._finalize = source, finalize

    def __iter__(self) -> Iterator[T]:
        return event_loop.iterate_sync(self._source())

    def __aiter__(self) -> AsyncIterator[T]:
        return event_loop.iterate_async(self._source())

    def run(self) -> Any:
        """Walks to the end and gives the outcome."""
        return event_loop.run(self.collect())

    def __await__(self) -> Generator[Any, None, Any]:
        return event_loop.run_async(self.collect()).__await__()

    async def collect(self) -> Any:
        """The outcome, for code that is already on the engine."""
        return self._finalize([item async for bunch in self._source() for item in bunch])


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing: its `items`, and the `next_token` that asks for the next ("" on the
    last).
    """

    items: tuple[T, ...]
    next_token: str = ""


class Paginator(Stream[T]):
    """A listing, fetched page by page as it is walked. `first_page` is the call of its first page."""

    def __init__(
        self, build_page_call: Callable[[str], Call[Page[T]]], limit: int | None = None
    ) -> None:
        super().__init__(self._iter_pages)
        self.first_page, self._build_page_call, self.limit = (
            build_page_call(""),
            build_page_call,
            limit,
        )

    def page(self, token: str) -> Call[Page[T]]:
        """The call of the page that a `token` names ("" is the first), for who walks by pages."""
        return self._build_page_call(token)

    async def _iter_pages(self) -> AsyncIterator[Sequence[T]]:
        token, left, seen = "", self.limit, set[str]()
        while left != 0:
            page = await self._build_page_call(token)._send()
            yield page.items[:left]
            left = None if left is None else max(left - len(page.items), 0)
            token = page.next_token
            if not token or token in seen:  # a service that hands out a token twice would never end
                return
            seen.add(token)


class Operation(Generic[T]):
    """An outcome that may take several requests. `.run()` blocks for it, `await` does not; each
    time it starts anew.
    """

    def __init__(self, start: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._start = start

    def run(self) -> T:
        """Does it and gives the outcome."""
        return event_loop.run(self._start())

    def __await__(self) -> Generator[Any, None, T]:
        return event_loop.run_async(self._start()).__await__()
