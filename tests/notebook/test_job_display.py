"""Following a job in a cell: the same outputs live and headless."""

from __future__ import annotations

import asyncio
import io
import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import jupyter_mjci
from jupyter_mjci.client.calls import Operation
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import InvalidResponse, JobFailed, TransportError, WaitTimeout
from jupyter_mjci.notebook import job_display, outputs
from jupyter_mjci.notebook.interrupts import Interrupted
from jupyter_mjci.notebook.job_future import JobFuture
from jupyter_mjci.notebook.outputs import HeadlessOutput, LiveOutput, TerminalOutput, select_output
from jupyter_mjci.session import Session
from tests.notebook.conftest import Shell

CARD, PICTURE = ["text/html", "text/plain"], ["image/jpeg", "text/plain"]


class RecordingPublisher:
    """A publisher that records everything published."""

    def __init__(self) -> None:
        self.messages: list[tuple[dict[str, Any], str, bool]] = []

    def publish(
        self,
        data: dict[str, Any],
        _: dict[str, Any],
        *,
        transient: Any = None,
        update: bool = False,
    ) -> None:
        self.messages.append((data, (transient or {}).get("display_id", ""), update))


@pytest.fixture
def publisher() -> RecordingPublisher:
    return RecordingPublisher()


@pytest.fixture(autouse=True)
def disable_throttling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish every update: the sandbox's jobs take no time."""
    monkeypatch.setattr(outputs, "MIN_UPDATE_INTERVAL", 0.0)


MODES = {"live": "0", "headless": "1"}


def save_outputs(monkeypatch: pytest.MonkeyPatch, mode: str, cell: str, session: Session) -> Any:
    """Return what a notebook would save of a cell."""
    monkeypatch.setenv("MJCI_HEADLESS", MODES[mode])
    shell = Shell()
    shell.ip.extension_manager.load_extension("jupyter_mjci")
    shell.ip.push({"s": session})
    shell.ip.run_cell(cell)
    return shell.outputs


CELLS = (
    "%mj_imagine a red fox",
    "%mj_imagine a red fox -o job\n%mj_action job U1",
    '%%ci_job\ninput = "input/deer.jpg"\nrule = "imageMogr2/rotate/90"\noutput = "o.jpg"',
    '%%ci_job\ninput = "no/such.jpg"\nrule = "imageMogr2/rotate/90"\noutput = "o.jpg"',
    '%%ci_job\nname = "n"\nprefix = "input/"\nrule = "imageMogr2/rotate/90"\n'
    'output = "o/${InputName}.jpg"',
)


@pytest.mark.parametrize("cell", CELLS)
def test_outputs_are_the_same_live_and_headless(monkeypatch: pytest.MonkeyPatch, cell: str) -> None:
    outputs = []
    for mode in MODES:
        with jupyter_mjci.sandbox(speed=math.inf) as session:
            outputs.append(save_outputs(monkeypatch, mode, cell, session))
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) >= 1


def test_live_output_updates_one_display_to_the_final_card(
    session: Session, publisher: RecordingPublisher
) -> None:
    """Progress bars and a preview, then the final card, then the picture."""
    session.client.clock.speed = 200  # type: ignore[attr-defined]
    job = job_display.display_job(
        session, session.mj.imagine("a red fox").run(), LiveOutput(publisher)
    )
    cards = [data["text/html"] for data, name, _ in publisher.messages if name]
    assert len({name for _, name, _ in publisher.messages if name}) == 1
    assert [update for _, name, update in publisher.messages if name] == [False] + [True] * (
        len(cards) - 1
    )
    assert (
        len(cards) == len(set(cards)) >= 3
    )  # the number of updates of a job without duration varies
    assert all("progressbar" in card for card in cards[:-1])
    assert any("data:image/" in card for card in cards)
    assert "progressbar" not in cards[-1]
    assert "data:image/" not in cards[-1]
    assert [sorted(data) for data, name, _ in publisher.messages if not name] == [PICTURE]
    assert job.status is Status.SUCCEEDED


