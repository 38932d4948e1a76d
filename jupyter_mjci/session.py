"""The `Session` class, the main entry point: follow jobs, run batches, resume, list and download.

A session wires the parts together and delegates to them:
`JobClient` sends and records, `Submitter` submits exactly once,
`Poller` and `Follower` watch jobs, `ResultFetcher` gets what they
produced.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import anyio

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call, Operation, Stream
from jupyter_mjci.client.image_input import ImageInput
from jupyter_mjci.client.job import Job, to_job_id
from jupyter_mjci.client.player import Player
from jupyter_mjci.client.recorder import Recorder
from jupyter_mjci.client.redaction import Redactor
from jupyter_mjci.client.settings import (
    RUNTIME_SETTINGS,
    Settings,
    describe_settings,
    list_secrets,
)
from jupyter_mjci.client.transport import Clock, SystemClock, Transport
from jupyter_mjci.errors import InvalidRequest, SettingsError, Unsupported
from jupyter_mjci.history.history import History
from jupyter_mjci.history.image_archive import ImageArchive, resize_to_fit
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.normalization import parse_time
from jupyter_mjci.history.submissions import Submission
from jupyter_mjci.history.sync import SyncResult, sync
from jupyter_mjci.jobs.batch import Batch, Follower, JobLike, Watch, build_failed_job
from jupyter_mjci.jobs.client import JobClient
from jupyter_mjci.jobs.downloads import ResultFetcher
from jupyter_mjci.jobs.endpoint_support import EndpointSupport
from jupyter_mjci.jobs.limits import check_job_count
from jupyter_mjci.jobs.listings import fetch_jobs_frame, fetch_tasks_frame
from jupyter_mjci.jobs.pictures import PictureReader
from jupyter_mjci.jobs.polling import MAX_INTERVAL, Poller
from jupyter_mjci.jobs.submission import Submitter, make_marker_factory
from jupyter_mjci.services import (
    Service,
    build_apis,
    build_endpoints,
    build_not_configured_error,
    get_origins,
    get_packages,
    guess_service,
    list_configured,
    service,
    services,
)
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.tencent_ci import bucket
from jupyter_mjci.services.tencent_ci.api import TencentCI
from jupyter_mjci.services.tencent_ci.connection import TencentCISettings

if TYPE_CHECKING:
    import httpx
    import pandas as pd

    from jupyter_mjci.emulator.app import Sandbox
    from jupyter_mjci.imaging.picture import Picture, ProcessedPicture
    from jupyter_mjci.jobs.grids import Grid
    from jupyter_mjci.jobs.study import Study
    from jupyter_mjci.jobs.study_calls import Builder
    from jupyter_mjci.jobs.webhooks import WebhookServer

T = TypeVar("T")

# seconds between two polls of a single followed job, at most
DEFAULT_INTERVAL = 3.0
# submissions that `resume` looks for at a time
MAX_RESUMED_AT_ONCE = 8


class Session:
    """The job services, ready to use.

    `mj` and `ci` build calls, and so does the key of any other
    service; the other methods follow jobs, run batches, list and
    download.

    `listeners` are called as `listener(event, value)`:
    "submitting" with the Call before a submission is sent,
    "job_updated" with each Job in a response. Of a large listing
    only the jobs that changed are "job_updated"; "listing" comes
    with the whole of it.

    Sending may raise TransportError (no response), ServiceError
    (a response that refuses) or InvalidResponse (one that cannot
    be read). InvalidRequest is raised before anything is sent.

    Args:
        settings: addresses and credentials
        clock: the source of time; by default the system's
        transport: carries the requests instead of the network: to
            a sandbox or a recording
        sandbox: the emulator that `transport` leads to
        home: the folder of the journal and the image archive;
            None keeps nothing on disk
        recording: the name of the recording that is written or
            replayed
    """

    mj: Midjourney
    ci: TencentCI

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
        clock = clock or SystemClock()
        self.settings = settings
        self.sandbox = sandbox
        self.recording = recording
        self.journal = Journal(
            home and home / "journal.db", origins=get_origins(settings), packages=get_packages()
        )
        self.history = History(self.journal, clock.now)
        self.archive = ImageArchive(home / "pictures") if home else None
        http = Transport(
            build_endpoints(settings, clock),
            clock=clock,
            timeout=settings.timeout,
            at_once=settings.at_once,
            ca_file=settings.ca_file,
            transport=transport,
            build_missing_error=build_not_configured_error,
            redactor=Redactor(list_secrets(settings)),
        )
        self.client = JobClient(http, self.journal, clock)
        self.listeners = self.client.listeners
        self._apis = build_apis(self, settings)
        for key, api in self._apis.items():
            setattr(self, key, api)
        self._wire_jobs(_get_marker_seed(transport, sandbox, home))

    def _wire_jobs(self, marker_seed: str | None) -> None:
        self._endpoints = EndpointSupport()
        deterministic = bool(self.recording)
        self._submitter = Submitter(
            self.client,
            make_marker_factory(marker_seed),
            timeout=self.settings.timeout,
            deterministic=deterministic,
        )
        self._poller = Poller(
            self.client,
            self._apis,
            deterministic=deterministic,
            stalled_after=self.settings.stalled * 60,
        )
        self._results = ResultFetcher(
            self.client.transport, self.archive, self.client.clock, deterministic=deterministic
        )
        self._pictures = PictureReader(self.client, self._results, self._fetch_job)
        self._follower = Follower(self._submit_or_fetch, self._poller, self._results)

    def __repr__(self) -> str:
        where = self.recording
        if not where and self.sandbox:
            where = "sandbox"
        if not where:
            where = ", ".join(filter(None, get_origins(self.settings).values()))
        return f"<jupyter_mjci session: {where}>"

    # --- sending ------------------------------------------------

    async def fetch(self, call: Call[T]) -> T:
        """Send a call and return its parsed response; every `Call.run()` comes here.

        Reads are retried after transient errors, submissions are
        sent exactly once. Where the proxy lacks an endpoint, a
        fallback is used if there is one.
        """
        fallback = service(call.service).fallbacks.get(call.name)
        if fallback is None:
            return await self._submitter.send(call)
        unsupported = None
        if not self._endpoints.is_missing(call):
            try:
                value = await self._send_with_fallback_in_mind(call)
                self._endpoints.record_success(call)
                return value
            except Unsupported as error:
                unsupported = error
        list_known = partial(self.journal.own_jobs, call.service)
        try:
            value = await fallback(call, self._apis[call.service], list_known)
        except Unsupported as error:
            raise unsupported or error from None
        if unsupported is not None:
            # Only after the fallback worked: then the address is
            # a proxy's.
            self._endpoints.record_refusal(call, unsupported)
        return cast(T, value)

    async def _send_with_fallback_in_mind(self, call: Call[T]) -> T:
        """Send a call; where it had no answer the last time, one attempt has to do."""
        if call.is_retryable and self._endpoints.is_doubtful(call):
            return await self.client.send_once(call)
        return await self._submitter.send(call)

    async def _fetch_job(self, job_id: str) -> Job:
        return await self.fetch(self.describe(job_id))

    async def _submit_or_fetch(self, target: Call[Job] | str, queue_timeout: float) -> Job:
        call = target if isinstance(target, Call) else self.describe(target)
        if call.name in service(call.service).fallbacks:
            return await self.fetch(call)
        return await self._submitter.send(call, queue_timeout)

    def describe(self, job: Job | str) -> Call[Job]:
        """Build the call that fetches a job's current state.

        The service of an ID is looked up in the journal, else
        guessed from its form. Raises InvalidRequest for an ID that
        no service has, SettingsError for a job whose service is
        not installed.
        """
        job_id, job_service = self._resolve_job(job)
        return job_service.get_job(self._apis[job_service.key], job_id)

    def cancel(self, job: Job | str) -> Call[None]:
        """Build the call that cancels a job, or a batch that has not started.

        Check the result with `describe`: a service may accept the
        request and continue anyway. IDs are resolved, and errors
        raised, as by `describe`; InvalidRequest also where the
        service cannot cancel.
        """
        job_id, job_service = self._resolve_job(job)
        if job_service.cancel_job is None:
            raise InvalidRequest(f"{job_service.label} cannot cancel jobs.")
        return job_service.cancel_job(self._apis[job_service.key], job_id)

    def _resolve_job(self, job: Job | str) -> tuple[str, Service]:
        if isinstance(job, Job):
            return job.id, self.client.require_service(job.service)
        job_id = to_job_id(job)
        key = self.journal.find_service(job_id)
        found = self.client.require_service(key) if key else guess_service(job_id)
        if found is None:
            raise InvalidRequest(
                f"{job_id!r} is not a valid job ID.",
                hint=" ".join(each.id_help for each in services()).strip(),
            )
        return job_id, found

    # --- following ----------------------------------------------

    def follow(
        self,
        target: JobLike,
        *,
        timeout: float | None = None,
        poll_interval: float = DEFAULT_INTERVAL,
    ) -> Watch:
        """Submit a call, or take a running job, and watch it until it ends or NEEDS_INPUT.

        While a queue is full, a submission waits for room.
        `.run()` returns the finished job and raises JobFailed
        where it failed, WaitTimeout where it took too long; it
        continues then.

        Args:
            target: a call, a job or a job ID
            timeout: seconds; by default the setting `wait`
            poll_interval: seconds between two polls, at most
        """
        wait = self.settings.wait if timeout is None else timeout
        return Watch(partial(self._follower.watch, _to_target(target), wait, poll_interval))

    def batch(
        self,
        jobs: Iterable[JobLike],
        *,
        at_once: int = 8,
        poll_interval: float = MAX_INTERVAL,
        max_jobs: int | None = None,
        retry: int = 0,
    ) -> Batch:
        """Submit and follow many calls (or follow jobs and IDs), and yield each job as it ends.

        A failure does not stop the others: it comes as a FAILED
        job with the reason. `.updates()` yields every change.
        Raises InvalidRequest for more submissions than
        `max_jobs`, before the first is sent.

        Args:
            jobs: calls, jobs and job IDs
            at_once: calls and IDs that are submitted and followed
                at a time; running jobs do not count
            poll_interval: seconds between two polls of a job, at
                most
            max_jobs: how many jobs may be submitted; by default
                the setting max_jobs
            retry: how often a call is submitted again whose job
                failed for a reason that may pass: a timeout, an
                overload; never where it may have been accepted
        """
        targets = self._list_targets(jobs, max_jobs)
        wait = self.settings.wait
        return Batch(self._follower, targets, at_once, wait, poll_interval, retry)

    def study(
        self,
        what: str | Builder,
        *args: Any,
        grid: Grid | None = None,
        repeat: int = 1,
        key: str = "",
        **values: Any,
    ) -> Study:
        """Plan a study: one call for every combination of the values of some factors.

        Nothing is sent before `.run()`, which continues an
        earlier run, also after the kernel has died, and makes
        nothing twice.

            s.study("a {{animal}} --ar 3:2", animal=["fox", "owl"])
            s.study(s.ci.picture_job, input="in/a.jpg", quality=[50, 80],
                    rule="imageMogr2/quality/{{quality}}",
                    output="out/{{quality}}.jpg")

        Raises InvalidRequest where a factor is not used, a
        placeholder has no values, or a call cannot be built.

        Args:
            what: a prompt to imagine, or a builder of calls
            args: the builder's arguments
            grid: factors: lists by their names, a DataFrame whose
                rows are taken as they are, or text:
                "stylize=100,400 seed=1,2"
            repeat: how often each combination is made
            key: tells studies apart that would share jobs because
                they send the same
            values: the builder's other arguments, and factors: a
                list for a {{name}} in a text, for a parameter, or
                for a flag of the prompt
        """
        from jupyter_mjci.jobs.study import Study
        from jupyter_mjci.jobs.study_calls import bind_arguments, plan_study

        builder = self.mj.imagine if isinstance(what, str) else what
        texts = (what, *args) if isinstance(what, str) else args
        arguments = bind_arguments(builder, texts, values)
        return Study(self, plan_study(builder, arguments, grid=grid, repeat=repeat, key=key))

    def _list_targets(self, jobs: Iterable[JobLike], max_jobs: int | None) -> list[JobLike]:
        targets = list(map(_to_target, jobs))
        check_job_count(targets, self.settings.max_jobs if max_jobs is None else max_jobs)
        return targets

    def resume(self, *, poll_interval: float = MAX_INTERVAL) -> Stream[Job]:
        """Continue after a restart: resolve submissions of unknown outcome, follow unfinished jobs.

        A submission is looked up and adopted, or submitted again
        where it certainly was not received. Yields each job as it
        ends; `poll_interval` is that of `batch`.
        """
        return Stream(lambda: event_loop.stream_from_callback(partial(self._resume, poll_interval)))

    async def _resume(self, poll_interval: float, emit: Callable[[Job], None]) -> None:
        slots = anyio.Semaphore(MAX_RESUMED_AT_ONCE)
        async with anyio.create_task_group() as group:
            for row in self.journal.unresolved():
                if self._is_resumable(row):
                    group.start_soon(self._resume_submission, row, slots, emit)
        running = self.journal.active_jobs()
        await self._follower.as_completed(running, 1, self.settings.wait, poll_interval, emit)

    def _is_resumable(self, row: Submission) -> bool:
        """Return whether this session can look for a submission: it knows the server."""
        is_own = row.origin == self.journal.get_origin(row.service)
        return is_own and not self.client.writer.is_open(row.lease_owner)

    async def _resume_submission(
        self, row: Submission, slots: anyio.Semaphore, emit: Callable[[Job], None]
    ) -> None:
        try:
            async with slots:
                await self._submitter.resume(row, self)
        except Exception as error:
            emit(build_failed_job(Job(row.service, "", row.name), error))

    def unresolved_submissions(self) -> list[Submission]:
        """Return the submissions that `resume` left: of unknown outcome, or worked on elsewhere."""
        return self.journal.unresolved()

    def describe_unresolved(self) -> list[str]:
        """Return a line for each submission that `resume` left, with the reason."""
        now = self.client.writer.clock.now()
        return [row.describe(now) for row in self.unresolved_submissions()]

    def receive(self, port: int = 0) -> WebhookServer:
        """Listen on loopback for webhooks until it is closed (or use `with`).

        Give its `url` to calls as `notify_hook` or `callback`:
        followed jobs are then updated at once. Polling continues
        beside it, and alone counts in a recorded or replayed
        session.

        Args:
            port: the port on 127.0.0.1 (default: a free one); a
                sandbox in another process delivers to ports that
                it was started with, `--allow-callback PORT`

        Raises:
            OSError: the port is taken
        """
        from jupyter_mjci.jobs.webhooks import WebhookServer

        return WebhookServer(self._on_webhook_job, port)

    def _on_webhook_job(self, job: Job) -> None:
        # A replay has no webhooks, and must send the same
        # requests as the recorded session.
        if not self.recording:
            self.client.record([job])
            self._poller.push(job)

    # --- listings -----------------------------------------------

    def tasks(self, ids: Iterable[str] | None = None) -> pd.DataFrame:
        """Return the Midjourney tasks of the proxy (or those with the given `ids`)."""
        task_ids = None if ids is None else tuple(map(to_job_id, ids))
        call = self.mj.tasks(task_ids)
        return event_loop.run(fetch_tasks_frame(self._submitter, call, task_ids))

    def queue(self) -> pd.DataFrame:
        """Return the Midjourney tasks that are queued or running."""
        return event_loop.run(fetch_tasks_frame(self._submitter, self.mj.queue(), None))

    def jobs(self, **filters: Any) -> pd.DataFrame:
        """Return the CI jobs of the service; `filters` are those of `ci.jobs`."""
        return event_loop.run(fetch_jobs_frame(self.client, self.ci.jobs(**filters)))

    def sync(
        self,
        *,
        since: str | datetime | None = None,
        until: str | datetime | None = None,
        tags: Sequence[str] = (),
        on_progress: Callable[[SyncResult], None] | None = None,
    ) -> SyncResult:
        """Journal what the services list and the journal lacks, continuing where the last sync was.

        Args:
            since: jobs created from then on, instead of what is
                new
            until: jobs created until then
            tags: kinds of jobs, for services that list one kind
                at a time (CI); by default those that are known
            on_progress: called with the counts after every page
        """
        configured = [each.key for each in list_configured(self.settings)]
        pages = sync(
            self.journal,
            {key: self._apis[key] for key in configured},
            since=parse_time(since),
            until=parse_time(until),
            actions=tags,
        )
        return event_loop.run(_sync_pages(pages, on_progress))

    # --- results and objects ------------------------------------

    def picture(self, source: ImageInput, index: int = 0) -> Operation[Picture]:
        """Fetch a job's result, or read a picture from whatever holds or names it.

        Credentials go to the services' own hosts only. Raises
        InvalidRequest for a job without a result and for what
        names no picture, InvalidResponse where the picture is not
        available (any more), or something else came.

        Args:
            source: the job or its ID, one of its pictures
                (`job[2]`, as `pictures` counts them), a URL, a
                path, bytes, a data URL, a Pillow image, an array
            index: which of several results of a job, from 0
        """
        return Operation(partial(self._pictures.read, source, index))

    def pictures(self, job: Job) -> Operation[list[Picture]]:
        """Fetch all images of a job; a 2×2 grid comes as its four images.

        Raises InvalidResponse where an image is not available
        (any more).
        """
        return Operation(partial(self._results.fetch_pictures, job))

    def download(
        self, job: Job, folder: Path | str = ".", *, template: str = "{name}"
    ) -> Operation[list[Path]]:
        """Write a job's results into a folder, and return the files.

        No file is overwritten: a name that is taken gets a
        number. Where a picture comes from is written into its
        file (PNG text, XMP in JPEG and WebP), of other formats
        into NAME.json beside it; `mjci.picture(file)` reads it.
        Raises InvalidRequest for an unknown field of the
        template, InvalidResponse where a result is not available
        (any more).

        Args:
            job: the job
            folder: where they are written
            template: the path of each below the folder, without
                extension: "{prompt:.40}/{id}-{index}"; the fields
                are name (the link's own), id, index, prompt,
                action and service
        """
        return Operation(partial(self._results.download, job, Path(folder), template))

    def upload(self, source: ImageInput, key: str = "") -> Operation[str]:
        """Put a file into the bucket and return its key. Raises InvalidRequest if it is unreadable.

        Args:
            source: the file's path, or bytes, which are named by
                their hash; or any picture that `picture` takes
            key: the object's key; by default input/ and the
                file's name
        """
        return Operation(partial(self._upload, source, key))

    async def _upload(self, source: ImageInput, key: str) -> str:
        return await bucket.upload_file(self.ci, source, await self._pictures.read(source), key)

    def presign(self, key: str, *, rule: str = "", method: str = "GET", seconds: int = 3600) -> str:
        """Build a URL of an object of the bucket that needs no credentials. Treat it as a secret.

        The token of a temporary key is part of it. Raises
        InvalidRequest where no bucket is configured.

        Args:
            key: the object's key
            rule: a picture rule that is applied to the object
            method: the HTTP method that the URL is valid for
            seconds: how long it is valid
        """
        return bucket.presign_object(
            cast(TencentCISettings, self.settings.sections["ci"]),
            key,
            self.client.clock.now(),
            rule=rule,
            method=method,
            seconds=seconds,
        )

    def preview(self, rule: str, picture: ImageInput) -> Operation[ProcessedPicture]:
        """Apply a picture rule locally: what a job would give, without a job.

        The result is a `Picture`, with `info` for imageInfo,
        imageAve and exif. Watermark images are fetched from the bucket. Raises
        InvalidRequest for a rule that cannot be applied.

        Args:
            rule: the rule
            picture: what `picture` takes: bytes, a job, job[2],
                a path, …
        """
        return Operation(partial(self._preview, rule, picture))

    async def _preview(self, rule: str, picture: ImageInput) -> ProcessedPicture:
        content = await self._pictures.read(picture)
        return await bucket.apply_rule_locally(self.ci, rule, content)

    # --- the session itself -------------------------------------

    def record_to(self, folder: Path | str, *, pixels: int | None = None) -> Session:
        """Return a session like this one that records its exchanges, without secrets.

        It keeps nothing on disk but the recording, so its history
        is the recording's own.

        Args:
            folder: the folder `NAME.mjci`; an existing recording
                is replaced
            pixels: the longer side of images, at most; larger
                ones are scaled down
        """
        folder = Path(folder)
        recorder = Recorder(
            folder,
            self.client.transport.make_transport,
            self.client.clock,
            settings=describe_settings(self.settings),
            secrets=list_secrets(self.settings),
            shrink=partial(resize_to_fit, max_size=pixels) if pixels else None,
        )
        return Session(
            self.settings,
            clock=self.client.clock,
            transport=recorder,
            sandbox=self.sandbox,
            recording=folder.name,
        )

    def configure(self, **changes: Any) -> None:
        """Change settings of the running session.

        Raises SettingsError for a setting that is fixed when the
        session connects.

        Args:
            changes: wait, timeout, on_interrupt, max_jobs, thumbnail
        """
        fixed = sorted(set(changes) - set(RUNTIME_SETTINGS))
        if fixed:
            raise SettingsError(
                f"{', '.join(fixed)}: fixed when a session connects.",
                hint="Connect again with the new values.",
            )
        self.settings = replace(self.settings, **changes)
        self.client.transport.timeout = self.settings.timeout
        self._submitter.timeout = self.settings.timeout

    def close(self) -> None:
        """Close the connections and the journal. Using the session again opens new ones."""
        event_loop.run(self.client.transport.close())
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


async def _sync_pages(
    pages: AsyncIterator[SyncResult], on_progress: Callable[[SyncResult], None] | None
) -> SyncResult:
    counts = SyncResult()
    async for counts in pages:
        if on_progress:
            on_progress(counts)
    return counts


def _to_target(target: JobLike) -> JobLike:
    """Return a call or a job as it is, an ID as text."""
    return target if isinstance(target, (Call, Job)) else to_job_id(target)


def _get_marker_seed(
    transport: httpx.AsyncBaseTransport | None, sandbox: Sandbox | None, home: Path | None
) -> str | None:
    """Return the seed of the submission markers; None where they must be globally unique.

    A journal that is kept holds the markers of earlier sandboxes.
    """
    if isinstance(transport, (Player, Recorder)):
        return transport.marker_seed
    return None if sandbox is None or home is not None else ""
