"""The durable journal: nothing seen is lost, by any number of writers."""

from __future__ import annotations

import multiprocessing
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.errors import SettingsError
from jupyter_mjci.history import journal as room
from jupyter_mjci.history.journal import ColumnExport, Journal
from jupyter_mjci.services.midjourney.api import Midjourney

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
    made = Journal(
        tmp_path / "new" / "journal.db" if request.param == "file" else None,
        origins={"mj": "http://p"},
    )
    yield made
    made.close()


def test_a_job_comes_back_whole(journal: Journal) -> None:
    """Every field of the record, its times to the microsecond, and the service's complete
    answer.
    """
    journal.record_jobs([DONE], 1.0)
    (back,) = journal.jobs()
    assert back == DONE
    assert back.raw == DONE.raw


def test_what_an_answer_leaves_out_stays_known(journal: Journal) -> None:
    """A poll that tells less than the submission does not wipe it out."""
    first = Job("mj", "1", "IMAGINE", subject="a fox", user_data="mine", raw={"a": 1})
    journal.record_jobs([first], 1.0)
    journal.record_jobs([Job("mj", "1", status=Status.RUNNING, progress=31, raw={"a": 2})], 2.0)
    (back,) = journal.jobs()
    assert back == replace(first, status=Status.RUNNING, progress=31)


def test_an_ended_job_never_moves_again(journal: Journal) -> None:
    """Callbacks come late and in disorder."""
    journal.record_jobs([DONE], 1.0)
    journal.record_jobs([replace(DONE, status=Status.RUNNING, progress=62, raw={})], 2.0)
    assert journal.jobs() == [DONE]


def test_sightings_are_kept_once_each(journal: Journal) -> None:
    """Progress curves need when each step was first seen, not every poll."""
    for at, (status, progress) in enumerate(
        [
            (Status.QUEUED, None),
            (Status.RUNNING, 15),
            (Status.RUNNING, 15),
            (Status.RUNNING, 31),
            (Status.SUCCEEDED, 100),
        ]
    ):
        journal.record_jobs(
            [Job("mj", "1", status=status, progress=progress, raw={"at": at})], float(at)
        )
    told = [
        (moment.timestamp(), status, progress)
        for moment, status, progress in journal.status_history("mj", "1")
    ]
    assert told == [
        (0, "QUEUED", None),
        (1, "RUNNING", 15),
        (3, "RUNNING", 31),
        (4, "SUCCEEDED", 100),
    ]


def test_unfinished_jobs_are_those_worth_following(journal: Journal) -> None:
    """Not the ended ones, nor those that wait for a person, nor another proxy's."""
    journal.record_jobs(
        [DONE, Job("mj", "1"), Job("mj", "2", status=Status.NEEDS_INPUT), Job("ci", "c1")], 1.0
    )
    assert {job.id for job in journal.active_jobs()} == {"1", "c1"}
    journal.origins["mj"] = "http://another"
    assert {job.id for job in journal.active_jobs()} == {"c1"}


def test_a_submission_is_written_before_and_settled_after(journal: Journal) -> None:
    journal.record_submission(CALL, "m1", 5.0, has_marker=False)
    (left,) = journal.submissions()
    assert (left.state, left.body, left.path, left.at, left.has_marker) == (
        "pending",
        CALL.body,
        CALL.path,
        5.0,
        False,
    )
    journal.resolve("m1", "accepted", job_id="17")
    assert journal.accepted_job_ids("mj") == {"17"}
    assert journal.unresolved() == []


