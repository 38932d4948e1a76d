"""Reach what a proxy family has no endpoint for by other calls.

The Java family has no buttons, the .NET family neither `change`
nor a queue, relays no listings at all. A fallback is used once
the server has responded that it lacks the endpoint, and it
returns what the endpoint would return, as far as that can be
known.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import anyio

from jupyter_mjci.client import jsonlib
from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import InvalidResponse, MidjourneyError, MjciError, Unsupported
from jupyter_mjci.services.midjourney.api import Midjourney, change_to_label
from jupyter_mjci.services.midjourney.modes import read_mode

PROBE_ID = "1000000000000000"  # an ID that no proxy has
MAX_CONCURRENT = 8  # tasks fetched at the same time
# Returns the tasks of this proxy that the journal holds, oldest
# first.
ListKnown = Callable[[], Sequence[Job]]


async def change_via_button(call: Call[Any], mj: Midjourney, _: ListKnown) -> Job:
    """Do a `change` or `simple_change` by pressing the button of the parent that does the same."""
    body = jsonlib.loads(call.body)
    task_id, label = change_to_label(body)
    parent = await mj.task(task_id)
    if "buttons" not in parent.raw:
        # It would be asked for by a `change` again.
        raise Unsupported("The task has no buttons.", service="mj")
    return await mj.action(
        parent,
        label,
        mode=read_mode(call.path, body),
        state=body.get("state"),
        notify_hook=body.get("notifyHook"),
    )


async def list_via_ids(
    call: Call[Any],
    mj: Midjourney,
    list_known: ListKnown,
) -> list[Job]:
    """List tasks by their IDs at another path, else fetch each; without IDs, list the journal's."""
    if call.method == "GET":
        return await _list_from_journal(mj, list_known)
    try:
        by_ids: Call[list[Job]] = replace(call, name="tasks_by_ids", path="/mj/task/list-by-ids")
        return await by_ids
    except Unsupported:
        return await _fetch_each(mj, jsonlib.loads(call.body)["ids"])


async def queue_from_list(
    _call: Call[Any],
    mj: Midjourney,
    _: ListKnown,
) -> list[Job]:
    """List the queue as the active tasks of the task list, oldest first."""
    jobs = await mj.tasks()
    active = [job for job in jobs if job.status.is_active]
    return sorted(active, key=lambda job: (job.submitted is None, job.submitted))


async def _list_from_journal(mj: Midjourney, list_known: ListKnown) -> list[Job]:
    """List the tasks that were seen at this proxy, newest first; active ones are fetched again."""
    try:
        await mj.task(PROBE_ID)
    except Unsupported:
        # there is no proxy at this address, and a list from the
        # journal would hide that
        raise
    except (MidjourneyError, InvalidResponse):
        pass
    known = [job for job in list_known() if job.id]
    active_ids = [job.id for job in known if job.status.is_active]
    updated = {job.id: job for job in await _fetch_each(mj, active_ids)}
    jobs = [updated.get(job.id, job) for job in reversed(known)]
    return sorted(jobs, key=lambda job: (job.submitted is not None, job.submitted), reverse=True)


async def _fetch_each(mj: Midjourney, ids: Sequence[str]) -> list[Job]:
    """Fetch tasks concurrently and return them in this order, without those that do not exist."""
    results: dict[str, Job | MjciError] = {}
    limiter = anyio.Semaphore(MAX_CONCURRENT)

    async def fetch(task_id: str) -> None:
        async with limiter:
            try:
                job = await mj.task(task_id)
                results[task_id] = job
            except MjciError as error:
                # Raised below: the task group would wrap it into
                # an ExceptionGroup.
                results[task_id] = error

    async with anyio.create_task_group() as group:
        for task_id in ids:
            group.start_soon(fetch, task_id)
    jobs = []
    for task_id in ids:
        result = results[task_id]
        if isinstance(result, Job):
            jobs.append(result)
        elif getattr(result, "code", "") != "not_found":
            raise result
    return jobs


Fallback = Callable[[Call[Any], Midjourney, ListKnown], Awaitable[Any]]
FALLBACKS: dict[str, Fallback] = {
    "change": change_via_button,
    "simple_change": change_via_button,
    "tasks": list_via_ids,
    "queue": queue_from_list,
}
