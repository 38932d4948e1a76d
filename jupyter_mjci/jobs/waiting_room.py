"""Learn how often a service takes a submission, so that not each one has to find it out.

Some proxies take one submission each eleven seconds and refuse
the rest with 429; others have a queue of ten. A submission that
was refused waits for itself, as long as its caller does. Beside
that, all submissions of a session to one service share a waiting
room: as long as the service refuses, they go one after another,
at the pace at which it has accepted.
"""

from __future__ import annotations

from jupyter_mjci.client.transport import Clock

# seconds between a refusal and the next submission, where the
# service does not say
PAUSE = 2.0
# seconds between two submissions, at most
MAX_INTERVAL = 60.0
# the share of the interval that is tried after two acceptances in
# a row, so that the pace follows a service that gets faster
EASING = 0.95
# seconds without a refusal after which the room is open again
FORGET_AFTER = 120.0


class WaitingRoom:
    """The pace of one service's submissions.

    Args:
        clock: the time
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.interval = 0.0
        self._next_at = 0.0
        self._closed_until = 0.0
        self._refused_at = float("-inf")
        self._accepted_at: float | None = None

    @property
    def is_crowded(self) -> bool:
        """Whether the service has refused lately."""
        return self.clock.now() - self._refused_at < FORGET_AFTER

    async def wait(self) -> None:
        """Wait for one's turn; return at once while the service accepts all."""
        while self.is_crowded:
            now = self.clock.now()
            turn = max(now, self._next_at, self._closed_until)
            self._next_at = turn + self.interval
            await self.clock.sleep(turn - now)
            if self.clock.now() >= self._closed_until:
                return

    def record_refusal(self, retry_after: float | None) -> None:
        """Take note that the service was busy, and perhaps for how long."""
        if not self.is_crowded:
            self.interval = PAUSE
        now = self.clock.now()
        self._refused_at = now
        pause = PAUSE if retry_after is None else retry_after
        self._closed_until = max(self._closed_until, now + min(pause, MAX_INTERVAL))
        self._next_at = max(self._next_at, self._closed_until)

    def record_acceptance(self) -> None:
        """Take note that the service accepted a submission."""
        now = self.clock.now()
        if self.is_crowded and self._accepted_at is not None:
            was_refused = self._refused_at > self._accepted_at
            interval = now - self._accepted_at if was_refused else EASING * self.interval
            self.interval = min(interval, MAX_INTERVAL)
            self._next_at = now + self.interval
        self._accepted_at = now
