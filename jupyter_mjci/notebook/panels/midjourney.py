"""The Midjourney panel: a prompt with its flags as controls, and the cards of what was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import Any

import ipywidgets as W

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job
from jupyter_mjci.notebook.panels.base import Panel
from jupyter_mjci.notebook.panels.form import Form, build_text_area
from jupyter_mjci.notebook.panels.gallery import Gallery
from jupyter_mjci.notebook.panels.job_card import Card


@dataclass(frozen=True, slots=True)
class Flag:
    """One of Midjourney's own flags: how it is written, and what it takes.

    That is one of `values`, a number from 0 to `maximum` (the `default` one is not written), or any
    text.
    """

    name: str
    label: str
    values: tuple[str, ...] = ()
    hint: str = ""
    default: int | None = None
    maximum: int = 0

    def build_widget(self) -> Any:
        if self.default is not None:
            return W.IntSlider(
                self.default, min=0, max=self.maximum, description=self.label, tooltip=self.hint
            )
        if self.values:
            options = [("–", ""), *((value, value) for value in self.values)]
            return W.Dropdown(description=self.label, options=options, tooltip=self.hint)
        return W.Text(description=self.label, placeholder=self.hint, tooltip=self.hint)


FLAGS = (
    Flag(
        "--ar",
        "Aspect ratio",
        ("1:1", "3:2", "2:3", "4:3", "3:4", "16:9", "9:16", "21:9"),
        "width to height",
    ),
    Flag("--v", "Version", ("7", "6.1", "6", "5.2"), "of the model"),
    Flag(
        "--stylize", "Stylize", hint="how much of the model's own taste", default=100, maximum=1000
    ),
    Flag("--chaos", "Chaos", hint="how different the four pictures are", default=0, maximum=100),
    Flag("--weird", "Weird", hint="how unusual they are", default=0, maximum=3000),
    Flag("--seed", "Seed", hint="any number"),
    Flag("--no", "Without", hint="wolves, snow"),
)


class MidjourneyPanel(Panel):
    """Draw pictures: a prompt, then each picture's own next moves, in place."""

    name, title = "mj", "Midjourney"
    magics = "%mj_imagine, %mj_action"

    def build_form(self) -> Sequence[Any]:
        own = {
            "prompt": partial(
                build_text_area, placeholder="What to draw: a red fox in the snow", tall=True
            )
        }
        self.fields = Form(self.session.mj.imagine, ("prompt", "images"), own)
        self.prompt = self.fields["prompt"]
        self.flags = {flag.name: flag.build_widget() for flag in FLAGS}
        self.prompt_preview = W.HTML()
        self.submit_button = W.Button(
            description="Imagine", button_style="primary", tooltip="Submit the prompt"
        )
        self.on_click(self.submit_button, self._submit)
        for widget in (self.prompt, *self.flags.values()):
            widget.observe(self._update_prompt_preview, "value")
        prompt, *others = self.fields.primary_widgets
        flags = W.HBox(list(self.flags.values())).add_class("mjci-flags")
        row = W.HBox([self.submit_button, *others, self.fields.more_button]).add_class("mjci-row")
        return [
            W.VBox([prompt, flags, self.prompt_preview, row, self.fields.more_box]).add_class(
                "mjci-form"
            )
        ]

    def build_prompt(self) -> str:
        """The prompt as it will be sent: what was typed, byte for byte, then the flags that were
        chosen.
        """
        chosen = [(flag, str(self.flags[flag.name].value).strip()) for flag in FLAGS]
        told = [
            f"{flag.name} {value}" for flag, value in chosen if value and value != str(flag.default)
        ]
        return " ".join([self.prompt.value, *told])

    def build_call(self) -> Call[Job]:
        """What a click on Imagine would submit now."""
        return self.session.mj.imagine(
            **{**self.fields.build_kwargs(), "prompt": self._build_prompt_or_empty()}
        )

    def _build_prompt_or_empty(self) -> str:
        return self.build_prompt() if self.prompt.value.strip() else ""

    def build_footer(self) -> Sequence[Any]:
        self.gallery = Gallery(self, self._open_card)
        return [self.gallery.box]

    def _open_card(self, job: Job) -> None:
        self.add(Card(self, job, label=job.action.capitalize() or "Task", on_remove=self.remove))

    async def _submit(self) -> None:
        self.show_message()
        job = await self.call_with_notice(self.build_call())
        self.add(Card(self, job, label=job.action.capitalize() or "Imagine", on_remove=self.remove))

    def _update_prompt_preview(self, _: Mapping[str, Any]) -> None:
        whole = self.build_prompt()
        self.prompt_preview.value = (
            f'<div class="mjci-sent mjci-faint">Sent: {escape(whole)}</div>' if whole else ""
        )
