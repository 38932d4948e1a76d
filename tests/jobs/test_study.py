"""Studies: what is built before anything is sent, what a run gives, nothing is made twice."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.clock import ScaledClock
from jupyter_mjci.errors import InvalidRequest, PreflightError
from jupyter_mjci.imaging.sheets import Sheet, draw_sheet
from jupyter_mjci.jobs import grids, study_sheet, submission
from jupyter_mjci.jobs.study_calls import _takes_list, add_places
from jupyter_mjci.session import Session

RULE = "imageMogr2/quality/{{quality}}"


@pytest.fixture
def session() -> Iterator[Session]:
    with mjci.sandbox(speed=float("inf")) as sandboxed:
        yield sandboxed


def list_prompts(study: Any) -> list[str]:
    return [job.subject for job in study.run()]


def count_tasks(session: Session) -> int:
    return len(session.mj.tasks().run())


def test_study_sends_nothing_before_it_runs(session: Session) -> None:
    study = session.study("a {{animal}} in {{style}}", animal=["fox", "owl"], style=["ink", "oil"])
    assert len(study) == len(study.calls) == study.job_count == 4
    assert study.cost({"imagine": 0.5}) == 2.0
    assert "4 not submitted" in repr(study)
    assert count_tasks(session) == 0
    assert list_prompts(study) == ["a fox in ink", "a fox in oil", "a owl in ink", "a owl in oil"]
    assert study.job_count == study.cost({"*": 1}) == 0


def test_frame_has_factors_first_and_a_row_for_each_repeat(session: Session) -> None:
    study = session.study("a {{animal}}", animal=["fox", "owl"], repeat=2).run()
    frame = study.frame()
    assert list(frame.columns[:3]) == ["animal", "repeat", "service"]
    assert list(frame["animal"]) == ["fox", "fox", "owl", "owl"]
    assert frame["id"].nunique() == count_tasks(session) == 4
    assert set(frame["status"]) == {"SUCCEEDED"}
    ax = study.plot.turnaround(by="animal")
    assert ax.get_figure() is not None


@pytest.mark.parametrize(
    "grid",
    [
        "stylize=100,400 seed=1,2",
        "--stylize=100,400 --seed=1,2",
        {"stylize": [100, 400], "seed": range(1, 3)},
        {"stylize": pd.Series([100, 400]), "seed": [1, 2]},
        pd.DataFrame({"stylize": [100, 100, 400, 400], "seed": [1, 2, 1, 2]}),
    ],
)
def test_grid_of_flags_extends_the_prompt(session: Session, grid: Any) -> None:
    study = session.study("a red fox", grid=grid)
    assert [row["stylize"] for row in study.rows] == [100, 100, 400, 400]
    assert list_prompts(study)[0] == "a red fox --stylize 100 --seed 1"
    assert list_prompts(study)[3] == "a red fox --stylize 400 --seed 2"


def test_numbers_of_numpy_are_those_of_python(session: Session) -> None:
    """Written without their type, in prompts, keys and descriptions; a factor's array is a list."""
    values = np.array([1, 2])
    study = session.study("a {{size}} fox", size=[np.float64(1.5), np.str_("big")], seed=values)
    kinds = [(type(row["size"]), type(row["seed"])) for row in study.rows]
    assert kinds == [(float, int), (float, int), (str, int), (str, int)]
    assert "np." not in repr(study.rows)
    picture = np.zeros((2, 2))
    assert grids._to_plain_value(picture) is picture
    assert list_prompts(study)[0] == "a 1.5 fox --seed 1"


