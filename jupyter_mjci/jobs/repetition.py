"""Find submissions that ask again for what is still going, by what the journal holds.

A cell that is run twice, also in two kernels or after a restart,
sends the same request twice; only the marker in it differs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jupyter_mjci.client.calls import Call
from jupyter_mjci.history.submissions import Submission
from jupyter_mjci.jobs.client import JobClient
from jupyter_mjci.services import find_service

# seconds after which a job that nobody saw end counts no more
MAX_AGE = 86_400.0
# stands for the marker of a submission that is not sent yet
ANY_MARKER = "any-marker"

# Service, origin and path, and the body without its marker.
Request = tuple[str, str, str, bytes]


def find_repeated(client: JobClient, calls: Iterable[Call[Any]]) -> list[Submission]:
    """Return the unfinished submissions that asked for the same as some calls, the latest last.

    Their jobs are going, or it is not known whether they have
    any.
    """
    requests = {_describe_call(client, call) for call in calls if call.is_submission}
    if not requests:
        return []
    since = client.clock.now() - MAX_AGE
    rows = client.journal.unfinished_submissions(since)
    return [row for row in rows if _describe_row(row) in requests]


def _describe_call(client: JobClient, call: Call[Any]) -> Request:
    service = find_service(call.service)
    marked = None
    if service is not None and service.tracking is not None:
        marked = service.tracking.with_marker(call, ANY_MARKER)
    body = (marked or call).body.replace(ANY_MARKER.encode(), b"")
    return call.service, client.journal.get_origin(call.service), call.path, body


def _describe_row(row: Submission) -> Request:
    body = row.body.replace(row.marker.encode(), b"")
    return row.service, row.origin, row.path, body
