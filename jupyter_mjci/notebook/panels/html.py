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

STATUS_LABELS = {
    Status.QUEUED: "waiting",
    Status.RUNNING: "running",
    Status.NEEDS_INPUT: "asks you",
    Status.SUCCEEDED: "done",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
}


@dataclass(frozen=True, slots=True)
class InlineImage:
    """A picture as it is shown: small enough for a page. `caption` is its caption, `alt` what it
    shows.
    """

    content: bytes
    mime: str
    alt: str = ""
    caption: str = ""

    @property
    def data_url(self) -> str:
        return f"data:{self.mime};base64,{base64.b64encode(self.content).decode()}"

    def to_html(self) -> str:
        caption = f"<figcaption>{escape(self.caption)}</figcaption>" if self.caption else ""
        return f'<figure><img src="{self.data_url}" alt="{escape(self.alt)}">{caption}</figure>'


def render_header(job: Job) -> str:
    """What it is, how it stands, and its id."""
    known = f"<code>{escape(job.id)}</code>" if job.id else ""
    return f'<div class="mjci-head"><b>{escape(job.action or "Job")}</b>{render_badge(job)}{known}</div>'


def render_badge(job: Job) -> str:
    """How a job stands, as a coloured word."""
    return f'<span class="mjci-pill mjci-{job.status.value}">{STATUS_LABELS[job.status]}{_format_percent(job)}</span>'


def render_subject(job: Job) -> str:
    return f'<div class="mjci-subject">{escape(job.subject)}</div>' if job.subject else ""


def render_progress(job: Job) -> str:
    """The progress of a job that moves; one without a number just shows that it does."""
    if not job.status.is_active:
        return ""
    named = f'role="progressbar" aria-label="Progress of {escape(job.action or "job")} {escape(job.id)}"'
    if not job.progress:
        return f'<div class="mjci-bar mjci-unknown" {named}><i></i></div>'
    told = f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{job.progress}"'
    return f'<div class="mjci-bar" {named} {told}><i style="width:{job.progress}%"></i></div>'


def render_images(images: Sequence[InlineImage], *, preview: bool = False) -> str:
    if not images:
        return ""
    kind = " mjci-preview" if preview else " mjci-pair" if len(images) == 2 else ""
    return f'<div class="mjci-pictures{kind}">{"".join(one.to_html() for one in images)}</div>'


def error_lines(error: BaseException) -> tuple[str, ...]:
    """An error in two lines: what happened, and why and what to do."""
    if isinstance(error, MjciError):
        first, *rest = error.format_lines()
        return (first, " ".join(rest)) if rest else (first,)
    return (
        f"{type(error).__name__}: {error}",
        "This is a mistake in jupyter_mjci, not yours: please report it.",
    )


def render_alert(message: Iterable[str], *, note: bool = False) -> str:
    """A message, read out by screen readers when it comes: an error, or just a note."""
    first, *rest = tuple(message) or ("",)
    if not first:
        return ""
    more = "".join(f"<div>{escape(line)}</div>" for line in rest)
    kind, role = (" mjci-note", "status") if note else ("", "alert")
    return f'<div class="mjci-said{kind}" role="{role}"><b>{escape(first)}</b>{more}</div>'


def format_job(job: Job) -> str:
    """A job in one line of text."""
    parts = (
        job.action or "Job",
        job.id,
        f"{STATUS_LABELS[job.status]}{_format_percent(job)}",
        job.subject,
    )
    return " · ".join(part for part in parts if part)


def _format_percent(job: Job) -> str:
    return f" {job.progress}%" if job.status.is_active and job.progress else ""


def format_size(size: int) -> str:
    """A number of bytes as a person says it."""
    return (
        f"{size} B"
        if size < 1000
        else f"{size / 1000:.0f} kB"
        if size < 1e6
        else f"{size / 1e6:.1f} MB"
    )
