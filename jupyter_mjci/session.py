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
from jupyter_mjci.client.calls import Call, Operation, Page, Paginator, Response, Stream
from jupyter_mjci.client.cassette import (
    RECORDED_SETTINGS,
    SECRET_SETTINGS,
    Player,
    Recorder,
    parse_mode,
)
from jupyter_mjci.client.image_input import detect_image_format
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.redaction import REDACTED
from jupyter_mjci.client.settings import RUNTIME_SETTINGS, Secret, Settings, get_notebook_name, load
from jupyter_mjci.client.transport import (
    Clock,
    Endpoint,
    SystemClock,
    Transport,
    build_cos_auth,
    build_mj_auth,
)
from jupyter_mjci.errors import (
    InvalidRequest,
    InvalidResponse,
    JobFailed,
    MjciError,
    SettingsError,
    Unsupported,
)
from jupyter_mjci.history.history import History
from jupyter_mjci.history.image_archive import ImageArchive, is_grid, resize_to_fit, split_grid
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.sync import SyncResult, parse_time, sync
from jupyter_mjci.jobs import submission
from jupyter_mjci.jobs.batch import BatchUpdate, as_completed, guess_service, run_batch
from jupyter_mjci.jobs.polling import MAX_INTERVAL, Poller
from jupyter_mjci.jobs.submission import Submitter
from jupyter_mjci.services.midjourney import api as midjourney
from jupyter_mjci.services.midjourney.fallbacks import FALLBACKS
from jupyter_mjci.services.tencent_ci import api as tencent_ci
from jupyter_mjci.services.tencent_ci import signing

if TYPE_CHECKING:
    import httpx
    import pandas as pd

    from jupyter_mjci.emulator.app import Sandbox
    from jupyter_mjci.history.frames import Listing
    from jupyter_mjci.jobs.webhooks import WebhookServer

T = TypeVar("T")


DEFAULT_INTERVAL = 3.0  # seconds: how often somebody who watches one job wants to see it move
LISTING_BATCH_SIZE = (
    2_000  # jobs of a listing that are remembered without looking whether they moved
)
MAX_KNOWN_JOBS = 50_000  # jobs that a session remembers by itself, beside its journal


class Watch(Stream[Job]):
    """A followed job: each change as it is seen. The outcome is the finished job; a failed one
    raises JobFailed.
    """

    def __init__(self, source: Callable[[], AsyncIterator[Job]]) -> None:
        super().__init__(lambda: event_loop.one_per_chunk(source()), _require_success)


