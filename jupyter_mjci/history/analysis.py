"""Analyse a history: queries that return small DataFrames, and plots of them.

A query is one narwhals expression, written once and run by pandas
on a DataFrame, by DuckDB on a lake or by Dask on a cluster.
`normalize` and the lake give every engine the same columns: text,
and times as timestamps in UTC without time zone. Quantiles of
partitions cannot be combined: where a group lies in several
partitions, its rows are collected and the query runs again on
them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol, TypeVar, Union, cast, get_args, runtime_checkable

import narwhals as nw
import numpy as np
import pandas as pd

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.history.plots import Period, PlotAccessor

if TYPE_CHECKING:
    import dask.dataframe as dd
    import duckdb
    from narwhals.typing import FrameT

    NativeFrame = TypeVar("NativeFrame", pd.DataFrame, duckdb.DuckDBPyRelation)

JobSource = Union["pd.DataFrame", "dd.DataFrame", "MetricsSource"]

TIME_COLUMNS = ("submitted", "started", "finished")
DIMENSIONS = ("service", "action", "status", "reason", "user_data", "parent", "subject")
TERMINAL_STATUSES = ("SUCCEEDED", "FAILED", "CANCELLED")
TIME_METRICS = {"first", "last"}

# Differences of two times: name -> (later, earlier).
DURATIONS = {
    "queue_time": ("started", "submitted"),
    "run_time": ("finished", "started"),
    "total": ("finished", "submitted"),
}


@runtime_checkable
class MetricsSource(Protocol):
    """A history that computes metrics with an engine of its own: a lake."""

    def compute_metrics(self, query: Query) -> pd.DataFrame:
        """Return the metrics of a query, one row per group."""


def _build_period(time: nw.Expr, period: Period) -> nw.Expr:
    """Return the start of the hour, day, week (Monday) or month that a time lies in, in UTC."""
    if period != "week":
        return time.dt.truncate({"hour": "1h", "day": "1d", "month": "1mo"}[period])
    # DuckDB truncates to one unit only, and narwhals has no "1w"
    # for every engine.
    day = time.dt.truncate("1d")
    return day - nw.lit(timedelta(days=1)) * (day.dt.weekday() - 1)


def _build_metrics() -> dict[str, nw.Expr]:
    """Return the expression of every metric, by name. Durations are in microseconds."""
    metrics = {
        "jobs": nw.len(),
        "first": nw.col("submitted").min(),
        "last": nw.col("submitted").max(),
    }
    for name in ("succeeded", "failed", "cancelled", "ended", "open"):
        metrics[name] = nw.col(name).sum()
    for name in DURATIONS:
        metrics[f"{name}_mean"] = nw.col(name).mean()
        metrics[f"{name}_max"] = nw.col(name).max()
        for percent in (50, 90, 95, 99):
            metrics[f"{name}_p{percent}"] = nw.col(name).quantile(percent / 100, "linear")
    return metrics


METRICS = _build_metrics()


def _keep_frame(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


@dataclass(frozen=True, slots=True)
class Query:
    """Metrics of jobs per group.

    Args:
        metrics: names of METRICS
        period: groups by the period that a time lies in
        group_by: groups by these columns
        time_column: the time that `period` is about; jobs without
            it do not count
        statuses: only jobs with these statuses count; all where
            there are none
        postprocess: derives the result's last columns, in pandas,
            whichever engine computed

    Raises:
        InvalidRequest: there is no such period or dimension
    """

    metrics: tuple[str, ...]
    period: Period | None = None
    group_by: tuple[str, ...] = ()
    time_column: str = "submitted"
    statuses: tuple[str, ...] = ()
    postprocess: Callable[[pd.DataFrame], pd.DataFrame] = field(default=_keep_frame, compare=False)

    def __post_init__(self) -> None:
        if self.period is not None and self.period not in get_args(Period):
            raise InvalidRequest(
                f"{self.period!r} is not a valid period.",
                hint=f"every is one of {', '.join(get_args(Period))}.",
            )
        for name in self.group_by:
            if name not in DIMENSIONS:
                raise InvalidRequest(
                    f"Jobs cannot be grouped by {name!r}.",
                    hint=f"Available: {', '.join(DIMENSIONS)}.",
                )

    @property
    def group_keys(self) -> tuple[str, ...]:
        """The columns that identify a group."""
        return ("period", *self.group_by) if self.period else self.group_by

    @property
    def durations(self) -> set[str]:
        """The durations that its metrics are about."""
        return {metric.rpartition("_")[0] for metric in self.metrics} & set(DURATIONS)

    @property
    def source_columns(self) -> tuple[str, ...]:
        """The columns of a history that it reads."""
        times = {self.time_column}
        times.update(*(DURATIONS[name] for name in self.durations))
        if TIME_METRICS & set(self.metrics):
            times.add("submitted")
        ordered = [name for name in TIME_COLUMNS if name in times]
        return tuple(dict.fromkeys(("status", *self.group_by, *ordered)))

    def aggregate(self, native_frame: NativeFrame) -> NativeFrame:
        """Compute the metrics with the engine of a normalized frame, one row per group."""
        frame = self._prepare(nw.from_native(native_frame))
        metrics = {name: METRICS[name] for name in self.metrics}
        if self.group_keys:
            aggregates = frame.group_by(*self.group_keys).agg(**metrics)
        else:
            aggregates = frame.select(**metrics)
        return cast("NativeFrame", aggregates.to_native())

    def _prepare(self, frame: FrameT) -> FrameT:
        """Select the jobs that count, and add the columns that the metrics and keys need."""
        time = nw.col(self.time_column)
        frame = frame.filter(~time.is_null())
        if self.statuses:
            frame = frame.filter(nw.col("status").is_in(self.statuses))
        is_terminal = nw.col("status").is_in(TERMINAL_STATUSES)
        flags = {status.lower(): nw.col("status") == status for status in TERMINAL_STATUSES}
        flags |= {"ended": is_terminal, "open": ~is_terminal}
        columns = {
            name: flag.cast(nw.Int64) for name, flag in flags.items() if name in self.metrics
        }
        for name in self.durations:
            later, earlier = DURATIONS[name]
            columns[name] = (nw.col(later) - nw.col(earlier)).dt.total_microseconds()
        if self.period:
            columns["period"] = _build_period(time, self.period)
        return frame.with_columns(**columns) if columns else frame

    def finalize(self, aggregates: pd.DataFrame) -> pd.DataFrame:
        """Return metrics that an engine computed as the result: typed, sorted, post-processed."""
        dtypes = dict.fromkeys(self.group_by, "string")
        dtypes |= {name: _get_metric_dtype(name) for name in self.metrics}
        times = {"period", *TIME_METRICS} & set(aggregates.columns)
        dtypes |= dict.fromkeys(times, "datetime64[us]")
        frame = aggregates.astype(dtypes)
        for name in self.metrics:
            if name.rpartition("_")[0] in DURATIONS:
                # microseconds to seconds
                frame[name] /= 1_000_000
        for name in times:
            frame[name] = frame[name].dt.tz_localize("UTC")
        if self.group_keys:
            frame = frame.sort_values(list(self.group_keys), ignore_index=True)
        return self.postprocess(frame)


def _get_metric_dtype(metric: str) -> str:
    return "float64" if "_" in metric else "int64"


def normalize(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return columns of a history as every engine has them.

    Args:
        frame: the history
        columns: names of columns; times become timestamps in UTC
            without time zone, others text

    Raises:
        InvalidRequest: the frame has no such column
    """
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise InvalidRequest(
            f"This frame has no column {', '.join(missing)}.",
            hint="Use a frame of s.history(), s.tasks() or s.jobs().",
        )
    return pd.DataFrame({name: _normalize_column(frame[name]) for name in columns})


