"""Parse the responses of Midjourney proxies into jobs, values and errors.

Three server families speak this protocol (the Java
midjourney-proxy and its "plus" successor, the .NET one, and
relays such as new-api in front of either), and no two respond
quite alike. The parsers are therefore lenient in what they read:
null, "" and 0 all mean "nothing yet", numbers may come as strings
and strings as numbers, keys may be missing or unknown. They are
strict in what they conclude: only `status` says whether a task
has ended (never `progress`), and only `code` says whether a
submission was accepted.

Sources: the published documents of POST /mj/submit/action and of
the task queries, and the public code of the server families.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.calls import Response
from jupyter_mjci.client.job import Button, Job, Status, keep_newest, parse_each, strip_marker
from jupyter_mjci.client.outcomes import (
    GATEWAY_ERRORS,
    Classified,
    Outcome,
    Reason,
    attach,
    classify,
    no_answer,
)
from jupyter_mjci.client.redaction import strip_signature
from jupyter_mjci.client.response_text import (
    MAX_SEARCHED,
    decode_text,
    read_json_message,
    shorten,
)
from jupyter_mjci.client.translation import mark
from jupyter_mjci.errors import (
    BannedPrompt,
    InvalidResponse,
    MidjourneyError,
    MjciError,
    Unsupported,
)
from jupyter_mjci.services import (
    MAX_TIMESTAMP_MS,
    SECONDS_CUTOFF,
    FieldSpec,
    JobChanges,
)
from jupyter_mjci.services.json_service import (
    JobParser,
    JsonObject,
    build_status_parser,
    coalesce,
    to_text,
)
from jupyter_mjci.services.midjourney.codes import (
    CODES,
    ERRORS_BY_CODE,
    ERRORS_BY_REASON,
    ERRORS_BY_STATUS,
    OTHER,
    UNAVAILABLE,
    ErrorEntry,
)
from jupyter_mjci.services.midjourney.modes import PREFIX_HINT, has_mode_prefix

# --- Fields of a task -------------------------------------------

STATUSES = {
    "NOT_START": Status.QUEUED,
    "SUBMITTED": Status.QUEUED,
    # new-api reports "" until it has asked its upstream for the
    # first time
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
    # The .NET family's enum values. Not seen on the wire so far.
    "0": Status.QUEUED,
    "1": Status.QUEUED,
    "3": Status.RUNNING,
    "4": Status.FAILED,
    "5": Status.SUCCEEDED,
    "6": Status.NEEDS_INPUT,
    "7": Status.CANCELLED,
}


parse_status = build_status_parser(STATUSES)


def parse_progress(value: object) -> int | None:
    """Return the leading digits of "37%" as a percentage, or None: some servers send words."""
    match = re.match(r"\s*0*(\d{1,4})", to_text(value))
    if match is None:
        return None
    return min(int(match[1]), 100)


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_timestamp(value: object) -> datetime | None:
    """Return epoch milliseconds (or seconds, if small) as an aware datetime in UTC.

    null, "" and 0 mean "not yet": None.
    """
    try:
        number = float(to_text(value) or 0)
    except ValueError:
        return None
    if not 0 < number < MAX_TIMESTAMP_MS:
        return None
    if number < SECONDS_CUTOFF:
        number *= 1000
    return EPOCH + timedelta(milliseconds=number)


# the green of a button that was pressed before
USED_STYLES = (3, "3")


def parse_buttons(value: object) -> tuple[Button, ...]:
    """Return the buttons of a task; entries without a customId are left out."""
    if not isinstance(value, list):
        return ()
    return tuple(
        [
            Button(
                to_text(button["customId"]),
                to_text(button.get("label")),
                to_text(button.get("emoji")),
                button.get("style") in USED_STYLES,
            )
            for button in value
            if isinstance(button, dict) and button.get("customId")
        ]
    )


RESULT_FIELDS = ("videoUrls", "video_urls", "videoUrl", "imageUrl", "imageUrls", "image_urls")


def parse_outputs(raw_status: object, *results: object) -> tuple[str, ...]:
    """Return the URLs of the first result field that has any.

    In the order of RESULT_FIELDS: videos, then the image, then
    the single images. What a running task has in these fields is
    a preview, not an output.
    """
    if parse_status(raw_status) is not Status.SUCCEEDED:
        return ()
    for result in filter(None, results):
        values = result if isinstance(result, list) else [result]
        urls = tuple(filter(None, map(_get_url, values)))
        if urls:
            return urls
    return ()


def _get_url(value: object) -> str:
    if isinstance(value, dict):
        return to_text(value.get("url"))
    return to_text(value)


_PARENT_RE = re.compile(r"^/(?:up|change)\s+(\d{10,})")


def parse_parent(parent_id: object, description: object) -> str:
    """Return the parent's ID: the .NET family's field, else from the Java one's "/up {id} U2"."""
    if text := to_text(parent_id):
        return text
    match = _PARENT_RE.match(to_text(description))
    return match[1] if match else ""


