"""What happens to a job whose cell is interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import anyio

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import MjciError
from jupyter_mjci.notebook import cards
from jupyter_mjci.session import Session


class Interrupted(KeyboardInterrupt):
    """Nobody waits any longer. `.job` is how a job that was submitted was last seen, `.message` is to
    be known of it and `.hint` says what to do next.
    """

    def __init__(self, job: Job | None = None, message: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.job, self.message, self.hint = job, message, hint

    @property
    def note(self) -> str:
        """The same for a card, which tells of the job itself."""
        return f"Interrupted: {self.message} {self.hint}".rstrip()

    def _render_traceback_(self) -> list[str]:
        """IPython's door: two lines in a cell instead of the way through the engine."""
        about = f"{cards.headline(self.job)}: " if self.job else ""
        return [f"Interrupted: {about}{self.message}", *([f"  → {self.hint}"] if self.hint else [])]


OUTCOME_UNKNOWN = "the submission may have arrived: look at the listing before sending it again."


def handle_interrupt(session: Session, job: Job) -> Interrupted:
    """What becomes of a job whose cell was interrupted."""
    if job.status.is_terminal:
        return Interrupted(
            job, "its pictures were not fetched.", f"Show them with {cards.follow_command(job)}"
        )
    what = "it goes on at the service."
    if session.settings.on_interrupt == "cancel":
        ((job, why),) = cancel_all(session, [job])
        what = (
            f"it could not be cancelled and goes on: {why}"
            if why
            else "the service was asked to cancel it."
        )
    if job.status is Status.CANCELLED:
        return Interrupted(job, "it was cancelled at the service.")
    return Interrupted(job, what, f"Wait for it again with {cards.follow_command(job)}")


CANCEL_TIMEOUT = (
    10.0  # seconds that a person who has interrupted a cell waits for the services to say yes
)


def cancel_all(session: Session, jobs: Sequence[Job]) -> list[tuple[Job, str]]:
    """Asks the services to cancel those of the jobs that have not ended. Each as it then is, and
    why it could not be cancelled, where that is so.
    """
    found = [(job, "there was no answer in time." if job.status.is_active else "") for job in jobs]

    async def one(place: int, job: Job) -> None:
        try:
            await session.cancel(job)
            found[place] = await session.describe(job), ""
        except MjciError as error:
            found[place] = job, error.message

    async def every() -> None:
        with anyio.move_on_after(CANCEL_TIMEOUT):
            async with anyio.create_task_group() as group:
                for place, job in enumerate(jobs):
                    if job.status.is_active and job.id:
                        group.start_soon(one, place, job)

    with suppress(KeyboardInterrupt):  # a second time: then nobody waits for this either
        event_loop.run(every())
    return found
