"""Analyse a history: questions that are answered by small DataFrames, and plots of them.

Every question is a `Query`, which pandas, Polars, DuckDB or Dask
computes: see `queries`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from jupyter_mjci.client.prices import ANY, PARTS, Prices, parse_prices
from jupyter_mjci.client.redaction import redact
from jupyter_mjci.client.settings import load_known_secrets
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.history.comparison import COMPARISON_METRICS, build_comparison
from jupyter_mjci.history.concurrency import CONCURRENCY_STEPS, build_concurrency
from jupyter_mjci.history.image_archive import ImageArchive
from jupyter_mjci.history.lineage import build_lineage, select_tree
from jupyter_mjci.history.normalization import (
    TIME_COLUMNS,
    normalize_times,
    parse_limit,
    parse_statuses,
    parse_time,
)
from jupyter_mjci.history.outliers import OUTLIER_COLUMNS, build_fences, find_outliers
from jupyter_mjci.history.periods import (
    Period,
    get_ends,
    parse_period,
    parse_seconds,
)
from jupyter_mjci.history.plots import PlotAccessor
from jupyter_mjci.history.prompts import build_prompts, count_words
from jupyter_mjci.history.queries import (
    DURATIONS,
    TERMINAL_STATUSES,
    Grouping,
    JobSource,
    MetricsSource,
    Query,
    check_source,
    iter_jobs,
    load_jobs,
    parse_grouping,
    run_query,
)
from jupyter_mjci.history.report import (
    OPTIONAL_COLUMNS,
    REPORT_COLUMNS,
    REQUIRED_COLUMNS,
    ReportOptions,
    write_report,
)
from jupyter_mjci.history.retries import RETRY_COLUMNS, count_retries, select_retries
from jupyter_mjci.history.savings import SAVINGS_COLUMNS, name_prefix, sum_savings
from jupyter_mjci.history.survival import estimate_percentiles


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
        within: float | str | timedelta,
        every: Period | None = "day",
        by: Grouping = (),
        *,
        tz: str | tzinfo = "UTC",
        complete: bool = True,
    ) -> pd.DataFrame:
        """Return the share of ended jobs that succeeded within a time after their submission.

        `within` is in seconds, a text such as "2 min", or a `timedelta`.

        Columns: jobs, ended, met, missed (ended later, or without
        success), share (met of ended; 0 to 1).
        """

        def add_share(frame: pd.DataFrame) -> pd.DataFrame:
            return frame.assign(share=frame["met"] / frame["ended"].where(frame["ended"] > 0))

        return self._run(
            ("jobs", "ended", "met", "missed"),
            every,
            by,
            tz=tz,
            complete=complete,
            within=parse_seconds(within),
            postprocess=add_share,
        )

    def cost(
        self,
        prices: Mapping[str, float] | Prices | None = None,
        every: Period | None = "month",
        by: Grouping = "action",
        *,
        of: str = "jobs",
        statuses: str | Sequence[str] | None = None,
        tz: str | tzinfo = "UTC",
        complete: bool = True,
    ) -> pd.DataFrame:
        """Return the cost of jobs, of failures or of retries.

        `prices` are those of the setting `prices`: per action,
        `{"IMAGINE": 0.03}`; "*" is the price of every other
        action, without which their price and cost are missing.
        Where keys name services or queues ("mj/imagine/turbo"),
        the rows are by those, too. Without `prices` the costs are
        those that the services told, and the price is their mean. `of` is
        jobs, failures (those that failed), or retries (those that
        asked for the same again after a failure). `statuses` are
        those that are charged: by default SUCCEEDED, of failures
        FAILED, of retries both. Columns: jobs, price, cost.
        """
        if of not in _COST_STATUSES:
            raise InvalidRequest(
                f"of={of!r} is nothing that costs.", hint=f"One of {', '.join(_COST_STATUSES)}."
            )
        known = None if prices is None else parse_prices(prices, error=InvalidRequest)
        charged = _COST_STATUSES[of] if statuses is None else statuses
        columns, functions = parse_grouping(by)
        priced = ("action",) if known is None else ("action", *known.columns)
        keys = {name: name for name in (*columns, *priced)} | functions
        accessor = self._select_retries(keys, told=known is None) if of == "retries" else self
        return accessor._run(
            ("jobs",) if known is not None else ("jobs", "cost_sum", "cost_count"),
            every,
            keys,
            tz=tz,
            complete=complete,
            statuses=parse_statuses(charged),
            postprocess=_use_told_costs if known is None else partial(_add_cost, known=known),
        )

    def _select_retries(self, by: Grouping, *, told: bool) -> JobAccessor:
        """Return the analyses of the jobs that asked for the same again after a failure."""
        required = (*RETRY_COLUMNS, *(("cost",) if told else ()))
        jobs = self._load_by(by, required, ("service", "origin", "parent", *TIME_COLUMNS))
        retries = select_retries(jobs)
        for name in TIME_COLUMNS:
            if name in retries:
                retries[name] = retries[name].dt.tz_localize("UTC")
        return JobAccessor(retries)

    def savings(
        self,
        by: Grouping = ("rule", "prefix"),
        *,
        sizes: Mapping[str, int] | pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        """Return how many bytes the jobs that succeeded have saved, the most first.

        "prefix" is the folder of the input. `sizes` are the bytes
        of inputs where the service does not tell them: by object,
        or a listing of objects with the columns key and size.
        Columns: jobs, sized (with both sizes known, which alone
        count on), bytes_in, bytes_out, saved, share (of bytes_in).
        """
        named = name_prefix(by)
        return sum_savings(
            self._iter_by(named, ("status", "subject"), SAVINGS_COLUMNS), named, sizes
        )

    def durations(
        self,
        of: str = "total",
        by: Grouping = "action",
        *,
        now: str | date | None = None,
    ) -> pd.DataFrame:
        """Estimate how long jobs take, with those that have not ended (Kaplan and Meier).

        `of` is total, queue_time or run_time; `now` is until when
        open jobs have lasted, by default the last time in the
        history. Columns: jobs, ended, open, p50, p75, p90, p95,
        p99 (seconds, in steps of a millisecond; missing where too
        few have ended to tell).
        """
        if of not in DURATIONS:
            raise InvalidRequest(
                f"{of!r} is not a duration.", hint=f"One of {', '.join(DURATIONS)}."
            )
        group_by, functions = parse_grouping(by)
        query = Query(
            ("measured", "pending"),
            group_by=group_by,
            functions=functions,
            time_column=DURATIONS[of][1],
            spread=of,
            now=parse_time(now) or self._find_last_time(),
        )
        counts = run_query(query, self._source)
        counts["duration"] /= 1000
        names = {"measured": "ended", "pending": "open"}
        return estimate_percentiles(counts.rename(columns=names), query.keys)

    def _find_last_time(self) -> datetime:
        metrics = ("last", "last_started", "last_finished")
        times = run_query(Query(metrics), self._source).iloc[0].dropna()
        return times.max().to_pydatetime() if len(times) else datetime.now(UTC)

    def concurrency(
        self,
        every: Period = "hour",
        by: Grouping = (),
        *,
        tz: str | tzinfo = "UTC",
        complete: bool = True,
    ) -> pd.DataFrame:
        """Return how many jobs were queued and running at the end of each period.

        Jobs that have ended at an unknown time do not count.
        Columns: period, submitted, started, ended (in the
        period), queued, running (at its end), partial.
        """
        group_by, functions = parse_grouping(by)
        steps = {
            name: run_query(
                Query(("jobs",), every, group_by, functions, tz=str(tz), complete=False, **options),
                self._source,
            )
            for name, options in CONCURRENCY_STEPS.items()
        }
        return build_concurrency(steps, parse_period(every), complete=complete)

    def retries(self, by: Grouping = "action") -> pd.DataFrame:
        """Return how often the same was asked again after a failure, and whether it helped.

        The same is: service, origin, action, subject and parent.
        Columns: requests (different ones), jobs, failed (requests
        that failed at first), retried (of those), recovered (of
        those), jobs_per_request.
        """
        return count_retries(self._load_by(by, RETRY_COLUMNS, ("service", "origin", "parent")), by)

    def outliers(
        self,
        by: Grouping = "action",
        of: str = "total",
        *,
        factor: float = 3.0,
        limit: int | None = 20,
    ) -> pd.DataFrame:
        """Return the jobs that took far longer than others of their group, the longest first.

        Far is more than `factor` times the distance between the
        quartiles above the upper one. `of` is total, queue_time
        or run_time. Columns: those of the jobs, seconds, and
        limit_seconds, above which a job of the group is listed.
        """
        rows = parse_limit(limit)
        if of not in DURATIONS:
            raise InvalidRequest(
                f"{of!r} is not a duration.", hint=f"One of {', '.join(DURATIONS)}."
            )
        group_by, functions = parse_grouping(by)
        earlier = DURATIONS[of][1]
        metrics = (f"{of}_p25", f"{of}_p75")
        quartiles = Query(metrics, None, group_by, functions, time_column=earlier)
        fences = build_fences(run_query(quartiles, self._source), of, quartiles.keys, factor)
        jobs = self._iter_by(by, ("id", "status", *TIME_COLUMNS), OUTLIER_COLUMNS)
        return find_outliers(jobs, fences, by, DURATIONS[of], rows)

    def lineage(self, root: str | None = None) -> pd.DataFrame:
        """Return the place of every job in its tree: what was made of what.

        With `root`, the id of any job, its tree alone, each job
        before those made of it. Columns: those that identify a
        job, root, depth (0 at the top), children, descendants.
        """
        required = ("id", "parent", "status", "submitted")
        lineage = build_lineage(self._load(required, ("service", "origin", "action", "subject")))
        lineage["submitted"] = lineage["submitted"].dt.tz_localize("UTC")
        return lineage if root is None else select_tree(lineage, root)

    def prompts(self) -> pd.DataFrame:
        """Return the parts of every job's prompt: its text, and its flags as columns.

        Rows have the index of the jobs, to be joined with them:
        `df.join(df.mjci.prompts()[["ar"]])`. Columns: id, text,
        words (how many), then ar, v, stylize, … as they occur.
        """
        return build_prompts(self._load(("id", "subject")))

    def words(self, limit: int | None = 50) -> pd.DataFrame:
        """Return in how many prompts a word occurs, the most frequent first.

        Columns: word, jobs, ended, succeeded, success_rate.
        """
        return count_words(self._load(("id", "subject", "status")), parse_limit(limit))

    def compare(
        self,
        before: tuple[str | date, str | date],
        after: tuple[str | date, str | date],
        by: Grouping = (),
    ) -> pd.DataFrame:
        """Compare two periods of time, by when jobs were submitted.

        `before` and `after` are each a first and a last time, the
        last one excluded: `("2026-01-01", "2026-02-01")`. Columns:
        metric (jobs_per_day, success_rate, and the mean and the
        95 % of queue_time, run_time and total), before, after,
        difference, low and high (where the difference lies, by
        95 %), is_clear (whether 0 lies outside).
        """
        group_by, functions = parse_grouping(by)
        results = []
        days = []
        for since, until in (_parse_window(before), _parse_window(after)):
            options = {"since": since, "until": until}
            query = Query(COMPARISON_METRICS, None, group_by, functions, **options)  # type: ignore[arg-type]
            results.append(run_query(query, self._source))
            days.append((until - since).total_seconds() / 86_400)
        keys = (*group_by, *functions)
        return build_comparison(results[0], results[1], (days[0], days[1]), keys)

    def report(
        self,
        path: str | Path,
        *,
        since: str | date | None = None,
        until: str | date | None = None,
        tz: str | tzinfo = "UTC",
        every: Period | None = None,
        prices: Mapping[str, float] | None = None,
        archive: ImageArchive | None = None,
    ) -> Path:
        """Write the analyses as one HTML page, with the slowest and failed jobs.

        Reads the history once. The page loads nothing from
        anywhere, and has no secrets. Needs the extra `lab`.

        Args:
            path: the page to write, with the extension .html
            since: only jobs submitted from then on
            until: only jobs submitted until then
            tz: the time zone of all times
            every: the period of the plots; by default one that
                fits the history
            prices: per action, see `cost`
            archive: where pictures are looked for
                (`session.archive`)

        Returns:
            The path.

        Raises:
            InvalidRequest: an argument is not valid
            HistoryError: the page cannot be written
        """
        secrets = load_known_secrets().values()
        return write_report(
            path,
            # in the report's hands only, which makes it smaller
            self._load_between(parse_time(since), parse_time(until)),
            JobAccessor,
            partial(redact, secrets=tuple(secrets)),
            ReportOptions(tz, every, prices, archive),
        )

    def _load_between(self, since: datetime | None, until: datetime | None) -> pd.DataFrame:
        """Load what a report reads of the jobs submitted between two times."""
        frame = self._source
        if isinstance(frame, MetricsSource):
            frame = frame.load_jobs(REPORT_COLUMNS)
        elif not isinstance(frame, pd.DataFrame):
            frame = self._load(REQUIRED_COLUMNS, OPTIONAL_COLUMNS)
        if since is None and until is None:
            return frame
        submitted = normalize_times(frame["submitted"]).dt.tz_localize("UTC")
        is_chosen = pd.Series(data=True, index=frame.index)
        if since is not None:
            is_chosen &= submitted >= since
        if until is not None:
            is_chosen &= submitted <= until
        return frame[is_chosen]

    def _load(self, required: Sequence[str], optional: Sequence[str] = ()) -> pd.DataFrame:
        return load_jobs(self._source, required, optional)

    def _load_by(
        self, by: Grouping, required: Sequence[str], optional: Sequence[str]
    ) -> pd.DataFrame:
        """Load jobs with the columns that they are grouped by; functions may read any."""
        return self._load(*self._list_columns(by, required, optional))

    def _iter_by(
        self, by: Grouping, required: Sequence[str], optional: Sequence[str]
    ) -> Iterator[pd.DataFrame]:
        """Yield what `_load_by` returns, in parts."""
        return iter_jobs(self._source, *self._list_columns(by, required, optional))

    def _list_columns(
        self, by: Grouping, required: Sequence[str], optional: Sequence[str]
    ) -> tuple[list[str], list[str]]:
        columns, functions = parse_grouping(by)
        others = getattr(self._source, "columns", ()) if functions else ()
        needed = dict.fromkeys((*required, *columns))
        wanted = dict.fromkeys(map(str, (*optional, *others)))
        return list(needed), [name for name in wanted if name not in needed]

    def _run(
        self, metrics: tuple[str, ...], every: Period | None, by: Grouping, **options: Any
    ) -> pd.DataFrame:
        group_by, functions = parse_grouping(by)
        query = Query(metrics, every, group_by, functions, **options)
        return run_query(query, self._source)


def _parse_window(window: tuple[str | date, str | date]) -> tuple[datetime, datetime]:
    """Parse a first and a last time.

    Raises:
        InvalidRequest: they are no times, or in another order
    """
    hint = 'Give a first and a last time: ("2026-01-01", "2026-02-01").'
    if isinstance(window, str) or len(tuple(window)) != 2:
        raise InvalidRequest(f"{window!r} is not a period of time.", hint=hint)
    since, until = (parse_time(time) for time in window)
    if since is None or until is None or since >= until:
        raise InvalidRequest(f"{window!r} is not a period of time.", hint=hint)
    return since, until


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


# What costs, and the statuses that are charged by default.
_COST_STATUSES: dict[str, tuple[str, ...]] = {
    "jobs": ("SUCCEEDED",),
    "failures": ("FAILED",),
    "retries": ("SUCCEEDED", "FAILED"),
}


def _add_cost(frame: pd.DataFrame, known: Prices) -> pd.DataFrame:
    keys = {name: frame[name] if name in known.columns else ANY for name in PARTS}
    found = [
        known.find(service, (action,), queue)
        for service, action, queue in pd.DataFrame(keys, frame.index).itertuples(index=False)
    ]
    price = pd.Series(found, frame.index, dtype="float64")
    return frame.assign(price=price, cost=frame["jobs"] * price)


def _use_told_costs(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what services charged; where none of a group's jobs has a cost, it is missing."""
    has_cost = frame["cost_count"] > 0
    mean = frame["cost_sum"].where(has_cost) / frame["cost_count"].where(has_cost)
    nothing = frame["cost_sum"].where(frame["jobs"] > 0, 0.0).mask(frame["jobs"] > 0)
    cost = frame["cost_sum"].where(has_cost, nothing)
    return frame.drop(columns=["cost_sum", "cost_count"]).assign(price=mean, cost=cost)


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
