"""Draw the analyses of a history on matplotlib Axes.

Every plot takes the answer of the analysis of the same name from
an accessor, so that this module depends on no engine. matplotlib
is imported when something is drawn.
"""

from __future__ import annotations

import inspect
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import pandas as pd

from jupyter_mjci.errors import requires_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Period = Literal["hour", "day", "week", "month"]

# contrasts with a white page and with a dark theme
TEXT_COLOR = "#7d7d7d"

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
# lines or bars of one plot; the DataFrame has the rest
MAX_SERIES = 8
MAX_LABEL_LENGTH = 48
BAR_DAYS = {"hour": 1 / 24, "day": 1, "week": 7, "month": 28}

# Fonts that have Chinese characters, in which services give
# reasons.
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


class JobAnalyses(Protocol):
    """The analyses that are plotted: `df.mjci`, or the same of a lake."""

    def timeline(self, every: Period = ..., by: str | Sequence[str] = ...) -> pd.DataFrame: ...
    def throughput(self, every: Period = ..., by: str | Sequence[str] = ...) -> pd.DataFrame: ...
    def turnaround(
        self, every: Period | None = ..., by: str | Sequence[str] = ...
    ) -> pd.DataFrame: ...
    def queue_stats(
        self, every: Period | None = ..., by: str | Sequence[str] = ...
    ) -> pd.DataFrame: ...
    def failures(self, by: str | Sequence[str] = ..., limit: int | None = ...) -> pd.DataFrame: ...
    def success_rate(
        self, every: Period | None = ..., by: str | Sequence[str] = ...
    ) -> pd.DataFrame: ...
    def cost(
        self,
        prices: Mapping[str, float],
        every: Period | None = ...,
        by: str | Sequence[str] = ...,
    ) -> pd.DataFrame: ...


class PlotAccessor:
    """The analyses as plots: `df.mjci.plot.timeline()`.

    Every method takes the arguments of the analysis of the same
    name (`every`, `by`, `prices`) and `ax`, the Axes to draw on
    (by default those of a new figure), and returns the Axes.
    Raises SettingsError without matplotlib, which the extra `lab`
    installs.
    """

    def __init__(self, accessor: JobAnalyses) -> None:
        self._accessor = accessor

    def timeline(self, every: Period = "day", *, ax: Axes | None = None) -> Axes:
        """Plot jobs submitted per period, stacked by how they ended."""
        frame = self._accessor.timeline(every)
        ax = _prepare_axes(ax, "Jobs submitted", f"jobs per {every}")
        ax.locator_params(axis="y", integer=True)
        series = {name: frame[name] for name in STATUS_COLORS}
        return _stack_bars(ax, frame["period"], series, list(STATUS_COLORS.values()), every)

    def throughput(self, every: Period = "hour", *, ax: Axes | None = None) -> Axes:
        """Plot jobs ended per hour."""
        frame = self._accessor.throughput(every)
        ax = _prepare_axes(ax, "Throughput", f"jobs ended per hour (by {every})")
        periods = frame["period"]
        rate = frame["per_hour"]
        ax.fill_between(periods, rate, color=PALETTE[0], alpha=0.25, linewidth=0)
        ax.plot(periods, rate, color=PALETTE[0], linewidth=1.2)
        return _format_dates(ax)

    def turnaround(self, by: str = "action", *, ax: Axes | None = None) -> Axes:
        """Plot the time from submission to success: 50 % and 95 % of the jobs within."""
        frame = _select_top(self._accessor.turnaround(by=by), "jobs").iloc[::-1]
        ax = _prepare_axes(ax, "From submission to success", "")
        names = frame[by].fillna("?")
        ax.barh(names, frame["p95"], color=PALETTE[0], alpha=0.3, label="95 % within")
        ax.barh(names, frame["p50"], color=PALETTE[0], label="50 % within")
        ax.set_xlabel("seconds")
        return _add_legend(ax)

    def queue_stats(
        self, every: Period = "day", by: str = "action", *, ax: Axes | None = None
    ) -> Axes:
        """Plot the time in the queue: 50 % of the jobs within the line, 95 % within the shade."""
        frame = self._accessor.queue_stats(every, by)
        ax = _prepare_axes(ax, "Time in the queue", "seconds: 50 % within (line), 95 % (shade)")
        for color, (name, series) in zip(PALETTE, _split_series(frame, by), strict=False):
            periods = series["period"]
            half = series["queue_time_p50"]
            most = series["queue_time_p95"]
            ax.fill_between(periods, half, most, color=color, alpha=0.15, linewidth=0)
            ax.plot(periods, half, color=color, linewidth=1.6, label=name)
        ax.set_ylim(bottom=0)
        return _add_legend(_format_dates(ax))

    def failures(self, by: str = "reason", *, ax: Axes | None = None) -> Axes:
        """Plot the most frequent reasons of failures."""
        frame = _select_top(self._accessor.failures(by), "jobs").iloc[::-1]
        ax = _prepare_axes(ax, f"Failures by {by}", "")
        names = [_truncate(name) for name in frame[by].fillna("unknown")]
        bars = ax.barh(names, frame["jobs"], color=FAILED_COLOR)
        shares = [f"{share:.0%}" for share in frame["share"]]
        ax.bar_label(bars, shares, padding=4, color=TEXT_COLOR)
        ax.set_xlabel("jobs")
        for label in ax.get_yticklabels():
            label.set_fontfamily(_list_fonts())
        return ax

    def success_rate(
        self, every: Period = "day", by: str | None = None, *, ax: Axes | None = None
    ) -> Axes:
        """Plot the share of ended jobs that succeeded."""
        frame = self._accessor.success_rate(every, by or ())
        ax = _prepare_axes(ax, "Success rate", f"% of jobs ended (by {every})")
        for color, (name, series) in zip(PALETTE, _split_series(frame, by), strict=False):
            percent = series["success_rate"] * 100
            ax.plot(series["period"], percent, color=color, linewidth=1.6, label=name)
        ax.set_ylim(min(ax.get_ylim()[0], 90), 100.5)
        _format_dates(ax)
        return _add_legend(ax) if by else ax

    def cost(
        self, prices: Mapping[str, float], every: Period = "month", *, ax: Axes | None = None
    ) -> Axes:
        """Plot the cost per period, stacked by action, in the unit of the prices."""
        frame = self._accessor.cost(prices, every)
        ax = _prepare_axes(ax, "Cost of succeeded jobs", f"cost per {every}")
        table = frame.pivot_table(
            index="period", columns="action", values="cost", aggfunc="sum", observed=True
        ).fillna(0)
        actions = table.sum().sort_values(ascending=False).index[:MAX_SERIES]
        series = {str(action): table[action] for action in actions}
        return _stack_bars(ax, pd.Series(table.index), series, PALETTE, every)


