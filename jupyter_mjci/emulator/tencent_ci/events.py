"""What happens by itself and when; identifiers and times in the service's shape."""

from __future__ import annotations

import hashlib
import heapq
import math
import re
from datetime import datetime, timedelta, timezone
from typing import Protocol

from jupyter_mjci.emulator.xml import invalid_argument

NEVER = math.inf


CHINA_TZ = timezone(timedelta(hours=8))


def format_time(timestamp: float) -> str:
    """Format a time as `2024-05-01T10:00:00+0800`; `-` for what has not happened."""
    if not timestamp:
        return "-"
    return datetime.fromtimestamp(timestamp, CHINA_TZ).strftime("%Y-%m-%dT%H:%M:%S+0800")


def parse_time(value: str) -> float:
    """Parse the time of a query; the `+` of the zone may have been decoded to a blank.

    Raises:
        ErrorResponse: it is not a time
    """
    match = re.fullmatch(
        r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(Z|[+ -]\d\d:?\d\d)?", value.strip(), re.ASCII
    )
    try:
        if match:
            zone = (match[2] or "+0800").replace(" ", "+").replace("Z", "+0000")
            return datetime.fromisoformat(match[1] + zone).timestamp()
    except (ValueError, OverflowError):
        pass
    raise invalid_argument(f"{value!r} is not a time like 2001-01-01T00:00:00+0800.")


class IdGenerator:
    """Makes identifiers of a letter and 32 hex digits, the same for the same seed and order."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.count = 0

    def new_id(self, prefix: str) -> str:
        """Return the next identifier."""
        self.count += 1
        return prefix + self.digest(f"{prefix} {self.count}")

    def digest(self, text: str) -> str:
        """Return 32 hex digits that depend on the seed and a text."""
        return hashlib.sha256(f"{self.seed} {text}".encode()).hexdigest()[:32]


class Scheduled(Protocol):
    """Something that changes by itself at a time (`NEVER` when it does not)."""

    due: float


class EventQueue:
    """A heap of what happens by itself, and when.

    An item may be scheduled again: only the entry that agrees
    with its `due` counts.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Scheduled]] = []
        self._count = 0

    def clear(self) -> None:
        """Remove everything."""
        self._heap.clear()

    def schedule(self, item: Scheduled, due: float) -> None:
        """Let something happen to an item at a time; replaces the item's earlier entry."""
        item.due = due
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, item))

    def next_due(self) -> float | None:
        """Return the time of the earliest entry."""
        while self._heap and self._heap[0][2].due != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float) -> list[Scheduled]:
        """Take the items of the earliest time that has come, in
        the order they were scheduled in.
        """
        due = self.next_due()
        if due is None or due > now:
            return []
        items = []
        while self.next_due() == due:
            item = heapq.heappop(self._heap)[2]
            item.due = NEVER
            items.append(item)
        return items
