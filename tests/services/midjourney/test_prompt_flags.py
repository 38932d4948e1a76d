"""The check of a prompt's flags before it is sent."""

from __future__ import annotations

import json

import pytest

from jupyter_mjci.emulator.midjourney.tasks import KNOWN_PARAMETERS
from jupyter_mjci.errors import PreflightError
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.midjourney.prompt_flags import (
    FLAGS,
    FLAGS_BY_NAME,
    check_prompt,
    count_jobs,
    list_variants,
    split_flags,
)

mj = Midjourney()

# (prompt, what the error says)
REFUSED: tuple[tuple[str, str], ...] = (
    ("a fox --art 3:2", "--art is not a flag of Midjourney.\n→ Did you mean --ar?"),
    ("a fox --stylise 100", "Did you mean --stylize?"),
    ("a fox --cahos 20", "Did you mean --chaos?"),
    ("a fox --v7", "Did you mean --v 7?"),
    ("a fox --ar3:2", "Did you mean --ar 3:2?"),
    ("a fox --ar=3:2", "Did you mean --ar 3:2?"),
    ("a fox --tile, --raw", "Did you mean --tile?"),
    ("a fox --qqqqqq", "Those are --ar, --v"),
    ("a fox —ar 3:2", "Did you mean --ar?"),
    ("a fox –v 7", "Did you mean --v?"),
    ("a fox -s 250", "Did you mean --s?"),
    ("a fox − ar 3:2", "Did you mean --ar?"),
    ("a fox -- ar 3:2", "Did you mean --ar?"),
    ("a fox ---ar 3:2", "Did you mean --ar?"),
    ("a fox —no wolves", "Did you mean --no?"),
    ("a fox —tile", "Did you mean --tile?"),
    ("a fox —niji 6", "Did you mean --niji?"),
    ("a fox --ar 3x2", "--ar must be width:height in whole numbers, such as 3:2, not 3x2."),
    ("a fox --ar 0:2", "not 0:2."),
    ("a fox --ar 1.5:1", "not 1.5:1."),
    ("a fox --ar", "--ar needs a value"),
    ("a fox --ar --v 7", "--ar needs a value"),
    ("a fox --chaos 101", "--chaos must be a whole number from 0 to 100, not 101."),
    ("a fox --s 1001", "from 0 to 1000, not 1001."),
    ("a fox --seed -1", "from 0 to 4294967295, not -1."),
    ("a fox --weird lots", "not lots."),
    ("a fox --iw 3.5", "--iw must be a number from 0 to 3, not 3.5."),
    ("a fox --v 99", "--v must be a version of the model, such as 7 or 6.1, not 99."),
    ("a fox --v 5.3", "not 5.3."),
    ("a fox --q 3", "--q must be one of"),
    ("a fox --zoom 3", "from 1 to 2, not 3."),
    ("https://x/a.png --video --motion fast", "--motion must be one of low, high, not fast."),
    ("a fox --ar 3:2 --aspect 16:9", "--ar is there twice: --ar 3:2 and --aspect 16:9."),
    ("a fox --raw --raw", "--raw is there twice"),
    ("a fox --v 6.1 --oref https://x/y.png", "--oref does not exist in version 6.1"),
    ("a fox --v 7 --cref https://x/y.png", "only in versions before 7"),
    ("a fox --video", "A video begins with a picture"),
    ("a bowl --{v 5, niji, tset}", "--tset is not a flag"),
    ("a {red, green} fox --ar {3:2, 3}", "not 3."),
    ('""', "has no words"),
    ("?", "has no words"),
    ("{{ }} …", "has no words"),
)


@pytest.mark.parametrize(("prompt", "message"), REFUSED, ids=[row[0] for row in REFUSED])
def test_wrong_flag_is_refused_with_what_to_change(prompt: str, message: str) -> None:
    """Sent as it is only where the caller asks for it."""
    with pytest.raises(PreflightError) as caught:
        mj.imagine(prompt)
    assert message in str(caught.value)
    assert "--as-is" in str(caught.value)
    assert json.loads(mj.imagine(prompt, as_is=True).body)["prompt"] == prompt


ACCEPTED = (
    "a fox",
    "🦊",
    "狐",
    "7",
    "a well-known fox - in snow -- at dusk — no one knows",
    "it's a fox--really",
    "a fox—not a wolf—runs",
    "it —no one knows why— runs",
    "– –no x",
    "three foxes —each with a hat— run, a −5 degree day",
    "他说——狐狸 --ar 3:2",
    "a fox --no wolves, snow, red-brown things",
    "a fox --no wolves --no snow",
    "a fox --sref 12345 67890::2 --sw 100 --sv 6",
    "a fox --sref random",
    "a fox --sref https://x.y/--z.png https://x.y/w.png::2",
    "https://a.b/c--d.png a fox --iw 2.5",
    "a fox --p",
    "a fox --p abc123 m456 --ar 3:2",
    "a fox --profile",
    "a fox:: wolf::-.5 --ar 3:2",
    "{a, b} fox --ar {3:2, 16:9}",
    "a bowl --{v 5, niji, test}",
    "a {fox {--v 7, --niji 6}, wolf}",
    "a fox --niji",
    "a fox --niji 7 --style cute --raw",
    "a fox --v 7 --raw --hd --draft --exp 20",
    "a fox --v 8.1 --oref https://x/y.png --ow 400",
    "a fox --v 6.1 --cref https://x/y.png --cw 0",
    "https://x/a.png it runs --video --motion high --loop --bs 1 --end loop",
    "https://x/a.png --video --end https://x/b.png",
    'a sign "--dry-run --foo" in “--bar”',
    "a fox --AR 3:2 --V 7",
    "--ar 3:2 a fox",
    "a fox --ar 3:2, red",
    'a 12" record --v 7.0',
    "a fox --v 3 --s 5000 --iw 20",
    "a fox --test --creative",
    "a fox --v 2 --video",
    "a fox --q .5 --r 4 --stop 80 --tile --weird 3000",
    "a fox --seed 4294967295 --turbo --stealth",
    "a fox --fast --public",
    "a {red\\, blue, green} fox",
    "-no- — a - b",
    "$5 {} {{x}, y} \\n 50% & <b>",
)


