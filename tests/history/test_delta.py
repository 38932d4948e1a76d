"""Histories beyond one machine: nothing missing and nothing twice, whoever folds, dies or reads
meanwhile.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dask
import deltalake
import httpx
import pandas as pd
import pyarrow as pa
import pytest
from distributed import Client, LocalCluster

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.errors import HistoryError, SettingsError
from jupyter_mjci.history import delta as room
from jupyter_mjci.history.analysis import JobAccessor
from jupyter_mjci.history.delta import Lake
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.journal_frame import load_journal_frame
from jupyter_mjci.session import Session
from tests.history.test_analysis import QUESTIONS
from tests.history.test_journal import write_old_journal

THEN = datetime(2026, 1, 30, 12, tzinfo=UTC)


def jobs(first: int, many: int, status: Status = Status.SUCCEEDED) -> list[Job]:
    """Jobs over two months, with everything odd that a history may hold."""
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
        for number in range(first, first + many)
    ]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal.db", origins={"mj": "http://p", "ci": "bucket"})
    yield made
    made.close()


@pytest.fixture
def lake(journal: Journal, tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake", journal=journal)


def assert_same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """The same rows, columns and types; Dask keeps texts in Arrow, which pandas 2 does not."""
    assert [str(kind) for kind in one.dtypes] == [str(kind) for kind in other.dtypes]
    order = ["service", "id"]
    pd.testing.assert_frame_equal(
        one.astype(other.dtypes).sort_values(order, ignore_index=True),
        other.sort_values(order, ignore_index=True),
    )


# --- one writer -----------------------------------------------------------------------------------


def test_a_fold_takes_what_is_new(journal: Journal, lake: Lake) -> None:
    """One merge per fold; a second fold has nothing to do; what changed changes, and lies there
    once.
    """
    journal.record_jobs(jobs(0, 500, Status.RUNNING), 1.0)
    first = lake.merge()
    assert (first.jobs, first.merges) == (500, 1)
    assert lake.merge() == replace(first, jobs=0, merges=0)
    journal.record_jobs(jobs(400, 300), 2.0)
    assert lake.merge().jobs == 291  # 200 new ones; of 100 known ones 9 had failed before
    assert_same(Lake(lake.url).frame(), load_journal_frame(journal))


def test_a_long_journal_is_folded_in_slices(
    journal: Journal, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MERGE_BATCH_SIZE", 90)
    journal.record_jobs(jobs(0, 300), 1.0)
    assert lake.merge().merges == 4
    assert_same(Lake(lake.url).frame(), load_journal_frame(journal))


def test_readers_see_what_is_only_in_the_journal(journal: Journal, lake: Lake) -> None:
    """The lake, and over it new jobs and changed ones; for every engine."""
    journal.record_jobs(jobs(0, 300, Status.RUNNING), 1.0)
    lake.merge()
    journal.record_jobs(jobs(200, 400), 2.0)
    assert_same(lake.frame(), load_journal_frame(journal))
    assert len(Lake(lake.url).frame()) == 300
    assert int(
        lake.sql("SELECT count(*) AS many FROM jobs WHERE status = 'SUCCEEDED'")["many"].iloc[0]
    ) == int((load_journal_frame(journal)["status"] == "SUCCEEDED").sum())


def test_an_empty_lake_reads_as_an_empty_journal(journal: Journal, lake: Lake) -> None:
    lake.merge()
    pd.testing.assert_frame_equal(lake.frame(), load_journal_frame(journal))
    journal.record_jobs(jobs(0, 3), 1.0)
    assert_same(lake.frame(), load_journal_frame(journal))


def test_columns_conditions_and_limits(journal: Journal, lake: Lake) -> None:
    journal.record_jobs(jobs(0, 50), 1.0)
    lake.merge()
    frame = lake.frame(["id", "run_time"], where="status = 'FAILED'", limit=3)
    assert list(frame.columns) == ["id", "run_time"]
    assert list(frame["id"]) == ["id0", "id11", "id22"]


def test_days_stay_though_times_are_learned_later(journal: Journal, lake: Lake) -> None:
    """A submission's answer tells no time. What is learned after the fold does not move the job to
    another day, where a merge would not look for it.
    """
    lost = Job("mj", "late", "IMAGINE")
    journal.record_jobs([lost], (THEN - timedelta(seconds=1)).timestamp())
    lake.merge()
    journal.record_jobs(
        [replace(lost, status=Status.RUNNING, submitted=THEN + timedelta(days=40))],
        THEN.timestamp(),
    )
    lake.merge()
    assert_same(Lake(lake.url).frame(), load_journal_frame(journal))


def test_two_journals_fold_into_one_lake(journal: Journal, lake: Lake, tmp_path: Path) -> None:
    """The same job from two machines is one; ended stays ended; what only one knows stays known."""
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


def test_odd_ids_are_ids(journal: Journal, lake: Lake) -> None:
    """Quotes, other letters, long ones: merged as any other."""
    names = ("o'neill", "狐", "x" * 80, "x" * 79 + "y")
    odd = [replace(one, id=name) for one, name in zip(jobs(0, 4), names, strict=True)]
    for turn in range(3):
        journal.record_jobs(
            [replace(one, status=Status.RUNNING, raw={"turn": turn}) for one in odd], float(turn)
        )
        lake.merge()
    assert_same(Lake(lake.url).frame(), load_journal_frame(journal))
    assert len(load_journal_frame(journal)) == 4


def test_small_files_are_put_together(
    journal: Journal, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many folds: the number of files stays small, and so do their row groups."""
    monkeypatch.setattr(room, "MAX_SMALL_FILES", 5)
    for number in range(9):
        journal.record_jobs(jobs(number * 10, 10), 1.0)
        lake.merge()
    table = lake._load_table()
    assert len(table.file_uris()) <= 6
    assert_same(Lake(lake.url).frame(), load_journal_frame(journal))


