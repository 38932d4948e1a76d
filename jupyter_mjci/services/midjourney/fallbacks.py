"""Another way to the same thing, where a proxy family lacks a call.

The Java family knows no buttons, the .NET family no `change` and no queue, relays no listings at
all. Each detour is taken when the server has said that it has no such endpoint, and says the same
as the direct way would, as far as it can be known.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import anyio

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import MidjourneyError, MjciError, NoSuchEndpoint
from jupyter_mjci.history.journal import Journal
from jupyter_mjci.services.midjourney.api import Midjourney, label_of

T = TypeVar("T")
# an id that no proxy has: asking for it tells whether a proxy is there at all
NOBODY = "1000000000000000"
AT_ONCE = 8


class Desk(Protocol):
    """What a detour works at."""

    mj: Midjourney
    journal: Journal

    async def fetch(self, call: Call[T]) -> T: ...


async def by_button(desk: Desk, call: Call[Any]) -> Job:
    """`change` and `simple-change` as the button of the parent that does the same."""
    told = json.loads(call.body)
    task_id, label = label_of(told)
    parent = await desk.fetch(desk.mj.task(task_id))
    pressed = desk.mj.action(
        parent, label, state=told.get("state"), notify_hook=told.get("notifyHook")
    )
    return await desk.fetch(pressed)


async def listed(desk: Desk, call: Call[Any]) -> list[Job]:
    """Tasks by their ids, asked for by the other endpoint's name, else one by one; without ids,
    from the journal.
    """
    if call.method == "GET":
        return await _remembered(desk)
    try:
        return await desk.fetch(replace(call, name="tasks_by_ids", path="/mj/task/list-by-ids"))
    except NoSuchEndpoint:
        return await _one_by_one(desk, json.loads(call.body)["ids"])


async def queued(desk: Desk, _: Call[Any]) -> list[Job]:
    """The queue, derived from the listing: oldest first, what still moves."""
    jobs = await desk.fetch(desk.mj.tasks())
    return sorted(
        (job for job in jobs if job.status.moving),
        key=lambda job: (job.submitted is None, job.submitted),
    )


async def _remembered(desk: Desk) -> list[Job]:
    """What this toolkit has seen of the proxy, newest first; what still moved then is asked for
    again.
    """
    try:
        await desk.fetch(desk.mj.task(NOBODY))
    except NoSuchEndpoint:
        raise  # no proxy here: the address is wrong, and a history would only hide it
    except MidjourneyError:
        pass
    known = [job for job in desk.journal.here("mj") if job.id]
    moving = await _one_by_one(desk, [job.id for job in known if job.status.moving])
    now = {job.id: job for job in moving}
    jobs = [now.get(job.id, job) for job in reversed(known)]
    return sorted(jobs, key=lambda job: (job.submitted is not None, job.submitted), reverse=True)


async def _one_by_one(desk: Desk, ids: Sequence[str]) -> list[Job]:
    told: dict[str, Job | MjciError] = {}
    slots = anyio.Semaphore(AT_ONCE)

    async def one(task_id: str) -> None:
        async with slots:
            try:
                job: Job = await desk.fetch(desk.mj.task(task_id))
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


DETOURS: dict[str, Callable[[Any, Call[Any]], Awaitable[Any]]] = {
    "change": by_button,
    "simple_change": by_button,
    "tasks": listed,
    "queue": queued,
}
