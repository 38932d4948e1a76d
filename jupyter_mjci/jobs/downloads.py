"""Fetch what jobs produced: from the archive where it is kept, else by URL.

Where the links of a service end, the originals of finished jobs
are archived as soon as they are seen.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import anyio

from jupyter_mjci.client.calls import Response
from jupyter_mjci.client.file_names import make_safe_name
from jupyter_mjci.client.job import Job, JobPicture, Status
from jupyter_mjci.client.outcomes import ServiceCodes, attach, classify
from jupyter_mjci.client.redaction import redact
from jupyter_mjci.client.response_text import (
    MAX_SEARCHED,
    decode_text,
    is_html,
    parse_object,
    shorten,
)
from jupyter_mjci.client.transport import Clock, Transport
from jupyter_mjci.errors import InvalidRequest, InvalidResponse, MjciError
from jupyter_mjci.history.image_archive import GRID_SIZE, ImageArchive, is_grid, split_grid
from jupyter_mjci.imaging.films import detect_film_format
from jupyter_mjci.imaging.picture import (
    Picture,
    Provenance,
    get_side_car,
    is_whole_picture,
    sign_file,
)
from jupyter_mjci.imaging.picture_files import create_file, is_same_file
from jupyter_mjci.imaging.thumbnails import identify
from jupyter_mjci.jobs.submission import retrying
from jupyter_mjci.services import find_service

# Some of these are in the errors of every family.
ERROR_KEYS = frozenset({"error", "errors", "message", "detail", "msg"})


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
        self._sizes: dict[tuple[str, str, int], tuple[int, int]] = {}

    async def fetch(self, source: Job | JobPicture | str, index: int = 0) -> Picture:
        """Return what a URL leads to, a job's result (from 0), or one of its pictures."""
        if isinstance(source, str):
            content = await self._fetch_url(source)
            reject_error_page(content)
            return Picture(content)
        if isinstance(source, JobPicture):
            return await self._fetch_one_picture(source)
        archived = self.archive.find(source, index) if self.archive else None
        if archived is not None:
            content = archived.read_bytes()
        else:
            content = await self._fetch_result(source, _get_output_url(source, index))
        picture = Picture(content, _describe_origin(source, index))
        self._sizes[source.service, source.id, index] = picture.size
        return picture

    def find_size(self, job: Job, index: int = 0) -> tuple[int, int] | None:
        """Return the size of a job's result that was fetched, or is archived."""
        archived = self.archive.find(job, index) if self.archive else None
        if archived is not None:
            return archived.picture().size
        return self._sizes.get((job.service, job.id, index))

    async def _fetch_one_picture(self, source: JobPicture) -> Picture:
        """Return one of the pictures that `fetch_pictures` returns."""
        job = source.job
        singles = _get_single_urls(job)
        count = len(singles) or (GRID_SIZE if is_grid(job) else len(job.outputs))
        index = source.index + count if source.index < 0 else source.index
        _check_index(job, index, count, "picture")
        if singles:
            content = await self._fetch_result(job, singles[index])
        elif is_grid(job):
            pictures = await anyio.to_thread.run_sync(split_grid, await self.fetch(job))
            content = pictures[index]
        else:
            return await self.fetch(job, index)
        return Picture(content, _describe_origin(job, index))

    async def fetch_pictures(self, job: Job) -> list[Picture]:
        """Return all images of a job, a 2×2 grid as its four images.

        Where the service has them singly, they are not cut out of
        the grid: those are smaller.
        """
        singles = _get_single_urls(job)
        if not singles and not is_grid(job):
            return [await self.fetch(job, index) for index in range(len(job.outputs))]
        contents: Sequence[bytes]
        if singles:
            contents = [await self._fetch_result(job, url) for url in singles]
        else:
            contents = await anyio.to_thread.run_sync(split_grid, await self.fetch(job, 0))
        return [
            Picture(content, _describe_origin(job, index)) for index, content in enumerate(contents)
        ]

    async def download(self, job: Job, folder: Path, template: str) -> list[Path]:
        """Write a job's results into a folder and return the files.

        Args:
            job: the job
            folder: where they are written
            template: the name of each; see `Session.download`
        """
        files = []
        for index, url in enumerate(job.outputs):
            picture = await self.fetch(job, index)
            path = build_path(template, job, index, url, picture)
            origin = self._redact_provenance(picture.provenance)
            files.append(
                await anyio.to_thread.run_sync(_write_result, folder, path, picture, origin)
            )
        return files

    def _redact_provenance(self, provenance: Provenance) -> Provenance:
        """Return a provenance that may be given away: without secrets and signed links."""
        redact_own = self.transport.redactor.redact_text
        subject = _QUERY.sub(r"\1", redact(redact_own(provenance.subject)))
        return replace(provenance, subject=subject, origin=redact(redact_own(provenance.origin)))

    async def _fetch_result(self, job: Job, url: str) -> bytes:
        content = await self._fetch_url(url)
        # Results of a bucket may be anything, also JSON.
        if _has_expiring_links(job):
            await require_picture(content)
        return content

    def should_archive(self, job: Job) -> bool:
        """Return whether a job's results have to outlive their links."""
        has_ended = job.status is Status.SUCCEEDED
        return self.archive is not None and has_ended and _has_expiring_links(job)

    async def archive_results(self, job: Job) -> None:
        """Archive a job's results while their links still work."""
        if self.archive is None or not self.should_archive(job):
            return
        for index, url in enumerate(job.outputs):
            if self.archive.find(job, index) is None:
                # A link that fails now may work when the image is
                # asked for, and a full disk ends no job.
                with contextlib.suppress(MjciError, ValueError, OSError):
                    content = await self._fetch_result(job, url)
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


