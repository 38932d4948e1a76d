"""What must not stand in a file that is given away, and texts without it. Pure functions over
texts.

Sources: COS request signatures and presigned URLs (`q-…`, `x-cos-security-token`), AWS and Google
presigned URLs (proxies keep pictures there), Discord's attachment links (`ex`, `is`, `hm`) and
tokens, the proxies' `mj-api-secret`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

REDACTED = "***"

# Query parameters that sign a request or stand for a person, by their lower-case names.
SIGNATURE_PARAMS = re.compile(
    r"q-(sign-algorithm|ak|sign-time|key-time|header-list|url-param-list|signature)"
    r"|x-(cos|ci)-security-token|x-amz-\w[\w-]*|x-goog-\w[\w-]*|awsaccesskeyid|googleaccessid|ossaccesskeyid"
    r"|signature|sig|sign|hmac|expires|access_token|token|api_?key|secret|ex|is|hm"
)
# Fields of a body whose value is a secret, without case and punctuation. Paging tokens (NextToken)
# are none.
SECRET_FIELDS = frozenset(
    {
        "token",
        "usertoken",
        "bottoken",
        "discordtoken",
        "accesstoken",
        "sessiontoken",
        "securitytoken",
        "tmptoken",
        "secret",
        "apisecret",
        "mjapisecret",
        "secretid",
        "secretkey",
        "tmpsecretid",
        "tmpsecretkey",
        "apikey",
        "accesskey",
        "password",
        "authorization",
        "cookie",
    }
)

_URL = re.compile(r"https?://[^\s\"'<>\\]+")
_SIGNATURE = re.compile(r"q-sign-algorithm(?:=|%3D)[^\s\"'<>\\]*?q-signature(?:=|%3D)[0-9a-fA-F]+")
_KEY_ID = re.compile(r"((?<![A-Za-z0-9])|(?<=%3D)|(?<=%22))AKID[A-Za-z0-9_-]{13,80}")
_RELAY_KEY = re.compile(r"(?<![\w-])sk-[A-Za-z0-9_-]{20,}")
_JWT = re.compile(r"\beyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}")
_DISCORD_TOKEN = re.compile(r"(?<![\w-])[MNO][A-Za-z\d_-]{23,27}\.[\w-]{6}\.[\w-]{27,45}(?![\w-])")
# Where we listen for callbacks: whoever knows the path can tell us anything, and it is another in
# every run.
_WEBHOOK_URL = re.compile(r"(http://127\.0\.0\.1):\d+/[\w-]{32}(?![\w-])")
_XML_ELEMENT = re.compile(r"(<([A-Za-z_-]+)>)([^<]+)(</\2>)")


def is_signature_param(name: str) -> bool:
    """Whether a query parameter only signs a request, so that the request is the same without
    it.
    """
    return SIGNATURE_PARAMS.fullmatch(unquote(name).lower()) is not None


def strip_signature(url: str) -> str:
    """A URL without its signature, its tokens, and a user's name and password."""
    address, mark, query = url.partition("?")
    address = re.sub(r"^(\w+://)[^/@]*@", r"\1", address)
    if not mark:
        return address
    query, hash_mark, fragment = query.partition("#")
    joint = "&amp;" if "&amp;" in query else "&"
    kept = joint.join(
        pair for pair in query.split(joint) if not is_signature_param(pair.partition("=")[0])
    )
    return f"{address}{'?' if kept else ''}{kept}{hash_mark}{fragment}"


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """A text without signatures, tokens and these secrets. Links stay links: only what signs them
    goes.
    """
    text = _WEBHOOK_URL.sub(
        rf"\1/{REDACTED}", _URL.sub(lambda found: strip_signature(found[0]), text)
    )
    for pattern in (_SIGNATURE, _DISCORD_TOKEN, _KEY_ID, _RELAY_KEY, _JWT):
        text = pattern.sub(REDACTED, text)
    text = _XML_ELEMENT.sub(
        lambda found: f"{found[1]}{REDACTED}{found[4]}" if is_secret_field(found[2]) else found[0],
        text,
    )
    for written in _iter_encodings(secrets):
        text = text.replace(written, REDACTED)
    return text


