"""The pages for those who carry on: what they name exists, and every module stands in the table of
rooms.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jupyter_mjci
from jupyter_mjci.client.job import Job
from jupyter_mjci.notebook import commands
from jupyter_mjci.notebook.extension import MAGIC_NAMES
from tests.test_architecture import MODULES, PACKAGE, ROOT, get_name

TEXT = (ROOT / "docs" / "explanation" / "how-it-works.md").read_text("utf-8")
MAGICS = {"load_ext", *(name for names in MAGIC_NAMES.values() for name in names.split())}
# Not ours: Python's, Jupyter's, the services'.
WORDS = {
    "for",
    "async for",
    "await",
    ".run()",
    "wait_for",
    "asyncio.gather",
    "asyncio.run",
    "allow_stdin",
    "text/html",
    "_",
    "-o NAME",
    "text/plain",
    "%tb",
    "mjci-…",
    "state",
}


def spans() -> list[str]:
    """What is set as code: inline, and the names in the picture."""
    inline = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", TEXT, flags=re.M | re.S))
    drawn = [
        name
        for block in re.findall(r"^```\n(.*?)^```$", TEXT, re.M | re.S)
        for name in _names(block)
    ]
    return sorted(set(inline + drawn) - WORDS)


def _names(block: str) -> Iterator[str]:
    """The first word of each line of the picture, where it is a name."""
    for line in block.splitlines():
        found = re.match(r"[\s│]*((?:[\w/]+\.)+\w+|%\w+)", line)
        if found:
            yield found[1]


def test_everything_exists() -> None:
    assert [span for span in spans() if not exists(span)] == []


@pytest.mark.parametrize(
    "span", ["Poller.gone", "polling.GONE", "gone.py", "%mjci gone", "MJCI_GONE", "s.gone()"]
)
def test_what_does_not_exist_is_noticed(span: str) -> None:
    assert not exists(span)


def exists(span: str) -> bool:
    if span.startswith("%"):
        magic, _, command = span.lstrip("%").partition(" ")
        return magic in MAGICS and (
            magic != "mjci" or not command or command.split()[0] in commands.list_commands()
        )
    if found := re.match(r"python -m (\S+)", span):
        return _is_module(ROOT / found[1].replace(".", "/"))
    if found := re.match(r"(?:jupyter mjci|GET) (\S+)|.*?\b(MJCI_[A-Z]+)|.*?(--mjci-\w+)", span):
        return any(_holds(path, next(filter(None, found.groups()))) for path in SOURCES)
    if span.partition(".")[0] in ("s", "mjci", "job"):
        return _reachable(span.partition("(")[0])
    return (
        span in KNOWN
        or any((place / span).exists() for place in (ROOT, PACKAGE))
        or _is_module_file(span)
    )


SOURCES = [*MODULES, *(ROOT / "tests" / "browser").glob("*.py")]


def _holds(path: Path, word: str) -> bool:
    return f'"{word}"' in path.read_text("utf-8")


def _is_module(place: Path) -> bool:
    return place.with_suffix(".py").exists() or (place / "__main__.py").exists()


def _is_module_file(span: str) -> bool:
    return span.endswith(".py") and len([module for module in MODULES if module.name == span]) == 1


def _reachable(path: str) -> bool:
    """Whether a session, the package or a job has it."""
    with jupyter_mjci.sandbox() as session:
        value: Any = {"s": session, "mjci": jupyter_mjci, "job": Job("mj", "1")}[
            path.partition(".")[0]
        ]
        for name in path.split(".")[1:]:
            if not hasattr(value, name):
                return False
            value = getattr(value, name)
    return True


def known() -> Iterator[str]:
    """Everything that the package defines: `Class`, `Class.method`, `Class.field` and `module.name`;
    modules by dotted name.
    """
    for module in MODULES:
        yield "jupyter_mjci." + get_name(module).removesuffix(".py").replace("/", ".")
        for node in ast.parse(module.read_text("utf-8")).body:
            yield from (f"{module.stem}.{name}" for name in _defined(node))
            if isinstance(node, ast.ClassDef):
                yield node.name
                yield from (
                    f"{node.name}.{name}" for one in ast.walk(node) for name in _defined(one)
                )


def _defined(node: ast.AST) -> list[str]:
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        return [node.name]
    targets = (
        node.targets
        if isinstance(node, ast.Assign)
        else [node.target]
        if isinstance(node, ast.AnnAssign)
        else []
    )
    parts = [
        part
        for target in targets
        for part in (target.elts if isinstance(target, ast.Tuple) else [target])
    ]
    return [getattr(part, "id", getattr(part, "attr", "")) for part in parts]


KNOWN = set(known())
