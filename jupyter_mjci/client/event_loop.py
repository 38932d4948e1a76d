"""Run coroutines on a private event loop in a background thread.

Nesting on a kernel's own loop loses the cells queued behind a
blocking one (ipykernel >= 7.1), so all I/O happens on the loop of
one daemon thread. `run` waits for it in short slices, so that an
interrupt is noticed; `run_async` is the same for `await`, on
whatever loop the caller has. Both cancel by an anyio scope from
outside: native cancellation around httpx (`Task.cancel`,
`asyncio.timeout`) leaks pool slots for good, anyio scopes leak
none.

anyio's `BlockingPortal` was tried in place of `LoopThread` and
`BackgroundTask`: its future counts as done before the cancelled
work has ended, it cannot be used from its own thread, a
`SystemExit` of one task ends it for all, and the interpreter
hangs at its exit while work is in progress.

This module is also the only one that imports nest-asyncio. It
makes only our own loop re-entrant, and only for a listener that
calls `run` from inside it, which would deadlock otherwise.
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
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Sequence,
)
from typing import Generic, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from jupyter_mjci.errors import SettingsError

T = TypeVar("T")
WAIT_SLICE = 0.2  # seconds: how late an interrupt may be noticed


class PrivateEventLoop(asyncio.SelectorEventLoop):
    """A class of its own, so that making it re-entrant changes no other loop."""


class LoopThread:
    """A daemon thread with a running loop."""

    def __init__(self) -> None:
        self.loop = PrivateEventLoop()
        self.thread = threading.Thread(target=self._run_loop, name="mjci-engine", daemon=True)
        self.thread.start()

    def _run_loop(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()


_loop_thread: LoopThread | None = None
_lock = threading.Lock()


def get_loop_thread() -> LoopThread:
    """Return the background thread. It is started on first use,
    and again after a fork, because threads do not survive one.
    """
    global _loop_thread
    with _lock:
        if _loop_thread is None:
            _loop_thread = LoopThread()
        return _loop_thread


def _reset_in_child() -> None:
    """Forget the thread of the parent, and a lock that another of its threads may have held."""
    global _loop_thread, _lock
    _loop_thread = None
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)


class BackgroundTask(Generic[T]):
    """A coroutine running on the background loop: wait for it
    with `result` or `await`, end it with `cancel` from any
    thread. `future` is done only when the work has really ended.
    """

    def __init__(self, work: Awaitable[T]) -> None:
        self._scope: anyio.CancelScope | None = None
        self._cancel_requested = False
        self._loop_thread = get_loop_thread()
        self.future: concurrent.futures.Future[T] = concurrent.futures.Future()
        context = contextvars.copy_context()
        self._loop_thread.loop.call_soon_threadsafe(self._start, work, context=context)

    def _start(self, work: Awaitable[T]) -> None:
        # The loop keeps only weak references to its tasks.
        self._task = asyncio.ensure_future(self._run(work))

    async def _run(self, work: Awaitable[T]) -> None:
        try:
            with anyio.CancelScope() as self._scope:
                if self._cancel_requested:
                    self._scope.cancel()
                value = await work
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
        """Wait for the value. An interrupt cancels the work."""
        try:
            while True:
                try:
                    return self.future.result(WAIT_SLICE)
                except concurrent.futures.TimeoutError:
                    # The slice is over, or the work raised a
                    # TimeoutError.
                    if self.future.done():
                        return self.future.result()
        except BaseException:  # KeyboardInterrupt, never inside the HTTP library
            if not self.future.done():
                self.cancel()
            raise

    async def _wait_result(self) -> T:
        wrapped = asyncio.wrap_future(self.future)
        try:
            while not wrapped.done():
                # A kernel notices ■ in an await cell only when
                # its loop wakes.
                await asyncio.wait({wrapped}, timeout=WAIT_SLICE)
            return wrapped.result()
        finally:
            if not self.future.done():
                self.cancel()

    def __await__(self) -> Generator[object, None, T]:
        return self._wait_result().__await__()


def start(work: Awaitable[T]) -> BackgroundTask[T]:
    """Start the work on the background loop and return at once."""
    return BackgroundTask(work)


def run(work: Awaitable[T]) -> T:
    """Run the work on the background loop and block until it is
    done. An interrupt cancels it and is raised.
    """
    if threading.current_thread() is get_loop_thread().thread:
        return _run_reentrant(work)
    return BackgroundTask(work).result()


async def run_async(work: Awaitable[T]) -> T:
    """Run the work on the background loop and await it, from any loop."""
    if asyncio.get_running_loop() is get_loop_thread().loop:
        return await work
    return await BackgroundTask(work)


# --- streams ----------------------------------------------


def iterate_sync(source: AsyncIterator[Sequence[T]]) -> Iterator[T]:
    """Yield the items of a chunked source to blocking code, and
    close it when the iteration ends early. Crossing from the
    background thread costs once per chunk, not per item.
    """
    reader = _ChunkReader(source)
    try:
        while chunk := run(reader.read_chunk()):
            yield from chunk
    finally:
        run(reader.close())


async def iterate_async(source: AsyncIterator[Sequence[T]]) -> AsyncIterator[T]:
    """Yield the items of a chunked source to async code, on any loop."""
    reader = _ChunkReader(source)
    try:
        while chunk := await run_async(reader.read_chunk()):
            for item in chunk:
                yield item
    finally:
        await run_async(reader.close())


async def one_per_chunk(source: AsyncIterator[T]) -> AsyncIterator[Sequence[T]]:
    """Yield each item as a chunk of its own."""
    try:
        async for item in source:
            yield (item,)
    finally:
        await _close_source(source)


async def stream_from_callback(
    producer: Callable[[Callable[[T], None]], Awaitable[None]],
) -> AsyncIterator[Sequence[T]]:
    """Yield what `producer` passes to the callback it is given;
    items that accumulate while the consumer is busy come as one
    chunk.

    The producer runs in a task of its own, because a task group
    or a cancel scope must not stay open across a `yield`. Ending
    the iteration cancels it.
    """
    send, receive = anyio.create_memory_object_stream[T](math.inf)

    async def produce() -> None:
        async with send:
            await producer(send.send_nowait)

    task = start(produce())
    try:
        async with receive:
            async for item in receive:
                yield [item, *_drain(receive)]
        await task
    finally:
        if not task.done():
            task.cancel()


def _drain(stream: MemoryObjectReceiveStream[T]) -> Iterator[T]:
    with contextlib.suppress(anyio.WouldBlock, anyio.EndOfStream):
        while True:
            yield stream.receive_nowait()


class _ChunkReader(Generic[T]):
    """Read a source chunk by chunk. A read that was interrupted
    ends a little later than its caller; closing waits for it,
    because a running generator cannot be closed.
    """

    def __init__(self, source: AsyncIterator[Sequence[T]]) -> None:
        self.source = source
        self.lock = asyncio.Lock()
        self.scope: anyio.CancelScope | None = None

    async def read_chunk(self) -> Sequence[T]:
        """Return the next chunk that is not empty; an empty one means the end."""
        async with self.lock:
            with anyio.CancelScope() as self.scope:
                async for chunk in self.source:
                    if chunk:
                        return chunk
        return ()

    async def close(self) -> None:
        if self.scope is not None:
            # The interrupt may have come before the read could be
            # cancelled.
            self.scope.cancel()
        async with self.lock:
            await _close_source(self.source)


async def _close_source(source: AsyncIterator[object]) -> None:
    if isinstance(source, AsyncGenerator):
        await source.aclose()


# --- nested loops -----------------------------------------


def _run_reentrant(work: Awaitable[T]) -> T:
    """Run the work from inside the background loop: a listener has called `run`."""
    loop = get_loop_thread().loop
    if not hasattr(PrivateEventLoop, "_nest_patched"):
        _make_reentrant(loop)
    return loop.run_until_complete(work)


def _make_reentrant(loop: PrivateEventLoop) -> None:
    """Make our loop's class re-entrant, and nothing else where that is possible.

    `nest_asyncio.apply` would replace asyncio's Task and
    `asyncio.run` in the whole process; its private `_patch_loop`
    changes the one class. 1.6.0 is the final release of
    nest-asyncio (its repository is archived), so the function
    stays; a test checks both. From Python 3.14 on only
    nest-asyncio2 works, and only with `apply`.
    """
    if sys.version_info >= (3, 14):
        import nest_asyncio2

        nest_asyncio2.apply(loop)
    else:
        import nest_asyncio

        nest_asyncio._patch_loop(loop)


def has_patched_asyncio() -> bool:
    """Return whether asyncio is patched for our own loop alone, as from Python 3.14 on."""
    # A class inherits the mark of one that another library has patched.
    is_foreign = hasattr(asyncio.SelectorEventLoop, "_nest_patched")
    is_ours = "_nest_patched" in vars(PrivateEventLoop)
    return sys.version_info >= (3, 14) and is_ours and not is_foreign


def enable_nested_loops(
    version: tuple[int, ...] = sys.version_info[:2], ipykernel: tuple[int, ...] = (0,)
) -> str:
    """Make the caller's own running loop re-entrant, for `asyncio.run` in a cell.

    Returns:
        The name of the implementation: nest_asyncio or
            nest_asyncio2.

    Raises:
        SettingsError: no installed implementation is safe with
            these versions.
    """
    name = _choose_implementation(version, ipykernel)
    __import__(name).apply()
    return name


def _choose_implementation(version: tuple[int, ...], ipykernel: tuple[int, ...]) -> str:
    from importlib import metadata

    with contextlib.suppress(metadata.PackageNotFoundError):
        parts = metadata.version("nest-asyncio2").split(".")[:3]
        if tuple(int(part) for part in parts if part.isdigit()) >= (1, 7, 3):
            return "nest_asyncio2"
    if version < (3, 14) and ipykernel < (7, 1):
        return "nest_asyncio"
    raise SettingsError(
        "Nested event loops are not safe here.",
        detail="nest-asyncio breaks httpx on Python 3.14 and loses queued cells under ipykernel "
        "7.1 and later.",
        hint="pip install 'nest-asyncio2>=1.7.3', or use `await` in cells, which needs no nesting.",
    )
