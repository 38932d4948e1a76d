"""Pictures by name: a job's ID, one of its pictures, a path, and what is neither."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.session import Session


@pytest.fixture
def session() -> Iterator[Session]:
    with mjci.sandbox(speed=math.inf) as session:
        yield session


def finish(call: Call[Job]) -> Job:
    assert isinstance(call.sender, Session)
    job: Job = call.sender.follow(call).run()
    return job


def read(session: Session, source: object) -> tuple[int, int]:
    return session.picture(source).run().size  # type: ignore[arg-type]


def test_picture_is_read_by_the_id_of_a_job_and_its_number(session: Session) -> None:
    """As often as wanted; counted from 0, also from the end."""
    grid = finish(session.mj.imagine("a fox"))
    width, height = read(session, grid.id)
    half = (width // 2, height // 2)
    assert [read(session, f"{grid.id}[{number}]") for number in (0, 3, -1)] == [half] * 3


def test_job_that_nobody_has_seen_is_asked_for(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its ID alone, and one of its pictures."""
    grid = finish(session.mj.imagine("a fox"))
    sizes = [read(session, grid), read(session, grid[1])]
    client = session._jobs._client
    for name in (grid.id, f"{grid.id}[1]"):
        client._known_jobs.clear()
        monkeypatch.setattr(client.journal, "find_job", lambda _: None)
        assert read(session, name) == sizes.pop(0)


def test_path_and_id_of_the_same_name_are_ambiguous(
    session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in the current folder that is called like a job."""
    grid = finish(session.mj.imagine("a fox"))
    monkeypatch.chdir(tmp_path)
    Path(grid.id).write_bytes(bytes(session.picture(grid).run()))
    with pytest.raises(InvalidRequest, match="is a file and the ID of a job"):
        read(session, grid.id)
    assert read(session, f"./{grid.id}") == read(session, grid)


@pytest.mark.parametrize("name", ["nothing", "no such thing"])
def test_name_of_nothing_is_refused(session: Session, name: str) -> None:
    with pytest.raises(InvalidRequest, match="There is no file and no job"):
        read(session, name)


def test_size_of_a_picture_is_known_without_a_request(session: Session) -> None:
    """What the service told, or what was fetched; none of a grid, whose parts are pictures."""
    grid = finish(session.mj.imagine("a fox"))
    upscaled = finish(session.mj.action(grid, "U1"))
    waiting = finish(session.mj.action(upscaled, "Vary (Region)"))
    assert waiting.status is Status.NEEDS_INPUT
    find_size = session._jobs.pictures.find_size
    size = read(session, upscaled)
    assert [find_size(job.id) for job in (grid, upscaled, waiting)] == [None, size, size]
    assert find_size("404") is None
    assert find_size("") is None


def test_size_that_the_service_tells_is_that_of_the_job(session: Session) -> None:
    """Nothing was fetched; each job has its own."""
    for number in (1, 2):
        raw = {"imageWidth": 100 * number, "imageHeight": 50}
        job = Job("mj", f"17{number}", "UPSCALE", Status.SUCCEEDED, outputs=("http://a",), raw=raw)
        session._jobs._client.record([job])
    find_size = session._jobs.pictures.find_size
    for _ in range(2):
        assert [find_size(name) for name in ("171", "172")] == [(100, 50), (200, 50)]
        # the second time from the journal
        session._jobs._client._known_jobs.clear()
