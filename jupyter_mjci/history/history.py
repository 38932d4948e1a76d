"""The history of a session: `s.history()`, `s.history.load(…)`, `s.history.archive(…)`.

Thin methods over the journal, the import of exports and the lake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_mjci.client.job import Job
from jupyter_mjci.client.redaction import redact
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.history.exports import import_exports
from jupyter_mjci.history.history_files import check_suffix, wrap_write_errors, write_history
from jupyter_mjci.history.image_archive import ImageArchive
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.journal_rows import EPOCH, MICROSECOND
from jupyter_mjci.history.normalization import parse_limit, parse_status, parse_time
from jupyter_mjci.history.sync import SyncResult
from jupyter_mjci.services import list_keys, services

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_mjci.history.lake.lake import Lake, MergeResult
    from jupyter_mjci.history.lake.table import AsOf
    from jupyter_mjci.history.periods import Period
    from jupyter_mjci.history.submissions import SqlValue


class History:
    """The jobs in the journal: call it for a DataFrame.

    `load` imports exported jobs, `archive` and `lake` are for
    histories larger than a DataFrame.
    """

    def __init__(
        self,
        journal: Journal,
        now: Callable[[], float],
        pictures: ImageArchive | None = None,
        redact: Callable[[str], str] = redact,
    ) -> None:
        self._journal = journal
        self._now = now
        self._pictures = pictures
        self._redact = redact

    def __repr__(self) -> str:
        rows, _ = self._journal.position()
        return f"<history of {rows:,} jobs: call it for a DataFrame>"

    def __call__(
        self,
        *,
        since: str | date | None = None,
        until: str | date | None = None,
        service: str | None = None,
        action: str | None = None,
        status: str | None = None,
        limit: int | None = None,
    ) -> pd.DataFrame:
        """Return every job as last seen, oldest first.

        Args:
            since: only jobs submitted from then on
            until: only jobs submitted until then
            service: only jobs of this service: mj or ci
            action: only jobs of this action, in any case
            status: only jobs with this status: "failed", …
            limit: only the latest so many; `.attrs["note"]` says
                so where there are more

        Raises:
            InvalidRequest: `since` or `until` is not a valid
                time, or there is no such service or status
        """
        limit = parse_limit(limit)
        where, parameters = self._build_condition(since, until, service, action, status)
        if limit is None:
            return self._load(where, parameters)
        latest = (
            f"rowid IN (SELECT rowid FROM jobs WHERE {where}"
            " ORDER BY submitted DESC, rowid DESC LIMIT ?)"
        )
        frame = self._load(latest, (*parameters, limit))
        total = self._journal.count(where, parameters)
        if total > len(frame):
            frame.attrs["note"] = f"the latest {len(frame):,} of {total:,} jobs (limit={limit})"
        return frame

    def _build_condition(
        self,
        since: str | date | None = None,
        until: str | date | None = None,
        service: str | None = None,
        action: str | None = None,
        status: str | None = None,
    ) -> tuple[str, tuple[SqlValue, ...]]:
        """Return filters as SQL over the journal's jobs, and its parameters."""
        conditions: dict[str, SqlValue] = {
            "submitted >= ?": _to_microseconds(since),
            "submitted <= ?": _to_microseconds(until),
            "service = ?": service and self._parse_service(service),
            "action = ? COLLATE NOCASE": action,
            "status = ?": status and parse_status(status).value,
        }
        filters = {name: value for name, value in conditions.items() if value is not None}
        return " AND ".join(filters) or "1", tuple(filters.values())

    def _load(self, where: str, parameters: Sequence[SqlValue]) -> pd.DataFrame:
        """Load jobs; once anything is rated, with stars, tags and note."""
        from jupyter_mjci.history.journal_frame import load_journal_frame
        from jupyter_mjci.history.ratings import add_rating_columns

        frame = load_journal_frame(self._journal, where, parameters)
        return add_rating_columns(frame, self._journal.ratings())

    def _parse_service(self, service: str) -> str:
        """Return the key of a service, whatever its case.

        Raises:
            InvalidRequest: there is no such service
        """
        word = str(service).strip().casefold()
        for each in services():
            if word in (each.key, each.label.casefold()):
                return each.key
        known = sorted({*list_keys(), *self._journal.services()})
        if word not in known:
            raise InvalidRequest(
                f"{service!r} is not a service.", hint=f"One of {', '.join(known)}."
            )
        return word

    def ratings(self) -> pd.DataFrame:
        """Return a row per rated picture: service, origin, id, picture, stars, tags, note."""
        from jupyter_mjci.history.ratings import ratings_to_frame

        return ratings_to_frame(self._journal.ratings())

    def progress(self, job: Job | str) -> pd.DataFrame:
        """Return when each status and progress of a job was first seen.

        Args:
            job: the job, or its id

        Returns:
            Columns: seen_at, elapsed (seconds since the first),
                status, progress.
        """
        import pandas as pd

        if isinstance(job, Job):
            rows = self._journal.status_history(job.service, job.id)
        else:
            rows = self._journal.status_history(self._journal.find_service(job), job)
        frame = pd.DataFrame(rows, columns=["seen_at", "status", "progress"])
        frame = frame.astype(
            {"seen_at": "datetime64[us, UTC]", "status": "string", "progress": "Int64"}
        )
        elapsed = frame["seen_at"] - frame["seen_at"].min()
        frame.insert(1, "elapsed", elapsed.dt.total_seconds())
        return frame

    def export(self, path: str | Path, **filters: Any) -> int:
        """Write jobs to a file that `load` reads, in the format of its extension.

        Args:
            path: a file: .parquet, .csv, .json or .jsonl (one job
                per line)
            filters: those of calling the history: since, service,
                …

        Returns:
            How many jobs were written.

        Raises:
            InvalidRequest: the extension is not known, or a
                filter is not valid
            HistoryError: the file cannot be written
        """
        target = Path(path).expanduser()
        check_suffix(target)
        frame = self(**filters)
        with wrap_write_errors(target):
            write_history(frame, target)
        return len(frame)

    def report(
        self,
        path: str | Path,
        *,
        tz: str | tzinfo = "UTC",
        every: Period | None = None,
        prices: Mapping[str, float] | None = None,
        **filters: Any,
    ) -> Path:
        """Write the analyses of the history as one page, or as a notebook to execute.

        The page (.html) is one file that loads nothing from
        anywhere: figures, plots, the slowest and the failed jobs
        with their archived pictures. The notebook (.ipynb) asks
        the same questions when it is executed; papermill sets the
        parameters of its first cell of code. Needs the extra
        `lab`.

        Args:
            path: the file to write
            tz: the time zone of all times
            every: the period of the plots; by default one that
                fits the history
            prices: per action, see `cost`
            filters: those of calling the history: since, until,
                service, …

        Returns:
            The path.

        Raises:
            InvalidRequest: the extension is another one, or an
                argument is not valid
            HistoryError: the file cannot be written
        """
        from jupyter_mjci.history.analysis import JobAccessor
        from jupyter_mjci.history.journal_frame import load_journal_frame
        from jupyter_mjci.history.report import REPORT_COLUMNS, ReportOptions, write_report
        from jupyter_mjci.history.report_notebook import write_notebook

        options = ReportOptions(tz, every, prices, self._pictures)
        where, values = self._build_condition(**filters)
        if Path(path).suffix.lower() == ".ipynb":
            return write_notebook(path, options, filters)
        return write_report(
            path,
            load_journal_frame(self._journal, where, values, REPORT_COLUMNS),
            JobAccessor,
            self._redact,
            options,
        )

    def load(
        self,
        path: str | Path,
        *,
        since: str | date | None = None,
        until: str | date | None = None,
        on_progress: Callable[[SyncResult], None] | None = None,
    ) -> SyncResult:
        """Import jobs of files: our own exports, listings (JSON, XML) and webhook logs.

        Loading what `jupyter mjci history --out` or `export`
        wrote gives an equal `s.history()`; buttons are their
        names only.

        Args:
            path: a file, or a folder of files
            since: only jobs submitted from then on
            until: only jobs submitted until then
            on_progress: is called with the counts so far

        Raises:
            HistoryError: there is no such file, it is damaged, or
                the journal cannot be written
            InvalidRequest: `since` or `until` is not a valid time
        """
        return import_exports(
            self._journal,
            Path(path).expanduser(),
            self._now(),
            since=parse_time(since),
            until=parse_time(until),
            on_progress=on_progress,
        )

    def lake(
        self,
        url: str | Path,
        storage_options: Mapping[str, str] | None = None,
        *,
        as_of: AsOf = None,
    ) -> Lake:
        """Return the lake at a path or URL, with the journal's later changes laid over it.

        Args:
            url: path, or URL of an object store
            storage_options: options of the object store, as
                deltalake takes them
            as_of: a version of the lake, or a time ("2026-01-31"):
                the lake as it was then, without the journal

        Raises:
            InvalidRequest: `as_of` is neither
        """
        from jupyter_mjci.history.lake.lake import Lake

        return Lake(url, journal=self._journal, storage_options=storage_options, as_of=as_of)

    def archive(
        self, url: str | Path, storage_options: Mapping[str, str] | None = None
    ) -> MergeResult:
        """Merge what is new in the journal into a lake; create the lake if needed.

        Any number of processes may do so at the same time.

        Args:
            url: path, or URL of an object store
            storage_options: options of the object store, as
                deltalake takes them

        Raises:
            SettingsError: the extra `lake` is not installed
            HistoryError: the lake cannot be written; the journal
                still has every job
        """
        return self.lake(url, storage_options).merge()


def _to_microseconds(value: str | date | None) -> int | None:
    time = parse_time(value)
    return None if time is None else (time - EPOCH) // MICROSECOND
