"""The architecture, read from the code itself: layers, cycles, and where libraries are imported."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Folders that a build of the site makes.
GENERATED = {"_build", "project", "tutorials"}
PAGES = sorted(
    page
    for page in (ROOT / "docs").rglob("*.md")
    if page.relative_to(ROOT / "docs").parts[0] not in GENERATED
)
PACKAGE = ROOT / "jupyter_mjci"
MODULES = sorted(PACKAGE.rglob("*.py"))

# Third-party libraries that only these modules import, so that replacing one changes one place.
LIBRARY_USERS = {
    "aiohttp": ("client/",),
    "dask": ("history/lake/", "history/queries.py"),
    "deltalake": ("history/lake/",),
    "distributed": ("history/lake/",),
    "duckdb": ("history/lake/",),
    "httpx": ("client/", "emulator/", "services/"),
    "IPython": ("notebook/",),
    "ipywidgets": ("notebook/",),
    "keyring": ("client/settings.py",),
    "matplotlib": ("history/plots.py",),
    "narwhals": ("history/concurrency.py", "history/periods.py", "history/queries.py"),
    "nest_asyncio": ("client/event_loop.py",),
    "nest_asyncio2": ("client/event_loop.py",),
    "pandas": ("history/", "notebook/"),
    "PIL": (
        "imaging/",
        "client/image_input.py",
        "history/image_archive.py",
        "emulator/",
    ),
    "rich": ("cli/watch_table.py",),
    "sqlite3": ("history/journal", "history/submissions.py", "secret_scan/databases.py"),
    "starlette": ("emulator/",),
    "tenacity": ("jobs/submission.py",),
    "uvicorn": ("emulator/server.py", "jobs/webhooks.py"),
    "xmltodict": ("services/tencent_ci/xml.py", "emulator/xml.py"),
}
TOP_LEVEL = {
    "pyproject.toml", "README.md", "README.zh-CN.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE",
    "CODE_OF_CONDUCT.md", "SECURITY.md", "CITATION.cff", "noxfile.py", "conda-recipe",
    ".ci", ".devcontainer", ".github",
    "jupyter_mjci", "docs", "notebooks", "tests", "binder",
    ".gitignore", ".pre-commit-config.yaml", ".pre-commit-hooks.yaml",
}  # fmt: skip


def get_name(module: Path) -> str:
    return module.relative_to(PACKAGE).as_posix()


def iter_imported_libraries(module: Path) -> Iterator[str]:
    """Yield the top-level names that a module imports at run time, lazily or not."""
    tree = ast.parse(module.read_text("utf-8"))
    for node in iter_runtime_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


def iter_runtime_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes but those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        yield child
        yield from iter_runtime_nodes(child)


def test_import_contracts_hold() -> None:
    """Layers and cycles: [tool.importlinter] of pyproject.toml, lazy and type-checking imports
    counted.
    """
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("module", MODULES, ids=get_name)
def test_library_is_imported_by_its_users_only(module: Path) -> None:
    name = get_name(module)
    for library in iter_imported_libraries(module):
        users = LIBRARY_USERS.get(library, (name,))
        assert any(name.startswith(user) for user in users), f"{name} imports {library}"


@pytest.mark.parametrize("module", MODULES, ids=get_name)
def test_module_has_a_docstring(module: Path) -> None:
    assert ast.get_docstring(ast.parse(module.read_text("utf-8")))


def test_top_level_holds_only_listed_files() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    command = ["git", "ls-files"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {line.partition("/")[0] for line in listing.splitlines()} <= TOP_LEVEL


def test_reference_page_is_up_to_date() -> None:
    from tests.reference import PAGE, build_page

    assert PAGE.read_text("utf-8") == build_page(), "run: python -m tests.reference"
