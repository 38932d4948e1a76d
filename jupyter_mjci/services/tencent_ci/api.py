"""Every operation of Tencent Cloud Infinite (CI) picture jobs and of the COS objects around them.

Bodies and answers are XML without a namespace. Input says BucketId and Output says Bucket; "-" is
"not yet"; one job in an answer may come alone where several come as a list. Sources: the documents
of POST /jobs and POST /inventorytriggerjob, and the public API pages of the other calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from typing import Any, Literal, TypeVar
from urllib.parse import quote
from xml.parsers.expat import ExpatError

from jupyter_mjci.client.calls import Call, Page, Paginator, Response, Sender
from jupyter_mjci.client.job import Job, Status, strip_marker
from jupyter_mjci.errors import CIError, InvalidRequest, InvalidResponse
from jupyter_mjci.services.tencent_ci import xml

T = TypeVar("T")
Element = Mapping[str, Any]  # an element's children by name; all leaves are texts
CHINA_TZ = timezone(timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as a listing tells of it: its `key`, `size` in bytes, `changed` aware and in UTC,
    `etag` unquoted.
    """

    key: str
    size: int
    changed: datetime | None
    etag: str = ""


class TencentCI:
    """Builds the calls of Tencent CI for one bucket. Building sends nothing: `.run()` or `await`
    the call.

    Building raises CallError for what cannot be said. Running raises TransportError where no answer
    comes, CIError with COS's own code where the service says no, and AnswerError for an answer that
    nobody can read.
    """

    def __init__(self, sender: Sender | None = None, *, bucket: str = "", region: str = "") -> None:
        self._sender, self.bucket, self.region = sender, bucket, region

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
    ) -> Call[Job]:
        """Process one picture of the bucket by a rule or a template.

        Args:
            input: key of the picture in the bucket: input/deer.jpg
            output: key of the result; ${InputName}, ${Ext}, … are filled in by the service
            rule: what to do: imageMogr2/thumbnail/200x|watermark/2/text/…
            template_id: a stored rule instead: t…
            output_bucket: bucket of the result, if it is another one
            output_region: region of that bucket
            picture_info: also tell about the original picture
            user_data: your own mark, printable ASCII, at most 1024 characters; comes back on the
                job
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
            "Input": {"Object": _validate_key(input, "input")},
            "Operation": {
                **_build_processing(rule, template_id, picture_info),
                "Output": self._build_output(output, output_bucket, output_region),
                "UserData": _validate_user_data(user_data),
                "JobLevel": _format_level(level),
            },
            **_build_callbacks(callback, callback_format, callback_type, callback_mq),
        }
        return self.request("/jobs", request)

    # POST /inventorytriggerjob
    def batch(
        self,
        *,
        name: str,
        prefix: str | None = None,
        object: str | None = None,
        url_file: str | None = None,
        manifest: str | None = None,
        workflow_ids: Sequence[str] = (),
        start: str | datetime | None = None,
        end: str | datetime | None = None,
        tag: str | None = None,
        rule: str | None = None,
        template_id: str | None = None,
        output: str | None = None,
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
    ) -> Call[Job]:
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
            raise InvalidRequest(
                "A batch's name has 1 to 128 characters.", detail=f"This one has {len(name)}."
            )
        chosen = _select_input(
            {"Prefix": prefix, "Object": object, "UrlFile": url_file, "Manifest": manifest}
        )
        window = {"Start": _format_time(start), "End": _format_time(end)} if start or end else None
        if workflow_ids and (rule or template_id):
            raise InvalidRequest(
                "A batch runs workflows or a rule, not both.", hint="Leave out one of them."
            )
        operation: dict[str, Any] = {"TimeInterval": window}
        if workflow_ids:
            operation["WorkflowIds"] = ",".join(
                [workflow_ids] if isinstance(workflow_ids, str) else workflow_ids
            )
        else:
            operation |= {
                "Tag": tag or "PicProcess",
                "QueueId": queue_id,
                "JobParam": _build_processing(rule, template_id, picture_info),
                "Output": self._build_output(output or "", output_bucket, output_region),
            }
        operation |= {
            "UserData": _validate_user_data(user_data),
            "JobLevel": _format_level(level),
            **_build_callbacks(callback, callback_format, callback_type, callback_mq),
        }
        kind = "Workflow" if workflow_ids else "Job"
        return self.request(
            "/inventorytriggerjob",
            {"Name": name, "Type": kind, "Input": chosen, "Operation": operation},
        )

    def request(self, path: str, request: Mapping[str, Any] | str) -> Call[Job]:
        """A submission from a whole `<Request>`: its XML text, or its elements as nested dicts.

        Args:
            path: where it belongs: /jobs or /inventorytriggerjob
            request: the XML as it is sent, or the elements below `<Request>` by name
        """
        body = request.encode() if isinstance(request, str) else xml.build("Request", request)
        name = "picture_job" if path == "/jobs" else "batch"
        return self._build_call(
            name, "POST", path, parse_job_response, body=body, is_submission=True
        )

    # GET /jobs/{id}, GET /inventorytriggerjob/{id}
    def job(self, job_id: str) -> Call[Job]:
        """One job or batch as it is now.

        Args:
            job_id: the job's id; a batch's begins with b
        """
        path = f"{_get_collection_path(job_id)}/{_validate_id(job_id)}"
        return self._build_call("job", "GET", path, partial(parse_job_response, job_id=job_id))

    # GET /jobs
    def jobs(
        self,
        *,
        tag: str = "PicProcess",
        ids: Iterable[str] | None = None,
        queue_id: str | None = None,
        queue_type: str | None = None,
        order: Literal["Desc", "Asc"] | None = None,
        states: str | Sequence[str] | None = None,
        start: str | datetime | None = None,
        end: str | datetime | None = None,
        workflow_id: str | None = None,
        batch_id: str | None = None,
        input: str | None = None,
        size: int = 100,
        limit: int | None = None,
    ) -> Paginator[Job]:
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
            wanted = ",".join(_validate_id(one) for one in ids)
            return Paginator(
                lambda _: self._build_call("jobs", "GET", f"/jobs/{wanted}", parse_page), limit
            )
        if not 1 <= size <= 100:
            raise InvalidRequest(f"A page has 1 to 100 jobs, not {size}.")
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
            "size": str(size),
        }
        return self._paginate("jobs", "/jobs", query, limit, parse_page)

    # GET /inventorytriggerjob
    def batches(
        self,
        *,
        type: Literal["Workflow", "Job"] | None = None,
        name: str | None = None,
        order: Literal["Desc", "Asc"] | None = None,
        states: str | Sequence[str] | None = None,
        start: str | datetime | None = None,
        end: str | datetime | None = None,
        workflow_id: str | None = None,
        size: int = 100,
        limit: int | None = None,
    ) -> Paginator[Job]:
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
            "type": type,
            "name": name,
            "orderByTime": order,
            "states": _join_values(states),
            "startCreationTime": _format_time(start),
            "endCreationTime": _format_time(end),
            "workflowId": workflow_id,
            "size": str(size),
        }
        return self._paginate("batches", "/inventorytriggerjob", query, limit, parse_page)

    # PUT /jobs/{id}?cancel, PUT /inventorytriggerjob/{id}?cancel
    def cancel(self, job_id: str) -> Call[None]:
        """Cancel a job that has not begun, or a batch.

        Args:
            job_id: the job's id; a batch's begins with b
        """
        path = f"{_get_collection_path(job_id)}/{_validate_id(job_id)}"
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
        """A job of any other kind: the elements of its `<Operation>` are passed on as they are
        given.

        Args:
            tag: what to do: ImageInspect, Snapshot, …
            operation: the elements of Operation, nested as in the service's documents
            input: key of the object in the bucket
            queue_id: the queue to use
            callback: URL that is told of the end
            callback_format: XML (the default) or JSON
        """
        request = {
            "Tag": tag,
            "QueueId": queue_id,
            "Input": None if input is None else {"Object": _validate_key(input, "input")},
            "Operation": operation,
            **_build_callbacks(callback, callback_format, None, None),
        }
        return self.request("/jobs", request)

    # POST /template
    def create_template(
        self, name: str, *, rule: str, picture_info: bool | None = None
    ) -> Call[Element]:
        """Store a rule under a name; the answer tells its TemplateId.

        Args:
            name: at most 64 letters, digits, _, - and *
            rule: what to do: imageMogr2/thumbnail/200x
            picture_info: also tell about the original picture
        """
        return self._build_write_call(
            "create_template",
            "POST",
            "/template",
            _build_template(name, rule, picture_info),
            "Template",
        )

    # PUT /template/{id}
    def update_template(
        self, template_id: str, name: str, *, rule: str, picture_info: bool | None = None
    ) -> Call[Element]:
        """Change a stored rule.

        Args:
            template_id: the template's id: t…
            name: its name from now on
            rule: what to do from now on
            picture_info: also tell about the original picture
        """
        path = f"/template/{_validate_id(template_id)}"
        return self._build_write_call(
            "update_template", "PUT", path, _build_template(name, rule, picture_info), "Template"
        )

    # DELETE /template/{id}
    def delete_template(self, template_id: str) -> Call[None]:
        """Forget a stored rule.

        Args:
            template_id: the template's id: t…
        """
        return self._build_call(
            "delete_template", "DELETE", f"/template/{_validate_id(template_id)}", parse_empty
        )

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
        """The stored rules of the bucket.

        Args:
            ids: only these
            name: only those whose name begins so
            category: Custom (the default) or Official
            page: which page, from 1
            size: templates a page, 1 to 100
        """
        query = {"tag": "PicProcess", "ids": _join_values(ids), "name": name, "category": category}
        return self._build_list_call("templates", "/template", query, page, size, "TemplateList")

    # GET /picqueue
    def queues(
        self,
        *,
        ids: Sequence[str] | None = None,
        state: Literal["Active", "Paused"] | None = None,
        page: int = 1,
        size: int = 100,
    ) -> Call[list[Element]]:
        """The queues that picture jobs wait in.

        Args:
            ids: only these, at most ten
            state: only Active or only Paused ones
            page: which page, from 1
            size: queues a page, 1 to 100
        """
        query = {"queueIds": _join_values(ids), "state": state}
        return self._build_list_call("queues", "/picqueue", query, page, size, "QueueList")

    # PUT /picqueue/{id}
    def update_queue(
        self,
        queue_id: str,
        *,
        name: str,
        state: Literal["Active", "Paused"],
        notify: Mapping[str, str] | None = None,
    ) -> Call[Element]:
        """Rename, pause or resume a queue, and say whom it tells of ended jobs. Running jobs go on
        when it pauses.

        Args:
            queue_id: the queue's id: p…
            name: its name, at most 128 characters
            state: Active or Paused
            notify: the elements of NotifyConfig: State, Url, Event, Type, ResultFormat, …
        """
        request = {
            "Name": name,
            "QueueID": queue_id,
            "State": state,
            "NotifyConfig": notify or {"State": "Off"},
        }
        return self._build_write_call(
            "update_queue", "PUT", f"/picqueue/{_validate_id(queue_id)}", request, "Queue"
        )

    # POST /picbucket
    def bind(self) -> Call[Element]:
        """Bind the bucket to picture processing, which makes its first queue. Binding twice does no
        harm.
        """
        return self._build_call(
            "bind", "POST", "/picbucket", partial(parse_element, root="PicBucket")
        )

    # DELETE /picbucket
    def unbind(self) -> Call[None]:
        """End the bucket's picture processing."""
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
        """The account's buckets that are bound to picture processing.

        Args:
            regions: only of these regions
            names: only these buckets
            prefix: only buckets whose name begins so
            page: which page, from 1
            size: buckets a page, 1 to 100
        """
        query = {
            "regions": _join_values(regions),
            "bucketNames": _join_values(names),
            "bucketName": prefix,
        }
        return self._build_list_call(
            "buckets", "/picbucket", query, page, size, "PicBucketList", endpoint="account"
        )

    # POST /workflow
    def create_workflow(
        self, name: str, *, topology: Mapping[str, Any], active: bool = False
    ) -> Call[Element]:
        """Store a workflow; the answer tells its WorkflowId.

        Args:
            name: the workflow's name
            topology: its Dependencies and Nodes, nested as in the service's documents
            active: let uploads trigger it
        """
        return self._build_write_call(
            "create_workflow",
            "POST",
            "/workflow",
            _build_workflow(name, topology, active),
            "MediaWorkflow",
        )

    # PUT /workflow/{id}
    def update_workflow(
        self, workflow_id: str, name: str, *, topology: Mapping[str, Any], active: bool = False
    ) -> Call[Element]:
        """Change a workflow that is not active.

        Args:
            workflow_id: the workflow's id: w…
            name: its name from now on
            topology: its Dependencies and Nodes
            active: let uploads trigger it
        """
        path = f"/workflow/{_validate_id(workflow_id)}"
        return self._build_write_call(
            "update_workflow", "PUT", path, _build_workflow(name, topology, active), "MediaWorkflow"
        )

    # PUT /workflow/{id}?active, PUT /workflow/{id}?paused
    def switch_workflow(self, workflow_id: str, *, active: bool) -> Call[None]:
        """Let uploads trigger a workflow, or no longer.

        Args:
            workflow_id: the workflow's id: w…
            active: whether they do
        """
        params = {"active" if active else "paused": ""}
        return self._build_call(
            "switch_workflow", "PUT", f"/workflow/{_validate_id(workflow_id)}", parse_empty, params
        )

    # DELETE /workflow/{id}
    def delete_workflow(self, workflow_id: str) -> Call[None]:
        """Forget a workflow that is not active.

        Args:
            workflow_id: the workflow's id: w…
        """
        return self._build_call(
            "delete_workflow", "DELETE", f"/workflow/{_validate_id(workflow_id)}", parse_empty
        )

    # GET /workflow
    def workflows(
        self,
        *,
        ids: Sequence[str] | None = None,
        name: str | None = None,
        page: int = 1,
        size: int = 100,
    ) -> Call[list[Element]]:
        """The workflows of the bucket.

        Args:
            ids: only these
            name: only those whose name begins so
            page: which page, from 1
            size: workflows a page, 1 to 100
        """
        return self._build_list_call(
            "workflows",
            "/workflow",
            {"ids": _join_values(ids), "name": name},
            page,
            size,
            "MediaWorkflowList",
        )

    # POST /triggerworkflow
    def trigger_workflow(
        self, workflow_id: str, object: str, *, name: str | None = None
    ) -> Call[str]:
        """Run a workflow over one object; gives the id of the run.

        Args:
            workflow_id: the workflow's id: w…
            object: the object's key
            name: a name for the run
        """
        params = {
            "workflowId": _validate_id(workflow_id),
            "object": _validate_key(object, "object"),
        }
        if name:
            params["name"] = name
        return self._build_call(
            "trigger_workflow", "POST", "/triggerworkflow", parse_run_id, params, is_submission=True
        )

    # GET /workflowexecution/{id}
    def execution(self, run_id: str) -> Call[Element]:
        """One run of a workflow and its tasks.

        Args:
            run_id: the run's id: i…
        """
        read = partial(parse_element, root="WorkflowExecution")
        return self._build_call(
            "execution", "GET", f"/workflowexecution/{_validate_id(run_id)}", read
        )

    # GET /workflowexecution
    def executions(
        self,
        *,
        workflow_id: str | None = None,
        name: str | None = None,
        batch_id: str | None = None,
        states: str | Sequence[str] | None = None,
        order: Literal["Desc", "Asc"] | None = None,
        start: str | datetime | None = None,
        end: str | datetime | None = None,
        size: int = 100,
        limit: int | None = None,
    ) -> Paginator[Element]:
        """The runs of workflows, newest first.

        Args:
            workflow_id: only of this workflow
            name: only of this object
            batch_id: only of this batch
            states: only in these states
            order: by time: Desc (newest first, the default) or Asc
            start: only runs created since then
            end: only runs created until then
            size: runs a page, 1 to 100
            limit: stop after so many runs
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
        """The objects of the bucket in the order of their keys, page by page as they are walked.

        Args:
            prefix: only keys that begin so
            delimiter: "/" leaves out what lies in folders below
            limit: stop after so many objects
        """

        def turn(marker: str) -> Call[Page[StoredObject]]:
            query = {"prefix": prefix or None, "delimiter": delimiter, "marker": marker or None}
            params = {name: value for name, value in query.items() if value is not None}
            return self._build_call("objects", "GET", "/", parse_objects, params, endpoint="cos")

        return Paginator(turn, limit)

    # DELETE /{key}
    def delete_object(self, key: str) -> Call[None]:
        """Remove an object from the bucket.

        Args:
            key: the object's key
        """
        return self._build_call(
            "delete_object", "DELETE", f"/{_validate_key(key, 'key')}", parse_empty, endpoint="cos"
        )

    # GET /{key}?{rule}
    def processed(self, key: str, *, rule: str) -> Call[bytes]:
        """A picture of the bucket as a rule makes it, at once and without a job; nothing is stored.

        Args:
            key: the picture's key
            rule: what to do: imageMogr2/thumbnail/400x
        """
        return self._build_call(
            "processed",
            "GET",
            f"/{_validate_key(key, 'key')}",
            parse_bytes,
            {rule: ""},
            endpoint="cos",
        )

    # POST /{key}?image_process
    def process(
        self, key: str, *, rules: Mapping[str, str], picture_info: bool = True
    ) -> Call[Element]:
        """Process a picture of the bucket at once and store the results; the answer tells about all
        pictures.

        Args:
            key: the picture's key
            rules: key of each result → what to do, at most five
            picture_info: also tell about the original picture
        """
        if not 1 <= len(rules) <= 5:
            raise InvalidRequest(f"One request takes 1 to 5 rules, not {len(rules)}.")
        wanted = [
            {"fileid": f"/{_validate_key(name, 'rules')}", "rule": rule}
            for name, rule in rules.items()
        ]
        operations = json.dumps(
            {"is_pic_info": int(picture_info), "rules": wanted}, separators=(",", ":")
        )
        headers = {"Pic-Operations": operations}
        read = partial(parse_element, root="UploadResult", at_top_level=True)
        path = f"/{_validate_key(key, 'key')}"
        return self._build_call(
            "process", "POST", path, read, {"image_process": ""}, headers=headers, endpoint="cos"
        )

    # PUT /{key}
    def put_object(
        self, key: str, content: bytes, *, content_type: str = "application/octet-stream"
    ) -> Call[None]:
        """Put an object into the bucket.

        Args:
            key: the object's key
            content: its bytes
            content_type: its media type
        """
        path = f"/{_validate_key(key, 'key')}"
        headers = {"Content-Type": content_type}
        return self._build_call(
            "put_object", "PUT", path, parse_empty, headers=headers, body=content, endpoint="cos"
        )

    # GET /{key}
    def get_object(self, key: str) -> Call[bytes]:
        """An object of the bucket, as bytes.

        Args:
            key: the object's key
        """
        return self._build_call(
            "get_object", "GET", f"/{_validate_key(key, 'key')}", parse_bytes, endpoint="cos"
        )

    def _build_output(self, key: str, bucket: str | None, region: str | None) -> dict[str, str]:
        return {
            "Region": region or self.region,
            "Bucket": bucket or self.bucket,
            "Object": _validate_key(key, "output"),
        }

    def _paginate(
        self,
        name: str,
        path: str,
        query: Mapping[str, str | None],
        limit: int | None,
        parse: Callable[[Response], Page[T]],
    ) -> Paginator[T]:
        def turn(token: str) -> Call[Page[T]]:
            params = {
                key: value
                for key, value in {**query, "nextToken": token or None}.items()
                if value is not None
            }
            return self._build_call(name, "GET", path, parse, params)

        return Paginator(turn, limit)

    def _build_list_call(
        self,
        name: str,
        path: str,
        query: Mapping[str, str | None],
        page: int,
        size: int,
        element: str,
        endpoint: str = "ci",
    ) -> Call[list[Element]]:
        told = {**query, "pageNumber": str(page), "pageSize": str(size)}
        params = {key: value for key, value in told.items() if value is not None}
        return self._build_call(
            name, "GET", path, partial(parse_list, element=element), params, endpoint=endpoint
        )

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
        if body and headers is None:
            headers = {"Content-Type": "application/xml"}
        return Call(
            "ci",
            name,
            method,
            path,
            parse,
            params or {},
            headers or {},
            body,
            endpoint,
            is_submission,
            sender=self._sender,
        )


def route_request(body: str) -> tuple[str, dict[str, Any]]:
    """Where a person's `<Request>` XML belongs, and its elements: Tag goes to /jobs, a batch to
    /inventorytriggerjob.

    Raises CallError with line and column where it is not well-formed.
    """
    request = xml.parse_request(body)
    operation = request.get("Operation")
    operation = operation if isinstance(operation, dict) else {}
    if "Tag" in request:
        return "/jobs", request
    if "Name" in request and ({"WorkflowIds", "JobParam"} & set(operation)):
        return "/inventorytriggerjob", request
    raise InvalidRequest(
        "This request is neither a job nor a batch.",
        detail="A job has <Tag>; a batch has <Name>, and <WorkflowIds> or <JobParam> in its <Operation>.",
        hint="Nothing was sent. Add what is missing.",
    )


# --- what we say ----------------------------------------------------------------------------------


def _validate_key(key: str, parameter: str) -> str:
    if not key or key.startswith("/"):
        raise InvalidRequest(
            f"{parameter}={key!r} is no object key.",
            hint="A key has no leading slash: input/deer.jpg",
        )
    return key


def _validate_id(resource_id: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", resource_id):
        raise InvalidRequest(f"{resource_id!r} is no job id.", hint="See %ci_jobs.")
    return resource_id


def _get_collection_path(job_id: str) -> str:
    return "/inventorytriggerjob" if job_id.startswith("b") else "/jobs"


def _build_processing(
    rule: str | None, template_id: str | None, picture_info: bool | None
) -> dict[str, Any]:
    if bool(rule) == bool(template_id):
        raise InvalidRequest(
            "Give a rule or a template_id, not both."
            if rule
            else "A picture job needs a rule or a template_id.",
            hint='For example rule="imageMogr2/thumbnail/200x".',
        )
    if template_id:
        return {"TemplateId": template_id}
    return {"PicProcess": {"IsPicInfo": picture_info, "ProcessRule": rule}}


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


def _validate_user_data(text: str | None) -> str | None:
    if text is not None and (len(text) > 1024 or not all(" " <= letter <= "~" for letter in text)):
        raise InvalidRequest("user_data must be printable ASCII, at most 1024 characters.")
    return text


def _format_level(level: int | None) -> str | None:
    if level not in (None, 0, 1, 2):
        raise InvalidRequest(f"level is 0, 1 or 2, not {level}.")
    return None if level is None else str(level)


def _select_input(choices: Mapping[str, str | None]) -> dict[str, str]:
    chosen = {name: value for name, value in choices.items() if value is not None}
    if len(chosen) != 1:
        raise InvalidRequest("A batch needs exactly one of prefix, object, url_file and manifest.")
    return chosen


def _join_values(values: str | Sequence[str] | None) -> str | None:
    return values if isinstance(values, str) or values is None else ",".join(values)


def _build_template(name: str, rule: str, picture_info: bool | None) -> dict[str, Any]:
    return {"Tag": "PicProcess", "Name": name, **_build_processing(rule, None, picture_info)}


def _build_workflow(name: str, topology: Mapping[str, Any], active: bool) -> dict[str, Any]:
    return {
        "MediaWorkflow": {
            "Name": name,
            "State": "Active" if active else "Paused",
            "Topology": topology,
        }
    }


def _format_time(value: str | datetime | None) -> str | None:
    """A time as the service writes it, 2001-01-01T00:00:00+0800. A naive one is taken as UTC; texts
    pass through.
    """
    if value is None or isinstance(value, str):
        return value or None
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return aware.astimezone(CHINA_TZ).strftime("%Y-%m-%dT%H:%M:%S%z")


# --- what it says: pieces -------------------------------------------------------------------------

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


def build_object_url(bucket: str, region: str, key: str) -> str:
    path = key if _match_unreserved(key) else quote(key, safe="/-_.~")
    return f"https://{bucket}.cos.{region}.myqcloud.com/{path}"


_match_unreserved = re.compile(r"[A-Za-z0-9/_.~-]*").fullmatch


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


# --- what it says: answers ------------------------------------------------------------------------


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


# --- how a submission is found again when its answer was lost -------------------------------------

MAX_CLOCK_SKEW = 60.0  # seconds that two clocks may differ


def is_trackable(call: Call[Any]) -> bool:
    """Whether the call makes a job or batch, which a listing then tells of."""
    return call.is_submission and call.path in ("/jobs", "/inventorytriggerjob")


def with_marker(call: Call[T], marker: str) -> Call[T] | None:
    """The call with our mark in UserData; None where that place is taken."""
    request = dict(xml.parse(call.body)["Request"])
    operation = request.get("Operation")
    operation = dict(operation) if isinstance(operation, dict) else {}
    if operation.get("UserData"):
        return None
    request["Operation"] = {**operation, "UserData": marker}
    return replace(call, body=xml.build("Request", request))


def build_search_request(call: Call[Any], sent_at: float) -> Paginator[Job]:
    """What to ask to find the job that the call has made."""
    builder, request = TencentCI(call.sender), get_element(xml.parse(call.body), "Request")
    start = datetime.fromtimestamp(sent_at - MAX_CLOCK_SKEW, UTC)
    if call.path == "/jobs":
        return builder.jobs(
            tag=to_text(request.get("Tag")),
            start=start,
            input=to_text(get_element(request, "Input").get("Object")) or None,
        )
    return builder.batches(
        type=_get_batch_type(request), name=to_text(request.get("Name")), start=start
    )


def _get_batch_type(request: Element) -> Literal["Workflow", "Job"]:
    return "Job" if to_text(request.get("Type")) == "Job" else "Workflow"


def build_matcher(call: Call[Any], marker: str, sent_at: float) -> Callable[[Job], bool]:
    """Tells of a job whether the call has made it: by its mark; else by input, output and time."""
    request = get_element(xml.parse(call.body), "Request")
    told = to_text(get_element(request, "Operation").get("UserData"))
    if told == marker:
        return lambda job: to_text(get_element(job.raw, "Operation").get("UserData")) == marker

    def says_the_same(job: Job) -> bool:
        return (
            job.user_data == told
            and (job.submitted is None or job.submitted.timestamp() >= sent_at - MAX_CLOCK_SKEW)
            and parse_subject(job.raw) == parse_subject(request)
            and to_text(get_element(job.raw, "Operation", "Output").get("Object"))
            == to_text(get_element(request, "Operation", "Output").get("Object"))
        )

    return says_the_same


def is_exact_match(call: Call[Any], marker: str) -> bool:
    """Whether `made_by` is certain; else two alike could be taken for each other."""
    return (
        to_text(get_element(xml.parse(call.body), "Request", "Operation").get("UserData")) == marker
    )


def restore_call(sender: Sender | None, name: str, path: str, body: bytes) -> Call[Job]:
    """The call of a journal's row, to be sent again or looked for."""
    return replace(TencentCI(sender).request(path, body.decode()), name=name)
