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
from jupyter_mjci.errors import InvalidRequest, MjciError
from jupyter_mjci.history import frames
from jupyter_mjci.notebook import batch_cards
from jupyter_mjci.notebook.batch_cards import BatchSummary
from jupyter_mjci.notebook.images import MimeBundle
from jupyter_mjci.notebook.interpolation import PLACEHOLDER
from jupyter_mjci.notebook.interrupts import Interrupted, cancel_all
from jupyter_mjci.notebook.outputs import OutputTarget

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_mjci.session import Session


@dataclass(frozen=True, slots=True)
class Table:
    """A DataFrame (or list of dicts) of the user's: its rows without what is missing, and what each
    is called.
    """

    name: str
    source: Any
    labels: Sequence[str]
    rows: Sequence[Mapping[str, Any]]

    def build_calls(
        self,
        template: str,
        namespace: Mapping[str, Any],
        build: Callable[[Mapping[str, Any]], Call[Job]],
    ) -> Any:
        """The call of every row. Raises CallError, naming row and column."""
        columns = {column for row in self.rows for column in row} | set(
            frames.list_columns(self.source)
        )
        wanted = [
            place for place in dict.fromkeys(PLACEHOLDER.findall(template)) if place in columns
        ]
        if self.rows and not wanted:
            raise InvalidRequest(
                f"Nothing here differs from row to row: all {len(self.rows)} jobs would be the same.",
                hint=f"Write a column as {{{{column}}}}; {self.name} has: {', '.join(sorted(columns)) or 'none'}.",
            )
        return [
            self._build_call(label, row, wanted, namespace, build)
            for label, row in zip(self.labels, self.rows, strict=True)
        ]

    def _build_call(
        self,
        label: str,
        row: Mapping[str, Any],
        columns: Iterable[str],
        namespace: Mapping[str, Any],
        build: Callable[[Mapping[str, Any]], Call[Job]],
    ) -> Call[Job]:
        for column in columns:
            if column not in row:
                raise InvalidRequest(
                    f"Row {label} of {self.name} has no value in column {column!r}.",
                    hint="Nothing was sent. Fill it in, or leave the row out (dropna).",
                )
        try:
            return build(ChainMap(dict(row), namespace))  # type: ignore[arg-type]
        except InvalidRequest as error:
            raise InvalidRequest(
                f"Row {label} of {self.name}: {error.message}", detail=error.detail, hint=error.hint
            ) from None


def load_table(name: str, namespace: Mapping[str, Any]) -> Table:
    """The table in a variable. Raises CallError."""
    if name not in namespace:
        raise InvalidRequest(
            f"There is no variable {name!r}.", hint="--each wants a DataFrame or a list of dicts."
        )
    given = namespace[name]
    labels, rows = frames.parse_records(given, name)
    return Table(name, given, labels, rows)


STILL_RUNNING_NOTE = "what was submitted goes on at the service; pick it up with %mjci resume."
CANCELLED_NOTE = "what could be cancelled at the service was; pick up the rest with %mjci resume."


def summary_bundle(summary: BatchSummary) -> MimeBundle:
    return {
        "text/html": batch_cards.summary_html(summary),
        "text/plain": batch_cards.summary_text(summary),
    }, {}


class RowBatch:
    """The jobs of a table's rows as they were last seen, in the table's order."""

    def __init__(self, title: str, table: Table, calls: Sequence[Call[Job]]) -> None:
        self.title, self.table, self.calls = title, table, calls
        self.jobs = [Job(call.service, "", call.name) for call in calls]

    def run(self, session: Session, at_once: int, output: OutputTarget) -> None:
        """Submits and follows all, in one card. Raises, after the card, Interrupted; or where all
        of them failed.
        """
        try:
            for step in session.batch_updates(self.calls, at_once=at_once):
                self.jobs[step.index] = step.job
                if output.should_update():
                    going = self.summarize(running=True)
                    output.update(batch_cards.summary_line(going), summary_bundle(going))
        except KeyboardInterrupt:
            stopped = Interrupted(None, self._handle_interrupt(session))
            output.show_final(summary_bundle(self.summarize(notes=[stopped.note])))
            raise stopped from None
        output.show_final(summary_bundle(self.summarize(notes=self._unfinished_notes())))
        self._raise_if_all_failed()

    def _handle_interrupt(self, session: Session) -> str:
        if session.settings.on_interrupt != "cancel":
            return STILL_RUNNING_NOTE
        self.jobs = [job for job, _ in cancel_all(session, self.jobs)]
        return CANCELLED_NOTE

    def to_frame(self) -> pd.DataFrame:
        """The table with its jobs."""
        return frames.join_rows(self.jobs, self.table.source)

    def summarize(self, running: bool = False, notes: Sequence[str] = ()) -> BatchSummary:
        return BatchSummary(
            self.title,
            Counter(job.status for job in self.jobs),
            self._percent() if running else None,
            () if running else self._group_failures(),
            notes,
        )

    def _raise_if_all_failed(self) -> None:
        """Something is wrong with all of them then, and whatever comes after this cell cannot do
        without.
        """
        if self.jobs and all(job.status is Status.FAILED for job in self.jobs):
            raise MjciError(
                f"None of the {len(self.jobs)} jobs succeeded.",
                detail=_failure_reason(self.jobs[0]),
            )

    def _unfinished_notes(self) -> list[str]:
        """What a person has to know of those that have not ended."""
        counts = Counter(job.status for job in self.jobs)
        asking, moving = counts[Status.NEEDS_INPUT], counts[Status.QUEUED] + counts[Status.RUNNING]
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
        done = sum(100 if not job.status.is_active else job.progress or 0 for job in self.jobs)
        return done // max(len(self.jobs), 1)

    def _group_failures(self) -> list[tuple[str, list[str]]]:
        """By reason, in the table's order."""
        found: dict[str, list[str]] = {}
        for label, job in zip(self.table.labels, self.jobs, strict=True):
            if job.status in (Status.FAILED, Status.CANCELLED):
                found.setdefault(_failure_reason(job), []).append(label)
        return list(found.items())


def _failure_reason(job: Job) -> str:
    """Why it failed; of a call that was refused, the service's own words too."""
    told = str(job.raw.get("error", "")).splitlines()[:2]
    return " ".join(line for line in told if not line.startswith("→")) or job.reason
