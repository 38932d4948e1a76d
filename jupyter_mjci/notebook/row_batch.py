"""Many jobs of one cell: `--each FRAME`, one per row of a table, and
`--grid AXES`, one per combination of values.

The first is shown as a card and a contact sheet, and its result is
the table with its jobs. The second is shown as one labelled sheet,
and its result is the `Study`.

All requests are built before the first is sent, so that a row
with a missing value costs nothing.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.interpolation import PLACEHOLDER
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.response_text import shorten
from jupyter_mjci.errors import InvalidRequest, MjciError, sanitize
from jupyter_mjci.history import frames
from jupyter_mjci.jobs.batch import JobLike
from jupyter_mjci.jobs.study import Study
from jupyter_mjci.jobs.study_calls import StudyPlan, build_each, describe_row
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.batch_cards import (
    BatchSummary,
    summary_html,
    summary_line,
    summary_text,
)
from jupyter_mjci.notebook.images import MimeBundle
from jupyter_mjci.notebook.interrupts import Interrupted, cancel_all
from jupyter_mjci.notebook.outputs import OutputTarget

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_mjci.session import Session

    TableSource = pd.DataFrame | Sequence[Mapping[str, object]]

MAX_STALLED = 60  # characters of the stalled rows' labels
# pictures in the sheet of a table
MAX_SHEET_PICTURES = 64
MAX_SHEET_LINE = 100  # characters
BuildCall = Callable[[Mapping[str, object]], Call[Job]]
STILL_RUNNING_NOTE = "submitted jobs go on at the service; follow them with %mjci resume."
CANCELLED_NOTE = "jobs that could be cancelled were; follow the others with %mjci resume."


@dataclass(frozen=True, slots=True)
class Table:
    """A user's DataFrame or list of dicts: its rows without missing values, and their labels."""

    name: str
    source: TableSource
    labels: Sequence[str]
    rows: Sequence[Mapping[str, object]]

    def build_calls(
        self, template: str, namespace: Mapping[str, object], build: BuildCall
    ) -> list[Call[Job]]:
        """Build the call of every row.

        Args:
            template: the text with the placeholders, to find the
                columns that are used
            namespace: the user's variables; a row's values come
                first
            build: builds a call from the values of a row

        Raises:
            InvalidRequest: names row and column.
        """
        columns = set(frames.list_columns(self.source)).union(*self.rows)
        placeholders = dict.fromkeys(PLACEHOLDER.findall(template))
        used = [name for name in placeholders if name in columns]
        if self.rows and not used:
            available = ", ".join(sorted(columns)) or "none"
            raise InvalidRequest(
                f"No column of {self.name} is used: all {len(self.rows)} jobs would be the same.",
                hint=f"Use {{{{column}}}}; columns of {self.name}: {available}.",
            )
        for label, row in zip(self.labels, self.rows, strict=True):
            self._check_values(label, row, used)

        def build_row(row: Mapping[str, object]) -> Call[Job]:
            # A ChainMap only reads the mappings behind its first.
            return build(ChainMap(dict(row), cast(Any, namespace)))

        labels = [f"Row {label} of {self.name}" for label in self.labels]
        return build_each(labels, self.rows, build_row)

    def _check_values(self, label: str, row: Mapping[str, object], used: Iterable[str]) -> None:
        for column in used:
            if column not in row:
                raise InvalidRequest(
                    f"Row {label} of {self.name} has no value in column {column!r}.",
                    hint="Nothing was sent. Fill it in, or drop the row (dropna).",
                )


def load_table(name: str, namespace: Mapping[str, object]) -> Table:
    """Return the table in a variable.

    Raises:
        InvalidRequest: there is no such variable, or it holds no
            table.
    """
    if name not in namespace:
        raise InvalidRequest(
            f"There is no variable {name!r}.",
            hint="--each takes a DataFrame or a list of dicts.",
        )
    source = namespace[name]
    labels, rows = frames.parse_records(source, name)
    return Table(name, source, labels, rows)  # type: ignore[arg-type]


def summary_bundle(summary: BatchSummary) -> MimeBundle:
    """Return a batch as an output."""
    return {"text/html": summary_html(summary), "text/plain": summary_text(summary)}, {}


