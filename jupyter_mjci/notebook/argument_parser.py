"""Parse the words of a line into a builder's arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jupyter_mjci.errors import InvalidRequest, suggest
from jupyter_mjci.notebook.params import Param, parse_signature


def parse_arguments(
    builder: Callable[..., Any], tokens: Iterable[str], rest: str = ""
) -> dict[str, Any]:
    """The keyword arguments that the words of a line say: `--flag value`, `--flag=value`,
    `--switch`, and bare words for the positional parameters. `rest` names the one that takes all
    bare words that remain, as one text.

    Raises CallError, naming the flag and what exists.
    """
    return parse_tokens(parse_signature(builder), tokens, rest)


def parse_tokens(known: Sequence[Param], tokens: Iterable[str], rest: str = "") -> dict[str, Any]:
    """The same for parameters that no builder's signature tells."""
    written: dict[str, list[str | bool]] = {}
    bare: list[str] = []
    words = list(tokens)
    while words:
        word = words.pop(0)
        if _is_flag(word):
            param, value = _parse_flag(known, word, words)
            written.setdefault(param.name, []).append(value)
        else:
            bare.append(word)
    for name, word in _assign_positionals(known, bare, written, rest):
        written.setdefault(name, []).append(word)
    _check_required(known, written)
    return {
        param.name: _combine_values(param, written[param.name])
        for param in known
        if param.name in written
    }


def convert(param: Param, text: str) -> Any:
    """What a person wrote for a parameter, as the value that its builder wants. Raises
    CallError.
    """
    if param.kind == "choice":
        return _parse_choice(param, text)
    try:
        return _PARSERS.get(param.kind, str)(text)
    except OSError as error:
        raise InvalidRequest(
            f"{param.flag}: cannot read {text}.", detail=error.strerror or ""
        ) from None
    except ValueError:
        raise InvalidRequest(
            f"{param.flag} wants {_EXPECTED[param.kind]}, not {text!r}.", hint=param.help
        ) from None


def _is_flag(word: str) -> bool:
    return word.startswith("-") and len(word) > 1 and not word[1].isdigit()


def _parse_flag(known: Sequence[Param], word: str, rest: list[str]) -> tuple[Param, str | bool]:
    """The parameter that a flag names, and its value, taken from the words after it where the flag
    has none.
    """
    flag, has_value, value = word.partition("=")
    param, on = _find_flag(known, flag)
    if param.kind == "switch":
        if has_value:
            raise InvalidRequest(
                f"{flag} takes no value.", hint=f"Write {flag} alone, or leave it out."
            )
        return param, on
    if has_value:
        return param, value
    if not rest or _is_flag(rest[0]):
        raise InvalidRequest(f"{flag} needs a value: {flag} {param.metavar}.", hint=param.help)
    return param, rest.pop(0)


def _find_flag(known: Sequence[Param], flag: str) -> tuple[Param, bool]:
    for param in known:
        if param.flag == flag:
            return param, True
        if param.kind == "switch" and flag == "--no-" + param.flag[2:]:
            return param, False
    raise InvalidRequest(
        f"There is no {flag} here.", hint=suggest(flag, [param.flag for param in known])
    )


def _assign_positionals(
    known: Sequence[Param], bare: Sequence[str], written: Mapping[str, Any], rest: str
) -> Iterable[tuple[str, str]]:
    """Which parameter each bare word is for. A parameter for several takes all that remain."""
    left = list(bare)
    for param in known:
        if not param.positional or param.name in written or not left:
            continue
        if param.name == rest:
            left = [" ".join(left)]
        take = len(left) if param.kind in ("texts", "pictures") else 1
        yield from ((param.name, word) for word in left[:take])
        left = left[take:]
    if left:
        flags = ", ".join(param.flag for param in known)
        raise InvalidRequest(
            f"What is {left[0]!r} for?",
            hint=f"There are: {flags}." if flags else "It takes nothing.",
        )


def _check_required(known: Sequence[Param], written: Mapping[str, Any]) -> None:
    missing = [param for param in known if param.required and param.name not in written]
    if missing:
        names = ", ".join(
            param.name.upper() if param.positional else param.flag for param in missing
        )
        raise InvalidRequest(
            f"{names} is missing." if len(missing) == 1 else f"{names} are missing.",
            hint=missing[0].help,
        )


def _combine_values(param: Param, values: Sequence[str | bool]) -> Any:
    """The value of all that was written for one parameter: lists add up, elsewhere the last one
    counts.
    """
    if param.kind == "object":
        raise InvalidRequest(
            f"{param.flag} cannot be given on a line.", hint="Build the call in Python."
        )
    if param.kind in ("texts", "pictures"):
        return [one for text in values for one in convert(param, str(text))]
    last = values[-1]
    return last if isinstance(last, bool) else convert(param, last)


def _parse_choice(param: Param, text: str) -> str:
    for choice in param.choices:
        if choice.casefold() == text.casefold():
            return choice
    raise InvalidRequest(
        f"{param.flag} is one of {', '.join(param.choices)}, not {text!r}.", hint=param.help
    )


def _parse_list(text: str) -> list[str]:
    return [one.strip() for one in text.split(",") if one.strip()]


def _parse_pictures(text: str) -> list[str]:
    return (
        [text] if text.startswith("data:") else _parse_list(text)
    )  # a data URL has a comma of its own


def _parse_pairs(text: str) -> dict[str, str]:
    pairs = [one.partition("=") for one in _parse_list(text)]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError(text)
    return {name.strip(): value.strip() for name, _, value in pairs}


_PARSERS: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "number": float,
    "texts": _parse_list,
    "pictures": _parse_pictures,
    "pairs": _parse_pairs,
    "file": lambda text: Path(text).expanduser().read_bytes(),
}


_EXPECTED = {
    "integer": "a whole number",
    "number": "a number",
    "pairs": "pairs, NAME=VALUE,…",
    "file": "a path",
}
