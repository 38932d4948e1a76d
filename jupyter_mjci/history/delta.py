"""Keep histories that are larger than one machine: a Delta table, partitioned by month.

Journals are merged into it. A merge takes what is new or changed
in the journal since the last one. How far it came is part of the
same commit (a Delta transaction under the journal's id), so a
merge that is killed has happened completely or not at all. A
merge reads only files of the days concerned: a job's day never
changes once the job was seen, and a margin of one day covers
journals that learned the day from another clock. Files have a
target size, so the cost of a merge does not grow with the lake;
row groups are small, so that a worker with little memory can read
them.

Readers see the lake with the journal's later changes laid over
it. Needs the extra `lake`.
"""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from jupyter_mjci.errors import (
    HistoryError,
    InvalidRequest,
    SettingsError,
    requires_extra,
    suggest_similar,
)
from jupyter_mjci.history.analysis import JobAccessor
from jupyter_mjci.history.frames import COLUMNS, DURATION_COLUMNS, TIME_DTYPE, get_dtype
from jupyter_mjci.history.journal import NULL_INT, ColumnExport, Journal
from jupyter_mjci.history.journal_frame import load_columns, make_export, to_floats
from jupyter_mjci.history.normalization import TIME_COLUMNS, parse_limit, parse_time, release_memory
from jupyter_mjci.history.periods import parse_seconds
from jupyter_mjci.history.queries import LOCAL_TIME, Query, aggregate_frame, aggregate_partitions

if TYPE_CHECKING:
    from types import ModuleType

    import dask.dataframe as dd
    import duckdb
    import pandas as pd
    import pyarrow as pa
    from deltalake import CommitProperties, DeltaTable, WriterProperties
    from distributed import Client

# a job's identity: ids are unique per origin only
KEY_COLUMNS = ("service", "origin", "id")
# rows of one merge, which it holds in memory
MERGE_BATCH_SIZE = 200_000
# bytes of a file after compaction, about 100,000 jobs
TARGET_FILE_SIZE = 16 * 2**20
# files below half the target in a month before they are compacted
MAX_SMALL_FILES = 24
# jobs of one step of a query that groups by period
QUERY_BATCH_SIZE = 2_500_000
ROW_GROUP_SIZE = 65_536  # rows of a row group
# the order of a frame
ORDER_COLUMNS = ("submitted", "id")
# texts of which many are equal
REPEATED_COLUMNS = (
    "service",
    "origin",
    "action",
    "status",
    "reason",
    "account",
    "queue",
    "rule",
    "bucket",
)
# how often a merge starts again because another writer was faster
MAX_COMMIT_ATTEMPTS = 60
TABLE_CONFIGURATION = {
    "delta.targetFileSize": str(TARGET_FILE_SIZE),
    "delta.checkpointInterval": "20",
}
# DuckDB's errors about SQL begin with the name of their class.
# Those about files begin with another one or none, or name a file.
FILE_ERROR = re.compile(r"^(IO|Invalid) Error:|\.parquet\b|^(?![A-Z][\w ]* Error:)")
TERMINAL_SQL = "('SUCCEEDED', 'FAILED', 'CANCELLED')"

# A version, or a time as users write it.
AsOf = int | str | date | None
# A merge writes its files before it commits.
MIN_RETENTION_HOURS = 1

COLUMN_DTYPES = {column.name: column.dtype for column in COLUMNS}


def _list_frame_columns() -> Iterator[str]:
    """Yield the columns of a frame in order: each duration follows its later time."""
    for column in COLUMNS:
        yield column.name
        for name, later, _, _ in DURATION_COLUMNS:
            if later == column.name:
                yield name


FRAME_COLUMNS = tuple(_list_frame_columns())

# The lake's columns: those of every frame, and what identifies
# and orders jobs.
DELTA_TYPES = {
    "string": "string",
    "status": "string",
    TIME_DTYPE: "timestamp",
    "Int64": "long",
    "Float64": "double",
}
SCHEMA: dict[str, str] = {
    "day": "date",
    "origin": "string",
    **{name: DELTA_TYPES[dtype] for name, dtype in COLUMN_DTYPES.items()},
    "first_seen": "timestamp",
    "last_seen": "timestamp",
    "month": "string",
}
# Columns that tables of earlier versions lack: a merge adds them,
# and readers find no values in the files before that.
ADDED_COLUMNS = (
    "account",
    "queue",
    "rule",
    "bucket",
    "size_in",
    "size_out",
    "cost",
    "final_prompt",
)
# The rule by which two records of a job, `old` and `new`, become
# one: an end supersedes what came before it, else the record that
# was seen last wins, and what it leaves out is taken from the
# other. The same SQL is run by the merge (DataFusion) and by
# readers (DuckDB).
SAME_KEY = " AND ".join(f"old.{name} = new.{name}" for name in KEY_COLUMNS)
_IS_NEWER = (
    f"CASE WHEN (new.status IN {TERMINAL_SQL}) = (old.status IN {TERMINAL_SQL})"
    f" THEN new.last_seen >= old.last_seen ELSE new.status IN {TERMINAL_SQL} END"
)
_MERGED_COLUMNS = tuple(name for name in SCHEMA if name not in ("day", "month", *KEY_COLUMNS))
MERGED_VALUES = {
    # IS NULL: readers lay changes over rows that may not be there
    name: f"CASE WHEN old.id IS NULL OR {_IS_NEWER}"
    f" THEN coalesce(new.{name}, old.{name}) ELSE coalesce(old.{name}, new.{name}) END"
    for name in _MERGED_COLUMNS
}
MERGED_VALUES["first_seen"] = "least(new.first_seen, coalesce(old.first_seen, new.first_seen))"
# whether the merged record differs from the old one
IS_UPDATE = " OR ".join(
    (
        f"({_IS_NEWER})",
        "new.first_seen < old.first_seen",
        *(f"(old.{name} IS NULL AND new.{name} IS NOT NULL)" for name in _MERGED_COLUMNS),
    )
)
_DUCKDB_TYPES = {
    "string": "VARCHAR",
    "timestamp": "TIMESTAMPTZ",
    "long": "BIGINT",
    "double": "DOUBLE",
    "date": "DATE",
}


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


