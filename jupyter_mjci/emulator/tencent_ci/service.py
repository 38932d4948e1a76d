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
from jupyter_mjci.emulator.cos.objects import (
    XML_HEADERS,
    ObjectPlane,
    RequestContext,
    parse_int_param,
)
from jupyter_mjci.emulator.cos.store import Bucket, HostInfo, Store, build_object
from jupyter_mjci.emulator.cos.verifier import Verifier, parse_unsigned_params
from jupyter_mjci.emulator.http import Request, Response, WebhookDelivery
from jupyter_mjci.emulator.samples import build_samples
from jupyter_mjci.emulator.tencent_ci import batches as batching
from jupyter_mjci.emulator.tencent_ci.batches import Batch, Batches, Execution, Workflow
from jupyter_mjci.emulator.tencent_ci.callbacks import (
    build_execution_callbacks,
    build_job_callbacks,
    check_callback_url,
    parse_callback,
)
from jupyter_mjci.emulator.tencent_ci.jobs import (
    CATEGORIES,
    JOB_STATES,
    NEVER,
    NOTIFY_FIELDS,
    EventQueue,
    IdGenerator,
    Job,
    JobFilter,
    Jobs,
    JobSpec,
    Template,
    parse_time,
    render_binding,
    render_job,
    render_queue,
    render_template,
)
from jupyter_mjci.emulator.tencent_ci.processing import ImageProcessor
from jupyter_mjci.emulator.tencent_ci.snapshot import dump_state, load_state
from jupyter_mjci.emulator.tencent_ci.xml import (
    Element,
    ErrorResponse,
    build_xml,
    find,
    find_all,
    find_element,
    get_text,
    invalid_argument,
    parse_xml,
    require_text,
)

SECRET_ID = "AKIDsandbox0000000000000000000000000"
SECRET_KEY = "sandboxSecretKey0000000000000000"
SAMPLE_TEMPLATE = (
    "t10461fe2bd5a649db9022452ec71e0381"  # the ids that the service's documents use in their
)
SAMPLE_WORKFLOW = (
    "w7476ff3564ee45b7b490d64bccaba6cc"  # examples; here they exist, so the examples work
)
JOB_RESOURCES = ("jobs", "pic_jobs")
BINDING_RESOURCES = {  # path -> (the service it binds, the element that tells of it)
    "picbucket": ("pic-process", "PicBucket"),
    "mediabucket": ("media", "MediaBucket"),
    "ai_bucket": ("ai", "AiBucket"),
    "docbucket": ("doc", "DocBucket"),
}
QUEUE_RESOURCES = {"picqueue": "pic-process", "queue": "media", "ai_queue": "ai", "docqueue": "doc"}


