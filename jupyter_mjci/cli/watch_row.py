"""A watched job, as one row of the output of `jupyter mjci watch`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import JobFailed, MjciError

PENDING_LABEL = "asking …"
UNKNOWN_LABEL = "unknown"

JobKey = tuple[str, str]  # service and ID


@dataclass(frozen=True, slots=True)
class Row:
    """A watched job.

    Args:
        key: service and ID, as given on the command line or in
            the journal
        job: the job as last seen
        since: when watching it began, in seconds of the monotonic
            clock
        follow_error: the error that ended the watching before the
            job ended
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
        """The job's status; a label of ours if the service has said nothing about it."""
        if self.job != Job(*self.key):
            return self.job.status.value
        return PENDING_LABEL if self.follow_error is None else UNKNOWN_LABEL

    @property
    def outcome_error(self) -> MjciError | None:
        """Why the job has not succeeded; None if it has, or still may."""
        if self.follow_error is not None:
            return self.follow_error
        if self.job.status in (Status.FAILED, Status.CANCELLED):
            return JobFailed(self.job)
        if self.job.status is Status.NEEDS_INPUT:
            return MjciError(
                f"{self.job.action or 'Job'} {self.job.id} needs your input.",
                hint=f"In a notebook: %mj_modal {self.job.id}",
            )
        return None


Rows = Mapping[JobKey, Row]
