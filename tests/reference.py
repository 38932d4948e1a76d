"""The reference page, made from the code itself: `python -m tests.reference` writes
docs/reference.md.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from jupyter_mjci import errors
from jupyter_mjci.cli import exit_codes, main
from jupyter_mjci.client.job import Job, Status
from jupyter_mjci.client.settings import list_settings
from jupyter_mjci.emulator import __main__ as serving
from jupyter_mjci.history.analysis import JobAccessor
from jupyter_mjci.history.frames import COLUMNS, DURATION_COLUMNS
from jupyter_mjci.notebook import commands as magic_commands
from jupyter_mjci.notebook.line_parser import BATCH_OPTIONS, OPTIONS
from jupyter_mjci.notebook.magics import Magics
from jupyter_mjci.notebook.params import Param, get_summary, parse_signature
from jupyter_mjci.services import find_service, get_section_types
from jupyter_mjci.services.midjourney import responses as midjourney
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.tencent_ci import responses as tencent_ci
from jupyter_mjci.services.tencent_ci.api import TencentCI

PAGE = Path(__file__).parent.parent / "docs" / "reference.md"

HEAD = """# Reference

Generated from the code by `python -m tests.reference`; a test compares the two. Tutorials are in
the notebooks, guides in the [documentation](index.md).
How it works: [how-it-works.md](explanation/how-it-works.md).
"""
FOR_MANY = " (where one cell makes many jobs)"


def row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def table(*heads: str) -> list[str]:
    return [row(*heads), "|" + "---|" * len(heads)]


def calls(service: type, prefix: str) -> Iterator[str]:
    """Every builder: how it is called, the magic it gives, what it sends, what it is for."""
    magics = {magic.name for magic in Magics(None).iter_magics()}
    routes = re.findall(r"# ([^\n]+)\n    def (\w+)\(", inspect.getsource(service))
    sent = {name: route for route, name in routes}
    for name, method in inspect.getmembers(service, inspect.isfunction):
        if not name.startswith("_"):
            magic = f"`%{prefix}_{name}`" if f"{prefix}_{name}" in magics else ""
            parameters = ", ".join(list(inspect.signature(method).parameters)[1:])
            route = f"`{sent[name]}`" if name in sent else ""
            yield row(f"`{prefix}.{name}({parameters})`", magic, route, get_summary(method))


def magics() -> Iterator[str]:
    """Every magic of a call: as it is written, and what else it takes."""
    for magic in Magics(None).iter_magics():
        prefix, _, name = magic.name.partition("_")
        service = find_service(prefix)
        if service is not None:
            usage = magic.help.partition(" [options]")[0]
            body = f"`%%{magic.name}`" if magic.kind == "line_cell" else ""
            optional = [
                one
                for one in parse_signature(getattr(service.api, name))
                if not (one.required and one.positional)
            ]
            yield row(f"`{usage}`", body, flags(optional))


def commands() -> Iterator[str]:
    """Every command of `%mjci`."""
    for name in magic_commands.list_commands():
        command = getattr(magic_commands.Commands, name)
        known = parse_signature(command)
        words = " ".join(one.metavar for one in known if one.positional and one.required)
        more = any(
            one.kind is one.VAR_KEYWORD for one in inspect.signature(command).parameters.values()
        )
        told = [flags(one for one in known if not (one.positional and one.required))]
        told += ["every setting but secrets, as a flag"] * more
        yield row(
            f"`{f'%mjci {name} {words}'.rstrip()}`",
            get_summary(command),
            ", ".join(filter(None, told)),
        )


def flags(known: Iterable[Param]) -> str:
    return ", ".join(
        f"`{one.flag}`" if one.kind == "switch" else f"`{one.flag} {one.metavar}`" for one in known
    )


def options() -> Iterator[str]:
    for one in BATCH_OPTIONS:
        yield row(flags([one]), one.help + FOR_MANY * (one not in OPTIONS))


def terminal() -> Iterator[str]:
    """Every command of `jupyter mjci` and, below it, its arguments."""
    (choices,) = (
        one for one in main.build_parser()._actions if isinstance(one, argparse._SubParsersAction)
    )
    parsers = {**choices.choices, "sandbox": serving.build_parser()}
    for one in choices._choices_actions:
        yield row(f"`jupyter mjci {one.dest}`", "", one.help or "")
        for action in parsers[one.dest]._actions[1:]:  # the first is --help
            yield row("", f"`{_as_written(action)}`", action.help or "")


def _as_written(action: argparse.Action) -> str:
    choices = "|".join(map(str, action.choices or ()))
    word = action.metavar or choices or ("" if action.nargs == 0 else action.dest.upper())
    more = " …" if action.nargs in ("*", "+") else ""
    return f"{', '.join(action.option_strings)} {word}{more}".strip()


def settings() -> Iterator[str]:
    """Every setting, those of the services first."""
    for setting in list_settings(get_section_types()):
        shown = "" if setting.name == "home" else str(setting.field.default)
        variables = ", ".join(f"`{variable}`" for variable in setting.env)
        cells = (variables, shown.replace("Secret()", ""), setting.field.metadata["help"])
        yield row(f"`{setting.name}`", *cells)


def job_fields() -> Iterator[str]:
    kinds = {one.name: str(one.type) for one in fields(Job)}
    return (row(f"`{one.name}`", f"`{kinds[one.name]}`", one.help) for one in parse_signature(Job))


def statuses() -> Iterator[str]:
    """Every status, and the words of both services that it stands for."""
    for status in Status:
        after = (
            "it moves by itself; following waits"
            if status.is_active
            else "a person answers: `mj.modal`"
        )
        words = (_words(table, status) for table in (midjourney.STATUSES, tencent_ci.STATUSES))
        yield row(f"`{status}`", *words, "nothing: it has ended" if status.is_terminal else after)


def _words(table: Mapping[str, Status], status: Status) -> str:
    words = [f"`{word}`" if word else "nothing" for word, meant in table.items() if meant is status]
    return ", ".join(words + ["any other"] * (status is Status.RUNNING))


def columns() -> Iterator[str]:
    yield from (row(f"`{one.name}`", one.dtype, one.help) for one in COLUMNS)
    yield from (row(f"`{name}`", "timedelta64[us]", help) for name, _, _, help in DURATION_COLUMNS)


def questions() -> Iterator[str]:
    """Every analysis: what it can be asked, and what its frame holds."""
    for name, method in vars(JobAccessor).items():
        if not name.startswith("_") and inspect.isfunction(method):
            parameters = ", ".join(list(inspect.signature(method).parameters)[1:])
            yield row(f"`.mjci.{name}({parameters})`", inspect.getdoc(method) or "")


def what_to_do() -> Iterator[str]:
    """Every error: what it is, what happened, what usually helps."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.MjciError):
            happened, *help = paragraphs(kind)
            yield row(
                f"`{kind.__name__}`",
                f"`{kind.__base__.__name__}`",
                happened,
                "".join(help).removeprefix("→ "),
            )


