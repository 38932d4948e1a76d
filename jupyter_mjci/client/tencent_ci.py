"""Every operation of Tencent Cloud Infinite (CI) picture jobs and of the COS objects around them.

Bodies and answers are XML without a namespace. Input says BucketId and Output says Bucket; "-" is "not yet"; one job
in an answer may come alone where several come as a list. Sources: the documents of POST /jobs and
POST /inventorytriggerjob, and the public API pages of the other calls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any, Literal, TypeVar
from urllib.parse import quote
from xml.parsers.expat import ExpatError

from jupyter_mjci.client import xml
from jupyter_mjci.client.calls import Call, Page, Pages, Reply, Sender
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import AnswerError, CallError, CIError

T = TypeVar("T")
CHINA = timezone(timedelta(hours=8))


class TencentCI:
    """Builds the calls of Tencent CI for one bucket. Building sends nothing: `.run()` or `await` the call."""

    def __init__(self, sender: Sender | None = None, *, bucket: str = "", region: str = "") -> None:
        self._sender, self.bucket, self.region = sender, bucket, region

    # POST /jobs
    def picture_job(
        self, *, input: str, output: str, rule: str | None = None, template_id: str | None = None,
        output_bucket: str | None = None, output_region: str | None = None, picture_info: bool | None = None,
        user_data: str | None = None, level: int | None = None, queue_id: str | None = None,
        callback: str | None = None, callback_format: Literal["JSON", "XML"] | None = None,
        callback_type: Literal["Url", "TDMQ", "Kafka"] | None = None,
        callback_mq: Mapping[str, str] | None = None,
    ) -> Call[Job]:  # fmt: skip
        """Process one picture of the bucket by a rule or a template.

        Args:
            input: key of the picture in the bucket: input/deer.jpg
            output: key of the result; ${InputName}, ${Ext}, … are filled in by the service
            rule: what to do: imageMogr2/thumbnail/200x|watermark/2/text/…
            template_id: a stored rule instead: t…
            output_bucket: bucket of the result, if it is another one
            output_region: region of that bucket
            picture_info: also tell about the original picture
            user_data: your own mark, printable ASCII, at most 1024 characters; comes back on the job
            level: priority 0, 1 or 2; higher goes first
            queue_id: the queue to use: p…
            callback: URL that is told of the end; "no" silences the queue's own
            callback_format: XML (the default) or JSON
            callback_type: Url (the default), TDMQ or Kafka
            callback_mq: MqRegion, MqMode and MqName, with TDMQ
        """
        request = {
            "Tag": "PicProcess",
            "QueueId": queue_id,
            "Input": {"Object": _key(input, "input")},
            "Operation": {
                **_processing(rule, template_id, picture_info),
                "Output": self._output(output, output_bucket, output_region),
                "UserData": _user_data(user_data),
                "JobLevel": _level(level),
            },
            **_callbacks(callback, callback_format, callback_type, callback_mq),
        }
        return self.request("/jobs", request)

    # POST /inventorytriggerjob
    def batch(
        self, *, name: str, prefix: str | None = None, object: str | None = None, url_file: str | None = None,
        manifest: str | None = None, workflow_ids: Sequence[str] = (), start: str | datetime | None = None,
        end: str | datetime | None = None, tag: str | None = None, rule: str | None = None,
        template_id: str | None = None, output: str | None = None, output_bucket: str | None = None,
        output_region: str | None = None, picture_info: bool | None = None, user_data: str | None = None,
        level: int | None = None, queue_id: str | None = None, callback: str | None = None,
        callback_format: Literal["JSON", "XML"] | None = None,
        callback_type: Literal["Url", "TDMQ", "Kafka"] | None = None,
        callback_mq: Mapping[str, str] | None = None,
    ) -> Call[Job]:  # fmt: skip
        """Process many pictures: by workflows, or by one rule or template for all.

        Args:
            name: the batch's name, at most 128 characters
            prefix: all objects whose key begins so
            object: one object
            url_file: an object that holds one object URL per line
            manifest: a COS inventory's manifest.json
            workflow_ids: workflows to trigger: w…
            start: only objects changed since then
            end: only objects changed until then
            tag: what each job does, PicProcess unless told
            rule: what to do with each picture
            template_id: a stored rule instead: t…
            output: key of each result: out/${InputName}.${Ext}
            output_bucket: bucket of the results, if it is another one
            output_region: region of that bucket
            picture_info: also tell about the original pictures
            user_data: your own mark; comes back on each job
            level: priority 0, 1 or 2
            queue_id: the queue to use: p…
            callback: URL that is told of each end
            callback_format: XML (the default) or JSON
            callback_type: Url (the default), TDMQ or Kafka
            callback_mq: MqRegion, MqMode and MqName, with TDMQ
        """
        if not 0 < len(name) <= 128:
            raise CallError("A batch's name has 1 to 128 characters.", why=f"This one has {len(name)}.")
        chosen = _one_of({"Prefix": prefix, "Object": object, "UrlFile": url_file, "Manifest": manifest})
        window = {"Start": _time(start), "End": _time(end)} if start or end else None
        if workflow_ids and (rule or template_id):
            raise CallError("A batch runs workflows or a rule, not both.", hint="Leave out one of them.")
        operation: dict[str, Any] = {"TimeInterval": window}
        if workflow_ids:
            operation["WorkflowIds"] = ",".join([workflow_ids] if isinstance(workflow_ids, str) else workflow_ids)
        else:
            operation |= {
                "Tag": tag or "PicProcess",
                "QueueId": queue_id,
                "JobParam": _processing(rule, template_id, picture_info),
                "Output": self._output(output or "", output_bucket, output_region),
            }
        operation |= {
            "UserData": _user_data(user_data),
            "JobLevel": _level(level),
            **_callbacks(callback, callback_format, callback_type, callback_mq),
        }
        kind = "Workflow" if workflow_ids else "Job"
        return self.request(
            "/inventorytriggerjob", {"Name": name, "Type": kind, "Input": chosen, "Operation": operation}
        )

    def request(self, path: str, request: Mapping[str, Any] | str) -> Call[Job]:
        """A submission from a whole `<Request>`: its XML text, or its elements as nested dicts."""
        body = request.encode() if isinstance(request, str) else xml.write("Request", request)
        name = "picture_job" if path == "/jobs" else "batch"
        return self._call(name, "POST", path, read_job, body=body, creates=True)

    # GET /jobs/{id}, GET /inventorytriggerjob/{id}
    def job(self, job_id: str) -> Call[Job]:
        """One job or batch as it is now.

        Args:
            job_id: the job's id; a batch's begins with b
        """
        path = f"{_path_of(job_id)}/{_job_id(job_id)}"
        return self._call("job", "GET", path, partial(read_job, job_id=job_id))

    # GET /jobs
    def jobs(
        self, *, tag: str = "PicProcess", ids: Iterable[str] | None = None, queue_id: str | None = None,
        queue_type: str | None = None, order: Literal["Desc", "Asc"] | None = None,
        states: str | Sequence[str] | None = None, start: str | datetime | None = None,
        end: str | datetime | None = None, workflow_id: str | None = None, batch_id: str | None = None,
        input: str | None = None, size: int = 100, limit: int | None = None,
    ) -> Pages[Job]:  # fmt: skip
        """The jobs that the service knows, page by page as they are walked, newest first.

        Args:
            tag: what the jobs do
            ids: only these jobs; ids that the service does not know are left out
            queue_id: only of this queue: p…
            queue_type: only of queues of this type
            order: by time: Desc (newest first, the default) or Asc
            states: only in these states: Submitted, Running, Success, Failed, Pause, Cancel
            start: only jobs created since then
            end: only jobs created until then
            workflow_id: only jobs of this workflow
            batch_id: only jobs of this batch
            input: only jobs of exactly this object
            size: jobs a page, 1 to 100
            limit: stop after so many jobs
        """
        if ids is not None:
            wanted = ",".join(_job_id(one) for one in ids)
            return Pages(lambda _: self._call("jobs", "GET", f"/jobs/{wanted}", read_page), limit)
        if not 1 <= size <= 100:
            raise CallError(f"A page has 1 to 100 jobs, not {size}.")
        query = {
            "tag": tag, "queueId": queue_id, "queueType": queue_type, "orderByTime": order,
            "states": states if isinstance(states, str) or states is None else ",".join(states),
            "startCreationTime": _time(start), "endCreationTime": _time(end), "workflowId": workflow_id,
            "inventoryTriggerJobId": batch_id, "inputObject": input, "size": str(size),
        }  # fmt: skip
        return self._pages("jobs", "/jobs", query, limit)

    # GET /inventorytriggerjob
    def batches(
        self, *, type: Literal["Workflow", "Job"] | None = None, name: str | None = None,
        order: Literal["Desc", "Asc"] | None = None, states: str | Sequence[str] | None = None,
        start: str | datetime | None = None, end: str | datetime | None = None, workflow_id: str | None = None,
        size: int = 100, limit: int | None = None,
    ) -> Pages[Job]:  # fmt: skip
        """The batches that the service knows, newest first.

        Args:
            type: Workflow or Job
            name: only batches of this name
            order: by time: Desc (newest first, the default) or Asc
            states: only in these states
            start: only batches created since then
            end: only batches created until then
            workflow_id: only batches of this workflow
            size: batches a page, 1 to 100
            limit: stop after so many batches
        """
        query = {
            "type": type, "name": name, "orderByTime": order,
            "states": states if isinstance(states, str) or states is None else ",".join(states),
            "startCreationTime": _time(start), "endCreationTime": _time(end), "workflowId": workflow_id,
            "size": str(size),
        }  # fmt: skip
        return self._pages("batches", "/inventorytriggerjob", query, limit)

    # PUT /jobs/{id}?cancel, PUT /inventorytriggerjob/{id}?cancel
    def cancel(self, job_id: str) -> Call[None]:
        """Cancel a job that has not begun, or a batch.

        Args:
            job_id: the job's id; a batch's begins with b
        """
        path = f"{_path_of(job_id)}/{_job_id(job_id)}"
        return self._call("cancel", "PUT", path, read_nothing, {"cancel": ""})

    # PUT /{key}
    def put_object(self, key: str, content: bytes, *, content_type: str = "application/octet-stream") -> Call[None]:
        """Put an object into the bucket.

        Args:
            key: the object's key
            content: its bytes
            content_type: its media type
        """
        path = f"/{_key(key, 'key')}"
        headers = {"Content-Type": content_type}
        return self._call("put_object", "PUT", path, read_nothing, headers=headers, body=content, plane="cos")

    # GET /{key}
    def get_object(self, key: str) -> Call[bytes]:
        """An object of the bucket, as bytes.

        Args:
            key: the object's key
        """
        return self._call("get_object", "GET", f"/{_key(key, 'key')}", read_bytes, plane="cos")

    def _output(self, key: str, bucket: str | None, region: str | None) -> dict[str, str]:
        return {"Region": region or self.region, "Bucket": bucket or self.bucket, "Object": _key(key, "output")}

    def _pages(self, name: str, path: str, query: Mapping[str, str | None], limit: int | None) -> Pages[Job]:
        def turn(token: str) -> Call[Page[Job]]:
            params = {key: value for key, value in {**query, "nextToken": token or None}.items() if value is not None}
            return self._call(name, "GET", path, read_page, params)

        return Pages(turn, limit)

    def _call(
        self, name: str, method: str, path: str, read: Callable[[Reply], T], params: Mapping[str, str] | None = None,
        *, headers: Mapping[str, str] | None = None, body: bytes = b"", plane: str = "ci", creates: bool = False,
    ) -> Call[T]:  # fmt: skip
        if body and headers is None:
            headers = {"Content-Type": "application/xml"}
        return Call("ci", name, method, path, read, params or {}, headers or {}, body, plane, creates, self._sender)


def submission(body: str) -> tuple[str, dict[str, Any]]:
    """Where a person's `<Request>` XML belongs, and its elements: Tag goes to /jobs, a batch to /inventorytriggerjob.

    Raises CallError with line and column where it is not well-formed.
    """
    request = xml.read_request(body)
    operation = request.get("Operation")
    operation = operation if isinstance(operation, dict) else {}
    if "Tag" in request:
        return "/jobs", request
    if "Name" in request and ({"WorkflowIds", "JobParam"} & set(operation)):
        return "/inventorytriggerjob", request
    raise CallError(
        "This request is neither a job nor a batch.",
        why="A job has <Tag>; a batch has <Name>, and <WorkflowIds> or <JobParam> in its <Operation>.",
        hint="Nothing was sent. Add what is missing.",
    )


# --- what we say ------------------------------------------------------------------------------------------------


def _key(key: str, name: str) -> str:
    if not key or key.startswith("/"):
        raise CallError(f"{name}={key!r} is no object key.", hint="A key has no leading slash: input/deer.jpg")
    return key


def _job_id(job_id: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", job_id):
        raise CallError(f"{job_id!r} is no job id.", hint="See %ci_jobs.")
    return job_id


def _path_of(job_id: str) -> str:
    return "/inventorytriggerjob" if job_id.startswith("b") else "/jobs"


def _processing(rule: str | None, template_id: str | None, picture_info: bool | None) -> dict[str, Any]:
    if bool(rule) == bool(template_id):
        raise CallError(
            "Give a rule or a template_id, not both." if rule else "A picture job needs a rule or a template_id.",
            hint='For example rule="imageMogr2/thumbnail/200x".',
        )
    if template_id:
        return {"TemplateId": template_id}
    return {"PicProcess": {"IsPicInfo": picture_info, "ProcessRule": rule}}


def _callbacks(url: str | None, form: str | None, kind: str | None, queue: Mapping[str, str] | None) -> dict[str, Any]:
    if kind == "TDMQ" and not queue:
        raise CallError("callback_type TDMQ needs callback_mq.", hint="Give MqRegion, MqMode and MqName.")
    return {"CallBack": url, "CallBackFormat": form, "CallBackType": kind, "CallBackMqConfig": queue}


def _user_data(text: str | None) -> str | None:
    if text is not None and (len(text) > 1024 or not all(" " <= letter <= "~" for letter in text)):
        raise CallError("user_data must be printable ASCII, at most 1024 characters.")
    return text


def _level(level: int | None) -> str | None:
    if level not in (None, 0, 1, 2):
        raise CallError(f"level is 0, 1 or 2, not {level}.")
    return None if level is None else str(level)


def _one_of(choices: Mapping[str, str | None]) -> dict[str, str]:
    chosen = {name: value for name, value in choices.items() if value is not None}
    if len(chosen) != 1:
        raise CallError("A batch needs exactly one of prefix, object, url_file and manifest.")
    return chosen


def _time(value: str | datetime | None) -> str | None:
    """A time as the service writes it, 2001-01-01T00:00:00+0800. A naive one is taken as UTC; texts pass through."""
    if value is None or isinstance(value, str):
        return value or None
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return aware.astimezone(CHINA).strftime("%Y-%m-%dT%H:%M:%S%z")


# --- what it says: pieces ---------------------------------------------------------------------------------------

STATES = {
    "submitted": Status.WAITING, "pause": Status.WAITING, "": Status.WAITING, "running": Status.RUNNING,
    "success": Status.SUCCEEDED, "failed": Status.FAILED, "cancel": Status.CANCELLED,
}  # fmt: skip


def text(value: Any) -> str:
    """Any leaf as text: empty elements are "", "-" is "not yet"."""
    if value is None or isinstance(value, (dict, list)):
        return ""
    return "" if value == "-" else str(value).strip()


def moment(value: Any) -> datetime | None:
    """2022-07-18T15:16:43+0800, with a blank for the T in some callbacks; "-" means "not yet"."""
    written = text(value).replace(" ", "T", 1)
    try:
        found = datetime.fromisoformat(written)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=CHINA)).astimezone(UTC)


def part(detail: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """A container inside the detail; {} where it is missing. Of several alike, the first."""
    for name in path:
        value = detail.get(name)
        value = value[0] if isinstance(value, list) and value else value
        detail = value if isinstance(value, dict) else {}
    return detail


def _outputs(detail: Mapping[str, Any]) -> tuple[str, ...]:
    """The result's URL, once there is one. A batch's output is a pattern, not an object."""
    output = part(detail, "Operation", "Output")
    key = text(part(detail, "Operation", "PicProcessResult").get("ObjectName")) or text(output.get("Object"))
    if STATES.get(text(detail.get("State")).lower()) is not Status.SUCCEEDED or not key or _is_batch(detail):
        return ()
    return (object_url(text(output.get("Bucket")), text(output.get("Region")), key.removeprefix("/")),)


def object_url(bucket: str, region: str, key: str) -> str:
    return f"https://{bucket}.cos.{region}.myqcloud.com/{quote(key, safe='/-_.~')}"


def _is_batch(detail: Mapping[str, Any]) -> bool:
    return "Type" in detail and "Name" in detail


def _action(detail: Mapping[str, Any]) -> str:
    return text(detail.get("Tag")) or text(part(detail, "Operation").get("Tag")) or text(detail.get("Type"))


def _subject(detail: Mapping[str, Any]) -> str:
    chosen = part(detail, "Input")
    return next((text(chosen[name]) for name in ("Object", "Prefix", "UrlFile", "Manifest") if chosen.get(name)), "")


def _status(detail: Mapping[str, Any]) -> Status:
    return STATES.get(text(detail.get("State")).lower(), Status.RUNNING)


def _reason(detail: Mapping[str, Any]) -> str:
    if _status(detail) is not Status.FAILED:
        return ""
    return ": ".join(filter(None, (text(detail.get("Code")), text(detail.get("Message")))))


# The wire's fields and ours: one line each way.
DETAIL: tuple[tuple[str, Callable[[Mapping[str, Any]], Any]], ...] = (
    ("id", lambda detail: text(detail.get("JobId"))),
    ("action", _action),
    ("status", _status),
    ("progress", lambda detail: 100 if _status(detail) is Status.SUCCEEDED else _percent(detail.get("Progress"))),
    ("subject", _subject),
    ("outputs", _outputs),
    ("submitted", lambda detail: moment(detail.get("CreationTime"))),
    ("started", lambda detail: moment(detail.get("StartTime"))),
    ("finished", lambda detail: moment(detail.get("EndTime"))),
    ("reason", _reason),
    ("state", lambda detail: text(part(detail, "Operation").get("UserData"))),
    ("notify_hook", lambda detail: text(detail.get("CallBack"))),
    ("parent", lambda detail: text(part(detail, "Workflow").get("RunId"))),
)


def _percent(value: Any) -> int | None:
    return int(text(value)) if text(value).isdigit() else None


def job_of(detail: Mapping[str, Any]) -> Job:
    """One JobsDetail as a Job. Takes anything that is a mapping; never raises for odd values."""
    return Job("ci", raw=detail, **{name: take(detail) for name, take in DETAIL})


# --- what it says: answers --------------------------------------------------------------------------------------


def read_job(reply: Reply, job_id: str = "") -> Job:
    """The one job of an answer. Raises CIError where the service does not know it."""
    answer = _response(reply)
    details = [one for one in answer.get("JobsDetail") or () if isinstance(one, dict) and one]
    if not details:
        missing = job_id or ", ".join(text(one) for one in answer.get("NonExistJobIds") or ())
        raise CIError(
            f"Tencent CI knows no job {missing}.", status=reply.status, code="NonExistJobIds",
            request_id=_request_id(reply), hint="See %ci_jobs for those that it knows.",
        )  # fmt: skip
    return job_of(details[0])


def read_page(reply: Reply) -> Page[Job]:
    answer = _response(reply)
    details = answer.get("JobsDetail") or ()
    jobs = tuple(job_of(one) for one in details if isinstance(one, dict) and one)
    return Page(jobs, text(answer.get("NextToken")))


def read_nothing(reply: Reply) -> None:
    if reply.status >= 300:
        raise refusal(reply)


def read_bytes(reply: Reply) -> bytes:
    read_nothing(reply)
    return reply.body


def _response(reply: Reply) -> dict[str, Any]:
    if reply.status >= 300:
        raise refusal(reply)
    try:
        document = xml.read(reply.body)
    except ExpatError as error:
        raise AnswerError(
            f"The answer of {reply.url.partition('?')[0]} is not XML (HTTP {reply.status}).",
            why=str(error), hint="Check MJCI_CI_ENDPOINT, bucket and region.", body=reply.body,
        ) from None  # fmt: skip
    response = document.get("Response")
    return response if isinstance(response, dict) else {}


_HINTS = {
    "SignatureDoesNotMatch": "Check MJCI_CI_SECRET_KEY (and the token of a temporary key).",
    "InvalidAccessKeyId": "Check MJCI_CI_SECRET_ID.",
    "RequestTimeTooSkewed": "Set this machine's clock.",
    "NoSuchBucket": "Check MJCI_CI_BUCKET and MJCI_CI_REGION.",
    "NoSuchKey": "Check the object's key.",
    "PicBucketUnBinded": "Bind the bucket to CI's picture processing in the console.",
    "TemplateNotFound": "Check the template id.",
}


def refusal(reply: Reply) -> CIError:
    """The error of an answer: COS's XML, or whatever came instead."""
    try:
        error = xml.read(reply.body).get("Error")
    except ExpatError:
        error = None
    fields: Mapping[str, Any] = error if isinstance(error, dict) else {}
    code, message = text(fields.get("Code")), text(fields.get("Message"))
    request_id = text(fields.get("RequestId")) or _request_id(reply)
    return CIError(
        f"Tencent answers {code or f'HTTP {reply.status}'}.",
        why=message or reply.body[:120].decode("utf-8", "replace"),
        status=reply.status, code=code or ("NoSuchKey" if reply.status == 404 else ""), message=message,
        request_id=request_id, hint=_HINTS.get(code, f"Request id: {request_id}" if request_id else ""),
    )  # fmt: skip


def _request_id(reply: Reply) -> str:
    return reply.headers.get("x-ci-request-id") or reply.headers.get("x-cos-request-id") or ""
