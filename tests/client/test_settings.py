"""Where settings come from, and that secrets stay secret."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail
from keyring.errors import KeyringLocked

from jupyter_mjci.client.settings import (
    CREDENTIALS,
    Secret,
    Settings,
    is_headless,
    load,
    load_known_secrets,
    load_runtime_settings,
)
from jupyter_mjci.errors import SettingsError

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
    return path


def test_sources_override_in_documented_order(file: Path) -> None:
    """Keyword arguments, then the environment, then the profile, then the default."""
    environ = {"MJCI_MJ_URL": "http://env", "MJCI_CI_REGION": "ap-env"}
    settings = load({"mj_url": "http://given", "ci_region": None}, environ=environ, file=file)
    assert (settings.mj_url, settings.ci_region, settings.mj_secret.reveal(), settings.mj_auth) == (
        "http://given",
        "ap-env",
        "from-file",
        "secret",
    )


def test_profile_is_chosen_by_name(file: Path) -> None:
    assert load(environ={"MJCI_PROFILE": "work"}, file=file).mj_url == "http://work"
    assert load(environ={}, profile="work", file=file).mj_url == "http://work"


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
        load(environ={}, profile=profile, file=path)


def test_credentials_have_their_source(file: Path) -> None:
    """Not what it is."""
    environ = {"TENCENTCLOUD_SECRET_ID": "AKID1", "MJCI_CI_TOKEN": "t"}
    settings = load({"ci_secret_key": "k"}, environ=environ, file=file)
    assert {name: getattr(settings, name).source for name in CREDENTIALS} == {
        "mj_secret": "profile default",
        "ci_secret_id": "environment: TENCENTCLOUD_SECRET_ID",
        "ci_secret_key": "argument",
        "ci_token": "environment: MJCI_CI_TOKEN",
    }
    again = load({"mj_secret": settings.mj_secret}, environ={})
    assert again.mj_secret.source == "profile default"


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
        load(environ={}, file=keyring_profiles),
        load(environ={}, profile="work", file=keyring_profiles),
    )
    assert (plain.mj_secret.reveal(), plain.mj_secret.source) == (
        "s1",
        "keyring: default.mj_secret",
    )
    assert (work.mj_secret.reveal(), work.ci_secret_id) == ("s2", "AKID1")
    assert work.ci_secret_id.source == "keyring: tencent-id"  # type: ignore[attr-defined]
    settings = load(
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
        load(environ={"MJCI_MJ_SECRET": "mine"}, file=keyring_profiles).mj_secret.reveal() == "mine"
    )
    load_runtime_settings({"wait": 5})
    assert load_known_secrets({"MJCI_MJ_SECRET": "keyring:"}, keyring_profiles) == {}
    assert ring.requests == []


def test_keyring_failures_raise_settings_error_with_hint(
    ring: MemoryKeyring, keyring_profiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No entry, locked, no backend at all, no library: before anything is sent."""
    with pytest.raises(SettingsError, match=r"keyring set jupyter_mjci default\.mj_secret"):
        load(environ={}, file=keyring_profiles)
    ring.locked = True
    with pytest.raises(SettingsError, match="KeyringLocked: Failed to unlock"):
        load(environ={}, file=keyring_profiles)
    keyring.set_keyring(fail.Keyring())
    with pytest.raises(SettingsError, match="NoKeyringError"):
        load(environ={}, file=keyring_profiles)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(SettingsError, match=r"pip install 'jupyter_mjci\[keyring\]'"):
        load(environ={}, file=keyring_profiles)


# --- what cannot be -------------------------------------------------------------------------------


def test_unknown_and_invalid_settings_raise_settings_error() -> None:
    with pytest.raises(SettingsError, match="mj_urll"):
        load({"mj_urll": "x"}, environ={})
    with pytest.raises(SettingsError, match="wait"):
        load({"wait": "long"}, environ={})
    with pytest.raises(SettingsError, match="bearer"):
        load({"mj_auth": "basic"}, environ={})
    with pytest.raises(SettingsError, match="detach, cancel"):
        load(environ={"MJCI_ON_INTERRUPT": "stop"})
    for wrong in ({"wait": 0}, {"at_once": -1}, {"timeout": "nan"}, {"thumbnail": 0}):
        with pytest.raises(SettingsError, match="must be more than 0"):
            load(wrong, environ={})


def test_tencent_variables_are_read_where_ours_are_not_set() -> None:
    """Tencent's own variables are read where ours are not set."""
    environ = {
        "TENCENTCLOUD_SECRET_ID": "AKID1",
        "TENCENTCLOUD_SECRET_KEY": "k",
        "MJCI_CI_SECRET_KEY": "mine",
    }
    settings = load(environ=environ, file=Path("/nowhere"))
    assert (settings.ci_secret_id, settings.ci_secret_key.reveal()) == ("AKID1", "mine")


def test_secrets_are_masked_in_repr_format_and_pickle() -> None:
    """No repr, text, format or pickle of the settings holds it."""
    settings = Settings(mj_secret=Secret("s3cr3t"), ci_secret_key="k3y", ci_token="t0ken")  # type: ignore[arg-type]
    text = (
        f"{settings!r}{settings}{settings.mj_secret}{settings.mj_secret:}{pickle.dumps(settings)!r}"
    )
    assert not any(word in text for word in ("s3cr3t", "k3y", "t0ken"))
    assert isinstance(settings.ci_secret_key, Secret)


@pytest.mark.parametrize(
    ("text", "expected"), [("", None), ("1", True), ("0", False), ("no", False), ("yes", True)]
)
def test_headless_by_environment(text: str, expected: bool | None) -> None:
    assert is_headless({"MJCI_HEADLESS": text}) is expected
