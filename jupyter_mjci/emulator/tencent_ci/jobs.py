"""The jobs of Tencent CI: how they wait in queues, run and end; how they are told and listed.

Nothing here waits. An `Agenda` holds what will happen by itself and when; `Jobs.advance(now)` lets
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

from jupyter_mjci.emulator.cos.store import Bucket, Store, Stored
from jupyter_mjci.emulator.tencent_ci.processing import Pictures
from jupyter_mjci.emulator.tencent_ci.xml import Refused, Tree, invalid

STATES = ("Submitted", "Running", "Success", "Failed", "Pause", "Cancel")
ENDED = frozenset(("Success", "Failed", "Cancel"))
NOTIFY_FIELDS = ("State", "Url", "Event", "Type", "ResultFormat", "MqMode", "MqRegion", "MqName")
NEVER = math.inf
CHINA = timezone(timedelta(hours=8))


def stamp(moment: float) -> str:
    """`2024-05-01T10:00:00+0800`, or `-` for what has not happened."""
    return (
        datetime.fromtimestamp(moment, CHINA).strftime("%Y-%m-%dT%H:%M:%S+0800") if moment else "-"
    )


def moment(spelled: str) -> float:
    """A time as users spell it; the `+` of the zone is forgiven when it came as a blank."""
    found = re.fullmatch(
        r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(Z|[+ -]\d\d:?\d\d)?", spelled.strip(), re.ASCII
    )
    try:
        if found:
            zone = (found[2] or "+0800").replace(" ", "+").replace("Z", "+0000")
            return datetime.fromisoformat(found[1] + zone).timestamp()
    except (ValueError, OverflowError):
        pass
    raise invalid(f"{spelled!r} is not a time like 2001-01-01T00:00:00+0800.")


class Names:
    """Identifiers in the services' shape (a letter and 32 hex digits), the same for the same seed
    and order.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.count = 0

    def new(self, letter: str) -> str:
        self.count += 1
        return letter + self.digest(f"{letter} {self.count}")

    def digest(self, text: str) -> str:
        return hashlib.sha256(f"{self.seed} {text}".encode()).hexdigest()[:32]


