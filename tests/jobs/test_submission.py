"""A submission happens once, whatever breaks on the way. The sandbox's own books are the judge."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.settings import load
from jupyter_mjci.errors import BannedPrompt, MjciError, QueueFull, TransportError, Unsupported
from jupyter_mjci.session import Session

FAULTS: dict[str, dict[str, Any]] = {
    "refuse": {},
    "drop_before": {},
    "drop_after": {},
    "truncate": {},
    "malformed": {},
    "html": {},
    "status 429": {"status": 429},
    "status 503 not done": {"status": 503},
    "status 502 done": {"status": 502, "done": True},
    "html done": {"done": True},
    "content_type": {},
    "restart": {"remember": True},
}


@pytest.fixture
def s(request: pytest.FixtureRequest) -> Iterator[Session]:
    with mjci.sandbox(speed=float("inf"), dialect=getattr(request, "param", "plus")) as session:
        yield session


def faulty(s: Session, name: str, route: str, times: int) -> None:
    assert s.sandbox is not None
    s.sandbox.faults.add(name.partition(" ")[0], route=route, times=times, **FAULTS[name])


def imagine(s: Session, **more: Any) -> Call[Job]:
    return s.mj.imagine("a red fox", **more)


def picture_job(s: Session, **more: Any) -> Call[Job]:
    return s.ci.picture_job(
        input="input/deer.jpg", rule="imageMogr2/rotate/90", output="o.jpg", **more
    )


def on_the_books(s: Session) -> list[Job]:
    """What the services themselves know, asked when nothing breaks any more."""
    assert s.sandbox is not None
    s.sandbox.faults.clear()
    return [*s.mj.tasks().run(), *s.ci.jobs().run()]


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("build", "route"),
    [(imagine, "POST /mj/submit/*"), (picture_job, "POST /jobs")],
    ids=["mj", "ci"],
)
def test_one_submission_one_job(
    s: Session, build: Callable[..., Call[Job]], route: str, fault: str, times: int
) -> None:
    """Once or several times in a row, with the work done or not: one job, and its id is known."""
    faulty(s, fault, route, times)
    job = build(s).run()
    (known,) = on_the_books(s)
    assert known.id == job.id
    (row,) = s.journal.submissions()
    assert (row.state, row.job_id) == ("accepted", job.id)


@pytest.mark.parametrize("fault", ["drop_after", "drop_before", "malformed"])
@pytest.mark.parametrize(
    ("build", "route", "mark"),
    [
        (imagine, "POST /mj/submit/*", {"state": "mine"}),
        (picture_job, "POST /jobs", {"user_data": "mine"}),
    ],
    ids=["mj", "ci"],
)
def test_a_users_own_mark_is_never_altered(
    s: Session, build: Callable[..., Call[Job]], route: str, mark: dict[str, str], fault: str
) -> None:
    """Then the job is found by what the call says; an equal one from before is not taken for it."""
    earlier = build(s, **mark).run()
    faulty(s, fault, route, 1)
    job = build(s, **mark).run()
    assert {one.id for one in on_the_books(s)} == {earlier.id, job.id}
    assert {one.user_data for one in on_the_books(s)} == {"mine"}
    assert earlier.id != job.id


def test_our_own_mark_is_nobodys_business(s: Session) -> None:
    """It travels in `state` and UserData, and shows in no Job and no frame."""
    jobs = [imagine(s).run(), picture_job(s).run()]
    assert [job.user_data for job in (*jobs, *on_the_books(s))] == ["", "", "", ""]
    assert s.history()["user_data"].isna().all()
    assert str(s.mj.task(jobs[0].id).run().raw["state"]).startswith("mjci-")


@pytest.mark.parametrize("s", ["new-api"], indirect=True)
def test_where_nobody_can_know_it_is_said(s: Session) -> None:
    """A relay without a listing: nothing is sent twice, the row stays unknown, and resume says so
    too.
    """
    faulty(s, "drop_after", "POST /mj/submit/*", 1)
    with pytest.raises(TransportError, match="unknown whether") as caught:
        imagine(s).run()
    assert caught.value.may_have_been_sent
    assert [row.state for row in s.journal.unresolved()] == ["unknown"]
    assert s.resume().run() == []
    assert [row.state for row in s.journal.unresolved()] == ["unknown"]


def test_two_alike_are_not_guessed_at(s: Session) -> None:
    """Two unclaimed jobs that both look like the lost one: adopting either would be a guess."""
    lines = [imagine(s, state="mine") for _ in range(2)]
    for call in lines:
        event_loop.run(s.client.send_once(call))
    faulty(s, "drop_after", "POST /mj/submit/*", 1)
    with pytest.raises(TransportError, match="jobs match it"):
        imagine(s, state="mine").run()
    assert len(on_the_books(s)) == 3


@pytest.mark.parametrize(
    ("prepare", "error", "state"),
    [
        (lambda s: s.mj.imagine("a bloody battle"), BannedPrompt, "rejected"),
        (lambda s: s.mj.action("17", "MJ::JOB::upsample::1::x"), MjciError, "rejected"),
    ],
)
def test_a_clear_no_is_final(s: Session, prepare: Any, error: type[MjciError], state: str) -> None:
    with pytest.raises(error):
        prepare(s).run()
    assert [row.state for row in s.journal.submissions()] == [state]


def test_a_full_queue_waits_for_the_follower_only(s: Session) -> None:
    """`run()` says that the queue is full; `follow` waits for room."""
    for _ in range(13):
        imagine(s).run()
    with pytest.raises(QueueFull):
        imagine(s).run()
    assert s.follow(imagine(s)).run().status is Status.SUCCEEDED
    assert len(on_the_books(s)) == 14


def test_a_wrong_address_is_not_a_lost_answer() -> None:
    """A server that is no proxy at all answers everything with a page: that is said at once."""
    page = httpx.MockTransport(lambda _: httpx.Response(200, html="<!doctype html><p>hello</p>"))
    session = Session(load({"mj_url": "http://elsewhere"}, environ={}), transport=page)
    with pytest.raises(Unsupported):
        session.mj.imagine("a red fox").run()
    assert [row.state for row in session.journal.submissions()] == ["rejected"]


def test_a_dialog_is_answered_once(s: Session) -> None:
    """modal starts a task each time it comes: a lost answer is looked up by the task's own
    state.
    """
    grid = s.follow(imagine(s)).run()
    large = s.follow(s.mj.action(grid, "U1")).run()
    asking = s.follow(s.mj.action(large, "Custom Zoom")).run()
    assert asking.status is Status.NEEDS_INPUT
    faulty(s, "drop_after", "POST /mj/submit/modal", 1)
    assert s.mj.modal(asking.id, "a red fox --zoom 1.5").run().id == asking.id
    assert len(on_the_books(s)) == 3


KILLED = """
import os, signal, sys, jupyter_mjci as mjci
from pathlib import Path
s = mjci.connect(mj_url=sys.argv[1], mj_secret=sys.argv[2], home=Path(sys.argv[3]), timeout=1)
def die(event, value):
    if event == sys.argv[4]:
        os.kill(os.getpid(), signal.SIGKILL)
