"""`jupyter mjci watch` on a terminal emulator, and into pipes."""

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
from tests.cli.conftest import COMMAND, ROTATE, pause_queue, run, serve_sandbox, set_environment

HOSTILE = "a fox\x1b]0;owned\x07 \x1b[31mred[/] [bold]new\nline, as long as you like"
WITHOUT_RICH = [
    sys.executable,
    "-c",
    "import sys; sys.modules['rich'] = None; import jupyter_mjci.cli.__main__",
]


class Terminal:
    """A command on a terminal of its own. `screens` has what it showed after each read."""

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
        variables = [f"{name}={value}" for name, value in {"TERM": "xterm", **env}.items()]
        unset = [
            "-u",
            "COLUMNS",
            "-u",
            "LINES",
        ]  # readline leaves another window's in the environment
        line = [*unset, *variables, *command, *words]
        self._child = pexpect.spawn("env", line, dimensions=(height, width), timeout=30)
        self.screens: list[str] = []

    def until(self, words: str) -> str:
        """Return the screen once it shows this text."""
        while words not in self.seen:
            assert self._read(), f"{words!r} never came:\n{self.seen}"
        return self.seen

    def end(self) -> int:
        """Wait for the end and return the exit status."""
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
def session(sandbox_env: dict[str, Any]) -> Iterator[Session]:
    with mjci.connect() as session:
        yield session


@pytest.fixture
def paused_session(session: Session) -> Iterator[Session]:
    """A session whose CI queue is paused."""
    with pause_queue(session):
        yield session


def submit_failing_job(session: Session) -> Job:
    """Submit a job that fails, unless its queue is paused."""
    return session.ci.picture_job(input="input/none.jpg", rule=ROTATE, output="o.jpg").run()


def test_watch_on_a_terminal_redraws_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Results are printed above the table. The table stays, the cursor is visible again, and
    control characters of a prompt are replaced.
    """
    with serve_sandbox(6) as connection:  # slow enough to see several percentages on a busy machine
        set_environment(monkeypatch, connection)
        with mjci.connect() as session:
            job = session.mj.imagine(HOSTILE).run()
            terminal = Terminal("watch", job.id, "--interval", "0.2")
            assert terminal.end() == 0
            done = session.describe(job).run()
    percents = [
        screen.partition("RUNNING")[2].split()[1]
        for screen in terminal.screens
        if "RUNNING" in screen
    ]
    assert len(set(percents)) >= 3, percents
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
    service, job_id, action, status, progress_bar, percent, elapsed, subject = last[-1].split(
        maxsplit=7
    )
    assert (service, job_id, action, status, progress_bar, percent) == (
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


def test_watch_of_several_jobs_ends_with_the_worst_status(session: Session) -> None:
    """Rows are in the order of the command line; an unknown ID does not stop the others."""
    failed, lost = submit_failing_job(session), "4711"
    terminal = Terminal("watch", failed.id, lost, "--interval", "0.2")
    assert terminal.end() == 1
    assert "NoSuchKey: The specified key does not exist." in terminal.seen
    assert "Task 4711 was not found." in terminal.seen
    *rows, foot = terminal.seen.splitlines()[-3:]
    assert [row.split()[:4] for row in rows] == [
        ["ci", failed.id, "PicProcess", "FAILED"],
        ["mj", lost, "unknown", "━━━━━━━━━━"],
    ]
    assert foot == "1 failed, 1 unknown"


def test_interrupted_watch_leaves_table_and_job(paused_session: Session) -> None:
    job = submit_failing_job(paused_session)
    terminal = Terminal("watch", job.id, "--interval", "0.2")
    terminal.until("PicProcess")
    terminal.press_control_c()
    assert terminal.end() == 130
    assert terminal.seen.splitlines()[1].split()[:4] == ["ci", job.id, "PicProcess", "QUEUED"]
    assert f"→ Watch again: jupyter mjci watch {job.id}" in terminal.seen
    assert not terminal.screen.cursor.hidden
    assert paused_session.describe(job).run().status.is_active


def test_watch_without_ids_follows_jobs_submitted_meanwhile(paused_session: Session) -> None:
    """The unfinished jobs of the journal and new ones, until none is active."""
    first = submit_failing_job(paused_session)
    with subprocess.Popen(
        [*COMMAND, "watch", "--interval", "0.2"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"{first.id} QUEUED\n"
        second = paused_session.mj.imagine("another fox").run()
        lines = [next(line for line in process.stdout if line.startswith(second.id))]
        paused_session.cancel(first).run()
        lines += process.stdout
    assert process.returncode == 1
    assert any(line.startswith(f"{second.id} SUCCEEDED 100 % http") for line in lines)
    assert f"{first.id} CANCELLED\n" in lines
    nothing = run("watch")
    assert nothing.returncode == 0
    assert nothing.stdout.startswith("The journal has no unfinished jobs.")


def test_watch_all_follows_jobs_unknown_to_the_journal(
    paused_session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--all` asks both services for their active jobs."""
    jobs = (
        paused_session.mj.imagine("an endless fox --stuck").run(),
        submit_failing_job(paused_session),
    )
    monkeypatch.setenv("MJCI_HOME", str(tmp_path / "another"))
    with subprocess.Popen(
        [*COMMAND, "watch", "--all"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert {process.stdout.readline().split()[0] for _ in jobs} == {job.id for job in jobs}
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    paused_session.cancel(jobs[0]).run()


LINES = {
    "--plain": (["--plain"], COMMAND, {}),
    "headless": ([], COMMAND, {"MJCI_HEADLESS": "1"}),
    "a dumb terminal": ([], COMMAND, {"TERM": "dumb"}),
    "no rich": ([], WITHOUT_RICH, {}),
}


@pytest.mark.parametrize("case", LINES)
def test_watch_prints_plain_lines_where_no_table_is_possible(case: str, session: Session) -> None:
    """No escape sequences are printed."""
    words, command, env = LINES[case]
    failed = submit_failing_job(session)
    terminal = Terminal("watch", failed.id, "--interval", "0.2", *words, command=command, **env)
    assert terminal.end() == 1
    assert terminal.seen.splitlines()[-3:] == [
        "FAILED",
        f"PicProcess {failed.id} failed.",
        "NoSuchKey: The specified key does not exist.",
    ]


def test_watch_in_a_small_window_shows_active_jobs_first(paused_session: Session) -> None:
    """Optional columns are dropped; rows that do not fit are counted."""
    lost = ["4711", "4712", "4713", "4714"]
    job = submit_failing_job(paused_session)
    terminal = Terminal("watch", *lost, job.id, "--interval", "0.2", width=70, height=6)
    terminal.until("PicProcess")
    shown = terminal.until("(2 not shown)").splitlines()
    assert shown[-5].split() == ["id", "action", "status", "%", "subject"]
    assert shown[-2].split()[:3] == [job.id, "PicProcess", "QUEUED"]
    terminal.press_control_c()
    assert terminal.end() == 130
