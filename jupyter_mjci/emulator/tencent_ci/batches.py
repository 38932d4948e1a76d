"""Many pictures at once: batches (inventory jobs), workflows, and a workflow's executions.

A batch is created Running, finds its objects a moment later, and ends when the last of its children
has ended: jobs of its own (Type=Job), or executions of workflows (Type=Workflow), whose nodes are
jobs in turn.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

from jupyter_mjci.emulator.cos.store import Bucket, Store
from jupyter_mjci.emulator.tencent_ci.jobs import (
    NEVER,
    Agenda,
    Job,
    Jobs,
    Names,
    Task,
    moment,
    stamp,
)
from jupyter_mjci.emulator.tencent_ci.xml import Refused, Tree, branch, every, text

INPUTS = ("Manifest", "UrlFile", "Prefix", "Object")
IMAGES = frozenset(("jpg", "jpeg", "png", "bmp", "gif", "webp", "heif", "heic", "avif", "tpg"))


@dataclass(slots=True, eq=False)
class Batch:
    id: str
    bucket: str
    name: str
    kind: str  # "Job" or "Workflow"
    input: Tree
    operation: Tree
    created: float
    task: Task | None = None  # what a Type=Job batch does to each object
    output: str = ""
    queue: str = ""
    workflows: tuple[str, ...] = ()
    since: float = -NEVER
    until: float = NEVER
    state: str = "Running"
    started: float = 0.0
    ended: float = 0.0
    due: float = NEVER
    open: int = 0  # children that have not ended
    code: str = "Success"
    message: str = ""


@dataclass(slots=True, eq=False)
class Workflow:
    id: str
    bucket: str
    name: str
    state: str
    topology: Tree
    created: float
    updated: float

    @property
    def start(self) -> Tree:
        return branch(self.topology, "Nodes/Start/Input")

    def after(self, node: str) -> list[str]:
        """The nodes that depend on this one."""
        spelled = every(self.topology, f"Dependencies/{node}")
        names = [
            name.strip() for part in spelled if isinstance(part, str) for name in part.split(",")
        ]
        return [name for name in names if name and name != "End"]

    def wants(self, key: str) -> bool:
        """Whether the workflow's own filter lets this object in."""
        rules = branch(self.start, "ExtFilter")
        if text(rules, "State") != "On" or text(rules, "AllFile") == "true":
            return True
        ext = key.rpartition(".")[2].lower()
        own = (
            text(rules, "CustomExts").lower().split("/") if text(rules, "Custom") == "true" else []
        )
        return ext in own or (text(rules, "Image") == "true" and ext in IMAGES)


@dataclass(slots=True, eq=False)
class Execution:
    number: int
    id: str
    bucket: str
    source: str
    workflow: Workflow
    created: float
    batch: str = ""
    name: str = ""
    state: str = "Running"
    ended: float = 0.0
    open: int = 0
    jobs: list[Job] = field(default_factory=list)
    unfit: list[Tree] = field(default_factory=list)  # nodes that could not become a job