class Session:
    """Both services, ready to use. `mj` and `ci` build calls; the rest of the methods follow,
    collect and show.

    Listeners are called as `listener(event, value)`: "submitting" with the Call before a submission
    leaves, "job_updated" with each Job that an answer tells of. Of a large listing only what moved is
    "job_updated"; "listing" comes with all of it.

    Whatever is sent may raise TransportError (no answer), ServiceError (an answer that says no) or
    AnswerError (one that nobody can read); what cannot be said raises CallError before anything is
    sent.

    Args:
        settings: where the services are and who you are there
        clock: whose time it is; by default this machine's
        transport: what carries the requests instead of the network: into a sandbox, or a recording
        sandbox: the sandbox behind the door
        home: where journal and pictures are kept; None keeps nothing on disk
        recording: the name of the recording that is written or played
    """

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sandbox: Sandbox | None = None,
        home: Path | None = None,
        recording: str = "",
    ) -> None:
        self.settings, self.sandbox, self.recording = settings, sandbox, recording
        self.journal = Journal(home and home / "journal.db", origins=_get_origins(settings))
        self.archive = ImageArchive(home / "pictures") if home else None
        self.clock: Clock = clock or SystemClock()
        self.transport = Transport(
            _build_endpoints(settings, self.clock),
            clock=self.clock,
            timeout=settings.timeout,
            at_once=settings.at_once,
            transport=transport,
        )
        self.history = History(self.journal, self.clock.now)
        self.listeners: list[Callable[[str, Any], None]] = []
        self._known_jobs: dict[tuple[str, str], Job] = {}
        seed = (
            transport.marker_seed
            if isinstance(transport, (Player, Recorder))
            else None
            if sandbox is None
            else ""
        )
        self._retrying = partial(submission.retrying, self.clock, deterministic=bool(recording))
        self._submitter = Submitter(
            self, self.journal, _make_marker_factory(seed), settings.timeout
        )
        self.poller = Poller(self, deterministic=bool(recording))
        self._unsupported: set[tuple[str, str]] = (
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
        if lacked in self._unsupported:
            return cast(T, await self._fetch_with_fallback(call))
        try:
            return await self._fetch_without_fallback(call)
        except Unsupported as error:
            if call.name not in FALLBACKS:
                raise
            missing = error
        value = await self._fetch_with_fallback(call, missing)
        self._unsupported.add(
            lacked
        )  # a detour that led somewhere: this proxy is one, and lacks the call
        return cast(T, value)

    async def _fetch_without_fallback(self, call: Call[T], queue_timeout: float = 0.0) -> T:
        """The same without detours, where another way's answer would not do. A call that submits
        waits `queue_timeout` seconds at most for room in a full queue, then QueueFull is raised.
        """
        if submission.SERVICES[call.service].is_trackable(call):
            return await self._submitter.submit(call, queue_timeout=queue_timeout)
        if not call.is_retryable:
            return await self.send_once(call)
        return await self._retrying()(self.send_once, call)

    async def _fetch_with_fallback(
        self, call: Call[Any], missing: Unsupported | None = None
    ) -> Any:
        try:
            return await FALLBACKS[call.name](self, call)
        except Unsupported as error:
            raise missing or error from None

    async def send_once(self, call: Call[T]) -> T:
        """A call's one request and its answer, heard by the listeners and written into the
        journal.
        """
        if call.is_submission:
            self._notify_listeners("submitting", call)
        reply = await self.transport.send(call)
        value = call.parse(reply)
        self._record(_extract_jobs(value))
        return value

    def follow(
        self,
        target: Call[Job] | Job | str,
        *,
        timeout: float | None = None,
        poll_interval: float = DEFAULT_INTERVAL,
    ) -> Watch:
        """Submits (a call), then watches until the job has ended, or asks for a person (NEEDS_INPUT).

        `target` is a call, a Job or an id. While a queue is full, a submission waits for its turn.
        `timeout` in seconds, by default the setting `wait`: then WaitTooLong is raised and the job
        goes on. It is asked after by its own progress, at least every `poll_interval` seconds. `.run()`
        gives the finished Job; a failed one raises JobFailed.
        """
        patience = self.settings.wait if timeout is None else timeout
        return Watch(partial(self._watch, target, patience, poll_interval))

    def batch(
        self,
        jobs: Iterable[Call[Job] | Job | str],
        *,
        at_once: int = 8,
        poll_interval: float = MAX_INTERVAL,
    ) -> Stream[Job]:
        """Submits and follows many calls (or follows jobs and ids), and gives each as it ends.

        Calls and ids take turns, `at_once` at a time; jobs that run already need none. Each is
        asked after at least every `poll_interval` seconds. One that fails does not stop the others: it
        comes as a FAILED job that tells the reason.
        """
        wanted = list(jobs)
        return Stream(
            lambda: event_loop.stream_from_callback(
                partial(as_completed, self, wanted, at_once, poll_interval)
            )
        )

    def batch_updates(
        self,
        jobs: Iterable[Call[Job] | Job | str],
        *,
        at_once: int = 8,
        poll_interval: float = MAX_INTERVAL,
    ) -> Stream[BatchUpdate]:
        """A batch step by step: every change of every job as it is seen, for those who show its
        progress. `jobs`, `at_once` and `poll_interval` are those of `batch`.
        """
        wanted = list(jobs)
        return Stream(
            lambda: event_loop.stream_from_callback(
                partial(run_batch, self, wanted, at_once, poll_interval)
            )
        )

    def resume(self, *, poll_interval: float = MAX_INTERVAL) -> Stream[Job]:
        """Picks up what a dead kernel left: submissions of unknown fate are looked for (and
        adopted, or submitted again where they surely never arrived), unfinished jobs are followed
        to their end. Gives each as it ends; `poll_interval` is that of `batch`.
        """
        return Stream(lambda: event_loop.stream_from_callback(partial(self._resume, poll_interval)))

    def tasks(self, ids: Iterable[str] | None = None) -> pd.DataFrame:
        """The Midjourney tasks that the proxy knows (or those with the given ids), as a
        DataFrame.
        """
        wanted = None if ids is None else tuple(str(one).strip() for one in ids)
        return event_loop.run(self._fetch_tasks_frame(self.mj.tasks(wanted), wanted))

    def queue(self) -> pd.DataFrame:
        """The Midjourney tasks that wait or run now, as a DataFrame."""
        return event_loop.run(self._fetch_tasks_frame(self.mj.queue(), None))

    def jobs(self, **filters: Any) -> pd.DataFrame:
        """The CI jobs that the service knows, as a DataFrame. Filters are those of `ci.jobs`."""
        return event_loop.run(self._fetch_jobs_frame(self.ci.jobs(**filters)))

    def sync(
        self,
        *,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        tags: Sequence[str] = (),
        on_progress: Callable[[SyncResult], None] | None = None,
    ) -> SyncResult:
        """Pulls what the services know and the journal does not, page by page; goes on where the
        last sync was.

        Args:
            since: jobs created from then on, instead of what is new
            until: jobs created until then
            tags: CI's kinds of jobs; by default PicProcess and those that were seen before
            on_progress: is called with the counts after every page
        """

        async def walk() -> SyncResult:
            counts = SyncResult()
            async for counts in sync(
                self, since=parse_time(since), until=parse_time(until), tags=tags
            ):
                if on_progress:
                    on_progress(counts)
            return counts

        return event_loop.run(walk())

    def picture(self, job_or_url: Job | str, index: int = 0) -> Operation[bytes]:
        """The bytes of a job's result; `job_or_url` is the Job, or a URL. Credentials go to the services'
        own hosts only.

        `index` chooses among several results, from 0. Raises CallError for a job without a result,
        AnswerError where the picture is not there (any more).
        """
        return Operation(partial(self._fetch_picture, job_or_url, index))

    def upload(self, source: Path | str | bytes, key: str = "") -> Operation[str]:
        """Puts a file into the bucket; gives its key: input/ and the file's name, unless told.

        `source` is its path, or bytes, which are named by their hash. Raises CallError for a file
        that cannot be read.
        """
        return Operation(partial(self._upload, source, key))

    def download(self, job: Job, folder: Path | str = ".") -> Operation[list[Path]]:
        """Writes a job's results into a folder, under their own names; gives the files."""
        return Operation(partial(self._download, job, Path(folder)))

    def presign(self, key: str, *, rule: str = "", method: str = "GET", seconds: int = 3600) -> str:
        """A URL of an object of the bucket that needs no credentials for so many seconds, also as a
        rule makes it; for GET, or the `method` that is told. A temporary key's token is part of it.
        Whoever has the URL has the object: it is a secret. Raises CallError where no bucket is
        configured.
        """
        settings = self.settings
        if not settings.has_ci:
            raise InvalidRequest(
                "No bucket is configured.", hint="Set MJCI_CI_BUCKET and its keys."
            )
        url = tencent_ci.build_object_url(settings.ci_bucket, settings.ci_region, key)
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

    def receive(self) -> WebhookServer:
        """Listens on loopback for callbacks until it is closed (or use `with`). Give its `url` to
        calls as `notify_hook` or `callback`: followed jobs are then heard of at once. The polling
        goes on beside it, and is all that counts in a session that is recorded or played back.
        """
        from jupyter_mjci.jobs.webhooks import WebhookServer

        return WebhookServer(self._on_webhook_job)

    def _on_webhook_job(self, job: Job) -> None:
        if (
            self.recording
        ):  # nobody calls when it is played back, and what is asked must be the same
            return
        self._record([job])
        self.poller.push(job)

    def pictures(self, job: Job) -> Operation[list[bytes]]:
        """All pictures of a job, one by one: a 2×2 grid comes as its four pictures."""
        return Operation(partial(self._fetch_pictures, job))

    @property
    def rules(self) -> ModuleType:
        """The module that applies picture rules on this computer.

        It has `parse_rule`, `format_rule`, `split_steps`, `join_steps`, `apply_rule`, `OPERATIONS`.
        """
        from jupyter_mjci.imaging import rule_syntax

        return rule_syntax

    def preview(self, rule: str, content: bytes) -> Operation[Any]:
        """A picture (the bytes in `content`) as a rule makes it, worked out on this computer: what
        the job would give, without a job.

        The outcome has `body`, `format`, `width` and `height`. Raises CallError for a rule that
        cannot be carried out. Marks (watermark/1) are fetched from the bucket.
        """
        return Operation(partial(self._apply_rule, rule, content))

    def describe(self, job: Job | str) -> Call[Job]:
        """The call that asks for a job's present state. Whose an id is tells the journal, else its
        shape: Midjourney's are digits, CI's a letter and then letters and digits. Raises CallError
        for any other.
        """
        job_id, service = self._resolve_job_id(job)
        return self.mj.task(job_id) if service == "mj" else self.ci.job(job_id)

    def cancel(self, job: Job | str) -> Call[None]:
        """The call that asks to cancel a job: a Midjourney task, or a CI job that has not begun, or
        a batch. Describe it afterwards: a service may say yes and go on. Ids are told apart as by
        `describe`.
        """
        job_id, service = self._resolve_job_id(job)
        return self.mj.cancel(job_id) if service == "mj" else self.ci.cancel(job_id)

    def _resolve_job_id(self, job: Job | str) -> tuple[str, str]:
        if isinstance(job, Job):
            return job.id, job.service
        job_id = job.strip()
        service = self.journal.find_service(job_id) or guess_service(job_id)
        if not service:
            raise InvalidRequest(
                f"{job_id!r} is no job's id that is known here.",
                hint="Midjourney's are digits, Tencent CI's a letter and then letters and digits: j8d74… or b8d74…",
            )
        return job_id, service

    def known_jobs(self, service: str) -> Sequence[Job]:
        """The jobs of a service that this session has seen, newest last: what completion and panels
        offer.
        """
        return [job for (one, _), job in self._known_jobs.items() if one == service]

    def record_to(self, folder: Path | str, *, pixels: int | None = None) -> Session:
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
            self.transport.make_transport,
            self.clock,
            settings=_redacted_settings(settings),
            secrets=secrets,
            shrink=partial(resize_to_fit, max_size=pixels) if pixels else None,
        )
        name = Path(folder).name
        return Session(
            settings, clock=self.clock, transport=tape, sandbox=self.sandbox, recording=name
        )

    def configure(self, **changes: Any) -> None:
        """Changes how the session behaves from now on. Raises SettingsError for what is fixed when
        it connects.

        Args:
            changes: wait, timeout, on_interrupt, thumbnail
        """
        if fixed := sorted(set(changes) - set(RUNTIME_SETTINGS)):
            raise SettingsError(
                f"{', '.join(fixed)}: that is fixed when a session connects.", hint="Connect anew."
            )
        self.settings = replace(self.settings, **changes)
        self.transport.timeout = self._submitter.timeout = self.settings.timeout

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

    async def _watch(
        self, target: Call[Job] | Job | str, timeout: float, poll_interval: float = DEFAULT_INTERVAL
    ) -> AsyncIterator[Job]:
        """What `follow` walks, for code that is on the engine: `timeout` in seconds is its
        timeout, `poll_interval` as there.
        """
        job, error = await self._submit_or_fetch(target, timeout), None
        if job.status.is_active:
            yield job
            async for (one,) in self.poller.watch([job], timeout, poll_interval):
                if one.is_active:
                    yield one.job
                job, error = one.job, one.error
        if error is not None:
            raise error
        await self._archive_images(job)
        yield job

    async def _submit_or_fetch(self, target: Call[Job] | Job | str, queue_timeout: float) -> Job:
        if isinstance(target, Job):
            return target
        call = target if isinstance(target, Call) else self.describe(target)
        if submission.SERVICES[call.service].is_trackable(call) and call.name not in FALLBACKS:
            return await self._fetch_without_fallback(call, queue_timeout)
        return await self.fetch(call)

    async def _resume(self, poll_interval: float, emit: Callable[[Job], None]) -> None:
        for row in self.journal.unresolved():
            try:
                await self._submitter.resume(row, self)
            except MjciError as error:
                emit(
                    Job(
                        row.service,
                        "",
                        row.name,
                        Status.FAILED,
                        reason=error.message,
                        raw={"error": str(error)},
                    )
                )
        await as_completed(
            self, self.journal.active_jobs(), 1, poll_interval, emit
        )  # they run already, and take no turns

    def _should_archive(self, job: Job) -> bool:
        """Whether a job's pictures are to outlive their links: finished Midjourney jobs'. A
        bucket's objects stay.
        """
        return self.archive is not None and job.service == "mj" and job.status is Status.SUCCEEDED

    async def _archive_images(self, job: Job) -> None:
        """Fetches the originals into the archive while their links live."""
        for index, url in enumerate(job.outputs if self._should_archive(job) else ()):
            if self.archive and self.archive.find(job, index) is None:
                with contextlib.suppress(
                    MjciError, ValueError
                ):  # a link that fails now may work when it is asked for
                    content = await self._fetch_url(url)
                    self.archive.save(job, url, content, index, self.clock.now())

    async def _fetch_picture(self, job_or_url: Job | str, index: int) -> bytes:
        if isinstance(job_or_url, str):
            return await self._fetch_url(job_or_url)
        kept = self.archive.find(job_or_url, index) if self.archive else None
        return (
            kept.read_bytes() if kept else await self._fetch_url(_get_output_url(job_or_url, index))
        )

    async def _apply_rule(self, rule: str, content: bytes) -> Any:
        def mark(url: str) -> bytes | None:
            return anyio.from_thread.run(self._fetch_object, url)

        try:
            # Whoever does not want it any more does not wait for it: the engine cannot be stopped
            # half-way.
            return await anyio.to_thread.run_sync(
                partial(self.rules.apply_rule, rule, content, load_object=mark), abandon_on_cancel=True
            )
        except self.rules.RuleError as error:
            raise InvalidRequest(
                "The rule cannot be carried out.", detail=str(error.message)
            ) from None

    async def _fetch_object(self, url_or_key: str) -> bytes | None:
        """The object of our bucket at a URL or key, or None."""
        url = urlsplit(url_or_key)
        if "://" in url_or_key and not (url.hostname or "").startswith(f"{self.ci.bucket}."):
            return None
        try:
            return await self.ci.get_object(
                unquote(url.path).removeprefix("/") if "://" in url_or_key else url_or_key
            )
        except MjciError:
            return None

    async def _fetch_pictures(self, job: Job) -> list[bytes]:
        whole = [await self._fetch_picture(job, index) for index in range(len(job.outputs))]
        if not is_grid(job):
            return whole
        return await anyio.to_thread.run_sync(split_grid, whole[0])

    async def _upload(self, source: Path | str | bytes, key: str) -> str:
        content, name = await anyio.to_thread.run_sync(_read_source, source)
        key = key or f"input/{name}"
        kind = detect_image_format(content)
        await self.fetch(
            self.ci.put_object(
                key, content, content_type=f"image/{kind}" if kind else "application/octet-stream"
            )
        )
        return key

    async def _download(self, job: Job, folder: Path) -> list[Path]:
        files = []
        for index, url in enumerate(job.outputs):
            content = await self._fetch_picture(job, index)
            file = folder / (PurePosixPath(unquote(urlsplit(url).path)).name or f"{job.id}-{index}")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            files.append(file)
        return files

    async def _fetch_url(self, url: str) -> bytes:
        reply: Response = await self._retrying()(self.transport.get, url)
        if reply.status >= 400:
            raise InvalidResponse(
                f"The picture is not there (HTTP {reply.status}).",
                detail=reply.body[:200].decode("utf-8", "replace"),
                body=reply.body,
                hint="Links of Midjourney pictures end after a day; fetch pictures when a job is done.",
            )
        return reply.body

    def _build_frame(self, jobs: Iterable[Job]) -> pd.DataFrame:
        from jupyter_mjci.history.frames import jobs_to_frame

        return jobs_to_frame(jobs)

    async def _fetch_tasks_frame(
        self, call: Call[list[Job]], order: Sequence[str] | None
    ) -> pd.DataFrame:
        from jupyter_mjci.history.frames import Listing, response_to_frame

        def read(reply: Response) -> Listing:
            return Listing("mj", response_to_frame(reply, order), (reply,))

        try:
            listing = await self._fetch_without_fallback(
                cast(Call[Listing], replace(cast(Call[Any], call), parse=read))
            )
        except Unsupported:
            jobs: list[Job] = await self.fetch(call)
            return self._build_frame(jobs)
        return await self._record_listing(listing)

    async def _fetch_jobs_frame(self, pages: Paginator[Job]) -> pd.DataFrame:
        from jupyter_mjci.history.frames import Listing, rows_to_frame

        replies: list[Response] = []

        def read(reply: Response) -> Page[Any]:
            page = tencent_ci.parse_rows(reply)
            replies.append(reply)
            return page

        def turn(token: str) -> Call[Page[Any]]:
            return replace(pages.page(token), parse=read)

        rows = await Paginator(turn, pages.limit).collect()
        return await self._record_listing(Listing("ci", rows_to_frame(rows), tuple(replies)))

    async def _record_listing(self, listing: Listing) -> pd.DataFrame:
        """What a listing tells is remembered: all of a small one, of a large one what moved.
        Journals in turns, so that others are heard meanwhile.
        """
        from jupyter_mjci.history.journal_frame import load_journal_frame

        wanted = None
        if len(listing.frame) > LISTING_BATCH_SIZE:
            wanted = listing.changed_ids(
                load_journal_frame(self.journal, "service = ?", (listing.service,))
            )
            self._notify_listeners("listing", listing)
        jobs = listing.iter_jobs(wanted)
        while some := list(itertools.islice(jobs, LISTING_BATCH_SIZE)):
            self._record(some)
            await anyio.lowlevel.checkpoint()
        return listing.frame

    def _notify_listeners(self, event: str, value: Any) -> None:
        for listener in self.listeners:
            listener(event, value)

    def _record(self, jobs: Iterable[Job]) -> None:
        """Remembers and journals what is new of these jobs, and tells the listeners of them all."""
        seen = list(jobs)
        news = [
            job for job in seen if job.id and self._known_jobs.get((job.service, job.id)) != job
        ]
        for job in news:
            self._known_jobs.pop((job.service, job.id), None)
            self._known_jobs[job.service, job.id] = job
        while len(self._known_jobs) > MAX_KNOWN_JOBS:
            del self._known_jobs[next(iter(self._known_jobs))]
        if news:
            self.journal.record_jobs(news, self.clock.now())
        for job in seen if self.listeners else ():
            self._notify_listeners("job_updated", job)

    def _durations(self, service: str, action: str) -> list[float]:
        """How long jobs of a service's action took, from the journal: seconds, ascending."""
        return self.journal.durations(service, action)