def find_urls(text: str) -> list[str]:
    return _URL.findall(text)


def is_secret_field(field: str) -> bool:
    return re.sub(r"[^a-z]", "", field.lower()) in SECRET_FIELDS


def redact_value(value: Any, redact_text: Callable[[str], str] = redact) -> Any:
    """The same for parsed JSON: every text in it, and whole the values of fields that hold
    secrets.
    """
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, list):
        return [redact_value(one, redact_text) for one in value]
    if isinstance(value, dict):
        return {
            redact_text(key): REDACTED
            if is_secret_field(key) and isinstance(one, str) and one
            else redact_value(one, redact_text)
            for key, one in value.items()
        }
    return value


def _iter_encodings(secrets: Iterable[str]) -> Iterator[str]:
    """The ways in which a secret may be written: as it is, in a URL, and alone in base64."""
    for secret in sorted(
        {one for one in secrets if len(one) >= MIN_SECRET_LENGTH}, key=lambda one: (-len(one), one)
    ):
        alone = base64.b64encode(secret.encode()).decode().rstrip("=")
        yield from dict.fromkeys([secret, quote(secret, safe=""), alone])


MIN_SECRET_LENGTH = 4  # shorter ones would be found in every other word

_ASSIGNMENT = r"[\"']?\s*[:=]\s*\\?[\"']?"  # between a name and what is assigned to it
_NOT_MASKED = r"(?!\*|…|\.\.\.|<|\{|\$|Secret\()"  # what stands where a secret was

# What a scan looks for: the kind as it is told, and how it looks.
SECRET_PATTERNS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("Tencent Cloud SecretId", _KEY_ID),
    ("COS signature", re.compile(r"q-signature(=|%3D|\\u003d)[0-9a-fA-F]{40}")),
    (
        "security token",
        re.compile(
            rf"(?i)x-(cos|ci)-security-token(%3D|{_ASSIGNMENT}){_NOT_MASKED}[^\s\"'&<>\\]{{8,}}"
        ),
    ),
    (
        "presigned query",
        re.compile(
            r"(?i)[?&;](x-amz-signature|x-goog-signature|signature|sig|hmac)=[\w%+/=-]{16,}"
        ),
    ),
    ("presigned query", re.compile(r"[?&;]hm=[0-9a-f]{32,64}\b")),
    (
        "Authorization header",
        re.compile(
            rf"(?i)\bauthorization{_ASSIGNMENT}((bearer|basic)\s+)?{_NOT_MASKED}(?!(bearer|basic)\s)[\w%+/=.:;&~-]{{8,}}"
        ),
    ),
    (
        "proxy secret",
        re.compile(rf"(?i)\bmj-api-secret{_ASSIGNMENT}{_NOT_MASKED}[^\s\"'<>\\]{{4,}}"),
    ),
    (
        "secret in an assignment",
        re.compile(
            r"(?i)\b(secret_?key|mj_secret|ci_token|api_?key|password)\\?[\"']?\s*[:=]\s*\\?[\"']"
            rf"{_NOT_MASKED}[^\s\"'<>\\]{{6,}}\\?[\"']"
        ),
    ),
    (
        "secret in an assignment",
        re.compile(
            r"\b(MJCI_MJ_SECRET|MJCI_CI_SECRET_KEY|MJCI_CI_TOKEN|TENCENTCLOUD_SECRET_KEY|TENCENTCLOUD_TOKEN)"
            rf"{_ASSIGNMENT}{_NOT_MASKED}[\w%+/=.:~-]{{6,}}"
        ),
    ),
    ("relay key", _RELAY_KEY),
    ("JSON Web Token", _JWT),
    ("Discord token", _DISCORD_TOKEN),
)


def find_secrets(text: str, known_secrets: Mapping[str, str] | None = None) -> list[str]:
    """The kinds of secrets that stand in a text; `known_secrets` are secrets to look for by their value, by
    a name to tell.
    """
    kinds = [kind for kind, pattern in SECRET_PATTERNS if pattern.search(text)]
    named = [
        name
        for name, secret in (known_secrets or {}).items()
        if any(one in text for one in _iter_encodings([secret]))
    ]
    return list(dict.fromkeys([*kinds, *named]))
