"""Webhooks over loopback HTTP: immediate, ranked, and only at the secret path."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.calls import Call, Response
from jupyter_mjci.client.job import Job, Status, progress_rank
from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.clock import ScaledClock
from jupyter_mjci.emulator.server import LoopbackServer
from jupyter_mjci.jobs.webhooks import WebhookServer, parse_webhook
from jupyter_mjci.services.midjourney.responses import parse_job
from jupyter_mjci.session import Session


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with Sandbox(
        clock=ScaledClock(20), mj_options={"duplicate_rate": 0.5, "reorder_rate": 0.3}
    ).serve() as served:
        yield served


@pytest.fixture
def session(server: LoopbackServer, tmp_path: Path) -> Iterator[Session]:
    account = server.settings
    with mjci.connect(
        mj_url=account["mj_url"],
        mj_secret=account["mj_secret"],
        ci_secret_id=account["secret_id"],
        ci_secret_key=account["secret_key"],
        ci_bucket=account["bucket"],
        ci_region=account["region"],
        ci_endpoint=account["ci_endpoint"],
        cos_endpoint=account["cos_endpoint"],
        home=tmp_path,
    ) as connected:
        yield connected


def test_followed_task_is_updated_without_polling(session: Session) -> None:
    paths = record_paths(session)
    with session.receive() as webhooks:
        seen = [
            job.progress
            for job in session.follow(
                session.mj.imagine("a red fox", notify_hook=webhooks.url), poll_interval=600
            )
        ]
    progress = [percent for percent in seen if percent is not None]
    assert progress == sorted(progress)
    assert progress[-1] == 100
    assert paths == ["/mj/submit/imagine"]


def record_paths(session: Session) -> list[str]:
    """Record the paths of the calls that are sent from now on."""
    paths: list[str] = []
    original = session.client.transport.send

    async def send(call: Call[Any], *more: Any) -> Response:
        paths.append(call.path)
        return await original(call, *more)

    session.client.transport.send = send  # type: ignore[method-assign]
    return paths


@pytest.mark.parametrize("body_format", ["XML", "JSON"])
def test_ci_callback_ends_the_wait_without_polling(session: Session, body_format: str) -> None:
    paths = record_paths(session)
    with session.receive() as webhooks:
        call = session.ci.picture_job(
            input="input/deer.jpg",
            rule="imageMogr2/rotate/90",
            output="o.jpg",
            callback=webhooks.url,
            callback_format=body_format,  # type: ignore[arg-type]
        )
        done = session.follow(call, poll_interval=600).run()
    assert done.status is Status.SUCCEEDED
    assert len(session.picture(done).run()) > 1000
    assert paths == ["/jobs"]


def test_late_and_repeated_deliveries_are_dropped() -> None:
    received: list[tuple[str, int | None]] = []
    finished = threading.Event()

    def on_job(job: Job) -> None:
        received.append((job.status.value, job.progress))
        if job.status.is_terminal:
            finished.set()

    with WebhookServer(on_job) as webhooks:
        for status, progress in (
            ("SUBMITTED", "0%"),
            ("IN_PROGRESS", "46%"),
            ("IN_PROGRESS", "15%"),
            ("IN_PROGRESS", "46%"),
            ("SUCCESS", "100%"),
            ("IN_PROGRESS", "93%"),
        ):
            post(webhooks.url, f'{{"id":"1","status":"{status}","progress":"{progress}"}}'.encode())
        assert finished.wait(5)
    assert received == [("QUEUED", 0), ("RUNNING", 46), ("SUCCEEDED", 100)]


def post(url: str, body: bytes) -> int:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as response:
        return int(response.status)


def test_other_paths_are_not_found() -> None:
    received: list[Job] = []
    with WebhookServer(received.append) as webhooks:
        with pytest.raises(urllib.error.HTTPError, match="404") as refused:
            post(webhooks.url[:-1], b'{"id":"1","status":"SUCCESS"}')
        refused.value.close()
        assert webhooks.url not in repr(webhooks)
    assert received == []


STRANGE_REQUESTS = [
    # method, path suffix, Host, body size, status
    (b"POST", b"", b"127.0.0.1:%d", 10, 200),
    (b"POST", b"", b"LOCALHOST:%d", 10, 200),
    (b"POST", b"", b"attacker.example:%d", 10, 403),
    (b"POST", b"", b"127.0.0.1.attacker.example:%d", 10, 403),
    (b"GET", b"", b"127.0.0.1:%d", 0, 405),
    (b"OPTIONS", b"", b"127.0.0.1:%d", 0, 405),
    (b"POST", b"x", b"127.0.0.1:%d", 10, 404),
    (b"POST", b"/%FF%00", b"127.0.0.1:%d", 10, 404),
    (b"POST", b"%E4%BD%A0", b"127.0.0.1:%d", 10, 404),
    (b"POST", b"\xff\xfe", b"127.0.0.1:%d", 10, 400),
    (b"POST", b"", b"127.0.0.1:%d", 4 * 1024 * 1024 + 1, 413),
]


@pytest.mark.parametrize(("method", "suffix", "host", "size", "status"), STRANGE_REQUESTS)
def test_receiver_checks_host_method_path_and_size(
    method: bytes, suffix: bytes, host: bytes, size: int, status: int
) -> None:
    """A page that was bound to 127.0.0.1 has another Host; a path may hold any bytes."""
    with WebhookServer(lambda _: None) as webhooks:
        port, _, path = webhooks.url.removeprefix("http://127.0.0.1:").partition("/")
        head = b"%s /%s%s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n"
        request = head % (method, path.encode(), suffix, host % int(port), size)
        with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as line:
            # refused while it still arrives
            with contextlib.suppress(ConnectionError):
                line.sendall(request + b"x" * size)
            answer = line.recv(1000)
    assert answer.startswith(b"HTTP/1.1 %d " % status)


def test_receiver_listens_on_the_port_that_was_asked_for() -> None:
    """For a sandbox that was told the port when it was started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with mjci.sandbox() as session, pytest.raises(OSError, match="in use"):
            session.receive(port=port)
    with mjci.sandbox() as session, session.receive(port=port) as webhooks:
        assert webhooks.url.startswith(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    "body", [b"", b"{", b"<a>", b"[]", b"17", b'{"id": 1}', b"\xff\xfe", b"<Response/>"]
)
def test_invalid_delivery_holds_no_job(body: bytes) -> None:
    assert list(parse_webhook(body)) == []