def test_study_of_too_many_rows_is_refused_also_by_its_repeats(session: Session) -> None:
    """Before a call is built of each."""
    seeds = range(grids.MAX_ROWS // 2 + 1)
    assert grids.combine({"seed": seeds})
    with pytest.raises(InvalidRequest, match="at most"):
        session.study("a fox", seed=seeds, repeat=2)


def test_study_without_repeats_has_no_such_factor(session: Session) -> None:
    study = session.study("a {{animal}}", animal=["fox", "owl"])
    assert study.rows == [{"animal": "fox"}, {"animal": "owl"}]


def test_builder_whose_annotations_cannot_be_resolved_is_varied_all_the_same(
    session: Session,
) -> None:
    """As one of a module that imports its types for type checkers only."""

    def imagine(prompt: Prompt) -> Any:  # type: ignore[name-defined]  # noqa: F821
        return session.mj.imagine(prompt)

    study = session.study(imagine, prompt=["a fox", "an owl"])
    assert list_prompts(study) == ["a fox", "an owl"]


def test_flag_that_is_off_is_left_out(session: Session) -> None:
    study = session.study("a fox", tile=[True, False], stylize=[None, 250])
    assert list_prompts(study) == [
        "a fox --tile",
        "a fox --tile --stylize 250",
        "a fox",
        "a fox --stylize 250",
    ]


def test_study_of_a_builder_takes_lists_for_parameters_and_placeholders(session: Session) -> None:
    study = session.study(
        session.ci.picture_job,
        input=["input/deer.jpg", "input/missing.jpg"],
        rule=RULE,
        output="out/{{input}}-{{quality}}.jpg",
        quality=[10, 80],
    ).run()
    # A row's failure stays that row's.
    statuses = [job.status for job in study]
    assert statuses == [Status.SUCCEEDED, Status.SUCCEEDED, Status.FAILED, Status.FAILED]
    assert "NoSuchKey" in study[2].reason
    # An input of its own name keeps the column of ours.
    assert study.frame()["outputs"].notna().sum() == 2


def test_study_of_pictures_passes_values_on(session: Session) -> None:
    pictures = [Image.new("RGB", (32, 32), color) for color in ("red", "blue")]
    study = session.study(session.mj.describe, "{{shot}}", shot=pictures)
    assert len({call.body for call in study.calls}) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"what": "a {{animal}}"}, "'animal' has no values"),
        ({"what": "a {{animal}}", "animal": []}, "animal has no values"),
        ({"what": "a {{animal}}", "animal": ["fox", "fox"]}, "'fox' twice"),
        ({"what": "a fox", "color": ["red"]}, "'color' is not used"),
        ({"what": "a fox", "grid": "seed"}, "'seed' is no name with values"),
        ({"what": "a fox", "grid": "seed=1 seed=2"}, "given twice"),
        ({"what": "a fox", "grid": "seed='1"}, "not a valid grid"),
        ({"what": "a fox", "grid": " "}, "empty"),
        ({"what": "a fox", "grid": 5}, "neither a DataFrame nor a list of dicts"),
        ({"what": "a fox", "grid": pd.DataFrame({"seed": []})}, "no rows"),
        ({"what": "a fox", "repeat": 0}, "repeat must be"),
        ({"what": "a {{x}} {{y}}", "x": range(1000), "y": range(1000)}, "1,000,000 rows"),
        ({"what": "a fox {{ar}}", "ar": ["--ar 3:2", "--ar 3"]}, "ar='--ar 3': --ar must be"),
    ],
)
def test_impossible_study_is_refused_before_anything_is_sent(
    session: Session, arguments: dict[str, Any], words: str
) -> None:
    what = arguments.pop("what")
    with pytest.raises(InvalidRequest, match=words.replace("(", r"\(")):
        session.study(what, **arguments)
    assert count_tasks(session) == 0


def test_rows_that_would_replace_each_others_result_are_refused(session: Session) -> None:
    with pytest.raises(InvalidRequest, match="2 rows would write the same output"):
        session.study(
            session.ci.picture_job, input="input/deer.jpg", rule=RULE, output="out.jpg",
            quality=[10, 80],
        )  # fmt: skip


def test_more_jobs_than_allowed_are_refused(session: Session) -> None:
    study = session.study("a fox", seed=range(12))
    with pytest.raises(PreflightError, match="would submit 12 jobs; at most 11"):
        study.run(max_jobs=11)
    assert count_tasks(session) == 0
    assert len(study.run(max_jobs=12).jobs) == 12
    # What was submitted does not count again.
    study.run(max_jobs=0)


def test_study_that_grows_keeps_its_jobs(session: Session) -> None:
    first = session.study("a {{animal}}", animal=["fox", "owl"]).run()
    grown = session.study("a {{animal}}", animal=["owl", "cat", "fox"])
    assert grown.job_count == 1
    assert {job.id for job in grown.run()} > {job.id for job in first}
    assert count_tasks(session) == 3
    again = session.study("a {{animal}}", animal=["fox", "owl"], key="second take").run()
    assert {job.id for job in again}.isdisjoint(job.id for job in grown)


def test_study_awaits() -> None:
    import asyncio

    async def run() -> list[Job]:
        with mjci.sandbox(speed=float("inf")) as session:
            return list(await session.study("a {{animal}}", animal=["fox", "owl"]))

    assert [job.status for job in asyncio.run(run())] == [Status.SUCCEEDED] * 2


def test_rejected_row_is_sent_again_and_what_succeeded_is_not(session: Session) -> None:
    assert session.sandbox is not None
    session.sandbox.faults.add("status", route="POST /mj/submit/*", status=400, times=1)
    study = session.study("a {{animal}}", animal=["fox", "owl"]).run(at_once=1)
    assert sorted(job.status for job in study) == [Status.FAILED, Status.SUCCEEDED]
    assert [job.status for job in study.run()] == [Status.SUCCEEDED] * 2
    assert count_tasks(session) == 2


