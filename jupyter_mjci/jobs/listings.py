"""Fetch listings as DataFrames, and record their jobs.

A large listing becomes columns without a `Job` per row. Only the
jobs that changed since they were last journaled are parsed and
recorded one by one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import anyio.lowlevel

from jupyter_mjci.client.calls import Call, Page, Paginator, Response
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import Unsupported
from jupyter_mjci.jobs.client import JobClient
from jupyter_mjci.jobs.submission import Submitter
from jupyter_mjci.services import Row, service

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_mjci.history.frames import Listing

# Jobs recorded at a time; a listing with no more is recorded
# whole.
LISTING_BATCH_SIZE = 2_000


async def fetch_frame(
    submitter: Submitter,
    listing: Call[list[Job]] | Paginator[Job],
    ids: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return a listing as a DataFrame; parameters as in `Session.frame`."""
    if isinstance(listing, Paginator):
        return await _fetch_pages(submitter.client, listing)
    return await _fetch_response(submitter, listing, ids)


async def _fetch_response(
    submitter: Submitter, call: Call[list[Job]], ids: Sequence[str] | None
) -> pd.DataFrame:
    from jupyter_mjci.history.frames import Listing, jobs_to_frame, response_to_frame

    if service(call.service).parse_listing is None:
        return jobs_to_frame(await call)

    def parse(response: Response) -> Listing:
        frame = response_to_frame(call.service, response, ids)
        return Listing(call.service, frame, (response,))

    try:
        listing = await submitter.send(replace(cast(Call[Listing], call), parse=parse))
    except Unsupported:
        # Sent through the session, which has fallbacks for
        # servers without this listing.
        return jobs_to_frame(await call)
    return await _record_listing(submitter.client, listing)


async def _fetch_pages(client: JobClient, pages: Paginator[Job]) -> pd.DataFrame:
    from jupyter_mjci.history.frames import (
        Listing,
        jobs_to_frame,
        keep_newest_rows,
        rows_to_frame,
    )

    key = pages.first_page.service
    parse_rows = service(key).parse_rows
    if parse_rows is None:
        return keep_newest_rows(jobs_to_frame(await pages.collect()))
    responses: list[Response] = []

    def parse(response: Response) -> Page[Row]:
        page = parse_rows(response)
        responses.append(response)
        return page

    def build_page_call(token: str) -> Call[Page[Row]]:
        return replace(cast(Call[Page[Row]], pages.page(token)), parse=parse)

    rows = await Paginator(build_page_call, pages.limit).collect()
    frame = keep_newest_rows(rows_to_frame(key, rows))
    return await _record_listing(client, Listing(key, frame, tuple(responses)))


async def _record_listing(client: JobClient, listing: Listing) -> pd.DataFrame:
    """Record all jobs of a small listing, of a large one those that changed."""
    from jupyter_mjci.history.frames import set_origin

    set_origin(listing.frame, client.journal.get_origin(listing.service))
    changed_ids = None
    if len(listing.frame) > LISTING_BATCH_SIZE:
        changed_ids = _find_changed_ids(client, listing)
        client.notify("listing", listing)
    for jobs in _split_batches(listing.iter_jobs(changed_ids)):
        client.record(jobs)
        # Journaling blocks the event loop: let others run between
        # two batches.
        await anyio.lowlevel.checkpoint()
    return listing.frame


def _find_changed_ids(client: JobClient, listing: Listing) -> frozenset[str]:
    from jupyter_mjci.history.journal_frame import load_journal_frame

    known = load_journal_frame(client.journal, "service = ?", (listing.service,))
    return listing.changed_ids(known)


def _split_batches(jobs: Iterable[Job]) -> Iterable[list[Job]]:
    remaining = iter(jobs)
    while batch := list(itertools.islice(remaining, LISTING_BATCH_SIZE)):
        yield batch