def test_live_updates_are_throttled(
    session: Session, publisher: RecordingPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most four updates a second; the final card is always published."""
    monkeypatch.setattr(outputs, "MIN_UPDATE_INTERVAL", 0.25)
    begun = time.monotonic()
    job_display.display_job(session, session.mj.imagine("a red fox").run(), LiveOutput(publisher))
    updates = [data for data, name, _ in publisher.messages if name]
    assert len(updates) <= (time.monotonic() - begun) / 0.25 + 2
    assert "succeeded" in updates[-1]["text/html"]


def test_unchanged_card_is_not_published_again(publisher: RecordingPublisher) -> None:
    output = LiveOutput(publisher)
    job = Job("mj", "1", "IMAGINE", Status.RUNNING, 10)
    for _ in range(3):
        output.show_progress(job, "")
    assert len(publisher.messages) == 1


def test_headless_output_publishes_only_final_outputs(
    session: Session, publisher: RecordingPublisher
) -> None:
    job_display.display_job(
        session, session.mj.imagine("a red fox").run(), HeadlessOutput(publisher)
    )
    assert [sorted(data) for data, _, _ in publisher.messages] == [CARD, PICTURE]
    assert {name for _, name, _ in publisher.messages} == {""}


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_terminal_output_overwrites_one_line(
    session: Session, publisher: RecordingPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line is cleared at the end. Nothing is written if stderr is not a terminal."""
    monkeypatch.setattr(sys, "stderr", tty := Tty())
    job_display.display_job(
        session, session.mj.imagine("a red fox").run(), TerminalOutput(publisher)
    )
    lines = tty.getvalue().split("\r")
    assert "QUEUED [" in tty.getvalue()
    assert "\n" not in tty.getvalue()
    assert lines[-1] == ""
    assert lines[-2].strip() == ""
    assert max(map(len, lines)) < 80
    assert len(publisher.messages) == 2
    monkeypatch.setattr(sys, "stderr", plain := io.StringIO())
    job_display.display_job(
        session, session.mj.imagine("a red fox").run(), TerminalOutput(publisher)
    )
    assert plain.getvalue() == ""


def test_terminal_output_shows_the_archived_path(
    publisher: RecordingPublisher, tmp_path: Path
) -> None:
    """A notebook contains no paths."""
    with jupyter_mjci.sandbox(speed=math.inf, home=tmp_path) as session:
        job = job_display.display_job(
            session, session.mj.imagine("a red fox"), TerminalOutput(publisher)
        )
        text = publisher.messages[-1][0]["text/plain"]
        assert Path(text.removeprefix("  saved to ")).read_bytes() == session.picture(job).run()
        job_display.display_job(session, job, HeadlessOutput(publisher))
    assert len(publisher.messages) == 5


class Kernel:
    display_pub = None

    def __init__(self, allow_stdin: bool | None) -> None:
        self.content = {} if allow_stdin is None else {"allow_stdin": allow_stdin}

    def get_parent(self) -> dict[str, Any]:
        return {"content": self.content}


class Plain:
    display_pub = None


OUTPUT_TARGETS: tuple[tuple[Any, str, type], ...] = (
    (Kernel(True), "", LiveOutput),
    (Kernel(False), "", HeadlessOutput),
    (Kernel(None), "", HeadlessOutput),
    (Plain(), "", TerminalOutput),
    (Kernel(True), "1", HeadlessOutput),
    (Kernel(False), "0", LiveOutput),
    (Plain(), "1", HeadlessOutput),
)


@pytest.mark.parametrize(("ip", "headless", "kind"), OUTPUT_TARGETS)
def test_output_target_follows_kernel_request_and_setting(
    ip: Any, headless: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MJCI_HEADLESS", headless)
    assert type(select_output(ip)) is kind


# --- what goes wrong on the way -------------------------------------------------------------------


def fail_after(session: Session, error: BaseException, after: int) -> None:
    """Make the requests of a session fail after so many."""
    ask, count = session.client.send_once, [0]

    async def send_once(call: Any) -> Any:
        count[0] += 1
        if count[0] > after:
            raise error
        return await ask(call)

    session.client.send_once = send_once  # type: ignore[method-assign]


INTERRUPTIONS: tuple[tuple[BaseException, type[BaseException], str], ...] = (
    (TransportError("No answer from x."), TransportError, "Connection lost"),
    (KeyboardInterrupt(), Interrupted, "Interrupted: the job goes on at the service."),
)


@pytest.mark.parametrize(("error", "kind", "message"), INTERRUPTIONS, ids=["lost", "interrupted"])
def test_card_keeps_job_id_after_error_or_interrupt(
    session: Session,
    publisher: RecordingPublisher,
    error: BaseException,
    kind: type[BaseException],
    message: str,
) -> None:
    """The card is published before the error is raised."""
    job = session.mj.imagine("a red fox").run()
    if isinstance(error, KeyboardInterrupt):
        interrupt_after(session, after=1)
    else:
        fail_after(session, error, after=3)
    with pytest.raises(kind) as caught:
        job_display.display_job(session, job, HeadlessOutput(publisher))
    data, _, _ = publisher.messages[-1]
    assert len(publisher.messages) == 1
    assert message in data["text/plain"]
    assert f"%mj_task {job.id}" in data["text/plain"]
    if isinstance(caught.value, Interrupted):
        lines = caught.value._render_traceback_()
        assert len(lines) == 2
        assert f"%mj_task {job.id}" in lines[1]
        assert isinstance(caught.value, KeyboardInterrupt)


# (service, proxy family, what the card says of a job that has not begun)
CANCELLATIONS: tuple[tuple[str, str, str, Status], ...] = (
    ("mj", "plus", "Interrupted: the job was cancelled at the service.", Status.CANCELLED),
    ("ci", "plus", "Interrupted: the job was cancelled at the service.", Status.CANCELLED),
    ("mj", "java", "Interrupted: the job could not be cancelled and goes on: ", Status.QUEUED),
)


@pytest.mark.parametrize(("service", "dialect", "message", "status"), CANCELLATIONS)
def test_interrupt_cancels_if_configured(
    publisher: RecordingPublisher, service: str, dialect: str, message: str, status: Status
) -> None:
    with jupyter_mjci.sandbox(speed=1e-6, dialect=dialect, on_interrupt="cancel") as session:
        rotate = session.ci.picture_job(
            input="input/deer.jpg", rule="imageMogr2/rotate/90", output="o.jpg"
        )
        interrupt_after(session, after=1)
        with pytest.raises(Interrupted) as caught:
            job_display.display_job(
                session,
                session.mj.imagine("a red fox") if service == "mj" else rotate,
                HeadlessOutput(publisher),
            )
        job = caught.value.job
        assert job
        assert job.status is status is session.describe(job).run().status
    assert message in publisher.messages[-1][0]["text/plain"]
    assert bool(caught.value.hint) == status.is_active


def test_interrupted_submission_has_unknown_outcome(
    session: Session, publisher: RecordingPublisher
) -> None:
    interrupt_after(session, after=0)
    with pytest.raises(Interrupted) as caught:
        job_display.display_job(session, session.mj.imagine("a red fox"), HeadlessOutput(publisher))
    assert caught.value.job is None
    assert "may have arrived" in "".join(caught.value._render_traceback_())
    assert publisher.messages == []


def interrupt_after(session: Session, after: int) -> None:
    """Interrupt the thread that runs the cell after so many updates, as ■ does."""
    follow = session.follow

    def follow_and_interrupt(target: Any, **options: Any) -> Any:
        if not after:
            raise KeyboardInterrupt
        for count, job in enumerate(follow(target, **options), 1):
            yield job
            if count == after:
                raise KeyboardInterrupt

    session.follow = follow_and_interrupt  # type: ignore[method-assign, assignment]


def test_wait_timeout_is_shown_and_raised(session: Session, publisher: RecordingPublisher) -> None:
    session.settings = replace(session.settings, wait=10.0)
    with pytest.raises(WaitTimeout):
        job_display.display_job(
            session, session.mj.imagine("a red fox").run(), HeadlessOutput(publisher)
        )
    assert "Timed out; the job is still running" in publisher.messages[-1][0]["text/plain"]


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED])
def test_failed_job_is_shown_and_raised(
    session: Session, publisher: RecordingPublisher, status: Status
) -> None:
    """Showing a job that failed before does not raise."""
    job = Job("mj", "1", "IMAGINE", status, reason="banned")
    with pytest.raises(JobFailed, match="banned" if status is Status.FAILED else "cancelled"):
        job_display.display_job(session, job, HeadlessOutput(publisher))
    assert job_display.display_job(session, job, HeadlessOutput(publisher), raises=False) is job
    assert [sorted(data) for data, _, _ in publisher.messages] == [CARD, CARD]


