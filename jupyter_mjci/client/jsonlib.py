"""Parse and write JSON: by msgspec, or the standard library where that fails."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

# A parsed JSON object of a service, whose fields are checked
# where they are used.
JsonObject = Mapping[str, Any]


def loads(text: bytes | str) -> Any:
    """Parse a JSON text. Raises ValueError.

    Lone surrogates, NaN, UTF-16, GB 18030 (and so GBK) and
    numbers out of range, which msgspec rejects, are accepted;
    documents that are nested too deeply, or have too many values,
    to be data are not.
    """
    check_density(text)
    value = _decode(text)
    if len(text) < MAX_CHECKED_SIZE and _has_many_brackets(text):
        _check_depth(value)
    return value


# Levels of arrays and objects; code that walks a value recurses.
MAX_DEPTH = 100
# Of longer texts only the decoder's own limit counts: walking a
# listing of 100,000 tasks would take longer than parsing it.
MAX_CHECKED_SIZE = 256 * 1024


# An empty object takes 64 bytes of memory, and 3 of a document.
# Those of services have some 20 bytes for each value.
MAX_DENSE_VALUES = 250_000
MIN_VALUE_SIZE = 12


def check_density(text: bytes | str) -> None:
    """Refuse a document of which almost every byte becomes an object. Raises ValueError."""
    if len(text) < MAX_DENSE_VALUES:
        return
    count = text.count(b"," if isinstance(text, bytes) else ",")  # type: ignore[arg-type]
    if count > MAX_DENSE_VALUES and count * MIN_VALUE_SIZE > len(text):
        raise ValueError(f"the document has {count:,} values in {len(text):,} bytes")


def _has_many_brackets(text: bytes | str) -> bool:
    """Return whether a text may be nested too deeply: each level begins with a bracket."""
    count = text.count
    brackets = (b"[", b"{") if isinstance(text, bytes) else ("[", "{")
    return sum(map(count, brackets)) > MAX_DEPTH  # type: ignore[arg-type]


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _get_containers(parent)]
        if not level:
            return
    raise ValueError("the document is nested too deeply")


def _get_containers(value: object) -> list[object]:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return []
    return [child for child in value if isinstance(child, (dict, list))]


def _decode(text: bytes | str) -> Any:
    try:
        return msgspec.json.decode(text)
    # DecodeError is not a ValueError before msgspec 0.21.
    except (ValueError, msgspec.DecodeError, RecursionError):
        return _loads_leniently(text)


def _loads_leniently(text: bytes | str) -> Any:
    try:
        return json.loads(text)
    except UnicodeDecodeError:
        if isinstance(text, str):
            raise
        return _loads_leniently(text.decode("gb18030"))
    except RecursionError:
        raise ValueError("the document is nested too deeply") from None


def dumps(value: object) -> str:
    """Return a value as compact JSON; unknown types are written as strings."""
    try:
        return msgspec.json.encode(value, enc_hook=str).decode()
    except RecursionError:
        raise ValueError("the value is nested too deeply") from None
    except ValueError:  # a lone surrogate
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
