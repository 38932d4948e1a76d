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

from jupyter_mjci.errors import CallError, needing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Every = Literal["hour", "day", "week", "month"]
HOUR, DAY = 3_600_000_000, 86_400_000_000  # microseconds
TIMES = ("submitted", "started", "finished")
WORDS = ("service", "action", "status", "reason", "state", "parent", "subject")
ENDS = ("SUCCEEDED", "FAILED", "CANCELLED")

# Made from two times: name -> (later, earlier).
SPANS = {
    "waited": ("started", "submitted"),
    "took": ("finished", "started"),
    "total": ("finished", "submitted"),
}


def _with_period(frame: Any, every: str, moment: nw.Expr) -> Any:
    """Adds `period`: the beginning of the hour, day, week (Monday) or month that a time lies in;
    all in UTC.

    Whole-number arithmetic, because engines disagree about what else they offer. Months (Hinnant's
    algorithm) go step by step: put into one expression they would repeat each other until no engine
    can hold it.
    """
    if every == "month":
        for name, step in _MONTH:
            frame = frame.with_columns(**{name: moment // DAY if step is None else step})
        return frame
    length, offset = {"hour": (HOUR, 0), "day": (DAY, 0), "week": (7 * DAY, 4 * DAY)}[every]
    # Not `// length * length`: made safe for every type and sign, that is ten operations a row in
    # SQL.
    return frame.with_columns(period=moment - (moment - offset) % length)


def _steps() -> tuple[tuple[str, nw.Expr | None], ...]:
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
        ("period", (day - of_year + (153 * month + 2) // 5) * DAY),
    )


_MONTH = _steps()


def _made() -> dict[str, nw.Expr]:
    """Every figure that a question may ask for, by its column's name."""
    counts = {
        name: nw.col(name).sum() for name in ("succeeded", "failed", "cancelled", "ended", "open")
    }
    times = {"first": nw.col("submitted").min(), "last": nw.col("submitted").max()}
    spans: dict[str, nw.Expr] = {}
    for span in SPANS:
        spans |= {f"{span}_mean": nw.col(span).mean(), f"{span}_max": nw.col(span).max()}
        for part in (50, 90, 95, 99):
            spans[f"{span}_p{part}"] = nw.col(span).quantile(part / 100, "linear")
    return {"jobs": nw.len(), **counts, **times, **spans}


FIGURES = _made()


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: figures, per period of a time and per words; of jobs with these statuses only,
    if any are named.

    `finish` makes the answer's last columns from the figures, in pandas, whichever engine counted.
    """

    figures: tuple[str, ...]
    every: Every | None = None
    by: tuple[str, ...] = ()
    moment: str = "submitted"
    only: tuple[str, ...] = ()
    finish: Callable[[pd.DataFrame], pd.DataFrame] = field(
        default=lambda frame: frame, compare=False
    )

    def __post_init__(self) -> None:
        if self.every is not None and self.every not in get_args(Every):
            raise CallError(f"every is {', '.join(get_args(Every))}, not {self.every!r}.")
        for word in self.by:
            if word not in WORDS:
                raise CallError(
                    f"Jobs are not told apart by {word!r}.", hint=f"By one of {', '.join(WORDS)}."
                )

    @property
    def keys(self) -> tuple[str, ...]:
        return (("period",) if self.every else ()) + self.by

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of a history that it takes to answer."""
        spans = {figure.partition("_")[0] for figure in self.figures} & set(SPANS)
        times = {self.moment, *itertools.chain.from_iterable(SPANS[span] for span in spans)}
        times |= {"submitted"} if {"first", "last"} & set(self.figures) else set()
        return tuple(
            dict.fromkeys(("status", *self.by, *(time for time in TIMES if time in times)))
        )

    def grouped(self, facts: Any) -> Any:
        """The expression: from any engine's facts to that engine's figures, one row per group."""
        frame = self._keyed(nw.from_native(facts))
        figures = {name: FIGURES[name] for name in self.figures}
        return (
            frame.group_by(*self.keys).agg(**figures) if self.keys else frame.select(**figures)
        ).to_native()

    def _keyed(self, frame: Any) -> Any:
        """Facts with what is counted, and with the period."""
        frame = frame.filter(~nw.col(self.moment).is_null())
        if self.only:
            frame = frame.filter(nw.col("status").is_in(self.only))
        counted = {end.lower(): nw.col("status") == end for end in ENDS}
        counted["ended"] = counted["succeeded"] | counted["failed"] | counted["cancelled"]
        counted["open"] = ~counted["ended"]
        made = {name: expr.cast(nw.Int64) for name, expr in counted.items() if name in self.figures}
        for span, (later, earlier) in SPANS.items():
            if any(figure.startswith(f"{span}_") for figure in self.figures):
                made[span] = nw.col(later) - nw.col(earlier)
        frame = frame.with_columns(**made) if made else frame
        return _with_period(frame, self.every, nw.col(self.moment)) if self.every else frame

    def answer(self, figures: pd.DataFrame) -> pd.DataFrame:
        """The groups' figures as the answer: typed, in order, finished."""
        typed = figures.astype(
            dict.fromkeys(self.by, "string") | {one: _dtype(one) for one in self.figures}
        )
        for name in self.figures:
            if name.partition("_")[0] in SPANS:
                typed[name] /= 1_000_000  # the answer is in seconds
        for name in {"period", "first", "last"} & set(typed.columns):
            typed[name] = typed[name].astype("int64").to_numpy().view("datetime64[us]")
            typed[name] = typed[name].dt.tz_localize("UTC")
        return self.finish(
            typed.sort_values(list(self.keys), ignore_index=True) if self.keys else typed
        )


def _dtype(figure: str) -> str:
    return "float64" if "_" in figure else "int64"


def facts(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of a history as every engine sees them: words as text, times as microseconds (NaN:
    not yet).
    """
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise CallError(
            f"This frame has no column {', '.join(missing)}.",
            hint="Ask a frame of s.history(), s.tasks() or s.jobs().",
        )
    return pd.DataFrame(
        {
            name: _microseconds(frame[name]) if name in TIMES else frame[name].astype("string")
            for name in columns
        }
    )


def _microseconds(times: pd.Series[Any]) -> Any:
    """Exact: microseconds since 1970 stay whole numbers in a float64 until the year 2255."""
    plain = times.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy("datetime64[us]")
    return np.where(np.isnat(plain), np.nan, plain.view("int64").astype("float64"))


# --- asking the engines ---------------------------------------------------------------------------


def ask(question: Question, source: Any) -> pd.DataFrame:
    """The answer of a history: a pandas frame, a Dask frame with the same columns, or what answers
    by itself.
    """
    if hasattr(source, "figures"):
        return question.answer(source.figures(question))
    if hasattr(source, "map_partitions"):
        return question.answer(_from_parts(question, source))
    return question.answer(_of_frame(source, question))


def _of_frame(frame: pd.DataFrame, question: Question) -> pd.DataFrame:
    made: pd.DataFrame = question.grouped(facts(frame, question.columns))
    return made


def _from_parts(question: Question, frame: Any) -> pd.DataFrame:
    """Each partition answers for itself; groups that lie in several are gathered and asked
    again.
    """
    wanted = frame[list(question.columns)]
    if not question.keys:
        return _of_frame(wanted.compute(), question)
    parts: pd.DataFrame = wanted.map_partitions(
        _of_frame, question, meta=_nothing(question)
    ).compute()
    keys = list(question.keys)
    torn = parts.duplicated(keys, keep=False)
    if not torn.any():
        return parts
    if (
        torn.all() and question.by
    ):  # no period keeps the parts apart: bring the groups together on the cluster
        whole = wanted.shuffle(on=list(question.by))
        together: pd.DataFrame = whole.map_partitions(
            _of_frame, question, meta=_nothing(question)
        ).compute()
        return together
    groups = parts.loc[torn, keys].drop_duplicates()
    gathered = wanted.map_partitions(
        _of_groups, question, groups, meta=_nothing_of(wanted, question)
    ).compute()
    mended: pd.DataFrame = question.grouped(gathered)
    return pd.concat([parts[~torn], mended], ignore_index=True)


def _of_groups(frame: pd.DataFrame, question: Question, groups: pd.DataFrame) -> pd.DataFrame:
    """The facts of these groups."""
    known = facts(frame, question.columns)
    keyed: pd.DataFrame = question._keyed(nw.from_native(known)).to_native()
    return keyed.merge(groups, on=list(question.keys))[list(question.columns)]


def _nothing(question: Question) -> pd.DataFrame:
    """No figures, with the right columns and dtypes: what Dask wants to know beforehand."""
    empty = {
        name: pd.Series(dtype="datetime64[us, UTC]" if name in TIMES else "string")
        for name in question.columns
    }
    return _of_frame(pd.DataFrame(empty), question)


def _nothing_of(wanted: Any, question: Question) -> pd.DataFrame:
    return facts(wanted._meta, question.columns)


# --- the questions --------------------------------------------------------------------------------


class Analyses:
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
    def plot(self) -> Plots:
        """The same questions, answered on matplotlib Axes."""
        return Plots(self)

    def timeline(self, every: Every = "day", by: str | Sequence[str] = ()) -> pd.DataFrame:
        """Jobs submitted in each period, and how they ended: period, jobs, succeeded, failed,
        cancelled, open.
        """
        figures = ("jobs", "succeeded", "failed", "cancelled", "open")
        return self._asked(Question(figures, every, _words(by)))

    def throughput(self, every: Every = "hour", by: str | Sequence[str] = ()) -> pd.DataFrame:
        """Jobs that ended in each period: period, jobs, succeeded, per_hour (jobs ended an
        hour).
        """
        return self._asked(
            Question(
                ("jobs", "succeeded"),
                every,
                _words(by),
                "finished",
                ENDS,
                lambda made: _per_hour(made, every),
            )
        )

    def turnaround(
        self, every: Every | None = None, by: str | Sequence[str] = "action"
    ) -> pd.DataFrame:
        """Seconds from submission to success: jobs, mean, p50, p90, p95, p99, max."""
        figures = ("jobs", *(f"total_{one}" for one in ("mean", "p50", "p90", "p95", "p99", "max")))
        question = Question(figures, every, _words(by), "finished", ("SUCCEEDED",), _short)
        return self._asked(question)

    def queue_stats(
        self, every: Every | None = "day", by: str | Sequence[str] = "action"
    ) -> pd.DataFrame:
        """Success rate, and seconds waited in the queue and taken to run, half (p50) and 95 % (p95)
        within: jobs, success_rate, waited_p50, waited_p95, took_p50, took_p95.
        """
        figures = ("jobs", "ended", "succeeded", "waited_p50", "waited_p95", "took_p50", "took_p95")
        return self._asked(
            Question(figures, every, _words(by), finish=lambda made: _rated(made, drop=True))
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

        return self._asked(
            Question(("jobs", "first", "last"), None, _words(by), only=("FAILED",), finish=finish)
        )

    def success_rate(
        self, every: Every | None = "day", by: str | Sequence[str] = ()
    ) -> pd.DataFrame:
        """Of the jobs that ended, how many succeeded: jobs, ended, succeeded, success_rate (0 to
        1).
        """
        return self._asked(
            Question(("jobs", "ended", "succeeded"), every, _words(by), finish=_rated)
        )

    def cost(
        self,
        prices: Mapping[str, float],
        every: Every | None = "month",
        by: str | Sequence[str] = "action",
    ) -> pd.DataFrame:
        """What succeeded jobs cost: jobs, price, cost. `prices` are per action, `{"IMAGINE":
        0.03}`; "*" is the price of every other action (else theirs is missing, and so is their
        cost).
        """
        words = tuple(dict.fromkeys((*_words(by), "action")))

        def finish(made: pd.DataFrame) -> pd.DataFrame:
            price = made["action"].map({action: float(price) for action, price in prices.items()})
            made["price"] = price.astype("float64").fillna(float(prices.get("*", np.nan)))
            return made.assign(cost=made["jobs"] * made["price"])

        return self._asked(Question(("jobs",), every, words, only=("SUCCEEDED",), finish=finish))

    def _asked(self, question: Question) -> pd.DataFrame:
        return ask(question, self._source)


def _words(by: str | Sequence[str]) -> tuple[str, ...]:
    return (by,) if isinstance(by, str) else tuple(by)


def _short(made: pd.DataFrame) -> pd.DataFrame:
    return made.rename(columns=lambda name: name.removeprefix("total_"))


def _rated(made: pd.DataFrame, drop: bool = False) -> pd.DataFrame:
    rate = made["succeeded"] / made["ended"].where(made["ended"] > 0)
    if not drop:
        return made.assign(success_rate=rate)
    made.insert(list(made.columns).index("jobs") + 1, "success_rate", rate)
    return made.drop(columns=["ended", "succeeded"])


def _per_hour(made: pd.DataFrame, every: str) -> pd.DataFrame:
    """Months differ in length, so a period's hours are counted by its own end."""
    begins = made["period"].dt.tz_localize(None)
    ends = begins + (
        pd.offsets.MonthBegin(1) if every == "month" else pd.Timedelta(1, _UNITS[every])
    )
    return made.assign(per_hour=made["jobs"] / ((ends - begins) / pd.Timedelta(1, "h")))


_UNITS: Mapping[str, Any] = {"hour": "h", "day": "D", "week": "W"}


# --- on Axes --------------------------------------------------------------------------------------

INK = "#7d7d7d"  # reads on white and on a dark theme
GOOD, BAD, CALLED_OFF, OPEN = (
    "#009e73",
    "#d55e00",
    "#999999",
    "#56b4e9",
)  # told apart by colour-blind readers too
COLOURS = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#d55e00",
    "#b8a500",
    "#8a6fdf",
)  # the same
MOST = 8  # lines or bars of one picture; what is rarer is left to the frame


class Plots:
    """The answers on matplotlib Axes, drawn to be read: titles, units, colours for every eye, light
    or dark around.

    Every method takes its twin's arguments (`every`, `by`, `prices`), and `ax` to draw on; it gives
    the Axes. Without matplotlib, which the extra `lab` has, it raises SettingsError.
    """

    def __init__(self, analyses: Analyses) -> None:
        self._of = analyses

    def timeline(self, every: Every = "day", *, ax: Axes | None = None) -> Axes:
        """Jobs submitted per period, stacked by how they ended."""
        made = self._of.timeline(every)
        ax = _axes(ax, "Jobs submitted", f"jobs per {every}")
        parts = (("succeeded", GOOD), ("failed", BAD), ("cancelled", CALLED_OFF), ("open", OPEN))
        ax.locator_params(axis="y", integer=True)  # there is no half of a job
        return _stacked(
            ax, made["period"], {name: (made[name], colour) for name, colour in parts}, every
        )

    def throughput(self, every: Every = "hour", *, ax: Axes | None = None) -> Axes:
        """Jobs ended an hour."""
        made = self._of.throughput(every)
        ax = _axes(ax, "Throughput", f"jobs ended per hour (by {every})")
        ax.fill_between(made["period"], made["per_hour"], color=COLOURS[0], alpha=0.25, linewidth=0)
        ax.plot(made["period"], made["per_hour"], color=COLOURS[0], linewidth=1.2)
        return _dated(ax)

    def turnaround(self, by: str = "action", *, ax: Axes | None = None) -> Axes:
        """How long from submission to success: half, and 95 %, within."""
        made = _most(self._of.turnaround(by=by), "jobs").iloc[::-1]
        ax = _axes(ax, "From submission to success", "")
        ax.barh(made[by].fillna("?"), made["p95"], color=COLOURS[0], alpha=0.3, label="95 % within")
        ax.barh(made[by].fillna("?"), made["p50"], color=COLOURS[0], label="half within")
        ax.set_xlabel("seconds")
        return _legend(ax)

    def queue_stats(
        self, every: Every = "day", by: str = "action", *, ax: Axes | None = None
    ) -> Axes:
        """Waiting in the queue: half the jobs within the line, 95 % within the shade."""
        made = self._of.queue_stats(every, by)
        ax = _axes(ax, "Waiting in the queue", "seconds: half within (line), 95 % (shade)")
        for colour, (word, line) in zip(COLOURS, _lines(made, by), strict=False):
            half, most = line["waited_p50"], line["waited_p95"]
            ax.fill_between(line["period"], half, most, color=colour, alpha=0.15, linewidth=0)
            ax.plot(line["period"], half, color=colour, linewidth=1.6, label=word)
        ax.set_ylim(bottom=0)
        return _legend(_dated(ax))

    def failures(self, by: str = "reason", *, ax: Axes | None = None) -> Axes:
        """The most frequent reasons."""
        made = _most(self._of.failures(by), "jobs").iloc[::-1]
        ax = _axes(ax, f"Failures by {by}", "")
        bars = ax.barh(
            [_cut(word) for word in made[by].fillna("not told")], made["jobs"], color=BAD
        )
        ax.bar_label(bars, [f"{share:.0%}" for share in made["share"]], padding=4, color=INK)
        ax.set_xlabel("jobs")
        for label in ax.get_yticklabels():
            label.set_fontfamily(_fonts())
        return ax

    def success_rate(
        self, every: Every = "day", by: str | None = None, *, ax: Axes | None = None
    ) -> Axes:
        """The share of ended jobs that succeeded."""
        made = self._of.success_rate(every, by or ())
        ax = _axes(ax, "Success rate", f"% of jobs ended (by {every})")
        for colour, (word, line) in zip(COLOURS, _lines(made, by), strict=False):
            ax.plot(
                line["period"], line["success_rate"] * 100, color=colour, linewidth=1.6, label=word
            )
        ax.set_ylim(min(ax.get_ylim()[0], 90), 100.5)
        return _legend(_dated(ax)) if by else _dated(ax)

    def cost(
        self, prices: Mapping[str, float], every: Every = "month", *, ax: Axes | None = None
    ) -> Axes:
        """What it cost per period, stacked by action; the unit is that of the prices."""
        made = self._of.cost(prices, every)
        ax = _axes(ax, "Cost of succeeded jobs", f"cost per {every}")
        wide = made.pivot_table(
            index="period", columns="action", values="cost", aggfunc="sum", observed=True
        ).fillna(0)
        most = wide.sum().sort_values(ascending=False).index[:MOST]
        parts = {
            str(action): (wide[action], colour)
            for action, colour in zip(most, COLOURS, strict=False)
        }
        return _stacked(ax, pd.Series(wide.index), parts, every)


def drawn(frame: pd.DataFrame, plot: str, every: Every = "day") -> bytes:
    """A plot of a history as PNG, transparent around. It can be drawn in any thread: no pyplot
    takes part.
    """
    with needing("matplotlib", "lab"):
        from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.2), layout="constrained", facecolor="none")
    draw = getattr(Plots(Analyses(frame)), plot)
    periods = {"every": every} if "every" in inspect.signature(draw).parameters else {}
    draw(**periods, ax=figure.subplots())
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=130, metadata={"Software": None})
    return out.getvalue()


