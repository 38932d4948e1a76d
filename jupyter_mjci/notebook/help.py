"""What `%name?` and `--help` show: usage, parameters and options from a builder's own signature and
docstring, what the magic gives, and a line to begin with.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jupyter_mjci.notebook import commands
from jupyter_mjci.notebook.line_parser import BATCH_OPTIONS, NO_WAIT, OPTIONS
from jupyter_mjci.notebook.params import Param, get_summary, parse_signature

WIDTH = 100
JOB_ANNOTATION = "Call[Job]"  # what calls give, as their signatures say it
FRAME_ANNOTATIONS = ("Call[list[", "Paginator[")

# What is another matter on a line than in Python, by magic or by parameter.
DESCRIPTIONS: Mapping[str, str] = {
    "mj_action": "Press a button of a finished task. %mj_task shows which it has.",
    "ci_job": "Follow a job or batch by its id; or submit a new one, which the cell's body describes: in TOML with the "
    "parameters of %ci_picture_job, or with a name those of %ci_batch; or as the <Request> XML of the service's "
    "documents. {{name}} is filled in from your variables.",
}
PARAMETER_HELP: Mapping[str, str] = {
    "task": "the task's id, or a variable that holds it: _ is the last one",
    "task_id": "the task's id, or a variable that holds it: _ is the last one",
    "job_id": "the job's id, or a variable that holds it; a batch's begins with b",
    "button": "its label (U2, Upscale (Subtle)), its emoji or the word for that (reroll), or a customId",
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
PROMPT_NOTE = "{{name}} is filled in from your variables."
RETURN_NOTES: Mapping[str, str] = {
    JOB_ANNOTATION: "Gives the job, which is followed to its end and shown with its pictures.",
    "frame": "Gives a DataFrame.",
    "Call[bytes]": "Gives the bytes; a picture is shown.",
}


def build_magic_help(name: str, builder: Callable[..., Any]) -> str:
    """A magic's help, from its builder."""
    known, many = parse_signature(builder), name == "ci_job" or has_prompt(builder)
    needed = " ".join(one.name.upper() for one in known if one.positional and one.required)
    usage = [f"%{name} {needed}".strip() + " [options]"]
    if many:
        usage.append(
            f"%%{name} [options]" + ("" if name == "ci_job" else "     with the prompt as the body")
        )
    options = [
        one
        for one in (BATCH_OPTIONS if many else OPTIONS)
        if one is not NO_WAIT or return_annotation(builder) == JOB_ANNOTATION
    ]
    about = [
        DESCRIPTIONS.get(name, get_summary(builder)),
        PROMPT_NOTE if has_prompt(builder) else "",
        RETURN_NOTES.get(_return_kind(builder), ""),
    ]
    return _join_sections(
        "\n".join(usage),
        " ".join(filter(None, about)),
        _format_params(known),
        _format_params(options),
        _format_example(name),
    )


def build_mjci_help() -> str:
    width = max(map(len, commands.list_commands()))
    rows = [
        _format_row(name, width, get_summary(getattr(commands.Commands, name)))
        for name in commands.list_commands()
    ]
    more = "%mjci COMMAND --help tells a command's options, %config MJCI how the magics' sessions behave."
    return _join_sections(
        "%mjci COMMAND [options]", "", "\n".join(rows), more, _format_example("mjci")
    )


def build_command_help(command: str) -> str:
    known = commands.get_command_params(command)
    words = [one.metavar if one.required else f"[{one.metavar}]" for one in known if one.positional]
    usage = " ".join([f"%mjci {command}", *words])
    return _join_sections(
        usage, get_summary(getattr(commands.Commands, command)), _format_params(known)
    )


def return_annotation(builder: Callable[..., Any]) -> str:
    """What a builder's call gives, as its signature says it."""
    return str(builder.__annotations__.get("return"))


def has_prompt(builder: Callable[..., Any]) -> bool:
    return any(one.name == "prompt" and one.positional for one in parse_signature(builder))


def _return_kind(builder: Callable[..., Any]) -> str:
    given = return_annotation(builder)
    return "frame" if given.startswith(FRAME_ANNOTATIONS) else given


def _join_sections(usage: str, about: str, *blocks: str) -> str:
    return "\n\n".join(block for block in (usage, textwrap.fill(about, WIDTH), *blocks) if block)


def _format_params(known: Sequence[Param]) -> str:
    told = [(_format_param(one), PARAMETER_HELP.get(one.name, one.help)) for one in known]
    width = max((len(written) for written, _ in told), default=0)
    return "\n".join(_format_row(written, width, help) for written, help in told)


def _format_row(name: str, width: int, help: str) -> str:
    head = f"  {name:<{width}}  "
    return (
        textwrap.fill(help, WIDTH, initial_indent=head, subsequent_indent=" " * len(head))
        if help
        else head.rstrip()
    )


_OPTION_METAVARS = {"-o": "NAME", "--each": "NAME", "--at-once": "N"}


def _format_param(param: Param) -> str:
    if param.positional and param.required:
        return param.name.upper()
    return (
        param.flag
        if param.kind == "switch"
        else f"{param.flag} {_OPTION_METAVARS.get(param.flag, param.metavar)}"
    )


def _format_example(name: str) -> str:
    return f"For example:\n\n{textwrap.indent(EXAMPLES[name], '  ')}" if name in EXAMPLES else ""
