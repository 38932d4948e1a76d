"""Find out how often the same was asked again after a failure."""

from __future__ import annotations

import pandas as pd

from jupyter_mjci.history.queries import Grouping, add_keys

RETRY_COLUMNS = (
    "id",
    "action",
    "subject",
    "status",
    "submitted",
)
_REQUEST = (
    "service",
    "origin",
    "action",
    "subject",
    "parent",
)


def select_retries(jobs: pd.DataFrame) -> pd.DataFrame:
    """Return the jobs that asked for the same again after a failure, with their columns.

    Args:
        jobs: normalized jobs with RETRY_COLUMNS
    """
    ordered = jobs.sort_values("submitted", kind="stable")
    request = [name for name in _REQUEST if name in ordered.columns]
    number = ordered.groupby(request, dropna=False, sort=False).ngroup()
    failures = (ordered["status"] == "FAILED").fillna(value=False).astype("int64")
    failed_before = failures.groupby(number).cumsum() - failures
    return ordered[failed_before > 0].copy()


def count_retries(jobs: pd.DataFrame, by: Grouping) -> pd.DataFrame:
    """Return the retries of each group; see `JobAccessor.retries`.

    Args:
        jobs: normalized jobs with RETRY_COLUMNS
        by: what to group by; a request counts where its first job
            does
    """
    keyed, keys = add_keys(jobs, by)
    ordered = keyed.sort_values("submitted", kind="stable")
    request = [name for name in _REQUEST if name in ordered.columns]
    number = ordered.groupby(request, dropna=False, sort=False).ngroup()
    has_failed = (ordered["status"] == "FAILED").fillna(value=False).astype(bool)
    has_succeeded = (ordered["status"] == "SUCCEEDED").fillna(value=False).astype(bool)
    grouped = ordered.assign(number=number, failed=has_failed, ok=has_succeeded).groupby("number")
    requests = grouped[list(keys)].first() if keys else pd.DataFrame(index=grouped.size().index)
    requests["jobs"] = grouped.size()
    requests["failed"] = grouped["failed"].first()
    requests["retried"] = requests["failed"] & (requests["jobs"] > 1)
    requests["recovered"] = requests["retried"] & grouped["ok"].any()
    flags = ["jobs", "failed", "retried", "recovered"]
    requests[flags] = requests[flags].astype("int64")
    requests["requests"] = 1
    columns = ["requests", *flags]
    if keys:
        sums = requests.groupby(list(keys), dropna=False, as_index=False)[columns].sum()
    else:
        sums = requests[columns].sum().to_frame().T
    return sums.assign(jobs_per_request=sums["jobs"] / sums["requests"].where(sums["requests"] > 0))
