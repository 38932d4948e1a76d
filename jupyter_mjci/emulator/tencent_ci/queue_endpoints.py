"""Endpoints of queues and of the binding of buckets: `/picqueue`, `/picbucket`, …"""

from __future__ import annotations

from collections.abc import Mapping

from jupyter_mjci.emulator.cos.requests import RequestContext
from jupyter_mjci.emulator.cos.store import Bucket, Store
from jupyter_mjci.emulator.tencent_ci.callbacks import check_callback_url
from jupyter_mjci.emulator.tencent_ci.endpoints import Routes
from jupyter_mjci.emulator.tencent_ci.jobs import CATEGORIES, NOTIFY_FIELDS, Jobs
from jupyter_mjci.emulator.tencent_ci.params import (
    lowercase_keys,
    paginate_by_number,
    split_list,
)
from jupyter_mjci.emulator.tencent_ci.responses import (
    render_binding,
    render_queue,
)
from jupyter_mjci.emulator.xml import (
    Element,
    ErrorResponse,
    find_element,
    get_text,
    invalid_argument,
    parse_xml,
)

# Path: the service that it binds a bucket to, and the element
# that describes the binding.
BINDING_RESOURCES = {
    "picbucket": ("pic-process", "PicBucket"),
    "mediabucket": ("media", "MediaBucket"),
    "ai_bucket": ("ai", "AiBucket"),
    "docbucket": ("doc", "DocBucket"),
}
QUEUE_RESOURCES = {"picqueue": "pic-process", "queue": "media", "ai_queue": "ai", "docqueue": "doc"}
UNBOUND_CODES = {"pic-process": "PicBucketUnBinded", "media": "MediaBucketUnBinded"}


class QueueEndpoints:
    """Queues, and the services that buckets are bound to."""

    def __init__(self, store: Store, jobs: Jobs, concurrency: int) -> None:
        self.store = store
        self.jobs = jobs
        self.concurrency = concurrency

    def build_routes(self) -> Routes:
        """Return which method answers which request."""
        routes: Routes = {}
        for resource in QUEUE_RESOURCES:
            routes["GET", resource, False] = self.list_queues
            routes["GET", resource, True] = self.list_queues
            routes["PUT", resource, True] = self.update_queue
        for resource in BINDING_RESOURCES:
            routes["POST", resource, False] = self.bind
            routes["DELETE", resource, False] = self.unbind
            routes["GET", resource, False] = self.list_bindings
        return routes

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

    def bind_bucket(self, bucket: Bucket, service: str, now: float) -> None:
        """Bind a bucket to a service, which makes its queue."""
        bucket.bound_services.add(service)
        category = CATEGORIES[service]
        if not any(queue.category == category for queue in self.jobs.get_queues(bucket.name)):
            queue = self.jobs.create_queue(bucket.name, service, now)
            queue.max_concurrent = self.concurrency

    def bind(self, context: RequestContext) -> Element:
        """`POST /picbucket`, …: bind the bucket to a service."""
        service, element = BINDING_RESOURCES[context.resource]
        self.bind_bucket(context.bucket, service, context.now)
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
        content = self.render_bindings(context.resource, context.params, region)
        return {"RequestId": context.request_id, **content}

    def render_bindings(self, resource: str, params: Mapping[str, str], region: str) -> Element:
        """Render the buckets of some regions that are bound to a service."""
        service, element = BINDING_RESOURCES[resource]
        params = lowercase_keys(params)
        regions = split_list(params.get("regions", "")) or [region]
        names = split_list(params.get("bucketnames", ""))
        prefix = params.get("bucketname", "")
        buckets = [
            bucket
            for bucket in self.store.buckets.values()
            if service in bucket.bound_services
            and ("All" in regions or bucket.region in regions)
            and (not names or bucket.name in names)
            and bucket.name.startswith(prefix)
        ]
        page, counts = paginate_by_number(buckets, params)
        return {**counts, f"{element}List": [render_binding(bucket) for bucket in page]}
