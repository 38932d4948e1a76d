"""The sandbox's time. Services compute what their jobs are now; nothing in the sandbox waits.

`ScaledClock` runs by itself (the loopback server). `VirtualClock` stands still until somebody who
waits for a job sleeps on it, so the same notebook sees the same times, to the microsecond, in every
run and at every speed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

import anyio

EPOCH = 1767225600.0  # 2026-01-01T00:00:00Z: where virtual time starts


class Clock(Protocol):
    def now(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class ScaledClock:
    """Real time, `speed` times as fast from the moment of creation on."""

    def __init__(self, speed: float = 1.0, start: float | None = None) -> None:
        self.speed = speed
        self._start = time.time() if start is None else start
        self._origin = time.monotonic()

    def now(self) -> float:
        return self._start + (time.monotonic() - self._origin) * self.speed

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(max(0.0, seconds) / self.speed)


class VirtualClock:
    """Moves when somebody sleeps on it (a sleep of s takes s / speed real seconds) or calls
    `advance`.

    Work that nobody waits for must still age under the eyes of a person: while `busy()` says that
    something is in flight and nobody has slept or asked for `IDLE_GRACE` real seconds, real time counts
    too. A notebook whose cells wait for their jobs never gets there, so its times stay the same in
    every run.
    """

    IDLE_GRACE = 2.0

    def __init__(self, speed: float = math.inf, start: float = EPOCH) -> None:
        self.speed = speed
        self.is_busy: Callable[[], bool] = lambda: False
        self.on_moved: Callable[[], None] = lambda: None  # called after every sleep and advance
        self._now = start
        self._sleepers = 0
        self._last_used = time.monotonic()

    def now(self) -> float:
        moment = time.monotonic()
        idle = moment - self._last_used
        if (
            idle > self.IDLE_GRACE
            and not self._sleepers
            and self.speed < math.inf
            and self.is_busy()
        ):
            self._now += idle * self.speed
        self._last_used = moment
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self.on_moved()

    async def sleep(self, seconds: float) -> None:
        seconds = max(0.0, seconds)
        wake = self.now() + seconds
        self._sleepers += 1
        try:
            await anyio.sleep(seconds / self.speed)
        finally:
            self._sleepers -= 1
            self._last_used = time.monotonic()
        self._now = max(self._now, wake)
        self.on_moved()
