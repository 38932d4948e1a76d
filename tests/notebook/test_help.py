"""The help of `%name?` and `--help`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from jupyter_mjci.notebook.extension import MAGIC_NAMES
from jupyter_mjci.notebook.help import EXAMPLES, WIDTH
from tests.notebook.conftest import Shell

ALL = " ".join(MAGIC_NAMES.values()).split()


@pytest.mark.parametrize("name", ALL)
def test_help_fits_the_width_and_names_the_result(shell: Shell, name: str) -> None:
    """Only magics that return a job have `--no-wait`."""
    doc = shell.ip.magics_manager.magics["line"][name].__doc__
    assert doc.startswith(f"%{name}")
    assert max(map(len, doc.splitlines())) <= WIDTH
    assert ("--no-wait" in doc) == ("Returns the finished job" in " ".join(doc.split()))
    shell.run(f"%{name} --help")
    assert shell.texts == [doc]


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_build_a_request(
    shell: Shell, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("fox.png", "owl.png"):
        Image.new("RGB", (8, 8)).save(file)
    shell.run("%mj_imagine a red fox")
    first, *body = EXAMPLES[name].splitlines()
    shell.run("\n".join([first if name == "mjci" else f"{first} --dry-run", *body]))
    assert name == "mjci" or re.match(r"(GET|POST|PUT) http", shell.texts[0])


def test_mjci_without_command_lists_commands(shell: Shell) -> None:
    """The options of `connect` contain no secret."""
    shell.run("%mjci")
    assert "status" in shell.texts[0]
    assert re.search(r"gallery +Show the pictures", shell.texts[0])
    shell.run("%mjci connect --help")
    assert shell.texts[0].startswith("%mjci connect [PROFILE]\n")
    assert "--mj-url" in shell.texts[0]
    assert not re.search("--mj-secret|--ci-secret-key|--ci-token", shell.texts[0])


def test_magic_parameters_have_their_own_help(shell: Shell) -> None:
    doc = shell.ip.magics_manager.magics["line"]["mj_action"].__doc__
    assert re.search(r"BUTTON +its label \(U2", doc)
    assert "a variable that holds it" in doc
