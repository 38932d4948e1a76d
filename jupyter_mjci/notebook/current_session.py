"""The session that the magics of a shell use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyter_mjci.client.settings import (
    RUNTIME_SETTINGS,
    Settings,
    load_runtime_settings,
)
from jupyter_mjci.errors import SettingsError
from jupyter_mjci.notebook import cards

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from jupyter_mjci.session import Session

GetConfig = Callable[[], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Selection:
    """A session, if there is one, and why the magics use it."""

    session: Session | None = None
    source: str = ""


@dataclass(slots=True)
class SessionState:
    """What survives a reload of the extension: the `selected`
    session, the `default` one that a magic connected, and the
    `unrecorded` one that a recording or replay has replaced.
    """

    selected: Selection = Selection()
    default: Session | None = None
    unrecorded: Selection = Selection()


class CurrentSession:
    """The session that the magics of one shell use: the selected
    one, else the only one in the user's namespace, else one that
    is connected when a magic needs it.
    """

    def __init__(
        self,
        ip: InteractiveShell,
        get_config: GetConfig = dict,
        state: SessionState | None = None,
    ) -> None:
        self._ip = ip
        self._get_config = get_config
        self.state = state or SessionState()
        # The session that the running line asks for: of each
        # thread its own.
        self._for_line = ContextVar[Selection | None]("for_line", default=None)

    def get_or_connect(self) -> Session:
        """Return the session to use; connect if there is none.

        Raises:
            SettingsError: several sessions exist, or the settings
                are incomplete.
        """
        session = self.get()
        if session is None:
            session = self.connect()
            self.state.default = session
        return session

    def connect(self, **overrides: Any) -> Session:
        """Connect a new session: by the overrides, else `%config
        MJCI`, else environment and profile.
        """
        from jupyter_mjci.connection import connect

        settings = dict(self._get_config())
        settings.update({name: value for name, value in overrides.items() if value is not None})
        return connect(notice=self._publish_notice, **settings)

    def settings(self) -> Settings:
        """Return the settings of a new session, without credentials.

        Raises:
            SettingsError: a value of the configuration,
                environment or profile is invalid.
        """
        return load_runtime_settings(self._get_config())

    def runtime_settings(self) -> dict[str, Any]:
        """Return what `%config MJCI` sets for any session, wherever it connects to."""
        config = self._get_config()
        return {name: config[name] for name in RUNTIME_SETTINGS if name in config}

    def get(self) -> Session | None:
        """Return the session in use, if there is one. Never connects."""
        return self.find().session

    def get_if_unique(self) -> Session | None:
        """Return the session in use; None also where several are there, and none is selected."""
        try:
            return self.get()
        except SettingsError:
            return None

    def find(self) -> Selection:
        """Return the session in use and why it is used. Never connects.

        Raises:
            SettingsError: several variables hold a session, and
                none is selected.
        """
        for_line = self._for_line.get()
        if for_line is not None:
            return for_line
        if self.state.selected.session is not None:
            return self.state.selected
        sessions = self._find_in_namespace()
        if len(sessions) > 1:
            raise SettingsError(
                f"There are several sessions: {', '.join(sessions)}.",
                hint=f"Select one: %mjci use {next(iter(sessions))}",
            )
        for name, session in sessions.items():
            return Selection(session, f"your variable {name}")
        if self.state.default is not None:
            return Selection(self.state.default, "connected by the first magic")
        return Selection()

    def set(self, session: Session, source: str) -> Session:
        """Select a session."""
        self.state.selected = Selection(session, source)
        return session

    def select_for_line(self, name: str, namespace: Mapping[str, object]) -> None:
        """Use the session in a variable, within `restored_after_line`."""
        session = self.from_variable(name, namespace)
        self._for_line.set(Selection(session, f"--session {name}"))

    @contextmanager
    def restored_after_line(self) -> Iterator[None]:
        """Forget at the end which session a line has asked for."""
        token = self._for_line.set(None)
        try:
            yield
        finally:
            self._for_line.reset(token)

    def from_variable(self, name: str, namespace: Mapping[str, object] | None = None) -> Session:
        """Return the session in a variable.

        Raises:
            SettingsError: the variable holds no session.
        """
        session_type = _get_session_type()
        value = (self._ip.user_ns if namespace is None else namespace).get(name)
        if session_type is not None and isinstance(value, session_type):
            return value
        known = ", ".join(self._find_in_namespace()) or "none"
        raise SettingsError(
            f"{name} is not a session.", detail=f"Variables that hold one: {known}."
        )

    def _find_in_namespace(self) -> dict[str, Session]:
        """Return the variables that hold a session, each session once."""
        session_type = _get_session_type()
        if session_type is None:
            return {}
        found: dict[int, tuple[str, Session]] = {}
        for name, value in list(self._ip.user_ns.items()):
            if not name.startswith("_") and isinstance(value, session_type):
                found.setdefault(id(value), (name, value))
        return dict(found.values())

    def _publish_notice(self, line: str) -> None:
        """Publish a line as an output: the same live and headless, and not on stdout."""
        data = {"text/plain": line, "text/html": cards.notice_html(line)}
        self._ip.display_pub.publish(data, {})


def _get_session_type() -> type[Session] | None:
    """Return the Session class if its module was imported. Nobody can hold a session before."""
    module = sys.modules.get("jupyter_mjci.session")
    session_type: type[Session] | None = getattr(module, "Session", None)
    return session_type
