"""Measure how long a panel over 10,000 tasks takes to open, to search, and to show its gallery.

`python -m tests.benchmarks panels`. A panel is open when it has no tasks left: its table is sent
to the browser and its plot is drawn. The bar is one second, of the gallery half of it.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable
from typing import Any

from jupyter_mjci import panel, sandbox
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.session import Session
from tests.benchmarks.figures import Figure, in_turns, within

TASKS = 10_000
BARS = {"open gallery": 0.5}  # seconds; of all others one
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def task(number: int) -> Job:
    submitted = START + datetime.timedelta(minutes=number)
    return Job(
        "mj",
        str(1767225600000000 + number),
        "IMAGINE",
        Status.SUCCEEDED,
        subject=f"a red fox {number}",
        submitted=submitted,
        started=submitted,
        finished=submitted + datetime.timedelta(seconds=50),
    )


def open_and_close(session: Session, kind: str) -> Callable[[], None]:
    def run() -> None:
        opened: Any = panel(kind, session)
        opened.wait()
        opened.close()

    return run


def search(history: Any) -> Callable[[], None]:
    def run() -> None:
        history.filter.value = "" if history.filter.value else "fox 77"
        history.wait()

    return run


def open_gallery(midjourney: Any, session: Session) -> Callable[[], None]:
    def run() -> None:
        midjourney.gallery.frame = session.history(service="mj")
        midjourney.gallery.apply_filter()
        midjourney.wait()

    return run


def main() -> int:
    with sandbox(speed=1e6) as session:
        jobs = [task(number) for number in range(TASKS)]
        session.journal.record_jobs(jobs, session.client.clock.now())
        history: Any = panel("history", session)
        midjourney: Any = panel("mj", session)
        history.wait()
        cases = {
            "open history": open_and_close(session, "history"),
            "open status": open_and_close(session, "status"),
            "search history": search(history),
            "open gallery": open_gallery(midjourney, session),
        }
        seconds = in_turns(cases, 7)
    figures: list[Figure] = [
        within(f"{name} of {TASKS:,}", seconds[name], BARS.get(name, 1.0), "bar", 1)
        for name in cases
    ]
    print(*figures, sep="\n")
    return int(not all(figure.good for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