def reject_error_page(content: bytes) -> None:
    """Raise InvalidResponse for what no link to a file leads to: nothing, a web page, an error."""
    document = parse_object(content) if content.startswith(b"{") else None
    is_error = isinstance(document, dict) and not ERROR_KEYS.isdisjoint(document)
    if not content or is_html(content) or is_error:
        raise _build_not_picture_error(content)


async def require_picture(content: bytes) -> None:
    """Return if the bytes are a picture that decodes whole, or a film.

    Raises:
        InvalidResponse: they are something else: tells what
    """
    if detect_film_format(content):
        return
    if await anyio.to_thread.run_sync(is_whole_picture, content):
        return
    raise _build_not_picture_error(content)


def _build_not_picture_error(content: bytes) -> InvalidResponse:
    what = "nothing"
    if identify(content) is not None:
        what = "a damaged or truncated picture"
    elif content:
        what = shorten(decode_text(content[:MAX_SEARCHED]))
    return InvalidResponse(
        "The link does not lead to a picture.",
        detail=f"The server sent {what}.",
        body=content,
        hint="Links may end, some after a day: fetch results when the job ends.",
    )


def _has_expiring_links(job: Job) -> bool:
    service = find_service(job.service)
    return service is not None and service.links_expire


def _describe_origin(job: Job, index: int) -> Provenance:
    return Provenance(job.service, job.id, index, job.action, job.subject, job.origin)


def _get_single_urls(job: Job) -> Sequence[str]:
    service = find_service(job.service)
    return service.get_single_urls(job) if service else ()


# --- files ------------------------------------------------------


def build_path(
    template: str,
    job: Job,
    index: int,
    url: str,
    content: bytes,
) -> PurePosixPath:
    """Fill in a template, and make each part of the path a safe file name.

    Raises:
        InvalidRequest: the template names an unknown field
    """
    url_name = PurePosixPath(unquote(urlsplit(url).path)).name
    values = {
        "name": PurePosixPath(make_safe_name(url_name, job.id)).stem,
        "id": job.id,
        "index": str(index),
        "prompt": " ".join(job.subject.split()),
        "action": job.action,
        "service": job.service,
    }
    parts = []
    for part in template.split("/"):
        try:
            parts.append(make_safe_name(part.format_map(values), job.id))
        except (KeyError, ValueError, IndexError, AttributeError) as error:
            raise InvalidRequest(
                f"{template!r} is not a valid template.",
                detail=f"{type(error).__name__}: {error}",
                hint=f"Available: {', '.join(f'{{{name}}}' for name in values)}.",
            ) from None
    return PurePosixPath(*parts[:-1], parts[-1] + _get_suffix(url_name, content))


def _get_suffix(url_name: str, content: bytes) -> str:
    """Return the extension of the format that the bytes have, not of the one that a link claims."""
    header = identify(content)
    name = header.format if header else detect_film_format(content)
    if not name:
        return PurePosixPath(make_safe_name(url_name)).suffix
    return ".jpg" if name == "jpeg" else f".{name}"


# Links in a prompt may be signed in ways that nobody has heard of.
_QUERY = re.compile(r"(https?://[^\s?#]+)[?#]\S*")


def _write_result(
    folder: Path, path: PurePosixPath, picture: Picture, provenance: Provenance
) -> Path:
    """Write a result, with its provenance in the file or beside it, and return the file."""
    content, side_text = sign_file(picture, provenance)
    file = write_new_file(folder, path, content)
    if side_text:
        with contextlib.suppress(FileExistsError):
            create_file(get_side_car(file), side_text.encode())
    return file


def write_new_file(folder: Path, path: PurePosixPath, content: bytes) -> Path:
    """Write a file under a name that is free; an existing file with the same content is kept."""
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    for number in itertools.count(2):
        try:
            create_file(target, content)
            return target
        except FileExistsError:
            if is_same_file(target, content):
                return target
            target = folder / path.with_name(f"{path.stem}-{number}{path.suffix}")
    raise AssertionError("unreachable")


def _get_output_url(job: Job, index: int) -> str:
    _check_index(job, index, len(job.outputs), "result")
    return job.outputs[index]


def _check_index(job: Job, index: int, count: int, noun: str) -> None:
    if 0 <= index < count:
        return
    plural = "" if count == 1 else "s"
    number = f", and {index} is none of them: they count from 0" if count else ""
    raise InvalidRequest(
        f"{job.action or 'Job'} {job.id} has {count or 'no'} {noun}{plural}{number}.",
        detail=f"It is {job.status}.",
        hint="Follow it to its end first." if job.status.is_active else "",
    )
