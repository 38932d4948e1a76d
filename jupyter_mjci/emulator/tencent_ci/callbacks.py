"""Who is told when a job or a workflow's execution has ended, and in which of the two shapes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jupyter_mjci.emulator.http import Delivery
from jupyter_mjci.emulator.tencent_ci.batches import Execution, execution_detail
from jupyter_mjci.emulator.tencent_ci.jobs import Job, detail
from jupyter_mjci.emulator.tencent_ci.xml import Refused, Tree, branch, invalid, needed, text, write


def checked_url(url: str) -> None:
    if not re.match(r"https?://[^\s/]+", url):
        raise Refused(400, "InvalidUrl", "A callback address is an http or https URL.")


def read_callback(tree: Tree) -> Tree:
    spelled = {name: text(tree, name) for name in ("CallBack", "CallBackFormat", "CallBackType")}
    kind = spelled["CallBackType"] or "Url"
    if spelled["CallBackFormat"].upper() not in ("", "JSON", "XML"):
        raise invalid("CallBackFormat must be JSON or XML.")
    if kind not in ("Url", "TDMQ", "Kafka"):
        raise invalid("CallBackType must be Url, TDMQ or Kafka.")
    if spelled["CallBack"] not in ("", "no"):
        checked_url(spelled["CallBack"])
    if kind == "TDMQ":
        needed(tree, "CallBackMqConfig/MqName")
    if kind == "Kafka":
        needed(tree, "CallBackKafkaConfig/Topic")
    return {name: value for name, value in spelled.items() if value}


def job_callbacks(job: Job, region: str, *, live: bool) -> list[Delivery]:
    """The job's own callback, else its queue's; `no` says nobody. Message queues are not there to
    be told.
    """
    own, notify = job.task.callback, job.queue.notify
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
    told: Any = detail(job, region)
    if live and shape.upper() == "JSON":
        told = live_detail(job, told)
    return [delivery(url, shape, {"EventName": "TaskFinish", "JobsDetail": told})]


def execution_callbacks(execution: Execution) -> list[Delivery]:
    notify = branch(execution.workflow.start, "NotifyConfig")
    url = text(notify, "Url")
    if not url or "WorkflowFinish" not in text(notify, "Event") or text(notify, "State") == "Off":
        return []
    told = {"EventName": "WorkflowFinish", "WorkflowExecution": execution_detail(execution)}
    return [delivery(url, text(notify, "ResultFormat") or "XML", told)]


def delivery(url: str, shape: str, content: Tree) -> Delivery:
    agent = {"User-Agent": "Go-http-client/1.1"}
    if shape.upper() == "JSON":
        body = json.dumps(spelled_out(content), ensure_ascii=False, separators=(",", ":")).encode()
        return Delivery(url, body, {**agent, "Content-Type": "application/json"})
    return Delivery(url, write("Response", content), {**agent, "Content-Type": "application/xml"})


@dataclass(frozen=True, slots=True)
class Raw:
    """A number or a boolean that the JSON shall hold as such."""

    value: Any


def spelled_out(value: Any) -> Any:
    """The documented JSON holds texts only."""
    if isinstance(value, Raw):
        return value.value
    if isinstance(value, Mapping):
        return {name: spelled_out(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [spelled_out(inner) for inner in value]
    return str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)


def live_detail(job: Job, told: Tree) -> list[Tree]:
    """The shape captured from the live service: lists where the documents have one, numbers, a
    leading slash.
    """
    operation = dict(told["Operation"])
    if "PicProcess" in operation:
        operation["PicProcess"] = {
            "IsPicInfo": Raw(job.task.with_info),
            "ProcessRule": job.task.rule,
        }
    operation["Output"] = {**operation["Output"], "Force": Raw(False)}
    if "PicProcessResult" in operation:
        operation["PicProcessResult"] = [live_result(job, operation["PicProcessResult"])]
    return [{**told, "QueueType": "PicProcess", "Operation": operation}]


def live_result(job: Job, result: Tree) -> Tree:
    hosts = (f"{name}.cos.{job.task.region}.myqcloud.com" for name in (job.bucket, job.task.bucket))
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
        "OriginalInfo": {"Etag": original["Etag"], "ImageInfo": numbers(original["ImageInfo"])},
        "ProcessResult": numbers(result["ProcessResult"]),
    }


def numbers(facts: Tree) -> Tree:
    return {name: Raw(value) if isinstance(value, int) else value for name, value in facts.items()}
