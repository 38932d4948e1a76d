"""Where the services are and who you are there. The home of the environment, of profile files and
of the keyring.

Keyword arguments win over the environment, the environment over the profile file, the profile over
the defaults. Where one of them says "keyring:" for a secret (or the key id), the operating system's
keyring has it: under the service jupyter_mjci, by the name PROFILE.SETTING, or by the name that
stands behind the colon. It is asked only then, because it may ask a person to unlock it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from jupyter_mjci.errors import SettingsError


class Secret:
    """A text that shows itself to nobody: `repr`, `str`, formats and pickles are masked. `reveal()`
    gives it, `source` tells where it came from.
    """

    __slots__ = ("_text", "source")

    def __init__(self, text: str, source: str = "") -> None:
        self._text, self.source = text, source

    def reveal(self) -> str:
        """The text itself, for the request that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(***)" if self._text else "Secret()"

    __str__ = __repr__

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return Secret, ("",)


class SourcedStr(str):
    """A text that is no secret, but tells where it came from, too."""

    source = ""


def _define_setting(default: Any, help: str, *env: str, choices: tuple[str, ...] = ()) -> Any:
    return field(default=default, metadata={"help": help, "env": env, "choices": choices})


AUTH_STYLES = ("secret", "bearer", "raw")


@dataclass(frozen=True, slots=True)
class Settings:
    """One connection. Texts given for secrets are wrapped; nothing here is ever sent by itself."""

    mj_url: str = _define_setting(
        "", "Base URL of the Midjourney proxy, with or without /mj", "MJCI_MJ_URL"
    )
    mj_secret: Secret = _define_setting(Secret(""), "The proxy's secret or key", "MJCI_MJ_SECRET")
    mj_auth: str = _define_setting(
        "secret",
        "How it is sent: secret (mj-api-secret), bearer (Authorization: Bearer …), raw (Authorization: …)",
        "MJCI_MJ_AUTH",
        choices=AUTH_STYLES,
    )
    ci_secret_id: str = _define_setting(
        "", "Tencent Cloud SecretId", "MJCI_CI_SECRET_ID", "TENCENTCLOUD_SECRET_ID"
    )
    ci_secret_key: Secret = _define_setting(
        Secret(""), "Tencent Cloud SecretKey", "MJCI_CI_SECRET_KEY", "TENCENTCLOUD_SECRET_KEY"
    )
    ci_token: Secret = _define_setting(
        Secret(""), "Session token of a temporary key (STS)", "MJCI_CI_TOKEN", "TENCENTCLOUD_TOKEN"
    )
    ci_bucket: str = _define_setting("", "Bucket with its APPID: name-1250000000", "MJCI_CI_BUCKET")
    ci_region: str = _define_setting("", "Region: ap-chongqing, …", "MJCI_CI_REGION")
    ci_endpoint: str = _define_setting(
        "", "Base URL instead of https://<bucket>.ci.<region>.myqcloud.com", "MJCI_CI_ENDPOINT"
    )
    cos_endpoint: str = _define_setting(
        "", "Base URL instead of https://<bucket>.cos.<region>.myqcloud.com", "MJCI_COS_ENDPOINT"
    )
    home: Path = _define_setting(
        Path(), "Where journal and pictures are kept; by default with the user's data", "MJCI_HOME"
    )
    wait: float = _define_setting(900.0, "How many seconds a job is waited for", "MJCI_WAIT")
    timeout: float = _define_setting(60.0, "How many seconds one request may take", "MJCI_TIMEOUT")
    at_once: int = _define_setting(16, "How many requests may be in flight", "MJCI_AT_ONCE")
    replay: str = _define_setting(
        "",
        "record, play or off: the session's exchanges; with :FOLDER where they are (NAME.mjci)",
        "MJCI_REPLAY",
    )
    speed: float = _define_setting(20.0, "How fast the embedded sandbox's time runs", "MJCI_SPEED")
    on_interrupt: str = _define_setting(
        "detach",
        "What becomes of a job whose cell is interrupted: detach (it goes on at the service), cancel (the service is "
        "asked to cancel it)",
        "MJCI_ON_INTERRUPT",
        choices=("detach", "cancel"),
    )
    thumbnail: int = _define_setting(
        512, "Pixels of the longer side of a picture in a notebook", "MJCI_THUMBNAIL"
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            object.__setattr__(self, one.name, _validate(one, getattr(self, one.name)))
        if self.home == Path():
            object.__setattr__(self, "home", _get_app_folder("user_data_dir"))

    @property
    def has_mj(self) -> bool:
        """Whether a Midjourney proxy is set; it may need no secret."""
        return bool(self.mj_url)

    @property
    def has_ci(self) -> bool:
        """Whether Tencent CI is set whole: key id, key, bucket and region."""
        return bool(self.ci_secret_id and self.ci_secret_key and self.ci_bucket and self.ci_region)


def load(
    overrides: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    profile: str | None = None,
    file: Path | None = None,
) -> Settings:
    """The settings in force. Raises SettingsError for an unknown name, a bad value or a missing
    profile.
    """
    environ = os.environ if environ is None else environ
    overrides = {name: value for name, value in (overrides or {}).items() if value is not None}
    if unknown := sorted(set(overrides) - set(SETTING_NAMES)):
        raise SettingsError(
            f"Unknown setting: {', '.join(unknown)}.", hint=f"Known: {', '.join(SETTING_NAMES)}."
        )
    profile = profile or environ.get("MJCI_PROFILE")
    told = {
        name: (value, f"profile {profile or 'default'}")
        for name, value in _read_profile(profile, file).items()
    }
    told |= _read_environ(environ) | {
        name: (value, "argument") for name, value in overrides.items()
    }
    known = {
        name: _resolve_credential(name, *told[name], profile or "default")
        for name in CREDENTIALS
        if name in told
    }
    return replace(Settings(), **{name: value for name, (value, _) in told.items()} | known)


def load_runtime_settings(overrides: Mapping[str, Any]) -> Settings:
    """The same without who one is, so that no keyring is asked; a `profile` may be among what is
    given.
    """
    told = {**overrides, **dict.fromkeys(CREDENTIALS, "")}
    return load(told, profile=told.pop("profile", None))


KEYRING_PREFIX, KEYRING_SERVICE = "keyring:", "jupyter_mjci"


def _resolve_credential(name: str, value: Any, source: str, profile: str) -> Secret | SourcedStr:
    """What proves who one is, from the keyring where that is said, and where it came from."""
    text = value.reveal() if isinstance(value, Secret) else str(value)
    if text.startswith(KEYRING_PREFIX):
        user = text.removeprefix(KEYRING_PREFIX) or f"{profile}.{name}"
        text, source = _read_keyring(name, user), f"keyring: {user}"
    if name != "ci_secret_id":
        return Secret(text, getattr(value, "source", "") or source)
    key_id = SourcedStr(text)
    key_id.source = getattr(value, "source", "") or source
    return key_id


def _read_keyring(name: str, user: str) -> str:
    try:
        import keyring
    except ImportError:
        raise SettingsError(
            f"{name} is kept in the keyring, and the library for it is not installed.",
            hint="pip install 'jupyter_mjci[keyring]'",
        ) from None
    try:
        found = keyring.get_password(KEYRING_SERVICE, user)
    except Exception as error:  # each backend has errors of its own: it is locked, not there, not to be asked from here
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise SettingsError(
            f"The keyring does not give {name}.",
            detail=why,
            hint="Unlock it, or set the secret in the environment.",
        ) from None
    if not found:
        raise SettingsError(
            f"The keyring has no {user} of {KEYRING_SERVICE}.",
            hint=f"Put it there, in a shell: keyring set {KEYRING_SERVICE} {user}",
        )
    return found


def is_headless(environ: Mapping[str, str] | None = None) -> bool | None:
    """What MJCI_HEADLESS says, or None where it says nothing."""
    text = (os.environ if environ is None else environ).get("MJCI_HEADLESS", "").strip().lower()
    return None if not text else text not in ("0", "false", "no", "off")


def load_known_secrets(
    environ: Mapping[str, str] | None = None, file: Path | None = None
) -> dict[str, str]:
    """The secrets of the environment (MJCI_*, TENCENTCLOUD_*) and of the profile file, by where
    they stand.

    Not those of the keyring: it may ask a person, and this is for hooks and other places where
    nobody is.
    """
    environ = os.environ if environ is None else environ
    found = {name: value for name, value in environ.items() if _SECRET_NAME.fullmatch(name)}
    with contextlib.suppress(OSError, SettingsError):
        for profile, values in _parse_profiles(file or get_profile_path()).items():
            for name in values if isinstance(values, dict) else ():
                if _SECRET_NAME.fullmatch(f"MJCI_{name.upper()}"):
                    found[f"{name} of the profile {profile}"] = str(values[name])
    return {
        name: value
        for name, value in found.items()
        if value and not value.startswith(KEYRING_PREFIX)
    }


_SECRET_NAME = re.compile(r"(MJCI|TENCENTCLOUD)_\w*(SECRET|TOKEN|KEY|PASSWORD)\w*")


def get_notebook_name(environ: Mapping[str, str] | None = None) -> str:
    """The name of the notebook that this kernel runs, without its ending; "" where its server does
    not tell it.
    """
    told = Path((os.environ if environ is None else environ).get("JPY_SESSION_NAME", ""))
    return told.stem if told.suffix == ".ipynb" else ""


def get_profile_path() -> Path:
    return _get_app_folder("user_config_dir") / "profiles.toml"


def _get_app_folder(kind: str) -> Path:
    import platformdirs

    return Path(getattr(platformdirs, kind)("jupyter_mjci"))


def _read_environ(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Values, and the variable that each came from."""
    found = {}
    for one in fields(Settings):
        names = [name for name in one.metadata["env"] if environ.get(name)]
        if names:
            found[one.name] = environ[names[0]], f"environment: {names[0]}"
    return found


def _read_profile(name: str | None, file: Path | None) -> dict[str, Any]:
    path = file or get_profile_path()
    if not path.is_file():
        if name:
            raise SettingsError(f"There is no profile {name!r}.", detail=f"{path} does not exist.")
        return {}
    profiles = _parse_profiles(path)
    chosen = profiles.get(name or "default", None)
    if chosen is None and name:
        raise SettingsError(
            f"There is no profile {name!r} in {path}.", hint=f"It has: {', '.join(profiles)}."
        )
    if unknown := sorted(set(chosen or {}) - set(SETTING_NAMES)):
        raise SettingsError(f"Unknown setting in {path}: {', '.join(unknown)}.")
    return dict(chosen or {})


def _parse_profiles(path: Path) -> dict[str, Any]:
    import tomllib  # here, because a shell that loads the extension may never read a profile

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML.", detail=str(error)) from None


def _validate(setting: Any, raw: Any) -> Any:
    value, choices = _convert(setting.name, raw, setting.default), setting.metadata["choices"]
    if choices and value not in choices:
        raise SettingsError(
            f"{setting.name} is {value!r}.", hint=f"Use one of: {', '.join(choices)}."
        )
    if isinstance(value, (int, float)) and not value > 0:
        raise SettingsError(f"{setting.name} must be more than 0, not {value!r}.")
    return value


def _convert(name: str, value: Any, default: Any) -> Any:
    """The value in the type of the setting's default."""
    kind = type(default) if default is not MISSING else str
    if isinstance(value, kind):
        return value
    if isinstance(default, Path):
        return Path(value)
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise SettingsError(f"{name} must be {kind.__name__}, not {value!r}.") from None


SETTING_NAMES = tuple(one.name for one in fields(Settings))
CREDENTIALS = (
    *(one.name for one in fields(Settings) if isinstance(one.default, Secret)),
    "ci_secret_id",
)
RUNTIME_SETTINGS = (
    "wait",
    "timeout",
    "on_interrupt",
    "thumbnail",
)  # how a session behaves, whatever it is connected to
