"""Parse the responses of Tencent CI and COS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from xml.parsers.expat import ExpatError

from jupyter_mjci.client.calls import Page, Response
from jupyter_mjci.client.job import Job, Status, strip_marker
from jupyter_mjci.errors import CIError, InvalidResponse
from jupyter_mjci.services.tencent_ci import xml
from jupyter_mjci.services.tencent_ci.objects import StoredObject, build_object_url

Element = Mapping[str, Any]  # an element's children by name; all leaves are texts


CHINA_TZ = timezone(timedelta(hours=8))


STATUSES = {
    "submitted": Status.QUEUED,
    "pause": Status.QUEUED,
    "": Status.QUEUED,
    "running": Status.RUNNING,
    "success": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "cancel": Status.CANCELLED,
}


def to_text(value: Any) -> str:
    """Any leaf as text: empty elements are "", "-" is "not yet"."""
    if value is None or isinstance(value, (dict, list)):
        return ""
    told = str(value).strip()
    return "" if told == "-" else told


def parse_timestamp(value: Any) -> datetime | None:
    """2022-07-18T15:16:43+0800, with a blank for the T in some callbacks; "-" means "not yet"."""
    written = to_text(value).replace(" ", "T", 1)
    try:
        found = datetime.fromisoformat(written)
        return (found if found.tzinfo else found.replace(tzinfo=CHINA_TZ)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def get_element(detail: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """A container inside the detail; {} where it is missing. Of several alike, the first."""
    for name in path:
        value = detail.get(name)
        value = value[0] if isinstance(value, list) and value else value
        detail = value if isinstance(value, dict) else {}
    return detail


def parse_outputs(
    state: Any,
    batch_type: Any,
    batch_name: Any,
    result_key: Any,
    output_key: Any,
    bucket: Any,
    region: Any,
) -> tuple[str, ...]:
    """The result's URL, once there is one. A batch's output is a pattern, not an object."""
    key = coalesce(result_key, output_key).removeprefix("/")
    is_batch = to_text(batch_type) and to_text(batch_name)
    if parse_status(state) is not Status.SUCCEEDED or not key or is_batch:
        return ()
    return (build_object_url(to_text(bucket), to_text(region), key),)


def coalesce(*values: Any) -> str:
    """The first that tells something."""
    return next((told for value in values if (told := to_text(value))), "")


def parse_subject(detail: Mapping[str, Any]) -> str:
    return coalesce(*(xml.get_text(detail, path) for path in SUBJECT_FIELDS))


def parse_status(state: Any) -> Status:
    """Unknown words count as running: the job may still end."""
    return STATUSES.get(to_text(state).lower(), Status.RUNNING)


def parse_progress(state: Any, value: Any) -> int | None:
    told = to_text(value)
    if parse_status(state) is Status.SUCCEEDED:
        return 100
    return int(told) if told.isdecimal() and len(told) <= 3 else None


def parse_reason(state: Any, code: Any, message: Any) -> str:
    if parse_status(state) is not Status.FAILED:
        return ""
    return ": ".join(filter(None, (to_text(code), to_text(message))))


def parse_user_data(value: Any) -> str:
    return strip_marker(to_text(value))


SUBJECT_FIELDS = ("Input.Object", "Input.Prefix", "Input.UrlFile", "Input.Manifest")


OUTPUT_FIELDS = (
    "Operation.PicProcessResult.ObjectName",
    "Operation.Output.Object",
    "Operation.Output.Bucket",
    "Operation.Output.Region",
)


# Ours, the wire's, and how it is read: one line each. Listings are read by columns from the same
# lines.
FIELD_MAP: tuple[tuple[str, tuple[str, ...], Callable[..., Any]], ...] = (
    ("id", ("JobId",), to_text),
    ("action", ("Tag", "Operation.Tag", "Type"), coalesce),
    ("status", ("State",), parse_status),
    ("progress", ("State", "Progress"), parse_progress),
    ("subject", SUBJECT_FIELDS, coalesce),
    ("outputs", ("State", "Type", "Name", *OUTPUT_FIELDS), parse_outputs),
    ("submitted", ("CreationTime",), parse_timestamp),
    ("started", ("StartTime",), parse_timestamp),
    ("finished", ("EndTime",), parse_timestamp),
    ("reason", ("State", "Code", "Message"), parse_reason),
    ("user_data", ("Operation.UserData",), parse_user_data),
    ("webhook_url", ("CallBack",), to_text),
    ("parent", ("Workflow.RunId",), to_text),
)


WIRE_FIELDS = tuple(dict.fromkeys(wire for _, wires, _ in FIELD_MAP for wire in wires))


def parse_job(detail: Mapping[str, Any]) -> Job:
    """One JobsDetail as a Job. Takes anything that is a mapping; never raises for odd values."""
    told = {
        name: read(*(xml.get_text(detail, wire) for wire in wires))
        for name, wires, read in FIELD_MAP
    }
    return Job("ci", raw=detail, **told)


def parse_job_response(response: Response, job_id: str = "") -> Job:
    """The one job of an answer. Raises CIError where the service does not know it."""
    answer = _parse_response(response)
    details = [one for one in answer.get("JobsDetail") or () if isinstance(one, dict) and one]
    if not details:
        missing = job_id or ", ".join(to_text(one) for one in answer.get("NonExistJobIds") or ())
        raise CIError(
            f"Tencent CI knows no job {missing}.",
            status=response.status,
            code="NonExistJobIds",
            request_id=_get_request_id(response),
            hint="See %ci_jobs for those that it knows.",
        )
    return parse_job(details[0])


def parse_page(response: Response) -> Page[Job]:
    answer = _parse_response(response)
    details = answer.get("JobsDetail") or ()
    jobs = tuple(parse_job(one) for one in details if isinstance(one, dict) and one)
    return Page(jobs, to_text(answer.get("NextToken")))


def parse_rows(response: Response) -> Page[xml.Row]:
    """The same page without a Job per row: the texts of each job's WIRES."""
    if response.status >= 300:
        raise _build_service_error(response)
    try:
        rows, told = xml.parse_rows(
            response.body, "Response", "JobsDetail", WIRE_FIELDS, "NextToken"
        )
    except ExpatError as error:
        raise _build_not_xml_error(response, error) from None
    if not rows:
        _parse_response(response)  # raises where it is no page at all
    return Page(tuple(rows), to_text(told))


