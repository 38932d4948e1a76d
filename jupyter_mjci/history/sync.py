"""Update the journal from the services' listings, page by page.

Jobs are listed oldest first. After every page the journal stores
the creation time up to which all is known; the next sync
continues there, whether the last one finished or was killed.
"""

from __future__ import annotations

import logging
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import TypeVar

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import MjciError
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.services import Api, SyncSource, service

T = TypeVar("T")
LOG = logging.getLogger(__name__)
# creation times are in whole seconds, and clocks differ
OVERLAP = timedelta(seconds=2)
ID_BATCH_SIZE = 100  # ids that are requested together, at most


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
    apis: Mapping[str, Api],
    window: tuple[datetime | None, datetime | None] = (None, None),
    actions: Sequence[str] = (),
    on_progress: Callable[[SyncResult], None] | None = None,
) -> SyncResult:
    """Fetch what is new, and return the counts.

    Args:
        journal: the journal, which records the jobs of every
            response
        apis: the APIs of the configured services, by key
        window: fetch jobs created between two times, instead of
            what is new
        actions: kinds of jobs, for services whose listings are of
            one kind; by default those that are known
        on_progress: called with the counts so far after every
            page
    """
    counts = SyncResult()
    start = journal.position()
    seen = 0
    pages = 0
    async for page in _fetch_pages(journal, apis, *window, actions):
        seen += len(page)
        pages += 1
        counts = SyncResult(seen, *journal.count_changes(start), pages)
        if on_progress:
            on_progress(counts)
    return counts


async def _fetch_pages(
    journal: Journal,
    apis: Mapping[str, Api],
    since: datetime | None,
    until: datetime | None,
    actions: Sequence[str],
) -> AsyncIterator[Sequence[Job]]:
    failures: list[Exception] = []
    listings = _iter_listings(journal, apis, since, until, actions)
    async for page in _fetch_each(listings, failures):
        yield page
    if since is None and until is None:
        async for page in _fetch_each(_iter_active(journal, apis), failures):
            yield page
    if failures:
        raise failures[0]


async def _fetch_each(
    listings: Iterable[AsyncIterator[Sequence[Job]]], failures: list[Exception]
) -> AsyncIterator[Sequence[Job]]:
    """Yield the pages of all listings; one that fails leaves the others alone."""
    for listing in listings:
        try:
            async for page in listing:
                yield page
        except Exception as error:
            failures.append(error)


def _iter_listings(
    journal: Journal,
    apis: Mapping[str, Api],
    since: datetime | None,
    until: datetime | None,
    actions: Sequence[str],
) -> Iterator[AsyncIterator[Sequence[Job]]]:
    for key, api in apis.items():
        for source in service(key).list_sync_sources(api, actions, journal.actions(key)):
            yield _fetch_source(journal, source, since, until)


async def _fetch_source(
    journal: Journal, source: SyncSource, since: datetime | None, until: datetime | None
) -> AsyncIterator[Sequence[Job]]:
    """Fetch one listing, from where the last sync stopped, or from `since`."""
    has_window = since is not None or until is not None
    start = since
    synced_until = journal.get_meta(source.bookmark) if source.bookmark else None
    if synced_until and not has_window:
        start = datetime.fromisoformat(synced_until) - OVERLAP
    listing = source.build(start, until)
    if isinstance(listing, Call):
        yield filter_by_time(await listing, since, until)
        return
    token = ""
    seen_tokens: set[str] = set()
    while True:
        page = await listing.page(token)
        yield page.items
        last = max((job.submitted for job in page.items if job.submitted), default=None)
        if last is not None and not has_window and source.bookmark:
            journal.set_meta(source.bookmark, last.isoformat())
        token = page.next_token
        # A token that comes again would lead in a circle.
        if not token or token in seen_tokens:
            return
        seen_tokens.add(token)


def _iter_active(
    journal: Journal, apis: Mapping[str, Api]
) -> Iterator[AsyncIterator[Sequence[Job]]]:
    """Yield what fetches the jobs that were active when last seen: listings may have dropped
    them.
    """
    active = journal.active_jobs()
    for key, api in apis.items():
        job_service = service(key)
        ids = [job.id for job in active if job.service == key]
        size = min(ID_BATCH_SIZE, job_service.poll.batch_size) if job_service.fetch_jobs else 1
        for batch in split_batches(ids, size):
            yield _fetch_by_ids(key, api, batch)


async def _fetch_by_ids(key: str, api: Api, ids: Sequence[str]) -> AsyncIterator[Sequence[Job]]:
    job_service = service(key)
    if job_service.fetch_jobs is None:
        yield [await job_service.get_job(api, ids[0])]
    else:
        fetch = partial(job_service.fetch_jobs, api)
        async for jobs in _fetch_or_split(fetch, ids):
            yield jobs


async def _fetch_or_split(
    fetch: Callable[[Sequence[str]], Awaitable[Sequence[Job]]],
    ids: Sequence[str],
) -> AsyncIterator[Sequence[Job]]:
    """Fetch several jobs; where one cannot be read, each alone."""
    try:
        yield await fetch(ids)
        return
    except MjciError:
        raise
    except Exception:
        LOG.exception("One of %s jobs cannot be read.", len(ids))
    for job_id in ids:
        with suppress(Exception):
            yield await fetch([job_id])


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
