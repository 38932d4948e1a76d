"""Cut times into hours, days, ISO weeks, months and quarters of a time zone.

Engines group by naive starts of periods; here these become aware
timestamps, and periods without jobs are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta, tzinfo
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

import narwhals as nw
import numpy as np
import pandas as pd

from jupyter_mjci.errors import InvalidRequest, suggest_similar

Period = Literal["hour", "day", "week", "month", "quarter"]

PERIODS: tuple[Period, ...] = get_args(Period)
# What other libraries call them.
_SPELLINGS = {
    "h": "hour",
    "hourly": "hour",
    "d": "day",
    "daily": "day",
    "date": "day",
    "w": "week",
    "weekly": "week",
    "m": "month",
    "me": "month",
    "ms": "month",
    "monthly": "month",
    "q": "quarter",
    "qe": "quarter",
    "qs": "quarter",
    "quarterly": "quarter",
}
_TRUNCATIONS = {"hour": "1h", "day": "1d", "month": "1mo", "quarter": "1q"}
# from the start of a period to the start of the next one
_OFFSETS: dict[str, pd.offsets.BaseOffset] = {
    "day": pd.offsets.Day(1),
    "week": pd.offsets.Day(7),
    "month": pd.offsets.MonthBegin(1),
    "quarter": pd.offsets.QuarterBegin(1, startingMonth=1),
}
# rows to which periods without jobs may extend a result
MAX_COMPLETED_ROWS = 1_000_000


def parse_period(every: str) -> Period:
    """Parse a period as users write it: "day", "Days", "daily", "D".

    Raises:
        InvalidRequest: there is no such period
    """
    word = str(every).strip().casefold()
    name = _SPELLINGS.get(word, word)
    name = name if name in PERIODS else name.removesuffix("s")
    if name not in PERIODS:
        raise InvalidRequest(
            f"{every!r} is not a valid period.",
            detail=suggest_similar(word, PERIODS),
            hint=f"every is one of {', '.join(PERIODS)}.",
        )
    return name


def parse_timezone(tz: str | tzinfo) -> str:
    """Return the name of a time zone.

    Args:
        tz: an IANA name ("Asia/Shanghai"), or a ZoneInfo

    Raises:
        InvalidRequest: there is no such time zone
    """
    name = str(tz)
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InvalidRequest(
            f"{name!r} is not a known time zone.",
            hint='Give an IANA name: "Asia/Shanghai", "Europe/Berlin", "UTC".',
        ) from None
    return name


def build_period(time: nw.Expr, local_time: nw.Expr, period: Period) -> nw.Expr:
    """Return the start of the period that a time lies in.

    Args:
        time: the time in UTC
        local_time: the same on the clocks of the time zone
        period: hours start in UTC, since clocks show one hour
            twice a year; all others in local time
    """
    if period == "hour":
        return time - (local_time - local_time.dt.truncate("1h"))
    if period == "week":
        # DuckDB truncates to one unit only, and narwhals has no
        # "1w" for every engine.
        day = local_time.dt.truncate("1d")
        return day - nw.lit(timedelta(days=1)) * (day.dt.weekday() - 1)
    return local_time.dt.truncate(_TRUNCATIONS[period])


def localize(starts: pd.Series, period: Period, tz: str) -> pd.Series:
    """Return naive starts of periods, as engines give them, as aware times."""
    if period == "hour":
        aware: pd.Series[Any] = starts.dt.tz_localize("UTC").dt.tz_convert(tz)
        return aware
    return _localize_naive(starts, tz)


def _localize_naive(times: pd.Series, tz: str) -> pd.Series:
    # A day starts at the first midnight where there are two, and
    # after the gap where there is none.
    is_first = np.ones(len(times), dtype=bool)
    aware: pd.Series[Any] = times.dt.tz_localize(
        tz, ambiguous=is_first, nonexistent="shift_forward"
    )
    return aware


def get_ends(starts: pd.Series, period: Period) -> pd.Series:
    """Return the ends of periods: days of a change of clocks are shorter or longer."""
    if period == "hour":
        return starts + pd.Timedelta(hours=1)
    tz = str(starts.dt.tz)
    naive = starts.dt.tz_localize(None)
    # A start that was moved out of a gap of the clocks.
    naive = naive.dt.floor("D") + _OFFSETS[period]
    return _localize_naive(naive.astype("datetime64[us]"), tz)


def list_periods(first: pd.Timestamp, last: pd.Timestamp, period: Period) -> pd.Series:
    """Return the starts of all periods from one start to another."""
    tz = str(first.tz)
    if period == "hour":
        starts: pd.Series[Any] = pd.Series(pd.date_range(first, last, freq="h"))
    else:
        days = pd.date_range(
            first.tz_localize(None).floor("D"),
            last.tz_localize(None).floor("D"),
            freq=_OFFSETS[period],
        )
        starts = _localize_naive(pd.Series(days), tz)
    in_microseconds: pd.Series[Any] = starts.dt.as_unit("us")
    return in_microseconds


def complete_periods(
    frame: pd.DataFrame, period: Period, keys: Sequence[str], counts: Sequence[str]
) -> pd.DataFrame:
    """Add rows for the periods in which a group has no jobs.

    Args:
        frame: a result with the column `period`, aware
        period: the kind of period
        keys: the other columns that identify a group
        counts: columns that are 0 in the added rows; the others
            are missing

    Raises:
        InvalidRequest: there would be too many rows
    """
    if frame.empty:
        return frame
    starts = frame["period"]
    periods = list_periods(starts.min(), starts.max(), period)
    # Clocks that change by half an hour start other hours.
    periods = pd.concat([periods, starts]).drop_duplicates().sort_values(ignore_index=True)
    groups = frame[list(keys)].drop_duplicates() if keys else pd.DataFrame(index=[0])
    rows = len(periods) * len(groups)
    if rows > MAX_COMPLETED_ROWS:
        raise InvalidRequest(
            f"{len(groups):,} groups over {len(periods):,} periods ({period}) are {rows:,} rows.",
            hint="Choose a longer period or fewer groups, or leave periods without jobs out:"
            " complete=False.",
        )
    if rows == len(frame):
        return frame
    every = pd.DataFrame({"period": periods}).merge(groups, how="cross")
    completed = every.merge(frame, how="left", on=["period", *keys])
    filled = {name: completed[name].fillna(0).astype(frame[name].dtype) for name in counts}
    return completed.assign(**filled)[list(frame.columns)]


def mark_partial(starts: pd.Series) -> pd.Series:
    """Return whether a period is the first or the last one: a history begins and ends inside."""
    return starts.isin([starts.min(), starts.max()])


def parse_seconds(duration: float | str | timedelta) -> float:
    """Return a positive duration in seconds.

    Args:
        duration: seconds, a text such as "90s", "2 min" or "1h", or a
            `timedelta`

    Raises InvalidRequest if it is none of these, or not positive.
    """
    is_number = isinstance(duration, (int, float))
    try:
        seconds = pd.Timedelta(duration, unit="s" if is_number else None).total_seconds()
    except (ValueError, TypeError):
        seconds = 0.0
    if not seconds > 0:
        raise InvalidRequest(
            f"{duration!r} is not a positive duration.", hint='60 (seconds), "90s", "2 min", "1h"'
        )
    return seconds
