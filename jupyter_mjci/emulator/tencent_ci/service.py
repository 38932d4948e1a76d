"""Tencent Cloud Infinite (CI), with the COS buckets that it works on.

    ci = TencentCI(clock, objects={"input/deer.jpg": picture})
    response = ci.handle(request)

Every request is routed by its Host (CI plane, object plane, or a
bare address, where the path decides), its signature is verified,
and one table (`routes`) says which method of the endpoints'
modules answers it. Such a method takes a `RequestContext` and
returns the content of the XML, or raises `ErrorResponse`; what every response has (request
ID, Server) is added in one place.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
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
from jupyter_mjci.emulator.tencent_ci.batch_endpoints import BatchEndpoints
from jupyter_mjci.emulator.tencent_ci.batches import (
    Batch,
    Batches,
    Execution,
    Workflow,
)
from jupyter_mjci.emulator.tencent_ci.callbacks import (
    build_execution_callbacks,
    build_job_callbacks,
)
from jupyter_mjci.emulator.tencent_ci.events import EventQueue, IdGenerator
from jupyter_mjci.emulator.tencent_ci.job_endpoints import JobEndpoints
from jupyter_mjci.emulator.tencent_ci.jobs import (
    Job,
    Jobs,
    Template,
)
from jupyter_mjci.emulator.tencent_ci.queue_endpoints import (
    BINDING_RESOURCES,
    UNBOUND_CODES,
    QueueEndpoints,
)
from jupyter_mjci.emulator.tencent_ci.responses import (
    build_error_response,
    build_xml_response,
)
from jupyter_mjci.emulator.tencent_ci.snapshot import State, dump_state, load_state
from jupyter_mjci.emulator.tencent_ci.template_endpoints import TemplateEndpoints
from jupyter_mjci.emulator.tencent_ci.workflow_endpoints import WorkflowEndpoints
from jupyter_mjci.emulator.xml import (
    Element,
    ErrorResponse,
)

# The IDs that the service's documents use in their examples; here
# they exist, so the examples work.
SAMPLE_TEMPLATE = "t10461fe2bd5a649db9022452ec71e0381"
SAMPLE_WORKFLOW = "w7476ff3564ee45b7b490d64bccaba6cc"
SAMPLE_RULE = "imageMogr2/thumbnail/!50p"

# Of a service on its own; a sandbox makes its own keys.
SECRET_ID = "AKIDsandbox0000000000000000000000000"
SECRET_KEY = "sandboxSecretKey0000000000000000"

# Services of Tencent CI that are not emulated: moderation, speech,
# documents, files, datasets, films, faces, the binding by CI's own
# page ("").
UNSERVED_RESOURCES = frozenset(
    """
    ai_jobs asr_jobs asrbucket asrhotvocabtable asrqueue audio audit avinfo cibuckets
    cisnapshot dataset datasetbinding datasetbindings datasetquery datasets deletekeyword
    dnadb dnadb_files doc_jobs doccompare document FaceSearchBucket file_bucket file_jobs
    file_queue filemeta getplaylist image ImageSearchBucket keyword livecaption livevideo
    m3u8_playlist mediainfo metainsight playKey posterproduction report snapshot text video
    virus webpage
    """.split()  # noqa: SIM905
)
PIC_RESOURCES = frozenset(("jobs", "pic_jobs", "picqueue"))

Samples = Mapping[str, bytes]


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


def unknown_resource(resource: str) -> ErrorResponse:
    """Build the error for a path that leads nowhere here, or nowhere at all."""
    if not resource or resource in UNSERVED_RESOURCES:
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
        self.queue_endpoints = QueueEndpoints(self.store, self.jobs, concurrency)
        job_endpoints = JobEndpoints(self.jobs, TemplateEndpoints(self.templates, self.ids))
        self.routes = {
            **job_endpoints.build_routes(),
            **job_endpoints.templates.build_routes(),
            **BatchEndpoints(
                self.batches, self.jobs, self.ids, job_endpoints.parse_job_spec
            ).build_routes(),
            **WorkflowEndpoints(self.batches, self.ids).build_routes(),
            **self.queue_endpoints.build_routes(),
        }
        self.resources = frozenset(resource for _, resource, _ in self.routes)
        self.object_plane.on_uploaded = self.batches.start_by_upload
        self.jobs.on_ended = self._on_job_ended
        self.batches.build_node_spec = job_endpoints.parse_node_spec
        self.batches.on_finished = self._on_execution_ended
        self._create_samples(load_objects(objects))

    def _create_samples(self, objects: Samples) -> None:
        """Create the bucket, bound to the services, and what the documents' examples name."""
        now = self.clock.now()
        name, region = self.default_location
        bucket = self.store.buckets[name] = Bucket(name, region, now)
        for service in ("pic-process", "media"):
            self.queue_endpoints.bind_bucket(bucket, service, now)
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
        plane = "ci" if resource in self.resources else "cos"
        return Target(plane, *self.default_location, path)

    def _find_path_style(self, path: str) -> Target:
        """Return what a client of S3 means that knows no names for buckets: `/bucket/key`."""
        name, _, key = path.removeprefix("/").partition("/")
        bucket = self.store.buckets.get(name)
        region = bucket.region if bucket else self.default_location[1] if name else ""
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
            return self.object_plane.list_buckets(params, target.region)
        if target.key not in BINDING_RESOURCES:
            raise unknown_resource(target.key)
        content = self.queue_endpoints.render_bindings(target.key, params, target.region)
        return build_xml_response({"RequestId": request_id, **content})

    def _handle_ci(self, context: RequestContext) -> Response:
        resource, _, key = context.key.strip("/").partition("/")
        context = replace(context, resource=resource, key=key)
        route = self.routes.get((context.request.method, resource, bool(key)))
        if route is None:
            if resource in self.resources:
                raise method_not_allowed()
            raise unknown_resource(resource)
        if resource not in BINDING_RESOURCES:
            self._check_bound(context)
        content = route(context)
        if content is None:
            return Response(200, b"", {"Content-Length": "0"})
        return build_xml_response(content)

    def _check_bound(self, context: RequestContext) -> None:
        service = "pic-process" if context.resource in PIC_RESOURCES else "media"
        if service not in context.bucket.bound_services:
            message = "The bucket is not bound to the service; bind it first."
            raise ErrorResponse(400, UNBOUND_CODES[service], message)

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
