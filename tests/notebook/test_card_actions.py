"""Buttons under the cards of finished jobs: what they do, and that each click does it once."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

import jupyter_mjci
from jupyter_mjci.client.job import Job
from jupyter_mjci.notebook import card_actions
from jupyter_mjci.notebook.card_actions import CardButtons, attach_actions, get_card_buttons
from jupyter_mjci.session import Session
from tests.notebook.test_job_display import save_outputs

DONE = "Not saved in the notebook; it is shown again by %mj_task"


class Page:
    """The browser's side: it clicks, and keeps what it is sent."""

    def __init__(self, buttons: CardButtons) -> None:
        self.widget = buttons.widget
        self.messages: list[dict[str, Any]] = []
        self.files: list[bytes] = []
        self.arrived = threading.Condition()
        self.widget.send = self._receive

    def _receive(self, content: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        with self.arrived:
            self.messages.append(content)
            self.files += buffers or []
            self.arrived.notify_all()

    def click(self, job: Job, label: str, name: str = "first") -> None:
        (key,) = (each["key"] for each in self.widget.cards[job.id] if each["label"] == label)
        self.widget._handle_custom_msg({"click": name, "job": job.id, "key": key}, [])

    def wait(self, has_come: Callable[[], bool]) -> None:
        with self.arrived:
            assert self.arrived.wait_for(has_come, 30), self.messages

    def answers(self, click: str = "first") -> list[str]:
        return [each["html"] for each in self.messages if each.get("click") == click]


@pytest.fixture
def page() -> Iterator[Page]:
    get_card_buttons.cache_clear()
    yield Page(get_card_buttons())
    get_card_buttons.cache_clear()


@pytest.fixture
def job(session: Session, page: Page) -> Job:
    job = session.follow(session.mj.imagine("a red fox --ar 3:2")).run()
    attach_actions(session, job)
    return job


def count_jobs(session: Session) -> int:
    return len(session.mj.tasks().run())


def test_finished_card_has_the_jobs_buttons_and_ours(page: Page, job: Job) -> None:
    labels = [each["label"] for each in page.widget.cards[job.id]]
    assert {"U1", "V4", "Download", "Use again"} <= set(labels)
    assert len(labels) == len(job.buttons) + 2
    assert page.widget.cards[job.id][0]["tooltip"] == f"%mj_action {job.id} U1"


def test_click_presses_the_button_and_shows_its_job(page: Page, job: Job, session: Session) -> None:
    page.click(job, "U1")
    page.wait(lambda: any(DONE in html for html in page.answers()))
    assert "progressbar" in page.answers()[0]
    last = page.answers()[-1]
    assert "UPSCALE" in last
    assert "data:image/" in last
    assert 'class="mjci-job mjci-succeeded ' in last
    assert count_jobs(session) == 2


def test_click_that_arrives_twice_submits_once(page: Page, job: Job, session: Session) -> None:
    page.click(job, "U1")
    page.click(job, "U1")
    page.wait(lambda: any(DONE in html for html in page.answers()))
    assert count_jobs(session) == 2


def test_second_click_before_the_answer_is_ignored(
    page: Page, job: Job, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another click reaches the kernel while the first is being submitted."""
    started: list[Any] = []
    monkeypatch.setattr(card_actions.event_loop, "start", started.append)
    page.click(job, "U1", "first")
    page.click(job, "U2", "second")
    assert len(started) == 1
    started[0].close()
    assert page.answers("second") == [""]


def test_refused_click_says_why(page: Page, job: Job, session: Session) -> None:
    gone = replace(job, id="999")
    attach_actions(session, gone)
    page.click(gone, "U1")
    page.wait(lambda: bool(page.answers()))
    assert "mjci-job-why" in page.answers()[0]
    assert count_jobs(session) == 1


def test_download_sends_the_file(page: Page, job: Job, session: Session) -> None:
    page.click(job, "Download")
    page.wait(lambda: bool(page.answers()))
    assert page.files == [bytes(session.picture(job).run())]
    assert f"Saved: a-red-fox-ar-3-2-{job.id}." in page.answers()[0]


def test_use_again_copies_the_line_that_was_asked(page: Page, job: Job) -> None:
    page.click(job, "Use again")
    page.wait(lambda: bool(page.answers()))
    assert {"job": job.id, "cell": "%mj_imagine a red fox --ar 3:2"} in page.messages


def test_cards_beyond_the_limit_lose_their_buttons(
    page: Page, job: Job, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card_actions, "MAX_CARDS", 1)
    other = session.follow(session.mj.imagine("a blue fox")).run()
    attach_actions(session, other)
    assert list(page.widget.cards) == [other.id]


def test_card_of_a_job_in_the_background_gets_its_buttons(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    with jupyter_mjci.sandbox(speed=math.inf) as session:
        cell = "%mj_imagine --no-wait -o job a red fox\njob = job.result()"
        save_outputs(monkeypatch, "live", cell, session)
        (job,) = session.mj.tasks().run()
        page_labels = [each["label"] for each in page.widget.cards[job.id]]
    assert {"U1", "Download"} <= set(page_labels)


@pytest.mark.parametrize(("mode", "count"), [("live", 1), ("headless", 0)])
def test_only_live_cells_have_buttons(
    page: Page, monkeypatch: pytest.MonkeyPatch, mode: str, count: int
) -> None:
    with jupyter_mjci.sandbox(speed=math.inf) as session:
        outputs = save_outputs(monkeypatch, mode, "%mj_imagine a red fox", session)
    assert len(page.widget.cards) == count
    assert "<button" not in str(outputs)
