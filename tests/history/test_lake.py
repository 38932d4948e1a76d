"""Lakes: no job is missing or there twice, with concurrent writers, readers and kills."""

from __future__ import annotations

import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dask
import deltalake
import httpx
import pandas as pd
import pyarrow as pa
import pytest
from distributed import Client, LocalCluster
from hypothesis import given, settings
from hypothesis import strategies as st

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.errors import HistoryError, InvalidRequest, SettingsError
from jupyter_mjci.history.analysis import JobAccessor
from jupyter_mjci.history.history import History
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.journal_frame import load_journal_frame
from jupyter_mjci.history.lake import changes, libraries, reader, time_ranges
from jupyter_mjci.history.lake import lake as lake_module
from jupyter_mjci.history.lake import table as table_module
from jupyter_mjci.history.lake.cluster import DaskLake, partition_by_rows
from jupyter_mjci.history.lake.lake import Lake
from jupyter_mjci.history.lake.schema import ADDED_COLUMNS, SCHEMA
from jupyter_mjci.session import Session
from tests.history.test_analysis import ANALYSES
from tests.history.test_journal import write_old_journal
from tests.processes import start_processes

THEN = datetime(2026, 1, 30, 12, tzinfo=UTC)


def make_jobs(first: int, count: int, status: Status = Status.SUCCEEDED) -> list[Job]:
    """Make jobs over two months, with odd texts and missing values."""
    return [
        Job(
            "mj" if number % 7 else "ci",
            f"id{number}",
            ("IMAGINE", "UPSCALE", "")[number % 3],
            Status.FAILED if number % 11 == 0 else status,
            number % 101,
            f"狐 {number}\x1f'",
            ("http://a",),
            (Button("c", "U1"),),
            THEN + timedelta(minutes=37 * number),
            THEN + timedelta(minutes=37 * number, seconds=number % 13) if number % 5 else None,
            THEN + timedelta(minutes=37 * number, seconds=60 + number % 17)
            if status.is_terminal
            else None,
            "banned" if number % 11 == 0 else "",
        )
        for number in range(first, first + count)
    ]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.db", origins={"mj": "http://p", "ci": "bucket"})
    yield journal
    journal.close()


