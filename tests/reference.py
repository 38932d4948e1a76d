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
from jupyter_mjci.services import find_service, get_section_types, load_attribute, services
from jupyter_mjci.services.midjourney import responses as midjourney
from jupyter_mjci.services.midjourney.api import Midjourney
from jupyter_mjci.services.tencent_ci import responses as tencent_ci
from jupyter_mjci.services.tencent_ci.api import TencentCI
from jupyter_mjci.session import list_lazy_methods

PAGE = Path(__file__).parent.parent / "docs" / "reference.md"

HEAD = """# Reference

Generated from the code by `python -m tests.reference`; a test compares the two. Tutorials are in
the notebooks, guides in the [documentation](index.md).
How it works: [how-it-works.md](explanation/how-it-works.md).
"""
FOR_MANY = " (where one cell makes many jobs)"


def format_row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def format_head(*heads: str) -> list[str]:
    return [format_row(*heads), "|" + "---|" * len(heads)]


def list_calls(service: type, prefix: str) -> Iterator[str]:
    """Every builder: how it is called, the magic it gives, what it sends, what it is for."""
    list_magics = {magic.name for magic in Magics(None).iter_magics()}
    routes = re.findall(r"# ([^\n]+)\n    def (\w+)\(", inspect.getsource(service))
    sent = {name: route for route, name in routes}
    for name, method in inspect.getmembers(service, inspect.isfunction):
        if not name.startswith("_"):
            magic = f"`%{prefix}_{name}`" if f"{prefix}_{name}" in list_magics else ""
            parameters = ", ".join(list(inspect.signature(method).parameters)[1:])
            route = f"`{sent[name]}`" if name in sent else ""
            yield format_row(f"`{prefix}.{name}({parameters})`", magic, route, get_summary(method))


def list_session_methods() -> Iterator[str]:
    """Every method of a session that is loaded when it is first asked for."""
    owners = {name: service.label for service in services() for name in service.session_methods}
    for name, location in list_lazy_methods().items():
        method = load_attribute(location)
        parameters = ", ".join(list(inspect.signature(method).parameters)[1:])
        yield format_row(
            f"`session.{name}({parameters})`", owners.get(name, ""), get_summary(method)
        )


def list_magics() -> Iterator[str]:
    """Every magic of a call: as it is written, and what else it takes."""
    for magic in Magics(None).iter_magics():
        prefix, _, name = magic.name.partition("_")
        service = find_service(prefix)
        if service is not None:
            usage = magic.help.partition(" [options]")[0]
            body = f"`%%{magic.name}`" if magic.kind == "line_cell" else ""
            optional = [
                item
                for item in parse_signature(getattr(service.api, name))
                if not (item.required and item.positional)
            ]
            yield format_row(f"`{usage}`", body, format_flags(optional))


def list_commands_of_mjci() -> Iterator[str]:
    """Every command of `%mjci`."""
    for name in magic_commands.list_commands():
        command = getattr(magic_commands.Commands, name)
        known = parse_signature(command)
        words = " ".join(item.metavar for item in known if item.positional and item.required)
        more = any(
            item.kind is item.VAR_KEYWORD for item in inspect.signature(command).parameters.values()
        )
        described = [
            format_flags(item for item in known if not (item.positional and item.required))
        ]
        described += ["every setting but secrets, as a flag"] * more
        yield format_row(
            f"`{f'%mjci {name} {words}'.rstrip()}`",
            get_summary(command),
            ", ".join(filter(None, described)),
        )


def format_flags(known: Iterable[Param]) -> str:
    return ", ".join(
        f"`{item.flag}`" if item.kind == "switch" else f"`{item.flag} {item.metavar}`"
        for item in known
    )


def list_options() -> Iterator[str]:
    for item in BATCH_OPTIONS:
        yield format_row(format_flags([item]), item.help + FOR_MANY * (item not in OPTIONS))


def list_terminal_commands() -> Iterator[str]:
    """Every command of `jupyter mjci` and, below it, its arguments."""
    (choices,) = (
        item
        for item in main.build_parser()._actions
        if isinstance(item, argparse._SubParsersAction)
    )
    parsers = {**choices.choices, "sandbox": serving.build_parser()}
    for item in choices._choices_actions:
        yield format_row(f"`jupyter mjci {item.dest}`", "", item.help or "")
        for action in parsers[item.dest]._actions[1:]:  # the first is --help
            yield format_row("", f"`{_format_argument(action)}`", action.help or "")


def _format_argument(action: argparse.Action) -> str:
    choices = "|".join(map(str, action.choices or ()))
    word = action.metavar or choices or ("" if action.nargs == 0 else action.dest.upper())
    more = " …" if action.nargs in ("*", "+") else ""
    return f"{', '.join(action.option_strings)} {word}{more}".strip()


