"""Parsing a magic's line and its body."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pytest

from jupyter_mjci.client.interpolation import (
    escape_toml,
    escape_xml,
    interpolate,
    refuse_lists,
)
from jupyter_mjci.client.job import Job
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.notebook import line_parser
from jupyter_mjci.notebook.job_body import parse_body
from jupyter_mjci.notebook.line_parser import (
    BATCH_OPTIONS,
    Options,
    PromptLine,
    split_options,
    split_prompt,
    tokenize,
)
from jupyter_mjci.notebook.params import Param, parse_signature
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.tencent_ci.api import TencentCI

WORDS: tuple[tuple[str, list[str]], ...] = (
    ("a b  c", ["a", "b", "c"]),
    ("-o 'a b'", ["-o", "a b"]),
    ('--rule="x y" z', ["--rule=x y", "z"]),
    ("it's a fox", ["it's", "a", "fox"]),
    ("it's a 'red fox' \"b c\"", ["it's", "a", "'red", "fox'", "b c"]),
    ('a "b', ["a", '"b']),
    ("a # b", ["a", "#", "b"]),
    ("", []),
)


@pytest.mark.parametrize(("line", "words"), WORDS)
def test_tokenize_respects_closed_quotes_only(line: str, words: list[str]) -> None:
    """A quote that is never closed is text; a hash does not start a comment."""
    assert tokenize(line) == words


FLAGS = [param for param in parse_signature(Midjourney.imagine) if param.name != "prompt"]

# (line, our words, the prompt)
PROMPTS: tuple[tuple[str, list[str], str], ...] = (
    ("a fox", [], "a fox"),
    ("  a  red   fox ", [], "a  red   fox"),
    ("a fox -o job", ["-o=job"], "a fox"),
    ("-o job a fox", ["-o=job"], "a fox"),
    ("a fox --ar 3:2 --no-wait", ["--no-wait"], "a fox --ar 3:2"),
    ("a fox --no waiting", [], "a fox --no waiting"),
    ("a fox --no -o=job", ["-o=job"], "a fox --no"),
    ("a fox --no-wait --ar 3:2", ["--no-wait"], "a fox --ar 3:2"),
    ("a  fox   --state my  --dry-run  in snow", ["--state=my", "--dry-run"], "a  fox   in snow"),
    ('a sign "--dry-run", red --state "a b"', ["--state=a b"], 'a sign "--dry-run", red'),
    ("it's a dog's --dry-run life", ["--dry-run"], "it's a dog's life"),
    ('a 12" record and a 7" one --dry-run', ["--dry-run"], 'a 12" record and a 7" one'),
    ("-- a fox --no-wait -o job", [], "a fox --no-wait -o job"),
    ("-o job -- --dry-run, a  fox", ["-o=job"], "--dry-run, a  fox"),
    ("a fox -- in the snow", [], "a fox -- in the snow"),
    ("three foxes —each with a hat", [], "three foxes —each with a hat"),
    ("a solid -state drive on a desk", [], "a solid -state drive on a desk"),
    ("--ar 3:2 a fox", [], "--ar 3:2 a fox"),
    (
        "--dry-run --state mine a fox --no-wait -o job",
        ["--dry-run", "--state=mine", "--no-wait", "-o=job"],
        "a fox",
    ),
    ("a fox --state 'my own'", ["--state=my own"], "a fox"),
    ("a fox --images=a.png,b.png", ["--images=a.png,b.png"], "a fox"),
    ("a sign that says -o nothing here", ["-o=nothing"], "a sign that says here"),
    ("a --dry-run desert road", ["--dry-run"], "a desert road"),
    (
        "it's a {red, green} fox::2 $5 \"quoted\" 'and' --stylize 250",
        [],
        "it's a {red, green} fox::2 $5 \"quoted\" 'and' --stylize 250",
    ),
    ("why?", [], "why?"),
    ("a \\n fox\\", [], "a \\n fox\\"),
    ("--help", ["--help"], ""),
    ("a call for --help", ["--help"], "a call for"),
    ("a fox -h", ["--help"], "a fox"),
    ("", [], ""),
)


@pytest.mark.parametrize(("line", "words", "prompt"), PROMPTS)
def test_prompt_is_everything_but_the_options(line: str, words: list[str], prompt: str) -> None:
    """Options count wherever they stand outside quotation marks; the rest is unchanged."""
    parsed = split_prompt(line, FLAGS)
    assert (parsed.options, parsed.prompt) == (words, prompt)


@pytest.mark.parametrize(
    "line", ["a fox -o", "--state", "a fox --state=", "a fox -o --dry-run", "--state --ar 3:2 fox"]
)
def test_option_without_value_is_rejected(line: str) -> None:
    """It must not become part of a prompt: a submission costs money."""
    with pytest.raises(InvalidRequest, match="needs"):
        split_prompt(line, FLAGS)


# (line, what the error says)
CONTRADICTIONS: tuple[tuple[str, str], ...] = (
    ("--retry 1", "--retry requires --each or --grid"),
    ("--at-once 2", "--at-once requires --each or --grid"),
    ("--each rows --retry -1", "--retry must be at least 0, not -1"),
    ("--grid axes --at-once 0", "--at-once must be at least 1, not 0"),
    ("--each rows --grid axes", "--each and --grid exclude each other"),
    ("--each rows --no-wait", "--each waits for its jobs"),
    ("--grid axes --no-wait", "--grid waits for its jobs"),
    ("-o class", "-o needs a variable name, not 'class'"),
    ("--each 2rows", "--each needs a variable name, not '2rows'"),
)


@pytest.mark.parametrize(("line", "message"), CONTRADICTIONS)
def test_options_that_contradict_each_other_are_rejected(line: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(message)):
        split_options(tokenize(line), BATCH_OPTIONS)


@pytest.mark.parametrize("line", ["--each rows --retry 0", "--grid axes --at-once 1 --retry 3"])
def test_options_of_many_rows_are_taken_together(line: str) -> None:
    _, words = split_options(tokenize(line), BATCH_OPTIONS)
    assert words == []


# (line, the option that was meant)
MISSPELT_OPTIONS: tuple[tuple[str, str], ...] = (
    ("a fox —dry-run", "--dry-run"),
    ("a fox -dry-run --ar 3:2", "--dry-run"),
    ("a fox –no-wait", "--no-wait"),
    ("a fox --Dry-Run", "--dry-run"),
    ("a fox --dry_run", "--dry-run"),
    ("a fox —max-jobs 5", "--max-jobs"),
    ("a fox -images fox.png", "--images"),
    ("a fox —each rows", "--each"),
    ("a fox –o job", "-o"),
    ("a fox -help", "--help"),
)


@pytest.mark.parametrize(("line", "option"), MISSPELT_OPTIONS)
def test_option_with_other_dashes_is_rejected(line: str, option: str) -> None:
    """Prose with dashes is not: see the prompts above."""
    with pytest.raises(InvalidRequest, match=f"Did you mean {option}[?]"):
        split_prompt(line, FLAGS)


def test_words_before_the_prompt_come_before_the_end_of_options() -> None:
    """A positional parameter and its options precede `--`."""
    flags = [param for param in parse_signature(Midjourney.modal) if param.name != "prompt"]
    parsed = split_prompt("d --mask m.png -- --state of the art", flags, 1)
    assert parsed == PromptLine(["--mask=m.png"], "d --state of the art", ended=True)
    assert split_prompt("d --mask m.png a boat", flags, 1).prompt == "d a boat"


def test_options_are_found_among_other_words() -> None:
    found = split_options(["--tag", "x", "-o", "df", "--no-wait", "y", "--dry-run"])
    assert found == (Options(out="df", no_wait=True, dry_run=True), ["--tag", "x", "y"])
    assert split_options(["-h"]) == (Options(help=True), [])
    assert split_options(["-o=df"]) == (Options(out="df"), [])


@pytest.mark.parametrize(
    "words", [["-o"], ["-o", "a-b"], ["-o", "class"], ["-o", "--dry-run"], ["-o="]]
)
def test_invalid_variable_name_is_rejected(words: list[str]) -> None:
    with pytest.raises(InvalidRequest, match="-o"):
        split_options(words)


NAMES = {"subject": "a 'red' <fox> & \"co\"", "n": 3, "job": Job("mj", "17"), "b": "{{n}}"}
INTERPOLATIONS: tuple[tuple[str, str], ...] = (
    ("{{n}} foxes", "3 foxes"),
    ("{{ n }}{{n}}", "33"),
    ("{{job}}", "17"),
    ("{n} {a, b} ${n} $5 {{a, b}, c} {{}} {{1}}", "{n} {a, b} ${n} $5 {{a, b}, c} {{}} {{1}}"),
    ("{{b}}", "{{n}}"),
)


@pytest.mark.parametrize(("text", "expected"), INTERPOLATIONS)
def test_only_double_braces_are_interpolated(text: str, expected: str) -> None:
    """Other braces and dollar signs belong to the prompt. Values are not interpolated again."""
    assert interpolate(text, NAMES) == expected


def test_interpolated_values_are_escaped() -> None:
    assert (
        interpolate("<a>{{subject}}</a>", NAMES, escape_xml)
        == "<a>a &apos;red&apos; &lt;fox&gt; &amp; &quot;co&quot;</a>"
    )
    assert (
        interpolate('k = "{{subject}}"', NAMES, escape_toml) == 'k = "a \'red\' <fox> & \\"co\\""'
    )


def test_undefined_placeholder_is_rejected() -> None:
    with pytest.raises(InvalidRequest, match=r"There is no variable 'nope' for \{\{nope\}\}"):
        interpolate("a {{nope}}", NAMES)


def test_list_is_no_prompt() -> None:
    with pytest.raises(InvalidRequest, match="foxes is a list, not a text"):
        refuse_lists("{{foxes}}", {"foxes": ["a red fox", "a blue fox"]})


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "None"),
        (float("nan"), "nan"),
        (b"a fox", "a bytes"),
        (pd.Series(["a fox"]), "a Series"),
        (object(), "a object without a text"),
    ],
)
def test_value_that_is_no_text_is_refused(value: object, kind: str) -> None:
    with pytest.raises(InvalidRequest, match=f"value is {kind}"):
        interpolate("{{value}}", {"value": value})


CI = TencentCI(bucket="b-1", region="r")


def test_toml_body_builds_a_picture_job() -> None:
    body = (
        'input = "in/{{n}}.jpg"\nrule = "imageMogr2/rotate/90"\noutput = "o"\n'
        "level = 2\npicture-info = true\n"
    )
    call = parse_body(body, NAMES).build_call(CI)
    direct = CI.picture_job(
        input="in/3.jpg", rule="imageMogr2/rotate/90", output="o", level=2, picture_info=True
    )
    assert call == direct


def test_toml_body_with_name_builds_a_batch() -> None:
    call = parse_body(
        'name = "nightly"\nprefix = "in/"\nworkflow_ids = ["w1", "w2"]', {}
    ).build_call(CI)
    assert call == CI.batch(name="nightly", prefix="in/", workflow_ids=["w1", "w2"])


def test_xml_body_is_sent_unchanged() -> None:
    body = (
        "\n<Request>\n <Tag>PicProcess</Tag>"
        "<Input><Object>{{subject}}</Object></Input>\n</Request>\n"
    )
    call = parse_body(body, NAMES).build_call(CI)
    assert call.path == "/jobs"
    assert call.body.decode() == body.strip().replace("{{subject}}", escape_xml(NAMES["subject"]))  # type: ignore[arg-type]


# (body, what the error says)
INVALID_BODIES: tuple[tuple[str, str], ...] = (
    ("", "The body is empty."),
    ('a = 1\ninput = "x', "not valid TOML: line 2, column 11"),
    ("input = \n", "not valid TOML: line 1, column 9"),
    (
        'input = "a"\nrul = "x"\noutput = "o"',
        "Line 2: 'rul' is not a parameter of picture_job.\n→ Did you mean rule?",
    ),
    ('input = "a"\noutput = "o"\nlevel = "2"', "Line 3: level must be an integer, not '2'."),
    ('input = "a"\noutput = "o"\nlevel = true', "level must be an integer, not True."),
    ('input = "a"\noutput = "o"\npicture_info = 1', "picture_info must be true or false, not 1."),
    ('output = "o"', "input is missing."),
    ('rule = "o"', "input and output are missing."),
    ("<Request>\n  <Tag>x</Tga>\n</Request>", "not well-formed XML: line 2, column 11"),
    ("\n\n<Request>\n  <Tag>x</Tga>\n</Request>", "not well-formed XML: line 4, column 11"),
    ("<Request><Tag>x", "not well-formed XML: line 1"),
    ("<Requst/>", "root element is <Requst>"),
    ("<Request><Input/></Request>", "neither a job nor a batch"),
)


@pytest.mark.parametrize(("body", "message"), INVALID_BODIES)
def test_invalid_body_is_rejected_with_its_position(body: str, message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_body(body, {})
    assert message in str(caught.value)


def test_body_without_rule_is_rejected_by_the_builder() -> None:
    request: Any = parse_body('input = "a"\noutput = "o"', {})
    with pytest.raises(InvalidRequest, match="needs a rule"):
        request.build_call(CI)


@pytest.mark.parametrize(
    ("value", "expected"),
    [('"', '"'), ("'a", "'a"), ("'a\"", "'a\""), ('""', ""), ("'a b'", "a b"), ("", "")],
)
def test_only_a_pair_of_quotes_is_removed(value: str, expected: str) -> None:
    assert line_parser._unquote(value) == expected


def test_switch_of_a_prompt_is_written_with_and_without_no() -> None:
    """No other option is; the options of batches and short forms are there, too."""
    switch = Param("remix", "--remix", "switch", False, False, (), "", False)
    text = Param("state", "--state", "text", None, False, (), "", False)
    params = line_parser.list_prompt_flags([switch, text])
    assert params["--remix"] is params["--no-remix"] is switch
    assert params["--state"] is text
    assert "--no-state" not in params
    assert "--each" in params
