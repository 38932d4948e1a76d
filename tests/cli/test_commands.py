"""The commands of `jupyter mjci`, as processes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest

import jupyter_mjci as mjci
from jupyter_mjci.cli import demo, main
from tests.cli.conftest import COMMAND, ROTATE, SETTING_KEYS, run


def test_sandbox_prints_its_connection_as_one_json_line(sandbox_env: dict[str, Any]) -> None:
    assert set(sandbox_env) == {
        "url",
        "mj_url",
        "mj_secret",
        "ci_endpoint",
        "cos_endpoint",
        "secret_id",
        "secret_key",
        "bucket",
        "region",
    }
    assert sandbox_env["url"].startswith("http://127.0.0.1:")


def test_cancel_cancels_jobs_of_both_services(sandbox_env: dict[str, Any]) -> None:
    """A running task, and a job in a paused queue. A task that has ended is reported, and does not
    stop the others.
    """
    with mjci.connect() as session:
        task = session.mj.imagine("a red fox --stuck").run()
        (queue,) = (queue["QueueId"] for queue in session.ci.queues().run())
        session.ci.update_queue(queue, name="q", state="Paused").run()
        job = session.ci.picture_job(input="input/deer.jpg", rule=ROTATE, output="o.jpg").run()
        result = run("cancel", task.id, job.id)
        assert (result.returncode, result.stdout) == (
            0,
            f"Cancelled: {task.id}\nCancelled: {job.id}\n",
        )
        assert {session.describe(target).run().status for target in (task, job)} == {"CANCELLED"}
        session.ci.update_queue(queue, name="q", state="Active").run()
    again = run("cancel", task.id, job.id)
    assert (again.returncode, again.stdout) == (3, f"Cancelled: {job.id}\n")
    assert again.stderr.startswith(f"Not cancelled: {task.id}\n")


def test_cancel_with_an_invalid_id_sends_nothing(sandbox_env: dict[str, Any]) -> None:
    """All IDs are checked before the first request."""
    with mjci.connect() as session:
        task = session.mj.imagine("a red fox --stuck").run()
        result = run("cancel", task.id, "no/such.id")
        assert (result.returncode, result.stdout) == (2, "")
        assert "'no/such.id' is not a valid job ID" in result.stderr
        assert session.describe(task).run().status.is_active
        session.cancel(task).run()


def test_doctor_reports_wrong_settings_without_secrets(
    sandbox_env: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit status is 0 without problems, else 1, with what to set."""
    healthy = run("doctor")
    assert (healthy.returncode, healthy.stderr) == (0, "")
    assert "NOT OK" not in healthy.stdout
    assert f"a proxy answers at {sandbox_env['mj_url']}" in healthy.stdout
    monkeypatch.setenv("MJCI_MJ_AUTH", "raw")
    monkeypatch.setenv("MJCI_CI_SECRET_KEY", "hush-hush")
    unhealthy = run("doctor")
    assert unhealthy.returncode == 1
    assert "Set MJCI_MJ_AUTH=secret" in unhealthy.stdout
    assert "Check MJCI_CI_SECRET_KEY" in unhealthy.stdout
    assert not any(
        secret in unhealthy.stdout
        for secret in ("hush", sandbox_env["mj_secret"], sandbox_env["secret_key"])
    )


@pytest.mark.kernel
def test_execute_of_a_failing_notebook_writes_page_and_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])  # type: ignore[no-untyped-call]
    nbformat.write(notebook, tmp_path / "broken.ipynb")  # type: ignore[no-untyped-call]
    assert demo.execute_notebook(tmp_path / "broken.ipynb", tmp_path / "out.html") == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert "ZeroDivisionError" in (tmp_path / "out.html").read_text("utf-8")


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from PIL import Image; Image.new('L', (8, 8))", r"First picture after \d+\.\d s, page"),
        ("'no picture'", r"No picture in \d+\.\d s"),
    ],
)
def test_timing_tells_when_the_first_picture_was_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], source: str, expected: str
) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])  # type: ignore[no-untyped-call]
    nbformat.write(notebook, tmp_path / "timed.ipynb")  # type: ignore[no-untyped-call]
    page = tmp_path / "out.html"
    assert demo.execute_notebook(tmp_path / "timed.ipynb", page, timing=True) == 0
    assert re.match(expected, capsys.readouterr().out)


