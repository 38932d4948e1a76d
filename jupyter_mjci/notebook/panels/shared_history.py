"""The rows of a session's journal and plots of them, kept by one panel for the next.

A panel that is opened a second time, while nothing was written to
the journal, reads and draws nothing again.
"""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jupyter_mjci.session import Session

if TYPE_CHECKING:
    import pandas as pd

MAX_PLOTS = 32
WITHIN = 60  # seconds of "succeeded within a minute"


@dataclass(frozen=True, slots=True)
class SharedHistory:
    """What the journal held at a version; nobody changes the frame."""

    version: tuple[int, ...]
    frame: pd.DataFrame
    plots: dict[Hashable, bytes] = field(default_factory=dict)


_histories: weakref.WeakKeyDictionary[Session, SharedHistory] = weakref.WeakKeyDictionary()


def load_history(session: Session) -> pd.DataFrame:
    """Return the rows of the journal, oldest first.

    They are read again only if the journal has changed.
    """
    version = session.journal.version()
    known = _histories.get(session)
    if known is None or known.version != version:
        known = _histories[session] = SharedHistory(version, session.history())
    return known.frame


def draw_plot(
    session: Session,
    frame: pd.DataFrame,
    rows: pd.DataFrame,
    analysis: str,
    arguments: Mapping[str, Any],
) -> bytes:
    """Return a plot as PNG, drawn again only if the frame is another.

    Args:
        session: the session
        frame: what `load_history` returned
        rows: those of its rows that are plotted
        analysis: the name of the plot
        arguments: its arguments
    """
    plots: dict[Hashable, bytes] = {}
    known = _histories.get(session)
    if known and known.frame is frame:
        plots = known.plots
    positions = rows.index.to_numpy()
    key = (
        positions.tobytes(),
        analysis,
        *sorted(arguments.items()),
    )
    content = plots.get(key)
    if content is None:
        content = _draw(rows, analysis, arguments)
        if len(plots) >= MAX_PLOTS:
            plots.clear()
        plots[key] = content
    return content


def _draw(rows: pd.DataFrame, analysis: str, arguments: Mapping[str, Any]) -> bytes:
    from jupyter_mjci.history.plots import render_plot

    return render_plot(rows.mjci, analysis, within=WITHIN, **arguments)
