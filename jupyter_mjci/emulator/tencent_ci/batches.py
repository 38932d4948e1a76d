"""Many pictures at once: batches (inventory jobs), workflows, and a workflow's executions.

A batch is created Running, lists its objects a moment later, and
ends when the last of its children has ended: jobs of its own
(Type=Job), or executions of workflows (Type=Workflow), whose
nodes are jobs in turn.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from jupyter_mjci.emulator.cos.store import Bucket, Store, no_such_bucket
from jupyter_mjci.emulator.tencent_ci.events import NEVER, EventQueue, IdGenerator, parse_time
from jupyter_mjci.emulator.tencent_ci.jobs import Job, JobOrigin, Jobs, JobSpec
from jupyter_mjci.emulator.xml import Element, ErrorResponse, find_all, find_element, get_text

INPUT_KINDS = ("Manifest", "UrlFile", "Prefix", "Object")
IMAGE_EXTENSIONS = frozenset(
    ("jpg", "jpeg", "png", "bmp", "gif", "webp", "heif", "heic", "avif", "tpg")
)


@dataclass(slots=True, eq=False)
class Batch:
    """A batch; `since` and `until` limit the modification times of its objects (epoch seconds)."""

    id: str
    bucket: str
    name: str
    kind: str  # "Job" or "Workflow"
    input: Element
    operation: Element
    created: float
    # of each object of a Type=Job batch
    spec: JobSpec | None = None
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
    """A workflow: a graph of nodes, each of which makes one job per object."""

    id: str
    bucket: str
    name: str
    state: str
    topology: Element
    created: float
    updated: float

    @property
    def start_input(self) -> Element:
        """The input of the Start node: callbacks, queue, filter."""
        return find_element(self.topology, "Nodes/Start/Input")

    def get_next_nodes(self, node: str) -> list[str]:
        """Return the nodes that depend on this one."""
        names = []
        for dependents in find_all(self.topology, f"Dependencies/{node}"):
            if isinstance(dependents, str):
                names += [name.strip() for name in dependents.split(",")]
        return [name for name in names if name and name != "End"]

    def is_started_by(self, key: str) -> bool:
        """Return whether the upload of an object starts the workflow."""
        prefix = get_text(self.start_input, "ObjectPrefix").lstrip("/")
        is_file = not key.endswith("/")
        return self.state == "Active" and is_file and key.startswith(prefix) and self.accepts(key)

    def accepts(self, key: str) -> bool:
        """Return whether the workflow's own filter of extensions lets an object pass."""
        rules = find_element(self.start_input, "ExtFilter")
        if get_text(rules, "State") != "On" or get_text(rules, "AllFile") == "true":
            return True
        extension = key.rpartition(".")[2].lower()
        own_extensions: list[str] = []
        if get_text(rules, "Custom") == "true":
            own_extensions = get_text(rules, "CustomExts").lower().split("/")
        if extension in own_extensions:
            return True
        return get_text(rules, "Image") == "true" and extension in IMAGE_EXTENSIONS


@dataclass(slots=True, eq=False)
class Execution:
    """One run of a workflow over one object."""

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
    # nodes that could not become a job
    failed_nodes: list[Element] = field(default_factory=list)


