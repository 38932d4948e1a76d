"""What happened, as a session offers it: `s.history()`, `s.history.archive(…)`,
`s.history.load(…)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_mjci.client.job import Job
from jupyter_mjci.history.journal import EPOCH, MICROSECOND, Journal
from jupyter_mjci.history.sync import SyncResult, import_exports, parse_time

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_mjci.history.delta import Lake, MergeResult


class History:
    """The jobs that the journal knows. Call it for a DataFrame; its methods are for what is larger
    than one.
    """

    def __init__(self, journal: Journal, now: Callable[[], float]) -> None:
        self._journal, self._now = journal, now

    def __repr__(self) -> str:
        rows, _ = self._journal.position()
        return f"<history of {rows:,} jobs: call it for a DataFrame>"

    def __call__(
        self,
        *,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        service: str | None = None,
        action: str | None = None,
        status: str | None = None,
        limit: int | None = None,
    ) -> pd.DataFrame:
        """Every job as last seen, oldest first; `limit` keeps the latest so many, and
        `.attrs["note"]` says so.

        Args:
            since: only jobs submitted from then on
            until: only jobs submitted until then
            service: mj or ci
            action: only jobs of this action
            status: only jobs with this status
            limit: the latest so many
        """
        from jupyter_mjci.history.journal_frame import load_journal_frame

        told = {
            "submitted >= ?": _to_microseconds(since),
            "submitted <= ?": _to_microseconds(until),
            "service = ?": service,
            "action = ?": action,
            "status = ?": status,
        }
        given = {condition: value for condition, value in told.items() if value is not None}
        where = " AND ".join(given) or "1"
        if limit is None:
            return load_journal_frame(self._journal, where, tuple(given.values()))
        latest = f"rowid IN (SELECT rowid FROM jobs WHERE {where} ORDER BY submitted DESC, rowid DESC LIMIT ?)"
        frame = load_journal_frame(self._journal, latest, (*given.values(), limit))
        many = self._journal.count(where, tuple(given.values()))
        if many > len(frame):
            frame.attrs["note"] = f"the latest {len(frame):,} of {many:,} jobs (limit={limit})"
        return frame

    def progress(self, job: Job | str) -> pd.DataFrame:
        """How a job moved: when each status and progress was first seen, and how many seconds after
        the first.
        """
        import pandas as pd

        job_id = job.id if isinstance(job, Job) else job
        seen = [self._journal.status_history(service, job_id) for service in ("mj", "ci")]
        rows = [row for one in seen for row in one]
        frame = pd.DataFrame(rows, columns=["seen_at", "status", "progress"])
        frame = frame.astype(
            {"seen_at": "datetime64[us, UTC]", "status": "string", "progress": "Int64"}
        )
        frame.insert(1, "elapsed", (frame["seen_at"] - frame["seen_at"].min()).dt.total_seconds())
        return frame

    def load(
        self,
        path: str | Path,
        *,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        on_progress: Callable[[SyncResult], None] | None = None,
    ) -> SyncResult:
        """Records the jobs of exported listings (JSON, XML) and callback logs: a file, or a folder
        of them.

        Args:
            path: the file or folder
            since: only jobs submitted from then on
            until: only jobs submitted until then
            on_progress: is called with the counts so far
        """
        file = Path(path).expanduser()
        return import_exports(
            self._journal,
            file,
            self._now(),
            since=parse_time(since),
            until=parse_time(until),
            on_progress=on_progress,
        )

    def lake(self, url: str | Path, storage_options: Mapping[str, str] | None = None) -> Lake:
        """The lake at a path or URL, with what is still only in the journal laid over it. Needs the
        extra `lake`.

        `storage_options` are the object store's, as deltalake takes them (`storage_options`).
        """
        from jupyter_mjci.history.delta import Lake

        return Lake(url, journal=self._journal, storage_options=storage_options)

    def archive(
        self, url: str | Path, storage_options: Mapping[str, str] | None = None
    ) -> MergeResult:
        """Folds what is new in the journal into the lake at a path or URL; makes it where there is
        none.

        Any number of processes may do so at once. `storage_options` are the object store's, as deltalake
        takes them. Raises SettingsError without the extra `lake`, HistoryError where the lake
        cannot be written; nothing is lost then.
        """
        return self.lake(url, storage_options).merge()


def _to_microseconds(time: str | datetime | None) -> Any:
    told = parse_time(time)
    return None if told is None else (told - EPOCH) // MICROSECOND
