"""The journal: nothing that was recorded is lost, with any number of writers."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.errors import HistoryError, InvalidRequest, JournalWarning, SettingsError
from jupyter_mjci.history import journal as journal_module
from jupyter_mjci.history import journal_export, journal_rows, journal_schema, submissions
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.journal_export import ColumnExport
from jupyter_mjci.history.journal_frame import load_journal_frame
from jupyter_mjci.history.submissions import Lease
from jupyter_mjci.services.midjourney.api import Midjourney
from tests.processes import start_processes

THEN = datetime(2026, 1, 1, 1, 2, 3, 456789, tzinfo=UTC)
DONE = Job(
    "mj",
    "17",
    "IMAGINE",
    Status.SUCCEEDED,
    100,
    "a {red} fox",
    ("http://a", "http://b"),
    (Button("c::1", "U1"), Button("d", "", "🔄", True)),
    THEN,
    THEN + timedelta(seconds=2),
    THEN + timedelta(seconds=40),
    "",
    "mine",
    "http://hook",
    "16",
    {"id": "17", "odd": [None, {"ä": 1}]},
)
CALL: Call[Job] = Midjourney().imagine("a fox", state="s")


@pytest.fixture(params=["file", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    path = tmp_path / "new" / "journal.db" if request.param == "file" else None
    journal = Journal(path, origins={"mj": "http://p"})
    yield journal
    journal.close()


def test_recorded_job_is_read_back_with_every_field(journal: Journal) -> None:
    """Times to the microsecond, and the service's complete response."""
    journal.record_jobs([DONE], 1.0)
    (back,) = journal.jobs()
    assert back == DONE
    assert back.raw == DONE.raw


def test_fields_missing_in_a_later_response_keep_their_values(journal: Journal) -> None:
    """A poll that returns fewer fields than the submission does not erase them."""
    first = Job("mj", "1", "IMAGINE", subject="a fox", user_data="mine", raw={"a": 1})
    journal.record_jobs([first], 1.0)
    journal.record_jobs([Job("mj", "1", status=Status.RUNNING, progress=31, raw={"a": 2})], 2.0)
    (back,) = journal.jobs()
    assert back == replace(first, status=Status.RUNNING, progress=31)


def test_terminal_job_never_changes_again(journal: Journal) -> None:
    """Webhooks arrive late and out of order."""
    journal.record_jobs([DONE], 1.0)
    journal.record_jobs([replace(DONE, status=Status.RUNNING, progress=62, raw={})], 2.0)
    assert journal.jobs() == [DONE]


def test_each_status_and_progress_is_recorded_once(journal: Journal) -> None:
    """Progress curves need when each step was first seen, not every poll."""
    steps = [
        (Status.QUEUED, None),
        (Status.RUNNING, 15),
        (Status.RUNNING, 15),
        (Status.RUNNING, 31),
        (Status.SUCCEEDED, 100),
    ]
    for at, (status, progress) in enumerate(steps):
        job = Job("mj", "1", status=status, progress=progress, raw={"at": at})
        journal.record_jobs([job], float(at))
    events = [
        (time.timestamp(), status, progress)
        for time, status, progress in journal.status_history("mj", "1")
    ]
    assert events == [
        (0, "QUEUED", None),
        (1, "RUNNING", 15),
        (3, "RUNNING", 31),
        (4, "SUCCEEDED", 100),
    ]


def test_active_jobs_exclude_terminal_waiting_and_foreign_ones(journal: Journal) -> None:
    """Jobs that wait for input and those of another proxy are not followed either."""
    journal.record_jobs(
        [DONE, Job("mj", "1"), Job("mj", "2", status=Status.NEEDS_INPUT), Job("ci", "c1")], 1.0
    )
    assert {job.id for job in journal.active_jobs()} == {"1", "c1"}
    journal.origins["mj"] = "http://another"
    assert {job.id for job in journal.active_jobs()} == {"c1"}


def test_service_is_found_for_jobs_of_the_own_origin(journal: Journal) -> None:
    journal.record_jobs([Job("mj", "1")], 1.0)
    assert journal.find_service("1") == "mj"
    assert journal.find_service("404") == ""
    journal.origins["mj"] = "http://another"
    assert journal.find_service("1") == ""


