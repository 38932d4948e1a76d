"""Parse the responses of Tencent CI and COS into jobs, pages, objects and errors.

Bodies are XML without a namespace. An input names its bucket
BucketId, an output Bucket; "-" means "not yet"; a single job may
come where a list of jobs is documented. Webhooks send the same
elements as JSON, so the parsers of fields take any JSON value.

Sources: the documents of POST /jobs and POST
/inventorytriggerjob, and the public API pages of the other calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import unquote
from xml.parsers.expat import ExpatError

from jupyter_mjci.client.calls import Page, Response
from jupyter_mjci.client.job import Job, Status, parse_each, strip_marker
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
from jupyter_mjci.client.response_text import MAX_SEARCHED, decode_text, shorten
from jupyter_mjci.errors import CIError, InvalidResponse, MjciError
from jupyter_mjci.services import FieldSpec, list_paths
from jupyter_mjci.services.tencent_ci import xml
from jupyter_mjci.services.tencent_ci.codes import CODES, find_hint
from jupyter_mjci.services.tencent_ci.objects import StoredObject, build_object_url

# the children of an element by name; leaves are texts
Element = Mapping[str, Any]
CHINA_TZ = timezone(timedelta(hours=8))

# --- Fields of a job --------------------------------------------

STATUSES = {
    "submitted": Status.QUEUED,
    "pause": Status.QUEUED,
    "": Status.QUEUED,
    "running": Status.RUNNING,
    "success": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "cancel": Status.CANCELLED,
}


def to_text(value: object) -> str:
    """Return a leaf as text; empty elements and "-" ("not yet") are ""."""
    if value is None or isinstance(value, (dict, list)):
        return ""
    text = str(value)
    return "" if text == "-" else text


def coalesce(*values: object) -> str:
    """Return the first value that is not empty, as text."""
    for value in values:
        text = to_text(value)
        if text:
            return text
    return ""


def get_element(element: Element, *path: str) -> Element:
    """Return the container at a path; {} if it is missing. Of several, the first."""
    for name in path:
        value = element.get(name)
        if isinstance(value, list) and value:
            value = value[0]
        element = value if isinstance(value, dict) else {}
    return element


def parse_timestamp(value: object) -> datetime | None:
    """Return a time such as 2022-07-18T15:16:43+0800 as an aware datetime in UTC; "-" is None.

    Some webhooks send a space instead of the T. Without an offset
    the time is China's.
    """
    text = to_text(value).replace(" ", "T", 1)
    try:
        timestamp = datetime.fromisoformat(text)
        if timestamp.tzinfo is None:
            timestamp = timestamp.replace(tzinfo=CHINA_TZ)
        return timestamp.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def parse_status(state: object) -> Status:
    """Return the status of a State; an unknown one counts as running, for the job may still end."""
    return STATUSES.get(to_text(state).lower(), Status.RUNNING)


def parse_progress(state: object, value: object) -> int | None:
    """Return the percentage that some jobs report; 100 for a job that succeeded."""
    if parse_status(state) is Status.SUCCEEDED:
        return 100
    text = to_text(value)
    return int(text) if text.isdecimal() and len(text) <= 3 else None


def parse_outputs(
    state: object,
    batch_type: object,
    batch_name: object,
    result_key: object,
    output_key: object,
    bucket: object,
    region: object,
) -> tuple[str, ...]:
    """Return the URL of the result of a job that succeeded.

    The key of the result, if reported, has the variables of the
    requested key filled in. The output of a batch is a pattern of
    keys, not an object.
    """
    key = coalesce(result_key, output_key).removeprefix("/")
    is_batch = to_text(batch_type) and to_text(batch_name)
    if parse_status(state) is not Status.SUCCEEDED or not key or is_batch:
        return ()
    return (build_object_url(to_text(bucket), to_text(region), key),)


def parse_reason(state: object, code: object, message: object) -> str:
    """Return "Code: Message" of a failed job. Other jobs have them too: "Success"."""
    if parse_status(state) is not Status.FAILED:
        return ""
    return ": ".join(filter(None, (to_text(code), to_text(message))))


def parse_account(*buckets: object) -> str:
    """Return the account's number, with which the name of every bucket ends."""
    return coalesce(*buckets).rpartition("-")[2]


def parse_size(*values: object) -> int | None:
    """Return the first number of bytes; None where there is none."""
    text = coalesce(*values)
    return int(text) if text.isdecimal() and len(text) <= 15 else None