def _parse_version(as_of: AsOf) -> int | datetime | None:
    """Parse a version or a time.

    Raises:
        InvalidRequest: it is neither
    """
    if not isinstance(as_of, int):
        return parse_time(as_of)
    if isinstance(as_of, bool) or as_of < 0:
        raise InvalidRequest(
            f"as_of={as_of!r} is neither a version nor a time.", hint='as_of=5, as_of="2026-01-31"'
        )
    return as_of


class _LakeNotFound(HistoryError):
    """There is no table yet."""


class LakeTable:
    """Where a lake is, and the Delta table there.

    Args:
        url: path, or URL of an object store
        storage_options: options of the object store, as deltalake
            takes them
        as_of: the version, or a time; the latest by default
    """

    def __init__(
        self, url: str | Path, storage_options: Mapping[str, str] | None = None, as_of: AsOf = None
    ) -> None:
        self.is_local = "://" not in str(url)
        self.url = str(Path(url).expanduser().absolute()) if self.is_local else str(url)
        self.storage_options = dict(storage_options or {})
        self.as_of = _parse_version(as_of)

    def load_or_create(self) -> DeltaTable:
        delta = _import_deltalake()
        with contextlib.suppress(_LakeNotFound):
            return self._add_columns(self.load())
        if not delta.DeltaTable.is_deltatable(self.url, self.storage_options):
            # A DeltaError here means that another process has
            # just created it.
            with (
                _wrap_storage_errors(self.url, "created"),
                contextlib.suppress(delta.exceptions.DeltaError),
            ):
                if self.is_local:
                    Path(self.url).mkdir(parents=True, exist_ok=True)
                delta.DeltaTable.create(
                    self.url,
                    delta.Schema([delta.Field(name, kind) for name, kind in SCHEMA.items()]),
                    mode="error",
                    partition_by=["month"],
                    storage_options=self.storage_options,
                    name="jupyter_mjci history",
                    configuration=TABLE_CONFIGURATION,
                )
        return self.load()

    def _add_columns(self, table: DeltaTable) -> DeltaTable:
        """Return the table with the columns that an earlier version did not have."""
        missing = _list_missing_columns(table)
        if not missing:
            return table
        delta = _import_deltalake()
        fields = [delta.Field(name, delta.schema.PrimitiveType(SCHEMA[name])) for name in missing]
        # Where another writer was faster, it has added them.
        with (
            _wrap_storage_errors(self.url, "written"),
            contextlib.suppress(delta.exceptions.CommitFailedError),
        ):
            table.alter.add_columns(fields)
        return self.load()

    def load(self) -> DeltaTable:
        """Load the latest version of the table.

        Raises:
            HistoryError: there is no table, or it has another
                schema
        """
        delta = _import_deltalake()
        try:
            table: DeltaTable = delta.DeltaTable(self.url, storage_options=self.storage_options)
        except delta.exceptions.TableNotFoundError as error:
            raise _LakeNotFound(
                f"There is no lake at {self.url}.",
                hint=f'Create it: session.history.archive("{self.url}")',
            ) from error
        except (delta.exceptions.DeltaError, OSError) as error:
            raise HistoryError(
                f"The lake {self.url} cannot be opened.",
                detail=str(error).partition("\n")[0],
                hint="Check the URL, the bucket and the storage options.",
            ) from error
        self._travel(table)
        self._check_schema(table)
        return table

    def _travel(self, table: DeltaTable) -> None:
        """Load the version of `as_of`.

        Raises:
            HistoryError: the lake does not have it, or no longer
        """
        if self.as_of is None:
            return
        latest = table.version()
        try:
            table.load_as_version(self.as_of)
        except (_import_deltalake().exceptions.DeltaError, OSError) as error:
            raise HistoryError(
                f"The lake {self.url} has no version {self.as_of}.",
                detail=str(error).partition("\n")[0],
                hint=f"Its latest version is {latest}.",
            ) from error

    def _check_schema(self, table: DeltaTable) -> None:
        """Raise HistoryError for a table of another schema."""
        types = {
            column.name: getattr(column.type, "type", str(column.type))
            for column in table.schema().fields
        }
        missing = set(_list_missing_columns(table))
        wrong = [name for name, kind in SCHEMA.items() if types.get(name) != kind]
        wrong = [name for name in wrong if name not in missing]
        if wrong == ["user_data"] and "state" in types:
            # Delta tables without column mapping cannot rename a
            # column in place.
            raise HistoryError(
                f"The lake {self.url} was written by an earlier version of jupyter_mjci.",
                detail='Its column "state" is called "user_data" now.',
                hint="Archive every journal to a new place: a journal still holds all of its jobs.",
            )
        if wrong or table.metadata().partition_columns != ["month"]:
            raise HistoryError(
                f"{self.url} is a table of another schema, and was not changed.",
                detail=f"What differs: {', '.join(wrong) or 'its partitions'}.",
                hint="Archive to another place.",
            )