def connect(
    *, profile: str | None = None, notice: Callable[[str], None] = print, **overrides: Any
) -> Session:
    """A session on your services: keyword arguments, then the environment, then the profile file.

    With nothing configured the embedded sandbox is used, and one line says so. Raises SettingsError
    for an unknown name, a bad value, or a profile or recording that is not there.

    Args:
        profile: which table of the profile file; by default MJCI_PROFILE, else "default" where
            there is one
        notice: is called with that one line
        overrides: settings by their names: mj_url, ci_bucket, …
    """
    settings = load(overrides, profile=profile)
    mode, folder = parse_mode(settings.replay, get_notebook_name())
    if mode == "play":
        return replay(folder)
    session = _connect_or_sandbox(settings, notice)
    return session.record_to(folder) if mode == "record" else session


def _connect_or_sandbox(settings: Settings, notice: Callable[[str], None]) -> Session:
    if settings.has_mj or settings.has_ci:
        return Session(settings, home=settings.home)
    notice(
        "jupyter_mjci: no account is configured, so this is the embedded sandbox (nothing leaves this process)."
    )
    return sandbox(
        speed=settings.speed, **{name: getattr(settings, name) for name in RUNTIME_SETTINGS}
    )


def sandbox(
    *,
    speed: float = 20.0,
    dialect: str = "plus",
    seed: int = 0,
    faults: Any = None,
    **overrides: Any,
) -> Session:
    """A session on a fresh sandbox in this process: both services, without account or network.

    Args:
        speed: how fast its time runs; the times that jobs show are the same at every speed, also at
            float("inf")
        dialect: the proxy family that it speaks like: plus, java, trueai or new-api
        seed: another seed, other pictures and ids
        faults: what is to break: the path of a TOML file, or Faults
        overrides: settings by their names; with `home` it keeps a journal and pictures there
    """
    from jupyter_mjci.emulator.app import Sandbox

    stand_in = Sandbox(speed=speed, dialect=dialect, seed=seed, faults=faults)
    told: Mapping[str, Any] = stand_in.settings
    settings = load(
        {
            "mj_url": told["mj_url"],
            "mj_secret": told["mj_secret"],
            "mj_auth": DIALECT_AUTH_STYLES.get(dialect, "secret"),
            "ci_secret_id": told["secret_id"],
            "ci_secret_key": told["secret_key"],
            "ci_bucket": told["bucket"],
            "ci_region": told["region"],
            "ci_token": "",
            **overrides,
        },
        environ={},
    )
    home = (
        settings.home if "home" in overrides else None
    )  # what happens in a sandbox stays there, unless told
    return Session(
        settings, clock=stand_in.clock, transport=stand_in.transport(), sandbox=stand_in, home=home
    )


