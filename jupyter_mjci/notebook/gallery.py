"""Many pictures as one contact sheet in a cell, or as an HTML page: `%mjci gallery`.

The pictures are those of the session, of the journal and of the
archive, latest first. Those of a saved notebook come from
`saved_notebook`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import anyio

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.response_text import shorten
from jupyter_mjci.errors import InvalidRequest, MjciError, sanitize
from jupyter_mjci.history.image_archive import ArchivedImage
from jupyter_mjci.notebook import cards, images
from jupyter_mjci.notebook.cards import escape_text
from jupyter_mjci.notebook.images import MimeBundle

if TYPE_CHECKING:
    from jupyter_mjci.session import Session

DEFAULT_LIMIT = 24
MAX_SUBJECT = 100  # characters of a prompt in a line
MAX_JOURNAL_JOBS = 10_000  # jobs of the journal that are searched
SVG = "image/svg+xml"
NO_PICTURES = "No matching pictures."
_RESOURCES = files("jupyter_mjci.notebook")
_FIGURE = Template(
    '<figure><div><img src="$url" alt="$alt" loading="lazy"></div>'
    "<figcaption><b>$kind</b><p>$subject</p><code>$caption</code></figcaption></figure>"
)


@dataclass(frozen=True, slots=True)
class GalleryItem:
    """A picture and its texts: `kind` and `name` (the action and
    the job's ID, or the cell), the `subject`, a `caption` with
    its size and format, and the `alt` text.
    """

    content: bytes
    kind: str
    name: str
    subject: str
    caption: str
    alt: str


@dataclass(frozen=True, slots=True)
class _Result:
    """One result of a job, and its archived image if only the archive has it."""

    job: Job
    index: int
    archived: ArchivedImage | None = None


# --- pictures of jobs -------------------------------------------


def collect_items(
    session: Session, text: str = "", action: str = "", limit: int = DEFAULT_LIMIT
) -> list[GalleryItem]:
    """Collect the pictures of the session, of the journal and of the archive, latest first.

    A picture that can no longer be downloaded is left out.

    Args:
        session: the session to search
        text: only pictures whose subject contains this
        action: only pictures of this action, in the service's
            spelling
        limit: at most so many

    Raises:
        InvalidRequest: the limit is below 1.
    """
    if limit < 1:
        raise InvalidRequest(f"--limit must be at least 1, not {limit}.")
    matching = (result for result in _iter_results(session) if _matches(result.job, text, action))
    return event_loop.run(_fetch_items(session, list(islice(matching, limit))))


def _iter_results(session: Session) -> Iterator[_Result]:
    """Yield every result once: those of known jobs, then those that only the archive has."""
    known: set[tuple[str, str, int]] = set()
    for job in _list_latest_jobs(session):
        for index in range(len(job.outputs)):
            known.add((job.service, job.id, index))
            yield _Result(job, index)
    for image in session.archive or ():
        if (image.service, image.job_id, image.index) not in known:
            yield _Result(_restore_job(image), image.index, image)


def _restore_job(image: ArchivedImage) -> Job:
    return Job(
        image.service,
        image.job_id,
        image.action,
        Status.SUCCEEDED,
        subject=image.subject,
    )


def _list_latest_jobs(session: Session) -> list[Job]:
    jobs = [
        *session.journal.jobs_with_outputs(MAX_JOURNAL_JOBS),
        *session.client.known_jobs(),
    ]
    latest = {(job.service, job.id): job for job in jobs if job.outputs}
    return sorted(latest.values(), key=_get_finish_time, reverse=True)


def _get_finish_time(job: Job) -> float:
    return job.finished.timestamp() if job.finished else 0.0


def _matches(job: Job, text: str, action: str) -> bool:
    if action and action.casefold() != job.action.casefold():
        return False
    return text.casefold() in job.subject.casefold()


async def _fetch_items(session: Session, results: Sequence[_Result]) -> list[GalleryItem]:
    items: list[GalleryItem | None] = [None] * len(results)

    async def fetch(position: int, result: _Result) -> None:
        try:
            if result.archived:
                content = result.archived.picture()
            else:
                content = await session.picture(result.job, result.index)
        except (MjciError, OSError):
            return
        if images.identify(content):
            items[position] = _build_item(result.job, content)

    async with anyio.create_task_group() as group:
        for position, result in enumerate(results):
            group.start_soon(fetch, position, result)
    return [item for item in items if item]


def _build_item(job: Job, content: bytes) -> GalleryItem:
    return GalleryItem(
        content,
        kind=job.action or job.service,
        name=job.id,
        subject=job.subject,
        caption=images.format_caption(job, content),
        alt=images.format_alt_text(job),
    )


# --- sheets and pages -------------------------------------------


def render_contact_sheet(items: Sequence[GalleryItem]) -> MimeBundle:
    """Return all pictures as one image, and a text that lists them."""
    if not items:
        return {
            "text/plain": NO_PICTURES,
            "text/html": cards.notice_html(NO_PICTURES),
        }, {}
    labels = []
    lines = []
    for number, item in enumerate(items, 1):
        labels.append(f"{number} {item.kind} {item.name}")
        lines.append(sanitize(f"{number:>3} {item.caption}  {shorten(item.subject, MAX_SUBJECT)}"))
    sheet, width, height = images.contact_sheet([item.content for item in items], labels)
    subjects = dict.fromkeys(shorten(item.subject, MAX_SUBJECT) for item in items)
    alt = sanitize(f"{len(items)} pictures: {'; '.join(subjects)}"[:500])
    data = {
        "image/jpeg": images.to_base64(sheet),
        "text/plain": "\n".join(lines),
    }
    return data, {"image/jpeg": {"width": width, "height": height, "alt": alt}}


def render_page(items: Sequence[GalleryItem], title: str = "Pictures") -> str:
    """Return all pictures as a self-contained HTML page."""
    figures = "\n".join(_render_figure(item) for item in items) or f"<p>{NO_PICTURES}</p>"
    return Template(_RESOURCES.joinpath("gallery.html").read_text("utf-8")).substitute(
        title=escape_text(title),
        style=_RESOURCES.joinpath("gallery.css").read_text("utf-8"),
        count=_format_count(items),
        figures=figures,
    )


def _format_count(items: Sequence[GalleryItem]) -> str:
    return "1 picture" if len(items) == 1 else f"{len(items)} pictures"


def _render_figure(item: GalleryItem) -> str:
    return _FIGURE.substitute(
        url=_to_data_url(item.content),
        alt=escape_text(item.alt),
        kind=escape_text(item.kind),
        subject=escape_text(item.subject),
        caption=escape_text(item.caption),
    )


def _to_data_url(content: bytes) -> str:
    # Inside an img element, an SVG runs no scripts and loads no
    # external resources.
    if is_svg(content):
        return f"data:{SVG};base64,{images.to_base64(content)}"
    return images.data_url(content)


def is_svg(content: bytes) -> bool:
    return b"<svg" in content[:1000]


def write_page(items: Sequence[GalleryItem], path: str | Path, title: str = "Pictures") -> str:
    """Write the page of the pictures, and return a line that says where.

    Raises:
        InvalidRequest: the file cannot be written.
    """
    try:
        Path(path).expanduser().write_text(render_page(items, title), "utf-8")
    except OSError as error:
        raise InvalidRequest(f"Cannot write {path}.", detail=error.strerror or str(error)) from None
    return f"{_format_count(items)}: {path}"