class LakeReader:
    """Reads a lake, with a journal laid over it.

    Args:
        location: where the lake is
        journal: the journal whose changes are laid over it
    """

    def __init__(self, location: LakeTable, journal: Journal | None) -> None:
        self.location = location
        self.journal = journal

    @property
    def url(self) -> str:
        """Its path, or the URL in an object store."""
        return self.location.url

    @property
    def mjci(self) -> JobAccessor:
        """The analyses, computed by DuckDB over the lake's files in bounded memory."""
        return JobAccessor(self)

    def frame(
        self, columns: Sequence[str] | None = None, *, where: str = "", limit: int | None = None
    ) -> pd.DataFrame:
        """Load jobs as a typed DataFrame, oldest first.

        Args:
            columns: names of columns; by default those of every
                frame of jobs
            where: SQL (DuckDB's) over them: "status = 'FAILED'"
            limit: the oldest so many

        Raises:
            InvalidRequest: there is no such column, `where` is no
                valid SQL, or `limit` is not positive
        """
        names = FRAME_COLUMNS if columns is None else tuple(columns)
        _check_columns(_list_stored_columns(names))
        read = dict.fromkeys((*_list_stored_columns(names), *ORDER_COLUMNS))
        statement = f"SELECT {', '.join(read)} FROM jobs"
        if where:
            statement += f" WHERE {where}"
        rows = parse_limit(limit)
        if rows:
            statement += f" ORDER BY submitted NULLS FIRST, id LIMIT {rows}"
        with self._connect_to_view() as db, _wrap_sql_errors(statement):
            loaded = _read_columns(db.sql(statement).to_arrow_reader(ROW_GROUP_SIZE))
        release_memory()
        _sort_columns(loaded)
        return _build_frame(loaded, names)

    def compute_metrics(self, query: Query) -> pd.DataFrame:
        """Compute the metrics of a query with DuckDB.

        One range of time after another, so that memory stays
        bounded. Functions to group by run in pandas.

        Raises:
            InvalidRequest: the lake has no such column
        """
        import pandas as pd

        _check_columns(query.source_columns)
        aggregate = _aggregate_in_pandas if query.functions else _aggregate_in_duckdb
        with self._connect() as (db, snapshot):
            time_ranges = _split_time_ranges(snapshot.table, query)
            parts = [aggregate(db, snapshot, query, time_range) for time_range in time_ranges]
        filled = [part for part in parts if len(part)]
        return pd.concat(filled or parts[:1], ignore_index=True)

    def load_jobs(self, columns: Sequence[str]) -> pd.DataFrame:
        """Return columns of all jobs, oldest first.

        Raises:
            InvalidRequest: there is no such column
        """
        return self.frame(columns)

    def sql(self, statement: str) -> pd.DataFrame:
        """Return the result of a statement in SQL (DuckDB's).

        Args:
            statement: a query of the view `jobs`: the lake with
                the journal's changes; its times are aware and in
                UTC

        Raises:
            InvalidRequest: it is no valid SQL
        """
        frame: pd.DataFrame = self._query(statement).to_pandas()
        return frame

    def _query(self, statement: str) -> pa.Table:
        """Run SQL over the view `jobs`."""
        with self._connect_to_view() as db, _wrap_sql_errors(statement):
            return db.sql(statement).to_arrow_table()

    @contextlib.contextmanager
    def _connect_to_view(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Connect to DuckDB with the view `jobs`: the lake's files and the journal's changes."""
        with self._connect() as (db, snapshot):
            db.execute(f"CREATE VIEW jobs AS {snapshot.build_select(list(COLUMN_DTYPES))}")
            yield db

    @contextlib.contextmanager
    def _connect(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, _LakeSnapshot]]:
        """Connect to DuckDB, where the lake's files and the journal's changes are known."""
        snapshot = self.take_snapshot()
        with _open_duckdb() as db, _wrap_storage_errors(self.url, "read"):
            with _wrap_read_errors(self.url):
                snapshot.register(db)
                yield db, snapshot

    def take_snapshot(self) -> _LakeSnapshot:
        """Return the lake as it is now, with the journal's changes since its last merge."""
        return _LakeSnapshot(self.location, self.journal)


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
            first = _get_merged_sequence(table, journal)
            rows, last = journal.changes_since(first, MERGE_BATCH_SIZE)
            if not rows:
                break
            with _wrap_storage_errors(self.url, "written"):
                table = self._merge_with_retries(table, journal, first, last)
            if _get_merged_sequence(table, journal) <= first:
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
        with _wrap_storage_errors(self.url, "cleaned up"):
            files: list[str] = table.vacuum(
                hours, dry_run, enforce_retention_duration=False, full=True
            )
        return sorted(files)

    def _compact_table(self, table: DeltaTable) -> None:
        conflict = _import_deltalake().exceptions.CommitFailedError
        months = _find_fragmented_months(table)
        for month in months:
            # Where another writer was faster, the next merge
            # compacts.
            with contextlib.suppress(conflict):
                table.optimize.compact(
                    [("month", "=", month)],
                    target_size=TARGET_FILE_SIZE,
                    writer_properties=_make_writer_properties(),
                )
        if months:
            table.vacuum(dry_run=False)

    def _merge_with_retries(
        self, table: DeltaTable, journal: Journal, first: int, last: int
    ) -> DeltaTable:
        """Merge one batch, again as long as other writers commit first."""
        delta = _import_deltalake()
        changes = _load_changes(journal, first, last)
        transaction = delta.Transaction(journal.journal_id, last)
        commit = delta.CommitProperties(app_transactions=[transaction])
        for attempt in range(MAX_COMMIT_ATTEMPTS):
            try:
                _merge_changes(table, changes, commit)
                if _get_merged_sequence(table, journal) < last:
                    # Nothing was newer, so nothing was committed.
                    _record_position(table, commit)
                return table
            except delta.exceptions.CommitFailedError:
                time.sleep(random.uniform(0.01, 0.05) * min(attempt + 1, 10))
                table = self.location.load()
            if _get_merged_sequence(table, journal) > first:
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


def _aggregate_in_duckdb(
    db: duckdb.DuckDBPyConnection, snapshot: _LakeSnapshot, query: Query, time_range: TimeRange
) -> pd.DataFrame:
    """Compute the metrics of a range of time."""
    import pandas as pd

    columns = [_normalize_column(name) for name in query.source_columns]
    if query.needs_local_time:
        columns.append(f"timezone('{query.tz}', {query.time_column}) AS {LOCAL_TIME}")
    jobs = snapshot.build_select(query.source_columns, time_range)
    statement = f"SELECT {', '.join(columns)} FROM ({jobs}) WHERE {time_range.condition}"
    result = query.aggregate(db.sql(statement))
    return pd.DataFrame(result.fetchall(), columns=result.columns, dtype=object)


def _aggregate_in_pandas(
    db: duckdb.DuckDBPyConnection, snapshot: _LakeSnapshot, query: Query, time_range: TimeRange
) -> pd.DataFrame:
    """Compute the metrics of a range of time, grouped by functions of a DataFrame."""
    stored = _list_stored_columns(FRAME_COLUMNS)
    jobs = snapshot.build_select(stored, time_range)
    table = db.sql(f"SELECT * FROM ({jobs}) WHERE {time_range.condition}").to_arrow_table()
    return aggregate_frame(_arrow_to_frame(table, FRAME_COLUMNS), query)


def _check_columns(names: Iterable[str]) -> None:
    """Raise InvalidRequest for columns that a lake does not have."""
    unknown = [name for name in names if name not in COLUMN_DTYPES]
    if unknown:
        raise InvalidRequest(
            f"A lake has no column {', '.join(unknown)}.",
            detail=suggest_similar(unknown[0], list(COLUMN_DTYPES)),
            hint=f"Available: {', '.join(COLUMN_DTYPES)}; or a function of the DataFrame.",
        )


@contextlib.contextmanager
def _open_duckdb() -> Iterator[duckdb.DuckDBPyConnection]:
    engine = _import_extra("duckdb")
    with contextlib.closing(engine.connect()) as db:
        db.execute("SET TimeZone = 'UTC'")
        db.execute("SET preserve_insertion_order = false")
        db.execute("SET parquet_metadata_cache = true")
        # it would print into the cell
        db.execute("SET enable_progress_bar = false")
        yield db


def _get_merged_sequence(table: DeltaTable, journal: Journal) -> int:
    """Return the sequence number up to which a journal has been merged."""
    return table.transaction_version(journal.journal_id) or 0


def _normalize_column(name: str) -> str:
    """Return a column as queries expect it, in SQL: times without time zone (see `normalize`)."""
    # A cast would convert time zones row by row; this only
    # changes the type.
    if name in TIME_COLUMNS:
        return f"make_timestamp(epoch_us({name})) AS {name}"
    return f"nullif({name}, '') AS {name}" if name == "origin" else name


class _LakeSnapshot:
    """One version of a lake, and the journal's changes since.

    `register` merges the changes with what the lake knows of the
    same jobs, so that readers see what the next merge will write.
    """

    def __init__(self, location: LakeTable, journal: Journal | None) -> None:
        self.location = location
        self.table = location.load()
        self.changes: pa.Table | None = None
        if journal is not None:
            first = _get_merged_sequence(self.table, journal)
            rows, last = journal.changes_since(first)
            if rows:
                self.changes = _load_changes(journal, first, last)

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
        bounds = _build_day_bounds(self.changes)
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
            for path, month, first, last in _list_add_actions(
                self.table, "path", "partition.month", *bounds
            )
            if time_range.overlaps(first, last)
        ]

    @cached_property
    def day_range(self) -> tuple[date, date]:
        """The days of the changes."""
        return _get_day_range(self.changes)

    def _build_source(self, time_range: TimeRange | None) -> str:
        """Return the lake's files as SQL.

        DuckDB reads local files itself, without deletion vectors:
        rows that another program has deleted without rewriting a
        file.
        """
        if not self.location.is_local:
            missing = _make_nulls(_list_missing_columns(self.table))
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
            return f"(SELECT {', '.join(_make_nulls(SCHEMA))} LIMIT 0)"
        quoted = ", ".join(map(_quote, files))
        if not _has_old_files(self.table):
            return f"read_parquet([{quoted}], hive_partitioning = false)"
        source = f"read_parquet([{quoted}], hive_partitioning = false, union_by_name = true)"
        added = ", ".join(_make_nulls(ADDED_COLUMNS))
        return f"(FROM {source} UNION ALL BY NAME (SELECT {added} LIMIT 0))"