def render_png(frame: pd.DataFrame, plot: str, every: Period = "day") -> bytes:
    """Draw a plot of a DataFrame of jobs as a PNG with transparent background.

    Safe in any thread: pyplot, which has global state, is not
    used.

    Args:
        frame: the jobs
        plot: name of the plot: timeline, …
        every: the period, where the plot has one
    """
    with requires_extra("matplotlib", "lab"):
        from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.2), layout="constrained", facecolor="none")
    draw = getattr(frame.mjci.plot, plot)
    arguments = {"every": every} if "every" in inspect.signature(draw).parameters else {}
    draw(**arguments, ax=figure.subplots())
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=130, metadata={"Software": None})
    return file.getvalue()


def _prepare_axes(ax: Axes | None, title: str, unit: str) -> Axes:
    """Style Axes; make new ones where none are given. Backgrounds stay transparent."""
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


def _stack_bars(
    ax: Axes,
    periods: pd.Series[pd.Timestamp],
    series: Mapping[str, pd.Series[float]],
    colors: Sequence[str],
    every: Period,
) -> Axes:
    bottom = np.zeros(len(periods))
    width = BAR_DAYS[every] * 0.88
    for color, (name, values) in zip(colors, series.items(), strict=False):
        height = values.to_numpy("float64", na_value=0)
        if height.any():
            ax.bar(periods, height, width, bottom, color=color, label=name, align="edge")
        bottom += height
    if len(periods) == 1:
        ax.margins(x=2)  # or the bar would fill the plot
    return _add_legend(_format_dates(ax))


def _format_dates(ax: Axes) -> Axes:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    low, high = ax.dataLim.intervalx
    if high == low:
        # A single period: without limits, the axis would span
        # years.
        ax.set_xlim(low - 0.5, low + 0.5)
    locator = AutoDateLocator(minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    ax.xaxis.get_offset_text().set_color(TEXT_COLOR)
    ax.set_xlabel("UTC")
    return ax


def _add_legend(ax: Axes) -> Axes:
    """Add a legend above the plot, opposite the title, where it covers no data."""
    labels = ax.get_legend_handles_labels()[1]
    if labels:
        ax.legend(
            frameon=False,
            labelcolor=TEXT_COLOR,
            fontsize=8,
            ncols=4,
            handlelength=1.2,
            columnspacing=1,
            loc="lower right",
            bbox_to_anchor=(1.01, 0.99),
            borderaxespad=0.2,
        )
    return ax


def _split_series(frame: pd.DataFrame, by: str | None) -> list[tuple[str, pd.DataFrame]]:
    """Return one DataFrame per value of a column, the most frequent values first."""
    if by is None:
        return [("", frame)]
    totals = frame.groupby(by, observed=True)["jobs"].sum().sort_values(ascending=False)
    return [(str(name), frame[frame[by] == name]) for name in totals.index[:MAX_SERIES]]


def _select_top(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    return frame.sort_values(metric, ascending=False, kind="stable").head(MAX_SERIES)


def _list_fonts() -> list[str]:
    """Return the default fonts, then the installed ones with Chinese characters."""
    from matplotlib import font_manager, rcParams

    installed = set(font_manager.get_font_names())
    return [*rcParams["font.family"], *(font for font in CJK_FONTS if font in installed)]


def _truncate(text: str) -> str:
    return text if len(text) <= MAX_LABEL_LENGTH else f"{text[: MAX_LABEL_LENGTH - 1]}…"
