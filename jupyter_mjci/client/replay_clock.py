"""The virtual clock of a replay: waits end at once, at the recorded times.

All waiters are in one priority queue. When the event loop has
nothing else left to do, the clock jumps to the earliest deadline
and wakes that one waiter. So all times are those of the
recording, however fast it is replayed.
"""

from __future__ import annotations

import asyncio
import heapq
import math

import anyio


class ReplayClock:
    """Virtual time that moves only when every task waits for it.

    Before a long jump it pauses for a moment of real time: a cell
    that starts many jobs (`gather`, threads) gets the chance to
    start the next one at the same virtual time.
    """

    # rounds of the loop without a new waiter: then every task
    # waits
    IDLE_ROUNDS = 30
    # virtual seconds; longer jumps have a grace period
    LONG_JUMP = 0.5
    GRACE_PERIOD = 0.002  # real seconds

    def __init__(self, start: float) -> None:
        self._now = start
        # Deadline, priority, order of arrival, and the event that
        # wakes the waiter.
        self._waiters: list[tuple[float, float, int, anyio.Event]] = []
        self._arrivals = 0
        # How many had arrived when the last grace period began.
        self._arrivals_at_grace = 0
        self._running = False

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        await self.sleep_until(self._now + max(0.0, seconds))

    async def sleep_until(self, deadline: float, priority: float = math.inf) -> None:
        """Wait for a deadline. Of equal ones the lower priority is woken first."""
        self._arrivals += 1
        waiter = (deadline, priority, self._arrivals, anyio.Event())
        heapq.heappush(self._waiters, waiter)
        if not self._running:
            self._running = True
            self._advance(self.IDLE_ROUNDS)
        try:
            await waiter[-1].wait()
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                heapq.heapify(self._waiters)

    def _advance(self, rounds: int) -> None:
        """Count down the idle rounds of the loop, then wake the first waiter."""
        loop = asyncio.get_running_loop()
        if rounds == 0 and self._waiters:
            if self._needs_grace_period():
                self._arrivals_at_grace = self._arrivals
                loop.call_later(self.GRACE_PERIOD, self._advance, self.IDLE_ROUNDS)
                return
            deadline, _, _, event = heapq.heappop(self._waiters)
            self._now = max(self._now, deadline)
            event.set()
            rounds = self.IDLE_ROUNDS
        self._running = bool(self._waiters)
        if self._running:
            loop.call_soon(self._advance, max(0, rounds - 1))

    def _needs_grace_period(self) -> bool:
        jump = self._waiters[0][0] - self._now
        return jump > self.LONG_JUMP and self._arrivals_at_grace != self._arrivals
