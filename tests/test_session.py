"""The desk, on the in-process sandbox: submissions followed to their pictures, listings, and what
goes wrong.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import jupyter_mjci as mjci
from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.emulator.faults import Fault
from jupyter_mjci.errors import (
    BannedPrompt,
    CIError,
    InvalidRequest,
    JobFailed,
    MidjourneyError,
    SettingsError,
    WaitTimeout,
)
from jupyter_mjci.session import Session


@pytest.fixture
def s() -> Iterator[Session]:
    with mjci.sandbox(speed=float("inf")) as session:
        yield session


def size_of(picture: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(picture)) as image:
        return image.size


def asked_of(s: Session, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the calls that leave from now on."""
    asked: list[str] = []
    send = s.transport.send

    def heard(call: Call[Any]) -> Any:
        asked.append(call.name)
        return send(call)

    monkeypatch.setattr(s.transport, "send", heard)
    return asked


def test_imagine_then_upscale(s: Session) -> None:
    """From the prompt through progress to a 2×2 picture; then a button of it to a single
    picture.
    """

    async def walk() -> list[Job]:
        """On the engine's own thread, which hears of everything; another one may be late and hear
        of the last only.
        """
        return [job async for job in s.follow(s.mj.imagine("a red fox"))]

    sightings = event_loop.run(walk())
    statuses = [job.status for job in sightings]
    assert statuses[0] is Status.QUEUED
    assert Status.RUNNING in statuses
    assert statuses[-1] is Status.SUCCEEDED
    told = [job.progress for job in sightings if job.progress is not None]
    assert told == sorted(told)
    assert len(set(told)) >= 3
    grid = sightings[-1]
    assert [button.name for button in grid.buttons] == [
        "U1",
        "U2",
        "U3",
        "U4",
        "🔄",
        "V1",
        "V2",
        "V3",
        "V4",
    ]
    large = s.follow(s.mj.action(grid, "U2")).run()
    assert (large.action, large.parent) == ("UPSCALE", grid.id)
    wide, single = size_of(s.picture(grid).run()), size_of(s.picture(large).run())
    assert wide[0] == wide[1]
    assert single != wide or s.picture(grid).run() != s.picture(large).run()


def test_the_same_prompt_and_seed_give_the_same_everything() -> None:
    """Ids, times and pictures of two fresh sandboxes are equal, at any speed."""

    def once(speed: float) -> tuple[Any, bytes]:
        with mjci.sandbox(speed=speed) as session:
            job = session.follow(session.mj.imagine("a red fox")).run()
            return job, session.picture(job).run()

    assert once(float("inf")) == once(2000)


def test_a_picture_job(s: Session) -> None:
    """The stored sample is really rotated and scaled, and its frame row tells both ends."""
    call = s.ci.picture_job(
        input="input/deer.jpg",
        rule="imageMogr2/thumbnail/300x|imageMogr2/rotate/90",
        output="out/deer.png",
    )
    job = s.follow(call).run()
    before, after = size_of(s.ci.get_object("input/deer.jpg").run()), size_of(s.picture(job).run())
    assert after == (round(before[1] * 300 / before[0]), 300)
    row = s.jobs().iloc[0]
    assert (row["id"], row["subject"], row["status"]) == (job.id, "input/deer.jpg", "SUCCEEDED")
    assert row["run_time"].total_seconds() >= 0


def test_an_object_goes_there_and_back(s: Session) -> None:
    s.ci.put_object("in/ä b.bin", b"\x00\x01").run()
    assert s.ci.get_object("in/ä b.bin").run() == b"\x00\x01"


def test_a_batch_over_a_prefix(s: Session) -> None:
    """One rule over all objects of a prefix; the children are found by the batch's id."""
    batch = s.follow(
        s.ci.batch(
            name="small",
            prefix="input/",
            rule="imageMogr2/thumbnail/64x",
            output="out/${InputName}.${Ext}",
        )
    ).run()
    children = s.jobs(batch_id=batch.id)
    assert len(children) >= 3
    assert set(children["status"]) <= {"SUCCEEDED", "FAILED"}


def test_await_and_async_for(s: Session) -> None:
    """The other door, from a loop of the caller's own."""

    async def cell() -> tuple[Job, list[Status]]:
        submitted = await s.mj.imagine("a red fox")
        seen = [job.status async for job in s.follow(submitted)]
        return await s.follow(submitted.id), seen

    job, seen = asyncio.run(cell())
    assert job.status is Status.SUCCEEDED
    assert seen[-1] is Status.SUCCEEDED


