"""The reference page, made from the code itself: `python -m tests.reference` writes notebooks/reference.md."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from jupyter_mjci import errors
from jupyter_mjci.client.midjourney import Midjourney
from jupyter_mjci.client.settings import Settings
from jupyter_mjci.client.tencent_ci import TencentCI
from jupyter_mjci.history.analysis import Analyses
from jupyter_mjci.history.frames import COLUMNS, SPANS
from jupyter_mjci.notebook.magics import Magics

PAGE = Path(__file__).parent.parent / "notebooks" / "reference.md"

HEAD = """# Reference

Made from the code by `python -m tests.reference`; a test compares. How to use all this: the notebooks beside this page.
"""


def row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def table(*heads: str) -> list[str]:
    return [row(*heads), "|" + "---|" * len(heads)]


def calls(service: type, prefix: str) -> Iterator[str]:
    """Every builder: how it is called, the magic it gives, what it sends, what it is for."""
    magics = {magic.name for magic in Magics(None).table()}
    routes = re.findall(r"# ([^\n]+)\n    def (\w+)\(", inspect.getsource(service))
    sent = {name: route for route, name in routes}
    for name, method in inspect.getmembers(service, inspect.isfunction):
        if not name.startswith("_"):
            magic = f"`%{prefix}_{name}`" if f"{prefix}_{name}" in magics else ""
            parameters = ", ".join(list(inspect.signature(method).parameters)[1:])
            told = (inspect.getdoc(method) or "").splitlines()[0]
            yield row(f"`{prefix}.{name}({parameters})`", magic, f"`{sent[name]}`" if name in sent else "", told)


def questions() -> Iterator[str]:
    """Every analysis: what it can be asked, and what its frame holds."""
    for name, method in vars(Analyses).items():
        if not name.startswith("_") and inspect.isfunction(method):
            parameters = ", ".join(list(inspect.signature(method).parameters)[1:])
            yield row(f"`.mjci.{name}({parameters})`", inspect.getdoc(method) or "")


def page() -> str:
    lines = [HEAD, "## Calls: Midjourney proxies", "", *table("call", "magic", "sends", "what it is for")]
    lines += [*calls(Midjourney, "mj"), "", "## Calls: Tencent CI", ""]
    lines += [*table("call", "magic", "sends", "what it is for"), *calls(TencentCI, "ci"), ""]
    lines += ["## Settings", "", *table("keyword", "environment", "default", "meaning")]
    for one in fields(Settings):
        shown = "" if one.name == "home" else str(one.default).replace("Secret()", "")
        names = ", ".join(f"`{name}`" for name in one.metadata["env"])
        lines.append(row(f"`{one.name}`", names, shown, one.metadata["help"]))
    lines += ["", "## Columns of every listing", "", *table("column", "dtype", "meaning")]
    lines += [row(f"`{one.name}`", one.dtype, one.help) for one in COLUMNS]
    lines += [row(f"`{name}`", "timedelta64[us]", help) for name, _, _, help in SPANS]
    lines += ["", "## Questions to a history", ""]
    lines += ["`df.mjci`, `lake.mjci`, `lake.on(client).mjci`; on Axes with `.plot` between.", ""]
    lines += [*table("question", "answer"), *questions()]
    lines += ["", "## Errors", "", "```", (inspect.getdoc(errors) or "").split("\n\n")[1], "```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
