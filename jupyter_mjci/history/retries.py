"""Find out how often the same was asked again after a failure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from jupyter_mjci.history.normalization import release_memory
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
CHUNK_ROWS = 65_536
Numbers = np.ndarray[Any, np.dtype[np.int64]]


def select_retries(jobs: pd.DataFrame) -> pd.DataFrame:
    """Return the jobs that asked for the same again after a failure, with their columns.

    Args:
        jobs: normalized jobs with RETRY_COLUMNS
    """
    order, requests = _number_requests(jobs)
    failures = pd.Series(_has_status(jobs, "FAILED")[order].astype("int64"))
    failed_before = failures.groupby(requests).cumsum() - failures
    return jobs.iloc[order[failed_before > 0]].copy()


def count_retries(jobs: pd.DataFrame, by: Grouping) -> pd.DataFrame:
    """Return the retries of each group; see `JobAccessor.retries`.

    Args:
        jobs: normalized jobs with RETRY_COLUMNS
        by: what to group by; a request counts where its first job
            does
    """
    first, counts = _count_requests(jobs)
    keyed, keys = add_keys(jobs, by)
    rows = keyed[list(keys)].iloc[first].reset_index(drop=True).assign(**counts)
    columns = list(counts)
    if keys:
        sums = rows.groupby(list(keys), dropna=False, as_index=False)[columns].sum()
    else:
        sums = rows[columns].sum().to_frame().T
    sums = sums.astype(dict.fromkeys(columns, "int64"))
    return sums.assign(jobs_per_request=sums["jobs"] / sums["requests"].where(sums["requests"] > 0))


def _count_requests(jobs: pd.DataFrame) -> tuple[Numbers, dict[str, Numbers]]:
    """Return the row of each request's first job, and what is counted of the request."""
    order, requests = _number_requests(jobs)
    total = np.bincount(requests)
    first = np.empty(len(total), dtype=np.int64)
    # The last one that is written stays.
    first[requests[::-1]] = order[::-1]
    ok = _has_status(jobs, "SUCCEEDED")[order]
    succeeded = np.bincount(requests[ok], minlength=len(total))
    is_used = total > 0
    first, total, succeeded = first[is_used], total[is_used], succeeded[is_used]
    failed = _has_status(jobs, "FAILED")[first]
    retried = failed & (total > 1)
    return first, {
        "requests": np.ones(len(first), dtype="int8"),
        "jobs": total.astype("int32"),
        "failed": failed.astype("int8"),
        "retried": retried.astype("int8"),
        "recovered": (retried & (succeeded > 0)).astype("int8"),
    }


def _number_requests(jobs: pd.DataFrame) -> tuple[Numbers, Numbers]:
    """Return the order of jobs by submission, and in that order the number of each one's request.

    One column after another, so that no more than one is copied.
    """
    numbers = np.zeros(len(jobs), dtype=np.int64)
    for name in _REQUEST:
        if name not in jobs.columns:
            continue
        codes, distinct = _number_values(jobs[name])
        if not numbers.any():
            numbers = codes
        elif (codes != codes[0]).any():
            numbers *= distinct
            numbers += codes
            del codes
            numbers, _ = pd.factorize(numbers)
    order = jobs["submitted"].to_numpy().argsort(kind="stable")
    return order, numbers[order]


def _number_values(values: pd.Series) -> tuple[Numbers, int]:
    """Return a number per value, the same for equal ones, and how many numbers there are.

    `factorize` would copy every text.
    """
    texts = values.array
    order = texts.argsort()
    is_new = np.zeros(len(texts), dtype=bool)
    for begin in range(0, len(texts), CHUNK_ROWS):
        part = texts.take(order[begin : begin + CHUNK_ROWS + 1])
        # Missing values come last: the first of them differs, too.
        differs = (part[1:] != part[:-1]).to_numpy(bool, na_value=False)
        differs |= part.isna()[1:] != part.isna()[:-1]
        is_new[begin + 1 : begin + len(part)] = differs
    numbers = np.empty(len(texts), dtype=np.int64)
    numbers[order] = is_new.cumsum()
    release_memory()
    return numbers, int(numbers.max(initial=0)) + 1


def _has_status(jobs: pd.DataFrame, status: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return (jobs["status"] == status).to_numpy(bool, na_value=False)
