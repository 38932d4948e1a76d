"""A followed job in a cell: the cell saves the same outputs live, headless and in a test run.

Live, one display shows the progress and is finally updated to the final card; headless, that card
is displayed once. Then every result picture is an output of its own. Nothing goes to stdout or
stderr, nothing comes after the cell has ended. Only the thread that runs the cell makes outputs; a
job that nobody waits for updates its one card.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import anyio

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.settings import is_headless
from jupyter_mjci.errors import JobFailed, MjciError, WaitTimeout
from jupyter_mjci.notebook import cards, images
from jupyter_mjci.notebook.cards import Extras
from jupyter_mjci.notebook.images import MimeBundle
from jupyter_mjci.services.midjourney.responses import get_preview_url
from jupyter_mjci.services.tencent_ci.responses import to_text
from jupyter_mjci.session import Session

LOG = logging.getLogger(__name__)
MIN_UPDATE_INTERVAL = 0.25  # seconds between two updates of a card
PREVIEW_SIZE = 256  # pixels
PREVIEW_TIMEOUT = 3.0  # seconds for a preview


class Interrupted(KeyboardInterrupt):
    """Nobody waits any longer. `.job` is how a job that was submitted was last seen, `.message` is to
    be known of it and `.hint` says what to do next.
    """

    def __init__(self, job: Job | None = None, message: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.job, self.message, self.hint = job, message, hint

    @property
    def note(self) -> str:
        """The same for a card, which tells of the job itself."""
        return f"Interrupted: {self.message} {self.hint}".rstrip()

    def _render_traceback_(self) -> list[str]:
        """IPython's door: two lines in a cell instead of the way through the engine."""
        about = f"{cards.headline(self.job)}: " if self.job else ""
        return [f"Interrupted: {about}{self.message}", *([f"  → {self.hint}"] if self.hint else [])]


def _follow_command(job: Job) -> str:
    return f"{cards.JOB_MAGICS.get(job.service, '%mj_task')} {job.id}"


# --- where outputs go -----------------------------------------------------------------------------


class OutputTarget(Protocol):
    """One job's place in a cell: `show_progress` (or `update`, for what is no job) whenever it is due,
    `show_final` once, `add` for what comes after, and `show_path` for where a picture's file is.
    """

    live: bool

    def should_update(self) -> bool: ...
    def show_progress(self, job: Job, preview: str, /) -> None: ...
    def update(self, line: str, bundle: MimeBundle, /) -> None: ...
    def show_final(self, bundle: MimeBundle) -> None: ...
    def add(self, bundle: MimeBundle) -> None: ...
    def show_path(self, path: Path, /) -> None: ...


def select_output(ip: Any) -> OutputTarget:
    """The screen of this shell: `MJCI_HEADLESS` decides, else whether a person can answer the
    running cell.
    """
    told = is_headless()
    kernel = hasattr(ip, "get_parent")
    if told is None:
        told = kernel and not ip.get_parent().get("content", {}).get("allow_stdin", False)
        if not kernel:
            return TerminalOutput(ip.display_pub)
    return HeadlessOutput(ip.display_pub) if told else LiveOutput(ip.display_pub)


@dataclass
class HeadlessOutput:
    """Headless: only what stays."""

    publisher: Any
    live: bool = False

    def should_update(self) -> bool:
        return False

    def show_progress(self, job: Job, preview: str, /) -> None:
        html = cards.progress_html(job, preview)
        self.update(
            cards.progress_line(job), ({"text/html": html, "text/plain": cards.card_text(job)}, {})
        )

    def update(self, line: str, bundle: MimeBundle, /) -> None:
        pass

    def show_final(self, bundle: MimeBundle) -> None:
        self.add(bundle)

    def add(self, bundle: MimeBundle) -> None:
        self.publisher.publish(*bundle)

    def show_path(self, path: Path, /) -> None:
        """A notebook holds the picture itself, and no paths of this computer."""


