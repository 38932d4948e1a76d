"""The kernel's side of the viewer of pictures, and the forms that take pictures from it."""

from __future__ import annotations

import io
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.imaging.picture import Picture
from jupyter_mjci.notebook.job_results import fetch_results
from jupyter_mjci.notebook.panels import form
from jupyter_mjci.notebook.panels.midjourney import FORM_LABELS
from jupyter_mjci.notebook.panels.picture_viewer import (
    PictureViewer,
    attach_pictures,
    get_viewer,
)
from jupyter_mjci.services import find_service
from jupyter_mjci.session import Session
from tests.notebook.panels.test_panels import click, find_button, open_panel, wait_idle

__all__ = ["open_panel"]
OpenPanel = Callable[[str], Any]


@pytest.fixture
def session() -> Iterator[Session]:
    with mjci.sandbox(speed=1e6) as session:
        yield session


class Page:
    """The browser's side: it asks, and gets the answer."""

    def __init__(self, viewer: PictureViewer) -> None:
        self.viewer = viewer
        self.content = b""
        self._arrived = threading.Event()
        viewer.widget.send = self._receive

    def _receive(self, answer: dict[str, Any], buffers: list[bytes] | None = None) -> None:
        self._answer = answer
        self.content = bytes((buffers or [b""])[0])
        self._arrived.set()

    def ask(self, kind: str, name: str, **details: Any) -> dict[str, Any]:
        self._arrived.clear()
        request = {"id": "1", "kind": kind, "name": name, **details}
        self.viewer.widget._handle_custom_msg(request, [])
        assert self._arrived.wait(30)
        return {key: value for key, value in self._answer.items() if key != "id"}


@pytest.fixture
def page() -> Iterator[Page]:
    get_viewer.cache_clear()
    yield Page(get_viewer())
    get_viewer.cache_clear()


@pytest.fixture
def grid(session: Session, page: Page) -> Job:
    job = session.follow(session.mj.imagine("a red fox --ar 3:2")).run()
    attach_pictures(session, [job])
    return job


# --- requests of the page ---


def test_picture_comes_in_full_size_with_what_can_be_done(
    page: Page, session: Session, grid: Job
) -> None:
    answer = page.ask("show", grid[2].name)
    picture = session.picture(grid[2]).run()
    assert page.content == picture
    assert answer["caption"].startswith(f"{grid.id}[2] · {picture.width}×{picture.height} png · ")
    labels = [target["label"] for target in answer["targets"]]
    assert labels == ["Describe", "Blend", "Edit", "Video", "Reference", "Rule"]
    assert (answer["reuse"], answer["parent"]) == ("%mj_imagine a red fox --ar 3:2", "")


def test_every_target_becomes_a_line_that_the_magics_take(page: Page, grid: Job) -> None:
    """The builder has the parameter, and the line begins with its magic."""
    for target in page.ask("show", grid[1].name)["targets"]:
        cell = page.ask("send", grid[1].name, target=target["key"])["cell"]
        key, _, name = target["key"].partition(".")
        assert cell.startswith(f"%{key}_{name} ")
        assert grid[1].name in cell
        service = find_service(key)
        assert service is not None
        assert hasattr(service.api, name)


def test_upscale_stands_beside_its_grid_and_knows_its_picture(
    page: Page, session: Session, grid: Job
) -> None:
    upscale = session.follow(session.mj.action(grid, "U2")).run()
    zoom = session.follow(session.mj.action(upscale, "Zoom Out 2x")).run()
    attach_pictures(session, [upscale])
    assert page.ask("show", upscale.id)["parent"] == f"{grid.id}[1]"
    html = page.ask("relatives", upscale.id)["html"]
    names = re.findall('data-picture="([^"]+)"><figcaption>([^<]+)', html)
    assert names[0] == (f"{grid.id}[1]", "made of")
    assert [name for name, _ in names[1:]] == [zoom.id]
    html = page.ask("relatives", grid.id)["html"]
    assert re.findall("<figcaption>([^<]+)", html) == ["U2"]


