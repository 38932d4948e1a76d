"""Find and remove secrets in texts: signatures, tokens, keys. Pure functions.

Two kinds of rules: patterns that recognize a secret by its form,
and fields or parameters whose value is secret by their name. URLs
stay usable: only what signs them is removed.

Sources of the forms: COS request signatures and presigned URLs
(`q-…`, `x-cos-security-token`), AWS and Google presigned URLs
(proxies keep pictures there), Discord's attachment links (`ex`,
`is`, `hm`) and tokens, the proxies' `mj-api-secret`.
"""

from __future__ import annotations

import base64
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote

from jupyter_mjci.errors import MjciError

REDACTED = "***"

# Query parameters that sign a request or identify a user, by
# their lower-case names.
SIGNATURE_PARAMS = re.compile(
    r"q-(sign-algorithm|ak|sign-time|key-time|header-list|url-param-list|signature)"
    r"|x-(cos|ci)-security-token|x-amz-\w[\w-]*|x-goog-\w[\w-]*"
    r"|awsaccesskeyid|googleaccessid|ossaccesskeyid"
    r"|signature|sig|sign|hmac|expires|access_token|token|api_?key|secret|ex|is|hm"
)
# Fields of a body whose value is secret, in lower case without
# punctuation. Paging tokens (NextToken) are not.
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
# It ends where the next one begins: a search takes linear time.
_SIGNATURE = re.compile(
    r"q-sign-algorithm(?:=|%3D)(?:(?!q-sign-algorithm)[^\s\"'<>\\])*?q-signature(?:=|%3D)[0-9a-fA-F]+"
)
_KEY_ID = re.compile(r"((?<![A-Za-z0-9])|(?<=%3D)|(?<=%22))AKID[A-Za-z0-9_-]{13,80}")
_RELAY_KEY = re.compile(r"(?<![\w-])sk-[A-Za-z0-9_-]{20,}")
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}")
_DISCORD_TOKEN = re.compile(r"(?<![\w-])[MNO][A-Za-z\d_-]{23,27}\.[\w-]{6}\.[\w-]{27,45}(?![\w-])")
# Our webhook server: its path is the only secret that
# authenticates a callback, and it is a new one in every run.
_WEBHOOK_URL = re.compile(r"(http://127\.0\.0\.1):\d+/[\w-]{32}(?![\w-])")
# What services add by `register_secret_patterns`.
_SERVICE_PATTERNS: list[re.Pattern[str]] = []
_XML_ELEMENT = re.compile(r"(<([A-Za-z_-]+)>)([^<]+)(</\2>)")


def is_signature_param(name: str) -> bool:
    """Return whether a query parameter is part of a signature or a token."""
    return SIGNATURE_PARAMS.fullmatch(unquote(name).lower()) is not None


def strip_signature(url: str) -> str:
    """Return a URL without its signature, its tokens, and a user name and password."""
    address, question_mark, query = url.partition("?")
    address = re.sub(r"^(\w+://)[^/\s]*@", r"\1", address)
    if not question_mark:
        return address
    query, hash_mark, fragment = query.partition("#")
    separator = "&amp;" if "&amp;" in query else "&"
    pairs = query.split(separator)
    kept = separator.join(pair for pair in pairs if not is_signature_param(pair.partition("=")[0]))
    if kept:
        address = f"{address}?{kept}"
    return f"{address}{hash_mark}{fragment}"


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return a text without signatures, tokens and the given
    secrets. URLs lose only what signs them.
    """
    text = _URL.sub(lambda match: strip_signature(match[0]), text)
    text = _WEBHOOK_URL.sub(rf"\1/{REDACTED}", text)
    for pattern in (
        _SIGNATURE,
        _DISCORD_TOKEN,
        _KEY_ID,
        _RELAY_KEY,
        _JWT,
        *_SERVICE_PATTERNS,
    ):
        text = pattern.sub(REDACTED, text)
    text = _XML_ELEMENT.sub(_redact_element, text)
    return _replace_secrets(text, secrets)


def _replace_secrets(text: str, secrets: Iterable[str]) -> str:
    for encoded in iter_encodings(secrets):
        text = text.replace(encoded, REDACTED)
    return text


class Redactor:
    """Removes given secrets from responses and errors: some servers repeat what they are sent.

    It keeps the secrets where neither `repr` nor `vars` shows them.
    """

    __slots__ = ("_in_bodies", "_in_errors")

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        secrets = tuple(secrets)
        self._in_errors = tuple(iter_encodings(secrets))
        # Shorter ones are words of prompts, too.
        long = [secret for secret in secrets if len(secret) >= MIN_BODY_SECRET_LENGTH]
        self._in_bodies = tuple(encoded.encode() for encoded in iter_encodings(long))

    def redact_text(self, text: str) -> str:
        for encoded in self._in_errors:
            text = text.replace(encoded, REDACTED)
        return text

    def redact_body(self, body: bytes) -> bytes:
        """Redact the bytes of a document; those of pictures must not be touched."""
        for encoded in self._in_bodies:
            if encoded in body:
                body = body.replace(encoded, REDACTED.encode())
        return body

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact what a library logs, as a filter of its logger: response headers at DEBUG."""
        record.msg, record.args = self.redact_text(record.getMessage()), ()
        return True

    def redact_error(self, error: MjciError) -> None:
        """Redact what an error says."""
        for name in ("message", "detail", "hint", "service_message"):
            text = getattr(error, name, "")
            if text:
                setattr(error, name, self.redact_text(text))
        error.args = (error.message, *error.args[1:])


