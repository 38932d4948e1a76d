"""Texts without what signs them or stands for a person."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_mjci.client.redaction import (
    REDACTED,
    find_secrets,
    is_secret_field,
    is_signature_param,
    redact,
    redact_value,
    strip_signature,
)
from tests.secret_scan.test_scan import DISCORD, HARMLESS, KEYS, LINK, SIGNED

PLAIN = "https://demo-1250000000.cos.ap-chongqing.myqcloud.com/a.jpg"


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        (LINK, PLAIN),
        (LINK.replace("&", "&amp;"), PLAIN),
        (LINK.replace("?", "?imageMogr2/rotate/90&"), f"{PLAIN}?imageMogr2/rotate/90"),
        (
            "https://cdn.discordapp.com/a/b.png?ex=66aa66aa&is=66aa66aa&hm=00ff&width=5",
            "https://cdn.discordapp.com/a/b.png?width=5",
        ),
        (
            "https://s3.example.com/a?X-Amz-Date=1&X-Amz-Signature=2#part",
            "https://s3.example.com/a#part",
        ),
        ("https://me:pw@mj.example.com/mj?a=1", "https://mj.example.com/mj?a=1"),
        (
            "https://x/jobs?nextToken=abc&tag=PicProcess",
            "https://x/jobs?nextToken=abc&tag=PicProcess",
        ),
        ("https://x/@me", "https://x/@me"),
    ],
)
def test_strip_signature_keeps_rest_of_url(url: str, plain: str) -> None:
    """The link is the same otherwise, and once it is plain nothing more is taken away."""
    assert strip_signature(url) == plain
    assert strip_signature(plain) == plain
    assert redact(f"see {url} there") == f"see {plain} there"


@pytest.mark.parametrize(
    "text",
    [
        SIGNED,
        SIGNED.replace("=", "%3D"),
        DISCORD,
        KEYS["secret_id"],
        "sk-" + "a1" * 16,
        "<SecretKey>abc</SecretKey>",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THs",
    ],
)
def test_secrets_are_redacted_anywhere_in_text(text: str) -> None:
    redacted = redact(f"before {text} after")
    assert REDACTED in redacted
    assert redacted.startswith("before ")
    assert redacted.endswith(" after")
    assert find_secrets(redacted) == []


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_texts_are_unchanged(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("encoding", ["ab/cd+ef", "ab%2Fcd%2Bef", "YWIvY2QrZWY"])
def test_given_secrets_are_redacted_in_every_encoding(encoding: str) -> None:
    """As they are, inside a URL, in base64; secrets that are too short are ignored."""
    assert redact(f"x{encoding}y", ["ab/cd+ef", "a"]) == f"x{REDACTED}y"


def test_secret_fields_of_json_are_redacted() -> None:
    """Every text at any depth; the value of a field that holds a secret goes whole, paging tokens
    stay.
    """
    redacted = {
        "userToken": "x1",
        "list": [{"mj-api-secret": "y", "url": LINK}],
        "NextToken": "n",
        "token": "",
        "n": 1.5,
    }
    assert redact_value(redacted) == {
        "userToken": REDACTED,
        "list": [{"mj-api-secret": REDACTED, "url": PLAIN}],
        "NextToken": "n",
        "token": "",
        "n": 1.5,
    }
    assert is_secret_field("Secret_Key")
    assert not is_secret_field("ContinuationToken")
    assert is_signature_param("Q-Signature")
    assert not is_signature_param("imageMogr2/rotate/90")


_TEXTS = st.text() | st.sampled_from([LINK, SIGNED, DISCORD, KEYS["secret_id"], *HARMLESS])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXTS,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(_TEXTS, inside, max_size=4),
    max_leaves=12,
)


@given(_JSON)
def test_redaction_is_idempotent(value: Any) -> None:
    """Of anything; so a recorded request and its replay are redacted alike."""
    once = redact_value(value)
    assert redact_value(once) == once


@given(_TEXTS, _TEXTS)
def test_redacted_texts_contain_no_signature(before: str, after: str) -> None:
    assert "COS signature" not in find_secrets(redact(f"{before} {SIGNED} {LINK} {after}"))
