"""The status panel: the active jobs of both services, kept up to date."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

import anyio
import ipywidgets as W

from jupyter_mjci.client.job import Status
from jupyter_mjci.errors import MjciError
from jupyter_mjci.notebook.panels import html
from jupyter_mjci.notebook.panels.base import Task
from jupyter_mjci.notebook.panels.table_panel import TablePanel
from jupyter_mjci.services import list_configured
from jupyter_mjci.session import Session

if TYPE_CHECKING:
    import pandas as pd

ACTIVE_STATUSES = tuple(status for status in Status if not status.is_terminal)
REACHABLE = "answers"
# seconds, so that many changes cause one reload
RELOAD_DELAY = 0.5


class StatusPanel(TablePanel):
    """The jobs under way in any cell, and whether the services respond."""

    title = "In flight"
    magics = "%mj_queue, %ci_jobs"
    empty_message = "Nothing is in flight."

    def __init__(self, session: Session) -> None:
        self._service_states: dict[str, str] = {}
        self._reload_task: Task | None = None
        super().__init__(session)
        session.listeners.append(self._on_event)

    def build_toolbar(self) -> Sequence[W.Widget]:
        self.summary = W.HTML()
        return [self.summary]

    def fetch(self) -> pd.DataFrame:
        frame = self.session.history()
        return frame[frame["status"].isin([status.value for status in ACTIVE_STATUSES])]

    async def _reload(self) -> None:
        """List what the services are doing, then show the journal's active jobs."""
        for service in list_configured(self.session.settings):
            api = getattr(self.session, service.key)
            actions = self.session.journal.actions(service.key)
            await self._check_service(service.label, service.list_active(api, actions))
        await super()._reload()

    async def _check_service(self, service: str, listing: Awaitable[object]) -> None:
        try:
            await listing
        except MjciError as error:
            self._service_states[service] = error.message
        else:
            self._service_states[service] = REACHABLE

    def _render(self, rows: pd.DataFrame) -> None:
        super()._render(rows)
        services = "".join(
            _render_service_state(service, state) for service, state in self._service_states.items()
        )
        self.summary.value = f'<div role="status">{self._render_counts()}</div>{services}'

    def _render_counts(self) -> str:
        if self.frame is None:
            return ""
        counts = self.frame["status"].value_counts()
        badges = []
        for status in ACTIVE_STATUSES:
            text = f"{html.STATUS_LABELS[status]}: {counts.get(status, 0)}"
            badges.append(html.render_label(status, text))
        return " ".join(badges)

    def _on_event(self, event: str, _: object) -> None:
        """Reload soon after a job was seen. Called in any thread."""
        if event not in ("job_updated", "listing"):
            return
        if self._reload_task is None or self._reload_task.done():
            self._reload_task = self.start_task(self._reload_later())

    async def _reload_later(self) -> None:
        await anyio.sleep(RELOAD_DELAY)
        await super()._reload()

    def close(self) -> None:
        if self._on_event in self.session.listeners:
            self.session.listeners.remove(self._on_event)
        super().close()


def _render_service_state(service: str, state: str) -> str:
    status = Status.SUCCEEDED if state == REACHABLE else Status.FAILED
    badge = html.render_label(status, service)
    return f'<div>{badge} <span class="mjci-faint">{html.escape(state)}</span></div>'
