"""Which endpoints a server lacks: only what it has said twice in a row is remembered."""

from __future__ import annotations

import httpx

from jupyter_mjci.client.outcomes import Outcome
from jupyter_mjci.errors import MjciError, Unsupported
from jupyter_mjci.jobs.endpoint_support import EndpointSupport
from jupyter_mjci.services import load_settings
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.session import Session

CALL = Midjourney().queue()


def build_refusal() -> MjciError:
    error = Unsupported("There is no such endpoint.")
    error.outcome = Outcome.UNSUPPORTED
    return error


def test_endpoint_is_missing_after_two_refusals_in_a_row() -> None:
    support = EndpointSupport()
    support.record_refusal(CALL, build_refusal())
    assert (support.is_missing(CALL), support.is_doubtful(CALL)) == (False, True)
    support.record_success(CALL)
    assert (support.is_missing(CALL), support.is_doubtful(CALL)) == (False, False)
    for _ in range(2):
        support.record_refusal(CALL, build_refusal())
    assert support.is_missing(CALL)
    assert not support.is_missing(Midjourney().accounts())


def test_answer_that_is_none_counts_for_nothing() -> None:
    """It is doubtful only whether asking again is of use."""
    support = EndpointSupport()
    for _ in range(5):
        support.record_refusal(CALL, MjciError("A page."))
    assert (support.is_missing(CALL), support.is_doubtful(CALL)) == (False, True)


def test_endpoint_that_answers_in_between_is_asked_again() -> None:
    """A gateway that restarts now and then says 404; its listing is not given up."""
    asked: list[str] = []
    statuses = [404, 200, 404, 200]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path != CALL.path:
            return httpx.Response(200, json=[])
        asked.append(request.url.path)
        return httpx.Response(statuses[len(asked) - 1], json=[])

    settings = load_settings({"mj_url": "http://proxy"}, environ={})
    with Session(settings, transport=httpx.MockTransport(answer)) as session:
        for _ in statuses:
            session.mj.queue().run()
    assert len(asked) == len(statuses)
