"""Jobs as cards: plain values -> escaped HTML and plain text. Knows no IPython.

A card has the colours of its surroundings (JupyterLab's variables where they exist, else what it
inherits), so that it looks at home in light and dark. Everything a service or a person wrote is
escaped here, and nowhere unescaped. Nothing in a card depends on when or where it was made: no
timings, no hosts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.errors import sanitize as sanitize
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.tencent_ci.api import get_element, to_text

SERVICE_TITLES = {"mj": "Midjourney", "ci": "Tencent CI"}
JOB_MAGICS = {"mj": "%mj_task", "ci": "%ci_job"}


@dataclass(frozen=True, slots=True)
class Extras:
    """What a card tells besides the job: `notes` below it, a batch's `children` by status, a
    `picture` inside it (a data URL), and `links` to results that cannot be shown (name, URL).
    """

    notes: Sequence[str] = ()
    children: Mapping[str, int] | None = None
    picture: str = ""
    links: Sequence[tuple[str, str]] = ()


NO_EXTRAS = Extras()


def card_html(job: Job, extras: Extras = NO_EXTRAS) -> str:
    """A job as it is, as a card: action, status, what it is about, what came out or why not, the
    next moves.
    """
    return _render_card(job, extras, _facts(job), _actions_html(job))


def progress_html(job: Job, preview: str = "") -> str:
    """A job under way: the card with its bar, and the blurry preview where there is one (a data
    URL).
    """
    bar = _bar_html(job.progress, f"{_action_name(job)} {_STATUS_LABELS[job.status]}")
    return _render_card(job, replace(NO_EXTRAS, picture=preview), _facts(job), bar)


def card_text(job: Job, extras: Extras = NO_EXTRAS) -> str:
    """The same as plain text, for terminals, diffs and readers of saved notebooks."""
    facts = [f"{name}: {value}" for name, value in _facts(job)]
    return _join_lines(
        headline(job),
        describe_subject(job),
        *facts,
        _failure_reason(job),
        *_actions_text(job),
        *_extras_text(extras),
    )


def headline(job: Job) -> str:
    """A job in one line: IMAGINE 1712345678901234 SUCCEEDED."""
    percent = f" {job.progress}%" if job.status.is_active and job.progress is not None else ""
    return sanitize(f"{_action_name(job)} {job.id} {job.status.value}{percent}").strip()


def progress_line(job: Job, width: int = 24) -> str:
    """A terminal's progress: one line, made to be overwritten."""
    return f"{headline(job)} {_text_bar(job.progress or 0, width)}"


def _text_bar(percent: int, width: int) -> str:
    full = round(percent / 100 * width)
    return f"[{'#' * full}{'.' * (width - full)}]"


def notice_html(line: str) -> str:
    """A line that the toolkit itself says, in a cell's outputs."""
    return (
        f'<div class="mjci-job-notice" style="opacity:.75;'
        f'font:12px var(--jp-ui-font-family,system-ui,sans-serif)">{escape(sanitize(line))}</div>'
    )


def table_html(rows: Sequence[tuple[str, str]]) -> str:
    """Named findings as a card."""
    body = _facts_html([(sanitize(name), sanitize(value)) for name, value in rows])
    return f'<div class="mjci-job tex2jax_ignore mathjax_ignore">{STYLE}<div class="mjci-job-body">{body}</div></div>'


def table_text(rows: Sequence[tuple[str, str]]) -> str:
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(sanitize(f"{name:<{width}}  {value}").rstrip() for name, value in rows)


# --- many jobs in one card ------------------------------------------------------------------------


# --- what there is to say -------------------------------------------------------------------------


def describe_subject(job: Job) -> str:
    """What the job is about: the prompt; or the input, and the output that is made of it."""
    output = (
        to_text(get_element(job.raw, "Operation", "Output").get("Object"))
        if job.service == "ci"
        else ""
    )
    return sanitize(f"{job.subject} → {output}" if output else job.subject)