def _make_nulls(columns: Iterable[str]) -> list[str]:
    """Return the SQL of columns without values."""
    return [f"NULL::{_DUCKDB_TYPES[SCHEMA[name]]} AS {name}" for name in columns]


def _list_missing_columns(table: DeltaTable) -> list[str]:
    """Return the columns that a table of an earlier version does not have."""
    names = {column.name for column in table.schema().fields}
    return [name for name in ADDED_COLUMNS if name not in names]


def _has_old_files(table: DeltaTable) -> bool:
    """Return whether a file may lack columns: it was written before they were added."""
    import pyarrow as pa

    actions = pa.table(table.get_add_actions(flatten=True))
    column = f"null_count.{ADDED_COLUMNS[-1]}"
    return column not in actions.column_names or bool(actions[column].null_count)


def _quote(text: str) -> str:
    """Return a text as an SQL literal."""
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A range of time.

    Args:
        time_column: which of a job's times it is about
        begin: the first time; None is open
        end: the time before which it ends; None is open
    """

    time_column: str
    begin: datetime | None = None
    end: datetime | None = None

    @property
    def condition(self) -> str:
        """The SQL that holds for jobs in the range."""
        condition = f"{self.time_column} IS NOT NULL"
        if self.begin is not None:
            condition += f" AND {self.time_column} >= TIMESTAMPTZ '{self.begin}'"
        if self.end is not None:
            condition += f" AND {self.time_column} < TIMESTAMPTZ '{self.end}'"
        return condition

    def overlaps(self, first: datetime | None, last: datetime | None) -> bool:
        """Return whether a time between these two may lie in the range; None is unknown."""
        if self.begin is not None and last is not None and _ensure_utc(last) < self.begin:
            return False
        return self.end is None or first is None or _ensure_utc(first) < self.end


def _ensure_utc(value: datetime) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=UTC)


# --- on a cluster -----------------------------------------------


class DaskLake:
    """A lake on a Dask cluster.

    `.mjci` has the analyses, `.frame()` is for everything else.
    Without the extra `lake` SettingsError is raised; a table that
    cannot be read raises HistoryError.
    """

    def __init__(self, reader: LakeReader, client: Client | str) -> None:
        self._reader = reader
        self._client = client

    @property
    def mjci(self) -> JobAccessor:
        """The analyses, with one task per month that reads only the columns it needs."""
        return JobAccessor(self)

    def compute_metrics(self, query: Query) -> pd.DataFrame:
        """Compute the metrics of a query on the workers."""
        snapshot = self._take_snapshot()
        with self._connect():
            time_range = TimeRange(query.time_column, query.since, query.until)
            frame = _build_dask_frame(snapshot, _partition_by_month(snapshot, time_range))
            return aggregate_partitions(query, frame)

    def load_jobs(self, columns: Sequence[str]) -> pd.DataFrame:
        """Return columns of all jobs, read on this machine.

        Raises:
            InvalidRequest: there is no such column
        """
        return self._reader.frame(columns)

    def frame(self, partition_size: int = 4 * ROW_GROUP_SIZE) -> dd.DataFrame:
        """Return all jobs as a lazy Dask DataFrame.

        Args:
            partition_size: rows of a partition, at most
        """
        snapshot = self._take_snapshot()
        return _build_dask_frame(snapshot, _partition_by_rows(snapshot, partition_size))

    def _take_snapshot(self) -> _LakeSnapshot:
        snapshot = self._reader.take_snapshot()
        if snapshot.changes is not None:
            with _open_duckdb() as db, _wrap_storage_errors(self._reader.url, "read"):
                snapshot.register(db)
        return snapshot

    @contextlib.contextmanager
    def _connect(self) -> Iterator[None]:
        """Make the client current; one that is made from an address is closed afterwards."""
        with contextlib.ExitStack() as stack:
            client = self._client
            if isinstance(client, str):
                distributed = _import_extra("distributed")
                client = stack.enter_context(distributed.Client(client, set_as_default=False))
            stack.enter_context(client.as_current())
            yield


@dataclass(frozen=True, slots=True)
class Partition:
    """What one task reads.

    Args:
        files: paths of files
        row_groups: which of their row groups; all where none are
            named
        changes: rows of the journal
    """

    files: tuple[str, ...] = ()
    row_groups: tuple[int, ...] = ()
    changes: pa.Table | None = None


def _build_dask_frame(snapshot: _LakeSnapshot, partitions: list[Partition]) -> dd.DataFrame:
    dataframe = _import_extra("dask.dataframe")
    superseded = None
    if snapshot.changes is not None:
        superseded = snapshot.changes.select([*KEY_COLUMNS])
    read = partial(_read_partition, location=snapshot.location, superseded=superseded)
    meta = _arrow_to_frame(_make_empty_table(), FRAME_COLUMNS)
    return dataframe.from_map(read, partitions or [Partition()], meta=meta)


def _partition_by_month(snapshot: _LakeSnapshot, time_range: TimeRange) -> list[Partition]:
    """Return one partition per month: its files in a range of time, and its changes."""
    import pyarrow.compute as pc

    files: dict[str, list[str]] = {}
    for path, month in snapshot.list_files(time_range):
        files.setdefault(month, []).append(path)
    changes: dict[str, pa.Table] = {}
    if snapshot.changes is not None:
        table = snapshot.changes
        for month in table["month"].unique().to_pylist():
            changes[month] = table.filter(pc.equal(table["month"], month)).drop(["month"])
    return [
        Partition(tuple(files.get(month, ())), changes=changes.get(month))
        for month in sorted(files.keys() | changes.keys())
    ]


def _partition_by_rows(snapshot: _LakeSnapshot, partition_size: int) -> list[Partition]:
    """Return partitions of row groups with at most so many rows, and the changes as the last."""
    import pyarrow.parquet as pq

    partitions = []
    for (path,) in _list_add_actions(snapshot.table, "path"):
        with _open_file(snapshot.location, path) as file:
            metadata = pq.ParquetFile(file).metadata
        groups: list[int] = []
        total = 0
        for number in range(metadata.num_row_groups):
            rows = metadata.row_group(number).num_rows
            if groups and total + rows > partition_size:
                partitions.append(Partition((path,), tuple(groups)))
                groups = []
                total = 0
            groups.append(number)
            total += rows
        partitions.append(Partition((path,), tuple(groups)))
    if snapshot.changes is not None:
        partitions.append(Partition(changes=snapshot.changes.drop(["month"])))
    return partitions


def _read_partition(
    part: Partition,
    *,
    location: LakeTable,
    superseded: pa.Table | None,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Read a partition as a typed frame, on a worker.

    Args:
        part: the partition
        location: where the lake is
        superseded: keys of rows that the changes replace
        columns: names of columns, which Dask passes; all by
            default
    """
    import pyarrow as pa

    names = FRAME_COLUMNS if columns is None else tuple(columns)
    stored = _list_stored_columns(names)
    needed = stored
    if superseded is not None:
        needed = list(dict.fromkeys((*stored, *KEY_COLUMNS)))
        # A copy: Arrow warns of joins with the buffers of a message,
        # which start anywhere.
        superseded = superseded.take(pa.array(range(superseded.num_rows), pa.int64()))
    parts = [_make_empty_table().select(stored)]
    for path in part.files:
        with _open_file(location, path) as file:
            table = _read_row_groups(file, part.row_groups, needed)
        if superseded is not None:
            table = table.join(superseded, list(KEY_COLUMNS), None, "left anti", use_threads=False)
        parts.append(table.select(stored))
    if part.changes is not None:
        parts.append(part.changes.select(stored))
    return _arrow_to_frame(pa.concat_tables(parts), names)


