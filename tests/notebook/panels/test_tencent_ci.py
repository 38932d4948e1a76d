"""The Tencent CI panel without a browser: rule editor, preview, bucket, templates, jobs."""

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

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Status
from jupyter_mjci.imaging import rule_syntax
from jupyter_mjci.notebook.panels import async_button, rule_preview
from jupyter_mjci.notebook.panels.rule_editor import JSON_OPERATIONS, RuleEditor
from jupyter_mjci.notebook.panels.value_template import parse_templates
from jupyter_mjci.session import Session
from tests.notebook.panels.test_panels import (
    click,
    click_and_wait,
    find_button,
    list_button_names,
    make_photo,
    render_html,
    wait_idle,
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
    with mjci.sandbox(speed=1e6) as session:
        yield session


@pytest.fixture
def ci_panel(session: Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A panel whose bucket has a picture; all its tasks have ended."""
    monkeypatch.setattr(async_button, "DEBOUNCE", 0.0)
    monkeypatch.setattr(rule_preview, "DEBOUNCE", 0.0)
    session.ci.put_object("album/photo.png", make_photo(), content_type="image/png").run()
    panel = mjci.panel("ci", session)
    wait_idle(panel)
    yield panel
    panel.close()


@pytest.fixture
def editor(session: Session) -> RuleEditor:
    return RuleEditor(rule_syntax, W.Textarea(), lambda: None)


# --- text and controls ----------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_typed_rule_sets_controls_and_stays_as_typed(
    editor: RuleEditor, session: Session, rule: str
) -> None:
    """The rule of the controls makes the same picture, or the same error."""
    editor.text.value = rule
    assert not editor.is_invalid
    assert editor.text.value == rule
    picture = make_photo()
    engine = rule_syntax
    assert apply_or_error(engine, editor.build_rule(), picture) == apply_or_error(
        engine, rule, picture
    )


def apply_or_error(engine: Any, rule: str, picture: bytes) -> Any:
    try:
        return engine.apply_rule(rule, picture)
    except engine.RuleError as error:
        return error.message


def test_added_operation_is_a_valid_rule(editor: RuleEditor, session: Session) -> None:
    """Every operation that makes a picture is offered."""
    offered = [name for _, name in editor.palette.options]
    assert offered == [name for name in rule_syntax.OPERATIONS if name not in JSON_OPERATIONS]
    for name in offered:
        editor.text.value = ""
        editor.add_step(name)
        assert not editor.is_invalid, editor.text.value
        assert [block.operation.name for block in editor.blocks] == [name]
        assert rule_syntax.parse_rule(editor.text.value)


def test_moved_control_changes_only_its_part_of_the_rule(editor: RuleEditor) -> None:
    """Sliders, lists, colours and numbers."""
    editor.text.value = "imageMogr2/thumbnail/300x/rotate/90|watermark/2/text/aGk"
    thumbnail, rotate, watermark = editor.blocks
    thumbnail.controls["thumbnail"].sliders.children[0].value = 500
    assert editor.text.value == "imageMogr2/thumbnail/500x/rotate/90|watermark/2/text/aGk"
    thumbnail.controls["thumbnail"].template.value = find_template(thumbnail, "<W>x<H>!")
    rotate.controls["rotate"].widget.value = 45
    watermark.controls["fill"].widget.value = "#ff0080"
    watermark.controls["gravity"].widget.value = "north"
    assert editor.text.value == (
        "imageMogr2/thumbnail/500x400!/rotate/45|watermark/2/text/aGk/fill/I2ZmMDA4MA/gravity/north"
    )


PASTED = "imageMogr2/blur/8x5|watermark/2/text/bWpjaQ==/fill/I0ZGRkZGRg/dx/0|imageView2/2/w/100"


@pytest.mark.parametrize("rule", [PASTED, f"  {PASTED}\n", "imageMogr2/rotate/0/quality/85"])
def test_pasted_rule_stays_as_typed_until_a_control_is_touched(
    editor: RuleEditor, rule: str
) -> None:
    """Values that the controls would leave out or spell in another way stay as well."""
    editor.text.value = rule
    editor.on_control_change()
    assert editor.text.value == rule


def test_touched_control_rewrites_only_its_parameter(editor: RuleEditor) -> None:
    """Other operations keep their spelling, and its own the values that equal a default."""
    editor.text.value = PASTED
    blur, watermark, _ = editor.blocks
    blur.controls["blur"].sliders.children[0].value = 9
    assert editor.text.value == PASTED.replace("8x5", "9x5")
    watermark.controls["dy"].widget.value = "30"
    expected = "watermark/2/text/bWpjaQ/fill/I0ZGRkZGRg/dx/0/dy/30"
    assert editor.text.value == f"imageMogr2/blur/9x5|{expected}|imageView2/2/w/100"


def test_changes_are_undone_and_made_again(
    editor: RuleEditor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Letters typed at once are one change; added steps and examples are changes of their own."""
    seconds = iter(range(0, 1000, 10))
    editor.history._clock = lambda: next(seconds)
    editor.text.value = "imageMogr2/rotate/90"
    editor.add_step("imageMogr2/blur")
    with_blur = editor.text.value
    editor.add_rule("imageMogr2/format/png")
    assert editor.text.value == f"{with_blur}|imageMogr2/format/png"
    editor.history._clock = lambda: 2000.0
    for text in ("i", "im", "imageView2/2/w/100"):
        editor.text.value = text
    for expected in (f"{with_blur}|imageMogr2/format/png", with_blur, "imageMogr2/rotate/90", ""):
        editor.history.undo_button.click()
        assert editor.text.value == expected
    assert editor.history.undo_button.disabled
    assert editor.blocks == []
    editor.history.redo_button.click()
    assert [block.operation.key for block in editor.blocks] == ["rotate"]
    editor.text.value = "imageMogr2/rotate/91"
    assert editor.history.redo_button.disabled


def test_typing_and_controls_are_undone_apart(editor: RuleEditor) -> None:
    """Also where one follows the other at once; steps of one slider are one change."""
    editor.history._clock = lambda: 1000.0
    editor.text.value = "imageMogr2/rotate/90"
    for degrees in (91, 92, 93):
        editor.blocks[0].controls["rotate"].widget.value = degrees
    editor.text.value = "imageMogr2/rotate/200"
    for expected in ("imageMogr2/rotate/93", "imageMogr2/rotate/90", ""):
        editor.history.undo_button.click()
        assert editor.text.value == expected


def find_template(block: Any, text: str) -> Any:
    return next(
        template for template in block.controls["thumbnail"].templates if template.text == text
    )


def test_block_can_be_moved_and_removed(editor: RuleEditor) -> None:
    """The other blocks keep their values."""
    editor.text.value = "imageMogr2/rotate/90/blur/3x2/format/png"
    editor.move_block(editor.blocks[2], -1)
    assert editor.text.value == "imageMogr2/rotate/90/format/png/blur/3x2"
    editor.remove_block(editor.blocks[0])
    assert editor.text.value == "imageMogr2/format/png/blur/3x2"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("imageMogr2/rotat/90", "did you mean imageMogr2/rotate?"),
        ("imageMogr2/rotate/400", "must be an integer from 0 to 360; got &#x27;400&#x27;"),
        ("imageMogr2/thumbnail/<b>", "got &#x27;&lt;b&gt;&#x27;"),
    ],
)
def test_invalid_rule_shows_error_and_keeps_blocks(
    editor: RuleEditor, rule: str, message: str
) -> None:
    """The engine's message is escaped; moving a control makes the rule valid again."""
    editor.text.value = "imageMogr2/rotate/90"
    editor.text.value = rule
    assert message in editor.error_message.value
    assert [block.operation.key for block in editor.blocks] == ["rotate"]
    editor.blocks[0].controls["rotate"].widget.value = 91
    assert (editor.text.value, editor.error_message.value) == ("imageMogr2/rotate/91", "")