def _axes(ax: Axes | None, title: str, unit: str) -> Axes:
    """Axes to draw on, dressed. New ones stand on no ground of their own: the page's shows
    through.
    """
    if ax is None:
        with needing("matplotlib", "lab"):
            import matplotlib.pyplot as plt

        figure, ax = plt.subplots(figsize=(7.2, 3.2), layout="constrained")
        figure.set_facecolor("none")
    ax.set_facecolor("none")
    ax.set_title(title, loc="left", color=INK, fontsize=11, fontweight="bold")
    ax.set_ylabel(unit, color=INK)
    ax.xaxis.label.set_color(INK)
    ax.tick_params(colors=INK, labelsize=9)
    ax.grid(axis="both", color=INK, alpha=0.2, linewidth=0.6)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
    return ax


def _stacked(ax: Axes, periods: Any, parts: Mapping[str, tuple[Any, str]], every: str) -> Axes:
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
    return _legend(_dated(ax))


def _dated(ax: Axes) -> Axes:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    low, high = ax.dataLim.intervalx
    if high == low:  # a single period; days to the left and right of it, else there would be years
        ax.set_xlim(low - 0.5, low + 0.5)
    where: Any = AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(where)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(where))  # type: ignore[no-untyped-call]
    ax.xaxis.get_offset_text().set_color(INK)
    ax.set_xlabel("UTC")
    return ax


