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
    EventQueue,
    IdGenerator,
    Job,
    Jobs,
    JobSpec,
    format_time,
    parse_time,
)
from jupyter_mjci.emulator.tencent_ci.xml import (
    Element,
    ErrorResponse,
    find_all,
    find_element,
    get_text,
)

INPUT_KINDS = ("Manifest", "UrlFile", "Prefix", "Object")
IMAGE_EXTENSIONS = frozenset(
    ("jpg", "jpeg", "png", "bmp", "gif", "webp", "heif", "heic", "avif", "tpg")
)


@dataclass(slots=True, eq=False)
class Batch:
    id: str
    bucket: str
    name: str
    kind: str  # "Job" or "Workflow"
    input: Element
    operation: Element
    created: float
    spec: JobSpec | None = None  # what a Type=Job batch does to each object
    output: str = ""
    queue: str = ""
    workflows: tuple[str, ...] = ()
    since: float = -NEVER
    until: float = NEVER
    state: str = "Running"
    started: float = 0.0
    ended: float = 0.0
    due: float = NEVER
    open_children: int = 0  # children that have not ended
    code: str = "Success"
    message: str = ""


@dataclass(slots=True, eq=False)
class Workflow:
    id: str
    bucket: str
    name: str
    state: str
    topology: Element
    created: float
    updated: float

    @property
    def start_input(self) -> Element:
        return find_element(self.topology, "Nodes/Start/Input")

    def get_next_nodes(self, node: str) -> list[str]:
        """The nodes that depend on this one."""
        spelled = find_all(self.topology, f"Dependencies/{node}")
        names = [
            name.strip() for part in spelled if isinstance(part, str) for name in part.split(",")
        ]
        return [name for name in names if name and name != "End"]

    def accepts(self, key: str) -> bool:
        """Whether the workflow's own filter lets this object in."""
        rules = find_element(self.start_input, "ExtFilter")
        if get_text(rules, "State") != "On" or get_text(rules, "AllFile") == "true":
            return True
        ext = key.rpartition(".")[2].lower()
        own = (
            get_text(rules, "CustomExts").lower().split("/")
            if get_text(rules, "Custom") == "true"
            else []
        )
        return ext in own or (get_text(rules, "Image") == "true" and ext in IMAGE_EXTENSIONS)


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
    open_children: int = 0
    jobs: list[Job] = field(default_factory=list)
    failed_nodes: list[Element] = field(default_factory=list)  # nodes that could not become a job


