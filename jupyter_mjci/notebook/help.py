"""The help of magics, for `%name?` and `--help`: usage,
parameters and options from a builder's signature and docstring,
what the magic returns, and an example.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from jupyter_mjci.client.job import Job
from jupyter_mjci.notebook import commands
from jupyter_mjci.notebook.line_parser import AS_IS, BATCH_OPTIONS, NO_WAIT, OPTIONS
from jupyter_mjci.notebook.params import (
    Builder,
    Param,
    ReturnType,
    get_return_type,
    get_summary,
    parse_signature,
)
from jupyter_mjci.services import MagicHelp, find_service, services

WIDTH = 100
# Where a magic differs from its builder: help by parameter.
PARAMETER_HELP: Mapping[str, str] = {
    "task": "the task's ID, or a variable that holds it: _ is the last one",
    "task_id": "the task's ID, or a variable that holds it: _ is the last one",
    "job_id": "the job's ID, or a variable that holds it; a batch's ID begins with b",
    "button": "its label (U2, Upscale (Subtle)), its emoji or the word for it (reroll), or a "
    "customId",
}
COMMAND_EXAMPLE = "%mjci sandbox"
PROMPT_NOTE = "{{name}} is replaced by your variable."
JOB_NOTE = "Returns the finished job, and shows it with its pictures."
FRAME_NOTE = "Returns a DataFrame."
BYTES_NOTE = "Returns the bytes; a picture is shown."


def find_magic_help(name: str) -> MagicHelp:
    """Return what a service's descriptor says of a magic beyond its builder."""
    if name == "mjci":
        return MagicHelp(COMMAND_EXAMPLE)
    key, _, method = name.partition("_")
    service = find_service(key)
    return service.magic_help.get(method, MagicHelp()) if service else MagicHelp()


def list_examples() -> dict[str, str]:
    """Return the examples of the help, by magic."""
    examples = {"mjci": COMMAND_EXAMPLE}
    for each in services():
        for method, magic_help in each.magic_help.items():
            if magic_help.example:
                examples[f"{each.key}_{method}"] = magic_help.example
    return examples


def build_magic_help(name: str, builder: Builder) -> str:
    """Return the help of a magic, from its builder."""
    params = parse_signature(builder)
    takes_prompt = has_prompt(builder)
    can_batch = takes_prompt or _takes_body(builder)
    return_type = get_return_type(builder)
    options = list(BATCH_OPTIONS if can_batch else OPTIONS)
    if can_batch and not takes_prompt:
        options.append(AS_IS)
    if return_type != ReturnType(Job):
        options.remove(NO_WAIT)
    notes = [
        find_magic_help(name).description or get_summary(builder),
        PROMPT_NOTE if takes_prompt else "",
        _describe_return(return_type),
    ]
    return _join_sections(
        _format_usage(name, params, can_batch),
        " ".join(note for note in notes if note),
        _format_params(params),
        _format_params(options),
        _format_example(name),
    )


def build_mjci_help() -> str:
    """Return the help of `%mjci`: its commands."""
    names = commands.list_commands()
    width = max(map(len, names))
    rows = [
        _format_row(name, width, get_summary(getattr(commands.Commands, name))) for name in names
    ]
    more = (
        "%mjci COMMAND --help shows a command's options, %config MJCI the settings of the magics' "
        "sessions."
    )
    return _join_sections(
        "%mjci COMMAND [options]", "", "\n".join(rows), more, _format_example("mjci")
    )


def build_command_help(command: str) -> str:
    """Return the help of one command of `%mjci`."""
    params = commands.get_command_params(command)
    words = ["%mjci", command]
    for param in params:
        if param.positional:
            words.append(param.metavar if param.required else f"[{param.metavar}]")
        elif param.required:
            words.append(f"{param.flag} {param.metavar}")
    summary = get_summary(getattr(commands.Commands, command))
    return _join_sections(" ".join(words), summary, _format_params(params))


def has_prompt(builder: Builder) -> bool:
    """Return whether a builder takes a prompt, which is read verbatim."""
    return any(param.name == "prompt" and param.positional for param in parse_signature(builder))


def _takes_body(builder: Builder) -> bool:
    """Return whether the magic's cell describes a job."""
    return any(each.parse_cell_body and each.get_job is builder for each in services())


def _format_usage(name: str, params: Sequence[Param], can_batch: bool) -> str:
    words = [*_iter_usage_words(params), *find_magic_help(name).required]
    usage = " ".join([f"%{name}", *words, "[options]"])
    if not can_batch:
        return usage
    if not any(param.name == "prompt" for param in params):
        return f"{usage}\n%%{name} [options]     with the job as the body"
    words = [word for word in words if word not in ("PROMPT", "[PROMPT]")]
    cell = " ".join([f"%%{name}", *words, "[options]"])
    return f"{usage}\n{cell}     with the prompt as the body"


def _iter_usage_words(params: Sequence[Param]) -> Iterator[str]:
    """Yield what a line contains. A prompt takes the rest of the
    line, so what a builder has behind it needs its flag.
    """
    follows_prompt = False
    for param in params:
        word = param.name.upper()
        is_prompt = param.name == "prompt" and param.positional
        if param.required and (follows_prompt or not param.positional):
            yield _format_param(replace(param, positional=False))
        elif param.required:
            yield word
        elif is_prompt:
            yield f"[{word}]"
        follows_prompt = follows_prompt or is_prompt


def _describe_return(return_type: ReturnType) -> str:
    if return_type.is_list:
        return FRAME_NOTE
    if return_type.item is Job:
        return JOB_NOTE
    if return_type.item is bytes:
        return BYTES_NOTE
    return ""


def _join_sections(usage: str, description: str, *blocks: str) -> str:
    sections = (usage, textwrap.fill(description, WIDTH), *blocks)
    return "\n\n".join(section for section in sections if section)


def _format_params(params: Sequence[Param]) -> str:
    names = [_format_param(param) for param in params]
    width = max(map(len, names), default=0)
    rows = []
    for name, param in zip(names, params, strict=True):
        rows.append(_format_row(name, width, PARAMETER_HELP.get(param.name, param.help)))
    return "\n".join(rows)


def _format_row(name: str, width: int, help: str) -> str:
    head = f"  {name:<{width}}  "
    if not help:
        return head.rstrip()
    return textwrap.fill(help, WIDTH, initial_indent=head, subsequent_indent=" " * len(head))


_OPTION_METAVARS = {
    "-o": "NAME",
    "--each": "NAME",
    "--grid": "AXES",
    "--at-once": "N",
    "--retry": "N",
}


def _format_param(param: Param) -> str:
    if param.positional and param.required:
        return param.name.upper()
    if param.kind == "switch":
        return param.flag
    return f"{param.flag} {_OPTION_METAVARS.get(param.flag, param.metavar)}"


def _format_example(name: str) -> str:
    example = find_magic_help(name).example
    if not example:
        return ""
    return f"For example:\n\n{textwrap.indent(example, '  ')}"
