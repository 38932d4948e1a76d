"""Measure how long a panel over 10,000 tasks takes to open, to search, and to show its gallery.

`python -m tests.benchmarks panels`. A panel is open when it has no tasks left: its table is sent
to the browser and its plot is drawn. The bar is one second, of the gallery half of it.
"""

from __future__ import annotations

import datetime
import io
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from PIL import Image

from jupyter_mjci import panel, sandbox
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.session import Session
from tests.benchmarks.figures import Figure, in_turns, within

TASKS = 10_000
BARS = {"open gallery": 0.5}  # seconds; of all others one
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def record_tasks(session: Session, count: int, *, archived: bool = False) -> None:
    """Write tasks into the journal, each with its own picture in the archive if `archived`."""
    jobs = [build_task(number) for number in range(count)]
    session.journal.record_jobs(jobs, session.client.clock.now())
    if archived:
        picture = draw_picture()
        with patch("os.fsync"):  # not what is measured
            for number, job in enumerate(jobs):
                # What follows a PNG's end makes a file of its own.
                content = picture + str(number).encode()
                session.archive.save(job, job.outputs[0], content, 0, START.timestamp())


def draw_picture() -> bytes:
    file = io.BytesIO()
    Image.effect_mandelbrot((1024, 1024), (-2, -1.5, 1, 1.5), 100).convert("RGB").save(file, "PNG")
    return file.getvalue()


def build_task(number: int) -> Job:
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


def open_panel(kind: str, session: Session) -> Any:
    opened: Any = panel(kind, session)
    opened.wait()
    return opened


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
        record_tasks(session, TASKS)
        midjourney = open_panel("mj", session)
        history = open_panel("history", session)
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
