"""Parse the responses of Midjourney proxies."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.calls import Response
from jupyter_mjci.client.job import Button, Job, Status, strip_marker
from jupyter_mjci.errors import (
    BannedPrompt,
    InvalidResponse,
    MidjourneyError,
    QueueFull,
    Unsupported,
)

STATUSES = {
    "NOT_START": Status.QUEUED,
    "SUBMITTED": Status.QUEUED,
    "": Status.QUEUED,
    "PENDING": Status.QUEUED,
    "QUEUED": Status.QUEUED,
    "IN_PROGRESS": Status.RUNNING,
    "PROCESSING": Status.RUNNING,
    "MODAL": Status.NEEDS_INPUT,
    "SUCCESS": Status.SUCCEEDED,
    "FAILURE": Status.FAILED,
    "FAILED": Status.FAILED,
    "CANCEL": Status.CANCELLED,
    "CANCELLED": Status.CANCELLED,
    # the .NET family's numbers, should they ever be sent
    "0": Status.QUEUED,
    "1": Status.QUEUED,
    "3": Status.RUNNING,
    "4": Status.FAILED,
    "5": Status.SUCCEEDED,
    "6": Status.NEEDS_INPUT,
    "7": Status.CANCELLED,
}


def to_text(value: Any) -> str:
    """Any scalar as text; "nothing" of every kind is ""."""
    if type(value) is str:  # nearly always
        return value
    if value is None or isinstance(value, (dict, list)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def parse_status(value: Any) -> Status:
    """Unknown words count as running: the job may still end."""
    return STATUSES.get(to_text(value).strip().upper(), Status.RUNNING)


def parse_progress(value: Any) -> int | None:
    """The leading digits of "37%", or None: some servers send words, or nothing."""
    found = re.match(r"\s*0*(\d{1,4})", to_text(value))
    return min(int(found[1]), 100) if found else None


def parse_timestamp(value: Any) -> datetime | None:
    """Epoch milliseconds as an aware datetime; null, "" and 0 mean "not yet". Small values are
    seconds.
    """
    try:
        number = float(to_text(value) or 0)
    except ValueError:
        return None
    if not 0 < number < MAX_TIMESTAMP_MS:
        return None
    return EPOCH + timedelta(milliseconds=number if number >= SECONDS_CUTOFF else number * 1000)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


SECONDS_CUTOFF = 1e11  # what is smaller counts seconds, not milliseconds


MAX_TIMESTAMP_MS = 253_402_300_799_000  # the last second that a datetime can hold, in milliseconds


def parse_buttons(value: Any) -> tuple[Button, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(
        Button(
            to_text(one["customId"]),
            to_text(one.get("label")),
            to_text(one.get("emoji")),
            to_text(one.get("style")) == "3",
        )
        for one in value
        if isinstance(one, dict) and one.get("customId")
    )


def coalesce(*values: Any) -> str:
    """The first that tells something."""
    return next((told for value in values if (told := to_text(value))), "")


RESULT_FIELDS = ("videoUrls", "video_urls", "videoUrl", "imageUrl", "imageUrls", "image_urls")


def parse_outputs(raw_status: Any, *results: Any) -> tuple[str, ...]:
    """Videos before single pictures before the grid. Previews of a running task are no outputs."""
    if parse_status(raw_status) is not Status.SUCCEEDED:
        return ()
    for value in filter(None, results):
        found = tuple(
            url for one in (value if isinstance(value, list) else [value]) if (url := _get_url(one))
        )
        if found:
            return found
    return ()


def _get_url(value: Any) -> str:
    return to_text(value.get("url")) if isinstance(value, dict) else to_text(value)


_PARENT_RE = re.compile(r"^/(?:up|change)\s+(\d{10,})")


def parse_parent(parent_id: Any, description: Any) -> str:
    """The .NET family tells it; the Java one only in the description "/up {id} U2"."""
    found = _PARENT_RE.match(to_text(description))
    return to_text(parent_id) or (found[1] if found else "")


def get_properties(task: Mapping[str, Any]) -> Mapping[str, Any]:
    value = task.get("properties")
    return value if isinstance(value, dict) else {}


def _parse_notify_hook(properties: Any) -> str:
    return to_text(properties.get("notifyHook")) if isinstance(properties, dict) else ""


def parse_user_data(value: Any) -> str:
    return strip_marker(to_text(value))


# Ours, the wire's, and how it is read: one line each. Listings are read by columns from the same
# lines.
FIELD_MAP: tuple[tuple[str, tuple[str, ...], Callable[..., Any]], ...] = (
    ("id", ("id", "mj_id"), coalesce),
    ("action", ("action",), to_text),
    ("status", ("status",), parse_status),
    ("progress", ("progress",), parse_progress),
    ("subject", ("prompt", "promptEn"), coalesce),
    ("outputs", ("status", *RESULT_FIELDS), parse_outputs),
    ("buttons", ("buttons",), parse_buttons),
    ("submitted", ("submitTime",), parse_timestamp),
    ("started", ("startTime",), parse_timestamp),
    ("finished", ("finishTime",), parse_timestamp),
    ("reason", ("failReason",), to_text),
    ("user_data", ("state",), parse_user_data),
    ("webhook_url", ("properties",), _parse_notify_hook),
    ("parent", ("parentId", "description"), parse_parent),
)


def parse_job(task: Mapping[str, Any]) -> Job:
    """One task object as a Job. Takes anything that is a mapping; never raises for odd values."""
    return Job(
        "mj", raw=task, **{name: read(*map(task.get, wires)) for name, wires, read in FIELD_MAP}
    )


def get_preview_url(job: Job) -> str:
    """The URL of a running task's blurry preview, or ""."""
    return to_text(job.raw.get("imageUrl")) if job.status is Status.RUNNING else ""


