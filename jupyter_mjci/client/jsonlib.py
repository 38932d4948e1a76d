"""JSON <-> plain values, fast where it can be: msgspec takes half as long, the standard library
takes everything.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec


def loads(text: bytes | memoryview | str) -> Any:
    """The value of a JSON text. Raises ValueError.

    What msgspec turns down may still be read: half of a surrogate pair, NaN, UTF-16, a number out
    of range.
    """
    try:
        return msgspec.json.decode(text)
    except (ValueError, msgspec.DecodeError):  # which is no ValueError before msgspec 0.21
        return json.loads(bytes(text) if isinstance(text, memoryview) else text)


def dumps(value: Any) -> str:
    """A value as compact JSON; what JSON has no word for as text."""
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except ValueError:  # half of a surrogate pair
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
