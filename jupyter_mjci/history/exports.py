"""Import exported files into the journal: listings as the services answer, and webhook logs.

A file is parsed as one JSON or XML document; where that fails,
line by line. Jobs are looked for inside the wrappers that servers
and tools put around them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import HistoryError
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.sync import SyncResult, filter_by_time, split_batches
from jupyter_mjci.services import parse_document, parse_record

BATCH_SIZE = 1_000  # imported jobs that are recorded together
EXPORT_SUFFIXES = (".json", ".jsonl", ".xml", ".log", ".txt")
WRAPPER_KEYS = ("Response", "JobsDetail", "data", "list", "content", "records", "results")


def import_exports(
    journal: Journal,
    path: Path,
    now: float,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    on_progress: Callable[[SyncResult], None] | None = None,
) -> SyncResult:
    """Record the jobs of exported files.

    Args:
        journal: where they are recorded
        path: a file (a JSON or XML listing, or a log with one
            webhook body per line), or a folder with such .json,
            .jsonl, .xml, .log and .txt files
        now: the time at which the jobs count as seen, in Unix
            seconds
        since: only jobs submitted from then on
        until: only jobs submitted until then
        on_progress: is called with the counts so far

    Raises:
        HistoryError: there is no such file, or the journal cannot
            be written
    """
    start = journal.position()
    result = SyncResult()
    for file in _list_files(path):
        for records in split_batches(_read_jobs(file), BATCH_SIZE):
            identified = [job for job in records if job is not None and job.id]
            jobs = filter_by_time(identified, since, until)
            journal.record_jobs(jobs, now)
            new, changed = journal.count_changes(start)
            result = replace(
                result,
                seen=result.seen + len(jobs),
                new=new,
                changed=changed,
                skipped=result.skipped + len(records) - len(identified),
            )
            if on_progress:
                on_progress(result)
        result = replace(result, pages=result.pages + 1)
    if on_progress:
        on_progress(result)
    return result


def _list_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.suffix.lower() in EXPORT_SUFFIXES)
    if not path.is_file():
        raise HistoryError(
            f"There is no file {path}.", hint="Pass an exported listing, or a folder of them."
        )
    return [path]


def _read_jobs(file: Path) -> Iterator[Job | None]:
    """Yield the jobs of a file, and None for each record that is no job."""
    content = file.read_bytes()
    document = parse_document(content)
    if document is not None:
        yield from _extract_jobs(document)
        return
    for line in content.splitlines():
        if line.strip():
            yield from _extract_jobs(parse_document(line))


def _extract_jobs(document: object) -> Iterator[Job | None]:
    """Yield the jobs of a document of any service, however it is wrapped."""
    if isinstance(document, list):
        for item in document:
            yield from _extract_jobs(item)
        return
    if not isinstance(document, dict):
        yield None
        return
    inner = next((document[key] for key in WRAPPER_KEYS if document.get(key)), None)
    jobs = parse_record(document)
    if isinstance(inner, (dict, list)):
        yield from _extract_jobs(inner)
    elif jobs:
        yield from jobs
    else:
        yield None
