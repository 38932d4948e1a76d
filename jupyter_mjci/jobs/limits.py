"""The guard on spending: how many jobs one cell, click or batch may submit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jupyter_mjci.client.calls import Call
from jupyter_mjci.errors import PreflightError


def check_job_count(
    targets: Iterable[object],
    max_jobs: int,
    how: str = "max_jobs=",
) -> None:
    """Refuse more submissions than allowed, before the first is sent.

    Args:
        targets: what will be submitted or followed; only
            submissions count, each with the jobs that it makes
        max_jobs: how many are allowed
        how: how the user allows more, up to the number

    Raises:
        PreflightError: with the number of jobs, and how to allow
            them.
    """
    count = sum(map(_count_jobs, targets))
    if count > max_jobs:
        raise PreflightError(
            f"This would submit {count:,} jobs; at most {max_jobs:,} are allowed at a time.",
            hint=f"Nothing was sent. To allow it: {how}{count} here, or the setting max_jobs.",
        )


def _count_jobs(target: object) -> int:
    if not isinstance(target, Call):
        return 0
    call: Call[Any] = target
    return call.job_count if call.is_submission else 0
