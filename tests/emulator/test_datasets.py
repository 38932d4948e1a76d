"""Synthetic histories: like the stand-ins' own, and the same every time."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from jupyter_mjci.emulator.datasets import (
    ACTION_WEIGHTS,
    FAILURE_RATES,
    TIMED_OUT,
    generate_callbacks,
    generate_tasks,
    write_exports,
)
from jupyter_mjci.emulator.midjourney.tasks import SPEED_MODE_FACTORS, TASK_KINDS


def test_the_same_seed_gives_the_same_history() -> None:
    assert (
        list(generate_tasks(300, seed=3))
        == list(generate_tasks(300, seed=3))
        != list(generate_tasks(300, seed=4))
    )
    assert list(generate_callbacks(300, seed=3)) == list(generate_callbacks(300, seed=3))


def test_tasks_take_as_long_as_the_stand_ins() -> None:
    """Every finished task within the bounds of its kind and mode; what failed, failed for a told
    reason.
    """
    kinds = {action: TASK_KINDS[kind] for kind, action, _ in ACTION_WEIGHTS}
    made = list(generate_tasks(3000))
    assert len({task["id"] for task in made}) == len(made) == 3000
    for task in made:
        if task["status"] == "SUCCESS":
            took = (task["finishTime"] - task["startTime"]) / 1000
            kind = kinds[task["action"]]
            assert (
                kind.min_seconds * SPEED_MODE_FACTORS["TURBO"] - 0.01
                <= took
                <= kind.max_seconds * SPEED_MODE_FACTORS["RELAX"] + 0.01
            )
            assert task["imageUrl"]
        elif task["status"] == "FAILURE":
            assert task["failReason"] in dict(FAILURE_RATES)
    assert {TIMED_OUT} < {task["failReason"] for task in made}


def test_no_more_run_at_once_than_the_account_allows() -> None:
    events = sorted(
        (moment, step)
        for task in generate_tasks(3000, days=2)
        if task["finishTime"]
        for moment, step in ((task["startTime"] + 1, 1), (task["finishTime"], -1))
    )
    running = most = 0
    for _, step in events:
        running += step
        most = max(most, running)
    assert most == 3


def test_nights_are_quiet() -> None:
    """Five times as many in the afternoon as in the small hours, at least."""
    hours = [
        datetime.fromtimestamp(task["submitTime"] / 1000, UTC).hour for task in generate_tasks(9000)
    ]
    assert sum(13 <= hour < 17 for hour in hours) > 5 * sum(1 <= hour < 5 for hour in hours)


def test_callbacks_come_in_the_order_of_their_ends() -> None:
    ends = [event["JobsDetail"]["EndTime"] for event in generate_callbacks(2000)]
    assert len(ends) == 2000
    assert all(one <= other for one, other in pairwise(ends))


def test_files_are_what_the_services_export(tmp_path: Path) -> None:
    listing, log = write_exports(tmp_path / "exports", 400)
    assert listing.read_text("utf-8").startswith("[\n{")
    assert len(log.read_text("utf-8").splitlines()) == 100
