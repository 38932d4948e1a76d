"""The rule workbench without a browser: controls and texts, the preview, the bucket, templates,
batches, the jobs.
"""

from __future__ import annotations

import concurrent.futures
import io
import json
import re
from collections.abc import Iterator
from typing import Any

import ipywidgets as W
import pytest
from PIL import Image

from jupyter_mjci import panel, sandbox
from jupyter_mjci.client.job import Status
from jupyter_mjci.notebook.panels import async_button, rule_preview
from jupyter_mjci.notebook.panels.rule_editor import JSON_OPERATIONS, RuleEditor
from jupyter_mjci.notebook.panels.value_template import parse_templates
from jupyter_mjci.session import Session
from tests.notebook.panels.test_panels import (
    click,
    html,
    named,
    names,
    photo,
    press_and_wait,
    settle,
)

RULES = (
    "imageMogr2/thumbnail/!40p/rotate/180",
    "imageMogr2/thumbnail/300x200!/blur/8x5.5/format/webp/quality/70!",
    "imageMogr2/gravity/southeast/crop/200x100/dx/9",
    "imageMogr2/cut/100x90x10x20/size-limit/30k!/strip",
    "imageMogr2/crop/!80x60a10a10|imageMogr2/auto-orient/interlace/1",
    "imageView2/1/w/40/h/30/q/85!|watermark/2/text/5Lit5paHIDE/fill/I2ZmMDA4MA/fontsize/20/batch/1/degree/45",
    "imageMogr2/thumbnail/9000x",
    "imageMogr2/crop/!xa1a1",
)


@pytest.fixture
def session() -> Iterator[Session]:
    with sandbox(speed=1e6) as one:
        yield one