def _legend(ax: Axes) -> Axes:
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
            labelcolor=INK,
            fontsize=8,
            ncols=4,
            handlelength=1.2,
            columnspacing=1,
            **place,
        )
    return ax


def _lines(made: pd.DataFrame, by: str | None) -> list[tuple[str, pd.DataFrame]]:
    """One frame per word, the most frequent words first."""
    if by is None:
        return [("", made)]
    words = made.groupby(by, observed=True)["jobs"].sum().sort_values(ascending=False).index[:MOST]
    return [(str(word), made[made[by] == word]) for word in words]


def _most(made: pd.DataFrame, figure: str) -> pd.DataFrame:
    return made.sort_values(figure, ascending=False, kind="stable").head(MOST)


def _fonts() -> list[str]:
    """The usual font, and behind it those of this machine that can write Chinese: services give
    reasons in it.
    """
    from matplotlib import font_manager, rcParams

    there = set(font_manager.get_font_names())
    return [*rcParams["font.family"], *(font for font in HAN if font in there)]


HAN = (
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


def _cut(text: str) -> str:
    return text if len(text) <= 48 else f"{text[:47]}…"


if hasattr(pd.DataFrame, "mjci"):  # of code that was loaded before this
    del pd.DataFrame.mjci  # type: ignore[attr-defined]
pd.api.extensions.register_dataframe_accessor("mjci")(Analyses)
