"""Midjourney's own flags (`--ar 3:2`), and the check of a prompt before it is sent.

A task with a wrong flag fails at the service, perhaps after it
was paid for, and one with another dash is drawn without the flag.
One table serves the check, the panel's fields, the completion and
the documentation. It lists the flags of every version, because a
proxy may offer any of them; where documents of versions differ,
the widest range counts. The check is about what certainly goes
wrong: what might be prose is left alone. Midjourney knows no
quotation marks, so a flag between them takes the closing one into
its value.

Sources: public guides to Midjourney's parameters, for versions 1
to 8.1, Niji 4 to 7 and Video 1. Where they disagree, or a range is
not told, the check lets it pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import pairwise
from typing import Literal
from unicodedata import category, normalize

from jupyter_mjci.client.prompt_words import (
    DASHES,
    QUOTATION,
    is_flag,
    split_dashes,
    split_words,
)
from jupyter_mjci.errors import PreflightError

ValueKind = Literal["switch", "number", "integer", "ratio", "choice", "version", "text"]
AS_IS_HINT = "To send it as it is: --as-is (in Python as_is=True)."


@dataclass(frozen=True, slots=True)
class PromptFlag:
    """One of Midjourney's own flags.

    Args:
        name: with its dashes, as the panel writes it
        help: what it does
        kind: what its value is; text is anything, as links, style
            codes and lists of words
        aliases: its other names
        low: the least number
        high: the largest number
        choices: the values of a choice
        default: the number that counts without the flag
        examples: usual values, where there are others, too
        is_optional: it also stands without a value
        is_repeatable: it may be written several times
        since: the first version of the model that has it
        before: the first version that no longer has it
    """

    name: str
    help: str
    kind: ValueKind = "switch"
    aliases: tuple[str, ...] = ()
    low: float = 0
    high: float = 0
    choices: tuple[str, ...] = ()
    default: int | None = None
    examples: tuple[str, ...] = ()
    is_optional: bool = False
    is_repeatable: bool = False
    since: float = 0
    before: float = 1000

    @property
    def names(self) -> tuple[str, ...]:
        return (self.name, *self.aliases)

    @property
    def values(self) -> tuple[str, ...]:
        """The values to offer: all that there are, or the usual ones."""
        return self.choices or self.examples

    @property
    def expected(self) -> str:
        """What its value must be, in words."""
        if self.kind in ("number", "integer"):
            noun = "a whole number" if self.kind == "integer" else "a number"
            return f"{noun} from {self.low:g} to {self.high:.10g}"
        if self.kind == "choice":
            return f"one of {', '.join(self.choices)}"
        return _EXPECTED[self.kind]

    def accepts(self, value: str) -> bool:
        """Return whether a written value is certainly not wrong."""
        if self.kind == "choice":
            return value.casefold() in self.choices
        if self.kind in ("number", "integer"):
            return self._is_in_range(value)
        return bool(_PATTERNS[self.kind].fullmatch(value))

    def _is_in_range(self, value: str) -> bool:
        if not _PATTERNS[self.kind].fullmatch(value):
            return False
        return self.low <= float(value) <= self.high


_EXPECTED = {
    "ratio": "width:height in whole numbers, such as 3:2",
    "version": "a version of the model, such as 7 or 6.1",
    "text": "a text",
    "switch": "nothing",
}
_PATTERNS = {
    "ratio": re.compile(r"0*[1-9]\d{0,3}:0*[1-9]\d{0,3}"),
    # From 7 on there may be versions that this table has not
    # heard of.
    "version": re.compile(r"[1-4]|5(\.[0-2])?|6(\.[01])?|[7-9](\.\d)?"),
    "integer": re.compile(r"\d{1,10}"),
    "number": re.compile(r"\d{1,10}(\.\d*)?|\.\d+"),
    "text": re.compile(r".+", re.DOTALL),
    "switch": re.compile(r""),
}

ASPECT_RATIOS = ("1:1", "3:2", "2:3", "4:3", "3:4", "16:9", "9:16", "21:9")
VERSIONS = ("8.1", "8", "7", "6.1", "6", "5.2", "5.1", "5", "4")
FLAGS: tuple[PromptFlag, ...] = (
    PromptFlag(
        "--ar",
        "width to height",
        "ratio",
        ("--aspect",),
        examples=ASPECT_RATIOS,
    ),
    PromptFlag(
        "--v",
        "version of the model",
        "version",
        ("--version",),
        examples=VERSIONS,
    ),
    PromptFlag(
        "--niji",
        "the model for anime, and its version",
        "version",
        examples=("7", "6", "5"),
        is_optional=True,
    ),
    PromptFlag(
        "--stylize", "how much of the model's own taste", "integer", ("--s",), 0, 1000, default=100
    ),
    PromptFlag(
        "--chaos", "how different the four pictures are", "integer", ("--c",), 0, 100, default=0
    ),
    PromptFlag(
        "--weird",
        "how unusual they are",
        "integer",
        ("--w",),
        0,
        3000,
        default=0,
    ),
    PromptFlag(
        "--exp",
        "more detail and drama",
        "integer",
        (),
        0,
        100,
        since=7,
    ),
    PromptFlag(
        "--quality",
        "how much time is spent",
        "choice",
        ("--q",),
        choices=("0.25", ".25", "0.5", ".5", "1", "2", "4"),
    ),
    PromptFlag(
        "--seed",
        "the noise it starts from",
        "integer",
        ("--sameseed",),
        0,
        4294967295,
    ),
    PromptFlag(
        "--stop",
        "stop early, at this percentage",
        "integer",
        (),
        10,
        100,
    ),
    PromptFlag(
        "--repeat",
        "draw it so many times",
        "integer",
        ("--r",),
        1,
        40,
    ),
    PromptFlag(
        "--no",
        "what should not be there: wolves, snow",
        "text",
        is_repeatable=True,
    ),
    PromptFlag(
        "--iw",
        "weight of the picture prompt",
        "number",
        (),
        0,
        3,
    ),
    PromptFlag(
        "--sref",
        "style reference: link, code or random",
        "text",
        is_repeatable=True,
    ),
    PromptFlag(
        "--sw",
        "weight of the style reference",
        "integer",
        (),
        0,
        1000,
    ),
    PromptFlag(
        "--sv",
        "version of the style reference",
        "integer",
        (),
        1,
        10,
    ),
    PromptFlag(
        "--oref",
        "omni reference: a link",
        "text",
        is_repeatable=True,
        since=7,
    ),
    PromptFlag(
        "--ow",
        "weight of the omni reference",
        "integer",
        (),
        0,
        1000,
        since=7,
    ),
    PromptFlag(
        "--cref",
        "character reference: links",
        "text",
        is_repeatable=True,
        before=7,
    ),
    PromptFlag(
        "--cw",
        "weight of the character reference",
        "integer",
        (),
        0,
        100,
        before=7,
    ),
    PromptFlag(
        "--dref",
        "depth reference: a link",
        "text",
        is_repeatable=True,
    ),
    PromptFlag(
        "--dw",
        "weight of the depth reference",
        "integer",
        (),
        0,
        100,
    ),
    PromptFlag(
        "--profile",
        "personalization: profile or moodboard codes",
        "text",
        ("--p", "--personalize"),
        is_optional=True,
        is_repeatable=True,
    ),
    PromptFlag(
        "--style",
        "a variant of the model: raw, cute, …",
        "text",
        examples=("raw", "cute", "expressive", "scenic", "original"),
    ),
    PromptFlag(
        "--raw",
        "less of the model's own taste",
    ),
    PromptFlag(
        "--tile",
        "a pattern that repeats",
    ),
    PromptFlag(
        "--draft",
        "faster and cheaper, with less detail",
        since=7,
    ),
    PromptFlag(
        "--hd",
        "more pixels",
    ),
    PromptFlag(
        "--sd",
        "fewer pixels",
    ),
    PromptFlag(
        "--zoom",
        "factor of a custom zoom",
        "number",
        (),
        1,
        2,
    ),
    PromptFlag(
        "--video",
        "a video that begins with a picture",
    ),
    PromptFlag(
        "--motion",
        "how much a video moves",
        "choice",
        choices=("low", "high"),
    ),
    PromptFlag(
        "--loop",
        "a video whose end meets its beginning",
    ),
    PromptFlag(
        "--end",
        "the last frame of a video: a link, or loop",
        "text",
        examples=("loop",),
    ),
    PromptFlag(
        "--bs",
        "how many videos",
        "choice",
        choices=("1", "2", "4"),
    ),
    PromptFlag(
        "--fast",
        "fast mode",
    ),
    PromptFlag(
        "--relax",
        "relax mode",
    ),
    PromptFlag(
        "--turbo",
        "turbo mode",
    ),
    PromptFlag(
        "--public",
        "show it in the gallery",
    ),
    PromptFlag(
        "--stealth",
        "do not show it in the gallery",
    ),
    # Those of the first versions.
    PromptFlag(
        "--creative",
        "of --test: freer composition",
    ),
    PromptFlag(
        "--test",
        "the first test model",
    ),
    PromptFlag(
        "--testp",
        "the first test model, for photographs",
    ),
    PromptFlag(
        "--beta",
        "an early test model",
    ),
    PromptFlag(
        "--hq",
        "an early quality switch",
    ),
    PromptFlag(
        "--vibe",
        "an early model",
    ),
    PromptFlag(
        "--upbeta",
        "the beta upscaler",
    ),
    PromptFlag(
        "--uplight",
        "the light upscaler",
    ),
    PromptFlag(
        "--upanime",
        "the anime upscaler",
    ),
    # Of the sandbox: tasks that fail or never end, to try what
    # happens then.
    PromptFlag(
        "--fail",
        "sandbox only: the task fails",
    ),
    PromptFlag(
        "--stuck",
        "sandbox only: the task never ends",
    ),
)
FLAGS_BY_NAME = {name: flag for flag in FLAGS for name in flag.names}


@dataclass(frozen=True, slots=True)
class WrittenFlag:
    """A flag as it stands in a prompt: its definition and its values' words."""

    flag: PromptFlag
    text: str
    values: tuple[str, ...]


