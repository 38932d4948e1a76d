"""Questions to a history, and their answers: small DataFrames, and matplotlib Axes that show them.

A question is written once, as an expression over any engine's frame (narwhals), and asked of a
pandas DataFrame, of DuckDB over a lake, or of a Dask frame on a cluster. All engines see the same
few facts: words as text, times as whole microseconds. Where a partition holds only a part of a
group (a quantile cannot be put together from parts), exactly the groups concerned are gathered and
asked again.
"""

from __future__ import annotations

import inspect
import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

import narwhals as nw
import numpy as np
import pandas as pd

from jupyter_mjci.errors import InvalidRequest, requires_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Period = Literal["hour", "day", "week", "month"]
HOUR_US, DAY_US = 3_600_000_000, 86_400_000_000  # microseconds
TIME_COLUMNS = ("submitted", "started", "finished")
DIMENSIONS = ("service", "action", "status", "reason", "user_data", "parent", "subject")
TERMINAL_STATUSES = ("SUCCEEDED", "FAILED", "CANCELLED")

# Made from two times: name -> (later, earlier).
DURATIONS = {
    "queue_time": ("started", "submitted"),
    "run_time": ("finished", "started"),
    "total": ("finished", "submitted"),
}


def _add_period(frame: Any, unit: str, time: nw.Expr) -> Any:
    """Adds `period`: the beginning of the hour, day, week (Monday) or month that a time lies in;
    all in UTC.

    Whole-number arithmetic, because engines disagree about what else they offer. Months (Hinnant's
    algorithm) go step by step: put into one expression they would repeat each other until no engine
    can hold it.
    """
    if unit == "month":
        for name, step in _MONTH_STEPS:
            frame = frame.with_columns(**{name: time // DAY_US if step is None else step})
        return frame
    length, offset = {"hour": (HOUR_US, 0), "day": (DAY_US, 0), "week": (7 * DAY_US, 4 * DAY_US)}[
        unit
    ]
    # Not `// length * length`: made safe for every type and sign, that is ten operations a row in
    # SQL.
    return frame.with_columns(period=time - (time - offset) % length)


def _build_month_steps() -> tuple[tuple[str, nw.Expr | None], ...]:
    """From the number of a day to the first of its month: the day of the 400 years, the year of
    them that begins in March, the day of that year, and the month of it.
    """
    day, of_400, year, of_year, month = (
        nw.col(f"_{name}") for name in ("day", "of_400", "year", "of_year", "month")
    )
    return (
        ("_day", None),
        ("_of_400", (day + 719_468) % 146_097),
        ("_year", (of_400 - of_400 // 1460 + of_400 // 36_524 - of_400 // 146_096) // 365),
        ("_of_year", of_400 - (365 * year + year // 4 - year // 100)),
        ("_month", (5 * of_year + 2) // 153),
        ("period", (day - of_year + (153 * month + 2) // 5) * DAY_US),
    )


_MONTH_STEPS = _build_month_steps()


def _build_metrics() -> dict[str, nw.Expr]:
    """Every figure that a question may ask for, by its column's name."""
    counts = {
        name: nw.col(name).sum() for name in ("succeeded", "failed", "cancelled", "ended", "open")
    }
    times = {"first": nw.col("submitted").min(), "last": nw.col("submitted").max()}
    spans: dict[str, nw.Expr] = {}
    for span in DURATIONS:
        spans |= {f"{span}_mean": nw.col(span).mean(), f"{span}_max": nw.col(span).max()}
        for part in (50, 90, 95, 99):
            spans[f"{span}_p{part}"] = nw.col(span).quantile(part / 100, "linear")
    return {"jobs": nw.len(), **counts, **times, **spans}


METRICS = _build_metrics()


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked: figures, per period of a time and per words; of jobs with these statuses only,
    if any are named.

    `postprocess` makes the answer's last columns from the figures, in pandas, whichever engine counted.
    """

    metrics: tuple[str, ...]
    period: Period | None = None
    group_by: tuple[str, ...] = ()
    time_column: str = "submitted"
    statuses: tuple[str, ...] = ()
    postprocess: Callable[[pd.DataFrame], pd.DataFrame] = field(
        default=lambda frame: frame, compare=False
    )

    def __post_init__(self) -> None:
        if self.period is not None and self.period not in get_args(Period):
            raise InvalidRequest(f"every is {', '.join(get_args(Period))}, not {self.period!r}.")
        for word in self.group_by:
            if word not in DIMENSIONS:
                raise InvalidRequest(
                    f"Jobs are not told apart by {word!r}.",
                    hint=f"By one of {', '.join(DIMENSIONS)}.",
                )

    @property
    def group_keys(self) -> tuple[str, ...]:
        return (("period",) if self.period else ()) + self.group_by

    @property
    def source_columns(self) -> tuple[str, ...]:
        """The columns of a history that it takes to answer."""
        spans = {figure.rpartition("_")[0] for figure in self.metrics} & set(DURATIONS)
        times = {
            self.time_column,
            *itertools.chain.from_iterable(DURATIONS[span] for span in spans),
        }
        times |= {"submitted"} if {"first", "last"} & set(self.metrics) else set()
        return tuple(
            dict.fromkeys(
                ("status", *self.group_by, *(time for time in TIME_COLUMNS if time in times))
            )
        )

    def aggregate(self, native_frame: Any) -> Any:
        """The expression: from any engine's facts to that engine's figures, one row per group."""
        frame = self._prepare(nw.from_native(native_frame))
        figures = {name: METRICS[name] for name in self.metrics}
        return (
            frame.group_by(*self.group_keys).agg(**figures)
            if self.group_keys
            else frame.select(**figures)
        ).to_native()

    def _prepare(self, frame: Any) -> Any:
        """Facts with what is counted, and with the period."""
        frame = frame.filter(~nw.col(self.time_column).is_null())
        if self.statuses:
            frame = frame.filter(nw.col("status").is_in(self.statuses))
        counted = {end.lower(): nw.col("status") == end for end in TERMINAL_STATUSES}
        counted["ended"] = counted["succeeded"] | counted["failed"] | counted["cancelled"]
        counted["open"] = ~counted["ended"]
        made = {name: expr.cast(nw.Int64) for name, expr in counted.items() if name in self.metrics}
        for span, (later, earlier) in DURATIONS.items():
            if any(figure.startswith(f"{span}_") for figure in self.metrics):
                made[span] = nw.col(later) - nw.col(earlier)
        frame = frame.with_columns(**made) if made else frame
        return _add_period(frame, self.period, nw.col(self.time_column)) if self.period else frame

    def finalize(self, aggregates: pd.DataFrame) -> pd.DataFrame:
        """The groups' figures as the answer: typed, in order, finished."""
        typed = aggregates.astype(
            dict.fromkeys(self.group_by, "string")
            | {one: _metric_dtype(one) for one in self.metrics}
        )
        for name in self.metrics:
            if name.rpartition("_")[0] in DURATIONS:
                typed[name] /= 1_000_000  # the answer is in seconds
        for name in {"period", "first", "last"} & set(typed.columns):
            typed[name] = typed[name].astype("int64").to_numpy().view("datetime64[us]")
            typed[name] = typed[name].dt.tz_localize("UTC")
        return self.postprocess(
            typed.sort_values(list(self.group_keys), ignore_index=True)
            if self.group_keys
            else typed
        )


def _metric_dtype(metric: str) -> str:
    return "float64" if "_" in metric else "int64"


def normalize(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of a history as every engine sees them: words as text, times as microseconds (NaN:
    not yet).
    """
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise InvalidRequest(
            f"This frame has no column {', '.join(missing)}.",
            hint="Ask a frame of s.history(), s.tasks() or s.jobs().",
        )
    return pd.DataFrame(
        {
            name: _to_microseconds(frame[name])
            if name in TIME_COLUMNS
            else frame[name].astype("string")
            for name in columns
        }
    )


def _to_microseconds(times: pd.Series[Any]) -> Any:
    """Exact: microseconds since 1970 stay whole numbers in a float64 until the year 2255."""
    plain = times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[us]")
    return np.where(np.isnat(plain), np.nan, plain.view("int64").astype("float64"))


# --- asking the engines ---------------------------------------------------------------------------


def run_query(query: Query, source: Any) -> pd.DataFrame:
    """The answer of a history: a pandas frame, a Dask frame with the same columns, or what answers
    by itself.
    """
    if hasattr(source, "compute_metrics"):
        return query.finalize(source.compute_metrics(query))
    if hasattr(source, "map_partitions"):
        return query.finalize(_aggregate_partitions(query, source))
    return query.finalize(_aggregate_frame(source, query))


def _aggregate_frame(frame: pd.DataFrame, query: Query) -> pd.DataFrame:
    made: pd.DataFrame = query.aggregate(normalize(frame, query.source_columns))
    return made


def _aggregate_partitions(query: Query, frame: Any) -> pd.DataFrame:
    """Each partition answers for itself; groups that lie in several are gathered and asked
    again.
    """
    wanted = frame[list(query.source_columns)]
    if not query.group_keys:
        return _aggregate_frame(wanted.compute(), query)
    parts: pd.DataFrame = wanted.map_partitions(
        _aggregate_frame, query, meta=_make_empty_aggregates(query)
    ).compute()
    keys = list(query.group_keys)
    torn = parts.duplicated(keys, keep=False)
    if not torn.any():
        return parts
    if (
        torn.all() and query.group_by
    ):  # no period keeps the parts apart: bring the groups together on the cluster
        whole = wanted.shuffle(on=list(query.group_by))
        together: pd.DataFrame = whole.map_partitions(
            _aggregate_frame, query, meta=_make_empty_aggregates(query)
        ).compute()
        return together
    groups = parts.loc[torn, keys].drop_duplicates()
    gathered = wanted.map_partitions(
        _select_groups, query, groups, meta=_make_empty_input(wanted, query)
    ).compute()
    mended: pd.DataFrame = query.aggregate(gathered)
    return pd.concat([parts[~torn], mended], ignore_index=True)


def _select_groups(frame: pd.DataFrame, query: Query, groups: pd.DataFrame) -> pd.DataFrame:
    """The facts of these groups."""
    known = normalize(frame, query.source_columns)
    keyed: pd.DataFrame = query._prepare(nw.from_native(known)).to_native()
    return keyed.merge(groups, on=list(query.group_keys))[list(query.source_columns)]


def _make_empty_aggregates(query: Query) -> pd.DataFrame:
    """No figures, with the right columns and dtypes: what Dask wants to know beforehand."""
    empty = {
        name: pd.Series(dtype="datetime64[us, UTC]" if name in TIME_COLUMNS else "string")
        for name in query.source_columns
    }
    return _aggregate_frame(pd.DataFrame(empty), query)


def _make_empty_input(dask_frame: Any, query: Query) -> pd.DataFrame:
    return normalize(dask_frame._meta, query.source_columns)


# --- the questions --------------------------------------------------------------------------------


class JobAccessor:
    """Questions to a history: `df.mjci.timeline()`, and on Axes `df.mjci.plot.timeline()`.

    `every` is hour, day, week (from Monday) or month, in UTC, and makes the column `period`; None
    asks of all times at once. `by` names one or several words that jobs are told apart by, each a
    column of the answer: service, action, status, reason, state, parent, subject. `limit` keeps the
    first so many rows.

    Raises CallError for another period or word, and for a frame without the columns that it takes.
    """

    def __init__(self, source: Any) -> None:
        if isinstance(source, pd.DataFrame) and not {"status", "submitted"} <= set(source.columns):
            raise AttributeError("mjci is for frames of jobs: with a status and times")
        self._source = source

    @property
    def plot(self) -> PlotAccessor:
        """The same questions, answered on matplotlib Axes."""
        return PlotAccessor(self)

    def timeline(self, every: Period = "day", by: str | Sequence[str] = ()) -> pd.DataFrame:
        """Jobs submitted in each period, and how they ended: period, jobs, succeeded, failed,
        cancelled, open.
        """
        figures = ("jobs", "succeeded", "failed", "cancelled", "open")
        return self._run(Query(figures, every, _to_tuple(by)))

    def throughput(self, every: Period = "hour", by: str | Sequence[str] = ()) -> pd.DataFrame:
        """Jobs that ended in each period: period, jobs, succeeded, per_hour (jobs ended an
        hour).
        """
        return self._run(
            Query(
                ("jobs", "succeeded"),
                every,
                _to_tuple(by),
                "finished",
                TERMINAL_STATUSES,
                lambda made: _add_per_hour(made, every),
            )
        )

    def turnaround(
        self, every: Period | None = None, by: str | Sequence[str] = "action"
    ) -> pd.DataFrame:
        """Seconds from submission to success: jobs, mean, p50, p90, p95, p99, max."""
        figures = ("jobs", *(f"total_{one}" for one in ("mean", "p50", "p90", "p95", "p99", "max")))
        question = Query(
            figures, every, _to_tuple(by), "finished", ("SUCCEEDED",), _strip_total_prefix
        )
        return self._run(question)

    def queue_stats(
        self, every: Period | None = "day", by: str | Sequence[str] = "action"
    ) -> pd.DataFrame:
        """Success rate, and seconds waited in the queue and taken to run, half (p50) and 95 % (p95)
        within: jobs, success_rate, queue_time_p50, queue_time_p95, run_time_p50, run_time_p95.
        """
        figures = (
            "jobs",
            "ended",
            "succeeded",
            "queue_time_p50",
            "queue_time_p95",
            "run_time_p50",
            "run_time_p95",
        )
        return self._run(
            Query(
                figures,
                every,
                _to_tuple(by),
                postprocess=lambda made: _add_success_rate(made, drop_counts=True),
            )
        )

    def failures(
        self, by: str | Sequence[str] = ("action", "reason"), limit: int | None = 20
    ) -> pd.DataFrame:
        """What went wrong, most frequent first: jobs, share (of all failures), first and last
        submission.
        """

        def finish(made: pd.DataFrame) -> pd.DataFrame:
            made.insert(
                list(made.columns).index("jobs") + 1,
                "share",
                made["jobs"] / max(int(made["jobs"].sum()), 1),
            )
            return made.sort_values("jobs", ascending=False, kind="stable", ignore_index=True).head(
                limit or len(made)
            )

        return self._run(
            Query(
                ("jobs", "first", "last"),
                None,
                _to_tuple(by),
                statuses=("FAILED",),
                postprocess=finish,
            )
        )

    def success_rate(
        self, every: Period | None = "day", by: str | Sequence[str] = ()
    ) -> pd.DataFrame:
        """Of the jobs that ended, how many succeeded: jobs, ended, succeeded, success_rate (0 to
        1).
        """
        return self._run(
            Query(
                ("jobs", "ended", "succeeded"), every, _to_tuple(by), postprocess=_add_success_rate
            )
        )

    def cost(
        self,
        prices: Mapping[str, float],
        every: Period | None = "month",
        by: str | Sequence[str] = "action",
    ) -> pd.DataFrame:
        """What succeeded jobs cost: jobs, price, cost. `prices` are per action, `{"IMAGINE":
        0.03}`; "*" is the price of every other action (else theirs is missing, and so is their
        cost).
        """
        words = tuple(dict.fromkeys((*_to_tuple(by), "action")))

        def finish(made: pd.DataFrame) -> pd.DataFrame:
            price = made["action"].map({action: float(price) for action, price in prices.items()})
            made["price"] = price.astype("float64").fillna(float(prices.get("*", np.nan)))
            return made.assign(cost=made["jobs"] * made["price"])

        return self._run(
            Query(("jobs",), every, words, statuses=("SUCCEEDED",), postprocess=finish)
        )

    def _run(self, query: Query) -> pd.DataFrame:
        return run_query(query, self._source)


def _to_tuple(by: str | Sequence[str]) -> tuple[str, ...]:
    return (by,) if isinstance(by, str) else tuple(by)


def _strip_total_prefix(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.rename(columns=lambda name: name.removeprefix("total_"))


def _add_success_rate(frame: pd.DataFrame, drop_counts: bool = False) -> pd.DataFrame:
    rate = frame["succeeded"] / frame["ended"].where(frame["ended"] > 0)
    if not drop_counts:
        return frame.assign(success_rate=rate)
    frame.insert(list(frame.columns).index("jobs") + 1, "success_rate", rate)
    return frame.drop(columns=["ended", "succeeded"])


def _add_per_hour(frame: pd.DataFrame, every: str) -> pd.DataFrame:
    """Months differ in length, so a period's hours are counted by its own end."""
    begins = frame["period"].dt.tz_localize(None)
    ends = begins + (
        pd.offsets.MonthBegin(1) if every == "month" else pd.Timedelta(1, _PANDAS_UNITS[every])
    )
    return frame.assign(per_hour=frame["jobs"] / ((ends - begins) / pd.Timedelta(1, "h")))


_PANDAS_UNITS: Mapping[str, Any] = {"hour": "h", "day": "D", "week": "W"}


# --- on Axes --------------------------------------------------------------------------------------

TEXT_COLOR = "#7d7d7d"  # reads on white and on a dark theme
SUCCEEDED_COLOR, FAILED_COLOR, CANCELLED_COLOR, OPEN_COLOR = (
    "#009e73",
    "#d55e00",
    "#999999",
    "#56b4e9",
)  # told apart by colour-blind readers too
PALETTE = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#b8a500",
    "#8a6fdf",
)  # the same
MAX_SERIES = 8  # lines or bars of one picture; what is rarer is left to the frame


class PlotAccessor:
    """The answers on matplotlib Axes, drawn to be read: titles, units, colours for every eye, light
    or dark around.

    Every method takes its twin's arguments (`every`, `by`, `prices`), and `ax` to draw on; it gives
    the Axes. Without matplotlib, which the extra `lab` has, it raises SettingsError.
    """

    def __init__(self, accessor: JobAccessor) -> None:
        self._accessor = accessor

    def timeline(self, every: Period = "day", *, ax: Axes | None = None) -> Axes:
        """Jobs submitted per period, stacked by how they ended."""
        made = self._accessor.timeline(every)
        ax = _prepare_axes(ax, "Jobs submitted", f"jobs per {every}")
        parts = (
            ("succeeded", SUCCEEDED_COLOR),
            ("failed", FAILED_COLOR),
            ("cancelled", CANCELLED_COLOR),
            ("open", OPEN_COLOR),
        )
        ax.locator_params(axis="y", integer=True)  # there is no half of a job
        return _stack_bars(
            ax, made["period"], {name: (made[name], colour) for name, colour in parts}, every
        )

    def throughput(self, every: Period = "hour", *, ax: Axes | None = None) -> Axes:
        """Jobs ended an hour."""
        made = self._accessor.throughput(every)
        ax = _prepare_axes(ax, "Throughput", f"jobs ended per hour (by {every})")
        ax.fill_between(made["period"], made["per_hour"], color=PALETTE[0], alpha=0.25, linewidth=0)
        ax.plot(made["period"], made["per_hour"], color=PALETTE[0], linewidth=1.2)
        return _format_dates(ax)

    def turnaround(self, by: str = "action", *, ax: Axes | None = None) -> Axes:
        """How long from submission to success: half, and 95 %, within."""
        made = _select_top(self._accessor.turnaround(by=by), "jobs").iloc[::-1]
        ax = _prepare_axes(ax, "From submission to success", "")
        ax.barh(made[by].fillna("?"), made["p95"], color=PALETTE[0], alpha=0.3, label="95 % within")
        ax.barh(made[by].fillna("?"), made["p50"], color=PALETTE[0], label="half within")
        ax.set_xlabel("seconds")
        return _add_legend(ax)

    def queue_stats(
        self, every: Period = "day", by: str = "action", *, ax: Axes | None = None
    ) -> Axes:
        """Waiting in the queue: half the jobs within the line, 95 % within the shade."""
        made = self._accessor.queue_stats(every, by)
        ax = _prepare_axes(ax, "Waiting in the queue", "seconds: half within (line), 95 % (shade)")
        for colour, (word, line) in zip(PALETTE, _split_series(made, by), strict=False):
            half, most = line["queue_time_p50"], line["queue_time_p95"]
            ax.fill_between(line["period"], half, most, color=colour, alpha=0.15, linewidth=0)
            ax.plot(line["period"], half, color=colour, linewidth=1.6, label=word)
        ax.set_ylim(bottom=0)
        return _add_legend(_format_dates(ax))

    def failures(self, by: str = "reason", *, ax: Axes | None = None) -> Axes:
        """The most frequent reasons."""
        made = _select_top(self._accessor.failures(by), "jobs").iloc[::-1]
        ax = _prepare_axes(ax, f"Failures by {by}", "")
        bars = ax.barh(
            [_truncate(word) for word in made[by].fillna("not told")],
            made["jobs"],
            color=FAILED_COLOR,
        )
        ax.bar_label(bars, [f"{share:.0%}" for share in made["share"]], padding=4, color=TEXT_COLOR)
        ax.set_xlabel("jobs")
        for label in ax.get_yticklabels():
            label.set_fontfamily(_list_fonts())
        return ax

    def success_rate(
        self, every: Period = "day", by: str | None = None, *, ax: Axes | None = None
    ) -> Axes:
        """The share of ended jobs that succeeded."""
        made = self._accessor.success_rate(every, by or ())
        ax = _prepare_axes(ax, "Success rate", f"% of jobs ended (by {every})")
        for colour, (word, line) in zip(PALETTE, _split_series(made, by), strict=False):
            ax.plot(
                line["period"], line["success_rate"] * 100, color=colour, linewidth=1.6, label=word
            )
        ax.set_ylim(min(ax.get_ylim()[0], 90), 100.5)
        return _add_legend(_format_dates(ax)) if by else _format_dates(ax)

    def cost(
        self, prices: Mapping[str, float], every: Period = "month", *, ax: Axes | None = None
    ) -> Axes:
        """What it cost per period, stacked by action; the unit is that of the prices."""
        made = self._accessor.cost(prices, every)
        ax = _prepare_axes(ax, "Cost of succeeded jobs", f"cost per {every}")
        wide = made.pivot_table(
            index="period", columns="action", values="cost", aggfunc="sum", observed=True
        ).fillna(0)
        most = wide.sum().sort_values(ascending=False).index[:MAX_SERIES]
        parts = {
            str(action): (wide[action], colour)
            for action, colour in zip(most, PALETTE, strict=False)
        }
        return _stack_bars(ax, pd.Series(wide.index), parts, every)


def render_png(frame: pd.DataFrame, plot: str, every: Period = "day") -> bytes:
    """A plot of a history as PNG, transparent around. It can be drawn in any thread: no pyplot
    takes part.
    """
    with requires_extra("matplotlib", "lab"):
        from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.2), layout="constrained", facecolor="none")
    draw = getattr(PlotAccessor(JobAccessor(frame)), plot)
    periods = {"every": every} if "every" in inspect.signature(draw).parameters else {}
    draw(**periods, ax=figure.subplots())
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=130, metadata={"Software": None})
    return out.getvalue()


def _prepare_axes(ax: Axes | None, title: str, unit: str) -> Axes:
    """Axes to draw on, dressed. New ones stand on no ground of their own: the page's shows
    through.
    """
    if ax is None:
        with requires_extra("matplotlib", "lab"):
            import matplotlib.pyplot as plt

        figure, ax = plt.subplots(figsize=(7.2, 3.2), layout="constrained")
        figure.set_facecolor("none")
    ax.set_facecolor("none")
    ax.set_title(title, loc="left", color=TEXT_COLOR, fontsize=11, fontweight="bold")
    ax.set_ylabel(unit, color=TEXT_COLOR)
    ax.xaxis.label.set_color(TEXT_COLOR)
    ax.tick_params(colors=TEXT_COLOR, labelsize=9)
    ax.grid(axis="both", color=TEXT_COLOR, alpha=0.2, linewidth=0.6)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(TEXT_COLOR)
    return ax


def _stack_bars(ax: Axes, periods: Any, parts: Mapping[str, tuple[Any, str]], every: str) -> Axes:
    bottom = np.zeros(len(periods))
    days = {"hour": 1 / 24, "day": 1, "week": 7, "month": 28}[every]
    for name, (values, colour) in parts.items():
        height = values.to_numpy("float64", na_value=0)
        if height.any():
            ax.bar(
                periods,
                height,
                width=days * 0.88,
                bottom=bottom,
                color=colour,
                label=name,
                align="edge",
            )
        bottom += height
    if len(periods) == 1:  # a bar with room around it, not a wall
        ax.margins(x=2)
    return _add_legend(_format_dates(ax))


def _format_dates(ax: Axes) -> Axes:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    low, high = ax.dataLim.intervalx
    if high == low:  # a single period; days to the left and right of it, else there would be years
        ax.set_xlim(low - 0.5, low + 0.5)
    where: Any = AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(where)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(where))  # type: ignore[no-untyped-call]
    ax.xaxis.get_offset_text().set_color(TEXT_COLOR)
    ax.set_xlabel("UTC")
    return ax


def _add_legend(ax: Axes) -> Axes:
    """Above the plot, opposite the title: it never covers what it explains."""
    labels = ax.get_legend_handles_labels()[1]
    if labels:
        place: dict[str, Any] = {
            "loc": "lower right",
            "bbox_to_anchor": (1.01, 0.99),
            "borderaxespad": 0.2,
        }
        ax.legend(
            frameon=False,
            labelcolor=TEXT_COLOR,
            fontsize=8,
            ncols=4,
            handlelength=1.2,
            columnspacing=1,
            **place,
        )
    return ax


def _split_series(frame: pd.DataFrame, by: str | None) -> list[tuple[str, pd.DataFrame]]:
    """One frame per word, the most frequent words first."""
    if by is None:
        return [("", frame)]
    words = (
        frame.groupby(by, observed=True)["jobs"]
        .sum()
        .sort_values(ascending=False)
        .index[:MAX_SERIES]
    )
    return [(str(word), frame[frame[by] == word]) for word in words]


def _select_top(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    return frame.sort_values(metric, ascending=False, kind="stable").head(MAX_SERIES)


def _list_fonts() -> list[str]:
    """The usual font, and behind it those of this machine that can write Chinese: services give
    reasons in it.
    """
    from matplotlib import font_manager, rcParams

    there = set(font_manager.get_font_names())
    return [*rcParams["font.family"], *(font for font in CJK_FONTS if font in there)]


CJK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "SimHei",
    "Microsoft YaHei",
    "PingFang SC",
    "Droid Sans Fallback",
)


def _truncate(text: str) -> str:
    return text if len(text) <= 48 else f"{text[:47]}…"


if hasattr(pd.DataFrame, "mjci"):  # of code that was loaded before this
    del pd.DataFrame.mjci  # type: ignore[attr-defined]
pd.api.extensions.register_dataframe_accessor("mjci")(JobAccessor)
