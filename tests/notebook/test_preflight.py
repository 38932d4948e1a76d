"""Likely mistakes are refused before anything is sent. Real shell, real sandbox."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
from IPython.core.error import UsageError
from PIL import Image

import jupyter_mjci as mjci
from jupyter_mjci.errors import PreflightError
from jupyter_mjci.imaging.rule_syntax import find_mistake
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.tencent_ci.api import TencentCI
from jupyter_mjci.session import Session
from tests.notebook.conftest import Shell


def record_calls(session: Session) -> list[Any]:
    calls: list[Any] = []
    session.listeners.append(
        lambda event, value: calls.append(value) if event == "submitting" else None
    )
    return calls


XML = (
    "<Request><Tag>PicProcess</Tag><Input><Object>input/deer.jpg</Object></Input><Operation>"
    "<PicProcess><ProcessRule>imageMogr2/rotat/90</ProcessRule></PicProcess><Output>"
    "<Region>r</Region><Bucket>b-1</Bucket><Object>o.jpg</Object></Output></Operation></Request>"
)
TOML = 'input = "input/deer.jpg"\nrule = "imageMogr2/rotat/90"\noutput = "o.jpg"'

# (cell, what the error says); `task` has buttons, `zoom` waits
# for the dialog of a custom zoom.
REFUSED: tuple[tuple[str, str], ...] = (
    ("%mj_imagine a fox --no-wiat", "Did you mean --no-wait?"),
    ("%mj_imagine a fox --nowait --ar 3:2", "Did you mean --no-wait?"),
    ("%mj_imagine a fox --dryrun", "Did you mean --dry-run?"),
    ("%mj_imagine a fox —dry-run", "Did you mean --dry-run?"),
    ("%mj_imagine a fox --art 3:2", "Did you mean --ar?"),
    ("%mj_imagine a fox —ar 3:2", "Did you mean --ar?"),
    ("%%mj_imagine\na fox --no-wait", "Did you mean --no-wait?"),
    ("%%mj_imagine -o job\na fox --ar 3:2 --ar 1:1", "--ar is there twice"),
    ("text = 'a fox --s 2000'\n%mj_imagine {{text}}", "from 0 to 1000, not 2000"),
    ("rows = [{'s': 5}, {'s': 5000}]\n%mj_imagine a --s {{s}} --each rows", "Row 1 of rows"),
    ("%mj_video a fox runs", "A video begins with a picture"),
    ("%mj_modal zoom a red fox", "A custom zoom needs its factor"),
    ("%mj_modal zoom a red fox --zoom 3", "from 1 to 2, not 3"),
    ("%mj_modal zoom --mask black.png a boat", "Nothing of the mask is white"),
    ("%mj_modal zoom --mask small.png --zoom 2 a boat", "4×4 pixels, and the picture "),
    ("%mj_modal --mask small.png {{zoom.id}} --zoom 2", "4×4 pixels, and the picture "),
    ("%mj_edits a boat --picture fox.png --mask small.png", "4×4 pixels, and the picture 8×8"),
    (f"%%ci_job\n{TOML}", "did you mean imageMogr2/rotate?"),
    (f"%%ci_job\n{XML}", "did you mean imageMogr2/rotate?"),
    (
        "%ci_picture_job --input a.jpg --output b.jpg --rule imageMogr2/rotate/400",
        "must be an integer from 0 to 360; got '400'",
    ),
    ("%mj_task task --nowait", "Did you mean --no-wait?"),
    # dashes and signs of input methods
    ("%mj_imagine a fox ——no-wait", "Did you mean --no-wait?"),
    ("%mj_imagine a fox ⸺no-wait", "Did you mean --no-wait?"),
    ("%mj_imagine a fox －－ar 3:2", "Did you mean --ar?"),
    ("%mj_imagine a fox —ar 3：2", "Did you mean --ar?"),
    ("%mj_imagine a fox --ar 3：2", "such as 3:2, not 3：2"),
    ("%mj_action fox ——no-wait U1", "Did you mean --no-wait?"),
    # hyphens that are missing, and blanks that are too many
    ("%mj_imagine a fox ar 3:2", "Did you mean --ar 3:2?"),
    ("%mj_imagine a fox --no wait", "Did you mean --no-wait?"),
    ("%mj_imagine a fox --dry run", "Did you mean --dry-run?"),
    ("%mj_imagine a fox --max jobs 3", "Did you mean --max-jobs?"),
    ("%mj_imagine a fox --out job", "Did you mean -o?"),
    ("%mj_imagine a fox -out job", "Did you mean -o?"),
    ("%mj_imagine a fox -ojob", "Did you mean -o job?"),
    ("%%ci_job --no-wiat\n" + TOML, "Did you mean --no-wait?"),
    # options behind -- in the middle of a prompt
    ("%mj_imagine a fox -- --ar 3:2", "-- alone is no flag"),
    ("%mj_imagine a fox -- --no-wait", "-- alone is no flag"),
    # quotation marks without a partner
    ('%mj_imagine "a fox --ar 3:2', 'The quotation mark of "a has no partner'),
    ('%mj_imagine a fox" --no-wait', 'The quotation mark of fox" has no partner'),
    ("%mj_imagine “a fox --ar 3:2", "The quotation mark of “a has no partner"),
    ('%mj_imagine a sign "open" and a "door', 'The quotation mark of "door has no partner'),
    # quotation marks, as a shell takes them: Midjourney would read 3:2" as the ratio
    ('%mj_imagine "a fox --ar 3:2"', "--ar stands in quotation marks"),
    ("%mj_imagine 'a fox --tile'", "--tile stands in quotation marks"),
    ("%mj_imagine “a fox --arr 3:2”", "--arr stands in quotation marks"),
    ('%%mj_imagine\n"a fox --no-wait"', "--no-wait stands in quotation marks"),
    ('%mj_imagine a "fox --AR 3:2" in snow', "--AR stands in quotation marks"),
    # what a synopsis has for a value
    ("%mj_imagine PROMPT [options]", "PROMPT stands for your own text"),
    ("%mj_imagine [PROMPT]", "PROMPT stands for your own text"),
    ("%mj_imagine <prompt>", "PROMPT stands for your own text"),
    ('%mj_imagine prompt="a fox"', "The prompt needs no option"),
    ('%mj_imagine --prompt "a fox"', "The prompt needs no option"),
    ("%mj_action TASK BUTTON", "TASK stands for a value of your own"),
    ("%mj_task <TASK_ID>", "<TASK_ID> stands for a value of your own"),
    # names
    ("%mj imagine a fox", "Did you mean %mj_imagine?"),
    ("%MJ_imagine a fox", "Did you mean mj_imagine?"),
    ("%mj-imagine a fox", "Did you mean mj_imagine?"),
    ("%%mj_imagin\na fox", "Did you mean mj_imagine?"),
    ("%ci_status", "Did you mean %mjci status?"),
)


@pytest.fixture
def filled_shell(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8), "orange").save("fox.png")
    Image.new("L", (8, 8)).save("black.png")
    Image.new("L", (4, 4), 255).save("small.png")
    shell.run("fox = %mj_imagine a red fox")
    shell.run("task = %mj_action fox U1")
    shell.run("zoom = %mj_action task Custom Zoom")
    shell.run(
        "from PIL import Image; Image.new('L', s.picture(task).run().size, 255).save('whole.png')"
    )
    return shell


@pytest.mark.parametrize(("cell", "message"), REFUSED, ids=[row[0][:60] for row in REFUSED])
def test_likely_mistake_is_not_sent(
    filled_shell: Shell, session: Session, cell: str, message: str
) -> None:
    calls = record_calls(session)
    assert message in filled_shell.fails(cell)
    assert isinstance(filled_shell.error, UsageError)
    assert calls == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("input = “input/deer.jpg”", 'Did you mean straight quotation marks (")?'),
        ('input： "input/deer.jpg"', 'Did you mean input = "input/deer.jpg"?'),
        ('input: "input/deer.jpg"', 'Did you mean input = "input/deer.jpg"?'),
        ('inptu = "input/deer.jpg"', "Did you mean input?"),
    ],
)
def test_body_with_other_signs_says_what_is_near(shell: Shell, line: str, message: str) -> None:
    assert message in shell.fails(f"%%ci_job\n{line}")


# (cell, the prompt or rule that is sent all the same)
SENT: tuple[tuple[str, str], ...] = (
    ("%mj_imagine a fox --chaos 0 --chaos 5 --as-is --dry-run", "--chaos 0 --chaos 5"),
    ("%mj_imagine --as-is a fox —ar 3:2 --dry-run", "a fox —ar 3:2"),
    ("%%mj_imagine --as-is --dry-run\na fox --art 3:2", "a fox --art 3:2"),
    ("%mj_imagine --as-is a fox ar 3:2 --dry-run", "a fox ar 3:2"),
    ('%mj_imagine --as-is "a fox --dry-run', "a fox"),
    ('%mj_imagine --dry-run -- "a fox, it said', "a fox, it said"),
    ('%%mj_imagine --dry-run\n"a fox, it said', "a fox, it said"),
    ('%mj_imagine --dry-run a 12" record, "a fox", a 7" one', "record"),
    ("%mj_imagine --dry-run a {red, blue} fox -- in snow", "fox -- in snow"),
    ("%mj_imagine --dry-run prompt engineering as a poster", "prompt engineering"),
    ("%mj_imagine --dry-run -- a fox --no-wait -o x", "a fox --no-wait -o x"),
    ("%mj_modal zoom a red fox --as-is --dry-run", "a red fox"),
    ("%mj_modal zoom a red fox --zoom 1.5 --dry-run", "a red fox --zoom 1.5"),
    ("%mj_modal --mask whole.png zoom --zoom 2 a boat --dry-run", "--zoom 2 a boat"),
    (f"%%ci_job --as-is --dry-run\n{TOML}", "imageMogr2/rotat/90"),
    (f"%%ci_job --as-is --dry-run\n{XML}", "imageMogr2/rotat/90"),
)


@pytest.mark.parametrize(("cell", "text"), SENT, ids=[row[0][:60] for row in SENT])
def test_what_is_meant_is_sent_unchanged(
    filled_shell: Shell, session: Session, cell: str, text: str
) -> None:
    filled_shell.run(cell)
    assert text in filled_shell.texts[0]


def test_option_in_the_middle_counts_and_prompt_stays(shell: Shell, session: Session) -> None:
    calls = record_calls(session)
    job = shell.run("%mj_imagine a  red fox -o job --ar 3:2")
    assert job.subject == "a  red fox --ar 3:2"
    assert shell.ip.user_ns["job"].id == job.id
    shell.run("%mj_imagine a fox --dry-run --ar 3:2")
    shell.run("%mj_imagine a fox --help")
    assert shell.texts[0].startswith("%mj_imagine PROMPT")
    assert len(calls) == 1


def test_mask_is_sent_from_wherever_it_stands(filled_shell: Shell, session: Session) -> None:
    """An option behind the task's ID was part of the prompt once, and the mask was lost."""
    calls = record_calls(session)
    filled_shell.run("region = %mj_action task Vary (Region)")
    filled_shell.run("%mj_modal region --mask whole.png a boat")
    assert calls[-1].name == "modal"
    assert b'"maskBase64":"data:image/png' in calls[-1].body
    assert b'"prompt":"a boat"' in calls[-1].body


