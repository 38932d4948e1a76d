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
from typing import Any
from uuid import uuid4

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.errors import HistoryError, SettingsError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
DAY = 86_400_000_000  # microseconds
CHUNK = 100_000  # rows that leave packed at once
SEPARATOR = "\x1f"  # between packed values: the control character made for it
NOTHING = -(2**63)  # a packed number that is not there; as a time it reads NaT
BUSY = 30.0  # seconds that a writer waits for another kernel's turn


@dataclass(frozen=True, slots=True)
class Submission:
    """A request that was to be sent once. `state`: leaving, accepted (`job_id`), refused (`reason`)
    or unknown.
    """

    mark: str
    service: str
    name: str
    method: str
    path: str
    plane: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    at: float
    state: str
    job_id: str
    reason: str
    owner: str
    marked: bool


@dataclass(frozen=True, slots=True)
class Packing:
    """How a column leaves packed: an expression over the columns of `jobs` without nulls, text or
    whole number.
    """

    sql: str
    number: bool = False

    @property
    def between(self) -> str:
        return (
            "','" if self.number else f"'{SEPARATOR}'"
        )  # a literal: char(31) would be worked out for every row


@dataclass(frozen=True, slots=True)
class Packed:
    """A chunk of rows: every column one text in UTF-8, values between separators; or a list where a
    value holds one.
    """

    rows: int
    columns: Mapping[str, bytes | list[str]]