def test_value_template_parses_what_it_formats(session: Session) -> None:
    """The rule engine accepts the formatted value of every parameter with templates."""
    count = 0
    for spec in rule_syntax.OPERATIONS.values():
        for parameter in spec.parameters:
            for template in parse_templates(parameter.expected):
                numbers = [slot.initial for slot in template.slots]
                assert template.parse_value(template.format_value(numbers)) == numbers
                assert re.fullmatch(parameter.pattern, template.format_value(numbers)), template
                count += 1
    assert count > 15


# --- the preview ----------------------------------------------------------------------------------


def test_preview_equals_the_output_of_the_job(ci_panel: Any, session: Session) -> None:
    """The preview has the same bytes as the output; captions have the size and format of both."""
    ci_panel.input.value, ci_panel.rule.value = (
        "input/deer.jpg",
        "imageMogr2/thumbnail/300x/rotate/10/format/webp",
    )
    wait_idle(ci_panel)
    before = session.ci.get_object("input/deer.jpg").run()
    page = ci_panel.preview.pictures.value
    assert f"Before · input/deer.jpg · {size(before)} jpeg" in page
    assert f"Preview · {size(ci_panel.preview.result.body)} webp" in page
    click(ci_panel, ci_panel.submit_button)
    (output,) = ci_panel._cards[0].current.job.outputs
    assert session.picture(output).run() == ci_panel.preview.result.body


