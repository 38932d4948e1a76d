"""A history beyond one machine: a Delta table, partitioned by month, that journals are folded into.

A fold is one merge: what is new or changed in the journal since the last one. How far it came is
part of the same commit (Delta's transaction of this journal), so a fold that is killed has happened
or has not. The merge looks only at files of the days concerned: a job's day never changes once it
was seen, and one day's margin allows for journals that learned the day from another clock. Files
stay small (compaction has a target size), so a fold costs the same however much lies in the lake;
row groups stay small, so a worker of little memory can read them.

Readers see the lake and, over it, what is still only in the journal. Needs the extra `lake`.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from jupyter_mjci.errors import HistoryError, SettingsError, requires_extra
from jupyter_mjci.history.analysis import TIME_COLUMNS, JobAccessor, Query, aggregate_partitions
from jupyter_mjci.history.frames import COLUMNS, DURATION_COLUMNS, TIME_DTYPE, get_dtype
from jupyter_mjci.history.journal import NULL_INT, ColumnExport, Journal
from jupyter_mjci.history.journal_frame import load_columns, make_export

if TYPE_CHECKING:
    import pandas as pd

KEY_COLUMNS = ("service", "origin", "id")  # a job's identity: ids are unique at one place only
MERGE_BATCH_SIZE = (
    200_000  # rows of one merge: what a first fold of a long journal holds in memory at once
)
TARGET_FILE_SIZE = 16 * 2**20  # bytes of a file after compaction, some 100,000 jobs
MAX_SMALL_FILES = (
    24  # files below half the target that may gather in a month before they are put together
)
QUERY_BATCH_SIZE = 2_500_000  # jobs that a question takes in at once, where it asks by periods
ROW_GROUP_SIZE = 65_536  # rows of a row group
MAX_COMMIT_ATTEMPTS = 60  # how often a fold begins again because another writer was faster
TABLE_CONFIGURATION = {
    "delta.targetFileSize": str(TARGET_FILE_SIZE),
    "delta.checkpointInterval": "20",
}
TERMINAL_SQL = "('SUCCEEDED', 'FAILED', 'CANCELLED')"

# A frame's columns, with those that are made from two others.
FRAME_COLUMNS = tuple(
    name
    for column in COLUMNS
    for name in (
        column.name,
        *(span for span, later, _, _ in DURATION_COLUMNS if later == column.name),
    )
)

# The lake's columns: those of every frame, and what tells jobs and sightings apart.
DELTA_TYPES = {"string": "string", "status": "string", TIME_DTYPE: "timestamp", "Int64": "long"}
SCHEMA: dict[str, str] = {
    "day": "date",
    "origin": "string",
    **{column.name: DELTA_TYPES[column.dtype] for column in COLUMNS},
    "first_seen": "timestamp",
    "last_seen": "timestamp",
    "month": "string",
}


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What a fold did: how many jobs went into the lake, in how many merges, and which version it
    left.
    """

    jobs: int
    merges: int
    version: int


class _LakeNotFound(HistoryError):
    """Nothing is there yet."""


