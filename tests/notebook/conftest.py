"""A real IPython shell with the magics, on a sandbox with a fast clock."""

from __future__ import annotations

import atexit
import math
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import jupyter_mjci
from jupyter_mjci.session import Session


def make_shell(config: Config) -> InteractiveShell:
    """Return an IPython shell without a history that is forgotten when its test ends.

    A shell clears itself at the exit of the process, and collects all garbage then. A process that
    has run a thousand tests would keep a thousand shells, and end minutes after its last test.
    """
    config.HistoryManager.enabled = False
    shell = InteractiveShell(config=config)
    atexit.unregister(shell.atexit_operations)
    return shell


class Shell:
    """An IPython shell that records the outputs of its cells."""

    def __init__(self) -> None:
        config = Config()
        config.InteractiveShell.colors = "nocolor"
        self.ip = make_shell(config)
        self.publisher = self.ip.display_pub = CapturingDisplayPublisher()
        self.error: BaseException | None = None

    def run(self, code: str) -> Any:
        """Run a cell that must succeed, and return its value."""
        value = self.fails(code, expected=False)
        assert self.error is None, self.error
        return value

    def fails(self, code: str, expected: bool = True) -> Any:
        """Run a cell that must fail, and return its error message."""
        self.publisher.outputs.clear()
        done = self.ip.run_cell(code, store_history=True)
        self.error = done.error_before_exec or done.error_in_exec
        if not expected:
            return done.result
        assert self.error is not None
        return str(self.error)

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """The outputs as a notebook would save them: an update replaces what it updates."""
        saved: dict[str, dict[str, Any]] = {}
        for number, output in enumerate(self.publisher.outputs):
            name = (output.get("transient") or {}).get("display_id", str(number))
            saved[name] = {"data": output["data"], "metadata": output["metadata"]}
        return list(saved.values())

    @property
    def texts(self) -> list[str]:
        return [output["data"]["text/plain"] for output in self.outputs]

    @property
    def kinds(self) -> list[list[str]]:
        return [sorted(output["data"]) for output in self.outputs]


@pytest.fixture
def session() -> Iterator[Session]:
    with jupyter_mjci.sandbox(speed=math.inf) as session:
        yield session


@pytest.fixture
def empty_shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Return a shell with the magics and without a session."""
    return with_magics(monkeypatch)


def with_magics(monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setenv("MJCI_HEADLESS", "1")
    shell = Shell()
    shell.ip.extension_manager.load_extension("jupyter_mjci")
    return shell


@pytest.fixture
def shell(empty_shell: Shell, session: Session) -> Shell:
    """Return a shell with the magics and a sandbox session in the variable `s`."""
    empty_shell.ip.push({"s": session})
    return empty_shell
