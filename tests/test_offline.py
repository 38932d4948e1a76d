"""No telemetry: the processes of sessions and of a demo connect to loopback and nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_readme import ROOT, TEXT, build_environ, find_code_blocks

# Python runs it at the start of every process: commands, kernels, servers.
SOCKET_GUARD = """
import os, sys

LOCAL_NAMES = {"", "localhost", "::1", "0.0.0.0", os.uname().nodename}

def find_host(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        return arguments[0] or ""
    address = arguments[1]  # a path where the socket is a Unix one
    return address[0] if isinstance(address, tuple) else ""

def guard(event, arguments):
    if event.split(".")[0] != "socket" or len(arguments) < 2:
        return
    host = find_host(event, arguments)
    host = host.decode() if isinstance(host, bytes) else str(host)
    is_local = host in LOCAL_NAMES or host.startswith("127.")
    with open(os.environ["SOCKET_LOG"], "a") as log:
        print("local" if is_local else "foreign", event, host, file=log)
    if not is_local:
        raise OSError(f"{event}: {host} is not this machine")

sys.addaudithook(guard)
"""
(PYTHON_BLOCK,) = (text for language, text in find_code_blocks(TEXT) if language == "python")
WITH_WEBHOOKS = (
    "import jupyter_mjci as mjci\n"
    "with mjci.sandbox() as s, s.receive():\n"
    "    print(s.follow(s.mj.imagine('an owl')).run())"
)


def run_guarded(folder: Path, *command: str) -> tuple[int, list[str]]:
    """Run a command under the guard; return its status and what the guard has seen."""
    (folder / "sitecustomize.py").write_text(SOCKET_GUARD)
    log = folder / "sockets.log"
    paths = {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "SOCKET_LOG": str(log)}
    finished = subprocess.run(
        [sys.executable, *command], env=build_environ() | paths, cwd=folder, check=False
    )
    return finished.returncode, log.read_text().splitlines()


def test_guard_refuses_other_hosts(tmp_path: Path) -> None:
    code = "import socket; socket.create_connection(('192.0.2.1', 80))"
    status, seen = run_guarded(tmp_path, "-c", code)
    assert status != 0
    assert any(line.startswith("foreign") and line.endswith("192.0.2.1") for line in seen)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("-c", PYTHON_BLOCK), id="README"),
        pytest.param(("-c", WITH_WEBHOOKS), id="webhooks"),
        pytest.param(("-m", "jupyter_mjci.cli", "doctor"), id="doctor"),
        pytest.param(
            ("-m", "jupyter_mjci.cli", "demo", "--execute", "out.html"),
            id="demo",
            marks=pytest.mark.kernel,
        ),
    ],
)
def test_only_loopback_is_connected_to(command: tuple[str, ...], tmp_path: Path) -> None:
    status, seen = run_guarded(tmp_path, *command)
    assert status == 0
    assert seen
    assert not [line for line in seen if line.startswith("foreign")]
