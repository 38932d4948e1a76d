"""Jobs as cards: escaped HTML and plain text. Knows no IPython.

A card uses JupyterLab's CSS variables where they exist and
inherits colors elsewhere, so it fits light and dark themes.
Everything from a service or a user is escaped here. A final card
contains no times and no hosts, so that it is the same whenever
and wherever it is made. A live card says of when it is: should
the kernel end, it stays in the notebook as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from html import escape
from importlib.resources import files

from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.client.translation import mark, translate
from jupyter_mjci.errors import sanitize
from jupyter_mjci.services import find_service, get_label

STATUS_LABELS = {
    Status.QUEUED: mark("queued"),
    Status.RUNNING: mark("running"),
    Status.NEEDS_INPUT: mark("needs input"),
    Status.SUCCEEDED: mark("succeeded"),
    Status.FAILED: mark("failed"),
    Status.CANCELLED: mark("cancelled"),
}
NO_REASON_GIVEN = "The service gave no reason."
# JupyterLab must not typeset a prompt with two dollar signs as
# math.
NO_MATH = "tex2jax_ignore mathjax_ignore"


@dataclass(frozen=True, slots=True)
class Extras:
    """What a card shows besides the job: `notes` below it, a
    batch's `children` by status, a `picture` inside it (a data
    URL), and `links` (name, URL) to results that cannot be shown.
    """

    notes: Sequence[str] = ()
    children: Mapping[str, int] | None = None
    picture: str = ""
    links: Sequence[tuple[str, str]] = ()


NO_EXTRAS = Extras()
STALLED_NOTE = "Stalled: it has not moved for a long time. It is polled on."


def card_html(job: Job, extras: Extras = NO_EXTRAS) -> str:
    """Return the card of a job: action, status, subject, results or reason, next actions."""
    return _render_card(job, extras, _actions_html(job))


def progress_html(job: Job, preview: str = "", note: str = "") -> str:
    """Return the card of a running job: with a progress bar, and a
    preview (a data URL) if any. The bar moves for a minute, unless
    the card is updated.
    """
    bar = bar_html(job.progress, f"{_action_name(job)} {format_label(job.status)}")
    notes = [STALLED_NOTE] if job.is_stalled else []
    return _render_card(job, Extras(notes, picture=preview), bar + dim_html(note))


def card_text(job: Job, extras: Extras = NO_EXTRAS) -> str:
    """Return the card as plain text, for terminals, diffs and readers of saved notebooks."""
    facts = [f"{name}: {value}" for name, value in _list_facts(job)]
    return join_lines(
        headline(job),
        describe_subject(job),
        *facts,
        _failure_reason(job),
        *_actions_text(job),
        *_extras_text(extras),
    )


def headline(job: Job) -> str:
    """Return a job in one line: IMAGINE 1712345678901234 SUCCEEDED."""
    percent = ""
    if job.status.is_active and job.progress is not None:
        percent = f" {job.progress}%"
    stalled = " (stalled)" if job.is_stalled else ""
    return sanitize(f"{_action_name(job)} {job.id} {job.status.value}{percent}{stalled}").strip()


def format_label(status: Status) -> str:
    """Return the word for a status, in the language of the reader."""
    return translate(STATUS_LABELS[status])


def format_button(button: Button) -> str:
    """Return what a button is called, in the language of the reader, with a mark where it was
    pressed.
    """
    parts = [translate(button.name), translate(button.alias), "✓" if button.used else ""]
    return " ".join(filter(None, parts))


def format_status(job: Job) -> str:
    """Return the word for a job's status, with the progress of a running one: running 42%."""
    label = format_label(job.status)
    if job.status is Status.RUNNING and job.progress is not None:
        label = f"{label} {job.progress}%"
    return f"{label}, stalled" if job.is_stalled else label


def progress_line(job: Job, width: int = 24) -> str:
    """Return one line of progress for a terminal, with a bar of `width` characters."""
    return f"{headline(job)} {text_bar(job.progress or 0, width)}"


def describe_moment(time: datetime, command: str) -> str:
    """Return what a live card says of its time, and how to go on where it does not change."""
    return f"As of {time:%Y-%m-%d %H:%M}. Should nothing move: {command}"


