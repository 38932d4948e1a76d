"""Print how every reader takes the hostile answers: python -m tests.hostile [READER …]."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.hostile.answers import BODIES, load_body
from tests.hostile.readers import ANSWER_READERS, FILE_READERS
from tests.hostile.server import serve

Row = tuple[str, str, float, int]


def main(names: list[str]) -> None:
    with (
        serve() as server,
        tempfile.TemporaryDirectory() as folder,
        ReaderProcess() as readers,
    ):
        write_bodies(Path(folder))
        for name in names or [*ANSWER_READERS, *FILE_READERS]:
            place = server.url if name in ANSWER_READERS else folder
            for kind in ("httpx", "aiohttp") if name in ANSWER_READERS else ("httpx",):
                rows = readers.run(name, kind, place)
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


class ReaderProcess:
    """A process that runs readers one after the other, each in a fork of it.

    What they print to standard error stays there.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.readers"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "MJCI_HOME": "/nonexistent"},
        )

    def __enter__(self) -> ReaderProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(
        self, name: str, transport: str, place: str, *, first: int = 0, step: int = 1
    ) -> list[Row]:
        """Run a reader and return a row for each answer, or for each `step`-th.

        A row has its name, the error that is none of ours, the
        seconds of processor time, and the MB at the peak.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, transport, place, first, step]) + "\n")
        self._process.stdin.flush()
        rows: list[Row] = []
        for line in self._process.stdout:
            answer = json.loads(line)
            if isinstance(answer, list):
                rows.append((answer[0], answer[1], answer[2], answer[3]))
                continue
            if answer:
                rows.append(("(process)", f"exit status {answer}", 0, 0))
            return rows
        raise AssertionError("the readers' process has ended")


if __name__ == "__main__":
    main(sys.argv[1:])
