"""Many jobs as one card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jupyter_mjci.client.job import Status
from jupyter_mjci.errors import sanitize as sanitize
from jupyter_mjci.notebook.cards import (
    _NO_REASON_GIVEN,
    _STATUS_LABELS,
    STYLE,
    _bar_html,
    _escape,
    _join_lines,
    _text_bar,
)


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """How many jobs are where. `failures` are reasons, each with the rows it befell; `percent` is
    None once nobody follows any more.
    """

    title: str
    counts: Mapping[Status, int]
    percent: int | None = None
    failures: Sequence[tuple[str, Sequence[str]]] = ()
    notes: Sequence[str] = ()


MAX_LISTED_FAILURES = 10  # reasons, and rows of each, that a card names


def summary_html(summary: BatchSummary) -> str:
    """Many jobs as one card: how many are where, the bar, and who failed and why."""
    going = summary.percent is not None
    bar = _bar_html(summary.percent, f"{summary.title}: {summary_counts(summary)}") if going else ""
    why = "".join(
        f'<div class="mjci-job-why">{_escape(line)}</div>' for line in _failure_lines(summary)
    )
    notes = "".join(f'<div class="mjci-job-note">{_escape(note)}</div>' for note in summary.notes)
    return (
        f'<div class="mjci-job mjci-{_summary_css_class(summary)} tex2jax_ignore mathjax_ignore">{STYLE}<div class="mjci-job-body">'
        f'<div class="mjci-job-head"><b>{_escape(summary.title)}</b> '
        f'<span class="mjci-job-badge">{_escape(summary_counts(summary))}</span></div>{bar}{why}{notes}</div></div>'
    )


def summary_text(summary: BatchSummary) -> str:
    return _join_lines(
        f"{sanitize(summary.title)}: {summary_counts(summary)}",
        *_failure_lines(summary),
        *map(sanitize, summary.notes),
    )


def summary_line(summary: BatchSummary, width: int = 24) -> str:
    """A terminal's progress: one line, made to be overwritten."""
    return f"{sanitize(summary.title)}: {summary_counts(summary)} {_text_bar(summary.percent or 0, width)}"


def summary_counts(summary: BatchSummary) -> str:
    total = sum(summary.counts.values())
    parts = [
        f"{summary.counts[status]:,} {_STATUS_LABELS[status]}"
        for status in Status
        if summary.counts.get(status)
    ]
    return f"{total:,} job{'s' * (total != 1)}{', ' * bool(parts)}{', '.join(parts)}"


def _summary_css_class(summary: BatchSummary) -> str:
    """What colours the card: that something goes on, else the worst of what came out."""
    if summary.percent is not None:
        return "running"
    ranked = (Status.FAILED, Status.NEEDS_INPUT, Status.RUNNING, Status.QUEUED, Status.CANCELLED)
    return next(
        (status.value.lower() for status in ranked if summary.counts.get(status)), "succeeded"
    )


def _failure_lines(summary: BatchSummary) -> Iterable[str]:
    for reason, rows in summary.failures[:MAX_LISTED_FAILURES]:
        more = f", … ({len(rows)} rows)" if len(rows) > MAX_LISTED_FAILURES else ""
        yield sanitize(
            f"{reason or _NO_REASON_GIVEN} {'row' if len(rows) == 1 else 'rows'} {', '.join(rows[:MAX_LISTED_FAILURES])}{more}"
        )
    if len(summary.failures) > MAX_LISTED_FAILURES:
        yield f"… and {len(summary.failures) - MAX_LISTED_FAILURES} other reasons"
