"""Build sessions: connected to services, to an embedded sandbox, or to a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_mjci.client.cassette import parse_mode
from jupyter_mjci.client.player import Player
from jupyter_mjci.client.settings import (
    RUNTIME_SETTINGS,
    Settings,
    build_settings,
    get_notebook_name,
)
from jupyter_mjci.services import get_section_types, list_configured, load_settings
from jupyter_mjci.session import Session

if TYPE_CHECKING:
    from jupyter_mjci.emulator.faults import Fault, Faults


def connect(
    *, profile: str | None = None, notice: Callable[[str], None] = print, **overrides: Any
) -> Session:
    """Build a session from keyword arguments, then the environment, then the profile file.

    With nothing configured the embedded sandbox is used, and one
    line says so. Raises SettingsError for an unknown setting, an
    invalid value, or a missing profile or recording.

    Args:
        profile: the table of the profile file; by default
            MJCI_PROFILE, else "default" if it exists
        notice: called with that one line
        overrides: settings by their names: mj_url, ci_bucket, …
    """
    settings = load_settings(overrides, profile=profile)
    mode, folder = parse_mode(settings.replay, get_notebook_name())
    if mode == "play":
        return replay(folder)
    session = _connect_or_sandbox(settings, notice)
    if mode == "record":
        return session.record_to(folder)
    return session


def _connect_or_sandbox(settings: Settings, notice: Callable[[str], None]) -> Session:
    if list_configured(settings):
        return Session(settings, home=settings.home)
    notice(
        "jupyter_mjci: no account is configured: using the embedded sandbox (nothing leaves this "
        "process)."
    )
    runtime = {name: getattr(settings, name) for name in RUNTIME_SETTINGS}
    return sandbox(speed=settings.speed, **runtime)


def sandbox(
    *,
    speed: float = 20.0,
    dialect: str = "plus",
    seed: int = 0,
    faults: Faults | Iterable[Fault] | Path | None = None,
    **overrides: Any,
) -> Session:
    """Build a session on a new in-process emulator of all services: no account, no network.

    Args:
        speed: how fast its time passes; the times of jobs are the
            same at any speed, also at float("inf")
        dialect: the proxy family to emulate: plus, java, trueai
            or new-api
        seed: another seed, other images and IDs
        faults: what fails: Fault objects, or the path of a TOML
            file
        overrides: settings by their names; with `home` a journal
            and images are kept there
    """
    from jupyter_mjci.emulator.app import Sandbox

    emulator = Sandbox(speed=speed, dialect=dialect, seed=seed, faults=faults)
    settings = load_settings({**emulator.build_account(), **overrides}, environ={})
    return Session(
        settings,
        clock=emulator.clock,
        transport=emulator.transport(),
        sandbox=emulator,
        # The jobs of a sandbox do not belong into the default
        # journal.
        home=settings.home if "home" in overrides else None,
    )


def replay(folder: Path | str) -> Session:
    """Build a session that replays a recording: the same jobs, images and times, without keys.

    A request that was not recorded raises NotRecorded. Raises
    SettingsError for an incomplete recording.

    Args:
        folder: the folder of the recording
    """
    folder = Path(folder)
    player = Player(folder)
    return Session(
        build_settings(player.settings, get_section_types()),
        clock=player.clock,
        transport=player,
        recording=folder.name,
    )
