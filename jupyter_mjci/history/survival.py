"""Estimate how long jobs take when some have not ended: the estimator of Kaplan and Meier.

A job that still runs has taken at least so long. Leaving it out
makes a slow service look fast, and so does taking its time so far
for the whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

PERCENTS = (50, 75, 90, 95, 99)


def estimate_percentiles(counts: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """Return the percentiles of durations by group.

    Args:
        counts: by group and `duration` (seconds): `ended`, how
            many ended after it, and `open`, how many are known to
            last longer
        keys: the columns that identify a group

    Returns:
        One row per group: jobs, ended, open, p50 to p99 (seconds;
        missing where too few have ended to tell).
    """
    rows = []
    if keys:
        groups = counts.groupby(list(keys), dropna=False, observed=True, sort=False)
        parts = [(name if isinstance(name, tuple) else (name,), part) for name, part in groups]
    else:
        parts = [((), counts)]
    for names, part in parts:
        ended = int(part["ended"].sum())
        still_open = int(part["open"].sum())
        row = dict(zip(keys, names, strict=True))
        row |= {"jobs": ended + still_open, "ended": ended, "open": still_open}
        rows.append(row | _find_percentiles(part))
    columns = [*keys, "jobs", "ended", "open", *(f"p{percent}" for percent in PERCENTS)]
    frame = pd.DataFrame(rows, columns=columns)
    types = {**dict.fromkeys(["jobs", "ended", "open"], "int64")}
    types |= {f"p{percent}": "float64" for percent in PERCENTS}
    return frame.astype({**types, **{name: counts[name].dtype for name in keys}})


def _find_percentiles(part: pd.DataFrame) -> dict[str, float]:
    ordered = part.groupby("duration", sort=True)[["ended", "open"]].sum()
    ended = ordered["ended"].to_numpy("float64")
    gone = ended + ordered["open"].to_numpy("float64")
    at_risk = gone.sum() - np.concatenate([[0.0], gone.cumsum()[:-1]]) if len(gone) else gone
    with np.errstate(divide="ignore", invalid="ignore"):
        survival = np.cumprod(1 - ended / at_risk)
    seconds = ordered.index.to_numpy("float64")
    found = {}
    for percent in PERCENTS:
        # 1e-9: products of fractions are a little above the true
        # ones.
        reached = np.flatnonzero(survival <= 1 - percent / 100 + 1e-9)
        found[f"p{percent}"] = float(seconds[reached[0]]) if len(reached) else np.nan
    return found
