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
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

import anyio
import anyio.from_thread

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call, Operation, Stream
from jupyter_mjci.client.cassette import RECORDED_SETTINGS, SECRET_SETTINGS, parse_mode
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.player import Player
from jupyter_mjci.client.recorder import Recorder
from jupyter_mjci.client.redaction import REDACTED
from jupyter_mjci.client.settings import RUNTIME_SETTINGS, Secret, Settings, get_notebook_name, load
from jupyter_mjci.client.transport import Clock, SystemClock, Transport
from jupyter_mjci.errors import InvalidRequest, JobFailed, SettingsError, Unsupported
from jupyter_mjci.history.history import History
from jupyter_mjci.history.image_archive import ImageArchive, resize_to_fit
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.normalization import parse_time
from jupyter_mjci.history.submissions import Submission
from jupyter_mjci.history.sync import SyncResult, sync
from jupyter_mjci.jobs.batch import (
    BatchUpdate,
    Follower,
    JobLike,
    build_failed_job,
    guess_service,
)
from jupyter_mjci.jobs.client import JobClient
from jupyter_mjci.jobs.downloads import ResultFetcher
from jupyter_mjci.jobs.limits import check_job_count
from jupyter_mjci.jobs.listings import fetch_jobs_frame, fetch_tasks_frame
from jupyter_mjci.jobs.polling import MAX_INTERVAL, Poller
from jupyter_mjci.jobs.submission import Submitter, make_marker_factory
from jupyter_mjci.services.endpoints import build_endpoints, get_origins
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.midjourney.fallbacks import FALLBACKS
from jupyter_mjci.services.tencent_ci import bucket
from jupyter_mjci.services.tencent_ci.api import TencentCI

if TYPE_CHECKING:
    import httpx
    import pandas as pd

    from jupyter_mjci.emulator.app import Sandbox
    from jupyter_mjci.emulator.faults import Fault, Faults
    from jupyter_mjci.imaging.model import RuleResult
    from jupyter_mjci.jobs.webhooks import WebhookServer

T = TypeVar("T")

# seconds between two polls of a single followed job, at most
DEFAULT_INTERVAL = 3.0
# submissions that `resume` looks for at a time
MAX_RESUMED_AT_ONCE = 8


class Watch(Stream[Job]):
    """A followed job. Iterating yields each change; `.run()` and `await` return the finished job.

    A job that failed or was cancelled raises JobFailed.
    """

    def __init__(self, source: Callable[[], AsyncIterator[Job]]) -> None:
        super().__init__(lambda: event_loop.one_per_chunk(source()), _require_success)


