"""Send equal reads once for all who need them at the same time.

After a gateway has failed, dozens of submissions search the same
listing every few seconds. A listing that is under way may have
been written before a later searcher's job was made, so who comes
later shares the next one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from jupyter_mjci.client.calls import Call
from jupyter_mjci.errors import MjciError


class _Turn:
    """One request, and those who wait for its response."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.next: _Turn | None = None
        self.values: list[Any] = []
        self.error: MjciError | None = None


class SharedReads:
    """Sends one of several equal reads.

    Args:
        send: sends a read
    """

    def __init__(self, send: Callable[[Call[Any]], Awaitable[Any]]) -> None:
        self._send = send
        self._under_way: dict[Call[Any], _Turn] = {}

    async def fetch(self, call: Call[Any]) -> Any:
        """Return the response to a request that has not left yet."""
        while True:
            current = self._under_way.get(call)
            if current is None:
                return await self._lead(call, _Turn())
            if current.next is None:
                current.next = _Turn()
                return await self._lead(call, current.next, after=current)
            turn = current.next
            await turn.done.wait()
            if turn.error is not None:
                raise turn.error
            if turn.values:
                return turn.values[0]
            # Who was to send it was interrupted.

    async def _lead(self, call: Call[Any], turn: _Turn, after: _Turn | None = None) -> Any:
        try:
            if after is not None:
                await after.done.wait()
            self._under_way[call] = turn
            turn.values.append(await self._send(call))
        except MjciError as error:
            turn.error = error
            raise
        finally:
            if self._under_way.get(call) is turn:
                del self._under_way[call]
            if after is not None:
                after.next = None
            turn.done.set()
        return turn.values[0]
