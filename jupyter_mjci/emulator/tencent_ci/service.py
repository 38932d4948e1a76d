"""A stand-in for Tencent Cloud Infinite (CI) and the COS buckets it works on.

    ci = TencentCI(clock, objects={"input/deer.jpg": picture})
    answer = ci.handle(request)

Every request is routed by its Host (CI plane, object plane, or a bare address, where the path
decides), its signature is verified, and one table (`ROUTES`) says which function answers it. A
function takes a `Visit` and gives the content of the XML, or raises `Refused`; what every answer
carries (request ids, Server) is put on in one place.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote_to_bytes

from jupyter_mjci.emulator.clock import Clock
from jupyter_mjci.emulator.cos.objects import XML, ObjectPlane, Visit, whole
from jupyter_mjci.emulator.cos.store import Bucket, Place, Store, stored
from jupyter_mjci.emulator.cos.verifier import Verifier, parameters
from jupyter_mjci.emulator.http import Answer, Delivery, Request
from jupyter_mjci.emulator.image_generator import samples
from jupyter_mjci.emulator.tencent_ci import batches as batching
from jupyter_mjci.emulator.tencent_ci.batches import Batch, Batches, Execution, Workflow
from jupyter_mjci.emulator.tencent_ci.callbacks import (
    checked_url,
    execution_callbacks,
    job_callbacks,
    read_callback,
)
from jupyter_mjci.emulator.tencent_ci.jobs import (
    CATEGORIES,
    NEVER,
    NOTIFY_FIELDS,
    STATES,
    Agenda,
    Filter,
    Job,
    Jobs,
    Names,
    Task,
    Template,
    binding_detail,
    detail,
    moment,
    queue_detail,
    template_detail,
)
from jupyter_mjci.emulator.tencent_ci.processing import Pictures
from jupyter_mjci.emulator.tencent_ci.snapshot import keep, recall
from jupyter_mjci.emulator.tencent_ci.xml import (
    Refused,
    Tree,
    branch,
    every,
    find,
    invalid,
    needed,
    read,
    text,
    write,
)

SECRET_ID = "AKIDsandbox0000000000000000000000000"
SECRET_KEY = "sandboxSecretKey0000000000000000"
SAMPLE_TEMPLATE = (
    "t10461fe2bd5a649db9022452ec71e0381"  # the ids that the service's documents use in their
)
SAMPLE_WORKFLOW = (
    "w7476ff3564ee45b7b490d64bccaba6cc"  # examples; here they exist, so the examples work
)
JOB_HEADS = ("jobs", "pic_jobs")
BINDINGS = {  # path -> (the service it binds, the element that tells of it)
    "picbucket": ("pic-process", "PicBucket"),
    "mediabucket": ("media", "MediaBucket"),
    "ai_bucket": ("ai", "AiBucket"),
    "docbucket": ("doc", "DocBucket"),
}
QUEUES = {"picqueue": "pic-process", "queue": "media", "ai_queue": "ai", "docqueue": "doc"}


class TencentCI:
    """Tencent CI and COS for one account with one bucket, more when they are created.

    `objects` are there from the start (else the sample pictures). `sts_token` says which session
    tokens are good (None: any). `wait` and `work` are the seconds that a job waits and runs,
    `concurrency` how many run at once. `callback_shape` is "documented" or "live". A signature is
    in time by the sandbox's clock or by `wall`.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        bucket: str = "demo-1250000000",
        region: str = "ap-chongqing",
        secret_id: str = SECRET_ID,
        secret_key: str = SECRET_KEY,
        sts_token: str | Collection[str] | None = None,
        seed: int = 0,
        objects: Mapping[str, bytes] | Callable[[], Mapping[str, bytes]] | None = None,
        callback_shape: str = "documented",
        wait: float = 1.0,
        work: float = 1.0,
        concurrency: int = 10,
        wall: Callable[[], float] | None = time.time,
    ) -> None:
        self.clock = clock
        self.home = (bucket, region)
        self.callback_shape = callback_shape
        self.concurrency = concurrency
        self.outbox: list[Delivery] = []
        tokens = {sts_token} if isinstance(sts_token, str) else sts_token
        clocks = (clock.now, wall) if wall else (clock.now,)
        self.verifier = Verifier({secret_id: secret_key}, tokens, clocks)
        self.names = Names(seed)
        self.agenda = Agenda()
        self.store = Store()
        self.pictures = Pictures(self.store)
        self.plane = ObjectPlane(self.store, self.pictures)
        self.jobs = Jobs(self.store, self.pictures, self.names, self.agenda, wait=wait, work=work)
        self.batches = Batches(self.store, self.jobs, self.names, self.agenda)
        self.templates: dict[str, Template] = {}
        self.requests = 0
        self.jobs.ended = self._job_ended
        self.batches.node_task = self._node_task
        self.batches.finished = self._execution_ended
        self._furnish(
            objects() if callable(objects) else objects if objects is not None else samples()
        )

    def _furnish(self, objects: Mapping[str, bytes]) -> None:
        """The bucket, bound to the services, with the sample pictures and what the documents'
        examples name.
        """
        now = self.clock.now()
        name, region = self.home
        home = self.store.buckets[name] = Bucket(name, region, now)
        for service in ("pic-process", "media"):
            self._bind(home, service, now)
        for key, body in objects.items():
            home.put(key, stored(body, now, content_type_of(key)))
        rule = "imageMogr2/thumbnail/!50p"
        self.templates[SAMPLE_TEMPLATE] = Template(
            SAMPLE_TEMPLATE, name, "test", rule, False, now, now
        )
        output = {
            "Region": region,
            "Bucket": name,
            "Object": "workflow/${RunId}/${InputName}.${Ext}",
        }
        node = {
            "Type": "PicProcess",
            "Operation": {"TemplateId": SAMPLE_TEMPLATE, "Output": output},
        }
        start = {"Type": "Start", "Input": {"ObjectPrefix": "input"}}
        topology = {
            "Dependencies": {"Start": "PicProcess_1"},
            "Nodes": {"Start": start, "PicProcess_1": node},
        }
        workflow = Workflow(SAMPLE_WORKFLOW, name, "demo", "Active", topology, now, now)
        self.batches.workflows[workflow.id] = workflow

    # -- time

    def advance(self) -> None:
        """Brings every job and batch up to the clock, each change at its own moment."""
        now = self.clock.now()
        while (due := self.agenda.next()) is not None and due <= now:
            items = self.agenda.pop(now)
            self.jobs.happen([item for item in items if isinstance(item, Job)], due)
            for item in items:
                if isinstance(item, Batch):
                    self.batches.expand(item, due)

    def next_event(self) -> float | None:
        return self.agenda.next()

    # -- requests

    def handle(self, request: Request) -> Answer:
        self.advance()
        self.requests += 1
        now = self.clock.now()
        place = Place.read(request.host)
        path = unquote_to_bytes(request.path).decode("utf-8", "replace")
        plane = place.plane or ("ci" if path.strip("/").split("/")[0] in CI_HEADS else "cos")
        ticket = self._ticket(now)
        try:
            answer = self._answer(request, place, plane, path, ticket, now)
        except Refused as refusal:
            answer = refused(refusal, path or "/", ticket, plane)
        if request.method == "HEAD":
            length = answer.headers.get("Content-Length", str(len(answer.body)))
            answer = Answer(
                answer.status,
                b"",
                {**answer.headers, "Content-Length": length if answer.status < 300 else "0"},
            )
        return replace(
            answer,
            headers={
                **answer.headers,
                f"x-{plane}-request-id": ticket,
                "Server": f"tencent-{plane}",
            },
        )

    def _ticket(self, now: float) -> str:
        """A request id in the service's shape: base64 of four hex numbers."""
        mark = self.names.digest(f"request {self.requests}")
        return base64.b64encode(
            f"{int(now):08x}_{mark[:8]}_{mark[8:12]}_{self.requests:x}".encode()
        ).decode()

    def _answer(
        self, request: Request, place: Place, plane: str, path: str, ticket: str, now: float
    ) -> Answer:
        if request.method == "OPTIONS":
            return preflight(request)
        if "\ufffd" in path:
            raise Refused(400, "InvalidURI", "The path is not UTF-8.")
        self.verifier.check(request)
        name, region = (place.bucket, place.region) if place.plane else self.home
        params = parameters(request.query)
        key = path.removeprefix("/")
        if not name:
            return self._account(plane, key, params, region, ticket, request)
        if (
            plane == "cos"
            and request.method == "PUT"
            and not key
            and not params
            and name not in self.store.buckets
        ):
            return self.plane.new_bucket(name, region, now)
        visit = Visit(request, self.store.find(name, region), key, params, now, ticket)
        return self.plane.answer(visit) if plane == "cos" else self._ci(visit)

    def _account(
        self,
        plane: str,
        key: str,
        params: Mapping[str, str],
        region: str,
        ticket: str,
        request: Request,
    ) -> Answer:
        """Calls without a bucket: the list of buckets, on either plane."""
        if request.method != "GET":
            raise Refused(
                405,
                "MethodNotAllowed",
                "The specified method is not allowed against this resource.",
            )
        if plane == "cos":
            return self.plane.list_buckets()
        return response(self._bindings(key, params, region, ticket))

    def _ci(self, visit: Visit) -> Answer:
        head, _, tail = visit.key.strip("/").partition("/")
        visit = replace(visit, head=head, key=tail)
        route = ROUTES.get((visit.request.method, head, bool(tail)))
        if route is None:
            if head not in CI_HEADS:
                raise Refused(404, "ResourceNotFound", f"There is no resource /{head}.")
            raise Refused(
                405,
                "MethodNotAllowed",
                "The specified method is not allowed against this resource.",
            )
        service, code = (
            ("pic-process", "PicBucketUnBinded")
            if head in PIC_HEADS
            else ("media", "MediaBucketUnBinded")
        )
        if head not in BINDINGS and service not in visit.bucket.bound:
            raise Refused(400, code, "The bucket is not bound to the service; bind it first.")
        content = route(self, visit)
        return Answer(200, b"", {"Content-Length": "0"}) if content is None else response(content)

    # -- jobs

    def create_job(self, visit: Visit) -> Tree:
        request = read(visit.request.body, "Request")
        tag = text(request, "Tag")
        if tag != "PicProcess":
            raise invalid(
                f"The Tag {tag!r} is not served here; PicProcess is." if tag else "Tag is needed."
            )
        source = needed(request, "Input/Object")
        queue = self.jobs.pick_queue(visit.bucket.name, text(request, "QueueId"))
        operations = every(request, "Operation")
        if not operations:
            raise invalid("Operation is needed.")
        callback = read_callback(request)
        tasks = [
            (self._task(visit.bucket.name, one, one, callback), text(one, "Output/Object"))
            for one in operations
        ]
        made = [
            self.jobs.submit(visit.bucket.name, source, output, task, queue, visit.now)
            for task, output in tasks
        ]
        return {"JobsDetail": [detail(job, visit.bucket.region) for job in made]}

    def _task(self, bucket: str, spelled: Tree, operation: Tree, callback: Tree) -> Task:
        """What shall be done (`spelled` holds TemplateId or PicProcess), and where the result goes
        (`operation`).
        """
        for name in ("Region", "Bucket", "Object"):
            needed(operation, f"Output/{name}")
        level = text(operation, "JobLevel") or "0"
        if level not in ("0", "1", "2"):
            raise invalid("JobLevel must be 0, 1 or 2.")
        user_data = text(operation, "UserData")
        if not re.fullmatch(r"[\x20-\x7e]{0,1024}", user_data):
            raise invalid("UserData is printable ASCII of at most 1024 characters.")
        task = self._rule(bucket, spelled)
        return replace(
            task,
            region=text(operation, "Output/Region"),
            bucket=text(operation, "Output/Bucket"),
            user_data=user_data,
            level=int(level),
            callback=callback,
        )

    def _rule(self, bucket: str, spelled: Tree) -> Task:
        template_id, inline = text(spelled, "TemplateId"), find(spelled, "PicProcess") != ""
        if bool(template_id) == inline:
            raise invalid("Exactly one of TemplateId and PicProcess is needed.")
        if template_id:
            template = self._template(bucket, template_id)
            return Task(template.rule, template.with_info, template.id, template.name)
        return Task(
            needed(spelled, "PicProcess/ProcessRule"), truth(text(spelled, "PicProcess/IsPicInfo"))
        )

    def describe_jobs(self, visit: Visit) -> Tree:
        found, unknown = self._found(self.jobs.by_id, visit)
        return {
            "JobsDetail": [detail(job, visit.bucket.region) for job in found],
            "NonExistJobIds": unknown,
        }

    def _found(self, known: Mapping[str, Any], visit: Visit) -> tuple[list[Any], list[str]]:
        names = [name.strip() for name in visit.key.split(",") if name.strip()]
        found = [
            known[name]
            for name in names
            if name in known and known[name].bucket == visit.bucket.name
        ]
        here = {item.id for item in found}
        return found, [name for name in names if name not in here]

    def list_jobs(self, visit: Visit) -> Tree:
        asked = lowered(visit.params)
        tag = asked.get("tag", "")
        if not tag and visit.head == "jobs":
            raise invalid("tag is needed.")
        size = whole(asked, "size", 10, 1, 100)
        if tag and tag != "PicProcess":
            return {"NextToken": ""}
        jobs, token = self.jobs.page(visit.bucket, read_filter(asked), size, read_token(asked))
        return {
            "JobsDetail": [detail(job, visit.bucket.region) for job in jobs],
            "NextToken": token,
        }

    def cancel_job(self, visit: Visit) -> None:
        meant_cancel(visit)
        found, _ = self._found(self.jobs.by_id, visit)
        if not found:
            raise Refused(404, "ResourceNotFound", f"The job {visit.key} does not exist.")
        for job in found:
            self.jobs.cancel(job, visit.now)

    # -- batches

    def create_batch(self, visit: Visit) -> Tree:
        request = read(visit.request.body, "Request")
        kind = text(request, "Type") or "Workflow"
        if kind not in ("Workflow", "Job"):
            raise invalid("Type must be Workflow or Job.")
        name = needed(request, "Name")
        if not re.fullmatch(r"[\w—-]{1,128}", name):
            raise invalid("Name is Chinese, Latin, digits, — and _, at most 128 characters.")
        given = [part for part in batching.INPUTS if text(request, f"Input/{part}")]
        if len(given) != 1:
            raise invalid("Input needs exactly one of Manifest, UrlFile, Prefix and Object.")
        operation = branch(request, "Operation")
        since, until = batching.interval(operation, request)
        batch = Batch(
            self.names.new("b"),
            visit.bucket.name,
            name,
            kind,
            branch(request, "Input"),
            operation,
            visit.now,
        )
        batch.since, batch.until = since, until
        (self._of_jobs if kind == "Job" else self._of_workflows)(batch, operation)
        self.batches.create(batch)
        return {"RequestId": visit.ticket, "JobsDetail": batching.batch_detail(batch)}

    def _of_jobs(self, batch: Batch, operation: Tree) -> None:
        if text(operation, "Tag") != "PicProcess":
            raise invalid("Operation.Tag must be PicProcess.")
        callback = read_callback(operation)
        batch.task = self._task(batch.bucket, branch(operation, "JobParam"), operation, callback)
        batch.output = text(operation, "Output/Object")
        batch.queue = self.jobs.pick_queue(batch.bucket, text(operation, "QueueId")).id

    def _of_workflows(self, batch: Batch, operation: Tree) -> None:
        names = [name.strip() for name in needed(operation, "WorkflowIds").split(",")]
        batch.workflows = tuple(name for name in names if name)

    def describe_batches(self, visit: Visit) -> Tree:
        found, unknown = self._found(self.batches.batches, visit)
        told = [batching.batch_detail(batch) for batch in found]
        return {"RequestId": visit.ticket, "JobsDetail": told, "NonExistJobIds": unknown}

    def list_batches(self, visit: Visit) -> Tree:
        asked = lowered(visit.params)
        rules = read_filter(asked)
        wanted = {
            "kind": asked.get("type", ""),
            "id": asked.get("jobid", ""),
            "name": asked.get("name", ""),
        }

        def holds(batch: Batch) -> bool:
            return (
                batch.bucket == visit.bucket.name
                and all(
                    not value or getattr(batch, field) == value for field, value in wanted.items()
                )
                and (not rules.states or batch.state in rules.states)
                and rules.since <= int(batch.created) <= rules.until
                and (not rules.workflow or rules.workflow in batch.workflows)
            )

        rows, token = token_page(self.batches.batches.values(), holds, asked)
        told = [batching.batch_detail(batch) for batch in rows]
        return {"RequestId": visit.ticket, "JobsDetail": told, "NextToken": token}

    def cancel_batch(self, visit: Visit) -> None:
        meant_cancel(visit)
        found, _ = self._found(self.batches.batches, visit)
        if not found:
            raise Refused(404, "ResourceNotFound", f"The job {visit.key} does not exist.")
        self.batches.cancel(found[0], visit.now)

    # -- workflows

    def create_workflow(self, visit: Visit) -> Tree:
        workflow = Workflow(
            self.names.new("w"), visit.bucket.name, "", "Active", {}, visit.now, visit.now
        )
        self._write_workflow(workflow, visit)
        self.batches.workflows[workflow.id] = workflow
        return {"RequestId": visit.ticket, "MediaWorkflow": batching.workflow_detail(workflow)}

    def _write_workflow(self, workflow: Workflow, visit: Visit) -> None:
        spelled = branch(read(visit.request.body, "Request"), "MediaWorkflow")
        name = needed(spelled, "Name")
        others = (one for one in self._workflows(visit.bucket) if one is not workflow)
        if any(one.name == name for one in others):
            raise Refused(400, "WorkFlowNameDuplicate", f"There is a workflow {name!r} already.")
        state = text(spelled, "State") or workflow.state
        if state not in ("Active", "Paused"):
            raise invalid("State must be Active or Paused.")
        topology = branch(spelled, "Topology")
        if not branch(topology, "Nodes/Start") or not find(topology, "Dependencies/Start"):
            raise invalid("Topology needs Nodes.Start and Dependencies.Start.")
        workflow.name, workflow.state, workflow.topology = name, state, topology

    def _workflows(self, bucket: Bucket) -> list[Workflow]:
        return [one for one in self.batches.workflows.values() if one.bucket == bucket.name]

    def _workflow(self, visit: Visit, name: str) -> Workflow:
        workflow = self.batches.workflows.get(name)
        if workflow is None or workflow.bucket != visit.bucket.name:
            raise Refused(404, "ResourceNotFound", f"The workflow {name} does not exist.")
        return workflow

    def update_workflow(self, visit: Visit) -> Tree:
        """`?active` and `?paused` switch it; a body rewrites it, unless it is active."""
        workflow = self._workflow(visit, visit.key)
        switch = next((name for name in ("active", "paused") if name in visit.params), "")
        if switch:
            workflow.state = switch.capitalize()
        else:
            self._paused(workflow)
            self._write_workflow(workflow, visit)
        workflow.updated = visit.now
        return {"RequestId": visit.ticket, "MediaWorkflow": batching.workflow_detail(workflow)}

    def _paused(self, workflow: Workflow) -> None:
        if workflow.state == "Active":
            raise Refused(
                403,
                "ActiveWorkflowForbiddenUpdate",
                "An active workflow cannot be changed; pause it first.",
            )

    def delete_workflow(self, visit: Visit) -> Tree:
        workflow = self._workflow(visit, visit.key)
        self._paused(workflow)
        del self.batches.workflows[workflow.id]
        return {"RequestId": visit.ticket, "WorkflowId": workflow.id}

    def list_workflows(self, visit: Visit) -> Tree:
        asked = lowered(visit.params)
        ids = listed(asked.get("ids", "") or visit.key)
        name = asked.get("name", "")
        rows = [one for one in self._workflows(visit.bucket) if one.name.startswith(name)]
        unknown = [one for one in ids if one not in {row.id for row in rows}]
        rows = [one for one in rows if not ids or one.id in ids]
        shown, counts = numbered_page(rows, asked)
        told = [batching.workflow_detail(one) for one in shown]
        return {
            "RequestId": visit.ticket,
            **counts,
            "MediaWorkflowList": told,
            "NonExistWIds": unknown,
        }

    def trigger_workflow(self, visit: Visit) -> Tree:
        asked = lowered(visit.params)
        workflow = self._workflow(visit, asked.get("workflowid", ""))
        key = asked.get("object", "").lstrip("/")
        visit.bucket.get(key)
        execution = self.batches.execute(workflow, key, visit.now, name=asked.get("name", ""))
        return {"RequestId": visit.ticket, "InstanceId": execution.id}

    def describe_execution(self, visit: Visit) -> Tree:
        found, _ = self._found(self.batches.executions, visit)
        if not found:
            raise Refused(404, "ResourceNotFound", f"The execution {visit.key} does not exist.")
        return {"RequestId": visit.ticket, "WorkflowExecution": batching.execution_detail(found[0])}

    def list_executions(self, visit: Visit) -> Tree:
        asked = lowered(visit.params)
        rules = read_filter(asked)
        batch, name = asked.get("jobid", ""), asked.get("name", "")

        def holds(row: Execution) -> bool:
            return (
                row.bucket == visit.bucket.name
                and (not rules.workflow or row.workflow.id == rules.workflow)
                and (not batch or row.batch == batch)
                and (not name or row.source == name)
                and (not rules.states or row.state in rules.states)
                and rules.since <= int(row.created) <= rules.until
            )

        rows, token = token_page(self.batches.executions.values(), holds, asked)
        told = [batching.execution_row(row) for row in rows]
        return {"RequestId": visit.ticket, "WorkflowExecutionList": told, "NextToken": token}

    def _node_task(self, workflow: Workflow, node: Tree) -> Task:
        if text(node, "Type") != "PicProcess":
            raise invalid(
                f"A node of type {text(node, 'Type')!r} is not served here; PicProcess is."
            )
        operation = branch(node, "Operation")
        return self._task(workflow.bucket, operation, operation, {})

    # -- templates

    def _template(self, bucket: str, name: str) -> Template:
        template = self.templates.get(name)
        if template is None or template.bucket != bucket:
            raise Refused(404, "TemplateNotFound", f"The template {name} does not exist.")
        return template

    def create_template(self, visit: Visit) -> Tree:
        template = Template(
            self.names.new("t"), visit.bucket.name, "", "", False, visit.now, visit.now
        )
        self._write_template(template, visit)
        self.templates[template.id] = template
        return {"RequestId": visit.ticket, "Template": template_detail(template)}

    def update_template(self, visit: Visit) -> Tree:
        template = self._template(visit.bucket.name, visit.key)
        self._write_template(template, visit)
        template.updated = visit.now
        return {"RequestId": visit.ticket, "Template": template_detail(template)}

    def _write_template(self, template: Template, visit: Visit) -> None:
        request = read(visit.request.body, "Request")
        tag, name = text(request, "Tag"), needed(request, "Name")
        if tag != "PicProcess":
            raise invalid(
                f"The Tag {tag!r} is not served here; PicProcess is." if tag else "Tag is needed."
            )
        if not re.fullmatch(r"[\w*-]{1,64}", name):
            raise invalid("Name is Chinese, Latin, digits, _, - and *, at most 64 characters.")
        others = (
            one
            for one in self.templates.values()
            if one is not template and one.bucket == template.bucket
        )
        if any(one.name == name for one in others):
            raise Refused(400, "TemplateNameDuplicate", f"There is a template {name!r} already.")
        rule = needed(request, "PicProcess/ProcessRule")
        template.name, template.rule = name, rule
        template.with_info = truth(text(request, "PicProcess/IsPicInfo"))

    def delete_template(self, visit: Visit) -> Tree:
        template = self._template(visit.bucket.name, visit.key)
        del self.templates[template.id]
        return {"RequestId": visit.ticket, "TemplateId": template.id}

    def list_templates(self, visit: Visit) -> Tree:
        asked = lowered(visit.params)
        ids, name = listed(asked.get("ids", "") or visit.key), asked.get("name", "")
        own = asked.get("category", "") in ("", "Custom") and asked.get("tag", "") in (
            "",
            "PicProcess",
            "All",
        )
        rows = [
            one
            for one in self.templates.values()
            if own
            and one.bucket == visit.bucket.name
            and one.name.startswith(name)
            and (not ids or one.id in ids)
        ]
        shown, counts = numbered_page(rows, asked)
        return {
            "RequestId": visit.ticket,
            **counts,
            "TemplateList": [template_detail(one) for one in shown],
        }

    # -- queues and bindings

    def list_queues(self, visit: Visit) -> Tree:
        asked = lowered(visit.params)
        ids, state = listed(asked.get("queueids", "") or visit.key), asked.get("state", "")
        category = CATEGORIES[QUEUES[visit.head]]
        mine = [
            queue for queue in self.jobs.queues_of(visit.bucket.name) if queue.category == category
        ]
        unknown = [name for name in ids if name not in {queue.id for queue in mine}]
        mine = [
            queue
            for queue in mine
            if (not ids or queue.id in ids) and state in ("", "All", queue.state)
        ]
        shown, counts = numbered_page(mine, asked)
        told = [queue_detail(queue) for queue in shown]
        return {"RequestId": visit.ticket, **counts, "QueueList": told, "NonExistPIDs": unknown}

    def update_queue(self, visit: Visit) -> Tree:
        request = read(visit.request.body, "Request")
        queue = self.jobs.pick_queue(visit.bucket.name, visit.key)
        name, state = text(request, "Name") or queue.name, text(request, "State") or queue.state
        notify = branch(request, "NotifyConfig")
        if len(name) > 128 or state not in ("Active", "Paused"):
            raise invalid("Name has at most 128 characters; State is Active or Paused.")
        if text(notify, "State") == "On" and text(notify, "Type") in ("", "Url"):
            checked_url(text(notify, "Url"))
        queue.name, queue.state, queue.updated = name, state, visit.now
        queue.notify = {key: text(notify, key) for key in NOTIFY_FIELDS} if notify else queue.notify
        self.jobs.dispatch(queue, visit.now)
        return {"RequestId": visit.ticket, "Queue": queue_detail(queue)}

    def _bind(self, bucket: Bucket, service: str, now: float) -> None:
        bucket.bound.add(service)
        category = CATEGORIES[service]
        if not any(queue.category == category for queue in self.jobs.queues_of(bucket.name)):
            self.jobs.new_queue(bucket.name, service, now).most = self.concurrency

    def bind(self, visit: Visit) -> Tree:
        service, element = BINDINGS[visit.head]
        self._bind(visit.bucket, service, visit.now)
        return {"RequestId": visit.ticket, element: binding_detail(visit.bucket)}

    def unbind(self, visit: Visit) -> Tree:
        service, _ = BINDINGS[visit.head]
        if service not in visit.bucket.bound:
            raise Refused(
                400,
                UNBOUND.get(service, "ResourceNotFound"),
                "The bucket is not bound to the service.",
            )
        visit.bucket.bound.discard(service)
        return {"RequestId": visit.ticket, "BucketName": visit.bucket.name}

    def bindings(self, visit: Visit) -> Tree:
        return self._bindings(visit.head, visit.params, visit.bucket.region, visit.ticket)

    def _bindings(self, head: str, params: Mapping[str, str], region: str, ticket: str) -> Tree:
        if head not in BINDINGS:
            raise Refused(
                404, "ResourceNotFound", f"There is no resource /{head} without a bucket."
            )
        service, element = BINDINGS[head]
        asked = lowered(params)
        regions, names, prefix = (
            listed(asked.get("regions", "")),
            listed(asked.get("bucketnames", "")),
            "",
        )
        prefix = asked.get("bucketname", "")
        rows = [
            bucket
            for bucket in self.store.buckets.values()
            if service in bucket.bound
            and bucket.region in (regions or [region])
            and (not names or bucket.name in names)
            and bucket.name.startswith(prefix)
        ]
        shown, counts = numbered_page(rows, asked)
        return {
            "RequestId": ticket,
            **counts,
            f"{element}List": [binding_detail(bucket) for bucket in shown],
        }

    # -- what comes of an ended job

    def _job_ended(self, job: Job, now: float) -> None:
        if job.state != "Cancel":
            bucket = self.store.buckets.get(job.bucket)
            region = bucket.region if bucket else self.home[1]
            self.outbox += job_callbacks(job, region, live=self.callback_shape == "live")
        self.batches.job_ended(job, now)

    def _execution_ended(self, execution: Execution) -> None:
        self.outbox += execution_callbacks(execution)

    # -- trouble on demand

    def freeze(self, job_id: str) -> None:
        """The job or batch changes no more by itself."""
        if job_id in self.jobs.by_id:
            self.jobs.freeze(self.jobs.by_id[job_id])
        elif job_id in self.batches.batches:
            self.batches.freeze(self.batches.batches[job_id])

    def forget(self, job_id: str) -> None:
        """The job or batch was never there."""
        if job_id in self.jobs.by_id:
            self.jobs.forget(self.jobs.by_id[job_id], self.clock.now())
        elif job_id in self.batches.batches:
            self.batches.freeze(self.batches.batches.pop(job_id))

    # -- kept across restarts

    def snapshot(self) -> dict[str, Any]:
        """Everything there is, as JSON with bytes for the bodies of objects."""
        parts = keep(self.store, self.jobs, self.batches, self.templates)
        waiting = [[one.url, one.body, dict(one.headers)] for one in self.outbox]
        return {"names": self.names.count, "requests": self.requests, "outbox": waiting, **parts}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Forgets what is here and takes up what the snapshot holds."""
        self.names.count, self.requests = snapshot["names"], snapshot["requests"]
        self.outbox = [Delivery(*row) for row in snapshot["outbox"]]
        recall(snapshot, self.store, self.jobs, self.batches, self.templates)


UNBOUND = {"pic-process": "PicBucketUnBinded", "media": "MediaBucketUnBinded"}
PIC_HEADS = frozenset(("jobs", "pic_jobs", "picqueue"))

Route = Callable[[TencentCI, Visit], "Tree | None"]
ROUTES: dict[tuple[str, str, bool], Route] = {
    ("POST", "inventorytriggerjob", False): TencentCI.create_batch,
    ("GET", "inventorytriggerjob", True): TencentCI.describe_batches,
    ("GET", "inventorytriggerjob", False): TencentCI.list_batches,
    ("PUT", "inventorytriggerjob", True): TencentCI.cancel_batch,
    ("POST", "workflow", False): TencentCI.create_workflow,
    ("PUT", "workflow", True): TencentCI.update_workflow,
    ("GET", "workflow", False): TencentCI.list_workflows,
    ("GET", "workflow", True): TencentCI.list_workflows,
    ("DELETE", "workflow", True): TencentCI.delete_workflow,
    ("POST", "triggerworkflow", False): TencentCI.trigger_workflow,
    ("GET", "workflowexecution", True): TencentCI.describe_execution,
    ("GET", "workflowexecution", False): TencentCI.list_executions,
    ("POST", "template", False): TencentCI.create_template,
    ("PUT", "template", True): TencentCI.update_template,
    ("GET", "template", False): TencentCI.list_templates,
    ("GET", "template", True): TencentCI.list_templates,
    ("DELETE", "template", True): TencentCI.delete_template,
}
for _head in JOB_HEADS:
    ROUTES["POST", _head, False] = TencentCI.create_job
    ROUTES["GET", _head, True] = TencentCI.describe_jobs
    ROUTES["GET", _head, False] = TencentCI.list_jobs
    ROUTES["PUT", _head, True] = TencentCI.cancel_job
for _head in QUEUES:
    ROUTES["GET", _head, False] = TencentCI.list_queues
    ROUTES["GET", _head, True] = TencentCI.list_queues
    ROUTES["PUT", _head, True] = TencentCI.update_queue
for _head in BINDINGS:
    ROUTES["POST", _head, False] = TencentCI.bind
    ROUTES["DELETE", _head, False] = TencentCI.unbind
    ROUTES["GET", _head, False] = TencentCI.bindings
CI_HEADS = frozenset(head for _, head, _ in ROUTES)


# -- what a request says


def truth(spelled: str) -> bool:
    return spelled.lower() in ("true", "1")


def listed(spelled: str) -> list[str]:
    return [part.strip() for part in spelled.split(",") if part.strip()]


def lowered(params: Mapping[str, str]) -> dict[str, str]:
    """Parameter names are matched without case: the documents spell one of them in two ways."""
    return {name.lower(): value for name, value in params.items()}


def read_filter(asked: Mapping[str, str]) -> Filter:
    states = frozenset(part.capitalize() for part in listed(asked.get("states", "")))
    if not states <= {*STATES, "All"}:
        raise invalid(f"states are {', '.join(STATES)} or All.")
    order = asked.get("orderbytime", "") or "Desc"
    if order.lower() not in ("desc", "asc"):
        raise invalid("orderByTime must be Desc or Asc.")
    since, until = asked.get("startcreationtime", ""), asked.get("endcreationtime", "")
    return Filter(
        queue=asked.get("queueid", ""),
        states=frozenset() if "All" in states else states,
        since=moment(since) if since else -NEVER,
        until=moment(until) if until else NEVER,
        workflow=asked.get("workflowid", ""),
        batch=asked.get("inventorytriggerjobid", ""),
        source=asked.get("inputobject", "").lstrip("/"),
        newest_first=order.lower() == "desc",
    )


def read_token(asked: Mapping[str, str]) -> int | None:
    token = asked.get("nexttoken", "")
    if not token:
        return None
    if not re.fullmatch(r"\d{1,15}", token, re.ASCII):
        raise invalid("nextToken is not one that was given out.")
    return int(token)


def meant_cancel(visit: Visit) -> None:
    """`PUT …/{id}` without `?cancel` is what some official SDKs send; an empty body says that
    cancel is meant.
    """
    if "cancel" not in visit.params and visit.request.body.strip():
        raise invalid("The only change that can be asked for is ?cancel.")


# -- pages


def numbered_page(rows: list[Any], asked: Mapping[str, str]) -> tuple[list[Any], Tree]:
    number = whole(asked, "pagenumber", 1, 1, 10**8)
    size = whole(asked, "pagesize", 10, 1, 100)
    counts = {"TotalCount": len(rows), "PageNumber": number, "PageSize": size}
    return rows[(number - 1) * size : number * size], counts


def token_page(
    rows: Iterable[Any], holds: Callable[[Any], bool], asked: Mapping[str, str]
) -> tuple[list[Any], str]:
    """A page of rows kept in the order of their creation; the token is the place of the next row in
    that order.
    """
    size, after = whole(asked, "size", 10, 1, 100), read_token(asked)
    numbered = list(enumerate(rows, 1))
    newest_first = (asked.get("orderbytime", "") or "Desc").lower() == "desc"
    if newest_first:
        numbered.reverse()
    found: list[Any] = []
    for number, row in numbered:
        behind = after is None or (number <= after if newest_first else number >= after)
        if behind and holds(row):
            if len(found) == size:
                return found, str(number)
            found.append(row)
    return found, ""


# -- what goes back


def response(content: Tree) -> Answer:
    return Answer(200, write("Response", content), XML)


def refused(refusal: Refused, path: str, ticket: str, plane: str) -> Answer:
    """The full error shape: clients take an error without one of these elements for none at all."""
    trace = base64.b64encode(f"trace {ticket}".encode()).decode()
    known = {"Code": refusal.code, "Message": refusal.message or refusal.code}
    body = write(
        "Error", {**known, **refusal.more, "Resource": path, "RequestId": ticket, "TraceId": trace}
    )
    return Answer(refusal.status, body, {**XML, f"x-{plane}-trace-id": trace})


def preflight(request: Request) -> Answer:
    """A browser asks whether it may; it may."""
    headers = request.headers
    return Answer(
        200,
        b"",
        {
            "Access-Control-Allow-Origin": headers.get("origin", "*"),
            "Access-Control-Allow-Methods": "GET, PUT, POST, DELETE, HEAD",
            "Access-Control-Allow-Headers": headers.get("access-control-request-headers", "*"),
            "Access-Control-Expose-Headers": "ETag, x-cos-request-id, x-ci-request-id",
            "Access-Control-Max-Age": "600",
        },
    )


def content_type_of(key: str) -> str:
    kinds = {
        "jpg": "jpeg",
        "jpeg": "jpeg",
        "png": "png",
        "gif": "gif",
        "webp": "webp",
        "bmp": "bmp",
    }
    kind = kinds.get(key.rpartition(".")[2].lower())
    return f"image/{kind}" if kind else "application/octet-stream"
