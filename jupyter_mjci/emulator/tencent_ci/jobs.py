"""The picture jobs of Tencent CI: how they wait in queues, run and end, and how they are listed.

Nothing here waits. An `EventQueue` holds what will happen by
itself and when; `TencentCI.advance` lets it happen in order, each
event at its own time, so a job that is polled an hour late ended
an hour ago.

    Submitted --(queue_time, then a free slot of its queue)-->
    Running --(run_time)--> Success or Failed Submitted in a
    paused queue is reported as Pause;  Submitted or Pause
    --cancel--> Cancel
"""

from __future__ import annotations

import heapq
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from jupyter_mjci.emulator.cos.archive import check_readable
from jupyter_mjci.emulator.cos.processing import ImageProcessor
from jupyter_mjci.emulator.cos.store import Bucket, Store, StoredObject, no_such_bucket
from jupyter_mjci.emulator.tencent_ci.events import NEVER, EventQueue, IdGenerator
from jupyter_mjci.emulator.xml import Element, ErrorResponse, invalid_argument

JOB_STATES = ("Submitted", "Running", "Success", "Failed", "Pause", "Cancel")
TERMINAL_STATES = frozenset(("Success", "Failed", "Cancel"))
NOTIFY_FIELDS = ("State", "Url", "Event", "Type", "ResultFormat", "MqMode", "MqRegion", "MqName")


@dataclass(slots=True, eq=False)
class Queue:
    """A queue of a bucket: its settings, and the jobs that wait and run in it."""

    id: str
    name: str
    bucket: str
    category: str
    created: float
    updated: float
    state: str = "Active"
    max_concurrent: int = 10
    notify_config: Element = field(default_factory=dict)
    # a heap, see `push`
    waiting: list[tuple[int, int, Job]] = field(default_factory=list)
    running: int = 0

    def push(self, job: Job) -> None:
        """Let a job wait; the highest level comes first, then the oldest job."""
        heapq.heappush(self.waiting, (-job.spec.level, job.number, job))

    def has_free_slot(self) -> bool:
        """Return whether another job may run."""
        return self.state == "Active" and self.running < self.max_concurrent


@dataclass(slots=True, eq=False)
class Template:
    """A rule that jobs can name by an ID."""

    id: str
    bucket: str
    name: str
    rule: str
    wants_image_info: bool
    created: float
    updated: float


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a job does: its rule, where the result goes, and who is called back.

    `region` and `bucket` are those of the result.
    """

    rule: str
    wants_image_info: bool = False
    template_id: str = ""
    template_name: str = ""
    region: str = ""
    bucket: str = ""
    user_data: str = ""
    level: int = 0
    callback: Element = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobOrigin:
    """The batch, or the workflow's execution and node, that a job belongs to."""

    batch: str = ""
    run: str = ""
    workflow: str = ""
    node: str = ""

    def get_variables(self) -> dict[str, str]:
        """Return the variables that an output key may have for such a job."""
        variables = {"InventoryTriggerJobId": self.batch, "RunId": self.run}
        return {name: value for name, value in variables.items() if value}


NO_ORIGIN = JobOrigin()


@dataclass(slots=True, eq=False)
class Job:
    """A picture job. Times are epoch seconds, 0 for what has not happened."""

    number: int
    id: str
    bucket: str
    source: str
    output: str
    spec: JobSpec
    queue: Queue
    created: float
    state: str = "Submitted"
    started: float = 0.0
    ended: float = 0.0
    due: float = NEVER
    code: str = "Success"
    message: str = ""
    result_info: Element | None = None  # ImageInfo of the result
    # ImageInfo of the source
    original_info: Element | None = None
    original_etag: str = ""
    batch: str = ""
    run: str = ""
    workflow: str = ""
    node: str = ""
    stuck: bool = False  # a fault: no longer changes by itself

    @property
    def reported_state(self) -> str:
        """The state as the service reports it: a job that waits in a paused queue is paused."""
        if self.state == "Submitted" and self.queue.state == "Paused":
            return "Pause"
        return self.state