class Batches:
    """Batches, workflows and executions of the account; makes the jobs that they consist of."""

    def __init__(self, store: Store, jobs: Jobs, ids: IdGenerator, events: EventQueue) -> None:
        self.store = store
        self.jobs = jobs
        self.ids = ids
        self.events = events
        self.batches: dict[str, Batch] = {}
        self.workflows: dict[str, Workflow] = {}
        self.executions: dict[str, Execution] = {}
        self.build_node_spec: Callable[[Workflow, Element], JobSpec]
        self.on_finished: Callable[[Execution], None]

    # -- batches

    def add(self, batch: Batch) -> Batch:
        self.batches[batch.id] = batch
        self.events.schedule(batch, batch.created + self.jobs.queue_time)
        return batch

    def expand(self, batch: Batch, now: float) -> None:
        """The batch's moment has come: find its objects, make its children."""
        if batch.state != "Running":
            return
        batch.started = now
        batch.open_children += 1  # itself, so that a child that ends at once does not end the batch
        try:
            for key in self._list_keys(batch):
                self._start_child(batch, key, now)
        except ErrorResponse as refusal:
            batch.code, batch.message = refusal.code, refusal.message
        self._on_child_ended(batch.id, now)

    def _list_keys(self, batch: Batch) -> list[str]:
        bucket = self.store.buckets.get(batch.bucket)
        if bucket is None:
            raise ErrorResponse(404, "NoSuchBucket", "The specified bucket does not exist.")
        keys = list_input_keys(batch.input, bucket, self.store)
        return [key for key in keys if self._is_in_interval(batch, bucket, key)]

    def _is_in_interval(self, batch: Batch, bucket: Bucket, key: str) -> bool:
        thing = bucket.objects.get(key)
        return thing is None or batch.since <= thing.modified <= batch.until

    def _start_child(self, batch: Batch, key: str, now: float) -> None:
        if batch.kind == "Job" and batch.spec:
            batch.open_children += 1
            queue = self.jobs.pick_queue(batch.bucket, batch.queue)
            self.jobs.submit(
                batch.bucket, key, batch.output, batch.spec, queue, now, batch=batch.id
            )
            return
        for name in batch.workflows:
            workflow = self.workflows.get(name)
            if workflow is None or workflow.bucket != batch.bucket:
                raise ErrorResponse(404, "ResourceNotFound", f"The workflow {name} does not exist.")
            if workflow.accepts(key):
                batch.open_children += 1
                self.execute(workflow, key, now, batch=batch.id)

    def _on_child_ended(self, batch_id: str, now: float) -> None:
        """A child of the batch has ended."""
        batch = self.batches.get(batch_id)
        if batch is None:
            return
        batch.open_children -= 1
        if batch.open_children == 0 and batch.state == "Running":
            batch.state, batch.ended = "Failed" if batch.code != "Success" else "Success", now

    def cancel(self, batch: Batch, now: float) -> None:
        """What has not begun does not begin; what runs goes on."""
        if batch.state != "Running":
            return
        batch.state, batch.ended, batch.due = "Cancel", now, NEVER
        children = list(self.jobs.by_batch.get(batch.id, ()))
        for execution in self.executions.values():
            if execution.batch == batch.id:
                children += execution.jobs
        for job in children:
            if job.state == "Submitted":
                self.jobs.cancel(job, now)

    def freeze(self, batch: Batch) -> None:
        """It neither begins nor ends by itself."""
        batch.due = NEVER
        batch.open_children += 1

    # -- executions

    def execute(
        self, workflow: Workflow, key: str, now: float, *, batch: str = "", name: str = ""
    ) -> Execution:
        number = len(self.executions) + 1
        execution = Execution(
            number, self.ids.new_id("i"), workflow.bucket, key, workflow, now, batch, name
        )
        self.executions[execution.id] = execution
        execution.open_children = 1
        self._start_next_nodes(execution, "Start", key, now)
        self._close_child(execution, now)
        return execution

    def _start_next_nodes(self, execution: Execution, node: str, source: str, now: float) -> None:
        """Starts the nodes behind this one, each once."""
        workflow = execution.workflow
        begun = {job.node for job in execution.jobs} | {
            row["Name"] for row in execution.failed_nodes
        }
        for name in workflow.get_next_nodes(node):
            if name in begun:
                continue
            spelled = find_element(workflow.topology, f"Nodes/{name}")
            try:
                task = self.build_node_spec(workflow, spelled)
                queue = self.jobs.pick_queue(
                    workflow.bucket, get_text(workflow.start_input, "QueueId")
                )
            except ErrorResponse as refusal:
                reason = {"Code": refusal.code, "Message": refusal.message}
                execution.failed_nodes.append(
                    {"Name": name, "Type": get_text(spelled, "Type"), **reason}
                )
                continue
            execution.open_children += 1
            output = get_text(spelled, "Operation/Output/Object")
            of = {"run": execution.id, "workflow": workflow.id, "node": name}
            execution.jobs.append(
                self.jobs.submit(workflow.bucket, source, output, task, queue, now, **of)
            )

    def _close_child(self, execution: Execution, now: float) -> None:
        execution.open_children -= 1
        if execution.open_children:
            return
        good = not execution.failed_nodes and all(job.state == "Success" for job in execution.jobs)
        execution.state, execution.ended = "Success" if good else "Failed", now
        self.on_finished(execution)
        if execution.batch:
            self._on_child_ended(execution.batch, now)

    def on_job_ended(self, job: Job, now: float) -> None:
        if job.batch:
            self._on_child_ended(job.batch, now)
        execution = self.executions.get(job.run)
        if execution:
            if job.state == "Success":
                self._start_next_nodes(execution, job.node, job.output, now)
            self._close_child(execution, now)


# -- which objects a batch is about


