"""Tencent Cloud Infinite (CI), with the COS buckets that it works on.

    ci = TencentCI(clock, objects={"input/deer.jpg": picture})
    response = ci.handle(request)

Every request is routed by its Host (CI plane, object plane, or a
bare address, where the path decides), its signature is verified,
and one table (`ROUTES`) says which function answers it. Such a
function takes a `RequestContext` and returns the content of the
XML, or raises `ErrorResponse`; what every response has (request
ID, Server) is added in one place.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar
from urllib.parse import unquote_to_bytes

from jupyter_mjci.emulator.clock import Clock
from jupyter_mjci.emulator.cos.aws_signature import is_aws_signed
from jupyter_mjci.emulator.cos.cors import (
    CorsRule,
    build_cors_headers,
    find_rule,
    preflight_refused,
)
from jupyter_mjci.emulator.cos.objects import ObjectPlane
from jupyter_mjci.emulator.cos.processing import ImageProcessor
from jupyter_mjci.emulator.cos.requests import (
    SUBRESOURCES,
    RequestContext,
    method_not_allowed,
    parse_int_param,
)
from jupyter_mjci.emulator.cos.s3 import (
    add_amz_headers,
    drop_aws_params,
    translate_request,
)
from jupyter_mjci.emulator.cos.store import (
    Bucket,
    HostInfo,
    Store,
    build_object,
    guess_content_type,
)
from jupyter_mjci.emulator.cos.styles import split_style
from jupyter_mjci.emulator.cos.verifier import Verifier, is_unsigned, parse_unsigned_params
from jupyter_mjci.emulator.http import Request, Response, WebhookDelivery
from jupyter_mjci.emulator.samples import build_samples
from jupyter_mjci.emulator.tencent_ci.batches import (
    INPUT_KINDS,
    Batch,
    Batches,
    Execution,
    Workflow,
    parse_interval,
)
from jupyter_mjci.emulator.tencent_ci.callbacks import (
    build_execution_callbacks,
    build_job_callbacks,
    check_callback_url,
    parse_callback,
)
from jupyter_mjci.emulator.tencent_ci.events import EventQueue, IdGenerator
from jupyter_mjci.emulator.tencent_ci.jobs import (
    CATEGORIES,
    NOTIFY_FIELDS,
    Job,
    JobFilter,
    Jobs,
    JobSpec,
    Template,
)
from jupyter_mjci.emulator.tencent_ci.params import (
    check_cancel,
    lowercase_keys,
    paginate_by_number,
    paginate_by_token,
    parse_bool,
    parse_filter,
    parse_token,
    split_list,
)
from jupyter_mjci.emulator.tencent_ci.responses import (
    build_error_response,
    build_xml_response,
    render_batch,
    render_binding,
    render_execution,
    render_execution_summary,
    render_job,
    render_queue,
    render_template,
    render_workflow,
)
from jupyter_mjci.emulator.tencent_ci.snapshot import State, dump_state, load_state
from jupyter_mjci.emulator.xml import (
    Element,
    ErrorResponse,
    find,
    find_all,
    find_element,
    get_text,
    invalid_argument,
    parse_xml,
    require_text,
)

# The IDs that the service's documents use in their examples; here
# they exist, so the examples work.
SAMPLE_TEMPLATE = "t10461fe2bd5a649db9022452ec71e0381"
SAMPLE_WORKFLOW = "w7476ff3564ee45b7b490d64bccaba6cc"
SAMPLE_RULE = "imageMogr2/thumbnail/!50p"

# Of a service on its own; a sandbox makes its own keys.
SECRET_ID = "AKIDsandbox0000000000000000000000000"
SECRET_KEY = "sandboxSecretKey0000000000000000"

JOB_RESOURCES = ("jobs", "pic_jobs")
# Path: the service that it binds a bucket to, and the element
# that describes the binding.
BINDING_RESOURCES = {
    "picbucket": ("pic-process", "PicBucket"),
    "mediabucket": ("media", "MediaBucket"),
    "ai_bucket": ("ai", "AiBucket"),
    "docbucket": ("doc", "DocBucket"),
}
QUEUE_RESOURCES = {"picqueue": "pic-process", "queue": "media", "ai_queue": "ai", "docqueue": "doc"}
# Services of Tencent CI that are not emulated: moderation, speech,
# documents, files, datasets.
UNSERVED_RESOURCES = frozenset(
    """
    ai_jobs asr_jobs asrbucket asrqueue audio dataset datasetquery datasets doc_jobs
    document file_bucket file_jobs file_queue image livecaption livevideo metainsight playKey report
    text video virus webpage
    """.split()  # noqa: SIM905
)
UNBOUND_CODES = {"pic-process": "PicBucketUnBinded", "media": "MediaBucketUnBinded"}
PIC_RESOURCES = frozenset(("jobs", "pic_jobs", "picqueue"))

Samples = Mapping[str, bytes]


class BucketItem(Protocol):
    """A job, batch or execution: something of a bucket that has an ID."""

    id: str
    bucket: str


Item = TypeVar("Item", bound=BucketItem)


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about: the plane ("ci" or "cos"), a bucket's name, region and path."""

    plane: str
    bucket: str
    region: str
    path: str

    @property
    def key(self) -> str:
        """The path without its leading slash."""
        return self.path.removeprefix("/")


