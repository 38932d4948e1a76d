"""One version of a lake with a journal's later changes, as SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import unquote

from jupyter_mjci.errors import HistoryError
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.lake.changes import (
    build_day_bounds,
    get_day_range,
    get_merged_sequence,
    load_changes,
    quote,
)
from jupyter_mjci.history.lake.schema import (
    ADDED_COLUMNS,
    KEY_COLUMNS,
    MERGED_VALUES,
    SAME_KEY,
    SCHEMA,
    list_missing_columns,
    make_nulls,
)
from jupyter_mjci.history.lake.table import LakeTable, has_old_files, list_add_actions
from jupyter_mjci.history.lake.time_ranges import TimeRange

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


class LakeSnapshot:
    """One version of a lake, and the journal's changes since.

    `register` merges the changes with what the lake knows of the
    same jobs, so that readers see what the next merge will write.
    """

    def __init__(self, location: LakeTable, journal: Journal | None) -> None:
        self.location = location
        self.table = location.load()
        self.changes: pa.Table | None = None
        if journal is not None:
            first = get_merged_sequence(self.table, journal)
            rows, last = journal.changes_since(first)
            if rows:
                self.changes = load_changes(journal, first, last)

    def register(self, db: duckdb.DuckDBPyConnection) -> None:
        """Make the files and the merged changes known to DuckDB."""
        if not self.location.is_local:
            db.register("files", self.table.to_pyarrow_dataset())
        if self.changes is None:
            return
        db.register("new", self.changes)
        merged = db.sql(self._build_merge_select()).to_arrow_table()
        self.changes = merged.cast(self.changes.schema)
        db.register("changes", self.changes)

    def _build_merge_select(self) -> str:
        """Return the SQL of the changes, merged with the lake's rows of the same jobs."""
        values = {name: f"new.{name}" for name in KEY_COLUMNS}
        values["day"] = "coalesce(old.day, new.day)"
        # local files do not repeat what they are partitioned by
        values["month"] = f"strftime({values['day']}, '%Y-%m')"
        values |= MERGED_VALUES
        names = ", ".join(f"{values[name]} AS {name}" for name in SCHEMA)
        bounds = build_day_bounds(self.changes)
        old = f"(SELECT * FROM {self._build_source(None)} AS old WHERE {bounds})"
        return f"SELECT {names} FROM new LEFT JOIN {old} AS old ON {SAME_KEY}"

    def build_select(self, columns: Sequence[str], time_range: TimeRange | None = None) -> str:
        """Return the SQL of the view `jobs`.

        Days without changes are read as they are; only the others
        are compared with the journal.
        """
        names = ", ".join(columns)
        source = self._build_source(time_range)
        if self.changes is None:
            return f"SELECT {names} FROM {source}"
        first, last = self.day_range
        days = f"BETWEEN DATE '{first}' AND DATE '{last}'"
        keys = ", ".join(KEY_COLUMNS)
        return (
            f"SELECT {names} FROM {source} WHERE day NOT {days}"
            f" UNION ALL SELECT {names} FROM {source} ANTI JOIN changes USING ({keys})"
            f" WHERE day {days}"
            f" UNION ALL SELECT {names} FROM changes"
        )

    def list_files(self, time_range: TimeRange) -> list[tuple[str, str]]:
        """Return the paths and months of files that may have jobs in a range of time."""
        bounds = (f"min.{time_range.time_column}", f"max.{time_range.time_column}")
        return [
            (path, month)
            for path, month, first, last in list_add_actions(
                self.table, "path", "partition.month", *bounds
            )
            if time_range.overlaps(first, last)
        ]

    @cached_property
    def day_range(self) -> tuple[date, date]:
        """The days of the changes."""
        return get_day_range(self.changes)

    def _build_source(self, time_range: TimeRange | None) -> str:
        """Return the lake's files as SQL.

        DuckDB reads local files itself, without deletion vectors:
        rows that another program has deleted without rewriting a
        file.
        """
        if not self.location.is_local:
            missing = make_nulls(list_missing_columns(self.table))
            return f"(SELECT {', '.join(['*', *missing])} FROM files)"
        if self.table.deletion_vectors().read_all().num_rows:
            raise HistoryError(
                f"Rows of {self.location.url} were deleted without rewriting its files.",
                hint="Let that program purge its deletion vectors"
                " (in Spark: REORG TABLE … APPLY (PURGE)).",
            )
        chosen = self.list_files(time_range or TimeRange("submitted"))
        files = [f"{self.location.url}/{unquote(path)}" for path, _ in chosen]
        if not files:
            return f"(SELECT {', '.join(make_nulls(SCHEMA))} LIMIT 0)"
        quoted = ", ".join(map(quote, files))
        if not has_old_files(self.table):
            return f"read_parquet([{quoted}], hive_partitioning = false)"
        source = f"read_parquet([{quoted}], hive_partitioning = false, union_by_name = true)"
        added = ", ".join(make_nulls(ADDED_COLUMNS))
        return f"(FROM {source} UNION ALL BY NAME (SELECT {added} LIMIT 0))"
