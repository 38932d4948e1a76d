"""Parse a magic's line: words, the options of every magic, and verbatim prompts. Knows no IPython.

A prompt has no syntax of ours: options are taken from the start
and from the very end of the line, and everything between them is
sent byte for byte.
"""

from __future__ import annotations

import keyword
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.notebook.argument_parser import parse_tokens
from jupyter_mjci.notebook.params import Param, make_option


@dataclass(frozen=True, slots=True)
class Options:
    """The options that every magic understands."""

    out: str = ""
    no_wait: bool = False
    dry_run: bool = False
    help: bool = False
    each: str = ""
    at_once: int = 8


OUT = Param("out", "-o", "text", "", False, (), "store the result in this variable", False)
NO_WAIT = make_option(
    "--no-wait",
    "return at once: a card that updates itself and a handle to await",
    "switch",
    False,
)
DRY_RUN = make_option("--dry-run", "send nothing, show the request", "switch", False)
HELP = make_option("--help", "show this help; also -h", "switch", False)
EACH = make_option(
    "--each",
    "one job per row of this DataFrame (or list of dicts): {{column}} is replaced",
)
AT_ONCE = make_option("--at-once", "how many of them run at a time (8)", "integer", 8)
OPTIONS = (OUT, NO_WAIT, DRY_RUN, HELP)
# For magics that can submit many jobs.
BATCH_OPTIONS = (*OPTIONS, EACH, AT_ONCE)
_SHORT_FLAGS = {"-h": "--help"}
_VARIABLE_OPTIONS = {"out": "-o", "each": "--each"}


def tokenize(line: str) -> list[str]:
    """Split a line into words and remove quotes. An apostrophe that is never closed is text."""
    for quotes in ("'\"", '"', ""):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
        lexer.whitespace_split = True
        lexer.commenters = ""
        lexer.quotes = quotes
        try:
            return list(lexer)
        except ValueError:
            continue
    return line.split()


def split_options(
    words: Sequence[str], params: Sequence[Param] = OPTIONS
) -> tuple[Options, list[str]]:
    """Separate the options, wherever they are, from the other words.

    Raises:
        InvalidRequest: an option has no value, or one that does
            not fit.
    """
    params_by_flag = {param.flag: param for param in params}
    option_words: list[str] = []
    other_words: list[str] = []
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        name, equals, value = word.partition("=")
        flag = _SHORT_FLAGS.get(name, name)
        if flag not in params_by_flag:
            other_words.append(word)
            continue
        option_words.append(flag + equals + value)
        if params_by_flag[flag].kind != "switch" and not equals and remaining:
            option_words.append(remaining.pop(0))
    return _build_options(parse_tokens(params, option_words)), other_words


def _build_options(values: Mapping[str, Any]) -> Options:
    for name, flag in _VARIABLE_OPTIONS.items():
        variable = values.get(name)
        if variable is not None and not _is_variable_name(str(variable)):
            raise InvalidRequest(f"{flag} needs a variable name, not {variable!r}.")
    options = Options(**values)
    if "at_once" in values and not options.each:
        raise InvalidRequest("--at-once requires --each.", hint=EACH.help)
    if options.each and options.no_wait:
        raise InvalidRequest("--each waits for its jobs: omit --no-wait.")
    if options.at_once < 1:
        raise InvalidRequest(f"--at-once must be at least 1, not {options.at_once}.")
    return options


def _is_variable_name(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text)


# --- prompts ----------------------------------------------------

# A word, or a quoted value (with its flag, if written --flag="a
# b"), up to the next whitespace.
_WORD = re.compile(r"""(?:-o=|--[a-z][a-z-]*=)?(?:"[^"]*"|'[^']*')(?!\S)|\S+""")


def split_prompt(line: str, flags: Sequence[Param]) -> tuple[list[str], str]:
    """Split a line into the words of the options at its start and end, and the prompt between them.

    Args:
        line: everything after the magic's name
        flags: the parameters of the builder other than the prompt

    Returns:
        The options as `--flag=value` words, and the prompt byte
        for byte.

    Raises:
        InvalidRequest: an option has no value.
    """
    if line.strip() in ("--help", "-h"):
        return [line.strip()], ""
    params = {param.flag: param for param in (*flags, OUT, NO_WAIT, DRY_RUN, EACH, AT_ONCE)}
    for param in flags:
        if param.kind == "switch":
            params[f"--no-{param.flag[2:]}"] = param
    matches = list(_WORD.finditer(line))
    words = [match[0] for match in matches]
    leading, start = _parse_leading_options(words, params)
    trailing, count = _parse_trailing_options(words[start:], params)
    end = start + count
    if start == end:
        return leading + trailing, ""
    if words[end - 1] == "-o":
        raise InvalidRequest("-o needs a variable name.")
    return leading + trailing, line[matches[start].start() : matches[end - 1].end()]


def _parse_leading_options(
    words: Sequence[str], params: Mapping[str, Param]
) -> tuple[list[str], int]:
    """Return the options at the start, and how many words they take."""
    options: list[str] = []
    position = 0
    while position < len(words):
        flag, equals, value = words[position].partition("=")
        param = params.get(flag)
        if param is None:
            break
        position += 1
        if param.kind == "switch":
            options.append(flag + equals + value)
            continue
        if not equals and position < len(words):
            value = words[position]
            position += 1
        if not value:
            raise InvalidRequest(f"{flag} needs a value: {flag} {param.metavar}.", hint=param.help)
        options.append(f"{flag}={_unquote(value)}")
    return options, position


def _parse_trailing_options(
    words: Sequence[str], params: Mapping[str, Param]
) -> tuple[list[str], int]:
    """Return the options at the end, and how many words come before them."""
    options: list[str] = []
    end = len(words)
    while end:
        flag, equals, value = words[end - 1].partition("=")
        start = end - 1
        if not equals and end > 1 and not _is_switch(params, flag):
            flag, equals, value = words[end - 2], "=", words[end - 1]
            start = end - 2
        if flag not in params or _is_switch(params, flag) == bool(value):
            break
        options.insert(0, flag + equals + _unquote(value))
        end = start
    return options, end


def _is_switch(params: Mapping[str, Param], flag: str) -> bool:
    return flag in params and params[flag].kind == "switch"


def _unquote(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value
