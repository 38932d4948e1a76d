"""Split a prompt into words, and words into dashes and a name.

What a service calls a flag of its prompts, and what we take as an
option of a line, are both written so.
"""

from __future__ import annotations

import re

# Text in quotation marks, where they open after a space or
# bracket and close before one: neither an apostrophe nor inches.
QUOTED = r"""(?<!\w)"[^"]*"(?!\w)|(?<!\w)'[^']*'(?!\w)|“[^”]*”|‘[^’]*’(?!\w)|«[^»]*»|「[^」]*」"""
QUOTATION = re.compile(QUOTED)
WORD = re.compile(rf"(?:{QUOTED}|\S)+")
DASHES = "-‐‑‒–—―−⸺⸻﹘﹣－"
_FLAG_LIKE = re.compile(rf"([{DASHES}]+)([^\W\d_][\w-]*)?(.*)", re.DOTALL)


# What opens a quotation, and what closes it.
_OPENING = re.compile(r"""(?<![^\s([{])["“]""")
_CLOSING = {'"': re.compile(r'"(?!\w)'), "“": re.compile("”")}
_STRAY = re.compile(r"""(?<=[^\s\d"])"(?!\w)|”""")


def find_open_quote(text: str) -> str:
    """Return the word at which a quotation begins, or ends, whose other mark is missing; else "".

    Inches (12") are no quotation.
    """
    position = 0
    while opening := _OPENING.search(text, position):
        stray = _STRAY.search(text, position, opening.start())
        closing = _CLOSING[opening[0]].search(text, opening.end())
        if stray or closing is None:
            start = stray.start() if stray else opening.start()
            return _get_word(text, start)
        position = closing.end()
    stray = _STRAY.search(text, position)
    return _get_word(text, stray.start()) if stray else ""


def _get_word(text: str, position: int) -> str:
    """Return the word around a position."""
    words = (word for word in re.finditer(r"\S+", text) if word.end() > position)
    return next(words)[0]


def split_words(text: str) -> list[str]:
    """Split a text at blanks; what is in quotation marks stays together."""
    return WORD.findall(text)


def split_dashes(word: str) -> tuple[str, str, str]:
    """Split a word into its leading dashes, the name behind them, and the rest."""
    match = _FLAG_LIKE.fullmatch(word)
    if match is None:
        return "", "", word
    return match[1], match[2] or "", match[3]


def is_flag(word: str) -> bool:
    """Return whether a word is written as a flag: two dashes and a name."""
    dashes, name, _ = split_dashes(word)
    return dashes == "--" and bool(name)
