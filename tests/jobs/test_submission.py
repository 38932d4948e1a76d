"""Exactly-once submission under faults, judged by the emulator's own records."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.clock import ScaledClock
from jupyter_mjci.errors import (
    BannedPrompt,
    HistoryError,
    JournalWarning,
    MjciError,
    QueueFull,
    TransportError,
    Unsupported,
)
from jupyter_mjci.history import journal as journal_module
from jupyter_mjci.history import submissions
from jupyter_mjci.history.submissions import Lease
from jupyter_mjci.jobs import journal_writer, submission
from jupyter_mjci.jobs.resumption import is_resumable
from jupyter_mjci.services import load_settings
from jupyter_mjci.services.midjourney import reconciliation as midjourney_tracking
from jupyter_mjci.session import Session
from tests.virtual_clock import VirtualClock

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
    "forward_late": {"status": 504, "seconds": 6.0},
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


def test_answers_lost_together_are_searched_for_by_one_listing(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole listing for each of them would be a load that grows with the square."""
    count = 12
    inject_fault(session, "drop_after", "POST /mj/submit/*", count)
    sent: list[str] = []
    send = session.client.transport.send

    async def count_and_send(call: Call[Any], *args: Any) -> Any:
        sent.append(call.path)
        return await send(call, *args)

    monkeypatch.setattr(session.client.transport, "send", count_and_send)
    calls = [session.mj.imagine(f"fox {number}") for number in range(count)]
    jobs = session.batch(calls, at_once=count).run()
    assert {job.subject for job in jobs} == {f"fox {number}" for number in range(count)}
    assert len(list_all_jobs(session)) == sent.count("/mj/submit/imagine") == count
    assert sent.count("/mj/task/list") < count / 3


@pytest.mark.parametrize("fault", ["drop_after", "malformed"])
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
    assert [row.state for row in session.unresolved_submissions()] == ["unknown"]


@pytest.mark.parametrize("others", [1, 2])
def test_several_matching_jobs_are_ambiguous(session: Session, others: int) -> None:
    """Adopting one of the unclaimed jobs that match the lost one would be a guess."""
    calls = [imagine(session, state="mine") for _ in range(others)]
    for call in calls:
        event_loop.run(session.client.send_once(call))
    inject_fault(session, "drop_after", "POST /mj/submit/*", 1)
    with pytest.raises(TransportError, match=f"{others + 1} jobs match it"):
        imagine(session, state="mine").run()
    assert len(list_all_jobs(session)) == others + 1


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
    session = Session(
        load_settings({"mj_url": "http://elsewhere"}, environ={}),
        transport=html,
        clock=VirtualClock(),
    )
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
from jupyter_mjci.jobs import journal_writer
journal_writer.LEASE_DURATION = 0.5
session = mjci.connect(mj_url=sys.argv[1], mj_secret=sys.argv[2], home=Path(sys.argv[3]), timeout=1)
def die(event, value):
    if event == sys.argv[4]:
        os.kill(os.getpid(), signal.SIGKILL)
session.listeners.append(die)
session.follow(session.mj.imagine("a red fox")).run()
"""


@pytest.mark.parametrize("moment", ["submitting", "job_updated"])
def test_resume_finishes_the_work_of_a_killed_process(
    tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before its request is sent, or after the response came."""
    monkeypatch.setattr(submission, "get_settling_time", lambda _: 1.0)
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


# --- responses that are no answer ----------------------------------------------------------------

GATEWAY_PAGE = "<html><head><title>{status} Gateway Time-out</title></head><body></body></html>"


@pytest.mark.parametrize("status", [502, 504, 524])
@pytest.mark.parametrize("session", ["new-api"], indirect=True)
def test_gateway_page_of_a_relay_without_listing_leaves_submission_unknown(
    session: Session, status: int
) -> None:
    """The task was made: nothing is sent again, neither now nor by `resume`."""
    assert session.sandbox is not None
    page = GATEWAY_PAGE.format(status=status)
    session.sandbox.faults.add(
        "status", route="POST /mj/submit/*", status=status, body=page, content_type="text/html",
        done=True,
    )  # fmt: skip
    with pytest.raises(TransportError, match="unknown whether this submission was received"):
        imagine(session).run()
    session.resume().run()
    assert session.sandbox.faults.count == 1
    (row,) = session.unresolved_submissions()
    assert row.state == "unknown"
    assert f"HTTP {status}" in row.reason
    assert row.reason.endswith("Searching for its job failed: this server has no listing.")