s.listeners.append(die)
s.follow(s.mj.imagine("a red fox")).run()
"""


@pytest.mark.parametrize("moment", ["submitting", "job_updated"])
def test_resume_after_a_kill(tmp_path: Path, moment: str) -> None:
    """A process that dies before its request leaves, or after its answer came: another one finishes
    the work.
    """
    from jupyter_mjci.emulator.app import Sandbox
    from jupyter_mjci.emulator.clock import ScaledClock

    with Sandbox(clock=ScaledClock(100)).serve() as door:
        told = door.settings
        arguments = [told["mj_url"], told["mj_secret"], str(tmp_path), moment]
        died = subprocess.run([sys.executable, "-c", KILLED, *arguments], timeout=60, check=False)
        assert died.returncode == -9
        with mjci.connect(
            mj_url=told["mj_url"], mj_secret=told["mj_secret"], home=tmp_path, timeout=1
        ) as session:
            (job,) = session.resume(poll_interval=0.2).run()
            assert (job.status, job.subject) == (Status.SUCCEEDED, "a red fox")
            assert len(session.mj.tasks().run()) == 1
            assert [row.state for row in session.journal.submissions()] == ["accepted"]
            assert session.archive is not None
            assert session.archive.find(job) is not None


def test_a_small_drill() -> None:
    """Sixty submissions to both services, a fifth of the requests faulty, the process killed twice.
    `python -m tests.stress` is the whole one.
    """
    from tests.stress import drill

    outcome = drill(60, 2, seed=3)
    assert outcome.right(60), outcome
    assert outcome.struck > 5


@pytest.mark.parametrize(
    "fault", ["html", "malformed", "drop_after", "status 503 not done", "truncate"]
)
@pytest.mark.parametrize(
    ("build", "route", "listing"),
    [(imagine, "POST /mj/submit/*", "GET /mj/task/list"), (picture_job, "POST /jobs", "GET /jobs")],
    ids=["mj", "ci"],
)
def test_looking_may_meet_faults_too(
    s: Session, build: Callable[..., Call[Job]], route: str, listing: str, fault: str
) -> None:
    """The answer was a web page although the work was done, and so is the first look: still one
    job.
    """
    faulty(s, "html done", route, 1)
    faulty(s, fault, listing, 2)
    job = build(s).run()
    assert [one.id for one in on_the_books(s)] == [job.id]