def check_prompt(
    prompt: str,
    *,
    has_picture: bool = False,
    other_flags: Sequence[str] = (),
    others_are_text: bool = False,
) -> None:
    """Check a prompt's flags before it is sent. Nothing is changed.

    Args:
        prompt: the prompt as it would be sent
        has_picture: whether a picture is sent with it
        other_flags: options that might have been meant instead,
            for the suggestion
        others_are_text: whether what is or resembles one of them
            is meant as text

    Raises:
        PreflightError: it has no words, a flag is unknown, doubled or written with
            other dashes, a value is missing or out of range, or a
            video has no picture; says what to change
    """
    _check_words(prompt)
    for variant in list_variants(prompt):
        _check_quotations(variant)
        words = split_words(variant)
        _check_spelling(words, other_flags, others_are_text)
        written = list(_iter_flags(words))
        _check_values(written)
        _check_doubled(written)
        _check_versions(written)
        if not has_picture:
            _check_video(variant, written)


def is_refused(prompt: str) -> bool:
    """Return whether `check_prompt` finds something wrong."""
    try:
        check_prompt(prompt, has_picture=True)
    except PreflightError:
        return True
    return False


def count_jobs(prompt: str) -> int:
    """Return how many jobs a prompt makes: its permutations, times its `--repeat`."""
    variants = list_variants(prompt, MAX_VARIANTS)
    total = 0
    for variant in variants:
        repeats = [
            int(item.values[0])
            for item in _iter_flags(split_words(variant))
            if item.flag.name == "--repeat" and item.values and item.flag.accepts(item.values[0])
        ]
        total += max(repeats, default=1)
    return total


