"""A job as a row of the journal, and what of it a newer state changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.history.submissions import SqlValue

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
DAY_US = 86_400_000_000  # microseconds
# a job of a file, and the names of its buttons, which have no ids
ImportedJob = tuple[Job, str]
# The costs are texts: they come back as they were, to the last digit.
CONTEXT_TEXTS = ("account", "queue", "rule", "bucket", "cost", "final_prompt")
CONTEXT_SIZES = ("size_in", "size_out")
CONTEXT = (*CONTEXT_TEXTS, *CONTEXT_SIZES)
JOB_COLUMNS = (
    "service", "origin", "id", "action", "status", "final", "progress", "subject", "outputs",
    "buttons", "submitted", "started", "finished", "reason", "user_data", "webhook_url", "parent",
    *CONTEXT,
)  # fmt: skip
_ALL_COLUMNS = (*JOB_COLUMNS, "raw", "first_seen", "last_seen", "sequence", "button_names", "day")
# Columns that keep their value where a later response leaves it
# out.
_MERGED_COLUMNS = tuple(
    name
    for name in (*JOB_COLUMNS, "button_names")
    if name not in ("service", "origin", "id", "status", "final", "progress")
)


def _build_insert(table: str, columns: Iterable[str]) -> str:
    names = list(columns)
    values = ", ".join(f":{name}" for name in names)
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values})"


# What a newer state changes of a job that is known.
_MERGE_JOB = (
    _build_insert("jobs", _ALL_COLUMNS)
    + " ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{name}=coalesce(nullif(excluded.{name}, ''), {name})" for name in _MERGED_COLUMNS)
    + ", status=excluded.status, final=excluded.final,"
    " progress=coalesce(excluded.progress, progress),"
    " last_seen=excluded.last_seen, sequence=excluded.sequence"
)
UPSERT_JOB = (
    f"{_MERGE_JOB}, raw=excluded.raw"
    " WHERE NOT jobs.final AND (excluded.raw <> jobs.raw OR excluded.status <> jobs.status)"
)
# A state that was seen earlier, and no end, changes nothing.
IMPORT_JOB = (
    f"{_MERGE_JOB} WHERE NOT jobs.final AND (excluded.final OR excluded.last_seen > jobs.last_seen)"
)
INSERT_JOB_EVENT = (
    "INSERT INTO job_events SELECT :service, :origin, :id, :last_seen, :status, :progress"
    " WHERE NOT EXISTS (SELECT 1 FROM job_events WHERE service=:service AND origin=:origin"
    " AND id=:id AND status=:status AND progress IS :progress)"
)


def job_to_row(job: Job, origin: str, seen_at: int, sequence: int) -> dict[str, SqlValue]:
    submitted = to_microseconds(job.submitted)
    return {
        "service": job.service,
        "origin": origin,
        "id": job.id,
        "action": job.action,
        "status": job.status.value,
        "final": job.status.is_terminal,
        "progress": job.progress,
        "subject": job.subject,
        "outputs": "\n".join(job.outputs),
        "buttons": _dump_buttons(job.buttons),
        "submitted": submitted,
        "started": to_microseconds(job.started),
        "finished": to_microseconds(job.finished),
        "reason": job.reason,
        "user_data": job.user_data,
        "webhook_url": job.webhook_url,
        "parent": job.parent,
        **context_to_row(job),
        "raw": jsonlib.dumps(job.raw),
        "first_seen": seen_at,
        "last_seen": seen_at,
        "sequence": sequence,
        "button_names": join_button_names(job.buttons),
        "day": (seen_at if submitted is None else submitted) // DAY_US,
    }


def context_to_row(job: Job) -> dict[str, SqlValue]:
    row: dict[str, SqlValue] = {name: getattr(job, name) for name in CONTEXT}
    row["cost"] = "" if job.cost is None else repr(job.cost)
    return row


def replace_surrogates(row: dict[str, SqlValue]) -> None:
    """Replace lone surrogates, which JSON may contain and UTF-8 cannot encode, by "?"."""
    for name, value in row.items():
        if isinstance(value, str) and not value.isascii():
            row[name] = value.encode("utf-8", "replace").decode()


def _dump_buttons(buttons: Sequence[Button]) -> str:
    if not buttons:
        return ""
    return jsonlib.dumps([(b.custom_id, b.label, b.emoji, b.used) for b in buttons])


def load_buttons(stored: str | None) -> tuple[Button, ...]:
    return tuple(Button(*fields) for fields in jsonlib.loads(stored or "[]"))


def join_button_names(buttons: Iterable[Button]) -> str:
    return ", ".join(button.name for button in buttons)


def row_to_job(row: sqlite3.Row) -> Job:
    raw = {}
    if "raw" in row.keys():  # noqa: SIM118 - `in` of a Row looks at values
        raw = jsonlib.loads(row["raw"])
    return Job(
        service=row["service"],
        id=row["id"],
        action=row["action"] or "",
        status=Status(row["status"]),
        progress=row["progress"],
        subject=row["subject"] or "",
        outputs=tuple((row["outputs"] or "").split()),
        buttons=load_buttons(row["buttons"]),
        submitted=_from_microseconds(row["submitted"]),
        started=_from_microseconds(row["started"]),
        finished=_from_microseconds(row["finished"]),
        reason=row["reason"] or "",
        user_data=row["user_data"] or "",
        webhook_url=row["webhook_url"] or "",
        parent=row["parent"] or "",
        account=row["account"] or "",
        queue=row["queue"] or "",
        rule=row["rule"] or "",
        bucket=row["bucket"] or "",
        size_in=row["size_in"],
        size_out=row["size_out"],
        cost=float(row["cost"]) if row["cost"] else None,
        final_prompt=row["final_prompt"] or "",
        raw=raw,
        origin=row["origin"] or "",
    )


def to_microseconds(time: datetime | None) -> int | None:
    return None if time is None else (time - EPOCH) // MICROSECOND


def _from_microseconds(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else EPOCH + microseconds * MICROSECOND
