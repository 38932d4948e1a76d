"""Many jobs as one card: how many have which status, a progress bar, and the failures by reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from jupyter_mjci.client.job import Status
from jupyter_mjci.client.translation import translate
from jupyter_mjci.errors import sanitize
from jupyter_mjci.notebook.card_style import render_element
from jupyter_mjci.notebook.cards import (
    NO_REASON_GIVEN,
    STATUS_LABELS,
    badge_html,
    bar_html,
    escape_text,
    frame_html,
    join_lines,
    note_html,
    reason_html,
    text_bar,
)

# reasons, and rows of each, that a card lists
MAX_LISTED_FAILURES = 10
# The status that colors the card of a finished batch: the first
# of these that any job has.
_SEVERITY = (
    Status.FAILED,
    Status.NEEDS_INPUT,
    Status.RUNNING,
    Status.QUEUED,
    Status.CANCELLED,
)


@dataclass(frozen=True, slots=True)
class BatchSummary:
    """The jobs of a batch, counted by status. `failures` are
    reasons with the labels of their rows; `percent` is None when
    the batch is no longer followed.
    """

    title: str
    counts: Mapping[Status, int]
    percent: int | None = None
    failures: Sequence[tuple[str, Sequence[str]]] = ()
    notes: Sequence[str] = ()


def summary_html(summary: BatchSummary) -> str:
    """Return a batch as a card."""
    counts = summary_counts(summary, translate)
    color = _get_color_status(summary)
    head = f"<b>{escape_text(summary.title)}</b> {badge_html(color, counts)}"
    parts = [render_element("div", head, "mjci-job-head")]
    if summary.percent is not None:
        parts.append(bar_html(summary.percent, f"{summary.title}: {counts}"))
    parts += map(reason_html, _iter_failure_lines(summary))
    parts += map(note_html, summary.notes)
    return frame_html(f"mjci-{color.value.lower()}", "".join(parts))


def summary_text(summary: BatchSummary) -> str:
    """Return a batch as plain text."""
    return join_lines(
        f"{sanitize(summary.title)}: {summary_counts(summary)}",
        *_iter_failure_lines(summary),
        *map(sanitize, summary.notes),
    )


def summary_line(summary: BatchSummary, width: int = 24) -> str:
    """Return one line of progress for a terminal, with a bar of `width` characters."""
    bar = text_bar(summary.percent or 0, width)
    return f"{sanitize(summary.title)}: {summary_counts(summary)} {bar}"


def summary_counts(summary: BatchSummary, translate: Callable[[str], str] = str) -> str:
    """Return "3 jobs, 2 succeeded, 1 failed"; with `translate` for a reader."""
    total = sum(summary.counts.values())
    text = translate("1 job") if total == 1 else translate("{count} jobs")
    parts = [text.format(count=f"{total:,}")]
    for status in Status:
        if summary.counts.get(status):
            parts.append(f"{summary.counts[status]:,} {translate(STATUS_LABELS[status])}")
    return ", ".join(parts)


def _get_color_status(summary: BatchSummary) -> Status:
    if summary.percent is not None:
        return Status.RUNNING
    for status in _SEVERITY:
        if summary.counts.get(status):
            return status
    return Status.SUCCEEDED


def _iter_failure_lines(summary: BatchSummary) -> Iterable[str]:
    for reason, rows in summary.failures[:MAX_LISTED_FAILURES]:
        noun = "row" if len(rows) == 1 else "rows"
        labels = ", ".join(rows[:MAX_LISTED_FAILURES])
        if len(rows) > MAX_LISTED_FAILURES:
            labels += f", … ({len(rows)} rows)"
        yield sanitize(f"{reason or NO_REASON_GIVEN} {noun} {labels}")
    more = len(summary.failures) - MAX_LISTED_FAILURES
    if more > 0:
        yield f"… and {more} other reasons"
