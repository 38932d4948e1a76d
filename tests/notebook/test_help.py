"""The help of `%name?` and `--help`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from jupyter_mjci.client import event_loop
from jupyter_mjci.notebook.commands import list_commands
from jupyter_mjci.notebook.extension import MAGIC_NAMES
from jupyter_mjci.notebook.help import WIDTH, build_command_help, list_examples
from jupyter_mjci.notebook.magics import Magics
from jupyter_mjci.session import Session
from tests.notebook.conftest import Shell

EXAMPLES = list_examples()
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


# What stands for each word of a synopsis.
WORDS = {
    "PROMPT": "a red fox --ar 3:2",
    "TASK": "job",
    "TASK_ID": "job",
    "BUTTON": "U1",
    "ACTION": "UPSCALE",
    "CONTENT": "{{job}} U2",
    "PICTURE": "fox.png",
    "PICTURES": "fox.png,owl.png",
    "SOURCE": "fox.png",
    "TARGET": "owl.png",
    "PATH": "fox.png",
    "JOB_ID": "ci",
    "KEY": "input/deer.jpg",
    "NAME": "notes",
    "RULE": "imageMogr2/rotate/90",
    "NAME=VALUE,…": "small=imageMogr2/thumbnail/50x",
    "INPUT": "input/deer.jpg",
    "OUTPUT": "output/deer.jpg",
    "OBJECT": "input/deer.jpg",
    "PREFIX": "input/",
    "TEMPLATE_ID": "t1",
    "WORKFLOW_ID": "w1",
    "QUEUE_ID": "p1",
    "RUN_ID": "i1",
    "WORKFLOW_IDS": "w1",
    "A,B,…": "w1",
    "PROFILE": "default",
    "SINCE": "2026-01-31",
    "UNTIL": "2026-02-01",
    "LOAD": "exported.json",
    "FOLDER": "a.mjci",
    "TEXT": "fox",
}
OTHER_WORDS = {"%ci_put_object": {"CONTENT": "fox.png"}}
CELL_BODIES = {"ci_job": EXAMPLES["ci_job"].partition("\n")[2]}


def fill_in(synopsis: str) -> str:
    """Return a synopsis with values instead of its words, and without what is optional."""
    line = synopsis.partition("     ")[0].replace(" [options]", "")
    words = [word for word in line.split() if not word.startswith("[")]
    values = {**WORDS, **OTHER_WORDS.get(words[0], {})}
    return " ".join(values.get(word, word.partition("|")[0]) for word in words)


def list_synopses() -> list[str]:
    docs = [magic.help for magic in Magics(None).iter_magics()]
    docs += [build_command_help(command) for command in list_commands()]
    return [line for doc in docs for line in doc.partition("\n\n")[0].splitlines()]


@pytest.mark.parametrize("synopsis", list_synopses())
def test_synopsis_works_as_printed(
    shell: Shell, session: Session, synopsis: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It builds a request (or runs, as a command), with a value for each of its words."""
    monkeypatch.chdir(tmp_path)
    # It would patch asyncio for all later tests; a kernel's test has it.
    monkeypatch.setattr(event_loop, "enable_nested_loops", lambda **_: "nest_asyncio")
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "notes.ipynb"))
    for file in ("fox.png", "owl.png"):
        Image.new("RGB", (8, 8)).save(file)
    shell.run("job = %mj_imagine a red fox")
    shell.run("%%ci_job -o ci\n" + CELL_BODIES["ci_job"])
    shell.ip.push({"notes": session})
    line = fill_in(synopsis)
    if line == "%mjci COMMAND":
        return
    if line.startswith("%mjci"):
        shell.run(line)
        return
    line += " --dry-run"
    if line.startswith("%%"):
        line += "\n" + CELL_BODIES.get(line[2:].split()[0], WORDS["PROMPT"])
    shell.run(line)
    assert re.match(r"(GET|POST|PUT|DELETE) http", shell.texts[0])
