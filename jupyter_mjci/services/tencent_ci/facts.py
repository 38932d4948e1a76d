"""What a card shows of a CI job beyond the common fields: rule, template, sizes, user data."""

from __future__ import annotations

from collections.abc import Iterable

from jupyter_mjci.client.interpolation import escape_toml
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.translation import mark
from jupyter_mjci.services.tencent_ci.responses import Element, get_element, to_text


def describe_subject(job: Job) -> str:
    """Return the input, and the output that is made from it."""
    output = to_text(get_element(job.raw, "Operation", "Output").get("Object"))
    return f"{job.subject} → {output}" if output else job.subject


def get_command(job: Job) -> str:
    """Return the cell that processes a picture of the bucket again; "" for other jobs."""
    operation = get_element(job.raw, "Operation")
    rule = to_text(get_element(operation, "PicProcess").get("ProcessRule"))
    output = to_text(get_element(operation, "Output").get("Object"))
    if not (job.subject and rule and output):
        return ""
    values = {"input": job.subject, "rule": rule, "output": output}
    lines = [f'{name} = "{escape_toml(value)}"' for name, value in values.items()]
    return "\n".join(["%%ci_job", *lines])


def get_facts(job: Job) -> Iterable[tuple[str, str]]:
    """Yield what a card shows beyond the common fields; empty values are left out there."""
    # A batch has the elements of its jobs below
    # Operation.JobParam.
    operation = get_element(job.raw, "Operation")
    batch_param = get_element(operation, "JobParam")
    process = get_element(operation, "PicProcess") or get_element(batch_param, "PicProcess")
    result_element = "PicProcessResult"
    result = get_element(operation, result_element) or get_element(batch_param, result_element)
    template = to_text(operation.get("TemplateId")) or to_text(batch_param.get("TemplateId"))
    workflows = operation.get("WorkflowIds")
    if isinstance(workflows, list):
        workflows = ", ".join(workflows)
    yield mark("rule"), to_text(process.get("ProcessRule"))
    yield mark("template"), template
    yield mark("workflows"), to_text(workflows)
    yield mark("size"), _format_size_change(result)
    yield mark("user data"), job.user_data


def _format_size_change(result: Element) -> str:
    """Return "1000×667 jpeg → 667×1000 jpeg, 24.9 kB", as far as the response contains it."""
    result = get_element(result, "UploadResult") or result
    output = get_element(result, "ProcessResult") or get_element(result, "ProcessResults", "Object")
    text = _format_image_size(output)
    if not text:
        return ""
    original = _format_image_size(get_element(result, "OriginalInfo", "ImageInfo"))
    if original:
        text = f"{original} → {text}"
    file_size = to_text(output.get("Size"))
    if file_size.isdigit():
        text += f", {int(file_size) / 1000:.1f} kB"
    return text


def _format_image_size(info: Element) -> str:
    width = to_text(info.get("Width"))
    height = to_text(info.get("Height"))
    if not width or not height:
        return ""
    return f"{width}×{height} {to_text(info.get('Format')).lower()}".strip()