def test_timing_without_a_page_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["demo", "--timing"]) == 2
    assert "--timing needs a page to execute into." in capsys.readouterr().err


def test_demo_opens_a_copy_and_keeps_an_existing_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """JupyterLab gets a copy in the current folder, so that the original stays unchanged."""
    opened: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo.subprocess, "call", lambda command: opened.append(command) or 0)
    assert main.main(["demo"]) == 0
    copy = tmp_path / "mjci-demo" / demo.QUICKSTART
    assert copy.read_bytes() == (demo.find_notebooks() / demo.QUICKSTART).read_bytes()
    copy.write_text("mine")
    assert main.main(["demo"]) == 0
    assert copy.read_text() == "mine"
    assert opened[0] == [
        sys.executable,
        "-m",
        "jupyterlab",
        str(Path("mjci-demo") / demo.QUICKSTART),
    ]


INVALID_LINES = {
    "": "required: COMMAND",
    "wach": "unknown command 'wach'. Did you mean watch?",
    "nonsense": "Available: sandbox, demo, watch, cancel, history, report, gallery, scan, doctor.",
    "cancel": "required: JOB_ID",
    "gallery": "required: --out",
    "history --limit 0": "must be a positive integer, not '0'",
    "watch --interval 0": "must be a positive number of seconds, not '0'",
    "watch --interval often": "must be a positive number of seconds, not 'often'",
    "sandbox --speed 0": "--speed must be a number above 0",
}


