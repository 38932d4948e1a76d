"""Mutation testing: change one thing in a module, and see whether a test notices.

    python -m tests.mutants [--count 300] [--seed 0] [--jobs 2] [MODULE ...]

First the tests run once, unchanged, to see which of them reach which line, and how long each takes.
Then each mutant runs in a forked process that imports the changed module in place of the real one:
first against simulated schedules, then against the tests that reach the changed line, the fastest
first. Survivors are printed with their line; a few of them change nothing that can be observed.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

# Imported once for all mutants; nothing of the package itself may be among them.
import anyio
import httpx
import pytest
import tenacity
from coverage import Coverage

PRELOADED = (anyio, httpx, pytest, tenacity)
ROOT = Path(__file__).parents[1]
# Where the tests are that may reach the modules.
TESTS = (
    "tests/client/test_outcomes.py",
    "tests/history/test_frames.py",
    "tests/history/test_frames_of_listings.py",
    "tests/history/test_journal.py",
    "tests/history/test_sync.py",
    "tests/jobs",
    "tests/services",
    "tests/notebook/test_line_parser.py",
    "tests/test_session.py",
    "tests/test_every_call.py",
)
# What guards money and what reads responses and lines.
MODULES = (
    "jupyter_mjci/history/submissions.py",
    "jupyter_mjci/history/journal.py",
    "jupyter_mjci/history/journal_rows.py",
    "jupyter_mjci/history/journal_schema.py",
    "jupyter_mjci/jobs/submission.py",
    "jupyter_mjci/jobs/journal_writer.py",
    "jupyter_mjci/jobs/batch.py",
    "jupyter_mjci/jobs/polling.py",
    "jupyter_mjci/jobs/waiting_room.py",
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
SCHEDULES = 250
STRIDE = 491
TIMEOUT = 240  # seconds: a mutant that runs longer is noticed
MAX_TESTS = 80  # that a mutant is tried on: the fastest of those that reach its line
# tests of whole processes, which take long, and are about what the others are about
SLOW_TESTS = "not stress and not killed and not processes and not survive"
QUIET = "ignore::pytest.PytestAssertRewriteWarning"
PYTEST_OPTIONS = ("-q", "-n0", "-pno:cacheprovider", "-W", QUIET)

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE,
    ast.GtE: ast.Gt, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip


# the tests that reach each line of each module, by path and number
TestsByLine = dict[str, dict[int, list[str]]]


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Args:
        path: the module's file
        line: where the change is
        number: which node it changes, in the order of `ast.walk`
        choice: which of the node's changes it is
        change: what it is
    """

    path: str
    line: int
    number: int
    choice: int
    change: str

    @property
    def source(self) -> str:
        """The changed source."""
        tree = ast.parse((ROOT / self.path).read_text("utf-8"))
        node = next(each for number, each in enumerate(ast.walk(tree)) if number == self.number)
        _mutate(node, self.choice)
        return ast.unparse(ast.fix_missing_locations(tree))

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.change}"


def find_mutants(path: str) -> Iterator[Mutant]:
    """Yield every mutant of a module."""
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    for number, node in enumerate(ast.walk(tree)):
        for choice in range(3):
            change = _mutate(copy.deepcopy(node), choice)
            if change:
                yield Mutant(path, getattr(node, "lineno", 0), number, choice, change)


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
        case ast.Return(value=ast.expr()), 0:
            node.value = None
            return "returns None"
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.If() | ast.Try() | ast.With(), _:
            return _drop_statement(node.body, choice)
    return ""


def _drop_statement(body: list[ast.stmt], choice: int) -> str:
    """Replace a call whose value is not used, a raise or an assignment to an attribute by pass."""
    droppable = [index for index, each in enumerate(body) if _is_droppable(each)]
    if choice == 0 or choice > len(droppable):
        return ""
    index = droppable[choice - 1]
    dropped = ast.unparse(body[index]).partition("\n")[0]
    body[index] = ast.Pass()
    return f"without: {dropped[:60]}"


