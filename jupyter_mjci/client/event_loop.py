"""Blocking code meets the event loop: one engine thread, one private loop, and never the kernel's
own.

Nesting on a kernel's loop loses the cells queued behind a blocking one (ipykernel >= 7.1), so all
I/O happens on a daemon thread's loop. `run` waits for it in short slices, so that an interrupt
arrives; `run_async` is the same for `await`, on whatever loop the caller has. Both end by cancelling an
anyio scope from outside: native cancellation around httpx leaks pool slots for ever, anyio scopes
leak none.

The home of nest-asyncio: it makes only the engine's own loop re-entrant, and only for a listener
that calls `run` from inside it, which would otherwise deadlock.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import math
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Sequence
from typing import Any, Generic, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from jupyter_mjci.errors import SettingsError

T = TypeVar("T")
WAIT_SLICE = 0.2  # seconds: how late an interrupt may arrive


class PrivateEventLoop(asyncio.SelectorEventLoop):
    """Our loop's own class, so that making it re-entrant changes no other loop."""


class LoopThread:
    """A daemon thread with a running loop."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = PrivateEventLoop()
        self.thread = threading.Thread(target=self._run_loop, name="mjci-engine", daemon=True)
        self.thread.start()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


_loop_thread: LoopThread | None = None
_lock = threading.Lock()


def get_loop_thread() -> LoopThread:
    """The engine, started on first use and started anew after a fork (threads do not survive
    one).
    """
    global _loop_thread
    with _lock:
        if _loop_thread is None or _loop_thread.pid != os.getpid():
            _loop_thread = LoopThread()
        return _loop_thread


class BackgroundTask(Generic[T]):
    """Work under way on the engine. `cancel` ends it from any thread; `result` waits for it in
    slices.
    """

    def __init__(self, coro: Coroutine[Any, Any, T]) -> None:
        self._scope: anyio.CancelScope | None = None
        self._cancel_requested = False
        self._loop_thread = get_loop_thread()
        context = contextvars.copy_context()
        self.future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._loop_thread.loop.call_soon_threadsafe(self._start, coro, context=context)

    def _start(self, coro: Coroutine[Any, Any, T]) -> None:
        # The loop keeps only weak references to its tasks.
        self._task = asyncio.ensure_future(self._run(coro))

    async def _run(self, coro: Coroutine[Any, Any, T]) -> None:
        try:
            with anyio.CancelScope() as self._scope:
                if self._cancel_requested:
                    self._scope.cancel()
                value = await coro
        except BaseException as error:
            self.future.set_exception(error)
        else:
            if self._scope.cancelled_caught:
                self.future.cancel()
                self.future.set_running_or_notify_cancel()
            else:
                self.future.set_result(value)

    def _cancel_now(self) -> None:
        if self._scope is not None:
            self._scope.cancel()

    def done(self) -> bool:
        return self.future.done()

    def cancel(self) -> None:
        self._cancel_requested = True
        self._loop_thread.loop.call_soon_threadsafe(self._cancel_now)

    def result(self) -> T:
        try:
            while True:
                try:
                    return self.future.result(WAIT_SLICE)
                except concurrent.futures.TimeoutError:
                    if self.future.done():
                        return self.future.result()
        except BaseException:  # KeyboardInterrupt lands here, never inside the HTTP library
            if not self.future.done():
                self.cancel()
            raise

    async def _wait_result(self) -> T:
        wrapped = asyncio.wrap_future(self.future)
        try:
            while not wrapped.done():
                # The heartbeat: a kernel notices ■ in an await cell only when its loop wakes.
                await asyncio.wait({wrapped}, timeout=WAIT_SLICE)
            return wrapped.result()
        finally:
            if not self.future.done():
                self.cancel()

    def __await__(self) -> Generator[Any, None, T]:
        return self._wait_result().__await__()


def start(coro: Coroutine[Any, Any, T]) -> BackgroundTask[T]:
    """Starts the work on the engine and returns at once."""
    return BackgroundTask(coro)


def run(coro: Coroutine[Any, Any, T]) -> T:
    """Carries out the work on the engine and blocks until it is done. An interrupt cancels it and
    is raised.
    """
    if threading.current_thread() is get_loop_thread().thread:
        return _run_reentrant(coro)
    return BackgroundTask(coro).result()


async def run_async(coro: Coroutine[Any, Any, T]) -> T:
    """The same for `await`, from any loop: the work itself always happens on the engine."""
    if asyncio.get_running_loop() is get_loop_thread().loop:
        return await coro
    return await BackgroundTask(coro)


def iterate_sync(source: AsyncIterator[Sequence[T]]) -> Iterator[T]:
    """What comes in bunches, walked one by one by blocking code; closed when the walk ends early.
    Each bunch crosses from the engine's thread once, however many are in it.
    """
    walk = _ChunkReader(source)
    try:
        while bunch := run(walk.read_chunk()):
            yield from bunch
    finally:
        run(walk.close())


async def iterate_async(source: AsyncIterator[Sequence[T]]) -> AsyncIterator[T]:
    """The same, walked from any loop."""
    walk = _ChunkReader(source)
    try:
        while bunch := await run_async(walk.read_chunk()):
            for item in bunch:
                yield item
    finally:
        await run_async(walk.close())


async def one_per_chunk(source: AsyncIterator[T]) -> AsyncIterator[Sequence[T]]:
    """For what is worth crossing for by itself."""
    async with contextlib.aclosing(source) as items:  # type: ignore[type-var]
        async for item in items:
            yield (item,)


async def stream_from_callback(
    producer: Callable[[Callable[[T], None]], Coroutine[Any, Any, None]],
) -> AsyncIterator[Sequence[T]]:
    """What `producer` hands to its argument: the next, and with it whatever else has come meanwhile. It
    runs in a task of its own, because a task group or a cancel scope must not be left open across a
    `yield`; ending the walk cancels it.
    """
    send, receive = anyio.create_memory_object_stream[T](math.inf)

    async def turn() -> None:
        async with send:
            await producer(send.send_nowait)

    handle = start(turn())
    try:
        async with receive:
            async for item in receive:
                yield [item, *_drain(receive)]
        await handle
    finally:
        if not handle.done():
            handle.cancel()


def _drain(stream: MemoryObjectReceiveStream[T]) -> Iterator[T]:
    with contextlib.suppress(anyio.WouldBlock, anyio.EndOfStream):
        while True:
            yield stream.receive_nowait()


class _ChunkReader(Generic[T]):
    """A source, a step at a time. An interrupted step is over a little later than its caller; the
    end waits for it.
    """

    def __init__(self, source: AsyncIterator[Sequence[T]]) -> None:
        self.source, self.lock = source, asyncio.Lock()
        self.scope: anyio.CancelScope | None = None

    async def read_chunk(self) -> Sequence[T]:
        """The next bunch that holds anything; an empty one is the end."""
        async with self.lock:
            with anyio.CancelScope() as self.scope:
                async for bunch in self.source:
                    if bunch:
                        return bunch
        return ()

    async def close(self) -> None:
        if self.scope is not None:
            # an interrupt may come before anybody waits for the step, who would cancel it
            self.scope.cancel()
        close = getattr(self.source, "aclose", None)
        if close is not None:
            async with self.lock:
                await close()


def _run_reentrant(coro: Coroutine[Any, Any, T]) -> T:
    """`run` called on the engine's own thread, by a listener: the loop has to be entered a second
    time.
    """
    loop = get_loop_thread().loop
    if not hasattr(PrivateEventLoop, "_nest_patched"):
        _make_reentrant(loop)
    return loop.run_until_complete(coro)


def _make_reentrant(loop: PrivateEventLoop) -> None:
    """Changes our loop's class and nothing else, where that can be had: `apply` would replace
    asyncio's Task and `asyncio.run` in the whole process. From Python 3.14 on only nest-asyncio2
    works, and only whole.
    """
    if sys.version_info >= (3, 14):
        import nest_asyncio2

        nest_asyncio2.apply(loop)
    else:
        import nest_asyncio

        nest_asyncio._patch_loop(loop)


def enable_nested_loops(
    version: tuple[Any, ...] = sys.version_info, ipykernel: tuple[int, ...] = (0,)
) -> str:
    """Makes the caller's own running loop re-entrant (`asyncio.run` in a cell). Returns the
    implementation's name.

    Raises SettingsError where no installed implementation is safe.
    """
    name = _choose_implementation(version, ipykernel)
    module = __import__(name)
    module.apply()
    return name


def _choose_implementation(version: tuple[int, ...], ipykernel: tuple[int, ...]) -> str:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    with contextlib.suppress(PackageNotFoundError):
        release = tuple(
            int(part) for part in installed("nest-asyncio2").split(".")[:3] if part.isdigit()
        )
        if release >= (1, 7, 3):
            return "nest_asyncio2"
    if version < (3, 14) and ipykernel < (7, 1):
        return "nest_asyncio"
    raise SettingsError(
        "Nested event loops are not safe here.",
        detail="nest-asyncio breaks httpx on Python 3.14 and loses queued cells under ipykernel 7.1 and later.",
        hint="pip install 'nest-asyncio2>=1.7.3', or use `await` in cells, which needs no nesting.",
    )
