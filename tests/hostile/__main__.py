"""Print how every reader takes the hostile answers: python -m tests.hostile [READER …]."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from tests.hostile.answers import BODIES, load_body
from tests.hostile.readers import ANSWER_READERS, FILE_READERS
from tests.hostile.server import serve

Row = tuple[str, str, float, int]
# seconds of one reader with all answers
TIMEOUT = float(os.environ.get("HOSTILE_TIMEOUT", "1200"))


def main(names: list[str]) -> None:
    with serve() as server, tempfile.TemporaryDirectory() as folder:
        write_bodies(Path(folder))
        for name in names or [*ANSWER_READERS, *FILE_READERS]:
            place = server.url if name in ANSWER_READERS else folder
            for kind in ("httpx", "aiohttp") if name in ANSWER_READERS else ("httpx",):
                rows = run_reader(name, kind, place)
                print(
                    f"{name} ({kind}): {len(rows)} answers, {sum(row[2] for row in rows):.0f} s, "
                    f"at most {max((row[3] for row in rows), default=0)} MB",
                    flush=True,
                )
                for answer, problem, seconds, peak in rows:
                    if problem or seconds > 10 or peak > 300:
                        print(f"    {answer}: {problem} {seconds} s {peak} MB", flush=True)


def write_bodies(folder: Path) -> None:
    for index, answer in enumerate(BODIES):
        (folder / str(index)).write_bytes(load_body(answer))


def run_reader(
    name: str,
    transport: str,
    place: str,
    *,
    first: int = 0,
    step: int = 1,
) -> list[Row]:
    """Run a reader in a process of its own and return a row for each answer, or for each `step`-th.

    A row has its name, the error that is none of ours, the
    seconds of processor time, and the MB at the peak.
    """
    share = [str(first), str(step)]
    command = [sys.executable, "-m", "tests.hostile.readers", name, transport, place, *share]
    environment = {**os.environ, "MJCI_HOME": "/nonexistent"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    timer = threading.Timer(TIMEOUT, process.kill)
    timer.start()
    output, errors = process.communicate()
    timer.cancel()
    rows: list[Row] = [tuple(json.loads(line)) for line in output.splitlines()]
    if process.returncode:
        rows.append(("(process)", f"exit status {process.returncode}: {errors[-3000:]}", 0, 0))
    return rows


if __name__ == "__main__":
    main(sys.argv[1:])