@dataclass
class TerminalOutput(HeadlessOutput):
    """IPython without a notebook: one line on stderr that is overwritten, where stderr is a
    terminal.
    """

    width: int = 0

    def should_update(self) -> bool:
        return sys.stderr.isatty()

    def update(self, line: str, _: MimeBundle, /) -> None:
        room = _terminal_width() - 1  # in the last column some terminals go on to the next line
        whole, wide = _truncate_to_width(line, room)
        if whole != line:  # half a bar would say something else
            line, wide = _truncate_to_width(line.rpartition(" [")[0], room)
        sys.stderr.write(f"\r{line}{' ' * (self.width - wide)}")
        sys.stderr.flush()
        self.width = wide

    def show_final(self, bundle: MimeBundle) -> None:
        if self.width:
            blank = " " * min(self.width + len("^C"), _terminal_width() - 1)
            sys.stderr.write(f"\r{blank}\r")
            sys.stderr.flush()
            self.width = 0
        self.add(bundle)

    def show_path(self, path: Path, /) -> None:
        self.add(({"text/plain": f"  kept as {path}"}, {}))


def _terminal_width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _truncate_to_width(line: str, width: int) -> tuple[str, int]:
    """As much of a line as has room, and the columns that it takes: East Asian letters take two."""
    wide = 0
    for end, letter in enumerate(line):
        takes = 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if wide + takes > width:
            return line[:end], wide
        wide += takes
    return line, wide


@dataclass
class LiveOutput(HeadlessOutput):
    """A person looks on: one display, updated while the job goes on, not too often and only when
    something changed.
    """

    live: bool = True
    display_id: str = ""
    last_bundle: MimeBundle | None = None
    last_update: float = float("-inf")

    def should_update(self) -> bool:
        return time.monotonic() - self.last_update >= MIN_UPDATE_INTERVAL

    def update(self, _: str, bundle: MimeBundle, /) -> None:
        self.show_final(bundle)

    def show_final(self, bundle: MimeBundle) -> None:
        if bundle == self.last_bundle:
            return
        update, self.last_bundle, self.last_update = bool(self.display_id), bundle, time.monotonic()
        self.display_id = self.display_id or secrets.token_hex(8)
        self.publisher.publish(*bundle, transient={"display_id": self.display_id}, update=update)


def card_bundle(job: Job, extras: Extras = cards.NO_EXTRAS) -> MimeBundle:
    """A job's card as an output."""
    return {
        "text/html": cards.card_html(job, extras),
        "text/plain": cards.card_text(job, extras),
    }, {}


# --- a job that the cell waits for ----------------------------------------------------------------


def display_job(
    session: Session, job_or_call: Job | Call[Job], output: OutputTarget, *, raises: bool = True
) -> Job:
    """Submits (a call), follows the job in the cell to its end, and shows its card and its
    pictures. Returns the job as it ended.

    Raises JobFailed where it failed (with `raises` false only if it did so while we waited),
    WaitTooLong, Interrupted, and whatever went wrong on the way: after the card, so that nothing is
    lost.
    """
    job = job_or_call if isinstance(job_or_call, Job) else None
    moving, previews = job is None or job.status.is_active, Previews(session)
    try:
        if moving:
            for job in session.follow(job_or_call):
                if output.should_update():
                    output.show_progress(
                        job, event_loop.run(previews.fetch(job)) if output.live else ""
                    )
        job = _refetch_if_incomplete(session, cast(Job, job))
        bundles, extras = fetch_results(session, job)
    except KeyboardInterrupt:
        if job is None:
            raise Interrupted(None, OUTCOME_UNKNOWN) from None
        stopped = _handle_interrupt(session, job)
        output.show_final(card_bundle(cast(Job, stopped.job), Extras(notes=[stopped.note])))
        raise stopped from None
    except MjciError as error:
        if job is not None:
            output.show_final(card_bundle(job, Extras(notes=[_error_note(job, error)])))
        raise
    output.show_final(card_bundle(job, extras))
    for bundle in bundles:
        output.add(bundle)
    for path in _archived_paths(session, job):
        output.show_path(path)
    if job.status in (Status.FAILED, Status.CANCELLED) and (moving or raises):
        raise JobFailed(job)
    return job


def _archived_paths(session: Session, job: Job) -> Iterable[Path]:
    """Where the archive keeps the job's pictures."""
    kept = (
        session.archive.find(job, index) for index in range(len(job.outputs)) if session.archive
    )
    return [one.path for one in kept if one]


OUTCOME_UNKNOWN = "the submission may have arrived: look at the listing before sending it again."


