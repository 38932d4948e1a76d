"""`%load_ext`, `%unload_ext`, `%reload_ext`: everything comes, everything goes, and what is new is
used.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

import jupyter_mjci
from jupyter_mjci.notebook.extension import _EXTENSIONS
from jupyter_mjci.session import Session
from tests.notebook.conftest import Shell

PACKAGE = Path(jupyter_mjci.__file__).parent


def insides(ip: Any) -> dict[str, Any]:
    """Everything that a shell consists of, as it is now: its parts, their attributes, and what is
    in those. Not `config`, where IPython itself notes what %config was told.
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
    found: dict[str, Any] = {
        "sys.displayhook": id(sys.displayhook),
        "sys.excepthook": id(sys.excepthook),
    }
    for number, part in enumerate(parts):
        attributes = {**vars(part), **getattr(part, "_trait_values", {})}
        for name in attributes.keys() - {"config", "_trait_values"}:
            found[f"{number} {type(part).__name__}.{name}"] = seen(attributes[name], 2)
    return found


def seen(value: Any, deep: int) -> Any:
    """Which objects a value is, or holds."""
    if deep and isinstance(value, dict):
        return {str(key): seen(one, deep - 1) for key, one in value.items()}
    if deep and isinstance(value, (list, tuple, set)):
        return [seen(one, deep - 1) for one in value]
    return value if isinstance(value, (str, int)) else id(value)


def completed(ip: Any, line: str) -> list[str]:
    with provisionalcompleter():
        return [one.text.lstrip("%") for one in ip.Completer.completions(line, len(line))]


def test_unloading_leaves_nothing(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, help, formatters, completion, events, transformers, configurables, hooks: all of the
    shell is as it was before, also when magics ran meanwhile and values were shown. Loading twice
    is loading once.
    """
    monkeypatch.setenv("MJCI_HEADLESS", "1")
    ip = Shell().ip
    ip.display_formatter.format(1)  # what comes by itself with the first use
    completed(ip, "%x")
    ip.display_pub.outputs.clear()
    ip.run_line_magic("config", "")
    before = insides(ip)
    manager = ip.extension_manager
    manager.load_extension("jupyter_mjci")
    loaded = insides(ip)
    manager.load_extension("jupyter_mjci")
    jupyter_mjci.load_ipython_extension(ip)
    assert insides(ip) == loaded != before
    ip.user_ns["s"] = session
    job = ip.run_line_magic("mj_imagine", "a red fox")
    ip.display_formatter.format(job)
    ip.run_line_magic("config", "MJCI.wait = 5")
    assert "mj_imagine" in completed(ip, "%mj_ima")
    assert completed(ip, "%mjci st") == ["status"]
    del ip.user_ns["s"]
    ip.display_pub.outputs.clear()
    completed(ip, "%x")
    assert manager.unload_extension("jupyter_mjci") is None
    jupyter_mjci.unload_ipython_extension(ip)
    assert insides(ip) == before
    assert ip not in _EXTENSIONS


def test_what_was_set_and_chosen_is_there_again(empty_shell: Shell) -> None:
    """After an unloading and another loading: the session that the magics connected, and
    %config.
    """
    empty_shell.run("%config MJCI.speed = 1e6")
    empty_shell.run("%mj_imagine a red fox -o job")
    for code in ("%unload_ext jupyter_mjci", "%load_ext jupyter_mjci"):
        empty_shell.run(code)
    assert empty_shell.run("%config MJCI.speed") == 1e6
    assert list(empty_shell.run("%mj_tasks").id) == [empty_shell.ip.user_ns["job"].id]


# --- in a real kernel, with code that changes -----------------------------------------------------


class Copy:
    """A kernel that runs a copy of the package, in which code may be changed."""

    def __init__(self, folder: Path) -> None:
        self.package = folder / "jupyter_mjci"
        shutil.copytree(PACKAGE, self.package, ignore=shutil.ignore_patterns("__pycache__"))
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env={**os.environ, "PYTHONPATH": str(folder)}, cwd=str(folder))
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def change(self, file: str, old: str, new: str) -> None:
        path = self.package / file
        assert old in path.read_text("utf-8")
        path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")

    def run(self, code: str) -> str:
        """All that a cell puts out, as text. It must succeed."""
        said: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            said.append(content.get("text", "") or content.get("data", {}).get("text/plain", ""))

        reply = self.client.execute_interactive(
            code, output_hook=hear, timeout=60, allow_stdin=False
        )
        assert reply["content"]["status"] == "ok", reply["content"]
        for one in reply["content"]["payload"]:
            said.append(one["data"]["text/plain"])
        return "\n".join(text for text in said if text)


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Copy]:
    one = Copy(tmp_path)
    yield one
    one.client.stop_channels()
    one.manager.shutdown_kernel(now=True)


HELLO = """
    def hello(self) -> str:
        'Say it.'
        return "hi"

"""


@pytest.mark.kernel
def test_reloading_uses_the_code_that_is_there_now(copy: Copy) -> None:
    """A command that is new is there, and the session in use is kept. Where what is beneath the
    magics has changed, all is loaded anew: its new magic is there, and a line says which variables
    are of the old code. Unloaded, nothing is left.
    """
    plain = copy.run("print(sorted(get_ipython().magics_manager.magics['line']))")
    copy.run("%load_ext jupyter_mjci\n%mj_imagine a red fox -o job")
    copy.change("notebook/commands.py", "    def use(self", HELLO + "    def use(self")
    assert copy.run("%reload_ext jupyter_mjci") == ""
    assert "hi" in copy.run("%mjci hello")
    assert "1 succeeded" in copy.run("%mjci status")
    assert "UPSCALE" in copy.run("%mj_action job U1")
    copy.change(
        "services/midjourney/api.py", '"""Draw four pictures', '"""Draw four lovely pictures'
    )
    said = copy.run("s = 1\n%reload_ext jupyter_mjci")
    assert said.endswith("its code has changed and is loaded anew. Make these anew as well: job.")
    assert "four lovely pictures" in copy.run("%mj_imagine?")
    assert "none yet" in copy.run("%mjci status")
    assert "SUCCEEDED" in copy.run("%mj_imagine a blue fox -o job")
    assert copy.run("%reload_ext jupyter_mjci") == ""
    assert "1 succeeded" in copy.run("%mjci status")
    copy.run("%unload_ext jupyter_mjci")
    assert copy.run("print(sorted(get_ipython().magics_manager.magics['line']))") == plain
