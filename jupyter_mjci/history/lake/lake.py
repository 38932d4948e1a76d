"""The lake that users hold: merge a journal into it, compact, clean up, read."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_mjci.errors import HistoryError, InvalidRequest, SettingsError
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.lake.changes import (
    find_fragmented_months,
    get_merged_sequence,
    load_changes,
    make_writer_properties,
    merge_changes,
    record_position,
)
from jupyter_mjci.history.lake.cluster import DaskLake
from jupyter_mjci.history.lake.libraries import import_deltalake, wrap_storage_errors
from jupyter_mjci.history.lake.reader import LakeReader
from jupyter_mjci.history.lake.table import TARGET_FILE_SIZE, AsOf, LakeTable
from jupyter_mjci.history.periods import parse_seconds

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from distributed import Client

# rows of one merge, which it holds in memory
MERGE_BATCH_SIZE = 200_000
# how often a merge starts again because another writer was faster
MAX_COMMIT_ATTEMPTS = 60
# A merge writes its files before it commits.
MIN_RETENTION_HOURS = 1


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The result of a merge.

    Args:
        jobs: how many jobs were written
        merges: in how many commits
        version: the table's version afterwards
    """

    jobs: int
    merges: int
    version: int


class Lake(LakeReader):
    """A lake, with a journal laid over it.

    Whatever needs a library of the extra `lake` that is not
    installed raises SettingsError; a table that cannot be read or
    written, or does not exist, raises HistoryError.

    Args:
        url: path, or URL of an object store
        journal: the journal whose changes are laid over the lake
            and merged into it
        storage_options: options of the object store, as deltalake
            takes them
        as_of: the version, or a time: the lake as it was then,
            without the journal's later changes
    """

    def __init__(
        self,
        url: str | Path,
        *,
        journal: Journal | None = None,
        storage_options: Mapping[str, str] | None = None,
        as_of: AsOf = None,
    ) -> None:
        location = LakeTable(url, storage_options, as_of)
        super().__init__(location, journal if location.as_of is None else None)

    def __repr__(self) -> str:
        as_of = self.location.as_of
        then = "" if as_of is None else f" as of {as_of}"
        return f"<history lake {self.url}{then}>"

    def with_client(self, client: Client | str) -> DaskLake:
        """Return the same lake on a Dask cluster.

        Args:
            client: a `distributed.Client`, or the address of a
                scheduler
        """
        return DaskLake(self, client)

    # --- writing ------------------------------------------------

    def merge(self) -> MergeResult:
        """Merge what is new in the journal into the lake; create the lake if needed.

        Several processes may merge at the same time; the lake
        holds each job once.

        Raises:
            InvalidRequest: this is the lake as of an earlier
                version or time
            SettingsError: the lake has no journal
        """
        journal = self._require_journal()
        jobs = 0
        merges = 0
        table = self.location.load_or_create()
        while True:
            first = get_merged_sequence(table, journal)
            rows, last = journal.changes_since(first, MERGE_BATCH_SIZE)
            if not rows:
                break
            with wrap_storage_errors(self.url, "written"):
                table = self._merge_with_retries(table, journal, first, last)
            if get_merged_sequence(table, journal) <= first:
                raise HistoryError(
                    f"A merge into the lake {self.url} did not record how far it came.",
                    detail=f"It still stands at change {first:,} of the journal.",
                    hint="Another program may have rewritten the lake's log. Archive to a new"
                    " place; the journal still has every job.",
                )
            jobs += rows
            merges += 1
        if merges:
            self._compact_table(table)
        return MergeResult(jobs, merges, table.version())

    def compact(self) -> None:
        """Compact months with many small files, and delete files unused for a week."""
        self._compact_table(self.location.load())

    def vacuum(
        self, retention: float | str | timedelta = "7 days", *, dry_run: bool = False
    ) -> list[str]:
        """Delete files that neither the lake nor a version within the retention needs.

        They are left behind by merges, compactions and writers
        that were killed. Versions before the retention can no
        longer be read afterwards.

        Args:
            retention: seconds, a text such as "30 days", or a
                `timedelta`; at least an hour, which protects the
                files of merges that are going on
            dry_run: whether to delete nothing

        Returns:
            The files, as paths in the lake.

        Raises:
            InvalidRequest: the retention is no duration, or too
                short
        """
        hours = int(parse_seconds(retention) // 3600)
        if hours < MIN_RETENTION_HOURS:
            raise InvalidRequest(
                f"retention={retention!r} is too short: another process may be merging.",
                hint='At least an hour, such as "12 h" or "30 days".',
            )
        table = self.location.load()
        with wrap_storage_errors(self.url, "cleaned up"):
            files: list[str] = table.vacuum(
                hours, dry_run, enforce_retention_duration=False, full=True
            )
        return sorted(files)

    def _compact_table(self, table: DeltaTable) -> None:
        conflict = import_deltalake().exceptions.CommitFailedError
        months = find_fragmented_months(table)
        for month in months:
            # Where another writer was faster, the next merge
            # compacts.
            with contextlib.suppress(conflict):
                table.optimize.compact(
                    [("month", "=", month)],
                    target_size=TARGET_FILE_SIZE,
                    writer_properties=make_writer_properties(),
                )
        if months:
            table.vacuum(dry_run=False)

    def _merge_with_retries(
        self, table: DeltaTable, journal: Journal, first: int, last: int
    ) -> DeltaTable:
        """Merge one batch, again as long as other writers commit first."""
        delta = import_deltalake()
        changes = load_changes(journal, first, last)
        transaction = delta.Transaction(journal.journal_id, last)
        commit = delta.CommitProperties(app_transactions=[transaction])
        for attempt in range(MAX_COMMIT_ATTEMPTS):
            try:
                merge_changes(table, changes, commit)
                if get_merged_sequence(table, journal) < last:
                    # Nothing was newer, so nothing was committed.
                    record_position(table, commit)
                return table
            except delta.exceptions.CommitFailedError:
                time.sleep(random.uniform(0.01, 0.05) * min(attempt + 1, 10))
                table = self.location.load()
            if get_merged_sequence(table, journal) > first:
                # Another process has merged the same journal: the
                # caller looks again what is left.
                return table
        raise HistoryError(
            f"The lake {self.url} is too busy.",
            detail=f"Another writer was faster {MAX_COMMIT_ATTEMPTS} times.",
            hint="Merge again later; the journal still has every job.",
        )

    def _require_journal(self) -> Journal:
        as_of = self.location.as_of
        if as_of is not None:
            raise InvalidRequest(
                f"A lake as of {as_of} is not written.", hint="Open it without as_of=."
            )
        if self.journal is None:
            raise SettingsError(
                "This lake has no journal to merge.", hint='Use session.history.archive("…").'
            )
        return self.journal