class Batches:
    """Batches, workflows and executions of the account; makes the jobs that they consist of."""

    def __init__(self, store: Store, jobs: Jobs, names: Names, agenda: Agenda) -> None:
        self.store = store
        self.jobs = jobs
        self.names = names
        self.agenda = agenda
        self.batches: dict[str, Batch] = {}
        self.workflows: dict[str, Workflow] = {}
        self.executions: dict[str, Execution] = {}
        self.node_task: Callable[[Workflow, Tree], Task]
        self.finished: Callable[[Execution], None]

    # -- batches

    def create(self, batch: Batch) -> Batch:
        self.batches[batch.id] = batch
        self.agenda.put(batch, batch.created + self.jobs.wait)
        return batch

    def expand(self, batch: Batch, now: float) -> None:
        """The batch's moment has come: find its objects, make its children."""
        if batch.state != "Running":
            return
        batch.started = now
        batch.open += 1  # itself, so that a child that ends at once does not end the batch
        try:
            for key in self._objects(batch):
                self._child(batch, key, now)
        except Refused as refusal:
            batch.code, batch.message = refusal.code, refusal.message
        self._closed(batch.id, now)

    def _objects(self, batch: Batch) -> list[str]:
        bucket = self.store.buckets.get(batch.bucket)
        if bucket is None:
            raise Refused(404, "NoSuchBucket", "The specified bucket does not exist.")
        keys = named_objects(batch.input, bucket, self.store)
        return [key for key in keys if self._in_time(batch, bucket, key)]

    def _in_time(self, batch: Batch, bucket: Bucket, key: str) -> bool:
        thing = bucket.objects.get(key)
        return thing is None or batch.since <= thing.modified <= batch.until

    def _child(self, batch: Batch, key: str, now: float) -> None:
        if batch.kind == "Job" and batch.task:
            batch.open += 1
            queue = self.jobs.pick_queue(batch.bucket, batch.queue)
            self.jobs.submit(
                batch.bucket, key, batch.output, batch.task, queue, now, batch=batch.id
            )
            return
        for name in batch.workflows:
            workflow = self.workflows.get(name)
            if workflow is None or workflow.bucket != batch.bucket:
                raise Refused(404, "ResourceNotFound", f"The workflow {name} does not exist.")
            if workflow.wants(key):
                batch.open += 1
                self.execute(workflow, key, now, batch=batch.id)

    def _closed(self, batch_id: str, now: float) -> None:
        """A child of the batch has ended."""
        batch = self.batches.get(batch_id)
        if batch is None:
            return
        batch.open -= 1
        if batch.open == 0 and batch.state == "Running":
            batch.state, batch.ended = "Failed" if batch.code != "Success" else "Success", now

    def cancel(self, batch: Batch, now: float) -> None:
        """What has not begun does not begin; what runs goes on."""
        if batch.state != "Running":
            return
        batch.state, batch.ended, batch.due = "Cancel", now, NEVER
        children = list(self.jobs.of_batch.get(batch.id, ()))
        for execution in self.executions.values():
            if execution.batch == batch.id:
                children += execution.jobs
        for job in children:
            if job.state == "Submitted":
                self.jobs.cancel(job, now)

    def freeze(self, batch: Batch) -> None:
        """It neither begins nor ends by itself."""
        batch.due = NEVER
        batch.open += 1

    # -- executions

    def execute(
        self, workflow: Workflow, key: str, now: float, *, batch: str = "", name: str = ""
    ) -> Execution:
        number = len(self.executions) + 1
        execution = Execution(
            number, self.names.new("i"), workflow.bucket, key, workflow, now, batch, name
        )
        self.executions[execution.id] = execution
        execution.open = 1
        self._follow(execution, "Start", key, now)
        self._step(execution, now)
        return execution

    def _follow(self, execution: Execution, node: str, source: str, now: float) -> None:
        """Starts the nodes behind this one, each once."""
        workflow = execution.workflow
        begun = {job.node for job in execution.jobs} | {row["Name"] for row in execution.unfit}
        for name in workflow.after(node):
            if name in begun:
                continue
            spelled = branch(workflow.topology, f"Nodes/{name}")
            try:
                task = self.node_task(workflow, spelled)
                queue = self.jobs.pick_queue(workflow.bucket, text(workflow.start, "QueueId"))
            except Refused as refusal:
                reason = {"Code": refusal.code, "Message": refusal.message}
                execution.unfit.append({"Name": name, "Type": text(spelled, "Type"), **reason})
                continue
            execution.open += 1
            output = text(spelled, "Operation/Output/Object")
            of = {"run": execution.id, "workflow": workflow.id, "node": name}
            execution.jobs.append(
                self.jobs.submit(workflow.bucket, source, output, task, queue, now, **of)
            )

    def _step(self, execution: Execution, now: float) -> None:
        execution.open -= 1
        if execution.open:
            return
        good = not execution.unfit and all(job.state == "Success" for job in execution.jobs)
        execution.state, execution.ended = "Success" if good else "Failed", now
        self.finished(execution)
        if execution.batch:
            self._closed(execution.batch, now)

    def job_ended(self, job: Job, now: float) -> None:
        if job.batch:
            self._closed(job.batch, now)
        execution = self.executions.get(job.run)
        if execution:
            if job.state == "Success":
                self._follow(execution, job.node, job.output, now)
            self._step(execution, now)


# -- which objects a batch is about


