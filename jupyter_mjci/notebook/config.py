"""`%config MJCI`: how the sessions of a shell's magics behave.

Its traits are made from `Settings`, so a setting is written once. Who one is and where the services
are (mj_…, ci_…, cos_…) is no matter of a shell: that stays with environment and profiles, and no
secret is ever a trait.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traitlets import CFloat, CInt, Enum, TraitError, TraitType, Unicode
from traitlets.config import Config, Configurable

from jupyter_mjci.client.settings import RUNTIME_SETTINGS, Settings, load_runtime_settings
from jupyter_mjci.errors import SettingsError

if TYPE_CHECKING:
    from jupyter_mjci.session import Session

SECTION = "MJCI"
SHELL_FIELDS = {
    one.name: one for one in fields(Settings) if not one.name.startswith(("mj_", "ci_", "cos_"))
}
UNSUPPORTED_HINTS = {
    one.name: f"Set {one.metadata['env'][0]}, or write it into a profile."
    for one in fields(Settings)
}
TRAIT_TYPES: dict[type, type[TraitType[Any, Any]]] = {float: CFloat, int: CInt}


class MJCIConfig(Configurable):
    """What was set for a shell, and what holds for it."""

    def __init__(self, ip: Any, get_session: Callable[[], Session | None]) -> None:
        self._ip, self._get_session = ip, get_session
        try:
            super().__init__(parent=ip)
        except TraitError as error:
            raise SettingsError(
                f"c.{SECTION} cannot be: {error}", hint="Correct it in ipython_config.py."
            ) from None

    @property
    def config_values(self) -> dict[str, Any]:
        """What was set here or in a configuration file, by name; a `profile` among it is no
        setting.
        """
        told = self.config[SECTION]
        return {name: told[name] for name in self.trait_names(config=True) if name in told}

    def settings(self) -> Settings:
        """What a session gets that connects now, but for its credentials. Raises SettingsError."""
        return load_runtime_settings(self.config_values)

    def update_config(self, config: Config) -> None:
        """The door of `%config`. What cannot be is not kept; the session in use takes over what it
        can.
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
            self._ip.config[SECTION] = before[
                SECTION
            ]  # the shell hears it first, and would hand it on at a reload
            raise
        with suppress(SettingsError):  # several sessions, and none chosen: then none is in use
            if session := self._get_session():
                session.configure(
                    **{
                        name: getattr(settings, name)
                        for name in RUNTIME_SETTINGS
                        if name in config[SECTION]
                    }
                )

    @classmethod
    def class_get_help(cls, inst: Any = None) -> str:
        """What `%config MJCI` shows."""
        return f"{super().class_get_help(inst)}\n\n{cls.__doc__}"

    def _reject_unknown_names(self, section: Config) -> None:
        known = self.trait_names(config=True)
        for name in section:
            if name not in known:
                hint = UNSUPPORTED_HINTS.get(name, f"There are: {', '.join(known)}.")
                raise SettingsError(f"{name} is not set by %config {SECTION}.", hint=hint)


class _EffectiveTrait:
    """A trait that tells what holds now: what was set, else what environment and profile say."""

    name: str | None

    def get(self, shell: Any, _: Any = None) -> Any:
        if self.name == "profile":
            return shell.config_values.get("profile", "")
        value = getattr(shell.settings(), self.name or "")
        return str(value) if isinstance(value, Path) else value


def _make_trait(field: Field[Any]) -> Any:
    help, choices = field.metadata["help"], field.metadata["choices"]
    kind = Enum if choices else TRAIT_TYPES.get(type(field.default), Unicode)
    made = type(kind.__name__.removeprefix("C"), (_EffectiveTrait, kind), {})
    return (made(choices, help=help) if choices else made(help=help)).tag(config=True)


PROFILE = type("Unicode", (_EffectiveTrait, Unicode), {})(
    help="A table of profiles.toml; else MJCI_PROFILE"
).tag(config=True)
DOC = """What is set holds for sessions that magics connect from now on, before environment and profile; the session
in use takes over wait, timeout, on_interrupt and thumbnail. To keep it: c.MJCI.wait = 300 in ipython_config.py.
Addresses and secrets are no matter of a shell; they belong into the environment or into profiles.toml."""
TRAITS = {name: _make_trait(one) for name, one in SHELL_FIELDS.items()}
MJCI: Any = type(SECTION, (MJCIConfig,), {**TRAITS, "profile": PROFILE, "__doc__": DOC})