def _read_row_groups(
    file: pa.NativeFile, row_groups: Sequence[int], columns: list[str]
) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = pq.ParquetFile(file)
    groups = list(row_groups or range(source.metadata.num_row_groups))
    known = [name for name in columns if name in source.schema_arrow.names]
    table = source.read_row_groups(groups, columns=known, use_threads=False).select(known)
    # Files remember string views, which cannot be joined; old ones
    # lack columns.
    known_schema = _make_empty_table().select(known).schema
    whole = pa.concat_tables(
        [_make_empty_table(), table.cast(known_schema)], promote_options="default"
    )
    return whole.select(columns)


@contextlib.contextmanager
def _open_file(location: LakeTable, path: str) -> Iterator[pa.NativeFile]:
    if location.is_local:
        with open(Path(location.url) / unquote(path), "rb") as file:
            yield file
        return
    from deltalake.fs import DeltaStorageHandler
    from pyarrow.fs import PyFileSystem

    filesystem = PyFileSystem(DeltaStorageHandler(location.url, location.storage_options))
    with filesystem.open_input_file(unquote(path)) as file:
        yield file


# --- changes and merges -----------------------------------------


def _load_changes(journal: Journal, first: int, last: int) -> pa.Table:
    """Load what the journal has between two sequence numbers, as the lake's columns by day."""
    import pyarrow as pa
    import pyarrow.compute as pc

    exports = {
        "origin": ColumnExport("coalesce(origin, '')"),
        "day": ColumnExport("day", is_integer=True),
        "first_seen": make_export("first_seen", TIME_DTYPE),
        "last_seen": make_export("last_seen", TIME_DTYPE),
    }
    for name, dtype in COLUMN_DTYPES.items():
        exports[name] = make_export(name, "string" if dtype == "status" else dtype)
    newer = "rowid IN (SELECT rowid FROM jobs WHERE sequence > ? AND sequence <= ?)"
    columns = load_columns(journal, exports, newer, (first, last))
    columns["day"] = columns["day"].astype("int32")
    arrays: dict[str, pa.Array] = {}
    for name, kind in SCHEMA.items():
        if name == "month":
            arrays[name] = pc.strftime(arrays["day"], "%Y-%m")
        elif kind == "string":
            arrays[name] = columns[name].cast(pa.string())
        elif kind == "double":
            arrays[name] = pa.array(to_floats(columns[name]), from_pandas=True)
        else:
            missing = columns[name] == NULL_INT
            arrays[name] = pa.array(columns[name], mask=missing).cast(_get_arrow_type(kind))
    # "" is exported as missing; a key never is.
    arrays["origin"] = arrays["origin"].fill_null("")
    return pa.table(arrays).sort_by("day")