def test_many_at_once(s: Session) -> None:
    """Every call of a batch ends in a job; one that is refused does not stop the others."""
    calls: list[Call[Job]] = [s.mj.imagine(f"fox {number}") for number in range(5)]
    calls += [
        s.ci.picture_job(input="input/missing.jpg", rule="imageMogr2/rotate/90", output="o.jpg")
    ]
    calls += [s.ci.picture_job(input="input/deer.jpg", rule="imageMogr2/rotate/90", output="o.jpg")]
    jobs = s.batch(calls, at_once=4).run()
    assert sorted(job.status for job in jobs) == ["FAILED", *["SUCCEEDED"] * 6]
    assert len({job.id for job in jobs}) == 7


def test_more_than_the_queue_holds_waits_for_its_turn(s: Session) -> None:
    """Code 23 is no failure of a batch: the call is submitted again when there is room."""
    jobs = s.batch([s.mj.imagine(f"fox {number}") for number in range(18)], at_once=18).run()
    assert [job.status for job in jobs] == ["SUCCEEDED"] * 18
    assert len(s.tasks()) == 18


def test_jobs_that_run_already_need_no_turn(s: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few may be submitted at once: all that run are asked after together, and each comes
    as it ends.
    """
    jobs = [s.mj.imagine(f"fox {number}").run() for number in range(6)]
    asked = asked_of(s, monkeypatch)
    steps = list(s.batch_updates(jobs, at_once=1))
    assert [step.index for step in steps[:6]] == list(range(6))
    ended = [step for step in steps if step.done]
    assert sorted(step.index for step in ended) == list(range(6))
    assert {(step.job.id, step.job.status) for step in ended} == {
        (job.id, Status.SUCCEEDED) for job in jobs
    }
    assert "tasks" in asked[:1]
    assert len(asked) < 30


def test_a_running_job_that_takes_too_long_ends_the_wait_for_it_alone() -> None:
    """It comes as it was last seen; so does one that the service has lost, as failed."""
    with mjci.sandbox(speed=float("inf"), wait=20) as s:
        slow, lost = (s.mj.imagine(f"fox {number}").run() for number in range(2))
        assert s.sandbox is not None
        s.sandbox.alter_jobs("mj", "stuck", [slow.id])
        s.sandbox.alter_jobs("mj", "lost", [lost.id])
        ended = {job.id: job for job in s.batch([slow, lost]).run()}
    assert ended[slow.id].status.is_active
    assert (ended[lost.id].status, ended[lost.id].reason[:26]) == (
        Status.FAILED,
        "The service no longer list",
    )


def test_frames(s: Session) -> None:
    """Listings, queue and history share their columns; what is over is in no queue."""
    done = s.follow(s.mj.imagine("a red fox")).run()
    waiting = s.mj.imagine("a blue fox").run()
    assert list(s.tasks()["id"]) == [waiting.id, done.id]
    assert list(s.queue()["id"]) == [waiting.id]
    assert list(s.tasks(ids=[done.id, "404"])["id"]) == [done.id]
    assert set(s.history()["id"]) == {done.id, waiting.id}
    assert s.tasks().dtypes.equals(s.queue().dtypes)
    assert s.tasks().dtypes.equals(s.jobs().dtypes)


def test_paging_is_lazy_and_whole(s: Session) -> None:
    """Pages are fetched as they are walked, and a limit ends the walk."""
    for number in range(7):
        s.ci.picture_job(
            input="input/deer.jpg", rule="imageMogr2/rotate/90", output=f"out/{number}.jpg"
        ).run()
    sent: list[Any] = []
    plain = s.transport.send

    async def counted(call: Call[Any]) -> Any:
        sent.append(call)
        return await plain(call)

    s.transport.send = counted  # type: ignore[method-assign]
    walk = iter(s.ci.jobs(size=2))
    next(walk)
    assert len(sent) == 1
    assert len(s.ci.jobs(size=2).run()) == 7
    assert len(s.ci.jobs(size=2, limit=3).run()) == 3


def test_a_failed_job_raises_and_tells_why(s: Session) -> None:
    call = s.ci.picture_job(input="input/missing.jpg", rule="imageMogr2/rotate/90", output="o.jpg")
    with pytest.raises(JobFailed) as caught:
        s.follow(call).run()
    assert caught.value.job.status is Status.FAILED
    assert caught.value.job.reason
    with pytest.raises(InvalidRequest, match="no results"):
        s.picture(caught.value.job).run()


def test_a_wait_that_is_too_long_leaves_the_job_alone(s: Session) -> None:
    with pytest.raises(WaitTimeout) as caught:
        s.follow(s.mj.imagine("a red fox"), timeout=3).run()
    assert s.follow(caught.value.job).run().status is Status.SUCCEEDED


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        (lambda s: s.mj.task("1712345678901234").run(), MidjourneyError, "1712345678901234"),
        (lambda s: s.ci.job("c0000").run(), CIError, "c0000"),
        (lambda s: s.ci.get_object("input/none.jpg").run(), CIError, "NoSuchKey"),
        (lambda s: s.follow("404").run(), MidjourneyError, "404"),
        (lambda s: s.mj.imagine("a bloody battle").run(), BannedPrompt, "bloody"),
    ],
)
def test_what_the_service_refuses(
    s: Session, what: Any, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        what(s)


def test_a_wrong_secret_is_told_and_not_shown(s: Session) -> None:
    """Both services refuse it, in two or three lines without the secret."""
    wrong = mjci.sandbox(mj_secret="wr0ng", ci_secret_key="wr0ng")
    for call in (wrong.mj.task("1"), wrong.ci.job("c1")):
        with pytest.raises((MidjourneyError, CIError)) as caught:
            call.run()
        assert "wr0ng" not in str(caught.value)
        assert 2 <= len(caught.value.format_lines()) <= 3


def test_connect_without_anything_is_the_sandbox_and_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with mjci.connect() as session:
        assert session.sandbox is not None
    assert capsys.readouterr().out.count("sandbox") == 1


def test_connect_with_settings_is_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MJCI_MJ_URL", "http://127.0.0.1:9")
    with mjci.connect() as session:
        assert session.sandbox is None
        with pytest.raises(SettingsError, match="Tencent"):
            session.ci.job("c1").run()
    assert not capsys.readouterr().out


def test_listeners_hear_of_submissions_and_sightings(s: Session) -> None:
    """Before a submission leaves, and whenever a job is seen; a listener may block for another
    call.
    """
    heard: list[tuple[str, str]] = []

    def listener(event: str, value: Any) -> None:
        heard.append((event, getattr(value, "name", None) or value.id))
        if event == "submitting":
            s.mj.queue().run()

    s.listeners.append(listener)
    job = s.mj.imagine("a red fox").run()
    assert heard == [("submitting", "imagine"), ("job_updated", job.id)]


def test_leaving_a_walk_early_leaves_the_session_usable(s: Session) -> None:
    for _ in s.follow(s.mj.imagine("a red fox")):
        break
    assert len(s.tasks()) == 1


def test_importing_costs_nothing_and_loads_nothing() -> None:
    """The package's own import brings in none of the heavy libraries."""
    import subprocess
    import sys

    heavy = "pandas httpx ipywidgets PIL xmltodict nest_asyncio starlette IPython"
    program = f"import jupyter_mjci, sys; print([m for m in {heavy.split()!r} if m in sys.modules])"
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert shown.strip() == "[]"


def test_the_loopback_door(tmp_path: Path) -> None:
    """The same session code over real HTTP, with real signatures, against the served sandbox."""
    from jupyter_mjci.emulator.app import Sandbox
    from jupyter_mjci.emulator.clock import ScaledClock

    server = Sandbox(clock=ScaledClock(200)).serve()
    try:
        told = server.settings
        session = mjci.connect(
            mj_url=told["mj_url"],
            mj_secret=told["mj_secret"],
            ci_secret_id=told["secret_id"],
            ci_secret_key=told["secret_key"],
            ci_bucket=told["bucket"],
            ci_region=told["region"],
            ci_endpoint=told["ci_endpoint"],
            cos_endpoint=told["cos_endpoint"],
        )
        with session:
            job = session.mj.imagine("a red fox").run()
            assert session.mj.task(job.id).run().subject == "a red fox"
            call = session.ci.picture_job(
                input="input/deer.jpg", rule="imageMogr2/rotate/90", output="o/a b.jpg"
            )
            done = session.follow(call).run()
            assert size_of(session.picture(done).run()) == (667, 1000)
    finally:
        server.close()


def test_files_go_up_and_results_come_down(s: Session, tmp_path: Path) -> None:
    """A picture from disk, processed in the bucket, back on disk under its own name."""
    file = tmp_path / "my picture.jpg"
    file.write_bytes(s.ci.get_object("input/deer.jpg").run())
    key = s.upload(file).run()
    assert key == "input/my picture.jpg"
    job = s.follow(
        s.ci.picture_job(input=key, rule="imageMogr2/rotate/90", output="out/turned one.jpg")
    ).run()
    (written,) = s.download(job, tmp_path / "new").run()
    assert written == tmp_path / "new" / "turned one.jpg"
    assert size_of(written.read_bytes()) == (667, 1000)
    with pytest.raises(InvalidRequest, match="nowhere"):
        s.upload(tmp_path / "nowhere.png").run()


@pytest.mark.parametrize("token", ["", "t/ok+en=="])
def test_a_presigned_link_needs_no_key(token: str) -> None:
    """It gives the object, also as a rule makes it, to a request without credentials; and ends."""
    import httpx

    with mjci.sandbox(speed=float("inf"), ci_token=token) as session:
        plain, ruled = (
            session.presign("input/deer.jpg"),
            session.presign("input/deer.jpg", rule="imageMogr2/rotate/90"),
        )
        assert ("security-token" in plain) is bool(token)
        assert session.sandbox is not None

        async def get(url: str) -> httpx.Response:
            async with httpx.AsyncClient(transport=session.sandbox.transport()) as client:  # type: ignore[union-attr]
                return await client.get(url)

        assert size_of(asyncio.run(get(plain)).content) == (1000, 667)
        assert size_of(asyncio.run(get(ruled)).content) == (667, 1000)
        assert asyncio.run(get(ruled.replace("rotate%2F90", "rotate%2F80"))).status_code == 403


def test_a_lost_job_is_told_and_recorded(s: Session) -> None:
    """A service that forgets a job that it has told of: the wait ends, and the journal says so."""
    assert s.sandbox is not None
    s.sandbox.faults.add("lost", route="GET /mj/task/*", after=2)
    with pytest.raises(JobFailed, match="no longer lists"):
        s.follow(s.mj.imagine("a red fox")).run()
    assert list(s.history()["status"]) == ["FAILED"]


def test_a_service_that_is_away_for_a_while_ends_no_wait(s: Session) -> None:
    assert s.sandbox is not None
    s.sandbox.faults.add("refuse", route="GET /mj/task/*", times=6, after=1)
    assert s.follow(s.mj.imagine("a red fox")).run().status is Status.SUCCEEDED


def test_jobs_of_both_services_are_cancelled_by_their_ids(s: Session) -> None:
    """A task that runs, a job that waits in a paused queue; whose an id is, is told by its
    shape.
    """
    task = s.mj.imagine("a red fox").run()
    (queue,) = (one["QueueId"] for one in s.ci.queues().run())
    s.ci.update_queue(queue, name="q", state="Paused").run()
    job = s.ci.picture_job(
        input="input/deer.jpg", rule="imageMogr2/rotate/90", output="o.jpg", queue_id=queue
    ).run()
    for one in (task, job):
        s.cancel(one.id).run()
        assert s.describe(one.id).run().status is Status.CANCELLED


def test_the_journal_knows_whose_an_unusual_id_is(s: Session) -> None:
    """Some relays call their tasks otherwise; what nobody knows is told before anything is sent."""
    s.client.record([Job("mj", "task_a-1"), Job("ci", "4711")])
    assert [s.describe(one).service for one in ("task_a-1", "4711", "4712", "j8d742190fce")] == [
        "mj",
        "ci",
        "mj",
        "ci",
    ]
    for build in (s.describe, s.cancel):
        with pytest.raises(InvalidRequest, match="not a valid job ID"):
            build("task_a-2")


@pytest.mark.parametrize("many", [1, 3])
def test_a_page_instead_of_an_answer_ends_no_wait(
    many: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a gateway says while it restarts: HTML, with 200. Who can tell of several jobs at once
    is asked so again.
    """
    routes = ("GET /mj/task/*/fetch", "POST /mj/task/list-by-condition")
    faults = [Fault("html", route=route, service="mj", after=1, times=1) for route in routes]
    with mjci.sandbox(speed=float("inf"), faults=faults) as s:
        jobs = [s.mj.imagine(f"fox {number}").run() for number in range(many)]
        asked = asked_of(s, monkeypatch)
        assert {job.status for job in s.batch(jobs).run()} == {Status.SUCCEEDED}
        assert s.sandbox is not None
        assert s.sandbox.faults.count
        assert many == 1 or asked.count("tasks") > 2
