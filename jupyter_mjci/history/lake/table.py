"""The Delta table of a lake: create and open it, its version, its files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from jupyter_mjci.errors import HistoryError, InvalidRequest
from jupyter_mjci.history.lake.libraries import import_deltalake, wrap_storage_errors
from jupyter_mjci.history.lake.schema import ADDED_COLUMNS, SCHEMA, list_missing_columns
from jupyter_mjci.history.normalization import parse_time

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

# bytes of a file after compaction, about 100,000 jobs
TARGET_FILE_SIZE = 16 * 2**20
TABLE_CONFIGURATION = {
    "delta.targetFileSize": str(TARGET_FILE_SIZE),
    "delta.checkpointInterval": "20",
}
# A version, or a time as users write it.
AsOf = int | str | date | None


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
        delta = import_deltalake()
        with contextlib.suppress(_LakeNotFound):
            return self._add_columns(self.load())
        if not delta.DeltaTable.is_deltatable(self.url, self.storage_options):
            # A DeltaError here means that another process has
            # just created it.
            with (
                wrap_storage_errors(self.url, "created"),
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
        missing = list_missing_columns(table)
        if not missing:
            return table
        delta = import_deltalake()
        fields = [delta.Field(name, delta.schema.PrimitiveType(SCHEMA[name])) for name in missing]
        # Where another writer was faster, it has added them.
        with (
            wrap_storage_errors(self.url, "written"),
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
        delta = import_deltalake()
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
        except (import_deltalake().exceptions.DeltaError, OSError) as error:
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
        missing = set(list_missing_columns(table))
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


def has_old_files(table: DeltaTable) -> bool:
    """Return whether a file may lack columns: it was written before they were added."""
    import pyarrow as pa

    actions = pa.table(table.get_add_actions(flatten=True))
    column = f"null_count.{ADDED_COLUMNS[-1]}"
    return column not in actions.column_names or bool(actions[column].null_count)


@contextlib.contextmanager
def open_file(location: LakeTable, path: str) -> Iterator[pa.NativeFile]:
    if location.is_local:
        with open(Path(location.url) / unquote(path), "rb") as file:
            yield file
        return
    from deltalake.fs import DeltaStorageHandler
    from pyarrow.fs import PyFileSystem

    filesystem = PyFileSystem(DeltaStorageHandler(location.url, location.storage_options))
    with filesystem.open_input_file(unquote(path)) as file:
        yield file


def list_add_actions(table: DeltaTable, *names: str) -> list[tuple[Any, ...]]:
    """Return properties of every file of a table, as its log names them; None is unknown."""
    import pyarrow as pa

    actions = pa.table(table.get_add_actions(flatten=True))
    unknown = [None] * actions.num_rows
    known = set(actions.column_names)
    columns = [actions[name].to_pylist() if name in known else unknown for name in names]
    return list(zip(*columns, strict=True))
