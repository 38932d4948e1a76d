"""Export columns of the journal as texts, which is faster than row by row."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from jupyter_mjci.history.submissions import SqlValue

CHUNK_ROWS = 100_000  # rows that are exported together
# between exported texts: ASCII's unit separator
SEPARATOR = "\x1f"
# an exported integer that is missing; as a time it reads NaT
NULL_INT = -(2**63)


@dataclass(frozen=True, slots=True)
class ColumnExport:
    """How a column is exported.

    Args:
        sql: an expression over the columns of `jobs` that is
            never NULL
        is_integer: whether it is an integer; else it is text
    """

    sql: str
    is_integer: bool = False

    @property
    def separator(self) -> str:
        """The separator as an SQL literal: `char(31)` would be evaluated for every row."""
        return "','" if self.is_integer else f"'{SEPARATOR}'"


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """A chunk of exported rows.

    Args:
        rows: how many
        columns: each column as one UTF-8 text, values between
            separators; as a list where a value contains the
            separator
    """

    rows: int
    columns: Mapping[str, bytes | list[str]]


def export_chunks(
    db: sqlite3.Connection,
    exports: Mapping[str, ColumnExport],
    where: str,
    parameters: Sequence[SqlValue],
) -> Iterator[ColumnChunk]:
    # As BLOB: the bytes as they are stored, not decoded.
    selected = ", ".join(
        f"CAST(group_concat({export.sql}, {export.separator}) AS BLOB)"
        for export in exports.values()
    )
    # NOT INDEXED: by rowid, so that every statement gives the
    # rows in the same order.
    source = f"FROM jobs NOT INDEXED WHERE ({where}) AND rowid > ? AND rowid <= ?"
    (end,) = db.execute("SELECT coalesce(max(rowid), 0) FROM jobs").fetchone()
    for begin in range(0, end, CHUNK_ROWS):
        bounds = (*parameters, begin, begin + CHUNK_ROWS)
        rows, *texts = db.execute(f"SELECT count(*), {selected} {source}", bounds).fetchone()
        if not rows:
            continue
        columns: dict[str, bytes | list[str]] = dict(zip(exports, texts, strict=True))
        for name, text in zip(exports, texts, strict=True):
            export = exports[name]
            if not export.is_integer and text.count(SEPARATOR.encode()) != rows - 1:
                # A value contains the separator: fetch this
                # column of the chunk value by value.
                statement = f"SELECT {export.sql} {source} ORDER BY rowid"
                columns[name] = [value for (value,) in db.execute(statement, bounds)]
        yield ColumnChunk(rows, columns)
