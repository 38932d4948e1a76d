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
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class StateStore:
    """A folder that holds one state: `load` returns what the last complete `save` wrote."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = folder / "blobs"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self._state_file = folder / "sandbox.json"

    def load(self) -> dict[str, Any]:
        """Return the saved state; empty when nothing was saved yet."""
        if not self._state_file.exists():
            return {}
        text = self._state_file.read_text("utf-8")
        state: dict[str, Any] = json.loads(text, object_hook=self._load_blob)
        return state

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
