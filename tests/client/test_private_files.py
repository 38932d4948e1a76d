"""What is written belongs to its owner alone, whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

import jupyter_mjci as mjci
from jupyter_mjci.client.private_files import write_atomically


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def get_mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_journal_pictures_and_recording_are_private(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    with mjci.sandbox(home=home) as session:
        session.follow(session.mj.imagine("a fox")).run()
        with session.record_to(tmp_path / "new" / "demo.mjci") as recorded:
            recorded.picture(recorded.follow(recorded.mj.imagine("a fox")).run()).run()
        paths = [tmp_path / "new", *(tmp_path / "new").rglob("*")]
        folders = [path for path in paths if path.is_dir()]
        files = [path for path in paths if path.is_file()]
        assert {get_mode(folder) for folder in folders} == {0o700}
        assert {get_mode(file) for file in files} == {0o600}
        assert {file.suffix for file in files} >= {".db", ".json", ".png"}


def test_journal_that_others_could_read_is_tightened(tmp_path: Path) -> None:
    (tmp_path / "journal.db").touch(0o666)
    with mjci.sandbox(home=tmp_path) as session:
        session.mj.imagine("a fox").run()
    assert get_mode(tmp_path / "journal.db") == 0o600


def test_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    write_atomically(path, b"old")

    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"old"]
