"""A followed job in a cell: the same outputs whoever looks on."""

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


class Book:
    """A publisher that keeps everything that was ever published."""

    def __init__(self) -> None:
        self.pages: list[tuple[dict[str, Any], str, bool]] = []

    def publish(
        self,
        data: dict[str, Any],
        _: dict[str, Any],
        *,
        transient: Any = None,
        update: bool = False,
    ) -> None:
        self.pages.append((data, (transient or {}).get("display_id", ""), update))


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox's jobs pass in no time; here every update counts."""
    monkeypatch.setattr(outputs, "MIN_UPDATE_INTERVAL", 0.0)


MODES = {"live": "0", "headless": "1"}


def kept(monkeypatch: pytest.MonkeyPatch, mode: str, cell: str, session: Session) -> Any:
    """What a notebook would save of a cell."""
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
    '%%ci_job\nname = "n"\nprefix = "input/"\nrule = "imageMogr2/rotate/90"\noutput = "o/${InputName}.jpg"',
)


@pytest.mark.parametrize("cell", CELLS)
def test_a_cell_saves_the_same_live_and_headless(
    monkeypatch: pytest.MonkeyPatch, cell: str
) -> None:
    """The same number of outputs, the same kinds, the same bytes."""
    found = []
    for mode in MODES:
        with jupyter_mjci.sandbox(speed=math.inf) as session:
            found.append(kept(monkeypatch, mode, cell, session))
    assert found[0] == found[1]
    assert len(found[0]) >= 1


def test_live_shows_the_progress_and_then_the_final_card(session: Session, book: Book) -> None:
    """One display from first to last: bars, a blurry preview, the final card; then the picture."""
    session.clock.speed = 200  # type: ignore[attr-defined]
    job = job_display.display_job(session, session.mj.imagine("a red fox").run(), LiveOutput(book))
    cards = [data["text/html"] for data, name, _ in book.pages if name]
    assert len({name for _, name, _ in book.pages if name}) == 1
    assert [update for _, name, update in book.pages if name] == [False] + [True] * (len(cards) - 1)
    assert (
        len(cards) == len(set(cards)) >= 3
    )  # how many are seen of a job without duration is chance
    assert all("progressbar" in card for card in cards[:-1])
    assert any("data:image/" in card for card in cards)
    assert "progressbar" not in cards[-1]
    assert "data:image/" not in cards[-1]
    assert [sorted(data) for data, name, _ in book.pages if not name] == [PICTURE]
    assert job.status is Status.SUCCEEDED


