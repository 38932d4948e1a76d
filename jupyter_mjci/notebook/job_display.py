"""A followed job in a cell: the cell saves the same outputs live, headless and in a test run.

Live, one display shows the progress and is finally updated to the final card; headless, that card
is displayed once. Then every result picture is an output of its own. Nothing goes to stdout or
stderr, nothing comes after the cell has ended. Only the thread that runs the cell makes outputs; a
job that nobody waits for updates its one card.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import JobFailed, MjciError, WaitTimeout
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.cards import Extras
from jupyter_mjci.notebook.interrupts import OUTCOME_UNKNOWN, Interrupted, handle_interrupt
from jupyter_mjci.notebook.job_results import (
    Previews,
    card_bundle,
    fetch_results,
)
from jupyter_mjci.notebook.outputs import OutputTarget
from jupyter_mjci.session import Session

# --- where outputs go -----------------------------------------------------------------------------


# --- a job that the cell waits for ----------------------------------------------------------------


def display_job(
    session: Session, job_or_call: Job | Call[Job], output: OutputTarget, *, raises: bool = True
) -> Job:
    """Submits (a call), follows the job in the cell to its end, and shows its card and its
    pictures. Returns the job as it ended.

    Raises JobFailed where it failed (with `raises` false only if it did so while we waited),
    WaitTooLong, Interrupted, and whatever went wrong on the way: after the card, so that nothing is
    lost.
    """
    job = job_or_call if isinstance(job_or_call, Job) else None
    moving, previews = job is None or job.status.is_active, Previews(session)
    try:
        if moving:
            for job in session.follow(job_or_call):
                if output.should_update():
                    output.show_progress(
                        job, event_loop.run(previews.fetch(job)) if output.live else ""
                    )
        job = _refetch_if_incomplete(session, cast(Job, job))
        bundles, extras = fetch_results(session, job)
    except KeyboardInterrupt:
        if job is None:
            raise Interrupted(None, OUTCOME_UNKNOWN) from None
        stopped = handle_interrupt(session, job)
        output.show_final(card_bundle(cast(Job, stopped.job), Extras(notes=[stopped.note])))
        raise stopped from None
    except MjciError as error:
        if job is not None:
            output.show_final(card_bundle(job, Extras(notes=[_error_note(job, error)])))
        raise
    output.show_final(card_bundle(job, extras))
    for bundle in bundles:
        output.add(bundle)
    for path in _archived_paths(session, job):
        output.show_path(path)
    if job.status in (Status.FAILED, Status.CANCELLED) and (moving or raises):
        raise JobFailed(job)
    return job


def _archived_paths(session: Session, job: Job) -> Iterable[Path]:
    """Where the archive keeps the job's pictures."""
    kept = (
        session.archive.find(job, index) for index in range(len(job.outputs)) if session.archive
    )
    return [one.path for one in kept if one]


def _refetch_if_incomplete(session: Session, job: Job) -> Job:
    """A submission may be answered with a task that has long succeeded, and no word of its
    pictures.
    """
    incomplete = (
        job.status is Status.SUCCEEDED and job.id and not job.outputs and "Name" not in job.raw
    )
    return session.describe(job).run() if incomplete else job


def _error_note(job: Job, error: MjciError) -> str:
    if isinstance(error, WaitTimeout):
        return f"Nobody waits any longer. Wait again with {cards.follow_command(job)}"
    return f"Lost from sight. Look again with {cards.follow_command(job)}"


# --- what came out --------------------------------------------------------------------------------


# --- a job that nobody waits for ------------------------------------------------------------------