def _get_arrow_type(kind: str) -> pa.DataType:
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "timestamp": pa.timestamp("us", "UTC"),
        "long": pa.int64(),
        "double": pa.float64(),
        "date": pa.date32(),
    }
    return types[kind]


def _make_empty_table() -> pa.Table:
    import pyarrow as pa

    fields = [(name, _get_arrow_type(kind)) for name, kind in SCHEMA.items() if name != "month"]
    return pa.schema(fields).empty_table()


def _get_day_range(changes: pa.Table) -> tuple[date, date]:
    """Return the first and last day of some rows, with a margin of one day."""
    import pyarrow.compute as pc

    bounds = pc.min_max(changes["day"]).as_py()
    return bounds["min"] - timedelta(days=1), bounds["max"] + timedelta(days=1)


def _merge_changes(table: DeltaTable, changes: pa.Table, commit: CommitProperties) -> None:
    """Merge rows into the lake, by the rule that readers apply, too; the day stays."""
    merger = table.merge(
        changes,
        f"{SAME_KEY} AND {_build_bounds(changes)}",
        source_alias="new",
        target_alias="old",
        writer_properties=_make_writer_properties(),
        commit_properties=commit,
    )
    merger.when_matched_update(MERGED_VALUES, predicate=IS_UPDATE)
    merger.when_not_matched_insert_all().execute()