class Batches:
    """Batches, workflows and executions of the account; submits the jobs that they consist of.

    `build_node_spec` builds the job of a workflow's node;
    `on_finished` is called with every execution that has ended.
    """

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

    def add(self, batch: Batch) -> None:
        """Add a batch, which lists its objects a moment later."""
        self.batches[batch.id] = batch
        self.events.schedule(batch, batch.created + self.jobs.queue_time)

    def expand(self, batch: Batch, now: float) -> None:
        """List the objects of a batch whose time has come, and start its children."""
        if batch.state != "Running":
            return
        batch.started = now
        # itself, so that a child that ends at once does not end
        # the batch
        batch.open_children += 1
        try:
            for key in self._list_keys(batch):
                self._start_child(batch, key, now)
        except ErrorResponse as error:
            batch.code = error.code
            batch.message = error.message
        self._on_child_ended(batch.id, now)

    def _list_keys(self, batch: Batch) -> list[str]:
        bucket = self.store.buckets.get(batch.bucket)
        if bucket is None:
            raise no_such_bucket()
        keys = list_input_keys(batch.input, bucket, self.store)
        return [key for key in keys if self._is_in_interval(batch, bucket, key)]

    def _is_in_interval(self, batch: Batch, bucket: Bucket, key: str) -> bool:
        stored = bucket.objects.get(key)
        return stored is None or batch.since <= stored.modified <= batch.until

    def _start_child(self, batch: Batch, key: str, now: float) -> None:
        if batch.kind == "Job" and batch.spec:
            batch.open_children += 1
            queue = self.jobs.pick_queue(batch.bucket, batch.queue)
            origin = JobOrigin(batch=batch.id)
            self.jobs.submit(key, batch.output, batch.spec, queue, now, origin)
            return
        for name in batch.workflows:
            workflow = self.workflows.get(name)
            if workflow is None or workflow.bucket != batch.bucket:
                raise ErrorResponse(404, "ResourceNotFound", f"The workflow {name} does not exist.")
            if workflow.accepts(key):
                batch.open_children += 1
                self.execute(workflow, key, now, batch=batch.id)

    def _on_child_ended(self, batch_id: str, now: float) -> None:
        """Count a child that has ended; the last one ends the batch."""
        batch = self.batches.get(batch_id)
        if batch is None:
            return
        batch.open_children -= 1
        if batch.open_children == 0 and batch.state == "Running":
            batch.state = "Success" if batch.code == "Success" else "Failed"
            batch.ended = now

    def cancel(self, batch: Batch, now: float) -> None:
        """Cancel a batch: what waits does not start, what runs goes on."""
        if batch.state != "Running":
            return
        batch.state = "Cancel"
        batch.ended = now
        batch.due = NEVER
        children = list(self.jobs.by_batch.get(batch.id, ()))
        for execution in self.executions.values():
            if execution.batch == batch.id:
                children += execution.jobs
        for job in children:
            if job.state == "Submitted":
                self.jobs.cancel(job, now)

    def freeze(self, batch: Batch) -> None:
        """Stop a batch from starting and from ending by itself."""
        batch.due = NEVER
        batch.open_children += 1

    # -- executions

    def start_by_upload(self, bucket: Bucket, key: str, now: float) -> None:
        """Run the active workflows of a bucket over an object that was uploaded to it.

        What jobs make starts nothing: a workflow that writes
        below its own prefix would never end.

        https://cloud.tencent.com/document/product/460/45947
        """
        for workflow in list(self.workflows.values()):
            if workflow.bucket == bucket.name and workflow.is_started_by(key):
                self.execute(workflow, key, now)

    def execute(
        self, workflow: Workflow, key: str, now: float, *, batch: str = "", name: str = ""
    ) -> Execution:
        """Start an execution of a workflow over one object."""
        execution = Execution(
            number=len(self.executions) + 1,
            id=self.ids.new_id("i"),
            bucket=workflow.bucket,
            source=key,
            workflow=workflow,
            created=now,
            batch=batch,
            name=name,
        )
        self.executions[execution.id] = execution
        execution.open_children = 1  # itself, as in `expand`
        self._start_next_nodes(execution, "Start", key, now)
        self._close_child(execution, now)
        return execution

    def _start_next_nodes(self, execution: Execution, node: str, source: str, now: float) -> None:
        """Start the nodes that depend on this one, each once."""
        started = {job.node for job in execution.jobs}
        started |= {failed["Name"] for failed in execution.failed_nodes}
        for name in execution.workflow.get_next_nodes(node):
            if name not in started:
                self._start_node(execution, name, source, now)

    def _start_node(self, execution: Execution, name: str, source: str, now: float) -> None:
        workflow = execution.workflow
        node = find_element(workflow.topology, f"Nodes/{name}")
        try:
            spec = self.build_node_spec(workflow, node)
            queue_id = get_text(workflow.start_input, "QueueId")
            queue = self.jobs.pick_queue(workflow.bucket, queue_id)
        except ErrorResponse as error:
            failed = {"Name": name, "Type": get_text(node, "Type")}
            reason = {"Code": error.code, "Message": error.message}
            execution.failed_nodes.append({**failed, **reason})
            return
        execution.open_children += 1
        output = get_text(node, "Operation/Output/Object")
        origin = JobOrigin(run=execution.id, workflow=workflow.id, node=name)
        execution.jobs.append(self.jobs.submit(source, output, spec, queue, now, origin))

    def _close_child(self, execution: Execution, now: float) -> None:
        """Count a node that has ended; the last one ends the execution."""
        execution.open_children -= 1
        if execution.open_children:
            return
        jobs_succeeded = all(job.state == "Success" for job in execution.jobs)
        succeeded = jobs_succeeded and not execution.failed_nodes
        execution.state = "Success" if succeeded else "Failed"
        execution.ended = now
        self.on_finished(execution)
        if execution.batch:
            self._on_child_ended(execution.batch, now)

    def on_job_ended(self, job: Job, now: float) -> None:
        """Let the batch or the execution of an ended job go on."""
        if job.batch:
            self._on_child_ended(job.batch, now)
        execution = self.executions.get(job.run)
        if execution:
            if job.state == "Success":
                self._start_next_nodes(execution, job.node, job.output, now)
            self._close_child(execution, now)


