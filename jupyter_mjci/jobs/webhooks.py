"""Push: a receiver on loopback for the proxies' notifyHook and CI's callbacks, beside the polling,
never instead.

Hooks carry no signature, come twice, late and in disorder, and may never come at all: relays drop
them silently. So the address holds a secret path, every delivery is ranked (what is behind what was
seen already is dropped), and whoever follows a job polls on.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import anyio
import uvicorn

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.services.midjourney import responses as midjourney
from jupyter_mjci.services.tencent_ci import responses as tencent_ci
from jupyter_mjci.services.tencent_ci import xml

MAX_BODY_SIZE = 4 * 1024 * 1024  # bytes of one delivery
Scope = MutableMapping[str, Any]


class WebhookServer:
    """Listens on 127.0.0.1 until it is closed. `url` is what a call's `notify_hook` or `callback`
    has to be; it is a secret. `on_job` is called with the job of every delivery that tells something
    new.
    """

    def __init__(self, on_job: Callable[[Job], None]) -> None:
        self._on_job, self._path = on_job, f"/{secrets.token_urlsafe(24)}"
        self._ranks: dict[tuple[str, str], float] = {}
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}{self._path}"
        config = uvicorn.Config(
            self._handle_request,
            interface="asgi3",
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self._server_task = event_loop.start(self._server.serve(sockets=[self._socket]))

    def __repr__(self) -> str:
        return f"<receiver at {self.url.removesuffix(self._path)}/…>"

    def close(self) -> None:
        """Listens no more."""
        self._server.should_exit = True
        with contextlib.suppress(Exception):
            self._server_task.result()
        self._socket.close()

    def __enter__(self) -> WebhookServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _handle_request(
        self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]
    ) -> None:
        known = scope["type"] == "http" and secrets.compare_digest(scope["path"], self._path)
        body = await _read_body(receive) if known else b""
        await send({"type": "http.response.start", "status": 200 if known else 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        for job in parse_webhook(body):
            if self._accept_if_newer(job):
                self._on_job(job)

    def _accept_if_newer(self, job: Job) -> bool:
        place, rank = (job.service, job.id), progress_rank(job)
        if rank <= self._ranks.get(place, -1.0):
            return False
        self._ranks[place] = rank
        return True


def progress_rank(job: Job) -> float:
    """How far along a job is: the servers' own order of deliveries."""
    if job.status.is_terminal:
        return 3.0
    return {Status.QUEUED: 0.0, Status.NEEDS_INPUT: 0.5}.get(
        job.status, 1.0 + (job.progress or 0) / 100
    )


def parse_webhook(body: bytes) -> Iterable[Job]:
    """The jobs of a delivery: a proxy's task, or CI's event in JSON or XML, of either shape; else
    none.
    """
    with contextlib.suppress(Exception):  # whatever knocks here must not stop the receiver
        told = _parse_body(body)
        if "JobsDetail" in told:
            details = told["JobsDetail"]
            return [
                tencent_ci.parse_job(one)
                for one in (details if isinstance(details, list) else [details])
            ]
        if told.get("id") and "status" in told:
            return [midjourney.parse_job(told)]
    return []


def _parse_body(body: bytes) -> dict[str, Any]:
    if body.lstrip().startswith(b"<"):
        return dict(xml.parse(body)["Response"])
    return dict(json.loads(body))


async def _read_body(receive: Callable[[], Awaitable[Any]]) -> bytes:
    parts, size, more = [], 0, True
    with anyio.move_on_after(10):
        while more and size <= MAX_BODY_SIZE:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
    return b"" if more else b"".join(parts)