class Lake:
    """A lake at a path or an object store's URL, and a journal over it.

    `storage_options` are the store's, as deltalake takes them (`storage_options`). Whatever needs a library
    of the extra `lake` that is not installed raises SettingsError; a table that cannot be read or
    written, or that is not there, raises HistoryError.
    """

    def __init__(
        self,
        url: str | Path,
        *,
        journal: Journal | None = None,
        storage_options: Mapping[str, str] | None = None,
    ) -> None:
        local = "://" not in str(url)
        self.url = str(Path(url).expanduser().absolute()) if local else str(url)
        self.is_local, self.journal, self.storage_options = (
            local,
            journal,
            dict(storage_options or {}),
        )

    def __repr__(self) -> str:
        return f"<history lake {self.url}>"

    @property
    def mjci(self) -> JobAccessor:
        """The analyses, worked out by DuckDB over the lake's files; nothing is loaded whole."""
        return JobAccessor(self)

    def with_client(self, client: Any) -> DaskLake:
        """The same lake on a Dask cluster: a `distributed.Client`, or a scheduler's address."""
        return DaskLake(self, client)

    # --- writing ----------------------------------------------------------------------------------

    def merge(self) -> MergeResult:
        """Folds in what is new in the journal. Several processes may fold at once; each job lies
        there once.
        """
        journal, jobs, merges = self._require_journal(), 0, 0
        table = self._open_or_create()
        while True:
            done = table.transaction_version(journal.journal_id) or 0
            many, last = journal.changes_since(done, MERGE_BATCH_SIZE)
            if not many:
                break
            with _wrap_storage_errors(self.url, "written"):
                table = self._merge_with_retries(
                    table, _load_changes(journal, done, last), journal.journal_id, done, last
                )
            jobs, merges = jobs + many, merges + 1
        if merges:
            self._compact_table(table)
        return MergeResult(jobs, merges, table.version())

    def compact(self) -> None:
        """Puts small files together where many have gathered, and deletes what no reader of a week
        ago needs.
        """
        self._compact_table(self._load_table())

    def _compact_table(self, table: Any) -> None:
        crowded = _find_fragmented_months(table)
        for month in crowded:
            with contextlib.suppress(
                _import_deltalake().exceptions.CommitFailedError
            ):  # another writer was faster: next time
                table.optimize.compact(
                    [("month", "=", month)],
                    target_size=TARGET_FILE_SIZE,
                    writer_properties=_make_writer_properties(),
                )
        if crowded:
            table.vacuum(dry_run=False)

    def _merge_with_retries(
        self, table: Any, changes: Any, journal_id: str, first: int, last: int
    ) -> Any:
        """One merge, begun again as long as others commit before it."""
        delta = _import_deltalake()
        for attempt in range(MAX_COMMIT_ATTEMPTS):
            try:
                _merge_changes(
                    table,
                    changes,
                    delta.CommitProperties(app_transactions=[delta.Transaction(journal_id, last)]),
                )
            except delta.exceptions.CommitFailedError:
                time.sleep(random.uniform(0.01, 0.05) * min(attempt + 1, 10))
                table = self._load_table()
                if (table.transaction_version(journal_id) or 0) > first:
                    # another process has folded the same journal: look again at what is left
                    return table
            else:
                return table
        raise HistoryError(
            f"The lake {self.url} is too busy.",
            detail=f"{MAX_COMMIT_ATTEMPTS} times another writer was faster.",
            hint="Fold again later; nothing is lost meanwhile.",
        )

    def _open_or_create(self) -> Any:
        """The table, made where there is none."""
        delta = _import_deltalake()
        with contextlib.suppress(_LakeNotFound):
            return self._load_table()
        if not delta.DeltaTable.is_deltatable(self.url, self.storage_options):
            with (
                _wrap_storage_errors(self.url, "made"),
                contextlib.suppress(delta.exceptions.DeltaError),
            ):
                if self.is_local:
                    Path(self.url).mkdir(parents=True, exist_ok=True)
                fields = [delta.Field(name, kind) for name, kind in SCHEMA.items()]
                delta.DeltaTable.create(
                    self.url,
                    delta.Schema(fields),
                    mode="error",
                    partition_by=["month"],
                    storage_options=self.storage_options,
                    name="jupyter_mjci history",
                    configuration=TABLE_CONFIGURATION,
                )
        return self._load_table()

    def _load_table(self) -> Any:
        """The table as it is now. Raises HistoryError where there is none, or one of another
        schema.
        """
        delta = _import_deltalake()
        try:
            table = delta.DeltaTable(self.url, storage_options=self.storage_options)
        except delta.exceptions.TableNotFoundError as error:
            raise _LakeNotFound(
                f"There is no lake at {self.url}.",
                hint=f'Make it: session.history.archive("{self.url}")',
            ) from error
        there = {
            one.name: getattr(one.type, "type", str(one.type)) for one in table.schema().fields
        }
        wrong = [name for name, kind in SCHEMA.items() if there.get(name) != kind]
        if wrong or table.metadata().partition_columns != ["month"]:
            raise HistoryError(
                f"{self.url} is a table of another schema, and was left as it is.",
                detail=f"What differs: {', '.join(wrong) or 'its partitions'}.",
                hint="Archive to another place.",
            )
        return table

    def _require_journal(self) -> Journal:
        if self.journal is None:
            raise SettingsError(
                "This lake has no journal to fold.", hint='Use session.history.archive("…").'
            )
        return self.journal

    # --- reading ----------------------------------------------------------------------------------

    def frame(
        self, columns: Sequence[str] | None = None, *, where: str = "", limit: int | None = None
    ) -> pd.DataFrame:
        """Jobs as a typed DataFrame, oldest first, the same columns as everywhere (or those that
        are named).

        `where` is SQL (DuckDB's) over them: "status = 'FAILED'". `limit` takes the oldest so many.
        """
        wanted = FRAME_COLUMNS if columns is None else tuple(columns)
        statement = f"SELECT {', '.join(_list_stored_columns(wanted))} FROM jobs {f'WHERE {where}' if where else ''}"
        with self._connect() as db:
            order = f"ORDER BY submitted NULLS FIRST, id {f'LIMIT {int(limit)}' if limit else ''}"
            table = db.sql(f"{statement} {order}").to_arrow_table()
        return _arrow_to_frame(table, wanted)

    def compute_metrics(self, query: Query) -> pd.DataFrame:
        """The figures that a question asks for, from DuckDB: span after span of time, so that
        memory stays bounded.
        """
        import pandas as pd

        columns = [
            f"make_timestamp(epoch_us({name})) AS {name}" if name in TIME_COLUMNS else name
            for name in query.source_columns
        ]
        parts = []
        with self._connect() as db:
            view = _LakeSnapshot(self)
            for span in _split_time_ranges(view.table, query):
                jobs = f"({view.build_select(query.source_columns, span)})"
                made = query.aggregate(
                    db.sql(f"SELECT {', '.join(columns)} FROM {jobs} WHERE {span.condition}")
                )
                parts.append(pd.DataFrame(made.fetchall(), columns=made.columns, dtype=object))
        return pd.concat(parts, ignore_index=True)

    def sql(self, statement: str) -> pd.DataFrame:
        """The answer to a statement in SQL (DuckDB's) over `jobs`, the lake with the journal's
        news: what the analyses do not ask. Times are aware and in UTC.
        """
        with self._connect() as db:
            made: pd.DataFrame = db.sql(statement).to_arrow_table().to_pandas()
            return made

    @contextlib.contextmanager
    def _connect(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """A DuckDB connection with the view `jobs`: the lake's files, and the journal's news over
        them.
        """
        duckdb = _import_extra("duckdb")
        view = _LakeSnapshot(self)
        with contextlib.closing(duckdb.connect()) as db, _wrap_storage_errors(self.url, "read"):
            db.execute("SET TimeZone = 'UTC'")
            db.execute("SET preserve_insertion_order = false")
            db.execute("SET parquet_metadata_cache = true")
            db.execute("SET enable_progress_bar = false")  # it would print into the cell
            for name, table in view.tables.items():
                db.register(name, table)
            db.execute(
                f"CREATE VIEW jobs AS {view.build_select(columns or [column.name for column in COLUMNS])}"
            )
            yield db


class _LakeSnapshot:
    """One version of a lake, and what the journal has beyond it."""

    def __init__(self, lake: Lake) -> None:
        self.lake, self.table = lake, lake._load_table()
        self.tables: dict[str, Any] = {}
        if lake.journal is not None:
            done = self.table.transaction_version(lake.journal.journal_id) or 0
            many, last = lake.journal.changes_since(done)
            if many:
                self.tables["news"] = _load_changes(lake.journal, done, last)
        if not lake.is_local:
            self.tables["files"] = self.table.to_pyarrow_dataset()

    @property
    def changes(self) -> Any:
        return self.tables.get("news")

    def build_select(self, columns: Sequence[str], time_range: TimeRange | None = None) -> str:
        """The view `jobs`. Days without news are read as they are; only the others are compared."""
        wanted, lake = ", ".join(columns), self._build_source(time_range)
        if self.changes is None:
            return f"SELECT {wanted} FROM {lake}"
        first, last = self.day_range
        days = f"BETWEEN DATE '{first}' AND DATE '{last}'"
        return (
            f"SELECT {wanted} FROM {lake} WHERE day NOT {days}"
            f" UNION ALL SELECT {wanted} FROM {lake} ANTI JOIN news USING ({', '.join(KEY_COLUMNS)}) WHERE day {days}"
            f" UNION ALL SELECT {wanted} FROM news"
        )

    def list_files(self, time_range: TimeRange | None) -> list[tuple[str, Any, Any]]:
        """Every local file, and between which times the span's moment lies in it (None: not
        known).
        """
        if time_range is None:
            return [(path, None, None) for path in self.table.file_uris()]
        bounds = (f"min.{time_range.time_column}", f"max.{time_range.time_column}")
        return [
            (f"{self.lake.url}/{unquote(path)}", *told)
            for path, *told in _list_add_actions(self.table, "path", *bounds)
        ]

    @cached_property
    def day_range(self) -> tuple[Any, Any]:
        return _get_day_range(self.changes)

    def _build_source(self, time_range: TimeRange | None) -> str:
        """DuckDB reads local files by itself; it does not know of rows that were deleted beside
        them.
        """
        if not self.lake.is_local:
            return "files"
        if self.table.deletion_vectors().read_all().num_rows:
            raise HistoryError(
                f"Another program has deleted rows of {self.lake.url} without rewriting its files.",
                hint="Let that program purge its deletion vectors (in Spark: REORG TABLE … APPLY (PURGE)).",
            )
        uris = [
            uri
            for uri, first, last in self.list_files(time_range)
            if time_range is None or time_range.overlaps(first, last)
        ]
        if not uris:
            return f"(SELECT {', '.join(f'NULL::{_DUCKDB_TYPES[kind]} AS {name}' for name, kind in SCHEMA.items())} LIMIT 0)"
        listed = ", ".join(
            "'" + uri.removeprefix("file://").replace("'", "''") + "'" for uri in uris
        )
        return f"read_parquet([{listed}], hive_partitioning = false)"


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A span of time: from `begin` on, before `end`; None is without end."""

    time_column: str
    begin: datetime | None = None
    end: datetime | None = None

    @property
    def condition(self) -> str:
        bounds = ((">=", self.begin), ("<", self.end))
        told = [
            f"{self.time_column} {sign} TIMESTAMPTZ '{bound}'"
            for sign, bound in bounds
            if bound is not None
        ]
        return " AND ".join([f"{self.time_column} IS NOT NULL", *told])

    def overlaps(self, first: datetime | None, last: datetime | None) -> bool:
        """Whether anything between these times may lie in it."""
        too_early = self.begin is not None and last is not None and _ensure_utc(last) < self.begin
        return not too_early and not (
            self.end is not None and first is not None and _ensure_utc(first) >= self.end
        )


def _ensure_utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_DUCKDB_TYPES = {"string": "VARCHAR", "timestamp": "TIMESTAMPTZ", "long": "BIGINT", "date": "DATE"}


# --- on a cluster ---------------------------------------------------------------------------------


class DaskLake:
    """A lake on a Dask cluster. `.mjci` asks by month, `.frame()` is for everything else. Without
    the extra `lake` SettingsError is raised.
    """

    def __init__(self, lake: Lake, client: Any) -> None:
        self.lake, self._client = lake, client

    @property
    def mjci(self) -> JobAccessor:
        """The analyses, one task per month, and only the columns that they need."""
        return JobAccessor(self)

    def compute_metrics(self, query: Query) -> pd.DataFrame:
        """The figures that a question asks for, from the workers: one task per month."""
        view = _LakeSnapshot(self.lake)
        with self._connect():
            return aggregate_partitions(query, _build_dask_frame(view, _partition_by_month(view)))

    def frame(self, partition_size: int = 4 * ROW_GROUP_SIZE) -> Any:
        """All jobs as a lazy Dask DataFrame, in partitions of at most so many rows, whatever the
        files' size.
        """
        view = _LakeSnapshot(self.lake)
        return _build_dask_frame(view, _partition_by_rows(view, partition_size))

    @contextlib.contextmanager
    def _connect(self) -> Iterator[None]:
        if not isinstance(self._client, str):
            with self._client.as_current():
                yield
            return
        with (
            _import_extra("distributed").Client(self._client, set_as_default=False) as client,
            client.as_current(),
        ):
            yield


@dataclass(frozen=True, slots=True)
class Partition:
    """Row groups of files (all where none are named) that one task reads, and news over them."""

    files: tuple[str, ...]
    row_groups: tuple[int, ...] = ()
    changes: Any = None


def _build_dask_frame(snapshot: _LakeSnapshot, partitions: list[Partition]) -> Any:
    dataframe = _import_extra("dask.dataframe")
    lake = snapshot.lake
    read = partial(
        _read_partition,
        url=lake.url,
        storage_options=lake.storage_options,
        superseded=snapshot.changes and snapshot.changes.select([*KEY_COLUMNS]),
    )
    return dataframe.from_map(
        read, partitions or [Partition(())], meta=_arrow_to_frame(_make_empty_table())
    )


def _partition_by_month(snapshot: _LakeSnapshot) -> list[Partition]:
    """One piece per month: its files, and its news."""
    import pyarrow.compute as pc

    files: dict[str, list[str]] = {}
    for path, month in _list_add_actions(snapshot.table, "path", "partition.month"):
        files.setdefault(month, []).append(path)
    news = snapshot.changes
    months = set(files) | (set(news["month"].to_pylist()) if news is not None else set())
    return [
        Partition(
            tuple(files.get(month, ())),
            changes=None
            if news is None
            else news.filter(pc.equal(news["month"], month)).drop(["month"]),
        )
        for month in sorted(months)
    ]


def _partition_by_rows(snapshot: _LakeSnapshot, partition_size: int) -> list[Partition]:
    """Row groups together up to so many rows, and the news as the last piece."""
    import pyarrow.parquet as pq

    found = []
    for (path,) in _list_add_actions(snapshot.table, "path"):
        with _open_file(snapshot.lake.url, snapshot.lake.storage_options, path) as file:
            metadata = pq.ParquetFile(file).metadata
        groups: list[int] = []
        many = 0
        for number in range(metadata.num_row_groups):
            size = metadata.row_group(number).num_rows
            if groups and many + size > partition_size:
                found.append(Partition((path,), tuple(groups)))
                groups, many = [], 0
            groups, many = [*groups, number], many + size
        found.append(Partition((path,), tuple(groups)))
    return (
        [*found, Partition((), changes=snapshot.changes.drop(["month"]))]
        if snapshot.changes is not None
        else found
    )


def _read_partition(
    part: Partition,
    *,
    url: str,
    storage_options: Mapping[str, str],
    superseded: Any,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """A piece as a typed frame. Runs on the workers."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    wanted = FRAME_COLUMNS if columns is None else tuple(columns)
    stored = _list_stored_columns(wanted)
    needed = list(dict.fromkeys((*stored, *KEY_COLUMNS))) if superseded is not None else stored
    schema = _make_empty_table().select(needed).schema
    parts = [_make_empty_table().select(stored)]
    for path in part.files:
        with _open_file(url, storage_options, path) as file:
            source = pq.ParquetFile(file)
            groups = part.row_groups or range(source.metadata.num_row_groups)
            table = source.read_row_groups(list(groups), columns=needed, use_threads=False)
        table = table.select(needed).cast(
            schema
        )  # files remember string views, which no join takes
        if superseded is not None:
            table = table.join(
                superseded.append_column("gone", pa.array([True] * len(superseded))),
                list(KEY_COLUMNS),
                use_threads=False,
            )
            table = table.filter(pc.is_null(table["gone"]))
        parts.append(table.select(stored))
    if part.changes is not None:
        parts.append(part.changes.select(stored))
    return _arrow_to_frame(pa.concat_tables(parts), wanted)


@contextlib.contextmanager
def _open_file(url: str, storage_options: Mapping[str, str], path: str) -> Iterator[Any]:
    if "://" not in url:
        with open(Path(url) / unquote(path), "rb") as file:
            yield file
        return
    from deltalake.fs import DeltaStorageHandler
    from pyarrow.fs import PyFileSystem

    with PyFileSystem(DeltaStorageHandler(url, dict(storage_options))).open_input_file(
        unquote(path)
    ) as file:
        yield file


# --- pieces ---------------------------------------------------------------------------------------


def _load_changes(journal: Journal, first: int, last: int) -> Any:
    """What the journal has between two sequence numbers, as the lake's columns, oldest day
    first.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    stamps = {name: make_export(name, TIME_DTYPE) for name in ("first_seen", "last_seen")}
    table = {
        "origin": ColumnExport("coalesce(origin, '')"),
        "day": ColumnExport("day", is_integer=True),
        **stamps,
        **{
            column.name: make_export(
                column.name, "string" if column.dtype == "status" else column.dtype
            )
            for column in COLUMNS
        },
    }
    newer = "rowid IN (SELECT rowid FROM jobs WHERE sequence > ? AND sequence <= ?)"
    packed = load_columns(journal, table, newer, (first, last))
    day = packed["day"]
    arrays: dict[str, Any] = {}
    for name, kind in SCHEMA.items():
        if name == "month":
            arrays[name] = pc.strftime(arrays["day"], "%Y-%m")
        elif kind == "string":
            arrays[name] = packed[name].cast(pa.string())
        else:
            values = packed[name] if name != "day" else day.astype("int32")
            arrays[name] = pa.array(values, mask=values == NULL_INT).cast(_get_arrow_type(kind))
    # "" is nothing to the packing; a key is never nothing.
    arrays["origin"] = arrays["origin"].fill_null("")
    return pa.table(arrays).sort_by("day")


def _get_arrow_type(kind: str) -> Any:
    import pyarrow as pa

    kinds = {
        "string": pa.string(),
        "timestamp": pa.timestamp("us", "UTC"),
        "long": pa.int64(),
        "date": pa.date32(),
    }
    return kinds[kind]


def _make_empty_table() -> Any:
    import pyarrow as pa

    return pa.schema(
        [(name, _get_arrow_type(kind)) for name, kind in SCHEMA.items() if name != "month"]
    ).empty_table()


def _get_day_range(changes: Any) -> tuple[Any, Any]:
    """The first and last day of these rows, with a day's margin."""
    import pyarrow.compute as pc

    bounds = pc.min_max(changes["day"]).as_py()
    return bounds["min"] - timedelta(days=1), bounds["max"] + timedelta(days=1)


QUOTE, ID_BOUNDS = "'", ((">=", "min"), ("<=", "max"))


def _merge_changes(table: Any, changes: Any, commit: Any) -> None:
    """What ended stays as it ended; what a later sighting does not tell stays known; the day
    stays.
    """
    import pyarrow.compute as pc

    first, last = _get_day_range(changes)
    same = " AND ".join(f"old.{name} = new.{name}" for name in KEY_COLUMNS)
    bound = f"old.day >= CAST('{first}' AS DATE) AND old.day <= CAST('{last}' AS DATE)"
    ids = pc.min_max(
        changes["id"]
    ).as_py()  # ids grow with time: their bounds, too, keep old row groups unread
    bound += "".join(
        f" AND old.id {sign} '{ids[end].replace(QUOTE, QUOTE * 2)}'" for sign, end in ID_BOUNDS
    )
    kept = {
        name: f"coalesce(new.{name}, old.{name})"
        for name in SCHEMA
        if name not in ("day", "month", *KEY_COLUMNS)
    }
    newer = f"new.last_seen >= old.last_seen AND (new.status IN {TERMINAL_SQL} OR old.status NOT IN {TERMINAL_SQL})"
    (
        table.merge(
            changes,
            f"{same} AND {bound}",
            source_alias="new",
            target_alias="old",
            writer_properties=_make_writer_properties(),
            commit_properties=commit,
        )
        .when_matched_update(
            kept | {"first_seen": "least(new.first_seen, old.first_seen)"}, predicate=newer
        )
        .when_not_matched_insert_all()
        .execute()
    )


def _make_writer_properties() -> Any:
    return _import_deltalake().WriterProperties(
        compression="ZSTD", compression_level=3, max_row_group_size=ROW_GROUP_SIZE
    )


def _list_add_actions(table: Any, *names: str) -> list[tuple[Any, ...]]:
    """Of every file of the table, these properties."""
    import pyarrow as pa

    actions = pa.table(table.get_add_actions(flatten=True))
    return list(zip(*(actions[name].to_pylist() for name in names), strict=True))


def _find_fragmented_months(table: Any) -> list[str]:
    """Months in which many small files have gathered."""
    small: dict[str, int] = {}
    for month, size in _list_add_actions(table, "partition.month", "size_bytes"):
        if size < TARGET_FILE_SIZE // 2:
            small[month] = small.get(month, 0) + 1
    return [month for month, many in small.items() if many > MAX_SMALL_FILES]


def _split_time_ranges(table: Any, query: Query) -> list[TimeRange]:
    """Spans of some AT_ONCE jobs each. They are cut where one period ends and another begins, so
    that each group lies in one of them; a question without periods is asked of all at once.
    """
    rows: dict[str, int] = {}
    for month, many in (
        _list_add_actions(table, "partition.month", "num_records") if query.period else ()
    ):
        rows[month] = rows.get(month, 0) + (many or 0)
    edges: list[datetime | None] = [None]
    held = 0
    for month in sorted(rows):
        if held and held + rows[month] > QUERY_BATCH_SIZE:
            edges.append(_get_range_start(month, query.period == "week"))
            held = 0
        held += rows[month]
    return [TimeRange(query.time_column, begin, end) for begin, end in pairwise([*edges, None])]


def _get_range_start(month: str, weekly: bool) -> datetime:
    """The beginning of a month, or of the week that it begins in."""
    first = datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC)
    return first - timedelta(days=first.weekday() if weekly else 0)