@pytest.fixture
def lake(journal: Journal, tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", journal=journal)


@pytest.fixture
def history(journal: Journal) -> History:
    return History(journal, time.time)


def assert_same(actual: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Assert the same rows, columns and types; Dask keeps texts in Arrow, pandas 2 does not."""
    assert [str(dtype) for dtype in actual.dtypes] == [str(dtype) for dtype in expected.dtypes]
    keys = ["service", "id"]
    pd.testing.assert_frame_equal(
        actual.astype(expected.dtypes).sort_values(keys, ignore_index=True),
        expected.sort_values(keys, ignore_index=True),
    )


# --- versions and files ---------------------------------------------------------------------------


def test_lake_as_of_a_version_or_time_is_the_one_of_then(
    journal: Journal, lake: Lake, history: History
) -> None:
    journal.record_jobs(make_jobs(0, 40, Status.RUNNING), 1.0)
    version = lake.merge().version
    log = Path(lake.url, "_delta_log", f"{version:020}.json")
    # a version's time is that of its file, which is written a little after the commit's own time
    moment = datetime.fromtimestamp(log.stat().st_mtime, UTC) + timedelta(milliseconds=1)
    then = lake.frame()
    journal.record_jobs(make_jobs(20, 80), 2.0)
    assert lake.merge().version > version
    journal.record_jobs(make_jobs(200, 5), 3.0)
    for as_of in (version, moment, moment.isoformat()):
        old = history.lake(lake.url, as_of=as_of)
        assert_same(old.frame(), then)
        assert old.mjci.timeline(every="month")["open"].sum() == (then["status"] == "RUNNING").sum()
    with dask.config.set(scheduler="synchronous"):
        assert_same(DaskLake(Lake(lake.url, as_of=version), "").frame().compute(), then)
    assert len(Lake(lake.url, as_of=date(2020, 1, 1)).frame()) == 0
    assert len(lake.frame()) == 105
    with pytest.raises(InvalidRequest, match="is not written"):
        history.lake(lake.url, as_of=version).merge()
    with pytest.raises(HistoryError, match="has no version 99"):
        Lake(lake.url, as_of=99).frame()
    for wrong in (-1, True, "soon"):
        with pytest.raises(InvalidRequest):
            Lake(lake.url, as_of=wrong)


def test_vacuum_deletes_what_no_version_within_the_retention_needs(
    journal: Journal, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for turn, status in enumerate((Status.QUEUED, Status.RUNNING, Status.SUCCEEDED)):
        journal.record_jobs(make_jobs(0, 60 + turn, status), float(turn + 1))
        version = lake.merge().version
    orphan = next(Path(lake.url).glob("month=*")) / "part-killed-writer.parquet"
    orphan.write_bytes(b"PAR1")
    os.utime(orphan, (1e9, 1e9))
    before = lake.frame()
    files = set(Path(lake.url).rglob("*.parquet"))
    assert lake.vacuum() == [orphan.relative_to(lake.url).as_posix()]  # a week is kept
    assert not orphan.exists()
    assert len(Lake(lake.url, as_of=version - 1).frame()) == 61
    for wrong in ("30 min", 0, "soon"):
        with pytest.raises(InvalidRequest):
            lake.vacuum(wrong)
    monkeypatch.setattr(lake_module, "MIN_RETENTION_HOURS", 0)
    found = lake.vacuum("1 s", dry_run=True)
    assert found
    assert set(Path(lake.url).rglob("*.parquet")) == files - {orphan}
    assert lake.vacuum("1 s") == found
    left = {path.relative_to(lake.url).as_posix() for path in Path(lake.url).rglob("*.parquet")}
    assert len(left) == len(files) - 1 - len(found) == len(lake.location.load().file_uris())
    assert_same(lake.frame(), before)
    with pytest.raises(HistoryError, match="files are gone"):
        Lake(lake.url, as_of=version - 1).frame()
    with pytest.raises(HistoryError, match="files are gone"):
        Lake(lake.url, as_of=version - 1).mjci.timeline()


def test_damaged_file_is_not_taken_for_bad_sql(journal: Journal, lake: Lake) -> None:
    """Its footer is whole: only reading the rows fails, in the middle of the stream."""
    journal.record_jobs(make_jobs(0, 5_000), 1.0)
    lake.merge()
    with pytest.raises(InvalidRequest, match="refuses this SQL"):
        lake.frame(where="CAST(id AS TINYINT) > 0")
    path = max(Path(lake.url).rglob("*.parquet"))
    content = bytearray(path.read_bytes())
    content[100 : len(content) // 2] = bytes(len(content) // 2 - 100)
    path.write_bytes(content)
    for where in ("", "status = 'FAILED'"):
        with pytest.raises(HistoryError):
            lake.frame(where=where)
    path.write_bytes(b"PAR1")
    with pytest.raises(HistoryError):
        lake.frame()


def test_question_about_a_month_touches_its_files_only(journal: Journal, lake: Lake) -> None:
    """The files of all other months cannot even be read."""
    journal.record_jobs(make_jobs(0, 5_000), 1.0)
    lake.merge()
    march, april = (date(2026, 3, 1), date(2026, 4, 1)), (date(2026, 4, 1), date(2026, 5, 1))
    expected = lake.mjci.compare(march, april)
    paths = sorted(Path(lake.url).rglob("*.parquet"))
    months = [path.parent.name.removeprefix("month=") for path in paths]
    assert months == ["2026-01", "2026-02", "2026-03", "2026-04", "2026-05", "2026-06"]
    for path, month in zip(paths, months, strict=True):
        if month not in ("2026-03", "2026-04"):
            path.write_bytes(b"not parquet")
    pd.testing.assert_frame_equal(Lake(lake.url).mjci.compare(march, april), expected)
    with LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
        spread = Lake(lake.url).with_client(cluster.scheduler_address)
        pd.testing.assert_frame_equal(spread.mjci.compare(march, april), expected)
    with pytest.raises(HistoryError):
        Lake(lake.url).mjci.timeline()


# --- one writer -----------------------------------------------------------------------------------


def test_merge_writes_new_and_changed_jobs(journal: Journal, lake: Lake) -> None:
    """A second merge has nothing to do; a changed job replaces its row."""
    journal.record_jobs(make_jobs(0, 500, Status.RUNNING), 1.0)
    first = lake.merge()
    assert (first.jobs, first.merges) == (500, 1)
    assert lake.merge() == replace(first, jobs=0, merges=0)
    journal.record_jobs(make_jobs(400, 300), 2.0)
    assert lake.merge().jobs == 291  # 200 new ones; of 100 known ones 9 had failed before
    assert_same(Lake(lake.url).frame(), load_journal_frame(journal))


def test_lake_of_an_earlier_version_is_read_and_gets_the_new_columns(
    journal: Journal, lake: Lake, tmp_path: Path
) -> None:
    """Its files stay: what they do not have is missing, in DuckDB, in Dask and in merges."""
    journal.record_jobs(make_jobs(0, 60), 1.0)
    lake.merge()
    old = Lake(tmp_path / "old")
    table = deltalake.DeltaTable(lake.url).to_pyarrow_table().drop_columns(list(ADDED_COLUMNS))
    deltalake.write_deltalake(old.url, table, partition_by=["month"])
    before = old.frame()
    assert_same(before, lake.frame())
    assert before["account"].isna().all()
    assert old.mjci.timeline(every="month", by="account")["account"].tolist() == ["(none)"] * 2
    told = [replace(job, account="7", cost=0.1, size_out=9) for job in make_jobs(55, 10)]
    newer = Journal(tmp_path / "newer.db", origins={"mj": "http://p", "ci": "bucket"})
    newer.record_jobs(told, 2.0)
    overlaid = Lake(old.url, journal=newer).frame()
    assert Lake(old.url, journal=newer).merge().jobs == 10
    assert_same(old.frame(), overlaid)
    counts = old.mjci.timeline(every="month", by="account").groupby("account")["jobs"].sum()
    assert counts.to_dict() == {"(none)": 55, "7": 10}
    with dask.config.set(scheduler="synchronous"):
        assert_same(DaskLake(old, "").frame(25).compute(), overlaid)
    assert old.frame(["cost"], where="account = '7'")["cost"].tolist() == [0.1] * 10
    newer.close()


def test_long_journal_is_merged_in_batches(
    journal: Journal, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lake_module, "MERGE_BATCH_SIZE", 90)
    journal.record_jobs(make_jobs(0, 300), 1.0)
    assert lake.merge().merges == 4
    assert_same(Lake(lake.url).frame(), load_journal_frame(journal))


def test_readers_see_unmerged_jobs_of_the_journal(journal: Journal, lake: Lake) -> None:
    """New jobs and changed ones are laid over the lake."""
    journal.record_jobs(make_jobs(0, 300, Status.RUNNING), 1.0)
    lake.merge()
    journal.record_jobs(make_jobs(200, 400), 2.0)
    assert_same(lake.frame(), load_journal_frame(journal))
    assert len(Lake(lake.url).frame()) == 300
    assert int(
        lake.sql("SELECT count(*) AS many FROM jobs WHERE status = 'SUCCEEDED'")["many"].iloc[0]
    ) == int((load_journal_frame(journal)["status"] == "SUCCEEDED").sum())


def test_empty_lake_has_the_columns_of_an_empty_journal(journal: Journal, lake: Lake) -> None:
    lake.merge()
    frame = load_journal_frame(journal)
    pd.testing.assert_frame_equal(lake.frame(), frame)
    for name in ("savings", "outliers"):  # which read a lake in parts
        expected = getattr(frame.mjci, name)(by="action")
        assert expected.empty
        pd.testing.assert_frame_equal(getattr(lake.mjci, name)(by="action"), expected)
    journal.record_jobs(make_jobs(0, 3), 1.0)
    assert_same(lake.frame(), load_journal_frame(journal))


def test_frame_selects_columns_rows_and_a_limit(journal: Journal, lake: Lake) -> None:
    journal.record_jobs(make_jobs(0, 50), 1.0)
    lake.merge()
    frame = lake.frame(["id", "run_time"], where="status = 'FAILED'", limit=3)
    assert list(frame.columns) == ["id", "run_time"]
    assert list(frame["id"]) == ["id0", "id11", "id22"]


def test_day_stays_when_the_submission_time_is_learned_later(journal: Journal, lake: Lake) -> None:
    """A submission's response has no time. A time learned after the merge does not move the job to
    another day, where a merge would not look for it.
    """
    untimed = Job("mj", "late", "IMAGINE")
    journal.record_jobs([untimed], (THEN - timedelta(seconds=1)).timestamp())
    lake.merge()
    journal.record_jobs(
        [replace(untimed, status=Status.RUNNING, submitted=THEN + timedelta(days=40))],
        THEN.timestamp(),
    )
    lake.merge()
    assert_same(Lake(lake.url).frame(), load_journal_frame(journal))


def test_same_job_of_two_journals_is_one_row(journal: Journal, lake: Lake, tmp_path: Path) -> None:
    """A terminal status stays; fields that only one journal has are kept."""
    other = Journal(tmp_path / "other.db", origins=journal.origins)
    journal.record_jobs(
        [Job("mj", "1", "IMAGINE", Status.SUCCEEDED, subject="a fox", submitted=THEN)], 1.0
    )
    other.record_jobs(
        [
            Job("mj", "1", status=Status.RUNNING, submitted=THEN, parent="0"),
            Job("mj", "2", submitted=THEN),
        ],
        9.0,
    )
    lake.merge()
    Lake(lake.url, journal=other).merge()
    frame = Lake(lake.url).frame().set_index("id")
    assert list(frame.index) == ["1", "2"]
    assert tuple(frame.loc["1", ["status", "subject", "action"]]) == (
        "SUCCEEDED",
        "a fox",
        "IMAGINE",
    )
    other.close()


def test_ids_with_quotes_and_other_scripts_are_merged(journal: Journal, lake: Lake) -> None:
    """Long ids with a common prefix, too."""
    names = ("o'neill", "狐", "x" * 80, "x" * 79 + "y")
    odd = [replace(job, id=name) for job, name in zip(make_jobs(0, 4), names, strict=True)]
    for turn in range(3):
        journal.record_jobs(
            [replace(job, status=Status.RUNNING, raw={"turn": turn}) for job in odd], float(turn)
        )
        lake.merge()
    assert_same(Lake(lake.url).frame(), load_journal_frame(journal))
    assert len(load_journal_frame(journal)) == 4


def test_many_merges_are_compacted(
    journal: Journal, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number of files stays small."""
    monkeypatch.setattr(changes, "MAX_SMALL_FILES", 5)
    for number in range(9):
        journal.record_jobs(make_jobs(number * 10, 10), 1.0)
        lake.merge()
    table = lake.location.load()
    assert len(table.file_uris()) <= 6
    assert_same(Lake(lake.url).frame(), load_journal_frame(journal))


def test_row_groups_are_small(
    lake: Lake, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr(changes, "ROW_GROUP_SIZE", 1024)
    journal.record_jobs(make_jobs(0, 600), 1.0)
    journal.record_jobs([replace(job, submitted=THEN) for job in make_jobs(1000, 3000)], 1.0)
    lake.merge()
    for uri in lake.location.load().file_uris():
        metadata = pq.ParquetFile(uri.removeprefix("file://")).metadata
        assert all(metadata.row_group(at).num_rows <= 1024 for at in range(metadata.num_row_groups))
    partitions = partition_by_rows(lake.take_snapshot(), 2048)
    assert max(len(part.row_groups) for part in partitions) == 2


# --- engines --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        dask.config.set({"distributed.worker.memory.terminate": False}),
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


# More, which read texts that lakes have.
QUESTIONS: list[tuple[str, dict[str, Any]]] = [
    *ANALYSES,
    ("retries", {}),
    ("outliers", {"factor": 0.1, "by": "service"}),
    ("outliers", {"factor": 0.1, "by": (), "of": "run_time", "limit": None}),
    ("savings", {"by": ("action", "prefix")}),
    ("savings", {"by": (), "sizes": {"a": 1}}),
    ("words", {}),
    ("lineage", {}),
    ("success_rate", {"every": None, "by": "origin"}),
]


@pytest.fixture(scope="module")
def overlaid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Journal, Lake]]:
    """A journal that has jobs which its lake does not have yet; questions change neither."""
    folder = tmp_path_factory.mktemp("overlaid")
    journal = Journal(folder / "journal.db", origins={"mj": "http://p", "ci": "bucket"})
    journal.record_jobs(make_jobs(0, 2000), 1.0)
    lake = Lake(folder / "lake", journal=journal)
    lake.merge()
    journal.record_jobs(make_jobs(1900, 300), 2.0)
    yield journal, lake
    journal.close()


@pytest.mark.parametrize(("name", "arguments"), QUESTIONS)
def test_every_engine_returns_the_same_result(
    overlaid: tuple[Journal, Lake],
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    arguments: dict[str, Any],
) -> None:
    """pandas on the journal, DuckDB on lake and journal, Dask on a cluster: equal dtypes, too."""
    monkeypatch.setattr(time_ranges, "QUERY_BATCH_SIZE", 500)  # DuckDB works range after range
    monkeypatch.setattr(reader, "PART_ROWS", 300)
    journal, lake = overlaid
    expected = getattr(JobAccessor(load_journal_frame(journal)), name)(**arguments)
    by_duckdb = getattr(lake.mjci, name)(**arguments)
    by_dask = getattr(lake.with_client(client).mjci, name)(**arguments)
    assert len(expected) > 0
    pd.testing.assert_frame_equal(by_duckdb, expected, rtol=1e-12)
    pd.testing.assert_frame_equal(by_dask, expected, rtol=1e-12)


def test_dask_frame_has_every_row_once(
    journal: Journal, lake: Lake, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Partitions have bounded size; Dask reads only the columns that are used."""
    monkeypatch.setattr(changes, "ROW_GROUP_SIZE", 128)
    journal.record_jobs(make_jobs(0, 1000), 1.0)
    lake.merge()
    journal.record_jobs(make_jobs(900, 200), 2.0)
    frame = lake.with_client(client).frame(partition_size=256)
    assert frame.npartitions >= 4
    assert_same(frame.compute(), load_journal_frame(journal))
    assert len(frame[["run_time"]].compute()) == 1100


# --- several journals, one lake -------------------------------------------------------------------


def test_merge_without_news_ends_and_records_its_position(
    journal: Journal, lake: Lake, tmp_path: Path
) -> None:
    """A second journal knows the same jobs, seen later: nothing of the first one is newer."""
    other = Journal(tmp_path / "other.db", origins=journal.origins)
    journal.record_jobs(make_jobs(0, 3, Status.RUNNING), 1.0)
    other.record_jobs(make_jobs(0, 3), 9.0)
    Lake(lake.url, journal=other).merge()
    first = lake.merge()
    assert (first.jobs, first.merges) == (3, 1)
    assert lake.merge() == replace(first, jobs=0, merges=0)
    assert_same(lake.frame(), load_journal_frame(other))
    other.close()


def test_merge_that_does_not_advance_raises(
    journal: Journal, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it were repeated, it would not end."""
    journal.record_jobs(make_jobs(0, 3), 1.0)
    monkeypatch.setattr(lake_module, "get_merged_sequence", lambda *_: 0)
    with pytest.raises(HistoryError, match="did not record how far"):
        lake.merge()


@pytest.mark.parametrize("known_at", [1.0, 9.0])
def test_readers_keep_an_end_that_the_journal_has_not_seen(
    journal: Journal, lake: Lake, client: Client, tmp_path: Path, known_at: float
) -> None:
    """By DuckDB and by Dask; what only the journal knows is filled in."""
    other = Journal(tmp_path / "other.db", origins=journal.origins)
    other.record_jobs([Job("mj", "1", "IMAGINE", Status.SUCCEEDED, submitted=THEN)], known_at)
    Lake(lake.url, journal=other).merge()
    running = Job("mj", "1", status=Status.RUNNING, subject="a fox", submitted=THEN)
    journal.record_jobs([running], 5.0)
    for frame in (lake.frame(), lake.with_client(client).frame().compute()):
        assert frame[["id", "action", "status", "subject"]].to_numpy().tolist() == [
            ["1", "IMAGINE", "SUCCEEDED", "a fox"]
        ]
    assert int(lake.mjci.success_rate(every=None)["succeeded"].iloc[0]) == 1
    before = lake.frame()
    lake.merge()
    assert_same(lake.frame(), before)
    other.close()


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["observe", "observe", "fold", "compact"]),
        st.integers(0, 3),
        st.sampled_from(list(Status)),
    ),
    max_size=14,
)