def _record_position(table: DeltaTable, commit: CommitProperties) -> None:
    """Commit how far the journal was merged, without any change of jobs."""
    table.create_write_transaction(
        [], "append", table.schema(), ["month"], commit_properties=commit
    )
    table.update_incremental()


def _build_day_bounds(changes: pa.Table) -> str:
    """Return SQL that holds for the lake's rows of the days of some changes."""
    first, last = _get_day_range(changes)
    return f"old.day >= CAST('{first}' AS DATE) AND old.day <= CAST('{last}' AS DATE)"


def _build_bounds(changes: pa.Table) -> str:
    """Return SQL that holds for the lake's rows among which the jobs of some changes lie."""
    import pyarrow.compute as pc

    # Ids grow with time: their bounds, too, let the merge skip
    # old row groups.
    ids = pc.min_max(changes["id"]).as_py()
    return (
        f"{_build_day_bounds(changes)}"
        f" AND old.id >= {_quote(ids['min'])} AND old.id <= {_quote(ids['max'])}"
    )


def _make_writer_properties() -> WriterProperties:
    properties: WriterProperties = _import_deltalake().WriterProperties(
        compression="ZSTD", compression_level=3, max_row_group_size=ROW_GROUP_SIZE
    )
    return properties


def _list_add_actions(table: DeltaTable, *names: str) -> list[tuple[Any, ...]]:
    """Return properties of every file of a table, as its log names them; None is unknown."""
    import pyarrow as pa

    actions = pa.table(table.get_add_actions(flatten=True))
    unknown = [None] * actions.num_rows
    known = set(actions.column_names)
    columns = [actions[name].to_pylist() if name in known else unknown for name in names]
    return list(zip(*columns, strict=True))


