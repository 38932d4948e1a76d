"""Store durably what was submitted and what was seen of each job: the only user of sqlite3.

One SQLite file in WAL mode, written by several kernels at the
same time. A submission's row is committed before its request is
sent. Every observation of a job inserts or updates its row in
`jobs`; changes of status or progress are also appended to
`job_events`. Times are integers: microseconds since 1970, UTC.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.private_files import make_private_file, make_private_folder
from jupyter_mjci.errors import (
    HistoryError,
    InvalidRequest,
    JournalWarning,
    MjciError,
    SettingsError,
    suggest,
)
from jupyter_mjci.history import submissions as state_machine
from jupyter_mjci.history.journal_export import ColumnChunk, ColumnExport, export_chunks
from jupyter_mjci.history.journal_rows import (
    EPOCH,
    IMPORT_JOB,
    INSERT_JOB_EVENT,
    JOB_COLUMNS,
    MICROSECOND,
    UPSERT_JOB,
    ImportedJob,
    job_to_row,
    replace_surrogates,
    row_to_job,
    to_microseconds,
)
from jupyter_mjci.history.journal_schema import prepare_database
from jupyter_mjci.history.ratings import Rating, row_to_rating, save_rating
from jupyter_mjci.history.submissions import FIND_BY_KEY, SqlValue, Submission, row_to_submission

# seconds that a writer waits for other kernels
BUSY_TIMEOUT = 30.0
# seconds that a write waits for other kernels where it can be
# repeated: nothing else happens on the event loop meanwhile
SHORT_TIMEOUT = 1.0
# What runs inside a transaction, and may share it with others.
Write = Callable[[sqlite3.Connection], Any]


class Journal:
    """The journal of a session.

    Args:
        path: its file; None keeps it in memory, for as long as
            the session lives
        origins: the server or account of each service, by key:
            job ids are unique only there
        packages: the packages that add services, by key; the
            journal remembers them for sessions without
    """

    def __init__(
        self,
        path: Path | None,
        *,
        origins: Mapping[str, str] | None = None,
        packages: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self._packages = dict(packages or {})
        self.origins = dict(origins or {})
        self._lock = threading.RLock()
        self._pid = 0
        self._connection: sqlite3.Connection | None = None
        self._timeout = BUSY_TIMEOUT
        # Writes that wait until the file can be written.
        self._deferred: list[Write] = []
        _JOURNALS.add(self)

    def _reset_in_child(self) -> None:
        """Forget what a fork has copied: a lock of another thread, and what the parent writes."""
        self._lock = threading.RLock()
        self._deferred = []

    # --- writing ------------------------------------------------

    def write(self, *writes: Write, timeout: float = BUSY_TIMEOUT) -> list[Any]:
        """Run writes in one transaction, after those that were kept, and return their results.

        Args:
            writes: the writes
            timeout: seconds to wait for other kernels

        Raises:
            HistoryError: the file is locked, full or damaged;
                nothing was written
            SettingsError: it cannot be opened
        """
        with self._lock:
            kept = len(self._deferred)
            with self._transaction(timeout) as db:
                for write in self._deferred:
                    write(db)
                results = [write(db) for write in writes]
            del self._deferred[:kept]
        return results

    def write_or_defer(self, *writes: Write) -> bool:
        """Run writes that must not be lost: now, or else with a later write.

        Returns:
            Whether they were written; if not, the user is warned
            once.
        """
        with self._lock:
            if self._deferred:
                # The lock of another process is not waited for
                # again and again.
                self._deferred += writes
                return False
            try:
                self.write(*writes, timeout=SHORT_TIMEOUT)
            except MjciError as error:
                self.defer(error, *writes)
                return False
        return True

    def defer(self, error: MjciError, *writes: Write) -> None:
        """Keep writes that failed, for a later write, and warn the user once."""
        with self._lock:
            if not self._deferred:
                warnings.warn(
                    f"The journal {self.path} cannot be written ({error.detail}). What the "
                    "services answered is kept in memory, and written as soon as possible.",
                    JournalWarning,
                    stacklevel=2,
                )
            self._deferred += writes

    @property
    def deferred_count(self) -> int:
        """How many writes wait until the file can be written."""
        return len(self._deferred)

    # --- submissions --------------------------------------------

    def unresolved(self) -> list[Submission]:
        """Return the submissions whose outcome is not known, oldest first."""
        return self._fetch_submissions("state IN ('pending','unknown')")

    def submissions(self, since: float = 0.0) -> list[Submission]:
        """Return the submissions recorded since a time, in Unix seconds, oldest first."""
        return self._fetch_submissions("at >= ?", (since,))

    def unfinished_submissions(self, since: float) -> list[Submission]:
        """Return the submissions since a time (Unix seconds) whose job runs or is not known."""
        is_active = (
            "EXISTS (SELECT 1 FROM jobs WHERE service=submissions.service"
            " AND origin=submissions.origin AND id=submissions.job_id"
            " AND NOT final AND status <> 'NEEDS_INPUT')"
        )
        return self._fetch_submissions(
            f"at >= ? AND (state IN ('pending','unknown') OR (state='accepted' AND {is_active}))",
            (since,),
        )

    def count_submissions(self, since: float) -> dict[str, int]:
        """Count the submissions recorded since a time, in Unix seconds, by their state."""
        statement = "SELECT state, count(*) AS total FROM submissions WHERE at >= ? GROUP BY state"
        return {row["state"]: row["total"] for row in self._fetch_rows(statement, (since,))}

    def forget_submission(self, marker: str, at: float | None = None) -> Submission:
        """Close a submission of unknown outcome: `resume` searches for it no more.

        Its row stays, in state "forgotten", and becomes accepted
        where the service names its job after all.

        Args:
            marker: its ID, as `%mjci resume` names it
            at: the time, in Unix seconds; now by default

        Returns:
            The submission as it was before.

        Raises:
            InvalidRequest: it does not exist, is settled, or is
                being worked on
        """
        row = self._find_open_submission(marker)
        now = time.time() if at is None else at
        reason = f"closed by the user; before: {row.reason or row.state}"
        (is_closed,) = self.write(
            partial(state_machine.forget, marker=row.marker, reason=reason, now=now)
        )
        if not is_closed:
            raise InvalidRequest(
                f"Submission {row.marker} cannot be closed: a kernel is working on it.",
                hint="Interrupt that cell, or wait: a kernel that died is noticed after seconds.",
            )
        return row

    def _find_open_submission(self, marker: str) -> Submission:
        rows = self._fetch_submissions("marker=?", (marker,))
        if not rows:
            known = [row.marker for row in self.unresolved()]
            hint = suggest(marker, known) if known else "No submission is of unknown outcome."
            raise InvalidRequest(f"There is no submission {marker!r}.", hint=hint)
        row = rows[0]
        if row.is_settled:
            raise InvalidRequest(
                f"Submission {marker} is {row.state} already.",
                detail=f"Its job is {row.job_id}." if row.job_id else row.reason,
                hint="Only a submission of unknown outcome is closed.",
            )
        return row

    def find_by_key(self, call: Call[Any]) -> Submission | None:
        """Return the submission with the key of a call; None where none was sent, or accepted."""
        origin = self.get_origin(call.service)
        rows = self._fetch_rows(FIND_BY_KEY, (call.service, origin, call.key))
        return row_to_submission(rows[0]) if rows else None

    def find_job_by_key(self, call: Call[Any]) -> Job | None:
        """Return the job of the submission with the key of a call, as last seen."""
        row = self.find_by_key(call)
        if row is None or not row.job_id:
            return None
        where = "service=? AND origin=? AND id=?"
        jobs = self.jobs(where, (row.service, row.origin, row.job_id))
        return jobs[0] if jobs else None

    def find_rivals(self, service: str, marker: str) -> list[Submission]:
        """Return the other unresolved submissions to the same origin that carry no marker."""
        return self._fetch_submissions(
            "state IN ('pending','unknown') AND NOT has_marker"
            " AND service=? AND origin=? AND marker<>?",
            (service, self.get_origin(service), marker),
        )

    def is_claimed(self, service: str, job_id: str) -> bool:
        """Return whether a job at this origin belongs to a submission."""
        statement = "SELECT 1 FROM claims WHERE service=? AND origin=? AND job_id=?"
        return bool(self._fetch_rows(statement, (service, self.get_origin(service), job_id)))

    def _fetch_submissions(
        self, where: str, parameters: Sequence[SqlValue] = ()
    ) -> list[Submission]:
        rows = self._fetch_rows(f"SELECT * FROM submissions WHERE {where} ORDER BY at", parameters)
        return [row_to_submission(row) for row in rows]

    # --- jobs ---------------------------------------------------

    def record_jobs(self, jobs: Iterable[Job], at: float) -> None:
        """Record jobs as they were observed.

        Fields that a response leaves out keep their known values,
        and a terminal job never changes again.

        Args:
            jobs: the jobs; those without an id are ignored
            at: when they were observed, in Unix seconds
        """
        identified = [job for job in jobs if job.id]
        if identified:
            self.write(partial(self.upsert_jobs, identified, at))

    def upsert_jobs(self, jobs: Sequence[Job], at: float, db: sqlite3.Connection) -> None:
        """Record jobs inside a transaction; see `record_jobs`."""
        seen_at = int(at * 1_000_000)
        sequence = db.execute("SELECT coalesce(max(sequence), 0) FROM jobs").fetchone()[0]
        for number, job in enumerate(jobs, sequence + 1):
            origin = job.origin or self.get_origin(job.service)
            row = job_to_row(job, origin, seen_at, number)
            replace_surrogates(row)
            if db.execute(UPSERT_JOB, row).rowcount:
                db.execute(INSERT_JOB_EVENT, row)

    def import_jobs(self, jobs: Iterable[ImportedJob], at: float) -> None:
        """Record jobs of a file that another journal was written to.

        What this journal has seen later stays, and so do the
        complete responses, which such files do not have.

        Args:
            jobs: the jobs
            at: the time that counts as seen for those without any
                time, in Unix seconds
        """
        imported = list(jobs)

        def write(db: sqlite3.Connection) -> None:
            sequence = db.execute("SELECT coalesce(max(sequence), 0) FROM jobs").fetchone()[0]
            for number, (job, button_names) in enumerate(imported, sequence + 1):
                known = [time for time in (job.submitted, job.started, job.finished) if time]
                seen_at = to_microseconds(max(known)) if known else int(at * 1_000_000)
                origin = job.origin or self.get_origin(job.service)
                row = job_to_row(job, origin, seen_at or 0, number)
                row["button_names"] = button_names
                replace_surrogates(row)
                db.execute(IMPORT_JOB, row)

        self.write(write)

    def jobs(
        self, where: str = "1", parameters: Sequence[SqlValue] = (), *, raw: bool = True
    ) -> list[Job]:
        """Return jobs as last seen, oldest first.

        Args:
            where: SQL over the columns of `jobs`
            parameters: its parameters
            raw: whether to read `Job.raw`, the largest column
        """
        columns = "*" if raw else ", ".join(JOB_COLUMNS)
        rows = self._fetch_rows(
            f"SELECT {columns} FROM jobs WHERE {where} ORDER BY submitted, sequence", parameters
        )
        return [row_to_job(row) for row in rows]

    def export_columns(
        self,
        exports: Mapping[str, ColumnExport],
        where: str = "1",
        parameters: Sequence[SqlValue] = (),
    ) -> Iterator[ColumnChunk]:
        """Yield columns of `jobs` in chunks of rows, each column of a chunk as one text.

        No Python object is made per cell. Rows come in the order
        in which they were first seen, all chunks from one
        snapshot.

        Args:
            exports: the columns, by name
            where: SQL over the columns of `jobs`
            parameters: its parameters
        """
        if self.path is None:
            # There is only one connection: it must not be held
            # while the chunks are used.
            with self._lock:
                db = self._get_connection()
                chunks = list(export_chunks(db, exports, where, parameters))
            yield from chunks
            return
        # creates and migrates the file, or raises
        self._fetch_rows("SELECT 1")
        db = sqlite3.connect(self.path, timeout=BUSY_TIMEOUT, isolation_level=None)
        try:
            db.execute("BEGIN")
            yield from export_chunks(db, exports, where, parameters)
        finally:
            db.close()

    def changes_since(self, sequence: int, limit: int = -1) -> tuple[int, int]:
        """Count the jobs that are new or changed since a sequence number.

        Args:
            sequence: the sequence number
            limit: count at most so many; -1 counts all

        Returns:
            How many, and the highest sequence number among them.
        """
        newer = "SELECT sequence FROM jobs WHERE sequence > ? ORDER BY sequence LIMIT ?"
        row = self._fetch_rows(
            f"SELECT count(*) AS total, max(sequence) AS last FROM ({newer})", (sequence, limit)
        )[0]
        return row["total"], row["last"] or sequence

    def position(self) -> tuple[int, int]:
        """Return how far the journal has been written, for `count_changes`."""
        (row,) = self._fetch_rows(
            "SELECT coalesce(max(rowid), 0) AS row, coalesce(max(sequence), 0) AS number FROM jobs"
        )
        return row["row"], row["number"]

    def version(self) -> tuple[int, ...]:
        """Return numbers that differ after anything was written, here or by another process.

        They are equal only on one connection: for a cache within
        this process.
        """
        with self._lock:
            (others,) = self._fetch_rows("PRAGMA data_version")
            db = self._get_connection()
            return (id(db), others[0], db.total_changes)

    def count_changes(self, position: tuple[int, int]) -> tuple[int, int]:
        """Count the jobs that are new, and the others that changed, since a position."""
        statement = (
            "SELECT count(*) AS total, coalesce(sum(rowid > ?), 0) AS new"
            " FROM jobs WHERE sequence > ?"
        )
        (row,) = self._fetch_rows(statement, position)
        return row["new"], row["total"] - row["new"]

    def count(self, where: str = "1", parameters: Sequence[SqlValue] = ()) -> int:
        """Count jobs. `where` is SQL over the columns of `jobs`."""
        statement = f"SELECT count(*) AS total FROM jobs WHERE {where}"
        (row,) = self._fetch_rows(statement, parameters)
        return int(row["total"])

    def actions(self, service: str) -> list[str]:
        """Return the actions of a service's known jobs."""
        rows = self._fetch_rows(
            "SELECT DISTINCT action FROM jobs WHERE service = ? AND action <> '' ORDER BY 1",
            (service,),
        )
        return [row["action"] for row in rows]

    def services(self) -> list[str]:
        """Return the keys of the services that have known jobs."""
        rows = self._fetch_rows(_LIST_SERVICES)
        return [row["service"] for row in rows]

    def own_jobs(self, service: str) -> list[Job]:
        """Return a service's jobs of this session's own origin, oldest first."""
        return self.jobs("service=? AND origin=?", (service, self.get_origin(service)))

    def find_service(self, job_id: str) -> str:
        """Return the service of a job of this session's own origins; "" where it is unknown."""
        # One look-up per service: only with it does the primary
        # key serve as index.
        own = "SELECT service FROM jobs WHERE service=? AND origin=? AND id=?"
        for service, origin in self.origins.items():
            if self._fetch_rows(own, (service, origin, job_id)):
                return service
        # A job of a service that is not installed is still its
        # own: the form of its ID may be another one's, too.
        for service in self.services():
            foreign = service not in self.origins
            if foreign and self.jobs("service=? AND id=?", (service, job_id), raw=False):
                return service
        return ""

    def find_job(self, job_id: str) -> Job | None:
        """Return a job by its ID, as last seen; None where `find_service` does not know it."""
        service = self.find_service(job_id)
        jobs = self.jobs("service=? AND id=?", (service, job_id)) if service else []
        own = [job for job in jobs if job.origin == self.get_origin(service)]
        return next(reversed(own or jobs), None)

    def get_package(self, service: str) -> str:
        """Return the package that added a service when the journal was written; "" if unknown."""
        return self.get_meta(f"package {service}")

    def active_jobs(self) -> list[Job]:
        """Return jobs of this session's own origins that were not terminal when last seen.

        Jobs that wait for the user's input are left out.
        """
        condition, parameters = self._build_own_condition()
        return self.jobs(f"NOT final AND status <> 'NEEDS_INPUT' AND {condition}", parameters)

    def waiting_jobs(self) -> list[Job]:
        """Return jobs of this session's own origins that wait for the user's input."""
        condition, parameters = self._build_own_condition()
        return self.jobs(f"NOT final AND status = 'NEEDS_INPUT' AND {condition}", parameters)

    def unseen_jobs(self) -> list[Job]:
        """Return the submitted jobs that ended while nobody followed them, the latest first."""
        condition, parameters = self._build_own_condition()
        unseen = "SELECT service, origin, job_id FROM claims WHERE ended_unseen"
        where = f"final AND (service, origin, id) IN ({unseen}) AND {condition}"
        return self.jobs(where, parameters)[::-1]

    def mark_unseen(self, jobs: Iterable[Job], db: sqlite3.Connection) -> None:
        """Mark jobs that end now while nobody follows them, before their end is recorded."""
        state_machine.mark_unseen(db, map(self._get_key, jobs))

    def mark_seen(self, jobs: Iterable[Job], db: sqlite3.Connection) -> None:
        """Note that the end of jobs was shown."""
        state_machine.mark_seen(db, map(self._get_key, jobs))

    def _get_key(self, job: Job) -> tuple[str, str, str]:
        return job.service, job.origin or self.get_origin(job.service), job.id

    def find_relatives(self, job: Job) -> list[Job]:
        """Return the job that a job was made of, and those made of it, oldest first."""
        origin = job.origin or self.get_origin(job.service)
        place = (job.service, origin)
        return self.jobs(_RELATIVES, (*place, job.parent, *place, job.id))

    def jobs_with_outputs(self, limit: int) -> list[Job]:
        """Return the latest jobs of this session's own origins that have outputs.

        They come oldest first, without `raw`, and at most `limit`
        of them.
        """
        condition, parameters = self._build_own_condition()
        latest = (
            f"SELECT rowid FROM jobs WHERE outputs <> '' AND {condition}"
            " ORDER BY submitted DESC LIMIT ?"
        )
        return self.jobs(f"rowid IN ({latest})", (*parameters, limit), raw=False)

    def status_history(
        self, service: str, job_id: str
    ) -> list[tuple[datetime, Status, int | None]]:
        """Return when each status and progress of a job was first seen."""
        rows = self._fetch_rows(
            "SELECT at, status, progress FROM job_events"
            " WHERE service=? AND origin=? AND id=? ORDER BY at, rowid",
            (service, self.get_origin(service), job_id),
        )
        return [
            (EPOCH + row["at"] * MICROSECOND, Status(row["status"]), row["progress"])
            for row in rows
        ]

    def durations(self, service: str, action: str, limit: int = 200) -> list[float]:
        """Return how long the latest successes of an action took, in seconds, ascending."""
        rows = self._fetch_rows(
            "SELECT (finished - submitted) / 1e6 AS seconds FROM jobs"
            " WHERE service=? AND action=? AND status='SUCCEEDED' AND finished > submitted"
            " ORDER BY sequence DESC LIMIT ?",
            (service, action, limit),
        )
        return sorted(row["seconds"] for row in rows)

    # --- ratings ------------------------------------------------

    def rate(self, rating: Rating) -> None:
        """Keep a rating, in place of an earlier one of the same picture."""
        self.write(partial(save_rating, rating))

    def ratings(self) -> list[Rating]:
        """Return all ratings, those of a job together."""
        return [row_to_rating(row) for row in self._fetch_rows("SELECT * FROM ratings")]

    def find_rating(self, job: Job, picture: int) -> Rating:
        """Return the rating of a picture; one that says nothing where there is none."""
        key = (job.service, job.origin or self.get_origin(job.service), job.id, picture)
        where = "service=? AND origin=? AND id=? AND picture=?"
        rows = self._fetch_rows(f"SELECT * FROM ratings WHERE {where}", key)
        return row_to_rating(rows[0]) if rows else Rating(*key)

    # --- metadata (how far a sync came) -------------------------

    def get_meta(self, name: str) -> str:
        """Return a stored value; "" where there is none."""
        rows = self._fetch_rows("SELECT value FROM metadata WHERE name=?", (name,))
        return str(rows[0]["value"]) if rows else ""

    def set_meta(self, name: str, value: str) -> None:
        """Store a value under a name."""
        statement = (
            "INSERT INTO metadata VALUES (?,?) ON CONFLICT DO UPDATE SET value=excluded.value"
        )
        self.write(lambda db: db.execute(statement, (name, value)))

    @cached_property
    def journal_id(self) -> str:
        """The name of this journal in the lakes that it is merged into, chosen once."""
        known = self.get_meta("identity")
        if known:
            return known
        # Another process may choose it at the same time: the
        # first row counts.
        with self._transaction() as db:
            db.execute(
                "INSERT INTO metadata VALUES ('identity', ?) ON CONFLICT DO NOTHING", (uuid4().hex,)
            )
        return self.get_meta("identity")

    def close(self) -> None:
        """Close the file, after writing what was kept. A journal in memory stays readable."""
        with self._lock:
            self._write_deferred()
            if self._connection is not None and self._pid == os.getpid() and self.path is not None:
                self._connection.close()
                self._connection = None

    def _write_deferred(self) -> None:
        """Write what was kept; where that fails to the end, say what is lost."""
        try:
            if self._deferred:
                self.write()
        except MjciError as error:
            warnings.warn(
                f"{len(self._deferred)} records could not be written to {self.path} "
                f"({error.detail}). %mjci resume looks for the jobs of its submissions.",
                JournalWarning,
                stacklevel=3,
            )

    # --- the file -----------------------------------------------

    def get_origin(self, service: str) -> str:
        """Return the server or account of a service that this session uses."""
        return self.origins.get(service, "")

    def _build_own_condition(self) -> tuple[str, list[str]]:
        """Return SQL that holds for jobs of this session's own origins, and its parameters."""
        cases = " WHEN ? THEN ?" * len(self.origins)
        condition = f"origin = CASE service WHEN '' THEN ''{cases} ELSE '' END"
        return condition, [text for pair in self.origins.items() for text in pair]

    def _fetch_rows(self, statement: str, parameters: Sequence[SqlValue] = ()) -> list[sqlite3.Row]:
        with self._lock:
            db = self._get_connection()
            try:
                return db.execute(statement, parameters).fetchall()
            except sqlite3.DatabaseError as error:
                raise HistoryError(
                    f"The journal {self.path or 'in memory'} cannot be read.", detail=str(error)
                ) from error

    @contextmanager
    def _transaction(self, timeout: float = BUSY_TIMEOUT) -> Iterator[sqlite3.Connection]:
        """Run a transaction, and commit it.

        IMMEDIATE: a deferred one that turns from reading to
        writing fails at once where another process writes,
        instead of waiting.
        """
        with self._lock:
            db = self._get_connection(timeout)
            try:
                if timeout != self._timeout:
                    db.execute(f"PRAGMA busy_timeout = {int(timeout * 1000)}")
                    self._timeout = timeout
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.commit()
            except BaseException as error:
                if db.in_transaction:
                    db.rollback()
                if isinstance(error, sqlite3.DatabaseError):
                    raise self._build_write_error(error) from error
                raise

    def _build_write_error(self, error: sqlite3.DatabaseError) -> HistoryError:
        return HistoryError(
            f"The journal {self.path} cannot be written.",
            detail=str(error),
            hint="Free disk space, or set MJCI_HOME to another folder. No recorded job is lost.",
        )

    def _get_connection(self, timeout: float = BUSY_TIMEOUT) -> sqlite3.Connection:
        """Return the connection of this process: it must not be used across a fork."""
        if self._connection is None or self._pid != os.getpid():
            self._connection = self._connect(timeout)
            self._timeout = timeout
            self._pid = os.getpid()
            # A connection that is collected open raises a
            # ResourceWarning.
            weakref.finalize(self, _close_connection, self._connection, self._pid)
        return self._connection

    def _connect(self, timeout: float) -> sqlite3.Connection:
        try:
            if self.path is not None:
                make_private_folder(self.path.parent)
                # SQLite gives its other files the same mode.
                make_private_file(self.path)
            db = sqlite3.connect(
                self.path or ":memory:",
                timeout=timeout,
                isolation_level=None,
                check_same_thread=False,
            )
            db.row_factory = sqlite3.Row
            try:
                prepare_database(db, timeout)
                for service, package in self._packages.items():
                    db.execute(_REMEMBER_PACKAGE, (f"package {service}", package))
            except BaseException:
                db.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise SettingsError(
                f"The journal {self.path} cannot be opened.",
                detail=str(error),
                hint="Set MJCI_HOME to a writable folder.",
            ) from error
        return db