@pytest.mark.parametrize("lag", [0.5, 6.0, 45.0])
@pytest.mark.parametrize(
    ("build", "route"),
    [(imagine, "POST /mj/submit/*"), (picture_job, "POST /jobs")],
    ids=["mj", "ci"],
)
def test_job_that_a_gateway_forwards_after_its_504_is_adopted(
    session: Session, build: Callable[..., Call[Job]], route: str, lag: float
) -> None:
    """The listing does not show it for a while: no reason to send it again."""
    assert session.sandbox is not None
    session.sandbox.faults.add("forward_late", route=route, status=504, seconds=lag, times=1)
    job = build(session).run()
    assert [known.id for known in list_all_jobs(session)] == [job.id]


@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "status 502 done", "forward_late"])
def test_lost_submission_whose_prompt_was_rewritten_is_unknown(
    session: Session, fault: str
) -> None:
    """Not found by its looks is no proof: the service may have changed them, or not."""
    assert session.sandbox is not None
    inject_fault(session, fault, "POST /mj/submit/*", 1)
    call = session.mj.imagine("a  fox \u2014ar 3:2", state="mine", as_is=True)
    handle = session.sandbox.services["mj"].handle

    def rewrite(request: Any) -> Any:
        body = request.body.replace("a  fox \u2014ar".encode(), b"a fox --ar")
        return handle(replace(request, body=body))

    session.sandbox.services["mj"].handle = rewrite
    with pytest.raises(TransportError, match="no job looks like it"):
        call.run()
    session.resume().run()
    assert [row.state for row in session.unresolved_submissions()] == ["unknown"]
    assert len(list_all_jobs(session)) == (fault != "drop_before")


# --- several workers, and a journal that cannot be written ----------------------------------------


@pytest.mark.parametrize("fault", ["drop_before", "drop_after", "forward_late", "status 502 done"])
def test_equal_calls_under_way_never_share_a_job(session: Session, fault: str) -> None:
    """The first answer is lost: its job is another one, or unknown, never that of the second."""
    inject_fault(session, fault, "POST /mj/submit/*", 1)
    calls = [imagine(session, state="mine") for _ in range(3)]
    finished = session.batch(calls, at_once=3).run()
    rows = session.journal.submissions()
    ids = [row.job_id for row in rows if row.state == "accepted"]
    assert len(set(ids)) == len(ids) >= 2
    assert {job.id for job in finished if job.status is Status.SUCCEEDED} == set(ids)
    made = {known.id for known in list_all_jobs(session)}
    assert set(ids) <= made
    assert len(made) == (2 if fault == "drop_before" else 3)
    assert sum(row.state == "unknown" for row in rows) == 3 - len(ids)


