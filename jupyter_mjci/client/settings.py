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
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NoReturn

from jupyter_mjci.client.prices import Prices, parse_prices
from jupyter_mjci.client.redaction import REDACTED
from jupyter_mjci.client.translation import AUTO, LANGUAGES
from jupyter_mjci.errors import SettingsError, SettingsWarning


class Secret:
    """A string that is masked in `repr`, `str` and formatting; `reveal()` returns it.

    Copies keep it. It cannot be pickled: a pickle would be a file
    or a message with the secret in clear.

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

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("A Secret cannot be pickled. Load the settings again where they are used.")


class SourcedStr(str):
    """A string that is not secret, and that says where it was set."""

    source = ""


def define_setting(
    default: Any,
    help: str,
    *env: str,
    choices: tuple[str, ...] = (),
    required: bool = False,
    credential: bool = False,
    name: str = "",
    parse: Callable[[object, str], object] | None = None,
) -> Any:
    """Return the dataclass field of a setting.

    Args:
        default: its default, which also gives its type
        help: what it means, and its unit
        env: variables that set it, the first before the others;
            a section's settings have MJCI_KEY_FIELD before these
        choices: its valid values; () for any
        required: whether its service cannot be used without it
        credential: whether it may be in the keyring and is never
            stored in a recording
        name: its name outside its section, if it is not KEY_FIELD
        parse: from a value and the setting's name to the valid
            value; raises SettingsError
    """
    return field(
        default=default,
        # A `Secret` shows itself masked.
        repr=not credential or isinstance(default, Secret),
        metadata={
            "help": help,
            "env": env,
            "choices": choices,
            "required": required,
            "credential": credential,
            "name": name,
            "parse": parse,
        },
    )


@dataclass(frozen=True, slots=True)
class SettingsSection:
    """The settings of one service: a subclass has a field for each.

    A field is KEY_FIELD as a keyword argument and in a profile
    (`mj_url`), FIELD in the profile's table KEY, and MJCI_KEY_FIELD
    in the environment.
    """

    def __post_init__(self) -> None:
        _validate_fields(self)

    @property
    def missing(self) -> tuple[str, ...]:
        """The required fields that are not set."""
        return tuple(
            setting.name
            for setting in fields(self)
            if setting.metadata["required"] and not getattr(self, setting.name)
        )

    @property
    def is_configured(self) -> bool:
        """Whether the service can be used."""
        return not self.missing


# A service's key -> the class of its section.
SectionTypes = Mapping[str, type[SettingsSection]]


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one connection. Secrets are wrapped in `Secret`.

    Args:
        sections: the settings of each service, by its key; one is
            also an attribute KEY_FIELD: `settings.mj_url`
    """

    sections: Mapping[str, SettingsSection] = field(default_factory=dict)
    home: Path = define_setting(
        Path(),
        "Folder of the journal and the pictures; by default with the user's data",
        "MJCI_HOME",
    )
    wait: float = define_setting(900.0, "Seconds to wait for a job", "MJCI_WAIT")
    stalled: float = define_setting(
        10.0, "Minutes without a change after which a job counts as stalled", "MJCI_STALLED"
    )
    timeout: float = define_setting(60.0, "Timeout of one request, in seconds", "MJCI_TIMEOUT")
    at_once: int = define_setting(16, "Maximum number of requests in flight", "MJCI_AT_ONCE")
    ca_file: str = define_setting(
        "", "File of certificates (PEM) to trust beside the usual ones", "MJCI_CA_FILE"
    )
    allow_private: bool = define_setting(
        False,
        "Whether links in answers may lead to loopback, link-local and private addresses where "
        "no service is: yes, no",
        "MJCI_ALLOW_PRIVATE",
    )
    replay: str = define_setting(
        "", "Recording of the session: record, play or off; with :FOLDER (NAME.mjci)", "MJCI_REPLAY"
    )
    speed: float = define_setting(20.0, "Speed of the embedded sandbox's clock", "MJCI_SPEED")
    on_interrupt: str = define_setting(
        "detach",
        "What an interrupt does to the cell's job: detach (it keeps running at the service), "
        "cancel (the service is asked to cancel it)",
        "MJCI_ON_INTERRUPT",
        choices=("detach", "cancel"),
    )
    max_jobs: int = define_setting(
        100, "Most jobs that one cell, click or batch may submit", "MJCI_MAX_JOBS"
    )
    prices: Prices = define_setting(
        Prices(),
        "What a job costs, in any unit: a table by action, SERVICE/ACTION or "
        'SERVICE/ACTION/QUEUE, "*" for any; as text: imagine=0.03, ci/*=0.0005',
        "MJCI_PRICES",
        parse=parse_prices,
    )
    language: str = define_setting(
        AUTO,
        "Language of the labels of cards and panels: auto (a page shows them in its browser's "
        "language, saved outputs are English), en, zh",
        "MJCI_LANGUAGE",
        choices=(AUTO, *LANGUAGES),
    )
    thumbnail: int = define_setting(
        512, "Pixels of the longer side of a picture in a notebook", "MJCI_THUMBNAIL"
    )

    def __post_init__(self) -> None:
        _validate_fields(self)
        if self.home == Path():
            object.__setattr__(self, "home", _get_app_folder("user_data_dir"))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "sections":  # while it is copied
            raise AttributeError(name)
        for setting in list_section_settings(_get_types(self.sections)):
            if setting.name == name:
                return getattr(self.sections[setting.section], setting.field.name)
        raise AttributeError(f"There is no setting {name}.")