class Journal:
    """The journal in a file, or in memory (`path` None) where nothing is to outlive the session."""

    def __init__(self, path: Path | None, *, origin: Mapping[str, str] | None = None) -> None:
        self.path, self.origin = path, dict(origin or {})
        self._lock = threading.RLock()
        self._pid = 0
        self._connection: sqlite3.Connection | None = None

    # --- submissions ------------------------------------------------------------------------------

    def leaving(self, call: Call[Any], mark: str, at: float, *, marked: bool) -> None:
        """Commits the row of a submission that is about to leave. `marked` tells whether the body
        carries `mark`.
        """
        with self._writing() as db:
            db.execute(
                "INSERT INTO submissions VALUES (?,?,?,?,?,?,?,?,?,?,?,'leaving','','',?,?)",
                (
                    mark,
                    call.service,
                    self._at(call.service),
                    call.name,
                    call.method,
                    call.path,
                    call.plane,
                    jsonlib.written(call.params),
                    jsonlib.written(call.headers),
                    call.body,
                    at,
                    _owner(),
                    marked,
                ),
            )

    def leaves_now(self, mark: str, at: float) -> None:
        """A submission is sent, or sent again: nobody may think yet that it never arrived."""
        with self._writing() as db:
            db.execute("UPDATE submissions SET at=? WHERE mark=? AND at<>?", (at, mark, at))

    def settle(self, mark: str, state: str, *, job_id: str = "", reason: str = "") -> None:
        """What became of a submission: accepted, refused or unknown."""
        with self._writing() as db:
            db.execute(
                "UPDATE submissions SET state=?, job_id=?, reason=?, owner=? WHERE mark=?",
                (state, job_id, reason, _owner(), mark),
            )

    def unsettled(self) -> list[Submission]:
        """Submissions whose fate nobody knows and that no living process is working on."""
        rows = self._rows(
            "SELECT * FROM submissions WHERE state IN ('leaving','unknown') ORDER BY at"
        )
        found = [_submission(row) for row in rows]
        return [one for one in found if one.state == "unknown" or not _alive(one.owner)]

    def submissions(self) -> list[Submission]:
        return [_submission(row) for row in self._rows("SELECT * FROM submissions ORDER BY at")]

    def claimed(self, service: str) -> set[str]:
        """Ids of the jobs that submissions have been matched with already."""
        rows = self._rows(
            "SELECT job_id FROM submissions WHERE service=? AND state='accepted'", (service,)
        )
        return {row["job_id"] for row in rows}

    # --- jobs -------------------------------------------------------------------------------------

    def saw(self, jobs: Iterable[Job], at: float) -> None:
        """Records sightings. What an answer leaves out stays known, and an ended job never moves
        again.
        """
        seen = [job for job in jobs if job.id]
        if not seen:
            return
        moment = int(at * 1_000_000)
        with self._writing() as db:
            sequence = db.execute("SELECT coalesce(max(sequence), 0) FROM jobs").fetchone()[0]
            for number, job in enumerate(seen, sequence + 1):
                row = _storable(_row(job, self._at(job.service), moment, number))
                if db.execute(_UPSERT, row).rowcount:
                    db.execute(_SIGHTING, row)

    def jobs(
        self, where: str = "1", parameters: Sequence[Any] = (), *, raw: bool = True
    ) -> list[Job]:
        """Jobs as last seen, oldest first. `where` is SQL over the columns of `jobs`."""
        columns = "*" if raw else ", ".join(_COLUMNS)
        rows = self._rows(
            f"SELECT {columns} FROM jobs WHERE {where} ORDER BY submitted, sequence", parameters
        )
        return [_job(row) for row in rows]

    def packed(
        self, table: Mapping[str, Packing], where: str = "1", parameters: Sequence[Any] = ()
    ) -> Iterator[Packed]:
        """Columns of `jobs`, each chunk of rows as one text per column: no object per cell on the
        way out.

        Rows come in the order in which they were first seen, all chunks from one snapshot.
        """
        if (
            self.path is None
        ):  # the only connection there is: not to be held while the chunks are used
            with self._lock:
                yield from list(_chunks(self._open(), table, where, parameters))
            return
        self._rows("SELECT 1")  # makes and migrates the file, and tells if that cannot be
        db = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None)
        try:
            db.execute("BEGIN")
            yield from _chunks(db, table, where, parameters)
        finally:
            db.close()

    def news(self, since: int, most: int = -1) -> tuple[int, int]:
        """How many jobs (at `most`) are new or changed after this sequence number, and the highest
        of theirs.
        """
        newer = "SELECT sequence FROM jobs WHERE sequence > ? ORDER BY sequence LIMIT ?"
        row = self._rows(
            f"SELECT count(*) AS many, max(sequence) AS last FROM ({newer})", (since, most)
        )[0]
        return row["many"], row["last"] or since

    def tally(self) -> tuple[int, int]:
        """Where the journal stands, for `grown`."""
        (row,) = self._rows(
            "SELECT coalesce(max(rowid), 0) AS row, coalesce(max(sequence), 0) AS number FROM jobs"
        )
        return row["row"], row["number"]

    def grown(self, since: tuple[int, int]) -> tuple[int, int]:
        """How many jobs are new, and how many others have changed, since a tally."""
        statement = "SELECT count(*) AS many, coalesce(sum(rowid > ?), 0) AS new FROM jobs WHERE sequence > ?"
        (row,) = self._rows(statement, since)
        return row["new"], row["many"] - row["new"]

    def count(self, where: str = "1", parameters: Sequence[Any] = ()) -> int:
        return int(
            self._rows(f"SELECT count(*) AS many FROM jobs WHERE {where}", parameters)[0]["many"]
        )

    def actions(self, service: str) -> list[str]:
        """The kinds of jobs of a service that the journal knows."""
        rows = self._rows(
            "SELECT DISTINCT action FROM jobs WHERE service = ? AND action <> '' ORDER BY 1",
            (service,),
        )
        return [row["action"] for row in rows]

    def here(self, service: str) -> list[Job]:
        """The jobs of this session's own proxy or bucket, oldest first."""
        return self.jobs("service=? AND origin=?", (service, self._at(service)))

    def service_of(self, job_id: str) -> str:
        """Whose job it is, of this session's own proxy and bucket; "" where the journal does not
        know it.
        """
        own = "SELECT service FROM jobs WHERE service=? AND origin=? AND id=?"
        asked = ("mj", self._at("mj"), job_id, "ci", self._at("ci"), job_id)
        rows = self._rows(f"{own} UNION ALL {own}", asked)
        return str(rows[0]["service"]) if rows else ""

    def unfinished(self) -> list[Job]:
        """Jobs that had not ended when they were last seen, of this session's own services."""
        return self.jobs(
            f"NOT final AND status <> 'ASKING' AND {_OWN}", (self._at("mj"), self._at("ci"))
        )

    def with_results(self, limit: int) -> list[Job]:
        """The latest so many jobs of this session's own services that something came out of, oldest
        first; no `raw`.
        """
        latest = (
            f"SELECT rowid FROM jobs WHERE outputs <> '' AND {_OWN} ORDER BY submitted DESC LIMIT ?"
        )
        return self.jobs(f"rowid IN ({latest})", (self._at("mj"), self._at("ci"), limit), raw=False)

    def sightings(self, service: str, job_id: str) -> list[tuple[datetime, Status, int | None]]:
        """How a job moved: when it was first seen with each status and progress."""
        rows = self._rows(
            "SELECT at, status, progress FROM sightings WHERE service=? AND origin=? AND id=? ORDER BY at, rowid",
            (service, self._at(service), job_id),
        )
        return [(_time(row["at"]), Status(row["status"]), row["progress"]) for row in rows]  # type: ignore[misc]

    def durations(self, service: str, action: str, limit: int = 200) -> list[float]:
        """Seconds from submission to end of the latest successes of an action, in ascending
        order.
        """
        rows = self._rows(
            "SELECT (finished - submitted) / 1e6 AS took FROM jobs WHERE service=? AND action=? AND status='SUCCEEDED'"
            " AND finished > submitted ORDER BY sequence DESC LIMIT ?",
            (service, action, limit),
        )
        return sorted(row["took"] for row in rows)

    # --- notes (where a sync left off) ------------------------------------------------------------

    def note(self, name: str, value: str | None = None) -> str:
        """Reads a note, or writes it. "" where there is none."""
        if value is not None:
            with self._writing() as db:
                db.execute(
                    "INSERT INTO notes VALUES (?,?) ON CONFLICT DO UPDATE SET value=excluded.value",
                    (name, value),
                )
            return value
        rows = self._rows("SELECT value FROM notes WHERE name=?", (name,))
        return str(rows[0]["value"]) if rows else ""

    @cached_property
    def identity(self) -> str:
        """What this journal is called in the lakes that it is folded into; made once, whoever asks
        first.
        """
        known = self.note("identity")
        if known:
            return known
        with self._writing() as db:
            db.execute(
                "INSERT INTO notes VALUES ('identity', ?) ON CONFLICT DO NOTHING", (uuid4().hex,)
            )
        return self.note("identity")

    def close(self) -> None:
        with self._lock:
            if self._connection is not None and self._pid == os.getpid() and self.path is not None:
                self._connection.close()
                self._connection = None

    # --- the file ---------------------------------------------------------------------------------

    def _at(self, service: str) -> str:
        return self.origin.get(service, "")

    def _rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[sqlite3.Row]:
        with self._lock:
            return self._open().execute(statement, parameters).fetchall()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction. IMMEDIATE: a reader that turns writer would not wait for its turn, but
        fail.
        """
        with self._lock:
            db = self._open()
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
                        why=str(error),
                        hint="Make room on its disk, or set MJCI_HOME to another folder. What it holds is all there.",
                    ) from error
                raise

    def _open(self) -> sqlite3.Connection:
        """The connection of this process: one must not be carried across a fork."""
        if self._connection is None or self._pid != os.getpid():
            self._connection, self._pid = self._connect(), os.getpid()
            weakref.finalize(
                self, _closed, self._connection, self._pid
            )  # SQLite complains of what nobody closed
        return self._connection

    def _connect(self) -> sqlite3.Connection:
        try:
            if self.path is not None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(
                self.path or ":memory:", timeout=BUSY, isolation_level=None, check_same_thread=False
            )
            db.row_factory = sqlite3.Row
            try:
                _prepare(db)
            except BaseException:
                db.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise SettingsError(
                f"The journal {self.path} cannot be opened.",
                why=str(error),
                hint="Set MJCI_HOME to a folder that you can write to.",
            ) from error
        return db


def _chunks(
    db: sqlite3.Connection, table: Mapping[str, Packing], where: str, parameters: Sequence[Any]
) -> Iterator[Packed]:
    texts_of = (f"group_concat({packing.sql}, {packing.between})" for packing in table.values())
    wanted = ", ".join(
        f"CAST({text} AS BLOB)" for text in texts_of
    )  # as it lies there: nobody needs it decoded
    # NOT INDEXED: by rowid, so that every statement gives the rows in the same order.
    rows = f"FROM jobs NOT INDEXED WHERE ({where}) AND rowid > ? AND rowid <= ?"
    (end,) = db.execute("SELECT coalesce(max(rowid), 0) FROM jobs").fetchone()
    for begin in range(0, end, CHUNK):
        bounds = (*parameters, begin, begin + CHUNK)
        many, *texts = db.execute(f"SELECT count(*), {wanted} {rows}", bounds).fetchone()
        if not many:
            continue
        columns: dict[str, bytes | list[str]] = dict(zip(table, texts, strict=True))
        for (name, packing), text in zip(table.items(), texts, strict=True):
            if not packing.number and text.count(SEPARATOR.encode()) != many - 1:
                # A separator inside a value: this chunk of this column comes value by value.
                columns[name] = [
                    row[0]
                    for row in db.execute(f"SELECT {packing.sql} {rows} ORDER BY rowid", bounds)
                ]
        yield Packed(many, columns)


def _closed(db: sqlite3.Connection, pid: int) -> None:
    """Closes what this process has opened: a connection must not be touched across a fork."""
    if pid == os.getpid():
        db.close()


def _prepare(db: sqlite3.Connection) -> None:
    """WAL, and the migrations that this file has not seen; kernels that come at once wait for each
    other.
    """
    db.execute(f"PRAGMA busy_timeout = {int(BUSY * 1000)}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    if _version(db) == len(MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")
    seen = _version(db)
    if seen > len(MIGRATIONS):
        db.rollback()
        raise sqlite3.DatabaseError(f"it was written by a newer version (schema {seen})")
    for migrate in MIGRATIONS[seen:]:
        migrate(db)
    db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    db.commit()


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _first(db: sqlite3.Connection) -> None:
    for statement in _SCHEMA.split(";"):
        db.execute(statement)


_SCHEMA = """
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


