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


def test_nearer_sources_win(file: Path) -> None:
    """Keyword arguments, then the environment, then the profile, then the default."""
    environ = {"MJCI_MJ_URL": "http://env", "MJCI_CI_REGION": "ap-env"}
    made = load({"mj_url": "http://given", "ci_region": None}, environ=environ, file=file)
    assert (made.mj_url, made.ci_region, made.mj_secret.reveal(), made.mj_auth) == (
        "http://given",
        "ap-env",
        "from-file",
        "secret",
    )


def test_a_profile_is_chosen_by_name(file: Path) -> None:
    assert load(environ={"MJCI_PROFILE": "work"}, file=file).mj_url == "http://work"
    assert load(environ={}, profile="work", file=file).mj_url == "http://work"


@pytest.mark.parametrize(
    ("text", "profile"),
    [(None, "work"), ("[a]", "b"), ("[default]\nmj_ulr = 'x'", None), ("[default", None)],
)
def test_bad_profiles_are_told(tmp_path: Path, text: str | None, profile: str | None) -> None:
    path = tmp_path / "p.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError):
        load(environ={}, profile=profile, file=path)


def test_a_credential_tells_where_it_came_from(file: Path) -> None:
    """Not what it is."""
    environ = {"TENCENTCLOUD_SECRET_ID": "AKID1", "MJCI_CI_TOKEN": "t"}
    made = load({"ci_secret_key": "k"}, environ=environ, file=file)
    assert {name: getattr(made, name).source for name in CREDENTIALS} == {
        "mj_secret": "profile default",
        "ci_secret_id": "environment: TENCENTCLOUD_SECRET_ID",
        "ci_secret_key": "argument",
        "ci_token": "environment: MJCI_CI_TOKEN",
    }
    again = load({"mj_secret": made.mj_secret}, environ={})
    assert again.mj_secret.source == "profile default"


# --- the keyring ----------------------------------------------------------------------------------


class Ring(KeyringBackend):
    """A keyring in memory."""

    priority = 1.0  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}
        self.asked: list[tuple[str, str]] = []
        self.locked = False

    def get_password(self, service: str, username: str) -> str | None:
        self.asked.append((service, username))
        if self.locked:
            raise KeyringLocked("Failed to unlock the collection!")
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password


@pytest.fixture
def ring() -> Iterator[Ring]:
    before, ring = keyring.get_keyring(), Ring()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


KEPT = """
[default]
mj_url = "http://file"
mj_secret = "keyring:"

[work]
mj_url = "http://work"
mj_secret = "keyring:"
ci_secret_id = "keyring:tencent-id"
"""


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    path = tmp_path / "profiles.toml"
    path.write_text(KEPT)
    return path


def test_the_keyring_keeps_what_a_profile_leaves_to_it(ring: Ring, kept: Path) -> None:
    """By the profile's and the setting's name, or by the name that stands there; as environment and
    arguments may.
    """
    keyring.set_password("jupyter_mjci", "default.mj_secret", "s1")
    keyring.set_password("jupyter_mjci", "work.mj_secret", "s2")
    keyring.set_password("jupyter_mjci", "tencent-id", "AKID1")
    plain, work = load(environ={}, file=kept), load(environ={}, profile="work", file=kept)
    assert (plain.mj_secret.reveal(), plain.mj_secret.source) == (
        "s1",
        "keyring: default.mj_secret",
    )
    assert (work.mj_secret.reveal(), work.ci_secret_id) == ("s2", "AKID1")
    assert work.ci_secret_id.source == "keyring: tencent-id"  # type: ignore[attr-defined]
    told = load(
        {"ci_token": "keyring:tencent-id"},
        environ={"MJCI_MJ_SECRET": "keyring:"},
        file=Path("/nowhere"),
    )
    assert (told.mj_secret.reveal(), told.ci_token.reveal()) == ("s1", "AKID1")


def test_the_keyring_is_asked_only_where_it_is_meant(ring: Ring, kept: Path) -> None:
    """Asking may open a window. A nearer source is enough; other settings, and `scan`, never need
    it.
    """
    assert load(environ={"MJCI_MJ_SECRET": "mine"}, file=kept).mj_secret.reveal() == "mine"
    load_runtime_settings({"wait": 5})
    assert load_known_secrets({"MJCI_MJ_SECRET": "keyring:"}, kept) == {}
    assert ring.asked == []


def test_a_keyring_that_gives_nothing_says_what_to_do(
    ring: Ring, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No entry, locked, no backend at all, no library: before anything is sent."""
    with pytest.raises(SettingsError, match=r"keyring set jupyter_mjci default\.mj_secret"):
        load(environ={}, file=kept)
    ring.locked = True
    with pytest.raises(SettingsError, match="KeyringLocked: Failed to unlock"):
        load(environ={}, file=kept)
    keyring.set_keyring(fail.Keyring())
    with pytest.raises(SettingsError, match="NoKeyringError"):
        load(environ={}, file=kept)
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(SettingsError, match=r"pip install 'jupyter_mjci\[keyring\]'"):
        load(environ={}, file=kept)


# --- what cannot be -------------------------------------------------------------------------------


def test_unknown_and_wrong_settings_are_told() -> None:
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


def test_the_second_name_of_a_key_counts() -> None:
    """Tencent's own variables are read where ours are not set."""
    environ = {
        "TENCENTCLOUD_SECRET_ID": "AKID1",
        "TENCENTCLOUD_SECRET_KEY": "k",
        "MJCI_CI_SECRET_KEY": "mine",
    }
    made = load(environ=environ, file=Path("/nowhere"))
    assert (made.ci_secret_id, made.ci_secret_key.reveal()) == ("AKID1", "mine")


def test_a_secret_shows_itself_to_nobody() -> None:
    """No repr, text, format or pickle of the settings holds it."""
    made = Settings(mj_secret=Secret("s3cr3t"), ci_secret_key="k3y", ci_token="t0ken")  # type: ignore[arg-type]
    shown = f"{made!r}{made}{made.mj_secret}{made.mj_secret:}{pickle.dumps(made)!r}"
    assert not any(word in shown for word in ("s3cr3t", "k3y", "t0ken"))
    assert isinstance(made.ci_secret_key, Secret)


@pytest.mark.parametrize(
    ("text", "expected"), [("", None), ("1", True), ("0", False), ("no", False), ("yes", True)]
)
def test_headless_can_be_told(text: str, expected: bool | None) -> None:
    assert is_headless({"MJCI_HEADLESS": text}) is expected
