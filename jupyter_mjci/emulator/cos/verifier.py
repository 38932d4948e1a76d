"""Verifies the q-sign signature of a request, in its Authorization header or in its query.

Which headers and parameters were signed is what q-header-list and
q-url-param-list say: every client signs others. Where clients
differ in spelling (host with or without port, header bytes, order
of unusual keys), each interpretation is tried before the
signature counts as wrong.

https://cloud.tencent.com/document/product/436/7778
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, unquote, unquote_plus, unquote_to_bytes

from jupyter_mjci.emulator.cos.aws_signature import (
    MAX_CLOCK_SKEW,
    access_denied,
    is_aws_signed,
    unknown_key,
    verify_aws_signature,
)
from jupyter_mjci.emulator.http import Request
from jupyter_mjci.emulator.xml import ErrorResponse

TOKEN_HEADERS = ("x-cos-security-token", "x-ci-security-token", "x-amz-security-token")
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
    """Decode the parameters, in their order; `+` is a blank; a missing value is an empty one."""
    parts = (part.partition("=") for part in query.split("&") if part)
    return [(unquote_plus(name), unquote_plus(value)) for name, _, value in parts]


def parse_unsigned_params(query: str) -> dict[str, str]:
    """Return the parameters without the seven of a presigned URL."""
    return {name: value for name, value in parse_query(query) if name not in SIGNATURE_KEYS}


@dataclass(frozen=True, slots=True)
class ValidityPeriod:
    """The time that a signature is valid for (epoch seconds)."""

    start: int
    end: int

    @classmethod
    def parse(cls, value: str) -> ValidityPeriod:
        """Parse `<start>;<end>`."""
        match = re.fullmatch(r"(\d{1,12});(\d{1,12})", value, re.ASCII)
        if not match:
            raise access_denied(f"The signature's time {value!r} is not <start>;<end>.")
        return cls(int(match[1]), int(match[2]))

    def contains(self, now: float) -> bool:
        """Return whether a time is in the period."""
        return self.start <= now <= self.end


@dataclass(frozen=True, slots=True)
class SignatureParams:
    """The parts of a signature."""

    key_id: str
    sign_time: str
    key_time: str
    header_list: str
    param_list: str
    signature: str

    @classmethod
    def from_fields(cls, fields: Mapping[str, str]) -> SignatureParams:
        """Build from the q-* fields."""
        missing = [name for name in SIGNATURE_KEYS if name not in fields]
        if missing:
            raise access_denied(f"The authorization lacks {', '.join(missing)}.")
        if fields["q-sign-algorithm"] != "sha1":
            algorithm = fields["q-sign-algorithm"]
            raise access_denied(f"The algorithm {algorithm!r} is not sha1.")
        return cls(*(fields[name] for name in SIGNATURE_KEYS[1:]))


@dataclass(frozen=True, slots=True)
class Verifier:
    """Verifies signatures.

    Args:
        secrets: the secret key of each key ID
        tokens: the session tokens that are valid, None for any
        clocks: the clocks that a signature may be valid by
    """

    secrets: Mapping[str, str]
    tokens: Collection[str] | None
    clocks: Sequence[Callable[[], float]]

    def verify(self, request: Request) -> str:
        """Verify a request.

        Returns:
            The ID of the key that signed it.

        Raises:
            ErrorResponse: it is not signed, or the signature is
                not valid
        """
        pairs = parse_query(request.query)
        if is_aws_signed(request):
            self._check_token(request.headers, pairs)
            times = self._read_clocks()
            return verify_aws_signature(request, self.secrets, times)
        params = _parse_signature(request, pairs)
        if params.key_id not in self.secrets:
            raise unknown_key()
        self._check_time(params)
        self._check_token(request.headers, pairs)
        self._check_signature(params, request, pairs)
        return params.key_id

    def _read_clocks(self) -> list[float]:
        return [clock() for clock in self.clocks]

    def _check_time(self, params: SignatureParams) -> None:
        """Check that both periods contain the time of one of the clocks.

        A sandbox whose time runs faster serves clients whose time
        does not.
        """
        periods = [ValidityPeriod.parse(params.sign_time), ValidityPeriod.parse(params.key_time)]
        times = self._read_clocks()
        for now in times:
            if all(period.contains(now) for period in periods):
                return
        latest = max(times) + MAX_CLOCK_SKEW
        if all(period.start > latest for period in periods):
            message = "The difference between the request time and the current time is too large."
            raise ErrorResponse(403, "RequestTimeTooSkewed", message)
        raise access_denied("Request has expired")

    def _check_token(self, headers: Mapping[str, str], pairs: Pairs) -> None:
        if self.tokens is None:
            return
        tokens = [headers[name] for name in TOKEN_HEADERS if name in headers]
        tokens += [value for name, value in pairs if name.lower() in TOKEN_HEADERS]
        if any(token not in self.tokens for token in tokens):
            message = "The provided security token has expired or is unknown."
            raise ErrorResponse(403, "ExpiredToken", message)

    def _check_signature(self, params: SignatureParams, request: Request, pairs: Pairs) -> None:
        secret = self.secrets[params.key_id].encode()
        key = hmac.new(secret, params.key_time.encode(), hashlib.sha1).hexdigest().encode()
        given = params.signature.encode()
        likeliest = b""
        for http_string in iter_http_strings(params, request, pairs):
            likeliest = likeliest or http_string
            if hmac.compare_digest(_compute_signature(key, params, http_string), given):
                return
        # As the service does, tell what was expected.
        expected = likeliest.decode(errors="replace")
        digest = hashlib.sha1(expected.encode()).hexdigest()
        raise ErrorResponse(
            403,
            "SignatureDoesNotMatch",
            "The Signature you specified is invalid.",
            StringToSign=f"sha1\n{params.sign_time}\n{digest}\n",
            FormatString=expected,
        )


def is_unsigned(request: Request) -> bool:
    """Return whether a request tries to prove nothing."""
    if request.headers.get("authorization", "").strip():
        return False
    names = {name for name, _ in parse_query(request.query)}
    return names.isdisjoint((*SIGNATURE_KEYS, "sign")) and not is_aws_signed(request)


def _parse_signature(request: Request, pairs: Pairs) -> SignatureParams:
    """Parse the signature from the header, a presigned URL, or `sign`.

    Older clients put all of it into that one parameter.
    """
    text = request.headers.get("authorization", "").strip()
    params = dict(pairs)
    sign_param = params.get("sign", "")
    if not text and "q-signature=" in sign_param:
        text = sign_param
    fields = {}
    if text:
        for part in text.split("&"):
            name, _, value = part.partition("=")
            fields[name.strip()] = value.strip()
        return SignatureParams.from_fields(fields)
    for name, value in pairs:
        if name in SIGNATURE_KEYS:
            fields[name] = value
    if not fields:
        raise access_denied("Access Denied.")
    return SignatureParams.from_fields(fields)


def _compute_signature(key: bytes, params: SignatureParams, http_string: bytes) -> bytes:
    text = f"sha1\n{params.sign_time}\n{hashlib.sha1(http_string).hexdigest()}\n"
    return hmac.new(key, text.encode(), hashlib.sha1).hexdigest().encode()


def iter_http_strings(
    signature_params: SignatureParams, request: Request, pairs: Pairs
) -> Iterator[bytes]:
    """Yield every HttpString that a client may have signed for a request, the likeliest first."""
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
    """Yield the headers as they came, without the host's port, and with their bytes as UTF-8."""
    headers = {"host": request.host, **request.headers}
    host_without_port = re.sub(r":\d*$", "", headers["host"])
    for host in dict.fromkeys((headers["host"], host_without_port, request.host)):
        variant = {**headers, "host": host}
        yield list(variant.items())
        decoded = {name: _latin1_to_utf8(value) for name, value in variant.items()}
        if decoded != variant:
            yield list(decoded.items())


