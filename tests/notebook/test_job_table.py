"""Jobs and frames of jobs as text: one line, a short table; the value stays whole."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import jupyter_mjci
from jupyter_mjci.client.job import Job, Status
from tests.notebook.conftest import Shell

JOBS: tuple[tuple[Job, str], ...] = (
    (Job("mj", "17", "IMAGINE", Status.SUCCEEDED, subject="a fox"), "IMAGINE 17 SUCCEEDED: a fox"),
    (Job("mj", "17", "IMAGINE", Status.RUNNING, 37, "a\n  fox"), "IMAGINE 17 RUNNING 37%: a fox"),
    (Job("ci", "j1", "", Status.FAILED), "Job j1 FAILED"),
    (Job("mj", "1", "A", subject="\x1b[31mred"), "A 1 QUEUED: \N{REPLACEMENT CHARACTER}[31mred"),
    (Job("mj", "1", "A", subject="x" * 100), f"A 1 QUEUED: {'x' * 79}…"),
)


@pytest.mark.parametrize(("job", "line"), JOBS)
def test_job_prints_as_one_line(job: Job, line: str) -> None:
    assert str(job) == f"{job}" == line
    assert repr([job]) == f"[<{line}>]"


@pytest.fixture
def archived_shell(empty_shell: Shell, tmp_path: Path) -> Shell:
    """Return a shell whose session archives pictures."""
    session = jupyter_mjci.sandbox(speed=math.inf, home=tmp_path)
    empty_shell.ip.push({"s": session})
    empty_shell.run("%mj_imagine a red fox in the snow -o job")
    empty_shell.run("rows = [{'n': 1}, {'n': 2}]\n%mj_imagine 狐 {{n}} --each rows -o df")
    return empty_shell


def format_value(shell: Shell, expression: str) -> dict[str, Any]:
    shell.run(f"value = {expression}")
    data, _ = shell.ip.display_formatter.format(shell.ip.user_ns["value"])
    return dict(data)


def test_listing_is_a_short_table_with_pictures(archived_shell: Shell) -> None:
    data = format_value(archived_shell, "s.tasks()")
    lines = data["text/plain"].splitlines()
    assert lines[0].split() == ["id", "action", "status", "subject", "finished", "run_time"]
    assert len(lines) == 5
    frame = archived_shell.ip.user_ns["value"]
    assert lines[-1] == f"3 jobs; {len(frame.columns)} columns in the frame"
    assert max(map(len, lines)) <= 100
    assert "0 days" not in str(data)
    assert data["text/html"].count("<img alt=") == 3
    assert 'alt="a red fox in the snow" src="data:image/' in data["text/html"]
    assert {*frame.columns} >= {"outputs", "buttons", "user_data"}


def test_batch_shows_the_columns_of_its_table(archived_shell: Shell) -> None:
    data = format_value(archived_shell, "df")
    assert data["text/plain"].split()[:3] == ["n", "id", "action"]
    assert data["text/html"].count("<tr>") == 3


def test_long_listing_is_cut(archived_shell: Shell) -> None:
    archived_shell.run("import pandas as pd\nlong = pd.concat([s.tasks()] * 20)")
    data = format_value(archived_shell, "long")
    assert len(data["text/plain"].splitlines()) == 22
    assert "60 jobs, the first 20 shown" in data["text/plain"]


def test_other_frames_are_shown_by_pandas(archived_shell: Shell) -> None:
    frame = pd.DataFrame({"a": [1], "status": ["x"]})
    data, _ = archived_shell.ip.display_formatter.format(frame)
    assert data["text/html"] == frame._repr_html_()
    assert data["text/plain"] == repr(frame)
    listing = archived_shell.ip.user_ns["s"].tasks()
    archived_shell.run("%unload_ext jupyter_mjci")
    data, _ = archived_shell.ip.display_formatter.format(listing)
    assert data["text/html"] == listing._repr_html_()


def test_card_of_a_value_has_the_archived_picture(archived_shell: Shell) -> None:
    data = format_value(archived_shell, "job")
    assert re.search('<img class="mjci-job-picture" [^>]*src="data:image/', data["text/html"])
