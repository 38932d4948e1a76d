"""A stranger installs jupyter_mjci and the package that adds Replicate, and uses both."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.installing import build_clean_environ, clone, run_install

pytestmark = pytest.mark.install
CELLS = Path(__file__).parent / "notebook_cells.py"
STALL = '[[fault]]\nkind = "stall"\nroute = "POST /v1/models/*"\nseconds = 600\ntimes = 1\n'
SUBMIT = """
import jupyter_mjci as mjci
mjci.connect().rp.predict("a red fox", model="a/b").run()
"""
RESUME = """
import jupyter_mjci as mjci
with mjci.connect() as s:
    assert len(s.unresolved_submissions()) == 1
    s.resume().run()
    assert not s.unresolved_submissions()
    (submission,) = s.journal.submissions()
    job = s.follow(submission.job_id).run()
    print(job.id, job.status, len(s.rp.predictions().run()))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with both packages, and nothing else of ours."""
    place = tmp_path_factory.mktemp("plugin")
    repository = clone(place / "repository")
    uv = [str(Path(sys.executable).with_name("uv"))]
    python = place / "venv" / "bin" / "python"
    run_install(
        [*uv, "venv", "-q", "--python", sys.executable, "venv"], place, build_clean_environ()
    )
    packages = [str(repository), str(repository / "tests" / "plugins" / "replicate")]
    run_install(
        [*uv, "pip", "install", "--python", str(python), *packages], place, build_clean_environ()
    )
    return python


def run(python: Path, folder: Path, *arguments: str, **variables: str) -> str:
    """Run a Python command that must succeed, and return its output."""
    return run_install([str(python), *arguments], folder, build_environ(folder, variables))


def build_environ(folder: Path, variables: dict[str, str]) -> dict[str, str]:
    return {**build_clean_environ(), "MJCI_HOME": str(folder / "home"), **variables}


@contextmanager
def serve_sandbox(python: Path, folder: Path, *options: str) -> Iterator[dict[str, str]]:
    """Serve the sandbox, and yield the variables that lead to it."""
    command = [str(python), "-m", "jupyter_mjci.cli", "sandbox", *options]
    environ = build_environ(folder, {})
    with subprocess.Popen(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        account = json.loads(process.stdout.readline())
        try:
            yield {"MJCI_RP_URL": account["rp_url"], "MJCI_RP_TOKEN": account["rp_token"]}
        finally:
            process.send_signal(signal.SIGINT)


def test_notebook_uses_all_services(python: Path, tmp_path: Path) -> None:
    report = json.loads(run(python, tmp_path, str(CELLS)).splitlines()[-1])
    assert report["statuses"] == ["SUCCEEDED"] * 3
    assert report["batch"] == ["mj SUCCEEDED", "rp SUCCEEDED"]
    assert report["each"] == ["SUCCEEDED", "SUCCEEDED"]
    assert report["listed"] == ["a cat", "a hare", "a lynx", "a red fox", "an owl"]
    assert report["history"] == ["ci", "mj", "rp"]
    assert report["kinds"] == [["text/html", "text/plain"], ["image/jpeg", "text/plain"]]
    assert "Replicate" in report["card"]
    assert "predict time" in report["card"]
    assert "Replicate" in report["doctor"]
    assert report["is_replayed"]
    assert "a snow fox" in report["recording"]
    assert report["token"] not in report["recording"] + report["doctor"]


def test_commands_know_the_service(python: Path, tmp_path: Path) -> None:
    """watch, cancel, doctor and scan, on a sandbox that another process serves."""
    with serve_sandbox(python, tmp_path, "--speed", "2") as variables:
        job_id = submit(variables)
        cli = ("-m", "jupyter_mjci.cli")
        watched = run(python, tmp_path, *cli, "watch", job_id, **variables)
        assert "SUCCEEDED" in watched
        job_id = submit(variables)
        assert f"Cancelled: {job_id}" in run(python, tmp_path, *cli, "cancel", job_id, **variables)
        assert "ok: accepted by /v1/predictions" in run(
            python, tmp_path, *cli, "doctor", **variables
        )
    notebook = tmp_path / "notes.txt"
    notebook.write_text(f"my key is {variables['MJCI_RP_TOKEN']}")
    scanned = subprocess.run(
        [str(python), *cli, "scan", str(notebook)],
        env=build_environ(tmp_path, {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert scanned.returncode == 1
    assert "Replicate token" in scanned.stdout
    assert variables["MJCI_RP_TOKEN"] not in scanned.stdout


def test_killed_submission_is_resumed_once(python: Path, tmp_path: Path) -> None:
    """Killed when the service has the submission and its response is on the way."""
    faults = tmp_path / "faults.toml"
    faults.write_text(STALL)
    with serve_sandbox(python, tmp_path, "--speed", "5", "--faults", str(faults)) as variables:
        environ = build_environ(tmp_path, variables)
        with subprocess.Popen([str(python), "-c", SUBMIT], env=environ, cwd=tmp_path) as child:
            while not request(variables, "GET", "/v1/predictions")["results"]:
                assert child.poll() is None
                time.sleep(0.2)
            os.kill(child.pid, signal.SIGKILL)
        (prediction,) = request(variables, "GET", "/v1/predictions")["results"]
        resumed = run(python, tmp_path, "-c", RESUME, **variables)
        assert resumed.split() == [prediction["id"], "SUCCEEDED", "1"]


def submit(variables: dict[str, str]) -> str:
    """Submit without the package, as another program of the account would."""
    body = {"input": {"prompt": "a red fox"}}
    prediction = request(variables, "POST", "/v1/models/a/b/predictions", body)
    return str(prediction["id"])


def request(variables: dict[str, str], method: str, path: str, body: object = None) -> Any:
    asked = urllib.request.Request(
        variables["MJCI_RP_URL"] + path,
        data=json.dumps(body).encode() if body else None,
        headers={"Authorization": f"Bearer {variables['MJCI_RP_TOKEN']}"},
        method=method,
    )
    with urllib.request.urlopen(asked, timeout=30) as response:
        return json.load(response)