# --- permutations: {red, green} ---------------------------------

MAX_VARIANTS = 10_000
# Midjourney takes 40 at most; more are not worth checking.
MAX_CHECKED_VARIANTS = 100
# A character behind a backslash is text; the others open, close
# and separate.
_MARK = re.compile(r"\\.|[{},]", re.DOTALL)


def list_variants(prompt: str, limit: int = MAX_CHECKED_VARIANTS) -> list[str]:
    """Return the prompts that a permutation prompt stands for, at most `limit`.

    `a {red, green} fox` stands for two. Source: the document
    "Permutations" of docs.midjourney.com.
    """
    variants = [prompt]
    finished: list[str] = []
    while variants and len(variants) + len(finished) < limit:
        variant = variants.pop(0)
        group = _find_group(variant)
        if group is None:
            finished.append(variant)
            continue
        head, choices, tail = group
        variants += [head + choice.strip() + tail for choice in choices]
    return (finished + variants)[:limit]


def _find_group(prompt: str) -> tuple[str, list[str], str] | None:
    """Return the first group in braces: what is before it, its choices, what is behind it."""
    depth = 0
    cuts: list[int] = []
    for mark in _MARK.finditer(prompt):
        if mark[0] == "{":
            depth += 1
            if depth == 1:
                cuts = [mark.start()]
        elif mark[0] == "}" and depth:
            depth -= 1
            if depth == 0:
                cuts.append(mark.start())
                choices = [prompt[start + 1 : end] for start, end in pairwise(cuts)]
                return prompt[: cuts[0]], choices, prompt[mark.end() :]
        elif mark[0] == "," and depth == 1:
            cuts.append(mark.start())
    return None


