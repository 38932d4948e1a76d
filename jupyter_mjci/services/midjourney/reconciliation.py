"""Find the task of a submission whose response was lost.

The protocol has no idempotency key. So a submission carries a
marker in `state`, which the proxy returns with the task, and the
task list is searched for it. If the user's own text is in
`state`, the search compares everything that the request says; two
equal submissions cannot be told apart then, and the match is not
exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.calls import Call, Sender
from jupyter_mjci.client.job import Job, Status, strip_marker
from jupyter_mjci.services.json_service import JsonObject, coalesce, to_text
from jupyter_mjci.services.midjourney.api import (
    JSON_HEADERS,
    Midjourney,
    encode_body,
    infer_action,
)
from jupyter_mjci.services.midjourney.modes import list_prompt_modes, read_mode
from jupyter_mjci.services.midjourney.prompt_flags import count_jobs
from jupyter_mjci.services.midjourney.responses import get_properties, parse_submission
from jupyter_mjci.services.tracking import MAX_CLOCK_SKEW

T = TypeVar("T")


def is_trackable(call: Call[Any]) -> bool:
    """Return whether the call creates a task that the task list will show."""
    return call.is_submission and call.name != "upload"


def with_marker(call: Call[T], marker: str) -> Call[T] | None:
    """Return the call with the marker in `state`.

    None if the user's own text is there, or if the task exists
    already (a dialog is filled in).
    """
    body = jsonlib.loads(call.body)
    if body.get("state") or call.name == "modal":
        return None
    return replace(call, body=encode_body({**body, "state": marker}))


def build_search_request(call: Call[Any], _: float) -> Call[list[Job]]:
    """Build the call whose response shows the task, if the submission has created it.

    The second argument, the time of the submission, is unused:
    the task list has no time filter.
    """
    builder = Midjourney(call.sender)
    if call.name == "modal":
        return builder.tasks(ids=[jsonlib.loads(call.body)["taskId"]])
    return builder.tasks()


def build_matcher(
    call: Call[Any],
    marker: str,
    sent_at: float,
) -> Callable[[Job], bool]:
    """Return a predicate that tells whether the call has created a task.

    The body, which may hold pictures, is decoded once for the
    whole listing.

    Args:
        call: the submission
        marker: its marker, whether it carries it or not
        sent_at: when it was sent, in Unix seconds
    """
    body = jsonlib.loads(call.body)
    if call.name == "modal":
        # The task exists already. It has received the dialog once
        # it is no longer waiting for it.
        return lambda job: job.id == body["taskId"] and job.status is not Status.NEEDS_INPUT
    if body.get("state") == marker:
        return lambda job: to_text(job.raw.get("state")).startswith(marker)
    return partial(_matches_request, body, sent_at - MAX_CLOCK_SKEW)


def _matches_request(body: JsonObject, earliest: float, job: Job) -> bool:
    """Compare a task with everything that the request says; what the task lacks is no objection."""
    if to_text(job.raw.get("state")) != to_text(body.get("state")):
        return False
    if job.submitted is not None and job.submitted.timestamp() < earliest:
        return False
    custom_id = coalesce(job.raw.get("customId"), get_properties(job.raw).get("custom_id"))
    if body.get("customId") and custom_id and custom_id != body["customId"]:
        return False
    if body.get("taskId") and job.parent and job.parent != body["taskId"]:
        return False
    prompt = to_text(body.get("prompt"))
    return not prompt or job.subject.strip() == prompt.strip()


def is_exact_match(call: Call[Any], marker: str) -> bool:
    """Return whether `build_matcher` cannot confuse the task with another one."""
    return call.name == "modal" or jsonlib.loads(call.body).get("state") == marker


def restore_call(
    sender: Sender | None,
    name: str,
    path: str,
    body: bytes,
) -> Call[Job]:
    """Return the submission of a journal row, to be searched for or sent again."""
    fields = jsonlib.loads(body)
    action = _get_action(name, fields)
    requested = Job(
        "mj",
        "",
        action,
        subject=fields.get("prompt", ""),
        user_data=strip_marker(to_text(fields.get("state"))),
        parent=fields.get("taskId", ""),
    )
    return Call(
        service="mj",
        name=name,
        method="POST",
        path=path,
        parse=partial(parse_submission, requested=requested),
        headers=JSON_HEADERS,
        body=body,
        endpoint="mj",
        is_submission=True,
        job_count=count_jobs(to_text(fields.get("prompt"))),
        sender=sender,
    )


def get_kind(call: Call[Any]) -> tuple[str, str]:
    """Return the action of the task that a submission creates, and the mode that it asks for."""
    body = jsonlib.loads(call.body)
    modes = [read_mode(call.path, body), *list_prompt_modes(body), ""]
    return _get_action(call.name, body), next(filter(None, modes), "")


def _get_action(name: str, body: JsonObject) -> str:
    if "customId" in body:
        return infer_action(to_text(body["customId"]))
    return name.upper()
