"""What users meet tells them what they need: what it is for, what it takes, what it raises."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cache, reduce
from types import FunctionType
from typing import Any

import pytest

import jupyter_mjci
from jupyter_mjci import errors, pytest_plugin, session
from jupyter_mjci.client import calls
from jupyter_mjci.client.settings import Secret, Settings
from jupyter_mjci.history import analysis, delta, history, image_archive, plots, sync
from jupyter_mjci.jobs import webhooks
from jupyter_mjci.notebook import commands, job_future
from jupyter_mjci.notebook.params import parse_signature
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.tencent_ci import signing
from jupyter_mjci.services.tencent_ci.api import TencentCI
from jupyter_mjci.services.tencent_ci.objects import StoredObject

ERRORS: dict[str, type[Exception]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.MjciError)
}
BUILDERS = (
    Midjourney,
    TencentCI,
    commands.Commands,
)  # whose parameters are flags and fields: their "Args:" are the help
SELF_EVIDENT = {"self", "ip"}  # the shell, which IPython gives to those whom it loads
MADE = (
    session.Session,
    delta.Lake,
    Secret,
)  # classes that are no records, but that users make themselves
SURFACE = (
    *(getattr(jupyter_mjci, name) for name in jupyter_mjci.__all__ if name != "sandbox"),
    # which is the folder of that name, too, as soon as somebody has imported from it
    session.sandbox,
    *ERRORS.values(),
    *BUILDERS,
    *MADE,
    Settings,
    session.Watch,
    session.BatchUpdate,
    session.replay,
    webhooks.WebhookServer,
    calls.Call,
    calls.Response,
    calls.Stream,
    calls.Page,
    calls.Paginator,
    calls.Operation,
    StoredObject,
    signing.sign,
    signing.presign,
    signing.key_time,
    history.History,
    sync.SyncResult,
    delta.MergeResult,
    delta.DaskLake,
    analysis.JobAccessor,
    plots.PlotAccessor,
    image_archive.ImageArchive,
    image_archive.ArchivedImage,
    job_future.JobFuture,
    jupyter_mjci.load_ipython_extension,
    jupyter_mjci.unload_ipython_extension,
)


@dataclass(frozen=True)
class Door:
    """What a user calls, makes or reads: a function or a class, what its docstring says, and what
    its class's does.
    """

    name: str
    what: Any
    doc: str
    around: str = ""

    @property
    def parameters(self) -> list[str]:
        """Those that somebody who uses it gives."""
        is_class = isinstance(self.what, type)
        if self.what is Settings or (
            is_class and not is_dataclass(self.what) and self.what not in MADE
        ):
            return []  # settings have a help of their own; of other classes users get what is made
        return [
            name for name in inspect.signature(self.what).parameters if name not in SELF_EVIDENT
        ]


def doors(what: Any) -> Iterator[Door]:
    """The thing itself, and what is public of a class."""
    doc = inspect.getdoc(what) or ""
    yield Door(what.__qualname__, what, doc)
    for name, member in vars(what).items() if isinstance(what, type) else ():
        function = member.fget if isinstance(member, property) else member
        if isinstance(function, FunctionType) and (not name.startswith("_") or name == "__call__"):
            yield Door(
                f"{what.__qualname__}.{name}",
                function,
                inspect.cleandoc(function.__doc__ or ""),
                doc,
            )


DOORS = {door.name: door for what in SURFACE for door in doors(what)}


def told(word: str, *texts: str) -> bool:
    """Whether a text has a parameter's name, or its words."""
    return any(
        re.search(rf"\b({word}|{word.replace('_', ' ')})\b", text, re.IGNORECASE) for text in texts
    )


def test_docstrings_begin_with_a_sentence() -> None:
    """It stands alone: in the reference, in a magic's help, in a tooltip."""
    firsts = {door.name: door.doc.partition("\n\n")[0] for door in DOORS.values()}
    assert {
        name: first
        for name, first in firsts.items()
        if not re.fullmatch(r"[A-Z\d\"`].*[.:…]", first, re.S)
    } == {}


def test_parameters_are_told() -> None:
    """By name, in the docstring or in that of the class around."""
    missing = {
        door.name: [name for name in door.parameters if not told(name, door.doc, door.around)]
        for door in DOORS.values()
    }
    assert {name: names for name, names in missing.items() if names} == {}


def test_flags_and_fields_have_a_help() -> None:
    """What a magic takes, what a panel asks for and every setting say what they mean."""
    of_builders = {
        f"{kind.__name__}.{name} {param.name}": param.help
        for kind in BUILDERS
        for name, builder in vars(kind).items()
        if not name.startswith("_")
        for param in parse_signature(builder)
    }
    of_settings = {
        name: one.metadata["help"] for name, one in Settings.__dataclass_fields__.items()
    }
    assert [name for name, help in {**of_builders, **of_settings}.items() if not help] == []