def size(content: bytes) -> str:
    return "{}×{}".format(*Image.open(io.BytesIO(content)).size)


def test_quick_changes_are_previewed_once(
    ci_panel: Any, session: Session, monkeypatch: Any
) -> None:
    """Of twenty values of a slider only the last one is previewed."""
    previewed: list[str] = []
    preview = session.preview
    monkeypatch.setattr(
        session, "preview", lambda rule, content: previewed.append(rule) or preview(rule, content)
    )
    monkeypatch.setattr(rule_preview, "DEBOUNCE", 0.1)
    ci_panel.input.value = "album/photo.png"
    for degrees in range(20):
        ci_panel.rule.value = f"imageMogr2/rotate/{degrees}"
    wait_idle(ci_panel)
    assert previewed == ["imageMogr2/rotate/19"]


def test_preview_error_is_shown_beside_the_original(ci_panel: Any) -> None:
    """A valid rule that does not fit the picture, and a missing picture."""
    ci_panel.input.value, ci_panel.rule.value = "album/photo.png", "imageMogr2/iradius/300"
    wait_idle(ci_panel)
    assert (
        "imageMogr2/iradius must be at most half the short side (100)"
        in ci_panel.preview.pictures.value
    )
    assert ci_panel.preview.result is None
    ci_panel.input.value = "album/none.png"
    wait_idle(ci_panel)
    assert "NoSuchKey" in ci_panel.preview.pictures.value


def test_preview_loads_watermark_picture_from_the_bucket(ci_panel: Any) -> None:
    ci_panel.input.value = "input/deer.jpg"
    ci_panel.editor.add_step("watermark/1")
    ci_panel.editor.blocks[0].controls["image_key"].widget.value = "album/photo.png"
    wait_idle(ci_panel)
    assert ci_panel.preview.result is not None
    marked = Image.open(io.BytesIO(ci_panel.preview.result.body)).convert("RGB")
    red, green, blue = marked.getpixel((marked.width - 10, marked.height - 10))  # type: ignore[misc]
    assert red > 200 > 90 > max(green, blue)


