"""Request coalescing: who shares a request, and who needs one of their own."""

from __future__ import annotations

import anyio
import pytest

from jupyter_mjci.jobs.coalescing import RequestCoalescer

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Server:
    """Answers each request when it is allowed to, with the request's number."""

    def __init__(self) -> None:
        self.requests = 0
        self.fails = False
        self.may_answer = anyio.Event()

    async def answer(self) -> int:
        self.requests += 1
        number = self.requests
        await self.may_answer.wait()
        if self.fails:
            raise ConnectionError(f"request {number}")
        return number


async def test_a_request_is_shared_by_those_who_asked_before_it_left() -> None:
    coalescer, server = RequestCoalescer[int](), Server()
    answers = []

    async def ask(key: str = "listing") -> None:
        answers.append(await coalescer.send(key, server.answer))

    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        for _ in range(20):  # while the first is under way, which may have missed what they seek
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        assert server.requests == 1
        server.may_answer.set()
    assert sorted(answers) == [1] + [2] * 20

    await ask()
    await ask("another listing")
    assert answers[-2:] == [3, 4]
    assert not coalescer._exchanges


async def test_all_who_share_a_request_hear_of_its_failure() -> None:
    coalescer, server = RequestCoalescer[int](), Server()
    failures = []

    async def ask() -> None:
        try:
            await coalescer.send("listing", server.answer)
        except ConnectionError as error:
            failures.append(str(error))

    server.fails = True
    async with anyio.create_task_group() as group:
        group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        for _ in range(5):
            group.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        server.may_answer.set()
    assert failures == ["request 1"] + ["request 2"] * 5
    server.fails = False
    assert await coalescer.send("listing", server.answer) == 3


async def test_who_is_cancelled_leaves_the_request_to_the_next() -> None:
    coalescer, server = RequestCoalescer[int](), Server()
    answers = []

    async def ask(scope: anyio.CancelScope) -> None:
        with scope:
            answers.append(await coalescer.send("listing", server.answer))

    scopes = [anyio.CancelScope() for _ in range(3)]
    async with anyio.create_task_group() as group:
        for scope in scopes:
            group.start_soon(ask, scope)
        await anyio.wait_all_tasks_blocked()
        scopes[0].cancel()
        scopes[2].cancel()
        await anyio.wait_all_tasks_blocked()
        server.may_answer.set()
    assert answers == [2]