def test_files_have_small_row_groups(
    lake: Lake, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr(room, "ROW_GROUP_SIZE", 1024)
    journal.record_jobs(jobs(0, 600), 1.0)
    journal.record_jobs([replace(job, submitted=THEN) for job in jobs(1000, 3000)], 1.0)
    lake.merge()
    for uri in lake._load_table().file_uris():
        metadata = pq.ParquetFile(uri.removeprefix("file://")).metadata
        assert all(metadata.row_group(at).num_rows <= 1024 for at in range(metadata.num_row_groups))
    pieces = room._partition_by_rows(room._LakeSnapshot(lake), 2048)
    assert max(len(piece.row_groups) for piece in pieces) == 2


# --- engines --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        dask.config.set({"distributed.worker.memory.terminate": False}),
        LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as made,
    ):
        yield made


@pytest.mark.parametrize(("name", "asked"), QUESTIONS)
def test_every_engine_gives_the_same_answer(
    journal: Journal,
    lake: Lake,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    asked: dict[str, Any],
) -> None:
    """pandas on the journal, DuckDB on lake and journal, Dask on a cluster: equal figures, equal
    dtypes.
    """
    monkeypatch.setattr(room, "QUERY_BATCH_SIZE", 500)  # DuckDB is asked span after span
    journal.record_jobs(jobs(0, 2000), 1.0)
    lake.merge()
    journal.record_jobs(jobs(1900, 300), 2.0)
    here = getattr(JobAccessor(load_journal_frame(journal)), name)(**asked)
    there, spread = (
        getattr(lake.mjci, name)(**asked),
        getattr(lake.with_client(client).mjci, name)(**asked),
    )
    assert len(here) > 0
    pd.testing.assert_frame_equal(there, here, rtol=1e-12)
    pd.testing.assert_frame_equal(spread, here, rtol=1e-12)


