"""Folders given as `--data` that are damaged, of another version, or somebody else's."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jupyter_mjci.emulator.__main__ import main
from jupyter_mjci.emulator.app import Sandbox
from jupyter_mjci.emulator.storage import StateError


def write_state(folder: Path, text: str) -> None:
    (folder / "sandbox.json").write_text(text)


def save_and_change(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    with Sandbox(data=folder, ci_options={"objects": {"a": b"x"}}):
        pass
    state = json.loads((folder / "sandbox.json").read_text())
    change(state)
    write_state(folder, json.dumps(state))


def remove_blobs(folder: Path) -> None:
    save_and_change(folder, lambda _: None)
    for blob in (folder / "blobs").iterdir():
        blob.unlink()


def keep_photographs(folder: Path) -> None:
    (folder / "blobs").mkdir()
    (folder / "blobs" / "holiday.jpg").write_bytes(b"precious")


FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut short": (lambda folder: write_state(folder, '{"version": 1, "now"'), "backup"),
    "empty file": (lambda folder: write_state(folder, ""), "backup"),
    "no text": (lambda folder: (folder / "sandbox.json").write_bytes(b"\xff\xfe\x00"), "backup"),
    "a list": (lambda folder: write_state(folder, "[]"), "backup"),
    "no blobs": (remove_blobs, "backup"),
    "no time": (lambda folder: save_and_change(folder, lambda s: s.update(now="soon")), "backup"),
    "no buckets": (lambda folder: save_and_change(folder, lambda s: s.update(ci={})), "backup"),
    "odd jobs": (lambda folder: save_and_change(folder, lambda s: s.update(mj=[])), "backup"),
    "newer": (lambda folder: save_and_change(folder, lambda s: s.update(version=7)), "version"),
    "a home": (lambda folder: (folder / "thesis.tex").write_text("x"), "empty folder"),
    "photographs": (keep_photographs, "empty folder"),
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_unusable_folder_is_refused_with_what_to_do(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From Python and at the command line; nothing in it changes."""
    make, words = FOLDERS[kind]
    make(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(StateError, match=words):
        Sandbox(data=tmp_path)
    with pytest.raises(SystemExit):
        main(["--data", str(tmp_path)])
    assert words in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


def test_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StateError, match="is a file"):
        Sandbox(data=tmp_path / "file")


def test_first_save_that_was_cut_short_leaves_a_usable_folder(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / ("0" * 64)).write_bytes(b"x")
    (tmp_path / ".sandbox.json.17").write_text("{")
    with Sandbox(data=tmp_path):
        pass
    assert (tmp_path / "sandbox.json").exists()


def test_option_of_no_service_is_refused() -> None:
    with pytest.raises(TypeError, match="No emulated service takes mj_secrets"):
        Sandbox(mj_secrets="typo")
