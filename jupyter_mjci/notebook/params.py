"""Read a call builder's signature as parameters.

An endpoint is written once, in its service's API. Its magic
derives flags from the signature, its panel derives form fields,
and both take their help from the "Args:" section of the
docstring.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from jupyter_mjci.client.calls import Paginator
from jupyter_mjci.services import services

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
Builder: TypeAlias = Callable[..., Any]
# a class, a generic alias or a union
TypeHint: TypeAlias = object


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a builder. `kind` says how it is written on a line:

    text, integer, number, switch (present or absent), choice (one
    of `choices`), texts (`a,b`), picture (a path or a data URL),
    pictures, file (a path whose bytes are read), pairs
    (`a=1,b=2`), object (not possible on a line).
    """

    name: str
    flag: str
    kind: Kind
    default: object
    required: bool
    choices: tuple[str, ...]
    help: str
    positional: bool

    @property
    def metavar(self) -> str:
        if self.choices:
            return "|".join(self.choices)
        return _METAVARS.get(self.kind, self.name.upper())


_METAVARS: Mapping[str, str] = {
    "texts": "A,B,…",
    "pictures": "PATH,…",
    "picture": "PATH",
    "file": "PATH",
    "pairs": "NAME=VALUE,…",
}


def make_option(flag: str, help: str, kind: Kind = "text", default: object = "") -> Param:
    """Return an optional keyword parameter that no builder declares."""
    name = flag.strip("-").replace("-", "_")
    return Param(name, flag, kind, default, False, (), help, False)


def parse_signature(builder: Builder) -> tuple[Param, ...]:
    """Return the parameters of a builder, bound or not, in declaration order."""
    return _parse_signature(_unwrap(builder))


def get_summary(builder: Builder) -> str:
    """Return the first paragraph of the builder's docstring as one line."""
    first, _, _ = inspect.cleandoc(builder.__doc__ or "").partition("\n\n")
    return " ".join(first.split())


@dataclass(frozen=True, slots=True)
class ReturnType:
    """The type that a builder's call returns: one `item`, or a listing of them."""

    item: TypeHint
    is_list: bool = False


def get_return_type(builder: Builder) -> ReturnType:
    """Return what the builder's call returns, from its resolved annotation.

    `Call[Job]` is one Job; `Call[list[Job]]` and `Paginator[Job]`
    are lists of them.
    """
    hint = typing.get_type_hints(_unwrap(builder))["return"]
    (item,) = typing.get_args(hint)
    if typing.get_origin(hint) is Paginator:
        return ReturnType(item, is_list=True)
    if typing.get_origin(item) is list:
        return ReturnType(typing.get_args(item)[0], is_list=True)
    return ReturnType(item)


def list_job_params() -> frozenset[str]:
    """Return the names of parameters that take a job's ID, or a variable that holds the job."""
    builders: list[Builder] = [each.get_job for each in services()]
    builders += [each.cancel_job for each in services() if each.cancel_job]
    return frozenset({"task", *(parse_signature(builder)[0].name for builder in builders)})


# --- reading a signature ----------------------------------------


def _unwrap(builder: Builder) -> Builder:
    function: Builder = inspect.unwrap(getattr(builder, "__func__", builder))
    return function


@cache
def _parse_signature(function: Builder) -> tuple[Param, ...]:
    hints = typing.get_type_hints(function)
    helps = _parse_args_section(function.__doc__ or "")
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    params = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name != "self" and parameter.kind not in variadic:
            params.append(_parse_parameter(parameter, hints.get(name, str), helps.get(name, "")))
    return tuple(params)


def _parse_parameter(parameter: inspect.Parameter, hint: TypeHint, help: str) -> Param:
    kind, choices = _infer_kind(hint)
    required = parameter.default is inspect.Parameter.empty
    return Param(
        name=parameter.name,
        flag="--" + parameter.name.replace("_", "-"),
        kind=kind,
        default=None if required else parameter.default,
        required=required,
        choices=choices,
        help=help,
        positional=parameter.kind is not inspect.Parameter.KEYWORD_ONLY,
    )


def _infer_kind(hint: TypeHint) -> tuple[Kind, tuple[str, ...]]:
    """Return the kind of a type and its choices. None in a union
    is ignored; of a union, the first rule that matches any member
    decides.
    """
    members = [member for member in _union_members(hint) if member is not types.NoneType]
    if typing.get_origin(members[0]) is Literal:
        return "choice", tuple(map(str, typing.get_args(members[0])))
    if _is_picture(members):
        return "picture", ()
    for matches, kind in _KIND_RULES:
        if any(matches(member) for member in members):
            return kind, ()
    return "object", ()


def _union_members(hint: TypeHint) -> tuple[TypeHint, ...]:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _is_picture(members: Sequence[TypeHint]) -> bool:
    return {bytes, Path} <= set(members)


def _is_sequence(member: TypeHint) -> bool:
    return typing.get_origin(member) in (Sequence, Iterable, list, tuple)


def _is_mapping(member: TypeHint) -> bool:
    return typing.get_origin(member) in (Mapping, dict)


def _item_types(member: TypeHint) -> tuple[TypeHint, ...]:
    return _union_members(typing.get_args(member)[0])


_KIND_RULES: tuple[tuple[Callable[[TypeHint], bool], Kind], ...] = (
    (
        lambda member: _is_sequence(member) and _is_picture(_item_types(member)),
        "pictures",
    ),
    (lambda member: _is_sequence(member) and str in _item_types(member), "texts"),
    (
        lambda member: _is_mapping(member) and typing.get_args(member) == (str, str),
        "pairs",
    ),
    (_is_mapping, "object"),
    (lambda member: member is bool, "switch"),
    (lambda member: member is int, "integer"),
    (lambda member: member is float, "number"),
    (lambda member: member is str, "text"),
    (lambda member: member is bytes, "file"),
)


def _parse_args_section(doc: str) -> dict[str, str]:
    """Parse the "Args:" section of a docstring: name -> help. Deeper lines continue the help."""
    _, _, section = inspect.cleandoc(doc).partition("\nArgs:\n")
    helps: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if not line.startswith("    "):
            break
        if line.startswith("     ") and name:
            helps[name] += " " + line.strip()
            continue
        name, _, help = line.strip().partition(": ")
        helps[name] = help
    return helps
