"""Jobs as cards: plain values -> escaped HTML and plain text. Knows no IPython.

A card has the colours of its surroundings (JupyterLab's variables where they exist, else what it
inherits), so that it looks at home in light and dark. Everything a service or a person wrote is
escaped here, and nowhere unescaped. Nothing in a card depends on when or where it was made: no
timings, no hosts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.errors import clean as clean
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.tencent_ci.api import part, text

SERVICES = {"mj": "Midjourney", "ci": "Tencent CI"}
MAGICS = {"mj": "%mj_task", "ci": "%ci_job"}


@dataclass(frozen=True, slots=True)
class Extras:
    """What a card tells besides the job: `notes` below it, a batch's `children` by status, a
    `picture` inside it (a data URL), and `links` to results that cannot be shown (name, URL).
    """

    notes: Sequence[str] = ()
    children: Mapping[str, int] | None = None
    picture: str = ""
    links: Sequence[tuple[str, str]] = ()


NOTHING = Extras()


def card_html(job: Job, extras: Extras = NOTHING) -> str:
    """A job as it is, as a card: action, status, what it is about, what came out or why not, the
    next moves.
    """
    return _card(job, extras, _facts(job), _next_html(job))


def progress_html(job: Job, preview: str = "") -> str:
    """A job under way: the card with its bar, and the blurry preview where there is one (a data
    URL).
    """
    bar = _bar(job.progress, f"{_action(job)} {_BADGES[job.status]}")
    return _card(job, replace(NOTHING, picture=preview), _facts(job), bar)


def card_text(job: Job, extras: Extras = NOTHING) -> str:
    """The same as plain text, for terminals, diffs and readers of saved notebooks."""
    facts = [f"{name}: {value}" for name, value in _facts(job)]
    return _lines(
        headline(job), about(job), *facts, _reason(job), *_next_text(job), *_extra_text(extras)
    )


def headline(job: Job) -> str:
    """A job in one line: IMAGINE 1712345678901234 SUCCEEDED."""
    percent = f" {job.progress}%" if job.status.moving and job.progress is not None else ""
    return clean(f"{_action(job)} {job.id} {job.status.value}{percent}").strip()


def progress_line(job: Job, width: int = 24) -> str:
    """A terminal's progress: one line, made to be overwritten."""
    return f"{headline(job)} {_strip(job.progress or 0, width)}"


def _strip(percent: int, width: int) -> str:
    full = round(percent / 100 * width)
    return f"[{'#' * full}{'.' * (width - full)}]"


def notice_html(line: str) -> str:
    """A line that the toolkit itself says, in a cell's outputs."""
    return (
        f'<div class="mjci-job-notice" style="opacity:.75;'
        f'font:12px var(--jp-ui-font-family,system-ui,sans-serif)">{escape(clean(line))}</div>'
    )


def table_html(rows: Sequence[tuple[str, str]]) -> str:
    """Named findings as a card."""
    body = _table([(clean(name), clean(value)) for name, value in rows])
    return f'<div class="mjci-job tex2jax_ignore mathjax_ignore">{STYLE}<div class="mjci-job-body">{body}</div></div>'


def table_text(rows: Sequence[tuple[str, str]]) -> str:
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(clean(f"{name:<{width}}  {value}").rstrip() for name, value in rows)


def request_html(text: str) -> str:
    """A request's text, as it would be sent."""
    return f'<pre class="tex2jax_ignore mathjax_ignore" style="white-space:pre-wrap">{_escaped(text)}</pre>'


def request_text(method: str, url: str, headers: Iterable[tuple[str, str]], body: bytes) -> str:
    """The request that would be sent: every header, the body as text. Secrets are hidden, data URLs
    shortened.
    """
    told = [
        f"{name}: {'***' if name.lower() in _SECRET_HEADERS else value}" for name, value in headers
    ]
    return "\n".join(
        [f"{method} {_SECRET_PARAMS.sub('***', url)}", *told, "", _body_text(body)]
    ).rstrip()


_SECRET_HEADERS = {
    "authorization",
    "mj-api-secret",
    "cookie",
    "proxy-authorization",
    "x-cos-security-token",
    "x-ci-security-token",
}
_SECRET_PARAMS = re.compile(
    r"(?i)(?<=[?&]q-signature=)[^&#]*|(?<=[?&]x-cos-security-token=)[^&#]*|(?<=[?&]x-ci-security-token=)[^&#]*"
    r"|(?<=://)[^/@?#]*(?=@)"
)
_DATA_URL = re.compile(r"(data:[\w/+.-]+;base64,)([A-Za-z0-9+/=]{64,})")


def _body_text(body: bytes) -> str:
    try:
        words = body.decode()
    except UnicodeDecodeError:
        return f"({len(body)} bytes)"
    return _DATA_URL.sub(lambda found: f"{found[1]}…({len(found[2]) * 3 // 4} bytes)", words)


# --- many jobs in one card ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tally:
    """How many jobs are where. `failures` are reasons, each with the rows it befell; `percent` is
    None once nobody follows any more.
    """

    title: str
    counts: Mapping[Status, int]
    percent: int | None = None
    failures: Sequence[tuple[str, Sequence[str]]] = ()
    notes: Sequence[str] = ()


