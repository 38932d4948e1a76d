"""The `Session` class, the main entry point: it wires the parts together, and delegates to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from types import MethodType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from jupyter_mjci import services
from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call, Operation, Paginator, Stream
from jupyter_mjci.client.image_input import ImageInput
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.redaction import redact
from jupyter_mjci.client.settings import Settings, change_settings, list_secrets
from jupyter_mjci.client.transport import Clock, SystemClock
from jupyter_mjci.history.history import History
from jupyter_mjci.history.image_archive import ImageArchive
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.history.normalization import parse_time
from jupyter_mjci.history.submissions import Submission
from jupyter_mjci.history.sync import SyncResult, sync
from jupyter_mjci.jobs.batch import Batch, JobLike, Watch, to_target
from jupyter_mjci.jobs.client import JobClient
from jupyter_mjci.jobs.limits import check_job_count
from jupyter_mjci.jobs.listings import fetch_frame
from jupyter_mjci.jobs.polling import MAX_INTERVAL
from jupyter_mjci.jobs.recording import build_recorder, find_marker_seed
from jupyter_mjci.jobs.runtime import JobRuntime
from jupyter_mjci.services.midjourney.members import ProxyMembers
from jupyter_mjci.services.tencent_ci.members import BucketMembers

if TYPE_CHECKING:
    import httpx
    import pandas as pd

    from jupyter_mjci.emulator.app import Sandbox
    from jupyter_mjci.imaging.picture import Picture
    from jupyter_mjci.jobs import rating, rule_comparison, study
    from jupyter_mjci.jobs.webhooks import WebhookServer

T = TypeVar("T")

# seconds between two polls of a single followed job, at most
DEFAULT_INTERVAL = 3.0

# Methods whose modules are imported when they are first asked
# for, beside those that services add.
LAZY_METHODS = {
    "compare": "jupyter_mjci.jobs.rule_comparison:compare",
    "rate": "jupyter_mjci.jobs.rating:rate",
    "study": "jupyter_mjci.jobs.study:study",
}


class Session(ProxyMembers, BucketMembers):
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

    if TYPE_CHECKING:
        compare = rule_comparison.compare
        rate = rating.rate
        study = study.study

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
            home and home / "journal.db",
            origins=services.get_origins(settings),
            packages=services.get_packages(),
        )
        self.archive = ImageArchive(home / "pictures") if home else None
        self.history = History(self.journal, clock.now, self.archive, self._redact)
        http = services.build_transport(settings, clock, transport)
        self.client = JobClient(http, self.journal, clock)
        self.listeners = self.client.listeners
        self._apis = services.build_apis(self, settings)
        vars(self).update(self._apis)
        seed = find_marker_seed(transport, sandbox is not None and home is None)
        self._jobs = JobRuntime(self.client, self._apis, self.archive, seed, bool(recording))
        self._jobs.poller.stalled_after = settings.stalled * 60

    def __repr__(self) -> str:
        origins = ", ".join(filter(None, services.get_origins(self.settings).values()))
        where = self.recording or (self.sandbox and "sandbox") or origins
        return f"<jupyter_mjci session: {where}>"

    def __getattr__(self, name: str) -> Any:
        """Return a method that is loaded lazily: `tasks`, `upload`, `study`, …"""
        # Private names are asked for before there is a session:
        # by copy and pickle.
        methods = {} if name.startswith("_") else list_lazy_methods()
        if name not in methods:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return MethodType(services.load_attribute(methods[name]), self)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *list_lazy_methods()})

    def _redact(self, text: str) -> str:
        return redact(text, list_secrets(self.settings))

    async def fetch(self, call: Call[T]) -> T:
        """Send a call and return its parsed response; every `Call.run()` comes here.

        Reads are retried after transient errors, submissions are
        sent exactly once. Where the server lacks an endpoint, a
        fallback is used if there is one.
        """
        return await self._jobs.sender.send(call)

    def describe(self, job: Job | str) -> Call[Job]:
        """Build the call that fetches a job's current state.

        The service of an ID is looked up in the journal, else
        guessed from its form. Raises InvalidRequest for an ID
        that no service has, SettingsError for a job whose service
        is not installed.
        """
        return self._jobs.lookup.describe(job)

    def cancel(self, job: Job | str) -> Call[None]:
        """Build the call that cancels a job, or a batch that has not started.

        Check the result with `describe`: a service may accept the
        request and continue anyway. IDs are resolved, and errors
        raised, as by `describe`; InvalidRequest also where the
        service cannot cancel.
        """
        return self._jobs.lookup.cancel(job)

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
        return Watch(partial(self._jobs.follower.watch, to_target(target), wait, poll_interval))

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
        targets = list(map(to_target, jobs))
        check_job_count(targets, self.settings, max_jobs)
        follower, wait = self._jobs.follower, self.settings.wait
        return Batch(follower, targets, at_once, wait, poll_interval, retry)

    def resume(self, *, poll_interval: float = MAX_INTERVAL) -> Stream[Job]:
        """Continue after a restart: resolve submissions of unknown outcome, follow unfinished jobs.

        A submission is looked up and adopted, or submitted again
        where it certainly was not received. Yields what ended
        unseen, then each job as it ends; `poll_interval` as `batch`.
        """
        return Stream(lambda: self._jobs.resume(self, self.settings.wait, poll_interval))

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

        return WebhookServer(self._jobs.receive, port)

    def frame(
        self, listing: Call[list[Job]] | Paginator[Job], ids: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Return the jobs of a listing as a DataFrame, with the same columns for every service.

        Args:
            listing: a call that returns jobs, or pages of them
            ids: the IDs that were asked for, in whose order the
                rows come; None keeps the listing's
        """
        return event_loop.run(fetch_frame(self._jobs.submitter, listing, ids))

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
        configured = [each.key for each in services.list_configured(self.settings)]
        apis = {key: self._apis[key] for key in configured}
        window = (parse_time(since), parse_time(until))
        return event_loop.run(sync(self.journal, apis, window, tags, on_progress))

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
        return Operation(partial(self._jobs.pictures.read, source, index))

    def find_picture_size(self, job_id: str) -> tuple[int, int] | None:
        """Return the size of the picture of the job `job_id`, or of its parent, where known."""
        # A recording may have scaled it down.
        return None if self.recording else self._jobs.pictures.find_size(job_id)

    def pictures(self, job: Job) -> Operation[list[Picture]]:
        """Fetch all images of a job; a 2×2 grid comes as its four images.

        Raises InvalidResponse where an image is not available
        (any more).
        """
        return Operation(partial(self._jobs.results.fetch_pictures, job))

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
        return Operation(partial(self._jobs.results.download, job, Path(folder), template))

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
        recorder = build_recorder(Path(folder), self.client.transport, self.settings, pixels)
        return Session(
            self.settings,
            clock=self.client.clock,
            transport=recorder,
            sandbox=self.sandbox,
            recording=recorder.folder.name,
        )

    def configure(self, **changes: Any) -> None:
        """Change settings of the running session.

        Raises SettingsError for a setting that is fixed when the
        session connects.

        Args:
            changes: wait, timeout, max_jobs, prices, …
        """
        self.settings = change_settings(self.settings, changes)
        self.client.transport.timeout = self.settings.timeout
        self._jobs.submitter.timeout = self.settings.timeout

    def close(self) -> None:
        """Close the connections and the journal. Using the session again opens new ones."""
        event_loop.run(self.client.transport.close())
        self.journal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def list_lazy_methods() -> dict[str, str]:
    """Return where the methods are that are no members of the class, by name."""
    return {**services.list_session_methods(), **LAZY_METHODS}
