"""Synthetic job histories: exports as if the emulator had served for months, to try analyses on.

They have the emulator's durations, queues and failures; but
nothing is drawn and nothing waits. The same seed gives the same
history.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jupyter_mjci.emulator.registry import load_services


def write_exports(
    folder: Path, jobs: int = 100_000, *, days: float = 45, seed: int = 0
) -> list[Path]:
    """Write the exports of the emulated services into a folder.

    Args:
        folder: the folder, which is made if it is missing
        jobs: how many jobs, three of four of them tasks
        days: how long the history is
        seed: another seed gives another history

    Returns:
        The paths of a proxy's task listing and of a log of CI's
        callbacks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    exports = [spec.export for spec in load_services().values() if spec.export]
    total = sum(export.share for export in exports)
    counts = [jobs * export.share // total for export in exports]
    counts[0] += jobs - sum(counts)
    paths = [folder / export.name for export in exports]
    for export, count, path in zip(exports, counts, paths, strict=True):
        _write_records(path, export.generate(count, days, seed))
    return paths


def _write_records(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Write a JSON array (`.json`) or one object a line."""
    lines = (json.dumps(record, ensure_ascii=False, separators=(",", ":")) for record in records)
    with path.open("w", encoding="utf-8") as file:
        if path.suffix == ".json":
            for number, line in enumerate(lines):
                file.write(("[\n" if number == 0 else ",\n") + line)
            file.write("\n]\n")
        else:
            file.writelines(f"{line}\n" for line in lines)
