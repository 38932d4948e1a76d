"""IPython in a terminal: the screen after a job and after an interrupt."""

from __future__ import annotations

import os
import re
import signal
import sys
import unicodedata
from collections.abc import Iterator

import pexpect
import pytest

COLUMNS = 56  # fewer than a line of progress wants


class Screen:
    """IPython in a pseudo-terminal."""

    def __init__(self) -> None:
        environ = {
            name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")
        }
        options = [
            "--simple-prompt",
            "--no-banner",
            "--no-term-title",
            "--HistoryManager.enabled=False",
        ]
        self.pty = pexpect.spawn(
            sys.executable,
            ["-m", "IPython", *options],
            env={**environ, "TERM": "xterm"},
            encoding="utf-8",
            dimensions=(24, COLUMNS),
            timeout=30,
        )
        self.cell = 1
        self.pty.expect_exact("In [1]: ")

    def run(self, line: str, until: str = "", keys: str = "") -> list[str]:
        """Run a line and return the lines on the screen; press `keys` when `until` is seen."""
        self.pty.sendline(line)
        screen_text = ""
        if until:
            self.pty.expect(until)
            screen_text = self.pty.before + self.pty.after
            self.pty.send(keys)
        self.cell += 1
        self.pty.expect_exact(f"In [{self.cell}]: ")
        return [
            row.rstrip() for row in render_screen(screen_text + self.pty.before)[1:] if row.strip()
        ]


def render_screen(text: str) -> list[str]:
    """Return the rows that a terminal shows for a text."""
    rows, row, column = [[""] * COLUMNS], 0, 0
    for letter in text:
        if letter in "\r\n":
            row, column = (row, 0) if letter == "\r" else (row + 1, column)
        else:
            wide = 2 if unicodedata.east_asian_width(letter) in "WF" else 1
            row, column = (row + 1, 0) if column + wide > COLUMNS else (row, column)
            rows += [[" "] * COLUMNS for _ in range(row + 1 - len(rows))]
            rows[row][column : column + wide] = [letter] + [""] * (wide - 1)
            column += wide
        rows += [[" "] * COLUMNS for _ in range(row + 1 - len(rows))]
    return ["".join(cells) for cells in rows]


@pytest.fixture
def screen() -> Iterator[Screen]:
    screen = Screen()
    screen.run("%load_ext jupyter_mjci")
    yield screen
    screen.pty.kill(signal.SIGKILL)
    screen.pty.wait()
    screen.pty.close()


def test_finished_job_leaves_card_without_progress_line(screen: Screen) -> None:
    """The progress line is overwritten, and has no bar if the bar does not fit."""
    screen.run("%mjci sandbox --speed 40 -o s")
    rows = screen.run("%mj_imagine a red fox 一只红狐狸 -o job")
    assert re.fullmatch(r"IMAGINE \d+ SUCCEEDED", rows[0])
    assert rows[1] == "  a red fox 一只红狐狸"
    assert re.fullmatch(r"MJ \d+ 1024×1024 png sha \w{12}", rows[-1])
    assert not [row for row in rows if re.search(r"RUNNING|#|Out\[", row)]
    assert re.search(r"RUNNING \d+%\s*\r", screen.pty.before)
    assert screen.run("_ is job, Out[3] is job, job.status.value") == [
        "Out[4]: (True, True, 'SUCCEEDED')"
    ]
    assert screen.run("1 + 1") == ["Out[5]: 2"]


def test_interrupt_ends_the_wait_and_keeps_the_shell(screen: Screen) -> None:
    """Time stands almost still, so that the job ends only after it was told to."""
    screen.run("%mjci sandbox --speed 0.001 -o s")
    rows = screen.run("%mj_imagine a slow fox", until="QUEUED|RUNNING", keys="\x03")
    message = " ".join(rows)
    assert re.match(r"IMAGINE \d+ (QUEUED|RUNNING)", rows[0])
    assert "Wait for it again with %mj_task" in message
    assert "[#" not in message.replace("^C", "")
    number = re.search(r"\d{10,}", message)
    assert number
    screen.run("s.client.clock.advance(900)")
    assert "SUCCEEDED" in screen.run(f"%mj_task {number[0]}")[0]
