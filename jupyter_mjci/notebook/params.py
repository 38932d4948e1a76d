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
