"""The desk: both services, their settings, and everything that takes more than one request."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import anyio
import anyio.from_thread
import anyio.lowlevel

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call, Page, Pages, Reply, Stream, Work
from jupyter_mjci.client.cassette import SECRETS, TOLD, Player, Recorder, wanted
from jupyter_mjci.client.image_input import kind_of
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.redaction import HIDDEN
from jupyter_mjci.client.settings import MANNERS, Secret, Settings, load, notebook
from jupyter_mjci.client.transport import Clock, Origin, SystemClock, Transport, cos_auth, mj_auth
from jupyter_mjci.errors import (
    AnswerError,
    CallError,
    JobFailed,
    MjciError,
    NoSuchEndpoint,
    SettingsError,
)
from jupyter_mjci.history.history import History
from jupyter_mjci.history.image_archive import Archive, is_grid, quarters, shrunk
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.sync import Synced, sync, when
from jupyter_mjci.jobs import submission
from jupyter_mjci.jobs.batch import Step, ends, service_of, work_off
from jupyter_mjci.jobs.polling import LATEST, Poller
from jupyter_mjci.jobs.submission import Submitter
from jupyter_mjci.services.midjourney import api as midjourney
from jupyter_mjci.services.midjourney.fallbacks import DETOURS
from jupyter_mjci.services.tencent_ci import api as tencent_ci
from jupyter_mjci.services.tencent_ci import signing

if TYPE_CHECKING:
    import httpx
    import pandas as pd

    from jupyter_mjci.emulator.app import Sandbox
    from jupyter_mjci.history.frames import Listing
    from jupyter_mjci.jobs.webhooks import Receiver

T = TypeVar("T")


GLANCE = 3.0  # seconds: how often somebody who watches one job wants to see it move
AT_ONCE = 2_000  # jobs of a listing that are remembered without looking whether they moved
SEEN = 50_000  # jobs that a session remembers by itself, beside its journal


class Watch(Stream[Job]):
    """A followed job: each change as it is seen. The outcome is the finished job; a failed one
    raises JobFailed.
    """

    def __init__(self, source: Callable[[], AsyncIterator[Job]]) -> None:
        super().__init__(lambda: event_loop.singly(source()), _finished)


class Session:
    """Both services, ready to use. `mj` and `ci` build calls; the rest of the methods follow,
    collect and show.

    Listeners are called as `listener(event, value)`: "leaving" with the Call before a submission
    leaves, "seen" with each Job that an answer tells of. Of a large listing only what moved is
    "seen"; "listed" comes with all of it.

    Whatever is sent may raise TransportError (no answer), ServiceError (an answer that says no) or
    AnswerError (one that nobody can read); what cannot be said raises CallError before anything is
    sent.

    Args:
        settings: where the services are and who you are there
        clock: whose time it is; by default this machine's
        door: what carries the requests instead of the network: into a sandbox, or a recording
        sandbox: the sandbox behind the door
        home: where journal and pictures are kept; None keeps nothing on disk
        recording: the name of the recording that is written or played
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        door: httpx.AsyncBaseTransport | None = None,
        sandbox: Sandbox | None = None,
        home: Path | None = None,
        recording: str = "",
    ) -> None:
        self.settings, self.sandbox, self.recording = settings, sandbox, recording
        self.journal = Journal(home and home / "journal.db", origin=_places(settings))
        self.archive = Archive(home / "pictures") if home else None
        self.clock: Clock = clock or SystemClock()
        self.transport = Transport(
            _origins(settings, self.clock),
            clock=self.clock,
            timeout=settings.timeout,
            at_once=settings.at_once,
            door=door,
        )
        self.history = History(self.journal, self.clock.now)
        self.listeners: list[Callable[[str, Any], None]] = []
        self._seen: dict[tuple[str, str], Job] = {}
        seed = (
            door.marks if isinstance(door, (Player, Recorder)) else None if sandbox is None else ""
        )
        self._patiently = partial(submission.patiently, self.clock, steady=bool(recording))
        self._submitter = Submitter(self, self.journal, _marks(seed), settings.timeout)
        self.poller = Poller(self, steady=bool(recording))
        self._lacking: set[tuple[str, str]] = (
            set()
        )  # calls that the proxy does not have, but that a detour replaces
        self.mj = midjourney.Midjourney(self)
        self.ci = tencent_ci.TencentCI(self, bucket=settings.ci_bucket, region=settings.ci_region)

    def __repr__(self) -> str:
        places = (self.settings.mj_url, self.settings.ci_bucket)
        where = self.recording or (
            "sandbox" if self.sandbox else ", ".join(place for place in places if place)
        )
        return f"<jupyter_mjci session: {where}>"

    async def fetch(self, call: Call[T]) -> T:
        """Sends a call and reads its answer; what every `Call.run()` comes to.

        Reading is tried again after what may pass. A submission happens once: see `submitting`.
        """
        lacked = (call.name, call.method)
        if lacked in self._lacking:
            return cast(T, await self._around(call))
        try:
            return await self.directly(call)
        except NoSuchEndpoint as error:
            if call.name not in DETOURS:
                raise
            missing = error
        value = await self._around(call, missing)
        self._lacking.add(
            lacked
        )  # a detour that led somewhere: this proxy is one, and lacks the call
        return cast(T, value)

    async def directly(self, call: Call[T], queueing: float = 0.0) -> T:
        """The same without detours, where another way's answer would not do. A call that submits
        waits `queueing` seconds at most for room in a full queue, then QueueFull is raised.
        """
        if submission.SERVICES[call.service].traceable(call):
            return await self._submitter.submit(call, queueing=queueing)
        if not call.repeatable:
            return await self.send_once(call)
        return await self._patiently()(self.send_once, call)

    async def _around(self, call: Call[Any], missing: NoSuchEndpoint | None = None) -> Any:
        try:
            return await DETOURS[call.name](self, call)
        except NoSuchEndpoint as error:
            raise missing or error from None

    async def send_once(self, call: Call[T]) -> T:
        """A call's one request and its answer, heard by the listeners and written into the
        journal.
        """
        if call.creates:
            self._tell("leaving", call)
        reply = await self.transport.send(call)
        value = call.read(reply)
        self.note(_jobs_in(value))
        return value

    def follow(
        self, what: Call[Job] | Job | str, *, timeout: float | None = None, longest: float = GLANCE
    ) -> Watch:
        """Submits (a call), then watches until the job has ended, or asks for a person (ASKING).

        `what` is a call, a Job or an id. While a queue is full, a submission waits for its turn.
        `timeout` in seconds, by default the setting `wait`: then WaitTooLong is raised and the job
        goes on. It is asked after by its own progress, at least every `longest` seconds. `.run()`
        gives the finished Job; a failed one raises JobFailed.
        """
        patience = self.settings.wait if timeout is None else timeout
        return Watch(partial(self.sightings, what, patience, longest))

    def batch(
        self, jobs: Iterable[Call[Job] | Job | str], *, at_once: int = 8, longest: float = LATEST
    ) -> Stream[Job]:
        """Submits and follows many calls (or follows jobs and ids), and gives each as it ends.

        Calls and ids take turns, `at_once` at a time; jobs that run already need none. Each is
        asked after at least every `longest` seconds. One that fails does not stop the others: it
        comes as a FAILED job that tells the reason.
        """
        wanted = list(jobs)
        return Stream(lambda: event_loop.produced(partial(ends, self, wanted, at_once, longest)))

    def steps(
        self, jobs: Iterable[Call[Job] | Job | str], *, at_once: int = 8, longest: float = LATEST
    ) -> Stream[Step]:
        """A batch step by step: every change of every job as it is seen, for those who show its
        progress. `jobs`, `at_once` and `longest` are those of `batch`.
        """
        wanted = list(jobs)
        return Stream(
            lambda: event_loop.produced(partial(work_off, self, wanted, at_once, longest))
        )

    def resume(self, *, longest: float = LATEST) -> Stream[Job]:
        """Picks up what a dead kernel left: submissions of unknown fate are looked for (and
        adopted, or submitted again where they surely never arrived), unfinished jobs are followed
        to their end. Gives each as it ends; `longest` is that of `batch`.
        """
        return Stream(lambda: event_loop.produced(partial(self._resume, longest)))

    def tasks(self, ids: Iterable[str] | None = None) -> pd.DataFrame:
        """The Midjourney tasks that the proxy knows (or those with the given ids), as a
        DataFrame.
        """
        wanted = None if ids is None else tuple(str(one).strip() for one in ids)
        return event_loop.run(self._tasks(self.mj.tasks(wanted), wanted))

    def queue(self) -> pd.DataFrame:
        """The Midjourney tasks that wait or run now, as a DataFrame."""
        return event_loop.run(self._tasks(self.mj.queue(), None))

    def jobs(self, **filters: Any) -> pd.DataFrame:
        """The CI jobs that the service knows, as a DataFrame. Filters are those of `ci.jobs`."""
        return event_loop.run(self._jobs(self.ci.jobs(**filters)))

    def sync(
        self,
        *,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        tags: Sequence[str] = (),
        say: Callable[[Synced], None] | None = None,
    ) -> Synced:
        """Pulls what the services know and the journal does not, page by page; goes on where the
        last sync was.

        Args:
            since: jobs created from then on, instead of what is new
            until: jobs created until then
            tags: CI's kinds of jobs; by default PicProcess and those that were seen before
            say: is called with the counts after every page
        """

        async def walk() -> Synced:
            counts = Synced()
            async for counts in sync(self, since=when(since), until=when(until), tags=tags):
                if say:
                    say(counts)
            return counts

        return event_loop.run(walk())

    def picture(self, what: Job | str, index: int = 0) -> Work[bytes]:
        """The bytes of a job's result; `what` is the Job, or a URL. Credentials go to the services'
        own hosts only.

        `index` chooses among several results, from 0. Raises CallError for a job without a result,
        AnswerError where the picture is not there (any more).
        """
        return Work(partial(self._picture, what, index))

    def upload(self, source: Path | str | bytes, key: str = "") -> Work[str]:
        """Puts a file into the bucket; gives its key: input/ and the file's name, unless told.

        `source` is its path, or bytes, which are named by their hash. Raises CallError for a file
        that cannot be read.
        """
        return Work(partial(self._upload, source, key))

    def download(self, job: Job, folder: Path | str = ".") -> Work[list[Path]]:
        """Writes a job's results into a folder, under their own names; gives the files."""
        return Work(partial(self._download, job, Path(folder)))

    def presign(self, key: str, *, rule: str = "", method: str = "GET", seconds: int = 3600) -> str:
        """A URL of an object of the bucket that needs no credentials for so many seconds, also as a
        rule makes it; for GET, or the `method` that is told. A temporary key's token is part of it.
        Whoever has the URL has the object: it is a secret. Raises CallError where no bucket is
        configured.
        """
        settings = self.settings
        if not settings.has_ci:
            raise CallError("No bucket is configured.", hint="Set MJCI_CI_BUCKET and its keys.")
        url = tencent_ci.object_url(settings.ci_bucket, settings.ci_region, key)
        return signing.presign(
            method,
            url,
            params={rule: ""} if rule else {},
            headers={"host": url.split("/")[2]},
            secret_id=settings.ci_secret_id,
            secret_key=settings.ci_secret_key.reveal(),
            key_time=signing.key_time(self.clock.now(), seconds),
            token=settings.ci_token.reveal() or None,
        )

    def receive(self) -> Receiver:
        """Listens on loopback for callbacks until it is closed (or use `with`). Give its `url` to
        calls as `notify_hook` or `callback`: followed jobs are then heard of at once. The polling
        goes on beside it, and is all that counts in a session that is recorded or played back.
        """
        from jupyter_mjci.jobs.webhooks import Receiver

        return Receiver(self._heard)

    def _heard(self, job: Job) -> None:
        if (
            self.recording
        ):  # nobody calls when it is played back, and what is asked must be the same
            return
        self.note([job])
        self.poller.told(job)

    def pictures(self, job: Job) -> Work[list[bytes]]:
        """All pictures of a job, one by one: a 2×2 grid comes as its four pictures."""
        return Work(partial(self._pictures, job))

    @property
    def rules(self) -> ModuleType:
        """The engine of picture rules: `parse`, `steps`, `joined`, `OPERATIONS`. It works on this
        computer.
        """
        from jupyter_mjci.imaging import rules

        return rules

    def preview(self, rule: str, content: bytes) -> Work[Any]:
        """A picture (the bytes in `content`) as a rule makes it, worked out on this computer: what
        the job would give, without a job.

        The outcome has `body`, `format`, `width` and `height`. Raises CallError for a rule that
        cannot be carried out. Marks (watermark/1) are fetched from the bucket.
        """
        return Work(partial(self._preview, rule, content))

    def describe(self, job: Job | str) -> Call[Job]:
        """The call that asks for a job's present state. Whose an id is tells the journal, else its
        shape: Midjourney's are digits, CI's a letter and then letters and digits. Raises CallError
        for any other.
        """
        job_id, service = self._named(job)
        return self.mj.task(job_id) if service == "mj" else self.ci.job(job_id)

    def cancel(self, job: Job | str) -> Call[None]:
        """The call that asks to cancel a job: a Midjourney task, or a CI job that has not begun, or
        a batch. Describe it afterwards: a service may say yes and go on. Ids are told apart as by
        `describe`.
        """
        job_id, service = self._named(job)
        return self.mj.cancel(job_id) if service == "mj" else self.ci.cancel(job_id)

    def _named(self, job: Job | str) -> tuple[str, str]:
        if isinstance(job, Job):
            return job.id, job.service
        job_id = job.strip()
        service = self.journal.service_of(job_id) or service_of(job_id)
        if not service:
            raise CallError(
                f"{job_id!r} is no job's id that is known here.",
                hint="Midjourney's are digits, Tencent CI's a letter and then letters and digits: j8d74… or b8d74…",
            )
        return job_id, service

    def seen(self, service: str) -> Sequence[Job]:
        """The jobs of a service that this session has seen, newest last: what completion and panels
        offer.
        """
        return [job for (one, _), job in self._seen.items() if one == service]

    def recorded(self, folder: Path | str, *, pixels: int | None = None) -> Session:
        """A session like this one that writes its exchanges into a folder `NAME.mjci`, without
        secrets; a recording that is there is replaced. Pictures that are larger than `pixels` are
        made smaller. It keeps nothing at home, so that its history is the recording's own.
        """
        settings = self.settings
        secrets = [settings.ci_secret_id]
        secrets += [
            one.reveal() for one in (settings.mj_secret, settings.ci_secret_key, settings.ci_token)
        ]
        tape = Recorder(
            Path(folder),
            self.transport.way,
            self.clock,
            settings=_told(settings),
            secrets=secrets,
            shrink=partial(shrunk, pixels=pixels) if pixels else None,
        )
        name = Path(folder).name
        return Session(settings, clock=self.clock, door=tape, sandbox=self.sandbox, recording=name)

    def adjust(self, **given: Any) -> None:
        """Changes how the session behaves from now on. Raises SettingsError for what is fixed when
        it connects.

        Args:
            given: wait, timeout, on_interrupt, thumbnail
        """
        if fixed := sorted(set(given) - set(MANNERS)):
            raise SettingsError(
                f"{', '.join(fixed)}: that is fixed when a session connects.", hint="Connect anew."
            )
        self.settings = replace(self.settings, **given)
        self.transport.timeout = self._submitter.patience = self.settings.timeout

    def close(self) -> None:
        """Ends the connections. The session can be used again; it opens new ones."""
        event_loop.run(self.transport.close())
        self.journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- on the engine ----------------------------------------------------------------------------

    async def sightings(
        self, what: Call[Job] | Job | str, patience: float, longest: float = GLANCE
    ) -> AsyncIterator[Job]:
        """What `follow` walks, for code that is on the engine: `patience` in seconds is its
        timeout, `longest` as there.
        """
        job, error = await self._begin(what, patience), None
        if job.status.moving:
            yield job
            async for (one,) in self.poller.sightings([job], patience, longest):
                if one.going:
                    yield one.job
                job, error = one.job, one.error
        if error is not None:
            raise error
        await self.keep(job)
        yield job

    async def _begin(self, what: Call[Job] | Job | str, patience: float) -> Job:
        if isinstance(what, Job):
            return what
        call = what if isinstance(what, Call) else self.describe(what)
        if submission.SERVICES[call.service].traceable(call) and call.name not in DETOURS:
            return await self.directly(call, patience)
        return await self.fetch(call)

    async def _resume(self, longest: float, hand_out: Callable[[Job], None]) -> None:
        for row in self.journal.unsettled():
            try:
                await self._submitter.resume(row, self)
            except MjciError as error:
                hand_out(
                    Job(
                        row.service,
                        "",
                        row.name,
                        Status.FAILED,
                        reason=error.what,
                        raw={"error": str(error)},
                    )
                )
        await ends(
            self, self.journal.unfinished(), 1, longest, hand_out
        )  # they run already, and take no turns

    def keeps(self, job: Job) -> bool:
        """Whether a job's pictures are to outlive their links: finished Midjourney jobs'. A
        bucket's objects stay.
        """
        return self.archive is not None and job.service == "mj" and job.status is Status.SUCCEEDED

    async def keep(self, job: Job) -> None:
        """Fetches the originals into the archive while their links live."""
        for index, url in enumerate(job.outputs if self.keeps(job) else ()):
            if self.archive and self.archive.find(job, index) is None:
                with contextlib.suppress(
                    MjciError, ValueError
                ):  # a link that fails now may work when it is asked for
                    content = await self._got(url)
                    self.archive.keep(job, url, content, index, self.clock.now())

    async def _picture(self, what: Job | str, index: int) -> bytes:
        if isinstance(what, str):
            return await self._got(what)
        kept = self.archive.find(what, index) if self.archive else None
        return kept.content() if kept else await self._got(_output(what, index))

    async def _preview(self, rule: str, content: bytes) -> Any:
        def mark(url: str) -> bytes | None:
            return anyio.from_thread.run(self._object_at, url)

        try:
            # Whoever does not want it any more does not wait for it: the engine cannot be stopped
            # half-way.
            return await anyio.to_thread.run_sync(
                partial(self.rules.apply, rule, content, objects=mark), abandon_on_cancel=True
            )
        except self.rules.RuleError as error:
            raise CallError("The rule cannot be carried out.", why=str(error.message)) from None

    async def _object_at(self, place: str) -> bytes | None:
        """The object of our bucket at a URL or key, or None."""
        url = urlsplit(place)
        if "://" in place and not (url.hostname or "").startswith(f"{self.ci.bucket}."):
            return None
        try:
            return await self.ci.get_object(
                unquote(url.path).removeprefix("/") if "://" in place else place
            )
        except MjciError:
            return None

    async def _pictures(self, job: Job) -> list[bytes]:
        whole = [await self._picture(job, index) for index in range(len(job.outputs))]
        if not is_grid(job):
            return whole
        return await anyio.to_thread.run_sync(quarters, whole[0])

    async def _upload(self, source: Path | str | bytes, key: str) -> str:
        content, name = await anyio.to_thread.run_sync(_content, source)
        key = key or f"input/{name}"
        kind = kind_of(content)
        await self.fetch(
            self.ci.put_object(
                key, content, content_type=f"image/{kind}" if kind else "application/octet-stream"
            )
        )
        return key

    async def _download(self, job: Job, folder: Path) -> list[Path]:
        files = []
        for index, url in enumerate(job.outputs):
            content = await self._picture(job, index)
            file = folder / (PurePosixPath(unquote(urlsplit(url).path)).name or f"{job.id}-{index}")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            files.append(file)
        return files

    async def _got(self, url: str) -> bytes:
        reply: Reply = await self._patiently()(self.transport.get, url)
        if reply.status >= 400:
            raise AnswerError(
                f"The picture is not there (HTTP {reply.status}).",
                why=reply.body[:200].decode("utf-8", "replace"),
                body=reply.body,
                hint="Links of Midjourney pictures end after a day; fetch pictures when a job is done.",
            )
        return reply.body

    def _frame(self, jobs: Iterable[Job]) -> pd.DataFrame:
        from jupyter_mjci.history.frames import frame

        return frame(jobs)

    async def _tasks(self, call: Call[list[Job]], order: Sequence[str] | None) -> pd.DataFrame:
        from jupyter_mjci.history.frames import Listing, frame_of_reply

        def read(reply: Reply) -> Listing:
            return Listing("mj", frame_of_reply(reply, order), (reply,))

        try:
            listing = await self.directly(cast(Call[Listing], replace(call, read=read)))  # type: ignore[arg-type]
        except NoSuchEndpoint:
            jobs: list[Job] = await self.fetch(call)
            return self._frame(jobs)
        return await self._list(listing)

    async def _jobs(self, pages: Pages[Job]) -> pd.DataFrame:
        from jupyter_mjci.history.frames import Listing, frame_of_rows

        replies: list[Reply] = []

        def read(reply: Reply) -> Page[Any]:
            page = tencent_ci.read_rows(reply)
            replies.append(reply)
            return page

        def turn(token: str) -> Call[Page[Any]]:
            return replace(pages.turn(token), read=read)

        rows = await Pages(turn, pages.limit).gathered()
        return await self._list(Listing("ci", frame_of_rows(rows), tuple(replies)))

    async def _list(self, listing: Listing) -> pd.DataFrame:
        """What a listing tells is remembered: all of a small one, of a large one what moved.
        Journals in turns, so that others are heard meanwhile.
        """
        from jupyter_mjci.history.journal_frame import remembered

        wanted = None
        if len(listing.frame) > AT_ONCE:
            wanted = listing.news(remembered(self.journal, "service = ?", (listing.service,)))
            self._tell("listed", listing)
        jobs = listing.jobs(wanted)
        while some := list(itertools.islice(jobs, AT_ONCE)):
            self.note(some)
            await anyio.lowlevel.checkpoint()
        return listing.frame

    def _tell(self, event: str, value: Any) -> None:
        for listener in self.listeners:
            listener(event, value)

    def note(self, jobs: Iterable[Job]) -> None:
        """Remembers and journals what is new of these jobs, and tells the listeners of them all."""
        seen = list(jobs)
        news = [job for job in seen if job.id and self._seen.get((job.service, job.id)) != job]
        for job in news:
            self._seen.pop((job.service, job.id), None)
            self._seen[job.service, job.id] = job
        while len(self._seen) > SEEN:
            del self._seen[next(iter(self._seen))]
        if news:
            self.journal.saw(news, self.clock.now())
        for job in seen if self.listeners else ():
            self._tell("seen", job)

    def durations(self, service: str, action: str) -> list[float]:
        """How long jobs of a service's action took, from the journal: seconds, ascending."""
        return self.journal.durations(service, action)