def test_stars_tags_and_note_are_kept_and_shown(page: Page, session: Session, grid: Job) -> None:
    assert page.ask("rate", grid.id, stars=4) == {}
    assert page.ask("rate", grid[2].name, stars=2) == {}
    assert page.ask("rate", grid[2].name, tags="keeper, , warm", note="light") == {}
    assert page.ask("rate", grid.id, stars=0) == {}
    (row,) = session.history.ratings().to_dict("records")
    assert (row["picture"], row["stars"], row["tags"], row["note"]) == (
        2,
        2,
        "keeper, warm",
        "light",
    )
    rating = {"stars": 2, "tags": "keeper, warm", "note": "light"}
    assert page.viewer.widget.ratings == {grid[2].name: rating}
    assert "stars must be 1 to 5" in page.ask("rate", grid.id, stars=9)["error"]


@pytest.mark.parametrize("name", ["1999", "", "nobody[2]", "../../etc/passwd"])
def test_other_names_are_refused(page: Page, grid: Job, name: str) -> None:
    """The page can read pictures of jobs only: no paths, no links."""
    for kind in ("show", "relatives", "rate", "send", "reuse"):
        answer = page.ask(kind, name, target="mj.describe", stars=1)
        assert "does not know the job" in answer["error"]


def test_cell_processes_a_picture_again(page: Page, session: Session) -> None:
    call = session.ci.picture_job(
        input="input/deer.jpg", rule="imageMogr2/rotate/90", output="out/a.jpg"
    )
    job = session.follow(call).run()
    attach_pictures(session, [job])
    lines = page.ask("reuse", job.id)["cell"].splitlines()
    assert lines == [
        "%%ci_job",
        'input = "input/deer.jpg"',
        'rule = "imageMogr2/rotate/90"',
        'output = "out/a.jpg"',
    ]


# --- panels ---


def test_picture_goes_into_the_form_of_its_panel(
    page: Page, session: Session, grid: Job, open_panel: OpenPanel
) -> None:
    """A rule's goes to the CI panel of the same session, or becomes a cell."""
    panel = open_panel("mj")
    for name in (grid[0].name, grid[3].name):
        page.ask("send", name, target="mj.blend", panel=panel.model_id)
    assert panel.task.value == "blend"
    blend = panel.task_forms["blend"]
    assert blend.fields["pictures"].names.value == f"{grid.id}[0], {grid.id}[3]"
    click(panel, blend.submit_button)
    assert panel._cards[0].root.job.action == "BLEND"
    assert "cell" in page.ask("send", grid.id, target="ci.process", panel=panel.model_id)
    workbench = open_panel("ci")
    note = page.ask("send", grid[1].name, target="ci.process", panel=panel.model_id)["note"]
    assert workbench.input.value == note == f"input/{grid.id}-1.png"


def test_form_is_filled_in_as_a_job_was_submitted(
    page: Page, session: Session, open_panel: OpenPanel
) -> None:
    """Flags with a field go there, the others stay in the prompt; the seed comes from the proxy."""
    panel = open_panel("mj")
    panel.flags["--chaos"].value = 50
    prompt = "https://x.test/a.png a fox --iw 2 --ar 3:2 --stylize 250 --no a, b --tile"
    job = session.follow(session.mj.imagine(prompt)).run()
    attach_pictures(session, [job])
    assert page.ask("reuse", job.id, panel=panel.model_id) == {"note": "The form is filled in."}
    wait_idle(panel)
    values = {name: widget.value for name, widget in panel.flags.items()}
    assert panel.prompt.value == "https://x.test/a.png a fox --iw 2 --tile"
    assert (values["--ar"], values["--stylize"], values["--no"]) == ("3:2", 250, "a, b")
    assert values["--chaos"] == 0
    assert values["--seed"] == session.mj.image_seed(job.id).run()


