"""The Tencent CI panel: choose a picture of the bucket, edit a rule, preview and submit it.

The rule can be run on one picture, saved as a template, or run
over a prefix as a batch. The jobs of the bucket are listed below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import ipywidgets as W
from traitlets import Bunch

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.translation import mark, translate
from jupyter_mjci.errors import InvalidRequest, PreflightError
from jupyter_mjci.imaging import rule_syntax
from jupyter_mjci.notebook.panels.async_button import Work
from jupyter_mjci.notebook.panels.base import Panel
from jupyter_mjci.notebook.panels.form import (
    FULL_WIDTH,
    Field,
    Form,
    build_combobox,
    build_text_area,
)
from jupyter_mjci.notebook.panels.job_card import Card, FetchPicture, get_object_key
from jupyter_mjci.notebook.panels.job_list import JobList
from jupyter_mjci.notebook.panels.object_browser import ObjectBrowser
from jupyter_mjci.notebook.panels.rule_editor import RuleEditor
from jupyter_mjci.notebook.panels.rule_preview import RulePreview
from jupyter_mjci.notebook.panels.widgets import build_button, build_heading, build_row, link_toggle
from jupyter_mjci.notebook.params import Param
from jupyter_mjci.services import PictureTarget
from jupyter_mjci.session import Session

# The text is "mjci", its colour #FFFFFF, both in URL-safe base64.
TEXT_RULE = (
    "watermark/2/text/bWpjaQ/fill/I0ZGRkZGRg/fontsize/40/dissolve/90/gravity/southeast/dx/20/dy/20"
)
EXAMPLES = (
    (mark("Width 300"), "imageMogr2/thumbnail/300x"),
    (mark("Square 200"), "imageMogr2/thumbnail/!200x200r/gravity/center/crop/200x200"),
    (mark("Rotate 90"), "imageMogr2/rotate/90"),
    (mark("Blur"), "imageMogr2/blur/8x5"),
    (mark("Grey WebP"), "imageMogr2/grayscale/1/format/webp"),
    (mark("Text"), TEXT_RULE),
)
MAX_BATCH_JOBS = 100_000
DEFAULT_OUTPUT = "output/${InputName}.${Ext}"


class CIPanel(Panel):
    """Process pictures of the bucket with a rule."""

    title = "Tencent CI"
    magics = "%%ci_job, %ci_jobs"
    picture_builders = ("process",)

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        if session.settings.sections["ci"].is_configured:
            self.start_task(self.browser.reload())

    def build_form(self) -> Sequence[W.Widget]:
        self.fields = Form(
            self.session.ci.picture_job,
            ("input", "rule", "output"),
            {"input": self._build_input_field, "rule": build_text_area},
        )
        self.input = self.fields["input"]
        self.rule = self.fields["rule"]
        self.output = self.fields["output"]
        self.output.value = DEFAULT_OUTPUT
        self.browser = ObjectBrowser(self, self._select_input)
        self.preview = RulePreview(self)
        self.editor = RuleEditor(rule_syntax, self.rule, self._update_preview)
        self.input.observe(lambda _: self._update_preview(), "value")
        self.job_list = JobList(self, self._open_card)
        self._build_buttons()
        return [self.browser.box, self._build_workbench()]

    def build_footer(self) -> Sequence[W.Widget]:
        return [self.job_list.box]

    def _build_input_field(self, param: Param) -> Field:
        """Suggest the inputs of known jobs, newest first."""
        jobs = reversed(self.session.client.known_jobs("ci"))
        return build_combobox(param, dict.fromkeys(job.subject for job in jobs if job.subject))

    def _build_buttons(self) -> None:
        self._submit_job = self.build_submit(
            "Process", "Submit the job", self._submit, style="primary"
        )
        self.submit_button = self._submit_job.button
        self.upload = W.FileUpload(
            description="Upload a picture", accept="image/*", tooltip="Upload it to the bucket"
        )
        self.upload.observe(self._on_upload, "value")

    def _build_workbench(self) -> W.Widget:
        template_box = self._build_template_box()
        batch_box = self._build_batch_box()
        row = build_row(
            *self._submit_job.widgets,
            self.upload,
            _build_toggle("Save as template…", template_box),
            _build_toggle("Run over a prefix…", batch_box),
            self.fields.more_button,
        )
        children = [
            build_heading("Rule"),
            self.input,
            self.rule,
            self._build_examples(),
            build_heading("Steps"),
            self.editor.box,
            build_heading("Preview"),
            self.preview.box,
            build_heading("Result"),
            self.output,
            row,
            template_box,
            batch_box,
            self.fields.more_box,
        ]
        form = W.VBox(children).add_class("mjci-form")
        self._submit_job.bind(form)
        # the rule is theirs as well
        self._submit_template.bind(form, template_box)
        self._submit_batch.bind(form, batch_box)
        return form

    def _build_examples(self) -> W.Widget:
        buttons = [self._build_example_button(*example) for example in EXAMPLES]
        return build_row(W.Label(translate("Add an example")), *buttons, css_class="mjci-quiet")

    def _build_example_button(self, name: str, rule: str) -> W.Widget:
        button = build_button(name, translate("Add {rule}").format(rule=rule))
        button.on_click(lambda _: self.editor.add_rule(rule))
        return button

    def _build_template_box(self) -> W.Widget:
        self.template_name = W.Text(
            description="Name", placeholder="letters, digits, _, - and *", layout=FULL_WIDTH
        )
        self._submit_template = self.build_submit(
            "Save template", "Store the rule at the service", self._save_template
        )
        self.save_button = self._submit_template.button
        row = build_row(*self._submit_template.widgets)
        return W.VBox([self.template_name, row]).add_class("mjci-inset")

    def _build_batch_box(self) -> W.Widget:
        self.batch_name = W.Text(description="Name", value="batch", layout=FULL_WIDTH)
        self.batch_prefix = W.Text(
            description="Prefix",
            placeholder="every picture whose key begins with this",
            layout=FULL_WIDTH,
        )
        self.batch_output = W.Text(description="Output", value=DEFAULT_OUTPUT, layout=FULL_WIDTH)
        self._submit_batch = self.build_submit(
            "Run over the prefix", "Submit a batch: one job per picture", self._run_batch
        )
        self.run_batch_button = self._submit_batch.button
        self.batch_limit = W.BoundedIntText(
            self.session.settings.max_jobs,
            min=1,
            max=MAX_BATCH_JOBS,
            description="At most",
            tooltip="More jobs than this are refused before the first",
        )
        fields = [self.batch_name, self.batch_prefix, self.batch_output, self.batch_limit]
        row = build_row(*self._submit_batch.widgets)
        return W.VBox([*fields, row]).add_class("mjci-inset")

    # --- actions of the user ---

    async def receive_picture(self, _: PictureTarget, name: str) -> str:
        """Upload a picture to the bucket, and choose it."""
        key: str = await self.session.upload(name)
        self.input.value = key
        await self.browser.reload()
        return key

    async def use_again(self, job: Job) -> str:
        self.input.value = job.subject
        self.rule.value = job.rule
        self.output.value = get_object_key(job.outputs[0]) if job.outputs else DEFAULT_OUTPUT
        return "The form is filled in."

    def _select_input(self, key: str) -> None:
        self.input.value = key
        self.batch_prefix.value = self.browser.get_folder()

    def _update_preview(self) -> None:
        if not self.editor.is_invalid:
            self.preview.schedule(self.input.value.strip(), self.rule.value.strip())

    def build_call(self) -> Call[Job]:
        """Build the call that a click on "Process" submits.

        Raises:
            InvalidRequest: The rule is not valid, or a field is
                missing or cannot be converted.
        """
        self._check_rule()
        return self.session.ci.picture_job(**self.fields.build_kwargs())

    def _check_rule(self) -> None:
        if self.editor.is_invalid:
            raise InvalidRequest("The rule is not valid.", hint="See the message below the rule.")

    def _submit(self) -> Work:
        self.clear_message()
        fetch_before = self._fetcher(self.input.value.strip())
        return self._run_call(self.build_call(), "Job", fetch_before)

    async def _run_call(
        self, call: Call[Job], label: str, fetch_before: FetchPicture | None = None
    ) -> None:
        self._add_card(await self.call_with_notice(call), label, fetch_before)

    def _open_card(self, job: Job, label: str) -> None:
        self._add_card(job, label, self._fetcher(job.subject))

    def _add_card(self, job: Job, label: str, fetch_before: FetchPicture | None = None) -> None:
        self.add(Card(self, job, label=label, on_remove=self.remove, fetch_before=fetch_before))

    def _fetcher(self, key: str) -> FetchPicture:
        return partial(self._fetch_object, key)

    async def _fetch_object(self, key: str) -> bytes:
        return await self.session.ci.get_object(key)

    def _save_template(self) -> Work:
        self.clear_message()
        self._check_rule()
        name = self.template_name.value.strip()
        call = self.session.ci.create_template(name, rule=self.rule.value.strip())
        return self._run_template_call(call, name)

    async def _run_template_call(self, call: Call[Mapping[str, Any]], name: str) -> None:
        template = await call
        lines = (
            f"Template {template.get('TemplateId')} is saved as {name}.",
            "Jobs and batches accept its ID instead of a rule.",
        )
        self.show_message(lines, level="note")

    def _run_batch(self) -> Work:
        self.clear_message()
        self._check_rule()
        call = self.session.ci.batch(
            name=self.batch_name.value.strip(),
            prefix=self.batch_prefix.value.strip(),
            rule=self.rule.value.strip() or None,
            output=self.batch_output.value.strip(),
        )
        return self._run_batch_call(call, self.batch_prefix.value.strip(), self.batch_limit.value)

    async def _run_batch_call(self, call: Call[Job], prefix: str, limit: int) -> None:
        """Submit a batch, unless the prefix has more pictures than the limit."""
        objects = self.session.ci.objects(prefix=prefix, limit=MAX_BATCH_JOBS)
        count = sum(1 for stored in await objects if stored.size)
        if count > limit:
            raise PreflightError(
                f"This would submit {count:,} jobs; at most {limit:,} are allowed at a time.",
                hint='Nothing was sent. To allow it, change "At most", or the setting max_jobs.',
            )
        await self._run_call(call, "Batch")

    def _on_upload(self, change: Bunch) -> None:
        if change.new:
            self.start_task(self._upload_file(change.new[0]))

    async def _upload_file(self, file: Bunch) -> None:
        name, media_type = file["name"], file["type"]
        if not media_type.startswith("image/"):
            raise InvalidRequest(
                f"{name} is not an image.", detail=f"Its type is {media_type or 'unknown'}."
            )
        key = f"input/{name}"
        await self.session.ci.put_object(key, bytes(file["content"]), content_type=media_type)
        self.clear_message()
        self.preview.invalidate()
        self.input.value = key
        await self.browser.reload()


def _build_toggle(name: str, box: W.Widget) -> W.Widget:
    button = W.ToggleButton(description=name, tooltip="Show or hide these fields")
    link_toggle(button, box)
    return button
