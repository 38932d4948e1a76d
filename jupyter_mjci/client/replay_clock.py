"""The virtual clock of a replay: waits return at once, at the recorded times."""

from __future__ import annotations

import asyncio
import heapq
import math

import anyio


class ReplayClock:
    """Virtual time: all who wait are in one row, and whoever waits for the earliest moment is woken
    when nobody else has anything left to do. So times are those of the recording however fast it is
    played. Before it leaps, a cell that begins many things at once (`gather`, threads) is given the
    time to begin the next one.
    """

    IDLE_ROUNDS = 30  # rounds of the loop: then everybody waits
    LONG_JUMP, GRACE_PERIOD = (
        0.5,
        0.002,
    )  # so many seconds at once; real seconds in which nobody came

    def __init__(self, start: float) -> None:
        self._now = start
        self._waiters: list[tuple[float, float, int, anyio.Event]] = []
        self._arrivals = self._arrivals_at_grace = (
            0  # how many have come; and when it was last seen that nobody else does
        )
        self._running = False

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        await self.sleep_until(self._now + max(0.0, seconds))

    async def sleep_until(self, deadline: float, priority: float = math.inf) -> None:
        """Waits for a moment; of those who wait for the same one, the lower rank is woken first."""
        self._arrivals += 1
        place = (deadline, priority, self._arrivals, anyio.Event())
        heapq.heappush(self._waiters, place)
        if not self._running:
            self._running = True
            self._advance(self.IDLE_ROUNDS)
        try:
            await place[-1].wait()
        finally:
            if place in self._waiters:
                self._waiters.remove(place)
                heapq.heapify(self._waiters)

    def _advance(self, rounds: int) -> None:
        if rounds == 0 and self._waiters:
            if (
                self._waiters[0][0] - self._now > self.LONG_JUMP
                and self._arrivals_at_grace != self._arrivals
            ):
                self._arrivals_at_grace = self._arrivals
                asyncio.get_running_loop().call_later(
                    self.GRACE_PERIOD, self._advance, self.IDLE_ROUNDS
                )
                return
            moment, *_, gate = heapq.heappop(self._waiters)
            self._now = max(self._now, moment)
            gate.set()
            rounds = self.IDLE_ROUNDS
        self._running = bool(self._waiters)
        if self._running:
            asyncio.get_running_loop().call_soon(self._advance, max(0, rounds - 1))
