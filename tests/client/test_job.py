"""Buttons have a name for everybody."""

from __future__ import annotations

import math
import pickle

import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Button, Job, Status
from jupyter_mjci.errors import InvalidRequest, JobFailed, MidjourneyError, sanitize

BUTTONS: tuple[tuple[Button, str], ...] = (
    (Button("MJ::JOB::upsample::1::a", "U1"), "U1"),
    (Button("MJ::JOB::reroll::0::a::SOLO", "", "🔄"), "🔄 reroll"),
    (Button("MJ::JOB::pan_left::1::a::SOLO", "", "⬅️"), "⬅️ pan left"),
    (Button("MJ::Job::PicReader::3", "", "3️⃣"), "3️⃣ imagine 3"),
    (Button("MJ::Outpaint::50::1::a", "Zoom Out 2x", "🔍"), "Zoom Out 2x"),
    (Button("MJ::unheard_of", "", "🫥"), "🫥"),
    (Button("MJ::JOB::reroll::0"), "MJ::JOB::reroll::0"),
)


@pytest.mark.parametrize(("button", "title"), BUTTONS, ids=[title for _, title in BUTTONS])
def test_emoji_buttons_have_an_alias_and_are_found_by_it(button: Button, title: str) -> None:
    """And is found by it, by the emoji, and by its customId."""
    assert button.display_name == title
    job = Job("mj", "1", buttons=(Button("MJ::first", "first"), button))
    for name in filter(None, (button.alias.upper(), button.emoji, button.label, button.custom_id)):
        assert job.find_button(name) is button


def test_empty_name_finds_no_button() -> None:
    with pytest.raises(InvalidRequest):
        Job("mj", "1", buttons=(BUTTONS[0][0],)).find_button("")


def test_all_buttons_of_finished_tasks_have_a_word() -> None:
    """In letters."""
    with mjci.sandbox(speed=math.inf) as session:
        grid = session.follow(session.mj.imagine("a fox")).run()
        large = session.follow(session.mj.action(grid, "U1")).run()
    for button in (*grid.buttons, *large.buttons):
        assert any(letter.isalnum() for letter in button.display_name.replace(button.emoji, ""))


HOSTILE = "a \x1b]0;title\x07 red\x9b31m \u202e fox\ud83d\r"


def test_error_messages_are_sanitized() -> None:
    """Neither a job's reason nor a service's message; lines and tabs stay, halves of characters
    go.
    """
    assert sanitize(HOSTILE) == "a �]0;title� red�31m � fox��"
    assert sanitize("a\n\tred fox 🦊") == "a\n\tred fox 🦊"
    for error in (
        JobFailed(Job("mj", "1", reason=HOSTILE)),
        MidjourneyError("No.", service_message=HOSTILE),
    ):
        assert sanitize(HOSTILE) in str(error)
        assert HOSTILE not in str(error)
        str(error).encode()


def test_item_of_a_job_names_one_of_its_pictures() -> None:
    job = Job("mj", "17", "IMAGINE", Status.SUCCEEDED, subject="a red fox")
    picture = job[2]
    assert (picture.job, picture.index) == (job, 2)
    assert {picture, job[2], pickle.loads(pickle.dumps(picture))} == {picture}
    assert repr(picture) == "<picture 2 of IMAGINE 17 SUCCEEDED: a red fox>"
    for wrong in ("2", 1.0, slice(2)):
        with pytest.raises(TypeError):
            job[wrong]
    with pytest.raises(TypeError, match="not iterable"):
        iter(job)