# (rule, whether it is certainly wrong)
RULES: tuple[tuple[str, bool], ...] = (
    ("imageMogr2/thumbnail/400x|watermark/2/text/bWpjaQ/fill/I0ZGRkZGRg", False),
    ("imageMogr2/rotat/90", True),
    ("imageMogr/rotate/90", True),
    ("imageMogr2/rotate/400", True),
    ("imageMogr2/thumbnail/big", True),
    # Unknown here, but perhaps not to the service.
    ("watermark/3/type/2/image/abc", False),
    ("AIImageCrop/width/100", False),
    ("imageMogr2/animate/true", False),
)


@pytest.mark.parametrize(("rule", "wrong"), RULES)
def test_rule_is_refused_where_it_is_certainly_wrong(rule: str, wrong: bool) -> None:
    assert (find_mistake(rule) is not None) is wrong
    ci = TencentCI(bucket="b-1", region="r")
    for build in (
        lambda **extra: ci.picture_job(input="i", output="o", rule=rule, **extra),
        lambda **extra: ci.batch(name="n", prefix="p", output="o", rule=rule, **extra),
    ):
        assert build(as_is=True).is_submission
        if wrong:
            with pytest.raises(PreflightError, match="The service would refuse this rule"):
                build()
        else:
            build()


def encode(mode: str, size: tuple[int, int], color: int | str = 0) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, size, color).save(stream, "PNG")
    return stream.getvalue()