def parse_task(response: Response, task_id: str = "") -> Job:
    """GET /mj/task/{id}/fetch. An empty answer, or one that says so, means that the proxy does not
    know the id.
    """
    if response.status in (200, 204) and response.body.strip() in (b"", b"null"):
        raise _build_not_found_error(task_id, response)
    task = _unwrap(_parse_body(response, task_id))
    if not isinstance(task, dict):
        raise InvalidResponse(
            "The answer is no task.",
            detail=response.body[:120].decode(errors="replace"),
            body=response.body,
        )
    return parse_job(task)


def parse_tasks(response: Response, order: tuple[str, ...] | None = None) -> list[Job]:
    """A listing. Proxies do not keep the order of the ids that were asked for; we do."""
    if response.status in (200, 204) and not response.body.strip():
        return []
    tasks = _unwrap(_parse_body(response))
    if tasks is None:
        return []
    if not isinstance(tasks, list):
        raise InvalidResponse("The answer is no list of tasks.", body=response.body)
    jobs = [parse_job(task) for task in tasks if isinstance(task, dict)]
    if order is None:
        return jobs
    by_id = {job.id: job for job in jobs}
    return [by_id[one] for one in dict.fromkeys(order) if one in by_id]


@dataclass(frozen=True, slots=True)
class ListingChanges:
    """What a listing tells to somebody who knows most of it: the tasks that moved, and the ids of
    all.
    """

    jobs: tuple[Job, ...]
    ids: frozenset[str]


def parse_changes(response: Response, known: Mapping[str, Job]) -> ListingChanges:
    """A listing, of which only those tasks are read whole whose status or progress is not the known
    one.

    Of ten thousand followed tasks few move between two looks; reading all of them would keep a core
    busy.
    """
    try:
        pieces = _RAW_TASKS_DECODER.decode(response.body)
        glances = [_STATUS_DECODER.decode(piece) for piece in pieces]
    except (
        msgspec.MsgspecError
    ):  # a wrapper, an error, a damaged record: the patient reader knows them all
        jobs = parse_tasks(response)
        return ListingChanges(tuple(jobs), frozenset(job.id for job in jobs))
    ids, moved = [to_text(glance.id) for glance in glances], []
    for task_id, piece, glance in zip(ids, pieces, glances, strict=True):
        if _has_changed(known.get(task_id), glance):
            moved.append(parse_job(jsonlib.loads(memoryview(piece))))
    return ListingChanges(tuple(moved), frozenset(ids))


class _StatusOnly(msgspec.Struct):
    id: Any = None
    status: Any = None
    progress: Any = None


def _has_changed(job: Job | None, summary: _StatusOnly) -> bool:
    if job is None:
        return True
    if summary.status and (summary.status, summary.progress) == (
        job.raw.get("status"),
        job.raw.get("progress"),
    ):
        return False  # the very words of last time, as nearly always
    return (
        parse_status(summary.status) is not job.status
        or parse_progress(summary.progress) != job.progress
    )


_RAW_TASKS_DECODER = msgspec.json.Decoder(list[msgspec.Raw])


_STATUS_DECODER = msgspec.json.Decoder(_StatusOnly)