def test_pytests_options_have_a_help() -> None:
    parser = Options()
    pytest_plugin.pytest_addoption(parser)  # type: ignore[arg-type]
    assert sorted(parser.helps) == ["--mjci-cell-timeout", "--mjci-notebooks"]
    assert all(parser.helps.values())


class Options:
    """What pytest's parser is to a plugin."""

    def __init__(self) -> None:
        self.helps: dict[str, str] = {}

    def getgroup(self, _: str) -> Options:
        return self

    def addoption(self, name: str, *, help: str = "", **_: Any) -> None:
        self.helps[name] = help


# --- errors ---------------------------------------------------------------------------------------


def test_errors_are_told() -> None:
    """Every error of ours that leaves a function, from itself or from what it calls of its own
    module, is named in its docstring or in that of the class around; or the kind of error that it
    is.
    """
    missing = {
        door.name: sorted(_untold(door))
        for door in DOORS.values()
        if isinstance(door.what, FunctionType)
    }
    assert {name: names for name, names in missing.items() if names} == {}


def _untold(door: Door) -> Iterator[str]:
    for kind in leaving(door.what):
        kinds = {one.__name__ for one in kind.__mro__} & set(ERRORS) - {"MjciError"}
        if not any(told(name, door.doc, door.around) for name in kinds):
            yield kind.__name__


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (session.Session.presign, {"InvalidRequest"}),
        (session.Session.picture, {"InvalidRequest", "InvalidResponse"}),  # two functions further
        (
            session.Session.resume,
            set[str](),
        ),  # suppressed where pictures are kept, caught where jobs are followed
        (delta.Lake.compact, {"HistoryError", "SettingsError"}),
        (signing.sign, set[str]()),
    ],
)
def test_the_walk_finds_what_leaves(what: FunctionType, expected: set[str]) -> None:
    assert {kind.__name__ for kind in leaving(what)} == expected


Functions = Mapping[str, ast.AST]
Kinds = frozenset[type[Exception]]


def leaving(function: Any) -> Kinds:
    return _leaving_function(function.__qualname__, _functions(function.__module__), frozenset())


@cache
def _functions(module: str) -> Functions:
    """Every function of a module by its qualified name."""
    found: dict[str, ast.AST] = {}
    for node in ast.parse(inspect.getsource(sys.modules[module])).body:
        inner, prefix = (
            (node.body, f"{node.name}.") if isinstance(node, ast.ClassDef) else ([node], "")
        )
        functions = [
            one for one in inner if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))
        ]
        found |= {f"{prefix}{one.name}": one for one in functions}
    return found


def _leaving_function(name: str, functions: Functions, seen: frozenset[str]) -> Kinds:
    if name in seen:
        return frozenset()
    owner = name.rpartition(".")[0]

    def leave(node: ast.AST) -> Kinds:
        match node:
            case ast.Raise(ast.Call(ast.Name(raised))) if raised in ERRORS:
                return frozenset({ERRORS[raised]})
            case ast.Name(
                "missing_extra" | "requires_extra"
            ):  # which make it in the room of errors
                return frozenset({ERRORS["SettingsError"]})
            case ast.Try():
                after = [*node.handlers, *node.orelse, *node.finalbody]
                return _but(every(node.body), _kept(node.handlers)) | every(after)
            case ast.With(items=[ast.withitem(ast.Call(met, named))]) if "suppress" in ast.unparse(
                met
            ):
                return _but(every(node.body), named)
            case ast.Name(called) if called in functions:
                return _leaving_function(called, functions, seen | {name})
            case ast.Attribute(ast.Name("self"), called) if f"{owner}.{called}" in functions:
                return _leaving_function(f"{owner}.{called}", functions, seen | {name})
        return every(ast.iter_child_nodes(node))

    def every(nodes: Iterable[ast.AST]) -> Kinds:
        return reduce(frozenset.union, map(leave, nodes), frozenset())

    return every(functions[name].body)  # type: ignore[attr-defined]


def _kept(handlers: Iterable[ast.ExceptHandler]) -> list[ast.AST]:
    """What handlers catch and keep to themselves: one that raises again keeps nothing."""

    def again(handler: ast.ExceptHandler) -> bool:
        return any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler))

    return [one.type for one in handlers if one.type is not None and not again(one)]


def _but(kinds: Kinds, named: Iterable[ast.AST]) -> Kinds:
    """The kinds without those that are named."""
    names = {
        node.id for one in named for node in ast.walk(one) if isinstance(node, ast.Name)
    } & set(ERRORS)
    return frozenset(
        kind for kind in kinds if not issubclass(kind, tuple(ERRORS[name] for name in names))
    )
