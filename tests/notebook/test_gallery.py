"""`%mjci gallery`: contact sheets and pages, of jobs and of saved notebooks."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import jupyter_mjci
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.history.image_archive import ArchivedImage, ImageArchive
from jupyter_mjci.notebook import gallery, images, saved_notebook
from jupyter_mjci.session import Session
from tests.notebook.conftest import Shell
from tests.notebook.test_job_display import MODES, save_outputs

SHEET = ["image/jpeg", "text/plain"]
ROTATE = 'input = "input/deer.jpg"\nrule = "imageMogr2/rotate/90"\noutput = "output/out.jpg"\n'


@pytest.fixture
def filled_shell(shell: Shell) -> Shell:
    """Return a shell after an imagined fox, its upscale, a rotated deer and a failed job."""
    shell.run("%mj_imagine a red fox -o fox\n")
    shell.run("%mj_action fox U1")
    shell.run(f"%%ci_job\n{ROTATE}")
    shell.fails(f"%%ci_job\n{ROTATE.replace('deer', 'none')}")
    return shell


def test_gallery_shows_all_pictures_latest_first(filled_shell: Shell) -> None:
    assert filled_shell.run("%mjci gallery") is None
    assert filled_shell.kinds == [SHEET]
    lines = filled_shell.texts[0].splitlines()
    assert [line.rpartition("  ")[2] for line in lines] == [
        "input/deer.jpg",
        "a red fox",
        "a red fox",
    ]
    assert all(
        re.match(rf"  {number} (MJ|CI) \w+ \d+×\d+ \w+ sha \w{{12}}", lines[number - 1])
        for number in (1, 2, 3)
    )
    sheet = Image.open(io.BytesIO(base64.b64decode(filled_shell.outputs[0]["data"]["image/jpeg"])))
    assert sheet.size == tuple(
        filled_shell.outputs[0]["metadata"]["image/jpeg"][side] for side in ("width", "height")
    )
    assert (
        filled_shell.outputs[0]["metadata"]["image/jpeg"]["alt"]
        == "3 pictures: input/deer.jpg; a red fox"
    )


FILTERS = {
    "RED": 2,
    "deer": 1,
    "--action upscale": 1,
    "fox --action IMAGINE": 1,
    "--limit 2": 2,
    "--text fox": 2,
}


@pytest.mark.parametrize("line", FILTERS)
def test_gallery_filters_by_text_action_and_limit(filled_shell: Shell, line: str) -> None:
    filled_shell.run(f"%mjci gallery {line}")
    assert len(filled_shell.texts[0].splitlines()) == FILTERS[line]


def test_empty_gallery_shows_a_notice(shell: Shell) -> None:
    shell.run("%mjci gallery")
    assert shell.texts == [gallery.NO_PICTURES]
    assert "--limit must be at least 1" in shell.fails("%mjci gallery --limit 0")


def test_outputs_are_the_same_live_and_headless(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = []
    for mode in MODES:
        with jupyter_mjci.sandbox(speed=math.inf) as session:
            session.batch(
                [session.mj.imagine(f"fox {number}") for number in range(3)], at_once=1
            ).run()
            outputs.append(save_outputs(monkeypatch, mode, "%mjci gallery", session))
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) == 1


def test_archived_pictures_of_earlier_sessions_are_shown(tmp_path: Path, shell: Shell) -> None:
    """Their links no longer work. None is shown twice."""
    with jupyter_mjci.sandbox(speed=math.inf, home=tmp_path) as earlier:
        done = earlier.follow(earlier.mj.imagine("an old fox")).run()
        assert len(gallery.collect_items(earlier)) == 1
    with jupyter_mjci.sandbox(speed=math.inf, home=tmp_path) as later:
        shell.ip.push({"s": later})
        shell.run("%mjci gallery")
        assert f"MJ {done.id} 1024×1024" in shell.texts[0]
        assert len(shell.texts[0].splitlines()) == 1


def test_archive_is_not_read_where_jobs_have_enough_pictures(
    filled_shell: Shell, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_archive: ImageArchive) -> Iterator[ArchivedImage]:
        raise AssertionError("reads all notes of the archive")

    monkeypatch.setattr(ImageArchive, "__iter__", refuse)
    assert len(gallery.collect_items(session, limit=2)) == 2


def test_missing_pictures_are_left_out(filled_shell: Shell, session: Session) -> None:
    session.ci.delete_object("output/out.jpg").run()
    filled_shell.run("%mjci gallery")
    assert [line.rpartition("  ")[2] for line in filled_shell.texts[0].splitlines()] == [
        "a red fox",
        "a red fox",
    ]


def test_saved_page_is_self_contained_and_escaped(filled_shell: Shell, tmp_path: Path) -> None:
    filled_shell.run('%mj_imagine <script>alert("x")</script>')
    filled_shell.run(f"%mjci gallery --save {tmp_path / 'g.html'}")
    page = (tmp_path / "g.html").read_text("utf-8")
    assert filled_shell.texts == [f"4 pictures: {tmp_path / 'g.html'}"]
    assert page.count('<img src="data:image/') == page.count("<figcaption>") == 4
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "Cannot write" in filled_shell.fails(
        f"%mjci gallery --save {tmp_path / 'no' / 'g.html'}"
    )


def test_pictures_of_journal_jobs_are_shown(tmp_path: Path) -> None:
    """Results in a bucket are not archived."""
    with jupyter_mjci.sandbox(speed=math.inf, home=tmp_path) as earlier:
        rotated = earlier.ci.picture_job(
            input="input/deer.jpg", rule="imageMogr2/rotate/90", output="output/out.jpg"
        )
        done = earlier.follow(rotated).run()
        with earlier.record_to(
            tmp_path / "a.mjci"
        ) as other:  # the same sandbox, another session's journal
            assert gallery.collect_items(other) == []
            other.journal.record_jobs([done], 0.0)
            (shown,) = gallery.collect_items(other)
    assert (shown.kind, shown.name, shown.subject) == ("PicProcess", done.id, "input/deer.jpg")


def write_notebook(path: Path, *outputs: dict[str, Any], source: str = "") -> Path:
    cells = [
        {"cell_type": "markdown", "metadata": {}, "source": ["Words\n", "# A <title>\n"]},
        {
            "cell_type": "code",
            "metadata": {},
            "source": source,
            "outputs": list(outputs),
            "execution_count": 1,
        },
    ]
    path.write_text(
        json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}), "utf-8"
    )
    return path


def make_png() -> str:
    """Return a PNG as a notebook stores it."""
    file = io.BytesIO()
    Image.new("RGB", (9, 9)).save(file, "PNG")
    return images.to_base64(file.getvalue())


PNG = make_png()
SVG = '<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'
ALT = {"image/png": {"alt": "A <fox>"}}
SAVED_OUTPUTS: dict[
    str, tuple[dict[str, Any], list[tuple[str, str]]]
] = {  # an output, and of its pictures about and caption
    "one of ours": (
        {"data": {"image/png": PNG, "text/plain": "MJ 1"}, "metadata": ALT},
        [("A <fox>", "MJ 1")],
    ),
    "a plot": (
        {"data": {"image/png": PNG, "text/plain": "<Figure>"}, "metadata": {}},
        [("plot()", "9×9 png")],
    ),
    "in lines": (
        {"data": {"image/png": [PNG[:40], PNG[40:]]}, "metadata": {}},
        [("plot()", "9×9 png")],
    ),
    "a drawing": ({"data": {"image/svg+xml": [SVG]}, "metadata": {}}, [("plot()", "svg")]),
    "of two kinds": (
        {"data": {"image/svg+xml": SVG, "image/png": PNG}, "metadata": {}},
        [("plot()", "9×9 png")],
    ),
    "in a card": (
        {"data": {"text/html": f"<img alt=A src='data:image/png;base64,{PNG}'>"}},
        [("A", "9×9 png")],
    ),
    "drawn in a card": (
        {"data": {"text/html": "<img src='data:image/svg+xml,%3Csvg/%3E'>"}},
        [("plot()", "svg")],
    ),
    "damaged": (
        {
            "data": {"image/png": "?", "text/html": "<img src='data:image/png;base64,/'>"},
            "metadata": {},
        },
        [],
    ),
    "elsewhere": (
        {"data": {"text/html": "<img src='https://example.com/a.png'>", "text/plain": "a"}},
        [],
    ),
    "none": ({"output_type": "stream", "text": "data:image/png;base64,"}, []),
}


@pytest.mark.parametrize("case", SAVED_OUTPUTS)
def test_saved_notebook_images_have_subject_and_caption(case: str, tmp_path: Path) -> None:
    """An output without alt text is described by the cell's last line. The page runs no script."""
    output, expected = SAVED_OUTPUTS[case]
    saved = write_notebook(tmp_path / "a.ipynb", output, source="x = 1\n_ = plot()\n")
    shown = saved_notebook.load_notebook_images(saved)
    assert [(item.kind, item.subject, item.caption) for item in shown] == [
        ("cell 2", *each) for each in expected
    ]
    page = gallery.render_page(shown, saved_notebook.get_title(saved))
    assert "<h1>A &lt;title&gt;</h1>" in page
    assert page.count('<img src="data:image/') == page.count("<img") == len(expected)
    assert "onload" not in page
    assert (gallery.NO_PICTURES in page) == (not expected)


