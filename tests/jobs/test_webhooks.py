"""Callbacks over real loopback HTTP: heard at once, ranked, and only at the secret path."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.calls import Call, Response
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.clock import ScaledClock
from jupyter_mjci.emulator.server import LoopbackServer
from jupyter_mjci.jobs.webhooks import WebhookServer, parse_webhook, progress_rank
from jupyter_mjci.services.midjourney.responses import parse_job
from jupyter_mjci.session import Session


@pytest.fixture
def door() -> Iterator[LoopbackServer]:
    with Sandbox(
        clock=ScaledClock(20), mj_options={"duplicate_rate": 0.5, "reorder_rate": 0.3}
    ).serve() as served:
        yield served


@pytest.fixture
def s(door: LoopbackServer, tmp_path: Path) -> Iterator[Session]:
    told = door.settings
    with mjci.connect(
        mj_url=told["mj_url"],
        mj_secret=told["mj_secret"],
        ci_secret_id=told["secret_id"],
        ci_secret_key=told["secret_key"],
        ci_bucket=told["bucket"],
        ci_region=told["region"],
        ci_endpoint=told["ci_endpoint"],
        cos_endpoint=told["cos_endpoint"],
        home=tmp_path,
    ) as session:
        yield session


def test_a_followed_task_is_heard_of_without_asking(s: Session) -> None:
    """Polling alone would look for the first time after seconds; the hook tells every step at
    once.
    """
    sent = counted(s)
    with s.receive() as hook:
        seen = [
            job.progress
            for job in s.follow(s.mj.imagine("a red fox", notify_hook=hook.url), poll_interval=600)
        ]
    told = [progress for progress in seen if progress is not None]
    assert told == sorted(told)
    assert told[-1] == 100
    assert sent == ["/mj/submit/imagine"]


def counted(s: Session) -> list[str]:
    """The paths of the calls that are sent from now on."""
    sent: list[str] = []
    plain = s.transport.send

    async def send(call: Call[Any]) -> Response:
        sent.append(call.path)
        return await plain(call)

    s.transport.send = send  # type: ignore[method-assign]
    return sent


@pytest.mark.parametrize("form", ["XML", "JSON"])
def test_ci_tells_of_the_end(s: Session, form: str) -> None:
    sent = counted(s)
    with s.receive() as hook:
        call = s.ci.picture_job(
            input="input/deer.jpg",
            rule="imageMogr2/rotate/90",
            output="o.jpg",
            callback=hook.url,
            callback_format=form,  # type: ignore[arg-type]
        )
        done = s.follow(call, poll_interval=600).run()
    assert done.status is Status.SUCCEEDED
    assert len(s.picture(done).run()) > 1000
    assert sent == ["/jobs"]


def test_disorder_and_duplicates_are_dropped() -> None:
    heard: list[tuple[str, int | None]] = []
    got = threading.Event()

    def hear(job: Job) -> None:
        heard.append((job.status.value, job.progress))
        if job.status.is_terminal:
            got.set()

    with WebhookServer(hear) as hook:
        for status, progress in (
            ("SUBMITTED", "0%"),
            ("IN_PROGRESS", "46%"),
            ("IN_PROGRESS", "15%"),
            ("IN_PROGRESS", "46%"),
            ("SUCCESS", "100%"),
            ("IN_PROGRESS", "93%"),
        ):
            post(hook.url, f'{{"id":"1","status":"{status}","progress":"{progress}"}}'.encode())
        assert got.wait(5)
    assert heard == [("QUEUED", 0), ("RUNNING", 46), ("SUCCEEDED", 100)]


def post(url: str, body: bytes) -> int:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return int(answer.status)


def test_only_the_secret_path_is_heard() -> None:
    heard: list[Job] = []
    with WebhookServer(heard.append) as hook:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            post(hook.url[:-1], b'{"id":"1","status":"SUCCESS"}')
        assert hook.url not in repr(hook)
    assert heard == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b"<a>", b"[]", b"17", b'{"id": 1}', b"\xff\xfe", b"<Response/>"]
)
def test_rubbish_is_nothing(body: bytes) -> None:
    assert list(parse_webhook(body)) == []


def test_ranks() -> None:
    """Waiting, then asking, then by progress, then every kind of end alike."""
    words = ["NOT_START", "MODAL", "IN_PROGRESS", "SUCCESS"]
    ranks = [
        progress_rank(parse_job({"id": "1", "status": word, "progress": "31%"})) for word in words
    ]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == 4


def test_closing_frees_the_port() -> None:
    hook = WebhookServer(lambda _: None)
    hook.close()
    began = time.monotonic()
    with pytest.raises(OSError, match=r"refused|reset"):
        post(hook.url, b"{}")
    assert time.monotonic() - began < 5