# --- words ------------------------------------------------------


def list_flag_names(prompt: str) -> set[str]:
    """Return the names of the flags that a prompt, or one of its permutations, is written with."""
    return {
        item.flag.name
        for variant in list_variants(prompt)
        for item in _iter_flags(split_words(variant))
    }


def split_flags(prompt: str) -> tuple[str, list[tuple[str, str]]]:
    """Return the text of a prompt, and each flag behind it with all that follows it as its value.

    Aliases are replaced by the flag's name; nothing is lost.
    """
    words = split_words(prompt)
    starts = [index for index, word in enumerate(words) if is_flag(word)]
    if not starts:
        return prompt, []
    flags = []
    for start, end in zip(starts, [*starts[1:], len(words)], strict=True):
        flag = FLAGS_BY_NAME.get(words[start].casefold())
        flags.append((flag.name if flag else words[start], " ".join(words[start + 1 : end])))
    return " ".join(words[: starts[0]]), flags


def _iter_flags(words: Sequence[str]) -> Iterator[WrittenFlag]:
    for index, word in enumerate(words):
        flag = FLAGS_BY_NAME.get(word.casefold())
        if flag is not None:
            yield WrittenFlag(flag, word, tuple(_take_values(words[index + 1 :])))


def _take_values(words: Sequence[str]) -> Iterator[str]:
    for word in words:
        if is_flag(word):
            return
        # A comma behind a value separates it from prose.
        yield word.rstrip(",") or word


# --- checks -----------------------------------------------------


# of letters, digits, marks and signs, which have emoji among them
_DRAWN_CATEGORIES = ("L", "N", "M", "So")


def _check_words(prompt: str) -> None:
    """Refuse a prompt in which nothing can be drawn.

    Quotation marks around nothing, for example, or a lone "?".
    Without any prompt a call does without one, or refuses it.
    """
    if not prompt:
        return
    for letter in prompt:
        if category(letter).startswith(_DRAWN_CATEGORIES):
            return
    raise PreflightError(
        f"The prompt has no words: {prompt.strip()}",
        hint=f"Write what to draw. {AS_IS_HINT}",
    )


