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

from jupyter_mjci.client.calls import Call, Page, Pages, Reply, Sender
from jupyter_mjci.client.job import Job, Status, users_own
from jupyter_mjci.errors import AnswerError, CallError, CIError
from jupyter_mjci.services.tencent_ci import xml

T = TypeVar("T")
Tree = Mapping[str, Any]  # an element's children by name; all leaves are texts
CHINA = timezone(timedelta(hours=8))


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
            raise CallError(
                "A batch's name has 1 to 128 characters.", why=f"This one has {len(name)}."
            )
        chosen = _one_of(
            {"Prefix": prefix, "Object": object, "UrlFile": url_file, "Manifest": manifest}
        )
        window = {"Start": _time(start), "End": _time(end)} if start or end else None
        if workflow_ids and (rule or template_id):
            raise CallError(
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
            "/inventorytriggerjob",
            {"Name": name, "Type": kind, "Input": chosen, "Operation": operation},
        )

    def request(self, path: str, request: Mapping[str, Any] | str) -> Call[Job]:
        """A submission from a whole `<Request>`: its XML text, or its elements as nested dicts.

        Args:
            path: where it belongs: /jobs or /inventorytriggerjob
            request: the XML as it is sent, or the elements below `<Request>` by name
        """
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
    ) -> Pages[Job]:
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
            "tag": tag,
            "queueId": queue_id,
            "queueType": queue_type,
            "orderByTime": order,
            "states": _joined(states),
            "startCreationTime": _time(start),
            "endCreationTime": _time(end),
            "workflowId": workflow_id,
            "inventoryTriggerJobId": batch_id,
            "inputObject": input,
            "size": str(size),
        }
        return self._pages("jobs", "/jobs", query, limit, read_page)

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
    ) -> Pages[Job]:
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
            "states": _joined(states),
            "startCreationTime": _time(start),
            "endCreationTime": _time(end),
            "workflowId": workflow_id,
            "size": str(size),
        }
        return self._pages("batches", "/inventorytriggerjob", query, limit, read_page)

    # PUT /jobs/{id}?cancel, PUT /inventorytriggerjob/{id}?cancel
    def cancel(self, job_id: str) -> Call[None]:
        """Cancel a job that has not begun, or a batch.

        Args:
            job_id: the job's id; a batch's begins with b
        """
        path = f"{_path_of(job_id)}/{_job_id(job_id)}"
        return self._call("cancel", "PUT", path, read_nothing, {"cancel": ""})

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
            "Input": None if input is None else {"Object": _key(input, "input")},
            "Operation": operation,
            **_callbacks(callback, callback_format, None, None),
        }
        return self.request("/jobs", request)

    # POST /template
    def create_template(
        self, name: str, *, rule: str, picture_info: bool | None = None
    ) -> Call[Tree]:
        """Store a rule under a name; the answer tells its TemplateId.

        Args:
            name: at most 64 letters, digits, _, - and *
            rule: what to do: imageMogr2/thumbnail/200x
            picture_info: also tell about the original picture
        """
        return self._write(
            "create_template", "POST", "/template", _template(name, rule, picture_info), "Template"
        )

    # PUT /template/{id}
    def update_template(
        self, template_id: str, name: str, *, rule: str, picture_info: bool | None = None
    ) -> Call[Tree]:
        """Change a stored rule.

        Args:
            template_id: the template's id: t…
            name: its name from now on
            rule: what to do from now on
            picture_info: also tell about the original picture
        """
        path = f"/template/{_job_id(template_id)}"
        return self._write(
            "update_template", "PUT", path, _template(name, rule, picture_info), "Template"
        )

    # DELETE /template/{id}
    def delete_template(self, template_id: str) -> Call[None]:
        """Forget a stored rule.

        Args:
            template_id: the template's id: t…
        """
        return self._call(
            "delete_template", "DELETE", f"/template/{_job_id(template_id)}", read_nothing
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
    ) -> Call[list[Tree]]:
        """The stored rules of the bucket.

        Args:
            ids: only these
            name: only those whose name begins so
            category: Custom (the default) or Official
            page: which page, from 1
            size: templates a page, 1 to 100
        """
        query = {"tag": "PicProcess", "ids": _joined(ids), "name": name, "category": category}
        return self._list("templates", "/template", query, page, size, "TemplateList")

    # GET /picqueue
    def queues(
        self,
        *,
        ids: Sequence[str] | None = None,
        state: Literal["Active", "Paused"] | None = None,
        page: int = 1,
        size: int = 100,
    ) -> Call[list[Tree]]:
        """The queues that picture jobs wait in.

        Args:
            ids: only these, at most ten
            state: only Active or only Paused ones
            page: which page, from 1
            size: queues a page, 1 to 100
        """
        query = {"queueIds": _joined(ids), "state": state}
        return self._list("queues", "/picqueue", query, page, size, "QueueList")

    # PUT /picqueue/{id}
    def update_queue(
        self,
        queue_id: str,
        *,
        name: str,
        state: Literal["Active", "Paused"],
        notify: Mapping[str, str] | None = None,
    ) -> Call[Tree]:
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
        return self._write(
            "update_queue", "PUT", f"/picqueue/{_job_id(queue_id)}", request, "Queue"
        )

    # POST /picbucket
    def bind(self) -> Call[Tree]:
        """Bind the bucket to picture processing, which makes its first queue. Binding twice does no
        harm.
        """
        return self._call("bind", "POST", "/picbucket", partial(read_tree, root="PicBucket"))

    # DELETE /picbucket
    def unbind(self) -> Call[None]:
        """End the bucket's picture processing."""
        return self._call("unbind", "DELETE", "/picbucket", read_nothing)

    # GET /picbucket, at the account's host
    def buckets(
        self,
        *,
        regions: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        prefix: str | None = None,
        page: int = 1,
        size: int = 100,
    ) -> Call[list[Tree]]:
        """The account's buckets that are bound to picture processing.

        Args:
            regions: only of these regions
            names: only these buckets
            prefix: only buckets whose name begins so
            page: which page, from 1
            size: buckets a page, 1 to 100
        """
        query = {"regions": _joined(regions), "bucketNames": _joined(names), "bucketName": prefix}
        return self._list(
            "buckets", "/picbucket", query, page, size, "PicBucketList", plane="account"
        )

    # POST /workflow
    def create_workflow(
        self, name: str, *, topology: Mapping[str, Any], active: bool = False
    ) -> Call[Tree]:
        """Store a workflow; the answer tells its WorkflowId.

        Args:
            name: the workflow's name
            topology: its Dependencies and Nodes, nested as in the service's documents
            active: let uploads trigger it
        """
        return self._write(
            "create_workflow",
            "POST",
            "/workflow",
            _workflow(name, topology, active),
            "MediaWorkflow",
        )

    # PUT /workflow/{id}
    def update_workflow(
        self, workflow_id: str, name: str, *, topology: Mapping[str, Any], active: bool = False
    ) -> Call[Tree]:
        """Change a workflow that is not active.

        Args:
            workflow_id: the workflow's id: w…
            name: its name from now on
            topology: its Dependencies and Nodes
            active: let uploads trigger it
        """
        path = f"/workflow/{_job_id(workflow_id)}"
        return self._write(
            "update_workflow", "PUT", path, _workflow(name, topology, active), "MediaWorkflow"
        )

    # PUT /workflow/{id}?active, PUT /workflow/{id}?paused
    def switch_workflow(self, workflow_id: str, *, active: bool) -> Call[None]:
        """Let uploads trigger a workflow, or no longer.

        Args:
            workflow_id: the workflow's id: w…
            active: whether they do
        """
        params = {"active" if active else "paused": ""}
        return self._call(
            "switch_workflow", "PUT", f"/workflow/{_job_id(workflow_id)}", read_nothing, params
        )

    # DELETE /workflow/{id}
    def delete_workflow(self, workflow_id: str) -> Call[None]:
        """Forget a workflow that is not active.

        Args:
            workflow_id: the workflow's id: w…
        """
        return self._call(
            "delete_workflow", "DELETE", f"/workflow/{_job_id(workflow_id)}", read_nothing
        )

    # GET /workflow
    def workflows(
        self,
        *,
        ids: Sequence[str] | None = None,
        name: str | None = None,
        page: int = 1,
        size: int = 100,
    ) -> Call[list[Tree]]:
        """The workflows of the bucket.

        Args:
            ids: only these
            name: only those whose name begins so
            page: which page, from 1
            size: workflows a page, 1 to 100
        """
        return self._list(
            "workflows",
            "/workflow",
            {"ids": _joined(ids), "name": name},
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
        params = {"workflowId": _job_id(workflow_id), "object": _key(object, "object")}
        if name:
            params["name"] = name
        return self._call(
            "trigger_workflow", "POST", "/triggerworkflow", read_instance, params, creates=True
        )

    # GET /workflowexecution/{id}
    def execution(self, run_id: str) -> Call[Tree]:
        """One run of a workflow and its tasks.

        Args:
            run_id: the run's id: i…
        """
        read = partial(read_tree, root="WorkflowExecution")
        return self._call("execution", "GET", f"/workflowexecution/{_job_id(run_id)}", read)

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
    ) -> Pages[Tree]:
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
            "states": _joined(states),
            "orderByTime": order,
            "startCreationTime": _time(start),
            "endCreationTime": _time(end),
            "size": str(size),
        }
        return self._pages("executions", "/workflowexecution", query, limit, read_executions)

    # GET /
    def objects(
        self, *, prefix: str = "", delimiter: str | None = None, limit: int | None = None
    ) -> Pages[StoredObject]:
        """The objects of the bucket in the order of their keys, page by page as they are walked.

        Args:
            prefix: only keys that begin so
            delimiter: "/" leaves out what lies in folders below
            limit: stop after so many objects
        """

        def turn(marker: str) -> Call[Page[StoredObject]]:
            query = {"prefix": prefix or None, "delimiter": delimiter, "marker": marker or None}
            params = {name: value for name, value in query.items() if value is not None}
            return self._call("objects", "GET", "/", read_objects, params, plane="cos")

        return Pages(turn, limit)

    # DELETE /{key}
    def delete_object(self, key: str) -> Call[None]:
        """Remove an object from the bucket.

        Args:
            key: the object's key
        """
        return self._call(
            "delete_object", "DELETE", f"/{_key(key, 'key')}", read_nothing, plane="cos"
        )

    # GET /{key}?{rule}
    def processed(self, key: str, *, rule: str) -> Call[bytes]:
        """A picture of the bucket as a rule makes it, at once and without a job; nothing is stored.

        Args:
            key: the picture's key
            rule: what to do: imageMogr2/thumbnail/400x
        """
        return self._call(
            "processed", "GET", f"/{_key(key, 'key')}", read_bytes, {rule: ""}, plane="cos"
        )

    # POST /{key}?image_process
    def process(
        self, key: str, *, rules: Mapping[str, str], picture_info: bool = True
    ) -> Call[Tree]:
        """Process a picture of the bucket at once and store the results; the answer tells about all
        pictures.

        Args:
            key: the picture's key
            rules: key of each result → what to do, at most five
            picture_info: also tell about the original picture
        """
        if not 1 <= len(rules) <= 5:
            raise CallError(f"One request takes 1 to 5 rules, not {len(rules)}.")
        wanted = [
            {"fileid": f"/{_key(name, 'rules')}", "rule": rule} for name, rule in rules.items()
        ]
        operations = json.dumps(
            {"is_pic_info": int(picture_info), "rules": wanted}, separators=(",", ":")
        )
        headers = {"Pic-Operations": operations}
        read = partial(read_tree, root="UploadResult", whole=True)
        path = f"/{_key(key, 'key')}"
        return self._call(
            "process", "POST", path, read, {"image_process": ""}, headers=headers, plane="cos"
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
        path = f"/{_key(key, 'key')}"
        headers = {"Content-Type": content_type}
        return self._call(
            "put_object", "PUT", path, read_nothing, headers=headers, body=content, plane="cos"
        )

    # GET /{key}
    def get_object(self, key: str) -> Call[bytes]:
        """An object of the bucket, as bytes.

        Args:
            key: the object's key
        """
        return self._call("get_object", "GET", f"/{_key(key, 'key')}", read_bytes, plane="cos")

    def _output(self, key: str, bucket: str | None, region: str | None) -> dict[str, str]:
        return {
            "Region": region or self.region,
            "Bucket": bucket or self.bucket,
            "Object": _key(key, "output"),
        }

    def _pages(
        self,
        name: str,
        path: str,
        query: Mapping[str, str | None],
        limit: int | None,
        read: Callable[[Reply], Page[T]],
    ) -> Pages[T]:
        def turn(token: str) -> Call[Page[T]]:
            params = {
                key: value
                for key, value in {**query, "nextToken": token or None}.items()
                if value is not None
            }
            return self._call(name, "GET", path, read, params)

        return Pages(turn, limit)

    def _list(
        self,
        name: str,
        path: str,
        query: Mapping[str, str | None],
        page: int,
        size: int,
        element: str,
        plane: str = "ci",
    ) -> Call[list[Tree]]:
        told = {**query, "pageNumber": str(page), "pageSize": str(size)}
        params = {key: value for key, value in told.items() if value is not None}
        return self._call(
            name, "GET", path, partial(read_list, element=element), params, plane=plane
        )

    def _write(
        self, name: str, method: str, path: str, request: Mapping[str, Any], root: str
    ) -> Call[Tree]:
        body = xml.write("Request", request)
        return self._call(name, method, path, partial(read_tree, root=root), body=body)

    def _call(
        self,
        name: str,
        method: str,
        path: str,
        read: Callable[[Reply], T],
        params: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        plane: str = "ci",
        creates: bool = False,
    ) -> Call[T]:
        if body and headers is None:
            headers = {"Content-Type": "application/xml"}
        return Call(
            "ci",
            name,
            method,
            path,
            read,
            params or {},
            headers or {},
            body,
            plane,
            creates,
            sender=self._sender,
        )


def submission(body: str) -> tuple[str, dict[str, Any]]:
    """Where a person's `<Request>` XML belongs, and its elements: Tag goes to /jobs, a batch to
    /inventorytriggerjob.

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


# --- what we say ----------------------------------------------------------------------------------


def _key(key: str, name: str) -> str:
    if not key or key.startswith("/"):
        raise CallError(
            f"{name}={key!r} is no object key.", hint="A key has no leading slash: input/deer.jpg"
        )
    return key


def _job_id(job_id: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]+", job_id):
        raise CallError(f"{job_id!r} is no job id.", hint="See %ci_jobs.")
    return job_id


def _path_of(job_id: str) -> str:
    return "/inventorytriggerjob" if job_id.startswith("b") else "/jobs"


def _processing(
    rule: str | None, template_id: str | None, picture_info: bool | None
) -> dict[str, Any]:
    if bool(rule) == bool(template_id):
        raise CallError(
            "Give a rule or a template_id, not both."
            if rule
            else "A picture job needs a rule or a template_id.",
            hint='For example rule="imageMogr2/thumbnail/200x".',
        )
    if template_id:
        return {"TemplateId": template_id}
    return {"PicProcess": {"IsPicInfo": picture_info, "ProcessRule": rule}}


def _callbacks(
    url: str | None, form: str | None, kind: str | None, queue: Mapping[str, str] | None
) -> dict[str, Any]:
    if kind == "TDMQ" and not queue:
        raise CallError(
            "callback_type TDMQ needs callback_mq.", hint="Give MqRegion, MqMode and MqName."
        )
    return {
        "CallBack": url,
        "CallBackFormat": form,
        "CallBackType": kind,
        "CallBackMqConfig": queue,
    }


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


def _joined(values: str | Sequence[str] | None) -> str | None:
    return values if isinstance(values, str) or values is None else ",".join(values)


def _template(name: str, rule: str, picture_info: bool | None) -> dict[str, Any]:
    return {"Tag": "PicProcess", "Name": name, **_processing(rule, None, picture_info)}


def _workflow(name: str, topology: Mapping[str, Any], active: bool) -> dict[str, Any]:
    return {
        "MediaWorkflow": {
            "Name": name,
            "State": "Active" if active else "Paused",
            "Topology": topology,
        }
    }


def _time(value: str | datetime | None) -> str | None:
    """A time as the service writes it, 2001-01-01T00:00:00+0800. A naive one is taken as UTC; texts
    pass through.
    """
    if value is None or isinstance(value, str):
        return value or None
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return aware.astimezone(CHINA).strftime("%Y-%m-%dT%H:%M:%S%z")


# --- what it says: pieces -------------------------------------------------------------------------

STATES = {
    "submitted": Status.WAITING,
    "pause": Status.WAITING,
    "": Status.WAITING,
    "running": Status.RUNNING,
    "success": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "cancel": Status.CANCELLED,
}


def text(value: Any) -> str:
    """Any leaf as text: empty elements are "", "-" is "not yet"."""
    if value is None or isinstance(value, (dict, list)):
        return ""
    told = str(value).strip()
    return "" if told == "-" else told


def moment(value: Any) -> datetime | None:
    """2022-07-18T15:16:43+0800, with a blank for the T in some callbacks; "-" means "not yet"."""
    written = text(value).replace(" ", "T", 1)
    try:
        found = datetime.fromisoformat(written)
        return (found if found.tzinfo else found.replace(tzinfo=CHINA)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def part(detail: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """A container inside the detail; {} where it is missing. Of several alike, the first."""
    for name in path:
        value = detail.get(name)
        value = value[0] if isinstance(value, list) and value else value
        detail = value if isinstance(value, dict) else {}
    return detail


def outputs(
    state: Any, kind: Any, name: Any, told: Any, asked: Any, bucket: Any, region: Any
) -> tuple[str, ...]:
    """The result's URL, once there is one. A batch's output is a pattern, not an object."""
    key = first(told, asked).removeprefix("/")
    is_batch = text(kind) and text(name)
    if status(state) is not Status.SUCCEEDED or not key or is_batch:
        return ()
    return (object_url(text(bucket), text(region), key),)


def object_url(bucket: str, region: str, key: str) -> str:
    path = key if _PLAIN(key) else quote(key, safe="/-_.~")
    return f"https://{bucket}.cos.{region}.myqcloud.com/{path}"


_PLAIN = re.compile(r"[A-Za-z0-9/_.~-]*").fullmatch


def first(*values: Any) -> str:
    """The first that tells something."""
    return next((told for value in values if (told := text(value))), "")


def _subject(detail: Mapping[str, Any]) -> str:
    return first(*(xml.leaf(detail, path) for path in INPUT))


def status(state: Any) -> Status:
    """Unknown words count as running: the job may still end."""
    return STATES.get(text(state).lower(), Status.RUNNING)


def progress(state: Any, value: Any) -> int | None:
    told = text(value)
    if status(state) is Status.SUCCEEDED:
        return 100
    return int(told) if told.isdecimal() and len(told) <= 3 else None


def reason(state: Any, code: Any, message: Any) -> str:
    if status(state) is not Status.FAILED:
        return ""
    return ": ".join(filter(None, (text(code), text(message))))


def own_mark(value: Any) -> str:
    return users_own(text(value))


INPUT = ("Input.Object", "Input.Prefix", "Input.UrlFile", "Input.Manifest")
OUTPUT = (
    "Operation.PicProcessResult.ObjectName",
    "Operation.Output.Object",
    "Operation.Output.Bucket",
    "Operation.Output.Region",
)

# Ours, the wire's, and how it is read: one line each. Listings are read by columns from the same
# lines.
DETAIL: tuple[tuple[str, tuple[str, ...], Callable[..., Any]], ...] = (
    ("id", ("JobId",), text),
    ("action", ("Tag", "Operation.Tag", "Type"), first),
    ("status", ("State",), status),
    ("progress", ("State", "Progress"), progress),
    ("subject", INPUT, first),
    ("outputs", ("State", "Type", "Name", *OUTPUT), outputs),
    ("submitted", ("CreationTime",), moment),
    ("started", ("StartTime",), moment),
    ("finished", ("EndTime",), moment),
    ("reason", ("State", "Code", "Message"), reason),
    ("state", ("Operation.UserData",), own_mark),
    ("notify_hook", ("CallBack",), text),
    ("parent", ("Workflow.RunId",), text),
)
WIRES = tuple(dict.fromkeys(wire for _, wires, _ in DETAIL for wire in wires))


def job_of(detail: Mapping[str, Any]) -> Job:
    """One JobsDetail as a Job. Takes anything that is a mapping; never raises for odd values."""
    told = {name: read(*(xml.leaf(detail, wire) for wire in wires)) for name, wires, read in DETAIL}
    return Job("ci", raw=detail, **told)


# --- what it says: answers ------------------------------------------------------------------------


def read_job(reply: Reply, job_id: str = "") -> Job:
    """The one job of an answer. Raises CIError where the service does not know it."""
    answer = _response(reply)
    details = [one for one in answer.get("JobsDetail") or () if isinstance(one, dict) and one]
    if not details:
        missing = job_id or ", ".join(text(one) for one in answer.get("NonExistJobIds") or ())
        raise CIError(
            f"Tencent CI knows no job {missing}.",
            status=reply.status,
            code="NonExistJobIds",
            request_id=_request_id(reply),
            hint="See %ci_jobs for those that it knows.",
        )
    return job_of(details[0])


def read_page(reply: Reply) -> Page[Job]:
    answer = _response(reply)
    details = answer.get("JobsDetail") or ()
    jobs = tuple(job_of(one) for one in details if isinstance(one, dict) and one)
    return Page(jobs, text(answer.get("NextToken")))


def read_rows(reply: Reply) -> Page[xml.Row]:
    """The same page without a Job per row: the texts of each job's WIRES."""
    if reply.status >= 300:
        raise refusal(reply)
    try:
        rows, told = xml.rows(reply.body, "Response", "JobsDetail", WIRES, "NextToken")
    except ExpatError as error:
        raise _not_xml(reply, error) from None
    if not rows:
        _response(reply)  # raises where it is no page at all
    return Page(tuple(rows), text(told))


def read_tree(reply: Reply, root: str, whole: bool = False) -> Tree:
    """One element of the answer, or the whole answer under its root name."""
    answer = _document(reply) if whole else _response(reply)
    found = answer.get(root)
    return part({root: found}, root)


def read_list(reply: Reply, element: str) -> list[Tree]:
    return [one for one in _response(reply).get(element) or () if isinstance(one, dict)]


def read_executions(reply: Reply) -> Page[Tree]:
    return Page(
        tuple(read_list(reply, "WorkflowExecutionList")), text(_response(reply).get("NextToken"))
    )


def read_instance(reply: Reply) -> str:
    return text(_response(reply).get("InstanceId"))


def read_objects(reply: Reply) -> Page[StoredObject]:
    listing = part(_document(reply), "ListBucketResult")
    found = tuple(
        StoredObject(
            text(one.get("Key")),
            int(text(one.get("Size")) or 0),
            _stamp(one.get("LastModified")),
            text(one.get("ETag")).strip('"'),
        )
        for one in listing.get("Contents") or ()
        if isinstance(one, dict)
    )
    more = text(listing.get("IsTruncated")) == "true"
    last = found[-1].key if found else ""
    return Page(found, (text(listing.get("NextMarker")) or last) if more else "")


def _stamp(value: Any) -> datetime | None:
    """2022-07-18T07:16:43.000Z, as object listings write it."""
    return moment(text(value).replace("Z", "+00:00"))


def read_nothing(reply: Reply) -> None:
    if reply.status >= 300:
        raise refusal(reply)


def read_bytes(reply: Reply) -> bytes:
    read_nothing(reply)
    return reply.body


def _response(reply: Reply) -> Tree:
    document = _document(reply)
    if "Response" not in document:
        raise AnswerError(
            f"The answer of {reply.url.partition('?')[0]} is none of Tencent CI's (HTTP {reply.status}).",
            why=reply.body[:120].decode("utf-8", "replace"),
            body=reply.body,
            hint="Check MJCI_CI_ENDPOINT, bucket and region.",
        )
    return part(document, "Response")


def _document(reply: Reply) -> dict[str, Any]:
    if reply.status >= 300:
        raise refusal(reply)
    try:
        return xml.read(reply.body)
    except ExpatError as error:
        raise _not_xml(reply, error) from None


def _not_xml(reply: Reply, error: ExpatError) -> AnswerError:
    return AnswerError(
        f"The answer of {reply.url.partition('?')[0]} is not XML (HTTP {reply.status}).",
        why=str(error),
        hint="Check MJCI_CI_ENDPOINT, bucket and region.",
        body=reply.body,
    )


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
        status=reply.status,
        code=code or ("NoSuchKey" if reply.status == 404 else ""),
        message=message,
        request_id=request_id,
        hint=_HINTS.get(code, f"Request id: {request_id}" if request_id else ""),
    )


