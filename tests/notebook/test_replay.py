"""`%mjci replay`: the same cells recorded and played back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from jupyter_mjci import panel
from jupyter_mjci.connection import replay
from jupyter_mjci.session import Session
from tests.notebook.conftest import Shell

CELLS = (
    "%mj_imagine a red fox in the snow -o grid",
    "%mj_action grid U1",
    '%%ci_job\ninput = "input/deer.jpg"\nrule = "imageMogr2/thumbnail/90x"\n'
    'output = "out/deer.jpg"',
    "%mj_tasks",
    "%ci_jobs",
)


def run_cells(shell: Shell, *before: str) -> list[Any]:
    """Return the outputs and the value of each cell."""
    for cell in before:
        shell.run(cell)
    outputs = []
    for cell in CELLS:
        value = shell.run(cell)
        outputs.append((shell.outputs, value.to_string() if hasattr(value, "to_string") else value))
    return outputs


def test_replayed_cells_save_the_recorded_outputs(
    shell: Shell, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same line records the first time and plays back afterwards, without requests."""
    monkeypatch.chdir(tmp_path)
    first = run_cells(shell, "%mjci replay --folder fox.mjci -o r")
    files = sorted(path.read_bytes() for path in Path("fox.mjci").rglob("*.json"))
    before = len(session.mj.tasks().run())
    assert run_cells(shell, "%mjci replay --folder fox.mjci -o r") == first
    assert len(session.mj.tasks().run()) == before
    assert sorted(path.read_bytes() for path in Path("fox.mjci").rglob("*.json")) == files
    assert len(first[0][0]) == 2


def test_replay_off_restores_the_session(shell: Shell, session: Session, tmp_path: Path) -> None:
    folder = tmp_path / "a.mjci"
    for mode in ("record", "play", "record", "play"):
        shown = shell.run(f"%mjci replay {mode} {folder}")
        assert repr(shown) == "<jupyter_mjci session: a.mjci>"
    assert shell.run("%mjci replay off") is session


def test_unrecorded_request_fails_with_nearest_match(shell: Shell, tmp_path: Path) -> None:
    shell.run(f"%mjci replay record {tmp_path / 'a.mjci'}")
    shell.run("%mj_imagine a red fox")
    shell.run(f"%mjci replay play {tmp_path / 'a.mjci'}")
    message = shell.fails("%mj_imagine a red box")
    assert message.startswith("The recording has no response to POST")
    assert re.search(r"Nearest is 0001-POST-mj-submit-imagine\.json .*another body", message)
    assert len(message.splitlines()) == 3


def test_recording_is_named_after_the_vscode_notebook(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shell.ip.push({"__vsc_ipynb_file__": "/home/me/foxes.ipynb"})
    assert repr(shell.run("%mjci replay")) == "<jupyter_mjci session: foxes.mjci>"
    assert (tmp_path / "foxes.mjci").is_dir()


def test_replayed_panels_save_the_recorded_html(session: Session, tmp_path: Path) -> None:

    def records(panel_session: Session) -> list[str]:
        mj_panel, ci_panel = (panel(kind, session=panel_session) for kind in ("mj", "ci"))
        mj_panel.prompt.value = "a red fox"
        mj_panel.submit_button.click()
        mj_panel.wait()
        ci_panel.input.value, ci_panel.rule.value = "input/deer.jpg", "imageMogr2/rotate/90"
        ci_panel.submit_button.click()
        ci_panel.wait()
        history_panel, status_panel = (
            panel(kind, session=panel_session) for kind in ("history", "status")
        )  # they show what there is by now
        for shown in (history_panel, status_panel):
            shown.wait()
        html = [
            shown._repr_mimebundle_()["text/html"]
            for shown in (mj_panel, ci_panel, history_panel, status_panel)
        ]
        for shown in (mj_panel, ci_panel, history_panel, status_panel):
            shown.close()
        return html

    html = records(session.record_to(tmp_path / "a.mjci"))
    assert all("a.mjci" in panel_session for panel_session in html)
    assert "data:image/" in html[0]
    with replay(tmp_path / "a.mjci") as played:
        assert records(played) == html
