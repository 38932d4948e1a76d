"""A newcomer's way: a clone of what is committed, and an environment into which pip installs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NEEDS_INDEX = "This installs from a package index, which pip has to reach (without one: pytest -m 'not install')"  # noqa: E501
OWN_VARIABLES = (
    "JUPYTER",
    "IPYTHON",
    "MJCI_",
    "TENCENTCLOUD",
    "PYTEST",
    "COV_",
    "PYTHON",
    "VIRTUAL_ENV",
    "CONDA",
    "NB_",
)


def clone(folder: Path) -> Path:
    """The commit that is checked out, in a folder that is not there yet."""
    subprocess.run(["git", "clone", "-q", ROOT, folder], check=True)
    return folder


def build_clean_environ(*first: Path) -> dict[str, str]:
    """The surroundings of somebody who has Python and pip as they are set up here, and nothing of
    ours.
    """
    path = [str(folder) for folder in (*first, Path(sys.base_prefix, "bin"))]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN_VARIABLES)}
    return {**kept, "PATH": os.pathsep.join([*path, os.environ["PATH"]])}


def run_install(command: list[str], folder: Path, environ: dict[str, str]) -> str:
    """What the command says; it fails the test where it does."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        command_line = " ".join(command)
        pytest.fail(f"{command_line} failed. {NEEDS_INDEX}.\n{done.stdout[-3000:]}")
    return done.stdout
