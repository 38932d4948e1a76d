"""Run the suite, without browsers, on every installed Python with the oldest and newest libraries:

    python -m tests.matrix [--python 3.11 ...] [--set oldest ...] [--keep FOLDER] [TEST ...]

Each pair gets a new environment and a row in the table that is printed at the end. What a set
installs is read from `pyproject.toml`, whose lower bounds are the oldest set. The exit status is 1
if anything failed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
UV = Path(sys.executable).with_name("uv")
# Packages whose versions are printed.
REPORTED = ("ipython", "ipykernel", "pandas", "ipywidgets", "httpx", "anyio", "pillow", "pyarrow")
# Of the extra `test`, in the core set.
TOOLS = r"(hypothesis|ipykernel|jupyter-client|nbval|pytest|pytest-xdist)\b"
# Only these are built from source, because they have no wheels, and the project itself: elsewhere a
# lower bound means the oldest wheel for the Python.
BUILT = ("cos-python-sdk-v5", "crcmod", "fontmeta", PROJECT["name"])
PYTEST = (
    "-q",
    "-n",
    "2",
    "--dist",
    "loadscope",
    "-p",
    "no:cacheprovider",
    "-m",
    "not browser and not install",
)

# Tests that compare the notebooks' committed outputs, which are those of the newest libraries:
# pandas 2 formats times differently, and matplotlib renders other images. With older libraries
# every cell has to run, but its output is not compared.
OUTPUT_TESTS = (
    "executed_again_it_is_the_same_file",
    "nbconvert_executes_what_is_committed",
    "nbval_finds_the_same_again_without_network",
)
ONLY_RUN = (
    "--nbval-lax",
    *(f"--deselect=tests/kernel/test_notebooks.py::test_{name}" for name in OUTPUT_TESTS),
)
# The oldest libraries call names that the newest versions of their own dependencies deprecate.
IGNORED_DEPRECATIONS = (
    "-Wignore:Deprecated in traitlets 4.1:DeprecationWarning",  # ipywidgets before 8.1.5
    "-Wignore::pyparsing.warnings.PyparsingDeprecationWarning",  # matplotlib before 3.10.7
)
# Tests that need an extra. That a core install says so is tested in `tests/test_extras.py`.
NEED_EXTRAS = (
    "tests/browser",
    "tests/cli/test_commands.py::test_execute_of_a_failing_notebook_writes_page_and_fails",
    "tests/cli/test_commands.py::test_history_as_parquet_keeps_columns_and_types",
    "tests/cli/test_commands.py::test_demo_opens_a_copy_and_keeps_an_existing_one",
    "tests/cli/test_watch.py",
    "tests/services/tencent_ci/test_signing.py::test_signature_of_any_path_and_parameters_equals_the_sdk",
    "tests/services/tencent_ci/test_signing.py::test_presigned_url_equals_the_sdk",
    "tests/client/test_settings.py",
    "tests/client/test_transport.py::test_aiohttp_is_used_where_installed",
    "tests/history/test_analysis.py",
    "tests/history/test_lake.py",
    "tests/kernel/test_notebooks.py",
    "tests/notebook/test_magics.py::test_status_and_doctor_report_without_secrets",
    "tests/notebook/test_magics.py::test_front_end_is_detected",
    "tests/notebook/panels/test_panels.py",
    "tests/notebook/panels/test_history.py",
    "tests/notebook/panels/test_tencent_ci.py",
    "tests/emulator/test_official_sdk.py",
    "tests/test_matrix.py",
    "tests/test_pre_commit.py",
    "tests/test_readme.py",
)
WITHOUT_EXTRAS = (
    "-k",
    "not aiohttp",
    *(f"--{'deselect' if '::' in name else 'ignore'}={name}" for name in NEED_EXTRAS),
)


@dataclass(frozen=True)
class Set:
    """Libraries to test with.

    Args:
        description: printed with the results
        resolution: how uv chooses versions: highest, or lowest-direct
        constraints: further requirements
        core: install no extras
        pytest_args: further arguments of pytest
        tests: what is run, where nothing is chosen
    """

    description: str
    resolution: str = "highest"
    constraints: tuple[str, ...] = ()
    core: bool = False
    pytest_args: tuple[str, ...] = ()
    tests: tuple[str, ...] = ("tests", "notebooks")

    @property
    def requirements(self) -> list[str]:
        if not self.core:
            return ["-e", ".[test]", *self.constraints]
        extra = PROJECT["optional-dependencies"]["test"]
        tools = [requirement for requirement in extra if re.match(TOOLS, requirement)]
        return ["-e", ".", *self.constraints, *tools]


SETS = {
    "oldest": Set(
        "every lower bound of pyproject.toml",
        "lowest-direct",
        pytest_args=(*ONLY_RUN, *IGNORED_DEPRECATIONS),
    ),
    "before": Set(
        "the last major versions before these",
        constraints=("ipykernel<7", "ipython<9", "pandas<3"),
        pytest_args=ONLY_RUN,
    ),
    "newest": Set("the latest releases"),
    "core": Set(
        "the latest releases, without extras",
        core=True,
        pytest_args=WITHOUT_EXTRAS,
        tests=("tests",),
    ),
}


@dataclass(frozen=True)
class Outcome:
    """The result of one pair of a Python and a set."""

    python: str
    name: str
    counts: Counter[str]
    seconds: float
    versions: dict[str, str]
    ok: bool

    @property
    def row(self) -> list[str]:
        failed = self.counts["failed"] + self.counts["errors"] + self.counts["error"]
        minutes, seconds = divmod(round(self.seconds), 60)
        versions = ", ".join(
            f"{name} {self.versions[name]}" for name in REPORTED if name in self.versions
        )
        if not self.ok:
            versions = f"FAILED with {versions}"
        passed = str(self.counts["passed"])
        return [self.python, self.name, passed, str(failed), f"{minutes}:{seconds:02}", versions]


def find_pythons(minors: Sequence[str]) -> dict[str, str]:
    """Return the path of the newest installed Python of every supported minor version.

    They are searched on PATH and in pyenv's folder. Keys are full versions.
    """
    pyenv = [str(folder) for folder in Path.home().glob(".pyenv/versions/*/bin")]
    environ = {**os.environ, "PATH": os.pathsep.join([*pyenv, os.environ["PATH"]])}
    command = [UV, "python", "list", "--only-installed", "--output-format", "json"]
    listing = subprocess.run(
        [*command, PROJECT["requires-python"]], env=environ, capture_output=True, check=True
    )
    found: dict[str, dict[str, str]] = {}
    for python in json.loads(listing.stdout):  # the newest version comes first
        if python["variant"] == "default" and python["implementation"] == "cpython":
            found.setdefault(python["version"].rpartition(".")[0], python)
    missing = sorted(set(minors) - set(found))
    if missing:
        raise SystemExit(
            f"Python {', '.join(missing)} is not installed. Available: {', '.join(sorted(found))}."
        )
    return {
        python["version"]: python["path"]
        for minor, python in reversed(found.items())
        if not minors or minor in minors
    }


def run_set(version: str, python: str, name: str, folder: Path, tests: Sequence[str]) -> Outcome:
    """Create an environment, install a set and run the tests."""
    chosen = SETS[name]
    home = folder / f"{version}-{name}"
    log = folder / f"{version}-{name}.log"
    install: list[str | Path] = [UV, "pip", "install", "-q", "--python", home]
    install += ["--resolution", chosen.resolution, "--only-binary=:all:"]
    install += [f"--no-binary={package}" for package in BUILT]
    pytest = [home / "bin" / "python", "-m", "pytest", *PYTEST, *chosen.pytest_args]
    steps: list[list[str | Path]] = [
        [UV, "venv", "-q", "--python", python, home],
        [*install, *chosen.requirements],
        [*pytest, *(tests or chosen.tests)],
    ]
    started_at = time.monotonic()
    environ = {**os.environ, "MJCI_NO_SKIP": "1"}
    with log.open("w") as out:
        ok = all(
            subprocess.run(step, cwd=ROOT, env=environ, stdout=out, stderr=out).returncode == 0
            for step in steps
        )
    lines = log.read_text(errors="replace").splitlines()
    shown = lines[-1:] if ok else lines[-40:]
    print("\n".join([f"== Python {version}, {name}: {chosen.description}", *shown]), flush=True)
    seconds = time.monotonic() - started_at
    versions = dict(_iter_versions(home))
    return Outcome(version, name, _parse_counts(lines), seconds, versions, ok)


def _parse_counts(lines: Sequence[str]) -> Counter[str]:
    """Return the counts of pytest's last line: "3 passed, 1 failed in 2.1s"."""
    summary = lines[-1] if lines else ""
    return Counter({word: int(number) for number, word in re.findall(r"(\d+) (\w+)", summary)})


def _iter_versions(home: Path) -> Iterator[tuple[str, str]]:
    command = [UV, "pip", "list", "--format=json", "--python", home]
    listing = subprocess.run(command, capture_output=True)
    for package in json.loads(listing.stdout or "[]"):
        yield package["name"], package["version"]


def format_table(outcomes: Sequence[Outcome]) -> str:
    rows = [["python", "set", "passed", "failed", "time", "with"]]
    rows += [outcome.row for outcome in outcomes]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def main() -> int:
    description = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=description)
    parser.add_argument(
        "--python", nargs="+", default=[], metavar="3.N", help="only these versions"
    )
    parser.add_argument("--set", nargs="+", default=[*SETS], choices=SETS, help="only these sets")
    parser.add_argument("--keep", type=Path, help="keep environments and logs in this folder")
    parser.add_argument("tests", nargs="*", metavar="TEST", help="only these files and folders")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.keep or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        outcomes = [
            run_set(version, python, name, folder, args.tests)
            for version, python in find_pythons(args.python).items()
            for name in args.set
        ]
    print(format_table(outcomes))
    return 0 if outcomes and all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
