"""Actors on virtual time, one step at a time, in an order that only the seed decides.

Nothing of asyncio runs: the code under test awaits only its clock and its transport, which are
both simulated. A sleep is a value that the scheduler receives.
"""

from __future__ import annotations

import contextlib
import heapq
import random
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any

# virtual seconds: a schedule that is not over by then has lost its way
END_OF_TIME = 5_000.0


class Violation(AssertionError):
    """Something does not hold."""


class Killed(BaseException):
    """The actor's process died: nothing of it runs any more, no handler either."""


class Sleep:
    """What a coroutine awaits to let virtual time pass."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __await__(self) -> Generator[Sleep, None, None]:
        yield self


class Process:
    """A coroutine of an actor."""

    def __init__(self, actor: Actor, work: Coroutine[Any, Any, Any]) -> None:
        self.actor = actor
        self.work = work
        self.is_over = False
        self.value: Any = None
        self.error: BaseException | None = None

    def done(self) -> bool:
        return self.is_over

    def step(self) -> float | None:
        """Run to the next sleep and return its seconds; None at the end."""
        try:
            sleep: Sleep = self.work.send(None)
            return sleep.seconds
        except StopIteration as end:
            self.value = end.value
        except BaseException as error:
            self.error = error
        self.is_over = True
        return None


class Actor:
    """A process of the machine: it is killed or stalled as a whole."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.scheduler = scheduler
        self.name = name
        self.is_alive = True
        self.stalled_until = 0.0
        self.steps = 0
        # the step at which it is killed, or stalled for so long
        self.fatal_step = 0
        self.stall = 0.0

    def spawn(self, work: Awaitable[Any], delay: float = 0.0) -> Process:
        process = Process(self, work)  # type: ignore[arg-type]
        self.scheduler.schedule(process, delay)
        return process

    def check(self) -> None:
        """Count a crash point: a write of the journal, or a step of the network."""
        if not self.is_alive:
            raise Killed
        self.steps += 1
        if self.steps == self.fatal_step:
            if self.stall:
                self.stalled_until = self.scheduler.now + self.stall
            else:
                self.is_alive = False
                raise Killed


class Scheduler:
    """Runs processes in the order of virtual time; ties are broken by the seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = 1_000.0
        self._waiting: list[tuple[float, float, int, Process]] = []
        self._count = 0

    def schedule(self, process: Process, delay: float) -> None:
        self._count += 1
        entry = (self.now + delay, self.rng.random(), self._count, process)
        heapq.heappush(self._waiting, entry)

    def run(self) -> None:
        """Run until no process is left."""
        while self._waiting:
            moment, _, _, process = heapq.heappop(self._waiting)
            self.now = max(self.now, moment)
            if self.now > END_OF_TIME:
                raise Violation("a process never ends")
            actor = process.actor
            if not actor.is_alive:
                with contextlib.suppress(BaseException):
                    process.work.close()
                process.is_over = True
            elif actor.stalled_until > self.now:
                self.schedule(process, actor.stalled_until - self.now)
            else:
                delay = process.step()
                if delay is not None:
                    self.schedule(process, delay)


class SimulatedEvent:
    """What a process of an actor waits for, until another one sets it."""

    def __init__(self, clock: SimulatedClock) -> None:
        self.clock = clock
        self.is_set = False

    def set(self) -> None:
        self.is_set = True

    async def wait(self) -> None:
        while not self.is_set:
            await self.clock.sleep(0.01)


class SimulatedClock:
    """The clock of every actor."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler

    def now(self) -> float:
        return self.scheduler.now

    async def sleep(self, seconds: float) -> None:
        await Sleep(max(0.0, seconds))