def may_have_parent(parent_id: str | None, description: str | None) -> bool:
    """Return whether `parse_parent` may find one; nearly all tasks of a listing have none."""
    return bool(parent_id or (description and description.startswith(("/up", "/ch"))))


def get_properties(task: JsonObject) -> JsonObject:
    """Return the `properties` object of a task or submission result; {} if there is none."""
    value = task.get("properties")
    return value if isinstance(value, dict) else {}


def parse_size(value: object) -> int | None:
    """Return a number of bytes; None where there is none."""
    text = to_text(value)
    return int(text) if text.isdecimal() and 0 < len(text) <= 15 and int(text) else None


def parse_cost(value: object) -> float | None:
    """Return what a relay charged, in its own unit; 0 is "nothing yet"."""
    try:
        cost = float(to_text(value) or 0)
    except ValueError:
        return None
    return cost if 0 < cost < math.inf else None


def parse_user_data(value: object) -> str:
    """Return the user's own `state`; our own marker in its place is left out."""
    return strip_marker(to_text(value))


# `history.frames` converts whole columns of a listing by the same
# rows.
FIELDS = (
    FieldSpec("id", ("id", "mj_id"), coalesce, "text"),
    FieldSpec("action", ("action",), to_text, "text"),
    FieldSpec("status", ("status",), parse_status, "status"),
    FieldSpec("progress", ("progress",), parse_progress, "percent"),
    FieldSpec("subject", ("prompt", "promptEn"), coalesce, "text"),
    FieldSpec("outputs", ("status", *RESULT_FIELDS), parse_outputs, "outputs"),
    FieldSpec("buttons", ("buttons",), parse_buttons, "buttons"),
    FieldSpec("submitted", ("submitTime",), parse_timestamp, "epoch"),
    FieldSpec("started", ("startTime",), parse_timestamp, "epoch"),
    FieldSpec("finished", ("finishTime",), parse_timestamp, "epoch"),
    FieldSpec("reason", ("failReason",), to_text, "text"),
    FieldSpec("user_data", ("state",), parse_user_data, "user_data"),
    FieldSpec("webhook_url", ("properties.notifyHook",), to_text, "text"),
    FieldSpec("parent", ("parentId", "description"), parse_parent, "sparse", may_have_parent),
    # The .NET family names the account at the top, others in the
    # properties; relays tell at best which bot it was.
    FieldSpec(
        "account", ("properties.discordInstanceId", "instanceId", "botType"), coalesce, "text"
    ),
    FieldSpec("queue", ("mode",), to_text, "text"),
    FieldSpec("size_out", ("size",), parse_size),
    FieldSpec("cost", ("quota",), parse_cost),
    FieldSpec("final_prompt", ("properties.finalPrompt",), to_text, "text"),
)
parse_job = JobParser("mj", FIELDS)


def get_facts(job: Job) -> Iterable[tuple[str, str]]:
    """Return what a card shows of a task beyond the common fields: its mode, where it is told."""
    return [(mark("Mode"), to_text(job.raw.get("mode")).casefold())]


