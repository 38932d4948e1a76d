"""Exports come back: what is written and loaded into another journal is the same history."""

from __future__ import annotations

import json
import string
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.errors import HistoryError, InvalidRequest
from jupyter_mjci.history import history_files
from jupyter_mjci.history.history import History
from jupyter_mjci.history.journal import Journal

THEN = datetime(2026, 1, 31, 23, 59, 59, 123456, tzinfo=UTC)
SUFFIXES = [".csv", ".json", ".jsonl", ".parquet"]
JOBS = [
    Job(
        "mj",
        "0012345678901234567890",
        "IMAGINE",
        Status.SUCCEEDED,
        100,
        "=HYPERLINK(1)",
        ("https://a/1.png", "https://a/2.png"),
        (Button("c", "U1"), Button("d", "", "🔄")),
        THEN,
        THEN + timedelta(microseconds=1),
        THEN + timedelta(seconds=61, microseconds=999_999),
        user_data="'quoted",
        parent="-1",
        account="007",
        queue="=1",
        rule="imageMogr2/rotate/90",
        bucket="b",
        size_in=0,
        size_out=123_456_789_012,
        cost=0.1 + 0.2,
        final_prompt="+",
    ),
    Job("mj", "2", "UPSCALE", Status.RUNNING, 0, 'a "fox",\n\tnew\r\n狐 NA', submitted=THEN),
    Job("ci", "j3", "PicProcess", Status.FAILED, None, "NA", finished=THEN, reason="@nan"),
    Job("mj", "4", "", Status.NEEDS_INPUT, subject="null", started=THEN),
    Job("mj", "5", "IMAGINE", Status.QUEUED, subject=" +1 ", origin="http://elsewhere"),
]


def open_history(path: Path, *origins: str) -> tuple[Journal, History]:
    names = dict(zip(("mj", "ci"), origins or ("http://proxy", "bucket"), strict=False))
    journal = Journal(path, origins=names)
    return journal, History(journal, lambda: 2_000_000_000.0)


@pytest.fixture
def source(tmp_path: Path) -> Iterator[tuple[Journal, History]]:
    journal, history = open_history(tmp_path / "source.db")
    journal.record_jobs(JOBS, THEN.timestamp())
    yield journal, history
    journal.close()


@pytest.fixture
def target(tmp_path: Path) -> Iterator[tuple[Journal, History]]:
    journal, history = open_history(tmp_path / "target.db", "http://other", "other")
    yield journal, history
    journal.close()


def assert_equal(actual: History, expected: History) -> None:
    frames = [
        history().sort_values(["origin", "id"], ignore_index=True) for history in (actual, expected)
    ]
    pd.testing.assert_frame_equal(*frames)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_export_loads_back_equal(
    source: tuple[Journal, History], target: tuple[Journal, History], tmp_path: Path, suffix: str
) -> None:
    """Ids, microseconds, origins, texts that look like formulas or like missing values."""
    file = tmp_path / f"x{suffix}"
    assert source[1].export(file) == 5
    counts = target[1].load(file)
    assert (counts.seen, counts.new, counts.skipped) == (5, 5, 0)
    assert_equal(target[1], source[1])
    assert target[1].load(file).changed == 0
    # jobs of other servers are nothing that this session could follow
    assert target[0].active_jobs() == []


def test_parquet_names_its_version(source: tuple[Journal, History], tmp_path: Path) -> None:
    source[1].export(tmp_path / "x.parquet")
    assert pq.read_schema(tmp_path / "x.parquet").metadata[b"jupyter_mjci_history"] == b"3"
    table = pq.read_table(tmp_path / "x.parquet")
    pq.write_table(
        table.replace_schema_metadata({b"jupyter_mjci_history": b"4"}), tmp_path / "new.parquet"
    )
    with pytest.raises(HistoryError, match="newer version"):
        source[1].load(tmp_path / "new.parquet")


@pytest.mark.parametrize("suffix", [".csv", ".json", ".parquet"])
def test_files_of_the_first_version_are_read(
    source: tuple[Journal, History], target: tuple[Journal, History], tmp_path: Path, suffix: str
) -> None:
    """They have no origin: the jobs count as this session's."""
    frame = source[1]().drop(columns="origin")
    history_files.write_history(frame, tmp_path / f"x{suffix}")
    assert target[1].load(tmp_path / f"x{suffix}").new == 5
    assert set(target[1]()["origin"]) == {"http://other", "other"}


def test_formulas_are_escaped(source: tuple[Journal, History], tmp_path: Path) -> None:
    source[1].export(tmp_path / "x.csv")
    frame = pd.read_csv(tmp_path / "x.csv", dtype=str, keep_default_na=False)
    cells = frame.to_numpy().ravel().tolist()
    assert "'=HYPERLINK(1)" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "@", "+", "-"))]