def replay(folder: Path | str) -> Session:
    """A session that a recording (its `folder`) answers: the same jobs, pictures and times, without
    keys, network or waiting.

    A request that was not recorded raises NotRecorded. Raises SettingsError where the recording is
    not whole.
    """
    tape = Player(Path(folder))
    told: dict[str, Any] = {name: value for name, value in tape.settings.items() if value}
    return Session(
        replace(Settings(), **told), clock=tape.clock, transport=tape, recording=Path(folder).name
    )


def _redacted_settings(settings: Settings) -> dict[str, str]:
    """What a recording tells of the connection: where the services are, not who one is there."""
    told = {name: str(getattr(settings, name)) for name in RECORDED_SETTINGS}
    return told | {name: REDACTED for name in SECRET_SETTINGS if getattr(settings, name)}


DIALECT_AUTH_STYLES = {
    "trueai": "raw",
    "new-api": "bearer",
}  # what each proxy family of the sandbox listens to


def _build_endpoints(settings: Settings, clock: Clock) -> dict[str, Endpoint]:
    origins = {}
    if settings.has_mj:
        base = settings.mj_url.rstrip("/").removesuffix("/mj")
        origins["mj"] = Endpoint(
            base, authorize=build_mj_auth(settings.mj_auth, settings.mj_secret)
        )
    if settings.has_ci:
        for plane, door in (("ci", settings.ci_endpoint), ("cos", settings.cos_endpoint)):
            host = f"{settings.ci_bucket}.{plane}.{settings.ci_region}.myqcloud.com"
            auth = build_cos_auth(
                settings.ci_secret_id,
                settings.ci_secret_key,
                settings.ci_token,
                clock,
                f"x-{plane}-security-token",
            )
            origins[plane] = Endpoint(door.rstrip("/") or f"https://{host}", host, auth)
        account = f"ci.{settings.ci_region}.myqcloud.com"
        door = settings.ci_endpoint.rstrip("/") or f"https://{account}"
        origins["account"] = Endpoint(door, account, origins["ci"].authorize)
    return origins


