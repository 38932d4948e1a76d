"""The service-neutral record of one job, as it was at one moment.

Parsers build it, the journal stores it, frames and cards show it.
It is frozen: a later state of the job is another `Job`.
"""

from __future__ import annotations

import logging
import operator
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from enum import StrEnum
from typing import SupportsIndex, TypeVar

import msgspec

from jupyter_mjci.client.jsonlib import JsonObject
from jupyter_mjci.client.response_text import shorten
from jupyter_mjci.client.translation import mark
from jupyter_mjci.errors import InvalidRequest, MjciError, sanitize

T = TypeVar("T")
LOG = logging.getLogger(__name__)

# Submissions without a user's own text carry a marker in `state`
# or UserData, by which they are found again when the response is
# lost.
MARKER_PREFIX = "mjci-"


def strip_marker(user_data: str) -> str:
    """Return the user's own text, or "" for one of our markers."""
    return "" if user_data.startswith(MARKER_PREFIX) else user_data


def to_job_id(value: object) -> str:
    """Return an ID as the text that it is everywhere; whole numbers are taken.

    Raises:
        InvalidRequest: it is a float, as a column of a table
            becomes where a value is missing: it has lost digits
    """
    if isinstance(value, str):
        return value.strip()
    try:
        return str(operator.index(value))  # type: ignore[arg-type]
    except TypeError:
        pass
    kind = type(value).__name__
    raise InvalidRequest(
        f"{value!r} ({kind}) is not a valid job ID.",
        detail="A float holds 15 digits, and IDs have more: some are lost."
        if "float" in kind
        else "",
        hint="IDs are text: read the column with dtype=str.",
    )


class Status(StrEnum):
    """The state of a job, the same words for all services. A job
    in `NEEDS_INPUT` waits for the user (Midjourney's modal
    dialogs) and never ends by itself.
    """

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    NEEDS_INPUT = "NEEDS_INPUT"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended, successfully or not."""
        return self in _TERMINAL

    @property
    def is_active(self) -> bool:
        """Whether the job will change without user input."""
        return self in _ACTIVE


_TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})
_ACTIVE = frozenset({Status.QUEUED, Status.RUNNING})


# A task has nine buttons, and a dataclass takes 17 times as long
# to create.
class Button(msgspec.Struct, frozen=True, gc=False):
    """A follow-up action that a finished Midjourney task offers.

    Args:
        custom_id: the identifier that is sent to the service
        label: its text: U1, Vary (Region); "" where it shows only
            an emoji
        emoji: its emoji: 🔄
        used: whether it was pressed before, where the proxy
            reports it
    """

    custom_id: str
    label: str = ""
    emoji: str = ""
    used: bool = False

    @property
    def name(self) -> str:
        """The label, else the emoji, else the customId."""
        return self.label or self.emoji or self.custom_id

    @property
    def alias(self) -> str:
        """A word for a button that shows only an emoji; "" for any other."""
        if self.emoji and not self.label:
            for part, word in _ALIASES:
                if part in self.custom_id:
                    return word
        return ""

    @property
    def display_name(self) -> str:
        """The name, with the alias behind an emoji: 🔄 reroll."""
        return f"{self.name} {self.alias}".rstrip()


# Parts of the customIds of buttons without a label, and their
# aliases.
_ALIASES = (
    ("reroll", mark("reroll")),
    ("Retry", mark("describe again")),
    ("pan_left", mark("pan left")),
    ("pan_right", mark("pan right")),
    ("pan_up", mark("pan up")),
    ("pan_down", mark("pan down")),
    ("BOOKMARK", mark("favourite")),
    *(
        (f"{kind}::{number}", f"imagine {number}")
        for kind in ("PicReader", "PromptAnalyzer")
        for number in range(1, 6)
    ),
)


MAX_SUBJECT = 80  # characters of it in a job's line


@dataclass(frozen=True, slots=True, repr=False)
class JobPicture:
    """One of a job's pictures, as `job[2]` names it. Whatever takes a picture takes it.

    Args:
        job: the job
        index: which of `session.pictures(job)`, from 0; negative
            ones count from the end
    """

    job: Job
    index: int

    def __str__(self) -> str:
        return f"picture {self.index} of {self.job}"

    def __repr__(self) -> str:
        return f"<{self}>"

    @property
    def name(self) -> str:
        """The text that names it wherever a picture is wanted: 1712345678901234[2]."""
        return f"{self.job.id}[{self.index}]"


def split_picture_name(text: str) -> tuple[str, int | None]:
    """Return the job's ID of a name such as 1712345678901234[2], and which of its pictures it is.

    A text that names a whole job has no number.
    """
    match = _PICTURE_NAME.fullmatch(text.strip())
    return (match[1], int(match[2])) if match else (text.strip(), None)


_PICTURE_NAME = re.compile(r"([\w-]+)\[(-?\d+)\]")


@dataclass(frozen=True, slots=True, repr=False)
class Job:
    """One job. Times are timezone-aware, in UTC; unknown values are None or empty.

    Args:
        service: mj (Midjourney proxy) or ci (Tencent CI)
        id: the service's ID, unique at one proxy or bucket; ""
            for a submission that was rejected
        action: the service's own name for it: IMAGINE,
            PicProcess, …
        status: its state
        progress: percent, where reported
        subject: the prompt, or the input object
        outputs: URLs of the results, in the service's order
        buttons: follow-up actions
        submitted: when the service accepted it
        started: when it began to run
        finished: when it ended, successfully or not
        reason: why it failed, in the service's words
        user_data: your own text: state, or CI's UserData
        webhook_url: the URL to which its changes are sent
        parent: the task whose button created it
        raw: the complete response of the service; ignored in
            comparisons
        origin: the server or account where it ran, where known:
            ids are unique only there; ignored in comparisons
        account: the account or bot that ran it
        queue: the queue or speed that it ran in
        rule: the picture rule, or the template's name or ID
        bucket: where the results are
        size_in: bytes of the input, where the service tells
        size_out: bytes of the result
        cost: what the service charged, in its own unit
        final_prompt: the prompt that was sent in the end
        is_stalled: whether it has not moved for long while it was
            followed; ignored in comparisons
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
    raw: JsonObject = field(default_factory=dict, compare=False, repr=False)
    origin: str = field(default="", compare=False, repr=False)
    account: str = ""
    queue: str = ""
    rule: str = ""
    bucket: str = ""
    size_in: int | None = None
    size_out: int | None = None
    cost: float | None = None
    final_prompt: str = ""
    is_stalled: bool = field(default=False, compare=False, repr=False)

    def __str__(self) -> str:
        """Return the job in one line: IMAGINE 1712345678901234 SUCCEEDED: a red fox."""
        percent = f" {self.progress}%" if self.status.is_active and self.progress else ""
        stalled = " (stalled)" if self.is_stalled else ""
        line = f"{self.action or 'Job'} {self.id} {self.status.value}{percent}{stalled}"
        subject = shorten(self.subject, MAX_SUBJECT)
        return sanitize(f"{line}: {subject}" if subject else line)

    def __repr__(self) -> str:
        return f"<{self}>"

    def __hash__(self) -> int:
        return hash((self.service, self.id, self.status, self.progress))

    # How many pictures there are, only the service knows.
    __iter__ = None

    def __getitem__(self, index: SupportsIndex) -> JobPicture:
        """Return one of its pictures, from 0, as a value that names it: `job[2]`.

        Nothing is fetched: `session.picture(job[2])` does.
        """
        return JobPicture(self, operator.index(index))

    def find_button(self, name: str) -> Button:
        """Return the button with a label, an emoji or its alias
        (reroll), ignoring case, or with a customId.

        Raises:
            InvalidRequest: the job has no such button; names
                those that it has
        """
        for button in self.buttons:
            names = (button.label.casefold(), button.emoji, button.alias)
            if name == button.custom_id or (name and name.casefold() in names):
                return button
        message = f"Task {self.id} has no button {name!r}."
        if not self.buttons:
            raise InvalidRequest(
                message,
                detail=f"It has no buttons ({self.action} is {self.status}).",
                hint="Buttons appear when a task has succeeded.",
            )
        available = [button.name for button in self.buttons]
        known = {word.casefold(): word for word in available}
        close = get_close_matches(name.casefold(), known, 1, 0.7)
        raise InvalidRequest(
            message,
            detail=f"Available: {', '.join(available)}.",
            hint=f"Did you mean {known[close[0]]}?"
            if close
            else "Give one of these, or a customId.",
        )


