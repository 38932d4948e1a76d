"""Build the calls of Tencent Cloud Infinite (CI)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal, TypeVar

from jupyter_mjci.client.calls import Call, Page, Paginator, Response, Sender
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.services.tencent_ci import xml
from jupyter_mjci.services.tencent_ci.objects import StoredObject
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
