"""Print tables, and write the history to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_mjci.cli.exit_codes import echo, report_write_errors
from jupyter_mjci.errors import InvalidRequest, requires_extra

if TYPE_CHECKING:
    import pandas as pd

EXPORT_FORMATS = (".csv", ".json", ".parquet")
HISTORY_COLUMNS = ("service", "id", "action", "status", "submitted", "subject")


def check_format(path: Path) -> None:
    """Refuse a file whose format is not known.

    Raises:
        InvalidRequest: Its extension is none of EXPORT_FORMATS.
    """
    if path.suffix not in EXPORT_FORMATS:
        raise InvalidRequest(
            f"{path} has no known extension.", hint=f"Use one of {', '.join(EXPORT_FORMATS)}."
        )


def export_frame(frame: pd.DataFrame, path: Path) -> None:
    """Write a history to a file, in the format of its extension.

    Raises:
        InvalidRequest: The file cannot be written.
        SettingsError: pyarrow is not installed, which Parquet
            needs.
    """
    with requires_extra("pyarrow", "lake"), report_write_errors(path):
        if path.suffix == ".csv":
            frame.to_csv(path, index=False)
        elif path.suffix == ".json":
            _write_json_lines(frame, path)
        else:
            frame.to_parquet(path, index=False)
    echo(f"{len(frame):,} jobs: {path}")


def _write_json_lines(frame: pd.DataFrame, path: Path) -> None:
    # to_json of pandas 2 reads timedeltas of any unit as
    # nanoseconds.
    durations = frame.select_dtypes("timedelta").columns
    frame = frame.astype(dict.fromkeys(durations, "timedelta64[ns]"))
    frame.to_json(path, orient="records", lines=True, date_format="iso")


def print_history(frame: pd.DataFrame) -> None:
    """Print a history as a table, a job a line."""
    frame["submitted"] = frame["submitted"].dt.strftime("%Y-%m-%d %H:%M:%S")
    cells = frame[list(HISTORY_COLUMNS)].astype("string").fillna("").to_numpy().tolist()
    rows: list[Sequence[str]] = [HISTORY_COLUMNS]
    for row in cells:
        rows.append([" ".join(cell.split()) for cell in row])
    print_table(rows)


def print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with aligned columns; the last column is not padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        echo("  ".join(cells).rstrip())
