"""Jobs as HTML and plain text, in cells and in panels. Knows no IPython.

This is the only place that says how a job's status, subject,
facts, reason and buttons are shown. A card uses JupyterLab's CSS
variables where they exist and inherits colors elsewhere, so it
fits light and dark themes.
Everything from a service or a user is escaped here. A final card
contains no times and no hosts, so that it is the same whenever
and wherever it is made. A live card says of when it is: should
the kernel end, it stays in the notebook as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape

from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.client.translation import mark, translate
from jupyter_mjci.errors import sanitize
from jupyter_mjci.notebook.card_style import MOTION, render_element, render_start
from jupyter_mjci.services import find_service, get_label

STATUS_LABELS = {
    Status.QUEUED: mark("queued"),
    Status.RUNNING: mark("running"),
    Status.NEEDS_INPUT: mark("needs input"),
    Status.SUCCEEDED: mark("succeeded"),
    Status.FAILED: mark("failed"),
    Status.CANCELLED: mark("cancelled"),
}
NO_REASON_GIVEN = mark("The service gave no reason.")
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
DIALOG_NOTE = mark("The job waits for your answer to a dialog. It does not go on by itself.")
STALLED_NOTE = mark("Stalled: it has not moved for a long time. It is polled on.")


def card_html(job: Job, extras: Extras = NO_EXTRAS) -> str:
    """Return the card of a job: action, status, subject, results or reason, next actions."""
    return _render_card(job, extras, _actions_html(job))


def progress_html(job: Job, preview: str = "", note: str = "") -> str:
    """Return the card of a running job: with a progress bar, and a
    preview (a data URL) if any. The bar moves for a minute, unless
    the card is updated.
    """
    bar = progress_bar_html(job)
    notes = [translate(STALLED_NOTE)] if job.is_stalled else []
    return _render_card(job, Extras(notes, picture=preview), bar + dim_html(note))


def card_text(job: Job, extras: Extras = NO_EXTRAS) -> str:
    """Return the card as plain text, for terminals, diffs and readers of saved notebooks."""
    facts = [f"{name}: {value}" for name, value in _list_facts(job)]
    return join_lines(
        headline(job),
        describe_subject(job),
        *facts,
        failure_reason(job),
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


def format_line(job: Job) -> str:
    """Return a job in one line for a reader: IMAGINE · 1712345678901234 · running 42% · a fox."""
    parts = (_action_name(job), job.id, format_status(job), describe_subject(job))
    return " · ".join(filter(None, parts))


def format_label(status: Status) -> str:
    """Return the word for a status, in the language of the reader."""
    return translate(STATUS_LABELS[status])


def format_button(button: Button) -> str:
    """Return what a button is called, in the language of the reader, with a mark where it was
    pressed.

    Discord's own emoji have only a name ("upscale_1"), which is
    not shown.
    """
    emoji = "" if button.emoji.isascii() else button.emoji
    word = translate(button.label or button.alias)
    parts = (emoji, word or ("" if emoji else button.name), "✓" if button.used else "")
    return " ".join(filter(None, parts))


def list_status_labels() -> dict[Status, str]:
    """Return the words for all statuses, in the language of the reader."""
    return {status: translate(label) for status, label in STATUS_LABELS.items()}


def format_status(job: Job) -> str:
    """Return the word for a job's status, with the progress of a running one: running 42%."""
    label = format_label(job.status)
    if job.status is Status.RUNNING and job.progress is not None:
        label = f"{label} {job.progress}%"
    return f"{label}, {translate('stalled')}" if job.is_stalled else label


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
    """Return the magic that answers a job's dialog; "" where its
    service has none.
    """
    service = find_service(job.service)
    magic = service.input_magic if service else ""
    return sanitize(f"{magic} {job.id}") if magic else ""


def notice_html(line: str) -> str:
    """Return a notice of this package as HTML."""
    return render_element("div", escape_lines(line), "mjci-job-notice")


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
    classes = " ".join(filter(None, ("mjci-job", css_class, NO_MATH)))
    return render_element("div", picture + render_element("div", body, "mjci-job-body"), classes)


def bar_html(percent: int | None, label: str) -> str:
    """Return a progress bar. Without a percentage it has no
    `aria-valuenow` either: to assistive technology it is
    indeterminate.
    """
    attributes = {"aria-valuemin": "0", "aria-valuemax": "100"}
    fill = MOTION + render_element("i", "", "mjci-job-unknown")
    if percent is not None:
        percent = min(max(percent, 0), 100)
        attributes["aria-valuenow"] = str(percent)
        fill = render_element("i", "", style=f"width: {percent}%")
    attributes["aria-label"] = sanitize(label)
    return render_element("div", fill, "mjci-job-bar", role="progressbar", **attributes)


def text_bar(percent: int, width: int) -> str:
    filled = round(percent / 100 * width)
    return f"[{'#' * filled}{'.' * (width - filled)}]"


def badge_html(status: Status, text: str) -> str:
    """Return any text as a badge in the color of a status."""
    return render_element("span", escape_text(text), f"mjci-job-badge {_status_class(status)}")