@settings(max_examples=int(os.environ.get("MJCI_EXAMPLES", "12")), deadline=None)
@given(STEPS)
def test_three_writers_in_any_order_end_and_agree(steps: list[Any]) -> None:
    """A fold changes nothing that its own reader sees; in the end all readers see the same."""
    with tempfile.TemporaryDirectory() as name:
        journals = [Journal(Path(name) / f"{number}.db") for number in range(3)]
        lakes = [Lake(Path(name) / "lake", journal=journal) for journal in journals]
        lakes[0].merge()
        for time_seen, (writer, step, number, status) in enumerate(steps, 1):
            if step == "observe":
                job = Job("mj", str(number), ("IMAGINE", "")[writer % 2], status, submitted=THEN)
                journals[writer].record_jobs([replace(job, raw={"at": time_seen})], time_seen)
            elif step == "fold":
                before = lakes[writer].frame()
                lakes[writer].merge()
                assert_same(lakes[writer].frame(), before)
            else:
                lakes[writer].location.load().optimize.compact()
        expected = _expect_statuses(journals)
        for lake in lakes:
            lake.merge()
        for lake in lakes:
            frame = lake.frame()
            assert dict(zip(frame["id"], frame["status"], strict=True)) == expected
            assert_same(frame, Lake(lake.url).frame())
        for journal in journals:
            journal.close()