class Session:
    """Both services, ready to use.

    `mj` and `ci` build calls; the other methods follow jobs, run
    batches, list and download.

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
        self.settings = settings
        self.sandbox = sandbox
        self.recording = recording
        self.clock: Clock = clock or SystemClock()
        self.journal = Journal(home and home / "journal.db", origins=get_origins(settings))
        self.history = History(self.journal, self.clock.now)
        self.archive = ImageArchive(home / "pictures") if home else None
        self.transport = Transport(
            build_endpoints(settings, self.clock),
            clock=self.clock,
            timeout=settings.timeout,
            at_once=settings.at_once,
            transport=transport,
        )
        self.mj = Midjourney(self)
        self.ci = TencentCI(self, bucket=settings.ci_bucket, region=settings.ci_region)
        self.client = JobClient(self.transport, self.journal, self.clock)
        self.listeners = self.client.listeners
        self._wire_jobs(_get_marker_seed(transport, sandbox))

    def _wire_jobs(self, marker_seed: str | None) -> None:
        # Calls that this proxy does not have, and whose fallback
        # worked.
        self._unsupported: set[tuple[str, str]] = set()
        deterministic = bool(self.recording)
        self._submitter = Submitter(
            self.client,
            make_marker_factory(marker_seed),
            timeout=self.settings.timeout,
            deterministic=deterministic,
        )
        self._poller = Poller(self.client, self.mj, self.ci, deterministic=deterministic)
        self._results = ResultFetcher(
            self.transport, self.archive, self.clock, deterministic=deterministic
        )
        self._follower = Follower(self._submit_or_fetch, self._poller, self._results)

    def __repr__(self) -> str:
        where = self.recording
        if not where and self.sandbox:
            where = "sandbox"
        if not where:
            where = ", ".join(filter(None, (self.settings.mj_url, self.settings.ci_bucket)))
        return f"<jupyter_mjci session: {where}>"

    # --- sending ------------------------------------------------

    async def fetch(self, call: Call[T]) -> T:
        """Send a call and return its parsed response; every `Call.run()` comes here.

        Reads are retried after transient errors, submissions are
        sent exactly once. Where the proxy lacks an endpoint, a
        fallback is used if there is one.
        """
        endpoint = (call.name, call.method)
        unsupported = None
        if endpoint not in self._unsupported:
            try:
                return await self._submitter.send(call)
            except Unsupported as error:
                if call.name not in FALLBACKS:
                    raise
                unsupported = error
        list_known = partial(self.journal.own_jobs, "mj")
        try:
            value = await FALLBACKS[call.name](call, self.mj, list_known)
        except Unsupported as error:
            raise unsupported or error from None
        # Remembered only after the fallback worked: then the
        # address is a proxy's.
        self._unsupported.add(endpoint)
        return cast(T, value)

    async def _submit_or_fetch(self, target: Call[Job] | str, queue_timeout: float) -> Job:
        call = target if isinstance(target, Call) else self.describe(target)
        if call.name in FALLBACKS:
            return await self.fetch(call)
        return await self._submitter.send(call, queue_timeout)

    def describe(self, job: Job | str) -> Call[Job]:
        """Build the call that fetches a job's current state.

        The service of an ID is looked up in the journal, else
        guessed from its form: Midjourney's are digits, CI's a
        letter and then letters and digits. Raises InvalidRequest
        for any other.
        """
        job_id, service = self._resolve_job_id(job)
        if service == "mj":
            return self.mj.task(job_id)
        return self.ci.job(job_id)

    def cancel(self, job: Job | str) -> Call[None]:
        """Build the call that cancels a job: a Midjourney task, a queued CI job, or a CI batch.

        Check the result with `describe`: a service may accept the
        request and continue anyway. IDs are resolved as by
        `describe`. Raises InvalidRequest.
        """
        job_id, service = self._resolve_job_id(job)
        if service == "mj":
            return self.mj.cancel(job_id)
        return self.ci.cancel(job_id)

    def _resolve_job_id(self, job: Job | str) -> tuple[str, str]:
        if isinstance(job, Job):
            return job.id, job.service
        job_id = job.strip()
        service = self.journal.find_service(job_id) or guess_service(job_id)
        if not service:
            raise InvalidRequest(
                f"{job_id!r} is not a valid job ID.",
                hint="Midjourney task IDs are digits. Tencent CI job IDs are a letter, then "
                "letters and digits: j8d74…",
            )
        return job_id, service

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
        return Watch(partial(self._follower.watch, target, wait, poll_interval))

    def batch(
        self,
        jobs: Iterable[JobLike],
        *,
        at_once: int = 8,
        poll_interval: float = MAX_INTERVAL,
        max_jobs: int | None = None,
    ) -> Stream[Job]:
        """Submit and follow many calls (or follow jobs and IDs), and yield each job as it ends.

        A failure does not stop the others: it comes as a FAILED
        job with the reason. Raises InvalidRequest for more
        submissions than `max_jobs`, before the first is sent.

        Args:
            jobs: calls, jobs and job IDs
            at_once: calls and IDs that are submitted and followed
                at a time; running jobs do not count
            poll_interval: seconds between two polls of a job, at
                most
            max_jobs: how many jobs may be submitted; by default
                the setting max_jobs
        """
        targets = self._list_targets(jobs, max_jobs)
        return Stream(
            lambda: event_loop.stream_from_callback(
                partial(
                    self._follower.as_completed, targets, at_once, self.settings.wait, poll_interval
                )
            )
        )

    def batch_updates(
        self,
        jobs: Iterable[JobLike],
        *,
        at_once: int = 8,
        poll_interval: float = MAX_INTERVAL,
        max_jobs: int | None = None,
    ) -> Stream[BatchUpdate]:
        """Run a batch and yield every change of every job, to display its progress.

        `jobs`, `at_once`, `poll_interval` and `max_jobs` are
        those of `batch`.
        """
        targets = self._list_targets(jobs, max_jobs)
        return Stream(
            lambda: event_loop.stream_from_callback(
                partial(
                    self._follower.run_batch, targets, at_once, self.settings.wait, poll_interval
                )
            )
        )

    def _list_targets(self, jobs: Iterable[JobLike], max_jobs: int | None) -> list[JobLike]:
        targets = list(jobs)
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
        task_ids = None if ids is None else tuple(str(task_id).strip() for task_id in ids)
        call = self.mj.tasks(task_ids)
        return event_loop.run(fetch_tasks_frame(self._submitter, call, task_ids))

    def queue(self) -> pd.DataFrame:
        """Return the Midjourney tasks that are queued or running."""
        return event_loop.run(fetch_tasks_frame(self._submitter, self.mj.queue(), None))

    def jobs(self, **filters: Any) -> pd.DataFrame:
        """Return the CI jobs of the service; `filters` are those of `ci.jobs`."""
        return event_loop.run(fetch_jobs_frame(self.client, self.ci.jobs(**filters)))

    def known_jobs(self, service: str) -> Sequence[Job]:
        """Return the jobs of a service that this session has seen, the latest change last."""
        return self.client.known_jobs(service)

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
            tags: CI's kinds of jobs; by default PicProcess and
                those that were seen before
            on_progress: called with the counts after every page
        """
        pages = sync(
            self.journal,
            self.mj if self.settings.has_mj else None,
            self.ci if self.settings.has_ci else None,
            since=parse_time(since),
            until=parse_time(until),
            tags=tags,
        )
        return event_loop.run(_sync_pages(pages, on_progress))

    # --- results and objects ------------------------------------

    def picture(self, job_or_url: Job | str, index: int = 0) -> Operation[bytes]:
        """Fetch the bytes of a job's result; credentials go to the services' own hosts only.

        Raises InvalidRequest for a job without a result,
        InvalidResponse where the image is not available (any
        more).

        Args:
            job_or_url: the job, or a URL
            index: which of several results, from 0
        """
        return Operation(partial(self._results.fetch, job_or_url, index))

    def pictures(self, job: Job) -> Operation[list[bytes]]:
        """Fetch all images of a job; a 2×2 grid comes as its four images.

        Raises InvalidResponse where an image is not available
        (any more).
        """
        return Operation(partial(self._results.fetch_pictures, job))

    def download(self, job: Job, folder: Path | str = ".") -> Operation[list[Path]]:
        """Write a job's results into a folder, under their own names, and return the files.

        Raises InvalidResponse where a result is not available
        (any more).
        """
        return Operation(partial(self._results.download, job, Path(folder)))

    def upload(self, source: Path | str | bytes, key: str = "") -> Operation[str]:
        """Put a file into the bucket and return its key. Raises InvalidRequest if it is unreadable.

        Args:
            source: the file's path, or bytes, which are named by
                their hash
            key: the object's key; by default input/ and the
                file's name
        """
        return Operation(partial(bucket.upload_file, self.ci, source, key))

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
            self.settings, key, self.clock.now(), rule=rule, method=method, seconds=seconds
        )

    @property
    def rules(self) -> ModuleType:
        """The local implementation of the picture rules: parsing, formatting, applying."""
        from jupyter_mjci.imaging import rule_syntax

        return rule_syntax

    def preview(self, rule: str, content: bytes) -> Operation[RuleResult]:
        """Apply a picture rule locally: what a job would give, without a job.

        The result has `body`, `format`, `width` and `height`.
        Watermark images are fetched from the bucket. Raises
        InvalidRequest for a rule that cannot be applied.

        Args:
            rule: the rule
            content: the bytes of the image
        """
        return Operation(partial(self._apply_rule, rule, content))

    async def _apply_rule(self, rule: str, content: bytes) -> RuleResult:
        from jupyter_mjci.imaging.model import RuleError
        from jupyter_mjci.imaging.rule_syntax import apply_rule

        def load_object(url: str) -> bytes | None:
            return anyio.from_thread.run(bucket.find_object, self.ci, url)

        try:
            # The thread cannot be stopped: a cancelled preview
            # leaves it behind.
            return await anyio.to_thread.run_sync(
                partial(apply_rule, rule, content, load_object=load_object), abandon_on_cancel=True
            )
        except RuleError as error:
            raise InvalidRequest("The rule cannot be applied.", detail=error.message) from None

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
        settings = self.settings
        secrets = (settings.mj_secret, settings.ci_secret_key, settings.ci_token)
        recorder = Recorder(
            folder,
            self.transport.make_transport,
            self.clock,
            settings=_describe_settings(settings),
            secrets=[settings.ci_secret_id, *(secret.reveal() for secret in secrets)],
            shrink=partial(resize_to_fit, max_size=pixels) if pixels else None,
        )
        return Session(
            settings,
            clock=self.clock,
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
        self.transport.timeout = self.settings.timeout
        self._submitter.timeout = self.settings.timeout

    def close(self) -> None:
        """Close the connections and the journal. Using the session again opens new ones."""
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


# --- building a session -----------------------------------------


def connect(
    *, profile: str | None = None, notice: Callable[[str], None] = print, **overrides: Any
) -> Session:
    """Build a session from keyword arguments, then the environment, then the profile file.

    With nothing configured the embedded sandbox is used, and one
    line says so. Raises SettingsError for an unknown setting, an
    invalid value, or a missing profile or recording.

    Args:
        profile: the table of the profile file; by default
            MJCI_PROFILE, else "default" if it exists
        notice: called with that one line
        overrides: settings by their names: mj_url, ci_bucket, …
    """
    settings = load(overrides, profile=profile)
    mode, folder = parse_mode(settings.replay, get_notebook_name())
    if mode == "play":
        return replay(folder)
    session = _connect_or_sandbox(settings, notice)
    if mode == "record":
        return session.record_to(folder)
    return session


def _connect_or_sandbox(settings: Settings, notice: Callable[[str], None]) -> Session:
    if settings.has_mj or settings.has_ci:
        return Session(settings, home=settings.home)
    notice(
        "jupyter_mjci: no account is configured: using the embedded sandbox (nothing leaves this "
        "process)."
    )
    runtime = {name: getattr(settings, name) for name in RUNTIME_SETTINGS}
    return sandbox(speed=settings.speed, **runtime)


# How the proxy families of the sandbox expect the secret; the
# others take "secret".
DIALECT_AUTH_STYLES = {"trueai": "raw", "new-api": "bearer"}


def sandbox(
    *,
    speed: float = 20.0,
    dialect: str = "plus",
    seed: int = 0,
    faults: Faults | Iterable[Fault] | Path | None = None,
    **overrides: Any,
) -> Session:
    """Build a session on a new in-process emulator of both services: no account, no network.

    Args:
        speed: how fast its time passes; the times of jobs are the
            same at any speed, also at float("inf")
        dialect: the proxy family to emulate: plus, java, trueai
            or new-api
        seed: another seed, other images and IDs
        faults: what fails: Fault objects, or the path of a TOML
            file
        overrides: settings by their names; with `home` a journal
            and images are kept there
    """
    from jupyter_mjci.emulator.app import Sandbox

    emulator = Sandbox(speed=speed, dialect=dialect, seed=seed, faults=faults)
    settings = load({**_get_account(emulator, dialect), **overrides}, environ={})
    return Session(
        settings,
        clock=emulator.clock,
        transport=emulator.transport(),
        sandbox=emulator,
        # The jobs of a sandbox do not belong into the default
        # journal.
        home=settings.home if "home" in overrides else None,
    )


def _get_account(emulator: Sandbox, dialect: str) -> dict[str, str]:
    """Return the settings for the emulator's own account."""
    account = emulator.settings
    return {
        "mj_url": account["mj_url"],
        "mj_secret": account["mj_secret"],
        "mj_auth": DIALECT_AUTH_STYLES.get(dialect, "secret"),
        "ci_secret_id": account["secret_id"],
        "ci_secret_key": account["secret_key"],
        "ci_bucket": account["bucket"],
        "ci_region": account["region"],
        "ci_token": "",
    }


def replay(folder: Path | str) -> Session:
    """Build a session that replays a recording: the same jobs, images and times, without keys.

    A request that was not recorded raises NotRecorded. Raises
    SettingsError for an incomplete recording.

    Args:
        folder: the folder of the recording
    """
    folder = Path(folder)
    player = Player(folder)
    recorded: dict[str, Any] = {name: value for name, value in player.settings.items() if value}
    return Session(
        replace(Settings(), **recorded),
        clock=player.clock,
        transport=player,
        recording=folder.name,
    )


def _describe_settings(settings: Settings) -> dict[str, str]:
    """Return the settings that a recording stores: addresses as they are, credentials redacted."""
    described = {name: str(getattr(settings, name)) for name in RECORDED_SETTINGS}
    for name in SECRET_SETTINGS:
        if getattr(settings, name):
            described[name] = REDACTED
    return described


def _get_marker_seed(
    transport: httpx.AsyncBaseTransport | None, sandbox: Sandbox | None
) -> str | None:
    """Return the seed of the submission markers; None where they must be globally unique."""
    if isinstance(transport, (Player, Recorder)):
        return transport.marker_seed
    return None if sandbox is None else ""


async def _sync_pages(
    pages: AsyncIterator[SyncResult], on_progress: Callable[[SyncResult], None] | None
) -> SyncResult:
    counts = SyncResult()
    async for counts in pages:
        if on_progress:
            on_progress(counts)
    return counts


def _require_success(jobs: list[Job]) -> Job:
    job = jobs[-1]
    if job.status in (Status.FAILED, Status.CANCELLED):
        raise JobFailed(job)
    return job


__all__ = ["BatchUpdate", "Secret", "Session", "Watch", "connect", "replay", "sandbox"]