def test_whole_rows_on_the_cluster(
    journal: Journal, lake: Lake, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every row once, in pieces of bounded size; Dask reads only the columns that are asked for."""
    monkeypatch.setattr(room, "ROW_GROUP_SIZE", 128)
    journal.record_jobs(jobs(0, 1000), 1.0)
    lake.merge()
    journal.record_jobs(jobs(900, 200), 2.0)
    frame = lake.with_client(client).frame(partition_size=256)
    assert frame.npartitions >= 4
    assert_same(frame.compute(), load_journal_frame(journal))
    assert len(frame[["run_time"]].compute()) == 1100


# --- several writers, and sudden ends -------------------------------------------------------------


def _record_and_fold(home: Path, writer: int, rounds: int) -> None:
    journal = Journal(home / "journal.db")
    lake = Lake(home / "lake", journal=journal)
    for number in range(rounds):
        journal.record_jobs(jobs(writer * 1000 + number * 10, 10), 1.0)
        journal.record_jobs(
            [replace(job, id=f"shared{job.id}") for job in jobs(number * 5, 5)], 2.0
        )
        lake.merge()
    journal.close()


def test_four_processes_record_and_archive_at_once(tmp_path: Path) -> None:
    """One journal, one lake, from their creation on: nothing missing, nothing twice."""
    processes = _started(_record_and_fold, [(tmp_path, writer, 6) for writer in range(4)])
    for process in processes:
        process.join(180)
    assert [process.exitcode for process in processes] == [0] * 4
    _assert_whole(tmp_path, 4 * 60 + 30)


def _assert_whole(home: Path, least: int) -> None:
    """Journal and lake open, agree, and hold each job once."""
    journal = Journal(home / "journal.db")
    lake = Lake(home / "lake", journal=journal)
    told = load_journal_frame(journal)
    assert len(told) >= least
    assert_same(lake.frame(), told)  # before the next fold: readers see it all
    lake.merge()
    assert_same(Lake(home / "lake").frame(), told)
    journal.close()


def _started(target: Any, arguments: list[tuple[Any, ...]]) -> list[Any]:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=target, args=one) for one in arguments]
    for process in processes:
        process.start()
    return processes


def _go_on(home: Path, seed: int) -> None:
    """Records and folds until killed, and writes down what was acknowledged."""
    journal = Journal(home / "journal.db")
    lake = Lake(home / "lake", journal=journal)
    room.MAX_SMALL_FILES = 3  # type: ignore[misc]  # compaction is to be hit, too
    number = seed * 100_000
    with open(home / "acknowledged", "a") as acknowledged:
        while True:
            journal.record_jobs(jobs(number, 20), 1.0)
            number += 20
            acknowledged.write(f"{number - 1}\n")
            acknowledged.flush()
            lake.merge()


KILLS = int(os.environ.get("MJCI_KILLS", "4"))


def test_kill_at_any_moment(tmp_path: Path) -> None:
    """SIGKILL while recording, folding, compacting: both stores open, all that was acknowledged is
    there, once.

    MJCI_KILLS=50 kills fifty times.
    """
    dice = random.Random(KILLS)
    for seed in range(KILLS):
        (process,) = _started(_go_on, [(tmp_path, seed)])
        _wait_for(tmp_path / "acknowledged", seed)
        time.sleep(dice.uniform(0, 0.6))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        last = [int(line) for line in (tmp_path / "acknowledged").read_text().split()]
        journal = Journal(tmp_path / "journal.db")
        told = set(load_journal_frame(journal)["id"])
        assert all(f"id{number}" in told for number in last)
        journal.close()
    _assert_whole(tmp_path, KILLS * 20)


def _wait_for(path: Path, seed: int) -> None:
    """Until the process has begun its work: importing takes longer than what is to be hit."""
    deadline = time.monotonic() + 60
    while not (
        path.exists() and any(int(line) >= seed * 100_000 for line in path.read_text().split())
    ):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _upgrade(home: Path) -> None:
    Journal(home / "old.db").jobs()


def test_kill_in_the_middle_of_a_migration(tmp_path: Path) -> None:
    """A journal of the first version is either still that or upgraded; the next opening finishes
    it.
    """
    dice = random.Random(KILLS)
    write_old_journal(tmp_path / "before.db", 20_000)
    for _ in range(KILLS):
        shutil.copy(tmp_path / "before.db", tmp_path / "old.db")
        (process,) = _started(_upgrade, [(tmp_path,)])
        while not (tmp_path / "old.db-wal").exists() and process.is_alive():
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.15))
        process.kill()
        process.join()
        journal = Journal(tmp_path / "old.db")
        assert journal.count("button_names = 'U1, 🔄' AND day IS NOT NULL") == 20_000
        journal.close()
        for stray in tmp_path.glob("old.db*"):
            stray.unlink()


def _sync(home: Path) -> None:
    """A session that submits, and another on the same services whose journal knows nothing and
    catches up.
    """
    with mjci.sandbox(speed=float("inf")) as one:
        for number in range(120):
            one.ci.picture_job(
                input="input/deer.jpg", rule="imageMogr2/thumbnail/8x", output=f"o/{number}.jpg"
            ).run()
            one.clock.advance(1)  # type: ignore[attr-defined]
        one.mj.imagine("a red fox").run()
        door = one.sandbox.transport()  # type: ignore[union-attr]
        with Session(
            one.settings, clock=one.clock, transport=door, sandbox=one.sandbox, home=home
        ) as other:
            (home / "begun").touch()
            other.sync(on_progress=lambda counts: (home / "begun").write_text(str(counts)))


def test_kill_in_the_middle_of_a_sync(tmp_path: Path) -> None:
    """The next sync goes on: every job there, once."""
    dice = random.Random(KILLS)
    for number in range(max(KILLS // 5, 1)):
        home = tmp_path / str(number)
        home.mkdir()
        (process,) = _started(_sync, [(home,)])
        while not (home / "begun").exists() and process.is_alive():
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode in (-signal.SIGKILL, 0)
        (process,) = _started(_sync, [(home,)])
        process.join()
        assert process.exitcode == 0
        journal = Journal(home / "journal.db")
        assert (journal.count("service = 'ci'"), journal.count("service = 'mj'")) == (120, 1)
        journal.close()


# --- object stores --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bucket() -> Iterator[dict[str, str]]:
    """An S3 emulator on loopback, and the options that reach it. In a process of its own: deltalake
    waits for its answers without letting another thread of this one give them.
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


def test_a_lake_in_an_object_store(
    journal: Journal, bucket: dict[str, str], client: Client
) -> None:
    """Folded, overlaid and asked as on disk, by every engine."""
    lake = Lake("s3://history/lake", journal=journal, storage_options=bucket)
    journal.record_jobs(jobs(0, 400), 1.0)
    lake.merge()
    journal.record_jobs(jobs(390, 30), 2.0)
    assert_same(lake.frame(), load_journal_frame(journal))
    here = JobAccessor(load_journal_frame(journal)).queue_stats()
    pd.testing.assert_frame_equal(lake.mjci.queue_stats(), here, rtol=1e-12)
    pd.testing.assert_frame_equal(lake.with_client(client).mjci.queue_stats(), here, rtol=1e-12)
    assert_same(lake.with_client(client).frame().compute(), load_journal_frame(journal))
    assert lake.merge().jobs == 20


# --- what goes wrong ------------------------------------------------------------------------------


def test_no_lake_is_told(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="no lake"):
        Lake(tmp_path / "nowhere").frame()
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(SettingsError, match="no journal"):
        Lake(tmp_path / "nowhere").merge()


def test_a_table_of_another_schema_is_left_alone(journal: Journal, tmp_path: Path) -> None:
    """Somebody else's table: an error that says what differs, and not a file touched."""
    deltalake.write_deltalake(str(tmp_path / "theirs"), pa.table({"id": [1], "x": ["y"]}))
    before = sorted(tmp_path.rglob("*.*"))
    journal.record_jobs(jobs(0, 3), 1.0)
    with pytest.raises(HistoryError, match="another schema") as caught:
        Lake(tmp_path / "theirs", journal=journal).merge()
    assert "service" in caught.value.detail
    assert [one for one in sorted(tmp_path.rglob("*.*")) if "journal" not in one.name] == [
        one for one in before if "journal" not in one.name
    ]


@pytest.mark.parametrize("module", ["deltalake", "duckdb"])
def test_a_missing_extra_is_told(
    journal: Journal, lake: Lake, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    """What to install, instead of an ImportError."""
    lake.merge()

    def missing(name: str) -> Any:
        if name == module:
            raise ImportError(name)
        return importlib.import_module(name)

    monkeypatch.setattr(room, "import_module", missing)
    with pytest.raises(SettingsError, match=module) as caught:
        lake.frame()
    assert "jupyter_mjci[lake]" in caught.value.hint


def test_a_full_disk_loses_nothing(tmp_path: Path) -> None:
    """A small disk fills up while recording and folding: clear errors, and what was recorded is all
    there.
    """
    small = _small_disk(tmp_path / "small")
    try:
        journal = Journal(small / "journal.db")
        lake = Lake(small / "lake", journal=journal)
        many = 0
        with pytest.raises(HistoryError, match=r"(cannot|could not) be written") as caught:  # noqa: PT012
            while many < 100_000:
                journal.record_jobs(jobs(many, 500), 1.0)
                many += 500
                lake.merge()
        assert caught.value.hint
        assert many <= len(load_journal_frame(journal)) <= many + 500
        for stray in small.glob("ballast"):
            stray.unlink()
        assert lake.merge().version > 0
        assert_same(lake.frame(), load_journal_frame(journal))
        journal.close()
    finally:
        subprocess.run([*AS_ROOT, "umount", small], check=True)


AS_ROOT = [] if os.getuid() == 0 else ["sudo", "-n"]


def _small_disk(place: Path) -> Path:
    """A tmpfs of a few megabytes, some of them ballast to be thrown out later."""
    place.mkdir()
    mount = [*AS_ROOT, "mount", "-t", "tmpfs", "-o", "size=8m,mode=777", "tmpfs", str(place)]
    if (
        shutil.which(mount[0]) is None
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("this machine lets nobody mount a small disk")
    (place / "ballast").write_bytes(bytes(4 * 2**20))
    return place
