"""Synthetic histories: like the emulator's own, and the same every time."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from jupyter_mjci.emulator.datasets import write_exports
from jupyter_mjci.emulator.midjourney.dataset import (
    ACTION_WEIGHTS,
    FAILURE_RATES,
    TIMED_OUT,
    generate_tasks,
)
from jupyter_mjci.emulator.midjourney.tasks import SPEED_MODE_FACTORS, TASK_KINDS
from jupyter_mjci.emulator.tencent_ci.dataset import generate_callbacks


def test_same_seed_gives_same_history() -> None:
    assert (
        list(generate_tasks(300, seed=3))
        == list(generate_tasks(300, seed=3))
        != list(generate_tasks(300, seed=4))
    )
    assert list(generate_callbacks(300, seed=3)) == list(generate_callbacks(300, seed=3))


def test_task_durations_are_within_bounds_of_their_kind() -> None:
    """Every finished task within the bounds of its kind and mode; what failed has a known
    reason.
    """
    kinds = {action: TASK_KINDS[kind] for kind, action, _ in ACTION_WEIGHTS}
    tasks = list(generate_tasks(3000))
    assert len({task["id"] for task in tasks}) == len(tasks) == 3000
    for task in tasks:
        if task["status"] == "SUCCESS":
            run_time = (task["finishTime"] - task["startTime"]) / 1000
            kind = kinds[task["action"]]
            assert (
                kind.min_seconds * SPEED_MODE_FACTORS["TURBO"] - 0.01
                <= run_time
                <= kind.max_seconds * SPEED_MODE_FACTORS["RELAX"] + 0.01
            )
            assert task["imageUrl"]
        elif task["status"] == "FAILURE":
            assert task["failReason"] in dict(FAILURE_RATES)
    assert {TIMED_OUT} < {task["failReason"] for task in tasks}


def test_running_tasks_stay_within_concurrency() -> None:
    events = sorted(
        (moment, step)
        for task in generate_tasks(3000, days=2)
        if task["finishTime"]
        for moment, step in ((task["startTime"] + 1, 1), (task["finishTime"], -1))
    )
    running = maximum = 0
    for _, step in events:
        running += step
        maximum = max(maximum, running)
    assert maximum == 3


def test_few_tasks_are_submitted_at_night() -> None:
    """Five times as many in the afternoon as in the small hours, at least."""
    hours = [
        datetime.fromtimestamp(task["submitTime"] / 1000, UTC).hour for task in generate_tasks(9000)
    ]
    assert sum(13 <= hour < 17 for hour in hours) > 5 * sum(1 <= hour < 5 for hour in hours)


def test_callbacks_are_sorted_by_end_time() -> None:
    ends = [event["JobsDetail"]["EndTime"] for event in generate_callbacks(2000)]
    assert len(ends) == 2000
    assert all(before <= after for before, after in pairwise(ends))


def test_exports_are_listing_and_callback_log(tmp_path: Path) -> None:
    listing, log = write_exports(tmp_path / "exports", 400)
    assert listing.read_text("utf-8").startswith("[\n{")
    assert len(log.read_text("utf-8").splitlines()) == 100
