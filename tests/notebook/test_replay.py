"""`%mjci replay`: the same cells against a service, recorded, and from the recording."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from jupyter_mjci import panel
from jupyter_mjci.session import Session, replay
from tests.notebook.conftest import Shell

CELLS = (
    "%mj_imagine a red fox in the snow -o grid",
    "%mj_action grid U1",
    '%%ci_job\ninput = "input/deer.jpg"\nrule = "imageMogr2/thumbnail/90x"\noutput = "out/deer.jpg"',
    "%mj_tasks",
    "%ci_jobs",
)


def saved(shell: Shell, *before: str) -> list[Any]:
    """What each of the cells puts out, and its value."""
    for cell in before:
        shell.run(cell)
    outputs = []
    for cell in CELLS:
        value = shell.run(cell)
        outputs.append((shell.outputs, value.to_string() if hasattr(value, "to_string") else value))
    return outputs


def test_a_notebook_saves_the_same_from_its_recording(
    shell: Shell, session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line stays as it is: the first time it records, from then on it plays back; nothing new
    is asked for.
    """
    monkeypatch.chdir(tmp_path)
    first = saved(shell, "%mjci replay --folder fox.mjci -o r")
    files = sorted(path.read_bytes() for path in Path("fox.mjci").rglob("*.json"))
    before = len(session.mj.tasks().run())
    assert saved(shell, "%mjci replay --folder fox.mjci -o r") == first
    assert len(session.mj.tasks().run()) == before
    assert sorted(path.read_bytes() for path in Path("fox.mjci").rglob("*.json")) == files
    assert len(first[0][0]) == 2


def test_off_goes_back(shell: Shell, session: Session, tmp_path: Path) -> None:
    """To the session that was there before, whatever was recorded or played in between."""
    folder = tmp_path / "a.mjci"
    for mode in ("record", "play", "record", "play"):
        shown = shell.run(f"%mjci replay {mode} {folder}")
        assert repr(shown) == "<jupyter_mjci session: a.mjci>"
    assert shell.run("%mjci replay off") is session


def test_what_is_not_recorded_is_said_in_the_cell(shell: Shell, tmp_path: Path) -> None:
    shell.run(f"%mjci replay record {tmp_path / 'a.mjci'}")
    shell.run("%mj_imagine a red fox")
    shell.run(f"%mjci replay play {tmp_path / 'a.mjci'}")
    said = shell.fails("%mj_imagine a red box")
    assert said.startswith("The recording has no response to POST")
    assert re.search(r"Nearest is 0001-POST-mj-submit-imagine\.json .*another body", said)
    assert len(said.splitlines()) == 3


def test_visual_studio_tells_the_name_its_own_way(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shell.ip.push({"__vsc_ipynb_file__": "/home/me/foxes.ipynb"})
    assert repr(shell.run("%mjci replay")) == "<jupyter_mjci session: foxes.mjci>"
    assert (tmp_path / "foxes.mjci").is_dir()


def test_panels_save_the_same_from_a_recording(session: Session, tmp_path: Path) -> None:
    """What stands in the notebook for those who have no kernel: cards, pictures, rows, and the
    recording's name.
    """

    def records(one: Session) -> list[str]:
        drawn, made = (panel(kind, session=one) for kind in ("mj", "ci"))
        drawn.prompt.value = "a red fox"
        drawn.submit_button.click()
        drawn.wait()
        made.input.value, made.rule.value = "input/deer.jpg", "imageMogr2/rotate/90"
        made.submit_button.click()
        made.wait()
        seen, now = (
            panel(kind, session=one) for kind in ("history", "status")
        )  # they show what there is by now
        for shown in (seen, now):
            shown.wait()
        told = [shown._repr_mimebundle_()["text/html"] for shown in (drawn, made, seen, now)]
        for shown in (drawn, made, seen, now):
            shown.close()
        return told

    told = records(session.record_to(tmp_path / "a.mjci"))
    assert all("a.mjci" in one for one in told)
    assert "data:image/" in told[0]
    with replay(tmp_path / "a.mjci") as played:
        assert records(played) == told
