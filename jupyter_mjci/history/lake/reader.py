"""Read a lake with DuckDB: frames, analyses and SQL."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from jupyter_mjci.history.analysis import JobAccessor
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.lake.arrow import arrow_to_frame, build_frame, read_columns, sort_columns
from jupyter_mjci.history.lake.libraries import (
    open_duckdb,
    wrap_read_errors,
    wrap_sql_errors,
    wrap_storage_errors,
)
from jupyter_mjci.history.lake.schema import (
    COLUMN_DTYPES,
    FRAME_COLUMNS,
    ROW_GROUP_SIZE,
    check_columns,
    list_stored_columns,
)
from jupyter_mjci.history.lake.snapshot import LakeSnapshot
from jupyter_mjci.history.lake.table import LakeTable
from jupyter_mjci.history.lake.time_ranges import TimeRange, split_time_ranges
from jupyter_mjci.history.normalization import TIME_COLUMNS, parse_limit, release_memory
from jupyter_mjci.history.queries import LOCAL_TIME, Query, aggregate_frame

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

# the order of a frame
ORDER_COLUMNS = ("submitted", "id")
# jobs that are held at once where each is looked at
PART_ROWS = 200_000


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
        check_columns(list_stored_columns(names))
        read = dict.fromkeys((*list_stored_columns(names), *ORDER_COLUMNS))
        statement = f"SELECT {', '.join(read)} FROM jobs"
        if where:
            statement += f" WHERE {where}"
        rows = parse_limit(limit)
        if rows:
            statement += f" ORDER BY submitted NULLS FIRST, id LIMIT {rows}"
        with self._connect_to_view() as db, wrap_sql_errors(statement):
            loaded = read_columns(db.sql(statement).to_arrow_reader(ROW_GROUP_SIZE))
        release_memory()
        sort_columns(loaded)
        return build_frame(loaded, names)

    def compute_metrics(self, query: Query) -> pd.DataFrame:
        """Compute the metrics of a query with DuckDB.

        One range of time after another, so that memory stays
        bounded. Functions to group by run in pandas.

        Raises:
            InvalidRequest: the lake has no such column
        """
        import pandas as pd

        check_columns(query.source_columns)
        aggregate = _aggregate_in_pandas if query.functions else _aggregate_in_duckdb
        with self._connect() as (db, snapshot):
            time_ranges = split_time_ranges(snapshot.table, query)
            parts = [aggregate(db, snapshot, query, time_range) for time_range in time_ranges]
        filled = [part for part in parts if len(part)]
        return pd.concat(filled or parts[:1], ignore_index=True)

    def load_jobs(self, columns: Sequence[str]) -> pd.DataFrame:
        """Return columns of all jobs, oldest first.

        Raises:
            InvalidRequest: there is no such column
        """
        return self.frame(columns)

    def iter_jobs(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield columns of all jobs in parts, in any order.

        Raises:
            InvalidRequest: there is no such column
        """
        import pyarrow as pa

        check_columns(list_stored_columns(columns))
        statement = f"SELECT {', '.join(list_stored_columns(columns))} FROM jobs"
        with self._connect_to_view() as db:
            reader = db.sql(statement).to_arrow_reader(PART_ROWS)
            is_empty = True
            for batch in reader:
                is_empty = False
                yield arrow_to_frame(pa.Table.from_batches([batch]), columns)
            if is_empty:
                yield arrow_to_frame(reader.schema.empty_table(), columns)

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
        with self._connect_to_view() as db, wrap_sql_errors(statement):
            return db.sql(statement).to_arrow_table()

    @contextlib.contextmanager
    def _connect_to_view(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Connect to DuckDB with the view `jobs`: the lake's files and the journal's changes."""
        with self._connect() as (db, snapshot):
            db.execute(f"CREATE VIEW jobs AS {snapshot.build_select(list(COLUMN_DTYPES))}")
            yield db

    @contextlib.contextmanager
    def _connect(self) -> Iterator[tuple[duckdb.DuckDBPyConnection, LakeSnapshot]]:
        """Connect to DuckDB, where the lake's files and the journal's changes are known."""
        snapshot = self.take_snapshot()
        with open_duckdb() as db, wrap_storage_errors(self.url, "read"):
            with wrap_read_errors(self.url):
                snapshot.register(db)
                yield db, snapshot

    def take_snapshot(self) -> LakeSnapshot:
        """Return the lake as it is now, with the journal's changes since its last merge."""
        return LakeSnapshot(self.location, self.journal)


def _aggregate_in_duckdb(
    db: duckdb.DuckDBPyConnection, snapshot: LakeSnapshot, query: Query, time_range: TimeRange
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
    db: duckdb.DuckDBPyConnection, snapshot: LakeSnapshot, query: Query, time_range: TimeRange
) -> pd.DataFrame:
    """Compute the metrics of a range of time, grouped by functions of a DataFrame."""
    stored = list_stored_columns(FRAME_COLUMNS)
    jobs = snapshot.build_select(stored, time_range)
    table = db.sql(f"SELECT * FROM ({jobs}) WHERE {time_range.condition}").to_arrow_table()
    return aggregate_frame(arrow_to_frame(table, FRAME_COLUMNS), query)


def _normalize_column(name: str) -> str:
    """Return a column as queries expect it, in SQL: times without time zone (see `normalize`)."""
    # A cast would convert time zones row by row; this only
    # changes the type.
    if name in TIME_COLUMNS:
        return f"make_timestamp(epoch_us({name})) AS {name}"
    return f"nullif({name}, '') AS {name}" if name == "origin" else name
