"""The jobs of Tencent CI: how they wait in queues, run and end; how they are told and listed.

Nothing here waits. An `EventQueue` holds what will happen by itself and when; `Jobs.advance(now)` lets
it happen in order, each thing at its own moment, so a job that nobody looked at for an hour ended
an hour ago.

    Submitted --(WAIT, then a free place in its queue)--> Running --(WORK)--> Success or Failed
    Submitted in a paused queue is told as Pause;  Submitted or Pause --cancel--> Cancel
"""

from __future__ import annotations

import hashlib
import heapq
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from jupyter_mjci.emulator.cos.store import Bucket, Store, StoredObject
from jupyter_mjci.emulator.tencent_ci.processing import ImageProcessor
from jupyter_mjci.emulator.tencent_ci.xml import Element, ErrorResponse, invalid_argument

JOB_STATES = ("Submitted", "Running", "Success", "Failed", "Pause", "Cancel")
TERMINAL_STATES = frozenset(("Success", "Failed", "Cancel"))
NOTIFY_FIELDS = ("State", "Url", "Event", "Type", "ResultFormat", "MqMode", "MqRegion", "MqName")
NEVER = math.inf
CHINA_TZ = timezone(timedelta(hours=8))


def format_time(timestamp: float) -> str:
    """`2024-05-01T10:00:00+0800`, or `-` for what has not happened."""
    return (
        datetime.fromtimestamp(timestamp, CHINA_TZ).strftime("%Y-%m-%dT%H:%M:%S+0800")
        if timestamp
        else "-"
    )


def parse_time(value: str) -> float:
    """A time as users spell it; the `+` of the zone is forgiven when it came as a blank."""
    found = re.fullmatch(
        r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(Z|[+ -]\d\d:?\d\d)?", value.strip(), re.ASCII
    )
    try:
        if found:
            zone = (found[2] or "+0800").replace(" ", "+").replace("Z", "+0000")
            return datetime.fromisoformat(found[1] + zone).timestamp()
    except (ValueError, OverflowError):
        pass
    raise invalid_argument(f"{value!r} is not a time like 2001-01-01T00:00:00+0800.")


class IdGenerator:
    """Identifiers in the services' shape (a letter and 32 hex digits), the same for the same seed
    and order.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.count = 0

    def new_id(self, prefix: str) -> str:
        self.count += 1
        return prefix + self.digest(f"{prefix} {self.count}")

    def digest(self, text: str) -> str:
        return hashlib.sha256(f"{self.seed} {text}".encode()).hexdigest()[:32]


class EventQueue:
    """What happens by itself, and when. An item's `due` says which of its entries still holds."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Any]] = []
        self._count = 0

    def clear(self) -> None:
        self._heap.clear()

    def schedule(self, item: Any, due: float) -> None:
        item.due = due
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, item))

    def next_due(self) -> float | None:
        while self._heap and self._heap[0][2].due != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: float) -> list[Any]:
        """All items of the earliest moment that has come, in the order in which they were put
        down.
        """
        due = self.next_due()
        if due is None or due > now:
            return []
        items = []
        while self.next_due() == due:
            item = heapq.heappop(self._heap)[2]
            item.due = NEVER
            items.append(item)
        return items


@dataclass(slots=True, eq=False)
class Queue:
    id: str
    name: str
    bucket: str
    category: str
    created: float
    updated: float
    state: str = "Active"
    max_concurrent: int = 10
    notify_config: Element = field(default_factory=dict)
    waiting: list[tuple[int, int, Job]] = field(default_factory=list)
    running: int = 0


