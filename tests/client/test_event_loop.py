"""The engine: blocking code, awaiting code and re-entrant listeners meet one loop."""

from __future__ import annotations

import _thread
import asyncio
import inspect
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from importlib import metadata

import anyio
import anyio.lowlevel
import pytest

from jupyter_mjci.client import event_loop
from jupyter_mjci.errors import SettingsError


async def answer() -> int:
    await anyio.lowlevel.checkpoint()
    return 42


async def here() -> str:
    return threading.current_thread().name


async def numbers() -> AsyncIterator[int]:
    for number in range(3):
        yield number


def test_run_happens_on_the_engine() -> None:
    """Blocking code gets the value; the work ran on the engine's thread."""
    assert event_loop.run(answer()) == 42
    assert event_loop.run(here()) == "mjci-engine"


def test_await_happens_on_the_engine_too() -> None:
    async def cell() -> tuple[int, str]:
        return await event_loop.run_async(answer()), await event_loop.run_async(here())

    assert asyncio.run(cell()) == (42, "mjci-engine")


def test_errors_come_through() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        event_loop.run(fail())
    with pytest.raises(ZeroDivisionError):
        asyncio.run(event_loop.run_async(fail()))


def test_both_iterations_give_every_item() -> None:
    async def collect() -> list[int]:
        return [
            item async for item in event_loop.iterate_async(event_loop.one_per_chunk(numbers()))
        ]

    assert (
        list(event_loop.iterate_sync(event_loop.one_per_chunk(numbers())))
        == [0, 1, 2]
        == asyncio.run(collect())
    )


def test_an_empty_bunch_is_not_the_end() -> None:
    """A page may hold nothing, and the next one something."""

    async def bunches() -> AsyncIterator[list[int]]:
        for bunch in ([], [1, 2], [], [3]):
            yield bunch

    async def collect() -> list[int]:
        return [item async for item in event_loop.iterate_async(bunches())]

    assert list(event_loop.iterate_sync(bunches())) == [1, 2, 3] == asyncio.run(collect())


def test_what_has_come_meanwhile_crosses_together() -> None:
    """A crossing from the engine's thread costs more than most items."""

    async def work(hand_out: Callable[[int], None]) -> None:
        for number in range(1000):
            hand_out(number)

    async def bunches() -> list[int]:
        return [len(bunch) async for bunch in event_loop.stream_from_callback(work)]

    assert event_loop.run(bunches()) == [1000]


def test_leaving_an_iteration_early_closes_its_source() -> None:
    closed = threading.Event()

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    for _ in event_loop.iterate_sync(event_loop.one_per_chunk(endless())):
        break
    assert closed.wait(5)


async def long_to_end(begun: Callable[[], object], ended: list[str]) -> AsyncIterator[list[int]]:
    """Waits for ever, and takes a while to stop, as what closes a connection does."""
    try:
        begun()
        await anyio.sleep(3600)
        yield [1]
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.1)
        ended.append("ended")


def test_an_interrupted_walk_is_closed_once_its_step_has_ended() -> None:
    """The interrupt is raised, and nothing about a generator that is still running."""
    ended: list[str] = []
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            list(event_loop.iterate_sync(long_to_end(_thread.interrupt_main, ended)))
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == ["ended"]


def test_a_cancelled_walk_is_closed_once_its_step_has_ended() -> None:
    begun, ended = threading.Event(), list[str]()

    async def walk() -> None:
        task = asyncio.ensure_future(anext(event_loop.iterate_async(long_to_end(begun.set, ended))))
        await asyncio.to_thread(begun.wait, 5)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(walk())
    assert ended == ["ended"]


def test_cancel_ends_the_work() -> None:
    """A cancelled handle's work sees a cancellation and its `finally` runs."""
    begun, ended = threading.Event(), threading.Event()

    async def forever() -> None:
        begun.set()
        try:
            await anyio.sleep(3600)
        finally:
            ended.set()

    handle = event_loop.start(forever())
    assert begun.wait(5)
    handle.cancel()
    assert ended.wait(5)
    with pytest.raises(BaseException):  # noqa: B017, PT011 - concurrent.futures' CancelledError
        handle.result()