@pytest.fixture
def ci(session: Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A CI panel whose bucket holds a picture, all at rest."""
    monkeypatch.setattr(async_button, "DEBOUNCE", 0.0)
    monkeypatch.setattr(rule_preview, "DEBOUNCE", 0.0)
    session.ci.put_object("album/photo.png", photo(), content_type="image/png").run()
    one = panel("ci", session)
    settle(one)
    yield one
    one.close()


@pytest.fixture
def editor(session: Session) -> RuleEditor:
    return RuleEditor(session.rules, W.Textarea(), lambda: None)


# --- text and controls ----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_a_typed_rule_sets_the_controls(editor: RuleEditor, session: Session, rule: str) -> None:
    """The text stays as typed; what the controls then say makes the same picture."""
    editor.text.value = rule
    assert not editor.is_invalid
    assert editor.text.value == rule
    picture = photo()
    engine = session.rules
    assert outcome(engine, editor.build_rule(), picture) == outcome(engine, rule, picture)


def outcome(engine: Any, rule: str, picture: bytes) -> Any:
    try:
        return engine.apply_rule(rule, picture)
    except engine.RuleError as error:
        return error.message


def test_every_operation_can_be_added_and_is_a_rule(editor: RuleEditor, session: Session) -> None:
    """Each operation of the engine is on offer; added, its controls say a rule that the engine can
    read.
    """
    offered = [name for _, name in editor.palette.options]
    assert offered == [name for name in session.rules.OPERATIONS if name not in JSON_OPERATIONS]
    for name in offered:
        editor.text.value = ""
        editor.add_step(name)
        assert not editor.is_invalid, editor.text.value
        assert [block.operation.name for block in editor.blocks] == [name]
        assert session.rules.parse_rule(editor.text.value)


def test_moving_a_control_writes_the_rule(editor: RuleEditor) -> None:
    """Sliders, lists and switches each change the text, and only their part of it."""
    editor.text.value = "imageMogr2/thumbnail/300x/rotate/90|watermark/2/text/aGk"
    size, turn, mark = editor.blocks
    size.controls["thumbnail"].sliders.children[0].value = 500
    assert editor.text.value == "imageMogr2/thumbnail/500x/rotate/90|watermark/2/text/aGk"
    size.controls["thumbnail"].template.value = shape_of(size, "<W>x<H>!")
    turn.controls["rotate"].widget.value = 45
    mark.controls["fill"].widget.value = "#ff0080"
    mark.controls["gravity"].widget.value = "north"
    assert editor.text.value == (
        "imageMogr2/thumbnail/500x400!/rotate/45|watermark/2/text/aGk/fill/I2ZmMDA4MA/gravity/north"
    )


def shape_of(block: Any, text: str) -> Any:
    return next(one for one in block.controls["thumbnail"].templates if one.text == text)


def test_steps_are_moved_and_taken_away(editor: RuleEditor) -> None:
    """Earlier, later and remove act on one step; the others keep their values."""
    editor.text.value = "imageMogr2/rotate/90/blur/3x2/format/png"
    editor.move_block(editor.blocks[2], -1)
    assert editor.text.value == "imageMogr2/rotate/90/format/png/blur/3x2"
    editor.remove_block(editor.blocks[0])
    assert editor.text.value == "imageMogr2/format/png/blur/3x2"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("imageMogr2/rotat/90", "did you mean imageMogr2/rotate?"),
        ("imageMogr2/rotate/400", "must be an integer from 0 to 360; got &#x27;400&#x27;"),
        ("imageMogr2/thumbnail/<b>", "got &#x27;&lt;b&gt;&#x27;"),
    ],
)
def test_a_wrong_rule_says_what_is_wrong(editor: RuleEditor, rule: str, said: str) -> None:
    """The text stays, the blocks stay, and the line under the rule tells the engine's own words,
    escaped.
    """
    editor.text.value = "imageMogr2/rotate/90"
    editor.text.value = rule
    assert said in editor.error_message.value
    assert [block.operation.key for block in editor.blocks] == ["rotate"]
    editor.blocks[0].controls["rotate"].widget.value = 91
    assert (editor.text.value, editor.error_message.value) == ("imageMogr2/rotate/91", "")


def test_every_shape_reads_what_it_writes(session: Session) -> None:
    """For every parameter with shapes: what the sliders write, the engine accepts, and the sliders
    read again.
    """
    seen = 0
    for kind in session.rules.OPERATIONS.values():
        for parameter in kind.parameters:
            for shape in parse_templates(parameter.expected):
                numbers = [slot.initial for slot in shape.slots]
                assert shape.parse_value(shape.format_value(numbers)) == numbers
                assert re.fullmatch(parameter.pattern, shape.format_value(numbers)), shape
                seen += 1
    assert seen > 15


# --- the preview ----------------------------------------------------------------------------------


def test_the_preview_is_what_the_job_makes(ci: Any, session: Session) -> None:
    """The engine's bytes here and the service's output are one; the panel tells size, format and
    bytes of both.
    """
    ci.input.value, ci.rule.value = (
        "input/deer.jpg",
        "imageMogr2/thumbnail/300x/rotate/10/format/webp",
    )
    settle(ci)
    before = session.ci.get_object("input/deer.jpg").run()
    shown = ci.preview.pictures.value
    assert f"Before · input/deer.jpg · {size(before)} jpeg" in shown
    assert f"Preview · {size(ci.preview.result.body)} webp" in shown
    click(ci, ci.submit_button)
    (output,) = ci._cards[0].current.job.outputs
    assert session.picture(output).run() == ci.preview.result.body


def size(content: bytes) -> str:
    return "{}×{}".format(*Image.open(io.BytesIO(content)).size)


def test_only_the_last_of_many_changes_is_worked_out(
    ci: Any, session: Session, monkeypatch: Any
) -> None:
    """A slider that moves through twenty values asks the engine once, for the last one."""
    asked: list[str] = []
    preview = session.preview
    monkeypatch.setattr(
        session, "preview", lambda rule, content: asked.append(rule) or preview(rule, content)
    )
    monkeypatch.setattr(rule_preview, "DEBOUNCE", 0.1)
    ci.input.value = "album/photo.png"
    for degrees in range(20):
        ci.rule.value = f"imageMogr2/rotate/{degrees}"
    settle(ci)
    assert asked == ["imageMogr2/rotate/19"]


def test_what_cannot_be_carried_out_is_told_beside_the_picture(ci: Any) -> None:
    """A rule that is well written but does not fit the picture: the engine's reason stands where
    the result would.
    """
    ci.input.value, ci.rule.value = "album/photo.png", "imageMogr2/iradius/300"
    settle(ci)
    assert (
        "imageMogr2/iradius must be at most half the short side (100)" in ci.preview.pictures.value
    )
    assert ci.preview.result is None
    ci.input.value = "album/none.png"
    settle(ci)
    assert "NoSuchKey" in ci.preview.pictures.value


def test_a_mark_comes_from_the_bucket(ci: Any) -> None:
    """watermark/1 with a key of the bucket is previewed with that picture."""
    ci.input.value = "input/deer.jpg"
    ci.editor.add_step("watermark/1")
    ci.editor.blocks[0].controls["image_key"].widget.value = "album/photo.png"
    settle(ci)
    assert ci.preview.result is not None
    marked = Image.open(io.BytesIO(ci.preview.result.body)).convert("RGB")
    red, green, blue = marked.getpixel((marked.width - 10, marked.height - 10))  # type: ignore[misc]
    assert red > 200 > 90 > max(green, blue)


def test_an_answer_in_json_is_shown_as_text(ci: Any) -> None:
    """imageInfo makes no picture; its answer is shown."""
    ci.input.value, ci.rule.value = "album/photo.png", "imageInfo"
    settle(ci)
    told = re.search(r"<pre[^>]*>(.*?)</pre>", ci.preview.pictures.value, re.DOTALL)
    assert told
    assert json.loads(told[1].replace("&quot;", '"'))["width"] == "400"


# --- the bucket -----------------------------------------------------------------------------------


def test_the_bucket_is_browsed_by_prefix(ci: Any) -> None:
    """Folders open and lead back; pictures have thumbnails, and a click chooses one."""
    assert [one.description for one in ci.browser.folders.children] == ["album/", "input/"]
    click(ci, named(ci, "album/"))
    assert ci.browser.prefix.value == "album/"
    (tile,) = ci.browser.tiles.children
    assert 'src="data:image/' in tile.children[0].value
    click(ci, named(ci, "photo.png"))
    assert (ci.input.value, ci.batch_prefix.value) == ("album/photo.png", "album/")
    click(ci, named(ci, ".."))
    assert [one.description for one in ci.browser.folders.children] == ["album/", "input/"]


def test_a_key_is_escaped_and_a_full_folder_is_paged(ci: Any, session: Session) -> None:
    """Twelve tiles a page; what is no picture shows its kind."""
    for number in range(14):
        session.ci.put_object(f"many/{number:02}.<b>", b"x").run()
    ci.browser.prefix.value = "many/"
    click(ci, ci.browser.list_button)
    assert len(ci.browser.tiles.children) == 12
    assert "&lt;b&gt;" in ci.browser.tiles.children[0].children[0].value
    click(ci, ci.browser.next_button)
    assert "13–14 of 14" in ci.browser.note.value
    ci.browser.prefix.value = "nowhere/"
    click(ci, ci.browser.list_button)
    assert "No objects under this prefix." in ci.browser.note.value


# --- what is done with a rule ---------------------------------------------------------------------


def test_a_rule_is_saved_as_a_template(ci: Any, session: Session) -> None:
    """The service stores it under the name; the panel tells its id."""
    ci.rule.value, ci.template_name.value = "imageMogr2/rotate/90", "quarter"
    click(ci, ci.save_button)
    (kept,) = [one for one in session.ci.templates().run() if one["Name"] == "quarter"]
    assert kept["PicProcess"]["ProcessRule"] == "imageMogr2/rotate/90"
    assert kept["TemplateId"] in ci.message.value
    assert 'role="status"' in ci.message.value


def test_a_rule_runs_over_a_prefix(ci: Any, session: Session) -> None:
    """Every picture under the prefix gets its job; the batch has a card."""
    ci.rule.value = "imageMogr2/rotate/90"
    ci.batch_prefix.value, ci.batch_output.value = "input/", "turned/${InputName}"
    click(ci, ci.run_batch_button)
    assert ci._cards[0].current.job.status is Status.SUCCEEDED
    assert (
        len(session.ci.objects(prefix="turned/").run())
        == len(session.ci.objects(prefix="input/").run())
        == 6
    )


def test_a_wrong_rule_is_not_submitted(ci: Any, session: Session) -> None:
    """Neither as a job nor as a batch nor as a template."""
    ci.input.value, ci.rule.value = "album/photo.png", "imageMogr2/rotate/400"
    for button in (ci.submit_button, ci.save_button, ci.run_batch_button):
        click(ci, button)
        assert "The rule is not valid." in ci.message.value
    assert session.ci.jobs().run() == []


def test_jobs_are_listed_retried_and_shown(ci: Any, session: Session) -> None:
    """A row per job with its state; retry submits the same work, picture opens a card."""
    done = session.follow(
        session.ci.picture_job(
            input="album/photo.png", rule="imageMogr2/rotate/90", output="out/a.png"
        )
    ).run()
    list(
        session.batch(
            [
                session.ci.picture_job(
                    input="album/none.png", rule="imageMogr2/rotate/90", output="b.png"
                )
            ]
        )
    )
    click(ci, named(ci, "List jobs"))
    assert [job.status for job in ci.job_list.jobs] == [Status.FAILED, Status.SUCCEEDED]
    click(ci, ci.job_list.rows.children[1].children[2])
    assert len(session.ci.jobs().run()) == 3
    assert ci._cards[0].current.job.id != done.id
    assert ci._cards[0].current.pictures
    ci.job_list.state.value = "Failed"
    settle(ci)
    assert [job.status for job in ci.job_list.jobs] == [Status.FAILED]
    assert "Picture" not in [one.description for one in ci.job_list.rows.children[0].children[1:]]


def test_many_jobs_are_paged(ci: Any, session: Session) -> None:
    """A page holds eight; older and newer lead on and back."""
    calls = [
        session.ci.picture_job(
            input="album/photo.png", rule=f"imageMogr2/rotate/{n}", output=f"out/{n}.png"
        )
        for n in range(10)
    ]
    session.batch(calls).run()
    click(ci, named(ci, "List jobs"))
    assert len(ci.job_list.jobs) == 8
    click(ci, ci.job_list.next_button)
    assert len(ci.job_list.jobs) == 2
    assert ci.job_list.next_button.layout.display == "none"
    click(ci, ci.job_list.previous_button)
    assert len(ci.job_list.jobs) == 8


def test_a_waiting_job_is_cancelled_from_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancel asks the service, and the row then says so."""
    monkeypatch.setattr(async_button, "DEBOUNCE", 0.0)
    with sandbox(speed=1e-3) as slow:
        one = panel("ci", slow)
        job = slow.ci.picture_job(
            input="input/deer.jpg", rule="imageMogr2/rotate/90", output="o.jpg"
        ).run()
        press_and_wait(one, one.job_list.refresh_button)
        press_and_wait(one, named(one, "Cancel"))
        assert "cancelled" in html(one)
        assert "Cancel" not in names(one)
        assert slow.ci.job(job.id).run().status is Status.CANCELLED
        one.close()


def test_without_a_bucket_the_panel_opens_and_says_what_is_missing() -> None:
    """A session without CI: no request at the start; a click tells what to set."""
    with sandbox(speed=1e6, ci_bucket="", ci_secret_id="", ci_secret_key="") as bare:
        one = panel("ci", bare)
        settle(one)
        assert one.message.value == ""
        click(one, one.browser.list_button)
        assert 'role="alert"' in one.message.value
        one.close()


def test_closing_ends_a_preview(ci: Any) -> None:
    """A panel that is closed while the engine works leaves nothing behind."""
    ci.input.value, ci.rule.value = "input/deer.jpg", "imageMogr2/blur/50x50"
    handles = [handle.future for handle in ci._tasks]
    assert handles
    ci.close()
    assert not concurrent.futures.wait(handles, 60).not_done
    assert ci.count_pending() == 0
