"""Who is told when a job or a workflow's execution has ended, and in which of the two shapes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_mjci.emulator.http import WebhookDelivery
from jupyter_mjci.emulator.tencent_ci.batches import Execution, render_execution
from jupyter_mjci.emulator.tencent_ci.jobs import Job, render_job
from jupyter_mjci.emulator.tencent_ci.xml import (
    Element,
    ErrorResponse,
    build_xml,
    find_element,
    get_text,
    invalid_argument,
    require_text,
)


def check_callback_url(url: str) -> None:
    if not re.match(r"https?://[^\s/]+", url):
        raise ErrorResponse(400, "InvalidUrl", "A callback address is an http or https URL.")


def parse_callback(tree: Element) -> Element:
    spelled = {
        name: get_text(tree, name) for name in ("CallBack", "CallBackFormat", "CallBackType")
    }
    kind = spelled["CallBackType"] or "Url"
    if spelled["CallBackFormat"].upper() not in ("", "JSON", "XML"):
        raise invalid_argument("CallBackFormat must be JSON or XML.")
    if kind not in ("Url", "TDMQ", "Kafka"):
        raise invalid_argument("CallBackType must be Url, TDMQ or Kafka.")
    if spelled["CallBack"] not in ("", "no"):
        check_callback_url(spelled["CallBack"])
    if kind == "TDMQ":
        require_text(tree, "CallBackMqConfig/MqName")
    if kind == "Kafka":
        require_text(tree, "CallBackKafkaConfig/Topic")
    return {name: value for name, value in spelled.items() if value}


def build_job_callbacks(job: Job, region: str, *, live: bool) -> list[WebhookDelivery]:
    """The job's own callback, else its queue's; `no` says nobody. Message queues are not there to
    be told.
    """
    own, notify = job.spec.callback, job.queue.notify_config
    subscribed = notify.get("State") == "On" and "TaskFinish" in notify.get("Event", "")
    url = own.get("CallBack", "") or (notify.get("Url", "") if subscribed else "")
    kind = (
        own.get("CallBackType", "")
        or ("" if own.get("CallBack") else notify.get("Type", ""))
        or "Url"
    )
    if not url or url == "no" or kind != "Url":
        return []
    shape = own.get("CallBackFormat", "") or notify.get("ResultFormat", "") or "XML"
    told: Any = render_job(job, region)
    if live and shape.upper() == "JSON":
        told = to_live_job(job, told)
    return [build_delivery(url, shape, {"EventName": "TaskFinish", "JobsDetail": told})]


def build_execution_callbacks(execution: Execution) -> list[WebhookDelivery]:
    notify = find_element(execution.workflow.start_input, "NotifyConfig")
    url = get_text(notify, "Url")
    if (
        not url
        or "WorkflowFinish" not in get_text(notify, "Event")
        or get_text(notify, "State") == "Off"
    ):
        return []
    told = {"EventName": "WorkflowFinish", "WorkflowExecution": render_execution(execution)}
    return [build_delivery(url, get_text(notify, "ResultFormat") or "XML", told)]


def build_delivery(url: str, body_format: str, content: Element) -> WebhookDelivery:
    agent = {"User-Agent": "Go-http-client/1.1"}
    if body_format.upper() == "JSON":
        body = json.dumps(
            stringify_values(content), ensure_ascii=False, separators=(",", ":")
        ).encode()
        return WebhookDelivery(url, body, {**agent, "Content-Type": "application/json"})
    return WebhookDelivery(
        url, build_xml("Response", content), {**agent, "Content-Type": "application/xml"}
    )


@dataclass(frozen=True, slots=True)
class JsonScalar:
    """A number or a boolean that the JSON shall hold as such."""

    value: Any


def stringify_values(value: Any) -> Any:
    """The documented JSON holds texts only."""
    if isinstance(value, JsonScalar):
        return value.value
    if isinstance(value, Mapping):
        return {name: stringify_values(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [stringify_values(inner) for inner in value]
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def to_live_job(job: Job, detail: Element) -> list[Element]:
    """The shape captured from the live service: lists where the documents have one, numbers, a
    leading slash.
    """
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
    hosts = (f"{name}.cos.{job.spec.region}.myqcloud.com" for name in (job.bucket, job.spec.bucket))
    source, target = (
        f"https://{host}/{key.lstrip('/')}"
        for host, key in zip(hosts, (job.source, job.output), strict=True)
    )
    original = result.get("OriginalInfo", {"Etag": "", "ImageInfo": {}})
    return {
        "Code": job.code,
        "Message": job.message,
        "State": job.state,
        "InputObjectName": job.source,
        "InputObjectUrl": source,
        "ObjectName": f"/{job.output}",
        "ObjectUrl": target,
        "OriginalInfo": {
            "Etag": original["Etag"],
            "ImageInfo": mark_numbers(original["ImageInfo"]),
        },
        "ProcessResult": mark_numbers(result["ProcessResult"]),
    }


def mark_numbers(info: Element) -> Element:
    return {
        name: JsonScalar(value) if isinstance(value, int) else value for name, value in info.items()
    }
