"""Callbacks delivered: to loopback addresses only, whatever address they are meant for."""

from __future__ import annotations

import asyncio
import ipaddress
from collections import deque
from collections.abc import Iterable
from urllib.parse import urlsplit

import httpx

from jupyter_mjci.emulator.http import WebhookDelivery


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine by its very text: nothing is looked up."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https"):
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class WebhookDispatcher:
    """Delivers callbacks, several at once, each once; what is not for loopback is dropped and
    listed.
    """

    MAX_CONCURRENCY = 16
    TIMEOUT = 5.0

    def __init__(self) -> None:
        self.delivered = 0
        self.failed = 0
        self.dropped_count = 0
        self.dropped: deque[str] = deque(maxlen=1000)
        self._queue: deque[WebhookDelivery] = deque()
        self._worker_count = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def enqueue(self, deliveries: Iterable[WebhookDelivery]) -> None:
        for delivery in deliveries:
            if is_loopback(delivery.url):
                self._queue.append(delivery)
            else:
                self.dropped_count += 1
                self.dropped.append(delivery.url)

    def start(self) -> None:
        """Start carrying, on the running loop; does nothing where none runs, and the post waits."""
        carriers = min(self.MAX_CONCURRENCY - self._worker_count, len(self._queue))
        if carriers <= 0:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._worker_count += carriers
        task = loop.create_task(self._run_workers(carriers))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Until everything handed in so far has been carried."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _run_workers(self, count: int) -> None:
        try:
            # trust_env=False: a proxy from the environment would carry it off this machine.
            limits = httpx.Limits(max_connections=self.MAX_CONCURRENCY)
            async with httpx.AsyncClient(
                trust_env=False, verify=False, timeout=self.TIMEOUT, limits=limits
            ) as client:
                await asyncio.gather(*(self._deliver_queued(client) for _ in range(count)))
        finally:
            self._worker_count -= count

    async def _deliver_queued(self, client: httpx.AsyncClient) -> None:
        while self._queue:
            delivery = self._queue.popleft()
            try:
                answer = await client.post(
                    _resolve_localhost(delivery.url),
                    content=delivery.body,
                    headers=dict(delivery.headers),
                )
                self.delivered += answer.is_success
                self.failed += not answer.is_success
            except (httpx.HTTPError, httpx.InvalidURL, ValueError):
                self.failed += 1


def _resolve_localhost(url: str) -> str:
    """Names under .localhost stay on this machine even where the resolver does not know that."""
    parts = urlsplit(url)
    if not (parts.hostname or "").endswith(".localhost"):
        return url
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"127.0.0.1{port}").geturl()
