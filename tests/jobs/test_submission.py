"""Exactly-once submission under faults, judged by the emulator's own records."""

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
from jupyter_mjci.errors import BannedPrompt, MjciError, QueueFull, TransportError, Unsupported
from jupyter_mjci.services import load_settings
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
def session(request: pytest.FixtureRequest) -> Iterator[Session]:
    with mjci.sandbox(speed=float("inf"), dialect=getattr(request, "param", "plus")) as sandboxed:
        yield sandboxed


def inject_fault(session: Session, name: str, route: str, times: int) -> None:
    assert session.sandbox is not None
    session.sandbox.faults.add(name.partition(" ")[0], route=route, times=times, **FAULTS[name])


def imagine(session: Session, **more: Any) -> Call[Job]:
    return session.mj.imagine("a red fox", **more)


def picture_job(session: Session, **more: Any) -> Call[Job]:
    return session.ci.picture_job(
        input="input/deer.jpg", rule="imageMogr2/rotate/90", output="o.jpg", **more
    )


def list_all_jobs(session: Session) -> list[Job]:
    """Return what the services hold, with the faults switched off."""
    assert session.sandbox is not None
    session.sandbox.faults.clear()
    return [*session.mj.tasks().run(), *session.ci.jobs().run()]


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("build", "route"),
    [(imagine, "POST /mj/submit/*"), (picture_job, "POST /jobs")],
    ids=["mj", "ci"],
)
def test_faulty_submission_creates_one_job(
    session: Session, build: Callable[..., Call[Job]], route: str, fault: str, times: int
) -> None:
    """Whether the job was created before the fault or not, once or three times in a row."""
    inject_fault(session, fault, route, times)
    job = build(session).run()
    (known,) = list_all_jobs(session)
    assert known.id == job.id
    (row,) = session.journal.submissions()
    assert (row.state, row.job_id) == ("accepted", job.id)


@pytest.mark.parametrize("fault", ["drop_after", "drop_before", "malformed"])
@pytest.mark.parametrize(
    ("build", "route", "user_text"),
    [
        (imagine, "POST /mj/submit/*", {"state": "mine"}),
        (picture_job, "POST /jobs", {"user_data": "mine"}),
    ],
    ids=["mj", "ci"],
)
def test_users_own_text_is_kept_and_job_found_by_its_content(
    session: Session,
    build: Callable[..., Call[Job]],
    route: str,
    user_text: dict[str, str],
    fault: str,
) -> None:
    """An equal job of an earlier submission is not mistaken for it."""
    earlier = build(session, **user_text).run()
    inject_fault(session, fault, route, 1)
    job = build(session, **user_text).run()
    assert {known.id for known in list_all_jobs(session)} == {earlier.id, job.id}
    assert {known.user_data for known in list_all_jobs(session)} == {"mine"}
    assert earlier.id != job.id


def test_marker_is_in_the_raw_job_but_not_in_user_data(session: Session) -> None:
    """It is sent in `state` or UserData, and shows in no Job and no DataFrame."""
    jobs = [imagine(session).run(), picture_job(session).run()]
    assert [job.user_data for job in (*jobs, *list_all_jobs(session))] == ["", "", "", ""]
    assert session.history()["user_data"].isna().all()
    assert str(session.mj.task(jobs[0].id).run().raw["state"]).startswith("mjci-")


@pytest.mark.parametrize("session", ["new-api"], indirect=True)
def test_lost_response_without_listing_stays_unknown(session: Session) -> None:
    """Nothing is sent twice, and `resume` leaves the row unknown."""
    inject_fault(session, "drop_after", "POST /mj/submit/*", 1)
    with pytest.raises(TransportError, match="unknown whether") as caught:
        imagine(session).run()
    assert caught.value.may_have_been_sent
    assert [row.state for row in session.journal.unresolved()] == ["unknown"]
    assert session.resume().run() == []
    assert [row.state for row in session.journal.unresolved()] == ["unknown"]


def test_two_matching_jobs_are_ambiguous(session: Session) -> None:
    """Adopting either of two unclaimed jobs that match the lost one would be a guess."""
    calls = [imagine(session, state="mine") for _ in range(2)]
    for call in calls:
        event_loop.run(session.client.send_once(call))
    inject_fault(session, "drop_after", "POST /mj/submit/*", 1)
    with pytest.raises(TransportError, match="jobs match it"):
        imagine(session, state="mine").run()
    assert len(list_all_jobs(session)) == 3


