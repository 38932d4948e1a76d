"""Render jobs, messages and pictures as HTML, and jobs as text. No widgets here.

Everything that came over the wire is escaped here, once.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape as escape
from importlib.resources import files
from typing import Literal, TypeAlias

from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import MjciError
from jupyter_mjci.notebook.cards import STATUS_LABELS as STATUS_LABELS
from jupyter_mjci.notebook.cards import format_label as format_label
from jupyter_mjci.notebook.cards import format_status

STYLESHEET = files("jupyter_mjci.notebook.panels").joinpath("style.css").read_text("utf-8")
AlertLevel: TypeAlias = Literal["error", "note"]


@dataclass(frozen=True, slots=True)
class InlineImage:
    """A picture small enough to be embedded in a page.

    Args:
        content: its bytes
        mime: its media type
        alt: what it shows, for people who cannot see it
        caption: the line below it
        name: names it to the viewer: the ID of its job, or ID[2]
    """

    content: bytes
    mime: str
    alt: str = ""
    caption: str = ""
    name: str = ""

    @property
    def data_url(self) -> str:
        return f"data:{self.mime};base64,{base64.b64encode(self.content).decode()}"

    def to_html(self) -> str:
        caption = ""
        if self.caption:
            caption = f"<figcaption>{escape(self.caption)}</figcaption>"
        return f"<figure>{render_img(self.data_url, self.alt, self.name)}{caption}</figure>"


def render_img(url: str, alt: str, name: str = "") -> str:
    """Render a picture; with a name the viewer knows whose it is."""
    known = f' data-picture="{escape(name)}"' if name else ""
    return f'<img src="{url}" alt="{escape(alt)}"{known}>'


def render_header(job: Job) -> str:
    """Render a job's action, status and ID."""
    parts = [f"<b>{escape(job.action or 'Job')}</b>", render_badge(job)]
    if job.id:
        parts.append(f"<code>{escape(job.id)}</code>")
    return f'<div class="mjci-head">{"".join(parts)}</div>'


def render_badge(job: Job) -> str:
    """Render a job's status as a coloured badge."""
    return render_label(job.status, format_status(job))


def render_label(status: str, text: str) -> str:
    """Render any text as a badge in a status's colour."""
    return f'<span class="mjci-badge mjci-{status}">{escape(text)}</span>'


def render_subject(job: Job) -> str:
    if not job.subject:
        return ""
    return f'<div class="mjci-subject">{escape(job.subject)}</div>'


def render_progress(job: Job) -> str:
    """Render the progress bar of an active job.

    It is indeterminate without a percentage.
    """
    if not job.status.is_active:
        return ""
    label = escape(f"Progress of {job.action or 'job'} {job.id}")
    role = f'role="progressbar" aria-label="{label}"'
    if not job.progress:
        return f'<div class="mjci-bar mjci-unknown" {role}><i></i></div>'
    value = f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{job.progress}"'
    bar = f'<i style="width:{job.progress}%"></i>'
    return f'<div class="mjci-bar" {role} {value}>{bar}</div>'


def render_images(images: Sequence[InlineImage], *, preview: bool = False) -> str:
    if not images:
        return ""
    classes = ["mjci-pictures"]
    if preview:
        classes.append("mjci-preview")
    elif len(images) == 2:
        classes.append("mjci-pair")
    figures = "".join(image.to_html() for image in images)
    return f'<div class="{" ".join(classes)}">{figures}</div>'


def render_thumbnail(url: str, alt: str, name: str = "") -> str:
    """Render a thumbnail from its data URL."""
    return f'<div class="mjci-thumb">{render_img(url, alt, name)}</div>'


def error_lines(error: BaseException) -> tuple[str, ...]:
    """Format an error as one line, or two with the reason and what to do."""
    if isinstance(error, MjciError):
        first, *rest = error.format_lines()
        return (first, " ".join(rest)) if rest else (first,)
    return (
        f"{type(error).__name__}: {error}",
        "This is a bug in jupyter_mjci. Please report it.",
    )


def render_alert(message: Sequence[str], *, level: AlertLevel = "error") -> str:
    """Render a message that screen readers announce, its first line bold."""
    if not message:
        return ""
    css_class, role = ("mjci-alert", "alert")
    if level == "note":
        css_class, role = ("mjci-alert mjci-note", "status")
    first, *rest = map(escape, message)
    more = "".join(f"<div>{line}</div>" for line in rest)
    return f'<div class="{css_class}" role="{role}"><b>{first}</b>{more}</div>'


def render_status(text: str) -> str:
    """Render a line that says what a list shows, and that screen readers announce."""
    return f'<span class="mjci-faint" role="status">{escape(text)}</span>'


def format_job(job: Job) -> str:
    """Format a job as one line of text."""
    parts = (job.action or "Job", job.id, format_status(job), job.subject)
    return " · ".join(part for part in parts if part)


def format_size(size: int) -> str:
    """Format a number of bytes with a decimal unit: 800 B, 12 kB, 3.4 MB."""
    if size < 1000:
        return f"{size} B"
    if size < 1_000_000:
        return f"{size / 1000:.0f} kB"
    return f"{size / 1_000_000:.1f} MB"
