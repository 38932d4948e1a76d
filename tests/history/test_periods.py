"""Durations and periods are read in the spellings that people use."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.history.periods import parse_seconds


@pytest.mark.parametrize(
    ("duration", "seconds"),
    [(60, 60), (0.5, 0.5), ("90s", 90), ("2 min", 120), ("1h", 3600), (timedelta(days=1), 86_400)],
)
def test_duration_is_read_in_any_plain_spelling(duration: Any, seconds: float) -> None:
    assert parse_seconds(duration) == seconds


@pytest.mark.parametrize("duration", [0, -1, "soon", "", float("nan"), None, "-5s"])
def test_duration_that_is_not_positive_is_refused(duration: Any) -> None:
    with pytest.raises(InvalidRequest, match="is not a positive duration"):
        parse_seconds(duration)
