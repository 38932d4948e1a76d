"""The callbacks of jobs and executions that have ended: who gets one, and in which shape.

There are two shapes of the JSON: the documented one, whose values
are all text, and the one captured from the live service ("live").
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from jupyter_mjci.emulator.http import WebhookDelivery
from jupyter_mjci.emulator.tencent_ci.batches import Execution
from jupyter_mjci.emulator.tencent_ci.jobs import Job
from jupyter_mjci.emulator.tencent_ci.responses import render_execution, render_job
from jupyter_mjci.emulator.xml import (
    Element,
    ErrorResponse,
    build_xml,
    find_element,
    get_text,
    invalid_argument,
    require_text,
    to_text,
)

# what the service's own callbacks send
USER_AGENT = "Go-http-client/1.1"


# Where notices to message queues go: region, kind or instance, name.
QUEUE_FIELDS = {
    "TDMQ": (
        "CallBackMqConfig/MqRegion",
        "CallBackMqConfig/MqMode",
        "CallBackMqConfig/MqName",
    ),
    "Kafka": (
        "CallBackKafkaConfig/Region",
        "CallBackKafkaConfig/InstanceId",
        "CallBackKafkaConfig/Topic",
    ),
}


def check_callback_url(url: str) -> None:
    """Check a callback's address.

    Raises:
        ErrorResponse: it is not an http or https URL
    """
    if not re.match(r"https?://[^\s/]+", url):
        raise ErrorResponse(400, "InvalidUrl", "A callback address is an http or https URL.")


def parse_callback(tree: Element) -> Element:
    """Parse the callback fields of a request.

    Raises:
        ErrorResponse: a field is not valid, or one that its type
            needs is missing
    """
    fields = {
        "CallBack": get_text(tree, "CallBack"),
        "CallBackFormat": get_text(tree, "CallBackFormat"),
        "CallBackType": get_text(tree, "CallBackType"),
    }
    kind = fields["CallBackType"] or "Url"
    if fields["CallBackFormat"].upper() not in ("", "JSON", "XML"):
        raise invalid_argument("CallBackFormat must be JSON or XML.")
    if kind not in ("Url", "TDMQ", "Kafka"):
        raise invalid_argument("CallBackType must be Url, TDMQ or Kafka.")
    if fields["CallBack"] not in ("", "no"):
        check_callback_url(fields["CallBack"])
    for path in QUEUE_FIELDS.get(kind, ()):
        fields[path.rpartition("/")[2]] = get_text(tree, path)
    if kind in QUEUE_FIELDS:
        require_text(tree, QUEUE_FIELDS[kind][-1])
    return {name: value for name, value in fields.items() if value}


def build_address(fields: Element, kind: str, url: str) -> str:
    """Return where a notice goes, "" for nowhere.

    Message queues have addresses of our own making
    (`tdmq://region/mode/name`, `kafka://region/instance/topic`):
    nothing is sent there, but the sandbox's statistics list them.
    """
    if kind not in QUEUE_FIELDS:
        return url
    parts = [get_text(fields, path.rpartition("/")[2]) for path in QUEUE_FIELDS[kind]]
    if not parts[-1]:
        return ""
    return f"{kind.lower()}://{'/'.join(quote(part or '-', safe='') for part in parts)}"


def build_job_callbacks(job: Job, region: str, *, live: bool) -> list[WebhookDelivery]:
    """Build the callback of a job that has ended: the job's own, else its queue's.

    `no` as the job's address means none.
    """
    own = job.spec.callback
    notify = job.queue.notify_config
    own_url = own.get("CallBack", "")
    address = build_address(own, own.get("CallBackType", ""), own_url)
    if not address and notify.get("State") == "On" and "TaskFinish" in notify.get("Event", ""):
        address = build_address(notify, notify.get("Type", ""), notify.get("Url", ""))
    if not address or own_url == "no":
        return []
    body_format = own.get("CallBackFormat", "") or notify.get("ResultFormat", "") or "XML"
    detail: Element | list[Element] = render_job(job, region)
    if live and body_format.upper() == "JSON":
        detail = to_live_job(job, render_job(job, region))
    content = {"EventName": "TaskFinish", "JobsDetail": detail}
    return [build_delivery(address, body_format, content)]


def build_execution_callbacks(execution: Execution) -> list[WebhookDelivery]:
    """Build the callback of an execution that has ended, if its workflow asks for one."""
    notify = find_element(execution.workflow.start_input, "NotifyConfig")
    url = build_address(notify, get_text(notify, "Type"), get_text(notify, "Url"))
    is_subscribed = "WorkflowFinish" in get_text(notify, "Event")
    if not url or not is_subscribed or get_text(notify, "State") == "Off":
        return []
    body_format = get_text(notify, "ResultFormat") or "XML"
    content = {"EventName": "WorkflowFinish", "WorkflowExecution": render_execution(execution)}
    return [build_delivery(url, body_format, content)]


def build_delivery(url: str, body_format: str, content: Element) -> WebhookDelivery:
    """Build a callback with a JSON or an XML body."""
    if body_format.upper() == "JSON":
        values = stringify_values(content)
        body = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()
        content_type = "application/json"
    else:
        body = build_xml("Response", content)
        content_type = "application/xml"
    return WebhookDelivery(url, body, {"User-Agent": USER_AGENT, "Content-Type": content_type})


@dataclass(frozen=True, slots=True)
class JsonScalar:
    """A number or a boolean that stays one in the JSON of a callback."""

    value: object


def stringify_values(value: object) -> object:
    """Turn scalars into text: the documented JSON has no other values."""
    if isinstance(value, JsonScalar):
        return value.value
    if isinstance(value, Mapping):
        return {name: stringify_values(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [stringify_values(inner) for inner in value]
    return to_text(value)


def to_live_job(job: Job, detail: Element) -> list[Element]:
    """Convert JobsDetail to the live service's shape: lists, numbers, keys with a leading slash."""
    operation = dict(detail["Operation"])
    if "PicProcess" in operation:
        operation["PicProcess"] = {
            "IsPicInfo": JsonScalar(job.spec.wants_image_info),
            "ProcessRule": job.spec.rule,
        }
    operation["Output"] = {**operation["Output"], "Force": JsonScalar(False)}
    if "PicProcessResult" in operation:
        operation["PicProcessResult"] = [to_live_result(job, operation["PicProcessResult"])]
    return [{**detail, "QueueType": "PicProcess", "Operation": operation}]


def to_live_result(job: Job, result: Element) -> Element:
    """Convert PicProcessResult to the live service's shape."""
    original = result.get("OriginalInfo", {"Etag": "", "ImageInfo": {}})
    return {
        "Code": job.code,
        "Message": job.message,
        "State": job.state,
        "InputObjectName": job.source,
        "InputObjectUrl": build_object_url(job.bucket, job.spec.region, job.source),
        "ObjectName": f"/{job.output}",
        "ObjectUrl": build_object_url(job.spec.bucket, job.spec.region, job.output),
        "OriginalInfo": {
            "Etag": original["Etag"],
            "ImageInfo": mark_numbers(original["ImageInfo"]),
        },
        "ProcessResult": mark_numbers(result["ProcessResult"]),
    }


def build_object_url(bucket: str, region: str, key: str) -> str:
    """Build the public URL of an object."""
    return f"https://{bucket}.cos.{region}.myqcloud.com/{key.lstrip('/')}"


def mark_numbers(info: Element) -> Element:
    """Keep the numbers of ImageInfo as numbers."""
    marked = dict(info)
    for name, value in info.items():
        if isinstance(value, int):
            marked[name] = JsonScalar(value)
    return marked
