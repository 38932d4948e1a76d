"""Where settings come from, and that secrets stay secret."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from jupyter_mjci.client.settings import Secret, Settings, headless, load
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
        "http://given", "ap-env", "from-file", "secret",
    )  # fmt: skip


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


def test_unknown_and_wrong_settings_are_told() -> None:
    with pytest.raises(SettingsError, match="mj_urll"):
        load({"mj_urll": "x"}, environ={})
    with pytest.raises(SettingsError, match="wait"):
        load({"wait": "long"}, environ={})
    with pytest.raises(SettingsError, match="bearer"):
        load({"mj_auth": "basic"}, environ={})


def test_the_second_name_of_a_key_counts() -> None:
    """Tencent's own variables are read where ours are not set."""
    environ = {"TENCENTCLOUD_SECRET_ID": "AKID1", "TENCENTCLOUD_SECRET_KEY": "k", "MJCI_CI_SECRET_KEY": "mine"}
    made = load(environ=environ, file=Path("/nowhere"))
    assert (made.ci_secret_id, made.ci_secret_key.reveal()) == ("AKID1", "mine")


def test_a_secret_shows_itself_to_nobody() -> None:
    """No repr, text, format or pickle of the settings holds it."""
    made = Settings(mj_secret=Secret("s3cr3t"), ci_secret_key="k3y", ci_token="t0ken")  # type: ignore[arg-type]
    shown = f"{made!r}{made}{made.mj_secret}{made.mj_secret:}{pickle.dumps(made)!r}"
    assert not any(word in shown for word in ("s3cr3t", "k3y", "t0ken"))
    assert isinstance(made.ci_secret_key, Secret)


@pytest.mark.parametrize(("text", "expected"), [("", None), ("1", True), ("0", False), ("no", False), ("yes", True)])
def test_headless_can_be_told(text: str, expected: bool | None) -> None:
    assert headless({"MJCI_HEADLESS": text}) is expected
