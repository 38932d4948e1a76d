"""The journal ← what the services still know, and what was exported from them: page by page, and
never from anew.

Jobs are walked oldest first. After every page a note in the journal says up to which creation time
everything is known; that is where the next sync goes on, whether the last one came to its end or
was killed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, TypeVar
from xml.parsers.expat import ExpatError

from jupyter_mjci.client.calls import Page
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.settings import Settings
from jupyter_mjci.errors import HistoryError, InvalidRequest
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.services.midjourney import api as midjourney
from jupyter_mjci.services.tencent_ci import api as tencent_ci
from jupyter_mjci.services.tencent_ci import xml

T = TypeVar("T")
OVERLAP = timedelta(seconds=2)  # services tell creation times in whole seconds, and clocks differ
ID_BATCH_SIZE = 100  # ids that are asked for together
IMPORT_BATCH_SIZE = 1_000  # imported jobs that are recorded together


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a sync or an import came to: jobs seen, new to the journal, changed in it, and pages (or
    files) read.

    `skipped` counts records of an import that nobody can read.
    """

    seen: int = 0
    new: int = 0
    changed: int = 0
    pages: int = 0
    skipped: int = 0

    def __str__(self) -> str:
        odd = f", {self.skipped} unreadable" if self.skipped else ""
        return f"{self.seen} jobs seen, {self.new} new, {self.changed} changed{odd}"


class SyncClient(Protocol):
    """What a sync needs of a session: its calls are heard by the journal."""

    mj: midjourney.Midjourney
    ci: tencent_ci.TencentCI
    settings: Settings
    journal: Journal


async def sync(
    client: SyncClient,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    tags: Sequence[str] = (),
) -> AsyncIterator[SyncResult]:
    """Pulls what is new; gives the counts so far after every page.

    `since` and `until` choose a window of creation times instead of what is new. `tags` are CI's
    kinds of jobs; by default PicProcess and those that the journal knows.
    """
    before, seen, pages = client.journal.position(), 0, 0
    async for page in _fetch_pages(client, since, until, tags):
        seen, pages = seen + len(page), pages + 1
        new, changed = client.journal.count_changes(before)
        yield SyncResult(seen, new, changed, pages)


async def _fetch_pages(
    client: SyncClient, since: datetime | None, until: datetime | None, tags: Sequence[str]
) -> AsyncIterator[Sequence[Job]]:
    if client.settings.has_mj:
        yield _filter_by_time(await client.mj.tasks(), since, until)
    if client.settings.has_ci:
        for tag in dict.fromkeys(tags or ("PicProcess", *client.journal.actions("ci"))):
            async for page in _fetch_tag(client, tag, since, until):
                yield page
    if since is None and until is None:
        async for page in _fetch_active(client):
            yield page


async def _fetch_tag(
    client: SyncClient, tag: str, since: datetime | None, until: datetime | None
) -> AsyncIterator[Sequence[Job]]:
    """One kind of CI jobs, from where the last sync was, or from `since`."""
    note = f"synced ci {client.settings.ci_bucket} {tag}"
    windowed = since is not None or until is not None
    known = client.journal.get_meta(note)
    start = since if windowed or not known else datetime.fromisoformat(known) - OVERLAP
    token, tokens = "", set[str]()
    while True:
        page: Page[Job] = await client.ci.jobs(tag=tag, order="Asc", start=start, end=until).page(
            token
        )
        yield page.items
        last = max((job.submitted for job in page.items if job.submitted), default=None)
        if last is not None and not windowed:
            client.journal.set_meta(note, last.isoformat())
        token = page.next_token
        if not token or token in tokens:
            return
        tokens.add(token)


async def _fetch_active(client: SyncClient) -> AsyncIterator[Sequence[Job]]:
    """What had not ended when it was last seen, asked for by id: listings may have let go of it."""
    jobs = client.journal.active_jobs()
    for ids in _split_batches(
        (job.id for job in jobs if job.service == "mj" and client.settings.has_mj), ID_BATCH_SIZE
    ):
        yield await client.mj.tasks(ids)
    for ids in _split_batches(
        (job.id for job in jobs if job.service == "ci" and client.settings.has_ci), ID_BATCH_SIZE
    ):
        yield (await client.ci.jobs(ids=ids).page("")).items


