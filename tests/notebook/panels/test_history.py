"""The history and status panels without a browser: filters, selection, plots, active jobs."""

from __future__ import annotations

import datetime
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import TransportError
from jupyter_mjci.history.frames import jobs_to_frame
from jupyter_mjci.notebook.panels import history, shared_history, status, table_panel
from jupyter_mjci.session import Session
from tests.notebook.panels.test_panels import click_and_wait, open_panel, slow_session, wait_idle

__all__ = ["open_panel", "slow_session"]


@pytest.fixture
def session() -> Iterator[Session]:
    with mjci.sandbox(speed=1e6) as session:
        yield session


@pytest.fixture
def history_panel(open_panel: Callable[[str], Any], session: Session) -> Any:
    """A history panel with three jobs of both services."""
    for call in (
        session.mj.imagine("a red fox"),
        session.mj.imagine("a <i>blue</i> whale"),
        session.ci.picture_job(
            input="input/deer.jpg", rule="imageMogr2/rotate/90", output="turned.jpg"
        ),
    ):
        session.follow(call).run()
    panel = open_panel("history")
    wait_idle(panel)
    return panel


def list_subjects(panel: Any) -> list[str]:
    return list(panel.selected["subject"])


def list_grid_rows(panel: Any) -> list[list[Any]]:
    return list(json.loads(panel.grid._dt_args["data_json"]))


def test_history_grid_lists_jobs_newest_first_and_escaped(history_panel: Any) -> None:
    """HTML is escaped in the grid and in the snapshot."""
    assert list_subjects(history_panel) == ["input/deer.jpg", "a <i>blue</i> whale", "a red fox"]
    assert len(list_grid_rows(history_panel)) == 3
    assert "&lt;i&gt;blue" in history_panel.grid._dt_args["data_json"]
    assert "<i>blue" not in history_panel.grid._dt_args["data_json"] + history_panel.static_html()


def test_history_fields_filter_rows(history_panel: Any) -> None:
    """By text, service, action and days."""
    history_panel.filter.value = "WHALE"
    assert list_subjects(history_panel) == ["a <i>blue</i> whale"]
    history_panel.filter.value, history_panel.service.value = "", "ci"
    assert list_subjects(history_panel) == ["input/deer.jpg"]
    history_panel.service.value, history_panel.action.value = "", "IMAGINE"
    assert len(list_subjects(history_panel)) == 2
    history_panel.action.value, history_panel.until.value = "", datetime.date(2025, 12, 31)
    assert list_subjects(history_panel) == []
    history_panel.until.value = history_panel.since.value = datetime.date(2026, 1, 1)
    assert len(list_subjects(history_panel)) == 3
    wait_idle(history_panel)


def test_selected_rows_are_a_frame_and_show_their_pictures(history_panel: Any) -> None:
    """Without a selection `panel.selected` has all rows."""
    history_panel.grid.selected_rows = [0, 2]
    wait_idle(history_panel)
    assert list(history_panel.selected["id"]) == [
        history_panel.filtered["id"].iloc[0],
        history_panel.filtered["id"].iloc[2],
    ]
    assert list(history_panel.selected["service"]) == ["ci", "mj"]
    assert history_panel.pictures.value.count("<img") == 2
    history_panel.grid.selected_rows = []
    wait_idle(history_panel)
    assert len(history_panel.selected) == 3
    assert history_panel.pictures.value == ""


@pytest.mark.parametrize("plot", [plot for _, plot in history.PLOT_OPTIONS if plot])
def test_plot_option_shows_an_image_with_alt_text(history_panel: Any, plot: str) -> None:
    history_panel.analysis.value, history_panel.period.value = plot, "hour"
    wait_idle(history_panel)
    assert history_panel.message.value == ""
    assert 'src="data:image/png;base64,iVBOR' in history_panel.plot.value
    by_hour = "" if history_panel.period.disabled else ", by hour"
    alt = f'alt="{history_panel.analysis.label}{by_hour}, of 3 jobs"'
    assert alt in history_panel.plot.value
    history_panel.analysis.value = ""
    wait_idle(history_panel)
    assert history_panel.plot.value == ""


