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
from jupyter_mjci.errors import CallError
from jupyter_mjci.notebook.panels.base import Panel
from jupyter_mjci.notebook.panels.form import FULL, Field, Form, area, combo
from jupyter_mjci.notebook.panels.job_card import Card
from jupyter_mjci.notebook.panels.job_list import Ledger
from jupyter_mjci.notebook.panels.object_browser import Bucket
from jupyter_mjci.notebook.panels.rule_editor import RuleEditor
from jupyter_mjci.notebook.panels.rule_preview import Trial
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
OUTPUT = "output/${InputName}.${Ext}"


class CIPanel(Panel):
    """Process pictures of the bucket: choose one, put a rule together, see before and after,
    submit.
    """

    name, title = "ci", "Tencent CI"
    magics = "%%ci_job, %ci_jobs"

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        if session.settings.has_ci:
            self.start(self.bucket.look())

    def form(self) -> Sequence[Any]:
        own: dict[str, Callable[[Param], Field]] = {"input": self._input_field, "rule": area}
        self.fields = Form(self.session.ci.picture_job, ("input", "rule", "output"), own)
        self.input, self.rule, self.output = (
            self.fields[name] for name in ("input", "rule", "output")
        )
        self.output.value = OUTPUT
        self.upload = W.FileUpload(
            description="Upload a picture",
            accept="image/*",
            tooltip="Put a picture of yours into the bucket",
        )
        self.upload.observe(self._uploaded, "value")
        self.bucket = Bucket(self, self._choose)
        self.trial = Trial(self)
        self.editor = RuleEditor(self.session.rules, self.rule, self._changed)
        self.input.observe(lambda _: self._changed(), "value")
        self.ledger = Ledger(self, self._place)
        self.submit = W.Button(
            description="Process", button_style="primary", tooltip="Submit the job"
        )
        self.on_press(self.submit, self._submit)
        return [self.bucket.box, self._workbench()]

    def foot(self) -> Sequence[Any]:
        return [self.ledger.box]

    def _workbench(self) -> Any:
        template, save = self._more("Save as template…", self._template_fields())
        batch, run = self._more("Run over a prefix…", self._batch_fields())
        row = W.HBox([self.submit, self.upload, template, batch, self.fields.more]).add_class(
            "mjci-row"
        )
        return W.VBox(
            [
                self.input,
                self.rule,
                self._examples(),
                self.editor.box,
                self.trial.box,
                self.output,
                row,
                save,
                run,
                self.fields.rest,
            ]
        ).add_class("mjci-form")

    def _input_field(self, param: Param) -> Field:
        known = dict.fromkeys(
            job.subject for job in reversed(self.session.seen("ci")) if job.subject
        )
        return combo(param, known)

    def _examples(self) -> Any:
        label = W.Label("Examples")
        return (
            W.HBox([label, *(self._example(*one) for one in EXAMPLES)])
            .add_class("mjci-row")
            .add_class("mjci-quiet")
        )

    def _example(self, name: str, rule: str) -> Any:
        button = W.Button(description=name, tooltip=rule)
        button.on_click(lambda _: setattr(self.rule, "value", rule))
        return button

    @staticmethod
    def _more(name: str, fields: Sequence[Any]) -> tuple[Any, Any]:
        """A button that folds fields out and in, and the fields."""
        button = W.ToggleButton(description=name, tooltip="Show or hide it")
        box = W.VBox(fields, layout={"display": "none"}).add_class("mjci-inset")
        button.observe(
            lambda change: setattr(box.layout, "display", "" if change["new"] else "none"), "value"
        )
        return button, box

    def _template_fields(self) -> Sequence[Any]:
        self.template_name = W.Text(
            description="Name", placeholder="letters, digits, _, - and *", layout=FULL
        )
        self.save_button = W.Button(
            description="Save template", tooltip="Store the rule at the service"
        )
        self.on_press(self.save_button, self._save_template)
        return [self.template_name, W.HBox([self.save_button]).add_class("mjci-row")]

    def _batch_fields(self) -> Sequence[Any]:
        self.batch_name = W.Text(description="Name", value="batch", layout=FULL)
        self.batch_prefix = W.Text(
            description="Prefix", placeholder="every picture whose key begins so", layout=FULL
        )
        self.batch_output = W.Text(description="Output", value=OUTPUT, layout=FULL)
        self.run_batch = W.Button(
            description="Run over the prefix", tooltip="Submit the batch: a job for each picture"
        )
        self.on_press(self.run_batch, self._run_batch)
        row = W.HBox([self.run_batch]).add_class("mjci-row")
        return [self.batch_name, self.batch_prefix, self.batch_output, row]

    # --- what a person does -----------------------------------------------------------------------

    def _choose(self, key: str) -> None:
        self.input.value = key
        self.batch_prefix.value = self.bucket.here()

    def _changed(self) -> None:
        """The picture or the rule is another: try it, unless the rule is wrong."""
        if not self.editor.wrong:
            self.trial.ask(self.input.value.strip(), self.rule.value.strip())

    def call(self) -> Call[Job]:
        """What a click on Process would submit now."""
        self._check()
        return self.session.ci.picture_job(**self.fields.arguments())

    def _check(self) -> None:
        if self.editor.wrong:
            raise CallError(
                "This is no rule yet.", hint="The line under the rule says what is wrong."
            )

    async def _submit(self) -> None:
        self.say()
        given = self.input.value.strip()
        job = await self.asked(self.call())
        self.add(
            Card(self, job, label="Job", given=partial(self._original, given), leave=self.remove)
        )

    async def _original(self, key: str) -> bytes:
        return await self.session.ci.get_object(key)

    async def _save_template(self) -> None:
        self.say()
        self._check()
        name = self.template_name.value.strip()
        made = await self.session.ci.create_template(name, rule=self.rule.value.strip())
        self.say(
            f"Template {made.get('TemplateId')} is saved as {name}.",
            "Jobs and batches take it instead of a rule.",
            note=True,
        )

    async def _run_batch(self) -> None:
        self.say()
        self._check()
        job = await self.session.ci.batch(
            name=self.batch_name.value.strip(),
            prefix=self.batch_prefix.value.strip(),
            rule=self.rule.value.strip() or None,
            output=self.batch_output.value.strip(),
        )
        self.add(Card(self, job, label="Batch", leave=self.remove))

    def _place(self, job: Job, label: str) -> None:
        self.add(
            Card(
                self,
                job,
                label=label,
                given=partial(self._original, job.subject),
                leave=self.remove,
            )
        )

    def _uploaded(self, change: Mapping[str, Any]) -> None:
        if change["new"]:
            self.start(self._put(change["new"][0]))

    async def _put(self, sent: Mapping[str, Any]) -> None:
        key = f"input/{sent['name']}"
        if not sent["type"].startswith("image/"):
            raise CallError(
                f"{sent['name']} is no picture.", why=f"It is {sent['type'] or 'of no known type'}."
            )
        await self.session.ci.put_object(key, bytes(sent["content"]), content_type=sent["type"])
        self.say()
        self.trial.forget()
        self.input.value = key
        await self.bucket.look()