def _refetch_if_incomplete(session: Session, job: Job) -> Job:
    """A submission may be answered with a task that has long succeeded, and no word of its
    pictures.
    """
    incomplete = (
        job.status is Status.SUCCEEDED and job.id and not job.outputs and "Name" not in job.raw
    )
    return session.describe(job).run() if incomplete else job


def _error_note(job: Job, error: MjciError) -> str:
    if isinstance(error, WaitTimeout):
        return f"Nobody waits any longer. Wait again with {_follow_command(job)}"
    return f"Lost from sight. Look again with {_follow_command(job)}"


def _handle_interrupt(session: Session, job: Job) -> Interrupted:
    """What becomes of a job whose cell was interrupted."""
    if job.status.is_terminal:
        return Interrupted(
            job, "its pictures were not fetched.", f"Show them with {_follow_command(job)}"
        )
    what = "it goes on at the service."
    if session.settings.on_interrupt == "cancel":
        ((job, why),) = cancel_all(session, [job])
        what = (
            f"it could not be cancelled and goes on: {why}"
            if why
            else "the service was asked to cancel it."
        )
    if job.status is Status.CANCELLED:
        return Interrupted(job, "it was cancelled at the service.")
    return Interrupted(job, what, f"Wait for it again with {_follow_command(job)}")


CANCEL_TIMEOUT = (
    10.0  # seconds that a person who has interrupted a cell waits for the services to say yes
)


def cancel_all(session: Session, jobs: Sequence[Job]) -> list[tuple[Job, str]]:
    """Asks the services to cancel those of the jobs that have not ended. Each as it then is, and
    why it could not be cancelled, where that is so.
    """
    found = [(job, "there was no answer in time." if job.status.is_active else "") for job in jobs]

    async def one(place: int, job: Job) -> None:
        try:
            await session.cancel(job)
            found[place] = await session.describe(job), ""
        except MjciError as error:
            found[place] = job, error.message

    async def every() -> None:
        with anyio.move_on_after(CANCEL_TIMEOUT):
            async with anyio.create_task_group() as group:
                for place, job in enumerate(jobs):
                    if job.status.is_active and job.id:
                        group.start_soon(one, place, job)

    with suppress(KeyboardInterrupt):  # a second time: then nobody waits for this either
        event_loop.run(every())
    return found


@dataclass
class Previews:
    """The blurry previews of a running task, each fetched once. One that is not to be had is no
    matter.
    """

    session: Session
    url: str = ""
    data_url: str = ""

    async def fetch(self, job: Job) -> str:
        """The preview as a data URL, or the one before, or "". On the engine."""
        url = get_preview_url(job)
        if url and url != self.url:
            self.url = url
            with suppress(MjciError, ValueError), anyio.move_on_after(PREVIEW_TIMEOUT):
                content = await self.session.picture(url)
                self.data_url = images.data_url(
                    content, PREVIEW_SIZE, images.MAX_THUMBNAIL_BYTES // 3
                )
        return self.data_url


# --- what came out --------------------------------------------------------------------------------


def fetch_results(session: Session, job: Job) -> tuple[list[MimeBundle], Extras]:
    """The pictures of a finished job as outputs, and what its card has to say of them."""
    return event_loop.run(fetch_results_async(session, job))


async def fetch_results_async(session: Session, job: Job) -> tuple[list[MimeBundle], Extras]:
    """The same for code on the engine."""
    bundles: list[MimeBundle] = []
    notes: list[str] = []
    links: list[tuple[str, str]] = []
    for index, url in enumerate(job.outputs):
        try:
            content = await session.picture(job, index)
        except MjciError as error:
            notes.append(f"The picture could not be fetched: {error.message}")
            continue
        seen = images.identify(content)
        try:
            bundles.append(images.picture_bundle(job, content, session.settings.thumbnail))
        except ValueError:
            links.append((_file_name(url), url))
            continue
        if seen is not None and seen.frames > 1:
            links.append((f"{_file_name(url)} ({seen.frames} frames; the first is shown)", url))
    return bundles, Extras(notes, await _count_child_jobs(session, job), links=links)


def _file_name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2] or "result"


