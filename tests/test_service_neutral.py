"""What is service-neutral knows no service: every place that does is listed with its reason."""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jupyter_mjci"
# A service's own folders, its panel with the parts that only it
# uses, and its cell's body.
OWN = (
    "services/midjourney/",
    "services/tencent_ci/",
    "emulator/midjourney/",
    "emulator/tencent_ci/",
    "emulator/cos/",
    "notebook/panels/midjourney.py",
    "notebook/panels/tencent_ci.py",
    "notebook/panels/job_list.py",
    "notebook/panels/object_browser.py",
    "notebook/panels/rule_preview.py",
    "notebook/job_body.py",
)
KEYS = frozenset({"mj", "ci", "cos"})
MATH_NAMES = frozenset({"cos"})
NAME = re.compile(r"(?i)midjourney|tencent|^(mj|ci|cos)_\w+$")


def iter_words(node: ast.AST) -> Iterator[str]:
    """Yield the names and exact texts of a node."""
    match node:
        case ast.Constant(value=str(text)):
            if text in KEYS or re.fullmatch(r"(mj|ci|cos)_\w+", text):
                yield text
        case ast.ImportFrom(module=str(module)):
            # An import is one place, whatever it imports.
            names = [module, *(alias.name for alias in node.names)]
            if any(NAME.search(name) for name in names):
                yield f"import {module}"
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
            if name not in MATH_NAMES:
                yield name
        case ast.keyword(arg=str(name)):
            yield name
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            yield name


def list_places() -> Counter[tuple[str, str]]:
    """Count the places by file and word."""
    places: Counter[tuple[str, str]] = Counter()
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        if file.startswith(OWN):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for word in iter_words(node):
                if word in KEYS or NAME.search(word) or word.startswith("import "):
                    places[file, word] += 1
    return places


# How many places each file has, at most, and why. Lower a number
# when places go; a new file needs a reason.
ALLOWED = {
    "emulator/registry.py": (3, "the registry's built-in services"),
    "errors.py": (6, "the error tree is one module, with a class for each built-in service"),
    "jobs/study.py": (2, "the prompt of a study is one to imagine"),
    "notebook/extension.py": (1, "%mj… without underscore is a misspelt magic of ours, too"),
    "notebook/panels/gallery.py": (1, "the gallery of grids, which only Midjourney makes"),
    "services/__init__.py": (2, "the registry's built-in services"),
    "session.py": (2, "the types of what the built-in services add to a session"),
}
MOST_PLACES = 25


def test_every_place_is_allowed() -> None:
    counts: Counter[str] = Counter()
    for (file, _), count in list_places().items():
        counts[file] += count
    allowed = {file: count for file, (count, _) in ALLOWED.items()}
    assert {file: count for file, count in counts.items() if count > allowed.get(file, 0)} == {}


def test_few_places_are_allowed() -> None:
    assert sum(count for count, _ in ALLOWED.values()) <= MOST_PLACES
    assert all(reason for _, reason in ALLOWED.values())


def test_place_is_noticed() -> None:
    source = 'if job.service == "mj":\n    midjourney.parse(settings.ci_bucket)\n'
    source += "from jupyter_mjci.services.tencent_ci import api\n"
    words = [word for node in ast.walk(ast.parse(source)) for word in iter_words(node)]
    found = {word for word in words if word in KEYS or NAME.search(word)}
    assert found == {
        "mj",
        "midjourney",
        "ci_bucket",
        "import jupyter_mjci.services.tencent_ci",
    }


def main() -> None:
    """Print every place: python -m tests.test_service_neutral."""
    places = list_places()
    for (file, word), count in sorted(places.items()):
        print(f"{count:4} {file}: {word}")
    print(f"{places.total():4} in {len({file for file, _ in places})} files")


if __name__ == "__main__":
    sys.exit(main())