def parse_submission(response: Response, requested: Job) -> Job:
    """The answer of every submit call: `{code, description, result, properties}`, of which only the
    code decides.

    1 and 22 accept; 21 is either a task that exists already or a dialog that waits for `modal`. 23
    raises QueueFull, 24 BannedPrompt, everything else MidjourneyError.
    """
    answer = _parse_body(response)
    if isinstance(answer, dict) and "code" not in answer and isinstance(answer.get("data"), list):
        return _parse_finished_images(answer, requested)
    if not isinstance(answer, dict):
        raise InvalidResponse("The answer is no submit result.", body=response.body)
    code, result = to_text(answer.get("code")), answer.get("result")
    made = _STATUS_BY_CODE.get(code)
    if made is None or not _parse_result_id(result):
        raise _build_service_error(answer, response)
    return _build_submitted_job(
        requested, _parse_result_id(result), made(get_properties(answer)), answer
    )


def parse_query(response: Response) -> list[Job]:
    """A page of tasks: under `content`, or a bare list."""
    answer = _unwrap(_parse_body(response))
    found = answer.get("content", answer.get("list")) if isinstance(answer, dict) else answer
    return [parse_job(task) for task in found or () if isinstance(task, dict)]


def parse_accounts(response: Response) -> list[dict[str, Any]]:
    """Account records without anything that is a token."""
    found = _unwrap(_parse_body(response))
    records = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
    return [
        {name: value for name, value in one.items() if "token" not in name.lower()}
        for one in records
    ]


def parse_upload(response: Response) -> list[str]:
    """The URLs of uploaded pictures, in the order in which they were sent."""
    result = _get_result(response)
    return [to_text(one) for one in result] if isinstance(result, list) else [to_text(result)]


def parse_result(response: Response) -> str:
    """The text of a submit-like answer that names no task: a seed."""
    return to_text(_get_result(response))


def parse_cancel(response: Response) -> None:
    """Some answer with nothing at all, whatever happened."""
    if response.body.strip() or response.status >= 300:
        answer = _parse_body(response)
        if isinstance(answer, dict) and to_text(answer.get("code")) not in _STATUS_BY_CODE:
            raise _build_service_error(answer, response)


def _get_result(response: Response) -> Any:
    answer = _parse_body(response)
    if (
        not isinstance(answer, dict)
        or to_text(answer.get("code")) != "1"
        or not answer.get("result")
    ):
        raise _build_service_error(answer if isinstance(answer, dict) else {}, response)
    return answer["result"]


def _resolve_existing_or_dialog(properties: Mapping[str, Any]) -> Status:
    """Code 21 has two meanings: with a status or picture the task exists already, else a dialog
    waits.
    """
    if properties.get("status") or properties.get("imageUrl"):
        return parse_status(properties.get("status"))
    return Status.NEEDS_INPUT


_STATUS_BY_CODE: dict[str, Callable[[Mapping[str, Any]], Status]] = {
    "1": lambda _: Status.QUEUED,
    "22": lambda _: Status.QUEUED,
    "0": lambda _: Status.QUEUED,
    "21": _resolve_existing_or_dialog,
}


def _build_submitted_job(
    requested: Job, job_id: str, status: Status, answer: Mapping[str, Any]
) -> Job:
    return Job(
        "mj",
        job_id,
        requested.action,
        status,
        None,
        requested.subject,
        user_data=requested.user_data,
        parent=requested.parent,
        raw=answer,
    )


def _parse_result_id(result: Any) -> str:
    if isinstance(result, list):
        return ",".join(to_text(one) for one in result)
    return to_text(result)


def _parse_finished_images(answer: Mapping[str, Any], requested: Job) -> Job:
    """The shape that one vendor documents for submit/action: pictures at once, and no task."""
    urls = tuple(_get_url(one) for one in answer["data"] if _get_url(one))
    made = parse_timestamp(answer.get("created"))
    return Job(
        "mj",
        "",
        requested.action,
        Status.SUCCEEDED,
        100,
        requested.subject,
        urls,
        submitted=made,
        finished=made,
        user_data=requested.user_data,
        parent=requested.parent,
        raw=answer,
    )


def _parse_body(response: Response, task_id: str = "") -> Any:
    """The JSON of an answer that is one. Raises for pages, refusals and errors of every family's
    shape.
    """
    if response.is_html:
        raise Unsupported(
            f"This server has no such endpoint: {response.url}",
            detail=f"It answered with a web page (HTTP {response.status}).",
            hint="Check the base URL (MJCI_MJ_URL); relays leave some calls out, listings among them.",
            status=response.status,
        )
    if response.status in _HTTP_ERRORS and not _is_submit_result(response):
        what, hint = _HTTP_ERRORS[response.status]
        raise MidjourneyError(
            what,
            status=response.status,
            code=str(response.status),
            service_message=_extract_response_message(response),
            hint=hint,
        )
    if response.status == 404 and not response.body.strip():
        raise Unsupported(f"This server has no such endpoint: {response.url}", status=404)
    answer = response.json()
    if isinstance(answer, dict) and _is_error(answer, response):
        if "task_no_found" in to_text(answer.get("description")):
            raise _build_not_found_error(task_id, response)
        raise _build_service_error(answer, response)
    return answer


