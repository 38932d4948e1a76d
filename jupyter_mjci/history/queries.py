"""Compute metrics of jobs per group, with whichever engine holds the jobs.

A query is one narwhals expression, written once and run by pandas
or Polars on a DataFrame, by DuckDB on a lake or by Dask on a
cluster. Every engine gets the same columns: text, numbers, and
times as timestamps in UTC without time zone. Quantiles of
partitions cannot be combined: where a group lies in several
partitions, its rows are collected and the query runs again on
them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, Union, cast, runtime_checkable

import narwhals as nw
import pandas as pd

from jupyter_mjci.client.job import Status
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.history.normalization import (
    NONE,
    NUMBER_COLUMNS,
    TIME_COLUMNS,
    check_columns,
    normalize_column,
    normalize_keys,
)
from jupyter_mjci.history.periods import (
    Period,
    build_period,
    complete_periods,
    localize,
    mark_partial,
    parse_period,
    parse_timezone,
)

if TYPE_CHECKING:
    import dask.dataframe as dd
    import duckdb
    from narwhals.typing import FrameT

    NativeFrame = TypeVar("NativeFrame", pd.DataFrame, duckdb.DuckDBPyRelation)

JobSource = Union["pd.DataFrame", "dd.DataFrame", "MetricsSource"]
# from a DataFrame of jobs to a value for each of them
KeyFunction = Callable[[pd.DataFrame], Any]
# What users group by: columns, functions, or both with names.
Grouping = str | KeyFunction | Sequence[str | KeyFunction] | Mapping[str, str | KeyFunction]

TERMINAL_STATUSES = ("SUCCEEDED", "FAILED", "CANCELLED")
# A job without status has not ended, as far as is known; whether a
# missing value is in a list, engines answer differently.
IS_OPEN = ~nw.col("status").is_in(TERMINAL_STATUSES) | nw.col("status").is_null()
TIME_METRICS = {"first", "last", "last_started", "last_finished"}
# The time on the clocks of a query's time zone.
LOCAL_TIME = "local_time"

# Differences of two times: name -> (later, earlier).
DURATIONS = {
    "queue_time": ("started", "submitted"),
    "run_time": ("finished", "started"),
    "total": ("finished", "submitted"),
}
QUANTILES = (25, 50, 75, 90, 95, 99)
_COUNTS = (
    "succeeded",
    "failed",
    "cancelled",
    "ended",
    "open",
    "met",
    "missed",
    "measured",
    "pending",
)


@runtime_checkable
class MetricsSource(Protocol):
    """A history that computes metrics with an engine of its own: a lake."""

    def compute_metrics(self, query: Query) -> pd.DataFrame:
        """Return the metrics of a query, one row per group."""

    def load_jobs(self, columns: Sequence[str]) -> pd.DataFrame:
        """Return columns of all jobs."""

    def iter_jobs(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield columns of all jobs, at least one part, in any order."""


def _build_metrics() -> dict[str, nw.Expr]:
    """Return the expression of every metric, by name. Durations are in microseconds."""
    metrics = {
        "jobs": nw.len(),
        "first": nw.col("submitted").min(),
        "last": nw.col("submitted").max(),
        "last_started": nw.col("started").max(),
        "last_finished": nw.col("finished").max(),
        "cost_sum": nw.col("cost").sum(),
        "cost_count": nw.col("cost").count(),
    }
    for name in _COUNTS:
        metrics[name] = nw.col(name).sum()
    for name in DURATIONS:
        metrics[f"{name}_mean"] = nw.col(name).mean()
        metrics[f"{name}_std"] = nw.col(name).std()
        metrics[f"{name}_max"] = nw.col(name).max()
        metrics[f"{name}_count"] = nw.col(name).count()
        for percent in QUANTILES:
            metrics[f"{name}_p{percent}"] = nw.col(name).quantile(percent / 100, "linear")
    return metrics


METRICS = _build_metrics()
# the columns of those that are not named after them
_METRIC_COLUMNS = {
    "first": "submitted",
    "last": "submitted",
    "last_started": "started",
    "last_finished": "finished",
    "cost_sum": "cost",
    "cost_count": "cost",
}


def _keep_frame(frame: pd.DataFrame) -> pd.DataFrame:
    return frame