def _is_droppable(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise():
            return True
        case ast.Assign(targets=[ast.Attribute()]):
            return True
    return False


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
        exec(compile(self.mutant.source, self.mutant.path, "exec"), module.__dict__)


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

    def measure(self) -> TestsByLine:
        """Run all tests; return those that reach each line of each module, the fastest first."""
        self.coverage.start()
        pytest.main([*PYTEST_OPTIONS, "-k", SLOW_TESTS, *TESTS], plugins=[self])
        self.coverage.stop()
        data = self.coverage.get_data()
        return {path: self._sort(data.contexts_by_lineno(str(ROOT / path))) for path in MODULES}

    def _sort(self, contexts: Mapping[int, Sequence[str]]) -> dict[int, list[str]]:
        return {
            line: sorted(filter(None, names), key=lambda name: self.seconds[name])
            for line, names in contexts.items()
        }


def measure_reach() -> TestsByLine:
    """Measure in a process of its own: this one must import nothing of the package."""
    with tempfile.TemporaryFile("w+") as file:
        pid = os.fork()
        if not pid:
            silence()
            json.dump(Reach().measure(), file)
            file.flush()
            os._exit(0)
        os.waitpid(pid, 0)
        file.seek(0)
        measured = json.load(file)
    return {path: {int(n): names for n, names in lines.items()} for path, lines in measured.items()}


def choose_tests(mutant: Mutant, reach: TestsByLine) -> list[str]:
    """Return the tests that reach a mutant's line.

    What runs on import is reached by all tests of the module: those
    of its functions.
    """
    lines = reach[mutant.path]
    names = lines.get(mutant.line) or sorted(
        {name for tests in lines.values() for name in tests[:3]}
    )
    return names[:MAX_TESTS]


def is_noticed(mutant: Mutant, tests: Sequence[str]) -> bool:
    """Run the schedules and tests on a mutant, in this process; return whether one fails."""
    importer = MutantImporter(mutant)
    sys.meta_path.insert(0, importer)
    try:
        # Before pytest: it rewrites the modules of a package that brings a
        # plugin, and would import the unchanged one.
        importlib.import_module(importer.name)
    except Exception:
        return True
    if mutant.path in SIMULATED and is_found_by_simulation():
        return True
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


def start(mutant: Mutant, tests: Sequence[str]) -> int:
    """Try a mutant in a process of its own, and return its id."""
    pid = os.fork()
    if pid:
        return pid
    silence()
    signal.alarm(TIMEOUT)
    code = 1
    try:
        code = 1 if is_noticed(mutant, tests) else 0
    finally:
        os._exit(code)


def try_mutants(
    mutants: Sequence[Mutant], reach: TestsByLine, at_once: int
) -> Iterator[tuple[Mutant, int]]:
    """Try mutants, some at a time; yield each with the status of its process: 0 if it survived."""
    waiting = list(reversed(mutants))
    running: dict[int, Mutant] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            mutant = waiting.pop()
            running[start(mutant, choose_tests(mutant, reach))] = mutant
        pid, status = os.wait()
        if pid in running:
            yield running.pop(pid), status


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", default=list(MODULES), metavar="MODULE")
    parser.add_argument("--count", type=int, default=300, help="how many, chosen by the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="how many run at a time")
    args = parser.parse_args()
    mutants = [mutant for path in args.modules for mutant in find_mutants(path)]
    chosen = random.Random(args.seed).sample(mutants, min(args.count, len(mutants)))
    started = time.monotonic()
    reach = measure_reach()
    statuses = Counter[int]()
    for mutant, status in try_mutants(chosen, reach, args.jobs):
        statuses[status] += 1
        if status == 0:
            print(mutant, flush=True)
    seconds = time.monotonic() - started
    noticed = len(chosen) - statuses[0]
    print(
        f"{noticed} of {len(chosen)} noticed, {statuses[signal.SIGALRM]} of them by a time-out,"
        f" in {seconds:.0f} s ({len(mutants)} there are)"
    )


if __name__ == "__main__":
    main()
