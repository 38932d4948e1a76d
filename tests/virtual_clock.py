"""A clock for tests that wait: no time passes but what is slept through."""

from __future__ import annotations

import anyio.lowlevel

# Turns of the event loop that everything else gets before time
# jumps.
TURNS = 20


class VirtualClock:
    """A clock that jumps to the next moment for which somebody sleeps.

    Args:
        time: the time at the start, in Unix seconds
    """

    def __init__(self, time: float = 1_700_000_000.0) -> None:
        self.time = time
        self._deadlines: list[float] = []

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        deadline = self.time + max(seconds, 0.0)
        self._deadlines.append(deadline)
        try:
            await anyio.lowlevel.checkpoint()
            while self.time < deadline:
                for _ in range(TURNS):
                    await anyio.lowlevel.checkpoint()
                if deadline <= min(self._deadlines):
                    self.time = max(self.time, deadline)
        finally:
            self._deadlines.remove(deadline)