def _expect_statuses(journals: list[Journal]) -> dict[str, str]:
    """Return the status of each job by the rule: ends first, then what was seen last."""
    best: dict[str, tuple[bool, int, str]] = {}
    for journal in journals:
        for row in journal._fetch_rows("SELECT id, status, last_seen FROM jobs"):
            state = (Status(row["status"]).is_terminal, row["last_seen"], row["status"])
            best[row["id"]] = max(best.get(row["id"], state), state)
    return {job_id: status for job_id, (_, _, status) in best.items()}


# --- several writers, and kills -------------------------------------------------------------------


def _record_and_merge(home: Path, writer: int, rounds: int) -> None:
    journal = Journal(home / "journal.db")
    lake = Lake(home / "lake", journal=journal)
    for number in range(rounds):
        journal.record_jobs(make_jobs(writer * 1000 + number * 10, 10), 1.0)
        journal.record_jobs(
            [replace(job, id=f"shared{job.id}") for job in make_jobs(number * 5, 5)], 2.0
        )
        lake.merge()
    journal.close()


def test_concurrent_processes_record_and_merge_each_job_once(tmp_path: Path) -> None:
    """One journal and one lake, from their creation on."""
    processes = start_processes(_record_and_merge, [(tmp_path, writer, 6) for writer in range(4)])
    for process in processes:
        process.join(180)
    assert [process.exitcode for process in processes] == [0] * 4
    _assert_whole(tmp_path, 4 * 60 + 30)


