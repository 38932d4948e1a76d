"""A job that does not move: it is told as stalled, and polled on."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pytest

import jupyter_mjci as mjci
from jupyter_mjci.cli.watch import _print_lines
from jupyter_mjci.cli.watch_row import Row
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import WaitTimeout
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.row_batch import RowBatch, load_table
from jupyter_mjci.session import Session

STUCK = "a fox --stuck"  # the sandbox stops it at 46 %, and gives up after five minutes


@pytest.fixture
def session() -> Iterator[Session]:
    # Its time passes slowly enough for a follower to see each state.
    with mjci.sandbox(speed=200, stalled=2) as session:
        yield session


def follow_stuck(session: Session) -> list[Job]:
    return list(session.follow(session.mj.imagine(STUCK, as_is=True)))


def test_job_that_does_not_move_is_reported_once_and_followed_to_its_end(session: Session) -> None:
    """Its last state is reported again as stalled, then what became of it."""
    seen = follow_stuck(session)
    stalled = [job for job in seen if job.is_stalled]
    assert [(job.status, job.progress) for job in stalled] == [(Status.RUNNING, 46)]
    assert seen[seen.index(stalled[0]) + 1 :][-1].status is Status.FAILED
    assert not seen[-1].is_stalled


def test_jobs_that_move_are_not_stalled(session: Session) -> None:
    """Each change begins the count anew, however long the whole takes."""
    seen = list(session.follow(session.mj.imagine("a fox", mode="relax")))
    assert seen[-1].status is Status.SUCCEEDED
    assert not any(job.is_stalled for job in seen)


def test_job_that_moves_again_is_no_longer_stalled(session: Session) -> None:
    """A newer state, here by a webhook, takes it back."""
    seen: list[Job] = []

    def push_progress(event: str, job: Job) -> None:
        """Push a newer state at the first poll after the job was seen to be stalled."""
        if event == "job_updated" and any(state.is_stalled for state in seen):
            raw = {**job.raw, "progress": "61%"}
            moved = Job("mj", job.id, status=Status.RUNNING, progress=61, raw=raw)
            session.listeners.remove(push_progress)
            session._jobs.poller.push(moved)

    session.listeners.append(push_progress)  # called on the thread of the poller
    for job in session.follow(session.mj.imagine(STUCK, as_is=True)):
        seen.append(job)
    states = [(job.progress, job.is_stalled) for job in seen]
    assert states.index((46, True)) < states.index((61, False))


def test_stalled_job_is_told_where_it_is_shown(
    session: Session, capsys: pytest.CaptureFixture[str]
) -> None:
    """On its card, in its line, and by watch."""
    job = next(job for job in follow_stuck(session) if job.is_stalled)
    assert cards.STALLED_NOTE in cards.progress_html(job)
    assert "running 46%, stalled" in cards.progress_html(job)
    assert "(stalled)" in cards.headline(job)
    row = Row((job.service, job.id), job, 0.0)
    with _print_lines({row.key: row}, with_id=True) as emit:
        emit(row)
    assert capsys.readouterr().out == f"{job.id} RUNNING 46 % stalled\n"


def test_card_of_a_batch_names_the_rows_that_are_stalled(session: Session) -> None:
    """By the labels of their rows; those that have ended are left out."""
    frame = pd.DataFrame({"prompt": ["a", STUCK]}, index=["calm", "stuck"])
    calls = [session.mj.imagine(prompt, as_is=True) for prompt in frame["prompt"]]
    batch = RowBatch("%mj_imagine", load_table("frame", {"frame": frame}), calls)
    assert batch._list_stalled() == []
    batch.jobs[1] = next(job for job in follow_stuck(session) if job.is_stalled)
    assert batch._list_stalled() == ["Stalled, and polled on: stuck."]


def test_stalled_job_still_times_out(session: Session) -> None:
    """The report does not lengthen the wait."""
    call = session.mj.imagine(STUCK, as_is=True)
    with pytest.raises(WaitTimeout) as caught:
        session.follow(call, timeout=200).run()
    assert caught.value.job.is_stalled
