"""`%config MJCI` in a real shell: what it shows, sets and rejects."""

from __future__ import annotations

import re
from typing import Any

import pytest
from traitlets.config import Config

import jupyter_mjci
from jupyter_mjci.client.settings import RUNTIME_SETTINGS, list_settings
from jupyter_mjci.errors import SettingsError
from jupyter_mjci.notebook.config import MJCI
from jupyter_mjci.notebook.extension import _EXTENSIONS
from jupyter_mjci.services import get_section_types
from jupyter_mjci.session import Session
from tests.notebook.conftest import Shell, make_shell


def test_config_lists_every_shell_setting_and_no_credential(
    shell: Shell, capfd: pytest.CaptureFixture[str]
) -> None:
    """The traits agree with the settings in name, help and choices."""
    shell.run("%config")
    assert "MJCI" in capfd.readouterr().out
    shell.run("%config MJCI")
    output = re.sub(r"\s+", " ", capfd.readouterr().out)
    traits = set(MJCI.class_trait_names(config=True))
    for setting in list_settings(get_section_types()):
        metadata = setting.field.metadata
        is_shell_setting = not setting.section
        assert (setting.name in traits) == is_shell_setting
        assert (f"MJCI.{setting.name}=" in output) == is_shell_setting
        assert (metadata["help"] in output) == is_shell_setting
        if metadata["choices"] and is_shell_setting:
            assert tuple(MJCI.class_traits()[setting.name].values) == metadata["choices"]
    assert "Current: 900.0" in output
    assert "c.MJCI.wait = 300 in ipython_config.py" in output
    assert set(RUNTIME_SETTINGS) <= traits


def test_unset_value_is_read_from_the_environment(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every access, until a value is set."""
    monkeypatch.setenv("MJCI_WAIT", "55")
    assert shell.run("%config MJCI.wait") == 55.0
    monkeypatch.setenv("MJCI_WAIT", "66")
    assert shell.run("%config MJCI.wait") == 66.0
    shell.run("%config MJCI.wait = 900")
    assert shell.run("%config MJCI.wait") == 900.0


def test_set_value_applies_to_current_and_later_sessions(shell: Shell, session: Session) -> None:
    """The current session takes over runtime settings only; options on a line take precedence."""
    shell.run(
        '%config MJCI.wait = 300\n%config MJCI.timeout = 7\n%config MJCI.on_interrupt = "cancel"'
    )
    shell.run("%config MJCI.at_once = 3\n%config MJCI.speed = 50")
    assert (session.settings.wait, session.settings.timeout, session.settings.at_once) == (
        300.0,
        7.0,
        16,
    )
    assert (session.client.transport.timeout, session.settings.on_interrupt) == (7.0, "cancel")
    later = shell.run("%mjci sandbox --seed 1")
    assert (later.settings.wait, later.settings.timeout, later.sandbox.clock.speed) == (
        300.0,
        7.0,
        50.0,
    )
    later = shell.run("%mjci connect --mj-url http://127.0.0.1:9 --wait 5")
    assert (later.settings.wait, later.settings.timeout, later.settings.at_once) == (5.0, 7.0, 3)


def test_first_connection_uses_config_and_environment(
    empty_shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it connects to the sandbox."""
    monkeypatch.setenv("MJCI_TIMEOUT", "9")
    empty_shell.run("%config MJCI.wait = 300")
    empty_shell.run("%mj_queue")
    settings = _EXTENSIONS[empty_shell.ip].magics.current_session.get_or_connect().settings
    assert (settings.wait, settings.timeout) == (300.0, 9.0)


def test_thumbnail_size_follows_config(shell: Shell) -> None:
    shell.run("%config MJCI.thumbnail = 100")
    shell.run("%mj_imagine a red fox")
    assert shell.outputs[1]["metadata"]["image/jpeg"]["width"] == 100


def test_configuration_file_is_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    """`c.MJCI.wait = 300` in ipython_config.py, before the extension is loaded."""
    config = Config()
    config.MJCI.wait, config.MJCI.timeout = 300, "7"
    ip = make_shell(config)
    ip.extension_manager.load_extension("jupyter_mjci")
    ip.push({"s": jupyter_mjci.sandbox()})
    assert ip.run_line_magic("config", "MJCI.timeout") == 7.0
    assert (
        _EXTENSIONS[ip].magics.current_session.connect(mj_url="http://127.0.0.1:9").settings.wait
        == 300.0
    )


def test_invalid_configuration_file_prevents_loading() -> None:
    """Once it is corrected, loading works."""
    config = Config()
    config.MJCI.wait = "soon"
    ip = make_shell(config)
    with pytest.raises(SettingsError, match="expected a float"):
        jupyter_mjci.load_ipython_extension(ip)
    assert "mj_imagine" not in ip.magics_manager.magics["line"]
    ip.config.MJCI.wait = 5
    jupyter_mjci.load_ipython_extension(ip)
    assert ip.run_line_magic("config", "MJCI.wait") == 5.0


def test_value_can_be_set_without_a_selected_session(empty_shell: Shell, session: Session) -> None:
    """It then applies to later sessions."""
    with jupyter_mjci.sandbox() as other:
        empty_shell.ip.push({"one": session, "other": other})
        empty_shell.run("%config MJCI.wait = 300")
        assert empty_shell.run("%config MJCI.wait") == 300.0
        assert (session.settings.wait, other.settings.wait) == (900.0, 900.0)


# (assignment, part of the message)
INVALID_VALUES: tuple[tuple[str, str], ...] = (
    ("wait = 'soon'", "expected a float"),
    ("wait = -1", "wait must be more than 0"),
    ("on_interrupt = 'stop'", "'detach', 'cancel'"),
    ("wiat = 3", "Available: allow_private, at_once, ca_file, home, language, max_jobs"),
    ("profile = 'nope'", "There is no profile 'nope'"),
    ("mj_secret = 'hush'", "Set MJCI_MJ_SECRET"),
    ("ci_secret_id = 'hush'", "Set MJCI_CI_SECRET_ID"),
)


@pytest.mark.parametrize(("assignment", "message"), INVALID_VALUES)
def test_invalid_value_is_rejected_and_changes_nothing(
    shell: Shell, session: Session, assignment: str, message: str, caplog: Any
) -> None:
    """The message never contains a secret's value."""
    shell.run("%config MJCI.wait = 300")
    shell.run(f"%config MJCI.{assignment}")
    assert message in caplog.text
    assert "hush" not in caplog.text
    assert _EXTENSIONS[shell.ip].config.config_values == {"wait": 300}
    assert session.settings.wait == 300.0
    shell.run("%unload_ext jupyter_mjci\n%load_ext jupyter_mjci")
    assert shell.run("%config MJCI.wait") == 300.0
    assert "hush" not in str(shell.ip.config)
