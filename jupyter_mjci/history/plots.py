"""Draw the analyses of a history on matplotlib Axes.

Every plot takes the answer of the analysis of the same name from
an accessor, so that this module depends on no engine. matplotlib
is imported when something is drawn.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta, tzinfo
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd

from jupyter_mjci.client.prices import Prices
from jupyter_mjci.errors import requires_extra
from jupyter_mjci.history.lineage import select_tree
from jupyter_mjci.history.normalization import NONE
from jupyter_mjci.history.periods import PERIODS, Period, get_ends, parse_period, parse_seconds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# No gray has a contrast of 4.5:1 on a white page and in a dark
# theme, so figures have a ground of their own.
GROUND_COLOR = "#ffffff"
TEXT_COLOR = "#595959"

# Colours that colour-blind readers can tell apart (Okabe and
# Ito).
SUCCEEDED_COLOR = "#009e73"
FAILED_COLOR = "#d55e00"
CANCELLED_COLOR = "#999999"
OPEN_COLOR = "#56b4e9"
PALETTE = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a500", "#8a6fdf",
)  # fmt: skip
STATUS_COLORS = {
    "succeeded": SUCCEEDED_COLOR,
    "failed": FAILED_COLOR,
    "cancelled": CANCELLED_COLOR,
    "open": OPEN_COLOR,
}
# lines or bars of one plot; "other" sums up the rest
MAX_SERIES = 8
OTHER_COLOR = "#b0b0b0"
MAX_LABEL_LENGTH = 48
MISSING_GLYPH = "□"
MAX_TREE_ROWS = 40  # jobs of a drawn tree
ROW_HEIGHT = 0.15  # inches of a row of it
BAR_WIDTH = 0.88  # of a period

# Fonts that have Chinese characters, in which services give
# reasons, and emoji, which people write into prompts.
FALLBACK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans SC",
    "Source Han Sans SC",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "SimHei",
    "Microsoft YaHei",
    "PingFang SC",
    "Droid Sans Fallback",
    "Noto Emoji",
    "Symbola",
    "Segoe UI Emoji",
)


Analysis = Callable[..., pd.DataFrame]


class JobAnalyses(Protocol):
    """The analyses that are plotted: `df.mjci`, or the same of a lake."""

    @property
    def timeline(self) -> Analysis: ...
    @property
    def throughput(self) -> Analysis: ...
    @property
    def turnaround(self) -> Analysis: ...
    @property
    def queue_stats(self) -> Analysis: ...
    @property
    def failures(self) -> Analysis: ...
    @property
    def success_rate(self) -> Analysis: ...
    @property
    def sla(self) -> Analysis: ...
    @property
    def cost(self) -> Analysis: ...
    @property
    def savings(self) -> Analysis: ...
    @property
    def durations(self) -> Analysis: ...
    @property
    def concurrency(self) -> Analysis: ...
    @property
    def retries(self) -> Analysis: ...
    @property
    def outliers(self) -> Analysis: ...
    @property
    def lineage(self) -> Analysis: ...
    @property
    def prompts(self) -> Analysis: ...
    @property
    def words(self) -> Analysis: ...
    @property
    def compare(self) -> Analysis: ...


class PlotAccessor:
    """The analyses as plots: `df.mjci.plot.timeline()`.

    Every method takes the arguments of the analysis of the same
    name (`every`, `by`, `prices`, `statuses`, `tz`, `sizes`,
    `factor`, `root`, `limit`, `before`, `after`) and `ax`, the
    Axes to draw on (by default those of a new figure), and returns
    the Axes. A
    history within one period is drawn by the next finer one.
    Raises SettingsError without matplotlib, which the extra `lab`
    installs.
    """

    def __init__(self, accessor: JobAnalyses) -> None:
        self._accessor = accessor

    def timeline(
        self, every: Period = "day", *, tz: str | tzinfo = "UTC", ax: Axes | None = None
    ) -> Axes:
        """Plot jobs submitted per period, stacked by how they ended."""
        frame, period = _find_period(lambda every: self._accessor.timeline(every, tz=tz), every)
        ax = _prepare_axes(ax, "Jobs submitted", f"jobs per {period}")
        ax.locator_params(axis="y", integer=True)
        series = {name: frame[name] for name in STATUS_COLORS}
        return _stack_bars(ax, frame["period"], series, list(STATUS_COLORS.values()), period)

    def throughput(
        self, every: Period = "hour", *, tz: str | tzinfo = "UTC", ax: Axes | None = None
    ) -> Axes:
        """Plot jobs ended per hour."""
        frame, period = _find_period(lambda every: self._accessor.throughput(every, tz=tz), every)
        ax = _prepare_axes(ax, "Throughput", f"jobs ended per hour (by {period})")
        edges, rate = _get_steps(frame["period"], frame["per_hour"], period)
        ax.fill_between(
            edges,
            rate,
            color=PALETTE[0],
            alpha=0.25,
            linewidth=0,
            step="post",
        )
        ax.plot(
            edges,
            rate,
            color=PALETTE[0],
            linewidth=1.2,
            drawstyle="steps-post",
        )
        ax.set_ylim(bottom=0)
        return _finish(ax, frame["period"])

    def turnaround(
        self, by: str = "action", *, tz: str | tzinfo = "UTC", ax: Axes | None = None
    ) -> Axes:
        """Plot the time from submission to success: 50 % and 95 % of the jobs within."""
        result = self._accessor.turnaround(by=by, tz=tz)
        return _draw_percentiles(ax, "From submission to success", result, by)

    def queue_stats(
        self,
        every: Period = "day",
        by: str = "action",
        *,
        tz: str | tzinfo = "UTC",
        ax: Axes | None = None,
    ) -> Axes:
        """Plot the time in the queue: 50 % of the jobs within the line, 95 % within the shade."""
        frame, _ = _find_period(lambda every: self._accessor.queue_stats(every, by, tz=tz), every)
        ax = _prepare_axes(ax, "Time in the queue", "seconds: 50 % within (line), 95 % (shade)")
        for color, (name, series) in zip(PALETTE, _split_series(frame, by), strict=False):
            half = series["queue_time_p50"]
            most = series["queue_time_p95"]
            ax.fill_between(
                series["period"],
                half,
                most,
                color=color,
                alpha=0.15,
                linewidth=0,
            )
            _draw_line(ax, series["period"], half, color, name)
        ax.set_ylim(bottom=0)
        return _finish(ax, frame["period"])

    def failures(
        self, by: str = "reason", *, tz: str | tzinfo = "UTC", ax: Axes | None = None
    ) -> Axes:
        """Plot the most frequent reasons of failures; "other" sums up the rest."""
        result = self._accessor.failures(by, None, tz=tz)
        frame = _fold_rest(result, by, ["jobs", "share"]).iloc[::-1]
        ax = _prepare_axes(ax, f"Failures by {by}", "")
        bars = ax.barh(_label_rows(ax, frame[by]), frame["jobs"], color=FAILED_COLOR)
        shares = [f"{share:.0%}" for share in frame["share"]]
        ax.bar_label(bars, shares, padding=4, color=TEXT_COLOR)
        ax.margins(x=0.1)
        ax.set_xlabel("jobs")
        return _finish(ax)

    def success_rate(
        self,
        every: Period = "day",
        by: str | None = None,
        *,
        tz: str | tzinfo = "UTC",
        ax: Axes | None = None,
    ) -> Axes:
        """Plot the share of ended jobs that succeeded; a gap is a period without any."""
        frame, period = _find_period(
            lambda every: self._accessor.success_rate(every, by or (), tz=tz), every
        )
        ax = _prepare_axes(ax, "Success rate", f"% of jobs ended (by {period})")
        for color, (name, series) in zip(PALETTE, _split_series(frame, by), strict=False):
            _draw_line(ax, series["period"], series["success_rate"] * 100, color, name)
        ax.set_ylim(min(ax.get_ylim()[0], 90), 100.5)
        return _finish(ax, frame["period"])

    def sla(
        self,
        within: float | str | timedelta,
        every: Period = "day",
        by: str | None = None,
        *,
        tz: str | tzinfo = "UTC",
        ax: Axes | None = None,
    ) -> Axes:
        """Plot the share of ended jobs that succeeded within a time after their submission."""
        frame, period = _find_period(
            lambda every: self._accessor.sla(within, every, by or (), tz=tz), every
        )
        ax = _prepare_axes(
            ax, f"Succeeded within {parse_seconds(within):g} s", f"% of jobs ended (by {period})"
        )
        for color, (name, series) in zip(PALETTE, _split_series(frame, by), strict=False):
            _draw_line(ax, series["period"], series["share"] * 100, color, name)
        ax.set_ylim(-1, 101)
        return _finish(ax, frame["period"])

    def cost(
        self,
        prices: Mapping[str, float] | Prices | None = None,
        every: Period = "month",
        *,
        of: str = "jobs",
        statuses: str | Sequence[str] | None = None,
        tz: str | tzinfo = "UTC",
        ax: Axes | None = None,
    ) -> Axes:
        """Plot the cost per period, stacked by action, in the unit of the prices.

        "other" sums up the actions that have no room; a note
        names those without a price.
        """
        frame, period = _find_period(
            lambda every: self._accessor.cost(prices, every, of=of, statuses=statuses, tz=tz), every
        )
        ax = _prepare_axes(ax, f"Cost of {of}", f"cost per {period}")
        priced = frame[frame["cost"].notna()]
        table = priced.pivot_table(index="period", columns="action", values="cost", aggfunc="sum")
        periods = pd.Series(frame["period"].unique())
        table = table.reindex(periods).fillna(0.0)
        ordered = table.sum().sort_values(ascending=False).index
        series = {str(action): table[action] for action in ordered[:MAX_SERIES]}
        rest = ordered[MAX_SERIES:]
        if len(rest):
            series[f"other ({len(rest)})"] = table[rest].sum(axis=1)
        _note_unpriced(ax, frame)
        return _stack_bars(ax, periods, series, (*PALETTE, OTHER_COLOR), period)

    def savings(
        self,
        by: str = "rule",
        *,
        sizes: Mapping[str, int] | pd.DataFrame | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Plot the bytes of inputs and of results; "other" sums up the rest."""
        result = self._accessor.savings(by, sizes=sizes)
        totals = ["bytes_in", "bytes_out"]
        frame = _fold_rest(result[result["sized"] > 0], by, totals).iloc[::-1]
        ax = _prepare_axes(ax, "Bytes in and out", "")
        rows = np.array(_label_rows(ax, frame[by]))
        ax.barh(
            rows + 0.2,
            frame["bytes_in"] / 1e6,
            0.4,
            color=PALETTE[4],
            label="in",
        )
        ax.barh(
            rows - 0.2,
            frame["bytes_out"] / 1e6,
            0.4,
            color=PALETTE[0],
            label="out",
        )
        ax.set_xlabel("MB")
        return _finish(ax)

    def durations(self, of: str = "total", by: str = "action", *, ax: Axes | None = None) -> Axes:
        """Plot within how many seconds 50 % and 95 % end, with the jobs that have not ended.

        A bar is missing where too few have ended to tell.
        """
        result = self._accessor.durations(of, by)
        return _draw_percentiles(ax, f"Duration ({of}), open jobs included", result, by)

    def concurrency(
        self, every: Period = "hour", *, tz: str | tzinfo = "UTC", ax: Axes | None = None
    ) -> Axes:
        """Plot how many jobs are running and queued at the end of each period, stacked."""
        frame, period = _find_period(lambda every: self._accessor.concurrency(every, tz=tz), every)
        ax = _prepare_axes(ax, "Jobs at a time", f"jobs at the end of each {period}")
        moments = frame["running"] if frame.empty else get_ends(frame["period"], period)
        bottom = np.zeros(len(frame))
        for name, color in (("running", PALETTE[0]), ("queued", PALETTE[1])):
            top = bottom + frame[name].to_numpy("float64")
            ax.fill_between(
                moments, bottom, top, color=color, alpha=0.6, linewidth=0, label=name, step="pre"
            )
            bottom = top
        ax.set_ylim(bottom=0)
        return _finish(ax, frame["period"])

    def retries(self, by: str = "action", *, ax: Axes | None = None) -> Axes:
        """Plot what became of requests that failed at first; "other" sums up the rest."""
        result = self._accessor.retries(by)
        result = result.sort_values("failed", ascending=False, kind="stable")
        frame = _fold_rest(result, by, ["failed", "retried", "recovered"]).iloc[::-1]
        ax = _prepare_axes(ax, "Requests that failed at first", "")
        rows = _label_rows(ax, frame[by])
        parts = {
            "recovered": (frame["recovered"], SUCCEEDED_COLOR),
            "retried in vain": (frame["retried"] - frame["recovered"], FAILED_COLOR),
            "not retried": (frame["failed"] - frame["retried"], CANCELLED_COLOR),
        }
        left = np.zeros(len(frame))
        for label, (values, color) in parts.items():
            width = values.to_numpy("float64")
            ax.barh(
                rows,
                width,
                left=left,
                color=color,
                label=label,
            )
            left += width
        ax.set_xlabel("requests")
        return _finish(ax)

    def outliers(
        self, by: str = "action", of: str = "total", *, factor: float = 3.0, ax: Axes | None = None
    ) -> Axes:
        """Plot the jobs that took far longer than others of their group, by submission."""
        frame = self._accessor.outliers(by, of, factor=factor, limit=None)
        ax = _prepare_axes(ax, f"Outliers ({of})", "seconds")
        names = frame[by].value_counts().index
        for number, name in enumerate(names[:MAX_SERIES]):
            rows = frame[frame[by] == name]
            is_last = number == MAX_SERIES - 1 and len(names) > MAX_SERIES
            if is_last:
                rows = frame[~frame[by].isin(names[: MAX_SERIES - 1])]
            label = f"other ({len(names) - number})" if is_last else _make_label(name)
            color = OTHER_COLOR if is_last else PALETTE[number]
            ax.plot(
                rows["submitted"],
                rows["seconds"],
                "o",
                color=color,
                markersize=4,
                label=label,
            )
        ax.set_ylim(bottom=0)
        return _finish(ax, frame["submitted"])

    def lineage(self, root: str | None = None, *, ax: Axes | None = None) -> Axes:
        """Draw the tree of a job, by default the largest one: what was made of what."""
        tree = self._accessor.lineage(root)
        if root is None:
            tree = select_tree(tree, None)
        height = 0.8 + ROW_HEIGHT * min(len(tree), MAX_TREE_ROWS)
        ax = _prepare_axes(ax, "", "", height=max(height, 2.0))
        room = ax.get_window_extent().height / ax.figure.dpi / ROW_HEIGHT
        shown = tree.head(max(int(room), 1))
        note = f" ({len(shown)} of {len(tree)} jobs)" if len(shown) < len(tree) else ""
        ax = _prepare_axes(ax, f"What was made of what{note}", "")
        _draw_tree(ax, shown)
        ax.set_xlabel("generation")
        ax.locator_params(axis="x", integer=True)
        ax.grid(visible=False)
        return _finish(ax)

    def prompts(self, *, ax: Axes | None = None) -> Axes:
        """Plot how many prompts have each flag; "other" sums up the rest."""
        frame = self._accessor.prompts()
        flags = frame.columns.drop(["id", "text", "words"], errors="ignore")
        counts = frame[flags].notna().sum().sort_values(ascending=False, kind="stable")
        result = counts.rename_axis("flag").rename("jobs").reset_index()
        result["flag"] = "--" + result["flag"].astype(str)
        return _draw_counts(ax, "Flags of prompts", result, "flag")

    def words(self, limit: int = 20, *, ax: Axes | None = None) -> Axes:
        """Plot in how many prompts the most frequent words occur."""
        frame = self._accessor.words(limit).iloc[::-1]
        ax = _prepare_axes(ax, "Words of prompts", "")
        ax.barh(
            _label_rows(ax, frame["word"]),
            frame["jobs"],
            color=PALETTE[0],
        )
        ax.set_xlabel("jobs")
        return _finish(ax)

    def compare(
        self,
        before: tuple[str | date, str | date],
        after: tuple[str | date, str | date],
        *,
        ax: Axes | None = None,
    ) -> Axes:
        """Plot by how many percent each metric differs, with its interval of 95 %.

        What differs clearly is filled. Metrics that were 0 before
        have no percentage, and are named.
        """
        frame = self._accessor.compare(before, after).iloc[::-1]
        is_known = (frame["before"] != 0) & frame["difference"].notna()
        known = frame[is_known]
        ax = _prepare_axes(ax, "Differences of two periods", "")
        rows = _label_rows(ax, known["metric"])
        percent = 100 / known["before"].abs()
        ax.hlines(
            rows,
            known["low"] * percent,
            known["high"] * percent,
            color=PALETTE[0],
        )
        filled = np.where(known["is_clear"], PALETTE[0], "none")
        ax.scatter(
            known["difference"] * percent, rows, color=filled, edgecolors=PALETTE[0], zorder=3
        )
        ax.axvline(0, color=TEXT_COLOR, linewidth=0.8)
        ax.set_xlabel("% of before")
        _note(ax, "nothing to compare with: ", frame["metric"][~is_known])
        return _finish(ax)


