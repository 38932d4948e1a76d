"""Labels in another language: a gettext catalogue in `locale/`.

What people read on cards and panels is translated where it is
shown; a table marks its texts with `mark`. Errors, commands, data
and what a service says stay as they are. `python -m tests.messages`
compiles the catalogue, and a test holds it complete.
"""

from __future__ import annotations

import gettext
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "locale"
DOMAIN = "jupyter_mjci"
LANGUAGES = ("en", "zh")

_language = LANGUAGES[0]


def set_language(language: str) -> None:
    """Set the language of what is shown from now on, in the whole process."""
    global _language
    _language = language


def translate(text: str) -> str:
    """Return a text in the language that is set; the text itself where it has no translation."""
    # gettext has the catalogue's header under the empty text
    return _load(_language).gettext(text) if text else text


def mark(text: str) -> str:
    """Mark a text of a table, which is translated where it is shown."""
    return text


@cache
def _load(language: str) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, FOLDER, [language], fallback=language == LANGUAGES[0])
