"""State on disk: one JSON file, and each bytes value in a file of its own, named by its SHA-256.

Objects are written once however often the state is saved. Files
are replaced atomically, so a process that is killed while saving
leaves the previous state whole.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VERSION = 1  # of the state's format


class StateError(ValueError):
    """A folder that cannot be used: damaged, of a newer version, or not a sandbox's."""


class StateStore:
    """A folder that holds one state: `load` returns what the last complete `save` wrote.

    Raises:
        StateError: the folder holds other files; saving would
            delete some of them
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = folder / "blobs"
        self._state_file = folder / "sandbox.json"
        self._check_folder()
        self.blobs.mkdir(parents=True, exist_ok=True)

    def _check_folder(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise StateError(f"{self.folder} is a file. Give a folder for the sandbox's data.")
        if self._state_file.exists() or not self.folder.exists():
            return
        # A first save that was cut short leaves these.
        ours = re.compile(r"\.sandbox\.json\.\d+|blobs|\.?[0-9a-f]{64}(\.\d+)?")
        for path in (*self.folder.iterdir(), *self.blobs.glob("*")):
            if not ours.fullmatch(path.name):
                raise StateError(
                    f"{self.folder} is not a sandbox's: it holds {path.name!r}. "
                    "Give a new or an empty folder."
                )

    def load(self) -> dict[str, Any]:
        """Return the saved state; empty when nothing was saved yet.

        Raises:
            StateError: it is damaged, or of a newer version
        """
        if not self._state_file.exists():
            return {}
        try:
            text = self._state_file.read_text("utf-8")
            state = json.loads(text, object_hook=self._load_blob)
        except (OSError, ValueError, RecursionError) as error:
            raise self.build_damage_error(error) from None
        if not isinstance(state, dict) or not isinstance(state.get("now", 0.0), int | float):
            raise self.build_damage_error("it is no state")
        if state.get("version", VERSION) != VERSION:
            raise StateError(
                f"{self._state_file} was written by another version of jupyter_mjci (format "
                f"{state.get('version')!r}, here {VERSION}). Use that version, or another folder."
            )
        return state

    def build_damage_error(self, reason: object) -> StateError:
        """Build the error for a state that cannot be read."""
        return StateError(
            f"{self._state_file} is damaged ({reason}). "
            "Restore the folder from a backup, or move it away to start anew."
        )

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state, then delete the blobs that it no longer names."""
        names: set[str] = set()
        save_blob = functools.partial(self._save_blob, names)
        text = json.dumps(state, default=save_blob, separators=(",", ":"))
        _write_atomically(self._state_file, text.encode())
        for blob in self.blobs.iterdir():
            if blob.name not in names:
                blob.unlink(missing_ok=True)

    def _save_blob(self, names: set[str], value: object) -> dict[str, str]:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError(f"{type(value).__name__} is not serializable.")
        name = hashlib.sha256(value).hexdigest()
        names.add(name)
        if not (self.blobs / name).exists():
            _write_atomically(self.blobs / name, bytes(value))
        return {"$blob": name}

    def _load_blob(self, value: dict[str, Any]) -> object:
        if len(value) == 1 and "$blob" in value:
            return (self.blobs / str(value["$blob"])).read_bytes()
        return value


def _write_atomically(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
