"""Mutation testing: change one thing in a module, and see whether a test notices.

    python -m tests.mutants [--count 400] [--seed 0] [--reach FILE] [MODULE ...]

First the tests run once, unchanged, to see which of them reach which line, and how long each takes
(`--reach` keeps that in a file). Then each mutant runs in a forked process: against the tests named
after the module, simulated schedules, and the other tests that reach the changed line. What changes
a function replaces its code; what changes an import imports the module anew. Survivors are printed
with their line, to be read: some change nothing that can be observed.

Not changed are the numbers of a module's constants in capitals (pauses and bounds: 16 seconds would
do as well as 15; that they are kept to, their comparisons show), the flags of dataclasses and of
`zip` (type checking holds to them), imports for type checking, and what is logged.
"""

from __future__ import annotations

import argparse
import ast
import copy
import gc
import importlib
import importlib.abc
import importlib.machinery
import itertools
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

# Imported once for all mutants; nothing of the package itself may be among them.
import anyio
import httpx
import hypothesis
import IPython
import msgspec
import pandas
import PIL.Image
import pytest
import starlette.applications
import tenacity
import uvicorn
from coverage import Coverage

PRELOADED = (
    anyio, httpx, hypothesis, IPython, msgspec, pandas, PIL.Image, pytest, starlette, tenacity,
    uvicorn,
)  # fmt: skip
ROOT = Path(__file__).parents[1]
for plugin in entry_points(group="pytest11"):
    if not plugin.value.startswith("jupyter_mjci"):
        plugin.load()
# Where the tests are that may reach the modules.
TESTS = (
    "tests/client/test_outcomes.py",
    "tests/history/test_frames.py",
    "tests/history/test_frames_of_listings.py",
    "tests/history/test_history_files.py",
    "tests/history/test_journal.py",
    "tests/history/test_ratings.py",
    "tests/history/test_sync.py",
    "tests/jobs",
    "tests/services",
    "tests/notebook/test_line_parser.py",
    "tests/notebook/test_magics.py",
    "tests/notebook/test_preflight.py",
    "tests/test_session.py",
    "tests/test_every_call.py",
)
# What guards money and what reads responses and lines.
MODULES = (
    "jupyter_mjci/history/submissions.py",
    "jupyter_mjci/history/journal.py",
    "jupyter_mjci/history/journal_rows.py",
    "jupyter_mjci/history/journal_schema.py",
    *sorted(f"jupyter_mjci/jobs/{path.name}" for path in (ROOT / "jupyter_mjci/jobs").glob("*.py")),
    "jupyter_mjci/services/midjourney/reconciliation.py",
    "jupyter_mjci/services/midjourney/responses.py",
    "jupyter_mjci/services/tencent_ci/reconciliation.py",
    "jupyter_mjci/services/tencent_ci/responses.py",
    "jupyter_mjci/notebook/line_parser.py",
)
# Those that simulated schedules run through.
SIMULATED = frozenset(
    {
        "jupyter_mjci/history/submissions.py",
        "jupyter_mjci/jobs/submission.py",
        "jupyter_mjci/jobs/journal_writer.py",
        "jupyter_mjci/jobs/waiting_room.py",
        "jupyter_mjci/services/midjourney/reconciliation.py",
        "jupyter_mjci/services/tencent_ci/reconciliation.py",
    }
)
SCHEDULES = 150
STRIDE = 491
TIMEOUT = 120  # seconds: a mutant that runs longer is noticed
# those that are tried first: collecting all takes longer than
# running a few
FEW_TESTS = 25
# tests of whole processes, which take long, and are about what the others are about
SLOW_TESTS = "not stress and not killed and not processes and not survive"
QUIET = "ignore::pytest.PytestAssertRewriteWarning"
PYTEST_OPTIONS = ("-q", "-n0", "-pno:cacheprovider", "-W", QUIET)

# whose statements are dropped
BLOCKS = ast.FunctionDef | ast.AsyncFunctionDef | ast.If | ast.Try | ast.With
FLAGS = frozenset({"eq", "frozen", "kw_only", "slots", "strict"})

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Args:
        path: the module's file
        line: where the change is
        number: which node it changes, in the order of `ast.walk`
        choice: which of the node's changes it is
        change: what it is
        is_late: whether it is in the body of a function, so that
            it can be made after the import
    """

    path: str
    line: int
    number: int
    choice: int
    change: str
    is_late: bool

    def compile(self) -> CodeType:
        """Compile the changed source."""
        tree = ast.parse((ROOT / self.path).read_text("utf-8"))
        node = next(each for number, each in enumerate(ast.walk(tree)) if number == self.number)
        _mutate(node, self.choice)
        return compile(ast.fix_missing_locations(tree), str(ROOT / self.path), "exec")

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.change}"


def find_mutants(path: str) -> Iterator[Mutant]:
    """Yield every mutant of a module."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    excluded = set(_find_excluded(tree))
    late = set(_find_late(tree))
    for number, node in enumerate(ast.walk(tree)):
        if node in excluded:
            continue
        for choice in range(3):
            dropped = _find_dropped(node, choice)
            change = _mutate(copy.deepcopy(node), choice)
            if change:
                line = (dropped or node).lineno  # type: ignore[attr-defined]  # all have one
                yield Mutant(path, line, number, choice, change, node in late)