# -- the objects of a batch


def list_input_keys(batch_input: Element, bucket: Bucket, store: Store) -> list[str]:
    """Return the keys of the objects that the Input of a batch names.

    Raises:
        ErrorResponse: a file of addresses does not exist or is
            not readable
    """
    kind = next(name for name in INPUT_KINDS if name in batch_input)
    value = get_text(batch_input, kind)
    if kind == "Prefix":
        return [key for key in bucket.iter_keys(value.lstrip("/")) if not key.endswith("/")]
    if kind == "Object":
        return [value.lstrip("/")]
    body = _read_file(value, bucket, store)
    if kind == "UrlFile":
        addresses = body.decode("utf-8", "replace").split()
    else:
        addresses = _parse_manifest(body, bucket)
    # each key once, in the order of the file
    keys: dict[str, None] = {}
    for address in addresses:
        location = store.resolve(address, bucket)
        if location and location[0] is bucket and location[1]:
            keys[location[1]] = None
    return list(keys)


def _read_file(address: str, bucket: Bucket, store: Store) -> bytes:
    body = store.read_object(address, bucket)
    if body is None:
        raise ErrorResponse(404, "NoSuchKey", f"The file {address} does not exist.")
    return body


def _parse_manifest(body: bytes, bucket: Bucket) -> list[str]:
    """Return the keys that a COS inventory lists.

    manifest.json names CSV files; its fileSchema names their
    columns.
    """
    try:
        manifest = json.loads(body)
        columns = [name.strip().lower() for name in manifest["fileSchema"].split(",")]
        key_column = columns.index("key")
        files = [str(file["key"]) for file in manifest["files"]]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        message = "The manifest is not a COS inventory's manifest.json."
        raise ErrorResponse(400, "InvalidContent", message) from None
    keys = []
    for name in files:
        for row in _iter_csv_rows(bucket.get(name).body):
            if len(row) > key_column:
                keys.append(unquote(row[key_column]))
    return keys


def _iter_csv_rows(body: bytes) -> Iterator[list[str]]:
    try:
        if body.startswith(b"\x1f\x8b"):
            body = gzip.decompress(body)
        yield from csv.reader(io.StringIO(body.decode("utf-8", "replace"), newline=""))
    except (OSError, EOFError, zlib.error, csv.Error):
        message = "A file of the manifest is not readable."
        raise ErrorResponse(400, "InvalidContent", message) from None


def parse_interval(operation: Element, request: Element) -> tuple[float, float]:
    """Parse TimeInterval, which is in Operation; one page of the documents has it beside that."""
    interval = find_element(operation, "TimeInterval") or find_element(request, "TimeInterval")
    start = get_text(interval, "Start")
    end = get_text(interval, "End")
    since = parse_time(start) if start else -NEVER
    until = parse_time(end) if end else NEVER
    return since, until