def paragraphs(documented: Any) -> list[str]:
    return (inspect.getdoc(documented) or "").split("\n\n")


def page() -> str:
    sections: dict[str, Iterable[str]] = {
        "Calls: Midjourney proxies": [
            *table("call", "magic", "sends", "what it is for"),
            *calls(Midjourney, "mj"),
        ],
        "Calls: Tencent CI": [
            *table("call", "magic", "sends", "what it is for"),
            *calls(TencentCI, "ci"),
        ],
        "Magics": [
            "Every magic takes these; `--help` after any of them tells what its own options mean.",
            "",
            *table("option", "meaning"),
            *options(),
            "",
            *table("magic", "with a body", "its own options"),
            *magics(),
        ],
        "Commands of `%mjci`": [*table("command", "what it does", "options"), *commands()],
        "Command line": [
            "`jupyter mjci COMMAND --help` tells the same.",
            "",
            *table("command", "argument", "meaning"),
            *terminal(),
            "",
            *table("exit status", "meaning"),
            *(row(f"{one}", told) for one, told in exit_codes.EXIT_CODE_HELP.items()),
        ],
        "Settings": [*table("keyword", "environment", "default", "meaning"), *settings()],
        "Fields of a job": [*table("field", "type", "meaning"), *job_fields()],
        "Statuses": [
            *table("status", "Midjourney says", "Tencent CI says", "what comes next"),
            *statuses(),
        ],
        "Columns of every listing": [*table("column", "dtype", "meaning"), *columns()],
        "Questions to a history": [
            "`df.mjci`, `lake.mjci`, `lake.with_client(client).mjci`;"
            " on Axes with `.plot` between.",
            "",
            *(text for part in paragraphs(JobAccessor)[1:] for text in (part, "")),
            *table("question", "answer"),
            *questions(),
        ],
        "Errors": [
            "In a cell an error is two or three lines: message, detail, hint;"
            " `%tb` shows the traceback.",
            "",
            *table("error", "is a", "what happened", "what usually helps"),
            *what_to_do(),
        ],
    }
    return "\n".join(
        [
            HEAD,
            *(text for head, lines in sections.items() for text in (f"## {head}", "", *lines, "")),
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
