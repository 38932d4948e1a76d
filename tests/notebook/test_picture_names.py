"""A picture is taken wherever one is wanted, by the variable, job or file that holds it."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import jupyter_mjci
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.imaging.picture import Picture
from jupyter_mjci.session import Session
from tests.notebook.conftest import Shell


def get_body(call: Any) -> dict[str, Any]:
    return json.loads(call.body)


def decode(url: str) -> bytes:
    return base64.b64decode(url.partition(",")[2])


def draw(path: Path, color: str = "red") -> Path:
    Image.new("RGB", (8, 6), color).save(path)
    return path


@pytest.fixture
def grid(session: Session) -> Job:
    return session.follow(session.mj.imagine("a red fox")).run()


class Held:
    """What has a job, as the handle of a job that is followed."""

    def __init__(self, job: Job) -> None:
        self.job = job


# what is given, of the session and the job -> the index of the
# picture that is meant; None is the whole
SOURCES: dict[str, tuple[Callable[[Session, Job], Any], int | None]] = {
    "job": (lambda _, job: job, None),
    "picture of a job": (lambda _, job: job[2], 2),
    "last picture": (lambda _, job: job[-1], 3),
    "handle": (lambda _, job: Held(job), None),
    "ID": (lambda _, job: job.id, None),
    "name of a picture": (lambda _, job: job[2].name, 2),
    "name of the last picture": (lambda _, job: f"{job.id}[-1]", 3),
    "job as it was submitted": (
        lambda _, job: replace(job, status=Status.QUEUED, outputs=()),
        None,
    ),
    "Picture": (lambda s, job: s.picture(job).run(), None),
    "link": (lambda _, job: job.outputs[0], None),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_the_same_picture(session: Session, grid: Job, name: str) -> None:
    source, index = SOURCES[name]
    given = source(session, grid)
    whole = session.picture(grid).run()
    expected = whole if index is None else session.pictures(grid).run()[index]
    picture = session.picture(given).run()
    assert picture == expected
    body = get_body(session.mj.blend([given, given]))
    sent = [item if item.startswith("http") else decode(item) for item in body["base64Array"]]
    assert sent == [given if name == "link" else expected] * 2
    assert session.ci.put_object("in/a.png", given).body == expected
    assert session.preview("imageMogr2/thumbnail/8x", given).run().width == 8


def test_each_builder_takes_a_job(session: Session, grid: Job) -> None:
    """Pillow images and arrays too; links are sent as they are where the proxy takes links."""
    mj = session.mj
    array = np.zeros((4, 4), "uint8")
    content = base64.b64encode(session.picture(grid[0]).run()).decode()
    mask = Image.new("L", (session.picture(grid[0]).run().size), 255)
    calls = [
        mj.imagine("a", images=[grid[0]]), mj.describe(grid[0]), mj.upload([grid[0]]),
        mj.edits("a", grid[0], mask=mask), mj.retexture("a", grid[0]),
        mj.video("a", picture=grid[0], end_picture=grid[0]), mj.swap(grid[0], array),
    ]  # fmt: skip
    for call in calls:
        assert content in call.body.decode()
    assert get_body(mj.describe("https://x/a.png"))["link"] == "https://x/a.png"


def test_rule_is_applied_to_a_job_on_its_way_into_the_bucket(session: Session, grid: Job) -> None:
    rules = {"out/small.png": "imageMogr2/thumbnail/50x"}
    session.ci.process("in/fox.png", rules=rules, picture=grid[1]).run()
    assert session.ci.get_object("in/fox.png").run() == session.picture(grid[1]).run()
    assert Picture(session.ci.get_object("out/small.png").run()).width == 50
    key = session.upload(grid[1]).run()
    assert key == f"input/{grid.id}-1.png"


def test_wrong_sources_are_refused_before_anything_is_sent(
    session: Session, grid: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / f"{grid.id}.png").rename(tmp_path / grid.id)
    failed = replace(grid, status=Status.FAILED, outputs=(), id="")
    wrong = [
        (grid.id, "is a file and the ID of a job"),
        (grid[9], "has 4 pictures, and 9 is none of them"),
        (failed, "has no results"),
        (b"\0\0\0\x18ftypmp42" + bytes(99), "is a film"),
        ("nobody", "There is no file and no job 'nobody'"),
        ("no/such.png", "Cannot read the picture"),
        (session.mj.imagine("a"), "has not run"),
        (session.picture(grid), "has not run"),
        (7, "type int cannot be used"),
    ]
    before = len(session.client.known_jobs())
    for source, message in wrong:
        with pytest.raises(InvalidRequest, match=message):
            session.mj.describe(source)
    assert len(session.client.known_jobs()) == before


# --- on a line --------------------------------------------------


def test_variables_are_pictures_on_a_line(
    shell: Shell, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "fox.png")
    sent: list[Any] = []
    session.listeners.append(lambda event, value: event == "submitting" and sent.append(value))
    shell.run("%mj_imagine a red fox -o grid")
    shell.run("pictures = s.pictures(grid).run(); whole = s.picture(grid).run()")
    pictures, whole = shell.ip.user_ns["pictures"], shell.ip.user_ns["whole"]
    shell.run("%mj_describe grid")
    assert decode(get_body(sent[-1])["base64"]) == whole
    shell.run("%mj_blend grid[2] pictures[3],fox.png")
    images = list(map(decode, get_body(sent[-1])["base64Array"]))
    assert images == [pictures[2], pictures[3], (tmp_path / "fox.png").read_bytes()]
    shell.run("%ci_put_object in/fox.png grid[3]")
    assert session.ci.get_object("in/fox.png").run() == pictures[3]
    shell.run("def send(own):\n    %mj_describe own\nsend(pictures[0])")
    assert decode(get_body(sent[-1])["base64"]) == pictures[0]


@pytest.mark.parametrize(
    "cell",
    [
        '%mj_edits "make it blue" picture --mask mask',
        "%mj_edits 'make it blue' --mask=mask picture",
        "%mj_edits make it blue --picture picture --mask mask",
        "%%mj_edits picture --mask mask\nmake it blue",
    ],
)
def test_edit_takes_picture_and_mask_by_name(empty_shell: Shell, cell: str) -> None:
    with jupyter_mjci.sandbox(speed=math.inf, dialect="trueai") as session:
        picture = session.preview("imageMogr2/thumbnail/9x9!", Image.new("RGB", (8, 8))).run()
        empty_shell.ip.push({"s": session, "picture": picture, "mask": Image.new("L", (9, 9), 255)})
        sent: list[Any] = []
        session.listeners.append(lambda event, value: event == "submitting" and sent.append(value))
        empty_shell.run(cell)
    body = get_body(sent[0])
    assert (body["prompt"], decode(body["image"])) == ("make it blue", picture)
    assert Picture(decode(body["maskBase64"])).size == (9, 9)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nowhere", "no variable and no file 'nowhere'"),
        ("number", "'number' holds no picture but int"),
        ("fox", "'fox' is a variable that holds a picture, and a file"),
        ("grid[7]", "has 4 pictures, and 7 is none"),
        ("gird.png", "Cannot read the picture gird.png"),
    ],
)
def test_wrong_words_are_refused_before_anything_is_sent(
    shell: Shell, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    word: str, message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "fox.png").rename(tmp_path / "fox")
    shell.run("%mj_imagine a red fox -o grid")
    shell.run("fox = grid; number = 7")
    count = len(session.client.known_jobs())
    assert message in shell.fails(f"%mj_describe {word}")
    assert len(session.client.known_jobs()) == count
