"""`jupyter mjci …`, as processes."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from jupyter_mjci import cli

COMMAND = [sys.executable, "-m", "jupyter_mjci.cli"]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """A sandbox served by the command, and the environment that points at it."""
    process = subprocess.Popen([*COMMAND, "sandbox", "--port", "0", "--speed", "50"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    for name, key in (("MJ_URL", "mj_url"), ("MJ_SECRET", "mj_secret"), ("CI_SECRET_ID", "secret_id"),
                      ("CI_SECRET_KEY", "secret_key"), ("CI_BUCKET", "bucket"), ("CI_REGION", "region"),
                      ("CI_ENDPOINT", "ci_endpoint"), ("COS_ENDPOINT", "cos_endpoint")):  # fmt: skip
        monkeypatch.setenv(f"MJCI_{name}", told[key])
    yield told
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 0
    process.stdout.close()


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False)


def test_the_sandbox_tells_where_it_is(served: dict[str, Any]) -> None:
    """One JSON line with everything that a client has to know."""
    assert set(served) == {
        "url", "mj_url", "mj_secret", "ci_endpoint", "cos_endpoint", "secret_id", "secret_key", "bucket", "region",
    }  # fmt: skip
    assert served["url"].startswith("http://127.0.0.1:")


def test_watch_and_cancel(served: dict[str, Any]) -> None:
    """A job is followed and cancelled from a terminal, with the environment's settings."""
    import jupyter_mjci as mjci

    with mjci.connect() as session:
        job = session.mj.imagine("a red fox").run()
    watched = run("watch", job.id, "--longest", "0.2")
    assert watched.returncode == 0
    assert watched.stdout.splitlines()[-1].startswith("SUCCEEDED 100 % http://127.0.0.1:")
    refused = run("cancel", "c0000000000")
    assert refused.returncode == 1
    assert 1 <= len(refused.stderr.splitlines()) <= 3


def test_the_doctor_asks_and_tells(served: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the network; 0 where nothing is wrong, 1 where something is, with what to set and without any secret."""
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
    assert not any(secret in ill.stdout for secret in ("hush", served["mj_secret"], served["secret_key"]))


def test_a_failing_job_is_a_failing_command(served: dict[str, Any]) -> None:
    import jupyter_mjci as mjci

    with mjci.connect() as session:
        job = session.ci.picture_job(input="input/none.jpg", rule="imageMogr2/rotate/90", output="o.jpg").run()
    watched = run("watch", job.id, "--longest", "0.2")
    assert watched.returncode == 1
    assert "failed" in watched.stderr


@pytest.mark.kernel
def test_a_failing_notebook_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page is still written; the exit status is not 0."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 / 0")])  # type: ignore[no-untyped-call]
    nbformat.write(notebook, tmp_path / "broken.ipynb")  # type: ignore[no-untyped-call]
    assert cli.execute(tmp_path / "broken.ipynb", tmp_path / "out.html") == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert "ZeroDivisionError" in (tmp_path / "out.html").read_text("utf-8")


def test_the_demo_opens_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """JupyterLab gets a copy in the current folder, so that the original stays as it is; a second demo keeps it."""
    opened: list[list[str]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli.subprocess, "call", lambda command: opened.append(command) or 0)
    assert cli.main(["demo"]) == 0
    copy = tmp_path / "mjci-demo" / cli.QUICKSTART
    assert copy.read_bytes() == (cli.notebooks() / cli.QUICKSTART).read_bytes()
    copy.write_text("mine")
    assert cli.main(["demo"]) == 0
    assert copy.read_text() == "mine"
    assert opened[0] == [sys.executable, "-m", "jupyterlab", str(Path("mjci-demo") / cli.QUICKSTART)]


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["watch"]])
def test_bad_command_lines(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2


def test_the_command_is_installed() -> None:
    """`jupyter mjci` finds it beside jupyter itself."""
    assert shutil.which("jupyter-mjci", path=str(Path(sys.executable).parent))


def test_the_journal_becomes_a_file(served: dict[str, Any], tmp_path: Path) -> None:
    """As CSV, JSON lines or Parquet, by the name's ending; anything else is refused."""
    import pandas as pd

    import jupyter_mjci as mjci

    with mjci.connect() as session:
        job = session.mj.imagine("a red fox").run()
    assert job.id in run("history").stdout
    for name, read in (("a.csv", pd.read_csv), ("a.json", pd.read_json), ("a.parquet", pd.read_parquet)):
        options: dict[str, Any] = {"lines": True, "dtype": {"id": str}} if name == "a.json" else {}
        assert run("history", "--out", str(tmp_path / name)).returncode == 0
        assert [str(one) for one in read(tmp_path / name, **options)["id"]] == [job.id]
    assert run("history", "--out", str(tmp_path / "a.xyz")).returncode == 1
