"""The suite, without browsers, on every Python of this machine and with the oldest and newest
libraries we allow:

    python -m tests.matrix [--python 3.11 ...] [--set oldest ...] [--keep FOLDER]

Each pair gets a new environment, and a line in the table that is printed at the end. What a set
installs is read from `pyproject.toml`: its lower bounds are the oldest set. The status is 1 if
anything failed.
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
TOLD = ("ipython", "ipykernel", "pandas", "ipywidgets", "httpx", "anyio", "pillow", "pyarrow")
# of the extra `test`, in the core set
TOOLS = r"(hypothesis|ipykernel|jupyter-client|nbval|pytest|pytest-xdist)\b"
# Whatever has a wheel is never built: a lower bound means the oldest wheel for that Python. These
# have none.
BUILT = ("cos-python-sdk-v5", "crcmod")
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

# The notebooks' committed outputs are the newest libraries': pandas 2 writes times, and matplotlib
# pictures, otherwise. With older ones every cell has to run; what it says is compared by the newest
# set.
COMPARED = (
    "executed_again_it_is_the_same_file",
    "nbconvert_executes_what_is_committed",
    "nbval_finds_the_same_again_without_network",
)
ONLY_RUN = (
    "--nbval-lax",
    *(f"--deselect=tests/kernel/test_notebooks.py::test_{one}" for one in COMPARED),
)
# Oldest libraries on the newest ones that those need: what they call was renamed since.
OTHERS_OLD_WORDS = (
    "-Wignore:Deprecated in traitlets 4.1:DeprecationWarning",  # ipywidgets before 8.1.5
    "-Wignore::pyparsing.warnings.PyparsingDeprecationWarning",  # matplotlib before 3.10.7
)
# What a core install cannot do: `tests/test_extras.py` holds it to saying so.
NEED_EXTRAS = (
    "tests/browser",
    "tests/cli/test_commands.py::test_a_failing_notebook_is_told",
    "tests/cli/test_commands.py::test_parquet_keeps_every_column_and_its_type",
    "tests/cli/test_commands.py::test_the_demo_opens_a_copy",
    "tests/cli/test_watch.py",
    "tests/services/tencent_ci/test_signing.py::test_equals_the_official_sdk_for_any_path_and_parameters",
    "tests/services/tencent_ci/test_signing.py::test_presigned_equals_the_official_sdk",
    "tests/client/test_settings.py",
    "tests/client/test_transport.py::test_the_fast_way_is_found_by_itself",
    "tests/history/test_analysis.py",
    "tests/history/test_delta.py",
    "tests/kernel/test_notebooks.py",
    "tests/notebook/test_magics.py::test_status_and_doctor_tell_what_is_there",
    "tests/notebook/test_magics.py::test_the_doctor_knows_front_ends",
    "tests/notebook/panels/test_panels.py",
    "tests/notebook/panels/test_history.py",
    "tests/notebook/panels/test_tencent_ci.py",
    "tests/emulator/test_official_sdk.py",
    "tests/test_matrix.py",
    "tests/test_pre_commit.py",
    "tests/test_readme.py",
)
LEAN = (
    "-k",
    "not aiohttp",
    *(f"--{'deselect' if '::' in one else 'ignore'}={one}" for one in NEED_EXTRAS),
)


@dataclass(frozen=True)
class Set:
    """Libraries to test with: how their versions are chosen, what is asked for besides, what pytest
    is told.
    """

    what: str
    resolution: str = "highest"
    held: tuple[str, ...] = ()
    core: bool = False
    told: tuple[str, ...] = ()

    @property
    def wanted(self) -> list[str]:
        tools = [one for one in PROJECT["optional-dependencies"]["test"] if re.match(TOOLS, one)]
        return ["-e", "." if self.core else ".[test]", *self.held, *(tools if self.core else ())]


SETS = {
    "oldest": Set(
        "every lower bound of pyproject.toml", "lowest-direct", told=(*ONLY_RUN, *OTHERS_OLD_WORDS)
    ),
    "before": Set(
        "the last major versions before these",
        held=("ipykernel<7", "ipython<9", "pandas<3"),
        told=ONLY_RUN,
    ),
    "newest": Set("the latest releases"),
    "core": Set("the latest, without any extra", core=True, told=("tests", *LEAN)),
}


@dataclass(frozen=True)
class Outcome:
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
            f"{name} {self.versions[name]}" for name in TOLD if name in self.versions
        )
        said = [str(self.counts["passed"]), str(failed), f"{minutes}:{seconds:02}"]
        return [self.python, self.name, *said, versions if self.ok else f"FAILED with {versions}"]


def pythons(wanted: Sequence[str]) -> dict[str, str]:
    """The newest of every minor version that we support, on PATH or in pyenv's folder, by version:
    its path.
    """
    kept = [str(folder) for folder in Path.home().glob(".pyenv/versions/*/bin")]
    environ = {**os.environ, "PATH": os.pathsep.join([*kept, os.environ["PATH"]])}
    command = [
        UV,
        "python",
        "list",
        "--only-installed",
        "--output-format",
        "json",
        PROJECT["requires-python"],
    ]
    listed = json.loads(
        subprocess.run(command, env=environ, capture_output=True, check=True).stdout
    )
    found: dict[str, dict[str, str]] = {}
    for one in listed:  # the newest version first
        if one["variant"] == "default" and one["implementation"] == "cpython":
            found.setdefault(one["version"].rpartition(".")[0], one)
    if lacking := set(wanted) - set(found):
        raise SystemExit(
            f"There is no Python {', '.join(sorted(lacking))} here, only {', '.join(sorted(found))}."
        )
    return {
        one["version"]: one["path"]
        for minor, one in reversed(found.items())
        if not wanted or minor in wanted
    }


def tried(version: str, python: str, name: str, folder: Path) -> Outcome:
    """One pair: an environment, an installation, a run of the tests."""
    chosen, home, log = SETS[name], folder / f"{version}-{name}", folder / f"{version}-{name}.log"
    built = [f"--no-binary={one}" for one in BUILT]
    steps: list[list[str | Path]] = [
        [UV, "venv", "-q", "--python", python, home],
        [
            UV,
            "pip",
            "install",
            "-q",
            "--python",
            home,
            "--resolution",
            chosen.resolution,
            "--only-binary=:all:",
            *built,
            *chosen.wanted,
        ],
        [home / "bin" / "python", "-m", "pytest", *PYTEST, *chosen.told],
    ]
    began, environ = time.monotonic(), {**os.environ, "MJCI_NO_SKIP": "1"}
    with log.open("w") as out:
        ok = all(
            subprocess.run(step, cwd=ROOT, env=environ, stdout=out, stderr=out).returncode == 0
            for step in steps
        )
    last = log.read_text(errors="replace").splitlines()[-40:]
    print(
        "\n".join([f"== Python {version}, {name}: {chosen.what}", *(last[-1:] if ok else last)]),
        flush=True,
    )
    counts = Counter(
        {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", last[-1] if last else "")}
    )
    return Outcome(version, name, counts, time.monotonic() - began, dict(_versions(home)), ok)


def _versions(home: Path) -> Iterator[tuple[str, str]]:
    listed = subprocess.run(
        [UV, "pip", "list", "--format=json", "--python", home], capture_output=True
    )
    yield from ((one["name"], one["version"]) for one in json.loads(listed.stdout or "[]"))


def table(outcomes: Sequence[Outcome]) -> str:
    rows = [
        ["python", "set", "passed", "failed", "time", "with"],
        *(outcome.row for outcome in outcomes),
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.matrix", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--python", nargs="+", default=[], metavar="3.N", help="these only, not all that are found"
    )
    parser.add_argument(
        "--set", nargs="+", default=[*SETS], choices=SETS, help="these only, not all sets"
    )
    parser.add_argument(
        "--keep", type=Path, help="where environments and logs stay for a closer look"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        folder = (given.keep or Path(passing)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        outcomes = [
            tried(version, python, name, folder)
            for version, python in pythons(given.python).items()
            for name in given.set
        ]
    print(table(outcomes))
    return int(not outcomes or not all(outcome.ok for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
