"""Odd responses of every family, on loopback, to submissions, polls, listings and pictures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Response
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.outcomes import Outcome, ServiceCodes, classify, get_outcome
from jupyter_mjci.errors import MjciError, TransportError
from jupyter_mjci.services import load_settings
from jupyter_mjci.session import Session
from tests.gateway import PICTURE, Gateway, serve
from tests.relays import ODD_RESPONSES, OddResponse
from tests.virtual_clock import VirtualClock

each_odd_response = pytest.mark.parametrize("odd", ODD_RESPONSES, ids=lambda odd: odd.name)


@pytest.fixture(scope="module")
def running_gateway() -> Iterator[Gateway]:
    with serve(Gateway()) as gateway:
        yield gateway


@pytest.fixture
def gateway(running_gateway: Gateway) -> Gateway:
    for state in (running_gateway.odd, running_gateway.tasks, running_gateway.requests):
        state.clear()
    running_gateway.has_bulk_fetch = False
    running_gateway.has_listing = True
    return running_gateway


@pytest.fixture
def session(gateway: Gateway) -> Iterator[Session]:
    settings = load_settings({"mj_url": gateway.url, "timeout": 10.0, "wait": 600.0}, environ={})
    with Session(settings, clock=VirtualClock()) as session:
        yield session


def shows_words(error: MjciError, odd: OddResponse) -> bool:
    return odd.words in str(error)


@each_odd_response
def test_submission_shows_the_words_and_the_outcome(
    session: Session, gateway: Gateway, odd: OddResponse
) -> None:
    gateway.odd["submit"] = [odd]
    with pytest.raises(MjciError) as caught:
        event_loop.run(session.client.send_once(session.mj.imagine("a fox")))
    assert get_outcome(caught.value) is odd.outcome
    assert shows_words(caught.value, odd)
    assert len(caught.value.format_lines()) <= 3


@pytest.mark.parametrize(
    "odd", [odd for odd in ODD_RESPONSES if odd.outcome.may_be_accepted], ids=lambda odd: odd.name
)
def test_submission_that_stays_unknown_shows_the_words(
    session: Session, gateway: Gateway, odd: OddResponse
) -> None:
    """Also in the journal, for whoever resumes it; and it is sent once."""
    gateway.odd["submit"] = [odd]
    gateway.has_listing = False
    with pytest.raises(TransportError, match="unknown whether") as caught:
        session.mj.imagine("a fox").run()
    assert shows_words(caught.value, odd)
    assert "this server has no listing" in caught.value.detail
    assert odd.words in session.journal.unresolved()[0].reason
    assert gateway.requests["submit"] == 1


def submit_jobs(session: Session, count: int) -> list[Job]:
    return [session.mj.imagine(f"fox {number}").run() for number in range(count)]


@each_odd_response
def test_odd_poll_of_one_job_is_a_stumble_of_that_poll(
    session: Session, gateway: Gateway, odd: OddResponse
) -> None:
    """Whatever comes once instead of a task, the wait for it and for the others goes on."""
    jobs = submit_jobs(session, 3)
    gateway.odd[f"fetch/{jobs[1].id}"] = [odd]
    done = session.batch(jobs).run()
    assert [job.status for job in done] == [Status.SUCCEEDED] * 3


@each_odd_response
def test_odd_bulk_poll_ends_no_wait(session: Session, gateway: Gateway, odd: OddResponse) -> None:
    gateway.has_bulk_fetch = True
    jobs = submit_jobs(session, 3)
    gateway.odd["bulk"] = [odd]
    done = session.batch(jobs).run()
    assert [job.status for job in done] == [Status.SUCCEEDED] * 3


@each_odd_response
def test_odd_listing_shows_the_words_or_the_truth(
    session: Session, gateway: Gateway, odd: OddResponse
) -> None:
    jobs = submit_jobs(session, 2)
    gateway.odd["list"] = [odd]
    if odd.outcome is Outcome.REFUSAL:
        with pytest.raises(MjciError) as caught:
            session.tasks()
        assert shows_words(caught.value, odd)
        assert gateway.requests["list"] == 1
    assert set(session.tasks()["id"]) == {job.id for job in jobs}


@pytest.mark.parametrize(
    "odd", [odd for odd in ODD_RESPONSES if odd.status >= 300], ids=lambda odd: odd.name
)
def test_odd_picture_shows_the_words_or_the_picture(
    session: Session, gateway: Gateway, odd: OddResponse
) -> None:
    gateway.odd["picture"] = [odd]
    url = f"{gateway.url}/mj/image/0.png"
    if odd.status in (301, 302):
        gateway.odd["picture"] = []
    # A host of pictures knows no codes of the service.
    response = Response(odd.status, odd.content, odd.headers)
    may_pass = classify(response, ServiceCodes()).outcome.may_pass
    if may_pass or not gateway.odd["picture"]:
        assert session.picture(url).run() == PICTURE
        return
    with pytest.raises(MjciError) as caught:
        session.picture(url).run()
    assert shows_words(caught.value, odd)
    assert gateway.requests["picture"] == 1


def test_polls_that_stay_odd_end_the_wait_of_that_job_with_the_words(
    session: Session, gateway: Gateway
) -> None:
    jobs = submit_jobs(session, 3)
    odd = next(odd for odd in ODD_RESPONSES if odd.name == "code 500 with status 500")
    gateway.odd[f"fetch/{jobs[1].id}"] = [odd] * 50
    done = {job.id: job for job in session.batch(jobs).run()}
    assert done[jobs[1].id].status is Status.FAILED
    assert "系统繁忙" in done[jobs[1].id].reason
    assert [done[jobs[index].id].status for index in (0, 2)] == [Status.SUCCEEDED] * 2