# The reason of a job that we gave up, and the service did not
# end: whatever the service reports later counts.
LOST_REASON = "The service no longer lists this job. Submit it again."


def parse_each(records: Iterable[T], parse: Callable[[T], Job]) -> list[Job]:
    """Parse the records of a listing.

    A record for which the parser fails, with an error that is none
    of ours, is logged and left out: the others are no worse for
    it. Its job keeps the state that is known.

    Args:
        records: the records
        parse: parses one of them

    Raises:
        Exception: that of the last one, where all fail
    """
    jobs = []
    failure = None
    for record in records:
        try:
            jobs.append(parse(record))
        except MjciError:
            raise
        except Exception as error:
            failure = error
            LOG.exception("A job of a listing cannot be read.")
    if failure is not None and not jobs:
        raise failure
    return jobs


def progress_rank(job: Job) -> float:
    """Return how far along a job is: it moves in ascending order of it."""
    if job.status.is_terminal:
        return 3.0
    if job.status is Status.QUEUED:
        return 0.0
    if job.status is Status.NEEDS_INPUT:
        return 0.5
    return 1.0 + (job.progress or 0) / 100


def select_newest(jobs: Iterable[Job]) -> list[int]:
    """Return the position of each job's newest state, in the order in which jobs first stand.

    Some servers list a job twice, in two states. A job without an
    ID is nobody's double.
    """
    newest: dict[object, tuple[int, Job]] = {}
    for position, job in enumerate(jobs):
        key = (job.service, job.id) if job.id else position
        if key not in newest or not is_older(job, newest[key][1]):
            newest[key] = (position, job)
    return [position for position, _ in newest.values()]


def keep_newest(jobs: Sequence[Job]) -> list[Job]:
    """Return each job once, in its newest state."""
    return [jobs[position] for position in select_newest(jobs)]


def is_older(job: Job, known: Job | None) -> bool:
    """Return whether a state of a job is behind the one that is known.

    Callbacks arrive out of order, listings lag behind, and a
    relay may answer from a cache. A job that asks for input, or
    has been answered, may move in any direction.
    """
    if known is None or known.reason == LOST_REASON:
        return False
    if not known.status.is_terminal and Status.NEEDS_INPUT in (job.status, known.status):
        return False
    return progress_rank(job) < progress_rank(known)
