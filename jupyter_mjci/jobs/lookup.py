"""Find the service of a job, and build the calls that concern the job."""

from __future__ import annotations

from collections.abc import Mapping

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job, to_job_id
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.jobs.client import JobClient
from jupyter_mjci.services import Api, Service, guess_service, services


class JobLookup:
    """Knows the service of each job: from the journal, or by the form of its ID.

    Args:
        client: knows the journal, and which services are
            installed
        apis: the API of each service
    """

    def __init__(self, client: JobClient, apis: Mapping[str, Api]) -> None:
        self._client = client
        self._apis = apis

    def describe(self, job: Job | str) -> Call[Job]:
        """Build the call that fetches a job; see `Session.describe`."""
        job_id, job_service = self._resolve(job)
        return job_service.get_job(self._apis[job_service.key], job_id)

    def cancel(self, job: Job | str) -> Call[None]:
        """Build the call that cancels a job; see `Session.cancel`."""
        job_id, job_service = self._resolve(job)
        if job_service.cancel_job is None:
            raise InvalidRequest(f"{job_service.label} cannot cancel jobs.")
        return job_service.cancel_job(self._apis[job_service.key], job_id)

    def _resolve(self, job: Job | str) -> tuple[str, Service]:
        if isinstance(job, Job):
            return job.id, self._client.require_service(job.service)
        job_id = to_job_id(job)
        key = self._client.journal.find_service(job_id)
        found = self._client.require_service(key) if key else guess_service(job_id)
        if found is None:
            raise InvalidRequest(
                f"{job_id!r} is not a valid job ID.",
                hint=" ".join(each.id_help for each in services()).strip(),
            )
        return job_id, found
