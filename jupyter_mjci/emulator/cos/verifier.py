"""Who is asking? Checks the q-sign signature of a request, in its Authorization header or in its
query.

The sets of headers and parameters that were signed are what q-header-list and q-url-param-list say,
never a guess of ours: every client signs other ones. Where clients differ in spelling (host with or
without port, header bytes, order of unusual keys), each public reading is tried, and only then is
the signature wrong.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, unquote_plus, unquote_to_bytes

from jupyter_mjci.emulator.http import Request
from jupyter_mjci.emulator.tencent_ci.xml import ErrorResponse

MAX_CLOCK_SKEW = 900.0  # a start further ahead than this is a wrong clock, not an early bird
TOKEN_HEADERS = ("x-cos-security-token", "x-ci-security-token")
SIGNATURE_KEYS = (
    "q-sign-algorithm",
    "q-ak",
    "q-sign-time",
    "q-key-time",
    "q-header-list",
    "q-url-param-list",
    "q-signature",
)
Pairs = Sequence[tuple[str, str]]


def parse_query(query: str) -> list[tuple[str, str]]:
    """The decoded parameters in their order; `+` is a blank; a missing value is an empty one."""
    parts = (part.partition("=") for part in query.split("&") if part)
    return [(unquote_plus(name), unquote_plus(value)) for name, _, value in parts]


def parse_unsigned_params(query: str) -> dict[str, str]:
    """The parameters without the seven of a presigned URL."""
    return {name: value for name, value in parse_query(query) if name not in SIGNATURE_KEYS}


@dataclass(frozen=True, slots=True)
class ValidityPeriod:
    start: int
    end: int

    @classmethod
    def parse(cls, value: str) -> ValidityPeriod:
        found = re.fullmatch(r"(\d{1,12});(\d{1,12})", value, re.ASCII)
        if not found:
            raise _access_denied(f"The signature's time {value!r} is not <start>;<end>.")
        return cls(int(found[1]), int(found[2]))

    def contains(self, now: float) -> bool:
        return self.start <= now <= self.end


@dataclass(frozen=True, slots=True)
class SignatureParams:
    """What a request says about its signature."""

    key_id: str
    sign_time: str
    key_time: str
    header_list: str
    param_list: str
    signature: str

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> SignatureParams:
        missing = [name for name in SIGNATURE_KEYS if name not in fields]
        if missing:
            raise _access_denied(f"The authorization lacks {', '.join(missing)}.")
        if fields["q-sign-algorithm"] != "sha1":
            raise _access_denied(f"The algorithm {fields['q-sign-algorithm']!r} is not sha1.")
        return cls(*(fields[name] for name in SIGNATURE_KEYS[1:]))


@dataclass(frozen=True, slots=True)
class Verifier:
    """Knows the secret of each key id, and which session tokens are good (None: every one)."""

    secrets: Mapping[str, str]
    tokens: Collection[str] | None
    clocks: Sequence[Callable[[], float]]

    def verify(self, request: Request) -> str:
        """The id of the key that signed the request; raises Refused."""
        pairs = parse_query(request.query)
        claim = _parse_signature(request, pairs)
        if claim.key_id not in self.secrets:
            raise ErrorResponse(
                403,
                "InvalidAccessKeyId",
                "The Access Key Id you provided does not exist in our records.",
            )
        self._check_time(
            ValidityPeriod.parse(claim.sign_time), ValidityPeriod.parse(claim.key_time)
        )
        self._check_token(request.headers, pairs)
        self._check_signature(claim, request, pairs)
        return claim.key_id

    def _check_time(self, *windows: ValidityPeriod) -> None:
        """One of our clocks must stand inside: a sandbox whose time runs faster serves clients
        whose time does not.
        """
        nows = [clock() for clock in self.clocks]
        if any(all(window.contains(now) for window in windows) for now in nows):
            return
        if all(window.start > now + MAX_CLOCK_SKEW for now in nows for window in windows):
            message = "The difference between the request time and the current time is too large."
            raise ErrorResponse(403, "RequestTimeTooSkewed", message)
        raise _access_denied("Request has expired")

    def _check_token(self, headers: Mapping[str, str], pairs: Pairs) -> None:
        found = [headers[name] for name in TOKEN_HEADERS if name in headers]
        found += [value for name, value in pairs if name.lower() in TOKEN_HEADERS]
        if self.tokens is not None and any(token not in self.tokens for token in found):
            raise ErrorResponse(
                403, "ExpiredToken", "The provided security token has expired or is unknown."
            )

    def _check_signature(self, params: SignatureParams, request: Request, pairs: Pairs) -> None:
        secret = self.secrets[params.key_id].encode()
        key = hmac.new(secret, params.key_time.encode(), hashlib.sha1).hexdigest().encode()
        first = ""
        for http_string in iter_http_strings(params, request, pairs):
            first = first or http_string.decode(errors="replace")
            if hmac.compare_digest(
                _compute_signature(key, params, http_string), params.signature.encode()
            ):
                return
        digest = hashlib.sha1(first.encode()).hexdigest()
        raise ErrorResponse(
            403,
            "SignatureDoesNotMatch",
            "The Signature you specified is invalid.",
            StringToSign=f"sha1\n{params.sign_time}\n{digest}\n",
            FormatString=first,
        )


def _access_denied(message: str) -> ErrorResponse:
    return ErrorResponse(403, "AccessDenied", message)


def _parse_signature(request: Request, pairs: Pairs) -> SignatureParams:
    """From the header; from a presigned address; from the `sign` parameter that older clients put
    all of it into.
    """
    whole = dict(pairs).get("sign", "")
    spelled = request.headers.get("authorization", "").strip() or (
        whole if "q-signature=" in whole else ""
    )
    in_query = {name: value for name, value in pairs if name in SIGNATURE_KEYS}
    if spelled:
        parts = (part.partition("=") for part in spelled.split("&"))
        return SignatureParams.from_fields(
            {name.strip(): value.strip() for name, _, value in parts}
        )
    if not in_query:
        raise _access_denied("Access Denied.")
    return SignatureParams.from_fields(in_query)


def _compute_signature(key: bytes, params: SignatureParams, http_string: bytes) -> bytes:
    text = f"sha1\n{params.sign_time}\n{hashlib.sha1(http_string).hexdigest()}\n"
    return hmac.new(key, text.encode(), hashlib.sha1).hexdigest().encode()


def iter_http_strings(
    signature_params: SignatureParams, request: Request, pairs: Pairs
) -> Iterator[bytes]:
    """Every HttpString that a client may have meant with this request, the likeliest first."""
    path = unquote_to_bytes(request.path) or b"/"
    start = request.method.lower().encode() + b"\n" + path + b"\n"
    signed = [(name, value) for name, value in pairs if name not in SIGNATURE_KEYS]
    seen = set()
    for params in _iter_canonical_lists(signature_params.param_list, [signed]):
        for headers in _iter_canonical_lists(
            signature_params.header_list, _iter_header_variants(request)
        ):
            text = start + f"{params}\n{headers}\n".encode()
            if text not in seen:
                seen.add(text)
                yield text


def _iter_header_variants(request: Request) -> Iterator[Pairs]:
    """The headers as they came; with the host's port cut off; and with their bytes read as
    UTF-8.
    """
    headers = {"host": request.host, **request.headers}
    bare = (
        headers["host"].rpartition(":")[0]
        if re.search(r":\d*$", headers["host"])
        else headers["host"]
    )
    for host in dict.fromkeys((headers["host"], bare, request.host)):
        spelled = {**headers, "host": host}
        yield list(spelled.items())
        decoded = {name: _latin1_to_utf8(value) for name, value in spelled.items()}
        if decoded != spelled:
            yield list(decoded.items())


def _latin1_to_utf8(value: str) -> str:
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _iter_canonical_lists(
    name_list: str, sets: Collection[Pairs] | Iterator[Pairs]
) -> Iterator[str]:
    """`k=v&k=v` of the listed names: sorted by key, in the list's order, sorted by the decoded key.

    A set that lacks a listed name gives none: what was signed must have come, even if its value was
    empty.
    """
    names = [name.strip().lower() for name in name_list.split(";") if name.strip()]
    orders = (sorted(names), names, sorted(names, key=unquote))
    for pairs in sets:
        values = _encode_values(pairs)
        if not values.keys() >= set(names):
            continue
        for order in orders:
            turns: dict[str, int] = {}
            yield "&".join(f"{name}={_get_nth_value(values[name], name, turns)}" for name in order)


def _encode_values(pairs: Pairs) -> dict[str, list[str]]:
    """Encoded values under the encoded lower-case name, and under the plain lower-case name that
    some lists hold.
    """
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        for spelled in dict.fromkeys((_percent_encode(name).lower(), name.lower())):
            values.setdefault(spelled, []).append(_percent_encode(value))
    return values


def _get_nth_value(values: Sequence[str], name: str, counts: dict[str, int]) -> str:
    """A name listed twice stands for the first and the second value."""
    turn = counts.get(name, 0)
    counts[name] = turn + 1
    return values[min(turn, len(values) - 1)]


def _percent_encode(text: str) -> str:
    return quote(text.encode("utf-8", "replace"), safe="-_.~")
