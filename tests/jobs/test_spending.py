"""What was submitted today and what it cost, by the prices of the user."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.prices import parse_prices
from jupyter_mjci.jobs import spending
from jupyter_mjci.session import Session


@pytest.fixture
def session() -> Iterator[Session]:
    with mjci.sandbox(speed=float("inf")) as opened:
        yield opened


def describe(session: Session, prices: str) -> str:
    return spending.describe_today(session.client, parse_prices(prices))


def test_nothing_is_submitted_at_first(session: Session) -> None:
    assert describe(session, "*=1") == "nothing submitted"


def test_what_was_submitted_today_is_counted_and_priced(session: Session) -> None:
    """By the submissions of the journal; a price of a call goes before one of all."""
    for _ in range(2):
        session.mj.imagine("a fox").run()
    session.ci.picture_job(
        input="input/deer.jpg", rule="imageMogr2/rotate/90", output="o.jpg"
    ).run()
    assert describe(session, "") == "3 submitted (3 accepted)"
    told = describe(session, "imagine=0.5, picture_job=3")
    assert told.startswith("3 submitted (3 accepted), cost 4")
    assert "has no price" not in told
    assert "without ci/picture_job, which has no price" in describe(session, "imagine=0.5")


def test_submission_of_a_service_that_is_missing_has_no_price(session: Session) -> None:
    session.mj.imagine("a fox").run()
    (row,) = session.journal.submissions()
    restored = spending._restore_call(row)
    assert restored is not None
    assert restored.name == "imagine"
    assert spending._restore_call(replace(row, service="gone")) is None
