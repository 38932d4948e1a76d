"""Commands as processes, and a sandbox served by one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from jupyter_mjci.session import Session

ROTATE = "imageMogr2/rotate/90"
COMMAND = [sys.executable, "-m", "jupyter_mjci.cli"]
SETTING_KEYS = {
    "MJ_URL": "mj_url",
    "MJ_SECRET": "mj_secret",
    "CI_SECRET_ID": "secret_id",
    "CI_SECRET_KEY": "secret_key",
    "CI_BUCKET": "bucket",
    "CI_REGION": "region",
    "CI_ENDPOINT": "ci_endpoint",
    "COS_ENDPOINT": "cos_endpoint",
}


@contextmanager
def serve_sandbox(speed: float) -> Iterator[dict[str, Any]]:
    """Serve a sandbox by the command, and yield the connection that it prints."""
    command = [*COMMAND, "sandbox", "--port", "0", "--speed", str(speed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


@pytest.fixture(scope="module")
def fast_sandbox() -> Iterator[dict[str, Any]]:
    with serve_sandbox(50) as connection:
        yield connection


@pytest.fixture
def sandbox_env(fast_sandbox: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The connection of a sandbox, and an environment that points at it."""
    set_environment(monkeypatch, fast_sandbox)
    return fast_sandbox


def set_environment(monkeypatch: pytest.MonkeyPatch, connection: dict[str, Any]) -> None:
    """Point the environment at a sandbox."""
    for name, key in SETTING_KEYS.items():
        monkeypatch.setenv(f"MJCI_{name}", connection[key])


@contextmanager
def pause_queue(session: Session) -> Iterator[None]:
    """Pause the CI queue: its jobs stay queued until they are cancelled."""
    (queue,) = (queue["QueueId"] for queue in session.ci.queues().run())
    session.ci.update_queue(queue, name="q", state="Paused").run()
    yield
    session.ci.update_queue(queue, name="q", state="Active").run()


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end with its output in pipes."""
    options = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "timeout": 120,
        **options,
    }
    return subprocess.run([*COMMAND, *arguments], check=False, **options)