def test_job_is_found_by_its_id_at_the_own_origin(journal: Journal) -> None:
    """As last seen; where no own job has the ID, one of a service that is not installed."""
    journal.record_jobs([Job("mj", "1", subject="a fox")], 1.0)
    journal.record_jobs([Job("mj", "1", subject="another one", origin="http://q")], 2.0)
    journal.record_jobs([Job("gone", "r1", subject="a hare")], 3.0)
    found = [journal.find_job(job_id) for job_id in ("1", "r1", "404")]
    assert [job and job.subject for job in found] == ["a fox", "a hare", None]


def record(journal: Journal, marker: str, at: float = 1.0, until: float = 10.0) -> Lease:
    lease = Lease(marker, f"owner of {marker}")
    journal.write(
        partial(
            submissions.record,
            call=CALL,
            lease=lease,
            times=(at, until),
            origin=journal.get_origin("mj"),
            has_marker=True,
        )
    )
    return lease


def get_states(journal: Journal) -> dict[str, str]:
    return {row.marker: row.state for row in journal.submissions()}


def test_submission_is_pending_until_accepted(journal: Journal) -> None:
    record(journal, "m1", 5.0)
    (row,) = journal.submissions()
    assert (row.state, row.body, row.path, row.at) == ("pending", CALL.body, CALL.path, 5.0)
    assert (row.is_leased(9.9), row.is_leased(10.0), row.is_settled) == (True, False, False)
    journal.write(partial(submissions.accept, marker="m1", job_id="17", now=7.0))
    (row,) = journal.submissions()
    assert (row.state, row.job_id, row.lease_owner, row.is_settled) == ("accepted", "17", "", True)
    assert [journal.is_claimed("mj", id) for id in ("17", "18")] == [True, False]
    assert journal.unresolved() == []


STATES = ["pending", "accepted", "rejected", "unknown", "forgotten"]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", submissions.TRANSITIONS)
def test_transition_starts_only_from_its_sources(journal: Journal, name: str, state: str) -> None:
    """Every transition from every state, by the table that is in the documentation."""
    lease = record(journal, "m1")
    with journal._transaction() as db:
        db.execute("UPDATE submissions SET state=?", (state,))
        moved = submissions._move(db, name, lease, {"reason": "x"})
    transition = submissions.TRANSITIONS[name]
    assert moved is (state in transition.sources)
    assert get_states(journal) == {"m1": transition.target if moved else state}


@pytest.mark.parametrize("name", ["reject", "lose"])
def test_only_the_holder_of_the_lease_gives_a_submission_up(journal: Journal, name: str) -> None:
    record(journal, "m1")
    write = getattr(submissions, name)
    (moved,) = journal.write(partial(write, lease=Lease("m1", "other"), reason="x", now=1.0))
    assert not moved
    assert get_states(journal) == {"m1": "pending"}


def test_lease_is_taken_once_it_has_expired(journal: Journal) -> None:
    """By one of two; whoever lost it can neither renew it nor give the submission up."""
    first = record(journal, "m1", until=10.0)
    second, third = Lease("m1", "second"), Lease("m1", "third")
    taken = [
        journal.write(partial(submissions.take, lease=lease, now=now, until=now + 10))[0]
        for lease, now in ((second, 9.0), (second, 10.0), (third, 11.0), (second, 11.0))
    ]
    assert taken == [False, True, False, False]
    renewals = [
        journal.write(partial(submissions.renew, lease=lease, until=30.0))[0]
        for lease in (first, second)
    ]
    assert renewals == [False, True]
    assert journal.write(partial(submissions.lose, lease=first, reason="", now=1.0)) == [False]
    assert journal.write(partial(submissions.lose, lease=second, reason="", now=12.0)) == [True]
    assert journal.write(partial(submissions.take, lease=third, now=12.0, until=30.0)) == [True]


def test_job_is_claimed_by_one_submission(journal: Journal) -> None:
    """A guess takes only what is free; what the service said overrides a guess."""
    for marker in ("guess", "late", "told", "dialog"):
        record(journal, marker)

    def accept(marker: str, job_id: str, is_guess: bool) -> bool:
        (accepted,) = journal.write(
            partial(submissions.accept, marker=marker, job_id=job_id, now=2.0, is_guess=is_guess)
        )
        return bool(accepted)

    assert accept("guess", "17", True)
    assert not accept("late", "17", True)
    assert get_states(journal)["late"] == "pending"
    assert accept("told", "17", False)
    assert accept("dialog", "17", False)
    assert get_states(journal) == {
        "guess": "unknown", "late": "pending", "told": "accepted", "dialog": "accepted",
    }  # fmt: skip
    assert not accept("late", "17", True)

    def read_claims(db: sqlite3.Connection) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in db.execute("SELECT job_id, marker, is_guess FROM claims")]

    assert journal.write(read_claims) == [[("17", "told", 0)]]