@pytest.mark.parametrize("text", ["", "[]", '{"nbformat": 3, "worksheets": []}', "\x00"])
def test_invalid_notebook_is_rejected(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.ipynb").write_text(text)
    with pytest.raises(InvalidRequest, match="is not a notebook"):
        saved_notebook.load_notebook_images(tmp_path / "a.ipynb")


def noise(seed: int) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((400, 300), 120 + seed).convert("RGB").save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("count", [1, 2, 24, 60])
def test_contact_sheet_size_is_limited(count: int) -> None:
    """Even noise takes at most 200 kB, and a row has at most six pictures."""
    content, width, height = images.contact_sheet(
        [noise(1)] * count, ["狐 a label that is far too long"] * count
    )
    assert len(content) <= 200_000
    assert Image.open(io.BytesIO(content)).size == (width, height)
    assert width <= 6 * 200 + 8


def test_contact_sheet_accepts_every_image_mode() -> None:
    contents = []
    for mode, format, size in (
        ("RGBA", "PNG", (40, 400)),
        ("P", "GIF", (9, 9)),
        ("L", "WEBP", (500, 20)),
        ("1", "PNG", (1, 1)),
    ):
        file = io.BytesIO()
        Image.new(mode, size).save(file, format)
        contents.append(file.getvalue())
    content, width, height = images.contact_sheet(contents, ["a"] * 4)
    assert (width, height) == (2 * 200 + 8, 2 * 216 + 8)
    assert content.startswith(b"\xff\xd8")