# The hosts of asynchronous fetches speak JSON.
MIGRATION_HOST_RE = re.compile(r"[a-z0-9-]+\.migration\.")


def refuse_migration() -> Response:
    """Build the response to an asynchronous fetch of a URL into a bucket."""
    body = b'{"code": 501, "message": "NotImplemented: asynchronous fetches are not emulated."}'
    return Response(501, body, {"Content-Type": "application/json"})


def path_style_forbidden() -> ErrorResponse:
    """Build the error for a bucket that stands in the path.

    https://cloud.tencent.com/document/faq/436/102489
    """
    message = (
        "The bucket you are attempting to access must be addressed using COS virtual-styled domain."
    )
    return ErrorResponse(403, "PathStyleDomainForbidden", message)


def not_found(what: str) -> ErrorResponse:
    """Build the error for a resource that does not exist."""
    return ErrorResponse(404, "ResourceNotFound", f"The {what} does not exist.")


def unknown_resource(resource: str) -> ErrorResponse:
    """Build the error for a path that leads nowhere here, or nowhere at all."""
    if resource in UNSERVED_RESOURCES:
        message = f"The service /{resource} is not emulated; picture jobs are."
        return ErrorResponse(501, "NotImplemented", message)
    return ErrorResponse(404, "ResourceNotFound", f"There is no resource /{resource}.")


