"""The test matrix deselects only tests that exist, and installs what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import matrix

ROOT = Path(__file__).parent.parent


def test_deselected_tests_exist() -> None:
    """A renamed test would be run where it cannot pass."""
    notebooks = (ROOT / "tests" / "kernel" / "test_notebooks.py").read_text("utf-8")
    assert [name for name in matrix.OUTPUT_TESTS if f"def test_{name}(" not in notebooks] == []
    for name in matrix.NEED_EXTRAS:
        path, _, test = name.partition("::")
        assert (ROOT / path).is_dir() or f"def {test}" in (ROOT / path).read_text("utf-8")


def test_every_dependency_has_a_lower_bound() -> None:
    """Without one the oldest set would install any version."""
    requirements = list(matrix.PROJECT["dependencies"])
    for extra in matrix.PROJECT["optional-dependencies"].values():
        requirements += extra
    own = (matrix.PROJECT["name"], "types-")
    unbound = [
        requirement
        for requirement in requirements
        if ">=" not in requirement and not requirement.startswith(own)
    ]
    assert unbound == []


def test_core_set_installs_test_tools_and_no_extra() -> None:
    requirements = matrix.SETS["core"].requirements
    assert requirements[:2] == ["-e", "."]
    assert [re.split(r"\W*>=", tool)[0] for tool in requirements[2:]] == [
        "hypothesis",
        "ipykernel",
        "jupyter-client",
        "nbval",
        "pytest",
        "pytest-xdist",
    ]


def test_missing_python_is_an_error_that_lists_the_available() -> None:
    with pytest.raises(SystemExit, match=r"Python 2\.7 is not installed\. Available: .*3\.\d+"):
        matrix.find_pythons(["2.7"])
