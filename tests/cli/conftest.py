"""The command line as processes, and a sandbox that a process of its own serves."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ROTATE = "imageMogr2/rotate/90"
COMMAND = [sys.executable, "-m", "jupyter_mjci.cli"]
NAMES = {
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
def serving(speed: float) -> Iterator[dict[str, Any]]:
    """A sandbox, served by the command; what it tells of itself."""
    line = [*COMMAND, "sandbox", "--port", "0", "--speed", str(speed)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


@pytest.fixture(scope="module")
def fast() -> Iterator[dict[str, Any]]:
    with serving(50) as told:
        yield told


@pytest.fixture
def served(fast: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the sandbox tells, and an environment that points at it."""
    settle(monkeypatch, fast)
    return fast


def settle(monkeypatch: pytest.MonkeyPatch, told: dict[str, Any]) -> None:
    """Points the environment at a sandbox."""
    for name, key in NAMES.items():
        monkeypatch.setenv(f"MJCI_{name}", told[key])


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """A command to its end, its output in pipes."""
    options = {
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
        "timeout": 120,
        **options,
    }
    return subprocess.run([*COMMAND, *arguments], check=False, **options)
