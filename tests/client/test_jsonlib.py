"""JSON both ways: with msgspec, and with the standard library where msgspec fails."""

from __future__ import annotations

import json as standard
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_mjci.client import jsonlib

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_dumps_and_loads_round_trip(value: Any) -> None:
    """With ours and with the standard library's loads."""
    text = jsonlib.dumps(value)
    assert jsonlib.loads(text) == jsonlib.loads(text.encode()) == value
    assert standard.loads(text) == value


@given(VALUES)
def test_output_of_standard_library_is_loaded(value: Any) -> None:
    assert jsonlib.loads(standard.dumps(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (rb'"\ud83d"', "\ud83d"),  # half of a surrogate pair, as cut-off prompts have it
        (b"1e400", math.inf),
        ('{"a": "狐"}'.encode("utf-16"), {"a": "狐"}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b"123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_texts_rejected_by_msgspec_are_loaded(text: bytes, value: Any) -> None:
    assert jsonlib.loads(text) == value


def test_lone_surrogates_are_written() -> None:
    assert jsonlib.dumps({"prompt": "\ud83d"}) == '{"prompt":"\ud83d"}'


@pytest.mark.parametrize("text", [b"", b"{", b"<html>", b"\xff\xff\xff"])
def test_invalid_json_raises_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        jsonlib.loads(text)


@pytest.mark.parametrize("name", ["[", '{"a":'])
@pytest.mark.parametrize("encode", [str, str.encode, lambda text: text.encode("utf-16")])
def test_documents_nested_too_deeply_are_refused(name: str, encode: Any) -> None:
    end = {"[": "]", '{"a":': "}"}[name]
    depth = jsonlib.MAX_DEPTH
    assert jsonlib.loads(encode(name * (depth - 1) + "1" + end * (depth - 1)))
    with pytest.raises(ValueError, match="nested too deeply"):
        jsonlib.loads(encode(name * (depth + 1) + "1" + end * (depth + 1)))
