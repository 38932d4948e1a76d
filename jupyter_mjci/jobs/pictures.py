"""Read a picture from whatever names it: a job, its ID, a link, a path, or the picture itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import anyio

from jupyter_mjci.client.image_input import (
    ImageInput,
    find_job_source,
    is_existing_path,
    is_link,
    read_content,
)
from jupyter_mjci.client.job import Job, JobPicture, Status, split_picture_name
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.history.image_archive import is_grid
from jupyter_mjci.imaging.picture import Picture
from jupyter_mjci.imaging.picture_check import prepare_picture
from jupyter_mjci.jobs.client import JobClient
from jupyter_mjci.jobs.downloads import ResultFetcher
from jupyter_mjci.services import find_service, guess_service


class PictureReader:
    """Reads pictures for a session.

    Args:
        client: knows the jobs that were seen
        results: fetches what jobs produced
        fetch_job: fetches a job's current state by its ID
    """

    def __init__(
        self,
        client: JobClient,
        results: ResultFetcher,
        fetch_job: Callable[[str], Awaitable[Job]],
    ) -> None:
        self._client = client
        self._results = results
        self._fetch_job = fetch_job

    async def read(self, source: ImageInput, index: int = 0) -> Picture:
        """Return a picture. Bytes and files are returned as they are, also what is no picture.

        Links, data URLs and jobs give pictures that decode whole.
        """
        if isinstance(source, Picture):
            return source
        if isinstance(source, str) and is_link(source):
            return await self._results.fetch(source)
        if isinstance(source, str) and source.startswith("data:"):
            content = await anyio.to_thread.run_sync(read_content, source)
            return Picture(await anyio.to_thread.run_sync(prepare_picture, content))
        if isinstance(source, str):
            source = await self._find_by_name(source)
        job_source = find_job_source(source)
        if isinstance(job_source, JobPicture):
            current = replace(job_source, job=await self._refresh(job_source.job))
            return await self._results.fetch(current)
        if job_source is not None:
            return await self._results.fetch(await self._refresh(job_source), index)
        if isinstance(source, Path):
            return await anyio.to_thread.run_sync(Picture.open, source)
        return Picture(await anyio.to_thread.run_sync(read_content, source))

    def find_size(self, job_id: str) -> tuple[int, int] | None:
        """Return the size of a job's only picture, as far as it is known.

        Of a job that waits for input, that of its parent.
        """
        job = self._find_known(job_id)
        if job and job.status is Status.NEEDS_INPUT:
            job = self._find_known(job.parent)
        if job is None or is_grid(job):
            return None
        found = find_service(job.service)
        size = found.get_picture_size(job) if found else None
        return size or self._results.find_size(job)

    async def _find_by_name(self, text: str) -> Path | Job | JobPicture:
        """Return the file of a path, the job of an ID, or one of its pictures: ID[2]."""
        job_id, number = split_picture_name(text)
        if number is not None and not is_existing_path(text):
            return (self._find_known(job_id) or await self._fetch_job(job_id))[number]
        job = self._find_known(text.strip())
        is_file = is_existing_path(text)
        if job and is_file:
            raise InvalidRequest(
                f"{text!r} is a file and the ID of a job.",
                hint=f"Write ./{text} for the file, or pass the job itself.",
            )
        if job:
            return job
        if is_file or "." in text or "/" in text:
            return Path(text)
        if guess_service(text):
            return await self._fetch_job(text)
        raise InvalidRequest(
            f"There is no file and no job {text[:200]!r}.",
            hint="Give a path, a job's ID, a link, or the picture itself.",
        )

    def _find_known(self, job_id: str) -> Job | None:
        """Return a job as last seen by this session or its journal."""
        for job in self._client.known_jobs():
            if job.id == job_id:
                return job
        return self._client.journal.find_job(job_id) if job_id else None

    async def _refresh(self, job: Job) -> Job:
        """Return a job that was not finished when it was seen as it is now."""
        if not job.status.is_active or not job.id:
            return job
        known = self._find_known(job.id)
        if known and known.service == job.service and known.status.is_terminal:
            return known
        return await self._fetch_job(job.id)