def test_rank_ascends_from_queued_to_finished() -> None:
    statuses = ["NOT_START", "MODAL", "IN_PROGRESS", "SUCCESS"]
    jobs = [parse_job({"id": "1", "status": status, "progress": "31%"}) for status in statuses]
    ranks = [progress_rank(job) for job in jobs]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == 4


def test_closed_server_refuses_connections() -> None:
    webhooks = WebhookServer(lambda _: None)
    webhooks.close()
    started_at = time.monotonic()
    with pytest.raises(OSError, match=r"refused|reset"):
        post(webhooks.url, b"{}")
    assert time.monotonic() - started_at < 5


def test_callback_behind_a_poll_is_ignored() -> None:
    """15 % that arrives after 62 % was polled moves no watcher and no row of the journal back."""
    with mjci.sandbox(speed=float("inf")) as session:
        seen: list[object] = []
        session.listeners.append(lambda _, job: seen.append(job.progress))
        for progress in ("62%", "15%", "62%", "78%"):
            task = {"id": "17", "status": "IN_PROGRESS", "progress": progress}
            session.client.record([parse_job(task)])
        session.client.record([parse_job({"id": "17", "status": "SUCCESS", "progress": "100%"})])
        session.client.record([parse_job({"id": "17", "status": "SUBMITTED"})])
        assert seen == [62, 62, 78, 100]
        assert [job.progress for job in session.client.known_jobs("mj")] == [100]


def test_each_receiver_listens_on_a_port_of_its_own() -> None:
    with WebhookServer(lambda _: None) as first, WebhookServer(lambda _: None) as second:
        ports = {urllib.parse.urlsplit(server.url).port for server in (first, second)}
        assert [post(server.url, b"{}") for server in (first, second)] == [200, 200]
    assert len(ports) == 2