@dataclass(frozen=True, slots=True)
class Query:
    """Metrics of jobs per group.

    Args:
        metrics: names of METRICS
        period: groups by the period that a time lies in
        group_by: groups by these columns
        functions: more columns to group by, by name: each a
            function of a DataFrame of jobs
        time_column: the time that `period` is about; jobs without
            it do not count
        statuses: only jobs with these statuses count; all where
            there are none
        tz: the time zone of the periods
        complete: whether periods without jobs have rows
        within: the seconds of "met" and "missed"
        since: only jobs whose `time_column` is not before, in UTC
        until: only jobs whose `time_column` is before, in UTC
        spread: groups by this duration, too, in milliseconds
        now: until when a job that has not ended has lasted, in
            UTC; "pending" counts those
        condition: which jobs count, an expression over the
            normalized columns
        postprocess: derives the result's last columns, in pandas,
            whichever engine computed

    Raises:
        InvalidRequest: there is no such period or time zone
    """

    metrics: tuple[str, ...]
    period: Period | None = None
    group_by: tuple[str, ...] = ()
    functions: Mapping[str, KeyFunction] = field(default_factory=dict, compare=False)
    time_column: str = "submitted"
    statuses: tuple[str, ...] = ()
    tz: str = "UTC"
    complete: bool = True
    within: float | None = None
    since: datetime | None = None
    until: datetime | None = None
    spread: str | None = None
    now: datetime | None = None
    condition: nw.Expr | None = field(default=None, compare=False)
    postprocess: Callable[[pd.DataFrame], pd.DataFrame] = field(default=_keep_frame, compare=False)

    def __post_init__(self) -> None:
        if self.period is not None:
            object.__setattr__(self, "period", parse_period(self.period))
        object.__setattr__(self, "tz", parse_timezone(self.tz))

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns that identify a group, besides its period."""
        return (*self.group_by, *self.functions)

    @property
    def group_keys(self) -> tuple[str, ...]:
        """The columns that identify a group."""
        keys = ("period", *self.keys) if self.period else self.keys
        return (*keys, "duration") if self.spread else keys

    @property
    def durations(self) -> set[str]:
        """The durations that its metrics are about."""
        found = {metric.rpartition("_")[0] for metric in self.metrics} & set(DURATIONS)
        return found | {"total"} if self.within is not None else found

    @property
    def source_columns(self) -> tuple[str, ...]:
        """The columns of a history that it reads; functions may read more."""
        times = {self.time_column}
        times.update(*(DURATIONS[name] for name in self.durations))
        if TIME_METRICS & set(self.metrics) or self.condition is not None:
            times.update(TIME_COLUMNS if self.condition is not None else ["submitted"])
        times.update(name.removeprefix("last_") for name in self.metrics if "last_" in name)
        times.update(DURATIONS[self.spread] if self.spread else ())
        ordered = [name for name in TIME_COLUMNS if name in times]
        cost = ["cost"] if "cost_sum" in self.metrics else []
        return tuple(dict.fromkeys(("status", *self.group_by, *ordered, *cost)))

    @property
    def needs_local_time(self) -> bool:
        """Whether engines must provide LOCAL_TIME, which in UTC is the time itself."""
        return self.period is not None and self.tz != "UTC"

    def aggregate(self, native_frame: NativeFrame) -> NativeFrame:
        """Compute the metrics with the engine of a normalized frame, one row per group."""
        frame = nw.from_native(native_frame)
        # or pandas would hold the jobs twice from here on
        del native_frame
        frame = frame.filter(*self._build_conditions())
        frame = self._add_columns(frame).select(*self._list_columns())
        metrics = {name: METRICS[name] for name in self.metrics}
        if self.group_keys:
            aggregates = frame.group_by(*self.group_keys).agg(**metrics)
        else:
            aggregates = frame.select(**metrics)
        return aggregates.to_native()

    def _list_columns(self) -> list[str]:
        """Return the columns that are grouped and aggregated; any one where jobs are counted."""
        names = dict.fromkeys(self.group_keys)
        for metric in set(self.metrics) - {"jobs"}:
            name = metric.rpartition("_")[0]
            name = name if name in self.durations else _METRIC_COLUMNS.get(metric, metric)
            names[name] = None
        return list(names) or [self.time_column]

    def prepare(self, frame: FrameT) -> FrameT:
        """Select the jobs that count, and add the columns that the metrics and keys need."""
        return self._add_columns(frame.filter(*self._build_conditions()))

    def _add_columns(self, frame: FrameT) -> FrameT:
        is_duckdb = frame.implementation.is_duckdb()
        count_microseconds = _count_interval if is_duckdb else _subtract_timestamps
        time = nw.col(self.time_column)
        columns = {}
        if self.spread:
            later, earlier = DURATIONS[self.spread]
            end = nw.col(later).fill_null(_strip_zone(self.now))
            columns["duration"] = count_microseconds(end, nw.col(earlier)) // 1000
        for name in self.durations:
            later, earlier = DURATIONS[name]
            columns[name] = count_microseconds(nw.col(later), nw.col(earlier))
        if self.period:
            local_time = nw.col(LOCAL_TIME) if self.needs_local_time else time
            columns["period"] = build_period(time, local_time, self.period)
        if columns:
            frame = frame.with_columns(**columns)
        flags = {
            name: flag.cast(nw.Int8)
            for name, flag in self._build_flags().items()
            if name in self.metrics
        }
        return frame.with_columns(**flags) if flags else frame

    def _build_conditions(self) -> list[nw.Expr]:
        """Return what holds for the jobs that count."""
        time = nw.col(self.time_column)
        conditions = [~time.is_null()]
        if self.condition is not None:
            conditions.append(self.condition)
        if self.statuses:
            conditions.append(nw.col("status").is_in(self.statuses))
        if self.since is not None:
            conditions.append(time >= _strip_zone(self.since))
        if self.until is not None:
            conditions.append(time < _strip_zone(self.until))
        if self.spread:
            later, earlier = DURATIONS[self.spread]
            conditions.append(~nw.col(earlier).is_null())
            conditions.append(~nw.col(later).is_null() | IS_OPEN)
        return conditions

    def _build_flags(self) -> dict[str, nw.Expr]:
        """Return the conditions that are counted, by the metric's name."""
        status = nw.col("status")
        is_terminal = status.is_in(TERMINAL_STATUSES)
        flags = {name.lower(): status == name for name in TERMINAL_STATUSES}
        flags |= {"ended": is_terminal, "open": IS_OPEN}
        if self.spread:
            is_measured = ~nw.col(DURATIONS[self.spread][0]).is_null()
            flags |= {"measured": is_measured, "pending": ~is_measured}
        if self.within is not None:
            is_fast = (nw.col("total") <= round(self.within * 1_000_000)).fill_null(value=False)
            met = (status == "SUCCEEDED") & is_fast
            flags |= {"met": met, "missed": is_terminal & ~met}
        return flags

    def finalize(self, aggregates: pd.DataFrame) -> pd.DataFrame:
        """Return metrics that an engine computed as the result: typed, sorted, post-processed."""
        frame = _set_dtypes(aggregates, self)
        if self.group_keys:
            frame = frame.sort_values(list(self.group_keys), ignore_index=True)
        if self.period and self.complete:
            counts = [name for name in self.metrics if _get_metric_dtype(name) == "int64"]
            counts = [name for name in counts if name not in TIME_METRICS]
            frame = complete_periods(frame, self.period, self.keys, counts)
        for name in self.keys:
            if frame[name].dtype == "string":
                frame[name] = frame[name].fillna(NONE)
        frame = self.postprocess(frame)
        if self.period:
            frame["partial"] = mark_partial(frame["period"])
        return frame


