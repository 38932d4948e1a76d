"""Mutation testing: change one thing in a module, and see whether its nearest tests notice.

    python -m tests.mutants [--count 300] [--seed 0] [--jobs 2] [MODULE ...]

Each mutant runs in a forked process that imports the changed module in place of the real one, first
against simulated schedules, then against the tests of the module. Survivors are printed with their
line; a few of them change nothing that can be observed.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import os
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

# Imported once for all mutants; nothing of the package itself may be among them.
import anyio
import httpx
import pytest
import tenacity

PRELOADED = (anyio, httpx, pytest, tenacity)
ROOT = Path(__file__).parents[1]
JOURNAL_TESTS = ("tests/history/test_journal.py",)
SUBMISSION_TESTS = (*JOURNAL_TESTS, "tests/jobs/test_submission.py")
WAITING_TESTS = ("tests/jobs/test_waiting_room.py", "tests/jobs/test_gateways.py")
POLLING_TESTS = (*WAITING_TESTS, "tests/test_session.py", "tests/jobs/test_submission.py")
MJ_TESTS = (
    "tests/services/midjourney/test_responses.py",
    "tests/client/test_outcomes.py",
    "tests/history/test_frames.py",
)
CI_TESTS = ("tests/services/tencent_ci/test_responses.py", "tests/history/test_frames.py")
# What guards money and what reads responses and lines, and the nearest tests.
MODULES: dict[str, tuple[str, ...]] = {
    "jupyter_mjci/history/submissions.py": JOURNAL_TESTS,
    "jupyter_mjci/history/journal.py": JOURNAL_TESTS,
    "jupyter_mjci/jobs/submission.py": SUBMISSION_TESTS,
    "jupyter_mjci/jobs/journal_writer.py": SUBMISSION_TESTS,
    "jupyter_mjci/jobs/batch.py": (*SUBMISSION_TESTS, *WAITING_TESTS),
    "jupyter_mjci/jobs/polling.py": POLLING_TESTS,
    "jupyter_mjci/jobs/waiting_room.py": WAITING_TESTS,
    "jupyter_mjci/services/midjourney/reconciliation.py": SUBMISSION_TESTS,
    "jupyter_mjci/services/midjourney/responses.py": MJ_TESTS,
    "jupyter_mjci/services/tencent_ci/reconciliation.py": SUBMISSION_TESTS,
    "jupyter_mjci/services/tencent_ci/responses.py": CI_TESTS,
    "jupyter_mjci/notebook/line_parser.py": ("tests/notebook/test_line_parser.py",),
}
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
# tests of whole processes, which take long, and are about what the others are about
SLOW_TESTS = "not stress and not killed and not processes and not survive"

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


def is_noticed(mutant: Mutant) -> bool:
    """Run the schedules and tests on a mutant, in this process; return whether one fails."""
    sys.meta_path.insert(0, MutantImporter(mutant))
    if mutant.path in SIMULATED and is_found_by_simulation():
        return True
    # The simulation has imported the package before pytest can rewrite it.
    quiet = "ignore::pytest.PytestAssertRewriteWarning"
    options = ["-x", "-q", "-n0", "-pno:cacheprovider", "-W", quiet, "-k", SLOW_TESTS]
    return pytest.main([*options, *MODULES[mutant.path]]) != pytest.ExitCode.OK


def is_found_by_simulation() -> bool:
    """Run schedules; return whether one of them ends badly."""
    try:
        from tests.simulation.__main__ import find_violations, open_simulation

        with open_simulation() as simulation:
            return next(find_violations(simulation, SCHEDULES, 0, STRIDE), None) is not None
    except Exception:
        return True


def start(mutant: Mutant) -> int:
    """Try a mutant in a process of its own, and return its id."""
    pid = os.fork()
    if pid:
        return pid
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    signal.alarm(TIMEOUT)
    code = 1
    try:
        code = 1 if is_noticed(mutant) else 0
    finally:
        os._exit(code)


def find_survivors(mutants: Sequence[Mutant], at_once: int) -> Iterator[tuple[Mutant, bool]]:
    """Try mutants, some at a time; yield each with whether it survived."""
    waiting = list(reversed(mutants))
    running: dict[int, Mutant] = {}
    while waiting or running:
        while waiting and len(running) < at_once:
            mutant = waiting.pop()
            running[start(mutant)] = mutant
        pid, status = os.wait()
        if pid in running:
            yield running.pop(pid), status == 0


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
    survivors = 0
    for mutant, survived in find_survivors(chosen, args.jobs):
        survivors += survived
        if survived:
            print(mutant, flush=True)
    seconds = time.monotonic() - started
    killed = len(chosen) - survivors
    print(f"{killed} of {len(chosen)} noticed in {seconds:.0f} s ({len(mutants)} there are)")


if __name__ == "__main__":
    main()
