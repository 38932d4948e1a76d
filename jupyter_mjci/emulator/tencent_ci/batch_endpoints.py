"""Endpoints of batches (inventory jobs): `/inventorytriggerjob`."""

from __future__ import annotations

import re
from collections.abc import Callable

from jupyter_mjci.emulator.cos.requests import RequestContext
from jupyter_mjci.emulator.tencent_ci.batches import (
    INPUT_KINDS,
    Batch,
    Batches,
    parse_interval,
)
from jupyter_mjci.emulator.tencent_ci.callbacks import parse_callback
from jupyter_mjci.emulator.tencent_ci.endpoints import (
    Routes,
    find_by_ids,
    not_found,
    passes,
)
from jupyter_mjci.emulator.tencent_ci.events import IdGenerator
from jupyter_mjci.emulator.tencent_ci.jobs import Jobs, JobSpec
from jupyter_mjci.emulator.tencent_ci.params import (
    check_cancel,
    lowercase_keys,
    paginate_by_token,
    parse_filter,
    split_list,
)
from jupyter_mjci.emulator.tencent_ci.responses import render_batch
from jupyter_mjci.emulator.xml import (
    Element,
    find_element,
    get_text,
    invalid_argument,
    parse_xml,
    require_text,
)

ParseJobSpec = Callable[[str, Element, Element, Element], JobSpec]


class BatchEndpoints:
    """Batches."""

    def __init__(
        self, batches: Batches, jobs: Jobs, ids: IdGenerator, parse_job_spec: ParseJobSpec
    ) -> None:
        self.batches = batches
        self.jobs = jobs
        self.ids = ids
        self.parse_job_spec = parse_job_spec

    def build_routes(self) -> Routes:
        """Return which method answers which request."""
        return {
            ("POST", "inventorytriggerjob", False): self.create_batch,
            ("GET", "inventorytriggerjob", True): self.describe_batches,
            ("GET", "inventorytriggerjob", False): self.list_batches,
            ("PUT", "inventorytriggerjob", True): self.cancel_batch,
        }

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
        batch.spec = self.parse_job_spec(batch.bucket, source, operation, callback)
        batch.output = get_text(operation, "Output/Object")
        batch.queue = self.jobs.pick_queue(batch.bucket, get_text(operation, "QueueId")).id

    def _configure_workflow_batch(self, batch: Batch) -> None:
        batch.workflows = tuple(split_list(require_text(batch.operation, "WorkflowIds")))

    def describe_batches(self, context: RequestContext) -> Element:
        """`GET /inventorytriggerjob/{ids}`."""
        batches, unknown = find_by_ids(self.batches.batches, context)
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
                and passes(batch, batch_filter)
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
        batches, _ = find_by_ids(self.batches.batches, context)
        if not batches:
            raise not_found(f"job {context.key}")
        self.batches.cancel(batches[0], context.now)


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