def note_html(note: str) -> str:
    return render_element("div", escape_lines(note), "mjci-job-note")


def dim_html(text: str) -> str:
    """Return a line in the background; nothing for no text."""
    return render_element("div", escape_lines(text), "mjci-job-dim") if text else ""


def reason_html(reason: str) -> str:
    return render_element("div", escape_lines(reason), "mjci-job-why")


def picture_html(url: str, alt: str = "", css_class: str = "", name: str = "") -> str:
    """Return a picture; with a name the viewer of a live notebook knows whose it is."""
    known = {"data-picture": name} if name else {}
    return render_start("img", css_class, src=url, alt=sanitize(alt), **known)


def join_lines(first: str, *rest: str) -> str:
    """Join texts to lines, all but the first indented; empty ones are left out."""
    lines = [first]
    for block in rest:
        lines += [f"  {line}".rstrip() for line in block.splitlines()]
    return "\n".join(lines)


def escape_text(text: str) -> str:
    """Remove control characters and escape the rest for HTML."""
    return escape(sanitize(text))


def escape_lines(text: str) -> str:
    """Escape a text of several lines. An empty line would end a card in Markdown."""
    return escape_text(text).replace("\n", "<br>")


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


def failure_reason(job: Job) -> str:
    """Return why a job failed; that the service did not say so, where it did not."""
    reason = sanitize(job.reason)
    if not reason and job.status is Status.FAILED:
        return NO_REASON_GIVEN
    return reason


def button_command(job: Job, button: Button) -> str:
    """Return the magic that presses a button of a job."""
    service = find_service(job.service)
    magic = service.button_magic if service else ""
    return sanitize(f"{magic} {job.id} {button.name}".lstrip())


def _actions_text(job: Job) -> Sequence[str]:
    if job.status is Status.NEEDS_INPUT:
        command = input_command(job)
        return (DIALOG_NOTE, f"Give it with {command}" if command else "")
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


def job_html(job: Job) -> str:
    """Return what cells and panels show of any job: action, status, id, subject and facts."""
    return _header_html(job) + _subject_html(job) + _facts_html(_list_facts(job))


def live_html(job: Job) -> str:
    """Return what a panel shows of a job, with its progress while it runs."""
    bar = progress_bar_html(job) if job.status.is_active else ""
    return render_element("div", job_html(job) + bar, _status_class(job.status))


def progress_bar_html(job: Job) -> str:
    """Return the progress bar of a job."""
    return bar_html(job.progress, f"{_action_name(job)} {format_label(job.status)}")


def status_html(job: Job) -> str:
    """Return a job's status as a badge."""
    return badge_html(job.status, format_status(job))


def _status_class(status: Status) -> str:
    return f"mjci-{status.value.lower()}"


def _render_card(job: Job, extras: Extras, footer: str) -> str:
    picture = ""
    if extras.picture:
        picture = picture_html(extras.picture, css_class="mjci-job-picture")
    parts = (job_html(job), _failure_html(job), footer, _extras_html(extras))
    return frame_html(_status_class(job.status), "".join(parts), picture)


def _header_html(job: Job) -> str:
    parts = (
        f"<b>{escape_text(_action_name(job))}</b>",
        status_html(job),
        render_element("span", escape_text(get_label(job.service)), "mjci-job-dim"),
        render_element("code", escape_text(job.id), "mjci-job-id"),
    )
    return render_element("div", " ".join(parts), "mjci-job-head")


def _subject_html(job: Job) -> str:
    subject = describe_subject(job)
    if not subject:
        return ""
    css_class = "mjci-job-subject"
    service = find_service(job.service)
    if service is not None and service.subject_is_key:
        css_class += " mjci-job-key"
    return render_element("div", escape_lines(subject), css_class)


def _facts_html(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(
        render_element("dt", escape(translate(name))) + render_element("dd", escape_lines(value))
        for name, value in facts
    )
    return render_element("dl", rows) if rows else ""


def _failure_html(job: Job) -> str:
    reason = failure_reason(job)
    return reason_html(translate(reason)) if reason else ""


def _actions_html(job: Job) -> str:
    if job.status is Status.NEEDS_INPUT:
        text = translate(DIALOG_NOTE)
        if command := input_command(job):
            text = f"{text} {translate('Give it with')} {command}"
        return render_element("div", escape_text(text), "mjci-job-ask")
    if not job.buttons:
        return ""
    # Text, because nothing happens on a click here.
    chips = " · ".join(_button_html(job, button) for button in job.buttons)
    command = render_element("code", escape_text(button_command(job, job.buttons[0])))
    return render_element(
        "div", f"{translate('buttons:')} {chips}", "mjci-job-chips"
    ) + render_element("div", f"{translate('press one:')} {command}", "mjci-job-dim")


def _button_html(job: Job, button: Button) -> str:
    title = button_command(job, button)
    return render_element("span", escape_text(format_button(button)), "mjci-job-chip", title=title)


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
    link = render_element(
        "a", label, href=sanitize(url), target="_blank", rel="noopener noreferrer"
    )
    return f"<div>{link}</div>"