def get_picture_size(job: Job) -> tuple[int, int] | None:
    """Return the size of a task's picture; "plus" and .NET tell it."""
    width, height = job.raw.get("imageWidth"), job.raw.get("imageHeight")
    if isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0:
        return width, height
    return None


def get_single_urls(job: Job) -> tuple[str, ...]:
    """Return the single pictures of a grid, which the .NET family has in full size."""
    if job.status is not Status.SUCCEEDED:
        return ()
    for name in ("imageUrls", "image_urls"):
        values = job.raw.get(name)
        urls = tuple(filter(None, map(_get_url, values))) if isinstance(values, list) else ()
        if len(urls) > 1:
            return urls
    return ()


def get_command(job: Job) -> str:
    """Return the magic that submits a prompt again."""
    prompt = " ".join(job.subject.split())
    return f"%mj_imagine {prompt}" if job.action == "IMAGINE" and prompt else ""


def get_poster_url(job: Job) -> str:
    """Return the URL of the picture that a video begins with; "" where the task names none."""
    return _get_url(job.raw.get("imageUrl"))


# How the description of a task ends that a button of a grid made.
_STEP = re.compile(r"[UV]([1-4])\Z")


def get_step(job: Job) -> tuple[str, int | None]:
    """Return the button that made a task of its parent, and which picture it took, from 0.

    The proxies describe such a task as "/up 1712345678901234 U2".
    """
    match = _STEP.search(to_text(job.raw.get("description")))
    return (match[0], int(match[1]) - 1) if match else ("", None)


def get_preview_url(job: Job) -> str:
    """Return the URL of a running task's blurry preview, or ""."""
    if job.status is not Status.RUNNING:
        return ""
    return to_text(job.raw.get("imageUrl"))


# --- Tasks and listings -----------------------------------------


def parse_task(response: Response, task_id: str = "") -> Job:
    """Parse the response of GET /mj/task/{id}/fetch.

    Args:
        response: the response
        task_id: the requested ID, for the error message

    Raises:
        MidjourneyError: the proxy does not know the ID (code
            "not_found") or refuses
        InvalidResponse: the response is not a task
    """
    # For an unknown ID the Java family sends 200 with an empty
    # body, the .NET family 204.
    if response.status in (200, 204) and response.body.strip() in (b"", b"null"):
        raise _build_not_found_error(task_id, response)
    task = _unwrap(_parse_body(response, task_id))
    if not isinstance(task, dict):
        raise _build_no_answer_error(response, "The response is not a task.")
    job = parse_job(task)
    if not job.id or (task_id and job.id != task_id):
        raise _build_no_answer_error(response, "The response is not the task that was asked for.")
    return job


RecordsParser = Callable[
    [Sequence[JsonObject], Callable[[JsonObject], Job]],
    list[Job],
]


def parse_all(records: Sequence[JsonObject], parse: Callable[[JsonObject], Job]) -> list[Job]:
    """Parse all records, for who asked for them by their IDs."""
    return [parse(record) for record in records]


def parse_listed(response: Response) -> list[Job]:
    """Parse a listing, without the tasks that cannot be parsed.

    For who reads it as a history. Not for a search: what is not
    there would count as absent.
    """
    return parse_tasks(response, parse_records=parse_each)


def parse_tasks(
    response: Response,
    order: tuple[str, ...] | None = None,
    *,
    parse_records: RecordsParser = parse_all,
) -> list[Job]:
    """Parse a listing of tasks.

    Args:
        response: the response
        order: the requested IDs; proxies respond in an order of
            their own, so it is restored here
        parse_records: what becomes of records that cannot be
            parsed
    """
    if response.status in (200, 204) and not response.body.strip():
        return []
    answer = _parse_body(response)
    tasks = _unwrap(answer)
    if tasks is None and _may_be_empty(answer):
        return []
    if not isinstance(tasks, list):
        raise _build_no_answer_error(response, "The response is not a list of tasks.")
    records = [task for task in tasks if isinstance(task, dict)]
    jobs = keep_newest(parse_records(records, parse_job))
    if order is None:
        return jobs
    by_id = {job.id: job for job in jobs}
    return [by_id[task_id] for task_id in dict.fromkeys(order) if task_id in by_id]


