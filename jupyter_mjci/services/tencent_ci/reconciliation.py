"""Find the job of a submission whose response was lost.

The service has no idempotency key. So a submission carries a
marker in UserData, which the service returns with the job, and
the job list since the submission is searched for it. If the
user's own text is in UserData, the search compares text, input,
output and time; two equal submissions cannot be told apart then,
and the match is not exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, TypeVar
from xml.sax.saxutils import escape

from jupyter_mjci.client.calls import Call, Paginator, Sender
from jupyter_mjci.client.job import Job
from jupyter_mjci.services.tencent_ci import xml
from jupyter_mjci.services.tencent_ci.api import BATCHES_PATH, JOBS_PATH, TencentCI
from jupyter_mjci.services.tencent_ci.responses import (
    Element,
    coalesce,
    get_element,
    parse_subject,
    to_text,
)
from jupyter_mjci.services.tracking import MAX_CLOCK_SKEW

T = TypeVar("T")
END_OF_OPERATION = b"</Operation>"


def is_trackable(call: Call[Any]) -> bool:
    """Return whether the call creates a job or batch that a list will show."""
    return call.is_submission and call.path in (JOBS_PATH, BATCHES_PATH)


def with_marker(call: Call[T], marker: str) -> Call[T] | None:
    """Return the call with the marker in UserData; None if the user's own text is there."""
    is_plain = b"<!" not in call.body and b"<UserData" not in call.body
    if is_plain and call.body.count(END_OF_OPERATION) == 1:
        # As below, without parsing and building the document again.
        element = b"<UserData>%b</UserData>" % escape(marker).encode()
        return replace(call, body=call.body.replace(END_OF_OPERATION, element + END_OF_OPERATION))
    request = _parse_request(call)
    operation = get_element(request, "Operation")
    if operation.get("UserData"):
        return None
    marked = {**request, "Operation": {**operation, "UserData": marker}}
    return replace(call, body=xml.build("Request", marked))


def build_search_request(call: Call[Any], sent_at: float) -> Paginator[Job]:
    """Build the listing that shows the job, if the submission has created it.

    Args:
        call: the submission
        sent_at: when it was sent, in Unix seconds
    """
    builder = TencentCI(call.sender)
    request = _parse_request(call)
    start = datetime.fromtimestamp(sent_at - MAX_CLOCK_SKEW, UTC)
    if call.path == JOBS_PATH:
        key = to_text(get_element(request, "Input").get("Object"))
        return builder.jobs(tag=to_text(request.get("Tag")), start=start, input=key or None)
    batch_type: Literal["Workflow", "Job"] = "Workflow"
    if to_text(request.get("Type")) == "Job":
        batch_type = "Job"
    return builder.batches(type=batch_type, name=to_text(request.get("Name")), start=start)


def build_matcher(
    call: Call[Any],
    marker: str,
    sent_at: float,
) -> Callable[[Job], bool]:
    """Return a predicate that tells whether the call has created a job.

    Args:
        call: the submission
        marker: its marker, whether it carries it or not
        sent_at: when it was sent, in Unix seconds
    """
    request = _parse_request(call)
    if _get_user_data(request) == marker:
        return lambda job: _get_user_data(job.raw) == marker
    return partial(_matches_request, request, sent_at - MAX_CLOCK_SKEW)


def _matches_request(request: Element, earliest: float, job: Job) -> bool:
    if job.submitted is not None and job.submitted.timestamp() < earliest:
        return False
    return (
        job.user_data == _get_user_data(request)
        and parse_subject(job.raw) == parse_subject(request)
        and _get_output_key(job.raw) == _get_output_key(request)
    )


def is_exact_match(call: Call[Any], marker: str) -> bool:
    """Return whether `build_matcher` cannot confuse the job with another one."""
    return _get_user_data(_parse_request(call)) == marker


def restore_call(
    sender: Sender | None,
    name: str,
    path: str,
    body: bytes,
) -> Call[Job]:
    """Return the submission of a journal row, to be searched for or sent again."""
    return replace(TencentCI(sender).request(path, body.decode()), name=name)


def get_kind(call: Call[Any]) -> tuple[str, str]:
    """Return the action of the job that a submission creates, and its queue."""
    request = _parse_request(call)
    operation = get_element(request, "Operation")
    action = coalesce(request.get("Tag"), operation.get("Tag"))
    queue = coalesce(request.get("QueueId"), operation.get("QueueId"))
    return action or call.name, queue


def _parse_request(call: Call[Any]) -> Element:
    return get_element(xml.parse(call.body), "Request")


def _get_user_data(detail: Element) -> str:
    return to_text(get_element(detail, "Operation").get("UserData"))


def _get_output_key(detail: Element) -> str:
    return to_text(get_element(detail, "Operation", "Output").get("Object"))
