"""Jobs, batches, queues, templates and errors as the service's XML.

The elements and their order follow the samples of the service's
documents.
"""

from __future__ import annotations

import base64

from jupyter_mjci.emulator.cos.requests import XML_HEADERS
from jupyter_mjci.emulator.cos.store import Bucket
from jupyter_mjci.emulator.http import Response
from jupyter_mjci.emulator.tencent_ci.batches import Batch, Execution, Workflow
from jupyter_mjci.emulator.tencent_ci.events import format_time
from jupyter_mjci.emulator.tencent_ci.jobs import NOTIFY_FIELDS, Job, Queue, Template
from jupyter_mjci.emulator.xml import Element, ErrorResponse, build_xml


def build_xml_response(content: Element) -> Response:
    """Build a successful response."""
    return Response(200, build_xml("Response", content), XML_HEADERS)


def build_error_response(error: ErrorResponse, path: str, request_id: str, plane: str) -> Response:
    """Build the error document.

    It has every element that the service's has: clients do not
    recognize an error without them.
    """
    trace_id = base64.b64encode(f"trace {request_id}".encode()).decode()
    content = {
        "Code": error.code,
        "Message": error.message or error.code,
        **error.extra_elements,
        "Resource": path,
        "RequestId": request_id,
        "TraceId": trace_id,
    }
    headers = {**XML_HEADERS, f"x-{plane}-trace-id": trace_id}
    return Response(error.status, build_xml("Error", content), headers)


# -- jobs, templates, queues


def render_job(job: Job, region: str) -> Element:
    """Render the content of JobsDetail, in the order of the service's own samples."""
    spec = job.spec
    output = {"Bucket": spec.bucket, "Object": job.output, "Region": spec.region}
    operation: Element = {"Output": output}
    if spec.template_id:
        operation |= {"TemplateId": spec.template_id, "TemplateName": spec.template_name}
    else:
        operation["PicProcess"] = {"IsPicInfo": spec.wants_image_info, "ProcessRule": spec.rule}
    if job.result_info is not None:
        operation["PicProcessResult"] = render_process_result(job)
    if spec.user_data:
        operation["UserData"] = spec.user_data
    operation["JobLevel"] = spec.level
    content: Element = {
        "Code": job.code,
        "Message": job.message,
        "JobId": job.id,
        "State": job.reported_state,
        "CreationTime": format_time(job.created),
        "EndTime": format_time(job.ended),
        "StartTime": format_time(job.started),
        "QueueId": job.queue.id,
        "Tag": "PicProcess",
        # the official Java client takes the last element for the key
        "Input": {"BucketId": job.bucket, "Region": region, "Object": job.source},
        "Operation": operation,
    }
    if job.run:
        content["Workflow"] = {"RunId": job.run, "WorkflowId": job.workflow, "Name": job.node}
    return content


def render_process_result(job: Job) -> Element:
    """Render what a job made, and what it was made from if that was asked for."""
    content: Element = {"ObjectName": job.output}
    if job.original_info is not None:
        content["OriginalInfo"] = {"Etag": job.original_etag, "ImageInfo": job.original_info}
    content["ProcessResult"] = {"Etag": "", **(job.result_info or {})}
    return content


def render_template(template: Template) -> Element:
    """Render a template."""
    return {
        "Tag": "PicProcess",
        "TemplateId": template.id,
        "Name": template.name,
        "BucketId": template.bucket,
        "Category": "Custom",
        "PicProcess": {"IsPicInfo": template.wants_image_info, "ProcessRule": template.rule},
        "CreateTime": format_time(template.created),
        "UpdateTime": format_time(template.updated),
    }


def render_queue(queue: Queue) -> Element:
    """Render a queue."""
    notify_config = dict.fromkeys(NOTIFY_FIELDS, "") | {"State": "Off"} | queue.notify_config
    return {
        "QueueId": queue.id,
        "Name": queue.name,
        "State": queue.state,
        "MaxSize": 10000,
        "MaxConcurrent": queue.max_concurrent,
        "Category": queue.category,
        "BucketId": queue.bucket,
        "CreateTime": format_time(queue.created),
        "UpdateTime": format_time(queue.updated),
        "NotifyConfig": notify_config,
    }


def render_binding(bucket: Bucket) -> Element:
    """Render a bucket that is bound to a service."""
    return {
        "BucketId": bucket.name,
        "Name": bucket.name.rpartition("-")[0] or bucket.name,
        "Region": bucket.region,
        "CreateTime": format_time(bucket.created),
    }


# -- batches, workflows, executions


def render_batch(batch: Batch) -> Element:
    """Render a batch."""
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


def render_workflow(workflow: Workflow) -> Element:
    """Render a workflow."""
    return {
        "Name": workflow.name,
        "WorkflowId": workflow.id,
        "State": workflow.state,
        "BucketId": workflow.bucket,
        "CreateTime": format_time(workflow.created),
        "UpdateTime": format_time(workflow.updated),
        "Topology": workflow.topology,
    }


def render_execution_summary(execution: Execution) -> Element:
    """Render an execution as a listing shows it."""
    return {
        "RunId": execution.id,
        "WorkflowId": execution.workflow.id,
        "State": execution.state,
        "CreationTime": format_time(execution.created),
        "Object": execution.source,
    }


def render_execution(execution: Execution) -> Element:
    """Render an execution with its jobs."""
    workflow = execution.workflow
    jobs = [_render_node_job(job) for job in execution.jobs]
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
        "Tasks": [*jobs, *execution.failed_nodes],
    }


def _render_node_job(job: Job) -> Element:
    output = {
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
        "ResultInfo": {"ObjectCount": 1 if job.result_info else 0, "ObjectInfo": output},
    }
