"""Forms take the values that a click brings from the browser, and a click counts once."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import ipywidgets as W
import pytest

import jupyter_mjci as mjci
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.notebook.panels import async_button, submit
from tests.notebook.panels.test_panels import wait_idle

PROMPT = '<span class="mjci-prompt">'


def state(widget: W.Widget, value: object, key: str = "value", touched: int = 1) -> dict[str, Any]:
    """Return a field as the page sends it."""
    return {"id": widget.model_id, "key": key, "value": value, "touched": touched}


@pytest.fixture
def panel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(async_button, "DEBOUNCE", 0.0)
    with mjci.sandbox(speed=1e6) as session:
        panel = mjci.panel("mj", session)
        yield panel
        panel.close()


def click_in_browser(panel: Any, click: str, **fields: object) -> None:
    """Deliver a click as the page sends it."""
    sender = next(w for w in panel_senders(panel) if w.button == panel.submit_button.model_id)
    states = [state(panel.prompt, fields["prompt"])] if "prompt" in fields else []
    sender._handle_custom_msg({"click": click, "fields": states}, [])


def panel_senders(panel: Any) -> list[Any]:
    return [widget for widget in submit.walk_widgets(panel) if hasattr(widget, "button_class")]


def list_subjects(panel: Any) -> list[str]:
    return [task.subject for task in panel.session.mj.tasks().run()]


# --- fields ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("widget", "key", "shown", "read"),
    [
        (W.Textarea(), "value", "雪中的狐狸 🦊", "雪中的狐狸 🦊"),
        (W.IntSlider(1, min=0, max=9), "value", 7, 7),
        (W.FloatSlider(1.0, min=0, max=9), "value", 7, 7.0),
        (W.Checkbox(False), "value", True, True),
        (W.Dropdown(options=[("–", ""), ("3:2", "3:2")]), "label", "3:2", "3:2"),
        (W.Combobox(), "value", "input/deer.jpg", "input/deer.jpg"),
        (W.ColorPicker(), "value", "#ff0000", "#ff0000"),
        (
            W.DatePicker(),
            "value",
            {"year": 2026, "month": 0, "date": 31},
            dt.date(2026, 1, 31),
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, W.Widget) else "",
)
def test_fields_take_the_shown_value(
    widget: W.Widget, key: str, shown: object, read: object
) -> None:
    """Each kind of field that panels have."""
    submit.set_fields(W.VBox([widget]), [state(widget, shown, key)])
    assert widget.value == read


def test_upload_takes_the_shown_files() -> None:
    """Its bytes travel beside the message."""
    upload = W.FileUpload(multiple=True)
    file = {"name": "a.png", "type": "image/png", "size": 3, "last_modified": 1_700_000_000_000}
    submit.set_fields(W.VBox([upload]), [state(upload, [{**file, "content": memoryview(b"abc")}])])
    (chosen,) = upload.value
    assert (chosen["name"], bytes(chosen["content"])) == ("a.png", b"abc")


def test_chosen_option_is_found_after_the_options_have_moved() -> None:
    """It is chosen by its label; its position may mean another one meanwhile."""
    choice = W.Dropdown(options=["any", "IMAGINE", "UPSCALE"])
    choice.options = ["any", "BLEND", "IMAGINE", "UPSCALE"]
    submit.set_fields(W.VBox([choice]), [state(choice, "IMAGINE", "label")])
    assert choice.value == "IMAGINE"


def test_changed_field_that_is_gone_is_refused() -> None:
    """What the person entered cannot be submitted; an untouched field may go."""
    box, gone = W.VBox([W.Text()]), W.Text()
    submit.set_fields(box, [state(gone, "a", touched=0)])
    with pytest.raises(InvalidRequest, match="has changed since"):
        submit.set_fields(box, [state(gone, "a")])


@pytest.mark.parametrize(
    ("widget", "key", "value"),
    [(W.Dropdown(options=["a"]), "label", "b"), (W.IntSlider(), "value", "many")],
)
def test_value_that_does_not_fit_is_refused(widget: W.Widget, key: str, value: object) -> None:
    """Nothing else is submitted in its place."""
    with pytest.raises(InvalidRequest, match="cannot be submitted"):
        submit.set_fields(W.VBox([widget]), [state(widget, value, key)])


def test_last_change_wins_between_fields_that_follow_each_other() -> None:
    """Changes are repeated in the order in which they were made."""
    text, slider = W.Text("1"), W.IntSlider(1)
    slider.observe(lambda change: setattr(text, "value", str(change.new)), "value")
    text.observe(lambda change: setattr(slider, "value", int(change.new)), "value")
    box = W.VBox([text, slider])
    submit.set_fields(box, [state(text, "5", touched=1), state(slider, 8, touched=2)])
    assert (text.value, slider.value) == ("8", 8)
    submit.set_fields(box, [state(slider, 3, touched=1), state(text, "6", touched=2)])
    assert (text.value, slider.value) == ("6", 6)


# --- clicks ---------------------------------------------------------------------------------------


def test_click_submits_the_values_that_it_brings(panel: Any) -> None:
    """Also where the kernel knows only the first letter; each click is answered."""
    panel.prompt.value = "a"
    click_in_browser(panel, "click-1", prompt="a red fox")
    panel.prompt.value = "something later"
    wait_idle(panel)
    assert list_subjects(panel) == ["a red fox"]
    assert {sender.click for sender in panel_senders(panel)} == {""}


def test_repeated_click_is_ignored(panel: Any) -> None:
    """A message may be delivered again after a reconnection."""
    for _ in range(3):
        click_in_browser(panel, "click-1", prompt="a red fox")
        wait_idle(panel)
    assert list_subjects(panel) == ["a red fox"]
    click_in_browser(panel, "click-2", prompt="a red fox")
    wait_idle(panel)
    assert len(list_subjects(panel)) == 2


def test_refused_click_is_answered_and_the_error_leaves_with_its_cause(panel: Any) -> None:
    """The button can be clicked again, and typing removes the message."""
    click_in_browser(panel, "click-1", prompt=" ")
    wait_idle(panel)
    assert "mjci-alert" in panel.message.value
    assert {sender.click for sender in panel_senders(panel)} == {""}
    panel.prompt.value = "a red fox"
    assert panel.message.value == ""


def test_prompt_preview_says_what_will_be_sent_and_what_was(panel: Any) -> None:
    """Will send: before, Sent: after, until the form changes."""
    panel.prompt.value = "a red fox"
    assert f"Will send: {PROMPT}a red fox<" in panel.prompt_preview.value
    panel.submit_button.click()
    wait_idle(panel)
    assert f"Sent: {PROMPT}a red fox<" in panel.prompt_preview.value
    panel.flags["--chaos"].value = 10
    assert f"Will send: {PROMPT}a red fox --chaos 10<" in panel.prompt_preview.value


def test_prompt_of_more_jobs_than_allowed_is_refused(panel: Any) -> None:
    """A permutation prompt makes a task for each combination."""
    panel.session.configure(max_jobs=5)
    panel.prompt.value = "a {red, green, blue} {fox, cat}"
    panel.submit_button.click()
    wait_idle(panel)
    assert "This would submit 6 jobs; at most 5 are allowed" in panel.message.value
    assert list_subjects(panel) == []
