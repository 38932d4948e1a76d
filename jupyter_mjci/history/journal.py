"""The durable journal: what was submitted, what was seen, and how it moved. The home of sqlite3.

One SQLite file in WAL mode, written by several kernels at once. A submission's row is committed
before its request leaves; a job's row is made or changed by every sighting, and only changes of its
status or progress are kept as sightings of their own. Times are integers: microseconds since 1970,
UTC.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.errors import HistoryError, SettingsError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
DAY_US = 86_400_000_000  # microseconds
CHUNK_ROWS = 100_000  # rows that leave packed at once
SEPARATOR = "\x1f"  # between packed values: the control character made for it
NULL_INT = -(2**63)  # a packed number that is not there; as a time it reads NaT
BUSY_TIMEOUT = 30.0  # seconds that a writer waits for another kernel's turn


@dataclass(frozen=True, slots=True)
class Submission:
    """A request that was to be sent once. `state`: leaving, accepted (`job_id`), refused (`reason`)
    or unknown.
    """

    marker: str
    service: str
    name: str
    method: str
    path: str
    endpoint: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    at: float
    state: str
    job_id: str
    reason: str
    owner: str
    has_marker: bool


@dataclass(frozen=True, slots=True)
class ColumnExport:
    """How a column leaves packed: an expression over the columns of `jobs` without nulls, text or
    whole number.
    """

    sql: str
    is_integer: bool = False

    @property
    def separator(self) -> str:
        return (
            "','" if self.is_integer else f"'{SEPARATOR}'"
        )  # a literal: char(31) would be worked out for every row


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """A chunk of rows: every column one text in UTF-8, values between separators; or a list where a
    value holds one.
    """

    rows: int
    columns: Mapping[str, bytes | list[str]]


class Journal:
    """The journal in a file, or in memory (`path` None) where nothing is to outlive the session."""

    def __init__(self, path: Path | None, *, origins: Mapping[str, str] | None = None) -> None:
        self.path, self.origins = path, dict(origins or {})
        self._lock = threading.RLock()
        self._pid = 0
        self._connection: sqlite3.Connection | None = None

    # --- submissions ------------------------------------------------------------------------------

    def record_submission(
        self, call: Call[Any], marker: str, at: float, *, has_marker: bool
    ) -> None:
        """Commits the row of a submission that is about to leave. `has_marker` tells whether the body
        carries `marker`.
        """
        with self._transaction() as db:
            db.execute(
                "INSERT INTO submissions VALUES (?,?,?,?,?,?,?,?,?,?,?,'pending','','',?,?)",
                (
                    marker,
                    call.service,
                    self._get_origin(call.service),
                    call.name,
                    call.method,
                    call.path,
                    call.endpoint,
                    jsonlib.dumps(call.params),
                    jsonlib.dumps(call.headers),
                    call.body,
                    at,
                    _get_owner(),
                    has_marker,
                ),
            )

    def touch_submission(self, marker: str, at: float) -> None:
        """A submission is sent, or sent again: nobody may think yet that it never arrived."""
        with self._transaction() as db:
            db.execute("UPDATE submissions SET at=? WHERE marker=? AND at<>?", (at, marker, at))

    def resolve(self, marker: str, state: str, *, job_id: str = "", reason: str = "") -> None:
        """What became of a submission: accepted, refused or unknown."""
        with self._transaction() as db:
            db.execute(
                "UPDATE submissions SET state=?, job_id=?, reason=?, owner=? WHERE marker=?",
                (state, job_id, reason, _get_owner(), marker),
            )

    def unresolved(self) -> list[Submission]:
        """Submissions whose fate nobody knows and that no living process is working on."""
        rows = self._fetch_rows(
            "SELECT * FROM submissions WHERE state IN ('pending','unknown') ORDER BY at"
        )
        found = [_row_to_submission(row) for row in rows]
        return [one for one in found if one.state == "unknown" or not _is_owner_alive(one.owner)]

    def submissions(self) -> list[Submission]:
        return [
            _row_to_submission(row)
            for row in self._fetch_rows("SELECT * FROM submissions ORDER BY at")
        ]

    def accepted_job_ids(self, service: str) -> set[str]:
        """Ids of the jobs that submissions have been matched with already."""
        rows = self._fetch_rows(
            "SELECT job_id FROM submissions WHERE service=? AND state='accepted'", (service,)
        )
        return {row["job_id"] for row in rows}

    # --- jobs -------------------------------------------------------------------------------------

    def record_jobs(self, jobs: Iterable[Job], at: float) -> None:
        """Records sightings. What an answer leaves out stays known, and an ended job never moves
        again.
        """
        seen = [job for job in jobs if job.id]
        if not seen:
            return
        moment = int(at * 1_000_000)
        with self._transaction() as db:
            sequence = db.execute("SELECT coalesce(max(sequence), 0) FROM jobs").fetchone()[0]
            for number, job in enumerate(seen, sequence + 1):
                row = _replace_surrogates(
                    _job_to_row(job, self._get_origin(job.service), moment, number)
                )
                if db.execute(_UPSERT_JOB, row).rowcount:
                    db.execute(_INSERT_JOB_EVENT, row)

    def jobs(
        self, where: str = "1", parameters: Sequence[Any] = (), *, raw: bool = True
    ) -> list[Job]:
        """Jobs as last seen, oldest first. `where` is SQL over the columns of `jobs`."""
        columns = "*" if raw else ", ".join(_JOB_COLUMNS)
        rows = self._fetch_rows(
            f"SELECT {columns} FROM jobs WHERE {where} ORDER BY submitted, sequence", parameters
        )
        return [_row_to_job(row) for row in rows]

    def export_columns(
        self, exports: Mapping[str, ColumnExport], where: str = "1", parameters: Sequence[Any] = ()
    ) -> Iterator[ColumnChunk]:
        """Columns of `jobs`, each chunk of rows as one text per column: no object per cell on the
        way out.

        Rows come in the order in which they were first seen, all chunks from one snapshot.
        """
        if (
            self.path is None
        ):  # the only connection there is: not to be held while the chunks are used
            with self._lock:
                yield from list(_export_chunks(self._get_connection(), exports, where, parameters))
            return
        self._fetch_rows("SELECT 1")  # makes and migrates the file, and tells if that cannot be
        db = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None)
        try:
            db.execute("BEGIN")
            yield from _export_chunks(db, exports, where, parameters)
        finally:
            db.close()

    def changes_since(self, sequence: int, limit: int = -1) -> tuple[int, int]:
        """How many jobs (at `limit`) are new or changed after this sequence number, and the highest
        of theirs.
        """
        newer = "SELECT sequence FROM jobs WHERE sequence > ? ORDER BY sequence LIMIT ?"
        row = self._fetch_rows(
            f"SELECT count(*) AS many, max(sequence) AS last FROM ({newer})", (sequence, limit)
        )[0]
        return row["many"], row["last"] or sequence

    def position(self) -> tuple[int, int]:
        """Where the journal stands, for `grown`."""
        (row,) = self._fetch_rows(
            "SELECT coalesce(max(rowid), 0) AS row, coalesce(max(sequence), 0) AS number FROM jobs"
        )
        return row["row"], row["number"]

    def count_changes(self, position: tuple[int, int]) -> tuple[int, int]:
        """How many jobs are new, and how many others have changed, since a tally."""
        statement = "SELECT count(*) AS many, coalesce(sum(rowid > ?), 0) AS new FROM jobs WHERE sequence > ?"
        (row,) = self._fetch_rows(statement, position)
        return row["new"], row["many"] - row["new"]

    def count(self, where: str = "1", parameters: Sequence[Any] = ()) -> int:
        return int(
            self._fetch_rows(f"SELECT count(*) AS many FROM jobs WHERE {where}", parameters)[0][
                "many"
            ]
        )

    def actions(self, service: str) -> list[str]:
        """The kinds of jobs of a service that the journal knows."""
        rows = self._fetch_rows(
            "SELECT DISTINCT action FROM jobs WHERE service = ? AND action <> '' ORDER BY 1",
            (service,),
        )
        return [row["action"] for row in rows]

    def own_jobs(self, service: str) -> list[Job]:
        """The jobs of this session's own proxy or bucket, oldest first."""
        return self.jobs("service=? AND origin=?", (service, self._get_origin(service)))

    def find_service(self, job_id: str) -> str:
        """Whose job it is, of this session's own proxy and bucket; "" where the journal does not
        know it.
        """
        own = "SELECT service FROM jobs WHERE service=? AND origin=? AND id=?"
        asked = ("mj", self._get_origin("mj"), job_id, "ci", self._get_origin("ci"), job_id)
        rows = self._fetch_rows(f"{own} UNION ALL {own}", asked)
        return str(rows[0]["service"]) if rows else ""

    def active_jobs(self) -> list[Job]:
        """Jobs that had not ended when they were last seen, of this session's own services."""
        return self.jobs(
            f"NOT final AND status <> 'NEEDS_INPUT' AND {_OWN_ORIGIN}",
            (self._get_origin("mj"), self._get_origin("ci")),
        )

    def jobs_with_outputs(self, limit: int) -> list[Job]:
        """The latest so many jobs of this session's own services that something came out of, oldest
        first; no `raw`.
        """
        latest = f"SELECT rowid FROM jobs WHERE outputs <> '' AND {_OWN_ORIGIN} ORDER BY submitted DESC LIMIT ?"
        return self.jobs(
            f"rowid IN ({latest})",
            (self._get_origin("mj"), self._get_origin("ci"), limit),
            raw=False,
        )

    def status_history(
        self, service: str, job_id: str
    ) -> list[tuple[datetime, Status, int | None]]:
        """How a job moved: when it was first seen with each status and progress."""
        rows = self._fetch_rows(
            "SELECT at, status, progress FROM job_events WHERE service=? AND origin=? AND id=? ORDER BY at, rowid",
            (service, self._get_origin(service), job_id),
        )
        return [
            (cast(datetime, _from_microseconds(row["at"])), Status(row["status"]), row["progress"])
            for row in rows
        ]

    def durations(self, service: str, action: str, limit: int = 200) -> list[float]:
        """Seconds from submission to end of the latest successes of an action, in ascending
        order.
        """
        rows = self._fetch_rows(
            "SELECT (finished - submitted) / 1e6 AS took FROM jobs WHERE service=? AND action=? AND status='SUCCEEDED'"
            " AND finished > submitted ORDER BY sequence DESC LIMIT ?",
            (service, action, limit),
        )
        return sorted(row["took"] for row in rows)

    # --- notes (where a sync left off) ------------------------------------------------------------

    def note(self, name: str, value: str | None = None) -> str:
        """Reads a note, or writes it. "" where there is none."""
        if value is not None:
            with self._transaction() as db:
                db.execute(
                    "INSERT INTO metadata VALUES (?,?) ON CONFLICT DO UPDATE SET value=excluded.value",
                    (name, value),
                )
            return value
        rows = self._fetch_rows("SELECT value FROM metadata WHERE name=?", (name,))
        return str(rows[0]["value"]) if rows else ""

    @cached_property
    def journal_id(self) -> str:
        """What this journal is called in the lakes that it is folded into; made once, whoever asks
        first.
        """
        known = self.note("identity")
        if known:
            return known
        with self._transaction() as db:
            db.execute(
                "INSERT INTO metadata VALUES ('identity', ?) ON CONFLICT DO NOTHING", (uuid4().hex,)
            )
        return self.note("identity")

    def close(self) -> None:
        with self._lock:
            if self._connection is not None and self._pid == os.getpid() and self.path is not None:
                self._connection.close()
                self._connection = None

    # --- the file ---------------------------------------------------------------------------------

    def _get_origin(self, service: str) -> str:
        return self.origins.get(service, "")

    def _fetch_rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._get_connection().execute(statement, parameters).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction. IMMEDIATE: a reader that turns writer would not wait for its turn, but
        fail.
        """
        with self._lock:
            db = self._get_connection()
            try:
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.commit()
            except BaseException as error:
                if db.in_transaction:
                    db.rollback()
                if isinstance(error, sqlite3.OperationalError):
                    raise HistoryError(
                        f"The journal {self.path} cannot be written.",
                        detail=str(error),
                        hint="Make room on its disk, or set MJCI_HOME to another folder. What it holds is all there.",
                    ) from error
                raise

    def _get_connection(self) -> sqlite3.Connection:
        """The connection of this process: one must not be carried across a fork."""
        if self._connection is None or self._pid != os.getpid():
            self._connection, self._pid = self._connect(), os.getpid()
            weakref.finalize(
                self, _close_connection, self._connection, self._pid
            )  # SQLite complains of what nobody closed
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        try:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(
                self.path or ":memory:",
                timeout=BUSY_TIMEOUT,
                isolation_level=None,
                check_same_thread=False,
            )
            db.row_factory = sqlite3.Row
            try:
                _prepare_database(db)
            except BaseException:
                db.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise SettingsError(
                f"The journal {self.path} cannot be opened.",
                detail=str(error),
                hint="Set MJCI_HOME to a folder that you can write to.",
            ) from error
        return db


def _export_chunks(
    db: sqlite3.Connection,
    exports: Mapping[str, ColumnExport],
    where: str,
    parameters: Sequence[Any],
) -> Iterator[ColumnChunk]:
    texts_of = (f"group_concat({packing.sql}, {packing.separator})" for packing in exports.values())
    wanted = ", ".join(
        f"CAST({text} AS BLOB)" for text in texts_of
    )  # as it lies there: nobody needs it decoded
    # NOT INDEXED: by rowid, so that every statement gives the rows in the same order.
    rows = f"FROM jobs NOT INDEXED WHERE ({where}) AND rowid > ? AND rowid <= ?"
    (end,) = db.execute("SELECT coalesce(max(rowid), 0) FROM jobs").fetchone()
    for begin in range(0, end, CHUNK_ROWS):
        bounds = (*parameters, begin, begin + CHUNK_ROWS)
        many, *texts = db.execute(f"SELECT count(*), {wanted} {rows}", bounds).fetchone()
        if not many:
            continue
        columns: dict[str, bytes | list[str]] = dict(zip(exports, texts, strict=True))
        for (name, packing), text in zip(exports.items(), texts, strict=True):
            if not packing.is_integer and text.count(SEPARATOR.encode()) != many - 1:
                # A separator inside a value: this chunk of this column comes value by value.
                columns[name] = [
                    row[0]
                    for row in db.execute(f"SELECT {packing.sql} {rows} ORDER BY rowid", bounds)
                ]
        yield ColumnChunk(many, columns)


def _close_connection(db: sqlite3.Connection, pid: int) -> None:
    """Closes what this process has opened: a connection must not be touched across a fork."""
    if pid == os.getpid():
        db.close()


def _prepare_database(db: sqlite3.Connection) -> None:
    """WAL, and the migrations that this file has not seen; kernels that come at once wait for each
    other.
    """
    db.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    if _get_schema_version(db) == len(MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")
    seen = _get_schema_version(db)
    if seen > len(MIGRATIONS):
        db.rollback()
        raise sqlite3.DatabaseError(f"it was written by a newer version (schema {seen})")
    for migrate in MIGRATIONS[seen:]:
        migrate(db)
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    db.commit()


def _get_schema_version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _create_schema(db: sqlite3.Connection) -> None:
    for statement in _INITIAL_SCHEMA.split(";"):
        db.execute(statement)


_INITIAL_SCHEMA = """
CREATE TABLE submissions (
    mark TEXT PRIMARY KEY, service TEXT, origin TEXT, name TEXT, method TEXT, path TEXT, plane TEXT, params TEXT,
    headers TEXT, body BLOB, at REAL, state TEXT, job_id TEXT, reason TEXT, owner TEXT, marked INTEGER
);
CREATE INDEX submissions_by_state ON submissions (state);
CREATE TABLE jobs (
    service TEXT, origin TEXT, id TEXT, action TEXT, status TEXT, final INTEGER, progress INTEGER, subject TEXT,
    outputs TEXT, buttons TEXT, submitted INTEGER, started INTEGER, finished INTEGER, reason TEXT, state TEXT,
    notify_hook TEXT, parent TEXT, raw TEXT, first_seen INTEGER, last_seen INTEGER, sequence INTEGER,
    PRIMARY KEY (service, origin, id)
);
CREATE INDEX jobs_unfinished ON jobs (service) WHERE NOT final;
CREATE UNIQUE INDEX jobs_by_sequence ON jobs (sequence);
CREATE INDEX jobs_by_time ON jobs (submitted);
CREATE INDEX jobs_by_action ON jobs (service, action, sequence);
CREATE TABLE sightings (service TEXT, origin TEXT, id TEXT, at INTEGER, status TEXT, progress INTEGER);
CREATE INDEX sightings_by_job ON sightings (service, origin, id);
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT)
"""


def _add_button_names_and_day(db: sqlite3.Connection) -> None:
    """What frames and lakes need: buttons by name, and a day that never changes once a job was
    seen.
    """
    db.create_function(
        "names_of",
        1,
        lambda told: _join_button_names(Button(*parts) for parts in jsonlib.loads(told or "[]")),
    )
    db.execute("ALTER TABLE jobs ADD COLUMN button_names TEXT")
    db.execute("ALTER TABLE jobs ADD COLUMN day INTEGER")
    db.execute(
        f"UPDATE jobs SET button_names = names_of(buttons), day = coalesce(submitted, first_seen) / {DAY_US}"
    )


def _adopt_field_names(db: sqlite3.Connection) -> None:
    """Names of the second edition: tables, columns and the stored values of states."""
    for statement in _FIELD_NAMES.split(";"):
        db.execute(statement)


_FIELD_NAMES = """
ALTER TABLE sightings RENAME TO job_events;
ALTER TABLE notes RENAME TO metadata;
ALTER TABLE jobs RENAME COLUMN state TO user_data;
ALTER TABLE jobs RENAME COLUMN notify_hook TO webhook_url;
ALTER TABLE submissions RENAME COLUMN mark TO marker;
ALTER TABLE submissions RENAME COLUMN marked TO has_marker;
ALTER TABLE submissions RENAME COLUMN plane TO endpoint;
UPDATE submissions SET state = 'pending' WHERE state = 'leaving';
UPDATE submissions SET state = 'rejected' WHERE state = 'refused';
UPDATE jobs SET status = 'QUEUED' WHERE status = 'WAITING';
UPDATE jobs SET status = 'NEEDS_INPUT' WHERE status = 'ASKING';
UPDATE job_events SET status = 'QUEUED' WHERE status = 'WAITING';
UPDATE job_events SET status = 'NEEDS_INPUT' WHERE status = 'ASKING'
"""


# Appended to, never changed: a file of any age is brought up step by step.
MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _create_schema,
    _add_button_names_and_day,
    _adopt_field_names,
)

_OWN_ORIGIN = (
    "origin = CASE service WHEN 'mj' THEN ? ELSE ? END"  # of this session's proxy and bucket
)
_JOB_COLUMNS = (
    "service",
    "origin",
    "id",
    "action",
    "status",
    "final",
    "progress",
    "subject",
    "outputs",
    "buttons",
    "submitted",
    "started",
    "finished",
    "reason",
    "user_data",
    "webhook_url",
    "parent",
)
_ALL_COLUMNS = (*_JOB_COLUMNS, "raw", "first_seen", "last_seen", "sequence", "button_names", "day")
_MERGED_COLUMNS = (
    "action",
    "subject",
    "outputs",
    "buttons",
    "button_names",
    "submitted",
    "started",
    "finished",
    "reason",
    "user_data",
    "webhook_url",
    "parent",
)
_UPSERT_JOB = (
    f"INSERT INTO jobs ({', '.join(_ALL_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _ALL_COLUMNS)})"
    " ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{name}=coalesce(nullif(excluded.{name}, ''), {name})" for name in _MERGED_COLUMNS)
    + ", status=excluded.status, final=excluded.final, progress=coalesce(excluded.progress, progress),"
    " raw=excluded.raw, last_seen=excluded.last_seen, sequence=excluded.sequence"
    " WHERE NOT jobs.final AND (excluded.raw <> jobs.raw OR excluded.status <> jobs.status)"
)
_INSERT_JOB_EVENT = (
    "INSERT INTO job_events SELECT :service, :origin, :id, :last_seen, :status, :progress WHERE NOT EXISTS"
    " (SELECT 1 FROM job_events WHERE service=:service AND origin=:origin AND id=:id AND status=:status"
    " AND progress IS :progress)"
)


def _job_to_row(job: Job, origin: str, seen_at: int, sequence: int) -> dict[str, Any]:
    submitted = _to_microseconds(job.submitted)
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
        "started": _to_microseconds(job.started),
        "finished": _to_microseconds(job.finished),
        "reason": job.reason,
        "user_data": job.user_data,
        "webhook_url": job.webhook_url,
        "parent": job.parent,
        "raw": jsonlib.dumps(job.raw),
        "first_seen": seen_at,
        "last_seen": seen_at,
        "sequence": sequence,
        "button_names": _join_button_names(job.buttons),
        "day": (seen_at if submitted is None else submitted) // DAY_US,
    }


def _replace_surrogates(row: dict[str, Any]) -> dict[str, Any]:
    """Half a surrogate pair, which some server's JSON may hold, is no text that a file can keep."""
    for name, value in row.items():
        if isinstance(value, str) and not value.isascii():
            row[name] = value.encode("utf-8", "replace").decode()
    return row


