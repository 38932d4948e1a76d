"""Fetch what jobs produced: from the archive where it is kept, else by URL.

Where the links of a service end, the originals of finished jobs
are archived as soon as they are seen.
"""

from __future__ import annotations

import contextlib
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import anyio

from jupyter_mjci.client.calls import Response
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.outcomes import ServiceCodes, attach, classify
from jupyter_mjci.client.transport import Clock, Transport
from jupyter_mjci.errors import InvalidRequest, InvalidResponse, MjciError
from jupyter_mjci.history.image_archive import ImageArchive, is_grid, split_grid
from jupyter_mjci.jobs.submission import retrying
from jupyter_mjci.services import find_service


class ResultFetcher:
    """Fetches, saves and archives the results of jobs.

    Args:
        transport: fetches URLs; credentials go to the services'
            own hosts only
        archive: where originals are kept; None archives nothing
        clock: measures the pauses between retries, and when an
            image was fetched
        deterministic: retry without jitter, for sessions that are
            recorded or replayed
    """

    def __init__(
        self,
        transport: Transport,
        archive: ImageArchive | None,
        clock: Clock,
        *,
        deterministic: bool = False,
    ) -> None:
        self.transport = transport
        self.archive = archive
        self.clock = clock
        self._deterministic = deterministic

    async def fetch(self, job_or_url: Job | str, index: int) -> bytes:
        """Return the bytes of a URL, or of a job's result (from 0)."""
        if isinstance(job_or_url, str):
            return await self._fetch_url(job_or_url)
        archived = self.archive.find(job_or_url, index) if self.archive else None
        if archived is not None:
            return archived.read_bytes()
        return await self._fetch_url(_get_output_url(job_or_url, index))

    async def fetch_pictures(self, job: Job) -> list[bytes]:
        """Return all images of a job, a 2×2 grid as its four images."""
        images = [await self.fetch(job, index) for index in range(len(job.outputs))]
        if not is_grid(job):
            return images
        return await anyio.to_thread.run_sync(split_grid, images[0])

    async def download(self, job: Job, folder: Path) -> list[Path]:
        """Write a job's results into a folder, under the names of their URLs; return the files."""
        files = []
        for index, url in enumerate(job.outputs):
            content = await self.fetch(job, index)
            name = PurePosixPath(unquote(urlsplit(url).path)).name
            file = folder / (name or f"{job.id}-{index}")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            files.append(file)
        return files

    def should_archive(self, job: Job) -> bool:
        """Return whether a job's results have to outlive their links."""
        service = find_service(job.service)
        links_expire = service is not None and service.links_expire
        return self.archive is not None and links_expire and job.status is Status.SUCCEEDED

    async def archive_results(self, job: Job) -> None:
        """Archive a job's results while their links still work."""
        if self.archive is None or not self.should_archive(job):
            return
        for index, url in enumerate(job.outputs):
            if self.archive.find(job, index) is None:
                # A link that fails now may work when the image is
                # asked for, and a full disk ends no job.
                with contextlib.suppress(MjciError, ValueError, OSError):
                    content = await self._fetch_url(url)
                    self.archive.save(job, url, content, index, self.clock.now())

    async def _fetch_url(self, url: str) -> bytes:
        async for attempt in retrying(self.clock, deterministic=self._deterministic):
            with attempt:
                return await self._fetch_once(url)
        raise AssertionError("unreachable")  # the last attempt raises

    async def _fetch_once(self, url: str) -> bytes:
        response: Response = await self.transport.get(url)
        if response.status < 300:
            return response.body
        classified = classify(response, ServiceCodes())
        words = f"{classified.message}." if classified.message else ""
        raise attach(
            InvalidResponse(
                f"The image is not available (HTTP {response.status}).",
                detail=classified.location or words,
                body=response.body,
                hint="Links may end, some after a day: fetch results when the job ends.",
            ),
            classified,
        )


def _get_output_url(job: Job, index: int) -> str:
    if index < len(job.outputs):
        return job.outputs[index]
    count = len(job.outputs)
    plural = "" if count == 1 else "s"
    raise InvalidRequest(
        f"{job.action or 'Job'} {job.id} has {count or 'no'} result{plural}.",
        detail=f"It is {job.status}.",
        hint="Follow it to its end first." if job.status.is_active else "",
    )