class RowBatch:
    """The jobs of a table's rows as last seen, in the table's order; the card shows the `note`."""

    def __init__(self, title: str, table: Table, calls: Sequence[Call[Job]]) -> None:
        self.title = title
        self.table = table
        self.calls = calls
        self.note = ""
        self.jobs = [Job(call.service, "", call.name) for call in calls]

    def run(self, session: Session, at_once: int, output: OutputTarget, *, retry: int = 0) -> None:
        """Submit and follow all jobs, in one card. How many there may be was checked before.

        Args:
            session: the session that sends the requests
            at_once: how many jobs are active at a time
            output: where the card goes
            retry: how often a row is submitted again that failed
                for a reason that may pass

        Raises:
            Interrupted: the cell was interrupted.
            MjciError: all jobs failed.

        Errors are raised after the card is shown.
        """
        try:
            count = sum(call.job_count for call in self.calls)
            targets = self._list_targets()
            batch = session.batch(targets, at_once=at_once, max_jobs=count, retry=retry)
            for update in batch.updates():
                self.jobs[update.index] = update.job
                if output.should_update():
                    note = cards.describe_moment(datetime.now(), "%mjci resume")
                    summary = self.summarize(running=True, notes=[*self._list_stalled(), note])
                    output.update(summary_line(summary), summary_bundle(summary))
        except KeyboardInterrupt:
            interrupted = Interrupted(None, self._handle_interrupt(session))
            output.show_final(summary_bundle(self.summarize(notes=[interrupted.note])))
            raise interrupted from None
        self._show_final(session, output)
        self._raise_if_all_failed()

    def _list_targets(self) -> Sequence[JobLike]:
        return self.calls

    def _show_final(self, session: Session, output: OutputTarget, /) -> None:
        output.show_final(summary_bundle(self.summarize(notes=self._list_unfinished_notes())))
        rows = [{"row": label} for label in self.table.labels[:MAX_SHEET_PICTURES]]
        study = Study(session, StudyPlan(self.title, rows, self.calls[:MAX_SHEET_PICTURES]))
        study.jobs = self.jobs[:MAX_SHEET_PICTURES]
        if has_pictures(study):
            data, metadata = study.sheet()._repr_mimebundle_()
            output.add(({**data, "text/plain": describe_sheet(study)}, metadata))

    def _handle_interrupt(self, session: Session) -> str:
        if session.settings.on_interrupt != "cancel":
            return STILL_RUNNING_NOTE
        self.jobs[:] = [job for job, _ in cancel_all(session, self.jobs)]
        return CANCELLED_NOTE

    def to_frame(self) -> pd.DataFrame:
        """Return the table with its jobs."""
        return frames.join_rows(self.jobs, self.table.source)

    def summarize(self, running: bool = False, notes: Sequence[str] = ()) -> BatchSummary:
        """Return the jobs by status, with their progress or (at the end) the failures."""
        counts = Counter(job.status for job in self.jobs)
        notes = [*filter(None, [self.note]), *notes]
        if running:
            return BatchSummary(self.title, counts, self._get_percent(), notes=notes)
        return BatchSummary(self.title, counts, None, self._group_failures(), notes)

    def _raise_if_all_failed(self) -> None:
        """Raise if no job succeeded: cells that follow need at least one."""
        if self.jobs and all(job.status is Status.FAILED for job in self.jobs):
            raise MjciError(
                f"None of the {len(self.jobs)} jobs succeeded.",
                detail=_get_failure_reason(self.jobs[0]),
            )

    def _list_unfinished_notes(self) -> list[str]:
        counts = Counter(job.status for job in self.jobs)
        waiting = counts[Status.NEEDS_INPUT]
        active = counts[Status.QUEUED] + counts[Status.RUNNING]
        notes = []
        if waiting:
            notes.append(f"{waiting} need your answer to a dialog: %mj_modal.")
        if active:
            notes.append(f"{active} are not finished; follow them with %mjci resume.")
        return notes

    def _list_stalled(self) -> list[str]:
        """Return the note that names the rows whose jobs do not move; none where all do."""
        rows = zip(self.table.labels, self.jobs, strict=True)
        labels = [label for label, job in rows if job.status.is_active and job.is_stalled]
        if not labels:
            return []
        return [f"Stalled, and polled on: {shorten(', '.join(labels), MAX_STALLED)}."]

    def _get_percent(self) -> int:
        total = 0
        for job in self.jobs:
            total += (job.progress or 0) if job.status.is_active else 100
        return total // max(len(self.jobs), 1)

    def _group_failures(self) -> list[tuple[str, list[str]]]:
        """Return the reasons with the labels of their rows, in the table's order."""
        labels_by_reason: dict[str, list[str]] = {}
        for label, job in zip(self.table.labels, self.jobs, strict=True):
            if job.status in (Status.FAILED, Status.CANCELLED):
                labels_by_reason.setdefault(_get_failure_reason(job), []).append(label)
        return list(labels_by_reason.items())


class GridBatch(RowBatch):
    """The jobs of a study, in one labelled sheet."""

    def __init__(self, study: Study) -> None:
        labels = [describe_row(row) for row in study.rows]
        super().__init__(
            study.title, Table("the grid", study.rows, labels, study.rows), study.calls
        )
        self.study = study
        self.jobs = study.jobs

    def _list_targets(self) -> Sequence[JobLike]:
        return self.study.list_targets()

    def _show_final(self, _: Session, output: OutputTarget, /) -> None:
        summary = self.summarize(notes=self._list_unfinished_notes())
        if not has_pictures(self.study):
            output.show_final(summary_bundle(summary))
            return
        data, metadata = self.study.sheet()._repr_mimebundle_()
        text = f"{summary_text(summary)}\n{describe_sheet(self.study)}"
        output.show_final(({**data, "text/plain": text}, metadata))


def has_pictures(study: Study) -> bool:
    """Return whether a sheet of the study would show anything."""
    return any(job.outputs for job in study.jobs)


def describe_sheet(study: Study) -> str:
    """Return what a sheet shows, in words: the factors and their values."""
    lines = [f"sheet of {len(study)} jobs"]
    for name, values in study.factors.items():
        lines.append(sanitize(f"  {name}: {shorten(', '.join(map(str, values)), MAX_SHEET_LINE)}"))
    return "\n".join(lines)


def _get_failure_reason(job: Job) -> str:
    """Return why a job failed; for a rejected submission, with the service's own words."""
    lines = str(job.raw.get("error", "")).splitlines()[:2]
    return " ".join(line for line in lines if not line.startswith("→")) or job.reason
