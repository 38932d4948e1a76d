"""A synthetic history of tasks, as the listing of a small account's proxy renders them."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from random import Random
from typing import Any

from jupyter_mjci.emulator.arrivals import SECONDS_PER_DAY, START_DATE, Times, generate_arrivals
from jupyter_mjci.emulator.midjourney.tasks import ACCEPT_DELAY, SPEED_MODE_FACTORS, TASK_KINDS

CONCURRENCY = 3  # tasks that run at once
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

# Reason, and how often of a thousand; the last one three times as
# often while the queue is long.
FAILURE_RATES = (
    ("[Banned prompt] the prompt was refused", 14),
    ("[Invalid parameter] Unrecognized parameter(s): --arr", 9),
    ("the source picture could not be fetched", 6),
    (TIMED_OUT, 9),
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


def generate_tasks(count: int, days: float = 45, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield a proxy's tasks as its listing renders them, oldest first.

    Those at the very end are still running.
    """
    rng = Random(f"tasks {seed}")
    # when each slot becomes free
    free_slots = [0.0] * CONCURRENCY
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


def _to_epoch_ms(seconds: float) -> int:
    return round((START_DATE.timestamp() + seconds) * 1000)