def _second(db: sqlite3.Connection) -> None:
    """What frames and lakes need: buttons by name, and a day that never changes once a job was
    seen.
    """
    db.create_function(
        "names_of", 1, lambda told: _names(Button(*parts) for parts in jsonlib.read(told or "[]"))
    )
    db.execute("ALTER TABLE jobs ADD COLUMN button_names TEXT")
    db.execute("ALTER TABLE jobs ADD COLUMN day INTEGER")
    db.execute(
        f"UPDATE jobs SET button_names = names_of(buttons), day = coalesce(submitted, first_seen) / {DAY}"
    )


# Appended to, never changed: a file of any age is brought up step by step.
MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_first, _second)

_OWN = "origin = CASE service WHEN 'mj' THEN ? ELSE ? END"  # of this session's proxy and bucket
_COLUMNS = (
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
    "state",
    "notify_hook",
    "parent",
)
_ALL = (*_COLUMNS, "raw", "first_seen", "last_seen", "sequence", "button_names", "day")
_KEPT = (
    "action",
    "subject",
    "outputs",
    "buttons",
    "button_names",
    "submitted",
    "started",
    "finished",
    "reason",
    "state",
    "notify_hook",
    "parent",
)
_UPSERT = (
    f"INSERT INTO jobs ({', '.join(_ALL)}) VALUES ({', '.join(f':{name}' for name in _ALL)})"
    " ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{name}=coalesce(nullif(excluded.{name}, ''), {name})" for name in _KEPT)
    + ", status=excluded.status, final=excluded.final, progress=coalesce(excluded.progress, progress),"
    " raw=excluded.raw, last_seen=excluded.last_seen, sequence=excluded.sequence"
    " WHERE NOT jobs.final AND (excluded.raw <> jobs.raw OR excluded.status <> jobs.status)"
)
_SIGHTING = (
    "INSERT INTO sightings SELECT :service, :origin, :id, :last_seen, :status, :progress WHERE NOT EXISTS"
    " (SELECT 1 FROM sightings WHERE service=:service AND origin=:origin AND id=:id AND status=:status"
    " AND progress IS :progress)"
)


