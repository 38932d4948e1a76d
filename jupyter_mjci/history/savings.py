"""Sum up how many bytes picture jobs have saved, by rule and by prefix of the input."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.history.normalization import normalize_keys
from jupyter_mjci.history.queries import Grouping, add_keys, parse_grouping

SAVINGS_COLUMNS = (
    "size_in",
    "size_out",
)
_SUMS = (
    "jobs",
    "sized",
    "bytes_in",
    "bytes_out",
)


def get_prefix(jobs: pd.DataFrame) -> pd.Series[str]:
    """Return the folder of each job's input: "in/2026/" of "in/2026/a.jpg"."""
    prefixes: pd.Series[str] = jobs["subject"].astype("string").str.extract(r"^(.*/)")[0]
    return prefixes


def name_prefix(by: Grouping) -> Grouping:
    """Return what to group by, with "prefix" as the prefix of the input."""
    columns, functions = parse_grouping(by)
    named: dict[str, Any] = {name: name for name in columns} | functions
    return {name: get_prefix if key == "prefix" else key for name, key in named.items()}


def sum_savings(
    parts: Iterable[pd.DataFrame], by: Grouping, sizes: Mapping[str, int] | pd.DataFrame | None
) -> pd.DataFrame:
    """Return the bytes of each group; see `JobAccessor.savings`.

    Args:
        parts: normalized jobs
        by: what to group by
        sizes: the bytes of inputs, by object

    Raises:
        InvalidRequest: `sizes` is something else
    """
    known = None if sizes is None else _parse_sizes(sizes)
    columns, functions = parse_grouping(by)
    sums = pd.concat([_sum_part(jobs, by, known) for jobs in parts], ignore_index=True)
    frame = _sum_groups(sums, (*columns, *functions))
    saved = frame["bytes_in"] - frame["bytes_out"]
    share = saved / frame["bytes_in"].where(frame["bytes_in"] > 0)
    frame = frame.assign(saved=saved, share=share.astype("float64"))
    return frame.sort_values("saved", ascending=False, kind="stable", ignore_index=True)


def _sum_part(jobs: pd.DataFrame, by: Grouping, sizes: Mapping[str, int] | None) -> pd.DataFrame:
    """Sum up what was saved by a part of the jobs."""
    succeeded = jobs[(jobs["status"] == "SUCCEEDED").fillna(value=False).astype(bool)]
    for name in SAVINGS_COLUMNS:
        if name not in succeeded.columns:
            empty = pd.array([pd.NA] * len(succeeded), dtype="Int64")
            succeeded = succeeded.assign(**{name: empty})
    keyed, keys = add_keys(succeeded, by)
    bytes_in = keyed["size_in"]
    if sizes is not None:
        bytes_in = bytes_in.fillna(keyed["subject"].map(sizes).astype("Int64"))
    is_known = bytes_in.notna() & keyed["size_out"].notna()
    rows = keyed[list(keys)].assign(
        jobs=1,
        sized=is_known.astype("int64"),
        bytes_in=bytes_in.where(is_known, 0).astype("int64"),
        bytes_out=keyed["size_out"].where(is_known, 0).astype("int64"),
    )
    return _sum_groups(rows, keys)


def _sum_groups(rows: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    if not keys:
        return rows[list(_SUMS)].sum().to_frame().T
    groups = rows.groupby(list(keys), dropna=False, as_index=False, observed=True)
    return groups[list(_SUMS)].sum()


def _parse_sizes(sizes: Mapping[str, int] | pd.DataFrame) -> dict[str, int]:
    """Return bytes by object, of a mapping or of a listing of a bucket."""
    try:
        if isinstance(sizes, pd.DataFrame):
            names = {str(name).casefold(): name for name in sizes.columns}
            numbers = normalize_keys(pd.to_numeric(sizes[names["size"]]))
            sizes = dict(zip(sizes[names["key"]].astype(str), numbers, strict=True))
        return {str(key): int(size) for key, size in sizes.items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise InvalidRequest(
            "sizes are neither bytes by object nor a listing of objects.",
            hint='Pass {"in/a.jpg": 81920}, or a DataFrame with the columns key and size.',
        ) from None
