"""The speed of one task: where each family takes it, and what is refused before it is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Job
from jupyter_mjci.emulator.faults import Fault
from jupyter_mjci.errors import InvalidRequest, Unsupported
from jupyter_mjci.services.midjourney import reconciliation
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.midjourney.modes import read_mode

FAST = float("inf")


@pytest.mark.parametrize(
    ("style", "path", "fields"),
    [
        ("path", "/mj-relax/mj/submit/imagine", {"prompt": "a fox"}),
        (
            "filter",
            "/mj/submit/imagine",
            {"prompt": "a fox", "accountFilter": {"modes": ["RELAX"]}},
        ),
        ("flag", "/mj/submit/imagine", {"prompt": "a fox --relax"}),
    ],
)
def test_mode_stands_where_the_setting_says(style: str, path: str, fields: dict[str, Any]) -> None:
    """The path, the account filter or the prompt; any case is understood."""
    mode: Any = "Relax"
    call = Midjourney(None, style).imagine("a fox", mode=mode)
    assert call.path == path
    assert json.loads(call.body) == {"base64Array": [], **fields}


def test_call_without_mode_is_unchanged() -> None:
    """The styles differ only where a mode is asked for."""
    calls = [Midjourney(None, style).imagine("a fox") for style in ("path", "filter", "flag")]
    assert len({(call.path, call.body) for call in calls}) == 1


@pytest.mark.parametrize(
    ("style", "prompt", "mode", "words"),
    [
        ("path", "a fox", "slow", "'slow' is not a mode"),
        ("path", "a fox --fast", "relax", "The prompt says --fast, and the mode is relax"),
        ("flag", "a {red --turbo, blue} fox", "fast", "The prompt says --turbo"),
        ("filter", "a fox", "", "'' is not a mode"),
    ],
)
def test_mode_that_cannot_be_is_refused_before_sending(
    style: str, prompt: str, mode: Any, words: str
) -> None:
    """An unknown mode, and one that the prompt contradicts, in any of its permutations."""
    with pytest.raises(InvalidRequest, match=words):
        Midjourney(None, style).imagine(prompt, mode=mode)


def test_flag_of_the_same_mode_is_not_doubled() -> None:
    """The prompt that says so already is sent as it is; words in quotation marks are no flag."""
    mj = Midjourney(None, "flag")
    assert json.loads(mj.imagine("a fox --relax", mode="relax").body)["prompt"] == "a fox --relax"
    quoted = json.loads(mj.imagine('a sign "go --fast"', mode="relax").body)["prompt"]
    assert quoted == 'a sign "go --fast" --relax'


def test_button_has_no_prompt_for_a_flag() -> None:
    """Where only the flag counts, a button's speed cannot be asked for: that is said."""
    with pytest.raises(InvalidRequest, match="no prompt that could hold --turbo"):
        Midjourney(None, "flag").action("17", "MJ::JOB::upsample::1::x", mode="turbo")


@pytest.mark.parametrize("builder", ["describe", "blend", "swap", "video", "retexture", "edits"])
def test_every_submission_takes_a_mode(builder: str) -> None:
    """The path's prefix comes before the whole path, also before /mj/insight-face."""
    picture = "https://pictures.example/a.png"
    arguments: dict[str, tuple[Any, ...]] = {
        "describe": (picture,),
        "blend": ([picture, picture],),
        "swap": (picture, picture),
        "video": (f"{picture} a fox",),
    }
    build = getattr(Midjourney(), builder)
    call = build(*arguments.get(builder, ("a fox", picture)), mode="turbo")
    assert call.path.startswith("/mj-turbo/mj/")


@pytest.mark.parametrize(
    ("dialect", "read"),
    [
        ("trueai", lambda job: job.raw["mode"].casefold()),
        ("plus", lambda job: job.raw["properties"]["messageContent"].partition("> (")[2][:-1]),
        ("java", lambda job: job.subject.rpartition("--")[2]),
    ],
)
def test_sandbox_of_each_family_draws_in_the_mode(dialect: str, read: Any) -> None:
    """A sandbox's session asks where its family looks, and the task tells the mode."""
    with mjci.sandbox(speed=FAST, dialect=dialect) as s:
        job = s.follow(s.mj.imagine("a fox", mode="relax")).run()
    assert read(job) == "relax"


def test_relay_takes_the_mode_in_the_path() -> None:
    """A relay has any mode in the path."""
    with mjci.sandbox(speed=FAST, dialect="new-api") as s:
        assert s.mj.imagine("a fox", mode="turbo").path == "/mj-turbo/mj/submit/imagine"
        assert s.follow(s.mj.imagine("a fox", mode="turbo")).run().outputs


@pytest.mark.parametrize("dialect", ["trueai", "plus", "java"])
def test_lost_answer_with_mode_is_found_again(dialect: str) -> None:
    """The marker stands in the body whatever the path is: the task is made once, and adopted."""
    faults = [Fault("drop_after", route="POST /*submit/imagine", times=1)]
    with mjci.sandbox(speed=FAST, dialect=dialect, faults=faults) as s:
        job = s.mj.imagine("a fox", mode="relax").run()
        (row,) = s.journal.submissions()
        assert s.sandbox is not None
        assert s.sandbox.faults.count == 1
        assert (row.state, row.job_id) == ("accepted", job.id)
        assert [task.id for task in s.mj.tasks().run()] == [job.id]


def test_row_of_the_journal_restores_the_mode() -> None:
    """What is resumed goes to the path and with the body that it was sent with."""
    with mjci.sandbox(speed=FAST, dialect="trueai") as s:
        s.mj.imagine("a fox", mode="turbo").run()
        (row,) = s.journal.submissions()
    call = reconciliation.restore_call(None, row.name, row.path, row.body)
    assert read_mode(call.path, json.loads(call.body)) == "turbo"


@pytest.mark.parametrize("dialect", ["plus", "java"])
def test_server_without_the_path_refuses_and_the_hint_names_the_setting(dialect: str) -> None:
    """Nothing is drawn at another speed unnoticed, and a button does not go round in circles."""
    with mjci.sandbox(speed=FAST, dialect=dialect, mj_mode_by="path") as s:
        with pytest.raises(Unsupported) as caught:
            s.mj.imagine("a fox", mode="relax").run()
        assert "MJCI_MJ_MODE_BY" in caught.value.hint
        grid: Job = s.follow(s.mj.imagine("a fox")).run()
        with pytest.raises(Unsupported):
            s.mj.change(grid.id, "UPSCALE", 1, mode="relax").run()
        states = [row.state for row in s.journal.submissions()]
        assert states.count("accepted") == 1
        assert set(states) == {"rejected", "accepted"}


def test_fallback_by_a_button_keeps_the_mode() -> None:
    """A server without `change` is asked for the button's task at the same speed."""
    with mjci.sandbox(speed=FAST, dialect="trueai") as s:
        grid = s.follow(s.mj.imagine("a fox")).run()
        job = s.follow(s.mj.change(grid.id, "VARIATION", 1, mode="turbo")).run()
    assert job.raw["mode"].casefold() == "turbo"