def test_claim_of_ones_own_job_or_of_none_is_granted(journal: Journal) -> None:
    """As often as it is asked for: a write that must not be lost may be made twice."""
    record(journal, "m1")
    claim = partial(submissions._claim, marker="m1", is_guess=False, now=2.0)
    assert journal.write(*[partial(claim, job_id=job_id) for job_id in ("17", "17", "")]) == [
        True, True, True,
    ]  # fmt: skip
    (accepted,) = journal.write(partial(submissions.accept, marker="m1", job_id="", now=2.0))
    assert accepted
    assert get_states(journal) == {"m1": "accepted"}


def test_forgotten_submission_is_kept_and_no_longer_open(journal: Journal) -> None:
    """Not while a kernel works on it. The service's own word still counts afterwards."""
    lease = record(journal, "mjci-1", until=10.0)
    with pytest.raises(InvalidRequest, match="a kernel is working on it"):
        journal.forget_submission("mjci-1", at=9.0)
    journal.write(partial(submissions.lose, lease=lease, reason="no listing.", now=9.5))
    assert journal.forget_submission("mjci-1", at=9.6).reason == "no listing."
    (row,) = journal.submissions()
    assert (row.state, row.reason) == ("forgotten", "closed by the user; before: no listing.")
    assert row.is_settled
    assert journal.unresolved() == []
    late = Lease("mjci-1", "late")
    assert journal.write(partial(submissions.take, lease=late, now=99.0, until=100.0)) == [False]
    journal.write(partial(submissions.accept, marker="mjci-1", job_id="17", now=99.0))
    assert get_states(journal) == {"mjci-1": "accepted"}


def test_worker_that_stalled_loses_a_forgotten_submission(journal: Journal) -> None:
    """Its lease had expired when the user closed it: nothing is sent again."""
    lease = record(journal, "mjci-1", until=10.0)
    assert journal.forget_submission("mjci-1", at=10.0).state == "pending"
    assert journal.write(partial(submissions.renew, lease=lease, until=30.0)) == [False]
    assert journal.write(partial(submissions.lose, lease=lease, reason="", now=11.0)) == [False]
    assert get_states(journal) == {"mjci-1": "forgotten"}


@pytest.mark.parametrize(
    ("marker", "hint"),
    [
        ("mjci-open-2", "Did you mean mjci-open-1?"),
        ("", "Available: mjci-open-1."),
        ("settled", ""),
    ],
)
def test_only_an_open_submission_is_forgotten(journal: Journal, marker: str, hint: str) -> None:
    record(journal, "mjci-open-1")
    record(journal, "settled")
    journal.write(partial(submissions.accept, marker="settled", job_id="17", now=2.0))
    with pytest.raises(InvalidRequest) as raised:
        journal.forget_submission(marker, at=99.0)
    assert hint in (raised.value.hint or "")
    assert ("Its job is 17." in (raised.value.detail or "")) is (marker == "settled")
    assert get_states(journal) == {"mjci-open-1": "pending", "settled": "accepted"}


def test_key_of_a_forgotten_submission_is_free_again(journal: Journal) -> None:
    """The user's decision is that it created nothing that counts: a study goes on."""
    call = replace(CALL, key="row 1")

    def record_again(marker: str) -> list[bool]:
        write = partial(
            submissions.record, call=call, lease=Lease(marker, "x"), times=(1.0, 2.0), origin="",
            has_marker=True,
        )  # fmt: skip
        return journal.write(write)

    assert (record_again("m1"), record_again("m2")) == ([True], [False])
    journal.forget_submission("m1", at=2.0)
    assert journal.find_by_key(call) is None
    assert record_again("m2") == [True]


def test_job_of_a_key_is_found_as_last_seen(journal: Journal) -> None:
    """What has this key was made: a study shows its job, and does not pay for another."""
    call = replace(CALL, key="row 1")
    assert journal.find_job_by_key(call) is None
    record_pending = partial(
        submissions.record, call=call, lease=Lease("m1", "x"), times=(1.0, 2.0), origin="http://p",
        has_marker=True,
    )  # fmt: skip
    journal.write(record_pending)
    assert journal.find_job_by_key(call) is None
    journal.write(partial(submissions.accept, marker="m1", job_id="17", now=2.0))
    journal.record_jobs([DONE, replace(DONE, id="18")], 3.0)
    assert journal.find_job_by_key(call) == DONE
    assert journal.find_job_by_key(replace(call, key="row 2")) is None