def test_job_that_needs_input_is_shown_without_error(
    session: Session, publisher: RecordingPublisher
) -> None:
    job = Job("mj", "17", "ZOOM", Status.NEEDS_INPUT)
    assert job_display.display_job(session, job, HeadlessOutput(publisher)) is job
    assert "%mj_modal 17" in publisher.messages[-1][0]["text/plain"]


# --- pictures -------------------------------------------------------------------------------------


def serve_picture(session: Session, content: bytes | Exception) -> None:
    """Make a session return this for every picture."""

    async def fetched() -> bytes:
        if isinstance(content, Exception):
            raise content
        return content

    session.picture = lambda *_: Operation(fetched)  # type: ignore[method-assign]


def make_animation() -> bytes:
    file = io.BytesIO()
    pictures = [Image.new("RGB", (40, 20), colour) for colour in ("red", "green", "blue")]
    pictures[0].save(file, "WEBP", save_all=True, append_images=pictures[1:])
    return file.getvalue()


DONE = Job(
    "mj", "17", "VIDEO", Status.SUCCEEDED, 100, "a fox", ("https://cdn.example/x/fox.mp4?ex=1",)
)

# (what the service serves, kinds of the outputs, what the card says, whether it links)
RESULT_KINDS: tuple[tuple[bytes | Exception, list[list[str]], str, bool], ...] = (
    (b"RIFF\0\0\0\0AVI ", [CARD], "fox.mp4: a file to open, not shown here", True),
    (b"\0\0\0\x20ftypisom", [CARD, CARD], "VIDEO 17 SUCCEEDED", False),
    (make_animation(), [CARD, PICTURE], "(3 frames; the first is shown)", True),
    (
        InvalidResponse("The picture is not there (HTTP 404)."),
        [CARD],
        "could not be fetched: The picture is not",
        False,
    ),
)


