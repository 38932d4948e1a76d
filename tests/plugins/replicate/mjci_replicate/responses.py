"""Parse the responses of Replicate's API into jobs, pages and errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.calls import Page, Response
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.outcomes import Outcome, Reason, Rule, ServiceCodes, attach, no_answer
from jupyter_mjci.client.response_text import parse_object
from jupyter_mjci.errors import InvalidResponse, MjciError, ServiceError
from jupyter_mjci.services import FieldSpec

# https://replicate.com/docs/topics/predictions/lifecycle
STATUSES = {
    "starting": Status.QUEUED,
    "processing": Status.RUNNING,
    "succeeded": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "canceled": Status.CANCELLED,
    "aborted": Status.CANCELLED,
}
CODES = ServiceCodes(
    rules=(
        Rule(Reason.NOT_FOUND, Outcome.REFUSAL, words=re.compile("(?i)not found|not exist")),
        Rule(Reason.RATE_LIMIT, Outcome.BUSY, words=re.compile("(?i)throttled")),
    )
)
HINTS = {
    Reason.UNAUTHORIZED: "Set MJCI_RP_TOKEN: https://replicate.com/account/api-tokens.",
    Reason.QUOTA: "Add credit: https://replicate.com/account/billing.",
    Reason.NOT_FOUND: "Check the model's OWNER/NAME, or the prediction's ID.",
}


class ReplicateError(ServiceError):
    """An error response of Replicate."""

    service = "rp"


def get_object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return an object in an object; an empty one for anything else."""
    inner = value.get(name)
    return inner if isinstance(inner, dict) else {}


def to_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def parse_status(value: object) -> Status:
    return STATUSES.get(to_text(value), Status.RUNNING)


def parse_time(value: object) -> datetime | None:
    try:
        return datetime.fromisoformat(to_text(value))
    except ValueError:
        return None


def parse_progress(logs: object, status: object) -> int | None:
    """Return the last percentage of a progress bar (tqdm) in the logs."""
    if status == "succeeded":
        return 100
    percents = re.findall(r"(\d{1,3})%\|", to_text(logs))
    return int(percents[-1]) if percents else None


def parse_subject(value: object) -> str:
    inputs = value if isinstance(value, dict) else {}
    return to_text(inputs.get("prompt")) or (jsonlib.dumps(inputs) if inputs else "")


def parse_outputs(output: object) -> tuple[str, ...]:
    """Return the URLs of a model's output, which may be one, a list, or in an object."""
    if isinstance(output, dict):
        output = list(output.values())
    values = output if isinstance(output, list) else [output]
    return tuple(text for text in map(to_text, values) if text.startswith(("http://", "https://")))


FIELDS = (
    FieldSpec("id", ("id",), to_text, "text"),
    FieldSpec("action", ("model",), to_text, "text"),
    FieldSpec("status", ("status",), parse_status, "status"),
    FieldSpec("progress", ("logs", "status"), parse_progress),
    FieldSpec("subject", ("input",), parse_subject),
    FieldSpec("outputs", ("output",), parse_outputs),
    FieldSpec("submitted", ("created_at",), parse_time),
    FieldSpec("started", ("started_at",), parse_time),
    FieldSpec("finished", ("completed_at",), parse_time),
    FieldSpec("reason", ("error",), to_text, "text"),
    FieldSpec("webhook_url", ("webhook",), to_text),
)


def parse_job(prediction: Mapping[str, Any]) -> Job:
    values = {field.name: field.parse(*map(prediction.get, field.paths)) for field in FIELDS}
    return Job("rp", raw=prediction, **values)


def parse_record(record: object) -> list[Job]:
    """Return the job of a webhook or an export; none where it is another service's."""
    if isinstance(record, dict) and record.get("status") in STATUSES and "created_at" in record:
        return [parse_job(record)]
    return []


def parse_prediction(response: Response) -> Job:
    return parse_job(_parse_document(response, "status"))


def parse_page(response: Response) -> Page[Job]:
    document = _parse_document(response, "results")
    query = parse_qs(urlsplit(to_text(document.get("next"))).query)
    jobs = tuple(parse_job(result) for result in document["results"])
    return Page(jobs, query.get("cursor", [""])[0])


def parse_cancel(response: Response) -> None:
    _parse_document(response, "status")


def _parse_document(response: Response, field: str) -> Mapping[str, Any]:
    """Return the JSON of a response, or raise its error.

    A failed prediction has a field `error` too: it is an answer.
    """
    document = parse_object(response.body)
    if response.status < 300 and isinstance(document, dict) and field in document:
        return document
    raise _build_error(response)


def _build_error(response: Response) -> MjciError:
    classified = no_answer(response, CODES)
    if response.status < 300:
        return attach(InvalidResponse("The response is no answer.", body=response.body), classified)
    error = ReplicateError(
        f"Replicate refused the request (HTTP {response.status}).",
        status=response.status,
        code="not_found" if classified.reason is Reason.NOT_FOUND else classified.code,
        service_message=classified.message,
        request_id=classified.request_id,
        hint=HINTS.get(classified.reason, ""),
    )
    return attach(error, classified)