def test_updates_are_throttled(
    session: Session, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However fast a job goes, a card changes at most four times a second; the final card always
    lands.
    """
    monkeypatch.setattr(outputs, "MIN_UPDATE_INTERVAL", 0.25)
    begun = time.monotonic()
    job_display.display_job(session, session.mj.imagine("a red fox").run(), LiveOutput(book))
    updates = [data for data, name, _ in book.pages if name]
    assert len(updates) <= (time.monotonic() - begun) / 0.25 + 2
    assert "succeeded" in updates[-1]["text/html"]


def test_nothing_is_shown_twice(book: Book) -> None:
    """A card that did not change is not sent again."""
    place = LiveOutput(book)
    job = Job("mj", "1", "IMAGINE", Status.RUNNING, 10)
    for _ in range(3):
        place.show_progress(job, "")
    assert len(book.pages) == 1


def test_headless_shows_only_what_stays(session: Session, book: Book) -> None:
    """No progress, no display ids: the card and the picture."""
    job_display.display_job(session, session.mj.imagine("a red fox").run(), HeadlessOutput(book))
    assert [sorted(data) for data, _, _ in book.pages] == [CARD, PICTURE]
    assert {name for _, name, _ in book.pages} == {""}


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_line(
    session: Session, book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Overwritten while the job goes on, and wiped at the end; none where stderr is no terminal."""
    monkeypatch.setattr(sys, "stderr", tty := Tty())
    job_display.display_job(session, session.mj.imagine("a red fox").run(), TerminalOutput(book))
    lines = tty.getvalue().split("\r")
    assert "QUEUED [" in tty.getvalue()
    assert "\n" not in tty.getvalue()
    assert lines[-1] == ""
    assert lines[-2].strip() == ""
    assert max(map(len, lines)) < 80
    assert len(book.pages) == 2
    monkeypatch.setattr(sys, "stderr", plain := io.StringIO())
    job_display.display_job(session, session.mj.imagine("a red fox").run(), TerminalOutput(book))
    assert plain.getvalue() == ""


def test_a_terminal_is_told_where_the_picture_is(book: Book, tmp_path: Path) -> None:
    """Which cannot be seen there; a notebook holds it, and no paths."""
    with jupyter_mjci.sandbox(speed=math.inf, home=tmp_path) as session:
        job = job_display.display_job(
            session, session.mj.imagine("a red fox"), TerminalOutput(book)
        )
        told = book.pages[-1][0]["text/plain"]
        assert Path(told.removeprefix("  kept as ")).read_bytes() == session.picture(job).run()
        job_display.display_job(session, job, HeadlessOutput(book))
    assert len(book.pages) == 5


class Kernel:
    display_pub = None

    def __init__(self, allow_stdin: bool | None) -> None:
        self.content = {} if allow_stdin is None else {"allow_stdin": allow_stdin}

    def get_parent(self) -> dict[str, Any]:
        return {"content": self.content}


class Plain:
    display_pub = None


PLACES: tuple[tuple[Any, str, type], ...] = (
    (Kernel(True), "", LiveOutput),
    (Kernel(False), "", HeadlessOutput),
    (Kernel(None), "", HeadlessOutput),
    (Plain(), "", TerminalOutput),
    (Kernel(True), "1", HeadlessOutput),
    (Kernel(False), "0", LiveOutput),
    (Plain(), "1", HeadlessOutput),
)


@pytest.mark.parametrize(("ip", "told", "kind"), PLACES)
def test_who_looks_on_is_known(
    ip: Any, told: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the request that runs the cell; MJCI_HEADLESS overrides it."""
    monkeypatch.setenv("MJCI_HEADLESS", told)
    assert type(select_output(ip)) is kind


# --- what goes wrong on the way -------------------------------------------------------------------


def broken(session: Session, error: BaseException, after: int) -> None:
    """Makes the session's further asking fail."""
    ask, count = session.client.send_once, [0]

    async def send_once(call: Any) -> Any:
        count[0] += 1
        if count[0] > after:
            raise error
        return await ask(call)

    session.client.send_once = send_once  # type: ignore[method-assign]


BREAKS: tuple[tuple[BaseException, type[BaseException], str], ...] = (
    (TransportError("No answer from x."), TransportError, "Lost from sight"),
    (KeyboardInterrupt(), Interrupted, "Interrupted: it goes on at the service."),
)


@pytest.mark.parametrize(("error", "kind", "said"), BREAKS, ids=["lost", "interrupted"])
def test_the_job_is_named_whatever_happens(
    session: Session, book: Book, error: BaseException, kind: type[BaseException], said: str
) -> None:
    """The card keeps its id and says how to go on; then the error comes."""
    job = session.mj.imagine("a red fox").run()
    if isinstance(error, KeyboardInterrupt):
        stop_in_the_wait(session, after=1)
    else:
        broken(session, error, after=3)
    with pytest.raises(kind) as caught:
        job_display.display_job(session, job, HeadlessOutput(book))
    data, _, _ = book.pages[-1]
    assert len(book.pages) == 1
    assert said in data["text/plain"]
    assert f"%mj_task {job.id}" in data["text/plain"]
    if isinstance(caught.value, Interrupted):
        lines = caught.value._render_traceback_()
        assert len(lines) == 2
        assert f"%mj_task {job.id}" in lines[1]
        assert isinstance(caught.value, KeyboardInterrupt)


# (service, proxy family, what the card says of a job that has not begun)
CALLED_OFF: tuple[tuple[str, str, str, Status], ...] = (
    ("mj", "plus", "Interrupted: it was cancelled at the service.", Status.CANCELLED),
    ("ci", "plus", "Interrupted: it was cancelled at the service.", Status.CANCELLED),
    ("mj", "java", "Interrupted: it could not be cancelled and goes on: ", Status.QUEUED),
)


@pytest.mark.parametrize(("service", "dialect", "said", "status"), CALLED_OFF)
def test_an_interrupt_may_cancel(
    book: Book, service: str, dialect: str, said: str, status: Status
) -> None:
    """With on_interrupt = "cancel" the service is asked, and the card tells what it answered."""
    with jupyter_mjci.sandbox(speed=1e-6, dialect=dialect, on_interrupt="cancel") as session:
        rotate = session.ci.picture_job(
            input="input/deer.jpg", rule="imageMogr2/rotate/90", output="o.jpg"
        )
        stop_in_the_wait(session, after=1)
        with pytest.raises(Interrupted) as caught:
            job_display.display_job(
                session,
                session.mj.imagine("a red fox") if service == "mj" else rotate,
                HeadlessOutput(book),
            )
        job = caught.value.job
        assert job
        assert job.status is status is session.describe(job).run().status
    assert said in book.pages[-1][0]["text/plain"]
    assert bool(caught.value.hint) == status.is_active


def test_an_interrupted_submission_may_have_arrived(session: Session, book: Book) -> None:
    """Nothing is known yet, so nothing is shown but what to do."""
    stop_in_the_wait(session, after=0)
    with pytest.raises(Interrupted) as caught:
        job_display.display_job(session, session.mj.imagine("a red fox"), HeadlessOutput(book))
    assert caught.value.job is None
    assert "may have arrived" in "".join(caught.value._render_traceback_())
    assert book.pages == []


def stop_in_the_wait(session: Session, after: int) -> None:
    """As a person presses ■: the interrupt reaches the thread that runs the cell."""
    follow = session.follow

    def followed(what: Any, **given: Any) -> Any:
        if not after:
            raise KeyboardInterrupt
        for count, job in enumerate(follow(what, **given), 1):
            yield job
            if count == after:
                raise KeyboardInterrupt

    session.follow = followed  # type: ignore[method-assign, assignment]


def test_a_wait_that_is_too_long_ends(session: Session, book: Book) -> None:
    """The job goes on, and the card says so."""
    session.settings = replace(session.settings, wait=10.0)
    with pytest.raises(WaitTimeout):
        job_display.display_job(
            session, session.mj.imagine("a red fox").run(), HeadlessOutput(book)
        )
    assert "Nobody waits any longer" in book.pages[-1][0]["text/plain"]


@pytest.mark.parametrize("status", [Status.FAILED, Status.CANCELLED])
def test_a_failure_is_shown_and_raised(session: Session, book: Book, status: Status) -> None:
    """After the red card. Looking at a job that has long failed is no failure."""
    job = Job("mj", "1", "IMAGINE", status, reason="banned")
    with pytest.raises(JobFailed, match="banned" if status is Status.FAILED else "cancelled"):
        job_display.display_job(session, job, HeadlessOutput(book))
    assert job_display.display_job(session, job, HeadlessOutput(book), raises=False) is job
    assert [sorted(data) for data, _, _ in book.pages] == [CARD, CARD]


def test_a_job_that_asks_is_shown_and_no_failure(session: Session, book: Book) -> None:
    """It waits for a person."""
    job = Job("mj", "17", "ZOOM", Status.NEEDS_INPUT)
    assert job_display.display_job(session, job, HeadlessOutput(book)) is job
    assert "%mj_modal 17" in book.pages[-1][0]["text/plain"]


# --- pictures -------------------------------------------------------------------------------------


def served(session: Session, content: bytes | Exception) -> None:
    """Makes every picture of the session this one."""

    async def fetched() -> bytes:
        if isinstance(content, Exception):
            raise content
        return content

    session.picture = lambda *_: Operation(fetched)  # type: ignore[method-assign]


def moving() -> bytes:
    file = io.BytesIO()
    pictures = [Image.new("RGB", (40, 20), colour) for colour in ("red", "green", "blue")]
    pictures[0].save(file, "WEBP", save_all=True, append_images=pictures[1:])
    return file.getvalue()


DONE = Job(
    "mj", "17", "VIDEO", Status.SUCCEEDED, 100, "a fox", ("https://cdn.example/x/fox.mp4?ex=1",)
)

# (what the service serves, kinds of the outputs, what the card says, whether it links)
SERVED: tuple[tuple[bytes | Exception, list[list[str]], str, bool], ...] = (
    (b"\0\0\0\x20ftypisom", [CARD], "fox.mp4: a file to open, not shown here", True),
    (moving(), [CARD, PICTURE], "(3 frames; the first is shown)", True),
    (
        InvalidResponse("The picture is not there (HTTP 404)."),
        [CARD],
        "could not be fetched: The picture is not",
        False,
    ),
)


@pytest.mark.parametrize(
    ("content", "kinds", "said", "links"), SERVED, ids=["video", "animation", "gone"]
)
def test_results_that_are_no_still_picture(
    session: Session,
    book: Book,
    content: bytes | Exception,
    kinds: list[list[str]],
    said: str,
    links: bool,
) -> None:
    """A first frame or a link; a picture that is gone is a note, because the job has succeeded."""
    served(session, content)
    job_display.display_job(session, DONE, HeadlessOutput(book))
    assert [sorted(data) for data, _, _ in book.pages] == kinds
    assert said in book.pages[0][0]["text/plain"]
    assert ('href="https://cdn.example/x/fox.mp4?ex=1"' in book.pages[0][0]["text/html"]) is links


def test_each_result_is_an_output_of_its_own(session: Session, book: Book) -> None:
    """In the order of the results."""
    done = session.follow(session.mj.imagine("a red fox")).run()
    job_display.display_job(session, replace(done, outputs=done.outputs * 3), HeadlessOutput(book))
    assert [sorted(data) for data, _, _ in book.pages] == [CARD] + [PICTURE] * 3


# --- in the background ----------------------------------------------------------------------------


def ended(handle: JobFuture) -> Job:
    return handle.result()


async def awaited(handle: JobFuture) -> Job:
    return await handle


WAYS: dict[str, Callable[[JobFuture], Job]] = {
    "result": ended,
    "await": lambda handle: asyncio.run(awaited(handle)),
}


@pytest.mark.parametrize("way", list(WAYS))
def test_a_background_job_ends_in_its_card(session: Session, book: Book, way: str) -> None:
    """Only its own display is updated; the picture is inside it, because nothing may come after the
    cell.
    """
    handle = JobFuture(session, session.mj.imagine("a red fox").run(), LiveOutput(book))
    done = WAYS[way](handle)
    assert done is handle.job is handle.result()
    assert handle.done()
    assert len({name for _, name, _ in book.pages}) == 1
    assert [update for _, _, update in book.pages] == [False] + [True] * (len(book.pages) - 1)
    last = book.pages[-1][0]["text/html"]
    assert "data:image/jpeg;base64," in last
    assert "succeeded" in last
    assert repr(handle) == f"<following IMAGINE {done.id} SUCCEEDED>"


def test_a_background_job_that_fails_says_so_when_asked(session: Session, book: Book) -> None:
    """The card is red, `result` raises."""
    call = session.ci.picture_job(input="no/such.jpg", rule="imageMogr2/rotate/90", output="o.jpg")
    handle = JobFuture(session, call.run(), LiveOutput(book))
    with pytest.raises(JobFailed, match="NoSuchKey"):
        handle.result()
    assert "failed" in book.pages[-1][0]["text/html"]


class Gone(LiveOutput):
    """A front end that hears the first card and nothing after it."""

    def show_final(self, bundle: Any) -> None:
        if self.display_id:
            raise OSError("no socket")
        super().show_final(bundle)


def test_a_front_end_that_is_gone_costs_no_job(
    session: Session, book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    """The card cannot be updated; the job is followed to its end all the same."""
    handle = JobFuture(session, session.mj.imagine("a red fox").run(), Gone(book))
    assert handle.result().status is Status.SUCCEEDED
    assert len(book.pages) == 1
    assert "could not be updated" in caplog.text


def test_a_headless_background_job_leaves_one_card(session: Session, book: Book) -> None:
    """As it was when the cell ended."""
    handle = JobFuture(session, session.mj.imagine("a red fox").run(), HeadlessOutput(book))
    handle.result()
    assert len(book.pages) == 1
    assert "waiting" in book.pages[0][0]["text/html"]


def test_following_can_be_stopped(session: Session, book: Book) -> None:
    """The job goes on at the service, and the card says how to pick it up."""
    session.clock.speed = 0.001  # type: ignore[attr-defined]
    handle = JobFuture(session, session.mj.imagine("a red fox").run(), LiveOutput(book))
    handle.cancel()
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(awaited(handle))
    assert f"%mj_task {handle.job.id}" in book.pages[-1][0]["text/plain"]
