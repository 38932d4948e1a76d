"""Run many schedules, or replay one.

    python -m tests.simulation [--schedules 1000000] [--seed 0] [--stride 1]
    python -m tests.simulation NAME

A schedule that fails is printed with its name.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.simulation.schedules import Schedule, Simulation, Violation, enumerate_schedules

MEMORY = Path("/dev/shm")


@contextmanager
def open_simulation() -> Iterator[Simulation]:
    """Open a simulation whose journal is in memory, where the machine has such a folder."""
    parent = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="simulation", dir=parent) as folder:
        simulation = Simulation(Path(folder))
        try:
            yield simulation
        finally:
            simulation.close()


def find_violations(
    simulation: Simulation, count: int, seed: int = 0, stride: int = 1
) -> Iterator[str]:
    """Run `count` schedules from a seed on, and yield what does not hold.

    Args:
        simulation: runs them
        count: how many
        seed: the first seed; the next ones follow when its schedules have been run
        stride: take each so many-th situation, and run each so many-th of their schedules, others
            with each seed
    """
    schedules = (
        schedule
        for each in itertools.count(seed)
        for schedule in itertools.islice(
            enumerate_schedules(simulation, each, stride), each % stride, None, stride
        )
    )
    for schedule in itertools.islice(schedules, count):
        try:
            simulation.run(schedule)
        except Violation as violation:
            yield str(violation)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", help="the schedule to replay")
    parser.add_argument("--schedules", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stride", type=int, default=1, help="run one of so many, squared")
    args = parser.parse_args()
    with open_simulation() as simulation:
        if args.name:
            run = simulation.run(Schedule.parse(args.name))
            print(f"It holds; made: {dict(run.service.made)}")
            return
        started = time.monotonic()
        failed = 0
        for violation in find_violations(simulation, args.schedules, args.seed, args.stride):
            print(violation, flush=True)
            failed += 1
        seconds = time.monotonic() - started
        print(f"{args.schedules:,} schedules in {seconds:.0f} s, {failed} failed")
        sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
