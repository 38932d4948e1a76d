"""The hook for other repositories, as pre-commit runs it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
(HOOK,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text("utf-8"))
NOTEBOOK = ROOT / "notebooks" / "01-quickstart.ipynb"


def test_the_hook_stops_a_commit_with_a_secret(tmp_path: Path) -> None:
    """With the files' names behind its entry, by a program that needs nothing but the package
    itself.
    """
    assert (HOOK["id"], HOOK["language"], HOOK["types_or"]) == (
        "mjci-scan",
        "python",
        ["jupyter", "json"],
    )
    shutil.copy(NOTEBOOK, tmp_path / "good.ipynb")
    with_key = NOTEBOOK.read_text("utf-8").replace(
        "--ar 3:2 -o grid", "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE"
    )
    (tmp_path / "bad.ipynb").write_text(with_key, "utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for names, status, said in (
        (["good.ipynb"], 0, ""),
        (["good.ipynb", "bad.ipynb"], 1, "bad.ipynb: cell 4: Tencent Cloud SecretId\n"),
    ):
        done = subprocess.run(
            [*shlex.split(HOOK["entry"]), *names],
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (status, said, "")


def test_how_to_use_it_is_told() -> None:
    told = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    (line,) = (line for line in told.splitlines() if HOOK["id"] in line)
    assert yaml.safe_load(line.strip()) == {"hooks": [{"id": HOOK["id"]}]}
