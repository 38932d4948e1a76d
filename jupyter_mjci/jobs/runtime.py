"""Wire the parts together that submit, poll, follow and resume jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call, FailedCall, Sender
from jupyter_mjci.client.job import Job
from jupyter_mjci.history.image_archive import ImageArchive
from jupyter_mjci.jobs.batch import Follower
from jupyter_mjci.jobs.call_sender import CallSender
from jupyter_mjci.jobs.client import JobClient
from jupyter_mjci.jobs.downloads import ResultFetcher
from jupyter_mjci.jobs.lookup import JobLookup
from jupyter_mjci.jobs.pictures import PictureReader
from jupyter_mjci.jobs.polling import Poller
from jupyter_mjci.jobs.resumption import resume_jobs
from jupyter_mjci.jobs.submission import Submitter, make_marker_factory
from jupyter_mjci.services import Api


class JobRuntime:
    """What a session delegates to.

    Args:
        client: sends and records
        apis: the API of each service
        archive: keeps results; None keeps none
        marker_seed: see `make_marker_factory`
        deterministic: the same requests in the same order, for
            recordings
    """

    def __init__(
        self,
        client: JobClient,
        apis: Mapping[str, Api],
        archive: ImageArchive | None,
        marker_seed: str | None,
        deterministic: bool,
    ) -> None:
        self._client = client
        self._deterministic = deterministic
        markers = make_marker_factory(marker_seed)
        self.submitter = Submitter(
            client, markers, timeout=client.transport.timeout, deterministic=deterministic
        )
        self.poller = Poller(client, apis, deterministic=deterministic)
        self.results = ResultFetcher(
            client.transport, archive, client.clock, deterministic=deterministic
        )
        self.sender = CallSender(self.submitter, apis)
        self.lookup = JobLookup(client, apis)
        self.pictures = PictureReader(client, self.results, self._fetch)
        self.follower = Follower(self._start, self.poller, self.results)

    async def _start(self, target: Call[Job] | str, queue_timeout: float) -> Job:
        """Submit a call, or fetch the job of an ID."""
        if isinstance(target, FailedCall):
            raise target.error
        call = target if isinstance(target, Call) else self.lookup.describe(target)
        return await self.sender.submit(call, queue_timeout)

    async def _fetch(self, job_id: str) -> Job:
        return await self.sender.send(self.lookup.describe(job_id))

    def receive(self, job: Job) -> None:
        """Take the job of a webhook's delivery."""
        # A replay has no webhooks, and must send the same
        # requests as the recorded session.
        if not self._deterministic:
            self._client.record([job])
            self.poller.push(job)

    def resume(
        self, sender: Sender, timeout: float, poll_interval: float
    ) -> AsyncIterator[Sequence[Job]]:
        """Resolve and follow what an earlier process left, and yield each job as it ends."""
        resume = partial(resume_jobs, self.submitter, self.follower, sender, timeout, poll_interval)
        return event_loop.stream_from_callback(resume)
