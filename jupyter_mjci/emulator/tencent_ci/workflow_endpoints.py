"""Endpoints of workflows and their executions: `/workflow`, `/triggerworkflow`,
`/workflowexecution`.
"""

from __future__ import annotations

from jupyter_mjci.emulator.cos.requests import RequestContext
from jupyter_mjci.emulator.cos.store import Bucket
from jupyter_mjci.emulator.tencent_ci.batches import (
    Batches,
    Execution,
    Workflow,
)
from jupyter_mjci.emulator.tencent_ci.endpoints import (
    Routes,
    find_by_ids,
    not_found,
    passes,
)
from jupyter_mjci.emulator.tencent_ci.events import IdGenerator
from jupyter_mjci.emulator.tencent_ci.params import (
    lowercase_keys,
    paginate_by_number,
    paginate_by_token,
    parse_filter,
    split_list,
)
from jupyter_mjci.emulator.tencent_ci.responses import (
    render_execution,
    render_execution_summary,
    render_workflow,
)
from jupyter_mjci.emulator.xml import (
    Element,
    ErrorResponse,
    find,
    find_element,
    get_text,
    invalid_argument,
    parse_xml,
    require_text,
)


class WorkflowEndpoints:
    """Workflows, and what they did."""

    def __init__(self, batches: Batches, ids: IdGenerator) -> None:
        self.batches = batches
        self.ids = ids

    def build_routes(self) -> Routes:
        """Return which method answers which request."""
        return {
            ("POST", "workflow", False): self.create_workflow,
            ("PUT", "workflow", True): self.update_workflow,
            ("GET", "workflow", False): self.list_workflows,
            ("GET", "workflow", True): self.list_workflows,
            ("DELETE", "workflow", True): self.delete_workflow,
            ("POST", "triggerworkflow", False): self.trigger_workflow,
            ("GET", "workflowexecution", True): self.describe_execution,
            ("GET", "workflowexecution", False): self.list_executions,
        }

    def create_workflow(self, context: RequestContext) -> Element:
        """`POST /workflow`."""
        workflow_id = self.ids.new_id("w")
        bucket = context.bucket.name
        workflow = Workflow(workflow_id, bucket, "", "Active", {}, context.now, context.now)
        self._update_from_body(workflow, context)
        self.batches.workflows[workflow.id] = workflow
        return {"RequestId": context.request_id, "MediaWorkflow": render_workflow(workflow)}

    def _update_from_body(self, workflow: Workflow, context: RequestContext) -> None:
        content = find_element(parse_xml(context.request.body, "Request"), "MediaWorkflow")
        name = require_text(content, "Name")
        for other in self._get_workflows(context.bucket):
            if other is not workflow and other.name == name:
                message = f"There is a workflow {name!r} already."
                raise ErrorResponse(400, "WorkFlowNameDuplicate", message)
        state = get_text(content, "State") or workflow.state
        if state not in ("Active", "Paused"):
            raise invalid_argument("State must be Active or Paused.")
        topology = find_element(content, "Topology")
        if not find_element(topology, "Nodes/Start") or not find(topology, "Dependencies/Start"):
            raise invalid_argument("Topology needs Nodes.Start and Dependencies.Start.")
        workflow.name = name
        workflow.state = state
        workflow.topology = topology

    def _get_workflows(self, bucket: Bucket) -> list[Workflow]:
        workflows = self.batches.workflows.values()
        return [workflow for workflow in workflows if workflow.bucket == bucket.name]

    def _get_workflow(self, context: RequestContext, workflow_id: str) -> Workflow:
        workflow = self.batches.workflows.get(workflow_id)
        if workflow is None or workflow.bucket != context.bucket.name:
            raise not_found(f"workflow {workflow_id}")
        return workflow

    def update_workflow(self, context: RequestContext) -> Element:
        """`PUT /workflow/{id}`: `?active` and `?paused` switch it, a body replaces it."""
        workflow = self._get_workflow(context, context.key)
        if "active" in context.params:
            workflow.state = "Active"
        elif "paused" in context.params:
            workflow.state = "Paused"
        else:
            self._check_paused(workflow)
            self._update_from_body(workflow, context)
        workflow.updated = context.now
        return {"RequestId": context.request_id, "MediaWorkflow": render_workflow(workflow)}

    def _check_paused(self, workflow: Workflow) -> None:
        if workflow.state == "Active":
            message = "An active workflow cannot be changed; pause it first."
            raise ErrorResponse(403, "ActiveWorkflowForbiddenUpdate", message)

    def delete_workflow(self, context: RequestContext) -> Element:
        """`DELETE /workflow/{id}`."""
        workflow = self._get_workflow(context, context.key)
        self._check_paused(workflow)
        del self.batches.workflows[workflow.id]
        return {"RequestId": context.request_id, "WorkflowId": workflow.id}

    def list_workflows(self, context: RequestContext) -> Element:
        """`GET /workflow`, `GET /workflow/{ids}`: filtered and paged by number."""
        params = lowercase_keys(context.params)
        ids = split_list(params.get("ids", "") or context.key)
        prefix = params.get("name", "")
        named = {
            workflow.id: workflow
            for workflow in self._get_workflows(context.bucket)
            if workflow.name.startswith(prefix)
        }
        selected = [workflow for workflow in named.values() if not ids or workflow.id in ids]
        page, counts = paginate_by_number(selected, params)
        return {
            "RequestId": context.request_id,
            **counts,
            "MediaWorkflowList": [render_workflow(workflow) for workflow in page],
            "NonExistWIds": [workflow_id for workflow_id in ids if workflow_id not in named],
        }

    def trigger_workflow(self, context: RequestContext) -> Element:
        """`POST /triggerworkflow`: run a workflow over one object."""
        params = lowercase_keys(context.params)
        workflow = self._get_workflow(context, params.get("workflowid", ""))
        key = params.get("object", "").lstrip("/")
        context.bucket.get(key)  # raises NoSuchKey
        execution = self.batches.execute(workflow, key, context.now, name=params.get("name", ""))
        return {"RequestId": context.request_id, "InstanceId": execution.id}

    def describe_execution(self, context: RequestContext) -> Element:
        """`GET /workflowexecution/{id}`."""
        executions, _ = find_by_ids(self.batches.executions, context)
        if not executions:
            raise not_found(f"execution {context.key}")
        content = render_execution(executions[0])
        return {"RequestId": context.request_id, "WorkflowExecution": content}

    def list_executions(self, context: RequestContext) -> Element:
        """`GET /workflowexecution`: filtered and paged by token."""
        params = lowercase_keys(context.params)
        execution_filter = parse_filter(params)
        batch = params.get("jobid", "")
        source = params.get("name", "")

        def matches(execution: Execution) -> bool:
            return (
                execution.bucket == context.bucket.name
                and execution_filter.workflow in ("", execution.workflow.id)
                and batch in ("", execution.batch)
                and source in ("", execution.source)
                and passes(execution, execution_filter)
            )

        executions, token = paginate_by_token(self.batches.executions.values(), matches, params)
        return {
            "RequestId": context.request_id,
            "WorkflowExecutionList": [render_execution_summary(row) for row in executions],
            "NextToken": token,
        }