def _assert_whole(home: Path, least: int) -> None:
    """Assert that journal and lake open, agree, and have each job once."""
    journal = Journal(home / "journal.db")
    lake = Lake(home / "lake", journal=journal)
    frame = load_journal_frame(journal)
    assert len(frame) >= least
    assert_same(lake.frame(), frame)  # before the next merge: readers see it all
    lake.merge()
    assert_same(Lake(home / "lake").frame(), frame)
    journal.close()


def _record_until_killed(home: Path, seed: int) -> None:
    """Record and merge until killed, and write down what was acknowledged."""
    journal = Journal(home / "journal.db")
    lake = Lake(home / "lake", journal=journal)
    changes.MAX_SMALL_FILES = 3  # type: ignore[misc]  # so that kills hit compactions, too
    number = seed * 100_000
    with open(home / "acknowledged", "a") as acknowledged:
        while True:
            journal.record_jobs(make_jobs(number, 20), 1.0)
            number += 20
            acknowledged.write(f"{number - 1}\n")
            acknowledged.flush()
            lake.merge()


KILLS = int(os.environ.get("MJCI_KILLS", "4"))


def test_kill_while_recording_or_merging_loses_nothing(tmp_path: Path) -> None:
    """After SIGKILL journal and lake open, and have all that was acknowledged, once.

    MJCI_KILLS=50 kills fifty times.
    """
    rng = random.Random(KILLS)
    for seed in range(KILLS):
        (process,) = start_processes(_record_until_killed, [(tmp_path, seed)])
        _wait_for(tmp_path / "acknowledged", seed)
        time.sleep(rng.uniform(0, 0.6))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        last = [int(line) for line in (tmp_path / "acknowledged").read_text().split()]
        journal = Journal(tmp_path / "journal.db")
        ids = set(load_journal_frame(journal)["id"])
        assert all(f"id{number}" in ids for number in last)
        journal.close()
    _assert_whole(tmp_path, KILLS * 20)