def connect(
    *, profile: str | None = None, notice: Callable[[str], None] = print, **given: Any
) -> Session:
    """A session on your services: keyword arguments, then the environment, then the profile file.

    With nothing configured the embedded sandbox is used, and one line says so. Raises SettingsError
    for an unknown name, a bad value, or a profile or recording that is not there.

    Args:
        profile: which table of the profile file; by default MJCI_PROFILE, else "default" where
            there is one
        notice: is called with that one line
        given: settings by their names: mj_url, ci_bucket, …
    """
    settings = load(given, profile=profile)
    mode, folder = wanted(settings.replay, notebook())
    if mode == "play":
        return replayed(folder)
    session = _connected(settings, notice)
    return session.recorded(folder) if mode == "record" else session


def _connected(settings: Settings, notice: Callable[[str], None]) -> Session:
    if settings.has_mj or settings.has_ci:
        return Session(settings, home=settings.home)
    notice(
        "jupyter_mjci: no account is configured, so this is the embedded sandbox (nothing leaves this process)."
    )
    return sandbox(speed=settings.speed, **{name: getattr(settings, name) for name in MANNERS})


def sandbox(
    *, speed: float = 20.0, dialect: str = "plus", seed: int = 0, faults: Any = None, **given: Any
) -> Session:
    """A session on a fresh sandbox in this process: both services, without account or network.

    Args:
        speed: how fast its time runs; the times that jobs show are the same at every speed, also at
            float("inf")
        dialect: the proxy family that it speaks like: plus, java, trueai or new-api
        seed: another seed, other pictures and ids
        faults: what is to break: the path of a TOML file, or Faults
        given: settings by their names; with `home` it keeps a journal and pictures there
    """
    from jupyter_mjci.emulator.app import Sandbox

    stand_in = Sandbox(speed=speed, dialect=dialect, seed=seed, faults=faults)
    told: Mapping[str, Any] = stand_in.settings
    settings = load(
        {
            "mj_url": told["mj_url"],
            "mj_secret": told["mj_secret"],
            "mj_auth": AUTH.get(dialect, "secret"),
            "ci_secret_id": told["secret_id"],
            "ci_secret_key": told["secret_key"],
            "ci_bucket": told["bucket"],
            "ci_region": told["region"],
            "ci_token": "",
            **given,
        },
        environ={},
    )
    home = (
        settings.home if "home" in given else None
    )  # what happens in a sandbox stays there, unless told
    return Session(
        settings, clock=stand_in.clock, door=stand_in.transport(), sandbox=stand_in, home=home
    )