def _draw_percentiles(ax: Axes | None, title: str, result: pd.DataFrame, by: str) -> Axes:
    """Draw the seconds within which 50 % and 95 % of each group's jobs end."""
    frame = _select_top(result, "jobs").iloc[::-1]
    ax = _prepare_axes(ax, title, "")
    rows = _label_rows(ax, frame[by], len(result) - len(frame))
    ax.barh(
        rows,
        frame["p95"],
        color=PALETTE[0],
        alpha=0.3,
        label="95 % within",
    )
    ax.barh(
        rows,
        frame["p50"],
        color=PALETTE[0],
        label="50 % within",
    )
    ax.set_xlabel("seconds")
    return _finish(ax)


def _draw_counts(ax: Axes | None, title: str, result: pd.DataFrame, by: str) -> Axes:
    frame = _fold_rest(result, by, ["jobs"]).iloc[::-1]
    ax = _prepare_axes(ax, title, "")
    ax.barh(
        _label_rows(ax, frame[by]),
        frame["jobs"],
        color=PALETTE[0],
    )
    ax.set_xlabel("jobs")
    return _finish(ax)


def _draw_tree(ax: Axes, tree: pd.DataFrame) -> None:
    """Draw jobs as dots, each row below the other, with lines to what they were made of."""
    rows = dict(zip(tree["id"], range(len(tree)), strict=True))
    depths = tree["depth"].tolist()
    for row, parent in enumerate(tree["parent"]):
        above = rows.get(parent)
        if above is not None and depths[row] > 0:
            x, y = [depths[above], depths[above], depths[row]], [above, row, row]
            ax.plot(
                x,
                y,
                color=TEXT_COLOR,
                linewidth=0.8,
                zorder=1,
            )
    statuses = tree["status"].astype(str).str.lower()
    colors = statuses.map(STATUS_COLORS).fillna(OPEN_COLOR)
    ax.scatter(
        depths,
        list(range(len(tree))),
        c=colors.tolist(),
        s=26,
        zorder=2,
    )
    texts = tree["subject"] if "subject" in tree else tree["id"]
    names = tree["action"].fillna("") if "action" in tree else [""] * len(tree)
    for row, (name, text) in enumerate(zip(names, texts, strict=True)):
        label = _truncate(" ".join([str(name), "" if pd.isna(text) else _make_label(text)]), 32)
        place: dict[str, Any] = {"xytext": (7, 0), "textcoords": "offset points", "va": "center"}
        ax.annotate(label, (depths[row], row), fontsize=7, color=TEXT_COLOR, **place)
    ax.set_yticks([])
    ax.invert_yaxis()
    # A label takes about a third of the width.
    ax.set_xlim(-0.2, max(max(depths, default=0) * 1.5, 1))


