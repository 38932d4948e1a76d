"""The ground the other browser tests stand on: cells run in a real JupyterLab."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def test_cells_run_and_their_outputs_are_saved(notebook: Callable[..., Any]) -> None:
    """Run All runs each cell once; saving writes what the page shows."""
    page = notebook("1 + 1", "print('second')", "'third'")
    page.run_all()
    assert page.prompts() == ["[1]:", "[2]:", "[3]:"]
    saved = page.save()
    assert [
        cell.outputs[0].get("text") or cell.outputs[0].data["text/plain"] for cell in saved.cells
    ] == [
        "2",
        "second\n",
        "'third'",
    ]
