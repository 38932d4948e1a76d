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
# what the kernel writes, and saves, is English; a page shows it in
# its browser's language
AUTO = "auto"

_language = LANGUAGES[0]


def set_language(language: str) -> None:
    """Set the language of what is shown from now on, in the whole process."""
    global _language
    _language = LANGUAGES[0] if language == AUTO else language


def translate(text: str) -> str:
    """Return a text in the language that is set; the text itself where it has no translation."""
    # gettext has the catalogue's header under the empty text
    return _load(_language).gettext(text) if text else text


def mark(text: str) -> str:
    """Mark a text of a table, which is translated where it is shown."""
    return text


def load_catalogue(language: str) -> dict[str, str]:
    """Return the translations of all messages, by their text; none for an unknown language."""
    if language not in LANGUAGES:
        return {}
    messages: dict[str, str] = getattr(_load(language), "_catalog", {})
    # gettext has the catalogue's header under the empty text
    return {text: translation for text, translation in messages.items() if text}


@cache
def _load(language: str) -> gettext.NullTranslations:
    return gettext.translation(DOMAIN, FOLDER, [language], fallback=language == LANGUAGES[0])