@pytest.mark.parametrize(
    ("prepare", "error", "state"),
    [
        (lambda session: session.mj.imagine("a bloody battle"), BannedPrompt, "rejected"),
        (lambda session: session.mj.action("17", "MJ::JOB::upsample::1::x"), MjciError, "rejected"),
    ],
)
def test_refused_submission_is_rejected_at_once(
    session: Session, prepare: Any, error: type[MjciError], state: str
) -> None:
    with pytest.raises(error):
        prepare(session).run()
    assert [row.state for row in session.journal.submissions()] == [state]


def test_full_queue_raises_in_run_and_waits_in_follow(session: Session) -> None:
    for _ in range(13):
        imagine(session).run()
    with pytest.raises(QueueFull):
        imagine(session).run()
    assert session.follow(imagine(session)).run().status is Status.SUCCEEDED
    assert len(list_all_jobs(session)) == 14


def test_html_for_everything_is_unsupported_not_unknown() -> None:
    """Such a server is not a proxy at all: the address is wrong."""
    html = httpx.MockTransport(lambda _: httpx.Response(200, html="<!doctype html><p>hello</p>"))
    session = Session(load_settings({"mj_url": "http://elsewhere"}, environ={}), transport=html)
    with pytest.raises(Unsupported):
        session.mj.imagine("a red fox").run()
    assert [row.state for row in session.journal.submissions()] == ["rejected"]


def test_modal_with_lost_response_is_sent_once(session: Session) -> None:
    """modal starts a task each time: its outcome is read from the status of its task."""
    grid = session.follow(imagine(session)).run()
    large = session.follow(session.mj.action(grid, "U1")).run()
    dialog = session.follow(session.mj.action(large, "Custom Zoom")).run()
    assert dialog.status is Status.NEEDS_INPUT
    inject_fault(session, "drop_after", "POST /mj/submit/modal", 1)
    assert session.mj.modal(dialog.id, "a red fox --zoom 1.5").run().id == dialog.id
    assert len(list_all_jobs(session)) == 3


KILLED_PROCESS = """
import os, signal, sys, jupyter_mjci as mjci
from pathlib import Path
session = mjci.connect(mj_url=sys.argv[1], mj_secret=sys.argv[2], home=Path(sys.argv[3]), timeout=1)
def die(event, value):
    if event == sys.argv[4]:
        os.kill(os.getpid(), signal.SIGKILL)
session.listeners.append(die)
session.follow(session.mj.imagine("a red fox")).run()
"""


@pytest.mark.parametrize("moment", ["submitting", "job_updated"])
def test_resume_finishes_the_work_of_a_killed_process(tmp_path: Path, moment: str) -> None:
    """Killed before its request is sent, or after the response came."""
    from jupyter_mjci.emulator.app import Sandbox
    from jupyter_mjci.emulator.clock import ScaledClock

    with Sandbox(clock=ScaledClock(100)).serve() as server:
        settings = server.settings
        arguments = [settings["mj_url"], settings["mj_secret"], str(tmp_path), moment]
        killed = subprocess.run(
            [sys.executable, "-c", KILLED_PROCESS, *arguments], timeout=60, check=False
        )
        assert killed.returncode == -9
        with mjci.connect(
            mj_url=settings["mj_url"], mj_secret=settings["mj_secret"], home=tmp_path, timeout=1
        ) as session:
            (job,) = session.resume(poll_interval=0.2).run()
            assert (job.status, job.subject) == (Status.SUCCEEDED, "a red fox")
            assert len(session.mj.tasks().run()) == 1
            assert [row.state for row in session.journal.submissions()] == ["accepted"]
            assert session.archive is not None
            assert session.archive.find(job) is not None


def test_small_stress_run_creates_each_job_once() -> None:
    """A fifth of the requests is faulty; the long run is `python -m tests.stress`."""
    from tests.stress import run_stress

    outcome = run_stress(60, 2, seed=3)
    assert outcome.is_exactly_once(60), outcome
    assert outcome.faults > 5


@pytest.mark.parametrize(
    "fault", ["html", "malformed", "drop_after", "status 503 not done", "truncate"]
)
@pytest.mark.parametrize(
    ("build", "route", "listing"),
    [(imagine, "POST /mj/submit/*", "GET /mj/task/list"), (picture_job, "POST /jobs", "GET /jobs")],
    ids=["mj", "ci"],
)
def test_faulty_listing_during_reconciliation_still_finds_the_job(
    session: Session, build: Callable[..., Call[Job]], route: str, listing: str, fault: str
) -> None:
    """The submission was answered with HTML although the job was created."""
    inject_fault(session, "html done", route, 1)
    inject_fault(session, fault, listing, 2)
    job = build(session).run()
    assert [known.id for known in list_all_jobs(session)] == [job.id]
