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
from jupyter_mjci.history.sync import Synced, load, when

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_mjci.history.delta import Folded, Lake


class History:
    """The jobs that the journal knows. Call it for a DataFrame; its methods are for what is larger
    than one.
    """

    def __init__(self, journal: Journal, now: Callable[[], float]) -> None:
        self._journal, self._now = journal, now

    def __repr__(self) -> str:
        rows, _ = self._journal.tally()
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
        from jupyter_mjci.history.journal_frame import remembered

        told = {
            "submitted >= ?": _micro(since),
            "submitted <= ?": _micro(until),
            "service = ?": service,
            "action = ?": action,
            "status = ?": status,
        }
        given = {condition: value for condition, value in told.items() if value is not None}
        where = " AND ".join(given) or "1"
        if limit is None:
            return remembered(self._journal, where, tuple(given.values()))
        latest = f"rowid IN (SELECT rowid FROM jobs WHERE {where} ORDER BY submitted DESC, rowid DESC LIMIT ?)"
        frame = remembered(self._journal, latest, (*given.values(), limit))
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
        seen = [self._journal.sightings(service, job_id) for service in ("mj", "ci")]
        rows = [row for one in seen for row in one]
        frame = pd.DataFrame(rows, columns=["seen", "status", "progress"])
        frame = frame.astype(
            {"seen": "datetime64[us, UTC]", "status": "string", "progress": "Int64"}
        )
        frame.insert(1, "after", (frame["seen"] - frame["seen"].min()).dt.total_seconds())
        return frame

    def load(
        self,
        path: str | Path,
        *,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        say: Callable[[Synced], None] | None = None,
    ) -> Synced:
        """Records the jobs of exported listings (JSON, XML) and callback logs: a file, or a folder
        of them.

        Args:
            path: the file or folder
            since: only jobs submitted from then on
            until: only jobs submitted until then
            say: is called with the counts so far
        """
        file = Path(path).expanduser()
        return load(self._journal, file, self._now(), since=when(since), until=when(until), say=say)

    def lake(self, url: str | Path, options: Mapping[str, str] | None = None) -> Lake:
        """The lake at a path or URL, with what is still only in the journal laid over it. Needs the
        extra `lake`.

        `options` are the object store's, as deltalake takes them (`storage_options`).
        """
        from jupyter_mjci.history.delta import Lake

        return Lake(url, journal=self._journal, options=options)

    def archive(self, url: str | Path, options: Mapping[str, str] | None = None) -> Folded:
        """Folds what is new in the journal into the lake at a path or URL; makes it where there is
        none.

        Any number of processes may do so at once. `options` are the object store's, as deltalake
        takes them. Raises SettingsError without the extra `lake`, HistoryError where the lake
        cannot be written; nothing is lost then.
        """
        return self.lake(url, options).fold()


def _micro(moment: str | datetime | None) -> Any:
    told = when(moment)
    return None if told is None else (told - EPOCH) // MICROSECOND