def test_submissions_of_the_living_are_left_to_them(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of another process that still runs is not taken over; a dead one's, and an unknown one,
    are.
    """
    for mark, owner in (("mine", ""), ("alive", "1"), ("dead", "999999999")):
        pid = room.os.getpid() if not owner else int(owner)
        monkeypatch.setattr(room, "_get_owner", lambda pid=pid: f"{room.os.uname().nodename}:{pid}")
        journal.record_submission(CALL, mark, 1.0, has_marker=True)
    assert {one.marker for one in journal.unresolved()} == {"mine", "dead"}
    journal.resolve("alive", "unknown", reason="no answer")
    assert {one.marker for one in journal.unresolved()} == {"mine", "dead", "alive"}


def test_durations_are_learned_from_successes(journal: Journal) -> None:
    for number, seconds in enumerate((40, 30, 50)):
        journal.record_jobs(
            [replace(DONE, id=str(number), finished=THEN + timedelta(seconds=seconds))], 1.0
        )
    journal.record_jobs([replace(DONE, id="9", status=Status.FAILED)], 1.0)
    assert journal.durations("mj", "IMAGINE") == [30, 40, 50]
    assert journal.durations("ci", "IMAGINE") == []


def test_notes(journal: Journal) -> None:
    assert journal.note("sync") == ""
    journal.note("sync", "12")
    journal.note("sync", "13")
    assert journal.note("sync") == "13"


def _write(path: Path, writer: int, rows: int) -> None:
    journal = Journal(path)
    for number in range(rows):
        mark = f"{writer}-{number}"
        journal.record_submission(CALL, mark, float(number), has_marker=True)
        journal.record_jobs(
            [Job("mj", mark), Job("mj", f"shared-{number}", raw={"by": writer})], float(number)
        )
        journal.resolve(mark, "accepted", job_id=mark)


@pytest.mark.parametrize("writers", [4])
def test_several_kernels_at_once_lose_nothing(tmp_path: Path, writers: int) -> None:
    """Four processes, own and shared rows, from the creation of the file on: no "database is
    locked".
    """
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "journal.db"
    processes = [
        context.Process(target=_write, args=(path, writer, 40)) for writer in range(writers)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * writers
    journal = Journal(path)
    assert len(journal.submissions()) == writers * 40
    assert all(one.state == "accepted" for one in journal.submissions())
    assert len(journal.jobs()) == writers * 40 + 40
    journal.close()


def test_an_unwritable_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SettingsError, match="cannot be opened"):
        Journal(tmp_path / "file" / "journal.db").jobs()


def test_a_newer_file_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 999")
    db.close()
    with pytest.raises(SettingsError, match="newer version"):
        Journal(path).jobs()


def test_rows_outlive_a_kill(tmp_path: Path) -> None:
    """What was committed is there after SIGKILL, half a transaction is not."""
    path = tmp_path / "journal.db"
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_write_and_die, args=(path,))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    journal = Journal(path)
    assert [one.marker for one in journal.unresolved()] == ["left"]
    assert journal.jobs() == []
    journal.close()


def _write_and_die(path: Path) -> None:
    import os
    import signal

    journal = Journal(path)
    journal.record_submission(CALL, "left", 1.0, has_marker=True)
    with journal._transaction() as db:
        db.execute("INSERT INTO jobs (service, origin, id, sequence) VALUES ('mj', '', '1', 1)")
        os.kill(os.getpid(), signal.SIGKILL)


# --- leaving packed, and growing older ------------------------------------------------------------


def test_columns_leave_packed_in_every_chunk(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows, in the order first seen, whatever the chunk; a separator inside a value splits
    nothing.
    """
    monkeypatch.setattr(room, "CHUNK_ROWS", 3)
    subjects = ["a", "", "with\x1fseparator", "ä, 红", "\x1f", "e", "a\nb"]
    journal.record_jobs(
        [Job("mj", str(number), subject=told) for number, told in enumerate(subjects)], 1.0
    )
    table = {
        "subject": ColumnExport("subject"),
        "progress": ColumnExport("coalesce(progress, -1)", is_integer=True),
    }
    chunks = list(journal.export_columns(table))
    assert [chunk.rows for chunk in chunks] == [3, 3, 1]
    told = [chunk.columns["subject"] for chunk in chunks]
    values = [one if isinstance(one, list) else one.decode().split("\x1f") for one in told]
    assert [value for one in values for value in one] == subjects
    assert [chunk.columns["progress"] for chunk in chunks] == [b"-1,-1,-1", b"-1,-1,-1", b"-1"]


def test_news_are_counted_from_a_number_on(journal: Journal) -> None:
    assert journal.changes_since(0) == (0, 0)
    journal.record_jobs([Job("mj", "1"), Job("mj", "2")], 1.0)
    many, last = journal.changes_since(0)
    assert many == 2
    journal.record_jobs([Job("mj", "1", status=Status.RUNNING), Job("mj", "2")], 2.0)
    assert journal.changes_since(last)[0] == 1


def test_a_journal_of_the_first_version_is_brought_up_in_place(tmp_path: Path) -> None:
    """Old rows get what new columns hold; new ones are written beside them."""
    path = tmp_path / "journal.db"
    _old_journal(path, 3)
    journal = Journal(path)
    journal.record_jobs([replace(DONE, id="new")], 9.0)
    rows = journal._fetch_rows("SELECT id, button_names, day FROM jobs ORDER BY rowid")
    day = (THEN - room.EPOCH).days
    assert [tuple(row) for row in rows] == [(one, "U1, 🔄", day) for one in ("0", "1", "2", "new")]
    assert {job.id for job in journal.jobs()} == {"0", "1", "2", "new"}
    assert journal.jobs()[0] == replace(DONE, id="0")
    journal.close()


def _old_journal(path: Path, rows: int) -> None:
    """A journal as the first version wrote it."""
    db = sqlite3.connect(path, isolation_level=None)
    room._create_schema(db)
    db.execute("PRAGMA user_version = 1")
    db.execute("BEGIN")
    for number in range(rows):
        row = room._job_to_row(replace(DONE, id=str(number)), "", 1_000_000, number + 1)
        del row["button_names"], row["day"]
        db.execute(
            f"INSERT INTO jobs ({', '.join(row)}) VALUES ({', '.join(':' + name for name in row)})",
            row,
        )
    db.execute("COMMIT")
    db.close()


def test_a_corrupt_journal_is_told_and_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the file and what to do; not a byte of it is changed, and nobody holds it
    open.
    """
    path = tmp_path / "journal.db"
    path.write_bytes(b"no database, but somebody's bytes" * 100)
    before, opened = path.read_bytes(), list[sqlite3.Connection]()
    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **kw: opened.append(connect(*args, **kw)) or opened[-1]
    )
    with pytest.raises(SettingsError, match=r"journal\.db cannot be opened") as caught:
        Journal(path).jobs()
    assert caught.value.hint
    assert path.read_bytes() == before
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        opened[0].execute("SELECT 1")
