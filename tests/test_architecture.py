"""The house's own rules (CONTRIBUTING, "Rooms and floors"), read from the code itself."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jupyter_mjci"
ROOMS = sorted(PACKAGE.rglob("*.py"))

# What each wing may import; the floors from the top down.
BELOW = {
    "cli": {
        "notebook",
        "diagnostics",
        "secret_scan",
        "session",
        "history",
        "services",
        "client",
        "errors",
        "emulator",
    },
    "pytest_plugin": {"notebook"},
    "notebook": {
        "diagnostics",
        "session",
        "jobs",
        "history",
        "services",
        "client",
        "imaging",
        "errors",
    },
    "diagnostics": {"session", "services", "client", "errors"},
    "session": {"jobs", "history", "services", "client", "imaging", "errors", "emulator"},
    "jobs": {"history", "services", "client", "errors"},
    "history": {"services", "client", "errors"},
    "secret_scan": {"client", "errors"},
    "services": {"history", "client", "errors"},
    "client": {"services", "errors"},
    "imaging": {"errors"},
    "errors": set(),
    "emulator": {"imaging"},
    "__init__": {"notebook", "session"},
}

# What a wing imports inside functions only, so that whoever imports the wing does not load it.
LAZILY = {"cli": {"notebook", "emulator"}, "session": {"emulator"}}

# Where a third-party library may be imported; everything else asks that room.
HOMES = {
    "httpx": {
        "client/transport.py",
        "client/cassette.py",
        "emulator/app.py",
        "emulator/fault_injection.py",
        "emulator/webhooks.py",
    },
    "xmltodict": {"services/tencent_ci/xml.py"},
    "nest_asyncio": {"client/event_loop.py"},
    "nest_asyncio2": {"client/event_loop.py"},
    "sqlite3": {"secret_scan.py", "history/journal.py"},
    "msgspec": {
        "client/job.py",
        "client/jsonlib.py",
        "services/midjourney/api.py",
        "history/frames.py",
    },
    "aiohttp": {"client/transport.py"},
    "yarl": {"client/transport.py"},
    "keyring": {"client/settings.py"},
    "tenacity": {"jobs/submission.py"},
    "pandas": {
        "history/frames.py",
        "history/history.py",
        "history/journal_frame.py",
        "history/analysis.py",
        "history/delta.py",
    },
    "narwhals": {"history/analysis.py"},
    "duckdb": {"history/delta.py"},
    "deltalake": {"history/delta.py"},
    "dask": {"history/delta.py"},
    "distributed": {"history/delta.py"},
    "matplotlib": {"history/analysis.py"},
    "PIL": {
        "history/image_archive.py",
        "notebook/images.py",
        "imaging/rules.py",
        "emulator/image_generator.py",
    },
    "starlette": {
        "emulator/app.py",
        "emulator/asgi.py",
        "emulator/fault_injection.py",
        "emulator/server.py",
    },
    "uvicorn": {"jobs/webhooks.py", "emulator/server.py"},
    "rich": {"cli/watch_table.py"},
    "IPython": {"notebook/"},
    "ipywidgets": {"notebook/"},
}
TOP = {
    "pyproject.toml",
    "README.md",
    "README.zh-CN.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    ".ci",
    "jupyter_mjci",
    "docs",
    "notebooks",
    "tests",
    "binder",
    ".gitignore",
    ".pre-commit-hooks.yaml",
}


def name_of(room: Path) -> str:
    return room.relative_to(PACKAGE).as_posix()


def wing_of(name: str) -> str:
    return name.partition("/")[0].removesuffix(".py")


def imports(room: Path) -> Iterator[tuple[str, bool]]:
    """Every module that a room imports at run time, and whether it is imported inside a
    function.
    """
    package = ".".join(room.relative_to(ROOT).parent.parts)
    yield from _imports(ast.parse(room.read_text("utf-8")).body, package, False)


def _imports(nodes: Iterable[ast.AST], package: str, lazy: bool) -> Iterator[tuple[str, bool]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, lazy) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = ".".join(part for part in (package if node.level else "", node.module) if part)
            yield module, lazy
            yield from ((f"{module}.{alias.name}", lazy) for alias in node.names)
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            inside = lazy or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            yield from _imports(ast.iter_child_nodes(node), package, inside)


@pytest.mark.parametrize("room", ROOMS, ids=name_of)
def test_imports_go_downward(room: Path) -> None:
    """A room imports from its own wing or the floors below, some of them in functions."""
    name, wing = name_of(room), wing_of(name_of(room))
    for module, lazy in imports(room):
        other = module.split(".")[1] if module.startswith("jupyter_mjci.") else wing
        assert other == wing or other in BELOW[wing], f"{name} imports {module}"
        assert lazy or other not in LAZILY.get(wing, ()), (
            f"{name} imports {module} outside a function"
        )


@pytest.mark.parametrize("room", ROOMS, ids=name_of)
def test_libraries_stay_in_their_homes(room: Path) -> None:
    """A third-party library is imported in its home only, so that changing it changes one room."""
    name = name_of(room)
    for module, _ in imports(room):
        homes = HOMES.get(module.partition(".")[0], {name})
        assert any(
            name == home or (home.endswith("/") and name.startswith(home)) for home in homes
        ), module


@pytest.mark.parametrize("room", ROOMS, ids=name_of)
def test_rooms_have_telling_names(room: Path) -> None:
    assert room.name == "__init__.py" or ast.get_docstring(ast.parse(room.read_text("utf-8")))


def test_no_circles_inside_a_wing() -> None:
    """Following the imports of a room never leads back to it."""
    graph = {name_of(room): _siblings(room) for room in ROOMS}

    def reach(start: str, seen: frozenset[str]) -> None:
        for other in graph.get(start, ()):
            assert other not in seen, f"{' -> '.join([*sorted(seen), other])}"
            reach(other, seen | {other})

    for name in graph:
        reach(name, frozenset({name}))


def _siblings(room: Path) -> set[str]:
    """The rooms that a room imports when it is imported itself."""
    modules = {
        module for module, lazy in imports(room) if module.startswith("jupyter_mjci.") and not lazy
    }
    paths = {f"{module.removeprefix('jupyter_mjci.').replace('.', '/')}.py" for module in modules}
    return {path for path in paths if (PACKAGE / path).exists()}


def test_the_top_level_holds_what_the_house_lists() -> None:
    """Nothing but the listed files and folders is under version control at the top."""
    listing = ROOT / ".git"
    if not listing.exists():
        pytest.skip("not a checkout")
    import subprocess

    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert {line.partition("/")[0] for line in files.splitlines()} <= TOP


def test_the_reference_page_is_the_codes_own() -> None:
    """Every call, setting, column and error has its row, made from signature and docstring."""
    from tests.reference import PAGE, page

    assert PAGE.read_text("utf-8") == page(), "run: python -m tests.reference"
