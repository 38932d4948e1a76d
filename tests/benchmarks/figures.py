"""What the figures share: how a line is printed, taking turns, and two cores kept apart."""

from __future__ import annotations

import gc
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table. `ratio` is how many times better ours is, or how many times the floor
    it costs; `good` tells whether it keeps to the bar, None where there is none.
    """

    name: str
    ours: str
    other: str
    ratio: float
    bar: str
    good: bool | None

    def __str__(self) -> str:
        verdict = {True: "met", False: "MISSED", None: ""}[self.good]
        return f"{self.name:<54} {self.ours:>16}  {self.other:<34} {self.ratio:>6.2f}x  {self.bar:<9} {verdict}"  # noqa: E501 - a row


def faster(
    name: str, ours: float, other: float, what: str, bar: float | None, unit: str = "ms"
) -> Figure:
    """A line where more is better: the other's time over ours."""
    ratio = other / ours
    said = f">= {bar:g}x" if bar else "no bar"
    return Figure(
        name,
        shown(ours, unit),
        f"{what} {shown(other, unit)}",
        ratio,
        said,
        ratio >= bar if bar else None,
    )


def within(
    name: str, ours: float, floor: float, what: str, bar: float | None, unit: str = "ms"
) -> Figure:
    """A line where less is better: ours over the floor."""
    ratio = ours / floor
    said = f"<= {bar:g}x" if bar else "no bar"
    return Figure(
        name,
        shown(ours, unit),
        f"{what} {shown(floor, unit)}",
        ratio,
        said,
        ratio <= bar if bar else None,
    )


UNITS = {"ms": 1e3, "us": 1e6, "s": 1.0, "MB": 1e-6, "/s": 1.0}


def shown(value: float, unit: str) -> str:
    return f"{value * UNITS[unit]:,.{0 if unit in ('/s', 'MB') else 1}f} {unit}"


def in_turns(ways: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Seconds that each takes, the median of some rounds in which they take turns."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            gc.collect()
            started = time.perf_counter()
            made = way()
            took[name].append(time.perf_counter() - started)
            del made
    return {name: statistics.median(times) for name, times in took.items()}


def pin(core: int) -> None:
    """Stay on one core, where the system can do that and has as many."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) > 1:
        os.sched_setaffinity(0, {cores[core % len(cores)]})


def pin_to_all() -> None:
    """Use every core again."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))


def peak() -> int:
    """The most memory this process has ever held, in bytes."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def main(figures: Callable[[], Iterator[Figure]]) -> int:
    """Prints the lines as they come; 1 where a bar was missed."""
    good = True
    for figure in figures():
        print(figure, flush=True)
        good &= figure.good is not False
    return 0 if good else 1
