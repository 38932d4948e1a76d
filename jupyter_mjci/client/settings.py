"""Settings and credentials: arguments, environment, profile file, keyring.

Keyword arguments override the environment, the environment
overrides the profile file, the profile overrides the defaults.
This is the only module that reads them. A credential that is
"keyring:" in one of them is read from the operating system's
keyring: service jupyter_mjci, user PROFILE.SETTING, or the name
behind the colon. The keyring is read only then, because it may
prompt the user.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from jupyter_mjci.errors import SettingsError


class Secret:
    """A string that is masked in `repr`, `str`, formatting and pickles; `reveal()` returns it.

    Args:
        text: the secret
        source: where it was set
    """

    __slots__ = ("_text", "source")

    def __init__(self, text: str, source: str = "") -> None:
        self._text = text
        self.source = source

    def reveal(self) -> str:
        """Return the secret itself, for the request that needs it."""
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
    """A string that is not secret, and that says where it was set."""

    source = ""


def _setting(default: Any, help: str, *env: str, choices: tuple[str, ...] = ()) -> Any:
    """Return a dataclass field with a setting's metadata."""
    return field(default=default, metadata={"help": help, "env": env, "choices": choices})


AUTH_STYLES = ("secret", "bearer", "raw")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one connection. Secrets are wrapped in `Secret`."""

    mj_url: str = _setting(
        "", "Base URL of the Midjourney proxy, with or without /mj", "MJCI_MJ_URL"
    )
    mj_secret: Secret = _setting(Secret(""), "Secret or key of the proxy", "MJCI_MJ_SECRET")
    mj_auth: str = _setting(
        "secret",
        "How the secret is sent: secret (mj-api-secret), bearer (Authorization: Bearer …), "
        "raw (Authorization: …)",
        "MJCI_MJ_AUTH",
        choices=AUTH_STYLES,
    )
    ci_secret_id: str = _setting(
        "", "Tencent Cloud SecretId", "MJCI_CI_SECRET_ID", "TENCENTCLOUD_SECRET_ID"
    )
    ci_secret_key: Secret = _setting(
        Secret(""), "Tencent Cloud SecretKey", "MJCI_CI_SECRET_KEY", "TENCENTCLOUD_SECRET_KEY"
    )
    ci_token: Secret = _setting(
        Secret(""), "Session token of a temporary key (STS)", "MJCI_CI_TOKEN", "TENCENTCLOUD_TOKEN"
    )
    ci_bucket: str = _setting("", "Bucket with its APPID: name-1250000000", "MJCI_CI_BUCKET")
    ci_region: str = _setting("", "Region: ap-chongqing, …", "MJCI_CI_REGION")
    ci_endpoint: str = _setting(
        "", "Base URL instead of https://<bucket>.ci.<region>.myqcloud.com", "MJCI_CI_ENDPOINT"
    )
    cos_endpoint: str = _setting(
        "", "Base URL instead of https://<bucket>.cos.<region>.myqcloud.com", "MJCI_COS_ENDPOINT"
    )
    home: Path = _setting(
        Path(),
        "Folder of the journal and the pictures; by default with the user's data",
        "MJCI_HOME",
    )
    wait: float = _setting(900.0, "Seconds to wait for a job", "MJCI_WAIT")
    timeout: float = _setting(60.0, "Timeout of one request, in seconds", "MJCI_TIMEOUT")
    at_once: int = _setting(16, "Maximum number of requests in flight", "MJCI_AT_ONCE")
    replay: str = _setting(
        "", "Recording of the session: record, play or off; with :FOLDER (NAME.mjci)", "MJCI_REPLAY"
    )
    speed: float = _setting(20.0, "Speed of the embedded sandbox's clock", "MJCI_SPEED")
    on_interrupt: str = _setting(
        "detach",
        "What an interrupt does to the cell's job: detach (it keeps running at the service), "
        "cancel (the service is asked to cancel it)",
        "MJCI_ON_INTERRUPT",
        choices=("detach", "cancel"),
    )
    max_jobs: int = _setting(
        100, "Most jobs that one cell, click or batch may submit", "MJCI_MAX_JOBS"
    )
    thumbnail: int = _setting(
        512, "Pixels of the longer side of a picture in a notebook", "MJCI_THUMBNAIL"
    )

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = _validate(setting, getattr(self, setting.name))
            object.__setattr__(self, setting.name, value)
        if self.home == Path():
            object.__setattr__(self, "home", _get_app_folder("user_data_dir"))

    @property
    def has_mj(self) -> bool:
        """Whether a Midjourney proxy is configured; it may need no secret."""
        return bool(self.mj_url)

    @property
    def has_ci(self) -> bool:
        """Whether Tencent CI has key ID, key, bucket and region."""
        return bool(self.ci_secret_id and self.ci_secret_key and self.ci_bucket and self.ci_region)


SETTING_NAMES = tuple(setting.name for setting in fields(Settings))
CREDENTIALS = ("mj_secret", "ci_secret_key", "ci_token", "ci_secret_id")
# Settings of a session that do not depend on what it is connected
# to.
RUNTIME_SETTINGS = ("wait", "timeout", "on_interrupt", "max_jobs", "thumbnail")


# --- loading ----------------------------------------------


def load(
    overrides: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    profile: str | None = None,
    file: Path | None = None,
) -> Settings:
    """Load the effective settings.

    Args:
        overrides: settings by name, which override all other
            sources; None counts as not given
        environ: the environment; by default the process's
        profile: the profile's name; by default MJCI_PROFILE, else
            "default"
        file: the profile file; by default `get_profile_path()`

    Raises:
        SettingsError: a name is unknown, a value invalid, or the
            profile does not exist
    """
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    _reject_unknown_names(given, "")
    profile = profile or environ.get("MJCI_PROFILE")
    # Every value with its source. Later sources override earlier
    # ones.
    sourced: dict[str, tuple[Any, str]] = {}
    for name, value in _read_profile(profile, file).items():
        sourced[name] = value, f"profile {profile or 'default'}"
    sourced.update(_read_environ(environ))
    for name, value in given.items():
        sourced[name] = value, "argument"
    values = {name: value for name, (value, _) in sourced.items()}
    for name in CREDENTIALS:
        if name in sourced:
            value, source = sourced[name]
            values[name] = _resolve_credential(name, value, source, profile or "default")
    return replace(Settings(), **values)


def load_runtime_settings(overrides: Mapping[str, Any]) -> Settings:
    """Load the settings without the credentials, so that the
    keyring is not read. The overrides may contain a `profile`.
    """
    given = {**overrides, **dict.fromkeys(CREDENTIALS, "")}
    profile = given.pop("profile", None)
    return load(given, profile=profile)


def _reject_unknown_names(values: Mapping[str, object], place: str) -> None:
    unknown = sorted(set(values) - set(SETTING_NAMES))
    if unknown:
        raise SettingsError(
            f"Unknown setting{place}: {', '.join(unknown)}.",
            hint=f"Available: {', '.join(SETTING_NAMES)}.",
        )


# --- credentials ------------------------------------------

KEYRING_PREFIX = "keyring:"
KEYRING_SERVICE = "jupyter_mjci"


def _resolve_credential(
    name: str, value: Secret | str, source: str, profile: str
) -> Secret | SourcedStr:
    """Return a credential with its source, from the keyring if it says so."""
    source = getattr(value, "source", "") or source
    text = value.reveal() if isinstance(value, Secret) else str(value)
    if text.startswith(KEYRING_PREFIX):
        user = text.removeprefix(KEYRING_PREFIX) or f"{profile}.{name}"
        text = _read_keyring(name, user)
        source = f"keyring: {user}"
    if name != "ci_secret_id":
        return Secret(text, source)
    key_id = SourcedStr(text)
    key_id.source = source
    return key_id


def _read_keyring(name: str, user: str) -> str:
    try:
        import keyring
    except ImportError:
        raise SettingsError(
            f"{name} is stored in the keyring, and the library keyring is not installed.",
            hint="pip install 'jupyter_mjci[keyring]'",
        ) from None
    try:
        password = keyring.get_password(KEYRING_SERVICE, user)
    except Exception as error:  # every backend raises its own: locked, missing, not accessible
        detail = f"{type(error).__name__}: {error}".splitlines()[0]
        raise SettingsError(
            f"Cannot read {name} from the keyring.",
            detail=detail,
            hint="Unlock it, or set the secret in the environment.",
        ) from None
    if not password:
        raise SettingsError(
            f"The keyring has no entry {user} of {KEYRING_SERVICE}.",
            hint=f"Add it in a shell: keyring set {KEYRING_SERVICE} {user}",
        )
    return password


def load_known_secrets(
    environ: Mapping[str, str] | None = None, file: Path | None = None
) -> dict[str, str]:
    """Return the secrets of the environment (MJCI_*,
    TENCENTCLOUD_*) and of the profile file, by the name of the
    variable or setting.

    The keyring is not read: it may prompt, and this runs in hooks
    without a user.
    """
    environ = os.environ if environ is None else environ
    secrets = {name: value for name, value in environ.items() if _SECRET_NAME.fullmatch(name)}
    with contextlib.suppress(OSError, SettingsError):
        for profile, values in _parse_profiles(file or get_profile_path()).items():
            for name, value in values.items() if isinstance(values, dict) else ():
                if _SECRET_NAME.fullmatch(f"MJCI_{name.upper()}"):
                    secrets[f"{name} of the profile {profile}"] = str(value)
    return {
        name: value
        for name, value in secrets.items()
        if value and not value.startswith(KEYRING_PREFIX)
    }


_SECRET_NAME = re.compile(r"(MJCI|TENCENTCLOUD)_\w*(SECRET|TOKEN|KEY|PASSWORD)\w*")


# --- environment and profile file -------------------------


def is_headless(environ: Mapping[str, str] | None = None) -> bool | None:
    """Return what MJCI_HEADLESS says, or None where it is not set."""
    environ = os.environ if environ is None else environ
    text = environ.get("MJCI_HEADLESS", "").strip().lower()
    if not text:
        return None
    return text not in ("0", "false", "no", "off")


def get_notebook_name(environ: Mapping[str, str] | None = None) -> str:
    """Return the name of this kernel's notebook without its
    extension, or "" where the server does not set
    JPY_SESSION_NAME.
    """
    environ = os.environ if environ is None else environ
    path = Path(environ.get("JPY_SESSION_NAME", ""))
    return path.stem if path.suffix == ".ipynb" else ""


def get_profile_path() -> Path:
    return _get_app_folder("user_config_dir") / "profiles.toml"


def _get_app_folder(kind: str) -> Path:
    import platformdirs

    return Path(getattr(platformdirs, kind)("jupyter_mjci"))


def _read_environ(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Return the settings of the environment, each with its variable."""
    values = {}
    for setting in fields(Settings):
        for variable in setting.metadata["env"]:
            if environ.get(variable):
                values[setting.name] = environ[variable], f"environment: {variable}"
                break
    return values


