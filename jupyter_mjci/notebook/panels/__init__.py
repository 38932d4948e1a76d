"""Panels: forms from call builders, cards from followed jobs, in ipywidgets. `panel("mj")` is the
door.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from jupyter_mjci.errors import InvalidRequest

if TYPE_CHECKING:
    from jupyter_mjci.notebook.panels.base import Panel
    from jupyter_mjci.session import Session

PANEL_TYPES = {
    "mj": ("midjourney", "MidjourneyPanel"),
    "ci": ("tencent_ci", "CIPanel"),
    "history": ("history", "HistoryPanel"),
    "status": ("history", "StatusPanel"),
}


def panel(kind: str, session: Session | None = None) -> Panel:
    """A panel of a kind: "mj" (Midjourney), "ci" (Tencent CI), "history" or "status" (what is in
    flight).

    Without a session it uses the notebook's own, the one that the magics use. Raises CallError for
    another kind.
    """
    if kind not in PANEL_TYPES:
        raise InvalidRequest(
            f"There is no panel {kind!r}.", hint=f"There are: {', '.join(PANEL_TYPES)}."
        )
    room, name = PANEL_TYPES[kind]
    made: Any = getattr(import_module(f"{__name__}.{room}"), name)
    shown: Panel = made(session or _current_session())
    return shown


def _current_session() -> Session:
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is None:
        from jupyter_mjci.session import connect

        return connect()
    from jupyter_mjci.notebook.extension import get_current_session

    return get_current_session(shell)