def _find_fragmented_months(table: DeltaTable) -> list[str]:
    """Return the months with more than MAX_SMALL_FILES small files."""
    files = _list_add_actions(table, "partition.month", "size_bytes")
    small = Counter(month for month, size in files if size < TARGET_FILE_SIZE // 2)
    return [month for month, count in small.items() if count > MAX_SMALL_FILES]


def _split_time_ranges(table: DeltaTable, query: Query) -> list[TimeRange]:
    """Return ranges of about QUERY_BATCH_SIZE jobs each.

    They begin where a period begins, so that each group lies in
    one of them; a query without periods has one range.
    """
    edges: list[datetime] = []
    if query.period:
        rows: Counter[str] = Counter()
        for month, records in _list_add_actions(table, "partition.month", "num_records"):
            rows[month] += records or 0
        total = 0
        for month in sorted(rows):
            if total and total + rows[month] > QUERY_BATCH_SIZE:
                edges.append(_get_range_start(month, query))
                total = 0
            total += rows[month]
    # Two months may lie in one quarter.
    inner = [edge for edge in dict.fromkeys(edges) if _lies_within(edge, query)]
    bounds = [query.since, *inner, query.until]
    return [TimeRange(query.time_column, begin, end) for begin, end in pairwise(bounds)]


def _lies_within(edge: datetime, query: Query) -> bool:
    is_after = query.since is None or edge > query.since
    return is_after and (query.until is None or edge < query.until)


def _get_range_start(month: str, query: Query) -> datetime:
    """Return the start of the period in which a month starts, in the query's time zone."""
    assert query.period is not None
    first = datetime.fromisoformat(f"{month}-01")
    if query.period == "quarter":
        first = first.replace(month=(first.month - 1) // 3 * 3 + 1)
    elif query.period == "week":
        first -= timedelta(days=first.weekday())
    local = first.replace(tzinfo=ZoneInfo(query.tz))
    if query.period == "hour":
        local = local.replace(tzinfo=UTC)
    return local.astimezone(UTC)


# --- Arrow and pandas -------------------------------------------


def _read_columns(reader: pa.RecordBatchReader) -> dict[str, pa.ChunkedArray]:
    """Read a stream of jobs as columns, which take no more memory than their values."""
    import numpy as np
    import pyarrow as pa

    types = {field.name: field.type for field in reader.schema}
    chunks: dict[str, list[pa.Array]] = {name: [] for name in types}
    for batch in reader:
        # DuckDB's buffers have more room than needed, and are
        # freed together only.
        rows = pa.array(np.arange(batch.num_rows))
        for name, parts in chunks.items():
            if name in REPEATED_COLUMNS:
                parts.append(batch[name].dictionary_encode())
            else:
                parts.append(_widen_texts(batch[name]).take(rows))
        del batch
        release_memory()
    columns = {}
    for name, kind in types.items():
        parts = chunks.pop(name)
        columns[name] = pa.chunked_array(parts, None if parts else kind)
    return columns


def _widen_texts(values: pa.Array) -> pa.Array:
    """Return texts as those of a column, which may have more than 2 GB."""
    import pyarrow as pa

    return values.cast(pa.large_string()) if pa.types.is_string(values.type) else values


def _sort_columns(columns: dict[str, pa.ChunkedArray]) -> None:
    """Bring columns into the order of a frame, one after another."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # jobs without time come first
    times = columns["submitted"].cast(pa.int64()).fill_null(NULL_INT)
    keys = pa.table([times, columns["id"]], names=["submitted", "id"])
    order = pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names])
    del times, keys
    for name in list(columns):
        values = columns.pop(name).unify_dictionaries().combine_chunks()
        release_memory()
        columns[name] = values.take(order)
        del values
        release_memory()


def _arrow_to_frame(table: pa.Table, columns: Sequence[str]) -> pd.DataFrame:
    """Return columns of an Arrow table as the frame that `frames` makes of the same jobs."""
    return _build_frame(dict(zip(table.column_names, table.columns, strict=True)), columns)


def _build_frame(loaded: dict[str, pa.ChunkedArray], columns: Sequence[str]) -> pd.DataFrame:
    """Return columns as a frame, and free each one once it is part of it."""
    import pandas as pd

    if "origin" in loaded:
        loaded["origin"] = _empty_to_null(loaded["origin"])
    series = {}
    for name in list(loaded):
        values = loaded.pop(name)
        if name in COLUMN_DTYPES:
            series[name] = _arrow_to_series(values, COLUMN_DTYPES[name])
        del values
        release_memory()
    for name, later, earlier, _ in DURATION_COLUMNS:
        if later in series and earlier in series:
            series[name] = series[later] - series[earlier]
    return pd.DataFrame({name: series[name] for name in columns}, copy=False)


def _arrow_to_series(values: pa.ChunkedArray, dtype: str) -> pd.Series:
    import pandas as pd
    import pyarrow as pa

    if dtype == "status":
        return pd.Series(pd.Categorical(values.to_pandas(), dtype=get_dtype(dtype)))
    if dtype == TIME_DTYPE:
        series: pd.Series = values.to_pandas()
        return series
    extension: Any = pd.api.types.pandas_dtype(dtype)
    if dtype == "string":
        values = values.cast(pa.large_string())
    return pd.Series(extension.__from_arrow__(values))


def _empty_to_null(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts with "" as missing: an unknown origin, which as a part of a key is no null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = values.cast(pa.large_string())
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)


def _list_stored_columns(columns: Sequence[str]) -> list[str]:
    """Return the lake's columns that columns of a frame are made of."""
    sources = {name: (earlier, later) for name, later, earlier, _ in DURATION_COLUMNS}
    stored: dict[str, None] = {}
    for name in columns:
        stored |= dict.fromkeys(sources.get(name, (name,)))
    return list(stored)


# --- libraries and errors ---------------------------------------


def _import_extra(module: str) -> ModuleType:
    with requires_extra(module.partition(".")[0], "lake"):
        return import_module(module)


def _import_deltalake() -> ModuleType:
    return _import_extra("deltalake")


@contextlib.contextmanager
def _wrap_storage_errors(url: str, action: str) -> Iterator[None]:
    """Turn errors of the store into HistoryError; commit conflicts are left to the caller."""
    from deltalake.exceptions import CommitFailedError, DeltaError

    try:
        yield
    except CommitFailedError:
        raise
    except (DeltaError, OSError) as error:
        raise HistoryError(
            f"The lake {url} could not be {action}.",
            detail=str(error).splitlines()[0],
            hint="Nothing is lost: the lake is unchanged, and the journal still has every job.",
        ) from error


@contextlib.contextmanager
def _wrap_read_errors(url: str) -> Iterator[None]:
    """Turn DuckDB's errors about files into HistoryError."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise HistoryError(
            f"The lake {url} cannot be read: its files are gone or damaged.",
            detail=str(error).splitlines()[0],
            hint="`vacuum` deletes the files of versions before its retention.",
        ) from error


@contextlib.contextmanager
def _wrap_sql_errors(statement: str) -> Iterator[None]:
    """Turn DuckDB's errors about a user's SQL into InvalidRequest; a stream's are an OSError."""
    import duckdb

    try:
        yield
    except (duckdb.Error, OSError) as error:
        if FILE_ERROR.search(str(error)):
            raise
        raise InvalidRequest(
            "DuckDB refuses this SQL.",
            detail=str(error).splitlines()[0],
            hint=f"The view jobs has the columns {', '.join(COLUMN_DTYPES)}. {statement[:200]}",
        ) from error
