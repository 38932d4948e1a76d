"""The state machine of a submission: each transition is one transaction of the journal.

    record   –                           → pending    before the request leaves; with a lease
    take     pending, unknown            → pending    the lease has expired: another worker goes on
    accept   any but accepted            → accepted   the service named the job, or it was found
    reject   pending                     → rejected   a definite no, or certainly not received
    lose     pending                     → unknown    the worker gives up; `resume` looks again
    revoke   accepted                    → unknown    the job was a guess, and is another one's
    forget   pending, unknown            → forgotten  the user closes it; nobody works on it

A row is worked on by whoever holds its lease: an owner and a
deadline, set by compare-and-swap and renewed while the work goes
on. No process and no machine is asked whether it still lives. A
job belongs to one submission, by the unique key of `claims`.

Every function here runs inside a transaction that its caller
opens, so that several of them can share one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.calls import Call

SqlValue = str | int | float | bytes | None


class SubmissionState(StrEnum):
    """What is known of a submission."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    FORGOTTEN = "forgotten"


PENDING, ACCEPTED, REJECTED, UNKNOWN, FORGOTTEN = SubmissionState


@dataclass(frozen=True, slots=True)
class Transition:
    """A transition of the state machine.

    Args:
        sources: the states that it may start from
        target: the state it leads to
        needs_lease: whether only the holder of the lease may make
            it; the service's own word needs none
    """

    sources: tuple[SubmissionState, ...]
    target: SubmissionState
    needs_lease: bool = True


# The submission with a key, unless it was rejected or forgotten.
FIND_BY_KEY = (
    "SELECT * FROM submissions WHERE service=? AND origin=? AND key=? AND key<>''"
    " AND state NOT IN ('rejected','forgotten')"
)

TRANSITIONS: Mapping[str, Transition] = {
    "take": Transition((PENDING, UNKNOWN), PENDING, needs_lease=False),
    "accept": Transition((PENDING, UNKNOWN, REJECTED, FORGOTTEN), ACCEPTED, needs_lease=False),
    "reject": Transition((PENDING,), REJECTED),
    "lose": Transition((PENDING,), UNKNOWN),
    "revoke": Transition((ACCEPTED,), UNKNOWN, needs_lease=False),
    "forget": Transition((PENDING, UNKNOWN), FORGOTTEN, needs_lease=False),
}

# Nobody works on the row.
_IS_FREE = "(lease_owner = '' OR lease_until <= :now)"