def _request_id(reply: Reply) -> str:
    return reply.headers.get("x-ci-request-id") or reply.headers.get("x-cos-request-id") or ""


# --- how a submission is found again when its answer was lost -------------------------------------

SKEW = 60.0  # seconds that two clocks may differ


def traceable(call: Call[Any]) -> bool:
    """Whether the call makes a job or batch, which a listing then tells of."""
    return call.creates and call.path in ("/jobs", "/inventorytriggerjob")


def marked(call: Call[T], mark: str) -> Call[T] | None:
    """The call with our mark in UserData; None where that place is taken."""
    request = dict(xml.read(call.body)["Request"])
    operation = request.get("Operation")
    operation = dict(operation) if isinstance(operation, dict) else {}
    if operation.get("UserData"):
        return None
    request["Operation"] = {**operation, "UserData": mark}
    return replace(call, body=xml.write("Request", request))


def listing(call: Call[Any], since: float) -> Pages[Job]:
    """What to ask to find the job that the call has made."""
    builder, request = TencentCI(call.sender), part(xml.read(call.body), "Request")
    start = datetime.fromtimestamp(since - SKEW, UTC)
    if call.path == "/jobs":
        return builder.jobs(
            tag=text(request.get("Tag")),
            start=start,
            input=text(part(request, "Input").get("Object")) or None,
        )
    return builder.batches(type=_kind(request), name=text(request.get("Name")), start=start)


