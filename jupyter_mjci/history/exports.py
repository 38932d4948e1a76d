"""Import files into the journal: our own exports, services' listings, and webhook logs.

A listing is parsed as one JSON or XML document; where that fails,
line by line, from the first bracket of each line. Jobs are looked
for inside the wrappers that servers and tools put around them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import HistoryError
from jupyter_mjci.history.history_files import read_history
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.sync import SyncResult, filter_by_time, split_batches
from jupyter_mjci.services import parse_document, parse_record

BATCH_SIZE = 1_000  # imported jobs that are recorded together
EXPORT_SUFFIXES = (".json", ".jsonl", ".xml", ".log", ".txt", ".csv", ".parquet")
WRAPPER_KEYS = (
    "Response",
    "JobsDetail",
    "data",
    "list",
    "content",
    "records",
    "items",
    "rows",
    "results",
    "tasks",
    "jobs",
)


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
        path: a file (our own export, a JSON or XML listing, or a
            log with one webhook body per line), or a folder with
            such .json, .jsonl, .xml, .log, .txt, .csv and
            .parquet files
        now: the time at which the jobs count as seen, in Unix
            seconds
        since: only jobs submitted from then on
        until: only jobs submitted until then
        on_progress: is called with the counts so far

    Raises:
        HistoryError: there is no such file, it is damaged, or the
            journal cannot be written
    """
    start = journal.position()
    result = SyncResult()
    for file in _list_files(path):
        for records in split_batches(_read_records(file), BATCH_SIZE):
            identified = [record for record in records if record is not None and record[0].id]
            wanted = set(map(id, filter_by_time([job for job, _ in identified], since, until)))
            chosen = [record for record in identified if id(record[0]) in wanted]
            _record(journal, chosen, now)
            new, changed = journal.count_changes(start)
            result = replace(
                result,
                seen=result.seen + len(chosen),
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


# A job, and the names of its buttons where a file has no more of
# them.
Record = tuple[Job, str | None]


def _record(journal: Journal, records: Sequence[Record], now: float) -> None:
    """Record jobs of listings as seen now, those of our exports as seen before."""
    observed = [job for job, button_names in records if button_names is None]
    imported = [(job, names) for job, names in records if names is not None]
    if observed:
        journal.record_jobs(observed, now)
    if imported:
        journal.import_jobs(imported, now)


def _read_records(file: Path) -> Iterator[Record | None]:
    """Yield the jobs of a file, and None for each record that is no job."""
    exported = read_history(file)
    if exported is not None:
        yield from exported
        return
    for job in _read_jobs(file):
        yield None if job is None else (job, None)


def _list_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.suffix.lower() in EXPORT_SUFFIXES)
    if not path.is_file():
        raise HistoryError(
            f"There is no file {path}.",
            hint="Pass a file of `jupyter mjci history --out` or a listing, or a folder of them.",
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
            yield from _extract_jobs(_parse_line(line))


def _parse_line(line: bytes) -> object:
    """Parse a document that is a line of a log, also behind a time or a level."""
    document = parse_document(line)
    starts = [place for place in map(line.find, (b"{", b"[{", b"<")) if place > 0]
    if document is None and starts:
        document = parse_document(line[min(starts) :])
    return document


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