def render_plot(
    analyses: JobAnalyses,
    plot: str,
    *,
    file_format: str = "png",
    has_title: bool = True,
    **arguments: Any,
) -> bytes:
    """Draw a plot as a picture with transparent background.

    Safe in any thread: pyplot, which has global state, is not
    used.

    Args:
        analyses: `df.mjci`
        plot: name of the plot: timeline, …
        file_format: png or svg; texts of both are drawn, so that
            they need no fonts
        has_title: whether the plot's title is drawn
        arguments: of the plot; those that it does not have are
            left out
    """
    with requires_extra("matplotlib", "lab"):
        from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.2), layout="constrained", facecolor=GROUND_COLOR)
    draw = getattr(PlotAccessor(analyses), plot)
    ax = draw(**select_arguments(draw, arguments), ax=figure.subplots())
    if not has_title:
        ax.set_title("", loc="left")
    file = io.BytesIO()
    names = ("Software",) if file_format == "png" else ("Date", "Creator")
    figure.savefig(file, format=file_format, dpi=130, metadata=dict.fromkeys(names))
    return file.getvalue()


def select_arguments(function: Callable[..., Any], offered: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some arguments that a function has."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in offered.items() if name in known}


def plot_rate_distortion(summary: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot what rules keep of pictures against their bytes.

    Args:
        summary: a row per rule: rule, bytes, ssim
        ax: where to draw; by default new Axes
    """
    ax = _prepare_axes(ax, "Similarity against size", "SSIM (worst picture)")
    ax.set_xlabel("kB of all pictures")
    points = summary.dropna(subset=["ssim"]).sort_values("bytes")
    sizes = points["bytes"] / 1000
    best = points["ssim"].cummax() == points["ssim"]
    ax.plot(sizes[best], points["ssim"][best], color=PALETTE[0], linewidth=1.2)
    ax.scatter(sizes, points["ssim"], color=PALETTE[0], s=18)
    for rule, size, ssim in zip(points["rule"], sizes, points["ssim"], strict=True):
        ax.annotate(
            _make_label(rule)[-28:],
            (size, ssim),
            xytext=(5, -9),
            textcoords="offset points",
            fontsize=8,
            color=TEXT_COLOR,
        )
    return ax


def _prepare_axes(ax: Axes | None, title: str, unit: str, height: float = 3.2) -> Axes:
    """Style Axes; make new ones where none are given."""
    if ax is None:
        with requires_extra("matplotlib", "lab"):
            import matplotlib.pyplot as plt

        figure, ax = plt.subplots(figsize=(7.2, height), layout="constrained")
        figure.set_facecolor(GROUND_COLOR)
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


def _find_period(
    analyse: Callable[[Period], pd.DataFrame], every: Period
) -> tuple[pd.DataFrame, Period]:
    """Return an analysis by period; by a finer one as long as there is only one period."""
    period = parse_period(every)
    frame = analyse(period)
    finer = [name for name in PERIODS[: PERIODS.index(period)] if name != "week"]
    while finer and frame["period"].nunique() == 1:
        period = finer.pop()
        frame = analyse(period)
    return frame, period


def _get_steps(starts: pd.Series, values: pd.Series, period: Period) -> tuple[pd.Series, pd.Series]:
    """Return where a stepped line changes: the last step is as long as its period."""
    if starts.empty:
        return values, values
    ends = get_ends(starts, period)
    edges = pd.concat([starts, ends.iloc[-1:]], ignore_index=True)
    return edges, pd.concat([values, values.iloc[-1:]], ignore_index=True)


def _draw_line(ax: Axes, times: pd.Series, values: pd.Series, color: str, name: str) -> None:
    """Draw a line that is broken where values are missing; what stands alone is a dot."""
    known = values.notna()
    before = known.shift(1, fill_value=False)
    after = known.shift(-1, fill_value=False)
    is_alone = (known & ~before & ~after).to_numpy()
    ax.plot(
        times,
        values,
        color=color,
        linewidth=1.6,
        label=name,
        marker="o",
        markersize=4,
        markevery=is_alone.nonzero()[0].tolist(),
    )


def _stack_bars(
    ax: Axes,
    periods: pd.Series[pd.Timestamp],
    series: Mapping[str, pd.Series[float]],
    colors: Sequence[str],
    period: Period,
) -> Axes:
    bottom = np.zeros(len(periods))
    days = (get_ends(periods, period) - periods).dt.total_seconds() / 86_400
    width = (days * BAR_WIDTH).to_numpy()
    for color, (name, values) in zip(colors, series.items(), strict=False):
        height = values.to_numpy("float64", na_value=0)
        if height.any():
            label = _make_label(name)
            ax.bar(
                periods,
                height,
                width,
                bottom,
                color=color,
                label=label,
                align="edge",
            )
        bottom += height
    if len(periods) == 1:
        ax.margins(x=2)  # or the bar would fill the plot
    return _finish(ax, periods)


def _note_unpriced(ax: Axes, frame: pd.DataFrame) -> None:
    """Name the actions that have no price, and so no bar."""
    unpriced = frame[frame["cost"].isna() & (frame["jobs"] > 0)]
    if unpriced.empty:
        return
    _note(
        ax, "no price: ", sorted(unpriced["action"].unique()), f" ({unpriced['jobs'].sum():,} jobs)"
    )


def _note(ax: Axes, title: str, names: Iterable[Any], rest: str = "") -> None:
    """Write names at the top; nothing where there are none."""
    labels = [_make_label(name) for name in names]
    if not labels:
        return
    text = f"{title}{', '.join(labels[:6])}{rest}"
    ax.text(
        0.01,
        0.98,
        _truncate(text, 90),
        transform=ax.transAxes,
        va="top",
        fontsize=8,
        color=TEXT_COLOR,
    )


def _finish(ax: Axes, periods: pd.Series[pd.Timestamp] | None = None) -> Axes:
    """Format the axis of time, add the legend, and make every text safe to draw."""
    if periods is not None:
        _format_dates(ax, periods)
    _add_legend(ax)
    fonts = _list_fonts()
    legend = ax.get_legend()
    texts: list[Any] = [*ax.texts, *ax.get_yticklabels(), *(legend.get_texts() if legend else ())]
    for text in texts:
        text.set_fontfamily(fonts)
        # "$" is no formula.
        text.set_parse_math(False)
    return ax


def _format_dates(ax: Axes, periods: pd.Series[pd.Timestamp]) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    tz = periods.dt.tz
    low, high = ax.dataLim.intervalx
    if high == low:
        # A single period: without limits, the axis would span
        # years.
        ax.set_xlim(low - 0.5, low + 0.5)
    locator = AutoDateLocator(tz=tz, minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    formatter = ConciseDateFormatter(locator, tz=tz)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_formatter(formatter)
    ax.xaxis.get_offset_text().set_color(TEXT_COLOR)
    ax.set_xlabel(str(tz))


def _add_legend(ax: Axes) -> None:
    """Add a legend above the plot, opposite the title, where it covers no data."""
    labels = ax.get_legend_handles_labels()[1]
    if any(labels):
        ax.legend(
            frameon=False,
            labelcolor=TEXT_COLOR,
            fontsize=8,
            ncols=5,
            handlelength=1.2,
            columnspacing=1,
            loc="lower right",
            bbox_to_anchor=(1.01, 0.99),
            borderaxespad=0.2,
        )


def _split_series(frame: pd.DataFrame, by: str | None) -> list[tuple[str, pd.DataFrame]]:
    """Return one DataFrame per value of a column, the most frequent values first."""
    if by is None:
        return [("", frame)]
    totals = frame.groupby(by, observed=True)["jobs"].sum().sort_values(ascending=False)
    series = [(_make_label(name), frame[frame[by] == name]) for name in totals.index[:MAX_SERIES]]
    rest = len(totals) - len(series)
    if rest:
        # Quantiles and rates cannot be summed up.
        last, rows = series[-1]
        series[-1] = (f"{last} (+{rest} not shown)", rows)
    return series


def _select_top(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    return frame.sort_values(metric, ascending=False, kind="stable").head(MAX_SERIES)


def _fold_rest(frame: pd.DataFrame, by: str, metrics: list[str]) -> pd.DataFrame:
    """Return the largest rows, and the sum of all others as "other"."""
    if len(frame) <= MAX_SERIES:
        return frame
    top = frame.head(MAX_SERIES - 1)
    rest = frame.iloc[MAX_SERIES - 1 :]
    other = rest[metrics].sum().to_frame().T.assign(**{by: f"other ({len(rest)})"})
    kept = top[[by, *metrics]].astype({by: object})
    counts = {name: "int64" for name in metrics if name != "share"}
    return pd.concat([kept, other], ignore_index=True).astype(counts)


def _label_rows(ax: Axes, names: pd.Series, not_shown: int = 0) -> list[int]:
    """Label the rows of a bar chart; equal labels stay different rows."""
    rows = list(range(len(names)))
    ax.set_yticks(rows, [_make_label(name) for name in names])
    if not_shown:
        ax.set_ylabel(f"{not_shown} more not shown")
    return rows


def _make_label(name: Any) -> str:
    """Return a text as a label: in one line, short, and never hidden."""
    text = NONE if pd.isna(name) else " ".join(str(name).split())
    drawable = _list_drawable()
    text = "".join(char if ord(char) in drawable else MISSING_GLYPH for char in text)
    # matplotlib leaves labels that start with "_" out.
    return _truncate(f"\u200b{text}" if text.startswith("_") else text)


@cache
def _list_drawable() -> frozenset[int]:
    """Return the characters that one of the fonts has: of others matplotlib would warn."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    characters: set[int] = {0x200B}
    for font in _list_fonts():
        characters.update(get_font(findfont(FontProperties(family=[font]))).get_charmap())
    return frozenset(characters)


def _list_fonts() -> list[str]:
    """Return the default fonts, then the installed ones with Chinese characters and emoji."""
    from matplotlib import font_manager, rcParams

    _add_packaged_fonts()
    installed = set(font_manager.get_font_names())
    return [*rcParams["font.family"], *(font for font in FALLBACK_FONTS if font in installed)]


@cache
def _add_packaged_fonts() -> None:
    """Make the Chinese fonts of the extra `fonts` known to matplotlib, where it is installed."""
    from matplotlib import font_manager

    package = find_spec("mplfonts")
    if package is not None and package.origin is not None:
        for path in Path(package.origin).parent.glob("fonts/NotoSansCJK*"):
            font_manager.fontManager.addfont(str(path))


def _truncate(text: str, length: int = MAX_LABEL_LENGTH) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
