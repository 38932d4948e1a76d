"""Sync and import: complete, resumable and counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import HistoryError, InvalidRequest, TransportError
from jupyter_mjci.history.sync import SyncResult
from jupyter_mjci.session import Session


@pytest.fixture
def session() -> Iterator[Session]:
    with mjci.sandbox(speed=float("inf")) as session:
        yield session


def picture_job(session: Session, number: int) -> Call[Job]:
    return session.ci.picture_job(
        input="input/deer.jpg", rule="imageMogr2/thumbnail/8x", output=f"out/{number}.jpg"
    )


def empty_journal(session: Session) -> Session:
    """Empty the journal, on the same services."""
    session.journal._get_connection().executescript(
        "DELETE FROM jobs; DELETE FROM job_events; DELETE FROM metadata"
    )
    session.client._known_jobs.clear()
    return session


def run_jobs(session: Session, jobs: int) -> None:
    for number in range(jobs):
        picture_job(session, number).run()
        session.client.clock.advance(1)  # type: ignore[attr-defined]
    session.mj.imagine("a red fox").run()
    session.client.clock.advance(3600)  # type: ignore[attr-defined]


def test_sync_fetches_every_job_once(session: Session) -> None:
    """Jobs of both services, over several pages; a second sync has nothing new."""
    run_jobs(session, 230)
    first = empty_journal(session).sync()
    assert (first.seen, first.new, first.changed) == (231, 231, 0)
    assert first.pages >= 4
    assert len(session.history()) == 231
    assert session.sync().new == 0


def test_interrupted_sync_continues_where_it_stopped(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages that were fetched are not requested again."""
    run_jobs(session, 230)
    empty_journal(session)
    monkeypatch.setattr("jupyter_mjci.history.sync.OVERLAP", timedelta(0))
    send = session.client.transport.send
    pages_left = 2

    async def fail_after_pages(call: Call[Any]) -> Any:
        nonlocal pages_left
        if call.name == "jobs":
            if pages_left <= 0:
                raise TransportError("the connection was lost")
            pages_left -= 1
        return await send(call)

    monkeypatch.setattr(session.client.transport, "send", fail_after_pages)
    with pytest.raises(TransportError):
        session.sync()
    assert len(session.history(service="ci")) == 200
    pages_left = 1000
    rest = session.sync()
    assert rest.seen < 231
    assert len(session.history()) == 231


@pytest.mark.parametrize("error", [TransportError("gone"), ZeroDivisionError("a bug")])
@pytest.mark.parametrize(("name", "other"), [("jobs", "mj"), ("tasks", "ci")])
def test_failed_listing_leaves_the_other_services_alone(
    session: Session, monkeypatch: pytest.MonkeyPatch, name: str, other: str, error: Exception
) -> None:
    """What could be fetched is in the journal; then the error is raised."""
    run_jobs(session, 3)
    empty_journal(session)
    send = session.client.transport.send

    async def fail(call: Call[Any]) -> Any:
        if call.name == name:
            raise error
        return await send(call)

    monkeypatch.setattr(session.client.transport, "send", fail)
    with pytest.raises(type(error)):
        session.sync()
    assert set(session.history()["service"]) == {other}


def test_active_jobs_are_fetched_again(session: Session) -> None:
    """Jobs older than the last sync change, too."""
    task = session.mj.imagine("a red fox").run()
    session.sync()
    assert list(session.history()["status"]) == ["QUEUED"]
    session.client.clock.advance(3600)  # type: ignore[attr-defined]
    counts = session.sync()
    assert (counts.new, counts.changed) == (0, 1)
    assert session.history().set_index("id").loc[task.id, "status"] == "SUCCEEDED"


def test_sync_of_a_time_window_leaves_the_bookmark(session: Session) -> None:
    """`since` and `until` select creation times; the next plain sync is not affected."""
    run_jobs(session, 3)
    middle = session.history(service="ci")["submitted"].iloc[-1] + timedelta(minutes=1)
    for number in range(2):
        picture_job(session, number).run()
    empty_journal(session)
    assert session.sync(since=middle).seen == 2
    assert len(session.history(service="ci")) == 2
    assert session.sync(until=middle.isoformat()).seen == 4
    assert session.sync().new == 0
    with pytest.raises(InvalidRequest, match="not a valid time"):
        session.sync(since="yesterday")