def test_mask_that_cannot_work_is_refused() -> None:
    """A link is not fetched for it."""
    mj = Midjourney()
    picture = encode("RGB", (8, 6), "red")
    with pytest.raises(PreflightError, match="Nothing of the mask is white"):
        mj.edits("a boat", picture, mask=encode("L", (8, 6)))
    with pytest.raises(PreflightError, match="The mask has 6×8 pixels, and the picture 8×6"):
        mj.edits("a boat", picture, mask=encode("L", (6, 8), 255))
    erased = encode("RGBA", (8, 6), (0, 0, 0, 0))
    for mask in (encode("L", (8, 6), 255), encode("RGBA", (8, 6), "white"), erased, "https://x/m"):
        assert mj.edits("a boat", picture, mask=mask).is_submission
    assert mj.edits("a boat", "https://x/a.png", mask=encode("L", (6, 8), 255)).is_submission


def test_submission_that_still_runs_is_named_on_the_card(shell: Shell, session: Session) -> None:
    """With how to follow it instead; once it has ended, nothing is said."""
    session.configure(wait=0.0001)
    shell.fails("%mj_imagine a blue owl")
    first = session.client.known_jobs("mj")[-1]
    shell.fails("%mj_imagine a blue owl")
    assert f"still going: IMAGINE {first.id}" in shell.texts[0]
    assert f"%mj_task {first.id}" in shell.texts[0]
    shell.fails("%mj_imagine another owl")
    assert "still going" not in shell.texts[0]
    session.configure(wait=900.0)
    for job in session.client.known_jobs("mj"):
        session.follow(job).run()
    shell.run("%mj_imagine a blue owl")
    assert "still going" not in shell.texts[0]


