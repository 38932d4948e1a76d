"""Public docstrings are complete: a summary, every parameter, every error that is raised."""

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
from jupyter_mjci import connection, errors, pytest_plugin, session
from jupyter_mjci.client import calls, settings
from jupyter_mjci.client.settings import (
    Secret,
    Settings,
    list_settings,
)
from jupyter_mjci.history import analysis, history, image_archive, plots, sync
from jupyter_mjci.history.lake.cluster import DaskLake
from jupyter_mjci.history.lake.lake import Lake, MergeResult
from jupyter_mjci.jobs import batch, downloads, lookup, runtime, webhooks
from jupyter_mjci.notebook import commands, job_future
from jupyter_mjci.notebook.params import parse_signature
from jupyter_mjci.services import get_section_types
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.tencent_ci import bucket, signing
from jupyter_mjci.services.tencent_ci.api import TencentCI
from jupyter_mjci.services.tencent_ci.objects import StoredObject

ERRORS: dict[str, type[Exception]] = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.MjciError)
}
# Their parameters are flags of magics and fields of panels, with "Args:" as help.
BUILDERS = (
    Midjourney,
    TencentCI,
    commands.Commands,
)
# "ip" is the shell that IPython passes to load_ipython_extension.
UNDOCUMENTED_PARAMETERS = {"self", "ip"}
# Classes that are not dataclasses, but that users instantiate.
INSTANTIATED = (
    session.Session,
    Lake,
    Secret,
)
SURFACE = (
    *(getattr(jupyter_mjci, name) for name in jupyter_mjci.__all__ if name != "sandbox"),
    connection.sandbox,
    *ERRORS.values(),
    *BUILDERS,
    *INSTANTIATED,
    Settings,
    batch.Watch,
    batch.BatchUpdate,
    connection.replay,
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
    MergeResult,
    DaskLake,
    analysis.JobAccessor,
    plots.PlotAccessor,
    image_archive.ImageArchive,
    image_archive.ArchivedImage,
    job_future.JobFuture,
    jupyter_mjci.load_ipython_extension,
    jupyter_mjci.unload_ipython_extension,
)


@dataclass(frozen=True)
class PublicName:
    """A public function or class, its docstring, and that of its class."""

    name: str
    target: Any
    doc: str
    class_doc: str = ""

    @property
    def parameters(self) -> list[str]:
        """The parameters that a user passes."""
        is_class = isinstance(self.target, type)
        if self.target is Settings or (
            is_class and not is_dataclass(self.target) and self.target not in INSTANTIATED
        ):
            return []  # settings have their own help; other classes are not instantiated by users
        return [
            name
            for name in inspect.signature(self.target).parameters
            if name not in UNDOCUMENTED_PARAMETERS
        ]


def list_public_names(target: Any) -> Iterator[PublicName]:
    """Yield the function or class itself, and the public members of a class."""
    doc = inspect.getdoc(target) or ""
    yield PublicName(target.__qualname__, target, doc)
    for name, member in vars(target).items() if isinstance(target, type) else ():
        function = member.fget if isinstance(member, property) else member
        if isinstance(function, FunctionType) and (not name.startswith("_") or name == "__call__"):
            yield PublicName(
                f"{target.__qualname__}.{name}",
                function,
                inspect.cleandoc(function.__doc__ or ""),
                doc,
            )


PUBLIC = {public.name: public for target in SURFACE for public in list_public_names(target)}


def is_mentioned(word: str, *texts: str) -> bool:
    """Return whether a text contains a parameter's name, or its words."""
    return any(
        re.search(rf"\b({word}|{word.replace('_', ' ')})\b", text, re.IGNORECASE) for text in texts
    )


def test_docstrings_begin_with_a_sentence() -> None:
    """It is shown alone in the reference, a magic's help and tooltips."""
    summaries = {public.name: public.doc.partition("\n\n")[0] for public in PUBLIC.values()}
    assert {
        name: summary
        for name, summary in summaries.items()
        if not re.fullmatch(r"[A-Z\d\"`].*[.:…]", summary, re.S)
    } == {}


def test_parameters_are_documented() -> None:
    """In the docstring, or in that of the class."""
    missing = {
        public.name: [
            name
            for name in public.parameters
            if not is_mentioned(name, public.doc, public.class_doc)
        ]
        for public in PUBLIC.values()
    }
    assert {name: names for name, names in missing.items() if names} == {}


def test_flags_fields_and_settings_have_help() -> None:
    of_builders = {
        f"{kind.__name__}.{name} {param.name}": param.help
        for kind in BUILDERS
        for name, builder in vars(kind).items()
        if not name.startswith("_")
        for param in parse_signature(builder)
    }
    settings = list_settings(get_section_types())
    of_settings = {setting.name: setting.field.metadata["help"] for setting in settings}
    assert [name for name, help in {**of_builders, **of_settings}.items() if not help] == []


