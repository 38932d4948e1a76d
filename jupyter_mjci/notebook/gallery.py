"""`%mjci gallery`, `jupyter mjci gallery`: many pictures as one sheet in a cell, or as a page of
their own.

The pictures are those of this session, of the journal and of the archive; or those that a notebook
was saved with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path

import anyio

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import InvalidRequest, MjciError, sanitize
from jupyter_mjci.history.image_archive import ArchivedImage
from jupyter_mjci.notebook import cards, images
from jupyter_mjci.notebook.images import MimeBundle
from jupyter_mjci.session import Session

DEFAULT_LIMIT = 24
SVG = "image/svg+xml"
MAX_JOURNAL_JOBS = 10_000  # jobs of the journal that are looked through


@dataclass(frozen=True, slots=True)
class GalleryItem:
    """A picture and what is said of it: `kind` and `name` (the action and the job's id, or the
    cell), what it is `subject`, a `caption` that tells it from others, and `alt` for those who cannot
    see it.
    """

    content: bytes
    kind: str
    name: str
    subject: str
    caption: str
    alt: str


NO_PICTURES = "No pictures yet, or none that fit."


# --- pictures of jobs -----------------------------------------------------------------------------


def collect_items(
    session: Session, text: str = "", action: str = "", limit: int = DEFAULT_LIMIT
) -> list[GalleryItem]:
    """The pictures of this session, of the journal and of the archive, the latest first; what
    cannot be fetched any more is left out.

    `text` is looked for in what they are about, `action` is the service's word. Raises CallError
    for a limit below 1.
    """
    if limit < 1:
        raise InvalidRequest(f"--limit is at least 1, not {limit}.")
    fits = [one for one in _iter_results(session) if _matches(one[0], text, action)][:limit]
    return event_loop.run(_fetch_items(session, fits))


def _iter_results(session: Session) -> Iterator[tuple[Job, int, ArchivedImage | None]]:
    """Every result once: those of jobs that are known, then those that the archive has besides."""
    known = set[tuple[str, str, int]]()
    for job in _list_latest_jobs(session):
        for index in range(len(job.outputs)):
            known.add((job.service, job.id, index))
            yield job, index, None
    for kept in session.archive or ():
        if (kept.service, kept.job_id, kept.index) not in known:
            yield (
                Job(kept.service, kept.job_id, kept.action, Status.SUCCEEDED, subject=kept.subject),
                kept.index,
                kept,
            )


def _list_latest_jobs(session: Session) -> list[Job]:
    jobs = [
        *session.journal.jobs_with_outputs(MAX_JOURNAL_JOBS),
        *session.known_jobs("mj"),
        *session.known_jobs("ci"),
    ]
    latest = {(job.service, job.id): job for job in jobs if job.outputs}
    return sorted(
        latest.values(),
        key=lambda job: job.finished.timestamp() if job.finished else 0.0,
        reverse=True,
    )


def _matches(job: Job, text: str, action: str) -> bool:
    return text.casefold() in job.subject.casefold() and action.casefold() in (
        "",
        job.action.casefold(),
    )


async def _fetch_items(
    session: Session, results: Sequence[tuple[Job, int, ArchivedImage | None]]
) -> list[GalleryItem]:
    found: dict[int, GalleryItem] = {}

    async def fetch(place: int, job: Job, index: int, kept: ArchivedImage | None) -> None:
        try:
            content = kept.read_bytes() if kept else await session.picture(job, index)
        except (MjciError, OSError):
            return
        if images.identify(content):
            found[place] = _build_item(job, content)

    async with anyio.create_task_group() as group:
        for place, one in enumerate(results):
            group.start_soon(partial(fetch, place, *one))
    return [found[place] for place in sorted(found)]


def _build_item(job: Job, content: bytes) -> GalleryItem:
    caption, alt = images.format_caption(job, content), images.format_alt_text(job)
    return GalleryItem(content, job.action or job.service, job.id, job.subject, caption, alt)


# --- pictures of a notebook -----------------------------------------------------------------------


# --- sheets and pages -----------------------------------------------------------------------------


def render_contact_sheet(items: Sequence[GalleryItem]) -> MimeBundle:
    """All of them as one picture, and as text which is which."""
    if not items:
        return {"text/plain": NO_PICTURES, "text/html": cards.notice_html(NO_PICTURES)}, {}
    labels = [f"{number} {one.kind} {one.name}" for number, one in enumerate(items, 1)]
    small, width, height = images.contact_sheet([one.content for one in items], labels)
    lines = [
        sanitize(f"{number:>3} {one.caption}  {_shorten(one.subject)}")
        for number, one in enumerate(items, 1)
    ]
    alt = f"{len(items)} pictures: " + "; ".join(
        dict.fromkeys(_shorten(one.subject) for one in items)
    )
    metadata = {"width": width, "height": height, "alt": sanitize(alt[:500])}
    return {"image/jpeg": images.to_base64(small), "text/plain": "\n".join(lines)}, {
        "image/jpeg": metadata
    }


def _shorten(subject: str) -> str:
    words = " ".join(subject.split())
    return words if len(words) <= 100 else words[:99] + "…"


def render_page(items: Sequence[GalleryItem], title: str = "Pictures") -> str:
    """All of them as a page that needs nothing but itself."""
    figures = "\n".join(_render_figure(one) for one in items) or f"<p>{NO_PICTURES}</p>"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width">{_STYLE}</head>\n'
        f"<body><header><h1>{_escape(title)}</h1><p>{_format_count(items)}</p></header>\n"
        f"<main>\n{figures}\n</main></body></html>\n"
    )


def _format_count(items: Sequence[GalleryItem]) -> str:
    return f"{len(items)} picture{'s' * (len(items) != 1)}"


def _render_figure(item: GalleryItem) -> str:
    return (
        f'<figure><div><img src="{_to_data_url(item.content)}" alt="{_escape(item.alt)}" loading="lazy"></div>'
        f"<figcaption><b>{_escape(item.kind)}</b><p>{_escape(item.subject)}</p>"
        f"<code>{_escape(item.caption)}</code></figcaption></figure>"
    )


def _to_data_url(content: bytes) -> str:
    if is_svg(content):  # as a picture: no script in it is run, nothing it names is fetched
        return f"data:{SVG};base64,{images.to_base64(content)}"
    return images.data_url(content)


def _escape(words: str) -> str:
    return escape(sanitize(words))


_STYLE = """<style>
:root{color-scheme:light dark;--ground:#f6f6f4;--card:#fff;--mat:#ececea;--ink:#1d1f21;--faint:#62676c;--line:#e0e0dd}
@media(prefers-color-scheme:dark){:root{--ground:#141517;--card:#1d1f22;--mat:#27292d;--ink:#e6e7e8;--faint:#9aa0a6;
--line:#303338}}
body{margin:0;padding:clamp(1rem,4vw,3rem);background:var(--ground);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
header,main{max-width:1480px;margin:0 auto}
header{display:flex;flex-wrap:wrap;gap:0 1rem;align-items:baseline;margin-bottom:1.5rem}
h1{font-size:1.6rem;line-height:1.25;margin:0;overflow-wrap:anywhere}header p{margin:0;color:var(--faint)}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(270px,100%),1fr));gap:1.25rem}
figure{margin:0;display:flex;flex-direction:column;background:var(--card);border:1px solid var(--line);
border-radius:10px;overflow:hidden;break-inside:avoid}
figure div{position:relative;aspect-ratio:1;background:var(--mat)}
img{position:absolute;inset:0;width:100%;height:100%;object-fit:contain}
figcaption{padding:.7rem .9rem .85rem;display:flex;flex-direction:column;gap:.3rem;flex:1;overflow-wrap:anywhere}
b{font-size:11px;letter-spacing:.05em;color:var(--faint)}
figcaption p{margin:0;white-space:pre-wrap;display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:5;
overflow:hidden}
code{margin-top:auto;padding-top:.2rem;font:11px/1.45 ui-monospace,Menlo,Consolas,monospace;color:var(--faint)}
</style>"""


def write_page(items: Sequence[GalleryItem], path: str | Path, title: str = "Pictures") -> str:
    """Writes the page; says where. Raises CallError where it cannot be written."""
    try:
        Path(path).expanduser().write_text(render_page(items, title), "utf-8")
    except OSError as error:
        raise InvalidRequest(f"Cannot write {path}.", detail=error.strerror or str(error)) from None
    return f"{_format_count(items)}: {path}"


def is_svg(content: bytes) -> bool:
    return b"<svg" in content[:1000]
