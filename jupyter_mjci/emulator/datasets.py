"""Synthetic job histories: exports as if the emulator had served for months, to try analyses on.

They have the emulator's durations, queues and failures, with day and night, weekends and a bad hour
now and then; but nothing is drawn and nothing waits. The same seed gives the same history.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from jupyter_mjci.emulator.midjourney.tasks import ACCEPT_DELAY, SPEED_MODE_FACTORS, TASK_KINDS

START_DATE = datetime(2026, 1, 1, tzinfo=UTC)
CHINA_TZ = timezone(timedelta(hours=8))
SECONDS_PER_DAY = 86_400.0
MJ_CONCURRENCY = 3  # tasks that a small account runs at once
CI_CONCURRENCY = 10
TASK_TIMEOUT = 300.0  # seconds
REFUSAL_TIME = 0.8  # seconds until a prompt is refused
LONG_QUEUE_TIME = 60.0  # seconds

TIMED_OUT = "timed out"

# Kind of task, its action, and its share in percent.
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

# Reason, and how often of a thousand; the last one three times as often while the queue is long.
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
PROMPT_NOUNS = "fox lighthouse market teapot harbour owl bridge garden tram whale".split()  # noqa: SIM905
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


class Times(NamedTuple):
    """When a job was submitted, started and finished (seconds since `START_DATE`)."""

    submitted: float
    started: float
    finished: float


def write_exports(
    folder: Path, jobs: int = 100_000, *, days: float = 45, seed: int = 0
) -> list[Path]:
    """Write two exports into a folder.

    Args:
        folder: the folder, which is made if it is missing
        jobs: how many jobs, three of four of them tasks
        days: how long the history is
        seed: another seed gives another history

    Returns:
        The paths of a proxy's task listing and of a log of CI's callbacks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listing = folder / "tasks.json"
    log = folder / "callbacks.log"
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
    """Yield a proxy's tasks as its listing renders them, oldest first.

    Those at the very end are still running.
    """
    rng = Random(f"tasks {seed}")
    free_slots = [0.0] * MJ_CONCURRENCY  # when each slot becomes free
    end = days * SECONDS_PER_DAY
    weights = [weight for _, _, weight in ACTION_WEIGHTS]
    for number, submitted in enumerate(generate_arrivals(count, days, rng)):
        kind, action, _ = rng.choices(ACTION_WEIGHTS, weights)[0]
        slot_time = max(heapq.heappop(free_slots), submitted)
        started = slot_time + ACCEPT_DELAY
        failure = _pick_failure(slot_time - submitted, rng)
        finished = started + _pick_duration(kind, failure, rng)
        heapq.heappush(free_slots, finished)
        yield _build_task(number, action, Times(submitted, started, finished), end, failure, rng)


def generate_callbacks(count: int, *, days: float = 45, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the callbacks of Tencent CI's picture jobs, in the order of their ends."""
    rng = Random(f"callbacks {seed}")
    free_slots = [0.0] * CI_CONCURRENCY
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


def _pick_failure(queue_time: float, rng: Random) -> str:
    """Return why a task fails, "" if it does not."""
    point = rng.random() * 1000
    for failure, weight in FAILURE_RATES:
        is_overloaded = failure == TIMED_OUT and queue_time > LONG_QUEUE_TIME
        point -= weight * (3 if is_overloaded else 1)
        if point < 0:
            return failure
    return ""


def _pick_duration(kind: str, failure: str, rng: Random) -> float:
    """Return a task's run time; a refused prompt ends at once, a stuck task at the timeout."""
    shortest = TASK_KINDS[kind].min_seconds
    longest = TASK_KINDS[kind].max_seconds
    seconds = shortest + (longest - shortest) * rng.random()
    modes = [mode for mode, _ in MODE_WEIGHTS]
    weights = [weight for _, weight in MODE_WEIGHTS]
    seconds *= SPEED_MODE_FACTORS.get(rng.choices(modes, weights)[0], 1.0)
    if failure == TIMED_OUT:
        return TASK_TIMEOUT
    if failure.startswith("["):
        return REFUSAL_TIME
    return seconds / 2 if failure else seconds


def _get_status(times: Times, end: float, failure: str) -> str:
    if times.started > end:
        return "NOT_START"
    if times.finished > end:
        return "IN_PROGRESS"
    return "FAILURE" if failure else "SUCCESS"


def _pick_progress(status: str, rng: Random) -> str:
    if status == "SUCCESS":
        return "100%"
    if status == "NOT_START":
        return "0%"
    return f"{rng.choice((15, 31, 46, 62, 78))}%"


def _pick_prompt(rng: Random) -> str:
    noun = rng.choice(PROMPT_NOUNS)
    article = "an" if noun[0] in "aeiou" else "a"
    return f"{article} {noun} {rng.choice(PROMPT_SCENES)}{rng.choice(PROMPT_SUFFIXES)}"


def _build_task(
    number: int, action: str, times: Times, end: float, failure: str, rng: Random
) -> dict[str, Any]:
    submitted, started, finished = (_to_epoch_ms(moment) for moment in times)
    prompt = _pick_prompt(rng)
    status = _get_status(times, end, failure)
    task_id = f"{submitted}{number % 1000:03d}"
    image_url = f"http://cdn.sandbox.localhost/{task_id}.png"
    return {
        "id": task_id,
        "action": action,
        "status": status,
        "prompt": prompt,
        "promptEn": prompt,
        "description": f"/imagine {prompt}",
        "submitTime": submitted,
        "startTime": started if times.started <= end else 0,
        "finishTime": finished if times.finished <= end else 0,
        "progress": _pick_progress(status, rng),
        "imageUrl": image_url if status == "SUCCESS" else "",
        "failReason": failure if status == "FAILURE" else "",
        "state": rng.choice(("", "", "nightly", "shop")),
    }


def _build_callback(number: int, times: Times, rng: Random) -> dict[str, Any]:
    code, message = _pick_ci_failure(rng)
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


def _pick_ci_failure(rng: Random) -> tuple[str, str]:
    """Return code and message of a failure, both "" for a success."""
    outcomes = [(code, message) for code, message, _ in CI_FAILURE_RATES]
    weights = [weight for _, _, weight in CI_FAILURE_RATES]
    return rng.choices([*outcomes, ("", "")], [*weights, 1000 - sum(weights)])[0]


def _to_epoch_ms(seconds: float) -> int:
    return round((START_DATE.timestamp() + seconds) * 1000)


def _format_time(seconds: float) -> str:
    moment = START_DATE + timedelta(seconds=round(seconds))
    return moment.astimezone(CHINA_TZ).strftime("%Y-%m-%dT%H:%M:%S%z")