@pytest.mark.parametrize(
    ("content", "kinds", "message", "links"),
    RESULT_KINDS,
    ids=["old film", "film", "animation", "gone"],
)
def test_video_animation_and_missing_result_become_notes_or_links(
    session: Session,
    publisher: RecordingPublisher,
    content: bytes | Exception,
    kinds: list[list[str]],
    message: str,
    links: bool,
) -> None:
    """A missing picture is only a note, because the job has succeeded."""
    serve_picture(session, content)
    job_display.display_job(session, DONE, HeadlessOutput(publisher))
    assert [sorted(data) for data, _, _ in publisher.messages] == kinds
    assert message in publisher.messages[0][0]["text/plain"]
    assert (
        'href="https://cdn.example/x/fox.mp4?ex=1"' in publisher.messages[0][0]["text/html"]
    ) is links


def test_each_result_is_a_separate_output(session: Session, publisher: RecordingPublisher) -> None:
    done = session.follow(session.mj.imagine("a red fox")).run()
    job_display.display_job(
        session, replace(done, outputs=done.outputs * 3), HeadlessOutput(publisher)
    )
    assert [sorted(data) for data, _, _ in publisher.messages] == [CARD] + [PICTURE] * 3


# --- in the background ----------------------------------------------------------------------------


def wait_result(handle: JobFuture) -> Job:
    return handle.result()


