"""Where settings come from, and that secrets stay secret."""

from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail
from keyring.errors import KeyringLocked

import jupyter_mjci as mjci
from jupyter_mjci.client import settings as client_settings
from jupyter_mjci.client.settings import (
    Secret,
    find_exposed_secrets,
    is_headless,
    load_known_secrets,
    load_runtime_settings,
)
from jupyter_mjci.diagnostics import diagnose
from jupyter_mjci.errors import SettingsError, SettingsWarning
from jupyter_mjci.services import load_settings

PROFILES = """
[default]
mj_url = "http://file"
mj_secret = "from-file"
ci_region = "ap-file"

[work]
mj_url = "http://work"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "profiles.toml"
    path.write_text(PROFILES)
    path.chmod(0o600)
    return path


def test_profile_file_that_others_can_read_is_warned_of(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By every session, and by doctor; one without secrets may be read."""
    monkeypatch.setattr(client_settings, "get_profile_path", lambda: file)
    assert find_exposed_secrets() == ""
    file.chmod(0o640)
    with pytest.warns(SettingsWarning, match=r"mode 640.*chmod 600") as caught:
        load_settings(environ={})
    assert "from-file" not in str(caught[0].message)
    with pytest.warns(SettingsWarning), mjci.sandbox() as session:
        finding = diagnose(session)[0]
    assert (finding.name, finding.ok) == ("profiles.toml", False)
    assert finding.fix == f"chmod 600 {file}"
    file.write_text('[default]\nmj_url = "http://file"\nmj_secret = "keyring:"\n')
    assert find_exposed_secrets() == ""


def test_sources_override_in_documented_order(file: Path) -> None:
    """Keyword arguments, then the environment, then the profile, then the default."""
    environ = {"MJCI_MJ_URL": "http://env", "MJCI_CI_REGION": "ap-env"}
    settings = load_settings(
        {"mj_url": "http://given", "ci_region": None}, environ=environ, file=file
    )
    assert (settings.mj_url, settings.ci_region, settings.mj_secret.reveal(), settings.mj_auth) == (
        "http://given",
        "ap-env",
        "from-file",
        "secret",
    )


def test_profile_is_chosen_by_name(file: Path) -> None:
    assert load_settings(environ={"MJCI_PROFILE": "work"}, file=file).mj_url == "http://work"
    assert load_settings(environ={}, profile="work", file=file).mj_url == "http://work"


@pytest.mark.parametrize(
    ("text", "profile"),
    [(None, "work"), ("[a]", "b"), ("[default]\nmj_ulr = 'x'", None), ("[default", None)],
)
def test_invalid_profiles_raise_settings_error(
    tmp_path: Path, text: str | None, profile: str | None
) -> None:
    path = tmp_path / "p.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError):
        load_settings(environ={}, profile=profile, file=path)


def test_credentials_have_their_source(file: Path) -> None:
    """Not what it is."""
    environ = {"TENCENTCLOUD_SECRET_ID": "AKID1", "MJCI_CI_TOKEN": "t"}
    settings = load_settings({"ci_secret_key": "k"}, environ=environ, file=file)
    credentials = ("mj_secret", "ci_secret_id", "ci_secret_key", "ci_token")
    assert {name: getattr(settings, name).source for name in credentials} == {
        "mj_secret": "profile default",
        "ci_secret_id": "environment: TENCENTCLOUD_SECRET_ID",
        "ci_secret_key": "argument",
        "ci_token": "environment: MJCI_CI_TOKEN",
    }
    again = load_settings({"mj_secret": settings.mj_secret}, environ={})
    assert again.mj_secret.source == "profile default"


def test_table_of_a_service_in_a_profile_is_read(tmp_path: Path) -> None:
    """`[default.mj]` has the settings of the service by their short names."""
    path = tmp_path / "profiles.toml"
    path.touch(0o600)
    path.write_text(
        """
        [default]
        wait = 5
        [default.mj]
        url = "http://file"
        secret = "s3cr3t"
        [default.ci]
        cos_endpoint = "http://cos"
        """
    )
    settings = load_settings(environ={}, file=path)
    assert (settings.wait, settings.mj_url, settings.cos_endpoint) == (
        5,
        "http://file",
        "http://cos",
    )
    assert settings.mj_secret.reveal() == "s3cr3t"
    assert load_known_secrets({}, path) == {"mj_secret of the profile default": "s3cr3t"}
    path.write_text("[default.mj]\nurll = 'x'")
    with pytest.raises(SettingsError, match=r"mj\.urll"):
        load_settings(environ={}, file=path)


# --- the keyring ----------------------------------------------------------------------------------


class MemoryKeyring(KeyringBackend):
    """A keyring in memory."""

    priority = 1.0  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.passwords: dict[tuple[str, str], str] = {}
        self.requests: list[tuple[str, str]] = []
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        self.requests.append((service, username))
        if self.locked:
            raise KeyringLocked("Failed to unlock the collection!")
        return self.passwords.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.passwords[service, username] = password


@pytest.fixture
def ring() -> Iterator[MemoryKeyring]:
    before, ring = keyring.get_keyring(), MemoryKeyring()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


KEYRING_PROFILES = """
[default]
mj_url = "http://file"
mj_secret = "keyring:"

[work]
mj_url = "http://work"
mj_secret = "keyring:"
ci_secret_id = "keyring:tencent-id"
"""