def _row(job: Job, origin: str, moment: int, sequence: int) -> dict[str, Any]:
    submitted = _micro(job.submitted)
    return {
        "service": job.service,
        "origin": origin,
        "id": job.id,
        "action": job.action,
        "status": job.status.value,
        "final": job.status.final,
        "progress": job.progress,
        "subject": job.subject,
        "outputs": "\n".join(job.outputs),
        "buttons": _moves(job.buttons),
        "submitted": submitted,
        "started": _micro(job.started),
        "finished": _micro(job.finished),
        "reason": job.reason,
        "state": job.state,
        "notify_hook": job.notify_hook,
        "parent": job.parent,
        "raw": jsonlib.written(job.raw),
        "first_seen": moment,
        "last_seen": moment,
        "sequence": sequence,
        "button_names": _names(job.buttons),
        "day": (moment if submitted is None else submitted) // DAY,
    }


def _storable(row: dict[str, Any]) -> dict[str, Any]:
    """Half a surrogate pair, which some server's JSON may hold, is no text that a file can keep."""
    for name, value in row.items():
        if isinstance(value, str) and not value.isascii():
            row[name] = value.encode("utf-8", "replace").decode()
    return row


def _moves(buttons: Iterable[Button]) -> str:
    told = [(b.custom_id, b.label, b.emoji, b.pressed) for b in buttons]
    return jsonlib.written(told) if told else ""