# --- resumption -------------------------------------------------

KILLED_STUDY = """
import os, signal, sys, jupyter_mjci as mjci
from pathlib import Path
from jupyter_mjci.jobs import journal_writer
journal_writer.LEASE_DURATION = 0.5
session = mjci.connect(mj_url=sys.argv[1], mj_secret=sys.argv[2], home=Path(sys.argv[3]), timeout=5)
count = 0
def die(event, value):
    global count
    count += event == sys.argv[4]
    if count == int(sys.argv[5]):
        os.kill(os.getpid(), signal.SIGKILL)
session.listeners.append(die)
study = session.study("a {{animal}}", animal=["fox", "owl", "cat", "dog", "hen"], repeat=2)
study.run(at_once=3, poll_interval=0.2)
"""


@pytest.mark.parametrize(("moment", "count"), [("submitting", 5), ("job_updated", 14)])
def test_study_of_a_killed_process_goes_on_without_a_second_submission(
    tmp_path: Path, moment: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "get_settling_time", lambda _: 1.0)
    with Sandbox(clock=ScaledClock(100)).serve() as server:
        url, secret = server.settings["mj_url"], server.settings["mj_secret"]
        arguments = [url, secret, str(tmp_path), moment, str(count)]
        killed = subprocess.run(
            [sys.executable, "-c", KILLED_STUDY, *arguments], timeout=60, check=False
        )
        assert killed.returncode == -9
        with mjci.connect(mj_url=url, mj_secret=secret, home=tmp_path, timeout=5) as session:
            before = count_tasks(session)
            assert 0 < before < 10
            study = session.study(
                "a {{animal}}", animal=["fox", "owl", "cat", "dog", "hen"], repeat=2
            )
            assert any(job.id for job in study)
            study.run(poll_interval=0.2)
            assert [job.status for job in study] == [Status.SUCCEEDED] * 10
            assert count_tasks(session) == len({job.id for job in study}) == 10


# --- sheets -----------------------------------------------------


def open_sheet(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content)).convert("RGB")


def is_near(color: Any, other: tuple[int, int, int]) -> bool:
    return all(abs(first - second) < 24 for first, second in zip(color, other, strict=True))


def test_sheet_has_labels_an_opaque_page_and_every_picture_in_its_place() -> None:
    colors = {(0, 0): "red", (0, 1): "green", (1, 0): "blue"}
    cells: dict[tuple[int, int], list[bytes | str]] = {}
    for place, color in colors.items():
        buffer = io.BytesIO()
        Image.new("RGB", (200, 100), color).save(buffer, "PNG")
        cells[place] = [buffer.getvalue()]
    cells[1, 1] = ["failed: no such picture"]
    image = open_sheet(draw_sheet(Sheet(cells, ["top", "水彩"], ["left", "right"], "A title")))
    assert is_near(image.getpixel((1, 1)), (255, 255, 255))
    width, height = image.size
    centers = [image.getpixel((width - x, height - y)) for y in (210, 70) for x in (390, 130)]
    assert is_near(centers[0], (255, 0, 0))
    assert is_near(centers[1], (0, 128, 0))
    assert is_near(centers[2], (0, 0, 255))
    # The labels are dark on white: the page is not blank on the left.
    assert min(image.convert("L").crop((0, 0, 60, height)).getextrema()) < 80


def test_sheet_of_one_factor_flows_and_says_what_failed(session: Session) -> None:
    study = session.study("a {{animal}}", animal=["fox", "owl", "cat", "dog", "hen"]).run()
    sheet = study.sheet()
    assert sheet.format == "jpeg"
    width, height = sheet.size
    assert 3 * 256 < width < 4 * 300
    assert height > 2 * 256
    assert len(sheet) < 200_000
    assert study.sheet(rows="animal", columns="", index=2).size == (width, height)


