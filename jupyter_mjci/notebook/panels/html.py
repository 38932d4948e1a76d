"""Render messages and pictures of panels as HTML. No widgets here.

Jobs are rendered by `cards`, as in cells.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal, TypeAlias

from jupyter_mjci.client.translation import translate
from jupyter_mjci.errors import MjciError
from jupyter_mjci.notebook.card_style import render_element
from jupyter_mjci.notebook.cards import escape_text, picture_html

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
            caption = f"<figcaption>{escape_text(self.caption)}</figcaption>"
        picture = picture_html(self.data_url, self.alt, "mjci-picture", self.name)
        return render_element("figure", picture + caption)


def render_images(images: Sequence[InlineImage], *, preview: bool = False) -> str:
    if not images:
        return ""
    classes = ["mjci-pictures"]
    if preview:
        classes.append("mjci-preview")
    elif len(images) == 2:
        classes.append("mjci-pair")
    figures = "".join(image.to_html() for image in images)
    return render_element("div", figures, " ".join(classes))


def render_thumbnail(url: str, alt: str, name: str = "") -> str:
    """Render a thumbnail from its data URL."""
    return f'<div class="mjci-thumb">{picture_html(url, alt, name=name)}</div>'


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
    first, *rest = map(escape_text, message)
    more = "".join(f"<div>{line}</div>" for line in rest)
    return render_element("div", f"<b>{first}</b>{more}", css_class, role=role)


def format_range(first: int, shown: int, total: int) -> str:
    """Return which of a list are shown, as "1–25 of 1,000"; the first is 0."""
    text = translate("{first}–{last} of {count}")
    return text.format(
        first=f"{first + 1:,}",
        last=f"{first + shown:,}",
        count=f"{total:,}",
    )


def render_status(text: str) -> str:
    """Render a line that says what a list shows, and that screen readers announce."""
    return f'<span class="mjci-faint" role="status">{escape_text(text)}</span>'


def format_size(size: int) -> str:
    """Format a number of bytes with a decimal unit: 800 B, 12 kB, 3.4 MB."""
    if size < 1000:
        return f"{size} B"
    if size < 1_000_000:
        return f"{size / 1000:.0f} kB"
    return f"{size / 1_000_000:.1f} MB"
