"""The drill: submissions to both services under faults of every kind, the process killed on the
way.

    python -m tests.stress [--jobs 2000] [--kills 5] [--seed 7]

A server process keeps the books. A worker process submits and follows, is killed with SIGKILL at
random moments and started again; each start resumes what the journal holds and goes on with what
was never begun. In the end the books must hold each job exactly once, and the journal each with its
final state.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupyter_mjci as mjci
from jupyter_mjci.client.calls import Call
from jupyter_mjci.client.job import Job
from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.clock import ScaledClock
from jupyter_mjci.emulator.faults import Fault
from jupyter_mjci.errors import MjciError
from jupyter_mjci.session import Session

logging.getLogger(
    "uvicorn.error"
).disabled = True  # connections that are cut on purpose are no news

SPEED = 400.0
TIMEOUT = 2.0  # seconds of one request; a stall lasts longer
SHARE = 0.2  # of the requests meet a fault

EVERYWHERE: dict[str, dict[str, Any]] = {
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
}
RARELY: dict[str, dict[str, Any]] = {
    "stall": {"seconds": 1.5 * TIMEOUT * SPEED},
    "restart": {"remember": True},
}


def faults() -> list[Fault]:
    each = SHARE / (len(EVERYWHERE) + 0.2 * len(RARELY))
    often = [
        Fault(kind.partition(" ")[0], probability=each, **more) for kind, more in EVERYWHERE.items()
    ]
    return often + [Fault(kind, probability=each / 5, **more) for kind, more in RARELY.items()]


def connect(told: dict[str, Any], home: Path) -> Session:
    return mjci.connect(
        mj_url=told["mj_url"],
        mj_secret=told["mj_secret"],
        ci_secret_id=told["secret_id"],
        ci_secret_key=told["secret_key"],
        ci_bucket=told["bucket"],
        ci_region=told["region"],
        ci_endpoint=told["ci_endpoint"],
        cos_endpoint=told["cos_endpoint"],
        home=home,
        timeout=TIMEOUT,
        wait=120,
    )


def name_of(number: int) -> str:
    return f"drill {number:05}"


def call_of(session: Session, number: int) -> Call[Job]:
    """Even numbers draw, odd ones process; every third carries a mark of the user's own."""
    mark = (
        {"state" if number % 2 == 0 else "user_data": f"mine {number}"} if number % 3 == 0 else {}
    )
    if number % 2 == 0:
        return session.mj.imagine(name_of(number), **mark)
    output = f"{name_of(number)}.jpg"
    return session.ci.picture_job(
        input="input/logo.png", rule="imageMogr2/thumbnail/16x", output=output, **mark
    )


def begun(session: Session) -> set[int]:
    """The numbers that were accepted, or of which nobody knows yet: those are for `resume` to find
    out.
    """
    rows = [row for row in session.journal.submissions() if row.state != "rejected"]
    return {int(row.body.partition(b"drill ")[2][:5]) for row in rows}


def work(told: dict[str, Any], home: Path, count: int) -> None:
    """What a person would do after each crash: resume, then go on with the rest; again while some
    were refused.
    """
    with connect(told, home) as session:
        for _ in range(8):
            session.resume(poll_interval=0.3).run()
            left = [number for number in range(count) if number not in begun(session)]
            if not left and not session.journal.active_jobs() and not session.journal.unresolved():
                return
            session.batch(
                [call_of(session, number) for number in left], at_once=32, poll_interval=0.3
            ).run()
    raise SystemExit("the work does not end")


@dataclass
class Outcome:
    """What the books and the journal say."""

    jobs: int
    twice: int
    missing: int
    settled: int
    final: int
    struck: int
    kills: int
    seconds: float

    def right(self, count: int) -> bool:
        return (self.jobs, self.twice, self.missing, self.settled, self.final) == (
            count,
            0,
            0,
            count,
            count,
        )


def drill(count: int, kills: int, seed: int) -> Outcome:
    began = time.monotonic()
    chance = random.Random(seed)
    options: dict[str, Any] = {"max_running": 40, "max_waiting": 60, "duplicate_rate": 0}
    clock = ScaledClock(SPEED)
    with tempfile.TemporaryDirectory() as folder:
        sandbox = Sandbox(
            clock=clock, seed=seed, mj_options=options, ci_options={"concurrency": 50}
        )
        with sandbox.serve() as door:
            for fault in faults():
                sandbox.faults.add(fault)
            killed = _killed(door.settings, Path(folder), count, kills, chance)
            struck = sandbox.faults.count
            sandbox.faults.clear()
            return _judge(connect(door.settings, Path(folder)), count, struck, killed, began)


def _killed(told: dict[str, Any], home: Path, count: int, kills: int, chance: random.Random) -> int:
    """Runs the worker to its end, killing it on the way whenever it has got a little further."""
    done = 0
    while True:
        environ = {**os.environ, "DRILL": json.dumps([dict(told), str(home), count])}
        worker = subprocess.Popen([sys.executable, "-m", "tests.stress", "--worker"], env=environ)
        if done == kills:
            if worker.wait():
                raise SystemExit("the worker failed")
            return done
        try:
            worker.wait(timeout=2.5 + chance.random() * max(1.0, count / 400))
            return done
        except subprocess.TimeoutExpired:
            worker.send_signal(signal.SIGKILL)
            worker.wait()
            done += 1


def _judge(session: Session, count: int, struck: int, kills: int, began: float) -> Outcome:
    with session:
        known = [
            job.subject for job in session.mj.tasks().run() if job.subject.startswith("drill ")
        ]
        known += [
            str(job.raw["Operation"]["Output"]["Object"])[:11] for job in session.ci.jobs().run()
        ]
        times = Counter(known)
        jobs = [job for job in session.journal.jobs() if job.id]
        accepted = [row for row in session.journal.submissions() if row.state == "accepted"]
        return Outcome(
            jobs=len(known),
            twice=sum(times[name] > 1 for name in times),
            missing=sum(name_of(number) not in times for number in range(count)),
            settled=len({row.job_id for row in accepted}),
            final=sum(job.status.is_terminal for job in jobs),
            struck=struck,
            kills=kills,
            seconds=time.monotonic() - began,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.worker:
        settings, home, count = json.loads(os.environ["DRILL"])
        work(settings, Path(home), count)
        return
    outcome = drill(told.jobs, told.kills, told.seed)
    print(outcome)
    sys.exit(0 if outcome.right(told.jobs) else 1)


if __name__ == "__main__":
    try:
        main()
    except MjciError as error:
        sys.exit(str(error))