async def await_result(handle: JobFuture) -> Job:
    return await handle


WAITS: dict[str, Callable[[JobFuture], Job]] = {
    "result": wait_result,
    "await": lambda handle: asyncio.run(await_result(handle)),
}


@pytest.mark.parametrize("way", list(WAITS))
def test_background_job_updates_only_its_card(
    session: Session, publisher: RecordingPublisher, way: str
) -> None:
    """The picture is inside the card, since nothing may be published after the cell."""
    handle = JobFuture(session, session.mj.imagine("a red fox").run(), LiveOutput(publisher))
    done = WAITS[way](handle)
    assert done is handle.job is handle.result()
    assert handle.done()
    assert len({name for _, name, _ in publisher.messages}) == 1
    assert [update for _, _, update in publisher.messages] == [False] + [True] * (
        len(publisher.messages) - 1
    )
    last = publisher.messages[-1][0]["text/html"]
    assert "data:image/jpeg;base64," in last
    assert "succeeded" in last
    assert repr(handle) == f"<following IMAGINE {done.id} SUCCEEDED>"


def test_failed_background_job_raises_in_result(
    session: Session, publisher: RecordingPublisher
) -> None:
    call = session.ci.picture_job(input="no/such.jpg", rule="imageMogr2/rotate/90", output="o.jpg")
    handle = JobFuture(session, call.run(), LiveOutput(publisher))
    with pytest.raises(JobFailed, match="NoSuchKey"):
        handle.result()
    assert "failed" in publisher.messages[-1][0]["text/html"]


class DisconnectedOutput(LiveOutput):
    """A front end that receives the first card and then disconnects."""

    def show_final(self, bundle: Any) -> None:
        if self.display_id:
            raise OSError("no socket")
        super().show_final(bundle)


def test_display_error_does_not_stop_background_job(
    session: Session, publisher: RecordingPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    handle = JobFuture(
        session, session.mj.imagine("a red fox").run(), DisconnectedOutput(publisher)
    )
    assert handle.result().status is Status.SUCCEEDED
    assert len(publisher.messages) == 1
    assert "could not be updated" in caplog.text


def test_headless_background_job_publishes_one_card(
    session: Session, publisher: RecordingPublisher
) -> None:
    """The card shows the job as it was when the cell ended."""
    handle = JobFuture(session, session.mj.imagine("a red fox").run(), HeadlessOutput(publisher))
    handle.result()
    assert len(publisher.messages) == 1
    assert "queued" in publisher.messages[0][0]["text/html"]


def test_cancelled_future_says_how_to_resume(
    session: Session, publisher: RecordingPublisher
) -> None:
    session.client.clock.speed = 0.001  # type: ignore[attr-defined]
    handle = JobFuture(session, session.mj.imagine("a red fox").run(), LiveOutput(publisher))
    handle.cancel()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(await_result(handle))
    assert f"%mj_task {handle.job.id}" in publisher.messages[-1][0]["text/plain"]


def test_cell_shows_a_job_and_one_of_its_pictures(shell: Shell) -> None:
    """Without an archive they are fetched; what cannot be fetched leaves the card."""
    shell.run("%mj_imagine a red fox -o job")
    job = shell.ip.user_ns["job"]
    data, _ = shell.ip.display_formatter.format(job)
    assert data["text/html"].count("<img") == 1
    data, metadata = shell.ip.display_formatter.format(job[2])
    assert data["text/plain"].endswith(f"IMAGINE {job.id}[2] a red fox>")
    (shown,) = metadata.values()
    assert shown["alt"] == f"IMAGINE {job.id}[2] a red fox"
    assert "text/html" not in data
    assert shell.ip.display_formatter.format(job[7])[0] == {"text/plain": repr(job[7])}
    lost = replace(job, id="1", outputs=("nowhere",))
    assert "<img" not in shell.ip.display_formatter.format(lost)[0]["text/html"]
