"""Bring frames of jobs, and the words of users, into one form.

Frames come from sessions, files and other libraries: with times as
text or without time zone, with categories, with Arrow's dtypes.
Engines work on text, numbers and timestamps in UTC without time
zone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any

from jupyter_mjci.client.job import Status
from jupyter_mjci.errors import InvalidRequest, suggest_similar

if TYPE_CHECKING:
    import pandas as pd

TIME_COLUMNS = (
    "submitted",
    "started",
    "finished",
)
# Columns that are summed up, and their dtypes.
NUMBER_COLUMNS = {
    "size_in": "Int64",
    "size_out": "Int64",
    "cost": "Float64",
}
# The services' own words, and other spellings.
_STATUS_SPELLINGS = {
    "SUCCESS": Status.SUCCEEDED,
    "SUCCESSFUL": Status.SUCCEEDED,
    "FAILURE": Status.FAILED,
    "ERROR": Status.FAILED,
    "CANCEL": Status.CANCELLED,
    "CANCELED": Status.CANCELLED,
    "WAITING": Status.QUEUED,
    "SUBMITTED": Status.QUEUED,
    "PENDING": Status.QUEUED,
    "NOT_START": Status.QUEUED,
    "PAUSE": Status.QUEUED,
    "IN_PROGRESS": Status.RUNNING,
    "MODAL": Status.NEEDS_INPUT,
}


def parse_status(word: str) -> Status:
    """Parse a status in any plain spelling: "failed", "Success", "in progress".

    Raises:
        InvalidRequest: there is no such status
    """
    name = "_".join(str(word).replace("-", " ").replace("_", " ").split()).upper()
    name = name.removeprefix("STATUS.")
    if name in Status.__members__:
        return Status[name]
    if name in _STATUS_SPELLINGS:
        return _STATUS_SPELLINGS[name]
    choices = list(Status.__members__)
    raise InvalidRequest(
        f"{word!r} is not a status.",
        detail=suggest_similar(name, choices),
        hint=f"One of {', '.join(choices)}.",
    )


def parse_time(value: str | date | None) -> datetime | None:
    """Parse a time as users pass it.

    Args:
        value: a datetime, a date, or ISO 8601 text ("2026-01-31",
            "2026-01-31T12:00+08:00"); a date is its first moment

    Returns:
        An aware datetime, in UTC where no time zone is given;
        None for None.

    Raises:
        InvalidRequest: it is not a valid time
    """
    if value is None:
        return None
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime.combine(value, time.min, UTC)
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
        # pandas' NaT is a datetime, too
        found.toordinal()
    except ValueError:
        raise InvalidRequest(
            f"{value!r} is not a valid time.",
            hint='Write "2026-01-31" or "2026-01-31T12:00+08:00".',
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def parse_limit(limit: int | None) -> int | None:
    """Check a limit of rows.

    Raises:
        InvalidRequest: it is not a positive integer
    """
    if limit is None:
        return None
    is_count = isinstance(limit, int) or (hasattr(limit, "__index__"))
    if not is_count or isinstance(limit, bool) or int(limit) < 1:
        raise InvalidRequest(
            f"limit={limit!r} is not a positive integer.", hint="limit=None returns every row."
        )
    return int(limit)


# --- columns ----------------------------------------------------


def check_columns(frame: Any, columns: Iterable[str]) -> None:
    """Raise InvalidRequest for columns that a frame does not have, or has twice."""
    names = list(columns)
    twice = [name for name in names if list(frame.columns).count(name) > 1]
    if twice:
        raise InvalidRequest(
            f"This frame has several columns {twice[0]}.",
            hint="Keep the first ones: frame.loc[:, ~frame.columns.duplicated()]",
        )
    missing = [name for name in names if name not in frame.columns]
    if missing:
        available = [str(name) for name in frame.columns]
        raise InvalidRequest(
            f"This frame has no column {', '.join(missing)}.",
            detail=suggest_similar(missing[0], available),
            hint=f"Available: {', '.join(available)}.",
        )


def normalize_column(column: pd.Series) -> pd.Series:
    """Return a column of a history as every engine has it."""
    if column.name in TIME_COLUMNS:
        return normalize_times(column)
    if column.name == "status":
        return normalize_statuses(column)
    if column.name in NUMBER_COLUMNS:
        return normalize_numbers(column)
    return normalize_keys(column)


def normalize_times(column: pd.Series) -> pd.Series:
    """Return times as timestamps in UTC without time zone.

    Args:
        column: times of any dtype; without time zone they count
            as UTC, texts are ISO 8601

    Raises:
        InvalidRequest: they are not times
    """
    import pandas as pd

    if isinstance(column.dtype, pd.DatetimeTZDtype):
        naive: pd.Series[Any] = column.dt.tz_convert("UTC").dt.tz_localize(None)
        return naive.astype("datetime64[us]")
    if column.dtype.kind == "M" and not isinstance(column.dtype, pd.ArrowDtype):
        return column.astype("datetime64[us]")
    if isinstance(column.dtype, (pd.CategoricalDtype, pd.ArrowDtype)):
        column = column.astype(object)
    if column.isna().all():
        return pd.Series(pd.NaT, index=column.index, name=column.name, dtype="datetime64[us]")
    if pd.api.types.is_numeric_dtype(column.dtype):
        raise _build_time_error(column)
    try:
        aware: pd.Series[Any] = pd.to_datetime(column, utc=True, format="ISO8601")
    except (ValueError, TypeError) as error:
        raise _build_time_error(column) from error
    converted: pd.Series[Any] = aware.dt.tz_localize(None).astype("datetime64[us]")
    return converted


def _build_time_error(column: pd.Series) -> InvalidRequest:
    example = column.dropna().iloc[0]
    return InvalidRequest(
        f"The column {str(column.name)!r} does not hold times.",
        detail=f"It has values such as {example!r}.",
        hint=f'Convert it: frame["{column.name}"] = pd.to_datetime(…, unit="ms", utc=True)',
    )


def normalize_numbers(column: pd.Series) -> pd.Series:
    """Return sizes and costs as numbers; texts are those of a file.

    Raises:
        InvalidRequest: they are not numbers
    """
    import pandas as pd

    if isinstance(column.dtype, (pd.CategoricalDtype, pd.ArrowDtype)):
        column = column.astype(object)
    filled = column.where(column.notna(), None)
    try:
        numbers: pd.Series[Any] = pd.to_numeric(filled).astype("Float64")
        if NUMBER_COLUMNS[str(column.name)] == "Int64":
            return numbers.astype("Int64")
        return numbers
    except (ValueError, TypeError) as error:
        raise InvalidRequest(
            f"The column {str(column.name)!r} does not hold numbers.",
            detail=f"It has values such as {column.dropna().iloc[0]!r}.",
        ) from error


def normalize_statuses(column: pd.Series) -> pd.Series:
    """Return statuses as text, in the words of `Status`.

    Raises:
        InvalidRequest: there is another word among them
    """
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        used = column.cat.remove_unused_categories()
        words = [parse_status(word).value for word in used.cat.categories]
        return _decode_categories(used, words)
    texts = column.astype("string")
    spellings = {word: parse_status(word).value for word in texts.dropna().unique()}
    if any(word != status for word, status in spellings.items()):
        texts = texts.map(spellings)
    return texts.astype("string")


def _decode_categories(column: pd.Series, texts: Any) -> pd.Series:
    """Return categories as the texts that stand for them; `astype` would make an object of each."""
    import pandas as pd

    words = pd.array(texts, dtype="string")
    decoded = words.take(column.cat.codes.to_numpy(), allow_fill=True)
    return pd.Series(decoded, index=column.index, name=column.name)


def normalize_keys(column: pd.Series) -> pd.Series:
    """Return values to group by: numbers and truth values as they are, else text."""
    import pandas as pd
    from pandas.api import types

    dtype = column.dtype
    if isinstance(dtype, pd.DatetimeTZDtype) or dtype.kind == "M":
        return normalize_times(column)
    if types.is_bool_dtype(dtype):
        return column.astype("boolean")
    if types.is_integer_dtype(dtype):
        return column.astype("Int64")
    if types.is_float_dtype(dtype):
        return column.astype("Float64")
    if isinstance(dtype, pd.CategoricalDtype):
        return _decode_categories(column, column.cat.categories.astype("string"))
    return column.astype("string")


def parse_statuses(statuses: str | Sequence[str]) -> tuple[str, ...]:
    """Parse one or several statuses in any plain spelling."""
    words = [statuses] if isinstance(statuses, str) else list(statuses)
    return tuple(parse_status(word).value for word in words)


# what stands for a missing text to group by
NONE = "(none)"


def release_memory() -> None:
    """Give back what Arrow has freed, where it is installed: it keeps as much as it once needed."""
    import sys

    arrow = sys.modules.get("pyarrow")
    if arrow is not None:
        arrow.default_memory_pool().release_unused()