def _check_quotations(prompt: str) -> None:
    """Refuse flags in quotation marks: all where they enclose the prompt, else those with values.

    What looks like a switch may be text of a sign: "go --fast".
    """
    for quotation in QUOTATION.findall(prompt):
        encloses_all = quotation == prompt.strip()
        # A first word touches the quotation mark: it is text.
        for word in re.findall(r"(?<=\s)\S+", quotation[1:-1]):
            flag = FLAGS_BY_NAME.get(word.casefold())
            if (is_flag(word) and encloses_all) or (flag and flag.kind != "switch"):
                raise PreflightError(
                    f"{word} stands in quotation marks, which would be part of its value.",
                    hint=f"Leave them out, or write it behind them. {AS_IS_HINT}",
                )


def _check_spelling(
    words: Sequence[str], other_flags: Sequence[str], others_are_text: bool
) -> None:
    for index, word in enumerate(words):
        dashes, name, rest = split_dashes(word)
        following = words[index + 1 :]
        if not dashes:
            _check_bare_ratio(word, following)
            continue
        if word == "--" and (not following or split_dashes(following[0])[0]):
            raise PreflightError(
                "-- alone is no flag.",
                hint=f"Remove it; before the prompt it ends our options. {AS_IS_HINT}",
            )
        if dashes == "--" and name:
            suggestion = _find_suggestion(word, name, rest, other_flags)
            if others_are_text and suggestion in other_flags:
                continue
            _check_name(word, suggestion)
        elif name.casefold() == "no" and _has_prose_dash(words):
            continue
        elif _is_misspelt_flag(dashes, name, rest, following):
            written = word if name else f"{word} {following[0]}"
            right = f"--{(name or following[0]).casefold()}"
            raise PreflightError(
                f"{written} is text: a flag begins with two hyphens.",
                hint=f"Did you mean {right}? {AS_IS_HINT}",
            )


def _check_bare_ratio(word: str, following: Sequence[str]) -> None:
    """Refuse a ratio whose flag has lost its hyphens: ar 3:2."""
    flag = FLAGS_BY_NAME.get(f"--{word.casefold()}")
    if flag and flag.kind == "ratio" and following and flag.accepts(following[0].rstrip(",.")):
        raise PreflightError(
            f"{word} {following[0]} is text: a flag begins with two hyphens.",
            hint=f"Did you mean {flag.name} {following[0]}? {AS_IS_HINT}",
        )


def _check_name(word: str, suggestion: str) -> None:
    if word.casefold() in FLAGS_BY_NAME:
        return
    hint = f"Did you mean {suggestion}?"
    if not suggestion:
        hint = f"Those are {', '.join(flag.name for flag in FLAGS[:12])}, …"
    raise PreflightError(f"{word} is not a flag of Midjourney.", hint=f"{hint} {AS_IS_HINT}")


def _find_suggestion(
    word: str,
    name: str,
    rest: str,
    other_flags: Sequence[str],
) -> str:
    """Return what may have been meant: --ar3:2 and --ar=3:2 lack a blank, others a letter."""
    joined = re.fullmatch(r"(--[^\W\d_]+)[=:]?([\d.]\S*)", word)
    if joined and joined[1].casefold() in FLAGS_BY_NAME:
        return f"{joined[1]} {joined[2]}"
    if f"--{name.casefold()}" in FLAGS_BY_NAME:
        # Punctuation or a value directly behind it.
        value = rest.lstrip("=:,.;!?)")
        return f"--{name} {value}".rstrip()
    flags = {flag.lstrip("-"): flag for flag in (*FLAGS_BY_NAME, *other_flags)}
    close = get_close_matches(name.casefold().replace("_", "-"), flags, 1, 0.6)
    return flags[close[0]] if close else ""


def _is_misspelt_flag(
    dashes: str,
    name: str,
    rest: str,
    following: Sequence[str],
) -> bool:
    """Return whether other dashes were meant to begin a flag.

    Prose has dashes, too: only a known name counts, and only if
    its value fits; for one without a value, if nothing but flags
    follows.
    """
    if rest or (not name and dashes == "-"):
        return False
    if not name:
        # A blank behind the dashes: "-- ar 3:2", "— ar 3:2".
        flag = FLAGS_BY_NAME.get(f"--{following[0].casefold()}") if following else None
        return flag is not None and flag.kind in _NUMERIC and _fits(flag, following[1:])
    flag = FLAGS_BY_NAME.get(f"--{name.casefold()}")
    return flag is not None and _fits(flag, following)


