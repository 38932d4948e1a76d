"""Endpoints of picture jobs: `/jobs`, and its older name `/pic_jobs`."""

from __future__ import annotations

import re
from dataclasses import replace

from jupyter_mjci.emulator.cos.requests import RequestContext, parse_int_param
from jupyter_mjci.emulator.tencent_ci.batches import Workflow
from jupyter_mjci.emulator.tencent_ci.callbacks import parse_callback
from jupyter_mjci.emulator.tencent_ci.endpoints import (
    Routes,
    check_tag,
    find_by_ids,
    not_found,
    not_served,
)
from jupyter_mjci.emulator.tencent_ci.jobs import Jobs, JobSpec
from jupyter_mjci.emulator.tencent_ci.params import (
    check_cancel,
    lowercase_keys,
    parse_bool,
    parse_filter,
    parse_token,
)
from jupyter_mjci.emulator.tencent_ci.responses import render_job
from jupyter_mjci.emulator.tencent_ci.template_endpoints import TemplateEndpoints
from jupyter_mjci.emulator.xml import (
    Element,
    find,
    find_all,
    find_element,
    get_text,
    invalid_argument,
    parse_xml,
    require_text,
)

JOB_RESOURCES = ("jobs", "pic_jobs")


class JobEndpoints:
    """Picture jobs."""

    def __init__(self, jobs: Jobs, templates: TemplateEndpoints) -> None:
        self.jobs = jobs
        self.templates = templates

    def build_routes(self) -> Routes:
        """Return which method answers which request."""
        routes: Routes = {}
        for resource in JOB_RESOURCES:
            routes["POST", resource, False] = self.create_job
            routes["GET", resource, True] = self.describe_jobs
            routes["GET", resource, False] = self.list_jobs
            routes["PUT", resource, True] = self.cancel_job
        return routes

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
            spec = self.parse_job_spec(context.bucket.name, operation, operation, callback)
            specs.append((spec, get_text(operation, "Output/Object")))
        details = []
        for spec, output in specs:
            job = self.jobs.submit(source, output, spec, queue, context.now)
            details.append(render_job(job, context.bucket.region))
        return {"JobsDetail": details}

    def parse_job_spec(
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
            template = self.templates.get_template(bucket, template_id)
            return JobSpec(template.rule, template.wants_image_info, template.id, template.name)
        return JobSpec(
            require_text(source, "PicProcess/ProcessRule"),
            parse_bool(get_text(source, "PicProcess/IsPicInfo")),
        )

    def describe_jobs(self, context: RequestContext) -> Element:
        """`GET /jobs/{ids}`."""
        jobs, unknown = find_by_ids(self.jobs.by_id, context)
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
        jobs, _ = find_by_ids(self.jobs.by_id, context)
        if not jobs:
            raise not_found(f"job {context.key}")
        for job in jobs:
            self.jobs.cancel(job, context.now)

    def parse_node_spec(self, workflow: Workflow, node: Element) -> JobSpec:
        """Parse what a node of a workflow does."""
        if get_text(node, "Type") != "PicProcess":
            raise not_served(f"node type {get_text(node, 'Type')!r}")
        operation = find_element(node, "Operation")
        return self.parse_job_spec(workflow.bucket, operation, operation, {})
