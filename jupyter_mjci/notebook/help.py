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
from jupyter_mjci.services import services

WIDTH = 100
# Where a magic differs from its builder: descriptions by magic,
# help by parameter.
DESCRIPTIONS: Mapping[str, str] = {
    "mj_action": "Press a button of a finished task. %mj_task shows which buttons it has.",
    "ci_job": "Follow a job or batch by its ID; or submit a new one, described by the cell's body: "
    "as TOML with the parameters of %ci_picture_job, or with a name those of %ci_batch; or as the "
    "<Request> XML of the service's documentation. {{name}} is replaced by your variable.",
}
PARAMETER_HELP: Mapping[str, str] = {
    "task": "the task's ID, or a variable that holds it: _ is the last one",
    "task_id": "the task's ID, or a variable that holds it: _ is the last one",
    "job_id": "the job's ID, or a variable that holds it; a batch's ID begins with b",
    "button": "its label (U2, Upscale (Subtle)), its emoji or the word for it (reroll), or a "
    "customId",
}
# Of several optional parameters a builder needs one: the usual
# choice.
REQUIRED_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "mj_video": ("--picture PATH",),
    "ci_picture_job": ("--rule RULE",),
    "ci_batch": ("--prefix PREFIX", "--rule RULE", "--output OUTPUT"),
}
EXAMPLES: Mapping[str, str] = {
    "mj_imagine": "%mj_imagine a red fox in the snow --ar 3:2 -o fox",
    "mj_action": "%mj_action _ U2",
    "mj_task": "%mj_task _",
    "mj_tasks": "%mj_tasks --ids 1767225600000230,1767225651000340 -o tasks",
    "mj_describe": "%mj_describe fox.png",
    "mj_blend": "%mj_blend fox.png,owl.png",
    "ci_job": """%%ci_job -o job
input = "input/deer.jpg"
rule = "imageMogr2/thumbnail/400x|imageMogr2/rotate/90"
output = "output/deer.jpg\"""",
    "ci_jobs": "%ci_jobs --states Success,Failed --limit 100 -o jobs",
    "ci_objects": "%ci_objects --prefix input/",
    "ci_put_object": "%ci_put_object input/fox.png fox.png",
    "mjci": "%mjci sandbox",
}
PROMPT_NOTE = "{{name}} is replaced by your variable."
JOB_NOTE = "Returns the finished job, and shows it with its pictures."
FRAME_NOTE = "Returns a DataFrame."
BYTES_NOTE = "Returns the bytes; a picture is shown."


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
        DESCRIPTIONS.get(name, get_summary(builder)),
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
    words = [*_iter_usage_words(params), *REQUIRED_OPTIONS.get(name, ())]
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


_OPTION_METAVARS = {"-o": "NAME", "--each": "NAME", "--at-once": "N", "--retry": "N"}


def _format_param(param: Param) -> str:
    if param.positional and param.required:
        return param.name.upper()
    if param.kind == "switch":
        return param.flag
    return f"{param.flag} {_OPTION_METAVARS.get(param.flag, param.metavar)}"


def _format_example(name: str) -> str:
    if name not in EXAMPLES:
        return ""
    return f"For example:\n\n{textwrap.indent(EXAMPLES[name], '  ')}"