def _may_be_empty(answer: object) -> bool:
    """Return whether null, alone or in `data`, stands for an empty listing: not beside an error."""
    if not isinstance(answer, dict):
        return True
    is_accepted = to_text(answer.get("code")) in CODES.accepted or answer.get("success") is True
    return is_accepted or not read_json_message(answer)


def parse_query(response: Response) -> list[Job]:
    """Parse a page of tasks: under `content` or `list`, or a bare array."""
    answer = _parse_body(response)
    tasks = _unwrap(answer)
    if isinstance(tasks, dict):
        tasks = _find_list(tasks)
    if tasks is None and _may_be_empty(answer):
        return []
    if not isinstance(tasks, list):
        raise _build_no_answer_error(response, "The response is not a page of tasks.")
    return keep_newest([parse_job(task) for task in tasks if isinstance(task, dict)])


class _StatusOnly(msgspec.Struct):
    id: object = None
    status: object = None
    progress: object = None


_RAW_TASKS_DECODER = msgspec.json.Decoder(list[msgspec.Raw])
_STATUS_DECODER = msgspec.json.Decoder(_StatusOnly)


def parse_changes(response: Response, known: Mapping[str, Job]) -> JobChanges:
    """Parse a listing, but only those tasks in full whose status or progress has changed.

    Of ten thousand followed tasks few change between two polls;
    parsing all of them would keep a processor core busy.

    Args:
        response: the listing's response
        known: the jobs as they were last seen, by ID
    """
    try:
        jsonlib.check_density(response.body)
        raw_tasks = _RAW_TASKS_DECODER.decode(response.body) if response.status < 300 else []
        summaries = [_STATUS_DECODER.decode(raw_task) for raw_task in raw_tasks]
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raw_tasks = []
    if not raw_tasks:
        # A wrapper, an error, a damaged record or nothing:
        # parse_tasks knows them all.
        jobs = parse_tasks(response)
        return JobChanges(tuple(jobs), frozenset(job.id for job in jobs))
    ids = [to_text(summary.id) for summary in summaries]
    changed = []
    for task_id, raw_task, summary in zip(ids, raw_tasks, summaries, strict=True):
        if _has_changed(known.get(task_id), summary):
            changed.append(parse_job(jsonlib.loads(bytes(raw_task))))
    return JobChanges(tuple(changed), frozenset(ids))


def _has_changed(job: Job | None, summary: _StatusOnly) -> bool:
    if job is None:
        return True
    last_seen = (job.raw.get("status"), job.raw.get("progress"))
    if summary.status and (summary.status, summary.progress) == last_seen:
        # the same values as last time, by far the common case
        return False
    if parse_status(summary.status) is not job.status:
        return True
    return parse_progress(summary.progress) != job.progress


class _TaskId(msgspec.Struct, gc=False):
    id: object = None
    mj_id: object = None


