"""How long a panel over 10,000 tasks takes to open, to be searched, to show its gallery: `…
tests.benchmarks panels`.

A panel is open when nothing is left to do for it: table given to the browser, plot drawn. The bar
is a second.
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
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def task(number: int) -> Job:
    begun = START + datetime.timedelta(minutes=number)
    return Job(
        "mj",
        str(1767225600000000 + number),
        "IMAGINE",
        Status.SUCCEEDED,
        subject=f"a red fox {number}",
        submitted=begun,
        started=begun,
        finished=begun + datetime.timedelta(seconds=50),
    )


def opened(session: Session, kind: str) -> Callable[[], None]:
    def way() -> None:
        one: Any = panel(kind, session)
        one.wait()
        one.close()

    return way


def searched(one: Any) -> Callable[[], None]:
    def way() -> None:
        one.filter.value = "" if one.filter.value else "fox 77"
        one.wait()

    return way


def leafed(one: Any, session: Session) -> Callable[[], None]:
    def way() -> None:
        one.gallery.frame = session.history(service="mj")
        one.gallery.apply_filter()
        one.wait()

    return way


def main() -> int:
    with sandbox(speed=1e6) as session:
        session.journal.record_jobs([task(number) for number in range(TASKS)], session.clock.now())
        history: Any = panel("history", session)
        draw: Any = panel("mj", session)
        history.wait()
        ways = {
            "open history": opened(session, "history"),
            "open status": opened(session, "status"),
            "search history": searched(history),
            "open gallery": leafed(draw, session),
        }
        took = in_turns(ways, 7)
    figures: list[Figure] = [
        within(f"{name} of {TASKS:,}", took[name], 1.0, "a second", 1) for name in ways
    ]
    print(*figures, sep="\n")
    return int(not all(figure.good for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
