"""The Midjourney panel: a prompt with its flags, cards of tasks, and a gallery."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from html import escape
from typing import Any

import anyio.to_thread
import ipywidgets as W
from traitlets import TraitError

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.image_input import is_link
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.translation import mark, translate
from jupyter_mjci.errors import MjciError
from jupyter_mjci.jobs.limits import check_job_count
from jupyter_mjci.notebook.card_style import render_element
from jupyter_mjci.notebook.panels.async_button import Work
from jupyter_mjci.notebook.panels.base import Panel
from jupyter_mjci.notebook.panels.form import Form, build_text_area
from jupyter_mjci.notebook.panels.gallery import Gallery
from jupyter_mjci.notebook.panels.job_card import Card
from jupyter_mjci.notebook.panels.subshells import force_main_shell
from jupyter_mjci.notebook.panels.widgets import build_row, set_visible, translate_all
from jupyter_mjci.notebook.params import get_summary, parse_signature
from jupyter_mjci.notebook.picture_names import PICTURE_KINDS
from jupyter_mjci.services import PictureTarget
from jupyter_mjci.services.midjourney.prompt_flags import FLAGS_BY_NAME, PromptFlag, split_flags
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


# The builders with a form, and its label.
FORM_LABELS = {
    "imagine": mark("Imagine"),
    "describe": mark("Describe"),
    "blend": mark("Blend"),
    "edits": mark("Edit"),
    "retexture": mark("Retexture"),
    "video": mark("Video"),
    "swap": mark("Swap faces"),
    "shorten": mark("Shorten"),
}


def list_references(job: Job) -> list[str]:
    """Return the links of reference pictures that were uploaded with a prompt.

    The proxies put them before the prompt that they send.
    """
    words = itertools.takewhile(is_link, job.final_prompt.split())
    return [word for word in words if word not in job.subject]


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


class TaskForm:
    """The form of another builder than imagine; what it needs is always visible.

    Args:
        panel: the panel that it is part of
        name: the builder's name
        label: its name for people
    """

    def __init__(self, panel: MidjourneyPanel, name: str, label: str) -> None:
        builder = getattr(panel.session.mj, name)
        params = parse_signature(builder)
        primary = [param.name for param in params if param.required or param.kind in PICTURE_KINDS]
        self.fields = Form(builder, primary, {"prompt": build_text_area})
        submit = panel.build_submit(
            label,
            get_summary(builder),
            lambda: panel.submit_fields(builder, self.fields.build_kwargs()),
            style="primary",
        )
        self.submit_button = submit.button
        row = build_row(*submit.widgets, self.fields.more_button)
        children = [*self.fields.primary_widgets, row, self.fields.more_box]
        self.box = W.VBox(children).add_class("mjci-form")
        submit.bind(self.box)


class MidjourneyPanel(Panel):
    """Submit prompts and pictures, and continue with each task's own buttons in place."""

    title = "Midjourney"
    magics = "%mj_imagine, %mj_action"
    picture_builders = FORM_LABELS

    def build_form(self) -> Sequence[W.Widget]:
        options = [(translate(label), name) for name, label in FORM_LABELS.items()]
        self.task = W.Dropdown(description="Task", options=options, tooltip="What to submit")
        self.task.observe(lambda _: self._show_form(), "value")
        self.task_forms: dict[str, TaskForm] = {}
        self._imagine_box = self._build_imagine_form()
        self._forms_box = W.VBox([self._imagine_box])
        return [build_row(self.task), self._forms_box]

    def _show_form(self) -> None:
        """Show the form of the chosen builder, which is built when it is first chosen."""
        name = self.task.value
        if name != "imagine" and name not in self.task_forms:
            form = TaskForm(self, name, FORM_LABELS[name])
            self.task_forms[name] = form
            force_main_shell(form.box)
            translate_all(form.box)
            self._forms_box.children = [*self._forms_box.children, form.box]
        set_visible(self._imagine_box, name == "imagine")
        for other, form in self.task_forms.items():
            set_visible(form.box, other == name)

    def get_fields(self, name: str) -> Form:
        """Show the form of a builder, and return its fields."""
        self.task.value = name
        return self.fields if name == "imagine" else self.task_forms[name].fields

    async def receive_picture(self, target: PictureTarget, name: str) -> str:
        self.get_fields(target.builder)[target.param].add(name)
        return f"{name}: {translate(FORM_LABELS[target.builder])}"

    async def use_again(self, job: Job) -> str:
        """Fill in the prompt, its flags and references, and the seed, which takes its time."""
        text, flags = split_flags(job.subject)
        fields = self.get_fields("imagine")
        for name, widget in self.flags.items():
            default = FLAGS_BY_NAME[name].default
            widget.value = "" if default is None else default
        rest = [self._set_flag(name, value) for name, value in flags]
        self.prompt.value = " ".join(filter(None, [text, *rest]))
        fields["images"].names.value = ", ".join(list_references(job))
        self.start_task(self._load_seed(job, self.build_prompt()))
        return "The form is filled in."

    def _set_flag(self, name: str, value: str) -> str:
        """Show a flag in its field; return it as text where it has none, or another one there."""
        widget = self.flags.get(name)
        if widget is not None and widget.value in ("", FLAGS_BY_NAME[name].default):
            with suppress(TraitError, ValueError):
                widget.value = type(widget.value)(value)
                return ""
        return f"{name} {value}".strip()

    async def _load_seed(self, job: Job, prompt: str) -> None:
        """Fill in the seed that a task was drawn with, if the proxy tells it."""
        if self.flags["--seed"].value or "--seed" in prompt:
            return
        with suppress(MjciError):
            seed = await self.session.mj.image_seed(job.id)
            if self.build_prompt() == prompt:
                self.flags["--seed"].value = seed

    def _build_imagine_form(self) -> W.Widget:
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
        # Below the button, which it would move.
        children = [self.prompt, flags, row, self.prompt_preview, self.fields.more_box]
        form = W.VBox(children).add_class("mjci-form")
        submit.bind(form)
        return form

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
        return self.session.mj.imagine(**self._build_kwargs())

    def _build_kwargs(self) -> dict[str, Any]:
        kwargs = self.fields.build_kwargs()
        # flags alone are no prompt; the builder refuses it
        kwargs["prompt"] = self.build_prompt() if self.prompt.value.strip() else ""
        return kwargs

    def _submit(self) -> Work:
        return self._submit_prompt(self._build_kwargs(), self.build_prompt())

    async def _submit_prompt(self, kwargs: dict[str, Any], prompt: str) -> None:
        await self.submit_fields(self.session.mj.imagine, kwargs)
        if self.build_prompt() == prompt:
            self._show_prompt(mark("Sent"), prompt)

    async def submit_fields(
        self, builder: Callable[..., Call[Job]], kwargs: Mapping[str, Any]
    ) -> None:
        """Submit a task, and show its card."""
        self.clear_message()
        # It fetches the pictures that are named.
        call = await anyio.to_thread.run_sync(partial(builder, **kwargs))
        check_job_count([call], self.session.settings)
        job = await self.call_with_notice(call)
        self._add_card(job, FORM_LABELS[call.name])

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
        shown = render_element("span", escape(prompt), "mjci-prompt")
        text = f"{translate(label)}: {shown}" if prompt else ""
        self.prompt_preview.value = f'<div class="mjci-sent mjci-faint">{text}</div>'
