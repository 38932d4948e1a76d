"""The panels that show frames: the history, and what is in flight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import ipywidgets as W

from jupyter_mjci.notebook.panels.board import Panel
from jupyter_mjci.session import Session

if TYPE_CHECKING:
    import pandas as pd

PAGE = 25  # rows
HIDDEN = ("buttons", "state", "outputs", "parent")


class TablePanel(Panel):
    """A frame, page by page, with a filter. `panel.frame` is all of it, `panel.selected` what the filter leaves."""

    empty = "Nothing yet."

    def __init__(self, session: Session) -> None:
        self.frame: Any = None
        self.selected: Any = None
        self._page = 0
        super().__init__(session)
        self.start(self._refresh())

    def form(self) -> Sequence[Any]:
        self.filter = W.Text(description="Filter", placeholder="any text of a row", tooltip="Rows that hold this text")
        self.refresh = W.Button(description="Refresh", icon="refresh", tooltip="Ask again")
        self.back = W.Button(description="‹ Newer", tooltip="Page back", disabled=True)
        self.on = W.Button(description="Older ›", tooltip="Page on", disabled=True)
        self.table = W.HTML()
        self.on_press(self.refresh, self._refresh)
        self.back.on_click(lambda _: self._turn(-1))
        self.on.on_click(lambda _: self._turn(1))
        self.filter.observe(self._filtered, "value")
        row = W.HBox([self.filter, self.refresh, self.back, self.on]).add_class("mjci-row")
        return [W.VBox([row, self.table]).add_class("mjci-form")]

    def fetch(self) -> pd.DataFrame:
        """The rows; called in a worker thread, so it may block."""
        raise NotImplementedError

    async def _refresh(self) -> None:
        self.say()
        self.frame = await anyio.to_thread.run_sync(self.fetch)
        self._choose()

    def _filtered(self, _: Mapping[str, Any]) -> None:
        self._choose()

    def _choose(self) -> None:
        with self._lock:
            if self.frame is None:
                return
            wanted = self.filter.value.strip().casefold()
            rows = self.frame[::-1]  # newest first
            self.selected = rows[_holding(rows, wanted)] if wanted else rows
            self._page = 0
            self._draw()

    def _turn(self, by: int) -> None:
        with self._lock:
            self._page = max(0, min(self._page + by, self._pages() - 1))
            self._draw()

    def _pages(self) -> int:
        return max(1, -(-len(self.selected) // PAGE))

    def _draw(self) -> None:
        self.back.disabled, self.on.disabled = self._page == 0, self._page >= self._pages() - 1
        self.table.value = self.static_html()
        self.keep_record()

    def static_html(self) -> str:
        if self.selected is None or not len(self.selected):
            return f'<p class="mjci-faint">{escape(self.empty)}</p>'
        first = self._page * PAGE
        rows = self.selected.iloc[first : first + PAGE].drop(columns=list(HIDDEN), errors="ignore")
        count = f"{first + 1}–{first + len(rows)} of {len(self.selected)}"
        return f'<p class="mjci-faint">{count}</p><div class="mjci-table">{_table(rows)}</div>'

    def static_text(self) -> str:
        if self.selected is None or not len(self.selected):
            return f"{self.title}: {self.empty}"
        shown = self.selected.head(PAGE)[["service", "id", "action", "status", "subject"]]
        return f"{self.title}\n{shown.to_string(index=False)}"


class HistoryPanel(TablePanel):
    """Every job that was seen."""

    name, title = "history", "History"
    empty = "No job has been seen yet."

    def fetch(self) -> pd.DataFrame:
        return self.session.history()


class StatusPanel(TablePanel):
    """What is in flight, whichever cell started it."""

    name, title = "status", "In flight"
    empty = "Nothing is in flight."

    def fetch(self) -> pd.DataFrame:
        frame = self.session.history()
        return frame[frame["status"].isin(["WAITING", "RUNNING", "ASKING"])]


def _holding(rows: pd.DataFrame, wanted: str) -> pd.Series[bool]:
    """Which rows hold the text in any of their columns."""
    words = rows[["service", "id", "action", "status", "subject"]].astype("string").fillna("")
    held = words.apply(lambda column: column.str.casefold().str.contains(wanted, regex=False))
    found: pd.Series[bool] = held.any(axis=1)
    return found


def _table(rows: pd.DataFrame) -> str:
    shown = rows.copy()
    for name in shown.columns[[kind.startswith("datetime64") for kind in shown.dtypes.astype(str)]]:
        shown[name] = shown[name].dt.strftime("%Y-%m-%d %H:%M:%S")
    for name in ("waited", "took"):
        if name in shown:
            shown[name] = shown[name].dt.total_seconds().map("{:.1f} s".format, na_action="ignore")
    return str(shown.to_html(index=False, border=0, na_rep="–", escape=True))