CI_CELL = 'input = "input/deer.jpg"\nrule = "imageMogr2/rotate/9"\noutput = "o/{name}.jpg"'


def test_submission_that_still_runs_is_named_after_a_restart(
    empty_shell: Shell, tmp_path: Path
) -> None:
    """By the journal: the request is the same but for its marker, whichever kernel sent it."""
    red = tmp_path / "red.png"
    red.write_bytes(encode("RGB", (8, 6), "red"))
    with mjci.sandbox(speed=1e-6, home=tmp_path) as first:
        job = first.mj.imagine("a blue owl", images=[red]).run()
        work = first.ci.picture_job(
            input="input/deer.jpg", rule="imageMogr2/rotate/9", output="o/a.jpg"
        ).run()
        assert first.sandbox is not None
        again = Session(
            first.settings,
            clock=first.client.clock,
            transport=first.sandbox.transport(),
            home=tmp_path,
        )
        again.configure(wait=1e-6)
        empty_shell.ip.push({"s": again})
        empty_shell.fails(f"%mj_imagine a blue owl --images {red}")
        assert f"still going: IMAGINE {job.id}" in empty_shell.texts[0]
        empty_shell.fails("%mj_imagine a blue owl")
        assert "still going" not in empty_shell.texts[0]
        empty_shell.fails(f"%%ci_job\n{CI_CELL.format(name='a')}")
        assert f"still going: PicProcess {work.id}" in empty_shell.texts[0]
        empty_shell.fails(f"%%ci_job\n{CI_CELL.format(name='b')}")
        assert "still going" not in empty_shell.texts[0]
        again.close()


def test_batch_that_still_runs_is_named_on_its_card(shell: Shell, session: Session) -> None:
    session.configure(wait=0.0001)
    shell.run("rows = [{'animal': 'fox'}, {'animal': 'owl'}, {'animal': 'stag'}]")
    shell.run("%mj_imagine a {{animal}} --each rows")
    assert "still going" not in shell.texts[0]
    shell.run("%mj_imagine a {{animal}} --each rows")
    assert "3 submissions just like these are still going" in shell.texts[0]
    assert "%mjci resume" in shell.texts[0]


def test_submission_of_unknown_outcome_is_named_before_it_is_sent_again(shell: Shell) -> None:
    session = mjci.sandbox(speed=math.inf, dialect="new-api")
    shell.ip.push({"s": session})
    assert session.sandbox is not None
    session.sandbox.faults.add("drop_after", route="POST /mj/submit/*", times=1)
    shell.fails("%mj_imagine a red fox --session s")
    shell.run("%mj_imagine a red fox --session s")
    assert "just like this has an unknown outcome" in shell.texts[0]


def test_status_says_what_was_submitted_today(shell: Shell) -> None:
    shell.run("%mjci status")
    assert "nothing submitted" in shell.texts[0]
    shell.run("%mj_imagine a fox")
    shell.run("%mjci status")
    assert "1 submitted (1 accepted)" in shell.texts[0]
