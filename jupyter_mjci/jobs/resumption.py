"""Continue after a restart: resolve submissions of unknown outcome, follow unfinished jobs."""

from __future__ import annotations

from collections.abc import Callable

import anyio

from jupyter_mjci.client.calls import Sender
from jupyter_mjci.client.job import Job
from jupyter_mjci.history.submissions import Submission
from jupyter_mjci.jobs.batch import Follower, build_failed_job
from jupyter_mjci.jobs.client import JobClient
from jupyter_mjci.jobs.submission import Submitter

# submissions that are looked for at a time
MAX_AT_ONCE = 8


async def resume_jobs(
    submitter: Submitter,
    follower: Follower,
    sender: Sender,
    timeout: float,
    poll_interval: float,
    emit: Callable[[Job], None],
) -> None:
    """Resolve what the journal holds unresolved, then follow its unfinished jobs.

    Those that ended while nobody followed them come first, the
    latest before the others.

    Args:
        submitter: looks for submissions, and repeats those that
            were not received
        follower: follows the jobs
        sender: sends the listings that are searched
        timeout: seconds for which each job is followed
        poll_interval: seconds between two polls of a job, at most
        emit: is called with each job that ended
    """
    journal = submitter.client.journal
    slots = anyio.Semaphore(MAX_AT_ONCE)

    async def resume(row: Submission) -> None:
        try:
            async with slots:
                job = await submitter.resume(row, sender)
            if job is not None and job.status.is_terminal:
                emit(job)
        except Exception as error:
            emit(build_failed_job(Job(row.service, "", row.name), error))

    unseen = journal.unseen_jobs()
    for job in unseen:
        emit(job)
    submitter.client.mark_seen(unseen)
    async with anyio.create_task_group() as group:
        for row in journal.unresolved():
            if is_resumable(submitter.client, row):
                group.start_soon(resume, row)
    await follower.as_completed(journal.active_jobs(), 1, timeout, poll_interval, emit)


def is_resumable(client: JobClient, row: Submission) -> bool:
    """Return whether a session can look for a submission: it knows the server, nobody works on it.

    A live worker of this process is at work on a row that it has
    leased.
    """
    is_own = row.origin == client.journal.get_origin(row.service)
    return is_own and not client.writer.is_open(row.lease_owner)
