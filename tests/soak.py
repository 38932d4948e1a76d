"""Soak test: a session follows, syncs and receives webhooks for a day of virtual time, with faults.

    python -m tests.soak [--hours 24] [--jobs 120] [--seed 7] [--trace]

The clock of the embedded sandbox jumps over whatever the session waits for, so a day takes minutes.
Each hour the sandbox starts anew without its jobs, as proxies do, and links to the proxy's pictures
have ended: what grows is the session, not the sandbox. A line for each hour tells the resident
memory, the objects of the package's classes, the threads and the open descriptors. After the first
hour memory may grow by 10 MB, threads and descriptors not at all; else the exit status is 1.
`--trace` adds the lines of code whose memory grew most.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import random
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupyter_mjci as mjci
from jupyter_mjci.client import event_loop
from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job
from jupyter_mjci.emulator.faults import Fault
from jupyter_mjci.errors import MjciError
from jupyter_mjci.session import Session

PACKAGE = "jupyter_mjci."
HOUR = 3600.0
MAX_GROWTH = 10e6  # bytes
ROUND_SIZE = 20  # jobs that are followed together
FAULT_RATE = 0.1  # share of the requests
FAULTS: dict[str, dict[str, Any]] = {
    "refuse": {},
    "drop_before": {},
    "drop_after": {},
    "truncate": {},
    "malformed": {},
    "html": {},
    "status": {"status": 503},
    "status done": {"status": 502, "done": True},
    "status busy": {"status": 429},
    "stall": {"seconds": 90.0},
    "forward_late": {"status": 504, "seconds": 5.0},
}
# Drawing is the sandbox's work.
NO_PICTURES = Fault("status", route="GET /attachments/*", status=404)


@dataclass(frozen=True, slots=True)
class Usage:
    """What this process holds.

    Args:
        memory: resident, in bytes
        objects: of the package's classes
        threads: all of them
        descriptors: open ones
    """

    memory: int
    objects: int
    threads: int
    descriptors: int

    def __str__(self) -> str:
        return (
            f"{self.memory / 1e6:7.1f} MB {self.objects:9,} objects"
            f" {self.threads:3} threads {self.descriptors:3} descriptors"
        )


def measure_usage() -> Usage:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return Usage(
        memory=pages * os.sysconf("SC_PAGE_SIZE"),
        objects=sum(str(type(each).__module__).startswith(PACKAGE) for each in gc.get_objects()),
        threads=len(os.listdir("/proc/self/task")),
        descriptors=len(os.listdir("/proc/self/fd")),
    )


def find_growth(usages: Sequence[Usage]) -> list[str]:
    """Return what exceeds what was held after the first hour."""
    first = usages[0]
    limits = {
        "memory": first.memory + MAX_GROWTH,
        "threads": first.threads,
        "descriptors": first.descriptors,
    }
    return [
        name
        for name, limit in limits.items()
        if max(getattr(usage, name) for usage in usages) > limit
    ]


@contextlib.contextmanager
def open_session(seed: int) -> Iterator[Session]:
    """Open a session on a sandbox with faults; its journal is on disk."""
    rate = FAULT_RATE / len(FAULTS)
    faults = [NO_PICTURES]
    for name, options in FAULTS.items():
        faults.append(Fault(name.partition(" ")[0], probability=rate, **options))
    with (
        tempfile.TemporaryDirectory() as home,
        mjci.sandbox(speed=float("inf"), seed=seed, faults=faults, home=home) as session,
    ):
        yield session


def run_soak(session: Session, hours: int, job_count: int, seed: int) -> Iterator[Usage]:
    """Yield what the process holds after each hour, in which so many jobs are followed."""
    rng = random.Random(seed)
    assert session.sandbox is not None
    for _ in range(hours):
        with session.receive() as webhooks:
            run_hour(session, webhooks.url, job_count, rng)
            event_loop.run(session.sandbox.drain_webhooks())
        session.sandbox.restart()
        session.sandbox.faults.triggered.clear()
        yield measure_usage()


def run_hour(session: Session, webhook_url: str, job_count: int, rng: random.Random) -> None:
    clock = session.client.clock
    end = clock.now() + HOUR
    for left in range(job_count // ROUND_SIZE, 0, -1):
        follow_and_sync(session, webhook_url, rng)
        event_loop.run(clock.sleep((end - clock.now()) / left))


def follow_and_sync(session: Session, webhook_url: str, rng: random.Random) -> None:
    """Follow jobs of both services, resume what is unfinished, sync, and look at the history."""
    calls = [build_call(session, webhook_url, rng) for _ in range(ROUND_SIZE - 1)]
    for _ in session.batch(calls).updates():
        pass
    with contextlib.suppress(MjciError):
        session.follow(build_call(session, webhook_url, rng)).run()
    with contextlib.suppress(MjciError):
        list(session.resume())
    with contextlib.suppress(MjciError):
        session.sync()
    session.describe_unresolved()
    len(session.history(limit=100))


def build_call(session: Session, webhook_url: str, rng: random.Random) -> Call[Job]:
    text = f"soak {rng.random()}"
    hook = webhook_url if rng.random() < 0.5 else None
    if rng.random() < 0.7:
        return session.mj.imagine(text, notify_hook=hook)
    return session.ci.picture_job(
        input="input/logo.png",
        rule="imageMogr2/thumbnail/16x",
        output=f"{text}.jpg",
        callback=hook,
    )


def print_growth(before: tracemalloc.Snapshot) -> None:
    """Print the lines whose memory grew most."""
    for line in tracemalloc.take_snapshot().compare_to(before, "lineno")[:25]:
        print(line)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--jobs", type=int, default=120, help="in each hour")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--trace", action="store_true", help="print whose memory grew")
    args = parser.parse_args()
    started_at = time.monotonic()
    usages: list[Usage] = []
    with open_session(args.seed) as session:
        for usage in run_soak(session, args.hours, args.jobs, args.seed):
            usages.append(usage)
            seconds = time.monotonic() - started_at
            print(f"{len(usages):3} h {usage} {seconds:5.0f} s", flush=True)
            if args.trace and len(usages) == 1:
                tracemalloc.start()
                before = tracemalloc.take_snapshot()
    if args.trace:
        print_growth(before)
    grown = find_growth(usages)
    sys.exit(f"after the first hour grew: {', '.join(grown)}" if grown else 0)


if __name__ == "__main__":
    main()
