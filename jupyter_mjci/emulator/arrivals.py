"""When the jobs of a synthetic history come: day and night, weekends, a bad hour now and then."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import NamedTuple

START_DATE = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS_PER_DAY = 86_400.0


class Times(NamedTuple):
    """When a job was submitted, started and finished (seconds since `START_DATE`)."""

    submitted: float
    started: float
    finished: float


def generate_arrivals(count: int, days: float, rng: Random) -> Iterator[float]:
    """Yield when jobs are submitted (seconds): few at night and at weekends, most in the afternoon.

    Args:
        count: how many jobs
        days: how long the history is
        rng: the random numbers
    """
    day_factors = [rng.lognormvariate(0, 0.22) for _ in range(math.ceil(days) + 1)]
    loads = []
    for hour in range(math.ceil(days * 24)):
        loads.append(_hourly_load(hour) * day_factors[hour // 24] * rng.lognormvariate(0, 0.2))
    total = sum(loads)
    arrived = 0.0
    for hour, load in enumerate(loads):
        before = round(arrived)
        arrived += count * load / total
        yield from sorted(hour * 3600 + rng.random() * 3600 for _ in range(round(arrived) - before))


def _hourly_load(hour: int) -> float:
    afternoon_peak = math.cos((hour % 24 - 15) / 24 * 2 * math.pi)
    evening_peak = 0.25 * math.cos((hour % 24 - 20) / 6 * math.pi)
    is_weekend = (START_DATE + timedelta(hours=hour)).weekday() >= 5
    return max(1.05 + afternoon_peak + evening_peak, 0.05) * (0.6 if is_weekend else 1.0)
