"""Find the job of a lost submission in a listing, by what its call says.

For a service that has neither an idempotency key nor a field for
text of one's own. Two equal submissions cannot be told apart, so
the match is not exact, and finding none proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from jupyter_mjci.client.calls import Call, Paginator, Sender
from jupyter_mjci.client.job import Job

# seconds that a service's clock may be behind this machine's
MAX_CLOCK_SKEW = 60.0


@dataclass(frozen=True, slots=True)
class ListingTracking:
    """A `SubmissionTracking` without a marker, for an API that is a `JsonApi`.

    Args:
        api: the API's class
        list_since: lists the jobs that were created since a time
        build_matcher_of: returns whether a job says the same as
            a call
    """

    api: type[Any]
    list_since: Callable[[Any, datetime], Call[list[Job]] | Paginator[Job]]
    build_matcher_of: Callable[[Call[Any]], Callable[[Job], bool]]

    def is_trackable(self, call: Call[Any]) -> bool:
        return call.is_submission

    def with_marker(self, _call: Call[Any], _marker: str) -> Call[Any] | None:
        return None

    def build_search_request(
        self, call: Call[Any], sent_at: float
    ) -> Call[list[Job]] | Paginator[Job]:
        earliest = datetime.fromtimestamp(sent_at - MAX_CLOCK_SKEW, UTC)
        return self.list_since(self.api(call.sender), earliest)

    def build_matcher(self, call: Call[Any], _marker: str, sent_at: float) -> Callable[[Job], bool]:
        says_the_same = self.build_matcher_of(call)

        def matches(job: Job) -> bool:
            created = job.submitted.timestamp() if job.submitted else 0.0
            return created >= sent_at - MAX_CLOCK_SKEW and says_the_same(job)

        return matches

    def is_exact_match(self, _call: Call[Any], _marker: str) -> bool:
        return False

    def restore_call(self, sender: Sender | None, name: str, path: str, body: bytes) -> Call[Job]:
        call: Call[Job] = self.api(sender).build_submission(name, path, body)
        return call