def test_pickers_are_the_arguments_of_the_python_call(history_panel: Any) -> None:
    """Those that a plot does not take are disabled; a zone that is none is told."""
    pickers = (history_panel.period, history_panel.by, history_panel.tz)
    expected = {
        "success_rate": (False, False, False),
        "timeline": (False, True, False),
        "durations": (True, False, True),
        "lineage": (True, True, True),
    }
    for plot, disabled in expected.items():
        history_panel.analysis.value = plot
        wait_idle(history_panel)
        assert tuple(picker.disabled for picker in pickers) == disabled
    history_panel.analysis.value, history_panel.by.value = "success_rate", "service"
    wait_idle(history_panel)
    assert ", by day, by service, of 3 jobs" in history_panel.plot.value
    in_utc = history_panel.plot.value
    history_panel.tz.value = "Asia/Shanghai"
    wait_idle(history_panel)
    assert history_panel.plot.value != in_utc
    history_panel.tz.value = "Mars"
    wait_idle(history_panel)
    assert "is not a known time zone" in history_panel.message.value


def make_frame(count: int) -> Any:
    start = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return jobs_to_frame(
        Job("mj", str(n), "IMAGINE", Status.SUCCEEDED, subject=f"fox {n}", submitted=start)
        for n in range(count)
    )


def test_long_history_is_sent_to_the_grid_in_pages(
    open_panel: Callable[[str], Any], session: Session, monkeypatch: Any
) -> None:
    """The status line has the total; a selection means the rows of its page."""
    monkeypatch.setattr(session, "history", lambda: make_frame(1_050))
    panel = open_panel("history")
    wait_idle(panel)
    assert "1–500 of 1,050 jobs, newest first" in panel.status_line.value
    assert len(list_grid_rows(panel)) == 500
    assert panel.previous_button.disabled
    for _ in range(3):
        panel.next_button.click()
    assert "1,001–1,050 of 1,050 jobs" in panel.status_line.value
    assert panel.next_button.disabled
    panel.grid.selected_rows = [0]
    assert list_subjects(panel) == ["fox 49"]
    panel.filter.value = "fox 7"
    assert "111 jobs" in panel.status_line.value
    assert panel.page_buttons.layout.display == "none"
    wait_idle(panel)


