"""A call builder's signature as flags and fields.

An endpoint is written once, in the client: its magic reads its flags here, its panel its fields,
and both read their help from the "Args:" section of its docstring.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from jupyter_mjci.errors import InvalidRequest, suggest

Kind = Literal[
    "text",
    "integer",
    "number",
    "switch",
    "choice",
    "texts",
    "picture",
    "pictures",
    "file",
    "pairs",
    "object",
]


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a builder. `kind` says how a person writes it:

    text · integer · number · switch (there or not) · choice (one of `choices`) · texts (a,b) ·
    picture (a path or data URL) · pictures · file (a path, whose bytes are taken) · pairs (a=1,b=2)
    · object (cannot be written on a line).
    """

    name: str
    flag: str
    kind: Kind
    default: Any
    required: bool
    choices: tuple[str, ...]
    help: str
    positional: bool

    @property
    def metavar(self) -> str:
        return "|".join(self.choices) or _METAVARS.get(self.kind, self.name.upper())


_METAVARS = {
    "texts": "A,B,…",
    "pictures": "PATH,…",
    "picture": "PATH",
    "file": "PATH",
    "pairs": "NAME=VALUE,…",
}


def parse_signature(builder: Callable[..., Any]) -> tuple[Param, ...]:
    """The parameters of a builder, bound or not, in their order."""
    return _parse_signature(inspect.unwrap(getattr(builder, "__func__", builder)))


def get_summary(builder: Callable[..., Any]) -> str:
    """What the builder's call does: the first paragraph of its docstring, as one line."""
    return " ".join(inspect.cleandoc(builder.__doc__ or "").partition("\n\n")[0].split())


def parse_arguments(
    builder: Callable[..., Any], tokens: Iterable[str], rest: str = ""
) -> dict[str, Any]:
    """The keyword arguments that the words of a line say: `--flag value`, `--flag=value`,
    `--switch`, and bare words for the positional parameters. `rest` names the one that takes all
    bare words that remain, as one text.

    Raises CallError, naming the flag and what exists.
    """
    return parse_tokens(parse_signature(builder), tokens, rest)


def parse_tokens(known: Sequence[Param], tokens: Iterable[str], rest: str = "") -> dict[str, Any]:
    """The same for parameters that no builder's signature tells."""
    written: dict[str, list[str | bool]] = {}
    bare: list[str] = []
    words = list(tokens)
    while words:
        word = words.pop(0)
        if _is_flag(word):
            param, value = _parse_flag(known, word, words)
            written.setdefault(param.name, []).append(value)
        else:
            bare.append(word)
    for name, word in _assign_positionals(known, bare, written, rest):
        written.setdefault(name, []).append(word)
    _check_required(known, written)
    return {
        param.name: _combine_values(param, written[param.name])
        for param in known
        if param.name in written
    }


def convert(param: Param, text: str) -> Any:
    """What a person wrote for a parameter, as the value that its builder wants. Raises
    CallError.
    """
    if param.kind == "choice":
        return _parse_choice(param, text)
    try:
        return _PARSERS.get(param.kind, str)(text)
    except OSError as error:
        raise InvalidRequest(
            f"{param.flag}: cannot read {text}.", detail=error.strerror or ""
        ) from None
    except ValueError:
        raise InvalidRequest(
            f"{param.flag} wants {_EXPECTED[param.kind]}, not {text!r}.", hint=param.help
        ) from None


# --- reading a signature --------------------------------------------------------------------------


@cache
def _parse_signature(function: Callable[..., Any]) -> tuple[Param, ...]:
    hints = typing.get_type_hints(function)
    helps = _parse_args_section(function.__doc__ or "")
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    found = inspect.signature(function).parameters.values()
    named = [one for one in found if one.name != "self" and one.kind not in variable]
    return tuple(
        _parse_parameter(one, hints.get(one.name, str), helps.get(one.name, "")) for one in named
    )


def _parse_parameter(parameter: inspect.Parameter, hint: Any, help: str) -> Param:
    kind, choices = _infer_kind(hint)
    required = parameter.default is inspect.Parameter.empty
    return Param(
        parameter.name,
        "--" + parameter.name.replace("_", "-"),
        kind,
        None if required else parameter.default,
        required,
        choices,
        help,
        parameter.kind is not inspect.Parameter.KEYWORD_ONLY,
    )


def _infer_kind(hint: Any) -> tuple[Kind, tuple[str, ...]]:
    """The kind of a type, None in a union left aside. Of a union, the first row that one member
    fits decides.
    """
    members = [one for one in _union_members(hint) if one is not types.NoneType]
    if typing.get_origin(members[0]) is Literal:
        return "choice", tuple(str(one) for one in typing.get_args(members[0]))
    if _is_picture(members):
        return "picture", ()
    for fits, kind in _KIND_RULES:
        if any(fits(member) for member in members):
            return kind, ()
    return "object", ()