def parse_listing(response: Response, wanted_ids: frozenset[str] | None = None) -> Iterable[Job]:
    """Parse a listing, or only those of its tasks that are wanted."""
    if wanted_ids is None or not response.body.startswith(b"["):
        return parse_tasks(response)
    try:
        jsonlib.check_density(response.body)
        ids = msgspec.json.decode(response.body, type=list[_TaskId])
        tasks = _RAW_TASKS_DECODER.decode(response.body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # Something else among the tasks, or JSON beyond the
        # standard.
        return parse_tasks(response)
    return [
        parse_job(jsonlib.loads(bytes(task)))
        for task, task_id in zip(tasks, ids, strict=True)
        if coalesce(task_id.id, task_id.mj_id) in wanted_ids
    ]


def parse_callback(document: object) -> list[Job]:
    """Parse what a proxy sends to notifyHook: the task."""
    if isinstance(document, dict) and document.get("id") and "status" in document:
        return [parse_job(document)]
    return []


def parse_record(record: object) -> list[Job]:
    """Parse a task of an export."""
    if isinstance(record, dict) and not {"status", "action", "submitTime"}.isdisjoint(record):
        return [parse_job(record)]
    return []


# --- Submissions ------------------------------------------------


def parse_submission(response: Response, requested: Job) -> Job:
    """Parse the response of every submit call: `{code, description, result, properties}`.

    Only the code decides. 1 and 22 accept; 21 means either that
    the task exists already or that a dialog waits for `modal`.

    Args:
        response: the response
        requested: the job as it was requested; the response
            repeats none of it

    Raises:
        QueueFull: code 23
        BannedPrompt: code 24
        MidjourneyError: every other code
        InvalidResponse: the response is not a submission result
    """
    answer = _parse_body(response)
    if not isinstance(answer, dict):
        raise _build_no_answer_error(response, "The response is not a submission result.")
    if "code" not in answer and isinstance(answer.get("data"), list):
        return _parse_finished_images(answer, requested)
    job_id = _parse_result_id(answer.get("result") or _get_wrapped_id(answer.get("data")))
    code = to_text(answer.get("code"))
    if code not in CODES.accepted or not job_id:
        raise _build_no_answer_error(response, "The response names no task.")
    get_status = _STATUS_BY_CODE.get(code, _get_queued_status)
    return replace(requested, id=job_id, status=get_status(get_properties(answer)), raw=answer)


def _get_queued_status(_: JsonObject) -> Status:
    return Status.QUEUED


def _get_existing_or_dialog_status(properties: JsonObject) -> Status:
    """Code 21: with a status or an image the task exists already, otherwise a dialog waits."""
    if properties.get("status") or properties.get("imageUrl"):
        return parse_status(properties.get("status"))
    return Status.NEEDS_INPUT


_STATUS_BY_CODE: dict[str, Callable[[JsonObject], Status]] = {
    "1": _get_queued_status,
    "22": _get_queued_status,
    "0": _get_queued_status,
    "21": _get_existing_or_dialog_status,
}


def _get_wrapped_id(data: object) -> object:
    """Return what some relays have in `data` in place of `result`, where it may be an ID."""
    return data if isinstance(data, (int, dict)) or to_text(data).isdecimal() else None


_RESULT_ID = re.compile(r"(?!0+$)[\w.:-]+")


def _parse_result_id(result: object) -> str:
    """Return the task's ID, or several joined; "" for what is none, such as words or true."""
    values = result if isinstance(result, list) else [result]
    ids = [_parse_scalar_id(value) for value in values]
    return ",".join(ids) if all(ids) else ""


def _parse_scalar_id(value: object) -> str:
    if isinstance(value, dict):
        value = value.get("id") or value.get("taskId")
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        return ""
    text = to_text(value).strip()
    return text if all(map(_RESULT_ID.fullmatch, text.split(","))) else ""


def _parse_finished_images(answer: JsonObject, requested: Job) -> Job:
    """Parse the response that one vendor documents for submit/action: images, and no task."""
    images = answer["data"]
    urls = map(_get_url, images if isinstance(images, list) else [])
    created = parse_timestamp(answer.get("created"))
    return replace(
        requested,
        status=Status.SUCCEEDED,
        progress=100,
        outputs=tuple(filter(None, urls)),
        submitted=created,
        finished=created,
        raw=answer,
    )


# --- Other responses --------------------------------------------


def parse_accounts(response: Response) -> list[dict[str, Any]]:
    """Parse the account records, without any field that holds a token (some send Discord's)."""
    answer = _parse_body(response)
    records = _unwrap(answer)
    if records is None and _may_be_empty(answer):
        return []
    if not isinstance(records, list):
        raise _build_no_answer_error(response, "The response is not a list of accounts.")
    accounts = []
    for record in records:
        if isinstance(record, dict):
            accounts.append({name: record[name] for name in record if "token" not in name.lower()})
    return accounts


def parse_upload(response: Response) -> list[str]:
    """Parse the URLs of uploaded images, in the order in which they were sent."""
    result = _get_result(response)
    urls = [_get_url(value).strip() for value in (result if isinstance(result, list) else [result])]
    if not all(re.fullmatch(r"\S*[/:]\S+", url) for url in urls):
        raise _build_no_answer_error(response, "The response does not name the pictures' URLs.")
    return urls


def parse_result(response: Response) -> str:
    """Parse the `result` of a response that names no task: a seed."""
    return to_text(_get_result(response))


def parse_cancel(response: Response) -> None:
    """Check the response of a cancellation; the .NET family sends an empty one in any case."""
    if not response.body.strip() and response.status < 300:
        return
    answer = _parse_body(response)
    if not isinstance(answer, dict) or to_text(answer.get("code")) not in CODES.accepted:
        message = "The response does not confirm the cancellation: fetch the task again."
        raise _build_no_answer_error(response, message)


def _get_result(response: Response) -> object:
    answer = _parse_body(response)
    is_accepted = isinstance(answer, dict) and to_text(answer.get("code")) in CODES.accepted
    if not is_accepted or not answer.get("result"):
        raise _build_no_answer_error(response, "The response has no result.")
    return answer["result"]


def _unwrap(answer: object) -> Any:
    """Return the task or listing that some servers put into `data`; other values as they are."""
    if not isinstance(answer, dict) or "data" not in answer:
        return answer
    if "id" in answer or "status" in answer:
        return answer  # a task that has a field called data
    inner = answer["data"]
    if isinstance(inner, dict):
        is_task = "id" in inner or "status" in inner
        inner = inner if is_task else _find_list(inner, answer)
    return inner if inner is None or isinstance(inner, (dict, list)) else answer


# Where pages hold their rows; `data` is that of a page in a wrapper.
_LIST_FIELDS = ("content", "list", "records", "rows", "items", "tasks", "data")


def _find_list(page: JsonObject, default: object = None) -> Any:
    """Return the rows of a page; `default` where it has none."""
    return next((page[name] for name in _LIST_FIELDS if isinstance(page.get(name), list)), default)


# --- Errors -----------------------------------------------------


def _parse_body(response: Response, task_id: str = "") -> Any:
    """Return the JSON of a response; raise the error that it reports in any family's form."""
    classified = classify(response, CODES)
    wrapped = _get_wrapped_answer(classified.document) if classified.is_result else None
    if wrapped is not None:
        # It says yes or no for itself.
        return _parse_body(replace(response, body=jsonlib.dumps(wrapped).encode()), task_id)
    if not classified.is_result:
        # new-api's spelling, and others'
        if classified.reason is Reason.NOT_FOUND and task_id:
            raise attach(_build_not_found_error(task_id, response), classified)
        raise _build_error(classified, response)
    if classified.document is not None:
        return classified.document
    try:
        return response.json()
    except InvalidResponse as error:
        raise attach(error, no_answer(response, CODES)) from None


def _get_wrapped_answer(document: object) -> JsonObject | None:
    """Return the whole answer that a gateway put into `data`, with a code of its own beside it."""
    if not isinstance(document, dict) or not {"code", "success"} & document.keys():
        return None
    inner = document.get("data")
    return inner if isinstance(inner, dict) and {"code", "result"} <= inner.keys() else None


def _build_no_answer_error(response: Response, message: str) -> MjciError:
    """Return the error for a 2xx that parses, but is not what was asked for."""
    classified = no_answer(response, CODES)
    document = classified.document
    is_error = isinstance(document, dict) and "id" not in document
    if is_error and (classified.message or classified.code):
        return _build_error(classified, response)
    detail = shorten(decode_text(response.body[:MAX_SEARCHED]), 120)
    return attach(InvalidResponse(message, detail=detail, body=response.body), classified)


def _build_error(classified: Classified, response: Response) -> MjciError:
    """Return the error of a response that is no result."""
    is_challenge = classified.reason is Reason.CHALLENGE
    is_front_page = response.is_html and classified.status < 300 and not is_challenge
    if classified.reason is Reason.NO_ENDPOINT or is_front_page:
        return attach(_build_unsupported_error(classified, response), classified)
    if classified.outcome is Outcome.UNREADABLE:
        message = f"The server responded with status {classified.status}, which is no answer."
        detail = classified.message or _describe(classified)
        return attach(InvalidResponse(message, detail=detail, body=response.body), classified)
    error_class, summary, hint = _select_error(classified, response)
    error = error_class(
        summary,
        status=classified.status,
        code=classified.code or (str(classified.status) if classified.status >= 300 else ""),
        service_message=classified.message,
        request_id=classified.request_id,
        hint=hint,
        detail=_describe(classified),
    )
    if isinstance(error, BannedPrompt):
        error.word = _get_banned_word(classified)
    return attach(error, classified)


_UNSUPPORTED_HINT = "Check the base URL (MJCI_MJ_URL). Relays lack some calls, such as listings."


def _build_unsupported_error(classified: Classified, response: Response) -> Unsupported:
    words = f": {classified.message}" if classified.message else ""
    kind = "a web page" if response.is_html else "an error"
    return Unsupported(
        f"This server has no such endpoint: {response.url}",
        detail=f"It responded with {kind} (HTTP {classified.status}){words}.",
        hint=PREFIX_HINT if has_mode_prefix(response.url) else _UNSUPPORTED_HINT,
        service="mj",
        status=classified.status,
        code=classified.code,
    )


def _select_error(classified: Classified, response: Response) -> ErrorEntry:
    if classified.reason in GATEWAY_ERRORS:
        summary, hint = GATEWAY_ERRORS[classified.reason]
        return MidjourneyError, summary, hint.format(setting="MJCI_MJ_URL")
    if classified.reason is Reason.NO_ANSWER and classified.code in CODES.accepted:
        return _NO_RESULT
    if classified.code in ERRORS_BY_CODE and classified.reason not in _SPECIFIC_REASONS:
        return ERRORS_BY_CODE[classified.code]
    if classified.reason is Reason.FORBIDDEN and response.is_html:
        return _FORBIDDEN_BY_GATEWAY
    if classified.status in ERRORS_BY_STATUS:
        return ERRORS_BY_STATUS[classified.status]
    if classified.reason in ERRORS_BY_REASON:
        return ERRORS_BY_REASON[classified.reason]
    return UNAVAILABLE if classified.status >= 500 else OTHER


# Reasons that say more than the code.
_SPECIFIC_REASONS = frozenset({Reason.QUEUE_FULL, Reason.QUOTA, Reason.NO_ACCOUNT})
_NO_RESULT: ErrorEntry = (
    MidjourneyError,
    "The proxy accepted the request, but its response has no result.",
    "",
)
_FORBIDDEN_BY_GATEWAY: ErrorEntry = (
    MidjourneyError,
    "A gateway in front of the proxy denied access.",
    "Its page says why; the proxy itself answers in JSON. Check the address, a VPN, a firewall.",
)


def _describe(classified: Classified) -> str:
    if classified.location:
        return f"Location: {strip_signature(classified.location)}"
    word = _get_banned_word(classified)
    if word:
        return f"Banned word: {word}."
    if classified.code:
        return f"Code {classified.code}."
    is_clear = classified.status < 300 or classified.reason in ERRORS_BY_REASON
    return "" if is_clear else f"HTTP {classified.status}."


def _get_banned_word(classified: Classified) -> str:
    document = classified.document
    properties = get_properties(document) if isinstance(document, dict) else {}
    return to_text(properties.get("bannedWord"))


def _build_not_found_error(task_id: str, response: Response) -> MidjourneyError:
    return MidjourneyError(
        f"Task {task_id} was not found.",
        detail="Proxies delete tasks after some time, and some of them at a restart.",
        hint="%mj_tasks lists the tasks that the proxy has.",
        status=response.status,
        code="not_found",
    )
