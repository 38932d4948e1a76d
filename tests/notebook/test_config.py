"""`%config MJCI` in a real shell: what it shows, what it sets, and what it refuses."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import jupyter_mjci
from jupyter_mjci.client.settings import RUNTIME_SETTINGS, Settings
from jupyter_mjci.errors import SettingsError
from jupyter_mjci.notebook.config import SHELL_FIELDS
from jupyter_mjci.notebook.extension import _EXTENSIONS
from jupyter_mjci.session import Session
from tests.notebook.conftest import Shell


def test_every_setting_of_a_shell_is_shown(shell: Shell, capfd: pytest.CaptureFixture[str]) -> None:
    """With its help and what holds now, from the table of settings; neither addresses nor secrets,
    not even their names: those are no matter of a shell.
    """
    shell.run("%config")
    assert "MJCI" in capfd.readouterr().out
    shell.run("%config MJCI")
    told = re.sub(r"\s+", " ", capfd.readouterr().out)
    for one in fields(Settings):
        assert (f"MJCI.{one.name}=" in told) == (one.name in SHELL_FIELDS)
        assert (one.metadata["help"] in told) == (one.name in SHELL_FIELDS)
    assert "Current: 900.0" in told
    assert "c.MJCI.wait = 300 in ipython_config.py" in told
    assert set(RUNTIME_SETTINGS) <= set(SHELL_FIELDS)
    assert not {"mj_url", "mj_secret", "ci_secret_id", "ci_secret_key", "ci_token"} & set(
        SHELL_FIELDS
    )


def test_what_holds_is_what_environment_and_profile_say(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at when it is asked for, until it is set; then that counts."""
    monkeypatch.setenv("MJCI_WAIT", "55")
    assert shell.run("%config MJCI.wait") == 55.0
    monkeypatch.setenv("MJCI_WAIT", "66")
    assert shell.run("%config MJCI.wait") == 66.0
    shell.run("%config MJCI.wait = 900")
    assert shell.run("%config MJCI.wait") == 900.0


def test_what_is_set_holds_for_the_session_in_use_and_for_later_ones(
    shell: Shell, session: Session
) -> None:
    """The one in use takes over what is not fixed; connecting, a sandbox and the first magic take
    it all. What stands on a line is nearer.
    """
    shell.run(
        '%config MJCI.wait = 300\n%config MJCI.timeout = 7\n%config MJCI.on_interrupt = "cancel"'
    )
    shell.run("%config MJCI.at_once = 3\n%config MJCI.speed = 50")
    assert (session.settings.wait, session.settings.timeout, session.settings.at_once) == (
        300.0,
        7.0,
        16,
    )
    assert (session.transport.timeout, session.settings.on_interrupt) == (7.0, "cancel")
    made = shell.run("%mjci sandbox --seed 1")
    assert (made.settings.wait, made.settings.timeout, made.sandbox.clock.speed) == (
        300.0,
        7.0,
        50.0,
    )
    made = shell.run("%mjci connect --mj-url http://127.0.0.1:9 --wait 5")
    assert (made.settings.wait, made.settings.timeout, made.settings.at_once) == (5.0, 7.0, 3)


def test_the_first_magic_connects_by_it(
    empty_shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where that leads into the sandbox; the environment holds there, too."""
    monkeypatch.setenv("MJCI_TIMEOUT", "9")
    empty_shell.run("%config MJCI.wait = 300")
    empty_shell.run("%mj_queue")
    told = _EXTENSIONS[empty_shell.ip].magics.current_session.get_or_connect().settings
    assert (told.wait, told.timeout) == (300.0, 9.0)


def test_thumbnails_have_the_size_that_is_set(shell: Shell) -> None:
    """Neither side is longer."""
    shell.run("%config MJCI.thumbnail = 100")
    shell.run("%mj_imagine a red fox")
    assert shell.outputs[1]["metadata"]["image/jpeg"]["width"] == 100


def test_a_configuration_file_sets_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """`c.MJCI.wait = 300` in ipython_config.py, before the extension is loaded."""
    config = Config()
    config.HistoryManager.enabled = False
    config.MJCI.wait, config.MJCI.timeout = 300, "7"
    ip = InteractiveShell(config=config)
    ip.extension_manager.load_extension("jupyter_mjci")
    ip.push({"s": jupyter_mjci.sandbox()})
    assert ip.run_line_magic("config", "MJCI.timeout") == 7.0
    assert (
        _EXTENSIONS[ip].magics.current_session.connect(mj_url="http://127.0.0.1:9").settings.wait
        == 300.0
    )


def test_a_wrong_configuration_file_is_told_and_nothing_is_loaded() -> None:
    """In two lines; when it is corrected, loading works."""
    config = Config()
    config.HistoryManager.enabled = False
    config.MJCI.wait = "soon"
    ip = InteractiveShell(config=config)
    with pytest.raises(SettingsError, match="expected a float"):
        jupyter_mjci.load_ipython_extension(ip)
    assert "mj_imagine" not in ip.magics_manager.magics["line"]
    ip.config.MJCI.wait = 5
    jupyter_mjci.load_ipython_extension(ip)
    assert ip.run_line_magic("config", "MJCI.wait") == 5.0


def test_it_can_be_set_where_no_session_is_chosen_among_several(
    empty_shell: Shell, session: Session
) -> None:
    """Then it holds for later ones."""
    with jupyter_mjci.sandbox() as other:
        empty_shell.ip.push({"one": session, "other": other})
        empty_shell.run("%config MJCI.wait = 300")
        assert empty_shell.run("%config MJCI.wait") == 300.0
        assert (session.settings.wait, other.settings.wait) == (900.0, 900.0)


# (what is set, what is said)
REFUSED: tuple[tuple[str, str], ...] = (
    ("wait = 'soon'", "expected a float"),
    ("wait = -1", "wait must be more than 0"),
    ("on_interrupt = 'stop'", "'detach', 'cancel'"),
    ("wiat = 3", "There are: at_once, home, on_interrupt"),
    ("profile = 'nope'", "There is no profile 'nope'"),
    ("mj_secret = 'hush'", "Set MJCI_MJ_SECRET"),
    ("ci_secret_id = 'hush'", "Set MJCI_CI_SECRET_ID"),
)


@pytest.mark.parametrize(("set_", "said"), REFUSED)
def test_what_cannot_be_is_not_kept(
    shell: Shell, session: Session, set_: str, said: str, caplog: Any
) -> None:
    """One line says why, without the value of a secret, and everything is as before."""
    shell.run("%config MJCI.wait = 300")
    shell.run(f"%config MJCI.{set_}")
    assert said in caplog.text
    assert "hush" not in caplog.text
    assert _EXTENSIONS[shell.ip].config.config_values == {"wait": 300}
    assert session.settings.wait == 300.0
    shell.run("%unload_ext jupyter_mjci\n%load_ext jupyter_mjci")
    assert shell.run("%config MJCI.wait") == 300.0
    assert "hush" not in str(shell.ip.config)