def _names(buttons: Iterable[Button]) -> str:
    return ", ".join(button.name for button in buttons)


def _job(row: sqlite3.Row) -> Job:
    told = {
        name: row[name] or ""
        for name in (
            "service",
            "id",
            "action",
            "subject",
            "reason",
            "state",
            "notify_hook",
            "parent",
        )
    }
    return Job(
        **told,
        status=Status(row["status"]),
        progress=row["progress"],
        outputs=tuple((row["outputs"] or "").split()),
        buttons=tuple(Button(*parts) for parts in jsonlib.read(row["buttons"] or "[]")),
        submitted=_time(row["submitted"]),
        started=_time(row["started"]),
        finished=_time(row["finished"]),
        raw=jsonlib.read(row["raw"]) if "raw" in row.keys() else {},  # noqa: SIM118 - a Row's `in` looks at values
    )


def _submission(row: sqlite3.Row) -> Submission:
    told = dict(row) | {
        "params": jsonlib.read(row["params"]),
        "headers": jsonlib.read(row["headers"]),
    }
    del told["origin"]
    return Submission(**told | {"marked": bool(row["marked"])})


def _micro(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - EPOCH) // MICROSECOND


def _time(micro: int | None) -> datetime | None:
    return None if micro is None else EPOCH + micro * MICROSECOND


def _owner() -> str:
    return f"{os.uname().nodename}:{os.getpid()}"


def _alive(owner: str) -> bool:
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