def parse_user_data(value: object) -> str:
    """Return the user's own UserData; our own marker in its place is left out."""
    return strip_marker(to_text(value))


SUBJECT_FIELDS = ("Input.Object", "Input.Prefix", "Input.UrlFile", "Input.Manifest")
OUTPUT_FIELDS = (
    "Operation.PicProcessResult.ObjectName",
    "Operation.Output.Object",
    "Operation.Output.Bucket",
    "Operation.Output.Region",
)

RULE_FIELDS = (
    "Operation.PicProcess.ProcessRule",
    "Operation.JobParam.PicProcess.ProcessRule",
    "Operation.TemplateName",
    "Operation.TemplateId",
    "Operation.JobParam.TemplateId",
)
# Descriptions of the result disagree: see `facts`.
_RESULT = "Operation.PicProcessResult"
SIZE_IN_FIELDS = (
    f"{_RESULT}.OriginalInfo.ImageInfo.Size",
    f"{_RESULT}.UploadResult.OriginalInfo.ImageInfo.Size",
)
SIZE_OUT_FIELDS = (
    f"{_RESULT}.ProcessResult.Size",
    f"{_RESULT}.UploadResult.ProcessResults.Object.Size",
    f"{_RESULT}.ProcessResults.Object.Size",
)

# `history.frames` converts whole columns of a listing by the same
# rows.
FIELDS = (
    FieldSpec("id", ("JobId",), to_text, "text"),
    FieldSpec("action", ("Tag", "Operation.Tag", "Type"), coalesce, "text"),
    FieldSpec("status", ("State",), parse_status, "status"),
    FieldSpec("progress", ("State", "Progress"), parse_progress),
    FieldSpec("subject", SUBJECT_FIELDS, coalesce, "text"),
    FieldSpec("outputs", ("State", "Type", "Name", *OUTPUT_FIELDS), parse_outputs),
    FieldSpec("submitted", ("CreationTime",), parse_timestamp, "iso_time"),
    FieldSpec("started", ("StartTime",), parse_timestamp, "iso_time"),
    FieldSpec("finished", ("EndTime",), parse_timestamp, "iso_time"),
    FieldSpec("reason", ("State", "Code", "Message"), parse_reason),
    FieldSpec("user_data", ("Operation.UserData",), parse_user_data, "user_data"),
    FieldSpec("webhook_url", ("CallBack",), to_text, "text"),
    FieldSpec("parent", ("Workflow.RunId",), to_text, "text"),
    FieldSpec("account", ("Input.BucketId", "Operation.Output.Bucket"), parse_account),
    FieldSpec("queue", ("QueueId",), to_text, "text"),
    FieldSpec("rule", RULE_FIELDS, coalesce, "text"),
    FieldSpec("bucket", ("Operation.Output.Bucket", "Input.BucketId"), coalesce, "text"),
    FieldSpec("size_in", SIZE_IN_FIELDS, parse_size),
    FieldSpec("size_out", SIZE_OUT_FIELDS, parse_size),
)
WIRE_FIELDS = list_paths(FIELDS)


def parse_job(detail: Element) -> Job:
    """Return a JobsDetail as a Job. Odd values never raise: a listing keeps all its rows."""
    texts = {path: xml.get_text(detail, path) for path in WIRE_FIELDS}
    values = {field.name: field.parse(*map(texts.get, field.paths)) for field in FIELDS}
    return Job("ci", raw=detail, **values)


def parse_subject(detail: Element) -> str:
    """Return what a job or a request is about: an object, a prefix, a list of URLs, a manifest."""
    return coalesce(*(xml.get_text(detail, path) for path in SUBJECT_FIELDS))


# --- Jobs and pages ---------------------------------------------


def parse_job_response(response: Response, job_id: str = "") -> Job:
    """Parse the single job of a response.

    Args:
        response: the response
        job_id: the requested ID, for the error message

    Raises:
        CIError: the service does not know the job (code
            "NonExistJobIds") or refuses
        InvalidResponse: the response is not Tencent CI's
    """
    body = _parse_response(response)
    jobs = _parse_details(body)
    if not jobs:
        missing = job_id or ", ".join(map(to_text, body.get("NonExistJobIds") or ()))
        error = CIError(
            f"Job {missing} was not found.",
            status=response.status,
            code="NonExistJobIds",
            request_id=classify(response, CODES).request_id,
            hint="%ci_jobs lists the jobs that Tencent CI has.",
        )
        error.outcome = Outcome.REFUSAL
        raise error
    return jobs[0]


