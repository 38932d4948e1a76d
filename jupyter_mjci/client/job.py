"""The record that flows: one picture job of either service, as it was seen at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from jupyter_mjci.errors import InvalidRequest

MARKER_PREFIX = "mjci-"  # our own mark in `state` or UserData, where the user gave none


def strip_marker(user_data: str) -> str:
    """The user's own mark: ours is nobody's business."""
    return "" if user_data.startswith(MARKER_PREFIX) else user_data


class Status(StrEnum):
    """Where a job is. `NEEDS_INPUT` waits for a person (Midjourney's modal dialogs); it never ends by
    itself.
    """

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    NEEDS_INPUT = "NEEDS_INPUT"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended, well or not, and changes no more."""
        return self in _TERMINAL

    @property
    def is_active(self) -> bool:
        """Whether waiting makes sense: the job will change without anybody's doing."""
        return self in _ACTIVE


_TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})
_ACTIVE = frozenset({Status.QUEUED, Status.RUNNING})


class Button(
    msgspec.Struct, frozen=True, gc=False
):  # a task has nine: a dataclass is made 17 times as slowly
    """A next move that a finished Midjourney task offers.

    Args:
        custom_id: what the service wants to hear
        label: what is written on it: U1, Vary (Region); "" where it shows only an emoji
        emoji: what is drawn on it: 🔄
        used: whether somebody has pressed it, where the proxy tells
    """

    custom_id: str
    label: str = ""
    emoji: str = ""
    used: bool = False

    @property
    def name(self) -> str:
        """What a person calls it: the label, else the emoji, else the customId."""
        return self.label or self.emoji or self.custom_id

    @property
    def alias(self) -> str:
        """What a button that shows only an emoji does, for those who cannot see or type it; "" for
        any other.
        """
        if self.label or not self.emoji:
            return ""
        return next((word for part, word in _ALIASES if part in self.custom_id), "")

    @property
    def display_name(self) -> str:
        """The name, and the word where the name is an emoji: 🔄 reroll."""
        return f"{self.name} {self.alias}".rstrip()


_ALIASES = (
    ("reroll", "reroll"),
    ("Retry", "describe again"),
    ("pan_left", "pan left"),
    ("pan_right", "pan right"),
    ("pan_up", "pan up"),
    ("pan_down", "pan down"),
    ("BOOKMARK", "favourite"),
    *(
        (f"{kind}::{number}", f"imagine {number}")
        for kind in ("PicReader", "PromptAnalyzer")
        for number in range(1, 6)
    ),
)


@dataclass(frozen=True, slots=True)
class Job:
    """One job. Times are aware and in UTC; "not yet" and "not told" are None or empty.

    Args:
        service: mj (Midjourney proxy) or ci (Tencent CI)
        id: the service's id, unique at one proxy or bucket; "" for a submission that was not
            accepted
        action: the service's own word: IMAGINE, PicProcess, …
        status: where it is, the same words for both services
        progress: percent, where told
        subject: the prompt, or the input object
        outputs: URLs of the results, in the service's order
        buttons: next moves
        submitted: accepted by the service
        started: begun
        finished: ended, well or not
        reason: why it failed, in the service's words
        user_data: your own mark: state, or CI's UserData
        webhook_url: URL that is told of its changes
        parent: the task whose button was pressed
        raw: the complete answer of the service; does not count in comparisons
    """

    service: str
    id: str
    action: str = ""
    status: Status = Status.QUEUED
    progress: int | None = None
    subject: str = ""
    outputs: tuple[str, ...] = ()
    buttons: tuple[Button, ...] = ()
    submitted: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None
    reason: str = ""
    user_data: str = ""
    webhook_url: str = ""
    parent: str = ""
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __hash__(self) -> int:
        return hash((self.service, self.id, self.status, self.progress))

    def find_button(self, name: str) -> Button:
        """The button that is `name`: by label, emoji (or what it means: reroll) or customId.
        Upper and lower case are one.

        Raises CallError, naming the buttons that exist.
        """
        for button in self.buttons:
            known = (button.label.casefold(), button.emoji, button.alias)
            if name == button.custom_id or (name and name.casefold() in known):
                return button
        names = ", ".join(button.name for button in self.buttons)
        raise InvalidRequest(
            f"Task {self.id} has no button {name!r}.",
            detail=f"It has: {names}."
            if names
            else f"It has no buttons ({self.action} is {self.status}).",
            hint="Give one of these labels, or a customId."
            if names
            else "Buttons come when a task has succeeded.",
        )
