"""The texts of SQLite databases: by row, and in the space of deleted rows."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from jupyter_mjci.secret_scan.decoding import LocatedText, extract_strings

MAGIC = b"SQLite format 3\0"
ROWS = 1000  # searched as one text
BLOCK_BYTES = 8_000_000
OVERLAP_BYTES = 4096  # a secret at the end of a block


def iter_database_texts(path: Path) -> Iterator[LocatedText]:
    """Yield the texts of a database by table, then those of its bytes.

    The bytes alone would not do: a text may be spread over
    several pages.
    """
    uri = f"file:{quote(str(path.absolute()))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as database:
        try:
            tables = database.execute("select name from sqlite_master where type = 'table'")
            for (table,) in tables.fetchall():
                for text in _iter_rows(database, table):
                    yield f"table {table}", text
        except sqlite3.DatabaseError:
            pass  # the file's bytes are scanned in any case
    for block in _iter_blocks(path):
        yield "free space", extract_strings(block)


def _iter_rows(database: sqlite3.Connection, table: str) -> Iterator[str]:
    doubled = table.replace('"', '""')
    rows = database.execute(f'select * from "{doubled}"')
    columns = [description[0] for description in rows.description]
    while batch := rows.fetchmany(ROWS):
        values = [pair for row in batch for pair in zip(columns, row, strict=True)]
        yield "\n".join(f'{column}: "{_decode(value)}"' for column, value in values if value)


def _decode(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


def _iter_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        rest = b""
        while block := file.read(BLOCK_BYTES):
            yield rest + block
            rest = block[-OVERLAP_BYTES:]
