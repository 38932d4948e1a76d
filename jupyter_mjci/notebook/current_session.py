"""The session that the magics of a shell use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from jupyter_mjci.client.settings import RUNTIME_SETTINGS, Settings, load_runtime_settings
from jupyter_mjci.errors import SettingsError
from jupyter_mjci.notebook import cards

if TYPE_CHECKING:
    from jupyter_mjci.session import Session


SessionT = TypeVar("SessionT", bound="Session | None")


class CurrentSession:
    """The session that the magics of one shell use: the chosen one, else the one in the user's
    namespace, else a first connection of our own.
    """

    def __init__(self, ip: Any, get_config: Callable[[], Mapping[str, Any]] = dict) -> None:
        self._ip, self._get_config = ip, get_config
        self._session: Session | None = None
        self._source = ""
        self._default: Session | None = None
        self.unrecorded: tuple[Session | None, str] = (None, "")  # what a recording stands before

    def get_or_connect(self) -> Session:
        """The session to use; connects when there is none. Raises SettingsError."""
        found, _ = self.get()
        if found is None:
            found = self._default = self.connect()
        return found

    def connect(self, **overrides: Any) -> Session:
        """A new session: by what is given, else by `%config MJCI`, else by environment and
        profile.
        """
        from jupyter_mjci.session import connect

        told = {name: value for name, value in overrides.items() if value is not None}
        return connect(notice=self._publish_notice, **{**self._get_config(), **told})

    def save_state(self) -> tuple[Any, ...]:
        """What outlives an unloading, for `take`."""
        return self._session, self._source, self._default, self.unrecorded

    def restore_state(self, state: tuple[Any, ...]) -> None:
        self._session, self._source, self._default, self.unrecorded = state

    def settings(self) -> Settings:
        """What a new session would get, but for its credentials. Raises SettingsError."""
        return load_runtime_settings(self._get_config())

    def runtime_settings(self) -> dict[str, Any]:
        """What `%config MJCI` says of any session, wherever it is connected."""
        return {
            name: value for name, value in self._get_config().items() if name in RUNTIME_SETTINGS
        }

    def get(self) -> tuple[Session | None, str]:
        """The session that is there, and why it is the one. Never connects."""
        if self._session is not None:
            return self._session, self._source
        mine = self._find_in_namespace()
        if len(mine) > 1:
            raise SettingsError(
                f"There are several sessions: {', '.join(mine)}.",
                hint=f"Choose one: %mjci use {next(iter(mine))}",
            )
        for name, session in mine.items():
            return session, f"your variable {name}"
        return self._default, "connected by the first magic" if self._default else ""

    def set(self, session: SessionT, source: str) -> SessionT:
        self._session, self._source = session, source
        return session

    def from_variable(self, name: str) -> Session:
        """The session in a variable. Raises SettingsError."""
        kind, value = _get_session_type(), self._ip.user_ns.get(name)
        if kind is not None and isinstance(value, kind):
            found: Session = value
            return found
        known = ", ".join(self._find_in_namespace()) or "none"
        raise SettingsError(f"{name} is no session.", detail=f"Variables that hold one: {known}.")

    def _find_in_namespace(self) -> dict[str, Session]:
        """Variables that hold a session, each session once; none before the session's module was
        ever imported.
        """
        kind = _get_session_type()
        if kind is None:
            return {}
        found: dict[int, tuple[str, Session]] = {}
        for name, value in list(self._ip.user_ns.items()):
            if not name.startswith("_") and isinstance(value, kind):
                found.setdefault(id(value), (name, value))
        return dict(found.values())

    def _publish_notice(self, line: str) -> None:
        """A line that must be seen, as an output: the same live and headless, and not on stdout."""
        data = {"text/plain": line, "text/html": cards.notice_html(line)}
        self._ip.display_pub.publish(data, {})


def _get_session_type() -> Any:
    module = sys.modules.get("jupyter_mjci.session")
    return getattr(module, "Session", None)