class Agenda:
    """What happens by itself, and when. An item's `due` says which of its entries still holds."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Any]] = []
        self._count = 0

    def clear(self) -> None:
        self._heap.clear()

    def put(self, item: Any, due: float) -> None:
        item.due = due
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, item))

    def next(self) -> float | None:
        while self._heap and self._heap[0][2].due != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def pop(self, now: float) -> list[Any]:
        """All items of the earliest moment that has come, in the order in which they were put
        down.
        """
        due = self.next()
        if due is None or due > now:
            return []
        items = []
        while self.next() == due:
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
    most: int = 10
    notify: Tree = field(default_factory=dict)
    waiting: list[tuple[int, int, Job]] = field(default_factory=list)
    running: int = 0


@dataclass(slots=True, eq=False)
class Template:
    id: str
    bucket: str
    name: str
    rule: str
    with_info: bool
    created: float
    updated: float


@dataclass(frozen=True, slots=True)
class Task:
    """What a job shall do: a template or a rule, where the result goes, who is told."""

    rule: str
    with_info: bool = False
    template_id: str = ""
    template_name: str = ""
    region: str = ""
    bucket: str = ""
    user_data: str = ""
    level: int = 0
    callback: Tree = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Job:
    number: int
    id: str
    bucket: str
    source: str
    output: str
    task: Task
    queue: Queue
    created: float
    state: str = "Submitted"
    started: float = 0.0
    ended: float = 0.0
    due: float = NEVER
    code: str = "Success"
    message: str = ""
    told: Tree | None = None  # the facts of the picture it made
    original: Tree | None = None  # the facts of the picture it was made from
    original_etag: str = ""
    batch: str = ""
    run: str = ""
    workflow: str = ""
    node: str = ""
    stuck: bool = False  # changes no more by itself: a fault asked for

    @property
    def shown(self) -> str:
        """The state as the service tells it: what waits in a paused queue is paused."""
        return "Pause" if self.state == "Submitted" and self.queue.state == "Paused" else self.state


def output_name(pattern: str, source: str, facts: Mapping[str, str]) -> str:
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
        **{key.lower(): value for key, value in facts.items()},
    }
    return re.sub(
        r"\$\{(\w{1,40})\}", lambda found: known.get(found[1].lower(), found[0]), pattern
    ).lstrip("/")


class Jobs:
    """All picture jobs of the account, in the order of their creation."""

    def __init__(
        self,
        store: Store,
        pictures: Pictures,
        names: Names,
        agenda: Agenda,
        *,
        wait: float,
        work: float,
    ) -> None:
        self.store = store
        self.pictures = pictures
        self.names = names
        self.agenda = agenda
        self.wait = wait
        self.work = work
        self.queues: dict[str, Queue] = {}
        self.count = 0
        self.by_id: dict[str, Job] = {}
        self.of_bucket: dict[str, list[Job]] = {}
        self.of_batch: dict[str, list[Job]] = {}
        self.ended: Callable[[Job, float], None]

    # -- what happens

    def submit(
        self, bucket: str, source: str, output: str, task: Task, queue: Queue, now: float, **of: str
    ) -> Job:
        """A new job; `of` says of which batch, run, workflow and node it is."""
        self.count += 1
        job = Job(self.count, self.names.new("c"), bucket, source, "", task, queue, now, **of)  # type: ignore[arg-type]
        facts = {"InventoryTriggerJobId": job.batch, "RunId": job.run}
        job.output = output_name(
            output, source, {name: value for name, value in facts.items() if value}
        )
        self.enter(job)
        self.agenda.put(job, now + self.wait)
        return job

    def enter(self, job: Job) -> None:
        self.by_id[job.id] = job
        self.of_bucket.setdefault(job.bucket, []).append(job)
        if job.batch:
            self.of_batch.setdefault(job.batch, []).append(job)

    def happen(self, jobs: Sequence[Job], now: float) -> None:
        """These jobs' moment has come: those that waited ask for a place, those that ran have
        ended.
        """
        queues = {}
        for job in jobs:
            queues[job.queue.id] = job.queue
            if job.state == "Submitted":
                heapq.heappush(job.queue.waiting, (-job.task.level, job.number, job))
            elif job.state == "Running":
                job.queue.running -= 1
                self._finish(job, now)
        for queue in queues.values():
            self.dispatch(queue, now)

    def dispatch(self, queue: Queue, now: float) -> None:
        """Gives the queue's free places to those who wait, the highest level first."""
        while queue.state == "Active" and queue.running < queue.most and queue.waiting:
            job = heapq.heappop(queue.waiting)[2]
            if job.state == "Submitted" and not job.stuck:
                job.state, job.started = "Running", now
                queue.running += 1
                self.agenda.put(job, now + self.work)

    def _finish(self, job: Job, now: float) -> None:
        job.ended = now
        try:
            self._process(job, now)
            job.state = "Success"
        except Refused as refusal:
            job.state, job.code, job.message = "Failed", refusal.code, refusal.message
        self.ended(job, now)

    def _process(self, job: Job, now: float) -> None:
        bucket = self.store.buckets.get(job.bucket)
        target = self.store.buckets.get(job.task.bucket)
        if bucket is None:
            raise Refused(404, "NoSuchBucket", "The specified bucket does not exist.")
        if target is None or target.region != job.task.region:
            raise Refused(
                403,
                "WriteTargetBucketDenied",
                f"The bucket {job.task.bucket} cannot be written to.",
            )
        source = bucket.get(job.source.lstrip("/"))
        made = self.pictures.make(job.task.rule, source, bucket)
        if job.task.with_info:
            job.original, job.original_etag = self.pictures.told(source), source.etag
        job.told = made.facts
        target.put(job.output, Stored(made.body, made.etag, now, made.content_type))

    def cancel(self, job: Job, now: float) -> None:
        if job.state == "Cancel":
            return
        if job.state != "Submitted":
            raise invalid(f"The job is {job.state}: only jobs not yet executed can be cancelled.")
        job.state, job.ended, job.due = "Cancel", now, NEVER
        self.ended(job, now)

    def freeze(self, job: Job) -> None:
        """The job changes no more by itself; if it runs, it keeps its place."""
        job.stuck, job.due = True, NEVER

    def forget(self, job: Job, now: float) -> None:
        """Nobody knows the job any more; what it belongs to goes on without it."""
        del self.by_id[job.id]
        for rows in (self.of_bucket[job.bucket], self.of_batch.get(job.batch, [])):
            if job in rows:
                rows.remove(job)
        if job.state == "Running":
            job.queue.running -= 1
        if job.state not in ENDED:
            job.state, job.ended, job.due = "Cancel", now, NEVER
            self.ended(job, now)
            self.dispatch(job.queue, now)

    # -- queues

    def new_queue(self, bucket: str, category: str, now: float) -> Queue:
        name = f"queue-{category}-1"
        queue = Queue(self.names.new("p"), name, bucket, CATEGORIES[category], now, now)
        return self.queues.setdefault(queue.id, queue)

    def queues_of(self, bucket: str) -> list[Queue]:
        return [queue for queue in self.queues.values() if queue.bucket == bucket]

    def pick_queue(self, bucket: str, asked: str) -> Queue:
        """The queue asked for; else an active picture queue of the bucket, else a paused one."""
        mine = self.queues_of(bucket)
        if asked:
            mine = [queue for queue in mine if queue.id == asked]
        mine.sort(key=lambda queue: (queue.category != "PicProcess", queue.state != "Active"))
        if not mine:
            raise Refused(404, "QueueNotFound", "The specified queue does not exist.")
        return mine[0]

    # -- lists

    def page(
        self, bucket: Bucket, asked: Filter, size: int, after: int | None
    ) -> tuple[list[Job], str]:
        """One page, and the token of the next: the number of its first job. Pages together cost one
        walk.
        """
        rows = (
            self.of_batch.get(asked.batch, [])
            if asked.batch
            else self.of_bucket.get(bucket.name, [])
        )
        found: list[Job] = []
        for job in _walk(rows, asked, after):
            if job.bucket == bucket.name and asked.holds(job):
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
class Filter:
    """Which jobs a list shall hold. Empty means every."""

    queue: str = ""
    states: frozenset[str] = frozenset()
    since: float = -NEVER
    until: float = NEVER
    workflow: str = ""
    batch: str = ""
    source: str = ""
    newest_first: bool = True

    def holds(self, job: Job) -> bool:
        return (
            (not self.states or job.shown in self.states)
            and (not self.queue or job.queue.id == self.queue)
            and (not self.workflow or job.workflow == self.workflow)
            and (not self.source or job.source.lstrip("/") == self.source)
        )