def _filter_by_time(
    jobs: Iterable[Job], since: datetime | None, until: datetime | None
) -> list[Job]:
    first, last = (
        since or datetime.min.replace(tzinfo=UTC),
        until or datetime.max.replace(tzinfo=UTC),
    )
    windowed = since is not None or until is not None
    return [
        job
        for job in jobs
        if not windowed or (job.submitted is not None and first <= job.submitted <= last)
    ]


def _split_batches(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    left = iter(items)
    while batch := tuple(islice(left, size)):
        yield batch


def parse_time(value: str | datetime | None) -> datetime | None:
    """A time as it may be given: a datetime, or ISO text ("2026-01-31", "2026-01-31T12:00+08:00");
    UTC if unsaid.
    """
    if value is None or isinstance(value, datetime):
        told = value
    else:
        try:
            told = datetime.fromisoformat(value)
        except ValueError:
            raise InvalidRequest(
                f"{value!r} is no time.", hint='Write "2026-01-31" or "2026-01-31T12:00+08:00".'
            ) from None
    return told.replace(tzinfo=UTC) if told is not None and told.tzinfo is None else told


# --- what was exported ----------------------------------------------------------------------------


def import_exports(
    journal: Journal,
    path: Path,
    now: float,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    on_progress: Callable[[SyncResult], None] | None = None,
) -> SyncResult:
    """Records the jobs of exported files: a file, or a folder with all its .json, .jsonl, .xml,
    .log and .txt files.

    A file holds a listing (JSON or XML, as the services answer), or a log of callbacks, one body a
    line.
    """
    before, counts = journal.position(), SyncResult()
    for file in _list_files(path):
        skipped = 0
        for jobs in _split_batches(_mark_unreadable(_read_jobs(file)), IMPORT_BATCH_SIZE):
            found = _filter_by_time([job for job in jobs if job.id], since, until)
            skipped += sum(not job.id for job in jobs)
            journal.record_jobs(found, now)
            new, changed = journal.count_changes(before)
            counts = replace(counts, seen=counts.seen + len(found), new=new, changed=changed)
            if on_progress:
                on_progress(counts)
        counts = replace(counts, pages=counts.pages + 1, skipped=counts.skipped + skipped)
    if on_progress:
        on_progress(counts)
    return counts


EXPORT_SUFFIXES = (".json", ".jsonl", ".xml", ".log", ".txt")


def _list_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(one for one in path.rglob("*") if one.suffix.lower() in EXPORT_SUFFIXES)
    if not path.is_file():
        raise HistoryError(
            f"There is no file {path}.", hint="Give an exported listing, or a folder of them."
        )
    return [path]


def _mark_unreadable(jobs: Iterable[Job | None]) -> Iterator[Job]:
    """What nobody can read stays in the count, as a job without an id."""
    return (job or Job("", "") for job in jobs)


def _read_jobs(file: Path) -> Iterator[Job | None]:
    """The jobs of a file; None for a record that is none."""
    content = file.read_bytes()
    whole = _parse_document(content)
    if whole is not None:
        yield from _extract_jobs(whole)
        return
    for line in content.splitlines():
        if line.strip():
            yield from _extract_jobs(_parse_document(line))


def _parse_document(content: bytes) -> Any:
    """A JSON or XML document, or None."""
    text = content.decode("utf-8-sig", "replace").strip()
    try:
        return xml.parse(text) if text.startswith("<") else json.loads(text)
    except (ValueError, ExpatError):
        return None


def _extract_jobs(document: Any) -> Iterator[Job | None]:
    """The jobs that a document of either service tells of, however it is wrapped."""
    inner = (
        next((document[name] for name in WRAPPER_KEYS if document.get(name)), None)
        if isinstance(document, dict)
        else document
    )
    if isinstance(document, dict) and "JobId" in document:
        yield tencent_ci.parse_job(document)
    elif isinstance(inner, (dict, list)):
        for one in inner if isinstance(inner, list) else [inner]:
            yield from _extract_jobs(one)
    elif isinstance(document, dict) and {"status", "action", "submitTime"} & set(document):
        yield midjourney.parse_job(document)
    else:
        yield None


WRAPPER_KEYS = ("Response", "JobsDetail", "data", "list", "content", "records")
