"""Split a prompt into words, and words into dashes and a name.

What a service calls a flag of its prompts, and what we take as an
option of a line, are both written so.
"""

from __future__ import annotations

import re

# Text in quotation marks, where they open after a space or
# bracket and close before one: neither an apostrophe nor inches.
QUOTED = r"""(?<!\w)"[^"]*"(?!\w)|(?<!\w)'[^']*'(?!\w)|“[^”]*”|‘[^’]*’(?!\w)|«[^»]*»|「[^」]*」"""
WORD = re.compile(rf"(?:{QUOTED}|\S)+")
DASHES = "-‐‑‒–—―−﹘﹣－"
_FLAG_LIKE = re.compile(rf"([{DASHES}]+)([^\W\d_][\w-]*)?(.*)", re.DOTALL)


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
