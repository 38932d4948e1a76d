"""Where the session of a shell's magics is found; imports nothing, so that loading stays cheap."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from jupyter_mjci.notebook.current_session import CurrentSession
    from jupyter_mjci.session import Session

# The magics hold the current session, and are imported when they
# are first needed: hence a callable.
_PROVIDERS: WeakKeyDictionary[InteractiveShell, Callable[[], CurrentSession]] = WeakKeyDictionary()


def register_provider(ip: InteractiveShell, provider: Callable[[], CurrentSession]) -> None:
    """Tell where the current session of a shell is found: at its loaded extension."""
    _PROVIDERS[ip] = provider


def unregister_provider(ip: InteractiveShell) -> None:
    _PROVIDERS.pop(ip, None)


def get_current_session(ip: InteractiveShell) -> Session:
    """Return the session that the magics of a shell use, even before the extension is loaded.

    Raises:
        SettingsError: several sessions exist, or the settings are
            incomplete.
    """
    provider = _PROVIDERS.get(ip)
    if provider is not None:
        return provider().get_or_connect()
    from jupyter_mjci.notebook.current_session import CurrentSession

    return CurrentSession(ip).get_or_connect()
