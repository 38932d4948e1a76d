"""The background loop: blocking, async and re-entrant callers."""

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


async def compute_answer() -> int:
    await anyio.lowlevel.checkpoint()
    return 42


async def get_thread_name() -> str:
    return threading.current_thread().name


async def numbers() -> AsyncIterator[int]:
    for number in range(3):
        yield number


def test_run_executes_on_background_thread() -> None:
    """Blocking code gets the value."""
    assert event_loop.run(compute_answer()) == 42
    assert event_loop.run(get_thread_name()) == "mjci-engine"


def test_run_async_executes_on_background_thread() -> None:
    async def cell() -> tuple[int, str]:
        return await event_loop.run_async(compute_answer()), await event_loop.run_async(
            get_thread_name()
        )

    assert asyncio.run(cell()) == (42, "mjci-engine")


def test_exceptions_of_work_are_raised() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        event_loop.run(fail())
    with pytest.raises(ZeroDivisionError):
        asyncio.run(event_loop.run_async(fail()))


def test_sync_and_async_iteration_yield_every_item() -> None:
    async def collect() -> list[int]:
        return [
            item async for item in event_loop.iterate_async(event_loop.one_per_chunk(numbers()))
        ]

    assert (
        list(event_loop.iterate_sync(event_loop.one_per_chunk(numbers())))
        == [0, 1, 2]
        == asyncio.run(collect())
    )


def test_empty_chunks_are_skipped() -> None:
    """A page may be empty, and the next one not."""

    async def chunks() -> AsyncIterator[list[int]]:
        for chunk in ([], [1, 2], [], [3]):
            yield chunk

    async def collect() -> list[int]:
        return [item async for item in event_loop.iterate_async(chunks())]

    assert list(event_loop.iterate_sync(chunks())) == [1, 2, 3] == asyncio.run(collect())


def test_accumulated_items_come_as_one_chunk() -> None:
    """Crossing from the background thread costs more than most items."""

    async def work(emit: Callable[[int], None]) -> None:
        for number in range(1000):
            emit(number)

    async def chunks() -> list[int]:
        return [len(chunk) async for chunk in event_loop.stream_from_callback(work)]

    assert event_loop.run(chunks()) == [1000]


def test_leaving_iteration_early_closes_source() -> None:
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


async def sleep_with_slow_cleanup(
    begun: Callable[[], object], ended: list[str]
) -> AsyncIterator[list[int]]:
    """Sleep for ever, and take a while to stop, as closing a connection does."""
    try:
        begun()
        await anyio.sleep(3600)
        yield [1]
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.1)
        ended.append("ended")


def test_interrupted_iteration_closes_source_after_its_read_has_ended() -> None:
    """The interrupt is raised, and no error about a generator that is still running."""
    ended: list[str] = []
    before = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            list(event_loop.iterate_sync(sleep_with_slow_cleanup(_thread.interrupt_main, ended)))
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == ["ended"]


def test_cancelled_iteration_closes_source_after_its_read_has_ended() -> None:
    begun, ended = threading.Event(), list[str]()

    async def iterate() -> None:
        task = asyncio.ensure_future(
            anext(event_loop.iterate_async(sleep_with_slow_cleanup(begun.set, ended)))
        )
        await asyncio.to_thread(begun.wait, 5)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(iterate())
    assert ended == ["ended"]


def test_cancel_runs_finally_of_work() -> None:
    """Also when it is cancelled from another thread."""
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


def test_cancelling_awaiting_task_cancels_work() -> None:
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


def test_run_inside_background_loop_patches_only_its_class() -> None:
    """A listener that calls `run` would deadlock without nest-asyncio, which must change no other
    loop.
    """
    before = asyncio.run, asyncio.Task, asyncio.Future
    # Another test of this process may have patched it, by nest-asyncio2.
    was_patched = hasattr(asyncio.SelectorEventLoop, "_nest_patched")

    async def outer() -> int:
        return event_loop.run(compute_answer()) + event_loop.run(compute_answer())

    assert event_loop.run(outer()) == 84
    assert event_loop.run(compute_answer()) == 42
    is_alone = sys.version_info >= (3, 14) and not was_patched
    assert event_loop.has_patched_asyncio() is is_alone
    if sys.version_info < (3, 14):
        assert (asyncio.run, asyncio.Task, asyncio.Future) == before
        assert not hasattr(asyncio, "_nest_patched")
    assert hasattr(asyncio.SelectorEventLoop, "_nest_patched") is was_patched


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="nest-asyncio2 is used there")
def test_nest_asyncio_is_the_final_release_with_patch_loop() -> None:
    """Its private function is relied on: a release after 1.6.0 would have to be checked."""
    import nest_asyncio

    assert metadata.version("nest-asyncio") == "1.6.0"
    assert inspect.signature(nest_asyncio._patch_loop).parameters.keys() == {"loop"}


def test_nested_run_waits_for_timers_and_tasks() -> None:
    """Of the same loop."""

    async def inner() -> int:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.sleep, 0.01)
        return 1

    async def outer() -> int:
        return event_loop.run(inner())

    assert event_loop.run(outer()) == 1


def test_stream_from_callback_yields_items_and_raises() -> None:
    async def work(emit: Callable[[int], None]) -> None:
        emit(1)
        await anyio.lowlevel.checkpoint()
        emit(2)
        raise ZeroDivisionError

    seen: list[int] = []
    with pytest.raises(ZeroDivisionError):
        seen.extend(event_loop.iterate_sync(event_loop.stream_from_callback(work)))
    items = event_loop.iterate_sync(event_loop.stream_from_callback(work))
    assert (next(items), next(items)) == (1, 2)
    items.close()


def test_leaving_stream_from_callback_early_cancels_producer() -> None:
    ended = threading.Event()

    async def work(emit: Callable[[int], None]) -> None:
        emit(1)
        try:
            await anyio.sleep(3600)
        finally:
            ended.set()

    for _ in event_loop.iterate_sync(event_loop.stream_from_callback(work)):
        break
    assert ended.wait(5)


def _child(queue: multiprocessing.Queue[int]) -> None:
    queue.put(event_loop.run(compute_answer()))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_fork_starts_its_own_background_thread() -> None:
    """Threads do not survive a fork: the child would hang otherwise."""
    event_loop.run(compute_answer())
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    child.start()
    assert queue.get(timeout=20) == 42
    child.join(20)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_fork_while_another_thread_starts_the_loop_does_not_hang() -> None:
    """The child has the lock as it was, and not the thread that would release it."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_child, args=(queue,))
    with event_loop._lock:
        child.start()
    assert queue.get(timeout=20) == 42
    child.join(20)


def test_interpreter_exits_silently_with_running_work() -> None:
    program = (
        "import anyio\nfrom jupyter_mjci.client import event_loop\n"
        "event_loop.start(anyio.sleep(3600))\nprint('done')"
    )
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
def test_nesting_implementation_by_versions(
    monkeypatch: pytest.MonkeyPatch,
    version: tuple[int, ...],
    ipykernel: tuple[int, ...],
    two: str,
    expected: str | None,
) -> None:
    """Combinations that were seen to lose cells are refused."""
    monkeypatch.setattr("importlib.metadata.version", lambda _: two)
    if expected:
        assert event_loop._choose_implementation(version, ipykernel) == expected
    else:
        with pytest.raises(SettingsError):
            event_loop._choose_implementation(version, ipykernel)