@pytest.mark.parametrize(
    ("asked", "axes"),
    [
        ((None, None), ("animal", "style")),
        (("style", None), ("style", "animal")),
        ((None, "animal"), ("style", "animal")),
        (("repeat", None), ("repeat", "animal")),
        (("style", ""), ("style", "")),
        (("", ""), ("", "")),
        (("paper", "repeat"), ("paper", "repeat")),
    ],
)
def test_rows_and_columns_are_the_first_factors_with_several_values(
    asked: tuple[str | None, str | None], axes: tuple[str, str]
) -> None:
    """In their order, those asked for aside; repeats are cells of one place unless asked for."""
    factors: dict[str, list[Any]] = {
        "paper": ["a4"],
        "animal": ["fox", "owl"],
        "style": ["ink", "oil"],
        "repeat": [1, 2],
    }
    assert study_sheet.choose_axes(factors, *asked) == axes
    of_one: dict[str, list[Any]] = {"animal": ["fox", "owl"], "repeat": [1, 2]}
    assert study_sheet.choose_axes(of_one, None, None) == ("animal", "")
    assert study_sheet.choose_axes({"paper": ["a4"]}, None, None) == ("", "")


def draw(monkeypatch: pytest.MonkeyPatch, rows: Sequence[Mapping[str, Any]], axes: Any) -> Sheet:
    """Return the sheet that is drawn of rows whose pictures are called a, b, c, …"""
    drawn: list[Sheet] = []
    monkeypatch.setattr(study_sheet, "draw_sheet", drawn.append)
    study_sheet.draw(rows, [chr(97 + number) for number in range(len(rows))], axes, "title")
    return drawn[0]


def test_sheet_of_two_factors_has_a_cell_for_each_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats share one; the heads name the factors."""
    rows = [{"animal": animal, "seed": seed} for animal in ("fox", "owl") for seed in (1, 2, 1)]
    sheet = draw(monkeypatch, rows, ("animal", "seed"))
    assert (sheet.rows, sheet.columns) == (["animal: fox", "animal: owl"], ["seed: 1", "seed: 2"])
    assert sheet.cells == {(0, 0): ["a", "c"], (0, 1): ["b"], (1, 0): ["d", "f"], (1, 1): ["e"]}
    assert not sheet.captions


@pytest.mark.parametrize("axes", [("seed", ""), ("", "seed")])
@pytest.mark.parametrize(("count", "width", "height"), [(2, 2, 1), (5, 3, 2), (7, 3, 3)])
def test_sheet_of_one_factor_flows_in_lines(
    monkeypatch: pytest.MonkeyPatch, axes: Any, count: int, width: int, height: int
) -> None:
    """About as many lines as columns, each cell with its caption."""
    sheet = draw(monkeypatch, [{"seed": number} for number in range(count)], axes)
    places = [divmod(number, width) for number in range(count)]
    assert (sheet.rows, sheet.columns) == ([""] * height, [""] * width)
    assert [sheet.cells[place] for place in places] == [[chr(97 + n)] for n in range(count)]
    assert [sheet.captions[place] for place in places] == [f"seed: {n}" for n in range(count)]


def test_sheet_of_one_cell_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = draw(monkeypatch, [{"seed": 1}], ("", ""))
    assert sheet.cells == {(0, 0): ["a"]}
    assert sheet.captions == {(0, 0): ""}


def test_sheet_of_unknown_factor_is_refused(session: Session) -> None:
    study = session.study("a {{animal}}", animal=["fox", "owl"])
    with pytest.raises(InvalidRequest, match=r"'style' is not a factor.*\n.*animal"):
        study.sheet(rows="style")
    with pytest.raises(InvalidRequest, match="both rows and columns"):
        study.sheet("animal", "animal")
    # Before the run the sheet says that there is nothing yet.
    assert study.sheet().size[0] > 300


@pytest.mark.parametrize(
    ("hint", "takes_list"),
    [
        (Sequence[str], True),
        (Iterable[str] | None, True),
        (Optional[list[str]], True),  # noqa: UP045 - as users write it
        (tuple[str, ...], False),
        (Mapping[str, str], False),
        (str | None, False),
        ("Sequence[str]", False),
    ],
)
def test_annotation_tells_a_list_from_a_factor(hint: object, takes_list: bool) -> None:
    assert _takes_list(hint) is takes_list


def test_line_gets_a_place_for_each_factor_that_has_none(session: Session) -> None:
    """A parameter of the call, or a flag of the prompt; what has a place keeps it."""
    arguments: dict[str, Any] = {"prompt": "a {{animal}}"}
    add_places(session.mj.imagine, arguments, [{"animal": "fox", "stylize": 100, "mode": "fast"}])
    assert arguments == {"prompt": "a {{animal}}{{--stylize}}", "mode": "{{mode}}"}
    arguments = {"prompt": "a fox", "state": "{{mode}}"}
    add_places(session.mj.imagine, arguments, [{"mode": "fast"}])
    assert arguments == {"prompt": "a fox", "state": "{{mode}}"}
    with pytest.raises(InvalidRequest, match="colour"):
        add_places(session.mj.imagine, {"prompt": "a fox"}, [{"colour": "red"}])
