"""The Tencent CI panel: a picture of the bucket, a rule, and the cards of the jobs, before and after side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import ipywidgets as W

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import CallError
from jupyter_mjci.notebook.panels.board import Panel
from jupyter_mjci.notebook.panels.cards import Card
from jupyter_mjci.notebook.panels.form import Field, Form, area, combo
from jupyter_mjci.notebook.params import Param

EXAMPLES = (
    ("Width 300", "imageMogr2/thumbnail/300x"),
    ("Square 200", "imageMogr2/thumbnail/!200x200r/gravity/center/crop/200x200"),
    ("Rotate 90", "imageMogr2/rotate/90"),
    ("Blur", "imageMogr2/blur/8x5"),
    ("Grey WebP", "imageMogr2/grayscale/1/format/webp"),
    ("Text", "watermark/2/text/bWpjaQ/fill/I0ZGRkZGRg/fontsize/40/dissolve/90/gravity/southeast/dx/20/dy/20"),
)
OUTPUT = "output/${InputName}.${Ext}"


class CIPanel(Panel):
    """Process pictures of the bucket: choose one, write a rule, see before and after."""

    name, title = "ci", "Tencent CI"

    def form(self) -> Sequence[Any]:
        own: dict[str, Callable[[Param], Field]] = {"input": self._input_field, "rule": area}
        self.fields = Form(self.session.ci.picture_job, ("input", "rule", "output"), own)
        self.input, self.rule, self.output = (self.fields[name] for name in ("input", "rule", "output"))
        self.output.value = OUTPUT
        self.upload = W.FileUpload(
            description="Upload a picture", accept="image/*", tooltip="Put a picture of yours into the bucket"
        )
        self.upload.observe(self._uploaded, "value")
        self.submit = W.Button(description="Process", button_style="primary", tooltip="Submit the job")
        self.on_press(self.submit, self._submit)
        row = W.HBox([self.submit, self.upload, self.fields.more]).add_class("mjci-row")
        fields = [self.input, self.rule, self._examples(), self.output, row, self.fields.rest]
        return [W.VBox(fields).add_class("mjci-form")]

    def _input_field(self, param: Param) -> Field:
        known = dict.fromkeys(job.subject for job in reversed(self.session.seen("ci")) if job.subject)
        return combo(param, known)

    def _examples(self) -> Any:
        label = W.Label("Examples")
        return W.HBox([label, *(self._example(*one) for one in EXAMPLES)]).add_class("mjci-row").add_class("mjci-quiet")

    def _example(self, name: str, rule: str) -> Any:
        button = W.Button(description=name, tooltip=rule)

        async def fill() -> None:
            self.rule.value = rule

        self.on_press(button, fill)
        return button

    def call(self) -> Call[Job]:
        """What a click on Process would submit now."""
        return self.session.ci.picture_job(**self.fields.arguments())

    async def _submit(self) -> None:
        self.say()
        call = self.call()
        given = self.input.value.strip()
        job = await call
        self.add(Card(self, job, label="Job", given=partial(self._original, given), leave=self.remove))

    async def _original(self, key: str) -> bytes:
        return await self.session.ci.get_object(key)

    def _uploaded(self, change: Mapping[str, Any]) -> None:
        if change["new"]:
            self.start(self._put(change["new"][0]))

    async def _put(self, sent: Mapping[str, Any]) -> None:
        key = f"input/{sent['name']}"
        if not sent["type"].startswith("image/"):
            raise CallError(f"{sent['name']} is no picture.", why=f"It is {sent['type'] or 'of no known type'}.")
        await self.session.ci.put_object(key, bytes(sent["content"]), content_type=sent["type"])
        self.input.value = key
        self.say()
