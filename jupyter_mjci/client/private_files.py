"""Create files and folders that only their owner can read, whatever the umask.

Prompts, pictures and addresses are nobody else's on a machine
that is shared. What exists already is tightened, where it is ours.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def make_private_folder(folder: Path) -> None:
    """Create a folder and what is missing above it; an existing one keeps its mode."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another process was faster
            path.mkdir(FOLDER_MODE)


def make_private_file(path: Path) -> None:
    """Create an empty file, or take the rights of others from an existing one."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, FILE_MODE))
    with contextlib.suppress(OSError):  # somebody else's file, or a system without modes
        path.chmod(FILE_MODE)


def write_atomically(path: Path, content: bytes, *, is_durable: bool = True) -> None:
    """Write a private file that appears under its name only when all of it is written.

    Args:
        path: the file, which is replaced
        content: its bytes
        is_durable: wait until they are on the disk
    """
    make_private_folder(path.parent)
    # mkstemp creates it for its owner alone.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