def test_pytest_options_have_help() -> None:
    parser = RecordingParser()
    pytest_plugin.pytest_addoption(parser)  # type: ignore[arg-type]
    assert sorted(parser.helps) == ["--mjci-cell-timeout", "--mjci-notebooks"]
    assert all(parser.helps.values())


class RecordingParser:
    """Records the options that a plugin adds."""

    def __init__(self) -> None:
        self.helps: dict[str, str] = {}

    def getgroup(self, _: str) -> RecordingParser:
        return self

    def addoption(self, name: str, *, help: str = "", **_: Any) -> None:
        self.helps[name] = help


# --- errors ---------------------------------------------------------------------------------------


def test_raised_errors_are_documented() -> None:
    """Every error that a function or its module's helpers raise is in its docstring, that of its
    class, or a base class of it is.
    """
    missing = {
        public.name: sorted(_find_undocumented(public))
        for public in PUBLIC.values()
        if isinstance(public.target, FunctionType)
    }
    assert {name: names for name, names in missing.items() if names} == {}


def _find_undocumented(public: PublicName) -> Iterator[str]:
    for kind in find_raised(public.target):
        kinds = {base.__name__ for base in kind.__mro__} & set(ERRORS) - {"MjciError"}
        if not any(is_mentioned(name, public.doc, public.class_doc) for name in kinds):
            yield kind.__name__


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (bucket.presign_object, {"InvalidRequest"}),
        # Raised by helpers.
        (downloads.ResultFetcher.fetch, {"InvalidRequest", "InvalidResponse"}),
        (lookup.JobLookup._resolve, {"InvalidRequest"}),
        (settings.change_settings, {"SettingsError"}),
        (runtime.JobRuntime.resume, set[str]()),  # caught
        (Lake.vacuum, {"InvalidRequest"}),
        (signing.sign, set[str]()),
    ],
)
def test_raised_errors_are_found_through_helpers(
    function: FunctionType, expected: set[str]
) -> None:
    assert {kind.__name__ for kind in find_raised(function)} == expected


Functions = Mapping[str, ast.AST]
ErrorTypes = frozenset[type[Exception]]


def find_raised(function: Any) -> ErrorTypes:
    return _find_raised_by(function.__qualname__, _functions(function.__module__), frozenset())


@cache
def _functions(module: str) -> Functions:
    """Return every function of a module by its qualified name."""
    found: dict[str, ast.AST] = {}
    for node in ast.parse(inspect.getsource(sys.modules[module])).body:
        members, prefix = [node], ""
        if isinstance(node, ast.ClassDef):
            members, prefix = node.body, f"{node.name}."
        for member in members:
            if isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found[f"{prefix}{member.name}"] = member
    return found


def _find_raised_by(name: str, functions: Functions, seen: frozenset[str]) -> ErrorTypes:
    if name in seen:
        return frozenset()
    owner = name.rpartition(".")[0]

    def find(node: ast.AST) -> ErrorTypes:
        match node:
            case ast.Raise(ast.Call(ast.Name(raised))) if raised in ERRORS:
                return frozenset({ERRORS[raised]})
            # `raise attach(SomeError(…), classified)`
            case ast.Raise(ast.Call(ast.Name("attach"), [ast.Call(ast.Name(raised)), *_])):
                return frozenset({ERRORS[raised]}) if raised in ERRORS else frozenset()
            case ast.Name("missing_extra" | "requires_extra"):  # helpers of errors.py
                return frozenset({ERRORS["SettingsError"]})
            case ast.Try():
                after = [*node.handlers, *node.orelse, *node.finalbody]
                return _exclude(find_all(node.body), _list_caught(node.handlers)) | find_all(after)
            case ast.With(items=[ast.withitem(ast.Call(met, named))]) if "suppress" in ast.unparse(
                met
            ):
                return _exclude(find_all(node.body), named)
            case ast.Name(called) if called in functions:
                return _find_raised_by(called, functions, seen | {name})
            case ast.Attribute(ast.Name("self"), called) if f"{owner}.{called}" in functions:
                return _find_raised_by(f"{owner}.{called}", functions, seen | {name})
        return find_all(ast.iter_child_nodes(node))

    def find_all(nodes: Iterable[ast.AST]) -> ErrorTypes:
        return reduce(frozenset.union, map(find, nodes), frozenset())

    return find_all(functions[name].body)  # type: ignore[attr-defined]


def _list_caught(handlers: Iterable[ast.ExceptHandler]) -> list[ast.AST]:
    """Return what handlers catch for good; one that raises again catches nothing."""

    def reraises(handler: ast.ExceptHandler) -> bool:
        return any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler))

    return [
        handler.type for handler in handlers if handler.type is not None and not reraises(handler)
    ]


def _exclude(kinds: ErrorTypes, named: Iterable[ast.AST]) -> ErrorTypes:
    """Return the error types without those that are named."""
    names = set()
    for expression in named:
        names |= {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}
    names &= set(ERRORS)
    return frozenset(
        kind for kind in kinds if not issubclass(kind, tuple(ERRORS[name] for name in names))
    )
