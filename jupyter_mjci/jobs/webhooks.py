"""Receive the proxies' notifyHook and CI's callbacks on loopback, in addition to polling.

Webhooks carry no signature, arrive twice, late and out of order,
or never: relays drop them silently. So the URL contains a secret
path, a delivery that is behind an earlier one is dropped, and
followed jobs are polled all the same.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import anyio
import uvicorn

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job, is_older
from jupyter_mjci.jobs.client import MAX_KNOWN_JOBS
from jupyter_mjci.services import parse_callback

MAX_BODY_SIZE = 4 * 1024 * 1024  # bytes of one delivery
LOCAL_HOSTS = (b"127.0.0.1", b"localhost")
BODY_TIMEOUT = 10.0  # seconds to receive it

# An ASGI scope or message.
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class WebhookServer:
    """Listens on 127.0.0.1 until it is closed.

    `url` is the value of a call's `notify_hook` or `callback`. It
    is a secret.

    Args:
        on_job: called with the job of every delivery that is
            ahead of the earlier ones
        port: the port on 127.0.0.1; 0 for a free one

    Raises:
        OSError: the port is taken
    """

    def __init__(self, on_job: Callable[[Job], None], port: int = 0) -> None:
        self._on_job = on_job
        self._path = f"/{secrets.token_urlsafe(24)}"
        self._jobs: dict[tuple[str, str], Job] = {}
        self._socket = socket.create_server(("127.0.0.1", port))
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
        return f"<webhook server at {self.url.removesuffix(self._path)}/…>"

    def close(self) -> None:
        """Stop listening and free the port."""
        self._server.should_exit = True
        with contextlib.suppress(Exception):
            self._server_task.result()
        self._socket.close()

    def __enter__(self) -> WebhookServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def _handle_request(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> None:
        status = self._check_request(scope)
        body = b""
        if status == 200:
            body, status = await _read_body(receive)
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b""})
        for job in parse_webhook(body):
            if self._accept_if_newer(job):
                self._on_job(job)

    def _check_request(self, scope: Message) -> int:
        """Return the status of a request by its host, path and method.

        A web page whose name was bound to 127.0.0.1 sends another
        Host.
        """
        host = dict(scope["headers"]).get(b"host", b"").rpartition(b":")[0].lower()
        if host not in LOCAL_HOSTS:
            return 403
        # the bytes of a path need not be text
        path: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
        if not secrets.compare_digest(path, self._path.encode()):
            return 404
        return 200 if scope["method"] == "POST" else 405

    def _accept_if_newer(self, job: Job) -> bool:
        key = (job.service, job.id)
        known = self._jobs.get(key)
        if known is not None and (is_older(job, known) or job == known):
            return False
        # Removed first, so that the oldest change is forgotten.
        self._jobs.pop(key, None)
        self._jobs[key] = job
        if len(self._jobs) > MAX_KNOWN_JOBS:
            del self._jobs[next(iter(self._jobs))]
        return True


def parse_webhook(body: bytes) -> Iterable[Job]:
    """Return the jobs of a delivery, by the service that knows its document; else none."""
    # no delivery, whatever it holds, may stop the server
    with contextlib.suppress(Exception):
        return parse_callback(body)
    return []


async def _read_body(receive: Receive) -> tuple[bytes, int]:
    """Return the body of a request, and the status; nothing where it is too large, or late."""
    body = b""
    with anyio.move_on_after(BODY_TIMEOUT):
        while True:
            message = await receive()
            chunk: bytes = message.get("body", b"")
            body += chunk
            if len(body) > MAX_BODY_SIZE:
                return b"", 413
            if not message.get("more_body", False):
                return body, 200
    return b"", 408
