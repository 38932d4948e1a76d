"""Create the journal's tables, and migrate a file of any earlier version."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.job import Job
from jupyter_mjci.history.journal_rows import (
    CONTEXT,
    CONTEXT_SIZES,
    CONTEXT_TEXTS,
    DAY_US,
    context_to_row,
    join_button_names,
    load_buttons,
)
from jupyter_mjci.history.ratings import add_ratings
from jupyter_mjci.history.submissions import add_keys, add_leases_and_claims, add_unseen_ends
from jupyter_mjci.services import list_keys
from jupyter_mjci.services import service as find_service


def prepare_database(db: sqlite3.Connection, timeout: float) -> None:
    """Set up WAL and run the outstanding migrations; concurrent processes wait for each other."""
    db.execute(f"PRAGMA busy_timeout = {int(timeout * 1000)}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    if _get_schema_version(db) == len(MIGRATIONS):
        return
    db.execute("BEGIN IMMEDIATE")
    version = _get_schema_version(db)
    if version > len(MIGRATIONS):
        db.rollback()
        raise sqlite3.DatabaseError(f"it was written by a newer version (schema {version})")
    for migrate in MIGRATIONS[version:]:
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
    mark TEXT PRIMARY KEY, service TEXT, origin TEXT, name TEXT, method TEXT, path TEXT,
    plane TEXT, params TEXT, headers TEXT, body BLOB, at REAL, state TEXT, job_id TEXT,
    reason TEXT, owner TEXT, marked INTEGER
);
CREATE INDEX submissions_by_state ON submissions (state);
CREATE TABLE jobs (
    service TEXT, origin TEXT, id TEXT, action TEXT, status TEXT, final INTEGER,
    progress INTEGER, subject TEXT, outputs TEXT, buttons TEXT, submitted INTEGER,
    started INTEGER, finished INTEGER, reason TEXT, state TEXT, notify_hook TEXT, parent TEXT,
    raw TEXT, first_seen INTEGER, last_seen INTEGER, sequence INTEGER,
    PRIMARY KEY (service, origin, id)
);
CREATE INDEX jobs_unfinished ON jobs (service) WHERE NOT final;
CREATE UNIQUE INDEX jobs_by_sequence ON jobs (sequence);
CREATE INDEX jobs_by_time ON jobs (submitted);
CREATE INDEX jobs_by_action ON jobs (service, action, sequence);
CREATE TABLE sightings (
    service TEXT, origin TEXT, id TEXT, at INTEGER, status TEXT, progress INTEGER
);
CREATE INDEX sightings_by_job ON sightings (service, origin, id);
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT)
"""


def _add_button_names_and_day(db: sqlite3.Connection) -> None:
    """Add what frames and lakes need: names of buttons, and a day that never changes."""
    db.create_function("names_of", 1, _read_button_names)
    db.execute("ALTER TABLE jobs ADD COLUMN button_names TEXT")
    db.execute("ALTER TABLE jobs ADD COLUMN day INTEGER")
    db.execute(
        "UPDATE jobs SET button_names = names_of(buttons),"
        f" day = coalesce(submitted, first_seen) / {DAY_US}"
    )


def _read_button_names(stored: str | None) -> str:
    return join_button_names(load_buttons(stored))


def _adopt_field_names(db: sqlite3.Connection) -> None:
    """Rename tables, columns and stored values to the terms that the code uses."""
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


def _add_context(db: sqlite3.Connection) -> None:
    """Add the context of jobs (account, queue, …), as far as their responses tell it."""
    for name in CONTEXT_TEXTS:
        db.execute(f"ALTER TABLE jobs ADD COLUMN {name} TEXT")
    for name in CONTEXT_SIZES:
        db.execute(f"ALTER TABLE jobs ADD COLUMN {name} INTEGER")
    changes = f"UPDATE jobs SET {', '.join(f'{name}=:{name}' for name in CONTEXT)}"
    rows = db.execute("SELECT rowid, service, raw FROM jobs WHERE raw <> '{}'")
    for rowid, key, raw in rows:
        for job in _parse_raw(key, raw):
            db.execute(f"{changes} WHERE rowid=:rowid", {"rowid": rowid, **context_to_row(job)})


def _index_parents(db: sqlite3.Connection) -> None:
    """Find what was made of a job without reading all jobs; most have no parent."""
    db.execute("CREATE INDEX jobs_by_parent ON jobs (service, origin, parent) WHERE parent <> ''")


def _parse_raw(key: str, raw: str) -> Sequence[Job]:
    """Return the job of a stored response; none where nothing parses it."""
    if key not in list_keys():
        return ()
    return find_service(key).parse_record(jsonlib.loads(raw))


# Append only: a file of any version is migrated step by step.
MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _create_schema,
    _add_button_names_and_day,
    _adopt_field_names,
    add_leases_and_claims,
    add_keys,
    _add_context,
    add_ratings,
    _index_parents,
    add_unseen_ends,
)