@dataclass(frozen=True, slots=True)
class NamedSetting:
    """One setting by its full name.

    Args:
        section: the key of its service; "" for a general setting
        field: its dataclass field
    """

    section: str
    field: Field[Any]

    @property
    def name(self) -> str:
        """Its name as a keyword argument."""
        if not self.section:
            return self.field.name
        return self.field.metadata["name"] or f"{self.section}_{self.field.name}"

    @property
    def env(self) -> tuple[str, ...]:
        """The variables that set it, the first before the others."""
        if not self.section:
            return tuple(self.field.metadata["env"])
        return (f"MJCI_{self.name.upper()}", *self.field.metadata["env"])

    @property
    def is_credential(self) -> bool:
        return bool(self.field.metadata["credential"])


def list_section_settings(sections: SectionTypes) -> list[NamedSetting]:
    """Return the settings of all sections, in their order."""
    return [
        NamedSetting(key, setting)
        for key, section in sections.items()
        for setting in fields(section)
    ]


def list_settings(sections: SectionTypes) -> list[NamedSetting]:
    """Return all settings, those of the sections first."""
    general = [NamedSetting("", setting) for setting in GENERAL_SETTINGS.values()]
    return [*list_section_settings(sections), *general]


def _get_types(sections: Mapping[str, SettingsSection]) -> SectionTypes:
    return {key: type(section) for key, section in sections.items()}


GENERAL_SETTINGS = {
    setting.name: setting for setting in fields(Settings) if setting.name != "sections"
}
# Settings of a session that do not depend on what it is connected
# to.
RUNTIME_SETTINGS = (
    "wait",
    "timeout",
    "on_interrupt",
    "max_jobs",
    "prices",
    "language",
    "thumbnail",
)


# --- loading ----------------------------------------------


def load(
    overrides: Mapping[str, Any] | None = None,
    sections: SectionTypes | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    profile: str | None = None,
    file: Path | None = None,
) -> Settings:
    """Load the effective settings.

    Args:
        overrides: settings by name, which override all other
            sources; None counts as not given
        sections: the class of each service's section
        environ: the environment; by default the process's
        profile: the profile's name; by default MJCI_PROFILE, else
            "default"
        file: the profile file; by default `get_profile_path()`

    Raises:
        SettingsError: a name is unknown, a value invalid, or the
            profile does not exist
    """
    sections = sections or {}
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    _reject_unknown_names(given, sections, "")
    profile = profile or environ.get("MJCI_PROFILE")
    profile_values = _read_profile(profile, file, sections)
    exposed = find_exposed_secrets(file)
    if exposed:
        warnings.warn(SettingsWarning(exposed), stacklevel=2)
    _reject_unknown_names(profile_values, sections, f" in {file or get_profile_path()}")
    # Every value with its source. Later sources override earlier
    # ones.
    sourced: dict[str, tuple[Any, str]] = {}
    for name, value in profile_values.items():
        sourced[name] = value, f"profile {profile or 'default'}"
    sourced.update(_read_environ(environ, sections))
    for name, value in given.items():
        sourced[name] = value, "argument"
    values = {name: value for name, (value, _) in sourced.items()}
    for setting in list_section_settings(sections):
        if setting.is_credential and setting.name in sourced:
            value, source = sourced[setting.name]
            values[setting.name] = _resolve_credential(setting, value, source, profile or "default")
    return build_settings(values, sections)


def build_settings(values: Mapping[str, Any], sections: SectionTypes) -> Settings:
    """Build settings from values by name, without any other source."""
    section_values: dict[str, dict[str, Any]] = {key: {} for key in sections}
    for setting in list_section_settings(sections):
        if setting.name in values:
            value = _validate(setting.field, values[setting.name], setting.name)
            section_values[setting.section][setting.field.name] = value
    general = {name: value for name, value in values.items() if name in GENERAL_SETTINGS}
    built = {key: section(**section_values[key]) for key, section in sections.items()}
    return Settings(sections=built, **general)


