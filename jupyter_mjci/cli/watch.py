"""`jupyter mjci watch`: jobs followed to their ends, as a table that moves or as lines, one for
each change.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec

import anyio

from jupyter_mjci.cli.exit_codes import Exit, echo, get_exit_code, print_error
from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.settings import is_headless
from jupyter_mjci.errors import JobFailed, MjciError
from jupyter_mjci.session import Session

JOURNAL_INTERVAL = (
    1.5  # seconds between two looks into the journal, for what a kernel has begun meanwhile
)
MAX_IDLE_POLLS = (
    2  # looks in a row that find nothing moving: between two cells of a notebook, nothing does
)
ACTIVE_STATES = ("Submitted", "Running", "Pause")  # CI's words for jobs that move

PENDING_LABEL, UNKNOWN_LABEL = "asking …", "unknown"

JobKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """A job as it was last seen; `key` is how it was asked for, `since` when that was (monotonic
    seconds), `follow_error` what ended the watching before the job had ended.
    """

    key: JobKey
    job: Job
    since: float
    follow_error: MjciError | None = None

    @property
    def is_active(self) -> bool:
        return self.follow_error is None and self.job.status.is_active

    @property
    def label(self) -> str:
        """Its status; of a job that nobody has told of yet, or that nobody knows, that."""
        if self.job != Job(*self.key):
            return self.job.status.value
        return PENDING_LABEL if self.follow_error is None else UNKNOWN_LABEL

    @property
    def outcome_error(self) -> MjciError | None:
        """Why it has not succeeded; None where it has, or may yet."""
        if self.follow_error is not None or self.job.status in (Status.FAILED, Status.CANCELLED):
            return self.follow_error or JobFailed(self.job)
        if self.job.status is not Status.NEEDS_INPUT:
            return None
        hint = f"In a notebook: %mj_modal {self.job.id}"
        return MjciError(
            f"{self.job.action or 'Job'} {self.job.id} waits for your answer to a dialog.",
            hint=hint,
        )


Rows = Mapping[JobKey, Row]
RowDisplay = AbstractContextManager[Callable[[Row], None]]


def watch(session: Session, args: Namespace) -> Exit:
    """Follows the jobs of the command line; without any, what is unfinished. An interrupt ends the
    watching, no job.

    Raises CallError for what is no job's id, and what the listings of the services raise.
    """
    named = [(session.describe(word).service, word.strip()) for word in args.job_ids]
    rows = {key: Row(key, Job(*key), time.monotonic()) for key in named}
    follow = (
        partial(_follow_named, session, [*rows.values()])
        if named
        else partial(_follow_all, session, args.all)
    )
    try:
        with _select_display(session, rows, args) as show:
            for row in event_loop.iterate_sync(
                event_loop.stream_from_callback(partial(follow, args.longest))
            ):
                rows[row.key] = row
                show(row)
    except KeyboardInterrupt:
        left = [row.job.id for row in rows.values() if row.is_active]
        echo("\nNobody watches any longer, but jobs go on.", file=sys.stderr)
        echo("→ Watch again: jupyter mjci watch", *(left if args.job_ids else ()), file=sys.stderr)
        return Exit.INTERRUPTED
    if not rows:
        echo("Nothing is unfinished, as far as the journal knows. --all asks the services, too.")
    return _combine_exit_codes(rows.values())


def _combine_exit_codes(rows: Iterable[Row]) -> Exit:
    """The status of all: failed where one has failed, else whatever is not done."""
    found = {get_exit_code(row.outcome_error) for row in rows if row.outcome_error is not None}
    return Exit.FAILED if Exit.FAILED in found else max(found, default=Exit.SUCCESS)


# --- what is seen ---------------------------------------------------------------------------------


async def _follow_named(
    session: Session, rows: Sequence[Row], poll_interval: float, emit: Callable[[Row], None]
) -> None:
    async with anyio.create_task_group() as group:
        for row in rows:
            group.start_soon(_follow, session, row, row.job.id, poll_interval, emit)


async def _follow_all(
    session: Session, include_listed: bool, poll_interval: float, emit: Callable[[Row], None]
) -> None:
    """What the journal knows unfinished, also what a kernel begins meanwhile, until nothing moves
    any more; and with `include_listed` what the services list at the beginning.
    """
    moving: dict[JobKey, bool] = {}

    async def follow(key: JobKey, job: Job) -> None:
        await _follow(session, Row(key, job, time.monotonic()), job, poll_interval, emit)
        moving[key] = False

    found = session.journal.active_jobs() + (await _list_active(session) if include_listed else [])
    idle = 0 if found else MAX_IDLE_POLLS
    async with anyio.create_task_group() as group:
        while idle < MAX_IDLE_POLLS:
            for job in found:
                key = (job.service, job.id)
                if key not in moving:
                    moving[key] = True
                    group.start_soon(follow, key, job)
            await anyio.sleep(JOURNAL_INTERVAL)
            idle = 0 if any(moving.values()) else idle + 1
            found = session.journal.active_jobs()


async def _list_active(session: Session) -> list[Job]:
    """What moves, as the services tell."""
    jobs = list(await session.mj.queue()) if session.settings.has_mj else []
    for tag in (
        dict.fromkeys(("PicProcess", *session.journal.actions("ci")))
        if session.settings.has_ci
        else ()
    ):
        jobs += await session.ci.jobs(tag=tag, states=ACTIVE_STATES)
    return jobs


async def _follow(
    session: Session, row: Row, target: Job | str, poll_interval: float, emit: Callable[[Row], None]
) -> None:
    try:
        async for job in session.follow(target, poll_interval=poll_interval):
            row = replace(row, job=job)
            emit(row)
    except MjciError as error:
        emit(replace(row, follow_error=error))


# --- what is shown --------------------------------------------------------------------------------


def _select_display(session: Session, rows: Rows, args: Namespace) -> RowDisplay:
    """A table on a terminal that can be drawn on, where rich is installed; lines anywhere else."""
    if sys.stdout.isatty() and not (args.plain or is_headless()) and find_spec("rich"):
        from jupyter_mjci.cli import watch_table

        if watch_table.supports_redraw():
            return watch_table.show_table(rows, session.clock.now)
    return _print_lines(rows, with_id=len(args.job_ids) != 1)


@contextmanager
def _print_lines(rows: Rows, with_id: bool) -> Iterator[Callable[[Row], None]]:
    """A line for each change, and at the end on stderr what has failed, and why."""

    def tell(row: Row) -> None:
        job = row.job
        percent = "" if job.progress is None else f"{job.progress} %"
        words = (job.id if with_id else "", job.status, percent, *job.outputs)
        if row.follow_error is None:
            echo(*filter(None, words))

    yield tell
    for row in rows.values():
        if row.outcome_error is not None:
            print_error(row.outcome_error)
