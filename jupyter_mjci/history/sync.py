"""Update the journal from the services' listings, page by page.

Jobs are listed oldest first. After every page the journal stores
the creation time up to which all is known; the next sync
continues there, whether the last one finished or was killed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TypeVar

from jupyter_mjci.client.job import Job
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.tencent_ci.api import TencentCI

T = TypeVar("T")
# creation times are in whole seconds, and clocks differ
OVERLAP = timedelta(seconds=2)
ID_BATCH_SIZE = 100  # ids that are requested together


@dataclass(frozen=True, slots=True)
class SyncResult:
    """Counts of a sync or an import.

    Args:
        seen: jobs that were read
        new: jobs that are new to the journal
        changed: jobs that changed in it
        pages: pages (or files) that were read
        skipped: records of an import that are no jobs
    """

    seen: int = 0
    new: int = 0
    changed: int = 0
    pages: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        text = f"{self.seen} jobs seen, {self.new} new, {self.changed} changed"
        if self.skipped:
            text += f", {self.skipped} unreadable"
        return text


async def sync(
    journal: Journal,
    mj: Midjourney | None,
    ci: TencentCI | None,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    tags: Sequence[str] = (),
) -> AsyncIterator[SyncResult]:
    """Fetch what is new, and yield the counts so far after every page.

    Args:
        journal: the journal, which records the jobs of every
            response
        mj: the Midjourney API; None where it is not configured
        ci: the Tencent CI API; None where it is not configured
        since: fetch jobs created from then on, instead of what is
            new
        until: fetch jobs created until then
        tags: kinds of CI jobs; by default PicProcess and those in
            the journal
    """
    start = journal.position()
    seen = 0
    pages = 0
    async for page in _fetch_pages(journal, mj, ci, since, until, tags):
        seen += len(page)
        pages += 1
        new, changed = journal.count_changes(start)
        yield SyncResult(seen, new, changed, pages)


async def _fetch_pages(
    journal: Journal,
    mj: Midjourney | None,
    ci: TencentCI | None,
    since: datetime | None,
    until: datetime | None,
    tags: Sequence[str],
) -> AsyncIterator[Sequence[Job]]:
    if mj is not None:
        yield filter_by_time(await mj.tasks(), since, until)
    if ci is not None:
        for tag in dict.fromkeys(tags or ("PicProcess", *journal.actions("ci"))):
            async for page in _fetch_tag(journal, ci, tag, since, until):
                yield page
    if since is None and until is None:
        async for page in _fetch_active(journal, mj, ci):
            yield page


async def _fetch_tag(
    journal: Journal,
    ci: TencentCI,
    tag: str,
    since: datetime | None,
    until: datetime | None,
) -> AsyncIterator[Sequence[Job]]:
    """Fetch one kind of CI jobs, from where the last sync stopped, or from `since`."""
    bookmark = f"synced ci {ci.bucket} {tag}"
    has_window = since is not None or until is not None
    start = since
    synced_until = journal.get_meta(bookmark)
    if synced_until and not has_window:
        start = datetime.fromisoformat(synced_until) - OVERLAP
    listing = ci.jobs(tag=tag, order="Asc", start=start, end=until)
    token = ""
    seen_tokens: set[str] = set()
    while True:
        page = await listing.page(token)
        yield page.items
        last = max((job.submitted for job in page.items if job.submitted), default=None)
        if last is not None and not has_window:
            journal.set_meta(bookmark, last.isoformat())
        token = page.next_token
        # A token that comes again would lead in a circle.
        if not token or token in seen_tokens:
            return
        seen_tokens.add(token)


async def _fetch_active(
    journal: Journal, mj: Midjourney | None, ci: TencentCI | None
) -> AsyncIterator[Sequence[Job]]:
    """Fetch jobs that were active when last seen by id: listings may have dropped them."""
    ids: dict[str, list[str]] = {"mj": [], "ci": []}
    for job in journal.active_jobs():
        ids.setdefault(job.service, []).append(job.id)
    if mj is not None:
        for batch in split_batches(ids["mj"], ID_BATCH_SIZE):
            yield await mj.tasks(batch)
    if ci is not None:
        for batch in split_batches(ids["ci"], ID_BATCH_SIZE):
            page = await ci.jobs(ids=batch).page("")
            yield page.items


def filter_by_time(
    jobs: Sequence[Job], since: datetime | None, until: datetime | None
) -> Sequence[Job]:
    """Return the jobs that were submitted in a window; all where it is open on both sides."""
    if since is None and until is None:
        return jobs
    first = since or datetime.min.replace(tzinfo=UTC)
    last = until or datetime.max.replace(tzinfo=UTC)
    return [job for job in jobs if job.submitted is not None and first <= job.submitted <= last]


def split_batches(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Yield the items in tuples of at most `size`."""
    iterator = iter(items)
    batch = tuple(islice(iterator, size))
    while batch:
        yield batch
        batch = tuple(islice(iterator, size))
