"""The rows of a study: every combination of its factors' values, or the rows of a table."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Union

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.history.frames import parse_records

if TYPE_CHECKING:
    import pandas as pd

Grid = Union[Mapping[str, object], "pd.DataFrame", str]
# Rows by the names of their factors.
Rows = list[dict[str, Any]]

MAX_ROWS = 10_000


def list_values(
    name: str,
    values: object,
) -> list[Any]:
    """Return the values of a factor; a text, and anything that is no collection, is one value.

    Raises:
        InvalidRequest: there are none, or one occurs twice
    """
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, Iterable):
        return [values]
    listed = [_to_plain_value(value) for value in values]
    if not listed:
        raise InvalidRequest(f"{name} has no values.", hint="Nothing was sent. Give a list.")
    for position, value in enumerate(listed):
        if is_among(value, listed[:position]):
            raise InvalidRequest(
                f"{name} has {value!r} twice.",
                hint="Nothing was sent. To make every picture twice: repeat=2.",
            )
    return listed


def is_among(
    value: object,
    others: Iterable[object],
) -> bool:
    """Return whether a value is one of others; pictures and arrays equal only themselves."""
    if isinstance(value, (str, int, float)):
        return any(value == other for other in others if isinstance(other, (str, int, float)))
    return any(value is other for other in others)


def _to_plain_value(value: Any) -> Any:
    """Return a number of numpy as one of Python, which is written without its type."""
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
        return value.item()
    return value


def combine(
    factors: Mapping[str, object],
) -> Rows:
    """Return every combination of the factors' values; the last factor changes fastest.

    Raises:
        InvalidRequest: a factor has no values, or there are too
            many combinations
    """
    values = {name: list_values(name, given) for name, given in factors.items()}
    check_row_count(math.prod(map(len, values.values())))
    combinations = itertools.product(*values.values())
    return [dict(zip(values, combination, strict=True)) for combination in combinations]


def check_row_count(count: int) -> None:
    """Raise InvalidRequest where a study would have more rows than can be looked at."""
    if count > MAX_ROWS:
        raise InvalidRequest(
            f"This study would have {count:,} rows; at most {MAX_ROWS:,} are possible.",
            hint="Nothing was sent. Leave out values, or make several studies.",
        )


def parse_grid(grid: Grid | None) -> Rows:
    """Return the rows of a grid; one without factors where there is none.

    Args:
        grid: lists by the names of factors; a DataFrame, whose
            rows count as they are; or flags as text,
            "stylize=100,400 seed=1,2"

    Raises:
        InvalidRequest: it is something else
    """
    if grid is None:
        return [{}]
    if isinstance(grid, str):
        return combine(parse_flags(grid))
    if isinstance(grid, Mapping):
        return combine({str(name): values for name, values in grid.items()})
    _, rows = parse_records(grid, "The grid")
    if not rows:
        raise InvalidRequest("The grid has no rows.", hint="Nothing was sent.")
    check_row_count(len(rows))
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: _to_plain_value(row.get(name)) for name in names} for row in rows]


def parse_flags(text: str) -> dict[str, list[Any]]:
    """Parse "stylize=100,400 style='oil paint,ink'": names with their values, split at commas.

    Raises:
        InvalidRequest: names the word that is no name with values
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidRequest(
            f"{text!r} is not a valid grid.", detail=f"{error}.", hint=_FLAGS_HINT
        ) from None
    factors: dict[str, list[Any]] = {}
    for word in words:
        name, equals, values = word.partition("=")
        name = name.lstrip("-").replace("-", "_")
        if not equals or not name.isidentifier() or name in factors:
            problem = "given twice" if name in factors else "no name with values"
            raise InvalidRequest(f"{word!r} is {problem}.", hint=_FLAGS_HINT)
        factors[name] = [_parse_value(value.strip()) for value in values.split(",")]
    if not factors:
        raise InvalidRequest("The grid is empty.", hint=_FLAGS_HINT)
    return factors


_FLAGS_HINT = "Nothing was sent. Write names with values: stylize=100,400 style='oil paint,ink'."


def _parse_value(text: str) -> str | int | float:
    """Return a number where it is written as Python writes it, else the text."""
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if str(number) == text:
            return number
    return text
