"""Make file names of text from the wire: valid and harmless on every system."""

from __future__ import annotations

import re
import unicodedata

MAX_NAME_BYTES = 120
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]+')
# Windows takes these for devices, with any extension.
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)


def make_safe_name(name: str, fallback: str = "file") -> str:
    """Return a file name without path, control characters and reserved words.

    Args:
        name: the name as it came
        fallback: stands in for a name of which nothing is left
    """
    text = unicodedata.normalize("NFC", name.encode("utf-8", "replace").decode())
    text = _FORBIDDEN.sub("_", text).strip(". ").lstrip("~-")
    if not text.strip("_"):
        text = fallback
    if _RESERVED.fullmatch(text):
        text = f"_{text}"
    match = re.search(r"\.[A-Za-z0-9]{1,10}$", text)
    suffix = match[0] if match else ""
    stem = text.removesuffix(suffix)
    return _truncate(stem, MAX_NAME_BYTES - len(suffix.encode())).rstrip(". ") + suffix


def _truncate(text: str, max_bytes: int) -> str:
    return text.encode()[:max_bytes].decode("utf-8", "ignore")
