"""Jobs of a service that is not installed any more: shown, listed, analysed, and not followed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import SettingsError
from jupyter_mjci.notebook.cards import card_html, card_text
from jupyter_mjci.session import Session

HINT = "Install the package mjci_replicate"


@pytest.fixture
def jobs(uninstall: Callable[[], None], tmp_path: Path) -> list[Job]:
    """A finished and a running prediction in a journal, whose service is uninstalled then."""
    with mjci.sandbox(speed=math.inf, home=tmp_path / "old") as session:
        transport = session.sandbox.transport()
        with Session(session.settings, clock=session.client.clock, transport=transport) as other:
            finished = other.follow(other.rp.predict("a fox", model="a/b")).run()
            running = other.rp.predict("an owl", model="a/b").run()
        assert len(session.rp.predictions().run()) == 2
    uninstall()
    return [finished, running]


@pytest.fixture
def later(jobs: list[Job], tmp_path: Path) -> Iterator[Session]:
    with mjci.sandbox(speed=math.inf, home=tmp_path / "old") as session:
        yield session


def test_history_lists_and_analyses_them(later: Session) -> None:
    later.follow(later.mj.imagine("a dog")).run()
    frame = later.history()
    assert sorted(frame["service"]) == ["mj", "rp", "rp"]
    assert "rp" in set(later.history(service="rp")["service"])
    assert set(frame.mjci.success_rate(by="service").reset_index()["service"]) == {"mj", "rp"}


def test_card_shows_them(later: Session, jobs: list[Job]) -> None:
    finished, _ = jobs
    assert "a fox" in card_html(finished)
    assert finished.id in card_text(finished)


@pytest.mark.parametrize("by_id", [True, False])
def test_following_names_the_missing_package(later: Session, jobs: list[Job], by_id: bool) -> None:
    _, running = jobs
    for start in (later.follow, later.describe, later.cancel):
        with pytest.raises(SettingsError, match="service 'rp' is not installed") as caught:
            start(running.id if by_id else running).run()  # type: ignore[operator]
        assert HINT in caught.value.hint


def test_batch_follows_the_others(later: Session, jobs: list[Job]) -> None:
    _, running = jobs
    done = later.batch([running, later.mj.imagine("a dog")]).run()
    by_service = {job.service: job for job in done}
    assert by_service["mj"].status is Status.SUCCEEDED
    # Nothing is known of its end: it is shown as it was, with the reason.
    assert by_service["rp"].status is running.status
    assert "not installed" in by_service["rp"].reason
    assert HINT in by_service["rp"].reason


def test_resume_leaves_them_alone(later: Session) -> None:
    assert later.resume().run() == []


def test_package_of_an_unknown_service_is_described(later: Session, jobs: list[Job]) -> None:
    job = Job("xx", "1", status=Status.RUNNING)
    with pytest.raises(SettingsError) as caught:
        later.follow(job).run()
    assert "entry point jupyter_mjci.services: xx" in caught.value.hint
