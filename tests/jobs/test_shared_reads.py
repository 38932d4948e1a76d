"""Equal reads at the same time are sent once, and no response is older than who asked for it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from jupyter_mjci.client.calls import Call, Response
from jupyter_mjci.errors import TransportError
from jupyter_mjci.jobs.shared_reads import SharedReads

pytestmark = pytest.mark.anyio
CALL: Call[Any] = Call("mj", "tasks", "GET", "/mj/task/list", Response.json)


class Server:
    """Answers with the number of the request, when it is let."""

    def __init__(self) -> None:
        self.requests = 0
        self.gates: list[anyio.Event] = []
        self.fails = False

    async def send(self, _: Call[Any]) -> int:
        self.requests += 1
        number = self.requests
        self.gates.append(anyio.Event())
        await self.gates[-1].wait()
        if self.fails:
            raise TransportError("No response.", may_have_been_sent=True)
        return number


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def reads(server: Server) -> SharedReads:
    return SharedReads(server.send)


async def test_reads_during_a_request_share_the_next_one(
    server: Server, reads: SharedReads
) -> None:
    values: list[int] = []

    async def read() -> None:
        values.append(await reads.fetch(CALL))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        assert server.requests == 1
        server.gates[0].set()
        await anyio.wait_all_tasks_blocked()
        server.gates[1].set()
    assert values == [1, 2, 2, 2, 2]
    server.gates.clear()
    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        server.gates[0].set()
    assert values[-1] == 3


async def test_failure_is_that_of_all_who_shared_the_request(
    server: Server, reads: SharedReads
) -> None:
    failures = 0

    async def read() -> None:
        nonlocal failures
        with pytest.raises(TransportError):
            await reads.fetch(CALL)
        failures += 1

    server.fails = True
    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        server.gates[0].set()
        await anyio.wait_all_tasks_blocked()
        server.gates[1].set()
    assert (failures, server.requests) == (4, 2)


@pytest.mark.parametrize("interrupted", [0, 1])
async def test_interrupt_of_who_sends_leaves_out_no_other(
    server: Server, reads: SharedReads, interrupted: int
) -> None:
    """The first one is sending, the second would send next."""
    values: list[int] = []
    scopes = [anyio.CancelScope() for _ in range(4)]

    async def read(scope: anyio.CancelScope) -> None:
        with scope:
            values.append(await reads.fetch(CALL))

    async with anyio.create_task_group() as group:
        for scope in scopes:
            group.start_soon(read, scope)
        await anyio.wait_all_tasks_blocked()
        scopes[interrupted].cancel()
        await anyio.wait_all_tasks_blocked()
        while len(values) < 3:
            for gate in server.gates:
                gate.set()
            await anyio.wait_all_tasks_blocked()
    assert server.requests <= 3
