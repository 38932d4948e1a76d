"""Write a history to a file, and read it back: Parquet, CSV and JSON lines.

The three formats hold the same columns, those of every frame of
jobs: ids as text, times in ISO 8601 with microseconds and in UTC,
durations as text, missing values empty (null in JSON). CSV
escapes what spreadsheets would run as formulas by an apostrophe,
which reading removes.

This is version 3 of the format. Version 1 had no column `origin`,
version 2 no context (account, queue, rule, …); both are read, too.
Later versions may only add columns.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import HistoryError, InvalidRequest, MjciError, requires_extra
from jupyter_mjci.history.frames import COLUMNS, DURATION_COLUMNS
from jupyter_mjci.history.journal_rows import ImportedJob
from jupyter_mjci.history.normalization import TIME_COLUMNS, parse_status, parse_time

if TYPE_CHECKING:
    import pandas as pd

FORMAT_VERSION = 3
FILE_SUFFIXES = (".csv", ".json", ".parquet", ".jsonl")
# Columns by which a file of ours is told from a listing.
_MARKS = {"service", "id", "status", "submitted", "subject"}
_TEXT_FIELDS = tuple(
    column.name
    for column in COLUMNS
    if column.dtype == "string" and column.name not in ("outputs", "buttons")
)
_SIZE_FIELDS = tuple(column.name for column in COLUMNS if column.dtype == "Int64")
_READ_ROWS = 50_000  # rows of a file that are held as text
_MAX_HEADER = 20_000  # characters of the line that names the columns
# What a spreadsheet takes for a formula, and our own escape.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "'")
_METADATA_KEY = b"jupyter_mjci_history"


def check_suffix(path: Path) -> None:
    """Refuse a file whose format is not known.

    Raises:
        InvalidRequest: its extension is none of FILE_SUFFIXES
    """
    if path.suffix.lower() not in FILE_SUFFIXES:
        raise InvalidRequest(
            f"{path} has no known extension.", hint=f"Use one of {', '.join(FILE_SUFFIXES)}."
        )


@contextlib.contextmanager
def wrap_write_errors(path: Path) -> Iterator[None]:
    """Turn errors of the operating system into HistoryError, around writing a file."""
    try:
        yield
    except OSError as error:
        raise HistoryError(
            f"{path} cannot be written.", detail=str(error), hint="Choose another folder."
        ) from error


def write_history(frame: pd.DataFrame, path: Path) -> None:
    """Write a history to a file, in the format of its extension.

    Args:
        frame: the jobs
        path: the file

    Raises:
        InvalidRequest: the extension is not known
        SettingsError: pyarrow is not installed, which Parquet
            needs
    """
    check_suffix(path)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        _write_parquet(frame, path)
    elif suffix == ".csv":
        # Both characters of this line end are quoted inside texts.
        _format_cells(frame, escape=True).to_csv(path, index=False, lineterminator="\r\n")
    else:
        cells = _format_cells(frame)
        cells.to_json(path, orient="records", lines=True, force_ascii=False)


def _write_parquet(frame: pd.DataFrame, path: Path) -> None:
    with requires_extra("pyarrow", "lake"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    table = pa.Table.from_pandas(frame, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), _METADATA_KEY: str(FORMAT_VERSION).encode()}
    pq.write_table(table.replace_schema_metadata(metadata), path)


def _format_cells(frame: pd.DataFrame, *, escape: bool = False) -> pd.DataFrame:
    """Return the cells as text files hold them."""
    import pandas as pd

    cells = {}
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            column = column.dt.tz_convert("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        elif column.dtype.kind == "m":
            column = column.map(_format_duration, na_action="ignore").astype(object)
        elif escape and column.dtype == "string":
            column = column.map(_escape_formula, na_action="ignore")
        cells[str(name)] = column
    return pd.DataFrame(cells)


def _escape_formula(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _format_duration(duration: pd.Timedelta) -> str:
    return duration.isoformat()


# --- reading ----------------------------------------------------


def read_history(path: Path) -> Iterator[ImportedJob] | None:
    """Return the jobs of a file that `write_history` wrote; None for any other file.

    Args:
        path: the file

    Raises:
        HistoryError: it cannot be read, or a newer version wrote
            it
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _iter_jobs(path, _read_parquet(path))
    if suffix == ".csv":
        return _iter_jobs(path, _read_csv(path))
    if suffix in (".json", ".jsonl"):
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            if _parse_line(file.readline()).keys() >= _MARKS:
                return _iter_jobs(path, _read_json_lines(path))
    return None