def _walk(rows: Sequence[Job], asked: Filter, after: int | None) -> Iterator[Job]:
    """The rows of the time window in the order asked for, from the job with the number `after`
    on.
    """
    first = bisect_left(rows, asked.since, key=lambda job: math.floor(job.created))
    last = bisect_right(rows, asked.until, key=lambda job: math.floor(job.created))
    if asked.newest_first:
        if after is not None:
            last = min(last, bisect_right(rows, after, key=lambda job: job.number))
        return (rows[at] for at in range(last - 1, first - 1, -1))
    if after is not None:
        first = max(first, bisect_left(rows, after, key=lambda job: job.number))
    return (rows[at] for at in range(first, last))


# -- how a job is told


def detail(job: Job, region: str) -> Tree:
    """The content of JobsDetail, in the order of the service's own samples."""
    task = job.task
    tree: Tree = {
        "Code": job.code,
        "Message": job.message,
        "JobId": job.id,
        "State": job.shown,
        "CreationTime": stamp(job.created),
        "EndTime": stamp(job.ended),
        "StartTime": stamp(job.started),
        "QueueId": job.queue.id,
        "Tag": "PicProcess",
        "Input": {"BucketId": job.bucket, "Object": job.source, "Region": region},
        "Operation": {
            "Output": {"Bucket": task.bucket, "Object": job.output, "Region": task.region}
        },
    }
    operation: Tree = tree["Operation"]
    if task.template_id:
        operation |= {"TemplateId": task.template_id, "TemplateName": task.template_name}
    else:
        operation["PicProcess"] = {"IsPicInfo": task.with_info, "ProcessRule": task.rule}
    if job.told is not None:
        operation["PicProcessResult"] = result(job)
    if task.user_data:
        operation["UserData"] = task.user_data
    operation["JobLevel"] = task.level
    if job.run:
        tree["Workflow"] = {"RunId": job.run, "WorkflowId": job.workflow, "Name": job.node}
    return tree


def result(job: Job) -> Tree:
    tree: Tree = {"ObjectName": job.output}
    if job.original is not None:
        tree["OriginalInfo"] = {"Etag": job.original_etag, "ImageInfo": job.original}
    tree["ProcessResult"] = {"Etag": "", **(job.told or {})}
    return tree


def template_detail(template: Template) -> Tree:
    return {
        "Tag": "PicProcess",
        "TemplateId": template.id,
        "Name": template.name,
        "BucketId": template.bucket,
        "Category": "Custom",
        "PicProcess": {"IsPicInfo": template.with_info, "ProcessRule": template.rule},
        "CreateTime": stamp(template.created),
        "UpdateTime": stamp(template.updated),
    }


def queue_detail(queue: Queue) -> Tree:
    return {
        "QueueId": queue.id,
        "Name": queue.name,
        "State": queue.state,
        "MaxSize": 10000,
        "MaxConcurrent": queue.most,
        "Category": queue.category,
        "BucketId": queue.bucket,
        "CreateTime": stamp(queue.created),
        "UpdateTime": stamp(queue.updated),
        "NotifyConfig": {
            name: queue.notify.get(name, "Off" if name == "State" else "") for name in NOTIFY_FIELDS
        },
    }


def binding_detail(bucket: Bucket) -> Tree:
    short = bucket.name.rpartition("-")[0] or bucket.name
    return {
        "BucketId": bucket.name,
        "Name": short,
        "Region": bucket.region,
        "CreateTime": stamp(bucket.created),
    }
