"""Jobs as typed pandas DataFrames: one table of columns, the same whether there are no rows or a million."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyter_mjci.client.job import Job, Status

if TYPE_CHECKING:
    import pandas as pd

TIME = "datetime64[us, UTC]"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: how its cell is taken from a Job, its dtype, and what it means (and its unit)."""

    name: str
    dtype: str
    take: Callable[[Job], Any]
    help: str


COLUMNS = (
    Column("service", "string", lambda job: job.service, "mj (Midjourney proxy) or ci (Tencent CI)"),
    Column("id", "string", lambda job: job.id, "the service's id"),
    Column("action", "string", lambda job: job.action, "the service's own word: IMAGINE, PicProcess, …"),
    Column("status", "status", lambda job: job.status.value, "where it is, the same words for both services"),
    Column("progress", "Int64", lambda job: job.progress, "percent, where told"),
    Column("subject", "string", lambda job: job.subject or None, "the prompt, or the input object"),
    Column("submitted", TIME, lambda job: job.submitted, "accepted by the service (UTC)"),
    Column("started", TIME, lambda job: job.started, "begun (UTC)"),
    Column("finished", TIME, lambda job: job.finished, "ended, well or not (UTC)"),
    Column("reason", "string", lambda job: job.reason or None, "why it failed"),
    Column("outputs", "string", lambda job: " ".join(job.outputs) or None, "URLs of the results, blank-separated"),
    Column("buttons", "string", lambda job: ", ".join(b.name for b in job.buttons) or None, "next moves, by name"),
    Column("parent", "string", lambda job: job.parent or None, "the task whose button was pressed"),
    Column("state", "string", lambda job: job.state or None, "your own mark"),
)

# Made from two others: (name, later, earlier, meaning).
SPANS = (
    ("waited", "started", "submitted", "from submitted to started"),
    ("took", "finished", "started", "from started to finished"),
)


def frame(jobs: Iterable[Job]) -> pd.DataFrame:
    """One row per job, in the order given, with the columns and dtypes of COLUMNS and SPANS."""
    import pandas as pd

    rows = list(jobs)
    columns: dict[str, pd.Series[Any]] = {}
    for column in COLUMNS:
        columns[column.name] = pd.Series([column.take(job) for job in rows], dtype=_dtype(column.dtype))
        for name, later, earlier, _ in SPANS:
            if later == column.name:
                columns[name] = columns[later] - columns[earlier]
    return pd.DataFrame(columns)


def _dtype(name: str) -> Any:
    if name != "status":
        return name
    import pandas as pd

    return pd.CategoricalDtype([status.value for status in Status], ordered=False)
