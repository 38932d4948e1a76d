"""Sign requests to COS and CI ("q-sign", HMAC-SHA1), as pure functions.

Source: Tencent Cloud, "Request signature" of COS. Tested against
vectors that the official SDK made, and against the SDK itself.

    SignKey      = hex(HMAC-SHA1(SecretKey, KeyTime))
    HttpString   = method \\n decoded path \\n parameters \\n headers \\n
    StringToSign = sha1 \\n KeyTime \\n hex(SHA1(HttpString)) \\n
    Signature    = hex(HMAC-SHA1(SignKey, StringToSign))
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from urllib.parse import quote, unquote, urlsplit


def sign(
    method: str,
    path: str,
    *,
    params: Mapping[str, str] = {},
    headers: Mapping[str, str] = {},
    secret_id: str,
    secret_key: str,
    key_time: str,
) -> str:
    """Return the value of the Authorization header.

    Args:
        method: GET, POST, …, in any case
        path: the decoded path, with its leading slash
        params: the query, decoded; all of it is signed
        headers: headers as they are sent; all that are given are
            signed
        secret_id: the SecretId, which becomes part of the value
        secret_key: the SecretKey, which does not
        key_time: validity period, "start;end" in Unix seconds;
            see `key_time`
    """
    fields = _build_signature_fields(method, path, params, headers, secret_id, secret_key, key_time)
    return _join_pairs(fields.items())


def presign(
    method: str,
    url: str,
    *,
    params: Mapping[str, str] = {},
    headers: Mapping[str, str] = {},
    secret_id: str,
    secret_key: str,
    key_time: str,
    token: str | None = None,
) -> str:
    """Return the URL with a signature in its query; anyone who has it may send this one request.

    Args:
        method: GET, PUT, …, in any case
        url: the object's URL, its path percent-encoded
        params: parameters to sign and to add to the URL; a
            processing rule has an empty value
        headers: headers to sign; the host is signed only if it is
            among them
        secret_id: the SecretId, which becomes part of the URL
        secret_key: the SecretKey, which does not
        key_time: validity period, "start;end" in Unix seconds;
            see `key_time`
        token: the token of a temporary key, which becomes part of
            the URL
    """
    parts = urlsplit(url)
    signed = dict(params)
    if token:
        signed["x-cos-security-token"] = token
    path = unquote(parts.path) or "/"
    fields = _build_signature_fields(method, path, signed, headers, secret_id, secret_key, key_time)
    pairs = {**fields, **signed}.items()
    query = _join_pairs([(_percent_encode(name), _percent_encode(value)) for name, value in pairs])
    separator = "&" if parts.query else "?"
    return f"{url}{separator}{query}"


def key_time(now: float, seconds: int = 600) -> str:
    """Return a validity period: from a minute ago (clocks differ) until `seconds` from now.

    Args:
        now: Unix seconds
        seconds: how long the signature is valid
    """
    return f"{int(now) - 60};{int(now) + seconds}"


def _build_signature_fields(
    method: str,
    path: str,
    params: Mapping[str, str],
    headers: Mapping[str, str],
    secret_id: str,
    secret_key: str,
    key_time: str,
) -> dict[str, str]:
    param_names, param_pairs = _canonicalize(params)
    header_names, header_pairs = _canonicalize(headers)
    http_string = f"{method.lower()}\n{path}\n{param_pairs}\n{header_pairs}\n"
    digest = hashlib.sha1(http_string.encode()).hexdigest()
    sign_key = _derive_sign_key(secret_key, key_time)
    return {
        "q-sign-algorithm": "sha1",
        "q-ak": secret_id,
        "q-sign-time": key_time,
        "q-key-time": key_time,
        "q-header-list": header_names,
        "q-url-param-list": param_names,
        "q-signature": _hmac_sha1_hex(sign_key, f"sha1\n{key_time}\n{digest}\n"),
    }


def _canonicalize(values: Mapping[str, str]) -> tuple[str, str]:
    """Return the sorted names joined by ";", and the pairs joined by "&".

    Names are converted to lower case after they are encoded, as
    the SDK does: %2f, not %2F.
    """
    pairs = sorted([(_encode_name(name), _percent_encode(value)) for name, value in values.items()])
    names = ";".join([name for name, _ in pairs])
    return names, _join_pairs(pairs)


def _join_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return "&".join([f"{name}={value}" for name, value in pairs])


# Requests repeat a few names. Without this cache a signature
# takes a tenth longer.
@lru_cache(maxsize=256)
def _encode_name(name: str) -> str:
    return _percent_encode(name).lower()


_match_unreserved = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch


def _percent_encode(text: str) -> str:
    text = str(text)
    # Most names and values need no encoding, and quote() takes
    # twice as long as this check.
    return text if _match_unreserved(text) else quote(text, safe="-_.~")


# Requests that are signed within the same second share their key.
@lru_cache(maxsize=8)
def _derive_sign_key(secret_key: str, key_time: str) -> str:
    return _hmac_sha1_hex(secret_key, key_time)


def _hmac_sha1_hex(key: str, text: str) -> str:
    return hmac.digest(key.encode(), text.encode(), "sha1").hex()