def load_runtime_settings(overrides: Mapping[str, Any]) -> Settings:
    """Load the settings without the services' sections, so that
    the keyring is not read and no service is imported. The
    overrides may contain a `profile`.
    """
    given = dict(overrides)
    profile = given.pop("profile", None) or os.environ.get("MJCI_PROFILE")
    _reject_unknown_names(given, {}, "")
    values = {
        **_read_profile(profile, None, {}),
        **{name: value for name, (value, _) in _read_environ(os.environ, {}).items()},
        **{name: value for name, value in given.items() if value is not None},
    }
    return build_settings(values, {})


def list_secrets(settings: Settings) -> list[str]:
    """Return the values of all credentials, to be redacted."""
    values = []
    for setting in list_section_settings(_get_types(settings.sections)):
        value = getattr(settings, setting.name)
        if setting.is_credential and value:
            values.append(value.reveal() if isinstance(value, Secret) else value)
        # An address may have a user name and a password.
        credentials = getattr(value, "credentials", "")
        if credentials:
            values += [credentials, credentials.partition(":")[2]]
    return values


def change_settings(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Return settings with other values.

    Raises:
        SettingsError: one is fixed when a session connects
    """
    fixed = sorted(set(changes) - set(RUNTIME_SETTINGS))
    if fixed:
        raise SettingsError(
            f"{', '.join(fixed)}: fixed when a session connects.",
            hint="Connect again with the new values.",
        )
    return replace(settings, **changes)


def describe_settings(settings: Settings) -> dict[str, str]:
    """Return the settings that requests and waits depend on, with the credentials redacted."""
    described = {}
    for setting in list_section_settings(_get_types(settings.sections)):
        value = getattr(settings, setting.name)
        if value:
            described[setting.name] = REDACTED if setting.is_credential else str(value)
    return {**described, "wait": str(settings.wait), "at_once": str(settings.at_once)}


def _reject_unknown_names(values: Mapping[str, object], sections: SectionTypes, place: str) -> None:
    names = [setting.name for setting in list_settings(sections)]
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise SettingsError(
            f"Unknown setting{place}: {', '.join(unknown)}.",
            hint=f"Available: {', '.join(names)}.",
        )


# --- credentials ------------------------------------------

KEYRING_PREFIX = "keyring:"
KEYRING_SERVICE = "jupyter_mjci"


def _resolve_credential(
    setting: NamedSetting, value: Secret | str, source: str, profile: str
) -> Secret | SourcedStr:
    """Return a credential with its source, from the keyring if it says so."""
    name = setting.name
    source = getattr(value, "source", "") or source
    text = value.reveal() if isinstance(value, Secret) else str(value)
    if text.startswith(KEYRING_PREFIX):
        user = text.removeprefix(KEYRING_PREFIX) or f"{profile}.{name}"
        text = _read_keyring(name, user)
        source = f"keyring: {user}"
    if isinstance(setting.field.default, Secret):
        return Secret(text, source)
    visible = SourcedStr(text)
    visible.source = source
    return visible


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
    secrets |= _find_profile_secrets(file or get_profile_path())
    return {
        name: value
        for name, value in secrets.items()
        if value and not value.startswith(KEYRING_PREFIX)
    }


def _find_profile_secrets(path: Path) -> dict[str, str]:
    secrets = {}
    with contextlib.suppress(OSError, SettingsError):
        for profile, values in _parse_profiles(path).items():
            for name, value in _iter_profile_values(values):
                if _SECRET_NAME.fullmatch(f"MJCI_{name.upper()}"):
                    secrets[f"{name} of the profile {profile}"] = str(value)
    return secrets


def find_exposed_secrets(file: Path | None = None) -> str:
    """Return a warning where others can read a profile file with secrets in it; else "".

    Args:
        file: the profile file; by default `get_profile_path()`
    """
    path = file or get_profile_path()
    try:
        mode = path.stat().st_mode & 0o777
    except OSError:
        return ""
    if os.name != "posix" or not mode & 0o077:
        return ""
    names = list(load_known_secrets({}, path))
    if not names:
        return ""
    return f"Others can read {path} (mode {mode:o}), which holds {names[0]}. Run: chmod 600 {path}"


def _iter_profile_values(values: object) -> Iterator[tuple[str, object]]:
    """Yield a profile's settings, those of a service's table as KEY_FIELD."""
    for name, value in values.items() if isinstance(values, Mapping) else ():
        if isinstance(value, Mapping):
            yield from ((f"{name}_{field_name}", item) for field_name, item in value.items())
        else:
            yield name, value


_SECRET_NAME = re.compile(r"(MJCI|TENCENTCLOUD)_\w*(SECRET|TOKEN|KEY|PASSWORD)\w*")


# --- environment and profile file -------------------------


def is_headless(environ: Mapping[str, str] | None = None) -> bool | None:
    """Return what MJCI_HEADLESS says, or None where it is not set."""
    environ = os.environ if environ is None else environ
    text = environ.get("MJCI_HEADLESS", "").strip().lower()
    if not text:
        return None
    return _SWITCHES.get(text, True)


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


def _read_environ(environ: Mapping[str, str], sections: SectionTypes) -> dict[str, tuple[str, str]]:
    """Return the settings of the environment, each with its variable."""
    values = {}
    for setting in list_settings(sections):
        for variable in setting.env:
            if environ.get(variable):
                values[setting.name] = environ[variable], f"environment: {variable}"
                break
    return values


def _read_profile(name: str | None, file: Path | None, sections: SectionTypes) -> dict[str, Any]:
    """Return a profile's settings by name.

    Without sections these are the general ones only. A table of a
    service (`[default.mj]`) has its settings by their fields.
    """
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
    if not sections:
        return {key: value for key, value in profile.items() if key in GENERAL_SETTINGS}
    return _flatten_tables(profile, sections)


def _flatten_tables(profile: Mapping[str, Any], sections: SectionTypes) -> dict[str, Any]:
    names = {
        (setting.section, setting.field.name): setting.name
        for setting in list_section_settings(sections)
    }
    values: dict[str, Any] = {}
    for key, value in profile.items():
        if isinstance(value, Mapping) and key not in GENERAL_SETTINGS:
            for field_name, field_value in value.items():
                values[names.get((key, field_name), f"{key}.{field_name}")] = field_value
        else:
            values[key] = value
    return values


def _parse_profiles(path: Path) -> dict[str, Any]:
    # Imported here, because a shell that loads the extension may
    # never read a profile.
    import tomllib

    try:
        profiles = tomllib.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:  # TOMLDecodeError and UnicodeDecodeError
        raise SettingsError(f"{path} is not valid TOML.", detail=str(error)[:200]) from None
    lost = [name for name, profile in profiles.items() if not isinstance(profile, Mapping)]
    if lost:
        raise SettingsError(
            f"{path}: {lost[0][:80]} stands outside of a profile.",
            hint="Settings belong below the line [default], or [NAME] of another profile.",
        )
    return profiles


# --- validation -------------------------------------------


def _validate_fields(settings: Settings | SettingsSection) -> None:
    """Convert and check every setting of a dataclass. Raises SettingsError."""
    for setting in fields(settings):
        if "help" in setting.metadata:
            value = _validate(setting, getattr(settings, setting.name), setting.name)
            object.__setattr__(settings, setting.name, value)


def _validate(setting: Field[Any], raw: object, name: str) -> object:
    """Return a setting's value in its type. Raises SettingsError, which has its full name."""
    parse = setting.metadata["parse"]
    value = parse(raw, name) if parse else _convert(name, _strip(raw, name), setting.default)
    choices = setting.metadata["choices"]
    if choices and value not in choices:
        raise SettingsError(
            f"{value!r} is not a valid value of {name}.",
            hint=f"Use one of: {', '.join(choices)}.",
        )
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if is_number and not value > 0:  # type: ignore[operator]
        raise SettingsError(f"{name} must be more than 0, not {value!r}.")
    return value


def _strip(value: object, name: str) -> object:
    """Return a text or a secret without the blanks and line breaks around it."""
    if isinstance(value, Secret):
        return Secret(_strip_secret(value.reveal(), name), value.source)
    if isinstance(value, SourcedStr):
        stripped = SourcedStr(_strip_secret(value, name))
        stripped.source = value.source
        return stripped
    return value.strip() if isinstance(value, str) else value


def _strip_secret(text: str, name: str) -> str:
    text = text.strip()
    if text.isascii() and (text.isprintable() or not text):
        return text
    raise SettingsError(
        f"{name} holds a character that no header can carry.",
        detail="A line break, a quotation mark of a word processor, or another language's letter.",
        hint="Copy it again.",
    )


_SWITCHES = {"1": True, "true": True, "yes": True, "on": True}
_SWITCHES |= {"0": False, "false": False, "no": False, "off": False, "": False}


def _parse_switch(name: str, value: object) -> bool:
    switch = _SWITCHES.get(str(value).lower())
    if switch is None:
        raise SettingsError(f"{name} must be yes or no, not {value!r}.")
    return switch


def _convert(name: str, value: object, default: object) -> object:
    """Return a value in the type of the setting's default."""
    kind: type[Any] = type(default)
    if isinstance(value, kind):
        return value
    if isinstance(default, bool):
        return _parse_switch(name, value)
    if isinstance(default, Path):
        kind = Path
    try:
        return kind(value)
    except (TypeError, ValueError):
        raise SettingsError(f"{name} must be {kind.__name__}, not {value!r}.") from None