class TencentCI:
    """Tencent CI and COS for one account with one bucket; more buckets can be created.

    Args:
        clock: the time that jobs age by
        bucket: the name of the bucket, with its APPID
        region: the region of the bucket
        secret_id: the key ID of the account
        secret_key: its secret key
        sts_token: the session tokens that are valid (default:
            any)
        seed: where IDs come from
        objects: the objects of the bucket (default: the sample
            pictures)
        callback_shape: the shape of the callbacks' JSON,
            "documented" or "live"
        queue_time: how long a job waits at least (seconds)
        run_time: how long a job runs (seconds)
        concurrency: how many jobs of a queue run at once
        wall_clock: another clock that signatures may be valid by,
            beside `clock`
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
        objects: Samples | Callable[[], Samples] | None = None,
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
        clocks = [clock.now]
        if wall_clock:
            clocks.append(wall_clock)
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
        self.object_plane.on_uploaded = self.batches.start_by_upload
        self.jobs.on_ended = self._on_job_ended
        self.batches.build_node_spec = self._parse_node_spec
        self.batches.on_finished = self._on_execution_ended
        self._create_samples(load_objects(objects))

    def _create_samples(self, objects: Samples) -> None:
        """Create the bucket, bound to the services, and what the documents' examples name."""
        now = self.clock.now()
        name, region = self.default_location
        bucket = self.store.buckets[name] = Bucket(name, region, now)
        for service in ("pic-process", "media"):
            self._bind_bucket(bucket, service, now)
        for key, body in objects.items():
            bucket.put(key, build_object(body, now, guess_content_type(key)))
        self.templates[SAMPLE_TEMPLATE] = Template(
            SAMPLE_TEMPLATE, name, "test", SAMPLE_RULE, False, now, now
        )
        topology = build_sample_topology(name, region)
        self.batches.workflows[SAMPLE_WORKFLOW] = Workflow(
            SAMPLE_WORKFLOW, name, "demo", "Active", topology, now, now
        )

    # -- time

    def advance(self) -> None:
        """Let everything happen that is due by now, each event at its own time."""
        now = self.clock.now()
        while (due := self.events.next_due()) is not None and due <= now:
            items = self.events.pop_due(now)
            self.jobs.process_due([item for item in items if isinstance(item, Job)], due)
            for item in items:
                if isinstance(item, Batch):
                    self.batches.expand(item, due)

    def next_event(self) -> float | None:
        """Return when the next job or batch changes by itself (epoch seconds)."""
        return self.events.next_due()

    # -- requests

    def handle(self, request: Request) -> Response:
        """Answer a request; errors become the service's error document."""
        self.advance()
        self.request_count += 1
        now = self.clock.now()
        if MIGRATION_HOST_RE.match(request.host.lower()):
            return refuse_migration()
        target = self._find_target(request)
        request_id = self._build_request_id(now)
        rule = find_rule(request, self._get_cors_rules(target))
        try:
            response = self._dispatch(request, target, request_id, now)
        except ErrorResponse as error:
            response = build_error_response(error, target.path or "/", request_id, target.plane)
        headers = {
            **response.headers,
            f"x-{target.plane}-request-id": request_id,
            "Server": f"tencent-{target.plane}",
        }
        if is_aws_signed(request):
            headers = add_amz_headers(headers)
        headers |= build_cors_headers(request, rule, headers)
        if request.method != "HEAD":
            return replace(response, headers=headers)
        if response.status >= 300:
            headers["Content-Length"] = "0"
        else:
            headers.setdefault("Content-Length", str(len(response.body)))
        return Response(response.status, b"", headers)

    def _find_target(self, request: Request) -> Target:
        host = HostInfo.parse(request.host)
        path = unquote_to_bytes(request.path).decode("utf-8", "replace")
        if host.plane:
            return Target(host.plane, host.bucket, host.region, path)
        if is_aws_signed(request):
            return self._find_path_style(path)
        # A bare address means the default bucket; the path tells
        # the plane.
        resource = path.removeprefix("/").partition("/")[0]
        plane = "ci" if resource in CI_RESOURCES else "cos"
        return Target(plane, *self.default_location, path)

    def _find_path_style(self, path: str) -> Target:
        """Return what a client of S3 means that knows no names for buckets: `/bucket/key`."""
        name, _, key = path.removeprefix("/").partition("/")
        bucket = self.store.buckets.get(name)
        region = bucket.region if bucket else self.default_location[1]
        return Target("cos", name, region, f"/{key}")

    def _get_cors_rules(self, target: Target) -> Sequence[CorsRule]:
        bucket = self.store.buckets.get(target.bucket)
        return bucket.cors_rules if bucket else ()

    def find_cors_rule(self, request: Request) -> tuple[bool, CorsRule | None]:
        """Return whether the bucket of a request has rules, and the one that allows it."""
        rules = self._get_cors_rules(self._find_target(request))
        return bool(rules), find_rule(request, rules)

    def _build_request_id(self, now: float) -> str:
        """Build a request ID in the service's shape: base64 of four hex numbers."""
        digest = self.ids.digest(f"request {self.request_count}")
        text = f"{int(now):08x}_{digest[:8]}_{digest[8:12]}_{self.request_count:x}"
        return base64.b64encode(text.encode()).decode()

    def _dispatch(self, request: Request, target: Target, request_id: str, now: float) -> Response:
        if request.method == "OPTIONS":
            if find_rule(request, self._get_cors_rules(target)) is None:
                raise preflight_refused()
            return Response(200)
        if "\ufffd" in target.path:
            raise ErrorResponse(400, "InvalidURI", "The path is not UTF-8.")
        params = parse_unsigned_params(request.query)
        if not self._allows_everyone(request, target, params):
            self.verifier.verify(request)
        if is_aws_signed(request):
            request = self._translate_s3(request, target, params)
            params = drop_aws_params(params)
        if not target.bucket:
            return self._handle_account(request, target, params, request_id)
        if target.plane == "cos" and self._creates_bucket(request, target, params):
            return self.object_plane.create_bucket(
                target.bucket, target.region, now, request.headers
            )
        bucket = self.store.get_bucket(target.bucket, target.region)
        context = RequestContext(request, bucket, target.key, params, now, request_id)
        # styles belong to the bucket; the official Go client asks
        # CI's own host for them
        if target.plane == "cos" or (not target.key and "style" in params):
            return self.object_plane.handle(context)
        return self._handle_ci(context)

    def _translate_s3(self, request: Request, target: Target, params: Mapping[str, str]) -> Request:
        if target.plane != "cos":
            message = "CI takes signatures of COS only (q-sign-algorithm=sha1)."
            raise ErrorResponse(403, "InvalidAuthorization", message)
        return translate_request(request, params)

    def _allows_everyone(self, request: Request, target: Target, params: Mapping[str, str]) -> bool:
        """Return whether a request needs no signature: a public object, listing or bucket."""
        bucket = self.store.buckets.get(target.bucket)
        if target.plane != "cos" or bucket is None or not is_unsigned(request):
            return False
        if not SUBRESOURCES.isdisjoint(params):
            return False
        key = target.key
        if request.method in ("GET", "HEAD"):
            if key not in bucket.objects:
                key, _ = split_style(bucket.styles, key)
            return bucket.allows_everyone(key, "READ")
        if request.method in ("PUT", "DELETE") and key:
            return bucket.allows_everyone(key, "WRITE")
        return False

    def _creates_bucket(self, request: Request, target: Target, params: Mapping[str, str]) -> bool:
        if request.method != "PUT" or target.key or params:
            return False
        return target.bucket not in self.store.buckets

    def _handle_account(
        self, request: Request, target: Target, params: Mapping[str, str], request_id: str
    ) -> Response:
        """Answer a request without a bucket: the list of buckets, on either plane."""
        if target.plane == "cos" and target.key:
            raise path_style_forbidden()
        if request.method != "GET":
            raise method_not_allowed()
        if target.plane == "cos":
            return self.object_plane.list_buckets()
        content = self._render_bindings(target.key, params, target.region)
        return build_xml_response({"RequestId": request_id, **content})

    def _handle_ci(self, context: RequestContext) -> Response:
        resource, _, key = context.key.strip("/").partition("/")
        context = replace(context, resource=resource, key=key)
        route = ROUTES.get((context.request.method, resource, bool(key)))
        if route is None:
            if resource in CI_RESOURCES:
                raise method_not_allowed()
            raise unknown_resource(resource)
        if resource not in BINDING_RESOURCES:
            self._check_bound(context)
        content = route(self, context)
        if content is None:
            return Response(200, b"", {"Content-Length": "0"})
        return build_xml_response(content)

    def _check_bound(self, context: RequestContext) -> None:
        service = "pic-process" if context.resource in PIC_RESOURCES else "media"
        if service not in context.bucket.bound_services:
            message = "The bucket is not bound to the service; bind it first."
            raise ErrorResponse(400, UNBOUND_CODES[service], message)

    # -- jobs

    def create_job(self, context: RequestContext) -> Element:
        """`POST /jobs`: one job per Operation."""
        request = parse_xml(context.request.body, "Request")
        check_tag(request)
        source = require_text(request, "Input/Object")
        queue = self.jobs.pick_queue(context.bucket.name, get_text(request, "QueueId"))
        operations = find_all(request, "Operation")
        if not operations:
            raise invalid_argument("Operation is needed.")
        callback = parse_callback(request)
        specs = []
        # all of them are checked before the first one is
        # submitted
        for operation in operations:
            spec = self._parse_job_spec(context.bucket.name, operation, operation, callback)
            specs.append((spec, get_text(operation, "Output/Object")))
        details = []
        for spec, output in specs:
            job = self.jobs.submit(source, output, spec, queue, context.now)
            details.append(render_job(job, context.bucket.region))
        return {"JobsDetail": details}

    def _parse_job_spec(
        self, bucket: str, source: Element, operation: Element, callback: Element
    ) -> JobSpec:
        """Parse what a job does.

        Args:
            bucket: the bucket of its template
            source: the element with TemplateId or PicProcess
            operation: the element with Output, UserData and
                JobLevel
            callback: the callback fields
        """
        for name in ("Region", "Bucket", "Object"):
            require_text(operation, f"Output/{name}")
        level = get_text(operation, "JobLevel") or "0"
        if level not in ("0", "1", "2"):
            raise invalid_argument("JobLevel must be 0, 1 or 2.")
        user_data = get_text(operation, "UserData")
        if not re.fullmatch(r"[\x20-\x7e]{0,1024}", user_data):
            raise invalid_argument("UserData must be printable ASCII, at most 1024 characters.")
        return replace(
            self._parse_rule(bucket, source),
            region=get_text(operation, "Output/Region"),
            bucket=get_text(operation, "Output/Bucket"),
            user_data=user_data,
            level=int(level),
            callback=callback,
        )

    def _parse_rule(self, bucket: str, source: Element) -> JobSpec:
        template_id = get_text(source, "TemplateId")
        has_rule = find(source, "PicProcess") != ""
        if bool(template_id) == has_rule:
            raise invalid_argument("Exactly one of TemplateId and PicProcess is needed.")
        if template_id:
            template = self._get_template(bucket, template_id)
            return JobSpec(template.rule, template.wants_image_info, template.id, template.name)
        return JobSpec(
            require_text(source, "PicProcess/ProcessRule"),
            parse_bool(get_text(source, "PicProcess/IsPicInfo")),
        )

    def describe_jobs(self, context: RequestContext) -> Element:
        """`GET /jobs/{ids}`."""
        jobs, unknown = _find_by_ids(self.jobs.by_id, context)
        details = [render_job(job, context.bucket.region) for job in jobs]
        return {"JobsDetail": details, "NonExistJobIds": unknown}

    def list_jobs(self, context: RequestContext) -> Element:
        """`GET /jobs`: filtered and paged by token."""
        params = lowercase_keys(context.params)
        tag = params.get("tag", "")
        if not tag and context.resource == "jobs":
            raise invalid_argument("tag is needed.")
        size = parse_int_param(params, "size", 10, 1, 100)
        if tag and tag != "PicProcess":
            return {"NextToken": ""}
        job_filter = parse_filter(params)
        jobs, token = self.jobs.get_page(context.bucket, job_filter, size, parse_token(params))
        details = [render_job(job, context.bucket.region) for job in jobs]
        return {"JobsDetail": details, "NextToken": token}

    def cancel_job(self, context: RequestContext) -> None:
        """`PUT /jobs/{ids}?cancel`."""
        check_cancel(context)
        jobs, _ = _find_by_ids(self.jobs.by_id, context)
        if not jobs:
            raise not_found(f"job {context.key}")
        for job in jobs:
            self.jobs.cancel(job, context.now)

    # -- batches

    def create_batch(self, context: RequestContext) -> Element:
        """`POST /inventorytriggerjob`."""
        request = parse_xml(context.request.body, "Request")
        kind = get_text(request, "Type") or "Workflow"
        name = check_batch(kind, request)
        operation = find_element(request, "Operation")
        since, until = parse_interval(operation, request)
        batch = Batch(
            id=self.ids.new_id("b"),
            bucket=context.bucket.name,
            name=name,
            kind=kind,
            input=find_element(request, "Input"),
            operation=operation,
            created=context.now,
            since=since,
            until=until,
        )
        if kind == "Job":
            self._configure_job_batch(batch)
        else:
            self._configure_workflow_batch(batch)
        self.batches.add(batch)
        return {"RequestId": context.request_id, "JobsDetail": render_batch(batch)}

    def _configure_job_batch(self, batch: Batch) -> None:
        operation = batch.operation
        if get_text(operation, "Tag") != "PicProcess":
            raise invalid_argument("Operation.Tag must be PicProcess.")
        callback = parse_callback(operation)
        source = find_element(operation, "JobParam")
        batch.spec = self._parse_job_spec(batch.bucket, source, operation, callback)
        batch.output = get_text(operation, "Output/Object")
        batch.queue = self.jobs.pick_queue(batch.bucket, get_text(operation, "QueueId")).id

    def _configure_workflow_batch(self, batch: Batch) -> None:
        batch.workflows = tuple(split_list(require_text(batch.operation, "WorkflowIds")))

    def describe_batches(self, context: RequestContext) -> Element:
        """`GET /inventorytriggerjob/{ids}`."""
        batches, unknown = _find_by_ids(self.batches.batches, context)
        return {
            "RequestId": context.request_id,
            "JobsDetail": [render_batch(batch) for batch in batches],
            "NonExistJobIds": unknown,
        }

    def list_batches(self, context: RequestContext) -> Element:
        """`GET /inventorytriggerjob`: filtered and paged by token."""
        params = lowercase_keys(context.params)
        batch_filter = parse_filter(params)
        kind = params.get("type", "")
        batch_id = params.get("jobid", "")
        name = params.get("name", "")

        def matches(batch: Batch) -> bool:
            return (
                batch.bucket == context.bucket.name
                and kind in ("", batch.kind)
                and batch_id in ("", batch.id)
                and name in ("", batch.name)
                and _passes(batch, batch_filter)
                and (not batch_filter.workflow or batch_filter.workflow in batch.workflows)
            )

        batches, token = paginate_by_token(self.batches.batches.values(), matches, params)
        return {
            "RequestId": context.request_id,
            "JobsDetail": [render_batch(batch) for batch in batches],
            "NextToken": token,
        }

    def cancel_batch(self, context: RequestContext) -> None:
        """`PUT /inventorytriggerjob/{id}?cancel`."""
        check_cancel(context)
        batches, _ = _find_by_ids(self.batches.batches, context)
        if not batches:
            raise not_found(f"job {context.key}")
        self.batches.cancel(batches[0], context.now)

    # -- workflows

    def create_workflow(self, context: RequestContext) -> Element:
        """`POST /workflow`."""
        workflow_id = self.ids.new_id("w")
        bucket = context.bucket.name
        workflow = Workflow(workflow_id, bucket, "", "Active", {}, context.now, context.now)
        self._update_from_body(workflow, context)
        self.batches.workflows[workflow.id] = workflow
        return {"RequestId": context.request_id, "MediaWorkflow": render_workflow(workflow)}

    def _update_from_body(self, workflow: Workflow, context: RequestContext) -> None:
        content = find_element(parse_xml(context.request.body, "Request"), "MediaWorkflow")
        name = require_text(content, "Name")
        for other in self._get_workflows(context.bucket):
            if other is not workflow and other.name == name:
                message = f"There is a workflow {name!r} already."
                raise ErrorResponse(400, "WorkFlowNameDuplicate", message)
        state = get_text(content, "State") or workflow.state
        if state not in ("Active", "Paused"):
            raise invalid_argument("State must be Active or Paused.")
        topology = find_element(content, "Topology")
        if not find_element(topology, "Nodes/Start") or not find(topology, "Dependencies/Start"):
            raise invalid_argument("Topology needs Nodes.Start and Dependencies.Start.")
        workflow.name = name
        workflow.state = state
        workflow.topology = topology

    def _get_workflows(self, bucket: Bucket) -> list[Workflow]:
        workflows = self.batches.workflows.values()
        return [workflow for workflow in workflows if workflow.bucket == bucket.name]

    def _get_workflow(self, context: RequestContext, workflow_id: str) -> Workflow:
        workflow = self.batches.workflows.get(workflow_id)
        if workflow is None or workflow.bucket != context.bucket.name:
            raise not_found(f"workflow {workflow_id}")
        return workflow

    def update_workflow(self, context: RequestContext) -> Element:
        """`PUT /workflow/{id}`: `?active` and `?paused` switch it, a body replaces it."""
        workflow = self._get_workflow(context, context.key)
        if "active" in context.params:
            workflow.state = "Active"
        elif "paused" in context.params:
            workflow.state = "Paused"
        else:
            self._check_paused(workflow)
            self._update_from_body(workflow, context)
        workflow.updated = context.now
        return {"RequestId": context.request_id, "MediaWorkflow": render_workflow(workflow)}

    def _check_paused(self, workflow: Workflow) -> None:
        if workflow.state == "Active":
            message = "An active workflow cannot be changed; pause it first."
            raise ErrorResponse(403, "ActiveWorkflowForbiddenUpdate", message)

    def delete_workflow(self, context: RequestContext) -> Element:
        """`DELETE /workflow/{id}`."""
        workflow = self._get_workflow(context, context.key)
        self._check_paused(workflow)
        del self.batches.workflows[workflow.id]
        return {"RequestId": context.request_id, "WorkflowId": workflow.id}

    def list_workflows(self, context: RequestContext) -> Element:
        """`GET /workflow`, `GET /workflow/{ids}`: filtered and paged by number."""
        params = lowercase_keys(context.params)
        ids = split_list(params.get("ids", "") or context.key)
        prefix = params.get("name", "")
        named = {
            workflow.id: workflow
            for workflow in self._get_workflows(context.bucket)
            if workflow.name.startswith(prefix)
        }
        selected = [workflow for workflow in named.values() if not ids or workflow.id in ids]
        page, counts = paginate_by_number(selected, params)
        return {
            "RequestId": context.request_id,
            **counts,
            "MediaWorkflowList": [render_workflow(workflow) for workflow in page],
            "NonExistWIds": [workflow_id for workflow_id in ids if workflow_id not in named],
        }

    def trigger_workflow(self, context: RequestContext) -> Element:
        """`POST /triggerworkflow`: run a workflow over one object."""
        params = lowercase_keys(context.params)
        workflow = self._get_workflow(context, params.get("workflowid", ""))
        key = params.get("object", "").lstrip("/")
        context.bucket.get(key)  # raises NoSuchKey
        execution = self.batches.execute(workflow, key, context.now, name=params.get("name", ""))
        return {"RequestId": context.request_id, "InstanceId": execution.id}

    def describe_execution(self, context: RequestContext) -> Element:
        """`GET /workflowexecution/{id}`."""
        executions, _ = _find_by_ids(self.batches.executions, context)
        if not executions:
            raise not_found(f"execution {context.key}")
        content = render_execution(executions[0])
        return {"RequestId": context.request_id, "WorkflowExecution": content}

    def list_executions(self, context: RequestContext) -> Element:
        """`GET /workflowexecution`: filtered and paged by token."""
        params = lowercase_keys(context.params)
        execution_filter = parse_filter(params)
        batch = params.get("jobid", "")
        source = params.get("name", "")

        def matches(execution: Execution) -> bool:
            return (
                execution.bucket == context.bucket.name
                and execution_filter.workflow in ("", execution.workflow.id)
                and batch in ("", execution.batch)
                and source in ("", execution.source)
                and _passes(execution, execution_filter)
            )

        executions, token = paginate_by_token(self.batches.executions.values(), matches, params)
        return {
            "RequestId": context.request_id,
            "WorkflowExecutionList": [render_execution_summary(row) for row in executions],
            "NextToken": token,
        }

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
            message = f"The template {template_id} does not exist."
            raise ErrorResponse(404, "TemplateNotFound", message)
        return template

    def create_template(self, context: RequestContext) -> Element:
        """`POST /template`."""
        template_id = self.ids.new_id("t")
        bucket = context.bucket.name
        template = Template(template_id, bucket, "", "", False, context.now, context.now)
        self._update_template(template, context)
        self.templates[template.id] = template
        return {"RequestId": context.request_id, "Template": render_template(template)}

    def update_template(self, context: RequestContext) -> Element:
        """`PUT /template/{id}`."""
        template = self._get_template(context.bucket.name, context.key)
        self._update_template(template, context)
        template.updated = context.now
        return {"RequestId": context.request_id, "Template": render_template(template)}

    def _update_template(self, template: Template, context: RequestContext) -> None:
        request = parse_xml(context.request.body, "Request")
        name = require_text(request, "Name")
        check_tag(request)
        if not re.fullmatch(r"[\w*-]{1,64}", name):
            raise invalid_argument(
                "Name must be Chinese, Latin, digits, _, - and *, at most 64 characters."
            )
        for other in self.templates.values():
            if other is template or other.bucket != template.bucket:
                continue
            if other.name == name:
                message = f"There is a template {name!r} already."
                raise ErrorResponse(400, "TemplateNameDuplicate", message)
        template.rule = require_text(request, "PicProcess/ProcessRule")
        template.name = name
        template.wants_image_info = parse_bool(get_text(request, "PicProcess/IsPicInfo"))

    def delete_template(self, context: RequestContext) -> Element:
        """`DELETE /template/{id}`."""
        template = self._get_template(context.bucket.name, context.key)
        del self.templates[template.id]
        return {"RequestId": context.request_id, "TemplateId": template.id}

    def list_templates(self, context: RequestContext) -> Element:
        """`GET /template`, `GET /template/{ids}`: filtered and paged by number."""
        params = lowercase_keys(context.params)
        templates = self._select_templates(context, params)
        page, counts = paginate_by_number(templates, params)
        return {
            "RequestId": context.request_id,
            **counts,
            "TemplateList": [render_template(template) for template in page],
        }

    def _select_templates(
        self, context: RequestContext, params: Mapping[str, str]
    ) -> list[Template]:
        if params.get("category", "") not in ("", "Custom"):
            return []
        if params.get("tag", "") not in ("", "PicProcess", "All"):
            return []
        ids = split_list(params.get("ids", "") or context.key)
        prefix = params.get("name", "")
        return [
            template
            for template in self.templates.values()
            if template.bucket == context.bucket.name
            and template.name.startswith(prefix)
            and (not ids or template.id in ids)
        ]

    # -- queues and bindings

    def list_queues(self, context: RequestContext) -> Element:
        """`GET /picqueue`, …: filtered and paged by number."""
        params = lowercase_keys(context.params)
        ids = split_list(params.get("queueids", "") or context.key)
        state = params.get("state", "")
        category = CATEGORIES[QUEUE_RESOURCES[context.resource]]
        queues = {
            queue.id: queue
            for queue in self.jobs.get_queues(context.bucket.name)
            if queue.category == category
        }
        selected = [
            queue
            for queue in queues.values()
            if (not ids or queue.id in ids) and state in ("", "All", queue.state)
        ]
        page, counts = paginate_by_number(selected, params)
        return {
            "RequestId": context.request_id,
            **counts,
            "QueueList": [render_queue(queue) for queue in page],
            "NonExistPIDs": [queue_id for queue_id in ids if queue_id not in queues],
        }

    def update_queue(self, context: RequestContext) -> Element:
        """`PUT /picqueue/{id}`, …: rename, pause or resume a queue, set its callback."""
        request = parse_xml(context.request.body, "Request")
        queue = self.jobs.pick_queue(context.bucket.name, context.key)
        name = get_text(request, "Name") or queue.name
        state = get_text(request, "State") or queue.state
        notify = find_element(request, "NotifyConfig")
        if len(name) > 128 or state not in ("Active", "Paused"):
            raise invalid_argument("Name has at most 128 characters; State is Active or Paused.")
        if get_text(notify, "State") == "On" and get_text(notify, "Type") in ("", "Url"):
            check_callback_url(get_text(notify, "Url"))
        queue.name = name
        queue.state = state
        queue.updated = context.now
        if notify:
            queue.notify_config = {field: get_text(notify, field) for field in NOTIFY_FIELDS}
        self.jobs.dispatch(queue, context.now)
        return {"RequestId": context.request_id, "Queue": render_queue(queue)}

    def _bind_bucket(self, bucket: Bucket, service: str, now: float) -> None:
        bucket.bound_services.add(service)
        category = CATEGORIES[service]
        if not any(queue.category == category for queue in self.jobs.get_queues(bucket.name)):
            queue = self.jobs.create_queue(bucket.name, service, now)
            queue.max_concurrent = self.concurrency

    def bind(self, context: RequestContext) -> Element:
        """`POST /picbucket`, …: bind the bucket to a service."""
        service, element = BINDING_RESOURCES[context.resource]
        self._bind_bucket(context.bucket, service, context.now)
        return {"RequestId": context.request_id, element: render_binding(context.bucket)}

    def unbind(self, context: RequestContext) -> Element:
        """`DELETE /picbucket`, …: unbind the bucket from a service."""
        service, _ = BINDING_RESOURCES[context.resource]
        if service not in context.bucket.bound_services:
            code = UNBOUND_CODES.get(service, "ResourceNotFound")
            raise ErrorResponse(400, code, "The bucket is not bound to the service.")
        context.bucket.bound_services.discard(service)
        return {"RequestId": context.request_id, "BucketName": context.bucket.name}

    def list_bindings(self, context: RequestContext) -> Element:
        """`GET /picbucket`, …: the buckets that are bound to a service."""
        region = context.bucket.region
        content = self._render_bindings(context.resource, context.params, region)
        return {"RequestId": context.request_id, **content}

    def _render_bindings(self, resource: str, params: Mapping[str, str], region: str) -> Element:
        if resource not in BINDING_RESOURCES:
            raise unknown_resource(resource)
        service, element = BINDING_RESOURCES[resource]
        params = lowercase_keys(params)
        regions = split_list(params.get("regions", "")) or [region]
        names = split_list(params.get("bucketnames", ""))
        prefix = params.get("bucketname", "")
        buckets = [
            bucket
            for bucket in self.store.buckets.values()
            if service in bucket.bound_services
            and bucket.region in regions
            and (not names or bucket.name in names)
            and bucket.name.startswith(prefix)
        ]
        page, counts = paginate_by_number(buckets, params)
        return {**counts, f"{element}List": [render_binding(bucket) for bucket in page]}

    # -- ends of jobs and executions

    def _on_job_ended(self, job: Job, now: float) -> None:
        if job.state != "Cancel":
            bucket = self.store.buckets.get(job.bucket)
            region = bucket.region if bucket else self.default_location[1]
            self.outbox += build_job_callbacks(job, region, live=self.callback_shape == "live")
        self.batches.on_job_ended(job, now)

    def _on_execution_ended(self, execution: Execution) -> None:
        self.outbox += build_execution_callbacks(execution)

    # -- faults

    def freeze(self, job_id: str) -> None:
        """Stop a job or batch from changing by itself."""
        if job_id in self.jobs.by_id:
            self.jobs.freeze(self.jobs.by_id[job_id])
        elif job_id in self.batches.batches:
            self.batches.freeze(self.batches.batches[job_id])

    def forget(self, job_id: str) -> None:
        """Forget a job or batch."""
        if job_id in self.jobs.by_id:
            self.jobs.forget(self.jobs.by_id[job_id], self.clock.now())
        elif job_id in self.batches.batches:
            self.batches.freeze(self.batches.batches.pop(job_id))

    # -- saving

    def _get_state(self) -> State:
        return State(self.store, self.jobs, self.batches, self.templates)

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state as JSON values, and bytes for the bodies of objects."""
        outbox = [[delivery.url, delivery.body, dict(delivery.headers)] for delivery in self.outbox]
        counts = {"names": self.ids.count, "requests": self.request_count}
        return {**counts, "outbox": outbox, **dump_state(self._get_state())}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Replace the state by one that `snapshot` returned."""
        self.ids.count = snapshot["names"]
        self.request_count = snapshot["requests"]
        self.outbox = [WebhookDelivery(*row) for row in snapshot["outbox"]]
        load_state(snapshot, self._get_state())


