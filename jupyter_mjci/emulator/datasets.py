"""Histories as the stand-ins would have made them, had they served for months: exports to learn
analysing on.

The same durations, queues and failures as the stand-ins', with day and night, weekends and a bad
hour now and then; only that nothing is drawn and nobody waits. Deterministic: the same seed, the
same history.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any

from jupyter_mjci.emulator.midjourney.tasks import ACCEPT_DELAY, SPEED_MODE_FACTORS, TASK_KINDS

START_DATE = datetime(2026, 1, 1, tzinfo=UTC)
CHINA_TZ = timezone(timedelta(hours=8))
SECONDS_PER_DAY = 86_400.0
MJ_CONCURRENCY = 3  # tasks that run at once, as a small account may
CI_CONCURRENCY = 10

TIMED_OUT = "timed out"

# What people do: kind of task, its action, how often of a hundred.
ACTION_WEIGHTS = (
    ("grid", "IMAGINE", 46),
    ("upscale", "UPSCALE", 30),
    ("grid", "VARIATION", 12),
    ("describe", "DESCRIBE", 4),
    ("grid", "REROLL", 4),
    ("grid", "ZOOM", 2),
    ("film", "VIDEO", 2),
)
MODE_WEIGHTS = (("", 70), ("RELAX", 22), ("TURBO", 8))

# How it may go wrong, and how often of a thousand; the last one three times as often while the
# queue is long.
FAILURE_RATES = (
    ("[Banned prompt] the prompt was refused", 14),
    ("[Invalid parameter] Unrecognized parameter(s): --arr", 9),
    ("the source picture could not be fetched", 6),
    (TIMED_OUT, 9),
)
CI_FAILURE_RATES = (
    ("NoSuchKey", "The specified key does not exist.", 9),
    ("ImageResolutionExceed", "the picture is too large", 5),
    ("InternalError", "please retry", 3),
)
PROMPT_NOUNS = (
    "fox",
    "lighthouse",
    "market",
    "teapot",
    "harbour",
    "owl",
    "bridge",
    "garden",
    "tram",
    "whale",
)
PROMPT_SCENES = (
    "in the snow",
    "at dusk",
    "under the sea",
    "in the rain",
    "on Mars",
    "by candlelight",
    "in autumn",
)
PROMPT_SUFFIXES = ("", " --ar 3:2", " --ar 16:9", " --ar 2:3", " --niji")


def write_exports(
    folder: Path, jobs: int = 100_000, *, days: float = 45, seed: int = 0
) -> list[Path]:
    """Writes two exports into a folder: a proxy's task listing (three of four jobs) and a log of
    CI's callbacks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listing, log = folder / "tasks.json", folder / "callbacks.log"
    with listing.open("w", encoding="utf-8") as file:
        for number, task in enumerate(generate_tasks(jobs - jobs // 4, days=days, seed=seed)):
            file.write("[\n" if number == 0 else ",\n")
            json.dump(task, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n]\n")
    with log.open("w", encoding="utf-8") as file:
        for event in generate_callbacks(jobs // 4, days=days, seed=seed):
            json.dump(event, file, ensure_ascii=False, separators=(",", ":"))
            file.write("\n")
    return [listing, log]


def generate_tasks(count: int, *, days: float = 45, seed: int = 0) -> Iterator[dict[str, Any]]:
    """A proxy's tasks, oldest first, as its listing tells them; those at the very end are still
    under way.
    """
    dice = Random(f"tasks {seed}")
    slots, end = [0.0] * MJ_CONCURRENCY, days * SECONDS_PER_DAY
    for number, submitted in enumerate(generate_arrivals(count, days, dice)):
        kind, action = _weighted_choice(
            [((kind, action), weight) for kind, action, weight in ACTION_WEIGHTS], dice
        )
        free = max(heapq.heappop(slots), submitted)
        started = free + ACCEPT_DELAY
        fate = _pick_failure(free - submitted, dice)
        took = _task_duration(kind, fate, dice)
        heapq.heappush(slots, started + took)
        yield _build_task(number, action, (submitted, started, started + took), end, fate, dice)


def generate_callbacks(count: int, *, days: float = 45, seed: int = 0) -> Iterator[dict[str, Any]]:
    """What Tencent CI posts when picture jobs end, in the order of their ends."""
    dice = Random(f"callbacks {seed}")
    slots = [0.0] * CI_CONCURRENCY
    ended: list[tuple[float, int, dict[str, Any]]] = []
    for number, created in enumerate(generate_arrivals(count, days, dice)):
        started = max(heapq.heappop(slots), created + 0.3)
        finished = started + dice.lognormvariate(0.4, 0.7)
        heapq.heappush(slots, finished)
        heapq.heappush(
            ended, (finished, number, _build_callback(number, (created, started, finished), dice))
        )
        while ended[0][0] < created:
            yield heapq.heappop(ended)[2]
    while ended:
        yield heapq.heappop(ended)[2]


def generate_arrivals(count: int, days: float, rng: Random) -> Iterator[float]:
    """Seconds since the beginning at which jobs come: few at night, most in the afternoon, fewer at
    weekends.
    """
    moods = [rng.lognormvariate(0, 0.22) for _ in range(math.ceil(days) + 1)]
    hours = [
        _hourly_load(hour) * moods[hour // 24] * rng.lognormvariate(0, 0.2)
        for hour in range(math.ceil(days * 24))
    ]
    whole, come = sum(hours), 0.0
    for hour, share in enumerate(hours):
        before, come = round(come), come + count * share / whole
        yield from sorted(hour * 3600 + rng.random() * 3600 for _ in range(round(come) - before))


def _hourly_load(hour: int) -> float:
    of_day = (
        1.05
        + math.cos((hour % 24 - 15) / 24 * 2 * math.pi)
        + 0.25 * math.cos((hour % 24 - 20) / 6 * math.pi)
    )
    weekend = 0.6 if (START_DATE + timedelta(hours=hour)).weekday() >= 5 else 1.0
    return max(of_day, 0.05) * weekend


def _weighted_choice(weighted: Any, rng: Random) -> Any:
    return rng.choices([one for one, _ in weighted], [weight for _, weight in weighted])[0]


def _pick_failure(queue_time: float, rng: Random) -> str:
    point = rng.random() * 1000
    for fate, weight in FAILURE_RATES:
        point -= weight * (3 if fate == FAILURE_RATES[-1][0] and queue_time > 60 else 1)
        if point < 0:
            return fate
    return ""


def _task_duration(kind: str, failure: str, rng: Random) -> float:
    """A task's own seconds; what is refused ends at once, what is stuck is given up after five
    minutes.
    """
    low, high = TASK_KINDS[kind].min_seconds, TASK_KINDS[kind].max_seconds
    whole = (low + (high - low) * rng.random()) * SPEED_MODE_FACTORS.get(
        _weighted_choice(MODE_WEIGHTS, rng), 1.0
    )
    return (
        300.0
        if failure == TIMED_OUT
        else 0.8
        if failure.startswith("[")
        else whole * (0.5 if failure else 1.0)
    )


def _build_task(
    number: int,
    action: str,
    times: tuple[float, float, float],
    end: float,
    failure: str,
    rng: Random,
) -> dict[str, Any]:
    submitted, started, finished = (_to_epoch_ms(moment) for moment in times)
    noun = rng.choice(PROMPT_NOUNS)
    prompt = f"{'an' if noun[0] in 'aeiou' else 'a'} {noun} {rng.choice(PROMPT_SCENES)}{rng.choice(PROMPT_SUFFIXES)}"
    status = (
        "NOT_START"
        if times[1] > end
        else "IN_PROGRESS"
        if times[2] > end
        else "FAILURE"
        if failure
        else "SUCCESS"
    )
    done = status == "SUCCESS"
    task_id = f"{submitted}{number % 1000:03d}"
    return {
        "id": task_id,
        "action": action,
        "status": status,
        "prompt": prompt,
        "promptEn": prompt,
        "description": f"/imagine {prompt}",
        "submitTime": submitted,
        "startTime": started if times[1] <= end else 0,
        "finishTime": finished if times[2] <= end else 0,
        "progress": "100%"
        if done
        else "0%"
        if status == "NOT_START"
        else f"{rng.choice((15, 31, 46, 62, 78))}%",
        "imageUrl": f"http://cdn.sandbox.localhost/{task_id}.png" if done else "",
        "failReason": failure if status == "FAILURE" else "",
        "state": rng.choice(("", "", "nightly", "shop")),
    }


def _build_callback(number: int, times: tuple[float, float, float], rng: Random) -> dict[str, Any]:
    code, message = _weighted_choice(
        [((one, why), weight) for one, why, weight in CI_FAILURE_RATES] + [(("", ""), 983)], rng
    )
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


def _to_epoch_ms(seconds: float) -> int:
    return round((START_DATE.timestamp() + seconds) * 1000)


def _format_time(seconds: float) -> str:
    return (
        (START_DATE + timedelta(seconds=round(seconds)))
        .astimezone(CHINA_TZ)
        .strftime("%Y-%m-%dT%H:%M:%S%z")
    )
