"""The state of Tencent CI and its buckets as plain rows: a sandbox survives a restart, its work in
flight too.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from jupyter_mjci.emulator.cos.store import Bucket, MultipartUpload, Store, StoredObject
from jupyter_mjci.emulator.tencent_ci.batches import Batch, Batches, Execution, Workflow
from jupyter_mjci.emulator.tencent_ci.jobs import NEVER, Job, Jobs, JobSpec, Queue, Template

Row = dict[str, Any]


def _dump_fields(thing: Any, *without: str) -> Row:
    """The fields of a record; JSON has no infinity, so that is spelled (and `float` reads it
    back).
    """
    values = (
        (field.name, getattr(thing, field.name))
        for field in fields(thing)
        if field.name not in without
    )
    return {
        name: str(value) if isinstance(value, float) and math.isinf(value) else value
        for name, value in values
    }


def dump_state(
    store: Store, jobs: Jobs, batches: Batches, templates: Mapping[str, Template]
) -> Row:
    tasks: dict[int, tuple[int, JobSpec]] = {}  # a batch's thousand jobs share one task: kept once
    kept_jobs = []
    for job in jobs.by_id.values():
        at, _ = tasks.setdefault(id(job.spec), (len(tasks), job.spec))
        kept_jobs.append({**_dump_fields(job, "queue", "spec"), "queue": job.queue.id, "spec": at})
    return {
        "buckets": [_dump_bucket(bucket) for bucket in store.buckets.values()],
        "queues": [_dump_fields(queue, "waiting", "running") for queue in jobs.queues.values()],
        "tasks": [_dump_fields(task) for _, task in tasks.values()],
        "jobs": kept_jobs,
        "count": jobs.last_number,
        "batches": [
            {**_dump_fields(one, "spec"), "spec": one.spec and _dump_fields(one.spec)}
            for one in batches.batches.values()
        ],
        "workflows": [_dump_fields(one) for one in batches.workflows.values()],
        "executions": [_dump_execution(one) for one in batches.executions.values()],
        "templates": [_dump_fields(one) for one in templates.values()],
    }


def _dump_bucket(bucket: Bucket) -> Row:
    uploads = [
        {
            **_dump_fields(one, "parts"),
            "parts": [[number, _dump_fields(part)] for number, part in one.parts.items()],
        }
        for one in bucket.uploads.values()
    ]
    objects = [[key, _dump_fields(thing)] for key, thing in bucket.objects.items()]
    head = {
        "name": bucket.name,
        "region": bucket.region,
        "created": bucket.created,
        "bound": sorted(bucket.bound_services),
    }
    return {**head, "objects": objects, "uploads": uploads}


def _dump_execution(execution: Execution) -> Row:
    # The workflow as it was: it may have been changed or deleted since.
    return {
        **_dump_fields(execution, "workflow", "jobs"),
        "workflow": _dump_fields(execution.workflow),
        "jobs": [job.id for job in execution.jobs],
    }


def load_state(
    state: Mapping[str, Any],
    store: Store,
    jobs: Jobs,
    batches: Batches,
    templates: dict[str, Template],
) -> None:
    """Puts the rows in place of what is there, and what was in flight back on the agenda."""
    store.buckets = {row["name"]: _load_bucket(row) for row in state["buckets"]}
    jobs.queues = {row["id"]: Queue(**row) for row in state["queues"]}
    _load_jobs(state, jobs)
    batches.batches = {row["id"]: _load_batch(row) for row in state["batches"]}
    batches.workflows = {row["id"]: Workflow(**row) for row in state["workflows"]}
    batches.executions = {
        row["id"]: _load_execution(row, batches, jobs) for row in state["executions"]
    }
    templates.clear()
    templates.update((row["id"], Template(**row)) for row in state["templates"])
    jobs.events.clear()
    _reschedule(jobs, batches.batches.values())


def _load_bucket(row: Row) -> Bucket:
    bucket = Bucket(row["name"], row["region"], row["created"], set(row["bound"]))
    bucket.objects = {key: StoredObject(**thing) for key, thing in row["objects"]}
    for one in row["uploads"]:
        parts = {number: StoredObject(**part) for number, part in one["parts"]}
        bucket.uploads[one["id"]] = MultipartUpload(**{**one, "parts": parts})
    return bucket


def _load_jobs(state: Mapping[str, Any], jobs: Jobs) -> None:
    tasks = [JobSpec(**row) for row in state["tasks"]]
    jobs.by_id, jobs.by_bucket, jobs.by_batch = {}, {}, {}
    for row in state["jobs"]:
        own = {
            "queue": jobs.queues[row["queue"]],
            "spec": tasks[row["spec"]],
            "due": float(row["due"]),
        }
        jobs.add(Job(**{**row, **own}))
    jobs.last_number = state["count"]


def _load_batch(row: Row) -> Batch:
    times = {name: float(row[name]) for name in ("due", "since", "until")}
    task = JobSpec(**row["spec"]) if row["spec"] else None
    return Batch(**{**row, **times, "spec": task, "workflows": tuple(row["workflows"])})


def _load_execution(row: Row, batches: Batches, jobs: Jobs) -> Execution:
    workflow = batches.workflows.get(row["workflow"]["id"]) or Workflow(**row["workflow"])
    known = [
        jobs.by_id[name] for name in row["jobs"] if name in jobs.by_id
    ]  # one may have been lost
    return Execution(**{**row, "workflow": workflow, "jobs": known})


def _reschedule(jobs: Jobs, batches: Iterable[Batch]) -> None:
    for job in jobs.by_id.values():
        if job.state == "Running":
            job.queue.running += 1
        if job.due < NEVER:
            jobs.events.schedule(job, job.due)
        elif job.state == "Submitted" and not job.stuck:
            heapq.heappush(job.queue.waiting, (-job.spec.level, job.number, job))
    for batch in batches:
        if batch.due < NEVER:
            jobs.events.schedule(batch, batch.due)