def _find_excluded(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the nodes that are not changed."""
    for statement in tree.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name))
            ) if name.isupper():
                yield from ast.walk(statement)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from ast.walk(statement)
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in FLAGS:
            yield node.value


def _find_late(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield the nodes in the bodies of functions, and the functions: what is dropped is in them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            for statement in node.body:
                yield from ast.walk(statement)


def _mutate(node: ast.AST, choice: int) -> str:
    """Change a node in place, and say how; "" where this choice does not apply."""
    match node, choice:
        case ast.Compare(ops=[op]), 0 if type(op) in COMPARISONS:
            node.ops = [COMPARISONS[type(op)]()]
            return f"{type(op).__name__} to {type(node.ops[0]).__name__}"
        case ast.BoolOp(), 0:
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            return f"to {type(node.op).__name__}"
        case ast.If() | ast.While() | ast.IfExp(), 0:
            node.test = ast.UnaryOp(ast.Not(), node.test)
            return "condition negated"
        case ast.Constant(value=bool(value)), 0:
            node.value = not value
            return f"{value} to {not value}"
        case ast.Constant(value=int(value) | float(value)), 0:
            node.value = value + 1
            return f"{value} to {value + 1}"
        case ast.BinOp(op=ast.Add() | ast.Sub()), 0:
            node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
            return f"to {type(node.op).__name__}"
        case ast.Return(value=ast.Constant(value=False | None)), 0:
            return ""
        case ast.Return(value=ast.expr()), 0:
            node.value = None
            return "returns None"
    dropped = _find_dropped(node, choice)
    if dropped is not None and isinstance(node, BLOCKS):
        node.body[node.body.index(dropped)] = ast.Pass()
        return f"without: {ast.unparse(dropped).splitlines()[0][:60]}"
    return ""


def _find_dropped(node: ast.AST, choice: int) -> ast.stmt | None:
    """Find the statement that is replaced by pass: a call whose value is not used, a raise or an
    assignment to an attribute.
    """
    if not isinstance(node, BLOCKS):
        return None
    droppable = [each for each in node.body if _is_droppable(each)]
    return droppable[choice - 1] if 0 < choice <= len(droppable) else None


def _is_droppable(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="LOG")))):
            return False
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise():
            return True
        case ast.Assign(targets=[ast.Attribute()]):
            return True
    return False


# functions and what their code is changed to
Changes = Sequence[tuple[FunctionType, CodeType]]


class MutantImporter(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a mutant in place of its module."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant
        self.name = mutant.path.removesuffix(".py").replace("/", ".")

    def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.machinery.ModuleSpec(name, self, origin=str(ROOT / self.mutant.path))

    def exec_module(self, module: ModuleType) -> None:
        exec(self.mutant.compile(), module.__dict__)


class Reach:
    """Which tests reach which lines: a pytest plugin that measures it, test by test."""

    def __init__(self) -> None:
        self.coverage = Coverage(data_file=None, include=[str(ROOT / path) for path in MODULES])
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        started = time.perf_counter()
        self.coverage.switch_context(item.nodeid)
        result = yield
        self.seconds[item.nodeid] = time.perf_counter() - started
        return result

    def measure(self) -> dict[str, Any]:
        """Run all tests; return those that reach each line of each module, and their seconds."""
        self.coverage.start()
        pytest.main([*PYTEST_OPTIONS, "-k", SLOW_TESTS, *TESTS], plugins=[self])
        self.coverage.stop()
        data = self.coverage.get_data()
        lines = {path: data.contexts_by_lineno(str(ROOT / path)) for path in MODULES}
        return {"reach": lines, "seconds": self.seconds}


def measure_reach(file: Path) -> None:
    """Measure in a process of its own: this one must import nothing of the package."""
    pid = os.fork()
    if not pid:
        silence()
        file.write_text(json.dumps(Reach().measure()), "utf-8")
        os._exit(0)
    os.waitpid(pid, 0)


class TestChoice:
    """Chooses the tests that a mutant is tried on.

    Args:
        measured: what `Reach.measure` returns
        budget: how many seconds they may have taken, when they
            were measured
    """

    __test__ = False

    def __init__(self, measured: Mapping[str, Any], budget: float) -> None:
        self.budget = budget
        self.seconds: Mapping[str, float] = measured["seconds"]
        self.reach: Mapping[str, Mapping[str, list[str]]] = measured["reach"]

    def choose(self, mutant: Mutant) -> tuple[list[str], list[str]]:
        """Return the tests named after the module, and others, that reach a mutant's line.

        What runs on import is reached by all tests of the module.
        """
        lines = self.reach[mutant.path]
        names = set(filter(None, lines.get(str(mutant.line), ())))
        order = self._sort(names or set(filter(None, itertools.chain(*lines.values()))))
        file_name = f"test_{Path(mutant.path).stem}"
        named = [name for name in order if file_name in name]
        others = [name for name in order if file_name not in name]
        return self._cut(named), self._cut(others)

    def is_reached_late(self, mutant: Mutant) -> bool:
        """Return whether a test reaches the line, not only the import."""
        return any(self.reach[mutant.path].get(str(mutant.line), ()))

    def _sort(self, names: Iterable[str]) -> list[str]:
        """Put one case of each test first, then another one of each; of equals the fastest."""
        counts = Counter[str]()
        keys = {}
        for name in sorted(names, key=self.seconds.__getitem__):
            function = name.partition("[")[0]
            keys[name] = (counts[function], self.seconds[name])
            counts[function] += 1
        return sorted(keys, key=keys.__getitem__)

    def _cut(self, names: Sequence[str]) -> list[str]:
        """Keep as many as run within the budget, but the first in any case."""
        totals = itertools.accumulate(map(self.seconds.__getitem__, names))
        kept = [name for name, total in zip(names, totals, strict=True) if total <= self.budget]
        return kept or list(names[:1])


def is_noticed(mutant: Mutant, named: Sequence[str], others: Sequence[str]) -> bool:
    """Run tests and schedules on a mutant, in this process; return whether one fails."""
    importer = MutantImporter(mutant)
    sys.meta_path.insert(0, importer)
    try:
        # Before pytest: it rewrites the modules of a package that brings a
        # plugin, and would import the unchanged one.
        importlib.import_module(importer.name)
    except Exception:
        return True
    is_simulated = mutant.path in SIMULATED
    return (
        has_failure(named)
        or has_failure(others[:FEW_TESTS])
        or (is_simulated and is_found_by_simulation())
        or has_failure(others[FEW_TESTS:])
    )


def has_failure(tests: Sequence[str]) -> bool:
    if not tests:
        return False
    return pytest.main(["-x", *PYTEST_OPTIONS, *tests]) != pytest.ExitCode.OK


def is_found_by_simulation() -> bool:
    """Run schedules; return whether one of them ends badly."""
    try:
        from tests.simulation.__main__ import find_violations, open_simulation

        with open_simulation() as simulation:
            return next(find_violations(simulation, SCHEDULES, 0, STRIDE), None) is not None
    except Exception:
        return True


def silence() -> None:
    """Let this process print nothing."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)


def try_by_import(mutants: Sequence[Mutant], tests: TestChoice) -> Iterator[tuple[Mutant, int]]:
    """Try mutants each by importing it; yield each with its status: 0 if it survived."""
    for mutant in mutants:
        named, others = tests.choose(mutant)
        yield mutant, run_in_child(lambda: is_noticed(mutant, named, others))  # noqa: B023 - run at once


def run_in_child(is_noticed: Callable[[], bool]) -> int:
    """Run a function in a process of its own; return the status: whether it returned True."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    silence()
    signal.alarm(TIMEOUT)
    code = 1
    try:
        code = 1 if is_noticed() else 0
    finally:
        os._exit(code)


class Patcher:
    """Tries mutants, each in a fork of a process that has imported and collected all: a plugin.

    Args:
        mutants: those whose change is in a function
        tests: chooses the tests
        report: called with a mutant and its status, None where
            it can only be tried by import
    """

    def __init__(
        self,
        mutants: Sequence[Mutant],
        tests: TestChoice,
        report: Callable[[Mutant, int | None], None],
    ) -> None:
        self.mutants = mutants
        self.tests = tests
        self.report = report
        self.has_failed = False

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        gc.unfreeze()
        functions = find_functions({str(ROOT / mutant.path) for mutant in self.mutants})
        gc.freeze()
        self.items = {item.nodeid: item for item in session.items}
        for mutant in self.mutants:
            changes = find_changes(mutant, functions)
            if changes:
                self.report(mutant, run_in_child(partial(self._is_noticed, mutant, changes)))
            else:
                self.report(mutant, None)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.has_failed |= report.failed

    def _is_noticed(self, mutant: Mutant, changes: Changes) -> bool:
        for function, code in changes:
            function.__code__ = code
        named, others = self.tests.choose(mutant)
        return (
            self._run([*named, *others[:FEW_TESTS]])
            or (mutant.path in SIMULATED and is_found_by_simulation())
            or self._run(others[FEW_TESTS:])
        )

    def _run(self, names: Sequence[str]) -> bool:
        items = [self.items[name] for name in names if name in self.items]
        for item, following in zip(items, [*items[1:], None], strict=False):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            if self.has_failed:
                return True
        return False


def find_functions(files: Collection[str]) -> list[FunctionType]:
    """Return all functions of modules, also those that a decorator hides."""
    each = gc.get_objects()
    return [f for f in each if type(f) is FunctionType and f.__code__.co_filename in files]


def find_changes(mutant: Mutant, functions: Iterable[FunctionType]) -> Changes:
    """Return the functions that a mutant changes, with their changed code."""
    path = str(ROOT / mutant.path)
    codes = {_get_key(code): code for code in _iter_codes(mutant.compile())}
    changes = []
    for function in functions:
        old = function.__code__
        code = codes.get(_get_key(old)) if old.co_filename == path else None
        # The order of names is another one where one is not used any more.
        if code is not None and code != old and code.co_freevars == old.co_freevars:
            changes.append((function, code))
    return changes


def _get_key(code: CodeType) -> tuple[str, int]:
    return code.co_qualname, code.co_firstlineno


def _iter_codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _iter_codes(constant)


def try_in_forks(
    mutants: Sequence[Mutant], tests: TestChoice
) -> Iterator[tuple[Mutant, int | None]]:
    """Try mutants in forks of a process that has collected the tests once."""
    reader, writer = os.pipe()
    numbers = {mutant: number for number, mutant in enumerate(mutants)}

    def report(mutant: Mutant, status: int | None) -> None:
        os.write(writer, f"{json.dumps([numbers[mutant], status])}\n".encode())

    pid = os.fork()
    if not pid:
        os.close(reader)
        silence()
        importlib.import_module("tests.simulation.__main__")
        pytest.main(["-s", *PYTEST_OPTIONS, *TESTS], plugins=[Patcher(mutants, tests, report)])
        os._exit(0)
    os.close(writer)
    with open(reader, encoding="ascii") as lines:
        for line in lines:
            number, status = json.loads(line)
            yield mutants[number], status
    os.waitpid(pid, 0)


def try_mutants(mutants: Sequence[Mutant], tests: TestChoice) -> Iterator[tuple[Mutant, int]]:
    """Yield each mutant with the status of its process: 0 if it survived."""
    late = [mutant for mutant in mutants if mutant.is_late and tests.is_reached_late(mutant)]
    early = [mutant for mutant in mutants if mutant not in late]
    for mutant, status in try_in_forks(late, tests):
        if status is None:
            early.append(mutant)
        else:
            yield mutant, status
    yield from try_by_import(early, tests)


def choose_mutants(paths: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """Choose among the mutants of all modules; return them module by module."""
    mutants = [mutant for path in paths for mutant in find_mutants(path)]
    chosen = random.Random(seed).sample(mutants, min(count, len(mutants)))
    return sorted(chosen, key=lambda mutant: (mutant.path, mutant.line, mutant.number))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", default=list(MODULES), metavar="MODULE")
    parser.add_argument("--count", type=int, default=400, help="how many, chosen by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reach", type=Path, help="where what tests reach is kept")
    parser.add_argument("--budget", type=float, default=40, help="seconds of tests for each")
    parser.add_argument("--slice", default=":", help="of those, as START:END")
    args = parser.parse_args()
    first, _, last = args.slice.partition(":")
    chosen = choose_mutants(args.modules, args.count, args.seed)
    chosen = chosen[int(first or 0) : int(last or len(chosen))]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = args.reach or Path(folder, "reach.json")
        if not file.exists():
            measure_reach(file)
        tests = TestChoice(json.loads(file.read_text("utf-8")), args.budget)
    results: dict[str, Counter[str]] = defaultdict(Counter)
    for mutant, status in try_mutants(chosen, tests):
        results[mutant.path]["tried"] += 1
        print(".", end="", file=sys.stderr, flush=True)
        if status == 0:
            results[mutant.path]["survived"] += 1
            print(mutant, flush=True)
        if status == signal.SIGALRM:
            print(f"{mutant} (noticed by a time-out)", flush=True)
    for path, counts in sorted(results.items()):
        print(f"{path}: {counts['tried'] - counts['survived']} of {counts['tried']} noticed")
    survived = sum(counts["survived"] for counts in results.values())
    seconds = time.monotonic() - started
    print(f"{len(chosen) - survived} of {len(chosen)} noticed in {seconds:.0f} s")


if __name__ == "__main__":
    main()
