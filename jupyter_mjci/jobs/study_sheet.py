"""Lay out the pictures of a study: which job stands in which cell, and what the labels say."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.imaging.sheets import ContactSheet, Sheet, draw_sheet

MAX_COLUMNS = 8  # of a sheet without a second factor

# The factors of rows and columns; "" for none.
Axes = tuple[str, str]


def check_factor(name: str, factors: Iterable[str]) -> None:
    """Raise InvalidRequest for what is no factor of a study."""
    if name not in factors:
        raise InvalidRequest(
            f"{name!r} is not a factor of this study.", hint=f"Available: {', '.join(factors)}."
        )


def choose_axes(
    factors: Mapping[str, Sequence[Any]], rows: str | None, columns: str | None
) -> Axes:
    """Return the factors of rows and columns.

    Raises:
        InvalidRequest: there is no such factor, or it is asked
            for twice
    """
    for name in filter(None, (rows, columns)):
        check_factor(name, factors)
    if rows and rows == columns:
        raise InvalidRequest(f"{rows!r} cannot be both rows and columns.")
    free = [name for name, values in factors.items() if len(values) > 1]
    free = [name for name in free if name not in (rows, columns)]
    if rows is None:
        rows = free.pop(0) if free else ""
    if columns is None:
        columns = next((name for name in free if name != "repeat"), "")
    return rows, columns


def draw(
    rows: Sequence[Mapping[str, Any]],
    cells: Sequence[bytes | str],
    axes: Axes,
    title: str,
) -> ContactSheet:
    """Draw the sheet.

    Args:
        rows: the factors' values of each job
        cells: the picture of each, or why there is none
        axes: the factors of rows and columns
        title: what stands above
    """
    labels = [tuple(_format_label(row, name) for name in axes) for row in rows]
    heads = [list(dict.fromkeys(label[side] for label in labels)) for side in (0, 1)]
    groups: dict[tuple[int, int], list[bytes | str]] = {}
    for (row, column), cell in zip(labels, cells, strict=True):
        groups.setdefault((heads[0].index(row), heads[1].index(column)), []).append(cell)
    sheet = Sheet(groups, heads[0], heads[1], title)
    if len(heads[0]) == 1 or len(heads[1]) == 1:
        sheet = _flow(sheet)
    return draw_sheet(sheet)


def _format_label(
    row: Mapping[str, Any],
    name: str,
) -> str:
    if not name:
        return ""
    return f"{name}: {row[name]}"


def _flow(sheet: Sheet) -> Sheet:
    """Lay out a single row or column as lines of cells, each with its caption."""
    captions = [label for label in (sheet.rows, sheet.columns) if len(label) > 1]
    labels = captions[0] if captions else [sheet.rows[0]]
    width = min(MAX_COLUMNS, math.ceil(math.sqrt(len(labels))))
    places = [divmod(number, width) for number in range(len(labels))]
    contents = [sheet.cells[key] for key in sorted(sheet.cells)]
    height = math.ceil(len(labels) / width)
    return Sheet(
        dict(zip(places, contents, strict=True)),
        [""] * height,
        [""] * width,
        sheet.title,
        dict(zip(places, labels, strict=True)),
    )
