"""Every exit status that scripts may meet, by a process that ends with it."""

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
from tests.cli.conftest import COMMAND, ROTATE, run


def rotated(key: str) -> Job:
    with mjci.connect() as session:
        return session.ci.picture_job(input=key, rule=ROTATE, output="o.jpg").run()


def done() -> tuple[int, str]:
    """A job that succeeds, watched."""
    watched = run("watch", rotated("input/deer.jpg").id, "--interval", "0.2")
    assert watched.stdout.splitlines()[-1].startswith("SUCCEEDED 100 % https://")
    return watched.returncode, watched.stderr


def failed() -> tuple[int, str]:
    """A job that fails, watched; its reason is told."""
    watched = run("watch", rotated("input/none.jpg").id, "--interval", "0.2")
    assert "NoSuchKey" in watched.stderr
    return watched.returncode, watched.stderr


def wrong() -> tuple[int, str]:
    """A command line that cannot be said to any service."""
    asked = run("watch", "no/such.id")
    return asked.returncode, asked.stderr


def open_() -> tuple[int, str]:
    """An id that the proxy does not know."""
    asked = run("watch", "4711")
    return asked.returncode, asked.stderr


def interrupted() -> tuple[int, str]:
    """A watcher of a job that never ends, interrupted: it says how to go on, and the job does."""
    with mjci.connect() as session:
        stuck = session.mj.imagine("a red fox --stuck").run()
        line = [*COMMAND, "watch", stuck.id, "--interval", "0.2"]
        with subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline().split()[0] in ("QUEUED", "RUNNING")
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=20)
        assert f"jupyter mjci watch {stuck.id}" in told
        assert session.describe(stuck).run().status.is_active
        session.cancel(stuck).run()
    return process.returncode, told


def unheard() -> tuple[int, str]:
    """Nobody reads: no complaint, neither by the command nor by the interpreter when it ends."""
    reading, writing = os.pipe()
    os.close(reading)
    told = run("history", stdout=writing)
    os.close(writing)
    assert told.stderr == ""
    return told.returncode, told.stderr


CASES: dict[Exit, Callable[[], tuple[int, str]]] = {
    Exit.SUCCESS: done,
    Exit.FAILED: failed,
    Exit.USAGE_ERROR: wrong,
    Exit.INCOMPLETE: open_,
    Exit.INTERRUPTED: interrupted,
    Exit.BROKEN_PIPE: unheard,
}


@pytest.mark.parametrize("status", Exit)
def test_every_status_is_what_it_says(status: Exit, served: dict[str, Any]) -> None:
    """And no traceback is shown for any."""
    got, told = CASES[status]()
    assert got == status
    assert "Traceback" not in told
    assert (told == "") == (status in (Exit.SUCCESS, Exit.BROKEN_PIPE))


def test_the_help_tells_them_all() -> None:
    told = run("--help")
    assert (told.returncode, set(EXIT_CODE_HELP)) == (0, set(Exit))
    for status, meaning in EXIT_CODE_HELP.items():
        assert f"{status:<5} {meaning}\n" in told.stdout


def test_no_answer_is_an_open_end(served: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens at the address: no job has failed by that."""
    monkeypatch.setenv("MJCI_MJ_URL", "http://127.0.0.1:9")
    told = run("watch", "--all")
    assert told.returncode == Exit.INCOMPLETE
    assert "127.0.0.1:9" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_bug_is_no_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays a traceback."""
    broken = commands.Command("breaks", lambda _: 1 // 0)
    monkeypatch.setattr(main, "COMMANDS", {"break": broken})
    with pytest.raises(ZeroDivisionError):
        main.main(["break"])