def _action_name(job: Job) -> str:
    return job.action or "Job"


def _facts(job: Job) -> list[tuple[str, str]]:
    """(name, value) rows that the service tells beyond the common fields; cleaned, not yet
    escaped.
    """
    return [
        (name, sanitize(value))
        for name, value in (_ci_facts(job) if job.service == "ci" else ())
        if value
    ]


def _ci_facts(job: Job) -> Iterable[tuple[str, str]]:
    operation = get_element(job.raw, "Operation")
    process = get_element(operation, "PicProcess") or get_element(
        operation, "JobParam", "PicProcess"
    )
    template = to_text(operation.get("TemplateId")) or to_text(
        get_element(operation, "JobParam").get("TemplateId")
    )
    workflows = operation.get("WorkflowIds")
    yield "rule", to_text(process.get("ProcessRule"))
    yield "template", template
    yield "workflows", ", ".join(workflows) if isinstance(workflows, list) else to_text(workflows)
    yield (
        "size",
        _format_size_change(
            get_element(operation, "PicProcessResult")
            or get_element(operation, "JobParam", "PicProcessResult")
        ),
    )
    yield "user data", job.user_data


def _format_size_change(result: Mapping[str, Any]) -> str:
    """ "1000×667 jpeg → 667×1000 jpeg, 24.9 kB": as far as the answer tells."""
    result = get_element(result, "UploadResult") or result
    made = get_element(result, "ProcessResult") or get_element(result, "ProcessResults", "Object")
    before, after = (
        _format_image_size(get_element(result, "OriginalInfo", "ImageInfo")),
        _format_image_size(made),
    )
    weight = to_text(made.get("Size"))
    heavy = f", {int(weight) / 1000:.1f} kB" if weight.isdigit() else ""
    return f"{f'{before} → ' if before else ''}{after}{heavy}" if after else ""


def _format_image_size(info: Mapping[str, Any]) -> str:
    width, height = to_text(info.get("Width")), to_text(info.get("Height"))
    return (
        f"{width}×{height} {to_text(info.get('Format')).lower()}".strip()
        if width and height
        else ""
    )


def _failure_reason(job: Job) -> str:
    return sanitize(job.reason) or (_NO_REASON_GIVEN if job.status is Status.FAILED else "")


_NO_REASON_GIVEN = "The service does not say why."


def _button_command(job: Job, button: Button) -> str:
    return sanitize(f"%mj_action {job.id} {button.name}")


def _input_needed_text(job: Job) -> str:
    answer = (
        f"with %mj_modal {job.id}"
        if hasattr(Midjourney, "modal")
        else "on the proxy's own page (submit/modal)"
    )
    return sanitize(
        f"It waits for your answer to a dialog: give it {answer}. Waiting longer changes nothing."
    )


def _actions_text(job: Job) -> Sequence[str]:
    if job.status is Status.NEEDS_INPUT:
        return (_input_needed_text(job),)
    if not job.buttons:
        return ()
    names = "  ".join(f"[{sanitize(button.display_name)}]" for button in job.buttons)
    return (f"buttons: {names}", f"press one: {_button_command(job, job.buttons[0])}")


def _extras_text(extras: Extras) -> Iterable[str]:
    if extras.children is not None:
        yield f"jobs: {sanitize(_format_child_counts(extras.children))}"
    yield from (sanitize(note) for note in extras.notes)
    yield from (f"{sanitize(name)}: a file to open, not shown here" for name, _ in extras.links)


def _format_child_counts(children: Mapping[str, int]) -> str:
    total = sum(children.values())
    parts = ", ".join(f"{count} {status.lower()}" for status, count in children.items())
    return f"{total} ({parts})" if parts else "none"


def _join_lines(first: str, *rest: str) -> str:
    indented = [line for block in rest if block for line in block.splitlines()]
    return "\n".join([first, *(f"  {line}".rstrip() for line in indented)])


# --- how it looks ---------------------------------------------------------------------------------