@dataclass(frozen=True, slots=True)
class Submission:
    """A request that may be sent only once.

    Args:
        marker: identifies the submission, and the job where the
            service kept it
        service: key of the service
        origin: the server or account that it was sent to
        name: name of the builder
        method: HTTP method
        path: path of the request
        endpoint: which of the service's endpoints it goes to
        params: query parameters
        headers: headers
        body: body
        at: when it was recorded, in Unix seconds of the session's
            clock
        state: pending, accepted, rejected, unknown or forgotten
        job_id: the job that was created, where it was accepted
        reason: why it was rejected or closed, or why the outcome
            is unknown
        has_marker: whether the body carries the marker
        lease_owner: who works on it; "" for nobody
        lease_until: until when, in Unix seconds; where nobody
            works on it, since when
        key: identifies it to whoever built it, "" where nothing
            does: see `Call.key`
    """

    marker: str
    service: str
    origin: str
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
    has_marker: bool
    lease_owner: str
    lease_until: float
    key: str

    @property
    def is_settled(self) -> bool:
        return self.state in (ACCEPTED, REJECTED, FORGOTTEN)

    def describe(self, now: float) -> str:
        """Return one line that names it and says why its outcome is not known."""
        moment = datetime.fromtimestamp(self.at, UTC)
        state = f"unknown: {self.reason}" if self.state == UNKNOWN else "not searched for yet."
        if self.is_leased(now):
            state = "another kernel is working on it."
        where = f" at {self.origin}" if self.origin else ""
        return f"{self.name} of {moment:%Y-%m-%d %H:%M} UTC{where} ({self.marker}): {state}"

    def is_leased(self, now: float) -> bool:
        """Return whether somebody works on it."""
        return bool(self.lease_owner) and self.lease_until > now


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to work on a submission.

    Args:
        marker: the submission
        owner: who holds the right; unique to one piece of work
    """

    marker: str
    owner: str


def record(
    db: sqlite3.Connection,
    call: Call[Any],
    lease: Lease,
    times: tuple[float, float],
    origin: str,
    has_marker: bool,
) -> bool:
    """Insert the row of a submission that is about to be sent.

    Returns False, and inserts nothing, where one with the same
    key was neither rejected nor forgotten.

    Args:
        db: the connection, in a transaction
        call: the submission
        lease: the lease of who sends it
        times: when it is recorded, and until when it is leased,
            in Unix seconds
        origin: the server or account that it is sent to
        has_marker: whether the body carries the marker
    """
    if call.key and db.execute(FIND_BY_KEY, (call.service, origin, call.key)).fetchone():
        return False
    row: dict[str, SqlValue] = {
        "marker": lease.marker,
        "service": call.service,
        "origin": origin,
        "name": call.name,
        "method": call.method,
        "path": call.path,
        "endpoint": call.endpoint,
        "params": jsonlib.dumps(call.params),
        "headers": jsonlib.dumps(call.headers),
        "body": call.body,
        "at": times[0],
        "state": PENDING,
        "job_id": "",
        "reason": "",
        "has_marker": has_marker,
        "lease_owner": lease.owner,
        "lease_until": times[1],
        "key": call.key,
    }
    values = ", ".join(f":{name}" for name in row)
    db.execute(f"INSERT INTO submissions ({', '.join(row)}) VALUES ({values})", row)
    return True


def release_key(db: sqlite3.Connection, marker: str) -> None:
    """Take the key from a submission whose job is no result, so that another one may have it."""
    db.execute("UPDATE submissions SET key='' WHERE marker=?", (marker,))


def take(db: sqlite3.Connection, lease: Lease, now: float, until: float) -> bool:
    """Lease a row that nobody works on; return whether that succeeded."""
    changes: dict[str, SqlValue] = {"lease_owner": lease.owner, "lease_until": until}
    return _move(db, "take", lease, changes, _IS_FREE, {"now": now})


def renew(db: sqlite3.Connection, lease: Lease, until: float) -> bool:
    """Move the deadline of a lease; return False where it is lost, or the work is done."""
    statement = (
        "UPDATE submissions SET lease_until=? WHERE marker=? AND lease_owner=? AND state='pending'"
    )
    return db.execute(statement, (until, lease.marker, lease.owner)).rowcount > 0


def accept(
    db: sqlite3.Connection, marker: str, job_id: str, now: float, *, is_guess: bool = False
) -> bool:
    """Record that a submission created a job, and claim the job for it.

    Args:
        db: the connection, in a transaction
        marker: the submission
        job_id: the job
        now: the time, in Unix seconds
        is_guess: the job was found by what it looks like; then it
            is taken only where no other submission has it

    Returns:
        False where a guess was wrong: the job is another
        submission's.
    """
    lease = Lease(marker, "")
    if not _claim(db, marker, job_id, is_guess, now) and is_guess:
        return False
    changes: dict[str, SqlValue] = {"job_id": job_id, "reason": ""}
    _move(db, "accept", lease, {**changes, **_build_release(now)})
    return True


def reject(db: sqlite3.Connection, lease: Lease, reason: str, now: float) -> bool:
    """Record that a submission certainly created no job."""
    return _move(db, "reject", lease, {"reason": reason, **_build_release(now)})


def lose(db: sqlite3.Connection, lease: Lease, reason: str, now: float) -> bool:
    """Record that it is unknown what became of a submission, and let others look."""
    return _move(db, "lose", lease, {"reason": reason, **_build_release(now)})


def forget(db: sqlite3.Connection, marker: str, reason: str, now: float) -> bool:
    """Close a submission by the user's decision, unless somebody works on it."""
    changes: dict[str, SqlValue] = {"reason": reason, **_build_release(now)}
    return _move(db, "forget", Lease(marker, ""), changes, _IS_FREE, {"now": now})


def _claim(db: sqlite3.Connection, marker: str, job_id: str, is_guess: bool, now: float) -> bool:
    """Claim a job for a submission.

    What the service said overrides a guess. Where it named the
    same job for two submissions (it existed already, or a dialog
    of it was filled in), the first one keeps the claim.
    """
    row = db.execute("SELECT service, origin FROM submissions WHERE marker=?", (marker,)).fetchone()
    if row is None or not job_id:
        return True
    key = (row["service"], row["origin"], job_id)
    added = db.execute(
        "INSERT INTO claims (service, origin, job_id, marker, is_guess) VALUES (?,?,?,?,?)"
        " ON CONFLICT DO NOTHING",
        (*key, marker, is_guess),
    )
    if added.rowcount:
        return True
    where = "service=? AND origin=? AND job_id=?"
    holder = db.execute(f"SELECT marker, is_guess FROM claims WHERE {where}", key).fetchone()
    if holder["marker"] == marker:
        return True
    if is_guess or not holder["is_guess"]:
        return False
    reason = f"job {job_id}, which looked like its own, is that of another submission."
    changes: dict[str, SqlValue] = {"job_id": "", "reason": reason}
    _move(db, "revoke", Lease(holder["marker"], ""), {**changes, **_build_release(now)})
    db.execute(f"UPDATE claims SET marker=?, is_guess=0 WHERE {where}", (marker, *key))
    return True