def _count_interval(later: nw.Expr, earlier: nw.Expr) -> nw.Expr:
    """Return the microseconds from one time to another, in DuckDB."""
    return (later - earlier).dt.total_microseconds()


def _subtract_timestamps(later: nw.Expr, earlier: nw.Expr) -> nw.Expr:
    """Return the microseconds from one time to another, where times have timestamps.

    narwhals computes those of pandas' durations from seconds as
    floats, and misses one now and then: 1.001 s are 1,000,999 µs.
    """
    return later.dt.timestamp("us") - earlier.dt.timestamp("us")


def _strip_zone(time: datetime | None) -> datetime | None:
    """Return a time as engines have it: in UTC, without time zone."""
    return None if time is None else time.astimezone(UTC).replace(tzinfo=None)


def _set_dtypes(aggregates: pd.DataFrame, query: Query) -> pd.DataFrame:
    """Return aggregates with the dtypes of a result, times aware and durations in seconds."""
    frame = aggregates.astype({name: _get_metric_dtype(name) for name in query.metrics})
    for name in query.keys:
        frame[name] = _set_key_dtype(frame[name])
    for name in TIME_METRICS & set(query.metrics):
        frame[name] = frame[name].dt.tz_localize("UTC").dt.tz_convert(query.tz)
    for name in query.metrics:
        if name.rpartition("_")[0] in DURATIONS and not name.endswith("_count"):
            # microseconds to seconds
            frame[name] /= 1_000_000
    if query.spread:
        frame["duration"] = frame["duration"].astype("int64")
    if query.period:
        starts = frame["period"].astype("datetime64[us]")
        frame["period"] = localize(starts, query.period, query.tz)
    return frame