def test_second_opening_reads_and_draws_nothing_again(
    open_panel: Callable[[str], Any], session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the journal has changed, by anyone."""
    done: list[str] = []
    read, draw = session.history, shared_history._draw

    def count_read() -> Any:
        done.append("read")
        return read()

    def count_draw(*arguments: Any) -> bytes:
        done.append("draw")
        return draw(*arguments)

    session.follow(session.mj.imagine("a red fox")).run()
    monkeypatch.setattr(session, "history", count_read)
    monkeypatch.setattr(shared_history, "_draw", count_draw)
    first, again = (open_panel("history") for _ in range(2))
    wait_idle(first)
    wait_idle(again)
    done.clear()
    third = open_panel("history")
    wait_idle(third)
    assert done == []
    assert third.plot.value == first.plot.value != ""
    third.period.value = "hour"
    wait_idle(third)
    assert done == ["draw"]
    session.follow(session.mj.imagine("a blue whale")).run()
    click_and_wait(third, third.refresh_button)
    wait_idle(third)
    assert done == ["draw", "read", "draw"]
    assert list_subjects(third) == ["a blue whale", "a red fox"]


def test_history_without_itables_is_a_paged_html_table(
    open_panel: Callable[[str], Any], session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page has 25 rows."""
    monkeypatch.setattr(table_panel, "_create_grid", lambda: None)
    monkeypatch.setattr(session, "history", lambda: long)
    long = make_frame(1000)
    panel = open_panel("history")
    wait_idle(panel)
    assert "1–25 of 1,000 jobs" in panel.table.value
    assert panel.table.value.count("<tr>") == 25
    panel.next_button.click()
    assert "26–50 of 1,000 jobs" in panel.table.value
    assert not panel.previous_button.disabled
    wait_idle(panel)


# --- in flight ------------------------------------------------------------------------------------


def test_status_panel_lists_active_jobs_and_reloads_on_new_ones(
    slow_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs submitted before and after it was opened, by anyone."""
    monkeypatch.setattr(status, "RELOAD_DELAY", 0.0)
    slow_session.mj.imagine("a red fox").run()
    panel = mjci.panel("status", slow_session)
    wait_idle(panel)
    assert list_subjects(panel) == ["a red fox"]
    assert 'Midjourney</span> <span class="mjci-faint">answers' in panel.summary.value
    slow_session.ci.picture_job(
        input="input/deer.jpg", rule="imageMogr2/rotate/90", output="o.jpg"
    ).run()
    wait_idle(panel)
    assert list_subjects(panel) == ["input/deer.jpg", "a red fox"]
    panel.close()
    assert panel._on_event not in slow_session.listeners


def test_status_panel_tells_what_was_submitted_today_and_its_cost(slow_session: Session) -> None:
    slow_session.configure(prices={"imagine": 0.25})
    panel = open_status(slow_session, "a red fox", "a blue owl")
    assert "Today: 2 submitted (2 accepted), cost 0.5<" in panel.summary.value
    panel.close()


def test_status_panel_shows_unreachable_and_recovered_service(
    slow_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal's jobs are shown meanwhile."""
    panel = mjci.panel("status", slow_session)
    wait_idle(panel)
    queue = slow_session.mj.queue

    monkeypatch.setattr(slow_session.mj, "queue", lambda: _Failing())
    click_and_wait(panel, panel.refresh_button)
    assert (
        'Midjourney</span> <span class="mjci-faint">The proxy does not answer.'
        in panel.summary.value
    )
    monkeypatch.setattr(slow_session.mj, "queue", queue)
    click_and_wait(panel, panel.refresh_button)
    assert "does not answer" not in panel.summary.value
    panel.close()


def open_status(session: Session, *subjects: str) -> Any:
    """Return a status panel that shows the tasks of these prompts, the newest first."""
    for subject in subjects:
        session.mj.imagine(subject).run()
    panel = mjci.panel("status", session)
    wait_idle(panel)
    assert list(panel.filtered["subject"]) == list(reversed(subjects))
    return panel


def list_card_subjects(panel: Any) -> list[str]:
    return [card.root.job.subject for card in panel._cards]


def test_selected_jobs_are_opened_followed_and_cancelled(slow_session: Session) -> None:
    """Several at once; a job has one card."""
    panel = open_status(slow_session, "a red fox", "a blue whale", "a green frog")
    panel.grid.selected_rows = [0, 2]
    click_and_wait(panel, panel.open_button)
    assert sorted(list_card_subjects(panel)) == ["a green frog", "a red fox"]
    assert not any(card.root.is_followed for card in panel._cards)
    panel.grid.selected_rows = [2]
    followed = threading.Event()
    panel.cards.observe(
        lambda _: followed.set() if list_card_subjects(panel)[:1] == ["a red fox"] else None,
        "children",
    )
    panel.follow_button.click()
    assert followed.wait(60)
    assert len(panel._cards) == 2
    assert panel._cards[0].root.is_followed
    panel._cards[0].stop_all()
    wait_idle(panel)
    panel.grid.selected_rows = [0, 1]
    click_and_wait(panel, panel.cancel_button)
    assert "Asked the service to cancel 2 of 2 jobs." in panel.message.value
    assert list(panel.filtered["subject"]) == ["a red fox"]
    panel.close()


def test_action_without_selection_is_refused(slow_session: Session) -> None:
    """Nothing is cancelled, and the message says what to do."""
    panel = open_status(slow_session, "a red fox")
    click_and_wait(panel, panel.cancel_button)
    assert "No job is selected." in panel.message.value
    assert list(panel.filtered["subject"]) == ["a red fox"]
    panel.select_button.click()
    assert list(panel.grid.selected_rows) == [0]
    assert panel.message.value == ""
    panel.select_button.click()
    assert list(panel.grid.selected_rows) == []
    panel.close()


def test_selection_means_the_rows_that_the_page_showed(slow_session: Session) -> None:
    """A job that has come meanwhile moves the rows: the selection in the page and a click on its
    way still mean the same job.
    """
    panel = open_status(slow_session, "a red fox", "a blue whale")
    shown = panel.version.value
    panel.grid.selected_rows = [1]
    slow_session.mj.imagine("a green frog").run()
    click_and_wait(panel, panel.refresh_button)
    assert list(panel.grid.selected_rows) == [2]
    # a click that was made before the page showed the new rows
    panel.version.value = shown
    panel.grid.selected_rows = [0]
    click_and_wait(panel, panel.cancel_button)
    assert list(panel.filtered["subject"]) == ["a green frog", "a red fox"]
    panel.close()


def test_search_without_hit_says_that_nothing_matches(slow_session: Session) -> None:
    """Unlike a table without rows."""
    panel = open_status(slow_session)
    assert "Nothing is in flight." in panel.status_line.value
    slow_session.mj.imagine("a red fox").run()
    click_and_wait(panel, panel.refresh_button)
    panel.filter.value = "whale"
    assert "No job matches." in panel.status_line.value
    assert "No job matches." in panel.static_html()
    panel.close()


class _Failing:
    def __await__(self) -> Any:
        raise TransportError("The proxy does not answer.")
        yield
