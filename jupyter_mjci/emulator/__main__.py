"""The sandbox as a program of its own: `jupyter mjci sandbox`, or
`python -m jupyter_mjci.emulator`.
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
from jupyter_mjci.emulator.registry import get_default_options, load_services
from jupyter_mjci.emulator.storage import StateStore


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="jupyter mjci sandbox",
        description="Serve an emulator of the job services on this machine.",
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free port)")
    add("--speed", type=float, default=1.0, help="factor from real time to its own (default 1)")
    add("--seed", type=int, default=0, help="seed of IDs, durations and pictures")
    add("--faults", type=Path, metavar="FILE", help="a TOML file of [[fault]] tables")
    add("--data", type=Path, metavar="DIR", help="keep objects and jobs in this folder")
    add(
        "--tls",
        action="store_true",
        help="serve https with a certificate of its own; the line when ready has ca_file, and "
        "proxy_url for clients that reach the services by their names",
    )
    add(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let web pages of this origin in, beside those of this machine; * for any; repeatable",
    )
    add(
        "--allow-callback",
        action="append",
        default=[],
        type=int,
        metavar="PORT",
        help="send callbacks to this port of this machine, too; repeatable",
    )
    for spec in load_services().values():
        spec.add_arguments(parser)
    return parser


def _build_clock(speed: float, data: Path | None) -> ScaledClock:
    """Build a clock that starts now, or at the time of the saved jobs if that is later.

    Time never runs backwards for jobs that were saved by a faster
    sandbox.
    """
    state = StateStore(data).load() if data else {}
    return ScaledClock(speed, start=max(time.time(), float(state.get("now", 0.0))))


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; print one line of JSON when ready."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if not 0 < args.speed < math.inf:
        parser.error("--speed must be a number above 0")
    try:
        sandbox = Sandbox(
            clock=_build_clock(args.speed, args.data),
            seed=args.seed,
            faults=args.faults,
            data=args.data,
            origins=args.allow_origin,
            callback_ports=args.allow_callback,
            **{name: value for name, value in vars(args).items() if name in get_default_options()},
        )
        server = sandbox.serve(args.port, tls=args.tls)
    except (FaultError, OSError, OverflowError, ValueError) as error:
        parser.error(str(error))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    print(json.dumps({"url": server.url, **server.settings}), flush=True)
    stop.wait()
    server.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