@pytest.fixture
def keyring_profiles(tmp_path: Path) -> Path:
    path = tmp_path / "profiles.toml"
    path.write_text(KEYRING_PROFILES)
    return path


def test_keyring_values_are_read_by_profile_and_by_name(
    ring: MemoryKeyring, keyring_profiles: Path
) -> None:
    """By the profile's and the setting's name, or by the name that stands there; as environment and
    arguments may.
    """
    keyring.set_password("jupyter_mjci", "default.mj_secret", "s1")
    keyring.set_password("jupyter_mjci", "work.mj_secret", "s2")
    keyring.set_password("jupyter_mjci", "tencent-id", "AKID1")
    plain, work = (
        load_settings(environ={}, file=keyring_profiles),
        load_settings(environ={}, profile="work", file=keyring_profiles),
    )
    assert (plain.mj_secret.reveal(), plain.mj_secret.source) == (
        "s1",
        "keyring: default.mj_secret",
    )
    assert (work.mj_secret.reveal(), work.ci_secret_id) == ("s2", "AKID1")
    assert work.ci_secret_id.source == "keyring: tencent-id"  # type: ignore[attr-defined]
    settings = load_settings(
        {"ci_token": "keyring:tencent-id"},
        environ={"MJCI_MJ_SECRET": "keyring:"},
        file=Path("/nowhere"),
    )
    assert (settings.mj_secret.reveal(), settings.ci_token.reveal()) == ("s1", "AKID1")


def test_keyring_is_not_read_unless_selected(ring: MemoryKeyring, keyring_profiles: Path) -> None:
    """Asking may open a window. A nearer source is enough; other settings, and `scan`, never need
    it.
    """
    assert (
        load_settings(environ={"MJCI_MJ_SECRET": "mine"}, file=keyring_profiles).mj_secret.reveal()
        == "mine"
    )
    load_runtime_settings({"wait": 5})
    assert load_known_secrets({"MJCI_MJ_SECRET": "keyring:"}, keyring_profiles) == {}
    assert ring.requests == []


def test_keyring_failures_raise_settings_error_with_hint(
    ring: MemoryKeyring, keyring_profiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No entry, locked, no backend at all, no library: before anything is sent."""
    with pytest.raises(SettingsError, match=r"keyring set jupyter_mjci default\.mj_secret"):
        load_settings(environ={}, file=keyring_profiles)
    ring.locked = True
    with pytest.raises(SettingsError, match="KeyringLocked: Failed to unlock"):
        load_settings(environ={}, file=keyring_profiles)
    keyring.set_keyring(fail.Keyring())
    with pytest.raises(SettingsError, match="NoKeyringError"):
        load_settings(environ={}, file=keyring_profiles)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(SettingsError, match=r"pip install 'jupyter_mjci\[keyring\]'"):
        load_settings(environ={}, file=keyring_profiles)


# --- what cannot be -------------------------------------------------------------------------------


def test_unknown_and_invalid_settings_raise_settings_error() -> None:
    with pytest.raises(SettingsError, match="mj_urll"):
        load_settings({"mj_urll": "x"}, environ={})
    with pytest.raises(SettingsError, match="wait"):
        load_settings({"wait": "long"}, environ={})
    with pytest.raises(SettingsError, match="bearer"):
        load_settings({"mj_auth": "basic"}, environ={})
    with pytest.raises(SettingsError, match="detach, cancel"):
        load_settings(environ={"MJCI_ON_INTERRUPT": "stop"})
    for wrong in ({"wait": 0}, {"at_once": -1}, {"timeout": "nan"}, {"thumbnail": 0}):
        with pytest.raises(SettingsError, match="must be more than 0"):
            load_settings(wrong, environ={})


def test_tencent_variables_are_read_where_ours_are_not_set() -> None:
    """Tencent's own variables are read where ours are not set."""
    environ = {
        "TENCENTCLOUD_SECRET_ID": "AKID1",
        "TENCENTCLOUD_SECRET_KEY": "k",
        "MJCI_CI_SECRET_KEY": "mine",
    }
    settings = load_settings(environ=environ, file=Path("/nowhere"))
    assert (settings.ci_secret_id, settings.ci_secret_key.reveal()) == ("AKID1", "mine")


def test_secrets_are_masked_in_repr_and_format_and_never_pickled() -> None:
    """No repr, text or format of the settings holds it."""
    given = {"mj_secret": Secret("s3cr3t"), "ci_secret_key": "k3y", "ci_token": "t0ken"}
    settings = load_settings(given, environ={})
    text = f"{settings!r}{settings}{settings.mj_secret}{settings.mj_secret:}"
    assert not any(word in text for word in ("s3cr3t", "k3y", "t0ken"))
    assert isinstance(settings.ci_secret_key, Secret)
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(settings)


def test_copies_of_settings_keep_their_secrets() -> None:
    settings = load_settings({"mj_secret": "s3cr3t"}, environ={})
    for other in (copy.copy(settings), copy.deepcopy(settings), replace(settings, wait=5)):
        assert other.mj_secret.reveal() == "s3cr3t"


@pytest.mark.parametrize(
    ("text", "expected"), [("", None), ("1", True), ("0", False), ("no", False), ("yes", True)]
)
def test_headless_by_environment(text: str, expected: bool | None) -> None:
    assert is_headless({"MJCI_HEADLESS": text}) is expected