def _normalize_column(column: pd.Series) -> pd.Series:
    if column.name not in TIME_COLUMNS:
        return column.astype("string")
    naive: pd.Series[pd.Timestamp] = column.dt.tz_convert("UTC").dt.tz_localize(None)
    return naive.astype("datetime64[us]")


# --- engines ----------------------------------------------------


def run_query(query: Query, source: JobSource) -> pd.DataFrame:
    """Return the result of a query.

    Args:
        query: the query
        source: a DataFrame of jobs (pandas or Dask), or a lake
    """
    if isinstance(source, MetricsSource):
        aggregates = source.compute_metrics(query)
    elif isinstance(source, pd.DataFrame):
        aggregates = _aggregate_frame(source, query)
    else:
        aggregates = aggregate_partitions(query, source)
    return query.finalize(aggregates)


def _aggregate_frame(frame: pd.DataFrame, query: Query) -> pd.DataFrame:
    return query.aggregate(normalize(frame, query.source_columns))


def aggregate_partitions(query: Query, frame: dd.DataFrame) -> pd.DataFrame:
    """Compute the metrics of a query in each partition of a Dask frame.

    Groups that lie in several partitions are computed again from
    their rows.
    """
    jobs = frame[list(query.source_columns)]
    if not query.group_keys:
        return _aggregate_frame(jobs.compute(), query)
    parts = _map_aggregate(jobs, query)
    keys = list(query.group_keys)
    is_split = parts.duplicated(keys, keep=False)
    if not is_split.any():
        return parts
    if is_split.all() and query.group_by:
        # No period separates the partitions: bring each group
        # together on the cluster.
        return _map_aggregate(jobs.shuffle(on=list(query.group_by)), query)
    groups = parts.loc[is_split, keys].drop_duplicates()
    meta = normalize(jobs._meta, query.source_columns)
    rows: pd.DataFrame = jobs.map_partitions(_select_groups, query, groups, meta=meta).compute()
    return pd.concat([parts[~is_split], query.aggregate(rows)], ignore_index=True)