def _redact_element(match: re.Match[str]) -> str:
    if is_secret_field(match[2]):
        return f"{match[1]}{REDACTED}{match[4]}"
    return match[0]


def find_urls(text: str) -> list[str]:
    return _URL.findall(text)


def is_secret_field(field: str) -> bool:
    return re.sub(r"[^a-z]", "", field.lower()) in SECRET_FIELDS


def redact_value(value: Any, redact_text: Callable[[str], str] = redact) -> Any:
    """Redact parsed JSON: every string, and the values of secret fields."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, list):
        return [redact_value(item, redact_text) for item in value]
    if isinstance(value, dict):
        return {
            redact_text(name): _redact_field(name, item, redact_text)
            for name, item in value.items()
        }
    return value


def _redact_field(name: str, value: object, redact_text: Callable[[str], str]) -> object:
    if isinstance(value, str) and value and is_secret_field(name):
        return REDACTED
    return redact_value(value, redact_text)


def iter_encodings(secrets: Iterable[str]) -> Iterator[str]:
    """Yield the forms in which secrets occur: as they are, in a
    URL, and in base64. Longer secrets come first, because one may
    contain another.
    """
    unique = {secret for secret in secrets if len(secret) >= MIN_SECRET_LENGTH}
    for secret in sorted(unique, key=lambda text: (-len(text), text)):
        base64_text = base64.b64encode(secret.encode()).decode().rstrip("=")
        yield from dict.fromkeys([secret, quote(secret, safe=""), base64_text])


MIN_SECRET_LENGTH = 4  # shorter ones occur in ordinary words
MIN_BODY_SECRET_LENGTH = 8

# Between a name and the value that is assigned to it.
_ASSIGNMENT = r"[\"']?\s*[:=]\s*\\?[\"']?"
# Not what stands where a secret would be: a mask, a variable, a
# call or attribute, a word for it, a name in capitals.
NO_PLACEHOLDER = (
    r"(?!\*|…|\.\.\.|[<{$\[(]|%[({]|Secret\(|[xX]{4}|(?-i:[A-Z][A-Z_]*)(?![\w/+-])"
    r"|keyring:|env:|os\.|process\."
    r"|[A-Za-z_]\w{0,60}(?:\.\w{1,60}){0,5}[\[(]|(?-i:[a-z_]{1,60}(?:\.[a-z_]{1,60}){1,5})(?![\w/+.-])"
    r"|(?i:your|my[_-]|change|example|dummy|placeholder|redacted|insert|replace|todo)"
    r"|(?i:none|null|true|false|string|secret|password|token)(?![\w/+-]))"
)

# What a scan reports: the name of the kind, and its pattern.
SECRET_PATTERNS: list[tuple[str, re.Pattern[str]]] = [
    ("Tencent Cloud SecretId", _KEY_ID),
    ("COS signature", re.compile(r"q-signature(=|%3D|\\u003d)[0-9a-fA-F]{40}")),
    (
        "security token",
        re.compile(
            rf"(?i)x-(cos|ci)-security-token(%3D|{_ASSIGNMENT}){NO_PLACEHOLDER}[^\s\"'&<>\\]{{8,}}"
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
            rf"(?i)\bauthorization{_ASSIGNMENT}((bearer|basic)\s+)?{NO_PLACEHOLDER}(?!(bearer|basic)\s)[\w%+/=.:;&~-]{{8,}}"
        ),
    ),
    (
        "proxy secret",
        re.compile(rf"(?i)\bmj-api-secret{_ASSIGNMENT}{NO_PLACEHOLDER}[^\s\"'<>\\]{{4,}}"),
    ),
    (
        "secret in an assignment",
        re.compile(
            r"(?i)\b(secret_?key|mj_secret|ci_token|api_?key|password)\\?[\"']?\s*[:=]\s*\\?[\"']"
            rf"{NO_PLACEHOLDER}[^\s\"'<>\\]{{6,}}\\?[\"']"
        ),
    ),
    (
        "secret in an assignment",
        re.compile(
            r"\b(MJCI_MJ_SECRET|MJCI_CI_SECRET_KEY|MJCI_CI_TOKEN|TENCENTCLOUD_SECRET_KEY|TENCENTCLOUD_TOKEN)"
            rf"{_ASSIGNMENT}{NO_PLACEHOLDER}[\w%+/=.:~-]{{6,}}"
        ),
    ),
    (
        "password in a URL",
        re.compile(rf"(?i)\bhttps?://[^\s/:@\"'<>]*:{NO_PLACEHOLDER}[^\s/@\"'<>]{{3,}}@[\w\[]"),
    ),
    ("relay key", _RELAY_KEY),
    ("JSON Web Token", _JWT),
    ("Discord token", _DISCORD_TOKEN),
]


def register_secret_patterns(patterns: Iterable[tuple[str, re.Pattern[str]]]) -> None:
    """Add what a service's secrets look like, by the kind to report, to find and redact them."""
    added = [pattern for pattern in patterns if pattern not in SECRET_PATTERNS]
    SECRET_PATTERNS.extend(added)
    _SERVICE_PATTERNS.extend(pattern for _, pattern in added)


def find_secrets(text: str, known_secrets: Mapping[str, str] | None = None) -> list[str]:
    """Return the kinds of secrets in a text.

    Args:
        text: the text to search
        known_secrets: secrets to search for by their value, each
            by the name to report
    """
    kinds = [kind for kind, pattern in SECRET_PATTERNS if pattern.search(text)]
    for name, secret in (known_secrets or {}).items():
        if any(encoded in text for encoded in iter_encodings([secret])):
            kinds.append(name)
    return list(dict.fromkeys(kinds))
