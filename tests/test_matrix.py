"""The matrix of Pythons and libraries leaves out what it names, and nothing that is not there any
more.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests import matrix

ROOT = Path(__file__).parent.parent


def test_what_is_left_out_is_there() -> None:
    """A test or a file that has another name now would be run all the same, or nobody would know
    why it is listed.
    """
    notebooks = (ROOT / "tests" / "kernel" / "test_notebooks.py").read_text("utf-8")
    assert [name for name in matrix.COMPARED if f"def test_{name}(" not in notebooks] == []
    for name in matrix.NEED_EXTRAS:
        path, _, test = name.partition("::")
        assert (ROOT / path).is_dir() or f"def {test}" in (ROOT / path).read_text("utf-8")


def test_the_oldest_set_has_a_lower_bound_for_everything() -> None:
    """Without one it would be tested with whatever came first, or with the newest."""
    extras = matrix.PROJECT["optional-dependencies"].values()
    needed = [one for some in (matrix.PROJECT["dependencies"], *extras) for one in some]
    unbound = [
        one for one in needed if ">=" not in one and not one.startswith(matrix.PROJECT["name"])
    ]
    assert [one for one in unbound if not re.match("types-", one)] == []


def test_a_core_install_gets_test_tools_and_no_extra() -> None:
    wanted = matrix.SETS["core"].wanted
    assert wanted[:2] == ["-e", "."]
    assert [re.split(r"\W*>=", tool)[0] for tool in wanted[2:]] == [
        "hypothesis",
        "ipykernel",
        "jupyter-client",
        "nbval",
        "pytest",
        "pytest-xdist",
    ]


def test_a_python_that_is_not_here_is_told() -> None:
    """And those that are."""
    with pytest.raises(SystemExit, match=r"There is no Python 2\.7 here, only .*3\.\d+"):
        matrix.pythons(["2.7"])