@dataclass(slots=True, eq=False)
class Template:
    id: str
    bucket: str
    name: str
    rule: str
    wants_image_info: bool
    created: float
    updated: float


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What a job shall do: a template or a rule, where the result goes, who is told."""

    rule: str
    wants_image_info: bool = False
    template_id: str = ""
    template_name: str = ""
    region: str = ""
    bucket: str = ""
    user_data: str = ""
    level: int = 0
    callback: Element = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Job:
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
    result_info: Element | None = None  # the facts of the picture it made
    original_info: Element | None = None  # the facts of the picture it was made from
    original_etag: str = ""
    batch: str = ""
    run: str = ""
    workflow: str = ""
    node: str = ""
    stuck: bool = False  # changes no more by itself: a fault asked for

    @property
    def reported_state(self) -> str:
        """The state as the service tells it: what waits in a paused queue is paused."""
        return "Pause" if self.state == "Submitted" and self.queue.state == "Paused" else self.state


def build_output_key(pattern: str, source: str, variables: Mapping[str, str]) -> str:
    """The output object with its variables filled in; an unknown variable stays as it is
    written.
    """
    path, _, last = source.rpartition("/")
    name, dot, ext = last.rpartition(".")
    known = {
        "inputpath": path,
        "inputname": name if dot else last,
        "ext": ext if dot else "",
        "number": "0",
        **{key.lower(): value for key, value in variables.items()},
    }
    return re.sub(
        r"\$\{(\w{1,40})\}", lambda found: known.get(found[1].lower(), found[0]), pattern
    ).lstrip("/")


class Jobs:
    """All picture jobs of the account, in the order of their creation."""

    def __init__(
        self,
        store: Store,
        pictures: ImageProcessor,
        ids: IdGenerator,
        events: EventQueue,
        *,
        queue_time: float,
        run_time: float,
    ) -> None:
        self.store = store
        self.pictures = pictures
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

    # -- what happens

    def submit(
        self,
        bucket: str,
        source: str,
        output: str,
        spec: JobSpec,
        queue: Queue,
        now: float,
        **of: str,
    ) -> Job:
        """A new job; `of` says of which batch, run, workflow and node it is."""
        self.last_number += 1
        job = Job(
            self.last_number, self.ids.new_id("c"), bucket, source, "", spec, queue, now, **of
        )  # type: ignore[arg-type]
        facts = {"InventoryTriggerJobId": job.batch, "RunId": job.run}
        job.output = build_output_key(
            output, source, {name: value for name, value in facts.items() if value}
        )
        self.add(job)
        self.events.schedule(job, now + self.queue_time)
        return job

    def add(self, job: Job) -> None:
        self.by_id[job.id] = job
        self.by_bucket.setdefault(job.bucket, []).append(job)
        if job.batch:
            self.by_batch.setdefault(job.batch, []).append(job)

    def process_due(self, jobs: Sequence[Job], now: float) -> None:
        """These jobs' moment has come: those that waited ask for a place, those that ran have
        ended.
        """
        queues = {}
        for job in jobs:
            queues[job.queue.id] = job.queue
            if job.state == "Submitted":
                heapq.heappush(job.queue.waiting, (-job.spec.level, job.number, job))
            elif job.state == "Running":
                job.queue.running -= 1
                self._finish(job, now)
        for queue in queues.values():
            self.dispatch(queue, now)

    def dispatch(self, queue: Queue, now: float) -> None:
        """Gives the queue's free places to those who wait, the highest level first."""
        while queue.state == "Active" and queue.running < queue.max_concurrent and queue.waiting:
            job = heapq.heappop(queue.waiting)[2]
            if job.state == "Submitted" and not job.stuck:
                job.state, job.started = "Running", now
                queue.running += 1
                self.events.schedule(job, now + self.run_time)

    def _finish(self, job: Job, now: float) -> None:
        job.ended = now
        try:
            self._process(job, now)
            job.state = "Success"
        except ErrorResponse as refusal:
            job.state, job.code, job.message = "Failed", refusal.code, refusal.message
        self.on_ended(job, now)

    def _process(self, job: Job, now: float) -> None:
        bucket = self.store.buckets.get(job.bucket)
        target = self.store.buckets.get(job.spec.bucket)
        if bucket is None:
            raise ErrorResponse(404, "NoSuchBucket", "The specified bucket does not exist.")
        if target is None or target.region != job.spec.region:
            raise ErrorResponse(
                403,
                "WriteTargetBucketDenied",
                f"The bucket {job.spec.bucket} cannot be written to.",
            )
        source = bucket.get(job.source.lstrip("/"))
        made = self.pictures.process(job.spec.rule, source, bucket)
        if job.spec.wants_image_info:
            job.original_info, job.original_etag = self.pictures.get_image_info(source), source.etag
        job.result_info = made.info
        target.put(job.output, StoredObject(made.body, made.etag, now, made.content_type))

    def cancel(self, job: Job, now: float) -> None:
        if job.state == "Cancel":
            return
        if job.state != "Submitted":
            raise invalid_argument(
                f"The job is {job.state}: only jobs not yet executed can be cancelled."
            )
        job.state, job.ended, job.due = "Cancel", now, NEVER
        self.on_ended(job, now)

    def freeze(self, job: Job) -> None:
        """The job changes no more by itself; if it runs, it keeps its place."""
        job.stuck, job.due = True, NEVER

    def forget(self, job: Job, now: float) -> None:
        """Nobody knows the job any more; what it belongs to goes on without it."""
        del self.by_id[job.id]
        for rows in (self.by_bucket[job.bucket], self.by_batch.get(job.batch, [])):
            if job in rows:
                rows.remove(job)
        if job.state == "Running":
            job.queue.running -= 1
        if job.state not in TERMINAL_STATES:
            job.state, job.ended, job.due = "Cancel", now, NEVER
            self.on_ended(job, now)
            self.dispatch(job.queue, now)

    # -- queues

    def create_queue(self, bucket: str, category: str, now: float) -> Queue:
        name = f"queue-{category}-1"
        queue = Queue(self.ids.new_id("p"), name, bucket, CATEGORIES[category], now, now)
        return self.queues.setdefault(queue.id, queue)

    def get_queues(self, bucket: str) -> list[Queue]:
        return [queue for queue in self.queues.values() if queue.bucket == bucket]

    def pick_queue(self, bucket: str, queue_id: str) -> Queue:
        """The queue asked for; else an active picture queue of the bucket, else a paused one."""
        mine = self.get_queues(bucket)
        if queue_id:
            mine = [queue for queue in mine if queue.id == queue_id]
        mine.sort(key=lambda queue: (queue.category != "PicProcess", queue.state != "Active"))
        if not mine:
            raise ErrorResponse(404, "QueueNotFound", "The specified queue does not exist.")
        return mine[0]

    # -- lists

    def get_page(
        self, bucket: Bucket, job_filter: JobFilter, size: int, after: int | None
    ) -> tuple[list[Job], str]:
        """One page, and the token of the next: the number of its first job. Pages together cost one
        walk.
        """
        rows = (
            self.by_batch.get(job_filter.batch, [])
            if job_filter.batch
            else self.by_bucket.get(bucket.name, [])
        )
        found: list[Job] = []
        for job in _iter_window(rows, job_filter, after):
            if job.bucket == bucket.name and job_filter.matches(job):
                if len(found) == size:
                    return found, str(job.number)
                found.append(job)
        return found, ""


