"""Every exit status, each by a process that ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

import jupyter_mjci as mjci
from jupyter_mjci.cli import commands, main
from jupyter_mjci.cli.exit_codes import EXIT_CODE_HELP, Exit
from jupyter_mjci.client.job import Job
from tests.cli.conftest import COMMAND, ROTATE, pause_queue, run


def submit_rotation(key: str) -> Job:
    with mjci.connect() as session:
        return session.ci.picture_job(input=key, rule=ROTATE, output="o.jpg").run()


def watch_succeeded() -> tuple[int, str]:
    """Watch a job that succeeds."""
    watched = run("watch", submit_rotation("input/deer.jpg").id, "--interval", "0.2")
    assert watched.stdout.splitlines()[-1].startswith("SUCCEEDED 100 % https://")
    return watched.returncode, watched.stderr


def watch_failed() -> tuple[int, str]:
    """Watch a job that fails; its reason is printed."""
    watched = run("watch", submit_rotation("input/none.jpg").id, "--interval", "0.2")
    assert "NoSuchKey" in watched.stderr
    return watched.returncode, watched.stderr


def watch_invalid_id() -> tuple[int, str]:
    """Watch an ID that no service can have."""
    watched = run("watch", "no/such.id")
    return watched.returncode, watched.stderr


def watch_unknown_id() -> tuple[int, str]:
    """Watch an ID that the proxy does not know."""
    watched = run("watch", "4711")
    return watched.returncode, watched.stderr


def watch_interrupted() -> tuple[int, str]:
    """Interrupt the watching of a job: the job keeps running, and the hint says how to watch it."""
    with mjci.connect() as session, pause_queue(session):
        waiting = submit_rotation("input/deer.jpg")
        line = [*COMMAND, "watch", waiting.id, "--interval", "0.2"]
        with subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("QUEUED")
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=120)
        assert f"jupyter mjci watch {waiting.id}" in stderr
        assert session.describe(waiting).run().status.is_active
        session.cancel(waiting).run()
    return process.returncode, stderr


def write_to_closed_pipe() -> tuple[int, str]:
    """Print to a closed pipe: neither the command nor the interpreter complains."""
    reading, writing = os.pipe()
    os.close(reading)
    result = run("history", stdout=writing)
    os.close(writing)
    assert result.stderr == ""
    return result.returncode, result.stderr


CASES: dict[Exit, Callable[[], tuple[int, str]]] = {
    Exit.SUCCESS: watch_succeeded,
    Exit.FAILED: watch_failed,
    Exit.USAGE_ERROR: watch_invalid_id,
    Exit.INCOMPLETE: watch_unknown_id,
    Exit.INTERRUPTED: watch_interrupted,
    Exit.BROKEN_PIPE: write_to_closed_pipe,
}


@pytest.mark.parametrize("status", Exit)
def test_command_ends_with_exit_status(status: Exit, sandbox_env: dict[str, Any]) -> None:
    """No traceback is printed."""
    exit_status, stderr = CASES[status]()
    assert exit_status == status
    assert "Traceback" not in stderr
    assert (stderr == "") == (status in (Exit.SUCCESS, Exit.BROKEN_PIPE))


def test_help_lists_every_exit_status() -> None:
    result = run("--help")
    assert (result.returncode, set(EXIT_CODE_HELP)) == (0, set(Exit))
    for status, meaning in EXIT_CODE_HELP.items():
        assert f"{status:<5} {meaning}\n" in result.stdout


def test_watch_without_response_is_incomplete(
    sandbox_env: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No server listens at the address: no job has failed."""
    monkeypatch.setenv("MJCI_MJ_URL", "http://127.0.0.1:9")
    result = run("watch", "--all")
    assert result.returncode == Exit.INCOMPLETE
    assert "127.0.0.1:9" in result.stderr
    assert "Traceback" not in result.stderr


def test_unexpected_exception_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = commands.Command("breaks", lambda _: 1 // 0)
    monkeypatch.setattr(main, "COMMANDS", {"break": broken})
    with pytest.raises(ZeroDivisionError):
        main.main(["break"])