def test_cancelling_an_awaiting_task_ends_the_work() -> None:
    ended = threading.Event()

    async def forever() -> None:
        try:
            await anyio.sleep(3600)
        finally:
            ended.set()

    async def cell() -> None:
        task = asyncio.ensure_future(event_loop.run_async(forever()))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cell())
    assert ended.wait(5)


def test_a_listener_on_the_engine_may_block_for_it() -> None:
    """`run` from inside the engine's loop would deadlock; nest-asyncio makes our loop, and only
    ours, re-entrant.
    """
    before = asyncio.run, asyncio.Task, asyncio.Future

    async def outer() -> int:
        return event_loop.run(answer()) + event_loop.run(answer())

    assert event_loop.run(outer()) == 84
    assert event_loop.run(answer()) == 42
    if sys.version_info < (3, 14):
        assert (asyncio.run, asyncio.Task, asyncio.Future) == before
        assert not hasattr(asyncio, "_nest_patched")
    assert not hasattr(asyncio.SelectorEventLoop, "_nest_patched")


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="nest-asyncio2 is used there")
def test_nest_asyncio_is_the_final_release_with_patch_loop() -> None:
    """Its private function is relied on: a release after 1.6.0 would have to be checked."""
    import nest_asyncio

    assert metadata.version("nest-asyncio") == "1.6.0"
    assert inspect.signature(nest_asyncio._patch_loop).parameters.keys() == {"loop"}


def test_nested_work_may_really_wait() -> None:
    """The inner work waits for timers and for other tasks of the same loop."""

    async def inner() -> int:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0.01)
        return 1

    async def outer() -> int:
        return event_loop.run(inner())

    assert event_loop.run(outer()) == 1


def test_produced_hands_out_and_raises() -> None:
    async def work(hand_out: Callable[[int], None]) -> None:
        hand_out(1)
        await anyio.lowlevel.checkpoint()
        hand_out(2)
        raise ZeroDivisionError

    seen: list[int] = []
    with pytest.raises(ZeroDivisionError):
        seen.extend(event_loop.iterate_sync(event_loop.stream_from_callback(work)))
    walked = event_loop.iterate_sync(event_loop.stream_from_callback(work))
    assert (next(walked), next(walked)) == (1, 2)
    walked.close()


def test_leaving_produced_early_cancels_its_work() -> None:
    ended = threading.Event()

    async def work(hand_out: Callable[[int], None]) -> None:
        hand_out(1)
        try:
            await anyio.sleep(3600)
        finally:
            ended.set()

    for _ in event_loop.iterate_sync(event_loop.stream_from_callback(work)):
        break
    assert ended.wait(5)


def _child(queue: multiprocessing.Queue[int]) -> None:
    queue.put(event_loop.run(answer()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_gets_an_engine_of_its_own() -> None:
    """Threads do not survive a fork: the child starts the engine anew instead of hanging."""
    event_loop.run(answer())
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    assert queue.get(timeout=20) == 42
    child.join(20)


def test_the_interpreter_ends_silently_with_work_under_way() -> None:
    program = "import anyio\nfrom jupyter_mjci.client import event_loop\nevent_loop.start(anyio.sleep(3600))\nprint('done')"
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, "done")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("version", "ipykernel", "two", "expected"),
    [
        ((3, 11), (7, 4), "1.7.4", "nest_asyncio2"),
        ((3, 14), (7, 4), "1.7.4", "nest_asyncio2"),
        ((3, 11), (6, 31), "1.7.2", "nest_asyncio"),
        ((3, 11), (7, 4), "1.7.2", None),
        ((3, 14), (6, 31), "1.7.0", None),
    ],
)
def test_which_nesting_is_safe(
    monkeypatch: pytest.MonkeyPatch,
    version: tuple[int, ...],
    ipykernel: tuple[int, ...],
    two: str,
    expected: str | None,
) -> None:
    """The table of what was seen to work: refuse rather than lose cells."""
    monkeypatch.setattr("importlib.metadata.version", lambda _: two)
    if expected:
        assert event_loop._choose_implementation(version, ipykernel) == expected
    else:
        with pytest.raises(SettingsError):
            event_loop._choose_implementation(version, ipykernel)
