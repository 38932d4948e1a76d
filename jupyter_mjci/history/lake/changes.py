"""Merge what is new in a journal into a lake's table."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from typing import TYPE_CHECKING

from jupyter_mjci.history.frames import TIME_DTYPE
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.journal_export import NULL_INT, ColumnExport
from jupyter_mjci.history.journal_frame import load_columns, make_export, to_floats
from jupyter_mjci.history.lake.libraries import import_deltalake
from jupyter_mjci.history.lake.schema import (
    COLUMN_DTYPES,
    IS_UPDATE,
    MERGED_VALUES,
    ROW_GROUP_SIZE,
    SAME_KEY,
    SCHEMA,
    get_arrow_type,
)
from jupyter_mjci.history.lake.table import TARGET_FILE_SIZE, list_add_actions

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import CommitProperties, DeltaTable, WriterProperties

# files below half the target in a month before they are compacted
MAX_SMALL_FILES = 24


def get_merged_sequence(table: DeltaTable, journal: Journal) -> int:
    """Return the sequence number up to which a journal has been merged."""
    return table.transaction_version(journal.journal_id) or 0


def quote(text: str) -> str:
    """Return a text as an SQL literal."""
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def load_changes(journal: Journal, first: int, last: int) -> pa.Table:
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
            arrays[name] = pa.array(columns[name], mask=missing).cast(get_arrow_type(kind))
    # "" is exported as missing; a key never is.
    arrays["origin"] = arrays["origin"].fill_null("")
    return pa.table(arrays).sort_by("day")


def get_day_range(changes: pa.Table) -> tuple[date, date]:
    """Return the first and last day of some rows, with a margin of one day."""
    import pyarrow.compute as pc

    bounds = pc.min_max(changes["day"]).as_py()
    return bounds["min"] - timedelta(days=1), bounds["max"] + timedelta(days=1)


def merge_changes(table: DeltaTable, changes: pa.Table, commit: CommitProperties) -> None:
    """Merge rows into the lake, by the rule that readers apply, too; the day stays."""
    merger = table.merge(
        changes,
        f"{SAME_KEY} AND {_build_bounds(changes)}",
        source_alias="new",
        target_alias="old",
        writer_properties=make_writer_properties(),
        commit_properties=commit,
    )
    merger.when_matched_update(MERGED_VALUES, predicate=IS_UPDATE)
    merger.when_not_matched_insert_all().execute()


def record_position(table: DeltaTable, commit: CommitProperties) -> None:
    """Commit how far the journal was merged, without any change of jobs."""
    table.create_write_transaction(
        [], "append", table.schema(), ["month"], commit_properties=commit
    )
    table.update_incremental()


def build_day_bounds(changes: pa.Table) -> str:
    """Return SQL that holds for the lake's rows of the days of some changes."""
    first, last = get_day_range(changes)
    return f"old.day >= CAST('{first}' AS DATE) AND old.day <= CAST('{last}' AS DATE)"


def _build_bounds(changes: pa.Table) -> str:
    """Return SQL that holds for the lake's rows among which the jobs of some changes lie."""
    import pyarrow.compute as pc

    # Ids grow with time: their bounds, too, let the merge skip
    # old row groups.
    ids = pc.min_max(changes["id"]).as_py()
    return (
        f"{build_day_bounds(changes)}"
        f" AND old.id >= {quote(ids['min'])} AND old.id <= {quote(ids['max'])}"
    )


def make_writer_properties() -> WriterProperties:
    properties: WriterProperties = import_deltalake().WriterProperties(
        compression="ZSTD", compression_level=3, max_row_group_size=ROW_GROUP_SIZE
    )
    return properties


def find_fragmented_months(table: DeltaTable) -> list[str]:
    """Return the months with more than MAX_SMALL_FILES small files."""
    files = list_add_actions(table, "partition.month", "size_bytes")
    small = Counter(month for month, size in files if size < TARGET_FILE_SIZE // 2)
    return [month for month, count in small.items() if count > MAX_SMALL_FILES]
