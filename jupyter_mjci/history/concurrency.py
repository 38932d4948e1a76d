"""Count queued and running jobs over time, from when jobs came and went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import narwhals as nw
import pandas as pd

from jupyter_mjci.history.periods import Period, complete_periods, mark_partial
from jupyter_mjci.history.queries import IS_OPEN

_HAS_STARTED = ~nw.col("started").is_null()
# A job that has ended at an unknown time would count for ever.
_COUNTS = ~nw.col("submitted").is_null() & (IS_OPEN | ~nw.col("finished").is_null())
# What changes the numbers: the time of it, and the jobs concerned.
CONCURRENCY_STEPS: dict[str, dict[str, Any]] = {
    "submitted": {"time_column": "submitted", "condition": _COUNTS},
    "started": {"time_column": "started", "condition": _COUNTS},
    "ended_running": {"time_column": "finished", "condition": _COUNTS & _HAS_STARTED},
    "ended_queued": {"time_column": "finished", "condition": _COUNTS & ~_HAS_STARTED},
}


def build_concurrency(
    steps: Mapping[str, pd.DataFrame], period: Period, *, complete: bool
) -> pd.DataFrame:
    """Return how many jobs were queued and running at the end of each period.

    Args:
        steps: the jobs of each of CONCURRENCY_STEPS by period
        period: the period
        complete: whether periods without any change have rows

    Returns:
        Columns: period, the keys, submitted, started, ended,
        queued, running, partial.
    """
    first = steps["submitted"]
    keys = [name for name in first.columns if name not in ("period", "jobs", "partial")]
    index = ["period", *keys]
    frame = first[index].iloc[:0]
    for name, step in steps.items():
        counts = step[[*index, "jobs"]].rename(columns={"jobs": name})
        frame = counts if frame.columns.tolist() == index else frame.merge(counts, "outer", index)
    names = list(steps)
    frame[names] = frame[names].fillna(0).astype("int64")
    frame = frame.sort_values(index, ignore_index=True)
    if complete:
        frame = complete_periods(frame, period, keys, names)
    totals = frame.groupby(keys, dropna=False)[names].cumsum() if keys else frame[names].cumsum()
    running = totals["started"] - totals["ended_running"]
    queued = totals["submitted"] - totals["started"] - totals["ended_queued"]
    frame["ended"] = frame["ended_running"] + frame["ended_queued"]
    frame = frame[[*index, "submitted", "started", "ended"]]
    return frame.assign(queued=queued, running=running, partial=mark_partial(frame["period"]))