# What DuckDB's values are, by the name that pandas has for them.
_OBJECT_DTYPES = {
    "boolean": "boolean",
    "integer": "Int64",
    "floating": "Float64",
    "datetime": "datetime64[us]",
    "datetime64": "datetime64[us]",
}


def _set_key_dtype(keys: pd.Series) -> pd.Series:
    """Return keys with one dtype, whichever engine had them."""
    if keys.dtype == object:
        kind = pd.api.types.infer_dtype(keys, skipna=True)
        keys = keys.astype(_OBJECT_DTYPES.get(kind, "string"))  # type: ignore[call-overload]
    keys = normalize_keys(keys)
    return keys.dt.tz_localize("UTC") if keys.dtype.kind == "M" else keys


def _get_metric_dtype(metric: str) -> str:
    if metric in TIME_METRICS:
        return "datetime64[us]"
    return "float64" if "_" in metric and not metric.endswith("_count") else "int64"


# --- what users group by ----------------------------------------


def parse_grouping(by: Grouping) -> tuple[tuple[str, ...], dict[str, KeyFunction]]:
    """Return the columns and the functions that a user groups by.

    Args:
        by: a column, a function of a DataFrame, several of them,
            or a mapping of names to them

    Raises:
        InvalidRequest: it is something else
    """
    if isinstance(by, Mapping):
        named = {str(name): key for name, key in by.items()}
    elif isinstance(by, str) or callable(by):
        named = _name_keys([by])
    else:
        named = _name_keys(list(by))
    functions: dict[str, KeyFunction] = {}
    columns = []
    for name, key in named.items():
        if callable(key):
            functions[name] = key
        elif name == key:
            columns.append(name)
        else:
            functions[name] = _ColumnGetter(str(key))
    return tuple(dict.fromkeys(columns)), functions


