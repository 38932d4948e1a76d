"""Build the calls of Tencent Cloud Infinite (CI): picture jobs, and the COS objects around them.

A builder validates its arguments, encodes the body as XML and
returns a `Call` or a `Paginator`; nothing is sent. The comment
above each builder is its endpoint. Magics take their flags,
panels their fields, and the reference its rows from the builders'
signatures and docstrings.

Sources: the documents of POST /jobs and POST
/inventorytriggerjob, and the public API pages of the other calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, Literal, TypeVar

from jupyter_mjci.client.calls import Call, Page, Paginator, Response, Sender
from jupyter_mjci.client.image_input import (
    ImageInput,
    read_content,
    to_image_bytes,
)
from jupyter_mjci.client.job import Job, to_job_id
from jupyter_mjci.errors import InvalidRequest, PreflightError
from jupyter_mjci.imaging.picture_check import detect_image_format
from jupyter_mjci.services.tencent_ci import xml
from jupyter_mjci.services.tencent_ci.objects import StoredObject
from jupyter_mjci.services.tencent_ci.regions import normalize_region
from jupyter_mjci.services.tencent_ci.responses import (
    CHINA_TZ,
    Element,
    parse_bytes,
    parse_element,
    parse_empty,
    parse_executions,
    parse_job_response,
    parse_list,
    parse_objects,
    parse_page,
    parse_run_id,
)

T = TypeVar("T")
Order = Literal["Desc", "Asc"]
Params = dict[str, str]
JOBS_PATH = "/jobs"
BATCHES_PATH = "/inventorytriggerjob"


class TencentCI:
    """Builds the calls of Tencent CI for a bucket. Building sends nothing: `.run()` or `await` it.

    Building raises InvalidRequest for arguments that cannot be
    sent. Running raises TransportError if there is no response,
    CIError with COS's own code if the service refuses, and
    InvalidResponse if the response cannot be parsed.

    Args:
        sender: sends the calls: the session
        bucket: bucket of the results, with the account's number:
            demo-1250000000
        region: region of that bucket: ap-chongqing
    """

    def __init__(
        self,
        sender: Sender | None = None,
        *,
        bucket: str = "",
        region: str = "",
    ) -> None:
        self._sender = sender
        self.bucket = bucket
        self.region = normalize_region(region)

    # POST /jobs
    def picture_job(
        self,
        *,
        input: str,
        output: str,
        rule: str | None = None,
        template_id: str | None = None,
        output_bucket: str | None = None,
        output_region: str | None = None,
        picture_info: bool | None = None,
        user_data: str | None = None,
        level: int | None = None,
        queue_id: str | None = None,
        callback: str | None = None,
        callback_format: Literal["JSON", "XML"] | None = None,
        callback_type: Literal["Url", "TDMQ", "Kafka"] | None = None,
        callback_mq: Mapping[str, str] | None = None,
        as_is: bool = False,
    ) -> Call[Job]:
        """Process one picture of the bucket by a rule or a template.

        Args:
            input: key of the picture in the bucket:
                input/deer.jpg
            output: key of the result; the service fills in
                ${InputName}, ${Ext}, …
            rule: what to do:
                imageMogr2/thumbnail/200x|watermark/2/text/…
            template_id: a stored rule instead: t…
            output_bucket: bucket of the result, if it is another
                one
            output_region: region of that bucket
            picture_info: also return information about the
                original picture
            user_data: your own text, returned with the job:
                printable ASCII, at most 1024 characters
            level: priority 0, 1 or 2; higher goes first
            queue_id: the queue to use: p…
            callback: webhook URL for the end of the job; "no"
                disables the queue's own
            callback_format: XML (the default) or JSON
            callback_type: Url (the default), TDMQ or Kafka
            callback_mq: MqRegion, MqMode and MqName, with TDMQ
            as_is: send the rule even where it looks wrong
        """
        operation = {
            **_build_processing(rule, template_id, picture_info, as_is),
            "Output": self._build_output(output, output_bucket, output_region),
            "UserData": _validate_user_data(user_data),
            "JobLevel": _format_level(level),
        }
        request = {
            "Tag": "PicProcess",
            "QueueId": queue_id,
            "Input": {"Object": _validate_key(input, "input")},
            "Operation": operation,
            **_build_callbacks(callback, callback_format, callback_type, callback_mq),
        }
        return self.request(JOBS_PATH, request)

    # POST /inventorytriggerjob
    def batch(
        self, *, name: str, prefix: str | None = None, object: str | None = None,
        url_file: str | None = None, manifest: str | None = None, workflow_ids: Sequence[str] = (),
        start: str | date | None = None, end: str | date | None = None,
        tag: str | None = None, rule: str | None = None, template_id: str | None = None,
        output: str | None = None, output_bucket: str | None = None,
        output_region: str | None = None, picture_info: bool | None = None,
        user_data: str | None = None, level: int | None = None, queue_id: str | None = None,
        callback: str | None = None, callback_format: Literal["JSON", "XML"] | None = None,
        callback_type: Literal["Url", "TDMQ", "Kafka"] | None = None,
        callback_mq: Mapping[str, str] | None = None,
        as_is: bool = False,
    ) -> Call[Job]:  # fmt: skip
        """Process many pictures: by workflows, or by one rule or template for all.

        Args:
            name: the batch's name, at most 128 characters
            prefix: all objects whose key begins with this
            object: one object
            url_file: an object that holds one object URL per line
            manifest: a COS inventory's manifest.json
            workflow_ids: workflows to trigger: w…
            start: only objects changed since then
            end: only objects changed until then
            tag: what each job does, by default PicProcess
            rule: what to do with each picture
            template_id: a stored rule instead: t…
            output: key of each result: out/${InputName}.${Ext}
            output_bucket: bucket of the results, if it is another
                one
            output_region: region of that bucket
            picture_info: also return information about the
                original pictures
            user_data: your own text, returned with each job
            level: priority 0, 1 or 2
            queue_id: the queue to use: p…
            callback: webhook URL for the end of each job
            callback_format: XML (the default) or JSON
            callback_type: Url (the default), TDMQ or Kafka
            callback_mq: MqRegion, MqMode and MqName, with TDMQ
            as_is: send the rule even where it looks wrong
        """
        source = {"Prefix": prefix, "Object": object, "UrlFile": url_file, "Manifest": manifest}
        work: dict[str, Any] = {"WorkflowIds": _join_values(workflow_ids)}
        if not workflow_ids:
            work = {
                "Tag": tag or "PicProcess",
                "QueueId": queue_id,
                "JobParam": _build_processing(rule, template_id, picture_info, as_is),
                "Output": self._build_output(output or "", output_bucket, output_region),
            }
        elif rule or template_id:
            raise InvalidRequest("A batch runs either workflows or a rule.", hint="Omit one.")
        operation = {
            "TimeInterval": _build_time_interval(start, end),
            **work,
            "UserData": _validate_user_data(user_data),
            "JobLevel": _format_level(level),
            **_build_callbacks(callback, callback_format, callback_type, callback_mq),
        }
        return self.request(BATCHES_PATH, _build_batch(name, source, operation))

    def request(self, path: str, request: Mapping[str, Any] | str) -> Call[Job]:
        """Submit a whole `<Request>`: its XML text, or its elements as nested dicts.

        Args:
            path: /jobs or /inventorytriggerjob
            request: the XML as it is sent, or the elements below
                `<Request>` by name

        Raises:
            InvalidRequest: the XML is not well-formed, or a text
                has a character that XML cannot hold
        """
        if isinstance(request, str):
            xml.parse_request(request)
            body = xml.encode_request(request)
        else:
            body = xml.build("Request", request)
        name = "picture_job" if path == JOBS_PATH else "batch"
        parse = parse_job_response
        return self._build_call(name, "POST", path, parse, body=body, is_submission=True)

    # GET /jobs/{id}, GET /inventorytriggerjob/{id}
    def job(self, job_id: str) -> Call[Job]:
        """Fetch a job or batch as it is now.

        Args:
            job_id: the job's ID; a batch's begins with b
        """
        job_id = to_job_id(job_id)
        parse = partial(parse_job_response, job_id=job_id)
        return self._build_call("job", "GET", _get_job_path(job_id), parse)

    # GET /jobs
    def jobs(
        self,
        *,
        tag: str = "PicProcess",
        ids: Iterable[str] | None = None,
        queue_id: str | None = None,
        queue_type: str | None = None,
        order: Order | None = None,
        states: str | Sequence[str] | None = None,
        start: str | date | None = None,
        end: str | date | None = None,
        workflow_id: str | None = None,
        batch_id: str | None = None,
        input: str | None = None,
        size: int = 100,
        limit: int | None = None,
    ) -> Paginator[Job]:
        """List the jobs of the bucket, newest first, page by page as they are iterated.

        Args:
            tag: what the jobs do
            ids: only these jobs; IDs that the service does not
                know are left out
            queue_id: only this queue: p…
            queue_type: only queues of this type
            order: by time: Desc (newest first, the default) or
                Asc
            states: only these states: Submitted, Running,
                Success, Failed, Pause, Cancel
            start: only jobs created since then
            end: only jobs created until then
            workflow_id: only jobs of this workflow
            batch_id: only jobs of this batch
            input: only jobs of exactly this object
            size: jobs per page, 1 to 100
            limit: stop after this many jobs
        """
        if ids is not None:
            return self._list_by_ids(ids, limit)
        query = {
            "tag": tag,
            "queueId": queue_id,
            "queueType": queue_type,
            "orderByTime": order,
            "states": _join_values(states),
            "startCreationTime": _format_time(start),
            "endCreationTime": _format_time(end),
            "workflowId": workflow_id,
            "inventoryTriggerJobId": batch_id,
            "inputObject": input,
            "size": _format_page_size(size),
        }
        return self._paginate("jobs", JOBS_PATH, query, limit, parse_page)

    # GET /inventorytriggerjob
    def batches(
        self,
        *,
        type: Literal["Workflow", "Job"] | None = None,
        name: str | None = None,
        order: Order | None = None,
        states: str | Sequence[str] | None = None,
        start: str | date | None = None,
        end: str | date | None = None,
        workflow_id: str | None = None,
        size: int = 100,
        limit: int | None = None,
    ) -> Paginator[Job]:
        """List the batches of the bucket, newest first, page by page as they are iterated.

        Args:
            type: Workflow or Job
            name: only batches of this name
            order: by time: Desc (newest first, the default) or
                Asc
            states: only these states
            start: only batches created since then
            end: only batches created until then
            workflow_id: only batches of this workflow
            size: batches per page, 1 to 100
            limit: stop after this many batches
        """
        query = {
            "type": type,
            "name": name,
            "orderByTime": order,
            "states": _join_values(states),
            "startCreationTime": _format_time(start),
            "endCreationTime": _format_time(end),
            "workflowId": workflow_id,
            "size": str(size),
        }
        return self._paginate("batches", BATCHES_PATH, query, limit, parse_page)

    # PUT /jobs/{id}?cancel, PUT /inventorytriggerjob/{id}?cancel
    def cancel(self, job_id: str) -> Call[None]:
        """Cancel a job that has not started yet, or a batch.

        Args:
            job_id: the job's ID; a batch's begins with b
        """
        path = _get_job_path(to_job_id(job_id))
        return self._build_call("cancel", "PUT", path, parse_empty, {"cancel": ""})

    # POST /jobs with any Tag
    def tagged_job(
        self,
        tag: str,
        *,
        operation: Mapping[str, Any],
        input: str | None = None,
        queue_id: str | None = None,
        callback: str | None = None,
        callback_format: Literal["JSON", "XML"] | None = None,
    ) -> Call[Job]:
        """Submit a job of any other kind; the elements of its `<Operation>` are sent as given.

        Args:
            tag: what to do: ImageInspect, Snapshot, …
            operation: the elements of Operation, nested as in the
                service's documents
            input: key of the object in the bucket
            queue_id: the queue to use
            callback: webhook URL for the end of the job
            callback_format: XML (the default) or JSON
        """
        source = None
        if input is not None:
            source = {"Object": _validate_key(input, "input")}
        request = {
            "Tag": tag,
            "QueueId": queue_id,
            "Input": source,
            "Operation": operation,
            **_build_callbacks(callback, callback_format, None, None),
        }
        return self.request(JOBS_PATH, request)

    # POST /template
    def create_template(
        self, name: str, *, rule: str, picture_info: bool | None = None
    ) -> Call[Element]:
        """Store a rule under a name; the response has its TemplateId.

        Args:
            name: at most 64 letters, digits, _, - and *
            rule: what to do: imageMogr2/thumbnail/200x
            picture_info: also return information about the
                original picture
        """
        request = _build_template(name, rule, picture_info)
        return self._build_write_call("create_template", "POST", "/template", request, "Template")

    # PUT /template/{id}
    def update_template(
        self, template_id: str, name: str, *, rule: str, picture_info: bool | None = None
    ) -> Call[Element]:
        """Change a stored rule.

        Args:
            template_id: the template's ID: t…
            name: its new name
            rule: its new rule
            picture_info: also return information about the
                original picture
        """
        path = f"/template/{_validate_id(template_id)}"
        request = _build_template(name, rule, picture_info)
        return self._build_write_call("update_template", "PUT", path, request, "Template")

    # DELETE /template/{id}
    def delete_template(self, template_id: str) -> Call[None]:
        """Delete a stored rule.

        Args:
            template_id: the template's ID: t…
        """
        path = f"/template/{_validate_id(template_id)}"
        return self._build_call("delete_template", "DELETE", path, parse_empty)

    # GET /template
    def templates(
        self,
        *,
        ids: Sequence[str] | None = None,
        name: str | None = None,
        category: Literal["Custom", "Official"] | None = None,
        page: int = 1,
        size: int = 100,
    ) -> Call[list[Element]]:
        """List the stored rules of the bucket.

        Args:
            ids: only these
            name: only those whose name begins with this
            category: Custom (the default) or Official
            page: page number, from 1
            size: templates per page, 1 to 100
        """
        query = {
            "tag": "PicProcess",
            "ids": _join_values(ids),
            "name": name,
            "category": category,
            **_format_page(page, size),
        }
        return self._build_list_call("templates", "/template", query, "TemplateList")

    # GET /picqueue
    def queues(
        self,
        *,
        ids: Sequence[str] | None = None,
        state: Literal["Active", "Paused"] | None = None,
        page: int = 1,
        size: int = 100,
    ) -> Call[list[Element]]:
        """List the queues of picture jobs.

        Args:
            ids: only these, at most ten
            state: only Active or only Paused ones
            page: page number, from 1
            size: queues per page, 1 to 100
        """
        query = {"queueIds": _join_values(ids), "state": state, **_format_page(page, size)}
        return self._build_list_call("queues", "/picqueue", query, "QueueList")

    # PUT /picqueue/{id}
    def update_queue(
        self,
        queue_id: str,
        *,
        name: str,
        state: Literal["Active", "Paused"],
        notify: Mapping[str, str] | None = None,
    ) -> Call[Element]:
        """Rename, pause or resume a queue, and set its webhook; jobs that run are not paused.

        Args:
            queue_id: the queue's ID: p…
            name: its name, at most 128 characters
            state: Active or Paused
            notify: the elements of NotifyConfig: State, Url,
                Event, Type, ResultFormat, …
        """
        path = f"/picqueue/{_validate_id(queue_id)}"
        request = {
            "Name": name,
            "QueueID": queue_id,
            "State": state,
            "NotifyConfig": notify or {"State": "Off"},
        }
        return self._build_write_call("update_queue", "PUT", path, request, "Queue")

    # POST /picbucket
    def bind(self) -> Call[Element]:
        """Bind the bucket to picture processing, which creates its first queue; idempotent."""
        parse = partial(parse_element, root="PicBucket")
        return self._build_call("bind", "POST", "/picbucket", parse)

    # DELETE /picbucket
    def unbind(self) -> Call[None]:
        """End the picture processing of the bucket."""
        return self._build_call("unbind", "DELETE", "/picbucket", parse_empty)

    # GET /picbucket, at the account's host
    def buckets(
        self,
        *,
        regions: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        prefix: str | None = None,
        page: int = 1,
        size: int = 100,
    ) -> Call[list[Element]]:
        """List the account's buckets that are bound to picture processing.

        Args:
            regions: only these regions
            names: only these buckets
            prefix: only buckets whose name begins with this
            page: page number, from 1
            size: buckets per page, 1 to 100
        """
        query = {
            "regions": _join_values(regions),
            "bucketNames": _join_values(names),
            "bucketName": prefix,
            **_format_page(page, size),
        }
        element = "PicBucketList"
        return self._build_list_call("buckets", "/picbucket", query, element, endpoint="account")

    # POST /workflow
    def create_workflow(
        self, name: str, *, topology: Mapping[str, Any], active: bool = False
    ) -> Call[Element]:
        """Store a workflow; the response has its WorkflowId.

        Args:
            name: the workflow's name
            topology: its Dependencies and Nodes, nested as in the
                service's documents
            active: let uploads trigger it
        """
        request = _build_workflow(name, topology, active)
        element = "MediaWorkflow"
        return self._build_write_call("create_workflow", "POST", "/workflow", request, element)

    # PUT /workflow/{id}
    def update_workflow(
        self, workflow_id: str, name: str, *, topology: Mapping[str, Any], active: bool = False
    ) -> Call[Element]:
        """Change a workflow that is not active.

        Args:
            workflow_id: the workflow's ID: w…
            name: its new name
            topology: its Dependencies and Nodes
            active: let uploads trigger it
        """
        path = f"/workflow/{_validate_id(workflow_id)}"
        request = _build_workflow(name, topology, active)
        return self._build_write_call("update_workflow", "PUT", path, request, "MediaWorkflow")

    # PUT /workflow/{id}?active, PUT /workflow/{id}?paused
    def switch_workflow(self, workflow_id: str, *, active: bool) -> Call[None]:
        """Set whether uploads trigger a workflow.

        Args:
            workflow_id: the workflow's ID: w…
            active: whether they do
        """
        path = f"/workflow/{_validate_id(workflow_id)}"
        params = {"active" if active else "paused": ""}
        return self._build_call("switch_workflow", "PUT", path, parse_empty, params)

    # DELETE /workflow/{id}
    def delete_workflow(self, workflow_id: str) -> Call[None]:
        """Delete a workflow that is not active.

        Args:
            workflow_id: the workflow's ID: w…
        """
        path = f"/workflow/{_validate_id(workflow_id)}"
        return self._build_call("delete_workflow", "DELETE", path, parse_empty)

    # GET /workflow
    def workflows(
        self,
        *,
        ids: Sequence[str] | None = None,
        name: str | None = None,
        page: int = 1,
        size: int = 100,
    ) -> Call[list[Element]]:
        """List the workflows of the bucket.

        Args:
            ids: only these
            name: only those whose name begins with this
            page: page number, from 1
            size: workflows per page, 1 to 100
        """
        query = {"ids": _join_values(ids), "name": name, **_format_page(page, size)}
        return self._build_list_call("workflows", "/workflow", query, "MediaWorkflowList")

    # POST /triggerworkflow
    def trigger_workflow(
        self, workflow_id: str, object: str, *, name: str | None = None
    ) -> Call[str]:
        """Run a workflow on one object and return the ID of the execution.

        Args:
            workflow_id: the workflow's ID: w…
            object: the object's key
            name: a name for the execution
        """
        params = {
            "workflowId": _validate_id(workflow_id),
            "object": _validate_key(object, "object"),
        }
        if name:
            params["name"] = name
        path = "/triggerworkflow"
        return self._build_call(
            "trigger_workflow", "POST", path, parse_run_id, params, is_submission=True
        )

    # GET /workflowexecution/{id}
    def execution(self, run_id: str) -> Call[Element]:
        """Fetch one execution of a workflow and its tasks.

        Args:
            run_id: the execution's ID: i…
        """
        path = f"/workflowexecution/{_validate_id(run_id)}"
        parse = partial(parse_element, root="WorkflowExecution")
        return self._build_call("execution", "GET", path, parse)

    # GET /workflowexecution
    def executions(
        self,
        *,
        workflow_id: str | None = None,
        name: str | None = None,
        batch_id: str | None = None,
        states: str | Sequence[str] | None = None,
        order: Order | None = None,
        start: str | date | None = None,
        end: str | date | None = None,
        size: int = 100,
        limit: int | None = None,
    ) -> Paginator[Element]:
        """List the executions of workflows, newest first, page by page as they are iterated.

        Args:
            workflow_id: only this workflow
            name: only this object
            batch_id: only this batch
            states: only these states
            order: by time: Desc (newest first, the default) or
                Asc
            start: only executions created since then
            end: only executions created until then
            size: executions per page, 1 to 100
            limit: stop after this many executions
        """
        query = {
            "workflowId": workflow_id,
            "name": name,
            "jobId": batch_id,
            "states": _join_values(states),
            "orderByTime": order,
            "startCreationTime": _format_time(start),
            "endCreationTime": _format_time(end),
            "size": str(size),
        }
        return self._paginate("executions", "/workflowexecution", query, limit, parse_executions)

    # GET /
    def objects(
        self, *, prefix: str = "", delimiter: str | None = None, limit: int | None = None
    ) -> Paginator[StoredObject]:
        """List the objects of the bucket in the order of their keys, page by page.

        Args:
            prefix: only keys that begin with this
            delimiter: "/" gives one row for each folder below
                instead of its objects
            limit: stop after this many objects
        """

        def build_page_call(marker: str) -> Call[Page[StoredObject]]:
            # Without the encoding a key with a control character
            # would make the whole page ill-formed XML.
            query = {
                "prefix": prefix or None,
                "delimiter": delimiter,
                "marker": marker or None,
                "encoding-type": "url",
            }
            params = _drop_none(query)
            return self._build_call("objects", "GET", "/", parse_objects, params, endpoint="cos")

        return Paginator(build_page_call, limit)

    # DELETE /{key}
    def delete_object(self, key: str) -> Call[None]:
        """Delete an object of the bucket.

        Args:
            key: the object's key
        """
        path = _build_object_path(key)
        return self._build_call("delete_object", "DELETE", path, parse_empty, endpoint="cos")

    # GET /{key}?{rule}
    def processed(self, key: str, *, rule: str) -> Call[bytes]:
        """Fetch a picture of the bucket as a rule changes it, without a job; nothing is stored.

        Args:
            key: the picture's key
            rule: what to do: imageMogr2/thumbnail/400x
        """
        path = _build_object_path(key)
        return self._build_call("processed", "GET", path, parse_bytes, {rule: ""}, endpoint="cos")

    # POST /{key}?image_process
    def process(
        self,
        key: str,
        *,
        rules: Mapping[str, str],
        picture: ImageInput | None = None,
        picture_info: bool = True,
    ) -> Call[Element]:
        """Process a picture of the bucket at once and store the results.

        The response describes the original picture and all
        results.

        Args:
            key: the picture's key
            rules: key of each result → what to do, at most five
            picture: a picture that is stored under the key first:
                a path, bytes, a job, job[2], …
            picture_info: also return information about the
                original picture
        """
        if not 1 <= len(rules) <= 5:
            raise InvalidRequest(f"One request takes 1 to 5 rules, not {len(rules)}.")
        operations = {
            "is_pic_info": int(picture_info),
            "rules": [
                {"fileid": f"/{_validate_key(output, 'rules')}", "rule": rule}
                for output, rule in rules.items()
            ],
        }
        headers = {"Pic-Operations": json.dumps(operations, separators=(",", ":"))}
        parse = partial(parse_element, root="UploadResult", at_top_level=True)
        path = _build_object_path(key)
        if picture is None:
            params = {"image_process": ""}
            return self._build_call(
                "process", "POST", path, parse, params, headers=headers, endpoint="cos"
            )
        # PUT /{key} with the same header
        body = to_image_bytes(picture, self._sender)
        headers["Content-Type"] = _guess_content_type(body)
        return self._build_call(
            "process", "PUT", path, parse, headers=headers, body=body, endpoint="cos"
        )

    # PUT /{key}
    def put_object(
        self, key: str, content: ImageInput, *, content_type: str | None = None
    ) -> Call[None]:
        """Upload an object to the bucket.

        Args:
            key: the object's key
            content: its bytes, or what holds or names them: a
                path, a job, job[2], a link, a Pillow image, …
            content_type: its media type; by default that of the
                picture that it is
        """
        path = f"/{_validate_key(key, 'key')}"
        body = read_content(content, self._sender)
        headers = {"Content-Type": content_type or _guess_content_type(body)}
        return self._build_call(
            "put_object", "PUT", path, parse_empty, headers=headers, body=body, endpoint="cos"
        )

    # GET /{key}
    def get_object(self, key: str) -> Call[bytes]:
        """Download an object of the bucket as bytes.

        Args:
            key: the object's key
        """
        path = _build_object_path(key)
        return self._build_call("get_object", "GET", path, parse_bytes, endpoint="cos")

    def _build_output(
        self,
        key: str,
        bucket: str | None,
        region: str | None,
    ) -> Params:
        return {
            "Region": region or self.region,
            "Bucket": bucket or self.bucket,
            "Object": _validate_key(key, "output"),
        }

    def _list_by_ids(self, ids: Iterable[str], limit: int | None) -> Paginator[Job]:
        """Build a listing of one page: the IDs are part of the path."""
        path = f"{JOBS_PATH}/{','.join(map(_validate_id, ids))}"
        return Paginator(lambda _: self._build_call("jobs", "GET", path, parse_page), limit)

    def _paginate(
        self,
        name: str,
        path: str,
        query: Mapping[str, str | None],
        limit: int | None,
        parse: Callable[[Response], Page[T]],
    ) -> Paginator[T]:
        def build_page_call(token: str) -> Call[Page[T]]:
            params = _drop_none({**query, "nextToken": token or None})
            return self._build_call(name, "GET", path, parse, params)

        return Paginator(build_page_call, limit)

    def _build_list_call(
        self,
        name: str,
        path: str,
        query: Mapping[str, str | None],
        element: str,
        endpoint: str = "ci",
    ) -> Call[list[Element]]:
        parse = partial(parse_list, element=element)
        return self._build_call(name, "GET", path, parse, _drop_none(query), endpoint=endpoint)

    def _build_write_call(
        self, name: str, method: str, path: str, request: Mapping[str, Any], root: str
    ) -> Call[Element]:
        body = xml.build("Request", request)
        return self._build_call(name, method, path, partial(parse_element, root=root), body=body)

    def _build_call(
        self,
        name: str,
        method: str,
        path: str,
        parse: Callable[[Response], T],
        params: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        endpoint: str = "ci",
        is_submission: bool = False,
    ) -> Call[T]:
        """Build a call; a body without headers is XML."""
        if body and headers is None:
            headers = {"Content-Type": "application/xml"}
        return Call(
            service="ci",
            name=name,
            method=method,
            path=path,
            parse=parse,
            params=params or {},
            headers=headers or {},
            body=body,
            endpoint=endpoint,
            is_submission=is_submission,
            sender=self._sender,
        )


def route_request(body: str) -> tuple[str, dict[str, Any]]:
    """Return the path that a `<Request>` belongs to, and its elements.

    One with a Tag is a job (/jobs); one with a Name, and
    WorkflowIds or JobParam in its Operation, is a batch
    (/inventorytriggerjob).

    Args:
        body: the XML that a person wrote

    Raises:
        InvalidRequest: it is neither, or not well-formed (with
            line and column)
    """
    request = xml.parse_request(body)
    if "Tag" in request:
        return JOBS_PATH, request
    operation = request.get("Operation")
    elements = set(operation) if isinstance(operation, dict) else set()
    if "Name" in request and elements & {"WorkflowIds", "JobParam"}:
        return BATCHES_PATH, request
    raise InvalidRequest(
        "This request is neither a job nor a batch.",
        detail="A job has <Tag>; a batch has <Name>, and <WorkflowIds> or <JobParam> in its "
        "<Operation>.",
        hint="Nothing was sent. Add what is missing.",
    )


# --- Parts of requests ------------------------------------------


def _guess_content_type(content: bytes) -> str:
    image_format = detect_image_format(content)
    return f"image/{image_format}" if image_format else "application/octet-stream"


def _build_object_path(key: str) -> str:
    """Return the path of an object that is there: its key may begin with a slash, as others' do."""
    if not key:
        raise InvalidRequest("An object has a key.", hint="%ci_objects lists those of the bucket.")
    return f"/{key}"


