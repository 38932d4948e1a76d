"""List the jobs of the bucket, also those submitted elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import ipywidgets as W

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.translation import mark, translate
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.card_style import render_element
from jupyter_mjci.notebook.panels import html
from jupyter_mjci.notebook.panels.base import Panel
from jupyter_mjci.notebook.panels.widgets import (
    build_heading,
    build_row,
    replace_children,
    set_visible,
)
from jupyter_mjci.services.tencent_ci.api import TencentCI

PAGE_SIZE = 8  # rows
# Label and State of the service.
STATE_OPTIONS = (
    (mark("any"), ""),
    (mark("queued"), "Submitted"),
    (mark("running"), "Running"),
    (mark("succeeded"), "Success"),
    (mark("failed"), "Failed"),
    (mark("paused"), "Pause"),
    (mark("cancelled"), "Cancel"),
)


def resubmit(ci: TencentCI, job: Job) -> Call[Job]:
    """Build the call that submits a job's work again, from the service's own record.

    Raises:
        InvalidRequest: Its input, its output, or its rule and
            template are not known.
    """
    input_key = _get_raw(job, "Input", "Object")
    output_key = _get_raw(job, "Operation", "Output", "Object")
    rule = _get_raw(job, "Operation", "PicProcess", "ProcessRule")
    template = _get_raw(job, "Operation", "TemplateId")
    if not input_key or not output_key or not (rule or template):
        raise InvalidRequest(
            f"The service says too little about {job.id} to submit it again.",
            hint="Choose its picture and rule in the form.",
        )
    return ci.picture_job(
        input=input_key,
        output=output_key,
        rule=rule,
        template_id=None if rule else template,
        output_bucket=_get_raw(job, "Operation", "Output", "Bucket"),
        output_region=_get_raw(job, "Operation", "Output", "Region"),
    )


def _get_raw(job: Job, *path: str) -> str | None:
    """Return a text of the service's own record, None if it is not there."""
    value: object = job.raw
    for name in path:
        if not isinstance(value, Mapping):
            return None
        value = value.get(name)
    return value if isinstance(value, str) else None


class JobList:
    """The jobs of the bucket in pages, newest first.

    Args:
        panel: the panel that it is part of
        on_open: called with a job and a label, to show the job as
            a card
    """

    def __init__(self, panel: Panel, on_open: Callable[[Job, str], None]) -> None:
        self.panel = panel
        self._on_open = on_open
        self.jobs: list[Job] = []
        # the listing's token of each page up to the next one
        self._tokens = [""]
        self._page = 0
        self.state = W.Dropdown(
            options=STATE_OPTIONS, description="State", tooltip="Only jobs in this state"
        )
        self.rows = W.VBox().add_class("mjci-rows")
        self.status_line = W.HTML()
        self._build_buttons()
        self.state.observe(lambda _: panel.start_task(self.reload()), "value")
        buttons = (self.previous_button, self.next_button)
        row = build_row(*self._submit.widgets, self.state, *buttons)
        heading = build_heading("Jobs of the bucket")
        self.box = W.VBox([heading, row, self.rows, self.status_line]).add_class("mjci-form")
        self._submit.bind(row)

    def _build_buttons(self) -> None:
        build = self.panel.build_button
        self._submit = self.panel.build_submit(
            "List jobs", "List the jobs of the bucket", self.reload, icon="refresh"
        )
        self.refresh_button = self._submit.button
        self.previous_button = build("‹ Newer", "Previous page", partial(self._change_page, -1))
        self.next_button = build("Older ›", "Next page", partial(self._change_page, 1))
        self._render_page_buttons()

    async def reload(self) -> None:
        """List the newest jobs."""
        self.panel.clear_message()
        self._tokens = [""]
        self._page = 0
        await self._load_page()

    async def _change_page(self, step: int) -> None:
        self._page = max(0, min(self._page + step, len(self._tokens) - 1))
        await self._load_page()

    async def _load_page(self) -> None:
        pages = self.panel.session.ci.jobs(states=self.state.value or None, size=PAGE_SIZE)
        page = await pages.page(self._tokens[self._page])
        del self._tokens[self._page + 1 :]
        if page.next_token:
            self._tokens.append(page.next_token)
        self.jobs = list(page.items)
        self._render()

    def _render_page_buttons(self) -> None:
        set_visible(self.previous_button, self._page > 0)
        set_visible(self.next_button, self._page + 1 < len(self._tokens))

    def _render(self) -> None:
        self._render_page_buttons()
        replace_children(self.rows, [self._build_row(job) for job in self.jobs])
        self.status_line.value = html.render_status(
            "" if self.jobs else translate("No jobs found.")
        )

    def _build_row(self, job: Job) -> W.Widget:
        build = self.panel.build_button
        buttons = []
        if job.status is Status.SUCCEEDED:
            tooltip = translate("Show the result of {job}").format(job=job.id)
            buttons.append(build("Picture", tooltip, partial(self._open, job)))
        if job.status.is_active:
            tooltip = translate("Follow {job}").format(job=job.id)
            buttons.append(build("Watch", tooltip, partial(self._open, job)))
            tooltip = translate("Cancel {job}").format(job=job.id)
            buttons.append(build("Cancel", tooltip, partial(self._cancel, job)))
        if job.status.is_terminal:
            tooltip = translate("Submit {job} again").format(job=job.id)
            buttons.append(build("Retry", tooltip, partial(self._retry, job)))
        label = W.HTML(_render_job(job)).add_class("mjci-grow")
        return build_row(label, *buttons, css_class="mjci-quiet").add_class("mjci-job-row")

    async def _open(self, job: Job) -> None:
        self._on_open(job, "Job")

    async def _cancel(self, job: Job) -> None:
        await self.panel.session.ci.cancel(job.id)
        await self._load_page()

    async def _retry(self, job: Job) -> None:
        self.panel.clear_message()
        self._on_open(await resubmit(self.panel.session.ci, job), "Retry")
        await self._load_page()


def _render_job(job: Job) -> str:
    rule = _get_raw(job, "Operation", "PicProcess", "ProcessRule")
    submitted = f"{job.submitted:%Y-%m-%d %H:%M:%S}" if job.submitted else ""
    parts = (job.subject, rule, job.reason, submitted)
    facts = cards.escape_text(" · ".join(part for part in parts if part))
    job_id = cards.escape_text(job.id)
    shown = render_element("span", facts, "mjci-prompt")
    return f"{cards.status_html(job)} <code>{job_id}</code> {shown}"