def named_objects(spelled: Tree, bucket: Bucket, store: Store) -> Sequence[str]:
    kind = next(name for name in INPUTS if name in spelled)
    value = text(spelled, kind)
    if kind == "Prefix":
        return [key for key in bucket.keys(value.lstrip("/")) if not key.endswith("/")]
    if kind == "Object":
        return [value.lstrip("/")]
    lines = _file(value, bucket, store)
    addresses = (
        lines.decode("utf-8", "replace").split() if kind == "UrlFile" else _manifest(lines, bucket)
    )
    found = (store.at(address, bucket) for address in addresses)
    return list(
        dict.fromkeys(place[1] for place in found if place and place[0] is bucket and place[1])
    )


def _file(address: str, bucket: Bucket, store: Store) -> bytes:
    body = store.body_at(address, bucket)
    if body is None:
        raise Refused(404, "NoSuchKey", f"The file {address} does not exist.")
    return body


def _manifest(body: bytes, bucket: Bucket) -> list[str]:
    """The keys that a COS inventory lists: manifest.json names CSV files, whose columns fileSchema
    names.
    """
    try:
        manifest = json.loads(body)
        columns = [name.strip().lower() for name in manifest["fileSchema"].split(",")]
        at = columns.index("key")
        files = [str(file["key"]) for file in manifest["files"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Refused(
            400, "InvalidContent", "The manifest is not a COS inventory's manifest.json."
        ) from None
    return [
        unquote(row[at]) for name in files for row in _rows(bucket.get(name).body) if len(row) > at
    ]


def _rows(body: bytes) -> Iterator[list[str]]:
    try:
        plain = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
        yield from csv.reader(io.StringIO(plain.decode("utf-8", "replace"), newline=""))
    except (OSError, EOFError, zlib.error, csv.Error):
        raise Refused(400, "InvalidContent", "A file of the manifest is not readable.") from None


def interval(operation: Tree, request: Tree) -> tuple[float, float]:
    """TimeInterval stands in Operation; one page of the documents has it beside."""
    spelled = branch(operation, "TimeInterval") or branch(request, "TimeInterval")
    start, end = text(spelled, "Start"), text(spelled, "End")
    return (moment(start) if start else -NEVER), (moment(end) if end else NEVER)


# -- how they are told


def batch_detail(batch: Batch) -> Tree:
    return {
        "Code": batch.code,
        "Message": batch.message,
        "Type": batch.kind,
        "Name": batch.name,
        "JobId": batch.id,
        "State": batch.state,
        "CreationTime": stamp(batch.created),
        "StartTime": stamp(batch.started),
        "EndTime": stamp(batch.ended),
        "Input": batch.input,
        "Operation": batch.operation,
    }


def execution_row(execution: Execution) -> Tree:
    return {
        "RunId": execution.id,
        "WorkflowId": execution.workflow.id,
        "State": execution.state,
        "CreationTime": stamp(execution.created),
        "Object": execution.source,
    }


def execution_detail(execution: Execution) -> Tree:
    workflow = execution.workflow
    return {
        "RunId": execution.id,
        "BucketId": execution.bucket,
        "Object": execution.source,
        "CosHeaders": "",
        "WorkflowId": workflow.id,
        "WorkflowName": workflow.name,
        "CreateTime": stamp(execution.created),
        "State": execution.state,
        "Topology": workflow.topology,
        "Tasks": [*map(_task_row, execution.jobs), *execution.unfit],
    }


def _task_row(job: Job) -> Tree:
    made = {
        "ObjectName": job.output,
        "InputObjectName": job.source,
        "Code": job.code,
        "Message": job.message,
    }
    return {
        "Type": "PicProcess",
        "CreateTime": stamp(job.created),
        "EndTime": stamp(job.ended),
        "State": job.shown,
        "JobId": job.id,
        "Name": job.node,
        "TemplateId": job.task.template_id,
        "TemplateName": job.task.template_name,
        "ResultInfo": {"ObjectCount": 1 if job.told else 0, "ObjectInfo": made},
    }


def workflow_detail(workflow: Workflow) -> Tree:
    return {
        "Name": workflow.name,
        "WorkflowId": workflow.id,
        "State": workflow.state,
        "BucketId": workflow.bucket,
        "CreateTime": stamp(workflow.created),
        "UpdateTime": stamp(workflow.updated),
        "Topology": workflow.topology,
    }
