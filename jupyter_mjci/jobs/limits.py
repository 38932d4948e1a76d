"""The guard on spending: how many jobs one cell, click or batch may submit."""

from __future__ import annotations

from collections.abc import Iterable

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.settings import Settings
from jupyter_mjci.errors import PreflightError
from jupyter_mjci.jobs.spending import describe_cost


def check_job_count(
    targets: Iterable[object],
    settings: Settings,
    max_jobs: int | None = None,
    how: str = "max_jobs=",
) -> None:
    """Refuse more submissions than allowed, before the first is sent.

    Args:
        targets: what will be submitted or followed; only
            submissions count, each with the jobs that it makes
        settings: how many are allowed, and what they cost
        max_jobs: how many are allowed, instead of the setting
        how: how the user allows more, up to the number

    Raises:
        PreflightError: with the number of jobs, and how to allow
            them.
    """
    calls = [call for call in targets if isinstance(call, Call) and call.is_submission]
    count = sum(call.job_count for call in calls)
    allowed = settings.max_jobs if max_jobs is None else max_jobs
    if count > allowed:
        cost = describe_cost(calls, settings.prices)
        raise PreflightError(
            f"This would submit {count:,} jobs; at most {allowed:,} are allowed at a time.",
            detail=f"They {cost}." if cost else "",
            hint=f"Nothing was sent. To allow it: {how}{count} here, or the setting max_jobs.",
        )
