"""Frames of jobs as short tables. What is shown is short; the value stays the whole frame.

A frame of jobs has sixteen columns with links, marker texts and
durations to the nanosecond, which is what an analysis needs and
nobody reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import sanitize
from jupyter_mjci.history import frames
from jupyter_mjci.imaging.thumbnails import data_url
from jupyter_mjci.notebook.cards import STATUS_LABELS, escape_text
from jupyter_mjci.notebook.outputs import measure_width

if TYPE_CHECKING:
    import pandas as pd

    from jupyter_mjci.session import Session

MAX_ROWS = 20
MAX_TEXT = 60  # characters of a cell
# pixels of the longer side
THUMBNAIL_SIZE = 48
# The columns that are shown, where any row has a value.
SHOWN_COLUMNS = ("id", "action", "status", "progress", "subject", "finished", "run_time", "reason")
_ACTIVE = [status.value for status in Status if status.is_active]
_JOB_COLUMNS = frozenset({*(column.name for column in frames.COLUMNS), "queue_time", "run_time"})


def is_job_frame(frame: pd.DataFrame) -> bool:
    """Return whether a frame has a row per job, with or without columns of the user's."""
    return set(frame.columns) >= {"service", "id", "action", "status", "outputs"}


def table_html(frame: pd.DataFrame, session: Session | None = None) -> str:
    """Return a frame of jobs as a table, with the pictures that the session has archived."""
    columns = _select_columns(frame)
    rows = list(_iter_rows(frame))
    pictures = [_find_thumbnail(row, session) for row in rows]
    heads = [*columns, "picture"] if any(pictures) else columns
    body = []
    for row, picture in zip(rows, pictures, strict=True):
        cells = [f"<td>{escape_text(_format_cell(name, row[name]))}</td>" for name in columns]
        if any(pictures):
            cells.append(f"<td>{picture}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f"<th>{escape_text(name)}</th>" for name in heads)
    return (
        f'<table class="dataframe mjci-jobs"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table><div>{escape_text(_describe(frame))}</div>"
    )


def table_text(frame: pd.DataFrame) -> str:
    """Return a frame of jobs as an aligned table of text."""
    columns = _select_columns(frame)
    lines = [columns]
    for row in _iter_rows(frame):
        lines.append([sanitize(_format_cell(name, row[name])) for name in columns])
    widths = [max(map(measure_width, cells)) for cells in zip(*lines, strict=True)]
    rows = []
    for cells in lines:
        gaps = [width - measure_width(cell) for cell, width in zip(cells, widths, strict=True)]
        padded = [cell + " " * gap for cell, gap in zip(cells, gaps, strict=True)]
        rows.append("  ".join(padded).rstrip())
    return "\n".join([*rows, _describe(frame)])


def _select_columns(frame: pd.DataFrame) -> list[str]:
    """Return the user's own columns, then those of the job that have values."""
    own = [str(name) for name in frame.columns if name not in _JOB_COLUMNS]
    shown = frame.head(MAX_ROWS)
    names = [name for name in SHOWN_COLUMNS if name in frame and shown[name].notna().any()]
    if not shown["status"].isin(_ACTIVE).any():
        names = [name for name in names if name != "progress"]
    return own + names


def _iter_rows(frame: pd.DataFrame) -> Iterator[Mapping[str, Any]]:
    for values in frame.head(MAX_ROWS).itertuples(index=False, name=None):
        yield {str(name): value for name, value in zip(frame.columns, values, strict=True)}


def _describe(frame: pd.DataFrame) -> str:
    rows, columns = frame.shape
    noun = "job" if rows == 1 else "jobs"
    more = f", the first {MAX_ROWS} shown" if rows > MAX_ROWS else ""
    return f"{rows:,} {noun}{more}; {columns} columns in the frame"


def _format_cell(name: str, value: Any) -> str:
    if _is_missing(value):
        return ""
    if name == "status" and value in _LABELS:
        return _LABELS[value]
    if name == "run_time":
        return _format_duration(value.total_seconds())
    if name == "finished":
        return f"{value:%Y-%m-%d %H:%M}"
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 1]}…"


_LABELS = {status.value: label for status, label in STATUS_LABELS.items()}


def _is_missing(value: Any) -> bool:
    """Return whether a cell has no value: None, NA, NaT and NaN do not equal themselves."""
    return value is None or str(value) in ("<NA>", "NaT", "nan")


def _format_duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def find_thumbnail_url(job: Job, session: Session | None, size: int) -> str:
    """Return the archived first picture of a job as a data URL; "" where there is none."""
    archive = session.archive if session else None
    image = archive.find(job) if archive and job.status is Status.SUCCEEDED else None
    if image is None:
        return ""
    try:
        return data_url(image.read_bytes(), size)
    except (OSError, ValueError):
        return ""


def _find_thumbnail(row: Mapping[str, Any], session: Session | None) -> str:
    """Return the picture of a row as an element; "" where there is none."""
    if _is_missing(row["id"]) or _is_missing(row["status"]):
        return ""
    job = Job(str(row["service"]), str(row["id"]), status=Status(row["status"]))
    source = find_thumbnail_url(job, session, THUMBNAIL_SIZE)
    subject = escape_text(_format_cell("subject", row["subject"]))
    return f'<img alt="{subject}" src="{source}">' if source else ""
