"""COS and CI request signatures ("q-sign", HMAC-SHA1) as pure functions.

Source: Tencent Cloud, "Request signature" of COS; checked against vectors made with the official
SDK.

    SignKey      = hex(HMAC-SHA1(SecretKey, KeyTime))
    HttpString   = method \\n decoded path \\n parameters \\n headers \\n
    StringToSign = sha1 \\n KeyTime \\n hex(SHA1(HttpString)) \\n
    Signature    = hex(HMAC-SHA1(SignKey, StringToSign))
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
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
    """The value of the Authorization header.

    Args:
        method: GET, POST, …, in any case
        path: the decoded path, with its leading slash
        params: the query, decoded; all of it is signed
        headers: headers as they are sent; all that are given are signed
        secret_id: the SecretId, which becomes part of the value
        secret_key: the SecretKey, which does not
        key_time: "start;end" in Unix seconds; see `key_time`
    """
    fields = _build_signature_fields(method, path, params, headers, secret_id, secret_key, key_time)
    return "&".join([f"{name}={value}" for name, value in fields.items()])


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
    """The URL with its signature in the query: whoever has it may send this one request until the
    end of `key_time`.

    Args:
        method: GET, PUT, …, in any case
        url: the object's URL, its path percent-encoded
        params: parameters that are signed and become part of the URL; a processing rule is one with
            an empty value
        headers: what is signed besides; the host is not, unless it is here
        secret_id: the SecretId, which becomes part of the URL
        secret_key: the SecretKey, which does not
        key_time: "start;end" in Unix seconds; see `key_time`
        token: a temporary key's, which becomes part of the URL
    """
    signed = {**params, "x-cos-security-token": token} if token else dict(params)
    path = unquote(urlsplit(url).path) or "/"
    fields = _build_signature_fields(method, path, signed, headers, secret_id, secret_key, key_time)
    pairs = [*fields.items(), *signed.items()]
    query = "&".join(f"{_percent_encode(name)}={_percent_encode(value)}" for name, value in pairs)
    return f"{url}{'&' if urlsplit(url).query else '?'}{query}"


def key_time(now: float, seconds: int = 600) -> str:
    """A validity period around `now`: from a minute ago (clocks differ) until `seconds` later."""
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
    names, pairs = _canonicalize(params)
    header_names, header_pairs = _canonicalize(headers)
    http_string = f"{method.lower()}\n{path}\n{pairs}\n{header_pairs}\n"
    digest = hashlib.sha1(http_string.encode()).hexdigest()
    signature = _hmac_sha1_hex(
        _derive_sign_key(secret_key, key_time), f"sha1\n{key_time}\n{digest}\n"
    )
    return {
        "q-sign-algorithm": "sha1",
        "q-ak": secret_id,
        "q-sign-time": key_time,
        "q-key-time": key_time,
        "q-header-list": header_names,
        "q-url-param-list": names,
        "q-signature": signature,
    }


def _canonicalize(values: Mapping[str, str]) -> tuple[str, str]:
    """The sorted names joined by ";" and the pairs joined by "&". Names are lower-cased after
    encoding.
    """
    encoded = sorted(
        [(_encode_name(name), _percent_encode(value)) for name, value in values.items()]
    )
    return ";".join([name for name, _ in encoded]), "&".join(
        [f"{name}={value}" for name, value in encoded]
    )


@lru_cache(maxsize=256)
def _encode_name(name: str) -> str:
    return _percent_encode(name).lower()


_match_unreserved = re.compile(r"[A-Za-z0-9_.~-]*").fullmatch


def _percent_encode(text: str) -> str:
    text = str(text)
    return text if _match_unreserved(text) else quote(text, safe="-_.~")


@lru_cache(maxsize=8)
def _derive_sign_key(secret_key: str, key_time: str) -> str:
    return _hmac_sha1_hex(secret_key, key_time)


def _hmac_sha1_hex(key: str, text: str) -> str:
    return hmac.digest(key.encode(), text.encode(), "sha1").hex()
