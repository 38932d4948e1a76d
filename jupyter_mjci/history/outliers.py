"""Find the jobs that took far longer than others of their kind (Tukey's fences)."""

from __future__ import annotations

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
    jobs: pd.DataFrame, by: Grouping, times: tuple[str, str], factor: float
) -> pd.DataFrame:
    """Return the jobs above the upper fence of their group, the longest first.

    Args:
        jobs: normalized jobs
        by: what to group by
        times: the later and the earlier time of the duration
        factor: how many distances between the quartiles the fence
            is above the upper one
    """
    keyed, keys = add_keys(jobs, by)
    later, earlier = times
    seconds = (keyed[later] - keyed[earlier]).dt.total_seconds()
    known = keyed.assign(seconds=seconds).dropna(subset=["seconds"])
    if keys:
        groups = known.groupby(list(keys), dropna=False, observed=True)["seconds"]
        lower = groups.transform("quantile", q=0.25)
        upper = groups.transform("quantile", q=0.75)
    else:
        lower = pd.Series(known["seconds"].quantile(0.25), index=known.index)
        upper = pd.Series(known["seconds"].quantile(0.75), index=known.index)
    fences = upper + factor * (upper - lower)
    found = known.assign(limit_seconds=fences)[known["seconds"] > fences]
    for name in TIME_COLUMNS:
        found[name] = found[name].dt.tz_localize("UTC")
    return found.sort_values("seconds", ascending=False, kind="stable", ignore_index=True)