def _render_card(job: Job, extras: Extras, facts: Sequence[tuple[str, str]], footer: str) -> str:
    picture = (
        f'<img class="mjci-job-picture" alt="" src="{escape(extras.picture)}">'
        if extras.picture
        else ""
    )
    parts = (
        _header_html(job),
        _subject_html(job),
        _facts_html(facts),
        _reason_html(job),
        footer,
        _extras_html(extras),
    )
    # Without these classes JupyterLab would take a prompt with two dollar signs for mathematics.
    return (
        f'<div class="mjci-job mjci-{job.status.value.lower()} tex2jax_ignore mathjax_ignore">{STYLE}'
        f'{picture}<div class="mjci-job-body">{"".join(parts)}</div></div>'
    )


def _header_html(job: Job) -> str:
    return (
        f'<div class="mjci-job-head"><b>{_escape(_action_name(job))}</b> '
        f'<span class="mjci-job-badge">{_status_label(job)}</span> '
        f'<span class="mjci-job-dim">{escape(SERVICE_TITLES.get(job.service, job.service))}</span> '
        f"<code>{_escape(job.id)}</code></div>"
    )


_STATUS_LABELS = {
    Status.QUEUED: "waiting",
    Status.RUNNING: "running",
    Status.NEEDS_INPUT: "asking you",
    Status.SUCCEEDED: "succeeded",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
}


def _status_label(job: Job) -> str:
    percent = (
        f" {job.progress}%" if job.status is Status.RUNNING and job.progress is not None else ""
    )
    return _STATUS_LABELS[job.status] + percent


def _subject_html(job: Job) -> str:
    kind = "mjci-job-subject" + (" mjci-job-key" if job.service == "ci" else "")
    return (
        f'<div class="{kind}">{escape(describe_subject(job))}</div>'
        if describe_subject(job)
        else ""
    )


