"""The sandbox's time. Services compute what their jobs are now; nothing in the emulator waits.

`ScaledClock` runs by itself (the loopback server). `VirtualClock`
stands still until a caller that waits for a job sleeps on it, so
the same notebook sees the same times, to the microsecond, in
every run and at every speed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Protocol

import anyio

# 2026-01-01T00:00:00Z: where virtual time starts
EPOCH = 1767225600.0


class Clock(Protocol):
    """A source of time that can be slept on."""

    def now(self) -> float:
        """Return the seconds since 1970-01-01T00:00:00Z."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return when so many seconds of this clock have passed."""


class ScaledClock:
    """Real time, `speed` times as fast from the moment of creation on."""

    def __init__(self, speed: float = 1.0, start: float | None = None) -> None:
        self.speed = speed
        self._start = time.time() if start is None else start
        self._origin = time.monotonic()

    def now(self) -> float:
        """Return the seconds since 1970-01-01T00:00:00Z."""
        return self._start + (time.monotonic() - self._origin) * self.speed

    async def sleep(self, seconds: float) -> None:
        """Sleep for `seconds / speed` real seconds."""
        await anyio.sleep(max(0.0, seconds) / self.speed)


class VirtualClock:
    """A clock that moves when a caller sleeps on it or calls `advance`.

    A sleep of s seconds takes s / speed real seconds.

    Jobs that nobody waits for must still age while a person
    watches them. So real time counts too while `is_busy()` says
    that a job is in flight and the clock has been neither slept
    on nor read for `IDLE_GRACE` real seconds. A notebook whose
    cells wait for their jobs never gets there, so its times stay
    the same in every run.
    """

    IDLE_GRACE = 2.0

    def __init__(self, speed: float = math.inf, start: float = EPOCH) -> None:
        self.speed = speed
        self.is_busy: Callable[[], bool] = lambda: False
        # called after every sleep and advance
        self.on_moved: Callable[[], None] = lambda: None
        self._now = start
        self._sleepers = 0
        self._last_used = time.monotonic()

    def now(self) -> float:
        """Return the seconds since 1970-01-01T00:00:00Z."""
        moment = time.monotonic()
        idle = moment - self._last_used
        if idle > self.IDLE_GRACE and self._runs_when_idle():
            self._now += idle * self.speed
        self._last_used = moment
        return self._now

    def _runs_when_idle(self) -> bool:
        return not self._sleepers and self.speed < math.inf and self.is_busy()

    def advance(self, seconds: float) -> None:
        """Move the clock forward at once."""
        self._now += seconds
        self.on_moved()

    async def sleep(self, seconds: float) -> None:
        """Sleep for `seconds / speed` real seconds, and move the clock by `seconds`."""
        seconds = max(0.0, seconds)
        wake_at = self.now() + seconds
        self._sleepers += 1
        try:
            await anyio.sleep(seconds / self.speed)
        finally:
            self._sleepers -= 1
            self._last_used = time.monotonic()
        self._now = max(self._now, wake_at)
        self.on_moved()
