"""The guard on spending: how many jobs one cell, click or batch may submit."""

from __future__ import annotations

from collections.abc import Iterable

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.prices import Prices
from jupyter_mjci.errors import PreflightError
from jupyter_mjci.jobs.spending import describe_cost


def check_job_count(
    targets: Iterable[object],
    max_jobs: int,
    prices: Prices,
    how: str = "max_jobs=",
) -> None:
    """Refuse more submissions than allowed, before the first is sent.

    Args:
        targets: what will be submitted or followed; only
            submissions count, each with the jobs that it makes
        max_jobs: how many are allowed
        prices: what the submissions cost
        how: how the user allows more, up to the number

    Raises:
        PreflightError: with the number of jobs, and how to allow
            them.
    """
    calls = [call for call in targets if isinstance(call, Call) and call.is_submission]
    count = sum(call.job_count for call in calls)
    if count > max_jobs:
        cost = describe_cost(calls, prices)
        raise PreflightError(
            f"This would submit {count:,} jobs; at most {max_jobs:,} are allowed at a time.",
            detail=f"They {cost}." if cost else "",
            hint=f"Nothing was sent. To allow it: {how}{count} here, or the setting max_jobs.",
        )
