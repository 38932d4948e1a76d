"""Look at the pictures of a study and rate them, and see which value of a factor wins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio.to_thread
import ipywidgets as W

from jupyter_mjci.client.job import Job
from jupyter_mjci.client.translation import translate
from jupyter_mjci.jobs.study import Study
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.panels import html
from jupyter_mjci.notebook.panels.base import Panel, Task
from jupyter_mjci.notebook.panels.job_card import Card
from jupyter_mjci.notebook.panels.picture_viewer import attach_pictures
from jupyter_mjci.notebook.panels.tile import Tile, load_thumbnails
from jupyter_mjci.notebook.panels.widgets import (
    build_button,
    build_row,
    replace_children,
    set_visible,
)

PAGE_SIZE = 24  # tiles


class StudyPanel(Panel):
    """The pictures of a study as tiles, which are rated by the keys 1 to 5.

    Args:
        study: the study; what of it has run is shown
    """

    title = "Study"
    magics = "%%mj_imagine --grid"

    def __init__(self, study: Study) -> None:
        self.study = study
        self._first = 0
        self._thumbnail_task: Task | None = None
        super().__init__(study.session)  # type: ignore[arg-type]
        self._render_tiles()

    def build_form(self) -> Sequence[W.Widget]:
        self.status_line = W.HTML()
        self.tiles = W.HBox().add_class("mjci-tiles")
        self.previous_button = build_button("‹ Back", "Previous page")
        self.next_button = build_button("More ›", "Next page")
        self.previous_button.on_click(lambda _: self._turn(-PAGE_SIZE))
        self.next_button.on_click(lambda _: self._turn(PAGE_SIZE))
        self.factor = W.Dropdown(
            options=list(self.study.factors), description="Factor", tooltip="Whose values compete"
        )
        button = self.build_button(
            "Which value wins", "Mean stars of each value, and wins by pairs", self._show_winners
        )
        self.winners = W.HTML()
        pages = build_row(self.previous_button, self.next_button, self.factor, button)
        children = [self.status_line, self.tiles, pages, self.winners]
        return [W.VBox(children).add_class("mjci-form").add_class("mjci-gallery")]

    def _turn(self, step: int) -> None:
        self._first += step
        self._render_tiles()

    def _render_tiles(self) -> None:
        end = self._first + PAGE_SIZE
        rows = list(zip(self.study.rows, self.study, strict=True))[self._first : end]
        attach_pictures(self.session, [job for _, job in rows if job.id])
        tiles = [self._build_tile(row, job) for row, job in rows]
        replace_children(self.tiles, [tile.box for tile in tiles])
        set_visible(self.previous_button, self._first > 0)
        set_visible(self.next_button, end < len(self.study))
        self.status_line.value = html.render_status(repr(self.study).strip("<>"))
        self._thumbnail_task = self.restart_task(self._thumbnail_task, load_thumbnails(tiles))

    def _build_tile(self, row: dict[str, Any], job: Job) -> Tile:
        label = ", ".join(str(value) for name, value in row.items() if name != "repeat")
        tooltip = translate("Open {name}").format(name=f"{job.id}: {label}")
        button = self.build_button(label, tooltip, partial(self._open, job))
        button.disabled = not job.id
        fetch = partial(self.session.picture, job) if job.outputs else None
        return Tile(cards.status_html(job), button, fetch, job.id)

    async def _open(self, job: Job) -> None:
        self.add(Card(self, job, label=job.action.capitalize(), on_remove=self.remove))

    async def _show_winners(self) -> None:
        """Show how the values of the chosen factor were rated."""
        factor = self.factor.value
        tables = [
            await anyio.to_thread.run_sync(partial(find, by=factor))
            for find in (self.study.ratings, self.study.wins)
        ]
        texts = [
            table.round(2).to_html(index=False, border=0, na_rep="–")
            for table in tables
            if len(table)
        ]
        self.winners.value = "".join(f'<div class="mjci-table">{text}</div>' for text in texts)
        if not texts:
            self.show_message(
                ("Nothing is rated yet.", "Choose a picture and press 1 to 5."), level="note"
            )
