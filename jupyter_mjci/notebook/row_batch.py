"""`--each FRAME`: a job for every row of a table, in one card, with the table and its jobs as the
result.

All requests are built before the first is sent, so a row that lacks something costs nothing.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import CallError, MjciError
from jupyter_mjci.history import frames
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.cards import Tally
from jupyter_mjci.notebook.images import Bundle
from jupyter_mjci.notebook.job_display import Interrupted, Screen, called_off
from jupyter_mjci.notebook.line_parser import PLACE

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_mjci.session import Session


@dataclass(frozen=True, slots=True)
class Table:
    """A DataFrame (or list of dicts) of the user's: its rows without what is missing, and what each
    is called.
    """

    name: str
    given: Any
    labels: Sequence[str]
    rows: Sequence[Mapping[str, Any]]

    def calls(
        self,
        template: str,
        names: Mapping[str, Any],
        build: Callable[[Mapping[str, Any]], Call[Job]],
    ) -> Any:
        """The call of every row. Raises CallError, naming row and column."""
        columns = {column for row in self.rows for column in row} | set(
            frames.columns_of(self.given)
        )
        wanted = [place for place in dict.fromkeys(PLACE.findall(template)) if place in columns]
        if self.rows and not wanted:
            raise CallError(
                f"Nothing here differs from row to row: all {len(self.rows)} jobs would be the same.",
                hint=f"Write a column as {{{{column}}}}; {self.name} has: {', '.join(sorted(columns)) or 'none'}.",
            )
        return [
            self._call(label, row, wanted, names, build)
            for label, row in zip(self.labels, self.rows, strict=True)
        ]

    def _call(
        self,
        label: str,
        row: Mapping[str, Any],
        wanted: Iterable[str],
        names: Mapping[str, Any],
        build: Callable[[Mapping[str, Any]], Call[Job]],
    ) -> Call[Job]:
        for column in wanted:
            if column not in row:
                raise CallError(
                    f"Row {label} of {self.name} has no value in column {column!r}.",
                    hint="Nothing was sent. Fill it in, or leave the row out (dropna).",
                )
        try:
            return build(ChainMap(dict(row), names))  # type: ignore[arg-type]
        except CallError as error:
            raise CallError(
                f"Row {label} of {self.name}: {error.what}", why=error.why, hint=error.hint
            ) from None


def table(name: str, names: Mapping[str, Any]) -> Table:
    """The table in a variable. Raises CallError."""
    if name not in names:
        raise CallError(
            f"There is no variable {name!r}.", hint="--each wants a DataFrame or a list of dicts."
        )
    given = names[name]
    labels, rows = frames.records(given, name)
    return Table(name, given, labels, rows)


GOES_ON = "what was submitted goes on at the service; pick it up with %mjci resume."
CANCELLED = "what could be cancelled at the service was; pick up the rest with %mjci resume."


def card(tally: Tally) -> Bundle:
    return {"text/html": cards.tally_html(tally), "text/plain": cards.tally_text(tally)}, {}


class Many:
    """The jobs of a table's rows as they were last seen, in the table's order."""

    def __init__(self, title: str, rows: Table, calls: Sequence[Call[Job]]) -> None:
        self.title, self.rows, self.calls = title, rows, calls
        self.jobs = [Job(call.service, "", call.name) for call in calls]

    def show(self, session: Session, at_once: int, place: Screen) -> None:
        """Submits and follows all, in one card. Raises, after the card, Interrupted; or where all
        of them failed.
        """
        try:
            for step in session.steps(self.calls, at_once=at_once):
                self.jobs[step.place] = step.job
                if place.due():
                    going = self.tally(going=True)
                    place.step(cards.tally_line(going), card(going))
        except KeyboardInterrupt:
            stopped = Interrupted(None, self._stopped(session))
            place.final(card(self.tally(notes=[stopped.note])))
            raise stopped from None
        place.final(card(self.tally(notes=self._open())))
        self._raise_if_all_failed()

    def _stopped(self, session: Session) -> str:
        if session.settings.on_interrupt != "cancel":
            return GOES_ON
        self.jobs = [job for job, _ in called_off(session, self.jobs)]
        return CANCELLED

    def frame(self) -> pd.DataFrame:
        """The table with its jobs."""
        return frames.beside(self.jobs, self.rows.given)

    def tally(self, going: bool = False, notes: Sequence[str] = ()) -> Tally:
        return Tally(
            self.title,
            Counter(job.status for job in self.jobs),
            self._percent() if going else None,
            () if going else self._failures(),
            notes,
        )

    def _raise_if_all_failed(self) -> None:
        """Something is wrong with all of them then, and whatever comes after this cell cannot do
        without.
        """
        if self.jobs and all(job.status is Status.FAILED for job in self.jobs):
            raise MjciError(
                f"None of the {len(self.jobs)} jobs succeeded.", why=_reason(self.jobs[0])
            )

    def _open(self) -> list[str]:
        """What a person has to know of those that have not ended."""
        counts = Counter(job.status for job in self.jobs)
        asking, moving = counts[Status.ASKING], counts[Status.WAITING] + counts[Status.RUNNING]
        return [
            note
            for count, note in (
                (asking, f"{asking} wait for an answer to a dialog: %mj_modal."),
                (
                    moving,
                    f"{moving} are not done yet; nobody waits any longer. Pick them up with %mjci resume.",
                ),
            )
            if count
        ]

    def _percent(self) -> int:
        done = sum(100 if not job.status.moving else job.progress or 0 for job in self.jobs)
        return done // max(len(self.jobs), 1)

    def _failures(self) -> list[tuple[str, list[str]]]:
        """By reason, in the table's order."""
        found: dict[str, list[str]] = {}
        for label, job in zip(self.rows.labels, self.jobs, strict=True):
            if job.status in (Status.FAILED, Status.CANCELLED):
                found.setdefault(_reason(job), []).append(label)
        return list(found.items())


def _reason(job: Job) -> str:
    """Why it failed; of a call that was refused, the service's own words too."""
    told = str(job.raw.get("error", "")).splitlines()[:2]
    return " ".join(line for line in told if not line.startswith("→")) or job.reason