CATEGORIES = {
    "pic-process": "PicProcess",
    "media": "Transcoding",
    "ai": "AIProcess",
    "doc": "DocProcess",
}


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs a list shall hold. Empty means every."""

    queue: str = ""
    states: frozenset[str] = frozenset()
    since: float = -NEVER
    until: float = NEVER
    workflow: str = ""
    batch: str = ""
    source: str = ""
    newest_first: bool = True

    def matches(self, job: Job) -> bool:
        return (
            (not self.states or job.reported_state in self.states)
            and (not self.queue or job.queue.id == self.queue)
            and (not self.workflow or job.workflow == self.workflow)
            and (not self.source or job.source.lstrip("/") == self.source)
        )


def _iter_window(rows: Sequence[Job], job_filter: JobFilter, after: int | None) -> Iterator[Job]:
    """The rows of the time window in the order asked for, from the job with the number `after`
    on.
    """
    first = bisect_left(rows, job_filter.since, key=lambda job: math.floor(job.created))
    last = bisect_right(rows, job_filter.until, key=lambda job: math.floor(job.created))
    if job_filter.newest_first:
        if after is not None:
            last = min(last, bisect_right(rows, after, key=lambda job: job.number))
        return (rows[at] for at in range(last - 1, first - 1, -1))
    if after is not None:
        first = max(first, bisect_left(rows, after, key=lambda job: job.number))
    return (rows[at] for at in range(first, last))


# -- how a job is told


def render_job(job: Job, region: str) -> Element:
    """The content of JobsDetail, in the order of the service's own samples."""
    task = job.spec
    tree: Element = {
        "Code": job.code,
        "Message": job.message,
        "JobId": job.id,
        "State": job.reported_state,
        "CreationTime": format_time(job.created),
        "EndTime": format_time(job.ended),
        "StartTime": format_time(job.started),
        "QueueId": job.queue.id,
        "Tag": "PicProcess",
        "Input": {"BucketId": job.bucket, "Object": job.source, "Region": region},
        "Operation": {
            "Output": {"Bucket": task.bucket, "Object": job.output, "Region": task.region}
        },
    }
    operation: Element = tree["Operation"]
    if task.template_id:
        operation |= {"TemplateId": task.template_id, "TemplateName": task.template_name}
    else:
        operation["PicProcess"] = {"IsPicInfo": task.wants_image_info, "ProcessRule": task.rule}
    if job.result_info is not None:
        operation["PicProcessResult"] = render_process_result(job)
    if task.user_data:
        operation["UserData"] = task.user_data
    operation["JobLevel"] = task.level
    if job.run:
        tree["Workflow"] = {"RunId": job.run, "WorkflowId": job.workflow, "Name": job.node}
    return tree


def render_process_result(job: Job) -> Element:
    tree: Element = {"ObjectName": job.output}
    if job.original_info is not None:
        tree["OriginalInfo"] = {"Etag": job.original_etag, "ImageInfo": job.original_info}
    tree["ProcessResult"] = {"Etag": "", **(job.result_info or {})}
    return tree


def render_template(template: Template) -> Element:
    return {
        "Tag": "PicProcess",
        "TemplateId": template.id,
        "Name": template.name,
        "BucketId": template.bucket,
        "Category": "Custom",
        "PicProcess": {"IsPicInfo": template.wants_image_info, "ProcessRule": template.rule},
        "CreateTime": format_time(template.created),
        "UpdateTime": format_time(template.updated),
    }


def render_queue(queue: Queue) -> Element:
    return {
        "QueueId": queue.id,
        "Name": queue.name,
        "State": queue.state,
        "MaxSize": 10000,
        "MaxConcurrent": queue.max_concurrent,
        "Category": queue.category,
        "BucketId": queue.bucket,
        "CreateTime": format_time(queue.created),
        "UpdateTime": format_time(queue.updated),
        "NotifyConfig": {
            name: queue.notify_config.get(name, "Off" if name == "State" else "")
            for name in NOTIFY_FIELDS
        },
    }


def render_binding(bucket: Bucket) -> Element:
    short = bucket.name.rpartition("-")[0] or bucket.name
    return {
        "BucketId": bucket.name,
        "Name": short,
        "Region": bucket.region,
        "CreateTime": format_time(bucket.created),
    }
