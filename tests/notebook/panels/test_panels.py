"""Panels without a browser: widgets are filled in and clicked, and their tasks are waited for."""

from __future__ import annotations

import concurrent.futures
import io
import sys
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import anywidget.widget
import ipywidgets as W
import pytest
from PIL import Image

import jupyter_mjci as mjci
from jupyter_mjci import errors
from jupyter_mjci.client.job import Status
from jupyter_mjci.notebook import cards
from jupyter_mjci.notebook.cards import escape_text
from jupyter_mjci.notebook.panels import PANEL_TYPES, async_button, base, form, subshells
from jupyter_mjci.session import Session

TIMEOUT = 60  # seconds


@pytest.fixture
def session() -> Iterator[Session]:
    with mjci.sandbox(speed=1e6) as session:
        yield session


@pytest.fixture
def open_panel(session: Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """`open_panel("mj")` opens a panel on a fresh sandbox; it is closed after the test."""
    monkeypatch.setattr(async_button, "DEBOUNCE", 0.0)
    panels: list[Any] = []

    def open_kind(kind: str) -> Any:
        panels.append(mjci.panel(kind, session))
        return panels[-1]

    yield open_kind
    for panel in panels:
        panel.close()


def wait_idle(panel: Any) -> None:
    """Wait until the panel has no tasks left."""
    while handles := list(panel._tasks):
        assert not concurrent.futures.wait([handle.future for handle in handles], TIMEOUT).not_done
        for handle in handles:
            panel._discard_task(handle)


def click(panel: Any, button: Any) -> None:
    button.click()
    wait_idle(panel)


def find_button(panel: Any, name: str) -> Any:
    """Return the visible button with this label."""
    found = [
        widget
        for widget in subshells.walk_widgets(panel)
        if isinstance(widget, W.Button)
        and widget.description == name
        and widget.layout.display != "none"
    ]
    assert found, name
    return found[0]


def list_button_names(panel: Any) -> list[str]:
    return [
        widget.description
        for widget in subshells.walk_widgets(panel)
        if isinstance(widget, W.Button)
    ]


def render_html(panel: Any) -> str:
    return "".join(
        widget.value for widget in subshells.walk_widgets(panel) if isinstance(widget, W.HTML)
    )


def make_photo(colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (400, 200), colour).save(file, "PNG")
    return file.getvalue()


def submit_prompt(open_panel: Callable[[str], Any], prompt: str = "a red fox") -> Any:
    panel = open_panel("mj")
    panel.prompt.value = prompt
    click(panel, panel.submit_button)
    return panel


# --- forms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mj", "ci", *PANEL_TYPES])
def test_panel_of_each_kind_opens_without_message(
    open_panel: Callable[[str], Any], kind: str
) -> None:
    """A panel shows its title, and no error."""
    panel = open_panel(kind)
    wait_idle(panel)
    assert panel.title in render_html(panel)
    assert panel.message.value == ""


def test_custom_widgets_are_enabled_on_colab(
    open_panel: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Colab shows custom widgets only if asked to. anywidget asks when the first of its widgets is
    created in a process; every panel has one.
    """
    enabled: list[bool] = []
    colab = types.SimpleNamespace(enable_custom_widget_manager=lambda: enabled.append(True))
    monkeypatch.setitem(sys.modules, "google.colab.output", colab)  # type: ignore[arg-type]
    anywidget.widget.enable_custom_widget_manager_once.cache_clear()
    open_panel("status")
    assert enabled == [True]


def test_unknown_kind_is_refused_with_the_available_kinds() -> None:
    with pytest.raises(errors.InvalidRequest, match="mj, ci, history, status"):
        mjci.panel("gallery")


def test_form_has_a_field_for_each_parameter_of_the_builder(session: Session) -> None:
    """Each field has its parameter's help; only the primary ones are visible at first."""
    builder_form = form.Form(session.ci.picture_job, ("input", "rule", "output"))
    assert [widget.description for widget in builder_form.primary_widgets] == [
        "Input",
        "Rule",
        "Output",
    ]
    assert {"template_id", "picture_info", "level", "callback_format", "callback_mq"} <= set(
        builder_form.fields
    )
    assert builder_form.more_box.layout.display == "none"
    builder_form.more_button.value = True
    assert builder_form.more_box.layout.display == ""
    assert "priority" in builder_form["level"].tooltip


FIELD_CASES = (
    ("level", "2", 2),
    ("picture_info", True, True),
    ("callback_format", "JSON", "JSON"),
    ("callback_mq", "MqRegion=sh, MqMode=Queue", {"MqRegion": "sh", "MqMode": "Queue"}),
    ("user_data", " mark ", "mark"),
)


@pytest.mark.parametrize(
    ("name", "typed", "value"), FIELD_CASES, ids=[case[0] for case in FIELD_CASES]
)
def test_field_value_is_converted_to_the_parameter_type(
    session: Session, name: str, typed: Any, value: Any
) -> None:
    """Fields left empty are no keyword arguments."""
    builder_form = form.Form(session.ci.picture_job, ("input", "rule", "output"))
    assert builder_form.build_kwargs() == {"input": "", "output": ""}
    builder_form[name].value = typed
    assert builder_form.build_kwargs() == {"input": "", "output": "", name: value}


def test_field_with_invalid_number_names_its_flag(session: Session) -> None:
    """The error is raised before anything is sent."""
    builder_form = form.Form(session.ci.picture_job, ("input", "rule", "output"))
    builder_form["level"].value = "high"
    with pytest.raises(errors.InvalidRequest, match="--level must be an integer"):
        builder_form.build_kwargs()


def test_uploaded_pictures_are_sent_as_data_urls(open_panel: Callable[[str], Any]) -> None:
    panel = open_panel("mj")
    panel.prompt.value = "a fox like this"
    file = {
        "name": "fox.png",
        "type": "image/png",
        "size": 3,
        "content": memoryview(make_photo()),
        "last_modified": 0,
    }
    upload = panel.fields["images"].upload
    upload.set_trait("value", ({**file, "last_modified": _now()},))
    assert b"data:image/png;base64," in panel.build_call().body


def _now() -> Any:
    import datetime

    return datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


# --- Midjourney -----------------------------------------------------------------------------------


def test_flags_are_appended_to_the_prompt_and_previewed(open_panel: Callable[[str], Any]) -> None:
    """The prompt stays as typed; the preview of what is sent is escaped."""
    panel = open_panel("mj")
    panel.prompt.value = "a <b>red</b> fox  "
    panel.flags["--ar"].value = "3:2"
    panel.flags["--no"].value = "wolves, snow"
    assert panel.build_prompt() == "a <b>red</b> fox   --ar 3:2 --no wolves, snow"
    assert "&lt;b&gt;red&lt;/b&gt;" in panel.prompt_preview.value
    assert "<b>red" not in panel.prompt_preview.value


def test_imagine_shows_picture_id_and_action_buttons(
    open_panel: Callable[[str], Any], session: Session
) -> None:
    panel = submit_prompt(open_panel)
    (job,) = session.client.known_jobs("mj")
    assert job.status is Status.SUCCEEDED
    assert job.id in render_html(panel)
    assert 'src="data:image/jpeg;base64,' in render_html(panel)
    assert 'alt="IMAGINE: a red fox"' in render_html(panel)
    assert {"U1", "U2", "U3", "U4", "V1", "V4"} <= set(list_button_names(panel))


def test_action_button_starts_child_task_in_the_same_card(
    open_panel: Callable[[str], Any], session: Session
) -> None:
    """The breadcrumb leads back to the first task and on to the second."""
    panel = submit_prompt(open_panel)
    click(panel, find_button(panel, "U2"))
    card = panel._cards[0]
    first, second = session.client.known_jobs("mj")
    assert (second.action, second.parent or first.id) == ("UPSCALE", first.id)
    assert len(panel._cards) == 1
    assert card.current.job.id == second.id
    assert [button.description for button in card.breadcrumb.children] == ["Imagine", "› U2"]
    click(panel, card.breadcrumb.children[0])
    assert card.current.job.id == first.id
    assert [button.description for button in card.breadcrumb.children] == [
        "Imagine",
        "→ U2 (succeeded)",
    ]
    assert "mjci-done" in find_button(panel, "U2")._dom_classes
    click(panel, find_button(panel, "→ U2 (succeeded)"))
    assert card.current.job.id == second.id


def test_dialog_answered_on_the_card_continues_the_task(
    open_panel: Callable[[str], Any], session: Session
) -> None:
    """Custom Zoom asks for a prompt; the task continues with the answer."""
    panel = submit_prompt(open_panel)
    click(panel, find_button(panel, "U2"))
    card = panel._cards[0]
    click(
        panel,
        next(
            button for button in card.action_buttons.children if "Custom Zoom" in button.description
        ),
    )
    asking_job = card.current.job
    assert asking_job.status is Status.NEEDS_INPUT
    assert card.dialog.box.layout.display == ""
    card.dialog.prompt.value = "a red fox --zoom 1.7"
    click(panel, card.dialog.submit_button)
    assert (card.current.job.id, card.current.job.status) == (asking_job.id, Status.SUCCEEDED)
    assert card.dialog.box.layout.display == "none"
    assert "1.7" in card.current.job.subject
    assert card.current.pictures


def test_double_click_submits_once(open_panel: Callable[[str], Any], session: Session) -> None:
    """A second click before the response is ignored."""
    panel = open_panel("mj")
    panel.prompt.value = "a red fox"
    panel.submit_button.click()
    panel.submit_button.click()
    wait_idle(panel)
    assert len(session.mj.tasks().run()) == 1
    click(panel, panel.submit_button)
    assert len(session.mj.tasks().run()) == 2


def test_second_click_within_debounce_is_ignored_after_the_response(
    open_panel: Callable[[str], Any], session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The button stays disabled for DEBOUNCE seconds, however fast the response was."""
    monkeypatch.setattr(async_button, "DEBOUNCE", 3600.0)
    panel = open_panel("mj")
    panel.prompt.value = "a red fox"
    responded = threading.Event()
    session.listeners.append(lambda event, _: responded.set() if event == "job_updated" else None)
    panel.submit_button.click()
    assert responded.wait(TIMEOUT)
    panel.submit_button.click()
    assert panel.submit_button.disabled
    panel.close()
    assert len(session.mj.tasks().run()) == 1


def test_empty_prompt_shows_error_and_sends_nothing(
    open_panel: Callable[[str], Any], session: Session
) -> None:
    panel = open_panel("mj")
    panel.flags["--ar"].value = "3:2"
    click(panel, panel.submit_button)
    assert "The prompt is empty." in panel.message.value
    assert "Write what to draw." in panel.message.value
    assert 'role="alert"' in panel.message.value
    assert session.mj.tasks().run() == []


def test_error_message_is_cleared_by_the_next_submission(open_panel: Callable[[str], Any]) -> None:
    panel = open_panel("mj")
    click(panel, panel.submit_button)
    panel.prompt.value = "a red fox"
    click(panel, panel.submit_button)
    assert panel.message.value == ""


def test_refused_submission_shows_reason_and_hint(open_panel: Callable[[str], Any]) -> None:
    panel = submit_prompt(open_panel, "a bloody fox")
    assert "<b>The prompt may contain a banned word" in panel.message.value
    assert "Banned word: bloody. → Rephrase the prompt." in panel.message.value
    assert not panel._cards


def test_failed_task_shows_its_reason_on_the_card(open_panel: Callable[[str], Any]) -> None:
    panel = submit_prompt(open_panel, "a fox --fail")
    card = panel._cards[0]
    assert card.current.job.status is Status.FAILED
    assert card.current.job.reason
    assert escape_text(card.current.job.reason) in card.message.value
    assert escape_text(card.current.job.reason) in panel.static_html()


def test_panel_shows_a_job_as_a_cell_does(open_panel: Callable[[str], Any]) -> None:
    """With the same facts and words, live and saved; a finished one has no bar."""
    panel = submit_prompt(open_panel)
    card = panel._cards[0]
    job = card.current.job
    assert cards.job_html(job) in card.header.value
    assert cards.card_html(job) in panel.static_html()
    assert "progressbar" not in card.header.value
    card.current.job = replace(job, status=Status.RUNNING, progress=42)
    card.render()
    assert "running 42%" in card.header.value
    assert cards.progress_bar_html(card.current.job) in card.header.value


def test_html_in_a_prompt_is_escaped_in_card_and_snapshot(open_panel: Callable[[str], Any]) -> None:
    panel = submit_prompt(open_panel, "<img src=x onerror=alert(1)> fox")
    for page in (render_html(panel), panel.static_html()):
        assert "<img src=x" not in page
        assert "&lt;img src=x" in page


def test_unexpected_exception_is_shown_and_button_enabled_again(
    open_panel: Callable[[str], Any], monkeypatch: Any
) -> None:
    panel = open_panel("mj")
    monkeypatch.setattr(panel, "_build_kwargs", lambda: 1 / 0)
    click(panel, panel.submit_button)
    assert "ZeroDivisionError" in panel.message.value
    assert not panel.submit_button.disabled


# --- watching -------------------------------------------------------------------------------------


@pytest.fixture
def slow_session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A session whose time hardly moves, so that its jobs stay active."""
    monkeypatch.setattr(async_button, "DEBOUNCE", 0.0)
    with mjci.sandbox(speed=1e-3) as session:
        yield session


def submit_and_wait_for_card(panel: Any) -> Any:
    """Click on submit, and return the card once it is added."""
    added = threading.Event()
    panel.cards.observe(lambda _: added.set(), "children")
    panel.submit_button.click()
    assert added.wait(TIMEOUT)
    return panel._cards[0]


def click_and_wait(panel: Any, button: Any) -> None:
    """Click, and wait for the handler, not for the jobs that it starts to follow."""
    tasks: list[Any] = []
    start = panel.start_task
    panel.start_task = lambda work: tasks.append(start(work)) or tasks[-1]
    button.click()
    tasks[0].result()
    panel.start_task = start


def test_closed_panel_stops_following_and_leaves_the_job_running(slow_session: Session) -> None:
    """No tasks are left, the widgets are closed, and later clicks are ignored."""
    panel = mjci.panel("mj", slow_session)
    panel.prompt.value = "a red fox"
    submit_and_wait_for_card(panel)
    handles = list(panel._tasks)
    assert handles
    panel.close()
    assert not concurrent.futures.wait([handle.future for handle in handles], TIMEOUT).not_done
    assert panel.count_pending() == 0
    assert panel.comm is None
    assert panel.submit_button.comm is None
    assert [job.status.is_active for job in slow_session.mj.tasks().run()] == [True]
    panel.submit_button.click()
    assert panel.count_pending() == 0


def test_stop_waiting_leaves_the_job_running_and_wait_again_follows_it(
    slow_session: Session,
) -> None:
    panel = mjci.panel("mj", slow_session)
    panel.prompt.value = "a red fox"
    card = submit_and_wait_for_card(panel)
    watch = card.current.follow_task
    card.stop_button.click()
    wait_idle(panel)
    assert watch.done()
    assert "The job keeps running" in card.message.value
    assert card.resume_button.layout.display == ""
    click_and_wait(panel, card.resume_button)
    assert card.current.is_followed
    assert card.stop_button.layout.display == ""
    assert [job.status.is_active for job in slow_session.mj.tasks().run()] == [True]
    panel.close()


def test_removed_card_stops_following(slow_session: Session) -> None:
    panel = mjci.panel("mj", slow_session)
    panel.prompt.value = "a red fox"
    card = submit_and_wait_for_card(panel)
    click(panel, card.remove_button)
    assert panel.cards.children == ()
    assert panel.count_pending() == 0
    panel.close()


# --- Tencent CI -----------------------------------------------------------------------------------


def submit_rule(open_panel: Callable[[str], Any], session: Session, **fields: str) -> Any:
    session.ci.put_object("input/photo.png", make_photo(), content_type="image/png").run()
    panel = open_panel("ci")
    for name, value in {
        "input": "input/photo.png",
        "rule": "imageMogr2/rotate/90",
        **fields,
    }.items():
        panel.fields[name].value = value
    click(panel, panel.submit_button)
    return panel


def test_card_shows_input_and_output_with_their_sizes(
    open_panel: Callable[[str], Any], session: Session
) -> None:
    panel = submit_rule(open_panel, session)
    card = panel._cards[0]
    assert card.current.job.status is Status.SUCCEEDED
    captions = [image.caption for image in (*card.current.before, *card.current.pictures)]
    assert "Before · input/photo.png · 400×200 png" in captions[0]
    assert "After · output/photo.png · 200×400 png" in captions[1]
    assert "mjci-pair" in card.pictures.value


def test_example_button_fills_in_the_rule(open_panel: Callable[[str], Any]) -> None:
    panel = open_panel("ci")
    click(panel, find_button(panel, "Rotate 90"))
    assert panel.rule.value == "imageMogr2/rotate/90"


def test_example_rules_succeed_in_the_sandbox(session: Session) -> None:
    from jupyter_mjci.notebook.panels.tencent_ci import EXAMPLES

    session.ci.put_object("input/photo.png", make_photo(), content_type="image/png").run()
    calls = [
        session.ci.picture_job(input="input/photo.png", rule=rule, output=f"out/{n}.png")
        for n, (_, rule) in enumerate(EXAMPLES)
    ]
    assert [(job.status, job.reason) for job in session.batch(calls)] == [
        (Status.SUCCEEDED, "")
    ] * len(EXAMPLES)


def test_missing_input_object_shows_the_service_code(
    open_panel: Callable[[str], Any], session: Session
) -> None:
    panel = submit_rule(open_panel, session, input="input/none.png")
    assert "NoSuchKey" in render_html(panel) or "none.png" in panel._cards[0].message.value


def test_submission_without_rule_is_refused_with_an_example(
    open_panel: Callable[[str], Any], session: Session
) -> None:
    panel = submit_rule(open_panel, session, rule="")
    assert "needs a rule" in panel.message.value
    assert "imageMogr2" in panel.message.value


def test_cancel_button_cancels_the_job_at_the_service(slow_session: Session) -> None:
    slow_session.ci.put_object("input/photo.png", make_photo(), content_type="image/png").run()
    panel = mjci.panel("ci", slow_session)
    panel.input.value, panel.rule.value = "input/photo.png", "imageMogr2/rotate/90"
    card = submit_and_wait_for_card(panel)
    click_and_wait(panel, card.cancel_button)
    assert card.current.job.status is Status.CANCELLED
    assert "cancelled" in card.header.value
    panel.close()
    assert slow_session.ci.job(card.current.job.id).run().status is Status.CANCELLED


def test_uploaded_picture_is_stored_and_becomes_the_input(
    open_panel: Callable[[str], Any], session: Session
) -> None:
    panel = open_panel("ci")
    file = {
        "name": "mine.png",
        "type": "image/png",
        "size": 3,
        "content": memoryview(make_photo("blue")),
        "last_modified": _now(),
    }
    panel.upload.set_trait("value", (file,))
    wait_idle(panel)
    assert panel.input.value == "input/mine.png"
    assert session.ci.get_object("input/mine.png").run() == make_photo("blue")


# --- what a saved notebook keeps ------------------------------------------------------------------


def test_mimebundle_has_widget_view_and_readable_snapshot(open_panel: Callable[[str], Any]) -> None:
    """HTML and text have prompt, ID and status; a closed panel has no view."""
    panel = submit_prompt(open_panel)
    click(panel, find_button(panel, "U2"))
    bundle = panel._repr_mimebundle_()
    assert bundle[base.WIDGET_MIME]["model_id"] == panel.model_id
    first, second = (node.job for node in panel._cards[0].root.walk())
    for mime in ("text/plain", "text/html"):
        for word in ("a red fox", first.id, second.id, "UPSCALE", "succeeded"):
            assert word in bundle[mime]
    assert 'src="data:image/jpeg;base64,' in bundle["text/html"]
    assert "<style" not in bundle["text/html"]
    panel.close()
    assert base.WIDGET_MIME not in panel._repr_mimebundle_()