def _latin1_to_utf8(value: str) -> str:
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _iter_canonical_lists(
    name_list: str, sets: Collection[Pairs] | Iterator[Pairs]
) -> Iterator[str]:
    """Yield `k=v&k=v` of the listed names: sorted, in the list's order, sorted by decoded name.

    Nothing for pairs that lack a listed name: what was signed
    must be there, even if its value was empty.
    """
    plain = [name.strip().lower() for name in name_list.split(";") if name.strip()]
    # In a presigned URL the list was encoded once more; what was
    # signed holds the names encoded.
    encoded = [_percent_encode(name).lower() for name in plain]
    for pairs in sets:
        values = _encode_values(pairs)
        for names in (plain, encoded):
            if not values.keys() >= set(names):
                continue
            for order in (sorted(names), names, sorted(names, key=unquote)):
                yield "&".join(_join_values(order, values))


def _join_values(names: Sequence[str], values: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield `k=v` for each name; a name listed twice takes its first and its second value."""
    counts: Counter[str] = Counter()
    for name in names:
        index = min(counts[name], len(values[name]) - 1)
        counts[name] += 1
        yield f"{name}={values[name][index]}"


def _encode_values(pairs: Pairs) -> dict[str, list[str]]:
    """Return the encoded values by name: the encoded one, and the
    plain one that some lists hold.
    """
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        for spelling in dict.fromkeys((_percent_encode(name).lower(), name.lower())):
            values.setdefault(spelling, []).append(_percent_encode(value))
    return values


def _percent_encode(text: str) -> str:
    return quote(text.encode("utf-8", "replace"), safe="-_.~")