def build_output_key(pattern: str, source: str, variables: Mapping[str, str]) -> str:
    """Fill in the variables of an output key; an unknown variable stays as it is.

    Args:
        pattern: the key with variables like `${InputName}`, whose
            case does not matter
        source: the key of the source
        variables: further variables
    """
    path, _, file_name = source.rpartition("/")
    stem, dot, extension = file_name.rpartition(".")
    known = {
        "inputpath": path,
        "inputname": stem if dot else file_name,
        "ext": extension if dot else "",
        "number": "0",
    }
    for name, value in variables.items():
        known[name.lower()] = value

    def replace(match: re.Match[str]) -> str:
        return known.get(match[1].lower(), match[0])

    return re.sub(r"\$\{(\w{1,40})\}", replace, pattern).lstrip("/")


class Jobs:
    """All picture jobs of the account, in the order of their creation.

    `on_ended` is called with every job that has ended.
    """

    def __init__(
        self,
        store: Store,
        processor: ImageProcessor,
        ids: IdGenerator,
        events: EventQueue,
        *,
        queue_time: float,
        run_time: float,
    ) -> None:
        self.store = store
        self.processor = processor
        self.ids = ids
        self.events = events
        self.queue_time = queue_time
        self.run_time = run_time
        self.queues: dict[str, Queue] = {}
        self.last_number = 0
        self.by_id: dict[str, Job] = {}
        self.by_bucket: dict[str, list[Job]] = {}
        self.by_batch: dict[str, list[Job]] = {}
        self.on_ended: Callable[[Job, float], None]

    # -- the course of a job

    def submit(
        self,
        source: str,
        output: str,
        spec: JobSpec,
        queue: Queue,
        now: float,
        origin: JobOrigin = NO_ORIGIN,
    ) -> Job:
        """Create a job in the bucket of its queue; `output` may have variables."""
        self.last_number += 1
        job = Job(
            number=self.last_number,
            id=self.ids.new_id("c"),
            bucket=queue.bucket,
            source=source,
            output="",
            spec=spec,
            queue=queue,
            created=now,
            batch=origin.batch,
            run=origin.run,
            workflow=origin.workflow,
            node=origin.node,
        )
        job.output = build_output_key(output, source, origin.get_variables())
        self.add(job)
        self.events.schedule(job, now + self.queue_time)
        return job

    def add(self, job: Job) -> None:
        """Add a job to the indexes."""
        self.by_id[job.id] = job
        self.by_bucket.setdefault(job.bucket, []).append(job)
        if job.batch:
            self.by_batch.setdefault(job.batch, []).append(job)

    def process_due(self, jobs: Sequence[Job], now: float) -> None:
        """Let jobs whose time has come wait for a slot (if new) or end (if running)."""
        queues = {}
        for job in jobs:
            queues[job.queue.id] = job.queue
            if job.state == "Submitted":
                job.queue.push(job)
            elif job.state == "Running":
                job.queue.running -= 1
                self._finish(job, now)
        for queue in queues.values():
            self.dispatch(queue, now)

    def dispatch(self, queue: Queue, now: float) -> None:
        """Start waiting jobs while the queue has free slots."""
        while queue.waiting and queue.has_free_slot():
            job = heapq.heappop(queue.waiting)[2]
            if job.state == "Submitted" and not job.stuck:
                job.state = "Running"
                job.started = now
                queue.running += 1
                self.events.schedule(job, now + self.run_time)

    def _finish(self, job: Job, now: float) -> None:
        try:
            self._process(job, now)
        except ErrorResponse as error:
            job.code = error.code
            job.message = error.message
            self._end(job, "Failed", now)
        else:
            self._end(job, "Success", now)

    def _end(self, job: Job, state: str, now: float) -> None:
        job.state = state
        job.ended = now
        job.due = NEVER
        self.on_ended(job, now)

    def _process(self, job: Job, now: float) -> None:
        spec = job.spec
        bucket = self.store.buckets.get(job.bucket)
        target = self.store.buckets.get(spec.bucket)
        if bucket is None:
            raise no_such_bucket()
        if target is None or target.region != spec.region:
            message = f"The bucket {spec.bucket} cannot be written to."
            raise ErrorResponse(403, "WriteTargetBucketDenied", message)
        source = bucket.get(job.source.lstrip("/"))
        check_readable(source, now)
        result = self.processor.process(spec.rule, source, bucket)
        if spec.wants_image_info:
            job.original_info = self.processor.get_image_info(source)
            job.original_etag = source.etag
        job.result_info = result.info
        target.put(job.output, StoredObject(result.body, result.etag, now, result.content_type))

    def cancel(self, job: Job, now: float) -> None:
        """Cancel a job that waits; a cancelled job stays cancelled.

        Raises:
            ErrorResponse: the job runs or has ended
        """
        if job.state == "Cancel":
            return
        if job.state != "Submitted":
            raise invalid_argument(
                f"The job is {job.state}: only jobs not yet executed can be cancelled."
            )
        self._end(job, "Cancel", now)

    def freeze(self, job: Job) -> None:
        """Stop a job from changing by itself; if it runs, it keeps its slot."""
        job.stuck = True
        job.due = NEVER

    def forget(self, job: Job, now: float) -> None:
        """Forget a job; its batch or execution goes on without it."""
        del self.by_id[job.id]
        for jobs in (self.by_bucket[job.bucket], self.by_batch.get(job.batch, [])):
            if job in jobs:
                jobs.remove(job)
        if job.state == "Running":
            job.queue.running -= 1
        if job.state not in TERMINAL_STATES:
            self._end(job, "Cancel", now)
            self.dispatch(job.queue, now)

    # -- queues

    def create_queue(self, bucket: str, category: str, now: float) -> Queue:
        """Create a queue of a bucket for a category of work."""
        name = f"queue-{category}-1"
        queue = Queue(self.ids.new_id("p"), name, bucket, CATEGORIES[category], now, now)
        return self.queues.setdefault(queue.id, queue)

    def get_queues(self, bucket: str) -> list[Queue]:
        """Return the queues of a bucket."""
        return [queue for queue in self.queues.values() if queue.bucket == bucket]

    def pick_queue(self, bucket: str, queue_id: str) -> Queue:
        """Return the queue with this ID; for "", an active picture queue, else a paused one.

        Raises:
            ErrorResponse: the bucket has no such queue
        """
        queues = self.get_queues(bucket)
        if queue_id:
            queues = [queue for queue in queues if queue.id == queue_id]
        queues.sort(key=lambda queue: (queue.category != "PicProcess", queue.state != "Active"))
        if not queues:
            raise ErrorResponse(404, "QueueNotFound", "The specified queue does not exist.")
        return queues[0]

    # -- listings

    def get_page(
        self, bucket: Bucket, job_filter: JobFilter, size: int, start: int | None
    ) -> tuple[list[Job], str]:
        """Return one page of a listing, and the token of the next.

        The token is the number of the next page's first job, so
        that all pages together cost one walk over the jobs.
        """
        jobs = self.by_bucket.get(bucket.name, [])
        if job_filter.batch:
            jobs = self.by_batch.get(job_filter.batch, [])
        page: list[Job] = []
        for job in _iter_window(jobs, job_filter, start):
            if job.bucket == bucket.name and job_filter.matches(job):
                if len(page) == size:
                    return page, str(job.number)
                page.append(job)
        return page, ""


