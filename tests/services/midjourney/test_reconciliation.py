"""Which task is that of a submission whose response was lost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from jupyter_mjci.client.job import Job
from jupyter_mjci.services.midjourney import reconciliation
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.tracking import MAX_CLOCK_SKEW

SENT_AT = 1_700_000_000.0
TASK = {"id": "17", "state": "mine", "prompt": "a red fox"}


def matches(seconds: float | None = 1.0, **fields: Any) -> bool:
    """Return whether a task that was made so long after it is that of a submission."""
    call = Midjourney().imagine("a red fox", state="mine")
    submitted = None if seconds is None else datetime.fromtimestamp(SENT_AT + seconds, UTC)
    task = {**TASK, **fields}
    job = Job("mj", "17", "IMAGINE", subject=task["prompt"], submitted=submitted, raw=task)
    return bool(reconciliation.build_matcher(call, "mjci-1", SENT_AT)(job))


def test_task_that_says_all_that_was_sent_matches() -> None:
    """What it leaves out is no objection; a service's clock may be behind."""
    assert matches()
    assert matches(None)
    assert matches(-MAX_CLOCK_SKEW + 1)


@pytest.mark.parametrize(
    "differing", [{"state": "theirs"}, {"state": ""}, {"state": None}, {"prompt": "a blue fox"}]
)
def test_task_that_says_something_else_is_anothers(differing: dict[str, Any]) -> None:
    assert not matches(**differing)


def test_task_that_was_there_before_is_anothers() -> None:
    assert not matches(-MAX_CLOCK_SKEW - 1)
