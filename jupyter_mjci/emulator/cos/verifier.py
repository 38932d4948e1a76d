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
from jupyter_mjci.emulator.tencent_ci.xml import Refused

SKEW = 900.0  # a start further ahead than this is a wrong clock, not an early bird
TOKENS = ("x-cos-security-token", "x-ci-security-token")
Q_KEYS = (
    "q-sign-algorithm",
    "q-ak",
    "q-sign-time",
    "q-key-time",
    "q-header-list",
    "q-url-param-list",
    "q-signature",
)
Pairs = Sequence[tuple[str, str]]


def query_pairs(query: str) -> list[tuple[str, str]]:
    """The decoded parameters in their order; `+` is a blank; a missing value is an empty one."""
    parts = (part.partition("=") for part in query.split("&") if part)
    return [(unquote_plus(name), unquote_plus(value)) for name, _, value in parts]


def parameters(query: str) -> dict[str, str]:
    """The parameters without the seven of a presigned URL."""
    return {name: value for name, value in query_pairs(query) if name not in Q_KEYS}


@dataclass(frozen=True, slots=True)
class Window:
    start: int
    end: int

    @classmethod
    def read(cls, spelled: str) -> Window:
        found = re.fullmatch(r"(\d{1,12});(\d{1,12})", spelled, re.ASCII)
        if not found:
            raise _denied(f"The signature's time {spelled!r} is not <start>;<end>.")
        return cls(int(found[1]), int(found[2]))

    def holds(self, now: float) -> bool:
        return self.start <= now <= self.end


@dataclass(frozen=True, slots=True)
class Claim:
    """What a request says about its signature."""

    key_id: str
    sign_time: str
    key_time: str
    header_list: str
    param_list: str
    signature: str

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> Claim:
        missing = [name for name in Q_KEYS if name not in fields]
        if missing:
            raise _denied(f"The authorization lacks {', '.join(missing)}.")
        if fields["q-sign-algorithm"] != "sha1":
            raise _denied(f"The algorithm {fields['q-sign-algorithm']!r} is not sha1.")
        return cls(*(fields[name] for name in Q_KEYS[1:]))


@dataclass(frozen=True, slots=True)
class Verifier:
    """Knows the secret of each key id, and which session tokens are good (None: every one)."""

    secrets: Mapping[str, str]
    tokens: Collection[str] | None
    clocks: Sequence[Callable[[], float]]

    def check(self, request: Request) -> str:
        """The id of the key that signed the request; raises Refused."""
        pairs = query_pairs(request.query)
        claim = _claim(request, pairs)
        if claim.key_id not in self.secrets:
            raise Refused(
                403,
                "InvalidAccessKeyId",
                "The Access Key Id you provided does not exist in our records.",
            )
        self._in_time(Window.read(claim.sign_time), Window.read(claim.key_time))
        self._token(request.headers, pairs)
        self._signature(claim, request, pairs)
        return claim.key_id

    def _in_time(self, *windows: Window) -> None:
        """One of our clocks must stand inside: a sandbox whose time runs faster serves clients
        whose time does not.
        """
        nows = [clock() for clock in self.clocks]
        if any(all(window.holds(now) for window in windows) for now in nows):
            return
        if all(window.start > now + SKEW for now in nows for window in windows):
            message = "The difference between the request time and the current time is too large."
            raise Refused(403, "RequestTimeTooSkewed", message)
        raise _denied("Request has expired")

    def _token(self, headers: Mapping[str, str], pairs: Pairs) -> None:
        found = [headers[name] for name in TOKENS if name in headers]
        found += [value for name, value in pairs if name.lower() in TOKENS]
        if self.tokens is not None and any(token not in self.tokens for token in found):
            raise Refused(
                403, "ExpiredToken", "The provided security token has expired or is unknown."
            )

    def _signature(self, claim: Claim, request: Request, pairs: Pairs) -> None:
        secret = self.secrets[claim.key_id].encode()
        key = hmac.new(secret, claim.key_time.encode(), hashlib.sha1).hexdigest().encode()
        first = ""
        for http_string in readings(claim, request, pairs):
            first = first or http_string.decode(errors="replace")
            if hmac.compare_digest(_sign(key, claim, http_string), claim.signature.encode()):
                return
        digest = hashlib.sha1(first.encode()).hexdigest()
        raise Refused(
            403,
            "SignatureDoesNotMatch",
            "The Signature you specified is invalid.",
            StringToSign=f"sha1\n{claim.sign_time}\n{digest}\n",
            FormatString=first,
        )


