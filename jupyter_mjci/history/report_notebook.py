"""Write the report of a history as a notebook with a cell of parameters, as papermill takes it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from jupyter_mjci.history.analysis import JobAccessor
from jupyter_mjci.history.history_files import wrap_write_errors
from jupyter_mjci.history.plots import PlotAccessor, select_arguments
from jupyter_mjci.history.report import MAX_JOBS, SECTIONS, ReportOptions, Section

FILTERS = ("since", "until", "service", "action", "status")
_OPEN = f"""\
%matplotlib inline
import jupyter_mjci as mjci

s = mjci.connect(profile=profile)
df = s.history({", ".join(f"{name}={name}" for name in FILTERS)})
df.mjci.timeline(None)"""
_FAILED = f"""\
failed = df[df["status"] == "FAILED"].nlargest({MAX_JOBS}, "submitted")
failed[["submitted", "action", "subject", "reason", "id"]]"""
_SLOWEST = f"""\
slowest = df[df["status"] == "SUCCEEDED"].assign(total=df["finished"] - df["submitted"])
slowest.nlargest({MAX_JOBS}, "total")[["total", "submitted", "action", "subject", "id"]]"""


def write_notebook(
    path: str | Path, options: ReportOptions, filters: Mapping[str, str | date | None]
) -> Path:
    """Write a notebook that asks the questions of a report when it is executed.

    Args:
        path: the file
        options: those of the report, which become parameters
        filters: which jobs: since, until, service, …

    Raises:
        HistoryError: the file cannot be written
    """
    parameters: dict[str, Any] = dict.fromkeys(("profile", *FILTERS))
    parameters |= {
        name: str(value) if isinstance(value, date) else value for name, value in filters.items()
    }
    parameters |= {
        "every": options.every or "day",
        "tz": str(options.tz),
        "prices": None if options.prices is None else dict(options.prices),
    }
    target = Path(path).expanduser()
    with wrap_write_errors(target):
        target.write_text(_build_notebook(parameters), "utf-8")
    return target


def _build_notebook(parameters: Mapping[str, Any]) -> str:
    assignments = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    cells = [
        _make_cell("markdown", "# Report of jobs"),
        _make_cell("code", assignments, tags=["parameters"]),
        _make_cell("code", _OPEN),
    ]
    for section in SECTIONS:
        cells.append(_make_cell("markdown", f"## {section.title}"))
        cells.append(_make_cell("code", _write_question(section)))
    for title, code in (("Latest failures", _FAILED), ("Slowest jobs", _SLOWEST)):
        cells += [_make_cell("markdown", f"## {title}"), _make_cell("code", code)]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    notebook = {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _write_question(section: Section) -> str:
    """Return the code of a section: its plot, and the table that the page has, too."""
    names = {name: name for name in ("prices", "every", "tz")}
    arguments = {name: repr(value) for name, value in section.arguments.items()}
    plot = _join(select_arguments(getattr(PlotAccessor, section.question), names | arguments))
    code = f"_ = df.mjci.plot.{section.question}({plot})"
    if section.table is None:
        return code
    arguments |= {name: repr(value) for name, value in section.table.items()}
    question = getattr(JobAccessor, section.question)
    table = _join(select_arguments(question, names | arguments))
    return f"{code}\ndf.mjci.{section.question}({table})"


def _join(arguments: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in arguments.items())


def _make_cell(kind: str, source: str, tags: Sequence[str] = ()) -> dict[str, Any]:
    metadata = {"tags": list(tags)} if tags else {}
    cell = {"cell_type": kind, "id": "", "metadata": metadata, "source": source}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})