def parse_element(response: Response, root: str, at_top_level: bool = False) -> Element:
    """One element of the answer, or the whole answer under its root name."""
    answer = _parse_document(response) if at_top_level else _parse_response(response)
    found = answer.get(root)
    return get_element({root: found}, root)


def parse_list(response: Response, element: str) -> list[Element]:
    return [one for one in _parse_response(response).get(element) or () if isinstance(one, dict)]


def parse_executions(response: Response) -> Page[Element]:
    return Page(
        tuple(parse_list(response, "WorkflowExecutionList")),
        to_text(_parse_response(response).get("NextToken")),
    )


def parse_run_id(response: Response) -> str:
    return to_text(_parse_response(response).get("InstanceId"))


def parse_objects(response: Response) -> Page[StoredObject]:
    listing = get_element(_parse_document(response), "ListBucketResult")
    found = tuple(
        StoredObject(
            to_text(one.get("Key")),
            int(to_text(one.get("Size")) or 0),
            _parse_iso_timestamp(one.get("LastModified")),
            to_text(one.get("ETag")).strip('"'),
        )
        for one in listing.get("Contents") or ()
        if isinstance(one, dict)
    )
    more = to_text(listing.get("IsTruncated")) == "true"
    last = found[-1].key if found else ""
    return Page(found, (to_text(listing.get("NextMarker")) or last) if more else "")


def _parse_iso_timestamp(value: Any) -> datetime | None:
    """2022-07-18T07:16:43.000Z, as object listings write it."""
    return parse_timestamp(to_text(value).replace("Z", "+00:00"))


def parse_empty(response: Response) -> None:
    if response.status >= 300:
        raise _build_service_error(response)


def parse_bytes(response: Response) -> bytes:
    parse_empty(response)
    return response.body


def _parse_response(response: Response) -> Element:
    document = _parse_document(response)
    if "Response" not in document:
        raise InvalidResponse(
            f"The answer of {response.url.partition('?')[0]} is none of Tencent CI's (HTTP {response.status}).",
            detail=response.body[:120].decode("utf-8", "replace"),
            body=response.body,
            hint="Check MJCI_CI_ENDPOINT, bucket and region.",
        )
    return get_element(document, "Response")


def _parse_document(response: Response) -> dict[str, Any]:
    if response.status >= 300:
        raise _build_service_error(response)
    try:
        return xml.parse(response.body)
    except ExpatError as error:
        raise _build_not_xml_error(response, error) from None


def _build_not_xml_error(response: Response, error: ExpatError) -> InvalidResponse:
    return InvalidResponse(
        f"The answer of {response.url.partition('?')[0]} is not XML (HTTP {response.status}).",
        detail=str(error),
        hint="Check MJCI_CI_ENDPOINT, bucket and region.",
        body=response.body,
    )


_HINTS_BY_CODE = {
    "SignatureDoesNotMatch": "Check MJCI_CI_SECRET_KEY (and the token of a temporary key).",
    "InvalidAccessKeyId": "Check MJCI_CI_SECRET_ID.",
    "RequestTimeTooSkewed": "Set this machine's clock.",
    "NoSuchBucket": "Check MJCI_CI_BUCKET and MJCI_CI_REGION.",
    "NoSuchKey": "Check the object's key.",
    "PicBucketUnBinded": "Bind the bucket to CI's picture processing in the console.",
    "TemplateNotFound": "Check the template id.",
}


def _build_service_error(response: Response) -> CIError:
    """The error of an answer: COS's XML, or whatever came instead."""
    try:
        error = xml.parse(response.body).get("Error")
    except ExpatError:
        error = None
    fields: Mapping[str, Any] = error if isinstance(error, dict) else {}
    code, message = to_text(fields.get("Code")), to_text(fields.get("Message"))
    request_id = to_text(fields.get("RequestId")) or _get_request_id(response)
    return CIError(
        f"Tencent answers {code or f'HTTP {response.status}'}.",
        detail=message or response.body[:120].decode("utf-8", "replace"),
        status=response.status,
        code=code or ("NoSuchKey" if response.status == 404 else ""),
        service_message=message,
        request_id=request_id,
        hint=_HINTS_BY_CODE.get(code, f"Request id: {request_id}" if request_id else ""),
    )


def _get_request_id(response: Response) -> str:
    return response.headers.get("x-ci-request-id") or response.headers.get("x-cos-request-id") or ""