def _wait_for(path: Path, seed: int) -> None:
    """Wait until the process has begun to record: importing takes longer than the work."""
    deadline = time.monotonic() + 240
    while not (
        path.exists() and any(int(line) >= seed * 100_000 for line in path.read_text().split())
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _migrate(home: Path) -> None:
    Journal(home / "old.db").jobs()


def test_kill_during_a_migration_leaves_either_schema(tmp_path: Path) -> None:
    """The next opening finishes the migration."""
    rng = random.Random(KILLS)
    write_old_journal(tmp_path / "before.db", 20_000)
    for _ in range(KILLS):
        shutil.copy(tmp_path / "before.db", tmp_path / "old.db")
        (process,) = start_processes(_migrate, [(tmp_path,)])
        while not (tmp_path / "old.db-wal").exists() and process.is_alive():
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.15))
        process.kill()
        process.join()
        journal = Journal(tmp_path / "old.db")
        assert journal.count("button_names = 'U1, 🔄' AND day IS NOT NULL") == 20_000
        journal.close()
        for stray in tmp_path.glob("old.db*"):
            stray.unlink()


def _sync(home: Path) -> None:
    """Submit in one session, and sync to the empty journal of another on the same services."""
    with mjci.sandbox(speed=float("inf")) as submitter:
        for number in range(120):
            submitter.ci.picture_job(
                input="input/deer.jpg", rule="imageMogr2/thumbnail/8x", output=f"o/{number}.jpg"
            ).run()
            submitter.client.clock.advance(1)  # type: ignore[attr-defined]
        submitter.mj.imagine("a red fox").run()
        transport = submitter.sandbox.transport()  # type: ignore[union-attr]
        with Session(
            submitter.settings,
            clock=submitter.client.clock,
            transport=transport,
            sandbox=submitter.sandbox,
            home=home,
        ) as other:
            (home / "begun").touch()
            other.sync(on_progress=lambda counts: (home / "begun").write_text(str(counts)))