@pytest.mark.parametrize("line", INVALID_LINES)
def test_invalid_command_line_prints_usage_error(
    line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message suggests the command that was probably meant."""
    with pytest.raises(SystemExit) as caught:
        main.main(line.split())
    assert caught.value.code == 2
    assert INVALID_LINES[line] in capsys.readouterr().err


def test_version_is_printed_by_the_jupyter_command() -> None:
    result = subprocess.run(
        [Path(sys.executable).parent / "jupyter", "mjci", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == f"jupyter_mjci {mjci.__version__}\n"


def test_command_is_installed_beside_python() -> None:
    assert shutil.which("jupyter-mjci", path=str(Path(sys.executable).parent))


@pytest.fixture(scope="module")
def recorded_history(
    fast_sandbox: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, pd.DataFrame]:
    """A home and its history: two tasks, a job, and a job that failed. Pictures are in the archive
    or in the bucket.
    """
    home = tmp_path_factory.mktemp("home")
    with mjci.connect(
        home=home, **{name.lower(): fast_sandbox[key] for name, key in SETTING_KEYS.items()}
    ) as session:
        calls = [session.mj.imagine(prompt) for prompt in ("a red <fox>", HOSTILE)]
        for name in ("deer", "none"):
            calls.append(
                session.ci.picture_job(input=f"input/{name}.jpg", rule=ROTATE, output="o.jpg")
            )
        session.batch(calls, poll_interval=0.2).run()
        return home, session.history()


@pytest.fixture
def known_history(
    recorded_history: tuple[Path, pd.DataFrame],
    sandbox_env: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> pd.DataFrame:
    """That history, in the home of the commands."""
    monkeypatch.setenv("MJCI_HOME", str(recorded_history[0]))
    return recorded_history[1]


HOSTILE = 'a "fox",\n\tnew\x1b]0;owned\x07 \x1b[31mred 狐'


def test_history_prints_one_escaped_line_per_job(known_history: pd.DataFrame) -> None:
    """Control characters of a prompt are replaced."""
    head, *lines = run("history").stdout.splitlines()
    assert head.split() == ["service", "id", "action", "status", "submitted", "subject"]
    assert {line.split()[1] for line in lines} == set(known_history["id"])
    assert any(line.endswith('a "fox", new�]0;owned� �[31mred 狐') for line in lines)
    latest = run("history", "--limit", "2")
    assert len(latest.stdout.splitlines()) == 3
    assert latest.stderr == "the latest 2 of 4 jobs (limit=2)\n"


def test_history_as_parquet_keeps_columns_and_types(
    known_history: pd.DataFrame, tmp_path: Path
) -> None:
    file = tmp_path / "a.parquet"
    assert run("history", "--out", str(file)).stdout == f"4 jobs: {file}\n"
    pd.testing.assert_frame_equal(pd.read_parquet(file), known_history)


def test_history_as_csv_and_json_keeps_every_value(
    known_history: pd.DataFrame, tmp_path: Path
) -> None:
    """Times with their zone, durations, and line ends and quotes inside prompts."""
    for name in ("a.csv", "a.json"):
        assert run("history", "--out", str(tmp_path / name)).returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "a.json").read_text("utf-8").splitlines()]
    frame = pd.read_csv(
        tmp_path / "a.csv", dtype={"id": "string"}, parse_dates=["submitted", "started", "finished"]
    )
    assert list(frame.columns) == list(rows[0]) == list(known_history.columns)
    for column in ("id", "action", "subject", "reason", "outputs", "buttons", "progress"):
        present = known_history[column].notna().tolist()
        for exported in (frame[column], pd.Series([row[column] for row in rows])):
            assert exported.notna().tolist() == present, column
            assert exported.dropna().tolist() == known_history[column].dropna().tolist(), column
    for column in ("submitted", "started", "finished"):
        assert (frame[column] == known_history[column]).equals(known_history[column].notna())
        times = pd.Series(pd.to_datetime([row[column] for row in rows]))
        assert (times - known_history[column]).abs().max() < pd.Timedelta("1ms")
    for column in ("queue_time", "run_time"):
        for exported in (frame[column], [row[column] for row in rows]):
            assert (
                pd.Series(pd.to_timedelta(exported)) - known_history[column]
            ).abs().max() < pd.Timedelta("1ms")


def test_history_to_a_file_that_cannot_be_written_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown extension, a missing folder, and Parquet without pyarrow."""
    messages = {
        "a.xyz": ".csv, .json, .parquet",
        "/no/a.csv": "Cannot write /no/a.csv",
        "a.parquet": "jupyter_mjci[lake]",
    }
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name, message in messages.items():
        assert main.main(["history", "--out", name]) == 2
        assert message in capsys.readouterr().err


def test_gallery_of_the_journal_is_filtered_by_text(
    known_history: pd.DataFrame, tmp_path: Path
) -> None:
    """The pictures were made by another process; they are in the archive or in the bucket."""
    page, chosen = tmp_path / "g.html", tmp_path / "f.html"
    assert run("gallery", "--out", str(page)).stdout == f"3 pictures: {page}\n"
    assert (
        run("gallery", "RED <", "--out", str(chosen), "--limit", "1").stdout
        == f"1 picture: {chosen}\n"
    )
    assert "a red &lt;fox&gt;" in chosen.read_text("utf-8")
    assert all(
        job_id in page.read_text("utf-8")
        for job_id in known_history["id"][known_history["status"] == "SUCCEEDED"]
    )


def test_gallery_of_a_notebook_loads_no_notebook_libraries(tmp_path: Path) -> None:
    """Saved outputs are read without kernel, IPython, nbformat or pandas."""
    source, page = demo.find_notebooks() / demo.QUICKSTART, tmp_path / "g.html"
    line = [
        sys.executable,
        "-X",
        "importtime",
        *COMMAND[1:],
        "gallery",
        str(source),
        "--out",
        str(page),
    ]
    result = subprocess.run(line, capture_output=True, text=True, check=True)
    assert result.stdout == f"6 pictures: {page}\n"
    loaded = {name.rpartition("|")[2].strip() for name in result.stderr.splitlines()}
    assert not loaded & {"IPython", "ipywidgets", "nbformat", "pandas"}
    assert "<h1>Quickstart</h1>" in page.read_text("utf-8")
    for name, words in (("none.ipynb", "Cannot read"), ("bad.ipynb", "is not a notebook")):
        (tmp_path / "bad.ipynb").write_text("[]")
        refused = run("gallery", str(tmp_path / name), "--out", str(page))
        assert refused.returncode == 2
        assert words in refused.stderr
