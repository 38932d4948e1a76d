"""A clock for tests that wait: no time passes but what is slept through."""

from __future__ import annotations

import anyio.lowlevel


class VirtualClock:
    """A clock that jumps as far as somebody sleeps.

    Args:
        time: the time at the start, in Unix seconds
    """

    def __init__(self, time: float = 1_700_000_000.0) -> None:
        self.time = time
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds
        await anyio.lowlevel.checkpoint()
