"""`jupyter mjci watch`: follow jobs until they end, as live table or as lines."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from importlib.util import find_spec

import anyio

from jupyter_mjci.cli.exit_codes import Exit, echo, get_exit_code, print_error
from jupyter_mjci.cli.watch_row import JobKey, Row, Rows
from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.settings import is_headless
from jupyter_mjci.errors import MjciError
from jupyter_mjci.services import list_configured
from jupyter_mjci.session import Session

JOURNAL_INTERVAL = 1.5  # seconds between two reads of the journal
# Reads in a row without an active job after which watching ends:
# between two cells of a notebook there is none either.
MAX_IDLE_POLLS = 2

Emit = Callable[[Row], None]
RowDisplay = AbstractContextManager[Emit]


def watch(session: Session, args: Namespace) -> Exit:
    """Follow the jobs of the command line; without any, all unfinished ones.

    An interrupt ends the watching, not the jobs.

    Raises:
        InvalidRequest: An argument is not a job ID.
        MjciError: With `--all`, a service cannot list its jobs.
    """
    rows = _create_rows(session, args.job_ids)
    follow = partial(_follow_all, session, args.all, args.interval)
    if rows:
        follow = partial(_follow_rows, session, list(rows.values()), args.interval)
    try:
        with _select_display(session, rows, args) as emit:
            for row in event_loop.iterate_sync(event_loop.stream_from_callback(follow)):
                rows[row.key] = row
                emit(row)
    except KeyboardInterrupt:
        _print_interrupted(rows, args)
        return Exit.INTERRUPTED
    if not rows:
        echo("The journal has no unfinished jobs. --all asks the services, too.")
    return _combine_exit_codes(rows.values())


def _create_rows(session: Session, job_ids: Sequence[str]) -> dict[JobKey, Row]:
    rows = {}
    for job_id in job_ids:
        key = (session.describe(job_id).service, job_id.strip())
        rows[key] = Row(key, Job(*key), time.monotonic())
    return rows


def _print_interrupted(rows: Rows, args: Namespace) -> None:
    job_ids = []
    if args.job_ids:
        job_ids = [row.job.id for row in rows.values() if row.is_active]
    echo("\nStopped watching. The jobs keep running.", file=sys.stderr)
    echo("→ Watch again: jupyter mjci watch", *job_ids, file=sys.stderr)


def _combine_exit_codes(rows: Iterable[Row]) -> Exit:
    """Return FAILED if a job has failed, else the worst status."""
    errors = [row.outcome_error for row in rows]
    statuses = {get_exit_code(error) for error in errors if error is not None}
    if Exit.FAILED in statuses:
        return Exit.FAILED
    return max(statuses, default=Exit.SUCCESS)


# --- following ---


async def _follow_rows(
    session: Session, rows: Sequence[Row], poll_interval: float, emit: Emit
) -> None:
    async with anyio.create_task_group() as group:
        for row in rows:
            group.start_soon(_follow, session, row, row.job.id, poll_interval, emit)


async def _follow_all(
    session: Session, include_listed: bool, poll_interval: float, emit: Emit
) -> None:
    """Follow the journal's unfinished jobs, also new ones, until none is active.

    Args:
        session: the session
        include_listed: follow the active jobs that the services
            list at the beginning, too
        poll_interval: the maximum time between polls, in seconds
        emit: called with each change
    """
    active: dict[JobKey, bool] = {}

    async def follow(key: JobKey, job: Job) -> None:
        await _follow(session, Row(key, job, time.monotonic()), job, poll_interval, emit)
        active[key] = False

    jobs = session.journal.active_jobs()
    if include_listed:
        jobs += await _list_active(session)
    if not jobs:
        return
    idle_polls = 0
    async with anyio.create_task_group() as group:
        while idle_polls < MAX_IDLE_POLLS:
            for job in jobs:
                key = (job.service, job.id)
                if key not in active:
                    active[key] = True
                    group.start_soon(follow, key, job)
            await anyio.sleep(JOURNAL_INTERVAL)
            idle_polls = 0 if any(active.values()) else idle_polls + 1
            jobs = session.journal.active_jobs()


async def _list_active(session: Session) -> list[Job]:
    """List the active jobs of the services that are configured."""
    jobs: list[Job] = []
    for service in list_configured(session.settings):
        api = getattr(session, service.key)
        jobs += await service.list_active(api, session.journal.actions(service.key))
    return jobs


async def _follow(
    session: Session, row: Row, target: Job | str, poll_interval: float, emit: Emit
) -> None:
    try:
        async for job in session.follow(target, poll_interval=poll_interval):
            row = replace(row, job=job)
            emit(row)
    except MjciError as error:
        emit(replace(row, follow_error=error))


# --- output ---


def _select_display(session: Session, rows: Rows, args: Namespace) -> RowDisplay:
    """Return a live table if terminal and installation allow it, else lines."""
    if sys.stdout.isatty() and not (args.plain or is_headless()) and find_spec("rich"):
        from jupyter_mjci.cli import watch_table

        if watch_table.supports_redraw():
            return watch_table.show_table(rows, session.client.clock.now)
    return _print_lines(rows, with_id=len(args.job_ids) != 1)


@contextmanager
def _print_lines(rows: Rows, with_id: bool) -> Iterator[Emit]:
    """Print a line per change, and at the end the errors to stderr."""

    def print_row(row: Row) -> None:
        if row.follow_error is not None:
            return
        job = row.job
        words = [job.status.value]
        if with_id:
            words.insert(0, job.id)
        if job.progress is not None:
            words.append(f"{job.progress} %")
        if job.is_stalled:
            words.append("stalled")
        echo(*words, *job.outputs)

    yield print_row
    for row in rows.values():
        if row.outcome_error is not None:
            print_error(row.outcome_error)