def _dump_buttons(buttons: Iterable[Button]) -> str:
    told = [(b.custom_id, b.label, b.emoji, b.used) for b in buttons]
    return jsonlib.dumps(told) if told else ""


def _join_button_names(buttons: Iterable[Button]) -> str:
    return ", ".join(button.name for button in buttons)


def _row_to_job(row: sqlite3.Row) -> Job:
    told = {
        name: row[name] or ""
        for name in (
            "service",
            "id",
            "action",
            "subject",
            "reason",
            "user_data",
            "webhook_url",
            "parent",
        )
    }
    return Job(
        **told,
        status=Status(row["status"]),
        progress=row["progress"],
        outputs=tuple((row["outputs"] or "").split()),
        buttons=tuple(Button(*parts) for parts in jsonlib.loads(row["buttons"] or "[]")),
        submitted=_from_microseconds(row["submitted"]),
        started=_from_microseconds(row["started"]),
        finished=_from_microseconds(row["finished"]),
        raw=jsonlib.loads(row["raw"]) if "raw" in row.keys() else {},  # noqa: SIM118 - a Row's `in` looks at values
    )


def _row_to_submission(row: sqlite3.Row) -> Submission:
    told = dict(row) | {
        "params": jsonlib.loads(row["params"]),
        "headers": jsonlib.loads(row["headers"]),
    }
    del told["origin"]
    return Submission(**told | {"has_marker": bool(row["has_marker"])})


def _to_microseconds(time: datetime | None) -> int | None:
    return None if time is None else (time - EPOCH) // MICROSECOND


def _from_microseconds(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else EPOCH + microseconds * MICROSECOND


def _get_owner() -> str:
    return f"{os.uname().nodename}:{os.getpid()}"


def _is_owner_alive(owner: str) -> bool:
    """Whether the process that began a submission may still be at it. Other machines' processes
    count as alive.
    """
    host, _, pid = owner.rpartition(":")
    if host != os.uname().nodename:
        return True
    if int(pid) == os.getpid():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
