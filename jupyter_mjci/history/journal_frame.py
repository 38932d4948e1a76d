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
from jupyter_mjci.history.frames import COLUMNS, SPANS, TIME, _dtype
from jupyter_mjci.history.journal import NOTHING, SEPARATOR, Journal, Packing

if TYPE_CHECKING:
    import pandas as pd

# Columns that do not lie in the journal under their own name and as they are.
_SQL = {"outputs": "replace(outputs, '\n', ' ')", "buttons": "button_names"}
_CODES = " ".join(f"WHEN '{status.value}' THEN {code}" for code, status in enumerate(Status))


def packing(name: str, dtype: str) -> Packing:
    """How a column of this dtype leaves the journal."""
    sql = _SQL.get(name, name)
    if dtype == "status":
        return Packing(f"CASE {sql} {_CODES} END", number=True)
    if dtype == "string":
        return Packing(f"coalesce({sql}, '')")
    return Packing(f"coalesce({sql}, {NOTHING})", number=True)


TABLE = {column.name: packing(column.name, column.dtype) for column in COLUMNS}


def remembered(journal: Journal, where: str = "1", parameters: Sequence[Any] = ()) -> pd.DataFrame:
    """One row per job as last seen, oldest first. `where` is SQL over the journal's `jobs`."""
    import numpy as np
    import pandas as pd

    from jupyter_mjci.history import analysis  # noqa: F401 - gives frames their accessor, df.mjci

    packed = columns_of(journal, TABLE, where, parameters)
    times = packed["submitted"]
    order = None if np.all(times[1:] >= times[:-1]) else np.argsort(times, kind="stable")
    made: dict[str, Any] = {}
    for column in COLUMNS:
        values = packed.pop(column.name)
        made[column.name] = pd.Series(
            _typed(values if order is None else values.take(order), column.dtype)
        )
        for name, later, earlier, _ in SPANS:
            if later == column.name:
                made[name] = made[later] - made[earlier]
    return pd.DataFrame(made, copy=False)


def columns_of(
    journal: Journal, table: Mapping[str, Packing], where: str = "1", parameters: Sequence[Any] = ()
) -> dict[str, Any]:
    """Packed columns, unpacked: whole numbers as int64 (NOTHING where there is none), texts as an
    array of texts.
    """
    import numpy as np

    parts: dict[str, list[Any]] = {name: [] for name in table}
    for chunk in journal.packed(table, where, parameters):
        for name, packed in chunk.columns.items():
            parts[name].append(_numbers(packed) if table[name].number else _texts(packed))
    return {
        name: np.concatenate(parts[name] or [np.empty(0, "int64")])
        if one.number
        else _joined(parts[name])
        for name, one in table.items()
    }


def _numbers(packed: Any) -> Any:
    import numpy as np

    return np.fromstring(packed, "int64", sep=",")


def _texts(packed: bytes | list[str]) -> Any:
    """An array of texts; "" is nothing."""
    if find_spec("pyarrow") is None:
        import numpy as np

        values = packed.decode().split(SEPARATOR) if isinstance(packed, bytes) else packed
        return np.array([value or None for value in values], dtype=object)
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(packed, list):
        return pa.array([value or None for value in packed], pa.large_string())
    whole = pa.array([packed], pa.large_binary()).view(
        pa.large_string()
    )  # SQLite holds no text but UTF-8
    values = pc.split_pattern(whole, SEPARATOR).flatten()
    return pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.large_string()), values)


def _joined(parts: list[Any]) -> Any:
    if find_spec("pyarrow") is None:
        import numpy as np

        return np.concatenate(parts or [np.empty(0, object)])
    import pyarrow as pa

    return (
        parts[0] if len(parts) == 1 else pa.chunked_array(parts, pa.large_string()).combine_chunks()
    )


def _typed(values: Any, dtype: str) -> Any:
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
        return pd.Categorical.from_codes(values.astype("int8"), dtype=_dtype("status"))
    if dtype == TIME:
        return pd.array(values.view("datetime64[us]")).tz_localize("UTC")
    missing = values == NOTHING
    return pd.arrays.IntegerArray(np.where(missing, 0, values), missing)