def test_each_form_submits_its_task(
    session: Session, open_panel: OpenPanel, grid: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures are named by a variable, by job[2], an ID or a path. (No emulated server has all
    of these calls; the others are refused by the server, after they were sent.)
    """
    panel = open_panel("mj")
    path = str(Path(__file__).parent / "none.png")
    namespace = {"fox": grid, "pictures": session.pictures(grid).run()}
    monkeypatch.setattr(form, "get_ipython", lambda: SimpleNamespace(user_ns=namespace))
    names = {"picture": "fox[2]", "pictures": f"fox, pictures[1] {grid.id}", "source": "fox",
             "target": f"{grid.id}[3]"}  # fmt: skip
    sent: list[str] = []
    session.listeners.append(
        lambda event, call: event == "submitting" and sent.append(f"{call.name} {len(call.body)}")
    )
    for name in (each for each in FORM_LABELS if each != "imagine"):
        fields = panel.get_fields(name)
        for field, value in names.items():
            if field in fields.fields:
                fields[field].names.value = value
        if "prompt" in fields.fields:
            fields["prompt"].value = "a red fox"
        click(panel, panel.task_forms[name].submit_button)
        assert panel.message.value == "" or "no such endpoint" in panel.message.value
    sizes = {name: int(size) for name, size in (text.split() for text in sent)}
    assert list(sizes) == list(FORM_LABELS)[1:]
    assert all(size > 50_000 for name, size in sizes.items() if name != "shorten")
    fields = panel.get_fields("describe")
    for text, message in (
        ("", "picture"),
        ("nobody", "no variable and no file"),
        (path, "Cannot read"),
    ):
        fields["picture"].names.value = text
        click(panel, panel.task_forms["describe"].submit_button)
        assert message in panel.message.value


def test_preview_tells_what_a_rule_costs_and_keeps(open_panel: OpenPanel) -> None:
    panel = open_panel("ci")
    panel.input.value = "input/deer.jpg"
    panel.rule.value = "imageMogr2/quality/20"
    wait_idle(panel)
    change = panel.preview.change.value
    comparison = panel.session.compare(
        panel.rule.value, panel.session.ci.get_object("input/deer.jpg").run()
    ).run()
    (row,) = comparison.frame().to_dict("records")
    assert f"SSIM {row['ssim']:.3f} · PSNR {row['psnr']:.1f} dB" in change
    panel.rule.value = "imageMogr2/rotate/90"
    wait_idle(panel)
    assert "cut or turned" in panel.preview.change.value
    panel.rule.value = ""
    wait_idle(panel)
    assert panel.preview.change.value == ""


# --- studies, films ---


def test_study_is_looked_at_and_rated_in_a_panel(page: Page, session: Session) -> None:
    study = session.study("a {{animal}}", animal=["fox", "owl"], stylize=[100, 400])
    study.run()
    panel: Any = mjci.panel(study)
    wait_idle(panel)
    texts = [tile.children[0].value for tile in panel.tiles.children]
    assert len(texts) == 4
    for job, text, stars in zip(study, texts, (5, 4, 2, 1), strict=True):
        assert f'data-picture="{job.id}"' in text
        assert page.ask("rate", job.id, stars=stars, panel=panel.model_id) == {}
    click(panel, find_button(panel, "Which value wins"))
    assert re.findall("<td>(fox|owl)</td>", panel.winners.value)[0] == "fox"
    assert "4.5" in panel.winners.value
    click(panel, find_button(panel, "owl, 400"))
    assert panel._cards[0].root.job.id == study[3].id
    panel.close()


def test_film_has_the_tasks_picture_as_poster_where_no_frame_can_be_decoded(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jupyter_mjci.jobs.downloads import ResultFetcher

    file = io.BytesIO()
    Image.new("RGB", (8, 6), "red").save(file, "PNG")
    contents = {
        "http://x/a.mp4": b"\0\0\0\x18ftypmp42" + bytes(99),
        "http://x/a.png": file.getvalue(),
    }

    async def fetch(_: ResultFetcher, source: Any, index: int = 0) -> Picture:
        return Picture(contents[source.outputs[index] if isinstance(source, Job) else source])

    monkeypatch.setattr(ResultFetcher, "fetch", fetch)
    monkeypatch.setitem(sys.modules, "av", None)
    raw = {"imageUrl": "http://x/a.png"}
    job = Job("mj", "1", "VIDEO", Status.SUCCEEDED, outputs=("http://x/a.mp4",), raw=raw)
    ((data, _),), _ = fetch_results(session, job)
    assert 'poster="data:image/png;base64,' in str(data["text/html"])
    ((data, _),), _ = fetch_results(
        session, Job("mj", "2", "VIDEO", Status.SUCCEEDED, outputs=job.outputs)
    )
    assert "poster" not in str(data["text/html"])


def test_film_is_no_picture_to_look_at(
    page: Page, session: Session, grid: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jupyter_mjci.jobs.downloads import ResultFetcher

    async def fetch(*_: Any) -> Picture:
        return Picture(b"\0\0\0\x18ftypmp42" + bytes(99))

    monkeypatch.setattr(ResultFetcher, "fetch", fetch)
    assert "no picture that can be shown here" in page.ask("show", grid.id)["error"]
    assert page.ask("relatives", grid.id) == {"html": ""}
