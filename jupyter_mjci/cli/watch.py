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

from jupyter_mjci.cli.exit_codes import Exit, complain, exit_of, say
from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.settings import headless
from jupyter_mjci.errors import JobFailed, MjciError
from jupyter_mjci.session import Session

AGAIN = 1.5  # seconds between two looks into the journal, for what a kernel has begun meanwhile
IDLE = 2  # looks in a row that find nothing moving: between two cells of a notebook, nothing does
MOVING = ("Submitted", "Running", "Pause")  # CI's words for jobs that move

ASKED, UNKNOWN = "asking …", "unknown"

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """A job as it was last seen; `key` is how it was asked for, `since` when that was (monotonic
    seconds), `error` what ended the watching before the job had ended.
    """

    key: Key
    job: Job
    since: float
    error: MjciError | None = None

    @property
    def moving(self) -> bool:
        return self.error is None and self.job.status.moving

    @property
    def word(self) -> str:
        """Its status; of a job that nobody has told of yet, or that nobody knows, that."""
        if self.job != Job(*self.key):
            return self.job.status.value
        return ASKED if self.error is None else UNKNOWN

    @property
    def trouble(self) -> MjciError | None:
        """Why it has not succeeded; None where it has, or may yet."""
        if self.error is not None or self.job.status in (Status.FAILED, Status.CANCELLED):
            return self.error or JobFailed(self.job)
        if self.job.status is not Status.ASKING:
            return None
        hint = f"In a notebook: %mj_modal {self.job.id}"
        return MjciError(
            f"{self.job.action or 'Job'} {self.job.id} waits for your answer to a dialog.",
            hint=hint,
        )


Rows = Mapping[Key, Row]
Screen = AbstractContextManager[Callable[[Row], None]]


def watch(session: Session, told: Namespace) -> Exit:
    """Follows the jobs of the command line; without any, what is unfinished. An interrupt ends the
    watching, no job.

    Raises CallError for what is no job's id, and what the listings of the services raise.
    """
    named = [(session.describe(word).service, word.strip()) for word in told.job_ids]
    rows = {key: Row(key, Job(*key), time.monotonic()) for key in named}
    follow = (
        partial(_follow_named, session, [*rows.values()])
        if named
        else partial(_follow_all, session, told.all)
    )
    try:
        with _screen(session, rows, told) as show:
            for row in event_loop.iterate(event_loop.produced(partial(follow, told.longest))):
                rows[row.key] = row
                show(row)
    except KeyboardInterrupt:
        left = [row.job.id for row in rows.values() if row.moving]
        say("\nNobody watches any longer, but jobs go on.", file=sys.stderr)
        say("→ Watch again: jupyter mjci watch", *(left if told.job_ids else ()), file=sys.stderr)
        return Exit.INTERRUPTED
    if not rows:
        say("Nothing is unfinished, as far as the journal knows. --all asks the services, too.")
    return _outcome(rows.values())


def _outcome(rows: Iterable[Row]) -> Exit:
    """The status of all: failed where one has failed, else whatever is not done."""
    found = {exit_of(row.trouble) for row in rows if row.trouble is not None}
    return Exit.FAILED if Exit.FAILED in found else max(found, default=Exit.DONE)


# --- what is seen ---------------------------------------------------------------------------------


async def _follow_named(
    session: Session, rows: Sequence[Row], longest: float, hand_out: Callable[[Row], None]
) -> None:
    async with anyio.create_task_group() as group:
        for row in rows:
            group.start_soon(_follow, session, row, row.job.id, longest, hand_out)


async def _follow_all(
    session: Session, everything: bool, longest: float, hand_out: Callable[[Row], None]
) -> None:
    """What the journal knows unfinished, also what a kernel begins meanwhile, until nothing moves
    any more; and with `everything` what the services list at the beginning.
    """
    moving: dict[Key, bool] = {}

    async def follow(key: Key, job: Job) -> None:
        await _follow(session, Row(key, job, time.monotonic()), job, longest, hand_out)
        moving[key] = False

    found = session.journal.unfinished() + (await _listed(session) if everything else [])
    idle = 0 if found else IDLE
    async with anyio.create_task_group() as group:
        while idle < IDLE:
            for job in found:
                key = (job.service, job.id)
                if key not in moving:
                    moving[key] = True
                    group.start_soon(follow, key, job)
            await anyio.sleep(AGAIN)
            idle = 0 if any(moving.values()) else idle + 1
            found = session.journal.unfinished()


async def _listed(session: Session) -> list[Job]:
    """What moves, as the services tell."""
    jobs = list(await session.mj.queue()) if session.settings.has_mj else []
    for tag in (
        dict.fromkeys(("PicProcess", *session.journal.actions("ci")))
        if session.settings.has_ci
        else ()
    ):
        jobs += await session.ci.jobs(tag=tag, states=MOVING)
    return jobs


async def _follow(
    session: Session, row: Row, what: Job | str, longest: float, hand_out: Callable[[Row], None]
) -> None:
    try:
        async for job in session.follow(what, longest=longest):
            row = replace(row, job=job)
            hand_out(row)
    except MjciError as error:
        hand_out(replace(row, error=error))


# --- what is shown --------------------------------------------------------------------------------


def _screen(session: Session, rows: Rows, told: Namespace) -> Screen:
    """A table on a terminal that can be drawn on, where rich is installed; lines anywhere else."""
    if sys.stdout.isatty() and not (told.plain or headless()) and find_spec("rich"):
        from jupyter_mjci.cli import watch_table

        if watch_table.can_draw():
            return watch_table.drawn(rows, session.clock.now)
    return _lines(rows, named=len(told.job_ids) != 1)


@contextmanager
def _lines(rows: Rows, named: bool) -> Iterator[Callable[[Row], None]]:
    """A line for each change, and at the end on stderr what has failed, and why."""

    def tell(row: Row) -> None:
        job = row.job
        percent = "" if job.progress is None else f"{job.progress} %"
        words = (job.id if named else "", job.status, percent, *job.outputs)
        if row.error is None:
            say(*filter(None, words))

    yield tell
    for row in rows.values():
        if row.trouble is not None:
            complain(row.trouble)
