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
from jupyter_mjci.notebook.panels.form import Form, area
from jupyter_mjci.notebook.panels.gallery import Gallery
from jupyter_mjci.notebook.panels.job_card import Card


@dataclass(frozen=True, slots=True)
class Flag:
    """One of Midjourney's own flags: how it is written, and what it takes.

    That is one of `values`, a number from 0 to `most` (the `usual` one is not written), or any
    text.
    """

    written: str
    label: str
    values: tuple[str, ...] = ()
    hint: str = ""
    usual: int | None = None
    most: int = 0

    def widget(self) -> Any:
        if self.usual is not None:
            return W.IntSlider(
                self.usual, min=0, max=self.most, description=self.label, tooltip=self.hint
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
    Flag("--stylize", "Stylize", hint="how much of the model's own taste", usual=100, most=1000),
    Flag("--chaos", "Chaos", hint="how different the four pictures are", usual=0, most=100),
    Flag("--weird", "Weird", hint="how unusual they are", usual=0, most=3000),
    Flag("--seed", "Seed", hint="any number"),
    Flag("--no", "Without", hint="wolves, snow"),
)


class MidjourneyPanel(Panel):
    """Draw pictures: a prompt, then each picture's own next moves, in place."""

    name, title = "mj", "Midjourney"
    magics = "%mj_imagine, %mj_action"

    def form(self) -> Sequence[Any]:
        own = {
            "prompt": partial(area, placeholder="What to draw: a red fox in the snow", tall=True)
        }
        self.fields = Form(self.session.mj.imagine, ("prompt", "images"), own)
        self.prompt = self.fields["prompt"]
        self.flags = {flag.written: flag.widget() for flag in FLAGS}
        self.sent = W.HTML()
        self.submit = W.Button(
            description="Imagine", button_style="primary", tooltip="Submit the prompt"
        )
        self.on_press(self.submit, self._submit)
        for widget in (self.prompt, *self.flags.values()):
            widget.observe(self._tell_prompt, "value")
        prompt, *others = self.fields.first
        flags = W.HBox(list(self.flags.values())).add_class("mjci-flags")
        row = W.HBox([self.submit, *others, self.fields.more]).add_class("mjci-row")
        return [W.VBox([prompt, flags, self.sent, row, self.fields.rest]).add_class("mjci-form")]

    def whole_prompt(self) -> str:
        """The prompt as it will be sent: what was typed, byte for byte, then the flags that were
        chosen.
        """
        chosen = [(flag, str(self.flags[flag.written].value).strip()) for flag in FLAGS]
        told = [
            f"{flag.written} {value}"
            for flag, value in chosen
            if value and value != str(flag.usual)
        ]
        return " ".join([self.prompt.value, *told])

    def call(self) -> Call[Job]:
        """What a click on Imagine would submit now."""
        return self.session.mj.imagine(**{**self.fields.arguments(), "prompt": self._checked()})

    def _checked(self) -> str:
        return self.whole_prompt() if self.prompt.value.strip() else ""

    def foot(self) -> Sequence[Any]:
        self.gallery = Gallery(self, self._opened)
        return [self.gallery.box]

    def _opened(self, job: Job) -> None:
        self.add(Card(self, job, label=job.action.capitalize() or "Task", leave=self.remove))

    async def _submit(self) -> None:
        self.say()
        job = await self.asked(self.call())
        self.add(Card(self, job, label=job.action.capitalize() or "Imagine", leave=self.remove))

    def _tell_prompt(self, _: Mapping[str, Any]) -> None:
        whole = self.whole_prompt()
        self.sent.value = (
            f'<div class="mjci-sent mjci-faint">Sent: {escape(whole)}</div>' if whole else ""
        )
