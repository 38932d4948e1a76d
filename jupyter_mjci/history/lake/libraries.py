"""The libraries of the extra `lake`, and their errors in the words of this project."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

from jupyter_mjci.errors import HistoryError, InvalidRequest, requires_extra
from jupyter_mjci.history.lake.schema import COLUMN_DTYPES

if TYPE_CHECKING:
    from types import ModuleType

    import duckdb

# DuckDB's errors about SQL begin with the name of their class.
# Those about files begin with another one or none, or name a file.
FILE_ERROR = re.compile(r"^(IO|Invalid) Error:|\.parquet\b|^(?![A-Z][\w ]* Error:)")


@contextlib.contextmanager
def open_duckdb() -> Iterator[duckdb.DuckDBPyConnection]:
    engine = import_extra("duckdb")
    with contextlib.closing(engine.connect()) as db:
        db.execute("SET TimeZone = 'UTC'")
        db.execute("SET preserve_insertion_order = false")
        db.execute("SET parquet_metadata_cache = true")
        # it would print into the cell
        db.execute("SET enable_progress_bar = false")
        yield db


def import_extra(module: str) -> ModuleType:
    with requires_extra(module.partition(".")[0], "lake"):
        return import_module(module)


def import_deltalake() -> ModuleType:
    return import_extra("deltalake")


@contextlib.contextmanager
def wrap_storage_errors(url: str, action: str) -> Iterator[None]:
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
def wrap_read_errors(url: str) -> Iterator[None]:
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
def wrap_sql_errors(statement: str) -> Iterator[None]:
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
