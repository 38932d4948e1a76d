"""The state of Tencent CI and its buckets as plain rows: a sandbox survives a restart, its work in
flight too.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from jupyter_mjci.emulator.cos.store import Bucket, Store, Stored, Upload
from jupyter_mjci.emulator.tencent_ci.batches import Batch, Batches, Execution, Workflow
from jupyter_mjci.emulator.tencent_ci.jobs import NEVER, Job, Jobs, Queue, Task, Template

Row = dict[str, Any]


def _row(thing: Any, *without: str) -> Row:
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


def keep(store: Store, jobs: Jobs, batches: Batches, templates: Mapping[str, Template]) -> Row:
    tasks: dict[int, tuple[int, Task]] = {}  # a batch's thousand jobs share one task: kept once
    kept_jobs = []
    for job in jobs.by_id.values():
        at, _ = tasks.setdefault(id(job.task), (len(tasks), job.task))
        kept_jobs.append({**_row(job, "queue", "task"), "queue": job.queue.id, "task": at})
    return {
        "buckets": [_bucket_row(bucket) for bucket in store.buckets.values()],
        "queues": [_row(queue, "waiting", "running") for queue in jobs.queues.values()],
        "tasks": [_row(task) for _, task in tasks.values()],
        "jobs": kept_jobs,
        "count": jobs.count,
        "batches": [
            {**_row(one, "task"), "task": one.task and _row(one.task)}
            for one in batches.batches.values()
        ],
        "workflows": [_row(one) for one in batches.workflows.values()],
        "executions": [_execution_row(one) for one in batches.executions.values()],
        "templates": [_row(one) for one in templates.values()],
    }


def _bucket_row(bucket: Bucket) -> Row:
    uploads = [
        {
            **_row(one, "parts"),
            "parts": [[number, _row(part)] for number, part in one.parts.items()],
        }
        for one in bucket.uploads.values()
    ]
    objects = [[key, _row(thing)] for key, thing in bucket.objects.items()]
    head = {
        "name": bucket.name,
        "region": bucket.region,
        "created": bucket.created,
        "bound": sorted(bucket.bound),
    }
    return {**head, "objects": objects, "uploads": uploads}


def _execution_row(one: Execution) -> Row:
    # The workflow as it was: it may have been changed or deleted since.
    return {
        **_row(one, "workflow", "jobs"),
        "workflow": _row(one.workflow),
        "jobs": [job.id for job in one.jobs],
    }


def recall(
    kept: Mapping[str, Any],
    store: Store,
    jobs: Jobs,
    batches: Batches,
    templates: dict[str, Template],
) -> None:
    """Puts the rows in place of what is there, and what was in flight back on the agenda."""
    store.buckets = {row["name"]: _bucket(row) for row in kept["buckets"]}
    jobs.queues = {row["id"]: Queue(**row) for row in kept["queues"]}
    _recall_jobs(kept, jobs)
    batches.batches = {row["id"]: _batch(row) for row in kept["batches"]}
    batches.workflows = {row["id"]: Workflow(**row) for row in kept["workflows"]}
    batches.executions = {row["id"]: _execution(row, batches, jobs) for row in kept["executions"]}
    templates.clear()
    templates.update((row["id"], Template(**row)) for row in kept["templates"])
    jobs.agenda.clear()
    _resume(jobs, batches.batches.values())


def _bucket(row: Row) -> Bucket:
    bucket = Bucket(row["name"], row["region"], row["created"], set(row["bound"]))
    bucket.objects = {key: Stored(**thing) for key, thing in row["objects"]}
    for one in row["uploads"]:
        parts = {number: Stored(**part) for number, part in one["parts"]}
        bucket.uploads[one["id"]] = Upload(**{**one, "parts": parts})
    return bucket


def _recall_jobs(kept: Mapping[str, Any], jobs: Jobs) -> None:
    tasks = [Task(**row) for row in kept["tasks"]]
    jobs.by_id, jobs.of_bucket, jobs.of_batch = {}, {}, {}
    for row in kept["jobs"]:
        own = {
            "queue": jobs.queues[row["queue"]],
            "task": tasks[row["task"]],
            "due": float(row["due"]),
        }
        jobs.enter(Job(**{**row, **own}))
    jobs.count = kept["count"]


def _batch(row: Row) -> Batch:
    times = {name: float(row[name]) for name in ("due", "since", "until")}
    task = Task(**row["task"]) if row["task"] else None
    return Batch(**{**row, **times, "task": task, "workflows": tuple(row["workflows"])})


def _execution(row: Row, batches: Batches, jobs: Jobs) -> Execution:
    workflow = batches.workflows.get(row["workflow"]["id"]) or Workflow(**row["workflow"])
    known = [
        jobs.by_id[name] for name in row["jobs"] if name in jobs.by_id
    ]  # one may have been lost
    return Execution(**{**row, "workflow": workflow, "jobs": known})


def _resume(jobs: Jobs, batches: Iterable[Batch]) -> None:
    for job in jobs.by_id.values():
        if job.state == "Running":
            job.queue.running += 1
        if job.due < NEVER:
            jobs.agenda.put(job, job.due)
        elif job.state == "Submitted" and not job.stuck:
            heapq.heappush(job.queue.waiting, (-job.task.level, job.number, job))
    for batch in batches:
        if batch.due < NEVER:
            jobs.agenda.put(batch, batch.due)