def test_claims_of_another_origin_are_others(journal: Journal) -> None:
    """Ids are unique only there."""
    record(journal, "m1")
    journal.origins["mj"] = "http://another"
    record(journal, "m2")
    for marker in ("m1", "m2"):
        (accepted,) = journal.write(
            partial(submissions.accept, marker=marker, job_id="17", now=2.0, is_guess=True)
        )
        assert accepted
    assert [journal.is_claimed("mj", id) for id in ("17", "18")] == [True, False]


@pytest.fixture
def locked_journal(tmp_path: Path) -> Iterator[tuple[Journal, sqlite3.Connection]]:
    """A journal on disk, and another process's connection that has not locked it yet."""
    journal = Journal(tmp_path / "journal.db")
    journal.jobs()
    other = sqlite3.connect(tmp_path / "journal.db", isolation_level=None)
    yield journal, other
    other.close()
    journal.close()


def test_kept_writes_are_written_in_order_when_the_lock_is_free(
    locked_journal: tuple[Journal, sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user is warned once; the next write takes along what was kept."""
    monkeypatch.setattr(journal_module, "SHORT_TIMEOUT", 0.01)
    journal, other = locked_journal
    record(journal, "m1")
    other.execute("BEGIN IMMEDIATE")
    accept = partial(submissions.accept, marker="m1", job_id="17", now=2.0)
    with pytest.warns(JournalWarning, match=r"cannot be written \(database is locked\)"):
        assert not journal.write_or_defer(accept)
    assert not journal.write_or_defer(partial(journal.upsert_jobs, [Job("mj", "17")], 2.0))
    assert journal.deferred_count == 2
    assert get_states(journal) == {"m1": "pending"}
    other.execute("ROLLBACK")
    journal.set_meta("next", "write")
    assert journal.write_or_defer(partial(journal.upsert_jobs, [Job("mj", "17")], 3.0))
    assert (journal.deferred_count, get_states(journal)) == (0, {"m1": "accepted"})
    assert [job.id for job in journal.jobs()] == ["17"]


def test_close_writes_what_was_kept(
    locked_journal: tuple[Journal, sqlite3.Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "SHORT_TIMEOUT", 0.01)
    journal, other = locked_journal
    other.execute("BEGIN IMMEDIATE")
    with pytest.warns(JournalWarning):
        journal.write_or_defer(partial(journal.upsert_jobs, [Job("mj", "17")], 2.0))
    other.execute("ROLLBACK")
    journal.close()
    assert [job.id for job in journal.jobs()] == ["17"]


def test_damaged_journal_raises_history_error(tmp_path: Path) -> None:
    """Neither reading nor writing lets an error of SQLite out."""
    path = tmp_path / "journal.db"
    journal = Journal(path)
    journal.record_jobs([replace(DONE, id=str(number)) for number in range(300)], 1.0)
    journal.close()
    content = bytearray(path.read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    with pytest.raises(HistoryError, match="cannot be"):
        journal.jobs()
    with pytest.raises(HistoryError, match="cannot be written"):
        journal.record_jobs([replace(DONE, id=str(number)) for number in range(600)], 1.0)


def test_durations_are_those_of_successes(journal: Journal) -> None:
    for number, seconds in enumerate((40, 30, 50)):
        journal.record_jobs(
            [replace(DONE, id=str(number), finished=THEN + timedelta(seconds=seconds))], 1.0
        )
    journal.record_jobs([replace(DONE, id="9", status=Status.FAILED)], 1.0)
    assert journal.durations("mj", "IMAGINE") == [30, 40, 50]
    assert journal.durations("ci", "IMAGINE") == []


def test_metadata_holds_the_last_value(journal: Journal) -> None:
    assert journal.get_meta("sync") == ""
    journal.set_meta("sync", "12")
    journal.set_meta("sync", "13")
    assert journal.get_meta("sync") == "13"


def _write(path: Path, writer: int, rows: int) -> None:
    journal = Journal(path)
    for number in range(rows):
        marker = f"{writer}-{number}"
        record(journal, marker, float(number))
        journal.record_jobs(
            [Job("mj", marker), Job("mj", f"shared-{number}", raw={"by": writer})], float(number)
        )
        journal.write(partial(submissions.accept, marker=marker, job_id=marker, now=1.0))


@pytest.mark.parametrize("writers", [4])
def test_concurrent_processes_lose_no_rows(tmp_path: Path, writers: int) -> None:
    """Own and shared rows, from the creation of the file on: no "database is locked"."""
    path = tmp_path / "journal.db"
    processes = start_processes(_write, [(path, writer, 40) for writer in range(writers)])
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * writers
    journal = Journal(path)
    assert len(journal.submissions()) == writers * 40
    assert all(row.state == "accepted" for row in journal.submissions())
    assert len(journal.jobs()) == writers * 40 + 40
    journal.close()


def test_unwritable_folder_raises_settings_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsError, match="cannot be opened"):
        Journal(tmp_path / "file" / "journal.db").jobs()


def test_newer_schema_raises_settings_error(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 999")
    db.close()
    with pytest.raises(SettingsError, match="newer version"):
        Journal(path).jobs()


def test_committed_rows_survive_a_kill(tmp_path: Path) -> None:
    """What was committed is there after SIGKILL, an open transaction is not."""
    path = tmp_path / "journal.db"
    (process,) = start_processes(_write_and_die, [(path,)])
    process.join(60)
    assert process.exitcode == -9
    journal = Journal(path)
    assert [row.marker for row in journal.unresolved()] == ["sent"]
    assert journal.jobs() == []
    journal.close()


def _write_and_die(path: Path) -> None:
    journal = Journal(path)
    record(journal, "sent")
    with journal._transaction() as db:
        db.execute("INSERT INTO jobs (service, origin, id, sequence) VALUES ('mj', '', '1', 1)")
        os.kill(os.getpid(), signal.SIGKILL)


# --- exports of columns, and changes --------------------------------------------------------------


def test_columns_are_exported_in_chunks(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows in the order first seen; a separator inside a value splits nothing."""
    monkeypatch.setattr(journal_export, "CHUNK_ROWS", 3)
    subjects = ["a", "", "with\x1fseparator", "ä, 红", "\x1f", "e", "a\nb"]
    jobs = [Job("mj", str(number), subject=subject) for number, subject in enumerate(subjects)]
    journal.record_jobs(jobs, 1.0)
    exports = {
        "subject": ColumnExport("subject"),
        "progress": ColumnExport("coalesce(progress, -1)", is_integer=True),
    }
    chunks = list(journal.export_columns(exports))
    assert [chunk.rows for chunk in chunks] == [3, 3, 1]
    values: list[str] = []
    for chunk in chunks:
        column = chunk.columns["subject"]
        values += column if isinstance(column, list) else column.decode().split("\x1f")
    assert values == subjects
    assert [chunk.columns["progress"] for chunk in chunks] == [b"-1,-1,-1", b"-1,-1,-1", b"-1"]


def test_chunks_are_of_one_snapshot(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded between two chunks is not in the second."""
    monkeypatch.setattr(journal_export, "CHUNK_ROWS", 1)
    journal.record_jobs([Job("mj", "1"), Job("mj", "2")], 1.0)
    chunks = journal.export_columns({"status": ColumnExport("status")})
    statuses = [next(chunks).columns["status"]]
    journal.record_jobs([Job("mj", "2", status=Status.FAILED, raw={"new": 1})], 2.0)
    statuses += [chunk.columns["status"] for chunk in chunks]
    assert statuses == [b"QUEUED", b"QUEUED"]


def test_changes_are_counted_from_a_sequence_number(journal: Journal) -> None:
    assert journal.changes_since(0) == (0, 0)
    journal.record_jobs([Job("mj", "1"), Job("mj", "2")], 1.0)
    total, last = journal.changes_since(0)
    assert total == 2
    journal.record_jobs([Job("mj", "1", status=Status.RUNNING), Job("mj", "2")], 2.0)
    assert journal.changes_since(last)[0] == 1


# --- files of earlier schemas ---------------------------------------------------------------------


def test_version_changes_with_every_write_of_any_process(journal: Journal) -> None:
    """And with nothing else."""
    versions = [journal.version()]
    journal.record_jobs([Job("mj", "1", "IMAGINE", Status.RUNNING)], 1.0)
    versions.append(journal.version())
    journal.set_meta("name", "value")
    versions.append(journal.version())
    if journal.path is not None:
        with contextlib.closing(sqlite3.connect(journal.path)) as other, other:
            other.execute("UPDATE jobs SET subject = 'a fox'")
        versions.append(journal.version())
    assert len(set(versions)) == len(versions)
    journal.jobs()
    assert journal.version() == versions[-1]


def test_journal_of_schema_1_is_migrated_in_place(tmp_path: Path) -> None:
    """Old rows get the values of new columns; new rows are written beside them."""
    path = tmp_path / "journal.db"
    write_old_journal(path, 3)
    journal = Journal(path)
    journal.record_jobs([replace(DONE, id="new")], 9.0)
    rows = journal._fetch_rows("SELECT id, button_names, day FROM jobs ORDER BY rowid")
    day = (THEN - journal_rows.EPOCH).days
    assert [tuple(row) for row in rows] == [(id, "U1, 🔄", day) for id in ("0", "1", "2", "new")]
    assert {job.id for job in journal.jobs()} == {"0", "1", "2", "new"}
    assert journal.jobs()[0] == replace(DONE, id="0")
    journal.close()


def test_journal_of_schema_2_is_migrated_to_the_new_names(tmp_path: Path) -> None:
    """Old names of tables, columns and stored values: statuses, submissions, metadata, events."""
    path = tmp_path / "journal.db"
    write_old_journal(path, 1, version=2)
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for number, status in enumerate(("WAITING", "ASKING", "RUNNING"), 2):
            db.execute(
                "INSERT INTO jobs (service, origin, id, status, final, state, notify_hook, raw,"
                " sequence) VALUES ('mj', '', ?, ?, 0, 'mine', 'http://hook', '{}', ?)",
                (status, status, number),
            )
            db.execute("INSERT INTO sightings VALUES ('mj', '', ?, 1, ?, NULL)", (status, status))
        for state in ("leaving", "refused", "accepted", "unknown"):
            db.execute(
                "INSERT INTO submissions VALUES"
                " (?, 'mj', '', 'imagine', 'POST', '/p', 'mj', '{}', '{}', x'7b7d', 1.5, ?, '17',"
                " 'why', 'elsewhere:1', 1)",
                (state, state),
            )
        db.execute("INSERT INTO notes VALUES ('identity', 'abc')")

    journal = Journal(path)
    jobs = {job.id: job for job in journal.jobs(raw=False)}
    assert {id: job.status for id, job in jobs.items() if id != "0"} == {
        "WAITING": Status.QUEUED,
        "ASKING": Status.NEEDS_INPUT,
        "RUNNING": Status.RUNNING,
    }
    assert jobs["WAITING"].user_data == "mine"
    assert jobs["WAITING"].webhook_url == "http://hook"
    assert jobs["0"] == replace(DONE, id="0", raw={})
    assert [job.id for job in journal.active_jobs()] == ["WAITING", "RUNNING"]
    assert journal.status_history("mj", "ASKING")[0][1] is Status.NEEDS_INPUT
    rows = {row.marker: row for row in journal.submissions()}
    assert {marker: row.state for marker, row in rows.items()} == {
        "leaving": "pending",
        "refused": "rejected",
        "accepted": "accepted",
        "unknown": "unknown",
    }
    assert rows["leaving"].endpoint == "mj"
    assert rows["leaving"].has_marker is True
    assert not rows["leaving"].is_leased(0.0)
    assert [journal.is_claimed("mj", id) for id in ("17", "18")] == [True, False]
    assert journal.journal_id == "abc"
    assert list(load_journal_frame(journal)["status"]) == [
        "QUEUED", "NEEDS_INPUT", "RUNNING", "SUCCEEDED",
    ]  # fmt: skip
    journal.close()


def test_migration_reads_the_context_of_stored_responses(tmp_path: Path) -> None:
    """Jobs of services that are not installed, and odd responses, stay without."""
    path = tmp_path / "journal.db"
    write_old_journal(path, 3, version=2)
    responses = ('{"action": "IMAGINE", "botType": "B", "quota": 0.1}', "[]", '{"action": 1}')
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for number, response in enumerate(responses):
            db.execute("UPDATE jobs SET raw = ? WHERE id = ?", (response, str(number)))
        db.execute("UPDATE jobs SET service = 'elsewhere' WHERE id = '2'")
    journal = Journal(path)
    frame = load_journal_frame(journal).set_index("id")
    assert frame.loc["0", ["account", "cost"]].tolist() == ["B", 0.1]
    assert frame.loc[["1", "2"], ["account", "cost", "size_in"]].isna().all(axis=None)
    journal.close()


def test_migrated_and_new_journals_have_the_same_schema(tmp_path: Path) -> None:
    write_old_journal(tmp_path / "old.db", 1)
    schemas = []
    for name in ("old.db", "new.db"):
        journal = Journal(tmp_path / name)
        rows = journal._fetch_rows("SELECT name, sql FROM sqlite_master ORDER BY name")
        schemas.append([tuple(row) for row in rows])
        journal.close()
    assert schemas[0] == schemas[1]


def test_unseen_ends_are_found_by_an_index(journal: Journal) -> None:
    """Each new kernel asks for them; a journal has many claims, and few of them."""
    plan = "EXPLAIN QUERY PLAN SELECT job_id FROM claims WHERE ended_unseen"

    def explain(db: sqlite3.Connection) -> str:
        return str(db.execute(plan).fetchone()["detail"])

    assert "unseen_claims" in journal.write(explain)[0]


def test_relatives_are_of_the_same_server() -> None:
    """Another one gives the same ids to others."""
    journal = Journal(None, origins={"mj": "http://p"})
    parent, child = replace(DONE, id="1", parent=""), replace(DONE, id="2", parent="1")
    foreign = replace(child, id="3", origin="http://another")
    journal.record_jobs([parent, child, foreign], 1.0)
    assert [job.id for job in journal.find_relatives(parent)] == ["2"]
    away = replace(parent, origin="http://another")
    assert [job.id for job in journal.find_relatives(away)] == ["3"]


def test_relatives_are_the_parent_and_what_was_made_of_a_job() -> None:
    """They are found by an index, however long the history is."""
    journal = Journal(None)
    parents = {"1": "", "2": "1", "3": "1", "4": "2", "5": ""}
    jobs = [replace(DONE, id=job_id, parent=parent) for job_id, parent in parents.items()]
    journal.record_jobs([*jobs, replace(DONE, id="9", service="ci", parent="1")], 1.0)
    found = [[job.id for job in journal.find_relatives(each)] for each in jobs]
    assert found == [["2", "3"], ["1", "4"], ["1"], ["2"], []]
    plan = journal._fetch_rows(
        f"EXPLAIN QUERY PLAN SELECT 1 FROM jobs WHERE {journal_module._RELATIVES}",
        ("mj", "", "1", "mj", "", "2"),
    )
    steps = [row["detail"] for row in plan]
    assert any("jobs_by_parent" in step for step in steps)
    assert not any(step.startswith("SCAN") for step in steps)


def write_old_journal(path: Path, rows: int, version: int = 1) -> None:
    """Write a journal as schema 1 (or a later one before 3) had it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN")
        for migrate in journal_schema.MIGRATIONS[:version]:
            migrate(db)
        db.execute(f"PRAGMA user_version = {version}")
        for number in range(rows):
            job = replace(DONE, id=str(number))
            row = journal_rows.job_to_row(job, "", 1_000_000, number + 1)
            for name in journal_rows.CONTEXT:
                del row[name]
            row["state"] = row.pop("user_data")
            row["notify_hook"] = row.pop("webhook_url")
            if version == 1:
                del row["button_names"], row["day"]
            db.execute(journal_rows._build_insert("jobs", row), row)
        db.execute("COMMIT")


def test_corrupt_journal_raises_settings_error_and_is_not_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the file and what to do, and the connection is closed."""
    path = tmp_path / "journal.db"
    path.write_bytes(b"not a database" * 100)
    before = path.read_bytes()
    connections: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def connect_and_remember(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connections.append(connect(*args, **kwargs))
        return connections[-1]

    monkeypatch.setattr(sqlite3, "connect", connect_and_remember)
    with pytest.raises(SettingsError, match=r"journal\.db cannot be opened") as caught:
        Journal(path).jobs()
    assert caught.value.hint
    assert path.read_bytes() == before
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connections[0].execute("SELECT 1")


def test_connection_is_closed_only_in_the_process_that_opened_it() -> None:
    """A fork that ends must not touch its parent's."""
    db = sqlite3.connect(":memory:")
    journal_module._close_connection(db, os.getpid() + 1)
    db.execute("SELECT 1")
    journal_module._close_connection(db, os.getpid())
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        db.execute("SELECT 1")
