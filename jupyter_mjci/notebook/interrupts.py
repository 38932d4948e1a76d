"""What happens to jobs whose cell is interrupted (■, Ctrl-C).

Interrupting stops the waiting, not the job: most proxies cannot
cancel. The card then names the command that resumes the wait.
With `on_interrupt = "cancel"` the service is asked to cancel
first.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import anyio

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.outcomes import allow_unconfirmed
from jupyter_mjci.errors import MjciError
from jupyter_mjci.notebook import cards

if TYPE_CHECKING:
    from jupyter_mjci.session import Session

OUTCOME_UNKNOWN = "the submission may have arrived: check the job list before submitting it again."
NO_RESPONSE = "the response was not awaited."
# seconds to wait for the services to confirm a cancellation
CANCEL_TIMEOUT = 10.0


class Interrupted(KeyboardInterrupt):
    """The wait was interrupted. `.job` is a submitted job as last
    seen, `.message` says what is known about it, `.hint` what to
    do next.
    """

    def __init__(self, job: Job | None = None, message: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.job = job
        self.message = message
        self.hint = hint

    @property
    def note(self) -> str:
        """The message and the hint, for the job's card."""
        return f"Interrupted: {self.message} {self.hint}".rstrip()

    def _render_traceback_(self) -> list[str]:
        """Return what IPython prints: two lines instead of the stack of the event loop."""
        subject = f"{cards.headline(self.job)}: " if self.job else ""
        lines = [f"Interrupted: {subject}{self.message}"]
        if self.hint:
            lines.append(f"  → {self.hint}")
        return lines


def handle_interrupt(session: Session, job: Job) -> Interrupted:
    """Cancel the job of an interrupted cell if the settings say so. Return what to raise."""
    command = cards.follow_command(job)
    if job.status.is_terminal:
        return Interrupted(job, "the results were not downloaded.", f"Show them with {command}")
    message = "the job goes on at the service."
    if session.settings.on_interrupt == "cancel":
        ((job, problem),) = cancel_all(session, [job])
        message = "the service was asked to cancel the job."
        if problem:
            message = f"the job could not be cancelled and goes on: {problem}"
    if job.status is Status.CANCELLED:
        return Interrupted(job, "the job was cancelled at the service.")
    return Interrupted(job, message, f"Wait for it again with {command}")


def cancel_all(session: Session, jobs: Sequence[Job]) -> list[tuple[Job, str]]:
    """Ask the services to cancel the jobs that are active.

    Returns:
        Each job as it is afterwards, and why it could not be
        cancelled ("" if it could).
    """
    results = [(job, "no answer in time." if job.status.is_active else "") for job in jobs]

    async def cancel(index: int, job: Job) -> None:
        try:
            with allow_unconfirmed():
                await session.cancel(job)
            results[index] = (await session.describe(job), "")
        except MjciError as error:
            results[index] = (job, error.message)

    async def cancel_active() -> None:
        with anyio.move_on_after(CANCEL_TIMEOUT):
            async with anyio.create_task_group() as group:
                for index, job in enumerate(jobs):
                    if job.status.is_active and job.id:
                        group.start_soon(cancel, index, job)

    # A second interrupt ends the wait for the cancellations, too.
    with suppress(KeyboardInterrupt):
        event_loop.run(cancel_active())
    return results