def test_json_result_is_shown_as_text(ci_panel: Any) -> None:
    ci_panel.input.value, ci_panel.rule.value = "album/photo.png", "imageInfo"
    wait_idle(ci_panel)
    match = re.search(r"<pre[^>]*>(.*?)</pre>", ci_panel.preview.pictures.value, re.DOTALL)
    assert match
    assert json.loads(match[1].replace("&quot;", '"'))["width"] == "400"


# --- the bucket -----------------------------------------------------------------------------------


def test_object_browser_opens_folders_and_chooses_objects(ci_panel: Any) -> None:
    """Pictures have thumbnails; a chosen object sets the input and the batch prefix."""
    assert [button.description for button in ci_panel.browser.folders.children] == [
        "album/",
        "input/",
    ]
    click(ci_panel, find_button(ci_panel, "album/"))
    assert ci_panel.browser.prefix.value == "album/"
    (tile,) = ci_panel.browser.tiles.children
    assert 'src="data:image/' in tile.children[0].value
    click(ci_panel, find_button(ci_panel, "photo.png"))
    assert (ci_panel.input.value, ci_panel.batch_prefix.value) == ("album/photo.png", "album/")
    click(ci_panel, find_button(ci_panel, ".."))
    assert [button.description for button in ci_panel.browser.folders.children] == [
        "album/",
        "input/",
    ]


def test_object_browser_escapes_keys_and_pages_long_folders(
    ci_panel: Any, session: Session
) -> None:
    """A page has twelve tiles; an object that is not a picture shows its extension."""
    for number in range(14):
        session.ci.put_object(f"many/{number:02}.<b>", b"x").run()
    ci_panel.browser.prefix.value = "many/"
    click(ci_panel, ci_panel.browser.list_button)
    assert len(ci_panel.browser.tiles.children) == 12
    assert "&lt;b&gt;" in ci_panel.browser.tiles.children[0].children[0].value
    click(ci_panel, ci_panel.browser.next_button)
    assert "13–14 of 14" in ci_panel.browser.status_line.value
    ci_panel.browser.prefix.value = "nowhere/"
    click(ci_panel, ci_panel.browser.list_button)
    assert "No objects under this prefix." in ci_panel.browser.status_line.value


# --- what is done with a rule ---------------------------------------------------------------------


def test_rule_can_be_saved_as_template(ci_panel: Any, session: Session) -> None:
    """A note shows the template's ID."""
    ci_panel.rule.value, ci_panel.template_name.value = "imageMogr2/rotate/90", "quarter"
    click(ci_panel, ci_panel.save_button)
    (template,) = [
        template for template in session.ci.templates().run() if template["Name"] == "quarter"
    ]
    assert template["PicProcess"]["ProcessRule"] == "imageMogr2/rotate/90"
    assert template["TemplateId"] in ci_panel.message.value
    assert 'role="status"' in ci_panel.message.value


def test_rule_runs_over_a_prefix_as_batch(ci_panel: Any, session: Session) -> None:
    ci_panel.rule.value = "imageMogr2/rotate/90"
    ci_panel.batch_prefix.value, ci_panel.batch_output.value = "input/", "turned/${InputName}"
    click(ci_panel, ci_panel.run_batch_button)
    assert ci_panel._cards[0].current.job.status is Status.SUCCEEDED
    assert (
        len(session.ci.objects(prefix="turned/").run())
        == len(session.ci.objects(prefix="input/").run())
        == 6
    )


def test_batch_of_more_jobs_than_allowed_is_refused_before_the_first(ci_panel: Any) -> None:
    """The message has the number; the form's own limit allows it."""
    ci_panel.rule.value = "imageMogr2/rotate/90"
    ci_panel.batch_prefix.value = "input/"
    count = len(ci_panel.session.ci.objects(prefix="input/").run())
    ci_panel.batch_limit.value = count - 1
    click(ci_panel, ci_panel.run_batch_button)
    assert f"This would submit {count} jobs; at most {count - 1}" in ci_panel.message.value
    assert ci_panel.session.ci.batches().run() == []
    ci_panel.batch_limit.value = count
    click(ci_panel, ci_panel.run_batch_button)
    assert ci_panel.message.value == ""
    assert len(ci_panel.session.ci.batches().run()) == 1


