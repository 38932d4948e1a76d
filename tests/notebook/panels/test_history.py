"""The history and status panels without a browser: finding, selecting, plotting, what is in
flight.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from jupyter_mjci import panel, sandbox
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import TransportError
from jupyter_mjci.history.frames import jobs_to_frame
from jupyter_mjci.notebook.panels import history, status, table_panel
from jupyter_mjci.session import Session
from tests.notebook.panels.test_panels import opened, press_and_wait, settle, slow

__all__ = ["opened", "slow"]


@pytest.fixture
def session() -> Iterator[Session]:
    with sandbox(speed=1e6) as one:
        yield one


@pytest.fixture
def past(opened: Callable[[str], Any], session: Session) -> Any:
    """A history panel over three jobs of both services."""
    for call in (
        session.mj.imagine("a red fox"),
        session.mj.imagine("a <i>blue</i> whale"),
        session.ci.picture_job(
            input="input/deer.jpg", rule="imageMogr2/rotate/90", output="turned.jpg"
        ),
    ):
        session.follow(call).run()
    one = opened("history")
    settle(one)
    return one


def subjects(one: Any) -> list[str]:
    return list(one.selected["subject"])


def rows_of(one: Any) -> list[list[Any]]:
    return list(json.loads(one.grid._dt_args["data_json"]))


def test_every_job_is_a_row_newest_first(past: Any) -> None:
    """The grid holds what the journal knows; HTML from the wire is escaped, there and in the
    record.
    """
    assert subjects(past) == ["input/deer.jpg", "a <i>blue</i> whale", "a red fox"]
    assert len(rows_of(past)) == 3
    assert "&lt;i&gt;blue" in past.grid._dt_args["data_json"]
    assert "<i>blue" not in past.grid._dt_args["data_json"] + past.static_html()


def test_fields_find_rows(past: Any) -> None:
    """Text, service, action and days each leave the rows that fit."""
    past.filter.value = "WHALE"
    assert subjects(past) == ["a <i>blue</i> whale"]
    past.filter.value, past.service.value = "", "ci"
    assert subjects(past) == ["input/deer.jpg"]
    past.service.value, past.action.value = "", "IMAGINE"
    assert len(subjects(past)) == 2
    past.action.value, past.until.value = "", datetime.date(2025, 12, 31)
    assert subjects(past) == []
    past.until.value = past.since.value = datetime.date(2026, 1, 1)
    assert len(subjects(past)) == 3
    settle(past)


def test_selected_rows_are_a_frame_and_their_pictures_are_seen(past: Any) -> None:
    """What is selected in the grid is `panel.selected`, in Python; its pictures stand below."""
    past.grid.selected_rows = [0, 2]
    settle(past)
    assert list(past.selected["id"]) == [past.filtered["id"].iloc[0], past.filtered["id"].iloc[2]]
    assert list(past.selected["service"]) == ["ci", "mj"]
    assert past.pictures.value.count("<img") == 2
    past.grid.selected_rows = []
    settle(past)
    assert len(past.selected) == 3
    assert past.pictures.value == ""


@pytest.mark.parametrize("plot", [plot for _, plot in history.PLOT_OPTIONS if plot])
def test_every_analysis_is_a_plot(past: Any, plot: str) -> None:
    """Each choice draws a picture of the rows that were found, with words for who cannot see it."""
    past.analysis.value, past.period.value = plot, "hour"
    settle(past)
    assert past.message.value == ""
    assert 'src="data:image/png;base64,iVBOR' in past.plot.value
    assert f'alt="{past.analysis.label}, by hour, of 3 jobs"' in past.plot.value
    past.analysis.value = ""
    settle(past)
    assert past.plot.value == ""


def many(count: int) -> Any:
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return jobs_to_frame(
        Job("mj", str(n), "IMAGINE", Status.SUCCEEDED, subject=f"fox {n}", submitted=start)
        for n in range(count)
    )


def test_a_long_history_shows_its_newest(
    opened: Callable[[str], Any], session: Session, monkeypatch: Any
) -> None:
    """The grid is given ten thousand rows at most, and the panel says of how many; the fields find
    the others.
    """
    long = many(10_050)
    monkeypatch.setattr(session, "history", lambda: long)
    one = opened("history")
    settle(one)
    assert "the newest 10,000 of 10,050 jobs" in one.note.value
    assert len(rows_of(one)) == 10_000
    one.filter.value = "fox 49"
    settle(one)
    assert "fox 49" in subjects(one)


def test_without_itables_the_table_is_plain(
    opened: Callable[[str], Any], session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page holds 25 rows, whatever the frame holds."""
    monkeypatch.setattr(table_panel, "_create_grid", lambda: None)
    monkeypatch.setattr(session, "history", lambda: long)
    long = many(1000)
    one = opened("history")
    settle(one)
    assert "1–25 of 1000" in one.table.value
    assert one.table.value.count("<tr>") == 25
    one.next_button.click()
    assert "26–50 of 1000" in one.table.value
    assert not one.previous_button.disabled
    settle(one)


# --- in flight ------------------------------------------------------------------------------------


def test_the_status_panel_shows_what_is_in_flight(
    slow: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that moves is in flight, whoever started it and whenever; the panel hears of a later
    one by itself.
    """
    monkeypatch.setattr(status, "RELOAD_DELAY", 0.0)
    slow.mj.imagine("a red fox").run()
    one = panel("status", slow)
    settle(one)
    assert subjects(one) == ["a red fox"]
    assert 'Midjourney</span> <span class="mjci-faint">answers' in one.summary.value
    slow.ci.picture_job(input="input/deer.jpg", rule="imageMogr2/rotate/90", output="o.jpg").run()
    settle(one)
    assert subjects(one) == ["input/deer.jpg", "a red fox"]
    one.close()
    assert one._on_event not in slow.listeners


def test_a_service_that_went_away_and_came_back(
    slow: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The panel says which one does not answer, shows what is known, and says when it is back."""
    one = panel("status", slow)
    settle(one)
    queue = slow.mj.queue

    monkeypatch.setattr(slow.mj, "queue", lambda: _Failing())
    press_and_wait(one, one.refresh_button)
    assert (
        'mjci-FAILED">Midjourney</span> <span class="mjci-faint">The proxy does not answer.'
        in one.summary.value
    )
    monkeypatch.setattr(slow.mj, "queue", queue)
    press_and_wait(one, one.refresh_button)
    assert "does not answer" not in one.summary.value
    one.close()


class _Failing:
    def __await__(self) -> Any:
        raise TransportError("The proxy does not answer.")
        yield
