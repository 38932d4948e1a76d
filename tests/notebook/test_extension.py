"""`%load_ext`, `%unload_ext` and `%reload_ext`."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter

import jupyter_mjci
from jupyter_mjci.notebook.extension import _EXTENSIONS
from jupyter_mjci.session import Session
from tests.notebook.conftest import Shell


def inspect_shell(ip: Any) -> dict[str, Any]:
    """Return the state of a shell: its components, their attributes, and the elements of those.
    Without `config`, where IPython itself records %config.
    """
    display = ip.display_formatter
    parts = [
        ip,
        ip.magics_manager,
        ip.magics_manager.user_magics,
        ip.Completer,
        ip.events,
        ip.display_pub,
        ip.displayhook,
        ip.display_trap,
        ip.input_transformer_manager,
        ip.inspector,
        ip.extension_manager,
        display,
        display.ipython_display_formatter,
        display.mimebundle_formatter,
        *display.formatters.values(),
    ]
    state: dict[str, Any] = {
        "sys.displayhook": id(sys.displayhook),
        "sys.excepthook": id(sys.excepthook),
    }
    for number, part in enumerate(parts):
        attributes = {**vars(part), **getattr(part, "_trait_values", {})}
        for name in attributes.keys() - {"config", "_trait_values"}:
            state[f"{number} {type(part).__name__}.{name}"] = identities(attributes[name], 2)
    return state


def identities(value: Any, depth: int) -> Any:
    """Return the identities of a value and its elements."""
    if depth and isinstance(value, dict):
        return {str(key): identities(item, depth - 1) for key, item in value.items()}
    if depth and isinstance(value, (list, tuple, set)):
        return [identities(item, depth - 1) for item in value]
    return value if isinstance(value, (str, int)) else id(value)


def complete(ip: Any, line: str) -> list[str]:
    with provisionalcompleter():
        return [
            completion.text.lstrip("%") for completion in ip.Completer.completions(line, len(line))
        ]


def test_unload_restores_the_shell(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, help, formatters, completer, events, transformers, configurables and hooks are as
    before, even after magics have run. Loading twice is loading once.
    """
    monkeypatch.setenv("MJCI_HEADLESS", "1")
    ip = Shell().ip
    ip.display_formatter.format(1)  # what comes by itself with the first use
    complete(ip, "%x")
    ip.display_pub.outputs.clear()
    ip.run_line_magic("config", "")
    before = inspect_shell(ip)
    manager = ip.extension_manager
    manager.load_extension("jupyter_mjci")
    loaded = inspect_shell(ip)
    manager.load_extension("jupyter_mjci")
    jupyter_mjci.load_ipython_extension(ip)
    assert inspect_shell(ip) == loaded != before
    ip.user_ns["s"] = session
    job = ip.run_line_magic("mj_imagine", "a red fox")
    ip.display_formatter.format(job)
    ip.run_line_magic("config", "MJCI.wait = 5")
    assert "mj_imagine" in complete(ip, "%mj_ima")
    assert complete(ip, "%mjci st") == ["status"]
    del ip.user_ns["s"]
    ip.display_pub.outputs.clear()
    complete(ip, "%x")
    assert manager.unload_extension("jupyter_mjci") is None
    jupyter_mjci.unload_ipython_extension(ip)
    assert inspect_shell(ip) == before
    assert ip not in _EXTENSIONS


def test_session_and_config_survive_unload_and_load(empty_shell: Shell) -> None:
    empty_shell.run("%config MJCI.speed = 1e6")
    empty_shell.run("%mj_imagine a red fox -o job")
    for code in ("%unload_ext jupyter_mjci", "%load_ext jupyter_mjci"):
        empty_shell.run(code)
    assert empty_shell.run("%config MJCI.speed") == 1e6
    assert list(empty_shell.run("%mj_tasks").id) == [empty_shell.ip.user_ns["job"].id]


def test_reload_keeps_session_and_registers_once(empty_shell: Shell) -> None:
    """`%reload_ext` is unload, then load."""
    empty_shell.run("%mj_imagine a red fox -o job")
    loaded = inspect_shell(empty_shell.ip)
    assert empty_shell.run("%reload_ext jupyter_mjci") is None
    assert inspect_shell(empty_shell.ip).keys() == loaded.keys()
    assert list(empty_shell.run("%mj_tasks").id) == [empty_shell.ip.user_ns["job"].id]


SIGNATURES = """
import inspect, jupyter_mjci, pydoc
def describe():
    return inspect.signature(jupyter_mjci.sandbox), pydoc.render_doc(jupyter_mjci.sandbox)
before = describe()
jupyter_mjci.sandbox().close()
assert describe() == before
assert str(before[0]).startswith("(*, speed")
"""


def test_sandbox_signature_and_help_are_the_same_after_first_call() -> None:
    """In a new interpreter, where nothing was imported before."""
    ended = subprocess.run(
        [sys.executable, "-c", SIGNATURES], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