def _map_aggregate(frame: dd.DataFrame, query: Query) -> pd.DataFrame:
    meta = _make_empty_aggregates(query)
    parts: pd.DataFrame = frame.map_partitions(_aggregate_frame, query, meta=meta).compute()
    return parts


def _select_groups(frame: pd.DataFrame, query: Query, groups: pd.DataFrame) -> pd.DataFrame:
    """Return the normalized rows of some groups."""
    rows = nw.from_native(normalize(frame, query.source_columns), eager_only=True)
    keyed: pd.DataFrame = query._prepare(rows).to_native()
    selected: pd.DataFrame = keyed.merge(groups, on=list(query.group_keys))
    return selected[list(query.source_columns)]


def _make_empty_aggregates(query: Query) -> pd.DataFrame:
    """Return no metrics, with the right columns and dtypes: what Dask calls meta."""
    empty = {
        name: pd.Series(dtype="datetime64[us, UTC]" if name in TIME_COLUMNS else "string")
        for name in query.source_columns
    }
    return _aggregate_frame(pd.DataFrame(empty), query)


# --- analyses ---------------------------------------------------


class JobAccessor:
    """Analyses of a history: `df.mjci.timeline()`, and as plots `df.mjci.plot.timeline()`.

    `every` is hour, day, week (from Monday) or month, in UTC, and
    makes the column `period`; None takes all times together. `by`
    names one or several columns to group by: service, action,
    status, reason, user_data, parent, subject. `limit` keeps the
    first so many rows.

    Raises InvalidRequest for another period or column, and for a
    frame without the columns that an analysis reads.
    """

    def __init__(self, source: JobSource) -> None:
        if isinstance(source, pd.DataFrame) and not {"status", "submitted"} <= set(source.columns):
            raise AttributeError("mjci works on frames of jobs, which have a status and times")
        self._source = source

    @property
    def plot(self) -> PlotAccessor:
        """The same analyses as plots, on matplotlib Axes."""
        return PlotAccessor(self)

    def timeline(self, every: Period = "day", by: str | Sequence[str] = ()) -> pd.DataFrame:
        """Count jobs by when they were submitted, and how they ended.

        Columns: period, jobs, succeeded, failed, cancelled, open.
        """
        metrics = ("jobs", "succeeded", "failed", "cancelled", "open")
        return self._run(Query(metrics, every, _to_tuple(by)))

    def throughput(self, every: Period = "hour", by: str | Sequence[str] = ()) -> pd.DataFrame:
        """Count jobs by when they ended.

        Columns: period, jobs, succeeded, per_hour (jobs ended per
        hour).
        """
        query = Query(
            ("jobs", "succeeded"),
            every,
            _to_tuple(by),
            time_column="finished",
            statuses=TERMINAL_STATUSES,
            postprocess=lambda frame: _add_per_hour(frame, every),
        )
        return self._run(query)

    def turnaround(
        self, every: Period | None = None, by: str | Sequence[str] = "action"
    ) -> pd.DataFrame:
        """Return the seconds from submission to success.

        Columns: jobs, mean, p50, p90, p95, p99, max.
        """
        statistics = ("mean", "p50", "p90", "p95", "p99", "max")
        query = Query(
            ("jobs", *(f"total_{name}" for name in statistics)),
            every,
            _to_tuple(by),
            time_column="finished",
            statuses=("SUCCEEDED",),
            postprocess=_strip_total_prefix,
        )
        return self._run(query)

    def queue_stats(
        self, every: Period | None = "day", by: str | Sequence[str] = "action"
    ) -> pd.DataFrame:
        """Return the success rate, and quantiles of the seconds in the queue and running.

        Columns: jobs, success_rate, queue_time_p50,
        queue_time_p95, run_time_p50, run_time_p95.
        """
        quantiles = ("queue_time_p50", "queue_time_p95", "run_time_p50", "run_time_p95")
        query = Query(
            ("jobs", "ended", "succeeded", *quantiles),
            every,
            _to_tuple(by),
            postprocess=_replace_counts_by_rate,
        )
        return self._run(query)

    def failures(
        self, by: str | Sequence[str] = ("action", "reason"), limit: int | None = 20
    ) -> pd.DataFrame:
        """Count failures, most frequent first.

        Columns: jobs, share (of all failures), first and last
        (submission).
        """

        def add_share(frame: pd.DataFrame) -> pd.DataFrame:
            total = max(int(frame["jobs"].sum()), 1)
            _insert_after(frame, "jobs", "share", frame["jobs"] / total)
            ordered = frame.sort_values("jobs", ascending=False, kind="stable", ignore_index=True)
            return ordered.head(limit or len(ordered))

        query = Query(
            ("jobs", "first", "last"),
            group_by=_to_tuple(by),
            statuses=("FAILED",),
            postprocess=add_share,
        )
        return self._run(query)

    def success_rate(
        self, every: Period | None = "day", by: str | Sequence[str] = ()
    ) -> pd.DataFrame:
        """Return the share of ended jobs that succeeded.

        Columns: jobs, ended, succeeded, success_rate (0 to 1).
        """
        metrics = ("jobs", "ended", "succeeded")
        return self._run(Query(metrics, every, _to_tuple(by), postprocess=_add_success_rate))

    def cost(
        self,
        prices: Mapping[str, float],
        every: Period | None = "month",
        by: str | Sequence[str] = "action",
    ) -> pd.DataFrame:
        """Return the cost of succeeded jobs.

        `prices` are per action, `{"IMAGINE": 0.03}`; "*" is the
        price of every other action, without which their price and
        cost are missing. Columns: jobs, price, cost.
        """
        known = {action: float(price) for action, price in prices.items()}
        default = known.get("*", np.nan)

        def add_cost(frame: pd.DataFrame) -> pd.DataFrame:
            price = frame["action"].map(known).astype("float64").fillna(default)
            return frame.assign(price=price, cost=frame["jobs"] * price)

        group_by = tuple(dict.fromkeys((*_to_tuple(by), "action")))
        query = Query(("jobs",), every, group_by, statuses=("SUCCEEDED",), postprocess=add_cost)
        return self._run(query)

    def _run(self, query: Query) -> pd.DataFrame:
        return run_query(query, self._source)


def _to_tuple(by: str | Sequence[str]) -> tuple[str, ...]:
    return (by,) if isinstance(by, str) else tuple(by)


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
    """Add a rate by the length of each period: months differ."""
    starts = frame["period"].dt.tz_localize(None)
    ends = starts + _PERIOD_OFFSETS[every]
    return frame.assign(per_hour=frame["jobs"] / ((ends - starts) / pd.Timedelta(hours=1)))


_PERIOD_OFFSETS = {
    "hour": pd.Timedelta(hours=1),
    "day": pd.Timedelta(days=1),
    "week": pd.Timedelta(weeks=1),
    "month": pd.offsets.MonthBegin(1),
}

# the module is reloaded: pandas would warn
if hasattr(pd.DataFrame, "mjci"):
    del pd.DataFrame.mjci  # type: ignore[attr-defined]
pd.api.extensions.register_dataframe_accessor("mjci")(JobAccessor)
