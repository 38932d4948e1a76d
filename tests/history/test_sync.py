"""The journal ← the services and their exports: complete, resumable, counted."""

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
def s() -> Iterator[Session]:
    with mjci.sandbox(speed=float("inf")) as session:
        yield session


def picture_job(s: Session, number: int) -> Call[Job]:
    return s.ci.picture_job(
        input="input/deer.jpg", rule="imageMogr2/thumbnail/8x", output=f"out/{number}.jpg"
    )


def forgotten(s: Session) -> Session:
    """The same services, and a journal that knows nothing."""
    s.journal._get_connection().executescript(
        "DELETE FROM jobs; DELETE FROM job_events; DELETE FROM metadata"
    )
    s.client._known_jobs.clear()
    return s


def served(s: Session, jobs: int) -> None:
    for number in range(jobs):
        picture_job(s, number).run()
        s.clock.advance(1)  # type: ignore[attr-defined]
    s.mj.imagine("a red fox").run()
    s.clock.advance(3600)  # type: ignore[attr-defined]


def test_everything_comes_once(s: Session) -> None:
    """All jobs of both services over several pages; the second time nothing is new."""
    served(s, 230)
    first = forgotten(s).sync()
    assert (first.seen, first.new, first.changed) == (231, 231, 0)
    assert first.pages >= 4
    assert len(s.history()) == 231
    assert s.sync().new == 0


def test_a_sync_that_was_cut_off_goes_on_where_it_was(
    s: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages that came are kept; the next sync does not ask for them again, and misses
    nothing.
    """
    served(s, 230)
    forgotten(s)
    monkeypatch.setattr("jupyter_mjci.history.sync.OVERLAP", timedelta(0))
    plain, left = s.transport.send, 2

    async def cut(call: Call[Any]) -> Any:
        nonlocal left
        if call.name == "jobs" and left <= 0:
            raise TransportError("the plug was pulled")
        left -= call.name == "jobs"
        return await plain(call)

    monkeypatch.setattr(s.transport, "send", cut)
    with pytest.raises(TransportError):
        s.sync()
    assert len(s.history(service="ci")) == 200
    left = 1000
    rest = s.sync()
    assert rest.seen < 231
    assert len(s.history()) == 231


def test_what_had_not_ended_is_asked_for_again(s: Session) -> None:
    """Jobs older than the last sync change, too."""
    task = s.mj.imagine("a red fox").run()
    s.sync()
    assert list(s.history()["status"]) == ["QUEUED"]
    s.clock.advance(3600)  # type: ignore[attr-defined]
    counts = s.sync()
    assert (counts.new, counts.changed) == (0, 1)
    assert s.history().set_index("id").loc[task.id, "status"] == "SUCCEEDED"


def test_a_window_of_time(s: Session) -> None:
    """--since and --until choose creation times, and leave the mark of the plain sync alone."""
    served(s, 3)
    middle = s.history(service="ci")["submitted"].iloc[-1] + timedelta(minutes=1)
    for number in range(2):
        picture_job(s, number).run()
    forgotten(s)
    assert s.sync(since=middle).seen == 2
    assert len(s.history(service="ci")) == 2
    assert s.sync(until=middle.isoformat()).seen == 4
    assert s.sync().new == 0
    with pytest.raises(InvalidRequest, match="not a valid time"):
        s.sync(since="yesterday")


def test_history_narrows_and_says_what_it_left_out(s: Session) -> None:
    """`limit` keeps the latest, and the frame says so."""
    served(s, 5)
    assert list(s.history(service="mj")["action"]) == ["IMAGINE"]
    assert len(s.history(action="PicProcess", since="2020-01-01", until="2099-01-01")) == 5
    latest = s.history(limit=2)
    assert list(latest["id"]) == list(s.history()["id"])[-2:]
    assert latest.attrs["note"] == "the latest 2 of 6 jobs (limit=2)"
    assert "note" not in s.history(limit=6).attrs
    assert s.history(since="2099-01-01").empty
    assert "6 jobs" in repr(s.history)


def test_progress_is_a_curve(s: Session) -> None:
    """Each step as it was first seen, in seconds after the first."""
    job = s.follow(s.mj.imagine("a red fox")).run()
    curve = s.history.progress(job)
    assert list(curve["status"])[-1] == "SUCCEEDED"
    assert curve["progress"].dropna().is_monotonic_increasing
    assert curve["elapsed"].is_monotonic_increasing
    assert len(curve) >= 3


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

# What a file holds, the ids of its jobs, and how many of its records are none.
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
    ("name", "content", "ids", "skipped"), FILES, ids=[one[0] for one in FILES]
)
def test_exports_are_read(
    s: Session, tmp_path: Path, name: str, content: str, ids: list[str], skipped: int
) -> None:
    """Listings and callback logs of both services; what is no job is counted, not lost in
    silence.
    """
    (tmp_path / name).write_text(content, "utf-8")
    assert s.history.load(tmp_path / name) == SyncResult(len(ids), len(ids), 0, 1, skipped)
    assert sorted(s.history()["id"]) == sorted(ids)
    assert s.history.load(tmp_path / name).new == 0


def test_a_folder_and_a_window(s: Session, tmp_path: Path) -> None:
    """All exports of a folder; jobs in several are one. A window leaves out what lies beyond it."""
    for name, content, _, _ in FILES:
        (tmp_path / name).write_text(content, "utf-8")
    (tmp_path / "picture.png").write_bytes(b"no export")
    assert s.history.load(tmp_path, since="2026-01-02").new == 1
    counts = s.history.load(tmp_path)
    assert (counts.new, counts.pages) == (7, len(FILES))
    with pytest.raises(HistoryError, match="no file"):
        s.history.load(tmp_path / "missing")


def test_a_text_that_no_file_can_keep_is_kept_as_far_as_it_goes(s: Session, tmp_path: Path) -> None:
    """Half a surrogate pair in a prompt costs that character, not the listing."""
    (tmp_path / "odd.json").write_text(
        '[{"id": "1", "status": "SUCCESS", "prompt": "a \\ud83d fox"}]'
    )
    assert s.history.load(tmp_path / "odd.json").new == 1
    assert list(s.history()["subject"]) == ["a ? fox"]
