"""Find a Tencent CI submission whose response was lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from jupyter_mjci.client.calls import Call, Paginator, Sender
from jupyter_mjci.client.job import Job
from jupyter_mjci.services.tencent_ci import xml
from jupyter_mjci.services.tencent_ci.api import TencentCI
from jupyter_mjci.services.tencent_ci.responses import (
    Element,
    get_element,
    parse_subject,
    to_text,
)

T = TypeVar("T")


MAX_CLOCK_SKEW = 60.0  # seconds that two clocks may differ


def is_trackable(call: Call[Any]) -> bool:
    """Whether the call makes a job or batch, which a listing then tells of."""
    return call.is_submission and call.path in ("/jobs", "/inventorytriggerjob")


def with_marker(call: Call[T], marker: str) -> Call[T] | None:
    """The call with our mark in UserData; None where that place is taken."""
    request = dict(xml.parse(call.body)["Request"])
    operation = request.get("Operation")
    operation = dict(operation) if isinstance(operation, dict) else {}
    if operation.get("UserData"):
        return None
    request["Operation"] = {**operation, "UserData": marker}
    return replace(call, body=xml.build("Request", request))


def build_search_request(call: Call[Any], sent_at: float) -> Paginator[Job]:
    """What to ask to find the job that the call has made."""
    builder, request = TencentCI(call.sender), get_element(xml.parse(call.body), "Request")
    start = datetime.fromtimestamp(sent_at - MAX_CLOCK_SKEW, UTC)
    if call.path == "/jobs":
        return builder.jobs(
            tag=to_text(request.get("Tag")),
            start=start,
            input=to_text(get_element(request, "Input").get("Object")) or None,
        )
    return builder.batches(
        type=_get_batch_type(request), name=to_text(request.get("Name")), start=start
    )


def _get_batch_type(request: Element) -> Literal["Workflow", "Job"]:
    return "Job" if to_text(request.get("Type")) == "Job" else "Workflow"


def build_matcher(call: Call[Any], marker: str, sent_at: float) -> Callable[[Job], bool]:
    """Tells of a job whether the call has made it: by its mark; else by input, output and time."""
    request = get_element(xml.parse(call.body), "Request")
    told = to_text(get_element(request, "Operation").get("UserData"))
    if told == marker:
        return lambda job: to_text(get_element(job.raw, "Operation").get("UserData")) == marker

    def says_the_same(job: Job) -> bool:
        return (
            job.user_data == told
            and (job.submitted is None or job.submitted.timestamp() >= sent_at - MAX_CLOCK_SKEW)
            and parse_subject(job.raw) == parse_subject(request)
            and to_text(get_element(job.raw, "Operation", "Output").get("Object"))
            == to_text(get_element(request, "Operation", "Output").get("Object"))
        )

    return says_the_same


def is_exact_match(call: Call[Any], marker: str) -> bool:
    """Whether `made_by` is certain; else two alike could be taken for each other."""
    return (
        to_text(get_element(xml.parse(call.body), "Request", "Operation").get("UserData")) == marker
    )


def restore_call(sender: Sender | None, name: str, path: str, body: bytes) -> Call[Job]:
    """The call of a journal's row, to be sent again or looked for."""
    return replace(TencentCI(sender).request(path, body.decode()), name=name)
