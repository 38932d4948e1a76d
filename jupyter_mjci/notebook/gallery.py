"""`%mjci gallery`: the kept pictures and those of this session, as one sheet in a cell or as a page of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from pathlib import Path

import anyio

from jupyter_mjci.client import bridge
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import CallError, MjciError
from jupyter_mjci.history.pictures import Kept
from jupyter_mjci.notebook import images, render
from jupyter_mjci.notebook.images import Bundle
from jupyter_mjci.session import Session

LIMIT = 24


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture, and the job that it is a result of."""

    job: Job
    content: bytes

    @property
    def caption(self) -> str:
        return images.caption(self.job, self.content)


def collected(session: Session, text: str = "", action: str = "", limit: int = LIMIT) -> list[Shown]:
    """The pictures of this session and of the archive, the latest first; what cannot be fetched any more is left out.

    `text` is looked for in what they are about, `action` is the service's word.
    """
    if limit < 1:
        raise CallError(f"--limit is at least 1, not {limit}.")
    fits = [one for one in _results(session) if _fits(one[0], text, action)][:limit]
    return bridge.run(_fetched(session, fits))


def _results(session: Session) -> Iterator[tuple[Job, int, Kept | None]]:
    """Every result once: those of jobs that were seen here, then those that the archive has besides."""
    known = set[tuple[str, str, int]]()
    for job in _latest_first(session):
        for index in range(len(job.outputs)):
            known.add((job.service, job.id, index))
            yield job, index, None
    for kept in session.archive or ():
        if (kept.service, kept.job_id, kept.index) not in known:
            yield Job(kept.service, kept.job_id, kept.action, Status.SUCCEEDED, subject=kept.subject), kept.index, kept


def _latest_first(session: Session) -> list[Job]:
    jobs = [job for service in ("mj", "ci") for job in session.seen(service) if job.outputs]
    return sorted(jobs, key=lambda job: job.finished.timestamp() if job.finished else 0.0, reverse=True)


def _fits(job: Job, text: str, action: str) -> bool:
    return text.casefold() in job.subject.casefold() and action.casefold() in ("", job.action.casefold())


async def _fetched(session: Session, wanted: Sequence[tuple[Job, int, Kept | None]]) -> list[Shown]:
    found: dict[int, Shown] = {}

    async def fetch(place: int, job: Job, index: int, kept: Kept | None) -> None:
        try:
            content = kept.content() if kept else await session.picture(job, index)
        except (MjciError, OSError):
            return
        if images.look(content):
            found[place] = Shown(job, content)

    async with anyio.create_task_group() as group:
        for place, one in enumerate(wanted):
            group.start_soon(partial(fetch, place, *one))
    return [found[place] for place in sorted(found)]


def sheet(shown: Sequence[Shown]) -> Bundle:
    """All of them as one picture, and as text which is which."""
    if not shown:
        return {"text/plain": NOTHING, "text/html": render.notice_html(NOTHING)}, {}
    labels = [f"{number} {one.job.action or one.job.service} {one.job.id}" for number, one in enumerate(shown, 1)]
    small, width, height = images.contact_sheet([one.content for one in shown], labels)
    lines = [render.clean(f"{number:>3} {one.caption}  {_about(one.job)}") for number, one in enumerate(shown, 1)]
    alt = f"{len(shown)} pictures: " + "; ".join(dict.fromkeys(_about(one.job) for one in shown))
    metadata = {"width": width, "height": height, "alt": render.clean(alt[:500])}
    return {"image/jpeg": images.encoded(small), "text/plain": "\n".join(lines)}, {"image/jpeg": metadata}


NOTHING = "No pictures yet, or none that fit."


def _about(job: Job) -> str:
    subject = " ".join(job.subject.split())
    return subject if len(subject) <= 100 else subject[:99] + "…"


def page(shown: Sequence[Shown]) -> str:
    """All of them as a page that needs nothing but itself."""
    figures = "\n".join(_figure(one) for one in shown)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Pictures</title>'
        f'<meta name="viewport" content="width=device-width">{_STYLE}</head>\n'
        f"<body><h1>{len(shown)} pictures</h1><main>\n{figures}\n</main></body></html>\n"
    )


def _figure(one: Shown) -> str:
    subject = escape(render.clean(one.job.subject))
    return (
        f'<figure><img src="{images.data_url(one.content)}" alt="{escape(render.clean(images.alt(one.job)))}" '
        f'loading="lazy"><figcaption><b>{escape(render.clean(one.job.action))}</b> {subject}'
        f"<br><code>{escape(render.clean(one.caption))}</code></figcaption></figure>"
    )


_STYLE = (
    "<style>:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;margin:2rem}"
    "main{display:grid;grid-template-columns:repeat(auto-fill,minmax(260px,1fr));gap:1.2rem}"
    "figure{margin:0}img{width:100%;height:auto;border-radius:6px}figcaption{overflow-wrap:anywhere}"
    "code{font-size:11px;opacity:.7}</style>"
)


def written(shown: Sequence[Shown], path: str) -> str:
    """Writes the page; says where. Raises CallError where it cannot be written."""
    target = Path(path).expanduser()
    try:
        target.write_text(page(shown), "utf-8")
    except OSError as error:
        raise CallError(f"Cannot write {path}.", why=error.strerror or str(error)) from None
    return f"{len(shown)} pictures: {path}"
