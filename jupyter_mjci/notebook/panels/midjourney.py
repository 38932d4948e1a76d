"""The Midjourney panel: a prompt with its flags, cards of tasks, and a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from html import escape

import ipywidgets as W

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.translation import mark, translate
from jupyter_mjci.jobs.limits import check_job_count
from jupyter_mjci.notebook.panels.async_button import Work
from jupyter_mjci.notebook.panels.base import Panel
from jupyter_mjci.notebook.panels.form import Form, build_text_area
from jupyter_mjci.notebook.panels.gallery import Gallery
from jupyter_mjci.notebook.panels.job_card import Card
from jupyter_mjci.notebook.panels.widgets import build_row
from jupyter_mjci.services.midjourney.prompt_flags import FLAGS_BY_NAME, PromptFlag
from jupyter_mjci.services.midjourney.responses import get_preview_url

# The flags with a field of their own, and its label.
FLAG_LABELS = {
    "--ar": mark("Aspect ratio"),
    "--v": mark("Version"),
    "--stylize": mark("Stylize"),
    "--chaos": mark("Chaos"),
    "--weird": mark("Weird"),
    "--seed": mark("Seed"),
    "--no": mark("Without"),
}


def build_flag_widget(flag: PromptFlag, label: str) -> W.Widget:
    """Return the field of a flag; a slider that stands at the default writes nothing."""
    if flag.default is not None:
        return W.IntSlider(
            flag.default,
            min=int(flag.low),
            max=int(flag.high),
            description=label,
            tooltip=flag.help,
        )
    if flag.values:
        options = [("–", ""), *zip(flag.values, flag.values, strict=True)]
        return W.Dropdown(description=label, options=options, tooltip=flag.help)
    return W.Text(description=label, placeholder=flag.help, tooltip=flag.help)


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
        self.flags = {
            name: build_flag_widget(FLAGS_BY_NAME[name], label)
            for name, label in FLAG_LABELS.items()
        }
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
        for name, widget in self.flags.items():
            value = str(widget.value).strip()
            if value and value != str(FLAGS_BY_NAME[name].default):
                parts.append(f"{name} {value}")
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
        call = self.build_call()
        check_job_count([call], self.session.settings)
        return self._run_call(call, self.build_prompt())

    async def _run_call(self, call: Call[Job], prompt: str) -> None:
        job = await self.call_with_notice(call)
        self._add_card(job, "Imagine")
        if self.build_prompt() == prompt:
            self._show_prompt(mark("Sent"), prompt)

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
        self._show_prompt(mark("Will send"), self.build_prompt())

    def _show_prompt(self, label: str, prompt: str) -> None:
        text = f"{translate(label)}: {escape(prompt)}" if prompt else ""
        self.prompt_preview.value = f'<div class="mjci-sent mjci-faint">{text}</div>'
