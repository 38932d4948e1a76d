"""Remember which endpoints a server lacks, once it has said so repeatedly.

A single 404 may be a gateway that restarts, and a page with
status 200 says nothing: a fallback is used for this one call
then. Remembering it would hide the real listing for the rest of
the session.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.outcomes import Outcome, get_outcome
from jupyter_mjci.errors import MjciError

# 404s in a row after which an endpoint counts as missing
REPEATED = 2


class EndpointSupport:
    """What a server has said about its endpoints, by the name and the method of the call."""

    def __init__(self) -> None:
        self._refusals: Counter[tuple[str, str, str]] = Counter()
        self._doubtful: set[tuple[str, str, str]] = set()

    def is_missing(self, call: Call[Any]) -> bool:
        """Return whether the server has said repeatedly that it lacks the endpoint."""
        return self._refusals[_get_key(call)] >= REPEATED

    def is_doubtful(self, call: Call[Any]) -> bool:
        """Return whether the last answer was none, so that repeating the call is no use."""
        return _get_key(call) in self._doubtful

    def record_refusal(self, call: Call[Any], error: MjciError) -> None:
        """Take note that the server did not offer the endpoint this time."""
        key = _get_key(call)
        self._doubtful.add(key)
        if get_outcome(error) is Outcome.UNSUPPORTED:
            self._refusals[key] += 1

    def record_success(self, call: Call[Any]) -> None:
        """Take note that the server has the endpoint."""
        self._doubtful.discard(_get_key(call))
        del self._refusals[_get_key(call)]


def _get_key(call: Call[Any]) -> tuple[str, str, str]:
    return call.service, call.name, call.method