def _has_prose_dash(words: Sequence[str]) -> bool:
    """Return whether a word ends in a dash, as in "it —no one knows— is": punctuation."""
    return any(word[-1] in DASHES for word in words)


_NUMERIC = ("number", "integer", "ratio", "version")


def _fits(flag: PromptFlag, following: Sequence[str]) -> bool:
    """Return whether the words behind a name are what they would be behind the flag."""
    is_last = not following or is_flag(following[0])
    if flag.kind == "switch":
        return is_last
    if is_last:
        return flag.is_optional
    # Input methods write full-width signs: 3：2.
    value = normalize("NFKC", following[0]).rstrip(",")
    if flag.name == "--no":
        return True
    if flag.kind == "text":
        return "://" in value or value.isdigit() or value in ("raw", "random")
    return flag.accepts(value)


def _check_values(written: Sequence[WrittenFlag]) -> None:
    if _is_early_version(written):
        return
    for item in written:
        flag = item.flag
        if flag.kind == "switch" or flag.is_optional:
            continue
        if not item.values:
            raise PreflightError(
                f"{item.text} needs a value: {flag.expected}.", hint=f"{flag.help}. {AS_IS_HINT}"
            )
        if not flag.accepts(item.values[0]):
            raise PreflightError(
                f"{item.text} must be {flag.expected}, not {item.values[0]}.", hint=AS_IS_HINT
            )


def _check_doubled(written: Sequence[WrittenFlag]) -> None:
    first_by_name: dict[str, WrittenFlag] = {}
    for item in written:
        first = first_by_name.setdefault(item.flag.name, item)
        if first is not item and not item.flag.is_repeatable:
            raise PreflightError(
                f"{item.flag.name} is there twice: {_format(first)} and {_format(item)}.",
                hint=f"Remove one of them. {AS_IS_HINT}",
            )


def _format(item: WrittenFlag) -> str:
    value = "" if item.flag.kind == "switch" else " ".join(item.values[:1])
    return f"{item.text} {value}".rstrip()


def _check_versions(written: Sequence[WrittenFlag]) -> None:
    """Check that a version which the prompt itself names has its flags."""
    version = _get_version(written)
    if version is None:
        return
    for item in written:
        flag = item.flag
        if not flag.since <= version < flag.before:
            bounds = f"before {flag.before:g}" if version >= flag.before else f"from {flag.since:g}"
            raise PreflightError(
                f"{item.text} does not exist in version {version:g}, only in versions {bounds}.",
                hint=f"Remove it, or change --v. {AS_IS_HINT}",
            )


def _check_video(prompt: str, written: Sequence[WrittenFlag]) -> None:
    is_video = any(item.flag.name == "--video" for item in written)
    if is_video and "://" not in prompt and not _is_early_version(written):
        raise PreflightError(
            "A video begins with a picture, and --video has none.",
            hint=f"Begin the prompt with its link. {AS_IS_HINT}",
        )


def _get_version(written: Sequence[WrittenFlag]) -> float | None:
    """Return the version that a prompt names; None without one, or with Niji's."""
    values = {item.flag.name: item.values[:1] for item in written}
    if "--niji" in values or not values.get("--v"):
        return None
    (text,) = values["--v"]
    return float(text) if FLAGS_BY_NAME["--v"].accepts(text) else None


def _is_early_version(written: Sequence[WrittenFlag]) -> bool:
    """Return whether the prompt names a version before 4, or a
    test model: several flags had other meanings and ranges then.
    """
    version = _get_version(written)
    if version is not None and version < 4:
        return True
    return any(item.flag.name in _EARLY_MODELS for item in written)


_EARLY_MODELS = frozenset({"--test", "--testp", "--beta", "--hq", "--vibe"})