@pytest.fixture
def stored_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A session with a journal on disk that does not wait long for its lock."""
    for module in (journal_module, journal_writer):
        monkeypatch.setattr(module, "SHORT_TIMEOUT", 0.01)
    with mjci.sandbox(speed=float("inf"), home=tmp_path) as stored:
        stored.journal.jobs()
        yield stored


def break_journal(session: Session, how: str) -> Callable[[], None]:
    """Make the journal unwritable as soon as a submission leaves; return what repairs it."""
    path = session.journal.path
    other = sqlite3.connect(str(path), isolation_level=None, check_same_thread=False)

    def break_it(event: str, _: Any) -> None:
        if event != "submitting":
            return
        if how == "locked":
            other.execute("BEGIN EXCLUSIVE")
        else:
            with session.journal._lock:
                db = session.journal._get_connection()
                db.execute(
                    f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}"
                )

    def repair() -> None:
        session.listeners.clear()
        if how == "locked":
            other.execute("ROLLBACK")
        else:
            session.journal._get_connection().execute("PRAGMA max_page_count = 1000000")
        other.close()

    session.listeners.append(break_it)
    return repair


@pytest.mark.parametrize("how", ["locked", "full"])
def test_unwritable_journal_never_makes_an_accepted_submission_rejected(
    stored_session: Session, how: str
) -> None:
    """What the service said stands: the user is told, and it is written when it can be."""
    call = stored_session.mj.imagine("a red fox " * 500)
    repair = break_journal(stored_session, how)
    with pytest.warns(JournalWarning, match="kept in memory"):
        job = call.run()
    assert job.status is Status.QUEUED
    (row,) = stored_session.journal.submissions()
    assert row.state == "pending"
    repair()
    stored_session.journal.write()
    (row,) = stored_session.journal.submissions()
    assert (row.state, row.job_id) == ("accepted", job.id)
    assert [known.id for known in stored_session.journal.jobs()] == [job.id]


def test_journal_that_cannot_be_written_lets_nothing_leave(
    stored_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_writer, "BUSY_TIMEOUT", 0.1)
    with contextlib.closing(sqlite3.connect(str(stored_session.journal.path))) as other:
        other.isolation_level = None
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(HistoryError, match="cannot be written"):
            imagine(stored_session).run()
        other.execute("ROLLBACK")
    assert list_all_jobs(stored_session) == []
    assert stored_session.journal.unresolved() == []


def test_locked_journal_is_waited_for_before_a_submission_leaves(stored_session: Session) -> None:
    """Without blocking the event loop: other calls go on."""
    other = sqlite3.connect(str(stored_session.journal.path), check_same_thread=False)
    other.isolation_level = None
    other.execute("BEGIN EXCLUSIVE")
    submission_task = event_loop.start(imagine(stored_session))
    event_loop.run(stored_session.client.transport.send(stored_session.mj.tasks()))
    assert not submission_task.done()
    other.execute("ROLLBACK")
    other.close()
    job = submission_task.result()
    assert [known.id for known in list_all_jobs(stored_session)] == [job.id]


def test_resume_beside_a_waiting_batch_leaves_its_submissions_alone(session: Session) -> None:
    """The row is leased by a live worker of the same session: one works, the other leaves it."""
    for _ in range(13):
        imagine(session).run()
    resumed: list[Job] = []

    def resume(event: str, _: Any) -> None:
        if event == "submitting" and not resumed:
            resumed.append(Job("mj", "called"))
            rows = session.unresolved_submissions()
            assert [row.is_leased(time.time()) for row in rows] == [True]
            assert not any(is_resumable(session.client, row) for row in rows)

    session.listeners.append(resume)
    assert session.follow(imagine(session)).run().status is Status.SUCCEEDED
    assert resumed
    assert len(list_all_jobs(session)) == 14


def test_two_sessions_resume_a_row_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two kernels at the same time: one sends it, and both end."""
    monkeypatch.setattr(submission, "get_settling_time", lambda _: 0.5)
    with Sandbox(clock=ScaledClock(100)).serve() as server:
        settings = server.settings
        options = {"mj_url": settings["mj_url"], "mj_secret": settings["mj_secret"]}
        with (
            mjci.connect(home=tmp_path, **options) as first,
            mjci.connect(home=tmp_path, **options) as second,
        ):
            marked = midjourney_tracking.with_marker(imagine(first), "mjci-left")
            assert marked is not None
            record = partial(
                submissions.record,
                call=marked,
                lease=Lease("mjci-left", "dead"),
                times=(time.time(), time.time() + 0.2),
                origin=first.journal.get_origin("mj"),
                has_marker=True,
            )
            first.journal.write(record)
            tasks = [
                event_loop.start(kernel.resume(poll_interval=0.2).collect())
                for kernel in (first, second)
            ]
            for task in tasks:
                task.result()
            assert [row.state for row in first.journal.submissions()] == ["accepted"]
            assert len(first.mj.tasks().run()) == 1


def test_row_of_another_proxy_is_left_and_named(session: Session) -> None:
    """Searching here would prove nothing, and sending it here would be wrong."""
    session.journal.origins["mj"] = "http://another"
    record = partial(
        submissions.record,
        call=imagine(session, state="x"),
        lease=Lease("mjci-left", ""),
        times=(0.0, 0.0),
        origin="http://another",
        has_marker=False,
    )
    session.journal.write(record)
    session.journal.origins["mj"] = "http://mj.sandbox.localhost"
    assert session.resume().run() == []
    assert [row.origin for row in session.unresolved_submissions()] == ["http://another"]
    assert list_all_jobs(session) == []