def _extract_jobs(value: Any) -> Iterable[Job]:
    """The jobs that an answer tells of: one, a list, or a page of them."""
    if isinstance(value, Job):
        return (value,)
    items = getattr(value, "items", value)
    return (
        [one for one in items if isinstance(one, Job)] if isinstance(items, (list, tuple)) else ()
    )


def _get_origins(settings: Settings) -> dict[str, str]:
    """Which proxy and which bucket a job belongs to: ids are unique only there."""
    return {"mj": settings.mj_url.rstrip("/").removesuffix("/mj"), "ci": settings.ci_bucket}


def _make_marker_factory(seed: str | None) -> Callable[[], str]:
    """Marks that nobody else makes; from a seed (a recording's, a sandbox's of one's own) the same
    in every run.
    """
    if seed is None:
        return lambda: f"mjci-{uuid4().hex}"
    count = itertools.count(1)
    return lambda: f"mjci-{hashlib.sha256(f'{seed} {next(count)}'.encode()).hexdigest()[:32]}"


def _require_success(jobs: list[Job]) -> Job:
    job = jobs[-1]
    if job.status in (Status.FAILED, Status.CANCELLED):
        raise JobFailed(job)
    return job


def _read_source(source: Path | str | bytes) -> tuple[bytes, str]:
    """The bytes of a file, and its name; bytes are named by their content."""
    if isinstance(source, bytes):
        return source, hashlib.sha256(source).hexdigest()[:16]
    path = Path(source).expanduser()
    try:
        return path.read_bytes(), path.name
    except OSError as error:
        raise InvalidRequest(f"Cannot read {path}.", detail=error.strerror or str(error)) from None


def _get_output_url(job: Job, index: int) -> str:
    if index >= len(job.outputs):
        raise InvalidRequest(
            f"{job.action or 'Job'} {job.id} has {len(job.outputs) or 'no'} result{'s' * (len(job.outputs) != 1)}.",
            detail=f"It is {job.status}.",
            hint="Follow it to its end first." if job.status.is_active else "",
        )
    return job.outputs[index]


__all__ = ["BatchUpdate", "Secret", "Session", "Watch", "connect", "replay", "sandbox"]