def list_setting_rows() -> Iterator[str]:
    """Every setting, those of the services first."""
    for setting in list_settings(get_section_types()):
        shown = "" if setting.name == "home" else str(setting.field.default)
        variables = ", ".join(f"`{variable}`" for variable in setting.env)
        cells = (variables, shown.replace("Secret()", ""), setting.field.metadata["help"])
        yield format_row(f"`{setting.name}`", *cells)


def list_job_fields() -> Iterator[str]:
    kinds = {item.name: str(item.type) for item in fields(Job)}
    return (
        format_row(f"`{item.name}`", f"`{kinds[item.name]}`", item.help)
        for item in parse_signature(Job)
    )


def list_statuses() -> Iterator[str]:
    """Every status, and the words of both services that it stands for."""
    for status in Status:
        after = (
            "it moves by itself; following waits"
            if status.is_active
            else "a person answers: `mj.modal`"
        )
        words = (
            _format_words(format_head, status)
            for format_head in (midjourney.STATUSES, tencent_ci.STATUSES)
        )
        yield format_row(
            f"`{status}`", *words, "nothing: it has ended" if status.is_terminal else after
        )


def _format_words(format_head: Mapping[str, Status], status: Status) -> str:
    words = [
        f"`{word}`" if word else "nothing" for word, meant in format_head.items() if meant is status
    ]
    return ", ".join(words + ["any other"] * (status is Status.RUNNING))


def list_columns() -> Iterator[str]:
    yield from (format_row(f"`{item.name}`", item.dtype, item.help) for item in COLUMNS)
    yield from (
        format_row(f"`{name}`", "timedelta64[us]", help) for name, _, _, help in DURATION_COLUMNS
    )


def list_questions() -> Iterator[str]:
    """Every analysis: what it can be asked, and what its frame holds."""
    for name, method in vars(JobAccessor).items():
        if not name.startswith("_") and inspect.isfunction(method):
            parameters = ", ".join(list(inspect.signature(method).parameters)[1:])
            yield format_row(f"`.mjci.{name}({parameters})`", inspect.getdoc(method) or "")


def list_errors() -> Iterator[str]:
    """Every error: what it is, what happened, what usually helps."""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.MjciError):
            happened, *help = split_paragraphs(kind)
            yield format_row(
                f"`{kind.__name__}`",
                f"`{kind.__base__.__name__}`",
                happened,
                "".join(help).removeprefix("→ "),
            )


def split_paragraphs(documented: Any) -> list[str]:
    return (inspect.getdoc(documented) or "").split("\n\n")


def build_page() -> str:
    sections: dict[str, Iterable[str]] = {
        "Calls: Midjourney proxies": [
            *format_head("call", "magic", "sends", "what it is for"),
            *list_calls(Midjourney, "mj"),
        ],
        "Calls: Tencent CI": [
            *format_head("call", "magic", "sends", "what it is for"),
            *list_calls(TencentCI, "ci"),
        ],
        "Lazily loaded methods of a session": [
            *format_head("method", "service", "what it is for"),
            *list_session_methods(),
        ],
        "Magics": [
            "Every magic takes these; `--help` after any of them tells what its own options mean.",
            "",
            *format_head("option", "meaning"),
            *list_options(),
            "",
            *format_head("magic", "with a body", "its own options"),
            *list_magics(),
        ],
        "Commands of `%mjci`": [
            *format_head("command", "what it does", "options"),
            *list_commands_of_mjci(),
        ],
        "Command line": [
            "`jupyter mjci COMMAND --help` tells the same.",
            "",
            *format_head("command", "argument", "meaning"),
            *list_terminal_commands(),
            "",
            *format_head("exit status", "meaning"),
            *(
                format_row(f"{item}", described)
                for item, described in exit_codes.EXIT_CODE_HELP.items()
            ),
        ],
        "Settings": [
            *format_head("keyword", "environment", "default", "meaning"),
            *list_setting_rows(),
        ],
        "Fields of a job": [*format_head("field", "type", "meaning"), *list_job_fields()],
        "Statuses": [
            *format_head("status", "Midjourney says", "Tencent CI says", "what comes next"),
            *list_statuses(),
        ],
        "Columns of every listing": [*format_head("column", "dtype", "meaning"), *list_columns()],
        "Questions to a history": [
            "`df.mjci`, `lake.mjci`, `lake.with_client(client).mjci`;"
            " on Axes with `.plot` between.",
            "",
            *(text for part in split_paragraphs(JobAccessor)[1:] for text in (part, "")),
            *format_head("question", "answer"),
            *list_questions(),
        ],
        "Errors": [
            "In a cell an error is two or three lines: message, detail, hint;"
            " `%tb` shows the traceback.",
            "",
            *format_head("error", "is a", "what happened", "what usually helps"),
            *list_errors(),
        ],
    }
    return "\n".join(
        [
            HEAD,
            *(text for head, lines in sections.items() for text in (f"## {head}", "", *lines, "")),
        ]
    )


if __name__ == "__main__":
    PAGE.write_text(build_page(), "utf-8")