CATEGORIES = {
    "pic-process": "PicProcess",
    "media": "Transcoding",
    "ai": "AIProcess",
    "doc": "DocProcess",
}


@dataclass(frozen=True, slots=True)
class JobFilter:
    """The filter of a listing; empty fields match every job. Times are epoch seconds."""

    queue: str = ""
    states: frozenset[str] = frozenset()
    since: float = -NEVER
    until: float = NEVER
    workflow: str = ""
    batch: str = ""
    source: str = ""
    newest_first: bool = True

    def matches(self, job: Job) -> bool:
        """Return whether a job of the time window passes the rest of the filter."""
        return (
            (not self.states or job.reported_state in self.states)
            and (not self.queue or job.queue.id == self.queue)
            and (not self.workflow or job.workflow == self.workflow)
            and (not self.source or job.source.lstrip("/") == self.source)
        )


def _iter_window(jobs: Sequence[Job], job_filter: JobFilter, start: int | None) -> Iterator[Job]:
    """Yield the jobs of the time window in the filter's order, from job number `start` on.

    The jobs are sorted by time and by number, so both ends are
    found by bisection.
    """
    first = bisect_left(jobs, job_filter.since, key=_get_created_second)
    end = bisect_right(jobs, job_filter.until, key=_get_created_second)
    if job_filter.newest_first:
        if start is not None:
            end = min(end, bisect_right(jobs, start, key=_get_number))
        return (jobs[index] for index in range(end - 1, first - 1, -1))
    if start is not None:
        first = max(first, bisect_left(jobs, start, key=_get_number))
    return (jobs[index] for index in range(first, end))


def _get_created_second(job: Job) -> int:
    return math.floor(job.created)


def _get_number(job: Job) -> int:
    return job.number
