"""Ranges of time, in which a query goes through a lake that is larger than memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from jupyter_mjci.history.lake.table import list_add_actions
from jupyter_mjci.history.queries import Query

if TYPE_CHECKING:
    from deltalake import DeltaTable

# jobs of one step of a query that groups by period
QUERY_BATCH_SIZE = 2_500_000


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A range of time.

    Args:
        time_column: which of a job's times it is about
        begin: the first time; None is open
        end: the time before which it ends; None is open
    """

    time_column: str
    begin: datetime | None = None
    end: datetime | None = None

    @property
    def condition(self) -> str:
        """The SQL that holds for jobs in the range."""
        condition = f"{self.time_column} IS NOT NULL"
        if self.begin is not None:
            condition += f" AND {self.time_column} >= TIMESTAMPTZ '{self.begin}'"
        if self.end is not None:
            condition += f" AND {self.time_column} < TIMESTAMPTZ '{self.end}'"
        return condition

    def overlaps(self, first: datetime | None, last: datetime | None) -> bool:
        """Return whether a time between these two may lie in the range; None is unknown."""
        if self.begin is not None and last is not None and _ensure_utc(last) < self.begin:
            return False
        return self.end is None or first is None or _ensure_utc(first) < self.end


def _ensure_utc(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def split_time_ranges(table: DeltaTable, query: Query) -> list[TimeRange]:
    """Return ranges of about QUERY_BATCH_SIZE jobs each.

    They begin where a period begins, so that each group lies in
    one of them; a query without periods has one range.
    """
    edges: list[datetime] = []
    if query.period:
        rows: Counter[str] = Counter()
        for month, records in list_add_actions(table, "partition.month", "num_records"):
            rows[month] += records or 0
        total = 0
        for month in sorted(rows):
            if total and total + rows[month] > QUERY_BATCH_SIZE:
                edges.append(_get_range_start(month, query))
                total = 0
            total += rows[month]
    # Two months may lie in one quarter.
    inner = [edge for edge in dict.fromkeys(edges) if _lies_within(edge, query)]
    bounds = [query.since, *inner, query.until]
    return [TimeRange(query.time_column, begin, end) for begin, end in pairwise(bounds)]


def _lies_within(edge: datetime, query: Query) -> bool:
    is_after = query.since is None or edge > query.since
    return is_after and (query.until is None or edge < query.until)


def _get_range_start(month: str, query: Query) -> datetime:
    """Return the start of the period in which a month starts, in the query's time zone."""
    assert query.period is not None
    first = datetime.fromisoformat(f"{month}-01")
    if query.period == "quarter":
        first = first.replace(month=(first.month - 1) // 3 * 3 + 1)
    elif query.period == "week":
        first -= timedelta(days=first.weekday())
    local = first.replace(tzinfo=ZoneInfo(query.tz))
    if query.period == "hour":
        local = local.replace(tzinfo=UTC)
    return local.astimezone(UTC)
