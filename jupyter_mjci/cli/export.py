"""Print tables, and write the history to files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_mjci.cli.exit_codes import echo, report_write_errors
from jupyter_mjci.history.history_files import write_history

if TYPE_CHECKING:
    import pandas as pd

HISTORY_COLUMNS = ("service", "id", "action", "status", "submitted", "subject")


def export_frame(frame: pd.DataFrame, path: Path) -> None:
    """Write a history to a file, in the format of its extension.

    Raises:
        InvalidRequest: The file cannot be written.
        SettingsError: pyarrow is not installed, which Parquet
            needs.
    """
    with report_write_errors(path):
        write_history(frame, path)
    echo(f"{len(frame):,} jobs: {path}")


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