def test_older_state_of_a_file_changes_nothing(
    target: tuple[Journal, History], tmp_path: Path
) -> None:
    journal, history = target
    running = replace(JOBS[1], raw={"complete": True})
    journal.record_jobs([running], THEN.timestamp() - 1)
    history.export(tmp_path / "old.json")
    journal.record_jobs([replace(running, progress=50, raw={"later": True})], THEN.timestamp() + 9)
    assert history.load(tmp_path / "old.json").changed == 0
    (job,) = journal.jobs()
    assert (job.progress, job.raw) == (50, {"later": True})


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", "a,b\n1,2\n", "no history of jupyter_mjci"),
        ("x.csv", "service,id,status,submitted,subject\nmj,1,LOST,,\n", "Job 1 of .* cannot"),
        ("x.csv", "service,id,status,submitted,subject\nmj,1,FAILED,soon,\n", "Job 1 of .* cannot"),
        ("x.csv", "", "no history"),
        ("x.parquet", "PAR1 cut off", "cannot be read"),
        (
            "x.json",
            '{"service":"mj","id":"1","status":"?","submitted":null,"subject":"s"}',
            "Job 1",
        ),
    ],
)
def test_damaged_file_raises_history_error(
    target: tuple[Journal, History], tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(HistoryError, match=message):
        target[1].load(tmp_path / name)
    assert target[0].count() == 0


def test_unwritable_file_raises(source: tuple[Journal, History], tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no known extension"):
        source[1].export(tmp_path / "x.xlsx")
    with pytest.raises(HistoryError, match="cannot be written"):
        source[1].export(tmp_path / "missing" / "x.csv")


TASK = {"id": "77", "action": "IMAGINE", "status": "SUCCESS", "submitTime": 1767225600000}


@pytest.mark.parametrize(
    "content",
    [
        {"success": True, "message": "", "data": {"items": [TASK], "page": 1, "total": 1}},
        {"code": 1, "result": None, "tasks": [TASK]},
        [{"data": [TASK]}, {"data": []}],
        f"2026-01-01 00:00:00 INFO webhook {json.dumps(TASK)}\n2026-01-01 00:00:01 INFO done\n",
    ],
    ids=["relay page", "tasks", "pages", "log"],
)
def test_relays_logs_and_pages_are_read(
    target: tuple[Journal, History], tmp_path: Path, content: Any
) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "x.json").write_text(text, "utf-8")
    assert target[1].load(tmp_path / "x.json").new == 1
    assert list(target[1]()["id"]) == ["77"]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12)
times = st.none() | st.datetimes(
    datetime(1990, 1, 1),
    datetime(2100, 1, 1),
    timezones=st.just(UTC),
)
jobs = st.builds(
    Job,
    service=st.sampled_from(["mj", "ci"]),
    id=st.text(string.ascii_letters + string.digits + "-=+'", min_size=1, max_size=8),
    action=texts,
    status=st.sampled_from(list(Status)),
    progress=st.none() | st.integers(0, 100),
    subject=texts,
    submitted=times,
    started=times,
    finished=times,
    reason=texts,
    user_data=texts,
    parent=texts,
)


@settings(max_examples=10, deadline=None)
@given(st.lists(jobs, max_size=6, unique_by=lambda job: (job.service, job.id)))
def test_any_history_comes_back(history: list[Job]) -> None:
    with tempfile.TemporaryDirectory() as name:
        journal, source = open_history(Path(name) / "a.db")
        journal.record_jobs(history, 1.0)
        for suffix in SUFFIXES:
            source.export(Path(name) / f"x{suffix}")
            other, target = open_history(Path(name) / f"{suffix}.db")
            target.load(Path(name) / f"x{suffix}")
            assert_equal(target, source)
            other.close()
        journal.close()


def test_filters_take_plain_words_or_raise(source: tuple[Journal, History]) -> None:
    _, history = source
    assert list(history(status="failed")["id"]) == ["j3"]
    assert list(history(status="Success")["id"]) == [JOBS[0].id]
    assert len(history(service="MJ", action="imagine")) == 2
    assert len(history(since=date(2026, 1, 31))) == 2
    assert len(history(until=date(2026, 1, 31))) == 0
    for filters in (
        {"status": "lost"},
        {"service": "dalle"},
        {"since": "yesterday"},
        {"limit": -1},
        {"limit": 0},
        {"since": pd.NaT},
    ):
        with pytest.raises(InvalidRequest) as caught:
            history(**filters)  # type: ignore[arg-type]
        assert caught.value.hint


def test_equal_ids_of_several_servers_are_told_apart(tmp_path: Path) -> None:
    """Three proxies that give equal ids."""
    for port in range(3):
        journal, history = open_history(tmp_path / "one.db", f"http://proxy:{port}")
        journal.record_jobs([Job("mj", str(number)) for number in range(5)], 1.0)
        journal.close()
    frame = history()
    assert len(frame) == len(frame.drop_duplicates(["service", "origin", "id"])) == 15
    counts = frame.assign(submitted=THEN).mjci.timeline("month", by="origin")
    assert list(counts["origin"]) == [f"http://proxy:{port}" for port in range(3)]
