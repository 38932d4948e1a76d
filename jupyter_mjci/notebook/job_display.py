"""Follow a job in a cell, which saves the same outputs live, headless and in a test run.

Live, one display shows the progress and is finally updated to the
final card; headless, that card is published once. Then each
result is an output of its own. Nothing is written to stdout or
stderr, and nothing is published after the cell has ended.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.translation import set_language
from jupyter_mjci.errors import JobFailed, MjciError, WaitTimeout
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.cards import Extras
from jupyter_mjci.notebook.images import MimeBundle
from jupyter_mjci.notebook.interrupts import (
    OUTCOME_UNKNOWN,
    Interrupted,
    handle_interrupt,
)
from jupyter_mjci.notebook.job_results import Previews, card_bundle, fetch_results
from jupyter_mjci.notebook.outputs import OutputTarget

if TYPE_CHECKING:
    from jupyter_mjci.session import Session


def display_job(
    session: Session,
    job_or_call: Job | Call[Job],
    output: OutputTarget,
    *,
    raises: bool = True,
) -> Job:
    """Submit a call, follow the job to its end, and show its card and its results.

    Args:
        session: the session that sends the requests
        job_or_call: a job, or a submission that is not yet sent
        output: where the card and the results go
        raises: whether a job that had already failed raises, too

    Returns:
        The finished job.

    Raises:
        JobFailed: the job failed or was cancelled.
        WaitTimeout: the job is still running.
        Interrupted: the cell was interrupted.

    Errors are raised after the card is shown, so the job's ID is
    never lost.
    """
    set_language(session.settings.language)
    job = job_or_call if isinstance(job_or_call, Job) else None
    is_followed = job is None or job.status.is_active
    try:
        if is_followed:
            previews = Previews(session)
            for job in session.follow(job_or_call):
                _show_progress(job, previews, output)
        assert job is not None
        job = _refetch_if_incomplete(session, job)
        bundles, extras = fetch_results(session, job)
    except KeyboardInterrupt:
        if job is None:
            raise Interrupted(None, OUTCOME_UNKNOWN) from None
        interrupted = handle_interrupt(session, job)
        job = interrupted.job or job
        output.show_final(_build_card(job, Extras(notes=[interrupted.note]), output))
        raise interrupted from None
    except MjciError as error:
        if job is not None:
            output.show_final(_build_card(job, Extras(notes=[_error_note(job, error)]), output))
        raise
    output.show_final(_build_card(job, extras, output))
    if not is_followed:
        session.client.mark_seen([job])
    for bundle in bundles:
        output.add(bundle)
    for path in _list_archived_paths(session, job):
        output.show_path(path)
    if output.live:
        # imports ipywidgets
        from jupyter_mjci.notebook.card_actions import attach_actions

        attach_actions(session, job)
    if job.status in (Status.FAILED, Status.CANCELLED) and (is_followed or raises):
        raise JobFailed(job)
    return job


def _build_card(job: Job, extras: Extras, output: OutputTarget) -> MimeBundle:
    notes = [output.note] if output.note else []
    return card_bundle(job, replace(extras, notes=[*notes, *extras.notes]))


def _show_progress(job: Job, previews: Previews, output: OutputTarget) -> None:
    if output.should_update():
        preview = event_loop.run(previews.fetch(job)) if output.live else ""
        output.show_progress(job, preview)


def _list_archived_paths(session: Session, job: Job) -> list[Path]:
    """Return where the archive stores the job's images."""
    if not session.archive:
        return []
    images = [session.archive.find(job, index) for index in range(len(job.outputs))]
    return [image.path for image in images if image]


def _refetch_if_incomplete(session: Session, job: Job) -> Job:
    """Fetch a task again that succeeded without results.

    The response to a submission may name a task that has long
    succeeded, without its image URLs. A batch (with a Name) has
    no results of its own.
    """
    is_batch = "Name" in job.raw
    if job.status is Status.SUCCEEDED and job.id and not job.outputs and not is_batch:
        return session.describe(job).run()
    return job


def _error_note(job: Job, error: MjciError) -> str:
    command = cards.follow_command(job)
    if isinstance(error, WaitTimeout):
        return f"Timed out; the job is still running. Wait again with {command}"
    return f"Connection lost. Check the job again with {command}"
