"""Jobs from Arrow's columns to a DataFrame, with as little memory as possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jupyter_mjci.history.frames import DURATION_COLUMNS, TIME_DTYPE, get_dtype
from jupyter_mjci.history.journal_export import NULL_INT
from jupyter_mjci.history.lake.schema import COLUMN_DTYPES
from jupyter_mjci.history.normalization import release_memory

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# texts of which many are equal
REPEATED_COLUMNS = (
    "service",
    "origin",
    "action",
    "status",
    "reason",
    "account",
    "queue",
    "rule",
    "bucket",
)


def read_columns(reader: pa.RecordBatchReader) -> dict[str, pa.ChunkedArray]:
    """Read a stream of jobs as columns, which take no more memory than their values."""
    import numpy as np
    import pyarrow as pa

    types = {field.name: field.type for field in reader.schema}
    chunks: dict[str, list[pa.Array]] = {name: [] for name in types}
    for batch in reader:
        # DuckDB's buffers have more room than needed, and are
        # freed together only.
        rows = pa.array(np.arange(batch.num_rows))
        for name, parts in chunks.items():
            if name in REPEATED_COLUMNS:
                parts.append(batch[name].dictionary_encode())
            else:
                parts.append(_widen_texts(batch[name]).take(rows))
        del batch
        release_memory()
    columns = {}
    for name, kind in types.items():
        parts = chunks.pop(name)
        columns[name] = pa.chunked_array(parts, None if parts else kind)
    return columns


def _widen_texts(values: pa.Array) -> pa.Array:
    """Return texts as those of a column, which may have more than 2 GB."""
    import pyarrow as pa

    return values.cast(pa.large_string()) if pa.types.is_string(values.type) else values


def sort_columns(columns: dict[str, pa.ChunkedArray]) -> None:
    """Bring columns into the order of a frame, one after another."""
    import pyarrow as pa
    import pyarrow.compute as pc

    # jobs without time come first
    times = columns["submitted"].cast(pa.int64()).fill_null(NULL_INT)
    keys = pa.table([times, columns["id"]], names=["submitted", "id"])
    order = pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names])
    del times, keys
    for name in list(columns):
        values = columns.pop(name).unify_dictionaries().combine_chunks()
        release_memory()
        columns[name] = values.take(order)
        del values
        release_memory()


def arrow_to_frame(table: pa.Table, columns: Sequence[str]) -> pd.DataFrame:
    """Return columns of an Arrow table as the frame that `frames` makes of the same jobs."""
    return build_frame(dict(zip(table.column_names, table.columns, strict=True)), columns)


def build_frame(loaded: dict[str, pa.ChunkedArray], columns: Sequence[str]) -> pd.DataFrame:
    """Return columns as a frame, and free each one once it is part of it."""
    import pandas as pd

    if "origin" in loaded:
        loaded["origin"] = _empty_to_null(loaded["origin"])
    series = {}
    for name in list(loaded):
        values = loaded.pop(name)
        if name in COLUMN_DTYPES:
            series[name] = _arrow_to_series(values, COLUMN_DTYPES[name])
        del values
        release_memory()
    for name, later, earlier, _ in DURATION_COLUMNS:
        if later in series and earlier in series:
            series[name] = series[later] - series[earlier]
    return pd.DataFrame({name: series[name] for name in columns}, copy=False)


def _arrow_to_series(values: pa.ChunkedArray, dtype: str) -> pd.Series:
    import pandas as pd
    import pyarrow as pa

    if dtype == "status":
        return pd.Series(pd.Categorical(values.to_pandas(), dtype=get_dtype(dtype)))
    if dtype == TIME_DTYPE:
        series: pd.Series = values.to_pandas()
        return series
    extension: Any = pd.api.types.pandas_dtype(dtype)
    if dtype == "string":
        values = values.cast(pa.large_string())
    return pd.Series(extension.__from_arrow__(values))


def _empty_to_null(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return texts with "" as missing: an unknown origin, which as a part of a key is no null."""
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = values.cast(pa.large_string())
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, texts.type), texts)
