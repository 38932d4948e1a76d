"""`jupyter mjci …`, as processes."""

from __future__ import annotations

import json
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
from tests.cli.conftest import COMMAND, NAMES, ROTATE, run


def test_the_sandbox_tells_where_it_is(served: dict[str, Any]) -> None:
    """One JSON line with everything that a client has to know."""
    assert set(served) == {
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
    assert served["url"].startswith("http://127.0.0.1:")


def test_jobs_of_both_services_are_cancelled(served: dict[str, Any]) -> None:
    """A task that runs, and a job that waits in a paused queue; a task that has ended cannot be,
    and costs no other.
    """
    with mjci.connect() as session:
        task = session.mj.imagine("a red fox --stuck").run()
        (queue,) = (one["QueueId"] for one in session.ci.queues().run())
        session.ci.update_queue(queue, name="q", state="Paused").run()
        job = session.ci.picture_job(input="input/deer.jpg", rule=ROTATE, output="o.jpg").run()
        told = run("cancel", task.id, job.id)
        assert (told.returncode, told.stdout) == (0, f"Cancelled: {task.id}\nCancelled: {job.id}\n")
        assert {session.describe(one).run().status for one in (task, job)} == {"CANCELLED"}
        session.ci.update_queue(queue, name="q", state="Active").run()
    again = run("cancel", task.id, job.id)
    assert (again.returncode, again.stdout) == (3, f"Cancelled: {job.id}\n")
    assert again.stderr.startswith(f"Not cancelled: {task.id}\n")


def test_nothing_is_cancelled_where_one_id_is_none(served: dict[str, Any]) -> None:
    """The line is read as a whole before anything is sent."""
    with mjci.connect() as session:
        task = session.mj.imagine("a red fox --stuck").run()
        told = run("cancel", task.id, "no/such.id")
        assert (told.returncode, told.stdout) == (2, "")
        assert "'no/such.id' is no job's id" in told.stderr
        assert session.describe(task).run().status.is_active
        session.cancel(task).run()


def test_the_doctor_asks_and_tells(served: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the network; 0 where nothing is wrong, 1 where something is, with what to set and
    without any secret.
    """
    well = run("doctor")
    assert (well.returncode, well.stderr) == (0, "")
    assert "NOT OK" not in well.stdout
    assert f"a proxy answers at {served['mj_url']}" in well.stdout
    monkeypatch.setenv("MJCI_MJ_AUTH", "raw")
    monkeypatch.setenv("MJCI_CI_SECRET_KEY", "hush-hush")
    ill = run("doctor")
    assert ill.returncode == 1
    assert "Set MJCI_MJ_AUTH=secret" in ill.stdout
    assert "Check MJCI_CI_SECRET_KEY" in ill.stdout
    assert not any(
        secret in ill.stdout for secret in ("hush", served["mj_secret"], served["secret_key"])
    )


@pytest.mark.kernel
def test_a_failing_notebook_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page is still written; the exit status is not 0."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])  # type: ignore[no-untyped-call]
    nbformat.write(notebook, tmp_path / "broken.ipynb")  # type: ignore[no-untyped-call]
    assert demo.execute_notebook(tmp_path / "broken.ipynb", tmp_path / "out.html") == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert "ZeroDivisionError" in (tmp_path / "out.html").read_text("utf-8")


def test_the_demo_opens_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JupyterLab gets a copy in the current folder, so that the original stays as it is; a second
    demo keeps it.
    """
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


BAD = {
    "": "required: COMMAND",
    "wach": "there is no command 'wach'. Did you mean watch?",
    "nonsense": "Available: sandbox, demo, watch, cancel, history, gallery, scan, doctor.",
    "cancel": "required: JOB_ID",
    "gallery": "required: --out",
    "history --limit 0": "a number from 1 on, not '0'",
    "watch --longest 0": "a number of seconds above 0, not '0'",
    "watch --longest often": "a number of seconds above 0, not 'often'",
    "sandbox --speed 0": "--speed must be a number above 0",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_command_lines(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Are told with their usage, and what may have been meant."""
    with pytest.raises(SystemExit) as caught:
        main.main(line.split())
    assert caught.value.code == 2
    assert BAD[line] in capsys.readouterr().err


def test_the_version() -> None:
    """Of the package, by the door that `jupyter mjci` uses, too."""
    told = subprocess.run(
        [Path(sys.executable).parent / "jupyter", "mjci", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == f"jupyter_mjci {mjci.__version__}\n"


def test_the_command_is_installed() -> None:
    """`jupyter mjci` finds it beside jupyter itself."""
    assert shutil.which("jupyter-mjci", path=str(Path(sys.executable).parent))


@pytest.fixture(scope="module")
def past(
    fast: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, pd.DataFrame]:
    """A home, and its history: two foxes, a deer, and a job that failed. Their pictures are kept,
    or in the bucket.
    """
    home = tmp_path_factory.mktemp("home")
    with mjci.connect(
        home=home, **{name.lower(): fast[key] for name, key in NAMES.items()}
    ) as session:
        calls = [session.mj.imagine(prompt) for prompt in ("a red <fox>", HOSTILE)]
        for name in ("deer", "none"):
            calls.append(
                session.ci.picture_job(input=f"input/{name}.jpg", rule=ROTATE, output="o.jpg")
            )
        session.batch(calls, poll_interval=0.2).run()
        return home, session.history()


@pytest.fixture
def known(
    past: tuple[Path, pd.DataFrame], served: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> pd.DataFrame:
    """That history, where the commands look for it."""
    monkeypatch.setenv("MJCI_HOME", str(past[0]))
    return past[1]


HOSTILE = 'a "fox",\n\tnew\x1b]0;owned\x07 \x1b[31mred 狐'


def test_the_history_on_a_terminal(known: pd.DataFrame) -> None:
    """A job a line, whatever is written in it; nothing in it commands the terminal."""
    head, *lines = run("history").stdout.splitlines()
    assert head.split() == ["service", "id", "action", "status", "submitted", "subject"]
    assert {line.split()[1] for line in lines} == set(known["id"])
    assert any(line.endswith('a "fox", new�]0;owned� �[31mred 狐') for line in lines)
    latest = run("history", "--limit", "2")
    assert len(latest.stdout.splitlines()) == 3
    assert latest.stderr == "the latest 2 of 4 jobs (limit=2)\n"


def test_parquet_keeps_every_column_and_its_type(known: pd.DataFrame, tmp_path: Path) -> None:
    """What comes back is what the session's own history is."""
    file = tmp_path / "a.parquet"
    assert run("history", "--out", str(file)).stdout == f"4 jobs: {file}\n"
    pd.testing.assert_frame_equal(pd.read_parquet(file), known)


def test_csv_and_json_keep_every_value(known: pd.DataFrame, tmp_path: Path) -> None:
    """As text: times with their zone, spans, line ends and quotes inside prompts."""
    for name in ("a.csv", "a.json"):
        assert run("history", "--out", str(tmp_path / name)).returncode == 0
    rows = [json.loads(line) for line in (tmp_path / "a.json").read_text("utf-8").splitlines()]
    frame = pd.read_csv(
        tmp_path / "a.csv", dtype={"id": "string"}, parse_dates=["submitted", "started", "finished"]
    )
    assert list(frame.columns) == list(rows[0]) == list(known.columns)
    for column in ("id", "action", "subject", "reason", "outputs", "buttons", "progress"):
        there = known[column].notna().tolist()
        for told in (frame[column], pd.Series([row[column] for row in rows])):
            assert told.notna().tolist() == there, column
            assert told.dropna().tolist() == known[column].dropna().tolist(), column
    for column in ("submitted", "started", "finished"):
        assert (frame[column] == known[column]).equals(known[column].notna())
        times = pd.Series(pd.to_datetime([row[column] for row in rows]))
        assert (times - known[column]).abs().max() < pd.Timedelta("1ms")
    for column in ("queue_time", "run_time"):
        for told in (frame[column], [row[column] for row in rows]):
            assert (pd.Series(pd.to_timedelta(told)) - known[column]).abs().max() < pd.Timedelta(
                "1ms"
            )


def test_what_cannot_be_written_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another ending, a folder that is not there, and Parquet where its library is not
    installed.
    """
    told = {
        "a.xyz": ".csv, .json, .parquet",
        "/no/a.csv": "Cannot write /no/a.csv",
        "a.parquet": "jupyter_mjci[lake]",
    }
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name, words in told.items():
        assert main.main(["history", "--out", name]) == 2
        assert words in capsys.readouterr().err


def test_a_gallery_of_what_is_kept(known: pd.DataFrame, tmp_path: Path) -> None:
    """By the journal: another process made the pictures, the archive has them or the bucket; words
    choose.
    """
    page, chosen = tmp_path / "g.html", tmp_path / "f.html"
    assert run("gallery", "--out", str(page)).stdout == f"3 pictures: {page}\n"
    assert (
        run("gallery", "RED <", "--out", str(chosen), "--limit", "1").stdout
        == f"1 picture: {chosen}\n"
    )
    assert "a red &lt;fox&gt;" in chosen.read_text("utf-8")
    assert all(
        job_id in page.read_text("utf-8") for job_id in known["id"][known["status"] == "SUCCEEDED"]
    )


def test_a_gallery_of_a_notebook(tmp_path: Path) -> None:
    """Of its saved outputs; neither a kernel nor a notebook's libraries are loaded for it."""
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
    told = subprocess.run(line, capture_output=True, text=True, check=True)
    assert told.stdout == f"6 pictures: {page}\n"
    loaded = {name.rpartition("|")[2].strip() for name in told.stderr.splitlines()}
    assert not loaded & {"IPython", "ipywidgets", "nbformat", "pandas"}
    assert "<h1>Quickstart</h1>" in page.read_text("utf-8")
    for name, words in (("none.ipynb", "Cannot read"), ("bad.ipynb", "is not a notebook")):
        (tmp_path / "bad.ipynb").write_text("[]")
        refused = run("gallery", str(tmp_path / name), "--out", str(page))
        assert refused.returncode == 2
        assert words in refused.stderr