def _build_release(now: float) -> dict[str, SqlValue]:
    """Return the columns of a row whose lease ends now."""
    return {"lease_owner": "", "lease_until": now}


def _move(
    db: sqlite3.Connection,
    name: str,
    lease: Lease,
    changes: Mapping[str, SqlValue],
    condition: str = "1",
    parameters: Mapping[str, SqlValue] | None = None,
) -> bool:
    """Make a transition where the row is in one of its sources; return whether it was."""
    transition = TRANSITIONS[name]
    states = ", ".join(f"'{state}'" for state in transition.sources)
    if transition.needs_lease:
        condition = f"{condition} AND lease_owner = :held_by"
    assignments = ", ".join(f"{column}=:{column}" for column in changes)
    statement = (
        f"UPDATE submissions SET state=:state, {assignments}"
        f" WHERE marker=:marker AND state IN ({states}) AND {condition}"
    )
    values: dict[str, SqlValue] = {
        **changes,
        **(parameters or {}),
        "state": transition.target,
        "marker": lease.marker,
        "held_by": lease.owner,
    }
    _replace_surrogates(values)
    return db.execute(statement, values).rowcount > 0


def _replace_surrogates(values: dict[str, SqlValue]) -> None:
    """Replace lone surrogates, which a service's words may hold and UTF-8 cannot encode."""
    for name, value in values.items():
        if isinstance(value, str) and not value.isascii():
            values[name] = value.encode("utf-8", "replace").decode()


def mark_unseen(db: sqlite3.Connection, jobs: Iterable[tuple[str, str, str]]) -> None:
    """Mark submitted jobs that end now, where nobody looks: by service, origin and ID.

    It has to precede the write that records the end.
    """
    key = "service=? AND origin=? AND {}=?"
    was_active = f"EXISTS (SELECT 1 FROM jobs WHERE {key.format('id')} AND NOT final)"
    statement = f"UPDATE claims SET ended_unseen=1 WHERE {key.format('job_id')} AND {was_active}"
    db.executemany(statement, [(*job, *job) for job in jobs])


def mark_seen(db: sqlite3.Connection, jobs: Iterable[tuple[str, str, str]]) -> None:
    """Take the mark from jobs that were shown: by service, origin and ID."""
    statement = "UPDATE claims SET ended_unseen=0 WHERE service=? AND origin=? AND job_id=?"
    db.executemany(statement, jobs)


def row_to_submission(row: sqlite3.Row) -> Submission:
    """Return a row of the table as a record."""
    fields = dict(row)
    fields["params"] = jsonlib.loads(row["params"])
    fields["headers"] = jsonlib.loads(row["headers"])
    fields["has_marker"] = bool(row["has_marker"])
    return Submission(**fields)


# --- schema -----------------------------------------------------


def add_leases_and_claims(db: sqlite3.Connection) -> None:
    """Replace the process that handled a submission by a lease, and claim each job once."""
    for statement in _LEASES_AND_CLAIMS.split(";"):
        db.execute(statement)


_LEASES_AND_CLAIMS = """
ALTER TABLE submissions DROP COLUMN owner;
ALTER TABLE submissions ADD COLUMN lease_owner TEXT NOT NULL DEFAULT '';
ALTER TABLE submissions ADD COLUMN lease_until REAL NOT NULL DEFAULT 0;
UPDATE submissions SET lease_until = at;
CREATE TABLE claims (
    service TEXT, origin TEXT, job_id TEXT, marker TEXT, is_guess INTEGER,
    PRIMARY KEY (service, origin, job_id)
) WITHOUT ROWID;
INSERT INTO claims SELECT service, origin, job_id, marker, NOT has_marker FROM submissions
    WHERE state = 'accepted' AND job_id <> '' ORDER BY at ON CONFLICT DO NOTHING
"""


def add_unseen_ends(db: sqlite3.Connection) -> None:
    """Add which jobs ended while nobody followed them, and an index for what is submitted a day."""
    db.execute("ALTER TABLE claims ADD COLUMN ended_unseen INTEGER NOT NULL DEFAULT 0")
    db.execute("CREATE INDEX unseen_claims ON claims (ended_unseen) WHERE ended_unseen")
    db.execute("CREATE INDEX submissions_by_time ON submissions (at, state)")


def add_keys(db: sqlite3.Connection) -> None:
    """Add what identifies a submission to whoever built it."""
    db.execute("ALTER TABLE submissions ADD COLUMN key TEXT NOT NULL DEFAULT ''")
    db.execute("CREATE INDEX submissions_by_key ON submissions (key) WHERE key <> ''")