_JOURNALS = weakref.WeakSet[Journal]()


def _reset_journals_in_child() -> None:
    for journal in list(_JOURNALS):
        journal._reset_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_journals_in_child)


_REMEMBER_PACKAGE = (
    "INSERT INTO metadata VALUES (?,?) ON CONFLICT DO UPDATE SET value=excluded.value"
    " WHERE value<>excluded.value"
)
# Steps from key to key in the index; DISTINCT would read all of it.
_LIST_SERVICES = """
WITH RECURSIVE keys(service) AS (
    SELECT min(service) FROM jobs
    UNION ALL
    SELECT (SELECT min(service) FROM jobs WHERE service > keys.service)
    FROM keys WHERE keys.service IS NOT NULL
)
SELECT service FROM keys WHERE service IS NOT NULL
"""
# The condition on the parent is that of its index.
_RELATIVES = """rowid IN (
    SELECT rowid FROM jobs WHERE service=? AND origin=? AND id=?
    UNION SELECT rowid FROM jobs WHERE service=? AND origin=? AND parent=? AND parent <> '')
"""


def _close_connection(db: sqlite3.Connection, pid: int) -> None:
    """Close a connection in the process that opened it: a fork must not touch it."""
    if pid == os.getpid():
        db.close()


def is_locked(error: HistoryError) -> bool:
    """Return whether only another process's lock kept a write from being done."""
    code = getattr(error.__cause__, "sqlite_errorcode", 0)
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
