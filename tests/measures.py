"""Measure how the package reads: `python -m tests.measures [PATH...]` prints each figure against
its bar.

The bars come from eleven well-kept libraries of this field (httpx, h11, gidgethub, botocore, …). A
test (`tests/test_measures.py`) holds the whole package to them.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jupyter_mjci"
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

# Irregular participles that verbs of this field do not share with a present tense ("read", "put").
IRREGULAR_PARTICIPLES = frozenset(
    [
        "drawn",
        "told",
        "made",
        "shown",
        "written",
        "kept",
        "found",
        "seen",
        "gone",
        "done",
        "begun",
        "chosen",
        "given",
        "said",
        "sent",
        "got",
        "held",
        "lost",
        "taken",
        "torn",
        "spread",
        "shrunk",
        "bound",
        "left",
        "heard",
        "thawed",
        "known",
        "meant",
        "grown",
    ]
)
NOT_PARTICIPLES = frozenset({"embed", "feed", "need", "speed", "seed", "shed"})
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Measure:
    """One figure of the package, and the most that it may be (None: told, no bar)."""

    name: str
    value: float
    bar: float | None

    @property
    def is_met(self) -> bool:
        return self.bar is None or self.value <= self.bar

    def __str__(self) -> str:
        bar = "" if self.bar is None else f"bar {self.bar:g}"
        missed = "" if self.is_met else "  MISSED"
        return f"{self.name:<52}{self.value:>12,.2f}   {bar}{missed}"


@dataclass(frozen=True)
class Source:
    """One parsed file."""

    path: Path
    text: str
    tree: ast.Module

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


def load_sources(paths: Iterable[Path]) -> list[Source]:
    """Read and parse every Python file below the paths."""
    files = [
        file
        for path in paths
        for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))
    ]
    texts = [(file, file.read_text("utf-8")) for file in files]
    return [Source(file, text, ast.parse(text)) for file, text in texts]


def measure(sources: list[Source]) -> list[Measure]:
    """Work out every figure; ratios are per thousand lines unless the name says otherwise."""
    lines = [line for source in sources for line in source.lines]
    stripped = [len(line.strip()) for line in lines if line.strip()]
    thousands = max(len(lines), 1) / 1000
    nodes = [node for source in sources for node in ast.walk(source.tree)]
    functions = [node for node in nodes if isinstance(node, FunctionNode)]
    lengths = sorted(map(count_code_lines, functions))
    participles = [node for node in functions if is_lone_participle(node)]
    return [
        Measure("lines", len(lines), None),
        Measure("ast nodes", len(nodes), None),
        Measure("comment lines, %", 100 * count_comment_lines(sources) / max(len(lines), 1), None),
        Measure(
            "functions named by a lone participle, %",
            100 * len(participles) / max(len(functions), 1),
            1.5,
        ),
        Measure("name `one`", count_name(nodes, "one") / thousands, 1),
        Measure("conditional expressions", count_kind(nodes, ast.IfExp) / thousands, 15),
        Measure("comprehensions", count_kind(nodes, *COMPREHENSIONS) / thousands, 26),
        Measure("`Any`", count_name(nodes, "Any") / thousands, 15),
        Measure(
            "lines over 100 characters, %",
            100 * sum(len(line) > 100 for line in lines) / max(len(lines), 1),
            0.3,
        ),
        Measure("mean stripped line, characters", statistics.mean(stripped or [0]), 38),
        Measure(
            "function length without docstring, 99th percentile", find_percentile(lengths, 0.99), 30
        ),
        Measure("longest function without docstring, lines", max(lengths, default=0), 60),
        Measure(
            "functions with over 7 parameters, builders left out",
            len(list(find_wide_functions(sources))),
            0,
        ),
        Measure("`# fmt: skip`", sum("# fmt: skip" in line for line in lines), 10),
    ]


def is_lone_participle(node: FunctionNode) -> bool:
    """Whether a function (a property may be a noun) is named `told`, `drawn`, `gathered`."""
    word = node.name.strip("_")
    if "_" in word or word in NOT_PARTICIPLES or is_property(node):
        return False
    return word in IRREGULAR_PARTICIPLES or re.fullmatch(r"[a-z]{3,}ed", word) is not None


def count_code_lines(node: FunctionNode) -> int:
    """Lines of a function from `def` to its end; a docstring is no complexity and does not
    count.
    """
    end = node.end_lineno or node.lineno
    first = node.body[0]
    docstring = 0
    if ast.get_docstring(node) is not None:
        docstring = (first.end_lineno or first.lineno) - first.lineno + 1
    return end - node.lineno + 1 - docstring


def is_property(node: FunctionNode) -> bool:
    names = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    return bool(names & {"property", "cached_property", "setter"})


def count_comment_lines(sources: list[Source]) -> int:
    """Lines that are nothing but a comment."""
    total = 0
    for source in sources:
        tokens = tokenize.generate_tokens(io.StringIO(source.text).readline)
        total += sum(
            token.type == tokenize.COMMENT and token.line.strip().startswith("#")
            for token in tokens
        )
    return total


def count_name(nodes: list[ast.AST], name: str) -> int:
    return sum(isinstance(node, ast.Name) and node.id == name for node in nodes)


def count_kind(nodes: list[ast.AST], *kinds: type[ast.AST]) -> int:
    return sum(isinstance(node, kinds) for node in nodes)


def find_percentile(ordered: list[int], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0


def find_wide_functions(sources: list[Source]) -> Iterator[str]:
    """Functions with more than seven parameters that are no builders (`services/*/api.py`) and no
    constructors.
    """
    for source in sources:
        # `presign` has the parameters of the request that it signs, and scripts rely on them.
        if source.path.name in ("api.py", "signing.py"):
            continue
        for node in ast.walk(source.tree):
            if (
                isinstance(node, FunctionNode)
                and node.name != "__init__"
                and count_parameters(node) > 7
            ):
                yield f"{source.path.relative_to(ROOT)}:{node.lineno} {node.name}"


def count_parameters(node: FunctionNode) -> int:
    names = [arg.arg for arg in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def main(arguments: list[str]) -> None:
    paths = [Path(argument).resolve() for argument in arguments] or [PACKAGE]
    for figure in measure(load_sources(paths)):
        print(figure)


if __name__ == "__main__":
    main(sys.argv[1:])
