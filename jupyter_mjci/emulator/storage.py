"""A sandbox on disk: one JSON file, and every run of bytes in a file of its own, named by its
content.

Objects are written once however often the state is saved, and no save can be seen half done.
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
    """One folder. `load` gives what `save` was given last, whole, whenever the process died."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = folder / "blobs"
        self.blobs.mkdir(parents=True, exist_ok=True)
        self._state_file = folder / "sandbox.json"

    def load(self) -> dict[str, Any]:
        """What was kept; empty when there is nothing yet."""
        if not self._state_file.exists():
            return {}
        kept: dict[str, Any] = json.loads(
            self._state_file.read_text("utf-8"), object_hook=self._load_blob
        )
        return kept

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace what is kept; whoever is killed half-way leaves the old state whole."""
        names: set[str] = set()
        text = json.dumps(
            state, default=functools.partial(self._save_blob, names), separators=(",", ":")
        )
        _write_atomically(self._state_file, text.encode())
        for blob in self.blobs.iterdir():
            if blob.name not in names:
                blob.unlink(missing_ok=True)

    def _save_blob(self, names: set[str], value: object) -> dict[str, str]:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError(f"cannot keep {type(value).__name__}")
        name = hashlib.sha256(value).hexdigest()
        names.add(name)
        if not (self.blobs / name).exists():
            _write_atomically(self.blobs / name, bytes(value))
        return {"$blob": name}

    def _load_blob(self, value: dict[str, Any]) -> Any:
        if len(value) == 1 and "$blob" in value:
            return (self.blobs / str(value["$blob"])).read_bytes()
        return value


def _write_atomically(path: Path, content: bytes) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(fresh, path)
