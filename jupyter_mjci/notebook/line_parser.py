"""What a person writes on a magic's line and in its body, read into plain values. Knows no IPython.

A prompt is nobody's syntax: our options are taken from the front and from the very end of its line,
and everything between is sent byte for byte. `{{name}}` is the only interpolation anywhere, because
`{a, b}` and `$5` mean something to Midjourney.
"""

from __future__ import annotations

import keyword
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.notebook.argument_parser import parse_tokens
from jupyter_mjci.notebook.params import Param


@dataclass(frozen=True, slots=True)
class Options:
    """What every magic understands."""

    out: str = ""
    no_wait: bool = False
    dry_run: bool = False
    help: bool = False
    each: str = ""
    at_once: int = 8


def _make_switch(flag: str, help: str) -> Param:
    return Param(flag.strip("-").replace("-", "_"), flag, "switch", False, False, (), help, False)


OUT = Param("out", "-o", "text", "", False, (), "keep the result in this variable", False)
NO_WAIT = _make_switch(
    "--no-wait", "return at once, with a card that goes on and a handle to await"
)
DRY_RUN = _make_switch("--dry-run", "send nothing, show the request")
HELP = _make_switch("--help", "show this help; also -h")
OPTIONS = (OUT, NO_WAIT, DRY_RUN, HELP)
EACH = Param(
    "each",
    "--each",
    "text",
    "",
    False,
    (),
    "a job for each row of this DataFrame (or list of dicts): {{column}} is filled in",
    False,
)
AT_ONCE = Param(
    "at_once", "--at-once", "integer", 8, False, (), "how many of them at a time (8)", False
)
BATCH_OPTIONS = (*OPTIONS, EACH, AT_ONCE)  # what a magic understands that can make many jobs


def tokenize(line: str) -> list[str]:
    """The words of a line, quotes taken off. An apostrophe that is never closed is text."""
    for quotes in ("'\"", '"', ""):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
        lexer.whitespace_split, lexer.commenters, lexer.quotes = True, "", quotes
        try:
            return list(lexer)
        except ValueError:
            continue
    return line.split()


def split_options(
    words: Sequence[str], known: Sequence[Param] = OPTIONS
) -> tuple[Options, list[str]]:
    """Our own options, wherever they stand, and the other words. Raises CallError."""
    own = {one.flag: one for one in known}
    ours, others, left = [], [], list(words)
    while left:
        word = left.pop(0)
        flag = _SHORT_FLAGS.get(word.partition("=")[0], word.partition("=")[0])
        if flag not in own:
            others.append(word)
            continue
        ours.append(flag + word[len(word.partition("=")[0]) :])
        if own[flag].kind != "switch" and "=" not in word and left:
            ours.append(left.pop(0))
    told = parse_tokens(known, ours)
    for name, flag in _VARIABLE_OPTIONS.items():
        if name in told and (not told[name].isidentifier() or keyword.iskeyword(told[name])):
            raise InvalidRequest(f"{flag} wants the name of a variable, not {told[name]!r}.")
    return _validate_options(Options(**told), "at_once" in told), others


_SHORT_FLAGS = {"-h": "--help"}
_VARIABLE_OPTIONS = {"out": "-o", "each": "--each"}


def _validate_options(options: Options, at_once: bool) -> Options:
    if at_once and not options.each:
        raise InvalidRequest("--at-once is for --each.", hint=EACH.help)
    if options.each and options.no_wait:
        raise InvalidRequest("--each waits for its jobs: leave --no-wait out.")
    if options.at_once < 1:
        raise InvalidRequest(f"--at-once is at least 1, not {options.at_once}.")
    return options


def split_prompt(line: str, flags: Sequence[Param]) -> tuple[list[str], str]:
    """The words of our options at the front and at the very end of the line, and the prompt between
    them.
    """
    if line.strip() in ("--help", "-h"):
        return [line.strip()], ""
    known = {one.flag: one for one in (*flags, OUT, NO_WAIT, DRY_RUN, EACH, AT_ONCE)}
    known |= {f"--no-{one.flag[2:]}": one for one in flags if one.kind == "switch"}
    front, line = _take_leading_options(line, known)
    back, line = _take_trailing_options(line, known)
    if re.search(r"(?:^|\s)-o$", line.rstrip()):
        raise InvalidRequest("-o wants the name of a variable.")
    return front + back, line.strip()


_VALUE_PATTERN = r"(\"[^\"]*\"|'[^']*'|\S+)"
_FLAG_PATTERN = r"(-o|--[a-z][a-z-]*)"


def _take_leading_options(line: str, known: Mapping[str, Param]) -> tuple[list[str], str]:
    words: list[str] = []
    while found := re.match(rf"\s*{_FLAG_PATTERN}(?=[\s=]|$)", line):
        param = known.get(found[1])
        if param is None:
            break
        rest = line[found.end() :]
        if param.kind == "switch":
            words, line = [*words, found[1]], rest
            continue
        value = re.match(rf"(?:=|\s+){_VALUE_PATTERN}(?=\s|$)", rest)
        if value is None:
            raise InvalidRequest(
                f"{found[1]} needs a value: {found[1]} {param.metavar}.", hint=param.help
            )
        words, line = [*words, f"{found[1]}={_unquote(value[1])}"], rest[value.end() :]
    return words, line


def _take_trailing_options(line: str, known: Mapping[str, Param]) -> tuple[list[str], str]:
    words: list[str] = []
    while True:
        switch = re.search(rf"(?:^|\s){_FLAG_PATTERN}\s*$", line)
        if switch and switch[1] in known and known[switch[1]].kind == "switch":
            words, line = [switch[1], *words], line[: switch.start()]
            continue
        valued = re.search(rf"(?:^|\s){_FLAG_PATTERN}(?:=|\s+){_VALUE_PATTERN}\s*$", line)
        if not (valued and valued[1] in known and known[valued[1]].kind != "switch"):
            return words, line
        words, line = [f"{valued[1]}={_unquote(valued[2])}", *words], line[: valued.start()]


def _unquote(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value


# --- interpolation --------------------------------------------------------------------------------


# --- the body of %%ci_job -------------------------------------------------------------------------
