"""The sandbox as a program of its own: `jupyter mjci sandbox`, or `python -m
jupyter_mjci.emulator`.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.clock import ScaledClock
from jupyter_mjci.emulator.faults import FaultError
from jupyter_mjci.emulator.midjourney.dialects import DIALECTS
from jupyter_mjci.emulator.storage import StateStore


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="jupyter mjci sandbox",
        description="Serve stand-ins for both picture services on this machine.",
    )
    parser.add_argument(
        "--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)"
    )
    parser.add_argument(
        "--dialect", choices=DIALECTS, default="plus", help="family of the Midjourney proxy"
    )
    parser.add_argument(
        "--speed", type=float, default=1.0, help="how many times as fast as real (default 1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, other ids and pictures")
    parser.add_argument(
        "--faults", type=Path, metavar="FILE", help="a TOML file of [[fault]] tables"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="keep objects and jobs in this folder"
    )
    return parser


def _build_clock(speed: float, data: Path | None) -> ScaledClock:
    """Now, or where the kept jobs' time has got to, whichever is later: time never runs backwards
    for them.
    """
    kept = StateStore(data).load() if data else {}
    return ScaledClock(speed, start=max(time.time(), float(kept.get("now", 0.0))))


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; prints one line of JSON when ready."""
    parser = build_parser()
    asked = parser.parse_args(argv)
    if not 0 < asked.speed < math.inf:
        parser.error("--speed must be a number above 0")
    try:
        clock = _build_clock(asked.speed, asked.data)
        sandbox = Sandbox(
            clock=clock,
            dialect=asked.dialect,
            seed=asked.seed,
            faults=asked.faults,
            data=asked.data,
        )
        door = sandbox.serve(asked.port)
    except (FaultError, OSError, OverflowError) as error:
        parser.error(str(error))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    print(json.dumps({"url": door.url, **door.settings}), flush=True)
    stop.wait()
    door.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
