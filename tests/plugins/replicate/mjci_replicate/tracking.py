"""Find the prediction of a submission whose response was lost.

The API has neither an idempotency key nor a field for text of
one's own. So the predictions that were created since are searched
for one with the same model and input. Two equal submissions
cannot be told apart, and inputs are deleted after an hour: the
match is not exact, and finding none proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.calls import Call, Paginator, Sender
from jupyter_mjci.client.job import Job
from mjci_replicate.api import Replicate, build_submission

MAX_CLOCK_SKEW = 60.0  # seconds


def is_trackable(call: Call[Any]) -> bool:
    return call.is_submission


def with_marker(_call: Call[Any], _marker: str) -> None:
    return None


def build_search_request(call: Call[Any], sent_at: float) -> Paginator[Job]:
    earliest = datetime.fromtimestamp(sent_at - MAX_CLOCK_SKEW, UTC)
    return Replicate(call.sender).predictions(limit=None, created_after=earliest.isoformat())


def build_matcher(call: Call[Any], _marker: str, sent_at: float) -> Callable[[Job], bool]:
    return partial(_matches, call.path, jsonlib.loads(call.body)["input"], sent_at - MAX_CLOCK_SKEW)


def _matches(path: str, inputs: object, earliest: float, job: Job) -> bool:
    if job.submitted is None or job.submitted.timestamp() < earliest:
        return False
    return path == f"/v1/models/{job.action}/predictions" and job.raw.get("input") == inputs


def is_exact_match(_call: Call[Any], _marker: str) -> bool:
    return False


def restore_call(sender: Sender | None, _name: str, path: str, body: bytes) -> Call[Job]:
    return build_submission(sender, path, body)
