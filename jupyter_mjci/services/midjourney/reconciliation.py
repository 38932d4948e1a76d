"""Find a Midjourney submission whose response was lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.calls import Call, Sender
from jupyter_mjci.client.job import Job, Status, strip_marker
from jupyter_mjci.services.midjourney.api import (
    JSON_HEADERS,
    Midjourney,
    encode_body,
    infer_action,
)
from jupyter_mjci.services.midjourney.responses import get_properties, parse_submission, to_text

T = TypeVar("T")


def is_trackable(call: Call[Any]) -> bool:
    """Whether the call makes a task, which a listing then tells of."""
    return call.is_submission and call.name != "upload"


def with_marker(call: Call[T], marker: str) -> Call[T] | None:
    """The call with our mark in `state`; None where that place is taken, or where the task exists
    already.
    """
    body = jsonlib.loads(call.body)
    if body.get("state") or call.name == "modal":
        return None
    return replace(call, body=encode_body({**body, "state": marker}))


def build_search_request(call: Call[Any], _: float) -> Call[list[Job]]:
    """What to ask to find the task that the call has made. A dialog's answer concerns a task that
    is known.
    """
    builder = Midjourney(call.sender)
    return (
        builder.tasks(ids=[jsonlib.loads(call.body)["taskId"]])
        if call.name == "modal"
        else builder.tasks()
    )


def build_matcher(call: Call[Any], marker: str, sent_at: float) -> Callable[[Job], bool]:
    """Tells of a task whether the call has made it: by its mark; else by everything that the user's
    call says. The body, which may hold pictures, is read once for the whole listing.
    """
    body = jsonlib.loads(call.body)
    if call.name == "modal":
        return lambda job: job.id == body["taskId"] and job.status is not Status.NEEDS_INPUT
    if body.get("state") == marker:
        return lambda job: to_text(job.raw.get("state")).startswith(marker)

    def says_the_same(job: Job) -> bool:
        wanted = body.get("customId")
        told = to_text(job.raw.get("customId")) or to_text(get_properties(job.raw).get("custom_id"))
        return (
            to_text(job.raw.get("state")) == to_text(body.get("state"))
            and (job.submitted is None or job.submitted.timestamp() >= sent_at - MAX_CLOCK_SKEW)
            and (not wanted or not told or wanted == told)
            and (not body.get("taskId") or not job.parent or job.parent == body["taskId"])
            and (not body.get("prompt") or job.subject.strip() == body["prompt"].strip())
        )

    return says_the_same


MAX_CLOCK_SKEW = 60.0  # seconds that two clocks may differ


def restore_call(sender: Sender | None, name: str, path: str, body: bytes) -> Call[Job]:
    """The call of a journal's row, to be sent again or looked for."""
    told = jsonlib.loads(body)
    action = infer_action(told["customId"]) if "customId" in told else name.upper()
    parent, state = told.get("taskId", ""), strip_marker(to_text(told.get("state")))
    read = partial(
        parse_submission,
        requested=Job(
            "mj", "", action, subject=told.get("prompt", ""), user_data=state, parent=parent
        ),
    )
    return Call("mj", name, "POST", path, read, {}, JSON_HEADERS, body, "mj", True, sender=sender)


def is_exact_match(call: Call[Any], marker: str) -> bool:
    """Whether `made_by` is certain; else two alike could be taken for each other."""
    return call.name == "modal" or jsonlib.loads(call.body).get("state") == marker