def _validate_key(key: str, parameter: str) -> str:
    if not key or key.startswith("/"):
        raise InvalidRequest(
            f"{parameter}={key!r} is not a valid object key.",
            hint="A key has no leading slash: input/deer.jpg",
        )
    return key


def _validate_id(resource_id: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", resource_id):
        raise InvalidRequest(
            f"{resource_id!r} is not a valid ID.",
            hint="An ID has only letters, digits, _ and -. %ci_jobs lists those of jobs.",
        )
    return resource_id


def _get_job_path(job_id: str) -> str:
    """Return the path of a job or batch; the IDs of batches begin with b."""
    collection = BATCHES_PATH if job_id.startswith("b") else JOBS_PATH
    return f"{collection}/{_validate_id(job_id)}"


def _build_batch(
    name: str, source: Mapping[str, str | None], operation: Mapping[str, Any]
) -> dict[str, Any]:
    if not 0 < len(name) <= 128:
        raise InvalidRequest(
            "The name of a batch has 1 to 128 characters.", detail=f"This one has {len(name)}."
        )
    inputs = _drop_none(source)
    if len(inputs) != 1:
        raise InvalidRequest("A batch needs exactly one of prefix, object, url_file and manifest.")
    batch_type = "Workflow" if "WorkflowIds" in operation else "Job"
    return {"Name": name, "Type": batch_type, "Input": inputs, "Operation": operation}


def _build_time_interval(
    start: str | date | None, end: str | date | None
) -> dict[str, str | None] | None:
    if not start and not end:
        return None
    return {"Start": _format_time(start), "End": _format_time(end)}


def check_rule(rule: str) -> None:
    """Refuse a picture rule that the service would certainly refuse.

    Raises:
        PreflightError: says which word is wrong, and what it
            accepts.
    """
    # Pillow, behind the rule engine, is not imported before.
    from jupyter_mjci.imaging.rule_syntax import find_mistake

    mistake = find_mistake(rule)
    if mistake is not None:
        raise PreflightError(
            "The service would refuse this rule.",
            detail=mistake.message,
            hint="To send it as it is: --as-is (in Python as_is=True).",
        )


def _build_processing(
    rule: str | None, template_id: str | None, picture_info: bool | None, as_is: bool
) -> dict[str, Any]:
    hint = 'For example rule="imageMogr2/thumbnail/200x".'
    if rule and template_id:
        raise InvalidRequest("Give a rule or a template_id, not both.", hint=hint)
    if template_id:
        return {"TemplateId": template_id}
    if rule:
        if not as_is:
            check_rule(rule)
        return {"PicProcess": {"IsPicInfo": picture_info, "ProcessRule": rule}}
    raise InvalidRequest("A picture job needs a rule or a template_id.", hint=hint)


def _build_callbacks(
    url: str | None,
    body_format: str | None,
    callback_type: str | None,
    mq_config: Mapping[str, str] | None,
) -> dict[str, Any]:
    if callback_type == "TDMQ" and not mq_config:
        raise InvalidRequest(
            "callback_type TDMQ needs callback_mq.", hint="Give MqRegion, MqMode and MqName."
        )
    return {
        "CallBack": url,
        "CallBackFormat": body_format,
        "CallBackType": callback_type,
        "CallBackMqConfig": mq_config,
    }


def _build_template(
    name: str,
    rule: str,
    picture_info: bool | None,
) -> dict[str, Any]:
    return {"Tag": "PicProcess", "Name": name, **_build_processing(rule, None, picture_info, True)}


def _build_workflow(
    name: str,
    topology: Mapping[str, Any],
    active: bool,
) -> dict[str, Any]:
    state = "Active" if active else "Paused"
    return {"MediaWorkflow": {"Name": name, "State": state, "Topology": topology}}


def _validate_user_data(text: str | None) -> str | None:
    if text and (len(text) > 1024 or re.search(r"[^ -~]", text)):
        raise InvalidRequest("user_data must be printable ASCII, at most 1024 characters.")
    return text


def _format_level(level: int | None) -> str | None:
    if level is None:
        return None
    if level not in (0, 1, 2):
        raise InvalidRequest(f"level must be 0, 1 or 2, not {level}.")
    return str(level)


def _format_time(value: str | date | None) -> str | None:
    """Return a time as the service expects it: 2001-01-01T00:00:00+0800.

    A date is its first moment. What has no time zone is UTC.
    Texts in the service's own form are sent as they are.
    """
    if not value:
        return None
    if isinstance(value, str):
        if _SERVICE_TIME.fullmatch(value):
            return value
        value = _parse_time(value)
    if not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return value.astimezone(CHINA_TZ).strftime("%Y-%m-%dT%H:%M:%S%z")


_SERVICE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", re.ASCII)


def _parse_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest(
            f"{text!r} is not a time.",
            hint="Write it as 2026-01-31 or 2026-01-31T10:00:00+08:00; without a zone it is UTC.",
        ) from None


def _format_page(page: int, size: int) -> Params:
    return {"pageNumber": str(page), "pageSize": str(size)}


def _format_page_size(size: int) -> str:
    if not 1 <= size <= 100:
        raise InvalidRequest(f"A page has 1 to 100 jobs, not {size}.")
    return str(size)


def _join_values(values: str | Sequence[str] | None) -> str | None:
    if values is None or isinstance(values, str):
        return values
    return ",".join(values)


def _drop_none(query: Mapping[str, str | None]) -> Params:
    return {name: value for name, value in query.items() if value is not None}