def _facts_html(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return f"<dl>{rows}</dl>" if rows else ""


def _reason_html(job: Job) -> str:
    reason = _failure_reason(job)
    return f'<div class="mjci-job-why">{escape(reason)}</div>' if reason else ""


def _bar_html(percent: int | None, label: str) -> str:
    """A bar; one that does not know how far it is says so to those who cannot see it, too: it has
    no value.
    """
    if percent is None:
        now, bar = "", '<i class="mjci-job-unknown"></i>'
    else:
        percent = min(max(percent, 0), 100)
        now, bar = f' aria-valuenow="{percent}"', f'<i style="width:{percent}%"></i>'
    return (
        f'<div class="mjci-job-bar" role="progressbar" aria-valuemin="0" aria-valuemax="100"{now} '
        f'aria-label="{_escape(label)}">{bar}</div>'
    )


def _actions_html(job: Job) -> str:
    if job.status is Status.NEEDS_INPUT:
        return f'<div class="mjci-job-ask">{escape(_input_needed_text(job))}</div>'
    if not job.buttons:
        return ""
    chips = "".join(_button_html(job, button) for button in job.buttons)
    typed = escape(_button_command(job, job.buttons[0]))
    return f'<div class="mjci-job-chips">{chips}</div><div class="mjci-job-dim">press one: <code>{typed}</code></div>'


def _button_html(job: Job, button: Button) -> str:
    pressed = " mjci-job-pressed" if button.used else ""
    title = escape(_button_command(job, button))
    return f'<span class="mjci-job-chip{pressed}" title="{title}">{_escape(button.display_name)}</span> '


def _extras_html(extras: Extras) -> str:
    children = (
        ""
        if extras.children is None
        else f"<div>jobs: {_escape(_format_child_counts(extras.children))}</div>"
    )
    notes = "".join(f'<div class="mjci-job-note">{_escape(note)}</div>' for note in extras.notes)
    return children + notes + "".join(_link_html(name, url) for name, url in extras.links)


def _link_html(name: str, url: str) -> str:
    """A link, where it is one that may be followed: never `javascript:`."""
    if not url.lower().startswith(("http://", "https://")):
        return f"<div>{_escape(name)}</div>"
    return f'<div><a href="{_escape(url)}" target="_blank" rel="noopener noreferrer">{_escape(name)}</a></div>'


def _escape(words: str) -> str:
    return escape(sanitize(words))


STYLE = (
    "<style>"
    ".mjci-job{--c:#808a94;display:flex;gap:14px;align-items:flex-start;box-sizing:border-box;max-width:720px;"
    "margin:2px 0 4px;padding:10px 14px;border:1px solid rgba(128,128,128,.32);border-left:4px solid var(--c);"
    "border-radius:6px;background:rgba(128,128,128,.045);color:var(--jp-ui-font-color1,inherit);"
    "font:13px/1.5 var(--jp-ui-font-family,system-ui,sans-serif)}"
    ".mjci-running{--c:#1e88e5}.mjci-asking{--c:#c77700}.mjci-succeeded{--c:#2e8b57}.mjci-failed{--c:#d32f2f}"
    ".mjci-job-body{flex:1;min-width:0}"
    ".mjci-job-head{display:flex;flex-wrap:wrap;gap:2px 10px;align-items:baseline}"
    ".mjci-job-badge{background:var(--c);color:#fff;border-radius:9px;padding:0 9px;font-size:11px;line-height:18px;"
    "letter-spacing:.02em}"
    ".mjci-job code{font:12px var(--jp-code-font-family,ui-monospace,monospace);background:none;padding:0;"
    "color:inherit;overflow-wrap:anywhere}"
    ".mjci-job a{color:var(--jp-content-link-color,inherit)}"
    ".mjci-job-head code{opacity:.7;margin-left:auto}"
    ".mjci-job-dim{opacity:.7;font-size:12px}"
    ".mjci-job-subject{margin-top:4px;white-space:pre-wrap;overflow-wrap:anywhere}"
    ".mjci-job-key,.mjci-job dd{font-family:var(--jp-code-font-family,ui-monospace,monospace);font-size:12px}"
    ".mjci-job dl{display:grid;grid-template-columns:max-content 1fr;gap:0 12px;margin:4px 0 0}"
    ".mjci-job dt{opacity:.65;font-weight:normal}.mjci-job dd{margin:0;overflow-wrap:anywhere}"
    ".mjci-job-why{margin-top:6px;padding:4px 10px;border-radius:4px;background:rgba(211,47,47,.13);"
    "white-space:pre-wrap;overflow-wrap:anywhere}"
    ".mjci-job-ask,.mjci-job-note{margin-top:6px;padding:4px 10px;border-radius:4px;background:rgba(199,119,0,.15)}"
    ".mjci-job-chips{display:flex;flex-wrap:wrap;gap:5px;margin:8px 0 3px}"
    ".mjci-job-chip{border:1px solid rgba(128,128,128,.45);border-radius:4px;padding:0 8px;font-size:12px;cursor:help}"
    ".mjci-job-pressed{background:#2e8b57;border-color:#2e8b57;color:#fff}"
    ".mjci-job-bar{height:5px;margin:9px 0 4px;border-radius:3px;overflow:hidden;background:rgba(128,128,128,.25)}"
    ".mjci-job-bar i{display:block;height:100%;border-radius:3px;background:var(--c)}"
    ".mjci-job-bar .mjci-job-unknown{width:30%;opacity:.6;animation:mjci-job-go 1.4s ease-in-out infinite alternate}"
    "@keyframes mjci-job-go{to{margin-left:70%}}"
    "@media(prefers-reduced-motion:reduce){.mjci-job-bar .mjci-job-unknown{animation:none;width:100%}}"
    ".mjci-job-picture{width:104px;height:104px;object-fit:cover;border-radius:4px;margin:0}"
    "</style>"
)


def follow_command(job: Job) -> str:
    return f"{JOB_MAGICS.get(job.service, '%mj_task')} {job.id}"
