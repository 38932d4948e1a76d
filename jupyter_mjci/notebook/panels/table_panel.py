"""A panel that shows a DataFrame of jobs: search it, and select rows.

The grid is itables' (extra `lab`), whose selection arrives in
Python. Without itables a plain HTML table with pages takes its
place; it has no selection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import anyio.to_thread
import ipywidgets as W

from jupyter_mjci.client.translation import mark, translate
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.card_style import render_element
from jupyter_mjci.notebook.panels import html
from jupyter_mjci.notebook.panels.base import Panel
from jupyter_mjci.notebook.panels.widgets import (
    build_button,
    build_row,
    set_visible,
    translate_labels,
)
from jupyter_mjci.services import services
from jupyter_mjci.session import Session

if TYPE_CHECKING:
    import pandas as pd

# rows of a page of the plain table, and of the snapshot
PAGE_SIZE = 25
# Earlier contents of the grid that a click may still speak of.
KEPT_VERSIONS = 8
# rows that are sent to the browser at a time: itables formats
# each cell in Python, 10,000 rows in half a second
GRID_ROWS = 500
HIDDEN_COLUMNS = ("buttons", "user_data", "outputs", "parent")
SEARCH_COLUMNS = ("service", "id", "action", "status", "subject")
ANY_OPTION = (mark("any"), "")
# itables: no limit of its own ("maxBytes"), no search field (the
# panel's own searches older rows as well), and text is not HTML.
GRID_OPTIONS: Mapping[str, object] = {
    "select": True,
    "maxBytes": 0,
    "allow_html": False,
    "showIndex": False,
    "pageLength": 10,
    "lengthMenu": [10, 25, 100],
    "classes": "display compact nowrap",
    "layout": {"topStart": None, "topEnd": None},
    "columnDefs": [{"className": "dt-left", "targets": "_all"}],
}


class TablePanel(Panel):
    """A table of jobs.

    Attributes:
        frame: all rows, oldest first; None until they are loaded
        filtered: the rows that match the fields, newest first
    """

    empty_message = mark("No jobs.")
    no_match_message = mark("No job matches.")

    def __init__(self, session: Session) -> None:
        self.frame: pd.DataFrame | None = None
        self.filtered: pd.DataFrame | None = None
        self._page = 0
        self._shown_columns: pd.DataFrame | None = None
        self._shown_rows: dict[int, pd.DataFrame] = {}
        super().__init__(session)
        self.start_task(self._reload())

    def build_form(self) -> Sequence[W.Widget]:
        self._build_fields()
        self.status_line = W.HTML()
        self.table = W.HTML()
        self.grid = _create_grid()
        # Which rows the grid shows: a selection travels with it,
        # as other rows may have come meanwhile.
        self.version = W.IntText(description="Version", layout={"display": "none"})
        self.page_buttons = self._build_page_buttons()
        if self.grid is None:
            table = [self.table, self.page_buttons]
        else:
            set_visible(self.page_buttons, False)
            self.grid.observe(lambda _: self._on_selection_change(), "selected_rows")
            table = [self.grid, self.page_buttons, self.version]
        fields = [self.filter, self.service, self.action, *self.build_extra_filters()]
        row = build_row(*self._submit.widgets, *fields)
        self._submit.bind(row)
        form = W.VBox([row, *self.build_toolbar(), self.status_line, *table])
        self.bind_toolbar(form)
        return [form.add_class("mjci-form")]

    def _build_fields(self) -> None:
        self.filter = W.Text(
            description="Find", placeholder="any text of a row", tooltip="Only rows with this text"
        )
        labels = [(each.label, each.key) for each in services()]
        self.service = W.Dropdown(description="Service", options=[ANY_OPTION, *labels])
        self.action = W.Dropdown(
            description="Action", options=[ANY_OPTION], tooltip="Only jobs with this action"
        )
        for widget in (self.filter, self.service, self.action):
            widget.observe(lambda _: self._apply_filter(), "value")
        self._submit = self.build_submit(
            "Refresh", "Load the rows again", self._reload, icon="refresh"
        )
        self.refresh_button = self._submit.button

    def build_extra_filters(self) -> Sequence[W.Widget]:
        """Build further fields, to the right of the others."""
        return ()

    def build_toolbar(self) -> Sequence[W.Widget]:
        """Build the widgets between the fields and the table."""
        return ()

    def bind_toolbar(self, form: W.Widget) -> None:
        """Bind the buttons of the toolbar to the form."""

    def _build_page_buttons(self) -> W.Widget:
        self.previous_button = build_button("‹ Newer", "Previous page")
        self.next_button = build_button("Older ›", "Next page")
        self.previous_button.disabled = True
        self.next_button.disabled = True
        self.previous_button.on_click(lambda _: self._change_page(-1))
        self.next_button.on_click(lambda _: self._change_page(1))
        return build_row(self.previous_button, self.next_button)

    def fetch(self) -> pd.DataFrame:
        """Return the rows, oldest first. It runs in a worker thread, so it may block."""
        raise NotImplementedError

    @property
    def selected(self) -> pd.DataFrame | None:
        """The selected rows; all rows that match the fields if none is selected."""
        rows = self._selected_rows()
        page = self._get_page()
        if not rows or page is None:
            return self.filtered
        return page.iloc[rows]

    def _selected_rows(self) -> list[int]:
        """Return the positions of the selected rows in the page that is shown."""
        return [] if self.grid is None else list(self.grid.selected_rows)

    @property
    def _page_size(self) -> int:
        return PAGE_SIZE if self.grid is None else GRID_ROWS

    def _get_page(self) -> pd.DataFrame | None:
        """Return the rows of `filtered` that are shown."""
        if self.filtered is None:
            return None
        first = self._page * self._page_size
        return self.filtered.iloc[first : first + self._page_size]

    def _count_pages(self) -> int:
        count = 0 if self.filtered is None else len(self.filtered)
        return max(1, math.ceil(count / self._page_size))

    # --- filtering ---

    async def _reload(self) -> None:
        self.clear_message()
        frame = await anyio.to_thread.run_sync(self.fetch)
        actions = sorted(frame["action"].dropna().unique())
        options = (ANY_OPTION, *zip(actions, actions, strict=True))
        with self._lock:
            self.frame = frame
            # setting the options resets the selection
            if options != self.action.options:
                self.action.options = options
                translate_labels(self.action)
            self._apply_filter()

    def filter_rows(self, rows: pd.DataFrame) -> pd.DataFrame:
        """Return the rows that match the fields."""
        if self.service.value:
            rows = rows[rows["service"] == self.service.value]
        if self.action.value:
            rows = rows[rows["action"] == self.action.value]
        text = self.filter.value.strip().casefold()
        if text:
            rows = rows[_match_text(rows, text)]
        return rows

    def _apply_filter(self) -> None:
        with self._lock:
            if self.frame is None:
                return
            # newest first
            self.filtered = self.filter_rows(self.frame[::-1])
            self._page = 0
            self._render()

    def _change_page(self, step: int) -> None:
        with self._lock:
            self._page = max(0, min(self._page + step, self._count_pages() - 1))
            self._render()

    def _on_selection_change(self) -> None:
        """React to a change of the selected rows."""

    # --- rendering ---

    def _render(self) -> None:
        page = self._get_page()
        if page is None:
            return
        pages = self._count_pages()
        self.previous_button.disabled = self._page == 0
        self.next_button.disabled = self._page >= pages - 1
        if self.grid is None:
            self.table.value = self.static_html()
        else:
            set_visible(self.page_buttons, pages > 1)
            self._fill_grid(page)
        self.update_snapshot()

    def _describe_rows(self, page: pd.DataFrame) -> str:
        """Return which rows are shown, of how many."""
        count = 0 if self.filtered is None else len(self.filtered)
        if count == 0:
            return translate(self._get_empty_message())
        if count == 1:
            return translate("1 job")
        text = translate("{count} jobs")
        if count > len(page):
            text = translate("{first}–{last} of {count} jobs, newest first")
        first = self._page * self._page_size
        return text.format(
            count=f"{count:,}", first=f"{first + 1:,}", last=f"{first + len(page):,}"
        )

    def _fill_grid(self, rows: pd.DataFrame) -> None:
        self.status_line.value = html.render_status(self._describe_rows(rows))
        set_visible(self.grid, not rows.empty)
        selected = self._find_rows(rows, self._list_selected_keys())
        version = max(self._shown_rows, default=0) + 1
        self._shown_rows[version] = rows
        self._shown_rows.pop(version - KEPT_VERSIONS, None)
        columns = _format_columns(rows)
        # The grid is drawn again only if it changes: that would
        # move what the person works with.
        if self._shown_columns is None or not columns.equals(self._shown_columns):
            self._shown_columns = columns
            self.grid.update(columns, selected_rows=selected, **GRID_OPTIONS)
        self.version.value = version

    def _list_selected_keys(self) -> set[tuple[str, str]]:
        """Return service and ID of the jobs whose rows are selected."""
        rows = self.get_selected_rows()
        return set(zip(rows["service"], rows["id"], strict=True)) if rows is not None else set()

    @staticmethod
    def _find_rows(rows: pd.DataFrame, keys: set[tuple[str, str]]) -> list[int]:
        if not keys:
            return []
        found = zip(rows["service"], rows["id"], strict=True)
        return [position for position, key in enumerate(found) if key in keys]

    def get_selected_rows(self) -> pd.DataFrame | None:
        """Return the rows that are selected where the grid was last seen; None if none is."""
        rows = self._shown_rows.get(self.version.value)
        positions = self._selected_rows()
        if rows is None or not positions:
            return None
        return rows.iloc[[position for position in positions if position < len(rows)]]

    def _get_empty_message(self) -> str:
        has_rows = self.frame is not None and not self.frame.empty
        return self.no_match_message if has_rows else self.empty_message

    def static_html(self) -> str:
        page = self._get_page()
        if page is None or page.empty:
            return cards.dim_html(translate(self._get_empty_message()))
        rows = page.head(PAGE_SIZE)
        count = self._describe_rows(rows)
        table = _format_columns(rows).to_html(index=False, border=0, escape=True)
        return cards.dim_html(count) + render_element("div", table, "mjci-table")

    def static_text(self) -> str:
        if self.filtered is None or self.filtered.empty:
            return f"{self.title}: {self._get_empty_message()}"
        rows = self.filtered.head(PAGE_SIZE)[list(SEARCH_COLUMNS)]
        return f"{self.title}\n{rows.to_string(index=False)}"


def _create_grid() -> W.Widget:
    """Create a grid with selectable rows; None without itables."""
    try:
        from itables.widget import ITable
    except ImportError:
        return None
    return ITable(**GRID_OPTIONS)


def _match_text(rows: pd.DataFrame, text: str) -> pd.Series[bool]:
    """Return which rows contain a case-folded text in one of the columns searched."""
    texts = rows[list(SEARCH_COLUMNS)].astype("string").fillna("")
    matches = texts.apply(lambda column: column.str.casefold().str.contains(text, regex=False))
    any_match: pd.Series[bool] = matches.any(axis=1)
    return any_match


def _format_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the visible columns as text."""
    visible = rows.drop(columns=list(HIDDEN_COLUMNS), errors="ignore").copy()
    for name in visible.columns:
        column = visible[name]
        if str(column.dtype).startswith("datetime64"):
            visible[name] = column.dt.strftime("%Y-%m-%d %H:%M:%S")
        elif name == "status":
            visible[name] = column.map(cards.list_status_labels())
        elif name in ("queue_time", "run_time"):
            seconds = column.dt.total_seconds()
            visible[name] = seconds.map("{:.1f} s".format, na_action="ignore")
    return visible.astype("string").fillna("–")
