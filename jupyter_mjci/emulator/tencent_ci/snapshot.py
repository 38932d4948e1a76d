"""The state of Tencent CI and its buckets as plain rows, with the work in flight."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from jupyter_mjci.emulator.cos.cors import CorsRule
from jupyter_mjci.emulator.cos.store import Bucket, MultipartUpload, Store, StoredObject
from jupyter_mjci.emulator.tencent_ci.batches import Batch, Batches, Execution, Workflow
from jupyter_mjci.emulator.tencent_ci.events import NEVER
from jupyter_mjci.emulator.tencent_ci.jobs import Job, Jobs, JobSpec, Queue, Template

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class State:
    """What a snapshot consists of."""

    store: Store
    jobs: Jobs
    batches: Batches
    templates: dict[str, Template]


def dump_state(state: State) -> Row:
    """Return the state as rows of JSON values and bytes."""
    jobs = state.jobs
    batches = state.batches
    # A batch's thousand jobs share one spec, which is kept once.
    specs = {id(job.spec): job.spec for job in jobs.by_id.values()}
    spec_numbers = {spec_id: number for number, spec_id in enumerate(specs)}
    return {
        "buckets": [_dump_bucket(bucket) for bucket in state.store.buckets.values()],
        "queues": [_dump_fields(queue, "waiting", "running") for queue in jobs.queues.values()],
        "tasks": [_dump_fields(spec) for spec in specs.values()],
        "jobs": [_dump_job(job, spec_numbers[id(job.spec)]) for job in jobs.by_id.values()],
        "count": jobs.last_number,
        "batches": [_dump_batch(batch) for batch in batches.batches.values()],
        "workflows": [_dump_fields(workflow) for workflow in batches.workflows.values()],
        "executions": [_dump_execution(execution) for execution in batches.executions.values()],
        "templates": [_dump_fields(template) for template in state.templates.values()],
    }


def _dump_fields(record: DataclassInstance, *without: str) -> Row:
    """Return the fields of a record; infinity, which JSON lacks,
    as the text that `float` parses.
    """
    row: Row = {}
    for item in fields(record):
        if item.name in without:
            continue
        value = getattr(record, item.name)
        if isinstance(value, float) and math.isinf(value):
            value = str(value)
        row[item.name] = value
    return row


def _dump_job(job: Job, spec_number: int) -> Row:
    row = _dump_fields(job, "queue", "spec")
    return {**row, "queue": job.queue.id, "spec": spec_number}


def _dump_batch(batch: Batch) -> Row:
    spec = _dump_fields(batch.spec) if batch.spec else None
    return {**_dump_fields(batch, "spec"), "spec": spec}


def _dump_bucket(bucket: Bucket) -> Row:
    return {
        "name": bucket.name,
        "region": bucket.region,
        "created": bucket.created,
        "bound": sorted(bucket.bound_services),
        "cors": [_dump_fields(rule) for rule in bucket.cors_rules],
        "grants": bucket.grants,
        "tags": bucket.tags,
        "styles": bucket.styles,
        "objects": [[key, _dump_fields(stored)] for key, stored in bucket.objects.items()],
        "uploads": [_dump_upload(upload) for upload in bucket.uploads.values()],
    }


def _dump_upload(upload: MultipartUpload) -> Row:
    parts = [[number, _dump_fields(part)] for number, part in upload.parts.items()]
    return {**_dump_fields(upload, "parts"), "parts": parts}


def _dump_execution(execution: Execution) -> Row:
    # The workflow as it was then: it may have been changed or
    # deleted since.
    return {
        **_dump_fields(execution, "workflow", "jobs"),
        "workflow": _dump_fields(execution.workflow),
        "jobs": [job.id for job in execution.jobs],
    }


def load_state(snapshot: Mapping[str, Any], state: State) -> None:
    """Replace the state by a snapshot's, and schedule again what was in flight."""
    jobs = state.jobs
    batches = state.batches
    state.store.buckets = {row["name"]: _load_bucket(row) for row in snapshot["buckets"]}
    jobs.queues = {row["id"]: Queue(**row) for row in snapshot["queues"]}
    _load_jobs(snapshot, jobs)
    batches.batches = {row["id"]: _load_batch(row) for row in snapshot["batches"]}
    batches.workflows = {row["id"]: Workflow(**row) for row in snapshot["workflows"]}
    batches.executions = {}
    for row in snapshot["executions"]:
        batches.executions[row["id"]] = _load_execution(row, batches, jobs)
    state.templates.clear()
    for row in snapshot["templates"]:
        state.templates[row["id"]] = Template(**row)
    jobs.events.clear()
    _reschedule(jobs, batches.batches.values())


def _load_bucket(row: Row) -> Bucket:
    bucket = Bucket(row["name"], row["region"], row["created"], set(row["bound"]))
    bucket.cors_rules = [CorsRule(**fields) for fields in row.get("cors", [])]
    bucket.grants = row.get("grants", [])
    bucket.tags = row.get("tags", {})
    bucket.styles = row.get("styles", {})
    bucket.objects = {key: StoredObject(**fields) for key, fields in row["objects"]}
    for upload in row["uploads"]:
        parts = {number: StoredObject(**fields) for number, fields in upload["parts"]}
        bucket.uploads[upload["id"]] = MultipartUpload(**{**upload, "parts": parts})
    return bucket


def _load_jobs(snapshot: Mapping[str, Any], jobs: Jobs) -> None:
    specs = [JobSpec(**row) for row in snapshot["tasks"]]
    jobs.by_id = {}
    jobs.by_bucket = {}
    jobs.by_batch = {}
    for row in snapshot["jobs"]:
        references = {"queue": jobs.queues[row["queue"]], "spec": specs[row["spec"]]}
        jobs.add(Job(**{**row, **references, "due": float(row["due"])}))
    jobs.last_number = snapshot["count"]


def _load_batch(row: Row) -> Batch:
    times = {name: float(row[name]) for name in ("due", "since", "until")}
    spec = JobSpec(**row["spec"]) if row["spec"] else None
    return Batch(**{**row, **times, "spec": spec, "workflows": tuple(row["workflows"])})


def _load_execution(row: Row, batches: Batches, jobs: Jobs) -> Execution:
    workflow = batches.workflows.get(row["workflow"]["id"]) or Workflow(**row["workflow"])
    # A fault may have made the service forget a job.
    known = [jobs.by_id[job_id] for job_id in row["jobs"] if job_id in jobs.by_id]
    return Execution(**{**row, "workflow": workflow, "jobs": known})


def _reschedule(jobs: Jobs, batches: Iterable[Batch]) -> None:
    for job in jobs.by_id.values():
        if job.state == "Running":
            job.queue.running += 1
        if job.due < NEVER:
            jobs.events.schedule(job, job.due)
        elif job.state == "Submitted" and not job.stuck:
            job.queue.push(job)
    for batch in batches:
        if batch.due < NEVER:
            jobs.events.schedule(batch, batch.due)
