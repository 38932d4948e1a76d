"""`%config MJCI`: the settings of the sessions that a shell's magics use.

Only settings that concern a shell are traits. Addresses and
credentials (mj_…, ci_…, cos_…) come from the environment and from
profiles, and no secret is ever a trait.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import CBool, CFloat, CInt, Enum, TraitError, Unicode
from traitlets.config import Config, Configurable

from jupyter_mjci.client.prices import Prices
from jupyter_mjci.client.settings import (
    GENERAL_SETTINGS,
    RUNTIME_SETTINGS,
    Settings,
    list_settings,
    load_runtime_settings,
)
from jupyter_mjci.client.translation import AUTO, LANGUAGES
from jupyter_mjci.errors import SettingsError

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from jupyter_mjci.session import Session

SECTION = "MJCI"


class _EffectiveTrait:
    """A trait whose value is the one in effect: what was set,
    else what environment and profile say at the time of reading.
    """

    name: str | None

    def get(self, obj: Any, cls: type[Any] | None = None) -> Any:  # noqa: ARG002
        config: MJCI = obj
        if self.name == "profile":
            return config.config_values.get("profile", "")
        value = getattr(config.settings(), self.name or "")
        return str(value) if isinstance(value, (Path, Prices)) else value


class NumberSetting(_EffectiveTrait, CFloat[float, object]):
    pass


class IntegerSetting(_EffectiveTrait, CInt[int, object]):
    pass


class SwitchSetting(_EffectiveTrait, CBool[bool, object]):
    pass


class TextSetting(_EffectiveTrait, Unicode[str, str]):
    pass


class ChoiceSetting(_EffectiveTrait, Enum[str]):
    pass


def _get_help(name: str) -> str:
    help: str = GENERAL_SETTINGS[name].metadata["help"]
    return help


class MJCI(Configurable):
    """The values apply to sessions that magics connect from now
    on, before environment and profile; the session in use takes
    over wait, timeout, on_interrupt, max_jobs, prices, language
    and thumbnail. To keep a value: c.MJCI.wait = 300 in ipython_config.py.
    Addresses and secrets are not set here; they belong into the
    environment or into profiles.toml.
    """

    home = TextSetting(help=_get_help("home")).tag(config=True)
    wait = NumberSetting(help=_get_help("wait")).tag(config=True)
    timeout = NumberSetting(help=_get_help("timeout")).tag(config=True)
    at_once = IntegerSetting(help=_get_help("at_once")).tag(config=True)
    allow_private = SwitchSetting(help=_get_help("allow_private")).tag(config=True)
    replay = TextSetting(help=_get_help("replay")).tag(config=True)
    speed = NumberSetting(help=_get_help("speed")).tag(config=True)
    on_interrupt = ChoiceSetting(("detach", "cancel"), help=_get_help("on_interrupt")).tag(
        config=True
    )
    stalled = NumberSetting(help=_get_help("stalled")).tag(config=True)
    max_jobs = IntegerSetting(help=_get_help("max_jobs")).tag(config=True)
    prices = TextSetting(help=_get_help("prices")).tag(config=True)
    language = ChoiceSetting((AUTO, *LANGUAGES), help=_get_help("language")).tag(config=True)
    ca_file = TextSetting(help=_get_help("ca_file")).tag(config=True)
    thumbnail = IntegerSetting(help=_get_help("thumbnail")).tag(config=True)
    profile = TextSetting(help="A table of profiles.toml; else MJCI_PROFILE").tag(config=True)

    def __init__(self, ip: InteractiveShell, get_session: Callable[[], Session | None]) -> None:
        self._ip = ip
        self._get_session = get_session
        try:
            super().__init__(parent=ip)
        except TraitError as error:
            raise SettingsError(
                f"Invalid c.{SECTION}: {error}", hint="Correct it in ipython_config.py."
            ) from None

    @property
    def config_values(self) -> dict[str, Any]:
        """What was set here or in a configuration file, by name, including a `profile`."""
        section = self.config[SECTION]
        return {name: section[name] for name in self.trait_names(config=True) if name in section}

    def settings(self) -> Settings:
        """Return the settings, without credentials, of a session that connects now.

        Raises:
            SettingsError: a value of the configuration,
                environment or profile is invalid.
        """
        return load_runtime_settings(self.config_values)

    def update_config(self, config: Config) -> None:
        """Apply `%config MJCI.name = value`, to the session in use as well. IPython calls this.

        An invalid value changes nothing.
        """
        if SECTION not in config:
            return
        before = self.config
        try:
            self._reject_unknown_names(config[SECTION])
            super().update_config(config)
            settings = self.settings()
        except (SettingsError, TraitError):
            self.config = before
            # IPython has changed the shell's configuration first,
            # and a reload would read it.
            self._ip.config[SECTION] = before[SECTION]
            raise
        changed = [name for name in RUNTIME_SETTINGS if name in config[SECTION]]
        # With several sessions and none selected, there is no
        # session in use.
        with suppress(SettingsError):
            session = self._get_session()
            if session is not None:
                session.configure(**{name: getattr(settings, name) for name in changed})

    @classmethod
    def class_get_help(cls, inst: Any = None) -> str:
        """Return what `%config MJCI` shows."""
        return f"{super().class_get_help(inst)}\n\n{cls.__doc__}"

    def _reject_unknown_names(self, section: Config) -> None:
        from jupyter_mjci.services import get_section_types

        known = self.trait_names(config=True)
        for name in section:
            if name in known:
                continue
            hint = f"Available: {', '.join(known)}."
            for setting in list_settings(get_section_types()):
                if setting.name == name:
                    hint = f"Set {setting.env[0]}, or write it into a profile."
            raise SettingsError(f"{name} is not set by %config {SECTION}.", hint=hint)
