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

from jupyter_mjci.errors import HistoryError, SettingsError, needing
from jupyter_mjci.history.analysis import TIMES, Analyses, Question, _from_parts
from jupyter_mjci.history.frames import COLUMNS, SPANS, TIME, _dtype
from jupyter_mjci.history.journal import NOTHING, Journal, Packing
from jupyter_mjci.history.journal_frame import columns_of, packing

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("service", "origin", "id")  # a job's identity: ids are unique at one place only
SLICE = 200_000  # rows of one merge: what a first fold of a long journal holds in memory at once
TARGET = 16 * 2**20  # bytes of a file after compaction, some 100,000 jobs
SMALL = 24  # files below half the target that may gather in a month before they are put together
AT_ONCE = 2_500_000  # jobs that a question takes in at once, where it asks by periods
GROUP = 65_536  # rows of a row group
TRIES = 60  # how often a fold begins again because another writer was faster
CONFIGURATION = {"delta.targetFileSize": str(TARGET), "delta.checkpointInterval": "20"}
ENDED = "('SUCCEEDED', 'FAILED', 'CANCELLED')"

# A frame's columns, with those that are made from two others.
NAMES = tuple(
    name
    for column in COLUMNS
    for name in (column.name, *(span for span, later, _, _ in SPANS if later == column.name))
)

# The lake's columns: those of every frame, and what tells jobs and sightings apart.
KINDS = {"string": "string", "status": "string", TIME: "timestamp", "Int64": "long"}
SCHEMA: dict[str, str] = {
    "day": "date",
    "origin": "string",
    **{column.name: KINDS[column.dtype] for column in COLUMNS},
    "first_seen": "timestamp",
    "last_seen": "timestamp",
    "month": "string",
}


@dataclass(frozen=True, slots=True)
class Folded:
    """What a fold did: how many jobs went into the lake, in how many merges, and which version it
    left.
    """

    jobs: int
    merges: int
    version: int


class _NoLake(HistoryError):
    """Nothing is there yet."""


