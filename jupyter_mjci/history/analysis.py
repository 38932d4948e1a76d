"""Analyse a history: questions that are answered by small DataFrames, and plots of them.

Every question is a `Query`, which pandas, Polars, DuckDB or Dask
computes: see `queries`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Any

import numpy as np
import pandas as pd

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.history.normalization import parse_limit, parse_statuses
from jupyter_mjci.history.periods import Period, get_ends, parse_period
from jupyter_mjci.history.plots import PlotAccessor
from jupyter_mjci.history.queries import (
    TERMINAL_STATUSES,
    Grouping,
    JobSource,
    Query,
    check_source,
    parse_grouping,
    run_query,
)


class JobAccessor:
    """Analyses of a history: `df.mjci.timeline()`, and as plots `df.mjci.plot.timeline()`.

    Arguments that several analyses take:

    * `every`: hour, day, week (ISO, from Monday), month or
      quarter; makes the column `period`. None takes all times
      together. Periods without jobs have rows, too, unless
      `complete=False`; `partial` marks the first and the last
      period, inside which the history begins and ends.
    * `by`: any column, any function of the DataFrame, several of
      them, or a mapping of names to them. A missing text is
      "(none)".
    * `tz`: the time zone of the periods ("Asia/Shanghai").
    * `limit`: keeps the first so many rows.

    Raises InvalidRequest for arguments that cannot be meant, and
    for a frame without the columns that an analysis reads.
    """

    def __init__(self, source: JobSource) -> None:
        if isinstance(source, pd.DataFrame) and not {"status", "submitted"} <= set(source.columns):
            raise AttributeError("mjci works on frames of jobs, which have a status and times")
        self._source = source

    @property
    def plot(self) -> PlotAccessor:
        """The same analyses as plots, on matplotlib Axes."""
        return PlotAccessor(self)

    def timeline(
        self,
        every: Period = "day",
        by: Grouping = (),
        *,
        tz: str | tzinfo = "UTC",
        complete: bool = True,
    ) -> pd.DataFrame:
        """Count jobs by when they were submitted, and how they ended.

        Columns: period, jobs, succeeded, failed, cancelled, open,
        partial.
        """
        metrics = ("jobs", "succeeded", "failed", "cancelled", "open")
        return self._run(metrics, every, by, tz=tz, complete=complete)

    def throughput(
        self,
        every: Period = "hour",
        by: Grouping = (),
        *,
        tz: str | tzinfo = "UTC",
        complete: bool = True,
    ) -> pd.DataFrame:
        """Count jobs by when they ended.

        Columns: period, jobs, succeeded, per_hour (jobs ended per
        hour), partial.
        """
        period = parse_period(every)
        return self._run(
            ("jobs", "succeeded"),
            period,
            by,
            tz=tz,
            complete=complete,
            time_column="finished",
            statuses=TERMINAL_STATUSES,
            postprocess=lambda frame: _add_per_hour(frame, period),
        )

    def turnaround(
        self,
        every: Period | None = None,
        by: Grouping = "action",
        *,
        tz: str | tzinfo = "UTC",
        complete: bool = True,
    ) -> pd.DataFrame:
        """Return the seconds from submission to success.

        Columns: jobs, mean, p50, p90, p95, p99, max.
        """
        statistics = ("mean", "p50", "p90", "p95", "p99", "max")
        return self._run(
            ("jobs", *(f"total_{name}" for name in statistics)),
            every,
            by,
            tz=tz,
            complete=complete,
            time_column="finished",
            statuses=("SUCCEEDED",),
            postprocess=_strip_total_prefix,
        )

    def queue_stats(
        self,
        every: Period | None = "day",
        by: Grouping = "action",
        *,
        tz: str | tzinfo = "UTC",
        complete: bool = True,
    ) -> pd.DataFrame:
        """Return the success rate, and quantiles of the seconds in the queue and running.

        Columns: jobs, success_rate, queue_time_p50,
        queue_time_p95, run_time_p50, run_time_p95.
        """
        quantiles = ("queue_time_p50", "queue_time_p95", "run_time_p50", "run_time_p95")
        return self._run(
            ("jobs", "ended", "succeeded", *quantiles),
            every,
            by,
            tz=tz,
            complete=complete,
            postprocess=_replace_counts_by_rate,
        )

    def failures(
        self,
        by: Grouping = ("action", "reason"),
        limit: int | None = 20,
        *,
        tz: str | tzinfo = "UTC",
    ) -> pd.DataFrame:
        """Count failures, most frequent first.

        Columns: jobs, share (of all failures), first and last
        (submission).
        """
        rows = parse_limit(limit)

        def add_share(frame: pd.DataFrame) -> pd.DataFrame:
            total = max(int(frame["jobs"].sum()), 1)
            _insert_after(frame, "jobs", "share", frame["jobs"] / total)
            ordered = frame.sort_values("jobs", ascending=False, kind="stable", ignore_index=True)
            return ordered.head(rows or len(ordered))

        metrics = ("jobs", "first", "last")
        return self._run(metrics, None, by, tz=tz, statuses=("FAILED",), postprocess=add_share)

    def success_rate(
        self,
        every: Period | None = "day",
        by: Grouping = (),
        *,
        tz: str | tzinfo = "UTC",
        complete: bool = True,
    ) -> pd.DataFrame:
        """Return the share of ended jobs that succeeded.

        Columns: jobs, ended, succeeded, success_rate (0 to 1;
        missing where no job has ended).
        """
        metrics = ("jobs", "ended", "succeeded")
        return self._run(
            metrics, every, by, tz=tz, complete=complete, postprocess=_add_success_rate
        )

    def sla(
        self,
        within: float,
        every: Period | None = "day",
        by: Grouping = (),
        *,
        tz: str | tzinfo = "UTC",
        complete: bool = True,
    ) -> pd.DataFrame:
        """Return the share of ended jobs that succeeded within so many seconds of submission.

        Columns: jobs, ended, met, missed (ended later, or without
        success), share (met of ended; 0 to 1).
        """
        if not within > 0:
            raise InvalidRequest(
                f"within={within!r} is not a positive number of seconds.", hint="within=60"
            )

        def add_share(frame: pd.DataFrame) -> pd.DataFrame:
            return frame.assign(share=frame["met"] / frame["ended"].where(frame["ended"] > 0))

        return self._run(
            ("jobs", "ended", "met", "missed"),
            every,
            by,
            tz=tz,
            complete=complete,
            within=within,
            postprocess=add_share,
        )

    def cost(
        self,
        prices: Mapping[str, float],
        every: Period | None = "month",
        by: Grouping = "action",
        *,
        statuses: str | Sequence[str] = "SUCCEEDED",
        tz: str | tzinfo = "UTC",
        complete: bool = True,
    ) -> pd.DataFrame:
        """Return the cost of jobs.

        `prices` are per action, `{"IMAGINE": 0.03}`; "*" is the
        price of every other action, without which their price and
        cost are missing. `statuses` are those that are charged,
        "SUCCEEDED" by default; with `by="status"` the cost of
        failures stands alone. Columns: jobs, price, cost.
        """
        known = _parse_prices(prices)
        default = known.get("*", np.nan)

        def add_cost(frame: pd.DataFrame) -> pd.DataFrame:
            price = frame["action"].map(known).astype("float64").fillna(default)
            return frame.assign(price=price, cost=frame["jobs"] * price)

        columns, functions = parse_grouping(by)
        keys = {name: name for name in (*columns, "action")} | functions
        return self._run(
            ("jobs",),
            every,
            keys,
            tz=tz,
            complete=complete,
            statuses=parse_statuses(statuses),
            postprocess=add_cost,
        )

    def _run(
        self, metrics: tuple[str, ...], every: Period | None, by: Grouping, **options: Any
    ) -> pd.DataFrame:
        group_by, functions = parse_grouping(by)
        query = Query(metrics, every, group_by, functions, **options)
        return run_query(query, self._source)


def analyse(frame: Any) -> JobAccessor:
    """Return the analyses of a history: `df.mjci` of pandas, for frames of other libraries.

    Args:
        frame: jobs as a DataFrame of pandas, Dask or Polars, as a
            table of Arrow, or a lake

    Raises:
        InvalidRequest: it is something else
    """
    try:
        return JobAccessor(check_source(frame))
    except AttributeError as error:
        raise InvalidRequest(
            "This is not a frame of jobs.", detail=str(error), hint="It has a status and times."
        ) from None


def _parse_prices(prices: Mapping[str, float]) -> dict[str, float]:
    try:
        return {str(action): float(price) for action, price in prices.items()}
    except (TypeError, ValueError, AttributeError):
        raise InvalidRequest(
            f"{prices!r} are not prices.",
            hint='Give a number for each action: {"IMAGINE": 0.03, "*": 0.01}.',
        ) from None


def _strip_total_prefix(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.rename(columns=lambda name: name.removeprefix("total_"))


def _add_success_rate(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(success_rate=_compute_success_rate(frame))


def _replace_counts_by_rate(frame: pd.DataFrame) -> pd.DataFrame:
    _insert_after(frame, "jobs", "success_rate", _compute_success_rate(frame))
    return frame.drop(columns=["ended", "succeeded"])


def _compute_success_rate(frame: pd.DataFrame) -> pd.Series[float]:
    return frame["succeeded"] / frame["ended"].where(frame["ended"] > 0)


def _insert_after(frame: pd.DataFrame, neighbour: str, name: str, values: pd.Series[float]) -> None:
    frame.insert(list(frame.columns).index(neighbour) + 1, name, values)


def _add_per_hour(frame: pd.DataFrame, every: Period) -> pd.DataFrame:
    """Add a rate by the length of each period: months differ, and days of a change of clocks."""
    length: pd.Series[pd.Timedelta] = get_ends(frame["period"], every) - frame["period"]
    return frame.assign(per_hour=frame["jobs"] / (length.dt.total_seconds() / 3600))
