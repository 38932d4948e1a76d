"""Another way to the same thing, where a proxy family lacks a call.

The Java family knows no buttons, the .NET family no `change` and no queue, relays no listings at
all. Each detour is taken when the server has said that it has no such endpoint, and says the same
as the direct way would, as far as it can be known.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

import anyio

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import MidjourneyError, MjciError, Unsupported
from jupyter_mjci.services.midjourney.api import Midjourney, change_to_label

# an id that no proxy has: asking for it tells whether a proxy is there at all
PROBE_ID = "1000000000000000"
MAX_CONCURRENT = 8
# returns the tasks of this proxy that the journal holds, oldest first
KnownTasks = Callable[[], Sequence[Job]]


async def change_via_button(call: Call[Any], mj: Midjourney, _: KnownTasks) -> Job:
    """`change` and `simple-change` as the button of the parent that does the same."""
    told = json.loads(call.body)
    task_id, label = change_to_label(told)
    parent = await mj.task(task_id)
    pressed = mj.action(parent, label, state=told.get("state"), notify_hook=told.get("notifyHook"))
    return await pressed


async def list_via_ids(call: Call[Any], mj: Midjourney, list_known: KnownTasks) -> list[Job]:
    """Tasks by their ids, asked for by the other endpoint's name, else one by one; without ids,
    from the journal.
    """
    if call.method == "GET":
        return await _list_from_journal(mj, list_known)
    try:
        jobs: list[Job] = await replace(call, name="tasks_by_ids", path="/mj/task/list-by-ids")
        return jobs
    except Unsupported:
        return await _fetch_each(mj, json.loads(call.body)["ids"])


async def queue_from_list(_call: Call[Any], mj: Midjourney, _: KnownTasks) -> list[Job]:
    """The queue, derived from the listing: oldest first, what still moves."""
    jobs = await mj.tasks()
    return sorted(
        (job for job in jobs if job.status.is_active),
        key=lambda job: (job.submitted is None, job.submitted),
    )


async def _list_from_journal(mj: Midjourney, list_known: KnownTasks) -> list[Job]:
    """What this toolkit has seen of the proxy, newest first; what still moved then is asked for
    again.
    """
    try:
        await mj.task(PROBE_ID)
    except Unsupported:
        raise  # no proxy here: the address is wrong, and a history would only hide it
    except MidjourneyError:
        pass
    known = [job for job in list_known() if job.id]
    moving = await _fetch_each(mj, [job.id for job in known if job.status.is_active])
    now = {job.id: job for job in moving}
    jobs = [now.get(job.id, job) for job in reversed(known)]
    return sorted(jobs, key=lambda job: (job.submitted is not None, job.submitted), reverse=True)


async def _fetch_each(mj: Midjourney, ids: Sequence[str]) -> list[Job]:
    told: dict[str, Job | MjciError] = {}
    slots = anyio.Semaphore(MAX_CONCURRENT)

    async def one(task_id: str) -> None:
        async with slots:
            try:
                job: Job = await mj.task(task_id)
                told[task_id] = job
            except MjciError as error:  # raised outside: a group would wrap it
                told[task_id] = error

    async with anyio.create_task_group() as group:
        for task_id in ids:
            group.start_soon(one, task_id)
    for answer in told.values():
        if isinstance(answer, MjciError) and getattr(answer, "code", "") != "not_found":
            raise answer
    return [job for task_id in ids if isinstance(job := told[task_id], Job)]


FALLBACKS: dict[str, Callable[[Call[Any], Midjourney, KnownTasks], Awaitable[Any]]] = {
    "change": change_via_button,
    "simple_change": change_via_button,
    "tasks": list_via_ids,
    "queue": queue_from_list,
}