def parse_page(response: Response) -> Page[Job]:
    """Parse a page of jobs."""
    body = _parse_response(response)
    return Page(_parse_details(body), to_text(body.get("NextToken")))


def parse_listing_page(response: Response) -> Page[Job]:
    """Parse a page of a listing, without the jobs that cannot be parsed."""
    body = _parse_response(response)
    jobs = parse_each(_list_details(body), parse_job)
    return Page(tuple(jobs), to_text(body.get("NextToken")))


def _parse_details(body: Element) -> tuple[Job, ...]:
    """Return the jobs of a response; an empty JobsDetail stands for none."""
    return tuple(map(parse_job, _list_details(body)))


def _list_details(body: Element) -> list[Element]:
    details = body.get("JobsDetail") or ()
    return [detail for detail in details if isinstance(detail, dict) and detail]


def parse_rows(response: Response) -> Page[xml.Row]:
    """Parse a page of jobs into rows: the texts of WIRE_FIELDS, without building a Job each."""
    _raise_for_error(response)
    try:
        rows, token = xml.parse_rows(
            response.body, "Response", "JobsDetail", WIRE_FIELDS, "NextToken"
        )
    except (ExpatError, ValueError) as error:
        raise _build_not_xml_error(response, error) from None
    if not rows:
        # raises if it is not a page at all
        _parse_response(response)
    return Page(tuple(rows), to_text(token))


def parse_listing(response: Response, wanted_ids: frozenset[str] | None = None) -> Iterable[Job]:
    """Parse a page of jobs; nothing where it has none of the wanted ones."""
    if wanted_ids is not None:
        id_index = WIRE_FIELDS.index("JobId")
        rows = parse_rows(response).items
        if wanted_ids.isdisjoint(row[id_index] or "" for row in rows):
            return ()
    return parse_page(response).items


def parse_text(text: str) -> object:
    """Parse an XML document. Raises ValueError where it is not well-formed."""
    try:
        return xml.parse(text)
    except ExpatError as error:
        raise ValueError(str(error)) from None


def parse_callback(document: object) -> list[Job]:
    """Parse an event that CI sends to CallBack, in JSON or XML."""
    if not isinstance(document, dict):
        return []
    details = document.get("Response", document).get("JobsDetail") or ()
    # CI sends a single job without a list around it
    if not isinstance(details, list):
        details = [details] if details else []
    return [parse_job(detail) for detail in details]


def parse_record(record: object) -> list[Job]:
    """Parse a job of an export."""
    if isinstance(record, dict) and "JobId" in record:
        return [parse_job(record)]
    return []


# --- Other responses --------------------------------------------


def parse_element(
    response: Response,
    root: str,
    at_top_level: bool = False,
) -> Element:
    """Parse one element.

    Args:
        response: the response
        root: the name of the element; {} is returned if it is
            missing
        at_top_level: it is the root element itself; else it is a
            child of `<Response>`
    """
    document = _parse_document(response) if at_top_level else _parse_response(response)
    return get_element(document, root)


def parse_list(response: Response, element: str) -> list[Element]:
    """Parse all elements with one name; `xml.REPEATED` must have it."""
    return _get_elements(_parse_response(response), element)


def parse_executions(response: Response) -> Page[Element]:
    """Parse a page of workflow executions."""
    body = _parse_response(response)
    executions = _get_elements(body, "WorkflowExecutionList")
    return Page(tuple(executions), to_text(body.get("NextToken")))


def _get_elements(parent: Element, name: str) -> list[Element]:
    return [element for element in parent.get(name) or () if isinstance(element, dict)]


def parse_run_id(response: Response) -> str:
    """Parse the ID of a workflow execution that was started."""
    return to_text(_parse_response(response).get("InstanceId"))


def parse_objects(response: Response) -> Page[StoredObject]:
    """Parse a page of a bucket's listing: objects and folders, in the order of their keys."""
    listing = get_element(_parse_document(response), "ListBucketResult")
    decode = unquote if to_text(listing.get("EncodingType")) == "url" else str
    rows = [_parse_object(element, decode) for element in _get_elements(listing, "Contents")]
    for element in _get_elements(listing, "CommonPrefixes"):
        folder = decode(to_text(element.get("Prefix")))
        rows.append(StoredObject(folder, 0, None, is_folder=True))
    rows.sort(key=lambda row: row.key.encode("utf-8", "surrogatepass"))
    if to_text(listing.get("IsTruncated")) != "true":
        return Page(tuple(rows))
    # COS sends NextMarker only with a delimiter; without one, the
    # last key is the marker.
    last_key = rows[-1].key if rows else ""
    return Page(tuple(rows), decode(to_text(listing.get("NextMarker"))) or last_key)


