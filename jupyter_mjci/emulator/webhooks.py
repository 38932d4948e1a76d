"""Delivery of callbacks: to loopback addresses only, whatever address a job names.

A delivery to another address, or to a port that was not asked
for, is dropped and listed, so nothing that the sandbox does leaves
this machine, or reaches another service of it.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import deque
from collections.abc import Iterable
from urllib.parse import urlsplit

import httpx

from jupyter_mjci.emulator.http import WebhookDelivery

DEFAULT_PORTS = {"http": 80, "https": 443}


def is_loopback(url: str) -> bool:
    """Return whether the text of a URL names this machine; no name is resolved."""
    return find_loopback_port(url) is not None


def find_loopback_port(url: str) -> int | None:
    """Return the port that a URL names on this machine, None for what is not on it."""
    try:
        parts = urlsplit(url)
        # raises ValueError for a port that is not a number
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    return port if port and _is_loopback_host(parts.hostname or "") else None


def _is_loopback_host(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class WebhookDispatcher:
    """Delivers callbacks, each once, several at a time.

    `delivered`, `failed` and `dropped_count` count them;
    `dropped` holds the latest URLs that nothing is sent to.

    Args:
        ports: the ports on this machine that deliveries may go
            to, None for any
    """

    MAX_CONCURRENCY = 16
    TIMEOUT = 5.0  # seconds

    def __init__(self, ports: Iterable[int] | None = None) -> None:
        self.ports = None if ports is None else set(ports)
        self.delivered = 0
        self.failed = 0
        self.dropped_count = 0
        self.dropped: deque[str] = deque(maxlen=1000)
        self._queue: deque[WebhookDelivery] = deque()
        self._worker_count = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def enqueue(self, deliveries: Iterable[WebhookDelivery]) -> None:
        """Queue deliveries; drop those that are not for loopback, or not for an allowed port."""
        for delivery in deliveries:
            port = find_loopback_port(delivery.url)
            if port is not None and (self.ports is None or port in self.ports):
                self._queue.append(delivery)
            else:
                self.dropped_count += 1
                self.dropped.append(delivery.url)

    def start(self) -> None:
        """Start workers on the running event loop; without one the deliveries stay queued."""
        workers = min(self.MAX_CONCURRENCY - self._worker_count, len(self._queue))
        if workers <= 0:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._worker_count += workers
        task = loop.create_task(self._run_workers(workers))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def drain(self) -> None:
        """Wait until everything that was queued so far has been delivered or has failed."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _run_workers(self, count: int) -> None:
        try:
            # trust_env=False: a proxy from the environment would
            # take the request off this machine.
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
            url = _resolve_localhost(delivery.url)
            headers = dict(delivery.headers)
            try:
                response = await client.post(url, content=delivery.body, headers=headers)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError):
                self.failed += 1
                continue
            if response.is_success:
                self.delivered += 1
            else:
                self.failed += 1


def _resolve_localhost(url: str) -> str:
    """Replace a name under .localhost by its address: not every resolver knows such names."""
    parts = urlsplit(url)
    if not (parts.hostname or "").endswith(".localhost"):
        return url
    port = f":{parts.port}" if parts.port else ""
    return parts._replace(netloc=f"127.0.0.1{port}").geturl()
