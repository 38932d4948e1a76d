"""The Chinese catalogue is complete, and what it says is shown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import ipywidgets as W
import pytest
from babel.messages.mofile import read_mo

import jupyter_mjci
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.translation import LANGUAGES, load_catalogue, set_language, translate
from jupyter_mjci.errors import SettingsError
from jupyter_mjci.notebook.batch_cards import BatchSummary, summary_html, summary_text
from jupyter_mjci.notebook.card_actions import list_actions
from jupyter_mjci.notebook.cards import STATUS_LABELS, card_html, card_text
from jupyter_mjci.notebook.panels import list_panel_kinds, page_language
from jupyter_mjci.notebook.panels.midjourney import FORM_LABELS
from jupyter_mjci.notebook.panels.subshells import walk_widgets
from jupyter_mjci.session import Session
from tests import messages

TRANSLATED = LANGUAGES[1:]


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    yield
    set_language("en")


@pytest.fixture
def session() -> Iterator[Session]:
    with jupyter_mjci.sandbox(speed=math.inf) as session:
        session.configure(language="zh")
        yield session


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_message_is_translated_and_none_is_stale(language: str) -> None:
    catalogue = messages.load_catalogue(language)
    translated = {each.id for each in catalogue if each.id and each.string and not each.fuzzy}
    assert translated == messages.find_messages()


@pytest.mark.parametrize("language", TRANSLATED)
def test_compiled_catalogue_is_up_to_date(language: str) -> None:
    """If this fails: python -m tests.messages."""
    with messages.locate(language, "mo").open("rb") as file:
        compiled = read_mo(file)
    # The header has the time and the version that compiled it.
    expected = {each.id: each.string for each in messages.load_catalogue(language) if each.id}
    assert {each.id: each.string for each in compiled if each.id} == expected


def test_statuses_of_cards_are_chinese() -> None:
    set_language("zh")
    for status, label in STATUS_LABELS.items():
        html = card_html(Job("mj", "1", "IMAGINE", status))
        assert translate(label) in html
        assert f">{label}<" not in html


def test_every_button_of_the_proxy_has_a_chinese_name(session: Session) -> None:
    """But U1 to V4, which are the same in both."""
    job = session.follow(session.mj.imagine("a red fox")).run()
    upscaled = session.follow(session.mj.action(job, "U1")).run()
    set_language("zh")
    for action in (*list_actions(job), *list_actions(upscaled)):
        words = translate(action.label)
        assert not any(letter.isascii() and letter.islower() for letter in words), words


# What stays as it is in any language: values of the services,
# columns of frames, names of zones.
NAMES = re.compile(
    r"[\W\d]*$|[A-Z_]+|[UV]\d|service|action|origin|account|queue|rule|bucket|reason|fast|relax|turbo|Url|high|low"
    r"|vid[\w.]+( or vid[\w.]+)?"
    r"|[^a-z]*<.*>.*|Kafka|Midjourney|Tencent CI|(north|south|center)?(east|west)?|\d+:\d+|[\w-]+/"
)


TEXT_TRAITS = ("description", "tooltip", "placeholder")


@pytest.mark.parametrize("kind", list_panel_kinds())
def test_labels_and_help_of_panels_are_chinese(session: Session, kind: str) -> None:
    """Of every field, also of those that are folded away, and of what can be chosen."""
    job = session.follow(session.mj.imagine("a red fox")).run()
    panel: Any = jupyter_mjci.panel(kind, session=session)
    if kind == "mj":
        for name in FORM_LABELS:
            panel.task.value = name
        panel._add_card(job, "Imagine")
    if kind == "ci":
        panel.rule.value = "imageMogr2/thumbnail/600x/blur/8x5|watermark/2/text/bWpjaQ"
    panel.wait()
    labels = []
    for widget in walk_widgets(panel):
        if not isinstance(widget, W.Combobox):
            labels += getattr(widget, "_options_labels", ())
        labels += [getattr(widget, name, None) or "" for name in TEXT_TRAITS]
    panel.close()
    english = {label for label in labels if label.isascii() and not NAMES.fullmatch(label)}
    assert not english, english


@pytest.mark.parametrize("kind", list_panel_kinds())
def test_panels_show_chinese_buttons(session: Session, kind: str) -> None:
    panel = jupyter_mjci.panel(kind, session=session)
    labels = [
        widget.description
        for widget in walk_widgets(panel)
        if type(widget).__name__ in ("Button", "FormButton", "ToggleButton") and widget.description
    ]
    panel.close()
    assert labels
    # The bucket's folders and keys may be listed by now.
    own = [label for label in labels if "/" not in label and "." not in label]
    assert [label for label in own if label.isascii()] == []


def test_counts_of_batch_cards_are_chinese() -> None:
    """But not the plain text."""
    set_language("zh")
    summary = BatchSummary("foxes", {Status.SUCCEEDED: 2, Status.FAILED: 1})
    assert "3 个任务, 2 成功, 1 失败" in summary_html(summary)
    assert summary_text(summary) == "foxes: 3 jobs, 2 succeeded, 1 failed"


def test_data_and_text_for_programs_stay_english() -> None:
    set_language("zh")
    assert "SUCCEEDED" in card_text(Job("mj", "1", "IMAGINE", Status.SUCCEEDED))
    assert translate("") == ""
    assert translate("a text without a translation") == "a text without a translation"


def test_auto_writes_english_and_the_page_gets_the_catalogue(session: Session) -> None:
    """Nothing is in the state of the widget, which may be saved."""
    session.configure(language="auto")
    panel = jupyter_mjci.panel("mj", session=session)
    panel.close()
    assert translate("Imagine") == "Imagine"
    page = page_language._get_page_language()
    assert page.is_enabled
    assert load_catalogue("zh")["Imagine"] == "绘图"
    assert load_catalogue("de") == {}
    assert not re.search("[\u4e00-\u9fff]", str(page.get_state(["is_enabled"])))
    session.configure(language="en")
    jupyter_mjci.panel("mj", session=session).close()
    assert not page.is_enabled


def test_unknown_language_is_refused(session: Session) -> None:
    with pytest.raises(SettingsError, match="Use one of: auto, en, zh"):
        session.configure(language="fr")