def _name_keys(keys: Sequence[Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for key in keys:
        if not isinstance(key, str) and not callable(key):
            raise InvalidRequest(
                f"by={key!r} is neither a column nor a function.",
                hint='Pass by="action", by=["service", "action"], or a function of the DataFrame.',
            )
        name = key if isinstance(key, str) else getattr(key, "__name__", "")
        if not name.isidentifier() and not isinstance(key, str):
            # a lambda
            name = "group"
        while name in named and named[name] is not key:
            name += "_"
        named[name] = key
    return named


@dataclass(frozen=True, slots=True)
class _ColumnGetter:
    """Read a column under another name."""

    column: str

    def __call__(self, frame: pd.DataFrame) -> pd.Series:
        check_columns(frame, [self.column])
        return frame[self.column]


def add_keys(jobs: pd.DataFrame, by: Grouping) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return normalized jobs with the columns that a user groups by, and the names of those.

    Args:
        jobs: normalized jobs
        by: what to group by

    Raises:
        InvalidRequest: there is no such column, or a function
            fails
    """
    columns, functions = parse_grouping(by)
    check_columns(jobs, columns)
    times = {name: jobs[name].dt.tz_localize("UTC") for name in TIME_COLUMNS if name in jobs}
    aware = jobs.assign(**times)
    keyed = jobs.assign(
        **{
            name: normalize_keys(_call_key_function(name, function, aware))
            for name, function in functions.items()
        }
    )
    keys = (*columns, *functions)
    for name in keys:
        if keyed[name].dtype == "string":
            keyed[name] = keyed[name].fillna(NONE)
    return keyed, keys


def normalize(frame: pd.DataFrame, query: Query) -> pd.DataFrame:
    """Return the columns that a query reads as every engine has them.

    Args:
        frame: the history
        query: the query

    Raises:
        InvalidRequest: the frame has no such column, or a
            function does not return one value per job
    """
    check_columns(frame, query.source_columns)
    columns = {name: normalize_column(frame[name]) for name in query.source_columns}
    for name, function in query.functions.items():
        columns[name] = normalize_keys(_call_key_function(name, function, frame))
    if query.needs_local_time:
        aware = columns[query.time_column].dt.tz_localize("UTC").dt.tz_convert(query.tz)
        columns[LOCAL_TIME] = aware.dt.tz_localize(None)
    return pd.DataFrame(columns)


def _call_key_function(name: str, function: KeyFunction, frame: pd.DataFrame) -> pd.Series:
    try:
        values = function(frame)
    except InvalidRequest:
        raise
    except Exception as error:
        raise InvalidRequest(
            f"The function {name!r} of by= failed: {type(error).__name__}: {error}",
            hint="It gets a DataFrame of jobs, and returns a value for each of them.",
        ) from error
    if pd.api.types.is_scalar(values):
        values = [values] * len(frame)
    if len(values) != len(frame):
        raise InvalidRequest(
            f"The function {name!r} of by= returned {len(values):,} values"
            f" for {len(frame):,} jobs.",
            hint="It gets a DataFrame of jobs, and returns a value for each of them.",
        )
    series = values if isinstance(values, pd.Series) else pd.Series(values, index=frame.index)
    return series.rename(name).set_axis(frame.index)


# --- engines ----------------------------------------------------


def run_query(query: Query, source: JobSource) -> pd.DataFrame:
    """Return the result of a query.

    Args:
        query: the query
        source: a DataFrame of jobs (pandas, Dask, Polars, Arrow),
            or a lake
    """
    if isinstance(source, MetricsSource):
        aggregates = source.compute_metrics(query)
    elif isinstance(source, pd.DataFrame):
        aggregates = aggregate_frame(source, query)
    elif hasattr(source, "to_delayed"):
        aggregates = aggregate_partitions(query, source)
    else:
        aggregates = _aggregate_table(source, query)
    return query.finalize(aggregates)


def load_jobs(
    source: JobSource, required: Sequence[str], optional: Sequence[str] = ()
) -> pd.DataFrame:
    """Return columns of all jobs, for what takes more than an expression.

    Args:
        source: the history
        required: columns that it must have
        optional: columns that it may have

    Raises:
        InvalidRequest: a required column is missing
    """
    if isinstance(source, MetricsSource):
        return _normalize_jobs(source.load_jobs([*required, *optional]))
    return _normalize_jobs(_load_frame(source, required, optional))


def iter_jobs(
    source: JobSource, required: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[pd.DataFrame]:
    """Yield what `load_jobs` returns: of a lake in parts, so that memory stays bounded."""
    if isinstance(source, MetricsSource):
        yield from map(_normalize_jobs, source.iter_jobs([*required, *optional]))
    else:
        yield load_jobs(source, required, optional)


def _load_frame(source: Any, required: Sequence[str], optional: Sequence[str]) -> pd.DataFrame:
    """Load columns of a frame of any library."""
    if isinstance(source, pd.DataFrame) or hasattr(source, "to_delayed"):
        check_columns(source, required)
        names = [*required, *(name for name in optional if name in source.columns)]
        chosen = source[names]
        return chosen if isinstance(chosen, pd.DataFrame) else chosen.compute()
    table = nw.from_native(source)
    available = list(table.collect_schema())
    check_columns(_Names(available), required)
    chosen = table.select(*required, *(name for name in optional if name in available))
    return _to_pandas(chosen.collect() if isinstance(chosen, nw.LazyFrame) else chosen)


def _normalize_jobs(frame: pd.DataFrame) -> pd.DataFrame:
    check_columns(frame, frame.columns)
    jobs = pd.DataFrame({str(name): normalize_column(frame[name]) for name in frame.columns})
    # Levels of an index that are columns, too, would be ambiguous.
    jobs.index.names = [None] * jobs.index.nlevels
    return jobs


def check_source(source: Any) -> JobSource:
    """Return what queries run on; a lazy frame of Polars stays lazy.

    Raises:
        InvalidRequest: it is none of them
    """
    if isinstance(source, (MetricsSource, pd.DataFrame)) or hasattr(source, "to_delayed"):
        return cast("JobSource", source)
    try:
        nw.from_native(source)
    except TypeError:
        raise InvalidRequest(
            f"A {type(source).__name__} is no frame of jobs.",
            hint="Pass a DataFrame of pandas, Dask or Polars, a table of Arrow, or a lake.",
        ) from None
    return cast("JobSource", source)


def _aggregate_table(table: Any, query: Query) -> pd.DataFrame:
    """Compute the metrics over a frame of Polars or Arrow, with its own engine where it is clean.

    Times as text, odd statuses and functions go through pandas.
    """
    frame = nw.from_native(table)
    schema = frame.collect_schema()
    check_columns(_Names(list(schema)), query.source_columns)
    if not query.functions:
        frame = frame.select(*query.source_columns)
    rows = frame.collect() if isinstance(frame, nw.LazyFrame) else frame
    expressions = {name: _build_normal(name, schema[name]) for name in query.source_columns}
    is_clean = all(expression is not None for expression in expressions.values())
    # Arrow has no quantiles of groups.
    is_clean = is_clean and rows.implementation.is_polars()
    if query.functions or not is_clean or not _has_plain_statuses(rows["status"]):
        return aggregate_frame(_to_pandas(rows), query)
    columns = {name: cast("nw.Expr", expression) for name, expression in expressions.items()}
    rows = rows.with_columns(**columns)
    if query.needs_local_time:
        local = nw.col(query.time_column).dt.replace_time_zone("UTC")
        local = local.dt.convert_time_zone(query.tz).dt.replace_time_zone(None)
        rows = rows.with_columns(**{LOCAL_TIME: local})
    result = nw.from_native(query.aggregate(rows.to_native()), eager_only=True)
    return _to_pandas(result)


@dataclass(frozen=True, slots=True)
class _Names:
    """The columns of a frame of another library."""

    columns: Sequence[str]


def _build_normal(name: str, dtype: nw.dtypes.DType) -> nw.Expr | None:
    """Return a column as queries expect it; None where that takes more than an expression."""
    column = nw.col(name)
    if isinstance(dtype, nw.Datetime):
        if dtype.time_zone is not None:
            column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return column.cast(nw.Datetime("us"))
    if name in TIME_COLUMNS or (name in NUMBER_COLUMNS and not dtype.is_numeric()):
        return None
    if isinstance(dtype, (nw.Categorical, nw.Enum)):
        return column.cast(nw.String)
    is_plain = dtype == nw.String or dtype.is_numeric() or dtype == nw.Boolean
    return column if is_plain else None


def _has_plain_statuses(statuses: nw.Series[Any]) -> bool:
    words = statuses.drop_nulls().cast(nw.String).unique().to_list()
    return all(word in Status.__members__ for word in words)


def _to_pandas(rows: nw.DataFrame[Any]) -> pd.DataFrame:
    """Return a frame of pandas, cell by cell: other ways need pyarrow."""
    frame = pd.DataFrame(rows.rows(), columns=rows.columns, dtype=object)
    for name, dtype in rows.schema.items():
        if isinstance(dtype, nw.Datetime):
            frame[name] = pd.to_datetime(frame[name], utc=dtype.time_zone is not None)
    return frame


def aggregate_frame(frame: pd.DataFrame, query: Query) -> pd.DataFrame:
    """Compute the metrics of a query over a DataFrame of jobs."""
    return query.aggregate(normalize(frame, query))


def aggregate_partitions(query: Query, frame: dd.DataFrame) -> pd.DataFrame:
    """Compute the metrics of a query in each partition of a Dask frame.

    Groups that lie in several partitions are computed again from
    their rows.
    """
    check_columns(frame, query.source_columns)
    jobs = frame if query.functions else frame[list(query.source_columns)]
    if not query.group_keys:
        return aggregate_frame(jobs.compute(), query)
    parts = _map_partitions(jobs, aggregate_frame, query)
    keys = list(query.group_keys)
    is_split = parts.duplicated(keys, keep=False)
    if not is_split.any():
        return parts
    if is_split.all() and query.group_by and not query.functions:
        # No period separates the partitions: bring each group
        # together on the cluster.
        return _map_partitions(jobs.shuffle(on=list(query.group_by)), aggregate_frame, query)
    groups = parts.loc[is_split, keys].drop_duplicates()
    rows = _map_partitions(jobs, _select_groups, query, groups)
    return pd.concat([parts[~is_split], query.aggregate(rows)], ignore_index=True)


def _map_partitions(
    frame: dd.DataFrame, function: Callable[..., pd.DataFrame], *args: Any
) -> pd.DataFrame:
    """Return what a function makes of every partition, where the partition is."""
    from dask import compute, delayed

    run = delayed(function)
    parts: tuple[pd.DataFrame, ...] = compute(*(run(part, *args) for part in frame.to_delayed()))
    filled = [part for part in parts if len(part)]
    return pd.concat(filled or parts[:1], ignore_index=True)


def _select_groups(frame: pd.DataFrame, query: Query, groups: pd.DataFrame) -> pd.DataFrame:
    """Return the normalized rows of some groups."""
    normalized = normalize(frame, query)
    rows = nw.from_native(normalized, eager_only=True)
    keyed: pd.DataFrame = query.prepare(rows).to_native()
    selected: pd.DataFrame = keyed.merge(groups, on=list(query.group_keys))
    return selected[list(normalized.columns)]