_HTTP_ERRORS = {
    401: (
        "The proxy refuses the secret.",
        "Set MJCI_MJ_SECRET; some want MJCI_MJ_AUTH=bearer or raw.",
    ),
    403: ("The proxy forbids it.", "Set MJCI_MJ_SECRET; some want MJCI_MJ_AUTH=bearer or raw."),
    429: ("The proxy asks to slow down.", "Wait a little, then try again."),
    500: ("The proxy is in trouble.", "Try again; its own log says more."),
    502: ("The proxy's own service does not answer.", "Try again later."),
    503: ("The proxy is not available.", "Try again later."),
    504: ("The proxy's own service does not answer.", "Try again later."),
}


def _is_submit_result(response: Response) -> bool:
    """Whether a refused answer is still a normal submit result (some send those with 4xx)."""
    try:
        answer = jsonlib.loads(response.body)
    except ValueError:
        return False
    return isinstance(answer, dict) and "code" in answer and "result" in answer


def _is_error(answer: Mapping[str, Any], response: Response) -> bool:
    return (
        "error" in answer
        or answer.get("success") is False
        or (response.status >= 400 and "result" not in answer)
    )


_ERRORS_BY_CODE: dict[str, tuple[type[MidjourneyError], str, str]] = {
    "3": (
        MidjourneyError,
        "The proxy does not find what this needs.",
        "Check the task id; or no account is free now.",
    ),
    "4": (MidjourneyError, "The proxy refuses the request.", ""),
    "5": (
        MidjourneyError,
        "The relay did not reach its proxy.",
        "Look at the listing before sending it again.",
    ),
    "9": (MidjourneyError, "The proxy failed to submit it.", ""),
    "23": (
        QueueFull,
        "The proxy's queue is full; nothing was accepted.",
        "Wait for a task to end: %mj_queue.",
    ),
    "24": (
        BannedPrompt,
        "The prompt may hold a banned word; nothing was accepted.",
        "Rephrase it.",
    ),
    "30": (MidjourneyError, "The relay is saturated; nothing was accepted.", "Try again later."),
}


def _build_service_error(answer: Mapping[str, Any], response: Response) -> MidjourneyError:
    code, message = to_text(answer.get("code")), _extract_message(answer)
    kind, what, hint = _ERRORS_BY_CODE.get(code, (MidjourneyError, "The proxy says no.", ""))
    if code == "9" and ("队列已满" in message or "queue" in message.lower()):
        kind, what, hint = _ERRORS_BY_CODE["23"]
    word = to_text(get_properties(answer).get("bannedWord"))
    error = kind(
        what,
        status=response.status,
        code=code,
        service_message=message,
        hint=hint,
        detail=f"{message} ({word})" if word else f"{message} (code {code})" if code else message,
    )
    if isinstance(error, BannedPrompt):
        error.word = word
    return error


def _build_not_found_error(task_id: str, response: Response) -> MidjourneyError:
    return MidjourneyError(
        f"The proxy knows no task {task_id}.",
        detail="Tasks are forgotten after a time, and by some proxies at a restart.",
        hint="See %mj_tasks for those that it knows.",
        status=response.status,
        code="not_found",
    )


def _extract_message(answer: Mapping[str, Any]) -> str:
    """The message, wherever this family puts it."""
    error = answer.get("error")
    if isinstance(error, dict):
        return to_text(error.get("message")).strip()
    candidates = (answer.get("description"), answer.get("message"), error)
    return next((to_text(one).strip() for one in candidates if to_text(one)), "")


def _extract_response_message(response: Response) -> str:
    try:
        answer = jsonlib.loads(response.body)
    except ValueError:
        return response.body[:120].decode("utf-8", "replace").strip()
    return _extract_message(answer) if isinstance(answer, dict) else ""


def _unwrap(answer: Any) -> Any:
    """Some put the task or the list into `data`."""
    if (
        isinstance(answer, dict)
        and "data" in answer
        and "id" not in answer
        and "status" not in answer
    ):
        inner = answer["data"]
        if (
            inner is None
            or isinstance(inner, list)
            or (isinstance(inner, dict) and {"id", "status"} & set(inner))
        ):
            return inner
    return answer