def _parse_object(content: Element, decode: Callable[[str], str]) -> StoredObject:
    return StoredObject(
        key=decode(to_text(content.get("Key"))),
        size=_parse_size(content.get("Size")),
        changed=parse_timestamp(content.get("LastModified")),
        etag=to_text(content.get("ETag")).strip('"'),
    )


def _parse_size(value: object) -> int:
    text = to_text(value)
    return int(text) if text.isdecimal() and len(text) < 20 else 0


def parse_empty(response: Response) -> None:
    """Check a response that has no body."""
    _raise_for_status(response)


def parse_bytes(response: Response) -> bytes:
    """Return the body of a response as it is."""
    _raise_for_status(response)
    return response.body


def _parse_response(response: Response) -> Element:
    document = _parse_document(response)
    if "Response" not in document:
        raise _build_not_ci_error(response)
    return get_element(document, "Response")


def _parse_document(response: Response) -> dict[str, Any]:
    _raise_for_error(response)
    try:
        return xml.parse(response.body)
    except (ExpatError, ValueError) as error:  # ValueError: xmltodict refuses entities
        raise _build_not_xml_error(response, error) from None


# --- Errors -----------------------------------------------------

_ADDRESS_HINT = "Check MJCI_CI_ENDPOINT, bucket and region."


def _raise_for_status(response: Response) -> None:
    """Raise the error of a response; an object's own bytes may look like anything."""
    if response.status >= 300:
        raise _build_error(classify(response, CODES), response)


def _raise_for_error(response: Response) -> None:
    """Raise the error of a response that has to be Tencent's XML."""
    classified = classify(response, CODES)
    if not classified.is_result:
        raise _build_error(classified, response)


def _build_error(classified: Classified, response: Response) -> MjciError:
    """Return the error of a response that is no result: COS's `<Error>`, or what came instead."""
    if classified.reason is Reason.NO_ANSWER:
        return _build_not_ci_error(response, classified.message)
    code = classified.code if _is_xml(response) else ""
    if classified.status == 404:
        # HEAD and some gateways respond with 404 and no body.
        code = code or "NoSuchKey"
    summary = f"Tencent reported an error: {code or f'HTTP {classified.status}'}."
    hint = find_hint(classified.status, code, classified.message)
    if classified.reason in GATEWAY_ERRORS:
        summary, hint = GATEWAY_ERRORS[classified.reason]
        hint = hint.format(setting="MJCI_CI_ENDPOINT or MJCI_COS_ENDPOINT")
    elif not hint and classified.request_id:
        hint = f"Request ID: {classified.request_id}"
    error = CIError(
        summary,
        detail=_describe(classified),
        status=classified.status,
        code=code,
        service_message=classified.message,
        request_id=classified.request_id,
        hint=hint,
    )
    return attach(error, classified)


def _is_xml(response: Response) -> bool:
    return response.body.lstrip()[:1] == b"<" and not response.is_html


def _describe(classified: Classified) -> str:
    if classified.location:
        return f"Location: {strip_signature(classified.location)}"
    return f"HTTP {classified.status}."


def _build_not_ci_error(response: Response, words: str = "") -> InvalidResponse:
    detail = words or shorten(decode_text(response.body[:MAX_SEARCHED]), 120)
    kind = "XML" if response.is_html else "from Tencent CI"
    error = InvalidResponse(
        f"The response of {_strip_query(response)} is not {kind} (HTTP {response.status}).",
        detail=detail,
        body=response.body,
        hint=_ADDRESS_HINT,
    )
    return attach(error, no_answer(response, CODES))


def _build_not_xml_error(response: Response, error: Exception) -> InvalidResponse:
    not_xml = InvalidResponse(
        f"The response of {_strip_query(response)} is not XML (HTTP {response.status}).",
        detail=str(error),
        hint=_ADDRESS_HINT,
        body=response.body,
    )
    return attach(not_xml, no_answer(response, CODES))


def _strip_query(response: Response) -> str:
    """Return the URL without its query, which may hold a signature."""
    return response.url.partition("?")[0]
