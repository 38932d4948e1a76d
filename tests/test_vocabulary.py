"""and constructs that are not used any more, in code, tests and documents."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_architecture import PAGES

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jupyter_mjci"
# All but the changelog, which  what was renamed.
DOCUMENTS = [
    *(path for path in ROOT.glob("*.md") if path.name != "CHANGELOG.md"),
    *PAGES,
    *(ROOT / "notebooks").glob("*.ipynb"),
]
# Modules of the first edition: a path that ends so does not come back.
RETIRED_MODULES = [
    "batching",
    "following",
    "submitting",
    "receiving",
    "detours",
    "probing",
    "scanning",
    "client/bridge",
    "client/leaks",
    "client/json",
    "history/past",
    "history/remembered",
    "notebook/loading",
    "notebook/mjci",
    "notebook/live",
    "notebook/each",
    "panels/board",
    "panels/ledger",
    "panels/trial",
    "panels/blocks",
    "panels/saved",
    "cli/board",
    "sandbox/app",
    "sandbox/postman",
    "sandbox/shelf",
    "sandbox/conversation",
    "sandbox/histories",
    "sandbox/midjourney",
    "sandbox/tencent_ci",
    "sandbox/rules",
]
# Functions, classes, parameters and attributes that have a standard term instead.
RETIRED_NAMES = frozenset(
    [
        "Desk",
        "What",
        "Step",
        "Followed",
        "Inbox",
        "Unknowable",
        "Reply",
        "Pages",
        "Work",
        "Engine",
        "Handle",
        "OverAiohttp",
        "Shards",
        "TapeClock",
        "Asked",
        "Question",
        "Folded",
        "Spread",
        "Piece",
        "Kept",
        "Synced",
        "Packing",
        "Packed",
        "Listing_news",
        "Door",
        "Entry",
        "Chosen",
        "Manners",
        "Screen",
        "Paper",
        "Following",
        "Many",
        "Tally",
        "Look",
        "Press",
        "Ledger",
        "Trial",
        "Painter",
        "Saver",
        "Postman",
        "Shelf",
        "SocketLine",
        "Conversation",
        "Gone",
        "LoopbackDoor",
        "Agenda",
        "Visit",
        "CallError",
        "AnswerError",
        "WaitTooLong",
        "NoSuchEndpoint",
        "work_off",
        "hand_out",
        "unfinished",
        "service_of",
        "longest",
        "patience",
        "sightings",
        "steady",
        "patiently",
        "passing",
        "queueing",
        "traceable",
        "marked",
        "made_by",
        "surely",
        "recalled",
        "by_button",
        "listed",
        "queued",
        "directly",
        "_around",
        "_lacking",
        "replayed",
        "adjust",
        "rank_of",
        "is_page",
        "repeatable",
        "gathered",
        "spawn",
        "relay",
        "relay_each",
        "iterate",
        "singly",
        "produced",
        "bunch",
        "door",
        "_wake",
        "unsigned",
        "stripped",
        "stripped_value",
        "content_of",
        "kind_of",
        "final",
        "moving",
        "users_own",
        "read_news",
        "lacking",
        "needing",
        "instead",
        "maybe_arrived",
        "leaving",
        "leaves_now",
        "settle",
        "unsettled",
        "saw",
        "news",
        "tally",
        "grown",
        "table_of",
        "fold",
        "keep",
        "shrunk",
        "remembered",
        "called_off",
        "lex",
        "filled",
        "of_magic",
        "of_mjci",
        "set_out",
        "carriers",
        "listens",
        "strikes",
        "struck",
    ]
)
# Words of the first edition's private language, in documents.
RETIRED_WORDS = (
    r"\b(detours?|sightings?|the desk|rooms and floors|postman"
    r"|ledger|stand-ins?|tape clock|two doors)\b"
)
RETIRED_CONSTRUCTS = {
    "a module that changes its class": r"__class__ = ",
    " by string": r"\bglobals\(\)",
    "garbage collection switched off for the whole process": r"\bgc\.disable\b",
    "private attribute of aiohttp": r"connector\._acquired",
}


def list_sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def test_modules_of_the_first_edition_are_gone() -> None:
    paths = {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in list_sources(PACKAGE)}
    assert [name for name in RETIRED_MODULES if any(path.endswith(name) for path in paths)] == []


@pytest.mark.parametrize(
    "source", list_sources(PACKAGE), ids=lambda path: str(path.relative_to(PACKAGE))
)
def test_source_defines_no_retired_name(source: Path) -> None:
    """As function, class, parameter or attribute; the services' own words on the wire are
    strings.
    """
    tree = ast.parse(source.read_text("utf-8"))
    assert sorted(set(find_definitions(tree)) & RETIRED_NAMES) == []


def find_definitions(tree: ast.Module) -> Iterator[str]:
    """Yield what a module defines: functions, classes, parameters, attributes and module
    constants.
    """
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


@pytest.mark.parametrize("construct", RETIRED_CONSTRUCTS)
def test_package_has_no_retired_construct(construct: str) -> None:
    pattern = re.compile(RETIRED_CONSTRUCTS[construct])
    users = [path.name for path in list_sources(PACKAGE) if pattern.search(path.read_text("utf-8"))]
    assert users == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_document_uses_standard_terms(document: Path) -> None:
    found = re.findall(RETIRED_WORDS, document.read_text("utf-8"), re.IGNORECASE)
    assert found == []
