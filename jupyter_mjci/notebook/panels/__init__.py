"""Open ipywidgets panels: forms made from call builders, and cards of followed jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.services import load_attribute, services

if TYPE_CHECKING:
    from jupyter_mjci.jobs.study import Study
    from jupyter_mjci.notebook.panels.base import Panel
    from jupyter_mjci.session import Session

# Panels of no service, by their kind; a panel's module is imported
# when it is first opened.
PANEL_TYPES = {
    "history": f"{__name__}.history:HistoryPanel",
    "status": f"{__name__}.status:StatusPanel",
}


def list_panel_kinds() -> list[str]:
    """Return the kinds of panels: the keys of services that have one, and the others."""
    return [*(each.key for each in services() if each.panel), *PANEL_TYPES]


def check_panel_kind(kind: str) -> None:
    """Raise InvalidRequest where there is no panel of this kind."""
    kinds = list_panel_kinds()
    if kind not in kinds:
        raise InvalidRequest(
            f"{kind!r} is not a kind of panel.", hint=f"Available: {', '.join(kinds)}."
        )


def panel(kind: str | Study, session: Session | None = None) -> Panel:
    """Build a panel.

    Args:
        kind: "mj" (Midjourney), "ci" (Tencent CI), "history" or
            "status" (active jobs); or a study, whose pictures are
            looked at and rated
        session: by default the notebook's own session, the one
            that the magics use

    Returns:
        The panel, a widget. Display it, or leave it as the last
        value of a cell.

    Raises:
        InvalidRequest: There is no panel of this kind.
    """
    if not isinstance(kind, str):
        from jupyter_mjci.notebook.panels.study import StudyPanel

        return StudyPanel(kind)
    check_panel_kind(kind)
    locations = {each.key: each.panel for each in services() if each.panel} | PANEL_TYPES
    panel_type: type[Panel] = load_attribute(locations[kind])
    return panel_type(session or _current_session())


def _current_session() -> Session:
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    if shell is None:
        from jupyter_mjci.connection import connect

        return connect()
    from jupyter_mjci.notebook.session_registry import get_current_session

    return get_current_session(shell)
