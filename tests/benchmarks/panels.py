"""Measure how long each panel over 10,000 tasks takes to open, to search, and to show its gallery.

`python -m tests.benchmarks panels`. A panel is open when it has no tasks left: its table is sent
to the browser and its plot is drawn. At a first opening the journal has changed, at a second one
it has not; the libraries are loaded. Times are of the processor, all threads, so that what else
the machine does is left out.
"""

from __future__ import annotations

import datetime
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from jupyter_mjci import panel, sandbox
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.notebook.panels import list_panel_kinds
from jupyter_mjci.session import Session
from tests.benchmarks.figures import Figure, within

TASKS = 10_000
ROUNDS = 7
# seconds
FIRST, SECOND, SEARCH, GALLERY = 0.6, 0.1, 1.0, 0.5
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
        outputs=(f"http://127.0.0.1:1/{number}.png",),
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


def record_jobs(session: Session, first: int, count: int) -> None:
    jobs = [task(number) for number in range(first, first + count)]
    session.journal.record_jobs(jobs, session.client.clock.now())


def measure(run: Callable[[], None]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def measure_median(run: Callable[[], None], prepare: Callable[[], None] = lambda: None) -> float:
    seconds = []
    for _ in range(ROUNDS):
        prepare()
        seconds.append(measure(run))
    return statistics.median(seconds)


def measure_panels(session: Session) -> Iterator[Figure]:
    numbers = itertools.count(TASKS)
    for kind in list_panel_kinds():
        run = open_and_close(session, kind)
        run()
        first = measure_median(run, lambda: record_jobs(session, next(numbers), 1))
        yield within(f"open {kind}", first, FIRST, "bar", 1)
        yield within(f"open {kind} again", measure_median(run), SECOND, "bar", 1)
    history: Any = panel("history", session)
    midjourney: Any = panel("mj", session)
    history.wait()
    yield within("search history", measure_median(search(history)), SEARCH, "bar", 1)
    seconds = measure_median(open_gallery(midjourney, session))
    yield within("open gallery", seconds, GALLERY, "bar", 1)


def main() -> int:
    good = True
    with sandbox(speed=1e6) as session:
        record_jobs(session, 0, TASKS)
        for figure in measure_panels(session):
            print(figure, flush=True)
            good &= figure.good is not False
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
