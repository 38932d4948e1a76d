"""Compare two periods of a history: differences with intervals of 95 %."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

Z = 1.959963984540054  # of 95 %
DURATION_NAMES = (
    "queue_time",
    "run_time",
    "total",
)
COMPARISON_METRICS = (
    "jobs",
    "ended",
    "succeeded",
    *(f"{name}_{part}" for name in DURATION_NAMES for part in ("mean", "std", "count", "p95")),
)


def build_comparison(
    before: pd.DataFrame, after: pd.DataFrame, days: tuple[float, float], keys: Sequence[str]
) -> pd.DataFrame:
    """Return how the metrics of groups differ.

    Args:
        before: COMPARISON_METRICS by group
        after: the same of the other period
        days: the lengths of both periods
        keys: the columns that identify a group

    Returns:
        One row per group and metric: before, after, difference,
        low and high (where the difference lies, by 95 %; missing
        where a metric has no interval), is_clear (whether 0 lies
        outside).
    """
    if keys:
        both = before.merge(after, how="outer", on=list(keys), suffixes=("_before", "_after"))
    else:
        both = before.add_suffix("_before").join(after.add_suffix("_after"))
    rows = []
    for record in both.to_dict("records"):
        group = {name: record[name] for name in keys}
        sides = [
            {name: _number(record[f"{name}_{side}"]) for name in COMPARISON_METRICS}
            for side in ("before", "after")
        ]
        for metric, values in _compare(sides[0], sides[1], days):
            rows.append({**group, "metric": metric, **values})
    columns = [*keys, "metric", "before", "after", "difference", "low", "high", "is_clear"]
    frame = pd.DataFrame(rows, columns=columns)
    types = dict.fromkeys(["before", "after", "difference", "low", "high"], "float64")
    return frame.astype({**types, "metric": "string", "is_clear": "bool"})


def _number(value: Any) -> float:
    return 0.0 if pd.isna(value) else float(value)


def _compare(
    before: dict[str, float], after: dict[str, float], days: tuple[float, float]
) -> list[tuple[str, dict[str, Any]]]:
    """Return every metric with its values."""
    rates = [before["jobs"] / days[0], after["jobs"] / days[1]]
    error = math.sqrt(before["jobs"] / days[0] ** 2 + after["jobs"] / days[1] ** 2)
    results = [("jobs_per_day", _describe(rates[0], rates[1], Z * error, Z * error))]
    results.append(("success_rate", _compare_shares(before, after)))
    for name in DURATION_NAMES:
        results.append((f"{name}_mean", _compare_means(before, after, name)))
        sides = [_get_known(side, name, "p95") for side in (before, after)]
        results.append((f"{name}_p95", _describe(sides[0], sides[1], math.nan, math.nan)))
    return results


def _compare_shares(before: dict[str, float], after: dict[str, float]) -> dict[str, Any]:
    """Compare shares by Newcombe's hybrid score interval, which small numbers need."""
    first = _get_score_interval(before["succeeded"], before["ended"])
    second = _get_score_interval(after["succeeded"], after["ended"])
    below = math.hypot(second[0] - second[1], first[2] - first[0])
    above = math.hypot(second[2] - second[0], first[0] - first[1])
    return _describe(first[0], second[0], below, above)


def _get_score_interval(succeeded: float, ended: float) -> tuple[float, float, float]:
    """Return a share, and Wilson's interval around it."""
    if not ended:
        return math.nan, math.nan, math.nan
    share = succeeded / ended
    scale = 1 + Z**2 / ended
    middle = (share + Z**2 / (2 * ended)) / scale
    half = Z * math.sqrt(share * (1 - share) / ended + Z**2 / (4 * ended**2)) / scale
    return share, middle - half, middle + half


def _compare_means(before: dict[str, float], after: dict[str, float], name: str) -> dict[str, Any]:
    """Compare means by their standard errors (Welch), in the normal approximation."""
    squares = 0.0
    for side in (before, after):
        count = side[f"{name}_count"]
        squares += side[f"{name}_std"] ** 2 / count if count > 1 else math.nan
    error = Z * math.sqrt(squares)
    means = [_get_known(side, name, "mean") for side in (before, after)]
    return _describe(means[0], means[1], error, error)


def _get_known(side: dict[str, float], name: str, part: str) -> float:
    return side[f"{name}_{part}"] if side[f"{name}_count"] else math.nan


def _describe(before: float, after: float, below: float, above: float) -> dict[str, Any]:
    difference = after - before
    low = difference - below
    high = difference + above
    is_clear = bool(np.isfinite(low) and np.isfinite(high) and not low <= 0 <= high)
    values = {"before": before, "after": after, "difference": difference}
    return {**values, "low": low, "high": high, "is_clear": is_clear}
