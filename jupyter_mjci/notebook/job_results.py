"""The results of a job as outputs of a cell: thumbnails, links, previews and bytes."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import anyio

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job, JobPicture, Status
from jupyter_mjci.errors import MjciError
from jupyter_mjci.imaging.films import MAX_POSTER_BYTES, POSTER_SIZE
from jupyter_mjci.imaging.picture import Picture
from jupyter_mjci.notebook import cards, images
from jupyter_mjci.notebook.cards import Extras
from jupyter_mjci.notebook.images import MimeBundle
from jupyter_mjci.services import find_service

if TYPE_CHECKING:
    from jupyter_mjci.session import Session

PREVIEW_SIZE = 256  # pixels
CARD_SIZE = 208  # pixels
PREVIEW_TIMEOUT = 3.0  # seconds


def card_bundle(job: Job, extras: Extras = cards.NO_EXTRAS) -> MimeBundle:
    """Return a job's card as an output."""
    html = cards.card_html(job, extras)
    return {"text/html": html, "text/plain": cards.card_text(job, extras)}, {}


def fetch_results(session: Session, job: Job) -> tuple[list[MimeBundle], Extras]:
    """Download the results of a finished job.

    Returns:
        The images as outputs, and what the card says about
        results that cannot be shown.
    """
    return event_loop.run(fetch_results_async(session, job))


async def fetch_results_async(session: Session, job: Job) -> tuple[list[MimeBundle], Extras]:
    """Download the results as `fetch_results` does, for code on the event loop."""
    bundles: list[MimeBundle] = []
    notes: list[str] = []
    links: list[tuple[str, str]] = []
    for index, url in enumerate(job.outputs):
        try:
            content = await session.picture(job, index)
        except MjciError as error:
            notes.append(f"The picture could not be fetched: {error.message}")
            continue
        try:
            bundles.append(images.picture_bundle(job, content, session.settings.thumbnail))
        except ValueError:
            film = images.film_bundle(job, content, url, await _load_poster(session, job))
            if film is None:
                links.append((_file_name(url), url))
            else:
                bundles.append(film)
            continue
        info = images.identify(content)
        if info is not None and info.frames > 1:
            links.append((f"{_file_name(url)} ({info.frames} frames; the first is shown)", url))
    return bundles, Extras(notes, await _count_child_jobs(session, job), links=links)


async def _load_poster(session: Session, job: Job) -> str:
    """Return the picture that the service shows for a film, where its frames cannot be decoded."""
    service = find_service(job.service)
    url = service.get_poster_url(job) if service and find_spec("av") is None else ""
    if url:
        with suppress(MjciError, ValueError), anyio.move_on_after(PREVIEW_TIMEOUT):
            picture = await session.picture(url)
            return images.data_url(picture, POSTER_SIZE, MAX_POSTER_BYTES)
    return ""


def fetch_card_picture(session: Session, job: Job) -> str:
    """Return a job's first picture as a data URL; "" where there is none, or it takes too long."""
    return event_loop.run(load_card_picture(session, job))


async def load_card_picture(session: Session, job: Job) -> str:
    """Load the picture as `fetch_card_picture` does, for code on the event loop."""
    if job.status is not Status.SUCCEEDED or not job.outputs:
        return ""
    picture = await _try_fetch(session, job)
    with suppress(ValueError):
        return images.data_url(picture, CARD_SIZE)
    return ""


def fetch_picture_bundle(session: Session, source: JobPicture) -> MimeBundle:
    """Return one of a job's pictures as an output, or what it is called."""
    picture = event_loop.run(_try_fetch(session, source))
    return picture._repr_mimebundle_() if picture else ({"text/plain": repr(source)}, {})


async def _try_fetch(session: Session, source: Job | JobPicture) -> Picture:
    """Return a picture, within the time that a display may take; an empty one where none comes."""
    with suppress(MjciError), anyio.move_on_after(PREVIEW_TIMEOUT):
        return await session.picture(source)
    return Picture(b"")


def _file_name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2] or "result"


async def _count_child_jobs(session: Session, job: Job) -> dict[str, int] | None:
    """Count the jobs of a batch by status, on the first page of its listing."""
    service = find_service(job.service)
    if service is None:
        return None
    call = service.list_children(getattr(session, service.key), job)
    if call is None:
        return None
    try:
        page = await call
    except MjciError:
        return None
    counts = Counter(child.status.value for child in page.items)
    return dict(sorted(counts.items()))


@dataclass
class Previews:
    """The blurry previews of a running task. Each is downloaded once; a failure is ignored."""

    session: Session
    url: str = ""
    data_url: str = ""

    async def fetch(self, job: Job) -> str:
        """Return the latest preview as a data URL, or "". Runs on the event loop."""
        service = find_service(job.service)
        url = service.get_preview_url(job) if service else ""
        if url and url != self.url:
            self.url = url
            with suppress(MjciError, ValueError), anyio.move_on_after(PREVIEW_TIMEOUT):
                content = await self.session.picture(url)
                max_bytes = images.MAX_THUMBNAIL_BYTES // 3
                self.data_url = images.data_url(content, PREVIEW_SIZE, max_bytes)
        return self.data_url
