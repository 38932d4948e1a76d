"""The Tencent CI panel: a picture of the bucket, a rule as blocks and as text, what it would make,
and the jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import ipywidgets as W

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.notebook.panels.base import Panel
from jupyter_mjci.notebook.panels.form import (
    FULL_WIDTH,
    Field,
    Form,
    build_combobox,
    build_text_area,
)
from jupyter_mjci.notebook.panels.job_card import Card
from jupyter_mjci.notebook.panels.job_list import JobList
from jupyter_mjci.notebook.panels.object_browser import ObjectBrowser
from jupyter_mjci.notebook.panels.rule_editor import RuleEditor
from jupyter_mjci.notebook.panels.rule_preview import RulePreview
from jupyter_mjci.notebook.params import Param
from jupyter_mjci.session import Session

EXAMPLES = (
    ("Width 300", "imageMogr2/thumbnail/300x"),
    ("Square 200", "imageMogr2/thumbnail/!200x200r/gravity/center/crop/200x200"),
    ("Rotate 90", "imageMogr2/rotate/90"),
    ("Blur", "imageMogr2/blur/8x5"),
    ("Grey WebP", "imageMogr2/grayscale/1/format/webp"),
    (
        "Text",
        "watermark/2/text/bWpjaQ/fill/I0ZGRkZGRg/fontsize/40/dissolve/90/gravity/southeast/dx/20/dy/20",
    ),
)
DEFAULT_OUTPUT = "output/${InputName}.${Ext}"


class CIPanel(Panel):
    """Process pictures of the bucket: choose one, put a rule together, see before and after,
    submit.
    """

    name, title = "ci", "Tencent CI"
    magics = "%%ci_job, %ci_jobs"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        if session.settings.has_ci:
            self.start_task(self.browser.reload())

    def build_form(self) -> Sequence[Any]:
        own: dict[str, Callable[[Param], Field]] = {
            "input": self._build_input_field,
            "rule": build_text_area,
        }
        self.fields = Form(self.session.ci.picture_job, ("input", "rule", "output"), own)
        self.input, self.rule, self.output = (
            self.fields[name] for name in ("input", "rule", "output")
        )
        self.output.value = DEFAULT_OUTPUT
        self.upload = W.FileUpload(
            description="Upload a picture",
            accept="image/*",
            tooltip="Put a picture of yours into the bucket",
        )
        self.upload.observe(self._on_upload, "value")
        self.browser = ObjectBrowser(self, self._select_input)
        self.preview = RulePreview(self)
        self.editor = RuleEditor(self.session.rules, self.rule, self._update_preview)
        self.input.observe(lambda _: self._update_preview(), "value")
        self.job_list = JobList(self, self._open_card)
        self.submit_button = W.Button(
            description="Process", button_style="primary", tooltip="Submit the job"
        )
        self.on_click(self.submit_button, self._submit)
        return [self.browser.box, self._build_workbench()]

    def build_footer(self) -> Sequence[Any]:
        return [self.job_list.box]

    def _build_workbench(self) -> Any:
        template, save = self._build_foldout("Save as template…", self._build_template_fields())
        batch, run = self._build_foldout("Run over a prefix…", self._build_batch_fields())
        row = W.HBox(
            [self.submit_button, self.upload, template, batch, self.fields.more_button]
        ).add_class("mjci-row")
        return W.VBox(
            [
                self.input,
                self.rule,
                self._build_examples(),
                self.editor.box,
                self.preview.box,
                self.output,
                row,
                save,
                run,
                self.fields.more_box,
            ]
        ).add_class("mjci-form")

    def _build_input_field(self, param: Param) -> Field:
        known = dict.fromkeys(
            job.subject for job in reversed(self.session.known_jobs("ci")) if job.subject
        )
        return build_combobox(param, known)

    def _build_examples(self) -> Any:
        label = W.Label("Examples")
        return (
            W.HBox([label, *(self._build_example_button(*one) for one in EXAMPLES)])
            .add_class("mjci-row")
            .add_class("mjci-quiet")
        )

    def _build_example_button(self, name: str, rule: str) -> Any:
        button = W.Button(description=name, tooltip=rule)
        button.on_click(lambda _: setattr(self.rule, "value", rule))
        return button

    @staticmethod
    def _build_foldout(name: str, fields: Sequence[Any]) -> tuple[Any, Any]:
        """A button that folds fields out and in, and the fields."""
        button = W.ToggleButton(description=name, tooltip="Show or hide it")
        box = W.VBox(fields, layout={"display": "none"}).add_class("mjci-inset")
        button.observe(
            lambda change: setattr(box.layout, "display", "" if change["new"] else "none"), "value"
        )
        return button, box

    def _build_template_fields(self) -> Sequence[Any]:
        self.template_name = W.Text(
            description="Name", placeholder="letters, digits, _, - and *", layout=FULL_WIDTH
        )
        self.save_button = W.Button(
            description="Save template", tooltip="Store the rule at the service"
        )
        self.on_click(self.save_button, self._save_template)
        return [self.template_name, W.HBox([self.save_button]).add_class("mjci-row")]

    def _build_batch_fields(self) -> Sequence[Any]:
        self.batch_name = W.Text(description="Name", value="batch", layout=FULL_WIDTH)
        self.batch_prefix = W.Text(
            description="Prefix", placeholder="every picture whose key begins so", layout=FULL_WIDTH
        )
        self.batch_output = W.Text(description="Output", value=DEFAULT_OUTPUT, layout=FULL_WIDTH)
        self.run_batch_button = W.Button(
            description="Run over the prefix", tooltip="Submit the batch: a job for each picture"
        )
        self.on_click(self.run_batch_button, self._run_batch)
        row = W.HBox([self.run_batch_button]).add_class("mjci-row")
        return [self.batch_name, self.batch_prefix, self.batch_output, row]

    # --- what a person does -----------------------------------------------------------------------

    def _select_input(self, key: str) -> None:
        self.input.value = key
        self.batch_prefix.value = self.browser.get_folder()

    def _update_preview(self) -> None:
        """The picture or the rule is another: try it, unless the rule is wrong."""
        if not self.editor.is_invalid:
            self.preview.schedule(self.input.value.strip(), self.rule.value.strip())

    def build_call(self) -> Call[Job]:
        """What a click on Process would submit now."""
        self._check_rule()
        return self.session.ci.picture_job(**self.fields.build_kwargs())

    def _check_rule(self) -> None:
        if self.editor.is_invalid:
            raise InvalidRequest(
                "This is no rule yet.", hint="The line under the rule says what is wrong."
            )

    async def _submit(self) -> None:
        self.show_message()
        given = self.input.value.strip()
        job = await self.call_with_notice(self.build_call())
        self.add(
            Card(
                self,
                job,
                label="Job",
                fetch_before=partial(self._fetch_original, given),
                on_remove=self.remove,
            )
        )

    async def _fetch_original(self, key: str) -> bytes:
        return await self.session.ci.get_object(key)

    async def _save_template(self) -> None:
        self.show_message()
        self._check_rule()
        name = self.template_name.value.strip()
        made = await self.session.ci.create_template(name, rule=self.rule.value.strip())
        self.show_message(
            f"Template {made.get('TemplateId')} is saved as {name}.",
            "Jobs and batches take it instead of a rule.",
            note=True,
        )

    async def _run_batch(self) -> None:
        self.show_message()
        self._check_rule()
        job = await self.session.ci.batch(
            name=self.batch_name.value.strip(),
            prefix=self.batch_prefix.value.strip(),
            rule=self.rule.value.strip() or None,
            output=self.batch_output.value.strip(),
        )
        self.add(Card(self, job, label="Batch", on_remove=self.remove))

    def _open_card(self, job: Job, label: str) -> None:
        self.add(
            Card(
                self,
                job,
                label=label,
                fetch_before=partial(self._fetch_original, job.subject),
                on_remove=self.remove,
            )
        )

    def _on_upload(self, change: Mapping[str, Any]) -> None:
        if change["new"]:
            self.start_task(self._upload_file(change["new"][0]))

    async def _upload_file(self, file: Mapping[str, Any]) -> None:
        key = f"input/{file['name']}"
        if not file["type"].startswith("image/"):
            raise InvalidRequest(
                f"{file['name']} is no picture.",
                detail=f"It is {file['type'] or 'of no known type'}.",
            )
        await self.session.ci.put_object(key, bytes(file["content"]), content_type=file["type"])
        self.show_message()
        self.preview.invalidate()
        self.input.value = key
        await self.browser.reload()
