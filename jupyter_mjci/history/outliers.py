"""Find the jobs that took far longer than others of their kind (Tukey's fences)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from jupyter_mjci.history.normalization import TIME_COLUMNS
from jupyter_mjci.history.queries import Grouping, add_keys

OUTLIER_COLUMNS = (
    "service",
    "origin",
    "action",
    "subject",
    "reason",
    "parent",
    "user_data",
)


def find_outliers(
    parts: Iterable[pd.DataFrame],
    fences: pd.DataFrame,
    by: Grouping,
    times: tuple[str, str],
    limit: int | None,
) -> pd.DataFrame:
    """Return the jobs above the fence of their group, the longest first.

    Args:
        parts: normalized jobs
        fences: the columns to group by, and `limit_seconds`
        by: what to group by
        times: the later and the earlier time of the duration
        limit: the longest so many; None for all
    """
    found: pd.DataFrame | None = None
    for jobs in parts:
        above = _select_above(jobs, fences, by, times)
        found = above if found is None else pd.concat([found, above], ignore_index=True)
        found = found.sort_values(
            ["seconds", "submitted", "id"],
            ascending=[False, True, True],
            kind="stable",
            ignore_index=True,
        ).head(limit or len(found))
    assert found is not None, "a history has at least one part"
    for name in TIME_COLUMNS:
        found[name] = found[name].dt.tz_localize("UTC")
    return found


def _select_above(
    jobs: pd.DataFrame, fences: pd.DataFrame, by: Grouping, times: tuple[str, str]
) -> pd.DataFrame:
    keyed, keys = add_keys(jobs, by)
    later, earlier = times
    seconds = (keyed[later] - keyed[earlier]).dt.total_seconds()
    known = keyed.assign(seconds=seconds).dropna(subset=["seconds"])
    limits = known.merge(fences, how="left" if keys else "cross", on=list(keys) or None)
    return limits[limits["seconds"] > limits["limit_seconds"]]


def build_fences(
    quartiles: pd.DataFrame, of: str, keys: Sequence[str], factor: float
) -> pd.DataFrame:
    """Return the upper fence of each group.

    Args:
        quartiles: those of each group, in seconds
        of: the name of the duration
        keys: the columns to group by
        factor: how many distances between the quartiles the fence
            is above the upper one
    """
    lower, upper = quartiles[f"{of}_p25"], quartiles[f"{of}_p75"]
    fences = quartiles[list(keys)].assign(limit_seconds=upper + factor * (upper - lower))
    for name in keys:
        if isinstance(fences[name].dtype, pd.DatetimeTZDtype):
            fences[name] = fences[name].dt.tz_localize(None)
    return fences
