"""Request coalescing: one request for all who ask the same before it leaves.

A request that is under way already is not shared: its response
may be older than what somebody asks about now, and a search that
finds nothing has to begin after the question.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, Protocol, TypeVar

import anyio

T = TypeVar("T")


class Event(Protocol):
    """What waiters wait for, as `anyio.Event`."""

    def set(self) -> None: ...

    async def wait(self) -> None: ...


class _Exchange(Generic[T]):
    """A request that is repeated as long as somebody asks, and its latest result."""

    def __init__(self, make_event: Callable[[], Event]) -> None:
        self.make_event = make_event
        self.waiting = 0
        self._asked = 0
        self._answered = 0
        self._done: Event | None = None
        self._result: T | None = None
        self._error: Exception | None = None

    async def ask(self, send: Callable[[], Awaitable[T]]) -> T:
        self._asked += 1
        number = self._asked
        while self._answered < number:
            if self._done is None:
                await self._send(send)
            else:
                await self._done.wait()
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]  # there is one without an error

    async def _send(self, send: Callable[[], Awaitable[T]]) -> None:
        asked = self._asked
        self._done = self.make_event()
        try:
            try:
                self._result, self._error = await send(), None
            except Exception as error:
                self._result, self._error = None, error
            self._answered = asked
        finally:
            # Who is cancelled leaves the request to the next.
            self._done.set()
            self._done = None


class RequestCoalescer(Generic[T]):
    """Sends requests, each once for all who ask for it before it leaves.

    Args:
        make_event: makes what waiters wait for
    """

    def __init__(self, make_event: Callable[[], Event] = anyio.Event) -> None:
        self._make_event = make_event
        self._exchanges: dict[Hashable, _Exchange[T]] = {}

    async def send(self, key: Hashable, send: Callable[[], Awaitable[T]]) -> T:
        """Send a request, or wait for the same one if it leaves after this call.

        Args:
            key: the same for requests that are the same
            send: sends it

        Returns:
            its result, one object for all who waited for it

        Raises:
            what sending raised, for all who waited for it
        """
        # The child of a fork sees none of its parent's requests end.
        key = os.getpid(), key
        if key not in self._exchanges:
            self._exchanges[key] = _Exchange(self._make_event)
        exchange = self._exchanges[key]
        exchange.waiting += 1
        try:
            return await exchange.ask(send)
        finally:
            exchange.waiting -= 1
            if not exchange.waiting:
                del self._exchanges[key]