def _parse_line(line: str) -> dict[str, Any]:
    try:
        value = jsonlib.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _read_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for line in file:
            if line.strip():
                yield _parse_line(line)


def _read_csv(path: Path) -> Iterator[dict[str, Any]]:
    import pandas as pd

    options: dict[str, Any] = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig"}
    try:
        _check_columns(path, _read_csv_header(path))
        with pd.read_csv(path, chunksize=_READ_ROWS, **options) as chunks:
            for chunk in chunks:
                for row in chunk.to_dict("records"):
                    yield {str(name): _unescape(cell) for name, cell in row.items()}
    except (ValueError, OSError) as error:
        raise _build_read_error(path, error) from error


def _read_csv_header(path: Path) -> set[str]:
    """Return the columns by the first line: pandas takes minutes for a million of them."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        line = file.readline(_MAX_HEADER)
    return {name.strip().strip('"') for name in line.split(",")}


def _unescape(cell: str) -> str:
    return cell[1:] if cell[:1] == "'" and cell[1:2] in _FORMULA_STARTS else cell


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    with requires_extra("pyarrow", "lake"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    try:
        with pq.ParquetFile(path) as file:
            written_by = (file.schema_arrow.metadata or {}).get(_METADATA_KEY, b"1")
            if int(written_by) > FORMAT_VERSION:
                raise HistoryError(
                    f"{path} was written by a newer version of jupyter_mjci.",
                    detail=f"Its format is {int(written_by)}, this version reads {FORMAT_VERSION}.",
                    hint="Update jupyter_mjci.",
                )
            names = [name for name in file.schema_arrow.names if name in _READ_COLUMNS]
            _check_columns(path, set(names))
            for batch in file.iter_batches(_READ_ROWS, columns=names):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _build_read_error(path, error) from error


_DURATIONS = {name for name, _, _, _ in DURATION_COLUMNS}
_READ_COLUMNS = {column.name for column in COLUMNS} - _DURATIONS


def _check_columns(path: Path, names: set[str]) -> None:
    missing = sorted(_MARKS - names)
    if missing:
        raise HistoryError(
            f"{path} is no history of jupyter_mjci.",
            detail=f"It has no column {', '.join(missing)}.",
            hint="Load what `jupyter mjci history --out` wrote, or a listing in JSON or XML.",
        )


def _build_read_error(path: Path, error: Exception) -> HistoryError:
    return HistoryError(
        f"{path} cannot be read.",
        detail=str(error).partition("\n")[0],
        hint="Is it complete, and of the format that its extension says?",
    )


def _iter_jobs(path: Path, rows: Iterator[dict[str, Any]]) -> Iterator[ImportedJob]:
    for number, row in enumerate(rows, 1):
        try:
            yield _row_to_job(row)
        except (MjciError, ValueError, TypeError, KeyError) as error:
            raise HistoryError(
                f"Job {number:,} of {path} cannot be read.", detail=str(error).partition("\n")[0]
            ) from error


def _row_to_job(row: dict[str, Any]) -> ImportedJob:
    """Return a job of a file, and the names of its buttons: without ids nobody can press them."""
    texts = {name: str(row.get(name) or "") for name in _TEXT_FIELDS}
    times = {name: _read_time(row.get(name)) for name in TIME_COLUMNS}
    sizes = {name: _read_integer(row.get(name)) for name in _SIZE_FIELDS}
    cost = row.get("cost")
    fields: dict[str, Any] = {**texts, **times, **sizes}
    job = Job(
        **fields,
        status=parse_status(row["status"]),
        cost=None if cost in (None, "") else float(cost),
        outputs=tuple(str(row.get("outputs") or "").split()),
    )
    return job, str(row.get("buttons") or "")


def _read_integer(value: str | float | None) -> int | None:
    return None if value in (None, "") else int(float(value))


def _read_time(value: str | datetime | None) -> datetime | None:
    return parse_time(value) if value else None
