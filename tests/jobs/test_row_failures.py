"""An exception that nobody foresaw ends the row that met it, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Job
from jupyter_mjci.history.image_archive import ImageArchive
from jupyter_mjci.jobs.downloads import ResultFetcher
from jupyter_mjci.services.midjourney import responses
from jupyter_mjci.session import Session

UNFORESEEN = [RuntimeError("a bug"), KeyError("status"), MemoryError(), RecursionError("deep")]


@pytest.fixture
def session() -> Iterator[Session]:
    with mjci.sandbox() as session:
        yield session


def build_calls(session: Session) -> list[Any]:
    return [session.mj.imagine(f"fox {number}") for number in range(3)]


def spoil_parser(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the parser of tasks fail for one of them, whatever response it is in."""
    parse = responses.parse_job

    def fail(task: Any) -> Job:
        if "fox 1" in str(task.get("prompt")):
            raise error
        return parse(task)

    monkeypatch.setattr(responses, "parse_job", fail)


@pytest.mark.parametrize("error", UNFORESEEN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("is_sent", [False, True], ids=["calls", "jobs"])
def test_parser_that_fails_for_one_job_ends_that_row(
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    is_sent: bool,
) -> None:
    """All three are polled by one request, which then fails for all: each is asked for alone."""
    targets = build_calls(session)
    if is_sent:
        targets = [call.run() for call in targets]
    spoil_parser(monkeypatch, error)
    updates = list(session.batch(targets).updates())
    last = {update.index: update.job for update in updates}
    assert {index: job.status for index, job in last.items()} == {
        0: "SUCCEEDED",
        1: "FAILED",
        2: "SUCCEEDED",
    }
    assert type(error).__name__ in last[1].raw["traceback"]
    assert type(error).__name__ in caplog.text


@pytest.mark.parametrize("error", UNFORESEEN, ids=lambda error: type(error).__name__)
def test_archive_that_fails_for_one_job_ends_that_row(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    fetch = ResultFetcher._fetch_result

    async def fail(self: ResultFetcher, job: Job, url: str) -> bytes:
        if "fox 1" in job.subject:
            raise error
        return await fetch(self, job, url)

    monkeypatch.setattr(ResultFetcher, "_fetch_result", fail)
    monkeypatch.setattr(session._jobs.results, "archive", ImageArchive(tmp_path))
    last = {update.index: update.job for update in session.batch(build_calls(session)).updates()}
    assert [last[index].status for index in range(3)] == ["SUCCEEDED", "FAILED", "SUCCEEDED"]
    assert type(error).__name__ in last[1].raw["traceback"]