def _arrow_to_frame(table: Any, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """An Arrow table as the frame that `frames` would make of the same jobs, or these columns of
    it.
    """
    import pandas as pd

    types = {column.name: column.dtype for column in COLUMNS}
    made: dict[str, Any] = {
        name: _arrow_to_series(table[name], types[name])
        for name in table.column_names
        if name in types
    }
    for name, later, earlier, _ in DURATION_COLUMNS:
        if {later, earlier} <= set(made):
            made[name] = made[later] - made[earlier]
    return pd.DataFrame({name: made[name] for name in columns or FRAME_COLUMNS}, copy=False)


def _arrow_to_series(values: Any, dtype: str) -> Any:
    import pandas as pd

    if dtype == "string":
        kind: Any = pd.StringDtype()
        return pd.Series(kind.__from_arrow__(values))
    if dtype == "status":
        return pd.Series(pd.Categorical(values.to_pandas(), dtype=get_dtype(dtype)))
    if dtype == TIME_DTYPE:
        return values.to_pandas()
    number: Any = pd.Int64Dtype()
    return pd.Series(number.__from_arrow__(values))


def _list_stored_columns(columns: Sequence[str]) -> list[str]:
    """The lake's columns that it takes to make these columns of a frame."""
    made = {name: (earlier, later) for name, later, earlier, _ in DURATION_COLUMNS}
    return list(dict.fromkeys(one for name in columns for one in made.get(name, (name,))))


def _import_extra(module: str) -> Any:
    with requires_extra(module.partition(".")[0], "lake"):
        return import_module(module)


def _import_deltalake() -> Any:
    return _import_extra("deltalake")


@contextlib.contextmanager
def _wrap_storage_errors(url: str, action: str) -> Iterator[None]:
    """What goes wrong with the store, as an error that says what to do."""
    from deltalake.exceptions import CommitFailedError, DeltaError

    try:
        yield
    except CommitFailedError:
        raise
    except (DeltaError, OSError) as error:
        raise HistoryError(
            f"The lake {url} could not be {action}.",
            detail=str(error).splitlines()[0],
            hint="Nothing is lost: the journal has it all, and the lake is as it was before.",
        ) from error
