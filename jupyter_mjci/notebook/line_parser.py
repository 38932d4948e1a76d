"""Parse a magic's line: words, the options of every magic, and verbatim prompts. Knows no IPython.

A prompt has no syntax of ours. Our options are taken out wherever
they stand outside its quotation marks; what remains is sent byte
for byte. `--` before the prompt ends the options. An option that
became part of a prompt would be paid for, so what nearly is one
is an error.
"""

from __future__ import annotations

import keyword
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jupyter_mjci.client.prompt_words import (
    WORD,
    find_open_quote,
    is_flag,
    split_dashes,
)
from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.notebook.argument_parser import END_OF_OPTIONS, parse_tokens
from jupyter_mjci.notebook.params import Param, make_option


@dataclass(frozen=True, slots=True)
class Options:
    """The options that every magic understands."""

    out: str = ""
    no_wait: bool = False
    dry_run: bool = False
    help: bool = False
    session: str = ""
    each: str = ""
    grid: str = ""
    at_once: int = 8
    max_jobs: int | None = None
    retry: int = 0


OUT = Param("out", "-o", "text", "", False, (), "store the result in this variable", False)
NO_WAIT = make_option(
    "--no-wait",
    "return at once: a card that updates itself and a handle to await",
    "switch",
    False,
)
DRY_RUN = make_option("--dry-run", "send nothing, show the request", "switch", False)
SESSION = make_option("--session", "use the session in this variable, for this line")
HELP = make_option("--help", "show this help; also -h", "switch", False)
EACH = make_option(
    "--each",
    "one job per row of this DataFrame (or list of dicts): {{column}} is replaced",
)
GRID = make_option(
    "--grid",
    'one job per combination: a dict of lists or DataFrame, or flags ("stylize=100,400 seed=1,2")',
)
AT_ONCE = make_option("--at-once", "how many of them run at a time (8)", "integer", 8)
MAX_JOBS = make_option(
    "--max-jobs",
    "refuse to submit more jobs than this (the setting max_jobs)",
    "integer",
    None,
)
# Of cells with a body; elsewhere it is the builder's.
AS_IS = make_option("--as-is", "send it even where it looks wrong", "switch", False)
RETRY = make_option(
    "--retry",
    "how often a row is submitted again that failed for a reason that may pass (0)",
    "integer",
    0,
)
OPTIONS = (OUT, NO_WAIT, DRY_RUN, SESSION, HELP)
# For magics that can submit many jobs.
BATCH_OPTIONS = (*OPTIONS, EACH, GRID, AT_ONCE, MAX_JOBS, RETRY)
_SHORT_FLAGS = {"-h": "--help"}
_OTHER_NAMES = {"out": "-o", "output": "-o"}
_VARIABLE_OPTIONS = {"out": "-o", "each": "--each", "session": "--session"}


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
        if word == END_OF_OPTIONS:
            other_words += [word, *remaining]
            break
        name, equals, value = word.partition("=")
        flag = _SHORT_FLAGS.get(name, name)
        if flag not in params_by_flag:
            if not word.startswith("--"):
                _check_dashes(word, params_by_flag, remaining)
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
    for name, flag in (("at_once", "--at-once"), ("retry", "--retry")):
        if name in values and not (options.each or options.grid):
            raise InvalidRequest(f"{flag} requires --each or --grid.", hint=EACH.help)
    if options.retry < 0:
        raise InvalidRequest(f"--retry must be at least 0, not {options.retry}.")
    if options.each and options.grid:
        raise InvalidRequest("--each and --grid exclude each other.", hint=GRID.help)
    if (options.each or options.grid) and options.no_wait:
        flag = "--each" if options.each else "--grid"
        raise InvalidRequest(f"{flag} waits for its jobs: omit --no-wait.")
    if options.at_once < 1:
        raise InvalidRequest(f"--at-once must be at least 1, not {options.at_once}.")
    return options


def _is_variable_name(text: str) -> bool:
    return text.isidentifier() and not keyword.iskeyword(text)


# --- prompts ----------------------------------------------------

# What a synopsis has in place of a prompt.
_SYNOPSIS = re.compile(r"[\[<{]?(PROMPT|<prompt>)[\]>}]?(\s+\[.*)?", re.DOTALL)
_PROMPT_HINT = "For text of the prompt, write -- before the prompt."


@dataclass(frozen=True, slots=True)
class PromptLine:
    """A line with a prompt: the words of its `options`, the
    `prompt`, and whether `--` before it `ended` the options.
    """

    options: list[str]
    prompt: str
    ended: bool = False


