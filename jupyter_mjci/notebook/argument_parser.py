"""Parse the words of a line into a builder's keyword arguments.

argparse does not fit: every positional parameter can also be
written as a flag (`%mj_task ID`, `%mj_task --task-id ID`),
choices ignore case, and an unknown flag is answered with the
closest one that exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_mjci.errors import InvalidRequest, suggest
from jupyter_mjci.notebook.params import Builder, Param, parse_signature

# What follows it is no option, however it looks.
END_OF_OPTIONS = "--"


def parse_arguments(
    builder: Builder, tokens: Iterable[str], rest: str = "", other_flags: Sequence[str] = ()
) -> dict[str, Any]:
    """Parse words into the keyword arguments of a builder.

    Args:
        builder: the call builder whose signature declares the
            parameters
        tokens: `--flag value`, `--flag=value`, `--switch`,
            `--no-switch`; bare words are assigned to the
            positional parameters
        rest: the parameter that takes all remaining bare words as
            one text
        other_flags: what else may be written on the line, for the
            suggestion

    Raises:
        InvalidRequest: names the flag and the available ones.
    """
    return parse_tokens(parse_signature(builder), tokens, rest, other_flags)


def parse_tokens(
    params: Sequence[Param],
    tokens: Iterable[str],
    rest: str = "",
    other_flags: Sequence[str] = (),
) -> dict[str, Any]:
    """Parse words as `parse_arguments` does, for an explicit list of parameters."""
    written: dict[str, list[str | bool]] = {}
    bare: list[str] = []
    words = list(tokens)
    while words:
        word = words.pop(0)
        if word == END_OF_OPTIONS:
            bare += words
            break
        if _is_flag(word):
            param, value = _parse_flag(params, word, words, other_flags)
            written.setdefault(param.name, []).append(value)
        else:
            bare.append(word)
    for name, word in _assign_positionals(params, bare, written, rest):
        written.setdefault(name, []).append(word)
    _check_required(params, written)
    return {
        param.name: _combine_values(param, written[param.name])
        for param in params
        if param.name in written
    }


def convert(param: Param, text: str) -> object:
    """Convert the text written for a parameter to the value that its builder takes.

    Raises:
        InvalidRequest: the text does not fit the parameter's
            kind, or its file cannot be read.
    """
    if param.kind == "choice":
        return _parse_choice(param, text)
    parse = _PARSERS.get(param.kind, str)
    try:
        return parse(text)
    except OSError as error:
        raise InvalidRequest(
            f"{param.flag}: cannot read {text}.", detail=error.strerror or ""
        ) from None
    except ValueError:
        raise InvalidRequest(
            f"{param.flag} must be {_EXPECTED[param.kind]}, not {text!r}.",
            hint=param.help,
        ) from None


def _is_flag(word: str) -> bool:
    return word.startswith("-") and len(word) > 1 and not word[1].isdigit()


def _parse_flag(
    params: Sequence[Param], word: str, rest: list[str], other_flags: Sequence[str]
) -> tuple[Param, str | bool]:
    """Return the parameter that a flag names, and its value. A
    value that is not part of the word is removed from `rest`.
    """
    flag, has_value, value = word.partition("=")
    param, is_on = _find_flag(params, flag, other_flags)
    if param.kind == "switch":
        if has_value:
            raise InvalidRequest(f"{flag} takes no value.", hint=f"Write {flag} alone or omit it.")
        return param, is_on
    if has_value:
        return param, value
    if not rest or _is_flag(rest[0]):
        raise InvalidRequest(f"{flag} needs a value: {flag} {param.metavar}.", hint=param.help)
    return param, rest.pop(0)


def _find_flag(
    params: Sequence[Param], flag: str, other_flags: Sequence[str]
) -> tuple[Param, bool]:
    for param in params:
        if param.flag == flag:
            return param, True
        if param.kind == "switch" and flag == "--no-" + param.flag[2:]:
            return param, False
    flags = [*(param.flag for param in params), *other_flags]
    raise InvalidRequest(f"{flag} is not an option here.", hint=suggest(flag, flags))


def _assign_positionals(
    params: Sequence[Param],
    bare: Sequence[str],
    written: Mapping[str, object],
    rest: str,
) -> Iterator[tuple[str, str]]:
    """Yield the parameter of each bare word. A list parameter takes all remaining words."""
    remaining = list(bare)
    for param in params:
        if not param.positional or param.name in written or not remaining:
            continue
        if param.name == rest:
            remaining = [" ".join(remaining)]
        count = len(remaining) if param.kind in ("texts", "pictures") else 1
        for word in remaining[:count]:
            if word.strip("[]<>") == param.name.upper():
                raise InvalidRequest(
                    f"{word} stands for a value of your own.",
                    hint=f"Nothing was sent. {param.help}",
                )
            yield param.name, word
        remaining = remaining[count:]
    if remaining:
        flags = ", ".join(param.flag for param in params)
        hint = f"Available: {flags}." if flags else "It takes no arguments."
        raise InvalidRequest(f"Unexpected argument {remaining[0]!r}.", hint=hint)


def _check_required(params: Sequence[Param], written: Mapping[str, object]) -> None:
    missing = [param for param in params if param.required and param.name not in written]
    if not missing:
        return
    names = [param.name.upper() if param.positional else param.flag for param in missing]
    verb = "is" if len(names) == 1 else "are"
    raise InvalidRequest(f"{', '.join(names)} {verb} missing.", hint=missing[0].help)


def _combine_values(param: Param, values: Sequence[str | bool]) -> object:
    """Combine everything written for one parameter: lists are joined, otherwise the last wins."""
    if param.kind == "object":
        raise InvalidRequest(
            f"{param.flag} cannot be written on a line.",
            hint="Build the call in Python.",
        )
    if param.kind in ("texts", "pictures"):
        split = _parse_list if param.kind == "texts" else _parse_pictures
        return [item for text in values for item in split(str(text))]
    last = values[-1]
    return last if isinstance(last, bool) else convert(param, last)


def _parse_choice(param: Param, text: str) -> str:
    for choice in param.choices:
        if choice.casefold() == text.casefold():
            return choice
    raise InvalidRequest(
        f"{param.flag} must be one of {', '.join(param.choices)}, not {text!r}.",
        hint=param.help,
    )


def _parse_list(text: str) -> list[str]:
    items = map(str.strip, text.split(","))
    return [item for item in items if item]


def _parse_pictures(text: str) -> list[str]:
    if text.startswith("data:"):  # a data URL contains a comma
        return [text]
    return _parse_list(text)


def _parse_pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for item in _parse_list(text):
        name, equals, value = item.partition("=")
        if not equals:
            raise ValueError(text)
        pairs[name.strip()] = value.strip()
    return pairs


def _read_file(path: str) -> bytes:
    return Path(path).expanduser().read_bytes()


_PARSERS: Mapping[str, Callable[[str], object]] = {
    "integer": int,
    "number": float,
    "texts": _parse_list,
    "pictures": _parse_pictures,
    "pairs": _parse_pairs,
    "file": _read_file,
}

_EXPECTED: Mapping[str, str] = {
    "integer": "an integer",
    "number": "a number",
    "pairs": "NAME=VALUE pairs",
    "file": "a path",
}