def test_invalid_rule_is_not_submitted(ci_panel: Any, session: Session) -> None:
    """Neither as job nor as batch nor as template."""
    ci_panel.input.value, ci_panel.rule.value = "album/photo.png", "imageMogr2/rotate/400"
    for button in (ci_panel.submit_button, ci_panel.save_button, ci_panel.run_batch_button):
        click(ci_panel, button)
        assert "The rule is not valid." in ci_panel.message.value
    assert session.ci.jobs().run() == []


def test_job_list_retries_opens_and_filters_jobs(ci_panel: Any, session: Session) -> None:
    """Retry submits the same work and opens it as a card."""
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
    click(ci_panel, find_button(ci_panel, "List jobs"))
    assert [job.status for job in ci_panel.job_list.jobs] == [Status.FAILED, Status.SUCCEEDED]
    click(ci_panel, ci_panel.job_list.rows.children[1].children[2])
    assert len(session.ci.jobs().run()) == 3
    assert ci_panel._cards[0].current.job.id != done.id
    assert ci_panel._cards[0].current.pictures
    ci_panel.job_list.state.value = "Failed"
    wait_idle(ci_panel)
    assert [job.status for job in ci_panel.job_list.jobs] == [Status.FAILED]
    assert "Picture" not in [
        button.description for button in ci_panel.job_list.rows.children[0].children[1:]
    ]


def test_job_list_is_paged(ci_panel: Any, session: Session) -> None:
    calls = [
        session.ci.picture_job(
            input="album/photo.png", rule=f"imageMogr2/rotate/{n}", output=f"out/{n}.png"
        )
        for n in range(10)
    ]
    session.batch(calls).run()
    click(ci_panel, find_button(ci_panel, "List jobs"))
    assert len(ci_panel.job_list.jobs) == 8
    click(ci_panel, ci_panel.job_list.next_button)
    assert len(ci_panel.job_list.jobs) == 2
    assert ci_panel.job_list.next_button.layout.display == "none"
    click(ci_panel, ci_panel.job_list.previous_button)
    assert len(ci_panel.job_list.jobs) == 8


def test_queued_job_is_cancelled_from_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_button, "DEBOUNCE", 0.0)
    with mjci.sandbox(speed=1e-3) as session:
        panel = mjci.panel("ci", session)
        job = session.ci.picture_job(
            input="input/deer.jpg", rule="imageMogr2/rotate/90", output="o.jpg"
        ).run()
        click_and_wait(panel, panel.job_list.refresh_button)
        click_and_wait(panel, find_button(panel, "Cancel"))
        assert "cancelled" in render_html(panel)
        assert "Cancel" not in list_button_names(panel)
        assert session.ci.job(job.id).run().status is Status.CANCELLED
        panel.close()


def test_panel_without_bucket_opens_and_shows_missing_settings_on_click() -> None:
    """Nothing is requested when it opens."""
    with mjci.sandbox(speed=1e6, ci_bucket="", ci_secret_id="", ci_secret_key="") as session:
        panel = mjci.panel("ci", session)
        wait_idle(panel)
        assert panel.message.value == ""
        click(panel, panel.browser.list_button)
        assert 'role="alert"' in panel.message.value
        panel.close()


def test_closed_panel_cancels_the_preview(ci_panel: Any) -> None:
    ci_panel.input.value, ci_panel.rule.value = "input/deer.jpg", "imageMogr2/blur/50x50"
    handles = [handle.future for handle in ci_panel._tasks]
    assert handles
    ci_panel.close()
    assert not concurrent.futures.wait(handles, 60).not_done
    assert ci_panel.count_pending() == 0