def _kind(request: Tree) -> Literal["Workflow", "Job"]:
    return "Job" if text(request.get("Type")) == "Job" else "Workflow"


def made_by(call: Call[Any], mark: str, since: float) -> Callable[[Job], bool]:
    """Tells of a job whether the call has made it: by its mark; else by input, output and time."""
    request = part(xml.read(call.body), "Request")
    told = text(part(request, "Operation").get("UserData"))
    if told == mark:
        return lambda job: text(part(job.raw, "Operation").get("UserData")) == mark

    def says_the_same(job: Job) -> bool:
        return (
            job.state == told
            and (job.submitted is None or job.submitted.timestamp() >= since - SKEW)
            and _subject(job.raw) == _subject(request)
            and text(part(job.raw, "Operation", "Output").get("Object"))
            == text(part(request, "Operation", "Output").get("Object"))
        )

    return says_the_same


def surely(call: Call[Any], mark: str) -> bool:
    """Whether `made_by` is certain; else two alike could be taken for each other."""
    return text(part(xml.read(call.body), "Request", "Operation").get("UserData")) == mark


def recalled(sender: Sender | None, name: str, path: str, body: bytes) -> Call[Job]:
    """The call of a journal's row, to be sent again or looked for."""
    return replace(TencentCI(sender).request(path, body.decode()), name=name)
