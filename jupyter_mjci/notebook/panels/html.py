"""What a panel shows of a job, as escaped HTML and as text. Nothing here knows a widget.

Everything that came over the wire goes through `escape` once, here.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape as escape

from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import MjciError

WORDS = {
    Status.WAITING: "waiting",
    Status.RUNNING: "running",
    Status.ASKING: "asks you",
    Status.SUCCEEDED: "done",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A picture as it is shown: small enough for a page. `note` is its caption, `alt` what it
    shows.
    """

    content: bytes
    mime: str
    alt: str = ""
    note: str = ""

    @property
    def url(self) -> str:
        return f"data:{self.mime};base64,{base64.b64encode(self.content).decode()}"

    def html(self) -> str:
        caption = f"<figcaption>{escape(self.note)}</figcaption>" if self.note else ""
        return f'<figure><img src="{self.url}" alt="{escape(self.alt)}">{caption}</figure>'


def head(job: Job) -> str:
    """What it is, how it stands, and its id."""
    known = f"<code>{escape(job.id)}</code>" if job.id else ""
    return f'<div class="mjci-head"><b>{escape(job.action or "Job")}</b>{pill(job)}{known}</div>'


def pill(job: Job) -> str:
    """How a job stands, as a coloured word."""
    return (
        f'<span class="mjci-pill mjci-{job.status.value}">{WORDS[job.status]}{_percent(job)}</span>'
    )


def subject(job: Job) -> str:
    return f'<div class="mjci-subject">{escape(job.subject)}</div>' if job.subject else ""


def bar(job: Job) -> str:
    """The progress of a job that moves; one without a number just shows that it does."""
    if not job.status.moving:
        return ""
    named = f'role="progressbar" aria-label="Progress of {escape(job.action or "job")} {escape(job.id)}"'
    if not job.progress:
        return f'<div class="mjci-bar mjci-unknown" {named}><i></i></div>'
    told = f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{job.progress}"'
    return f'<div class="mjci-bar" {named} {told}><i style="width:{job.progress}%"></i></div>'


def pictures(shown: Sequence[Shown], *, preview: bool = False) -> str:
    if not shown:
        return ""
    kind = " mjci-preview" if preview else " mjci-pair" if len(shown) == 2 else ""
    return f'<div class="mjci-pictures{kind}">{"".join(one.html() for one in shown)}</div>'


def lines(error: BaseException) -> tuple[str, ...]:
    """An error in two lines: what happened, and why and what to do."""
    if isinstance(error, MjciError):
        first, *rest = error.lines()
        return (first, " ".join(rest)) if rest else (first,)
    return (
        f"{type(error).__name__}: {error}",
        "This is a mistake in jupyter_mjci, not yours: please report it.",
    )


def said(told: Iterable[str], *, note: bool = False) -> str:
    """A message, read out by screen readers when it comes: an error, or just a note."""
    first, *rest = tuple(told) or ("",)
    if not first:
        return ""
    more = "".join(f"<div>{escape(line)}</div>" for line in rest)
    kind, role = (" mjci-note", "status") if note else ("", "alert")
    return f'<div class="mjci-said{kind}" role="{role}"><b>{escape(first)}</b>{more}</div>'


def line(job: Job) -> str:
    """A job in one line of text."""
    parts = (job.action or "Job", job.id, f"{WORDS[job.status]}{_percent(job)}", job.subject)
    return " · ".join(part for part in parts if part)


def _percent(job: Job) -> str:
    return f" {job.progress}%" if job.status.moving and job.progress else ""


def weight(size: int) -> str:
    """A number of bytes as a person says it."""
    return (
        f"{size} B"
        if size < 1000
        else f"{size / 1000:.0f} kB"
        if size < 1e6
        else f"{size / 1e6:.1f} MB"
    )
