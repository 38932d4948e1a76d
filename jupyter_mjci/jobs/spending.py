"""What submissions cost, by the prices that the user has set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.prices import Prices, format_cost
from jupyter_mjci.client.translation import mark, translate
from jupyter_mjci.history.submissions import ACCEPTED, PENDING, UNKNOWN, Submission
from jupyter_mjci.jobs.client import JobClient
from jupyter_mjci.services import find_service, service

# Submissions in these states have cost something, or may have.
CHARGED_STATES = (ACCEPTED, PENDING, UNKNOWN)
# What a submission may be, as it is shown.
_STATE_LABELS = (
    mark("accepted"),
    mark("forgotten"),
    mark("pending"),
    mark("rejected"),
    mark("unknown"),
)


def find_price(call: Call[Any], prices: Prices) -> float | None:
    """Return the price of a job that a submission creates; None where it has none."""
    action, queue = service(call.service).get_kind(call)
    return prices.find(call.service, (action, call.name), queue)


def sum_costs(calls: Iterable[Call[Any]], prices: Prices) -> tuple[float, list[str]]:
    """Return what submissions cost together, and the names of those that have no price."""
    total = 0.0
    unpriced = set()
    for call in calls:
        price = find_price(call, prices)
        if price is None:
            unpriced.add(f"{call.service}/{call.name}")
        else:
            total += price * call.job_count
    return total, sorted(unpriced)


def describe_cost(calls: Sequence[Call[Any]], prices: Prices) -> str:
    """Return what submissions cost in words; "" where no prices are set, or nothing costs."""
    if not prices or not calls:
        return ""
    total, unpriced = sum_costs(calls, prices)
    missing = f" (without {', '.join(unpriced)}, which has no price)" if unpriced else ""
    return f"{translate('cost')} {format_cost(total)}{missing}"


def describe_today(client: JobClient, prices: Prices) -> str:
    """Return what was submitted since midnight, by all kernels of the journal, and its cost."""
    now = datetime.fromtimestamp(client.clock.now()).astimezone()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()
    counts = client.journal.count_submissions(midnight)
    if not counts:
        return translate("nothing submitted")
    states = [f"{count} {translate(state)}" for state, count in sorted(counts.items())]
    text = f"{sum(counts.values())} {translate('submitted')} ({', '.join(states)})"
    if not prices:
        return text
    calls = []
    for row in client.journal.submissions(midnight):
        call = _restore_call(row) if row.state in CHARGED_STATES else None
        if call is not None:
            calls.append(call)
    return ", ".join(filter(None, (text, describe_cost(calls, prices))))


def _restore_call(row: Submission) -> Call[Any] | None:
    """Return a submission of the journal; None where its service is not installed."""
    found = find_service(row.service)
    if found is None or found.tracking is None:
        return None
    return found.tracking.restore_call(None, row.name, row.path, row.body)