def load_objects(objects: Samples | Callable[[], Samples] | None) -> Samples:
    """Return the objects of a new bucket: the sample pictures by default."""
    if objects is None:
        return build_samples()
    return objects() if callable(objects) else objects


def build_sample_topology(bucket: str, region: str) -> Element:
    """Build the workflow of the documents' example: one node that applies the sample template."""
    output = {"Region": region, "Bucket": bucket, "Object": "workflow/${RunId}/${InputName}.${Ext}"}
    operation = {"TemplateId": SAMPLE_TEMPLATE, "Output": output}
    return {
        "Dependencies": {"Start": "PicProcess_1"},
        "Nodes": {
            # a folder of its own: uploads to input/ start no jobs
            "Start": {"Type": "Start", "Input": {"ObjectPrefix": "workflow-input/"}},
            "PicProcess_1": {"Type": "PicProcess", "Operation": operation},
        },
    }


def check_batch(kind: str, request: Element) -> str:
    """Check the kind, the name and the input of a batch; return its name."""
    if kind not in ("Workflow", "Job"):
        raise invalid_argument("Type must be Workflow or Job.")
    name = require_text(request, "Name")
    if not re.fullmatch(r"[\w—-]{1,128}", name):
        raise invalid_argument(
            "Name must be Chinese, Latin, digits, — and _, at most 128 characters."
        )
    inputs = [part for part in INPUT_KINDS if get_text(request, f"Input/{part}")]
    if len(inputs) != 1:
        raise invalid_argument("Input needs exactly one of Manifest, UrlFile, Prefix and Object.")
    return name


