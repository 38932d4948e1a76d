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
from jupyter_mjci.services.midjourney import api as midjourney
from jupyter_mjci.services.tencent_ci import api as tencent_ci
from jupyter_mjci.services.tencent_ci import xml

LIMIT = 4 * 1024 * 1024  # bytes of one delivery
Scope = MutableMapping[str, Any]


class Receiver:
    """Listens on 127.0.0.1 until it is closed. `url` is what a call's `notify_hook` or `callback`
    has to be; it is a secret. `heard` is called with the job of every delivery that tells something
    new.
    """

    def __init__(self, heard: Callable[[Job], None]) -> None:
        self._heard, self._path = heard, f"/{secrets.token_urlsafe(24)}"
        self._ranks: dict[tuple[str, str], float] = {}
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}{self._path}"
        config = uvicorn.Config(
            self._answer,
            interface="asgi3",
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
        )
        self._server = uvicorn.Server(config)
        self._serving = event_loop.spawn(self._server.serve(sockets=[self._socket]))

    def __repr__(self) -> str:
        return f"<receiver at {self.url.removesuffix(self._path)}/…>"

    def close(self) -> None:
        """Listens no more."""
        self._server.should_exit = True
        with contextlib.suppress(Exception):
            self._serving.result()
        self._socket.close()

    def __enter__(self) -> Receiver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _answer(
        self, scope: Scope, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Any]
    ) -> None:
        known = scope["type"] == "http" and secrets.compare_digest(scope["path"], self._path)
        body = await _body(receive) if known else b""
        await send({"type": "http.response.start", "status": 200 if known else 404, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        for job in jobs_in(body):
            if self._is_news(job):
                self._heard(job)

    def _is_news(self, job: Job) -> bool:
        place, rank = (job.service, job.id), rank_of(job)
        if rank <= self._ranks.get(place, -1.0):
            return False
        self._ranks[place] = rank
        return True


def rank_of(job: Job) -> float:
    """How far along a job is: the servers' own order of deliveries."""
    if job.status.final:
        return 3.0
    return {Status.WAITING: 0.0, Status.ASKING: 0.5}.get(
        job.status, 1.0 + (job.progress or 0) / 100
    )


def jobs_in(body: bytes) -> Iterable[Job]:
    """The jobs of a delivery: a proxy's task, or CI's event in JSON or XML, of either shape; else
    none.
    """
    with contextlib.suppress(Exception):  # whatever knocks here must not stop the receiver
        told = _tree(body)
        if "JobsDetail" in told:
            details = told["JobsDetail"]
            return [
                tencent_ci.job_of(one)
                for one in (details if isinstance(details, list) else [details])
            ]
        if told.get("id") and "status" in told:
            return [midjourney.job_of(told)]
    return []


def _tree(body: bytes) -> dict[str, Any]:
    if body.lstrip().startswith(b"<"):
        return dict(xml.read(body)["Response"])
    return dict(json.loads(body))


async def _body(receive: Callable[[], Awaitable[Any]]) -> bytes:
    parts, size, more = [], 0, True
    with anyio.move_on_after(10):
        while more and size <= LIMIT:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
    return b"" if more else b"".join(parts)