def _denied(message: str) -> Refused:
    return Refused(403, "AccessDenied", message)


def _claim(request: Request, pairs: Pairs) -> Claim:
    """From the header; from a presigned address; from the `sign` parameter that older clients put
    all of it into.
    """
    whole = dict(pairs).get("sign", "")
    spelled = request.headers.get("authorization", "").strip() or (
        whole if "q-signature=" in whole else ""
    )
    in_query = {name: value for name, value in pairs if name in Q_KEYS}
    if spelled:
        parts = (part.partition("=") for part in spelled.split("&"))
        return Claim.read({name.strip(): value.strip() for name, _, value in parts})
    if not in_query:
        raise _denied("Access Denied.")
    return Claim.read(in_query)


def _sign(key: bytes, claim: Claim, http_string: bytes) -> bytes:
    text = f"sha1\n{claim.sign_time}\n{hashlib.sha1(http_string).hexdigest()}\n"
    return hmac.new(key, text.encode(), hashlib.sha1).hexdigest().encode()


def readings(claim: Claim, request: Request, pairs: Pairs) -> Iterator[bytes]:
    """Every HttpString that a client may have meant with this request, the likeliest first."""
    path = unquote_to_bytes(request.path) or b"/"
    start = request.method.lower().encode() + b"\n" + path + b"\n"
    signed = [(name, value) for name, value in pairs if name not in Q_KEYS]
    seen = set()
    for params in _orders(claim.param_list, [signed]):
        for headers in _orders(claim.header_list, _header_sets(request)):
            text = start + f"{params}\n{headers}\n".encode()
            if text not in seen:
                seen.add(text)
                yield text


def _header_sets(request: Request) -> Iterator[Pairs]:
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
        decoded = {name: _utf8(value) for name, value in spelled.items()}
        if decoded != spelled:
            yield list(decoded.items())


def _utf8(value: str) -> str:
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _orders(spelled_list: str, sets: Collection[Pairs] | Iterator[Pairs]) -> Iterator[str]:
    """`k=v&k=v` of the listed names: sorted by key, in the list's order, sorted by the decoded key.

    A set that lacks a listed name gives none: what was signed must have come, even if its value was
    empty.
    """
    names = [name.strip().lower() for name in spelled_list.split(";") if name.strip()]
    orders = (sorted(names), names, sorted(names, key=unquote))
    for pairs in sets:
        values = _values(pairs)
        if not values.keys() >= set(names):
            continue
        for order in orders:
            turns: dict[str, int] = {}
            yield "&".join(f"{name}={_value(values[name], name, turns)}" for name in order)


def _values(pairs: Pairs) -> dict[str, list[str]]:
    """Encoded values under the encoded lower-case name, and under the plain lower-case name that
    some lists hold.
    """
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        for spelled in dict.fromkeys((_encode(name).lower(), name.lower())):
            values.setdefault(spelled, []).append(_encode(value))
    return values


def _value(found: Sequence[str], name: str, turns: dict[str, int]) -> str:
    """A name listed twice stands for the first and the second value."""
    turn = turns.get(name, 0)
    turns[name] = turn + 1
    return found[min(turn, len(found) - 1)]


def _encode(text: str) -> str:
    return quote(text.encode("utf-8", "replace"), safe="-_.~")
