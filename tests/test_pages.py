"""The documentation names only what exists: files, functions, magics, commands, settings, links."""

from __future__ import annotations

import ast
import math
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import jupyter_mjci
from jupyter_mjci.client.job import Job
from jupyter_mjci.client.settings import list_settings
from jupyter_mjci.notebook import commands
from jupyter_mjci.notebook.extension import MAGIC_NAMES
from jupyter_mjci.services import get_section_types
from tests.notebook.conftest import with_magics
from tests.test_architecture import MODULES, PACKAGE, PAGES, ROOT, get_name

HOW_IT_WORKS = ROOT / "docs" / "explanation" / "how-it-works.md"
HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.md"))
MAGICS = {
    "load_ext",
    "env",
    "config",
    *(name for names in MAGIC_NAMES.values() for name in names.split()),
}
# What is run elsewhere, or speaks to a service of the reader's own.
NOT_RUN = {"python": {"add-a-service"}, "": {"connect-your-services", "how-it-works"}}
# Not ours: Python's, Jupyter's, the services'.
FOREIGN_NAMES = {
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


def list_blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of a page in a language; cells of a notebook have none."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    return [block for block in blocks if language or block.startswith("%")]


def list_pages_with(language: str) -> list[Path]:
    return [
        page for page in PAGES if list_blocks(page, language) and page.stem not in NOT_RUN[language]
    ]


def list_code_spans(page: Path) -> list[str]:
    """Return what is set as code: inline, and the names in the diagram."""
    text = page.read_text("utf-8")
    inline = re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    diagrams = re.findall(r"^```\n(.*?)^```$", text, re.M | re.S)
    names = [name for diagram in diagrams for name in iter_diagram_names(diagram)]
    return sorted(set(inline + names) - FOREIGN_NAMES)


def iter_diagram_names(diagram: str) -> Iterator[str]:
    """Yield the first word of each line, where it is a name."""
    for line in diagram.splitlines():
        name = re.match(r"[\s│]*((?:[\w/]+\.)+\w+|%\w+)", line)
        if name:
            yield name[1]


def test_how_it_works_names_only_what_exists() -> None:
    assert [span for span in list_code_spans(HOW_IT_WORKS) if not exists(span)] == []


@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_how_to_names_only_what_exists(page: Path) -> None:
    """Magics, settings, commands and methods of a session."""
    ours = re.compile(r"%|s\.|MJCI_|jupyter mjci")
    assert [span for span in list_code_spans(page) if ours.match(span) and not exists(span)] == []


@pytest.mark.parametrize("page", list_pages_with("python"), ids=lambda page: page.stem)
def test_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a page, one after another, in one namespace."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": page.stem}
    for block in list_blocks(page, "python"):
        exec(compile(block, str(page), "exec"), names)


@pytest.mark.parametrize("page", list_pages_with(""), ids=lambda page: page.stem)
def test_cells_of_a_page_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after another in one shell, on a sandbox whose time flies."""
    monkeypatch.chdir(tmp_path)
    shell = with_magics(monkeypatch)
    with jupyter_mjci.sandbox(speed=math.inf) as session:
        shell.ip.push({"s": session})
        for block in list_blocks(page, ""):
            shell.run(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def list_anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_anchors_lead_to_headings(page: Path) -> None:
    anchors = re.findall(r"\]\(([^)#:\s]*)#([^)\s]+)\)", page.read_text("utf-8"))
    missing = [
        (path, anchor)
        for path, anchor in anchors
        if anchor not in list_anchors(page.parent / path if path else page)
    ]
    assert missing == []


@pytest.mark.parametrize(
    "span", ["Poller.gone", "polling.GONE", "gone.py", "%mjci gone", "MJCI_GONE", "s.gone()"]
)
def test_missing_name_is_noticed(span: str) -> None:
    assert not exists(span)


def exists(span: str) -> bool:
    if span.startswith("%"):
        magic, _, command = span.lstrip("%").partition(" ")
        return magic in MAGICS and (
            magic != "mjci" or not command or command.split()[0] in commands.list_commands()
        )
    if found := re.match(r"python -m (\S+)", span):
        return _is_module(ROOT / found[1].replace(".", "/"))
    if found := re.match(r"(?:jupyter mjci|GET) (\S+)|.*?\b(MJCI_[A-Z_]+)|.*?(--mjci-\w+)", span):
        word = next(filter(None, found.groups()))
        return word in VARIABLES or any(_holds(path, word) for path in SOURCES)
    if span.partition(".")[0] in ("s", "mjci", "job"):
        return _reachable(span.partition("(")[0])
    return (
        span in KNOWN
        or any((place / span).exists() for place in (ROOT, PACKAGE))
        or _is_module_file(span)
    )


VARIABLES = {name for each in list_settings(get_section_types()) for name in each.env}
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
    """Everything that the package defines: `Class`, `Class.method`, `Class.field` and
    `module.name`; modules by dotted name.
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


THREAT_MODEL = ROOT / "docs" / "explanation" / "threat-model.md"


def list_defences() -> list[list[str]]:
    """Return the rows of the threat model's table of defences."""
    lines = re.findall(r"^\| (.*) \|$", THREAT_MODEL.read_text("utf-8"), re.M)
    return [line.split(" | ") for line in lines[1:]]


@pytest.mark.parametrize("row", list_defences(), ids=lambda row: row[0][:40])
def test_threat_model_names_code_and_tests_that_exist(row: list[str]) -> None:
    _, _, code, tests = row
    for name in re.findall(r"`([^`]+)`", code):
        assert pkgutil.resolve_name(f"jupyter_mjci.{name}")
    for place in re.findall(r"`([^`]+)`", tests):
        file, _, function = place.partition("::")
        text = (ROOT / file).read_text("utf-8")
        assert re.search(rf"^(async )?def {function or 'test_'}", text, re.M)