async def _count_child_jobs(session: Session, job: Job) -> dict[str, int] | None:
    """How many jobs a batch made, by status: one page of the listing."""
    if job.service != "ci" or not job.raw.get("Name") or not job.id:
        return None
    tag = to_text(job.raw.get("Operation", {}).get("Tag")) or "PicProcess"
    try:
        page = await session.ci.jobs(tag=tag, batch_id=job.id).first_page
    except MjciError:
        return None
    return dict(sorted(Counter(child.status.value for child in page.items).items()))


# --- a job that nobody waits for ------------------------------------------------------------------


class JobFuture:
    """A job that is followed in the background. `await` it, or `.result()` waits for the finished
    job; `.job` is how it was last seen, `.cancel()` stops following (the job itself goes on).
    """

    def __init__(self, session: Session, job: Job, output: OutputTarget) -> None:
        self.job = job
        self._session, self._output, self._previews = session, output, Previews(session)
        if output.live:
            output.show_progress(job, "")
        else:  # nothing may come after the cell has ended, so what stays is what is known now
            output.show_final(card_bundle(job))
        self._handle = event_loop.start(
            self._follow()
        )  # in a copy of this context: updates find their cell

    def __repr__(self) -> str:
        return f"<following {cards.headline(self.job)}>"

    def done(self) -> bool:
        """Whether it has ended, well or not."""
        return self._handle.done()

    def cancel(self) -> None:
        """Stops following. The job itself goes on at the service."""
        self._handle.cancel()

    def result(self) -> Job:
        """Waits for the finished job. Raises JobFailed if it failed. An interrupt ends only the
        waiting.
        """
        while not self._handle.done():
            wait([self._handle.future], event_loop.WAIT_SLICE)
        return self._handle.future.result()

    def __await__(self) -> Generator[Any, None, Job]:
        return self._await_result().__await__()

    async def _await_result(self) -> Job:
        wrapped = asyncio.wrap_future(self._handle.future)
        while (
            not wrapped.done()
        ):  # the heartbeat of every wait; one that is cancelled ends, the following goes on
            await asyncio.wait({wrapped}, timeout=event_loop.WAIT_SLICE)
        return wrapped.result()

    async def _follow(self) -> Job:
        extras = Extras(
            notes=[f"Nobody follows it any longer. Wait for it with {_follow_command(self.job)}"]
        )
        try:
            async for job in self._session.follow(self.job):
                self.job = job
                if self._output.live and self._output.should_update():
                    preview = await self._previews.fetch(job)
                    self._try_update(partial(self._output.show_progress, job, preview))
            extras = await self._fetch_picture()
        except MjciError as error:
            extras = Extras(notes=error.format_lines()[:1])
            raise
        finally:
            if self._output.live:
                self._try_update(partial(self._output.show_final, card_bundle(self.job, extras)))
        if self.job.status in (Status.FAILED, Status.CANCELLED):
            raise JobFailed(self.job)
        return self.job

    async def _fetch_picture(self) -> Extras:
        """A background job may not make outputs, so its picture is inside its card."""
        bundles, extras = await fetch_results_async(self._session, self.job)
        return replace(extras, picture=next(_data_urls(bundles), ""))

    def _try_update(self, update: Callable[[], None]) -> None:
        """A front end that is gone must not cost the job."""
        try:
            update()
        except Exception:
            LOG.exception("the card of %s could not be updated", self.job.id)


def _data_urls(bundles: Iterable[MimeBundle]) -> Generator[str, None, None]:
    for data, _ in bundles:
        for mime, content in data.items():
            if mime.startswith("image/"):
                yield f"data:{mime};base64,{content}"


class ObjectBytes(bytes):
    """An object's bytes as a cell's result: a picture is shown, anything else is told."""

    def __repr__(self) -> str:
        seen = images.identify(self)
        what = f"{seen.format} {seen.width}×{seen.height}" if seen else "bytes"
        return f"<{what}, {len(self)} bytes, sha {images.digest(self)[:12]}>"

    def _repr_mimebundle_(self, **_: Any) -> Any:
        try:
            small, mime, width, height = images.make_thumbnail(self)
        except ValueError:
            return {"text/plain": repr(self)}
        return {mime: images.to_base64(small), "text/plain": repr(self)}, {
            mime: {"width": width, "height": height}
        }