class Lake:
    """A lake at a path or an object store's URL, and a journal over it.

    `options` are the store's, as deltalake takes them (`storage_options`). Whatever needs a library
    of the extra `lake` that is not installed raises SettingsError; a table that cannot be read or
    written, or that is not there, raises HistoryError.
    """

    def __init__(
        self,
        url: str | Path,
        *,
        journal: Journal | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        local = "://" not in str(url)
        self.url = str(Path(url).expanduser().absolute()) if local else str(url)
        self.local, self.journal, self.options = local, journal, dict(options or {})

    def __repr__(self) -> str:
        return f"<history lake {self.url}>"

    @property
    def mjci(self) -> Analyses:
        """The analyses, worked out by DuckDB over the lake's files; nothing is loaded whole."""
        return Analyses(self)

    def on(self, client: Any) -> Spread:
        """The same lake on a Dask cluster: a `distributed.Client`, or a scheduler's address."""
        return Spread(self, client)

    # --- writing ----------------------------------------------------------------------------------

    def fold(self) -> Folded:
        """Folds in what is new in the journal. Several processes may fold at once; each job lies
        there once.
        """
        journal, jobs, merges = self._journal(), 0, 0
        table = self._made()
        while True:
            done = table.transaction_version(journal.identity) or 0
            many, last = journal.news(done, SLICE)
            if not many:
                break
            with _told(self.url, "written"):
                table = self._merged(
                    table, _news(journal, done, last), journal.identity, done, last
                )
            jobs, merges = jobs + many, merges + 1
        if merges:
            self._compacted(table)
        return Folded(jobs, merges, table.version())

    def compact(self) -> None:
        """Puts small files together where many have gathered, and deletes what no reader of a week
        ago needs.
        """
        self._compacted(self._table())

    def _compacted(self, table: Any) -> None:
        crowded = _crowded(table)
        for month in crowded:
            with contextlib.suppress(
                _delta().exceptions.CommitFailedError
            ):  # another writer was faster: next time
                table.optimize.compact(
                    [("month", "=", month)], target_size=TARGET, writer_properties=_writing()
                )
        if crowded:
            table.vacuum(dry_run=False)

    def _merged(self, table: Any, news: Any, who: str, done: int, last: int) -> Any:
        """One merge, begun again as long as others commit before it."""
        delta = _delta()
        for attempt in range(TRIES):
            try:
                _merge(
                    table,
                    news,
                    delta.CommitProperties(app_transactions=[delta.Transaction(who, last)]),
                )
            except delta.exceptions.CommitFailedError:
                time.sleep(random.uniform(0.01, 0.05) * min(attempt + 1, 10))
                table = self._table()
                if (table.transaction_version(who) or 0) > done:
                    # another process has folded the same journal: look again at what is left
                    return table
            else:
                return table
        raise HistoryError(
            f"The lake {self.url} is too busy.",
            why=f"{TRIES} times another writer was faster.",
            hint="Fold again later; nothing is lost meanwhile.",
        )

    def _made(self) -> Any:
        """The table, made where there is none."""
        delta = _delta()
        with contextlib.suppress(_NoLake):
            return self._table()
        if not delta.DeltaTable.is_deltatable(self.url, self.options):
            with _told(self.url, "made"), contextlib.suppress(delta.exceptions.DeltaError):
                if self.local:
                    Path(self.url).mkdir(parents=True, exist_ok=True)
                fields = [delta.Field(name, kind) for name, kind in SCHEMA.items()]
                delta.DeltaTable.create(
                    self.url,
                    delta.Schema(fields),
                    mode="error",
                    partition_by=["month"],
                    storage_options=self.options,
                    name="jupyter_mjci history",
                    configuration=CONFIGURATION,
                )
        return self._table()

    def _table(self) -> Any:
        """The table as it is now. Raises HistoryError where there is none, or one of another
        schema.
        """
        delta = _delta()
        try:
            table = delta.DeltaTable(self.url, storage_options=self.options)
        except delta.exceptions.TableNotFoundError as error:
            raise _NoLake(
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
                why=f"What differs: {', '.join(wrong) or 'its partitions'}.",
                hint="Archive to another place.",
            )
        return table

    def _journal(self) -> Journal:
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
        wanted = NAMES if columns is None else tuple(columns)
        statement = (
            f"SELECT {', '.join(_stored(wanted))} FROM jobs {f'WHERE {where}' if where else ''}"
        )
        with self._open() as db:
            order = f"ORDER BY submitted NULLS FIRST, id {f'LIMIT {int(limit)}' if limit else ''}"
            table = db.sql(f"{statement} {order}").to_arrow_table()
        return _typed(table, wanted)

    def figures(self, question: Question) -> pd.DataFrame:
        """The figures that a question asks for, from DuckDB: span after span of time, so that
        memory stays bounded.
        """
        import pandas as pd

        columns = [
            f"epoch_us({name}) AS {name}" if name in TIMES else name for name in question.columns
        ]
        parts = []
        with self._open() as db:
            view = _View(self)
            for span in _spans(view.table, question):
                jobs = f"({view.statement(question.columns, span)})"
                made = question.grouped(
                    db.sql(f"SELECT {', '.join(columns)} FROM {jobs} WHERE {span.condition}")
                )
                parts.append(pd.DataFrame(made.fetchall(), columns=made.columns, dtype=object))
        return pd.concat(parts, ignore_index=True)

    def sql(self, statement: str) -> pd.DataFrame:
        """The answer to a statement in SQL (DuckDB's) over `jobs`, the lake with the journal's
        news: what the analyses do not ask. Times are aware and in UTC.
        """
        with self._open() as db:
            made: pd.DataFrame = db.sql(statement).to_arrow_table().to_pandas()
            return made

    @contextlib.contextmanager
    def _open(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """A DuckDB connection with the view `jobs`: the lake's files, and the journal's news over
        them.
        """
        duckdb = _needed("duckdb")
        view = _View(self)
        with contextlib.closing(duckdb.connect()) as db, _told(self.url, "read"):
            db.execute("SET TimeZone = 'UTC'")
            db.execute("SET preserve_insertion_order = false")
            db.execute("SET parquet_metadata_cache = true")
            db.execute("SET enable_progress_bar = false")  # it would print into the cell
            for name, table in view.tables.items():
                db.register(name, table)
            db.execute(
                f"CREATE VIEW jobs AS {view.statement(columns or [column.name for column in COLUMNS])}"
            )
            yield db


class _View:
    """One version of a lake, and what the journal has beyond it."""

    def __init__(self, lake: Lake) -> None:
        self.lake, self.table = lake, lake._table()
        self.tables: dict[str, Any] = {}
        if lake.journal is not None:
            done = self.table.transaction_version(lake.journal.identity) or 0
            many, last = lake.journal.news(done)
            if many:
                self.tables["news"] = _news(lake.journal, done, last)
        if not lake.local:
            self.tables["files"] = self.table.to_pyarrow_dataset()

    @property
    def news(self) -> Any:
        return self.tables.get("news")

    def statement(self, columns: Sequence[str], span: Span | None = None) -> str:
        """The view `jobs`. Days without news are read as they are; only the others are compared."""
        wanted, lake = ", ".join(columns), self._files(span)
        if self.news is None:
            return f"SELECT {wanted} FROM {lake}"
        first, last = self.days
        days = f"BETWEEN DATE '{first}' AND DATE '{last}'"
        return (
            f"SELECT {wanted} FROM {lake} WHERE day NOT {days}"
            f" UNION ALL SELECT {wanted} FROM {lake} ANTI JOIN news USING ({', '.join(KEYS)}) WHERE day {days}"
            f" UNION ALL SELECT {wanted} FROM news"
        )

    def files(self, span: Span | None) -> list[tuple[str, Any, Any]]:
        """Every local file, and between which times the span's moment lies in it (None: not
        known).
        """
        if span is None:
            return [(path, None, None) for path in self.table.file_uris()]
        bounds = (f"min.{span.moment}", f"max.{span.moment}")
        return [
            (f"{self.lake.url}/{unquote(path)}", *told)
            for path, *told in _actions(self.table, "path", *bounds)
        ]

    @cached_property
    def days(self) -> tuple[Any, Any]:
        return _days(self.news)

    def _files(self, span: Span | None) -> str:
        """DuckDB reads local files by itself; it does not know of rows that were deleted beside
        them.
        """
        if not self.lake.local:
            return "files"
        if self.table.deletion_vectors().read_all().num_rows:
            raise HistoryError(
                f"Another program has deleted rows of {self.lake.url} without rewriting its files.",
                hint="Let that program purge its deletion vectors (in Spark: REORG TABLE … APPLY (PURGE)).",
            )
        uris = [
            uri for uri, first, last in self.files(span) if span is None or span.meets(first, last)
        ]
        if not uris:
            return f"(SELECT {', '.join(f'NULL::{_SQL[kind]} AS {name}' for name, kind in SCHEMA.items())} LIMIT 0)"
        listed = ", ".join(
            "'" + uri.removeprefix("file://").replace("'", "''") + "'" for uri in uris
        )
        return f"read_parquet([{listed}], hive_partitioning = false)"


@dataclass(frozen=True, slots=True)
class Span:
    """A span of time: from `begin` on, before `end`; None is without end."""

    moment: str
    begin: datetime | None = None
    end: datetime | None = None

    @property
    def condition(self) -> str:
        bounds = ((">=", self.begin), ("<", self.end))
        told = [
            f"{self.moment} {sign} TIMESTAMPTZ '{bound}'"
            for sign, bound in bounds
            if bound is not None
        ]
        return " AND ".join([f"{self.moment} IS NOT NULL", *told])

    def meets(self, first: datetime | None, last: datetime | None) -> bool:
        """Whether anything between these times may lie in it."""
        too_early = self.begin is not None and last is not None and _aware(last) < self.begin
        return not too_early and not (
            self.end is not None and first is not None and _aware(first) >= self.end
        )


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_SQL = {"string": "VARCHAR", "timestamp": "TIMESTAMPTZ", "long": "BIGINT", "date": "DATE"}


# --- on a cluster ---------------------------------------------------------------------------------


class Spread:
    """A lake on a Dask cluster. `.mjci` asks by month, `.frame()` is for everything else. Without
    the extra `lake` SettingsError is raised.
    """

    def __init__(self, lake: Lake, client: Any) -> None:
        self.lake, self._client = lake, client

    @property
    def mjci(self) -> Analyses:
        """The analyses, one task per month, and only the columns that they need."""
        return Analyses(self)

    def figures(self, question: Question) -> pd.DataFrame:
        """The figures that a question asks for, from the workers: one task per month."""
        view = _View(self.lake)
        with self._connected():
            return _from_parts(question, _spread(view, _months(view)))

    def frame(self, rows: int = 4 * GROUP) -> Any:
        """All jobs as a lazy Dask DataFrame, in partitions of at most so many rows, whatever the
        files' size.
        """
        view = _View(self.lake)
        return _spread(view, _pieces(view, rows))

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        if not isinstance(self._client, str):
            with self._client.as_current():
                yield
            return
        with (
            _needed("distributed").Client(self._client, set_as_default=False) as client,
            client.as_current(),
        ):
            yield


@dataclass(frozen=True, slots=True)
class Piece:
    """Row groups of files (all where none are named) that one task reads, and news over them."""

    files: tuple[str, ...]
    groups: tuple[int, ...] = ()
    news: Any = None


def _spread(view: _View, pieces: list[Piece]) -> Any:
    dataframe = _needed("dask.dataframe")
    lake = view.lake
    read = partial(
        _read, url=lake.url, options=lake.options, gone=view.news and view.news.select([*KEYS])
    )
    return dataframe.from_map(read, pieces or [Piece(())], meta=_typed(_empty()))


def _months(view: _View) -> list[Piece]:
    """One piece per month: its files, and its news."""
    import pyarrow.compute as pc

    files: dict[str, list[str]] = {}
    for path, month in _actions(view.table, "path", "partition.month"):
        files.setdefault(month, []).append(path)
    news = view.news
    months = set(files) | (set(news["month"].to_pylist()) if news is not None else set())
    return [
        Piece(
            tuple(files.get(month, ())),
            news=None
            if news is None
            else news.filter(pc.equal(news["month"], month)).drop(["month"]),
        )
        for month in sorted(months)
    ]


def _pieces(view: _View, rows: int) -> list[Piece]:
    """Row groups together up to so many rows, and the news as the last piece."""
    import pyarrow.parquet as pq

    found = []
    for (path,) in _actions(view.table, "path"):
        with _opened(view.lake.url, view.lake.options, path) as file:
            metadata = pq.ParquetFile(file).metadata
        groups: list[int] = []
        many = 0
        for number in range(metadata.num_row_groups):
            size = metadata.row_group(number).num_rows
            if groups and many + size > rows:
                found.append(Piece((path,), tuple(groups)))
                groups, many = [], 0
            groups, many = [*groups, number], many + size
        found.append(Piece((path,), tuple(groups)))
    return [*found, Piece((), news=view.news.drop(["month"]))] if view.news is not None else found


def _read(
    piece: Piece,
    *,
    url: str,
    options: Mapping[str, str],
    gone: Any,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """A piece as a typed frame. Runs on the workers."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    wanted = NAMES if columns is None else tuple(columns)
    stored = _stored(wanted)
    needed = list(dict.fromkeys((*stored, *KEYS))) if gone is not None else stored
    schema = _empty().select(needed).schema
    parts = [_empty().select(stored)]
    for path in piece.files:
        with _opened(url, options, path) as file:
            source = pq.ParquetFile(file)
            groups = piece.groups or range(source.metadata.num_row_groups)
            table = source.read_row_groups(list(groups), columns=needed, use_threads=False)
        table = table.select(needed).cast(
            schema
        )  # files remember string views, which no join takes
        if gone is not None:
            table = table.join(
                gone.append_column("gone", pa.array([True] * len(gone))),
                list(KEYS),
                use_threads=False,
            )
            table = table.filter(pc.is_null(table["gone"]))
        parts.append(table.select(stored))
    if piece.news is not None:
        parts.append(piece.news.select(stored))
    return _typed(pa.concat_tables(parts), wanted)


@contextlib.contextmanager
def _opened(url: str, options: Mapping[str, str], path: str) -> Iterator[Any]:
    if "://" not in url:
        with open(Path(url) / unquote(path), "rb") as file:
            yield file
        return
    from deltalake.fs import DeltaStorageHandler
    from pyarrow.fs import PyFileSystem

    with PyFileSystem(DeltaStorageHandler(url, dict(options))).open_input_file(
        unquote(path)
    ) as file:
        yield file


# --- pieces ---------------------------------------------------------------------------------------


def _news(journal: Journal, done: int, last: int) -> Any:
    """What the journal has between two sequence numbers, as the lake's columns, oldest day
    first.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    stamps = {name: packing(name, TIME) for name in ("first_seen", "last_seen")}
    table = {
        "origin": Packing("coalesce(origin, '')"),
        "day": Packing("day", number=True),
        **stamps,
        **{
            column.name: packing(
                column.name, "string" if column.dtype == "status" else column.dtype
            )
            for column in COLUMNS
        },
    }
    newer = "rowid IN (SELECT rowid FROM jobs WHERE sequence > ? AND sequence <= ?)"
    packed = columns_of(journal, table, newer, (done, last))
    day = packed["day"]
    arrays: dict[str, Any] = {}
    for name, kind in SCHEMA.items():
        if name == "month":
            arrays[name] = pc.strftime(arrays["day"], "%Y-%m")
        elif kind == "string":
            arrays[name] = packed[name].cast(pa.string())
        else:
            values = packed[name] if name != "day" else day.astype("int32")
            arrays[name] = pa.array(values, mask=values == NOTHING).cast(_arrow(kind))
    # "" is nothing to the packing; a key is never nothing.
    arrays["origin"] = arrays["origin"].fill_null("")
    return pa.table(arrays).sort_by("day")


def _arrow(kind: str) -> Any:
    import pyarrow as pa

    kinds = {
        "string": pa.string(),
        "timestamp": pa.timestamp("us", "UTC"),
        "long": pa.int64(),
        "date": pa.date32(),
    }
    return kinds[kind]


def _empty() -> Any:
    import pyarrow as pa

    return pa.schema(
        [(name, _arrow(kind)) for name, kind in SCHEMA.items() if name != "month"]
    ).empty_table()


def _days(news: Any) -> tuple[Any, Any]:
    """The first and last day of these rows, with a day's margin."""
    import pyarrow.compute as pc

    bounds = pc.min_max(news["day"]).as_py()
    return bounds["min"] - timedelta(days=1), bounds["max"] + timedelta(days=1)


QUOTE, BOUNDS = "'", ((">=", "min"), ("<=", "max"))


def _merge(table: Any, news: Any, commit: Any) -> None:
    """What ended stays as it ended; what a later sighting does not tell stays known; the day
    stays.
    """
    import pyarrow.compute as pc

    first, last = _days(news)
    same = " AND ".join(f"old.{name} = new.{name}" for name in KEYS)
    bound = f"old.day >= CAST('{first}' AS DATE) AND old.day <= CAST('{last}' AS DATE)"
    ids = pc.min_max(
        news["id"]
    ).as_py()  # ids grow with time: their bounds, too, keep old row groups unread
    bound += "".join(
        f" AND old.id {sign} '{ids[end].replace(QUOTE, QUOTE * 2)}'" for sign, end in BOUNDS
    )
    kept = {
        name: f"coalesce(new.{name}, old.{name})"
        for name in SCHEMA
        if name not in ("day", "month", *KEYS)
    }
    newer = (
        f"new.last_seen >= old.last_seen AND (new.status IN {ENDED} OR old.status NOT IN {ENDED})"
    )
    (
        table.merge(
            news,
            f"{same} AND {bound}",
            source_alias="new",
            target_alias="old",
            writer_properties=_writing(),
            commit_properties=commit,
        )
        .when_matched_update(
            kept | {"first_seen": "least(new.first_seen, old.first_seen)"}, predicate=newer
        )
        .when_not_matched_insert_all()
        .execute()
    )


def _writing() -> Any:
    return _delta().WriterProperties(
        compression="ZSTD", compression_level=3, max_row_group_size=GROUP
    )


def _actions(table: Any, *names: str) -> list[tuple[Any, ...]]:
    """Of every file of the table, these properties."""
    import pyarrow as pa

    actions = pa.table(table.get_add_actions(flatten=True))
    return list(zip(*(actions[name].to_pylist() for name in names), strict=True))


def _crowded(table: Any) -> list[str]:
    """Months in which many small files have gathered."""
    small: dict[str, int] = {}
    for month, size in _actions(table, "partition.month", "size_bytes"):
        if size < TARGET // 2:
            small[month] = small.get(month, 0) + 1
    return [month for month, many in small.items() if many > SMALL]


def _spans(table: Any, question: Question) -> list[Span]:
    """Spans of some AT_ONCE jobs each. They are cut where one period ends and another begins, so
    that each group lies in one of them; a question without periods is asked of all at once.
    """
    rows: dict[str, int] = {}
    for month, many in _actions(table, "partition.month", "num_records") if question.every else ():
        rows[month] = rows.get(month, 0) + (many or 0)
    edges: list[datetime | None] = [None]
    held = 0
    for month in sorted(rows):
        if held and held + rows[month] > AT_ONCE:
            edges.append(_edge(month, question.every == "week"))
            held = 0
        held += rows[month]
    return [Span(question.moment, begin, end) for begin, end in pairwise([*edges, None])]


def _edge(month: str, weekly: bool) -> datetime:
    """The beginning of a month, or of the week that it begins in."""
    first = datetime.fromisoformat(f"{month}-01").replace(tzinfo=UTC)
    return first - timedelta(days=first.weekday() if weekly else 0)


def _typed(table: Any, wanted: Sequence[str] | None = None) -> pd.DataFrame:
    """An Arrow table as the frame that `frames` would make of the same jobs, or these columns of
    it.
    """
    import pandas as pd

    types = {column.name: column.dtype for column in COLUMNS}
    made: dict[str, Any] = {
        name: _series(table[name], types[name]) for name in table.column_names if name in types
    }
    for name, later, earlier, _ in SPANS:
        if {later, earlier} <= set(made):
            made[name] = made[later] - made[earlier]
    return pd.DataFrame({name: made[name] for name in wanted or NAMES}, copy=False)


def _series(values: Any, dtype: str) -> Any:
    import pandas as pd

    if dtype == "string":
        kind: Any = pd.StringDtype()
        return pd.Series(kind.__from_arrow__(values))
    if dtype == "status":
        return pd.Series(pd.Categorical(values.to_pandas(), dtype=_dtype(dtype)))
    if dtype == TIME:
        return values.to_pandas()
    number: Any = pd.Int64Dtype()
    return pd.Series(number.__from_arrow__(values))


def _stored(wanted: Sequence[str]) -> list[str]:
    """The lake's columns that it takes to make these columns of a frame."""
    made = {name: (earlier, later) for name, later, earlier, _ in SPANS}
    return list(dict.fromkeys(one for name in wanted for one in made.get(name, (name,))))


def _needed(module: str) -> Any:
    with needing(module.partition(".")[0], "lake"):
        return import_module(module)


def _delta() -> Any:
    return _needed("deltalake")


@contextlib.contextmanager
def _told(url: str, what: str) -> Iterator[None]:
    """What goes wrong with the store, as an error that says what to do."""
    from deltalake.exceptions import CommitFailedError, DeltaError

    try:
        yield
    except CommitFailedError:
        raise
    except (DeltaError, OSError) as error:
        raise HistoryError(
            f"The lake {url} could not be {what}.",
            why=str(error).splitlines()[0],
            hint="Nothing is lost: the journal has it all, and the lake is as it was before.",
        ) from error