def test_sync_continues_after_a_kill(tmp_path: Path) -> None:
    """The next sync has every job, once."""
    rng = random.Random(KILLS)
    for number in range(max(KILLS // 5, 1)):
        home = tmp_path / str(number)
        home.mkdir()
        (process,) = start_processes(_sync, [(home,)])
        while not (home / "begun").exists() and process.is_alive():
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode in (-signal.SIGKILL, 0)
        (process,) = start_processes(_sync, [(home,)])
        process.join()
        assert process.exitcode == 0
        journal = Journal(home / "journal.db")
        assert (journal.count("service = 'ci'"), journal.count("service = 'mj'")) == (120, 1)
        journal.close()


# --- object stores --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    """Start an S3 emulator on loopback, and return the options that reach it.

    It runs in a process of its own: deltalake holds the GIL while it waits for responses.
    """
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    server = subprocess.Popen([sys.executable, "-c", EMULATOR], **pipes)
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    httpx.put(f"{url}/history").raise_for_status()
    yield {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "us-east-1",
        "AWS_ALLOW_HTTP": "true",
        "aws_conditional_put": "etag",
    }
    server.communicate("\n")


EMULATOR = """
import logging
from moto.server import ThreadedMotoServer
logging.disable()
server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
server.start()
host, port = server.get_host_and_port()
print(f"http://{host}:{port}", flush=True)
input()
server.stop()
"""


def test_lake_in_an_object_store_works_as_on_disk(
    journal: Journal, bucket: dict[str, str], client: Client
) -> None:
    """Merged, laid over and queried by every engine."""
    lake = Lake("s3://history/lake", journal=journal, storage_options=bucket)
    journal.record_jobs(make_jobs(0, 400), 1.0)
    lake.merge()
    journal.record_jobs(make_jobs(390, 30), 2.0)
    assert_same(lake.frame(), load_journal_frame(journal))
    expected = JobAccessor(load_journal_frame(journal)).queue_stats()
    by_dask = lake.with_client(client).mjci.queue_stats()
    pd.testing.assert_frame_equal(lake.mjci.queue_stats(), expected, rtol=1e-12)
    pd.testing.assert_frame_equal(by_dask, expected, rtol=1e-12)
    assert_same(lake.with_client(client).frame().compute(), load_journal_frame(journal))
    assert lake.merge().jobs == 20


def test_missing_bucket_raises_history_error(journal: Journal, bucket: dict[str, str]) -> None:
    journal.record_jobs(make_jobs(0, 3), 1.0)
    lake = Lake("s3://nobody/lake", journal=journal, storage_options=bucket)
    for use in (lake.frame, lake.merge, lake.mjci.timeline):
        with pytest.raises(HistoryError) as caught:
            use()
        assert caught.value.hint


# --- errors ---------------------------------------------------------------------------------------


def test_missing_lake_raises_history_error(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="no lake"):
        Lake(tmp_path / "nowhere").frame()
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(SettingsError, match="no journal"):
        Lake(tmp_path / "nowhere").merge()


def test_table_of_another_schema_raises_and_is_not_changed(
    journal: Journal, tmp_path: Path
) -> None:
    """The error says what differs."""
    deltalake.write_deltalake(str(tmp_path / "other"), pa.table({"id": [1], "x": ["y"]}))
    before = sorted(tmp_path.rglob("*.*"))
    journal.record_jobs(make_jobs(0, 3), 1.0)
    with pytest.raises(HistoryError, match="another schema") as caught:
        Lake(tmp_path / "other", journal=journal).merge()
    assert "service" in caught.value.detail
    after = sorted(tmp_path.rglob("*.*"))
    assert [path for path in after if "journal" not in path.name] == [
        path for path in before if "journal" not in path.name
    ]


def test_lake_with_the_old_column_name_raises_with_the_way_out(
    journal: Journal, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lake of the first edition has "state" for "user_data"."""
    schema = {name.replace("user_data", "state"): kind for name, kind in SCHEMA.items()}
    with monkeypatch.context() as patch:
        patch.setattr(table_module, "SCHEMA", schema)
        lake.location.load_or_create()
    journal.record_jobs(make_jobs(0, 3), 1.0)
    for use in (lake.frame, lake.merge, lake.mjci.timeline):
        with pytest.raises(HistoryError, match="earlier version") as caught:
            use()
        assert '"state"' in caught.value.detail
        assert "Archive every journal to a new place" in caught.value.hint


@pytest.mark.parametrize("module", ["deltalake", "duckdb"])
def test_missing_extra_raises_settings_error(
    journal: Journal, lake: Lake, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    """The error says what to install."""
    lake.merge()

    def missing(name: str) -> Any:
        if name == module:
            raise ImportError(name)
        return importlib.import_module(name)

    monkeypatch.setattr(libraries, "import_module", missing)
    with pytest.raises(SettingsError, match=module) as caught:
        lake.frame()
    assert "jupyter_mjci[lake]" in caught.value.hint


def test_full_disk_raises_history_error_and_loses_nothing() -> None:
    """A small disk fills up while jobs are recorded and merged."""
    # Not below pytest's folder: what a killed run leaves mounted there lets the next runs fail.
    small = _mount_small_disk(Path(tempfile.mkdtemp()))
    try:
        journal = Journal(small / "journal.db")
        lake = Lake(small / "lake", journal=journal)
        count = 0
        with pytest.raises(HistoryError, match=r"(cannot|could not) be written") as caught:  # noqa: PT012
            while count < 100_000:
                journal.record_jobs(make_jobs(count, 500), 1.0)
                count += 500
                lake.merge()
        assert caught.value.hint
        assert count <= len(load_journal_frame(journal)) <= count + 500
        for stray in small.glob("ballast"):
            stray.unlink()
        assert lake.merge().version > 0
        assert_same(lake.frame(), load_journal_frame(journal))
        journal.close()
    finally:
        subprocess.run([*AS_ROOT, "umount", small], check=True)
        small.rmdir()


AS_ROOT = [] if os.getuid() == 0 else ["sudo", "-n"]


def _mount_small_disk(folder: Path) -> Path:
    """Mount a tmpfs of a few megabytes, with a file to delete later."""
    mount = [*AS_ROOT, "mount", "-t", "tmpfs", "-o", "size=8m,mode=777", "tmpfs", str(folder)]
    if (
        shutil.which(mount[0]) is None
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("mounting a small disk is not permitted")
    (folder / "ballast").write_bytes(bytes(4 * 2**20))
    return folder
