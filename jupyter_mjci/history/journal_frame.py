"""What the journal remembers, as a typed DataFrame: the columns and dtypes of `frames.COLUMNS`,
without a Job per row.

SQLite packs each column of a chunk of rows into one text; here the texts become columns, with
pyarrow where it is installed (no Python object per cell), else with plain Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from jupyter_mjci.client.job import Status
from jupyter_mjci.history.frames import COLUMNS, DURATION_COLUMNS, TIME_DTYPE, get_dtype
from jupyter_mjci.history.journal import NULL_INT, SEPARATOR, ColumnExport, Journal

if TYPE_CHECKING:
    import pandas as pd

# Columns that do not lie in the journal under their own name and as they are.
_COLUMN_SQL = {"outputs": "replace(outputs, '\n', ' ')", "buttons": "button_names"}
_STATUS_CODES_SQL = " ".join(
    f"WHEN '{status.value}' THEN {code}" for code, status in enumerate(Status)
)


def make_export(name: str, dtype: str) -> ColumnExport:
    """How a column of this dtype leaves the journal."""
    sql = _COLUMN_SQL.get(name, name)
    if dtype == "status":
        return ColumnExport(f"CASE {sql} {_STATUS_CODES_SQL} END", is_integer=True)
    if dtype == "string":
        return ColumnExport(f"coalesce({sql}, '')")
    return ColumnExport(f"coalesce({sql}, {NULL_INT})", is_integer=True)


COLUMN_EXPORTS = {column.name: make_export(column.name, column.dtype) for column in COLUMNS}


def load_journal_frame(
    journal: Journal, where: str = "1", parameters: Sequence[Any] = ()
) -> pd.DataFrame:
    """One row per job as last seen, oldest first. `where` is SQL over the journal's `jobs`."""
    import numpy as np
    import pandas as pd

    from jupyter_mjci.history import analysis  # noqa: F401 - gives frames their accessor, df.mjci

    packed = load_columns(journal, COLUMN_EXPORTS, where, parameters)
    times = packed["submitted"]
    order = None if np.all(times[1:] >= times[:-1]) else np.argsort(times, kind="stable")
    made: dict[str, Any] = {}
    for column in COLUMNS:
        values = packed.pop(column.name)
        made[column.name] = pd.Series(
            _to_pandas_array(values if order is None else values.take(order), column.dtype)
        )
        for name, later, earlier, _ in DURATION_COLUMNS:
            if later == column.name:
                made[name] = made[later] - made[earlier]
    return pd.DataFrame(made, copy=False)


def load_columns(
    journal: Journal,
    exports: Mapping[str, ColumnExport],
    where: str = "1",
    parameters: Sequence[Any] = (),
) -> dict[str, Any]:
    """Packed columns, unpacked: whole numbers as int64 (NOTHING where there is none), texts as an
    array of texts.
    """
    import numpy as np

    parts: dict[str, list[Any]] = {name: [] for name in exports}
    for chunk in journal.export_columns(exports, where, parameters):
        for name, packed in chunk.columns.items():
            parts[name].append(
                _decode_integers(packed) if exports[name].is_integer else _decode_texts(packed)
            )
    return {
        name: np.concatenate(parts[name] or [np.empty(0, "int64")])
        if one.is_integer
        else _concat_texts(parts[name])
        for name, one in exports.items()
    }


def _decode_integers(data: Any) -> Any:
    import numpy as np

    return np.fromstring(data, "int64", sep=",")


def _decode_texts(data: bytes | list[str]) -> Any:
    """An array of texts; "" is nothing."""
    if find_spec("pyarrow") is None:
        import numpy as np

        values = data.decode().split(SEPARATOR) if isinstance(data, bytes) else data
        return np.array([value or None for value in values], dtype=object)
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(data, list):
        return pa.array([value or None for value in data], pa.large_string())
    whole = pa.array([data], pa.large_binary()).view(
        pa.large_string()
    )  # SQLite holds no text but UTF-8
    values = pc.split_pattern(whole, SEPARATOR).flatten()
    return pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.large_string()), values)


def _concat_texts(parts: list[Any]) -> Any:
    if find_spec("pyarrow") is None:
        import numpy as np

        return np.concatenate(parts or [np.empty(0, object)])
    import pyarrow as pa

    return (
        parts[0] if len(parts) == 1 else pa.chunked_array(parts, pa.large_string()).combine_chunks()
    )


def _to_pandas_array(values: Any, dtype: str) -> Any:
    """A column's values with the dtype that `frames` gives it."""
    import numpy as np
    import pandas as pd

    if dtype == "string":
        kind: Any = pd.StringDtype()
        return (
            pd.array(values, dtype=kind)
            if isinstance(values, np.ndarray)
            else kind.__from_arrow__(values)
        )
    if dtype == "status":
        return pd.Categorical.from_codes(values.astype("int8"), dtype=get_dtype("status"))
    if dtype == TIME_DTYPE:
        return pd.array(values.view("datetime64[us]")).tz_localize("UTC")
    missing = values == NULL_INT
    return pd.arrays.IntegerArray(np.where(missing, 0, values), missing)
