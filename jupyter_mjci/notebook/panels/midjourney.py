"""The Midjourney panel: a prompt with its flags, cards of tasks, and a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from html import escape

import ipywidgets as W

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job
from jupyter_mjci.notebook.panels.async_button import Work
from jupyter_mjci.notebook.panels.base import Panel
from jupyter_mjci.notebook.panels.form import Form, build_text_area
from jupyter_mjci.notebook.panels.gallery import Gallery
from jupyter_mjci.notebook.panels.job_card import Card
from jupyter_mjci.notebook.panels.widgets import build_row
from jupyter_mjci.services.midjourney.responses import get_preview_url


@dataclass(frozen=True, slots=True)
class Flag:
    """One of Midjourney's own flags.

    It takes one of `values`, or a number from 0 to `maximum` (the
    `default` is not written), or else any text.
    """

    name: str
    label: str
    hint: str
    values: tuple[str, ...] = ()
    default: int | None = None
    maximum: int = 0

    def build_widget(self) -> W.Widget:
        if self.default is not None:
            return W.IntSlider(
                self.default, min=0, max=self.maximum, description=self.label, tooltip=self.hint
            )
        if self.values:
            options = [("–", ""), *zip(self.values, self.values, strict=True)]
            return W.Dropdown(description=self.label, options=options, tooltip=self.hint)
        return W.Text(description=self.label, placeholder=self.hint, tooltip=self.hint)


ASPECT_RATIOS = ("1:1", "3:2", "2:3", "4:3", "3:4", "16:9", "9:16", "21:9")
FLAGS = (
    Flag("--ar", "Aspect ratio", "width to height", values=ASPECT_RATIOS),
    Flag("--v", "Version", "of the model", values=("7", "6.1", "6", "5.2")),
    Flag("--stylize", "Stylize", "how much of the model's own taste", default=100, maximum=1000),
    Flag("--chaos", "Chaos", "how different the four pictures are", default=0, maximum=100),
    Flag("--weird", "Weird", "how unusual they are", default=0, maximum=3000),
    Flag("--seed", "Seed", "any number"),
    Flag("--no", "Without", "wolves, snow"),
)


class MidjourneyPanel(Panel):
    """Submit prompts, and continue with each task's own buttons in place."""

    title = "Midjourney"
    magics = "%mj_imagine, %mj_action"

    def build_form(self) -> Sequence[W.Widget]:
        build_prompt_field = partial(
            build_text_area, placeholder="What to draw: a red fox in the snow", tall=True
        )
        self.fields = Form(
            self.session.mj.imagine, ("prompt", "images"), {"prompt": build_prompt_field}
        )
        self.prompt = self.fields["prompt"]
        self.flags = {flag.name: flag.build_widget() for flag in FLAGS}
        self.prompt_preview = W.HTML()
        submit = self.build_submit("Imagine", "Submit the prompt", self._submit, style="primary")
        self.submit_button = submit.button
        for widget in (self.prompt, *self.flags.values()):
            widget.observe(lambda _: self._update_prompt_preview(), "value")
        flags = W.HBox(list(self.flags.values())).add_class("mjci-flags")
        row = build_row(*submit.widgets, self.fields["images"], self.fields.more_button)
        children = [self.prompt, flags, self.prompt_preview, row, self.fields.more_box]
        form = W.VBox(children).add_class("mjci-form")
        submit.bind(form)
        return [form]

    def build_footer(self) -> Sequence[W.Widget]:
        self.gallery = Gallery(self, self._open_card)
        return [self.gallery.box]

    def build_prompt(self) -> str:
        """Return the prompt as it will be sent.

        That is the text as typed, then the flags that were set.
        """
        parts = [self.prompt.value]
        for flag in FLAGS:
            value = str(self.flags[flag.name].value).strip()
            if value and value != str(flag.default):
                parts.append(f"{flag.name} {value}")
        return " ".join(parts)

    def build_call(self) -> Call[Job]:
        """Build the call that a click on "Imagine" submits.

        Raises:
            InvalidRequest: The prompt is empty, or a field cannot
                be converted.
        """
        kwargs = self.fields.build_kwargs()
        if self.prompt.value.strip():
            kwargs["prompt"] = self.build_prompt()
        else:
            # flags alone are no prompt; the builder refuses it
            kwargs["prompt"] = ""
        return self.session.mj.imagine(**kwargs)

    def _submit(self) -> Work:
        self.clear_message()
        return self._run_call(self.build_call(), self.build_prompt())

    async def _run_call(self, call: Call[Job], prompt: str) -> None:
        job = await self.call_with_notice(call)
        self._add_card(job, "Imagine")
        if self.build_prompt() == prompt:
            self._show_prompt("Sent", prompt)

    def _open_card(self, job: Job) -> None:
        self._add_card(job, "Task")

    def _add_card(self, job: Job, default_label: str) -> None:
        card = Card(
            self,
            job,
            label=job.action.capitalize() or default_label,
            on_remove=self.remove,
            get_preview_url=get_preview_url,
        )
        self.add(card)

    def _update_prompt_preview(self) -> None:
        self._show_prompt("Will send", self.build_prompt())

    def _show_prompt(self, label: str, prompt: str) -> None:
        text = f"{label}: {escape(prompt)}" if prompt else ""
        self.prompt_preview.value = f'<div class="mjci-sent mjci-faint">{text}</div>'