def list_input_keys(batch_input: Element, bucket: Bucket, store: Store) -> Sequence[str]:
    kind = next(name for name in INPUT_KINDS if name in batch_input)
    value = get_text(batch_input, kind)
    if kind == "Prefix":
        return [key for key in bucket.iter_keys(value.lstrip("/")) if not key.endswith("/")]
    if kind == "Object":
        return [value.lstrip("/")]
    lines = _read_file(value, bucket, store)
    addresses = (
        lines.decode("utf-8", "replace").split()
        if kind == "UrlFile"
        else _parse_manifest(lines, bucket)
    )
    found = (store.resolve(address, bucket) for address in addresses)
    return list(
        dict.fromkeys(place[1] for place in found if place and place[0] is bucket and place[1])
    )


def _read_file(address: str, bucket: Bucket, store: Store) -> bytes:
    body = store.read_object(address, bucket)
    if body is None:
        raise ErrorResponse(404, "NoSuchKey", f"The file {address} does not exist.")
    return body


def _parse_manifest(body: bytes, bucket: Bucket) -> list[str]:
    """The keys that a COS inventory lists: manifest.json names CSV files, whose columns fileSchema
    names.
    """
    try:
        manifest = json.loads(body)
        columns = [name.strip().lower() for name in manifest["fileSchema"].split(",")]
        at = columns.index("key")
        files = [str(file["key"]) for file in manifest["files"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ErrorResponse(
            400, "InvalidContent", "The manifest is not a COS inventory's manifest.json."
        ) from None
    return [
        unquote(row[at])
        for name in files
        for row in _iter_csv_rows(bucket.get(name).body)
        if len(row) > at
    ]


def _iter_csv_rows(body: bytes) -> Iterator[list[str]]:
    try:
        plain = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
        yield from csv.reader(io.StringIO(plain.decode("utf-8", "replace"), newline=""))
    except (OSError, EOFError, zlib.error, csv.Error):
        raise ErrorResponse(
            400, "InvalidContent", "A file of the manifest is not readable."
        ) from None


def parse_interval(operation: Element, request: Element) -> tuple[float, float]:
    """TimeInterval stands in Operation; one page of the documents has it beside."""
    spelled = find_element(operation, "TimeInterval") or find_element(request, "TimeInterval")
    start, end = get_text(spelled, "Start"), get_text(spelled, "End")
    return (parse_time(start) if start else -NEVER), (parse_time(end) if end else NEVER)


# -- how they are told


def render_batch(batch: Batch) -> Element:
    return {
        "Code": batch.code,
        "Message": batch.message,
        "Type": batch.kind,
        "Name": batch.name,
        "JobId": batch.id,
        "State": batch.state,
        "CreationTime": format_time(batch.created),
        "StartTime": format_time(batch.started),
        "EndTime": format_time(batch.ended),
        "Input": batch.input,
        "Operation": batch.operation,
    }


def render_execution_summary(execution: Execution) -> Element:
    return {
        "RunId": execution.id,
        "WorkflowId": execution.workflow.id,
        "State": execution.state,
        "CreationTime": format_time(execution.created),
        "Object": execution.source,
    }


def render_execution(execution: Execution) -> Element:
    workflow = execution.workflow
    return {
        "RunId": execution.id,
        "BucketId": execution.bucket,
        "Object": execution.source,
        "CosHeaders": "",
        "WorkflowId": workflow.id,
        "WorkflowName": workflow.name,
        "CreateTime": format_time(execution.created),
        "State": execution.state,
        "Topology": workflow.topology,
        "Tasks": [*map(_render_node_job, execution.jobs), *execution.failed_nodes],
    }


def _render_node_job(job: Job) -> Element:
    made = {
        "ObjectName": job.output,
        "InputObjectName": job.source,
        "Code": job.code,
        "Message": job.message,
    }
    return {
        "Type": "PicProcess",
        "CreateTime": format_time(job.created),
        "EndTime": format_time(job.ended),
        "State": job.reported_state,
        "JobId": job.id,
        "Name": job.node,
        "TemplateId": job.spec.template_id,
        "TemplateName": job.spec.template_name,
        "ResultInfo": {"ObjectCount": 1 if job.result_info else 0, "ObjectInfo": made},
    }


def render_workflow(workflow: Workflow) -> Element:
    return {
        "Name": workflow.name,
        "WorkflowId": workflow.id,
        "State": workflow.state,
        "BucketId": workflow.bucket,
        "CreateTime": format_time(workflow.created),
        "UpdateTime": format_time(workflow.updated),
        "Topology": workflow.topology,
    }