@pytest.mark.parametrize("prompt", ACCEPTED)
def test_valid_prompt_is_encoded_unchanged(prompt: str) -> None:
    """No false alarm: what may be prose, and what any version understands, is sent."""
    assert json.loads(mj.imagine(prompt).body)["prompt"] == prompt


def test_every_builder_with_a_prompt_checks_it() -> None:
    wrong = "a fox --art 3:2"
    picture = "data:image/png;base64,iVBORw0KGgo="
    for build in (
        lambda **extra: mj.imagine(wrong, **extra),
        lambda **extra: mj.shorten(wrong, **extra),
        lambda **extra: mj.modal("1", wrong, **extra),
        lambda **extra: mj.edits(wrong, picture, **extra),
        lambda **extra: mj.retexture(wrong, picture, **extra),
        lambda **extra: mj.video(wrong, picture=picture, **extra),
    ):
        with pytest.raises(PreflightError, match="--art"):
            build()
        assert json.loads(build(as_is=True).body)["prompt"] == wrong


def test_video_without_picture_is_refused() -> None:
    with pytest.raises(PreflightError, match="A video begins with a picture"):
        mj.video("a fox runs")
    for call in (
        mj.video("https://x/a.png a fox runs"),
        mj.video("it runs", extend="1"),
        mj.imagine("a fox --video", images=["data:image/png;base64,iVBORw0KGgo="]),
    ):
        assert call.is_submission


def test_options_of_a_magic_are_suggested() -> None:
    """After `--`, what is or resembles one is text; Midjourney's flags are checked all the same."""
    options = ["--no-wait", "--dry-run"]
    with pytest.raises(PreflightError, match=r"Did you mean --no-wait\?"):
        check_prompt("a fox --no-wiat", other_flags=options)
    check_prompt("a fox --no-wiat --dry-run", other_flags=options, others_are_text=True)
    with pytest.raises(PreflightError, match=r"Did you mean --ar\?"):
        check_prompt("a fox --art 3:2", other_flags=options, others_are_text=True)


def test_table_names_every_flag_of_the_sandbox_once() -> None:
    """The sandbox fails a task with a flag that it does not know, as Midjourney does."""
    names = [name for flag in FLAGS for name in flag.names]
    assert len(names) == len(set(names)) == len(FLAGS_BY_NAME)
    missing = {f"--{name}" for name in KNOWN_PARAMETERS} - set(names)
    assert not missing


# (prompt, jobs)
COUNTS: tuple[tuple[str, int], ...] = (
    ("a fox", 1),
    ("a {red, green} fox", 2),
    ("a {red, green} {fox, owl, cat}", 6),
    ("a {fox, {red, green} owl}", 3),
    ("a fox --repeat 5", 5),
    ("{a, b} --r 4", 8),
    ("a fox --r {2, 3}", 5),
    ("a {red\\, blue} fox", 1),
)


@pytest.mark.parametrize(("prompt", "count"), COUNTS)
def test_jobs_of_permutations_and_repeats_are_counted(prompt: str, count: int) -> None:
    assert count_jobs(prompt) == mj.imagine(prompt).job_count == count


def test_permutations_are_expanded_up_to_a_limit() -> None:
    assert list_variants("a {b, c} d") == ["a b d", "a c d"]
    assert len(list_variants("{a,b}" * 40, 100)) == 100


SPLIT_CASES = {
    "a fox": ("a fox", []),
    "a fox --ar 3:2 --no a, b": ("a fox", [("--ar", "3:2"), ("--no", "a, b")]),
    "a fox --aspect 3:2 --tile": ("a fox", [("--ar", "3:2"), ("--tile", "")]),
    "a fox --unknown 3 --S 50": ("a fox", [("--unknown", "3"), ("--stylize", "50")]),
    "a fox --ar 3:2 in the snow": ("a fox", [("--ar", "3:2 in the snow")]),
    "--v 7": ("", [("--v", "7")]),
    "  two  blanks -- kept": ("  two  blanks -- kept", []),
}


@pytest.mark.parametrize("prompt", SPLIT_CASES)
def test_prompt_is_split_into_its_text_and_its_flags(prompt: str) -> None:
    assert split_flags(prompt) == SPLIT_CASES[prompt]