def check_tag(request: Element) -> None:
    """Check that a request is about picture processing, the only work that is emulated.

    Raises:
        ErrorResponse: it has no Tag, or another one
    """
    tag = require_text(request, "Tag")
    if tag != "PicProcess":
        raise invalid_argument(f"The Tag {tag!r} is not served here; PicProcess is.")


def _find_by_ids(
    items: Mapping[str, Item], context: RequestContext
) -> tuple[list[Item], list[str]]:
    """Return the bucket's items that the path names, and the IDs that are unknown."""
    found: list[Item] = []
    unknown: list[str] = []
    for item_id in split_list(context.key):
        item = items.get(item_id)
        if item is not None and item.bucket == context.bucket.name:
            found.append(item)
        else:
            unknown.append(item_id)
    return found, unknown


def _passes(row: Batch | Execution, row_filter: JobFilter) -> bool:
    """Return whether a row is in one of the filter's states and in its time window."""
    if row_filter.states and row.state not in row_filter.states:
        return False
    return row_filter.since <= int(row.created) <= row_filter.until


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
for _resource in JOB_RESOURCES:
    ROUTES["POST", _resource, False] = TencentCI.create_job
    ROUTES["GET", _resource, True] = TencentCI.describe_jobs
    ROUTES["GET", _resource, False] = TencentCI.list_jobs
    ROUTES["PUT", _resource, True] = TencentCI.cancel_job
for _resource in QUEUE_RESOURCES:
    ROUTES["GET", _resource, False] = TencentCI.list_queues
    ROUTES["GET", _resource, True] = TencentCI.list_queues
    ROUTES["PUT", _resource, True] = TencentCI.update_queue
for _resource in BINDING_RESOURCES:
    ROUTES["POST", _resource, False] = TencentCI.bind
    ROUTES["DELETE", _resource, False] = TencentCI.unbind
    ROUTES["GET", _resource, False] = TencentCI.list_bindings
CI_RESOURCES = frozenset(resource for _, resource, _ in ROUTES)
