"""The jobs of the bucket as the service knows them, whoever submitted them: states, cancel, retry,
output picture.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import ipywidgets as W

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.notebook.panels import html
from jupyter_mjci.notebook.panels.base import Panel, force_main_shell

PAGE_SIZE = 8  # rows
STATE_OPTIONS = (
    ("any", ""),
    ("waiting", "Submitted"),
    ("running", "Running"),
    ("done", "Success"),
    ("failed", "Failed"),
    ("paused", "Pause"),
    ("cancelled", "Cancel"),
)


def resubmit(ci: Any, job: Job) -> Call[Job]:
    """The call that submits a job's work once more, as the service tells what it was. Raises
    CallError.
    """
    given, operation = job.raw.get("Input") or {}, job.raw.get("Operation") or {}
    picture, output = operation.get("PicProcess") or {}, operation.get("Output") or {}
    rule, template = picture.get("ProcessRule"), operation.get("TemplateId")
    if not given.get("Object") or not output.get("Object") or not (rule or template):
        raise InvalidRequest(
            f"The service does not tell enough of {job.id} to submit it again.",
            hint="Choose its picture and rule in the form.",
        )
    call: Call[Job] = ci.picture_job(
        input=given["Object"],
        output=output["Object"],
        rule=rule,
        template_id=None if rule else template,
        output_bucket=output.get("Bucket"),
        output_region=output.get("Region"),
    )
    return call


class JobList:
    """A page of jobs after the other, newest first. `on_open` is called with a job that is wanted as a
    card.
    """

    def __init__(self, panel: Panel, on_open: Callable[[Job, str], None]) -> None:
        self.panel, self._on_open = panel, on_open
        self.jobs: list[Job] = []
        self._tokens = [""]  # of each page up to the next one
        self._page = 0
        self.state = W.Dropdown(
            options=STATE_OPTIONS, description="State", tooltip="Only jobs in this state"
        )
        self.refresh_button = W.Button(
            description="List jobs", icon="refresh", tooltip="Ask the service for its jobs"
        )
        self.previous_button = W.Button(
            description="‹ Newer", tooltip="Page back", layout={"display": "none"}
        )
        self.next_button = W.Button(
            description="Older ›", tooltip="Page on", layout={"display": "none"}
        )
        self.rows, self.note = W.VBox().add_class("mjci-rows"), W.HTML()
        panel.on_click(self.refresh_button, self.reload)
        panel.on_click(self.previous_button, partial(self._change_page, -1))
        panel.on_click(self.next_button, partial(self._change_page, 1))
        for button in (self.refresh_button, self.previous_button, self.next_button):
            force_main_shell(button)
        self.state.observe(lambda _: panel.start_task(self.reload()), "value")
        row = W.HBox(
            [self.refresh_button, self.state, self.previous_button, self.next_button]
        ).add_class("mjci-row")
        self.box = W.VBox([row, self.rows, self.note]).add_class("mjci-form")

    async def reload(self) -> None:
        """Asks the service for the newest jobs."""
        self.panel.show_message()
        self._tokens, self._page = [""], 0
        await self._load_page()

    async def _change_page(self, step: int) -> None:
        self._page = max(0, min(self._page + step, len(self._tokens) - 1))
        await self._load_page()

    async def _load_page(self) -> None:
        pages = self.panel.session.ci.jobs(states=self.state.value or None, size=PAGE_SIZE)
        page = await pages.page(self._tokens[self._page])
        self._tokens[self._page + 1 :] = [page.next_token] if page.next_token else []
        self.jobs = list(page.items)
        self._render()

    def _render(self) -> None:
        self.previous_button.layout.display = "" if self._page else "none"
        self.next_button.layout.display = "" if self._page + 1 < len(self._tokens) else "none"
        old, self.rows.children = self.rows.children, [self._build_row(job) for job in self.jobs]
        for one in old:
            one.close()
        words = "" if self.jobs else "No such jobs."
        self.note.value = f'<span class="mjci-faint" role="status">{words}</span>'

    def _build_row(self, job: Job) -> Any:
        moves: list[tuple[str, str, Any]] = []
        if job.status is Status.SUCCEEDED:
            moves.append(("Picture", f"Show what {job.id} made", partial(self._open, job)))
        if job.status.is_active:
            moves.append(("Watch", f"Follow {job.id}", partial(self._open, job)))
            moves.append(
                ("Cancel", f"Ask the service to cancel {job.id}", partial(self._cancel, job))
            )
        if job.status.is_terminal:
            moves.append(("Retry", f"Submit the work of {job.id} again", partial(self._retry, job)))
        buttons = [self._build_button(*move) for move in moves]
        told = W.HTML(_render_job(job)).add_class("mjci-grow")
        return (
            W.HBox([told, *buttons])
            .add_class("mjci-row")
            .add_class("mjci-quiet")
            .add_class("mjci-job-row")
        )

    def _build_button(self, name: str, tooltip: str, handler: Any) -> Any:
        button = W.Button(description=name, tooltip=tooltip)
        self.panel.on_click(button, handler)
        return button

    async def _open(self, job: Job) -> None:
        self._on_open(job, "Job")

    async def _cancel(self, job: Job) -> None:
        await self.panel.session.ci.cancel(job.id)
        await self._load_page()

    async def _retry(self, job: Job) -> None:
        self.panel.show_message()
        self._on_open(await resubmit(self.panel.session.ci, job), "Retry")
        await self._load_page()


def _render_job(job: Job) -> str:
    rule = ((job.raw.get("Operation") or {}).get("PicProcess") or {}).get("ProcessRule") or ""
    when = f"{job.submitted:%Y-%m-%d %H:%M:%S}" if job.submitted else ""
    facts = " · ".join(one for one in (job.subject, rule, job.reason, when) if one)
    return f"{html.render_badge(job)} <code>{html.escape(job.id)}</code> <span>{html.escape(facts)}</span>"
