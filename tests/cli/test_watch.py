"""`jupyter mjci watch` on a real terminal, which tells what a person sees, and into pipes."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pyte
import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.job import Job
from jupyter_mjci.session import Session
from tests.cli.conftest import COMMAND, ROTATE, run, serving, settle

HOSTILE = "a fox\x1b]0;owned\x07 \x1b[31mred[/] [bold]new\nline, as long as you like"
WITHOUT_RICH = [
    sys.executable,
    "-c",
    "import sys; sys.modules['rich'] = None; import jupyter_mjci.cli.__main__",
]


class Terminal:
    """A command on a terminal of its own: `screens` is what was to be seen, one after the other."""

    def __init__(
        self,
        *words: str,
        width: int = 120,
        height: int = 24,
        command: list[str] = COMMAND,
        **env: str,
    ) -> None:
        self.screen = pyte.Screen(width, height)
        self._stream = pyte.ByteStream(self.screen)
        told = [f"{name}={value}" for name, value in {"TERM": "xterm", **env}.items()]
        sized = [
            "-u",
            "COLUMNS",
            "-u",
            "LINES",
        ]  # readline leaves another window's in the environment
        line = [*sized, *told, *command, *words]
        self._child = pexpect.spawn("env", line, dimensions=(height, width), timeout=30)
        self.screens: list[str] = []

    def until(self, words: str) -> str:
        """What is to be seen once these words are."""
        while words not in self.seen:
            assert self._read(), f"{words!r} never came:\n{self.seen}"
        return self.seen

    def end(self) -> int:
        """Waits for the end; the exit status."""
        while self._read():
            pass
        self._child.close()
        return int(self._child.exitstatus)

    def press_control_c(self) -> None:
        self._child.sendintr()

    @property
    def seen(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display).rstrip()

    def _read(self) -> bool:
        try:
            self._stream.feed(self._child.read_nonblocking(65536))
        except pexpect.EOF:
            return False
        self.screens.append(self.seen)
        return True


@pytest.fixture
def session(served: dict[str, Any]) -> Iterator[Session]:
    with mjci.connect() as session:
        yield session


@pytest.fixture
def paused(session: Session) -> Iterator[Session]:
    """Picture jobs wait until they are cancelled."""
    (queue,) = (one["QueueId"] for one in session.ci.queues().run())
    session.ci.update_queue(queue, name="q", state="Paused").run()
    yield session
    session.ci.update_queue(queue, name="q", state="Active").run()


def broken(session: Session) -> Job:
    """A job that fails, unless its queue is paused."""
    return session.ci.picture_job(input="input/none.jpg", rule=ROTATE, output="o.jpg").run()


def test_a_terminal_shows_a_table_that_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """One table, drawn again and again in its place; the results come above it; it stays, and so
    does the cursor. A prompt commands nothing.
    """
    with serving(12) as told:
        settle(monkeypatch, told)
        with mjci.connect() as session:
            job = session.mj.imagine(HOSTILE).run()
            terminal = Terminal("watch", job.id, "--longest", "0.2")
            assert terminal.end() == 0
            done = session.describe(job).run()
    shares = [
        screen.partition("RUNNING")[2].split()[1]
        for screen in terminal.screens
        if "RUNNING" in screen
    ]
    assert len(set(shares)) >= 3, shares
    last = terminal.seen.splitlines()
    assert "".join(last[:-2]).replace(" ", "") == f"{job.id}{done.outputs[0]}"
    assert last[-2].split() == [
        "service",
        "id",
        "action",
        "status",
        "progress",
        "%",
        "elapsed",
        "subject",
    ]
    service, job_id, action, status, bar, percent, elapsed, subject = last[-1].split(maxsplit=7)
    assert (service, job_id, action, status, bar, percent) == (
        "mj",
        job.id,
        "IMAGINE",
        "SUCCEEDED",
        "━" * 10,
        "100",
    )
    assert re.fullmatch(r"\d:\d\d", elapsed)
    assert re.fullmatch(r"a fox�\]0;owned� �\[31mred\[/\] \[bold\]new line, .*…", subject)
    assert (terminal.screen.title, terminal.screen.cursor.hidden) == ("", False)


def test_several_end_as_the_worst_of_them(session: Session) -> None:
    """In the order in which they were named. A reason is told; an id that nobody knows stops no
    other.
    """
    failed, lost = broken(session), "4711"
    terminal = Terminal("watch", failed.id, lost, "--longest", "0.2")
    assert terminal.end() == 1
    assert "NoSuchKey: The specified key does not exist." in terminal.seen
    assert "Task 4711 was not found." in terminal.seen
    *rows, foot = terminal.seen.splitlines()[-3:]
    assert [row.split()[:4] for row in rows] == [
        ["ci", failed.id, "PicProcess", "FAILED"],
        ["mj", lost, "unknown", "━━━━━━━━━━"],
    ]
    assert foot == "1 failed, 1 unknown"


def test_an_interrupt_leaves_the_table_and_the_job(paused: Session) -> None:
    job = broken(paused)
    terminal = Terminal("watch", job.id, "--longest", "0.2")
    terminal.until("PicProcess")
    terminal.press_control_c()
    assert terminal.end() == 130
    assert terminal.seen.splitlines()[1].split()[:4] == ["ci", job.id, "PicProcess", "QUEUED"]
    assert f"→ Watch again: jupyter mjci watch {job.id}" in terminal.seen
    assert not terminal.screen.cursor.hidden
    assert paused.describe(job).run().status.is_active


def test_what_a_kernel_begins_is_watched_meanwhile(paused: Session) -> None:
    """Without ids: what the journal knows unfinished, and what comes while it is watched, until
    nothing moves.
    """
    first = broken(paused)
    with subprocess.Popen(
        [*COMMAND, "watch", "--longest", "0.2"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{first.id} QUEUED\n"
        second = paused.mj.imagine("another fox").run()
        lines = [next(line for line in process.stdout if line.startswith(second.id))]
        paused.cancel(first).run()
        lines += process.stdout
    assert process.returncode == 1
    assert any(line.startswith(f"{second.id} SUCCEEDED 100 % http") for line in lines)
    assert f"{first.id} CANCELLED\n" in lines
    nothing = run("watch")
    assert nothing.returncode == 0
    assert nothing.stdout.startswith("Nothing is unfinished, as far as the journal knows.")


def test_what_others_have_begun_is_asked_for(
    paused: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--all`: the services list what moves, of both of them; this journal has never heard of
    it.
    """
    jobs = paused.mj.imagine("an endless fox --stuck").run(), broken(paused)
    monkeypatch.setenv("MJCI_HOME", str(tmp_path / "another"))
    with subprocess.Popen(
        [*COMMAND, "watch", "--all"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert {process.stdout.readline().split()[0] for _ in jobs} == {job.id for job in jobs}
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    paused.cancel(jobs[0]).run()


LINES = {
    "--plain": (["--plain"], COMMAND, {}),
    "headless": ([], COMMAND, {"MJCI_HEADLESS": "1"}),
    "a dumb terminal": ([], COMMAND, {"TERM": "dumb"}),
    "no rich": ([], WITHOUT_RICH, {}),
}


@pytest.mark.parametrize("case", LINES)
def test_lines_where_no_table_can_be(case: str, session: Session) -> None:
    """And nowhere a sequence that moves a cursor."""
    words, command, env = LINES[case]
    failed = broken(session)
    terminal = Terminal("watch", failed.id, "--longest", "0.2", *words, command=command, **env)
    assert terminal.end() == 1
    assert terminal.seen.splitlines()[-3:] == [
        "FAILED",
        f"PicProcess {failed.id} failed.",
        "NoSuchKey: The specified key does not exist.",
    ]


def test_a_small_window_shows_what_moves(paused: Session) -> None:
    """Columns are spared before the subject, and rows of what has ended before others; those are
    counted.
    """
    lost = ["4711", "4712", "4713", "4714"]
    job = broken(paused)
    terminal = Terminal("watch", *lost, job.id, "--longest", "0.2", width=70, height=6)
    terminal.until("PicProcess")
    shown = terminal.until("(2 not shown)").splitlines()
    assert shown[-5].split() == ["id", "action", "status", "%", "subject"]
    assert shown[-2].split()[:3] == [job.id, "PicProcess", "QUEUED"]
    terminal.press_control_c()
    assert terminal.end() == 130