def replayed(folder: Path | str) -> Session:
    """A session that a recording (its `folder`) answers: the same jobs, pictures and times, without
    keys, network or waiting.

    A request that was not recorded raises NotRecorded. Raises SettingsError where the recording is
    not whole.
    """
    tape = Player(Path(folder))
    told: dict[str, Any] = {name: value for name, value in tape.settings.items() if value}
    return Session(
        replace(Settings(), **told), clock=tape.clock, door=tape, recording=Path(folder).name
    )


def _told(settings: Settings) -> dict[str, str]:
    """What a recording tells of the connection: where the services are, not who one is there."""
    told = {name: str(getattr(settings, name)) for name in TOLD}
    return told | {name: HIDDEN for name in SECRETS if getattr(settings, name)}


AUTH = {"trueai": "raw", "new-api": "bearer"}  # what each proxy family of the sandbox listens to


def _origins(settings: Settings, clock: Clock) -> dict[str, Origin]:
    origins = {}
    if settings.has_mj:
        base = settings.mj_url.rstrip("/").removesuffix("/mj")
        origins["mj"] = Origin(base, authorize=mj_auth(settings.mj_auth, settings.mj_secret))
    if settings.has_ci:
        for plane, door in (("ci", settings.ci_endpoint), ("cos", settings.cos_endpoint)):
            host = f"{settings.ci_bucket}.{plane}.{settings.ci_region}.myqcloud.com"
            auth = cos_auth(
                settings.ci_secret_id,
                settings.ci_secret_key,
                settings.ci_token,
                clock,
                f"x-{plane}-security-token",
            )
            origins[plane] = Origin(door.rstrip("/") or f"https://{host}", host, auth)
        account = f"ci.{settings.ci_region}.myqcloud.com"
        door = settings.ci_endpoint.rstrip("/") or f"https://{account}"
        origins["account"] = Origin(door, account, origins["ci"].authorize)
    return origins