class TencentCI:
    """Tencent CI and COS for one account with one bucket, more when they are created.

    `objects` are there from the start (else the sample pictures). `sts_token` says which session
    tokens are good (None: any). `queue_time` and `run_time` are the seconds that a job waits and runs,
    `concurrency` how many run at once. `callback_shape` is "documented" or "live". A signature is
    in time by the sandbox's clock or by `wall_clock`.
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
        queue_time: float = 1.0,
        run_time: float = 1.0,
        concurrency: int = 10,
        wall_clock: Callable[[], float] | None = time.time,
    ) -> None:
        self.clock = clock
        self.default_location = (bucket, region)
        self.callback_shape = callback_shape
        self.concurrency = concurrency
        self.outbox: list[WebhookDelivery] = []
        tokens = {sts_token} if isinstance(sts_token, str) else sts_token
        clocks = (clock.now, wall_clock) if wall_clock else (clock.now,)
        self.verifier = Verifier({secret_id: secret_key}, tokens, clocks)
        self.ids = IdGenerator(seed)
        self.events = EventQueue()
        self.store = Store()
        self.processor = ImageProcessor(self.store)
        self.object_plane = ObjectPlane(self.store, self.processor)
        self.jobs = Jobs(
            self.store,
            self.processor,
            self.ids,
            self.events,
            queue_time=queue_time,
            run_time=run_time,
        )
        self.batches = Batches(self.store, self.jobs, self.ids, self.events)
        self.templates: dict[str, Template] = {}
        self.request_count = 0
        self.jobs.on_ended = self._on_job_ended
        self.batches.build_node_spec = self._parse_node_spec
        self.batches.on_finished = self._on_execution_ended
        self._seed_data(
            objects() if callable(objects) else objects if objects is not None else build_samples()
        )

    def _seed_data(self, objects: Mapping[str, bytes]) -> None:
        """The bucket, bound to the services, with the sample pictures and what the documents'
        examples name.
        """
        now = self.clock.now()
        name, region = self.default_location
        home = self.store.buckets[name] = Bucket(name, region, now)
        for service in ("pic-process", "media"):
            self._bind_bucket(home, service, now)
        for key, body in objects.items():
            home.put(key, build_object(body, now, guess_content_type(key)))
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
        while (due := self.events.next_due()) is not None and due <= now:
            items = self.events.pop_due(now)
            self.jobs.process_due([item for item in items if isinstance(item, Job)], due)
            for item in items:
                if isinstance(item, Batch):
                    self.batches.expand(item, due)

    def next_event(self) -> float | None:
        return self.events.next_due()

    # -- requests

    def handle(self, request: Request) -> Response:
        self.advance()
        self.request_count += 1
        now = self.clock.now()
        place = HostInfo.parse(request.host)
        path = unquote_to_bytes(request.path).decode("utf-8", "replace")
        plane = place.plane or ("ci" if path.strip("/").split("/")[0] in CI_RESOURCES else "cos")
        ticket = self._build_request_id(now)
        try:
            answer = self._dispatch(request, place, plane, path, ticket, now)
        except ErrorResponse as refusal:
            answer = build_error_response(refusal, path or "/", ticket, plane)
        if request.method == "HEAD":
            length = answer.headers.get("Content-Length", str(len(answer.body)))
            answer = Response(
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

    def _build_request_id(self, now: float) -> str:
        """A request id in the service's shape: base64 of four hex numbers."""
        mark = self.ids.digest(f"request {self.request_count}")
        return base64.b64encode(
            f"{int(now):08x}_{mark[:8]}_{mark[8:12]}_{self.request_count:x}".encode()
        ).decode()

    def _dispatch(
        self, request: Request, host: HostInfo, plane: str, path: str, request_id: str, now: float
    ) -> Response:
        if request.method == "OPTIONS":
            return build_preflight_response(request)
        if "\ufffd" in path:
            raise ErrorResponse(400, "InvalidURI", "The path is not UTF-8.")
        self.verifier.verify(request)
        name, region = (host.bucket, host.region) if host.plane else self.default_location
        params = parse_unsigned_params(request.query)
        key = path.removeprefix("/")
        if not name:
            return self._handle_account(plane, key, params, region, request_id, request)
        if (
            plane == "cos"
            and request.method == "PUT"
            and not key
            and not params
            and name not in self.store.buckets
        ):
            return self.object_plane.create_bucket(name, region, now)
        visit = RequestContext(
            request, self.store.get_bucket(name, region), key, params, now, request_id
        )
        return self.object_plane.handle(visit) if plane == "cos" else self._handle_ci(visit)

    def _handle_account(
        self,
        plane: str,
        key: str,
        params: Mapping[str, str],
        region: str,
        request_id: str,
        request: Request,
    ) -> Response:
        """Calls without a bucket: the list of buckets, on either plane."""
        if request.method != "GET":
            raise ErrorResponse(
                405,
                "MethodNotAllowed",
                "The specified method is not allowed against this resource.",
            )
        if plane == "cos":
            return self.object_plane.list_buckets()
        return build_xml_response(self._render_bindings(key, params, region, request_id))

    def _handle_ci(self, visit: RequestContext) -> Response:
        head, _, tail = visit.key.strip("/").partition("/")
        visit = replace(visit, resource=head, key=tail)
        route = ROUTES.get((visit.request.method, head, bool(tail)))
        if route is None:
            if head not in CI_RESOURCES:
                raise ErrorResponse(404, "ResourceNotFound", f"There is no resource /{head}.")
            raise ErrorResponse(
                405,
                "MethodNotAllowed",
                "The specified method is not allowed against this resource.",
            )
        service, code = (
            ("pic-process", "PicBucketUnBinded")
            if head in PIC_RESOURCES
            else ("media", "MediaBucketUnBinded")
        )
        if head not in BINDING_RESOURCES and service not in visit.bucket.bound_services:
            raise ErrorResponse(400, code, "The bucket is not bound to the service; bind it first.")
        content = route(self, visit)
        return (
            Response(200, b"", {"Content-Length": "0"})
            if content is None
            else build_xml_response(content)
        )

    # -- jobs

    def create_job(self, visit: RequestContext) -> Element:
        request = parse_xml(visit.request.body, "Request")
        tag = get_text(request, "Tag")
        if tag != "PicProcess":
            raise invalid_argument(
                f"The Tag {tag!r} is not served here; PicProcess is." if tag else "Tag is needed."
            )
        source = require_text(request, "Input/Object")
        queue = self.jobs.pick_queue(visit.bucket.name, get_text(request, "QueueId"))
        operations = find_all(request, "Operation")
        if not operations:
            raise invalid_argument("Operation is needed.")
        callback = parse_callback(request)
        tasks = [
            (
                self._parse_job_spec(visit.bucket.name, one, one, callback),
                get_text(one, "Output/Object"),
            )
            for one in operations
        ]
        made = [
            self.jobs.submit(visit.bucket.name, source, output, task, queue, visit.now)
            for task, output in tasks
        ]
        return {"JobsDetail": [render_job(job, visit.bucket.region) for job in made]}

    def _parse_job_spec(
        self, bucket: str, source: Element, operation: Element, callback: Element
    ) -> JobSpec:
        """What shall be done (`source` holds TemplateId or PicProcess), and where the result goes
        (`operation`).
        """
        for name in ("Region", "Bucket", "Object"):
            require_text(operation, f"Output/{name}")
        level = get_text(operation, "JobLevel") or "0"
        if level not in ("0", "1", "2"):
            raise invalid_argument("JobLevel must be 0, 1 or 2.")
        user_data = get_text(operation, "UserData")
        if not re.fullmatch(r"[\x20-\x7e]{0,1024}", user_data):
            raise invalid_argument("UserData is printable ASCII of at most 1024 characters.")
        task = self._parse_rule(bucket, source)
        return replace(
            task,
            region=get_text(operation, "Output/Region"),
            bucket=get_text(operation, "Output/Bucket"),
            user_data=user_data,
            level=int(level),
            callback=callback,
        )

    def _parse_rule(self, bucket: str, source: Element) -> JobSpec:
        template_id, inline = get_text(source, "TemplateId"), find(source, "PicProcess") != ""
        if bool(template_id) == inline:
            raise invalid_argument("Exactly one of TemplateId and PicProcess is needed.")
        if template_id:
            template = self._get_template(bucket, template_id)
            return JobSpec(template.rule, template.wants_image_info, template.id, template.name)
        return JobSpec(
            require_text(source, "PicProcess/ProcessRule"),
            parse_bool(get_text(source, "PicProcess/IsPicInfo")),
        )

    def describe_jobs(self, visit: RequestContext) -> Element:
        found, unknown = self._find_by_ids(self.jobs.by_id, visit)
        return {
            "JobsDetail": [render_job(job, visit.bucket.region) for job in found],
            "NonExistJobIds": unknown,
        }

    def _find_by_ids(
        self, items: Mapping[str, Any], visit: RequestContext
    ) -> tuple[list[Any], list[str]]:
        names = [name.strip() for name in visit.key.split(",") if name.strip()]
        found = [
            items[name]
            for name in names
            if name in items and items[name].bucket == visit.bucket.name
        ]
        here = {item.id for item in found}
        return found, [name for name in names if name not in here]

    def list_jobs(self, visit: RequestContext) -> Element:
        asked = lowercase_keys(visit.params)
        tag = asked.get("tag", "")
        if not tag and visit.resource == "jobs":
            raise invalid_argument("tag is needed.")
        size = parse_int_param(asked, "size", 10, 1, 100)
        if tag and tag != "PicProcess":
            return {"NextToken": ""}
        jobs, token = self.jobs.get_page(
            visit.bucket, parse_filter(asked), size, parse_token(asked)
        )
        return {
            "JobsDetail": [render_job(job, visit.bucket.region) for job in jobs],
            "NextToken": token,
        }

    def cancel_job(self, visit: RequestContext) -> None:
        check_cancel(visit)
        found, _ = self._find_by_ids(self.jobs.by_id, visit)
        if not found:
            raise ErrorResponse(404, "ResourceNotFound", f"The job {visit.key} does not exist.")
        for job in found:
            self.jobs.cancel(job, visit.now)

    # -- batches

    def create_batch(self, visit: RequestContext) -> Element:
        request = parse_xml(visit.request.body, "Request")
        kind = get_text(request, "Type") or "Workflow"
        if kind not in ("Workflow", "Job"):
            raise invalid_argument("Type must be Workflow or Job.")
        name = require_text(request, "Name")
        if not re.fullmatch(r"[\w—-]{1,128}", name):
            raise invalid_argument(
                "Name is Chinese, Latin, digits, — and _, at most 128 characters."
            )
        given = [part for part in batching.INPUT_KINDS if get_text(request, f"Input/{part}")]
        if len(given) != 1:
            raise invalid_argument(
                "Input needs exactly one of Manifest, UrlFile, Prefix and Object."
            )
        operation = find_element(request, "Operation")
        since, until = batching.parse_interval(operation, request)
        batch = Batch(
            self.ids.new_id("b"),
            visit.bucket.name,
            name,
            kind,
            find_element(request, "Input"),
            operation,
            visit.now,
        )
        batch.since, batch.until = since, until
        (self._configure_job_batch if kind == "Job" else self._configure_workflow_batch)(
            batch, operation
        )
        self.batches.add(batch)
        return {"RequestId": visit.request_id, "JobsDetail": batching.render_batch(batch)}

    def _configure_job_batch(self, batch: Batch, operation: Element) -> None:
        if get_text(operation, "Tag") != "PicProcess":
            raise invalid_argument("Operation.Tag must be PicProcess.")
        callback = parse_callback(operation)
        batch.spec = self._parse_job_spec(
            batch.bucket, find_element(operation, "JobParam"), operation, callback
        )
        batch.output = get_text(operation, "Output/Object")
        batch.queue = self.jobs.pick_queue(batch.bucket, get_text(operation, "QueueId")).id

    def _configure_workflow_batch(self, batch: Batch, operation: Element) -> None:
        names = [name.strip() for name in require_text(operation, "WorkflowIds").split(",")]
        batch.workflows = tuple(name for name in names if name)

    def describe_batches(self, visit: RequestContext) -> Element:
        found, unknown = self._find_by_ids(self.batches.batches, visit)
        told = [batching.render_batch(batch) for batch in found]
        return {"RequestId": visit.request_id, "JobsDetail": told, "NonExistJobIds": unknown}

    def list_batches(self, visit: RequestContext) -> Element:
        asked = lowercase_keys(visit.params)
        rules = parse_filter(asked)
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

        rows, token = paginate_by_token(self.batches.batches.values(), holds, asked)
        told = [batching.render_batch(batch) for batch in rows]
        return {"RequestId": visit.request_id, "JobsDetail": told, "NextToken": token}

    def cancel_batch(self, visit: RequestContext) -> None:
        check_cancel(visit)
        found, _ = self._find_by_ids(self.batches.batches, visit)
        if not found:
            raise ErrorResponse(404, "ResourceNotFound", f"The job {visit.key} does not exist.")
        self.batches.cancel(found[0], visit.now)

    # -- workflows

    def create_workflow(self, visit: RequestContext) -> Element:
        workflow = Workflow(
            self.ids.new_id("w"), visit.bucket.name, "", "Active", {}, visit.now, visit.now
        )
        self._update_from_body(workflow, visit)
        self.batches.workflows[workflow.id] = workflow
        return {"RequestId": visit.request_id, "MediaWorkflow": batching.render_workflow(workflow)}

    def _update_from_body(self, workflow: Workflow, visit: RequestContext) -> None:
        spelled = find_element(parse_xml(visit.request.body, "Request"), "MediaWorkflow")
        name = require_text(spelled, "Name")
        others = (one for one in self._get_workflows(visit.bucket) if one is not workflow)
        if any(one.name == name for one in others):
            raise ErrorResponse(
                400, "WorkFlowNameDuplicate", f"There is a workflow {name!r} already."
            )
        state = get_text(spelled, "State") or workflow.state
        if state not in ("Active", "Paused"):
            raise invalid_argument("State must be Active or Paused.")
        topology = find_element(spelled, "Topology")
        if not find_element(topology, "Nodes/Start") or not find(topology, "Dependencies/Start"):
            raise invalid_argument("Topology needs Nodes.Start and Dependencies.Start.")
        workflow.name, workflow.state, workflow.topology = name, state, topology

    def _get_workflows(self, bucket: Bucket) -> list[Workflow]:
        return [one for one in self.batches.workflows.values() if one.bucket == bucket.name]

    def _get_workflow(self, visit: RequestContext, workflow_id: str) -> Workflow:
        workflow = self.batches.workflows.get(workflow_id)
        if workflow is None or workflow.bucket != visit.bucket.name:
            raise ErrorResponse(
                404, "ResourceNotFound", f"The workflow {workflow_id} does not exist."
            )
        return workflow

    def update_workflow(self, visit: RequestContext) -> Element:
        """`?active` and `?paused` switch it; a body rewrites it, unless it is active."""
        workflow = self._get_workflow(visit, visit.key)
        switch = next((name for name in ("active", "paused") if name in visit.params), "")
        if switch:
            workflow.state = switch.capitalize()
        else:
            self._check_paused(workflow)
            self._update_from_body(workflow, visit)
        workflow.updated = visit.now
        return {"RequestId": visit.request_id, "MediaWorkflow": batching.render_workflow(workflow)}

    def _check_paused(self, workflow: Workflow) -> None:
        if workflow.state == "Active":
            raise ErrorResponse(
                403,
                "ActiveWorkflowForbiddenUpdate",
                "An active workflow cannot be changed; pause it first.",
            )

    def delete_workflow(self, visit: RequestContext) -> Element:
        workflow = self._get_workflow(visit, visit.key)
        self._check_paused(workflow)
        del self.batches.workflows[workflow.id]
        return {"RequestId": visit.request_id, "WorkflowId": workflow.id}

    def list_workflows(self, visit: RequestContext) -> Element:
        asked = lowercase_keys(visit.params)
        ids = split_list(asked.get("ids", "") or visit.key)
        name = asked.get("name", "")
        rows = [one for one in self._get_workflows(visit.bucket) if one.name.startswith(name)]
        unknown = [one for one in ids if one not in {row.id for row in rows}]
        rows = [one for one in rows if not ids or one.id in ids]
        shown, counts = paginate_by_number(rows, asked)
        told = [batching.render_workflow(one) for one in shown]
        return {
            "RequestId": visit.request_id,
            **counts,
            "MediaWorkflowList": told,
            "NonExistWIds": unknown,
        }

    def trigger_workflow(self, visit: RequestContext) -> Element:
        asked = lowercase_keys(visit.params)
        workflow = self._get_workflow(visit, asked.get("workflowid", ""))
        key = asked.get("object", "").lstrip("/")
        visit.bucket.get(key)
        execution = self.batches.execute(workflow, key, visit.now, name=asked.get("name", ""))
        return {"RequestId": visit.request_id, "InstanceId": execution.id}

    def describe_execution(self, visit: RequestContext) -> Element:
        found, _ = self._find_by_ids(self.batches.executions, visit)
        if not found:
            raise ErrorResponse(
                404, "ResourceNotFound", f"The execution {visit.key} does not exist."
            )
        return {
            "RequestId": visit.request_id,
            "WorkflowExecution": batching.render_execution(found[0]),
        }

    def list_executions(self, visit: RequestContext) -> Element:
        asked = lowercase_keys(visit.params)
        rules = parse_filter(asked)
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

        rows, token = paginate_by_token(self.batches.executions.values(), holds, asked)
        told = [batching.render_execution_summary(row) for row in rows]
        return {"RequestId": visit.request_id, "WorkflowExecutionList": told, "NextToken": token}

    def _parse_node_spec(self, workflow: Workflow, node: Element) -> JobSpec:
        if get_text(node, "Type") != "PicProcess":
            raise invalid_argument(
                f"A node of type {get_text(node, 'Type')!r} is not served here; PicProcess is."
            )
        operation = find_element(node, "Operation")
        return self._parse_job_spec(workflow.bucket, operation, operation, {})

    # -- templates

    def _get_template(self, bucket: str, template_id: str) -> Template:
        template = self.templates.get(template_id)
        if template is None or template.bucket != bucket:
            raise ErrorResponse(
                404, "TemplateNotFound", f"The template {template_id} does not exist."
            )
        return template

    def create_template(self, visit: RequestContext) -> Element:
        template = Template(
            self.ids.new_id("t"), visit.bucket.name, "", "", False, visit.now, visit.now
        )
        self._update_template(template, visit)
        self.templates[template.id] = template
        return {"RequestId": visit.request_id, "Template": render_template(template)}

    def update_template(self, visit: RequestContext) -> Element:
        template = self._get_template(visit.bucket.name, visit.key)
        self._update_template(template, visit)
        template.updated = visit.now
        return {"RequestId": visit.request_id, "Template": render_template(template)}

    def _update_template(self, template: Template, visit: RequestContext) -> None:
        request = parse_xml(visit.request.body, "Request")
        tag, name = get_text(request, "Tag"), require_text(request, "Name")
        if tag != "PicProcess":
            raise invalid_argument(
                f"The Tag {tag!r} is not served here; PicProcess is." if tag else "Tag is needed."
            )
        if not re.fullmatch(r"[\w*-]{1,64}", name):
            raise invalid_argument(
                "Name is Chinese, Latin, digits, _, - and *, at most 64 characters."
            )
        others = (
            one
            for one in self.templates.values()
            if one is not template and one.bucket == template.bucket
        )
        if any(one.name == name for one in others):
            raise ErrorResponse(
                400, "TemplateNameDuplicate", f"There is a template {name!r} already."
            )
        rule = require_text(request, "PicProcess/ProcessRule")
        template.name, template.rule = name, rule
        template.wants_image_info = parse_bool(get_text(request, "PicProcess/IsPicInfo"))

    def delete_template(self, visit: RequestContext) -> Element:
        template = self._get_template(visit.bucket.name, visit.key)
        del self.templates[template.id]
        return {"RequestId": visit.request_id, "TemplateId": template.id}

    def list_templates(self, visit: RequestContext) -> Element:
        asked = lowercase_keys(visit.params)
        ids, name = split_list(asked.get("ids", "") or visit.key), asked.get("name", "")
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
        shown, counts = paginate_by_number(rows, asked)
        return {
            "RequestId": visit.request_id,
            **counts,
            "TemplateList": [render_template(one) for one in shown],
        }

    # -- queues and bindings

    def list_queues(self, visit: RequestContext) -> Element:
        asked = lowercase_keys(visit.params)
        ids, state = split_list(asked.get("queueids", "") or visit.key), asked.get("state", "")
        category = CATEGORIES[QUEUE_RESOURCES[visit.resource]]
        mine = [
            queue for queue in self.jobs.get_queues(visit.bucket.name) if queue.category == category
        ]
        unknown = [name for name in ids if name not in {queue.id for queue in mine}]
        mine = [
            queue
            for queue in mine
            if (not ids or queue.id in ids) and state in ("", "All", queue.state)
        ]
        shown, counts = paginate_by_number(mine, asked)
        told = [render_queue(queue) for queue in shown]
        return {"RequestId": visit.request_id, **counts, "QueueList": told, "NonExistPIDs": unknown}

    def update_queue(self, visit: RequestContext) -> Element:
        request = parse_xml(visit.request.body, "Request")
        queue = self.jobs.pick_queue(visit.bucket.name, visit.key)
        name, state = (
            get_text(request, "Name") or queue.name,
            get_text(request, "State") or queue.state,
        )
        notify = find_element(request, "NotifyConfig")
        if len(name) > 128 or state not in ("Active", "Paused"):
            raise invalid_argument("Name has at most 128 characters; State is Active or Paused.")
        if get_text(notify, "State") == "On" and get_text(notify, "Type") in ("", "Url"):
            check_callback_url(get_text(notify, "Url"))
        queue.name, queue.state, queue.updated = name, state, visit.now
        queue.notify_config = (
            {key: get_text(notify, key) for key in NOTIFY_FIELDS} if notify else queue.notify_config
        )
        self.jobs.dispatch(queue, visit.now)
        return {"RequestId": visit.request_id, "Queue": render_queue(queue)}

    def _bind_bucket(self, bucket: Bucket, service: str, now: float) -> None:
        bucket.bound_services.add(service)
        category = CATEGORIES[service]
        if not any(queue.category == category for queue in self.jobs.get_queues(bucket.name)):
            self.jobs.create_queue(bucket.name, service, now).max_concurrent = self.concurrency

    def bind(self, visit: RequestContext) -> Element:
        service, element = BINDING_RESOURCES[visit.resource]
        self._bind_bucket(visit.bucket, service, visit.now)
        return {"RequestId": visit.request_id, element: render_binding(visit.bucket)}

    def unbind(self, visit: RequestContext) -> Element:
        service, _ = BINDING_RESOURCES[visit.resource]
        if service not in visit.bucket.bound_services:
            raise ErrorResponse(
                400,
                UNBOUND_CODES.get(service, "ResourceNotFound"),
                "The bucket is not bound to the service.",
            )
        visit.bucket.bound_services.discard(service)
        return {"RequestId": visit.request_id, "BucketName": visit.bucket.name}

    def list_bindings(self, visit: RequestContext) -> Element:
        return self._render_bindings(
            visit.resource, visit.params, visit.bucket.region, visit.request_id
        )

    def _render_bindings(
        self, resource: str, params: Mapping[str, str], region: str, request_id: str
    ) -> Element:
        if resource not in BINDING_RESOURCES:
            raise ErrorResponse(
                404, "ResourceNotFound", f"There is no resource /{resource} without a bucket."
            )
        service, element = BINDING_RESOURCES[resource]
        asked = lowercase_keys(params)
        regions, names, prefix = (
            split_list(asked.get("regions", "")),
            split_list(asked.get("bucketnames", "")),
            "",
        )
        prefix = asked.get("bucketname", "")
        rows = [
            bucket
            for bucket in self.store.buckets.values()
            if service in bucket.bound_services
            and bucket.region in (regions or [region])
            and (not names or bucket.name in names)
            and bucket.name.startswith(prefix)
        ]
        shown, counts = paginate_by_number(rows, asked)
        return {
            "RequestId": request_id,
            **counts,
            f"{element}List": [render_binding(bucket) for bucket in shown],
        }

    # -- what comes of an ended job

    def _on_job_ended(self, job: Job, now: float) -> None:
        if job.state != "Cancel":
            bucket = self.store.buckets.get(job.bucket)
            region = bucket.region if bucket else self.default_location[1]
            self.outbox += build_job_callbacks(job, region, live=self.callback_shape == "live")
        self.batches.on_job_ended(job, now)

    def _on_execution_ended(self, execution: Execution) -> None:
        self.outbox += build_execution_callbacks(execution)

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
        parts = dump_state(self.store, self.jobs, self.batches, self.templates)
        waiting = [[one.url, one.body, dict(one.headers)] for one in self.outbox]
        return {"names": self.ids.count, "requests": self.request_count, "outbox": waiting, **parts}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Forgets what is here and takes up what the snapshot holds."""
        self.ids.count, self.request_count = snapshot["names"], snapshot["requests"]
        self.outbox = [WebhookDelivery(*row) for row in snapshot["outbox"]]
        load_state(snapshot, self.store, self.jobs, self.batches, self.templates)


UNBOUND_CODES = {"pic-process": "PicBucketUnBinded", "media": "MediaBucketUnBinded"}
PIC_RESOURCES = frozenset(("jobs", "pic_jobs", "picqueue"))

Route = Callable[[TencentCI, RequestContext], "Element | None"]
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
for _head in JOB_RESOURCES:
    ROUTES["POST", _head, False] = TencentCI.create_job
    ROUTES["GET", _head, True] = TencentCI.describe_jobs
    ROUTES["GET", _head, False] = TencentCI.list_jobs
    ROUTES["PUT", _head, True] = TencentCI.cancel_job
for _head in QUEUE_RESOURCES:
    ROUTES["GET", _head, False] = TencentCI.list_queues
    ROUTES["GET", _head, True] = TencentCI.list_queues
    ROUTES["PUT", _head, True] = TencentCI.update_queue
for _head in BINDING_RESOURCES:
    ROUTES["POST", _head, False] = TencentCI.bind
    ROUTES["DELETE", _head, False] = TencentCI.unbind
    ROUTES["GET", _head, False] = TencentCI.list_bindings
CI_RESOURCES = frozenset(head for _, head, _ in ROUTES)


# -- what a request says


def parse_bool(value: str) -> bool:
    return value.lower() in ("true", "1")


def split_list(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def lowercase_keys(params: Mapping[str, str]) -> dict[str, str]:
    """Parameter names are matched without case: the documents spell one of them in two ways."""
    return {name.lower(): value for name, value in params.items()}


def parse_filter(params: Mapping[str, str]) -> JobFilter:
    states = frozenset(part.capitalize() for part in split_list(params.get("states", "")))
    if not states <= {*JOB_STATES, "All"}:
        raise invalid_argument(f"states are {', '.join(JOB_STATES)} or All.")
    order = params.get("orderbytime", "") or "Desc"
    if order.lower() not in ("desc", "asc"):
        raise invalid_argument("orderByTime must be Desc or Asc.")
    since, until = params.get("startcreationtime", ""), params.get("endcreationtime", "")
    return JobFilter(
        queue=params.get("queueid", ""),
        states=frozenset() if "All" in states else states,
        since=parse_time(since) if since else -NEVER,
        until=parse_time(until) if until else NEVER,
        workflow=params.get("workflowid", ""),
        batch=params.get("inventorytriggerjobid", ""),
        source=params.get("inputobject", "").lstrip("/"),
        newest_first=order.lower() == "desc",
    )


def parse_token(params: Mapping[str, str]) -> int | None:
    token = params.get("nexttoken", "")
    if not token:
        return None
    if not re.fullmatch(r"\d{1,15}", token, re.ASCII):
        raise invalid_argument("nextToken is not one that was given out.")
    return int(token)


def check_cancel(visit: RequestContext) -> None:
    """`PUT …/{id}` without `?cancel` is what some official SDKs send; an empty body says that
    cancel is meant.
    """
    if "cancel" not in visit.params and visit.request.body.strip():
        raise invalid_argument("The only change that can be asked for is ?cancel.")


# -- pages


def paginate_by_number(rows: list[Any], params: Mapping[str, str]) -> tuple[list[Any], Element]:
    number = parse_int_param(params, "pagenumber", 1, 1, 10**8)
    size = parse_int_param(params, "pagesize", 10, 1, 100)
    counts = {"TotalCount": len(rows), "PageNumber": number, "PageSize": size}
    return rows[(number - 1) * size : number * size], counts


def paginate_by_token(
    rows: Iterable[Any], matches: Callable[[Any], bool], params: Mapping[str, str]
) -> tuple[list[Any], str]:
    """A page of rows kept in the order of their creation; the token is the place of the next row in
    that order.
    """
    size, after = parse_int_param(params, "size", 10, 1, 100), parse_token(params)
    numbered = list(enumerate(rows, 1))
    newest_first = (params.get("orderbytime", "") or "Desc").lower() == "desc"
    if newest_first:
        numbered.reverse()
    found: list[Any] = []
    for number, row in numbered:
        behind = after is None or (number <= after if newest_first else number >= after)
        if behind and matches(row):
            if len(found) == size:
                return found, str(number)
            found.append(row)
    return found, ""


# -- what goes back


def build_xml_response(content: Element) -> Response:
    return Response(200, build_xml("Response", content), XML_HEADERS)


def build_error_response(error: ErrorResponse, path: str, request_id: str, plane: str) -> Response:
    """The full error shape: clients take an error without one of these elements for none at all."""
    trace = base64.b64encode(f"trace {request_id}".encode()).decode()
    known = {"Code": error.code, "Message": error.message or error.code}
    body = build_xml(
        "Error",
        {
            **known,
            **error.extra_elements,
            "Resource": path,
            "RequestId": request_id,
            "TraceId": trace,
        },
    )
    return Response(error.status, body, {**XML_HEADERS, f"x-{plane}-trace-id": trace})


def build_preflight_response(request: Request) -> Response:
    """A browser asks whether it may; it may."""
    headers = request.headers
    return Response(
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


def guess_content_type(key: str) -> str:
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
