"""What is noted of the jobs in each response, and what listeners hear of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client import event_loop
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.session import Session

HOUR = 3600.0


@pytest.fixture
def session() -> Iterator[Session]:
    with mjci.sandbox(speed=float("inf")) as opened:
        yield opened


@pytest.fixture
def ended(session: Session) -> list[Job]:
    """Two tasks that were submitted, and ended while nobody looked."""
    jobs = [session.mj.imagine(prompt).run() for prompt in ("a fox", "an owl")]
    assert session.sandbox is not None
    session.sandbox.clock.advance(HOUR)
    return jobs


def list_unseen(session: Session) -> set[str]:
    return {job.id for job in session.journal.unseen_jobs()}


def test_ends_in_a_listing_are_unseen_but_those_of_followed_jobs(
    session: Session, ended: list[Job]
) -> None:
    """`resume` shows the others, each once: a second listing changes nothing."""
    session.client.followed["mj", ended[1].id] += 1
    assert list_unseen(session) == set()
    session.mj.tasks().run()
    assert list_unseen(session) == {ended[0].id}
    session.client.mark_seen([ended[0]])
    session.mj.tasks().run()
    assert list_unseen(session) == set()


def test_end_of_a_job_that_was_asked_for_is_seen(session: Session, ended: list[Job]) -> None:
    assert session.mj.task(ended[0].id).run().status is Status.SUCCEEDED
    session.mj.tasks().run()
    assert list_unseen(session) == {ended[1].id}


def test_active_jobs_in_a_listing_have_no_end(session: Session) -> None:
    session.mj.imagine("a fox").run()
    session.mj.tasks().run()
    assert list_unseen(session) == set()


def test_listeners_hear_of_all_jobs_and_the_journal_of_changes(session: Session) -> None:
    heard: list[tuple[str, Any]] = []
    session.listeners.append(lambda event, value: heard.append((event, value)))
    job = Job("mj", "17", status=Status.RUNNING, progress=62)
    older = Job("mj", "17", status=Status.RUNNING, progress=15)
    session.client.record([job])
    position = session.journal.position()
    session.client.record([job, older])
    assert heard == [("job_updated", job)] * 2
    assert session.journal.count_changes(position) == (0, 0)
    assert session.client.known_jobs("mj") == [job]
    assert session.client.known_jobs("ci") == []


def test_job_that_changes_is_the_latest(session: Session) -> None:
    for number in ("1", "2"):
        session.client.record([Job("mj", number)])
    session.client.record([Job("mj", "1", status=Status.RUNNING, progress=5)])
    assert [job.id for job in session.client.known_jobs()] == ["2", "1"]


def test_listeners_hear_of_a_submission_before_it_leaves(session: Session) -> None:
    """And of nothing before what only reads."""
    events: list[str] = []
    session.listeners.append(lambda event, _: events.append(event))
    event_loop.run(session.client.send_once(session.mj.imagine("a fox")))
    event_loop.run(session.client.send_once(session.mj.tasks()))
    assert events == ["submitting", "job_updated", "job_updated"]
