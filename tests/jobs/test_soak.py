"""What a session holds does not grow with the jobs that it has seen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.jobs import client, webhooks
from jupyter_mjci.jobs.webhooks import WebhookServer
from jupyter_mjci.session import Session
from tests.soak import Usage, find_growth, open_session, run_soak

KEPT = 10
HOURS = 3
JOBS = 20  # in each hour


@pytest.fixture
def few_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (client, webhooks):
        monkeypatch.setattr(module, "MAX_KNOWN_JOBS", KEPT)


@pytest.fixture
def session() -> Iterator[Session]:
    with mjci.sandbox(speed=float("inf")) as opened:
        yield opened


def build_jobs(count: int) -> list[Job]:
    return [Job("mj", str(number), status=Status.SUCCEEDED) for number in range(count)]


@pytest.mark.usefixtures("few_kept")
@pytest.mark.filterwarnings("ignore::jupyter_mjci.errors.JournalWarning")
def test_hours_of_following_and_syncing_with_faults_leave_nothing_behind() -> None:
    with open_session(seed=7) as session:
        usages = list(run_soak(session, HOURS, JOBS, seed=7))
        assert len(session.journal.jobs()) > 0.8 * HOURS * JOBS
    assert find_growth(usages[1:]) == []
    assert usages[-1].objects - usages[0].objects < JOBS, usages


def test_growth_after_the_first_hour_is_named() -> None:
    first = Usage(memory=80_000_000, objects=1, threads=4, descriptors=9)
    assert find_growth([first, Usage(89_000_000, 1_000, 4, 9)]) == []
    later = [Usage(91_000_000, 1, 5, 10), Usage(80_000_000, 1, 4, 9)]
    assert find_growth([first, *later]) == ["memory", "threads", "descriptors"]


@pytest.mark.usefixtures("few_kept")
def test_latest_jobs_are_kept_and_those_that_are_followed(session: Session) -> None:
    jobs = build_jobs(3 * KEPT)
    session.client.followed["mj", "0"] += 1
    for job in jobs:
        session.client.record([job])
    kept = {job.id for job in session.client.known_jobs()}
    assert {"0", *(job.id for job in jobs[-KEPT:])} <= kept
    assert len(kept) < KEPT + 3
    assert len(session.journal.jobs()) == len(jobs)


@pytest.mark.usefixtures("few_kept")
def test_receiver_forgets_the_jobs_of_old_deliveries() -> None:
    with WebhookServer(lambda _: None) as server:
        for job in build_jobs(3 * KEPT):
            assert server._accept_if_newer(job)
            assert not server._accept_if_newer(job)
        assert len(server._jobs) == KEPT
