"""Executes the demo notebooks in place: `python -m tests.execute_notebooks [NOTEBOOK ...]`.

Writes only what the next execution would write again: no timings, no widget state, no name of this
machine's Python.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from jupyter_mjci.cli.demo import KERNEL_ARGS

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
KEPT = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
VIEW = "application/vnd.jupyter.widget-view+json"


def execute(path: Path) -> str:
    """The notebook's text after its execution; ValueError where a cell prints to stderr."""
    notebook: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    NotebookClient(
        notebook,
        timeout=120,
        record_timing=False,
        extra_arguments=KERNEL_ARGS,
        resources={"metadata": {"path": path.parent}},
    ).execute()
    notebook.metadata = nbformat.from_dict(KEPT)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            if output.get("name") == "stderr":
                # The next execution would not print a warning of this machine's load again.
                raise ValueError(f"{path.name}: a cell prints to stderr: {output['text']}")
            output.get("data", {}).pop(
                VIEW, None
            )  # the id of a widget that lived as long as its kernel
    return str(nbformat.writes(notebook)) + "\n"  # type: ignore[no-untyped-call]


def copy_notebook(name: str, folder: Path) -> Path:
    """A notebook, and the recording beside it, in a folder of their own."""
    for file in NOTEBOOKS.glob(f"{name}.*"):
        (shutil.copytree if file.is_dir() else shutil.copy)(file, folder / file.name)
    return folder / f"{name}.ipynb"


def main() -> None:
    for path in [Path(name) for name in sys.argv[1:]] or sorted(NOTEBOOKS.glob("*.ipynb")):
        path.write_text(execute(path), "utf-8")
        print(path.name)


if __name__ == "__main__":
    main()
