"""Completion of the magics' lines and bodies, from local knowledge."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import pytest
from IPython.core.completer import provisionalcompleter

from jupyter_mjci.history.submissions import Lease, record
from jupyter_mjci.notebook.completion import complete_line, find_candidates
from jupyter_mjci.notebook.extension import _EXTENSIONS
from jupyter_mjci.session import Session
from tests.notebook.conftest import Shell

# (line, fragment, the first completions)
LINES: tuple[tuple[str, str, list[str]], ...] = (
    ("%mj_imagine a fox --", "--", ["--ar", "--aspect", "--v", "--version"]),
    ("%mj_imagine a fox --as", "--as", ["--aspect", "--as-is"]),
    ("%mj_imagine a fox --ar 3:2 --as", "--as", ["--as-is"]),
    ("%mj_imagine a fox --no wolves --no", "--no", ["--no", "--notify-hook"]),
    ("%mj_imagine a fox --ar 3", "3", ["3:2", "3:4"]),
    ("%mj_imagine a fox --niji ", "", ["7", "6", "5"]),
    ("%mj_video it runs --motion ", "", ["low", "high"]),
    ("%mj_imagine {{a}} --each ", "", ["rows"]),
    ("%mj_task 1 --session ", "", ["s"]),
    ("%mjci use ", "", ["s"]),
    ("%mj_action ", "", ["fox"]),
    ("%mj_action fox Upscale", "Upscale", []),
    ("%mj_action fox V", "V", ["V1", "V2", "V3", "V4"]),
    ("%ci_jobs --states Success,F", "F", ["Failed"]),
    ("%ci_jobs --tag P", "P", ["PicProcess"]),
    ("%ci_get_object input/d", "input/d", ["input/deer.jpg"]),
    ("%ci_processed input/deer.jpg --rule imageMogr2/thu", "thu", ["thumbnail"]),
    ("%ci_processed k --rule imageMogr2/rotate/90|w", "w", ["watermark/"]),
    ("%ci_processed k --rule watermark/2/gravity/southe", "southe", ["southeast"]),
)
# (cell up to the cursor, fragment, the first completions)
BODIES: tuple[tuple[str, str, list[str]], ...] = (
    ("%%ci_job\n", "", ["name = "]),
    ("%%ci_job -o x\nru", "ru", ["rule = "]),
    ('%%ci_job\ninput = "input/li', "input/li", ["input/lighthouse.png"]),
    ('%%ci_job\nrule = "imageMogr2/ro', "ro", ["rotate"]),
    ('%%ci_job\ncallback_format = "', "", ["JSON", "XML"]),
    ("%%mj_imagine\na fox --sty", "--sty", ["--stylize", "--style"]),
    ("%%mj_imagine\na fox --style r", "r", ["raw"]),
    ("%%mj_imagine\na fo", "", []),
    ("%%bash\nls --", "", []),
)


@pytest.fixture
def filled_shell(shell: Shell, session: Session) -> Shell:
    shell.run("%mj_imagine a red fox in the snow -o fox")
    shell.run("_ = %ci_objects")
    shell.ip.push({"rows": [{"a": 1}]})
    session.client.transport.send = None  # type: ignore[assignment, method-assign]
    return shell


@pytest.mark.parametrize(("line", "fragment", "first"), LINES, ids=[row[0] for row in LINES])
def test_line_is_completed_without_a_request(
    filled_shell: Shell, line: str, fragment: str, first: list[str]
) -> None:
    magics = _EXTENSIONS[filled_shell.ip].magics
    found = complete_line(magics, line, 0, line)
    assert (found[0], found[1][: len(first)]) == (fragment, first)


@pytest.mark.parametrize(("cell", "fragment", "first"), BODIES, ids=[row[0] for row in BODIES])
def test_body_is_completed_without_a_request(
    filled_shell: Shell, cell: str, fragment: str, first: list[str]
) -> None:
    magics = _EXTENSIONS[filled_shell.ip].magics
    found = complete_line(magics, cell, 1, cell.partition("\n")[2])
    assert (found[0], found[1][: len(first)]) == (fragment, first)


def test_ids_are_offered_with_their_prompts(filled_shell: Shell) -> None:
    """Behind the variables that hold a job, which say the same."""
    magics = _EXTENSIONS[filled_shell.ip].magics
    _, candidates = find_candidates(magics, "%mj_task ", 0, "%mj_task ")
    descriptions = {candidate.description for candidate in candidates}
    assert descriptions == {"IMAGINE: a red fox in the snow"}
    assert [candidate.text == "fox" for candidate in candidates] == [True, False]


def test_shell_completer_offers_flags_of_midjourney(filled_shell: Shell) -> None:
    line = "%mj_imagine a fox --chao"
    with provisionalcompleter():
        found = list(filled_shell.ip.Completer.completions(line, len(line)))
    assert [(completion.text, completion.start) for completion in found] == [("--chaos", 18)]


# (cell, what the error says)
UNKNOWN_MAGICS: tuple[tuple[str, str], ...] = (
    ("%mj_imagin a fox", "There is no magic %mj_imagin.\n→ Did you mean mj_imagine?"),
    ("%%mj_imagin\na fox", "Did you mean mj_imagine?"),
    ("%ci_jbos", "Did you mean ci_jobs?"),
    ("%mjc status", "Did you mean mjci?"),
    ("%mj_upscale 1", "There is no magic %mj_upscale."),
    ("%%mj_task\nx", "line magic `%mj_task` exists"),
    ("%foo", "`%foo` not found"),
)


@pytest.mark.parametrize(("cell", "message"), UNKNOWN_MAGICS)
def test_unknown_magic_hears_what_is_near(shell: Shell, cell: str, message: str) -> None:
    """Others are IPython's; without the extension all are."""
    assert message in shell.fails(cell)
    shell.run("%unload_ext jupyter_mjci")
    assert "not found" in shell.fails(cell)


def test_completion_of_files_is_left_to_the_shell(
    filled_shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fox.png").touch()
    monkeypatch.chdir(tmp_path)
    line = "%mj_describe fo"
    with provisionalcompleter():
        found = [item.text for item in filled_shell.ip.Completer.completions(line, len(line))]
    assert any(re.search("fox.png", text) for text in found)


def test_resume_forget_completes_ids_of_unknown_submissions(shell: Shell, session: Session) -> None:
    """Several are divided by commas; what is settled is not offered."""
    shell.run("%mj_imagine a red fox")
    write = partial(
        record,
        call=session.mj.imagine("a hare"),
        lease=Lease("mjci-7", "worker"),
        times=(0.0, 1.0),
        origin="",
        has_marker=True,
    )
    session.journal.write(write)
    magics = _EXTENSIONS[shell.ip].magics
    for line in ("%mjci resume --forget ", "%mjci resume --forget mjci-1,mj"):
        fragment, found = complete_line(magics, line, 0, line)
        assert found == ["mjci-7"]
    assert fragment == "mj"
