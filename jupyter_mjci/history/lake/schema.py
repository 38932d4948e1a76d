"""The columns of a lake, and the rule by which two records of a job become one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from jupyter_mjci.errors import InvalidRequest, suggest_similar
from jupyter_mjci.history.frames import COLUMNS, DURATION_COLUMNS, TIME_DTYPE

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

# a job's identity: ids are unique per origin only
KEY_COLUMNS = ("service", "origin", "id")
ROW_GROUP_SIZE = 65_536  # rows of a row group
TERMINAL_SQL = "('SUCCEEDED', 'FAILED', 'CANCELLED')"
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


def check_columns(names: Iterable[str]) -> None:
    """Raise InvalidRequest for columns that a lake does not have."""
    unknown = [name for name in names if name not in COLUMN_DTYPES]
    if unknown:
        raise InvalidRequest(
            f"A lake has no column {', '.join(unknown)}.",
            detail=suggest_similar(unknown[0], list(COLUMN_DTYPES)),
            hint=f"Available: {', '.join(COLUMN_DTYPES)}; or a function of the DataFrame.",
        )


def make_nulls(columns: Iterable[str]) -> list[str]:
    """Return the SQL of columns without values."""
    return [f"NULL::{_DUCKDB_TYPES[SCHEMA[name]]} AS {name}" for name in columns]


def list_missing_columns(table: DeltaTable) -> list[str]:
    """Return the columns that a table of an earlier version does not have."""
    names = {column.name for column in table.schema().fields}
    return [name for name in ADDED_COLUMNS if name not in names]


def get_arrow_type(kind: str) -> pa.DataType:
    import pyarrow as pa

    types = {
        "string": pa.string(),
        "timestamp": pa.timestamp("us", "UTC"),
        "long": pa.int64(),
        "double": pa.float64(),
        "date": pa.date32(),
    }
    return types[kind]


def make_empty_table() -> pa.Table:
    import pyarrow as pa

    fields = [(name, get_arrow_type(kind)) for name, kind in SCHEMA.items() if name != "month"]
    return pa.schema(fields).empty_table()


def list_stored_columns(columns: Sequence[str]) -> list[str]:
    """Return the lake's columns that columns of a frame are made of."""
    sources = {name: (earlier, later) for name, later, earlier, _ in DURATION_COLUMNS}
    stored: dict[str, None] = {}
    for name in columns:
        stored |= dict.fromkeys(sources.get(name, (name,)))
    return list(stored)