SHOWN = 10  # reasons, and rows of each, that a card names


def tally_html(tally: Tally) -> str:
    """Many jobs as one card: how many are where, the bar, and who failed and why."""
    going = tally.percent is not None
    bar = _bar(tally.percent, f"{tally.title}: {tally_counts(tally)}") if going else ""
    why = "".join(f'<div class="mjci-job-why">{_escaped(line)}</div>' for line in _failures(tally))
    notes = "".join(f'<div class="mjci-job-note">{_escaped(note)}</div>' for note in tally.notes)
    return (
        f'<div class="mjci-job mjci-{_mood(tally)} tex2jax_ignore mathjax_ignore">{STYLE}<div class="mjci-job-body">'
        f'<div class="mjci-job-head"><b>{_escaped(tally.title)}</b> '
        f'<span class="mjci-job-badge">{_escaped(tally_counts(tally))}</span></div>{bar}{why}{notes}</div></div>'
    )


def tally_text(tally: Tally) -> str:
    return _lines(
        f"{clean(tally.title)}: {tally_counts(tally)}", *_failures(tally), *map(clean, tally.notes)
    )


def tally_line(tally: Tally, width: int = 24) -> str:
    """A terminal's progress: one line, made to be overwritten."""
    return f"{clean(tally.title)}: {tally_counts(tally)} {_strip(tally.percent or 0, width)}"


def tally_counts(tally: Tally) -> str:
    total = sum(tally.counts.values())
    parts = [
        f"{tally.counts[status]:,} {_BADGES[status]}"
        for status in Status
        if tally.counts.get(status)
    ]
    return f"{total:,} job{'s' * (total != 1)}{', ' * bool(parts)}{', '.join(parts)}"


def _mood(tally: Tally) -> str:
    """What colours the card: that something goes on, else the worst of what came out."""
    if tally.percent is not None:
        return "running"
    ranked = (Status.FAILED, Status.ASKING, Status.RUNNING, Status.WAITING, Status.CANCELLED)
    return next(
        (status.value.lower() for status in ranked if tally.counts.get(status)), "succeeded"
    )


def _failures(tally: Tally) -> Iterable[str]:
    for reason, rows in tally.failures[:SHOWN]:
        more = f", … ({len(rows)} rows)" if len(rows) > SHOWN else ""
        yield clean(
            f"{reason or _SILENT} {'row' if len(rows) == 1 else 'rows'} {', '.join(rows[:SHOWN])}{more}"
        )
    if len(tally.failures) > SHOWN:
        yield f"… and {len(tally.failures) - SHOWN} other reasons"


# --- what there is to say -------------------------------------------------------------------------


def about(job: Job) -> str:
    """What the job is about: the prompt; or the input, and the output that is made of it."""
    output = text(part(job.raw, "Operation", "Output").get("Object")) if job.service == "ci" else ""
    return clean(f"{job.subject} → {output}" if output else job.subject)


def _action(job: Job) -> str:
    return job.action or "Job"


def _facts(job: Job) -> list[tuple[str, str]]:
    """(name, value) rows that the service tells beyond the common fields; cleaned, not yet
    escaped.
    """
    return [
        (name, clean(value))
        for name, value in (_ci_facts(job) if job.service == "ci" else ())
        if value
    ]


def _ci_facts(job: Job) -> Iterable[tuple[str, str]]:
    operation = part(job.raw, "Operation")
    process = part(operation, "PicProcess") or part(operation, "JobParam", "PicProcess")
    template = text(operation.get("TemplateId")) or text(
        part(operation, "JobParam").get("TemplateId")
    )
    workflows = operation.get("WorkflowIds")
    yield "rule", text(process.get("ProcessRule"))
    yield "template", template
    yield "workflows", ", ".join(workflows) if isinstance(workflows, list) else text(workflows)
    yield (
        "size",
        _sizes(
            part(operation, "PicProcessResult") or part(operation, "JobParam", "PicProcessResult")
        ),
    )
    yield "user data", job.state


def _sizes(result: Mapping[str, Any]) -> str:
    """ "1000×667 jpeg → 667×1000 jpeg, 24.9 kB": as far as the answer tells."""
    result = part(result, "UploadResult") or result
    made = part(result, "ProcessResult") or part(result, "ProcessResults", "Object")
    before, after = _size(part(result, "OriginalInfo", "ImageInfo")), _size(made)
    weight = text(made.get("Size"))
    heavy = f", {int(weight) / 1000:.1f} kB" if weight.isdigit() else ""
    return f"{f'{before} → ' if before else ''}{after}{heavy}" if after else ""


def _size(told: Mapping[str, Any]) -> str:
    width, height = text(told.get("Width")), text(told.get("Height"))
    return (
        f"{width}×{height} {text(told.get('Format')).lower()}".strip() if width and height else ""
    )


def _reason(job: Job) -> str:
    return clean(job.reason) or (_SILENT if job.status is Status.FAILED else "")


