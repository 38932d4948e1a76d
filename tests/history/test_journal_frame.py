"""The journal as a typed frame: the same as of its jobs."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.history import journal_frame
from jupyter_mjci.history.frames import jobs_to_frame
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.journal_frame import load_journal_frame

THEN = datetime(2026, 1, 1, 1, 2, 3, 456789, tzinfo=UTC)


@pytest.fixture(params=["file", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.db" if request.param == "file" else None)
    yield journal
    journal.close()


@pytest.fixture(params=["arrow", "plain"])
def text_library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "plain":
        find = importlib.util.find_spec
        monkeypatch.setattr(
            journal_frame, "find_spec", lambda name: None if name == "pyarrow" else find(name)
        )


def make_jobs() -> list[Job]:
    jobs = [
        Job(
            "mj" if number % 3 else "ci",
            f"{number}",
            "IMAGINE",
            list(Status)[number % 6],
            number * 10,
            f"a fox, {number}\x1f" if number == 4 else f"a {{red}} 狐 {number}",
            ("http://a", "http://b")[: number % 3],
            (Button("c::1", "U1"), Button("d", "", "🔄")) if number % 2 else (),
            THEN - timedelta(hours=number),
            THEN + timedelta(seconds=number),
            THEN + timedelta(seconds=40) if number % 2 else None,
            "no" if number == 5 else "",
            "",
            "",
            "7",
        )
        for number in range(9)
    ]
    return [*jobs, Job("mj", "bare")]


def test_frame_equals_that_of_the_same_jobs(journal: Journal, text_library: None) -> None:
    """Cells and dtypes, oldest first, in whatever order the jobs were seen."""
    journal.record_jobs(make_jobs(), 1.0)
    pd.testing.assert_frame_equal(load_journal_frame(journal), jobs_to_frame(journal.jobs()))


def test_frame_is_the_same_in_several_chunks(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.record_jobs(make_jobs(), 1.0)
    whole = load_journal_frame(journal)
    monkeypatch.setattr("jupyter_mjci.history.journal_export.CHUNK_ROWS", 2)
    pd.testing.assert_frame_equal(load_journal_frame(journal), whole)


def test_frame_of_an_empty_journal_has_all_columns(journal: Journal, text_library: None) -> None:
    assert load_journal_frame(journal).dtypes.equals(jobs_to_frame(make_jobs()).dtypes)
    assert load_journal_frame(journal).empty


def test_condition_selects_rows(journal: Journal) -> None:
    journal.record_jobs(make_jobs(), 1.0)
    assert list(
        load_journal_frame(journal, "service = ? AND status = 'FAILED'", ("mj",))["id"]
    ) == ["4"]
