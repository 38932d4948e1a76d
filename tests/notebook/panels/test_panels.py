"""Panels without a browser: widgets are filled in and clicked, and the engine's own futures say
when it is done.
"""

from __future__ import annotations

import concurrent.futures
import io
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import anywidget.widget
import ipywidgets as W
import pytest
from PIL import Image

from jupyter_mjci import errors, panel, sandbox
from jupyter_mjci.client.job import Status
from jupyter_mjci.notebook.panels import PANEL_TYPES, base, form
from jupyter_mjci.notebook.panels import html as markup
from jupyter_mjci.session import Session

PATIENCE = 60


@pytest.fixture
def session() -> Iterator[Session]:
    with sandbox(speed=1e6) as one:
        yield one


@pytest.fixture
def opened(session: Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """`opened("mj")`: a panel on a fresh sandbox, closed afterwards."""
    monkeypatch.setattr(base, "HOLD", 0.0)
    made: list[Any] = []

    def open_one(kind: str) -> Any:
        made.append(panel(kind, session))
        return made[-1]

    yield open_one
    for one in made:
        one.close()


def settle(one: Any) -> None:
    """Until the panel has nothing left on the engine."""
    while handles := list(one._under_way):
        assert not concurrent.futures.wait([handle.future for handle in handles], PATIENCE).not_done
        for handle in handles:
            one._forget(handle)


def click(one: Any, button: Any) -> None:
    button.click()
    settle(one)


def named(one: Any, name: str) -> Any:
    """The button in sight with this name."""
    found = [
        widget
        for widget in base.walk_widgets(one)
        if isinstance(widget, W.Button)
        and widget.description == name
        and widget.layout.display != "none"
    ]
    assert found, name
    return found[0]


def names(one: Any) -> list[str]:
    return [widget.description for widget in base.walk_widgets(one) if isinstance(widget, W.Button)]


def html(one: Any) -> str:
    return "".join(widget.value for widget in base.walk_widgets(one) if isinstance(widget, W.HTML))


def photo(colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (400, 200), colour).save(file, "PNG")
    return file.getvalue()


def imagined(opened: Callable[[str], Any], prompt: str = "a red fox") -> Any:
    one = opened("mj")
    one.prompt.value = prompt
    click(one, one.submit)
    return one


# --- forms ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", PANEL_TYPES)
def test_every_panel_opens_without_a_request(opened: Callable[[str], Any], kind: str) -> None:
    """A panel can be made, says its name, and shows a field or a table."""
    one = opened(kind)
    settle(one)
    assert one.title in html(one)
    assert one.message.value == ""


def test_colab_is_told_to_show_our_widgets(
    opened: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shows strangers' widgets only where it is told to. anywidget tells it when one of its
    widgets is made, once in a process; every panel makes one.
    """
    told: list[str] = []
    colab = types.SimpleNamespace(enable_custom_widget_manager=lambda: told.append("told"))
    monkeypatch.setitem(sys.modules, "google.colab.output", colab)  # type: ignore[arg-type]
    anywidget.widget.enable_custom_widget_manager_once.cache_clear()
    opened("status")
    assert told == ["told"]


def test_an_unknown_kind_names_those_that_exist() -> None:
    """A kind that there is not is refused, with the list of those that there are."""
    with pytest.raises(errors.InvalidRequest, match="mj, ci, history, status"):
        panel("gallery")


def test_fields_come_from_the_builder(session: Session) -> None:
    """Each parameter of the builder is a field, with its help; only those named are in sight at
    first.
    """
    made = form.Form(session.ci.picture_job, ("input", "rule", "output"))
    assert [widget.description for widget in made.primary_widgets] == ["Input", "Rule", "Output"]
    assert {"template_id", "picture_info", "level", "callback_format", "callback_mq"} <= set(
        made.fields
    )
    assert made.more_box.layout.display == "none"
    made.more_button.value = True
    assert made.more_box.layout.display == ""
    assert "priority" in made["level"].tooltip


FILLED = (
    ("level", "2", 2),
    ("picture_info", True, True),
    ("callback_format", "JSON", "JSON"),
    ("callback_mq", "MqRegion=sh, MqMode=Queue", {"MqRegion": "sh", "MqMode": "Queue"}),
    ("user_data", " mark ", "mark"),
)


@pytest.mark.parametrize(("name", "filled", "value"), FILLED, ids=[row[0] for row in FILLED])
def test_a_field_gives_the_value_its_builder_wants(
    session: Session, name: str, filled: Any, value: Any
) -> None:
    """What a person fills in becomes the parameter's type; what is left alone is not given at
    all.
    """
    made = form.Form(session.ci.picture_job, ("input", "rule", "output"))
    assert made.build_kwargs() == {"input": "", "output": ""}
    made[name].value = filled
    assert made.build_kwargs() == {"input": "", "output": "", name: value}


def test_a_field_that_cannot_be_read_names_its_flag(session: Session) -> None:
    """A word where a number belongs is refused before anything is sent."""
    made = form.Form(session.ci.picture_job, ("input", "rule", "output"))
    made["level"].value = "high"
    with pytest.raises(errors.InvalidRequest, match="--level must be an integer"):
        made.build_kwargs()


def test_uploaded_pictures_go_with_the_prompt(opened: Callable[[str], Any]) -> None:
    """Reference pictures are given as bytes, and leave as data URLs."""
    one = opened("mj")
    one.prompt.value = "a fox like this"
    sent = {
        "name": "fox.png",
        "type": "image/png",
        "size": 3,
        "content": memoryview(photo()),
        "last_modified": 0,
    }
    upload = one.fields["images"]
    upload.set_trait("value", ({**sent, "last_modified": _moment()},))
    assert b"data:image/png;base64," in one.call().body


def _moment() -> Any:
    import datetime

    return datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


# --- Midjourney -----------------------------------------------------------------------------------


def test_flags_are_added_to_the_prompt_and_shown(opened: Callable[[str], Any]) -> None:
    """The prompt stays as typed; chosen flags follow it, and what will be sent is shown,
    escaped.
    """
    one = opened("mj")
    one.prompt.value = "a <b>red</b> fox  "
    one.flags["--ar"].value = "3:2"
    one.flags["--no"].value = "wolves, snow"
    assert one.whole_prompt() == "a <b>red</b> fox   --ar 3:2 --no wolves, snow"
    assert "&lt;b&gt;red&lt;/b&gt;" in one.sent.value
    assert "<b>red" not in one.sent.value


def test_imagine_shows_the_picture_and_its_buttons(
    opened: Callable[[str], Any], session: Session
) -> None:
    """After a click on Imagine the card holds the picture, the id, and the task's own buttons."""
    one = imagined(opened)
    (job,) = session.known_jobs("mj")
    assert job.status is Status.SUCCEEDED
    assert job.id in html(one)
    assert 'src="data:image/jpeg;base64,' in html(one)
    assert 'alt="IMAGINE: a red fox"' in html(one)
    assert {"U1", "U2", "U3", "U4", "V1", "V4"} <= set(names(one))


def test_a_button_does_the_next_action_in_place(
    opened: Callable[[str], Any], session: Session
) -> None:
    """U2 makes the second task in the same card; the breadcrumb leads back to the first and on to
    the second.
    """
    one = imagined(opened)
    click(one, named(one, "U2"))
    card = one._cards[0]
    first, second = session.known_jobs("mj")
    assert (second.action, second.parent or first.id) == ("UPSCALE", first.id)
    assert len(one._cards) == 1
    assert card.step.job.id == second.id
    assert [button.description for button in card.crumbs.children] == ["Imagine", "› U2"]
    click(one, card.crumbs.children[0])
    assert card.step.job.id == first.id
    assert [button.description for button in card.crumbs.children] == ["Imagine", "→ U2 (done)"]
    assert "mjci-done" in named(one, "U2")._dom_classes
    click(one, named(one, "→ U2 (done)"))
    assert card.step.job.id == second.id


def test_a_dialog_is_answered_on_the_card(opened: Callable[[str], Any], session: Session) -> None:
    """Custom Zoom asks for a prompt; the card asks the person, and goes on with the same task and
    that answer.
    """
    one = imagined(opened)
    click(one, named(one, "U2"))
    card = one._cards[0]
    click(
        one, next(button for button in card.moves.children if "Custom Zoom" in button.description)
    )
    asking = card.step.job
    assert asking.status is Status.NEEDS_INPUT
    assert card.dialog.layout.display == ""
    card.answer.value = "a red fox --zoom 1.7"
    click(one, card.reply_button)
    assert (card.step.job.id, card.step.job.status) == (asking.id, Status.SUCCEEDED)
    assert card.dialog.layout.display == "none"
    assert "1.7" in card.step.job.subject
    assert card.step.shown


def test_a_double_click_submits_once(opened: Callable[[str], Any], session: Session) -> None:
    """A second click before the first is answered is not heard."""
    one = opened("mj")
    one.prompt.value = "a red fox"
    one.submit.click()
    one.submit.click()
    settle(one)
    assert len(session.mj.tasks().run()) == 1
    click(one, one.submit)
    assert len(session.mj.tasks().run()) == 2


def test_a_quick_second_click_is_not_heard_even_after_the_answer(
    opened: Callable[[str], Any], session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For HOLD seconds after a click the button stays shut, however fast the answer was."""
    monkeypatch.setattr(base, "HOLD", 3600.0)
    one = opened("mj")
    one.prompt.value = "a red fox"
    answered = threading.Event()
    session.listeners.append(lambda event, _: answered.set() if event == "job_updated" else None)
    one.submit.click()
    assert answered.wait(PATIENCE)
    one.submit.click()
    assert one.submit.disabled
    one.close()
    assert len(session.mj.tasks().run()) == 1


def test_an_empty_prompt_is_refused_in_the_panel(
    opened: Callable[[str], Any], session: Session
) -> None:
    """Nothing is sent; the panel says what to do."""
    one = opened("mj")
    one.flags["--ar"].value = "3:2"
    click(one, one.submit)
    assert "The prompt is empty." in one.message.value
    assert "Say what to draw." in one.message.value
    assert 'role="alert"' in one.message.value
    assert session.mj.tasks().run() == []


def test_the_next_submission_takes_the_message_away(opened: Callable[[str], Any]) -> None:
    """An error is shown until the next try."""
    one = opened("mj")
    click(one, one.submit)
    one.prompt.value = "a red fox"
    click(one, one.submit)
    assert one.message.value == ""


def test_a_refused_submission_is_shown_in_two_lines(opened: Callable[[str], Any]) -> None:
    """The service's refusal stands in the panel: what, then why and what to do."""
    one = imagined(opened, "a bloody fox")
    assert "<b>The prompt may hold a banned word; nothing was accepted.</b>" in one.message.value
    assert "(bloody) → Rephrase it." in one.message.value
    assert not one._cards


def test_a_task_that_fails_tells_why_on_its_card(opened: Callable[[str], Any]) -> None:
    """A failed task's card says so, with the service's reason."""
    one = imagined(opened, "a fox --fail")
    card = one._cards[0]
    assert card.step.job.status is Status.FAILED
    assert card.step.job.reason
    assert markup.escape(card.step.job.reason) in card.message.value


def test_html_from_the_wire_is_escaped(opened: Callable[[str], Any]) -> None:
    """A prompt that is HTML is shown as text, in the card and in the static record."""
    one = imagined(opened, "<img src=x onerror=alert(1)> fox")
    for shown in (html(one), one.static_html()):
        assert "<img src=x" not in shown
        assert "&lt;img src=x" in shown


def test_an_unforeseen_error_is_shown_not_swallowed(
    opened: Callable[[str], Any], monkeypatch: Any
) -> None:
    """A mistake of ours is named in the panel, and the button can be pressed again."""
    one = opened("mj")
    monkeypatch.setattr(one, "call", lambda: 1 / 0)
    click(one, one.submit)
    assert "ZeroDivisionError" in one.message.value
    assert not one.submit.disabled


# --- watching -------------------------------------------------------------------------------------


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A session whose time hardly moves, so that its jobs stay under way."""
    monkeypatch.setattr(base, "HOLD", 0.0)
    with sandbox(speed=1e-3) as one:
        yield one


def waiting(one: Any) -> Any:
    """Submits, and gives the card once it watches."""
    placed = threading.Event()
    one.cards.observe(lambda _: placed.set(), "children")
    one.submit.click()
    assert placed.wait(PATIENCE)
    return one._cards[0]


def press_and_wait(one: Any, button: Any) -> None:
    """Clicks, and waits for what the click itself does, not for jobs that go on."""
    begun: list[Any] = []
    start = one.start
    one.start = lambda work: begun.append(start(work)) or begun[-1]
    button.click()
    begun[0].result()
    one.start = start


def test_closing_a_panel_ends_its_watching(slow: Session) -> None:
    """A closed panel leaves nothing on the engine, and its widgets are gone; the job goes on."""
    one = panel("mj", slow)
    one.prompt.value = "a red fox"
    waiting(one)
    handles = list(one._tasks)
    assert handles
    one.close()
    assert not concurrent.futures.wait([handle.future for handle in handles], PATIENCE).not_done
    assert one.count_pending() == 0
    assert one.comm is None
    assert one.submit.comm is None
    assert [job.status.is_active for job in slow.mj.tasks().run()] == [True]
    one.submit.click()
    assert one.count_pending() == 0


def test_stop_waiting_leaves_the_job_alone(slow: Session) -> None:
    """Stop waiting ends the watching and says that the job goes on; Wait again picks it up."""
    one = panel("mj", slow)
    one.prompt.value = "a red fox"
    card = waiting(one)
    watch = card.step.watch
    card.stop_button.click()
    settle(one)
    assert watch.done()
    assert "The job goes on" in card.message.value
    assert card.again_button.layout.display == ""
    press_and_wait(one, card.again_button)
    assert card.step.watched
    assert card.stop_button.layout.display == ""
    assert [job.status.is_active for job in slow.mj.tasks().run()] == [True]
    one.close()


def test_removing_a_card_ends_its_watching(slow: Session) -> None:
    """Remove takes the card away, and nothing watches its job any more."""
    one = panel("mj", slow)
    one.prompt.value = "a red fox"
    card = waiting(one)
    click(one, card.remove_button)
    assert one.cards.children == ()
    assert one.count_pending() == 0
    one.close()


# --- Tencent CI -----------------------------------------------------------------------------------


def processed(opened: Callable[[str], Any], session: Session, **filled: str) -> Any:
    session.ci.put_object("input/photo.png", photo(), content_type="image/png").run()
    one = opened("ci")
    for name, value in {
        "input": "input/photo.png",
        "rule": "imageMogr2/rotate/90",
        **filled,
    }.items():
        one.fields[name].value = value
    click(one, one.submit)
    return one


def test_a_rule_gives_before_and_after_with_their_sizes(
    opened: Callable[[str], Any], session: Session
) -> None:
    """The job's card shows the input and the output picture side by side, and how large each is."""
    one = processed(opened, session)
    card = one._cards[0]
    assert card.step.job.status is Status.SUCCEEDED
    captions = [shown.note for shown in (*card.step.given, *card.step.shown)]
    assert "Before · input/photo.png · 400×200 png" in captions[0]
    assert "After · output/photo.png · 200×400 png" in captions[1]
    assert "mjci-pair" in card.pictures.value


def test_an_example_fills_in_the_rule(opened: Callable[[str], Any]) -> None:
    """Each example is a rule that the field then holds."""
    one = opened("ci")
    click(one, named(one, "Rotate 90"))
    assert one.rule.value == "imageMogr2/rotate/90"


def test_every_example_is_a_rule_that_works(session: Session) -> None:
    """The sandbox carries out each of the examples."""
    from jupyter_mjci.notebook.panels.tencent_ci import EXAMPLES

    session.ci.put_object("input/photo.png", photo(), content_type="image/png").run()
    calls = [
        session.ci.picture_job(input="input/photo.png", rule=rule, output=f"out/{n}.png")
        for n, (_, rule) in enumerate(EXAMPLES)
    ]
    assert [(job.status, job.reason) for job in session.batch(calls)] == [
        (Status.SUCCEEDED, "")
    ] * len(EXAMPLES)


def test_a_missing_input_tells_on_the_card_or_in_the_panel(
    opened: Callable[[str], Any], session: Session
) -> None:
    """A key that the bucket does not hold is told with the service's own code."""
    one = processed(opened, session, input="input/none.png")
    assert "NoSuchKey" in html(one) or "none.png" in one._cards[0].message.value


def test_a_job_needs_a_rule(opened: Callable[[str], Any], session: Session) -> None:
    """Without a rule nothing is sent, and the panel gives an example."""
    one = processed(opened, session, rule="")
    assert "needs a rule" in one.message.value
    assert "imageMogr2" in one.message.value


def test_cancel_asks_the_service(slow: Session) -> None:
    """Cancel job on a card sends the service's own cancel."""
    slow.ci.put_object("input/photo.png", photo(), content_type="image/png").run()
    one = panel("ci", slow)
    one.input.value, one.rule.value = "input/photo.png", "imageMogr2/rotate/90"
    card = waiting(one)
    press_and_wait(one, card.cancel_button)
    assert card.step.job.status is Status.CANCELLED
    assert "cancelled" in card.head.value
    one.close()
    assert slow.ci.job(card.step.job.id).run().status is Status.CANCELLED


def test_an_uploaded_picture_becomes_the_input(
    opened: Callable[[str], Any], session: Session
) -> None:
    """An upload goes into the bucket, and its key into the input field."""
    one = opened("ci")
    sent = {
        "name": "mine.png",
        "type": "image/png",
        "size": 3,
        "content": memoryview(photo("blue")),
        "last_modified": _moment(),
    }
    one.upload.set_trait("value", (sent,))
    settle(one)
    assert one.input.value == "input/mine.png"
    assert session.ci.get_object("input/mine.png").run() == photo("blue")


# --- what a saved notebook keeps ------------------------------------------------------------------


def test_the_bundle_holds_the_view_and_a_readable_state(opened: Callable[[str], Any]) -> None:
    """One bundle: the live view, and as HTML and text the prompt, the id and the state as last
    seen.
    """
    one = imagined(opened)
    click(one, named(one, "U2"))
    bundle = one._repr_mimebundle_()
    assert bundle[base.WIDGET_MIME]["model_id"] == one.model_id
    first, second = (step.job for step in one._cards[0].steps())
    for kept in ("text/plain", "text/html"):
        for word in ("a red fox", first.id, second.id, "UPSCALE", "done"):
            assert word in bundle[kept]
    assert 'src="data:image/jpeg;base64,' in bundle["text/html"]
    one.close()
    assert base.WIDGET_MIME not in one._repr_mimebundle_()