def raise_bug(*_: object) -> Job:
    raise ZeroDivisionError("a bug")


def test_unforeseen_failure_keeps_its_traceback(
    session: Session,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """In `raw` of the row's job and in the log, without secrets; nothing on stderr."""
    secret = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJlc2lnbmF0dXJl"

    send = session.client.transport.send

    async def fail(call: Call[Any], *_: Any) -> Any:
        if b"a cat" in call.body:
            raise ZeroDivisionError(f"a bug with {secret}")
        return await send(call)

    monkeypatch.setattr(session.client.transport, "send", fail)
    calls = [session.mj.imagine("a fox"), session.mj.imagine("a cat")]
    failed, made = sorted(session.batch(calls).run(), key=lambda job: job.status)
    assert (failed.status, made.status) == ("FAILED", "SUCCEEDED")
    assert "in fail" in failed.raw["traceback"]
    assert "ZeroDivisionError: a bug" in caplog.text
    for text in (failed.reason, str(failed.raw), caplog.text):
        assert secret not in text
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["parser", "transport", "marker"])
def test_unforeseen_failure_of_a_batch_row_stays_that_row(
    session: Session, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception that is none of ours, wherever it comes from: the other rows are made."""
    calls = [session.mj.imagine(f"a fox {number}") for number in range(3)]
    if kind == "parser":
        calls[1] = replace(calls[1], parse=raise_bug)
    elif kind == "transport":
        send = session.client.transport.send

        async def fail(call: Call[Any], *_: Any) -> Any:
            return raise_bug() if b"fox 1" in call.body else await send(call)

        monkeypatch.setattr(session.client.transport, "send", fail)
    else:
        calls[1] = replace(calls[1], body=b"\xff no JSON")
    jobs = session.batch(calls).run()
    assert sorted(job.status for job in jobs)[-2:] == ["SUCCEEDED"] * 2
    assert len(jobs) == 3
    made = [job.subject for job in list_all_jobs(session)]
    assert sorted(subject for subject in made if subject != "a fox 1") == ["a fox 0", "a fox 2"]
    assert len(made) == len(set(made))


class PauseRecorder:
    """A clock that notes how long it was asked to sleep."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def now(self) -> float:
        return 0.0

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


def test_pauses_between_reads_grow_and_only_recordings_have_none_by_chance() -> None:
    """Kernels that fail together do not come back together; a recording replays the same."""

    def collect(deterministic: bool) -> list[float]:
        clock = PauseRecorder()

        async def fail() -> None:
            raise TransportError("Gone.")

        with pytest.raises(TransportError):
            event_loop.run(submission.retrying(clock, deterministic=deterministic)(fail))
        return clock.pauses

    steady = collect(True)
    assert len(steady) == submission.MAX_READ_ATTEMPTS - 1
    assert steady == collect(True) == sorted(steady)
    assert sum(steady) <= 3
    others = [collect(False) for _ in range(5)]
    assert len({tuple(pauses) for pauses in others}) == 5
    assert all(0 <= a - b <= 0.3 for each in others for a, b in zip(each, steady, strict=True))


def test_submission_that_never_arrives_is_given_up_after_six_attempts(session: Session) -> None:
    """Each after a look that proves that the one before made nothing."""
    inject_fault(session, "drop_before", "POST /mj/submit/*", 100)
    events: list[str] = []
    session.listeners.append(lambda event, _: events.append(event))
    with pytest.raises(MjciError):
        imagine(session).run()
    assert events.count("submitting") == submission.MAX_ATTEMPTS
    assert list_all_jobs(session) == []
    assert [row.state for row in session.journal.submissions()] == ["rejected"]


@pytest.mark.parametrize("session", ["new-api"], indirect=True)
def test_missing_listing_is_looked_for_three_times(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that restarts may say once that there is none."""
    inject_fault(session, "drop_after", "POST /mj/submit/*", 1)
    looks: list[object] = []
    look = submission.Submitter._look

    async def count(self: submission.Submitter, pending: Any) -> Any:
        looks.append(pending)
        return await look(self, pending)

    monkeypatch.setattr(submission.Submitter, "_look", count)
    with pytest.raises(MjciError):
        imagine(session).run()
    assert len(looks) == submission.MAX_UNSUPPORTED_LOOKS


def test_only_what_reads_is_repeated() -> None:
    """A cancellation may have been received."""
    asked: list[str] = []

    def fail(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        raise httpx.ConnectError("refused")

    settings = load_settings({"mj_url": "http://proxy"}, environ={})
    transport = httpx.MockTransport(fail)
    with Session(settings, clock=VirtualClock(), transport=transport) as session:
        for call in (session.mj.task("17"), session.mj.cancel("17")):
            with pytest.raises(TransportError):
                call.run()
    assert asked == ["GET"] * submission.MAX_READ_ATTEMPTS + ["POST"]


def test_key_that_another_kernel_records_meanwhile_is_not_sent_twice(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had no row when this kernel looked, and has one when it would record its own."""
    call = replace(imagine(session), key="study row 1")
    call.run()
    monkeypatch.setattr(session.journal, "find_by_key", lambda _: None)
    with pytest.raises(MjciError):
        call.run()
    assert len(list_all_jobs(session)) == 1


@pytest.mark.parametrize("failing", [0, 1, 10])
def test_submission_that_may_exist_is_not_sent_again_while_the_listing_fails(failing: int) -> None:
    """A gateway said "busy" of what it forwarded: only a listing that works proves it."""
    tasks: list[dict[str, Any]] = []
    looks = 0

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal looks
        if request.url.path == "/mj/submit/imagine":
            body = json.loads(request.content)
            tasks.append(
                {"id": f"17{len(tasks)}", "status": "SUBMITTED", "action": "IMAGINE", **body}
            )
            if len(tasks) == 1:
                return httpx.Response(504 if failing == 3 else 429, json={"message": "busy"})
            return httpx.Response(200, json={"code": 1, "result": tasks[-1]["id"]})
        looks += 1
        return httpx.Response(503) if looks <= failing else httpx.Response(200, json=tasks)

    settings = load_settings({"mj_url": "http://proxy", "wait": 600}, environ={})
    transport = httpx.MockTransport(answer)
    with Session(settings, clock=VirtualClock(), transport=transport) as session:
        seen = next(iter(session.follow(imagine(session), timeout=600)))
    assert len(tasks) == 1
    assert seen.id == "170"


def test_row_of_a_dead_kernel_is_not_sent_again_before_the_settling_time() -> None:
    """Its gateway may forward late: the listing shows the job half a minute afterwards."""
    clock = VirtualClock()
    shown_at = clock.now() + 30
    marker = "mjci-00000000000000000000000000000000"
    task = {"id": "17", "status": "SUCCESS", "action": "IMAGINE", "state": marker}
    sent: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.startswith("/mj/submit/"):
            sent.append(request.url.path)
            return httpx.Response(200, json={"code": 1, "result": "18"})
        return httpx.Response(200, json=[task] if clock.now() >= shown_at else [])

    settings = load_settings({"mj_url": "http://proxy"}, environ={})
    transport = httpx.MockTransport(answer)
    with Session(settings, clock=clock, transport=transport) as session:
        call = midjourney_tracking.with_marker(imagine(session), marker)
        ended = time.time() - 1
        record = partial(
            submissions.record,
            call=call,
            lease=Lease(marker, "a dead kernel"),
            times=(ended - 20, ended),
            origin=session.journal.get_origin("mj"),
            has_marker=True,
        )
        session.journal.write(record)
        session.resume().run()
        (row,) = session.journal.submissions()
    assert sent == []
    assert (row.state, row.job_id) == ("accepted", "17")


def test_call_with_a_key_is_sent_once_and_gives_its_job_again(session: Session) -> None:
    """Without a key each run is a submission of its own."""
    call = replace(imagine(session), key="study row 1")
    assert call.run().id == call.run().id
    assert len(list_all_jobs(session)) == 1
    imagine(session).run()
    imagine(session).run()
    assert len(list_all_jobs(session)) == 3
