"""The status panel: the active jobs of both services, kept up to date."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import anyio
import ipywidgets as W

from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.translation import mark, translate
from jupyter_mjci.errors import InvalidRequest, MjciError
from jupyter_mjci.jobs.spending import describe_today
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.panels.async_button import Work
from jupyter_mjci.notebook.panels.base import Task
from jupyter_mjci.notebook.panels.gallery import jobs_from_rows
from jupyter_mjci.notebook.panels.job_card import Card
from jupyter_mjci.notebook.panels.shared_history import load_history
from jupyter_mjci.notebook.panels.table_panel import TablePanel
from jupyter_mjci.notebook.panels.widgets import build_button, build_row
from jupyter_mjci.services import list_configured
from jupyter_mjci.session import Session

if TYPE_CHECKING:
    import pandas as pd

ACTIVE_STATUSES = tuple(status for status in Status if not status.is_terminal)
REACHABLE = mark("answers")
TODAY = mark("Today")
# seconds, so that many changes cause one reload
RELOAD_DELAY = 0.5
MAX_CARDS = 20  # cards opened by one click
Action: TypeAlias = Callable[[Sequence[Job]], Work]


class StatusPanel(TablePanel):
    """The jobs under way in any cell, and whether the services respond."""

    title = mark("In flight")
    magics = "%mj_queue, %ci_jobs"
    empty_message = mark("Nothing is in flight.")

    def __init__(self, session: Session) -> None:
        self._service_states: dict[str, str] = {}
        self._reload_task: Task | None = None
        super().__init__(session)
        session.listeners.append(self._on_event)

    def build_toolbar(self) -> Sequence[W.Widget]:
        self.summary = W.HTML()
        actions: tuple[tuple[str, str, Action], ...] = (
            (
                mark("Open"),
                mark("Show the selected jobs as cards"),
                partial(self._open_cards, follow=False),
            ),
            (
                mark("Follow"),
                mark("Show them as cards that follow them"),
                partial(self._open_cards, follow=True),
            ),
            (
                mark("Cancel jobs"),
                mark("Ask the services to cancel the selected jobs"),
                self._cancel_jobs,
            ),
        )
        self._submits = [
            self.build_submit(label, tooltip, partial(self._act, action), is_default=False)
            for label, tooltip, action in actions
        ]
        self.open_button, self.follow_button, self.cancel_button = (
            submit.button for submit in self._submits
        )
        self.select_button = build_button("Select all", "Select all rows, or none")
        self.select_button.on_click(lambda _: self._toggle_selection())
        if self.grid is None:
            # the plain table has no selection
            return [self.summary]
        widgets = [widget for submit in self._submits for widget in submit.widgets]
        return [self.summary, build_row(self.select_button, *widgets)]

    def bind_toolbar(self, form: W.Widget) -> None:
        for submit in self._submits:
            submit.bind(form)

    # --- the selected jobs ---

    def _toggle_selection(self) -> None:
        """Select all rows; none if all are selected."""
        page = self._get_page()
        if self.grid is not None and page is not None:
            everything = list(range(len(page)))
            is_selected = list(self.grid.selected_rows) == everything
            self.grid.selected_rows = [] if is_selected else everything

    def _act(self, action: Action) -> Work:
        """Do something with the jobs that are selected in the page."""
        self.clear_message()
        rows = self.get_selected_rows()
        if rows is None:
            raise InvalidRequest("No job is selected.", hint="Click on rows of the table.")
        return action(jobs_from_rows(rows))

    async def _open_cards(self, jobs: Sequence[Job], *, follow: bool) -> None:
        if len(jobs) > MAX_CARDS:
            raise InvalidRequest(
                f"{len(jobs)} cards are too many at once.", hint=f"Select up to {MAX_CARDS} jobs."
            )
        for job in jobs:
            self._open_card(await self.session.describe(job), follow=follow)

    def _open_card(self, job: Job, *, follow: bool) -> None:
        """Add a card; one that shows the job already is replaced."""
        for card in self._cards:
            if isinstance(card, Card) and card.shows(job):
                card.stop_all()
                self.remove(card)
        label = job.action.capitalize() or "Job"
        self.add(Card(self, job, label=label, on_remove=self.remove, follow=follow))

    async def _cancel_jobs(self, jobs: Sequence[Job]) -> None:
        """Ask for all cancellations at once; one that is refused keeps no other from it."""
        errors: dict[str, MjciError] = {}

        async def cancel(job: Job) -> None:
            try:
                await self._cancel_job(job)
            except MjciError as error:
                errors[job.id] = error

        async with anyio.create_task_group() as group:
            for job in jobs:
                group.start_soon(cancel, job)
        await self._reload()
        count = f"{len(jobs) - len(errors)} of {len(jobs)}"
        text = f"Asked the service to cancel {count} {'job' if len(jobs) == 1 else 'jobs'}."
        details = [f"{key}: {' '.join(error.format_lines())}" for key, error in errors.items()]
        self.show_message([text, *details], level="error" if errors else "note")

    async def _cancel_job(self, job: Job) -> None:
        service = getattr(self.session, job.service)
        if not hasattr(service, "cancel"):
            raise InvalidRequest(f"{job.action or 'This job'} cannot be cancelled.")
        await service.cancel(job.id)
        await self.session.describe(job)

    def fetch(self) -> pd.DataFrame:
        frame = load_history(self.session)
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

    def _render(self) -> None:
        super()._render()
        services = "".join(
            _render_service_state(service, state) for service, state in self._service_states.items()
        )
        counts = f'<div role="status">{self._render_counts()}</div>'
        self.summary.value = counts + services + self._render_today()

    def _render_counts(self) -> str:
        if self.frame is None:
            return ""
        counts = self.frame["status"].value_counts()
        badges = []
        for status in ACTIVE_STATUSES:
            text = f"{cards.format_label(status)}: {counts.get(status, 0)}"
            badges.append(cards.badge_html(status, text))
        return " ".join(badges)

    def _render_today(self) -> str:
        text = describe_today(self.session.client, self.session.settings.prices)
        return f'<div class="mjci-faint">{translate(TODAY)}: {cards.escape_text(text)}</div>'

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
    badge = cards.badge_html(status, service)
    return (
        f'<div>{badge} <span class="mjci-faint">{cards.escape_text(translate(state))}</span></div>'
    )
