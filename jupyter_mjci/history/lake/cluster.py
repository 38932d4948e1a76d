"""Read a lake on a Dask cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from jupyter_mjci.history.analysis import JobAccessor
from jupyter_mjci.history.lake.arrow import arrow_to_frame
from jupyter_mjci.history.lake.libraries import import_extra, open_duckdb, wrap_storage_errors
from jupyter_mjci.history.lake.reader import LakeReader
from jupyter_mjci.history.lake.schema import (
    FRAME_COLUMNS,
    KEY_COLUMNS,
    ROW_GROUP_SIZE,
    list_stored_columns,
    make_empty_table,
)
from jupyter_mjci.history.lake.snapshot import LakeSnapshot
from jupyter_mjci.history.lake.table import LakeTable, list_add_actions, open_file
from jupyter_mjci.history.lake.time_ranges import TimeRange
from jupyter_mjci.history.queries import Query, aggregate_partitions

if TYPE_CHECKING:
    import dask.dataframe as dd
    import pandas as pd
    import pyarrow as pa
    from distributed import Client


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

    def iter_jobs(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield columns of all jobs in parts, read on this machine."""
        return self._reader.iter_jobs(columns)

    def frame(self, partition_size: int = 4 * ROW_GROUP_SIZE) -> dd.DataFrame:
        """Return all jobs as a lazy Dask DataFrame.

        Args:
            partition_size: rows of a partition, at most
        """
        snapshot = self._take_snapshot()
        return _build_dask_frame(snapshot, partition_by_rows(snapshot, partition_size))

    def _take_snapshot(self) -> LakeSnapshot:
        snapshot = self._reader.take_snapshot()
        if snapshot.changes is not None:
            with open_duckdb() as db, wrap_storage_errors(self._reader.url, "read"):
                snapshot.register(db)
        return snapshot

    @contextlib.contextmanager
    def _connect(self) -> Iterator[None]:
        """Make the client current; one that is made from an address is closed afterwards."""
        with contextlib.ExitStack() as stack:
            client = self._client
            if isinstance(client, str):
                distributed = import_extra("distributed")
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


def _build_dask_frame(snapshot: LakeSnapshot, partitions: list[Partition]) -> dd.DataFrame:
    dataframe = import_extra("dask.dataframe")
    superseded = None
    if snapshot.changes is not None:
        superseded = snapshot.changes.select([*KEY_COLUMNS])
    read = partial(_read_partition, location=snapshot.location, superseded=superseded)
    meta = arrow_to_frame(make_empty_table(), FRAME_COLUMNS)
    return dataframe.from_map(read, partitions or [Partition()], meta=meta)


def _partition_by_month(snapshot: LakeSnapshot, time_range: TimeRange) -> list[Partition]:
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


def partition_by_rows(snapshot: LakeSnapshot, partition_size: int) -> list[Partition]:
    """Return partitions of row groups with at most so many rows, and the changes as the last."""
    import pyarrow.parquet as pq

    partitions = []
    for (path,) in list_add_actions(snapshot.table, "path"):
        with open_file(snapshot.location, path) as file:
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
    stored = list_stored_columns(names)
    needed = stored
    if superseded is not None:
        needed = list(dict.fromkeys((*stored, *KEY_COLUMNS)))
        # A copy: Arrow warns of joins with the buffers of a message,
        # which start anywhere.
        superseded = superseded.take(pa.array(range(superseded.num_rows), pa.int64()))
    parts = [make_empty_table().select(stored)]
    for path in part.files:
        with open_file(location, path) as file:
            table = _read_row_groups(file, part.row_groups, needed)
        if superseded is not None:
            table = table.join(superseded, list(KEY_COLUMNS), None, "left anti", use_threads=False)
        parts.append(table.select(stored))
    if part.changes is not None:
        parts.append(part.changes.select(stored))
    return arrow_to_frame(pa.concat_tables(parts), names)


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
    known_schema = make_empty_table().select(known).schema
    whole = pa.concat_tables(
        [make_empty_table(), table.cast(known_schema)], promote_options="default"
    )
    return whole.select(columns)