def _read_profile(name: str | None, file: Path | None) -> dict[str, Any]:
    path = file or get_profile_path()
    if not path.is_file():
        if name:
            raise SettingsError(f"There is no profile {name!r}.", detail=f"{path} does not exist.")
        return {}
    profiles = _parse_profiles(path)
    if name and name not in profiles:
        raise SettingsError(
            f"There is no profile {name!r} in {path}.", hint=f"Available: {', '.join(profiles)}."
        )
    profile = profiles.get(name or "default", {})
    _reject_unknown_names(profile, f" in {path}")
    return dict(profile)


def _parse_profiles(path: Path) -> dict[str, Any]:
    # Imported here, because a shell that loads the extension may
    # never read a profile.
    import tomllib

    try:
        return tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path} is not valid TOML.", detail=str(error)) from None


# --- validation -------------------------------------------


def _validate(setting: Field[Any], raw: object) -> object:
    """Return a setting's value in its type. Raises SettingsError."""
    value = _convert(setting.name, raw, setting.default)
    choices = setting.metadata["choices"]
    if choices and value not in choices:
        raise SettingsError(
            f"{value!r} is not a valid value of {setting.name}.",
            hint=f"Use one of: {', '.join(choices)}.",
        )
    if isinstance(value, (int, float)) and not value > 0:
        raise SettingsError(f"{setting.name} must be more than 0, not {value!r}.")
    return value


def _convert(name: str, value: object, default: object) -> object:
    """Return a value in the type of the setting's default."""
    kind: type[Any] = type(default)
    if isinstance(value, kind):
        return value
    if isinstance(default, Path):
        kind = Path
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise SettingsError(f"{name} must be {kind.__name__}, not {value!r}.") from None