def test_history_filters_and_notes_a_limit(session: Session) -> None:
    """`limit` keeps the latest jobs, and the frame says so."""
    run_jobs(session, 5)
    assert list(session.history(service="mj")["action"]) == ["IMAGINE"]
    assert len(session.history(action="PicProcess", since="2020-01-01", until="2099-01-01")) == 5
    latest = session.history(limit=2)
    assert list(latest["id"]) == list(session.history()["id"])[-2:]
    assert latest.attrs["note"] == "the latest 2 of 6 jobs (limit=2)"
    assert "note" not in session.history(limit=6).attrs
    assert session.history(since="2099-01-01").empty
    assert "6 jobs" in repr(session.history)


def test_progress_has_each_step_once(session: Session) -> None:
    """When each step was first seen, in seconds since the first; also by id."""
    job = session.follow(session.mj.imagine("a red fox")).run()
    curve = session.history.progress(job)
    assert list(curve["status"])[-1] == "SUCCEEDED"
    assert curve["progress"].dropna().is_monotonic_increasing
    assert curve["elapsed"].is_monotonic_increasing
    assert len(curve) >= 3
    assert session.history.progress(job.id).equals(curve)


# --- exports --------------------------------------------------------------------------------------

TASK = {
    "id": "1767225600000001",
    "action": "IMAGINE",
    "status": "SUCCESS",
    "prompt": "狐",
    "submitTime": 1767225600000,
}
LATER = {**TASK, "id": "1767225600000002", "submitTime": 1767312000000}
DETAIL = "<JobsDetail><JobId>j{}</JobId><Tag>PicProcess</Tag><State>Success</State></JobsDetail>"
EVENT = {
    "EventName": "TaskFinish",
    "JobsDetail": {"JobId": "j7", "Tag": "PicProcess", "State": "Failed"},
}

# Name and content of a file, the ids of its jobs, and how many of its records are no jobs.
FILES: list[tuple[str, str, list[str], int]] = [
    ("list.json", json.dumps([TASK, LATER]), [TASK["id"], LATER["id"]], 0),  # type: ignore[list-item]
    ("one.json", json.dumps(TASK), [TASK["id"]], 0),  # type: ignore[list-item]
    ("wrapped.json", json.dumps({"code": 1, "data": [TASK]}), [TASK["id"]], 0),  # type: ignore[list-item]
    (
        "page.xml",
        f"<Response>{DETAIL.format(1)}{DETAIL.format(2)}<NextToken>x</NextToken></Response>",
        ["j1", "j2"],
        0,
    ),
    ("single.xml", f"<Response>{DETAIL.format(3)}</Response>", ["j3"], 0),
    (
        "hooks.log",
        "\n".join([json.dumps(TASK), "", "noise", json.dumps(EVENT), json.dumps(LATER)]),
        [TASK["id"], "j7", LATER["id"]],
        1,
    ),  # type: ignore[list-item]
    (
        "hooks.txt",
        f"<Response>{DETAIL.format(4)}</Response>\n<Response>{DETAIL.format(5)}</Response>",
        ["j4", "j5"],
        0,
    ),
    ("odd.json", json.dumps([TASK, 7, None, {"x": 1}, LATER]), [TASK["id"], LATER["id"]], 3),  # type: ignore[list-item]
    ("broken.json", '[{"id": ', [], 1),
]


@pytest.mark.parametrize(
    ("name", "content", "ids", "skipped"), FILES, ids=[file[0] for file in FILES]
)
def test_load_imports_listings_and_webhook_logs(
    session: Session, tmp_path: Path, name: str, content: str, ids: list[str], skipped: int
) -> None:
    """Of both services; records that are no jobs are counted as skipped."""
    (tmp_path / name).write_text(content, "utf-8")
    assert session.history.load(tmp_path / name) == SyncResult(len(ids), len(ids), 0, 1, skipped)
    assert sorted(session.history()["id"]) == sorted(ids)
    assert session.history.load(tmp_path / name).new == 0


def test_load_imports_a_folder_within_a_window(session: Session, tmp_path: Path) -> None:
    """A job in several files is one."""
    for name, content, _, _ in FILES:
        (tmp_path / name).write_text(content, "utf-8")
    (tmp_path / "picture.png").write_bytes(b"no export")
    assert session.history.load(tmp_path, since="2026-01-02").new == 1
    counts = session.history.load(tmp_path)
    assert (counts.new, counts.pages) == (7, len(FILES))
    with pytest.raises(HistoryError, match="no file"):
        session.history.load(tmp_path / "missing")


def test_lone_surrogate_is_replaced(session: Session, tmp_path: Path) -> None:
    """Half a surrogate pair in a prompt costs that character, not the listing."""
    (tmp_path / "odd.json").write_text(
        '[{"id": "1", "status": "SUCCESS", "prompt": "a \\ud83d fox"}]'
    )
    assert session.history.load(tmp_path / "odd.json").new == 1
    assert list(session.history()["subject"]) == ["a ? fox"]
