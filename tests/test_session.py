"""Sessions on the in-process sandbox: following, batches, listings, results and errors."""

from __future__ import annotations

import asyncio
import inspect
import io
import math
import subprocess
import sys
from collections.abc import Callable, Iterator
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
def session() -> Iterator[Session]:
    with mjci.sandbox(speed=float("inf")) as sandboxed:
        yield sandboxed


def get_size(content: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(content)) as image:
        return image.size


def record_calls(session: Session, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the names of the calls that are sent from now on."""
    names: list[str] = []
    original = session.client.transport.send

    def send(call: Call[Any], *more: Any) -> Any:
        names.append(call.name)
        return original(call, *more)

    monkeypatch.setattr(session.client.transport, "send", send)
    return names


def test_imagine_reports_progress_and_its_button_upscales(session: Session) -> None:
    async def follow() -> list[Job]:
        # On the event loop: a reader in another thread may miss intermediate states.
        return [job async for job in session.follow(session.mj.imagine("a red fox"))]

    updates = event_loop.run(follow())
    statuses = [job.status for job in updates]
    assert statuses[0] is Status.QUEUED
    assert Status.RUNNING in statuses
    assert statuses[-1] is Status.SUCCEEDED
    progress = [job.progress for job in updates if job.progress is not None]
    assert progress == sorted(progress)
    assert len(set(progress)) >= 3
    grid = updates[-1]
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
    large = session.follow(session.mj.action(grid, "U2")).run()
    assert (large.action, large.parent) == ("UPSCALE", grid.id)
    grid_content = session.picture(grid).run()
    large_content = session.picture(large).run()
    width, height = get_size(grid_content)
    assert width == height
    assert get_size(large_content) != (width, height) or grid_content != large_content


def test_same_seed_gives_the_same_job_and_image_at_any_speed() -> None:
    def imagine(speed: float) -> tuple[Any, bytes]:
        with mjci.sandbox(speed=speed) as session:
            job = session.follow(session.mj.imagine("a red fox")).run()
            return job, session.picture(job).run()

    assert imagine(float("inf")) == imagine(2000)


def test_picture_job_transforms_the_stored_object(session: Session) -> None:
    call = session.ci.picture_job(
        input="input/deer.jpg",
        rule="imageMogr2/thumbnail/300x|imageMogr2/rotate/90",
        output="out/deer.png",
    )
    job = session.follow(call).run()
    width, height = get_size(session.ci.get_object("input/deer.jpg").run())
    assert get_size(session.picture(job).run()) == (round(height * 300 / width), 300)
    row = session.jobs().iloc[0]
    assert (row["id"], row["subject"], row["status"]) == (job.id, "input/deer.jpg", "SUCCEEDED")
    assert row["run_time"].total_seconds() >= 0


def test_object_is_read_back_as_written(session: Session) -> None:
    session.ci.put_object("in/ä b.bin", b"\x00\x01").run()
    assert session.ci.get_object("in/ä b.bin").run() == b"\x00\x01"


def test_ci_batch_lists_its_child_jobs(session: Session) -> None:
    """One rule for all objects of a prefix."""
    batch = session.follow(
        session.ci.batch(
            name="small",
            prefix="input/",
            rule="imageMogr2/thumbnail/64x",
            output="out/${InputName}.${Ext}",
        )
    ).run()
    children = session.jobs(batch_id=batch.id)
    assert len(children) >= 3
    assert set(children["status"]) <= {"SUCCEEDED", "FAILED"}


def test_await_and_async_for_work_on_the_callers_loop(session: Session) -> None:

    async def cell() -> tuple[Job, list[Status]]:
        submitted = await session.mj.imagine("a red fox")
        seen = [job.status async for job in session.follow(submitted)]
        return await session.follow(submitted.id), seen

    job, seen = asyncio.run(cell())
    assert job.status is Status.SUCCEEDED
    assert seen[-1] is Status.SUCCEEDED


def test_jobs_polled_in_bulk_are_journaled(session: Session) -> None:
    """The jobs of a bulk poll reach the journal like those of any other response."""
    calls = [session.mj.imagine(f"fox {number}") for number in range(4)]
    jobs = {job.id: job for job in session.batch(calls)}
    frame = session.history()
    assert dict(zip(frame["id"], frame["status"], strict=True)) == dict.fromkeys(jobs, "SUCCEEDED")
    assert frame["finished"].notna().all()
    assert session.journal.active_jobs() == []


def test_batch_failure_does_not_stop_the_others(session: Session) -> None:
    """Every call of a batch ends in a job."""
    calls: list[Call[Job]] = [session.mj.imagine(f"fox {number}") for number in range(5)]
    calls += [
        session.ci.picture_job(
            input="input/missing.jpg", rule="imageMogr2/rotate/90", output="o.jpg"
        )
    ]
    calls += [
        session.ci.picture_job(input="input/deer.jpg", rule="imageMogr2/rotate/90", output="o.jpg")
    ]
    jobs = session.batch(calls, at_once=4).run()
    assert sorted(job.status for job in jobs) == ["FAILED", *["SUCCEEDED"] * 6]
    assert len({job.id for job in jobs}) == 7


def test_batch_larger_than_the_queue_waits_for_room(session: Session) -> None:
    """Code 23 (queue full) does not fail a call of a batch."""
    jobs = session.batch(
        [session.mj.imagine(f"fox {number}") for number in range(18)], at_once=18
    ).run()
    assert [job.status for job in jobs] == ["SUCCEEDED"] * 18
    assert len(session.tasks()) == 18


def test_running_jobs_are_polled_together_whatever_at_once_is(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [session.mj.imagine(f"fox {number}").run() for number in range(6)]
    calls = record_calls(session, monkeypatch)
    updates = list(session.batch(jobs, at_once=1).updates())
    assert [update.index for update in updates[:6]] == list(range(6))
    ended = [update for update in updates if update.done]
    assert sorted(update.index for update in ended) == list(range(6))
    assert {(update.job.id, update.job.status) for update in ended} == {
        (job.id, Status.SUCCEEDED) for job in jobs
    }
    assert "tasks" in calls[:1]
    assert len(calls) < 30


def test_timed_out_job_comes_as_last_seen_and_lost_job_as_failed() -> None:
    with mjci.sandbox(speed=float("inf"), wait=20) as session:
        slow, lost = (session.mj.imagine(f"fox {number}").run() for number in range(2))
        assert session.sandbox is not None
        session.sandbox.alter_jobs("mj", "stuck", [slow.id])
        session.sandbox.alter_jobs("mj", "lost", [lost.id])
        ended = {job.id: job for job in session.batch([slow, lost]).run()}
    assert ended[slow.id].status.is_active
    assert ended[lost.id].status is Status.FAILED
    assert ended[lost.id].reason.startswith("The service no longer lists this job.")


def test_listings_queue_and_history_share_columns(session: Session) -> None:
    done = session.follow(session.mj.imagine("a red fox")).run()
    queued = session.mj.imagine("a blue fox").run()
    assert list(session.tasks()["id"]) == [queued.id, done.id]
    assert list(session.queue()["id"]) == [queued.id]
    assert list(session.tasks(ids=[done.id, "404"])["id"]) == [done.id]
    assert set(session.history()["id"]) == {done.id, queued.id}
    assert session.tasks().dtypes.equals(session.queue().dtypes)
    assert session.tasks().dtypes.equals(session.jobs().dtypes)


def test_pages_are_fetched_as_they_are_read_up_to_the_limit(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(7):
        session.ci.picture_job(
            input="input/deer.jpg", rule="imageMogr2/rotate/90", output=f"out/{number}.jpg"
        ).run()
    calls = record_calls(session, monkeypatch)
    jobs = iter(session.ci.jobs(size=2))
    next(jobs)
    assert len(calls) == 1
    assert len(session.ci.jobs(size=2).run()) == 7
    assert len(session.ci.jobs(size=2, limit=3).run()) == 3


def test_failed_job_raises_with_its_reason(session: Session) -> None:
    call = session.ci.picture_job(
        input="input/missing.jpg", rule="imageMogr2/rotate/90", output="o.jpg"
    )
    with pytest.raises(JobFailed) as caught:
        session.follow(call).run()
    assert caught.value.job.status is Status.FAILED
    assert caught.value.job.reason
    with pytest.raises(InvalidRequest, match="no results"):
        session.picture(caught.value.job).run()


def test_timed_out_job_can_be_followed_again(session: Session) -> None:
    with pytest.raises(WaitTimeout) as caught:
        session.follow(session.mj.imagine("a red fox"), timeout=3).run()
    assert session.follow(caught.value.job).run().status is Status.SUCCEEDED


@pytest.mark.parametrize(
    ("send", "error", "message"),
    [
        (
            lambda session: session.mj.task("1712345678901234").run(),
            MidjourneyError,
            "1712345678901234",
        ),
        (lambda session: session.ci.job("c0000").run(), CIError, "c0000"),
        (lambda session: session.ci.get_object("input/none.jpg").run(), CIError, "NoSuchKey"),
        (lambda session: session.follow("404").run(), MidjourneyError, "404"),
        (lambda session: session.mj.imagine("a bloody battle").run(), BannedPrompt, "bloody"),
    ],
)
def test_refused_request_raises_the_services_error(
    session: Session, send: Callable[[Session], object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        send(session)


def test_wrong_secret_is_refused_and_not_shown() -> None:
    wrong = mjci.sandbox(mj_secret="wr0ng", ci_secret_key="wr0ng")
    for call in (wrong.mj.task("1"), wrong.ci.job("c1")):
        with pytest.raises((MidjourneyError, CIError)) as caught:
            call.run()
        assert "wr0ng" not in str(caught.value)
        assert 2 <= len(caught.value.format_lines()) <= 3


def test_connect_without_settings_uses_the_sandbox_with_a_notice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with mjci.connect() as session:
        assert session.sandbox is not None
    assert capsys.readouterr().out.count("sandbox") == 1


def test_connect_with_settings_uses_the_network(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MJCI_MJ_URL", "http://127.0.0.1:9")
    with mjci.connect() as session:
        assert session.sandbox is None
        with pytest.raises(SettingsError, match="Tencent"):
            session.ci.job("c1").run()
    assert not capsys.readouterr().out


def test_listeners_get_submissions_and_jobs(session: Session) -> None:
    """A listener may run another call meanwhile."""
    events: list[tuple[str, str]] = []

    def listener(event: str, value: Any) -> None:
        events.append((event, getattr(value, "name", None) or value.id))
        if event == "submitting":
            session.mj.queue().run()

    session.listeners.append(listener)
    job = session.mj.imagine("a red fox").run()
    assert events == [("submitting", "imagine"), ("job_updated", job.id)]


def test_session_is_usable_after_a_watch_was_left_early(session: Session) -> None:
    for _ in session.follow(session.mj.imagine("a red fox")):
        break
    assert len(session.tasks()) == 1


def test_import_loads_no_heavy_library() -> None:
    import subprocess
    import sys

    heavy = "pandas httpx ipywidgets PIL xmltodict nest_asyncio starlette IPython"
    program = f"import jupyter_mjci, sys; print([m for m in {heavy.split()!r} if m in sys.modules])"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert output.strip() == "[]"


def test_session_over_http_with_signatures_against_the_served_sandbox() -> None:
    from jupyter_mjci.emulator.app import Sandbox
    from jupyter_mjci.emulator.clock import ScaledClock

    server = Sandbox(clock=ScaledClock(200)).serve()
    try:
        account = server.settings
        session = mjci.connect(
            mj_url=account["mj_url"],
            mj_secret=account["mj_secret"],
            ci_secret_id=account["secret_id"],
            ci_secret_key=account["secret_key"],
            ci_bucket=account["bucket"],
            ci_region=account["region"],
            ci_endpoint=account["ci_endpoint"],
            cos_endpoint=account["cos_endpoint"],
        )
        with session:
            job = session.mj.imagine("a red fox").run()
            assert session.mj.task(job.id).run().subject == "a red fox"
            call = session.ci.picture_job(
                input="input/deer.jpg", rule="imageMogr2/rotate/90", output="o/a b.jpg"
            )
            done = session.follow(call).run()
            assert get_size(session.picture(done).run()) == (667, 1000)
    finally:
        server.close()


def test_upload_and_download_keep_file_names(session: Session, tmp_path: Path) -> None:
    file = tmp_path / "my picture.jpg"
    file.write_bytes(session.ci.get_object("input/deer.jpg").run())
    key = session.upload(file).run()
    assert key == "input/my picture.jpg"
    job = session.follow(
        session.ci.picture_job(input=key, rule="imageMogr2/rotate/90", output="out/turned deer.jpg")
    ).run()
    (downloaded,) = session.download(job, tmp_path / "new").run()
    assert downloaded == tmp_path / "new" / "turned deer.jpg"
    assert get_size(downloaded.read_bytes()) == (667, 1000)
    with pytest.raises(InvalidRequest, match="nowhere"):
        session.upload(tmp_path / "nowhere.png").run()


@pytest.mark.parametrize("token", ["", "t/ok+en=="])
def test_presigned_url_needs_no_credentials_and_is_not_alterable(token: str) -> None:
    import httpx

    with mjci.sandbox(speed=float("inf"), ci_token=token) as session:
        plain = session.presign("input/deer.jpg")
        rotated = session.presign("input/deer.jpg", rule="imageMogr2/rotate/90")
        assert ("security-token" in plain) is bool(token)
        assert session.sandbox is not None

        async def get(url: str) -> httpx.Response:
            async with httpx.AsyncClient(transport=session.sandbox.transport()) as client:  # type: ignore[union-attr]
                return await client.get(url)

        with asyncio.Runner() as runner:
            assert get_size(runner.run(get(plain)).content) == (1000, 667)
            assert get_size(runner.run(get(rotated)).content) == (667, 1000)
            forged = runner.run(get(rotated.replace("rotate%2F90", "rotate%2F80")))
        assert forged.status_code == 403


def test_lost_job_ends_the_wait_and_is_journaled_as_failed(session: Session) -> None:
    assert session.sandbox is not None
    session.sandbox.faults.add("lost", route="GET /mj/task/*", after=2)
    with pytest.raises(JobFailed, match="no longer lists"):
        session.follow(session.mj.imagine("a red fox")).run()
    assert list(session.history()["status"]) == ["FAILED"]


def test_refused_connections_for_a_while_do_not_end_the_wait(session: Session) -> None:
    assert session.sandbox is not None
    session.sandbox.faults.add("refuse", route="GET /mj/task/*", times=6, after=1)
    assert session.follow(session.mj.imagine("a red fox")).run().status is Status.SUCCEEDED


def test_jobs_of_both_services_are_cancelled_by_id(session: Session) -> None:
    """A running task, and a job in a paused queue."""
    task = session.mj.imagine("a red fox").run()
    (queue,) = [element["QueueId"] for element in session.ci.queues().run()]
    session.ci.update_queue(queue, name="q", state="Paused").run()
    job = session.ci.picture_job(
        input="input/deer.jpg", rule="imageMogr2/rotate/90", output="o.jpg", queue_id=queue
    ).run()
    for job_id in (task.id, job.id):
        session.cancel(job_id).run()
        assert session.describe(job_id).run().status is Status.CANCELLED


def test_service_of_an_unusual_id_is_looked_up_in_the_journal(session: Session) -> None:
    """Some relays use other IDs; an unknown one is an error before anything is sent."""
    session.client.record([Job("mj", "task_a-1"), Job("ci", "4711")])
    ids = ("task_a-1", "4711", "4712", "j8d742190fce")
    assert [session.describe(job_id).service for job_id in ids] == ["mj", "ci", "mj", "ci"]
    for build in (session.describe, session.cancel):
        with pytest.raises(InvalidRequest, match="not a valid job ID"):
            build("task_a-2")


@pytest.mark.parametrize("count", [1, 3])
def test_html_response_does_not_end_the_wait_or_bulk_polling(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gateways that restart send HTML with status 200."""
    routes = ("GET /mj/task/*/fetch", "POST /mj/task/list-by-condition")
    faults = [Fault("html", route=route, service="mj", after=1, times=1) for route in routes]
    with mjci.sandbox(speed=float("inf"), faults=faults) as session:
        jobs = [session.mj.imagine(f"fox {number}").run() for number in range(count)]
        calls = record_calls(session, monkeypatch)
        assert {job.status for job in session.batch(jobs).run()} == {Status.SUCCEEDED}
        assert session.sandbox is not None
        assert session.sandbox.faults.count
        assert count == 1 or calls.count("tasks") > 2


def test_second_sandbox_on_a_kept_journal_submits(tmp_path: Path) -> None:
    for _ in range(2):
        with mjci.sandbox(speed=float("inf"), home=tmp_path) as session:
            session.follow(session.mj.imagine("a fox")).run()


def test_what_has_not_run_says_how_to_run_it() -> None:
    with mjci.sandbox(speed=math.inf) as session:
        imagine = session.mj.imagine("a red fox")
        lines = [repr(value) for value in (
            imagine, session.follow(imagine), session.batch([imagine]), session.ci.jobs(),
            session.picture("http://cdn/a.png"),
        )]  # fmt: skip
        assert lines[0].startswith('<mj.imagine: POST /mj/submit/imagine {"prompt":"a red fox"')
        for line in lines:
            assert ".run() it, or await it" in line
            assert "\n" not in line
        picture = session.mj.describe(Image.effect_noise((90, 90), 60))
        assert len(repr(picture)) < 250
        assert "9 bytes" in repr(session.ci.put_object("a", b"\x89PNG\r\n\x1a\n\xff"))


def test_preview_is_a_picture_that_remembers_its_rule() -> None:
    with mjci.sandbox(speed=math.inf) as session:
        job = session.follow(session.mj.imagine("a red fox")).run()
        small = session.preview("imageMogr2/thumbnail/40x", session.picture(job[1]).run()).run()
        assert (small.format, small.size) == ("png", (40, 40))
        assert "[1] a red fox | imageMogr2/thumbnail/40x" in repr(small)
        assert session.preview("imageInfo", small).run().info["width"] == "40"


def test_methods_of_services_are_those_of_the_session(session: Session) -> None:
    """Listed by dir() and completed, with their own signature and help, and bound."""
    assert {"tasks", "queue", "jobs", "upload", "presign", "preview"} <= set(dir(session))
    assert list(inspect.signature(session.presign).parameters) == [
        "key",
        "rule",
        "method",
        "seconds",
    ]
    assert (inspect.getdoc(session.tasks) or "").startswith("Return the Midjourney tasks")
    assert session.queue.__self__ is session
    assert not hasattr(session, "predictions")


def test_attribute_before_construction_is_an_error_not_a_loop() -> None:
    with pytest.raises(AttributeError, match="no attribute '_jobs'"):
        object.__new__(Session).fetch(Call("mj", "x", "GET", "/", parse=bytes)).send(None)


def test_warnings_of_the_package_are_not_printed_where_nobody_logs() -> None:
    """A notebook would save them; pytest has handlers of its own, so a new process logs."""
    code = "import logging, {0}; logging.getLogger('{0}.notebook.cards').warning('a row failed')"
    command = [sys.executable, "-c", code.format("jupyter_mjci")]
    finished = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (finished.stdout, finished.stderr) == ("", "")
