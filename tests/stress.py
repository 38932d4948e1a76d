"""Stress test: submissions to both services under faults of every kind, with the process killed.

    python -m tests.stress [--jobs 2000] [--kills 5] [--seed 7]

This process serves the emulator. A worker process submits and follows while two more resume what
the journal holds; all are killed with SIGKILL at random moments and started again; each start
resumes and goes on with the rest. In the end the faults stop, and what is left is resumed once
more. Then the emulator must hold each job exactly once, and the journal each with its final state.
A submission with a text of its own, which cannot be found exactly, may be unknown: then it must be
named, and its job must not exist.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import jupyter_mjci as mjci
from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job
from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.clock import ScaledClock
from jupyter_mjci.emulator.faults import Fault
from jupyter_mjci.errors import MjciError
from jupyter_mjci.history.submissions import Submission
from jupyter_mjci.jobs import journal_writer, submission
from jupyter_mjci.session import Session
from tests.benchmarks.figures import peak

# Connections are cut on purpose.
logging.getLogger("uvicorn.error").disabled = True

SPEED = 400.0
TIMEOUT = 2.0  # seconds of one request; a stall lasts longer
# The service is faster than in life, and so is all that waits.
# Longer than a busy machine keeps a request waiting after its client has left.
SETTLING_TIME = 12.0
LEASE_DURATION = 2.0
FAULT_RATE = 0.2  # share of the requests
RESUME_ONLY = 0  # submissions of the other processes
MAX_ROUNDS = 8  # submissions that were refused are tried again so often

FREQUENT_FAULTS: dict[str, dict[str, Any]] = {
    "refuse": {},
    "drop_before": {},
    "drop_after": {},
    "drop_after reset": {"reset": True},
    "truncate": {},
    "malformed": {},
    "content_type": {},
    "html": {},
    "html done": {"done": True},
    "slow": {"rate": 4000.0 / SPEED},
    "status": {"status": 503},
    "status done": {"status": 502, "done": True},
    "status busy": {"status": 429},
    "forward_late": {"status": 504, "seconds": 1.0 * SPEED},
}
RARE_FAULTS: dict[str, dict[str, Any]] = {
    "stall": {"seconds": 1.5 * TIMEOUT * SPEED},
    "restart": {"remember": True},
}


def build_faults() -> list[Fault]:
    rate = FAULT_RATE / (len(FREQUENT_FAULTS) + 0.2 * len(RARE_FAULTS))
    faults = []
    for kind, options in FREQUENT_FAULTS.items():
        faults.append(Fault(kind.partition(" ")[0], probability=rate, **options))
    for kind, options in RARE_FAULTS.items():
        faults.append(Fault(kind, probability=rate / 5, **options))
    return faults


def connect(account: Mapping[str, Any], home: Path) -> Session:
    return mjci.connect(
        mj_url=account["mj_url"],
        mj_secret=account["mj_secret"],
        ci_secret_id=account["secret_id"],
        ci_secret_key=account["secret_key"],
        ci_bucket=account["bucket"],
        ci_region=account["region"],
        ci_endpoint=account["ci_endpoint"],
        cos_endpoint=account["cos_endpoint"],
        home=home,
        timeout=TIMEOUT,
        wait=120,
    )


def format_prompt(number: int) -> str:
    return f"drill {number:05}"


def build_call(session: Session, number: int) -> Call[Job]:
    """Build an imagine for even numbers, else a picture job; every third with a text of its own."""
    text = f"mine {number}" if number % 3 == 0 else None
    if number % 2 == 0:
        return session.mj.imagine(format_prompt(number), state=text)
    output = f"{format_prompt(number)}.jpg"
    return session.ci.picture_job(
        input="input/logo.png", rule="imageMogr2/thumbnail/16x", output=output, user_data=text
    )


def list_numbers(session: Session, *states: str) -> set[int]:
    """Return the numbers of the submissions in these states."""
    rows = [row for row in session.journal.submissions() if row.state in states]
    return {get_number(row) for row in rows}


def get_number(row: Submission) -> int:
    return int(row.body.partition(b"drill ")[2][:5])


def list_named(session: Session) -> set[int]:
    """Return the numbers of the submissions that `%mjci resume` names."""
    named = "\n".join(session.describe_unresolved())
    rows = [row for row in session.unresolved_submissions() if row.marker in named]
    return {get_number(row) for row in rows}


def is_done(session: Session) -> bool:
    """Return whether nothing is left but submissions that no search can settle."""
    rows = session.journal.unresolved()
    is_settled = all(row.state == "unknown" and not row.has_marker for row in rows)
    return is_settled and not session.journal.active_jobs()


@contextmanager
def hastened() -> Iterator[None]:
    """Let this process wait less long than in life, as the service does."""
    intervals = {"LEASE_DURATION": LEASE_DURATION, "UPKEEP_INTERVAL": LEASE_DURATION / 4}
    with (
        patch.object(submission, "get_settling_time", lambda _: SETTLING_TIME),
        patch.multiple(journal_writer, **intervals),
    ):
        yield


def run_worker(account: dict[str, Any], home: Path, count: int) -> None:
    """Resume, then submit the rest, again while some were refused."""
    rounds = 0
    with hastened(), connect(account, home) as session:
        while rounds < MAX_ROUNDS:
            session.resume(poll_interval=0.3).run()
            submitted = list_numbers(session, "pending", "accepted", "unknown")
            left = [number for number in range(count) if number not in submitted]
            if not left and is_done(session):
                return
            # Without any left, another process works on the last ones.
            rounds += bool(left)
            calls = [build_call(session, number) for number in left]
            session.batch(calls, at_once=32, poll_interval=0.3, max_jobs=max(1, count)).run()
    raise SystemExit("submissions were refused too often")


@dataclass
class Outcome:
    """What the emulator and the journal hold.

    Args:
        jobs: jobs at the services
        duplicates: jobs that were created more than once
        accepted: submissions that the journal knows the job of
        settled: submissions that were unknown until the faults
            stopped, and that `resume` settled then
        named: submissions of unknown outcome that `resume` names
        missing: submissions that were not made, nor named
        untold: jobs that were made, and that the journal does not
            know
        final: jobs with a final state in the journal
        faults: how many requests met a fault
        kills: how often the worker was killed
        seconds: how long it took
        megabytes: the most memory that the emulator's process held
    """

    jobs: int
    duplicates: int
    accepted: int
    settled: int
    named: int
    missing: int
    untold: int
    final: int
    faults: int
    kills: int
    seconds: float
    megabytes: float

    def is_exactly_once(self, count: int) -> bool:
        counts = (self.duplicates, self.missing, self.untold)
        made = count - self.named
        return counts == (0, 0, 0) and (self.jobs, self.accepted, self.final) == (made,) * 3


def run_stress(count: int, kills: int, seed: int) -> Outcome:
    started_at = time.monotonic()
    rng = random.Random(seed)
    options: dict[str, Any] = {"max_running": 40, "max_waiting": 60, "duplicate_rate": 0}
    clock = ScaledClock(SPEED)
    with tempfile.TemporaryDirectory() as folder:
        sandbox = Sandbox(
            clock=clock, seed=seed, mj_options=options, ci_options={"concurrency": 50}
        )
        with sandbox.serve() as server:
            for fault in build_faults():
                sandbox.faults.add(fault)
            killed = _run_with_kills(server.settings, Path(folder), count, kills, rng)
            faults = sandbox.faults.count
            sandbox.faults.clear()
            return _judge(connect(server.settings, Path(folder)), count, faults, killed, started_at)


def _run_with_kills(
    account: Mapping[str, Any], home: Path, count: int, kills: int, rng: random.Random
) -> int:
    """Run the worker to its end and kill it up to `kills` times; return how often it was killed."""
    killed = 0
    while True:
        counts = (count, RESUME_ONLY, RESUME_ONLY)
        processes = [_start_process(account, home, number) for number in counts]
        worker = processes[0]
        try:
            if killed == kills:
                if worker.wait():
                    raise SystemExit("the worker failed")
                return killed
            worker.wait(timeout=2.5 + rng.random() * max(1.0, count / 400))
            return killed
        except subprocess.TimeoutExpired:
            killed += 1
        finally:
            for process in processes:
                process.send_signal(signal.SIGKILL)
                process.wait()


def _start_process(account: Mapping[str, Any], home: Path, count: int) -> subprocess.Popen[bytes]:
    environ = {**os.environ, "STRESS_WORKER": json.dumps([dict(account), str(home), count])}
    return subprocess.Popen([sys.executable, "-m", "tests.stress", "--worker"], env=environ)


def _judge(session: Session, count: int, faults: int, kills: int, started_at: float) -> Outcome:
    with hastened(), session:
        unknown = list_numbers(session, "pending", "unknown")
        session.resume(poll_interval=0.3).run()
        known = [
            job.subject for job in session.mj.tasks().run() if job.subject.startswith("drill ")
        ]
        known += [
            str(job.raw["Operation"]["Output"]["Object"])[:11] for job in session.ci.jobs().run()
        ]
        times = Counter(known)
        jobs = [job for job in session.journal.jobs() if job.id]
        accepted = list_numbers(session, "accepted")
        named = list_named(session)
        made = {number for number in range(count) if format_prompt(number) in times}
        return Outcome(
            jobs=len(known),
            duplicates=sum(number > 1 for number in times.values()),
            accepted=len(accepted),
            settled=len(unknown & accepted),
            named=len(named),
            missing=len(set(range(count)) - made - named),
            untold=len(made - accepted),
            final=sum(job.status.is_terminal for job in jobs),
            faults=faults,
            kills=kills,
            seconds=time.monotonic() - started_at,
            megabytes=peak() / 1e6,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        account, home, count = json.loads(os.environ["STRESS_WORKER"])
        run_worker(account, Path(home), count)
        return
    outcome = run_stress(args.jobs, args.kills, args.seed)
    print(outcome)
    sys.exit(0 if outcome.is_exactly_once(args.jobs) else 1)


if __name__ == "__main__":
    try:
        main()
    except MjciError as error:
        sys.exit(str(error))