def _union_members(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _is_picture(members: Sequence[Any]) -> bool:
    return {bytes, Path} <= set(members)


def _is_sequence(member: Any) -> bool:
    return typing.get_origin(member) in (Sequence, Iterable, list, tuple)


def _is_mapping(member: Any) -> bool:
    return typing.get_origin(member) in (Mapping, dict)


def _item_types(member: Any) -> tuple[Any, ...]:
    return _union_members(typing.get_args(member)[0])


_KIND_RULES: tuple[tuple[Callable[[Any], bool], Kind], ...] = (
    (lambda member: _is_sequence(member) and _is_picture(_item_types(member)), "pictures"),
    (lambda member: _is_sequence(member) and str in _item_types(member), "texts"),
    (lambda member: _is_mapping(member) and typing.get_args(member) == (str, str), "pairs"),
    (_is_mapping, "object"),
    (lambda member: member is bool, "switch"),
    (lambda member: member is int, "integer"),
    (lambda member: member is float, "number"),
    (lambda member: member is str, "text"),
    (lambda member: member is bytes, "file"),
)


def _parse_args_section(doc: str) -> dict[str, str]:
    """The "Args:" section of a docstring: name -> its help. Deeper lines go on the line before."""
    _, _, section = inspect.cleandoc(doc).partition("\nArgs:\n")
    helps: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if not line.startswith("    "):
            break
        if line.startswith("     ") and name:
            helps[name] += " " + line.strip()
            continue
        name, _, said = line.strip().partition(": ")
        helps[name] = said
    return helps


# --- reading a line -------------------------------------------------------------------------------


def _is_flag(word: str) -> bool:
    return word.startswith("-") and len(word) > 1 and not word[1].isdigit()


def _parse_flag(known: Sequence[Param], word: str, rest: list[str]) -> tuple[Param, str | bool]:
    """The parameter that a flag names, and its value, taken from the words after it where the flag
    has none.
    """
    flag, has_value, value = word.partition("=")
    param, on = _find_flag(known, flag)
    if param.kind == "switch":
        if has_value:
            raise InvalidRequest(
                f"{flag} takes no value.", hint=f"Write {flag} alone, or leave it out."
            )
        return param, on
    if has_value:
        return param, value
    if not rest or _is_flag(rest[0]):
        raise InvalidRequest(f"{flag} needs a value: {flag} {param.metavar}.", hint=param.help)
    return param, rest.pop(0)


def _find_flag(known: Sequence[Param], flag: str) -> tuple[Param, bool]:
    for param in known:
        if param.flag == flag:
            return param, True
        if param.kind == "switch" and flag == "--no-" + param.flag[2:]:
            return param, False
    raise InvalidRequest(
        f"There is no {flag} here.", hint=suggest(flag, [param.flag for param in known])
    )


def _assign_positionals(
    known: Sequence[Param], bare: Sequence[str], written: Mapping[str, Any], rest: str
) -> Iterable[tuple[str, str]]:
    """Which parameter each bare word is for. A parameter for several takes all that remain."""
    left = list(bare)
    for param in known:
        if not param.positional or param.name in written or not left:
            continue
        if param.name == rest:
            left = [" ".join(left)]
        take = len(left) if param.kind in ("texts", "pictures") else 1
        yield from ((param.name, word) for word in left[:take])
        left = left[take:]
    if left:
        flags = ", ".join(param.flag for param in known)
        raise InvalidRequest(
            f"What is {left[0]!r} for?",
            hint=f"There are: {flags}." if flags else "It takes nothing.",
        )


def _check_required(known: Sequence[Param], written: Mapping[str, Any]) -> None:
    missing = [param for param in known if param.required and param.name not in written]
    if missing:
        names = ", ".join(
            param.name.upper() if param.positional else param.flag for param in missing
        )
        raise InvalidRequest(
            f"{names} is missing." if len(missing) == 1 else f"{names} are missing.",
            hint=missing[0].help,
        )


def _combine_values(param: Param, values: Sequence[str | bool]) -> Any:
    """The value of all that was written for one parameter: lists add up, elsewhere the last one
    counts.
    """
    if param.kind == "object":
        raise InvalidRequest(
            f"{param.flag} cannot be given on a line.", hint="Build the call in Python."
        )
    if param.kind in ("texts", "pictures"):
        return [one for text in values for one in convert(param, str(text))]
    last = values[-1]
    return last if isinstance(last, bool) else convert(param, last)


def _parse_choice(param: Param, text: str) -> str:
    for choice in param.choices:
        if choice.casefold() == text.casefold():
            return choice
    raise InvalidRequest(
        f"{param.flag} is one of {', '.join(param.choices)}, not {text!r}.", hint=param.help
    )


def _parse_list(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _parse_pictures(text: str) -> list[str]:
    return (
        [text] if text.startswith("data:") else _parse_list(text)
    )  # a data URL has a comma of its own


def _parse_pairs(text: str) -> dict[str, str]:
    pairs = [one.partition("=") for one in _parse_list(text)]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError(text)
    return {name.strip(): value.strip() for name, _, value in pairs}


_PARSERS: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "number": float,
    "texts": _parse_list,
    "pictures": _parse_pictures,
    "pairs": _parse_pairs,
    "file": lambda text: Path(text).expanduser().read_bytes(),
}

_EXPECTED = {
    "integer": "a whole number",
    "number": "a number",
    "pairs": "pairs, NAME=VALUE,…",
    "file": "a path",
}
