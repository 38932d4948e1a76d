"""An exception that nobody foresaw ends the row that met it, and no other."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import jupyter_mjci as mjci
from jupyter_mjci.client.calls import build_failed_call
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.history.image_archive import ImageArchive
from jupyter_mjci.jobs import study_sheet
from jupyter_mjci.jobs.downloads import ResultFetcher
from jupyter_mjci.notebook.outputs import LiveOutput
from jupyter_mjci.notebook.row_batch import RowBatch, load_table
from jupyter_mjci.services.midjourney import responses
from jupyter_mjci.services.tencent_ci import responses as ci_responses
from jupyter_mjci.session import Session
from tests.notebook.test_job_display import RecordingPublisher

UNFORESEEN = [RuntimeError("a bug"), KeyError("status"), MemoryError(), RecursionError("deep")]


@pytest.fixture
def session() -> Iterator[Session]:
    with mjci.sandbox(speed=float("inf")) as session:
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


def fail_for(spoiled: str, error: BaseException, build: Callable[..., Any]) -> Callable[..., Any]:
    """Return a builder that fails where an argument holds a word."""

    @functools.wraps(build)
    def builder(*args: Any, **options: Any) -> Any:
        if any(spoiled in str(value) for value in (*args, *options.values())):
            raise error
        return build(*args, **options)

    return builder


BUILDER_ERRORS = [TypeError("a bug"), KeyError("status"), OSError(28, "No space left on device")]


@pytest.mark.parametrize("error", BUILDER_ERRORS, ids=lambda error: type(error).__name__)
def test_builder_that_fails_for_one_row_of_a_study_ends_that_row(
    session: Session, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    builder = fail_for("owl", error, session.mj.imagine)
    study = session.study(builder, "a {{animal}}", animal=["fox", "owl", "cat"])
    assert study.job_count == 2
    study.run()
    assert [job.status for job in study] == ["SUCCEEDED", "FAILED", "SUCCEEDED"]
    assert type(error).__name__ in study[1].raw["traceback"]
    assert type(error).__name__ in study[1].reason
    assert type(error).__name__ in caplog.text
    assert list(study.frame()["status"]) == ["SUCCEEDED", "FAILED", "SUCCEEDED"]


def test_builder_that_fails_for_every_row_is_told_before_anything_is_sent(session: Session) -> None:
    builder = fail_for("a ", TypeError("a bug"), session.mj.imagine)
    with pytest.raises(InvalidRequest, match="animal='fox': TypeError: a bug") as caught:
        session.study(builder, "a {{animal}}", animal=["fox", "owl"])
    assert isinstance(caught.value.__cause__, TypeError)
    assert session.tasks().empty


def test_failed_call_raises_what_its_builder_raised(session: Session) -> None:
    call = build_failed_call(session.mj.imagine("fox"), KeyError("status"))
    with pytest.raises(KeyError, match="status"):
        call.run()


def test_picture_that_fails_leaves_the_others_in_the_sheet(
    session: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    study = session.study("a {{animal}}", animal=["fox", "owl"]).run()
    picture = session.picture

    def fail(job: Any, *args: Any) -> Any:
        if "owl" in job.subject:
            raise KeyError("a bug")
        return picture(job, *args)

    monkeypatch.setattr(session, "picture", fail)
    drawn: list[Any] = []
    monkeypatch.setattr(study_sheet, "draw", lambda _rows, cells, *_: drawn.extend(cells))
    study.sheet()
    assert isinstance(drawn[0], bytes)
    assert drawn[1] == "no picture: KeyError"
    assert "a bug" in caplog.text


# -- sync


def count_seen(session: Session, calls: list[Any], spoil: Callable[[], None]) -> tuple[int, int]:
    """Run jobs to their end; return how many a sync sees, and how many with a spoiled parser."""
    for _ in session.batch(calls).updates():
        pass
    since = datetime(2000, 1, 1, tzinfo=UTC)
    whole = session.sync(since=since).seen
    spoil()
    return whole, session.sync(since=since).seen


@pytest.mark.parametrize("error", BUILDER_ERRORS, ids=lambda error: type(error).__name__)
def test_task_that_cannot_be_read_leaves_the_others_of_a_sync(
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    spoil = functools.partial(spoil_parser, monkeypatch, error)
    whole, rest = count_seen(session, build_calls(session), spoil)
    assert (whole, rest) == (3, 2)
    assert type(error).__name__ in caplog.text


def test_job_that_cannot_be_read_leaves_the_later_pages_of_a_sync(
    session: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = [
        session.ci.picture_job(
            input="input/deer.jpg", rule="imageMogr2/rotate/90", output=f"out/{number}.jpg"
        )
        for number in range(12)
    ]
    parse = ci_responses.parse_job

    def fail(element: Any) -> Job:
        if "out/3.jpg" in str(element):
            raise KeyError("a bug")
        return parse(element)

    spoil = functools.partial(monkeypatch.setattr, ci_responses, "parse_job", fail)
    # pages of 10: the second one comes after the failure
    whole, rest = count_seen(session, calls, spoil)
    assert (whole, rest) == (12, 11)
    assert "a bug" in caplog.text


def test_active_job_that_cannot_be_read_leaves_the_others_of_a_sync(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs that listings have dropped are asked for by their IDs, many at once."""
    jobs = [call.run() for call in build_calls(session)]
    spoil_parser(monkeypatch, KeyError("a bug"))
    monkeypatch.setattr(responses, "parse_listed", lambda _: [])
    assert session.sync().seen == len(jobs) - 1


# -- tables


def test_builder_that_fails_for_one_row_of_a_table_ends_that_row(
    session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    table = load_table("t", {"t": [{"animal": name} for name in ("fox", "owl", "cat")]})
    builder = fail_for("owl", TypeError("a bug"), session.mj.imagine)
    calls = table.build_calls("{{animal}}", {}, lambda row: builder(f"a {row['animal']}"))
    batch = RowBatch("t", table, calls)
    batch.run(session, 3, LiveOutput(RecordingPublisher()))
    assert list(batch.to_frame()["status"]) == ["SUCCEEDED", "FAILED", "SUCCEEDED"]
    assert "TypeError" in batch.jobs[1].raw["traceback"]
    assert "TypeError: a bug" in batch.to_frame()["reason"][1]
    assert "a bug" in caplog.text


def test_search_for_a_lost_submission_does_not_skip_what_it_cannot_read(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left out would count as absent, and be made twice."""
    for call in build_calls(session):
        call.run()
    spoil_parser(monkeypatch, KeyError("a bug"))
    with pytest.raises(KeyError):
        session.mj.tasks().run()


# -- the archive


@pytest.mark.parametrize("note", ["", "[]", "{}", '{"expires": 1}', "\udcff"])
def test_damaged_note_of_the_archive_hides_no_other(
    tmp_path: Path, note: str, caplog: pytest.LogCaptureFixture
) -> None:
    archive = ImageArchive(tmp_path)
    pixel = io.BytesIO()
    Image.new("RGB", (4, 4)).save(pixel, "PNG")
    for number in range(3):
        archive.save(Job("mj", str(number)), "http://x/y.png", pixel.getvalue(), 0, 0.0)
    damaged = tmp_path / "notes/mj/1-0.json"
    damaged.write_bytes(note.encode("utf-8", "surrogateescape"))
    assert {image.job_id for image in archive} == {"0", "2"}
    assert str(damaged) in caplog.text
    assert archive.find(Job("mj", "1")) is None