def split_prompt(line: str, flags: Sequence[Param], positionals: int = 0) -> PromptLine:
    """Split a line into the words of its options and the prompt.

    Args:
        line: everything after the magic's name
        flags: the parameters of the builder other than the prompt
        positionals: how many words before the prompt belong to
            other parameters

    Returns:
        The options as `--flag=value` words, and what remains,
        byte for byte.

    Raises:
        InvalidRequest: an option has no value, or is written with
            other dashes.
    """
    params = list_prompt_flags(flags)
    options: list[str] = []
    kept: list[str] = []
    matches = list(WORD.finditer(line))
    end = 0  # of the last word that was kept
    while matches:
        match = matches.pop(0)
        if match[0] == END_OF_OPTIONS and len(kept) <= positionals:
            rest = line[match.end() :].strip()
            return PromptLine(options, "".join([*kept, " ", rest]).strip(), ended=True)
        option = _parse_option(match[0], params, matches)
        if option:
            options.append(option)
            continue
        # The blanks before options that were taken out, not those
        # behind them.
        blanks = line[end : match.start()]
        kept.append(blanks[: len(blanks) - len(blanks.lstrip())] + match[0])
        end = match.end()
    return PromptLine(options, "".join(kept).strip())


def check_prompt_line(prompt: str) -> None:
    """Refuse what is a mistake on a line rather than a prompt.

    Raises:
        InvalidRequest: a quotation mark has no partner, the
            prompt is named as if it were an option, or the
            synopsis was copied
    """
    if _SYNOPSIS.fullmatch(prompt):
        raise InvalidRequest("PROMPT stands for your own text.", hint="Nothing was sent.")
    if re.match(r"(--)?prompt[=\s]", prompt) and not prompt.startswith("prompt "):
        raise InvalidRequest(
            "The prompt needs no option.",
            hint=f"Write it as it is, without prompt=. {_PROMPT_HINT}",
        )
    word = find_open_quote(prompt)
    if word:
        raise InvalidRequest(
            f"The quotation mark of {word} has no partner.",
            hint=f"Add or remove it. {_PROMPT_HINT}",
        )


def list_prompt_flags(flags: Sequence[Param]) -> dict[str, Param]:
    """Return the options of a magic with a prompt, by every flag that they are written with."""
    params = {param.flag: param for param in (*flags, *BATCH_OPTIONS)}
    for param in flags:
        if param.kind == "switch":
            params[f"--no-{param.flag[2:]}"] = param
    for short, flag in _SHORT_FLAGS.items():
        params[short] = params[flag]
    return params


def _parse_option(word: str, params: Mapping[str, Param], following: list[re.Match[str]]) -> str:
    """Return a word as an option, "" if it is none. Its value is removed from `following`."""
    name, equals, value = word.partition("=")
    param = params.get(name)
    if param is None:
        _check_dashes(word, params, [match[0] for match in following])
        return ""
    flag = _SHORT_FLAGS.get(name, name)
    if param.kind == "switch":
        return flag + equals + value
    if not equals and following and not _is_option(following[0][0], params):
        value = following.pop(0)[0]
    value = _unquote(value)
    if not value:
        hint = f"{param.help}. {_PROMPT_HINT}" if param.help else _PROMPT_HINT
        raise InvalidRequest(f"{flag} needs a value: {flag} {param.metavar}.", hint=hint)
    return f"{flag}={value}"


def _is_option(word: str, params: Mapping[str, Param]) -> bool:
    return word.partition("=")[0] in params or is_flag(word)


def _check_dashes(word: str, params: Mapping[str, Param], following: Sequence[str]) -> None:
    """Refuse an option with one hyphen, with a long dash or in capitals: it would become text."""
    dashes, name, rest = split_dashes(word)
    flags = {**_OTHER_NAMES, **{flag.lstrip("-"): flag for flag in params}}
    flag = flags.get(name.casefold().replace("_", "-"), "")
    is_last = not following or is_flag(following[0])
    if dashes == "-" and word.startswith("-o") and word[2:].isidentifier() and is_last:
        flag = flag or f"-o {word[2:]}"
        raise InvalidRequest(
            f"{word} is not an option.", hint=f"Did you mean {flag}? {_PROMPT_HINT}"
        )
    joined = f"{word}-{following[0]}".casefold() if following else ""
    if dashes and joined in params:
        raise InvalidRequest(
            f"{word} {following[0]} is not an option.",
            hint=f"Did you mean {joined}? {_PROMPT_HINT}",
        )
    if not flag or (rest and not rest.startswith("=")):
        return
    if dashes == "--" or rest or "-" in name or _looks_like_value(params[flag], following):
        raise InvalidRequest(
            f"{word} is not an option.", hint=f"Did you mean {flag}? {_PROMPT_HINT}"
        )


def _looks_like_value(param: Param, following: Sequence[str]) -> bool:
    """Return whether the words behind a name, which may be a word of the prompt, fit an option."""
    if param.kind == "switch" or not following:
        return not following
    if param.kind in ("picture", "pictures", "file"):
        return "." in following[0]
    if param.kind == "choice":
        return following[0].casefold() in map(str.casefold, param.choices)
    return len(following) == 1


def _unquote(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value