def follow_command(job: Job) -> str:
    """Return the magic that follows a job."""
    service = find_service(job.service)
    return f"{service.job_magic if service else 'job'} {job.id}"


def input_command(job: Job) -> str:
    """Return the magic that answers a job's dialog; "" where its service has none."""
    service = find_service(job.service)
    magic = service.input_magic if service else ""
    return sanitize(f"{magic} {job.id}") if magic else ""


def notice_html(line: str) -> str:
    """Return a notice of this package as HTML."""
    return (
        '<div class="mjci-job-notice" style="opacity:.75;'
        f'font:12px var(--jp-ui-font-family,system-ui,sans-serif)">{escape_text(line)}</div>'
    )


def table_html(rows: Sequence[tuple[str, str]]) -> str:
    """Return rows of name and value as a card."""
    cleaned = [(sanitize(name), sanitize(value)) for name, value in rows]
    return frame_html("", _facts_html(cleaned))


def table_text(rows: Sequence[tuple[str, str]]) -> str:
    """Return rows of name and value as aligned plain text."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(sanitize(f"{name:<{width}}  {value}").rstrip() for name, value in rows)


# --- parts of every card ----------------------------------------


def frame_html(css_class: str, body: str, picture: str = "") -> str:
    """Return the frame of a card around its body; the class selects its color."""
    classes = f"mjci-job {css_class} {NO_MATH}" if css_class else f"mjci-job {NO_MATH}"
    return (
        f'<div class="{classes}">{load_style()}'
        f'{picture}<div class="mjci-job-body">{body}</div></div>'
    )


@cache
def load_style() -> str:
    """Return the style element of cards. It is in every card: a
    saved notebook has no other place for it.
    """
    css = files("jupyter_mjci.notebook").joinpath("cards.css").read_text("utf-8")
    return f"<style>{' '.join(css.split())}</style>"


def bar_html(percent: int | None, label: str) -> str:
    """Return a progress bar. Without a percentage it has no
    `aria-valuenow` either: to assistive technology it is
    indeterminate.
    """
    value = ""
    fill = '<i class="mjci-job-unknown"></i>'
    if percent is not None:
        percent = min(max(percent, 0), 100)
        value = f' aria-valuenow="{percent}"'
        fill = f'<i style="width:{percent}%"></i>'
    return (
        '<div class="mjci-job-bar" role="progressbar" aria-valuemin="0" aria-valuemax="100"'
        f'{value} aria-label="{escape_text(label)}">{fill}</div>'
    )


def text_bar(percent: int, width: int) -> str:
    filled = round(percent / 100 * width)
    return f"[{'#' * filled}{'.' * (width - filled)}]"


def note_html(note: str) -> str:
    return f'<div class="mjci-job-note">{escape_text(note)}</div>'


def dim_html(text: str) -> str:
    """Return a line in the background; nothing for no text."""
    return f'<div class="mjci-job-dim">{escape_text(text)}</div>' if text else ""


def reason_html(reason: str) -> str:
    return f'<div class="mjci-job-why">{escape_text(reason)}</div>'


def join_lines(first: str, *rest: str) -> str:
    """Join texts to lines, all but the first indented; empty ones are left out."""
    lines = [first]
    for block in rest:
        lines += [f"  {line}".rstrip() for line in block.splitlines()]
    return "\n".join(lines)


def escape_text(text: str) -> str:
    """Remove control characters and escape the rest for HTML."""
    return escape(sanitize(text))


# --- what a card says -------------------------------------------


def describe_subject(job: Job) -> str:
    """Return the prompt; or the input, and the output that is made from it."""
    service = find_service(job.service)
    return sanitize(service.describe_subject(job) if service else job.subject)


def _action_name(job: Job) -> str:
    return job.action or "Job"


def _list_facts(job: Job) -> list[tuple[str, str]]:
    """Return (name, value) rows beyond the common fields; sanitized, not yet escaped."""
    service = find_service(job.service)
    if service is None:
        return []
    return [(name, sanitize(value)) for name, value in service.get_facts(job) if value]


def _failure_reason(job: Job) -> str:
    reason = sanitize(job.reason)
    if not reason and job.status is Status.FAILED:
        return NO_REASON_GIVEN
    return reason


def button_command(job: Job, button: Button) -> str:
    """Return the magic that presses a button of a job."""
    service = find_service(job.service)
    magic = service.button_magic if service else ""
    return sanitize(f"{magic} {job.id} {button.name}".lstrip())


def _input_needed_text(job: Job) -> str:
    command = input_command(job)
    how = f": give it with {command}" if command else ""
    return f"The job waits for your answer to a dialog{how}. It does not go on by itself."


def _actions_text(job: Job) -> Sequence[str]:
    if job.status is Status.NEEDS_INPUT:
        return (_input_needed_text(job),)
    if not job.buttons:
        return ()
    names = "  ".join(f"[{sanitize(button.display_name)}]" for button in job.buttons)
    return (f"buttons: {names}", f"press one: {button_command(job, job.buttons[0])}")


def _extras_text(extras: Extras) -> Iterable[str]:
    if extras.children is not None:
        yield f"jobs: {sanitize(_format_child_counts(extras.children))}"
    for note in extras.notes:
        yield sanitize(note)
    for name, _ in extras.links:
        yield f"{sanitize(name)}: a file to open, not shown here"


def _format_child_counts(children: Mapping[str, int]) -> str:
    if not children:
        return "none"
    parts = ", ".join(f"{count} {status.lower()}" for status, count in children.items())
    return f"{sum(children.values())} ({parts})"


# --- HTML -------------------------------------------------------


def _render_card(job: Job, extras: Extras, footer: str) -> str:
    picture = ""
    if extras.picture:
        picture = f'<img class="mjci-job-picture" alt="" src="{escape(extras.picture)}">'
    parts = (
        _header_html(job),
        _subject_html(job),
        _facts_html(_list_facts(job)),
        _failure_html(job),
        footer,
        _extras_html(extras),
    )
    return frame_html(f"mjci-{job.status.value.lower()}", "".join(parts), picture)


def _header_html(job: Job) -> str:
    return (
        f'<div class="mjci-job-head"><b>{escape_text(_action_name(job))}</b> '
        f'<span class="mjci-job-badge">{format_status(job)}</span> '
        f'<span class="mjci-job-dim">{escape(get_label(job.service))}</span> '
        f"<code>{escape_text(job.id)}</code></div>"
    )


def _subject_html(job: Job) -> str:
    subject = describe_subject(job)
    if not subject:
        return ""
    css_class = "mjci-job-subject"
    service = find_service(job.service)
    if service is not None and service.subject_is_key:
        css_class += " mjci-job-key"
    return f'<div class="{css_class}">{escape(subject)}</div>'


def _facts_html(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(
        f"<dt>{escape(translate(name))}</dt><dd>{escape(value)}</dd>" for name, value in facts
    )
    return f"<dl>{rows}</dl>" if rows else ""


def _failure_html(job: Job) -> str:
    reason = _failure_reason(job)
    return reason_html(reason) if reason else ""


def _actions_html(job: Job) -> str:
    if job.status is Status.NEEDS_INPUT:
        return f'<div class="mjci-job-ask">{escape(_input_needed_text(job))}</div>'
    if not job.buttons:
        return ""
    # Text, because nothing happens on a click here.
    chips = " · ".join(_button_html(job, button) for button in job.buttons)
    command = escape(button_command(job, job.buttons[0]))
    return (
        f'<div class="mjci-job-chips">{translate("buttons:")} {chips}</div>'
        f'<div class="mjci-job-dim">{translate("press one:")} <code>{command}</code></div>'
    )


def _button_html(job: Job, button: Button) -> str:
    name = format_button(button)
    title = escape(button_command(job, button))
    return f'<span class="mjci-job-chip" title="{title}">{escape_text(name)}</span>'


def _extras_html(extras: Extras) -> str:
    parts = []
    if extras.children is not None:
        parts.append(f"<div>jobs: {escape_text(_format_child_counts(extras.children))}</div>")
    parts += map(note_html, extras.notes)
    parts += [_link_html(name, url) for name, url in extras.links]
    return "".join(parts)


def _link_html(name: str, url: str) -> str:
    """Return a link if its scheme is safe: never `javascript:`."""
    label = escape_text(name)
    if not url.lower().startswith(("http://", "https://")):
        return f"<div>{label}</div>"
    target = f'href="{escape_text(url)}" target="_blank" rel="noopener noreferrer"'
    return f"<div><a {target}>{label}</a></div>"