def _jobs_in(value: Any) -> Iterable[Job]:
    """The jobs that an answer tells of: one, a list, or a page of them."""
    if isinstance(value, Job):
        return (value,)
    items = getattr(value, "items", value)
    return (
        [one for one in items if isinstance(one, Job)] if isinstance(items, (list, tuple)) else ()
    )


def _places(settings: Settings) -> dict[str, str]:
    """Which proxy and which bucket a job belongs to: ids are unique only there."""
    return {"mj": settings.mj_url.rstrip("/").removesuffix("/mj"), "ci": settings.ci_bucket}


def _marks(seed: str | None) -> Callable[[], str]:
    """Marks that nobody else makes; from a seed (a recording's, a sandbox's of one's own) the same
    in every run.
    """
    if seed is None:
        return lambda: f"mjci-{uuid4().hex}"
    count = itertools.count(1)
    return lambda: f"mjci-{hashlib.sha256(f'{seed} {next(count)}'.encode()).hexdigest()[:32]}"


def _finished(jobs: list[Job]) -> Job:
    job = jobs[-1]
    if job.status in (Status.FAILED, Status.CANCELLED):
        raise JobFailed(job)
    return job


def _content(source: Path | str | bytes) -> tuple[bytes, str]:
    """The bytes of a file, and its name; bytes are named by their content."""
    if isinstance(source, bytes):
        return source, hashlib.sha256(source).hexdigest()[:16]
    path = Path(source).expanduser()
    try:
        return path.read_bytes(), path.name
    except OSError as error:
        raise CallError(f"Cannot read {path}.", why=error.strerror or str(error)) from None


def _output(job: Job, index: int) -> str:
    if index >= len(job.outputs):
        raise CallError(
            f"{job.action or 'Job'} {job.id} has {len(job.outputs) or 'no'} result{'s' * (len(job.outputs) != 1)}.",
            why=f"It is {job.status}.",
            hint="Follow it to its end first." if job.status.moving else "",
        )
    return job.outputs[index]


__all__ = ["Secret", "Session", "Step", "Watch", "connect", "replayed", "sandbox"]
