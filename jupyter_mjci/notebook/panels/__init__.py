"""Open ipywidgets panels: forms made from call builders, and cards of followed jobs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from jupyter_mjci.errors import InvalidRequest

if TYPE_CHECKING:
    from jupyter_mjci.notebook.panels.base import Panel
    from jupyter_mjci.session import Session

# Kind -> module and class; a panel's module is imported when it
# is first opened.
PANEL_TYPES = {
    "mj": ("midjourney", "MidjourneyPanel"),
    "ci": ("tencent_ci", "CIPanel"),
    "history": ("history", "HistoryPanel"),
    "status": ("status", "StatusPanel"),
}


def panel(kind: str, session: Session | None = None) -> Panel:
    """Build a panel.

    Args:
        kind: "mj" (Midjourney), "ci" (Tencent CI), "history" or
            "status" (active jobs)
        session: by default the notebook's own session, the one
            that the magics use

    Returns:
        The panel, a widget. Display it, or leave it as the last
        value of a cell.

    Raises:
        InvalidRequest: There is no panel of this kind.
    """
    if kind not in PANEL_TYPES:
        raise InvalidRequest(
            f"{kind!r} is not a kind of panel.", hint=f"Available: {', '.join(PANEL_TYPES)}."
        )
    module, name = PANEL_TYPES[kind]
    panel_type: type[Panel] = getattr(import_module(f"{__name__}.{module}"), name)
    return panel_type(session or _current_session())


def _current_session() -> Session:
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is None:
        from jupyter_mjci.session import connect

        return connect()
    from jupyter_mjci.notebook.session_registry import get_current_session

    return get_current_session(shell)