_SILENT = "The service does not say why."


def _command(job: Job, button: Button) -> str:
    return clean(f"%mj_action {job.id} {button.name}")


def _asks(job: Job) -> str:
    answer = (
        f"with %mj_modal {job.id}"
        if hasattr(Midjourney, "modal")
        else "on the proxy's own page (submit/modal)"
    )
    return clean(
        f"It waits for your answer to a dialog: give it {answer}. Waiting longer changes nothing."
    )


def _next_text(job: Job) -> Sequence[str]:
    if job.status is Status.ASKING:
        return (_asks(job),)
    if not job.buttons:
        return ()
    names = "  ".join(f"[{clean(button.title)}]" for button in job.buttons)
    return (f"buttons: {names}", f"press one: {_command(job, job.buttons[0])}")


def _extra_text(extras: Extras) -> Iterable[str]:
    if extras.children is not None:
        yield f"jobs: {clean(_counts(extras.children))}"
    yield from (clean(note) for note in extras.notes)
    yield from (f"{clean(name)}: a file to open, not shown here" for name, _ in extras.links)


def _counts(children: Mapping[str, int]) -> str:
    total = sum(children.values())
    parts = ", ".join(f"{count} {status.lower()}" for status, count in children.items())
    return f"{total} ({parts})" if parts else "none"


def _lines(first: str, *rest: str) -> str:
    indented = [line for block in rest if block for line in block.splitlines()]
    return "\n".join([first, *(f"  {line}".rstrip() for line in indented)])


# --- how it looks ---------------------------------------------------------------------------------


def _card(job: Job, extras: Extras, facts: Sequence[tuple[str, str]], last: str) -> str:
    picture = (
        f'<img class="mjci-job-picture" alt="" src="{escape(extras.picture)}">'
        if extras.picture
        else ""
    )
    parts = (_head(job), _subject(job), _table(facts), _why(job), last, _extra_html(extras))
    # Without these classes JupyterLab would take a prompt with two dollar signs for mathematics.
    return (
        f'<div class="mjci-job mjci-{job.status.value.lower()} tex2jax_ignore mathjax_ignore">{STYLE}'
        f'{picture}<div class="mjci-job-body">{"".join(parts)}</div></div>'
    )


def _head(job: Job) -> str:
    return (
        f'<div class="mjci-job-head"><b>{_escaped(_action(job))}</b> '
        f'<span class="mjci-job-badge">{_badge(job)}</span> '
        f'<span class="mjci-job-dim">{escape(SERVICES.get(job.service, job.service))}</span> '
        f"<code>{_escaped(job.id)}</code></div>"
    )


_BADGES = {
    Status.WAITING: "waiting",
    Status.RUNNING: "running",
    Status.ASKING: "asking you",
    Status.SUCCEEDED: "succeeded",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
}


def _badge(job: Job) -> str:
    percent = (
        f" {job.progress}%" if job.status is Status.RUNNING and job.progress is not None else ""
    )
    return _BADGES[job.status] + percent


def _subject(job: Job) -> str:
    kind = "mjci-job-subject" + (" mjci-job-key" if job.service == "ci" else "")
    return f'<div class="{kind}">{escape(about(job))}</div>' if about(job) else ""


def _table(facts: Sequence[tuple[str, str]]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return f"<dl>{rows}</dl>" if rows else ""


def _why(job: Job) -> str:
    reason = _reason(job)
    return f'<div class="mjci-job-why">{escape(reason)}</div>' if reason else ""


def _bar(percent: int | None, said: str) -> str:
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
        f'aria-label="{_escaped(said)}">{bar}</div>'
    )


def _next_html(job: Job) -> str:
    if job.status is Status.ASKING:
        return f'<div class="mjci-job-ask">{escape(_asks(job))}</div>'
    if not job.buttons:
        return ""
    chips = "".join(_chip(job, button) for button in job.buttons)
    typed = escape(_command(job, job.buttons[0]))
    return f'<div class="mjci-job-chips">{chips}</div><div class="mjci-job-dim">press one: <code>{typed}</code></div>'


def _chip(job: Job, button: Button) -> str:
    pressed = " mjci-job-pressed" if button.pressed else ""
    title = escape(_command(job, button))
    return f'<span class="mjci-job-chip{pressed}" title="{title}">{_escaped(button.title)}</span> '


def _extra_html(extras: Extras) -> str:
    children = (
        "" if extras.children is None else f"<div>jobs: {_escaped(_counts(extras.children))}</div>"
    )
    notes = "".join(f'<div class="mjci-job-note">{_escaped(note)}</div>' for note in extras.notes)
    return children + notes + "".join(_link(name, url) for name, url in extras.links)


def _link(name: str, url: str) -> str:
    """A link, where it is one that may be followed: never `javascript:`."""
    if not url.lower().startswith(("http://", "https://")):
        return f"<div>{_escaped(name)}</div>"
    return f'<div><a href="{_escaped(url)}" target="_blank" rel="noopener noreferrer">{_escaped(name)}</a></div>'


def _escaped(words: str) -> str:
    return escape(clean(words))


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
