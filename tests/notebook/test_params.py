"""Builders' signatures as parameters, and words as their arguments."""

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


class Builders:
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


def test_kind_follows_the_annotation() -> None:
    assert {param.name: param.kind for param in parse_signature(Builders().press)} == KINDS


def test_bound_and_unbound_builders_have_equal_params() -> None:
    assert parse_signature(Builders.press) == parse_signature(Builders().press)


def test_help_is_parsed_from_the_args_section() -> None:
    """Continued lines are joined, and the help may contain colons."""
    helps = {param.name: param.help for param in parse_signature(Builders.press) if param.help}
    assert helps == {"name": "whose it is, in full", "size": "how big: 1 to 3"}
    assert get_summary(Builders.press) == "Press it."
    assert get_summary(Builders.nothing) == ""


def test_params_have_defaults_choices_and_positions() -> None:
    params = {param.name: param for param in parse_signature(Builders.plain)}
    assert (params["key"].required, params["key"].positional, params["key"].default) == (
        True,
        True,
        None,
    )
    assert (params["size"].required, params["size"].positional, params["size"].default) == (
        False,
        False,
        3,
    )
    assert {param.name: param for param in parse_signature(Builders.press)}["way"].choices == (
        "Up",
        "Down",
    )


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
def test_words_are_parsed_to_arguments(tokens: list[str], expected: dict[str, Any]) -> None:
    """Flags anywhere, bare words for positional parameters; lists are joined."""
    assert parse_arguments(Builders().plain, tokens) == expected


INVALID_LINES: tuple[tuple[list[str], str], ...] = (
    ([], "KEY is missing."),
    (["k", "--sice", "4"], "Did you mean --size?"),
    (["k", "--xyzzy", "4"], "Available: --key, --ids, --size, --quiet."),
    (["k", "--size"], "--size needs a value"),
    (["k", "--size", "--quiet"], "--size needs a value"),
    (["k", "--size", "big"], "--size must be an integer, not 'big'."),
    (["k", "--quiet=yes"], "--quiet takes no value."),
    (["k", "-o"], "-o is not an option here."),
)


@pytest.mark.parametrize(("tokens", "message"), INVALID_LINES)
def test_invalid_word_is_rejected_with_available_flags(tokens: list[str], message: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_arguments(Builders().plain, tokens)
    assert message in str(caught.value)


def test_extra_positional_is_rejected() -> None:
    with pytest.raises(InvalidRequest, match="Unexpected argument 'extra'"):
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
def test_text_is_converted_by_kind(name: str, text: str, value: Any) -> None:
    assert (
        convert({param.name: param for param in parse_signature(Builders.press)}[name], text)
        == value
    )


def test_invalid_value_is_rejected_with_expected_form() -> None:
    params = {param.name: param for param in parse_signature(Builders.press)}
    for name, text, message in (
        ("way", "left", "Up, Down"),
        ("queue", "a", "NAME=VALUE"),
        ("content", "/no/x", "read"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            convert(params[name], text)


def test_file_parameter_reads_the_path(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0\1")
    arguments = parse_arguments(Builders.press, ["x", "--content", str(tmp_path / "a")])
    assert arguments == {"name": "x", "content": b"\0\1"}


@pytest.mark.parametrize("service", [Midjourney, TencentCI])
def test_every_builder_has_summary_and_help(service: type) -> None:
    """The help of magics and panels comes only from there."""
    for name, builder in vars(service).items():
        if not name.startswith("_") and callable(builder) and name != "request":
            assert get_summary(builder), name
            assert [param.name for param in parse_signature(builder) if not param.help] == [], name


def test_parsed_arguments_build_the_call() -> None:
    ci = TencentCI(bucket="b-1", region="r")
    arguments = parse_arguments(
        ci.picture_job,
        ["--input=in/a.jpg", "--output=o", "--rule=imageMogr2/rotate/90", "--level=2"],
    )
    call = ci.picture_job(**arguments)
    assert b"<ProcessRule>imageMogr2/rotate/90</ProcessRule>" in call.body
    assert b"<JobLevel>2</JobLevel>" in call.body
