"""The results of a job as outputs of a cell."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import MjciError
from jupyter_mjci.notebook import cards, images
from jupyter_mjci.notebook.cards import Extras
from jupyter_mjci.notebook.images import MimeBundle
from jupyter_mjci.services.midjourney.api import get_preview_url
from jupyter_mjci.services.tencent_ci.api import to_text
from jupyter_mjci.session import Session

PREVIEW_SIZE = 256  # pixels


PREVIEW_TIMEOUT = 3.0  # seconds for a preview


def card_bundle(job: Job, extras: Extras = cards.NO_EXTRAS) -> MimeBundle:
    """A job's card as an output."""
    return {
        "text/html": cards.card_html(job, extras),
        "text/plain": cards.card_text(job, extras),
    }, {}


@dataclass
class Previews:
    """The blurry previews of a running task, each fetched once. One that is not to be had is no
    matter.
    """

    session: Session
    url: str = ""
    data_url: str = ""

    async def fetch(self, job: Job) -> str:
        """The preview as a data URL, or the one before, or "". On the engine."""
        url = get_preview_url(job)
        if url and url != self.url:
            self.url = url
            with suppress(MjciError, ValueError), anyio.move_on_after(PREVIEW_TIMEOUT):
                content = await self.session.picture(url)
                self.data_url = images.data_url(
                    content, PREVIEW_SIZE, images.MAX_THUMBNAIL_BYTES // 3
                )
        return self.data_url


def fetch_results(session: Session, job: Job) -> tuple[list[MimeBundle], Extras]:
    """The pictures of a finished job as outputs, and what its card has to say of them."""
    return event_loop.run(fetch_results_async(session, job))


async def fetch_results_async(session: Session, job: Job) -> tuple[list[MimeBundle], Extras]:
    """The same for code on the engine."""
    bundles: list[MimeBundle] = []
    notes: list[str] = []
    links: list[tuple[str, str]] = []
    for index, url in enumerate(job.outputs):
        try:
            content = await session.picture(job, index)
        except MjciError as error:
            notes.append(f"The picture could not be fetched: {error.message}")
            continue
        seen = images.identify(content)
        try:
            bundles.append(images.picture_bundle(job, content, session.settings.thumbnail))
        except ValueError:
            links.append((_file_name(url), url))
            continue
        if seen is not None and seen.frames > 1:
            links.append((f"{_file_name(url)} ({seen.frames} frames; the first is shown)", url))
    return bundles, Extras(notes, await _count_child_jobs(session, job), links=links)


def _file_name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2] or "result"


async def _count_child_jobs(session: Session, job: Job) -> dict[str, int] | None:
    """How many jobs a batch made, by status: one page of the listing."""
    if job.service != "ci" or not job.raw.get("Name") or not job.id:
        return None
    tag = to_text(job.raw.get("Operation", {}).get("Tag")) or "PicProcess"
    try:
        page = await session.ci.jobs(tag=tag, batch_id=job.id).first_page
    except MjciError:
        return None
    return dict(sorted(Counter(child.status.value for child in page.items).items()))


class ObjectBytes(bytes):
    """An object's bytes as a cell's result: a picture is shown, anything else is told."""

    def __repr__(self) -> str:
        seen = images.identify(self)
        what = f"{seen.format} {seen.width}×{seen.height}" if seen else "bytes"
        return f"<{what}, {len(self)} bytes, sha {images.digest(self)[:12]}>"

    def _repr_mimebundle_(self, **_: Any) -> Any:
        try:
            small, mime, width, height = images.make_thumbnail(self)
        except ValueError:
            return {"text/plain": repr(self)}
        return {mime: images.to_base64(small), "text/plain": repr(self)}, {
            mime: {"width": width, "height": height}
        }
