"""A synthetic history of picture jobs, as a log of their callbacks has them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from datetime import timedelta, timezone
from random import Random
from typing import Any

from jupyter_mjci.emulator.arrivals import START_DATE, Times, generate_arrivals

CHINA_TZ = timezone(timedelta(hours=8))
CONCURRENCY = 10
# Code, message, and how often of a thousand.
FAILURE_RATES = (
    ("NoSuchKey", "The specified key does not exist.", 9),
    ("ImageResolutionExceed", "the picture is too large", 5),
    ("InternalError", "please retry", 3),
)


def generate_callbacks(count: int, days: float = 45, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the callbacks of Tencent CI's picture jobs, in the order of their ends."""
    rng = Random(f"callbacks {seed}")
    free_slots = [0.0] * CONCURRENCY
    ended: list[tuple[float, int, dict[str, Any]]] = []
    for number, created in enumerate(generate_arrivals(count, days, rng)):
        started = max(heapq.heappop(free_slots), created + 0.3)
        finished = started + rng.lognormvariate(0.4, 0.7)
        heapq.heappush(free_slots, finished)
        callback = _build_callback(number, Times(created, started, finished), rng)
        heapq.heappush(ended, (finished, number, callback))
        while ended[0][0] < created:
            yield heapq.heappop(ended)[2]
    while ended:
        yield heapq.heappop(ended)[2]


def _build_callback(number: int, times: Times, rng: Random) -> dict[str, Any]:
    code, message = _pick_failure(rng)
    created, started, finished = (_format_time(moment) for moment in times)
    key = f"in/{number // 1000:03d}/{number % 1000:03d}.jpg"
    return {
        "EventName": "TaskFinish",
        "JobsDetail": {
            "Code": code or "Success",
            "Message": message,
            "JobId": f"c{number:031x}",
            "Tag": "PicProcess",
            "State": "Failed" if code else "Success",
            "CreationTime": created,
            "StartTime": started,
            "EndTime": finished,
            "QueueId": "p0000000000000000000000000000000",
            "Input": {"BucketId": "sandbox-1250000000", "Region": "ap-beijing", "Object": key},
        },
    }


def _pick_failure(rng: Random) -> tuple[str, str]:
    """Return code and message of a failure, both "" for a success."""
    outcomes = [(code, message) for code, message, _ in FAILURE_RATES]
    weights = [weight for _, _, weight in FAILURE_RATES]
    return rng.choices([*outcomes, ("", "")], [*weights, 1000 - sum(weights)])[0]


def _format_time(seconds: float) -> str:
    moment = START_DATE + timedelta(seconds=round(seconds))
    return moment.astimezone(CHINA_TZ).strftime("%Y-%m-%dT%H:%M:%S%z")
