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
from jupyter_mjci.errors import CallError, HistoryError
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.services.midjourney import api as midjourney
from jupyter_mjci.services.tencent_ci import api as tencent_ci
from jupyter_mjci.services.tencent_ci import xml

T = TypeVar("T")
OVERLAP = timedelta(seconds=2)  # services tell creation times in whole seconds, and clocks differ
AT_ONCE = 100  # ids that are asked for together
BATCH = 1_000  # imported jobs that are recorded together


@dataclass(frozen=True, slots=True)
class Synced:
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


class Desk(Protocol):
    """What a sync needs of a session: its calls are heard by the journal."""

    mj: midjourney.Midjourney
    ci: tencent_ci.TencentCI
    settings: Settings
    journal: Journal


async def sync(
    desk: Desk,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    tags: Sequence[str] = (),
) -> AsyncIterator[Synced]:
    """Pulls what is new; gives the counts so far after every page.

    `since` and `until` choose a window of creation times instead of what is new. `tags` are CI's
    kinds of jobs; by default PicProcess and those that the journal knows.
    """
    before, seen, pages = desk.journal.tally(), 0, 0
    async for page in _pages(desk, since, until, tags):
        seen, pages = seen + len(page), pages + 1
        new, changed = desk.journal.grown(before)
        yield Synced(seen, new, changed, pages)


async def _pages(
    desk: Desk, since: datetime | None, until: datetime | None, tags: Sequence[str]
) -> AsyncIterator[Sequence[Job]]:
    if desk.settings.has_mj:
        yield _between(await desk.mj.tasks(), since, until)
    if desk.settings.has_ci:
        for tag in dict.fromkeys(tags or ("PicProcess", *desk.journal.actions("ci"))):
            async for page in _of_tag(desk, tag, since, until):
                yield page
    if since is None and until is None:
        async for page in _unfinished(desk):
            yield page


async def _of_tag(
    desk: Desk, tag: str, since: datetime | None, until: datetime | None
) -> AsyncIterator[Sequence[Job]]:
    """One kind of CI jobs, from where the last sync was, or from `since`."""
    note = f"synced ci {desk.settings.ci_bucket} {tag}"
    windowed = since is not None or until is not None
    known = desk.journal.note(note)
    start = since if windowed or not known else datetime.fromisoformat(known) - OVERLAP
    token, tokens = "", set[str]()
    while True:
        page: Page[Job] = await desk.ci.jobs(tag=tag, order="Asc", start=start, end=until).turn(
            token
        )
        yield page.items
        last = max((job.submitted for job in page.items if job.submitted), default=None)
        if last is not None and not windowed:
            desk.journal.note(note, last.isoformat())
        token = page.next_token
        if not token or token in tokens:
            return
        tokens.add(token)


async def _unfinished(desk: Desk) -> AsyncIterator[Sequence[Job]]:
    """What had not ended when it was last seen, asked for by id: listings may have let go of it."""
    jobs = desk.journal.unfinished()
    for ids in _batches(
        (job.id for job in jobs if job.service == "mj" and desk.settings.has_mj), AT_ONCE
    ):
        yield await desk.mj.tasks(ids)
    for ids in _batches(
        (job.id for job in jobs if job.service == "ci" and desk.settings.has_ci), AT_ONCE
    ):
        yield (await desk.ci.jobs(ids=ids).turn("")).items


def _between(jobs: Iterable[Job], since: datetime | None, until: datetime | None) -> list[Job]:
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


def _batches(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    left = iter(items)
    while batch := tuple(islice(left, size)):
        yield batch


def when(value: str | datetime | None) -> datetime | None:
    """A time as it may be given: a datetime, or ISO text ("2026-01-31", "2026-01-31T12:00+08:00");
    UTC if unsaid.
    """
    if value is None or isinstance(value, datetime):
        told = value
    else:
        try:
            told = datetime.fromisoformat(value)
        except ValueError:
            raise CallError(
                f"{value!r} is no time.", hint='Write "2026-01-31" or "2026-01-31T12:00+08:00".'
            ) from None
    return told.replace(tzinfo=UTC) if told is not None and told.tzinfo is None else told


# --- what was exported ----------------------------------------------------------------------------


def load(
    journal: Journal,
    path: Path,
    now: float,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    say: Callable[[Synced], None] | None = None,
) -> Synced:
    """Records the jobs of exported files: a file, or a folder with all its .json, .jsonl, .xml,
    .log and .txt files.

    A file holds a listing (JSON or XML, as the services answer), or a log of callbacks, one body a
    line.
    """
    before, counts = journal.tally(), Synced()
    for file in _files(path):
        skipped = 0
        for jobs in _batches(_counted(_jobs(file)), BATCH):
            found = _between([job for job in jobs if job.id], since, until)
            skipped += sum(not job.id for job in jobs)
            journal.saw(found, now)
            new, changed = journal.grown(before)
            counts = replace(counts, seen=counts.seen + len(found), new=new, changed=changed)
            if say:
                say(counts)
        counts = replace(counts, pages=counts.pages + 1, skipped=counts.skipped + skipped)
    if say:
        say(counts)
    return counts


KINDS = (".json", ".jsonl", ".xml", ".log", ".txt")


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(one for one in path.rglob("*") if one.suffix.lower() in KINDS)
    if not path.is_file():
        raise HistoryError(
            f"There is no file {path}.", hint="Give an exported listing, or a folder of them."
        )
    return [path]


def _counted(jobs: Iterable[Job | None]) -> Iterator[Job]:
    """What nobody can read stays in the count, as a job without an id."""
    return (job or Job("", "") for job in jobs)


def _jobs(file: Path) -> Iterator[Job | None]:
    """The jobs of a file; None for a record that is none."""
    content = file.read_bytes()
    whole = _record(content)
    if whole is not None:
        yield from _found(whole)
        return
    for line in content.splitlines():
        if line.strip():
            yield from _found(_record(line))


def _record(content: bytes) -> Any:
    """A JSON or XML document, or None."""
    text = content.decode("utf-8-sig", "replace").strip()
    try:
        return xml.read(text) if text.startswith("<") else json.loads(text)
    except (ValueError, ExpatError):
        return None


def _found(record: Any) -> Iterator[Job | None]:
    """The jobs that a document of either service tells of, however it is wrapped."""
    inner = (
        next((record[name] for name in WRAPPERS if record.get(name)), None)
        if isinstance(record, dict)
        else record
    )
    if isinstance(record, dict) and "JobId" in record:
        yield tencent_ci.job_of(record)
    elif isinstance(inner, (dict, list)):
        for one in inner if isinstance(inner, list) else [inner]:
            yield from _found(one)
    elif isinstance(record, dict) and {"status", "action", "submitTime"} & set(record):
        yield midjourney.job_of(record)
    else:
        yield None


WRAPPERS = ("Response", "JobsDetail", "data", "list", "content", "records")
