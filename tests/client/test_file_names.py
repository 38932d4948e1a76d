"""File names made of text from the wire are valid and harmless on every system."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_mjci.client.file_names import MAX_NAME_BYTES, make_safe_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fox.png", "fox.png"),
        ("../../etc/passwd", "_.._etc_passwd"),
        (".bashrc", "bashrc"),
        ("CON", "_CON"),
        ("nul.png", "_nul.png"),
        ("COM1.tar.gz", "_COM1.tar.gz"),
        ("a:b|c?.png", "a_b_c_.png"),
        ("C:\\Users\\x.png", "C_Users_x.png"),
        ("a\x00b\n.png", "a_b_.png"),
        ("gnp.\u202eexe.png", "gnp._exe.png"),
        ("fox.png. . ", "fox.png"),
        ("-rf", "rf"),
        ("", "file"),
        ("///", "file"),
        ("图片 1.png", "图片 1.png"),
        ("狐" * 100 + ".png", "狐" * 38 + ".png"),
        ("a\ud800.png", "a_.png"),
    ],
)
def test_name_is_made_safe(name: str, expected: str) -> None:
    assert make_safe_name(name) == expected


@given(st.text())
def test_any_text_makes_a_safe_name(name: str) -> None:
    safe = make_safe_name(name)
    assert 0 < len(safe.encode()) <= MAX_NAME_BYTES
    assert not set(safe) & set('<>:"/\\|?*\0\n')
    assert not safe.startswith(".")
    assert not safe.endswith((".", " "))
    assert make_safe_name(safe) == safe
