"""A builder's signature, read as flags and fields."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.notebook.argument_parser import convert, parse_arguments
from jupyter_mjci.notebook.params import get_summary, parse_signature
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.tencent_ci.api import TencentCI

Picture = str | bytes | Path


class Desk:
    def press(
        self,
        name: str,
        *,
        size: int = 3,
        share: float | None = None,
        loud: bool | None = None,
        way: Literal["Up", "Down"] = "Up",
        ids: Iterable[str] | None = None,
        states: str | Sequence[str] | None = None,
        images: Sequence[Picture] = (),
        mask: Picture | None = None,
        content: bytes = b"",
        queue: Mapping[str, str] | None = None,
        anything: Mapping[str, Any] | str = "",
    ) -> None:
        """Press it.

        And hold it
        down.

        Args:
            name: whose it is,
                in full
            size: how big: 1 to 3

        Raises nothing.
        """

    def nothing(self) -> None:
        pass

    def plain(
        self, key: str, ids: Iterable[str] = (), *, size: int = 3, quiet: bool = False
    ) -> None:
        """Plain."""


KINDS = {
    "name": "text",
    "size": "integer",
    "share": "number",
    "loud": "switch",
    "way": "choice",
    "ids": "texts",
    "states": "texts",
    "images": "pictures",
    "mask": "picture",
    "content": "file",
    "queue": "pairs",
    "anything": "object",
}


def test_the_annotation_tells_the_kind() -> None:
    """Every annotation that builders use has its kind, optional or not."""
    assert {one.name: one.kind for one in parse_signature(Desk().press)} == KINDS


def test_bound_and_unbound_builders_are_read_alike() -> None:
    """`self` is no parameter."""
    assert parse_signature(Desk.press) == parse_signature(Desk().press)


def test_help_comes_from_the_args_section() -> None:
    """Continued lines are joined, the text after the section is left out, and colons may stand in
    the help.
    """
    helps = {one.name: one.help for one in parse_signature(Desk.press) if one.help}
    assert helps == {"name": "whose it is, in full", "size": "how big: 1 to 3"}
    assert get_summary(Desk.press) == "Press it."
    assert get_summary(Desk.nothing) == ""


def test_defaults_choices_and_positions_are_told() -> None:
    """What a form needs to prefill a field is there."""
    found = {one.name: one for one in parse_signature(Desk.plain)}
    assert (found["key"].required, found["key"].positional, found["key"].default) == (
        True,
        True,
        None,
    )
    assert (found["size"].required, found["size"].positional, found["size"].default) == (
        False,
        False,
        3,
    )
    assert {one.name: one for one in parse_signature(Desk.press)}["way"].choices == ("Up", "Down")


LINES: tuple[tuple[list[str], dict[str, Any]], ...] = (
    (["k"], {"key": "k"}),
    (["--key", "k"], {"key": "k"}),
    (["--key=--odd"], {"key": "--odd"}),
    (["k", "a,b", "c"], {"key": "k", "ids": ["a", "b", "c"]}),
    (["k", "--ids", "a", "--ids", "b, c"], {"key": "k", "ids": ["a", "b", "c"]}),
    (["--size", "4", "k"], {"key": "k", "size": 4}),
    (["--size", "-4", "k"], {"key": "k", "size": -4}),
    (["k", "--size=4", "--size=5"], {"key": "k", "size": 5}),
    (["k", "--quiet"], {"key": "k", "quiet": True}),
    (["k", "--no-quiet"], {"key": "k", "quiet": False}),
)


@pytest.mark.parametrize(("tokens", "expected"), LINES)
def test_words_become_arguments(tokens: list[str], expected: dict[str, Any]) -> None:
    """Flags in any place, bare words for positional parameters, lists that add up."""
    assert parse_arguments(Desk().plain, tokens) == expected


WRONG: tuple[tuple[list[str], str], ...] = (
    ([], "KEY is missing."),
    (["k", "--sice", "4"], "Did you mean --size?"),
    (["k", "--xyzzy", "4"], "There are: --key, --ids, --size, --quiet."),
    (["k", "--size"], "--size needs a value"),
    (["k", "--size", "--quiet"], "--size needs a value"),
    (["k", "--size", "big"], "--size wants a whole number, not 'big'."),
    (["k", "--quiet=yes"], "--quiet takes no value."),
    (["k", "-o"], "There is no -o here."),
)


@pytest.mark.parametrize(("tokens", "said"), WRONG)
def test_a_wrong_word_is_named(tokens: list[str], said: str) -> None:
    """The error names the flag, and what exists instead."""
    with pytest.raises(InvalidRequest) as caught:
        parse_arguments(Desk().plain, tokens)
    assert said in str(caught.value)


def test_too_many_words_are_an_error() -> None:
    """A word that no parameter takes is named, not dropped."""
    with pytest.raises(InvalidRequest, match="What is 'extra' for"):
        parse_arguments(Midjourney().task, ["1", "extra"])


CONVERTED: tuple[tuple[str, str, Any], ...] = (
    ("way", "down", "Down"),
    ("queue", "MqRegion=bj, MqName=a=b", {"MqRegion": "bj", "MqName": "a=b"}),
    ("images", "a.png,b.png", ["a.png", "b.png"]),
    ("images", "data:image/png;base64,AA==", ["data:image/png;base64,AA=="]),
    ("mask", "a.png", "a.png"),
    ("share", "0.5", 0.5),
)


@pytest.mark.parametrize(("name", "text", "value"), CONVERTED)
def test_texts_become_values(name: str, text: str, value: Any) -> None:
    """What a person writes becomes what the builder wants."""
    assert convert({one.name: one for one in parse_signature(Desk.press)}[name], text) == value


def test_bad_values_are_named() -> None:
    """A choice lists its choices, pairs show their form, a missing file is said."""
    found = {one.name: one for one in parse_signature(Desk.press)}
    for name, text, said in (
        ("way", "left", "Up, Down"),
        ("queue", "a", "NAME=VALUE"),
        ("content", "/no/x", "read"),
    ):
        with pytest.raises(InvalidRequest, match=said):
            convert(found[name], text)


def test_a_file_is_read(tmp_path: Path) -> None:
    """`file` parameters take the bytes of a path."""
    (tmp_path / "a").write_bytes(b"\0\1")
    given = parse_arguments(
        TencentCI().put_object, ["in/a", str(tmp_path / "a"), "--content-type", "image/png"]
    )
    assert given == {"key": "in/a", "content": b"\0\1", "content_type": "image/png"}


@pytest.mark.parametrize("service", [Midjourney, TencentCI])
def test_every_builder_explains_itself(service: type) -> None:
    """Each public builder has a summary, and each parameter its help: the magics and panels show
    nothing else.
    """
    for name, builder in vars(service).items():
        if not name.startswith("_") and callable(builder) and name != "request":
            assert get_summary(builder), name
            assert [one.name for one in parse_signature(builder) if not one.help] == [], name


def test_arguments_fit_their_builder() -> None:
    """What a line says builds the call."""
    ci = TencentCI(bucket="b-1", region="r")
    given = parse_arguments(
        ci.picture_job,
        ["--input=in/a.jpg", "--output=o", "--rule=imageMogr2/rotate/90", "--level=2"],
    )
    call = ci.picture_job(**given)
    assert b"<ProcessRule>imageMogr2/rotate/90</ProcessRule>" in call.body
    assert b"<JobLevel>2</JobLevel>" in call.body
